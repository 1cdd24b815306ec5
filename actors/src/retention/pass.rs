//! One pass: everything that is old now.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::Serialize;
use tokio::time::{Instant, sleep_until};

use super::{LEASE, Settings, Work};
use crate::{
    adapters::{
        clock,
        store::{StoreError, retention::TableSize},
    },
    domain::{retention::Aged, time::Micros},
};

/// How a pass ended.
#[derive(Clone, Copy)]
pub(super) enum Ended {
    /// Everything that was old is gone, or another hub is at it.
    Done,
    Failed,
}

/// What went, and what went wrong.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    /// Days of events that went.
    pub days: Vec<String>,
    /// Events of them.
    pub events: u64,
    /// Of these, those that were archived, and the bytes of the archives.
    pub archived_events: u64,
    pub archived_bytes: u64,
    /// Rows that went, by what they are.
    pub rows: BTreeMap<&'static str, u64>,
    pub problems: Vec<String>,
}

impl Report {
    fn is_empty(&self) -> bool {
        self.days.is_empty() && self.rows.is_empty() && self.problems.is_empty()
    }
}

/// Why a pass cannot go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0}")]
    Archive(#[from] std::io::Error),
    /// Another hub goes on with it.
    #[error("the lease was lost")]
    Lost,
}

/// A pass under way: keeps the lease, and the pace.
pub(super) struct Pass {
    pub work: Arc<Work>,
    pub settings: Settings,
    pub report: Report,
    /// When the lease was asked for last.
    leased_at: Instant,
    /// When the current piece of work began.
    working_since: Instant,
}

/// The lease is prolonged when it is so old.
const PROLONG: Duration = Duration::from_secs(LEASE.as_secs() / 4);
/// A pause is at most so long: nothing that is in hand times out meanwhile.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Shorter pieces of work are not worth a pause each.
const SHORTEST_WORK: Duration = Duration::from_millis(5);

pub(super) async fn run(work: Arc<Work>) -> Ended {
    let settings = work.settings.get();
    let now = Instant::now();
    show_sizes(&work).await;
    match work.store.lease_retention(work.holder, LEASE).await {
        Ok(true) => {}
        Ok(false) => return Ended::Done,
        Err(error) => return failed(&work, &error.to_string()),
    }
    work.status.note(|state| state.is_running = true);
    let started_at = clock::now();
    let report = Report::default();
    let mut pass =
        Pass { work: work.clone(), settings, report, leased_at: now, working_since: now };
    let outcome = pass.everything().await;
    work.status.note(|state| state.is_running = false);
    if let Err(failure) = &outcome {
        pass.report.problems.push(failure.to_string());
    }
    let ended = pass.close(started_at).await;
    if !matches!(outcome, Err(Failure::Lost)) {
        let _ = work.store.release_retention(work.holder).await;
    }
    ended
}

fn failed(work: &Work, problem: &str) -> Ended {
    tracing::warn!(problem, "what is old cannot leave the store; trying again later");
    count_run("failed", 1);
    work.status.note(|state| state.problem = Some(problem.to_owned()));
    Ended::Failed
}

impl Pass {
    /// What fails does not keep the rest, unless the store itself fails.
    async fn everything(&mut self) -> Result<(), Failure> {
        // Before anything leaves: what is there bears it out.
        let now = self.seen_now().await?;
        match self.leave_days(now).await {
            // No day leaves before it is archived; all else needs no directory.
            Err(failure @ Failure::Archive(_)) => self.report.problems.push(failure.to_string()),
            outcome => outcome?,
        }
        for aged in Aged::ALL {
            let now = if aged.is_of_the_hub() { clock::now() } else { now };
            self.prune(aged, now).await?;
        }
        while self.work.store.tidy().await? {
            self.pace().await?;
        }
        Ok(())
    }

    async fn prune(&mut self, aged: Aged, now: Micros) -> Result<(), Failure> {
        let keep = self.settings.keep(aged);
        if keep.is_zero() {
            return Ok(());
        }
        let before = aged.before(keep, now);
        let last = self.work.status.look().pruned.get(&aged).copied();
        if !aged.is_due(last, before) {
            return Ok(());
        }
        let mut after = 0;
        loop {
            let store = &self.work.store;
            let pruned = store.prune(aged, before, after, self.settings.batch).await?;
            if pruned.rows > 0 {
                *self.report.rows.entry(aged.name()).or_default() += pruned.rows;
                dropped(aged.name(), pruned.rows);
            }
            self.pace().await?;
            match pruned.next {
                Some(next) => after = next,
                None => break,
            }
        }
        self.work.status.note(|state| {
            state.pruned.insert(aged, before);
        });
        Ok(())
    }

    /// Pauses for so long that the share of work is kept, and prolongs the lease where it is time.
    pub(super) async fn pace(&mut self) -> Result<(), Failure> {
        let worked = self.working_since.elapsed();
        if worked >= SHORTEST_WORK && self.settings.share < 1.0 {
            let pause = worked.mul_f64(1.0 / self.settings.share - 1.0);
            tokio::time::sleep(pause.min(LONGEST_PAUSE)).await;
            // A reload may have changed it.
            self.settings.share = self.work.settings.get().share;
            self.working_since = Instant::now();
        }
        if self.leased_at.elapsed() > PROLONG {
            self.prolong().await?;
        }
        Ok(())
    }

    pub(super) async fn prolong(&mut self) -> Result<(), Failure> {
        let asked = Instant::now();
        if !self.work.store.lease_retention(self.work.holder, LEASE).await? {
            return Err(Failure::Lost);
        }
        self.leased_at = asked;
        Ok(())
    }

    /// Does it on a thread that may wait for the disk, and keeps the lease: to read a large archive
    /// again takes minutes.
    pub(super) async fn blocking<T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
    ) -> Result<T, Failure> {
        let mut task = tokio::task::spawn_blocking(work);
        loop {
            tokio::select! {
                done = &mut task => {
                    return Ok(done.map_err(std::io::Error::other)??);
                }
                () = sleep_until(self.leased_at + PROLONG) => self.prolong().await?,
            }
        }
    }

    /// Keeps the report, where there is something to report, and shows how it went.
    async fn close(self, started_at: i64) -> Ended {
        let Self { work, report, .. } = self;
        if !report.is_empty() {
            let text = serde_json::to_string(&report).unwrap_or_default();
            if let Err(error) = work.store.keep_run(started_at, clock::now(), &text).await {
                tracing::warn!(%error, "the report of a run of retention is not kept");
            }
            let Report { days, events, archived_events, rows, .. } = &report;
            tracing::info!(?days, events, archived_events, ?rows, "what was old has left");
        }
        show_sizes(&work).await;
        if let Some(problem) = report.problems.first() {
            return failed(&work, problem);
        }
        count_run("done", 1);
        let now = clock::now();
        metrics::gauge!("faultline_retention_last_success_timestamp_seconds").set(now as f64 / 1e6);
        work.status.note(|state| {
            state.problem = None;
            state.last_success = Some(now);
        });
        Ended::Done
    }
}

pub(super) fn count_run(outcome: &'static str, runs: u64) {
    metrics::counter!("faultline_retention_runs_total", "outcome" => outcome).increment(runs);
}

/// Counts rows that left a table.
pub(super) fn dropped(table: &'static str, rows: u64) {
    metrics::counter!("faultline_retention_dropped_rows_total", "table" => table).increment(rows);
}

async fn show_sizes(work: &Work) {
    let Ok(sizes) = work.store.sizes().await else { return };
    for TableSize { table, bytes, rows } in sizes {
        if let Some(rows) = rows {
            metrics::gauge!("faultline_store_rows", "table" => table.clone()).set(rows as f64);
        }
        metrics::gauge!("faultline_store_bytes", "table" => table).set(bytes as f64);
    }
    let Ok(days) = work.store.event_days().await else { return };
    if let Some(oldest) = days.first() {
        let at = crate::domain::retention::moments_of(oldest.day).0;
        metrics::gauge!("faultline_store_oldest_day_timestamp_seconds").set(at as f64 / 1e6);
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::{
        adapters::store::{Store, retention::RetentionStore, sqlite::Sqlite},
        stage::Live,
    };

    #[tokio::test]
    async fn the_lease_is_kept_while_the_disk_takes_its_time() {
        let store = Arc::new(Sqlite::in_memory().unwrap());
        store.migrate().await.unwrap();
        let (settings, holder) = (Settings::default(), Uuid::now_v7());
        let status = Arc::default();
        let work =
            Work { settings: Live::new(settings.clone()), store: store.clone(), holder, status };
        let leased_at = Instant::now().checked_sub(PROLONG).unwrap();
        let mut pass = Pass {
            work: Arc::new(work),
            settings,
            report: Report::default(),
            leased_at,
            working_since: leased_at,
        };
        assert!(store.lease_retention(holder, Duration::ZERO).await.unwrap());
        let read = || {
            std::thread::sleep(Duration::from_millis(100));
            Ok(7)
        };
        assert_eq!(pass.blocking(read).await.unwrap(), 7);
        assert!(!store.lease_retention(Uuid::now_v7(), LEASE).await.unwrap());
    }
}
