//! The conformance suite of jobs: whatever is promised of `JobStore` holds for both stores.

#![expect(clippy::unwrap_used, reason = "a failing test is told by a panic")]

use std::{sync::Arc, time::Duration};

use faultline_actors::{
    adapters::store::{
        Store,
        jobs::{Budget, Intent, JobFilter, Outcome, SeenTicket, Steer, TicketChange, Which},
    },
    domain::{
        fault::FaultId,
        job::{Action, State, Step},
        lesson::Lesson,
    },
};
use serde_json::json;
use uuid::Uuid;

#[path = "support/batches.rs"]
mod batches;
#[path = "support/decisions.rs"]
mod decisions;
#[path = "support/stores.rs"]
mod stores;

use decisions::{create, decided, made, met};

const LEASE: Duration = Duration::from_mins(1);

/// A fault with a job to make its ticket.
async fn with_job(store: &dyn Store, message: &str) -> FaultId {
    let undecided = &met(store, &[message]).await[0];
    let locator = format!("fl-{}", Uuid::new_v4().simple());
    let written =
        store.decide(&[decided(undecided, Some(create(1, &locator)))], None).await.unwrap();
    assert_eq!(written.intents, 1);
    undecided.fault.fault
}

async fn states(store: &dyn Store) -> Vec<String> {
    let mut jobs = store.jobs(&JobFilter::default(), 100).await.unwrap();
    jobs.reverse();
    jobs.into_iter().map(|job| job.state).collect()
}

async fn a_fault_is_decided_about_once(store: &dyn Store) {
    let undecided = met(store, &["cannot open the first door", "cannot close a window"]).await;
    assert_eq!(undecided.len(), 2);
    assert_eq!((undecided[0].fault.count, undecided[0].fault.incident), (1, 0));
    assert!(undecided[0].fault.ticket.is_none());
    let [one, other] = ["fl-1", "fl-2"].map(|locator| create(1, locator));
    let decisions = [decided(&undecided[0], Some(one)), decided(&undecided[1], None)];
    assert_eq!(store.decide(&decisions, None).await.unwrap().intents, 1);
    assert!(store.undecided(Which::After(0), 100).await.unwrap().is_empty());
    // A second hub that has decided about the same comes too late.
    let late = [decided(&undecided[0], Some(other))];
    assert_eq!(store.decide(&late, None).await.unwrap().intents, 0);
    let fault = undecided[0].fault.fault;
    let tickets = store.tickets(fault).await.unwrap();
    assert_eq!((tickets.len(), tickets[0].locator.as_str()), (1, "fl-1"));
    let why = store.why(undecided[1].fault.fault).await.unwrap().unwrap();
    assert_eq!((why.decision.as_str(), why.decided_count), ("a ticket", 1));
    assert_eq!(why.audit[0].action, "fault.decide");
    assert!(store.why(999).await.unwrap().is_none());

    let again = met(store, &["cannot open the first door"]).await;
    assert_eq!(
        (again[0].fault.fault, again[0].fault.count, again[0].fault.incident),
        (fault, 2, 1)
    );
    let ticket = again[0].fault.ticket.as_ref().unwrap();
    assert!(ticket.key.is_none() && !ticket.is_done && ticket.commented_count == 1);
    assert_eq!(store.occurrences(fault, 0, 100).await.unwrap(), 2);
    assert_eq!(store.occurrences(fault, 0, 1).await.unwrap(), 1);
    assert_eq!(store.occurrences(fault, 4_000_000_000_000_000, 100).await.unwrap(), 0);
}

async fn a_job_is_in_one_pair_of_hands(store: &dyn Store) {
    let fault = with_job(store, "cannot open the first door").await;
    let [one, other] = [Uuid::new_v4(), Uuid::new_v4()];
    let claimed = store.claim(one, LEASE, 10).await.unwrap();
    assert_eq!(claimed.len(), 1);
    assert_eq!(
        (claimed[0].fault, claimed[0].action, claimed[0].attempts),
        (fault, Action::Create, 0)
    );
    assert_eq!(claimed[0].unknown_for, None);
    assert!(store.claim(other, LEASE, 10).await.unwrap().is_empty());
    assert!(!store.settle(claimed[0].id, other, &made("OPS-9")).await.unwrap());
    assert!(store.settle(claimed[0].id, one, &made("OPS-1")).await.unwrap());
    assert!(!store.settle(claimed[0].id, one, &made("OPS-2")).await.unwrap(), "only once");
    assert_eq!(states(store).await, ["completed"]);
    assert_eq!(store.tickets(fault).await.unwrap()[0].key.as_deref(), Some("OPS-1"));
    let history = store.history(claimed[0].id).await.unwrap();
    let actions: Vec<_> = history.iter().map(|entry| entry.action.as_str()).collect();
    assert_eq!(actions, ["job.intend", "job.claim", "job.complete"]);
}

async fn who_died_is_relieved_and_may_have_done_it(store: &dyn Store) {
    with_job(store, "cannot open the first door").await;
    let [one, other] = [Uuid::new_v4(), Uuid::new_v4()];
    let claimed = store.claim(one, Duration::ZERO, 10).await.unwrap();
    let relieved = faultline_testkit::eventually("it is relieved", async || {
        store.claim(other, LEASE, 10).await.unwrap().pop().ok_or("not yet")
    })
    .await;
    assert_eq!(relieved.id, claimed[0].id);
    assert!(relieved.unknown_for.is_some());
    assert!(!store.settle(claimed[0].id, one, &made("OPS-1")).await.unwrap());
    let lost = Outcome { is_search: true, ..Outcome::new(Step::LoseTrack) };
    assert!(store.settle(relieved.id, other, &lost).await.unwrap());
    let again = store.claim(other, LEASE, 10).await.unwrap().pop().unwrap();
    assert_eq!(again.searches, 1);
    assert!(again.unknown_for >= relieved.unknown_for, "since then");
    assert!(store.settle(again.id, other, &Outcome::new(Step::NotThere)).await.unwrap());
    let fresh = store.claim(other, LEASE, 10).await.unwrap().pop().unwrap();
    assert_eq!((fresh.unknown_for, fresh.searches), (None, 0));
    assert_eq!(store.keep(other, LEASE).await.unwrap(), 1);
}

/// Claims the one job that is due, and settles it so; says whether it may have been done before.
async fn settled(store: &dyn Store, outcome: Outcome) -> bool {
    let holder = Uuid::new_v4();
    let job = store.claim(holder, LEASE, 10).await.unwrap().pop().unwrap();
    assert!(store.settle(job.id, holder, &outcome).await.unwrap());
    job.unknown_for.is_some()
}

async fn what_may_have_been_done_is_not_forgotten(store: &dyn Store) {
    let fault = with_job(store, "cannot open the first door").await;
    assert!(!settled(store, Outcome::new(Step::LoseTrack)).await);
    assert!(settled(store, Outcome::new(Step::Release)).await);
    assert!(settled(store, Outcome::new(Step::Delay)).await, "it was given back untouched");
    assert!(settled(store, Outcome::new(Step::NotThere)).await, "it had to wait");
    assert!(!settled(store, made("OPS-1")).await, "it was looked for");

    store.intend(fault, "prod", &comment("10")).await.unwrap();
    let tried = || Outcome { is_attempt: true, ..Outcome::new(Step::Delay) };
    assert!(!settled(store, tried()).await);
    let all = JobFilter { action: Some(Action::Comment), ..JobFilter::default() };
    assert_eq!(store.steer(&all, &Steer::Retry, "anna").await.unwrap().len(), 1);
    assert_eq!(store.jobs(&all, 1).await.unwrap()[0].attempts, 0);
    assert!(settled(store, Outcome::new(Step::Delay)).await, "it was tried before");
    assert!(settled(store, tried()).await);
    for steer in [Steer::Discard, Steer::Retry] {
        assert_eq!(store.steer(&all, &steer, "anna").await.unwrap().len(), 1);
    }
    assert!(settled(store, Outcome::new(Step::Complete)).await, "also before it was discarded");
}

async fn what_failed_is_due_later(store: &dyn Store) {
    with_job(store, "cannot open the first door").await;
    let holder = Uuid::new_v4();
    let job = store.claim(holder, LEASE, 10).await.unwrap().pop().unwrap();
    let delayed = Outcome {
        due_in: Duration::from_hours(1),
        is_attempt: true,
        error: "Jira says 503".to_owned(),
        ..Outcome::new(Step::Delay)
    };
    assert!(store.settle(job.id, holder, &delayed).await.unwrap());
    assert!(store.claim(holder, LEASE, 10).await.unwrap().is_empty());
    let filter = JobFilter { text: Some("says 503".to_owned()), ..JobFilter::default() };
    let found = store.jobs(&filter, 10).await.unwrap();
    assert_eq!((found.len(), found[0].attempts, found[0].state.as_str()), (1, 1, "delayed"));
    assert_eq!(store.steer(&filter, &Steer::Retry, "anna").await.unwrap(), [job.id]);
    assert_eq!(store.claim(holder, LEASE, 10).await.unwrap().len(), 1);
    assert_eq!(store.job_counts(&JobFilter::default()).await.unwrap(), [(State::Active, 1)]);
}

async fn the_dead_are_steered_by_people(store: &dyn Store) {
    with_job(store, "cannot open the first door").await;
    with_job(store, "cannot close a window").await;
    let holder = Uuid::new_v4();
    for job in store.claim(holder, LEASE, 10).await.unwrap() {
        let problems = vec![("priority".to_owned(), "is not on the screen".to_owned())];
        let refused =
            Outcome { problems, error: "refused".to_owned(), ..Outcome::new(Step::GiveUp) };
        assert!(store.settle(job.id, holder, &refused).await.unwrap());
    }
    let dead = JobFilter { state: Some(State::Dead), ..JobFilter::default() };
    let jobs = store.jobs(&dead, 10).await.unwrap();
    assert_eq!(jobs.len(), 2);
    let history = store.history(jobs[0].id).await.unwrap();
    assert!(history[2].details.get().contains("is not on the screen"));
    let one = JobFilter { ids: Some(vec![jobs[0].id]), ..JobFilter::default() };
    let edit = Steer::Edit(json!({ "summary": "it broke again" }));
    assert_eq!(store.steer(&one, &edit, "anna").await.unwrap(), [jobs[0].id]);
    assert_eq!(store.steer(&dead, &Steer::Discard, "anna").await.unwrap(), [jobs[1].id]);
    assert!(store.steer(&dead, &Steer::Discard, "anna").await.unwrap().is_empty());
    let claimed = store.claim(holder, LEASE, 10).await.unwrap();
    assert_eq!(claimed[0].request, json!({ "summary": "it broke again" }));
    let by_anna = store.history(jobs[0].id).await.unwrap();
    assert!(by_anna.iter().any(|entry| entry.who == "anna" && entry.action == "job.edit"));
}

async fn a_ticket_is_what_people_make_of_it(store: &dyn Store) {
    let fault = with_job(store, "cannot open the first door").await;
    let holder = Uuid::new_v4();
    let job = store.claim(holder, LEASE, 10).await.unwrap().pop().unwrap();
    assert!(store.settle(job.id, holder, &made("OPS-1")).await.unwrap());
    let seen = |key: &str, is_done| SeenTicket {
        id: Some(format!("number of {key}")),
        key: key.to_owned(),
        labels: Vec::new(),
        status: if is_done { "Erledigt" } else { "Offen" }.to_owned(),
        is_done,
        resolution: if is_done { "Done" } else { "" }.to_owned(),
        resolved_at: is_done.then_some(7_000_000),
        changed_at: 8_000_000,
    };
    let both = [seen("OPS-1", true), seen("ELSE-1", true)];
    assert_eq!(store.tickets_seen(&both).await.unwrap(), 1);
    assert_eq!(store.tickets_seen(&both).await.unwrap(), 0, "nothing new");
    let locator = store.tickets(fault).await.unwrap()[0].locator.clone();
    let stale = SeenTicket { changed_at: 7_999_999, ..seen("OPS-1", false) };
    assert_eq!(store.tickets_seen(&[stale]).await.unwrap(), 0, "older than what is known");
    let copied =
        SeenTicket { labels: vec![locator.clone()], changed_at: 9_000_000, ..seen("DEV-9", false) };
    assert_eq!(store.tickets_seen(&[copied]).await.unwrap(), 0, "another one, labels and all");
    let id = Some("number of OPS-1".to_owned());
    let moved = SeenTicket { id, labels: vec![locator], ..seen("SHOP-7", true) };
    assert_eq!(store.tickets_seen(&[moved]).await.unwrap(), 1, "by its number");
    let again = met(store, &["cannot open the first door"]).await.remove(0);
    let ticket = again.fault.ticket.clone().unwrap();
    assert_eq!((ticket.is_done, ticket.resolution.as_str()), (true, "Done"));
    assert_eq!(ticket.resolved_at, Some(7_000_000));
    let reopen = Intent { action: Action::Reopen, mark: "7".to_owned(), ..create(1, "") };
    let decision = decided(&again, Some(reopen));
    assert_eq!(store.decide(&[decision], None).await.unwrap().intents, 1);
    let job = store.claim(holder, LEASE, 10).await.unwrap().pop().unwrap();
    assert_eq!(job.key.as_deref(), Some("SHOP-7"));
    let reopened = Outcome { ticket: Some(TicketChange::Reopened), ..Outcome::new(Step::Complete) };
    assert!(store.settle(job.id, holder, &reopened).await.unwrap());
    let again = met(store, &["cannot open the first door"]).await.remove(0);
    let ticket = again.fault.ticket.unwrap();
    assert!(!ticket.is_done && ticket.commented_count == 2);
    let by_key = JobFilter { key: Some("SHOP-7".to_owned()), ..JobFilter::default() };
    assert_eq!(store.jobs(&by_key, 10).await.unwrap().len(), 2);
    assert_eq!(store.tickets(fault).await.unwrap().len(), 1);
}

async fn a_ticket_that_is_gone_is_none(store: &dyn Store) {
    const MESSAGE: &str = "cannot open the first door";
    let fault = with_job(store, MESSAGE).await;
    let holder = Uuid::new_v4();
    let job = store.claim(holder, LEASE, 10).await.unwrap().pop().unwrap();
    assert!(store.settle(job.id, holder, &made("OPS-1")).await.unwrap());
    // Its next comment finds out.
    let again = met(store, &[MESSAGE]).await.remove(0);
    let mut decision = decided(&again, Some(comment("2")));
    decision.again_at = Some(1);
    assert_eq!(store.decide(&[decision], None).await.unwrap().intents, 1);
    let job = store.claim(holder, LEASE, 10).await.unwrap().pop().unwrap();
    let gone = Outcome { ticket: Some(TicketChange::Gone), ..Outcome::new(Step::GiveUp) };
    assert!(store.settle(job.id, holder, &gone).await.unwrap());
    assert_eq!(store.tickets(fault).await.unwrap()[0].status, "gone");
    assert!(store.undecided(Which::After(0), 10).await.unwrap().is_empty(), "not by itself");
    let again = met(store, &[MESSAGE]).await.remove(0);
    assert!(again.fault.ticket.is_none(), "{:?}", again.fault.ticket);
    assert_eq!(again.fault.incident, 1);
    let decision = decided(&again, Some(create(2, "fl-second")));
    assert_eq!(store.decide(&[decision], None).await.unwrap().intents, 1);
    assert_eq!(store.tickets(fault).await.unwrap().len(), 2);
}

async fn the_tracker_tells_that_a_ticket_is_gone(store: &dyn Store) {
    const MESSAGE: &str = "cannot open the first door";
    let fault = with_job(store, MESSAGE).await;
    let holder = Uuid::new_v4();
    let job = store.claim(holder, LEASE, 10).await.unwrap().pop().unwrap();
    assert!(store.settle(job.id, holder, &made("OPS-2")).await.unwrap());
    // Whoever has decided before that comes too late.
    let late = met(store, &[MESSAGE]).await.remove(0);
    store.ticket_gone("OPS-2").await.unwrap();
    store.ticket_gone("OPS-99").await.unwrap();
    let decision = decided(&late, Some(comment("2")));
    assert_eq!(store.decide(&[decision], None).await.unwrap().intents, 0);
    let known = store.undecided(Which::Known(fault), 1).await.unwrap().remove(0);
    assert!(known.fault.ticket.is_none());
    // It was only hidden.
    let seen = SeenTicket {
        id: None,
        key: "OPS-2".to_owned(),
        labels: Vec::new(),
        status: "To Do".to_owned(),
        is_done: false,
        resolution: String::new(),
        resolved_at: None,
        changed_at: 4_000_000_000_000_000,
    };
    let lagging = SeenTicket { changed_at: 7, ..seen.clone() };
    assert_eq!(store.tickets_seen(&[lagging]).await.unwrap(), 0, "as it was before");
    assert_eq!(store.tickets_seen(&[seen]).await.unwrap(), 1);
    let known = store.undecided(Which::Known(fault), 1).await.unwrap().remove(0);
    assert_eq!(known.fault.ticket.unwrap().key.as_deref(), Some("OPS-2"));
}

fn comment(mark: &str) -> Intent {
    let (mark, request) = (mark.to_owned(), json!({ "text": "again" }));
    Intent { action: Action::Comment, mark, request, ..create(1, "") }
}

async fn a_storm_holds_tickets_back(store: &dyn Store) {
    let undecided = met(
        store,
        &[
            "one thing broke here",
            "another fails there",
            "third is missing now",
            "one thing broke here",
        ],
    )
    .await;
    let budget = Some(Budget { tickets: 2, window: Duration::from_mins(10) });
    let decisions: Vec<_> = undecided
        .iter()
        .zip(1..)
        .map(|(fault, number)| decided(fault, Some(create(1, &format!("fl-{number}")))))
        .collect();
    let written = store.decide(&decisions, budget).await.unwrap();
    assert_eq!((written.intents, written.held), (2, 1));
    let storms = store.storms(Duration::from_mins(10)).await.unwrap();
    assert_eq!((storms.len(), storms[0].held, storms[0].recent), (1, 1, 2));
    assert_eq!((storms[0].fault, storms[0].top.len()), (None, 1));
    for _ in 0..2 {
        let intent = create(1, &format!("fl-{}", Uuid::new_v4().simple()));
        store.begin_storm(&storms[0].environment, "a storm", &intent).await.unwrap();
    }
    let storms = store.storms(Duration::from_mins(10)).await.unwrap();
    let storm = storms[0].fault.unwrap();
    assert_eq!(storms.len(), 1, "one a time");
    assert!(store.undecided(Which::After(0), 10).await.unwrap().is_empty());
    let held = store.undecided(Which::Held(&storms[0].environment), 10).await.unwrap();
    assert_eq!(held.len(), 1);
    let first = undecided.iter().find(|fault| fault.fault.count == 2).unwrap();
    assert_ne!(held[0].fault.fault, first.fault.fault, "what is met most often comes first");
    let release = [decided(&held[0], Some(create(1, "fl-9")))];
    assert_eq!(store.decide(&release, None).await.unwrap().intents, 1);
    store.end_storm(storm).await.unwrap();
    assert!(store.storms(Duration::from_mins(10)).await.unwrap().is_empty());
    assert_eq!(states(store).await.len(), 4);
}

async fn what_is_merged_is_not_held_back(store: &dyn Store) {
    let undecided = met(store, &["the door is stuck", "a gate does not close"]).await;
    let window = Duration::from_mins(10);
    let decisions: Vec<_> = ["fl-1", "fl-2"]
        .iter()
        .zip(&undecided)
        .map(|(locator, fault)| decided(fault, Some(create(1, locator))))
        .collect();
    let written = store.decide(&decisions, Some(Budget { tickets: 1, window })).await.unwrap();
    assert_eq!((written.intents, written.held), (1, 1));
    let environment = &undecided[0].environment;
    store.begin_storm(environment, "a storm", &create(1, "fl-3")).await.unwrap();
    let held = store.undecided(Which::Held(environment), 10).await.unwrap()[0].fault.fault;
    let into = undecided.iter().map(|one| one.fault.fault).find(|fault| *fault != held).unwrap();
    store.teach(&Lesson::Merge { fault: held, into }, "ann").await.unwrap();
    let storms = store.storms(window).await.unwrap();
    assert_eq!((storms.len(), storms[0].held, storms[0].top.len()), (1, 0, 0));
}

/// A fault of two shapes: what remains after the larger one is split off was met less often than
/// was decided about before.
async fn what_remains_after_a_split_is_decided_about(store: &dyn Store) {
    let (door, gate) = ("the door is stuck", "a gate does not close");
    let undecided = met(store, &[door, door, door, gate]).await;
    let (fault, merged) = (undecided[0].fault.fault, undecided[1].fault.fault);
    store.teach(&Lesson::Merge { fault: merged, into: fault }, "ann").await.unwrap();
    let again = async || store.undecided(Which::These(&[fault]), 10).await.unwrap();
    let both = again().await.remove(0);
    assert_eq!(both.fault.count, 4);
    let first = decided(&both, Some(create(1, "fl-1")));
    assert_eq!(store.decide(&[first], None).await.unwrap().intents, 1);
    for mark in ["2", "quiet 7"] {
        store.intend(fault, &both.environment, &comment(mark)).await.unwrap();
    }
    let known = store.undecided(Which::Known(fault), 1).await.unwrap().remove(0);
    assert_eq!(known.fault.ticket.as_ref().unwrap().commented_count, 4);

    let shapes = store.fault(fault).await.unwrap().unwrap().shapes;
    let larger = shapes.iter().find(|shape| shape.count == 3).unwrap();
    let split = Lesson::Split { fault, fingerprint: larger.fingerprint.clone() };
    store.teach(&split, "ann").await.unwrap();
    let late = decided(&known, Some(comment("late")));
    assert_eq!(store.decide(&[late], None).await.unwrap().intents, 0, "it is another fault now");
    let rest = again().await.remove(0);
    let commented = rest.fault.ticket.as_ref().unwrap().commented_count;
    assert_eq!((rest.fault.count, commented), (1, 2), "there is a comment about two");
    store.decide(&[decided(&rest, None)], None).await.unwrap();
    assert!(again().await.is_empty());
    let more = met(store, &[gate]).await.remove(0);
    assert_eq!((more.fault.fault, more.fault.count), (fault, 2));
    let decision = decided(&more, Some(comment("more")));
    assert_eq!(store.decide(&[decision], None).await.unwrap().intents, 1);
    assert!(again().await.is_empty());
}

async fn dispatch_is_paused_for_all(store: &dyn Store) {
    assert!(!store.is_paused().await.unwrap());
    store.pause(true, "anna").await.unwrap();
    assert!(store.is_paused().await.unwrap());
    store.pause(false, "anna").await.unwrap();
    assert!(!store.is_paused().await.unwrap());
    let audit = store.audit(10).await.unwrap();
    assert_eq!(audit[0].action, "dispatch.resume");
}

/// Every promise, each in a store of its own.
macro_rules! every_promise {
    ($store:expr) => {
        a_fault_is_decided_about_once(&*$store).await;
        a_job_is_in_one_pair_of_hands(&*$store).await;
        who_died_is_relieved_and_may_have_done_it(&*$store).await;
        what_may_have_been_done_is_not_forgotten(&*$store).await;
        what_failed_is_due_later(&*$store).await;
        the_dead_are_steered_by_people(&*$store).await;
        a_ticket_is_what_people_make_of_it(&*$store).await;
        a_ticket_that_is_gone_is_none(&*$store).await;
        the_tracker_tells_that_a_ticket_is_gone(&*$store).await;
        a_storm_holds_tickets_back(&*$store).await;
        what_is_merged_is_not_held_back(&*$store).await;
        what_remains_after_a_split_is_decided_about(&*$store).await;
        dispatch_is_paused_for_all(&*$store).await;
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

/// Twenty hubs that take jobs at the same time take each job once.
#[tokio::test(flavor = "multi_thread")]
async fn hubs_share_the_jobs() {
    let server = faultline_testkit::postgres::Postgres::start();
    let store = stores::postgres(&server).await;
    let messages: Vec<String> =
        (0..40).map(|number| format!("{} is broken today", word(number))).collect();
    let undecided = met(&*store, &messages.iter().map(String::as_str).collect::<Vec<_>>()).await;
    assert_eq!(undecided.len(), 40);
    let decisions: Vec<_> = undecided
        .iter()
        .map(|fault| decided(fault, Some(create(1, &format!("fl-{}", fault.fault.fault)))))
        .collect();
    assert_eq!(store.decide(&decisions, None).await.unwrap().intents, 40);
    let mut hubs = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let store: Arc<dyn Store> = store.clone();
        hubs.spawn(async move {
            let mut taken = Vec::new();
            loop {
                let jobs = store.claim(Uuid::new_v4(), LEASE, 3).await.unwrap();
                if jobs.is_empty() {
                    return taken;
                }
                taken.extend(jobs.into_iter().map(|job| job.id));
            }
        });
    }
    let mut all = hubs.join_all().await.concat();
    all.sort_unstable();
    let before = all.len();
    all.dedup();
    assert_eq!((before, all.len()), (40, 40));
}

/// Letters that no mask takes for a variable.
fn word(number: u32) -> String {
    let letter = |number: u32| char::from(b'a' + u8::try_from(number % 26).unwrap());
    format!("door{}{}", letter(number), letter(number / 26))
}
