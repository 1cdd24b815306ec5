//! The conformance suite of the search for events: for both stores, it finds what a plain filter of
//! all events finds, in the same order, however it is paged.
//!
//! `COMMITS` says how many there are (40), `FILTERS` how many filters are tried (40); `SEED` repeats
//! a run.

#![expect(
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a failing test is told by a panic and what is printed"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    sync::Arc,
    time::Duration,
};

use fastrand::Rng;
use faultline_actors::{
    adapters::{
        journal::Origin,
        store::{
            Commit, Store, StoredEvent,
            postgres::Postgres,
            search::{EventFilter, EventId, Place},
            sqlite::Sqlite,
        },
    },
    domain::{
        batch::Batch,
        event::{Kind, Severity, Source},
        words::terms::Terms,
    },
};
use faultline_testkit::database::Database;

#[path = "support/batches.rs"]
mod batches;

use batches::{NOW, batch, report};

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;
const LONG: Duration = Duration::from_mins(1);

const WORDS: [&str; 16] = [
    "timeout",
    "Timeout",
    "refused",
    "card",
    "order-17",
    "order-171",
    "ÜBER",
    "über",
    "/users/7",
    "x_y",
    "東京",
    "req-a-1",
    "a\\nb",
    "\"said\"",
    "İx",
    "1",
];
const ENVIRONMENTS: [&str; 2] = ["prod", "dev"];
const SERVICES: [&str; 3] = ["shop", "cart", "shop-2"];
const LEVELS: [&str; 4] = ["error", "info", "warning", "fatal"];

fn number(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| text.parse().unwrap())
}

fn random() -> Rng {
    let seed = number("SEED", fastrand::u64(..u64::from(u32::MAX)));
    eprintln!("SEED={seed}");
    Rng::with_seed(seed)
}

fn pick<'a>(random: &mut Rng, all: &[&'a str]) -> &'a str {
    all[random.usize(..all.len())]
}

fn text(random: &mut Rng) -> String {
    (0..random.usize(1..5)).map(|_| pick(random, &WORDS)).collect::<Vec<_>>().join(" ")
}

/// A record of some source, received at `at`.
fn record(random: &mut Rng, sequence: u64, at: i64) -> Arc<Batch> {
    let made = match random.u8(..4) {
        0 => {
            let frames = (0..random.usize(1..30)).map(|_| {
                let line = match random.u8(..2) {
                    0 => format!(
                        "<190>1 2026-11-22T03:00:00Z host app web.{} - {}",
                        random.u8(1..4),
                        text(random)
                    ),
                    _ => format!(
                        "<158>1 2026-11-22T03:00:00Z host heroku router - at=info method=GET \
                         path=\"/users/{}\" dyno=web.1 connect=1ms service=3ms status=200 bytes=1",
                        random.u8(..9)
                    ),
                };
                format!("{} {line}", line.len())
            });
            batch(sequence, Source::Logdrains, frames.collect::<String>().as_bytes())
        }
        1 => {
            let line = serde_json::json!({
                "database": pick(random, &SERVICES), "table": "orders", "type": "insert", "ts": 1,
                "data": { "note": text(random) },
            });
            batch(sequence, Source::Maxwell, line.to_string().as_bytes())
        }
        _ => {
            let body = serde_json::json!({
                "message": text(random), "environment": pick(random, &ENVIRONMENTS),
                "service": pick(random, &SERVICES), "severity": pick(random, &LEVELS),
                "attributes": { "note": text(random) },
            });
            batch(sequence, Source::Errors, body.to_string().as_bytes())
        }
    };
    let mut made = Arc::into_inner(made).unwrap();
    made.records[0].received_at = at;
    Arc::new(made)
}

/// Origins that commit in turn; their times overlap, repeat, run backwards, and cross days.
struct Writers {
    origins: Vec<(Origin, u64, i64)>,
}

impl Writers {
    async fn new(store: &dyn Store) -> Self {
        let mut origins = Vec::new();
        for start in [-30 * SECOND, 0, -DAY] {
            let origin = Origin::now_v7();
            store.position(origin).await.unwrap();
            // Three hours into a day.
            origins.push((origin, 0, NOW - 3 * 3_600 * SECOND + start));
        }
        Self { origins }
    }

    async fn commit(&mut self, store: &dyn Store, random: &mut Rng) {
        let which = random.usize(..self.origins.len());
        let (origin, position, clock) = &mut self.origins[which];
        let after = *position;
        let mut batches = Vec::new();
        for _ in 0..random.usize(1..20) {
            *clock += [0, 0, 1, 700, 2 * SECOND, -3 * SECOND][random.usize(..6)];
            *position += 1;
            batches.push(record(random, *position, *clock));
        }
        store.commit(&Commit { origin: *origin, after, batches }).await.unwrap();
    }
}

/// All pages of a search, of random lengths.
async fn pages(
    store: &dyn Store,
    filter: &EventFilter,
    random: &mut Rng,
    time: Duration,
) -> Vec<StoredEvent> {
    let (mut events, mut before) = (Vec::new(), None::<Place>);
    loop {
        let limit = random.u32(1..60);
        let found = store.search(filter, before, limit, time).await.unwrap();
        assert!(found.events.len() <= limit as usize);
        if found.events.len() < limit as usize && found.next.is_some() {
            assert!(found.searched_until.is_some(), "why is the page not full?");
        }
        events.extend(found.events);
        let Some(next) = found.next else { return events };
        assert!(before.is_none_or(|before| next < before), "no step further");
        before = Some(next);
    }
}

fn any_filter(random: &mut Rng, all: &[StoredEvent]) -> (EventFilter, String) {
    let some = &all[random.usize(..all.len())];
    let chance = |random: &mut Rng| random.u8(..4) == 0;
    let words = if chance(random) {
        String::new()
    } else {
        match random.u8(..6) {
            0 => format!("\"{}\"", some.message.replace('"', " ")),
            1 => "nowhere".to_owned(),
            2 => some.process.clone().unwrap_or_default(),
            3 => format!("{} {}", pick(random, &WORDS), pick(random, &WORDS)),
            4 => "note".to_owned(),
            _ => pick(random, &WORDS).to_owned(),
        }
    };
    let near = |random: &mut Rng| some.received_at + random.i64(-5..5) * SECOND;
    let filter = EventFilter {
        since: chance(random).then(|| near(random) - 60 * SECOND),
        until: chance(random).then(|| near(random)),
        environment: chance(random).then(|| pick(random, &ENVIRONMENTS).to_owned()),
        service: chance(random).then(|| pick(random, &SERVICES).to_owned()),
        kind: chance(random).then(|| Kind::ALL[random.usize(..3)]),
        severity: chance(random).then(|| Severity::from_priority(random.u8(..8))),
        source: chance(random).then(|| Source::ALL[random.usize(..3)]),
        fingerprints: chance(random)
            .then(|| vec!["v1:none".to_owned(), some.fingerprint.clone().unwrap_or_default()]),
        text: Terms::parse(&words).unwrap(),
    };
    (filter, words)
}

/// As the README says it, and as plainly as can be.
fn takes(filter: &EventFilter, words: &str, event: &StoredEvent) -> bool {
    let is = |wanted: Option<&str>, value: &str| wanted.is_none_or(|wanted| wanted == value);
    let lower = |text: &str| text.chars().flat_map(char::to_lowercase).collect::<String>();
    let attributes = event.attributes.as_ref().filter(|_| event.kind != "router").map(|json| {
        // Names and values, one a line.
        fn plain(value: &serde_json::Value) -> String {
            match value {
                serde_json::Value::String(text) => text.clone(),
                serde_json::Value::Array(all) => {
                    all.iter().map(plain).collect::<Vec<_>>().join("\n")
                }
                serde_json::Value::Object(all) => {
                    all.iter().map(|(name, value)| format!("{name}\n{}\n", plain(value))).collect()
                }
                other => other.to_string(),
            }
        }
        plain(&serde_json::from_str(json.get()).unwrap())
    });
    let texts =
        [Some(event.message.clone()), event.process.clone(), event.stack_trace.clone(), attributes];
    let occurs = |term: &str| {
        let term = lower(term);
        texts.iter().flatten().any(|text| {
            let text = lower(text);
            text.match_indices(&term).any(|(at, _)| {
                let (before, behind) =
                    (text[..at].chars().last(), text[at + term.len()..].chars().next());
                let is_word = |one: Option<char>| one.is_some_and(char::is_alphanumeric);
                !(is_word(before) && is_word(term.chars().next())
                    || is_word(behind) && is_word(term.chars().last()))
            })
        })
    };
    let terms: Vec<&str> = match words.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(phrase) if !words[1..words.len() - 1].contains('"') => vec![phrase.trim()],
        _ => words.split(|one: char| one.is_whitespace() || one == '"').collect(),
    };
    is(filter.environment.as_deref(), &event.environment)
        && is(filter.service.as_deref(), &event.service)
        && is(filter.kind.map(Kind::name), &event.kind)
        && is(filter.source.map(Source::name), &event.source)
        && filter.since.is_none_or(|since| since <= event.received_at)
        && filter.until.is_none_or(|until| event.received_at < until)
        && filter
            .severity
            .is_none_or(|least| Severity::from_name(&event.severity).unwrap() <= least)
        && filter
            .fingerprints
            .as_ref()
            .is_none_or(|all| event.fingerprint.as_ref().is_some_and(|one| all.contains(one)))
        && terms.into_iter().filter(|term| !term.is_empty()).all(occurs)
}

fn ids(events: &[StoredEvent]) -> Vec<EventId> {
    events.iter().map(|event| event.id).collect()
}

async fn finds_what_a_plain_filter_finds(store: &dyn Store, random: &mut Rng) {
    let all = pages(store, &EventFilter::default(), random, LONG).await;
    let mut found = 0;
    for _ in 0..number("FILTERS", 40) {
        let (filter, words) = any_filter(random, &all);
        let expected: Vec<_> = all
            .iter()
            .filter(|event| takes(&filter, &words, event))
            .map(|event| event.id)
            .collect();
        let time = if random.u8(..10) > 0 { LONG } else { Duration::ZERO };
        let events = pages(store, &filter, random, time).await;
        assert_eq!(ids(&events), expected, "{words:?} {filter:?}");
        found += expected.len();
    }
    assert!(found > 100, "the filters take too little: {found}");
}

/// Every event is in exactly one block, and no block counts more.
async fn blocks_cover_exactly_the_events(database: &Database) {
    let events = database.number("SELECT count(*) FROM events").await;
    assert_eq!(
        database.number("SELECT cast(sum(events) AS bigint) FROM event_blocks").await,
        events
    );
    let elsewhere = "SELECT count(*) FROM events e WHERE 1 <> (
        SELECT count(*) FROM event_blocks b WHERE b.origin = e.origin
            AND (b.first_sequence, b.first_ordinal) <= (e.sequence, e.ordinal)
            AND (b.last_sequence, b.last_ordinal) >= (e.sequence, e.ordinal)
            AND e.received_at >= b.received_from AND e.received_at <= b.received_to)";
    assert_eq!(database.number(elsewhere).await, 0);
    let without = "SELECT count(*) FROM event_blocks b WHERE NOT EXISTS (
        SELECT 1 FROM events e WHERE e.origin = b.origin AND e.received_at = b.received_to)";
    assert_eq!(database.number(without).await, 0);
}

async fn each_event_comes_once_while_commits_arrive(
    store: &dyn Store,
    writers: &mut Writers,
    random: &mut Rng,
) {
    let filter = EventFilter { text: Terms::parse("card").unwrap(), ..EventFilter::default() };
    let before: BTreeSet<_> = ids(&pages(store, &filter, random, LONG).await).into_iter().collect();
    let (mut seen, mut next) = (BTreeMap::new(), None);
    loop {
        let found = store.search(&filter, next, 7, LONG).await.unwrap();
        for event in &found.events {
            *seen.entry(event.id).or_insert(0) += 1;
        }
        if found.next.is_none() {
            break;
        }
        next = found.next;
        writers.commit(store, random).await;
    }
    assert!(before.len() > 20 && before.iter().all(|id| seen.contains_key(id)));
    assert!(seen.values().all(|count| *count == 1));
}

async fn one_event_is_found_by_its_id(store: &dyn Store, random: &mut Rng) {
    let all = pages(store, &EventFilter::default(), random, LONG).await;
    for _ in 0..20 {
        let one = &all[random.usize(..all.len())];
        let found = store.event(one.id.to_string().parse().unwrap()).await.unwrap().unwrap();
        assert_eq!((found.place(), &found.message), (one.place(), &one.message));
    }
    for id in ["1.0.0", "1.1.77777", "99.1.0", "1.99999999.0"] {
        assert!(store.event(id.parse().unwrap()).await.unwrap().is_none(), "{id}");
    }
}

async fn conforms(store: &dyn Store, database: &Database, migration: &str) {
    store.migrate().await.unwrap();
    let nothing = store.search(&EventFilter::default(), None, 10, LONG).await.unwrap();
    assert!(nothing.events.is_empty() && nothing.next.is_none());
    let mut random = random();
    let mut writers = Writers::new(store).await;
    for _ in 0..number("COMMITS", 40) {
        writers.commit(store, &mut random).await;
    }
    let all = pages(store, &EventFilter::default(), &mut random, Duration::ZERO).await;
    assert_eq!(
        i64::try_from(all.len()).unwrap(),
        database.number("SELECT count(*) FROM events").await
    );
    assert!(all.is_sorted_by(|one, next| one.place() > next.place()));
    blocks_cover_exactly_the_events(database).await;
    finds_what_a_plain_filter_finds(store, &mut random).await;
    one_event_is_found_by_its_id(store, &mut random).await;
    each_event_comes_once_while_commits_arrive(store, &mut writers, &mut random).await;

    // As if all had been stored before there were blocks.
    database.execute(&format!("DROP TABLE event_blocks; {migration}")).await;
    blocks_cover_exactly_the_events(database).await;
    let signed = "SELECT count(*) FROM event_blocks WHERE signature IS NOT NULL";
    assert_eq!(database.number(signed).await, 0);
    finds_what_a_plain_filter_finds(store, &mut random).await;
}

#[tokio::test]
async fn sqlite_conforms() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("faultline.db");
    let store = Sqlite::open(&path).unwrap();
    let migration = include_str!("../../migrations/sqlite/V007__event_blocks.sql");
    conforms(&store, &Database::Sqlite(path), migration).await;
}

#[tokio::test]
async fn postgres_conforms() {
    let server = faultline_testkit::postgres::Postgres::start();
    let store = Postgres::new(&server.url(), 4, Duration::from_secs(5), LONG).unwrap();
    let migration = include_str!("../../migrations/postgres/V007__event_blocks.sql");
    conforms(&store, &Database::Postgres(Box::new(server)), migration).await;
}

/// What has too many words for a signature does not take that of its neighbours from them.
#[tokio::test]
async fn an_event_of_very_many_words_has_a_block_to_itself() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("faultline.db");
    let store = Sqlite::open(&path).unwrap();
    store.migrate().await.unwrap();
    let origin = Origin::now_v7();
    store.position(origin).await.unwrap();
    let long: String = (0..5_000).map(|number| format!("w{number} ")).collect();
    let batches = vec![report(1, "short"), report(2, &long), report(3, "short again")];
    store.commit(&Commit { origin, after: 0, batches }).await.unwrap();
    let database = Database::Sqlite(path);
    blocks_cover_exactly_the_events(&database).await;
    let signatures = "SELECT coalesce(cast(length(signature) > 0 AS text), '-') FROM event_blocks
        ORDER BY first_sequence";
    assert_eq!(database.texts(signatures).await, ["1", "-", "1"]);
    let text = Terms::parse("w4999").unwrap();
    let filter = EventFilter { text, ..EventFilter::default() };
    assert_eq!(batches::newest(&store, &filter, 10).await.len(), 1);
}
