//! What became of a request that did not succeed.
//!
//! Jira has no key by which a request could be repeated safely, so the one question that matters
//! is whether it may have been done.
//!
//! | what happened | it is | was it done? |
//! |---|---|---|
//! | no connection: DNS, TCP, TLS, proxy | [`Failure::NotSent`] | no |
//! | time-out, connection broken, 408, 5xx, an answer nobody can read | [`Failure::Unknown`] | perhaps |
//! | 429 | [`Failure::Limited`] | no |
//! | 401 | [`Failure::Unauthorized`] | no |
//! | 403 | [`Failure::Forbidden`] | no |
//! | 404 | [`Failure::Missing`] | no |
//! | 409 | [`Failure::Conflict`] | no |
//! | 3xx, 400 and other 4xx | [`Failure::Rejected`] | no |
//!
//! After "The Jira Cloud platform REST API", "Status codes"
//! (<https://developer.atlassian.com/cloud/jira/platform/rest/v3/intro/#status-codes>).

use std::{error::Error as _, fmt, time::Duration};

use reqwest::{
    StatusCode,
    header::{HeaderMap, LOCATION},
};
use serde_json::Value;

use super::limit;
use crate::domain::time::Micros;

/// Whether a request that did not succeed may have been done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Certainly not sent.
    NotSent(String),
    /// Perhaps done.
    Unknown(String),
    /// Jira does not want it, and will not the next time either.
    Rejected {
        status: u16,
        /// The field (or nothing) and what is wrong with it.
        problems: Vec<(String, String)>,
    },
    /// The credentials do not do.
    Unauthorized(String),
    /// Not with these credentials, or not this request: [`Jira::myself`](super::Jira::myself) tells.
    Forbidden(String),
    /// The project, the ticket, or what else the request is about is not there.
    Missing(String),
    /// Not done; to be repeated after the wait.
    Limited { after: Duration, scope: Limit },
    /// Somebody else changed the ticket at the same time.
    Conflict(String),
}

/// What has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Writes to this ticket.
    Ticket,
    /// Requests of this kind.
    Endpoint,
    Everything,
}

impl Failure {
    /// One word, for metrics.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NotSent(_) => "not_sent",
            Self::Unknown(_) => "unknown",
            Self::Rejected { .. } => "rejected",
            Self::Unauthorized(_) => "unauthorized",
            Self::Forbidden(_) => "forbidden",
            Self::Missing(_) => "missing",
            Self::Limited { .. } => "limited",
            Self::Conflict(_) => "conflict",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSent(why) => write!(out, "not sent: {why}"),
            Self::Unknown(why) => write!(out, "perhaps done: {why}"),
            Self::Unauthorized(why) | Self::Forbidden(why) => write!(out, "not allowed: {why}"),
            Self::Missing(why) => write!(out, "not found: {why}"),
            Self::Conflict(why) => write!(out, "changed at the same time: {why}"),
            Self::Limited { after, scope } => {
                write!(out, "too many requests: {scope:?} waits {after:?}")
            }
            Self::Rejected { status, problems } => {
                write!(out, "rejected ({status})")?;
                for (field, problem) in problems {
                    let colon = if field.is_empty() { "" } else { ": " };
                    write!(out, "; {field}{colon}{problem}")?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for Failure {}

/// The most characters of Jira's words that are kept.
const MAX_WORDS: usize = 500;
/// The most fields that are named.
const MAX_PROBLEMS: usize = 20;

/// What a request that got no answer is.
pub(super) fn of_transport(error: reqwest::Error) -> Failure {
    let is_unsent = error.is_connect() || error.is_builder();
    let timed_out = error.is_timeout();
    // The URL holds what was asked for; where it went is known from the settings.
    let error = error.without_url();
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_words = inner.to_string();
        if !words.contains(&inner_words) {
            words.push_str(": ");
            words.push_str(&inner_words);
        }
        source = inner.source();
    }
    let words = bounded(&words);
    match (is_unsent, timed_out) {
        (true, _) => Failure::NotSent(words),
        (false, true) => Failure::Unknown(format!("no answer in time: {words}")),
        (false, false) => Failure::Unknown(words),
    }
}

/// What an answer is that does not say success. `hide` takes secrets out of a text.
pub(super) fn of_answer(
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    now: Micros,
    hide: &dyn Fn(&str) -> String,
) -> Failure {
    let mut problems = problems(body);
    for (field, problem) in &mut problems {
        *field = bounded(&hide(field));
        *problem = bounded(&hide(problem));
    }
    let code = status.as_u16();
    let words = || joined(status, &problems);
    match code {
        429 => Failure::Limited {
            after: limit::wait(headers, now).unwrap_or(limit::DEFAULT_WAIT),
            scope: limit::scope(headers),
        },
        401 => Failure::Unauthorized(format!("{}{}", words(), captcha(headers))),
        403 => Failure::Forbidden(format!("{}{}", words(), captcha(headers))),
        404 => Failure::Missing(words()),
        409 => Failure::Conflict(words()),
        408 | 500.. => Failure::Unknown(words()),
        300..=399 => {
            let to = headers.get(LOCATION).and_then(|to| to.to_str().ok()).unwrap_or("elsewhere");
            let to = to.split(['?', '#']).next().unwrap_or_default();
            let problem = bounded(&hide(&format!("Jira is not here, it sends to {to}")));
            Failure::Rejected { status: code, problems: vec![(String::new(), problem)] }
        }
        _ => {
            if problems.is_empty() {
                problems.push((String::new(), joined(status, &[])));
            }
            Failure::Rejected { status: code, problems }
        }
    }
}

/// What one element of a bulk create says about itself.
pub(super) fn of_element(element: &Value) -> Failure {
    let status = element["status"].as_u64().and_then(|status| u16::try_from(status).ok());
    let status = status.and_then(|status| StatusCode::from_u16(status).ok());
    let body = element["elementErrors"].to_string();
    let status = status.unwrap_or(StatusCode::BAD_REQUEST);
    of_answer(status, &HeaderMap::new(), body.as_bytes(), 0, &str::to_owned)
}

/// A Data Center asks for a CAPTCHA after some wrong passwords, and says so only here.
fn captcha(headers: &HeaderMap) -> &'static str {
    let reason = headers.get("x-seraph-loginreason").and_then(|reason| reason.to_str().ok());
    if reason.is_some_and(|reason| reason.contains("AUTHENTICATION_DENIED")) {
        "; the account must answer a CAPTCHA in the browser first"
    } else {
        ""
    }
}

fn joined(status: StatusCode, problems: &[(String, String)]) -> String {
    let problems = problems.iter().map(|(field, problem)| {
        if field.is_empty() { problem.clone() } else { format!("{field}: {problem}") }
    });
    let problems = problems.collect::<Vec<_>>().join("; ");
    if problems.is_empty() {
        return format!("Jira says {status}");
    }
    bounded(&format!("Jira says {}: {problems}", status.as_u16()))
}

/// The words of an `ErrorCollection`, or of whatever else a proxy answers.
fn problems(body: &[u8]) -> Vec<(String, String)> {
    let Ok(body) = serde_json::from_slice::<Value>(body) else {
        let text = without_tags(&String::from_utf8_lossy(&body[..body.len().min(64 << 10)]));
        return if text.is_empty() { Vec::new() } else { vec![(String::new(), text)] };
    };
    let mut problems = Vec::new();
    let single = ["message", "errorMessage", "error"].map(|key| &body[key]);
    for message in body["errorMessages"].as_array().into_iter().flatten().chain(single) {
        problems.extend(message.as_str().map(|message| (String::new(), message.to_owned())));
    }
    for (field, message) in body["errors"].as_object().into_iter().flatten() {
        let message = message.as_str().map_or_else(|| message.to_string(), str::to_owned);
        problems.push((field.clone(), message));
    }
    problems.truncate(MAX_PROBLEMS);
    problems
}

/// The text of a page, in one line.
fn without_tags(page: &str) -> String {
    let mut text = String::new();
    let mut in_tag = false;
    for letter in page.chars() {
        match letter {
            '<' => in_tag = true,
            '>' if in_tag => {
                in_tag = false;
                text.push(' ');
            }
            _ if in_tag => {}
            letter => text.push(letter),
        }
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn bounded(text: &str) -> String {
    let text: String = text
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .take(MAX_WORDS + 1)
        .collect();
    match text.char_indices().nth(MAX_WORDS - 1) {
        Some((at, letter)) if text.len() > at + letter.len_utf8() => format!("{}…", &text[..at]),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Failure {
        let status = StatusCode::from_u16(status).unwrap();
        of_answer(status, &HeaderMap::new(), body.as_bytes(), 0, &str::to_owned)
    }

    #[test]
    fn every_status_says_whether_it_may_have_been_done() {
        for (status, kind) in [
            (302, "rejected"),
            (400, "rejected"),
            (401, "unauthorized"),
            (403, "forbidden"),
            (404, "missing"),
            (405, "rejected"),
            (408, "unknown"),
            (409, "conflict"),
            (410, "rejected"),
            (413, "rejected"),
            (422, "rejected"),
            (429, "limited"),
            (500, "unknown"),
            (502, "unknown"),
            (503, "unknown"),
            (504, "unknown"),
            (599, "unknown"),
        ] {
            for body in
                ["", "{}", "{\"errorMessages\":[\"no\"]}", "<html>no</html>", "[1]", "\u{0}"]
            {
                let failure = answer(status, body);
                assert_eq!(failure.kind(), kind, "{status} {body}");
                assert!(failure.to_string().len() > 10, "{failure}");
            }
        }
    }

    #[test]
    fn fields_are_named_in_jiras_own_words() {
        let body =
            r#"{"errorMessages":["Bad."],"errors":{"customfield_1":"is required","x":{"a":1}}}"#;
        let problems = [("", "Bad."), ("customfield_1", "is required"), ("x", "{\"a\":1}")];
        let problems = problems.map(|(field, words)| (field.to_owned(), words.to_owned()));
        let failure = answer(400, body);
        assert_eq!(failure, Failure::Rejected { status: 400, problems: problems.to_vec() });
        assert_eq!(
            failure.to_string(),
            "rejected (400); Bad.; customfield_1: is required; x: {\"a\":1}"
        );
        let page = "<html><body><h1>502 Bad\nGateway</h1></body></html>";
        assert_eq!(answer(502, page), Failure::Unknown("Jira says 502: 502 Bad Gateway".into()));
        assert_eq!(answer(404, ""), Failure::Missing("Jira says 404 Not Found".into()));
    }

    #[test]
    fn words_are_bounded_and_hold_no_secret() {
        for body in ["é".repeat(100_000), format!("{{\"message\":\"{}\"}}", "é".repeat(9_999))] {
            let Failure::Unknown(words) = answer(500, &body) else { panic!() };
            assert_eq!(words.chars().count(), MAX_WORDS);
        }
        let hide = |text: &str| text.replace("hunter2", "***");
        for status in [302, 400, 401, 404, 500] {
            let mut headers = HeaderMap::new();
            headers.insert(LOCATION, "https://a.b/hunter2?token=x".parse().unwrap());
            let status = StatusCode::from_u16(status).unwrap();
            let failure = of_answer(status, &headers, b"you said hunter2", 0, &hide);
            assert!(!format!("{failure:?}").contains("hunter2"), "{failure}");
            assert!(!format!("{failure:?}").contains("token=x"), "{failure}");
        }
    }

    #[test]
    fn a_captcha_is_told() {
        let mut headers = HeaderMap::new();
        headers.insert("x-seraph-loginreason", "AUTHENTICATION_DENIED".parse().unwrap());
        let failure = of_answer(StatusCode::FORBIDDEN, &headers, b"", 0, &str::to_owned);
        assert!(failure.to_string().contains("CAPTCHA"), "{failure}");
    }
}
