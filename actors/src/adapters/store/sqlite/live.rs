//! [`LiveStore`] for SQLite, which one hub has to itself, and where numbers are seen in their order.

use async_trait::async_trait;
use rusqlite::params;

use super::{Sqlite, on, row::rows};
use crate::{
    adapters::store::{
        StoreError,
        jobs::Holder,
        live::{Change, LiveStore, Met, faults_of},
    },
    domain::{fault::FaultId, feed::Feed},
};

#[async_trait]
impl LiveStore for Sqlite {
    async fn changes(&self, feed: &Feed, limit: u32) -> Result<Vec<Change>, StoreError> {
        let after = feed.last();
        on(&self.reader, move |connection| {
            rows(
                connection,
                "SELECT id, fault, job, subject FROM audit_trail WHERE id > ?1
                 ORDER BY id DESC LIMIT ?2",
                params![after, limit],
                |row| {
                    let subject: String = row.get(3)?;
                    Ok(Change {
                        id: row.get(0)?,
                        faults: faults_of(row.get(1)?, &subject),
                        job: row.get(2)?,
                    })
                },
            )
        })
        .await
    }

    async fn tell_met(&self, _: Holder, _: &[FaultId]) -> Result<(), StoreError> {
        Ok(())
    }

    async fn met(&self, _: &Feed, _: u32) -> Result<Vec<Met>, StoreError> {
        Ok(Vec::new())
    }
}
