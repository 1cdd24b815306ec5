//! Who reads which stream, and what is stored of each origin.

use std::time::Duration;

use async_trait::async_trait;

use super::{StoreError, jobs::Holder};
use crate::{
    adapters::journal::{Origin, stream::Name},
    domain::{event::Source, ledger::Tally},
};

/// What is stored of one origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredOrigin {
    pub origin: Origin,
    pub position: u64,
    pub settled: [Tally; Source::COUNT],
}

/// Whether a hub may read a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lease {
    /// It may, for as long as it asked.
    Held,
    /// Another one does.
    Taken,
}

/// The part of a store that streams need. Leases are told by the store's clock. They only keep
/// hubs from doing the same work: what is stored once is decided by the position, in the commit.
#[async_trait]
pub trait StreamStore: Send + Sync {
    /// Takes the lease of a stream for so long, or prolongs it.
    async fn lease_stream(
        &self,
        stream: &Name,
        holder: Holder,
        lease: Duration,
    ) -> Result<Lease, StoreError>;

    /// Gives the lease back, where it is still held.
    async fn release_stream(&self, stream: &Name, holder: Holder) -> Result<(), StoreError>;

    /// All origins that the store ever had.
    async fn origins(&self) -> Result<Vec<StoredOrigin>, StoreError>;
}
