//! What retention asks of a store: days that leave and come back, rows that go by age, how much there
//! is, and who is at it.
//!
//! A day leaves in steps that a crash may come between: it is [taken out](RetentionStore::leave_day)
//! of what is written to, [read](RetentionStore::leaving_events) into an archive where one is wanted,
//! noted as [archived](RetentionStore::archived), and [dropped](RetentionStore::drop_day). Whoever
//! comes next finds it [under way](RetentionStore::leaving) and goes on.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use jiff::civil::Date;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{StoreError, as_rfc3339, jobs::Holder, statistics::Days};
use crate::{
    adapters::archive::Manifest,
    domain::{archived::ArchivedEvent, batch::Batch, retention::Aged, time::Micros},
};

/// A day of events that are in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct EventDay {
    #[schema(value_type = String, format = Date)]
    pub day: Date,
    /// That were stored of it, by the statistics, which do not forget those that have left.
    pub events: u64,
    /// On disk, with indexes, where the store knows it by day.
    pub bytes: Option<u64>,
}

/// How far a day has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Nothing is written to it any more.
    Leaving,
    /// It is in its archive, or none is wanted.
    Archived,
    /// The store has it no more.
    Dropped,
}

impl Stage {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Leaving => "leaving",
            Self::Archived => "archived",
            Self::Dropped => "dropped",
        }
    }

    pub(crate) fn from_name(name: &str) -> Self {
        match name {
            "dropped" => Self::Dropped,
            "archived" => Self::Archived,
            _ => Self::Leaving,
        }
    }
}

/// A day that is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaving {
    /// Of its archive.
    pub id: Uuid,
    pub day: Date,
    pub part: u32,
    pub stage: Stage,
    /// The archive's name; `None` where none is wanted.
    pub file: Option<String>,
    /// Of its events so many were brought back from archives, and are there still.
    pub restored: u64,
    /// The last of its events, in stores that delete them one by one.
    pub through: i64,
}

/// A day that has left, or is about to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct GoneDay {
    /// Of the archive.
    pub id: String,
    #[schema(value_type = String, format = Date)]
    pub day: Date,
    pub part: i32,
    pub stage: Stage,
    /// The archive's name, where there is one.
    pub file: Option<String>,
    pub events: i64,
    /// Of these, so many had been brought back from archives.
    pub restored: i64,
    /// Of the archive.
    pub bytes: i64,
    pub sha256: String,
    /// Its events are in this later archive, too.
    pub kept_in: Option<String>,
    #[serde(serialize_with = "as_rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub began_at: Micros,
}

/// An archive whose events are back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct RestoredDay {
    /// Its id.
    pub archive: String,
    #[schema(value_type = String, format = Date)]
    pub day: Date,
    pub file: String,
    /// Of the archive.
    pub events: i64,
    /// So many of them are back.
    pub restored: i64,
    /// Then they may leave again.
    #[serde(serialize_with = "as_rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub until: Micros,
}

/// What came of taking a day out.
#[derive(Debug)]
pub enum Leave {
    Leaving(Leaving),
    /// Somebody uses it; try again soon.
    Busy,
    /// Some of an archive came back, not all, and there are others: together they would be archived
    /// again, with what that archive has.
    Unfinished,
    /// There is nothing of it.
    Nothing,
}

/// Events of a day that leaves.
#[derive(Clone, Debug)]
pub struct Read {
    pub events: Vec<ArchivedEvent>,
    /// Where to go on; the step's end when there are no more.
    pub next: i64,
}

/// No more is read at once when the texts of what was read have so many bytes.
pub const MOST_BYTES: i64 = 16 << 20;

/// Rows that went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    pub rows: u64,
    /// Where to go on; `None` at the end.
    pub next: Option<i64>,
}

/// How much a table holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct TableSize {
    /// The table; `file` and `free` for a `SQLite` file and what in it is free.
    pub table: String,
    /// On disk, with indexes.
    pub bytes: u64,
    /// An estimate; none where nobody knows.
    pub rows: Option<u64>,
}

/// A run of retention.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct StoredRun {
    #[serde(serialize_with = "as_rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub started_at: Micros,
    #[serde(serialize_with = "as_rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub ended_at: Micros,
    /// What went, and what went wrong.
    #[schema(value_type = Object)]
    pub report: Box<RawValue>,
}

/// Why an archive cannot be restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The store still has its events, or has them by another archive.
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl RestoreError {
    pub(crate) fn leaving(day: Date) -> Self {
        Self::Refused(format!("events of {day} are leaving the store just now: try again later"))
    }

    pub(crate) fn kept_in(later: &Uuid) -> Self {
        Self::Refused(format!(
            "its events are in a later archive of that day, too: restore that of id {later}"
        ))
    }
}

/// The next events of an archive.
#[derive(Clone, Debug)]
pub struct RestoreStep {
    pub archive: Uuid,
    pub day: Date,
    /// So many were restored before; otherwise nothing is done.
    pub after: u64,
    pub events: u64,
    /// By the number that stands for their origin in this store.
    pub batches: BTreeMap<i32, Arc<Batch>>,
}

/// Events that are counted together, or by how many a count differs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Counted {
    pub day: Date,
    pub environment: String,
    pub service: String,
    pub kind: String,
    pub severity: String,
    pub source: String,
    pub events: i64,
    pub messages: i64,
}

/// Ends of jobs that are counted together, or by how many a count differs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CountedJobs {
    pub day: Date,
    pub environment: String,
    pub action: String,
    pub outcome: String,
    pub count: i64,
}

/// What statistics say, and what is there, at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recount<T> {
    pub kept: Vec<T>,
    pub found: Vec<T>,
}

impl Recount<Counted> {
    /// What must be added to the statistics so that they say what is there: nothing where they do.
    #[must_use]
    pub fn differences(self) -> Vec<Counted> {
        let mut sums: BTreeMap<Counted, (i64, i64)> = BTreeMap::new();
        for (all, sign) in [(self.found, 1), (self.kept, -1)] {
            for counted in all {
                let (events, messages) = (sign * counted.events, sign * counted.messages);
                let group = Counted { events: 0, messages: 0, ..counted };
                let sum = sums.entry(group).or_default();
                *sum = (sum.0 + events, sum.1 + messages);
            }
        }
        let differ = sums.into_iter().filter(|(_, sum)| *sum != (0, 0));
        differ.map(|(group, (events, messages))| Counted { events, messages, ..group }).collect()
    }
}

impl Recount<CountedJobs> {
    /// Without the days of which the audit trail may have forgotten ends of jobs, as it does by age:
    /// up to that of its `oldest` entry. And without those of which an entry does not say what ended,
    /// for it is older than that is noted, and its job is gone: found with an empty action.
    pub(crate) fn of_known_days(mut self, oldest: Option<Date>) -> Self {
        let nameless = self.found.iter().filter(|one| one.action.is_empty());
        let nameless: BTreeSet<Date> = nameless.map(|one| one.day).collect();
        let is_known = |one: &CountedJobs| {
            oldest.is_some_and(|oldest| one.day > oldest) && !nameless.contains(&one.day)
        };
        self.kept.retain(is_known);
        self.found.retain(is_known);
        self
    }

    /// Likewise.
    #[must_use]
    pub fn differences(self) -> Vec<CountedJobs> {
        let mut sums: BTreeMap<CountedJobs, i64> = BTreeMap::new();
        for (all, sign) in [(self.found, 1), (self.kept, -1)] {
            for counted in all {
                let count = sign * counted.count;
                *sums.entry(CountedJobs { count: 0, ..counted }).or_default() += count;
            }
        }
        let differ = sums.into_iter().filter(|(_, count)| *count != 0);
        differ.map(|(group, count)| CountedJobs { count, ..group }).collect()
    }
}

/// See the [module](self).
#[async_trait]
pub trait RetentionStore: Send + Sync {
    /// Takes the lease for so long, or prolongs it; `false` while another one has it.
    async fn lease_retention(&self, holder: Holder, lease: Duration) -> Result<bool, StoreError>;

    /// Gives the lease back, where it is still held.
    async fn release_retention(&self, holder: Holder) -> Result<(), StoreError>;

    /// The days of which there are events, the oldest first.
    async fn event_days(&self) -> Result<Vec<EventDay>, StoreError>;

    /// Days that have left, or are about to: the latest first.
    async fn gone_days(&self, limit: u32) -> Result<Vec<GoneDay>, StoreError>;

    /// All that have left of these days.
    async fn gone_between(&self, days: Days) -> Result<Vec<GoneDay>, StoreError>;

    async fn restored_days(&self) -> Result<Vec<RestoredDay>, StoreError>;

    /// Days that are under way.
    async fn leaving(&self) -> Result<Vec<Leaving>, StoreError>;

    /// Takes a day out, waiting no longer than `patience` for those who use it. `is_archived` says
    /// whether an archive is wanted.
    async fn leave_day(
        &self,
        day: Date,
        is_archived: bool,
        patience: Duration,
    ) -> Result<Leave, StoreError>;

    /// Steps in which its events are read, counted and deleted.
    async fn steps(&self, leaving: &Leaving) -> Result<Vec<Range<i64>>, StoreError>;

    /// The first events of a step, or of the rest of one: about [`MOST_BYTES`] at most.
    async fn leaving_events(
        &self,
        leaving: &Leaving,
        step: &Range<i64>,
    ) -> Result<Read, StoreError>;

    /// How many events a step has.
    async fn count_leaving(&self, leaving: &Leaving, step: &Range<i64>) -> Result<u64, StoreError>;

    /// Which journals the numbers of origins stand for.
    async fn origins_of(&self, numbers: &[i32]) -> Result<BTreeMap<i32, Uuid>, StoreError>;

    /// Notes that the archive is whole and durable; without a manifest, that none is needed.
    /// `events` is how many the day has: they are not there to be counted when some are deleted.
    async fn archived(
        &self,
        leaving: &Leaving,
        manifest: Option<&Manifest>,
        events: u64,
    ) -> Result<(), StoreError>;

    /// Deletes the events of a step, in stores that do so one by one; gives how many.
    async fn delete_step(&self, leaving: &Leaving, step: &Range<i64>) -> Result<u64, StoreError>;

    /// The last step: drops what is left of the day. `events` is how many it had.
    async fn drop_day(&self, leaving: &Leaving, events: u64) -> Result<(), StoreError>;

    /// Deletes up to `limit` rows that are older than a moment, those behind `after`.
    async fn prune(
        &self,
        aged: Aged,
        before: Micros,
        after: i64,
        limit: u32,
    ) -> Result<Pruned, StoreError>;

    /// Gives a little of what was deleted back to the disk, where that must be asked for; `false`
    /// when nothing is left.
    async fn tidy(&self) -> Result<bool, StoreError>;

    async fn sizes(&self) -> Result<Vec<TableSize>, StoreError>;

    /// Keeps the report of a run (a JSON object).
    async fn keep_run(
        &self,
        started_at: Micros,
        ended_at: Micros,
        report: &str,
    ) -> Result<(), StoreError>;

    /// The last runs, the latest first.
    async fn retention_runs(&self, limit: u32) -> Result<Vec<StoredRun>, StoreError>;

    /// Prepares for the events of an archive, which stay until a moment; gives how many of them are
    /// back already, and the numbers that stand for its origins here.
    async fn begin_restore(
        &self,
        manifest: &Manifest,
        until: Micros,
    ) -> Result<(u64, BTreeMap<Uuid, i32>), RestoreError>;

    /// Stores events again, without counting them; gives how many are back afterwards.
    async fn restore(&self, step: &RestoreStep) -> Result<u64, RestoreError>;

    /// The statistics of events of these days, and the same counted from the events that are there.
    async fn recount(&self, days: Days) -> Result<Recount<Counted>, StoreError>;

    /// The statistics of jobs of these days, and the same counted from the audit trail; of days of
    /// which that may have forgotten some, neither.
    async fn recount_jobs(&self, days: Days) -> Result<Recount<CountedJobs>, StoreError>;

    /// Adds these differences to the statistics; what becomes nothing is deleted.
    async fn correct(&self, differences: &[Counted]) -> Result<(), StoreError>;

    /// Likewise for those of jobs.
    async fn correct_jobs(&self, differences: &[CountedJobs]) -> Result<(), StoreError>;
}

/// Runs of which the report is kept.
pub const RUNS: u32 = 200;

#[cfg(test)]
mod tests {
    use super::*;

    fn jobs(day: &str, action: &str, count: i64) -> CountedJobs {
        let [environment, outcome] = ["prod", "completed"].map(str::to_owned);
        CountedJobs {
            day: day.parse().unwrap(),
            environment,
            action: action.to_owned(),
            outcome,
            count,
        }
    }

    #[test]
    fn jobs_are_compared_on_days_that_the_audit_trail_knows() {
        let days = ["2026-11-20", "2026-11-21", "2026-11-22", "2026-11-23"];
        let kept: Vec<_> = days.iter().map(|day| jobs(day, "create", 3)).collect();
        let found = vec![
            jobs(days[1], "create", 1),
            jobs(days[2], "", 1),
            jobs(days[2], "create", 2),
            jobs(days[3], "create", 5),
        ];
        let recount = Recount { kept, found };
        let differences = |oldest: Option<&str>| {
            let oldest = oldest.map(|day| day.parse().unwrap());
            recount.clone().of_known_days(oldest).differences()
        };
        assert_eq!(differences(Some(days[1])), [jobs(days[3], "create", 2)]);
        assert!(differences(Some(days[3])).is_empty());
        assert!(differences(None).is_empty());
    }
}
