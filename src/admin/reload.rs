//! `POST /api/reload`: reads the configuration again.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Admin, Asked, access::Who, asked};
use crate::{
    problem::Problem,
    reload::{Change, How, loaded_at},
};

/// Whether something is to change.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// Change nothing, and say what would change.
    #[serde(default)]
    #[param(value_type = Option<bool>)]
    preview: Option<String>,
}

impl Wanted {
    /// `?preview` is enough.
    fn how(&self) -> Result<How, Problem> {
        match self.preview.as_deref() {
            None | Some("false") => Ok(How::Apply),
            Some("" | "true") => Ok(How::Preview),
            Some(other) => {
                let detail = format!("preview = {other:?}: true or false is needed");
                Err(Problem::new(StatusCode::BAD_REQUEST, detail))
            }
        }
    }
}

#[derive(Serialize, ToSchema)]
pub(super) struct Reloaded {
    /// Nothing was changed.
    preview: bool,
    /// In force now.
    applied: Vec<Change>,
    /// Differs, and comes into force with the next start.
    restart: Vec<Change>,
    /// How many settings are as they were.
    unchanged: usize,
    /// What else to know, for example that the environment overrides a setting.
    notes: Vec<String>,
    /// When the configuration in force was read (RFC 3339).
    loaded_at: String,
}

/// Reads the configuration again: the file, over it the environment of the start. One that cannot be
/// used is refused with all that is wrong, and changes nothing.
#[utoipa::path(post, path = "/api/reload", tag = "config", params(Wanted),
    responses((status = 200, body = Reloaded), Problem))]
pub(super) async fn reload(
    State(admin): State<Arc<Admin>>,
    who: Who,
    query: Asked<Wanted>,
) -> Result<Json<Reloaded>, Problem> {
    let how = asked(query)?.how()?;
    let (reload, who) = (admin.reload.clone(), who.name().to_owned());
    // In a task of its own: a client that goes away must not end it between applying and noting it.
    let report = tokio::spawn(async move { reload.run(&who, how).await }).await;
    let report = report
        .map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?
        .map_err(|error| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()))?;
    Ok(Json(Reloaded {
        preview: how == How::Preview,
        applied: report.applied,
        restart: report.restart,
        unchanged: report.unchanged,
        notes: report.notes,
        loaded_at: loaded_at(&admin.reload.loaded()),
    }))
}
