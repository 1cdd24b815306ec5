//! The watch of health: looks at everything every `health.every`, and whenever somebody asks.
//!
//! ```text
//!                 ┌─▶ /health, /api/health, live clients
//! measure ─▶ look ┼─▶ changes ─▶ store
//!                 └─▶ conditions ─▶ notifier
//! ```
//!
//! Whoever asks sees a look that began after he asked; those who wait for one share it. Changes are
//! written in their order, each once; while the store is away they wait.

use std::{
    collections::{BTreeMap, VecDeque},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use faultline_actors::{
    adapters::store::{StoreError, health::HealthStore},
    domain::{
        alert::Condition,
        health::{Change, Known, Look, Settings, Status, Watch, watch::compare},
    },
    stage::Live,
};
use tokio::sync::{Mutex, Notify};

use super::Health;
use crate::admin::Admin;

/// Changes that wait to be written: hours of much trouble.
const WAITING: usize = 1_000;
/// How soon is tried again what could not be written.
const AGAIN: Duration = Duration::from_secs(1);
/// A try takes no longer: there is more to look at than the store.
const PATIENCE: Duration = Duration::from_secs(3);

/// See the [module](self).
pub(in crate::admin) struct HealthWatch {
    settings: Live<Settings>,
    /// Who this is, among those who share the store.
    hub: String,
    spool_directory: PathBuf,
    state: Mutex<State>,
    /// There is something to be written.
    changed: Notify,
}

#[derive(Default)]
struct State {
    watch: Watch,
    latest: Option<(Instant, Arc<Health>)>,
    conditions: Vec<Condition>,
    unwritten: VecDeque<Change>,
    /// How everything was before this process, once the store has said so.
    known: Option<BTreeMap<String, Known>>,
}

impl HealthWatch {
    pub(in crate::admin) fn new(
        settings: Live<Settings>,
        hub: String,
        spool_directory: PathBuf,
    ) -> Self {
        let (state, changed) = (Mutex::default(), Notify::new());
        Self { settings, hub, spool_directory, state, changed }
    }

    pub(in crate::admin) fn spool_directory(&self) -> &Path {
        &self.spool_directory
    }
}

impl Admin {
    /// How everything is now.
    pub(in crate::admin) async fn look_after_health(&self) -> Arc<Health> {
        let asked = Instant::now();
        let mut state = self.health.state.lock().await;
        if let Some((began, health)) = &state.latest
            && *began >= asked
        {
            return health.clone();
        }
        let began = Instant::now();
        let measured = self.measure().await;
        let settings = self.health.settings.get();
        let Look { components, changes, conditions } = state.watch.look(&measured, &settings);
        let health = Arc::new(Health::new(components, began));
        for (component, status) in health.statuses() {
            metrics::gauge!("faultline_component_status", "component" => component).set(
                match status {
                    Status::Healthy => 0.0,
                    Status::Degraded => 1.0,
                    Status::Unhealthy => 2.0,
                },
            );
        }
        if !changes.is_empty() {
            self.health.changed.notify_one();
        }
        for change in changes {
            if state.unwritten.len() >= WAITING {
                let reason = "full";
                metrics::counter!("faultline_health_changes_dropped_total", "reason" => reason)
                    .increment(1);
                continue;
            }
            state.unwritten.push_back(change);
        }
        state.conditions = conditions;
        state.latest = Some((began, health.clone()));
        health
    }

    /// Looks, writes down what changed and says what holds, until the program ends.
    pub(in crate::admin) async fn watch_health(self: Arc<Self>) {
        let ends = self.live.ends();
        let mut look_at = tokio::time::Instant::now();
        let mut write_at = None;
        loop {
            tokio::select! {
                () = ends.cancelled() => break,
                () = tokio::time::sleep_until(look_at) => {
                    self.look_after_health().await;
                    let conditions = self.health.state.lock().await.conditions.clone();
                    // One that does not fit is out of date when it would.
                    let _ = self.pipeline.conditions().try_send(conditions);
                    look_at = tokio::time::Instant::now() + self.health.settings.get().every;
                }
                () = self.health.changed.notified() => write_at = Some(tokio::time::Instant::now()),
                () = sleep_until(write_at) => {
                    let written = tokio::time::timeout(PATIENCE, self.write_changes()).await;
                    let is_written = matches!(written, Ok(Ok(())));
                    write_at = (!is_written).then(|| tokio::time::Instant::now() + AGAIN);
                }
            }
        }
        let _ = tokio::time::timeout(PATIENCE, self.write_changes()).await;
    }

    async fn write_changes(&self) -> Result<(), StoreError> {
        let (store, hub) = (&*self.store, &self.health.hub);
        if self.health.state.lock().await.known.is_none() {
            let known = HealthStore::last_health(store, hub).await?;
            let mut state = self.health.state.lock().await;
            state.watch.recall(&known);
            state.known = Some(known);
        }
        let (changes, count) = {
            let state = self.health.state.lock().await;
            let known = state.known.as_ref().expect("read just now");
            let compared = state.unwritten.iter().filter_map(|it| compare(it.clone(), known));
            (compared.collect::<Vec<_>>(), state.unwritten.len())
        };
        HealthStore::add_changes(store, hub, &changes).await?;
        // New ones are put behind these, and nobody else takes any away.
        self.health.state.lock().await.unwritten.drain(..count);
        Ok(())
    }
}

async fn sleep_until(moment: Option<tokio::time::Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
