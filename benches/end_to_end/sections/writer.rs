//! From the spool to committed PostgreSQL rows, against a bare loop of binary COPYs.
//!
//! Ours: the program starts on a spool that is full already, and does all that it always does:
//! reads, parses, encodes, and in one transaction a commit moves the position, copies the rows,
//! adds to the faults and to the ledger. The clock runs from its first commit to its last.
//!
//! The limit: the very rows that the program stored, as PostgreSQL's binary COPY gives them back,
//! kept in memory and cut into batches of as many rows as the program's commits had; a loop copies
//! them into a table of the same columns, indexes and partitioning, and commits each batch.
//! Nothing is read, parsed or encoded there.

use std::{
    path::Path,
    process::Stdio,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use faultline_actors::{
    adapters::journal::spool::{self, Spool},
    domain::{
        event::Source,
        ledger::Ledger,
        record::{Meta, NewRecord, RecordId},
    },
};
use faultline_testkit::postgres::Postgres;
use futures_util::{SinkExt, TryStreamExt};
use tokio::runtime::Runtime;

use super::pairs;
use crate::{
    figures::{Meter, median_of},
    ledger::Admin,
    servers::{Kind, Server},
    support::frames,
};

pub(super) const MESSAGES: u32 = 100;
pub(super) const RECORDS: usize = 6_000;
/// In front of each row: how many fields it has.
const FIELD_COUNT: usize = 2;
/// In front of all rows: signature, flags, length of the extension.
const COPY_HEADER: usize = 19;
const COPY_CHUNK: usize = 64 << 10;

/// What one side did.
pub(super) struct Side {
    /// Rows committed a second.
    pub(super) rate: f64,
    /// Processor time a row of the program and of PostgreSQL, in microseconds.
    pub(super) micros: (f64, f64),
    rows_a_commit: u64,
}

pub(super) fn run() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let postgres = Postgres::start();
    // The first round makes the tables, and the rows that the limit copies.
    let first = ours(&runtime, &postgres);
    let batches = runtime.block_on(stored_rows(&postgres, first.rows_a_commit));
    println!("goal: 0.70 of the limit");
    println!(
        "  rows/s   limit's  of limit   µs/row  (PostgreSQL)  limit's PostgreSQL  rows/commit"
    );
    let rounds: Vec<(Side, Side)> = (0..pairs())
        .map(|_| (limit(&runtime, &postgres, &batches), ours(&runtime, &postgres)))
        .collect();
    println!(
        "{:8.0}  {:8.0}  {:8.2}   {:6.2}  {:12.2}  {:18.2}  {:11.0}",
        median_of(&rounds, |(_, ours)| ours.rate),
        median_of(&rounds, |(limit, _)| limit.rate),
        median_of(&rounds, |(limit, ours)| ours.rate / limit.rate),
        median_of(&rounds, |(_, ours)| ours.micros.0),
        median_of(&rounds, |(_, ours)| ours.micros.1),
        median_of(&rounds, |(limit, _)| limit.micros.1),
        median_of(&rounds, |(_, ours)| ours.rows_a_commit as f64),
    );
}

pub(super) fn ours(runtime: &Runtime, postgres: &Postgres) -> Side {
    let directory = tempfile::tempdir().unwrap();
    runtime.block_on(prepare(directory.path(), postgres));
    let spool = directory.path().display().to_string();
    let settings = [("FAULTLINE_SPOOL__DIR", spool.as_str())];
    let server = Server::start_with(&Kind::Postgres(postgres.url()), Stdio::null(), &settings);
    let mut admin = Admin::of(&server);
    let all = RECORDS as u64 * u64::from(MESSAGES);
    let first = stored_beyond(&mut admin, 0);
    let (started, meter) = (Instant::now(), Meter::start(&server, postgres.pid()));
    let commits = admin.commits();
    let last = stored_beyond(&mut admin, all - 1);
    let count = last - first;
    Side {
        rate: count as f64 / started.elapsed().as_secs_f64(),
        micros: meter.micros_each(count),
        rows_a_commit: count / (admin.commits() - commits),
    }
}

/// A full spool, an empty table, and all of the log that PostgreSQL may write; a ledger of zeros.
/// Before the first round there are no such tables.
pub(super) async fn prepare(directory: &Path, postgres: &Postgres) {
    fill(directory).await;
    let _ = postgres.client().await.batch_execute("TRUNCATE events, ledger").await;
    postgres.execute("CHECKPOINT").await;
}

/// Waits until more messages than `count` are stored; gives how many.
fn stored_beyond(admin: &mut Admin, count: u64) -> u64 {
    loop {
        let stored = admin.ledger("logdrains").stored;
        if stored > count {
            return stored;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Writes records into a spool, as the receiver does.
async fn fill(directory: &Path) {
    let settings = spool::Settings { dir: directory.to_owned(), ..spool::Settings::default() };
    let spool = Spool::open(settings, Arc::new(Mutex::new(Ledger::default()))).unwrap();
    let meta = Meta { sender_is_logplex: true, service: "shop", ..Meta::default() }.encode();
    let bodies: Vec<Bytes> = (1..=64).map(|seed| frames(MESSAGES as usize, seed).into()).collect();
    let mut outcomes = Vec::new();
    for body in bodies.iter().cycle().take(RECORDS) {
        let received_at = jiff::Timestamp::now().as_microsecond();
        let record = NewRecord {
            source: Source::Logdrains,
            received_at,
            messages: MESSAGES,
            id: RecordId::NONE,
            meta: meta.clone(),
            body: body.clone(),
        };
        outcomes.push(spool.enqueue(record).await.unwrap());
    }
    for outcome in outcomes {
        outcome.await.unwrap().unwrap();
    }
}

/// The rows in `events`, in batches, each a whole binary COPY.
async fn stored_rows(postgres: &Postgres, rows_a_batch: u64) -> Vec<Bytes> {
    let client = postgres.client().await;
    client
        .batch_execute(
            "CREATE TABLE copied (LIKE events INCLUDING ALL) PARTITION BY RANGE (received_at);
             CREATE TABLE copied_all PARTITION OF copied FOR VALUES FROM (MINVALUE) TO (MAXVALUE)",
        )
        .await
        .unwrap();
    let query = "COPY (SELECT * FROM events ORDER BY sequence, ordinal) TO STDOUT (FORMAT binary)";
    let out = client.copy_out(query).await.unwrap();
    let pieces: Vec<Bytes> = out.try_collect().await.unwrap();
    let all = pieces.concat();
    let mut batches = Vec::new();
    let (mut start, mut at, mut rows) = (COPY_HEADER, COPY_HEADER, 0);
    while let Some(length) = row_length(&all[at..]) {
        at += length;
        rows += 1;
        if rows == rows_a_batch {
            batches.push(whole_copy(&all[..COPY_HEADER], &all[start..at]));
            (start, rows) = (at, 0);
        }
    }
    if rows > 0 {
        batches.push(whole_copy(&all[..COPY_HEADER], &all[start..at]));
    }
    batches
}

/// The length of the row at the start of `bytes`; `None` at the trailer.
fn row_length(bytes: &[u8]) -> Option<usize> {
    let number = |at: usize| i32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    let fields = i16::from_be_bytes(bytes[..FIELD_COUNT].try_into().unwrap());
    let mut at = FIELD_COUNT;
    for _ in 0..usize::try_from(fields).ok()? {
        // -1 stands for NULL.
        at += 4 + usize::try_from(number(at)).unwrap_or(0);
    }
    Some(at)
}

fn whole_copy(header: &[u8], rows: &[u8]) -> Bytes {
    const TRAILER: [u8; 2] = (-1i16).to_be_bytes();
    [header, rows, &TRAILER].concat().into()
}

fn limit(runtime: &Runtime, postgres: &Postgres, batches: &[Bytes]) -> Side {
    runtime.block_on(async {
        let client = postgres.client().await;
        client.batch_execute("TRUNCATE copied; TRUNCATE events").await.unwrap();
        postgres.execute("CHECKPOINT").await;
        let rows = RECORDS as u64 * u64::from(MESSAGES);
        let (started, meter) = (Instant::now(), Meter::of_postgres(postgres.pid()));
        for batch in batches {
            let sink = client.copy_in("COPY copied FROM STDIN (FORMAT binary)").await.unwrap();
            let mut sink = Box::pin(sink);
            for at in (0..batch.len()).step_by(COPY_CHUNK) {
                sink.send(batch.slice(at..batch.len().min(at + COPY_CHUNK))).await.unwrap();
            }
            // Its own transaction: the end of the COPY commits.
            sink.as_mut().finish().await.unwrap();
        }
        Side {
            rate: rows as f64 / started.elapsed().as_secs_f64(),
            micros: meter.micros_each(rows),
            rows_a_commit: 0,
        }
    })
}
