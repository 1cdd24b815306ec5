//! Logs and metrics of the program itself.

use std::{
    io::IsTerminal,
    sync::OnceLock,
    time::{Duration, Instant},
};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

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

/// Sets up logging, to standard error.
pub fn start_logging(settings: &Settings) {
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(&settings.filter));
    // Where the log cannot be written (a full disk, a reader that is gone), saying so would panic.
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .log_internal_errors(false);
    let is_human = match settings.format {
        Format::Human => true,
        Format::Json => false,
        Format::Auto => std::io::stderr().is_terminal(),
    };
    // A second set-up in one process (tests) keeps the first.
    let _ = if is_human {
        log.with_target(false).try_init()
    } else {
        log.json().flatten_event(true).try_init()
    };
}

/// From a tenth of a millisecond to ten seconds.
const BUCKETS: [f64; 15] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    10.0,
];

/// What is exposed as 0 before it ever happens, so that a first time is seen as a rise.
const SELDOM: [&str; 20] = [
    "faultline_bucket_failures_total",
    "faultline_decisions_total",
    "faultline_held_back_total",
    "faultline_intents_total",
    "faultline_logins_total",
    "faultline_lost_messages_total",
    "faultline_parser_panics_total",
    "faultline_snapshots_lost_total",
    "faultline_spool_damaged_records_total",
    "faultline_spool_read_errors_total",
    "faultline_spool_write_errors_total",
    "faultline_stdin_restarts_total",
    "faultline_store_failures_total",
    "faultline_stream_damaged_entries_total",
    "faultline_stream_failures_total",
    "faultline_stream_gaps_total",
    "faultline_stream_lost_records_total",
    "faultline_stream_resends_total",
    "faultline_ticket_changes_total",
    "faultline_upstream_dropped_total",
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
    counter!(
        "faultline_stream_lost_records_total",
        "Records that neither their relay nor the store has: the store was replaced."
    );
    gauge!("faultline_stream_outstanding_bytes", "Bytes handed over and not committed by a hub.");
    gauge!("faultline_streams_held", "Streams that this hub reads.");
    gauge!("faultline_redis_up", "1 while Redis can be used.");
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
    histogram!("faultline_runtime_lag_seconds", "How late a timer of the runtime fires.");
    gauge!("faultline_uptime_seconds", "Since the start of the process.");
    gauge!("faultline_build_info", "1: the version that runs, and whether as hub or relay.");
    describe_partners();
    describe_access();
    metrics_process::Collector::default().describe();
}

/// Those of the systems outside, as this process sees them.
fn describe_partners() {
    use metrics::{
        describe_counter as counter, describe_gauge as gauge, describe_histogram as histogram,
    };
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
        lag.record(started.elapsed().saturating_sub(EVERY));
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
