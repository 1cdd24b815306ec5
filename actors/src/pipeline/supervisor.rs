//! Keeps the stages alive.

use std::{ops::ControlFlow, time::Duration};

use kameo::{
    Actor,
    actor::{ActorId, ActorRef, Spawn, WeakActorRef},
    error::{ActorStopReason, Infallible},
    supervision::{RestartPolicy, SupervisionStrategy},
};
use tokio::sync::watch;

/// A stage that panics is started again, with its channels and counters; what it had in hand is
/// read again from the journal.
pub(super) async fn supervise<A: Actor<Args = A>>(
    supervisor: &ActorRef<Supervisor>,
    make: impl Fn() -> A + Send + Sync + 'static,
) -> ActorRef<A> {
    A::supervise_with(supervisor, make)
        .restart_policy(RestartPolicy::Transient)
        .restart_limit(10, Duration::from_mins(1))
        .spawn()
        .await
}

/// Restarts stages, and says so when one cannot be kept alive.
pub(super) struct Supervisor {
    pub broken: watch::Sender<Option<String>>,
}

impl Actor for Supervisor {
    type Args = Self;
    type Error = Infallible;

    fn supervision_strategy() -> SupervisionStrategy {
        SupervisionStrategy::OneForOne
    }

    async fn on_start(supervisor: Self, _: ActorRef<Self>) -> Result<Self, Infallible> {
        Ok(supervisor)
    }

    async fn on_link_died(
        &mut self,
        _: WeakActorRef<Self>,
        id: ActorId,
        reason: ActorStopReason,
    ) -> Result<ControlFlow<ActorStopReason>, Infallible> {
        if !matches!(reason, ActorStopReason::Normal) {
            self.broken.send_replace(Some(format!("stage {id} died too often: {reason}")));
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// Waits until a stage cannot be kept alive; says why.
pub(super) async fn why_broken(mut broken: watch::Receiver<Option<String>>) -> String {
    match broken.wait_for(Option::is_some).await {
        Ok(reason) => reason.clone().unwrap_or_default(),
        Err(_) => "the supervisor is gone".to_owned(),
    }
}
