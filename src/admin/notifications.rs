//! `/api/notifications`: what people should know. Whether one is read is the whole team's affair.

use std::sync::Arc;

use axum::{
    Json,
    extract::{State, rejection::JsonRejection},
    http::StatusCode,
};
use faultline_actors::{
    adapters::store::records::{NotificationFilter, StoredNotification},
    domain::notification::Urgency,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    Admin, Asked, Page,
    access::Who,
    asked, away,
    page::{before, cut, word},
    unreadable,
};
use crate::problem::Problem;

/// Which notifications.
#[derive(Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct List {
    /// `yes`: only those that nobody has read.
    unread: Option<String>,
    /// `info`, `warning` or `critical`.
    severity: Option<String>,
    /// How many at most: 1 to 1000.
    #[param(minimum = 1, maximum = 1000, default = 50)]
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct NotificationList {
    notifications: Vec<StoredNotification>,
    /// How many nobody has read, of all.
    unread: u64,
    /// The `cursor` of the next page.
    next: Option<String>,
}

/// The newest notifications; the newest 10,000 are kept.
#[utoipa::path(get, path = "/api/notifications", tag = "notifications", params(List),
    responses((status = 200, body = NotificationList), Problem))]
pub(super) async fn list(
    State(admin): State<Arc<Admin>>,
    query: Asked<List>,
) -> Result<Json<NotificationList>, Problem> {
    let list = asked(query)?;
    let limit = Page::check_limit(list.limit.unwrap_or_else(Page::default_limit))?;
    let yes = |text: &str| (text == "yes").then_some(true).or((text == "no").then_some(false));
    let is_unread = word("unread", list.unread.as_deref(), yes, &["yes", "no"])?;
    let names = Urgency::ALL.map(Urgency::name);
    let filter = NotificationFilter {
        is_unread: is_unread.unwrap_or(false),
        urgency: word("severity", list.severity.as_deref(), Urgency::from_name, &names)?,
        before: before(list.cursor.as_deref())?,
    };
    let rows = admin.store.notifications(&filter, limit + 1).await.map_err(away)?;
    let (notifications, next) = cut(rows, limit, |notification| notification.id);
    let unread = admin.store.unread().await.map_err(away)?;
    Ok(Json(NotificationList { notifications, unread, next }))
}

/// Which ones are read: `ids`, or `all`.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct NotificationsChosen {
    ids: Option<Vec<i64>>,
    all: bool,
}

#[derive(Serialize, ToSchema)]
pub(super) struct NotificationsUnread {
    unread: u64,
}

/// Marks notifications as read, for everybody.
#[utoipa::path(post, path = "/api/notifications/read", tag = "notifications", request_body = NotificationsChosen,
    responses((status = 200, body = NotificationsUnread), Problem))]
pub(super) async fn read(
    State(admin): State<Arc<Admin>>,
    who: Who,
    body: Result<Json<NotificationsChosen>, JsonRejection>,
) -> Result<Json<NotificationsUnread>, Problem> {
    let Json(which) = body.map_err(unreadable)?;
    if which.all == which.ids.is_some() {
        let detail = "either ids or \"all\": true is needed";
        return Err(Problem::new(StatusCode::BAD_REQUEST, detail));
    }
    let unread = admin.store.read(which.ids.as_deref(), who.name()).await.map_err(away)?;
    Ok(Json(NotificationsUnread { unread }))
}
