//! Days of events that leave a file: read and deleted bit by bit, by their ids, so that the writer
//! waits for no more than one step.
//!
//! SQLite gives the id of a row that was last to the next one. So the last event of the day is
//! deleted with the last step only: whatever is stored meanwhile has a higher id, and stays.

use std::ops::Range;

use jiff::civil::Date;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use uuid::Uuid;

use super::row::rows;
use crate::{
    adapters::{
        clock,
        store::{
            StoreError, as_i64, as_u64,
            retention::{Leave, Leaving, MOST_BYTES, Read, Stage},
        },
    },
    domain::{
        archived::ArchivedEvent,
        retention::{day_of, file_name, moments_of},
    },
};

/// Ids that are covered by one step.
const IDS: i64 = 2_000;
/// Blocks that are deleted at once.
const BLOCKS: u32 = 200;

/// The days of which there are events: from one to the next, by the index of blocks.
pub(super) fn days(connection: &Connection) -> Result<Vec<Date>, StoreError> {
    let mut next = connection
        .prepare_cached("SELECT min(received_to) FROM event_blocks WHERE received_to >= ?1")?;
    let (mut days, mut from) = (Vec::new(), i64::MIN);
    while let Some(found) = next.query_one([from], |row| row.get::<_, Option<i64>>(0))? {
        let day = day_of(found);
        days.push(day);
        from = moments_of(day).1;
    }
    Ok(days)
}

pub(super) fn leave(
    connection: &mut Connection,
    day: Date,
    is_archived: bool,
) -> Result<Leave, StoreError> {
    let transaction = super::dispatch::begin(connection)?;
    let (start, end) = moments_of(day);
    let name = day.to_string();
    let is_underway: bool = transaction.query_row(
        "SELECT EXISTS (SELECT 1 FROM gone_days WHERE day = ?1 AND stage <> 'dropped')
             OR EXISTS (SELECT 1 FROM restored_days WHERE day = ?1 AND until > ?2)",
        params![name, clock::now()],
        |row| row.get(0),
    )?;
    let through: Option<i64> = transaction.query_row(
        "SELECT max(last_event) FROM event_blocks WHERE received_to >= ?1 AND received_to < ?2",
        [start, end],
        |row| row.get(0),
    )?;
    let Some(through) = through.filter(|_| !is_underway) else { return Ok(Leave::Nothing) };
    let (part, restored, is_partly): (u32, i64, bool) = transaction.query_row(
        "SELECT (SELECT coalesce(max(part), 0) + 1 FROM gone_days WHERE day = ?1),
             (SELECT coalesce(sum(restored), 0) FROM restored_days WHERE day = ?1),
             EXISTS (SELECT 1 FROM restored_days
                 WHERE day = ?1 AND restored > 0 AND restored < events)",
        [&name],
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
    )?;
    // Of an archive that is back in part nobody knows which events it would have twice.
    if is_partly && count_blocks(&transaction, start..end)? != restored {
        return Ok(Leave::Unfinished);
    }
    let (id, file) = (Uuid::now_v7(), is_archived.then(|| file_name(day, part)));
    transaction.execute(
        "INSERT INTO gone_days (id, day, part, stage, file, through, restored, began_at)
         VALUES (?1, ?2, ?3, 'leaving', ?4, ?5, ?6, ?7)",
        params![id.to_string(), name, part, file, through, restored, clock::now()],
    )?;
    transaction.commit()?;
    let (stage, restored) = (Stage::Leaving, as_u64(restored));
    Ok(Leave::Leaving(Leaving { id, day, part, stage, file, restored, through }))
}

/// The events received in a span of time, by the blocks that find them.
fn count_blocks(transaction: &Transaction<'_>, span: Range<i64>) -> rusqlite::Result<i64> {
    transaction.query_row(
        "SELECT coalesce(sum(events), 0) FROM event_blocks
         WHERE received_to >= ?1 AND received_to < ?2",
        [span.start, span.end],
        |row| row.get(0),
    )
}

pub(super) fn leaving(connection: &Connection) -> Result<Vec<Leaving>, StoreError> {
    let sql = "SELECT id, day, part, stage, file, restored, through FROM gone_days
               WHERE stage <> 'dropped' ORDER BY day, part";
    rows(connection, sql, [], |row| {
        Ok(Leaving {
            id: parsed(row, 0)?,
            day: parsed(row, 1)?,
            part: row.get(2)?,
            stage: Stage::from_name(row.get_ref(3)?.as_str()?),
            file: row.get(4)?,
            restored: as_u64(row.get(5)?),
            through: row.get(6)?,
        })
    })
}

/// A value that is kept as text.
pub(super) fn parsed<T>(row: &Row<'_>, column: usize) -> rusqlite::Result<T>
where
    T: std::str::FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let text = row.get_ref(column)?.as_str()?;
    text.parse().map_err(|error: T::Err| {
        rusqlite::Error::FromSqlConversionFailure(
            column,
            rusqlite::types::Type::Text,
            Box::new(error),
        )
    })
}

/// By ids: the events of a day stand together, but for what came late.
pub(super) fn steps(
    connection: &Connection,
    leaving: &Leaving,
) -> Result<Vec<Range<i64>>, StoreError> {
    let (start, end) = moments_of(leaving.day);
    let mut spans = rows(
        connection,
        "SELECT first_event, last_event FROM event_blocks
         WHERE received_to >= ?1 AND received_to < ?2 AND last_event <= ?3",
        [start, end, leaving.through],
        |row| Ok(row.get::<_, i64>(0)?..row.get::<_, i64>(1)? + 1),
    )?;
    // The last event's block may be gone already.
    spans.push(leaving.through..leaving.through + 1);
    spans.sort_unstable_by_key(|span| span.start);
    let mut merged: Vec<Range<i64>> = Vec::new();
    for span in spans {
        match merged.last_mut().filter(|last| span.start <= last.end) {
            Some(last) => last.end = last.end.max(span.end),
            None => merged.push(span),
        }
    }
    let cut = |span: Range<i64>| {
        let starts = (span.start..span.end).step_by(usize::try_from(IDS).unwrap_or(1));
        starts.map(move |start| start..(start + IDS).min(span.end))
    };
    Ok(merged.into_iter().flat_map(cut).collect())
}

const OF_DAY: &str = "id >= ?1 AND id < ?2 AND received_at >= ?3 AND received_at < ?4";

pub(super) fn events(
    connection: &Connection,
    day: Date,
    step: &Range<i64>,
) -> Result<Read, StoreError> {
    let (start, end) = moments_of(day);
    let sql = format!(
        "SELECT origin, sequence, ordinal, received_at, occurred_at, source, kind, severity,
             environment, service, process, message, message_bytes, stack_trace, attributes,
             priority, messages, fingerprint, id
         FROM events WHERE {OF_DAY} ORDER BY id"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([step.start, step.end, start, end])?;
    let mut read = Read { events: Vec::new(), next: step.end };
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        let event = archived_of(row)?;
        bytes += length_of(&event);
        read.events.push(event);
        if bytes >= MOST_BYTES {
            read.next = row.get::<_, i64>(18)? + 1;
            break;
        }
    }
    Ok(read)
}

/// Of its texts.
fn length_of(event: &ArchivedEvent) -> i64 {
    let ArchivedEvent { message, message_bytes, stack_trace, attributes, .. } = event;
    let texts = [Some(message.len()), message_bytes.as_ref().map(Vec::len)]
        .into_iter()
        .chain([stack_trace, attributes].map(|text| text.as_ref().map(String::len)));
    texts.flatten().map(|length| as_i64(length as u64)).sum()
}

fn archived_of(row: &Row<'_>) -> rusqlite::Result<ArchivedEvent> {
    Ok(ArchivedEvent {
        origin: row.get(0)?,
        sequence: row.get(1)?,
        ordinal: row.get(2)?,
        received_at: row.get(3)?,
        occurred_at: row.get(4)?,
        source: row.get(5)?,
        kind: row.get(6)?,
        severity: row.get(7)?,
        environment: row.get(8)?,
        service: row.get(9)?,
        process: row.get(10)?,
        message: row.get(11)?,
        message_bytes: row.get(12)?,
        stack_trace: row.get(13)?,
        attributes: row.get(14)?,
        priority: row.get(15)?,
        messages: row.get(16)?,
        fingerprint: row.get(17)?,
    })
}

pub(super) fn count(
    connection: &Connection,
    day: Date,
    step: &Range<i64>,
) -> Result<u64, StoreError> {
    let (start, end) = moments_of(day);
    let sql = format!("SELECT count(*) FROM events WHERE {OF_DAY}");
    let mut count = connection.prepare_cached(&sql)?;
    Ok(as_u64(count.query_one([step.start, step.end, start, end], |row| row.get(0))?))
}

/// Whether its events may be deleted: they are archived, and not dropped yet.
fn may_go(transaction: &Transaction<'_>, leaving: &Leaving) -> Result<bool, StoreError> {
    let stage: Option<String> = transaction
        .query_row("SELECT stage FROM gone_days WHERE id = ?1", [leaving.id.to_string()], |row| {
            row.get(0)
        })
        .optional()?;
    Ok(stage.as_deref() == Some(Stage::Archived.name()))
}

/// Deletes the events of a step but for the last of all.
pub(super) fn delete_step(
    connection: &mut Connection,
    leaving: &Leaving,
    step: &Range<i64>,
) -> Result<u64, StoreError> {
    let (start, end) = moments_of(leaving.day);
    let transaction = super::dispatch::begin(connection)?;
    if !may_go(&transaction, leaving)? {
        return Ok(0);
    }
    let last = step.end.min(leaving.through);
    let sql = format!("DELETE FROM events WHERE {OF_DAY}");
    let gone = transaction.prepare_cached(&sql)?.execute([step.start, last, start, end])?;
    transaction.commit()?;
    Ok(gone as u64)
}

/// Deletes some blocks of the day but for that of the last event; `false` when no more are left.
pub(super) fn delete_blocks(
    connection: &mut Connection,
    leaving: &Leaving,
) -> Result<bool, StoreError> {
    let (start, end) = moments_of(leaving.day);
    let transaction = super::dispatch::begin(connection)?;
    if !may_go(&transaction, leaving)? {
        return Ok(false);
    }
    let gone = transaction
        .prepare_cached(
            "DELETE FROM event_blocks WHERE rowid IN (
                 SELECT rowid FROM event_blocks WHERE received_to >= ?1 AND received_to < ?2
                     AND last_event < ?3 LIMIT ?4)",
        )?
        .execute(params![start, end, leaving.through, BLOCKS])?;
    transaction.commit()?;
    Ok(gone > 0)
}

/// The last event goes, and with it the day.
pub(super) fn drop_day(
    connection: &mut Connection,
    leaving: &Leaving,
    events: u64,
) -> Result<(), StoreError> {
    let (start, end) = moments_of(leaving.day);
    let transaction = super::dispatch::begin(connection)?;
    if !may_go(&transaction, leaving)? {
        return Ok(());
    }
    let id = leaving.id.to_string();
    transaction.execute("DELETE FROM events WHERE id = ?1", [leaving.through])?;
    transaction.execute(
        "DELETE FROM event_blocks WHERE received_to >= ?1 AND received_to < ?2 AND last_event <= ?3",
        [start, end, leaving.through],
    )?;
    transaction.execute(
        "DELETE FROM restored_days WHERE day = ?1 AND restored_at <= (
             SELECT began_at FROM gone_days WHERE id = ?2)",
        params![leaving.day.to_string(), id],
    )?;
    transaction.execute(
        "UPDATE gone_days SET stage = 'dropped', events = ?2, dropped_at = ?3 WHERE id = ?1",
        params![id, as_i64(events), clock::now()],
    )?;
    transaction.commit()?;
    Ok(())
}
