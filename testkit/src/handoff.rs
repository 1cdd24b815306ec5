//! Relays and hubs, and what must hold between them.

use serde_json::Value;

use crate::{eventually, program::Program};

/// A relay of `environment`; not started yet.
#[must_use]
pub fn relay(binary: &str, redis: &str, environment: &str) -> Program {
    Program::new(binary)
        .arguments(&["relay"])
        .set("handoff.url", redis)
        .set("handoff.environment", environment)
        .set("handoff.retry_cap", "500ms")
}

/// A hub that reads the streams of `environments`, given with commas in between; not started yet.
#[must_use]
pub fn hub(binary: &str, redis: &str, store: &str, environments: &str) -> Program {
    Program::new(binary)
        .set("store.url", store)
        .set("handoff.url", redis)
        .set("handoff.consume", environments)
        .set("handoff.lease", "1s")
        .set("handoff.retry_cap", "500ms")
        .set("batch_writer.retry_cap", "500ms")
}

/// Waits until everything that a relay accepted is committed; gives its ledger.
///
/// # Panics
/// When it is not in time, or the ledger does not balance.
pub async fn committed(relay: &Program) -> Value {
    eventually("all is committed", async || {
        let (status, text) = relay.get("/api/ledger").await.map_err(|e| e.to_string())?;
        if status != 200 {
            return Err(text);
        }
        let ledger: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(ledger["balanced"], true, "{ledger}");
        let lines = ledger["sources"].as_object().unwrap();
        let is_done = lines.values().all(|line| line["in_flight"] == 0);
        if is_done { Ok(ledger) } else { Err(text) }
    })
    .await
}

/// What the hub's ledger says of a relay's origin.
///
/// # Panics
/// When it does not know the origin, or does not balance.
pub async fn at_hub(hub: &Program, at_relay: &Value) -> Value {
    let ledger = hub.json("/api/ledger").await;
    assert_eq!(ledger["balanced"], true, "{ledger}");
    let origins = ledger["origins"].as_array().unwrap();
    origins.iter().find(|one| one["origin"] == at_relay["origin"]).unwrap().clone()
}

/// Waits until everything is committed; what the hub says of an origin must be what its relay says.
///
/// # Panics
/// When it is not.
pub async fn assert_ledgers_agree(relay: &Program, hub: &Program) {
    let at_relay = committed(relay).await;
    let own = at_hub(hub, &at_relay).await;
    for (source, line) in at_relay["sources"].as_object().unwrap() {
        let stored = &own["sources"][source];
        assert_eq!(line["received"], stored["received"], "{source}: {at_relay} {own}");
        assert_eq!(line["committed"], line["received"], "{source}: {at_relay}");
        assert_eq!(stored["in_flight"], 0, "{source}: {own}");
        assert_eq!(stored["rejected"], 0, "{source}: {own}");
    }
}

/// Whether a hub reads a stream.
pub async fn holds(hub: &Program) -> bool {
    let health = hub.json("/health").await;
    let streams = health["components"]["redis"]["details"]["streams"].as_array();
    streams.is_some_and(|streams| !streams.is_empty())
}

/// Waits until health says `what` of Redis, and that it is no more than a nuisance.
///
/// # Panics
/// When it does not in time.
pub async fn says(program: &Program, what: &str) {
    eventually(what, async || {
        let health = program.json("/health").await;
        let redis = &health["components"]["redis"];
        let is_said = redis["error"].as_str().is_some_and(|error| error.contains(what));
        if is_said && redis["status"] == "degraded" { Ok(()) } else { Err(health) }
    })
    .await;
}

/// Waits until health has nothing to say of Redis.
///
/// # Panics
/// When it has in the end.
pub async fn is_well(program: &Program) {
    eventually("Redis is well", async || {
        let health = program.json("/health").await;
        let redis = &health["components"]["redis"];
        if redis["status"] == "healthy" { Ok(()) } else { Err(redis.clone()) }
    })
    .await;
}
