//! A rejected message that is replayed is stored once, though the hub is killed before it says that it
//! was, and whichever hub is asked then.

#![expect(clippy::unwrap_used, reason = "a failing test is told by a panic")]

use faultline_testkit::{
    eventually,
    program::{Line, Program, run_to_end},
};
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_faultline");

/// A hub whose store has refused a message, and would no more; and the number of the message.
async fn hub_with_a_rejected_message() -> (Program, i64) {
    let mut hub = Program::with_postgres(BINARY);
    hub.start();
    // Its tables are there once its ledger is.
    hub.ledger().await;
    let refuse = "ALTER TABLE events ADD CONSTRAINT no_poison CHECK (message <> 'poison')";
    hub.database.execute(refuse).await;
    hub.report(r#"{"message":"poison"}"#).await;
    hub.settled().await;
    hub.database.execute("ALTER TABLE events DROP CONSTRAINT no_poison").await;
    let id = hub.database.number("SELECT id FROM rejected").await;
    (hub, id)
}

fn replay_of(id: i64) -> String {
    format!("/api/rejected/{id}/replay")
}

/// Asks `hub` to replay the message, and kills it when its ledger is `at`, before it marks the
/// message; nobody writes to `tables` until then.
async fn kill_before_it_marks(
    hub: &mut Program,
    id: i64,
    tables: &[&str],
    at: impl Fn(Line) -> bool,
) {
    let mut held = Vec::new();
    for table in tables {
        held.push(hub.database.hold(table).await);
    }
    let asked = tokio::spawn(hub.ask("POST", &replay_of(id)).send());
    eventually("the hub is so far", async || {
        let line = hub.ledger().await.line("errors");
        if at(line) { Ok(()) } else { Err(line) }
    })
    .await;
    hub.kill();
    assert!(asked.await.unwrap().is_err(), "it has not answered");
    // The server would go on with what the dead one has asked for.
    hub.database
        .execute(
            "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity
             WHERE wait_event_type = 'Lock'",
        )
        .await;
    drop(held);
    let marked = "SELECT count(*) FROM rejected WHERE replayed_at IS NOT NULL";
    assert_eq!(hub.database.number(marked).await, 0);
    // Its minute is over.
    hub.database.execute("UPDATE rejected SET replay_until = NULL").await;
}

/// Another hub on the store of `hub`.
fn beside(hub: &Program) -> Program {
    let mut other = Program::new(BINARY).set("store.url", &hub.database.url());
    other.start();
    other
}

async fn replay(hub: &Program, id: i64) -> (u16, Value) {
    let answer = hub.ask("POST", &replay_of(id)).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// The message is stored once, and counted so everywhere.
async fn assert_stored_once(hub: &Program, duplicates: i64) {
    for one in [
        "count(*) FROM events WHERE message = 'poison'",
        "CAST(sum(count) AS bigint) FROM faults",
        "CAST(sum(events) AS bigint) FROM daily_statistics",
        "CAST(sum(stored) AS bigint) FROM ledger",
        "CAST(sum(rejected) AS bigint) FROM ledger",
        "count(*) FROM rejected WHERE replayed_at IS NOT NULL",
        "count(*) FROM rejected",
    ] {
        assert_eq!(hub.database.number(&format!("SELECT {one}")).await, 1, "{one}");
    }
    let sql = "SELECT CAST(sum(duplicate) AS bigint) FROM ledger";
    assert_eq!(hub.database.number(sql).await, duplicates);
}

#[tokio::test(flavor = "multi_thread")]
async fn by_another_hub_before_the_first_has_stored_it() {
    let (mut first, id) = hub_with_a_rejected_message().await;
    kill_before_it_marks(&mut first, id, &["events", "audit_trail"], |line| line.in_flight == 1)
        .await;
    let second = beside(&first);
    assert_eq!(replay(&second, id).await.0, 200);
    second.settled().await;
    first.start();
    first.settled().await;
    assert_stored_once(&first, 1).await;
    assert_eq!(replay(&first, id).await.0, 409);
}

#[tokio::test(flavor = "multi_thread")]
async fn by_another_hub_after_the_first_has_stored_it() {
    let (mut first, id) = hub_with_a_rejected_message().await;
    kill_before_it_marks(&mut first, id, &["audit_trail"], |line| line.stored == 1).await;
    let second = beside(&first);
    let (status, problem) = replay(&second, id).await;
    assert_eq!(status, 409, "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("was replayed before"), "{problem}");
    first.start();
    first.settled().await;
    assert_stored_once(&first, 0).await;
}

#[tokio::test]
async fn by_the_command_line() {
    let mut hub = Program::new(BINARY);
    hub.start();
    let lines = hub.post("/maxwell", "application/x-ndjson").body("bad\nworse\n");
    assert!(lines.send().await.unwrap().status().is_success());
    hub.settled().await;
    hub.database.execute("UPDATE rejected SET length = 99 WHERE length = 5").await;
    let replay = async |url| {
        let url = format!("http://{url}");
        run_to_end(hub.command_with(&["replay", "--rejected", "--url", &url])).await
    };
    let said = replay(hub.receiver()).await;
    assert!(!said.status.success(), "{said:?}");
    let said = String::from_utf8(said.stderr).unwrap();
    assert!(said.contains("is no admin listener of a hub"), "{said}");

    let said = replay(hub.admin()).await;
    assert!(said.status.success(), "{said:?}");
    assert_eq!(said.stdout, b"sent 1 bodies, 3 B\n");
    let complaint = String::from_utf8(said.stderr).unwrap();
    assert!(complaint.contains("cannot be replayed: 5 of its 99 bytes are kept"), "{complaint}");
    assert_eq!(hub.settled().await.line("maxwell").rejected, 3, "it is still not understood");
    let audit = "SELECT count(*) FROM audit_trail WHERE action = 'rejected.replay'";
    assert_eq!(hub.database.number(audit).await, 1);
    let known = "SELECT count(*) FROM replayed_records";
    assert_eq!(hub.database.number(known).await, 1);
}
