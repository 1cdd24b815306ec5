//! Statistics by day in PostgreSQL.

use std::collections::BTreeMap;

use jiff::civil::Date;
use tokio_postgres::{Error, Row, Transaction, types::Type};

use super::timestamp;
use crate::adapters::store::{
    as_i64,
    statistics::{By, Count, DayCount, Days, Group, JobDayCount, KEYS},
};

/// Adds what a commit brings. The last statement of its transaction: hubs share these rows, and
/// wait for each other no longer than for the commit itself.
pub(super) async fn add(
    transaction: &Transaction<'_>,
    sums: &BTreeMap<Group<'_>, Count>,
) -> Result<(), Error> {
    if sums.is_empty() {
        return Ok(());
    }
    let text = |get: fn(&Group<'_>) -> String| sums.keys().map(get).collect::<Vec<_>>();
    let count = |get: fn(&Count) -> u64| sums.values().map(get).map(as_i64).collect::<Vec<_>>();
    let days: Vec<Date> = sums.keys().map(Group::date).collect();
    transaction
        .query_typed(
            "INSERT INTO daily_statistics (day, environment, service, kind, severity, source,
                 events, messages)
             SELECT day, environment, service, kind, severity, source, events, messages
             FROM unnest($1::date[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[],
                 $7::bigint[], $8::bigint[]) WITH ORDINALITY
                 AS given (day, environment, service, kind, severity, source, events, messages, at)
             ORDER BY at
             ON CONFLICT (day, environment, service, kind, severity, source) DO UPDATE SET
                 events = daily_statistics.events + excluded.events,
                 messages = daily_statistics.messages + excluded.messages",
            &[
                (&days, Type::DATE_ARRAY),
                (&text(|group| group.environment.to_owned()), Type::TEXT_ARRAY),
                (&text(|group| group.service.to_owned()), Type::TEXT_ARRAY),
                (&text(|group| group.kind.to_owned()), Type::TEXT_ARRAY),
                (&text(|group| group.severity.to_owned()), Type::TEXT_ARRAY),
                (&text(|group| group.source.to_owned()), Type::TEXT_ARRAY),
                (&count(|count| count.events), Type::INT8_ARRAY),
                (&count(|count| count.messages), Type::INT8_ARRAY),
            ],
        )
        .await
        .map(drop)
}

/// See [`RecordStore::statistics`](crate::adapters::store::records::RecordStore::statistics).
pub(super) fn by_day(by: By) -> String {
    format!(
        "WITH counted AS MATERIALIZED (
             SELECT day, ({})::text AS key, sum(events) AS events, sum(messages) AS messages
             FROM daily_statistics WHERE day BETWEEN $1 AND $2 GROUP BY 1, 2),
         most AS MATERIALIZED (
             SELECT key FROM counted GROUP BY key ORDER BY sum(events) DESC, key LIMIT {KEYS})
         SELECT to_char(day, 'YYYY-MM-DD'),
             CASE WHEN key IN (SELECT key FROM most) THEN key ELSE '{}' END,
             sum(events)::bigint, sum(messages)::bigint
         FROM counted GROUP BY 1, 2 ORDER BY 1, 2",
        by.sql(),
        DayCount::OTHERS
    )
}

pub(super) fn day_count_of(row: &Row) -> DayCount {
    DayCount { day: row.get(0), key: row.get(1), events: row.get(2), messages: row.get(3) }
}

/// Counts ends of jobs, in their transaction: environments, actions, outcomes and how often. Its last
/// statement, as [`add`] is.
pub(super) const ADD_ENDS: &str = "INSERT INTO job_statistics AS kept (day, environment, action,
        outcome, count)
    SELECT (now() AT TIME ZONE 'UTC')::date, environment, action, $3::text, count(*)
    FROM unnest($1::text[], $2::text[]) AS given (environment, action)
    GROUP BY environment, action ORDER BY environment, action
    ON CONFLICT (day, environment, action, outcome) DO UPDATE SET
        count = kept.count + excluded.count";

/// See [`RecordStore::job_statistics`](crate::adapters::store::records::RecordStore::job_statistics).
pub(super) const ENDINGS: &str = "SELECT to_char(day, 'YYYY-MM-DD'), action, outcome,
        sum(count)::bigint
    FROM job_statistics WHERE day BETWEEN $1 AND $2 GROUP BY day, action, outcome ORDER BY 1, 2, 3";

/// The moments between which these days are.
pub(super) fn moments(days: Days) -> (jiff::Timestamp, jiff::Timestamp) {
    let (since, until) = days.moments();
    (timestamp(since), timestamp(until))
}

pub(super) fn job_day_count_of(row: &Row) -> JobDayCount {
    JobDayCount { day: row.get(0), action: row.get(1), outcome: row.get(2), count: row.get(3) }
}
