//! Why a request did not give what it was to give. No failure repeats what a server said beside its
//! error code, or shows a secret.

use crate::domain::{
    shape::cut,
    time::{Micros, micros},
};

/// What went wrong, for those who show it or try again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    #[error("the server's clock and ours differ by {0} s; it refuses requests ({1})")]
    Clock(i64, String),
    #[error("the server does not accept the credentials: {0}")]
    Credentials(String),
    #[error("the account may not do that: {0}")]
    Forbidden(String),
    #[error("there is no such bucket")]
    NoBucket,
    /// It must be asked in that region.
    #[error("the bucket is elsewhere: region {region:?}, endpoint {endpoint:?}")]
    Elsewhere { region: String, endpoint: String },
    /// Trying again later may help.
    #[error("the server is overloaded: {0}")]
    Overloaded(String),
    #[error("the server refuses: {0}")]
    Refused(String),
    /// Trying again later may help.
    #[error("the server cannot be reached: {0}")]
    Unreachable(String),
    /// The answer broke off, or is no listing. Trying again later may help.
    #[error("the server's answer cannot be used: {0}")]
    Unreadable(String),
    #[error("the server does not list in the order of keys: {0:?} comes behind {1:?}")]
    Unsorted(String, String),
}

impl Failure {
    /// Whether the same request may succeed soon.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Overloaded(_) | Self::Unreachable(_) | Self::Unreadable(_))
    }

    /// What an answer that is no success means. `theirs` is the server's clock, where it says.
    pub(super) fn of_answer(
        status: u16,
        refusal: &super::xml::Refusal,
        theirs: Option<Micros>,
        now: Micros,
    ) -> Self {
        let code = word(&refusal.code);
        let shown = if code.is_empty() { status.to_string() } else { format!("{status} {code}") };
        match (code.as_str(), status) {
            ("RequestTimeTooSkewed", _) => {
                let second = micros(std::time::Duration::from_secs(1));
                let apart = theirs.map_or(0, |theirs| (now - theirs) / second);
                Self::Clock(apart.abs(), shown)
            }
            (
                "InvalidAccessKeyId"
                | "SignatureDoesNotMatch"
                | "InvalidSecurity"
                | "ExpiredToken"
                | "InvalidToken"
                | "SecurityTokenExpired"
                | "InvalidSecurityToken"
                | "TokenRefreshRequired",
                _,
            )
            | (_, 401) => Self::Credentials(shown),
            ("NoSuchBucket", _) => Self::NoBucket,
            ("SlowDown" | "RequestTimeout" | "ServiceUnavailable" | "InternalError", _)
            | (_, 408 | 429 | 500..) => Self::Overloaded(shown),
            _ if !refusal.region.is_empty() || !refusal.endpoint.is_empty() => {
                Self::Elsewhere { region: word(&refusal.region), endpoint: word(&refusal.endpoint) }
            }
            (_, 403) => Self::Forbidden(shown),
            _ => Self::Refused(shown),
        }
    }
}

/// Of what a server says, as much as may be shown.
fn word(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
    if text.bytes().all(is_plain) { cut(text, 100).to_owned() } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::{super::xml::Refusal, *};

    #[test]
    fn answers_are_told_apart() {
        let second = 1_000_000;
        let of = |status, code: &str| {
            let refusal = Refusal { code: code.to_owned(), ..Refusal::default() };
            Failure::of_answer(status, &refusal, Some(-1_200 * second), 0)
        };
        let skewed = of(403, "RequestTimeTooSkewed").to_string();
        assert!(skewed.contains("differ by 1200 s"), "{skewed}");
        assert!(matches!(of(403, "SignatureDoesNotMatch"), Failure::Credentials(_)));
        assert_eq!(of(403, "AccessDenied"), Failure::Forbidden("403 AccessDenied".to_owned()));
        assert_eq!(of(404, "NoSuchBucket"), Failure::NoBucket);
        for (status, code) in [(503, "SlowDown"), (429, ""), (500, ""), (400, "RequestTimeout")] {
            assert!(of(status, code).is_passing(), "{status} {code}");
        }
        assert_eq!(of(400, "<b>hunter2</b>"), Failure::Refused("400".to_owned()));
        let region = "eu-west-1".to_owned();
        let elsewhere = Refusal { region: region.clone(), ..Refusal::default() };
        let found = Failure::of_answer(301, &elsewhere, None, 0);
        assert_eq!(found, Failure::Elsewhere { region, endpoint: String::new() });
    }
}
