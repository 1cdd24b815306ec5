//! Who may send what. Secrets are compared in constant time, and all of them are, so that neither
//! the time nor the answer tells how close a guess was.

use axum::http::{HeaderMap, header};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};
use subtle::{Choice, ConstantTimeEq};

use crate::secret::Secret;

/// One entry of `[[receiver.drains]]`: a log drain that is let in, and whom its events belong to.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Drain {
    /// Basic auth, as in the drain's URL: `https://user:password@host/logdrains`.
    pub user: String,
    pub password: Secret,
    /// `Logplex-Drain-Token`, as `heroku drains --json` shows it.
    pub token: Secret,
    /// Empty for `parser.environment`.
    pub environment: String,
    /// Empty for the one in the URL's query (`?service=shop`).
    pub service: String,
}

impl Drain {
    /// # Errors
    /// Names the key, and what would be right.
    pub fn validate(&self) -> Result<(), String> {
        if self.user.is_empty() != self.password.is_empty() {
            return Err("user and password belong together".to_owned());
        }
        if self.user.is_empty() && self.token.is_empty() {
            return Err("user: user and password, or token, or all three are needed".to_owned());
        }
        check_token("password", &self.password)?;
        check_token("token", &self.token)
    }

    fn admits(&self, credentials: &Credentials<'_>) -> Choice {
        let mut admits = Choice::from(1);
        if !self.user.is_empty() {
            let user = credentials.user.as_bytes().ct_eq(self.user.as_bytes());
            let password = credentials.password.as_bytes();
            admits &= user & password.ct_eq(self.password.expose().as_bytes());
        }
        if !self.token.is_empty() {
            admits &= credentials.drain_token.as_bytes().ct_eq(self.token.expose().as_bytes());
        }
        admits
    }
}

/// Short secrets are guessed.
const SHORTEST_SECRET: usize = 12;

/// # Errors
/// When a secret is set and too short to be one.
pub fn check_token(key: &str, secret: &Secret) -> Result<(), String> {
    if !secret.is_empty() && secret.expose().len() < SHORTEST_SECRET {
        return Err(format!(
            "{key} = \"***\": a secret of at least {SHORTEST_SECRET} characters is needed, for \
             example from `openssl rand -hex 16`"
        ));
    }
    Ok(())
}

struct Credentials<'a> {
    user: String,
    password: String,
    drain_token: &'a str,
}

/// Why a request is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No credentials, or wrong ones.
    Unauthorized,
    /// The drain token is not on the list.
    Forbidden,
}

/// The drain that a request comes from; `None` where everybody is let in.
///
/// # Errors
/// When drains are configured and the request is from none of them.
pub fn drain<'a>(drains: &'a [Drain], headers: &HeaderMap) -> Result<Option<&'a Drain>, Refusal> {
    if drains.is_empty() {
        return Ok(None);
    }
    let basic = basic_credentials(headers);
    let has_basic = basic.is_some();
    let (user, password) = basic.unwrap_or_default();
    let drain_token =
        headers.get("logplex-drain-token").and_then(|value| value.to_str().ok()).unwrap_or("");
    let credentials = Credentials { user, password, drain_token };
    let mut admitted = None;
    for drain in drains {
        if bool::from(drain.admits(&credentials)) {
            admitted = admitted.or(Some(drain));
        }
    }
    let asks_basic = drains.iter().any(|drain| !drain.user.is_empty());
    match admitted {
        Some(drain) => Ok(Some(drain)),
        None if asks_basic && (!has_basic || drain_token.is_empty()) => Err(Refusal::Unauthorized),
        None if asks_basic && drains.iter().all(|drain| drain.token.is_empty()) => {
            Err(Refusal::Unauthorized)
        }
        None => Err(Refusal::Forbidden),
    }
}

/// Whether `headers` carry `token` as a bearer token or as `X-API-Key`; always, where there is
/// none to carry.
#[must_use]
pub fn has_token(token: &Secret, headers: &HeaderMap) -> bool {
    token.is_empty() || carries(token, headers)
}

/// Whether `headers` carry `token`, which must not be empty.
#[must_use]
pub fn carries(token: &Secret, headers: &HeaderMap) -> bool {
    let given = given_token(headers).unwrap_or_default();
    !token.is_empty() && bool::from(given.as_bytes().ct_eq(token.expose().as_bytes()))
}

/// The bearer token of `headers`, or their `X-API-Key`.
#[must_use]
pub fn given_token(headers: &HeaderMap) -> Option<&str> {
    let bearer = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| strip_scheme(value, "bearer"));
    bearer.or_else(|| headers.get("x-api-key").and_then(|value| value.to_str().ok()))
}

fn basic_credentials(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let decoded = BASE64_STANDARD.decode(strip_scheme(value, "basic")?).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

/// What follows an authentication scheme, whose name may be in any case (RFC 9110 §11.1).
fn strip_scheme<'a>(value: &'a str, scheme: &str) -> Option<&'a str> {
    let (given, rest) = value.split_once(' ')?;
    given.eq_ignore_ascii_case(scheme).then(|| rest.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| ((*name).parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    fn basic(user: &str, password: &str) -> String {
        format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))
    }

    fn drains() -> Vec<Drain> {
        let secret = Secret::new;
        vec![
            Drain {
                user: "shop".into(),
                password: secret("correct-horse"),
                service: "shop".into(),
                ..Drain::default()
            },
            Drain { token: secret("d.0123456789ab"), service: "api".into(), ..Drain::default() },
        ]
    }

    fn service(pairs: &[(&'static str, &str)]) -> Result<String, Refusal> {
        drain(&drains(), &headers(pairs)).map(|drain| drain.unwrap().service.clone())
    }

    #[test]
    fn drains_are_known_by_password_or_token() {
        assert_eq!(
            service(&[("authorization", &basic("shop", "correct-horse"))]),
            Ok("shop".into())
        );
        assert_eq!(service(&[("logplex-drain-token", "d.0123456789ab")]), Ok("api".into()));
        let wrong = basic("shop", "wrong");
        assert_eq!(service(&[("authorization", &wrong)]), Err(Refusal::Unauthorized));
        assert_eq!(service(&[]), Err(Refusal::Unauthorized));
        assert_eq!(service(&[("authorization", "Basic !!!")]), Err(Refusal::Unauthorized));
        assert_eq!(
            service(&[("authorization", &wrong), ("logplex-drain-token", "d.other")]),
            Err(Refusal::Forbidden)
        );
        assert!(drain(&[], &HeaderMap::new()).unwrap().is_none());
    }

    #[test]
    fn a_list_of_tokens_only_forbids() {
        let only_tokens = &drains()[1..];
        assert_eq!(drain(only_tokens, &HeaderMap::new()).err(), Some(Refusal::Forbidden));
    }

    #[test]
    fn a_password_only_list_asks_again_when_a_token_is_sent_too() {
        let only_passwords = &drains()[..1];
        let sent =
            headers(&[("authorization", &basic("shop", "wrong")), ("logplex-drain-token", "d.x")]);
        assert_eq!(drain(only_passwords, &sent).err(), Some(Refusal::Unauthorized));
    }

    #[test]
    fn tokens_are_taken_from_either_header() {
        let token = Secret::new("0123456789ab");
        assert!(has_token(&token, &headers(&[("authorization", "bearer 0123456789ab")])));
        assert!(has_token(&token, &headers(&[("x-api-key", "0123456789ab")])));
        assert!(!has_token(&token, &headers(&[("x-api-key", "0123456789aX")])));
        assert!(!has_token(&token, &HeaderMap::new()));
        assert!(has_token(&Secret::default(), &HeaderMap::new()));
        assert!(!carries(&Secret::default(), &headers(&[("x-api-key", "")])));
    }
}
