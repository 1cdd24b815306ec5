//! What retention promises, of both stores: what is old leaves, and only that; what left can come
//! back as it was, once; nothing is counted twice or forgotten, whatever happens in between.

#![expect(clippy::unwrap_used, reason = "a failing test is told by a panic")]

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use faultline_actors::{
    adapters::{
        clock,
        journal::Origin,
        store::{
            Commit, Store,
            jobs::{JobFilter, Outcome},
            postgres::Postgres,
            retention::{Leave, RestoreError},
            search::EventFilter,
            sqlite::Sqlite,
            statistics::{By, Days},
        },
    },
    domain::{
        batch::Batch,
        event::Source,
        job::Step,
        retention::{day_of, days_between, moments_of, oldest_kept},
        time::DAY,
        words::terms::Terms,
    },
    retention::{
        Retention, Settings, Status, Work,
        restore::{self, Failure},
    },
    stage::{Finish, Live},
};
use faultline_testkit::{database::Database, eventually, program::frames};
use kameo::actor::{ActorRef, Spawn};
use uuid::Uuid;

#[path = "support/batches.rs"]
mod batches;
#[path = "support/decisions.rs"]
mod decisions;

use batches::{batch_at, newest};
use decisions::{create, decided, made, met};

const DAYS: i64 = 90;
const KEPT: Duration = Duration::from_hours(30 * 24);
const WEEK: Duration = Duration::from_hours(7 * 24);

/// A store, the way around it, and a directory for archives.
struct Kept {
    store: Arc<dyn Store>,
    database: Arc<Database>,
    archive: PathBuf,
}

/// What a day has: a report with attributes, a request, a line that is no text, a trace.
fn of_day(sequence: u64, at: i64, day: i64) -> Vec<Arc<Batch>> {
    let report = format!(
        r#"{{"message":"it broke","service":"shop","attributes":{{"n": 1.50,  "day":{day},"é":"\u0041"}},
            "stackTrace":"Error: it broke\n    at pay (app.js:1:2)"}}"#
    );
    let lines = frames([
        format!("<190>1 2026-11-22T03:00:07+00:00 host app web.1 - all is well, day-{day}\n").as_bytes(),
        b"<187>1 2026-11-22T03:00:08+00:00 host app web.1 - caf\xe9 \x00 closed\n",
        b"<158>1 2026-11-22T03:00:09+00:00 host heroku router - at=info method=GET path=\"/a\" \
          host=example.com request_id=x fwd=\"1.2.3.4\" dyno=web.1 connect=0ms service=5ms status=200 \
          bytes=10 protocol=https\n",
    ]);
    vec![
        batch_at(sequence, Source::Errors, report.as_bytes(), at),
        batch_at(sequence + 1, Source::Logdrains, &lines, at + 7),
    ]
}

/// Stores ninety days, each in a commit; gives their journal, and the position after them.
async fn fill(store: &dyn Store) -> (Origin, u64) {
    let origin = Origin::now_v7();
    store.position(origin).await.unwrap();
    let today = moments_of(day_of(clock::now())).0;
    let mut after = 0;
    for age in (0..DAYS).rev() {
        let at = today - age * DAY + 1_000;
        let batches = of_day(after + 1, at, age);
        store.commit(&Commit { origin, after, batches }).await.unwrap();
        after += 2;
    }
    (origin, after)
}

impl Kept {
    /// Every column of every event.
    async fn events(&self) -> Vec<String> {
        let bytes = match &*self.database {
            Database::Sqlite(_) => "hex(message_bytes)",
            Database::Postgres(_) => "upper(encode(message_bytes, 'hex'))",
        };
        let or = |column: &str| format!("coalesce(CAST({column} AS text), 'none')");
        let optional =
            ["process", "stack_trace", "attributes", "priority", "fingerprint"].map(or).join(", ");
        let sql = format!(
            "SELECT concat_ws('|', origin, sequence, ordinal, received_at, occurred_at, source, kind,
                 severity, environment, service, message,
                 CASE WHEN message_bytes IS NULL THEN 'none' ELSE {bytes} END, messages, {optional})
             FROM events ORDER BY origin, sequence, ordinal"
        );
        self.database.texts(&sql).await
    }

    async fn statistics(&self) -> (Vec<String>, Vec<String>, i64) {
        let days =
            "SELECT concat_ws('|', day, environment, service, kind, severity, source, events,
            messages) FROM daily_statistics ORDER BY 1";
        let faults = "SELECT concat_ws('|', fingerprint, count, first_seen, last_seen) FROM faults
            ORDER BY 1";
        let hours = "SELECT CAST(sum(count) AS bigint) FROM fault_hours";
        (
            self.database.texts(days).await,
            self.database.texts(faults).await,
            self.database.number(hours).await,
        )
    }

    fn settings(&self) -> Settings {
        Settings {
            events: KEPT,
            archive: self.archive.clone(),
            every: Duration::from_secs(1),
            share: 1.0,
            ..Settings::default()
        }
    }

    /// Starts retention, as a hub does.
    fn start(&self, settings: Settings) -> Hub {
        let status = Arc::<Status>::default();
        let work = Arc::new(Work {
            settings: Live::new(settings),
            store: self.store.clone(),
            holder: Uuid::now_v7(),
            status: status.clone(),
        });
        Hub { actor: Retention::spawn(Retention::new(work.clone())), work }
    }

    /// Lets it do all that there is to do.
    async fn retain(&self, settings: Settings) {
        let hub = self.start(settings);
        hub.done().await;
        hub.finish().await;
    }

    /// The archives, the oldest first.
    fn archives(&self) -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir(&self.archive) else { return Vec::new() };
        let mut paths: Vec<PathBuf> = entries
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "zst"))
            .collect();
        paths.sort();
        paths
    }

    async fn restore(&self, path: &Path) -> Result<u64, Failure> {
        let mut seen = 0;
        let restored = restore::restore(&*self.store, path, WEEK, |back, all| {
            assert!(back >= seen && back <= all);
            seen = back;
        })
        .await?;
        assert_eq!(seen, restored.manifest.events);
        Ok(restored.events)
    }

    /// The days that it has, as ages.
    async fn ages(&self) -> Vec<i64> {
        let today = moments_of(day_of(clock::now())).0;
        let days = self.store.event_days().await.unwrap();
        let mut ages: Vec<i64> =
            days.iter().map(|it| (today - moments_of(it.day).0) / DAY).collect();
        ages.reverse();
        // PostgreSQL makes tomorrow's ahead.
        ages.retain(|age| *age >= 0);
        ages
    }

    /// How many counts differ, of days of which there are events; PostgreSQL makes a partition ahead.
    async fn recounted(&self) -> usize {
        let mut differ = 0;
        let day = match &*self.database {
            Database::Sqlite(_) => "date(received_at / 1000000, 'unixepoch')",
            Database::Postgres(_) => "CAST((received_at AT TIME ZONE 'UTC')::date AS text)",
        };
        let sql = format!("SELECT DISTINCT {day} FROM events ORDER BY 1");
        for day in self.database.texts(&sql).await {
            let day = day.parse().unwrap();
            let recount = self.store.recount(Days { since: day, until: day }).await.unwrap();
            assert!(!recount.kept.is_empty());
            differ += recount.differences().len();
        }
        differ
    }
}

struct Hub {
    actor: ActorRef<Retention>,
    work: Arc<Work>,
}

impl Hub {
    async fn done(&self) {
        eventually("all that was old has left", async || {
            let state = self.work.status.look();
            state.last_success.map(drop).ok_or(state.problem)
        })
        .await;
    }

    async fn finish(self) {
        self.actor.ask(Finish).await.unwrap();
        self.actor.kill();
    }
}

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
    let past = match &*kept.database {
        Database::Sqlite(_) => "1",
        Database::Postgres(_) => "now() - interval '1 minute'",
    };
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
    let hub = kept.start(kept.settings());
    let problem = eventually("it fails", async || hub.work.status.look().problem.ok_or("")).await;
    hub.finish().await;
    assert!(!problem.is_empty());
    std::fs::remove_file(&kept.archive).unwrap();
    kept.retain(kept.settings()).await;
    assert_eq!(kept.archives().len(), 59);
    for path in kept.archives() {
        kept.restore(&path).await.unwrap();
    }
    assert_eq!(kept.events().await, all);
}

async fn rows_go_by_age_and_statistics_stay(kept: &Kept) {
    let store = &*kept.store;
    let holder = Uuid::now_v7();
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
    let long_ago = match &*kept.database {
        Database::Sqlite(_) => (clock::now() - 400 * DAY).to_string(),
        Database::Postgres(_) => "now() - interval '400 days'".to_owned(),
    };
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
    assert!(count("audit_trail").await > 0, "for ever");
    let settings = Settings { audit_trail: WEEK, ..kept.settings() };
    kept.retain(settings).await;
    assert_eq!(count("audit_trail").await, 0);
    assert_eq!(store.job_statistics(days).await.unwrap(), before);
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

/// Every promise, each in a store of its own.
macro_rules! every_promise {
    ($kept:expr) => {
        days_leave_and_come_back(&$kept).await;
        what_comes_late_leaves_as_well(&$kept).await;
        a_day_comes_back_alone(&$kept).await;
        what_is_broken_off_goes_on(&$kept).await;
        an_archive_of_what_is_there_is_refused(&$kept).await;
        without_archives_they_just_go(&$kept).await;
        a_directory_that_cannot_be_written_keeps_the_events(&$kept).await;
        rows_go_by_age_and_statistics_stay(&$kept).await;
        a_wrong_count_is_found_and_repaired(&$kept).await;
    };
}

async fn sqlite(directory: &Path, name: &str) -> Kept {
    let path = directory.join(format!("{name}.db"));
    let store = Sqlite::open(&path).unwrap();
    store.migrate().await.unwrap();
    let archive = directory.join(name).join("archive");
    Kept { store: Arc::new(store), database: Arc::new(Database::Sqlite(path)), archive }
}

#[tokio::test]
async fn sqlite_conforms() {
    let directory = tempfile::tempdir().unwrap();
    let mut number = 0;
    every_promise!({
        number += 1;
        sqlite(directory.path(), &number.to_string()).await
    });
}

fn postgres(url: &str) -> Arc<dyn Store> {
    let timeout = Duration::from_secs(30);
    Arc::new(Postgres::new(url, 8, timeout, timeout).unwrap())
}

#[tokio::test]
async fn postgres_conforms() {
    let directory = tempfile::tempdir().unwrap();
    let server = faultline_testkit::postgres::Postgres::start();
    let database = Arc::new(Database::Postgres(Box::new(server)));
    let mut number = 0;
    every_promise!({
        number += 1;
        database.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public").await;
        let store = postgres(&database.url());
        store.migrate().await.unwrap();
        let archive = directory.path().join(number.to_string()).join("archive");
        Kept { store, database: database.clone(), archive }
    });
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
    let batches = of_day(after + 1, clock::now(), 0);
    store.commit(&Commit { origin, after, batches }).await.unwrap();
    reader.batch_execute("COMMIT").await.unwrap();
    let left = store.leave_day(oldest, false, Duration::from_secs(5)).await.unwrap();
    assert!(matches!(left, Leave::Leaving(_)), "{left:?}");
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
            kept.store.archived(&leaving, None).await.unwrap();
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
