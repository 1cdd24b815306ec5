//! `GET /api/ledger`: what became of every message.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use faultline_actors::domain::{event::Source, ledger::Ledger};

use super::{Admin, away};
use crate::problem::Problem;

/// How long who asks waits for a store that is being opened: making its schema may take a second.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// One line a source, in messages: `received = stored + duplicate + rejected + in_flight`. `sources`
/// is the ledger of this process; `origins` that of each journal that the store ever had, a relay's
/// among them, to be compared with what the relay says.
#[utoipa::path(get, path = "/api/ledger", tag = "ledger", responses((status = 200), Problem))]
pub(super) async fn ledger(State(admin): State<Arc<Admin>>) -> Result<Response, Problem> {
    let Some(ledger) = complete(&admin).await else {
        let detail = "the store was not reached yet, so what it has stored is not known";
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail));
    };
    let mut imbalance = ledger.imbalance();
    let mut answer = serde_json::json!({ "sources": lines(&ledger) });
    if let Some((_, origins)) = admin.pipeline.handoff() {
        let read = origins.look();
        let mut listed = Vec::new();
        for stored in admin.store.origins().await.map_err(away)? {
            let mut origin = serde_json::json!({
                "origin": stored.origin.to_string(),
                "position": stored.position,
            });
            let mut ledger = Ledger::resume(stored.settled, Default::default());
            if let Some((name, journal)) = read.get(&stored.origin) {
                origin["environment"] = name.environment.clone().into();
                origin["shard"] = name.shard.into();
                let own = journal.ledger().lock().unwrap_or_else(PoisonError::into_inner).clone();
                // Before its position is known, only what the store says is.
                if own.is_complete() {
                    ledger = own;
                }
            }
            imbalance += ledger.imbalance().abs();
            origin["sources"] = lines(&ledger);
            listed.push(origin);
        }
        answer["origins"] = listed.into();
    }
    answer["balanced"] = (imbalance == 0).into();
    Ok(Json(answer).into_response())
}

/// The ledger, once the store has said what is stored: a moment after the start, unless it is away.
async fn complete(admin: &Admin) -> Option<Ledger> {
    let asked = Instant::now();
    loop {
        let ledger = admin.pipeline.ledger();
        if ledger.is_complete() {
            return Some(ledger);
        }
        if admin.pipeline.counters().failing().is_some() || asked.elapsed() > PATIENCE {
            return None;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

fn lines(ledger: &Ledger) -> serde_json::Value {
    let lines: BTreeMap<_, _> =
        Source::ALL.into_iter().map(|source| (source.name(), ledger.line(source))).collect();
    serde_json::json!(lines)
}
