//! [`LiveStore`] for PostgreSQL.

use async_trait::async_trait;

use super::Postgres;
use crate::{
    adapters::store::{
        StoreError,
        jobs::Holder,
        live::{Change, LiveStore, Met, faults_of},
    },
    domain::{fault::FaultId, feed::Feed},
};

/// What is news to a feed of a table. Two selects: of one with OR, the planner might make a walk
/// over the whole index.
fn news(columns: &str, table: &str) -> String {
    format!(
        "(SELECT {columns} FROM {table} WHERE id > $1 ORDER BY id DESC LIMIT $3)
         UNION ALL (SELECT {columns} FROM {table} WHERE id = ANY($2))"
    )
}

#[async_trait]
impl LiveStore for Postgres {
    async fn changes(&self, feed: &Feed, limit: u32) -> Result<Vec<Change>, StoreError> {
        let sql = news("id, fault, job, subject", "audit_trail");
        let rows = self.query(&sql, &[&feed.last(), &feed.missing(), &i64::from(limit)]).await?;
        let changes = rows.iter().map(|row| Change {
            id: row.get(0),
            faults: faults_of(row.get(1), row.get(3)),
            job: row.get(2),
        });
        Ok(changes.collect())
    }

    async fn tell_met(&self, hub: Holder, faults: &[FaultId]) -> Result<(), StoreError> {
        self.query(
            "WITH old AS (DELETE FROM faults_met WHERE at < now() - interval '1 minute')
             INSERT INTO faults_met (hub, faults) VALUES ($1, $2)",
            &[&hub, &faults],
        )
        .await
        .map(drop)
    }

    async fn met(&self, feed: &Feed, limit: u32) -> Result<Vec<Met>, StoreError> {
        let sql = news("id, hub, faults", "faults_met");
        let rows = self.query(&sql, &[&feed.last(), &feed.missing(), &i64::from(limit)]).await?;
        let met =
            rows.iter().map(|row| Met { id: row.get(0), hub: row.get(1), faults: row.get(2) });
        Ok(met.collect())
    }
}
