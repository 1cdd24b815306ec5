//! Health: may traffic come (`/readyz`), and how is each component (`/health`).

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use faultline_actors::{
    adapters::{
        clock,
        journal::{spool::Spool, stream},
    },
    bucket_watcher,
    domain::{breaker, job::State as JobState, time::rfc3339},
};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::Admin;
use crate::{
    problem::Problem,
    receiver::stdin::Reading,
    tls::{Certificates, Tls},
};

/// The store must answer within this time.
const PING_TIMEOUT: Duration = Duration::from_secs(2);
/// The spool is degraded beyond this share of its bound.
const SPOOL_DEGRADED: f64 = 0.8;
/// Records older than this should have been stored.
const QUEUE_DEGRADED: Duration = Duration::from_secs(30);
/// As much memory as nothing here should need.
const MEMORY_DEGRADED: f64 = (1u64 << 30) as f64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    Healthy,
    Degraded,
    Unhealthy,
}

#[derive(Serialize)]
pub(super) struct Component {
    status: Status,
    /// Milliseconds it took to find out.
    #[serde(rename = "responseTime")]
    response_time: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// What `GET /health` answers.
#[derive(Serialize)]
pub(super) struct Health {
    timestamp: String,
    overall: Status,
    components: BTreeMap<&'static str, Component>,
    /// Milliseconds.
    duration: f64,
}

/// `GET /readyz`: 200 while records are accepted, and will be.
pub(super) async fn ready(State(admin): State<Arc<Admin>>) -> Response {
    readiness(admin.pipeline.spool(), &admin.gate.leaving)
}

pub(super) fn readiness(spool: &Spool, leaving: &CancellationToken) -> Response {
    match spool.refuses() {
        _ if leaving.is_cancelled() => {
            (StatusCode::SERVICE_UNAVAILABLE, "leaving\n").into_response()
        }
        None => (StatusCode::OK, "ready\n").into_response(),
        Some(_) => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response(),
    }
}

/// `GET /health`: every component; 503 when one is unhealthy.
#[utoipa::path(get, path = "/api/health", tag = "health", responses((status = 200), Problem))]
pub(super) async fn health(State(admin): State<Arc<Admin>>) -> Response {
    admin.look_after_health().await.into_response()
}

impl Health {
    /// All components together.
    pub(super) fn new(components: BTreeMap<&'static str, Component>, started: Instant) -> Self {
        let overall = components.values().map(|component| component.status).max();
        Self {
            timestamp: jiff::Timestamp::now().to_string(),
            overall: overall.unwrap_or(Status::Healthy),
            components,
            duration: milliseconds(started.elapsed()),
        }
    }

    /// How each component is.
    pub(super) fn statuses(&self) -> BTreeMap<&'static str, Status> {
        self.components.iter().map(|(name, component)| (*name, component.status)).collect()
    }
}

impl IntoResponse for Health {
    fn into_response(self) -> Response {
        let code = match self.overall {
            Status::Healthy | Status::Degraded => StatusCode::OK,
            Status::Unhealthy => StatusCode::SERVICE_UNAVAILABLE,
        };
        (code, Json(self)).into_response()
    }
}

impl Admin {
    /// How everything is now.
    pub(super) async fn look_after_health(&self) -> Health {
        let started = Instant::now();
        let mut components = BTreeMap::from([
            ("database", self.database().await),
            ("spool", spool(self.pipeline.spool())),
            ("queues", self.queues()),
            ("application", application(self.started)),
            ("jira", self.jira()),
        ]);
        if let Some(tls) = tls(&self.gate.certificates) {
            components.insert("tls", tls);
        }
        if let Some(reading) = &self.reading {
            let position = self.pipeline.counters().binlog_position();
            components.insert("maxwell", maxwell(reading, position.as_deref()));
        }
        if let Some(state) = self.pipeline.buckets() {
            components.insert("buckets", buckets(&state));
        }
        if let Some((status, _)) = self.pipeline.handoff() {
            components.insert("redis", redis(&status.look()));
        }
        Health::new(components, started)
    }

    async fn database(&self) -> Component {
        let started = Instant::now();
        let ping = tokio::time::timeout(PING_TIMEOUT, self.store.ping()).await;
        metrics::histogram!("faultline_store_operation_seconds", "operation" => "ping")
            .record(started.elapsed());
        let error = match ping {
            Err(_) => Some(format!("no answer within {PING_TIMEOUT:?}")),
            Ok(Err(error)) => Some(error.to_string()),
            Ok(Ok(())) => self.pipeline.counters().failing(),
        };
        let last_success = self.pipeline.counters().last_success();
        Component {
            status: if error.is_some() { Status::Unhealthy } else { Status::Healthy },
            response_time: milliseconds(started.elapsed()),
            details: Some(serde_json::json!({
                "store": self.store.name(),
                "lastCommit": last_success.map(rfc3339),
                "lastCommitMilliseconds": milliseconds(self.pipeline.counters().last_took()),
            })),
            error,
        }
    }

    fn queues(&self) -> Component {
        let started = Instant::now();
        let age = self.oldest_age();
        let pending = faultline_actors::domain::event::Source::ALL
            .into_iter()
            .map(|source| self.pipeline.ledger().line(source).in_flight)
            .sum::<u64>();
        let is_late = age > QUEUE_DEGRADED;
        Component {
            status: if is_late { Status::Degraded } else { Status::Healthy },
            response_time: milliseconds(started.elapsed()),
            details: Some(serde_json::json!({
                "pendingMessages": pending,
                "oldestSeconds": age.as_secs_f64(),
            })),
            error: is_late.then(|| format!("messages wait for {} s", age.as_secs())),
        }
    }

    fn jira(&self) -> Component {
        let jira = self.pipeline.jira();
        let counts = jira.counters.jobs();
        let jobs: BTreeMap<&str, u64> =
            counts.iter().map(|(state, count)| (state.name(), *count)).collect();
        let dead = jobs.get(JobState::Dead.name()).copied().unwrap_or(0);
        let (breaker, reason) = match jira.counters.breaker() {
            breaker::State::Closed => ("closed", None),
            breaker::State::Open { reason, .. } => ("open", Some(reason)),
            breaker::State::HalfOpen { reason, .. } => ("half-open", Some(reason)),
        };
        let is_paused = jira.counters.is_paused();
        let error = reason
            .or_else(|| is_paused.then(|| "dispatch is paused".to_owned()))
            .or_else(|| (dead > 0).then(|| format!("{dead} jobs are dead")));
        Component {
            status: match () {
                () if breaker == "open" => Status::Unhealthy,
                () if error.is_some() => Status::Degraded,
                () => Status::Healthy,
            },
            response_time: 0.0,
            details: Some(serde_json::json!({
                "dryRun": jira.is_dry_run,
                "breaker": breaker,
                "paused": is_paused,
                "hubs": jira.counters.hubs(),
                "jobs": jobs,
            })),
            error,
        }
    }

    /// How long the oldest record has waited to be stored.
    pub fn oldest_age(&self) -> Duration {
        oldest_age(self.pipeline.spool())
    }
}

/// How long the oldest record has waited in the spool.
pub(super) fn oldest_age(spool: &Spool) -> Duration {
    let age = spool.status().oldest.map_or(0, |received_at| clock::now() - received_at);
    Duration::from_micros(u64::try_from(age).unwrap_or(0))
}

pub(super) fn spool(spool: &Spool) -> Component {
    let started = Instant::now();
    let status = spool.status();
    let usage = status.used_bytes as f64 / status.max_bytes as f64;
    let refuses = spool.refuses().map(|error| error.to_string());
    let error = status.failing.clone().or(refuses);
    Component {
        status: match () {
            () if error.is_some() => Status::Unhealthy,
            () if usage > SPOOL_DEGRADED => Status::Degraded,
            () => Status::Healthy,
        },
        response_time: milliseconds(started.elapsed()),
        details: Some(serde_json::json!({
            "usedBytes": status.used_bytes,
            "limitBytes": status.max_bytes,
            "head": status.head,
            "acknowledged": status.acknowledged,
        })),
        error,
    }
}

pub(super) fn application(running_since: Instant) -> Component {
    let started = Instant::now();
    let memory = resident_bytes();
    let is_large = memory.is_some_and(|bytes| bytes as f64 > MEMORY_DEGRADED);
    Component {
        status: if is_large { Status::Degraded } else { Status::Healthy },
        response_time: milliseconds(started.elapsed()),
        details: Some(serde_json::json!({
            "uptimeSeconds": running_since.elapsed().as_secs(),
            "residentBytes": memory,
            "version": env!("CARGO_PKG_VERSION"),
        })),
        error: None,
    }
}

pub(super) fn maxwell(reading: &Reading, position: Option<&str>) -> Component {
    let is_on = reading.is_on();
    Component {
        status: if is_on { Status::Healthy } else { Status::Degraded },
        response_time: 0.0,
        details: Some(serde_json::json!({
            "position": position,
            "restarts": reading.restarts(),
        })),
        error: (!is_on).then(|| "there is nothing to read: it has ended".to_owned()),
    }
}

/// How the hand-over does. Records are safe whatever is wrong with Redis, so that it is never more
/// than degraded.
pub(super) fn redis(state: &stream::State) -> Component {
    let warnings = state.warnings();
    let error = state.failing().or_else(|| state.waiting.clone()).or(warnings.first().cloned());
    Component {
        status: if error.is_some() { Status::Degraded } else { Status::Healthy },
        response_time: 0.0,
        details: Some(serde_json::json!({
            "outstandingBytes": state.outstanding_bytes,
            "streams": state.held,
            "warnings": warnings,
        })),
        error,
    }
}

/// How the bucket watcher does. A hub that stands by is well.
fn buckets(state: &bucket_watcher::State) -> Component {
    let error = state.failing.iter().next().map(|(what, problem)| format!("{what}: {problem}"));
    Component {
        status: if error.is_some() { Status::Degraded } else { Status::Healthy },
        response_time: 0.0,
        details: Some(serde_json::json!({
            "watching": state.is_watching,
            "parts": state.places,
            "lastSuccess": state.last_success.map(rfc3339),
            "failing": state.failing,
        })),
        error,
    }
}

/// How the listeners' certificates do, where there are any.
pub(super) fn tls(certificates: &Certificates) -> Option<Component> {
    let expiries: BTreeMap<&str, String> =
        certificates.iter().map(|tls| (tls.listener(), rfc3339(tls.expires_at()))).collect();
    if expiries.is_empty() {
        return None;
    }
    let warning = |tls: &Arc<Tls>| Some(format!("{}: {}", tls.listener(), tls.warning()?));
    let error = certificates.iter().find_map(warning);
    Some(Component {
        status: if error.is_some() { Status::Degraded } else { Status::Healthy },
        response_time: 0.0,
        details: Some(serde_json::json!({ "expires": expiries })),
        error,
    })
}

/// Resident memory, from the second field of `/proc/self/statm`, in pages.
fn resident_bytes() -> Option<u64> {
    const PAGE: u64 = 4_096;
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    statm.split(' ').nth(1)?.parse::<u64>().ok().map(|pages| pages * PAGE)
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
