//! `/api/audit`: who did what.

use std::sync::Arc;

use axum::{Json, extract::State, response::Response};
use faultline_actors::{
    adapters::store::{AuditEntry, records::AuditFilter},
    domain::time::rfc3339,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    Admin, Asked, Page, asked, away,
    export::{self, Columns, Format},
    page::{before, cut, moment, text},
};
use crate::problem::Problem;

/// Which entries.
#[derive(Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct List {
    /// Who did it, word for word.
    #[serde(deserialize_with = "text")]
    who: Option<String>,
    /// What was done, such as `job.retry`.
    #[serde(deserialize_with = "text")]
    action: Option<String>,
    /// What it was done to, such as `job 7`.
    #[serde(deserialize_with = "text")]
    subject: Option<String>,
    fault: Option<i64>,
    job: Option<i64>,
    /// Then or later (RFC 3339) …
    since: Option<String>,
    /// … and before.
    until: Option<String>,
    /// How many at most: 1 to 1000.
    #[param(minimum = 1, maximum = 1000, default = 50)]
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct AuditList {
    audit: Vec<AuditEntry>,
    /// The `cursor` of the next page.
    next: Option<String>,
}

/// Who did what, the newest first.
#[utoipa::path(get, path = "/api/audit", tag = "audit", params(List),
    responses((status = 200, body = AuditList), Problem))]
pub(super) async fn list(
    State(admin): State<Arc<Admin>>,
    query: Asked<List>,
) -> Result<Json<AuditList>, Problem> {
    let list = asked(query)?;
    let limit = Page::check_limit(list.limit.unwrap_or_else(Page::default_limit))?;
    let filter = AuditFilter {
        who: list.who,
        action: list.action,
        subject: list.subject,
        fault: list.fault,
        job: list.job,
        since: moment("since", list.since.as_deref())?,
        until: moment("until", list.until.as_deref())?,
        before: before(list.cursor.as_deref())?,
    };
    let rows = admin.store.list_audit(&filter, limit + 1).await.map_err(away)?;
    let (audit, next) = cut(rows, limit, |entry| entry.id);
    Ok(Json(AuditList { audit, next }))
}

/// Which entries, and as what.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Export {
    #[param(inline)]
    format: Format,
    #[serde(default, deserialize_with = "text")]
    who: Option<String>,
    #[serde(default, deserialize_with = "text")]
    action: Option<String>,
    #[serde(default, deserialize_with = "text")]
    subject: Option<String>,
    fault: Option<i64>,
    job: Option<i64>,
    since: Option<String>,
    until: Option<String>,
}

/// Entries of an export that are read at a time.
const EXPORT_PAGE: u32 = 1_000;

const COLUMNS: Columns<AuditEntry> = Columns {
    names: &["id", "at", "who", "action", "subject", "fault", "job", "details"],
    cells: |entry| {
        let number = |number: Option<i64>| number.map_or(String::new(), |it| it.to_string());
        vec![
            entry.id.to_string(),
            rfc3339(entry.at),
            entry.who.clone(),
            entry.action.clone(),
            entry.subject.clone(),
            number(entry.fault),
            number(entry.job),
            entry.details.get().to_owned(),
        ]
    },
};

/// All entries of a filter as a file, the newest first.
#[utoipa::path(get, path = "/api/audit/export", tag = "audit", params(Export),
    responses((status = 200, description = "an attachment", content(
        (String = "application/x-ndjson"), (String = "text/csv"))), Problem))]
pub(super) async fn export(
    State(admin): State<Arc<Admin>>,
    query: Asked<Export>,
) -> Result<Response, Problem> {
    let Export { format, who, action, subject, fault, job, since, until } = asked(query)?;
    let filter = AuditFilter {
        who,
        action,
        subject,
        fault,
        job,
        since: moment("since", since.as_deref())?,
        until: moment("until", until.as_deref())?,
        before: None,
    };
    let store = admin.store.clone();
    let fetch = move |before| {
        let (store, filter) = (store.clone(), AuditFilter { before, ..filter.clone() });
        async move {
            let entries = store.list_audit(&filter, EXPORT_PAGE).await?;
            let is_last = entries.len() < EXPORT_PAGE as usize;
            let next = entries.last().filter(|_| !is_last).map(|entry| entry.id);
            Ok((entries, next))
        }
    };
    export::stream("faultline-audit", format, COLUMNS, fetch).await
}
