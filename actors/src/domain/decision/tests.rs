//! Decisions, one by one.

use std::time::Duration;

use super::*;
use crate::domain::rule::Milestones;

const SECOND: Micros = 1_000_000;
const HOUR: Micros = 3_600 * SECOND;

fn fault(count: u64, ticket: Option<Ticket>) -> Undecided {
    let incident = u32::from(ticket.is_some());
    let (resolved_at, mute) = (None, None);
    Undecided { fault: 7, count, last_seen: 10 * HOUR, ticket, incident, resolved_at, mute }
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
    // A milestone whose comment was given up, or has to wait, is passed for good.
    for commented_at in [0, 10 * HOUR - SECOND] {
        let passed = fault(12, Some(Ticket { commented_at, ..ticket() }));
        let over = decided(&passed, quiet(Duration::ZERO));
        assert_eq!(over.todo, Todo::Quiet { since: 10 * HOUR });
    }
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

/// As people have resolved it, an hour before it was last seen.
fn resolved(ticket: Option<Ticket>) -> Undecided {
    Undecided { resolved_at: Some(9 * HOUR), ..fault(2, ticket) }
}

#[test]
fn what_a_person_resolved_comes_back_like_a_ticket_that_was_done() {
    for (ticket, recurrence, todo) in [
        (None, Recurrence::Reopen, Todo::Create { incident: 1 }),
        (None, Recurrence::Create, Todo::Create { incident: 1 }),
        (None, Recurrence::Nothing, Todo::Nothing),
        (Some(ticket()), Recurrence::Reopen, Todo::Reopen { resolved_at: 9 * HOUR }),
        (Some(ticket()), Recurrence::Create, Todo::Create { incident: 2 }),
        (Some(ticket()), Recurrence::Nothing, Todo::Nothing),
    ] {
        let back = resolved(ticket);
        assert_eq!(back.state(), FaultState::Regression);
        let decision = decided(&back, Plan { recurrence, ..plan() });
        let comeback = if todo == Todo::Nothing { Comeback::Noticed } else { Comeback::Heeded };
        assert_eq!((decision.todo, decision.comeback), (todo, comeback));
        assert!(decision.reason.contains("it was resolved"), "{}", decision.reason);
    }
    let making = Ticket { key: None, ..ticket() };
    let waits = decided(&resolved(Some(making)), plan());
    assert_eq!((waits.todo, waits.comeback), (Todo::Nothing, Comeback::Noticed));
}

#[test]
fn what_is_resolved_and_not_seen_since_stays_so() {
    let cool = Plan { cool_off: Duration::from_hours(1), ..plan() };
    for ticket in [None, Some(ticket())] {
        let decision = decided(&resolved(ticket), cool.clone());
        assert_eq!((decision.todo, decision.comeback), (Todo::Nothing, Comeback::No));
    }
    // The later of the two counts.
    let both = Undecided { resolved_at: Some(10 * HOUR - SECOND), ..fault(2, Some(done("Done"))) };
    assert_eq!(decided(&both, plan()).todo, Todo::Nothing);
    let wont = decided(&resolved(Some(done("won't do"))), plan());
    assert_eq!((wont.todo, wont.comeback), (Todo::Nothing, Comeback::No));
}

#[test]
fn that_it_came_back_is_noticed_whatever_the_rules_want() {
    for verdict in [Verdict::NoRule, Verdict::Ignored { rule: "noise".to_owned() }] {
        let decision = decide(&resolved(None), &verdict, &Tracker::default(), 10 * HOUR);
        assert_eq!((decision.todo, decision.comeback), (Todo::Nothing, Comeback::Noticed));
    }
}

#[test]
fn nothing_is_done_about_what_is_muted() {
    let mute = |until| Some(Mute { by: "anna".to_owned(), until });
    for known in [fault(12, None), fault(12, Some(ticket())), fault(2, Some(done("Done")))] {
        let for_ever = Undecided { mute: mute(None), ..known.clone() };
        let decision = decided(&for_ever, plan());
        assert_eq!((&decision.todo, decision.again_at), (&Todo::Nothing, None));
        assert_eq!(decision.reason, "muted by anna");
        let a_while = Undecided { mute: mute(Some(11 * HOUR)), ..known.clone() };
        let decision = decided(&a_while, plan());
        assert_eq!((&decision.todo, decision.again_at), (&Todo::Nothing, Some(11 * HOUR)));
        let over = Undecided { mute: mute(Some(10 * HOUR)), ..known.clone() };
        assert_eq!(decided(&over, plan()), decided(&known, plan()));
        assert_ne!(decided(&over, plan()).todo, Todo::Nothing);
    }
}

#[test]
fn by_hand_there_is_a_new_ticket_unless_one_is_open() {
    let tracker = Tracker { is_there: true, wont_fix: Vec::new() };
    assert_eq!(by_hand(None, 0, &tracker), Ok(1));
    assert_eq!(by_hand(Some(&done("Won't Do")), 1, &tracker), Ok(2));
    assert_eq!(by_hand(Some(&ticket()), 1, &tracker), Err(HasTicket::Open("OPS-1".to_owned())));
    let making = Ticket { key: None, ..ticket() };
    assert_eq!(by_hand(Some(&making), 1, &tracker), Err(HasTicket::InTheMaking));
    let dry = Ticket { key: None, is_dry_run: true, ..ticket() };
    assert_eq!(by_hand(Some(&dry), 1, &tracker), Ok(2));
    assert_eq!(by_hand(Some(&dry), 1, &Tracker::default()), Err(HasTicket::DryRun));
}
