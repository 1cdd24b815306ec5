//! Measures how everything is; what that means is decided in the domain.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use faultline_actors::{
    adapters::{
        clock,
        journal::{spool::Spool, stream},
        store::health::HealthStore,
    },
    domain::{
        breaker,
        calls::Ended,
        event::Source,
        health::measured::{
            Application, Breaker, Buckets, Chain, Database, Disk, Jira, Maxwell, Measured, Queues,
            Redis, Spool as SpoolMeasured, Storm, Tls,
        },
        job::State as JobState,
    },
};

use crate::{
    admin::Admin,
    receiver::stdin::Reading,
    telemetry,
    tls::{self, Certificates},
};

/// The store, and each stage that is asked, must answer within this time.
const PATIENCE: Duration = Duration::from_secs(2);
/// So many storms are looked at.
const STORMS: u32 = 20;

impl Admin {
    pub(super) async fn measure(&self) -> Measured {
        let database = self.measure_database().await;
        let storms = match database.error {
            None => self.measure_storms().await,
            Some(_) => None,
        };
        let traffic = tokio::time::timeout(PATIENCE, self.pipeline.snapshot()).await;
        let traffic = traffic.ok().flatten();
        let window = traffic.as_ref().map(|it| Duration::from_secs(it.window_seconds));
        let running = self.started.elapsed();
        let pipeline = &self.pipeline;
        let now = clock::now();
        let handoff = pipeline.handoff();
        let mut partners = vec![("store", pipeline.counters().calls().look(now))];
        if !pipeline.jira().is_dry_run {
            partners.push(("jira", pipeline.jira().calls.look(now)));
        }
        partners.extend(handoff.map(|(status, _)| ("redis", status.calls().look(now))));
        partners.extend(pipeline.bucket_calls().map(|calls| ("buckets", calls.look(now))));
        partners.extend(pipeline.mail_calls().map(|calls| ("mail", calls.look(now))));
        let ledger = pipeline.ledger();
        let position = || pipeline.counters().binlog_position();
        Measured {
            at: now,
            running,
            database,
            spool: spool(pipeline.spool(), self.health.spool_directory()),
            queues: self.measure_queues(),
            jira: self.measure_jira(),
            application: application(self.started),
            chain: self.measure_chain(),
            redis: handoff.map(|(status, _)| redis(&status.look())),
            buckets: pipeline.buckets().map(|state| Buckets {
                is_watching: state.is_watching,
                parts: state.places,
                last_success: state.last_success,
                failing: state.failing,
            }),
            mail: pipeline.mail_calls().map(|calls| calls.look(now)),
            maxwell: self.reading.as_deref().map(|reading| maxwell(reading, position())),
            tls: tls(&self.gate.certificates),
            partners,
            received: ledger
                .is_complete()
                .then(|| Source::ALL.map(|source| ledger.line(source).received)),
            are_jobs_counted: pipeline.jira().counters.are_jobs_counted(),
            storms,
            traffic: traffic.map_or_else(Vec::new, |it| it.complaints()),
            is_traffic_known: window.is_some_and(|window| running >= window),
        }
    }

    /// Asks the store whether it answers: nothing may have been written for long.
    pub(in crate::admin) async fn ping(&self) -> Result<(), String> {
        let started = Instant::now();
        let answered = match tokio::time::timeout(PATIENCE, self.store.ping()).await {
            Err(_) => Err(format!("no answer within {PATIENCE:?}")),
            Ok(answer) => answer.map_err(|error| error.to_string()),
        };
        let ended = answered.as_ref().map_or_else(|error| Ended::by_words(error), |()| Ended::Well);
        self.pipeline.counters().calls().ended(clock::now(), started.elapsed(), ended);
        answered
    }

    async fn measure_database(&self) -> Database {
        let started = Instant::now();
        let answered = self.ping().await;
        let took = started.elapsed();
        metrics::histogram!("faultline_store_operation_seconds", "operation" => "ping")
            .record(took);
        let counters = self.pipeline.counters();
        Database {
            store: self.store.name(),
            took,
            error: answered.err().or_else(|| counters.failing()),
            last_commit: counters.last_success(),
            last_commit_took: counters.last_took(),
        }
    }

    async fn measure_storms(&self) -> Option<Vec<Storm>> {
        let storms = HealthStore::open_storms(&*self.store, STORMS);
        tokio::time::timeout(PATIENCE, storms).await.ok()?.ok()
    }

    fn measure_queues(&self) -> Queues {
        let ledger = self.pipeline.ledger();
        let waits = |state: &JobState| {
            use JobState::{Active, Delayed, Unknown, Waiting};
            matches!(state, Waiting | Active | Delayed | Unknown)
        };
        let counts = self.pipeline.jira().counters.jobs();
        Queues {
            messages: Source::ALL.into_iter().map(|source| ledger.line(source).in_flight).sum(),
            oldest: self.oldest_age(),
            jobs: counts.iter().filter(|(state, _)| waits(state)).map(|(_, count)| count).sum(),
        }
    }

    fn measure_jira(&self) -> Jira {
        let jira = self.pipeline.jira();
        let counts = jira.counters.jobs();
        let (breaker, reason) = match jira.counters.breaker() {
            breaker::State::Closed => (Breaker::Closed, None),
            breaker::State::Open { reason, .. } => (Breaker::Open, Some(reason)),
            breaker::State::HalfOpen { reason, .. } => (Breaker::HalfOpen, Some(reason)),
        };
        Jira {
            is_dry_run: jira.is_dry_run,
            breaker,
            reason,
            is_paused: jira.counters.is_paused(),
            hubs: jira.counters.hubs(),
            dead: counts.iter().find(|it| it.0 == JobState::Dead).map_or(0, |it| it.1),
            jobs: counts.iter().map(|(state, count)| (state.name(), *count)).collect(),
        }
    }

    fn measure_chain(&self) -> Chain {
        let status = self.pipeline.spool().status();
        let stages = self.pipeline.depths().into_iter().filter(|it| it.channel != "spool");
        let looked_at = self.pipeline.jira().counters.looked_at();
        Chain {
            head: status.head,
            acknowledged: status.acknowledged,
            waiting: stages.map(|it| (it.channel, it.depth, it.capacity)).collect(),
            jira_worker_ago: looked_at.map(since),
        }
    }

    /// How long the oldest record has waited to be stored.
    pub(in crate::admin) fn oldest_age(&self) -> Duration {
        oldest_age(self.pipeline.spool())
    }
}

/// How long ago a moment was.
fn since(moment: i64) -> Duration {
    Duration::from_micros(u64::try_from(clock::now() - moment).unwrap_or(0))
}

/// How long the oldest record has waited in the spool.
pub(in crate::admin) fn oldest_age(spool: &Spool) -> Duration {
    spool.status().oldest.map_or(Duration::ZERO, since)
}

pub(in crate::admin) fn spool(spool: &Spool, directory: &Path) -> SpoolMeasured {
    let status = spool.status();
    let refuses = spool.refuses().map(|error| error.to_string());
    SpoolMeasured {
        used_bytes: status.used_bytes,
        max_bytes: status.max_bytes,
        head: status.head,
        acknowledged: status.acknowledged,
        disk: disk(directory),
        error: status.failing.or(refuses),
    }
}

/// The file system of a directory.
pub(in crate::admin) fn disk(directory: &Path) -> Option<Disk> {
    let status = rustix::fs::statvfs(directory).ok()?;
    let used = status.f_blocks.saturating_sub(status.f_bfree);
    Some(Disk {
        used_bytes: used.saturating_mul(status.f_frsize),
        free_bytes: status.f_bavail.saturating_mul(status.f_frsize),
    })
}

pub(in crate::admin) fn application(running_since: Instant) -> Application {
    Application {
        uptime: running_since.elapsed(),
        resident_bytes: resident_bytes(),
        lag: telemetry::runtime_lag(),
        version: env!("CARGO_PKG_VERSION"),
    }
}

pub(in crate::admin) fn maxwell(reading: &Reading, position: Option<String>) -> Maxwell {
    Maxwell {
        is_on: reading.is_on(),
        restarts: reading.restarts(),
        position,
        last_line: reading.last_line(),
    }
}

/// How the hand-over does.
pub(in crate::admin) fn redis(state: &stream::State) -> Redis {
    Redis {
        error: state.failing().or_else(|| state.waiting.clone()),
        warnings: state.warnings(),
        outstanding_bytes: state.outstanding_bytes,
        streams: state.held.clone(),
    }
}

/// How the listeners' certificates do, where there are any.
pub(in crate::admin) fn tls(certificates: &Certificates) -> Option<Tls> {
    let expires: BTreeMap<_, _> =
        certificates.iter().map(|tls| (tls.listener(), tls.expires_at())).collect();
    let warning =
        |tls: &std::sync::Arc<tls::Tls>| Some(format!("{}: {}", tls.listener(), tls.warning()?));
    (!expires.is_empty()).then(|| Tls { warning: certificates.iter().find_map(warning), expires })
}

/// Resident memory, from the second field of `/proc/self/statm`, in pages.
fn resident_bytes() -> Option<u64> {
    const PAGE: u64 = 4_096;
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    statm.split(' ').nth(1)?.parse::<u64>().ok().map(|pages| pages * PAGE)
}
