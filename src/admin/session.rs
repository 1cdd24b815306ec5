//! Who is asking, logging in and out, and making the first user.

use std::{net::IpAddr, sync::Arc};

use axum::{
    Extension, Json,
    extract::{State, rejection::JsonRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use faultline_actors::domain::access::check_name;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Admin, Auth,
    access::{
        Kind, Role, Who,
        accounts::unfit,
        session::{Session as Cookie, forget_cookie},
    },
    unreadable,
};
use crate::{problem::Problem, secret::Secret, server::Peer};

type Body<T> = Result<Json<T>, JsonRejection>;

/// Who is asking.
#[derive(Serialize, ToSchema)]
#[schema(as = Session)]
pub(super) struct Session {
    auth: Auth,
    /// What the one who asks may do; null for whoever is not logged in.
    role: Option<Role>,
    name: Option<String>,
    kind: Option<Kind>,
    /// Nothing can be changed here.
    read_only: bool,
    /// With a cookie: what `X-CSRF-Token` must say when something is to be changed.
    csrf: Option<String>,
    /// There are no users yet: the link that was printed at the start makes the first one.
    needs_setup: bool,
    version: &'static str,
}

/// A name and its password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Login {
    name: String,
    #[schema(value_type = String, format = Password)]
    password: Secret,
}

/// The first user, an admin.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Setup {
    /// What follows the # in the link.
    token: String,
    name: String,
    /// 12 to 256 characters.
    #[schema(value_type = String, format = Password)]
    password: Secret,
}

/// The user's own password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Passwords {
    #[schema(value_type = String, format = Password)]
    old: Secret,
    /// 12 to 256 characters.
    #[schema(value_type = String, format = Password)]
    new: Secret,
}

/// `GET /api/session`: who is asking, and what is possible. Answers everybody.
#[utoipa::path(get, path = "/api/session", tag = "access",
    responses((status = 200, body = Session), Problem))]
pub(super) async fn session(
    State(admin): State<Arc<Admin>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let who = admin.gate.known(&headers).await?;
    admin.session_of(who).await
}

/// `POST /api/session`: starts a session, with a cookie.
#[utoipa::path(post, path = "/api/session", tag = "access", request_body = Login,
    responses((status = 200, body = Session), Problem))]
pub(super) async fn log_in(
    State(admin): State<Arc<Admin>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    login: Body<Login>,
) -> Result<Response, Problem> {
    let accounts = admin.gate.accounts()?;
    let Json(Login { name, password }) = login.map_err(unreadable)?;
    // Whatever the browser had before is of no use to whoever may have planted it.
    let before = Cookie::of(&headers, admin.gate.is_secure());
    let cookie = accounts.log_in(&name, password, address_of(peer, &headers)).await?;
    if let Some(before) = before {
        accounts.store.end_session(before.digest()).await.map_err(super::away)?;
    }
    admin.with_cookie(&cookie).await
}

/// `DELETE /api/session`: ends the session.
#[utoipa::path(delete, path = "/api/session", tag = "access",
    responses((status = 204, description = "ended"), Problem))]
pub(super) async fn log_out(
    State(admin): State<Arc<Admin>>,
    who: Who,
) -> Result<Response, Problem> {
    if let (Ok(accounts), Some(session)) = (admin.gate.accounts(), who.session()) {
        accounts.store.end_session(session.digest()).await.map_err(super::away)?;
    }
    let forget = forget_cookie(admin.gate.is_secure());
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, forget)]).into_response())
}

/// `POST /api/setup`: makes the first user, by the link that was printed at the start.
#[utoipa::path(post, path = "/api/setup", tag = "access", request_body = Setup,
    responses((status = 200, body = Session), Problem))]
pub(super) async fn set_up(
    State(admin): State<Arc<Admin>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    setup: Body<Setup>,
) -> Result<Response, Problem> {
    let accounts = admin.gate.accounts()?;
    let Json(Setup { token, name, password }) = setup.map_err(unreadable)?;
    check_name(&name).map_err(|problem| unfit("/name", problem))?;
    let cookie = accounts.set_up(&token, &name, password, address_of(peer, &headers)).await?;
    admin.with_cookie(&cookie).await
}

/// `POST /api/session/password`: changes the user's own password; his other sessions end.
#[utoipa::path(post, path = "/api/session/password", tag = "access", request_body = Passwords,
    responses((status = 204, description = "changed"), Problem))]
pub(super) async fn change_password(
    State(admin): State<Arc<Admin>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    who: Who,
    passwords: Body<Passwords>,
) -> Result<StatusCode, Problem> {
    let accounts = admin.gate.accounts()?;
    let Json(Passwords { old, new }) = passwords.map_err(unreadable)?;
    let Some(session) = who.session() else {
        let detail = "a password is changed by its user, with a session";
        return Err(Problem::new(StatusCode::CONFLICT, detail));
    };
    accounts.change_own(&who, session.digest(), [old, new], address_of(peer, &headers)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Whose attempt it is. Who connects from this machine may be a proxy, which says whom it speaks
/// for; from elsewhere anybody could say anything.
fn address_of(Peer(peer): Peer, headers: &HeaderMap) -> IpAddr {
    let last = headers.get_all("x-forwarded-for").iter().next_back();
    let last = last.and_then(|value| value.to_str().ok()?.rsplit(',').next()?.trim().parse().ok());
    last.filter(|_| peer.ip().is_loopback()).unwrap_or_else(|| peer.ip())
}

impl Admin {
    async fn session_of(&self, who: Option<Who>) -> Result<Response, Problem> {
        let settings = &self.gate.in_force().settings;
        let needs_setup = match self.gate.accounts() {
            Ok(accounts) => !accounts.has_users().await?,
            Err(_) => false,
        };
        let who = who.as_ref();
        let session = Session {
            auth: settings.auth,
            role: who.map(Who::role),
            name: who.map(|who| who.name().to_owned()),
            kind: who.map(Who::kind),
            read_only: settings.read_only,
            csrf: who.and_then(Who::session).map(Cookie::csrf),
            needs_setup,
            version: env!("CARGO_PKG_VERSION"),
        };
        Ok((no_store(), Json(session)).into_response())
    }

    /// The session that has just begun, with its cookie.
    async fn with_cookie(&self, cookie: &Cookie) -> Result<Response, Problem> {
        let who = self.gate.known_by(cookie.clone()).await?;
        let mut answer = self.session_of(who).await?;
        let set = cookie.set_cookie(self.gate.is_secure());
        answer.headers_mut().insert(header::SET_COOKIE, set);
        Ok(answer)
    }
}

/// Of answers that hold a secret.
pub(super) fn no_store() -> [(header::HeaderName, HeaderValue); 1] {
    [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_on_this_machine_says_whom_it_speaks_for() {
        let of = |peer: &str, forwarded: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in forwarded {
                headers.append("x-forwarded-for", value.parse().unwrap());
            }
            address_of(Peer(peer.parse().unwrap()), &headers).to_string()
        };
        assert_eq!(of("127.0.0.1:1", &["192.0.2.1, 192.0.2.2"]), "192.0.2.2");
        assert_eq!(of("[::1]:1", &["192.0.2.1", "2001:db8::1"]), "2001:db8::1");
        assert_eq!(of("127.0.0.1:1", &[]), "127.0.0.1");
        assert_eq!(of("127.0.0.1:1", &["nonsense"]), "127.0.0.1");
        assert_eq!(of("198.51.100.1:1", &["192.0.2.1"]), "198.51.100.1", "anybody says anything");
    }
}
