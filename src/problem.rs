//! Errors as clients see them: `application/problem+json` (RFC 9457).

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

/// Something a client did, or ran into.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    detail: String,
    pointer: Option<String>,
    headers: Box<HeaderMap>,
}

/// What a problem looks like.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct Content<'a> {
    title: &'a str,
    status: u16,
    /// What was wrong, and what would be right.
    detail: &'a str,
    /// Where in the body; a JSON pointer (RFC 6901).
    #[serde(skip_serializing_if = "Option::is_none")]
    pointer: Option<&'a str>,
}

impl Problem {
    /// `detail` says what was wrong and what would be right.
    #[must_use]
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), pointer: None, headers: Box::default() }
    }

    #[must_use]
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// Names the place in the body.
    #[must_use]
    pub(crate) fn at(mut self, pointer: String) -> Self {
        self.pointer = Some(pointer);
        self
    }

    #[must_use]
    pub(crate) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let content = Content {
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: &self.detail,
            pointer: self.pointer.as_deref(),
        };
        let body = serde_json::to_vec(&content).expect("strings have a JSON form");
        let json = HeaderValue::from_static("application/problem+json");
        (self.status, *self.headers, [(header::CONTENT_TYPE, json)], body).into_response()
    }
}
