//! What is measured, for [evaluation](super::component) and for the [watch](super::watch).

use std::{collections::BTreeMap, time::Duration};

use crate::domain::{calls::Summary, event::Source, time::Micros};

/// One look at everything.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// By the clock on the wall …
    pub at: Micros,
    /// … and by one that nobody sets.
    pub running: Duration,
    pub database: Database,
    pub spool: Spool,
    pub queues: Queues,
    pub jira: Jira,
    pub application: Application,
    pub chain: Chain,
    pub redis: Option<Redis>,
    pub buckets: Option<Buckets>,
    pub mail: Option<Summary>,
    pub maxwell: Option<Maxwell>,
    pub tls: Option<Tls>,
    /// How calls of systems outside went, by their names.
    pub partners: Vec<(&'static str, Summary)>,
    /// Messages received so far, by source, once that is known.
    pub received: Option<[u64; Source::COUNT]>,
    /// Whether the store has said which jobs there are.
    pub are_jobs_counted: bool,
    /// `None` where the store could not be asked.
    pub storms: Option<Vec<Storm>>,
    pub traffic: Vec<Complaint>,
    /// Whether the traffic was listened to for a whole window.
    pub is_traffic_known: bool,
}

#[derive(Clone, Debug, Default)]
pub struct Database {
    /// `postgres` or `sqlite`.
    pub store: &'static str,
    /// How long it took to answer.
    pub took: Duration,
    pub error: Option<String>,
    pub last_commit: Option<Micros>,
    pub last_commit_took: Duration,
}

#[derive(Clone, Debug, Default)]
pub struct Spool {
    pub used_bytes: u64,
    pub max_bytes: u64,
    pub head: u64,
    pub acknowledged: u64,
    pub disk: Option<Disk>,
    /// Why it takes nothing, while it does not.
    pub error: Option<String>,
}

/// The file system that the spool is on, as `df` counts it: what only root may use is not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    pub used_bytes: u64,
    pub free_bytes: u64,
}

impl Disk {
    /// From 0 to 1.
    #[must_use]
    pub fn usage(self) -> f64 {
        let total = self.used_bytes + self.free_bytes;
        if total == 0 { 0.0 } else { self.used_bytes as f64 / total as f64 }
    }
}

#[derive(Clone, Debug, Default)]
pub struct Queues {
    /// Messages accepted and not stored.
    pub messages: u64,
    /// How long the oldest of them has waited.
    pub oldest: Duration,
    /// Jobs that are not done.
    pub jobs: u64,
}

/// How the circuit breaker stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Breaker {
    #[default]
    Closed,
    HalfOpen,
    Open,
}

impl Breaker {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half-open",
            Self::Open => "open",
        }
    }
}

#[derive(Clone, Debug, Default)]
pub struct Jira {
    pub is_dry_run: bool,
    pub breaker: Breaker,
    /// Why it is not closed.
    pub reason: Option<String>,
    pub is_paused: bool,
    pub hubs: u64,
    /// By state.
    pub jobs: BTreeMap<&'static str, u64>,
    pub dead: u64,
}

#[derive(Clone, Debug, Default)]
pub struct Application {
    pub uptime: Duration,
    pub resident_bytes: Option<u64>,
    /// How late timers fire.
    pub lag: Duration,
    pub version: &'static str,
}

/// The stages from the spool to the store.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    /// The last record that is durable …
    pub head: u64,
    /// … and the last one that is stored.
    pub acknowledged: u64,
    /// In the order of the flow: a stage, what waits for it, and how much can.
    pub waiting: Vec<(&'static str, usize, usize)>,
    /// How long ago the jira worker looked for jobs; `None` before it ever did.
    pub jira_worker_ago: Option<Duration>,
}

#[derive(Clone, Debug, Default)]
pub struct Redis {
    /// Why it cannot be used, or why records wait although it can.
    pub error: Option<String>,
    pub warnings: Vec<String>,
    pub outstanding_bytes: u64,
    pub streams: Vec<String>,
}

#[derive(Clone, Debug, Default)]
pub struct Buckets {
    pub is_watching: bool,
    pub parts: usize,
    pub last_success: Option<Micros>,
    pub failing: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default)]
pub struct Maxwell {
    /// Whether somebody is there to be read.
    pub is_on: bool,
    pub restarts: u64,
    pub position: Option<String>,
    /// When it last said anything. An idle one says nothing, so that this is for people to judge.
    pub last_line: Option<Micros>,
}

#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// By listener.
    pub expires: BTreeMap<&'static str, Micros>,
    pub warning: Option<String>,
}

/// A storm of new faults that goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storm {
    pub environment: String,
    pub since: Micros,
}

/// What the statistics of traffic complain of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// Enough requests say so for people to be told.
    pub is_certain: bool,
    /// Errors, or slow answers.
    pub is_errors: bool,
    /// An application, or `all`.
    pub subject: String,
    pub message: String,
}
