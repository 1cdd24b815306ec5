//! What is kept of watched buckets: who watches, how far, and what each object was last.

use std::time::Duration;

use async_trait::async_trait;

use super::{StoreError, jobs::Holder};
use crate::domain::object::{Change, Object};

/// Counts who has held a watch. Whoever writes for it says which one it was given.
pub type Epoch = i64;

/// A part of a bucket: the keys with a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    pub watch: &'a str,
    pub bucket: &'a str,
    pub prefix: &'a str,
    /// The way of watching has a part of its own: what the one keeps tells the other nothing.
    pub mode: &'a str,
}

/// How far a part of a bucket is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Stands for the part.
    pub id: i32,
    /// Passes that were finished. Before the first one is, the snapshot is not complete.
    pub passes: u64,
    /// The last key that the pass under way has compared; with a watermark, the last one of all.
    pub cursor: Option<String>,
}

/// What a step of a pass leaves behind.
#[derive(Clone, Debug)]
pub struct Step<'a> {
    pub place: i32,
    /// For the snapshot; they were announced before.
    pub changes: &'a [Change],
    pub passes: u64,
    pub cursor: Option<&'a str>,
}

/// Whether a step was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    Yes,
    /// Somebody else watches by now; nothing was written.
    Lost,
}

/// The part of a store that the bucket watcher needs. Leases are told by the store's clock.
#[async_trait]
pub trait BucketStore: Send + Sync {
    /// Takes the lease of a watch for so long, or prolongs it; `None` while another one has it.
    async fn lease_watch(
        &self,
        watch: &str,
        holder: Holder,
        lease: Duration,
    ) -> Result<Option<Epoch>, StoreError>;

    /// Gives the lease back, where it is still held.
    async fn release_watch(&self, watch: &str, holder: Holder) -> Result<(), StoreError>;

    /// Where a part of a bucket stands; registers it where it is new.
    async fn bucket_place(&self, part: &Part<'_>) -> Result<Place, StoreError>;

    /// Up to `limit` objects of the snapshot behind a key, sorted by it.
    async fn known_objects(
        &self,
        place: i32,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Object>, StoreError>;

    /// Keeps a step of a pass, all or nothing, if the watch is still in this epoch.
    async fn keep_step(
        &self,
        watch: &str,
        epoch: Epoch,
        step: &Step<'_>,
    ) -> Result<Kept, StoreError>;

    /// Forgets identities of changes that were stored longer ago.
    async fn forget_announced(&self, age: Duration) -> Result<(), StoreError>;
}

/// The key of an object, from the bytes as which stores keep it.
pub(super) fn key_of(bytes: Vec<u8>) -> Result<String, StoreError> {
    String::from_utf8(bytes)
        .map_err(|_| StoreError::Unavailable("a stored key is not UTF-8".to_owned()))
}
