//! What the stream readers of a hub share.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;

use crate::adapters::{
    journal::{
        Origin,
        stream::{Name, Settings, Status, journal::StreamJournal},
    },
    store::{Store, jobs::Holder},
};

/// Starts the stages behind an origin.
#[async_trait]
pub trait Chains: Send + Sync + 'static {
    async fn start(&self, environment: &str, journal: Arc<StreamJournal>) -> Box<dyn Chain>;
}

/// The stages behind an origin.
#[async_trait]
pub trait Chain: Send + Sync + 'static {
    /// Works through what they have.
    async fn finish(&self);
    /// Ends them at once.
    fn kill(&self);
}

/// What all readers of a hub share.
#[derive(Clone)]
pub struct Hub {
    pub settings: Settings,
    pub holder: Holder,
    pub store: Arc<dyn Store>,
    pub chains: Arc<dyn Chains>,
    pub status: Arc<Status>,
    /// The origins that are being read, for people to look at.
    pub origins: Arc<Origins>,
}

/// The origins that a hub reads, with the streams they are in.
#[derive(Default)]
pub struct Origins(Mutex<HashMap<Origin, (Name, Arc<StreamJournal>)>>);

impl Origins {
    pub(super) fn change(
        &self,
        change: impl FnOnce(&mut HashMap<Origin, (Name, Arc<StreamJournal>)>),
    ) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// All of them now.
    #[must_use]
    pub fn look(&self) -> HashMap<Origin, (Name, Arc<StreamJournal>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
