//! Jobs and tickets in a store: what is decided about faults, who works at what, and what came of
//! it.
//!
//! Every change of state is written together with its row in `audit_trail`. Leases and due times
//! are told by the store's clock where hubs share it.

use std::{collections::HashMap, time::Duration};

use async_trait::async_trait;
use serde_json::{Value, value::RawValue};

use super::{StoreError, as_rfc3339};
use crate::domain::{
    decision::{self, Comeback},
    event::{Kind, Severity},
    fault::FaultId,
    job::{Action, State, Step},
    notification::Notification,
    storm::Storm,
    time::Micros,
};

/// Who has jobs in hand: a hub's worker, from its start to its end.
pub type Holder = uuid::Uuid;
/// Identifies a job in its store.
pub type JobId = i64;

/// Which faults to look at.
#[derive(Clone, Copy, Debug)]
pub enum Which<'a> {
    /// These.
    These(&'a [FaultId]),
    /// All with higher numbers, in ascending order.
    After(FaultId),
    /// Those held back by a storm in this environment, those met most often first.
    Held(&'a str),
    /// This one, also when nothing is to be decided.
    Known(FaultId),
}

/// A fault about which something is to be decided.
#[derive(Clone, Debug)]
pub struct Undecided {
    pub fault: decision::Undecided,
    pub environment: String,
    pub service: String,
    pub kind: Kind,
    pub severity: Severity,
    pub fingerprint: String,
    pub title: String,
    pub example: String,
    pub latest: String,
    pub first_seen: Micros,
    /// The rule that selected it, for changes.
    pub rule: String,
    /// It is held back by a storm.
    pub is_held: bool,
    /// How often people, or the tracker, have said where it stands, or people which shapes it has.
    pub steered: u32,
}

/// An intent, as it is to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct Intent {
    pub action: Action,
    pub incident: u32,
    /// What makes it one of its kind: of a comment the milestone.
    pub mark: String,
    pub rule: String,
    /// What is to be sent.
    pub request: Value,
    /// The ticket's locator, of [`Action::Create`].
    pub locator: String,
    /// How long it waits before it is due.
    pub due_in: Duration,
}

impl Intent {
    /// Whether it is due to a fault that came back: its ticket is opened again, or a new one is
    /// linked to the one before.
    fn is_comeback(&self) -> bool {
        match self.action {
            Action::Reopen => true,
            Action::Create => self.request["before"].is_string(),
            Action::Comment | Action::Edit => false,
        }
    }
}

/// What was decided about a fault.
#[derive(Clone, Debug)]
pub struct Decided {
    pub fault: FaultId,
    pub environment: String,
    pub title: String,
    /// The count and the incident that were decided about, and how often the fault was steered until
    /// then: where somebody else has decided about later ones, this decision is not written.
    pub count: u64,
    pub incident: u32,
    pub steered: u32,
    pub reason: String,
    pub again_at: Option<Micros>,
    pub comeback: Comeback,
    pub intent: Option<Intent>,
}

impl Decided {
    /// What people should know of it: that the fault came back after its ticket was done.
    pub(crate) fn notification(&self) -> Option<Notification> {
        let action = self.intent.as_ref().filter(|intent| intent.is_comeback())?.action;
        Some(Notification::came_back(self.fault, &self.environment, &self.title, action))
    }
}

/// How many new tickets an environment gets before it is a storm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    pub tickets: u32,
    pub window: Duration,
}

/// What became of decisions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    pub intents: u64,
    /// New tickets that are held back.
    pub held: u64,
}

/// A job in a worker's hands.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    pub id: JobId,
    pub fault: FaultId,
    pub incident: u32,
    pub action: Action,
    pub mark: String,
    pub attempts: u32,
    /// How often it was looked for, or refused as it is, in vain; one after the other.
    pub searches: u32,
    /// How long ago it may last have been done without our hearing of it.
    pub unknown_for: Option<Duration>,
    pub request: Value,
    pub locator: String,
    /// The ticket's key, once it has one.
    pub key: Option<String>,
}

/// What came of a job.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    pub step: Step,
    /// When it is due again.
    pub due_in: Duration,
    /// It counts as an attempt.
    pub is_attempt: bool,
    /// It was looked for in vain, or refused as it is.
    pub is_search: bool,
    /// What was said: an error, or nothing.
    pub error: String,
    /// What the tracker answered, or would have been sent.
    pub response: Option<Value>,
    /// What the ticket is now.
    pub ticket: Option<TicketChange>,
    /// Fields and what is wrong with them, of [`Step::GiveUp`].
    pub problems: Vec<(String, String)>,
}

impl Outcome {
    #[must_use]
    pub fn new(step: Step) -> Self {
        Self {
            step,
            due_in: Duration::ZERO,
            is_attempt: false,
            is_search: false,
            error: String::new(),
            response: None,
            ticket: None,
            problems: Vec::new(),
        }
    }

    /// Whether nothing was done, and nothing learnt: what may have been done before still may.
    pub(crate) fn is_untouched(&self) -> bool {
        self.step == Step::Release || (self.step == Step::Delay && !self.is_attempt)
    }
}

/// What a job did to a ticket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TicketChange {
    /// `id` is the tracker's, which stays the same when the key changes.
    Made {
        key: String,
        id: Option<String>,
        is_dry_run: bool,
    },
    Commented,
    Reopened,
    /// The tracker has no such ticket any more.
    Gone,
}

/// A ticket as the tracker shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenTicket {
    /// The tracker's, which stays the same when the key changes; a copy has another.
    pub id: Option<String>,
    pub key: String,
    /// One of them may be the locator. It does not say alone that this is the ticket: copies have the
    /// same labels.
    pub labels: Vec<String>,
    pub status: String,
    pub is_done: bool,
    pub resolution: String,
    pub resolved_at: Option<Micros>,
    /// When it was changed last, by the tracker's clock.
    pub changed_at: Micros,
}

/// Which jobs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobFilter {
    pub ids: Option<Vec<JobId>>,
    pub state: Option<State>,
    pub action: Option<Action>,
    pub environment: Option<String>,
    pub fault: Option<FaultId>,
    pub key: Option<String>,
    /// A part of what was sent, of the answer or of the error.
    pub text: Option<String>,
    /// Made then or later …
    pub since: Option<Micros>,
    /// … and before.
    pub until: Option<Micros>,
    /// With lower numbers.
    pub before: Option<JobId>,
    /// With this number or higher ones.
    pub from: Option<JobId>,
}

/// What people do with jobs.
#[derive(Clone, Debug, PartialEq)]
pub enum Steer {
    Retry,
    Discard,
    /// Retry with another request.
    Edit(Value),
}

impl Steer {
    #[must_use]
    pub const fn step(&self) -> Step {
        match self {
            Self::Retry | Self::Edit(_) => Step::Retry,
            Self::Discard => Step::Discard,
        }
    }
}

/// A job as a person sees it.
#[derive(Clone, Debug, serde::Serialize, utoipa::ToSchema)]
#[schema(as = Job)]
pub struct StoredJob {
    pub id: JobId,
    pub fault: FaultId,
    /// The number of the fault's ticket.
    pub incident: i32,
    /// `create`, `comment`, `reopen` or `edit`.
    pub action: String,
    /// What makes it one of its kind: of a comment the milestone.
    pub mark: String,
    pub environment: String,
    /// `waiting`, `active`, `delayed`, `completed`, `dead`, `unknown` or `discarded`.
    pub state: String,
    pub rule: String,
    pub attempts: i32,
    /// How often it was looked for, or refused with 403, in vain; one after the other.
    pub searches: i32,
    /// The ticket's key in Jira, once it has one.
    pub key: Option<String>,
    /// The label by which the ticket is found.
    pub locator: String,
    /// What went wrong last; empty for nothing.
    pub error: String,
    /// What is sent.
    #[schema(value_type = Object)]
    pub request: Box<RawValue>,
    /// What Jira answered, or would have been sent in a dry run.
    #[schema(value_type = Option<Object>)]
    pub response: Option<Box<RawValue>>,
    #[serde(serialize_with = "as_rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Micros,
    #[serde(serialize_with = "as_rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Micros,
    #[serde(serialize_with = "as_rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub due_at: Micros,
}

/// A ticket as a person sees it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct StoredTicket {
    pub fault: FaultId,
    pub incident: i32,
    pub locator: String,
    pub key: Option<String>,
    pub is_dry_run: bool,
    pub status: String,
    pub is_done: bool,
    pub resolution: String,
    #[serde(serialize_with = "as_rfc3339")]
    pub created_at: Micros,
}

/// How many jobs there are in each state.
pub type JobCounts = Vec<(State, u64)>;
/// How many jobs there are of each action and state.
pub type QueueCounts = Vec<(Action, State, u64)>;

/// Why a job was given up.
#[derive(Clone, Debug, serde::Serialize, utoipa::ToSchema)]
pub struct StoredFailure {
    #[serde(serialize_with = "as_rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub at: Micros,
    pub error: String,
    /// Pairs of a field and what the tracker says is wrong with it.
    #[schema(value_type = Vec<Vec<String>>)]
    pub problems: Box<RawValue>,
    /// What was sent.
    #[schema(value_type = Object)]
    pub request: Box<RawValue>,
}

/// The part of a [`Store`](super::Store) that dispatch needs.
#[async_trait]
pub trait JobStore: Send + Sync {
    /// Up to `limit` faults that were met since something was decided about them, or about which
    /// something is to be decided again by now.
    async fn undecided(&self, which: Which<'_>, limit: u32) -> Result<Vec<Undecided>, StoreError>;

    /// How often the fault was met since then; counts no further than `most`.
    async fn occurrences(
        &self,
        fault: FaultId,
        since: Micros,
        most: u64,
    ) -> Result<u64, StoreError>;

    /// Writes decisions, with their intents. Of new tickets beyond the budget of their environment
    /// the fault is marked as held back instead.
    async fn decide(
        &self,
        decisions: &[Decided],
        budget: Option<Budget>,
    ) -> Result<Written, StoreError>;

    /// The storms that go on, one an environment.
    async fn storms(&self, window: Duration) -> Result<Vec<Storm>, StoreError>;

    /// Makes a storm's fault, with its ticket to be made, unless there is one.
    async fn begin_storm(
        &self,
        environment: &str,
        title: &str,
        intent: &Intent,
    ) -> Result<(), StoreError>;

    /// One more thing to do at a fault's ticket, unless it is there already.
    async fn intend(
        &self,
        fault: FaultId,
        environment: &str,
        intent: &Intent,
    ) -> Result<(), StoreError>;

    /// The storm is over.
    async fn end_storm(&self, fault: FaultId) -> Result<(), StoreError>;

    /// Takes up to `limit` due jobs, and those whose holder has not been heard of.
    async fn claim(
        &self,
        holder: Holder,
        lease: Duration,
        limit: u32,
    ) -> Result<Vec<Job>, StoreError>;

    /// Prolongs the leases of `holder`; says how many hubs are there.
    async fn keep(&self, holder: Holder, lease: Duration) -> Result<u32, StoreError>;

    /// Writes what came of a job. `false` where it is in other hands by now.
    async fn settle(
        &self,
        job: JobId,
        holder: Holder,
        outcome: &Outcome,
    ) -> Result<bool, StoreError>;

    /// Learns how tickets stand; gives how many were another way before. What is older than what is
    /// known is no news: a search may lag behind.
    async fn tickets_seen(&self, seen: &[SeenTicket]) -> Result<u64, StoreError>;

    /// Learns that the ticket with this key is not there any more: its fault has none, and gets a new
    /// one when it is met next.
    async fn ticket_gone(&self, key: &str) -> Result<(), StoreError>;

    /// The newest jobs.
    async fn jobs(&self, filter: &JobFilter, limit: u32) -> Result<Vec<StoredJob>, StoreError>;

    /// Of the next `span` jobs that a filter fits, its text left aside, the last one's number; `None`
    /// where there are none.
    async fn job_window(&self, filter: &JobFilter, span: u32) -> Result<Option<JobId>, StoreError>;

    /// How many jobs of a filter there are of each action and state.
    async fn job_queues(&self, filter: &JobFilter) -> Result<QueueCounts, StoreError>;

    /// How many jobs of a filter there are in each state.
    async fn job_counts(&self, filter: &JobFilter) -> Result<JobCounts, StoreError> {
        let mut counts = [0; State::ALL.len()];
        for (_, state, count) in self.job_queues(filter).await? {
            counts[state as usize] += count;
        }
        let counts = State::ALL.into_iter().zip(counts);
        Ok(counts.filter(|(_, count)| *count > 0).collect())
    }

    /// Why a job was given up, each time, the oldest first.
    async fn job_failures(&self, job: JobId) -> Result<Vec<StoredFailure>, StoreError>;

    /// Retries or discards all of a filter that can be; gives their numbers. Their attempts begin
    /// anew; what these may have done is not forgotten.
    async fn steer(
        &self,
        filter: &JobFilter,
        steer: &Steer,
        who: &str,
    ) -> Result<Vec<JobId>, StoreError>;

    /// Tickets of a fault, the newest first.
    async fn tickets(&self, fault: FaultId) -> Result<Vec<StoredTicket>, StoreError>;

    /// What was decided last about a fault, and its entries in the audit trail, the newest first.
    async fn why(&self, fault: FaultId) -> Result<Option<Why>, StoreError>;

    /// A job's entries in the audit trail, the oldest first.
    async fn history(&self, job: JobId) -> Result<Vec<super::AuditEntry>, StoreError>;

    /// Whether dispatch is paused, for all hubs.
    async fn is_paused(&self) -> Result<bool, StoreError>;

    async fn pause(&self, is_paused: bool, who: &str) -> Result<(), StoreError>;
}

/// Why a fault has a ticket or none.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Why {
    /// What was decided last.
    pub decision: String,
    pub decided_count: i64,
    pub audit: Vec<super::AuditEntry>,
}

/// Whether a decision says that the fault has come back, and whether it is like any other again: not
/// as long as its ticket is held back.
pub(crate) fn comeback_of(decided: &Decided, is_held: bool) -> Comeback {
    match decided.comeback {
        Comeback::Heeded if is_held => Comeback::Noticed,
        comeback => comeback,
    }
}

/// Why a fault gets no ticket yet.
pub(crate) const HELD: &str =
    "held back: there are more new faults than tickets to be made (a storm)";

/// Which decisions have to wait: of the new tickets those beyond what is `left` of the budget of
/// their environment. Faults met most often come first.
pub(crate) fn held_back<'a>(
    decisions: &'a [Decided],
    left: &mut HashMap<&'a str, u64>,
) -> Vec<bool> {
    let mut held = vec![false; decisions.len()];
    let mut new: Vec<usize> = (0..decisions.len())
        .filter(|index| {
            let intent = decisions[*index].intent.as_ref();
            intent.is_some_and(|intent| intent.action == Action::Create)
        })
        .collect();
    new.sort_by_key(|index| std::cmp::Reverse(decisions[*index].count));
    for index in new {
        if let Some(left) = left.get_mut(decisions[index].environment.as_str()) {
            held[index] = *left == 0;
            *left = left.saturating_sub(1);
        }
    }
    held
}
