//! Days of events that leave: their partitions become tables of their own, which nobody writes to,
//! are read from there, and dropped.
//!
//! To detach a partition needs a lock that all writers of `events` wait behind; so it is asked for
//! with little patience, and again later. All that follows touches tables that only retention knows.

use std::{ops::Range, time::Duration};

use deadpool_postgres::Object;
use jiff::civil::Date;
use tokio_postgres::{Error, Row, Transaction, error::SqlState};
use uuid::Uuid;

use crate::{
    adapters::store::{
        as_i64, as_u64,
        retention::{Leave, Leaving, MOST_BYTES, Read, Stage},
    },
    domain::{archived::ArchivedEvent, retention::file_name},
};

/// Pages of a table that are read in one step: half a MiB.
const PAGES: i64 = 64;

/// The ending of the names of a day's tables.
fn ending(day: Date) -> String {
    day.strftime("%Y%m%d").to_string()
}

pub(super) async fn leave(
    client: &mut Object,
    day: Date,
    is_archived: bool,
    patience: Duration,
) -> Result<Leave, Error> {
    let transaction = client.transaction().await?;
    match detach(&transaction, day, is_archived, patience).await {
        Ok(Leave::Leaving(leaving)) => {
            transaction.commit().await?;
            Ok(Leave::Leaving(leaving))
        }
        Ok(other) => Ok(other),
        Err(error) if is_busy(&error) => Ok(Leave::Busy),
        Err(error) => Err(error),
    }
}

fn is_busy(error: &Error) -> bool {
    let busy = [SqlState::LOCK_NOT_AVAILABLE, SqlState::T_R_DEADLOCK_DETECTED];
    error.code().is_some_and(|code| busy.contains(code))
}

async fn detach(
    transaction: &Transaction<'_>,
    day: Date,
    is_archived: bool,
    patience: Duration,
) -> Result<Leave, Error> {
    let ending = ending(day);
    let there = transaction
        .query_one(
            "SELECT to_regclass($1) IS NOT NULL, to_regclass($2) IS NOT NULL,
                 EXISTS (SELECT FROM gone_days WHERE day = $3 AND stage <> 'dropped')",
            &[&format!("events_{ending}"), &format!("event_blocks_{ending}"), &day],
        )
        .await?;
    let (has_events, has_blocks, is_underway): (bool, bool, bool) =
        (there.get(0), there.get(1), there.get(2));
    if !has_events || is_underway {
        return Ok(Leave::Nothing);
    }
    let millis = patience.as_millis().max(1);
    // Not their partitions: `ONLY`.
    transaction
        .batch_execute(&format!(
            "SET LOCAL lock_timeout = '{millis}ms';
             LOCK TABLE ONLY events IN ACCESS EXCLUSIVE MODE;
             LOCK TABLE ONLY event_blocks IN ACCESS EXCLUSIVE MODE"
        ))
        .await?;
    // From here on nothing is restored to that day.
    let restored = transaction
        .query_one(
            "SELECT coalesce(sum(restored), 0)::bigint, coalesce(bool_or(until > now()), false),
                 coalesce(bool_or(restored > 0 AND restored < events), false)
             FROM restored_days WHERE day = $1",
            &[&day],
        )
        .await?;
    if restored.get(1) {
        return Ok(Leave::Nothing);
    }
    let back: i64 = restored.get(0);
    // Of an archive that is back in part nobody knows which events it would have twice.
    if restored.get(2) && count_blocks(transaction, &ending, has_blocks).await? != back {
        return Ok(Leave::Unfinished);
    }
    for (table, _) in [("events", true), ("event_blocks", has_blocks)].into_iter().filter(|it| it.1)
    {
        transaction
            .batch_execute(&format!(
                "ALTER TABLE {table} DETACH PARTITION {table}_{ending};
                 ALTER TABLE {table}_{ending} RENAME TO gone_{table}_{ending}"
            ))
            .await?;
    }
    let part: i32 = transaction
        .query_one("SELECT coalesce(max(part), 0) + 1 FROM gone_days WHERE day = $1", &[&day])
        .await?
        .get(0);
    let file = is_archived.then(|| file_name(day, part.unsigned_abs()));
    let rows = transaction
        .query(
            "INSERT INTO gone_days (id, day, part, stage, file, restored)
             VALUES ($1, $2, $3, 'leaving', $4, $5) RETURNING id, day, part, stage, file, restored",
            &[&Uuid::now_v7(), &day, &part, &file, &back],
        )
        .await?;
    Ok(rows.first().map_or(Leave::Nothing, |row| Leave::Leaving(leaving_of(row))))
}

/// The events of a day, by the blocks that find them.
async fn count_blocks(
    transaction: &Transaction<'_>,
    ending: &str,
    has_blocks: bool,
) -> Result<i64, Error> {
    if !has_blocks {
        return Ok(0);
    }
    let sql = format!("SELECT coalesce(sum(events), 0)::bigint FROM event_blocks_{ending}");
    Ok(transaction.query_one(&sql, &[]).await?.get(0))
}

pub(super) const LEAVING: &str = "SELECT id, day, part, stage, file, restored FROM gone_days
    WHERE stage <> 'dropped' ORDER BY day, part";

pub(super) fn leaving_of(row: &Row) -> Leaving {
    Leaving {
        id: row.get(0),
        day: row.get(1),
        part: row.get::<_, i32>(2).unsigned_abs(),
        stage: Stage::from_name(row.get(3)),
        file: row.get(4),
        restored: as_u64(row.get(5)),
        through: 0,
    }
}

/// What is asked for the size of a day's table, in pages.
pub(super) fn pages_of(day: Date) -> String {
    format!(
        "SELECT (coalesce(pg_relation_size(to_regclass('gone_events_{}')), 0)
             / current_setting('block_size')::bigint)::bigint",
        ending(day)
    )
}

/// By pages, as they are read one after another.
pub(super) fn steps(pages: i64) -> Vec<Range<i64>> {
    let starts = (0..pages).step_by(usize::try_from(PAGES).unwrap_or(1));
    starts.map(|start| place(start, 0)..place(start + PAGES, 0)).collect()
}

/// A row's place as a number, in the order in which rows stand.
const fn place(page: i64, line: i64) -> i64 {
    page << LINE_BITS | line
}

const LINE_BITS: u32 = 16;

/// As the server writes a place.
fn tid(place: i64) -> String {
    format!("'({},{})'::tid", place >> LINE_BITS, place & ((1 << LINE_BITS) - 1))
}

/// Nobody writes to the table, so that reading it page by page reads each row once; and no
/// snapshot is held for long, which would keep the server from tidying up elsewhere.
fn within(step: &Range<i64>) -> String {
    format!("ctid >= {} AND ctid < {}", tid(step.start), tid(step.end))
}

/// With each event's place, and the bytes of all up to it. Rows of a few pages may be gigabytes, for
/// long texts stand elsewhere: their lengths are known without reading them.
pub(super) fn events_in(day: Date, step: &Range<i64>) -> String {
    format!(
        "SELECT origin, sequence, ordinal, received_at, occurred_at, source, kind, severity,
             environment, service, process, message, message_bytes, stack_trace, attributes::text,
             priority, messages, fingerprint, ctid::text AS place, through::bigint
         FROM (
             SELECT *, ctid, sum(bytes) OVER (ORDER BY ctid ROWS UNBOUNDED PRECEDING) AS through
             FROM gone_events_{}, LATERAL (SELECT octet_length(message)::bigint
                 + coalesce(octet_length(stack_trace), 0) + coalesce(octet_length(message_bytes), 0)
                 + coalesce(octet_length(attributes::text), 0)) AS size (bytes)
             WHERE {}
         ) AS next WHERE through - bytes < {MOST_BYTES} ORDER BY next.ctid",
        ending(day),
        within(step)
    )
}

/// What the rows of [`events_in`] say.
pub(super) fn read_of(rows: &[Row], step: &Range<i64>) -> Read {
    let is_cut = |row: &&Row| row.get::<_, i64>(19) >= MOST_BYTES;
    let cut = rows.last().filter(is_cut).and_then(|row| place_of(row.get(18)));
    let next = cut.map_or(step.end, |last| last + 1);
    Read { events: rows.iter().map(archived_of).collect(), next }
}

/// Of `(page,line)`.
fn place_of(tid: &str) -> Option<i64> {
    let (page, line) = tid.strip_prefix('(')?.strip_suffix(')')?.split_once(',')?;
    Some(place(page.parse().ok()?, line.parse().ok()?))
}

pub(super) fn count_in(day: Date, step: &Range<i64>) -> String {
    format!("SELECT count(*) FROM gone_events_{} WHERE {}", ending(day), within(step))
}

fn archived_of(row: &Row) -> ArchivedEvent {
    ArchivedEvent {
        origin: row.get(0),
        sequence: row.get(1),
        ordinal: row.get(2),
        received_at: super::row::micros_of(row, 3),
        occurred_at: super::row::micros_of(row, 4),
        source: row.get(5),
        kind: row.get(6),
        severity: row.get(7),
        environment: row.get(8),
        service: row.get(9),
        process: row.get(10),
        message: row.get(11),
        message_bytes: row.get(12),
        stack_trace: row.get(13),
        attributes: row.get(14),
        priority: row.get::<_, Option<i16>>(15).and_then(|priority| u8::try_from(priority).ok()),
        messages: row.get::<_, i32>(16).cast_unsigned(),
        fingerprint: row.get(17),
    }
}

/// Drops the tables, and says so, in one transaction.
pub(super) async fn drop_day(
    client: &mut Object,
    leaving: &Leaving,
    events: u64,
) -> Result<(), Error> {
    let transaction = client.transaction().await?;
    let ending = ending(leaving.day);
    // Whoever comes second finds nothing to do.
    let changed = transaction
        .execute(
            "UPDATE gone_days SET stage = 'dropped', events = $2, dropped_at = now()
             WHERE id = $1 AND stage = 'archived'",
            &[&leaving.id, &as_i64(events)],
        )
        .await?;
    if changed == 1 {
        transaction
            .batch_execute(&format!(
                "DROP TABLE IF EXISTS gone_events_{ending}, gone_event_blocks_{ending}"
            ))
            .await?;
        transaction
            .execute(
                "DELETE FROM restored_days WHERE day = $1 AND restored_at <= (
                     SELECT began_at FROM gone_days WHERE id = $2)",
                &[&leaving.day, &leaving.id],
            )
            .await?;
    }
    transaction.commit().await
}
