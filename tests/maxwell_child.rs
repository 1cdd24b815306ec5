//! `[stdin] command`: Faultline runs Maxwell itself, starts it again when it dies, and never leaves
//! it behind, since Maxwell goes on as if nothing had happened when nobody reads its output.

#![expect(clippy::unwrap_used, reason = "a failing test is told by a panic")]

use std::{fs, path::Path};

use faultline_testkit::{eventually, program::Program};

const BINARY: &str = env!("CARGO_BIN_EXE_faultline");

/// A program that runs `script` in place of Maxwell. What the script writes to `pids`, the tests
/// watch.
fn running(script: &str) -> Program {
    let program = Program::new(BINARY);
    let path = program.directory().join("maxwell");
    fs::write(&path, script).unwrap();
    program
        .set("stdin.command", &format!("[\"sh\", \"{}\", \"--producer=stdout\"]", path.display()))
        .set("stdin.restart_cap", "1s")
}

/// The process ids that the script has written.
fn pids(directory: &Path) -> Vec<u32> {
    let text = fs::read_to_string(directory.join("pids")).unwrap_or_default();
    text.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

async fn pids_of(program: &Program, count: usize) -> Vec<u32> {
    eventually("the command is started", async || {
        let pids = pids(program.directory());
        if pids.len() >= count { Ok(pids) } else { Err(pids) }
    })
    .await
}

fn is_alive(pid: u32) -> bool {
    // A zombie that nobody has waited for yet runs no more.
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:") && !line.contains('Z'))
}

async fn assert_gone(pids: &[u32]) {
    eventually("all processes are gone", async || {
        let alive: Vec<_> = pids.iter().copied().filter(|pid| is_alive(*pid)).collect();
        if alive.is_empty() { Ok(()) } else { Err(alive) }
    })
    .await;
}

const ROW: &str = r#"{"database":"shop","table":"orders","type":"insert","ts":1477053217,"position":"master.000006:NUMBER","data":{"id":NUMBER}}"#;

/// Prints a row with the number of this start, then does `then`.
fn prints_a_row_then(then: &str) -> String {
    let row = ROW.replace("NUMBER", "'$number'");
    format!(
        "echo $$ >> pids\nnumber=$(wc -l < pids | tr -d ' ')\necho 'a log line' >&2\n\
         echo '{row}'\n{then}\n"
    )
}

#[tokio::test]
async fn it_is_started_again_when_it_dies() {
    let mut program = running(&prints_a_row_then("exit 3"));
    program.start();
    let pids = pids_of(&program, 3).await;
    assert_gone(&pids[..2]).await;
    eventually("its lines are stored", async || {
        let stored = program.settled().await.line("maxwell").stored;
        if stored >= 3 { Ok(()) } else { Err(stored) }
    })
    .await;
    assert!(program.metric("faultline_stdin_restarts_total", "").await >= 2.0);
    let rows = program.database.texts("SELECT attributes FROM events ORDER BY sequence").await;
    let expected: Vec<_> =
        (1..=3).map(|number| ROW.replace("NUMBER", &number.to_string())).collect();
    assert_eq!(rows[..3], expected);
    let log = program.log();
    assert!(log.contains("exit status: 3"), "{log}");
    program.finish().await;
}

#[tokio::test]
async fn a_command_that_does_not_exist_is_said_and_tried_again() {
    let mut program = Program::new(BINARY)
        .set("stdin.command", "no-such-maxwell,--producer=stdout")
        .set("stdin.restart_cap", "1s");
    program.start();
    eventually("it is tried again", async || {
        let restarts = program.metric("faultline_stdin_restarts_total", "").await;
        if restarts >= 2.0 { Ok(()) } else { Err(restarts) }
    })
    .await;
    assert!(program.log().contains("no-such-maxwell"), "{}", program.log());
    program.report(r#"{"message":"the rest works"}"#).await;
    program.finish().await;
}

#[tokio::test]
async fn health_tells_whether_it_runs() {
    let mut program = running(&prints_a_row_then("test $number -gt 1 || exit 1\nexec sleep 1000"));
    program.start();
    let maxwell = async || {
        let health = program.json("/health").await;
        assert!(health["overall"] == "healthy" || health["overall"] == "degraded");
        health["components"]["maxwell"].clone()
    };
    eventually("its death is told", async || {
        let maxwell = maxwell().await;
        let is_told = maxwell["status"] == "degraded" && maxwell["error"].is_string();
        if is_told { Ok(()) } else { Err(maxwell) }
    })
    .await;
    eventually("it is there again", async || {
        let maxwell = maxwell().await;
        let is_back = maxwell["status"] == "healthy" && maxwell["details"]["restarts"] == 1;
        if is_back { Ok(()) } else { Err(maxwell) }
    })
    .await;
}

#[tokio::test]
async fn one_that_does_not_end_is_killed() {
    let mut program = running(&prints_a_row_then("trap '' TERM\nwhile :; do sleep 0.1; done"));
    program.start();
    let pids = pids_of(&program, 1).await;
    program.kill();
    assert_gone(&pids).await;
}

#[tokio::test]
async fn it_ends_with_faultline_and_what_it_said_is_stored() {
    let last_words = "trap 'echo {\\\"type\\\":\\\"insert\\\",\\\"database\\\":\\\"last\\\"}; exit 0' TERM\n\
                      while :; do sleep 0.1; done";
    let mut program = running(&prints_a_row_then(last_words));
    program.start();
    let pids = pids_of(&program, 1).await;
    eventually("its position is reported", async || {
        let health = program.json("/health").await;
        let position = health["components"]["maxwell"]["details"]["position"].clone();
        if position == "master.000006:1" { Ok(()) } else { Err(health) }
    })
    .await;
    program.finish().await;
    assert!(!is_alive(pids[0]));
    let services = program.database.texts("SELECT service FROM events ORDER BY sequence").await;
    assert_eq!(services, ["shop", "last"]);
}

#[tokio::test]
async fn it_does_not_outlive_a_killed_faultline() {
    // As itself, and as the child of a script that does not pass signals on.
    for script in [
        prints_a_row_then("exec sleep 1000"),
        prints_a_row_then("sleep 1000 &\necho $! >> pids\nwait"),
        prints_a_row_then("sh -c 'echo $$ >> pids; exec sleep 1000'\ntrue"),
    ] {
        let mut program = running(&script);
        program.start();
        let processes = if script.contains("$!") || script.contains("sh -c") { 2 } else { 1 };
        let pids = pids_of(&program, processes).await;
        assert!(pids.iter().all(|pid| is_alive(*pid)));
        program.kill();
        assert_gone(&pids).await;
    }
}

#[tokio::test]
async fn it_does_not_outlive_a_finished_faultline() {
    let mut program = running(&prints_a_row_then("sh -c 'echo $$ >> pids; exec sleep 1000'\ntrue"));
    program.start();
    let pids = pids_of(&program, 2).await;
    program.finish().await;
    assert_gone(&pids).await;
}
