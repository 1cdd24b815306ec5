//! The lease of a stream: asked for, prolonged, lost.

use tokio::time::Instant;

use super::StreamReader;
use crate::adapters::{
    journal::{Origin, stream::Place},
    store::{StoreError, streams::Lease},
};

/// Of the lease: how long the row lasts, how often it is prolonged, how often it is tried. Together
/// they are less than the whole, so that a dead hub is relieved within it.
const LASTS: (u32, u32) = (3, 4);
const PROLONGED: u32 = 5;
const TRIED: u32 = 10;

impl StreamReader {
    pub(super) async fn keep_lease(&mut self) {
        let now = Instant::now();
        if now < self.lease_at {
            return;
        }
        let lease = self.hub.settings.lease;
        let lasts = lease * LASTS.0 / LASTS.1;
        // A hub that cannot read the stream leaves it to one that can.
        let can_read = match self.held {
            Some(_) => self.reading.is_well(),
            None => self.reading.answers().await,
        };
        if !can_read {
            self.leave_when_over("Redis could not be reached for too long");
            self.lease_at = Instant::now() + lease / TRIED;
            return;
        }
        let asked = self.hub.store.lease_stream(&self.name, self.hub.holder, lasts);
        // A store that does not answer must not hold up the reader for longer than it may read.
        let answer = tokio::time::timeout(lasts, asked).await;
        match answer.unwrap_or_else(|_| Err(StoreError::Unavailable("no answer".to_owned()))) {
            Ok(Lease::Held) => {
                if self.held.is_none() {
                    tracing::info!(stream = self.key, "this hub reads the stream");
                    let name = self.key.clone();
                    self.hub.status.note(|state| state.held.push(name));
                }
                self.held = Some(now + lasts);
                self.lease_at = now + lease / PROLONGED;
            }
            Ok(Lease::Taken) => {
                self.leave("another hub has taken it over");
                self.lease_at = now + lease / TRIED;
            }
            Err(error) => {
                tracing::debug!(stream = self.key, %error, "cannot ask for the lease");
                self.leave_when_over("the lease could not be prolonged in time");
                self.lease_at = Instant::now() + lease / TRIED;
            }
        }
    }

    fn leave_when_over(&mut self, why: &str) {
        if self.held.is_some_and(|until| Instant::now() > until) {
            self.leave(why);
        }
    }

    /// The stream is not read any more; what is under way comes to nothing.
    pub(super) fn leave(&mut self, why: &str) {
        if self.held.take().is_none() {
            return;
        }
        tracing::warn!(stream = self.key, why, "this hub does not read the stream any more");
        let key = &self.key;
        self.hub.status.note(|state| state.held.retain(|held| held != key));
        self.control.rest();
        self.fetching = None;
        self.sending = None;
        self.found.clear();
        for origin in self.origins.keys().copied().collect::<Vec<_>>() {
            self.forget(origin);
        }
        self.parked.clear();
        self.cursor = Place::default();
        self.trimmed = Place::default();
    }

    pub(super) fn forget(&mut self, origin: Origin) {
        if let Some(read) = self.origins.remove(&origin) {
            read.chain.kill();
            self.hub.origins.change(|origins| drop(origins.remove(&origin)));
        }
    }
}
