//! Whatever is killed while something is told: nothing is lost, and nothing is told twice.

#![expect(
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a failing test is told by a panic and what is printed"
)]

use std::{sync::Arc, time::Duration};

use faultline_actors::{
    adapters::{
        clock,
        store::{
            Store,
            alerts::{AlertFilter, NewDelivery, Write, Written},
            postgres::Postgres,
            sqlite::Sqlite,
        },
    },
    domain::alert::{Key, Kind, delivery::What},
};
use faultline_testkit::{
    database::Database,
    eventually,
    jira::{self, Jira},
    program::{Program, frames},
    smtp::{Mail, Settings, Smtp},
};
use serde_json::json;

#[path = "support/notifier.rs"]
mod notifier;

use notifier::{about, configured, ids, mail};

const BINARY: &str = env!("CARGO_BIN_EXE_faultline");

/// Opens an alert as the notifier does, in the store that the program uses.
async fn open(store: &dyn Store, subject: &str, wait: Duration) {
    let key = Key { kind: Kind::PartnerDown, subject: subject.to_owned(), hub: String::new() };
    let now = clock::now();
    let written = Written {
        write: Write::Open {
            key,
            opened_by: "hub-1".to_owned(),
            cause: "no answer".to_owned(),
            link: "/jobs".to_owned(),
            since: now,
            tell_at: now,
            told_at: Some(now),
        },
        at: now,
        deliveries: vec![NewDelivery { channel: "mail:ops".to_owned(), what: What::Firing, wait }],
        notification: None,
    };
    assert!(store.write_alert(&written).await.unwrap());
}

fn store_of(program: &Program) -> Arc<dyn Store> {
    let patience = Duration::from_secs(10);
    let url = program.database.url();
    match url.strip_prefix("sqlite://") {
        Some(path) => Arc::new(Sqlite::open(path.as_ref()).unwrap()),
        None => Arc::new(Postgres::new(&url, 4, patience, patience).unwrap()),
    }
}

/// Kills it, and starts it again.
async fn kill(program: &mut Program) {
    program.kill();
    end_leases(program).await;
    program.start();
}

/// The leases of the one who is gone are not waited for here.
async fn end_leases(program: &Program) {
    let past = match program.database {
        Database::Sqlite(_) => "0",
        Database::Postgres(_) => "now() - interval '1 second'",
    };
    let sql = format!("UPDATE alert_deliveries SET lease_until = {past} WHERE state = 'active'");
    program.database.execute(&sql).await;
}

/// Waits until all that is to be told was told.
async fn all_is_told(store: &dyn Store) {
    eventually("all is told", async || {
        let alerts = store.list_alerts(&AlertFilter::default(), 1_000).await.unwrap();
        let left = alerts.iter().filter(|alert| alert.delivered == 0).count();
        if left == 0 { Ok(()) } else { Err(left) }
    })
    .await;
}

/// How often each subject is told of.
fn told_of(mail: &[Mail], subject: &str) -> usize {
    let line = format!("Component:      {subject}\r\n");
    mail.iter().map(|mail| mail.body.matches(&line).count()).sum()
}

/// One of each number: two with the same are the same message.
fn distinct(mail: &[Mail]) -> Vec<Mail> {
    let of = |id: &String| mail.iter().find(|mail| mail.header("Message-ID") == *id).cloned();
    ids(mail).iter().filter_map(of).collect()
}

async fn a_kill_loses_none_and_doubles_none(base: Program) {
    let mut smtp = Smtp::new(Settings::default());
    let mut program = configured(base, &smtp, "300ms");
    program.start();
    let store = store_of(&program);
    eventually("there is a schema", async || store.alerts_standing(0).await).await;

    // After the alert was written, before it is due; and while the server is down.
    open(&*store, "before it is due", Duration::from_millis(300)).await;
    kill(&mut program).await;
    let failed = "faultline_alert_deliveries_total";
    eventually("it fails", async || {
        let tries = program.metric(failed, "outcome=\"failed\"").await;
        if tries >= 2.0 { Ok(()) } else { Err(tries) }
    })
    .await;
    open(&*store, "while the server is down", Duration::ZERO).await;
    program.kill();
    end_leases(&program).await;
    smtp.start();
    program.start();
    all_is_told(&*store).await;

    // While the server refuses.
    smtp.refuse(true);
    open(&*store, "while it is refused", Duration::ZERO).await;
    eventually("it fails", async || {
        let tries = program.metric(failed, "outcome=\"failed\"").await;
        if tries >= 1.0 { Ok(()) } else { Err(tries) }
    })
    .await;
    kill(&mut program).await;
    smtp.refuse(false);
    all_is_told(&*store).await;

    // Again and again, whatever it is at: thirty alerts, six kills.
    for round in 0..6 {
        for number in 0..5 {
            open(&*store, &format!("round {round} number {number}"), Duration::ZERO).await;
        }
        let before = smtp.mail().len();
        if round % 2 == 0 {
            // In the middle of sending.
            eventually("it has begun", async || {
                if smtp.mail().len() > before { Ok(()) } else { Err("not yet") }
            })
            .await;
        }
        kill(&mut program).await;
    }
    all_is_told(&*store).await;
    program.finish().await;
    let mail = smtp.mail();
    eprintln!("{} messages, {} distinct", mail.len(), ids(&mail).len());
    // A kill between the server's answer and the commit may send a message again, with its number.
    let distinct = distinct(&mail);
    assert!(mail.len() - distinct.len() <= 6, "at most one for each kill in the middle of sending");
    for subject in ["before it is due", "while the server is down", "while it is refused"] {
        assert_eq!(told_of(&mail, subject), 1, "{subject}");
    }
    for number in 0..30 {
        let subject = format!("round {} number {}", number / 5, number % 5);
        assert_eq!(told_of(&distinct, &subject), 1, "{subject}");
    }
}

#[tokio::test]
async fn a_kill_loses_none_and_doubles_none_with_sqlite() {
    a_kill_loses_none_and_doubles_none(Program::new(BINARY)).await;
}

#[tokio::test]
async fn a_kill_loses_none_and_doubles_none_with_postgres() {
    a_kill_loses_none_and_doubles_none(Program::with_postgres(BINARY)).await;
}

#[tokio::test]
async fn a_kill_before_the_answer_sends_the_same_message_again() {
    let smtp = Smtp::started(Settings::default());
    let mut program = configured(Program::new(BINARY), &smtp, "0s");
    program.start();
    let store = store_of(&program);
    eventually("there is a schema", async || store.alerts_standing(0).await).await;
    // The server has the message, and the program does not know it yet.
    smtp.hold(true);
    open(&*store, "jira", Duration::ZERO).await;
    let first = mail(&smtp, 1).await;
    program.kill();
    smtp.hold(false);
    end_leases(&program).await;
    program.start();
    let both = mail(&smtp, 2).await;
    all_is_told(&*store).await;
    program.finish().await;
    assert_eq!((smtp.mail().len(), ids(&both).len()), (2, 1), "it can be told to be the same");
    assert_eq!((told_of(&first, "jira"), told_of(&both, "jira")), (1, 2));
    let delivery = "X-Faultline-Delivery";
    assert_eq!(both[0].header(delivery), both[1].header(delivery));
}

/// The texts of a letter's lines that begin with `What:`.
fn whats(mail: &[Mail], mark: &str) -> Vec<String> {
    let lines = about(mail, mark).into_iter().flat_map(|mail| mail.body.lines());
    lines.filter_map(|line| Some(line.strip_prefix("What:")?.trim().to_owned())).collect()
}

/// Nothing here is put into the store by the test: Jira refuses a ticket, health sees the dead job,
/// and the notifier tells; a person discards the job, health sees that, and the notifier tells that it
/// is over.
async fn what_health_sees_is_told_once_through_kills(base: Program) {
    let (smtp, jira) =
        (Smtp::started(Settings::default()), Jira::start(jira::Settings::cloud()).await);
    // Jira's screen has no such field.
    let rule = "[[rules]]\nname = \"all\"\nfields = { customfield_10042 = \"x\" }\n";
    let mut program = [
        ("health.every", "1s"),
        ("health.tell_after", "0s"),
        ("notifier.resolve_after", "3s"),
        ("notifier.cool_down", "0s"),
        ("jira.lease", "2s"),
        ("jira.request_timeout", "500ms"),
    ]
    .into_iter()
    .fold(configured(base, &smtp, "0s"), |program, (key, value)| program.set(key, value))
    .with_jira(&jira)
    .with_config(rule);
    program.start();
    let store = store_of(&program);
    eventually("there is a schema", async || store.alerts_standing(0).await).await;
    let is_written = async |is_open: bool| {
        let filter = AlertFilter { kind: Some(Kind::DeadJobs), ..AlertFilter::default() };
        eventually("it is written down", async || {
            let alerts = store.list_alerts(&filter, 10).await.unwrap();
            let found = alerts.iter().any(|alert| alert.resolved_at.is_none() == is_open);
            if found { Ok(()) } else { Err(alerts) }
        })
        .await;
    };
    let is_told = async |mark: &str| {
        let what = Kind::DeadJobs.what("jira");
        eventually("it is told", async || {
            let whats = whats(&smtp.mail(), mark);
            if whats.contains(&what) { Ok(()) } else { Err(whats) }
        })
        .await;
    };
    let sees_it_again = async || {
        let started = clock::now();
        let filter = AlertFilter { is_open: Some(true), kind: Some(Kind::DeadJobs), before: None };
        eventually("it is seen again", async || {
            let alerts = store.list_alerts(&filter, 10).await.unwrap();
            if alerts.iter().any(|alert| alert.seen_at > started) { Ok(()) } else { Err(alerts) }
        })
        .await;
    };

    program.report(r#"{"message":"cannot open the door","service":"shop"}"#).await;
    is_written(true).await;
    kill(&mut program).await;
    is_told("WARNING").await;
    for _ in 0..3 {
        kill(&mut program).await;
        sees_it_again().await;
    }
    let discard = program.ask("POST", "/api/jobs/discard").json(&json!({ "state": "dead" }));
    assert_eq!(discard.send().await.unwrap().status().as_u16(), 200);
    kill(&mut program).await;
    is_written(false).await;
    kill(&mut program).await;
    is_told("RESOLVED").await;
    kill(&mut program).await;
    all_is_told(&*store).await;
    program.finish().await;

    let mail = distinct(&smtp.mail());
    for mark in ["WARNING", "RESOLVED"] {
        let whats = whats(&mail, mark);
        let told = whats.iter().filter(|what| **what == Kind::DeadJobs.what("jira")).count();
        assert_eq!(told, 1, "{mark}: {whats:?}");
    }
}

#[tokio::test]
async fn what_health_sees_is_told_once_through_kills_with_sqlite() {
    what_health_sees_is_told_once_through_kills(Program::new(BINARY)).await;
}

#[tokio::test]
async fn what_health_sees_is_told_once_through_kills_with_postgres() {
    what_health_sees_is_told_once_through_kills(Program::with_postgres(BINARY)).await;
}

/// What holds is certain only after a while, and what is not seen is over sooner: who has just started
/// must not take what he does not know yet for over.
#[tokio::test]
async fn a_restart_does_not_end_what_still_holds() {
    let smtp = Smtp::started(Settings::default());
    let mut program = [
        ("health.every", "200ms"),
        ("health.tell_after", "3s"),
        ("notifier.resolve_after", "1s"),
        ("notifier.cool_down", "0s"),
    ]
    .into_iter()
    .fold(configured(Program::new(BINARY), &smtp, "0s"), |program, (key, value)| {
        program.set(key, value)
    });
    program.start();
    let store = store_of(&program);
    let pause = program.ask("POST", "/api/dispatch/pause").send().await.unwrap();
    assert_eq!(pause.status().as_u16(), 200);
    let what = Kind::ComponentDegraded.what("jira");
    mail(&smtp, 1).await;
    assert_eq!(whats(&smtp.mail(), "INFO"), [what.as_str()]);
    for _ in 0..2 {
        kill(&mut program).await;
        // As long as it takes to be certain again, and longer than it takes to be over.
        let certain = clock::now() + 4_000_000;
        eventually("it is seen again", async || {
            let alerts = store.list_alerts(&AlertFilter::default(), 10).await.unwrap();
            if alerts.iter().any(|alert| alert.seen_at > certain) { Ok(()) } else { Err(alerts) }
        })
        .await;
        assert_eq!(smtp.mail().len(), 1, "{:?}", smtp.mail());
    }
    let resume = program.ask("POST", "/api/dispatch/resume").send().await.unwrap();
    assert_eq!(resume.status().as_u16(), 200);
    let told = mail(&smtp, 2).await;
    assert_eq!(whats(&told, "RESOLVED"), [what]);
    program.finish().await;
    assert_eq!(smtp.mail().len(), 2);
}

/// Who has just started has heard nothing of an application, so that he cannot know that it is well.
#[tokio::test]
async fn a_restart_does_not_end_what_is_told_of_an_application() {
    let smtp = Smtp::started(Settings::default());
    let mut program = [
        ("health.every", "200ms"),
        ("notifier.resolve_after", "1s"),
        ("notifier.cool_down", "0s"),
        ("metrics_aggregator.window", "1h"),
    ]
    .into_iter()
    .fold(configured(Program::new(BINARY), &smtp, "0s"), |program, (key, value)| {
        program.set(key, value)
    });
    program.start();
    let store = store_of(&program);
    let failed = "<158>1 2026-11-22T03:00:08+00:00 host heroku router - at=info method=GET path=\"/\" \
                  dyno=web.1 connect=1ms service=10ms status=500 bytes=13\n";
    let sent = program.drain("f1", frames([failed; 20])).send().await.unwrap();
    assert_eq!(sent.status(), 204);
    mail(&smtp, 1).await;
    all_is_told(&*store).await;
    kill(&mut program).await;
    // Longer than it takes to be over.
    let later = clock::now() + 3_000_000;
    let filter = AlertFilter { kind: Some(Kind::AppErrors), ..AlertFilter::default() };
    eventually("it is seen again", async || {
        let alerts = store.list_alerts(&filter, 10).await.unwrap();
        if alerts.iter().any(|alert| alert.seen_at > later) { Ok(()) } else { Err(alerts) }
    })
    .await;
    program.finish().await;
    assert_eq!(whats(&smtp.mail(), "WARNING").len(), 1, "{:?}", smtp.mail());
    assert_eq!(smtp.mail().len(), 1);
}
