//! Metrics aggregator: statistics of the traffic, for `GET /metrics` and the store.
//!
//! `batches ──▶ metrics aggregator ──▶ snapshots`
//!
//! It keeps up with any store: adding a batch costs less than parsing it did. A batch that is read
//! again from the journal is not counted again. All that it gets is also what a live tail shows.

use std::{
    collections::HashMap,
    net::IpAddr,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use flume::Receiver;
use kameo::{
    Actor,
    actor::{ActorRef, WeakActorRef},
    mailbox::{MailboxReceiver, Signal},
    message::{Context, Message},
};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::{
    adapters::{clock, journal::Origin, store::Store},
    domain::{
        batch::Batch,
        traffic::{ChannelHealth, Snapshot, Traffic},
    },
    stage::{Closed, Finish, Wake, tap::Tap, wake},
};

/// Section `[metrics_aggregator]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The span that rates, percentiles and rankings are computed over.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub window: Duration,
    /// A snapshot is stored this often; zero stores none.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub snapshot_every: Duration,
    /// A MaxMind database of countries; empty for none.
    pub countries: PathBuf,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            window: Duration::from_mins(5),
            snapshot_every: Duration::from_mins(1),
            countries: PathBuf::new(),
        }
    }
}

impl Settings {
    /// # Errors
    /// Names the key, and what would be right.
    pub fn validate(&self) -> Result<(), String> {
        let window = jiff::SignedDuration::try_from(self.window).unwrap_or_default();
        if self.window < Duration::from_secs(1) || self.window > Duration::from_hours(24) {
            return Err(format!("window = \"{window:#}\": between 1s and 24h is possible"));
        }
        let every = jiff::SignedDuration::try_from(self.snapshot_every).unwrap_or_default();
        if !every.is_zero() && every < jiff::SignedDuration::from_secs(1) {
            return Err(format!("snapshot_every = \"{every:#}\": 0s, or at least 1s is possible"));
        }
        Ok(())
    }
}

/// A database of countries by address.
pub type Countries = maxminddb::Reader<Vec<u8>>;

/// What is kept when the stage is restarted.
pub struct Statistics {
    traffic: Traffic,
    /// The last sequence of each origin that was counted. A hub reads few of them.
    counted: HashMap<Origin, u64>,
    rate: Rate,
}

/// Events a second, over the last seconds.
#[derive(Default)]
struct Rate {
    events: u64,
    since: i64,
    last: f64,
}

impl Rate {
    const SPAN: i64 = 5_000_000;

    fn add(&mut self, events: u64, now: i64) {
        self.roll(now);
        self.events += events;
    }

    fn roll(&mut self, now: i64) {
        let elapsed = now - self.since;
        if elapsed >= Self::SPAN {
            let is_recent = elapsed < 2 * Self::SPAN;
            self.last = if is_recent { self.events as f64 * 1e6 / elapsed as f64 } else { 0.0 };
            self.events = 0;
            self.since = now;
        }
    }
}

impl Statistics {
    #[must_use]
    pub fn new(settings: &Settings, has_countries: bool) -> Arc<Mutex<Self>> {
        let now = clock::now();
        Arc::new(Mutex::new(Self {
            traffic: Traffic::new(settings.window, now, has_countries),
            counted: HashMap::new(),
            rate: Rate { since: now, ..Rate::default() },
        }))
    }

    /// Whether the batch was not counted yet; from now on it is.
    fn is_new(&mut self, batch: &Batch) -> bool {
        let counted = self.counted.entry(batch.origin).or_default();
        let is_new = batch.last > *counted;
        *counted = batch.last.max(*counted);
        is_new
    }
}

/// See the [module](self).
#[derive(Clone)]
pub struct MetricsAggregator {
    settings: Settings,
    input: Receiver<Arc<Batch>>,
    statistics: Arc<Mutex<Statistics>>,
    countries: Option<Arc<Countries>>,
    store: Arc<dyn Store>,
    tap: Arc<Tap>,
    next_snapshot: Option<Instant>,
}

impl MetricsAggregator {
    #[must_use]
    pub fn new(
        settings: Settings,
        input: Receiver<Arc<Batch>>,
        statistics: Arc<Mutex<Statistics>>,
        countries: Option<Arc<Countries>>,
        store: Arc<dyn Store>,
        tap: Arc<Tap>,
    ) -> Self {
        let every = settings.snapshot_every;
        let next_snapshot = (!every.is_zero()).then(|| Instant::now() + every);
        Self { settings, input, statistics, countries, store, tap, next_snapshot }
    }

    fn process(&mut self, batch: &Arc<Batch>) {
        self.tap.show(batch);
        let now = clock::now();
        let mut statistics = self.statistics.lock().unwrap_or_else(PoisonError::into_inner);
        if !statistics.is_new(batch) {
            return;
        }
        statistics.rate.add(batch.events.len() as u64, now);
        let country_of = |address: &str| country(self.countries.as_deref()?, address);
        statistics.traffic.add(batch, now, &country_of);
    }

    fn snapshot(&self, mut channels: ChannelHealth) -> Snapshot {
        let now = clock::now();
        let mut statistics = self.statistics.lock().unwrap_or_else(PoisonError::into_inner);
        statistics.rate.roll(now);
        channels.processing_rate = statistics.rate.last;
        statistics.traffic.snapshot(now, channels)
    }

    /// Stores a snapshot, beside the stage: a slow store must not hold up the statistics.
    fn store_snapshot(&mut self) {
        self.next_snapshot = Some(Instant::now() + self.settings.snapshot_every);
        let snapshot = self.snapshot(ChannelHealth::default());
        let store = self.store.clone();
        tokio::spawn(async move {
            let Ok(json) = serde_json::to_string(&snapshot) else { return };
            let saved = store.save_snapshot(clock::now(), &json);
            let started = std::time::Instant::now();
            let outcome = tokio::time::timeout(Duration::from_secs(20), saved).await;
            metrics::histogram!("faultline_store_operation_seconds", "operation" => "snapshot")
                .record(started.elapsed());
            if !matches!(outcome, Ok(Ok(()))) {
                metrics::counter!("faultline_snapshots_lost_total").increment(1);
                tracing::debug!("a snapshot of the statistics could not be stored");
            }
        });
    }
}

/// The ISO code of the country that `address` is in.
fn country(countries: &Countries, address: &str) -> Option<String> {
    let address: IpAddr = address.parse().ok()?;
    let found: maxminddb::geoip2::Country<'_> = countries.lookup(address).ok()?.decode().ok()??;
    found.country.iso_code.map(str::to_owned)
}

/// Asks for the statistics as they are now.
#[derive(Debug, Clone, Copy)]
pub struct TakeSnapshot(pub ChannelHealth);

impl Actor for MetricsAggregator {
    type Args = Self;
    type Error = Closed;

    fn name() -> &'static str {
        "metrics_aggregator"
    }

    async fn on_start(aggregator: Self, _: ActorRef<Self>) -> Result<Self, Closed> {
        Ok(aggregator)
    }

    async fn next(
        &mut self,
        _: WeakActorRef<Self>,
        mailbox: &mut MailboxReceiver<Self>,
    ) -> Result<Option<Signal<Self>>, Closed> {
        loop {
            match wake(&self.input, mailbox, self.next_snapshot).await {
                Wake::Item(batch) => self.process(&batch),
                Wake::Deadline => self.store_snapshot(),
                Wake::Signal(signal) => return Ok(signal),
            }
        }
    }
}

impl Message<TakeSnapshot> for MetricsAggregator {
    type Reply = Result<Box<Snapshot>, Closed>;

    async fn handle(
        &mut self,
        TakeSnapshot(channels): TakeSnapshot,
        _: &mut Context<Self, Self::Reply>,
    ) -> Self::Reply {
        // What is at hand counts: whoever asks has seen it accepted.
        while let Ok(batch) = self.input.try_recv() {
            self.process(&batch);
        }
        Ok(Box::new(self.snapshot(channels)))
    }
}

impl Message<Finish> for MetricsAggregator {
    type Reply = Result<(), Closed>;

    async fn handle(&mut self, _: Finish, _: &mut Context<Self, Self::Reply>) -> Self::Reply {
        while let Ok(batch) = self.input.try_recv() {
            self.process(&batch);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_again_is_counted_once_each_origin_for_itself() {
        let statistics = Statistics::new(&Settings::default(), false);
        let mut statistics = statistics.lock().expect("nobody panicked");
        let mut is_new = |origin: u128, last| {
            let mut batch = Batch::default();
            (batch.origin, batch.last) = (Origin::from_u128(origin), last);
            statistics.is_new(&batch)
        };
        let told = [(1, 10), (2, 5), (1, 10), (2, 5), (2, 6), (1, 3), (1, 11)];
        let told = told.map(|(origin, last)| is_new(origin, last));
        assert_eq!(told, [true, true, false, false, true, false, true]);
    }
}
