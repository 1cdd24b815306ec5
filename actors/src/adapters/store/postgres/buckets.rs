//! [`BucketStore`] for PostgreSQL.

use std::time::Duration;

use async_trait::async_trait;
use tokio_postgres::{Error, Transaction, types::Type};

use super::{Postgres, unavailable};
use crate::{
    adapters::store::{
        StoreError, as_i64, as_u64,
        buckets::{BucketStore, Epoch, Kept, Part, Place, Step, key_of},
        jobs::Holder,
    },
    domain::object::{Change, Object},
};

#[async_trait]
impl BucketStore for Postgres {
    async fn lease_watch(
        &self,
        watch: &str,
        holder: Holder,
        lease: Duration,
    ) -> Result<Option<Epoch>, StoreError> {
        let held = self
            .query(
                "INSERT INTO bucket_watches AS held (watch, holder, epoch, expires_at)
                 VALUES ($1, $2, 1, clock_timestamp() + $3 * interval '1 second')
                 ON CONFLICT (watch) DO UPDATE
                     SET holder = excluded.holder, expires_at = excluded.expires_at,
                         epoch = held.epoch + (held.holder <> excluded.holder)::int
                     WHERE held.holder = excluded.holder OR held.expires_at < clock_timestamp()
                 RETURNING epoch",
                &[&watch, &holder, &lease.as_secs_f64()],
            )
            .await?;
        Ok(held.first().map(|row| row.get(0)))
    }

    async fn release_watch(&self, watch: &str, holder: Holder) -> Result<(), StoreError> {
        self.query(
            "UPDATE bucket_watches SET expires_at = '-infinity' WHERE watch = $1 AND holder = $2",
            &[&watch, &holder],
        )
        .await
        .map(drop)
    }

    async fn bucket_place(&self, part: &Part<'_>) -> Result<Place, StoreError> {
        let Part { watch, bucket, prefix, mode } = part;
        self.query(
            "INSERT INTO bucket_places (watch, bucket, prefix, mode, passes)
             VALUES ($1, $2, $3, $4, 0)
             ON CONFLICT (watch, bucket, prefix, mode) DO NOTHING",
            &[watch, bucket, prefix, mode],
        )
        .await?;
        let rows = self
            .query(
                "SELECT id, passes, cursor FROM bucket_places
                 WHERE watch = $1 AND bucket = $2 AND prefix = $3 AND mode = $4",
                &[watch, bucket, prefix, mode],
            )
            .await?;
        let row = rows.first().ok_or_else(|| {
            StoreError::Unavailable(format!("what is known of bucket {bucket} is gone"))
        })?;
        let cursor: Option<Vec<u8>> = row.get(2);
        Ok(Place {
            id: row.get(0),
            passes: as_u64(row.get(1)),
            cursor: cursor.map(key_of).transpose()?,
        })
    }

    async fn known_objects(
        &self,
        place: i32,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Object>, StoreError> {
        let rows = self
            .query(
                "SELECT key, size, etag, modified_at FROM bucket_objects
                 WHERE place = $1 AND key > $2 ORDER BY key LIMIT $3",
                // No key is empty.
                &[&place, &after.unwrap_or_default().as_bytes(), &i64::from(limit)],
            )
            .await?;
        let object = |row: &tokio_postgres::Row| {
            Ok(Object {
                key: key_of(row.get(0))?,
                size: as_u64(row.get(1)),
                etag: row.get(2),
                modified_at: row.get(3),
            })
        };
        rows.iter().map(object).collect()
    }

    async fn keep_step(
        &self,
        watch: &str,
        epoch: Epoch,
        step: &Step<'_>,
    ) -> Result<Kept, StoreError> {
        self.in_time(async {
            let mut client = self.client().await?;
            let transaction = client.transaction().await.map_err(unavailable)?;
            // Locked, so that whoever takes over waits for what is written here, and sees it.
            let held = transaction
                .query_typed(
                    "SELECT 1 FROM bucket_watches WHERE watch = $1 AND epoch = $2 FOR SHARE",
                    &[(&watch, Type::TEXT), (&epoch, Type::INT8)],
                )
                .await
                .map_err(unavailable)?;
            if held.is_empty() {
                return Ok(Kept::Lost);
            }
            write_step(&transaction, step).await.map_err(unavailable)?;
            transaction.commit().await.map_err(unavailable)?;
            Ok(Kept::Yes)
        })
        .await
    }

    async fn forget_announced(&self, age: Duration) -> Result<(), StoreError> {
        self.query(
            "DELETE FROM announced_changes WHERE stored_at < now() - $1 * interval '1 second'",
            &[&age.as_secs_f64()],
        )
        .await
        .map(drop)
    }
}

async fn write_step(transaction: &Transaction<'_>, step: &Step<'_>) -> Result<(), Error> {
    let mut deleted: Vec<&[u8]> = Vec::new();
    let (mut keys, mut sizes, mut etags, mut times) = (vec![], vec![], vec![], vec![]);
    for change in step.changes {
        let object = change.object();
        if let Change::Deleted(_) = change {
            deleted.push(object.key.as_bytes());
        } else {
            keys.push(object.key.as_bytes());
            sizes.push(as_i64(object.size));
            etags.push(object.etag.as_str());
            times.push(object.modified_at);
        }
    }
    if !keys.is_empty() {
        transaction
            .query_typed(
                "INSERT INTO bucket_objects (place, key, size, etag, modified_at)
                 SELECT $1, * FROM unnest($2::bytea[], $3::bigint[], $4::text[], $5::bigint[])
                 ON CONFLICT (place, key) DO UPDATE SET size = excluded.size,
                     etag = excluded.etag, modified_at = excluded.modified_at",
                &[
                    (&step.place, Type::INT4),
                    (&keys, Type::BYTEA_ARRAY),
                    (&sizes, Type::INT8_ARRAY),
                    (&etags, Type::TEXT_ARRAY),
                    (&times, Type::INT8_ARRAY),
                ],
            )
            .await?;
    }
    if !deleted.is_empty() {
        transaction
            .query_typed(
                "DELETE FROM bucket_objects WHERE place = $1 AND key = ANY($2)",
                &[(&step.place, Type::INT4), (&deleted, Type::BYTEA_ARRAY)],
            )
            .await?;
    }
    transaction
        .query_typed(
            "UPDATE bucket_places SET passes = $2, cursor = $3 WHERE id = $1",
            &[
                (&step.place, Type::INT4),
                (&as_i64(step.passes), Type::INT8),
                (&step.cursor.map(str::as_bytes), Type::BYTEA),
            ],
        )
        .await
        .map(drop)
}
