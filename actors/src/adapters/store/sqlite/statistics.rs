//! Statistics by day in SQLite.

use std::collections::BTreeMap;

use rusqlite::{Connection, Transaction, params};

use super::row::rows;
use crate::adapters::store::{
    StoreError, as_i64,
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

/// See [`RecordStore::job_statistics`](crate::adapters::store::records::RecordStore::job_statistics).
pub(super) fn endings(connection: &Connection, days: Days) -> Result<Vec<JobDayCount>, StoreError> {
    let (since, until) = days.moments();
    let sql = "SELECT date(audit.at / 1000000, 'unixepoch'), job.action,
                   CASE audit.action WHEN 'job.complete' THEN 'completed'
                       WHEN 'job.give_up' THEN 'dead' ELSE 'discarded' END,
                   count(*)
               FROM audit_trail AS audit JOIN jobs AS job ON job.id = audit.job
               WHERE audit.action IN ('job.complete', 'job.give_up', 'job.discard')
                   AND audit.at >= ?1 AND audit.at < ?2
               GROUP BY 1, 2, 3 ORDER BY 1, 2, 3";
    rows(connection, sql, params![since, until], |row| {
        Ok(JobDayCount {
            day: row.get(0)?,
            action: row.get(1)?,
            outcome: row.get(2)?,
            count: row.get(3)?,
        })
    })
}
