//! From faults that are stored to jobs in PostgreSQL, and from jobs to requests that Jira gets.
//!
//! Intents: the program starts on a store with faults about which nothing is decided yet, while
//! dispatch is paused. It reads them, asks the rules, makes the ticket's text, and in one
//! transaction a batch marks the faults and writes ticket, job and audit trail. The clock runs
//! from the first batch's transaction to the last one's.
//!
//! The limit: the very rows that the program wrote, as PostgreSQL's binary COPY gives them back,
//! kept in memory in batches of the same size; a loop copies them into the same tables, with their
//! keys and indexes, and commits each batch. Nothing is read, decided or marked there.
//!
//! Rate: many jobs that are all due, and a fake Jira that notes when each request comes. New
//! tickets are made many in one request, comments one by one.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use bytes::Bytes;
use faultline_testkit::{
    jira::{Jira, Settings},
    postgres::Postgres,
};
use futures_util::{SinkExt, TryStreamExt};
use tokio::runtime::Runtime;

use super::pairs;
use crate::{
    figures::{Meter, median_of},
    servers::{Kind, Server},
};

const FAULTS: i64 = 40_000;
/// What the program decides about at a time.
const A_BATCH: i64 = 1_000;
const JOBS: i64 = 10_000;
const RATE: usize = 50;
/// How long requests are counted.
const COUNTED: Duration = Duration::from_secs(15);
const PATIENCE: Duration = Duration::from_mins(5);
/// What one batch writes, and how it is found again.
const TABLES: [(&str, &str); 3] = [("tickets", "fault"), ("jobs", "fault"), ("audit_trail", "id")];

/// What one side did.
struct Side {
    /// Faults a second.
    rate: f64,
    /// Processor time a fault of the program and of PostgreSQL, in microseconds.
    micros: (f64, f64),
}

pub(super) fn run() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    intents(&runtime);
    rate(&runtime);
}

fn intents(runtime: &Runtime) {
    let postgres = Postgres::start();
    // Makes the tables.
    drop(hub(&postgres, &[]));
    let ours = || ours(runtime, &postgres);
    // The first round makes the rows that the limit copies.
    ours();
    let batches = runtime.block_on(written_rows(&postgres));
    println!("goal: 20000 faults/s");
    println!("faults/s   limit's  of limit  µs/fault  (PostgreSQL)  limit's PostgreSQL");
    let rounds: Vec<(Side, Side)> =
        (0..pairs()).map(|_| (runtime.block_on(limit(&postgres, &batches)), ours())).collect();
    println!(
        "{:8.0}  {:8.0}  {:8.2}  {:8.1}  {:12.1}  {:18.1}",
        median_of(&rounds, |(_, ours)| ours.rate),
        median_of(&rounds, |(limit, _)| limit.rate),
        median_of(&rounds, |(limit, ours)| ours.rate / limit.rate),
        median_of(&rounds, |(_, ours)| ours.micros.0),
        median_of(&rounds, |(_, ours)| ours.micros.1),
        median_of(&rounds, |(limit, _)| limit.micros.1),
    );
}

/// The program on this store, once its tables are there.
fn hub(postgres: &Postgres, settings: &[(&str, &str)]) -> Server {
    let all: Vec<_> = [("FAULTLINE_JIRA__STORM_BUDGET", "0")]
        .into_iter()
        .chain(settings.iter().copied())
        .collect();
    let server = Server::start_with(&Kind::Postgres(postgres.url()), Stdio::null(), &all);
    crate::ledger::Admin::of(&server);
    server
}

/// So many faults that were met and not decided about, and dispatch paused.
async fn undecided(postgres: &Postgres, count: i64) {
    postgres
        .execute(&format!(
            "TRUNCATE faults, tickets, jobs, audit_trail RESTART IDENTITY CASCADE;
             INSERT INTO switches VALUES ('dispatch_paused', true)
                 ON CONFLICT (name) DO UPDATE SET is_on = true;
             INSERT INTO faults (environment, service, fingerprint, kind, severity, title, example,
                 latest, count, first_seen, last_seen)
             SELECT 'production', 'checkout', 'v1:' || md5(number::text) || md5(number::text),
                 'error', 'error', 'cannot charge order <number> of ' || md5(number::text),
                 example, example, 1, now(), now()
             FROM generate_series(1, {count}) AS number,
                 LATERAL (SELECT 'cannot charge order ' || number || ' of ' || md5(number::text)
                     || E': connect ECONNREFUSED 10.0.0.7:5432\\n    at Pool.connect '
                     || '(/app/node_modules/pg-pool/index.js:45:11)' AS example) AS texts"
        ))
        .await;
    postgres.execute("VACUUM ANALYZE faults").await;
    postgres.execute("CHECKPOINT").await;
}

/// Waits until a query gives this number.
async fn until(postgres: &Postgres, what: &str, sql: &str, expected: i64) {
    let client = postgres.client().await;
    let started = Instant::now();
    loop {
        let number: i64 = client.query_one(sql, &[]).await.unwrap().get(0);
        if number >= expected {
            return;
        }
        assert!(started.elapsed() < PATIENCE, "{what}: {number} of {expected}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until each fault has its job.
async fn all_intended(postgres: &Postgres, count: i64) {
    // The sequence costs nothing to look at, but runs ahead of what is committed.
    until(postgres, "intents", "SELECT last_value FROM jobs_id_seq", count).await;
    until(postgres, "intents", "SELECT count(*) FROM jobs", count).await;
}

fn ours(runtime: &Runtime, postgres: &Postgres) -> Side {
    runtime.block_on(undecided(postgres, FAULTS));
    let server = Server::start_with(
        &Kind::Postgres(postgres.url()),
        Stdio::null(),
        &[("FAULTLINE_JIRA__STORM_BUDGET", "0")],
    );
    let meter = Meter::start(&server, postgres.pid());
    runtime.block_on(async {
        all_intended(postgres, FAULTS).await;
        let micros = meter.micros_each(FAULTS.unsigned_abs());
        let between = "SELECT extract(epoch FROM max(created_at) - min(created_at))::float8
                       FROM jobs";
        let client = postgres.client().await;
        let seconds: f64 = client.query_one(between, &[]).await.unwrap().get(0);
        Side { rate: (FAULTS - A_BATCH) as f64 / seconds, micros }
    })
}

/// What was written, by table, in batches, each a whole binary COPY.
async fn written_rows(postgres: &Postgres) -> Vec<Vec<Bytes>> {
    let client = postgres.client().await;
    let mut batches = Vec::new();
    for start in (0..FAULTS).step_by(A_BATCH.unsigned_abs().try_into().unwrap()) {
        let (first, last) = (start + 1, start + A_BATCH);
        let mut batch = Vec::new();
        for (table, order) in TABLES {
            let query = format!(
                "COPY (SELECT * FROM {table} WHERE fault BETWEEN {first} AND {last}
                 ORDER BY {order}) TO STDOUT (FORMAT binary)"
            );
            let pieces: Vec<Bytes> =
                client.copy_out(&query).await.unwrap().try_collect().await.unwrap();
            batch.push(pieces.concat().into());
        }
        batches.push(batch);
    }
    batches
}

async fn limit(postgres: &Postgres, batches: &[Vec<Bytes>]) -> Side {
    undecided(postgres, FAULTS).await;
    let client = postgres.client().await;
    let (started, meter) = (Instant::now(), Meter::of_postgres(postgres.pid()));
    for batch in batches {
        client.batch_execute("BEGIN").await.unwrap();
        for ((table, _), rows) in TABLES.iter().zip(batch) {
            let copy = format!("COPY {table} FROM STDIN (FORMAT binary)");
            let mut sink = Box::pin(client.copy_in(&copy).await.unwrap());
            sink.send(rows.clone()).await.unwrap();
            sink.as_mut().finish().await.unwrap();
        }
        client.batch_execute("COMMIT").await.unwrap();
    }
    Side {
        rate: FAULTS as f64 / started.elapsed().as_secs_f64(),
        micros: meter.micros_each(FAULTS.unsigned_abs()),
    }
}

fn rate(runtime: &Runtime) {
    println!("\ngoal: no second sees more than {RATE} requests, which is the rate that is set");
    println!("{JOBS} due jobs   done/s  requests/s  highest second");
    let postgres = Postgres::start();
    drop(hub(&postgres, &[]));
    runtime.block_on(undecided(&postgres, JOBS));
    let jira = runtime.block_on(Jira::start(Settings::cloud()));
    let url = jira.url();
    let server = hub(
        &postgres,
        &[
            ("FAULTLINE_JIRA__URL", &url),
            ("FAULTLINE_JIRA__EMAIL", "bot@example.com"),
            ("FAULTLINE_JIRA__TOKEN", "secret-token"),
            ("FAULTLINE_JIRA__PROJECT", "OPS"),
            ("FAULTLINE_JIRA__RATE_PER_SECOND", &RATE.to_string()),
            // Only what dispatch sends is counted.
            ("FAULTLINE_JIRA__POLL_EVERY", "0s"),
        ],
    );
    runtime.block_on(async {
        all_intended(&postgres, JOBS).await;
        postgres.execute("UPDATE switches SET is_on = false").await;
        sent("new tickets", &jira, &postgres).await;
        let open = "SELECT count(*) FROM jobs WHERE state = 'completed'";
        until(&postgres, "tickets", open, JOBS).await;
        jira.forget_requests();
        postgres
            .execute(
                "INSERT INTO jobs (fault, incident, action, mark, environment, state, due_at, rule,
                     request)
                 SELECT fault, incident, 'comment', '10', 'production', 'waiting', now(), 'bench',
                     '{\"text\": \"Seen 10 times by now.\"}' FROM tickets",
            )
            .await;
        sent("comments", &jira, &postgres).await;
    });
    drop(server);
}

/// Counts what Jira gets for a while.
async fn sent(what: &str, jira: &Jira, postgres: &Postgres) {
    let done = "SELECT count(*) FROM jobs WHERE state = 'completed'";
    let client = postgres.client().await;
    while jira.requests().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let completed = async || client.query_one(done, &[]).await.unwrap().get::<_, i64>(0);
    let (started, before) = (Instant::now(), completed().await);
    let (mut after, all) = (before, before - before % JOBS + JOBS);
    while started.elapsed() < COUNTED && after < all {
        tokio::time::sleep(Duration::from_millis(100)).await;
        after = completed().await;
    }
    let seconds = started.elapsed().as_secs_f64();
    let times: Vec<i64> =
        jira.requests().iter().map(|request| request.at.as_microsecond()).collect();
    println!(
        "{what:14}  {:6.0}  {:10.1}  {:14}",
        (after - before) as f64 / seconds,
        times.len() as f64 / seconds,
        highest_second(times),
    );
}

/// The most that fall into one second, wherever it begins.
fn highest_second(mut times: Vec<i64>) -> usize {
    times.sort_unstable();
    let within = |start: usize| {
        times[start..].iter().take_while(|time| **time < times[start] + 1_000_000).count()
    };
    (0..times.len()).map(within).max().unwrap_or(0)
}
