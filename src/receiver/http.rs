//! The receiver's HTTP side.
//!
//! A handler checks who sends, reads the body, counts its messages, has the spool keep it, and
//! answers. What is wrong with single messages is found out later, by the parser: a 4xx makes
//! Logplex drop a whole frame, so a drain is refused only for what the whole request lacks.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header, request::Parts},
    response::{IntoResponse, Response},
    routing::post,
};
use faultline_actors::{
    adapters::{
        clock,
        journal::{AppendError, Appended, Journal, spool::Spool},
    },
    domain::{
        error_report,
        event::Source,
        parse::count_messages,
        record::{Meta, NewRecord, RecordId},
        shape::Shape,
    },
    stage::Live,
};
use serde::Serialize;
use tokio::sync::oneshot;

use super::{
    Ack, Settings, auth,
    body::{BodyError, Bounds},
};
use crate::problem::Problem;

/// What the handlers share. A request is handled by the one that was in force when it came.
pub struct Receiver {
    settings: Settings,
    bounds: Bounds,
    spool: Arc<Spool>,
}

impl Receiver {
    #[must_use]
    pub fn new(settings: &Settings, spool: Arc<Spool>) -> Self {
        let bounds = Bounds::new(
            usize::try_from(settings.body_limit.as_u64()).unwrap_or(usize::MAX),
            settings.body_timeout,
            usize::try_from(settings.inflight_limit.as_u64()).unwrap_or(usize::MAX),
        );
        Self { settings: settings.clone(), bounds, spool }
    }

    /// The same with other settings. Where `inflight_limit` changes, the requests that are under way
    /// count against the old one to their end.
    #[must_use]
    pub fn renewed(&self, settings: &Settings) -> Self {
        let mut renewed = Self::new(settings, self.spool.clone());
        if settings.inflight_limit == self.settings.inflight_limit {
            renewed.bounds.budget = self.bounds.budget.clone();
        }
        renewed
    }
}

/// The receiver in force.
pub type LiveReceiver = Live<Arc<Receiver>>;

/// A receiver that goes by these settings so far.
#[must_use]
pub fn live(settings: &Settings, spool: Arc<Spool>) -> LiveReceiver {
    Live::new(Arc::new(Receiver::new(settings, spool)))
}

/// The routes of the receiver.
pub fn router(receiver: LiveReceiver) -> Router {
    Router::new()
        .route("/logdrains", post(logdrains))
        .route("/errors/log", post(errors))
        .route("/api/v1/errors/log", post(errors))
        .route("/maxwell", post(maxwell))
        .fallback(async || Problem::new(StatusCode::NOT_FOUND, "there is nothing here"))
        .method_not_allowed_fallback(async || {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "only POST is possible here")
        })
        .with_state(receiver)
}

/// `POST /logdrains`: frames of a Heroku log drain.
async fn logdrains(State(receiver): State<LiveReceiver>, request: Request) -> Response {
    receiver.get().answer("/logdrains", Source::Logdrains, request).await
}

/// `POST /errors/log`: one error report, or an array of them.
async fn errors(State(receiver): State<LiveReceiver>, request: Request) -> Response {
    receiver.get().answer("/errors/log", Source::Errors, request).await
}

/// `POST /maxwell`: lines of Maxwell's stream.
async fn maxwell(State(receiver): State<LiveReceiver>, request: Request) -> Response {
    receiver.get().answer("/maxwell", Source::Maxwell, request).await
}

/// The statuses that a receiver answers with; a label without allocation.
fn status_label(status: StatusCode) -> &'static str {
    match status.as_u16() {
        200 => "200",
        204 => "204",
        400 => "400",
        401 => "401",
        403 => "403",
        408 => "408",
        413 => "413",
        415 => "415",
        503 => "503",
        _ => "other",
    }
}

impl Receiver {
    /// Handles a request; measures and counts the answer.
    async fn answer(&self, path: &'static str, source: Source, request: Request) -> Response {
        let started = Instant::now();
        let (parts, mut body) = request.into_parts();
        let outcome = match source {
            Source::Logdrains => self.drain(&parts, &mut body).await,
            Source::Errors => self.errors(&parts, &mut body).await,
            Source::Maxwell => self.maxwell(&parts, &mut body).await,
            // No path leads here.
            Source::Bucket => Err(Problem::new(StatusCode::NOT_FOUND, "there is no such path")),
        };
        let response = match outcome {
            Ok(response) => response,
            Err(problem) => {
                let response = problem.into_response();
                // Who waits to be told to go on sends nothing, and who is late has had its time.
                let is_late = response.status() == StatusCode::REQUEST_TIMEOUT;
                if !is_late && !parts.headers.contains_key(header::EXPECT) {
                    self.bounds.discard(&mut body).await;
                }
                response
            }
        };
        let took = started.elapsed();
        metrics::histogram!("faultline_http_request_seconds", "path" => path).record(took);
        let status = status_label(response.status());
        metrics::counter!("faultline_http_requests_total", "path" => path, "status" => status)
            .increment(1);
        response
    }

    async fn drain(&self, parts: &Parts, body: &mut Body) -> Result<Response, Problem> {
        let drain = auth::drain(&self.settings.drains, &parts.headers).map_err(refusal)?;
        require_content_type(&parts.headers, &["application/logplex-1"])?;
        let bytes = self.bounds.read(&parts.headers, body).await.map_err(self.unreadable())?;
        let messages = count_messages(Source::Logdrains, &bytes);
        if messages == 0 {
            return Ok(StatusCode::NO_CONTENT.into_response());
        }
        let text = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
        let drain_token = text("logplex-drain-token").unwrap_or_default();
        let query = Query::of(&parts.uri);
        let configured =
            |get: fn(&auth::Drain) -> &str| drain.map(get).filter(|name| !name.is_empty());
        let anonymous = anonymous_service(drain_token);
        let service =
            configured(|drain| &drain.service).or(query.service.as_deref()).unwrap_or(&anonymous);
        let environment =
            configured(|drain| &drain.environment).or(query.environment.as_deref()).unwrap_or("");
        let meta = Meta {
            sender_is_logplex: text("user-agent")
                .is_some_and(|agent| agent.starts_with("Logplex/")),
            environment,
            service,
            overlong: 0,
            replay: None,
        };
        let id = match text("logplex-frame-id") {
            Some(frame) if !frame.is_empty() => {
                RecordId::new(Source::Logdrains, drain_token, frame)
            }
            _ => RecordId::NONE,
        };
        let record = NewRecord {
            source: Source::Logdrains,
            received_at: clock::now(),
            messages,
            id,
            meta: meta.encode(),
            body: bytes,
        };
        self.keep(record).await?;
        Ok(StatusCode::NO_CONTENT.into_response())
    }

    async fn errors(&self, parts: &Parts, body: &mut Body) -> Result<Response, Problem> {
        self.require_token(&parts.headers)?;
        require_content_type(&parts.headers, &["application/json"])?;
        let bytes = self.bounds.read(&parts.headers, body).await.map_err(self.unreadable())?;
        let reports = error_report::parse(&bytes).map_err(|error| {
            Problem::new(StatusCode::BAD_REQUEST, error.to_string()).at(error.pointer)
        })?;
        let mut queued = reports.iter().map(|report| Queued::new(&report.shape()));
        let answer = if bytes.trim_ascii_start().starts_with(b"[") {
            serde_json::to_vec(&queued.collect::<Vec<_>>())
        } else {
            serde_json::to_vec(&queued.next())
        };
        let messages = u32::try_from(reports.len()).unwrap_or(u32::MAX);
        drop(reports);
        self.keep_body(Source::Errors, messages, &parts.headers, &parts.uri, bytes).await?;
        let json = HeaderValue::from_static("application/json");
        let answer = answer.expect("two strings have a JSON form");
        Ok(([(header::CONTENT_TYPE, json)], answer).into_response())
    }

    async fn maxwell(&self, parts: &Parts, body: &mut Body) -> Result<Response, Problem> {
        self.require_token(&parts.headers)?;
        let types =
            ["application/x-ndjson", "application/ndjson", "application/json", "text/plain"];
        require_content_type(&parts.headers, &types)?;
        let bytes = self.bounds.read(&parts.headers, body).await.map_err(self.unreadable())?;
        let messages = count_messages(Source::Maxwell, &bytes);
        if messages > 0 {
            self.keep_body(Source::Maxwell, messages, &parts.headers, &parts.uri, bytes).await?;
        }
        Ok(StatusCode::NO_CONTENT.into_response())
    }

    async fn keep_body(
        &self,
        source: Source,
        messages: u32,
        headers: &HeaderMap,
        uri: &Uri,
        body: bytes::Bytes,
    ) -> Result<(), Problem> {
        let query = Query::of(uri);
        let meta = Meta {
            environment: query.environment.as_deref().unwrap_or(""),
            service: query.service.as_deref().unwrap_or(""),
            ..Meta::default()
        };
        let id = match headers.get("idempotency-key").and_then(|value| value.to_str().ok()) {
            Some(key) if !key.is_empty() => RecordId::new(source, "", key),
            _ => RecordId::NONE,
        };
        let received_at = clock::now();
        let record = NewRecord { source, received_at, messages, id, meta: meta.encode(), body };
        self.keep(record).await
    }

    /// Has the spool keep a record. With `ack = "received"` that is not waited for.
    async fn keep(&self, record: NewRecord) -> Result<(), Problem> {
        let kept = async {
            match self.settings.ack {
                Ack::Durable => self.spool.append(record).await,
                Ack::Received => {
                    if let Some(error) = self.spool.refuses() {
                        return Err(error);
                    }
                    let (source, messages) = (record.source, record.messages);
                    let outcome = self.spool.enqueue(record).await?;
                    tokio::spawn(count_if_lost(source, messages, outcome));
                    Ok(Appended::New)
                }
            }
        };
        match tokio::time::timeout(self.settings.append_timeout, kept).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error @ AppendError::TooLarge(_))) => {
                Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, error.to_string()))
            }
            Ok(Err(error)) => Err(self.come_again(&error.to_string())),
            Err(_) => Err(self.come_again("the spool takes too long")),
        }
    }

    fn require_token(&self, headers: &HeaderMap) -> Result<(), Problem> {
        if auth::has_token(&self.settings.token, headers) {
            return Ok(());
        }
        let problem =
            Problem::new(StatusCode::UNAUTHORIZED, "a bearer token or X-API-Key is needed");
        Err(problem.with(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")))
    }

    fn come_again(&self, why: &str) -> Problem {
        let seconds = self.settings.retry_after.as_secs().max(1);
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, format!("not accepted: {why}"))
            .with(header::RETRY_AFTER, HeaderValue::from(seconds))
    }

    fn unreadable(&self) -> impl Fn(BodyError) -> Problem + '_ {
        |error| {
            let status = match error {
                BodyError::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
                BodyError::TimedOut(_) => StatusCode::REQUEST_TIMEOUT,
                BodyError::Encoding(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
                BodyError::Broken(_) | BodyError::Gzip(_) => StatusCode::BAD_REQUEST,
                BodyError::Overloaded => return self.come_again(&error.to_string()),
            };
            Problem::new(status, error.to_string())
        }
    }
}

/// The price of `ack = "received"`: what the spool refuses after its client was answered is lost.
async fn count_if_lost(
    source: Source,
    messages: u32,
    outcome: oneshot::Receiver<Result<Appended, AppendError>>,
) {
    let error = match outcome.await {
        Ok(Ok(_)) => return,
        Ok(Err(error)) => error,
        // It was queued behind the end.
        Err(_) => AppendError::Closed,
    };
    let source = source.name();
    metrics::counter!("faultline_lost_messages_total", "source" => source)
        .increment(messages.into());
    tracing::error!(source, messages, %error, "lost: its client was answered before");
}

/// The answer to a report.
#[derive(Serialize)]
struct Queued {
    status: &'static str,
    fingerprint: String,
}

impl Queued {
    fn new(shape: &Shape) -> Self {
        Self { status: "queued", fingerprint: shape.fingerprint.to_string() }
    }
}

/// `?environment=…&service=…`: Logplex keeps a drain URL's query.
#[derive(Default)]
struct Query {
    environment: Option<String>,
    service: Option<String>,
}

impl Query {
    fn of(uri: &Uri) -> Self {
        let mut query = Self::default();
        let Some(text) = uri.query() else { return query };
        for (key, value) in form_urlencoded::parse(text.as_bytes()) {
            let name = || Some(value.replace('\0', "")).filter(|name| !name.is_empty());
            match &*key {
                "environment" | "env" => query.environment = name(),
                "service" | "app" => query.service = name(),
                _ => {}
            }
        }
        query
    }
}

/// A drain that nobody named is known by a digest of its token, which is no secret.
fn anonymous_service(drain_token: &str) -> String {
    if drain_token.is_empty() {
        return String::new();
    }
    let RecordId(digest) = RecordId::new(Source::Logdrains, "service", drain_token);
    format!("drain-{:02x}{:02x}{:02x}{:02x}", digest[0], digest[1], digest[2], digest[3])
}

fn refusal(refusal: auth::Refusal) -> Problem {
    match refusal {
        auth::Refusal::Unauthorized => Problem::new(
            StatusCode::UNAUTHORIZED,
            "the drain's user and password are needed",
        )
        .with(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"faultline\"")),
        auth::Refusal::Forbidden => {
            Problem::new(StatusCode::FORBIDDEN, "this drain is not on the list")
        }
    }
}

fn require_content_type(headers: &HeaderMap, accepted: &[&str]) -> Result<(), Problem> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = given.unwrap_or("").split(';').next().unwrap_or("").trim();
    if accepted.iter().any(|accepted| essence.eq_ignore_ascii_case(accepted)) {
        return Ok(());
    }
    let detail = format!("content-type {essence:?}: {} is needed", accepted.join(" or "));
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail))
}

/// Where a listener is bound, for the log.
pub fn announce(settings: &Settings, address: SocketAddr) {
    tracing::info!(%address, "the receiver listens");
    if settings.ack == Ack::Received {
        tracing::warn!(
            "receiver.ack = \"received\": clients are answered before their data is on disk; a \
             crash loses what is on its way there"
        );
    }
}

#[cfg(test)]
mod tests;
