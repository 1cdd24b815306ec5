//! What retention promises, of both stores: what is old leaves, and only that; what left can come
//! back as it was, once; nothing is counted twice or forgotten, whatever happens in between.

#![expect(clippy::unwrap_used, reason = "a failing test is told by a panic")]

use std::{path::PathBuf, sync::Arc, time::Duration};

use faultline_actors::{
    adapters::{
        clock,
        journal::Origin,
        store::{
            Commit, Store,
            jobs::{JobFilter, Outcome},
            retention::{Leave, Pruned, RestoreError},
            search::EventFilter,
            statistics::{By, Days},
        },
    },
    domain::{
        event::Source,
        job::Step,
        retention::{Aged, day_of, days_between, moments_of, oldest_kept},
        time::{DAY, HOUR},
        words::terms::Terms,
    },
    retention::{Settings, restore::Failure},
};
use faultline_testkit::{database::Database, eventually, program::frames};
use uuid::Uuid;

#[path = "support/batches.rs"]
mod batches;
#[path = "support/decisions.rs"]
mod decisions;
#[path = "support/kept.rs"]
mod kept;

use batches::{batch_at, newest};
use decisions::{create, decided, made, met};
use kept::{KEPT, Kept, WEEK, fill, fill_days, of_day, postgres, promises, sqlite};

async fn days_leave_and_come_back(kept: &Kept) {
    fill(&*kept.store).await;
    let (all, counted) = (kept.events().await, kept.statistics().await);
    assert_eq!(all.len(), 4 * 90);
    assert_eq!(kept.recounted().await, 0);
    kept.retain(kept.settings()).await;
    let young = kept.events().await;
    assert_eq!(kept.ages().await, (0..=30).collect::<Vec<_>>());
    assert_eq!(young.len(), 4 * 31);
    assert!(young.iter().all(|event| all.contains(event)));
    assert_eq!(kept.statistics().await, counted, "for ever");
    assert_eq!(kept.recounted().await, 0);
    let archives = kept.archives();
    assert_eq!(archives.len(), 59);
    let others = std::fs::read_dir(&kept.archive).unwrap().count();
    assert_eq!(others, 2 * 59, "a manifest each, and nothing else");

    for path in &archives {
        assert_eq!(kept.restore(path).await.unwrap(), 4);
    }
    assert_eq!(kept.events().await, all, "every column of every event");
    for path in &archives {
        assert_eq!(kept.restore(path).await.unwrap(), 0, "once");
    }
    assert_eq!(kept.events().await, all);
    assert_eq!(kept.statistics().await, counted, "not counted again");
    let filter = EventFilter { text: Terms::parse("day-80").unwrap(), ..EventFilter::default() };
    let found = newest(&*kept.store, &filter, 10).await;
    assert_eq!(found.len(), 1, "it is found");
    assert!(kept.store.event(found[0].id).await.unwrap().is_some());

    kept.retain(kept.settings()).await;
    assert_eq!(kept.events().await, all, "it stays for its time");
    let past = kept.at(clock::now() - 1);
    kept.database.execute(&format!("UPDATE restored_days SET until = {past}")).await;
    kept.retain(kept.settings()).await;
    assert_eq!(kept.events().await, young);
    assert_eq!(kept.archives(), archives, "they are in archives already");
    assert_eq!(kept.restore(&archives[7]).await.unwrap(), 4, "and can come back again");
}

async fn what_comes_late_leaves_as_well(kept: &Kept) {
    let (origin, after) = fill(&*kept.store).await;
    let at = moments_of(day_of(clock::now())).0 - 70 * DAY;
    kept.retain(kept.settings()).await;
    let batches = of_day(after + 1, at, 70);
    kept.store.commit(&Commit { origin, after, batches }).await.unwrap();
    let late = kept.events().await;
    let day = day_of(at);
    let of_day = |path: &&PathBuf| path.display().to_string().contains(&day.to_string());
    let parts = || kept.archives().iter().filter(of_day).cloned().collect::<Vec<_>>();
    let left = kept.store.leave_day(day, true, Duration::from_secs(1)).await.unwrap();
    assert!(matches!(left, Leave::Leaving(_)), "{left:?}");
    // What came back to it now would be taken for late, too.
    let refused = kept.restore(&parts()[0]).await.unwrap_err();
    let told = format!("events of {day} are leaving the store just now: try again later");
    assert_eq!(refused.to_string(), told);
    kept.retain(kept.settings()).await;
    let parts = parts();
    assert_eq!(parts.len(), 2);
    assert_eq!(kept.ages().await.len(), 31);
    for part in &parts {
        assert_eq!(kept.restore(part).await.unwrap(), 4);
    }
    let back = kept.events().await;
    assert!(late.iter().all(|event| back.contains(event)));
    assert_eq!(kept.recounted().await, 0, "both parts are counted");
}

/// Nothing beside it, which retention would see as another day that is old.
async fn a_day_comes_back_alone(kept: &Kept) {
    fill(&*kept.store).await;
    kept.retain(kept.settings()).await;
    let oldest = &kept.archives()[0];
    assert_eq!(kept.restore(oldest).await.unwrap(), 4);
    assert_eq!(kept.ages().await, (0..=30).chain([89]).collect::<Vec<_>>());
    kept.retain(kept.settings()).await;
    assert_eq!(kept.store.gone_days(1_000).await.unwrap().len(), 59);
}

async fn what_is_broken_off_goes_on(kept: &Kept) {
    fill(&*kept.store).await;
    let all = kept.events().await;
    let oldest = kept.store.event_days().await.unwrap()[0].day;
    let patience = Duration::from_secs(1);
    let left = kept.store.leave_day(oldest, true, patience).await.unwrap();
    let Leave::Leaving(leaving) = left else { panic!("{left:?}") };
    // A file that a crash has left half written.
    std::fs::create_dir_all(&kept.archive).unwrap();
    let name = leaving.file.clone().unwrap();
    std::fs::write(kept.archive.join(format!("{name}.partial")), b"half").unwrap();
    let again = kept.store.leave_day(oldest, true, patience).await.unwrap();
    assert!(matches!(again, Leave::Nothing), "{again:?}");
    kept.retain(kept.settings()).await;
    assert_eq!(kept.archives().len(), 59);
    let files = std::fs::read_dir(&kept.archive).unwrap().count();
    assert_eq!(files, 2 * 59, "nothing half written remains");
    for path in kept.archives() {
        kept.restore(&path).await.unwrap();
    }
    assert_eq!(kept.events().await, all);
}

async fn an_archive_of_what_is_there_is_refused(kept: &Kept) {
    fill(&*kept.store).await;
    let all = kept.events().await;
    kept.retain(kept.settings()).await;
    let path = &kept.archives()[0];
    assert_eq!(kept.restore(path).await.unwrap(), 4);
    // As if it were the archive of another store, with the same events.
    kept.database.execute("DELETE FROM restored_days; DELETE FROM gone_days").await;
    let refused = kept.restore(path).await.unwrap_err();
    let Failure::Restore(RestoreError::Refused(why)) = &refused else { panic!("{refused:?}") };
    assert!(why.contains("the store has events of"), "{why}");
    let there = kept.events().await;
    assert_eq!(there.len(), 4 * 32);
    assert!(there.iter().all(|event| all.contains(event)));
}

async fn without_archives_they_just_go(kept: &Kept) {
    fill(&*kept.store).await;
    let settings = Settings { archive: PathBuf::new(), ..kept.settings() };
    kept.retain(settings).await;
    assert_eq!(kept.ages().await.len(), 31);
    assert!(kept.archives().is_empty());
    let gone = kept.store.gone_days(1_000).await.unwrap();
    assert_eq!(gone.iter().map(|day| day.events).sum::<i64>(), 59 * 4);
    let runs = kept.store.retention_runs(10).await.unwrap();
    assert!(runs[0].report.get().contains("\"events\":236"), "{}", runs[0].report);
    let tables = kept.store.sizes().await.unwrap();
    assert!(tables.iter().any(|size| size.bytes > 0));
}

async fn a_directory_that_cannot_be_written_keeps_the_events(kept: &Kept) {
    fill(&*kept.store).await;
    let all = kept.events().await;
    std::fs::create_dir_all(kept.archive.parent().unwrap()).unwrap();
    std::fs::write(&kept.archive, b"a file").unwrap();
    kept.store.save_snapshot(clock::now() - 40 * DAY, "{}").await.unwrap();
    assert!(!kept.fail(kept.settings()).await.is_empty());
    let snapshots = "SELECT count(*) FROM metric_snapshots";
    assert_eq!(kept.database.number(snapshots).await, 0, "all else goes");
    std::fs::remove_file(&kept.archive).unwrap();
    kept.retain(kept.settings()).await;
    assert_eq!(kept.archives().len(), 59);
    for path in kept.archives() {
        kept.restore(&path).await.unwrap();
    }
    assert_eq!(kept.events().await, all);
}

/// Events of yesterday and today, no faults among them: what is there bears out the clock.
async fn events_of_these_days(store: &dyn Store) {
    let origin = Origin::now_v7();
    store.position(origin).await.unwrap();
    let line = frames([b"<190>1 2026-11-22T03:00:07+00:00 host app web.1 - well\n" as &[u8]]);
    for (after, age) in [(0, 1), (1, 0)] {
        let at = clock::now() - age * DAY;
        let batches = vec![batch_at(after + 1, Source::Logdrains, &line, at)];
        store.commit(&Commit { origin, after, batches }).await.unwrap();
    }
}

/// Keeps rejected messages of these moments.
async fn reject(kept: &Kept, moments: &[i64]) {
    let bytes = match &*kept.database {
        Database::Sqlite(_) => "CAST('a' AS blob)",
        Database::Postgres(_) => "CAST('a' AS bytea)",
    };
    let row = |at: &i64| {
        let at = kept.at(*at);
        format!("(1, 1, 0, {at}, 'logdrains', 'no frame', {bytes}, 1, 1)")
    };
    let rows = moments.iter().map(row).collect::<Vec<_>>().join(", ");
    let sql = format!(
        "INSERT INTO rejected (origin, sequence, ordinal, received_at, source, reason, bytes, length,
             messages) VALUES {rows}"
    );
    kept.database.execute(&sql).await;
}

/// Rejected messages, errors and alerts: some old ones, and one of each that is not.
async fn old_and_new_records(kept: &Kept) {
    reject(kept, &[clock::now() - 400 * DAY, clock::now()]).await;
    let (old, new) = (kept.at(clock::now() - 400 * DAY), kept.at(clock::now()));
    for (at, name) in [(&old, "old"), (&new, "new")] {
        kept.database
            .execute(&format!(
                "INSERT INTO error_logs (hub, level, target, template, message, first_at, last_at,
                     count)
                 VALUES ('hub', 'error', 'store', '{name}', '{name}', {old}, {at}, 1)"
            ))
            .await;
    }
    for (resolved_at, subject) in
        [(&*old, "old"), (&*new, "new"), (&*old, "untold"), ("NULL", "open")]
    {
        kept.database
            .execute(&format!(
                "INSERT INTO alerts (kind, subject, hub, opened_by, cause, link, since, opened_at,
                     seen_at, tell_at, resolved_at)
                 VALUES ('k', '{subject}', '', 'hub', 'it broke', '/', {old}, {old}, {old}, {old},
                     {resolved_at})"
            ))
            .await;
    }
    kept.database
        .execute(&format!(
            "INSERT INTO alert_deliveries (alert, channel, what, cause, token, created_at,
                 not_before)
             SELECT id, 'mail', 'resolved', 'it broke', '{}', {old}, {old}
             FROM alerts WHERE subject = 'untold'",
            Uuid::now_v7()
        ))
        .await;
}

async fn rows_go_by_age_and_statistics_stay(kept: &Kept) {
    let store = &*kept.store;
    let holder = Uuid::now_v7();
    events_of_these_days(store).await;
    for fault in met(store, &["the door jams", "a window broke", "no light at all"]).await {
        let locator = format!("fl-{}", Uuid::new_v4().simple());
        store.decide(&[decided(&fault, Some(create(1, &locator)))], None).await.unwrap();
    }
    let jobs = store.claim(holder, WEEK, 10).await.unwrap();
    store.settle(jobs[0].id, holder, &made("OPS-1")).await.unwrap();
    store.settle(jobs[1].id, holder, &made("OPS-2")).await.unwrap();
    store.settle(jobs[2].id, holder, &Outcome::new(Step::GiveUp)).await.unwrap();
    store.save_snapshot(clock::now() - 40 * DAY, "{}").await.unwrap();
    store.save_snapshot(clock::now(), "{}").await.unwrap();
    let long_ago = kept.at(clock::now() - 400 * DAY);
    old_and_new_records(kept).await;
    for (table, column) in [("notifications", "at"), ("fault_hours", "hour"), ("audit_trail", "at")]
    {
        kept.database.execute(&format!("UPDATE {table} SET {column} = {long_ago}")).await;
    }
    let one = jobs[0].id;
    let update = format!("UPDATE jobs SET updated_at = {long_ago} WHERE id <> {}", jobs[1].id);
    kept.database.execute(&update).await;
    let today = day_of(clock::now());
    let days = Days { since: today.yesterday().unwrap(), until: today.tomorrow().unwrap() };
    let before = store.job_statistics(days).await.unwrap();
    assert_eq!(before.iter().map(|row| row.count).sum::<i64>(), 3);

    kept.retain(kept.settings()).await;
    let mut left: Vec<_> =
        store.jobs(&JobFilter::default(), 10).await.unwrap().iter().map(|job| job.id).collect();
    left.sort_unstable();
    assert_eq!(left, [jobs[1].id, jobs[2].id], "not {one}; dead ones stay");
    assert_eq!(store.job_statistics(days).await.unwrap(), before);
    let count =
        async |table: &str| kept.database.number(&format!("SELECT count(*) FROM {table}")).await;
    assert_eq!(count("metric_snapshots").await, 1);
    assert_eq!((count("notifications").await, count("fault_hours").await), (0, 0));
    assert_eq!((count("rejected").await, count("error_logs").await), (1, 1));
    let alerts = kept.database.texts("SELECT subject FROM alerts ORDER BY 1").await;
    assert_eq!(alerts, ["new", "open", "untold"]);
    assert!(count("audit_trail").await > 0, "for ever");
    let recounted = async || -> Vec<i64> {
        let differences = store.recount_jobs(days).await.unwrap().differences();
        differences.iter().map(|one| one.count).collect()
    };
    assert_eq!(recounted().await.iter().sum::<i64>(), -3, "their entries are of another day now");
    let settings = Settings { audit_trail: WEEK, ..kept.settings() };
    kept.retain(settings).await;
    assert_eq!(count("audit_trail").await, 0);
    assert_eq!(store.job_statistics(days).await.unwrap(), before);
    assert!(recounted().await.is_empty(), "what is forgotten is no difference");
}

/// An older row's number would lead to its history, and its comment in Jira be taken for the new one's.
async fn numbers_do_not_begin_anew(kept: &Kept) {
    let store = &*kept.store;
    events_of_these_days(store).await;
    let done = async |message: &str, key: &str| {
        let fault = met(store, &[message]).await.remove(0);
        let locator = format!("fl-{}", Uuid::new_v4().simple());
        store.decide(&[decided(&fault, Some(create(1, &locator)))], None).await.unwrap();
        let holder = Uuid::now_v7();
        let job = store.claim(holder, WEEK, 10).await.unwrap().remove(0);
        store.settle(job.id, holder, &made(key)).await.unwrap();
        job.id
    };
    done("the door jams", "OPS-1").await;
    let last = done("no light at all", "OPS-2").await;
    let long_ago = clock::now() - 400 * DAY;
    reject(kept, &[long_ago, long_ago]).await;
    let update = format!("UPDATE jobs SET updated_at = {}", kept.at(long_ago));
    kept.database.execute(&update).await;
    kept.retain(kept.settings()).await;
    let few = async |table: &str| {
        let rows = kept.database.number(&format!("SELECT count(*) FROM {table}")).await;
        assert!(rows <= 1, "{rows} of {table}");
    };
    few("jobs").await;
    few("rejected").await;
    assert!(done("a window broke", "OPS-3").await > last);
    reject(kept, &[clock::now()]).await;
    assert_eq!(kept.database.number("SELECT max(id) FROM rejected").await, 3);
}

/// In SQLite all who write wait meanwhile.
async fn no_more_goes_at_once_than_is_asked_for(kept: &Kept) {
    const LIMIT: u32 = 10;
    let store = &*kept.store;
    met(store, &["the door jams"]).await;
    let before = clock::now() - 400 * DAY;
    let old = (1..=50).map(|age| before - age * HOUR).collect::<Vec<_>>();
    let hours = old.iter().map(|at| {
        let at = kept.at(*at);
        format!("INSERT INTO fault_hours (shape, hour, count) SELECT id, {at}, 1 FROM fault_shapes")
    });
    kept.database.execute(&hours.collect::<Vec<_>>().join(";")).await;
    reject(kept, &old).await;
    reject(kept, &[clock::now()]).await;
    for (aged, table) in [(Aged::FaultHours, "fault_hours"), (Aged::Rejected, "rejected")] {
        let (mut after, mut gone) = (0, 0);
        loop {
            let Pruned { rows, next } = store.prune(aged, before, after, LIMIT).await.unwrap();
            assert!(rows <= u64::from(LIMIT), "{rows} of {table} at once");
            gone += rows;
            match next {
                Some(next) => after = next,
                None => break,
            }
        }
        assert_eq!(gone, 50, "of {table}");
        let left = kept.database.number(&format!("SELECT count(*) FROM {table}")).await;
        assert_eq!(left, 1, "of {table}");
    }
}

async fn a_wrong_count_is_found_and_repaired(kept: &Kept) {
    fill(&*kept.store).await;
    let days = kept.store.event_days().await.unwrap();
    let all = Days { since: days[0].day, until: days[days.len() - 1].day };
    let sum = async || -> i64 {
        let rows = kept.store.statistics(all, By::Day).await.unwrap();
        rows.iter().map(|row| row.events).sum()
    };
    assert_eq!(sum().await, 360);
    kept.database
        .execute(
            "UPDATE daily_statistics SET events = events + 5 WHERE kind = 'error';
             DELETE FROM daily_statistics WHERE kind = 'router'",
        )
        .await;
    let differences = kept.store.recount(all).await.unwrap().differences();
    assert_eq!(differences.len(), 180);
    assert!(differences.iter().all(|one| match one.kind.as_str() {
        "error" => (one.events, one.messages) == (-5, 0),
        _ => (one.events, one.messages) == (1, 1),
    }));
    kept.store.correct(&differences).await.unwrap();
    assert_eq!((sum().await, kept.recounted().await), (360, 0));
}

promises!(
    days_leave_and_come_back,
    what_comes_late_leaves_as_well,
    a_day_comes_back_alone,
    what_is_broken_off_goes_on,
    an_archive_of_what_is_there_is_refused,
    without_archives_they_just_go,
    a_directory_that_cannot_be_written_keeps_the_events,
    rows_go_by_age_and_statistics_stay,
    numbers_do_not_begin_anew,
    no_more_goes_at_once_than_is_asked_for,
    a_wrong_count_is_found_and_repaired,
);

/// Each day of each is archived, though the names are the same.
#[tokio::test]
async fn two_stores_share_a_directory_for_archives() {
    let directory = tempfile::tempdir().unwrap();
    let archive = directory.path().join("archive");
    let mut filled = Vec::new();
    for name in ["one", "other"] {
        let Kept { store, database, .. } = sqlite(directory.path(), name).await;
        let kept = Kept { store, database, archive: archive.clone() };
        fill(&*kept.store).await;
        let all = kept.events().await;
        kept.retain(kept.settings()).await;
        filled.push((kept, all));
    }
    assert_eq!(filled[0].0.archives().len(), 2 * 59);
    for (kept, all) in &filled {
        let gone = kept.store.gone_days(1_000).await.unwrap();
        assert_eq!(gone.len(), 59);
        for day in gone {
            let path = archive.join(day.file.unwrap());
            assert_eq!(kept.restore(&path).await.unwrap(), 4);
        }
        assert_eq!(&kept.events().await, all);
    }
}

/// Each day is archived by one of them, into its directory.
#[tokio::test(flavor = "multi_thread")]
async fn two_hubs_share_the_work() {
    let directory = tempfile::tempdir().unwrap();
    let server = faultline_testkit::postgres::Postgres::start();
    let database = Arc::new(Database::Postgres(Box::new(server)));
    postgres(&database.url()).migrate().await.unwrap();
    let hubs = ["one", "other"].map(|name| Kept {
        store: postgres(&database.url()),
        database: database.clone(),
        archive: directory.path().join(name),
    });
    fill(&*hubs[0].store).await;
    let all = hubs[0].events().await;
    let both = [hubs[0].start(hubs[0].settings()), hubs[1].start(hubs[1].settings())];
    eventually("all that was old has left", async || {
        let ages = hubs[0].ages().await;
        let open = hubs[0].store.leaving().await.unwrap().len();
        (ages.len() == 31 && open == 0).then_some(()).ok_or((ages.len(), open))
    })
    .await;
    for hub in both {
        hub.finish().await;
    }
    let archives: Vec<PathBuf> = hubs.iter().flat_map(Kept::archives).collect();
    assert_eq!(archives.len(), 59);
    for path in &archives {
        assert_eq!(hubs[1].restore(path).await.unwrap(), 4);
    }
    assert_eq!(hubs[0].events().await, all);
}

/// While somebody reads for long, writers are not held up, and the day leaves later.
#[tokio::test(flavor = "multi_thread")]
async fn a_day_in_use_does_not_hold_up_writers() {
    let server = faultline_testkit::postgres::Postgres::start();
    let store = postgres(&server.url());
    store.migrate().await.unwrap();
    let (origin, after) = fill(&*store).await;
    let reader = server.client().await;
    reader.batch_execute("BEGIN; SELECT count(*) FROM events").await.unwrap();
    let oldest = store.event_days().await.unwrap()[0].day;
    let busy = store.leave_day(oldest, false, Duration::from_millis(50)).await.unwrap();
    assert!(matches!(busy, Leave::Busy), "{busy:?}");
    // The partitions of another day are made meanwhile, too.
    for (after, day) in [(after, 0), (after + 2, 5)] {
        let batches = of_day(after + 1, clock::now() + day * DAY, day);
        store.commit(&Commit { origin, after, batches }).await.unwrap();
    }
    reader.batch_execute("COMMIT").await.unwrap();
    let left = store.leave_day(oldest, false, Duration::from_secs(5)).await.unwrap();
    assert!(matches!(left, Leave::Leaving(_)), "{left:?}");
}

/// Tomorrow's partition is not needed yet.
#[tokio::test(flavor = "multi_thread")]
async fn a_day_that_cannot_be_made_ahead_does_not_hold_up_writers() {
    let server = faultline_testkit::postgres::Postgres::start();
    let first = postgres(&server.url());
    first.migrate().await.unwrap();
    let (origin, after) = fill_days(&*first, 0..1).await;
    let tomorrow = day_of(clock::now()).tomorrow().unwrap().strftime("%Y%m%d").to_string();
    server.execute(&format!("DROP TABLE events_{tomorrow}, event_blocks_{tomorrow}")).await;
    let sql = format!("SELECT count(*) FROM pg_class WHERE relname = 'events_{tomorrow}'");
    // As ANALYZE does.
    let other = server.client().await;
    let lock = "BEGIN; LOCK TABLE ONLY events IN SHARE UPDATE EXCLUSIVE MODE";
    other.batch_execute(lock).await.unwrap();
    // One that does not know which days there are.
    let store = postgres(&server.url());
    let batches = of_day(after + 1, clock::now(), 0);
    store.commit(&Commit { origin, after, batches }).await.unwrap();
    assert_eq!(server.number(&sql).await, 0);
    other.batch_execute("COMMIT").await.unwrap();
    let after = after + 2;
    let batches = of_day(after + 1, clock::now(), 0);
    store.commit(&Commit { origin, after, batches }).await.unwrap();
    assert_eq!(server.number(&sql).await, 1, "it is tried again");
}

/// Attached or made in place: the same.
#[tokio::test]
async fn a_partition_is_as_its_table_says() {
    let server = faultline_testkit::postgres::Postgres::start();
    let store = postgres(&server.url());
    store.migrate().await.unwrap();
    fill_days(&*store, 0..1).await;
    server
        .execute(
            "CREATE TABLE events_in_place PARTITION OF events FOR VALUES FROM ('2001-01-01')
                 TO ('2001-01-02');
             CREATE TABLE event_blocks_in_place PARTITION OF event_blocks
                 FOR VALUES FROM ('2001-01-01') TO ('2001-01-02')",
        )
        .await;
    let client = server.client().await;
    let described = async |of: &str, ending: &str| -> Vec<String> {
        let sql = format!(
            "SELECT concat_ws('|', attname, atttypid, attnotnull, attstorage, attcompression,
                 attcollation, relpersistence, reloptions, relacl)
             FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
             WHERE c.relname = '{of}_{ending}' AND attnum > 0 ORDER BY attnum"
        );
        let columns = client.query(&sql, &[]).await.unwrap();
        let sql = format!(
            "SELECT regexp_replace(pg_get_indexdef(indexrelid), '^.* USING ', '')
                 || coalesce((SELECT c.reloptions::text FROM pg_class c WHERE c.oid = indexrelid), '')
             FROM pg_index WHERE indrelid = '{of}_{ending}'::regclass ORDER BY 1"
        );
        let indexes = client.query(&sql, &[]).await.unwrap();
        columns.iter().chain(&indexes).map(|row| row.get(0)).collect()
    };
    let today = day_of(clock::now()).strftime("%Y%m%d").to_string();
    for table in ["events", "event_blocks"] {
        let made = described(table, &today).await;
        assert!(made.len() > 10, "{made:?}");
        assert_eq!(made, described(table, "in_place").await);
    }
}

#[tokio::test]
async fn a_sqlite_file_does_not_grow_over_many_cycles() {
    let directory = tempfile::tempdir().unwrap();
    let kept = sqlite(directory.path(), "one").await;
    let size = || {
        ["one.db", "one.db-wal"]
            .map(|name| std::fs::metadata(directory.path().join(name)).map_or(0, |it| it.len()))
            .iter()
            .sum::<u64>()
    };
    let settings = Settings { archive: PathBuf::new(), ..kept.settings() };
    let mut sizes = Vec::new();
    for _ in 0..4 {
        fill(&*kept.store).await;
        // What stays is deleted as well, so that each cycle begins alike.
        kept.retain(settings.clone()).await;
        let young: Vec<_> = kept.store.event_days().await.unwrap();
        for day in young {
            let left = kept.store.leave_day(day.day, false, Duration::ZERO).await.unwrap();
            let Leave::Leaving(leaving) = left else { panic!("{left:?}") };
            kept.store.archived(&leaving, None, 4).await.unwrap();
            for step in kept.store.steps(&leaving).await.unwrap() {
                kept.store.delete_step(&leaving, &step).await.unwrap();
            }
            kept.store.drop_day(&leaving, 0).await.unwrap();
        }
        // A line for each day that went stays for ever: here ninety of them come with each cycle.
        kept.database.execute("DELETE FROM gone_days").await;
        while kept.store.tidy().await.unwrap() {}
        sizes.push(size());
    }
    assert!(kept.events().await.is_empty());
    assert!(sizes[3] <= sizes[0] + sizes[0] / 10, "{sizes:?}");
}

#[test]
fn the_days_that_stay_are_those_that_are_young_enough() {
    let now = clock::now();
    let oldest = oldest_kept(KEPT, now);
    assert_eq!(days_between(oldest, day_of(now)).count(), 31);
}
