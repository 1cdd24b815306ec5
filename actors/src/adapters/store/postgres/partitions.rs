//! The daily partitions of `events` and `event_blocks`: made ahead, so that retention is a `DROP TABLE`.
//!
//! A partition is made as a table of its own, then attached: to create it in place would wait for
//! everybody who reads `events`, and have everybody who writes to it wait as well.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use deadpool_postgres::Object;
use tokio_postgres::Error;

use super::unavailable;
use crate::{
    adapters::{
        clock,
        store::{Commit, StoreError},
    },
    domain::time::Micros,
};

pub(super) const DAY: Micros = 86_400_000_000;

/// Partitions are made one after another.
const LOCK: i64 = 0x666C_7439;

/// Whoever waits for longer tries again, and must not leave a session behind that waits on.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// Likewise for a day that is not needed yet: a commit is not to be held up by that.
const LITTLE_PATIENCE: Duration = Duration::from_millis(50);

/// The days (since 1970) whose partition is known to exist.
#[derive(Default)]
pub(super) struct Partitions(Mutex<BTreeSet<i64>>);

impl Partitions {
    /// Makes the partitions that `commit` needs, and that of tomorrow. Where that one cannot be made
    /// just now, as while somebody analyzes `events`, the next commit tries again.
    pub(super) async fn make(
        &self,
        client: &mut Object,
        commit: &Commit,
    ) -> Result<(), StoreError> {
        let records = commit.batches.iter().flat_map(|batch| &batch.records);
        let needed: BTreeSet<i64> =
            records.map(|record| record.received_at.div_euclid(DAY)).collect();
        let ahead = the_next(&needed, clock::now().div_euclid(DAY));
        for day in self.missing(needed) {
            make_partition(client, day, PATIENCE).await?;
            self.know(day);
        }
        for day in self.missing(ahead.into_iter().collect()) {
            match make_partition(client, day, LITTLE_PATIENCE).await {
                Ok(()) => self.know(day),
                Err(error) => tracing::debug!(%error, "cannot make the next day's partition yet"),
            }
        }
        Ok(())
    }

    /// Those of the days whose partition is not known to exist.
    fn missing(&self, mut days: BTreeSet<i64>) -> BTreeSet<i64> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        days.retain(|day| !known.contains(day));
        days
    }

    fn know(&self, day: i64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(day);
    }

    /// Forgets what is known: somebody may have dropped a partition.
    pub(super) fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// So that nothing is to be made at midnight. What comes late for an old day says nothing about the
/// one after it, whose partition would only be dropped again.
fn the_next(days: &BTreeSet<i64>, today: i64) -> Option<i64> {
    days.last().filter(|newest| **newest >= today).map(|newest| newest + 1)
}

/// Makes that of a day (since 1970), where there is none, waiting for so long at most.
pub(super) async fn make_partition(
    client: &mut Object,
    day: i64,
    patience: Duration,
) -> Result<(), StoreError> {
    let date = |day: i64| -> Result<String, StoreError> {
        let timestamp = jiff::Timestamp::from_second(day * 86_400)
            .map_err(|error| StoreError::Unavailable(error.to_string()))?;
        Ok(timestamp.strftime("%Y-%m-%d").to_string())
    };
    attach(client, &date(day)?, &date(day + 1)?, patience).await.map_err(unavailable)
}

/// Those of the tables that have no partition with this ending. Not by `to_regclass`, which goes by
/// what the session knew before it waited for another one.
const MISSING: &str = "SELECT name FROM unnest(ARRAY['events', 'event_blocks']) AS name
    WHERE NOT EXISTS (SELECT FROM pg_class WHERE relname = name || '_' || $1::text
        AND relnamespace = current_schema()::regnamespace)";

async fn attach(
    client: &mut Object,
    from: &str,
    to: &str,
    patience: Duration,
) -> Result<(), Error> {
    let ending = from.replace('-', "");
    if client.query(MISSING, &[&ending]).await?.is_empty() {
        return Ok(());
    }
    let transaction = client.transaction().await?;
    let millis = patience.as_millis();
    transaction.batch_execute(&format!("SET LOCAL lock_timeout = '{millis}ms'")).await?;
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await?;
    // Another hub may have made it meanwhile.
    for row in transaction.query(MISSING, &[&ending]).await? {
        let table: String = row.get(0);
        // The indexes come by being attached.
        transaction
            .batch_execute(&format!(
                "CREATE TABLE {table}_{ending} (LIKE {table} INCLUDING ALL EXCLUDING INDEXES
                     EXCLUDING STATISTICS EXCLUDING COMMENTS);
                 ALTER TABLE {table} ATTACH PARTITION {table}_{ending}
                     FOR VALUES FROM ('{from}T00:00:00Z') TO ('{to}T00:00:00Z')"
            ))
            .await?;
    }
    transaction.commit().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_comes_in_time_has_the_next_day_made() {
        let next = |days: &[i64]| the_next(&days.iter().copied().collect(), 20);
        assert_eq!(next(&[20]), Some(21));
        assert_eq!(next(&[3, 20]), Some(21));
        assert_eq!(next(&[3, 19]), None);
        assert_eq!(next(&[21]), Some(22), "another hub's clock is ahead");
        assert_eq!(next(&[]), None);
    }
}
