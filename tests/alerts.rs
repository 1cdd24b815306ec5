//! Alerts arrive: each once, then that it is over, at a real mail server and at webhooks; whatever
//! is killed or away in between.

#![expect(clippy::unwrap_used, reason = "a failing test is told by a panic")]

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use faultline_actors::{
    adapters::{
        clock,
        mail::Tls,
        store::{
            Store,
            alerts::{AlertFilter, AlertStore},
            postgres::Postgres,
            sqlite::Sqlite,
        },
    },
    domain::{
        alert::{Condition, Kind, Scope},
        rule::Class,
        secret::Secret,
    },
};
use faultline_testkit::{
    eventually,
    program::Program,
    smtp::{Settings, Smtp},
    tls::Authority,
};
use serde_json::Value;
use tempfile::TempDir;

#[path = "support/hooks.rs"]
mod hooks;
#[path = "support/notifier.rs"]
mod notifier;

use hooks::Hooks;
use notifier::{Hub, about, condition, configured, ids, mail, mail_to, settings};

const BINARY: &str = env!("CARGO_BIN_EXE_faultline");

/// In a file, which is gone with the directory.
async fn store() -> (TempDir, Arc<dyn Store>) {
    let directory = tempfile::tempdir().unwrap();
    let store = Sqlite::open(&directory.path().join("faultline.db")).unwrap();
    store.migrate().await.unwrap();
    (directory, Arc::new(store))
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

/// Until the store knows of what was told without it.
async fn known(hub: &Hub, store: &dyn Store, holds: &[Condition]) {
    eventually("the store knows of it", async || {
        hub.say(holds.to_vec()).await;
        let alerts = store.list_alerts(&AlertFilter::default(), 10).await.unwrap_or_default();
        if alerts.len() == 1 && alerts[0].told == 1 { Ok(()) } else { Err(alerts) }
    })
    .await;
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
    known(&hub, &*store, &holds).await;
    let told = eventually("it is over", async || {
        hub.say(vec![]).await;
        let told = smtp.mail();
        if about(&told, "RESOLVED").is_empty() { Err("not yet") } else { Ok(told) }
    })
    .await;
    hub.finish().await;
    assert_eq!((told.len(), smtp.mail().len()), (2, 2));
}

#[tokio::test]
async fn what_nobody_could_write_down_while_the_store_was_away_is_not_over() {
    let smtp = Smtp::started(Settings::default());
    let mut server = faultline_testkit::postgres::Postgres::start();
    let (patience, span) = (Duration::from_secs(1), Duration::from_secs(5));
    let store = Arc::new(Postgres::new(&server.url(), 4, patience, patience).unwrap());
    store.migrate().await.unwrap();
    let mut one = settings(&smtp);
    (one.resolve_after, one.abandon_after) = (span, span);
    // What begins meanwhile is not told without the store, so that it shows when that is back.
    one.store_patience = Duration::from_hours(1);
    let other = faultline_actors::notifier::Settings { hub: "hub-2".to_owned(), ..one.clone() };
    let hubs = [Hub::start(one, store.clone()).await, Hub::start(other, store.clone()).await];
    let of_other = Condition { scope: Scope::Hub, ..condition(Kind::AppSlow, "shop") };
    hubs[0].say(vec![condition(Kind::Storm, "production")]).await;
    mail(&smtp, 1).await;
    hubs[1].say(vec![of_other]).await;
    mail(&smtp, 2).await;
    server.stop();
    let (away, news) = (Instant::now(), vec![condition(Kind::DeadJobs, "jira")]);
    eventually("it is away for longer than an alert that nobody sees stays open", async || {
        hubs[0].say(news.clone()).await;
        let lasted = away.elapsed();
        if lasted > span { Ok(()) } else { Err(lasted) }
    })
    .await;
    let back = tokio::task::spawn_blocking(move || {
        server.resume();
        server
    });
    // The first hub is back before the other one is, and cannot know yet whether there is a storm.
    let open = AlertFilter { is_open: Some(true), ..AlertFilter::default() };
    let alerts = eventually("what is new is written down", async || {
        hubs[0].say(news.clone()).await;
        let alerts = store.list_alerts(&open, 10).await.unwrap_or_default();
        if alerts.iter().any(|it| it.kind == "dead-jobs") { Ok(alerts) } else { Err(alerts) }
    })
    .await;
    let kinds: BTreeSet<_> = alerts.iter().map(|it| it.kind.as_str()).collect();
    assert_eq!(kinds, BTreeSet::from(["app-slow", "dead-jobs", "storm"]));
    let _server = back.await.unwrap();
    for hub in hubs {
        hub.finish().await;
    }
    assert!(about(&smtp.mail(), "RESOLVED").is_empty());
}

#[tokio::test]
async fn what_memory_could_not_tell_the_store_tells_when_it_is_back() {
    let (smtp, mut pager) = (Smtp::started(Settings::default()), Smtp::new(Settings::default()));
    let mut server = faultline_testkit::postgres::Postgres::start();
    let patience = Duration::from_secs(1);
    let store = Arc::new(Postgres::new(&server.url(), 4, patience, patience).unwrap());
    store.migrate().await.unwrap();
    let mut settings = settings(&smtp);
    let mut other = mail_to(&pager);
    other.name = "pager".to_owned();
    settings.mail.push(other);
    let hub = Hub::start(settings, store.clone()).await;
    hub.say(vec![]).await;
    server.stop();
    let holds = vec![condition(Kind::ComponentUnhealthy, "database")];
    eventually("it is told by one of them", async || {
        hub.say(holds.clone()).await;
        if smtp.mail().is_empty() { Err("not yet") } else { Ok(()) }
    })
    .await;
    server.resume();
    known(&hub, &*store, &holds).await;
    assert!(pager.mail().is_empty());
    pager.start();
    let told = mail(&pager, 1).await;
    assert_eq!(told[0].header("Subject"), "[CRITICAL] Faultline hub-1: database does not work");
    let waits = AlertFilter::default();
    eventually("nothing is left to be told", async || {
        let alerts = store.list_alerts(&waits, 10).await.unwrap();
        if alerts[0].waiting == 0 { Ok(()) } else { Err(alerts) }
    })
    .await;
    hub.finish().await;
    assert_eq!((smtp.mail().len(), pager.mail().len()), (1, 1));
}

#[tokio::test]
async fn an_address_that_is_gone_does_not_keep_a_message_from_the_others() {
    let smtp = Smtp::started(Settings::default());
    let mut settings = settings(&smtp);
    settings.mail[0].to = ["gone@example.com", "ops@example.com"].map(str::to_owned).to_vec();
    let mut nobody = mail_to(&smtp);
    (nobody.name, nobody.to) = ("nobody".to_owned(), vec!["gone@example.com".to_owned()]);
    settings.mail.push(nobody);
    settings.max_attempts = 1;
    let (_directory, store) = store().await;
    let hub = Hub::start(settings, store.clone()).await;
    hub.say(vec![condition(Kind::PartnerDown, "jira")]).await;
    let told = mail(&smtp, 1).await;
    assert_eq!(told[0].header("X-Envelope-To"), "ops@example.com");
    let alert = eventually("where nobody takes it, it is not sent", async || {
        let alert = store.list_alerts(&AlertFilter::default(), 1).await.unwrap().remove(0);
        if alert.dead == 1 && alert.delivered == 1 { Ok(alert) } else { Err(alert) }
    })
    .await;
    let error = alert.last_error.unwrap();
    assert!(error.starts_with("sending: gone@example.com: "), "{error}");
    hub.finish().await;
    assert_eq!(smtp.mail().len(), 1);
}

#[tokio::test]
async fn an_address_that_is_never_taken_holds_up_the_others_for_a_few_tries_only() {
    // At first all wait for it, but not beyond the last try.
    for (max_attempts, failures) in [(50, 5), (1, 0)] {
        let smtp = Smtp::started(Settings::default());
        let mut settings = settings(&smtp);
        settings.mail[0].to = ["later@example.com", "ops@example.com"].map(str::to_owned).to_vec();
        settings.max_attempts = max_attempts;
        let (_directory, store) = store().await;
        let hub = Hub::start(settings, store).await;
        hub.say(vec![condition(Kind::PartnerDown, "jira")]).await;
        let told = mail(&smtp, 1).await;
        assert_eq!(told[0].header("X-Envelope-To"), "ops@example.com");
        assert!(!told[0].headers.contains("X-Envelope-To: later@"), "{}", told[0].headers);
        eventually("each try is counted", async || {
            let calls = hub.pipeline.mail_calls().unwrap().look(clock::now());
            let counted = (calls.requests, calls.failures);
            if counted == (failures + 1, failures) { Ok(()) } else { Err(counted) }
        })
        .await;
        hub.finish().await;
        assert_eq!(smtp.mail().len(), 1);
    }
}

#[tokio::test]
async fn what_cannot_be_sent_is_given_up_and_said() {
    let smtp = Smtp::new(Settings::default());
    let mut program =
        configured(Program::new(BINARY), &smtp, "0s").set("notifier.max_attempts", "2");
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
    let mut program = configured(Program::new(BINARY), &smtp, "0s");
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
