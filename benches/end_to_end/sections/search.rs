//! How long a page of a search for events takes, with very many stored.
//!
//! `EVENTS` (10⁷) log lines of ten days, by three origins, are stored through the store's own commit,
//! eight services in two environments. One line in two hundred is an error; each names an id of its
//! own; one in a hundred thousand holds a rare word. Then each kind of search is made `BENCH_PAGES`
//! (100) times, with other words and times each time where it has some.
//!
//! `part` counts the pages that were given before they were full, as time was over.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use faultline_actors::{
    adapters::{
        journal::Origin,
        store::{
            Commit, Store,
            postgres::Postgres as PostgresStore,
            search::{EventFilter, EventSearch, Place},
        },
    },
    domain::{
        batch::Batch,
        event::{Severity, Source},
        parse::Parser,
        record::{Block, Content, Meta, RecordRef},
        words::terms::Terms,
    },
};
use faultline_testkit::postgres::Postgres;
use tokio::runtime::Runtime;

use super::{lists, setting};
use crate::support::{Numbers, app_line, router_line};

const DAYS: u64 = 10;
/// 2026-11-12, in microseconds.
const START: i64 = 1_794_441_600_000_000;
const DAY: u64 = 86_400_000_000;
const MESSAGES: u64 = 100;
const RECORDS: u64 = 200;
const SERVICES: [&str; 8] =
    ["shop", "cart", "search", "mail", "billing", "stock", "users", "images"];
/// As long as the API gives it.
const TIME: Duration = Duration::from_millis(150);
const PAGE: u32 = 50;

pub(super) fn run() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let server = Postgres::start();
    let seconds = Duration::from_mins(5);
    let store = PostgresStore::new(&server.url(), 4, seconds, seconds).unwrap();
    runtime.block_on(async { store.migrate().await.unwrap() });
    let events = setting("EVENTS", 10_000_000);
    let started = Instant::now();
    runtime.block_on(fill(&store, events));
    println!("{events} events stored in {:.0} s", started.elapsed().as_secs_f64());
    for (what, table) in [("events", "events"), ("signatures", "event_blocks")] {
        let size = "SELECT sum(pg_total_relation_size(inhrelid))::bigint FROM pg_inherits
            WHERE inhparent = ";
        let bytes = runtime.block_on(server.number(&format!("{size} '{table}'::regclass")));
        println!("{what}: {} MB", bytes / 1_000_000);
    }
    println!("goal: 200 ms at the 95th percentile");
    println!("{:40}  p50 ms  p95 ms  max ms  events  part", "what");
    let faults = runtime.block_on(async { store.faults(10).await.unwrap() });
    let fault = faults.iter().map(|fault| fault.fingerprint.clone()).next();
    let time = |numbers: &mut Numbers| START + numbers.below(DAYS * DAY).cast_signed();
    let of_shop = || EventFilter {
        environment: Some("production".to_owned()),
        service: Some("shop".to_owned()),
        ..EventFilter::default()
    };
    let searches: [(&str, &Filters<'_>); 11] = [
        ("the newest", &|_| EventFilter::default()),
        ("one service, errors", &|_| EventFilter { severity: Some(Severity::Error), ..of_shop() }),
        ("an error of any service", &|_| EventFilter {
            severity: Some(Severity::Error),
            ..EventFilter::default()
        }),
        ("a rare word", &|_| words("kaleidoscope")),
        ("a rare word of one service", &|_| EventFilter {
            text: Terms::parse("kaleidoscope").unwrap(),
            ..of_shop()
        }),
        ("a common word", &|_| words("OrdersController")),
        ("two words", &|numbers| words(&format!("refused order-{}", numbers.below(events / 200)))),
        ("an id of one event", &|numbers| words(&id_of(numbers.below(events)))),
        ("a word that is nowhere", &|numbers| words(&format!("nowhere{}", numbers.below(1_000)))),
        ("ten minutes of some day, a common word", &|numbers| {
            let since = time(numbers);
            EventFilter { since: Some(since), until: Some(since + 600_000_000), ..words("orders") }
        }),
        ("a fault's events", &|_| EventFilter {
            fingerprints: Some(fault.clone().into_iter().collect()),
            ..EventFilter::default()
        }),
    ];
    for (what, filter) in searches {
        measure(&runtime, &store, what, filter, |_| None);
    }
    let common = |_: &mut Numbers| words("Orders");
    measure(&runtime, &store, "further pages of a common word", &common, |next| next);
    lists::run(&runtime, &server);
}

fn words(text: &str) -> EventFilter {
    EventFilter { text: Terms::parse(text).unwrap(), ..EventFilter::default() }
}

/// The id that the event with this number names.
fn id_of(number: u64) -> String {
    format!("trace-{:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// Makes another filter each time.
type Filters<'a> = dyn Fn(&mut Numbers) -> EventFilter + 'a;

/// `before` says where a page begins, of where the one before ended.
fn measure(
    runtime: &Runtime,
    store: &PostgresStore,
    what: &str,
    filter: &Filters<'_>,
    before: impl Fn(Option<Place>) -> Option<Place>,
) {
    let mut numbers = Numbers::new(7);
    let (mut times, mut found, mut parts, mut next) = (Vec::new(), 0, 0, None);
    for _ in 0..setting("BENCH_PAGES", 100) {
        let (filter, before) = (filter(&mut numbers), before(next));
        let started = Instant::now();
        let page = runtime.block_on(store.search(&filter, before, PAGE, TIME)).unwrap();
        times.push(started.elapsed().as_secs_f64() * 1e3);
        found += page.events.len();
        parts += usize::from(page.searched_until.is_some());
        next = page.next;
    }
    times.sort_by(f64::total_cmp);
    let at = |share: usize| times[(times.len() - 1) * share / 100];
    println!(
        "{what:40}  {:6.1}  {:6.1}  {:6.1}  {:6.1}  {parts:4}",
        at(50),
        at(95),
        at(100),
        found as f64 / times.len() as f64,
    );
}

/// Stores this many events, by commits of the size that a busy hub has.
async fn fill(store: &PostgresStore, events: u64) {
    let mut origins = [(); 3].map(|()| (Origin::now_v7(), 0_u64));
    for (origin, _) in &origins {
        store.position(*origin).await.unwrap();
    }
    let mut parser = Parser::new("production", Arc::default());
    let mut numbers = Numbers::new(7);
    let records = events.div_ceil(MESSAGES);
    for first in (0..records).step_by(usize::try_from(RECORDS).unwrap()) {
        let (origin, sequence) = &mut origins[usize::try_from(first / RECORDS % 3).unwrap()];
        let after = *sequence;
        let mut batch = Batch::default();
        for record in first..(first + RECORDS).min(records) {
            *sequence += 1;
            let at = START + (DAYS * DAY / records * record).cast_signed();
            parser.parse(&mut batch, &block(&mut numbers, record, *sequence, at));
        }
        parser.finish(&mut batch);
        let commit = Commit { origin: *origin, after, batches: vec![Arc::new(batch)] };
        store.commit(&commit).await.unwrap();
    }
}

/// A drain's record with this number.
fn block(numbers: &mut Numbers, record: u64, sequence: u64, received_at: i64) -> Block {
    let service = SERVICES[usize::try_from(record % SERVICES.len() as u64).unwrap()];
    let environment = if record.is_multiple_of(5) { "staging" } else { "production" };
    let meta = Meta { sender_is_logplex: true, environment, service, ..Meta::default() }.encode();
    let mut bytes = meta.clone();
    for index in 0..MESSAGES {
        let number = record * MESSAGES + index;
        let line = line(numbers, number);
        bytes.extend_from_slice(format!("{} {line}", line.len()).as_bytes());
    }
    let (meta, body) = (0..meta.len(), meta.len()..bytes.len());
    let records = vec![RecordRef {
        sequence,
        received_at,
        source: Source::Logdrains,
        messages: u32::try_from(MESSAGES).unwrap(),
        content: Content::Body { meta, body },
    }];
    Block { bytes: bytes.into(), records }
}

fn line(numbers: &mut Numbers, number: u64) -> String {
    let line = match number % 200 {
        199 => format!(
            "<187>1 2026-11-22T03:00:00Z host app web.1 - payment refused: card expired, order-{}\n",
            number / 200
        ),
        even if even % 2 == 0 => router_line(numbers),
        _ => app_line(numbers),
    };
    let rare = if number % 100_000 == 77_777 { " kaleidoscope" } else { "" };
    format!("{} {}{rare}\n", line.trim_end(), id_of(number))
}
