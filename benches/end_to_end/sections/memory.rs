//! What the program holds in memory at full load into PostgreSQL.
//!
//! Three loads: as fast as is stored, as fast as is answered (the spool is soon full and clients
//! hear 503), and a million faults, each met once. `BENCH_MINUTES` (1) is how long the first two
//! last. Stored rows are thrown away all the time: ten minutes of them would fill a small disk.

use std::{
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use faultline_testkit::postgres::Postgres;

use super::{CREDIT, setting};
use crate::{
    client::{Plan, Requests, Until, flow, send},
    figures::{median, peak_mib, resident_mib},
    ledger::Admin,
    servers::{Kind, Server},
    support::frames,
};

const CONNECTIONS: usize = 50;
const FAULTS: u64 = 1_000_000;
const EVERY: Duration = Duration::from_millis(250);
const THROW_AWAY_EVERY: Duration = Duration::from_secs(10);

pub(super) fn run() {
    let minutes = setting("BENCH_MINUTES", 1);
    let time = Duration::from_secs(60 * minutes);
    let plan = |until| Plan { connections: CONNECTIONS, until, credit: CREDIT };
    println!("goal: never 100 MiB, and flat; {minutes} min each; MiB");
    println!("{:24}  peak  first minute  last minute   messages stored", "load");
    let bodies: Vec<_> = (1..=64).map(|seed| frames(100, seed)).collect();
    let drain = Arc::new(Requests::drain(bodies, 100));
    report("as fast as stored", "logdrains", |server| {
        flow(server, "logdrains", &drain, plan(Until::After(time)));
    });
    report("as fast as answered", "logdrains", |server| {
        send(server.receiver, &drain, plan(Until::After(time)));
    });
    let faults = Arc::new(Requests::reports_of(0..FAULTS));
    report("a million faults", "errors", |server| {
        let requests = FAULTS / u64::from(faults.messages);
        flow(server, "errors", &faults, plan(Until::Sent(requests)));
    });
}

/// Runs the load on a server of its own, and prints what that held.
fn report(name: &str, source: &str, load: impl FnOnce(&Server)) {
    let postgres = Postgres::start();
    let settings = [("FAULTLINE_SPOOL__MAX_BYTES", "512 MiB")];
    let kind = Kind::Postgres(postgres.url());
    let server = Server::start_with(&kind, Stdio::null(), &settings);
    // The tables are made.
    Admin::of(&server);
    let has_ended = AtomicBool::new(false);
    let samples = std::thread::scope(|scope| {
        let samples = scope.spawn(|| sample(server.pid(), &has_ended));
        scope.spawn(|| throw_away(&postgres, &has_ended));
        load(&server);
        has_ended.store(true, Ordering::Relaxed);
        samples.join().unwrap()
    });
    // A load that is shorter than two minutes is halved.
    let last = samples.last().map_or(0.0, |(at, _)| *at);
    let span = (last / 2.0).min(60.0);
    let within = |from: f64, to: f64| -> Vec<f64> {
        let chosen = samples.iter().filter(|(at, _)| (from..=to).contains(at));
        chosen.map(|(_, mib)| *mib).collect()
    };
    println!(
        "{name:24}  {:4.0}  {:12.0}  {:11.0}  {:16}",
        peak_mib(server.pid()),
        median(&within(0.0, span)),
        median(&within(last - span, last)),
        Admin::of(&server).ledger(source).stored,
    );
}

/// Empties the table from time to time.
fn throw_away(postgres: &Postgres, has_ended: &AtomicBool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut last = Instant::now();
    while !has_ended.load(Ordering::Relaxed) {
        if last.elapsed() > THROW_AWAY_EVERY {
            runtime.block_on(postgres.execute("TRUNCATE events"));
            last = Instant::now();
        }
        std::thread::sleep(EVERY);
    }
}

/// Seconds since the start, and MiB held then.
fn sample(pid: u32, has_ended: &AtomicBool) -> Vec<(f64, f64)> {
    let started = Instant::now();
    let mut samples = Vec::new();
    while !has_ended.load(Ordering::Relaxed) {
        samples.push((started.elapsed().as_secs_f64(), resident_mib(pid)));
        std::thread::sleep(EVERY);
    }
    samples
}
