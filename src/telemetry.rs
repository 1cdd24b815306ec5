//! Logs and metrics of the program itself.

use std::{
    io::IsTerminal,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use serde::{Deserialize, Serialize};
use tracing_subscriber::{
    EnvFilter, Layer, Registry, layer::SubscriberExt, reload, util::SubscriberInitExt,
};

pub(crate) mod own_log;

/// Section `[telemetry]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    pub format: Format,
    /// What is logged, where `RUST_LOG` does not say.
    pub filter: String,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// For people on a terminal, as JSON otherwise.
    Auto,
    Human,
    Json,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            format: Format::Auto,
            filter: "info,refinery_core=warn,tokio_postgres=warn".to_owned(),
        }
    }
}

impl Settings {
    /// # Errors
    /// Names the key, and what would be right.
    pub fn validate(&self) -> Result<(), String> {
        match EnvFilter::builder().parse(&self.filter) {
            Ok(_) => Ok(()),
            Err(error) => Err(format!(
                "filter = {:?}: {error}; a level or directives like `info,faultline=debug` are needed",
                self.filter
            )),
        }
    }
}

/// What is logged, of the set-up that was first.
static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// Sets up logging, to standard error.
pub fn start_logging(settings: &Settings) {
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(&settings.filter));
    let (filter, handle) = reload::Layer::new(filter);
    // Where the log cannot be written (a full disk, a reader that is gone), saying so would panic.
    let log =
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).log_internal_errors(false);
    let is_human = match settings.format {
        Format::Human => true,
        Format::Json => false,
        Format::Auto => std::io::stderr().is_terminal(),
    };
    let log = if is_human {
        log.with_target(false).boxed()
    } else {
        log.json().flatten_event(true).boxed()
    };
    // A second set-up in one process (tests) keeps the first.
    let all = tracing_subscriber::registry().with(filter).with(log).with(own_log::OwnLog);
    if all.try_init().is_ok() {
        let _ = FILTER.set(handle);
    }
}

/// Whether `RUST_LOG` says what is logged, so that the settings do not.
#[must_use]
pub fn is_filtered_by_environment() -> bool {
    EnvFilter::try_from_default_env().is_ok()
}

/// Logs by another filter from now on.
pub fn use_settings(settings: &Settings) {
    let Some(filter) = FILTER.get() else { return };
    if is_filtered_by_environment() {
        return;
    }
    // It fails only where the log is gone.
    let _ = filter.reload(EnvFilter::new(&settings.filter));
}

/// From a tenth of a millisecond to ten seconds.
const BUCKETS: [f64; 15] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    10.0,
];

/// What is exposed as 0 before it ever happens, so that a first time is seen as a rise.
const SELDOM: [&str; 22] = [
    "faultline_bucket_failures_total",
    "faultline_decisions_total",
    "faultline_held_back_total",
    "faultline_intents_total",
    "faultline_logins_total",
    "faultline_lost_messages_total",
    "faultline_lost_records_total",
    "faultline_parser_panics_total",
    "faultline_retention_archived_bytes_total",
    "faultline_retention_archived_events_total",
    "faultline_snapshots_lost_total",
    "faultline_spool_damaged_records_total",
    "faultline_spool_read_errors_total",
    "faultline_spool_write_errors_total",
    "faultline_stdin_restarts_total",
    "faultline_store_failures_total",
    "faultline_stream_damaged_entries_total",
    "faultline_stream_failures_total",
    "faultline_stream_gaps_total",
    "faultline_stream_resends_total",
    "faultline_ticket_changes_total",
    "faultline_upstream_dropped_total",
];

/// Counters of what was dropped, with the reasons for it: there from the start, too.
const DROPPED: [(&str, &str); 3] = [
    ("faultline_error_logs_dropped_total", "full"),
    ("faultline_error_logs_dropped_total", "groups"),
    ("faultline_health_changes_dropped_total", "full"),
];

/// Sets up metrics; gives what renders them. Later calls give the same.
///
/// # Panics
/// When another library has set up metrics in this process.
pub fn start_metrics() -> PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE
        .get_or_init(|| {
            let handle = PrometheusBuilder::new()
                .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &BUCKETS)
                .expect("the buckets are not empty")
                .install_recorder()
                .expect("metrics are set up once");
            describe();
            for name in SELDOM {
                metrics::counter!(name).increment(0);
            }
            for (name, reason) in DROPPED {
                metrics::counter!(name, "reason" => reason).increment(0);
            }
            handle
        })
        .clone()
}

/// What each metric means; part of the exposition.
fn describe() {
    use metrics::{
        describe_counter as counter, describe_gauge as gauge, describe_histogram as histogram,
    };
    histogram!("faultline_http_request_seconds", "Time to answer a request, by path.");
    counter!("faultline_http_requests_total", "Requests, by path and status.");
    counter!("faultline_http_connections_total", "Connections accepted, by listener.");
    gauge!("faultline_http_connections_open", "Open connections, by listener.");
    histogram!("faultline_spool_commit_seconds", "Time of one write and fdatasync of the spool.");
    counter!(
        "faultline_lost_messages_total",
        "Messages answered before they were on disk (receiver.ack = \"received\"), and refused then."
    );
    counter!(
        "faultline_lost_records_total",
        "Records that neither their journal nor the store has: the store was replaced by an older one."
    );
    counter!("faultline_spool_written_bytes_total", "Bytes written to the spool.");
    counter!(
        "faultline_spool_write_errors_total",
        "Failed writes of the spool; nothing was accepted."
    );
    counter!("faultline_spool_read_errors_total", "Failed reads of the spool; tried again.");
    counter!("faultline_spool_damaged_records_total", "Records damaged on disk, kept as rejected.");
    gauge!(
        "faultline_spool_bytes",
        "Bytes in the spool that wait for the store, by whole segments."
    );
    gauge!("faultline_spool_limit_bytes", "The bound of the spool.");
    gauge!(
        "faultline_spool_position",
        "The last durable sequence (head) and the last acknowledged one."
    );
    gauge!(
        "faultline_oldest_unacknowledged_seconds",
        "Age of the oldest record that is not stored."
    );
    gauge!("faultline_dedupe_ids", "Request ids remembered against retries.");
    histogram!("faultline_parse_seconds", "Time to parse one block of records.");
    counter!("faultline_events_total", "Events parsed, by kind.");
    counter!(
        "faultline_parser_panics_total",
        "Records on which the parser panicked, kept as rejected."
    );
    counter!(
        "faultline_upstream_dropped_total",
        "Messages that senders say they lost before us (L10 …)."
    );
    histogram!("faultline_store_operation_seconds", "Time of a store operation, by name.");
    counter!(
        "faultline_store_failures_total",
        "Failed tries to reach or write the store; tried again."
    );
    counter!("faultline_snapshots_lost_total", "Statistics snapshots that could not be stored.");
    counter!("faultline_stdin_restarts_total", "Times that stdin.command was started again.");
    counter!("faultline_decisions_total", "Decisions about faults: a ticket, a comment, nothing.");
    counter!("faultline_intents_total", "Jobs written: tickets to make, comments, and so on.");
    counter!("faultline_held_back_total", "New tickets that a storm of new faults holds back.");
    counter!("faultline_job_outcomes_total", "What came of jobs, by action.");
    counter!("faultline_ticket_changes_total", "Changes of tickets that people made in Jira.");
    gauge!("faultline_jobs", "Jobs in the store, by state.");
    gauge!("faultline_jira_breaker_open", "1 while Jira is left alone because it fails.");
    gauge!("faultline_dispatch_paused", "1 while people have paused dispatch.");
    gauge!("faultline_channel_depth", "Items that wait in a channel.");
    gauge!("faultline_channel_capacity", "Items that fit into a channel.");
    counter!("faultline_messages_total", "The ledger: messages by source and outcome.");
    gauge!("faultline_messages_in_flight", "Messages accepted and not stored yet, by source.");
    gauge!(
        "faultline_ledger_imbalance_messages",
        "Messages by which the ledger does not balance: 0."
    );
    counter!("faultline_stream_entries_total", "Entries that the relay added to its stream.");
    counter!("faultline_stream_bytes_total", "Bytes that the relay added to its stream.");
    counter!("faultline_stream_resends_total", "Times that the relay went back to send again.");
    counter!("faultline_stream_failures_total", "Failed tries to use Redis; tried again.");
    counter!(
        "faultline_stream_damaged_entries_total",
        "Entries of a stream that nobody can read; wanted again from their relays."
    );
    counter!("faultline_stream_gaps_total", "Times that records were missing; wanted again.");
    gauge!("faultline_stream_outstanding_bytes", "Bytes handed over and not committed by a hub.");
    gauge!("faultline_streams_held", "Streams that this hub reads.");
    gauge!("faultline_redis_up", "1 while Redis can be used.");
    describe_buckets();
    describe_alerts();
    describe_surroundings();
    describe_reload();
    describe_access();
    describe_health();
    describe_retention();
    metrics_process::Collector::default().describe();
}

/// Those of the bucket watcher.
fn describe_buckets() {
    use metrics::{
        describe_counter as counter, describe_gauge as gauge, describe_histogram as histogram,
    };
    counter!(
        "faultline_bucket_requests_total",
        "Requests to the object storage, by operation and status: what it costs."
    );
    counter!("faultline_bucket_objects_listed_total", "Objects that listings gave.");
    counter!("faultline_bucket_changes_total", "Changes of objects that were announced, by type.");
    counter!("faultline_bucket_failures_total", "Passes over buckets that failed; tried again.");
    histogram!("faultline_bucket_pass_seconds", "Time of a pass over a bucket, or its part.");
    gauge!(
        "faultline_bucket_last_success_timestamp_seconds",
        "When all buckets were last looked at without a failure."
    );
    gauge!("faultline_bucket_watching", "1 while this hub is the one that watches.");
}

/// Those of the notifier.
fn describe_alerts() {
    use metrics::{describe_counter as counter, describe_gauge as gauge};
    gauge!("faultline_alerts_open", "Alerts that are open, by class.");
    counter!(
        "faultline_alert_deliveries_total",
        "Tries to send messages about alerts, by channel and outcome: sent, failed, dead."
    );
}

/// Those of the configuration.
fn describe_reload() {
    use metrics::{describe_counter as counter, describe_gauge as gauge};
    counter!(
        "faultline_config_reloads_total",
        "Times that the configuration was read again, by outcome: applied, unchanged, refused."
    );
    gauge!(
        "faultline_config_last_reload_timestamp_seconds",
        "When the configuration in force was read."
    );
    gauge!(
        "faultline_config_last_reload_successful",
        "0 while the configuration that was read last cannot be used, and the one before is in force."
    );
}

/// Those of health, and of the program's own log.
fn describe_health() {
    use metrics::{describe_counter as counter, describe_gauge as gauge};
    gauge!(
        "faultline_component_status",
        "How a component does: 0 healthy, 1 degraded, 2 unhealthy; as it was last looked at."
    );
    counter!(
        "faultline_health_changes_dropped_total",
        "Changes of health that are not in the history, by reason."
    );
    counter!("faultline_log_lines_total", "Lines that this program has logged, by level.");
    counter!(
        "faultline_error_logs_dropped_total",
        "Own lines of WARN and ERROR that were logged and not kept in the store, by reason."
    );
    gauge!("faultline_disk_free_bytes", "What is free on the disk that the spool is on.");
    gauge!("faultline_disk_total_bytes", "What fits onto the disk that the spool is on.");
}

/// Those of the process itself, and of the systems outside as it sees them.
fn describe_surroundings() {
    use metrics::{
        describe_counter as counter, describe_gauge as gauge, describe_histogram as histogram,
    };
    histogram!("faultline_runtime_lag_seconds", "How late a timer of the runtime fires.");
    gauge!("faultline_uptime_seconds", "Since the start of the process.");
    gauge!("faultline_build_info", "1: the version that runs, and whether as hub or relay.");
    counter!(
        "faultline_partner_calls_total",
        "Calls of jira, store, redis and buckets: ok, failed, or unauthorized."
    );
    gauge!(
        "faultline_partner_latency_seconds",
        "Median and 95th percentile of the calls within metrics_aggregator.window."
    );
    gauge!(
        "faultline_store_last_success_timestamp_seconds",
        "When the store last took something in, or said where it stands."
    );
    histogram!(
        "faultline_stored_after_seconds",
        "Time from a record's acceptance until it is stored, of the oldest one of each batch."
    );
    gauge!("faultline_hubs", "Hubs that this store has heard of within jira.lease.");
    gauge!(
        "faultline_handoff_waiting",
        "1 while records wait although Redis answers: a full stream, a wrong copy of a spool."
    );
    gauge!(
        "faultline_stream_outstanding_limit_bytes",
        "A relay's: so much may be handed over and not committed."
    );
}

/// Those of the listeners: who is let in, who listens, and TLS.
fn describe_access() {
    use metrics::{describe_counter as counter, describe_gauge as gauge};
    counter!("faultline_logins_total", "Logins that succeeded.");
    counter!(
        "faultline_logins_refused_total",
        "Logins that did not: wrong credentials, a link of no use, too many by account or address."
    );
    counter!(
        "faultline_admin_refused_total",
        "Requests to the admin listener that were not let in, by reason."
    );
    gauge!("faultline_live_clients", "Clients of GET /api/live.");
    counter!("faultline_live_clients_cut_total", "Live clients that were cut, by reason.");
    counter!("faultline_tls_handshakes_failed_total", "TLS handshakes that failed, by listener.");
    counter!("faultline_tls_reloads_total", "Certificate files read again, by outcome.");
    gauge!(
        "faultline_tls_certificate_expires_timestamp_seconds",
        "When the listener's certificate expires."
    );
}

/// In microseconds: how late timers fire, falling by a tenth each time that it is measured.
static LAG: AtomicU64 = AtomicU64::new(0);

/// How late timers fire. The worst of the last seconds: it is forgotten bit by bit.
pub(crate) fn runtime_lag() -> Duration {
    Duration::from_micros(LAG.load(Ordering::Relaxed))
}

/// How much the store holds, and what leaves it.
fn describe_retention() {
    use metrics::{describe_counter as counter, describe_gauge as gauge};
    gauge!("faultline_store_bytes", "Bytes on disk, by table; of SQLite, of the file.");
    gauge!("faultline_store_rows", "Rows in the store, by table: an estimate.");
    gauge!(
        "faultline_store_oldest_day_timestamp_seconds",
        "The oldest day of which there are events."
    );
    gauge!(
        "faultline_retention_last_success_timestamp_seconds",
        "When everything that was old had left the store, last done by this hub."
    );
    counter!("faultline_retention_runs_total", "Runs of retention by this hub, by outcome.");
    counter!("faultline_retention_dropped_rows_total", "Rows that left the store, by table.");
    counter!("faultline_retention_archived_events_total", "Events written to archives.");
    counter!("faultline_retention_archived_bytes_total", "Bytes of archives written.");
}

/// Measures, for as long as it is polled, how late timers fire: the runtime's own latency.
///
/// Also has the metrics add up what was recorded: single values of a histogram pile up in memory
/// until then, and nobody may ever ask for them.
pub async fn watch_runtime(metrics: PrometheusHandle) {
    const EVERY: Duration = Duration::from_millis(250);
    let lag = metrics::histogram!("faultline_runtime_lag_seconds");
    loop {
        let started = Instant::now();
        tokio::time::sleep(EVERY).await;
        let late = started.elapsed().saturating_sub(EVERY);
        lag.record(late);
        let late = u64::try_from(late.as_micros()).unwrap_or(u64::MAX);
        LAG.store(late.max(LAG.load(Ordering::Relaxed) / 10 * 9), Ordering::Relaxed);
        metrics.run_upkeep();
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, path::Path};

    use super::*;

    /// The metrics named in `text` as arguments of one of the macros.
    fn names(text: &str) -> BTreeSet<&str> {
        let calls = text.match_indices("!(").filter_map(|(at, _)| {
            let is_metric =
                ["counter", "gauge", "histogram"].iter().any(|name| text[..at].ends_with(name));
            let name = text[at + 2..].trim_start().strip_prefix('"')?.split('"').next()?;
            (is_metric && name.starts_with("faultline_")).then_some(name)
        });
        calls.filter(|name| !name.contains("_test_")).collect()
    }

    fn read_sources(directory: &Path, out: &mut String) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                read_sources(&path, out);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                out.push_str(&std::fs::read_to_string(path).unwrap());
            }
        }
    }

    #[test]
    fn what_is_recorded_is_described_and_what_is_described_is_recorded() {
        let mut sources = String::new();
        for directory in ["src", "actors/src"] {
            read_sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(directory), &mut sources);
        }
        let (before, rest) = sources.split_once("fn describe() {").unwrap();
        let (descriptions, after) = rest.split_once("async fn watch_runtime").unwrap();
        let recorded = names(before).union(&names(after)).copied().collect::<BTreeSet<_>>();
        assert_eq!(recorded, names(descriptions));
        assert!(SELDOM.iter().all(|name| recorded.contains(name)));
    }

    fn resident_mib() -> usize {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() / 1024
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_recorded_does_not_pile_up_while_nobody_asks() {
        let handle = start_metrics();
        let watch = tokio::spawn(watch_runtime(handle.clone()));
        let histogram = metrics::histogram!("faultline_test_seconds");
        let before = resident_mib();
        for _ in 0..20 {
            for _ in 0..250_000 {
                histogram.record(0.001);
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let grown = resident_mib().saturating_sub(before);
        assert!(grown < 40, "5 million values hold {grown} MiB");
        assert!(handle.render().contains("faultline_test_seconds_count 5000000"));
        watch.abort();
    }
}
