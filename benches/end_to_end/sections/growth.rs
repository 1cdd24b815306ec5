//! Whether a message costs more when more is stored, or when more faults are known.
//!
//! Events are only ever appended: to the end of today's partition, to its block-range index, and,
//! where they belong to a fault, to a B-tree. So the size that could matter is that B-tree's. Each
//! size is a PostgreSQL of its own, whose partition of today is filled with narrow rows that all
//! belong to faults: `BENCH_ROWS` (10⁷) of them give the B-tree that 10⁸ events have of which one
//! in ten is a fault's. The heap's size matters to nobody who appends. With `BENCH_ROWS=100000000`
//! it is done in full (30 GB of disk, a quarter of an hour).
//!
//! The load is 90 log lines and 10 reports in every hundred messages. Sizes take turns; ratios are
//! within one turn.

use std::sync::Arc;

use faultline_testkit::postgres::Postgres;

use super::{CREDIT, pairs, setting};
use crate::{
    client::{Plan, Requests, Until, flow},
    figures::{Meter, median_of},
    servers::{Kind, Server},
    support::app_frames,
};

/// Messages of each load: nine tenths log lines, the rest reports.
const LOGS: u64 = 360_000;
const REPORTS: u64 = 40_000;
const A_REQUEST: u64 = 100;
/// Faults that the load's reports are spread over, unless something else is said.
const FAULTS: u64 = 1_000;

/// A PostgreSQL of a size, and the program on it.
struct Place {
    name: String,
    // Dropped before what it writes to.
    server: Server,
    postgres: Postgres,
    reports: Arc<Requests>,
}

pub(super) fn run() {
    let most = setting("BENCH_ROWS", 10_000_000);
    println!("goal: within 0.90 and 1.10 of the first line of each three");
    println!("{:34}  µs/msg  of first  PostgreSQL  of first", "stored before");
    let places = [100_000, 1_000_000, most].map(|rows| {
        let place = Place::new(&format!("{rows} rows"), FAULTS);
        place.fill_events(rows);
        place
    });
    compare(&places);
    drop(places);
    compare(&[
        Place::new("100 faults known", 100),
        Place::with_known("100000 faults known", 100, 100_000),
        Place::with_known("100000 faults known, all met", 100_000, 100_000),
    ]);
}

fn compare(places: &[Place]) {
    // The first turn finds files and caches cold.
    for place in places {
        place.cost();
    }
    let rounds: Vec<Vec<(f64, f64)>> =
        (0..pairs()).map(|_| places.iter().map(Place::cost).collect()).collect();
    for (index, place) in places.iter().enumerate() {
        println!(
            "{:34}  {:6.2}  {:8.2}  {:10.2}  {:8.2}",
            place.name,
            median_of(&rounds, |round| round[index].0),
            median_of(&rounds, |round| round[index].0 / round[0].0),
            median_of(&rounds, |round| round[index].1),
            median_of(&rounds, |round| round[index].1 / round[0].1),
        );
    }
}

impl Place {
    /// `faults` is how many the load's reports are spread over.
    fn new(name: &str, faults: u64) -> Self {
        let postgres = Postgres::start();
        let server = Server::start(&Kind::Postgres(postgres.url()));
        let reports = Arc::new(Requests::reports_of(0..faults));
        let place = Self { name: name.to_owned(), server, postgres, reports };
        // Makes the tables and the partition, and the load's faults known.
        place.send_reports((faults / A_REQUEST).max(64));
        place
    }

    /// With so many faults known in all.
    fn with_known(name: &str, faults: u64, known: u64) -> Self {
        let place = Self::new(name, faults);
        let all = Arc::new(Requests::reports_of(0..known));
        flow(&place.server, "errors", &all, plan(known / A_REQUEST));
        place
    }

    /// Fills today's partition with rows that all belong to faults, in the order of the index:
    /// that is quick, and leaves it as full as it ever is.
    fn fill_events(&self, rows: u64) {
        let each = rows / 100_000;
        self.execute(&format!(
            "INSERT INTO events (origin, sequence, ordinal, received_at, occurred_at, source, kind,
                 severity, environment, service, message, messages, fingerprint)
             SELECT 0, 0, 0, now(), now() - interval '1 ms' * number, 'errors', 'error', 'error', '',
                 '', '', 1, fingerprint
             FROM (SELECT 'v1:' || md5(fault::text) AS fingerprint
                   FROM generate_series(1, 100000) AS fault
                   ORDER BY hashtextextended('v1:' || md5(fault::text), 0)) AS faults,
                 generate_series(1, {each}) AS number"
        ));
        self.execute("VACUUM ANALYZE events");
    }

    fn execute(&self, sql: &str) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(self.postgres.execute(sql));
    }

    /// Processor time a message of the program and of PostgreSQL, in microseconds.
    fn cost(&self) -> (f64, f64) {
        let bodies = (1..=64).map(|seed| app_frames(100, seed)).collect();
        let logs = Arc::new(Requests::drain(bodies, 100));
        self.execute("CHECKPOINT");
        let meter = Meter::start(&self.server, self.postgres.pid());
        std::thread::scope(|scope| {
            scope.spawn(|| self.send_reports(REPORTS / A_REQUEST));
            flow(&self.server, "logdrains", &logs, plan(LOGS / A_REQUEST));
        });
        meter.micros_each(LOGS + REPORTS)
    }

    fn send_reports(&self, requests: u64) {
        flow(&self.server, "errors", &self.reports, plan(requests));
    }
}

fn plan(requests: u64) -> Plan {
    Plan { connections: 25, until: Until::Sent(requests), credit: CREDIT }
}
