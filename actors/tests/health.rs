//! The conformance suite of health: whatever is promised of `HealthStore` holds for both stores.

#![expect(clippy::unwrap_used, reason = "a failing test is told by a panic")]

use std::collections::BTreeMap;

use faultline_actors::{
    adapters::store::{
        Store,
        health::{ChangeFilter, ErrorFilter, KEPT_CHANGES, KEPT_ERRORS},
    },
    domain::{
        health::{Change, Known, Status, measured::Storm},
        own_log::{Group, Level},
    },
};
use faultline_testkit::postgres::Postgres;

#[path = "support/stores.rs"]
mod stores;

use Status::{Degraded, Healthy, Unhealthy};

fn change(at: i64, component: &str, before: Status, status: Status) -> Change {
    let (component, before) = (component.to_owned(), Some(before));
    Change { at, component, before, status, error: format!("at {at}") }
}

/// The moments of changes, the newest first.
async fn moments(store: &dyn Store, filter: &ChangeFilter, limit: u32) -> Vec<i64> {
    let changes = store.health_changes(filter, limit).await.unwrap();
    changes.iter().map(|change| change.at).collect()
}

async fn changes_are_kept_once_and_in_order(store: &dyn Store) {
    let first = [change(5, "redis", Healthy, Degraded), change(5, "database", Healthy, Unhealthy)];
    store.add_changes("a", &first).await.unwrap();
    // They were written, but nobody was told so.
    let again = [&first[..], &[change(7, "redis", Degraded, Healthy)]].concat();
    store.add_changes("a", &again).await.unwrap();
    store.add_changes("b", &[change(5, "redis", Healthy, Degraded)]).await.unwrap();
    let none = Change { before: None, ..change(9, "redis", Healthy, Healthy) };
    store.add_changes("a", &[none]).await.unwrap();

    let all = store.health_changes(&ChangeFilter::default(), 10).await.unwrap();
    let texts: Vec<String> = all
        .iter()
        .map(|it| {
            let (hub, component, before) = (&it.hub, &it.component, &it.before);
            format!("{hub} {component} {before} {} {} {}", it.status, it.at, it.error)
        })
        .collect();
    assert_eq!(
        texts,
        [
            "b redis healthy degraded 5 at 5",
            "a redis degraded healthy 7 at 7",
            "a database healthy unhealthy 5 at 5",
            "a redis healthy degraded 5 at 5",
        ]
    );
    let of = |component: &str, hub: Option<&str>| ChangeFilter {
        component: Some(component.to_owned()),
        hub: hub.map(str::to_owned),
        before: None,
    };
    assert_eq!(moments(store, &of("redis", None), 10).await, [5, 7, 5]);
    assert_eq!(moments(store, &of("redis", Some("a")), 10).await, [7, 5]);
    let behind = ChangeFilter { before: Some(all[1].id), ..ChangeFilter::default() };
    assert_eq!(moments(store, &behind, 1).await, [5]);

    let known = |status, since| Known { status, since };
    let expected = BTreeMap::from([
        ("database".to_owned(), known(Unhealthy, 5)),
        ("redis".to_owned(), known(Healthy, 7)),
    ]);
    assert_eq!(store.last_health("a").await.unwrap(), expected);
    assert_eq!(store.last_health("c").await.unwrap(), BTreeMap::new());
}

async fn the_newest_changes_are_kept(store: &dyn Store) {
    let status = |at| if at % 2 == 0 { (Healthy, Degraded) } else { (Degraded, Healthy) };
    let many: Vec<Change> = (0..i64::from(KEPT_CHANGES) + 50)
        .map(|at| change(1_000 + at, "spool", status(at).0, status(at).1))
        .collect();
    for part in many.chunks(1_000) {
        store.add_changes("a", part).await.unwrap();
    }
    let kept = moments(store, &ChangeFilter::default(), KEPT_CHANGES * 2).await;
    assert_eq!(kept.len(), KEPT_CHANGES as usize);
    assert_eq!((kept[0], kept[kept.len() - 1]), (1_000 + i64::from(KEPT_CHANGES) + 49, 1_050));
}

fn group(template: &str, (first_at, last_at): (i64, i64), count: i64) -> Group {
    Group {
        level: Level::Warn,
        target: "faultline::x".to_owned(),
        template: template.to_owned(),
        message: format!("{template} at {last_at}"),
        first_at,
        last_at,
        count,
    }
}

/// Templates, the one logged last first.
async fn templates(store: &dyn Store, filter: &ErrorFilter, limit: u32) -> Vec<String> {
    let errors = store.errors(filter, limit).await.unwrap();
    errors.into_iter().map(|error| error.template).collect()
}

async fn lines_that_say_the_same_are_one(store: &dyn Store) {
    let lost = Group { level: Level::Error, ..group("it is lost", (6, 6), 1) };
    store.add_errors("a", &[group("it is away", (3, 5), 2), lost]).await.unwrap();
    store.add_errors("a", &[group("it is away", (2, 9), 4)]).await.unwrap();
    store.add_errors("b", &[group("it is away", (7, 7), 1)]).await.unwrap();
    store.add_errors("b", &[]).await.unwrap();
    let all = store.errors(&ErrorFilter::default(), 10).await.unwrap();
    let texts: Vec<String> = all
        .iter()
        .map(|it| {
            let (hub, level, target, message) = (&it.hub, &it.level, &it.target, &it.message);
            format!("{hub} {level} {target} {message} {}-{} {}", it.first_at, it.last_at, it.count)
        })
        .collect();
    assert_eq!(
        texts,
        [
            "a warn faultline::x it is away at 9 2-9 6",
            "b warn faultline::x it is away at 7 7-7 1",
            "a error faultline::x it is lost at 6 6-6 1",
        ]
    );
    let errors = ErrorFilter { level: Some(Level::Error), after: None };
    assert_eq!(templates(store, &errors, 10).await, ["it is lost"]);
    let place = |index: usize| Some((all[index].last_at, all[index].id));
    let behind = |index| ErrorFilter { level: None, after: place(index) };
    assert_eq!(templates(store, &behind(0), 1).await, ["it is away"]);
    assert_eq!(templates(store, &behind(1), 10).await, ["it is lost"]);
    assert_eq!(templates(store, &behind(2), 10).await.len(), 0);
}

async fn the_lines_logged_last_are_kept(store: &dyn Store) {
    let many: Vec<Group> = (0..i64::from(KEPT_ERRORS) + 20)
        .map(|number| group(&format!("line {number}"), (100, 100 + number), 1))
        .collect();
    for part in many.chunks(200) {
        store.add_errors("a", part).await.unwrap();
    }
    let kept = templates(store, &ErrorFilter::default(), KEPT_ERRORS * 2).await;
    assert_eq!(kept.len(), KEPT_ERRORS as usize);
    let newest = format!("line {}", KEPT_ERRORS + 19);
    assert_eq!((&kept[0], &kept[kept.len() - 1]), (&newest, &"line 20".to_owned()));
}

async fn all_of_it(store: &dyn Store) {
    changes_are_kept_once_and_in_order(store).await;
    the_newest_changes_are_kept(store).await;
    lines_that_say_the_same_are_one(store).await;
    the_lines_logged_last_are_kept(store).await;
    assert_eq!(store.open_storms(10).await.unwrap(), Vec::<Storm>::new());
}

#[tokio::test]
async fn sqlite_keeps_health() {
    all_of_it(&*stores::sqlite().await).await;
}

#[tokio::test]
async fn postgres_keeps_health() {
    let server = Postgres::start();
    let store = stores::emptied(&server).await;
    all_of_it(&*store).await;
    server
        .execute(
            "INSERT INTO faults (environment, service, fingerprint, kind, severity, title, example,
                 latest, count, first_seen, last_seen)
             SELECT 'staging', '', 'v1:' || n, 'storm', 'error', '', '', '', 1, now(), now()
             FROM generate_series(1, 2) AS n;
             INSERT INTO storms (fault, environment, started_at, ended_at)
             SELECT id, environment, to_timestamp(7), CASE WHEN fingerprint = 'v1:1' THEN now() END
             FROM faults",
        )
        .await;
    let storm = Storm { environment: "staging".to_owned(), since: 7_000_000 };
    assert_eq!(store.open_storms(10).await.unwrap(), [storm]);
}
