//! Who listens: at most so many, and none whose socket takes nothing.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::Notify,
    time::{Instant, MissedTickBehavior, interval},
};

use super::ring::Ring;
use crate::server::Cut;

/// It has not taken what the ring keeps no more.
pub(super) const BEHIND: &str = "behind";
/// Its socket takes nothing.
const STALLED: &str = "stalled";

/// All clients.
pub(super) struct Clients {
    limit: usize,
    /// A socket may take nothing for so long.
    patience: Duration,
    listening: Mutex<HashMap<u64, Arc<Progress>>>,
    numbers: AtomicU64,
    /// Somebody came.
    pub came: Notify,
}

/// How a client gets on, as it says itself each time that its connection asks for more.
pub(super) struct Progress {
    /// How often it was asked.
    asked: AtomicU64,
    /// The number of the message that it takes next.
    cursor: AtomicU64,
    /// Messages in its hands.
    in_hand: AtomicUsize,
    /// Its own messages, of the tail.
    own: Option<flume::Receiver<Bytes>>,
    /// Ends the connection, though nobody asks.
    cut: Option<Cut>,
}

/// A client's place among all; it is free when this is dropped.
pub(super) struct Place {
    clients: Arc<Clients>,
    number: u64,
    pub progress: Arc<Progress>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.clients.lock().remove(&self.number);
    }
}

impl Progress {
    pub(super) fn new(
        cursor: u64,
        own: Option<flume::Receiver<Bytes>>,
        cut: Option<Cut>,
    ) -> Arc<Self> {
        let (asked, cursor) = (AtomicU64::new(0), AtomicU64::new(cursor));
        Arc::new(Self { asked, cursor, in_hand: AtomicUsize::new(0), own, cut })
    }

    pub(super) fn tell(&self, cursor: u64, in_hand: usize) {
        self.cursor.store(cursor, Ordering::Relaxed);
        self.in_hand.store(in_hand, Ordering::Relaxed);
        self.asked.fetch_add(1, Ordering::Relaxed);
    }

    fn has_waiting(&self, ring: &Ring) -> bool {
        self.cursor.load(Ordering::Relaxed) < ring.next()
            || self.in_hand.load(Ordering::Relaxed) > 0
            || self.own.as_ref().is_some_and(|own| !own.is_empty())
    }
}

impl Clients {
    pub(super) fn new(limit: usize, patience: Duration) -> Arc<Self> {
        // Seen as 0 before it ever happens.
        for reason in [BEHIND, STALLED] {
            cut_counter(reason).increment(0);
        }
        Arc::new(Self {
            limit,
            patience,
            listening: Mutex::default(),
            numbers: AtomicU64::new(0),
            came: Notify::new(),
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Arc<Progress>>> {
        self.listening.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn count(&self) -> usize {
        self.lock().len()
    }

    /// How many there may be.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// `None` where it would be one too many.
    pub(super) fn enter(self: &Arc<Self>, progress: Arc<Progress>) -> Option<Place> {
        let mut listening = self.lock();
        if listening.len() >= self.limit {
            return None;
        }
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        listening.insert(number, progress.clone());
        drop(listening);
        self.came.notify_one();
        Some(Place { clients: self.clone(), number, progress })
    }

    /// Cuts those that have something to take, and are not asked for it in time: their sockets are
    /// full.
    pub(super) async fn watch(&self, ring: &Ring) {
        let mut waiting: HashMap<u64, (u64, Instant)> = HashMap::new();
        let mut second = interval(Duration::from_secs(1));
        second.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let now = second.tick().await;
            let listening: Vec<_> =
                self.lock().iter().map(|(number, client)| (*number, client.clone())).collect();
            let mut still = HashMap::new();
            for (number, client) in listening {
                if !client.has_waiting(ring) {
                    continue;
                }
                let asked = client.asked.load(Ordering::Relaxed);
                let before = waiting.get(&number).filter(|(before, _)| *before == asked);
                let since = before.map_or(now, |(_, since)| *since);
                if now.duration_since(since) < self.patience {
                    still.insert(number, (asked, since));
                } else if self.lock().remove(&number).is_some() {
                    count_cut(STALLED);
                    if let Some(cut) = &client.cut {
                        cut.cut();
                    }
                }
            }
            waiting = still;
        }
    }
}

fn cut_counter(reason: &'static str) -> metrics::Counter {
    metrics::counter!("faultline_live_clients_cut_total", "reason" => reason)
}

/// Counts a client that was cut.
pub(super) fn count_cut(reason: &'static str) {
    cut_counter(reason).increment(1);
    tracing::debug!(reason, "a live client is cut");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::live::ring::Draft;

    #[test]
    fn one_more_than_the_limit_has_no_place_until_another_one_goes() {
        let clients = Clients::new(2, Duration::from_secs(30));
        let enter = || clients.enter(Progress::new(1, None, None));
        let (first, second) = (enter(), enter());
        assert!(first.is_some() && second.is_some() && enter().is_none());
        drop(first);
        assert!(enter().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_cut_and_who_has_nothing_to_take_is_not() {
        let (clients, ring) = (Clients::new(9, Duration::from_secs(30)), Ring::new());
        let (cuts, mut places) = ([(); 3].map(|()| Cut::default()), Vec::new());
        for cut in &cuts {
            places.push(clients.enter(Progress::new(1, None, Some(cut.clone()))).unwrap());
        }
        let goes_on = places[1].progress.clone();
        let takes = async {
            for round in 0..40 {
                ring.publish(vec![Draft::new("job", None, &round)]);
                ring.tell();
                // The first one stays where it is. The third one has taken everything at first.
                goes_on.tell(ring.next() - 1, 0);
                places[2].progress.tell(ring.next(), 0);
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        tokio::select! {
            () = clients.watch(&ring) => {}
            () = takes => {}
        }
        assert_eq!(cuts.map(|cut| cut.is_cut()), [true, false, false]);
        assert_eq!(clients.count(), 2);
    }
}
