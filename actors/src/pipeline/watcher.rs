//! The bucket watcher of a hub.

use std::{sync::Arc, time::Duration};

use kameo::actor::ActorRef;

use super::{Supervisor, supervise};
use crate::{
    adapters::{buckets::Account, journal::spool::Spool, store::Store},
    bucket_watcher::{BucketWatcher, Settings, Status, Watch},
    domain::calls::Calls,
    stage::Finish,
};

/// A watcher, and how it does.
pub(super) struct Watcher {
    actor: ActorRef<BucketWatcher>,
    pub(super) status: Arc<Status>,
    pub(super) calls: Arc<Calls>,
}

impl Watcher {
    /// Starts it where the settings name an account, its calls counted over `window`. Nothing is
    /// asked of it yet.
    pub(super) async fn start(
        supervisor: &ActorRef<Supervisor>,
        settings: Settings,
        store: &Arc<dyn Store>,
        spool: &Arc<Spool>,
        window: Duration,
    ) -> Result<Option<Self>, String> {
        if !settings.is_on() {
            return Ok(None);
        }
        let status = Arc::<Status>::default();
        let calls = Arc::new(Calls::new(window));
        let watch = Arc::new(Watch {
            account: Account::new(&settings)?.counted(calls.clone()),
            settings,
            store: store.clone(),
            spool: spool.clone(),
            holder: uuid::Uuid::now_v7(),
            status: status.clone(),
        });
        let make = move || BucketWatcher::new(watch.clone());
        let actor = supervise::<BucketWatcher>(supervisor, make).await;
        Ok(Some(Self { actor, status, calls }))
    }

    pub(super) async fn finish(&self) {
        // An error says that it is gone already.
        let _ = self.actor.ask(Finish).await;
    }

    pub(super) fn kill(&self) {
        self.actor.kill();
    }
}
