//! Fan-out: hands every batch to every branch.
//!
//! `batches ──▶ fan-out ──▶ branch, branch …`
//!
//! When a branch is full the fan-out waits for it: no branch misses a batch, and the slowest one
//! sets the pace. A batch is shared, not copied.

use std::sync::Arc;

use flume::{Receiver, Sender};
use kameo::{
    Actor,
    actor::{ActorRef, WeakActorRef},
    mailbox::{MailboxReceiver, Signal},
    message::{Context, Message},
};

use crate::{
    domain::batch::Batch,
    stage::{Closed, Finish, Wake, wake},
};

/// See the [module](self).
#[derive(Clone)]
pub struct FanOut {
    input: Receiver<Arc<Batch>>,
    branches: Vec<Sender<Arc<Batch>>>,
}

impl FanOut {
    #[must_use]
    pub fn new(input: Receiver<Arc<Batch>>, branches: Vec<Sender<Arc<Batch>>>) -> Self {
        Self { input, branches }
    }

    async fn process(&mut self, batch: Arc<Batch>) -> Result<(), Closed> {
        for branch in &self.branches {
            branch.send_async(batch.clone()).await?;
        }
        Ok(())
    }
}

impl Actor for FanOut {
    type Args = Self;
    type Error = Closed;

    fn name() -> &'static str {
        "fan_out"
    }

    async fn on_start(fan_out: Self, _: ActorRef<Self>) -> Result<Self, Closed> {
        Ok(fan_out)
    }

    async fn next(
        &mut self,
        _: WeakActorRef<Self>,
        mailbox: &mut MailboxReceiver<Self>,
    ) -> Result<Option<Signal<Self>>, Closed> {
        loop {
            match wake(&self.input, mailbox, None).await {
                Wake::Item(batch) => self.process(batch).await?,
                Wake::Deadline => {}
                Wake::Signal(signal) => return Ok(signal),
            }
        }
    }
}

impl Message<Finish> for FanOut {
    type Reply = Result<(), Closed>;

    async fn handle(&mut self, _: Finish, _: &mut Context<Self, Self::Reply>) -> Self::Reply {
        while let Ok(batch) = self.input.try_recv() {
            self.process(batch).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kameo::actor::Spawn;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn every_branch_gets_every_batch_and_a_full_one_is_waited_for() {
        let (batches, input) = flume::bounded(10);
        let (fast_in, fast) = flume::bounded(10);
        let (slow_in, slow) = flume::bounded(1);
        let fan_out = FanOut::spawn(FanOut::new(input, vec![fast_in, slow_in]));
        for first in 1..=5 {
            let mut batch = Batch::default();
            batch.first = first;
            batches.send(Arc::new(batch)).unwrap();
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(fast.len(), 2, "one for the slow branch's channel, one in hand");
        let taken = tokio::spawn(async move {
            let mut taken = Vec::new();
            while let Ok(batch) = slow.recv_async().await {
                taken.push(batch.first);
                if taken.len() == 5 {
                    break;
                }
            }
            taken
        });
        fan_out.ask(Finish).await.unwrap();
        assert_eq!(taken.await.unwrap(), [1, 2, 3, 4, 5]);
        assert_eq!(fast.drain().count(), 5);
    }
}
