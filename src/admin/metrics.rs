//! `GET /metrics`: for Prometheus as text (0.0.4, or OpenMetrics by `Accept`), for dashboards as
//! JSON (`Accept: application/json`).

use std::{fmt::Write as _, path::Path, sync::Arc, time::Duration};

use axum::{
    Json, extract,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use faultline_actors::{
    adapters::{
        clock,
        journal::{spool::Spool, stream::State},
    },
    domain::{breaker, calls::Summary, event::Source, job::State as JobState},
};
use metrics::{counter, gauge};

use super::{Admin, access::Gate, health::gather::disk};
use crate::problem::Problem;

const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What a client prefers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Prometheus,
    OpenMetrics,
    Json,
}

pub(super) async fn metrics(
    extract::State(admin): extract::State<Arc<Admin>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    admin.gate.admit_metrics(&headers).await?;
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
    let form = form_of(accept);
    if form == Form::Json {
        return match admin.pipeline.snapshot().await {
            Some(snapshot) => Ok(Json(snapshot).into_response()),
            None => Err(Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "the statistics are being restarted",
            )),
        };
    }
    admin.update_gauges();
    Ok(exposition(form, &admin.prometheus.render()))
}

/// What Prometheus reads.
fn exposition(form: Form, text: &str) -> Response {
    let (content_type, text) = match form {
        Form::OpenMetrics => (OPENMETRICS, to_openmetrics(text)),
        Form::Prometheus | Form::Json => (PROMETHEUS, text.to_owned()),
    };
    let content_type = HeaderValue::from_static(content_type);
    ([(header::CONTENT_TYPE, content_type)], text).into_response()
}

/// The same where there are no statistics of traffic, which only a pipeline has.
pub(super) async fn without_statistics(
    gate: &Gate,
    headers: &HeaderMap,
    text: impl FnOnce() -> String,
) -> Result<Response, Problem> {
    gate.admit_metrics(headers).await?;
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
    Ok(exposition(form_of(accept), &text()))
}

/// The gauges of a spool, and of the disk that it is on.
pub(super) fn update_spool(spool: &Spool, directory: &Path, oldest: Duration) {
    if let Some(disk) = disk(directory) {
        gauge!("faultline_disk_free_bytes").set(disk.free_bytes as f64);
        gauge!("faultline_disk_total_bytes").set((disk.used_bytes + disk.free_bytes) as f64);
    }
    let status = spool.status();
    gauge!("faultline_spool_bytes").set(status.used_bytes as f64);
    gauge!("faultline_spool_limit_bytes").set(status.max_bytes as f64);
    gauge!("faultline_spool_position", "of" => "head").set(status.head as f64);
    gauge!("faultline_spool_position", "of" => "acknowledged").set(status.acknowledged as f64);
    gauge!("faultline_dedupe_ids").set(status.ids as f64);
    gauge!("faultline_oldest_unacknowledged_seconds").set(oldest.as_secs_f64());
}

/// The gauges of the hand-over.
pub(super) fn update_handoff(state: &State) {
    gauge!("faultline_redis_up").set(f64::from(u8::from(state.failing().is_none())));
    gauge!("faultline_stream_outstanding_bytes").set(state.outstanding_bytes as f64);
    gauge!("faultline_streams_held").set(state.held.len() as f64);
    gauge!("faultline_handoff_waiting").set(f64::from(u8::from(state.waiting.is_some())));
}

/// What runs here.
pub(super) fn update_build(role: &'static str) {
    gauge!("faultline_build_info", "version" => env!("CARGO_PKG_VERSION"), "role" => role).set(1.0);
}

/// How calls of an outside system went.
pub(super) fn update_partner(partner: &'static str, calls: &Summary) {
    let ever = calls.ever;
    for (outcome, count) in [
        ("ok", ever.requests - ever.failures),
        ("failed", ever.failures - ever.auth_failures),
        ("unauthorized", ever.auth_failures),
    ] {
        counter!("faultline_partner_calls_total", "partner" => partner, "outcome" => outcome)
            .absolute(count);
    }
    // Without calls there is no latency, rather than the last one for ever.
    let (median, p95) = calls.latency.unwrap_or((f64::NAN, f64::NAN));
    for (quantile, milliseconds) in [("0.5", median), ("0.95", p95)] {
        gauge!("faultline_partner_latency_seconds", "partner" => partner, "quantile" => quantile)
            .set(milliseconds / 1e3);
    }
}

/// The first acceptable form; Prometheus' text where nothing else is asked for.
fn form_of(accept: &str) -> Form {
    let mut best = (Form::Prometheus, 0.0);
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let form = match parts.next().unwrap_or("") {
            "application/json" => Form::Json,
            "application/openmetrics-text" => Form::OpenMetrics,
            "text/plain" | "text/*" => Form::Prometheus,
            _ => continue,
        };
        let quality = parts
            .find_map(|part| part.strip_prefix("q="))
            .map_or(1.0, |quality| quality.parse().unwrap_or(0.0));
        if quality > best.1 {
            best = (form, quality);
        }
    }
    best.0
}

impl Admin {
    /// Brings the gauges, and the counters kept elsewhere, up to date.
    fn update_gauges(&self) {
        self.process.collect();
        gauge!("faultline_live_clients").set(self.live.clients() as f64);
        gauge!("faultline_uptime_seconds").set(self.started.elapsed().as_secs_f64());
        update_build("hub");
        update_spool(self.pipeline.spool(), self.health.spool_directory(), self.oldest_age());
        self.update_partners();
        if let Some(state) = self.pipeline.buckets() {
            gauge!("faultline_bucket_watching").set(f64::from(u8::from(state.is_watching)));
        }
        for depth in self.pipeline.depths() {
            gauge!("faultline_channel_depth", "channel" => depth.channel).set(depth.depth as f64);
            gauge!("faultline_channel_capacity", "channel" => depth.channel)
                .set(depth.capacity as f64);
        }
        let jira = &self.pipeline.jira().counters;
        gauge!("faultline_hubs").set(jira.hubs() as f64);
        let counts = jira.jobs();
        for state in JobState::ALL {
            let count = counts.iter().find(|(counted, _)| *counted == state);
            gauge!("faultline_jobs", "state" => state.name())
                .set(count.map_or(0.0, |(_, count)| *count as f64));
        }
        let is_open = !matches!(jira.breaker(), breaker::State::Closed);
        gauge!("faultline_jira_breaker_open").set(f64::from(u8::from(is_open)));
        gauge!("faultline_dispatch_paused").set(f64::from(u8::from(jira.is_paused())));
        let ledger = self.pipeline.ledger();
        if !ledger.is_complete() {
            return;
        }
        for source in Source::ALL {
            let line = ledger.line(source);
            let source = source.name();
            for (outcome, count) in [
                ("received", line.received),
                ("stored", line.stored),
                ("duplicate", line.duplicate),
                ("rejected", line.rejected),
            ] {
                counter!("faultline_messages_total", "source" => source, "outcome" => outcome)
                    .absolute(count);
            }
            gauge!("faultline_messages_in_flight", "source" => source).set(line.in_flight as f64);
        }
        gauge!("faultline_ledger_imbalance_messages").set(ledger.imbalance() as f64);
    }

    /// How it goes with the systems outside.
    fn update_partners(&self) {
        let now = clock::now();
        let pipeline = &self.pipeline;
        let counters = pipeline.counters();
        update_partner("store", &counters.calls().look(now));
        if let Some(at) = counters.last_success() {
            gauge!("faultline_store_last_success_timestamp_seconds").set(at as f64 / 1e6);
        }
        let jira = pipeline.jira();
        if !jira.is_dry_run {
            update_partner("jira", &jira.calls.look(now));
        }
        if let Some((status, _)) = pipeline.handoff() {
            update_handoff(&status.look());
            update_partner("redis", &status.calls().look(now));
        }
        if let Some(calls) = pipeline.bucket_calls() {
            update_partner("buckets", &calls.look(now));
        }
        if let Some(calls) = pipeline.mail_calls() {
            update_partner("mail", &calls.look(now));
        }
    }
}

/// From Prometheus' text format to OpenMetrics 1.0: a counter's family loses `_total`, which its
/// samples keep; blank lines go; the end is marked.
fn to_openmetrics(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    let counters: std::collections::HashSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter"))
        .collect();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let comment = line.strip_prefix("# ").and_then(|rest| {
            let (kind, rest) = rest.split_once(' ')?;
            let (name, rest) = rest.split_once(' ')?;
            counters.contains(name).then_some((kind, name.strip_suffix("_total")?, rest))
        });
        // Writing to a String cannot fail.
        let _ = match comment {
            Some((kind, family, rest)) => writeln!(out, "# {kind} {family} {rest}"),
            None => writeln!(out, "{line}"),
        };
    }
    out.push_str("# EOF\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_follows_accept() {
        for (accept, form) in [
            ("", Form::Prometheus),
            ("*/*", Form::Prometheus),
            ("application/json", Form::Json),
            ("text/html, application/json;q=0.9", Form::Json),
            (
                "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3",
                Form::OpenMetrics,
            ),
            ("text/plain;q=0.9, application/json;q=0.1", Form::Prometheus),
        ] {
            assert_eq!(form_of(accept), form, "{accept}");
        }
    }

    #[test]
    fn openmetrics_names_families_without_total() {
        let text = "# HELP a_total Things.\n# TYPE a_total counter\na_total{x=\"y\"} 1\n\n# TYPE b gauge\nb 2\n\n";
        assert_eq!(
            to_openmetrics(text),
            "# HELP a Things.\n# TYPE a counter\na_total{x=\"y\"} 1\n# TYPE b gauge\nb 2\n# EOF\n"
        );
    }
}
