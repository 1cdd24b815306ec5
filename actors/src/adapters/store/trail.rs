//! Entries of the audit trail that are about nothing in the store.

use async_trait::async_trait;
use serde_json::Value;

use super::StoreError;

/// What somebody has done, as the audit trail keeps it.
#[derive(Clone, Debug)]
pub struct Note<'a> {
    pub who: &'a str,
    /// Such as `config.reload`.
    pub action: &'a str,
    /// What it was done to.
    pub subject: &'a str,
    /// An object, without secrets.
    pub details: &'a Value,
}

/// See the [module](self).
#[async_trait]
pub trait TrailStore: Send + Sync {
    /// Writes an entry.
    async fn note(&self, note: Note<'_>) -> Result<(), StoreError>;
}
