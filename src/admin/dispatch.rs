//! `/api/dispatch`: whether tickets are made, and how that goes.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State};
use faultline_actors::adapters::store::jobs::JobFilter;
use serde::Serialize;
use utoipa::ToSchema;

use super::{Admin, access::Who, away};
use crate::problem::Problem;

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct DispatchState {
    /// Nothing is sent to Jira, by any hub.
    paused: bool,
    /// There is no Jira: nothing is ever sent.
    dry_run: bool,
    /// Hubs that share the work.
    hubs: u64,
    /// By state.
    jobs: BTreeMap<&'static str, u64>,
}

/// Whether tickets are made, and jobs by state.
#[utoipa::path(get, path = "/api/dispatch", tag = "dispatch",
    responses((status = 200, body = DispatchState), Problem))]
pub(super) async fn dispatch(
    State(admin): State<Arc<Admin>>,
) -> Result<Json<DispatchState>, Problem> {
    let counts = admin.store.job_counts(&JobFilter::default()).await.map_err(away)?;
    let paused = admin.store.is_paused().await.map_err(away)?;
    let jira = admin.pipeline.jira();
    Ok(Json(DispatchState {
        paused,
        dry_run: jira.is_dry_run,
        hubs: jira.counters.hubs(),
        jobs: counts.into_iter().map(|(state, count)| (state.name(), count)).collect(),
    }))
}

#[derive(Serialize, ToSchema)]
pub(super) struct DispatchSwitched {
    paused: bool,
}

/// Sends nothing to Jira until dispatch is resumed; what is to be done is kept.
#[utoipa::path(post, path = "/api/dispatch/pause", tag = "dispatch",
    responses((status = 200, body = DispatchSwitched), Problem))]
pub(super) async fn pause(
    State(admin): State<Arc<Admin>>,
    who: Who,
) -> Result<Json<DispatchSwitched>, Problem> {
    switch(&admin, &who, true).await
}

/// Goes on.
#[utoipa::path(post, path = "/api/dispatch/resume", tag = "dispatch",
    responses((status = 200, body = DispatchSwitched), Problem))]
pub(super) async fn resume(
    State(admin): State<Arc<Admin>>,
    who: Who,
) -> Result<Json<DispatchSwitched>, Problem> {
    switch(&admin, &who, false).await
}

async fn switch(admin: &Admin, who: &Who, paused: bool) -> Result<Json<DispatchSwitched>, Problem> {
    admin.store.pause(paused, who.name()).await.map_err(away)?;
    Ok(Json(DispatchSwitched { paused }))
}
