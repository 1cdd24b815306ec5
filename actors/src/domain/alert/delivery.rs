//! Deliveries: each is the intent to tell one thing about one alert through one channel.
//!
//! ```text
//!  waiting ─▶ active ─▶ completed
//!     ▲         │ │
//!     └─ failed ┘ └─ failed too often ─▶ dead
//! ```

use super::{Key, Kind};
use crate::domain::{rule::Class, time::Micros};

/// What is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum What {
    /// Something is wrong.
    Firing,
    /// It still is.
    Repeat,
    /// It is over.
    Resolved,
}

impl What {
    pub const ALL: [Self; 3] = [Self::Firing, Self::Repeat, Self::Resolved];

    /// The name in the store and in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Repeat => "repeat",
            Self::Resolved => "resolved",
        }
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|what| what.name() == name)
    }
}

/// One alert as a message tells of it. It is the same however often the message is tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Its number in the store; 0 where no store has it.
    pub alert: i64,
    pub kind: Kind,
    pub subject: String,
    /// Of when it is told about.
    pub cause: String,
    /// The hub that opened it.
    pub hub: String,
    pub since: Micros,
    /// A page of the dashboard.
    pub link: String,
    pub resolved_at: Option<Micros>,
    /// What else is to be said of its end.
    pub note: Option<String>,
}

impl Told {
    #[must_use]
    pub fn class(&self) -> Class {
        self.kind.class()
    }

    #[must_use]
    pub fn what(&self) -> String {
        self.kind.what(&self.subject)
    }

    /// As it is told without a store.
    #[must_use]
    pub fn unstored(key: &Key, cause: String, hub: &str, since: Micros, link: &str) -> Self {
        Self {
            alert: 0,
            kind: key.kind,
            subject: key.subject.clone(),
            cause,
            hub: hub.to_owned(),
            since,
            link: link.to_owned(),
            resolved_at: None,
            note: None,
        }
    }
}
