//! `GET /api/ledger`: what became of every message.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use faultline_actors::domain::event::Source;

use super::Admin;
use crate::problem::Problem;

/// One line a source, in messages: `received = stored + duplicate + rejected + in_flight`.
pub(super) async fn ledger(State(admin): State<Arc<Admin>>) -> Result<Response, Problem> {
    let ledger = admin.pipeline.ledger();
    if !ledger.is_complete() {
        let detail = "the store was not reached yet, so what it has stored is not known";
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail));
    }
    let sources: BTreeMap<_, _> =
        Source::ALL.into_iter().map(|source| (source.name(), ledger.line(source))).collect();
    let balanced = ledger.imbalance() == 0;
    Ok(Json(serde_json::json!({ "sources": sources, "balanced": balanced })).into_response())
}
