//! What people say of a fault: it is over, it is not, leave me alone; and which shapes belong to it.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State, rejection::JsonRejection},
    http::StatusCode,
};
use faultline_actors::{
    adapters::{
        clock,
        store::{TeachError, faults::SteerError},
    },
    domain::{
        fault::FaultId,
        fault_state::Step,
        lesson::{Lesson, Unteachable},
        rule::lasting,
        time::later,
    },
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::{Admin, access::Who, away, number_of, unreadable};
use crate::problem::Problem;

/// The longest comment, in bytes.
const COMMENT: usize = 2_000;

/// Why; it is kept in the audit trail.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(as = FaultComment)]
pub(in crate::admin) struct Comment {
    #[schema(max_length = 2000)]
    comment: String,
}

/// For how long, and why.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(as = FaultMute)]
pub(in crate::admin) struct Mute {
    /// `90m`, `7d`; without it for ever.
    #[serde(rename = "for")]
    lasting: Option<String>,
    #[schema(max_length = 2000)]
    comment: String,
}

/// The fault that was changed.
#[derive(Serialize, ToSchema)]
#[schema(as = FaultSteered)]
pub(in crate::admin) struct Steered {
    fault: FaultId,
}

/// A body that may be left out.
type Optional<T> = Result<Option<Json<T>>, JsonRejection>;

fn read<T: Default>(body: Optional<T>) -> Result<T, Problem> {
    Ok(body.map_err(unreadable)?.map_or_else(T::default, |Json(body)| body))
}

/// `POST /api/faults/{id}/resolve`: it is over. When it happens again it is open again, a
/// regression. The ticket stays as it is in the tracker.
#[utoipa::path(post, path = "/api/faults/{id}/resolve", tag = "faults", params(("id" = i64, Path)),
    request_body = Option<Comment>, responses((status = 200, body = Steered), Problem))]
pub(in crate::admin) async fn resolve(
    admin: State<Arc<Admin>>,
    who: Who,
    id: Path<String>,
    body: Optional<Comment>,
) -> Result<Json<Steered>, Problem> {
    steer(&admin, &who, &id, Step::Resolve, &read(body)?.comment).await
}

/// `POST /api/faults/{id}/reopen`: it is not over. The ticket stays as it is in the tracker.
#[utoipa::path(post, path = "/api/faults/{id}/reopen", tag = "faults", params(("id" = i64, Path)),
    request_body = Option<Comment>, responses((status = 200, body = Steered), Problem))]
pub(in crate::admin) async fn reopen(
    admin: State<Arc<Admin>>,
    who: Who,
    id: Path<String>,
    body: Optional<Comment>,
) -> Result<Json<Steered>, Problem> {
    steer(&admin, &who, &id, Step::Reopen, &read(body)?.comment).await
}

/// `POST /api/faults/{id}/mute`: it is counted, and gets no ticket, comment or reopening until the
/// mute ends.
#[utoipa::path(post, path = "/api/faults/{id}/mute", tag = "faults", params(("id" = i64, Path)),
    request_body = Option<Mute>, responses((status = 200, body = Steered), Problem))]
pub(in crate::admin) async fn mute(
    admin: State<Arc<Admin>>,
    who: Who,
    id: Path<String>,
    body: Optional<Mute>,
) -> Result<Json<Steered>, Problem> {
    let Mute { lasting, comment } = read(body)?;
    let wrong = |detail| Problem::new(StatusCode::BAD_REQUEST, detail).at("/for".to_owned());
    let lasting = lasting.map(|text| lasting::parse(&text)).transpose().map_err(wrong)?;
    if lasting.is_some_and(|lasting| lasting.is_zero()) {
        return Err(wrong("a time of more than nothing is needed".to_owned()));
    }
    let until = lasting.map(|lasting| later(clock::now(), lasting));
    steer(&admin, &who, &id, Step::Mute { until }, &comment).await
}

/// `POST /api/faults/{id}/unmute`: what is due is done.
#[utoipa::path(post, path = "/api/faults/{id}/unmute", tag = "faults", params(("id" = i64, Path)),
    request_body = Option<Comment>, responses((status = 200, body = Steered), Problem))]
pub(in crate::admin) async fn unmute(
    admin: State<Arc<Admin>>,
    who: Who,
    id: Path<String>,
    body: Optional<Comment>,
) -> Result<Json<Steered>, Problem> {
    steer(&admin, &who, &id, Step::Unmute, &read(body)?.comment).await
}

async fn steer(
    admin: &Admin,
    who: &Who,
    id: &str,
    step: Step,
    comment: &str,
) -> Result<Json<Steered>, Problem> {
    let fault = number_of("fault", id)?;
    if comment.len() > COMMENT || comment.contains('\0') {
        let detail = format!("at most {COMMENT} bytes of text without NUL are possible");
        return Err(Problem::new(StatusCode::BAD_REQUEST, detail).at("/comment".to_owned()));
    }
    let steered = admin.store.steer_fault(fault, step, comment, who.name()).await;
    steered.map_err(not_steered)?;
    admin.pipeline.jira().decide_about(fault);
    tracing::info!(action = step.action(), fault, who = who.name(), "somebody steered a fault");
    Ok(Json(Steered { fault }))
}

pub(super) fn not_steered(error: SteerError) -> Problem {
    let status = match error {
        SteerError::Store(error) => return away(error),
        SteerError::NoFault(_) => StatusCode::NOT_FOUND,
        SteerError::Illegal(_)
        | SteerError::Merged(..)
        | SteerError::HasTicket(_)
        | SteerError::Linked(..) => StatusCode::CONFLICT,
    };
    Problem::new(status, error.to_string())
}

/// Into which fault.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = FaultMerge)]
pub(in crate::admin) struct Merge {
    into: FaultId,
}

/// Which shape.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = FaultNamed)]
pub(in crate::admin) struct Named {
    fingerprint: String,
}

/// `POST /api/faults/{id}/merge` `{"into": 7}`: both are one.
#[utoipa::path(post, path = "/api/faults/{id}/merge", tag = "faults", params(("id" = i64, Path)),
    request_body = Merge, responses((status = 200, body = Steered), Problem))]
pub(in crate::admin) async fn merge(
    admin: State<Arc<Admin>>,
    who: Who,
    id: Path<String>,
    body: Result<Json<Merge>, JsonRejection>,
) -> Result<Json<Steered>, Problem> {
    let (fault, Json(Merge { into })) = (number_of("fault", &id)?, body.map_err(unreadable)?);
    teach(&admin, &who, Lesson::Merge { fault, into }).await
}

/// `POST /api/faults/{id}/split` `{"fingerprint": "v1:…"}`: that shape is a fault of its own.
#[utoipa::path(post, path = "/api/faults/{id}/split", tag = "faults", params(("id" = i64, Path)),
    request_body = Named, responses((status = 200, body = Steered), Problem))]
pub(in crate::admin) async fn split(
    admin: State<Arc<Admin>>,
    who: Who,
    id: Path<String>,
    body: Result<Json<Named>, JsonRejection>,
) -> Result<Json<Steered>, Problem> {
    let (fault, Json(Named { fingerprint })) =
        (number_of("fault", &id)?, body.map_err(unreadable)?);
    teach(&admin, &who, Lesson::Split { fault, fingerprint }).await
}

/// `POST /api/faults/{id}/pin` `{"fingerprint": "checkout"}`: reports that name it belong here.
#[utoipa::path(post, path = "/api/faults/{id}/pin", tag = "faults", params(("id" = i64, Path)),
    request_body = Named, responses((status = 200, body = Steered), Problem))]
pub(in crate::admin) async fn pin(
    admin: State<Arc<Admin>>,
    who: Who,
    id: Path<String>,
    body: Result<Json<Named>, JsonRejection>,
) -> Result<Json<Steered>, Problem> {
    let (fault, Json(Named { fingerprint })) =
        (number_of("fault", &id)?, body.map_err(unreadable)?);
    teach(&admin, &who, Lesson::Pin { fault, name: fingerprint }).await
}

async fn teach(admin: &Admin, who: &Who, lesson: Lesson) -> Result<Json<Steered>, Problem> {
    let fault = admin.store.teach(&lesson, who.name()).await.map_err(not_taught)?;
    tracing::info!(action = lesson.action(), fault = lesson.fault(), "somebody taught");
    Ok(Json(Steered { fault }))
}

pub(super) fn not_taught(error: TeachError) -> Problem {
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
