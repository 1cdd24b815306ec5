//! Health: may traffic come (`/readyz`), how is each component (`/health`), how was it
//! (`/api/health/history`), and what has the program itself complained of (`/api/errors`).

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use axum::{
    Json,
    extract::{Query, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use faultline_actors::{
    adapters::{
        journal::spool::Spool,
        store::health::{ChangeFilter, ErrorFilter, ErrorPlace, StoredChange, StoredError},
    },
    domain::{
        health::{Component, Status, component::milliseconds},
        own_log::Level,
    },
};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use utoipa::{IntoParams, ToSchema};

use super::{
    Admin, Asked, Page, asked, away,
    page::{before, cut, read_cursor, text, word},
};
use crate::problem::Problem;

mod answer;
pub(super) mod gather;
pub(super) mod watch;

/// How everything is.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Health {
    timestamp: String,
    overall: Status,
    components: BTreeMap<&'static str, Component>,
    /// Milliseconds.
    duration: f64,
}

impl Health {
    /// All components together; looking at them took since `started`.
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

/// What a readiness probe may ask for.
#[derive(Deserialize)]
pub(super) struct Probe {
    /// In any form: each check on a line of its own.
    verbose: Option<String>,
}

/// `GET /readyz`: 200 while records are accepted.
pub(super) async fn ready(State(admin): State<Arc<Admin>>, probe: Query<Probe>) -> Response {
    readiness(admin.pipeline.spool(), &admin.gate.leaving, &probe)
}

/// Whoever asks need not be known, so that reasons are left to `/health`.
pub(super) fn readiness(spool: &Spool, leaving: &CancellationToken, probe: &Probe) -> Response {
    let accepts = spool.refuses().is_none();
    let is_ready = accepts && !leaving.is_cancelled();
    let code = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let text = match (probe.verbose.is_some(), is_ready, accepts) {
        (false, true, _) => "ready\n",
        (false, false, true) => "leaving\n",
        (false, false, false) => "not ready\n",
        (true, true, _) => "[+]spool ok\nreadyz check passed\n",
        (true, false, true) => "[+]spool ok\n[-]leaving: told to end\nreadyz check failed\n",
        (true, false, false) => "[-]spool failed: reason withheld\nreadyz check failed\n",
    };
    (code, text).into_response()
}

/// `GET /health`: every component; 503 when one is unhealthy.
///
/// As `application/health+json` where `Accept` prefers that.
#[utoipa::path(get, path = "/api/health", tag = "health", responses((status = 200), Problem))]
pub(super) async fn health(State(admin): State<Arc<Admin>>, headers: HeaderMap) -> Response {
    admin.look_after_health().await.answer(&headers)
}

/// Which changes.
#[derive(Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct History {
    /// Of this component.
    #[serde(deserialize_with = "text")]
    component: Option<String>,
    /// Of this hub.
    #[serde(deserialize_with = "text")]
    hub: Option<String>,
    /// How many at most: 1 to 1000.
    #[param(minimum = 1, maximum = 1000, default = 50)]
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct HealthHistory {
    changes: Vec<StoredChange>,
    /// The `cursor` of the next page.
    next: Option<String>,
}

/// How components changed, the newest first; the newest 10,000 are kept.
#[utoipa::path(get, path = "/api/health/history", tag = "health", params(History),
    responses((status = 200, body = HealthHistory), Problem))]
pub(super) async fn history(
    State(admin): State<Arc<Admin>>,
    query: Asked<History>,
) -> Result<Json<HealthHistory>, Problem> {
    let asked = asked(query)?;
    let limit = Page::check_limit(asked.limit.unwrap_or_else(Page::default_limit))?;
    let filter = ChangeFilter {
        component: asked.component,
        hub: asked.hub,
        before: before(asked.cursor.as_deref())?,
    };
    let rows = admin.store.health_changes(&filter, limit + 1).await.map_err(away)?;
    let (changes, next) = cut(rows, limit, |change| change.id);
    Ok(Json(HealthHistory { changes, next }))
}

/// Which lines.
#[derive(Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct Errors {
    /// `warn` or `error`.
    level: Option<String>,
    /// How many at most: 1 to 1000.
    #[param(minimum = 1, maximum = 1000, default = 50)]
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct OwnErrors {
    errors: Vec<StoredError>,
    /// The `cursor` of the next page.
    next: Option<String>,
}

/// What the program itself has logged as WARN or ERROR: those that say the same are one, with their
/// count; those logged last first. A line is here within seconds; the last 2,000 are kept.
#[utoipa::path(get, path = "/api/errors", tag = "health", params(Errors),
    responses((status = 200, body = OwnErrors), Problem))]
pub(super) async fn errors(
    State(admin): State<Arc<Admin>>,
    query: Asked<Errors>,
) -> Result<Json<OwnErrors>, Problem> {
    let asked = asked(query)?;
    let limit = Page::check_limit(asked.limit.unwrap_or_else(Page::default_limit))?;
    let names = Level::ALL.map(Level::name);
    let filter = ErrorFilter {
        level: word("level", asked.level.as_deref(), Level::from_name, &names)?,
        after: asked.cursor.as_deref().map(read_cursor::<ErrorPlace>).transpose()?,
    };
    let rows = admin.store.errors(&filter, limit + 1).await.map_err(away)?;
    let (errors, next) = cut(rows, limit, |last| -> ErrorPlace { (last.last_at, last.id) });
    Ok(Json(OwnErrors { errors, next }))
}
