//! Jira goes away in every way and comes back: nothing else notices, what is to be done waits in
//! the store and costs nothing, health tells what is wrong, and in the end every fault has its one
//! ticket.
//!
//! An hour of it is made short by settings: the breaker tries again after 50 ms and at most a second
//! (not 15 s and five minutes), and jobs after at most 200 ms (not ten minutes). So Jira is asked in
//! vain as often as in an hour. Nothing here is measured against a clock.

#![expect(
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a failing test is told by a panic and what is printed"
)]

use std::{collections::BTreeSet, net::TcpListener};

use faultline_testkit::{
    eventually,
    jira::{Fault, Jira, Settings},
    load::Load,
    program::Program,
};
use serde_json::json;

const BINARY: &str = env!("CARGO_BIN_EXE_faultline");
/// New faults in each way of being away.
const NEW: usize = 200;
/// So many requests of each way are in vain before the next one begins.
const IN_VAIN: usize = 4;
/// What the backlog may add to the memory, in MiB; ingestion alone adds most of what is seen.
const GROWTH_MIB: u64 = 80;

/// A started hub whose Jira is to be at this address.
fn hub(jira: &str) -> Program {
    let mut program = [
        ("jira.url", format!("http://{jira}").as_str()),
        ("jira.email", "bot@example.com"),
        ("jira.token", "secret-token"),
        ("jira.project", "OPS"),
        ("jira.storm_budget", "0"),
        ("jira.request_timeout", "500ms"),
        ("jira.search_settle", "1s"),
        ("jira.rate_per_second", "100"),
        ("jira.retry_first", "50ms"),
        ("jira.retry_cap", "200ms"),
        ("jira.breaker_open", "50ms"),
        ("jira.poll_every", "500ms"),
    ]
    .into_iter()
    .fold(Program::with_postgres(BINARY), |program, (key, value)| program.set(key, value));
    program.start();
    program
}

/// Reports new faults of this service, no two of which are alike, and waits until each has a job.
async fn break_anew(program: &Program, service: &str) {
    let report = |number| json!({ "message": "it broke", "fingerprint": format!("f{number}"), "service": service });
    let reports: Vec<_> = (0..NEW).map(report).collect();
    program.report(&json!(reports).to_string()).await;
    let jobs = format!(
        "SELECT count(*) FROM jobs JOIN faults ON faults.id = jobs.fault WHERE service = '{service}'"
    );
    eventually("each new fault has its job", async || {
        let jobs = program.database.number(&jobs).await;
        if jobs == i64::try_from(NEW).unwrap() { Ok(()) } else { Err(jobs) }
    })
    .await;
}

/// Waits until health says that Jira, and nothing else, is away.
async fn told_to_be_away(program: &Program) {
    eventually("health says that Jira is away", async || {
        let (status, text) = program.get("/health").await.unwrap();
        let health: serde_json::Value = serde_json::from_str(&text).unwrap();
        let jira = &health["components"]["jira"];
        // In between it is half open, when one request tries.
        let is_told = status == 503 && jira["details"]["breaker"] == "open";
        if !is_told || !jira["error"].is_string() {
            return Err(health);
        }
        for other in ["database", "spool", "application"] {
            assert_eq!(health["components"][other]["status"], "healthy", "{health}");
        }
        Ok(())
    })
    .await;
}

async fn number(program: &Program, sql: &str) -> i64 {
    program.database.number(sql).await
}

/// Jira is away in this way, and more faults come.
async fn away(jira: &Jira, program: &Program, service: &str, way: Fault) {
    jira.down(way.clone());
    break_anew(program, service).await;
    eventually("it is asked in vain", async || {
        let requests = jira.requests();
        let in_vain = requests.iter().filter(|one| one.fault.as_ref() == Some(&way)).count();
        if in_vain >= IN_VAIN { Ok(()) } else { Err(in_vain) }
    })
    .await;
    told_to_be_away(program).await;
    assert!(jira.issues().is_empty(), "it is away");
}

/// A Jira at this address that lets nobody in yet.
async fn closed_jira(address: &str) -> Jira {
    let settings = Settings { is_forbidden: true, listen: address.to_owned(), ..Settings::cloud() };
    Jira::start(settings).await
}

/// Every fault has its one ticket, which says whose it is.
async fn assert_one_ticket_each(jira: &Jira, program: &Program, expected: i64) {
    eventually("every job is done", async || {
        let (_, health) = program.get("/health").await.unwrap();
        let open = number(program, "SELECT count(*) FROM jobs WHERE state <> 'completed'").await;
        if open == 0 { Ok(()) } else { Err((open, health)) }
    })
    .await;
    let issues = jira.issues();
    assert_eq!(i64::try_from(issues.len()).unwrap(), expected);
    let locators = "SELECT locator FROM tickets WHERE key IS NOT NULL";
    let expected: BTreeSet<String> = program.database.texts(locators).await.into_iter().collect();
    let labels = issues.iter().flat_map(|issue| issue.labels.iter());
    let made: BTreeSet<String> =
        labels.filter(|label| expected.contains(*label)).cloned().collect();
    assert_eq!((made.len(), issues.len()), (expected.len(), expected.len()), "none missing");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_else_notices() {
    // Nobody listens there yet.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let mut program = hub(&address);
    let load = Load::start(program.receiver(), 8);
    eventually("something is stored", async || {
        let ledger = program.ledger().await;
        if ledger.line("logdrains").stored > 0 { Ok(()) } else { Err(ledger) }
    })
    .await;
    let memory_before = program.peak_mib();
    break_anew(&program, "refused").await;
    told_to_be_away(&program).await;
    let burnt = number(&program, "SELECT count(*) FROM jobs WHERE attempts > 0").await;
    assert_eq!(burnt, 0, "nothing was sent");

    let jira = closed_jira(&address).await;
    let ways = [
        ("reset", Fault::ResetBefore),
        ("hang", Fault::Hang),
        ("unavailable", Fault::Status5xxBefore(503)),
    ];
    jira.down(ways[0].1.clone());
    jira.change(|settings| settings.is_forbidden = false);
    for (service, way) in ways.clone() {
        away(&jira, &program, service, way).await;
    }

    let mut accepted = load.end().await;
    let new = u64::try_from((1 + ways.len()) * NEW).unwrap();
    accepted.reports += new;
    accepted.faults += new;
    assert_eq!((accepted.refused, accepted.unanswered), (0, 0), "clients notice nothing");
    accepted.assert_settled(&program.settled().await);
    told_to_be_away(&program).await;
    let peak = program.peak_mib();
    eprintln!("{} requests in vain; memory {memory_before} → {peak} MiB", jira.requests().len());
    assert!(peak < memory_before + GROWTH_MIB, "{memory_before} → {peak} MiB");
    let undecided = "SELECT count(*) FROM faults WHERE decided_count < count";
    eventually("all is decided", async || match number(&program, undecided).await {
        0 => Ok(()),
        some => Err(some),
    })
    .await;
    let burnt = number(&program, "SELECT count(*) FROM jobs WHERE attempts > 1").await;
    assert_eq!(burnt, 0, "what was sent once is looked for, not sent again");
    let given_up = "SELECT count(*) FROM jobs WHERE state IN ('dead', 'discarded', 'completed')";
    assert_eq!(number(&program, given_up).await, 0, "all of them wait");

    let faults = number(&program, "SELECT count(*) FROM jobs").await;
    jira.up();
    assert_one_ticket_each(&jira, &program, faults).await;
    program.finish().await;
    accepted.assert_stored_once(&program.database).await;
}
