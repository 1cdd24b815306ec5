//! Classes: how bad a fault is to those who look after it, and how soon they are to respond.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::lasting;
use crate::domain::event::Severity;

/// How bad a fault is; `P0` is the worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Class {
    P0,
    P1,
    P2,
    P3,
}

impl Class {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::P0 => "P0",
            Self::P1 => "P1",
            Self::P2 => "P2",
            Self::P3 => "P3",
        }
    }

    /// That of a fault which no rule gives one.
    #[must_use]
    pub const fn of(severity: Severity) -> Self {
        match severity {
            Severity::Emergency | Severity::Alert => Self::P0,
            Severity::Critical => Self::P1,
            Severity::Error => Self::P2,
            Severity::Warning | Severity::Notice | Severity::Info | Severity::Debug => Self::P3,
        }
    }
}

/// Section `[priorities]`: what each class is in the tracker.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Priorities {
    #[serde(rename = "P0")]
    pub p0: Priority,
    #[serde(rename = "P1")]
    pub p1: Priority,
    #[serde(rename = "P2")]
    pub p2: Priority,
    #[serde(rename = "P3")]
    pub p3: Priority,
}

/// One class.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Priority {
    /// The ticket's priority, by name; empty: none is set.
    pub priority: String,
    /// How soon somebody is to respond.
    #[serde(with = "lasting::required")]
    pub respond: Duration,
}

impl Default for Priorities {
    fn default() -> Self {
        let class = |priority: &str, respond| Priority { priority: priority.to_owned(), respond };
        Self {
            p0: class("Highest", Duration::from_mins(15)),
            p1: class("High", Duration::from_hours(1)),
            p2: class("Medium", Duration::from_hours(8)),
            p3: class("Low", Duration::from_hours(72)),
        }
    }
}

impl Priorities {
    #[must_use]
    pub fn get(&self, class: Class) -> &Priority {
        match class {
            Class::P0 => &self.p0,
            Class::P1 => &self.p1,
            Class::P2 => &self.p2,
            Class::P3 => &self.p3,
        }
    }
}
