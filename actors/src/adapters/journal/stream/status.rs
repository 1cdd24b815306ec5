//! How the hand-over goes, for health and metrics to look at.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::format;
use crate::domain::calls::Calls;

/// How the hand-over goes. Changed by stages while they work.
#[derive(Debug, Default)]
pub struct Status {
    state: Mutex<State>,
    calls: Calls,
}

/// See [`Status::look`].
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Why Redis cannot be used, while it cannot, by connection.
    failing: BTreeMap<String, String>,
    /// Why records wait although Redis answers.
    pub waiting: Option<String>,
    /// By what settings Redis could lose or evict what it holds, by stream.
    warnings: BTreeMap<String, Vec<String>>,
    /// A relay's: the last sequence that this process may have handed over.
    handed_over: u64,
    /// A relay's: see [`Status::finds_older_copy`].
    is_older_copy: bool,
    /// A relay's: bytes handed over that no hub has committed.
    pub outstanding_bytes: u64,
    /// A relay's: messages handed over that no hub has committed.
    pub outstanding: format::Messages,
    /// How often a relay has looked after the stream.
    pub looks: u64,
    /// A hub's: the streams that it holds.
    pub held: Vec<String>,
}

impl State {
    /// Why Redis, or some server of it, cannot be used.
    #[must_use]
    pub fn failing(&self) -> Option<String> {
        let reasons: BTreeSet<&str> = self.failing.values().map(String::as_str).collect();
        (!reasons.is_empty()).then(|| reasons.into_iter().collect::<Vec<_>>().join("; "))
    }

    /// By what settings Redis could lose or evict what it holds.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let warnings: BTreeSet<&String> = self.warnings.values().flatten().collect();
        warnings.into_iter().cloned().collect()
    }
}

impl Status {
    /// Counts its calls over a window of this length.
    #[must_use]
    pub fn over(window: Duration) -> Self {
        Self { state: Mutex::default(), calls: Calls::new(window) }
    }

    /// How the commands went that were sent.
    #[must_use]
    pub fn calls(&self) -> &Calls {
        &self.calls
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it goes now.
    #[must_use]
    pub fn look(&self) -> State {
        self.lock().clone()
    }

    /// Changes what is known.
    pub fn note(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
    }

    /// A relay is about to hand over records up to `last`.
    pub fn hands_over(&self, last: u64) {
        let mut state = self.lock();
        state.handed_over = state.handed_over.max(last);
    }

    /// Whether hubs have committed what a relay's spool, which ended at `recovered` when this process
    /// began to read, has never given. Once it is known it stays so: new records may reach `committed`,
    /// and a relay that is started again in this process has seen nothing.
    #[must_use]
    pub fn finds_older_copy(&self, committed: u64, recovered: u64) -> bool {
        let mut state = self.lock();
        if state.is_older_copy || committed <= recovered.max(state.handed_over) {
            return state.is_older_copy;
        }
        let problem = format!(
            "records up to {committed} of this spool are stored, but it ended at {recovered}: it is \
             an older copy; without its file `origin` it is taken for another one"
        );
        tracing::error!(problem, "nothing is handed over; the spool keeps it");
        state.is_older_copy = true;
        state.waiting = Some(problem);
        true
    }

    /// Redis cannot be used by this connection.
    pub fn failed(&self, connection: &str, error: &str) {
        metrics::counter!("faultline_stream_failures_total").increment(1);
        let was = self.lock().failing.insert(connection.to_owned(), error.to_owned());
        if was.as_deref() != Some(error) {
            tracing::warn!(connection, error, "nothing is lost, trying again until it works");
        }
    }

    /// This connection can be used.
    pub fn recovered(&self, connection: &str) {
        if self.lock().failing.remove(connection).is_some() {
            tracing::info!(connection, "Redis answers again");
        }
    }

    /// This connection is not used any more.
    pub fn forget(&self, connection: &str) {
        self.lock().failing.remove(connection);
    }

    /// Redis answers, and this is what is to be said about how the servers of a stream are set up.
    pub fn warn(&self, stream: &str, warnings: Vec<String>) {
        let mut state = self.lock();
        let known = state.warnings();
        for warning in warnings.iter().filter(|warning| !known.contains(warning)) {
            tracing::warn!(warning, "Redis may lose what it holds; relays would send it again");
        }
        state.warnings.insert(stream.to_owned(), warnings);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_copy_is_one_until_the_process_ends() {
        let status = Status::default();
        assert!(!status.finds_older_copy(7, 7), "an earlier process had handed it over");
        status.hands_over(9);
        status.hands_over(8);
        assert!(!status.finds_older_copy(9, 7), "this one had");
        assert_eq!(status.look().waiting, None);
        assert!(status.finds_older_copy(10, 7));
        assert!(status.look().waiting.is_some_and(|why| why.contains("it ended at 7")));
        status.hands_over(20);
        assert!(status.finds_older_copy(10, 7), "new records are no proof");
    }
}
