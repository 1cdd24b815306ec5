//! Conditions: which faults, and which changes, a rule is about.

use std::time::Duration;

use super::{ChangeFacts, Facts, FaultState, ObjectFacts, change::Row, pattern::Patterns};
use crate::domain::event::{Kind, Severity, Source};

/// The conditions of one rule.
#[derive(Debug, Default)]
pub(super) struct Conditions {
    /// By [`Kind`].
    pub(super) kinds: [bool; Kind::ALL.len()],
    pub(super) source: Patterns,
    pub(super) environment: Patterns,
    pub(super) service: Patterns,
    /// At least as bad as this.
    pub(super) severity: Option<Severity>,
    pub(super) title: Patterns,
    /// Of which one must be; none is no condition.
    pub(super) states: Vec<FaultState>,
    pub(super) database: Patterns,
    pub(super) table: Patterns,
    pub(super) kind_of_change: Patterns,
    pub(super) columns: Vec<Column>,
    pub(super) bucket: Patterns,
    pub(super) key: Patterns,
    pub(super) min_age: Duration,
    /// How often it must have happened; zero is no condition.
    pub(super) count: u64,
    pub(super) within: Option<Duration>,
}

/// What a column must hold.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) old: Patterns,
    pub(super) new: Patterns,
    pub(super) is: Patterns,
}

impl Conditions {
    pub(super) fn is_about(&self, kind: Kind) -> bool {
        self.kinds[kind as usize]
    }

    /// Whether all hold that cost next to nothing; those on a change or an object held when it was
    /// selected.
    pub(super) fn hold(&self, facts: &Facts<'_>) -> bool {
        self.is_about(facts.kind)
            && self.severity.is_none_or(|severity| facts.severity <= severity)
            && (self.states.is_empty() || self.states.contains(&facts.state))
            && self.environment.hold(facts.environment)
            && self.service.hold(facts.service)
            && (self.source.is_empty() || facts.source.is_some_and(|name| self.source.hold(name)))
            && self.title.hold_in(facts.title)
    }

    /// Whether those on a change hold. The line is read only when the others do.
    pub(super) fn select<'a>(
        &self,
        change: &ChangeFacts<'a>,
        row: impl FnOnce() -> Option<&'a Row<'a>>,
    ) -> bool {
        let outside = self.is_about(Kind::Change)
            && self.table.hold(change.table)
            && self.database.hold(change.database)
            && self.kind_of_change.hold(change.kind)
            && self.environment.hold(change.environment)
            && self.service.hold(change.service)
            && self.source.hold(Source::Maxwell.name());
        outside
            && (self.columns.is_empty()
                || row().is_some_and(|row| self.columns.iter().all(|column| column.holds(row))))
    }

    /// Whether those on an object hold.
    pub(super) fn select_object(&self, object: &ObjectFacts<'_>) -> bool {
        self.is_about(Kind::Object)
            && self.bucket.hold(object.bucket)
            && self.key.hold(object.key)
            && self.kind_of_change.hold(object.kind)
            && self.environment.hold(object.environment)
            && self.service.hold(object.bucket)
            && self.source.hold(Source::Bucket.name())
    }

    /// Whether the selection of a change or an object says all that there is to say.
    pub(super) fn are_settled_by_selection(&self) -> bool {
        self.severity.is_none_or(|severity| severity >= Severity::Info)
            && self.states.is_empty()
            && self.title.is_empty()
            && self.min_age.is_zero()
            && self.count <= 1
    }
}

impl Column {
    fn holds(&self, row: &Row<'_>) -> bool {
        let holds = |patterns: &Patterns, value: Option<String>| {
            patterns.is_empty() || value.is_some_and(|value| patterns.hold(&value))
        };
        holds(&self.old, row.before(&self.name))
            && holds(&self.new, row.after(&self.name))
            && holds(&self.is, row.value(&self.name))
    }
}
