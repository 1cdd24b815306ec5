//! `GET /api/retention`: how much the store holds, what leaves it when, and what has left.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State};
use faultline_actors::{
    adapters::store::retention::{EventDay, GoneDay, RestoredDay, StoredRun, TableSize},
    domain::{
        retention::{Aged, goes_at},
        rule::lasting,
        time,
    },
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Admin, away};
use crate::problem::Problem;

/// Days that have left, and runs, in an answer.
const SHOWN: u32 = 30;

#[derive(Serialize, ToSchema)]
pub(super) struct Retention {
    /// How long events are kept, as in the settings; `0s`: for ever.
    events: String,
    /// Whether they are archived before they go.
    is_archived: bool,
    /// How long other rows are kept, by the setting's name.
    #[schema(value_type = Object)]
    rows: BTreeMap<&'static str, String>,
    /// Whether this hub is at it just now.
    is_running: bool,
    /// When everything that was old had left, last done by this hub.
    #[schema(format = DateTime)]
    last_success: Option<String>,
    /// What went wrong last, unless it went well since.
    problem: Option<String>,
    /// The days of which there are events, the oldest first.
    days: Vec<KeptDay>,
    /// Archives whose events are back.
    restored: Vec<RestoredDay>,
    /// The days that left last, or are about to.
    gone: Vec<GoneDay>,
    /// The last runs at which something left.
    runs: Vec<StoredRun>,
    /// How much there is, the largest table first.
    sizes: Vec<TableSize>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct KeptDay {
    #[serde(flatten)]
    day: EventDay,
    /// When it goes; none where it stays for ever.
    #[schema(format = DateTime)]
    goes_at: Option<String>,
}

/// What the store holds, and what leaves it when.
#[utoipa::path(get, path = "/api/retention", tag = "retention",
    responses((status = 200, body = Retention), Problem))]
pub(super) async fn retention(State(admin): State<Arc<Admin>>) -> Result<Json<Retention>, Problem> {
    let settings = admin.pipeline.retention_settings().get();
    let state = admin.pipeline.retention();
    let store = &admin.store;
    let restored = store.restored_days().await.map_err(away)?;
    let goes = |day: &EventDay| {
        let back = restored.iter().filter(|back| back.day == day.day).map(|back| back.until).max();
        let by_age = goes_at(day.day, settings.events);
        let at = by_age.max(back.unwrap_or(by_age));
        (!settings.events.is_zero()).then(|| time::rfc3339(at))
    };
    let days = store.event_days().await.map_err(away)?;
    let days = days.into_iter().map(|day| KeptDay { goes_at: goes(&day), day }).collect();
    Ok(Json(Retention {
        events: lasting::shown(settings.events),
        is_archived: settings.is_archived(),
        rows: Aged::ALL.map(|aged| (aged.name(), lasting::shown(settings.keep(aged)))).into(),
        is_running: state.is_running,
        last_success: state.last_success.map(time::rfc3339),
        problem: state.problem,
        days,
        gone: store.gone_days(SHOWN).await.map_err(away)?,
        runs: store.retention_runs(SHOWN).await.map_err(away)?,
        sizes: store.sizes().await.map_err(away)?,
        restored,
    }))
}
