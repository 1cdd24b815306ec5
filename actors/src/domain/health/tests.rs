use std::{collections::BTreeMap, time::Duration};

use bytesize::ByteSize;

use super::{
    measured::{Application, Breaker, Complaint, Disk, Jira, Measured, Queues, Spool, Storm},
    watch::compare,
    *,
};
use crate::domain::{
    alert::{ANY, Certainty, Condition, Kind, Scope},
    calls::{Run, Summary},
    event::Source,
    time::Micros,
};

const SECOND: Micros = 1_000_000;

/// A look so many seconds after the start, when nothing is wrong.
fn at(seconds: u32) -> Measured {
    Measured {
        at: 1_000_000 * SECOND + i64::from(seconds) * SECOND,
        running: Duration::from_secs(seconds.into()),
        spool: Spool { max_bytes: 1_000, ..Spool::default() },
        are_jobs_counted: true,
        storms: Some(Vec::new()),
        is_traffic_known: true,
        ..Measured::default()
    }
}

/// What holds, as kinds and subjects.
fn told(conditions: &[Condition]) -> Vec<(Kind, &str)> {
    conditions.iter().map(|one| (one.kind, one.subject.as_str())).collect()
}

/// Of conditions those that are certain.
fn certain(conditions: Vec<Condition>) -> Vec<Condition> {
    conditions.into_iter().filter(|one| one.certainty == Certainty::Holds).collect()
}

/// What holds when it is looked every ten seconds, from the first to the last second.
fn watch(seconds: u32, settings: &Settings, change: impl Fn(u32, &mut Measured)) -> Vec<Condition> {
    certain(watch_all(seconds, settings, change))
}

/// What holds, or may.
fn watch_all(
    seconds: u32,
    settings: &Settings,
    change: impl Fn(u32, &mut Measured),
) -> Vec<Condition> {
    let mut watch = Watch::default();
    let mut last = Vec::new();
    for second in (0..=seconds).step_by(10) {
        let mut measured = at(second);
        change(second, &mut measured);
        last = watch.look(&measured, settings).conditions;
    }
    last
}

fn status_of(measured: &Measured, component: &str) -> (Status, Option<String>) {
    let look = Watch::default().look(measured, &Settings::default());
    let component = &look.components[component];
    (component.status, component.error.clone())
}

#[test]
fn when_nothing_is_wrong_nothing_is_told() {
    let look = Watch::default().look(&at(0), &Settings::default());
    assert!(look.components.values().all(|one| one.status == Status::Healthy), "{look:?}");
    let names: Vec<&str> = look.components.keys().copied().collect();
    assert_eq!(names, ["application", "clock", "database", "jira", "queues", "spool", "stages"]);
    assert_eq!(certain(look.conditions), []);
}

#[test]
fn limits_hold_where_they_say() {
    let status = |change: &dyn Fn(&mut Measured), component: &str| {
        let mut measured = at(0);
        change(&mut measured);
        status_of(&measured, component).0
    };
    let jobs = |jobs| Queues { jobs, ..Queues::default() };
    let messages =
        |messages, oldest| Queues { messages, oldest: Duration::from_millis(oldest), jobs: 0 };
    for (queues, expected) in [
        (jobs(999), Status::Healthy),
        (jobs(1_000), Status::Degraded),
        (messages(1_000_000, 5_000), Status::Healthy),
        (messages(999, 5_001), Status::Healthy),
        (messages(1_000, 5_001), Status::Degraded),
        (messages(1, 30_000), Status::Healthy),
        (messages(1, 30_001), Status::Degraded),
    ] {
        let is = status(&|it| it.queues = queues.clone(), "queues");
        assert_eq!(is, expected, "{queues:?}");
    }
    let gib = ByteSize::gib(1).as_u64();
    for (resident, lag, expected) in [
        (Some(gib - 1), 999, Status::Healthy),
        (Some(gib), 0, Status::Degraded),
        (None, 999, Status::Healthy),
        (None, 1_000, Status::Degraded),
    ] {
        let lag = Duration::from_millis(lag);
        let application = Application { resident_bytes: resident, lag, ..Application::default() };
        let is = status(&|it| it.application = application.clone(), "application");
        assert_eq!(is, expected, "{resident:?} {lag:?}");
    }
    for (used, disk, error, expected) in [
        (800, 800, None, Status::Healthy),
        (801, 0, None, Status::Degraded),
        (0, 801, None, Status::Degraded),
        (0, 0, Some("no space left"), Status::Unhealthy),
        (999, 999, Some("no space left"), Status::Unhealthy),
    ] {
        let is = status(
            &|it| {
                it.spool.used_bytes = used;
                it.spool.disk = Some(Disk { used_bytes: disk, free_bytes: 1_000 - disk });
                it.spool.error = error.map(str::to_owned);
            },
            "spool",
        );
        assert_eq!(is, expected, "{used} {disk} {error:?}");
    }
    for (breaker, is_paused, dead, expected) in [
        (Breaker::Closed, false, 0, Status::Healthy),
        (Breaker::Closed, true, 0, Status::Degraded),
        (Breaker::Closed, false, 1, Status::Degraded),
        (Breaker::HalfOpen, false, 0, Status::Unhealthy),
        (Breaker::Open, false, 0, Status::Unhealthy),
    ] {
        let reason = (breaker != Breaker::Closed).then(|| "503".to_owned());
        let jira = Jira { breaker, reason, is_paused, dead, ..Jira::default() };
        assert_eq!(status(&|it| it.jira = jira.clone(), "jira"), expected, "{jira:?}");
    }
}

#[test]
fn a_component_that_is_not_well_is_told_of_after_a_while() {
    let settings = Settings::default();
    let away = |from: u32| {
        move |second: u32, measured: &mut Measured| {
            let error = (second >= from).then(|| "connection refused".to_owned());
            measured.database.error = error;
        }
    };
    assert_eq!(told(&watch(70, &settings, away(50))), []);
    let conditions = watch(80, &settings, away(50));
    assert_eq!(told(&conditions), [(Kind::ComponentUnhealthy, "database")]);
    let [condition] = &conditions[..] else { unreachable!() };
    assert_eq!((condition.cause.as_str(), condition.scope), ("connection refused", Scope::Hub));
    assert_eq!(condition.since, at(50).at);
    // It is back for one look in between.
    let blinks = |second: u32, measured: &mut Measured| {
        let error = (second != 60).then(|| "connection refused".to_owned());
        measured.database.error = error;
    };
    assert_eq!(told(&watch(80, &settings, blinks)), []);
    let degraded = watch(30, &settings, |_, it| it.application.lag = Duration::from_secs(2));
    assert_eq!(told(&degraded), [(Kind::ComponentDegraded, "application")]);
}

#[test]
fn secrets_are_not_told() {
    let error = "cannot log in with password=hunter2secret";
    let settings = Settings { tell_after: Duration::ZERO, ..Settings::default() };
    let mut measured = at(0);
    measured.database.error = Some(error.to_owned());
    let look = Watch::default().look(&measured, &settings);
    let conditions = certain(look.conditions);
    assert!(!conditions[0].cause.contains("hunter2"), "{conditions:?}");
    let change = look.changes.iter().find(|change| change.component == "database").unwrap();
    assert!(!change.error.contains("hunter2"), "{change:?}");
}

#[test]
fn partners_are_told_of_by_their_calls() {
    let settings = Settings::default();
    let told = |failures, refused: Option<u32>, seconds| {
        let conditions = watch(seconds, &settings, |_, measured| {
            let run = Run {
                failures,
                since: (failures > 0).then_some(at(0).at),
                refused_since: refused.map(|second| at(second).at),
            };
            let last_error = Some("503".to_owned());
            measured.partners = vec![("jira", Summary { last_error, run, ..Summary::default() })];
        });
        conditions.iter().map(|one| one.kind).collect::<Vec<_>>()
    };
    assert_eq!(told(0, None, 600), []);
    assert_eq!(told(1, None, 600), [], "one alone");
    assert_eq!(told(4, None, 50), []);
    assert_eq!(told(4, None, 60), [Kind::PartnerDown]);
    assert_eq!(told(5, None, 50), [Kind::FailuresInARow]);
    assert_eq!(told(5, None, 60), [Kind::FailuresInARow, Kind::PartnerDown]);
    assert_eq!(told(1, Some(0), 0), [Kind::AuthFailure]);
}

#[test]
fn refused_credentials_are_not_over_while_some_calls_are_refused() {
    let refused = |auth_failures| {
        let conditions = watch_all(0, &Settings::default(), |_, measured| {
            let last_success = Some(measured.at);
            let calls = Summary { auth_failures, last_success, ..Summary::default() };
            measured.partners = vec![("jira", calls)];
        });
        let refused = conditions.into_iter().filter(|one| one.kind == Kind::AuthFailure);
        refused.map(|one| (one.subject, one.certainty)).collect::<Vec<_>>()
    };
    assert_eq!(refused(1), [("jira".to_owned(), Certainty::MayHold)]);
    assert_eq!(refused(0), []);
}

#[test]
fn a_queue_must_be_deep_for_long() {
    let settings = Settings::default();
    let deep = |jobs: u64| move |_: u32, measured: &mut Measured| measured.queues.jobs = jobs;
    let tells = |conditions: Vec<Condition>| {
        let deep = conditions.iter().find(|one| one.kind == Kind::QueueDeep);
        deep.map(|one| (one.subject.clone(), one.scope))
    };
    let jobs = Some(("jobs".to_owned(), Scope::Shared));
    assert_eq!(tells(watch(290, &settings, deep(1_000))), None);
    assert_eq!(tells(watch(300, &settings, deep(1_000))), jobs);
    assert_eq!(tells(watch(600, &settings, deep(999))), None);
    let messages = watch(300, &settings, |_, measured| {
        measured.queues.messages = 1_000;
        measured.queues.oldest = Duration::from_secs(6);
    });
    assert_eq!(tells(messages), Some(("messages".to_owned(), Scope::Hub)));
}

#[test]
fn a_stage_is_stuck_while_records_wait_and_none_is_stored() {
    let settings = Settings::default();
    let waiting = vec![("parser", 4, 4), ("fan_out", 1, 1), ("batch_writer", 0, 8)];
    let stands = |second: u32, measured: &mut Measured| {
        measured.chain.head = 20 + u64::from(second);
        measured.chain.acknowledged = 7;
        measured.chain.waiting = waiting.clone();
    };
    // The first look cannot know that it stands.
    assert_eq!(told(&watch(60, &settings, stands)), []);
    assert_eq!(told(&watch(70, &settings, stands)), [(Kind::StageStuck, "fan_out")]);
    let mut watched = Watch::default();
    for second in (0..=70).step_by(10) {
        let mut measured = at(second);
        stands(second, &mut measured);
        let stages = watched.look(&measured, &settings).components["stages"].clone();
        let expected = if second < 70 { Status::Healthy } else { Status::Unhealthy };
        assert_eq!(stages.status, expected, "{second}: {stages:?}");
    }
    let moves = |second: u32, measured: &mut Measured| {
        stands(second, measured);
        measured.chain.acknowledged = u64::from(second / 30);
    };
    assert_eq!(told(&watch(600, &settings, moves)), []);
    let nothing_waits = |_: u32, measured: &mut Measured| {
        (measured.chain.head, measured.chain.acknowledged) = (7, 7);
    };
    assert_eq!(told(&watch(600, &settings, nothing_waits)), []);
    let in_hand = |_: u32, measured: &mut Measured| measured.chain.head = 7;
    assert_eq!(told(&watch(600, &settings, in_hand))[0], (Kind::StageStuck, "pipeline"));
    let store_away = |second: u32, measured: &mut Measured| {
        stands(second, measured);
        measured.database.error = Some("away".to_owned());
    };
    assert_eq!(told(&watch(600, &settings, store_away)), [(Kind::ComponentUnhealthy, "database")]);
    let worker = |second: u32, measured: &mut Measured| {
        measured.chain.jira_worker_ago = Some(Duration::from_secs(second.into()));
    };
    // Ten seconds late, and a minute after that.
    assert_eq!(told(&watch(70, &settings, worker)), []);
    assert_eq!(told(&watch(80, &settings, worker))[0], (Kind::StageStuck, "jira_worker"));
}

#[test]
fn what_nobody_can_know_yet_may_hold() {
    let settings = Settings::default();
    let may = |conditions: &[Condition]| {
        let may = conditions.iter().filter(|one| one.certainty == Certainty::MayHold);
        may.map(|one| (one.kind, one.subject.clone())).collect::<Vec<_>>()
    };
    let silent = Source::ALL.map(|source| (Kind::SourceSilent, source.name().to_owned()));
    assert_eq!(may(&watch_all(600, &settings, |_, _| {})), silent);
    // Nobody wants to know it.
    let off = Settings { source_silent_after: Duration::ZERO, ..Settings::default() };
    assert_eq!(may(&watch_all(600, &off, |_, _| {})), []);
    // One source has sent; a partner was not called, or not with success, since the start.
    let called = |last_success, until| {
        let conditions = watch_all(until, &settings, |second, measured| {
            let mut received = [0; Source::COUNT];
            received[Source::Errors as usize] = u64::from(second);
            measured.received = Some(received);
            measured.partners = vec![("jira", Summary { last_success, ..Summary::default() })];
        });
        may(&conditions)
    };
    let unknown = [
        Kind::FailuresInARow,
        Kind::PartnerDown,
        Kind::AuthFailure,
        Kind::ComponentUnhealthy,
        Kind::ComponentDegraded,
    ];
    let of_jira = unknown.map(|kind| (kind, "jira".to_owned()));
    assert!(!called(None, 10).contains(&(Kind::SourceSilent, "errors".to_owned())));
    assert_eq!(called(None, 3_590)[Source::COUNT - 1..], of_jira);
    assert_eq!(called(None, 3_600).len(), Source::COUNT - 1, "some are seldom called");
    assert_eq!(called(Some(7), 10).len(), Source::COUNT - 1);
    // What is seen counts more than what is not known, and what is not yet certain may hold.
    let conditions = watch_all(60, &settings, |second, measured| {
        let run = Run { failures: 2, since: Some(at(0).at), refused_since: None };
        measured.partners = vec![("jira", Summary { run, ..Summary::default() })];
        measured.queues.jobs = if second == 60 { 1_000 } else { 0 };
    });
    let down: Vec<_> = conditions.iter().filter(|one| one.kind == Kind::PartnerDown).collect();
    assert_eq!((down.len(), down[0].certainty), (1, Certainty::Holds));
    assert!(may(&conditions).contains(&(Kind::QueueDeep, "jobs".to_owned())));
}

#[test]
fn what_could_not_be_measured_may_hold() {
    let settings = Settings { source_silent_after: Duration::ZERO, ..Settings::default() };
    let may = |change: fn(&mut Measured)| {
        let conditions = watch_all(0, &settings, |_, measured| change(measured));
        assert_eq!(certain(conditions.clone()), []);
        let may = conditions.into_iter().map(|one| (one.kind, one.subject, one.scope));
        may.collect::<Vec<_>>()
    };
    let of = |kind, subject: &str, scope| (kind, subject.to_owned(), scope);
    assert_eq!(may(|_| {}), []);
    let storms = may(|measured| measured.storms = None);
    assert_eq!(storms, [of(Kind::Storm, ANY, Scope::Shared)]);
    let traffic = may(|measured| measured.is_traffic_known = false);
    let apps = [Kind::AppErrors, Kind::AppSlow].map(|kind| of(kind, ANY, Scope::Hub));
    assert_eq!(traffic, apps);
    let jobs = [
        of(Kind::DeadJobs, "jira", Scope::Shared),
        of(Kind::QueueDeep, "jobs", Scope::Shared),
        of(Kind::ComponentDegraded, "queues", Scope::Hub),
    ];
    assert_eq!(may(|measured| measured.are_jobs_counted = false), jobs);
}

#[test]
fn dead_jobs_are_told_of_once() {
    let settings = Settings::default();
    let conditions = watch(600, &settings, |_, measured| measured.jira.dead = 1);
    assert_eq!(told(&conditions), [(Kind::DeadJobs, "jira")]);
    let conditions = watch(600, &settings, |_, measured| {
        (measured.jira.dead, measured.jira.is_paused) = (1, true);
    });
    assert_eq!(told(&conditions), [(Kind::DeadJobs, "jira"), (Kind::ComponentDegraded, "jira")]);
}

#[test]
fn what_fills_is_told_of_at_once() {
    let settings = Settings::default();
    let tell = |used, disk| {
        let conditions = watch(0, &settings, |_, measured| {
            measured.spool.used_bytes = used;
            measured.spool.disk = Some(Disk { used_bytes: disk, free_bytes: 1_000 - disk });
        });
        conditions.into_iter().map(|one| (one.kind, one.subject)).collect::<Vec<_>>()
    };
    let of = |subject: &str| (Kind::SpoolDisk, subject.to_owned());
    assert_eq!(tell(800, 800), []);
    assert_eq!(tell(801, 800), [of("spool")]);
    assert_eq!(tell(0, 801), [of("disk")]);
    assert_eq!(tell(900, 900), [of("spool"), of("disk")]);
}

#[test]
fn what_the_store_and_the_traffic_say_is_told() {
    let settings = Settings::default();
    let conditions = watch(0, &settings, |_, measured| {
        measured.jira.dead = 3;
        measured.storms = Some(vec![Storm { environment: "staging".to_owned(), since: 5 }]);
        measured.traffic = (0..100)
            .map(|number| Complaint {
                is_certain: true,
                is_errors: number % 2 == 0,
                subject: format!("web.{number}"),
                message: "12.0 % of requests fail".to_owned(),
            })
            .collect();
    });
    let all = told(&conditions);
    assert_eq!(&all[..2], [(Kind::DeadJobs, "jira"), (Kind::Storm, "staging")]);
    assert_eq!((conditions[0].scope, conditions[1].scope), (Scope::Shared, Scope::Shared));
    assert_eq!(conditions[1].since, 5);
    assert_eq!(&all[2..4], [(Kind::AppErrors, "web.0"), (Kind::AppSlow, "web.1")]);
    assert_eq!(all.len(), 22, "not more than that");
}

#[test]
fn what_few_requests_say_keeps_an_alert_open_and_tells_nothing() {
    let settings = Settings::default();
    let conditions = watch_all(60, &settings, |_, measured| {
        measured.traffic = (0..30)
            .map(|number| Complaint {
                is_certain: number >= 29,
                is_errors: true,
                subject: format!("production/{number}"),
                message: "100.0 % of requests fail".to_owned(),
            })
            .collect();
    });
    let of = |certainty| {
        let apps = conditions.iter().filter(|one| one.kind == Kind::AppErrors);
        let apps = apps.filter(|one| one.certainty == certainty);
        apps.map(|one| one.subject.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(of(Certainty::Holds), ["production/29"], "told before those that are not certain");
    let few = of(Certainty::MayHold);
    assert_eq!((few.len(), few[0]), (29, "production/0"));
}

#[test]
fn a_silent_source_is_told_of() {
    let settings = Settings::default();
    let silent = |seconds| {
        watch(seconds, &settings, |second, measured| {
            let mut received = [0; Source::COUNT];
            received[Source::Maxwell as usize] = u64::from(second.min(4_000));
            measured.received = Some(received);
        })
    };
    assert_eq!(told(&silent(4_890)), []);
    let conditions = silent(4_900);
    assert_eq!(told(&conditions), [(Kind::SourceSilent, "maxwell")]);
    assert_eq!(conditions[0].since, at(4_000).at);
    assert_eq!(conditions[0].cause, "no message from maxwell for 15m");
}

#[test]
fn a_clock_that_is_set_is_told_of_for_a_while() {
    let settings = Settings::default();
    let jump = |seconds, by: Micros| {
        let conditions = watch(seconds, &settings, |second, measured| {
            measured.at += if second >= 100 { by } else { 0 };
        });
        conditions.into_iter().map(|one| (one.kind, one.cause)).collect::<Vec<_>>()
    };
    assert_eq!(jump(100, 9_999_999), []);
    let told = |cause: &str| vec![(Kind::ClockJump, cause.to_owned())];
    assert_eq!(jump(100, 10 * SECOND), told("the clock was set forward by 10s"));
    assert_eq!(jump(690, -3_600 * SECOND), told("the clock was set back by 1h"));
    assert_eq!(jump(700, -3_600 * SECOND), []);
}

#[test]
fn a_change_is_noted_once_and_its_time_is_kept() {
    let settings = Settings::default();
    let mut watch = Watch::default();
    let mut seen = Vec::new();
    let mut since = BTreeMap::new();
    for (second, is_away) in [(0, false), (10, true), (20, true), (30, false), (40, false)] {
        let mut measured = at(second);
        measured.database.error = is_away.then(|| "away".to_owned());
        let look = watch.look(&measured, &settings);
        since.insert(second, look.components["database"].since.clone().unwrap());
        seen.extend(look.changes.into_iter().filter(|change| change.component == "database"));
    }
    let statuses: Vec<_> = seen.iter().map(|one| (one.at, one.before, one.status)).collect();
    let (healthy, unhealthy) = (Status::Healthy, Status::Unhealthy);
    assert_eq!(
        statuses,
        [
            (at(0).at, None, healthy),
            (at(10).at, Some(healthy), unhealthy),
            (at(30).at, Some(unhealthy), healthy),
        ]
    );
    assert_eq!(since[&20], since[&10]);
    assert_eq!(since[&40], since[&30]);
}

#[test]
fn what_was_before_the_start_decides_whether_the_first_look_is_a_change() {
    let first = |status| Change {
        at: 9,
        component: "redis".to_owned(),
        before: None,
        status,
        error: String::new(),
    };
    let known = |status| BTreeMap::from([("redis".to_owned(), Known { status, since: 5 })]);
    let before = |change: Change, known: &BTreeMap<String, Known>| {
        compare(change, known).map(|change| change.before.unwrap())
    };
    let (healthy, degraded) = (Status::Healthy, Status::Degraded);
    let nothing = BTreeMap::new();
    assert_eq!(before(first(healthy), &nothing), None);
    assert_eq!(before(first(degraded), &nothing), Some(healthy));
    assert_eq!(before(first(degraded), &known(degraded)), None);
    assert_eq!(before(first(healthy), &known(degraded)), Some(degraded));
    let later = Change { before: Some(degraded), ..first(healthy) };
    assert_eq!(compare(later.clone(), &known(healthy)), Some(later));

    let mut watch = Watch::default();
    watch.look(&at(10), &Settings::default());
    let mut known = known(healthy);
    known.insert("database".to_owned(), Known { status: healthy, since: at(3).at });
    known.insert("spool".to_owned(), Known { status: degraded, since: at(3).at });
    watch.recall(&known);
    let look = watch.look(&at(20), &Settings::default());
    let since = |name: &str| look.components[name].since.clone().unwrap();
    assert_eq!(since("database"), crate::domain::time::rfc3339(at(3).at));
    assert_eq!(since("spool"), crate::domain::time::rfc3339(at(10).at));
}
