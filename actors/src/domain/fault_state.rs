//! Where a fault stands, and what people do about that.
//!
//! ```text
//!          ┌──── resolve ────┐            ┌─ merged ─▶ (nothing leads back)
//!          │                 ▼            │
//!  new ─▶ open ◀─ reopen ─ resolved       │   mute ─▶ muted ─ unmute, or its end ─▶ what it was
//!          ▲                 │            │
//!          └── happens again ┘            │
//! ```
//!
//! A fault is resolved when a person says so, or when its ticket is done in the tracker. Resolving a
//! fault leaves the ticket as it is: what a project's "done" is, only its people know. A fault that is
//! muted is counted, but nothing is done about it.

use serde_json::{Value, json};

use super::{
    fault::FaultId,
    time::{Micros, rfc3339},
};

/// Where a fault stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    Open,
    Resolved,
    Muted,
    Merged,
}

impl State {
    pub const ALL: [Self; 4] = [Self::Open, Self::Resolved, Self::Muted, Self::Merged];

    /// The name in answers and filters.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Resolved => "resolved",
            Self::Muted => "muted",
            Self::Merged => "merged",
        }
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Whether `step` is possible from here: all there are.
    ///
    /// # Errors
    /// When it is not.
    pub fn check(self, step: Step) -> Result<(), Illegal> {
        match (self, step) {
            (Self::Open | Self::Muted, Step::Resolve)
            | (Self::Resolved, Step::Reopen)
            | (Self::Open | Self::Resolved | Self::Muted, Step::Mute { .. })
            | (Self::Muted, Step::Unmute) => Ok(()),
            (state, step) => Err(Illegal { state, step: step.name() }),
        }
    }
}

/// What a person does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is over; this also ends a mute.
    Resolve,
    Reopen,
    /// Until then, or for ever; a mute is changed by another one.
    Mute {
        until: Option<Micros>,
    },
    Unmute,
}

impl Step {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::Reopen => "reopen",
            Self::Mute { .. } => "mute",
            Self::Unmute => "unmute",
        }
    }

    /// What the audit trail says beside that: from where, until when, and why.
    #[must_use]
    pub fn details(self, from: State, comment: &str) -> Value {
        let mut details = json!({ "from": from.name() });
        if let Self::Mute { until } = self {
            details["until"] = json!(until.map(rfc3339));
        }
        if !comment.is_empty() {
            details["comment"] = json!(comment);
        }
        details
    }

    /// The word for it in the audit trail.
    #[must_use]
    pub const fn action(self) -> &'static str {
        match self {
            Self::Resolve => "fault.resolve",
            Self::Reopen => "fault.reopen",
            Self::Mute { .. } => "fault.mute",
            Self::Unmute => "fault.unmute",
        }
    }
}

/// A transition that there is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a fault that is {} cannot {step}", .state.name())]
pub struct Illegal {
    pub state: State,
    pub step: &'static str,
}

/// Nothing is to be done about a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mute {
    /// Who says so.
    pub by: String,
    /// None: for ever.
    pub until: Option<Micros>,
}

impl Mute {
    #[must_use]
    pub fn holds(&self, now: Micros) -> bool {
        self.until.is_none_or(|until| now < until)
    }

    /// As a decision says it.
    #[must_use]
    pub fn reason(&self) -> String {
        match self.until {
            Some(until) => format!("muted by {} until {}", self.by, rfc3339(until)),
            None => format!("muted by {}", self.by),
        }
    }
}

/// What is stored about where a fault stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    pub merged_into: Option<FaultId>,
    pub mute: Option<Mute>,
    /// Since then it is done, as a person or the tracker says.
    pub resolved_at: Option<Micros>,
    /// It happened again after that.
    pub has_come_back: bool,
}

impl Standing {
    #[must_use]
    pub fn state(&self, now: Micros) -> State {
        if self.merged_into.is_some() {
            State::Merged
        } else if self.mute.as_ref().is_some_and(|mute| mute.holds(now)) {
            State::Muted
        } else if self.resolved_at.is_some() && !self.has_come_back {
            State::Resolved
        } else {
            State::Open
        }
    }

    /// Whether `step` is possible now.
    ///
    /// # Errors
    /// When it is not.
    pub fn check(&self, step: Step, now: Micros) -> Result<(), Illegal> {
        self.state(now).check(step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MUTE: Step = Step::Mute { until: None };

    #[test]
    fn every_state_has_its_steps() {
        let steps = [Step::Resolve, Step::Reopen, MUTE, Step::Unmute];
        let possible = |state: State| -> Vec<&str> {
            let legal = steps.into_iter().filter(|step| state.check(*step).is_ok());
            legal.map(Step::name).collect()
        };
        assert_eq!(possible(State::Open), ["resolve", "mute"]);
        assert_eq!(possible(State::Resolved), ["reopen", "mute"]);
        assert_eq!(possible(State::Muted), ["resolve", "mute", "unmute"]);
        assert!(possible(State::Merged).is_empty());
        let problem = State::Open.check(Step::Unmute).map_err(|illegal| illegal.to_string());
        assert_eq!(problem, Err("a fault that is open cannot unmute".to_owned()));
        for state in State::ALL {
            assert_eq!(State::from_name(state.name()), Some(state));
        }
    }

    #[test]
    fn a_mute_hides_what_is_beneath_until_it_ends() {
        let mute = Mute { by: "anna".to_owned(), until: Some(10) };
        let muted =
            Standing { resolved_at: Some(1), mute: Some(mute.clone()), ..Standing::default() };
        assert_eq!((muted.state(9), muted.state(10)), (State::Muted, State::Resolved));
        let back = Standing { has_come_back: true, ..muted.clone() };
        assert_eq!(back.state(10), State::Open);
        let merged = Standing { merged_into: Some(7), ..muted };
        assert_eq!(merged.state(9), State::Merged);
        assert_eq!(mute.reason(), "muted by anna until 1970-01-01T00:00:00.00001Z");
        let for_ever = Mute { until: None, ..mute };
        assert!(for_ever.holds(Micros::MAX) && for_ever.reason() == "muted by anna");
    }
}
