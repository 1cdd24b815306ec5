//! One commit: everything of it in one transaction, or nothing.

use bytes::Bytes;
use deadpool_postgres::Object;
use futures_util::{SinkExt, future::try_join4};
use tokio_postgres::{Error, Transaction, types::Type};
use uuid::Uuid;

use super::{chain, faults, row::micros_of, statistics, timestamp, unavailable};
use crate::{
    adapters::{
        journal::Origin,
        store::{
            Commit, Committed, Left, Place, RejectedRow, StoreError, Why, announced, as_i64,
            assignments::Assignments, copy, rejected_rows, replayed, statistics::sum_days,
            sum_faults, tallies_with,
        },
    },
    domain::{
        event::Source,
        ledger::Tally,
        object::ChangeId,
        record::RejectedId,
        time::Micros,
        words::block::{Block, Blocks},
    },
};

/// A COPY message of this size is sent while the next one is encoded.
const COPY_CHUNK: usize = 64 << 10;

/// Why a try to commit failed.
pub(super) enum Failure {
    /// The COPY of the events failed.
    Row(Error),
    /// These are stored already.
    Known(Left),
    Other(StoreError),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Other(unavailable(error))
    }
}

/// Stores `commit` without the events that are `left`.
pub(super) async fn commit(
    client: &mut Object,
    commit: &Commit,
    left: &Left,
    assignments: &mut Assignments,
) -> Result<Committed, Failure> {
    let transaction = client.transaction().await?;
    let origin = check_position(&transaction, commit).await?;
    let rows = (0..commit.batches.len())
        .flat_map(|batch| (0..commit.batches[batch].events.len()).map(move |event| (batch, event)));
    let rows = rows.filter(|row| !left.contains(*row));
    // Before anything is locked: of a hub that is frozen within a COPY the server never gets rid.
    let mut blocks = Blocks::default();
    copy_events(&transaction, commit, origin, rows, Some(&mut blocks))
        .await
        .map_err(Failure::Row)?;
    let blocks = blocks.finish();
    keep_identities(&transaction, commit, left).await?;
    keep_replays(&transaction, commit, left, origin).await?;
    move_position(&transaction, commit).await?;
    let tallies = tallies_with(commit, left);
    let sums = sum_faults(commit, left);
    let (faults, (), (), ()) = try_join4(
        Box::pin(faults::add(&transaction, &sums, assignments)),
        add_rejected(&transaction, commit, left, origin),
        add_to_ledger(&transaction, commit.origin, &tallies),
        add_blocks(&transaction, &blocks, origin),
    )
    .await?;
    statistics::add(&transaction, &sum_days(commit, left)).await?;
    transaction.commit().await?;
    assignments.committed();
    Ok(Committed { tallies, faults })
}

/// Finds the events that the store refuses, by halves, in a transaction that is rolled back.
pub(super) async fn find_refused(client: &mut Object, commit: &Commit) -> Result<Left, StoreError> {
    let mut transaction = client.transaction().await.map_err(unavailable)?;
    let mut rows = Vec::new();
    for (batch, content) in commit.batches.iter().enumerate() {
        rows.extend((0..content.events.len()).map(|event| (batch, event)));
    }
    let mut refused = Left::new();
    #[expect(clippy::single_range_in_vec_init, reason = "a stack of ranges that starts with one")]
    let mut untried = vec![0..rows.len()];
    while let Some(range) = untried.pop() {
        let savepoint = transaction.transaction().await.map_err(unavailable)?;
        let some = rows[range.clone()].iter().copied();
        match copy_events(&savepoint, commit, 0, some, None).await {
            Ok(()) => savepoint.commit().await.map_err(unavailable)?,
            Err(error) if !is_refusal(&error) => return Err(unavailable(error)),
            Err(error) => {
                savepoint.rollback().await.map_err(unavailable)?;
                if range.len() == 1 {
                    let reason = format!("refused by the store: {}", chain(&error));
                    refused.add(rows[range.start], Why::Refused(reason));
                } else {
                    let middle = range.start + range.len() / 2;
                    untried.push(range.start..middle);
                    untried.push(middle..range.end);
                }
            }
        }
    }
    transaction.rollback().await.map_err(unavailable)?;
    Ok(refused)
}

/// Looks whether the position is where the commit starts, so that nothing is sent in vain; gives the
/// id that stands for the origin in `events`.
async fn check_position(transaction: &Transaction<'_>, commit: &Commit) -> Result<i32, Failure> {
    let rows = transaction
        .query_typed(
            "SELECT id FROM journal_positions WHERE origin = $1 AND sequence = $2",
            &[(&commit.origin, Type::UUID), (&as_i64(commit.after), Type::INT8)],
        )
        .await?;
    let found = rows.first().map(|row| row.get(0));
    found.ok_or(Failure::Other(StoreError::Moved { position: 0 }))
}

/// Keeps the identities of the events that are stored.
async fn keep_identities(
    transaction: &Transaction<'_>,
    commit: &Commit,
    left: &Left,
) -> Result<(), Failure> {
    let (mut first, _) = announced(commit);
    first.retain(|_, event| !left.contains(*event));
    if first.is_empty() {
        return Ok(());
    }
    // In their order, so that two hubs do not wait for each other in a circle.
    let ids: Vec<Uuid> = first.keys().map(|id| Uuid::from_u128(id.0)).collect();
    let rows = transaction
        .query_typed(
            "INSERT INTO announced_changes (id) SELECT unnest($1::uuid[])
             ON CONFLICT (id) DO NOTHING RETURNING id",
            &[(&ids, Type::UUID_ARRAY)],
        )
        .await?;
    for row in rows {
        first.remove(&ChangeId(row.get::<_, Uuid>(0).as_u128()));
    }
    if first.is_empty() {
        return Ok(());
    }
    let mut known = Left::new();
    for event in first.into_values() {
        known.add(event, Why::Known);
    }
    Err(Failure::Known(known))
}

/// Keeps which rejected messages are taken in again by the records that are stored: also where the
/// store refuses an event of one, which is rejected as a new message.
async fn keep_replays(
    transaction: &Transaction<'_>,
    commit: &Commit,
    left: &Left,
    origin: i32,
) -> Result<(), Failure> {
    let (mut first, _) = replayed(commit);
    first.retain(|_, record| !left.contains_record(*record));
    if first.is_empty() {
        return Ok(());
    }
    // In their order, as above.
    let ids: Vec<i64> = first.keys().map(|of| of.id).collect();
    let times: Vec<jiff::Timestamp> = first.keys().map(|of| timestamp(of.received_at)).collect();
    let sequence = |(batch, record): &Place| commit.batches[*batch].records[*record].sequence;
    let sequences: Vec<i64> = first.values().map(|place| as_i64(sequence(place))).collect();
    let rows = transaction
        .query_typed(
            "INSERT INTO replayed_records (rejected, received_at, origin, sequence)
             SELECT rejected, received_at, $4, sequence
             FROM unnest($1::bigint[], $2::timestamptz[], $3::bigint[])
                 AS replay (rejected, received_at, sequence)
             ON CONFLICT (rejected, received_at) DO NOTHING RETURNING rejected, received_at",
            &[
                (&ids, Type::INT8_ARRAY),
                (&times, Type::TIMESTAMPTZ_ARRAY),
                (&sequences, Type::INT8_ARRAY),
                (&origin, Type::INT4),
            ],
        )
        .await?;
    for row in rows {
        first.remove(&RejectedId { id: row.get(0), received_at: micros_of(&row, 1) });
    }
    if first.is_empty() {
        return Ok(());
    }
    let mut known = Left::new();
    for record in first.into_values() {
        known.add_record(commit, record);
    }
    Err(Failure::Known(known))
}

/// Moves the position by compare-and-swap: this decides.
async fn move_position(transaction: &Transaction<'_>, commit: &Commit) -> Result<(), Failure> {
    let rows = transaction
        .query_typed(
            "UPDATE journal_positions SET sequence = $1, updated_at = now()
             WHERE origin = $2 AND sequence = $3 RETURNING 1",
            &[
                (&as_i64(commit.position()), Type::INT8),
                (&commit.origin, Type::UUID),
                (&as_i64(commit.after), Type::INT8),
            ],
        )
        .await?;
    if rows.is_empty() {
        return Err(Failure::Other(StoreError::Moved { position: 0 }));
    }
    Ok(())
}

/// Copies these events, and has them in `blocks`: while the server takes in what was sent.
pub(super) async fn copy_events(
    transaction: &Transaction<'_>,
    commit: &Commit,
    origin: i32,
    rows: impl Iterator<Item = (usize, usize)>,
    mut blocks: Option<&mut Blocks>,
) -> Result<(), Error> {
    let sink = transaction.copy_in::<_, Bytes>(copy::STATEMENT).await?;
    futures_util::pin_mut!(sink);
    let mut chunk = Vec::with_capacity(COPY_CHUNK + 4_096);
    copy::start(&mut chunk);
    let mut current = usize::MAX;
    let mut fingerprints: Vec<String> = Vec::new();
    for (index, event) in rows {
        let batch = &commit.batches[index];
        if index != current {
            current = index;
            fingerprints = batch.faults.iter().map(|fault| fault.fingerprint.to_string()).collect();
        }
        let event = &batch.events[event];
        let fingerprint = fingerprints.get(event.fault as usize).map_or("", String::as_str);
        copy::push_event(&mut chunk, batch, event, origin, fingerprint);
        if let Some(blocks) = &mut blocks {
            blocks.add(batch, event, fingerprint);
        }
        if chunk.len() >= COPY_CHUNK {
            let full = std::mem::replace(&mut chunk, Vec::with_capacity(COPY_CHUNK + 4_096));
            sink.send(Bytes::from(full)).await?;
        }
    }
    copy::finish(&mut chunk);
    sink.send(Bytes::from(chunk)).await?;
    sink.finish().await.map(drop)
}

pub(super) async fn add_blocks(
    transaction: &Transaction<'_>,
    blocks: &[Block],
    origin: i32,
) -> Result<(), Failure> {
    if blocks.is_empty() {
        return Ok(());
    }
    let sequences = |get: fn(&Block) -> u64| -> Vec<i64> {
        blocks.iter().map(|block| as_i64(get(block))).collect()
    };
    let numbers = |get: fn(&Block) -> u32| -> Vec<i32> {
        blocks.iter().map(|block| get(block).cast_signed()).collect()
    };
    let times = |get: fn(&Block) -> Micros| -> Vec<jiff::Timestamp> {
        blocks.iter().map(|block| timestamp(get(block))).collect()
    };
    let signatures: Vec<Option<&[u8]>> =
        blocks.iter().map(|block| block.signature.as_deref()).collect();
    transaction
        .query_typed(
            "INSERT INTO event_blocks (origin, received_to, received_from, first_sequence,
                 last_sequence, first_ordinal, last_ordinal, events, signature)
             SELECT $1, * FROM unnest($2::timestamptz[], $3::timestamptz[], $4::bigint[],
                 $5::bigint[], $6::int[], $7::int[], $8::int[], $9::bytea[])",
            &[
                (&origin, Type::INT4),
                (&times(|block| block.received_to), Type::TIMESTAMPTZ_ARRAY),
                (&times(|block| block.received_from), Type::TIMESTAMPTZ_ARRAY),
                (&sequences(|block| block.first.0), Type::INT8_ARRAY),
                (&sequences(|block| block.last.0), Type::INT8_ARRAY),
                (&numbers(|block| block.first.1), Type::INT4_ARRAY),
                (&numbers(|block| block.last.1), Type::INT4_ARRAY),
                (&numbers(|block| block.events), Type::INT4_ARRAY),
                (&signatures, Type::BYTEA_ARRAY),
            ],
        )
        .await?;
    Ok(())
}

async fn add_rejected(
    transaction: &Transaction<'_>,
    commit: &Commit,
    left: &Left,
    origin: i32,
) -> Result<(), Failure> {
    // One statement a row: rejected messages are few, and may be large.
    for row in rejected_rows(commit, left) {
        let RejectedRow { sequence, ordinal, received_at, source, reason, bytes, length, messages } =
            row;
        transaction
            .query_typed(
                "INSERT INTO rejected (origin, sequence, ordinal, received_at, source, reason, bytes,
                     length, messages) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
                &[
                    (&origin, Type::INT4),
                    (&as_i64(sequence), Type::INT8),
                    (&ordinal.cast_signed(), Type::INT4),
                    (&timestamp(received_at), Type::TIMESTAMPTZ),
                    (&source.name(), Type::TEXT),
                    (&reason, Type::TEXT),
                    (&&*bytes, Type::BYTEA),
                    (&as_i64(length), Type::INT8),
                    (&messages.cast_signed(), Type::INT4),
                ],
            )
            .await?;
    }
    Ok(())
}

async fn add_to_ledger(
    transaction: &Transaction<'_>,
    origin: Origin,
    tallies: &[Tally; Source::COUNT],
) -> Result<(), Failure> {
    let column = |get: fn(&Tally) -> u64| -> Vec<i64> {
        tallies.iter().map(|tally| as_i64(get(tally))).collect()
    };
    let sources: Vec<&str> = Source::ALL.iter().map(|source| source.name()).collect();
    transaction
        .query_typed(
            "INSERT INTO ledger (origin, source, stored, duplicate, rejected)
             SELECT $1, * FROM unnest($2::text[], $3::bigint[], $4::bigint[], $5::bigint[])
             ON CONFLICT (origin, source) DO UPDATE SET
                 stored = ledger.stored + excluded.stored,
                 duplicate = ledger.duplicate + excluded.duplicate,
                 rejected = ledger.rejected + excluded.rejected",
            &[
                (&origin, Type::UUID),
                (&sources, Type::TEXT_ARRAY),
                (&column(|tally| tally.stored), Type::INT8_ARRAY),
                (&column(|tally| tally.duplicate), Type::INT8_ARRAY),
                (&column(|tally| tally.rejected), Type::INT8_ARRAY),
            ],
        )
        .await?;
    Ok(())
}

/// Whether the server refused a row for what is in it: data exceptions (class 22), violated
/// constraints (23), limits exceeded (54).
pub(super) fn is_refusal(error: &Error) -> bool {
    error.code().is_some_and(|code| {
        matches!(code.code().get(..2), Some("22" | "23")) || code.code().starts_with("54")
    })
}
