//! A program that finds a schema that a newer one has made writes nothing to it, says so, keeps what it
//! accepts, and stores it when the newer one is back.

#![expect(clippy::unwrap_used, reason = "a failing test is told by a panic")]

use faultline_testkit::{
    eventually,
    program::{Program, run_to_end},
};

const BINARY: &str = env!("CARGO_BIN_EXE_faultline");
const SAID: &str = "its schema has version 99, this program knows ";

async fn nothing_is_stored_and_nothing_is_lost(mut program: Program) {
    let check = async |program: &Program| {
        let output = run_to_end(program.command_with(&["check"])).await;
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    };
    program.start();
    program.report(r#"{"message":"before","service":"shop"}"#).await;
    program.settled().await;
    program.finish().await;
    assert!(check(&program).await.0);

    let newer = "INSERT INTO refinery_schema_history (version, name, applied_on, checksum)
        VALUES (99, 'future', '2026-11-22T03:00:00Z', '1')";
    program.database.execute(newer).await;
    let (is_well, said) = check(&program).await;
    assert!(!is_well && said.contains("FAILED  store: ") && said.contains(SAID), "{said}");
    program.start();
    program.report(r#"{"message":"meanwhile","service":"shop"}"#).await;
    eventually("it says so", async || {
        let health = program.json("/api/health").await;
        let error = health["components"]["database"]["error"].as_str().unwrap_or_default();
        if error.contains(SAID) { Ok(()) } else { Err(health) }
    })
    .await;
    assert_eq!(program.database.texts("SELECT message FROM events").await, ["before"]);
    program.kill();

    program.database.execute("DELETE FROM refinery_schema_history WHERE version = 99").await;
    program.start();
    assert!(program.settled().await.balanced);
    let stored = program.database.texts("SELECT message FROM events ORDER BY sequence").await;
    assert_eq!(stored, ["before", "meanwhile"]);
    program.finish().await;
}

#[tokio::test]
async fn nothing_is_stored_and_nothing_is_lost_with_sqlite() {
    nothing_is_stored_and_nothing_is_lost(Program::new(BINARY)).await;
}

#[tokio::test]
async fn nothing_is_stored_and_nothing_is_lost_with_postgres() {
    nothing_is_stored_and_nothing_is_lost(Program::with_postgres(BINARY)).await;
}
