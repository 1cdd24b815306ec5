//! Alerts: what the program tells people about itself. Whoever watches says which [`Condition`]s
//! hold now; which of them are new, told again or over is decided from what was told before. So
//! nobody need remember anything, and a crash neither loses an alert nor tells it twice.

use super::{
    notification::Urgency,
    rule::Class,
    shape::{cut, secret::without_secrets},
    time::Micros,
};

pub mod advice;
pub mod decide;
pub mod delivery;
pub mod letter;
pub mod quiet;
pub mod unstored;

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

/// How loudly an alert of this class is told.
#[must_use]
pub const fn urgency(class: Class) -> Urgency {
    match class {
        Class::P0 | Class::P1 => Urgency::Critical,
        Class::P2 => Urgency::Warning,
        Class::P3 => Urgency::Info,
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

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certainty {
    Holds,
    /// It may: not yet for long enough, or nobody can know yet. An alert that is open stays open, but
    /// none is opened or told.
    MayHold,
}

/// Something that holds now, or may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    pub kind: Kind,
    pub certainty: Certainty,
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

/// As the subject of a condition that may hold: nobody can know of what it does, and so each open alert
/// of its kind, seen by the same, stays open.
pub const ANY: &str = "";

/// What makes two conditions the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub kind: Kind,
    pub subject: String,
    /// The hub that sees it; empty where all of them do.
    pub hub: String,
}

/// Longer ones are cut, in bytes.
const LONGEST_SUBJECT: usize = 200;
const LONGEST_CAUSE: usize = 1_000;

impl Condition {
    /// What it is known by, on the hub of this name.
    #[must_use]
    pub fn key(&self, hub: &str) -> Key {
        let hub = match self.scope {
            Scope::Hub => hub.to_owned(),
            Scope::Shared => String::new(),
        };
        Key { kind: self.kind, subject: one_line(&self.subject, LONGEST_SUBJECT), hub }
    }

    /// Whether it may hold of [`ANY`] subject.
    #[must_use]
    pub fn is_of_any(&self) -> bool {
        self.certainty == Certainty::MayHold && self.subject == ANY
    }

    /// Its cause as it may be stored and told: one line, bounded, without secrets.
    #[must_use]
    pub fn told_cause(&self) -> String {
        one_line(&without_secrets(cut(&self.cause, LONGEST_CAUSE)), LONGEST_CAUSE)
    }
}

/// `text` without line breaks and other control characters, so that it can stand in a header.
fn one_line(text: &str, most: usize) -> String {
    let is_control = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    let line: String = text.chars().map(|c| if is_control(c) { ' ' } else { c }).collect();
    cut(line.trim(), most).to_owned()
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

    #[test]
    fn a_cause_is_one_line_without_secrets() {
        let condition = Condition {
            kind: Kind::PartnerDown,
            certainty: Certainty::Holds,
            scope: Scope::Hub,
            subject: "jira\r\nBcc: all@example.com".to_owned(),
            cause: format!("password=hunter2secret\r\nX-Evil: 1{}", "é".repeat(2_000)),
            since: 0,
            link: "/",
        };
        let (key, cause) = (condition.key("one"), condition.told_cause());
        assert_eq!((key.subject.as_str(), key.hub.as_str()), ("jira  Bcc: all@example.com", "one"));
        assert!(!cause.contains(['\r', '\n']) && !cause.contains("hunter2"), "{cause}");
        assert!(cause.len() <= LONGEST_CAUSE);
        let shared = Condition { scope: Scope::Shared, ..condition };
        assert_eq!(shared.key("one"), shared.key("other"));
    }
}
