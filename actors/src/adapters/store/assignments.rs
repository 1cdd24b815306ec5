//! What a store's process remembers of which fault each shape belongs to.
//!
//! The truth is in the table `fault_shapes`; this saves looking there for shapes met before. It is
//! forgotten whenever it may be wrong: after a commit that failed half-way, and when somebody has
//! taught otherwise.

use std::collections::HashMap;

use super::FaultSum;
use crate::domain::fault::{FaultId, Gathering};

/// So many shapes are remembered in each of two generations.
const GENERATION: usize = 100_000;
/// Places of templates that new shapes are compared with; about 40 bytes each.
pub(super) const PLACES: usize = 300_000;
/// So many of the newest templates are read when nothing is remembered.
pub(crate) const TEMPLATES: i64 = 30_000;

/// A shape's row, and the fault that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Assignment {
    pub shape: i64,
    pub fault: FaultId,
}

/// See the [module](self).
pub(crate) struct Assignments {
    young: HashMap<u128, Assignment>,
    old: HashMap<u128, Assignment>,
    /// Of the shapes up to row `newest_shape`.
    pub gathering: Gathering,
    pub newest_shape: i64,
    newest_lesson: i64,
    /// A commit is under way, or ended without saying so.
    is_open: bool,
}

impl Assignments {
    pub(crate) fn new() -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            gathering: Gathering::new(PLACES),
            newest_shape: 0,
            newest_lesson: 0,
            is_open: false,
        }
    }

    /// Begins a commit, which is the `newest_lesson`th lesson wiser.
    pub(crate) fn begin(&mut self, newest_lesson: i64) {
        if self.is_open || newest_lesson != self.newest_lesson {
            self.young.clear();
            self.old.clear();
            self.gathering.clear();
            self.newest_shape = 0;
        }
        self.newest_lesson = newest_lesson;
        self.is_open = true;
    }

    /// The commit is durable.
    pub(crate) fn committed(&mut self) {
        self.is_open = false;
    }

    pub(crate) fn get(&mut self, sum: &FaultSum<'_>) -> Option<Assignment> {
        let key = sum.key();
        if let Some(known) = self.young.get(&key) {
            return Some(*known);
        }
        let known = self.old.get(&key).copied()?;
        self.learn(key, known);
        Some(known)
    }

    pub(crate) fn add(&mut self, sum: &FaultSum<'_>, assignment: Assignment) {
        self.learn(sum.key(), assignment);
    }

    fn learn(&mut self, key: u128, assignment: Assignment) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, assignment);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        event::{Kind, Severity},
        shape::Shape,
    };

    fn sum(text: &'static str) -> FaultSum<'static> {
        FaultSum {
            environment: "prod",
            service: "shop",
            fingerprint: Shape::of_log(text).fingerprint,
            kind: Kind::Log,
            severity: Severity::Error,
            title: text,
            template: text,
            rule: "",
            example: text,
            latest: text,
            count: 1,
            first_seen: 0,
            last_seen: 0,
            hours: Vec::new(),
        }
    }

    #[test]
    fn what_may_be_wrong_is_forgotten() {
        let known = Assignment { shape: 1, fault: 2 };
        let mut assignments = Assignments::new();
        assignments.begin(0);
        assignments.add(&sum("a"), known);
        assignments.committed();
        assignments.begin(0);
        assert_eq!(assignments.get(&sum("a")), Some(known));
        assert_eq!(assignments.get(&sum("b")), None);
        // That commit never said that it is durable.
        assignments.begin(0);
        assert_eq!(assignments.get(&sum("a")), None);
        assignments.add(&sum("a"), known);
        assignments.committed();
        assignments.begin(1);
        assert_eq!(assignments.get(&sum("a")), None, "there is a new lesson");
    }
}
