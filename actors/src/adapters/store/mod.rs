//! Stores: where events, faults and positions are kept for good.
//!
//! [`Store`] is one trait with two implementations that pass the same conformance suite
//! (`actors/tests/store.rs`): PostgreSQL and SQLite. The one write that matters, [`Store::commit`],
//! is one transaction: events, rejected messages, fault counters, ledger, and "this origin is
//! stored up to this sequence".

use async_trait::async_trait;

pub use self::commit::{Commit, Committed};
use self::search::EventId;
pub(crate) use self::{
    commit::{FaultSum, RejectedRow, rejected_rows, sum_faults, tallies_with, text_of},
    left::{Left, Place, Why, announced, replayed},
};
use super::journal::Origin;
use crate::domain::{
    event::Source,
    fault::{self, FaultId, Gathering, similarity},
    ledger::Tally,
    lesson::{Lesson, Unteachable},
    shape::Shape,
    time::Micros,
};

pub mod access;
pub mod alerts;
mod assignments;
pub mod buckets;
mod commit;
mod copy;
mod fault_list;
pub mod faults;
pub mod health;
mod hours;
pub mod job_page;
pub mod jobs;
mod left;
pub mod live;
pub mod postgres;
pub mod records;
pub mod retention;
mod schema;
pub mod search;
pub mod sqlite;
pub mod statistics;
pub mod streams;
pub mod trail;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody else moved the position, or an earlier commit succeeded without our hearing of it.
    #[error("the origin is stored up to {position}, not where this commit starts")]
    Moved { position: u64 },
    /// The store cannot be reached or cannot work just now; trying again may help.
    #[error("{0}")]
    Unavailable(String),
}

/// Where an origin stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    pub sequence: u64,
    /// Over all origins that this store ever had.
    pub settled: [Tally; Source::COUNT],
    /// Of this origin alone.
    pub own: [Tally; Source::COUNT],
}

/// See the [module](self).
#[async_trait]
pub trait Store:
    jobs::JobStore
    + faults::FaultStore
    + live::LiveStore
    + streams::StreamStore
    + buckets::BucketStore
    + search::EventSearch
    + records::RecordStore
    + access::AccessStore
    + trail::TrailStore
    + alerts::AlertStore
    + health::HealthStore
    + retention::RetentionStore
    + 'static
{
    /// `postgres` or `sqlite`.
    fn name(&self) -> &'static str;

    /// Brings the schema up to date; gives the names of the migrations that were missing.
    async fn migrate(&self) -> Result<Vec<String>, StoreError>;

    /// Whether this program knows its schema, or can bring it up to date. What a newer one has made
    /// is not written to.
    async fn check_schema(&self) -> Result<(), StoreError>;

    /// Where `origin` stands; registers it where it is new.
    async fn position(&self, origin: Origin) -> Result<Position, StoreError>;

    /// Stores the batches and moves the position, all or nothing. A single event that the store
    /// refuses becomes a rejected message, one that is stored already under its
    /// [identity](crate::domain::batch::Batch::announced) a duplicate; neither fails the commit.
    async fn commit(&self, commit: &Commit) -> Result<Committed, StoreError>;

    /// Whether the store answers.
    async fn ping(&self) -> Result<(), StoreError>;

    /// Keeps a snapshot of the traffic statistics (a JSON object).
    async fn save_snapshot(&self, taken_at: Micros, snapshot: &str) -> Result<(), StoreError>;

    /// The faults seen last.
    async fn faults(&self, limit: u32) -> Result<Vec<StoredFault>, StoreError>;

    /// One fault with its shapes; `None` where there is none.
    async fn fault(&self, id: FaultId) -> Result<Option<FaultDetail>, StoreError>;

    /// The fault that a shape of this environment and service belongs to, or would join.
    async fn place(
        &self,
        environment: &str,
        service: &str,
        shape: &Shape,
    ) -> Result<Option<Placed>, StoreError>;

    /// The stored shape of this environment and service that is most like `shape`, and is not it.
    async fn closest(
        &self,
        environment: &str,
        service: &str,
        shape: &Shape,
    ) -> Result<Option<Closest>, StoreError>;

    /// Corrects which fault a shape belongs to, and keeps that in the audit trail; gives the fault
    /// that the lesson is about afterwards.
    async fn teach(&self, lesson: &Lesson, who: &str) -> Result<FaultId, TeachError>;

    /// The newest entries of the audit trail.
    async fn audit(&self, limit: u32) -> Result<Vec<AuditEntry>, StoreError>;

    /// The newest rejected messages.
    async fn rejected(&self, limit: u32) -> Result<Vec<StoredRejected>, StoreError>;
}

/// Why [`Store::teach`] did not.
#[derive(Debug, thiserror::Error)]
pub enum TeachError {
    #[error(transparent)]
    Unteachable(#[from] Unteachable),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A fault with all that belongs to it.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct FaultDetail {
    #[serde(flatten)]
    pub fault: StoredFault,
    /// The oldest first.
    pub shapes: Vec<StoredShape>,
}

/// Where a shape belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    pub fault: FaultId,
    /// The fault's title: the template that the shape is like.
    pub title: String,
    /// It was met before; otherwise it would join.
    pub is_known: bool,
    pub why: String,
    pub detail: String,
}

/// The fault that a shape nobody has met would join, among `templates`.
fn would_join(
    templates: impl Iterator<Item = (String, FaultId)>,
    shape: &Shape,
) -> Option<(FaultId, fault::Why)> {
    let mut gathering = Gathering::new(assignments::PLACES);
    for (template, fault) in templates {
        gathering.add(&(), &template, fault);
    }
    gathering.find(&(), &shape.template)
}

/// The shape most like another one.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Closest {
    pub fault: FaultId,
    /// Its masked message, `*` for each variable.
    pub template: String,
    /// See [`similarity`].
    pub similarity: f64,
}

impl Closest {
    /// Among `templates`, newest first; of equally similar ones the oldest.
    fn among(templates: impl Iterator<Item = (String, FaultId)>, template: &str) -> Option<Self> {
        let mut closest: Option<Self> = None;
        for (other, fault) in templates.filter(|(other, _)| other != template) {
            let similarity = similarity(template, &other);
            if similarity > 0.0 && closest.as_ref().is_none_or(|best| similarity >= best.similarity)
            {
                closest = Some(Self { fault, template: other, similarity });
            }
        }
        closest.map(|best| Self { template: best.template.replace(Shape::HOLE, "*"), ..best })
    }
}

/// So many shapes of a fault are compared with each other.
const COMPARED: usize = 200;

/// Says of each shape which older one of its fault it is most like.
fn compare(fault: FaultId, shapes: &mut [StoredShape]) {
    for index in 1..shapes.len().min(COMPARED) {
        let (older, shape) = shapes.split_at_mut(index);
        if !shape[0].template.is_empty() {
            let templates = older.iter().rev().map(|older| (older.template.clone(), fault));
            shape[0].closest = Closest::among(templates, &shape[0].template);
        }
    }
}

/// A shape as a person sees it.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct StoredShape {
    pub fingerprint: String,
    pub title: String,
    /// `new`, `similar`, `merged`, `split` or `pinned`.
    pub why: String,
    /// To `why`: where it differed, or which fault it came from.
    pub detail: String,
    pub count: i64,
    #[serde(serialize_with = "as_rfc3339")]
    pub first_seen: Micros,
    #[serde(serialize_with = "as_rfc3339")]
    pub last_seen: Micros,
    #[serde(skip)]
    pub template: String,
    /// The older shape of the same fault that it is most like.
    pub closest: Option<Closest>,
}

/// Who did what.
#[derive(Clone, Debug, serde::Serialize, utoipa::ToSchema)]
pub struct AuditEntry {
    pub id: i64,
    #[serde(serialize_with = "as_rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub at: Micros,
    pub who: String,
    pub action: String,
    pub subject: String,
    #[schema(value_type = Object)]
    pub details: Box<serde_json::value::RawValue>,
    /// What it is about, where that is a fault or a job.
    pub fault: Option<FaultId>,
    pub job: Option<i64>,
}

/// An event as a person sees it.
#[derive(Clone, Debug, serde::Serialize, utoipa::ToSchema)]
#[schema(as = Event)]
pub struct StoredEvent {
    /// Its origin, its record's sequence, its place in the record.
    #[serde(serialize_with = "as_text")]
    #[schema(value_type = String, example = "3.4711.0")]
    pub id: EventId,
    #[serde(serialize_with = "as_rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub occurred_at: Micros,
    #[serde(serialize_with = "as_rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub received_at: Micros,
    /// `logdrains`, `errors`, `maxwell` or `bucket`.
    pub source: String,
    /// `log`, `router`, `platform`, `change`, `error` or `object`.
    pub kind: String,
    /// `emergency`, `alert`, `critical`, `error`, `warning`, `notice`, `info` or `debug`.
    pub severity: String,
    pub environment: String,
    pub service: String,
    pub process: Option<String>,
    pub message: String,
    pub stack_trace: Option<String>,
    /// An object, as it came.
    #[schema(value_type = Option<Object>)]
    pub attributes: Option<Box<serde_json::value::RawValue>>,
    /// Of its shape, where it belongs to a fault.
    pub fingerprint: Option<String>,
    /// How many messages were joined into it.
    pub messages: i32,
}

/// A fault as a person sees it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct StoredFault {
    pub id: i64,
    pub environment: String,
    pub service: String,
    pub fingerprint: String,
    pub kind: String,
    pub severity: String,
    pub title: String,
    /// The first event's message.
    pub example: String,
    /// The latest event's message.
    pub latest: String,
    pub count: i64,
    #[serde(serialize_with = "as_rfc3339")]
    pub first_seen: Micros,
    #[serde(serialize_with = "as_rfc3339")]
    pub last_seen: Micros,
    /// The fault that it was merged into.
    pub merged_into: Option<FaultId>,
    /// The rules that made a fault of a change, one a line.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub rule: String,
}

/// A rejected message.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct StoredRejected {
    pub id: i64,
    #[serde(serialize_with = "as_rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub received_at: Micros,
    /// `logdrains`, `errors`, `maxwell` or `bucket`.
    pub source: String,
    pub reason: String,
    /// The first bytes, as text where they are.
    #[serde(serialize_with = "as_lossy_text")]
    #[schema(value_type = String)]
    pub bytes: Vec<u8>,
    /// The message's true length in bytes; at most a MiB of it is kept.
    pub length: i64,
    /// How many messages it stands for.
    pub messages: i32,
    #[serde(serialize_with = "as_optional_rfc3339")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub replayed_at: Option<Micros>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "called by serde")]
fn as_rfc3339<S: serde::Serializer>(micros: &Micros, serializer: S) -> Result<S::Ok, S::Error> {
    match jiff::Timestamp::from_microsecond(*micros) {
        Ok(timestamp) => serializer.collect_str(&timestamp),
        Err(_) => serializer.serialize_i64(*micros),
    }
}

#[expect(clippy::ref_option, reason = "called by serde")]
fn as_optional_rfc3339<S: serde::Serializer>(
    micros: &Option<Micros>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match micros {
        Some(micros) => as_rfc3339(micros, serializer),
        None => serializer.serialize_none(),
    }
}

fn as_text<S: serde::Serializer>(id: &EventId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

fn as_lossy_text<S: serde::Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    const SHOWN: usize = 2_000;
    serializer.collect_str(&String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN)]))
}

/// Counters are far below 2⁶³.
pub(crate) fn as_i64(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(crate) fn as_u64(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
