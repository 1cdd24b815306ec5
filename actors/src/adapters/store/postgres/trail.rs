//! [`TrailStore`] for PostgreSQL.

use async_trait::async_trait;
use tokio_postgres::types::Json;

use super::Postgres;
use crate::adapters::store::{
    StoreError,
    trail::{Note, TrailStore},
};

#[async_trait]
impl TrailStore for Postgres {
    async fn note(&self, note: Note<'_>) -> Result<(), StoreError> {
        let Note { who, action, subject, details } = note;
        self.query(
            "INSERT INTO audit_trail (who, action, subject, details) VALUES ($1, $2, $3, $4)",
            &[&who, &action, &subject, &Json(details)],
        )
        .await
        .map(drop)
    }
}
