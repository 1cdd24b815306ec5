//! The same shapes of load as the best pipelines of today were measured with.
//!
//! Their figures are fixed: Vector 0.57 and Fluent Bit 5.1, measured on a two-core virtual machine
//! like the one that CI has, load generator and PostgreSQL on the same two cores. What they did
//! for it differs from what Faultline does: they had nothing on disk before they answered (Vector's
//! rows into PostgreSQL excepted, which it had acknowledged), no fingerprint, no counters, and the
//! table had no index.

use std::sync::Arc;

use faultline_testkit::postgres::Postgres;

use super::{CREDIT, WARM_UP, pairs, seconds, setting};
use crate::{
    client::{Flow, Plan, Requests, Until, flow},
    figures::{Meter, median_of, peak_mib},
    piped::{Lines, Poured, pour},
    servers::{Kind, Server},
    support::app_frames,
};

/// Vector, Heroku source → nothing: messages a request, messages a second, CPU µs a message.
const VECTOR_TO_NOTHING: [(u32, f64, f64); 3] =
    [(1, 20_000.0, 79.0), (10, 113_000.0, 14.5), (100, 320_000.0, 6.0)];
/// Vector, Heroku source → PostgreSQL, acknowledged, 100 messages a request: rows a second.
const VECTOR_TO_POSTGRES: f64 = 106_000.0;
/// Its p99 in milliseconds; its own and PostgreSQL's CPU µs a row.
const VECTOR_TO_POSTGRES_COST: (f64, f64, f64) = (89.0, 8.8, 9.6);
/// Fluent Bit, Maxwell lines from standard input → nothing: lines a second, CPU µs a line.
const FLUENT_BIT_LINES: (f64, f64) = (233_000.0, 4.3);
/// Vector, Maxwell lines → PostgreSQL: rows a second; own and PostgreSQL's CPU µs a row; MB.
const VECTOR_LINES_TO_POSTGRES: (f64, f64, f64, f64) = (63_000.0, 16.0, 14.0, 197.0);

const CONNECTIONS: usize = 50;
const LINES: usize = 250_000;

struct Round {
    flow: Flow,
    micros: (f64, f64),
    peak_mib: f64,
}

pub(super) fn run() {
    let postgres = Postgres::start();
    println!(
        "log lines → nothing, stored by the ledger (goal: 2.00 × the peer's, 0.50 of its CPU)"
    );
    println!("messages     msg/s    peer's      ×   µs/msg  peer's  share  MiB");
    for (messages, rate, micros) in VECTOR_TO_NOTHING {
        let rounds: Vec<Round> =
            (0..pairs()).map(|_| log_lines(&Kind::Nothing, None, messages)).collect();
        println!(
            "{messages:8}  {:8.0}  {rate:8.0}  {:5.2}  {:7.2}  {micros:6.1}  {:5.2}  {:3.0}",
            median_of(&rounds, |round| round.flow.rate()),
            median_of(&rounds, |round| round.flow.rate() / rate),
            median_of(&rounds, |round| round.micros.0),
            median_of(&rounds, |round| round.micros.0 / micros),
            rounds.iter().map(|round| round.peak_mib).fold(0.0, f64::max),
        );
    }
    into_stores(&postgres);
    lines(&postgres);
}

/// Log rows, 100 messages a request.
fn into_stores(postgres: &Postgres) {
    let (p99, own, server) = VECTOR_TO_POSTGRES_COST;
    println!("log lines → store, 100 a request (goal: 2.00 × the peer's)");
    println!("store         rows/s     ×  answered p99  stored p99   µs/row  (PostgreSQL)  MiB");
    println!(
        "peer's      {VECTOR_TO_POSTGRES:8.0}  1.00  {p99:9.1} ms              {own:7.2}  {server:12.2}"
    );
    for (name, kind, pid) in [
        ("PostgreSQL", Kind::Postgres(postgres.url()), postgres.pid()),
        ("SQLite", Kind::Sqlite, None),
    ] {
        let rounds: Vec<Round> = (0..pairs())
            .map(|_| {
                empty(postgres);
                log_lines(&kind, pid, 100)
            })
            .collect();
        println!(
            "{name:10}  {:8.0}  {:4.2}  {:9.1} ms  {:7.0} ms  {:7.2}  {:12.2}  {:3.0}",
            median_of(&rounds, |round| round.flow.rate()),
            median_of(&rounds, |round| round.flow.rate() / VECTOR_TO_POSTGRES),
            median_of(&rounds, |round| round.flow.answered_p99),
            median_of(&rounds, |round| round.flow.stored_p99),
            median_of(&rounds, |round| round.micros.0),
            median_of(&rounds, |round| round.micros.1),
            rounds.iter().map(|round| round.peak_mib).fold(0.0, f64::max),
        );
    }
}

/// Maxwell's lines from standard input.
fn lines(postgres: &Postgres) {
    let lines = Lines::new(LINES);
    let times = usize::try_from(setting("BENCH_TIMES", 4)).unwrap();
    let to_nothing: Vec<Poured> =
        (0..pairs()).map(|_| pour(&Kind::Nothing, None, &lines, 2 * times)).collect();
    let to_postgres: Vec<Poured> = (0..pairs())
        .map(|_| {
            empty(postgres);
            pour(&Kind::Postgres(postgres.url()), postgres.pid(), &lines, times)
        })
        .collect();
    println!("Maxwell lines (goal: 2.00 × to nothing at 0.50 of the CPU, 1.50 × to PostgreSQL)");
    println!(
        "to            lines/s    peer's     ×  µs/line  peer's  (PostgreSQL)  peer's  MiB  peer's"
    );
    let (peer_rate, peer_micros) = FLUENT_BIT_LINES;
    row("nothing", &to_nothing, (peer_rate, peer_micros, 0.0, 0.0));
    row("PostgreSQL", &to_postgres, VECTOR_LINES_TO_POSTGRES);
}

fn row(name: &str, rounds: &[Poured], peer: (f64, f64, f64, f64)) {
    let (rate, own, server, memory) = peer;
    println!(
        "{name:10}  {:8.0}  {rate:8.0}  {:4.2}  {:7.2}  {own:6.1}  {:12.2}  {server:6.1}  {:3.0}  {memory:6.0}",
        median_of(rounds, |round| round.rate),
        median_of(rounds, |round| round.rate / rate),
        median_of(rounds, |round| round.micros.0),
        median_of(rounds, |round| round.micros.1),
        rounds.iter().map(|round| round.peak_mib).fold(0.0, f64::max),
    );
}

fn log_lines(kind: &Kind, postgres: Option<u32>, messages: u32) -> Round {
    let bodies = (0..64).map(|seed| app_frames(messages as usize, 1 + seed)).collect();
    let requests = Arc::new(Requests::drain(bodies, messages));
    let plan = |until| Plan { connections: CONNECTIONS, until, credit: CREDIT };
    let server = Server::start(kind);
    flow(&server, "logdrains", &requests, plan(Until::After(WARM_UP)));
    let meter = Meter::start(&server, postgres);
    let flow = flow(&server, "logdrains", &requests, plan(Until::After(2 * seconds())));
    let micros = meter.micros_each(flow.stored);
    Round { flow, micros, peak_mib: peak_mib(server.pid()) }
}

/// Every round begins with an empty table and all of the log that PostgreSQL may write.
fn empty(postgres: &Postgres) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        // Before the first round there is no such table.
        let _ = postgres.client().await.batch_execute("TRUNCATE events").await;
        postgres.execute("CHECKPOINT").await;
    });
}
