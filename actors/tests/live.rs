//! The conformance suite of watching: whatever is promised of `LiveStore` holds for both stores; and
//! what only PostgreSQL can do, where transactions overlap and hubs share.

#![expect(clippy::unwrap_used, reason = "a failing test is told by a panic")]

use faultline_actors::{
    adapters::{
        journal::Origin,
        store::{
            Commit, Store,
            jobs::{Decided, Holder, Intent, JobFilter, Which},
            live::{Change, LiveStore},
            postgres::Postgres,
            sqlite::Sqlite,
        },
    },
    domain::{
        decision::Comeback,
        fault::FaultId,
        feed::{Feed, Seen},
        job::Action,
        lesson::Lesson,
    },
};
use std::{collections::BTreeSet, time::Duration};

#[path = "support/batches.rs"]
mod batches;

use batches::report;

/// Has the store meet these messages, each a fault of its own.
async fn met(store: &dyn Store, messages: &[&str]) -> Vec<FaultId> {
    let origin = Origin::now_v7();
    store.position(origin).await.unwrap();
    let batches =
        messages.iter().zip(1..).map(|(message, sequence)| report(sequence, message)).collect();
    store.commit(&Commit { origin, after: 0, batches }).await.unwrap().faults
}

/// Decides that they get tickets.
async fn decide(store: &dyn Store, faults: &[FaultId]) {
    let undecided = store.undecided(Which::These(faults), 100).await.unwrap();
    let decided = undecided.iter().map(|undecided| Decided {
        fault: undecided.fault.fault,
        environment: undecided.environment.clone(),
        title: undecided.title.clone(),
        count: undecided.fault.count,
        incident: undecided.fault.incident,
        steered: undecided.steered,
        comeback: Comeback::No,
        reason: "a ticket".to_owned(),
        again_at: None,
        intent: Some(Intent {
            action: Action::Create,
            incident: 1,
            mark: String::new(),
            rule: "default".to_owned(),
            request: serde_json::json!({}),
            locator: format!("fl-{}", Holder::new_v4().simple()),
            due_in: Duration::ZERO,
        }),
    });
    store.decide(&decided.collect::<Vec<_>>(), None).await.unwrap();
}

fn ids(changes: &[Change]) -> Vec<i64> {
    changes.iter().map(|change| change.id).collect()
}

/// What changed since; nothing of it is news any more.
async fn changes(store: &dyn Store, feed: &mut Feed) -> Vec<Change> {
    let changes = store.changes(feed, 100).await.unwrap();
    feed.take(&ids(&changes), Seen::All, 0);
    changes
}

async fn suite(store: &dyn Store) {
    store.migrate().await.unwrap();
    let old = met(store, &["no paper"]).await;
    decide(store, &old).await;
    let before = store.changes(&Feed::default(), 100).await.unwrap();
    assert!(!before.is_empty());
    let mut feed = Feed::behind(&ids(&before), 0);
    assert_eq!(changes(store, &mut feed).await, []);

    let new = met(store, &["the ink is dry", "the tray is stuck"]).await;
    decide(store, &new).await;
    let came = changes(store, &mut feed).await;
    let faults: BTreeSet<FaultId> = came.iter().flat_map(|change| change.faults.clone()).collect();
    assert_eq!(faults, new.iter().copied().collect());
    let told: BTreeSet<_> = came.iter().filter_map(|change| change.job).collect();
    let jobs = store.jobs(&JobFilter::default(), 2).await.unwrap();
    assert_eq!(told, jobs.iter().map(|job| job.id).collect());
    assert_eq!(changes(store, &mut feed).await, []);

    let (fault, into) = (new[0], new[1]);
    store.teach(&Lesson::Merge { fault, into }, "somebody").await.unwrap();
    let came = changes(store, &mut feed).await;
    assert_eq!(came.len(), 1);
    let both: BTreeSet<FaultId> = came[0].faults.iter().copied().collect();
    assert_eq!(both, [fault, into].into(), "both are another way now");

    let shapes = store.fault(into).await.unwrap().unwrap().shapes;
    let fingerprint = shapes[0].fingerprint.clone();
    let split = store.teach(&Lesson::Split { fault: into, fingerprint }, "x").await.unwrap();
    let came = changes(store, &mut feed).await;
    let both: BTreeSet<FaultId> = came[0].faults.iter().copied().collect();
    assert_eq!(both, [into, split].into());

    let newest = store.changes(&Feed::default(), 2).await.unwrap();
    assert_eq!(newest.iter().map(|change| change.id).max(), Some(feed.last()), "the newest");
    assert_eq!(newest.len(), 2);
}

#[tokio::test]
async fn sqlite() {
    let store = Sqlite::in_memory().unwrap();
    suite(&store).await;
    store.tell_met(Holder::new_v4(), &[1]).await.unwrap();
    assert_eq!(store.met(&Feed::default(), 9).await.unwrap(), [], "nobody shares it");
}

fn connect(url: &str) -> Postgres {
    let limit = Duration::from_secs(20);
    Postgres::new(url, 4, limit, limit).unwrap()
}

#[tokio::test]
async fn postgres() {
    let server = faultline_testkit::postgres::Postgres::start();
    suite(&connect(&server.url())).await;
}

#[tokio::test]
async fn what_is_committed_late_is_news_then() {
    let server = faultline_testkit::postgres::Postgres::start();
    let store = connect(&server.url());
    store.migrate().await.unwrap();
    let mut feed = Feed::behind(&[], 0);
    let entry = |fault: i64| {
        format!(
            "INSERT INTO audit_trail (who, action, subject, details, fault)
             VALUES ('me', 'fault.decide', 'fault {fault}', '{{}}', {fault})"
        )
    };
    server.execute(&entry(1)).await;
    assert_eq!(changes(&store, &mut feed).await.len(), 1);
    let mut late = server.client().await;
    let transaction = late.transaction().await.unwrap();
    transaction.execute(&entry(2), &[]).await.unwrap();
    server.execute(&entry(3)).await;
    let came = changes(&store, &mut feed).await;
    assert_eq!(came.iter().map(|change| change.faults[0]).collect::<Vec<_>>(), [3]);
    transaction.commit().await.unwrap();
    let came = changes(&store, &mut feed).await;
    assert_eq!(came.iter().map(|change| change.faults[0]).collect::<Vec<_>>(), [2]);
    assert_eq!(changes(&store, &mut feed).await, []);
}

#[tokio::test]
async fn hubs_tell_each_other_what_they_have_met() {
    let server = faultline_testkit::postgres::Postgres::start();
    let (here, there) = (connect(&server.url()), connect(&server.url()));
    here.migrate().await.unwrap();
    let hub = Holder::new_v4();
    here.tell_met(hub, &[3, 7]).await.unwrap();
    let met = there.met(&Feed::default(), 9).await.unwrap();
    assert_eq!(met.len(), 1);
    assert_eq!((met[0].hub, &*met[0].faults), (hub, &[3, 7][..]));
    let feed = Feed::behind(&[met[0].id], 0);
    assert_eq!(there.met(&feed, 9).await.unwrap(), []);
    server.execute("UPDATE faults_met SET at = now() - interval '61 seconds'").await;
    here.tell_met(hub, &[8]).await.unwrap();
    assert_eq!(server.number("SELECT count(*) FROM faults_met").await, 1, "a minute is enough");
}
