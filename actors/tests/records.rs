//! The conformance suite of what stores keep for people: whatever is promised of `RecordStore`, and
//! of lists of jobs, holds for both stores.

#![expect(clippy::unwrap_used, reason = "a failing test is told by a panic")]

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use faultline_actors::{
    adapters::{
        journal::Origin,
        store::{
            Commit, Store, StoreError,
            job_page::job_page,
            jobs::{Budget, JobFilter, Outcome, Steer},
            postgres::Postgres,
            records::{AuditFilter, NotificationFilter, RejectedFilter, Replay},
            sqlite::Sqlite,
            statistics::{By, DayCount, Days},
            trail::Note,
        },
    },
    domain::{
        batch::Batch,
        event::Source,
        job::{Action, State, Step},
        notification::{Notification, Urgency},
    },
};
use faultline_testkit::database::Database;
use serde_json::json;
use uuid::Uuid;

#[path = "support/batches.rs"]
mod batches;
#[path = "support/decisions.rs"]
mod decisions;

use batches::{batch, batch_at, report};
use decisions::{create, decided, made, met};

const LEASE: Duration = Duration::from_mins(1);
/// Far longer than any search takes here.
const LONG: Duration = Duration::from_mins(1);

/// A store, and the way around it.
struct Kept {
    store: Arc<dyn Store>,
    database: Arc<Database>,
}

async fn commit(store: &dyn Store, batches: Vec<Arc<Batch>>) {
    let origin = Origin::now_v7();
    store.position(origin).await.unwrap();
    store.commit(&Commit { origin, after: 0, batches }).await.unwrap();
}

/// Makes a job for each of these messages' faults; gives their numbers, the oldest first.
async fn jobs_for(store: &dyn Store, messages: &[&str]) -> Vec<i64> {
    for fault in met(store, messages).await {
        let intent = create(1, &format!("fl-{}", Uuid::new_v4().simple()));
        store.decide(&[decided(&fault, Some(intent))], None).await.unwrap();
    }
    let mut jobs = store.jobs(&JobFilter::default(), 1_000).await.unwrap();
    jobs.reverse();
    jobs.into_iter().map(|job| job.id).collect()
}

/// All jobs of a filter, a page at a time.
async fn paged(store: &dyn Store, filter: &JobFilter, limit: u32, budget: Duration) -> Vec<i64> {
    let mut filter = filter.clone();
    let mut all = Vec::new();
    loop {
        let page = job_page(store, &filter, limit, budget).await.unwrap();
        assert!(page.jobs.len() <= limit as usize);
        all.extend(page.jobs.iter().map(|job| job.id));
        match page.next {
            Some(next) => filter.before = Some(next),
            None => return all,
        }
    }
}

async fn jobs_are_found_and_counted(kept: &Kept) {
    let store = &*kept.store;
    let jobs = jobs_for(store, &["the door jams", "a window broke", "no light at all"]).await;
    let holder = Uuid::new_v4();
    store.claim(holder, LEASE, 1).await.unwrap();
    assert!(store.settle(jobs[0], holder, &made("OPS-7")).await.unwrap());
    store.claim(holder, LEASE, 1).await.unwrap();
    let problems = vec![("customfield_1".to_owned(), "is required".to_owned())];
    let error = "Rejected: customfield_1".to_owned();
    let dead = Outcome { problems, error, is_attempt: true, ..Outcome::new(Step::GiveUp) };
    assert!(store.settle(jobs[1], holder, &dead).await.unwrap());

    let first =
        store.jobs(&JobFilter { ids: Some(vec![jobs[0]]), ..JobFilter::default() }, 9).await;
    let first = first.unwrap().remove(0);
    let all = JobFilter::default;
    let text = |text: &str| Some(text.to_owned());
    let newest_first = vec![jobs[2], jobs[1], jobs[0]];
    for (filter, expected) in [
        (all(), newest_first.clone()),
        (JobFilter { state: Some(State::Dead), ..all() }, vec![jobs[1]]),
        (JobFilter { action: Some(Action::Create), ..all() }, newest_first.clone()),
        (JobFilter { action: Some(Action::Reopen), ..all() }, vec![]),
        (JobFilter { environment: text("prod"), ..all() }, newest_first.clone()),
        (JobFilter { environment: text("dev"), ..all() }, vec![]),
        (JobFilter { fault: Some(first.fault), ..all() }, vec![jobs[0]]),
        (JobFilter { key: text("OPS-7"), ..all() }, vec![jobs[0]]),
        (JobFilter { text: text("CUSTOMFIELD_1"), ..all() }, vec![jobs[1]]),
        (JobFilter { text: text("it broke"), state: Some(State::Dead), ..all() }, vec![jobs[1]]),
        (JobFilter { text: text("100%_"), ..all() }, vec![]),
        (JobFilter { since: Some(first.created_at), ..all() }, newest_first.clone()),
        (JobFilter { until: Some(first.created_at), ..all() }, vec![]),
        (JobFilter { before: Some(jobs[1]), ..all() }, vec![jobs[0]]),
    ] {
        for limit in [1, 2, 10] {
            assert_eq!(paged(store, &filter, limit, LONG).await, expected, "{filter:?}");
        }
        let counts = store.job_counts(&filter).await.unwrap();
        let count: u64 = counts.iter().map(|(_, count)| count).sum();
        assert_eq!(count, expected.len() as u64, "{filter:?}");
    }
    let queues = store.job_queues(&all()).await.unwrap();
    let of = |state| (Action::Create, state, 1);
    let expected = [State::Completed, State::Dead, State::Waiting].map(of);
    assert_eq!(queues, expected);

    let failures = store.job_failures(jobs[1]).await.unwrap();
    assert_eq!(failures.len(), 1);
    assert_eq!(failures[0].problems.get().replace(' ', ""), "[[\"customfield_1\",\"isrequired\"]]");
    assert!(store.job_failures(jobs[0]).await.unwrap().is_empty());
    let prod = JobFilter { environment: text("prod"), ..all() };
    let retried = store.steer(&prod, &Steer::Retry, "anna").await.unwrap();
    assert_eq!(retried, [jobs[1]], "only the dead one can be");
}

/// Fills in jobs by SQL: of one fault, each with its own ticket.
async fn fill_jobs(kept: &Kept, count: usize) -> i64 {
    let fault = met(&*kept.store, &["the first of many"]).await[0].fault.fault;
    let numbers = match *kept.database {
        Database::Postgres(_) => format!("generate_series(1, {count}) AS numbers (n)"),
        Database::Sqlite(_) => format!(
            "(WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers
              LIMIT {count}) SELECT n FROM numbers)"
        ),
    };
    let (now, json) = match *kept.database {
        Database::Postgres(_) => ("now() + n * interval '1 ms'", "::json"),
        Database::Sqlite(_) => ("1795316400000000 + n * 1000", ""),
    };
    let filler = "x".repeat(600);
    kept.database
        .execute(&format!(
            "INSERT INTO tickets (fault, incident, locator, key, created_at, commented_at)
             SELECT {fault}, n, 'fl-' || n, 'OPS-' || n, {now}, {now} FROM {numbers};
             INSERT INTO jobs (fault, incident, action, mark, environment, state, due_at, rule,
                 request, created_at, updated_at)
             SELECT {fault}, n, CASE WHEN n % 1000 = 7 THEN 'reopen' ELSE 'create' END, '',
                 CASE WHEN n % 500 = 3 THEN 'dev' ELSE 'prod' END,
                 CASE WHEN n % 100 = 0 THEN 'dead' WHEN n % 7 = 0 THEN 'waiting'
                     ELSE 'completed' END,
                 {now}, 'all', ('{{\"summary\": \"number ' || n || ' {filler}\"}}'){json}, {now}, {now}
             FROM {numbers};"
        ))
        .await;
    if let Database::Postgres(_) = *kept.database {
        kept.database.execute("ANALYZE jobs; ANALYZE tickets").await;
    }
    fault
}

/// With `FAULTLINE_TEST_JOBS=100000` it also says how long each filter takes.
async fn many_jobs_are_paged(kept: &Kept) {
    let count = std::env::var("FAULTLINE_TEST_JOBS").ok().and_then(|text| text.parse().ok());
    let (is_measured, count) = (count.is_some(), count.unwrap_or(5_000));
    let fault = fill_jobs(kept, count).await;
    let store = &*kept.store;
    let all = JobFilter::default;
    let text = |text: &str| Some(text.to_owned());
    let newest = store.jobs(&all(), 1).await.unwrap().remove(0);
    for (filter, expected) in [
        (all(), count),
        (JobFilter { state: Some(State::Dead), ..all() }, count / 100),
        (JobFilter { action: Some(Action::Reopen), ..all() }, count / 1000),
        (JobFilter { environment: text("dev"), ..all() }, count / 500),
        (JobFilter { environment: text("dev"), state: Some(State::Dead), ..all() }, 0),
        (JobFilter { fault: Some(fault), ..all() }, count),
        (JobFilter { key: text("OPS-17"), ..all() }, 1),
        (JobFilter { until: Some(newest.created_at), ..all() }, count - 1),
        (JobFilter { since: Some(newest.created_at), ..all() }, 1),
        (JobFilter { text: text("NUMBER 17 "), ..all() }, 1),
        (JobFilter { text: text("0 x"), ..all() }, count / 10),
        (JobFilter { text: text("nowhere"), ..all() }, 0),
    ] {
        let counted: u64 = store.job_counts(&filter).await.unwrap().iter().map(|(_, n)| n).sum();
        assert_eq!(counted, expected as u64, "{filter:?}");
        if is_measured {
            measure(store, &filter).await;
            continue;
        }
        // A search that may take no time at all comes to its end all the same.
        for budget in [LONG, Duration::ZERO] {
            let jobs = paged(store, &filter, 1_000, budget).await;
            assert_eq!(jobs.len(), expected, "{filter:?}");
            assert!(jobs.is_sorted_by(|one, other| one > other), "{filter:?}");
        }
    }
}

/// The 95th percentile of a page, and of the counts.
async fn measure(store: &dyn Store, filter: &JobFilter) {
    let mut took = [Vec::new(), Vec::new()];
    for _ in 0..20 {
        let started = std::time::Instant::now();
        job_page(store, filter, 50, Duration::from_millis(120)).await.unwrap();
        took[0].push(started.elapsed());
        let started = std::time::Instant::now();
        store.job_queues(filter).await.unwrap();
        took[1].push(started.elapsed());
    }
    let p95 = took.map(|mut took| {
        took.sort_unstable();
        took[18]
    });
    let shown =
        format!("{}: page {:.1?}, counts {:.1?}: {filter:?}\n", store.name(), p95[0], p95[1]);
    std::io::Write::write_all(&mut std::io::stderr(), shown.as_bytes()).unwrap();
}

async fn rejected_messages_are_found_and_replayed_once(kept: &Kept) {
    let store = &*kept.store;
    let long = vec![b'{'; 5_000];
    let lines = [b"bad\nworse\n", long.as_slice()].concat();
    commit(store, vec![batch(1, Source::Maxwell, &lines), batch(2, Source::Logdrains, b"odd")])
        .await;
    let all = RejectedFilter::default;
    let ids = async |filter: &RejectedFilter| {
        let rows = store.list_rejected(filter, 100).await.unwrap();
        rows.into_iter().map(|row| row.id).collect::<Vec<_>>()
    };
    let rows = store.list_rejected(&all(), 100).await.unwrap();
    assert_eq!(rows.len(), 4);
    assert!(rows.is_sorted_by_key(|row| -row.id), "the newest first");
    let longest = rows.iter().max_by_key(|row| row.length).unwrap();
    assert_eq!((longest.bytes.len(), longest.length), (2_000, 5_000), "cut in lists");
    let whole = store.one_rejected(longest.id).await.unwrap().unwrap();
    assert_eq!(whole.bytes, long);
    assert!(store.one_rejected(999).await.unwrap().is_none());

    let maxwell = RejectedFilter { source: Some(Source::Maxwell), ..all() };
    assert_eq!(ids(&maxwell).await.len(), 3);
    let odd = rows.iter().find(|row| row.source == "logdrains").unwrap();
    let reason = RejectedFilter { reason: Some(odd.reason.clone()), ..all() };
    assert_eq!(ids(&reason).await, [odd.id]);
    assert_eq!(ids(&RejectedFilter { reason: Some("odd".to_owned()), ..all() }).await, [0; 0]);
    let received = Some(odd.received_at);
    assert_eq!(ids(&RejectedFilter { since: received, ..all() }).await.len(), 4);
    assert_eq!(ids(&RejectedFilter { until: received, ..all() }).await.len(), 0);
    let behind = RejectedFilter { before: Some(rows[1].id), ..all() };
    assert_eq!(ids(&behind).await, [rows[2].id, rows[3].id]);
    let two = RejectedFilter { ids: Some(vec![rows[0].id, rows[3].id]), ..all() };
    assert_eq!(ids(&two).await, [rows[0].id, rows[3].id]);

    let id = odd.id;
    assert_eq!(store.count_replayable(&all()).await.unwrap(), 4);
    assert_eq!(store.claim_replay(999, LEASE).await.unwrap(), Replay::Missing);
    assert_eq!(store.claim_replay(id, LEASE).await.unwrap(), Replay::Granted);
    assert_eq!(store.claim_replay(id, LEASE).await.unwrap(), Replay::Underway);
    store.release_replay(id).await.unwrap();
    assert_eq!(store.claim_replay(id, LEASE).await.unwrap(), Replay::Granted);
    assert!(store.replayed(id, "anna").await.unwrap());
    assert!(!store.replayed(id, "anna").await.unwrap(), "once");
    assert_eq!(store.claim_replay(id, LEASE).await.unwrap(), Replay::Done);
    assert_eq!(store.count_replayable(&all()).await.unwrap(), 3);
    assert_eq!(ids(&RejectedFilter { is_replayed: Some(true), ..all() }).await, [id]);
    assert_eq!(ids(&RejectedFilter { is_replayed: Some(false), ..all() }).await.len(), 3);
    assert!(store.one_rejected(id).await.unwrap().unwrap().replayed_at.is_some());
    let audit = store.audit(10).await.unwrap();
    assert_eq!((audit.len(), audit[0].who.as_str()), (1, "anna"));
    assert_eq!(audit[0].subject, format!("rejected {id}"));
}

async fn the_audit_trail_is_searched(kept: &Kept) {
    let store = &*kept.store;
    let jobs = jobs_for(store, &["the door jams", "a window broke"]).await;
    store.pause(true, "anna").await.unwrap();
    let found = async |filter: AuditFilter| {
        let rows = store.list_audit(&filter, 100).await.unwrap();
        assert!(rows.is_sorted_by_key(|row| -row.id), "the newest first");
        rows
    };
    let text = |text: &str| Some(text.to_owned());
    let all = AuditFilter::default;
    let rows = found(all()).await;
    assert_eq!(rows.len(), 3);
    assert_eq!(
        (rows[0].action.as_str(), rows[0].fault, rows[0].job),
        ("dispatch.pause", None, None)
    );
    let of_job = found(AuditFilter { job: Some(jobs[0]), ..all() }).await;
    assert_eq!((of_job.len(), of_job[0].job), (1, Some(jobs[0])));
    let fault = of_job[0].fault;
    assert!(fault.is_some());
    assert_eq!(found(AuditFilter { fault, ..all() }).await.len(), 1);
    assert_eq!(found(AuditFilter { who: text("anna"), ..all() }).await.len(), 1);
    assert_eq!(found(AuditFilter { action: text("job.intend"), ..all() }).await.len(), 2);
    assert_eq!(found(AuditFilter { subject: text("dispatch"), ..all() }).await.len(), 1);
    assert_eq!(found(AuditFilter { since: Some(rows[0].at), ..all() }).await[0].id, rows[0].id);
    assert!(found(AuditFilter { until: Some(rows[2].at), ..all() }).await.is_empty());
    assert_eq!(found(AuditFilter { before: Some(rows[1].id), ..all() }).await.len(), 1);
    let none = AuditFilter { who: text("anna"), action: text("job.intend"), ..all() };
    assert!(found(none).await.is_empty());
}

async fn what_is_about_nothing_stored_is_noted(kept: &Kept) {
    let store = &*kept.store;
    let details = json!({ "applied": ["admin.token: another secret"] });
    let (who, action, subject) = ("anna", "config.reload", "config");
    store.note(Note { who, action, subject, details: &details }).await.unwrap();
    let filter = AuditFilter { action: Some(action.to_owned()), ..AuditFilter::default() };
    let entry = store.list_audit(&filter, 10).await.unwrap().remove(0);
    assert_eq!((entry.who.as_str(), entry.subject.as_str()), (who, subject));
    let kept: serde_json::Value = serde_json::from_str(entry.details.get()).unwrap();
    assert_eq!((kept, entry.fault, entry.job), (details, None, None));
}

async fn titles(store: &dyn Store) -> Vec<String> {
    let all = store.notifications(&NotificationFilter::default(), 100).await.unwrap();
    all.into_iter().map(|notification| notification.title).collect()
}

async fn people_are_told_of_what_happens(kept: &Kept) {
    let store = &*kept.store;
    store.pause(false, "anna").await.unwrap();
    assert!(titles(store).await.is_empty(), "it was not paused");
    for is_paused in [true, true, false] {
        store.pause(is_paused, "anna").await.unwrap();
    }
    assert_eq!(titles(store).await, ["Dispatch goes on", "Dispatch is paused"]);

    let jobs = jobs_for(store, &["the door jams"]).await;
    let holder = Uuid::new_v4();
    store.claim(holder, LEASE, 1).await.unwrap();
    let dead = Outcome { error: "no such field".to_owned(), ..Outcome::new(Step::GiveUp) };
    assert!(store.settle(jobs[0], holder, &dead).await.unwrap());
    assert!(!store.settle(jobs[0], holder, &dead).await.unwrap());
    let newest = store.notifications(&NotificationFilter::default(), 1).await.unwrap().remove(0);
    assert!(newest.title.contains("is dead"), "{}", newest.title);
    assert_eq!((newest.body.as_str(), newest.severity.as_str()), ("no such field", "critical"));
    assert_eq!(newest.link, Some(format!("/jobs/{}", jobs[0])));

    // It comes back: as a second hub that has decided the same, nobody is told twice.
    let fault = &met(store, &["the door jams"]).await[0];
    let mut reopen = create(1, "");
    (reopen.action, reopen.mark) = (Action::Reopen, "17".to_owned());
    let back = [decided(fault, Some(reopen))];
    assert_eq!(store.decide(&back, None).await.unwrap().intents, 1);
    assert_eq!(store.decide(&back, None).await.unwrap().intents, 0);
    let fault = &met(store, &["the door jams"]).await[0];
    let mut anew = create(2, "fl-anew");
    anew.request["before"] = json!("OPS-1");
    store.decide(&[decided(fault, Some(anew))], None).await.unwrap();
    let told = titles(store).await;
    assert_eq!(told.iter().filter(|title| title.contains("is back")).count(), 2, "{told:?}");
    assert_eq!(told.len(), 5, "a first ticket is no news: {told:?}");
}

async fn a_storm_is_told_of(kept: &Kept) {
    let store = &*kept.store;
    let undecided = met(store, &["the door jams", "a window broke"]).await;
    let decisions: Vec<_> = undecided
        .iter()
        .map(|fault| decided(fault, Some(create(1, &format!("fl-{}", fault.fault.fault)))))
        .collect();
    let budget = Some(Budget { tickets: 1, window: Duration::from_mins(10) });
    store.decide(&decisions, budget).await.unwrap();
    for _ in 0..2 {
        store.begin_storm("prod", "a storm", &create(1, "fl-storm")).await.unwrap();
    }
    let storm = store.storms(Duration::from_mins(10)).await.unwrap()[0].fault.unwrap();
    for _ in 0..2 {
        store.end_storm(storm).await.unwrap();
    }
    let expected = ["The storm of new faults in prod is over", "A storm of new faults in prod"];
    assert_eq!(titles(store).await, expected);
}

async fn notifications_are_read_by_the_team_and_bounded(kept: &Kept) {
    let store = &*kept.store;
    for round in 0..4 {
        store.pause(round % 2 == 0, "anna").await.unwrap();
    }
    let list = async |filter: NotificationFilter| store.notifications(&filter, 100).await.unwrap();
    let all = NotificationFilter::default();
    let rows = list(all).await;
    assert_eq!((rows.len(), store.unread().await.unwrap()), (4, 4));
    assert!(rows.iter().all(|row| !row.is_read && row.read_by.is_none()));
    assert_eq!(store.read(Some(&[rows[1].id, 999]), "bert").await.unwrap(), 3);
    let read = list(all).await.remove(1);
    assert_eq!((read.is_read, read.read_by.as_deref()), (true, Some("bert")));
    assert_eq!(store.read(Some(&[rows[1].id]), "carl").await.unwrap(), 3);
    assert_eq!(list(all).await[1].read_by.as_deref(), Some("bert"), "the first one's");
    let unread = NotificationFilter { is_unread: true, ..all };
    assert_eq!(list(unread).await.len(), 3);
    let warnings = NotificationFilter { urgency: Some(Urgency::Warning), ..all };
    assert_eq!(list(warnings).await.len(), 2);
    let behind = NotificationFilter { before: Some(rows[2].id), ..all };
    assert_eq!(list(behind).await.len(), 1);
    assert_eq!(store.read(None, "carl").await.unwrap(), 0);

    let many = "INSERT INTO notifications (at, severity, component, title, body)
                SELECT at, severity, component, title, body FROM notifications";
    for _ in 0..12 {
        kept.database.execute(many).await;
    }
    store.pause(true, "anna").await.unwrap();
    let count = kept.database.number("SELECT count(*) FROM notifications").await;
    assert_eq!(count, i64::from(Notification::KEPT));
    assert_eq!(titles(store).await[0], "Dispatch is paused", "the newest are kept");
}

const TABLE: &str = "SELECT day || ' ' || environment || ' ' || service || ' ' || kind || ' '
    || severity || ' ' || source || ' ' || events || ' ' || messages FROM daily_statistics ORDER BY 1";

/// The statistics, and the same counted anew as the migration counts what is there.
async fn recount(database: &Database) -> [Vec<String>; 2] {
    let migration = match database {
        Database::Postgres(_) => include_str!("../../migrations/postgres/V009__records.sql"),
        Database::Sqlite(_) => include_str!("../../migrations/sqlite/V009__records.sql"),
    };
    let (_, count) = migration.split_once("INSERT INTO daily_statistics").unwrap();
    let kept = database.texts(TABLE).await;
    database.execute("DELETE FROM daily_statistics").await;
    database.execute(&format!("INSERT INTO daily_statistics {count}")).await;
    [kept, database.texts(TABLE).await]
}

const LATER: i64 = 86_400_000_000;

async fn statistics_are_exact(kept: &Kept) {
    let store = &*kept.store;
    // Two services turn up again and again, more than are looked through at once.
    let reports: Vec<_> = (0..60)
        .map(|number| json!({ "message": "m", "service": format!("s{}", number % 20) }))
        .collect();
    let body = serde_json::to_vec(&reports).unwrap();
    let trace = b"<190>1 2026-11-22T03:00:07+00:00 host app web.1 - Error: boom\n";
    let next = b"<190>1 2026-11-22T03:00:07+00:00 host app web.1 -     at f (/a.js:1:2)\n";
    let frames = faultline_testkit::program::frames([trace.as_slice(), next.as_slice()]);
    let bucket = br#"{"type":"created","bucket":"b","key":"k","size":1,"etag":"e",
        "last_modified":"2026-11-22T03:00:00Z","id":"0123456789abcdef0123456789abcdef"}"#;
    let bucket = bucket.iter().copied().filter(|byte| *byte != b'\n').collect::<Vec<_>>();
    let origin = Origin::now_v7();
    store.position(origin).await.unwrap();
    let once = Commit {
        origin,
        after: 0,
        batches: vec![
            batch(1, Source::Errors, &body),
            batch(2, Source::Logdrains, &frames),
            batch(3, Source::Maxwell, b"not json"),
            report(4, "poison"),
            report(5, "good"),
            batch(6, Source::Bucket, &bucket),
            batch_at(7, Source::Errors, br#"{"message":"tomorrow"}"#, batches::NOW + LATER),
        ],
    };
    store.commit(&once).await.unwrap();
    let again = store.commit(&once).await;
    assert!(matches!(again, Err(StoreError::Moved { .. })), "{again:?}");
    commit(store, vec![batch(1, Source::Bucket, &bucket), report(2, "poison")]).await;
    let [kept_counts, counted] = recount(&kept.database).await;
    assert_eq!(kept_counts, counted);
    let events = kept.database.number("SELECT count(*) FROM events").await;

    let days = Days { since: "2026-11-22".parse().unwrap(), until: "2026-11-23".parse().unwrap() };
    let by = async |by| store.statistics(days, by).await.unwrap();
    let by_day = by(By::Day).await;
    let on = |rows: &[DayCount]| rows.iter().map(|row| row.day.clone()).collect::<Vec<_>>();
    assert_eq!(on(&by_day), ["2026-11-22", "2026-11-23"]);
    assert_eq!(by_day[0].events + by_day[1].events, events);
    assert!(by_day[0].messages > by_day[0].events, "a stack trace is several messages");
    assert_eq!((by_day[1].events, by_day[1].key.as_str()), (1, ""));
    for by in [By::Environment, By::Service, By::Severity, By::Kind, By::Source] {
        let rows = store.statistics(days, by).await.unwrap();
        assert_eq!(rows.iter().map(|row| row.events).sum::<i64>(), events, "{by:?}");
    }
    let of_errors: Vec<_> =
        by(By::Source).await.into_iter().filter(|row| row.key == "errors").collect();
    assert_eq!(of_errors[0].events, 61, "without the poison");
    let services: BTreeSet<_> = by(By::Service).await.into_iter().map(|row| row.key).collect();
    assert!(services.contains("s19") && services.contains("shop"), "{services:?}");
    let before =
        Days { since: "2026-11-01".parse().unwrap(), until: "2026-11-21".parse().unwrap() };
    assert!(store.statistics(before, By::Day).await.unwrap().is_empty());
}

async fn few_keys_are_told_apart(kept: &Kept) {
    let store = &*kept.store;
    let reports: Vec<_> = (0..150)
        .flat_map(|number| {
            let report = json!({ "message": "m", "service": format!("s{number:03}") });
            std::iter::repeat_n(report, if number < 99 { 2 } else { 1 })
        })
        .collect();
    commit(store, vec![batch(1, Source::Errors, &serde_json::to_vec(&reports).unwrap())]).await;
    let day = "2026-11-22".parse().unwrap();
    let rows = store.statistics(Days { since: day, until: day }, By::Service).await.unwrap();
    assert_eq!(rows.len(), 101);
    let others = rows.iter().find(|row| row.key == DayCount::OTHERS).unwrap();
    assert_eq!(others.events, 50);
}

async fn the_ends_of_jobs_are_counted_by_day(kept: &Kept) {
    let store = &*kept.store;
    let jobs = jobs_for(store, &["the door jams", "a window broke", "no light at all"]).await;
    let holder = Uuid::new_v4();
    store.claim(holder, LEASE, 10).await.unwrap();
    store.settle(jobs[0], holder, &made("OPS-1")).await.unwrap();
    store.settle(jobs[1], holder, &Outcome::new(Step::GiveUp)).await.unwrap();
    store.settle(jobs[2], holder, &Outcome::new(Step::GiveUp)).await.unwrap();
    let one = JobFilter { ids: Some(vec![jobs[1]]), ..JobFilter::default() };
    store.steer(&one, &Steer::Discard, "anna").await.unwrap();
    let now = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    // Midnight may pass meanwhile.
    let days = Days { since: now.yesterday().unwrap(), until: now.tomorrow().unwrap() };
    let mut counts = std::collections::BTreeMap::new();
    for row in store.job_statistics(days).await.unwrap() {
        assert_eq!(row.action, "create");
        *counts.entry(row.outcome).or_insert(0) += row.count;
    }
    let expected = [("completed", 1), ("dead", 2), ("discarded", 1)];
    assert_eq!(counts, expected.map(|(outcome, count)| (outcome.to_owned(), count)).into());
}

/// Every promise, each in a store of its own.
macro_rules! every_promise {
    ($kept:expr) => {
        jobs_are_found_and_counted(&$kept).await;
        many_jobs_are_paged(&$kept).await;
        rejected_messages_are_found_and_replayed_once(&$kept).await;
        the_audit_trail_is_searched(&$kept).await;
        what_is_about_nothing_stored_is_noted(&$kept).await;
        people_are_told_of_what_happens(&$kept).await;
        a_storm_is_told_of(&$kept).await;
        notifications_are_read_by_the_team_and_bounded(&$kept).await;
        statistics_are_exact(&$kept).await;
        few_keys_are_told_apart(&$kept).await;
        the_ends_of_jobs_are_counted_by_day(&$kept).await;
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

/// Hubs that count the same groups, met in another order by each, do not wait for each other in a
/// circle, and nothing is counted twice or forgotten.
#[tokio::test(flavor = "multi_thread")]
async fn hubs_count_together() {
    let server = faultline_testkit::postgres::Postgres::start();
    postgres(&server.url()).migrate().await.unwrap();
    let mut hubs = tokio::task::JoinSet::new();
    for hub in 0..4_u64 {
        let store = postgres(&server.url());
        hubs.spawn(async move {
            let origin = Origin::now_v7();
            store.position(origin).await.unwrap();
            for turn in 0..25 {
                let mut days: Vec<i64> = (0..10).collect();
                if hub % 2 == 1 {
                    days.reverse();
                }
                // No faults, whose locks would have the hubs take turns.
                let line = b"<190>1 2026-11-22T03:00:07+00:00 host app web.1 - all is well\n";
                let body = faultline_testkit::program::frames([line]);
                let after = turn * 10;
                let batches = days.into_iter().zip(after + 1..).map(|(day, sequence)| {
                    let at = batches::NOW + day * LATER;
                    batch_at(sequence, Source::Logdrains, &body, at)
                });
                let batches = batches.collect();
                store.commit(&Commit { origin, after, batches }).await.unwrap();
            }
        });
    }
    hubs.join_all().await;
    let database = Database::Postgres(Box::new(server));
    let [kept, counted] = recount(&database).await;
    assert_eq!(kept, counted);
    assert_eq!(database.number("SELECT sum(events)::bigint FROM daily_statistics").await, 1_000);
}
