//! What is done about a fault: whether it gets a ticket, a comment, or none of these, and why.
//!
//! A pure function of the fault, its latest ticket and what the rules say. Whatever it decides is
//! written down, also when nothing is done, so that nobody has to guess.

use super::{
    fault::FaultId,
    fault_state::Mute,
    rule::{COOL_OFF, FaultState, Plan, Recurrence, Verdict},
    time::{Micros, later},
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
    /// A person has resolved it then, or its ticket was done.
    pub resolved_at: Option<Micros>,
    pub mute: Option<Mute>,
}

impl Undecided {
    /// Since when it is done, as a person or its ticket says.
    fn done_at(&self) -> Option<Micros> {
        let ticket = self.ticket.as_ref().filter(|ticket| ticket.is_done);
        self.resolved_at.max(ticket.map(Ticket::done_at))
    }

    /// As rules see it.
    #[must_use]
    pub fn state(&self) -> FaultState {
        match (&self.ticket, self.done_at()) {
            (_, Some(_)) => FaultState::Regression,
            (None, None) => FaultState::New,
            (Some(_), None) => FaultState::Known,
        }
    }
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

impl Ticket {
    fn done_at(&self) -> Micros {
        self.resolved_at.unwrap_or(self.commented_at)
    }

    fn is_being_made(&self) -> bool {
        self.key.is_none() && !self.is_dry_run
    }

    fn is_wont_fix(&self, tracker: &Tracker) -> bool {
        let is_it = |name: &String| name.eq_ignore_ascii_case(&self.resolution);
        self.is_done && tracker.wont_fix.iter().any(is_it)
    }
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
    /// Nothing was seen of it for long.
    Quiet {
        since: Micros,
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
    pub comeback: Comeback,
}

/// Whether a fault that was resolved happens again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Comeback {
    #[default]
    No,
    /// It does, and nothing is done about that so far.
    Noticed,
    /// It does, and something is done: it is like any other from here on.
    Heeded,
}

impl Decision {
    fn to(todo: Todo, reason: impl Into<String>) -> Self {
        Self { todo, reason: reason.into(), again_at: None, comeback: Comeback::No }
    }

    fn nothing(reason: impl Into<String>) -> Self {
        Self::to(Todo::Nothing, reason)
    }

    fn again(self, at: Micros) -> Self {
        Self { again_at: Some(at), ..self }
    }
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
    let decision = match (&fault.mute, verdict) {
        (Some(mute), _) if mute.holds(now) => {
            Decision { again_at: mute.until, ..Decision::nothing(mute.reason()) }
        }
        (_, Verdict::Ticket(plan)) => by_plan(fault, plan, tracker, now),
        (_, verdict) => no_ticket(verdict, now),
    };
    let cool_off = match verdict {
        Verdict::Ticket(plan) => plan.cool_off,
        _ => COOL_OFF,
    };
    let is_wont_fix = fault.ticket.as_ref().is_some_and(|ticket| ticket.is_wont_fix(tracker));
    let is_back = fault.done_at().is_some_and(|at| fault.last_seen > later(at, cool_off));
    let comeback = match decision.todo {
        _ if is_wont_fix || !is_back => Comeback::No,
        Todo::Create { .. } | Todo::Reopen { .. } => Comeback::Heeded,
        Todo::Nothing | Todo::Comment { .. } | Todo::Quiet { .. } => Comeback::Noticed,
    };
    Decision { comeback, ..decision }
}

/// The rules want no ticket, or none yet.
fn no_ticket(verdict: &Verdict, now: Micros) -> Decision {
    match verdict {
        Verdict::NoRule => Decision::nothing("no rule matches"),
        Verdict::Ignored { rule } => Decision::nothing(format!("rule {rule:?} ignores it")),
        Verdict::Muted { rule, until } => {
            Decision::nothing(format!("rule {rule:?} mutes it for now")).again(*until)
        }
        Verdict::TooYoung { rule, until } => {
            Decision::nothing(format!("rule {rule:?} waits for it to last")).again(*until)
        }
        Verdict::Below { rule, needed, within, have } => {
            let within = within.map_or(String::new(), |within| {
                let within = jiff::SignedDuration::try_from(within).unwrap_or_default();
                format!(" within {within:#}")
            });
            Decision::nothing(format!("{have} of the {needed}{within} that rule {rule:?} needs"))
        }
        Verdict::NeedsCount { .. } | Verdict::Ticket(_) => {
            Decision::nothing("not counted yet").again(now)
        }
    }
}

fn by_plan(fault: &Undecided, plan: &Plan, tracker: &Tracker, now: Micros) -> Decision {
    // One that was only made up is none, where there is a tracker now.
    let is_real = |ticket: &&Ticket| !(ticket.is_dry_run && tracker.is_there);
    let ticket = fault.ticket.as_ref().filter(is_real);
    match (ticket, fault.done_at()) {
        (ticket, Some(done_at)) => came_back(fault, ticket, done_at, plan, tracker),
        (None, None) => create(fault, format!("a ticket by rule {:?}", plan.rule)),
        (Some(ticket), None) => goes_on(fault, ticket, plan, now),
    }
}

fn create(fault: &Undecided, reason: impl Into<String>) -> Decision {
    Decision::to(Todo::Create { incident: fault.incident + 1 }, reason)
}

/// It was done. Where it happens again after that, the rule says what is done.
fn came_back(
    fault: &Undecided,
    ticket: Option<&Ticket>,
    done_at: Micros,
    plan: &Plan,
    tracker: &Tracker,
) -> Decision {
    let is_done = ticket.is_some_and(|ticket| ticket.is_done);
    let done = if is_done { "its ticket was done" } else { "it was resolved" };
    if let Some(ticket) = ticket.filter(|ticket| ticket.is_wont_fix(tracker)) {
        return Decision::nothing(format!("its ticket was closed as {:?}", ticket.resolution));
    }
    if fault.last_seen <= later(done_at, plan.cool_off) {
        return Decision::nothing(format!("{done} only just before"));
    }
    let reason = format!("it came back after {done}, by rule {:?}", plan.rule);
    match (plan.recurrence, ticket) {
        (_, Some(ticket)) if ticket.is_being_made() => {
            Decision::nothing("its ticket is being made")
        }
        (Recurrence::Nothing, _) => {
            let rule = &plan.rule;
            Decision::nothing(format!("it came back after {done}, and rule {rule:?} lets that be"))
        }
        (Recurrence::Create, _) | (Recurrence::Reopen, None) => create(fault, reason),
        (Recurrence::Reopen, Some(_)) => {
            Decision::to(Todo::Reopen { resolved_at: done_at }, reason)
        }
    }
}

/// Its ticket is open.
fn goes_on(fault: &Undecided, ticket: &Ticket, plan: &Plan, now: Micros) -> Decision {
    let reason = "it has a ticket";
    if ticket.is_being_made() {
        return Decision::nothing("its ticket is being made");
    }
    let quiet_at = plan.auto_resolve_after.map(|wait| later(fault.last_seen, wait));
    // Before milestones: one whose comment is given up, or has to wait, must not keep it open.
    if quiet_at.is_some_and(|quiet_at| now >= quiet_at) {
        return Decision::to(
            Todo::Quiet { since: fault.last_seen },
            "it has a ticket, and was not seen for long",
        );
    }
    let Some(milestone) = plan.milestones.passed(ticket.commented_count, fault.count) else {
        return Decision { again_at: quiet_at, ..Decision::nothing(reason) };
    };
    let not_before = later(ticket.commented_at, plan.comment_every);
    if now < not_before {
        let soonest = quiet_at.map_or(not_before, |quiet_at| quiet_at.min(not_before));
        return Decision::nothing(reason).again(soonest);
    }
    let decision = Decision::to(Todo::Comment { milestone }, reason);
    Decision { again_at: quiet_at, ..decision }
}

/// Why a person cannot have a ticket made, or linked, now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HasTicket {
    #[error("its ticket {0} is open")]
    Open(String),
    #[error("its ticket is being made")]
    InTheMaking,
    #[error("it has a ticket, made without a tracker")]
    DryRun,
}

/// The incident of a ticket that a person wants, whatever the rules say.
///
/// # Errors
/// When there is one that is not done.
pub fn by_hand(
    ticket: Option<&Ticket>,
    incident: u32,
    tracker: &Tracker,
) -> Result<u32, HasTicket> {
    match ticket {
        Some(ticket) if ticket.is_being_made() => Err(HasTicket::InTheMaking),
        Some(ticket) if ticket.is_dry_run && !tracker.is_there => Err(HasTicket::DryRun),
        Some(Ticket { key: Some(key), is_done: false, is_dry_run: false, .. }) => {
            Err(HasTicket::Open(key.clone()))
        }
        _ => Ok(incident + 1),
    }
}

#[cfg(test)]
mod tests;
