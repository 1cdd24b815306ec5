//! What a client wants to hear of.

use axum::http::StatusCode;
use faultline_actors::domain::{
    batch::{Batch, Event, Span},
    event::Severity,
};
use memchr::{memchr, memchr2};

use super::Query;
use crate::problem::Problem;

/// What messages are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Topic {
    Faults,
    Jobs,
    Health,
    Throughput,
    Notifications,
    Events,
}

impl Topic {
    const ALL: [Self; 6] = [
        Self::Faults,
        Self::Jobs,
        Self::Health,
        Self::Throughput,
        Self::Notifications,
        Self::Events,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Faults => "faults",
            Self::Jobs => "jobs",
            Self::Health => "health",
            Self::Throughput => "throughput",
            Self::Notifications => "notifications",
            Self::Events => "events",
        }
    }
}

/// Some topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Topics(u8);

impl Topics {
    fn parse(names: Option<&str>) -> Result<Self, Problem> {
        let Some(names) = names else {
            // The events are many, and only for those who ask for them.
            return Ok(Self(Topic::ALL.iter().fold(0, |all, topic| all | 1 << *topic as u8))
                .without(Topic::Events));
        };
        let mut topics = Self(0);
        for name in names.split(',').filter(|name| !name.is_empty()) {
            let topic = Topic::ALL.into_iter().find(|topic| topic.name() == name);
            let topic = topic.ok_or_else(|| {
                let known = Topic::ALL.map(Topic::name).join(", ");
                let detail = format!("topics: {name:?} is none; there are {known}");
                Problem::new(StatusCode::BAD_REQUEST, detail)
            })?;
            topics.0 |= 1 << topic as u8;
        }
        Ok(topics)
    }

    fn without(self, topic: Topic) -> Self {
        Self(self.0 & !(1 << topic as u8))
    }

    pub(super) fn has(self, topic: Topic) -> bool {
        self.0 & (1 << topic as u8) != 0
    }
}

/// What filters look at in a fault.
#[derive(Clone, Debug)]
pub(super) struct About {
    pub environment: String,
    pub service: String,
    pub severity: Option<Severity>,
    /// All that is searched.
    pub text: String,
}

/// Which faults and events; what is `None` does not matter.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    environment: Option<String>,
    service: Option<String>,
    /// At least as bad.
    severity: Option<Severity>,
    /// In lower case.
    text: Option<String>,
}

impl Filter {
    /// What a query asks for. An empty parameter is none.
    pub(super) fn parse(query: &Query) -> Result<(Topics, Self), Problem> {
        let topics = Topics::parse(query.topics.as_deref())?;
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let severity = given(&query.severity).map(|name| {
            Severity::from_name(&name).ok_or_else(|| {
                let detail = format!("severity={name:?}: emergency … debug are possible");
                Problem::new(StatusCode::BAD_REQUEST, detail)
            })
        });
        let filter = Self {
            environment: given(&query.environment),
            service: given(&query.service),
            severity: severity.transpose()?,
            text: given(&query.text).map(|text| text.to_lowercase()),
        };
        Ok((topics, filter))
    }

    pub(super) fn lets_fault(&self, about: &About) -> bool {
        self.environment.as_ref().is_none_or(|wanted| *wanted == about.environment)
            && self.service.as_ref().is_none_or(|wanted| *wanted == about.service)
            && self.severity.is_none_or(|least| about.severity.is_some_and(|met| met <= least))
            && self.text.as_ref().is_none_or(|wanted| contains(about.text.as_bytes(), wanted))
    }

    pub(super) fn lets_event(&self, batch: &Batch, event: &Event) -> bool {
        let is = |span: Span, wanted: &Option<String>| {
            wanted.as_ref().is_none_or(|wanted| batch.text.get(span) == wanted.as_bytes())
        };
        self.severity.is_none_or(|least| event.severity <= least)
            && is(event.scope.environment, &self.environment)
            && is(event.scope.service, &self.service)
            && self.text.as_ref().is_none_or(|wanted| {
                contains(batch.text.get(event.message), wanted)
                    || contains(batch.text.get(event.stack_trace), wanted)
            })
    }
}

/// Whether `text` has `wanted`, which is in lower case, in any case.
fn contains(text: &[u8], wanted: &str) -> bool {
    let Some(first) = wanted.bytes().next() else { return true };
    if !wanted.is_ascii() {
        // Letters beyond ASCII change their length with their case.
        return String::from_utf8_lossy(text).to_lowercase().contains(wanted);
    }
    let upper = first.to_ascii_uppercase();
    let mut rest = text;
    loop {
        let found = if upper == first { memchr(first, rest) } else { memchr2(first, upper, rest) };
        let Some(at) = found else { return false };
        let Some(here) = rest.get(at..at + wanted.len()) else { return false };
        if here.eq_ignore_ascii_case(wanted.as_bytes()) {
            return true;
        }
        rest = &rest[at + 1..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_found_in_any_case() {
        for (text, wanted) in [
            ("Connection REFUSED", "refused"),
            ("aab", "ab"),
            ("ÄPFEL", "äpfel"),
            ("x", ""),
            ("id=42", "=42"),
            ("the İstanbul office", "office"),
        ] {
            assert!(contains(text.as_bytes(), wanted), "{wanted} in {text}");
        }
        for (text, wanted) in [("refuse", "refused"), ("", "a"), ("aa", "ab"), ("apfel", "äpfel")]
        {
            assert!(!contains(text.as_bytes(), wanted), "{wanted} in {text}");
        }
    }

    #[test]
    fn a_fault_must_be_all_that_is_wanted() {
        let about = About {
            environment: "production".to_owned(),
            service: "shop".to_owned(),
            severity: Some(Severity::Error),
            text: "payment refused".to_owned(),
        };
        let filter = |environment: &str, severity: &str, text: &str| {
            let given = |text: &str| Some(text.to_owned());
            let query = Query {
                environment: given(environment),
                severity: given(severity),
                text: given(text),
                ..Query::default()
            };
            Filter::parse(&query).unwrap().1
        };
        assert!(filter("", "", "").lets_fault(&about));
        assert!(filter("production", "warning", "REFUSED").lets_fault(&about));
        assert!(filter("production", "error", "").lets_fault(&about));
        assert!(!filter("staging", "", "").lets_fault(&about));
        assert!(!filter("", "critical", "").lets_fault(&about));
        assert!(!filter("", "", "accepted").lets_fault(&about));
    }

    #[test]
    fn topics_are_named_and_all_but_events_by_default() {
        let some = Topics::parse(Some("faults,events")).unwrap();
        assert!(some.has(Topic::Faults) && some.has(Topic::Events) && !some.has(Topic::Jobs));
        let default = Topics::parse(None).unwrap();
        for topic in Topic::ALL {
            assert_eq!(default.has(topic), topic != Topic::Events, "{topic:?}");
        }
        assert!(Topics::parse(Some("faults,weather")).is_err());
    }
}
