//! Lists of faults in SQL, for both stores.

use std::fmt::Write;

use super::faults::{Direction, FaultFilter, Place, SortBy, Sorting, WithTicket};
use crate::domain::{
    event::Severity,
    fault_state::State,
    shape::{Shape, cut},
    time::Micros,
};

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
            // No index leads from a fault to its texts, so that PostgreSQL looks through these once:
            // it would believe that a third of them match, and begin with the newest faults.
            self.and(&format!(
                "fault.id IN (SELECT searched.fault FROM fault_texts AS searched
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
