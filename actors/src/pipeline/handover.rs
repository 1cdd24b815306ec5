//! What runs on an edge VM instead of the pipeline: the relay behind the spool.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use kameo::actor::{ActorRef, Spawn};
use tokio::sync::watch;

use super::{
    Supervisor,
    consumer::{Consumer, Progress},
    supervise, why_broken,
};
use crate::{
    adapters::journal::{
        Origin, Readable,
        spool::Spool,
        stream::{Settings, State, Status},
    },
    domain::{event::Source, ledger::Ledger},
    relay::Relay,
    stage::Finish,
};

/// A running hand-over.
pub struct Handover {
    spool: Arc<Spool>,
    ledger: Arc<Mutex<Ledger>>,
    status: Arc<Status>,
    relay: ActorRef<Relay>,
    supervisor: ActorRef<Supervisor>,
    broken: watch::Receiver<Option<String>>,
}

/// One source's line in a relay's ledger, in messages: `received = committed + in_flight`, and what
/// was handed over is committed or in flight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Line {
    pub received: u64,
    pub handed_over: u64,
    pub committed: u64,
    pub in_flight: u64,
}

impl Line {
    /// Messages by which it does not balance.
    #[must_use]
    pub fn imbalance(self) -> i128 {
        i128::from(self.received) - i128::from(self.committed) - i128::from(self.in_flight)
    }
}

impl Handover {
    /// Starts it. Redis need not be reachable.
    ///
    /// # Errors
    /// When the settings name no Redis.
    pub async fn start(
        settings: Settings,
        spool: Arc<Spool>,
        ledger: Arc<Mutex<Ledger>>,
    ) -> Result<Self, String> {
        let status = Arc::<Status>::default();
        let (broken_out, broken) = watch::channel(None);
        let supervisor = Supervisor::spawn(Supervisor { broken: broken_out });
        let relay = {
            let (spool, ledger, status) = (spool.clone(), ledger.clone(), status.clone());
            let make =
                move || Relay::new(settings.clone(), spool.clone(), ledger.clone(), status.clone());
            make()?;
            let make = move || make().expect("it could be made before");
            supervise::<Relay>(&supervisor, make).await
        };
        Ok(Self { spool, ledger, status, relay, supervisor, broken })
    }

    #[must_use]
    pub fn spool(&self) -> &Arc<Spool> {
        &self.spool
    }

    /// The id of what is handed over.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.spool.origin()
    }

    /// How Redis does.
    #[must_use]
    pub fn state(&self) -> State {
        self.status.look()
    }

    /// The ledger by source; `None` before Redis has said what is committed.
    #[must_use]
    pub fn ledger(&self) -> Option<Vec<(Source, Line)>> {
        let outstanding = self.status.look().outstanding;
        let ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let line = |source| {
            let line = ledger.line(source);
            Line {
                received: line.received,
                // The two are noted one after the other, so that it may be ahead for a moment.
                handed_over: (line.stored + outstanding[source as usize]).min(line.received),
                committed: line.stored,
                in_flight: line.in_flight,
            }
        };
        let lines = Source::ALL.into_iter().map(|source| (source, line(source))).collect();
        ledger.is_complete().then_some(lines)
    }
}

impl Consumer for Handover {
    const NAME: &str = "the relay";
    const DOING: &str = "handing over";
    const DONE: &str = "committed";

    async fn broken(&self) -> String {
        why_broken(self.broken.clone()).await
    }

    /// The relay looks at Redis again and again, whatever comes of it.
    fn progress(&self) -> Progress {
        Progress { steps: self.status.look().looks, is_expected: true }
    }

    async fn settled(&self) {
        self.spool.settled().await;
    }

    async fn finish(&self, patience: Duration) {
        // An error says that it is gone already.
        let finished = tokio::time::timeout(patience, self.relay.ask(Finish).into_future()).await;
        self.supervisor.kill();
        self.relay.kill();
        let spool = self.spool.clone();
        // Closing joins threads.
        let _ = tokio::task::spawn_blocking(move || spool.close()).await;
        if finished.is_err() {
            tracing::warn!(
                "the relay did not finish in time; the spool keeps what is not committed"
            );
        }
    }
}
