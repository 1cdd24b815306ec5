//! The stream readers of a hub.

use std::{sync::Arc, time::Duration};

use kameo::actor::ActorRef;

use super::{Supervisor, chain::Spawner, supervise};
use crate::{
    adapters::{
        journal::stream::{self, Status},
        store::Store,
    },
    stage::Finish,
    stream_reader::{Hub, Origins, StreamReader},
};

/// What is read beside the spool.
pub(super) struct Streams {
    pub(super) readers: Vec<ActorRef<StreamReader>>,
    pub(super) status: Arc<Status>,
    pub(super) origins: Arc<Origins>,
}

impl Streams {
    pub(super) async fn start(
        supervisor: &ActorRef<Supervisor>,
        settings: stream::Settings,
        store: Arc<dyn Store>,
        spawner: Arc<Spawner>,
        window: Duration,
    ) -> Result<Self, String> {
        let (status, origins) = (Arc::new(Status::over(window)), Arc::<Origins>::default());
        let hub = Hub {
            holder: uuid::Uuid::now_v7(),
            store,
            chains: spawner,
            status: status.clone(),
            origins: origins.clone(),
            settings: settings.clone(),
        };
        let mut readers = Vec::new();
        for name in settings.streams() {
            StreamReader::new(hub.clone(), name.clone())?;
            let hub = hub.clone();
            let make = move || {
                StreamReader::new(hub.clone(), name.clone()).expect("it could be made before")
            };
            readers.push(supervise::<StreamReader>(supervisor, make).await);
        }
        Ok(Self { readers, status, origins })
    }

    pub(super) async fn finish(&self) {
        for reader in &self.readers {
            let _ = reader.ask(Finish).await;
        }
    }

    pub(super) fn kill(&self) {
        self.readers.iter().for_each(ActorRef::kill);
    }
}
