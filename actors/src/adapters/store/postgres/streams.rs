//! [`StreamStore`] for PostgreSQL.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use tokio_postgres::Row;

use super::Postgres;
use crate::{
    adapters::{
        journal::{Origin, stream::Name},
        store::{
            StoreError, as_u64,
            jobs::Holder,
            streams::{Lease, StoredOrigin, StreamStore},
        },
    },
    domain::{event::Source, ledger::Tally},
};

#[async_trait]
impl StreamStore for Postgres {
    async fn lease_stream(
        &self,
        stream: &Name,
        holder: Holder,
        lease: Duration,
    ) -> Result<Lease, StoreError> {
        let held = self
            .query(
                "INSERT INTO stream_leases AS held (environment, shard, holder, expires_at)
                 VALUES ($1, $2, $3, clock_timestamp() + $4 * interval '1 second')
                 ON CONFLICT (environment, shard) DO UPDATE
                     SET holder = excluded.holder, expires_at = excluded.expires_at
                     WHERE held.holder = excluded.holder OR held.expires_at < clock_timestamp()
                 RETURNING 1",
                &[&stream.environment, &stream.shard.cast_signed(), &holder, &lease.as_secs_f64()],
            )
            .await?;
        Ok(if held.is_empty() { Lease::Taken } else { Lease::Held })
    }

    async fn release_stream(&self, stream: &Name, holder: Holder) -> Result<(), StoreError> {
        self.query(
            "DELETE FROM stream_leases WHERE environment = $1 AND shard = $2 AND holder = $3",
            &[&stream.environment, &stream.shard.cast_signed(), &holder],
        )
        .await
        .map(drop)
    }

    async fn origins(&self) -> Result<Vec<StoredOrigin>, StoreError> {
        let rows = self
            .query(
                "SELECT origin, sequence, source, coalesce(stored, 0), coalesce(duplicate, 0),
                     coalesce(rejected, 0)
                 FROM journal_positions LEFT JOIN ledger USING (origin)",
                &[],
            )
            .await?;
        let mut origins: BTreeMap<Origin, StoredOrigin> = BTreeMap::new();
        for row in &rows {
            let origin = row.get(0);
            let stored = origins.entry(origin).or_insert_with(|| StoredOrigin {
                origin,
                position: as_u64(row.get(1)),
                settled: [Tally::default(); Source::COUNT],
            });
            if let Some(source) = row.get::<_, Option<&str>>(2).and_then(Source::from_name) {
                stored.settled[source as usize] = tally_of(row);
            }
        }
        Ok(origins.into_values().collect())
    }
}

fn tally_of(row: &Row) -> Tally {
    let (stored, duplicate, rejected) =
        (as_u64(row.get(3)), as_u64(row.get(4)), as_u64(row.get(5)));
    Tally { received: stored + duplicate + rejected, stored, duplicate, rejected }
}
