//! The pipeline: makes the channels, starts and supervises the stages, finishes them in the order
//! of the flow. The only file that knows all stages.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use kameo::actor::{ActorRef, Spawn};
use tokio::sync::watch;

pub use self::dispatch::JiraState;
use self::{
    alerts::Alerts,
    chain::{Spawner, Stages},
    consumer::{Consumer, Progress},
    dispatch::Dispatch,
    retention::Retaining,
    streams::Streams,
    supervisor::{Supervisor, supervise, why_broken},
    watcher::Watcher,
};
use crate::{
    adapters::{
        jira::{self, Jira},
        journal::{
            spool::Spool,
            stream::{self, Status},
        },
        store::Store,
    },
    batch_writer, bucket_watcher,
    domain::{
        alert::{Condition, letter::Surroundings},
        batch::Batch,
        calls::Calls,
        ledger::Ledger,
        parse,
        rule::Rules,
        traffic::{ChannelHealth, Snapshot},
    },
    metrics_aggregator::{self, Countries, MetricsAggregator, Statistics, TakeSnapshot},
    notifier, parser, retention as retaining,
    stage::{Finish, Live, Notices, tap::Tap},
    stream_reader::Origins,
};

mod alerts;
mod chain;
pub mod consumer;
mod dispatch;
pub mod handover;
mod reload;
mod retention;
mod streams;
mod supervisor;
mod watcher;

/// Batches between parser and fan-out: the fan-out only passes them on.
const BATCHES: usize = 1;
/// Batches that wait for a commit: what is gathered for the next one while one is under way.
const TO_WRITER: usize = 8;
/// Commits whose faults wait to be decided about; what does not fit is found by looking.
const TO_DISPATCH: usize = 64;
/// Hints that there are jobs: one says as much as many.
const TO_WORKER: usize = 1;
/// Batches that wait to be counted; counting is faster than parsing.
const TO_AGGREGATOR: usize = 2;

/// The stages' settings.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    pub parser: parser::Settings,
    pub batch_writer: batch_writer::Settings,
    pub metrics_aggregator: metrics_aggregator::Settings,
    pub jira: jira::Settings,
    /// Whose streams are read beside the spool.
    pub handoff: stream::Settings,
    pub bucket_watcher: bucket_watcher::Settings,
    /// Which faults become tickets.
    pub rules: Arc<Rules>,
    /// Who is told of alerts, and when.
    pub notifier: Live<notifier::Settings>,
    /// What messages about them need to know.
    pub letters: Live<Surroundings>,
    pub retention: Live<retaining::Settings>,
}

/// A running pipeline.
pub struct Pipeline {
    spool: Arc<Spool>,
    ledger: Arc<Mutex<Ledger>>,
    counters: Arc<batch_writer::Counters>,
    stages: Stages,
    metrics_aggregator: ActorRef<MetricsAggregator>,
    dispatch: Dispatch,
    alerts: Alerts,
    streams: Streams,
    watcher: Option<Watcher>,
    retention: Retaining,
    supervisor: ActorRef<Supervisor>,
    broken: watch::Receiver<Option<String>>,
    to_aggregator: Channel,
    tap: Arc<Tap>,
}

/// A channel, for its depth.
struct Channel {
    name: &'static str,
    capacity: usize,
    depth: Box<dyn Fn() -> usize + Send + Sync>,
}

/// How full a channel is.
#[derive(Clone, Copy, Debug)]
pub struct Depth {
    pub channel: &'static str,
    pub depth: usize,
    pub capacity: usize,
}

impl Pipeline {
    /// Starts all stages. The store need not be reachable: the batch writer waits for it.
    ///
    /// # Errors
    /// When the settings name no Jira, no Redis or no account that could be reached: the setting, and
    /// what is wrong with it.
    pub async fn start(
        settings: Settings,
        spool: Arc<Spool>,
        store: Arc<dyn Store>,
        ledger: Arc<Mutex<Ledger>>,
        countries: Option<Arc<Countries>>,
    ) -> Result<Self, String> {
        let (jira_settings, rules) = (settings.jira, Live::new(settings.rules));
        let window = settings.metrics_aggregator.window;
        let jira_calls = Arc::new(Calls::new(window));
        let jira = if jira_settings.is_dry_run() {
            None
        } else {
            let jira = Jira::new(&jira_settings).map_err(|problem| format!("jira.{problem}"))?;
            Some(Arc::new(jira.counted(jira_calls.clone())))
        };
        let (aggregator_out, aggregator_in) = flume::bounded::<Arc<Batch>>(TO_AGGREGATOR);
        let to_aggregator = channel("metrics_aggregator", TO_AGGREGATOR, &aggregator_in);
        let (met_out, met) = Notices::bounded(TO_DISPATCH);
        let (broken_out, broken) = watch::channel(None);
        let supervisor = Supervisor::spawn(Supervisor { broken: broken_out.clone() });
        let counters = Arc::new(batch_writer::Counters::over(window));
        let spawner = Arc::new(Spawner {
            parser: settings.parser.clone(),
            batch_writer: settings.batch_writer,
            rules: rules.clone(),
            store: store.clone(),
            counters: counters.clone(),
            met: met_out.clone(),
            aggregator: aggregator_out,
            broken: broken_out,
        });
        let streams =
            Streams::start(&supervisor, settings.handoff, store.clone(), spawner.clone(), window)
                .await;
        let streams = streams.map_err(|problem| format!("handoff.{problem}"))?;
        let stages = {
            let environment = settings.parser.environment;
            let parse = move |rules| parse::Parser::new(&environment, rules);
            spawner.start_stages(&supervisor, spool.clone(), ledger.clone(), parse).await
        };
        let tap = Arc::new(Tap::default());
        let metrics_aggregator = {
            let settings = settings.metrics_aggregator;
            let statistics = Statistics::new(&settings, countries.is_some());
            let (store, tap) = (store.clone(), tap.clone());
            let make = move || {
                MetricsAggregator::new(
                    settings.clone(),
                    aggregator_in.clone(),
                    statistics.clone(),
                    countries.clone(),
                    store.clone(),
                    tap.clone(),
                )
            };
            supervise::<MetricsAggregator>(&supervisor, make).await
        };
        let watcher =
            Watcher::start(&supervisor, settings.bucket_watcher, &store, &spool, window).await;
        let watcher = watcher.map_err(|problem| format!("bucket_watcher.{problem}"))?;
        let (channels, letters) = (settings.notifier, settings.letters);
        let alerts = Alerts::start(&supervisor, channels, letters, &store, window).await;
        let alerts = alerts.map_err(|problem| format!("notifier.{problem}"))?;
        let retention = Retaining::start(&supervisor, settings.retention, store.clone()).await;
        let met = (met_out, met);
        let jira_settings = Live::new(Arc::new(jira_settings));
        let dispatch =
            Dispatch::start(&supervisor, jira_settings, jira, store, rules, met, jira_calls).await;
        Ok(Self {
            spool,
            ledger,
            counters,
            stages,
            metrics_aggregator,
            dispatch,
            alerts,
            streams,
            watcher,
            retention,
            supervisor,
            broken,
            to_aggregator,
            tap,
        })
    }

    #[must_use]
    pub fn jira(&self) -> &JiraState {
        &self.dispatch.state
    }

    #[must_use]
    pub fn spool(&self) -> &Arc<Spool> {
        &self.spool
    }

    /// Takes all that holds now, from whoever watches, again and again: what is not in a list is
    /// over. A list that does not fit (`try_send`) need not be sent again, the next one will do.
    #[must_use]
    pub fn conditions(&self) -> &flume::Sender<Vec<Condition>> {
        &self.alerts.conditions
    }

    /// Tells people, and hears of it when it cannot be stored.
    #[must_use]
    pub fn notifier(&self) -> &notifier::Shared {
        &self.alerts.shared
    }

    /// How it went with sending mail; `None` where none is sent.
    #[must_use]
    pub fn mail_calls(&self) -> Option<&Calls> {
        self.alerts.mail_calls()
    }

    /// Shows the batches that pass by.
    #[must_use]
    pub fn tap(&self) -> &Arc<Tap> {
        &self.tap
    }

    #[must_use]
    pub fn counters(&self) -> &batch_writer::Counters {
        &self.counters
    }

    /// How the streams that are read do; `None` where there are none.
    #[must_use]
    pub fn handoff(&self) -> Option<(&Status, &Origins)> {
        let is_on = !self.streams.readers.is_empty();
        is_on.then_some((&*self.streams.status, &*self.streams.origins))
    }

    /// How the bucket watcher does; `None` where no buckets are watched.
    #[must_use]
    pub fn buckets(&self) -> Option<bucket_watcher::State> {
        self.watcher.as_ref().map(|watcher| watcher.status.look())
    }

    /// How requests to the buckets' account went; `None` where no buckets are watched.
    #[must_use]
    pub fn bucket_calls(&self) -> Option<&Calls> {
        self.watcher.as_ref().map(|watcher| &*watcher.calls)
    }

    /// How retention does.
    #[must_use]
    pub fn retention(&self) -> retaining::State {
        self.retention.status.look()
    }

    /// What retention goes by; it can be replaced.
    #[must_use]
    pub fn retention_settings(&self) -> &Live<retaining::Settings> {
        &self.retention.settings
    }

    /// The ledger as it is now.
    ///
    /// # Panics
    /// When a thread panicked while it counted.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        self.ledger.lock().expect("nobody panics while counting").clone()
    }

    /// How full the channels between the stages are, and the spool's two.
    #[must_use]
    pub fn depths(&self) -> Vec<Depth> {
        let status = self.spool.status();
        let mut depths = vec![
            Depth { channel: "spool", depth: status.queued, capacity: status.queue_capacity },
            Depth { channel: "parser", depth: status.blocks, capacity: status.block_capacity },
        ];
        let channels = self.stages.channels.iter().chain([&self.to_aggregator]);
        depths.extend(channels.map(|channel| Depth {
            channel: channel.name,
            depth: (channel.depth)(),
            capacity: channel.capacity,
        }));
        depths
    }

    /// The statistics of the traffic; `None` while the aggregator is being restarted.
    pub async fn snapshot(&self) -> Option<Box<Snapshot>> {
        let usage = |name: &str| {
            let depths = self.depths();
            let channel = depths.iter().find(|depth| depth.channel == name);
            channel.map_or(0.0, |depth| 100.0 * depth.depth as f64 / depth.capacity as f64)
        };
        let ledger = self.ledger();
        let channels = ChannelHealth {
            raw_log_chan_usage: usage("spool"),
            parsed_log_chan_usage: usage("batch_writer"),
            processing_rate: 0.0,
            backlog_size: crate::domain::event::Source::ALL
                .into_iter()
                .map(|source| ledger.line(source).in_flight)
                .sum(),
        };
        self.metrics_aggregator.ask(TakeSnapshot(channels)).await.ok()
    }
}

impl Consumer for Pipeline {
    const NAME: &str = "the pipeline";
    const DOING: &str = "storing";
    const DONE: &str = "stored";

    async fn broken(&self) -> String {
        why_broken(self.broken.clone()).await
    }

    /// By the spool's own records, as they are stored: that more are taken in does not help those that
    /// wait. What the store does at first, migrations for one, takes its time.
    fn progress(&self) -> Progress {
        let spool = self.spool.status();
        let has_work = spool.head > spool.acknowledged || spool.queued > 0;
        let is_kept = spool.failing.is_some() || self.counters.failing().is_some();
        let has_begun = self.spool.ledger().is_complete();
        Progress { steps: spool.acknowledged, is_expected: has_work && has_begun && !is_kept }
    }

    async fn settled(&self) {
        self.spool.settled().await;
    }

    /// In the order of the flow.
    async fn finish(&self, patience: Duration) {
        let in_order = async {
            self.retention.finish().await;
            if let Some(watcher) = &self.watcher {
                watcher.finish().await;
            }
            self.streams.finish().await;
            self.stages.finish().await;
            // An error says that the stage is gone already.
            let _ = self.metrics_aggregator.ask(Finish).await;
            let _ = self.dispatch.decider.ask(Finish).await;
            let _ = self.dispatch.worker.ask(Finish).await;
            self.alerts.finish().await;
        };
        let finished = tokio::time::timeout(patience, in_order).await;
        self.supervisor.kill();
        self.retention.kill();
        if let Some(watcher) = &self.watcher {
            watcher.kill();
        }
        self.streams.kill();
        self.stages.kill();
        self.metrics_aggregator.kill();
        self.dispatch.kill();
        self.alerts.kill();
        let spool = self.spool.clone();
        // Closing joins threads.
        let _ = tokio::task::spawn_blocking(move || spool.close()).await;
        if finished.is_err() {
            tracing::warn!("the stages did not finish in time; the spool keeps what is not stored");
        }
    }
}

fn channel(name: &'static str, capacity: usize, receiver: &flume::Receiver<Arc<Batch>>) -> Channel {
    let receiver = receiver.clone();
    Channel { name, capacity, depth: Box::new(move || receiver.len()) }
}
