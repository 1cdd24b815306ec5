//! The daily partitions of `events` and `event_blocks`: made ahead, so that retention is a `DROP TABLE`.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use deadpool_postgres::Object;
use tokio_postgres::error::SqlState;

use super::unavailable;
use crate::{
    adapters::store::{Commit, StoreError},
    domain::time::Micros,
};

pub(super) const DAY: Micros = 86_400_000_000;

/// The days (since 1970) whose partition is known to exist.
#[derive(Default)]
pub(super) struct Partitions(Mutex<BTreeSet<i64>>);

impl Partitions {
    /// Makes the partitions that `commit` needs, and those of the days after.
    pub(super) async fn make(&self, client: &Object, commit: &Commit) -> Result<(), StoreError> {
        let mut needed = BTreeSet::new();
        for batch in &commit.batches {
            for record in &batch.records {
                let day = record.received_at.div_euclid(DAY);
                needed.insert(day);
                needed.insert(day + 1);
            }
        }
        let missing: Vec<i64> = {
            let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            needed.difference(&known).copied().collect()
        };
        for day in missing {
            make_partition(client, day).await?;
            self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(day);
        }
        Ok(())
    }

    /// Forgets what is known: somebody may have dropped a partition.
    pub(super) fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Makes that of a day (since 1970), where there is none.
pub(super) async fn make_partition(client: &Object, day: i64) -> Result<(), StoreError> {
    let date = |day: i64| -> Result<String, StoreError> {
        let timestamp = jiff::Timestamp::from_second(day * 86_400)
            .map_err(|error| StoreError::Unavailable(error.to_string()))?;
        Ok(timestamp.strftime("%Y-%m-%d").to_string())
    };
    let (from, to) = (date(day)?, date(day + 1)?);
    let name = from.replace('-', "");
    for table in ["events", "event_blocks"] {
        let sql = format!(
            "CREATE TABLE IF NOT EXISTS {table}_{name} PARTITION OF {table}
             FOR VALUES FROM ('{from}T00:00:00Z') TO ('{to}T00:00:00Z')"
        );
        match client.batch_execute(&sql).await {
            // Another hub made it between the check and the deed.
            Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => {}
            Err(error) if error.code() == Some(&SqlState::DUPLICATE_TABLE) => {}
            outcome => outcome.map_err(unavailable)?,
        }
    }
    Ok(())
}
