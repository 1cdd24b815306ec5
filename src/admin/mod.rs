//! Lets people and Prometheus look: one file a resource.
//!
//! `/livez` and `/readyz` are open and say nothing but yes or no; everything else needs credentials
//! unless `admin.auth = "off"`: see `access`.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Extension, Router,
    extract::{
        Query,
        rejection::{JsonRejection, QueryRejection},
    },
    http::{StatusCode, Uri, uri::Authority},
    middleware,
    routing::get,
};
use faultline_actors::{
    adapters::store::{Store, StoreError, access::SessionLimits},
    domain::rule::lasting,
    pipeline::Pipeline,
    stage::Live as LiveSettings,
};
use metrics_exporter_prometheus::PrometheusHandle;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    config::{Config, is_loopback},
    problem::Problem,
    receiver::{auth::check_token, stdin::Reading},
    reload::Reload,
    secret::Secret,
    server::check_connections,
    tls,
};

pub(crate) mod access;
mod alerts;
mod audit;
mod config;
mod dashboard;
mod dispatch;
mod docs;
mod etag;
mod events;
mod export;
mod faults;
mod health;
mod jobs;
mod ledger;
mod live;
mod metrics;
mod notifications;
mod openapi;
mod page;
mod partners;
mod rejected;
pub mod relay;
mod reload;
mod retention;
mod session;
mod statistics;
mod users;

pub use access::Surroundings;
use access::{Gate, Role, guard::guard};
pub(crate) use config::shown as shown_config;
use health::watch::HealthWatch;
use live::Live;
use page::Page;
pub(crate) use users::lasts;

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
    /// What needs no credentials; on loopback only.
    pub open: Vec<Open>,
    /// Whether nothing can be changed, whoever wants to.
    pub read_only: bool,
    /// How long a session lasts after it was last used.
    #[serde(with = "lasting::required")]
    pub session_idle: Duration,
    /// How long it lasts in all.
    #[serde(with = "lasting::required")]
    pub session_lifetime: Duration,
    /// Other sites whose pages may use the API, with tokens: `https://host`.
    pub cors_origins: Vec<String>,
    pub connections: usize,
    /// Clients of `GET /api/live` at one time.
    pub live_clients: usize,
    /// One of them whose socket takes nothing for so long is cut.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub live_patience: Duration,
    pub tls: tls::Settings,
}

/// What may be open by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Open {
    /// `GET /metrics`.
    Metrics,
    /// `GET /health` and `GET /api/health`.
    Health,
}

/// Who may look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Auth {
    /// Everybody; on loopback only.
    Off,
    /// Whoever has `admin.token`.
    Token,
    /// Users and API tokens that the store knows, and whoever has `admin.token`.
    Users,
}

impl Auth {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Token => "token",
            Self::Users => "users",
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 4000)),
            auth: Auth::Off,
            token: Secret::default(),
            metrics_token: Secret::default(),
            metrics_rate: 0,
            open: Vec::new(),
            read_only: false,
            session_idle: Duration::from_hours(12),
            session_lifetime: Duration::from_hours(7 * 24),
            cors_origins: Vec::new(),
            connections: 1_000,
            live_clients: 600,
            live_patience: Duration::from_secs(30),
            tls: tls::Settings::default(),
        }
    }
}

impl Settings {
    /// How this machine reaches the listener at `address`.
    pub(crate) fn url(&self, address: SocketAddr) -> String {
        let scheme = if self.tls.is_on() { "https" } else { "http" };
        if address.ip().is_unspecified() {
            return format!("{scheme}://localhost:{}", address.port());
        }
        format!("{scheme}://{address}")
    }

    /// # Errors
    /// Names the key, and what would be right.
    pub fn validate(&self) -> Result<(), String> {
        check_token("token", &self.token)?;
        check_token("metrics_token", &self.metrics_token)?;
        match self.auth {
            Auth::Off if !is_loopback(self.listen) => Err(format!(
                "auth = \"off\": a listener beyond loopback (listen = \"{}\") needs auth = \"users\" or \"token\"",
                self.listen
            )),
            Auth::Token if self.token.is_empty() => {
                Err("token = \"\": auth = \"token\" needs one".to_owned())
            }
            _ if self.live_patience < Duration::from_secs(1) => {
                let patience = jiff::SignedDuration::try_from(self.live_patience);
                let patience = patience.unwrap_or_default();
                Err(format!("live_patience = \"{patience:#}\": at least 1s is needed"))
            }
            _ => Ok(()),
        }?;
        self.validate_open()?;
        self.validate_sessions()?;
        for origin in &self.cors_origins {
            check_origin(origin).map_err(|it| format!("cors_origins = [\"{origin}\"]: {it}"))?;
        }
        self.tls.validate()?;
        check_connections(self.connections)
    }

    fn validate_open(&self) -> Result<(), String> {
        if self.open.is_empty() {
            return Ok(());
        }
        if !is_loopback(self.listen) {
            return Err(format!(
                "open: a listener beyond loopback (listen = \"{}\") opens nothing; use \
                 metrics_token, or API tokens of the scopes \"metrics\" and \"viewer\"",
                self.listen
            ));
        }
        if self.open.contains(&Open::Metrics) && !self.metrics_token.is_empty() {
            return Err("open = [\"metrics\"]: metrics_token is set, so that it is not open; set \
                        one of both"
                .to_owned());
        }
        Ok(())
    }

    fn validate_sessions(&self) -> Result<(), String> {
        let shown = lasting::shown;
        // That a session was used is written down once a minute.
        if self.session_idle < Duration::from_mins(2) {
            let idle = shown(self.session_idle);
            return Err(format!("session_idle = \"{idle}\": at least \"2m\" is needed"));
        }
        if self.session_lifetime < Duration::from_secs(1) {
            let lifetime = shown(self.session_lifetime);
            return Err(format!("session_lifetime = \"{lifetime}\": at least \"1s\" is needed"));
        }
        Ok(())
    }

    fn session_limits(&self) -> SessionLimits {
        SessionLimits { idle: self.session_idle, lifetime: self.session_lifetime }
    }
}

/// Whether it is what browsers send as `Origin`.
fn check_origin(origin: &str) -> Result<(), String> {
    let is_origin = origin.parse::<Uri>().is_ok_and(|url| {
        let place = url.authority().map(Authority::as_str).unwrap_or_default();
        let is_web = matches!(url.scheme_str(), Some("http" | "https"));
        is_web
            && !place.contains('@')
            && format!("{}://{place}", url.scheme_str().unwrap_or("")) == origin
    });
    if is_origin && origin == origin.to_ascii_lowercase() {
        return Ok(());
    }
    Err("an origin is needed, such as https://example.com: scheme, host and port, no path"
        .to_owned())
}

/// What the handlers share.
pub struct Admin {
    gate: Arc<Gate>,
    pipeline: Arc<Pipeline>,
    store: Arc<dyn Store>,
    prometheus: PrometheusHandle,
    process: metrics_process::Collector,
    /// Where Maxwell's stream is read.
    reading: Option<Arc<Reading>>,
    started: Instant,
    live: Live,
    reload: Arc<Reload>,
    health: HealthWatch,
}

impl Admin {
    #[must_use]
    pub fn new(
        config: &Config,
        surroundings: Surroundings,
        pipeline: Arc<Pipeline>,
        store: Arc<dyn Store>,
        prometheus: PrometheusHandle,
        reading: Option<Arc<Reading>>,
        reload: Arc<Reload>,
    ) -> Arc<Self> {
        let health = LiveSettings::new(config.health.clone());
        reload.follow({
            let health = health.clone();
            move |config| health.set(config.health.clone())
        });
        let live = Live::new(&config.admin, surroundings.looking.clone());
        Arc::new(Self {
            gate: Gate::following(&config.admin, surroundings, &reload),
            pipeline,
            store,
            prometheus,
            process: metrics_process::Collector::default(),
            reading,
            started: Instant::now(),
            live,
            reload,
            health: HealthWatch::new(health, config.notifier.hub_name(), config.spool.dir.clone()),
        })
    }

    /// Starts what goes on without being asked for: gathering what live clients are shown, and the
    /// watch of health. Both end when clients do.
    pub fn start(self: &Arc<Self>) {
        tokio::spawn(self.clone().feed_live());
        tokio::spawn(self.clone().watch_health());
    }

    /// Prints a link for the first user, where there is none and could be one. `url` is where
    /// people reach this listener.
    pub(crate) async fn invite(&self, url: &str) {
        if let Ok(accounts) = self.gate.accounts() {
            accounts.invite(url).await;
        }
    }
}

/// The routes of the admin listener, and what they are.
pub fn router(admin: &Arc<Admin>) -> Router {
    let (open, described) = api(admin).split_for_parts();
    let described = Arc::new(described);
    let router = Router::new()
        .route("/livez", get(async || "alive\n"))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(metrics::metrics))
        .merge(open)
        .layer(Extension(described))
        .layer(middleware::from_fn(etag::etag))
        .fallback(async || Problem::new(StatusCode::NOT_FOUND, "there is nothing here"))
        .method_not_allowed_fallback(async || {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this method is not possible here")
        })
        .with_state(admin.clone())
        .layer(middleware::from_fn(dashboard::pages));
    guard(router, admin.gate.clone())
}

type Routes = OpenApiRouter<Arc<Admin>>;

/// Every route with the role that it needs.
fn api(admin: &Arc<Admin>) -> Routes {
    let mut all = OpenApiRouter::with_openapi(openapi::base());
    let (mut viewers, mut open) = (viewers(), anybody());
    if admin.gate.opens(Open::Health) {
        open = open.merge(health());
    } else {
        viewers = viewers.merge(health());
    }
    for (role, mut routes) in
        [(Role::Viewer, viewers), (Role::Operator, operators()), (Role::Admin, admins())]
    {
        if routes.get_openapi().paths.paths.is_empty() {
            // axum takes no layer for nothing.
            continue;
        }
        openapi::mark(routes.get_openapi_mut(), Some(role));
        let require = middleware::from_fn_with_state((admin.gate.clone(), role), access::require);
        all = all.merge(routes.route_layer(require));
    }
    openapi::mark(open.get_openapi_mut(), None);
    all.merge(open)
}

/// What needs no credentials.
fn anybody() -> Routes {
    OpenApiRouter::new()
        .routes(routes!(session::session, session::log_in))
        .routes(routes!(session::set_up))
        .route("/docs/runbook.md", get(docs::manual::runbook))
        .route("/docs/operations.md", get(docs::manual::operations))
        .route("/docs/manual.css", get(docs::manual::style))
}

/// What needs none where it is open.
fn health() -> Routes {
    OpenApiRouter::new().route("/health", get(health::health)).routes(routes!(health::health))
}

fn viewers() -> Routes {
    OpenApiRouter::new()
        .route("/api/openapi.json", get(openapi::openapi))
        .route("/api/docs", get(docs::page))
        .route("/api/docs.js", get(docs::script))
        .route("/api/docs.css", get(docs::style))
        .routes(routes!(session::log_out))
        .routes(routes!(session::change_password))
        .routes(routes!(ledger::ledger))
        .routes(routes!(live::live))
        .routes(routes!(live::throughput))
        .routes(routes!(events::list))
        .routes(routes!(events::export))
        .routes(routes!(events::one))
        .routes(routes!(faults::list::list))
        .routes(routes!(faults::list::facets))
        .routes(routes!(faults::list::occurrences))
        .routes(routes!(faults::one))
        .routes(routes!(jobs::why))
        .routes(routes!(jobs::list))
        .routes(routes!(jobs::counts))
        .routes(routes!(jobs::one))
        .routes(routes!(dispatch::dispatch))
        .routes(routes!(rejected::list))
        .routes(routes!(rejected::one))
        .routes(routes!(rejected::bytes))
        .routes(routes!(alerts::list))
        .routes(routes!(notifications::list))
        .routes(routes!(notifications::read))
        .routes(routes!(audit::list))
        .routes(routes!(audit::export))
        .routes(routes!(statistics::statistics))
        .routes(routes!(retention::retention))
        .routes(routes!(partners::partners))
        .routes(routes!(health::history))
        .routes(routes!(health::errors))
}

fn operators() -> Routes {
    OpenApiRouter::new()
        .routes(routes!(faults::steer::resolve))
        .routes(routes!(faults::steer::reopen))
        .routes(routes!(faults::steer::mute))
        .routes(routes!(faults::steer::unmute))
        .routes(routes!(faults::steer::merge))
        .routes(routes!(faults::steer::split))
        .routes(routes!(faults::steer::pin))
        .routes(routes!(faults::tickets::create))
        .routes(routes!(faults::tickets::link))
        .routes(routes!(faults::tickets::tell))
        .routes(routes!(jobs::retry_all))
        .routes(routes!(jobs::discard_all))
        .routes(routes!(jobs::retry_one))
        .routes(routes!(jobs::discard_one))
        .routes(routes!(jobs::edit_one))
        .routes(routes!(alerts::silence))
        .routes(routes!(alerts::test))
        .routes(routes!(dispatch::pause))
        .routes(routes!(dispatch::resume))
        .routes(routes!(rejected::replay_one))
        .routes(routes!(rejected::replay_all))
}

fn admins() -> Routes {
    OpenApiRouter::new()
        .routes(routes!(config::config))
        .routes(routes!(reload::reload))
        .routes(routes!(users::list, users::add))
        .routes(routes!(users::change, users::remove))
        .routes(routes!(users::tokens, users::add_token))
        .routes(routes!(users::revoke_token))
}

type Asked<T> = Result<Query<T>, QueryRejection>;

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
