//! From VM to VM: what a relay accepted is in the store exactly once, whatever happens to relays,
//! hubs and Redis in between; the ledgers of both ends agree.
//!
//! `CRASHES` says how often somebody is killed, 12 times by default. The moments come from `SEED`,
//! which is printed, so that a run can be repeated as far as a machine can. `FREEZES` says how often a
//! hub is frozen, 3 times by default.

#![expect(clippy::print_stderr, reason = "a failing test is told by what is printed")]

use std::{collections::BTreeMap, env, fs, time::Duration};

use faultline_testkit::{
    copy_files,
    database::Database,
    eventually,
    handoff::{self, assert_ledgers_agree, at_hub, committed, holds, is_well, says},
    load::Load,
    postgres::Postgres,
    program::{Program, run_to_end},
    redis::Redis,
};

const BINARY: &str = env!("CARGO_BIN_EXE_faultline");
/// The longest time between two kills, and the longest that a dead one stays dead.
const LIFE: u64 = 700;
const DEATH: u64 = 300;
/// Clients of one relay.
const CLIENTS: usize = 4;

fn relay(redis: &Redis, environment: &str) -> Program {
    handoff::relay(BINARY, &redis.url(), environment)
}

fn hub(redis: &Redis, database: &Database) -> Program {
    handoff::hub(BINARY, &redis.url(), &database.url(), "dev,staging")
}

fn start_database() -> Database {
    Database::Postgres(Box::new(Postgres::start()))
}

async fn pause(random: &mut fastrand::Rng, longest: u64) {
    tokio::time::sleep(Duration::from_millis(random.u64(..longest))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_killed_everything_is_stored_once() {
    let number = |name| env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seed = number("SEED").unwrap_or_else(|| fastrand::u64(..));
    let crashes = number("CRASHES").unwrap_or(12);
    eprintln!("SEED={seed} CRASHES={crashes}");
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut redis, database) = (Redis::start(), start_database());
    // Several streams, small entries, and one that is not compressed.
    let sharded =
        |program: Program| program.set("handoff.shards", "2").set("handoff.entry_bytes", "4 KiB");
    let mut relays = [
        sharded(relay(&redis, "dev")),
        sharded(relay(&redis, "staging")).set("handoff.compress", "none"),
    ];
    let mut hubs = [(); 2].map(|()| sharded(hub(&redis, &database)));
    relays.iter_mut().chain(&mut hubs).for_each(Program::start);
    let loads: Vec<Load> = (0..2)
        .map(|index| {
            let numbers = index * CLIENTS..(index + 1) * CLIENTS;
            Load::of(relays[index].receiver(), numbers)
        })
        .collect();
    let mut killed: BTreeMap<&str, u32> = BTreeMap::new();
    for crash in 0..crashes {
        pause(&mut random, LIFE).await;
        if crash == crashes / 2 {
            redis.flush();
            *killed.entry("flushed").or_default() += 1;
        }
        match random.usize(..5) {
            index @ 0..2 => {
                relays[index].kill();
                pause(&mut random, DEATH).await;
                relays[index].start();
                loads[index].moved(relays[index].receiver());
                *killed.entry("relay").or_default() += 1;
            }
            index @ 2..4 => {
                hubs[index - 2].kill();
                pause(&mut random, DEATH).await;
                hubs[index - 2].start();
                *killed.entry("hub").or_default() += 1;
            }
            _ => {
                redis.kill();
                pause(&mut random, DEATH).await;
                redis.resume();
                *killed.entry("redis").or_default() += 1;
            }
        }
    }
    eprintln!("{killed:?}");
    let [first, second] = loads.try_into().ok().unwrap();
    let accepted = first.end().await.with(second.end().await);
    for relay in &relays {
        assert_ledgers_agree(relay, &hubs[0]).await;
    }
    accepted.assert_stored_once(&database).await;
    let mut environments = database.texts("SELECT DISTINCT environment FROM events").await;
    environments.sort();
    assert_eq!(environments, ["dev", "staging"]);
    for program in relays.iter_mut().chain(&mut hubs) {
        program.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_was_frozen_past_its_lease_stores_nothing_twice() {
    let (redis, database) = (Redis::start(), start_database());
    let mut relay = relay(&redis, "dev");
    // One stream, so that one hub reads and the other one does not.
    let mut hubs = [(); 2].map(|()| hub(&redis, &database).set("handoff.consume", "dev"));
    relay.start();
    hubs[0].start();
    eventually("the first hub reads", async || holds(&hubs[0]).await.then_some(()).ok_or(())).await;
    hubs[1].start();
    let load = Load::start(relay.receiver(), CLIENTS);
    let stored = async || database.number("SELECT count(*) FROM events").await;
    let more_than = async |count| {
        eventually("more is stored", async || {
            let now = stored().await;
            if now > count { Ok(now) } else { Err(now) }
        })
        .await
    };
    let freezes = env::var("FREEZES").map_or(3, |text| text.parse().unwrap());
    for _ in 0..freezes {
        let holder = usize::from(!holds(&hubs[0]).await);
        let before = more_than(stored().await).await;
        hubs[holder].signal("STOP");
        let other = &hubs[1 - holder];
        eventually("the other one takes over", async || holds(other).await.then_some(()).ok_or(()))
            .await;
        more_than(before + 1_000).await;
        hubs[holder].signal("CONT");
        let woken = &hubs[holder];
        eventually("it knows", async || (!holds(woken).await).then_some(()).ok_or(())).await;
    }
    let accepted = load.end().await;
    assert_ledgers_agree(&relay, &hubs[1]).await;
    accepted.assert_stored_once(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_redis_is_away_or_full_the_relay_keeps_what_it_accepts() {
    let (mut redis, database) = (Redis::start(), start_database());
    let mut relay = relay(&redis, "dev").set("handoff.max_entries", "20");
    let mut hub = hub(&redis, &database);
    redis.kill();
    relay.start();
    let load = Load::start(relay.receiver(), CLIENTS);
    says(&relay, "refused").await;
    redis.resume();
    says(&relay, "the stream is full").await;
    let refuses = |redis: &Redis| redis.set("maxmemory", "1");
    refuses(&redis);
    hub.start();
    says(&hub, "its memory is full: maxmemory is reached").await;
    redis.set("maxmemory", "0");
    let accepted = load.end().await;
    assert_eq!(accepted.refused, 0);
    assert_ledgers_agree(&relay, &hub).await;
    accepted.assert_stored_once(&database).await;
    is_well(&relay).await;
    is_well(&hub).await;
    assert_eq!(redis.command(&["XLEN", "faultline:{dev:0}:stream"]), ":0", "trimmed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_redis_has_forgotten_learns_what_is_committed() {
    let (redis, database) = (Redis::start(), start_database());
    let (mut relay, mut hub) = (relay(&redis, "dev"), hub(&redis, &database));
    relay.start();
    hub.start();
    let report = r#"{"message":"boom","environment":"prod"}"#;
    for _ in 0..10 {
        relay.report(report).await;
    }
    let broken = relay.post("/maxwell", "application/x-ndjson").body("no json\n");
    assert!(broken.send().await.unwrap().status().is_success());
    committed(&relay).await;
    relay.kill();
    redis.flush();
    relay.start();
    let at_relay = committed(&relay).await;
    assert_eq!(at_relay["sources"]["errors"]["committed"], 10);
    assert_eq!(at_relay["sources"]["maxwell"]["committed"], 1);
    let own = at_hub(&hub, &at_relay).await;
    assert_eq!((&own["environment"], &own["shard"]), (&"dev".into(), &0.into()));
    assert_eq!(own["sources"]["maxwell"]["rejected"], 1, "by itself: {own}");
    assert_eq!(own["sources"]["errors"]["stored"], 10);
    assert!(relay.metric("faultline_redis_up", "").await > 0.5);
    assert!(hub.metric("faultline_streams_held", "").await > 1.5);
    assert_eq!(database.number("SELECT count(*) FROM events").await, 10);
    let environments = database.texts("SELECT DISTINCT environment FROM events").await;
    assert_eq!(environments, ["dev"], "the relay's, whatever a report says");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_copy_of_the_spool_is_noticed_though_redis_forgot_too() {
    let (redis, database) = (Redis::start(), start_database());
    let (mut relay, mut hub) = (relay(&redis, "dev"), hub(&redis, &database));
    let (spool, older) = (relay.directory().join("spool"), relay.directory().join("older"));
    let send = async |relay: &Program, message: &str| {
        relay.report(&format!(r#"{{"message":"{message}"}}"#)).await;
    };
    relay.start();
    hub.start();
    send(&relay, "one").await;
    committed(&relay).await;
    relay.kill();
    copy_files(&spool, &older);
    relay.start();
    for message in ["two", "three", "four"] {
        send(&relay, message).await;
    }
    committed(&relay).await;
    relay.kill();
    fs::remove_dir_all(&spool).unwrap();
    fs::rename(&older, &spool).unwrap();
    redis.flush();
    relay.start();
    // It gets the place that "two" has in the store.
    send(&relay, "late").await;
    says(&relay, "an older copy").await;
    relay.kill();
    fs::remove_file(spool.join("origin")).unwrap();
    relay.start();
    committed(&relay).await;
    let mut stored = database.texts("SELECT DISTINCT message FROM events").await;
    stored.sort();
    assert_eq!(stored, ["four", "late", "one", "three", "two"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_hubs_have_committed_meanwhile_is_not_damaged() {
    let (redis, database) = (Redis::start(), start_database());
    let mut relay = relay(&redis, "dev")
        .set("spool.segment_bytes", "64 KiB")
        .set("spool.commit_bytes", "64 KiB")
        .set("receiver.body_limit", "32 KiB")
        .set("handoff.entry_bytes", "4 KiB");
    let mut hub = hub(&redis, &database);
    relay.start();
    let report = format!(r#"{{"message":"{}"}}"#, "boom ".repeat(6_000));
    for _ in 0..200 {
        relay.report(&report).await;
    }
    eventually("all is handed over", async || {
        let entries = relay.metric("faultline_stream_entries_total", "").await;
        if entries > 199.5 { Ok(()) } else { Err(entries) }
    })
    .await;
    relay.kill();
    // All is stored while the relay is away and its spool still has it.
    hub.start();
    eventually("the store has its tables", async || {
        hub.log().contains("schema brought up to date").then_some(()).ok_or(())
    })
    .await;
    eventually("all is stored", async || {
        let stored = database.number("SELECT count(*) FROM events").await;
        if stored == 200 { Ok(()) } else { Err(stored) }
    })
    .await;
    redis.flush();
    // Only the first segments are on their way again when it learns so.
    let mut relay = relay.set("handoff.max_entries", "20");
    relay.start();
    committed(&relay).await;
    relay.report(&report).await;
    let at_relay = committed(&relay).await;
    assert_eq!(at_relay["sources"]["errors"]["committed"], 201);
    assert_eq!(at_hub(&hub, &at_relay).await["sources"]["errors"]["stored"], 201);
    assert!(relay.metric("faultline_spool_damaged_records_total", "").await < 0.5);
    assert!(!relay.log().contains("damaged"), "{}", relay.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_redis_could_lose_is_said() {
    let redis = Redis::start_with(&["--save", "", "--requirepass", "hunter2"]);
    let url = redis.url().replace("redis://", "redis://:hunter2@");
    let mut program = relay(&redis, "dev").set("handoff.url", &url);
    program.start();
    eventually("health says so", async || {
        let health = program.json("/health").await;
        let warnings = &health["components"]["redis"]["warnings"];
        let error = health["components"]["redis"]["error"].as_str().unwrap_or("").to_owned();
        assert!(!health.to_string().contains("hunter2"));
        if error.contains("appendonly = no") { Ok(()) } else { Err(format!("{warnings} {error}")) }
    })
    .await;
    program.finish().await;
    let checked = Program::new(BINARY)
        .set("handoff.url", &url)
        .set("handoff.environment", "dev")
        .arguments(&["check"])
        .run()
        .await;
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(said.contains("ok      handoff: redis://:***@127.0.0.1"), "{said}");
    assert!(said.contains("appendonly = no") && !said.contains("hunter2"), "{said}");
    let wrong = url.replace("hunter2", "hunter3");
    let program = Program::new(BINARY).set("handoff.url", &wrong).arguments(&["check"]);
    let said = String::from_utf8_lossy(&program.run().await.stdout).into_owned();
    assert!(said.contains("FAILED  handoff") && !said.contains("hunter3"), "{said}");
    assert!(!program.log().contains("hunter"));
}

#[tokio::test]
async fn a_relay_without_redis_or_environment_says_what_it_needs() {
    let output = Program::new(BINARY).arguments(&["relay"]).run().await;
    assert_eq!(output.status.code(), Some(78));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("handoff.url = \"\": a relay needs"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_looks_at_a_relay_as_it_starts() {
    let redis = Redis::start();
    let check = async |program: &Program| {
        let output = run_to_end(program.command_with(&["check", "--relay"])).await;
        let [said, complained] =
            [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        (output.status.code(), said, complained)
    };
    // The store, which a relay does not have, is not asked.
    let program = relay(&redis, "dev").set("store.url", "postgres://u:p@127.0.0.1:1/d");
    let (code, said, complained) = check(&program).await;
    assert_eq!(code, Some(0), "{said}{complained}");
    let lines: Vec<_> = said.lines().map(|line| line.split(':').next().unwrap().trim()).collect();
    let expected = ["configuration", "spool", "handoff", "receiver", "admin"];
    assert_eq!(lines, expected.map(|what| format!("ok      {what}")), "{said}");
    // What keeps it from starting is refused, though a hub would start.
    let (code, said, complained) = check(&program.set("admin.auth", "users")).await;
    assert_eq!((code, said.as_str()), (Some(78), ""), "{complained}");
    assert!(complained.contains("admin.auth = \"users\": a relay has no store"), "{complained}");
    let (code, _, complained) = check(&Program::new(BINARY)).await;
    assert_eq!(code, Some(78), "{complained}");
    assert!(complained.contains("handoff.url = \"\": a relay needs"), "{complained}");
}
