//! Statistics, counted anew in PostgreSQL: both sides as they are at one moment.

use deadpool_postgres::{Object, Transaction};
use jiff::civil::Date;
use tokio_postgres::{Error, IsolationLevel, Row};

use super::statistics::moments;
use crate::adapters::store::{
    retention::{Counted, CountedJobs, Recount},
    statistics::Days,
};

async fn at_one_moment(client: &mut Object) -> Result<Transaction<'_>, Error> {
    let transaction = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead);
    transaction.read_only(true).start().await
}

pub(super) async fn events(client: &mut Object, days: Days) -> Result<Recount<Counted>, Error> {
    let (since, until) = moments(days);
    let transaction = at_one_moment(client).await?;
    let kept = transaction
        .query(
            "SELECT day, environment, service, kind, severity, source, events, messages
             FROM daily_statistics WHERE day BETWEEN $1 AND $2 ORDER BY 1, 2, 3, 4, 5, 6",
            &[&days.since, &days.until],
        )
        .await?;
    let found = transaction
        .query(
            "SELECT (received_at AT TIME ZONE 'UTC')::date, environment, service, kind, severity,
                 source, count(*), sum(messages)::bigint
             FROM events WHERE received_at >= $1 AND received_at < $2
             GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 1, 2, 3, 4, 5, 6",
            &[&since, &until],
        )
        .await?;
    let read = |rows: Vec<Row>| rows.iter().map(counted_of).collect();
    Ok(Recount { kept: read(kept), found: read(found) })
}

fn counted_of(row: &Row) -> Counted {
    Counted {
        day: row.get(0),
        environment: row.get(1),
        service: row.get(2),
        kind: row.get(3),
        severity: row.get(4),
        source: row.get(5),
        events: row.get(6),
        messages: row.get(7),
    }
}

/// An entry of an end says what ended; one written before it did so leads to its job, unless that
/// is gone.
pub(super) async fn jobs(client: &mut Object, days: Days) -> Result<Recount<CountedJobs>, Error> {
    let (since, until) = moments(days);
    let transaction = at_one_moment(client).await?;
    let kept = transaction
        .query(
            "SELECT day, environment, action, outcome, count FROM job_statistics
             WHERE day BETWEEN $1 AND $2 ORDER BY 1, 2, 3, 4",
            &[&days.since, &days.until],
        )
        .await?;
    let oldest = "SELECT (min(at) AT TIME ZONE 'UTC')::date FROM audit_trail WHERE NOT is_lesson";
    let oldest: Option<Date> = transaction.query_one(oldest, &[]).await?.get(0);
    let found = transaction
        .query(
            "SELECT (audit.at AT TIME ZONE 'UTC')::date,
                 coalesce(audit.details ->> 'environment', job.environment, ''),
                 coalesce(audit.details ->> 'action', job.action, ''),
                 CASE audit.action WHEN 'job.complete' THEN 'completed'
                     WHEN 'job.give_up' THEN 'dead' ELSE 'discarded' END,
                 count(*)
             FROM audit_trail AS audit LEFT JOIN jobs AS job ON job.id = audit.job
             WHERE audit.action IN ('job.complete', 'job.give_up', 'job.discard')
                 AND audit.at >= $1 AND audit.at < $2
             GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4",
            &[&since, &until],
        )
        .await?;
    let read = |rows: Vec<Row>| rows.iter().map(counted_jobs_of).collect();
    Ok(Recount { kept: read(kept), found: read(found) }.of_known_days(oldest))
}

fn counted_jobs_of(row: &Row) -> CountedJobs {
    CountedJobs {
        day: row.get(0),
        environment: row.get(1),
        action: row.get(2),
        outcome: row.get(3),
        count: row.get(4),
    }
}

/// By adding, so that what is counted meanwhile stays.
pub(super) async fn correct(client: &mut Object, differences: &[Counted]) -> Result<(), Error> {
    let transaction = client.transaction().await?;
    let text = |get: fn(&Counted) -> &str| differences.iter().map(get).collect::<Vec<_>>();
    let days: Vec<Date> = differences.iter().map(|one| one.day).collect();
    let events: Vec<i64> = differences.iter().map(|one| one.events).collect();
    let messages: Vec<i64> = differences.iter().map(|one| one.messages).collect();
    transaction
        .execute(
            "INSERT INTO daily_statistics AS kept (day, environment, service, kind, severity,
                 source, events, messages)
             SELECT * FROM unnest($1::date[], $2::text[], $3::text[], $4::text[], $5::text[],
                 $6::text[], $7::bigint[], $8::bigint[]) ORDER BY 1, 2, 3, 4, 5, 6
             ON CONFLICT (day, environment, service, kind, severity, source) DO UPDATE SET
                 events = kept.events + excluded.events,
                 messages = kept.messages + excluded.messages",
            &[
                &days,
                &text(|one| &one.environment),
                &text(|one| &one.service),
                &text(|one| &one.kind),
                &text(|one| &one.severity),
                &text(|one| &one.source),
                &events,
                &messages,
            ],
        )
        .await?;
    let nothing = "DELETE FROM daily_statistics
                   WHERE day = ANY($1) AND events = 0 AND messages = 0";
    transaction.execute(nothing, &[&days]).await?;
    transaction.commit().await
}

pub(super) async fn correct_jobs(
    client: &mut Object,
    differences: &[CountedJobs],
) -> Result<(), Error> {
    let transaction = client.transaction().await?;
    let text = |get: fn(&CountedJobs) -> &str| differences.iter().map(get).collect::<Vec<_>>();
    let days: Vec<Date> = differences.iter().map(|one| one.day).collect();
    let counts: Vec<i64> = differences.iter().map(|one| one.count).collect();
    transaction
        .execute(
            "INSERT INTO job_statistics AS kept (day, environment, action, outcome, count)
             SELECT * FROM unnest($1::date[], $2::text[], $3::text[], $4::text[], $5::bigint[])
             ORDER BY 1, 2, 3, 4
             ON CONFLICT (day, environment, action, outcome) DO UPDATE SET
                 count = kept.count + excluded.count",
            &[
                &days,
                &text(|one| &one.environment),
                &text(|one| &one.action),
                &text(|one| &one.outcome),
                &counts,
            ],
        )
        .await?;
    let nothing = "DELETE FROM job_statistics WHERE day = ANY($1) AND count = 0";
    transaction.execute(nothing, &[&days]).await?;
    transaction.commit().await
}
