//! `/api/alerts`: what Faultline tells people about itself.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Path, State, rejection::JsonRejection},
    http::StatusCode,
};
use faultline_actors::{
    adapters::{
        clock,
        store::alerts::{AlertFilter, StoredAlert},
    },
    domain::{
        alert::Kind,
        rule::lasting,
        time::{later, rfc3339},
    },
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    Admin, Asked, Page,
    access::Who,
    asked, away, number_of,
    page::{before, cut, word},
    unreadable,
};
use crate::problem::Problem;

/// An alert is silenced for so long at most: nobody remembers longer.
const LONGEST: Duration = Duration::from_hours(24 * 30);

/// Which alerts.
#[derive(Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct List {
    /// `open` or `resolved`.
    state: Option<String>,
    /// Such as `partner-down`.
    kind: Option<String>,
    /// How many at most: 1 to 1000.
    #[param(minimum = 1, maximum = 1000, default = 50)]
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct AlertList {
    alerts: Vec<StoredAlert>,
    /// The `cursor` of the next page.
    next: Option<String>,
}

/// Alerts, the newest first.
#[utoipa::path(get, path = "/api/alerts", tag = "alerts", params(List),
    responses((status = 200, body = AlertList), Problem))]
pub(super) async fn list(
    State(admin): State<Arc<Admin>>,
    query: Asked<List>,
) -> Result<Json<AlertList>, Problem> {
    let list = asked(query)?;
    let limit = Page::check_limit(list.limit.unwrap_or_else(Page::default_limit))?;
    let is_open =
        |text: &str| (text == "open").then_some(true).or((text == "resolved").then_some(false));
    let filter = AlertFilter {
        is_open: word("state", list.state.as_deref(), is_open, &["open", "resolved"])?,
        kind: word("kind", list.kind.as_deref(), Kind::from_name, &Kind::ALL.map(Kind::name))?,
        before: before(list.cursor.as_deref())?,
    };
    let rows = admin.store.list_alerts(&filter, limit + 1).await.map_err(away)?;
    let (alerts, next) = cut(rows, limit, |alert| alert.id);
    Ok(Json(AlertList { alerts, next }))
}

/// For how long: `"4h"`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AlertSilence {
    #[serde(rename = "for")]
    lasting: String,
}

#[derive(Serialize, ToSchema)]
pub(super) struct AlertSilenced {
    id: i64,
    silenced_until: String,
}

/// An open alert is not told again for a while; that it is over is told.
#[utoipa::path(post, path = "/api/alerts/{id}/silence", tag = "alerts", params(("id" = i64, Path)),
    request_body = AlertSilence, responses((status = 200, body = AlertSilenced), Problem))]
pub(super) async fn silence(
    State(admin): State<Arc<Admin>>,
    who: Who,
    Path(id): Path<String>,
    body: Result<Json<AlertSilence>, JsonRejection>,
) -> Result<Json<AlertSilenced>, Problem> {
    let id = number_of("alert", &id)?;
    let Json(silence) = body.map_err(unreadable)?;
    let wrong = |detail| Problem::new(StatusCode::BAD_REQUEST, detail).at("/for".to_owned());
    let lasting = lasting::parse(&silence.lasting).map_err(wrong)?;
    if lasting.is_zero() || lasting > LONGEST {
        let most = lasting::shown(LONGEST);
        return Err(wrong(format!("a time of more than nothing and at most \"{most}\" is needed")));
    }
    let until = later(clock::now(), lasting);
    if !admin.store.silence_alert(id, until, who.name()).await.map_err(away)? {
        let detail = format!("there is no open alert {id}");
        return Err(Problem::new(StatusCode::NOT_FOUND, detail));
    }
    tracing::info!(alert = id, who = who.name(), "somebody silenced an alert");
    Ok(Json(AlertSilenced { id, silenced_until: rfc3339(until) }))
}

#[derive(Serialize, ToSchema)]
pub(super) struct AlertTried {
    /// False where one is open already.
    opened: bool,
}

/// Opens an alert that says that nothing is wrong, to see whether alerts arrive. It resolves by
/// itself.
#[utoipa::path(post, path = "/api/alerts/test", tag = "alerts",
    responses((status = 200, body = AlertTried), Problem))]
pub(super) async fn test(
    State(admin): State<Arc<Admin>>,
    who: Who,
) -> Result<Json<AlertTried>, Problem> {
    let opened = admin.pipeline.notifier().try_out().await.map_err(away)?;
    tracing::info!(who = who.name(), opened, "somebody tries whether alerts arrive");
    Ok(Json(AlertTried { opened }))
}
