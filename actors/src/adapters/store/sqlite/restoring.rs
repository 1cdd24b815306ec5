//! Archives whose events come back into a file, with blocks that find them, and without being
//! counted.

use std::collections::BTreeMap;

use jiff::civil::Date;
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use uuid::Uuid;

use super::{commit::add_events, leaving::parsed};
use crate::{
    adapters::{
        archive::{ArchivedOrigin, Manifest},
        clock,
        store::{
            Commit, Left, StoreError, as_i64, as_u64,
            retention::{RestoreError, RestoreStep},
        },
    },
    domain::{retention::moments_of, time::Micros},
};

impl From<rusqlite::Error> for RestoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

/// See [`RetentionStore::begin_restore`](crate::adapters::store::retention::RetentionStore::begin_restore).
pub(super) fn begin(
    connection: &mut Connection,
    manifest: &Manifest,
    until: Micros,
) -> Result<(u64, BTreeMap<Uuid, i32>), RestoreError> {
    let transaction = super::dispatch::begin(connection)?;
    stays(&transaction, manifest.day)?;
    let numbers = numbers_of(&transaction, &manifest.origins)?;
    let known: Option<i64> = transaction
        .query_row(
            "UPDATE restored_days SET until = max(until, ?2) WHERE archive = ?1 RETURNING restored",
            params![manifest.id.to_string(), until],
            |row| row.get(0),
        )
        .optional()?;
    if known.is_none() {
        check(&transaction, manifest, &numbers)?;
        transaction.execute(
            "INSERT INTO restored_days (archive, day, file, events, restored, until, restored_at)
             VALUES (?1, ?2, ?3, ?4, 0, ?5, ?6)",
            params![
                manifest.id.to_string(),
                manifest.day.to_string(),
                manifest.file,
                as_i64(manifest.events),
                until,
                clock::now()
            ],
        )?;
    }
    transaction.commit()?;
    Ok((known.map_or(0, as_u64), numbers))
}

/// Refuses a day that is leaving: what came to it now would be archived as if it were late.
fn stays(transaction: &Transaction<'_>, day: Date) -> Result<(), RestoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM gone_days WHERE day = ?1 AND stage <> 'dropped')";
    if transaction.query_row(sql, [day.to_string()], |row| row.get(0))? {
        return Err(RestoreError::leaving(day));
    }
    Ok(())
}

/// The numbers that stand for these origins here; new ones are registered.
fn numbers_of(
    transaction: &Transaction<'_>,
    origins: &[ArchivedOrigin],
) -> Result<BTreeMap<Uuid, i32>, RestoreError> {
    let mut numbers = BTreeMap::new();
    for ArchivedOrigin { origin, .. } in origins {
        transaction.execute(
            "INSERT INTO journal_positions (origin, sequence, updated_at) VALUES (?1, 0, ?2)
             ON CONFLICT (origin) DO NOTHING",
            params![origin.to_string(), clock::now()],
        )?;
        let number = transaction.query_row(
            "SELECT id FROM journal_positions WHERE origin = ?1",
            [origin.to_string()],
            |row| row.get(0),
        )?;
        numbers.insert(*origin, number);
    }
    Ok(numbers)
}

/// Whether the store still has events of the archive.
fn check(
    transaction: &Transaction<'_>,
    manifest: &Manifest,
    numbers: &BTreeMap<Uuid, i32>,
) -> Result<(), RestoreError> {
    let sql = "SELECT kept_in FROM gone_days WHERE id = ?1 AND kept_in IS NOT NULL";
    let id = manifest.id.to_string();
    let later = transaction.query_row(sql, [id], |row| parsed::<Uuid>(row, 0)).optional()?;
    if let Some(later) = later {
        return Err(RestoreError::kept_in(&later));
    }
    let (from, to) = moments_of(manifest.day);
    for ArchivedOrigin { origin, first, last, .. } in &manifest.origins {
        let is_there: bool = transaction.query_row(
            "SELECT EXISTS (SELECT 1 FROM event_blocks WHERE received_to >= ?1
                 AND received_to < ?2 AND origin = ?3 AND last_sequence >= ?4
                 AND first_sequence <= ?5)",
            params![from, to, numbers.get(origin), first, last],
            |row| row.get(0),
        )?;
        if is_there {
            return Err(RestoreError::Refused(format!(
                "the store has events of {} that are in it, of journal {origin}",
                manifest.day
            )));
        }
    }
    Ok(())
}

/// See [`RetentionStore::restore`](crate::adapters::store::retention::RetentionStore::restore).
pub(super) fn restore(
    connection: &mut Connection,
    step: &RestoreStep,
) -> Result<u64, RestoreError> {
    let transaction = super::dispatch::begin(connection)?;
    stays(&transaction, step.day)?;
    let archive = step.archive.to_string();
    let restored: Option<i64> = transaction
        .query_row("SELECT restored FROM restored_days WHERE archive = ?1", [&archive], |row| {
            row.get(0)
        })
        .optional()?;
    let gone = || RestoreError::Refused("its time is over, and it has left again".to_owned());
    let restored = as_u64(restored.ok_or_else(gone)?);
    if restored != step.after {
        return Ok(restored);
    }
    let restored = restored + step.events;
    transaction.execute(
        "UPDATE restored_days SET restored = ?2 WHERE archive = ?1",
        params![archive, as_i64(restored)],
    )?;
    for (number, batch) in &step.batches {
        let commit = Commit { origin: Uuid::nil(), after: 0, batches: vec![batch.clone()] };
        let mut left = Left::new();
        add_events(&transaction, &commit, i64::from(*number), &mut left)?;
        if !left.is_empty() {
            let problem = "the store refuses an event that it had".to_owned();
            return Err(StoreError::Unavailable(problem).into());
        }
    }
    transaction.commit()?;
    Ok(restored)
}
