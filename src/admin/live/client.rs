//! One client: takes from the ring at its own pace, for as long as its connection asks for more.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use axum::http::HeaderMap;
use bytes::Bytes;
use tokio::{
    sync::watch,
    time::{Instant, Interval, MissedTickBehavior, interval_at},
};

use super::{
    Gap, Hello, Skipped,
    clients::{BEHIND, Place, count_cut},
    filter::{Filter, Topics},
    ring::{Message, frame},
    tail::Tailing,
};
use crate::admin::Admin;

/// A comment is sent so often, so that proxies and clients see that the connection lives.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// So often it is asked whether a client would still be let in.
const CHECK: Duration = Duration::from_mins(1);
/// So often a client hears how many events it was not shown.
const TELL: Duration = Duration::from_secs(1);
/// Messages taken from the ring at a time.
const AT_ONCE: usize = 64;
/// Browsers connect again after so many milliseconds.
const RETRY: u32 = 2_000;

/// See the [module](self).
pub(super) struct Client {
    pub admin: Arc<Admin>,
    /// What it came with: its credentials.
    pub headers: HeaderMap,
    pub topics: Topics,
    pub filter: Filter,
    pub place: Place,
    pub cursor: u64,
    pub published: watch::Receiver<u64>,
    pub tail: Option<Tailing>,
    /// Taken, and not asked for yet.
    pub in_hand: VecDeque<Bytes>,
    pub beats: Beats,
}

/// What a client does from time to time.
pub(super) struct Beats {
    heart: Interval,
    check: Interval,
    tell: Interval,
}

impl Beats {
    pub(super) fn new() -> Self {
        let every = |period| {
            let mut interval = interval_at(Instant::now() + period, period);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            interval
        };
        Self { heart: every(HEARTBEAT), check: every(CHECK), tell: every(TELL) }
    }
}

/// Why a client wakes up.
enum Woken {
    Published,
    /// An event of the tail.
    Shown(Bytes),
    Heart,
    Check,
    Tell,
    Ends,
}

impl Client {
    /// What every client is told first. `has_gap`: it has missed something.
    pub(super) fn greet(&mut self, has_gap: bool) {
        let ring = &self.admin.live.ring;
        // Where it goes on, should it lose the connection before anything else is sent.
        let id = ring.id(self.cursor.saturating_sub(1));
        let hello = Hello { boot: ring.boot().to_owned(), next_id: self.cursor };
        let hello = serde_json::to_string(&hello).expect("it has a JSON form");
        self.in_hand.push_back(Bytes::from(format!("retry: {RETRY}\n")));
        self.in_hand.push_back(frame(Some(&id), "hello", &hello));
        if has_gap {
            let gap = serde_json::to_string(&Gap {}).expect("it has a JSON form");
            self.in_hand.push_back(frame(Some(&id), "gap", &gap));
        }
    }

    /// The next bytes for its connection; `None` when it is to end.
    pub(super) async fn next(mut self) -> Option<(Bytes, Self)> {
        loop {
            if self.in_hand.is_empty() && !self.take() {
                return None;
            }
            self.place.progress.tell(self.cursor, self.in_hand.len());
            if let Some(bytes) = self.in_hand.pop_front() {
                return Some((bytes, self));
            }
            match self.wake().await {
                Woken::Published => {}
                Woken::Shown(frame) => self.in_hand.push_back(frame),
                Woken::Heart => self.in_hand.push_back(Bytes::from_static(b":\n\n")),
                Woken::Tell => self.tell_skipped(),
                Woken::Check => {
                    if !self.admin.lets_in(&self.headers).await {
                        return None;
                    }
                }
                Woken::Ends => return None,
            }
        }
    }

    async fn wake(&mut self) -> Woken {
        let tail = self.tail.as_ref();
        let shown = async {
            match tail {
                Some(tail) => tail.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.admin.live.ends.cancelled() => Woken::Ends,
            _ = self.published.changed() => Woken::Published,
            _ = self.beats.heart.tick() => Woken::Heart,
            _ = self.beats.check.tick() => Woken::Check,
            _ = self.beats.tell.tick(), if tail.is_some() => Woken::Tell,
            frame = shown => Woken::Shown(frame),
        }
    }

    /// Takes what there is for it; `false` when it has fallen behind.
    fn take(&mut self) -> bool {
        loop {
            let Ok(messages) = self.admin.live.ring.from(self.cursor, AT_ONCE) else {
                count_cut(BEHIND);
                return false;
            };
            if messages.is_empty() {
                return true;
            }
            self.cursor += messages.len() as u64;
            for message in messages {
                if self.wants(&message) {
                    self.in_hand.push_back(message.frame.clone());
                }
            }
            if !self.in_hand.is_empty() {
                return true;
            }
        }
    }

    fn wants(&self, message: &Message) -> bool {
        message.topic.is_none_or(|topic| self.topics.has(topic))
            && message.about.as_ref().is_none_or(|about| self.filter.lets_fault(about))
    }

    fn tell_skipped(&mut self) {
        let Some(tail) = &self.tail else { return };
        let events = tail.watcher.skipped.swap(0, Ordering::Relaxed);
        if events > 0 {
            let skipped = serde_json::to_string(&Skipped { events }).expect("it has a JSON form");
            self.in_hand.push_back(frame(None, "skipped", &skipped));
        }
    }
}
