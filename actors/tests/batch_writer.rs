//! What the batch writer takes for the next batch, and what it does about any other.

#![expect(clippy::unwrap_used, reason = "a failing test is told by a panic")]

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard},
};

use faultline_actors::{
    adapters::{
        journal::{Origin, Readable},
        store::{Commit, Store, search::EventFilter, sqlite::Sqlite},
    },
    batch_writer::{BatchWriter, Counters, Settings},
    domain::{
        batch::Batch,
        event::Source,
        ledger::{Ledger, Tally},
        record::Block,
    },
    stage::Notices,
};
use faultline_testkit::eventually;
use kameo::actor::{ActorRef, Spawn};

#[path = "support/batches.rs"]
mod batches;

use batches::{newest, report, reports};

/// A journal whose blocks the test makes.
struct Paper {
    origin: Origin,
    blocks: flume::Receiver<Block>,
    first_kept: u64,
    /// What was asked for.
    asked: Mutex<Vec<u64>>,
}

impl Paper {
    fn asked(&self) -> MutexGuard<'_, Vec<u64>> {
        self.asked.lock().unwrap()
    }
}

impl Readable for Paper {
    fn origin(&self) -> Origin {
        self.origin
    }

    fn read_after(&self, position: u64) {
        self.asked().push(position);
    }

    fn blocks(&self) -> flume::Receiver<Block> {
        self.blocks.clone()
    }

    fn acknowledge(&self, _: u64) {}

    fn recovered(&self) -> u64 {
        u64::MAX
    }

    fn first_kept(&self) -> u64 {
        self.first_kept
    }

    fn resume_ledger(
        &self,
        _: u64,
        _: [Tally; Source::COUNT],
        _: [Tally; Source::COUNT],
    ) -> io::Result<()> {
        Ok(())
    }
}

struct Desk {
    journal: Arc<Paper>,
    store: Arc<dyn Store>,
    batches: flume::Sender<Arc<Batch>>,
    writer: ActorRef<BatchWriter>,
}

impl Desk {
    /// The store has the first `stored` records; the journal has forgotten those before `first_kept`.
    async fn new(stored: u64, first_kept: u64) -> Self {
        let store: Arc<dyn Store> = Arc::new(Sqlite::in_memory().unwrap());
        store.migrate().await.unwrap();
        let origin = Origin::now_v7();
        store.position(origin).await.unwrap();
        if stored > 0 {
            let batches = vec![reports(1..=stored)];
            store.commit(&Commit { origin, after: 0, batches }).await.unwrap();
        }
        let (blocks, asked) = (flume::bounded(1).1, Mutex::default());
        let journal = Arc::new(Paper { origin, blocks, first_kept, asked });
        let (batches, input) = flume::bounded(8);
        let writer = BatchWriter::spawn(BatchWriter::new(
            Settings::default(),
            input,
            journal.clone(),
            store.clone(),
            Arc::new(Mutex::new(Ledger::default())),
            Arc::new(Counters::default()),
            Notices::bounded(8).0,
        ));
        let desk = Self { journal, store, batches, writer };
        desk.asks(&[stored]).await;
        desk
    }

    async fn asks(&self, expected: &[u64]) {
        eventually("the journal is asked", async || {
            let asked = self.journal.asked().clone();
            if asked == expected { Ok(()) } else { Err(asked) }
        })
        .await;
    }

    /// The messages in the store, once it is at this position.
    async fn stored(&self, position: u64) -> Vec<String> {
        eventually("it is stored", async || {
            let at = self.store.position(self.journal.origin).await.unwrap().sequence;
            if at == position { Ok(()) } else { Err(at) }
        })
        .await;
        let events = newest(&*self.store, &EventFilter::default(), 100).await;
        let mut messages: Vec<String> = events.into_iter().map(|event| event.message).collect();
        messages.sort();
        messages
    }
}

#[tokio::test]
async fn what_another_has_stored_is_not_stored_again() {
    // A hub takes a stream over: another one has stored up to 5, and the entry that comes first holds
    // 3 to 6, with which the journal says that it begins.
    let desk = Desk::new(5, 3).await;
    desk.batches.send_async(reports(3..=6)).await.unwrap();
    desk.asks(&[5, 5]).await;
    desk.batches.send_async(report(6, "report 6")).await.unwrap();
    let expected = ["report 1", "report 2", "report 3", "report 4", "report 5", "report 6"];
    assert_eq!(desk.stored(6).await, expected);
    desk.writer.kill();
}

#[tokio::test]
async fn what_is_stored_already_is_passed_over() {
    let desk = Desk::new(5, 1).await;
    for batch in [reports(1..=3), reports(4..=5), report(6, "report 6")] {
        desk.batches.send_async(batch).await.unwrap();
    }
    assert_eq!(desk.stored(6).await.len(), 6);
    desk.asks(&[5]).await;
    desk.writer.kill();
}

#[tokio::test]
async fn behind_what_the_journal_has_forgotten_it_goes_on() {
    let desk = Desk::new(2, 5).await;
    desk.batches.send_async(reports(5..=6)).await.unwrap();
    assert_eq!(desk.stored(6).await, ["report 1", "report 2", "report 5", "report 6"]);
    desk.asks(&[2]).await;
    desk.writer.kill();
}

#[tokio::test]
async fn another_gap_is_read_again() {
    let desk = Desk::new(2, 1).await;
    desk.batches.send_async(reports(5..=6)).await.unwrap();
    desk.asks(&[2, 2]).await;
    desk.batches.send_async(reports(3..=6)).await.unwrap();
    assert_eq!(desk.stored(6).await.len(), 6);
    desk.writer.kill();
}
