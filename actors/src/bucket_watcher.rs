//! Bucket watcher: finds what was created, changed or deleted in the buckets of an account.
//!
//! ```text
//!  account ──pages of objects──▶ compare ──changes──▶ spool ──▶ the pipeline
//!                                  ▲ │ then
//!  store   ──snapshot, by key──────┘ └──▶ store: the snapshot, moved on
//! ```
//!
//! A change is accepted by the spool before the snapshot moves past it. So none is lost; one that is
//! found again, because a crash came in between, has the same [identity](ChangeId), and the store
//! keeps it once, whichever hub found it. When the spool is full the watcher waits.
//!
//! One hub at a time watches: a lease in the store, prolonged while a pass is under way. A watcher
//! that lost it without knowing cannot move the snapshot: the store counts who has held it.
//!
//! What was created and deleted again between two looks goes unnoticed; a bucket that cannot be
//! listed is said in health and tried again, and nothing of it counts as deleted.

use std::{
    collections::BTreeMap,
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
use tokio::time::{Instant, sleep_until};

use self::round::{Ended, Schedules};
pub use crate::adapters::buckets::Settings;
#[cfg(doc)]
use crate::domain::object::ChangeId;
use crate::{
    adapters::{
        buckets::Account,
        journal::spool::Spool,
        store::{Store, StoreError, buckets::Epoch, jobs::Holder},
    },
    domain::time::Micros,
    stage::{Closed, Finish},
};

mod pass;
mod round;

/// Of the lease: how long the row lasts, how often it is prolonged, how often it is tried. Together
/// they are less than the whole, so that a dead hub is relieved within it.
const LASTS: (u32, u32) = (3, 4);
const PROLONGED: u32 = 5;
const TRIED: u32 = 10;

/// What passes need; shared with those under way.
pub struct Watch {
    pub settings: Settings,
    pub account: Account,
    pub store: Arc<dyn Store>,
    pub spool: Arc<Spool>,
    pub holder: Holder,
    pub status: Arc<Status>,
}

/// How watching goes, for health.
#[derive(Debug, Default)]
pub struct Status(Mutex<State>);

/// See [`Status`].
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Whether this hub is the one that watches.
    pub is_watching: bool,
    /// Parts of buckets that are watched.
    pub places: usize,
    /// When a round came to its end without a failure.
    pub last_success: Option<Micros>,
    /// What is wrong, by part of a bucket; the account itself has no name.
    pub failing: BTreeMap<String, String>,
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

/// See the [module](self).
pub struct BucketWatcher {
    watch: Arc<Watch>,
    held: Option<Held>,
    lease_at: Instant,
    due: Instant,
    schedules: Schedules,
    round: Option<BoxFuture<'static, Ended>>,
    is_finished: bool,
}

/// The lease.
struct Held {
    epoch: Epoch,
    /// By this hub's clock.
    until: Instant,
}

enum Woken {
    Signal(Option<Signal<BucketWatcher>>),
    Lease,
    Ended(Ended),
    Due,
}

impl BucketWatcher {
    #[must_use]
    pub fn new(watch: Arc<Watch>) -> Self {
        let now = Instant::now();
        Self {
            watch,
            held: None,
            lease_at: now,
            due: now,
            schedules: Schedules::default(),
            round: None,
            is_finished: false,
        }
    }

    async fn wake(&mut self, mailbox: &mut MailboxReceiver<Self>) -> Woken {
        let is_free = self.held.is_some() && self.round.is_none();
        tokio::select! {
            biased;
            signal = mailbox.recv() => Woken::Signal(signal),
            () = sleep_until(self.lease_at), if !self.is_finished => Woken::Lease,
            ended = end_of(&mut self.round) => Woken::Ended(ended),
            () = sleep_until(self.due), if is_free => Woken::Due,
        }
    }

    async fn keep_lease(&mut self) {
        let (now, lease) = (Instant::now(), self.watch.settings.lease);
        let lasts = lease * LASTS.0 / LASTS.1;
        let Watch { store, settings, holder, .. } = &*self.watch;
        let asked = store.lease_watch(&settings.name, *holder, lasts);
        // A round under way waits meanwhile.
        let answer = tokio::time::timeout(lasts, asked).await;
        match answer.unwrap_or_else(|_| Err(StoreError::Unavailable("no answer".to_owned()))) {
            Ok(Some(epoch)) => {
                if self.held.as_ref().is_some_and(|held| held.epoch != epoch) {
                    self.leave("another hub has watched meanwhile");
                }
                if self.held.is_none() {
                    tracing::info!("this hub watches the buckets");
                    self.watch.status.note(|state| state.is_watching = true);
                    self.due = now;
                }
                self.held = Some(Held { epoch, until: now + lasts });
                self.lease_at = now + lease / PROLONGED;
            }
            Ok(None) => {
                self.leave("another hub has taken over");
                self.lease_at = now + lease / TRIED;
            }
            Err(error) => {
                tracing::debug!(%error, "cannot ask for the lease");
                if self.held.as_ref().is_some_and(|held| Instant::now() > held.until) {
                    self.leave("the lease could not be prolonged in time");
                }
                self.lease_at = Instant::now() + lease / TRIED;
            }
        }
    }

    /// This hub does not watch any more. What is under way is broken off: whoever takes over goes on
    /// from what was kept.
    fn leave(&mut self, why: &str) {
        if self.held.take().is_none() {
            return;
        }
        tracing::warn!(why, "this hub does not watch the buckets any more");
        self.round = None;
        self.schedules = Schedules::default();
        self.watch.status.note(|state| *state = State::default());
    }

    fn start_round(&mut self) {
        let Some(held) = &self.held else { return };
        let schedules = std::mem::take(&mut self.schedules);
        self.round = Some(Box::pin(round::run(self.watch.clone(), held.epoch, schedules)));
    }

    fn end_round(&mut self, ended: Ended) {
        self.round = None;
        match ended {
            Ended::Done { schedules, next } => {
                self.schedules = schedules;
                self.due = next;
            }
            Ended::Lost => {
                self.leave("another hub has taken over");
                self.lease_at = Instant::now();
            }
        }
    }
}

/// Waits for the round under way.
async fn end_of(round: &mut Option<BoxFuture<'static, Ended>>) -> Ended {
    match round {
        Some(round) => round.await,
        None => std::future::pending().await,
    }
}

impl Actor for BucketWatcher {
    type Args = Self;
    type Error = Closed;

    fn name() -> &'static str {
        "bucket_watcher"
    }

    async fn on_start(watcher: Self, _: ActorRef<Self>) -> Result<Self, Closed> {
        Ok(watcher)
    }

    async fn next(
        &mut self,
        _: WeakActorRef<Self>,
        mailbox: &mut MailboxReceiver<Self>,
    ) -> Result<Option<Signal<Self>>, Closed> {
        loop {
            match self.wake(mailbox).await {
                Woken::Signal(signal) => return Ok(signal),
                Woken::Lease => self.keep_lease().await,
                Woken::Ended(ended) => self.end_round(ended),
                Woken::Due => self.start_round(),
            }
        }
    }
}

impl Message<Finish> for BucketWatcher {
    type Reply = Result<(), Closed>;

    /// Breaks off what is under way, and lets another hub take over at once.
    async fn handle(&mut self, _: Finish, _: &mut Context<Self, Self::Reply>) -> Self::Reply {
        self.round = None;
        self.is_finished = true;
        if self.held.take().is_some() {
            let Watch { store, settings, holder, .. } = &*self.watch;
            let released = store.release_watch(&settings.name, *holder);
            if let Ok(Err(error)) = tokio::time::timeout(Duration::from_secs(1), released).await {
                tracing::debug!(%error, "cannot give the lease back; it runs out");
            }
        }
        Ok(())
    }
}
