//! `/api/jobs`: what is done about faults in Jira, and how people steer it.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State, rejection::JsonRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use faultline_actors::{
    adapters::store::{
        AuditEntry,
        jobs::{JobFilter, JobId, Steer, StoredJob, StoredTicket, Why},
    },
    domain::{fault::FaultId, job::State as JobState},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Admin, Page, asked, away, listing, number_of, unreadable};
use crate::problem::Problem;

/// Who the audit trail says it was.
const ACTOR: &str = "api";

/// Which jobs, as asked for.
#[derive(Default, Deserialize, utoipa::ToSchema, utoipa::IntoParams)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Which {
    ids: Option<Vec<JobId>>,
    state: Option<String>,
    fault: Option<FaultId>,
    key: Option<String>,
    text: Option<String>,
    limit: Option<u32>,
    /// Only say how many these are.
    preview: bool,
}

impl Which {
    fn filter(self) -> Result<JobFilter, Problem> {
        let Self { ids, state, fault, key, text, .. } = self;
        let state = state.map(|name| {
            JobState::from_name(&name).ok_or_else(|| {
                let known = JobState::ALL.map(JobState::name).join(", ");
                let detail = format!("state={name:?}: one of {known} is needed");
                Problem::new(StatusCode::BAD_REQUEST, detail)
            })
        });
        Ok(JobFilter { ids, state: state.transpose()?, fault, key, text })
    }
}

/// `GET /api/jobs?state=…&fault=…&key=…&text=…&limit=…`: the newest jobs.
#[utoipa::path(get, path = "/api/jobs", tag = "jobs", responses((status = 200), Problem))]
pub(super) async fn list(
    State(admin): State<Arc<Admin>>,
    query: super::Asked<Which>,
) -> Result<Response, Problem> {
    let which = asked(query)?;
    let limit = Page::check_limit(which.limit.unwrap_or_else(Page::default_limit))?;
    let jobs = admin.store.jobs(&which.filter()?, limit).await.map_err(away)?;
    Ok(listing("jobs", jobs))
}

/// Not by way of a JSON value, which holds no big numbers.
#[derive(Serialize)]
struct Shown {
    job: StoredJob,
    history: Vec<AuditEntry>,
}

/// `GET /api/jobs/{id}`: one job with what was sent, what came back, and its history.
#[utoipa::path(get, path = "/api/jobs/{id}", tag = "jobs", params(("id" = i64, Path)), responses((status = 200), Problem))]
pub(super) async fn one(
    State(admin): State<Arc<Admin>>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let (_, job) = job_of(&admin, &id).await?;
    let history = admin.store.history(job.id).await.map_err(away)?;
    Ok(Json(Shown { job, history }).into_response())
}

/// `POST /api/jobs/{id}/retry`
#[utoipa::path(post, path = "/api/jobs/{id}/retry", tag = "jobs", params(("id" = i64, Path)), responses((status = 200), Problem))]
pub(super) async fn retry_one(
    State(admin): State<Arc<Admin>>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    steer_one(&admin, &id, Steer::Retry).await
}

/// `POST /api/jobs/{id}/discard`
#[utoipa::path(post, path = "/api/jobs/{id}/discard", tag = "jobs", params(("id" = i64, Path)), responses((status = 200), Problem))]
pub(super) async fn discard_one(
    State(admin): State<Arc<Admin>>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    steer_one(&admin, &id, Steer::Discard).await
}

/// `POST /api/jobs/{id}/edit` with the whole new request: it is done again with that.
#[utoipa::path(post, path = "/api/jobs/{id}/edit", tag = "jobs", params(("id" = i64, Path)), responses((status = 200), Problem))]
pub(super) async fn edit_one(
    State(admin): State<Arc<Admin>>,
    Path(id): Path<String>,
    body: Result<Json<serde_json::Value>, JsonRejection>,
) -> Result<Response, Problem> {
    let Json(request) = body.map_err(unreadable)?;
    if !request.is_object() {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "the request must be a JSON object"));
    }
    steer_one(&admin, &id, Steer::Edit(request)).await
}

/// `POST /api/jobs/retry` with a filter: all of it. With `"preview": true` nothing is done, but
/// their number is said.
#[utoipa::path(post, path = "/api/jobs/retry", tag = "jobs", responses((status = 200), Problem))]
pub(super) async fn retry_all(
    admin: State<Arc<Admin>>,
    body: Result<Json<Which>, JsonRejection>,
) -> Result<Response, Problem> {
    steer_all(&admin, body, Steer::Retry).await
}

/// `POST /api/jobs/discard`, likewise.
#[utoipa::path(post, path = "/api/jobs/discard", tag = "jobs", responses((status = 200), Problem))]
pub(super) async fn discard_all(
    admin: State<Arc<Admin>>,
    body: Result<Json<Which>, JsonRejection>,
) -> Result<Response, Problem> {
    steer_all(&admin, body, Steer::Discard).await
}

async fn steer_one(admin: &Admin, id: &str, steer: Steer) -> Result<Response, Problem> {
    let (filter, job) = job_of(admin, id).await?;
    if admin.store.steer(&filter, &steer, ACTOR).await.map_err(away)?.is_empty() {
        let verb = steer.step().name();
        let detail = format!("job {} is {}: it cannot {verb}", job.id, job.state);
        return Err(Problem::new(StatusCode::CONFLICT, detail));
    }
    Ok(Json(json!({ "jobs": [job.id] })).into_response())
}

async fn steer_all(
    admin: &Admin,
    body: Result<Json<Which>, JsonRejection>,
    steer: Steer,
) -> Result<Response, Problem> {
    let Json(which) = body.map_err(unreadable)?;
    let is_preview = which.preview;
    let filter = which.filter()?;
    if filter == JobFilter::default() {
        let detail = "a filter is needed: ids, state, fault, key or text";
        return Err(Problem::new(StatusCode::BAD_REQUEST, detail));
    }
    if is_preview {
        let counts = admin.store.job_counts(&filter).await.map_err(away)?;
        let can = counts.iter().filter(|(state, _)| state.after(steer.step()).is_ok());
        let count: u64 = can.map(|(_, count)| count).sum();
        return Ok(Json(json!({ "count": count })).into_response());
    }
    let jobs = admin.store.steer(&filter, &steer, ACTOR).await.map_err(away)?;
    Ok(Json(json!({ "jobs": jobs })).into_response())
}

/// `GET /api/dispatch`: whether tickets are made, and how that goes.
#[utoipa::path(get, path = "/api/dispatch", tag = "dispatch", responses((status = 200), Problem))]
pub(super) async fn dispatch(State(admin): State<Arc<Admin>>) -> Result<Response, Problem> {
    let counts = admin.store.job_counts(&JobFilter::default()).await.map_err(away)?;
    let jobs: serde_json::Map<_, _> =
        counts.into_iter().map(|(state, count)| (state.name().to_owned(), count.into())).collect();
    let is_paused = admin.store.is_paused().await.map_err(away)?;
    let jira = admin.pipeline.jira();
    Ok(Json(json!({
        "paused": is_paused,
        "dryRun": jira.is_dry_run,
        "hubs": jira.counters.hubs(),
        "jobs": jobs,
    }))
    .into_response())
}

/// `POST /api/dispatch/pause`
#[utoipa::path(post, path = "/api/dispatch/pause", tag = "dispatch", responses((status = 200), Problem))]
pub(super) async fn pause(State(admin): State<Arc<Admin>>) -> Result<Response, Problem> {
    admin.store.pause(true, ACTOR).await.map_err(away)?;
    Ok(Json(json!({ "paused": true })).into_response())
}

/// `POST /api/dispatch/resume`
#[utoipa::path(post, path = "/api/dispatch/resume", tag = "dispatch", responses((status = 200), Problem))]
pub(super) async fn resume(State(admin): State<Arc<Admin>>) -> Result<Response, Problem> {
    admin.store.pause(false, ACTOR).await.map_err(away)?;
    Ok(Json(json!({ "paused": false })).into_response())
}

#[derive(Serialize)]
struct Reasons {
    #[serde(flatten)]
    why: Why,
    tickets: Vec<StoredTicket>,
    jobs: Vec<StoredJob>,
}

/// `GET /api/faults/{id}/why`: why the fault has a ticket, or none.
#[utoipa::path(get, path = "/api/faults/{id}/why", tag = "faults", params(("id" = i64, Path)), responses((status = 200), Problem))]
pub(super) async fn why(
    State(admin): State<Arc<Admin>>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let fault = number_of("fault", &id)?;
    let why = admin.store.why(fault).await.map_err(away)?;
    let why = why
        .ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, format!("there is no fault {fault}")))?;
    let tickets = admin.store.tickets(fault).await.map_err(away)?;
    let filter = JobFilter { fault: Some(fault), ..JobFilter::default() };
    let jobs = admin.store.jobs(&filter, 100).await.map_err(away)?;
    Ok(Json(Reasons { why, tickets, jobs }).into_response())
}

/// The job of a path, and the filter that is it alone.
async fn job_of(admin: &Admin, id: &str) -> Result<(JobFilter, StoredJob), Problem> {
    let id = number_of("job", id)?;
    let filter = JobFilter { ids: Some(vec![id]), ..JobFilter::default() };
    let job = admin.store.jobs(&filter, 1).await.map_err(away)?.pop();
    let none = || Problem::new(StatusCode::NOT_FOUND, format!("there is no job {id}"));
    Ok((filter, job.ok_or_else(none)?))
}
