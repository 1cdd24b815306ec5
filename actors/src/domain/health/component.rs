//! How each component does, by what was measured of it and from which limits on it is not well.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Settings,
    measured::{Application, Breaker, Buckets, Database, Jira, Maxwell, Queues, Redis, Spool, Tls},
};
use crate::domain::{
    calls::Summary,
    rule::lasting::shown,
    time::{Micros, rfc3339},
};

/// How something does. The order is that of badness.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
#[schema(as = HealthStatus)]
pub enum Status {
    Healthy,
    Degraded,
    Unhealthy,
}

impl Status {
    pub const ALL: [Self; 3] = [Self::Healthy, Self::Degraded, Self::Unhealthy];

    /// The name in the store and in answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
        }
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }
}

/// How a component does.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Component {
    pub status: Status,
    /// Milliseconds it took to find out.
    #[serde(rename = "responseTime")]
    pub response_time: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Since when its status is this; RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
}

impl Component {
    /// Healthy without an error, of this status with one.
    #[must_use]
    pub fn new(bad: Status, error: Option<String>, details: Value) -> Self {
        Self {
            status: if error.is_some() { bad } else { Status::Healthy },
            response_time: 0.0,
            details: Some(details),
            error,
            since: None,
        }
    }
}

/// Messages are a queue once the oldest has waited for so long: before, they are on their way.
const ON_THEIR_WAY: Duration = Duration::from_secs(5);

impl Database {
    #[must_use]
    pub fn evaluate(&self) -> Component {
        let details = json!({
            "store": self.store,
            "lastCommit": self.last_commit.map(rfc3339),
            "lastCommitMilliseconds": milliseconds(self.last_commit_took),
        });
        let component = Component::new(Status::Unhealthy, self.error.clone(), details);
        Component { response_time: milliseconds(self.took), ..component }
    }
}

impl Spool {
    /// The share of its bound that is used, from 0 to 1.
    #[must_use]
    pub fn usage(&self) -> f64 {
        if self.max_bytes == 0 { 0.0 } else { self.used_bytes as f64 / self.max_bytes as f64 }
    }

    #[must_use]
    pub fn evaluate(&self, settings: &Settings) -> Component {
        let full = self.fill(settings).into_iter().next().map(|(_, cause)| cause);
        let bad = if self.error.is_some() { Status::Unhealthy } else { Status::Degraded };
        let details = json!({
            "usedBytes": self.used_bytes,
            "limitBytes": self.max_bytes,
            "head": self.head,
            "acknowledged": self.acknowledged,
            "diskFreeBytes": self.disk.map(|disk| disk.free_bytes),
            "diskUsage": self.disk.map(|disk| (disk.usage() * 1e3).round() / 1e3),
        });
        Component::new(bad, self.error.clone().or(full), details)
    }

    /// What is nearly full, and how full it is.
    #[must_use]
    pub fn fill(&self, settings: &Settings) -> Vec<(&'static str, String)> {
        let mut full = Vec::new();
        let percent = |share: f64| (share * 100.0).floor();
        if self.usage() > settings.spool_degraded {
            let cause = format!("{} % of spool.max_bytes is used", percent(self.usage()));
            full.push(("spool", cause));
        }
        if let Some(disk) = self.disk
            && disk.usage() > settings.spool_disk
        {
            let free = bytesize::ByteSize(disk.free_bytes);
            let used = percent(disk.usage());
            full.push(("disk", format!("{used} % of the spool's disk is used, {free} is free")));
        }
        full
    }
}

impl Queues {
    #[must_use]
    pub fn evaluate(&self, settings: &Settings) -> Component {
        let late = (self.oldest > settings.late_after)
            .then(|| format!("messages wait for {} s", self.oldest.as_secs()));
        let waiting = self.waiting(settings.pending_degraded).into_iter().next();
        let error = late.or(waiting.map(|(_, cause)| cause));
        let details = json!({
            "pendingMessages": self.messages,
            "oldestSeconds": self.oldest.as_secs_f64(),
            "pendingJobs": self.jobs,
            "degradedAt": settings.pending_degraded,
        });
        Component::new(Status::Degraded, error, details)
    }

    /// The queues in which at least so much waits.
    #[must_use]
    pub fn waiting(&self, limit: u64) -> Vec<(&'static str, String)> {
        let mut deep = Vec::new();
        if self.jobs >= limit {
            deep.push(("jobs", format!("{} jobs wait", self.jobs)));
        }
        if self.messages >= limit && self.oldest > ON_THEIR_WAY {
            let (count, age) = (self.messages, self.oldest.as_secs());
            deep.push(("messages", format!("{count} messages wait, the oldest for {age} s")));
        }
        deep
    }
}

impl Jira {
    /// Whether that is all that is wrong.
    #[must_use]
    pub fn has_only_dead_jobs(&self) -> bool {
        self.dead > 0 && self.reason.is_none() && !self.is_paused
    }

    #[must_use]
    pub fn evaluate(&self) -> Component {
        let paused = self.is_paused.then(|| "dispatch is paused".to_owned());
        let dead = (self.dead > 0).then(|| format!("{} jobs are dead", self.dead));
        // Half-open, it is being tried whether Jira is back: until that is known, it is not.
        let is_away = self.breaker != Breaker::Closed;
        let bad = if is_away { Status::Unhealthy } else { Status::Degraded };
        let details = json!({
            "dryRun": self.is_dry_run,
            "breaker": self.breaker.name(),
            "paused": self.is_paused,
            "hubs": self.hubs,
            "jobs": self.jobs,
        });
        Component::new(bad, self.reason.clone().or(paused).or(dead), details)
    }
}

impl Application {
    #[must_use]
    pub fn evaluate(&self, settings: &Settings) -> Component {
        let limit = settings.memory_degraded;
        let large = self.resident_bytes.filter(|bytes| *bytes >= limit.as_u64());
        let large = large.map(|bytes| format!("{} of memory is used", bytesize::ByteSize(bytes)));
        let late = (self.lag >= settings.lag_degraded)
            .then(|| format!("timers fire {} late", shown(self.lag)));
        let details = json!({
            "uptimeSeconds": self.uptime.as_secs(),
            "residentBytes": self.resident_bytes,
            "degradedAtBytes": limit.as_u64(),
            "runtimeLagMilliseconds": milliseconds(self.lag),
            "version": self.version,
        });
        Component::new(Status::Degraded, large.or(late), details)
    }
}

impl Redis {
    /// Records are safe whatever is wrong with Redis, so that it is never more than degraded.
    #[must_use]
    pub fn evaluate(&self) -> Component {
        let details = json!({
            "outstandingBytes": self.outstanding_bytes,
            "streams": self.streams,
            "warnings": self.warnings,
        });
        let error = self.error.clone().or(self.warnings.first().cloned());
        Component::new(Status::Degraded, error, details)
    }
}

impl Buckets {
    /// A hub that stands by is well.
    #[must_use]
    pub fn evaluate(&self) -> Component {
        let error = self.failing.iter().next().map(|(what, problem)| format!("{what}: {problem}"));
        let details = json!({
            "watching": self.is_watching,
            "parts": self.parts,
            "lastSuccess": self.last_success.map(rfc3339),
            "failing": self.failing,
        });
        Component::new(Status::Degraded, error, details)
    }
}

impl Maxwell {
    #[must_use]
    pub fn evaluate(&self, now: Micros) -> Component {
        let ended = (!self.is_on).then(|| "there is nothing to read: it has ended".to_owned());
        let details = json!({
            "position": self.position,
            "restarts": self.restarts,
            "lastLine": self.last_line.map(rfc3339),
            "silentSeconds": self.last_line.map(|at| (now - at).max(0) / 1_000_000),
        });
        Component::new(Status::Degraded, ended, details)
    }
}

impl Tls {
    #[must_use]
    pub fn evaluate(&self) -> Component {
        let expires: serde_json::Map<String, Value> = self
            .expires
            .iter()
            .map(|(listener, at)| ((*listener).to_owned(), rfc3339(*at).into()))
            .collect();
        let details = json!({ "expires": expires });
        Component::new(Status::Degraded, self.warning.clone(), details)
    }
}

/// Mail, by how sending it went.
pub(super) fn evaluate_mail(calls: &Summary, settings: &Settings) -> Component {
    let failures = calls.run.failures;
    let is_down = failures >= settings.failures_in_a_row;
    let error = (failures > 0).then(|| calls.last_error.clone().unwrap_or_default());
    let details = json!({
        "sent": calls.requests - calls.failures.min(calls.requests),
        "failures": calls.failures,
        "failuresInARow": failures,
        "lastSuccess": calls.last_success.map(rfc3339),
    });
    Component::new(if is_down { Status::Unhealthy } else { Status::Degraded }, error, details)
}

/// In milliseconds.
#[must_use]
pub fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
