//! What is done about a fault: whether it gets a ticket, a comment, or none of these, and why.
//!
//! A pure function of the fault, its latest ticket and what the rules say. Whatever it decides is
//! written down, also when nothing is done, so that nobody has to guess.

use std::time::Duration;

use super::{
    fault::FaultId,
    rule::{Plan, Recurrence, Verdict},
    time::Micros,
};

/// A fault about which something is to be decided.
#[derive(Clone, Debug)]
pub struct Undecided {
    pub fault: FaultId,
    pub count: u64,
    pub last_seen: Micros,
    pub ticket: Option<Ticket>,
    /// The newest incident; 0 before there is one.
    pub incident: u32,
}

/// The latest ticket of a fault, as far as Faultline knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// `None` until the tracker has said it.
    pub key: Option<String>,
    /// Made without a tracker.
    pub is_dry_run: bool,
    pub is_done: bool,
    pub resolution: String,
    pub resolved_at: Option<Micros>,
    /// The last comment, or the ticket's making.
    pub commented_at: Micros,
    /// The fault's count when it was made or last commented on.
    pub commented_count: u64,
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Todo {
    Nothing,
    /// The first ticket, or one more after the last was done.
    Create {
        incident: u32,
    },
    /// The count has passed a milestone.
    Comment {
        milestone: u64,
    },
    /// The ticket was done, and it happens again.
    Reopen {
        resolved_at: Micros,
    },
}

/// What to do, why, and when to look again though nothing happens.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    pub todo: Todo,
    pub reason: String,
    pub again_at: Option<Micros>,
}

impl Decision {
    fn nothing(reason: impl Into<String>) -> Self {
        Self { todo: Todo::Nothing, reason: reason.into(), again_at: None }
    }

    fn again(self, at: Micros) -> Self {
        Self { again_at: Some(at), ..self }
    }
}

fn later(at: Micros, wait: Duration) -> Micros {
    at.saturating_add(i64::try_from(wait.as_micros()).unwrap_or(i64::MAX))
}

/// What there is to know of the tracker.
#[derive(Clone, Debug, Default)]
pub struct Tracker {
    /// There is one; this is no dry run.
    pub is_there: bool,
    /// Resolutions that say "let it be".
    pub wont_fix: Vec<String>,
}

/// Decides. A verdict that still needs a count is none yet.
#[must_use]
pub fn decide(fault: &Undecided, verdict: &Verdict, tracker: &Tracker, now: Micros) -> Decision {
    let plan = match verdict {
        Verdict::NoRule => return Decision::nothing("no rule matches"),
        Verdict::Ignored { rule } => {
            return Decision::nothing(format!("rule {rule:?} ignores it"));
        }
        Verdict::Muted { rule, until } => {
            return Decision::nothing(format!("rule {rule:?} mutes it for now")).again(*until);
        }
        Verdict::TooYoung { rule, until } => {
            return Decision::nothing(format!("rule {rule:?} waits for it to last")).again(*until);
        }
        Verdict::Below { rule, needed, within, have } => {
            let within = within.map_or(String::new(), |within| {
                let within = jiff::SignedDuration::try_from(within).unwrap_or_default();
                format!(" within {within:#}")
            });
            let reason = format!("{have} of the {needed}{within} that rule {rule:?} needs");
            return Decision::nothing(reason);
        }
        Verdict::NeedsCount { .. } => return Decision::nothing("not counted yet").again(now),
        Verdict::Ticket(plan) => plan,
    };
    match &fault.ticket {
        None => create(fault, plan),
        Some(ticket) if ticket.is_dry_run && tracker.is_there => create(fault, plan),
        Some(ticket) if ticket.is_done => came_back(fault, ticket, plan, tracker),
        Some(ticket) => goes_on(fault, ticket, plan, now),
    }
}

fn create(fault: &Undecided, plan: &Plan) -> Decision {
    Decision {
        todo: Todo::Create { incident: fault.incident + 1 },
        reason: format!("a ticket by rule {:?}", plan.rule),
        again_at: None,
    }
}

/// It happens after its ticket was done.
fn came_back(fault: &Undecided, ticket: &Ticket, plan: &Plan, tracker: &Tracker) -> Decision {
    let resolved_at = ticket.resolved_at.unwrap_or(ticket.commented_at);
    if tracker.wont_fix.iter().any(|name| name.eq_ignore_ascii_case(&ticket.resolution)) {
        return Decision::nothing(format!("its ticket was closed as {:?}", ticket.resolution));
    }
    if fault.last_seen <= later(resolved_at, plan.cool_off) {
        return Decision::nothing("its ticket was done only just before");
    }
    let reason = format!("it came back after its ticket was done, by rule {:?}", plan.rule);
    match plan.recurrence {
        Recurrence::Nothing => Decision::nothing(format!(
            "it came back after its ticket was done, and rule {:?} lets that be",
            plan.rule
        )),
        Recurrence::Create => {
            Decision { todo: Todo::Create { incident: fault.incident + 1 }, reason, again_at: None }
        }
        Recurrence::Reopen => {
            Decision { todo: Todo::Reopen { resolved_at }, reason, again_at: None }
        }
    }
}

/// It happens while its ticket is open.
fn goes_on(fault: &Undecided, ticket: &Ticket, plan: &Plan, now: Micros) -> Decision {
    let reason = "it has a ticket";
    if ticket.key.is_none() && !ticket.is_dry_run {
        return Decision::nothing("its ticket is being made");
    }
    let Some(milestone) = plan.milestones.passed(ticket.commented_count, fault.count) else {
        return Decision::nothing(reason);
    };
    let not_before = later(ticket.commented_at, plan.comment_every);
    if now < not_before {
        return Decision::nothing(reason).again(not_before);
    }
    Decision { todo: Todo::Comment { milestone }, reason: reason.to_owned(), again_at: None }
}
