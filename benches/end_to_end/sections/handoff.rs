//! From VM to VM: a relay's spool, Redis, a hub, committed PostgreSQL rows.
//!
//! Throughput: a relay starts on a spool that is full already, beside a hub that reads its
//! environment, and the clock runs from the hub's first commit to its last. The limit is the
//! same hub on the same spool, with nothing between. Redis writes its log of appends every second,
//! as README says it should; all of them share this machine's cores.
//!
//! Outage: Redis is away while the relay accepts as many messages as come within `BENCH_MINUTES`
//! (1) at 5,000 a second, as fast as it answers. Then Redis is back, and the clock runs until hubs
//! have committed them all.

use std::{
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use faultline_testkit::{postgres::Postgres, redis::Redis};
use tokio::runtime::Runtime;

use super::{
    pairs, setting,
    writer::{self, MESSAGES, RECORDS},
};
use crate::{
    client::{Plan, Requests, Until, send},
    figures::{cpu_seconds, median_of, peak_mib},
    ledger::Admin,
    servers::{Kind, Server},
    support::frames,
};

const ENVIRONMENT: &str = "production";
const LOOK_EVERY: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_mins(10);
/// Messages a second that come while Redis is away.
const COMING: u64 = 5_000;
const CONNECTIONS: usize = 20;

/// What the handoff did.
struct Side {
    /// Messages committed a second.
    rate: f64,
    /// Processor time a message of the relay, Redis and the hub, in microseconds.
    micros: [f64; 3],
    /// The most memory that the relay held, in MiB.
    relay_mib: f64,
}

pub(super) fn run() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let postgres = Postgres::start();
    // The first round makes the tables.
    writer::ours(&runtime, &postgres);
    println!("goal: 0.80 of the limit, a relay below 50 MiB");
    println!("messages/s   limit's  of limit   µs: relay  Redis    hub  limit's   relay's MiB");
    let rounds: Vec<(writer::Side, Side)> = (0..pairs())
        .map(|_| (writer::ours(&runtime, &postgres), handed_over(&runtime, &postgres)))
        .collect();
    println!(
        "{:10.0}  {:8.0}  {:8.2}  {:10.2}  {:5.2}  {:5.2}  {:7.2}  {:12.0}",
        median_of(&rounds, |(_, ours)| ours.rate),
        median_of(&rounds, |(limit, _)| limit.rate),
        median_of(&rounds, |(limit, ours)| ours.rate / limit.rate),
        median_of(&rounds, |(_, ours)| ours.micros[0]),
        median_of(&rounds, |(_, ours)| ours.micros[1]),
        median_of(&rounds, |(_, ours)| ours.micros[2]),
        median_of(&rounds, |(limit, _)| limit.micros.0),
        median_of(&rounds, |(_, ours)| ours.relay_mib),
    );
    outage();
}

/// A hub on this store that reads the environment.
fn hub(postgres: &Postgres, redis: &Redis) -> Server {
    let settings = [
        ("FAULTLINE_HANDOFF__URL", redis.url()),
        ("FAULTLINE_HANDOFF__CONSUME", ENVIRONMENT.to_owned()),
    ];
    let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
    Server::start_with(&Kind::Postgres(postgres.url()), Stdio::null(), &settings)
}

fn relay(redis: &Redis, more: &[(&str, &str)]) -> Server {
    let url = redis.url();
    let mut settings = vec![
        ("FAULTLINE_HANDOFF__URL", url.as_str()),
        ("FAULTLINE_HANDOFF__ENVIRONMENT", ENVIRONMENT),
    ];
    settings.extend(more);
    Server::start_with(&Kind::Relay, Stdio::null(), &settings)
}

fn handed_over(runtime: &Runtime, postgres: &Postgres) -> Side {
    let directory = tempfile::tempdir().unwrap();
    runtime.block_on(writer::prepare(directory.path(), postgres));
    let redis = Redis::start();
    let hub = hub(postgres, &redis);
    let mut admin = Admin::of(&hub);
    let before = admin.handed_over("logdrains");
    let spool = directory.path().display().to_string();
    let relay = relay(&redis, &[("FAULTLINE_SPOOL__DIR", &spool)]);
    let pids = [relay.pid(), redis.pid(), hub.pid()];
    let all = before + RECORDS as u64 * u64::from(MESSAGES);
    let first = handed_over_beyond(&mut admin, before);
    let (started, used) = (Instant::now(), pids.map(cpu_seconds));
    let last = handed_over_beyond(&mut admin, all - 1);
    let (seconds, count) = (started.elapsed().as_secs_f64(), (last - first) as f64);
    let mut micros = [0.0; 3];
    for ((each, pid), before) in micros.iter_mut().zip(pids).zip(used) {
        *each = (cpu_seconds(pid) - before) * 1e6 / count;
    }
    Side { rate: count / seconds, micros, relay_mib: peak_mib(relay.pid()) }
}

/// Waits until more messages than `count` came by handoff and are stored; gives how many.
fn handed_over_beyond(admin: &mut Admin, count: u64) -> u64 {
    let started = Instant::now();
    loop {
        let stored = admin.handed_over("logdrains");
        if stored > count {
            return stored;
        }
        assert!(started.elapsed() < PATIENCE, "{stored} of {count} are handed over");
        std::thread::sleep(LOOK_EVERY);
    }
}

fn outage() {
    let minutes = setting("BENCH_MINUTES", 1);
    println!(
        "\ngoal: what came in {minutes} min without Redis is stored 5 times as fast as it came"
    );
    println!("  messages  spool MiB  relay's MiB  messages/s  times as fast");
    let postgres = Postgres::start();
    let mut redis = Redis::start();
    redis.kill();
    let relay = relay(&redis, &[("FAULTLINE_SPOOL__MAX_BYTES", "20 GiB")]);
    let bodies: Vec<_> = (1..=64).map(|seed| frames(MESSAGES as usize, seed)).collect();
    let drain = Arc::new(Requests::drain(bodies, MESSAGES));
    let requests = minutes * 60 * COMING / u64::from(MESSAGES);
    let until = Until::Sent(requests);
    let sent = send(relay.receiver, &drain, Plan { connections: CONNECTIONS, until, credit: 0 });
    assert_eq!(sent.refused, 0, "the spool has room for all");
    let spool_mib = Admin::connect(&relay).spool_bytes() / f64::from(1 << 20);
    let mib = peak_mib(relay.pid());
    redis.resume();
    let hub = hub(&postgres, &redis);
    let mut admin = Admin::of(&hub);
    let started = Instant::now();
    let all = sent.answers.len() as u64 * u64::from(MESSAGES);
    let stored = handed_over_beyond(&mut admin, all - 1);
    assert_eq!(stored, all);
    let rate = all as f64 / started.elapsed().as_secs_f64();
    let mib = mib.max(peak_mib(relay.pid()));
    println!("{all:10}  {spool_mib:9.0}  {mib:11.0}  {rate:10.0}  {:13.1}", rate / COMING as f64);
}
