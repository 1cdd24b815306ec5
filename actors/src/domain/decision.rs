//! What is done about a fault: whether it gets a ticket, a comment, or none of these, and why.
//!
//! A pure function of the fault, its latest ticket and what the rules say. Whatever it decides is
//! written down, also when nothing is done, so that nobody has to guess.

use super::{
    fault::FaultId,
    rule::{Plan, Recurrence, Verdict},
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
}

impl Decision {
    fn nothing(reason: impl Into<String>) -> Self {
        Self { todo: Todo::Nothing, reason: reason.into(), again_at: None }
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

/// Its ticket is open.
fn goes_on(fault: &Undecided, ticket: &Ticket, plan: &Plan, now: Micros) -> Decision {
    let reason = "it has a ticket";
    if ticket.key.is_none() && !ticket.is_dry_run {
        return Decision::nothing("its ticket is being made");
    }
    let quiet_at = plan.auto_resolve_after.map(|wait| later(fault.last_seen, wait));
    if let Some(milestone) = plan.milestones.passed(ticket.commented_count, fault.count) {
        let not_before = later(ticket.commented_at, plan.comment_every);
        if now < not_before {
            let soonest = quiet_at.map_or(not_before, |quiet_at| quiet_at.min(not_before));
            return Decision::nothing(reason).again(soonest);
        }
        let todo = Todo::Comment { milestone };
        return Decision { todo, reason: reason.to_owned(), again_at: quiet_at };
    }
    match quiet_at {
        Some(quiet_at) if now >= quiet_at => Decision {
            todo: Todo::Quiet { since: fault.last_seen },
            reason: "it has a ticket, and was not seen for long".to_owned(),
            again_at: None,
        },
        Some(quiet_at) => Decision::nothing(reason).again(quiet_at),
        None => Decision::nothing(reason),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::rule::Milestones;

    const SECOND: Micros = 1_000_000;
    const HOUR: Micros = 3_600 * SECOND;

    fn fault(count: u64, ticket: Option<Ticket>) -> Undecided {
        let incident = u32::from(ticket.is_some());
        Undecided { fault: 7, count, last_seen: 10 * HOUR, ticket, incident }
    }

    fn ticket() -> Ticket {
        Ticket {
            key: Some("OPS-1".to_owned()),
            is_dry_run: false,
            is_done: false,
            resolution: String::new(),
            resolved_at: None,
            commented_at: 0,
            commented_count: 1,
        }
    }

    fn done(resolution: &str) -> Ticket {
        let resolution = resolution.to_owned();
        Ticket { is_done: true, resolution, resolved_at: Some(9 * HOUR), ..ticket() }
    }

    fn plan() -> Plan {
        Plan {
            rule: "all".to_owned(),
            draft: crate::domain::ticket::Draft::default(),
            recurrence: Recurrence::Reopen,
            cool_off: Duration::from_mins(10),
            milestones: Milestones::PowersOfTen,
            comment_every: Duration::from_hours(1),
            auto_resolve_after: None,
            class: None,
            respond: None,
            template_problem: None,
        }
    }

    fn decided(fault: &Undecided, plan: Plan) -> Decision {
        let tracker = Tracker { is_there: true, wont_fix: vec!["Won't Do".to_owned()] };
        decide(fault, &Verdict::Ticket(Box::new(plan)), &tracker, 10 * HOUR)
    }

    #[test]
    fn a_fault_gets_one_ticket() {
        let first = decided(&fault(1, None), plan());
        assert_eq!(first.todo, Todo::Create { incident: 1 });
        assert!(first.reason.contains("\"all\""), "{}", first.reason);
        let making = Ticket { key: None, ..ticket() };
        assert_eq!(decided(&fault(2, Some(making)), plan()).todo, Todo::Nothing);
        assert_eq!(decided(&fault(2, Some(ticket())), plan()).todo, Todo::Nothing);
        let dry = Ticket { key: None, is_dry_run: true, ..ticket() };
        let real = decided(&fault(2, Some(dry.clone())), plan());
        assert_eq!(real.todo, Todo::Create { incident: 2 }, "there is a tracker now");
        let verdict = Verdict::Ticket(Box::new(plan()));
        let still = decide(&fault(2, Some(dry)), &verdict, &Tracker::default(), 10 * HOUR);
        assert_eq!(still.todo, Todo::Nothing);
    }

    #[test]
    fn whatever_is_not_done_has_its_reason() {
        let rule = || "noise".to_owned();
        for (verdict, expected, again_at) in [
            (Verdict::NoRule, "no rule matches", None),
            (Verdict::Ignored { rule: rule() }, "rule \"noise\" ignores it", None),
            (Verdict::Muted { rule: rule(), until: 7 }, "mutes it", Some(7)),
            (Verdict::TooYoung { rule: rule(), until: 8 }, "waits for it to last", Some(8)),
            (
                Verdict::Below {
                    rule: rule(),
                    needed: 5,
                    within: Some(Duration::from_mins(10)),
                    have: 2,
                },
                "2 of the 5 within 10m that rule \"noise\" needs",
                None,
            ),
        ] {
            let decision = decide(&fault(1, None), &verdict, &Tracker::default(), 0);
            assert_eq!((&decision.todo, decision.again_at), (&Todo::Nothing, again_at));
            assert!(decision.reason.contains(expected), "{}", decision.reason);
        }
    }

    #[test]
    fn a_milestone_is_told_once_in_a_while() {
        assert_eq!(decided(&fault(9, Some(ticket())), plan()).todo, Todo::Nothing);
        let tenth = decided(&fault(12, Some(ticket())), plan());
        assert_eq!(tenth.todo, Todo::Comment { milestone: 10 });
        let told = Ticket { commented_count: 12, ..ticket() };
        assert_eq!(decided(&fault(99, Some(told)), plan()).todo, Todo::Nothing);
        let just_now = Ticket { commented_at: 10 * HOUR - SECOND, ..ticket() };
        let waits = decided(&fault(12, Some(just_now)), plan());
        assert_eq!(waits.todo, Todo::Nothing);
        assert_eq!(waits.again_at, Some(11 * HOUR - SECOND));
    }

    #[test]
    fn silence_is_told_once() {
        let quiet = |after| Plan { auto_resolve_after: Some(after), ..plan() };
        let seen_at = fault(2, Some(ticket()));
        let waits = decided(&seen_at, quiet(Duration::from_hours(2)));
        assert_eq!((waits.todo, waits.again_at), (Todo::Nothing, Some(12 * HOUR)));
        let over = decided(&seen_at, quiet(Duration::ZERO));
        assert_eq!(over.todo, Todo::Quiet { since: 10 * HOUR });
        assert_eq!(over.again_at, None);
    }

    #[test]
    fn what_comes_back_is_opened_again_or_made_anew_as_the_rule_says() {
        let back = fault(2, Some(done("Done")));
        assert_eq!(decided(&back, plan()).todo, Todo::Reopen { resolved_at: 9 * HOUR });
        let anew = Plan { recurrence: Recurrence::Create, ..plan() };
        assert_eq!(decided(&back, anew).todo, Todo::Create { incident: 2 });
        let let_be = Plan { recurrence: Recurrence::Nothing, ..plan() };
        assert_eq!(decided(&back, let_be).todo, Todo::Nothing);
        let cool = Plan { cool_off: Duration::from_hours(2), ..plan() };
        assert_eq!(decided(&back, cool).todo, Todo::Nothing);
        let decision = decided(&fault(2, Some(done("won't do"))), plan());
        assert_eq!(decision.todo, Todo::Nothing);
        assert!(decision.reason.contains("won't do"));
    }
}
