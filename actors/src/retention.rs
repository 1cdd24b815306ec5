//! Retention: what is old leaves the store, so that it stays as large as it is.
//!
//! `store: days of events, rows by age ──▶ retention ──▶ archives (or nothing)`
//!
//! One hub at a time does it, under a lease in the store; a hub that dies leaves nothing half done
//! that the next one does not go on with. It works for a small share of the time and pauses for the
//! rest, so that ingestion hardly notices. When the store fails, nothing more leaves; when the
//! archive's directory does, no more events do; both are tried again. A reload of the settings
//! breaks a pass off, and one by the new ones begins.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::BoxFuture;
use kameo::{
    Actor,
    actor::{ActorRef, WeakActorRef},
    mailbox::{MailboxReceiver, Signal},
    message::{Context, Message},
};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use uuid::Uuid;

use self::pass::Ended;
use crate::{
    adapters::store::Store,
    domain::{
        retention::Aged,
        rule::lasting,
        time::{HOUR, Micros},
    },
    stage::{Closed, Finish, Live},
};

mod leave;
mod pass;
pub mod restore;

/// A hub that is not heard of for so long is relieved. No step takes nearly so long.
const LEASE: Duration = Duration::from_mins(2);

/// Section `[retention]`. Zero durations say: for ever.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Events, by whole days in UTC.
    #[serde(with = "lasting::required")]
    pub events: Duration,
    /// The directory that they are archived to before they go; empty: they just go.
    pub archive: PathBuf,
    #[serde(with = "lasting::required")]
    pub completed_jobs: Duration,
    #[serde(with = "lasting::required")]
    pub rejected: Duration,
    #[serde(with = "lasting::required")]
    pub notifications: Duration,
    #[serde(with = "lasting::required")]
    pub metric_snapshots: Duration,
    #[serde(with = "lasting::required")]
    pub error_logs: Duration,
    #[serde(with = "lasting::required")]
    pub alerts: Duration,
    #[serde(with = "lasting::required")]
    pub fault_hours: Duration,
    #[serde(with = "lasting::required")]
    pub audit_trail: Duration,
    /// How often it looks for what is old.
    #[serde(with = "lasting::required")]
    pub every: Duration,
    /// Rows that are deleted at once.
    pub batch: u32,
    /// The share of the time in which it works; it pauses for the rest.
    pub share: f64,
}

impl Default for Settings {
    fn default() -> Self {
        let days = |days: u64| Duration::from_hours(days * 24);
        Self {
            events: days(30),
            archive: PathBuf::new(),
            completed_jobs: days(7),
            rejected: days(90),
            notifications: days(90),
            metric_snapshots: days(30),
            error_logs: days(30),
            alerts: days(365),
            fault_hours: days(365),
            audit_trail: Duration::ZERO,
            every: Duration::from_hours(1),
            batch: 1_000,
            share: 0.05,
        }
    }
}

impl Settings {
    /// How long these are kept; zero: for ever.
    #[must_use]
    pub fn keep(&self, aged: Aged) -> Duration {
        match aged {
            Aged::CompletedJobs => self.completed_jobs,
            Aged::Rejected => self.rejected,
            Aged::Notifications => self.notifications,
            Aged::MetricSnapshots => self.metric_snapshots,
            Aged::ErrorLogs => self.error_logs,
            Aged::Alerts => self.alerts,
            Aged::FaultHours => self.fault_hours,
            Aged::AuditTrail => self.audit_trail,
        }
    }

    #[must_use]
    pub fn is_archived(&self) -> bool {
        !self.archive.as_os_str().is_empty()
    }

    /// # Errors
    /// Names the key, and what would be right.
    pub fn validate(&self) -> Result<(), String> {
        let day = Duration::from_hours(24);
        let hour = Duration::from_hours(1);
        let kept = Aged::ALL.map(|aged| (aged.name(), self.keep(aged), hour));
        for (name, keep, least) in [("events", self.events, day)].into_iter().chain(kept) {
            if !keep.is_zero() && keep < least {
                let (keep, least) = (lasting::shown(keep), lasting::shown(least));
                return Err(format!(
                    "{name} = \"{keep}\": at least \"{least}\" is needed, or \"0s\" for ever"
                ));
            }
        }
        if self.every < Duration::from_secs(1) {
            let every = lasting::shown(self.every);
            return Err(format!("every = \"{every}\": at least \"1s\" is needed"));
        }
        if !(1..=100_000).contains(&self.batch) {
            return Err(format!("batch = {}: 1 to 100000 is needed", self.batch));
        }
        if !(self.share > 0.0 && self.share <= 1.0) {
            return Err(format!("share = {}: more than 0 and at most 1 is needed", self.share));
        }
        if self.archive.is_file() {
            let path = self.archive.display();
            return Err(format!("archive = \"{path}\": a directory is needed, this is a file"));
        }
        Ok(())
    }
}

/// How it goes, for health and people.
#[derive(Debug, Default)]
pub struct Status(Mutex<State>);

/// See [`Status`].
#[derive(Clone, Debug, Default)]
pub struct State {
    /// This hub is at it.
    pub is_running: bool,
    /// When it was done last without a failure, by this hub.
    pub last_success: Option<Micros>,
    /// What went wrong last, unless it went well since.
    pub problem: Option<String>,
    /// What was pruned when all was gone that is older than this.
    pruned: BTreeMap<Aged, Micros>,
}

impl Status {
    #[must_use]
    pub fn look(&self) -> State {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, note: impl FnOnce(&mut State)) {
        note(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// What it works with.
pub struct Work {
    pub settings: Live<Settings>,
    pub store: Arc<dyn Store>,
    pub holder: Uuid,
    pub status: Arc<Status>,
}

/// See the [module](self).
pub struct Retention {
    work: Arc<Work>,
    /// Says when they change.
    changes: watch::Receiver<Settings>,
    due: Instant,
    pass: Option<BoxFuture<'static, Ended>>,
    is_finished: bool,
}

enum Woken {
    Signal(Option<Signal<Retention>>),
    Ended(Ended),
    Changed,
    Due,
}

impl Retention {
    #[must_use]
    pub fn new(work: Arc<Work>) -> Self {
        // What is urgent at a start comes first.
        let due = Instant::now() + Duration::from_secs(1);
        Self { changes: work.settings.watch(), work, due, pass: None, is_finished: false }
    }

    async fn wake(&mut self, mailbox: &mut MailboxReceiver<Self>) -> Woken {
        let is_free = self.pass.is_none() && !self.is_finished;
        tokio::select! {
            biased;
            signal = mailbox.recv() => Woken::Signal(signal),
            Ok(()) = self.changes.changed(), if !self.is_finished => Woken::Changed,
            ended = end_of(&mut self.pass) => Woken::Ended(ended),
            () = sleep_until(self.due), if is_free => Woken::Due,
        }
    }

    /// The pass goes by settings that are no longer in force.
    fn begin_anew(&mut self) {
        if self.pass.take().is_some() {
            self.work.status.note(|state| state.is_running = false);
        }
        self.due = Instant::now();
    }

    fn end(&mut self, ended: Ended) {
        self.pass = None;
        let every = self.work.settings.get().every;
        let wait = match ended {
            // Not all hubs at the same moment.
            Ended::Done => every.mul_f64(0.9 + 0.2 * fastrand::f64()),
            Ended::Failed => every.min(Duration::from_mins(5)),
        };
        self.due = Instant::now() + wait;
    }
}

async fn end_of(pass: &mut Option<BoxFuture<'static, Ended>>) -> Ended {
    match pass {
        Some(pass) => pass.await,
        None => std::future::pending().await,
    }
}

impl Actor for Retention {
    type Args = Self;
    type Error = Closed;

    fn name() -> &'static str {
        "retention"
    }

    async fn on_start(retention: Self, _: ActorRef<Self>) -> Result<Self, Closed> {
        for outcome in ["done", "failed"] {
            pass::count_run(outcome, 0);
        }
        for table in Aged::ALL.map(Aged::name).into_iter().chain(["events"]) {
            pass::dropped(table, 0);
        }
        Ok(retention)
    }

    async fn next(
        &mut self,
        _: WeakActorRef<Self>,
        mailbox: &mut MailboxReceiver<Self>,
    ) -> Result<Option<Signal<Self>>, Closed> {
        loop {
            match self.wake(mailbox).await {
                Woken::Signal(signal) => return Ok(signal),
                Woken::Ended(ended) => self.end(ended),
                Woken::Changed => self.begin_anew(),
                Woken::Due => self.pass = Some(Box::pin(pass::run(self.work.clone()))),
            }
        }
    }
}

impl Message<Finish> for Retention {
    type Reply = Result<(), Closed>;

    /// Breaks off what is under way, and lets another hub go on with it at once.
    async fn handle(&mut self, _: Finish, _: &mut Context<Self, Self::Reply>) -> Self::Reply {
        self.is_finished = true;
        if self.pass.take().is_some() {
            let Work { store, holder, .. } = &*self.work;
            let released = store.release_retention(*holder);
            if let Ok(Err(error)) = tokio::time::timeout(Duration::from_secs(1), released).await {
                tracing::debug!(%error, "cannot give the lease back; it runs out");
            }
        }
        Ok(())
    }
}

/// Until when restored events stay at least: they were asked for to be looked at.
#[must_use]
pub fn stay_until(now: Micros, keep: Duration) -> Micros {
    crate::domain::time::later(now, keep).max(now + HOUR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_is_refused() {
        Settings::default().validate().unwrap();
        let problem = |change: fn(&mut Settings)| {
            let mut settings = Settings::default();
            change(&mut settings);
            settings.validate().unwrap_err()
        };
        assert_eq!(
            problem(|it| it.events = Duration::from_hours(23)),
            "events = \"23h\": at least \"1d\" is needed, or \"0s\" for ever"
        );
        assert_eq!(
            problem(|it| it.rejected = Duration::from_secs(1)),
            "rejected = \"1s\": at least \"1h\" is needed, or \"0s\" for ever"
        );
        assert!(problem(|it| it.share = 0.0).starts_with("share = 0: "));
        assert!(problem(|it| it.share = f64::NAN).starts_with("share = NaN: "));
        assert!(problem(|it| it.batch = 0).starts_with("batch = 0: "));
        assert!(problem(|it| it.every = Duration::ZERO).starts_with("every = \"0s\": "));
        assert!(problem(|it| it.archive = "Cargo.toml".into()).contains("a directory is needed"));
        let settings = Settings { audit_trail: Duration::ZERO, ..Settings::default() };
        settings.validate().unwrap();
    }
}
