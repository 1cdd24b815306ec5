//! The retention of a hub.

use std::sync::Arc;

use kameo::actor::ActorRef;

use super::{Supervisor, supervise};
use crate::{
    adapters::store::Store,
    retention::{Retention, Settings, Status, Work},
    stage::{Finish, Live},
};

/// The actor, and how it does.
pub(super) struct Retaining {
    actor: ActorRef<Retention>,
    pub(super) status: Arc<Status>,
    pub(super) settings: Live<Settings>,
}

impl Retaining {
    pub(super) async fn start(
        supervisor: &ActorRef<Supervisor>,
        settings: Live<Settings>,
        store: Arc<dyn Store>,
    ) -> Self {
        let status = Arc::<Status>::default();
        let work = Arc::new(Work {
            settings: settings.clone(),
            store,
            holder: uuid::Uuid::now_v7(),
            status: status.clone(),
        });
        let make = move || Retention::new(work.clone());
        Self { actor: supervise::<Retention>(supervisor, make).await, status, settings }
    }

    pub(super) async fn finish(&self) {
        // An error says that it is gone already.
        let _ = self.actor.ask(Finish).await;
    }

    pub(super) fn kill(&self) {
        self.actor.kill();
    }
}
