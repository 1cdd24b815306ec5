//! Lets people and Prometheus look: one file a resource.
//!
//! `/livez` and `/readyz` are open and say nothing but yes or no; everything else needs the token
//! when `admin.auth = "token"`.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Instant};

use axum::{
    Json, Router,
    extract::{
        Query, Request, State,
        rejection::{JsonRejection, QueryRejection},
    },
    http::{HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use faultline_actors::{
    adapters::store::{Store, StoreError},
    pipeline::Pipeline,
};
use metrics_exporter_prometheus::PrometheusHandle;
use serde::{Deserialize, Serialize};

use crate::{
    config::is_loopback,
    problem::Problem,
    receiver::{
        auth::{carries, check_token},
        stdin::Reading,
    },
    secret::Secret,
    server::check_connections,
};

mod faults;
mod health;
mod jobs;
mod ledger;
mod metrics;
pub mod relay;

/// Section `[admin]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    pub listen: SocketAddr,
    pub auth: Auth,
    /// Bearer token (or `X-API-Key`) for everything on this listener.
    pub token: Secret,
    /// One more token, good for `GET /metrics` only; when it is set, that path always needs one.
    pub metrics_token: Secret,
    /// Answers of `GET /metrics` a second; 0 for no limit.
    pub metrics_rate: u32,
    pub connections: usize,
}

/// Who may look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Auth {
    /// Everybody; on loopback only.
    Off,
    /// Whoever has `admin.token`.
    Token,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 4000)),
            auth: Auth::Off,
            token: Secret::default(),
            metrics_token: Secret::default(),
            metrics_rate: 0,
            connections: 1_000,
        }
    }
}

impl Settings {
    /// # Errors
    /// Names the key, and what would be right.
    pub fn validate(&self) -> Result<(), String> {
        check_token("token", &self.token)?;
        check_token("metrics_token", &self.metrics_token)?;
        match self.auth {
            Auth::Off if !is_loopback(self.listen) => Err(format!(
                "auth = \"off\": a listener beyond loopback (listen = \"{}\") needs auth = \"token\"",
                self.listen
            )),
            Auth::Token if self.token.is_empty() => {
                Err("token = \"\": auth = \"token\" needs one".to_owned())
            }
            _ => check_connections(self.connections),
        }
    }
}

/// What the handlers share.
pub struct Admin {
    gate: Gate,
    pipeline: Arc<Pipeline>,
    store: Arc<dyn Store>,
    prometheus: PrometheusHandle,
    process: metrics_process::Collector,
    /// Where Maxwell's stream is read.
    reading: Option<Arc<Reading>>,
    started: Instant,
}

impl Admin {
    #[must_use]
    pub fn new(
        settings: &Settings,
        pipeline: Arc<Pipeline>,
        store: Arc<dyn Store>,
        prometheus: PrometheusHandle,
        reading: Option<Arc<Reading>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            gate: Gate::new(settings),
            pipeline,
            store,
            prometheus,
            process: metrics_process::Collector::default(),
            reading,
            started: Instant::now(),
        })
    }
}

/// Who is let in.
struct Gate {
    settings: Settings,
    metrics_limit: Option<governor::DefaultDirectRateLimiter>,
}

impl Gate {
    fn new(settings: &Settings) -> Self {
        let rate = std::num::NonZeroU32::new(settings.metrics_rate);
        Self {
            settings: settings.clone(),
            metrics_limit: rate
                .map(|rate| governor::RateLimiter::direct(governor::Quota::per_second(rate))),
        }
    }

    fn check(&self, request: &Request) -> Result<(), Problem> {
        let is_known = carries(&self.settings.token, request.headers());
        if self.settings.auth == Auth::Off || is_known { Ok(()) } else { Err(unauthorized()) }
    }
}

/// The routes of the admin listener.
pub fn router(admin: &Arc<Admin>) -> Router {
    let protected = Router::new()
        .route("/health", get(health::health))
        .route("/api/health", get(health::health))
        .route("/api/ledger", get(ledger::ledger))
        .route("/api/events", get(events))
        .route("/api/faults", get(faults::list))
        .route("/api/faults/{id}", get(faults::one))
        .route("/api/faults/{id}/merge", post(faults::merge))
        .route("/api/faults/{id}/split", post(faults::split))
        .route("/api/faults/{id}/pin", post(faults::pin))
        .route("/api/faults/{id}/why", get(jobs::why))
        .route("/api/jobs", get(jobs::list))
        .route("/api/jobs/retry", post(jobs::retry_all))
        .route("/api/jobs/discard", post(jobs::discard_all))
        .route("/api/jobs/{id}", get(jobs::one))
        .route("/api/jobs/{id}/retry", post(jobs::retry_one))
        .route("/api/jobs/{id}/discard", post(jobs::discard_one))
        .route("/api/jobs/{id}/edit", post(jobs::edit_one))
        .route("/api/dispatch", get(jobs::dispatch))
        .route("/api/dispatch/pause", post(jobs::pause))
        .route("/api/dispatch/resume", post(jobs::resume))
        .route("/api/audit", get(faults::audit))
        .route("/api/rejected", get(rejected))
        .route_layer(middleware::from_fn_with_state(admin.clone(), require_token));
    Router::new()
        .route("/livez", get(async || "alive\n"))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(metrics::metrics))
        .merge(protected)
        .fallback(async || Problem::new(StatusCode::NOT_FOUND, "there is nothing here"))
        .method_not_allowed_fallback(async || {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this method is not possible here")
        })
        .with_state(admin.clone())
}

async fn require_token(State(admin): State<Arc<Admin>>, request: Request, next: Next) -> Response {
    match admin.gate.check(&request) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

fn unauthorized() -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "a bearer token or X-API-Key is needed")
        .with(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
}

/// What lists can be asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    #[serde(default = "List::default_limit")]
    limit: u32,
    fingerprint: Option<String>,
}

impl List {
    const MOST: u32 = 1_000;

    fn default_limit() -> u32 {
        50
    }

    fn limit(&self) -> Result<u32, Problem> {
        Self::check_limit(self.limit)
    }

    fn check_limit(limit: u32) -> Result<u32, Problem> {
        if (1..=Self::MOST).contains(&limit) {
            return Ok(limit);
        }
        let detail = format!("limit={limit}: between 1 and {} is possible", Self::MOST);
        Err(Problem::new(StatusCode::BAD_REQUEST, detail))
    }
}

type Asked<T> = Result<Query<T>, QueryRejection>;
type Listed = Asked<List>;

fn asked<T>(asked: Asked<T>) -> Result<T, Problem> {
    let Query(asked) =
        asked.map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error.body_text()))?;
    Ok(asked)
}

#[expect(clippy::needless_pass_by_value, reason = "called by map_err")]
fn unreadable(error: JsonRejection) -> Problem {
    Problem::new(error.status(), error.body_text())
}

/// The number in a path of a `thing`.
fn number_of(thing: &str, text: &str) -> Result<i64, Problem> {
    let detail = || format!("{text:?}: a {thing}'s number is needed");
    text.parse().map_err(|_| Problem::new(StatusCode::BAD_REQUEST, detail()))
}

#[expect(clippy::needless_pass_by_value, reason = "called by map_err")]
fn away(error: StoreError) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, format!("the store does not answer: {error}"))
}

/// `{"<name>": rows}`. Not by way of a JSON value, which holds no big numbers.
fn listing<T: Serialize>(name: &'static str, rows: Vec<T>) -> Response {
    Json(BTreeMap::from([(name, rows)])).into_response()
}

/// `GET /api/events?limit=…&fingerprint=…`: the newest events.
async fn events(State(admin): State<Arc<Admin>>, listed: Listed) -> Result<Response, Problem> {
    let list = asked(listed)?;
    let limit = list.limit()?;
    let events = admin.store.events(list.fingerprint.as_deref(), limit).await.map_err(away)?;
    Ok(listing("events", events))
}

/// `GET /api/rejected?limit=…`: the newest rejected messages.
async fn rejected(State(admin): State<Arc<Admin>>, listed: Listed) -> Result<Response, Problem> {
    let limit = asked(listed)?.limit()?;
    let rejected = admin.store.rejected(limit).await.map_err(away)?;
    Ok(listing("rejected", rejected))
}
