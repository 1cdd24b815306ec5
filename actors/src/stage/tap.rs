//! Taps: the pipeline shows what passes by, to whoever watches. Nobody watches most of the time, which
//! costs one atomic load; somebody who does not keep up misses something, and the pipeline never
//! waits for anybody.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use flume::{Receiver, Sender};

use crate::domain::{batch::Batch, fault::FaultId};

/// Batches that wait for those who watch. They are held in memory for that: the next one soon comes.
const BATCHES: usize = 2;

/// Shows batches.
#[derive(Debug)]
pub struct Tap {
    watching: AtomicUsize,
    missed: AtomicU64,
    sender: Sender<Arc<Batch>>,
    receiver: Receiver<Arc<Batch>>,
}

impl Default for Tap {
    fn default() -> Self {
        let (sender, receiver) = flume::bounded(BATCHES);
        Self { watching: AtomicUsize::new(0), missed: AtomicU64::new(0), sender, receiver }
    }
}

impl Tap {
    /// Shows a batch to those who watch.
    pub(crate) fn show(&self, batch: &Arc<Batch>) {
        if self.watching.load(Ordering::Relaxed) > 0 && self.sender.try_send(batch.clone()).is_err()
        {
            self.missed.fetch_add(batch.events.len() as u64, Ordering::Relaxed);
        }
    }

    /// Batches are shown for as long as what this gives is kept.
    #[must_use]
    pub fn watch(self: &Arc<Self>) -> Watching {
        self.watching.fetch_add(1, Ordering::Relaxed);
        Watching(self.clone())
    }

    /// The next batch that is shown. One reader takes them.
    ///
    /// # Panics
    /// Never: the tap itself holds the other end.
    pub async fn next(&self) -> Arc<Batch> {
        self.receiver.recv_async().await.expect("the tap holds the sender")
    }

    /// How many events were not shown since this was asked last, for want of a reader.
    #[must_use]
    pub fn take_missed(&self) -> u64 {
        self.missed.swap(0, Ordering::Relaxed)
    }
}

/// See [`Tap::watch`].
#[derive(Debug)]
pub struct Watching(Arc<Tap>);

impl Drop for Watching {
    fn drop(&mut self) {
        if self.0.watching.fetch_sub(1, Ordering::Relaxed) == 1 {
            // Nobody would ever take them.
            self.0.receiver.drain();
        }
    }
}

/// Gathers which faults are met, each once.
#[derive(Debug, Default)]
pub struct MetFaults {
    is_wanted: AtomicBool,
    faults: Mutex<BTreeSet<FaultId>>,
}

impl MetFaults {
    /// More than anybody can look at; those beyond are met again, or are found by looking.
    const MOST: usize = 10_000;

    pub(crate) fn add(&self, met: &[FaultId]) {
        if !self.is_wanted.load(Ordering::Relaxed) {
            return;
        }
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        let room = Self::MOST.saturating_sub(faults.len());
        faults.extend(met.iter().take(room));
    }

    /// Says whether they are to be gathered. At first they are not.
    pub fn want(&self, is_wanted: bool) {
        self.is_wanted.store(is_wanted, Ordering::Relaxed);
    }

    /// Those met since this was asked last.
    #[must_use]
    pub fn take(&self) -> BTreeSet<FaultId> {
        std::mem::take(&mut *self.faults.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        batch::{Event, RecordHead, Scope, Span},
        event::{Kind, Severity, Source},
    };

    fn batch(events: usize) -> Arc<Batch> {
        let mut batch = Batch::default();
        let source = Source::Errors;
        batch
            .start_record(RecordHead { sequence: 1, received_at: 0, source, body: Span::EMPTY }, 0);
        for _ in 0..events {
            batch.push_event(Event::new(Kind::Log, Severity::Info, 0, Scope::default()));
        }
        Arc::new(batch)
    }

    #[tokio::test]
    async fn what_nobody_takes_is_counted_and_never_waited_for() {
        let tap = Arc::new(Tap::default());
        tap.show(&batch(1));
        assert_eq!((tap.receiver.len(), tap.take_missed()), (0, 0), "nobody watches");
        let watching = tap.watch();
        for _ in 0..BATCHES + 3 {
            tap.show(&batch(5));
        }
        assert_eq!((tap.take_missed(), tap.take_missed()), (15, 0));
        assert_eq!(tap.next().await.events.len(), 5);
        drop(watching);
        assert_eq!(tap.receiver.len(), 0, "nothing is held for nobody");
    }

    #[test]
    fn faults_are_gathered_when_they_are_wanted() {
        let met = MetFaults::default();
        met.add(&[1]);
        met.want(true);
        met.add(&[2, 3]);
        met.add(&[3]);
        assert_eq!(met.take(), [2, 3].into());
        assert_eq!(met.take(), [].into());
    }
}
