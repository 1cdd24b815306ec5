//! One commit: everything of it in one transaction, or nothing.

use rusqlite::{
    Connection, ErrorCode, OptionalExtension, ToSql, Transaction, params,
    types::{ToSqlOutput, ValueRef},
};

use super::{faults, position_of, statistics};
use crate::{
    adapters::{
        clock,
        journal::Origin,
        store::{
            Commit, Committed, Left, StoreError, Why, announced, as_i64, assignments::Assignments,
            rejected_rows, replayed, statistics::sum_days, sum_faults, tallies_with,
        },
    },
    domain::{
        batch::Span,
        event::Source,
        ledger::Tally,
        words::block::{Block, Blocks},
    },
};

/// Stores `commit`, except for events that are stored already, and for rows that are refused; these
/// become rejected ones.
pub(super) fn commit(
    connection: &mut Connection,
    commit: &Commit,
    assignments: &mut Assignments,
) -> Result<Committed, StoreError> {
    let transaction = connection.transaction()?;
    let origin = move_position(&transaction, commit)?;
    let mut left = keep_identities(&transaction, commit)?;
    keep_replays(&transaction, commit, origin, &mut left)?;
    add_events(&transaction, commit, origin, &mut left)?;
    let faults = faults::add(&transaction, &sum_faults(commit, &left), assignments)?;
    add_rejected(&transaction, commit, &left, origin)?;
    let tallies = tallies_with(commit, &left);
    add_to_ledger(&transaction, commit.origin, &tallies)?;
    statistics::add(&transaction, &sum_days(commit, &left))?;
    transaction.commit()?;
    assignments.committed();
    Ok(Committed { tallies, faults })
}

/// Moves the position by compare-and-swap; gives the id that stands for the origin in `events`.
fn move_position(transaction: &Transaction<'_>, commit: &Commit) -> Result<i64, StoreError> {
    let moved = transaction
        .query_row(
            "UPDATE journal_positions SET sequence = ?1, updated_at = ?2
             WHERE origin = ?3 AND sequence = ?4 RETURNING id",
            params![
                as_i64(commit.position()),
                clock::now(),
                commit.origin.to_string(),
                as_i64(commit.after)
            ],
            |row| row.get(0),
        )
        .optional()?;
    match moved {
        Some(id) => Ok(id),
        None => Err(StoreError::Moved { position: position_of(transaction, commit.origin)? }),
    }
}

/// Text of a batch, bound without copying it.
struct Text<'a>(&'a [u8]);

impl ToSql for Text<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Text(self.0)))
    }
}

/// Keeps the identities of events; gives the events that are stored already.
fn keep_identities(transaction: &Transaction<'_>, commit: &Commit) -> Result<Left, StoreError> {
    let mut left = Left::within(commit);
    let mut keep = transaction.prepare_cached(
        "INSERT INTO announced_changes (id, stored_at) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
    )?;
    let now = clock::now();
    for (id, event) in announced(commit).0 {
        if keep.execute(params![id.0.to_be_bytes(), now])? == 0 {
            left.add(event, Why::Known);
        }
    }
    Ok(left)
}

/// Keeps which rejected messages are taken in again; leaves the records of which that is known.
fn keep_replays(
    transaction: &Transaction<'_>,
    commit: &Commit,
    origin: i64,
    left: &mut Left,
) -> Result<(), StoreError> {
    let mut keep = transaction.prepare_cached(
        "INSERT INTO replayed_records (rejected, received_at, origin, sequence)
         VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
    )?;
    for (id, (batch, record)) in replayed(commit).0 {
        let sequence = as_i64(commit.batches[batch].records[record].sequence);
        if keep.execute(params![id.id, id.received_at, origin, sequence])? == 0 {
            left.add_record(commit, (batch, record));
        }
    }
    Ok(())
}

/// Inserts all events but those that are `left`, and adds to these what a constraint refused. A
/// failed INSERT leaves no trace, so each event stands for itself.
pub(super) fn add_events(
    transaction: &Transaction<'_>,
    commit: &Commit,
    origin: i64,
    left: &mut Left,
) -> Result<(), StoreError> {
    let mut insert = transaction.prepare_cached(
        "INSERT INTO events (origin, sequence, ordinal, received_at, occurred_at, source, kind,
             severity, environment, service, process, message, message_bytes, stack_trace,
             attributes, priority, messages, fingerprint)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)",
    )?;
    let mut attributes = Vec::new();
    let (mut blocks, mut first) = (Blocks::default(), None);
    for (index, batch) in commit.batches.iter().enumerate() {
        let fingerprints: Vec<String> =
            batch.faults.iter().map(|fault| fault.fingerprint.to_string()).collect();
        for (row, event) in batch.events.iter().enumerate() {
            if left.contains((index, row)) {
                continue;
            }
            attributes.clear();
            let has_attributes = batch.write_attributes(event, &mut attributes);
            let record = batch.record_of(event);
            let text = |span: Span| Text(batch.text.get(span));
            let optional = |span: Span| (!span.is_empty()).then(|| text(span));
            let message_bytes = batch.text.get(event.message_bytes);
            let inserted = insert.execute(params![
                origin,
                as_i64(record.sequence),
                event.ordinal,
                record.received_at,
                event.occurred_at,
                record.source.name(),
                event.kind.name(),
                event.severity.name(),
                text(event.scope.environment),
                text(event.scope.service),
                optional(event.process),
                text(event.message),
                (!message_bytes.is_empty()).then_some(message_bytes),
                optional(event.stack_trace),
                has_attributes.then(|| Text(&attributes)),
                event.priority,
                event.messages,
                fingerprints.get(event.fault as usize),
            ]);
            match inserted {
                Ok(_) => {
                    first.get_or_insert_with(|| transaction.last_insert_rowid());
                    let fingerprint = fingerprints.get(event.fault as usize);
                    blocks.add(batch, event, fingerprint.map_or("", String::as_str));
                }
                Err(error) if is_refusal(&error) => {
                    let reason = format!("refused by the store: {error}");
                    left.add((index, row), Why::Refused(reason));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
    add_blocks(transaction, &blocks.finish(), origin, first.unwrap_or_default())
}

/// `first` is the id of the first event; those of the others follow, without a gap.
fn add_blocks(
    transaction: &Transaction<'_>,
    blocks: &[Block],
    origin: i64,
    mut first: i64,
) -> Result<(), StoreError> {
    let mut insert = transaction.prepare_cached(
        "INSERT INTO event_blocks (origin, received_to, received_from, first_sequence,
             first_ordinal, last_sequence, last_ordinal, first_event, last_event, events, signature)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?;
    for block in blocks {
        let next = first + i64::from(block.events);
        insert.execute(params![
            origin,
            block.received_to,
            block.received_from,
            as_i64(block.first.0),
            block.first.1,
            as_i64(block.last.0),
            block.last.1,
            first,
            next - 1,
            block.events,
            block.signature,
        ])?;
        first = next;
    }
    Ok(())
}

fn is_refusal(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::ConstraintViolation | ErrorCode::TooBig | ErrorCode::TypeMismatch)
    )
}

fn add_rejected(
    transaction: &Transaction<'_>,
    commit: &Commit,
    left: &Left,
    origin: i64,
) -> Result<(), StoreError> {
    let mut insert = transaction.prepare_cached(
        "INSERT INTO rejected (origin, sequence, ordinal, received_at, source, reason, bytes, length,
             messages) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?;
    for row in rejected_rows(commit, left) {
        insert.execute(params![
            origin,
            as_i64(row.sequence),
            row.ordinal,
            row.received_at,
            row.source.name(),
            row.reason,
            row.bytes,
            as_i64(row.length),
            row.messages,
        ])?;
    }
    Ok(())
}

fn add_to_ledger(
    transaction: &Transaction<'_>,
    origin: Origin,
    tallies: &[Tally; Source::COUNT],
) -> Result<(), StoreError> {
    let mut add = transaction.prepare_cached(
        "INSERT INTO ledger (origin, source, stored, duplicate, rejected) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (origin, source) DO UPDATE SET
             stored = stored + excluded.stored,
             duplicate = duplicate + excluded.duplicate,
             rejected = rejected + excluded.rejected",
    )?;
    for source in Source::ALL {
        let tally = tallies[source as usize];
        add.execute(params![
            origin.to_string(),
            source.name(),
            as_i64(tally.stored),
            as_i64(tally.duplicate),
            as_i64(tally.rejected),
        ])?;
    }
    Ok(())
}
