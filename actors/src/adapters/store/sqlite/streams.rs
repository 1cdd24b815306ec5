//! [`StreamStore`] for SQLite.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use rusqlite::params;

use super::{Sqlite, on};
use crate::{
    adapters::{
        clock,
        journal::{Origin, stream::Name},
        store::{
            StoreError, as_u64,
            jobs::Holder,
            streams::{Lease, StoredOrigin, StreamStore},
        },
    },
    domain::{event::Source, ledger::Tally, time::later},
};

#[async_trait]
impl StreamStore for Sqlite {
    async fn lease_stream(
        &self,
        stream: &Name,
        holder: Holder,
        lease: Duration,
    ) -> Result<Lease, StoreError> {
        let stream = stream.clone();
        on(&self.writer, move |connection| {
            let now = clock::now();
            let until = later(now, lease);
            let changed = connection.execute(
                "INSERT INTO stream_leases (environment, shard, holder, expires_at)
                 VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (environment, shard) DO UPDATE
                     SET holder = excluded.holder, expires_at = excluded.expires_at
                     WHERE holder = excluded.holder OR expires_at < ?5",
                params![stream.environment, stream.shard, holder.to_string(), until, now],
            )?;
            Ok(if changed == 0 { Lease::Taken } else { Lease::Held })
        })
        .await
    }

    async fn release_stream(&self, stream: &Name, holder: Holder) -> Result<(), StoreError> {
        let stream = stream.clone();
        on(&self.writer, move |connection| {
            connection.execute(
                "DELETE FROM stream_leases WHERE environment = ?1 AND shard = ?2 AND holder = ?3",
                params![stream.environment, stream.shard, holder.to_string()],
            )?;
            Ok(())
        })
        .await
    }

    async fn origins(&self) -> Result<Vec<StoredOrigin>, StoreError> {
        on(&self.reader, |connection| {
            let mut select = connection.prepare_cached(
                "SELECT origin, sequence, coalesce(source, ''), coalesce(stored, 0),
                     coalesce(duplicate, 0), coalesce(rejected, 0)
                 FROM journal_positions LEFT JOIN ledger USING (origin)",
            )?;
            let mut rows = select.query([])?;
            let mut origins: BTreeMap<Origin, StoredOrigin> = BTreeMap::new();
            while let Some(row) = rows.next()? {
                let Ok(origin) = row.get::<_, String>(0)?.parse() else { continue };
                let position = as_u64(row.get(1)?);
                let stored = origins.entry(origin).or_insert_with(|| StoredOrigin {
                    origin,
                    position,
                    settled: [Tally::default(); Source::COUNT],
                });
                if let Some(source) = Source::from_name(&row.get::<_, String>(2)?) {
                    let (settled, duplicate, rejected) =
                        (as_u64(row.get(3)?), as_u64(row.get(4)?), as_u64(row.get(5)?));
                    stored.settled[source as usize] = Tally {
                        received: settled + duplicate + rejected,
                        stored: settled,
                        duplicate,
                        rejected,
                    };
                }
            }
            Ok(origins.into_values().collect())
        })
        .await
    }
}
