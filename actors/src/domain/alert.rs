//! Alerts: what the program tells people about itself. Whoever watches says which [`Condition`]s
//! hold now; which of them are new, told again or over is decided from what was told before. So
//! nobody need remember anything, and a crash neither loses an alert nor tells it twice.

use super::{rule::Class, time::Micros};

/// What may be wrong. Each has a section of its name in `docs/runbook.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A component does not work.
    ComponentUnhealthy,
    /// A component works, but not as it should.
    ComponentDegraded,
    /// A stage has input and makes no progress.
    StageStuck,
    /// Calls of an outside system have failed several times one after the other.
    FailuresInARow,
    /// No call of an outside system has succeeded for some time.
    PartnerDown,
    /// An outside system does not accept our credentials.
    AuthFailure,
    /// More waits than should, for longer than it should.
    QueueDeep,
    /// Jobs were given up.
    DeadJobs,
    /// More new faults turn up than tickets are made for.
    Storm,
    /// A source that usually sends has not, for some time.
    SourceSilent,
    /// The spool's disk, or the spool itself, is nearly full.
    SpoolDisk,
    /// An application answers many requests with errors.
    AppErrors,
    /// An application answers slowly.
    AppSlow,
    /// The clock has been set.
    ClockJump,
    /// Nothing is wrong: somebody tries whether alerts arrive.
    Test,
}

impl Kind {
    pub const ALL: [Self; 15] = [
        Self::ComponentUnhealthy,
        Self::ComponentDegraded,
        Self::StageStuck,
        Self::FailuresInARow,
        Self::PartnerDown,
        Self::AuthFailure,
        Self::QueueDeep,
        Self::DeadJobs,
        Self::Storm,
        Self::SourceSilent,
        Self::SpoolDisk,
        Self::AppErrors,
        Self::AppSlow,
        Self::ClockJump,
        Self::Test,
    ];

    /// Its name in the store, in messages, and of its section in the runbook.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ComponentUnhealthy => "component-unhealthy",
            Self::ComponentDegraded => "component-degraded",
            Self::StageStuck => "stage-stuck",
            Self::FailuresInARow => "failures-in-a-row",
            Self::PartnerDown => "partner-down",
            Self::AuthFailure => "auth-failure",
            Self::QueueDeep => "queue-deep",
            Self::DeadJobs => "dead-jobs",
            Self::Storm => "storm",
            Self::SourceSilent => "source-silent",
            Self::SpoolDisk => "spool-disk",
            Self::AppErrors => "app-errors",
            Self::AppSlow => "app-slow",
            Self::ClockJump => "clock-jump",
            Self::Test => "test",
        }
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// How bad it is, and with that how soon somebody is to respond.
    #[must_use]
    pub const fn class(self) -> Class {
        match self {
            Self::StageStuck | Self::SpoolDisk => Class::P0,
            Self::ComponentUnhealthy | Self::PartnerDown | Self::AuthFailure => Class::P1,
            Self::FailuresInARow
            | Self::QueueDeep
            | Self::DeadJobs
            | Self::Storm
            | Self::SourceSilent
            | Self::AppErrors => Class::P2,
            Self::ComponentDegraded | Self::AppSlow | Self::ClockJump | Self::Test => Class::P3,
        }
    }
}

/// Who sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// This hub only: its memory, its spool, its connections.
    Hub,
    /// Every hub of the store alike: what the store says.
    Shared,
}

/// Something that holds now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    pub kind: Kind,
    pub scope: Scope,
    /// What it is about: a component, an outside system, a queue, a source, an application. Two
    /// conditions of one kind and one subject are the same.
    pub subject: String,
    /// What is wrong, in one line, with figures; shows no secret.
    pub cause: String,
    pub since: Micros,
    /// A page of the dashboard.
    pub link: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_name_of_its_own() {
        for kind in Kind::ALL {
            assert_eq!(Kind::from_name(kind.name()), Some(kind));
        }
        assert_eq!(Kind::from_name("nothing"), None);
    }
}
