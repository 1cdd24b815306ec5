//! What retention does where something is not as it should be, of both stores: clocks that are wrong,
//! days that are too large, hubs that are killed or compete, restores that were broken off, reloads.

#![expect(clippy::unwrap_used, reason = "a failing test is told by a panic")]

use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

use faultline_actors::{
    adapters::{
        archive::Manifest,
        clock,
        journal::Origin,
        store::{
            Commit,
            retention::{Leave, Leaving, MOST_BYTES, Read},
        },
    },
    domain::{
        event::Source,
        retention::{day_of, moments_of},
        time::{DAY, HOUR},
    },
    retention::Settings,
};
use faultline_testkit::{database::Database, eventually};
use jiff::civil::Date;
use uuid::Uuid;

#[path = "support/batches.rs"]
mod batches;
#[path = "support/kept.rs"]
mod kept;

use batches::batch_at;
use kept::{Kept, WEEK, fill, fill_days, of_day, postgres, promises, sqlite};

const PATIENCE: Duration = Duration::from_secs(1);

async fn taken_out(kept: &Kept, day: Date, is_archived: bool) -> Leaving {
    match kept.store.leave_day(day, is_archived, PATIENCE).await.unwrap() {
        Leave::Leaving(leaving) => leaving,
        left => panic!("{left:?}"),
    }
}

async fn large_events_are_read_bit_by_bit(kept: &Kept) {
    const EVENTS: u64 = 40;
    const LENGTH: usize = 1 << 20;
    let origin = Origin::now_v7();
    kept.store.position(origin).await.unwrap();
    let at = moments_of(day_of(clock::now())).0 - 40 * DAY;
    // One text is short for a server that compresses it, and as long as the others to us.
    let texts = ["ab ".repeat(LENGTH / 3), Uuid::now_v7().to_string().repeat(LENGTH / 36)];
    for after in 0..EVENTS {
        let report = serde_json::json!({ "message": texts[usize::from(after % 2 == 0)] });
        let report = report.to_string();
        let batches = vec![batch_at(after + 1, Source::Errors, report.as_bytes(), at)];
        kept.store.commit(&Commit { origin, after, batches }).await.unwrap();
    }
    let leaving = taken_out(kept, day_of(at), true).await;
    let (mut sequences, mut reads) = (BTreeSet::new(), 0);
    for mut rest in kept.store.steps(&leaving).await.unwrap() {
        while !rest.is_empty() {
            let Read { events, next } = kept.store.leaving_events(&leaving, &rest).await.unwrap();
            assert!(next > rest.start && next <= rest.end);
            rest.start = next;
            let length: usize = events.iter().map(|event| event.message.len()).sum();
            assert!(length <= usize::try_from(MOST_BYTES).unwrap() + LENGTH, "{length} at once");
            sequences.extend(events.iter().map(|event| event.sequence));
            reads += 1;
        }
    }
    assert_eq!(sequences, (1..=40).collect::<BTreeSet<i64>>());
    assert!(reads >= 3, "{reads}");
    let all = kept.events().await;
    kept.retain(kept.settings()).await;
    let archives = kept.archives();
    assert_eq!(kept.restore(&archives[0]).await.unwrap(), EVENTS);
    if let Database::Sqlite(_) = &*kept.database {
        assert_eq!(kept.events().await, all);
    }
}

/// Two rejected messages of that moment, and a snapshot: the hub's own go by the clock.
async fn old_rows(kept: &Kept, moment: i64) {
    let bytes = match &*kept.database {
        Database::Sqlite(_) => "CAST('a' AS blob)",
        Database::Postgres(_) => "CAST('a' AS bytea)",
    };
    let row = format!("(1, 1, 0, {}, 'logdrains', 'no frame', {bytes}, 1, 1)", kept.at(moment));
    let sql = format!(
        "INSERT INTO rejected (origin, sequence, ordinal, received_at, source, reason, bytes, length,
             messages) VALUES {row}, {row}"
    );
    kept.database.execute(&sql).await;
    kept.store.save_snapshot(moment, "{}").await.unwrap();
}

async fn an_idle_store_keeps_its_last_days(kept: &Kept) {
    let (origin, after) = fill_days(&*kept.store, 100..190).await;
    old_rows(kept, clock::now() - 120 * DAY).await;
    let rows =
        async |table: &str| kept.database.number(&format!("SELECT count(*) FROM {table}")).await;
    kept.retain(kept.settings()).await;
    assert_eq!(kept.ages().await, (100..130).collect::<Vec<_>>());
    assert_eq!((rows("rejected").await, rows("metric_snapshots").await), (2, 0));
    // As a clock would have it that is ahead: a single day bears out nothing.
    let batches = of_day(after + 1, clock::now(), 0);
    kept.store.commit(&Commit { origin, after, batches }).await.unwrap();
    kept.retain(kept.settings()).await;
    assert_eq!(kept.ages().await.len(), 30);
    assert_eq!(rows("rejected").await, 2);
    let (after, batches) = (after + 2, of_day(after + 3, clock::now() - DAY, 1));
    kept.store.commit(&Commit { origin, after, batches }).await.unwrap();
    kept.retain(kept.settings()).await;
    assert_eq!(kept.ages().await, [0, 1]);
    assert!(rows("rejected").await < 2, "two days bear it out");
}

async fn what_is_back_in_part_is_not_archived_twice(kept: &Kept) {
    let (origin, after) = fill(&*kept.store).await;
    kept.retain(kept.settings()).await;
    let archives = kept.archives();
    let manifest = Manifest::read(&archives[20]).unwrap();
    assert_eq!(kept.restore(&archives[20]).await.unwrap(), 4);
    let late = moments_of(manifest.day).0 + HOUR;
    let batches = of_day(after + 1, late, 0);
    kept.store.commit(&Commit { origin, after, batches }).await.unwrap();
    let all = kept.events().await;
    // As if it had been broken off before its last event.
    let past = kept.at(clock::now() - 1);
    let broken_off = format!("UPDATE restored_days SET events = events + 1, until = {past}");
    kept.database.execute(&broken_off).await;
    let problem = kept.fail(kept.settings()).await;
    assert!(problem.contains("an archive of it was restored in part"), "{problem}");
    assert_eq!((kept.events().await, kept.archives()), (all, archives.clone()));

    kept.database.execute("UPDATE restored_days SET events = events - 1").await;
    kept.retain(kept.settings()).await;
    assert_eq!(kept.archives().len(), archives.len() + 1);
    let gone = kept.store.gone_days(1_000).await.unwrap();
    let first = gone.iter().find(|gone| gone.id == manifest.id.to_string()).unwrap();
    assert!(first.kept_in.is_some(), "both are in the later one");
}

async fn what_is_back_in_part_just_goes(kept: &Kept) {
    fill(&*kept.store).await;
    kept.retain(kept.settings()).await;
    let archives = kept.archives();
    assert_eq!(kept.restore(&archives[20]).await.unwrap(), 4);
    let past = kept.at(clock::now() - 1);
    let broken_off = format!("UPDATE restored_days SET events = events + 1, until = {past}");
    kept.database.execute(&broken_off).await;
    kept.retain(kept.settings()).await;
    assert_eq!((kept.ages().await.len(), kept.archives()), (31, archives.clone()));
    assert_eq!(kept.restore(&archives[20]).await.unwrap(), 4, "and can come back");
}

async fn what_was_deleted_before_a_kill_is_counted(kept: &Kept) {
    fill(&*kept.store).await;
    let oldest = kept.store.event_days().await.unwrap()[0].day;
    let leaving = taken_out(kept, oldest, false).await;
    kept.store.archived(&leaving, None, 4).await.unwrap();
    for step in kept.store.steps(&leaving).await.unwrap() {
        kept.store.delete_step(&leaving, &step).await.unwrap();
    }
    kept.retain(Settings { archive: PathBuf::new(), ..kept.settings() }).await;
    let gone = kept.store.gone_days(1_000).await.unwrap();
    assert_eq!(gone.len(), 59);
    assert!(gone.iter().all(|gone| gone.events == 4));
    let runs = kept.store.retention_runs(1).await.unwrap();
    assert!(runs[0].report.get().contains("\"events\":236"), "{}", runs[0].report);
}

async fn one_hub_at_a_time_has_the_lease(kept: &Kept) {
    let store = &kept.store;
    let (one, other) = (Uuid::now_v7(), Uuid::now_v7());
    let lease = async |holder, lease| store.lease_retention(holder, lease).await.unwrap();
    assert!(lease(one, WEEK).await);
    assert!(!lease(other, WEEK).await);
    store.release_retention(other).await.unwrap();
    assert!(!lease(other, WEEK).await, "only who has it gives it back");
    assert!(lease(one, Duration::ZERO).await);
    assert!(lease(one, WEEK).await, "prolonged");
    assert!(!lease(other, WEEK).await);
    assert!(lease(one, Duration::ZERO).await);
    let run_out = async || lease(other, WEEK).await.then_some(()).ok_or(());
    eventually("it has run out", run_out).await;
    assert!(!lease(one, WEEK).await, "it is the other one's now");
    store.release_retention(other).await.unwrap();
    assert!(lease(one, WEEK).await);
}

async fn a_reload_breaks_a_pass_off(kept: &Kept) {
    fill(&*kept.store).await;
    let hub = kept.start(Settings { share: 1e-6, ..kept.settings() });
    let look = async || hub.work.status.look().is_running.then_some(()).ok_or(());
    eventually("it is at it", look).await;
    hub.work.settings.set(Settings { events: Duration::ZERO, ..kept.settings() });
    hub.done().await;
    assert!(!hub.work.status.look().is_running);
    hub.finish().await;
    assert!(kept.ages().await.len() > 80, "the others stay for ever now");
}

promises!(
    large_events_are_read_bit_by_bit,
    an_idle_store_keeps_its_last_days,
    what_is_back_in_part_is_not_archived_twice,
    what_is_back_in_part_just_goes,
    what_was_deleted_before_a_kill_is_counted,
    one_hub_at_a_time_has_the_lease,
    a_reload_breaks_a_pass_off,
);

/// All who write would wait with it.
#[tokio::test]
async fn tidying_does_not_wait_for_a_reader() {
    let directory = tempfile::tempdir().unwrap();
    let kept = sqlite(directory.path(), "one").await;
    let (origin, after) = fill_days(&*kept.store, 0..2).await;
    let Database::Sqlite(path) = &*kept.database else { unreachable!() };
    let reader = rusqlite::Connection::open(path).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM events").unwrap();
    let batches = of_day(after + 1, clock::now(), 0);
    kept.store.commit(&Commit { origin, after, batches }).await.unwrap();
    let tidied = tokio::time::timeout(Duration::from_secs(5), kept.store.tidy()).await;
    assert!(!tidied.unwrap().unwrap());
    reader.execute_batch("COMMIT").unwrap();
}
