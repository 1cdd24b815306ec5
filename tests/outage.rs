//! PostgreSQL goes away and comes back: clients notice nothing, nothing is lost and nothing is
//! stored twice, memory stays bounded, and health tells what is wrong.
//!
//! `OUTAGE_SECONDS` says how long it is away under load, 3 by default.

#![expect(
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a failing test is told by a panic and what is printed"
)]

use std::time::{Duration, Instant};

use faultline_testkit::{
    eventually,
    load::Load,
    program::{Program, app_line, frames},
};

const BINARY: &str = env!("CARGO_BIN_EXE_faultline");
/// More than this is not bounded.
const PEAK_MIB: u64 = 150;

/// The status of `/health`, and that of every component.
async fn health(program: &Program) -> (u16, serde_json::Value) {
    let (status, text) = program.get("/health").await.unwrap();
    (status, serde_json::from_str(&text).unwrap())
}

/// Waits until health blames the store, and nothing else.
async fn told_to_be_away(program: &Program) {
    eventually("health says that the store is away", async || {
        let (status, health) = health(program).await;
        let components = &health["components"];
        let blames_the_store = components["database"]["status"] == "unhealthy"
            && components["database"]["error"].is_string();
        let is_told = status == 503 && health["overall"] == "unhealthy" && blames_the_store;
        if !is_told {
            return Err(health);
        }
        assert_eq!(components["spool"]["status"], "healthy", "{health}");
        assert_eq!(components["application"]["status"], "healthy", "{health}");
        Ok(())
    })
    .await;
}

async fn told_to_be_back(program: &Program) {
    eventually("health says that all is well", async || {
        let (status, health) = health(program).await;
        if status == 200 && health["overall"] == "healthy" { Ok(()) } else { Err(health) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn away_under_load() {
    let seconds = std::env::var("OUTAGE_SECONDS").ok().map_or(3, |text| text.parse().unwrap());
    let outage = Duration::from_secs(seconds);
    let mut program = Program::with_postgres(BINARY);
    program.start();
    let load = Load::start(program.receiver(), 8);
    eventually("something is stored", async || {
        let ledger = program.ledger().await;
        if ledger.line("logdrains").stored > 0 { Ok(()) } else { Err(ledger) }
    })
    .await;

    program.postgres().stop();
    let (stopped, accepted_before) = (Instant::now(), load.accepted());
    told_to_be_away(&program).await;
    let mut looks = tokio::time::interval(Duration::from_millis(100));
    while stopped.elapsed() < outage {
        looks.tick().await;
        assert_eq!(program.get("/readyz").await.unwrap().0, 200, "it still takes in");
        program.ledger().await;
    }
    told_to_be_away(&program).await;
    let accepted_meanwhile = load.accepted() - accepted_before;
    assert!(accepted_meanwhile > 100, "{accepted_meanwhile} bodies");
    let waiting = program.ledger().await.line("logdrains").in_flight;
    assert!(waiting > 100, "{waiting} messages wait in the spool");

    program.postgres().resume();
    told_to_be_back(&program).await;
    let accepted = load.end().await;
    let resumed = Instant::now();
    accepted.assert_settled(&program.settled().await);
    let peak = program.peak_mib();
    eprintln!(
        "{accepted_meanwhile} bodies in {outage:?}; the rest stored {:?} after the load; peak memory {peak} MiB",
        resumed.elapsed()
    );
    assert!(peak < PEAK_MIB, "{peak} MiB");
    assert_eq!((accepted.refused, accepted.unanswered), (0, 0), "clients notice nothing");
    told_to_be_back(&program).await;
    program.finish().await;
    accepted.assert_stored_once(&program.database).await;
}

#[tokio::test]
async fn not_there_at_the_start() {
    let mut program = Program::with_postgres(BINARY).set("batch_writer.retry_cap", "1s");
    program.postgres().stop();
    program.start();
    let send = async |program: &Program, round: u32| {
        let lines = (0..10).map(|index| app_line("web.1", &format!("line {round} {index}")));
        let sent = program.drain(&format!("f{round}"), frames(lines)).send().await.unwrap();
        assert_eq!(sent.status(), 204);
        program.report(&format!(r#"{{"message":"report {round}"}}"#)).await;
    };
    send(&program, 1).await;
    told_to_be_away(&program).await;
    let (status, text) = program.get("/api/ledger").await.unwrap();
    assert_eq!(status, 503, "what is stored is not known: {text}");
    assert_eq!(program.get("/readyz").await.unwrap().0, 200);
    assert_eq!(program.get("/livez").await.unwrap().0, 200);
    // Nor is it there for the next process.
    program.kill();
    program.start();
    send(&program, 2).await;
    told_to_be_away(&program).await;

    program.postgres().resume();
    let ledger = program.settled().await;
    assert_eq!((ledger.line("logdrains").stored, ledger.line("errors").stored), (20, 2));
    told_to_be_back(&program).await;
    program.finish().await;
    let number = async |sql| program.database.number(sql).await;
    assert_eq!(number("SELECT count(*) FROM events").await, 22);
    assert_eq!(number("SELECT count(DISTINCT message) FROM events").await, 22);
    assert_eq!(number("SELECT count FROM faults").await, 2);
}
