//! Webhooks: `POST` with JSON, to Slack or what understands the same, and to anything else.
//!
//! What goes to anything else is signed:
//!
//! ```text
//! X-Faultline-Signature: t=1795316400,v1=<HMAC-SHA256 in hex of "1795316400." and the body>
//! ```
//!
//! Whoever receives it computes the same with the secret, compares both in constant time, and refuses
//! what was signed more than a few minutes ago. `Idempotency-Key` and `X-Faultline-Delivery` are the
//! message's number, the same for each try: a second one may be answered 200 and forgotten.

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use reqwest::{Client, StatusCode, Url, header};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::Sha256;

use super::{
    channel::{DELIVERY, Failure, Post, check_name},
    clock,
    http::{client, is_loopback},
};
use crate::domain::{
    alert::{
        delivery::What,
        letter::{letter, lines, mark},
    },
    rule::Class,
    secret::Secret,
    time::rfc3339,
};

/// The header that carries the signature.
pub const SIGNATURE: &str = "X-Faultline-Signature";

/// One of `[[notifier.slack]]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SlackSettings {
    /// Its own among channels of Slack.
    pub name: String,
    /// An incoming webhook: who knows it may write there, so that it is a secret.
    pub url: Secret,
    /// Alerts that are at least as bad are told.
    pub least: Class,
}

impl Default for SlackSettings {
    fn default() -> Self {
        Self { name: "slack".to_owned(), url: Secret::default(), least: Class::P3 }
    }
}

/// One of `[[notifier.webhook]]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Its own among webhooks.
    pub name: String,
    pub url: Secret,
    /// Signs what is sent.
    pub secret: Secret,
    /// Alerts that are at least as bad are told.
    pub least: Class,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            name: "webhook".to_owned(),
            url: Secret::default(),
            secret: Secret::default(),
            least: Class::P3,
        }
    }
}

/// Shorter ones can be guessed.
const SHORTEST_SECRET: usize = 16;

impl SlackSettings {
    /// # Errors
    /// Names the setting, its value (masked), and what would be right.
    pub fn validate(&self) -> Result<(), String> {
        check_name(&self.name)?;
        let url = url_of(&self.url)?;
        // The URL is all that keeps others from writing there.
        if url.scheme() != "https" && !is_loopback(&url) {
            return Err(format!("url = \"{}\": https is needed", place(&url)));
        }
        Ok(())
    }
}

impl Settings {
    /// # Errors
    /// Names the setting, its value (masked), and what would be right.
    pub fn validate(&self) -> Result<(), String> {
        check_name(&self.name)?;
        url_of(&self.url)?;
        if self.secret.expose().len() < SHORTEST_SECRET {
            let shown = if self.secret.is_empty() { "" } else { "***" };
            return Err(format!(
                "secret = \"{shown}\": at least {SHORTEST_SECRET} characters are needed; \
                 `openssl rand -hex 32` makes one"
            ));
        }
        Ok(())
    }
}

fn url_of(url: &Secret) -> Result<Url, String> {
    let parsed = Url::parse(url.expose()).ok();
    let parsed = parsed.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    parsed.ok_or_else(|| {
        let shown = if url.is_empty() { String::new() } else { "***".to_owned() };
        format!("url = \"{shown}\": an http(s) URL is needed, such as https://example.com/hook")
    })
}

/// A URL as it may be shown: its path may be a secret.
fn place(url: &Url) -> String {
    format!("{}://{}/***", url.scheme(), url.host_str().unwrap_or_default())
}

/// A webhook.
pub struct Hook {
    client: Client,
    url: Url,
    form: Form,
}

enum Form {
    Slack,
    Signed(Secret),
}

impl Hook {
    /// # Errors
    /// Names the setting with which it cannot be used.
    pub fn slack(settings: &SlackSettings, limit: Duration) -> Result<Self, String> {
        settings.validate()?;
        Self::at(url_of(&settings.url)?, Form::Slack, limit)
    }

    /// # Errors
    /// Names the setting with which it cannot be used.
    pub fn new(settings: &Settings, limit: Duration) -> Result<Self, String> {
        settings.validate()?;
        Self::at(url_of(&settings.url)?, Form::Signed(settings.secret.clone()), limit)
    }

    fn at(url: Url, form: Form, limit: Duration) -> Result<Self, String> {
        let client = client(&url, limit, limit).build().map_err(|error| error.to_string())?;
        Ok(Self { client, url, form })
    }

    /// Sends a message.
    ///
    /// # Errors
    /// What went wrong.
    pub async fn send(&self, post: Post<'_>) -> Result<(), Failure> {
        let body = match self.form {
            Form::Slack => slack_text(post),
            Form::Signed(_) => payload(post),
        };
        let body = body.to_string();
        let mut request = self
            .client
            .post(self.url.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header(DELIVERY, post.id.to_string())
            .header("Idempotency-Key", post.id.to_string());
        if let Form::Signed(secret) = &self.form {
            let seconds = clock::now().div_euclid(1_000_000);
            request = request.header(SIGNATURE, signature(secret, seconds, &body));
        }
        let answer = request.body(body).send().await;
        // An error of this client shows the URL, which may be a secret.
        let answer = answer.map_err(|error| Failure::new(&chain(&error.without_url())))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let words = format!("{} answers {status}", place(&self.url));
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(Failure::unauthorized(&words)),
            _ => Err(Failure::new(&words)),
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        words.push_str(&format!(": {error}"));
        source = error.source();
    }
    words
}

/// The value of [`SIGNATURE`] for a body, signed at this second since 1970.
#[must_use]
pub fn signature(secret: &Secret, seconds: i64, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes())
        .expect("HMAC takes keys of any length");
    mac.update(format!("{seconds}.").as_bytes());
    mac.update(body.as_bytes());
    let bytes = mac.finalize().into_bytes();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={seconds},v1={hex}")
}

/// See Slack's documentation, "Sending messages using incoming webhooks" and "Formatting text".
fn slack_text(post: Post<'_>) -> Value {
    let subject = letter(post.what, post.alerts, post.around).subject;
    let mut text = format!("*{}*", escaped(&subject));
    for told in post.alerts {
        text.push('\n');
        for (name, value) in lines(post.what, told, post.around) {
            text.push_str(&format!("\n*{name}:* {}", escaped(&value)));
        }
    }
    json!({ "text": text })
}

fn escaped(text: &str) -> String {
    let text = text.replace(char::is_control, " ");
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// What a generic webhook gets: version 1 only ever gains members.
fn payload(post: Post<'_>) -> Value {
    let letter = letter(post.what, post.alerts, post.around);
    let is_over = post.what == What::Resolved;
    let alerts = post.alerts.iter().map(|told| {
        // What was not over when it was told first is not when it is told again.
        let (resolved_at, note) = (told.resolved_at.filter(|_| is_over), told.note.as_ref());
        json!({
            "id": told.alert,
            "kind": told.kind.name(),
            "class": told.class().name(),
            "what": told.what(),
            "component": told.subject,
            "cause": told.cause,
            "hub": told.hub,
            "since": rfc3339(told.since),
            "resolved_at": resolved_at.map(rfc3339),
            "note": note.filter(|_| is_over),
            "respond_within_seconds": post.around.respond(told.class()).as_secs(),
            "what_to_do": told.kind.advice(),
            "runbook": post.around.runbook(told),
            "dashboard": post.around.dashboard(told),
        })
    });
    json!({
        "version": 1,
        "id": post.id.to_string(),
        "what": post.what.name(),
        "mark": mark(post.what, post.alerts),
        "subject": letter.subject,
        "text": letter.text,
        "alerts": alerts.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_what_openssl_computes() {
        // printf '1795316400.{}' | openssl dgst -sha256 -hmac 0123456789abcdef
        let signed = signature(&Secret::new("0123456789abcdef"), 1_795_316_400, "{}");
        let openssl =
            "t=1795316400,v1=9675a0f6ccc81257b49f2ce8ad83989bbb398d1fd2722761a6d9bdb553d37452";
        assert_eq!(signed, openssl);
    }

    #[test]
    fn what_cannot_be_used_is_refused_and_shows_no_secret() {
        let slack = |url: &str| SlackSettings { url: Secret::new(url), ..SlackSettings::default() };
        assert_eq!(slack("https://hooks.slack.com/services/T/B/x").validate(), Ok(()));
        assert_eq!(slack("http://127.0.0.1:1/x").validate(), Ok(()));
        for url in [
            "",
            "hooks.slack.com/x",
            "ftp://hooks.slack.com/hunter2",
            "http://hooks.slack.com/hunter2",
        ] {
            let problem = slack(url).validate().unwrap_err();
            assert!(problem.starts_with("url = \"") && !problem.contains("hunter2"), "{problem}");
        }
        let hook = |secret: &str| Settings {
            url: Secret::new("http://example.com/hook"),
            secret: Secret::new(secret),
            ..Settings::default()
        };
        assert_eq!(hook("0123456789abcdef").validate(), Ok(()));
        assert!(
            hook("hunter2").validate().unwrap_err().starts_with("secret = \"***\": at least 16")
        );
        assert!(hook("").validate().unwrap_err().starts_with("secret = \"\": "));
    }
}
