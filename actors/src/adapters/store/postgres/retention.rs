//! [`RetentionStore`] for PostgreSQL.

use std::{collections::BTreeMap, ops::Range, time::Duration};

use async_trait::async_trait;
use jiff::civil::Date;
use serde_json::value::RawValue;
use tokio_postgres::{
    Row,
    types::{Json, Type},
};
use uuid::Uuid;

use super::{
    Postgres,
    leaving::{self, LEAVING, leaving_of},
    recount, restoring,
    row::micros_of,
    timestamp, unavailable,
};
use crate::{
    adapters::{
        archive::Manifest,
        store::{
            StoreError, as_i64, as_u64,
            jobs::Holder,
            retention::{
                Counted, CountedJobs, EventDay, GoneDay, Leave, Leaving, Pruned, RUNS, Read,
                Recount, RestoreError, RestoreStep, RestoredDay, RetentionStore, Stage, StoredRun,
                TableSize,
            },
            statistics::Days,
        },
    },
    domain::{retention::Aged, time::Micros},
};

/// No count of statistics takes longer.
const LONG: Duration = Duration::from_hours(2);

#[async_trait]
impl RetentionStore for Postgres {
    async fn lease_retention(&self, holder: Holder, lease: Duration) -> Result<bool, StoreError> {
        let held = self
            .query(
                "INSERT INTO retention_lease AS held (holder, expires_at)
                 VALUES ($1, clock_timestamp() + $2 * interval '1 second')
                 ON CONFLICT (id) DO UPDATE
                     SET holder = excluded.holder, expires_at = excluded.expires_at
                     WHERE held.holder = excluded.holder OR held.expires_at < clock_timestamp()
                 RETURNING 1",
                &[&holder, &lease.as_secs_f64()],
            )
            .await?;
        Ok(!held.is_empty())
    }

    async fn release_retention(&self, holder: Holder) -> Result<(), StoreError> {
        self.query("DELETE FROM retention_lease WHERE holder = $1", &[&holder]).await.map(drop)
    }

    async fn event_days(&self) -> Result<Vec<EventDay>, StoreError> {
        let rows = self
            .query(
                "SELECT day, coalesce((SELECT sum(events) FROM daily_statistics AS kept
                         WHERE kept.day = found.day), 0)::bigint, bytes
                 FROM (
                     SELECT to_date(right(c.relname, 8), 'YYYYMMDD') AS day,
                         (pg_total_relation_size(c.oid) + coalesce(pg_total_relation_size(
                             to_regclass('event_blocks_' || right(c.relname, 8))), 0))::bigint
                             AS bytes
                     FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                     WHERE i.inhparent = 'events'::regclass AND c.relname ~ '^events_[0-9]{8}$'
                 ) AS found ORDER BY day",
                &[],
            )
            .await?;
        let day = |row: &Row| EventDay {
            day: row.get(0),
            events: as_u64(row.get(1)),
            bytes: Some(as_u64(row.get(2))),
        };
        Ok(rows.iter().map(day).collect())
    }

    async fn gone_days(&self, limit: u32) -> Result<Vec<GoneDay>, StoreError> {
        let sql = format!("{GONE} ORDER BY began_at DESC, id DESC LIMIT $1");
        Ok(self.query(&sql, &[&i64::from(limit)]).await?.iter().map(gone_of).collect())
    }

    async fn gone_between(&self, days: Days) -> Result<Vec<GoneDay>, StoreError> {
        let sql = format!("{GONE} WHERE day BETWEEN $1 AND $2 ORDER BY day, part");
        Ok(self.query(&sql, &[&days.since, &days.until]).await?.iter().map(gone_of).collect())
    }

    async fn restored_days(&self) -> Result<Vec<RestoredDay>, StoreError> {
        let sql = "SELECT archive, day, file, events, restored, until FROM restored_days
                   ORDER BY day, restored_at";
        let restored = |row: &Row| RestoredDay {
            archive: row.get::<_, Uuid>(0).to_string(),
            day: row.get(1),
            file: row.get(2),
            events: row.get(3),
            restored: row.get(4),
            until: micros_of(row, 5),
        };
        Ok(self.query(sql, &[]).await?.iter().map(restored).collect())
    }

    async fn leaving(&self) -> Result<Vec<Leaving>, StoreError> {
        Ok(self.query(LEAVING, &[]).await?.iter().map(leaving_of).collect())
    }

    async fn leave_day(
        &self,
        day: Date,
        is_archived: bool,
        patience: Duration,
    ) -> Result<Leave, StoreError> {
        self.in_time(async {
            let mut client = self.client().await?;
            let left = leaving::leave(&mut client, day, is_archived, patience).await;
            self.partitions.forget();
            left.map_err(unavailable)
        })
        .await
    }

    async fn steps(&self, leaving: &Leaving) -> Result<Vec<Range<i64>>, StoreError> {
        let rows = self.query(&leaving::pages_of(leaving.day), &[]).await?;
        Ok(leaving::steps(rows.first().map_or(0, |row| row.get(0))))
    }

    async fn leaving_events(
        &self,
        leaving: &Leaving,
        step: &Range<i64>,
    ) -> Result<Read, StoreError> {
        let rows = self.ask_once(&leaving::events_in(leaving.day, step)).await?;
        Ok(leaving::read_of(&rows, step))
    }

    async fn count_leaving(&self, leaving: &Leaving, step: &Range<i64>) -> Result<u64, StoreError> {
        let rows = self.ask_once(&leaving::count_in(leaving.day, step)).await?;
        Ok(rows.first().map_or(0, |row| as_u64(row.get(0))))
    }

    async fn origins_of(&self, numbers: &[i32]) -> Result<BTreeMap<i32, Uuid>, StoreError> {
        let sql = "SELECT id, origin FROM journal_positions WHERE id = ANY($1)";
        let rows = self.query(sql, &[&numbers]).await?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    async fn archived(
        &self,
        leaving: &Leaving,
        manifest: Option<&Manifest>,
        events: u64,
    ) -> Result<(), StoreError> {
        let file = manifest.map(|manifest| manifest.file.as_str());
        let (events, bytes) = (as_i64(events), manifest.map_or(0, |it| as_i64(it.bytes)));
        let sha256 = manifest.map_or("", |manifest| manifest.sha256.as_str());
        // Those that it holds as a whole need not be restored any more; of others the rest may be.
        self.query(
            "WITH archived AS (
                 UPDATE gone_days SET stage = 'archived', file = $2, events = $3, bytes = $4,
                     sha256 = $5
                 WHERE id = $1 AND stage = 'leaving' RETURNING day, began_at)
             UPDATE gone_days SET kept_in = $1 FROM archived
             WHERE $2::text IS NOT NULL AND gone_days.id IN (
                 SELECT archive FROM restored_days AS back
                 WHERE back.day = archived.day AND back.restored_at <= archived.began_at
                     AND back.restored = back.events)",
            &[&leaving.id, &file, &events, &bytes, &sha256],
        )
        .await
        .map(drop)
    }

    async fn delete_step(&self, _: &Leaving, _: &Range<i64>) -> Result<u64, StoreError> {
        Ok(0)
    }

    async fn drop_day(&self, leaving: &Leaving, events: u64) -> Result<(), StoreError> {
        self.in_time(async {
            let mut client = self.client().await?;
            leaving::drop_day(&mut client, leaving, events).await.map_err(unavailable)
        })
        .await
    }

    async fn prune(
        &self,
        aged: Aged,
        before: Micros,
        after: i64,
        limit: u32,
    ) -> Result<Pruned, StoreError> {
        let (table, sql) = prune_sql(aged);
        let is_there = self.query("SELECT to_regclass($1) IS NOT NULL", &[&table]).await?;
        if !is_there.first().is_some_and(|row| row.get(0)) {
            return Ok(Pruned::default());
        }
        let rows = self.query(&sql, &[&timestamp(before), &after, &i64::from(limit)]).await?;
        let Some(row) = rows.first() else { return Ok(Pruned::default()) };
        Ok(Pruned { rows: as_u64(row.get(0)), next: row.get(1) })
    }

    async fn tidy(&self) -> Result<bool, StoreError> {
        // The server does so by itself.
        Ok(false)
    }

    async fn sizes(&self) -> Result<Vec<TableSize>, StoreError> {
        // A table that is being dropped has no size.
        let rows = self
            .query(
                "SELECT CASE WHEN c.relname LIKE 'gone\\_%' THEN 'leaving'
                         ELSE coalesce(p.relname, c.relname) END::text AS name,
                     coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint,
                     coalesce(sum(greatest(c.reltuples, 0)), 0)::bigint
                 FROM pg_class c
                 LEFT JOIN pg_inherits i ON i.inhrelid = c.oid
                 LEFT JOIN pg_class p ON p.oid = i.inhparent
                 WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace
                     AND c.relname NOT IN ('gone_days', 'refinery_schema_history')
                 GROUP BY 1 ORDER BY 2 DESC",
                &[],
            )
            .await?;
        let size = |row: &Row| TableSize {
            table: row.get(0),
            bytes: as_u64(row.get(1)),
            rows: Some(as_u64(row.get(2))),
        };
        Ok(rows.iter().map(size).collect())
    }

    async fn keep_run(
        &self,
        started_at: Micros,
        ended_at: Micros,
        report: &str,
    ) -> Result<(), StoreError> {
        let report: &RawValue = serde_json::from_str(report)
            .map_err(|error| StoreError::Unavailable(error.to_string()))?;
        self.query(
            "WITH kept AS (
                 INSERT INTO retention_runs (started_at, ended_at, report) VALUES ($1, $2, $3)
                 RETURNING id)
             DELETE FROM retention_runs WHERE id <= (SELECT id FROM kept) - $4",
            &[&timestamp(started_at), &timestamp(ended_at), &Json(report), &i64::from(RUNS)],
        )
        .await
        .map(drop)
    }

    async fn retention_runs(&self, limit: u32) -> Result<Vec<StoredRun>, StoreError> {
        let sql = "SELECT started_at, ended_at, report FROM retention_runs
                   ORDER BY id DESC LIMIT $1";
        let run = |row: &Row| StoredRun {
            started_at: micros_of(row, 0),
            ended_at: micros_of(row, 1),
            report: row.get::<_, Json<Box<RawValue>>>(2).0,
        };
        Ok(self.query(sql, &[&i64::from(limit)]).await?.iter().map(run).collect())
    }

    async fn begin_restore(
        &self,
        manifest: &Manifest,
        until: Micros,
    ) -> Result<(u64, BTreeMap<Uuid, i32>), RestoreError> {
        let mut client = self.client().await?;
        restoring::begin(&mut client, manifest, until).await
    }

    async fn restore(&self, step: &RestoreStep) -> Result<u64, RestoreError> {
        let mut client = self.client().await?;
        restoring::restore(&mut client, step).await
    }

    async fn recount(&self, days: Days) -> Result<Recount<Counted>, StoreError> {
        self.take_time(async {
            let mut client = self.client().await?;
            recount::events(&mut client, days).await.map_err(unavailable)
        })
        .await
    }

    async fn recount_jobs(&self, days: Days) -> Result<Recount<CountedJobs>, StoreError> {
        self.take_time(async {
            let mut client = self.client().await?;
            recount::jobs(&mut client, days).await.map_err(unavailable)
        })
        .await
    }

    async fn correct(&self, differences: &[Counted]) -> Result<(), StoreError> {
        let mut client = self.client().await?;
        recount::correct(&mut client, differences).await.map_err(unavailable)
    }

    async fn correct_jobs(&self, differences: &[CountedJobs]) -> Result<(), StoreError> {
        let mut client = self.client().await?;
        recount::correct_jobs(&mut client, differences).await.map_err(unavailable)
    }
}

impl Postgres {
    /// Not prepared: it is asked once.
    async fn ask_once(&self, sql: &str) -> Result<Vec<Row>, StoreError> {
        self.in_time(async {
            let none: &[(&(dyn tokio_postgres::types::ToSql + Sync), Type)] = &[];
            self.client().await?.query_typed(sql, none).await.map_err(unavailable)
        })
        .await
    }

    async fn take_time<T>(
        &self,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let outcome = tokio::time::timeout(LONG, work).await;
        outcome
            .unwrap_or_else(|_| Err(StoreError::Unavailable(format!("no answer within {LONG:?}"))))
    }
}

const GONE: &str = "SELECT id, day, part, stage, file, events, bytes, sha256, kept_in, began_at,
    restored FROM gone_days";

fn gone_of(row: &Row) -> GoneDay {
    GoneDay {
        id: row.get::<_, Uuid>(0).to_string(),
        day: row.get(1),
        part: row.get(2),
        stage: Stage::from_name(row.get(3)),
        file: row.get(4),
        events: row.get(5),
        restored: row.get(10),
        bytes: row.get(6),
        sha256: row.get(7),
        kept_in: row.get::<_, Option<Uuid>>(8).map(|id| id.to_string()),
        began_at: micros_of(row, 9),
    }
}

/// The table, and what deletes a batch of it: gives how many rows, and where to go on. Rows that
/// somebody is at are left for the next time.
fn prune_sql(aged: Aged) -> (&'static str, String) {
    let (table, time, condition) = match aged {
        Aged::CompletedJobs => return ("jobs", JOBS.to_owned()),
        Aged::FaultHours => return ("fault_hours", HOURS.to_owned()),
        Aged::MetricSnapshots => return ("metric_snapshots", SNAPSHOTS.to_owned()),
        Aged::Rejected => ("rejected", "received_at", "true"),
        Aged::Notifications => ("notifications", "at", "true"),
        Aged::ErrorLogs => ("error_logs", "last_at", "true"),
        Aged::Alerts => ("alerts", "resolved_at", TOLD),
        Aged::AuditTrail => ("audit_trail", "at", "NOT is_lesson"),
    };
    let sql = format!(
        "WITH old AS MATERIALIZED (
             SELECT id FROM {table} WHERE {time} < $1 AND id > $2 AND {condition}
             ORDER BY id LIMIT $3 FOR UPDATE SKIP LOCKED),
         gone AS (DELETE FROM {table} WHERE id IN (SELECT id FROM old) RETURNING id)
         SELECT count(*), CASE WHEN count(*) = $3 THEN max(id) END FROM gone"
    );
    (table, sql)
}

/// Resolved, and nobody is to hear of it any more.
const TOLD: &str = "resolved_at IS NOT NULL AND NOT EXISTS (SELECT FROM alert_deliveries
    WHERE alert = alerts.id AND state IN ('waiting', 'active'))";

const JOBS: &str = "WITH old AS MATERIALIZED (
         SELECT id FROM jobs WHERE state = 'completed' AND updated_at < $1 AND id > $2
         ORDER BY id LIMIT $3 FOR UPDATE SKIP LOCKED),
     failures AS (DELETE FROM job_failures WHERE job IN (SELECT id FROM old)),
     gone AS (DELETE FROM jobs WHERE id IN (SELECT id FROM old) RETURNING id)
     SELECT count(*), CASE WHEN count(*) = $3 THEN max(id) END FROM gone";

/// Some shapes at a time, by the only index there is; a shape may have thousands of old hours.
const HOURS: &str = "WITH span AS MATERIALIZED (
         SELECT id FROM fault_shapes WHERE id > $2 ORDER BY id LIMIT $3),
     old AS MATERIALIZED (
         SELECT shape, hour FROM span JOIN fault_hours ON shape = id WHERE hour < $1
         ORDER BY shape, hour LIMIT $3),
     gone AS (
         DELETE FROM fault_hours WHERE (shape, hour) IN (SELECT shape, hour FROM old)
         RETURNING shape)
     SELECT count(*), CASE WHEN count(*) = $3 THEN max(shape) - 1
         WHEN (SELECT count(*) FROM span) = $3 THEN (SELECT max(id) FROM span) END
     FROM gone";

const SNAPSHOTS: &str = "WITH gone AS (
         DELETE FROM metric_snapshots WHERE taken_at IN (
             SELECT taken_at FROM metric_snapshots WHERE taken_at < $1
             ORDER BY taken_at LIMIT $3) RETURNING 1)
     SELECT count(*), CASE WHEN count(*) = $3 THEN $2::bigint END FROM gone";
