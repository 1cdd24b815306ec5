//! The dashboard, as people use it: a real browser walks its pages at three widths, light and dark,
//! on the real program with a real PostgreSQL and a fake Jira. What the browser does is in
//! `dashboard/tests`; here is what it finds.
//!
//! `SCREENSHOTS=DIR` keeps pictures of the pages there, as `scripts/screenshots` does.

#![expect(clippy::unwrap_used, reason = "a failing test is told by a panic")]

use std::{
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use faultline_testkit::{
    eventually,
    jira::{Jira, Settings},
    program::{Program, app_line, frames},
};
use serde_json::json;

const BINARY: &str = env!("CARGO_BIN_EXE_faultline");
const DASHBOARD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/dashboard");
/// Whom the browser logs in as.
const PASSWORD: &str = "correct horse battery staple";

/// Faults of `billing` go to a project that is not there: their jobs die. Those of `noise` are let be.
const RULES: &str = r#"
[[rules]]
name = "billing"
match.service = "billing"
project = "NOWHERE"

[[rules]]
name = "noise"
match.service = "noise"
ignore = true

[[rules]]
name = "everything else"
match.severity = "error"
class = "P1"
"#;

fn hub(jira: &Jira) -> Program {
    let program = Program::with_postgres(BINARY);
    let config = program.directory().join("rules.toml");
    std::fs::write(&config, RULES).unwrap();
    let program = [
        ("jira.rate_per_second", "100"),
        ("jira.storm_budget", "0"),
        ("jira.retry_first", "50ms"),
        ("jira.retry_cap", "200ms"),
        ("jira.poll_every", "500ms"),
        ("admin.auth", "users"),
    ]
    .into_iter()
    .fold(program.with_jira(jira), |program, (key, value)| program.set(key, value));
    for (name, role) in [("olga", "admin"), ("otto", "operator"), ("vera", "viewer")] {
        add_user(&program, name, role);
    }
    let mut program = program.arguments(&["--config", config.to_str().unwrap(), "run"]);
    program.start();
    program
}

/// As `faultline users add` does it, with the password on standard input.
fn add_user(program: &Program, name: &str, role: &str) {
    use std::io::Write as _;
    let mut command = program.command_with(&["users", "add", name, "--role", role]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(format!("{PASSWORD}\n").as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "users add {name}");
}

/// A morning's worth of trouble.
async fn fill(program: &Program) {
    for (service, message, times) in [
        ("checkout", "PaymentDeclined: card of customer {n} was declined by acquirer", 40),
        ("checkout", "connection to redis-{n}.internal:6379 timed out after 3000 ms", 12),
        ("billing", "invoice {n} has no tax id", 3),
        ("catalog", "cannot decode image {n}.webp: unexpected end of file", 7),
        (
            "search",
            "<img src=x onerror=\"document.title='owned'\"><script>alert(1)</script> {n}",
            2,
        ),
        ("noise", "probe {n} failed", 5),
    ] {
        let reports: Vec<_> = (0..times)
            .map(|n| {
                let message = message.replace("{n}", &(1_000 + n).to_string());
                json!({ "service": service, "message": message, "severity": "error",
                    "environment": if n % 3 == 2 { "staging" } else { "production" } })
            })
            .collect();
        program.report(&json!(reports).to_string()).await;
    }
    let lines: Vec<String> = (0..300)
        .map(|n| {
            let text = match n % 10 {
                0 => format!("level=warn msg=\"slow query\" ms={} id=req-{n}", 800 + n),
                1 => format!("ERROR worker {n} lost its lease"),
                _ => format!("GET /products/{n} 200 in {} ms", 20 + n % 50),
            };
            app_line(["web.1", "web.2", "worker.1"][n % 3], &text)
        })
        .chain((0..60).map(|n| {
            let status = if n % 12 == 0 { 503 } else { 200 };
            format!(
                "<158>1 2026-11-22T03:00:07.123456+00:00 host heroku router - at=info method=GET \
                 path=\"/products/{n}\" host=shop.example.com request_id=r{n} fwd=\"192.0.2.7\" \
                 dyno=web.{} connect=1ms service={}ms status={status} bytes=512\n",
                1 + n % 2,
                15 + n
            )
        }))
        .collect();
    let sent = program.drain("dashboard-1", frames(lines)).send().await.unwrap();
    assert!(sent.status().is_success(), "{}", sent.status());
    // What no parser understands is kept to be looked at.
    let sent =
        program.drain("dashboard-2", frames(["no priority, no time, no sense"])).send().await;
    assert!(sent.unwrap().status().is_success());
}

/// The browser is Debian's, or the one of `CHROMIUM`.
fn playwright(program: &Program, jira: &Jira, arguments: &[&str]) -> Command {
    let runner = Path::new(DASHBOARD).join("node_modules/.bin/playwright");
    assert!(runner.is_file(), "{} is missing: `npm ci` in dashboard/", runner.display());
    let mut command = Command::new(runner);
    command
        .args(["test", "--reporter=line"])
        .args(arguments)
        .current_dir(DASHBOARD)
        .env("DASHBOARD_URL", format!("http://{}", program.admin()))
        .env("FAULTLINE_RECEIVER", format!("http://{}", program.receiver()))
        .env("FAULTLINE_PASSWORD", PASSWORD)
        .env("JIRA_URL", jira.url());
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn people_see_and_steer() {
    let jira = Jira::start(Settings::cloud()).await;
    let program = hub(&jira);
    fill(&program).await;
    eventually("tickets are made", async || {
        let made = jira.issues().len();
        if made >= 4 { Ok(()) } else { Err(made) }
    })
    .await;
    // Only the README's pictures, where they are asked for.
    let only: &[&str] = if std::env::var_os("SCREENSHOTS").is_some() { &["pictures"] } else { &[] };
    let command = playwright(&program, &jira, only);
    let output = tokio::time::timeout(Duration::from_mins(18), async {
        let mut command = tokio::process::Command::from(command);
        command.stdin(Stdio::null()).kill_on_drop(true).output().await.unwrap()
    });
    let output = output.await.expect("the browser comes to an end");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
}
