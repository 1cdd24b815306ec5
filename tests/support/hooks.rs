//! A server that webhooks are sent to: it verifies signatures as README says.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
};
use faultline_actors::{
    adapters::webhook::{self, SIGNATURE},
    domain::secret::Secret,
};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;

#[derive(Default)]
struct Seen {
    secret: String,
    to_fail: AtomicUsize,
    /// Path and number of each.
    tries: Mutex<Vec<(String, String)>>,
    taken: Mutex<Vec<(String, Value)>>,
}

/// See the [module](self). Ends with the runtime that it was started in.
pub(crate) struct Hooks {
    address: std::net::SocketAddr,
    seen: Arc<Seen>,
}

impl Hooks {
    pub(crate) async fn start(secret: &str) -> Self {
        let seen = Arc::new(Seen { secret: secret.to_owned(), ..Seen::default() });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(take).with_state(seen.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, seen }
    }

    pub(crate) fn slack(&self) -> webhook::SlackSettings {
        let url = Secret::new(format!("http://{}/slack", self.address));
        webhook::SlackSettings { url, ..webhook::SlackSettings::default() }
    }

    pub(crate) fn webhook(&self) -> webhook::Settings {
        webhook::Settings {
            url: Secret::new(format!("http://{}/hook", self.address)),
            secret: Secret::new(self.seen.secret.clone()),
            ..webhook::Settings::default()
        }
    }

    /// Answers the next requests with 500.
    pub(crate) fn fail_next(&self, count: usize) {
        self.seen.to_fail.store(count, Ordering::SeqCst);
    }

    pub(crate) fn tries(&self) -> Vec<(String, String)> {
        self.seen.tries.lock().unwrap().clone()
    }

    pub(crate) fn taken(&self, path: &str) -> Vec<Value> {
        let taken = self.seen.taken.lock().unwrap();
        taken.iter().filter(|(to, _)| to == path).map(|(_, body)| body.clone()).collect()
    }
}

async fn take(
    State(seen): State<Arc<Seen>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let header = |name: &str| headers.get(name).map_or("", |value| value.to_str().unwrap());
    let id = header("Idempotency-Key").to_owned();
    assert_eq!(id, header("X-Faultline-Delivery"));
    seen.tries.lock().unwrap().push((uri.path().to_owned(), id));
    if uri.path() == "/hook" && !is_signed(&seen.secret, header(SIGNATURE), &body) {
        return StatusCode::UNAUTHORIZED;
    }
    let fails = |left: usize| left.checked_sub(1);
    if seen.to_fail.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fails).is_ok() {
        return StatusCode::INTERNAL_SERVER_ERROR;
    }
    let body = serde_json::from_slice(&body).unwrap();
    seen.taken.lock().unwrap().push((uri.path().to_owned(), body));
    StatusCode::OK
}

/// `t=SECONDS,v1=HEX`
fn is_signed(secret: &str, signature: &str, body: &[u8]) -> bool {
    let Some((time, given)) = signature.strip_prefix("t=").and_then(|it| it.split_once(",v1="))
    else {
        return false;
    };
    let now = faultline_actors::adapters::clock::now() / 1_000_000;
    if time.parse::<i64>().is_ok_and(|time| (now - time).abs() > 300) {
        return false;
    }
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(time.as_bytes());
    mac.update(b".");
    mac.update(body);
    let bytes: Option<Vec<u8>> = (0..given.len() / 2)
        .map(|at| u8::from_str_radix(given.get(2 * at..2 * at + 2)?, 16).ok())
        .collect();
    bytes.is_some_and(|bytes| mac.verify_slice(&bytes).is_ok())
}
