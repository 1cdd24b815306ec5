//! Statistics by day in SQLite.

use std::collections::BTreeMap;

use rusqlite::{Connection, Transaction, params};

use super::row::rows;
use crate::adapters::store::{
    StoreError, as_i64,
    retention::CountedJobs,
    statistics::{By, Count, DayCount, Days, Group, JobDayCount, KEYS},
};

/// Adds what a commit brings.
pub(super) fn add(
    transaction: &Transaction<'_>,
    sums: &BTreeMap<Group<'_>, Count>,
) -> Result<(), StoreError> {
    let mut add = transaction.prepare_cached(
        "INSERT INTO daily_statistics (day, environment, service, kind, severity, source, events,
             messages)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
         ON CONFLICT (day, environment, service, kind, severity, source) DO UPDATE SET
             events = events + excluded.events, messages = messages + excluded.messages",
    )?;
    for (group, count) in sums {
        add.execute(params![
            group.date().to_string(),
            group.environment,
            group.service,
            group.kind,
            group.severity,
            group.source,
            as_i64(count.events),
            as_i64(count.messages),
        ])?;
    }
    Ok(())
}

/// See [`RecordStore::statistics`](crate::adapters::store::records::RecordStore::statistics).
pub(super) fn by_day(
    connection: &Connection,
    days: Days,
    by: By,
) -> Result<Vec<DayCount>, StoreError> {
    let sql = format!(
        "WITH counted AS MATERIALIZED (
             SELECT day, {} AS key, sum(events) AS events, sum(messages) AS messages
             FROM daily_statistics WHERE day BETWEEN ?1 AND ?2 GROUP BY 1, 2),
         most AS MATERIALIZED (
             SELECT key FROM counted GROUP BY key ORDER BY sum(events) DESC, key LIMIT {KEYS})
         SELECT day, CASE WHEN key IN (SELECT key FROM most) THEN key ELSE '{}' END,
             sum(events), sum(messages)
         FROM counted GROUP BY 1, 2 ORDER BY 1, 2",
        by.sql(),
        DayCount::OTHERS
    );
    rows(connection, &sql, params![days.since.to_string(), days.until.to_string()], |row| {
        Ok(DayCount {
            day: row.get(0)?,
            key: row.get(1)?,
            events: row.get(2)?,
            messages: row.get(3)?,
        })
    })
}

/// Counts ends of jobs, in their transaction.
pub(super) fn add_end(
    transaction: &Transaction<'_>,
    ended: &CountedJobs,
) -> Result<(), StoreError> {
    let CountedJobs { day, environment, action, outcome, count } = ended;
    transaction
        .prepare_cached(
            "INSERT INTO job_statistics (day, environment, action, outcome, count)
             VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (day, environment, action, outcome) DO UPDATE SET
                 count = count + excluded.count",
        )?
        .execute(params![day.to_string(), environment, action, outcome, count])?;
    Ok(())
}

/// See [`RecordStore::job_statistics`](crate::adapters::store::records::RecordStore::job_statistics).
pub(super) fn endings(connection: &Connection, days: Days) -> Result<Vec<JobDayCount>, StoreError> {
    let sql = "SELECT day, action, outcome, sum(count) FROM job_statistics
               WHERE day BETWEEN ?1 AND ?2 GROUP BY 1, 2, 3 ORDER BY 1, 2, 3";
    rows(connection, sql, params![days.since.to_string(), days.until.to_string()], |row| {
        Ok(JobDayCount {
            day: row.get(0)?,
            action: row.get(1)?,
            outcome: row.get(2)?,
            count: row.get(3)?,
        })
    })
}
