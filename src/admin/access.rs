//! Who may look, and who may act.

use std::{convert::Infallible, sync::Arc};

use axum::{
    extract::{FromRequestParts, Request, State},
    http::{HeaderValue, StatusCode, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Admin, Auth, Settings};
use crate::{problem::Problem, receiver::auth::carries};

/// What somebody may do; each role may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// Look.
    Viewer,
    /// Steer faults, tickets and jobs.
    Operator,
    /// Let others in.
    Admin,
}

impl Role {
    pub(crate) const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Admin];

    #[must_use]
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

/// Who sent a request that was let in.
#[derive(Clone, Debug)]
pub(crate) struct Who {
    name: Arc<str>,
    role: Role,
}

impl Who {
    fn new(name: &str, role: Role) -> Self {
        Self { name: name.into(), role }
    }

    /// As the audit trail says it.
    pub(crate) fn name(&self) -> &str {
        &self.name
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

/// Who is let in.
pub(super) struct Gate {
    pub(super) settings: Settings,
    pub(super) metrics_limit: Option<governor::DefaultDirectRateLimiter>,
}

impl Gate {
    pub(super) fn new(settings: &Settings) -> Self {
        let rate = std::num::NonZeroU32::new(settings.metrics_rate);
        Self {
            settings: settings.clone(),
            metrics_limit: rate
                .map(|rate| governor::RateLimiter::direct(governor::Quota::per_second(rate))),
        }
    }

    pub(super) fn check(&self, request: &Request) -> Result<Who, Problem> {
        if self.settings.auth == Auth::Off {
            return Ok(Who::new("anyone", Role::Admin));
        }
        if carries(&self.settings.token, request.headers()) {
            return Ok(Who::new("admin.token", Role::Admin));
        }
        Err(unauthorized())
    }
}

/// Lets pass whoever has at least `role`.
pub(super) async fn require(
    State((admin, role)): State<(Arc<Admin>, Role)>,
    mut request: Request,
    next: Next,
) -> Response {
    match admin.gate.check(&request) {
        Ok(who) if who.role >= role => {
            request.extensions_mut().insert(who);
            next.run(request).await
        }
        Ok(who) => {
            let detail = format!("{} is {}; {} is needed", who.name, who.role.name(), role.name());
            Problem::new(StatusCode::FORBIDDEN, detail).into_response()
        }
        Err(problem) => problem.into_response(),
    }
}

pub(super) fn unauthorized() -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "a bearer token or X-API-Key is needed")
        .with(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
}
