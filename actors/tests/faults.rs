//! The conformance suite of what people see of faults and do with them: whatever is promised of
//! `FaultStore` holds for both stores.

#![expect(clippy::unwrap_used, reason = "a failing test is told by a panic")]

use std::{collections::BTreeMap, time::Duration};

use faultline_actors::{
    adapters::{
        journal::Origin,
        store::{
            Commit, Store, StoreError,
            faults::{
                ByHand, Direction, FaultFilter, Link, ListedFault, NewFault, Place, SortBy,
                Sorting, SteerError, WithTicket,
            },
            jobs::{
                Decided, JobFilter, Outcome, SeenTicket, Steer, TicketChange, Undecided, Which,
            },
        },
    },
    domain::{
        decision::{Comeback, HasTicket, Tracker},
        event::{Severity, Source},
        fault::FaultId,
        fault_state::{State, Step as FaultStep},
        job::{Action, Step},
        lesson::Lesson,
        time::{HOUR, parse_rfc3339},
    },
};
use serde_json::{Value, json};
use uuid::Uuid;

#[path = "support/batches.rs"]
mod batches;
#[path = "support/stores.rs"]
mod stores;

use batches::batch;

/// When everything here happens, hour by hour.
fn hour(number: i64) -> i64 {
    parse_rfc3339(b"2026-11-22T00:00:00Z").unwrap() + number * HOUR
}

/// A journal whose records the store commits one after another.
struct Journal<'a> {
    store: &'a dyn Store,
    origin: Origin,
    after: u64,
}

impl<'a> Journal<'a> {
    async fn new(store: &'a dyn Store) -> Self {
        let origin = Origin::now_v7();
        store.position(origin).await.unwrap();
        Self { store, origin, after: 0 }
    }

    /// One record with these reports; gives the faults that they belong to.
    async fn commit(&mut self, reports: Value) -> Vec<FaultId> {
        let commit = self.next(&reports);
        self.after += 1;
        self.store.commit(&commit).await.unwrap().faults
    }

    fn next(&self, reports: &Value) -> Commit {
        let batches = vec![batch(self.after + 1, Source::Errors, reports.to_string().as_bytes())];
        Commit { origin: self.origin, after: self.after, batches }
    }
}

fn report(message: &str, minutes: i64) -> Value {
    let at = jiff::Timestamp::from_microsecond(hour(0) + minutes * HOUR / 60).unwrap();
    json!({ "message": message, "timestamp": at.to_string(), "environment": "prod" })
}

fn with(mut report: Value, key: &str, value: &str) -> Value {
    report[key] = json!(value);
    report
}

async fn list(store: &dyn Store, filter: FaultFilter) -> Vec<ListedFault> {
    store.list_faults(&filter, Sorting::default(), None, 100).await.unwrap()
}

async fn titles(store: &dyn Store, filter: FaultFilter) -> Vec<String> {
    list(store, filter).await.into_iter().map(|listed| listed.fault.title).collect()
}

async fn state(store: &dyn Store, fault: FaultId) -> State {
    let filter = FaultFilter { ids: Some(vec![fault]), ..FaultFilter::default() };
    let listed = list(store, filter).await.pop().unwrap();
    let state = listed.standing.state(now());
    // The filter and what is read of it agree.
    let filter = FaultFilter { state: Some(state), ..FaultFilter::default() };
    assert!(list(store, filter).await.iter().any(|listed| listed.fault.id == fault), "{state:?}");
    state
}

fn now() -> i64 {
    jiff::Timestamp::now().as_microsecond()
}

fn tracker() -> Tracker {
    Tracker { is_there: true, wont_fix: Vec::new() }
}

fn by_hand(locator: &str) -> ByHand {
    let request = json!({ "project": "OPS", "issue_type": "Bug", "summary": "s" });
    ByHand { who: "anna".to_owned(), request, locator: locator.to_owned() }
}

fn link(key: &str, locator: &str) -> Link {
    let request = json!({ "update": { "labels": [{ "add": "faultline" }] } });
    let (key, locator) = (key.to_owned(), locator.to_owned());
    Link { who: "anna".to_owned(), key, seen: None, locator, request }
}

fn seen(key: &str, is_done: bool, changed_at: i64) -> SeenTicket {
    SeenTicket {
        id: Some(format!("number of {key}")),
        key: key.to_owned(),
        labels: Vec::new(),
        status: if is_done { "Done" } else { "To Do" }.to_owned(),
        is_done,
        resolution: String::new(),
        resolved_at: is_done.then_some(changed_at),
        changed_at,
    }
}

async fn known(store: &dyn Store, fault: FaultId) -> Undecided {
    store.undecided(Which::Known(fault), 1).await.unwrap().pop().unwrap()
}

fn decided(undecided: &Undecided, comeback: Comeback) -> Decided {
    Decided {
        fault: undecided.fault.fault,
        environment: undecided.environment.clone(),
        title: undecided.title.clone(),
        count: undecided.fault.count,
        incident: undecided.fault.incident,
        steered: undecided.steered,
        reason: format!("as it was, {comeback:?}"),
        again_at: None,
        comeback,
        intent: None,
    }
}

/// Has all due jobs done; tickets get this key.
async fn work(store: &dyn Store, key: &str) -> Vec<Action> {
    let holder = Uuid::new_v4();
    let mut done = Vec::new();
    for job in store.claim(holder, Duration::from_mins(1), 10).await.unwrap() {
        let (key, id) = (key.to_owned(), Some(format!("number of {key}")));
        let made = TicketChange::Made { key, id, is_dry_run: false };
        let ticket = (job.action == Action::Create).then_some(made);
        let outcome = Outcome { ticket, ..Outcome::new(Step::Complete) };
        assert!(store.settle(job.id, holder, &outcome).await.unwrap());
        done.push(job.action);
    }
    done
}

async fn a_list_is_filtered(store: &dyn Store) {
    let mut journal = Journal::new(store).await;
    let faults = journal
        .commit(json!([
            report("Cannot open /tmp/17 on the old disk", 1),
            with(report("the ÄPFEL are gone", 2), "service", "fruit"),
            with(report("out of paper", 3), "level", "critical"),
            with(report("the link is down", 4), "environment", "stage"),
        ]))
        .await;
    let all = || FaultFilter::default();
    let text = |text: &str| FaultFilter { text: Some(text.to_owned()), ..all() };
    assert_eq!(titles(store, all()).await.len(), 4);
    for (looked_for, found) in [
        ("cannot OPEN", "Cannot open <path> on the old disk"),
        ("äpfel", "the ÄPFEL are gone"),
        // Of the first message, and of what is masked in the template.
        ("/tmp/17", "Cannot open <path> on the old disk"),
        ("open * on", "Cannot open <path> on the old disk"),
    ] {
        assert_eq!(titles(store, text(looked_for)).await, [found], "{looked_for}");
    }
    for nothing in ["100%", "_", "%", "no such"] {
        assert!(titles(store, text(nothing)).await.is_empty(), "{nothing}");
    }
    let environment = FaultFilter { environment: Some("stage".to_owned()), ..all() };
    assert_eq!(titles(store, environment).await, ["the link is down"]);
    let service = FaultFilter { service: Some("fruit".to_owned()), ..all() };
    assert_eq!(titles(store, service).await, ["the ÄPFEL are gone"]);
    let severity = FaultFilter { severity: Some(Severity::Critical), ..all() };
    assert_eq!(titles(store, severity).await, ["out of paper"]);
    let kind = |kind: &str| FaultFilter { kind: Some(kind.to_owned()), ..all() };
    assert_eq!(titles(store, kind("error")).await.len(), 4);
    assert!(titles(store, kind("log")).await.is_empty());
    let new = FaultFilter { new_since: Some(hour(0) + 3 * HOUR / 60), ..all() };
    assert_eq!(titles(store, new).await, ["the link is down", "out of paper"]);
    let ids = FaultFilter { ids: Some(faults[..2].to_vec()), ..all() };
    assert_eq!(titles(store, ids).await.len(), 2);

    store.make_ticket(faults[0], &by_hand("fl-list"), &tracker()).await.unwrap();
    work(store, "OPS-1").await;
    let ticket = |ticket| FaultFilter { ticket: Some(ticket), ..all() };
    assert_eq!(titles(store, ticket(WithTicket::Some)).await.len(), 1);
    assert_eq!(titles(store, ticket(WithTicket::None)).await.len(), 3);
    let found = list(store, ticket(WithTicket::Key("OPS-1".to_owned()))).await;
    assert_eq!(found[0].fault.id, faults[0]);
    assert_eq!(found[0].ticket.as_ref().unwrap().key.as_deref(), Some("OPS-1"));
    assert!(titles(store, ticket(WithTicket::Key("OPS-2".to_owned()))).await.is_empty());

    let facets = store.facets().await.unwrap();
    assert_eq!(facets.environments, ["prod", "stage"]);
    assert_eq!(facets.services, ["fruit", "shop"]);
}

/// All pages of a list, `limit` at a time; between them `meanwhile` happens.
async fn walk(
    store: &dyn Store,
    sorting: Sorting,
    limit: u32,
    mut meanwhile: impl AsyncFnMut(),
) -> Vec<FaultId> {
    let (mut walked, mut after) = (Vec::new(), None);
    loop {
        let page = store.list_faults(&FaultFilter::default(), sorting, after, limit).await.unwrap();
        let Some(last) = page.last() else { return walked };
        after = Some(Place::behind(&last.fault, sorting.by));
        walked.extend(page.iter().map(|listed| listed.fault.id));
        meanwhile().await;
    }
}

const DOORS: [&str; 7] = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta"];

/// Seven faults, seen one after another; of two of them equally often.
async fn doors(journal: &mut Journal<'_>) -> Vec<FaultId> {
    let mut faults = Vec::new();
    for (door, number) in DOORS.iter().zip(0..) {
        let times = [3, 1, 4, 1, 5, 9, 2][number];
        let met = report(&format!("door {door} is stuck again"), i64::try_from(number).unwrap());
        faults.extend(journal.commit(vec![met; times].into()).await);
    }
    faults
}

async fn a_list_comes_in_pages(store: &dyn Store) {
    let mut journal = Journal::new(store).await;
    let faults = doors(&mut journal).await;
    for by in [SortBy::LastSeen, SortBy::FirstSeen, SortBy::Count, SortBy::Id] {
        let sorting = |direction| Sorting { by, direction };
        let whole = walk(store, sorting(Direction::Descending), 100, async || {}).await;
        assert_eq!(whole.len(), 7, "{by:?}");
        for limit in [1, 2, 3] {
            let down = walk(store, sorting(Direction::Descending), limit, async || {}).await;
            assert_eq!(down, whole, "{by:?} by {limit}");
            let mut up = walk(store, sorting(Direction::Ascending), limit, async || {}).await;
            up.reverse();
            assert_eq!(up, whole, "{by:?} by {limit}");
        }
    }
    let by_count = Sorting { by: SortBy::Count, ..Sorting::default() };
    let order = [5, 4, 2, 0, 6, 3, 1].map(|number| faults[number]);
    assert_eq!(walk(store, by_count, 3, async || {}).await, order);
}

/// What is met between two pages goes to the front; nothing comes twice, and what stays where it is
/// comes once.
async fn pages_are_right_while_the_order_moves(store: &dyn Store) {
    let mut journal = Journal::new(store).await;
    let faults = doors(&mut journal).await;
    for by in [SortBy::LastSeen, SortBy::Count] {
        let mut later = 100;
        let walked = walk(store, Sorting { by, ..Sorting::default() }, 2, async || {
            later += 1;
            // The last but one, again and again.
            let met = report("door beta is stuck again", later);
            journal.commit(vec![met; 50].into()).await;
        })
        .await;
        let mut once = walked.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), walked.len(), "{by:?}: nothing twice");
        for stays in faults.iter().filter(|fault| **fault != faults[1]) {
            assert!(walked.contains(stays), "{by:?}: {stays} in {walked:?}");
        }
    }
}

/// The hours of faults, from the first on.
async fn hours(store: &dyn Store, faults: &[FaultId]) -> BTreeMap<(FaultId, i64), i64> {
    let hours = store.fault_hours(faults, hour(0)).await.unwrap();
    hours.into_iter().map(|met| ((met.fault, (met.hour - hour(0)) / HOUR), met.count)).collect()
}

async fn hours_are_exact(store: &dyn Store) {
    let mut journal = Journal::new(store).await;
    let stuck = |minutes| report("the door is stuck", minutes);
    let faults =
        journal.commit(json!([stuck(59), stuck(0), stuck(60), stuck(190), stuck(-1)])).await;
    let door = faults[0];
    let expected = |list: &[(i64, i64)]| -> BTreeMap<_, _> {
        list.iter().map(|(at, count)| ((door, *at), *count)).collect()
    };
    assert_eq!(hours(store, &[door]).await, expected(&[(0, 2), (1, 1), (3, 1)]));
    // A record that is delivered again counts once.
    let again = journal.next(&json!([stuck(61), stuck(62)]));
    store.commit(&again).await.unwrap();
    let refused = store.commit(&again).await;
    assert!(matches!(refused, Err(StoreError::Moved { .. })), "{refused:?}");
    journal.after += 1;
    assert_eq!(hours(store, &[door]).await, expected(&[(0, 2), (1, 3), (3, 1)]));

    // Another shape, merged into the fault, and split off again.
    let gate = journal.commit(json!([report("a gate does not close", 65)])).await[0];
    store.teach(&Lesson::Merge { fault: gate, into: door }, "ann").await.unwrap();
    assert_eq!(hours(store, &[door, gate]).await, expected(&[(0, 2), (1, 4), (3, 1)]));
    journal.commit(json!([report("a gate does not close", 1)])).await;
    assert_eq!(hours(store, &[door]).await, expected(&[(0, 3), (1, 4), (3, 1)]));
    // Searches find the fault by what it was merged with.
    let gates = FaultFilter { text: Some("gate".to_owned()), ..FaultFilter::default() };
    assert_eq!(list(store, gates.clone()).await[0].fault.id, door);
    let shapes = store.fault(door).await.unwrap().unwrap().shapes;
    let fingerprint = shapes[1].fingerprint.clone();
    let alone = store.teach(&Lesson::Split { fault: door, fingerprint }, "ann").await.unwrap();
    let found = list(store, gates).await;
    assert_eq!(found.iter().map(|listed| listed.fault.id).collect::<Vec<_>>(), [alone]);
    let mut both = expected(&[(0, 2), (1, 3), (3, 1)]);
    both.extend([((alone, 0), 1), ((alone, 1), 1)]);
    assert_eq!(hours(store, &[door, alone]).await, both);
}

async fn occurrences_are_told_of_every_environment(store: &dyn Store) {
    let mut journal = Journal::new(store).await;
    let stuck = |environment, minutes| {
        with(report("the door is stuck", minutes), "environment", environment)
    };
    let elsewhere = with(stuck("stage", 5), "service", "another");
    let other = report("a gate does not close", 5);
    let reports = json!([
        stuck("prod", 5),
        stuck("stage", 6),
        stuck("stage", 70),
        stuck("test", -70),
        elsewhere,
        other
    ]);
    journal.commit(reports).await;
    let prod = FaultFilter {
        environment: Some("prod".to_owned()),
        text: Some("door".to_owned()),
        ..FaultFilter::default()
    };
    let door = list(store, prod).await[0].fault.id;
    let met = async |since, until| {
        let met = store.fault_occurrences(door, hour(since), hour(until)).await.unwrap();
        let told = |met: &faultline_actors::adapters::store::faults::Occurrences| {
            format!("{} {} {}", (met.hour - hour(0)) / HOUR, met.environment, met.count)
        };
        met.iter().map(told).collect::<Vec<_>>()
    };
    assert_eq!(met(-9, 9).await, ["-2 test 1", "0 prod 1", "0 stage 1", "1 stage 1"]);
    assert_eq!(met(0, 1).await, ["0 prod 1", "0 stage 1"]);
    assert!(store.fault_occurrences(999, hour(0), hour(9)).await.unwrap().is_empty());
}

async fn people_say_where_a_fault_stands(store: &dyn Store) {
    let mut journal = Journal::new(store).await;
    let faults =
        journal.commit(json!([report("the door is stuck", 1), report("no paper", 2)])).await;
    let (door, paper) = (faults[0], faults[1]);
    let steer = async |step| store.steer_fault(door, step, "known", "anna").await;
    assert_eq!(state(store, door).await, State::Open);
    let refused = steer(FaultStep::Unmute).await.unwrap_err();
    assert_eq!(refused.to_string(), "a fault that is open cannot unmute");
    steer(FaultStep::Resolve).await.unwrap();
    assert_eq!(state(store, door).await, State::Resolved);
    assert!(matches!(steer(FaultStep::Resolve).await, Err(SteerError::Illegal(_))));
    steer(FaultStep::Mute { until: None }).await.unwrap();
    assert_eq!(state(store, door).await, State::Muted);
    steer(FaultStep::Unmute).await.unwrap();
    assert_eq!(state(store, door).await, State::Resolved, "as it was");
    steer(FaultStep::Reopen).await.unwrap();
    assert_eq!(state(store, door).await, State::Open);
    steer(FaultStep::Mute { until: Some(now() - 1) }).await.unwrap();
    assert_eq!(state(store, door).await, State::Open, "that is over");
    let until = now() + HOUR;
    steer(FaultStep::Mute { until: Some(until) }).await.unwrap();
    let undecided = known(store, door).await;
    assert_eq!(undecided.fault.mute.as_ref().unwrap().by, "anna");
    assert_eq!(undecided.fault.mute.unwrap().until, Some(until));
    steer(FaultStep::Resolve).await.unwrap();
    assert_eq!(state(store, door).await, State::Resolved);
    // Each is looked at again, though nothing happened.
    let again = store.undecided(Which::After(0), 10).await.unwrap();
    assert!(again.iter().any(|undecided| undecided.fault.fault == door));

    let why = store.why(door).await.unwrap().unwrap();
    let told: Vec<_> = why.audit.iter().rev().map(|entry| entry.action.as_str()).collect();
    let expected = ["resolve", "mute", "unmute", "reopen", "mute", "mute", "resolve"]
        .map(|a| format!("fault.{a}"));
    assert_eq!(told, expected);
    assert!(why.audit.iter().all(|entry| entry.who == "anna"));
    let details: Value = serde_json::from_str(why.audit[1].details.get()).unwrap();
    assert_eq!(
        (details["from"].as_str(), details["comment"].as_str()),
        (Some("open"), Some("known"))
    );
    assert!(details["until"].as_str().unwrap().ends_with('Z'), "{details}");

    store.teach(&Lesson::Merge { fault: paper, into: door }, "ann").await.unwrap();
    assert_eq!(state(store, paper).await, State::Merged);
    let merged = store.steer_fault(paper, FaultStep::Resolve, "", "anna").await.unwrap_err();
    assert_eq!(merged.to_string(), "a fault that is merged cannot resolve");
    let nobody = store.steer_fault(999, FaultStep::Resolve, "", "anna").await;
    assert!(matches!(nobody, Err(SteerError::NoFault(999))));
}

async fn what_is_resolved_comes_back_by_a_decision(store: &dyn Store) {
    let mut journal = Journal::new(store).await;
    let door = journal.commit(json!([report("the door is stuck", 1)])).await[0];
    let before = known(store, door).await;
    store.steer_fault(door, FaultStep::Resolve, "", "anna").await.unwrap();
    // What was decided before that is not written.
    store.decide(&[decided(&before, Comeback::Heeded)], None).await.unwrap();
    assert_eq!(state(store, door).await, State::Resolved);
    let told = store.why(door).await.unwrap().unwrap().decision;
    assert_eq!(told, "", "nothing was decided");

    let undecided = known(store, door).await;
    assert!(undecided.fault.resolved_at.is_some());
    store.decide(&[decided(&undecided, Comeback::No)], None).await.unwrap();
    assert_eq!(state(store, door).await, State::Resolved);
    store.decide(&[decided(&undecided, Comeback::Noticed)], None).await.unwrap();
    assert_eq!(state(store, door).await, State::Open);
    assert!(known(store, door).await.fault.resolved_at.is_some(), "rules see a regression");
    store.decide(&[decided(&undecided, Comeback::Heeded)], None).await.unwrap();
    assert_eq!(state(store, door).await, State::Open);
    assert_eq!(known(store, door).await.fault.resolved_at, None);
    // Of what was not resolved nothing comes back.
    store.decide(&[decided(&undecided, Comeback::Noticed)], None).await.unwrap();
    store.steer_fault(door, FaultStep::Resolve, "", "anna").await.unwrap();
    assert_eq!(state(store, door).await, State::Resolved);
}

async fn a_ticket_that_is_done_resolves_its_fault(store: &dyn Store) {
    let mut journal = Journal::new(store).await;
    let door = journal.commit(json!([report("the door is stuck", 1)])).await[0];
    store.make_ticket(door, &by_hand("fl-done"), &tracker()).await.unwrap();
    work(store, "OPS-1").await;
    assert_eq!(store.tickets_seen(&[seen("OPS-1", false, 10)]).await.unwrap(), 1);
    assert_eq!(state(store, door).await, State::Open);
    assert_eq!(store.tickets_seen(&[seen("OPS-1", true, 20)]).await.unwrap(), 1);
    assert_eq!(state(store, door).await, State::Resolved);
    assert_eq!(known(store, door).await.fault.resolved_at, Some(20));
    assert_eq!(store.tickets_seen(&[seen("OPS-1", true, 30)]).await.unwrap(), 0);
    // Another status is not news of that.
    let mut reviewed = seen("OPS-1", true, 40);
    "Reviewed".clone_into(&mut reviewed.status);
    assert_eq!(store.tickets_seen(&[reviewed]).await.unwrap(), 1);
    assert_eq!(known(store, door).await.fault.resolved_at, Some(20));
    assert_eq!(store.tickets_seen(&[seen("OPS-1", false, 50)]).await.unwrap(), 1);
    assert_eq!(state(store, door).await, State::Open);
    // Its next ticket is the one that counts.
    store.tickets_seen(&[seen("OPS-1", true, 60)]).await.unwrap();
    store.make_ticket(door, &by_hand("fl-next"), &tracker()).await.unwrap();
    assert_eq!(state(store, door).await, State::Open);
    work(store, "OPS-2").await;
    store.tickets_seen(&[seen("OPS-1", false, 70), seen("OPS-1", true, 80)]).await.unwrap();
    assert_eq!(state(store, door).await, State::Open);
}

async fn a_ticket_by_hand_is_made_once(store: &dyn Store) {
    let mut journal = Journal::new(store).await;
    let faults =
        journal.commit(json!([report("the door is stuck", 1), report("no paper", 2)])).await;
    let (door, paper) = (faults[0], faults[1]);
    store.steer_fault(door, FaultStep::Resolve, "", "anna").await.unwrap();
    let before = known(store, door).await;
    let job = store.make_ticket(door, &by_hand("fl-a"), &tracker()).await.unwrap();
    assert_eq!(state(store, door).await, State::Open);
    let again = store.make_ticket(door, &by_hand("fl-b"), &tracker()).await;
    assert!(matches!(again, Err(SteerError::HasTicket(HasTicket::InTheMaking))), "{again:?}");
    // What the rules have decided before that is not written.
    let mut late = decided(&before, Comeback::No);
    "late".clone_into(&mut late.reason);
    store.decide(&[late], None).await.unwrap();
    let why = store.why(door).await.unwrap().unwrap();
    assert_eq!(why.decision, "a ticket by hand, by anna");
    let told: Vec<_> =
        why.audit.iter().map(|entry| (entry.action.as_str(), entry.who.as_str())).collect();
    assert_eq!(told[..2], [("ticket.create", "anna"), ("job.intend", "anna")]);
    assert!(store.undecided(Which::These(&[door]), 10).await.unwrap().is_empty());

    // Discarded, it may be made after all.
    let filter = JobFilter { ids: Some(vec![job]), ..JobFilter::default() };
    store.steer(&filter, &Steer::Discard, "anna").await.unwrap();
    store.make_ticket(door, &by_hand("fl-c"), &tracker()).await.unwrap();
    assert_eq!(work(store, "OPS-1").await, [Action::Create]);
    let again = store.make_ticket(door, &by_hand("fl-d"), &tracker()).await.unwrap_err();
    assert_eq!(again.to_string(), "its ticket OPS-1 is open");
    store.tickets_seen(&[seen("OPS-1", true, 20)]).await.unwrap();
    let job = store.make_ticket(door, &by_hand("fl-e"), &tracker()).await.unwrap();
    let filter = JobFilter { ids: Some(vec![job]), ..JobFilter::default() };
    let stored = store.jobs(&filter, 1).await.unwrap().pop().unwrap();
    let request: Value = serde_json::from_str(stored.request.get()).unwrap();
    assert_eq!(request["before"], "OPS-1");
    assert_eq!((stored.incident, stored.rule.as_str()), (3, "by hand"));

    let nobody = store.make_ticket(999, &by_hand("fl-f"), &tracker()).await;
    assert!(matches!(nobody, Err(SteerError::NoFault(999))));
    store.teach(&Lesson::Merge { fault: paper, into: door }, "ann").await.unwrap();
    let merged = store.make_ticket(paper, &by_hand("fl-g"), &tracker()).await;
    assert!(matches!(merged, Err(SteerError::Merged(from, into)) if (from, into) == (paper, door)));
}

async fn a_ticket_is_linked_to_one_fault(store: &dyn Store) {
    let mut journal = Journal::new(store).await;
    let faults =
        journal.commit(json!([report("the door is stuck", 1), report("no paper", 2)])).await;
    let (door, paper) = (faults[0], faults[1]);
    store.link_ticket(door, &link("OPS-7", "fl-a"), &tracker()).await.unwrap();
    store.link_ticket(door, &link("OPS-7", "fl-b"), &tracker()).await.unwrap();
    let tickets = store.tickets(door).await.unwrap();
    assert_eq!((tickets.len(), tickets[0].key.as_deref()), (1, Some("OPS-7")));
    let other = store.link_ticket(door, &link("OPS-8", "fl-c"), &tracker()).await.unwrap_err();
    assert_eq!(other.to_string(), "its ticket OPS-7 is open");
    let taken = store.link_ticket(paper, &link("OPS-7", "fl-d"), &tracker()).await.unwrap_err();
    assert_eq!(taken.to_string(), format!("ticket OPS-7 is linked to fault {door}"));
    // The tracker is told, once.
    assert_eq!(work(store, "").await, [Action::Edit]);
    let undecided = known(store, door).await;
    let ticket = undecided.fault.ticket.unwrap();
    assert_eq!((ticket.key.as_deref(), ticket.commented_count), (Some("OPS-7"), 1));
    // Nobody could say its number, which it has under whichever key: it is learnt, and is no news.
    let moved = SeenTicket {
        id: Some("number of OPS-7".to_owned()),
        labels: vec!["fl-a".to_owned()],
        ..seen("NEW-1", true, 20)
    };
    assert_eq!(
        store.tickets_seen(std::slice::from_ref(&moved)).await.unwrap(),
        0,
        "it may be a copy"
    );
    let unnumbered = SeenTicket { id: None, ..seen("OPS-7", false, 10) };
    assert_eq!(store.tickets_seen(&[unnumbered]).await.unwrap(), 1);
    assert_eq!(store.tickets_seen(&[seen("OPS-7", false, 10)]).await.unwrap(), 0);
    assert_eq!(store.tickets_seen(&[moved]).await.unwrap(), 1);
    assert_eq!(state(store, door).await, State::Resolved);

    let done = Link { seen: Some(seen("OPS-9", true, 33)), ..link("OPS-9", "fl-e") };
    store.link_ticket(paper, &done, &tracker()).await.unwrap();
    assert_eq!(state(store, paper).await, State::Resolved);
    assert_eq!(known(store, paper).await.fault.resolved_at, Some(33));
    let why = store.why(paper).await.unwrap().unwrap();
    assert_eq!((why.audit[0].action.as_str(), why.audit[0].who.as_str()), ("ticket.link", "anna"));
}

async fn a_person_tells_of_a_fault(store: &dyn Store) {
    let new = NewFault {
        environment: "prod".to_owned(),
        service: "shop".to_owned(),
        severity: Severity::Critical,
        title: "Checkout is slow".to_owned(),
        description: "Since the last release.".to_owned(),
    };
    let (fault, job) = store.make_fault(&new, &by_hand("fl-a")).await.unwrap();
    let (other, _) = store.make_fault(&new, &by_hand("fl-b")).await.unwrap();
    assert_ne!(fault, other);
    let filter = FaultFilter { text: Some("last release".to_owned()), ..FaultFilter::default() };
    let listed = list(store, filter).await;
    assert_eq!(listed.len(), 2);
    assert_eq!((listed[0].fault.kind.as_str(), listed[0].fault.count), ("manual", 0));
    // Rules have no say in it, whatever people do with it.
    store.steer_fault(fault, FaultStep::Resolve, "", "anna").await.unwrap();
    assert!(store.undecided(Which::After(0), 10).await.unwrap().is_empty());
    let filter = JobFilter { ids: Some(vec![job]), ..JobFilter::default() };
    assert_eq!(store.jobs(&filter, 1).await.unwrap()[0].fault, fault);
    assert_eq!(work(store, "OPS-1").await, [Action::Create; 2]);
}

/// Every promise, each in a store of its own.
macro_rules! every_promise {
    ($store:expr) => {
        a_list_is_filtered(&*$store).await;
        a_list_comes_in_pages(&*$store).await;
        pages_are_right_while_the_order_moves(&*$store).await;
        hours_are_exact(&*$store).await;
        occurrences_are_told_of_every_environment(&*$store).await;
        people_say_where_a_fault_stands(&*$store).await;
        what_is_resolved_comes_back_by_a_decision(&*$store).await;
        a_ticket_that_is_done_resolves_its_fault(&*$store).await;
        a_ticket_by_hand_is_made_once(&*$store).await;
        a_ticket_is_linked_to_one_fault(&*$store).await;
        a_person_tells_of_a_fault(&*$store).await;
    };
}

#[tokio::test]
async fn sqlite_conforms() {
    every_promise!(stores::sqlite().await);
}

#[tokio::test]
async fn postgres_conforms() {
    let server = faultline_testkit::postgres::Postgres::start();
    every_promise!(stores::emptied(&server).await);
}

/// Hubs that meet the same faults at the same time, while people steer these and their tickets
/// change, neither wait for each other in a circle nor lose a count.
#[tokio::test(flavor = "multi_thread")]
async fn hubs_count_the_same_hours() {
    const ROUNDS: i64 = 25;
    let server = faultline_testkit::postgres::Postgres::start();
    let first = stores::postgres(&server).await;
    let reports: Vec<Value> = DOORS
        .iter()
        .flat_map(|door| [1, 70].map(|at| report(&format!("door {door} is stuck again"), at)))
        .collect();
    let mut tasks = tokio::task::JoinSet::new();
    for hub in 0..4 {
        let store = if hub == 0 { first.clone() } else { stores::postgres(&server).await };
        let mut reports = reports.clone();
        reports.rotate_left(hub * 3);
        tasks.spawn(async move {
            let mut journal = Journal::new(&*store).await;
            for _ in 0..ROUNDS {
                journal.commit(reports.clone().into()).await;
                for listed in list(&*store, FaultFilter::default()).await {
                    let step = FaultStep::Mute { until: None };
                    store.steer_fault(listed.fault.id, step, "", "anna").await.unwrap();
                }
            }
        });
    }
    tasks.join_all().await;
    let faults = list(&*first, FaultFilter::default()).await;
    assert_eq!(faults.len(), DOORS.len());
    for listed in faults {
        let id = listed.fault.id;
        assert_eq!(listed.fault.count, 4 * ROUNDS * 2);
        let expected = BTreeMap::from([((id, 0), 4 * ROUNDS), ((id, 1), 4 * ROUNDS)]);
        assert_eq!(hours(&*first, &[id]).await, expected);
    }
}
