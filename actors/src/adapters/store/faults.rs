//! Faults in a store, as people look at them and steer them.

use async_trait::async_trait;
use serde_json::Value;

use super::{
    StoreError, StoredFault,
    jobs::{JobId, SeenTicket, StoredTicket},
};
use crate::domain::{
    decision::{HasTicket, Tracker},
    event::Severity,
    fault::FaultId,
    fault_state::{Illegal, Standing, State, Step},
    time::Micros,
};

/// Which faults. The default: all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultFilter {
    pub ids: Option<Vec<FaultId>>,
    pub state: Option<State>,
    pub environment: Option<String>,
    pub service: Option<String>,
    pub kind: Option<String>,
    /// At least as bad.
    pub severity: Option<Severity>,
    /// A part of a title, a template or a first message, whatever the case.
    pub text: Option<String>,
    pub ticket: Option<WithTicket>,
    /// First seen then or later.
    pub new_since: Option<Micros>,
}

/// Faults by their tickets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WithTicket {
    Some,
    None,
    /// This one is, or was, theirs.
    Key(String),
}

/// What a list is sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortBy {
    #[default]
    LastSeen,
    FirstSeen,
    Count,
    Id,
}

impl SortBy {
    /// The name in queries; also the column's.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::LastSeen => "last_seen",
            Self::FirstSeen => "first_seen",
            Self::Count => "count",
            Self::Id => "id",
        }
    }
}

/// The order of a list; of equal faults the number decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sorting {
    pub by: SortBy,
    pub direction: Direction,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    Ascending,
    #[default]
    Descending,
}

/// A place in a sorted list: behind the fault with this number, which had this value then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Microseconds or a count, by what the list is sorted.
    pub value: i64,
    pub id: FaultId,
}

impl Place {
    /// Behind `fault`.
    #[must_use]
    pub fn behind(fault: &StoredFault, by: SortBy) -> Self {
        let value = match by {
            SortBy::LastSeen => fault.last_seen,
            SortBy::FirstSeen => fault.first_seen,
            SortBy::Count => fault.count,
            SortBy::Id => fault.id,
        };
        Self { value, id: fault.id }
    }
}

/// A fault, where it stands, and its newest ticket.
#[derive(Clone, Debug, PartialEq)]
pub struct ListedFault {
    pub fault: StoredFault,
    pub standing: Standing,
    pub ticket: Option<StoredTicket>,
}

/// How often a fault was met in an hour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultHour {
    pub fault: FaultId,
    /// When the hour began.
    pub hour: Micros,
    pub count: i64,
}

/// How often something was met in an hour in an environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occurrences {
    pub environment: String,
    /// When the hour began.
    pub hour: Micros,
    pub count: i64,
}

/// A ticket that a person wants.
#[derive(Clone, Debug)]
pub struct ByHand {
    /// Who.
    pub who: String,
    /// The draft.
    pub request: Value,
    /// The label by which it is found in the tracker.
    pub locator: String,
}

/// A ticket that exists, to be a fault's.
#[derive(Clone, Debug)]
pub struct Link {
    pub who: String,
    pub key: String,
    /// How it stands, where the tracker said so.
    pub seen: Option<SeenTicket>,
    pub locator: String,
    /// What the tracker is sent, so that the ticket is known by its locator from then on.
    pub request: Value,
}

/// A fault that a person tells of.
#[derive(Clone, Debug)]
pub struct NewFault {
    pub environment: String,
    pub service: String,
    pub severity: Severity,
    pub title: String,
    pub description: String,
}

/// The kind of faults that people told of; nothing that happens is ever counted to them.
pub const BY_HAND: &str = "manual";

/// What faults are about: each name once, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facets {
    pub environments: Vec<String>,
    pub services: Vec<String>,
}

/// Why a person's wish was not fulfilled.
#[derive(Debug, thiserror::Error)]
pub enum SteerError {
    #[error("there is no fault {0}")]
    NoFault(FaultId),
    #[error(transparent)]
    Illegal(#[from] Illegal),
    #[error("fault {0} was merged into {1}")]
    Merged(FaultId, FaultId),
    #[error("{0}")]
    HasTicket(HasTicket),
    #[error("ticket {0} is linked to fault {1}")]
    Linked(String, FaultId),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The part of a [`Store`](super::Store) that shows and steers faults.
#[async_trait]
pub trait FaultStore: Send + Sync {
    /// Up to `limit` faults behind `after`. See [`Sorting`]: what a list is sorted by may change
    /// from one page to the next, so pages are each right when they are read.
    async fn list_faults(
        &self,
        filter: &FaultFilter,
        sorting: Sorting,
        after: Option<Place>,
        limit: u32,
    ) -> Result<Vec<ListedFault>, StoreError>;

    /// How often faults were met, hour by hour, in hours that began then or later; without those
    /// in which they were not.
    async fn fault_hours(
        &self,
        faults: &[FaultId],
        since: Micros,
    ) -> Result<Vec<FaultHour>, StoreError>;

    /// How often a fault was met in the hours that began within a time, and the same shapes of the
    /// same service in other environments. Sorted by hour and environment.
    async fn fault_occurrences(
        &self,
        fault: FaultId,
        since: Micros,
        until: Micros,
    ) -> Result<Vec<Occurrences>, StoreError>;

    /// The environments and services that have faults.
    async fn facets(&self) -> Result<Facets, StoreError>;

    /// Does a person's step, and has dispatch look at the fault again.
    async fn steer_fault(
        &self,
        fault: FaultId,
        step: Step,
        comment: &str,
        who: &str,
    ) -> Result<(), SteerError>;

    /// Has a ticket made for a fault, unless it has one that is not done.
    async fn make_ticket(
        &self,
        fault: FaultId,
        wanted: &ByHand,
        tracker: &Tracker,
    ) -> Result<JobId, SteerError>;

    /// Makes a fault of its own, with its ticket to be made.
    async fn make_fault(
        &self,
        new: &NewFault,
        wanted: &ByHand,
    ) -> Result<(FaultId, JobId), StoreError>;

    /// Makes an existing ticket a fault's, unless it has one that is not done. Its own one again
    /// is no change.
    async fn link_ticket(
        &self,
        fault: FaultId,
        link: &Link,
        tracker: &Tracker,
    ) -> Result<(), SteerError>;
}
