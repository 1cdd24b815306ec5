//! The bucket watcher and Alibaba Cloud OSS, by a stand-in that checks signatures as the specification
//! says, knows regions and pages, and fails when it is told to.
//!
//! `KEYS` says how many keys the large bucket has, 20,000 by default.

#![expect(clippy::print_stderr, reason = "a failing test is told by a panic and what is printed")]

use std::{
    env,
    time::{Duration, Instant},
};

use faultline_testkit::{
    eventually,
    oss::{Fault, KEY_ID, Oss, SECRET},
    program::Program,
    within,
};

const BINARY: &str = env!("CARGO_BIN_EXE_faultline");
const HOME: &str = "cn-hangzhou";
const FAR: &str = "eu-central-1";

fn watching(program: Program, oss: &Oss) -> Program {
    program
        .set("bucket_watcher.kind", "oss")
        .set("bucket_watcher.endpoint", &oss.endpoint(HOME))
        .set("bucket_watcher.region", HOME)
        .set("bucket_watcher.access_key_id", KEY_ID)
        .set("bucket_watcher.access_key_secret", SECRET)
        .set("bucket_watcher.interval", "1s")
        .set("bucket_watcher.interval_cap", "1s")
        .set("bucket_watcher.retry_first", "10ms")
        .set("bucket_watcher.retry_cap", "100ms")
}

/// Waits until so many parts of buckets have been passed over.
async fn passed(program: &Program, parts: i64) {
    eventually("the first pass is done", async || {
        let sql = "SELECT count(*) FROM bucket_places WHERE passes > 0";
        // Before the first start there is no such table.
        let is_there = "SELECT count(*) FROM sqlite_master WHERE name = 'bucket_places'";
        if program.database.number(is_there).await == 0 {
            return Err(0);
        }
        let passed = program.database.number(sql).await;
        if passed == parts { Ok(()) } else { Err(passed) }
    })
    .await;
}

async fn objects(program: &Program) -> Vec<String> {
    let sql = "SELECT message FROM events WHERE kind = 'object' ORDER BY message";
    program.database.texts(sql).await
}

async fn told(program: &Program, expected: &[&str]) {
    eventually("the events are stored", async || {
        let found = objects(program).await;
        if found == expected { Ok(()) } else { Err(found) }
    })
    .await;
}

async fn error_of(program: &Program) -> String {
    let health = program.json("/health").await;
    assert!(!health.to_string().contains(SECRET));
    health["components"]["buckets"]["error"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bucket_is_listed_in_its_own_region_page_by_page() {
    let oss = Oss::start(&[HOME, FAR]).await;
    for (region, bucket) in [(HOME, "a"), (FAR, "b"), (HOME, "c"), (FAR, "d"), (HOME, "e")] {
        oss.make_bucket(region, bucket);
    }
    for index in 0..25 {
        oss.put("b", &format!("{index:02} ö+%&=?.txt"), "x");
    }
    let mut program = watching(Program::new(BINARY), &oss).set("bucket_watcher.page", "10");
    program.start();
    passed(&program, 5).await;
    let asked = oss.take_asked();
    assert!(asked.iter().all(|asked| asked.status == 200), "{asked:?}");
    let of = |bucket: &str| asked.iter().filter(|asked| asked.bucket == bucket).collect::<Vec<_>>();
    let [first, second, third, ..] = &of("b")[..] else { panic!("three pages") };
    assert!(of("b").iter().all(|asked| asked.region == FAR), "{asked:?}");
    assert!(of("a").iter().all(|asked| asked.region == HOME), "{asked:?}");
    assert_eq!(first.query["list-type"], "2");
    assert!(!first.query.contains_key("continuation-token"));
    assert!(second.query.contains_key("continuation-token"));
    assert_ne!(second.query["continuation-token"], third.query["continuation-token"]);
    assert!(of("").len() >= 3, "five buckets, two on a page");

    oss.put("b", "07 ö+%&=?.txt", "another");
    oss.delete("b", "24 ö+%&=?.txt");
    oss.put("d", "new\u{1f600}", "x");
    told(
        &program,
        &["changed b/07 ö+%&=?.txt", "created d/new\u{1f600}", "deleted b/24 ö+%&=?.txt"],
    )
    .await;
    oss.make_bucket(FAR, "f");
    passed(&program, 6).await;
    let line = program.settled().await.line("bucket");
    assert_eq!((line.received, line.stored), (3, 3));
    program.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_is_said_and_passes_and_nothing_counts_as_deleted() {
    let oss = Oss::start(&[HOME]).await;
    oss.make_bucket(HOME, "a");
    for index in 0..30 {
        oss.put("a", &format!("{index:02}"), "x");
    }
    let mut program = watching(Program::new(BINARY), &oss)
        .set("bucket_watcher.page", "10")
        .set("bucket_watcher.buckets", "a");
    program.start();
    passed(&program, 1).await;
    // These pass: the same request is sent again.
    oss.fail_next([Fault::Unavailable, Fault::Truncated, Fault::Unavailable]);
    eventually("they were met", async || if oss.faults_left() == 0 { Ok(()) } else { Err(()) })
        .await;
    oss.put("a", "new", "x");
    told(&program, &["created a/new"]).await;
    assert!(program.metric("faultline_bucket_requests_total", "status=\"503\"").await > 1.5);
    // These do not: the pass is left, and the next one tells what is.
    for (fault, expected) in [
        (
            Fault::SignatureDoesNotMatch,
            "does not accept the credentials: 403 SignatureDoesNotMatch",
        ),
        (
            Fault::ClockSkew,
            "clock and ours differ by 0 s; it refuses requests (403 RequestTimeTooS",
        ),
        (Fault::Unsorted, "does not list in the order of keys"),
    ] {
        oss.fail_next([fault; 3]);
        eventually("health says so", async || {
            let error = error_of(&program).await;
            if error.contains(expected) { Ok(()) } else { Err(error) }
        })
        .await;
        eventually("it is over", async || {
            let error = error_of(&program).await;
            if error.is_empty() { Ok(()) } else { Err(error) }
        })
        .await;
    }
    oss.delete("a", "07");
    told(&program, &["created a/new", "deleted a/07"]).await;
    assert!(!program.log().contains(SECRET));
    program.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn temporary_credentials_and_rules_for_objects() {
    let oss = Oss::start(&[HOME]).await;
    oss.make_bucket(HOME, "backups-eu");
    oss.put("backups-eu", "db/full.dump", "x");
    let program = watching(Program::new(BINARY), &oss).set("bucket_watcher.session_token", "sts");
    let rules = "[[rules]]\nname = \"vanished\"\nmatch.bucket = \"backups-*\"\n\
                 match.type = \"deleted\"\nfault_by = [\"bucket\", \"folder\"]\n";
    std::fs::write(program.directory().join("config.toml"), rules).unwrap();
    let mut program = program;
    program.start();
    passed(&program, 1).await;
    oss.delete("backups-eu", "db/full.dump");
    oss.put("backups-eu", "db/next.dump", "x");
    told(&program, &["created backups-eu/db/next.dump", "deleted backups-eu/db/full.dump"]).await;
    let faults = "SELECT title || ' ' || kind || ' ' || count FROM faults";
    assert_eq!(program.database.texts(faults).await, ["deleted in backups-eu/db object 1"]);
    let tickets = async || program.database.number("SELECT count(*) FROM tickets").await;
    eventually("a ticket is made", async || if tickets().await == 1 { Ok(()) } else { Err(()) })
        .await;
    program.finish().await;
}

#[tokio::test]
async fn rules_for_objects_can_be_tried_out() {
    let program = Program::new(BINARY).arguments(&["check", "--tests", "tests.toml"]);
    let config = "[jira]\nproject = \"OPS\"\n[[rules]]\nname = \"vanished\"\nmatch.key = \"*.dump\"\n\
                  match.type = \"deleted\"\nsummary = \"{{ fault.title }}\"\n";
    let tests = r#"
[[tests]]
name = "a backup is gone"
source = "bucket"
line = '{"type":"deleted","bucket":"b","key":"a/x.dump"}'
expect = { rule = "vanished", ticket = { summary = "deleted in b" } }
[[tests]]
name = "a new one is fine"
source = "bucket"
line = '{"type":"created","bucket":"b","key":"a/x.dump"}'
expect = { outcome = "none" }
"#;
    std::fs::write(program.directory().join("config.toml"), config).unwrap();
    std::fs::write(program.directory().join("tests.toml"), tests).unwrap();
    let output = program.run().await;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(said, "ok      a backup is gone\nok      a new one is fine\n");
    assert!(output.status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_bucket_is_listed_in_bounded_memory() {
    let keys = env::var("KEYS").map_or(20_000, |text| text.parse::<u64>().unwrap());
    let oss = Oss::start(&[HOME]).await;
    oss.make_large_bucket(HOME, "large", keys);
    let mut program = watching(Program::with_postgres(BINARY), &oss);
    program.start();
    let before = program.peak_mib();
    let mut started = Instant::now();
    let patience = Duration::from_secs(60 + keys / 500);
    let passes = async |least: i64| {
        within(patience, "a pass is done", async || {
            let sql = "SELECT coalesce(max(passes), 0) FROM bucket_places";
            let is_there = "SELECT count(*) FROM pg_tables WHERE tablename = 'bucket_places'";
            if program.database.number(is_there).await == 0 {
                return Err(0);
            }
            let passes = program.database.number(sql).await;
            if passes >= least { Ok(()) } else { Err(passes) }
        })
        .await;
    };
    passes(1).await;
    let first = started.elapsed();
    started = Instant::now();
    let stored = program.database.number("SELECT count(*) FROM bucket_objects").await;
    assert_eq!(u64::try_from(stored), Ok(keys));
    // And once more, comparing all of it.
    let listed = async || program.metric("faultline_bucket_objects_listed_total", "").await;
    within(patience, "it is compared", async || {
        let listed = listed().await;
        if listed >= 2.0 * keys as f64 { Ok(()) } else { Err(listed) }
    })
    .await;
    let (second, peak) = (started.elapsed(), program.peak_mib());
    eprintln!("KEYS={keys} first pass {first:?}, second {second:?}, peak {before} to {peak} MiB");
    assert!(peak < 100, "{peak} MiB");
    assert_eq!(program.database.number("SELECT count(*) FROM events").await, 0);
    program.finish().await;
}
