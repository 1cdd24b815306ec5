//! [`RetentionStore`] for SQLite.
//!
//! A file that was made with `auto_vacuum = INCREMENTAL` gives the pages of what was deleted back to
//! the disk. An older file keeps them for what comes next, so that it stays as large as it ever was;
//! `VACUUM` after `PRAGMA auto_vacuum = INCREMENTAL` changes that, and needs the file's size once more.

use std::{collections::BTreeMap, ops::Range, time::Duration};

use async_trait::async_trait;
use jiff::civil::Date;
use rusqlite::{Connection, Row, params};
use uuid::Uuid;

use super::{
    BUSY, Sqlite,
    leaving::{self, parsed},
    on, recount, restoring,
    row::{raw_json, rows},
};
use crate::{
    adapters::{
        archive::Manifest,
        clock,
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
    domain::{
        retention::Aged,
        time::{Micros, later},
    },
};

/// Pages that are given back at once: a MiB.
const PAGES: u32 = 256;
/// `PRAGMA auto_vacuum` of a file that gives pages back when told to.
const INCREMENTAL: i64 = 2;

#[async_trait]
impl RetentionStore for Sqlite {
    async fn lease_retention(&self, holder: Holder, lease: Duration) -> Result<bool, StoreError> {
        on(&self.writer, move |connection| {
            let now = clock::now();
            let held = connection.execute(
                "INSERT INTO retention_lease (id, holder, expires_at) VALUES (1, ?1, ?2)
                 ON CONFLICT (id) DO UPDATE
                     SET holder = excluded.holder, expires_at = excluded.expires_at
                     WHERE holder = excluded.holder OR expires_at < ?3",
                params![holder.to_string(), later(now, lease), now],
            )?;
            Ok(held > 0)
        })
        .await
    }

    async fn release_retention(&self, holder: Holder) -> Result<(), StoreError> {
        on(&self.writer, move |connection| {
            let sql = "DELETE FROM retention_lease WHERE holder = ?1";
            connection.execute(sql, [holder.to_string()])?;
            Ok(())
        })
        .await
    }

    async fn event_days(&self) -> Result<Vec<EventDay>, StoreError> {
        on(&self.reader, |connection| {
            let mut count = connection.prepare_cached(
                "SELECT coalesce(sum(events), 0) FROM daily_statistics WHERE day = ?1",
            )?;
            let mut days = Vec::new();
            for day in leaving::days(connection)? {
                let events: i64 = count.query_one([day.to_string()], |row| row.get(0))?;
                days.push(EventDay { day, events: as_u64(events), bytes: None });
            }
            Ok(days)
        })
        .await
    }

    async fn gone_days(&self, limit: u32) -> Result<Vec<GoneDay>, StoreError> {
        on(&self.reader, move |connection| {
            let sql = format!("{GONE} ORDER BY began_at DESC, id DESC LIMIT ?1");
            rows(connection, &sql, [limit], gone_of)
        })
        .await
    }

    async fn gone_between(&self, days: Days) -> Result<Vec<GoneDay>, StoreError> {
        on(&self.reader, move |connection| {
            let sql = format!("{GONE} WHERE day BETWEEN ?1 AND ?2 ORDER BY day, part");
            rows(connection, &sql, [days.since.to_string(), days.until.to_string()], gone_of)
        })
        .await
    }

    async fn restored_days(&self) -> Result<Vec<RestoredDay>, StoreError> {
        on(&self.reader, |connection| {
            let sql = "SELECT archive, day, file, events, restored, until FROM restored_days
                       ORDER BY day, restored_at";
            rows(connection, sql, [], |row| {
                Ok(RestoredDay {
                    archive: row.get(0)?,
                    day: parsed(row, 1)?,
                    file: row.get(2)?,
                    events: row.get(3)?,
                    restored: row.get(4)?,
                    until: row.get(5)?,
                })
            })
        })
        .await
    }

    async fn leaving(&self) -> Result<Vec<Leaving>, StoreError> {
        on(&self.reader, |connection| leaving::leaving(connection)).await
    }

    async fn leave_day(
        &self,
        day: Date,
        is_archived: bool,
        _: Duration,
    ) -> Result<Leave, StoreError> {
        on(&self.writer, move |connection| leaving::leave(connection, day, is_archived)).await
    }

    async fn steps(&self, leaving: &Leaving) -> Result<Vec<Range<i64>>, StoreError> {
        let leaving = leaving.clone();
        on(&self.reader, move |connection| leaving::steps(connection, &leaving)).await
    }

    async fn leaving_events(
        &self,
        leaving: &Leaving,
        step: &Range<i64>,
    ) -> Result<Read, StoreError> {
        let (day, step) = (leaving.day, step.clone());
        on(&self.reader, move |connection| leaving::events(connection, day, &step)).await
    }

    async fn count_leaving(&self, leaving: &Leaving, step: &Range<i64>) -> Result<u64, StoreError> {
        let (day, step) = (leaving.day, step.clone());
        on(&self.reader, move |connection| leaving::count(connection, day, &step)).await
    }

    async fn origins_of(&self, numbers: &[i32]) -> Result<BTreeMap<i32, Uuid>, StoreError> {
        let numbers = numbers.to_vec();
        on(&self.reader, move |connection| {
            let mut find = connection
                .prepare_cached("SELECT id, origin FROM journal_positions WHERE id = ?1")?;
            let mut origins = BTreeMap::new();
            for number in numbers {
                let mut found = find.query([number])?;
                while let Some(row) = found.next()? {
                    origins.insert(row.get(0)?, parsed(row, 1)?);
                }
            }
            Ok(origins)
        })
        .await
    }

    async fn archived(
        &self,
        leaving: &Leaving,
        manifest: Option<&Manifest>,
        events: u64,
    ) -> Result<(), StoreError> {
        let (id, day, manifest) = (leaving.id.to_string(), leaving.day, manifest.cloned());
        on(&self.writer, move |connection| {
            let transaction = super::dispatch::begin(connection)?;
            let file = manifest.as_ref().map(|manifest| manifest.file.clone());
            transaction.execute(
                "UPDATE gone_days SET stage = 'archived', file = ?2, events = ?3, bytes = ?4,
                     sha256 = ?5
                 WHERE id = ?1 AND stage = 'leaving'",
                params![
                    id,
                    file,
                    as_i64(events),
                    manifest.as_ref().map_or(0, |manifest| as_i64(manifest.bytes)),
                    manifest.as_ref().map_or("", |manifest| &manifest.sha256),
                ],
            )?;
            // Those that it holds as a whole need not be restored any more.
            transaction.execute(
                "UPDATE gone_days SET kept_in = ?1 WHERE ?3 AND id IN (
                     SELECT archive FROM restored_days AS back
                     WHERE back.day = ?2 AND back.restored = back.events
                         AND back.restored_at <= (SELECT began_at FROM gone_days WHERE id = ?1))",
                params![id, day.to_string(), file.is_some()],
            )?;
            transaction.commit()?;
            Ok(())
        })
        .await
    }

    async fn delete_step(&self, leaving: &Leaving, step: &Range<i64>) -> Result<u64, StoreError> {
        let (leaving, step) = (leaving.clone(), step.clone());
        on(&self.writer, move |connection| leaving::delete_step(connection, &leaving, &step)).await
    }

    async fn drop_day(&self, leaving: &Leaving, events: u64) -> Result<(), StoreError> {
        loop {
            let some = leaving.clone();
            if !on(&self.writer, move |it| leaving::delete_blocks(it, &some)).await? {
                break;
            }
        }
        let leaving = leaving.clone();
        on(&self.writer, move |connection| leaving::drop_day(connection, &leaving, events)).await
    }

    async fn prune(
        &self,
        aged: Aged,
        before: Micros,
        after: i64,
        limit: u32,
    ) -> Result<Pruned, StoreError> {
        on(&self.writer, move |connection| prune(connection, aged, before, after, limit)).await
    }

    async fn tidy(&self) -> Result<bool, StoreError> {
        on(&self.writer, |connection| {
            let number = |name: &str| -> rusqlite::Result<i64> {
                connection.pragma_query_value(None, name, |row| row.get(0))
            };
            let can = number("auto_vacuum")? == INCREMENTAL;
            if can && number("freelist_count")? > 0 {
                // Each row that is asked for frees a page.
                let mut vacuum =
                    connection.prepare(&format!("PRAGMA incremental_vacuum({PAGES})"))?;
                let mut freed = vacuum.query([])?;
                while freed.next()?.is_some() {}
                return Ok(true);
            }
            // Nor are busy readers waited for, while all who write would wait as well.
            connection.busy_timeout(Duration::ZERO)?;
            let _ = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
            connection.busy_timeout(BUSY)?;
            Ok(false)
        })
        .await
    }

    async fn sizes(&self) -> Result<Vec<TableSize>, StoreError> {
        on(&self.reader, |connection| {
            let number = |name: &str| -> rusqlite::Result<u64> {
                Ok(as_u64(connection.pragma_query_value(None, name, |row| row.get(0))?))
            };
            let page = number("page_size")?;
            let size =
                |table: &str, bytes, rows| TableSize { table: table.to_owned(), bytes, rows };
            let mut sizes = vec![
                size("file", number("page_count")? * page, None),
                size("free", number("freelist_count")? * page, None),
            ];
            // How much each table takes is only told by reading all of the file.
            let events: i64 = connection.query_row(
                "SELECT coalesce(sum(events), 0) FROM daily_statistics WHERE day >= (
                     SELECT date(min(received_to) / 1000000, 'unixepoch') FROM event_blocks)",
                [],
                |row| row.get(0),
            )?;
            sizes.push(size("events", 0, Some(as_u64(events))));
            Ok(sizes)
        })
        .await
    }

    async fn keep_run(
        &self,
        started_at: Micros,
        ended_at: Micros,
        report: &str,
    ) -> Result<(), StoreError> {
        let report = report.to_owned();
        on(&self.writer, move |connection| {
            let transaction = super::dispatch::begin(connection)?;
            transaction.execute(
                "INSERT INTO retention_runs (started_at, ended_at, report) VALUES (?1, ?2, ?3)",
                params![started_at, ended_at, report],
            )?;
            let last = transaction.last_insert_rowid();
            let sql = "DELETE FROM retention_runs WHERE id <= ?1";
            transaction.execute(sql, [last - i64::from(RUNS)])?;
            transaction.commit()?;
            Ok(())
        })
        .await
    }

    async fn retention_runs(&self, limit: u32) -> Result<Vec<StoredRun>, StoreError> {
        on(&self.reader, move |connection| {
            let sql = "SELECT started_at, ended_at, report FROM retention_runs
                       ORDER BY id DESC LIMIT ?1";
            rows(connection, sql, [limit], |row| {
                Ok(StoredRun {
                    started_at: row.get(0)?,
                    ended_at: row.get(1)?,
                    report: raw_json(row.get(2)?),
                })
            })
        })
        .await
    }

    async fn begin_restore(
        &self,
        manifest: &Manifest,
        until: Micros,
    ) -> Result<(u64, BTreeMap<Uuid, i32>), RestoreError> {
        let manifest = manifest.clone();
        on(&self.writer, move |connection| restoring::begin(connection, &manifest, until)).await
    }

    async fn restore(&self, step: &RestoreStep) -> Result<u64, RestoreError> {
        let step = step.clone();
        on(&self.writer, move |connection| restoring::restore(connection, &step)).await
    }

    async fn recount(&self, days: Days) -> Result<Recount<Counted>, StoreError> {
        on(&self.reader, move |connection| recount::events(connection, days)).await
    }

    async fn recount_jobs(&self, days: Days) -> Result<Recount<CountedJobs>, StoreError> {
        on(&self.reader, move |connection| recount::jobs(connection, days)).await
    }

    async fn correct(&self, differences: &[Counted]) -> Result<(), StoreError> {
        let differences = differences.to_vec();
        on(&self.writer, move |connection| recount::correct(connection, &differences)).await
    }

    async fn correct_jobs(&self, differences: &[CountedJobs]) -> Result<(), StoreError> {
        let differences = differences.to_vec();
        on(&self.writer, move |connection| recount::correct_jobs(connection, &differences)).await
    }
}

const GONE: &str = "SELECT id, day, part, stage, file, events, bytes, sha256, kept_in, began_at,
    restored FROM gone_days";

fn gone_of(row: &Row<'_>) -> rusqlite::Result<GoneDay> {
    Ok(GoneDay {
        id: row.get(0)?,
        day: parsed(row, 1)?,
        part: row.get(2)?,
        stage: Stage::from_name(row.get_ref(3)?.as_str()?),
        file: row.get(4)?,
        events: row.get(5)?,
        restored: row.get(10)?,
        bytes: row.get(6)?,
        sha256: row.get(7)?,
        kept_in: row.get(8)?,
        began_at: row.get(9)?,
    })
}

/// Resolved before that, and nobody is to hear of it any more.
const TOLD: &str = "resolved_at < ?1 AND NOT EXISTS (SELECT 1 FROM alert_deliveries
    WHERE alert = alerts.id AND state IN ('waiting', 'active'))";

/// Done before that, and not the last of all: see [`prune`].
const COMPLETED: &str = "state = 'completed' AND updated_at < ?1
    AND id < (SELECT max(id) FROM jobs)";

/// By the index on their age, so that young ones are not read; not the last of all: see [`prune`].
/// `+` has no search by numbers instead.
const REJECTED: &str = "SELECT id FROM rejected
    WHERE received_at < ?1 AND +id < (SELECT max(id) FROM rejected)
    ORDER BY received_at LIMIT ?2";

/// See [`RetentionStore::prune`].
///
/// A number that was the highest is given to the next row. Jobs and rejected messages are known by
/// theirs elsewhere, as in the audit trail and in Jira's comments: so the last of them stays.
fn prune(
    connection: &mut Connection,
    aged: Aged,
    before: Micros,
    after: i64,
    limit: u32,
) -> Result<Pruned, StoreError> {
    let (table, key, condition) = match aged {
        Aged::CompletedJobs => ("jobs", "id", COMPLETED),
        Aged::Rejected => return prune_rejected(connection, before, limit),
        Aged::Notifications => ("notifications", "id", "at < ?1"),
        Aged::MetricSnapshots => ("metric_snapshots", "taken_at", "taken_at < ?1"),
        Aged::ErrorLogs => ("error_logs", "id", "last_at < ?1"),
        Aged::Alerts => ("alerts", "id", TOLD),
        Aged::FaultHours => return prune_hours(connection, before, after, limit),
        Aged::AuditTrail => ("audit_trail", "id", "at < ?1 AND NOT is_lesson"),
    };
    let transaction = super::dispatch::begin(connection)?;
    let is_there: bool = transaction.query_row(
        "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?1)",
        [table],
        |row| row.get(0),
    )?;
    if !is_there {
        return Ok(Pruned::default());
    }
    // Times of snapshots may be before 1970, but for their beginning.
    let after = if key == "id" { after } else { i64::MIN };
    let old: Vec<i64> = rows(
        &transaction,
        &format!(
            "SELECT {key} FROM {table} WHERE {condition} AND {key} > ?2 ORDER BY {key} LIMIT ?3"
        ),
        params![before, after, limit],
        |row| row.get(0),
    )?;
    for row in &old {
        if aged == Aged::CompletedJobs {
            transaction
                .prepare_cached("DELETE FROM job_failures WHERE job = ?1")?
                .execute([row])?;
        }
        let sql = format!("DELETE FROM {table} WHERE {key} = ?1");
        transaction.prepare_cached(&sql)?.execute([row])?;
    }
    transaction.commit()?;
    let is_full = old.len() == limit as usize;
    Ok(Pruned { rows: old.len() as u64, next: old.last().copied().filter(|_| is_full) })
}

/// The oldest first: whatever is found goes, so that there is nothing to pass over.
fn prune_rejected(
    connection: &mut Connection,
    before: Micros,
    limit: u32,
) -> Result<Pruned, StoreError> {
    let transaction = super::dispatch::begin(connection)?;
    let old: Vec<i64> = rows(&transaction, REJECTED, params![before, limit], |row| row.get(0))?;
    for row in &old {
        transaction.prepare_cached("DELETE FROM rejected WHERE id = ?1")?.execute([row])?;
    }
    transaction.commit()?;
    let is_full = old.len() == limit as usize;
    Ok(Pruned { rows: old.len() as u64, next: is_full.then_some(0) })
}

/// Some shapes at a time, by the only index there is: of each shape the old hours stand together.
fn prune_hours(
    connection: &mut Connection,
    before: Micros,
    after: i64,
    limit: u32,
) -> Result<Pruned, StoreError> {
    let transaction = super::dispatch::begin(connection)?;
    let (last, shapes): (Option<i64>, u32) = transaction.query_row(
        "SELECT max(id), count(*) FROM (
             SELECT id FROM fault_shapes WHERE id > ?1 ORDER BY id LIMIT ?2)",
        params![after, limit],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    let Some(last) = last else { return Ok(Pruned::default()) };
    // A shape may have thousands of them. `CROSS` has each shape looked for.
    let old: Vec<(i64, Micros)> = rows(
        &transaction,
        "SELECT shape, hour FROM fault_shapes CROSS JOIN fault_hours ON shape = fault_shapes.id
         WHERE fault_shapes.id > ?1 AND fault_shapes.id <= ?2 AND hour < ?3
         ORDER BY fault_shapes.id, hour LIMIT ?4",
        params![after, last, before, limit],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    for (shape, hour) in &old {
        transaction
            .prepare_cached("DELETE FROM fault_hours WHERE shape = ?1 AND hour = ?2")?
            .execute([shape, hour])?;
    }
    transaction.commit()?;
    // The last shape may have more.
    let full = old.last().filter(|_| old.len() == limit as usize);
    let next = full.map(|(shape, _)| shape - 1).or((shapes == limit).then_some(last));
    Ok(Pruned { rows: old.len() as u64, next })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::store::Store;

    #[tokio::test]
    async fn old_rejected_messages_are_found_by_their_age() {
        let store = Sqlite::in_memory().unwrap();
        store.migrate().await.unwrap();
        let plan = on(&store.reader, |connection| {
            let sql = format!("EXPLAIN QUERY PLAN {REJECTED}");
            rows(connection, &sql, [0, 1], |row| row.get::<_, String>(3))
        });
        let plan = plan.await.unwrap().join("; ");
        assert!(plan.contains("INDEX rejected_received_at (received_at<?)"), "{plan}");
        assert!(!plan.contains("TEMP B-TREE"), "{plan}");
    }
}
