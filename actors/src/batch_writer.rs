//! Batch writer: stores batches, and tells the journal what it may forget.
//!
//! `batches ──▶ batch writer ──▶ store, acknowledgements, faults that were met`
//!
//! It starts by asking the store where the journal's origin stands, and has the journal read on
//! from there. Batches are gathered up to a size or an age and committed together with the new
//! position. While the store is away it tries again for ever, with growing waits, and takes no
//! more batches: its input fills, and pressure reaches the journal. Whenever a batch does not
//! start right behind the last one (a stage was restarted, a commit's outcome is unknown) it
//! starts over by asking the store.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytesize::ByteSize;
use flume::Receiver;
use kameo::{
    Actor,
    actor::{ActorRef, WeakActorRef},
    mailbox::{MailboxReceiver, Signal},
    message::{Context, Message},
};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::{
    adapters::{
        clock,
        journal::Readable,
        store::{Commit, Store, StoreError},
    },
    domain::{
        batch::Batch,
        calls::{Calls, Ended},
        fault::FaultId,
        ledger::Ledger,
        retry::Backoff,
        time::Micros,
    },
    stage::{Closed, Finish, Notices, Wake, tap::MetFaults, wait, wake},
};

/// Section `[batch_writer]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// A commit holds at most about so many events …
    pub flush_events: usize,
    /// … or so many bytes …
    pub flush_bytes: ByteSize,
    /// … and waits no longer than this for more.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub flush_age: Duration,
    /// The first and the longest wait before a failing store is tried again.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub retry_first: Duration,
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub retry_cap: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            flush_events: 20_000,
            flush_bytes: ByteSize::mib(4),
            flush_age: Duration::from_millis(100),
            retry_first: Duration::from_millis(100),
            retry_cap: Duration::from_secs(10),
        }
    }
}

impl Settings {
    /// # Errors
    /// Names the key, and what would be right.
    pub fn validate(&self) -> Result<(), String> {
        if self.flush_events == 0 {
            return Err("flush_events = 0: at least one event makes a commit".to_owned());
        }
        if self.flush_age > Duration::from_mins(1) {
            return Err(format!(
                "flush_age = \"{:#}\": at most 1m is possible",
                jiff::SignedDuration::try_from(self.flush_age).unwrap_or_default()
            ));
        }
        if self.flush_bytes.as_u64() == 0 {
            return Err("flush_bytes = \"0 B\": at least one byte is needed".to_owned());
        }
        if self.retry_first.is_zero() || self.retry_first > self.retry_cap {
            return Err(format!(
                "retry_first = \"{:#}\": more than zero and at most retry_cap is needed",
                jiff::SignedDuration::try_from(self.retry_first).unwrap_or_default()
            ));
        }
        Ok(())
    }
}

/// How storing goes; read by health and metrics while the stage works, and kept across a restart
/// of it.
#[derive(Debug, Default)]
pub struct Counters {
    /// When the store last answered.
    last_success: AtomicI64,
    /// How long it took to, in microseconds.
    last_took: AtomicI64,
    failures: AtomicU64,
    failing: Mutex<Option<String>>,
    events: AtomicU64,
    binlog_position: Mutex<Option<String>>,
    /// The faults of commits, for those who watch.
    pub met: MetFaults,
    calls: Calls,
}

impl Counters {
    /// Counts its calls of the store over a window of this length.
    #[must_use]
    pub fn over(window: Duration) -> Self {
        Self { calls: Calls::new(window), ..Self::default() }
    }

    /// How commits went, and whatever else the writer asks the store.
    #[must_use]
    pub fn calls(&self) -> &Calls {
        &self.calls
    }

    /// When the store last answered the writer; `None` before it ever did.
    #[must_use]
    pub fn last_success(&self) -> Option<Micros> {
        Some(self.last_success.load(Ordering::Relaxed)).filter(|at| *at != 0)
    }

    /// How long the last commit took.
    #[must_use]
    pub fn last_took(&self) -> Duration {
        Duration::from_micros(u64::try_from(self.last_took.load(Ordering::Relaxed)).unwrap_or(0))
    }

    /// Why the store cannot be written to, while it cannot.
    #[must_use]
    pub fn failing(&self) -> Option<String> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Events stored since the start.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }

    /// The last binlog position among the stored changes.
    #[must_use]
    pub fn binlog_position(&self) -> Option<String> {
        self.binlog_position.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn succeeded(&self, took: Duration) {
        self.calls.ended(clock::now(), took, Ended::Well);
        self.last_success.store(clock::now(), Ordering::Relaxed);
        self.last_took
            .store(i64::try_from(took.as_micros()).unwrap_or(i64::MAX), Ordering::Relaxed);
        let was = self.failing.lock().unwrap_or_else(PoisonError::into_inner).take();
        if was.is_some() {
            tracing::info!("the store answers again");
        }
    }

    fn failed(&self, error: &StoreError, took: Duration) {
        self.calls.ended(clock::now(), took, Ended::by_words(&error.to_string()));
        self.failures.fetch_add(1, Ordering::Relaxed);
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        if failing.is_none() {
            tracing::warn!(%error, "cannot store; nothing is lost, trying again until it works");
        }
        *failing = Some(error.to_string());
    }
}

/// See the [module](self).
pub struct BatchWriter {
    settings: Settings,
    input: Receiver<Arc<Batch>>,
    journal: Arc<dyn Readable>,
    store: Arc<dyn Store>,
    ledger: Arc<Mutex<Ledger>>,
    counters: Arc<Counters>,
    /// Whoever decides about faults hears which ones a commit has met.
    met: Notices<Vec<FaultId>>,
    /// Where the origin stands in the store; `None` when the store must be asked.
    position: Option<u64>,
    gathered: Gathered,
    backoff: Backoff,
    /// Not before this moment is the store tried again.
    retry_at: Option<Instant>,
}

#[derive(Default)]
struct Gathered {
    batches: Vec<Arc<Batch>>,
    events: usize,
    bytes: usize,
    deadline: Option<Instant>,
}

impl BatchWriter {
    #[must_use]
    pub fn new(
        settings: Settings,
        input: Receiver<Arc<Batch>>,
        journal: Arc<dyn Readable>,
        store: Arc<dyn Store>,
        ledger: Arc<Mutex<Ledger>>,
        counters: Arc<Counters>,
        met: Notices<Vec<FaultId>>,
    ) -> Self {
        let backoff = Backoff::new(settings.retry_first, settings.retry_cap);
        Self {
            settings,
            input,
            journal,
            store,
            ledger,
            counters,
            met,
            position: None,
            gathered: Gathered::default(),
            backoff,
            retry_at: None,
        }
    }

    /// Asks the store where the origin stands, and has the journal read on from there.
    async fn resume(&mut self) {
        self.gathered = Gathered::default();
        let started = std::time::Instant::now();
        match self.ask_position().await {
            Ok(position) => {
                self.recovered();
                self.position = Some(position);
                self.journal.acknowledge(position);
                self.journal.read_after(position);
            }
            Err(error) => self.retry_later(&error, started.elapsed()),
        }
    }

    async fn ask_position(&self) -> Result<u64, StoreError> {
        let started = std::time::Instant::now();
        for migration in self.store.migrate().await? {
            tracing::info!(migration, store = self.store.name(), "schema brought up to date");
        }
        let stored = self.store.position(self.journal.origin()).await?;
        let took = started.elapsed();
        // Before this process has stored anything, only what earlier ones had left can be stored. To
        // go on would take new records for old ones, and skip them.
        let is_first = !self.ledger.lock().unwrap_or_else(PoisonError::into_inner).is_complete();
        let recovered = self.journal.recovered();
        if is_first && stored.sequence > recovered {
            return Err(StoreError::Unavailable(format!(
                "records up to {} of this spool are stored, but it ended at {recovered}: it is an \
                 older copy; without its file `origin` it is taken for another one",
                stored.sequence
            )));
        }
        self.journal
            .resume_ledger(stored.sequence, stored.settled, stored.own)
            .map_err(|error| StoreError::Unavailable(format!("reading the journal: {error}")))?;
        self.counters.succeeded(took);
        Ok(stored.sequence)
    }

    /// Takes a batch into the next commit, where it continues what is there.
    async fn take(&mut self, batch: Arc<Batch>) {
        let Some(position) = self.position else { return };
        let expected = self.gathered.batches.last().map_or(position, |last| last.last) + 1;
        if batch.last < expected {
            return;
        }
        // A journal that has forgotten its oldest records starts behind a gap, once. Before what is
        // expected is no gap: another hub has stored what the journal took for forgotten.
        let is_behind_gap = batch.first > expected
            && self.gathered.batches.is_empty()
            && batch.first == self.journal.first_kept();
        let starts = batch.first == expected || is_behind_gap;
        if !starts {
            tracing::debug!(expected, first = batch.first, "not the next batch: reading again");
            self.position = None;
            return;
        }
        self.gathered.events += batch.events.len();
        self.gathered.bytes += batch.bytes();
        self.gathered.batches.push(batch);
        let age = self.settings.flush_age;
        self.gathered.deadline.get_or_insert_with(|| Instant::now() + age);
        let is_full = self.gathered.events >= self.settings.flush_events
            || self.gathered.bytes as u64 >= self.settings.flush_bytes.as_u64();
        if is_full {
            self.flush().await;
        }
    }

    /// Commits what was gathered. After a failure it is kept, and committed later.
    async fn flush(&mut self) {
        let Some(after) = self.position else { return };
        if self.gathered.batches.is_empty() {
            return;
        }
        let batches = self.gathered.batches.clone();
        let commit = Commit { origin: self.journal.origin(), after, batches };
        let started = std::time::Instant::now();
        let outcome = self.store.commit(&commit).await;
        metrics::histogram!("faultline_store_operation_seconds", "operation" => "commit")
            .record(started.elapsed());
        match outcome {
            Ok(committed) => {
                self.recovered();
                self.counters.succeeded(started.elapsed());
                self.ledger
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .settle(&committed.tallies);
                count_lost(&commit);
                self.position = Some(commit.position());
                self.journal.acknowledge(commit.position());
                self.remember(&commit);
                if !committed.faults.is_empty() {
                    self.counters.met.add(&committed.faults);
                    self.met.tell(committed.faults);
                }
                self.gathered = Gathered::default();
            }
            Err(StoreError::Moved { position }) => {
                tracing::info!(after, position, "the store is elsewhere: starting over from there");
                self.position = None;
            }
            Err(error) => self.retry_later(&error, started.elapsed()),
        }
    }

    fn remember(&self, commit: &Commit) {
        let now = clock::now();
        let stored_after = metrics::histogram!("faultline_stored_after_seconds");
        for batch in &commit.batches {
            if let Some(oldest) = batch.records.first() {
                stored_after.record((now - oldest.received_at).max(0) as f64 / 1e6);
            }
        }
        let events: usize = commit.batches.iter().map(|batch| batch.events.len()).sum();
        self.counters.events.fetch_add(events as u64, Ordering::Relaxed);
        let last = commit.batches.iter().rev().find(|batch| !batch.binlog_position.is_empty());
        if let Some(batch) = last {
            let text = String::from_utf8_lossy(batch.text.get(batch.binlog_position)).into_owned();
            *self.counters.binlog_position.lock().unwrap_or_else(PoisonError::into_inner) =
                Some(text);
        }
    }

    fn retry_later(&mut self, error: &StoreError, took: Duration) {
        self.counters.failed(error, took);
        metrics::counter!("faultline_store_failures_total").increment(1);
        self.retry_at = Some(Instant::now() + self.backoff.next_wait(fastrand::f64()));
    }

    fn recovered(&mut self) {
        self.retry_at = None;
        self.backoff.reset();
    }

    /// Does what is due, and gives the moment until which there is nothing else to do; `None`
    /// while batches are welcome.
    async fn attend(&mut self) -> Option<Instant> {
        loop {
            if let Some(retry_at) = self.retry_at {
                if Instant::now() < retry_at {
                    return Some(retry_at);
                }
                self.retry_at = None;
                if self.position.is_some() {
                    self.flush().await;
                    continue;
                }
            }
            if self.position.is_some() {
                return None;
            }
            self.resume().await;
        }
    }
}

/// Counts the records between what was stored before and what is stored now.
fn count_lost(commit: &Commit) {
    let first = commit.after + 1;
    let next = commit.batches.first().map_or(first, |batch| batch.first);
    if first < next {
        metrics::counter!("faultline_lost_records_total").increment(next - first);
        tracing::error!(
            origin = %commit.origin, first, last = next - 1,
            "neither the journal nor this store has these records: the store was replaced by an \
             older one"
        );
    }
}

impl Actor for BatchWriter {
    type Args = Self;
    type Error = Closed;

    fn name() -> &'static str {
        "batch_writer"
    }

    async fn on_start(writer: Self, _: ActorRef<Self>) -> Result<Self, Closed> {
        Ok(writer)
    }

    async fn next(
        &mut self,
        _: WeakActorRef<Self>,
        mailbox: &mut MailboxReceiver<Self>,
    ) -> Result<Option<Signal<Self>>, Closed> {
        loop {
            let woken = match self.attend().await {
                Some(until) => wait(mailbox, until).await,
                None => wake(&self.input, mailbox, self.gathered.deadline).await,
            };
            match woken {
                Wake::Item(batch) => self.take(batch).await,
                Wake::Deadline if self.retry_at.is_none() => self.flush().await,
                Wake::Deadline => {}
                Wake::Signal(signal) => return Ok(signal),
            }
        }
    }
}

impl Message<Finish> for BatchWriter {
    type Reply = Result<(), Closed>;

    /// Commits what is there, without waiting for a store that is away: the journal keeps it.
    async fn handle(&mut self, _: Finish, _: &mut Context<Self, Self::Reply>) -> Self::Reply {
        while self.retry_at.is_none() && self.position.is_some() {
            let Ok(batch) = self.input.try_recv() else { break };
            self.take(batch).await;
        }
        if self.retry_at.is_none() {
            self.flush().await;
        }
        Ok(())
    }
}
