//! The API does what its description says: Schemathesis asks for everything that it describes, rightly
//! and wrongly, and the program answers nothing else than what is described, and never 5xx.
//!
//! `scripts/test` installs Schemathesis. `SCHEMATHESIS` names its program where it is elsewhere;
//! `SCHEMATHESIS_SECONDS` says how long it may take, 45 by default.

#![expect(
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a failing test is told by a panic and what is printed"
)]

use std::{
    env,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use faultline_testkit::{
    eventually,
    program::{Program, app_line, frames},
};

const BINARY: &str = env!("CARGO_BIN_EXE_faultline");
/// Whatever is answered must be described, and be as it is described.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
    response_schema_conformance,response_headers_conformance";

/// `target/schemathesis/bin/schemathesis`, beside the directory of the binary.
fn installed() -> Option<PathBuf> {
    if let Some(named) = env::var_os("SCHEMATHESIS") {
        return Some(named.into());
    }
    let target = Path::new(BINARY).ancestors().nth(2)?;
    let program = target.join("schemathesis/bin/schemathesis");
    program.exists().then_some(program)
}

/// Something of everything.
async fn fill(program: &Program) {
    for text in ["the oven is cold", "the flour is damp", "order 17 is lost", "order 18 is lost"] {
        program.report(&format!(r#"{{"message":"{text}","service":"bakery"}}"#)).await;
    }
    let lines = (0..20).map(|number| app_line("web.1", &format!("line {number}")));
    assert_eq!(program.drain("f1", frames(lines)).send().await.unwrap().status(), 204);
    let maxwell = program.post("/maxwell", "application/x-ndjson").body("{\"type\":\"upd\n");
    assert_eq!(maxwell.send().await.unwrap().status(), 204);
    program.settled().await;
    eventually("there are tickets", async || {
        let jobs = program.json("/api/jobs?state=completed").await;
        if jobs["jobs"].as_array().is_some_and(|jobs| !jobs.is_empty()) {
            Ok(())
        } else {
            Err(jobs)
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_asked_the_answer_is_one_that_is_described() {
    let Some(schemathesis) = installed() else {
        eprintln!("NOT CHECKED: Schemathesis is not installed; scripts/test does that");
        return;
    };
    let mut program = Program::new(BINARY);
    program.start();
    fill(&program).await;
    let url = format!("http://{}/api/openapi.json", program.admin());
    let seconds = env::var("SCHEMATHESIS_SECONDS").unwrap_or_else(|_| "45".to_owned());
    let run = tokio::process::Command::new(schemathesis)
        .args(["run", &url, "--no-color", "--checks", CHECKS])
        // The live stream never ends.
        .args(["--exclude-path", "/api/live"])
        // Threads of its own trip over each other in Python 3.11 ("AST constructor recursion depth").
        .args(["--phases", "examples,coverage,fuzzing", "--workers", "1"])
        .args(["--max-time", &seconds, "--request-timeout", "20", "--continue-on-failure"])
        .args(["--generation-database", "none", "--no-shrink", "--warnings", "off"])
        .current_dir(program.directory())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let patience = Duration::from_secs(seconds.parse::<u64>().unwrap() + 120);
    let output = tokio::time::timeout(patience, run).await.expect("it ends in time").unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{errors}");
    program.settled().await;
    assert!(!program.log().contains("panicked"), "{}", program.log());
}
