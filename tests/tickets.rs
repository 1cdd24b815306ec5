//! Exactly one ticket per fault, whatever fails: two hubs on one PostgreSQL, either of them killed
//! at random moments, and a Jira of whose calls a third fails in every way that Jira can, while its
//! search lags behind.
//!
//! `FAULTS` says how many there are (60 by default), `KILLS` how often a hub is killed (6), `LAG`
//! by how many seconds the search lags behind (2). `SEED` repeats a run as far as a machine can.

#![expect(
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a failing test is told by a panic and what is printed"
)]

use std::{
    collections::BTreeMap,
    env,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use faultline_testkit::{
    jira::{Fault, Jira, Reason, Settings, openapi},
    program::Program,
    within,
};
use serde_json::json;

const BINARY: &str = env!("CARGO_BIN_EXE_faultline");
/// Events of each fault.
const EVENTS: u64 = 20;
/// A request that Jira does not answer is given up after this time.
const REQUEST: u64 = 1;

fn number(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// Every way in which a call fails.
fn every_way() -> Vec<Fault> {
    let limited = |reason| Fault::TooManyRequests { retry_after: 1, reason };
    vec![
        Fault::ResetBefore,
        Fault::ResetAfter,
        Fault::Hang,
        Fault::HangAfter,
        Fault::Status5xxBefore(503),
        Fault::Status5xxAfter(502),
        Fault::Status5xxAfter(504),
        limited(Reason::Burst),
        limited(Reason::PerIssue),
        limited(Reason::QuotaTenant),
        Fault::Slow(Duration::from_millis(REQUEST * 1_500)),
        Fault::Unauthorized,
        Fault::Forbidden,
        Fault::Conflict,
    ]
}

/// A hub that dispatches to `jira`.
fn hub(program: Program, jira: &Jira, lag: u64) -> Program {
    let settle = format!("{}s", lag + REQUEST * 2 + 1);
    [
        ("jira.request_timeout", format!("{REQUEST}s").as_str()),
        ("jira.search_settle", &settle),
        ("jira.storm_budget", "0"),
        ("jira.rate_per_second", "100"),
        ("jira.lease", "2s"),
        ("jira.max_attempts", "50"),
        ("jira.retry_first", "50ms"),
        ("jira.retry_cap", "1s"),
        ("jira.breaker_open", "100ms"),
        ("jira.poll_every", "1s"),
    ]
    .into_iter()
    .fold(program.with_jira(jira), |program, (key, value)| program.set(key, value))
}

/// Sends every event to one of the hubs until that has accepted it.
async fn send_all(faults: u64, hubs: Arc<Mutex<[SocketAddr; 2]>>, sent: Arc<AtomicU64>) {
    let client = reqwest::Client::builder().timeout(Duration::from_secs(5)).build().unwrap();
    for event in 0..faults * EVENTS {
        let fault = event % faults;
        let body = json!({
            "message": format!("fault number {fault}"), "fingerprint": format!("fault-{fault}"),
            "environment": "production", "service": "shop",
        })
        .to_string();
        loop {
            let hub = hubs.lock().unwrap()[usize::try_from(event % 2).unwrap()];
            let request = client
                .post(format!("http://{hub}/errors/log"))
                .header("idempotency-key", format!("event-{event}"))
                .header("content-type", "application/json")
                .body(body.clone());
            if request.send().await.is_ok_and(|answer| answer.status().is_success()) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        sent.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_ticket_a_fault() {
    let (faults, kills, lag) = (number("FAULTS", 60), number("KILLS", 6), number("LAG", 2));
    let seed = number("SEED", fastrand::u64(..u64::from(u32::MAX)));
    eprintln!("SEED={seed} FAULTS={faults} KILLS={kills} LAG={lag}");
    let mut random = fastrand::Rng::with_seed(seed);
    let jira =
        Jira::start(Settings { search_lag: Duration::from_secs(lag), ..Settings::cloud() }).await;
    jira.chaos(0.3, &every_way(), seed);
    let one = hub(Program::with_postgres(BINARY), &jira, lag);
    let url = one.database.url();
    let two = hub(Program::new(BINARY), &jira, lag).set("store.url", &url);
    let mut hubs = [one, two];
    hubs.iter_mut().for_each(Program::start);
    let addresses = Arc::new(Mutex::new(hubs.each_ref().map(Program::receiver)));
    let sent = Arc::new(AtomicU64::new(0));
    let sending = tokio::spawn(send_all(faults, addresses.clone(), sent.clone()));
    for _ in 0..kills {
        tokio::time::sleep(Duration::from_millis(random.u64(..1_500))).await;
        let killed = random.usize(..2);
        hubs[killed].kill();
        // Its jobs are taken over meanwhile, or they are not.
        tokio::time::sleep(Duration::from_millis(random.u64(..3_000))).await;
        hubs[killed].start();
        addresses.lock().unwrap()[killed] = hubs[killed].receiver();
    }
    sending.await.unwrap();
    assert_eq!(sent.load(Ordering::Relaxed), faults * EVENTS);
    let open = "SELECT count(*) FROM jobs WHERE state NOT IN ('completed')";
    let made = "SELECT count(*) FROM tickets WHERE key IS NOT NULL";
    let limit = Duration::from_secs(120 + 20 * lag + faults);
    within(limit, "every fault has its ticket", async || {
        let open = hubs[0].database.number(open).await;
        let made = hubs[0].database.number(made).await;
        if open == 0 && made == i64::try_from(faults).unwrap() { Ok(()) } else { Err((open, made)) }
    })
    .await;
    for hub in &hubs {
        hub.settled().await;
    }
    let database = &hubs[0].database;
    let total = database.number("SELECT sum(count)::bigint FROM faults").await;
    assert_eq!(total, i64::try_from(faults * EVENTS).unwrap(), "every event, once");
    let mut by_locator: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for issue in jira.issues() {
        let locator = issue.labels.iter().find(|label| label.starts_with("fl-")).unwrap();
        by_locator.entry(locator.clone()).or_default().push(issue.key);
    }
    let doubled: Vec<_> = by_locator.iter().filter(|(_, keys)| keys.len() > 1).collect();
    assert!(doubled.is_empty(), "{doubled:?}");
    let known = database.texts("SELECT locator FROM tickets ORDER BY locator COLLATE \"C\"").await;
    assert_eq!(known, by_locator.into_keys().collect::<Vec<_>>());
    let creates = "SELECT count(*) FROM jobs WHERE action = 'create'";
    assert_eq!(database.number(creates).await, i64::try_from(faults).unwrap());
    // Each job's last entry in the audit trail is what its state is.
    let untold = "SELECT count(*) FROM jobs WHERE NOT EXISTS (SELECT 1 FROM audit_trail
        WHERE audit_trail.job = jobs.id AND details ->> 'to' = jobs.state)";
    assert_eq!(database.number(untold).await, 0);
    openapi::assert_described(jira.requests());
    for hub in &mut hubs {
        hub.finish().await;
    }
}
