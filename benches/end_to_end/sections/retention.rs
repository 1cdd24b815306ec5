//! Whether ingestion notices that old events leave: archived and dropped, while as much is sent as is
//! stored.
//!
//! One PostgreSQL. In each pair the program stores a load with retention off, and the same with it
//! on, the order taking turns. Before each, ninety days of events are there again, `BENCH_OLD_EVENTS`
//! (4.5 million) in all, of which two in three are too old; it must still be at it when the load is
//! stored.

use std::{
    path::Path,
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use faultline_actors::adapters::store::{Store, postgres::Postgres as PostgresStore};
use faultline_testkit::postgres::Postgres;
use tokio::runtime::Runtime;

use super::{CREDIT, WARM_UP, pairs, seconds, setting};
use crate::{
    client::{Plan, Requests, Until, flow},
    figures::median_of,
    servers::{Kind, Server},
    support::app_frames,
};

const DAYS: u64 = 90;
const MESSAGES: u32 = 100;

pub(super) fn run() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (postgres, archive) = (Postgres::start(), tempfile::tempdir().unwrap());
    let patience = Duration::from_mins(1);
    let store = PostgresStore::new(&postgres.url(), 2, patience, patience).unwrap();
    runtime.block_on(async { store.migrate().await.unwrap() });
    println!("goal: 0.95 of the rate without");
    println!("  rows/s with  without  ratio  p99 ms with  without  days gone  archived MB");
    let rounds: Vec<(Side, Side)> = (0..pairs())
        .map(|turn| {
            let on = || side(&runtime, &postgres, Some(archive.path()));
            let off = || side(&runtime, &postgres, None);
            if turn % 2 == 0 {
                let on = on();
                (on, off())
            } else {
                let off = off();
                (on(), off)
            }
        })
        .collect();
    println!(
        "{:13.0}  {:7.0}  {:5.3}  {:11.1}  {:7.1}  {:9.0}  {:11.1}",
        median_of(&rounds, |(on, _)| on.rate),
        median_of(&rounds, |(_, off)| off.rate),
        median_of(&rounds, |(on, off)| on.rate / off.rate),
        median_of(&rounds, |(on, _)| on.p99),
        median_of(&rounds, |(_, off)| off.p99),
        median_of(&rounds, |(on, _)| on.days),
        median_of(&rounds, |(on, _)| on.megabytes),
    );
}

struct Side {
    rate: f64,
    p99: f64,
    /// That left while the load was stored.
    days: f64,
    megabytes: f64,
}

fn serve(postgres: &Postgres, archive: Option<&Path>) -> Server {
    let archive = archive.map(|path| path.display().to_string()).unwrap_or_default();
    let events = if archive.is_empty() { "0s" } else { "30d" };
    let settings = [
        ("FAULTLINE_RETENTION__EVENTS", events),
        ("FAULTLINE_RETENTION__ARCHIVE", archive.as_str()),
    ];
    Server::start_with(&Kind::Postgres(postgres.url()), Stdio::null(), &settings)
}

fn side(runtime: &Runtime, postgres: &Postgres, archive: Option<&Path>) -> Side {
    runtime.block_on(fill(postgres, setting("BENCH_OLD_EVENTS", 4_500_000) / DAYS));
    let server = serve(postgres, archive);
    let bodies = (1..=64).map(|seed| app_frames(MESSAGES as usize, seed)).collect();
    let requests = Arc::new(Requests::drain(bodies, MESSAGES));
    let load = |time| {
        let plan = Plan { connections: 25, until: Until::After(time), credit: CREDIT };
        flow(&server, "logdrains", &requests, plan)
    };
    load(WARM_UP);
    if archive.is_some() {
        let started = Instant::now();
        while runtime.block_on(gone(postgres)) == 0 {
            assert!(started.elapsed() < Duration::from_mins(1), "nothing leaves");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    let before = runtime.block_on(dropped(postgres));
    let flow = load(seconds());
    let after = runtime.block_on(dropped(postgres));
    if archive.is_some() {
        let old = "SELECT count(*) FROM pg_class
            WHERE relname ~ '^(gone_)?events_[0-9]{8}$' AND relkind = 'r'
                AND to_date(right(relname, 8), 'YYYYMMDD') < current_date - 31";
        let left = runtime.block_on(postgres.number(old));
        assert!(left > 0, "all was gone before the load was stored: more BENCH_OLD_EVENTS");
    }
    Side {
        rate: flow.stored as f64 / flow.seconds,
        p99: flow.stored_p99,
        days: (after.0 - before.0) as f64,
        megabytes: (after.1 - before.1) as f64 / 1e6,
    }
}

/// Days that have begun to leave.
async fn gone(postgres: &Postgres) -> i64 {
    postgres.number("SELECT count(*) FROM gone_days").await
}

/// Days that have left, and the bytes of their archives.
async fn dropped(postgres: &Postgres) -> (i64, i64) {
    let of_dropped = "FROM gone_days WHERE stage = 'dropped'";
    (
        postgres.number(&format!("SELECT count(*) {of_dropped}")).await,
        postgres.number(&format!("SELECT coalesce(sum(bytes), 0)::bigint {of_dropped}")).await,
    )
}

/// Ninety days of this many events each, straight into their partitions, and nothing else.
async fn fill(postgres: &Postgres, events: u64) {
    postgres
        .execute(&format!(
            "DO $$
             DECLARE
                 one record;
                 day date;
                 name text;
             BEGIN
                 FOR one IN SELECT oid::regclass AS name FROM pg_class WHERE relkind = 'r'
                     AND relname ~ '^(gone_)?(events|event_blocks)_[0-9]{{8}}$'
                 LOOP
                     EXECUTE format('DROP TABLE %s', one.name);
                 END LOOP;
                 TRUNCATE gone_days, restored_days, retention_lease, ledger;
                 FOR age IN 0..{DAYS} LOOP
                     day := (now() AT TIME ZONE 'UTC')::date - age + 1;
                     FOREACH name IN ARRAY ARRAY['events', 'event_blocks'] LOOP
                         EXECUTE format('CREATE TABLE %s_%s PARTITION OF %s FOR VALUES FROM (%L)
                             TO (%L)', name, to_char(day, 'YYYYMMDD'), name, day || 'T00:00:00Z',
                             (day + 1) || 'T00:00:00Z');
                     END LOOP;
                     CONTINUE WHEN age < 2;
                     INSERT INTO events (origin, sequence, ordinal, received_at, occurred_at, source,
                         kind, severity, environment, service, process, message, messages)
                     SELECT 1, age * {events} + number, 0,
                         (day::timestamp AT TIME ZONE 'UTC') + number * interval '1 ms',
                         (day::timestamp AT TIME ZONE 'UTC') + number * interval '1 ms', 'logdrains',
                         'log', 'info', 'production', 'shop', 'web.1',
                         'the order ' || number || ' of customer ' || md5(number::text)
                             || ' was paid and is on its way to the warehouse', 1
                     FROM generate_series(1, {events}) AS number;
                 END LOOP;
                 INSERT INTO journal_positions (origin, sequence)
                     VALUES ('00000000-0000-4000-8000-000000000001', 0) ON CONFLICT DO NOTHING;
             END $$"
        ))
        .await;
    // As old days are: the server tidied them up long ago, and does not while it is measured.
    postgres.execute("VACUUM (FREEZE, ANALYZE)").await;
    postgres.execute("CHECKPOINT").await;
}
