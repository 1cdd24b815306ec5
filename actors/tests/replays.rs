//! A rejected message that is taken in again is stored once, by whichever hub and however often: in
//! both stores.

#![expect(clippy::unwrap_used, reason = "a failing test is told by a panic")]

use std::{sync::Arc, time::Duration};

use faultline_actors::{
    adapters::{
        journal::Origin,
        store::{
            Commit, Store,
            postgres::Postgres,
            records::{RejectedFilter, Replay},
            sqlite::Sqlite,
        },
    },
    domain::{batch::Batch, event::Source, ledger::Tally, record::RejectedId},
};
use faultline_testkit::{database::Database, program::frames};

#[path = "support/batches.rs"]
mod batches;

use batches::{NOW, batch, replay, report};

const LEASE: Duration = Duration::from_mins(1);

/// A store, and the way around it.
struct Kept {
    store: Arc<dyn Store>,
    database: Arc<Database>,
}

/// What a commit by another hub than all before made of the messages of `source`.
async fn committed(store: &dyn Store, source: Source, batches: Vec<Arc<Batch>>) -> Tally {
    let origin = Origin::now_v7();
    store.position(origin).await.unwrap();
    let committed = store.commit(&Commit { origin, after: 0, batches }).await.unwrap();
    let tally = committed.tallies[source as usize];
    assert_eq!(tally.received, tally.settled(), "{tally:?}");
    tally
}

fn tally(stored: u64, duplicate: u64, rejected: u64) -> Tally {
    Tally { received: stored + duplicate + rejected, stored, duplicate, rejected }
}

fn of(id: i64) -> RejectedId {
    RejectedId { id, received_at: NOW }
}

/// Rejects two messages; gives them, the newest first.
async fn two_rejected(store: &dyn Store) -> Vec<RejectedId> {
    committed(store, Source::Maxwell, vec![batch(1, Source::Maxwell, b"bad\nworse")]).await;
    let rows = store.list_rejected(&RejectedFilter::default(), 10).await.unwrap();
    rows.iter().map(|row| RejectedId { id: row.id, received_at: row.received_at }).collect()
}

/// Events, what their faults and the statistics count of them, rejected messages.
async fn counts(database: &Database) -> [i64; 4] {
    let number = async |what: &str| database.number(&format!("SELECT {what}")).await;
    [
        number("count(*) FROM events").await,
        number("CAST(coalesce(sum(count), 0) AS bigint) FROM faults").await,
        number("CAST(coalesce(sum(events), 0) AS bigint) FROM daily_statistics").await,
        number("count(*) FROM rejected").await,
    ]
}

async fn a_replay_is_stored_once(kept: &Kept) {
    let store = &*kept.store;
    // A trace of two lines, an error, and what is rejected again.
    let lines = ["Error: boom", "    at f (/a.js:1:2)", "ERROR out of paper"];
    let lines =
        lines.map(|text| format!("<190>1 2026-11-22T03:00:07+00:00 h app web.1 - {text}\n"));
    let body = [frames(lines), b"3 bad".to_vec()].concat();
    let replay = |sequence| replay(sequence, Source::Logdrains, &body, of(7));
    let live = |sequence| batch(sequence, Source::Logdrains, &body);
    let once = committed(store, Source::Logdrains, vec![replay(1)]).await;
    assert_eq!(once, tally(3, 0, 1));
    assert_eq!(counts(&kept.database).await, [2, 2, 2, 1]);
    // Its neighbours are stored.
    let again = committed(store, Source::Logdrains, vec![live(1), replay(2), live(3)]).await;
    assert_eq!(again, tally(6, 4, 2));
    assert_eq!(counts(&kept.database).await, [6, 6, 6, 3]);
    let blocks = "SELECT CAST(sum(events) AS bigint) FROM event_blocks";
    assert_eq!(kept.database.number(blocks).await, 6);
    let other = RejectedId { received_at: NOW + 1, ..of(7) };
    let other = batches::replay(1, Source::Logdrains, &body, other);
    let other = committed(store, Source::Logdrains, vec![other]).await;
    assert_eq!(other, tally(3, 0, 1), "of a store that began anew");
    let hours = "SELECT CAST(sum(count) AS bigint) FROM fault_hours";
    assert_eq!(kept.database.number(hours).await, 8);
    let ledger =
        "SELECT CAST(sum(stored * 10000 + duplicate * 100 + rejected) AS bigint) FROM ledger";
    assert_eq!(kept.database.number(ledger).await, 12 * 10_000 + 4 * 100 + 4);
}

async fn the_first_of_a_commit_is_stored(kept: &Kept) {
    let replay = |sequence, id| replay(sequence, Source::Errors, br#"{"message":"x"}"#, of(id));
    let twice = vec![replay(1, 2), replay(2, 1), report(3, "live"), replay(4, 1), replay(5, 2)];
    let twice = committed(&*kept.store, Source::Errors, twice).await;
    assert_eq!(twice, tally(3, 2, 0));
    assert_eq!(counts(&kept.database).await, [3, 3, 3, 0]);
    let sequences = "SELECT CAST(sum(sequence) AS bigint) FROM events";
    assert_eq!(kept.database.number(sequences).await, 1 + 2 + 3);
}

async fn what_is_rejected_again_is_so_once(kept: &Kept) {
    let store = &*kept.store;
    let bad = |sequence, id| replay(sequence, Source::Maxwell, b"bad\n{}\n", of(id));
    let live = || batch(2, Source::Maxwell, b"bad");
    assert_eq!(committed(store, Source::Maxwell, vec![bad(1, 1)]).await, tally(0, 0, 2));
    let again = committed(store, Source::Maxwell, vec![bad(1, 1), live()]).await;
    assert_eq!(again, tally(0, 2, 1));
    let twice = committed(store, Source::Maxwell, vec![bad(1, 2), live(), bad(3, 2)]).await;
    assert_eq!(twice, tally(0, 2, 3));
    assert_eq!(counts(&kept.database).await, [0, 0, 0, 6]);
}

/// The store refuses what says `poison`: a replay of which it did is none to be tried again.
async fn what_the_store_refuses_is_rejected_once(kept: &Kept) {
    let store = &*kept.store;
    let body = br#"[{"message":"poison"},{"message":"good"}]"#;
    let poison = |sequence| replay(sequence, Source::Errors, body, of(1));
    let once = committed(store, Source::Errors, vec![poison(1), report(2, "good")]).await;
    assert_eq!(once, tally(2, 0, 1));
    let more = vec![report(1, "good"), poison(2), report(3, "poison"), poison(4)];
    let again = committed(store, Source::Errors, more).await;
    assert_eq!(again, tally(1, 4, 1));
    assert_eq!(counts(&kept.database).await, [3, 3, 3, 2]);
}

async fn what_is_stored_is_not_replayed_again(kept: &Kept) {
    let store = &*kept.store;
    let both = two_rejected(store).await;
    let replay = |id: &RejectedId| replay(1, Source::Errors, br#"{"message":"understood"}"#, *id);
    // Whoever was at it died before it said so.
    let unmarked = both[0].id;
    assert_eq!(store.claim_replay(unmarked, Duration::ZERO).await.unwrap(), Replay::Granted);
    committed(store, Source::Errors, vec![replay(&both[0])]).await;
    assert_eq!(store.claim_replay(unmarked, LEASE).await.unwrap(), Replay::Done);
    assert_eq!(store.claim_replay(unmarked, LEASE).await.unwrap(), Replay::Done);
    assert!(store.one_rejected(unmarked).await.unwrap().unwrap().replayed_at.is_some());
    // Whoever is at it says so, though others ask.
    let underway = both[1].id;
    assert_eq!(store.claim_replay(underway, LEASE).await.unwrap(), Replay::Granted);
    committed(store, Source::Errors, vec![replay(&both[1])]).await;
    assert_eq!(store.claim_replay(underway, LEASE).await.unwrap(), Replay::Underway);
    assert!(store.replayed(underway, "anna").await.unwrap());
    assert_eq!(store.claim_replay(underway, LEASE).await.unwrap(), Replay::Done);
    let audit = store.audit(10).await.unwrap();
    let subjects: Vec<_> = audit.iter().map(|entry| entry.subject.as_str()).collect();
    assert_eq!(subjects, [format!("rejected {underway}")]);
}

/// Every promise, each in a store of its own.
macro_rules! every_promise {
    ($kept:expr) => {
        a_replay_is_stored_once(&$kept).await;
        the_first_of_a_commit_is_stored(&$kept).await;
        what_is_rejected_again_is_so_once(&$kept).await;
        what_the_store_refuses_is_rejected_once(&$kept).await;
        what_is_stored_is_not_replayed_again(&$kept).await;
    };
}

#[tokio::test]
async fn sqlite_conforms() {
    let directory = tempfile::tempdir().unwrap();
    let mut number = 0;
    every_promise!({
        number += 1;
        let path = directory.path().join(format!("{number}.db"));
        let store = Sqlite::open(&path).unwrap();
        store.migrate().await.unwrap();
        let database = Arc::new(Database::Sqlite(path));
        database
            .execute(
                "CREATE TRIGGER refuse BEFORE INSERT ON events WHEN new.message = 'poison'
                 BEGIN SELECT raise(ABORT, 'poisonous'); END",
            )
            .await;
        Kept { store: Arc::new(store), database }
    });
}

#[tokio::test]
async fn postgres_conforms() {
    let server = faultline_testkit::postgres::Postgres::start();
    let database = Arc::new(Database::Postgres(Box::new(server)));
    every_promise!({
        database.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public").await;
        let store = postgres(&database.url());
        store.migrate().await.unwrap();
        database.execute("ALTER TABLE events ADD CHECK (message <> 'poison')").await;
        Kept { store, database: database.clone() }
    });
}

fn postgres(url: &str) -> Arc<dyn Store> {
    let timeout = Duration::from_secs(30);
    Arc::new(Postgres::new(url, 8, timeout, timeout).unwrap())
}

/// Hubs that replay the same, each in another order, do not wait for each other in a circle.
#[tokio::test(flavor = "multi_thread")]
async fn hubs_replay_at_the_same_time() {
    const REPLAYS: i64 = 40;
    let server = faultline_testkit::postgres::Postgres::start();
    postgres(&server.url()).migrate().await.unwrap();
    let mut hubs = tokio::task::JoinSet::new();
    for hub in 0..4 {
        let store = postgres(&server.url());
        hubs.spawn(async move {
            let mut ids: Vec<i64> = (0..REPLAYS).collect();
            ids.rotate_left(hub * 10);
            let batches = (1..).zip(ids).map(|(sequence, id)| {
                let body = format!(r#"{{"message":"number {id}"}}"#);
                replay(sequence, Source::Errors, body.as_bytes(), of(id))
            });
            committed(&*store, Source::Errors, batches.collect()).await.stored
        });
    }
    let stored: u64 = hubs.join_all().await.into_iter().sum();
    assert_eq!(stored, REPLAYS.cast_unsigned());
    let database = Database::Postgres(Box::new(server));
    assert_eq!(counts(&database).await, [REPLAYS, REPLAYS, REPLAYS, 0]);
}
