//! Jobs: durable intents to act on the tracker, and the states they go through.
//!
//! ```text
//!             ┌──────────────── retried by a person ───────────────┐
//!             ▼                                                    │
//!  waiting ─▶ active ─▶ completed                                dead ─▶ discarded
//!    ▲  ▲      │ │ │                                               ▲
//!    │  │      │ │ └── refused, or failed too often ───────────────┤
//!    │  └─ delayed ◀── failed, throttled                           │
//!    │           │                                                 │
//!    │         unknown ◀── may have been done: look before doing it again
//!    └───────────┘ not there
//! ```

use serde::{Deserialize, Serialize};

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// To be done now.
    Waiting,
    /// Somebody is at it, under a lease.
    Active,
    /// To be done again later.
    Delayed,
    Completed,
    /// Given up; people retry or discard it.
    Dead,
    /// It may have been done: that is looked up before it is done again.
    Unknown,
    /// People said that it shall not be done.
    Discarded,
}

impl State {
    pub const ALL: [Self; 7] = [
        Self::Waiting,
        Self::Active,
        Self::Delayed,
        Self::Completed,
        Self::Dead,
        Self::Unknown,
        Self::Discarded,
    ];

    /// The name in the store, in answers and in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Active => "active",
            Self::Delayed => "delayed",
            Self::Completed => "completed",
            Self::Dead => "dead",
            Self::Unknown => "unknown",
            Self::Discarded => "discarded",
        }
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Whether a job comes to an end here, unless people have it done again: that is counted.
    #[must_use]
    pub const fn is_end(self) -> bool {
        matches!(self, Self::Completed | Self::Dead | Self::Discarded)
    }

    /// Where `step` leads from here: all transitions there are.
    ///
    /// # Errors
    /// When there is no such transition.
    pub fn after(self, step: Step) -> Result<Self, Illegal> {
        use State::{Active, Completed, Dead, Delayed, Discarded, Unknown, Waiting};
        match (self, step) {
            (Waiting | Delayed | Unknown, Step::Claim) | (Active, Step::Relieve) => Ok(Active),
            (Active, Step::Complete) => Ok(Completed),
            (Active, Step::Delay) => Ok(Delayed),
            (Active, Step::LoseTrack) => Ok(Unknown),
            (Active, Step::GiveUp) => Ok(Dead),
            (Dead | Delayed | Unknown | Discarded, Step::Retry)
            | (Active, Step::NotThere | Step::Release) => Ok(Waiting),
            (Waiting | Delayed | Unknown | Dead, Step::Discard) => Ok(Discarded),
            (state, step) => Err(Illegal { state, step }),
        }
    }
}

/// What happens to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// A worker takes it.
    Claim,
    /// Another worker takes it: the lease of the one that had it has run out.
    Relieve,
    /// It is done.
    Complete,
    /// It is to be done later: it failed, or must wait its turn.
    Delay,
    /// Nobody knows whether it was done.
    LoseTrack,
    /// It was looked for for long enough: it was not done.
    NotThere,
    /// The worker gives it back untouched.
    Release,
    /// It was refused for good, or failed too often.
    GiveUp,
    /// A person has it done again.
    Retry,
    /// A person has it not done.
    Discard,
}

impl Step {
    /// The word for it in the audit trail.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Claim => "claim",
            Self::Relieve => "relieve",
            Self::Complete => "complete",
            Self::Delay => "delay",
            Self::LoseTrack => "lose_track",
            Self::NotThere => "not_there",
            Self::Release => "release",
            Self::GiveUp => "give_up",
            Self::Retry => "retry",
            Self::Discard => "discard",
        }
    }
}

/// A transition that there is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a job that is {} cannot {}", .state.name(), .step.name())]
pub struct Illegal {
    pub state: State,
    pub step: Step,
}

/// What a job does in the tracker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Make the ticket.
    Create,
    /// Write a comment.
    Comment,
    /// Open a ticket that was done, and say why.
    Reopen,
    /// Give the ticket a new text.
    Edit,
}

impl Action {
    pub const ALL: [Self; 4] = [Self::Create, Self::Comment, Self::Reopen, Self::Edit];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Comment => "comment",
            Self::Reopen => "reopen",
            Self::Edit => "edit",
        }
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: [Step; 10] = [
        Step::Claim,
        Step::Relieve,
        Step::Complete,
        Step::Delay,
        Step::LoseTrack,
        Step::NotThere,
        Step::Release,
        Step::GiveUp,
        Step::Retry,
        Step::Discard,
    ];

    #[test]
    fn what_is_done_stays_done() {
        for step in STEPS {
            assert!(State::Completed.after(step).is_err(), "{step:?}");
        }
    }

    #[test]
    fn only_a_worker_ends_what_it_works_at() {
        for step in [Step::Claim, Step::Retry, Step::Discard] {
            assert_eq!(State::Active.after(step), Err(Illegal { state: State::Active, step }));
        }
        assert_eq!(State::Active.after(Step::LoseTrack), Ok(State::Unknown));
        let problem = State::Active.after(Step::Retry).map_err(|illegal| illegal.to_string());
        assert_eq!(problem, Err("a job that is active cannot retry".to_owned()));
    }

    #[test]
    fn every_state_but_the_last_ones_leads_on() {
        for state in State::ALL {
            let ways = STEPS.into_iter().filter(|step| state.after(*step).is_ok()).count();
            assert_eq!(ways == 0, state == State::Completed, "{state:?}");
            assert_eq!(State::from_name(state.name()), Some(state));
        }
    }
}
