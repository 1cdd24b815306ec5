//! `POST /webhooks/jira`: Jira tells of tickets that changed.
//!
//! The promise is that of the store: 204 when it is written, 503 when it cannot be; Jira sends it
//! again then. Whatever is missed, the ticket watch finds out by asking. Jira signs the body with
//! the webhook's secret: `X-Hub-Signature: sha256=…`, an HMAC-SHA256 ("Webhooks", Jira Cloud
//! developer documentation, "Secure your webhook").

use std::sync::Arc;

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use faultline_actors::{
    adapters::{
        jira::{News, Settings, news_of_webhook},
        store::Store,
    },
    domain::secret::Secret,
    stage::Live,
};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::problem::Problem;

/// A ticket with all its fields and comments is far below that.
const BODY_LIMIT: usize = 2 << 20;

struct Webhook {
    settings: Live<Arc<Settings>>,
    store: Arc<dyn Store>,
}

/// The route; while there is no secret it is as if there were none.
pub fn router(settings: Live<Arc<Settings>>, store: Arc<dyn Store>) -> Router {
    let webhook = Webhook { settings, store };
    Router::new()
        .route("/webhooks/jira", post(take))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(Arc::new(webhook))
}

async fn take(State(webhook): State<Arc<Webhook>>, headers: HeaderMap, body: Bytes) -> Response {
    let secret = webhook.settings.get().webhook_secret.clone();
    if secret.is_empty() {
        return Problem::new(StatusCode::NOT_FOUND, "there is nothing here").into_response();
    }
    if !is_signed(&secret, &headers, &body) {
        let detail = "X-Hub-Signature does not fit the body";
        return Problem::new(StatusCode::UNAUTHORIZED, detail).into_response();
    }
    let written = match news_of_webhook(&body) {
        Ok(News::Changed(seen)) => webhook.store.tickets_seen(&[seen.into()]).await.map(drop),
        Ok(News::Deleted(key)) => webhook.store.ticket_gone(&key).await,
        // Jira tells of other things, too.
        Ok(News::Other) => Ok(()),
        Err(problem) => return Problem::new(StatusCode::BAD_REQUEST, problem).into_response(),
    };
    match written {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => {
            let detail = format!("the store does not answer: {error}");
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).into_response()
        }
    }
}

/// In constant time.
fn is_signed(secret: &Secret, headers: &HeaderMap, body: &[u8]) -> bool {
    let given = headers.get("x-hub-signature").and_then(|value| value.to_str().ok());
    let Some(digits) = given.and_then(|given| given.strip_prefix("sha256=")) else { return false };
    let Some(signature) = bytes_of(digits) else { return false };
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()) else {
        return false;
    };
    mac.update(body);
    mac.verify_slice(&signature).is_ok()
}

fn bytes_of(digits: &str) -> Option<Vec<u8>> {
    if !digits.len().is_multiple_of(2) || !digits.is_ascii() {
        return None;
    }
    (0..digits.len() / 2)
        .map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of GitHub's "Validating webhook deliveries", whose signature is made likewise.
    #[test]
    fn a_signature_fits_its_body_only() {
        let secret = Secret::new("It's a Secret to Everybody");
        let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let headers = |value: &str| {
            let mut headers = HeaderMap::new();
            if let Ok(value) = value.parse() {
                headers.insert("X-Hub-Signature", value);
            }
            headers
        };
        assert!(is_signed(&secret, &headers(signature), b"Hello, World!"));
        assert!(!is_signed(&secret, &headers(signature), b"Hello, World?"));
        assert!(!is_signed(&Secret::new("x"), &headers(signature), b"Hello, World!"));
        for wrong in ["", "sha256=", "sha256=75", "sha256=zz", "sha256=é", "sha1=75"] {
            assert!(!is_signed(&secret, &headers(wrong), b"Hello, World!"), "{wrong}");
        }
    }
}
