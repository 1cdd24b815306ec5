//! Faults in a store, as people look at them and steer them.

use std::fmt::Write;

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
    shape::{Shape, cut},
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

/// What is kept of a shape for searches. In lower case; no longer than fits in a row.
pub(crate) fn searched(title: &str, template: &str, example: &str) -> String {
    const LONGEST: usize = 1_900;
    let template = template.replace(Shape::HOLE, "*");
    let text = format!("{}\n{}\n{}", cut(title, 500), cut(&template, 500), cut(example, 800));
    cut(&text.to_lowercase(), LONGEST).to_owned()
}

/// In which words a store speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Postgres,
    Sqlite,
}

/// A parameter of a statement.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Given {
    Number(i64),
    Numbers(Vec<i64>),
    Text(String),
    Time(Micros),
}

/// A condition that grows, with its parameters.
pub(crate) struct Conditions {
    dialect: Dialect,
    pub sql: String,
    pub given: Vec<Given>,
}

impl Conditions {
    pub(crate) fn new(dialect: Dialect) -> Self {
        Self { dialect, sql: "true".to_owned(), given: Vec::new() }
    }

    /// The mark that stands for `given`.
    pub(crate) fn give(&mut self, given: Given) -> String {
        self.given.push(given);
        let number = self.given.len();
        match self.dialect {
            Dialect::Postgres => format!("${number}"),
            Dialect::Sqlite => format!("?{number}"),
        }
    }

    fn and(&mut self, condition: &str) {
        // Writing to a String cannot fail.
        let _ = write!(self.sql, " AND {condition}");
    }

    fn equal(&mut self, column: &str, value: Option<&String>) {
        if let Some(value) = value {
            let mark = self.give(Given::Text(value.clone()));
            self.and(&format!("fault.{column} = {mark}"));
        }
    }

    /// The faults of a filter, of a table `faults AS fault`.
    pub(crate) fn filter(&mut self, filter: &FaultFilter, now: Micros) {
        if let Some(ids) = &filter.ids {
            let mark = self.give(Given::Numbers(ids.clone()));
            self.and(&match self.dialect {
                Dialect::Postgres => format!("fault.id = ANY({mark})"),
                Dialect::Sqlite => format!("fault.id IN (SELECT value FROM json_each({mark}))"),
            });
        }
        if let Some(state) = filter.state {
            self.state(state, now);
        }
        self.equal("environment", filter.environment.as_ref());
        self.equal("service", filter.service.as_ref());
        self.equal("kind", filter.kind.as_ref());
        if let Some(worst) = filter.severity {
            let bad = Severity::ALL.iter().filter(|severity| **severity <= worst);
            let names: Vec<String> = bad.map(|name| format!("'{}'", name.name())).collect();
            self.and(&format!("fault.severity IN ({})", names.join(", ")));
        }
        if let Some(since) = filter.new_since {
            let mark = self.give(Given::Time(since));
            self.and(&format!("fault.first_seen >= {mark}"));
        }
        match &filter.ticket {
            None => {}
            Some(WithTicket::Some) => self.and("fault.incident > 0"),
            Some(WithTicket::None) => self.and("fault.incident = 0"),
            Some(WithTicket::Key(key)) => {
                let mark = self.give(Given::Text(key.clone()));
                self.and(&format!("fault.id IN (SELECT fault FROM tickets WHERE key = {mark})"));
            }
        }
        if let Some(text) = &filter.text {
            let mark = self.give(Given::Text(text.to_lowercase()));
            let find = match self.dialect {
                Dialect::Postgres => "strpos",
                Dialect::Sqlite => "instr",
            };
            self.and(&format!(
                "fault.id IN (SELECT shape.fault FROM fault_texts AS searched
                     JOIN fault_shapes AS shape ON shape.id = searched.shape
                     WHERE {find}(searched.text, {mark}) > 0)"
            ));
        }
    }

    /// See [`Standing::state`]. What a storm holds back is open.
    fn state(&mut self, state: State, now: Micros) {
        const RESOLVED: &str = "(fault.resolved_at IS NOT NULL AND fault.came_back_at IS NULL)";
        if state == State::Merged {
            return self.and("fault.merged_into IS NOT NULL");
        }
        let mark = self.give(Given::Time(now));
        let muted = format!(
            "(fault.muted_at IS NOT NULL AND (fault.muted_until IS NULL OR fault.muted_until > {mark}))"
        );
        self.and("fault.merged_into IS NULL");
        match state {
            State::Muted => self.and(&muted),
            State::Resolved => self.and(&format!("NOT {muted} AND {RESOLVED}")),
            State::Open | State::Merged => self.and(&format!("NOT {muted} AND NOT {RESOLVED}")),
        }
    }

    /// Only what comes behind a place.
    pub(crate) fn after(&mut self, sorting: Sorting, place: Place) {
        let value = match sorting.by {
            SortBy::LastSeen | SortBy::FirstSeen => Given::Time(place.value),
            SortBy::Count | SortBy::Id => Given::Number(place.value),
        };
        let (value, id) = (self.give(value), self.give(Given::Number(place.id)));
        let (column, than) = (sorting.by.name(), sorting.direction.than());
        self.and(&format!("(fault.{column}, fault.id) {than} ({value}, {id})"));
    }
}

impl Direction {
    const fn than(self) -> &'static str {
        match self {
            Self::Ascending => ">",
            Self::Descending => "<",
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Ascending => "ASC",
            Self::Descending => "DESC",
        }
    }
}

impl Sorting {
    /// As `ORDER BY` has it.
    fn sql(self) -> String {
        let (column, word) = (self.by.name(), self.direction.word());
        format!("fault.{column} {word}, fault.id {word}")
    }
}

/// The statement of a list, and its parameters. `fault` is what is read of a fault, by a
/// `fault_of`; [`STANDING`] and [`TICKET`] follow it. The page is found first, so that wide rows are
/// read, and tickets looked up, for it alone.
pub(crate) fn list(
    dialect: Dialect,
    fault: &str,
    filter: &FaultFilter,
    sorting: Sorting,
    after: Option<Place>,
    limit: u32,
    now: Micros,
) -> (String, Vec<Given>) {
    let mut conditions = Conditions::new(dialect);
    conditions.filter(filter, now);
    if let Some(place) = after {
        conditions.after(sorting, place);
    }
    let order = sorting.sql();
    let sql = format!(
        "SELECT {fault}, {STANDING}, {TICKET}
         FROM (SELECT fault.id FROM faults AS fault WHERE {} ORDER BY {order} LIMIT {limit}) AS page
         JOIN faults AS fault USING (id)
         LEFT JOIN tickets AS ticket
             ON ticket.fault = fault.id AND ticket.incident = fault.incident
         ORDER BY {order}",
        conditions.sql
    );
    (sql, conditions.given)
}

pub(crate) const STANDING: &str = "fault.muted_at, fault.muted_by, fault.muted_until,
    fault.resolved_at, fault.came_back_at IS NOT NULL";
pub(crate) const TICKET: &str = "ticket.fault, ticket.incident, ticket.locator, ticket.key,
    ticket.is_dry_run, ticket.status, ticket.is_done, ticket.resolution, ticket.created_at";

/// Hours and counts of faults: `FAULTS`, then the first hour.
pub(crate) fn hours_sql(faults: &str, since: &str) -> String {
    format!(
        "SELECT shape.fault, hours.hour, CAST(sum(hours.count) AS bigint)
         FROM fault_shapes AS shape JOIN fault_hours AS hours ON hours.shape = shape.id
         WHERE {faults} AND hours.hour >= {since} GROUP BY shape.fault, hours.hour"
    )
}

/// Its parameters: a fault, the first hour, and the one behind the last. The environments are found
/// one by one in the index that begins with them.
pub(crate) fn occurrences_sql(dialect: Dialect) -> String {
    let mark = match dialect {
        Dialect::Postgres => '$',
        Dialect::Sqlite => '?',
    };
    format!(
        "WITH RECURSIVE environments (environment) AS (
             SELECT min(environment) FROM fault_shapes
             UNION ALL
             SELECT (SELECT min(shape.environment) FROM fault_shapes AS shape
                 WHERE shape.environment > environments.environment)
             FROM environments WHERE environments.environment IS NOT NULL),
         same AS (
             SELECT id, environment FROM fault_shapes WHERE fault = {mark}1
             UNION
             SELECT other.id, other.environment
             FROM fault_shapes AS own
             JOIN environments ON environments.environment <> own.environment
             JOIN fault_shapes AS other ON other.environment = environments.environment
                 AND other.service = own.service AND other.fingerprint = own.fingerprint
             WHERE own.fault = {mark}1)
         SELECT same.environment, hours.hour, CAST(sum(hours.count) AS bigint)
         FROM same JOIN fault_hours AS hours ON hours.shape = same.id
         WHERE hours.hour >= {mark}2 AND hours.hour < {mark}3
         GROUP BY same.environment, hours.hour ORDER BY hours.hour, same.environment"
    )
}
