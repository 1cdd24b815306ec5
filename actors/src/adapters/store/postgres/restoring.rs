//! Archives whose events come back: into the partitions of their day, with blocks that find them,
//! and without being counted.

use std::collections::{BTreeMap, BTreeSet};

use deadpool_postgres::Object;
use jiff::civil::Date;
use tokio_postgres::Transaction;
use uuid::Uuid;

use super::{
    commit::{Failure, add_blocks, copy_events},
    partitions::{DAY, PATIENCE, make_partition},
    timestamp, unavailable,
};
use crate::{
    adapters::{
        archive::{ArchivedOrigin, Manifest},
        store::{
            Commit, StoreError, as_i64, as_u64,
            retention::{RestoreError, RestoreStep},
        },
    },
    domain::{retention::moments_of, time::Micros, words::block::Blocks},
};

/// Restoring is begun one after another.
const LOCK: i64 = 0x666C_7438;

impl From<tokio_postgres::Error> for RestoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Store(unavailable(error))
    }
}

impl From<Failure> for RestoreError {
    fn from(failure: Failure) -> Self {
        Self::Store(match failure {
            Failure::Row(error) => unavailable(error),
            Failure::Known(_) => StoreError::Unavailable("an event is stored already".to_owned()),
            Failure::Other(error) => error,
        })
    }
}

/// See [`RetentionStore::begin_restore`](crate::adapters::store::retention::RetentionStore::begin_restore).
pub(super) async fn begin(
    client: &mut Object,
    manifest: &Manifest,
    until: Micros,
) -> Result<(u64, BTreeMap<Uuid, i32>), RestoreError> {
    let transaction = client.transaction().await?;
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await?;
    stays(&transaction, manifest.day).await?;
    let numbers = numbers_of(&transaction, &manifest.origins).await?;
    let known = transaction
        .query(
            "UPDATE restored_days SET until = greatest(until, $2) WHERE archive = $1
             RETURNING restored",
            &[&manifest.id, &timestamp(until)],
        )
        .await?;
    let restored = if let Some(row) = known.first() {
        as_u64(row.get(0))
    } else {
        check(&transaction, manifest, &numbers).await?;
        transaction
            .execute(
                "INSERT INTO restored_days (archive, day, file, events, restored, until)
                 VALUES ($1, $2, $3, $4, 0, $5)",
                &[
                    &manifest.id,
                    &manifest.day,
                    &manifest.file,
                    &as_i64(manifest.events),
                    &timestamp(until),
                ],
            )
            .await?;
        0
    };
    transaction.commit().await?;
    // Not before: as long as nothing says that the day is wanted, an empty partition may be dropped.
    make_partition(client, moments_of(manifest.day).0.div_euclid(DAY), PATIENCE).await?;
    Ok((restored, numbers))
}

/// Refuses a day that is leaving: what came to it now would be counted and archived as if it were
/// late. Until the transaction ends no day is taken out, for that needs a lock that excludes this one.
async fn stays(transaction: &Transaction<'_>, day: Date) -> Result<(), RestoreError> {
    transaction.batch_execute("LOCK TABLE ONLY events IN ROW EXCLUSIVE MODE").await?;
    let sql = "SELECT 1 FROM gone_days WHERE day = $1 AND stage <> 'dropped'";
    match transaction.query_opt(sql, &[&day]).await? {
        Some(_) => Err(RestoreError::leaving(day)),
        None => Ok(()),
    }
}

/// The numbers that stand for these origins here; new ones are registered.
async fn numbers_of(
    transaction: &Transaction<'_>,
    origins: &[ArchivedOrigin],
) -> Result<BTreeMap<Uuid, i32>, RestoreError> {
    let origins: BTreeSet<Uuid> = origins.iter().map(|origin| origin.origin).collect();
    let origins: Vec<Uuid> = origins.into_iter().collect();
    transaction
        .execute(
            "INSERT INTO journal_positions (origin, sequence)
             SELECT origin, 0 FROM unnest($1::uuid[]) AS given (origin)
             WHERE NOT EXISTS (SELECT FROM journal_positions AS known
                 WHERE known.origin = given.origin)
             ON CONFLICT (origin) DO NOTHING",
            &[&origins],
        )
        .await?;
    let rows = transaction
        .query("SELECT origin, id FROM journal_positions WHERE origin = ANY($1)", &[&origins])
        .await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// Whether the store still has events of the archive.
async fn check(
    transaction: &Transaction<'_>,
    manifest: &Manifest,
    numbers: &BTreeMap<Uuid, i32>,
) -> Result<(), RestoreError> {
    let later = transaction
        .query_opt("SELECT kept_in FROM gone_days WHERE id = $1", &[&manifest.id])
        .await?
        .and_then(|row| row.get::<_, Option<Uuid>>(0));
    if let Some(later) = later {
        return Err(RestoreError::kept_in(&later));
    }
    let (from, to) = moments_of(manifest.day);
    for ArchivedOrigin { origin, first, last, .. } in &manifest.origins {
        let found = transaction
            .query(
                "SELECT 1 FROM event_blocks WHERE received_to >= $1 AND received_to < $2
                     AND origin = $3 AND last_sequence >= $4 AND first_sequence <= $5 LIMIT 1",
                &[&timestamp(from), &timestamp(to), &numbers.get(origin), first, last],
            )
            .await?;
        if !found.is_empty() {
            return Err(RestoreError::Refused(format!(
                "the store has events of {} that are in it, of journal {origin}",
                manifest.day
            )));
        }
    }
    Ok(())
}

/// See [`RetentionStore::restore`](crate::adapters::store::retention::RetentionStore::restore).
pub(super) async fn restore(client: &mut Object, step: &RestoreStep) -> Result<u64, RestoreError> {
    let transaction = client.transaction().await?;
    stays(&transaction, step.day).await?;
    let moved = transaction
        .query(
            "UPDATE restored_days SET restored = restored + $3
             WHERE archive = $1 AND restored = $2 RETURNING restored",
            &[&step.archive, &as_i64(step.after), &as_i64(step.events)],
        )
        .await?;
    let Some(row) = moved.first() else {
        let rows = transaction
            .query("SELECT restored FROM restored_days WHERE archive = $1", &[&step.archive])
            .await?;
        let gone = || RestoreError::Refused("its time is over, and it has left again".to_owned());
        return rows.first().map(|row| as_u64(row.get(0))).ok_or_else(gone);
    };
    let restored = as_u64(row.get(0));
    for (number, batch) in &step.batches {
        let commit = Commit { origin: Uuid::nil(), after: 0, batches: vec![batch.clone()] };
        let rows = (0..batch.events.len()).map(|event| (0, event));
        let mut blocks = Blocks::default();
        copy_events(&transaction, &commit, *number, rows, Some(&mut blocks)).await?;
        add_blocks(&transaction, &blocks.finish(), *number).await?;
    }
    transaction.commit().await?;
    Ok(restored)
}
