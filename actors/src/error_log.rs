//! Error log: keeps what the program itself logs as WARN or ERROR, for people to find.
//!
//! `lines of the log ──▶ error log ──▶ store`
//!
//! Lines that say the same are one row with a count. Logging never waits: what does not fit is
//! dropped, and counted. While the store is away, groups wait; nothing of this is logged itself, so
//! that nothing goes round in circles.

use std::{future::Future, pin::pin, sync::Arc, time::Duration};

use flume::Receiver;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tracing::Instrument;

use crate::{
    adapters::store::{Store, health::HealthStore},
    domain::own_log::{Gathered, Line},
};

/// Lines that wait to be gathered: as many as a burst of trouble has.
pub const LINES: usize = 1_024;
/// How often what was gathered is stored.
const EVERY: Duration = Duration::from_secs(2);
/// How long the last of it may take when the program ends.
const PATIENCE: Duration = Duration::from_secs(1);
/// What is logged within this span is not kept.
pub const SPAN: &str = "error_log";

/// See the [module](self).
pub struct ErrorLog {
    lines: Receiver<Line>,
    store: Arc<dyn Store>,
    hub: String,
    gathered: Gathered,
}

/// A line was not kept.
pub fn count_dropped(reason: &'static str) {
    metrics::counter!("faultline_error_logs_dropped_total", "reason" => reason).increment(1);
}

impl ErrorLog {
    #[must_use]
    pub fn new(lines: Receiver<Line>, store: Arc<dyn Store>, hub: String) -> Self {
        Self { lines, store, hub, gathered: Gathered::default() }
    }

    /// Keeps lines until `ends`, and then what is left.
    pub async fn run(mut self, ends: impl Future<Output = ()>) {
        let mut ends = pin!(ends);
        let mut due = interval_at(Instant::now() + EVERY, EVERY);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = &mut ends => break,
                _ = due.tick() => self.store_gathered().await,
                line = self.lines.recv_async() => match line {
                    Ok(line) => self.gather(&line),
                    Err(_) => break,
                },
            }
        }
        for line in self.lines.clone().try_iter() {
            self.gather(&line);
        }
        let _ = tokio::time::timeout(PATIENCE, self.store_gathered()).await;
    }

    fn gather(&mut self, line: &Line) {
        if !self.gathered.add(line) {
            count_dropped("groups");
        }
    }

    async fn store_gathered(&mut self) {
        if self.gathered.is_empty() {
            return;
        }
        let groups = self.gathered.take();
        let added = HealthStore::add_errors(&*self.store, &self.hub, &groups);
        if added.instrument(tracing::error_span!(SPAN)).await.is_err() {
            self.gathered.give_back(groups);
        }
    }
}
