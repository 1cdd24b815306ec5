//! `GET /api/partners`: how it goes with each system outside: the store, Jira, Redis, the buckets,
//! mail.

use std::sync::Arc;

use axum::{Json, extract::State};
use faultline_actors::{
    adapters::clock,
    domain::{breaker, calls::Summary, time::rfc3339},
};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::Admin;
use crate::problem::Problem;

/// Below this share of calls that end well something is wrong.
const WELL: f64 = 0.9;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum PartnerStatus {
    Healthy,
    Degraded,
    Unhealthy,
    /// There is none.
    Off,
}

#[derive(Serialize, ToSchema)]
struct PartnerLatency {
    /// Half of the calls took no longer.
    p50: f64,
    p95: f64,
}

/// A system outside. Numbers are of this hub's own calls within `metrics_aggregator.window`.
#[derive(Serialize, ToSchema)]
struct Partner {
    /// `jira`, `store`, `redis`, `buckets` or `mail`.
    name: &'static str,
    is_configured: bool,
    status: PartnerStatus,
    requests: u64,
    failures: u64,
    /// From 0 to 1; null where nothing was asked.
    success_rate: Option<f64>,
    latency_ms: Option<PartnerLatency>,
    /// Those of `failures` where our credentials were not accepted.
    auth_failures: u64,
    /// Since the start, not only within the window.
    last_success: Option<String>,
    last_failure: Option<String>,
    last_error: Option<String>,
    /// `closed`, `open` or `half-open`, where there is a circuit breaker.
    breaker: Option<&'static str>,
    #[schema(value_type = Object)]
    details: Value,
}

#[derive(Serialize, ToSchema)]
pub(super) struct PartnerList {
    partners: Vec<Partner>,
}

/// How it goes with each system outside.
#[utoipa::path(get, path = "/api/partners", tag = "partners",
    responses((status = 200, body = PartnerList), Problem))]
pub(super) async fn partners(State(admin): State<Arc<Admin>>) -> Json<PartnerList> {
    let now = clock::now();
    Json(PartnerList {
        partners: vec![
            jira(&admin, now),
            store(&admin).await,
            redis(&admin, now),
            buckets(&admin, now),
            mail(&admin, now),
        ],
    })
}

fn off(name: &'static str) -> Partner {
    let partner = partner(name, PartnerStatus::Off, Summary::default(), json!({}));
    Partner { is_configured: false, ..partner }
}

fn partner(name: &'static str, status: PartnerStatus, calls: Summary, details: Value) -> Partner {
    Partner {
        name,
        is_configured: true,
        status,
        success_rate: calls.success_rate(),
        requests: calls.requests,
        failures: calls.failures,
        auth_failures: calls.auth_failures,
        latency_ms: calls.latency.map(|(p50, p95)| PartnerLatency { p50, p95 }),
        last_success: calls.last_success.map(rfc3339),
        last_failure: calls.last_failure.map(rfc3339),
        last_error: calls.last_error,
        breaker: None,
        details,
    }
}

/// By its calls, where nothing else is known to be wrong.
fn by_calls(calls: &Summary) -> PartnerStatus {
    match calls.success_rate() {
        Some(rate) if rate < WELL => PartnerStatus::Degraded,
        _ => PartnerStatus::Healthy,
    }
}

fn jira(admin: &Admin, now: i64) -> Partner {
    let jira = admin.pipeline.jira();
    if jira.is_dry_run {
        return off("jira");
    }
    let calls = jira.calls.look(now);
    let (status, breaker, reason) = match jira.counters.breaker() {
        breaker::State::Closed => (by_calls(&calls), "closed", None),
        breaker::State::Open { reason, .. } => (PartnerStatus::Unhealthy, "open", Some(reason)),
        breaker::State::HalfOpen { reason, .. } => {
            (PartnerStatus::Degraded, "half-open", Some(reason))
        }
    };
    let details = json!({
        "paused": jira.counters.is_paused(),
        "hubs": jira.counters.hubs(),
        "reason": reason,
    });
    Partner { breaker: Some(breaker), ..partner("jira", status, calls, details) }
}

async fn store(admin: &Admin) -> Partner {
    let counters = admin.pipeline.counters();
    let failing = admin.ping().await.err().or_else(|| counters.failing());
    let calls = counters.calls().look(clock::now());
    let status = if failing.is_some() { PartnerStatus::Unhealthy } else { by_calls(&calls) };
    let details = json!({ "store": admin.store.name(), "failing": failing });
    partner("store", status, calls, details)
}

fn redis(admin: &Admin, now: i64) -> Partner {
    let Some((status, _)) = admin.pipeline.handoff() else { return off("redis") };
    let (calls, state) = (status.calls().look(now), status.look());
    let failing = state.failing();
    let status = if failing.is_some() { PartnerStatus::Degraded } else { by_calls(&calls) };
    let details = json!({
        "failing": failing,
        "waiting": state.waiting,
        "warnings": state.warnings(),
        "streams": state.held,
    });
    partner("redis", status, calls, details)
}

fn buckets(admin: &Admin, now: i64) -> Partner {
    let (state, calls) = (admin.pipeline.buckets(), admin.pipeline.bucket_calls());
    let Some((state, calls)) = state.zip(calls) else { return off("buckets") };
    let calls = calls.look(now);
    let status = if state.failing.is_empty() { by_calls(&calls) } else { PartnerStatus::Degraded };
    let details = json!({
        "watching": state.is_watching,
        "parts": state.places,
        "failing": state.failing,
    });
    partner("buckets", status, calls, details)
}

fn mail(admin: &Admin, now: i64) -> Partner {
    let Some(calls) = admin.pipeline.mail_calls() else { return off("mail") };
    let calls = calls.look(now);
    partner("mail", by_calls(&calls), calls, json!({}))
}
