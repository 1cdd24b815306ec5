//! Alerts arrive: each once, then that it is over, at a real mail server and at webhooks; whatever
//! is killed or away in between.

#![expect(
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a failing test is told by a panic and what is printed"
)]

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use faultline_actors::{
    adapters::{
        clock,
        mail::Tls,
        store::{
            Store,
            alerts::{AlertFilter, AlertStore, NewDelivery, Write, Written},
            postgres::Postgres,
            sqlite::Sqlite,
        },
    },
    domain::{
        alert::{Key, Kind, delivery::What},
        rule::Class,
        secret::Secret,
    },
};
use faultline_testkit::{
    database::Database,
    eventually,
    program::Program,
    smtp::{Mail, Settings, Smtp},
    tls::Authority,
};
use serde_json::Value;
use tempfile::TempDir;

#[path = "support/hooks.rs"]
mod hooks;
#[path = "support/notifier.rs"]
mod notifier;

use hooks::Hooks;
use notifier::{Hub, about, condition, mail_to, settings};

const BINARY: &str = env!("CARGO_BIN_EXE_faultline");

/// In a file, which is gone with the directory.
async fn store() -> (TempDir, Arc<dyn Store>) {
    let directory = tempfile::tempdir().unwrap();
    let store = Sqlite::open(&directory.path().join("faultline.db")).unwrap();
    store.migrate().await.unwrap();
    (directory, Arc::new(store))
}

async fn mail(smtp: &Smtp, at_least: usize) -> Vec<Mail> {
    eventually("the mail is there", async || {
        let mail = smtp.mail();
        if mail.len() >= at_least { Ok(mail) } else { Err(mail.len()) }
    })
    .await
}

/// The numbers of messages: they tell whether two are the same.
fn ids(mail: &[Mail]) -> BTreeSet<String> {
    mail.iter().map(|mail| mail.header("Message-ID")).collect()
}

#[tokio::test]
async fn each_kind_is_told_once_and_its_end_once_over_starttls_with_a_login() {
    let authority = Authority::new("an authority of the mail server");
    let smtp = Smtp::started(Settings {
        certificate: Some(authority.issue("127.0.0.1")),
        login: Some(("bot".to_owned(), "hunter2 of the mail server".to_owned())),
        ..Settings::default()
    });
    let mut settings = settings(&smtp);
    settings.mail[0].tls = Tls::Starttls;
    settings.mail[0].ca_file = authority.file();
    settings.mail[0].user = "bot".to_owned();
    settings.mail[0].password = Secret::new("hunter2 of the mail server");
    let (_directory, store) = store().await;
    let hub = Hub::start(settings, store.clone()).await;
    let all: Vec<_> = Kind::ALL.iter().map(|kind| condition(*kind, "shop")).collect();
    for count in 1..=all.len() {
        hub.say(all[..count].to_vec()).await;
        let told = mail(&smtp, count).await;
        let (kind, newest) = (Kind::ALL[count - 1], &told[count - 1]);
        let subject = newest.header("Subject");
        assert!(subject.ends_with(&format!("Faultline hub-1: {}", kind.what("shop"))), "{subject}");
        let (mark, respond) = match kind.class() {
            Class::P0 => ("[CRITICAL] ", "15m (P0)"),
            Class::P1 => ("[CRITICAL] ", "1h (P1)"),
            Class::P2 => ("[WARNING] ", "8h (P2)"),
            Class::P3 => ("[INFO] ", "3d (P3)"),
        };
        assert!(subject.starts_with(mark), "{subject}");
        let runbook = format!("https://faultline.example.com/docs/runbook.md#{}", kind.name());
        for line in ["connection refused, 7 times", "2026-11-22T03:00:00Z", respond, &runbook] {
            assert!(newest.body.contains(line), "{line}: {}", newest.body);
        }
    }
    assert_eq!(smtp.mail().len(), all.len(), "each once");
    // Nothing of it holds any more.
    let told = eventually("all is over", async || {
        hub.say(vec![]).await;
        let told = smtp.mail();
        let resolved: String = about(&told, "RESOLVED").iter().map(|it| it.body.as_str()).collect();
        let count = resolved.matches("\r\nResolved:").count();
        if count >= all.len() { Ok(told) } else { Err(count) }
    })
    .await;
    let resolved: String = about(&told, "RESOLVED").iter().map(|it| it.body.as_str()).collect();
    for kind in Kind::ALL {
        let what = format!("What:           {}\r\n", kind.what("shop"));
        assert_eq!(resolved.matches(&what).count(), 1, "{what}{resolved}");
    }
    let open = AlertFilter { is_open: Some(true), ..AlertFilter::default() };
    assert!(store.list_alerts(&open, 1).await.unwrap().is_empty());
    assert_eq!(ids(&told).len(), told.len(), "each message has a number of its own");
    eventually("each call is counted", async || {
        let calls = hub.pipeline.mail_calls().unwrap().look(clock::now());
        let counted = (calls.requests, calls.failures);
        if counted == (told.len() as u64, 0) { Ok(()) } else { Err(counted) }
    })
    .await;
    hub.finish().await;
}

#[tokio::test]
async fn what_begins_together_is_one_message_and_bad_news_only_goes_where_it_should() {
    let (smtp, urgent) = (Smtp::started(Settings::default()), Smtp::started(Settings::default()));
    let mut settings = settings(&smtp);
    settings.group_wait = Duration::from_millis(300);
    let mut pager = mail_to(&urgent);
    (pager.name, pager.least) = ("pager".to_owned(), Class::P1);
    settings.mail.push(pager);
    let (_directory, store) = store().await;
    let hub = Hub::start(settings, store).await;
    hub.say(vec![condition(Kind::AppSlow, "shop"), condition(Kind::PartnerDown, "jira")]).await;
    let told = mail(&smtp, 1).await;
    let subject = told[0].header("Subject");
    assert!(subject.starts_with("[CRITICAL] Faultline hub-1: 2 alerts: "), "{subject}");
    let told = mail(&urgent, 1).await;
    assert_eq!(told[0].header("Subject"), "[CRITICAL] Faultline hub-1: jira is down");
    assert!(!told[0].body.contains("shop"));
    hub.finish().await;
    assert_eq!((smtp.mail().len(), urgent.mail().len()), (1, 1));
}

#[tokio::test]
async fn two_hubs_that_see_the_same_tell_it_once() {
    let smtp = Smtp::started(Settings::default());
    let (_directory, store) = store().await;
    let mut one = settings(&smtp);
    one.resolve_after = Duration::from_secs(5);
    let other = faultline_actors::notifier::Settings { hub: "hub-2".to_owned(), ..one.clone() };
    let hubs = [Hub::start(one, store.clone()).await, Hub::start(other, store.clone()).await];
    let holds = vec![condition(Kind::PartnerDown, "jira")];
    for _ in 0..5 {
        tokio::join!(hubs[0].say(holds.clone()), hubs[1].say(holds.clone()));
    }
    mail(&smtp, 1).await;
    // One of them does not see it any more: it goes on for the other.
    for _ in 0..5 {
        tokio::join!(hubs[0].say(vec![]), hubs[1].say(holds.clone()));
    }
    let told = eventually("it is over", async || {
        tokio::join!(hubs[0].say(vec![]), hubs[1].say(vec![]));
        let told = smtp.mail();
        if about(&told, "RESOLVED").is_empty() { Err(told.len()) } else { Ok(told) }
    })
    .await;
    for hub in hubs {
        hub.finish().await;
    }
    assert_eq!((told.len(), smtp.mail().len()), (2, 2));
    assert_eq!(store.list_alerts(&AlertFilter::default(), 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn webhooks_get_what_is_signed_and_a_second_try_is_the_same() {
    let smtp = Smtp::started(Settings::default());
    let hooks = Hooks::start("the secret of the webhook").await;
    let mut settings = settings(&smtp);
    settings.mail.clear();
    settings.slack = vec![hooks.slack()];
    settings.webhook = vec![hooks.webhook()];
    let (_directory, store) = store().await;
    let hub = Hub::start(settings, store).await;
    hooks.fail_next(2);
    let mut evil = condition(Kind::SourceSilent, "shop <!channel>");
    evil.cause = "none since\r\nX-Evil: 1 token=hunter2secret".to_owned();
    hub.say(vec![evil]).await;
    let (slack, signed) = eventually("both were told", async || {
        let (slack, signed) = (hooks.taken("/slack"), hooks.taken("/hook"));
        if slack.is_empty() || signed.is_empty() { Err("not yet") } else { Ok((slack, signed)) }
    })
    .await;
    let text = slack[0]["text"].as_str().unwrap();
    assert!(
        text.starts_with("*[WARNING] Faultline hub-1: nothing comes from shop &lt;!channel&gt;*")
    );
    let alert = &signed[0]["alerts"][0];
    assert_eq!((&alert["kind"], &alert["class"]), (&"source-silent".into(), &"P2".into()));
    assert_eq!(alert["respond_within_seconds"], 8 * 3_600);
    let cause = alert["cause"].as_str().unwrap();
    assert!(!cause.contains(['\r', '\n']) && !cause.contains("hunter2"), "{cause}");
    hub.finish().await;
    let tries = hooks.tries();
    assert_eq!(tries.len(), 4, "two failed, two were taken: {tries:?}");
    for path in ["/slack", "/hook"] {
        let ids: BTreeSet<_> = tries.iter().filter(|it| it.0 == path).map(|it| &it.1).collect();
        assert_eq!(ids.len(), 1, "{path}: {tries:?}");
    }
}

#[tokio::test]
async fn an_alert_about_the_store_is_told_without_it_and_once() {
    let smtp = Smtp::started(Settings::default());
    let mut server = faultline_testkit::postgres::Postgres::start();
    let patience = Duration::from_secs(1);
    let store = Arc::new(Postgres::new(&server.url(), 4, patience, patience).unwrap());
    store.migrate().await.unwrap();
    let hub = Hub::start(settings(&smtp), store.clone()).await;
    hub.say(vec![]).await;
    server.stop();
    let holds = vec![condition(Kind::ComponentUnhealthy, "database")];
    let told = eventually("it is told", async || {
        hub.say(holds.clone()).await;
        let told = smtp.mail();
        if told.is_empty() { Err("not yet") } else { Ok(told) }
    })
    .await;
    assert_eq!(told[0].header("Subject"), "[CRITICAL] Faultline hub-1: database does not work");
    server.resume();
    eventually("the store knows of it", async || {
        hub.say(holds.clone()).await;
        let alerts = store.list_alerts(&AlertFilter::default(), 10).await.unwrap_or_default();
        if alerts.len() == 1 && alerts[0].told == 1 { Ok(()) } else { Err(alerts) }
    })
    .await;
    let told = eventually("it is over", async || {
        hub.say(vec![]).await;
        let told = smtp.mail();
        if about(&told, "RESOLVED").is_empty() { Err("not yet") } else { Ok(told) }
    })
    .await;
    hub.finish().await;
    assert_eq!((told.len(), smtp.mail().len()), (2, 2));
}

/// A program that sends to this server; nothing is told by itself.
fn program(program: Program, smtp: &Smtp, group_wait: &str) -> Program {
    let mail = format!(
        "[{{ name = \"ops\", server = \"127.0.0.1\", port = {}, tls = \"none\", \
         from = \"faultline@example.com\", to = [\"ops@example.com\"] }}]",
        smtp.port()
    );
    [
        ("notifier.hub", "hub-1"),
        ("notifier.mail", &mail),
        ("notifier.group_wait", group_wait),
        ("notifier.resolve_after", "1h"),
        ("notifier.timeout", "20s"),
        ("notifier.lease", "1m"),
        ("notifier.retry_first", "50ms"),
        ("notifier.retry_cap", "200ms"),
    ]
    .into_iter()
    .fold(program, |program, (key, value)| program.set(key, value))
}

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

async fn a_kill_loses_none_and_doubles_none(base: Program) {
    let mut smtp = Smtp::new(Settings::default());
    let mut program = program(base, &smtp, "300ms");
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
    let distinct: Vec<Mail> = ids(&mail)
        .iter()
        .map(|id| mail.iter().find(|mail| mail.header("Message-ID") == *id).unwrap().clone())
        .collect();
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
    let mut program = program(Program::new(BINARY), &smtp, "0s");
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

#[tokio::test]
async fn what_cannot_be_sent_is_given_up_and_said() {
    let smtp = Smtp::new(Settings::default());
    let mut program = program(Program::new(BINARY), &smtp, "0s").set("notifier.max_attempts", "2");
    program.start();
    let answer = program.ask("POST", "/api/alerts/test").send().await.unwrap();
    assert_eq!(answer.json::<Value>().await.unwrap()["opened"], true);
    let alert = eventually("it is given up", async || {
        let alerts = program.json("/api/alerts?state=open").await;
        let alert = alerts["alerts"][0].clone();
        if alert["dead"] == 1 { Ok(alert) } else { Err(alerts) }
    })
    .await;
    assert!(alert["last_error"].as_str().unwrap().starts_with("connecting: "), "{alert}");
    let notifications = program.json("/api/notifications?severity=critical").await;
    let title = notifications["notifications"][0]["title"].as_str().unwrap();
    assert!(title.contains("mail:ops"), "{title}");
    let dead = program.metric("faultline_alert_deliveries_total", "outcome=\"dead\"").await;
    assert!((dead - 1.0).abs() < 1e-9, "{dead}");
    let partners = program.json("/api/partners").await;
    let mail = partners["partners"].as_array().unwrap().iter().find(|it| it["name"] == "mail");
    let mail = mail.unwrap();
    assert_eq!((&mail["status"], &mail["failures"]), (&"degraded".into(), &2.into()), "{mail}");
    program.finish().await;
}

#[tokio::test]
async fn people_try_alerts_look_at_them_and_silence_them() {
    let smtp = Smtp::started(Settings::default());
    let mut program = program(Program::new(BINARY), &smtp, "0s");
    program.start();
    for is_new in [true, false] {
        let answer = program.ask("POST", "/api/alerts/test").send().await.unwrap();
        assert_eq!(answer.json::<Value>().await.unwrap()["opened"], is_new);
    }
    let told = mail(&smtp, 1).await;
    assert_eq!(told[0].header("Subject"), "[INFO] Faultline hub-1: a test alert");
    let alerts = program.json("/api/alerts?state=open&kind=test&limit=1").await;
    let alert = &alerts["alerts"][0];
    assert_eq!((&alert["class"], &alert["title"]), (&"P3".into(), &"a test alert".into()));
    assert_eq!(program.json("/api/alerts?state=resolved").await["alerts"], Value::Array(vec![]));
    let silence = async |text: &str| {
        let path = format!("/api/alerts/{}/silence", alert["id"]);
        let body = serde_json::json!({ "for": text });
        program.ask("POST", &path).json(&body).send().await.unwrap().status().as_u16()
    };
    assert_eq!([silence("4h").await, silence("0s").await, silence("99d").await], [200, 400, 400]);
    let alerts = program.json("/api/alerts").await;
    assert!(alerts["alerts"][0]["silenced_until"].is_string(), "{alerts}");
    program.finish().await;
    assert_eq!(smtp.mail().len(), 1);
}

#[tokio::test]
async fn check_sends_a_test_alert_through_each_channel() {
    let authority = Authority::new("an authority of the mail server");
    let smtp = Smtp::started(Settings {
        certificate: Some(authority.issue("127.0.0.1")),
        is_tls_at_once: true,
        login: Some(("bot".to_owned(), "right".to_owned())),
    });
    let channel = |name: &str, password: &str| {
        format!(
            "{{ name = \"{name}\", server = \"127.0.0.1\", port = {}, tls = \"tls\", \
             ca_file = \"{}\", user = \"bot\", password = \"{password}\", \
             from = \"faultline@example.com\", to = [\"ops@example.com\"] }}",
            smtp.port(),
            authority.file().display()
        )
    };
    let run = async |mail: &str| {
        let program = Program::new(BINARY).set("notifier.mail", mail);
        let output = program.arguments(&["check", "--send-test-alert"]).run().await;
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    };
    let (code, said) = run(&format!("[{}]", channel("ops", "right"))).await;
    assert_eq!((code, said.as_str()), (Some(0), "ok      mail:ops: it was taken\n"));
    let told = smtp.mail();
    assert!(told[0].header("Subject").ends_with(": a test alert"), "{}", told[0].headers);
    let two = format!("[{}, {}]", channel("ops", "right"), channel("wrong", "hunter2"));
    let (code, said) = run(&two).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("FAILED  mail:wrong: login: ") && !said.contains("hunter2"), "{said}");
    assert_eq!(smtp.mail().len(), 2);
    assert_eq!(run("[]").await.0, Some(1), "there is nobody to tell");
}
