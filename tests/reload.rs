//! A changed configuration comes into force while the program runs, or not at all: nothing is lost
//! meanwhile, what needs a restart is said, and no secret shows.

#![expect(clippy::float_cmp, reason = "counts, which are exact")]
#![expect(clippy::unwrap_used, reason = "a failing test is told by a panic")]

use std::{fs, time::Duration};

use faultline_testkit::{
    PATIENCE, eventually, free_port,
    handoff::relay,
    jira::{Endpoint, Jira, Settings},
    load::Load,
    program::{Program, app_line, frames},
    wire::{read_to_end, status_of},
};
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, net::TcpStream, task::JoinSet};

const BINARY: &str = env!("CARGO_BIN_EXE_faultline");

/// A program with a configuration file; it is not started yet.
fn program(config: &str) -> Program {
    let program = Program::new(BINARY).arguments(&["run", "--config", "config.toml"]);
    write(&program, config);
    program
}

/// A program that runs, and whose new store has its tables: before, what asks for them is told to come
/// again.
async fn started(config: &str) -> Program {
    let mut program = program(config);
    program.start();
    eventually("the store has its tables", async || {
        let log = program.log();
        if log.contains("schema brought up to date") { Ok(()) } else { Err(log) }
    })
    .await;
    program
}

fn write(program: &Program, config: &str) {
    fs::write(program.directory().join("config.toml"), config).unwrap();
}

async fn answer(request: RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// Has the program read a changed configuration.
async fn reload(program: &Program, config: &str) -> (u16, Value) {
    write(program, config);
    answer(program.ask("POST", "/api/reload")).await
}

fn keys(changes: &Value) -> Vec<&str> {
    changes.as_array().unwrap().iter().map(|change| change["key"].as_str().unwrap()).collect()
}

/// Sends SIGHUP, and waits until it was heeded for the so-many-th time.
async fn hang_up(program: &Program, outcome: &str, count: f64) {
    program.signal("HUP");
    eventually("the configuration is read again", async || {
        let labels = format!("outcome=\"{outcome}\"");
        let reloads = program.metric("faultline_config_reloads_total", &labels).await;
        if (reloads - count).abs() < 0.5 { Ok(()) } else { Err(reloads) }
    })
    .await;
}

/// The labels of the newest ticket, once there are so many.
async fn labels(program: &Program, count: usize) -> Value {
    eventually("there is another ticket", async || {
        let jobs = program.json("/api/jobs?action=create").await;
        let list = jobs["jobs"].as_array().unwrap();
        if list.len() == count { Ok(list[0]["request"]["labels"].clone()) } else { Err(jobs) }
    })
    .await
}

async fn change_of(program: &Program, table: &str) {
    let line = json!({ "database": "shop", "table": table, "type": "insert", "data": { "id": 1 } });
    let request = program.post("/maxwell", "application/x-ndjson").body(line.to_string());
    assert_eq!(request.send().await.unwrap().status(), 204);
}

fn rules(label: &str, table: &str) -> String {
    format!(
        "[[rules]]\nname = \"reports\"\nmatch.service = \"checkout\"\nlabels = [\"{label}\"]\n\
         [[rules]]\nname = \"changes\"\nmatch.kind = \"change\"\nmatch.table = \"{table}\"\n\
         labels = [\"{label}\"]\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_rule_decides_from_then_on_and_nothing_is_lost() {
    let mut program = started(&rules("old", "orders")).await;
    let load = Load::start(program.receiver(), 4);
    let report = async |message: &str| {
        let report = json!({ "message": message, "service": "checkout" });
        program.report(&report.to_string()).await;
    };
    report("the first fault").await;
    assert_eq!(labels(&program, 1).await, json!(["old"]));
    change_of(&program, "invoices").await;
    for round in 1..=20 {
        let before = load.accepted();
        let label = format!("round-{round}");
        write(&program, &rules(&label, if round == 20 { "invoices" } else { "orders" }));
        hang_up(&program, "applied", f64::from(round)).await;
        eventually("it is under load", async || match load.accepted() {
            now if now > before + 5 => Ok(()),
            now => Err(now),
        })
        .await;
    }
    report("quite another thing").await;
    assert_eq!(labels(&program, 2).await, json!(["round-20"]));
    change_of(&program, "invoices").await;
    assert_eq!(labels(&program, 3).await, json!(["round-20"]), "the change is a fault by now");
    change_of(&program, "orders").await;

    let mut accepted = load.end().await;
    assert_eq!((accepted.refused, accepted.unanswered), (0, 0));
    // Two reports and a change of this test's own.
    accepted.faults += 3;
    let ledger = program.settled().await;
    assert_eq!(ledger.line("maxwell").stored, 3);
    let faults = "SELECT count(*) FROM faults WHERE title LIKE 'insert shop.%'";
    assert_eq!(program.database.number(faults).await, 1, "one change of three was selected");
    program.finish().await;
    let extra = "SELECT count(*) FROM events WHERE source = 'maxwell' OR service = 'checkout'";
    assert_eq!(program.database.number(extra).await, 5);
    accepted.assert_stored_once(&program.database).await;
}

fn credentials(number: u8) -> String {
    format!(
        "[receiver]\ntoken = \"receiver-token-{number}\"\nretry_after = \"{number}s\"\n\
         [[receiver.drains]]\nuser = \"heroku\"\npassword = \"drain-password-{number}\"\n\
         [admin]\nauth = \"token\"\ntoken = \"admin-token-{number}\"\n\
         metrics_token = \"metrics-token-{number}\"\n"
    )
}

/// What each of the five doors answers to credentials with this number.
async fn let_in(program: &Program, number: u8) -> [u16; 4] {
    let status = async |request: RequestBuilder| request.send().await.unwrap().status().as_u16();
    let report = program.post("/errors/log", "application/json").body(r#"{"message":"x"}"#);
    let drain = program.drain("", frames([app_line("web.1", "a line")]));
    let (user, password) = ("heroku", format!("drain-password-{number}"));
    [
        status(report.bearer_auth(format!("receiver-token-{number}"))).await,
        status(drain.basic_auth(user, Some(password))).await,
        status(program.look("/api/faults").bearer_auth(format!("admin-token-{number}"))).await,
        status(program.look("/metrics").bearer_auth(format!("metrics-token-{number}"))).await,
    ]
}

#[tokio::test]
async fn rotated_credentials_are_refused_and_requests_under_way_are_finished() {
    let program = started(&credentials(1)).await;
    assert_eq!(let_in(&program, 1).await, [200, 204, 200, 200]);
    assert_eq!(let_in(&program, 2).await, [401, 401, 401, 401]);
    let body = r#"{"message":"slowly sent"}"#;
    let head = format!(
        "POST /errors/log HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nconnection: close\r\n\
         authorization: Bearer receiver-token-1\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut slow = TcpStream::connect(program.receiver()).await.unwrap();
    slow.write_all(head.as_bytes()).await.unwrap();
    // It is let in, and wants its body.
    let mut wanted = [0; 25];
    tokio::io::AsyncReadExt::read_exact(&mut slow, &mut wanted).await.unwrap();
    assert_eq!(&wanted, b"HTTP/1.1 100 Continue\r\n\r\n");

    write(&program, &credentials(2));
    let reload = program.ask("POST", "/api/reload").bearer_auth("admin-token-1");
    let (status, report) = answer(reload).await;
    assert_eq!(status, 200, "{report}");
    let expected = [
        "admin.metrics_token",
        "admin.token",
        "receiver.drains",
        "receiver.retry_after",
        "receiver.token",
    ];
    assert_eq!(keys(&report["applied"]), expected);
    assert_eq!(report["restart"], json!([]));
    assert_eq!(let_in(&program, 1).await, [401, 401, 401, 401]);
    assert_eq!(let_in(&program, 2).await, [200, 204, 200, 200]);

    slow.write_all(body.as_bytes()).await.unwrap();
    let answer = read_to_end(&mut slow, PATIENCE).await.unwrap();
    assert_eq!(status_of(&answer), 200, "{answer}");
    let stored = "SELECT count(*) FROM events WHERE message = 'slowly sent'";
    eventually("it is stored", async || match program.database.number(stored).await {
        1 => Ok(()),
        count => Err(count),
    })
    .await;
}

#[tokio::test]
async fn a_bad_configuration_changes_nothing_and_is_named() {
    let good = "[receiver]\ntoken = \"a-token-of-old\"\n";
    let mut program = started(good).await;
    let metric = async |name: &str| program.metric(&format!("faultline_config_{name}"), "").await;
    let loaded_at = metric("last_reload_timestamp_seconds").await;
    assert!(loaded_at > 1.7e9);
    let before = program.json("/api/config").await;
    let mut refused = 0.0;
    for (bad, expected) in [
        ("[receiver]\ntoken = \"short\"\n", "receiver.token = \"***\": a secret of at least 12"),
        (
            "[receiver]\ntokn = \"hunter2-hunter2\"\n",
            "receiver.tokn: there is no such setting; `token`",
        ),
        ("[receiver]\ntoken = \"hunter2-hunter2\n", "config.toml: line 2 (`token`)"),
        ("[[rules]]\nname = \"a\"\nclass = \"P9\"\n", "rules[0].class: unknown variant `P9`"),
        ("[telemetry]\nfilter = \"x=loud\"\n", "telemetry.filter = \"x=loud\": "),
        (
            "[receiver]\nbody_limit = \"100 MiB\"\ninflight_limit = \"300 MiB\"\n[spool]\nsegment_bytes = \"128 MiB\"\n",
            "receiver.body_limit = \"100.0 MiB\": a body must fit",
        ),
    ] {
        let (status, problem) = reload(&program, bad).await;
        assert_eq!(status, 422, "{problem}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(expected), "{detail}\n  lacks {expected}");
        assert!(!problem.to_string().contains("hunter2"), "{problem}");
        refused += 1.0;
    }
    fs::remove_file(program.directory().join("config.toml")).unwrap();
    refused += 1.0;
    hang_up(&program, "refused", refused).await;
    assert!(program.log().contains("config.toml: No such file"), "{}", program.log());

    assert_eq!(program.json("/api/config").await, before);
    assert!(metric("last_reload_successful").await.abs() < 1e-9);
    assert!((metric("last_reload_timestamp_seconds").await - loaded_at).abs() < 1e-9);
    let report = program.post("/errors/log", "application/json").body(r#"{"message":"x"}"#);
    let status = report.bearer_auth("a-token-of-old").send().await.unwrap().status();
    assert_eq!(status, 200, "the old one is in force");
    let log = program.log();
    assert!(log.contains("cannot be used; the old one stays"), "{log}");
    assert!(log.contains("rules[0].class"), "{log}");
    let audit = program.json("/api/audit?action=config.reload").await;
    assert_eq!(audit["audit"].as_array().unwrap().len(), 7);
    assert_eq!(audit["audit"][0]["who"], "SIGHUP");

    let (status, _) = reload(&program, good).await;
    assert_eq!(status, 200);
    assert_eq!(metric("last_reload_successful").await, 1.0);
    program.finish().await;
}

#[tokio::test]
async fn what_needs_a_restart_is_said_and_not_done() {
    let mut program = started("").await;
    let changed = "[spool]\nqueue = 7\n[parser]\nenvironment = \"staging\"\n[jira]\nproject = \"NEW\"\n\
                   [admin]\nmetrics_rate = 1\n";
    let (status, report) = reload(&program, changed).await;
    assert_eq!(status, 200, "{report}");
    assert_eq!(keys(&report["applied"]), ["admin.metrics_rate"]);
    let restart = ["jira.project", "parser.environment", "spool.queue"];
    assert_eq!(keys(&report["restart"]), restart);
    assert_eq!(
        report["restart"][2],
        json!({ "key": "spool.queue", "old": 4096, "new": 7, "secret": false })
    );
    assert!(report["unchanged"].as_u64().unwrap() > 100, "{report}");
    let config = program.json("/api/config").await;
    let of = |key: &str| config["config"].pointer(key).unwrap().clone();
    assert_eq!((of("/spool/queue"), of("/admin/metrics_rate")), (json!(4096), json!(1)));
    assert_eq!(config["loaded_at"], report["loaded_at"]);
    assert_eq!(config["file"], "config.toml");
    let log = program.log();
    assert!(log.contains("jira.project, parser.environment, spool.queue"), "{log}");
    // It is said again for as long as it is so.
    let (_, again) = reload(&program, changed).await;
    assert_eq!((keys(&again["applied"]).len(), keys(&again["restart"])), (0, restart.to_vec()));
    program.finish().await;
    program.start();
    assert_eq!(program.json("/api/config").await["config"]["spool"]["queue"], 7);
}

#[tokio::test]
async fn a_file_that_was_read_once_must_be_there_again() {
    let mut program = Program::new(BINARY);
    program.start();
    eventually("the store has its tables", async || {
        program.log().contains("schema brought up to date").then_some(()).ok_or(())
    })
    .await;
    let (status, report) = reload(&program, "[admin]\nmetrics_rate = 1\n").await;
    assert_eq!((status, keys(&report["applied"])), (200, vec!["admin.metrics_rate"]));
    assert_eq!(program.json("/api/config").await["file"], "config.toml");
    fs::remove_file(program.directory().join("config.toml")).unwrap();
    let (status, problem) = answer(program.ask("POST", "/api/reload")).await;
    assert_eq!(status, 422, "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("config.toml"), "{problem}");
    assert_eq!(program.json("/api/config").await["config"]["admin"]["metrics_rate"], 1);
}

#[tokio::test]
async fn a_preview_changes_nothing() {
    let program = started("").await;
    write(&program, "[admin]\nread_only = true\n");
    for query in ["?preview", "?preview=true"] {
        let (status, report) = answer(program.ask("POST", &format!("/api/reload{query}"))).await;
        assert_eq!((status, &report["preview"]), (200, &json!(true)), "{report}");
        assert_eq!(keys(&report["applied"]), ["admin.read_only"]);
    }
    assert_eq!(program.json("/api/config").await["config"]["admin"]["read_only"], false);
    let (status, _) = answer(program.ask("POST", "/api/reload?preview=maybe")).await;
    assert_eq!(status, 400);
    assert_eq!(program.metric("faultline_config_reloads_total", "").await, 0.0);
    let audit = program.json("/api/audit?action=config.reload").await;
    assert_eq!(audit["audit"], json!([]));
}

#[tokio::test]
async fn the_admin_listener_goes_by_new_settings() {
    let program = started("").await;
    let origin = "https://other.example";
    let allows = async || {
        let answer = program.look("/api/faults").header("origin", origin).send().await.unwrap();
        answer.headers().contains_key("access-control-allow-origin")
    };
    assert!(!allows().await);
    let closed = format!("[admin]\nread_only = true\ncors_origins = [\"{origin}\"]\n");
    assert_eq!(reload(&program, &closed).await.0, 200);
    assert!(allows().await);
    let (status, problem) = reload(&program, "").await;
    assert_eq!(status, 403, "it is read-only: {problem}");
    // Whoever may change its file may open it again.
    hang_up(&program, "applied", 2.0).await;
    assert!(!allows().await);
    assert_eq!(reload(&program, "[admin]\nmetrics_rate = 1\n").await.0, 200);
    let mut refused = 0;
    for _ in 0..20 {
        refused += u32::from(program.get("/metrics").await.unwrap().0 == 429);
    }
    assert!(refused > 0);
}

#[tokio::test]
async fn the_log_goes_by_a_new_filter() {
    let program = started("").await;
    assert_eq!(reload(&program, "[telemetry]\nfilter = \"error\"\n").await.0, 200);
    assert_eq!(reload(&program, "").await.0, 200);
    assert_eq!(program.log().matches("the configuration was read again").count(), 1);
}

#[tokio::test]
async fn secrets_show_nowhere() {
    let secrets = |number: u8| {
        format!(
            "{}[jira]\nwebhook_secret = \"jira-canary-{number}\"\nurl = \"https://x.atlassian.net\"\nemail = \"a@b\"\n\
             token = \"jira-token-canary-{number}\"\nproject = \"OPS\"\npoll_every = \"0s\"\n\
             [handoff]\nurl = \"redis://u:handoff-canary-{number}@h:1/0\"\n\
             [stdin]\ncommand = [\"true\", \"--password=stdin-canary-{number}\"]\n",
            credentials(number).replace("-token-", "-canary-").replace("-password-", "-canary-")
        )
    };
    // It need not be reached, and would wait for what it reads.
    let mut program = program(&secrets(1)).set("stdin.on_eof", "serve");
    program.start();
    write(&program, &secrets(2));
    let preview = program.ask("POST", "/api/reload?preview").bearer_auth("admin-canary-1");
    let (status, preview) = answer(preview).await;
    assert_eq!(status, 200, "{preview}");
    let done = program.ask("POST", "/api/reload").bearer_auth("admin-canary-1");
    let (status, done) = answer(done).await;
    assert_eq!(status, 200, "{done}");
    let changes = [&done["applied"], &done["restart"]].map(|list| list.as_array().unwrap().clone());
    let secret = changes.concat().iter().filter(|change| change["secret"] == true).count();
    assert_eq!(secret, 8, "{done}");
    eventually("the audit trail has it", async || {
        let audit = program.look("/api/audit?action=config.reload").bearer_auth("admin-canary-2");
        let (_, audit) = answer(audit).await;
        assert!(!audit.to_string().contains("canary"), "{audit}");
        if audit.to_string().contains("another secret") { Ok(()) } else { Err(audit) }
    })
    .await;
    let metrics = program.look("/metrics").bearer_auth("admin-canary-2").send().await.unwrap();
    for text in
        [preview.to_string(), done.to_string(), program.log(), metrics.text().await.unwrap()]
    {
        assert!(!text.contains("canary"), "{text}");
    }
}

/// Of many at once one finds the change; otherwise two would apply it.
#[tokio::test(flavor = "multi_thread")]
async fn reloads_at_once_are_done_one_after_another() {
    let program = started("").await;
    for round in 0..5 {
        write(&program, &format!("[receiver]\nretry_after = \"{}s\"\n", 10 + round));
        let mut reloads = JoinSet::new();
        for _ in 0..16 {
            reloads.spawn(answer(program.ask("POST", "/api/reload")));
        }
        let answers = reloads.join_all().await;
        assert!(answers.iter().all(|(status, _)| *status == 200), "{answers:?}");
        let found = answers.iter().filter(|(_, report)| report["applied"] != json!([]));
        assert_eq!(found.count(), 1, "round {round}");
    }
    let count = async |outcome: &str| {
        let labels = format!("outcome=\"{outcome}\"");
        program.metric("faultline_config_reloads_total", &labels).await
    };
    assert_eq!([count("applied").await, count("unchanged").await], [5.0, 75.0]);
    let entries = "SELECT count(*) FROM audit_trail WHERE action = 'config.reload'";
    assert_eq!(program.database.number(entries).await, 80);
}

#[tokio::test]
async fn a_limit_of_bodies_is_changed() {
    let program = started("").await;
    let send = async || {
        let report = json!({ "message": "x".repeat(4_000) }).to_string();
        let request = program.post("/errors/log", "application/json").body(report);
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(send().await, 200);
    assert_eq!(reload(&program, "[receiver]\nbody_limit = \"1 KiB\"\n").await.0, 200);
    assert_eq!(send().await, 413);
    assert_eq!(reload(&program, "").await.0, 200);
    assert_eq!(send().await, 200);
}

#[tokio::test]
async fn jira_is_asked_as_often_as_the_new_settings_say() {
    let jira = Jira::start(Settings::cloud()).await;
    let polls = |every: &str| format!("[jira]\npoll_every = \"{every}\"\nrate_per_second = 100\n");
    let mut program = program(&polls("0s")).with_jira(&jira);
    program.start();
    program.report(r#"{"message":"cannot open the door"}"#).await;
    eventually("there is a ticket", async || match jira.issues().len() {
        1 => Ok(()),
        count => Err(count),
    })
    .await;
    assert_eq!(jira.requests_to(Endpoint::Search).len(), 0);
    let (status, report) = reload(&program, &polls("50ms")).await;
    assert_eq!((status, keys(&report["applied"])), (200, vec!["jira.poll_every"]));
    eventually("Jira is asked", async || match jira.requests_to(Endpoint::Search).len() {
        count if count >= 3 => Ok(()),
        count => Err(count),
    })
    .await;
    // One may be under way; then no more.
    assert_eq!(reload(&program, &polls("0s")).await.0, 200);
    let asked = jira.requests_to(Endpoint::Search).len() + 1;
    for round in 0..20 {
        program.report(&json!({ "message": format!("line {round}") }).to_string()).await;
        program.settled().await;
    }
    assert!(jira.requests_to(Endpoint::Search).len() <= asked);
    program.finish().await;
}

#[tokio::test]
async fn a_relay_goes_by_new_settings_too() {
    let nobody = format!("redis://127.0.0.1:{}", free_port());
    let mut relay = relay(BINARY, &nobody, "dev").arguments(&["relay", "--config", "config.toml"]);
    write(&relay, "[receiver]\ntoken = \"receiver-token-1\"\n");
    relay.start();
    let report = async |token: &str| {
        let report = relay.post("/errors/log", "application/json").body(r#"{"message":"x"}"#);
        report.bearer_auth(token).send().await.unwrap().status().as_u16()
    };
    assert_eq!(report("receiver-token-1").await, 200);
    let fill = async || {
        let health = relay.json("/health").await;
        health["components"]["spool"]["error"].as_str().unwrap_or("").to_owned()
    };
    assert!(!fill().await.contains("spool.max_bytes"), "{}", fill().await);
    write(&relay, "[receiver]\ntoken = \"receiver-token-2\"\n[health]\nspool_degraded = 1e-9\n");
    hang_up(&relay, "applied", 1.0).await;
    assert!(fill().await.contains("spool.max_bytes"), "health goes by them: {}", fill().await);
    assert_eq!([report("receiver-token-1").await, report("receiver-token-2").await], [401, 200]);
    write(
        &relay,
        "[receiver]\nbody_limit = \"70 MiB\"\ninflight_limit = \"140 MiB\"\n[spool]\nsegment_bytes = \"80 MiB\"\n",
    );
    hang_up(&relay, "refused", 1.0).await;
    assert!(relay.log().contains("a relay takes at most"), "{}", relay.log());
    tokio::time::timeout(Duration::from_secs(30), relay.finish()).await.unwrap();
}

#[tokio::test]
async fn what_is_kept_for_how_long_is_heeded_at_once() {
    let settings =
        |keep: &str| format!("[retention]\nevery = \"1h\"\nmetric_snapshots = \"{keep}\"\n");
    let program = started(&settings("0s")).await;
    eventually("it has looked once", async || {
        let runs = program.metric("faultline_retention_runs_total", "outcome=\"done\"").await;
        if runs == 1.0 { Ok(()) } else { Err(runs) }
    })
    .await;
    // In January 2020.
    let old = "SELECT count(*) FROM metric_snapshots WHERE taken_at < 1600000000000000";
    program.database.execute("INSERT INTO metric_snapshots VALUES (1577836800000000, '{}')").await;
    assert_eq!(program.database.number(old).await, 1);
    let (status, _) = reload(&program, &settings("1d")).await;
    assert_eq!(status, 200);
    eventually("it is gone", async || match program.database.number(old).await {
        0 => Ok(()),
        left => Err(left),
    })
    .await;
}
