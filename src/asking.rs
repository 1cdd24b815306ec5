//! Asking a running Faultline through its admin listener, as commands do.

use std::{env, time::Duration};

use anyhow::{Context, bail};
use faultline_actors::domain::secret::Secret;
use reqwest::{Client, Method, Response, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::config::Config;

/// The variables that say whom to ask, and by which token.
const URL: &str = "FAULTLINE_URL";
const TOKEN: &str = "FAULTLINE_TOKEN";

/// No answer takes longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whom to ask: arguments of a command.
#[derive(clap::Args)]
pub(crate) struct Whom {
    /// The admin listener; `FAULTLINE_URL` or the configured one by default.
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// Its token; `FAULTLINE_TOKEN` or the configured one by default. Other users of this machine
    /// may see arguments: better set the variable.
    #[arg(long, value_name = "TOKEN")]
    pub(crate) token: Option<String>,
}

/// See the [module](self).
#[derive(Clone)]
pub(crate) struct Asking {
    client: Client,
    url: String,
    token: Secret,
}

/// What was answered.
pub(crate) enum Answer<T> {
    Is(T),
    /// There is no such thing at this Faultline.
    Missing,
}

/// What was not done, and why.
pub(crate) struct Refused {
    pub(crate) status: StatusCode,
    pub(crate) detail: String,
}

impl Asking {
    /// # Errors
    /// When no client can be made.
    pub(crate) fn new(whom: Whom, config: &Config) -> anyhow::Result<Self> {
        let configured = config.admin.token.clone();
        let from_config = whom.url.is_none() && env::var_os(URL).is_none();
        let url = whom.url.or_else(|| env::var(URL).ok());
        let url = url.unwrap_or_else(|| config.admin.url(config.admin.listen));
        let token = whom.token.or_else(|| env::var(TOKEN).ok()).map(Secret::new);
        // The token of this configuration is nobody else's business.
        let token = token.unwrap_or(if from_config { configured } else { Secret::default() });
        let client = Client::builder().timeout(PATIENCE).build().context("the HTTP client")?;
        Ok(Self { client, url: url.trim_end_matches('/').to_owned(), token })
    }

    /// Whom it asks.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    async fn ask(&self, method: Method, path: &str, accept: &str) -> anyhow::Result<Response> {
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        if !self.token.is_empty() {
            request = request.bearer_auth(self.token.expose());
        }
        let answer =
            request.header("accept", accept).send().await.map_err(|error| {
                anyhow::anyhow!("{} does not answer: {}", self.url, reason(&error))
            })?;
        Ok(answer)
    }

    /// What a path says in JSON, with these statuses counted as an answer beside the good ones.
    pub(crate) async fn json<T: DeserializeOwned>(
        &self,
        path: &str,
        also: &[StatusCode],
    ) -> anyhow::Result<Answer<T>> {
        let answer = self.ask(Method::GET, path, "application/json").await?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(Answer::Missing);
        }
        if !also.contains(&answer.status()) {
            return Ok(Answer::Is(good(answer).await?.json().await?));
        }
        Ok(Answer::Is(answer.json().await?))
    }

    /// What a path says as text.
    pub(crate) async fn text(&self, path: &str) -> anyhow::Result<String> {
        Ok(good(self.ask(Method::GET, path, "text/plain").await?).await?.text().await?)
    }

    /// Has something done; gives the answer.
    pub(crate) async fn post(&self, path: &str) -> anyhow::Result<Value> {
        let answer = self.ask(Method::POST, path, "application/json").await?;
        Ok(good(answer).await?.json().await?)
    }

    /// The same, with these statuses counted as an answer as well.
    pub(crate) async fn try_post(
        &self,
        path: &str,
        refusals: &[StatusCode],
    ) -> anyhow::Result<Result<Value, Refused>> {
        let answer = self.ask(Method::POST, path, "application/json").await?;
        let status = answer.status();
        if !refusals.contains(&status) {
            return Ok(Ok(good(answer).await?.json().await?));
        }
        let detail = detail(&answer.text().await.unwrap_or_default());
        Ok(Err(Refused { status, detail }))
    }
}

/// The innermost reason, without the URL, which is said anyway.
fn reason(error: &reqwest::Error) -> String {
    let mut inner: &dyn std::error::Error = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

async fn good(answer: Response) -> anyhow::Result<Response> {
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let detail = detail(&answer.text().await.unwrap_or_default());
    let hint = match status {
        StatusCode::UNAUTHORIZED => " (--token or FAULTLINE_TOKEN)",
        _ => "",
    };
    bail!("{status}: {detail}{hint}");
}

/// What a problem says.
fn detail(text: &str) -> String {
    let problem: Option<Value> = serde_json::from_str(text).ok();
    let detail = problem.as_ref().and_then(|problem| problem["detail"].as_str());
    detail.unwrap_or("no reason is given").to_owned()
}
