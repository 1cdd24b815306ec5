//! What changes in a store, for those who watch: hubs share a store, so that none of them knows by
//! itself.
//!
//! Every change of state has its row in the audit trail, which is read as a [`Feed`]. That a fault
//! was met again has none: hubs tell each other, where there are several.

use async_trait::async_trait;

use super::{
    StoreError,
    jobs::{Holder, JobId},
};
use crate::domain::{fault::FaultId, feed::Feed};

/// An entry of the audit trail: what it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub id: i64,
    pub faults: Vec<FaultId>,
    pub job: Option<JobId>,
}

/// What a hub has met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Met {
    pub id: i64,
    pub hub: Holder,
    pub faults: Vec<FaultId>,
}

/// The part of a store that watching needs.
#[async_trait]
pub trait LiveStore: Send + Sync {
    /// The newest entries of the audit trail that are news to `feed`, at most `limit`; in no order.
    async fn changes(&self, feed: &Feed, limit: u32) -> Result<Vec<Change>, StoreError>;

    /// Tells the other hubs which faults this one has met; they may ask for a minute.
    async fn tell_met(&self, hub: Holder, faults: &[FaultId]) -> Result<(), StoreError>;

    /// What hubs have told, as [`Self::changes`].
    async fn met(&self, feed: &Feed, limit: u32) -> Result<Vec<Met>, StoreError>;
}

/// The faults that an entry is about: `fault`, and the one that its subject names (`fault 7`), which
/// is another one where people merged or split.
pub(super) fn faults_of(fault: Option<FaultId>, subject: &str) -> Vec<FaultId> {
    let named = subject.strip_prefix("fault ").and_then(|number| number.parse().ok());
    let mut faults: Vec<FaultId> = fault.into_iter().chain(named).collect();
    faults.dedup();
    faults
}
