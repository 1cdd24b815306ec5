//! Search for events: newest received first, a page at a time.
//!
//! No index holds the words of each event: writing one would take longer than writing the events.
//! A [block](crate::domain::words::block) of some hundred neighbouring events has a signature, which
//! says what none of them holds. A search walks the blocks, newest first, reads the events of
//! those that may hold what it is after, and looks at each of them closely.

use std::{fmt, str::FromStr, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{StoreError, StoredEvent};
use crate::domain::{
    event::{Kind, Severity, Source},
    time::Micros,
    words::{Field, Word, has_text, terms::Terms, without_escapes},
};

pub(crate) mod walk;

/// See the [module](self).
#[async_trait]
pub trait EventSearch: Send + Sync {
    /// The newest events that `filter` takes, of those before `before`: `limit` at most, and what is
    /// found in about `time`.
    async fn search(
        &self,
        filter: &EventFilter,
        before: Option<Place>,
        limit: u32,
        time: Duration,
    ) -> Result<Found, StoreError>;

    /// One event; `None` where there is none.
    async fn event(&self, id: EventId) -> Result<Option<StoredEvent>, StoreError>;
}

/// What identifies an event: the number that stands for its origin in this store, its record's
/// sequence, its place in the record. Written `3.4711.0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EventId {
    pub origin: i32,
    pub sequence: i64,
    pub ordinal: i32,
}

impl fmt::Display for EventId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}.{}", self.origin, self.sequence, self.ordinal)
    }
}

impl FromStr for EventId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let mut parts = text.split('.');
            let (origin, sequence, ordinal) = (parts.next()?, parts.next()?, parts.next()?);
            let id = Self {
                origin: origin.parse().ok()?,
                sequence: sequence.parse().ok()?,
                ordinal: ordinal.parse().ok()?,
            };
            parts.next().is_none().then_some(id)
        };
        parse().ok_or_else(|| format!("{text:?}: an event's id like 3.4711.0 is needed"))
    }
}

/// An event's place in the order of a search, the newest being the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    pub received_at: Micros,
    pub id: EventId,
}

impl Place {
    /// The least place that is greater.
    #[must_use]
    pub(crate) fn successor(self) -> Self {
        // No record holds nearly so many events.
        let id = EventId { ordinal: self.id.ordinal.saturating_add(1), ..self.id };
        Self { id, ..self }
    }
}

/// One page.
#[derive(Debug)]
pub struct Found {
    /// The newest first.
    pub events: Vec<StoredEvent>,
    /// Where to go on; `None` at the end.
    pub next: Option<Place>,
    /// Time was over before the page was full: nothing that was received before is looked at yet.
    pub searched_until: Option<Micros>,
}

/// Which events are searched for: those that fit all of it.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    /// Received at this time or later.
    pub since: Option<Micros>,
    /// Received before this time.
    pub until: Option<Micros>,
    pub environment: Option<String>,
    pub service: Option<String>,
    pub kind: Option<Kind>,
    /// At least as bad.
    pub severity: Option<Severity>,
    pub source: Option<Source>,
    /// Of one of these shapes.
    pub fingerprints: Option<Vec<String>>,
    pub text: Terms,
}

impl EventFilter {
    /// More words are not looked for in signatures: so many hardly ever seem to be in one by chance.
    const MOST_WORDS: usize = 20;
    /// More shapes are not looked for in signatures: that would take longer than to read events.
    const MOST_FINGERPRINTS: usize = 50;

    /// Of each group an event that fits holds one word.
    pub(crate) fn words(&self) -> Vec<Vec<Word>> {
        let mut groups = Vec::new();
        // What nearly all blocks hold comes last.
        groups.extend(self.text.words().take(Self::MOST_WORDS).map(|word| vec![word]));
        let fingerprints =
            self.fingerprints.iter().filter(|all| all.len() <= Self::MOST_FINGERPRINTS);
        groups.extend(fingerprints.map(|all| {
            all.iter().map(|fingerprint| Field::Fingerprint.word(fingerprint)).collect()
        }));
        for (field, value) in [
            (Field::Service, self.service.as_deref()),
            (Field::Environment, self.environment.as_deref()),
            (Field::Kind, self.kind.map(Kind::name)),
            (Field::Source, self.source.map(Source::name)),
        ] {
            groups.extend(value.map(|value| vec![field.word(value)]));
        }
        let severities = self.severities();
        groups.extend(
            severities
                .map(|all| all.iter().map(|severity| Field::Severity.word(severity)).collect()),
        );
        groups
    }

    /// The names of the severities that it takes; `None` for all.
    pub(crate) fn severities(&self) -> Option<Vec<&'static str>> {
        let least = self.severity?;
        let all = (0..8).map(Severity::from_priority);
        Some(all.filter(|severity| *severity <= least).map(Severity::name).collect())
    }

    /// Whether `event` fits.
    #[must_use]
    pub fn takes(&self, event: &StoredEvent) -> bool {
        let is = |wanted: Option<&str>, value: &str| wanted.is_none_or(|wanted| wanted == value);
        is(self.environment.as_deref(), &event.environment)
            && is(self.service.as_deref(), &event.service)
            && is(self.kind.map(Kind::name), &event.kind)
            && is(self.source.map(Source::name), &event.source)
            && self.since.is_none_or(|since| event.received_at >= since)
            && self.until.is_none_or(|until| event.received_at < until)
            && self.severity.is_none_or(|least| {
                Severity::from_name(&event.severity).is_some_and(|severity| severity <= least)
            })
            && self
                .fingerprints
                .as_ref()
                .is_none_or(|all| event.fingerprint.as_ref().is_some_and(|one| all.contains(one)))
            && self.takes_text(event)
    }

    fn takes_text(&self, event: &StoredEvent) -> bool {
        if self.text.is_empty() {
            return true;
        }
        let has_text = Kind::from_name(&event.kind).is_none_or(has_text);
        let json = event.attributes.as_ref().filter(|_| has_text).map_or("", |json| json.get());
        let plain = without_escapes(json);
        self.text.occur_in(&[
            &event.message,
            event.stack_trace.as_deref().unwrap_or_default(),
            event.process.as_deref().unwrap_or_default(),
            plain.as_deref().unwrap_or(json),
        ])
    }
}

impl StoredEvent {
    /// Its place in the order of a search.
    #[must_use]
    pub fn place(&self) -> Place {
        Place { received_at: self.received_at, id: self.id }
    }

    /// The bytes of its text, roughly.
    pub(crate) fn bytes(&self) -> usize {
        let attributes = self.attributes.as_ref().map_or(0, |json| json.get().len());
        self.message.len() + self.stack_trace.as_ref().map_or(0, String::len) + attributes
    }
}
