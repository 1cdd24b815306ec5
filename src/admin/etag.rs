//! What is polled is sent only when it has changed: a weak `ETag` over each answer of a `GET` under
//! `/api`, and 304 where the client has it already (RFC 9110, section 13.1.2).
//!
//! It works on whole answers, so that no handler need know of it. Streams and files pass untouched;
//! what holds secrets says `Cache-Control: no-store` and is left alone.

use axum::{
    body::{Body, HttpBody, to_bytes},
    extract::Request,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use xxhash_rust::xxh3::xxh3_128;

use crate::problem::Problem;

/// Longer answers are not worth the memory.
const LONGEST: u64 = 8 << 20;

pub(super) async fn etag(request: Request, next: Next) -> Response {
    let is_asked = request.method() == Method::GET && request.uri().path().starts_with("/api/");
    if !is_asked {
        return next.run(request).await;
    }
    let known = request.headers().get_all(header::IF_NONE_MATCH).iter().cloned().collect();
    let answer = next.run(request).await;
    if is_plain(&answer) { with_etag(answer, known).await } else { answer }
}

/// Whether it is there as a whole, and may be kept by whoever asked.
fn is_plain(answer: &Response) -> bool {
    let headers = answer.headers();
    let length = answer.body().size_hint().exact();
    answer.status() == StatusCode::OK
        && length.is_some_and(|length| length <= LONGEST)
        && !headers.contains_key(header::CONTENT_DISPOSITION)
        && !headers.contains_key(header::ETAG)
        && headers.get(header::CACHE_CONTROL).is_none_or(|value| value != "no-store")
}

async fn with_etag(answer: Response, known: Vec<HeaderValue>) -> Response {
    let (mut head, body) = answer.into_parts();
    let limit = usize::try_from(LONGEST).unwrap_or(usize::MAX);
    let Ok(body) = to_bytes(body, limit).await else {
        return Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the answer broke off")
            .into_response();
    };
    let tag = format!("W/\"{:032x}\"", xxh3_128(&body));
    let is_known = known.iter().any(|value| names(value, &tag));
    let tag = HeaderValue::from_str(&tag).expect("a tag is ASCII");
    head.headers.insert(header::ETAG, tag);
    // It may be kept, and is asked for each time.
    head.headers
        .entry(header::CACHE_CONTROL)
        .or_insert_with(|| HeaderValue::from_static("no-cache"));
    if is_known {
        let mut headers = HeaderMap::new();
        for name in [header::ETAG, header::CACHE_CONTROL, header::VARY] {
            if let Some(value) = head.headers.remove(&name) {
                headers.insert(name, value);
            }
        }
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    Response::from_parts(head, Body::from(body))
}

/// Whether a field `If-None-Match` names the tag: `*`, or a list, compared weakly.
fn names(field: &HeaderValue, tag: &str) -> bool {
    let Ok(field) = field.to_str() else { return false };
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    field.trim() == "*" || field.split(',').any(|one| opaque(one) == opaque(tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_compared_weakly_in_lists() {
        let tag = "W/\"17\"";
        for (field, is_named) in [
            ("W/\"17\"", true),
            ("\"17\"", true),
            ("\"1\", W/\"17\"", true),
            ("*", true),
            ("\"1\"", false),
            ("17", false),
            ("", false),
        ] {
            assert_eq!(names(&HeaderValue::from_static(field), tag), is_named, "{field}");
        }
    }
}
