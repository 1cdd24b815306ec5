//! The bucket watcher against a real S3 server: what is created, changed and deleted becomes an event
//! exactly once, whoever is killed in between.
//!
//! `OBJECTS` says how many objects there are, 3,000 by default; `CRASHES` how often a hub is killed,
//! 3 times. The moments come from `SEED`, which is printed.

#![expect(
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a failing test is told by a panic and what is printed"
)]

use std::{
    collections::BTreeSet,
    env,
    time::{Duration, Instant, SystemTime},
};

use faultline_testkit::{
    database::Database,
    eventually,
    postgres::Postgres,
    program::{Program, run_to_end},
    within,
};
use serde_json::Value;

#[path = "support/s3.rs"]
mod s3;

use s3::{KEY_ID, S3, SECRET};

const BINARY: &str = env!("CARGO_BIN_EXE_faultline");

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().unwrap())
}

fn hub(s3: &S3, database: &Database) -> Program {
    Program::new(BINARY)
        .set("store.url", &database.url())
        .set("batch_writer.retry_cap", "500ms")
        .set("bucket_watcher.endpoint", &s3.endpoint())
        .set("bucket_watcher.region", "eu-central-1")
        .set("bucket_watcher.access_key_id", KEY_ID)
        .set("bucket_watcher.access_key_secret", SECRET)
        .set("bucket_watcher.environment", "staging")
        .set("bucket_watcher.interval", "1s")
        .set("bucket_watcher.interval_cap", "1s")
        .set("bucket_watcher.lease", "2s")
}

fn start_database() -> Database {
    Database::Postgres(Box::new(Postgres::start()))
}

/// As long as a pass over so many objects may take.
fn patience(objects: u64) -> Duration {
    Duration::from_secs(60 + objects / 100)
}

/// Waits until a hub has made the tables.
async fn migrated(database: &Database) {
    eventually("the schema is there", async || {
        let sql = "SELECT count(*) FROM pg_tables WHERE tablename = 'announced_changes'";
        if database.number(sql).await == 1 { Ok(()) } else { Err("not yet") }
    })
    .await;
}

/// Waits until the snapshot holds so many objects and no pass is under way in it.
async fn known(database: &Database, objects: u64) {
    migrated(database).await;
    within(patience(objects), "the snapshot is complete", async || {
        let number = async |sql| database.number(sql).await;
        let found = number("SELECT count(*) FROM bucket_objects").await;
        let unfinished =
            "SELECT count(*) FROM bucket_places WHERE passes = 0 OR cursor IS NOT NULL";
        let is_done = u64::try_from(found) == Ok(objects) && number(unfinished).await == 0;
        if is_done { Ok(()) } else { Err(found) }
    })
    .await;
}

async fn messages(database: &Database) -> Vec<String> {
    let sql = "SELECT message FROM events WHERE kind = 'object' ORDER BY message COLLATE \"C\"";
    database.texts(sql).await
}

/// Waits for these events, and no others.
async fn assert_events(database: &Database, expected: &BTreeSet<String>) {
    within(patience(expected.len() as u64), "the events are stored", async || {
        let found = messages(database).await;
        let extra = found.iter().find(|message| !expected.contains(*message));
        assert!(extra.is_none(), "{extra:?} was not expected");
        assert!(found.is_sorted_by(|one, two| one < two), "each once: {found:?}");
        if found.len() == expected.len() { Ok(()) } else { Err((found.len(), expected.len())) }
    })
    .await;
}

async fn is_watching(program: &Program) -> bool {
    let health = program.json("/health").await;
    health["components"]["buckets"]["details"]["watching"] == true
}

fn key(index: u64) -> String {
    format!("{:02}/{index:07}.txt", index % 50)
}

fn fill(s3: &S3, bucket: &str, objects: u64) {
    for index in 0..objects {
        s3.put(bucket, &key(index), "x");
    }
}

/// Makes buckets of so many objects in all; the first one is `reports`. The server reads all of a
/// bucket for every page of it, so that large ones would take their time squared.
fn fill_account(s3: &S3, objects: u64) {
    for (number, first) in (0..objects).step_by(10_000).enumerate() {
        let bucket = if number == 0 { "reports".to_owned() } else { format!("reports-{number}") };
        s3.make_bucket(&bucket);
        fill(s3, &bucket, (objects - first).min(10_000));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_told_once_and_a_restart_tells_nothing_again() {
    let objects = number("OBJECTS").unwrap_or(3_000);
    let (s3, database) = (S3::start().await, start_database());
    fill_account(&s3, objects);
    let mut program = hub(&s3, &database);
    program.start();
    let started = Instant::now();
    known(&database, objects).await;
    eprintln!("OBJECTS={objects} first pass {:?}", started.elapsed());
    assert_eq!(messages(&database).await, [""; 0], "what was there is not announced");

    let mut expected = BTreeSet::new();
    // This server says that it escapes keys, and does not; odd ones are left to the other stand-in.
    for (index, name) in ["a new/ö &.txt", "b", "zz/last"].into_iter().enumerate() {
        s3.put("reports", name, &"x".repeat(index));
        expected.insert(format!("created reports/{name}"));
    }
    s3.put("reports", &key(7), "longer");
    s3.touch("reports", &key(8), SystemTime::now() - Duration::from_hours(1));
    expected.extend([7, 8].map(|index| format!("changed reports/{}", key(index))));
    for index in 20..30 {
        s3.delete("reports", &key(index));
        expected.insert(format!("deleted reports/{}", key(index)));
    }
    assert_events(&database, &expected).await;
    let attributes = "SELECT attributes::text FROM events WHERE message LIKE 'changed%07.txt'";
    let changed: Value = serde_json::from_str(&database.texts(attributes).await[0]).unwrap();
    assert_eq!((&changed["size"], &changed["old"]["size"]), (&6.into(), &1.into()));
    let scopes = "SELECT DISTINCT environment || ' ' || service || ' ' || source FROM events";
    assert_eq!(database.texts(scopes).await, ["staging reports bucket"]);

    program.finish().await;
    s3.put("reports", "while it was down", "");
    expected.insert("created reports/while it was down".to_owned());
    program.start();
    assert_events(&database, &expected).await;
    assert!(is_watching(&program).await);
    let line = program.settled().await.line("bucket");
    assert_eq!((line.received, line.stored), (expected.len() as u64, expected.len() as u64));
    within(patience(objects), "all is listed", async || {
        let listed = program.metric("faultline_bucket_requests_total", "list_objects").await;
        if listed >= objects as f64 / 1_000.0 { Ok(()) } else { Err(listed) }
    })
    .await;
    let changes = program.metric("faultline_bucket_changes_total", "created").await;
    assert!((changes - 1.0).abs() < 0.5, "since the restart: {changes}");
    assert!(program.metric("faultline_bucket_watching", "").await > 0.5);
    assert!(!program.log().contains(SECRET));
    assert!(program.peak_mib() < 150, "{} MiB", program.peak_mib());
    program.finish().await;
}

/// While two hubs are killed again and again, objects come, change and go.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_killed_every_change_is_stored_once() {
    let seed = number("SEED").unwrap_or_else(|| fastrand::u64(..));
    let objects = number("OBJECTS").unwrap_or(3_000);
    let crashes = number("CRASHES").unwrap_or(3);
    eprintln!("SEED={seed} OBJECTS={objects} CRASHES={crashes}");
    let mut random = fastrand::Rng::with_seed(seed);
    let (s3, database) = (S3::start().await, start_database());
    fill_account(&s3, objects);
    let mut hubs = [(); 2].map(|()| hub(&s3, &database).set("bucket_watcher.lease", "1s"));
    hubs.iter_mut().for_each(Program::start);
    // In the middle of the first pass, too.
    tokio::time::sleep(Duration::from_millis(random.u64(..1_000))).await;
    let first = usize::from(!is_watching(&hubs[0]).await);
    hubs[first].kill();
    hubs[first].start();
    known(&database, objects).await;
    let mut expected = BTreeSet::new();
    for round in 0..crashes {
        // Many at once, so that a kill finds a step half done.
        for index in 0..400 {
            let name = format!("new/{round}/{index:04}");
            s3.put("reports", &name, "x");
            expected.insert(format!("created reports/{name}"));
        }
        let gone = round * 50..(round + 1) * 50;
        for index in gone.filter(|index| *index < objects) {
            s3.delete("reports", &key(index));
            expected.insert(format!("deleted reports/{}", key(index)));
        }
        tokio::time::sleep(Duration::from_millis(random.u64(..1_200))).await;
        let victim = usize::from(!is_watching(&hubs[0]).await);
        hubs[victim].kill();
        // Sometimes the other one takes over, sometimes the same one comes back first.
        tokio::time::sleep(Duration::from_millis(random.u64(..1_500))).await;
        hubs[victim].start();
    }
    assert_events(&database, &expected).await;
    for hub in &hubs {
        hub.settled().await;
    }
    let sum = async |column: &str| {
        let sql = format!("SELECT sum({column})::bigint FROM ledger WHERE source = 'bucket'");
        database.number(&sql).await
    };
    eprintln!("announced again and recognised: {}", sum("duplicate").await);
    assert_eq!(usize::try_from(sum("stored").await), Ok(expected.len()), "over all hubs");
    assert_events(&database, &expected).await;
    for hub in &mut hubs {
        hub.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_spool_has_a_change_before_the_snapshot_does() {
    let (s3, database) = (S3::start().await, start_database());
    s3.make_bucket("reports");
    fill(&s3, "reports", 10);
    let mut program = hub(&s3, &database)
        .set("spool.segment_bytes", "64 KiB")
        .set("spool.commit_bytes", "16 KiB")
        .set("spool.max_bytes", "128 KiB")
        .set("receiver.body_limit", "32 KiB");
    program.start();
    known(&database, 10).await;
    let held = database.hold("events").await;
    let report = format!(r#"{{"message":"{}"}}"#, "x".repeat(16_000));
    // To the last byte: what is announced is shorter than a large report, and longer than a small one.
    for report in [report.as_str(), r#"{"message":"x"}"#] {
        eventually("the spool is full", async || {
            let request = program.post("/errors/log", "application/json").body(report.to_owned());
            let status = request.send().await.unwrap().status();
            if status == 503 { Ok(()) } else { Err(status) }
        })
        .await;
    }
    s3.put("reports", "new", "x");
    eventually("the watcher waits", async || {
        if program.log().contains("the bucket watcher waits") { Ok(()) } else { Err(()) }
    })
    .await;
    assert_eq!(database.number("SELECT count(*) FROM bucket_objects").await, 10);
    program.kill();
    drop(held);
    program.start();
    assert_events(&database, &BTreeSet::from(["created reports/new".to_owned()])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_hub_announces_again_is_a_duplicate() {
    let (s3, database) = (S3::start().await, start_database());
    s3.make_bucket("reports");
    fill(&s3, "reports", 10);
    let mut hubs = [(); 2].map(|()| hub(&s3, &database));
    hubs[0].start();
    known(&database, 10).await;
    // The spool has the change, and the snapshot cannot be moved.
    let held = database.hold("bucket_objects").await;
    s3.put("reports", "new", "x");
    s3.delete("reports", &key(3));
    let mut expected =
        BTreeSet::from(["created reports/new".to_owned(), format!("deleted reports/{}", key(3))]);
    assert_events(&database, &expected).await;
    hubs[0].kill();
    hubs[1].start();
    drop(held);
    eventually("the other one announces it again", async || {
        let line = hubs[1].ledger().await.line("bucket");
        if line.duplicate == 2 { Ok(()) } else { Err(line) }
    })
    .await;
    s3.put("reports", "later", "x");
    expected.insert("created reports/later".to_owned());
    assert_events(&database, &expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_hub_is_relieved_and_moves_nothing_when_it_wakes() {
    let (s3, database) = (S3::start().await, start_database());
    s3.make_bucket("reports");
    fill(&s3, "reports", 100);
    let mut hubs = [(); 2].map(|()| hub(&s3, &database));
    hubs[0].start();
    known(&database, 100).await;
    hubs[1].start();
    let watches = async |hub: &Program| {
        eventually("it watches", async || is_watching(hub).await.then_some(()).ok_or(())).await;
    };
    let mut expected = BTreeSet::new();
    for round in 0..2 {
        let holder = usize::from(!is_watching(&hubs[0]).await);
        watches(&hubs[holder]).await;
        hubs[holder].signal("STOP");
        let frozen = Instant::now();
        let name = format!("round {round}");
        s3.put("reports", &name, "x");
        expected.insert(format!("created reports/{name}"));
        watches(&hubs[1 - holder]).await;
        eprintln!("taken over after {:?}", frozen.elapsed());
        assert_events(&database, &expected).await;
        hubs[holder].signal("CONT");
        let woken = &hubs[holder];
        eventually("it knows", async || (!is_watching(woken).await).then_some(()).ok_or(())).await;
    }
    s3.delete("reports", "round 0");
    expected.insert("deleted reports/round 0".to_owned());
    assert_events(&database, &expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_watermark_only_what_is_behind_it_is_listed() {
    let (s3, database) = (S3::start().await, start_database());
    s3.make_bucket("logs-eu");
    s3.make_bucket("other");
    s3.put("other", "x", "");
    s3.put("logs-eu", "ignored/x", "");
    fill(&s3, "logs-eu/app", 1_500);
    let mut program = hub(&s3, &database)
        .set("bucket_watcher.mode", "watermark")
        .set("bucket_watcher.buckets", "logs-*/app/");
    program.start();
    migrated(&database).await;
    let sql = "SELECT convert_from(cursor, 'UTF8') FROM bucket_places WHERE passes > 0";
    let cursor = eventually("it is through", async || {
        database.texts(sql).await.into_iter().next().ok_or("no pass is done")
    });
    assert_eq!(cursor.await, format!("app/{}", key(1_499)));
    s3.put("logs-eu", "app/00/before", "");
    s3.put("logs-eu", "app/zz", "");
    assert_events(&database, &BTreeSet::from(["created logs-eu/app/zz".to_owned()])).await;
    assert_eq!(database.number("SELECT count(*) FROM bucket_objects").await, 0);
    program.finish().await;
}

#[tokio::test]
async fn credentials_that_are_wrong_are_said_and_not_shown() {
    let (s3, database) = (S3::start().await, start_database());
    s3.make_bucket("reports");
    let mut program = hub(&s3, &database).set("bucket_watcher.access_key_secret", "hunter3");
    let checked = run_to_end(program.command_with(&["check"])).await;
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    let expected = "the server does not accept the credentials: 403 SignatureDoesNotMatch";
    assert!(
        said.contains(&format!("FAILED  bucket_watcher: {}: {expected}", s3.endpoint())),
        "{said}"
    );
    program.start();
    eventually("health says so", async || {
        let health = program.json("/health").await;
        let buckets = &health["components"]["buckets"];
        let error = buckets["error"].as_str().unwrap_or_default().to_owned();
        let is_said = error.contains(expected) && buckets["status"] == "degraded";
        if is_said { Ok(()) } else { Err(health) }
    })
    .await;
    assert!(program.metric("faultline_bucket_failures_total", "").await > 0.5);
    assert!(!program.log().contains("hunter3") && !said.contains("hunter3"));
    program.finish().await;
    let right = hub(&s3, &database);
    let checked = run_to_end(right.command_with(&["check"])).await;
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(said.contains("answers; buckets selected: 1"), "{said}");
}

#[tokio::test]
async fn buckets_are_watched_on_hubs_only_and_with_credentials() {
    let program = Program::new(BINARY)
        .set("bucket_watcher.endpoint", "https://s3.eu-central-1.amazonaws.com")
        .set("bucket_watcher.region", "eu-central-1")
        .set("bucket_watcher.access_key_id", "a");
    let refused = program.run().await;
    assert_eq!(refused.status.code(), Some(78));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("bucket_watcher.access_key_secret = \"\": that of"), "{said}");
    let relay = program.set("bucket_watcher.access_key_secret", "hunter2").arguments(&["relay"]);
    let relay = relay.set("handoff.url", "redis://127.0.0.1:1").set("handoff.environment", "dev");
    let refused = relay.run().await;
    assert_eq!(refused.status.code(), Some(78));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("a relay has no store to compare buckets with"), "{said}");
    assert!(!said.contains("hunter2"));
}
