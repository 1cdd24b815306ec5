//! `/api/jobs`: what is done about faults in Jira, and how people steer it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Path, State, rejection::JsonRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use faultline_actors::{
    adapters::store::{
        AuditEntry,
        job_page::job_page,
        jobs::{JobFilter, JobId, Steer, StoredFailure, StoredJob, StoredTicket, Why},
    },
    domain::{
        fault::FaultId,
        job::{Action, State as JobState},
        time::rfc3339,
    },
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    Admin, Asked, Page,
    access::Who,
    asked, away, number_of,
    page::{before, moment, text, word, write_cursor},
    unreadable,
};
use crate::problem::Problem;

/// How long a list looks for a text before it says where to go on.
const BUDGET: Duration = Duration::from_millis(120);

fn state_of(name: Option<&str>) -> Result<Option<JobState>, Problem> {
    word("state", name, JobState::from_name, &JobState::ALL.map(JobState::name))
}

fn action_of(name: Option<&str>) -> Result<Option<Action>, Problem> {
    word("action", name, Action::from_name, &Action::ALL.map(Action::name))
}

/// Which jobs.
#[derive(Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct List {
    /// `waiting`, `active`, `delayed`, `completed`, `dead`, `unknown` or `discarded`.
    state: Option<String>,
    /// `create`, `comment`, `reopen` or `edit`.
    action: Option<String>,
    #[serde(deserialize_with = "text")]
    environment: Option<String>,
    fault: Option<FaultId>,
    /// Jira's key of the ticket.
    #[serde(deserialize_with = "text")]
    key: Option<String>,
    /// A part of what was sent or answered, or of the error.
    #[serde(deserialize_with = "text")]
    text: Option<String>,
    /// Made then or later (RFC 3339) …
    since: Option<String>,
    /// … and before.
    until: Option<String>,
    /// How many at most: 1 to 1000.
    #[param(minimum = 1, maximum = 1000, default = 50)]
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
}

impl List {
    fn filter(&self) -> Result<JobFilter, Problem> {
        Ok(JobFilter {
            ids: None,
            state: state_of(self.state.as_deref())?,
            action: action_of(self.action.as_deref())?,
            environment: self.environment.clone(),
            fault: self.fault,
            key: self.key.clone(),
            text: self.text.clone().filter(|text| !text.is_empty()),
            since: moment("since", self.since.as_deref())?,
            until: moment("until", self.until.as_deref())?,
            before: before(self.cursor.as_deref())?,
            from: None,
        })
    }
}

#[derive(Serialize, ToSchema)]
pub(super) struct JobList {
    jobs: Vec<StoredJob>,
    /// The `cursor` of the next page.
    next: Option<String>,
    /// Jobs made before this moment were not looked through yet: time was over before the page was
    /// full. `next` goes on from there.
    searched_until: Option<String>,
}

/// The newest jobs of a filter.
#[utoipa::path(get, path = "/api/jobs", tag = "jobs", params(List),
    responses((status = 200, body = JobList), Problem))]
pub(super) async fn list(
    State(admin): State<Arc<Admin>>,
    query: Asked<List>,
) -> Result<Json<JobList>, Problem> {
    let list = asked(query)?;
    let limit = Page::check_limit(list.limit.unwrap_or_else(Page::default_limit))?;
    let page = job_page(&*admin.store, &list.filter()?, limit, BUDGET).await.map_err(away)?;
    let searched_until = match page.next.filter(|_| page.is_cut) {
        Some(id) => {
            let filter = JobFilter { ids: Some(vec![id]), ..JobFilter::default() };
            let jobs = admin.store.jobs(&filter, 1).await.map_err(away)?;
            jobs.first().map(|job| rfc3339(job.created_at))
        }
        None => None,
    };
    let next = page.next.map(|id| write_cursor(&id));
    Ok(Json(JobList { jobs: page.jobs, next, searched_until }))
}

#[derive(Serialize, ToSchema)]
pub(super) struct JobCounts {
    /// By state, over all actions.
    states: BTreeMap<&'static str, u64>,
    queues: Vec<JobQueue>,
}

/// The jobs of one action.
#[derive(Serialize, ToSchema)]
struct JobQueue {
    action: &'static str,
    states: BTreeMap<&'static str, u64>,
}

/// How many jobs of a filter there are, by state and by action. `limit` and `cursor` mean nothing
/// here.
#[utoipa::path(get, path = "/api/jobs/counts", tag = "jobs", params(List),
    responses((status = 200, body = JobCounts), Problem))]
pub(super) async fn counts(
    State(admin): State<Arc<Admin>>,
    query: Asked<List>,
) -> Result<Json<JobCounts>, Problem> {
    let filter = JobFilter { before: None, ..asked(query)?.filter()? };
    let none = || JobState::ALL.map(|state| (state.name(), 0)).into_iter().collect();
    let mut states: BTreeMap<_, u64> = none();
    let mut queues = Action::ALL.map(|action| JobQueue { action: action.name(), states: none() });
    for (action, state, count) in admin.store.job_queues(&filter).await.map_err(away)? {
        *states.entry(state.name()).or_default() += count;
        let queue = queues.iter_mut().find(|queue| queue.action == action.name());
        if let Some(queue) = queue {
            queue.states.insert(state.name(), count);
        }
    }
    Ok(Json(JobCounts { states, queues: queues.into() }))
}

/// Not by way of a JSON value, which holds no big numbers.
#[derive(Serialize, ToSchema)]
pub(super) struct JobShown {
    job: StoredJob,
    /// The oldest first.
    history: Vec<AuditEntry>,
    /// Why it was given up, each time.
    failures: Vec<StoredFailure>,
}

/// One job with what was sent, what came back, and its history.
#[utoipa::path(get, path = "/api/jobs/{id}", tag = "jobs", params(("id" = i64, Path)),
    responses((status = 200, body = JobShown), Problem))]
pub(super) async fn one(
    State(admin): State<Arc<Admin>>,
    Path(id): Path<String>,
) -> Result<Json<JobShown>, Problem> {
    let (_, job) = job_of(&admin, &id).await?;
    let history = admin.store.history(job.id).await.map_err(away)?;
    let failures = admin.store.job_failures(job.id).await.map_err(away)?;
    Ok(Json(JobShown { job, history, failures }))
}

/// Jobs that were steered.
#[derive(Serialize, ToSchema)]
pub(super) struct JobsSteered {
    jobs: Vec<JobId>,
}

/// Does a job again that is dead, delayed, unknown or discarded.
#[utoipa::path(post, path = "/api/jobs/{id}/retry", tag = "jobs", params(("id" = i64, Path)),
    responses((status = 200, body = JobsSteered), Problem))]
pub(super) async fn retry_one(
    State(admin): State<Arc<Admin>>,
    who: Who,
    Path(id): Path<String>,
) -> Result<Json<JobsSteered>, Problem> {
    steer_one(&admin, &who, &id, Steer::Retry).await
}

/// Never does a job.
#[utoipa::path(post, path = "/api/jobs/{id}/discard", tag = "jobs", params(("id" = i64, Path)),
    responses((status = 200, body = JobsSteered), Problem))]
pub(super) async fn discard_one(
    State(admin): State<Arc<Admin>>,
    who: Who,
    Path(id): Path<String>,
) -> Result<Json<JobsSteered>, Problem> {
    steer_one(&admin, &who, &id, Steer::Discard).await
}

/// Does a job again with the whole new request of the body.
#[utoipa::path(post, path = "/api/jobs/{id}/edit", tag = "jobs", params(("id" = i64, Path)),
    request_body = Object, responses((status = 200, body = JobsSteered), Problem))]
pub(super) async fn edit_one(
    State(admin): State<Arc<Admin>>,
    who: Who,
    Path(id): Path<String>,
    body: Result<Json<serde_json::Value>, JsonRejection>,
) -> Result<Json<JobsSteered>, Problem> {
    let Json(request) = body.map_err(unreadable)?;
    if !request.is_object() {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "the request must be a JSON object"));
    }
    steer_one(&admin, &who, &id, Steer::Edit(request)).await
}

/// Jobs to be steered at once: at least one part of the filter is needed.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct JobsChosen {
    ids: Option<Vec<JobId>>,
    state: Option<String>,
    action: Option<String>,
    #[serde(deserialize_with = "text")]
    environment: Option<String>,
    fault: Option<FaultId>,
    #[serde(deserialize_with = "text")]
    key: Option<String>,
    #[serde(deserialize_with = "text")]
    text: Option<String>,
    /// Only say how many these are.
    preview: bool,
}

impl JobsChosen {
    fn filter(self) -> Result<JobFilter, Problem> {
        let filter = JobFilter {
            state: state_of(self.state.as_deref())?,
            action: action_of(self.action.as_deref())?,
            ids: self.ids,
            environment: self.environment,
            fault: self.fault,
            key: self.key,
            text: self.text.filter(|text| !text.is_empty()),
            ..JobFilter::default()
        };
        if filter == JobFilter::default() {
            let detail = "a filter is needed: ids, state, action, environment, fault, key or text";
            return Err(Problem::new(StatusCode::BAD_REQUEST, detail));
        }
        Ok(filter)
    }
}

/// What became of a filter: the jobs, or their number where that alone was asked for.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum JobsOutcome {
    Done { jobs: Vec<JobId> },
    Preview { count: u64 },
}

/// Does all jobs of a filter again that can be; with `"preview": true` only says how many.
#[utoipa::path(post, path = "/api/jobs/retry", tag = "jobs", request_body = JobsChosen,
    responses((status = 200, body = JobsOutcome), Problem))]
pub(super) async fn retry_all(
    admin: State<Arc<Admin>>,
    who: Who,
    body: Result<Json<JobsChosen>, JsonRejection>,
) -> Result<Json<JobsOutcome>, Problem> {
    steer_all(&admin, &who, body, Steer::Retry).await
}

/// Discards all jobs of a filter that can be, likewise.
#[utoipa::path(post, path = "/api/jobs/discard", tag = "jobs", request_body = JobsChosen,
    responses((status = 200, body = JobsOutcome), Problem))]
pub(super) async fn discard_all(
    admin: State<Arc<Admin>>,
    who: Who,
    body: Result<Json<JobsChosen>, JsonRejection>,
) -> Result<Json<JobsOutcome>, Problem> {
    steer_all(&admin, &who, body, Steer::Discard).await
}

async fn steer_one(
    admin: &Admin,
    who: &Who,
    id: &str,
    steer: Steer,
) -> Result<Json<JobsSteered>, Problem> {
    let (filter, job) = job_of(admin, id).await?;
    if admin.store.steer(&filter, &steer, who.name()).await.map_err(away)?.is_empty() {
        let verb = steer.step().name();
        let detail = format!("job {} is {}: it cannot {verb}", job.id, job.state);
        return Err(Problem::new(StatusCode::CONFLICT, detail));
    }
    Ok(Json(JobsSteered { jobs: vec![job.id] }))
}

async fn steer_all(
    admin: &Admin,
    who: &Who,
    body: Result<Json<JobsChosen>, JsonRejection>,
    steer: Steer,
) -> Result<Json<JobsOutcome>, Problem> {
    let Json(which) = body.map_err(unreadable)?;
    let is_preview = which.preview;
    let filter = which.filter()?;
    if is_preview {
        let counts = admin.store.job_counts(&filter).await.map_err(away)?;
        let can = counts.iter().filter(|(state, _)| state.after(steer.step()).is_ok());
        return Ok(Json(JobsOutcome::Preview { count: can.map(|(_, count)| count).sum() }));
    }
    let jobs = admin.store.steer(&filter, &steer, who.name()).await.map_err(away)?;
    Ok(Json(JobsOutcome::Done { jobs }))
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
