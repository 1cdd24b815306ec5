//! Statistics by day: what a commit adds to them, and how they are asked for.

use std::collections::BTreeMap;

use jiff::civil::Date;

use super::{Commit, Left, text_of};
use crate::domain::{
    batch::{Batch, Event},
    time::Micros,
};

const DAY: Micros = 86_400_000_000;

/// The day, in UTC, of a moment.
pub(crate) fn day_of(moment: Micros) -> Date {
    let timestamp = jiff::Timestamp::from_microsecond(moment).unwrap_or_default();
    timestamp.to_zoned(jiff::tz::TimeZone::UTC).date()
}

/// Events that are counted together. Their order is that in which every writer takes the locks of
/// the rows, so that two hubs do not wait for each other in a circle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Group<'a> {
    /// Since 1970.
    pub day: i64,
    pub environment: &'a str,
    pub service: &'a str,
    pub kind: &'static str,
    pub severity: &'static str,
    pub source: &'static str,
}

impl Group<'_> {
    pub(crate) fn date(&self) -> Date {
        day_of(self.day * DAY)
    }
}

/// How much there is of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub events: u64,
    pub messages: u64,
}

impl Count {
    fn add(&mut self, other: Self) {
        self.events += other.events;
        self.messages += other.messages;
    }
}

/// So many events of other groups are looked through for each one before texts are compared.
const ALIKE: usize = 16;

/// What a commit adds to the statistics, without the events that are `left`.
pub(crate) fn sum_days<'a>(commit: &'a Commit, left: &Left) -> BTreeMap<Group<'a>, Count> {
    let mut sums: BTreeMap<Group<'a>, Count> = BTreeMap::new();
    for (index, batch) in commit.batches.iter().enumerate() {
        let mut flush = |alike: &mut Vec<(&Event, Count)>| {
            for (event, count) in alike.drain(..) {
                sums.entry(group_of(batch, event)).or_default().add(count);
            }
        };
        // Neighbours are mostly alike, which is seen without a look at their texts.
        let mut alike: Vec<(&Event, Count)> = Vec::with_capacity(ALIKE);
        for (row, event) in batch.events.iter().enumerate() {
            if !left.is_empty() && left.contains((index, row)) {
                continue;
            }
            let count = Count { events: 1, messages: u64::from(event.messages) };
            if let Some((_, sum)) = alike.iter_mut().find(|(one, _)| are_alike(batch, one, event)) {
                sum.add(count);
                continue;
            }
            if alike.len() == ALIKE {
                flush(&mut alike);
            }
            alike.push((event, count));
        }
        flush(&mut alike);
    }
    sums
}

/// Whether two events are surely of one group.
fn are_alike(batch: &Batch, one: &Event, other: &Event) -> bool {
    let is_one_record = || {
        let (one, other) = (batch.record_of(one), batch.record_of(other));
        one.source == other.source
            && one.received_at.div_euclid(DAY) == other.received_at.div_euclid(DAY)
    };
    one.kind == other.kind
        && one.severity == other.severity
        && one.scope.service == other.scope.service
        && one.scope.environment == other.scope.environment
        && (one.record == other.record || is_one_record())
}

fn group_of<'a>(batch: &'a Batch, event: &Event) -> Group<'a> {
    let record = batch.record_of(event);
    Group {
        day: record.received_at.div_euclid(DAY),
        environment: text_of(batch, event.scope.environment),
        service: text_of(batch, event.scope.service),
        kind: event.kind.name(),
        severity: event.severity.name(),
        source: record.source.name(),
    }
}

/// Days, the first and the last one included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Days {
    pub since: Date,
    pub until: Date,
}

impl Days {
    /// The first moment, and the one behind the last.
    #[must_use]
    pub fn moments(self) -> (Micros, Micros) {
        let start = |date: Date| {
            let at = date.to_zoned(jiff::tz::TimeZone::UTC);
            at.map_or(0, |at| at.timestamp().as_microsecond())
        };
        (start(self.since), start(self.until) + DAY)
    }
}

/// What the events of a day are told apart by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum By {
    /// Not at all.
    #[default]
    Day,
    Environment,
    Service,
    Severity,
    Kind,
    Source,
}

impl By {
    pub const ALL: [Self; 6] =
        [Self::Day, Self::Environment, Self::Service, Self::Severity, Self::Kind, Self::Source];

    /// The name in questions, and of the column.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Environment => "environment",
            Self::Service => "service",
            Self::Severity => "severity",
            Self::Kind => "kind",
            Self::Source => "source",
        }
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|by| by.name() == name)
    }

    /// What stands for the key in SQL.
    pub(crate) const fn sql(self) -> &'static str {
        match self {
            Self::Day => "''",
            _ => self.name(),
        }
    }
}

/// Keys that are told apart, those with most events in all; the others count as
/// [`DayCount::OTHERS`].
pub const KEYS: i64 = 100;

/// What was stored on a day.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct DayCount {
    /// `2026-11-22`, in UTC.
    pub day: String,
    /// What it is told apart by; empty for `by=day`.
    pub key: String,
    pub events: i64,
    /// Messages that were joined into these events.
    pub messages: i64,
}

impl DayCount {
    pub const OTHERS: &str = "(others)";
}

/// How jobs ended on a day.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct JobDayCount {
    /// `2026-11-22`, in UTC.
    pub day: String,
    pub action: String,
    /// `completed`, `dead` or `discarded`.
    pub outcome: String,
    pub count: i64,
}
