//! Health: each component that goes bad and comes back is told, at once to those who watch and in a
//! history that is kept; and what the program itself complains of can be read.

#![expect(clippy::unwrap_used, reason = "a failing test is told by a panic")]

use std::fs;

use faultline_testkit::{
    database::Database,
    eventually,
    handoff::hub,
    jira::{Fault, Jira, Settings},
    live::Live,
    postgres::Postgres,
    program::{Program, app_line, frames},
    proxy::{Mode, Proxy},
    redis::Redis,
};
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_faultline");

async fn component(program: &Program, name: &str) -> Value {
    program.json("/health").await["components"][name].clone()
}

/// Waits until a component is of this status; gives it.
async fn becomes(program: &Program, name: &str, status: &str) -> Value {
    eventually(&format!("{name} is {status}"), async || {
        let component = component(program, name).await;
        if component["status"] == status { Ok(component) } else { Err(component) }
    })
    .await
}

/// The history of a component, `before → status`, the oldest first. Each change begins where the one
/// before it ended.
async fn history(program: &Program, name: &str) -> Vec<String> {
    let path = format!("/api/health/history?limit=1000&component={name}");
    let answer = program.json(&path).await;
    let mut changes = answer["changes"].as_array().cloned().unwrap_or_default();
    changes.reverse();
    let mut last = "healthy".to_owned();
    for change in &changes {
        let (before, status) = (&change["before"], change["status"].as_str().unwrap());
        assert_eq!(*before, *last, "{changes:?}");
        assert_ne!(*before, *status, "{changes:?}");
        assert_eq!(change["error"].as_str().unwrap().is_empty(), status == "healthy", "{change}");
        status.clone_into(&mut last);
    }
    let text = |change: &Value| {
        format!("{} → {}", change["before"].as_str().unwrap(), change["status"].as_str().unwrap())
    };
    changes.iter().map(text).collect()
}

/// Waits until the history of a component is this.
async fn tells(program: &Program, name: &str, expected: &[&str]) {
    eventually(&format!("the history of {name}"), async || {
        let history = history(program, name).await;
        if history == expected { Ok(()) } else { Err(history) }
    })
    .await;
}

const WENT_AND_CAME: [&str; 2] = ["healthy → unhealthy", "unhealthy → healthy"];
const ILL_AND_WELL: [&str; 2] = ["healthy → degraded", "degraded → healthy"];

/// A program, not started, whose PostgreSQL is behind a proxy.
async fn behind_proxy() -> (Program, Proxy) {
    let mut program = Program::with_postgres(BINARY);
    let (port, url) = (program.postgres().port(), program.postgres().url());
    let proxy = Proxy::start(port).await;
    let url = url.replace(&port.to_string(), &proxy.port().to_string());
    let program = program
        .set("store.url", &url)
        .set("store.connect_timeout", "1s")
        .set("batch_writer.retry_cap", "200ms")
        .set("health.every", "200ms");
    (program, proxy)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_goes_and_comes_back() {
    let (program, proxy) = behind_proxy().await;
    // A quarter of a small spool is soon used, and no message should wait.
    let mut program = program
        .set("spool.segment_bytes", "64 KiB")
        .set("spool.max_bytes", "512 KiB")
        .set("spool.commit_bytes", "64 KiB")
        .set("receiver.body_limit", "32 KiB")
        .set("health.spool_degraded", "0.25")
        .set("health.late_after", "1s");
    program.start();
    program.settled().await;
    becomes(&program, "database", "healthy").await;
    let mut live = Live::open(&program, "topics=health").await;
    live.until("health", |message| message.event == "health").await;

    proxy.set(Mode::Refuse);
    let database = becomes(&program, "database", "unhealthy").await;
    assert!(database["error"].is_string() && database["since"].is_string(), "{database}");
    let is_told = |status: &'static str| {
        move |message: &faultline_testkit::live::Message| {
            message.data["components"]["database"]["status"] == status
        }
    };
    live.until("it is away", is_told("unhealthy")).await;
    for number in 0..12 {
        let line = app_line("web.1", &"x".repeat(16_000));
        let sent = program.drain(&format!("f{number}"), frames([line])).send().await.unwrap();
        assert_eq!(sent.status(), 204);
    }
    let spool = becomes(&program, "spool", "degraded").await;
    assert!(spool["error"].as_str().unwrap().contains("of spool.max_bytes is used"), "{spool}");
    becomes(&program, "queues", "degraded").await;
    let (status, _) = program.get("/api/health/history").await.unwrap();
    assert_eq!(status, 503, "the history is in the store");

    proxy.set(Mode::Open);
    live.until("it is back", is_told("healthy")).await;
    for name in ["database", "spool", "queues"] {
        becomes(&program, name, "healthy").await;
    }
    tells(&program, "database", &WENT_AND_CAME).await;
    tells(&program, "spool", &ILL_AND_WELL).await;
    tells(&program, "queues", &ILL_AND_WELL).await;
    assert_eq!(history(&program, "application").await, [""; 0], "it was always well");

    // The next process finds everything as it was.
    program.kill();
    program.start();
    program.settled().await;
    becomes(&program, "database", "healthy").await;
    // Something later is written, so that everything before would have been.
    assert_eq!(program.ask("POST", "/api/dispatch/pause").send().await.unwrap().status(), 200);
    tells(&program, "jira", &["healthy → degraded"]).await;
    assert_eq!(history(&program, "database").await, WENT_AND_CAME);
    // What was stored and not yet forgotten is in the spool again for a moment.
    let spool = history(&program, "spool").await;
    assert!(spool.starts_with(&ILL_AND_WELL.map(str::to_owned)), "{spool:?}");
    // A page at a time, the newest first.
    let all = program.json("/api/health/history?limit=1000").await["changes"].clone();
    let mut pages = Vec::new();
    let mut path = "/api/health/history?limit=2".to_owned();
    loop {
        let page = program.json(&path).await;
        pages.extend(page["changes"].as_array().unwrap().clone());
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/api/health/history?limit=2&cursor={next}");
    }
    assert_eq!(pages[0]["component"], "jira");
    assert_eq!(Value::Array(pages), all);
}

/// What was so before the start and is so no more is a change, what is still so is none.
#[tokio::test]
async fn a_restart_is_no_change_by_itself() {
    let mut program = Program::new(BINARY).set("health.memory_degraded", "1 MiB");
    program.start();
    tells(&program, "application", &["healthy → degraded"]).await;
    let since = component(&program, "application").await["since"].clone();
    program.finish().await;
    program.start();
    assert_eq!(program.ask("POST", "/api/dispatch/pause").send().await.unwrap().status(), 200);
    tells(&program, "jira", &["healthy → degraded"]).await;
    tells(&program, "application", &["healthy → degraded"]).await;
    assert_eq!(component(&program, "application").await["since"], since);
    program.kill();
    let mut program = program.set("health.memory_degraded", "8 GiB");
    program.start();
    tells(&program, "application", &ILL_AND_WELL).await;
    assert_eq!(program.ask("POST", "/api/dispatch/resume").send().await.unwrap().status(), 200);
    tells(&program, "jira", &ILL_AND_WELL).await;
    let metric = program.metric("faultline_component_status", "component=\"jira\"").await;
    assert!(metric.abs() < 1e-9, "{metric}");
}

#[tokio::test(flavor = "multi_thread")]
async fn jira_goes_and_comes_back() {
    let jira = Jira::start(Settings::cloud()).await;
    let mut program = [
        ("jira.retry_first", "20ms"),
        ("jira.retry_cap", "50ms"),
        ("jira.search_settle", "1s"),
        ("jira.breaker_open", "1s"),
        ("jira.max_attempts", "1000"),
        ("health.every", "200ms"),
    ]
    .into_iter()
    .fold(Program::new(BINARY).with_jira(&jira), |program, (key, value)| program.set(key, value));
    program.start();
    jira.down(Fault::Status5xxBefore(503));
    for word in ["amber", "basil", "cedar", "delta", "elder", "fennel"] {
        program.report(&format!(r#"{{"message": "no {word} left"}}"#)).await;
    }
    let away = becomes(&program, "jira", "unhealthy").await;
    assert_eq!(away["details"]["breaker"], "open", "{away}");
    jira.up();
    becomes(&program, "jira", "healthy").await;
    eventually("the history has both ends", async || {
        let history = history(&program, "jira").await;
        let is_whole = history.first().is_some_and(|first| first.starts_with("healthy → "))
            && history.last().is_some_and(|last| last.ends_with(" → healthy"));
        if is_whole { Ok(()) } else { Err(history) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_goes_and_comes_back() {
    let mut redis = Redis::start();
    let database = Database::Postgres(Box::new(Postgres::start()));
    let mut program =
        hub(BINARY, &redis.url(), &database.url(), "dev").set("health.every", "200ms");
    program.start();
    becomes(&program, "redis", "healthy").await;
    redis.kill();
    becomes(&program, "redis", "degraded").await;
    redis.resume();
    becomes(&program, "redis", "healthy").await;
    eventually("the history has both ends", async || {
        let history = history(&program, "redis").await;
        if history.ends_with(&ILL_AND_WELL.map(str::to_owned)) { Ok(()) } else { Err(history) }
    })
    .await;
}

#[tokio::test]
async fn maxwell_ends_and_comes_back_and_its_complaints_are_kept() {
    let mut program = Program::new(BINARY)
        .set("stdin.command", r#"["sh", "maxwell", "password=hunter2secret"]"#)
        .set("stdin.restart_cap", "1s")
        .set("health.every", "100ms");
    let script = program.directory().join("maxwell");
    fs::write(&script, "exit 1\n").unwrap();
    program.start();
    becomes(&program, "maxwell", "degraded").await;
    let ended = async |program: &Program| {
        let errors = program.json("/api/errors?level=warn").await;
        let errors = errors["errors"].as_array().cloned().unwrap_or_default();
        errors.into_iter().find(|it| it["template"] == "its output has ended")
    };
    // It is started again and again, and complained of in one row.
    let complaint = eventually("its end is kept", async || {
        ended(&program).await.filter(|it| it["count"].as_i64() >= Some(2)).ok_or("not yet")
    })
    .await;
    assert!(complaint["target"].as_str().unwrap().starts_with("faultline::"), "{complaint}");
    assert!(complaint["message"].as_str().unwrap().contains("status="), "{complaint}");
    assert!(complaint["first_at"].as_str() < complaint["last_at"].as_str(), "{complaint}");
    let row = r#"{"database":"shop","table":"orders","type":"insert","ts":1477053217,"position":"master.000006:7","data":{"id":7}}"#;
    fs::write(&script, format!("echo '{row}'\nexec sleep 1000\n")).unwrap();
    becomes(&program, "maxwell", "healthy").await;
    eventually("its line is seen", async || {
        let maxwell = component(&program, "maxwell").await;
        let details = &maxwell["details"];
        let is_seen = details["lastLine"].is_string() && details["silentSeconds"].is_number();
        if is_seen && details["position"] == "master.000006:7" { Ok(()) } else { Err(maxwell) }
    })
    .await;
    eventually("the history ends well", async || {
        let history = history(&program, "maxwell").await;
        if history.ends_with(&ILL_AND_WELL.map(str::to_owned)) { Ok(()) } else { Err(history) }
    })
    .await;
    program.finish().await;
    program.start();
    let kept = ended(&program).await.unwrap();
    assert!(kept["count"].as_i64() >= complaint["count"].as_i64(), "{kept}");
    assert_eq!(kept["id"], complaint["id"]);
    let lines = program.metric("faultline_log_lines_total", "level=\"info\"").await;
    assert!(lines >= 1.0, "{lines}");
}

#[tokio::test]
async fn complaints_are_read_a_page_at_a_time() {
    let mut program = Program::new(BINARY);
    program.start();
    program.settled().await;
    program
        .database
        .execute(
            "INSERT INTO error_logs (hub, level, target, template, message, first_at, last_at, count)
             VALUES ('a', 'warn', 't', 'one', 'one', 1, 7, 1), ('a', 'warn', 't', 'two', 'two', 1, 7, 1),
                 ('a', 'error', 't', 'three', 'three', 1, 5, 9)",
        )
        .await;
    let mut path = "/api/errors?limit=1".to_owned();
    let mut templates = Vec::new();
    loop {
        let page = program.json(&path).await;
        let template = page["errors"][0]["template"].as_str().unwrap().to_owned();
        templates.push(template);
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/api/errors?limit=1&cursor={next}");
    }
    let seeded = templates.iter().filter(|it| ["one", "two", "three"].contains(&it.as_str()));
    assert_eq!(seeded.collect::<Vec<_>>(), ["two", "one", "three"]);
    for (path, status) in [
        ("/api/errors?level=loud", 400),
        ("/api/errors?cursor=x", 400),
        ("/api/errors?limit=0", 400),
        ("/api/health/history?cursor=x", 400),
        ("/api/health/history?colour=red", 400),
    ] {
        assert_eq!(program.get(path).await.unwrap().0, status, "{path}");
    }
}

#[tokio::test]
async fn it_is_told_in_the_form_that_is_asked_for() {
    let mut program = Program::new(BINARY).set("health.memory_degraded", "1 MiB");
    program.start();
    program.settled().await;
    let ask = async |accept: &str| {
        let answer = program.look("/health").header("accept", accept).send().await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), answer.headers()["vary"].to_str().unwrap()),
            (200, "accept"),
            "warn"
        );
        let content_type = answer.headers()["content-type"].to_str().unwrap().to_owned();
        (content_type, answer.json::<Value>().await.unwrap())
    };
    for accept in ["*/*", "application/json", "application/health+json;q=0.1, application/json"] {
        let (content_type, health) = ask(accept).await;
        assert_eq!(content_type, "application/json", "{accept}");
        assert_eq!(health["overall"], "degraded", "{health}");
    }
    let (content_type, health) = ask("application/health+json").await;
    assert_eq!(content_type, "application/health+json");
    assert_eq!((&health["status"], health["version"].is_string()), (&"warn".into(), true));
    assert!(health["output"].as_str().unwrap().starts_with("application: "), "{health}");
    let response_time = &health["checks"]["sqlite:responseTime"][0];
    assert_eq!(response_time["status"], "pass", "{health}");
    assert_eq!(response_time["observedUnit"], "ms");
    assert!(response_time["observedValue"].is_number() && response_time["time"].is_string());
    assert!(response_time["output"].is_null(), "not where all is well: {health}");
    let memory = &health["checks"]["application:memory"][0];
    assert_eq!((&memory["status"], &memory["observedUnit"]), (&"warn".into(), &"B".into()));
    assert!(memory["observedValue"].as_u64().unwrap() > 1 << 20, "{memory}");
    assert_eq!(
        program.get("/readyz?verbose").await.unwrap(),
        (200, "[+]spool ok\nreadyz check passed\n".to_owned())
    );
    assert_eq!(program.get("/readyz").await.unwrap(), (200, "ready\n".to_owned()));
}
