//! Sends a request: signed, bounded in time and size, again while the server is overloaded or away.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use reqwest::{Client, Response, StatusCode, Url, header};

use super::{
    failure::Failure,
    settings::Settings,
    sign::{Credentials, Dialect, Request, canonical_query, escape, sign},
    xml,
};
use crate::{
    adapters::{clock, http},
    domain::{
        calls::{Calls, Ended},
        retry::Backoff,
        time::Micros,
    },
};

/// A thousand objects with keys of 1,024 bytes, each byte escaped, take about half of it.
const MAX_ANSWER: usize = 8 << 20;
/// A server may ask for so long a wait, at most.
const MAX_WAIT: Duration = Duration::from_secs(30);

pub(super) struct Sender {
    client: Client,
    credentials: Credentials,
    dialect: Dialect,
    is_in_host: bool,
    tries: u32,
    retry: (Duration, Duration),
    calls: Arc<Calls>,
}

/// What is asked.
pub(super) struct Asked<'a> {
    /// For metrics.
    pub operation: &'static str,
    pub base: &'a Url,
    pub region: &'a str,
    /// Empty: of the account.
    pub bucket: &'a str,
    pub query: &'a [(&'a str, &'a str)],
}

/// A failure, and how long the server wants to be left alone.
struct Failed(Failure, Option<Duration>);

impl From<Failure> for Failed {
    fn from(failure: Failure) -> Self {
        Self(failure, None)
    }
}

impl Sender {
    pub(super) fn new(settings: &Settings, base: &Url) -> Result<Self, String> {
        let connect = settings.request_timeout.min(Duration::from_secs(10));
        let client = http::client(base, connect, settings.request_timeout)
            .pool_idle_timeout(Duration::from_mins(1));
        Ok(Self {
            client: client.build().map_err(|error| format!("the HTTP client: {error}"))?,
            credentials: Credentials {
                key_id: settings.access_key_id.clone(),
                secret: settings.access_key_secret.clone(),
                session_token: settings.session_token.clone(),
            },
            dialect: settings.kind.dialect(),
            is_in_host: settings.is_in_host(base),
            tries: settings.tries,
            retry: (settings.retry_first, settings.retry_cap),
            calls: Arc::default(),
        })
    }

    /// Counts calls there from now on.
    pub(super) fn count_in(&mut self, calls: Arc<Calls>) {
        self.calls = calls;
    }

    /// Asks, and has the answer read.
    pub(super) async fn ask<T>(
        &self,
        asked: &Asked<'_>,
        read: impl Fn(&[u8]) -> Result<T, String>,
    ) -> Result<T, Failure> {
        let mut backoff = Backoff::new(self.retry.0, self.retry.1);
        loop {
            let started = Instant::now();
            let outcome = self.try_once(asked).await.and_then(|body| {
                read(&body).map_err(|problem| Failure::Unreadable(problem).into())
            });
            self.count(started, outcome.as_ref().err().map(|Failed(failure, _)| failure));
            let Failed(failure, wanted) = match outcome {
                Ok(read) => return Ok(read),
                Err(failed) => failed,
            };
            let wait = backoff.next_wait(fastrand::f64()).max(wanted.unwrap_or_default());
            if !failure.is_passing() || backoff.failures() >= self.tries {
                return Err(failure);
            }
            tracing::debug!(operation = asked.operation, bucket = asked.bucket, %failure, "again");
            tokio::time::sleep(wait.min(MAX_WAIT)).await;
        }
    }

    fn count(&self, started: Instant, failure: Option<&Failure>) {
        let words = failure.map(ToString::to_string).unwrap_or_default();
        let ended = match failure {
            None => Ended::Well,
            Some(Failure::Credentials(_) | Failure::Forbidden(_)) => Ended::Unauthorized(&words),
            Some(_) => Ended::Failed(&words),
        };
        self.calls.ended(clock::now(), started.elapsed(), ended);
    }

    async fn try_once(&self, asked: &Asked<'_>) -> Result<Vec<u8>, Failed> {
        let count = |status: &str| {
            let labels = [("operation", asked.operation.to_owned()), ("status", status.to_owned())];
            metrics::counter!("faultline_bucket_requests_total", &labels).increment(1);
        };
        let sent = self.request(asked)?.send().await;
        let mut response = sent.map_err(|error| {
            let error = error.without_url();
            count(if error.is_timeout() { "timeout" } else { "unreachable" });
            Failure::Unreachable(describe(&error))
        })?;
        let status = response.status();
        count(status.as_str());
        let headers = std::mem::take(response.headers_mut());
        let body = read_body(response).await;
        if status == StatusCode::OK {
            return Ok(body?);
        }
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let mut refusal = xml::refusal(&body.unwrap_or_default());
        // S3 says it here, too.
        if let Some(region) = text("x-amz-bucket-region").filter(|told| *told != asked.region) {
            region.clone_into(&mut refusal.region);
        }
        let theirs = text(header::DATE.as_str()).and_then(parse_http_date);
        let wait = text(header::RETRY_AFTER.as_str()).and_then(|seconds| seconds.parse().ok());
        let failure = Failure::of_answer(status.as_u16(), &refusal, theirs, clock::now());
        Err(Failed(failure, wait.map(Duration::from_secs)))
    }

    fn request(&self, asked: &Asked<'_>) -> Result<reqwest::RequestBuilder, Failure> {
        let mut url = asked.base.clone();
        let is_in_host = self.is_in_host && !asked.bucket.is_empty();
        let unusable = || Failure::Refused("the bucket's name cannot be part of a URL".to_owned());
        if is_in_host {
            let host = url.host_str().unwrap_or_default();
            let host = format!("{}.{host}", asked.bucket);
            url.set_host(Some(&host)).map_err(|_| unusable())?;
        }
        let path = match (asked.bucket, is_in_host) {
            ("", _) | (_, true) => "/".to_owned(),
            (bucket, false) => format!("/{bucket}"),
        };
        let resource = match asked.bucket {
            "" => "/".to_owned(),
            bucket => format!("/{bucket}/"),
        };
        url.set_path(&escape(&path, "/"));
        url.set_query(Some(&canonical_query(asked.query)));
        let host = url.host_str().unwrap_or_default();
        let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let request = Request {
            method: "GET",
            host: &host,
            path: &path,
            resource: &resource,
            query: asked.query,
            headers: &[],
        };
        let signed = sign(self.dialect, &self.credentials, asked.region, &request, clock::now());
        let mut builder = self.client.get(url);
        for (name, value) in signed {
            let mut value = header::HeaderValue::from_str(&value).map_err(|_| unusable())?;
            value.set_sensitive(true);
            builder = builder.header(name, value);
        }
        Ok(builder)
    }
}

async fn read_body(mut response: Response) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > MAX_ANSWER => {
                let problem = format!("it is longer than {MAX_ANSWER} bytes");
                return Err(Failure::Unreadable(problem));
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return Ok(body),
            Err(error) => {
                return Err(Failure::Unreadable(describe(&error.without_url())));
            }
        }
    }
}

/// With the innermost cause, which says what happened.
fn describe(error: &reqwest::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    if error.is_timeout() { "no answer in time".to_owned() } else { innermost.to_string() }
}

/// `Sun, 22 Nov 2026 03:00:00 GMT` (RFC 9110, section 5.6.7).
fn parse_http_date(text: &str) -> Option<Micros> {
    let time = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(time.timestamp().as_microsecond())
}
