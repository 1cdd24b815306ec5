//! Channels: the ways in which people are told of alerts.
//!
//! No server of mail and no webhook can be asked whether a message has arrived before. So each
//! message has a number that stays the same however often it is tried, as `Message-ID`, as
//! `Idempotency-Key` and as `X-Faultline-Delivery`: whoever gets it again can tell.

use std::{borrow::Cow, fmt, time::Duration};

use uuid::Uuid;

use super::{
    mail::{self, Mail},
    webhook::{self, Hook},
};
use crate::domain::{
    alert::{
        delivery::{Told, What},
        letter::Surroundings,
    },
    calls::Ended,
    rule::Class,
    shape::{cut, secret::without_secrets},
};

/// The header that carries a message's number.
pub const DELIVERY: &str = "X-Faultline-Delivery";

/// Longer errors are cut, in bytes.
const LONGEST_ERROR: usize = 500;

/// A message on its way.
#[derive(Clone, Copy, Debug)]
pub struct Post<'a> {
    pub id: Uuid,
    pub what: What,
    pub alerts: &'a [Told],
    pub around: &'a Surroundings,
    /// It was tried often enough: who does not take it now keeps it from the others no longer.
    pub is_overdue: bool,
}

/// Why a message did not arrive, or may not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// One line, without secrets.
    pub words: String,
    /// The other end does not accept our credentials.
    pub is_unauthorized: bool,
}

impl Failure {
    #[must_use]
    pub fn new(words: &str) -> Self {
        let line: Cow<'_, str> = words.replace(char::is_control, " ").into();
        let words = without_secrets(cut(line.trim(), LONGEST_ERROR)).into_owned();
        Self { words, is_unauthorized: false }
    }

    #[must_use]
    pub fn unauthorized(words: &str) -> Self {
        Self { is_unauthorized: true, ..Self::new(words) }
    }

    #[must_use]
    pub fn timed_out(limit: Duration) -> Self {
        Self::new(&format!("no answer within {limit:?}"))
    }

    #[must_use]
    pub fn ended(&self) -> Ended<'_> {
        if self.is_unauthorized {
            return Ended::Unauthorized(&self.words);
        }
        Ended::Failed(&self.words)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.words)
    }
}

/// One of the configured channels.
#[derive(Clone, Copy, Debug)]
pub enum Channel<'a> {
    Mail(&'a mail::Settings),
    Slack(&'a webhook::SlackSettings),
    Webhook(&'a webhook::Settings),
}

impl Channel<'_> {
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Mail(_) => "mail",
            Self::Slack(_) => "slack",
            Self::Webhook(_) => "webhook",
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::Mail(settings) => &settings.name,
            Self::Slack(settings) => &settings.name,
            Self::Webhook(settings) => &settings.name,
        }
    }

    /// What the store, metrics and logs know it by: `mail:ops`.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}:{}", self.kind(), self.name())
    }

    /// Whether it tells of alerts of this class.
    #[must_use]
    pub const fn takes(&self, class: Class) -> bool {
        let least = match self {
            Self::Mail(settings) => settings.least,
            Self::Slack(settings) => settings.least,
            Self::Webhook(settings) => settings.least,
        };
        class as u8 <= least as u8
    }

    /// Sends a message; gives up after `limit`.
    ///
    /// # Errors
    /// What went wrong. It may have arrived all the same when nothing was answered.
    pub async fn send(&self, post: Post<'_>, limit: Duration) -> Result<(), Failure> {
        let sending = async {
            let unusable = |problem: String| Failure::new(&problem);
            match self {
                Self::Mail(settings) => {
                    Mail::new(settings).map_err(unusable)?.send(post, limit).await
                }
                Self::Slack(settings) => {
                    Hook::slack(settings, limit).map_err(unusable)?.send(post).await
                }
                Self::Webhook(settings) => {
                    Hook::new(settings, limit).map_err(unusable)?.send(post).await
                }
            }
        };
        let outcome = tokio::time::timeout(limit, sending).await;
        outcome.unwrap_or_else(|_| Err(Failure::timed_out(limit)))
    }
}

/// Whether `name` can be a channel's.
///
/// # Errors
/// Names the key, and what would be right.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if (1..=50).contains(&name.len()) && name.bytes().all(is_word) {
        return Ok(());
    }
    Err(format!(
        "name = {name:?}: one of letters, digits, \"-\", \"_\" and \".\" is needed, such as \"ops\""
    ))
}
