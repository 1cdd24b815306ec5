//! [`BucketStore`] for SQLite.

use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};

use super::{Sqlite, on};
use crate::{
    adapters::{
        clock,
        store::{
            StoreError, as_i64, as_u64,
            buckets::{BucketStore, Epoch, Kept, Part, Place, Step, key_of},
            jobs::Holder,
        },
    },
    domain::{
        object::{Change, Object},
        time::{later, micros},
    },
};

#[async_trait]
impl BucketStore for Sqlite {
    async fn lease_watch(
        &self,
        watch: &str,
        holder: Holder,
        lease: Duration,
    ) -> Result<Option<Epoch>, StoreError> {
        let watch = watch.to_owned();
        on(&self.writer, move |connection| {
            let now = clock::now();
            let held = connection
                .query_row(
                    "INSERT INTO bucket_watches AS held (watch, holder, epoch, expires_at)
                     VALUES (?1, ?2, 1, ?3)
                     ON CONFLICT (watch) DO UPDATE
                         SET holder = excluded.holder, expires_at = excluded.expires_at,
                             epoch = held.epoch + (held.holder <> excluded.holder)
                         WHERE held.holder = excluded.holder OR held.expires_at < ?4
                     RETURNING epoch",
                    params![watch, holder.to_string(), later(now, lease), now],
                    |row| row.get(0),
                )
                .optional()?;
            Ok(held)
        })
        .await
    }

    async fn release_watch(&self, watch: &str, holder: Holder) -> Result<(), StoreError> {
        let watch = watch.to_owned();
        on(&self.writer, move |connection| {
            connection.execute(
                "UPDATE bucket_watches SET expires_at = 0 WHERE watch = ?1 AND holder = ?2",
                params![watch, holder.to_string()],
            )?;
            Ok(())
        })
        .await
    }

    async fn bucket_place(&self, part: &Part<'_>) -> Result<Place, StoreError> {
        let named = [part.watch, part.bucket, part.prefix, part.mode].map(str::to_owned);
        on(&self.writer, move |connection| {
            connection.execute(
                "INSERT INTO bucket_places (watch, bucket, prefix, mode, passes)
                 VALUES (?1, ?2, ?3, ?4, 0)
                 ON CONFLICT (watch, bucket, prefix, mode) DO NOTHING",
                params_from_iter(&named),
            )?;
            let (id, passes, cursor) = connection.query_row(
                "SELECT id, passes, cursor FROM bucket_places
                 WHERE watch = ?1 AND bucket = ?2 AND prefix = ?3 AND mode = ?4",
                params_from_iter(&named),
                |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, Option<Vec<u8>>>(2)?)),
            )?;
            Ok(Place { id, passes: as_u64(passes), cursor: cursor.map(key_of).transpose()? })
        })
        .await
    }

    async fn known_objects(
        &self,
        place: i32,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Object>, StoreError> {
        // No key is empty.
        let after = after.unwrap_or_default().as_bytes().to_owned();
        on(&self.reader, move |connection| {
            let mut select = connection.prepare_cached(
                "SELECT key, size, etag, modified_at FROM bucket_objects
                 WHERE place = ?1 AND key > ?2 ORDER BY key LIMIT ?3",
            )?;
            let mut rows = select.query(params![place, after, limit])?;
            let mut objects = Vec::new();
            while let Some(row) = rows.next()? {
                objects.push(object_of(row)?);
            }
            Ok(objects)
        })
        .await
    }

    async fn keep_step(
        &self,
        watch: &str,
        epoch: Epoch,
        step: &Step<'_>,
    ) -> Result<Kept, StoreError> {
        let (watch, changes) = (watch.to_owned(), step.changes.to_owned());
        let cursor = step.cursor.map(|key| key.as_bytes().to_owned());
        let (place, passes) = (step.place, as_i64(step.passes));
        on(&self.writer, move |connection| {
            let behavior = rusqlite::TransactionBehavior::Immediate;
            let transaction = connection.transaction_with_behavior(behavior)?;
            let held = transaction
                .query_row(
                    "SELECT 1 FROM bucket_watches WHERE watch = ?1 AND epoch = ?2",
                    params![watch, epoch],
                    |_| Ok(()),
                )
                .optional()?;
            if held.is_none() {
                return Ok(Kept::Lost);
            }
            write_changes(&transaction, place, &changes)?;
            transaction.execute(
                "UPDATE bucket_places SET passes = ?2, cursor = ?3 WHERE id = ?1",
                params![place, passes, cursor],
            )?;
            transaction.commit()?;
            Ok(Kept::Yes)
        })
        .await
    }

    async fn forget_announced(&self, age: Duration) -> Result<(), StoreError> {
        on(&self.writer, move |connection| {
            let before = clock::now().saturating_sub(micros(age));
            connection.execute("DELETE FROM announced_changes WHERE stored_at < ?1", [before])?;
            Ok(())
        })
        .await
    }
}

fn write_changes(
    connection: &Connection,
    place: i32,
    changes: &[Change],
) -> Result<(), StoreError> {
    let mut put = connection.prepare_cached(
        "INSERT INTO bucket_objects (place, key, size, etag, modified_at)
         VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (place, key) DO UPDATE SET size = excluded.size, etag = excluded.etag,
             modified_at = excluded.modified_at",
    )?;
    let mut delete =
        connection.prepare_cached("DELETE FROM bucket_objects WHERE place = ?1 AND key = ?2")?;
    for change in changes {
        let Object { key, size, etag, modified_at } = change.object();
        match change {
            Change::Deleted(_) => delete.execute(params![place, key.as_bytes()])?,
            _ => put.execute(params![place, key.as_bytes(), as_i64(*size), etag, modified_at])?,
        };
    }
    Ok(())
}

fn object_of(row: &Row<'_>) -> Result<Object, StoreError> {
    Ok(Object {
        key: key_of(row.get(0)?)?,
        size: as_u64(row.get(1)?),
        etag: row.get(2)?,
        modified_at: row.get(3)?,
    })
}
