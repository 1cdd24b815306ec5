//! The conformance suite of the stores: whatever is promised of `Store` holds for each of them.

#![expect(clippy::unwrap_used, reason = "a failing test is told by a panic")]

use std::{path::Path, sync::Arc, time::Duration};

use faultline_actors::{
    adapters::{
        journal::{Origin, stream::Name},
        store::{
            Commit, Store, StoreError, StoredEvent, postgres::Postgres, search::EventFilter,
            sqlite::Sqlite, streams::Lease,
        },
    },
    domain::{
        batch::Batch,
        event::Source,
        lesson::Lesson,
        rule::{Priorities, RuleSettings, Rules, TicketDefaults},
    },
};

#[path = "support/batches.rs"]
mod batches;

use batches::{NOW, batch, batch_with, newest, report};

#[path = "support/buckets.rs"]
mod buckets;

fn commit(origin: Origin, after: u64, batches: Vec<Arc<Batch>>) -> Commit {
    Commit { origin, after, batches }
}

async fn every(store: &dyn Store) -> Vec<StoredEvent> {
    newest(store, &EventFilter::default(), 100).await
}

async fn messages(store: &dyn Store) -> Vec<String> {
    let mut messages: Vec<_> = every(store).await.into_iter().map(|event| event.message).collect();
    messages.sort();
    messages
}

async fn a_commit_stores_everything_and_moves_the_position(store: &dyn Store) {
    let origin = Origin::now_v7();
    assert_eq!(store.position(origin).await.unwrap().sequence, 0);
    let line = br#"{"database":"shop","table":"t","type":"insert","ts":1,"data":{"m":12345678901234567890123.5}}"#;
    let first = commit(
        origin,
        0,
        vec![
            report(1, "job 1 failed"),
            report(2, "job 2 failed"),
            batch(3, Source::Maxwell, &[line, b"\nnot json".as_slice()].concat()),
        ],
    );
    let committed = store.commit(&first).await.unwrap();
    assert_eq!(committed.tallies[Source::Errors as usize].stored, 2);
    let position = store.position(origin).await.unwrap();
    assert_eq!(position.sequence, 3);
    let maxwell = position.settled[Source::Maxwell as usize];
    assert_eq!((maxwell.stored, maxwell.rejected), (1, 1));
    assert_eq!(messages(store).await, ["insert shop.t", "job 1 failed", "job 2 failed"]);
    let events = every(store).await;
    let change = events.iter().find(|event| event.kind == "change").unwrap();
    let kept = change.attributes.as_ref().unwrap().get();
    assert_eq!(kept.as_bytes(), line, "word for word");
    let faults = store.faults(10).await.unwrap();
    assert_eq!(faults.len(), 1);
    assert_eq!((faults[0].count, faults[0].title.as_str()), (2, "job <n> failed"));
    assert_eq!((faults[0].environment.as_str(), faults[0].service.as_str()), ("prod", "shop"));
    let fingerprints = Some(vec![faults[0].fingerprint.clone()]);
    let filter = EventFilter { fingerprints, ..EventFilter::default() };
    let of_fault = newest(store, &filter, 10).await;
    assert_eq!(of_fault.len(), 2);
    let rejected = store.rejected(10).await.unwrap();
    assert_eq!(rejected[0].bytes, b"not json");
    // Counting goes on in the next commit.
    store.commit(&commit(origin, 3, vec![report(4, "job 3 failed")])).await.unwrap();
    assert_eq!(store.faults(10).await.unwrap()[0].count, 3);
}

async fn a_commit_from_another_position_stores_nothing(store: &dyn Store) {
    let origin = Origin::now_v7();
    store.position(origin).await.unwrap();
    let once = commit(origin, 0, vec![report(1, "once")]);
    store.commit(&once).await.unwrap();
    let before = messages(store).await;
    let again = store.commit(&once).await;
    assert!(matches!(again, Err(StoreError::Moved { position: 1 })), "{again:?}");
    let gap = store.commit(&commit(origin, 7, vec![report(8, "gap")])).await;
    assert!(matches!(gap, Err(StoreError::Moved { position: 1 })), "{gap:?}");
    assert_eq!(messages(store).await, before);
    assert_eq!(store.position(origin).await.unwrap().sequence, 1);
}

async fn a_stream_is_leased_to_one_hub_at_a_time(store: &dyn Store) {
    let [one, two] = [(); 2].map(|()| Origin::now_v7());
    let name = |shard| Name { environment: "dev".to_owned(), shard };
    let long = Duration::from_mins(1);
    assert_eq!(store.lease_stream(&name(0), one, long).await.unwrap(), Lease::Held);
    assert_eq!(store.lease_stream(&name(0), two, long).await.unwrap(), Lease::Taken);
    assert_eq!(store.lease_stream(&name(1), two, long).await.unwrap(), Lease::Held);
    store.release_stream(&name(0), two).await.unwrap();
    assert_eq!(store.lease_stream(&name(0), two, long).await.unwrap(), Lease::Taken);
    // Prolonged for no time at all, it runs out.
    assert_eq!(store.lease_stream(&name(0), one, Duration::ZERO).await.unwrap(), Lease::Held);
    tokio::time::sleep(Duration::from_millis(2)).await;
    assert_eq!(store.lease_stream(&name(0), two, long).await.unwrap(), Lease::Held);
    assert_eq!(store.lease_stream(&name(0), one, long).await.unwrap(), Lease::Taken);
    store.release_stream(&name(0), two).await.unwrap();
    assert_eq!(store.lease_stream(&name(0), one, long).await.unwrap(), Lease::Held);
}

async fn what_is_stored_of_each_origin_is_known(store: &dyn Store) {
    let [one, two] = [(); 2].map(|()| Origin::now_v7());
    for origin in [one, two] {
        store.position(origin).await.unwrap();
    }
    let batches = vec![report(1, "first of one"), report(2, "second of one")];
    store.commit(&commit(one, 0, batches)).await.unwrap();
    let origins = store.origins().await.unwrap();
    let of = |origin| origins.iter().find(|stored| stored.origin == origin).unwrap();
    let stored = |origin| of(origin).settled[Source::Errors as usize].stored;
    assert_eq!((of(one).position, stored(one)), (2, 2));
    assert_eq!((of(two).position, stored(two)), (0, 0));
    let position = store.position(one).await.unwrap();
    assert_eq!(position.own[Source::Errors as usize].stored, 2);
    assert_eq!(store.position(two).await.unwrap().own[Source::Errors as usize].stored, 0);
}

/// `refuse` makes the store refuse every event whose message is `poison`.
async fn a_refused_event_is_rejected_by_itself(store: &dyn Store) {
    let origin = Origin::now_v7();
    let before = store.position(origin).await.unwrap();
    let mut batches: Vec<_> = (1..=20).map(|sequence| report(sequence, "good")).collect();
    batches[6] = report(7, "poison");
    batches[13] = report(14, "poison");
    let committed = store.commit(&commit(origin, 0, batches)).await.unwrap();
    let tally = committed.tallies[Source::Errors as usize];
    assert_eq!((tally.stored, tally.rejected), (18, 2));
    let after = store.position(origin).await.unwrap();
    assert_eq!(after.sequence, 20);
    let grown = after.settled[Source::Errors as usize].rejected
        - before.settled[Source::Errors as usize].rejected;
    assert_eq!(grown, 2);
    let rejected = store.rejected(2).await.unwrap();
    for one in &rejected {
        let report: serde_json::Value = serde_json::from_slice(&one.bytes).unwrap();
        assert_eq!(report, serde_json::json!({"message": "poison", "attributes": {"n": 1}}));
        assert!(one.reason.starts_with("refused by the store"), "{}", one.reason);
    }
    let faults = store.faults(100).await.unwrap();
    assert!(faults.iter().all(|fault| fault.example != "poison"), "no fault without an event");
    let good = faults.iter().find(|fault| fault.example == "good").unwrap();
    assert_eq!(good.count, 18);
}

async fn odd_values_are_stored(store: &dyn Store) {
    let origin = Origin::now_v7();
    store.position(origin).await.unwrap();
    let frames: [&[u8]; 4] = [
        b"<190>1 0001-01-01T00:00:00Z host app web.1 - caf\xe9\0\n",
        b"<190>1 9999-12-31T23:59:59.999999Z other app web.1 - last\n",
        b"<190>1 1969-12-31T23:59:59Z host app - - nil\n",
        "<190>1 2026-11-22T03:00:00Z host app web.1 - \u{1F600} \u{FFFE}\n".as_bytes(),
    ];
    let body: Vec<u8> = frames
        .iter()
        .flat_map(|frame| [format!("{} ", frame.len()).as_bytes(), frame].concat())
        .collect();
    let deep = format!(
        r#"{{"message":"deep","attributes":{}1{}}}"#,
        r#"{"a":"#.repeat(127),
        "}".repeat(127)
    );
    let escaped =
        br#"{"message":"nul \u0000 and \ud83d\ude00","attributes":{"nul":"\u0000","big":1e999}}"#;
    let batches = vec![
        batch(1, Source::Logdrains, &body),
        batch(2, Source::Errors, deep.as_bytes()),
        batch(3, Source::Errors, escaped),
    ];
    let committed = store.commit(&commit(origin, 0, batches)).await.unwrap();
    assert_eq!(committed.tallies[Source::Logdrains as usize].stored, 4);
    assert_eq!(committed.tallies[Source::Errors as usize].stored, 2);
    let stored = messages(store).await;
    assert!(stored.contains(&"caf\u{fffd}\u{fffd}".to_owned()), "{stored:?}");
    assert!(stored.contains(&"nul \u{fffd} and \u{1F600}".to_owned()), "{stored:?}");
}

async fn records_of_long_ago_and_of_several_days_are_stored(store: &dyn Store) {
    const DAY: i64 = 86_400_000_000;
    let origin = Origin::now_v7();
    store.position(origin).await.unwrap();
    let batches: Vec<_> = [0, -1, -400, 3]
        .into_iter()
        .enumerate()
        .map(|(index, days)| {
            let mut batch = Arc::into_inner(report(index as u64 + 1, "old")).unwrap();
            batch.records[0].received_at += days * DAY;
            Arc::new(batch)
        })
        .collect();
    let committed = store.commit(&commit(origin, 0, batches)).await.unwrap();
    assert_eq!(committed.tallies[Source::Errors as usize].stored, 4);
}

async fn migrations_run_once_and_snapshots_are_kept(store: &dyn Store) {
    assert!(store.migrate().await.unwrap().is_empty(), "nothing is left to do");
    store.ping().await.unwrap();
    store.save_snapshot(NOW, r#"{"total_requests":1}"#).await.unwrap();
    store.save_snapshot(NOW, r#"{"total_requests":1}"#).await.unwrap();
}

/// Everything above, in one store each, so that they also bear with each other.
async fn conforms(store: &dyn Store) {
    assert!(!store.migrate().await.unwrap().is_empty());
    a_commit_stores_everything_and_moves_the_position(store).await;
    a_commit_from_another_position_stores_nothing(store).await;
    a_stream_is_leased_to_one_hub_at_a_time(store).await;
    buckets::behave(store).await;
    what_is_stored_of_each_origin_is_known(store).await;
    odd_values_are_stored(store).await;
    records_of_long_ago_and_of_several_days_are_stored(store).await;
    migrations_run_once_and_snapshots_are_kept(store).await;
    similar_shapes_are_one_fault_and_people_teach_otherwise(store).await;
    what_cannot_be_taught_is_said(store).await;
    a_fault_of_a_change_keeps_the_rule_that_made_it(store).await;
}

fn postgres(url: &str) -> Postgres {
    Postgres::new(url, 4, Duration::from_secs(5), Duration::from_secs(30)).unwrap()
}

async fn similar_shapes_are_one_fault_and_people_teach_otherwise(store: &dyn Store) {
    let origin = Origin::now_v7();
    store.position(origin).await.unwrap();
    let mut after = 0;
    let mut report_all = async |messages: &[&str]| {
        let reports = messages.iter().zip(after + 1..);
        let batches: Vec<_> = reports.map(|(message, at)| report(at, message)).collect();
        let from = after;
        after += messages.len() as u64;
        store.commit(&commit(origin, from, batches)).await.unwrap();
    };
    let fault_of = async |title: &str| {
        let faults = store.faults(100).await.unwrap();
        faults.into_iter().find(|fault| fault.title == title).map(|fault| (fault.id, fault.count))
    };
    report_all(&["cannot open file /tmp/7 today", "cannot open file pwd today"]).await;
    report_all(&["cannot open file pwd today", "the door is open", "the gate is open"]).await;
    let (files, count) = fault_of("cannot open file <path> today").await.unwrap();
    assert_eq!(count, 3);
    let detail = store.fault(files).await.unwrap().unwrap();
    let shapes: Vec<_> = detail
        .shapes
        .iter()
        .map(|shape| (shape.title.as_str(), shape.why.as_str(), shape.detail.as_str(), shape.count))
        .collect();
    assert_eq!(
        shapes,
        [
            ("cannot open file <path> today", "new", "", 1),
            ("cannot open file pwd today", "similar", "pwd", 2)
        ]
    );
    assert_eq!(detail.fault.latest, "cannot open file pwd today");

    // What people teach holds for what comes later.
    let split = Lesson::Split { fault: files, fingerprint: detail.shapes[1].fingerprint.clone() };
    let alone = store.teach(&split, "ann").await.unwrap();
    let (door, _) = fault_of("the door is open").await.unwrap();
    let (gate, _) = fault_of("the gate is open").await.unwrap();
    store.teach(&Lesson::Merge { fault: gate, into: door }, "ann").await.unwrap();
    report_all(&["cannot open file pwd today", "the gate is open"]).await;
    assert_eq!(fault_of("cannot open file <path> today").await, Some((files, 1)));
    assert_eq!(fault_of("cannot open file pwd today").await, Some((alone, 3)));
    assert_eq!(fault_of("the door is open").await, Some((door, 3)));
    assert_eq!(fault_of("the gate is open").await, None);
    assert_eq!(store.fault(gate).await.unwrap().unwrap().fault.merged_into, Some(door));

    let pin = Lesson::Pin { fault: door, name: "doors".to_owned() };
    store.teach(&pin, "bob").await.unwrap();
    let body = br#"{"message":"another text","fingerprint":"doors"}"#;
    let pinned = batch(after + 1, Source::Errors, body);
    store.commit(&commit(origin, after, vec![pinned])).await.unwrap();
    assert_eq!(fault_of("the door is open").await, Some((door, 4)));

    let audit = store.audit(10).await.unwrap();
    let actions: Vec<_> =
        audit.iter().rev().map(|entry| (entry.who.as_str(), entry.action.as_str())).collect();
    assert_eq!(actions, [("ann", "fault.split"), ("ann", "fault.merge"), ("bob", "fault.pin")]);
}

async fn a_fault_of_a_change_keeps_the_rule_that_made_it(store: &dyn Store) {
    let origin = Origin::now_v7();
    store.position(origin).await.unwrap();
    let rules = serde_json::json!([
        {"name": "often", "match": {"table": "selected", "count": 5}},
        {"name": "all", "match": {"table": "selected"}},
    ]);
    let rules: Vec<RuleSettings> = serde_json::from_value(rules).unwrap();
    let rules = Rules::compile(&rules, &Priorities::default(), TicketDefaults::default()).unwrap();
    let line = br#"{"database":"shop","table":"selected","type":"insert","data":{}}"#;
    let lines = [line.as_slice(), line].join(&b'\n');
    let selected = batch_with(1, Source::Maxwell, &lines, Arc::new(rules));
    store.commit(&commit(origin, 0, vec![selected, report(2, "no rule made it")])).await.unwrap();
    let faults = store.faults(2).await.unwrap();
    let of = |title: &str| faults.iter().find(|fault| fault.title == title).unwrap();
    let fault = of("insert shop.selected");
    assert_eq!(
        (fault.rule.as_str(), fault.kind.as_str(), fault.count),
        ("often\nall", "change", 2)
    );
    assert_eq!(of("no rule made it").rule, "");
}

async fn what_cannot_be_taught_is_said(store: &dyn Store) {
    let origin = Origin::now_v7();
    store.position(origin).await.unwrap();
    let reports = vec![report(1, "a lonely fault of mine")];
    store.commit(&commit(origin, 0, reports)).await.unwrap();
    let fault = store.faults(1).await.unwrap()[0].clone();
    for (lesson, expected) in [
        (Lesson::Merge { fault: fault.id, into: fault.id }, "into itself"),
        (Lesson::Merge { fault: fault.id, into: 999_999 }, "there is no fault 999999"),
        (
            Lesson::Split { fault: fault.id, fingerprint: fault.fingerprint.clone() },
            "its only shape",
        ),
        (Lesson::Split { fault: fault.id, fingerprint: "v1:0".to_owned() }, "has no shape v1:0"),
        (Lesson::Pin { fault: fault.id, name: String::new() }, "1 to 200 bytes"),
    ] {
        let error = store.teach(&lesson, "ann").await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn sqlite_conforms() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sub/faultline.db");
    conforms(&Sqlite::open(&path).unwrap()).await;
    rusqlite::Connection::open(&path)
        .unwrap()
        .execute_batch(
            "CREATE TRIGGER refuse BEFORE INSERT ON events WHEN new.message = 'poison'
             BEGIN SELECT RAISE(ABORT, 'no poison'); END",
        )
        .unwrap();
    a_refused_event_is_rejected_by_itself(&Sqlite::open(&path).unwrap()).await;
}

#[tokio::test]
async fn postgres_conforms() {
    let server = faultline_testkit::postgres::Postgres::start();
    let store = postgres(&server.url());
    conforms(&store).await;
    server.execute("ALTER TABLE events ADD CHECK (message <> 'poison')").await;
    a_refused_event_is_rejected_by_itself(&store).await;
}

#[tokio::test]
async fn postgres_bears_a_dropped_partition_and_two_hubs_that_start_at_once() {
    let server = faultline_testkit::postgres::Postgres::start();
    let (one, two) = (postgres(&server.url()), postgres(&server.url()));
    let (first, second) = tokio::join!(one.migrate(), two.migrate());
    let migrations = std::fs::read_dir("../migrations/postgres").unwrap().count();
    assert_eq!(first.unwrap().len() + second.unwrap().len(), migrations, "each migration once");
    let origin = Origin::now_v7();
    one.position(origin).await.unwrap();
    one.commit(&commit(origin, 0, vec![report(1, "before")])).await.unwrap();
    server.execute("DROP TABLE events_20261122").await;
    let committed = one.commit(&commit(origin, 1, vec![report(2, "after")])).await.unwrap();
    assert_eq!(committed.tallies[Source::Errors as usize].stored, 1);
}

#[tokio::test]
async fn hubs_that_meet_new_shapes_at_once_agree() {
    let server = faultline_testkit::postgres::Postgres::start();
    let stores: Vec<_> = (0..4).map(|_| postgres(&server.url())).collect();
    stores[0].migrate().await.unwrap();
    // Each hub meets the same two hundred things going wrong, in an order of its own, some as a
    // path and some as a word.
    let hubs = stores.iter().enumerate().map(|(hub, store)| async move {
        let origin = Origin::now_v7();
        store.position(origin).await.unwrap();
        for at in 0..200_usize {
            let letters = |n: usize| {
                [n / 26, n % 26].map(|digit| char::from(b'a' + u8::try_from(digit).unwrap()))
            };
            let [one, two] = letters((at * 7 + hub * 50) % 200);
            let file = if (at + hub) % 2 == 0 { "/tmp/1" } else { "pwd" };
            let message = format!("cannot open {file} in step {one}{two} of this");
            let from = at as u64;
            store.commit(&commit(origin, from, vec![report(from + 1, &message)])).await.unwrap();
        }
    });
    futures_util::future::join_all(hubs).await;
    assert_eq!(server.number("SELECT count(*) FROM faults").await, 200);
    assert_eq!(server.number("SELECT sum(count)::bigint FROM faults").await, 800);
    assert_eq!(server.number("SELECT min(count) FROM faults").await, 4);
    assert_eq!(server.number("SELECT sum(count)::bigint FROM fault_shapes").await, 800);
}

#[tokio::test]
async fn postgres_that_is_away_is_said_to_be() {
    let mut server = faultline_testkit::postgres::Postgres::start();
    let store = postgres(&server.url());
    store.migrate().await.unwrap();
    let origin = Origin::now_v7();
    store.position(origin).await.unwrap();
    server.stop();
    let lost = commit(origin, 0, vec![report(1, "kept")]);
    let error = store.commit(&lost).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    server.resume();
    store.commit(&lost).await.unwrap();
    assert_eq!(server.number("SELECT count(*) FROM events").await, 1);
}

#[tokio::test]
async fn a_sqlite_file_that_cannot_be_opened_is_named() {
    let error = Sqlite::open(Path::new("/proc/nowhere/faultline.db")).err().unwrap();
    assert!(error.to_string().contains("/proc/nowhere"), "{error}");
}

/// A history that takes no entry stands for a process that died before it wrote one.
const NO_HISTORY: &str = "
    CREATE TABLE refinery_schema_history (
        version int4 PRIMARY KEY, name varchar(255), applied_on varchar(255),
        checksum varchar(255), CHECK (version < 0))";
const FORGET_HISTORY: &str = "DROP TABLE refinery_schema_history";

#[tokio::test]
async fn migrations_that_were_interrupted_are_begun_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("faultline.db");
    let store = Sqlite::open(&path).unwrap();
    let database = rusqlite::Connection::open(&path).unwrap();
    database.execute_batch(NO_HISTORY).unwrap();
    store.migrate().await.unwrap_err();
    database.execute_batch(FORGET_HISTORY).unwrap();
    assert!(!store.migrate().await.unwrap().is_empty());

    let server = faultline_testkit::postgres::Postgres::start();
    let store = postgres(&server.url());
    server.execute(NO_HISTORY).await;
    store.migrate().await.unwrap_err();
    server.execute(FORGET_HISTORY).await;
    assert!(!store.migrate().await.unwrap().is_empty());
}
