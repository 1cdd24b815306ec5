//! `/api/faults`: what keeps happening, why its shapes are one, what is done about it, and what
//! people say of that.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use faultline_actors::{
    adapters::store::{
        StoredEvent,
        faults::{FaultFilter, Sorting},
        search::EventFilter,
    },
    domain::{
        fault::FaultId,
        shape::{Class, Masked, explain},
    },
};
use serde::Serialize;
use utoipa::ToSchema;

use self::shown::{Fault, Shape};
use super::{Admin, away, events::filter_of_fault, number_of};
use crate::problem::Problem;

pub(super) mod list;
pub(super) mod shown;
pub(super) mod steer;
pub(super) mod tickets;

/// How many of a fault's newest events are shown with it.
const EVENTS: u32 = 10;
/// They are looked for so long.
const EVENTS_TIME: Duration = Duration::from_millis(100);

/// A fault with its newest events.
#[derive(Serialize, ToSchema)]
#[schema(as = FaultShown)]
pub(super) struct Shown {
    fault: Detail,
    /// What became of each part of the latest event's message.
    tokens: Vec<Token>,
    /// The newest first.
    events: Vec<StoredEvent>,
}

/// A fault with its shapes.
#[derive(Serialize, ToSchema)]
#[schema(as = FaultDetail)]
struct Detail {
    #[serde(flatten)]
    fault: Fault,
    /// The oldest first.
    shapes: Vec<Shape>,
}

/// A part of a message.
#[derive(Serialize, ToSchema)]
#[schema(as = MessageToken)]
struct Token {
    text: String,
    /// The placeholder of what was masked.
    #[serde(skip_serializing_if = "Option::is_none")]
    mask: Option<&'static str>,
}

/// `GET /api/faults/{id}`: one fault with its shapes, why each belongs to it, how its latest
/// message was read, and its newest events.
#[utoipa::path(get, path = "/api/faults/{id}", tag = "faults", params(("id" = i64, Path)),
    responses((status = 200, body = Shown), Problem))]
pub(super) async fn one(
    State(admin): State<Arc<Admin>>,
    Path(id): Path<String>,
) -> Result<Json<Shown>, Problem> {
    let id = number_of("fault", &id)?;
    let filter = FaultFilter { ids: Some(vec![id]), ..FaultFilter::default() };
    let listed = admin.store.list_faults(&filter, Sorting::default(), None, 1).await;
    let fault = shown::shown(&admin, listed.map_err(away)?).await.map_err(away)?.pop();
    let (Some(fault), Some(detail)) = (fault, admin.store.fault(id).await.map_err(away)?) else {
        return Err(no_fault(id));
    };
    let wanted = filter_of_fault(&detail, EventFilter::default());
    let events = admin.store.search(&wanted, None, EVENTS, EVENTS_TIME).await.map_err(away)?.events;
    let tokens = explain(&Masked::new(&fault.latest))
        .map(|(text, class)| Token { text: text.to_owned(), mask: class.map(Class::placeholder) })
        .collect();
    let shapes = detail.shapes.into_iter().map(Shape::from).collect();
    Ok(Json(Shown { fault: Detail { fault, shapes }, tokens, events }))
}

fn no_fault(id: FaultId) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("there is no fault {id}"))
}
