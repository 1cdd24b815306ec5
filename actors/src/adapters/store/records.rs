//! What a store keeps for people: rejected messages, the audit trail, notifications, statistics.
//!
//! Lists give the newest first, and go on behind the id of the last row (`before`), so that a page
//! costs the same wherever it is.

use std::time::Duration;

use async_trait::async_trait;

use super::{
    AuditEntry, StoreError, StoredRejected, as_optional_rfc3339, as_rfc3339,
    statistics::{By, DayCount, Days, JobDayCount},
};
use crate::domain::{event::Source, fault::FaultId, notification::Urgency, time::Micros};

/// Which rejected messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RejectedFilter {
    pub ids: Option<Vec<i64>>,
    pub source: Option<Source>,
    /// Word for word.
    pub reason: Option<String>,
    pub is_replayed: Option<bool>,
    /// Received then or later …
    pub since: Option<Micros>,
    /// … and before.
    pub until: Option<Micros>,
    /// With lower ids.
    pub before: Option<i64>,
}

/// Which entries of the audit trail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    pub who: Option<String>,
    pub action: Option<String>,
    pub subject: Option<String>,
    pub fault: Option<FaultId>,
    pub job: Option<i64>,
    pub since: Option<Micros>,
    pub until: Option<Micros>,
    /// With lower ids.
    pub before: Option<i64>,
}

/// Which notifications.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NotificationFilter {
    /// Only those that nobody has read.
    pub is_unread: bool,
    pub urgency: Option<Urgency>,
    /// With lower ids.
    pub before: Option<i64>,
}

/// A notification as a person sees it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct StoredNotification {
    pub id: i64,
    #[serde(serialize_with = "as_rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub at: Micros,
    /// `info`, `warning` or `critical`.
    pub severity: String,
    /// The stage that it comes from.
    pub component: String,
    pub title: String,
    pub body: String,
    /// A page of the dashboard.
    pub link: Option<String>,
    /// Somebody of the team has read it.
    pub is_read: bool,
    /// When, and who.
    #[serde(serialize_with = "as_optional_rfc3339")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub read_at: Option<Micros>,
    pub read_by: Option<String>,
}

/// What makes a message one that can be replayed now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    /// It is to be replayed by the one who asked, who says so with [`RecordStore::replayed`].
    Granted,
    /// It was.
    Done,
    /// Somebody else is at it.
    Underway,
    /// There is no such message.
    Missing,
}

/// See the [module](self).
#[async_trait]
pub trait RecordStore: Send + Sync {
    /// Rejected messages, each with the first [`SHOWN`] of its bytes.
    async fn list_rejected(
        &self,
        filter: &RejectedFilter,
        limit: u32,
    ) -> Result<Vec<StoredRejected>, StoreError>;

    /// How many of a filter can be replayed.
    async fn count_replayable(&self, filter: &RejectedFilter) -> Result<u64, StoreError>;

    /// One with all the bytes that are kept.
    async fn one_rejected(&self, id: i64) -> Result<Option<StoredRejected>, StoreError>;

    /// Asks for the right to replay a message, which lasts so long: nobody else gets it meanwhile.
    /// Marks one of which nobody said that it was replayed, though it is stored.
    async fn claim_replay(&self, id: i64, lasts: Duration) -> Result<Replay, StoreError>;

    /// Gives that right back: it was not replayed.
    async fn release_replay(&self, id: i64) -> Result<(), StoreError>;

    /// Marks a message as replayed, with an entry in the audit trail; `false` where it was.
    async fn replayed(&self, id: i64, who: &str) -> Result<bool, StoreError>;

    async fn list_audit(
        &self,
        filter: &AuditFilter,
        limit: u32,
    ) -> Result<Vec<AuditEntry>, StoreError>;

    async fn notifications(
        &self,
        filter: &NotificationFilter,
        limit: u32,
    ) -> Result<Vec<StoredNotification>, StoreError>;

    /// How many notifications nobody has read.
    async fn unread(&self) -> Result<u64, StoreError>;

    /// Marks notifications as read, all where `ids` is `None`; gives how many are left.
    async fn read(&self, ids: Option<&[i64]>, who: &str) -> Result<u64, StoreError>;

    /// Events by day and `by`, the oldest day first.
    async fn statistics(&self, days: Days, by: By) -> Result<Vec<DayCount>, StoreError>;

    /// How jobs ended by day: a job that died and was done later counts twice.
    async fn job_statistics(&self, days: Days) -> Result<Vec<JobDayCount>, StoreError>;
}

/// Bytes of a rejected message in a list.
pub const SHOWN: i32 = 2_000;
