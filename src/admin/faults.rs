//! `/api/faults`: what keeps happening, why its shapes are one, and what people teach about that.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State, rejection::JsonRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use faultline_actors::{
    adapters::store::{FaultDetail, StoredEvent, TeachError},
    domain::{
        fault::FaultId,
        lesson::{Lesson, Unteachable},
        shape::{Class, Masked, explain},
    },
};
use serde::{Deserialize, Serialize};

use super::{Admin, Listed, asked, away, listing, number_of, unreadable};
use crate::problem::Problem;

/// How many of a fault's newest events are shown with it.
const EVENTS: u32 = 10;

/// `GET /api/faults?limit=…`: the faults seen last.
#[utoipa::path(get, path = "/api/faults", tag = "faults", responses((status = 200), Problem))]
pub(super) async fn list(
    State(admin): State<Arc<Admin>>,
    query: Listed,
) -> Result<Response, Problem> {
    let limit = asked(query)?.limit()?;
    let faults = admin.store.faults(limit).await.map_err(away)?;
    Ok(listing("faults", faults))
}

/// Not by way of a JSON value, which holds no big numbers.
#[derive(Serialize)]
struct Shown {
    fault: FaultDetail,
    /// What became of each part of the latest event's message.
    tokens: Vec<Token>,
    events: Vec<StoredEvent>,
}

#[derive(Serialize)]
struct Token {
    text: String,
    /// The placeholder of what was masked.
    #[serde(skip_serializing_if = "Option::is_none")]
    mask: Option<&'static str>,
}

/// `GET /api/faults/{id}`: one fault with its shapes, why each belongs to it, how its latest
/// message was read, and its newest events.
#[utoipa::path(get, path = "/api/faults/{id}", tag = "faults", params(("id" = i64, Path)), responses((status = 200), Problem))]
pub(super) async fn one(
    State(admin): State<Arc<Admin>>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id = number_of("fault", &id)?;
    let fault = admin.store.fault(id).await.map_err(away)?;
    let fault = fault.ok_or_else(|| not_taught(TeachError::from(Unteachable::NoFault(id))))?;
    let mut events = Vec::new();
    for shape in &fault.shapes {
        events.extend(
            admin
                .store
                .events(Some(&shape.fingerprint), EVENTS)
                .await
                .map_err(away)?
                .into_iter()
                .filter(|event| {
                    event.environment == fault.fault.environment
                        && event.service == fault.fault.service
                }),
        );
    }
    events.sort_by_key(|event| std::cmp::Reverse(event.occurred_at));
    events.truncate(EVENTS as usize);
    let tokens = explain(&Masked::new(&fault.fault.latest))
        .map(|(text, class)| Token { text: text.to_owned(), mask: class.map(Class::placeholder) })
        .collect();
    Ok(Json(Shown { fault, tokens, events }).into_response())
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Merge {
    into: FaultId,
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Named {
    fingerprint: String,
}

/// `POST /api/faults/{id}/merge` `{"into": 7}`: both are one.
#[utoipa::path(post, path = "/api/faults/{id}/merge", tag = "faults", params(("id" = i64, Path)), responses((status = 200), Problem))]
pub(super) async fn merge(
    admin: State<Arc<Admin>>,
    id: Path<String>,
    body: Result<Json<Merge>, JsonRejection>,
) -> Result<Response, Problem> {
    let (fault, Json(Merge { into })) = (number_of("fault", &id)?, body.map_err(unreadable)?);
    teach(&admin, Lesson::Merge { fault, into }).await
}

/// `POST /api/faults/{id}/split` `{"fingerprint": "v1:…"}`: that shape is a fault of its own.
#[utoipa::path(post, path = "/api/faults/{id}/split", tag = "faults", params(("id" = i64, Path)), responses((status = 200), Problem))]
pub(super) async fn split(
    admin: State<Arc<Admin>>,
    id: Path<String>,
    body: Result<Json<Named>, JsonRejection>,
) -> Result<Response, Problem> {
    let (fault, Json(Named { fingerprint })) =
        (number_of("fault", &id)?, body.map_err(unreadable)?);
    teach(&admin, Lesson::Split { fault, fingerprint }).await
}

/// `POST /api/faults/{id}/pin` `{"fingerprint": "checkout"}`: reports that name it belong here.
#[utoipa::path(post, path = "/api/faults/{id}/pin", tag = "faults", params(("id" = i64, Path)), responses((status = 200), Problem))]
pub(super) async fn pin(
    admin: State<Arc<Admin>>,
    id: Path<String>,
    body: Result<Json<Named>, JsonRejection>,
) -> Result<Response, Problem> {
    let (fault, Json(Named { fingerprint })) =
        (number_of("fault", &id)?, body.map_err(unreadable)?);
    teach(&admin, Lesson::Pin { fault, name: fingerprint }).await
}

async fn teach(admin: &Admin, lesson: Lesson) -> Result<Response, Problem> {
    let fault = admin.store.teach(&lesson, "api").await.map_err(not_taught)?;
    tracing::info!(action = lesson.action(), fault = lesson.fault(), "somebody taught");
    Ok(Json(serde_json::json!({ "fault": fault })).into_response())
}

fn not_taught(error: TeachError) -> Problem {
    let status = match error {
        TeachError::Store(error) => return away(error),
        TeachError::Unteachable(Unteachable::NoFault(_) | Unteachable::NoShape(..)) => {
            StatusCode::NOT_FOUND
        }
        TeachError::Unteachable(Unteachable::Name) => StatusCode::BAD_REQUEST,
        TeachError::Unteachable(_) => StatusCode::CONFLICT,
    };
    Problem::new(status, error.to_string())
}
