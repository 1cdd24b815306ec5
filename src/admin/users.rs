//! Users and API tokens, as admins steer them.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Path, State, rejection::JsonRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use faultline_actors::{
    adapters::store::access::{ApiToken, NewToken, User, UserChange},
    domain::{
        access::{Role, Scope, check_name},
        rule::lasting,
    },
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Admin,
    access::{
        Key, Who,
        accounts::{refused, unfit},
    },
    away, number_of,
    session::no_store,
    unreadable,
};
use crate::{problem::Problem, secret::Secret};

type Body<T> = Result<Json<T>, JsonRejection>;

/// All users.
#[derive(Serialize, ToSchema)]
pub(super) struct Users {
    users: Vec<User>,
}

/// A user to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AddUser {
    /// 1 to 64 of a to z, 0 to 9, . _ @ -
    name: String,
    role: Role,
    /// 12 to 256 characters.
    #[schema(value_type = String, format = Password)]
    password: Secret,
}

/// What becomes different; the rest stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangeUser {
    role: Option<Role>,
    #[schema(value_type = Option<String>, format = Password)]
    password: Option<Secret>,
    is_disabled: Option<bool>,
}

/// All API tokens.
#[derive(Serialize, ToSchema)]
pub(super) struct Tokens {
    tokens: Vec<ApiToken>,
}

/// An API token to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AddToken {
    /// 1 to 64 of a to z, 0 to 9, . _ @ -
    name: String,
    scope: Scope,
    /// For example 90d; without it, it is good until it is revoked.
    expires_in: Option<String>,
}

/// An API token, and its secret, which is not shown again.
#[derive(Serialize, ToSchema)]
pub(super) struct NewApiToken {
    /// For `Authorization: Bearer …` or `X-API-Key`.
    token: String,
    #[serde(flatten)]
    about: ApiToken,
}

/// `GET /api/users`: all users.
#[utoipa::path(get, path = "/api/users", tag = "access",
    responses((status = 200, body = Users), Problem))]
pub(super) async fn list(State(admin): State<Arc<Admin>>) -> Result<Json<Users>, Problem> {
    let users = admin.gate.accounts()?.store.users().await.map_err(away)?;
    Ok(Json(Users { users }))
}

/// `POST /api/users`: makes a user.
#[utoipa::path(post, path = "/api/users", tag = "access", request_body = AddUser,
    responses((status = 201, body = User), Problem))]
pub(super) async fn add(
    State(admin): State<Arc<Admin>>,
    who: Who,
    user: Body<AddUser>,
) -> Result<Response, Problem> {
    let accounts = admin.gate.accounts()?;
    let Json(AddUser { name, role, password }) = user.map_err(unreadable)?;
    accounts.add(&name, role, password, &who).await?;
    Ok((StatusCode::CREATED, admin.user(&name).await?).into_response())
}

/// `PATCH /api/users/{name}`: changes role or password, disables or enables; the user's sessions
/// end.
#[utoipa::path(patch, path = "/api/users/{name}", tag = "access", params(("name" = String, Path)),
    request_body = ChangeUser, responses((status = 200, body = User), Problem))]
pub(super) async fn change(
    State(admin): State<Arc<Admin>>,
    Path(name): Path<String>,
    who: Who,
    change: Body<ChangeUser>,
) -> Result<Json<User>, Problem> {
    let accounts = admin.gate.accounts()?;
    let Json(ChangeUser { role, password, is_disabled }) = change.map_err(unreadable)?;
    if role.is_none() && password.is_none() && is_disabled.is_none() {
        return Err(unfit("", "role, password or is_disabled is needed".to_owned()));
    }
    let change = UserChange { role, is_disabled, password_hash: None };
    accounts.change(&name, change, password, &who).await?;
    admin.user(&name).await
}

/// `DELETE /api/users/{name}`: removes a user.
#[utoipa::path(delete, path = "/api/users/{name}", tag = "access",
    params(("name" = String, Path)), responses((status = 204, description = "removed"), Problem))]
pub(super) async fn remove(
    State(admin): State<Arc<Admin>>,
    Path(name): Path<String>,
    who: Who,
) -> Result<StatusCode, Problem> {
    let store = &admin.gate.accounts()?.store;
    store.remove_user(&name, who.name()).await.map_err(refused)?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /api/tokens`: all API tokens, without their secrets.
#[utoipa::path(get, path = "/api/tokens", tag = "access",
    responses((status = 200, body = Tokens), Problem))]
pub(super) async fn tokens(State(admin): State<Arc<Admin>>) -> Result<Json<Tokens>, Problem> {
    let tokens = admin.gate.accounts()?.store.tokens().await.map_err(away)?;
    Ok(Json(Tokens { tokens }))
}

/// `POST /api/tokens`: makes an API token.
#[utoipa::path(post, path = "/api/tokens", tag = "access", request_body = AddToken,
    responses((status = 201, body = NewApiToken), Problem))]
pub(super) async fn add_token(
    State(admin): State<Arc<Admin>>,
    who: Who,
    token: Body<AddToken>,
) -> Result<Response, Problem> {
    let store = &admin.gate.accounts()?.store;
    let Json(AddToken { name, scope, expires_in }) = token.map_err(unreadable)?;
    check_name(&name).map_err(|problem| unfit("/name", problem))?;
    let expires_in = expires_in.as_deref().map(lasts).transpose();
    let expires_in = expires_in.map_err(|problem| unfit("/expires_in", problem))?;
    let key = Key::new();
    let new = NewToken { name: &name, secret: key.digest(), scope, expires_in };
    let about = store.add_token(&new, who.name()).await.map_err(refused)?;
    let made = NewApiToken { token: key.token(), about };
    Ok((StatusCode::CREATED, no_store(), Json(made)).into_response())
}

/// `DELETE /api/tokens/{id}`: from now on it is good for nothing.
#[utoipa::path(delete, path = "/api/tokens/{id}", tag = "access", params(("id" = i64, Path)),
    responses((status = 204, description = "revoked"), Problem))]
pub(super) async fn revoke_token(
    State(admin): State<Arc<Admin>>,
    Path(id): Path<String>,
    who: Who,
) -> Result<StatusCode, Problem> {
    let store = &admin.gate.accounts()?.store;
    let id = number_of("token", &id)?;
    store.revoke_token(id, who.name()).await.map_err(refused)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ten years.
const LONGEST: Duration = Duration::from_hours(10 * 365 * 24);

/// How long a token may be good.
///
/// # Errors
/// Says what is possible.
pub(crate) fn lasts(text: &str) -> Result<Duration, String> {
    let lasts = lasting::parse(text)?;
    if lasts.is_zero() || lasts > LONGEST {
        return Err(format!("{text:?}: more than zero and at most 3650d is possible"));
    }
    Ok(lasts)
}

impl Admin {
    async fn user(&self, name: &str) -> Result<Json<User>, Problem> {
        let users = self.gate.accounts()?.store.users().await.map_err(away)?;
        let user = users.into_iter().find(|user| user.name == name);
        user.map(Json).ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "it was just removed"))
    }
}
