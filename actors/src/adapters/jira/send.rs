//! Sends one request: in its turn, with credentials, bounded in time and size, once.
//!
//! Nothing is repeated here and no redirect followed: whether a request may be sent again is for
//! those to decide who know what it does.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use reqwest::{Client, Method, RequestBuilder, StatusCode, Url};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    failure::{self, Failure, Limit},
    limit,
    pace::Pace,
    settings::{Api, Settings},
    throttle::{Endpoint, Throttle},
};
use crate::{
    adapters::{clock, http},
    domain::{
        calls::{Calls, Ended},
        secret::Secret,
        time::{Micros, later},
    },
};

/// The most of an answer that is read.
const MAX_ANSWER: usize = 1 << 20;

pub(super) struct Sender {
    client: Client,
    base: Url,
    api: Api,
    email: String,
    token: Secret,
    pat: Secret,
    throttle: Mutex<Throttle>,
    pace: Pace,
    calls: Arc<Calls>,
}

impl fmt::Debug for Sender {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Sender").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

/// A request.
pub(super) struct Call<'a> {
    pub(super) endpoint: Endpoint,
    pub(super) method: Method,
    /// Behind `/rest/api/3/`, each segment as it is.
    pub(super) path: &'a [&'a str],
    pub(super) query: Vec<(&'static str, String)>,
    /// The ticket that is read or written.
    pub(super) ticket: Option<&'a str>,
    pub(super) body: Option<Value>,
}

impl<'a> Call<'a> {
    pub(super) fn get(endpoint: Endpoint, path: &'a [&'a str]) -> Self {
        let method = Method::GET;
        Self { endpoint, method, path, query: Vec::new(), ticket: None, body: None }
    }

    pub(super) fn post(endpoint: Endpoint, path: &'a [&'a str], body: Value) -> Self {
        let body = Some(body);
        Self { endpoint, method: Method::POST, path, query: Vec::new(), ticket: None, body }
    }

    pub(super) fn about(self, ticket: &'a str) -> Self {
        Self { ticket: Some(ticket), ..self }
    }

    pub(super) fn with(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        self.query.push((name, format!("{value}")));
        self
    }
}

/// An answer that says success, or one that the caller reads himself.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    body: Vec<u8>,
}

impl Answer {
    /// An answer that cannot be read may stand for a thing that was done.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_slice(&self.body).map_err(|error| {
            Failure::Unknown(format!("Jira's answer ({}) cannot be read: {error}", self.status))
        })
    }
}

impl Sender {
    pub(super) fn new(settings: &Settings) -> Result<Self, String> {
        settings.validate()?;
        let Some(base) = settings.base()? else {
            return Err("url = \"\": without it nothing can be sent".to_owned());
        };
        let client = http::client(&base, settings.connect_timeout, settings.request_timeout)
            .pool_idle_timeout(Duration::from_secs(30));
        Ok(Self {
            client: client.build().map_err(|error| format!("the HTTP client: {error}"))?,
            base,
            api: settings.api(),
            email: settings.email.clone(),
            token: settings.token.clone(),
            pat: settings.pat.clone(),
            throttle: Mutex::default(),
            pace: Pace::new(settings.rate_per_second, settings.rate_per_hour),
            calls: Arc::default(),
        })
    }

    /// Counts calls there from now on.
    pub(super) fn count_in(&mut self, calls: Arc<Calls>) {
        self.calls = calls;
    }

    pub(super) fn set_hubs(&self, hubs: u32) {
        self.pace.set_hubs(hubs);
    }

    pub(super) fn set_rates(&self, per_second: u32, per_hour: u32) {
        self.pace.set_rates(per_second, per_hour);
    }

    /// Reads or changes what has to wait.
    pub(super) fn throttle<T>(&self, act: impl FnOnce(&mut Throttle) -> T) -> T {
        act(&mut self.throttle.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sends; success is any 2xx.
    pub(super) async fn send(&self, call: Call<'_>) -> Result<Answer, Failure> {
        self.send_expecting(call, StatusCode::is_success).await
    }

    /// Sends; what `is_answer` accepts is not a failure yet.
    pub(super) async fn send_expecting(
        &self,
        call: Call<'_>,
        is_answer: impl Fn(&StatusCode) -> bool,
    ) -> Result<Answer, Failure> {
        self.wait_turn(&call).await?;
        let started = Instant::now();
        let endpoint = call.endpoint;
        let outcome = self.send_now(call, is_answer).await.map_err(|failure| match failure {
            // Every account may ask whose it is: that is said of the account, not of the request.
            Failure::Forbidden(words) if endpoint == Endpoint::Myself => {
                Failure::Unauthorized(words)
            }
            failure => failure,
        });
        let ended = outcome.as_ref().err().map(|failure| (failure, failure.to_string()));
        let ended = match &ended {
            None => Ended::Well,
            Some((Failure::Unauthorized(_), words)) => Ended::Unauthorized(words),
            Some((_, words)) => Ended::Failed(words),
        };
        self.calls.ended(clock::now(), started.elapsed(), ended);
        outcome
    }

    async fn send_now(
        &self,
        call: Call<'_>,
        is_answer: impl Fn(&StatusCode) -> bool,
    ) -> Result<Answer, Failure> {
        let mut response = self.request(&call)?.send().await.map_err(failure::of_transport)?;
        let status = response.status();
        let headers = std::mem::take(response.headers_mut());
        let body = read_body(response).await;
        let failed = match body {
            Ok(body) if is_answer(&status) => return Ok(Answer { status, body }),
            // The status says that it was done, though not what came of it.
            Err(why) if is_answer(&status) => return Err(Failure::Unknown(why)),
            // What went wrong is known by the status; only Jira's words are missing.
            body => body.unwrap_or_default(),
        };
        let now = clock::now();
        let hide = |text: &str| self.hide(text);
        let failure = failure::of_answer(status, &headers, &failed, now, &hide);
        self.heed(&call, &failure, limit::wait(&headers, now), now);
        Err(failure)
    }

    async fn wait_turn(&self, call: &Call<'_>) -> Result<(), Failure> {
        let now = clock::now();
        let limited =
            self.throttle(|throttle| throttle.wait_until(call.endpoint, call.ticket, now));
        if let Some((until, scope)) = limited {
            let after = Duration::from_micros(until.saturating_sub(now).unsigned_abs());
            return Err(Failure::Limited { after, scope });
        }
        let limited = |after| Failure::Limited { after, scope: Limit::Everything };
        self.pace.turn().await.map_err(limited)
    }

    /// Remembers the waits that Jira asks for.
    fn heed(&self, call: &Call<'_>, failure: &Failure, wait: Option<Duration>, now: Micros) {
        let (scope, wait) = match (failure, wait) {
            (Failure::Limited { scope, after }, _) => (*scope, *after),
            // An overloaded Jira (503) says when to come back.
            (Failure::Unknown(_), Some(wait)) => (Limit::Everything, wait),
            _ => return,
        };
        let until = later(now, wait);
        self.throttle(|throttle| throttle.limit(scope, call.endpoint, call.ticket, until));
    }

    fn request(&self, call: &Call<'_>) -> Result<RequestBuilder, Failure> {
        let mut url = self.base.clone();
        let version = match self.api {
            Api::Cloud => "3",
            Api::Server => "2",
        };
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["rest", "api", version]);
            // Segments that mean "here" and "above" would be left out: none of ours is one.
            if call.path.iter().any(|segment| matches!(*segment, "" | "." | "..")) {
                return Err(Failure::Missing("there is no such ticket or project".to_owned()));
            }
            segments.extend(call.path);
        }
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&call.query);
        }
        let request = self.client.request(call.method.clone(), url);
        let request = request.header("accept", "application/json");
        let request = if self.pat.is_empty() {
            request.basic_auth(&self.email, Some(self.token.expose()))
        } else {
            request.bearer_auth(self.pat.expose())
        };
        Ok(match &call.body {
            Some(body) => request.json(body),
            None => request,
        })
    }

    /// `text` without our credentials, should Jira or a proxy repeat them.
    fn hide(&self, text: &str) -> String {
        let secrets = [&self.token, &self.pat].map(Secret::expose);
        let secrets = secrets.into_iter().filter(|secret| !secret.is_empty());
        secrets.fold(text.to_owned(), |text, secret| text.replace(secret, "***"))
    }
}

async fn read_body(mut response: reqwest::Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > MAX_ANSWER => {
                return Err(format!("Jira's answer is longer than {MAX_ANSWER} bytes"));
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return Ok(body),
            Err(error) => return Err(format!("Jira's answer broke off: {}", error.without_url())),
        }
    }
}
