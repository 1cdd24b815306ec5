//! What a store keeps of the program's own health: how components changed, and what was logged as
//! WARN or ERROR.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::{StoreError, as_rfc3339};
use crate::domain::{
    health::{Change, Known, Status, measured::Storm},
    own_log::{Group, Level},
    time::Micros,
};

/// The newest so many changes are kept.
pub const KEPT_CHANGES: u32 = 10_000;
/// So many groups of lines are kept: those of which one was logged last.
pub const KEPT_ERRORS: u32 = 2_000;

/// Which changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangeFilter {
    pub component: Option<String>,
    pub hub: Option<String>,
    /// With lower ids.
    pub before: Option<i64>,
}

/// A component did otherwise than before.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
#[schema(as = HealthChange)]
pub struct StoredChange {
    pub id: i64,
    #[serde(serialize_with = "as_rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub at: Micros,
    /// Whose component it is.
    pub hub: String,
    pub component: String,
    /// `healthy`, `degraded` or `unhealthy`.
    pub before: String,
    pub status: String,
    /// Why; empty where it is healthy.
    pub error: String,
}

/// Behind which group of lines a page begins: when it was logged last, and its id.
pub type ErrorPlace = (Micros, i64);

/// Which groups of lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ErrorFilter {
    pub level: Option<Level>,
    pub after: Option<ErrorPlace>,
}

/// Lines of the program's own log that say the same.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
#[schema(as = OwnError)]
pub struct StoredError {
    pub id: i64,
    pub hub: String,
    /// `warn` or `error`.
    pub level: String,
    /// The module that said it.
    pub target: String,
    /// What they have in common.
    pub template: String,
    /// The last one.
    pub message: String,
    #[serde(serialize_with = "as_rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub first_at: Micros,
    #[serde(serialize_with = "as_rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub last_at: Micros,
    pub count: i64,
}

/// See the [module](self).
#[async_trait]
pub trait HealthStore: Send + Sync {
    /// Keeps changes in their order, each once, however often it is given; one without a state before
    /// it is none. The oldest beyond [`KEPT_CHANGES`] go.
    async fn add_changes(&self, hub: &str, changes: &[Change]) -> Result<(), StoreError>;

    /// Changes, the newest first.
    async fn health_changes(
        &self,
        filter: &ChangeFilter,
        limit: u32,
    ) -> Result<Vec<StoredChange>, StoreError>;

    /// How each component of a hub was last.
    async fn last_health(&self, hub: &str) -> Result<BTreeMap<String, Known>, StoreError>;

    /// The storms of new faults that go on, the oldest first.
    async fn open_storms(&self, limit: u32) -> Result<Vec<Storm>, StoreError>;

    /// Adds lines to those that say the same. Groups beyond [`KEPT_ERRORS`] go.
    async fn add_errors(&self, hub: &str, groups: &[Group]) -> Result<(), StoreError>;

    /// Groups of lines, those logged last first.
    async fn errors(
        &self,
        filter: &ErrorFilter,
        limit: u32,
    ) -> Result<Vec<StoredError>, StoreError>;
}

/// The states that rows of component, status and moment tell of.
pub(super) fn known_of(
    rows: impl Iterator<Item = (String, String, Micros)>,
) -> BTreeMap<String, Known> {
    let known = rows.filter_map(|(component, status, since)| {
        Some((component, Known { status: Status::from_name(&status)?, since }))
    });
    known.collect()
}
