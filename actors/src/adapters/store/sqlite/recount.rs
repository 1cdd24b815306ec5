//! Statistics, counted anew in SQLite: both sides as they are at one moment.

use rusqlite::{Connection, Row, params};

use super::{leaving::parsed, row::rows};
use crate::{
    adapters::store::{
        StoreError,
        retention::{Counted, CountedJobs, Recount},
        statistics::Days,
    },
    domain::retention::day_of,
};

pub(super) fn events(
    connection: &mut Connection,
    days: Days,
) -> Result<Recount<Counted>, StoreError> {
    let (since, until) = days.moments();
    let transaction = connection.transaction()?;
    let kept = rows(
        &transaction,
        "SELECT day, environment, service, kind, severity, source, events, messages
         FROM daily_statistics WHERE day BETWEEN ?1 AND ?2 ORDER BY 1, 2, 3, 4, 5, 6",
        params![days.since.to_string(), days.until.to_string()],
        counted_of,
    )?;
    let found = rows(
        &transaction,
        "SELECT date(received_at / 1000000, 'unixepoch'), environment, service, kind, severity,
             source, count(*), sum(messages)
         FROM events WHERE received_at >= ?1 AND received_at < ?2
         GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 1, 2, 3, 4, 5, 6",
        [since, until],
        counted_of,
    )?;
    Ok(Recount { kept, found })
}

fn counted_of(row: &Row<'_>) -> rusqlite::Result<Counted> {
    Ok(Counted {
        day: parsed(row, 0)?,
        environment: row.get(1)?,
        service: row.get(2)?,
        kind: row.get(3)?,
        severity: row.get(4)?,
        source: row.get(5)?,
        events: row.get(6)?,
        messages: row.get(7)?,
    })
}

/// An entry of an end says what ended; one written before it did so leads to its job, unless that
/// is gone.
pub(super) fn jobs(
    connection: &mut Connection,
    days: Days,
) -> Result<Recount<CountedJobs>, StoreError> {
    let (since, until) = days.moments();
    let transaction = connection.transaction()?;
    let kept = rows(
        &transaction,
        "SELECT day, environment, action, outcome, count FROM job_statistics
         WHERE day BETWEEN ?1 AND ?2 ORDER BY 1, 2, 3, 4",
        params![days.since.to_string(), days.until.to_string()],
        counted_jobs_of,
    )?;
    let oldest: Option<i64> = transaction.query_row(
        "SELECT min(at) FROM audit_trail WHERE NOT is_lesson",
        [],
        |row| row.get(0),
    )?;
    let found = rows(
        &transaction,
        "SELECT date(audit.at / 1000000, 'unixepoch'),
             coalesce(audit.details ->> 'environment', job.environment, ''),
             coalesce(audit.details ->> 'action', job.action, ''),
             CASE audit.action WHEN 'job.complete' THEN 'completed' WHEN 'job.give_up' THEN 'dead'
                 ELSE 'discarded' END,
             count(*)
         FROM audit_trail AS audit LEFT JOIN jobs AS job ON job.id = audit.job
         WHERE audit.action IN ('job.complete', 'job.give_up', 'job.discard')
             AND audit.at >= ?1 AND audit.at < ?2
         GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4",
        [since, until],
        counted_jobs_of,
    )?;
    Ok(Recount { kept, found }.of_known_days(oldest.map(day_of)))
}

fn counted_jobs_of(row: &Row<'_>) -> rusqlite::Result<CountedJobs> {
    Ok(CountedJobs {
        day: parsed(row, 0)?,
        environment: row.get(1)?,
        action: row.get(2)?,
        outcome: row.get(3)?,
        count: row.get(4)?,
    })
}

/// By adding, so that what is counted meanwhile stays.
pub(super) fn correct(
    connection: &mut Connection,
    differences: &[Counted],
) -> Result<(), StoreError> {
    let transaction = super::dispatch::begin(connection)?;
    for one in differences {
        transaction
            .prepare_cached(
                "INSERT INTO daily_statistics (day, environment, service, kind, severity, source,
                     events, messages)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
                 ON CONFLICT (day, environment, service, kind, severity, source) DO UPDATE SET
                     events = events + excluded.events, messages = messages + excluded.messages",
            )?
            .execute(params![
                one.day.to_string(),
                one.environment,
                one.service,
                one.kind,
                one.severity,
                one.source,
                one.events,
                one.messages,
            ])?;
    }
    transaction.execute("DELETE FROM daily_statistics WHERE events = 0 AND messages = 0", [])?;
    transaction.commit()?;
    Ok(())
}

pub(super) fn correct_jobs(
    connection: &mut Connection,
    differences: &[CountedJobs],
) -> Result<(), StoreError> {
    let transaction = super::dispatch::begin(connection)?;
    for one in differences {
        super::statistics::add_end(&transaction, one)?;
    }
    transaction.execute("DELETE FROM job_statistics WHERE count = 0", [])?;
    transaction.commit()?;
    Ok(())
}
