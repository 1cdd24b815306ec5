//! Who may look, and who may act.
//!
//! ```text
//! request ─▶ guard: host, origin, read-only ─▶ require: who is it, which role ─▶ handler
//! ```
//!
//! Somebody is known by a token in the header (`admin.token`, or an API token of the store) or by a
//! session's cookie. A cookie is sent by browsers whoever made them send the request, so that with it
//! whatever changes something needs the session's CSRF token as well. Another way to log in (OIDC)
//! would end where [`Accounts::log_in`] does: in a session.

use std::{convert::Infallible, sync::Arc};

use axum::{
    extract::{FromRequestParts, Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use faultline_actors::{adapters::store::Store, domain::access::Scope, stage::Live};
use metrics::counter;
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use tower_http::cors::CorsLayer;
use utoipa::ToSchema;

pub(crate) use self::key::Key;
use self::session::Session;
use super::{Auth, Open, Settings, away};
use crate::{
    problem::Problem,
    receiver::auth::{carries, given_token},
    reload::Reload,
    tls::Certificates,
};

pub(super) mod accounts;
pub(super) mod guard;
mod key;
pub(crate) mod password;
pub(super) mod session;
mod throttle;

use accounts::Accounts;
pub(crate) use faultline_actors::domain::access::Role;

/// As what somebody is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Anyone,
    User,
    Token,
}

/// Who sent a request that was let in.
#[derive(Clone, Debug)]
pub(crate) struct Who {
    name: Arc<str>,
    role: Role,
    kind: Kind,
    session: Option<Session>,
}

impl Who {
    fn new(name: &str, role: Role, kind: Kind) -> Self {
        Self { name: name.into(), role, kind, session: None }
    }

    /// As the audit trail says it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn role(&self) -> Role {
        self.role
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    pub(super) fn session(&self) -> Option<&Session> {
        self.session.as_ref()
    }
}

/// Every route behind [`require`] has somebody.
impl<S: Sync> FromRequestParts<S> for Who {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let who = parts.extensions.get::<Self>().cloned();
        Ok(who.expect("the routes that ask who it is are behind `require`"))
    }
}

/// What somebody's credentials say.
enum Caller {
    /// There are none, or they are wrong or expired.
    Unknown,
    /// May look at metrics only.
    Metrics,
    Known(Who),
}

/// What access depends on beyond its settings.
#[derive(Default)]
pub struct Surroundings {
    /// Where people reach the admin listener; empty: where it listens.
    pub public_url: String,
    pub certificates: Certificates,
    /// Where users are kept; a relay has none.
    pub store: Option<Arc<dyn Store>>,
    /// Cancelled when the program was told to end: it is not ready any more.
    pub leaving: CancellationToken,
    /// Cancelled when clients are to be served no longer.
    pub looking: CancellationToken,
}

/// Who is let in.
pub(super) struct Gate {
    in_force: Live<Arc<InForce>>,
    pub(super) accounts: Option<Accounts>,
    /// Browsers reach us by TLS, so that cookies can be for TLS only.
    is_secure: bool,
    pub(super) certificates: Certificates,
    pub(super) leaving: CancellationToken,
    public_url: String,
}

/// The settings, and what is made from them.
pub(super) struct InForce {
    pub(super) settings: Settings,
    metrics_limit: Option<governor::DefaultDirectRateLimiter>,
    cors: Option<CorsLayer>,
}

impl InForce {
    fn new(settings: &Settings) -> Arc<Self> {
        let rate = std::num::NonZeroU32::new(settings.metrics_rate);
        Arc::new(Self {
            metrics_limit: rate
                .map(|rate| governor::RateLimiter::direct(governor::Quota::per_second(rate))),
            cors: guard::cors(&settings.cors_origins),
            settings: settings.clone(),
        })
    }
}

impl Gate {
    pub(super) fn new(settings: &Settings, surroundings: Surroundings) -> Arc<Self> {
        let Surroundings { public_url, certificates, store, leaving, looking: _ } = surroundings;
        let store = store.filter(|_| settings.auth == Auth::Users);
        Arc::new(Self {
            in_force: Live::new(InForce::new(settings)),
            accounts: store.map(|store| Accounts::new(store, settings.session_limits())),
            is_secure: certificates.admin.is_some() || public_url.starts_with("https://"),
            certificates,
            leaving,
            public_url,
        })
    }

    /// One whose settings follow the configuration.
    pub(super) fn following(
        settings: &Settings,
        surroundings: Surroundings,
        reload: &Reload,
    ) -> Arc<Self> {
        let gate = Self::new(settings, surroundings);
        let following = gate.clone();
        reload.follow(move |config| following.use_settings(&config.admin));
        gate
    }

    /// Goes by other settings from the next request on. Whoever is let in stays so to the end of
    /// his request.
    pub(super) fn use_settings(&self, settings: &Settings) {
        if let Some(accounts) = &self.accounts {
            accounts.limits.set(settings.session_limits());
        }
        self.in_force.set(InForce::new(settings));
    }

    /// The settings in force.
    pub(super) fn in_force(&self) -> Arc<InForce> {
        self.in_force.get()
    }

    /// The users, where there are any to be.
    pub(super) fn accounts(&self) -> Result<&Accounts, Problem> {
        self.accounts.as_ref().ok_or_else(|| {
            let auth = self.in_force().settings.auth.name();
            let detail = format!("admin.auth = \"{auth}\": there are no users and API tokens");
            Problem::new(StatusCode::CONFLICT, detail)
        })
    }

    pub(super) fn opens(&self, what: Open) -> bool {
        let settings = &self.in_force().settings;
        settings.auth == Auth::Off || settings.open.contains(&what)
    }

    async fn caller(&self, headers: &HeaderMap) -> Result<Caller, Problem> {
        let settings = &self.in_force().settings;
        if settings.auth == Auth::Off {
            return Ok(Caller::Known(Who::new("anyone", Role::Admin, Kind::Anyone)));
        }
        if carries(&settings.token, headers) {
            return Ok(Caller::Known(Who::new("admin.token", Role::Admin, Kind::Token)));
        }
        if carries(&settings.metrics_token, headers) {
            return Ok(Caller::Metrics);
        }
        let Some(accounts) = &self.accounts else { return Ok(Caller::Unknown) };
        if let Some(given) = given_token(headers) {
            // Whoever gives a wrong token means the token: a cookie beside it does not count.
            let Some(key) = Key::of_token(given) else { return Ok(Caller::Unknown) };
            let found = accounts.store.token(key.digest()).await.map_err(away)?;
            return Ok(found.map_or(Caller::Unknown, |(name, scope)| of_token(&name, scope)));
        }
        let Some(session) = Session::of(headers, self.is_secure) else {
            return Ok(Caller::Unknown);
        };
        Ok(self.known_by(session).await?.map_or(Caller::Unknown, Caller::Known))
    }

    /// Whose session it is.
    pub(super) async fn known_by(&self, session: Session) -> Result<Option<Who>, Problem> {
        let Some(accounts) = &self.accounts else { return Ok(None) };
        let found = accounts.store.session(session.digest(), accounts.limits.get()).await;
        Ok(found.map_err(away)?.map(|(name, role)| {
            let who = Who::new(&name, role, Kind::User);
            Who { session: Some(session), ..who }
        }))
    }

    /// Whether browsers reach us by TLS only.
    pub(super) fn is_secure(&self) -> bool {
        self.is_secure
    }

    /// Whom the credentials of a request belong to, if they are any good.
    pub(super) async fn known(&self, headers: &HeaderMap) -> Result<Option<Who>, Problem> {
        Ok(match self.caller(headers).await? {
            Caller::Known(who) => Some(who),
            Caller::Unknown | Caller::Metrics => None,
        })
    }

    /// Lets in whoever is known and has at least `role`.
    pub(super) async fn admit(
        &self,
        method: &Method,
        headers: &HeaderMap,
        role: Role,
    ) -> Result<Who, Problem> {
        let Some(who) = self.known(headers).await? else {
            count_refusal("credentials");
            return Err(unauthorized());
        };
        if who.role < role {
            count_refusal("role");
            let detail = format!("{} is {}; {role} is needed", who.name, who.role);
            return Err(Problem::new(StatusCode::FORBIDDEN, detail));
        }
        let needs_csrf = who.session.as_ref().filter(|_| !method.is_safe());
        if needs_csrf.is_some_and(|session| !session.has_csrf(headers)) {
            count_refusal("csrf");
            let detail = "X-CSRF-Token: `csrf` of GET /api/session is needed with a cookie";
            return Err(Problem::new(StatusCode::FORBIDDEN, detail));
        }
        Ok(who)
    }

    /// Lets in whoever may look at metrics, so often.
    pub(super) async fn admit_metrics(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let in_force = self.in_force();
        let settings = &in_force.settings;
        let has_own = !settings.metrics_token.is_empty();
        let is_open = self.opens(Open::Metrics) && !has_own;
        let is_known = || async {
            Ok(match settings.auth {
                Auth::Off => {
                    carries(&settings.metrics_token, headers) || carries(&settings.token, headers)
                }
                _ => !matches!(self.caller(headers).await?, Caller::Unknown),
            })
        };
        if !is_open && !is_known().await? {
            count_refusal("credentials");
            return Err(unauthorized());
        }
        match &in_force.metrics_limit {
            Some(limit) if limit.check().is_err() => {
                let detail = format!("more than {} requests a second", settings.metrics_rate);
                Err(too_many(detail, 1))
            }
            _ => Ok(()),
        }
    }
}

fn of_token(name: &str, scope: Scope) -> Caller {
    match scope.role() {
        Some(role) => Caller::Known(Who::new(&format!("token:{name}"), role, Kind::Token)),
        None => Caller::Metrics,
    }
}

/// Lets pass whoever has at least `role`.
pub(super) async fn require(
    State((gate, role)): State<(Arc<Gate>, Role)>,
    mut request: Request,
    next: Next,
) -> Response {
    match gate.admit(request.method(), request.headers(), role).await {
        Ok(who) => {
            request.extensions_mut().insert(who);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

pub(super) fn unauthorized() -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "a session, a bearer token or X-API-Key is needed")
        .with(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
}

fn too_many(detail: impl Into<String>, seconds: u64) -> Problem {
    Problem::new(StatusCode::TOO_MANY_REQUESTS, detail)
        .with(header::RETRY_AFTER, HeaderValue::from(seconds))
}

fn count_refusal(reason: &'static str) {
    counter!("faultline_admin_refused_total", "reason" => reason).increment(1);
}
