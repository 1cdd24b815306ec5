//! Statistics of the HTTP traffic that Heroku's router reports: over a sliding window, and in
//! total since the start.
//!
//! The window is a ring of slots; a slot that has slid out is dropped whole, so the window is
//! exact to one slot. Percentiles come from a DDSketch (Masson, Rim and Lee, "DDSketch: a fast and
//! fully-mergeable quantile sketch with relative-error guarantees", 2019; 1 % error).

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use serde::Serialize;
use sketches_ddsketch::{Config, DDSketch};

pub use self::served::Performance;
use self::served::ServedBy;
use super::{
    batch::{Batch, Scope},
    event::Kind,
    route::push_template,
    router::{self, Method, Request},
    time::{Micros, rfc3339},
    top::Top,
};

mod complaints;
mod served;

/// Slots of a window: it is exact to a thirtieth.
const SLOTS: i64 = 30;
/// Keys kept of each slot's routes and countries; ten are shown.
const TOP_KEPT: usize = 256;
const TOP_SHOWN: usize = 10;
/// Answers slower than this count as slow.
const SLOW_MS: u32 = 1_000;
/// From this share of requests that fail on, in percent, something is wrong.
const MANY_ERRORS: f64 = 5.0;
const NANOS_PER_MS: f64 = 1e6;

/// What one slot, or a merged window, has counted.
#[derive(Clone)]
struct Counts {
    requests: u64,
    errors: u64,
    slow: u64,
    /// By class; 0 where there was no status.
    statuses: [u64; 6],
    methods: [u64; 5],
    timed: u64,
    service_ms: u64,
    sketch: DDSketch,
    dynos: ServedBy,
    /// By environment and service.
    apps: ServedBy,
    endpoints: Top,
    countries: Top,
}

/// See the [module](self).
pub struct Traffic {
    window: Micros,
    started: Micros,
    totals: Counts,
    /// With their numbers, oldest first.
    slots: VecDeque<(i64, Counts)>,
    alerts: BTreeMap<String, Alert>,
    has_countries: bool,
    route: Vec<u8>,
    app: Vec<u8>,
}

/// The statistics at one moment, with the field names of the first prototype, whose dashboards go
/// on working. Times are in nanoseconds, rates in percent; counts and times without "per second"
/// are totals since the start, everything else is over the window.
#[derive(Clone, Debug, Serialize)]
pub struct Snapshot {
    /// RFC 3339.
    pub timestamp: String,
    pub total_requests: u64,
    pub requests_per_second: f64,
    pub success_rate: f64,
    pub error_rate: f64,
    pub avg_response_time: u64,
    pub p50_response_time: u64,
    pub p95_response_time: u64,
    pub p99_response_time: u64,
    pub slow_request_count: u64,
    pub status_2xx: u64,
    pub status_3xx: u64,
    pub status_4xx: u64,
    pub status_5xx: u64,
    pub get_requests: u64,
    pub post_requests: u64,
    pub put_requests: u64,
    pub delete_requests: u64,
    pub other_requests: u64,
    /// Absent without a database of countries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_countries: Option<Vec<CountryCount>>,
    pub dyno_performance: BTreeMap<String, Performance>,
    /// By environment and service: `production/shop`.
    pub app_performance: BTreeMap<String, Performance>,
    pub top_endpoints: Vec<EndpointCount>,
    pub channel_health: ChannelHealth,
    pub active_alerts: Vec<Alert>,
    /// The window's length, in seconds.
    pub window_seconds: u64,
    pub window_requests: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct CountryCount {
    pub country: String,
    pub count: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct EndpointCount {
    /// Method and route template: `GET /users/<id>`.
    pub endpoint: String,
    pub count: u64,
}

/// How full the pipeline is; filled in by who knows its channels.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct ChannelHealth {
    /// Requests that wait for the spool, as a share of the queue, in percent.
    pub raw_log_chan_usage: f64,
    /// Batches that wait for the store, as a share of the channel, in percent.
    pub parsed_log_chan_usage: f64,
    /// Events a second, over the last seconds.
    pub processing_rate: f64,
    /// Messages accepted and not stored yet.
    pub backlog_size: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Alert {
    /// `high_error_rate`, `slow_response` or `dyno_performance`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// `warning` or `critical`.
    pub severity: &'static str,
    pub message: String,
    /// When it began; RFC 3339.
    pub timestamp: String,
    pub resolved: bool,
    #[serde(skip)]
    resolved_at: Micros,
}

impl Traffic {
    /// `has_countries`: whether [`Traffic::add`] will be told of countries.
    #[must_use]
    pub fn new(window: Duration, now: Micros, has_countries: bool) -> Self {
        Self {
            window: Micros::try_from(window.as_micros()).unwrap_or(Micros::MAX / 2).max(SLOTS),
            started: now,
            totals: Counts::new(),
            slots: VecDeque::new(),
            alerts: BTreeMap::new(),
            has_countries,
            route: Vec::new(),
            app: Vec::new(),
        }
    }

    /// Adds the requests of `batch`, as seen at `now`. `country_of` gives the country of a client
    /// address.
    pub fn add(&mut self, batch: &Batch, now: Micros, country_of: &dyn Fn(&str) -> Option<String>) {
        let mut lines = batch
            .events
            .iter()
            .filter(|event| event.kind == Kind::Router)
            .map(|event| (event.scope, batch.text.get(event.message)))
            .peekable();
        if lines.peek().is_none() {
            return;
        }
        let number = now.div_euclid(self.slot());
        self.slide(now);
        if self.slots.back().is_none_or(|(newest, _)| *newest < number) {
            self.slots.push_back((number, Counts::new()));
        }
        let slot = &mut self.slots.back_mut().expect("pushed just now").1;
        let mut scope = None;
        for (of, line) in lines {
            let request = router::parse(line);
            self.totals.count(&request);
            slot.count(&request);
            if !request.dyno.is_empty() {
                slot.dynos.count(text(request.dyno), &request);
            }
            // Nearly always that of the line before.
            if scope.replace(of) != Some(of) {
                name_app(&mut self.app, batch, of);
            }
            slot.apps.count(text(&self.app), &request);
            self.route.clear();
            self.route.extend_from_slice(request.method_text);
            self.route.push(b' ');
            push_template(request.path, &mut self.route);
            slot.endpoints.add(text(&self.route), 1);
            if self.has_countries
                && let Some(country) = country_of(client_of(&request))
            {
                slot.countries.add(&country, 1);
            }
        }
    }

    fn slot(&self) -> Micros {
        self.window / SLOTS
    }

    /// Drops the slots that have slid out of the window.
    fn slide(&mut self, now: Micros) {
        let oldest = (now - self.window).div_euclid(self.slot());
        while self.slots.pop_front_if(|(number, _)| *number <= oldest).is_some() {}
    }

    /// The statistics at `now`.
    pub fn snapshot(&mut self, now: Micros, channels: ChannelHealth) -> Snapshot {
        self.slide(now);
        let mut window = Counts::new();
        for (_, slot) in &self.slots {
            window.merge(slot);
        }
        let dynos = window.dynos.performance();
        self.raise_alerts(&window, &dynos, now);
        let covered = (now - self.started).clamp(1_000_000, self.window);
        let totals = &self.totals;
        let quantile = |q: f64| {
            let ms = window.sketch.quantile(q).ok().flatten().unwrap_or(0.0);
            to_nanos(ms)
        };
        Snapshot {
            timestamp: rfc3339(now),
            total_requests: totals.requests,
            requests_per_second: window.requests as f64 / (covered as f64 / 1e6),
            success_rate: if window.requests == 0 { 100.0 } else { 100.0 - window.error_rate() },
            error_rate: window.error_rate(),
            avg_response_time: average(window.service_ms, window.timed),
            p50_response_time: quantile(0.5),
            p95_response_time: quantile(0.95),
            p99_response_time: quantile(0.99),
            slow_request_count: totals.slow,
            status_2xx: totals.statuses[2],
            status_3xx: totals.statuses[3],
            status_4xx: totals.statuses[4],
            status_5xx: totals.statuses[5],
            get_requests: totals.methods[Method::Get as usize],
            post_requests: totals.methods[Method::Post as usize],
            put_requests: totals.methods[Method::Put as usize],
            delete_requests: totals.methods[Method::Delete as usize],
            other_requests: totals.methods[Method::Other as usize],
            top_countries: self.has_countries.then(|| {
                let first = window.countries.first(TOP_SHOWN).into_iter();
                first.map(|(country, count)| CountryCount { country, count }).collect()
            }),
            dyno_performance: dynos,
            app_performance: window.apps.performance(),
            top_endpoints: window
                .endpoints
                .first(TOP_SHOWN)
                .into_iter()
                .map(|(endpoint, count)| EndpointCount { endpoint, count })
                .collect(),
            channel_health: channels,
            active_alerts: self.alerts.values().cloned().collect(),
            window_seconds: u64::try_from(self.window / 1_000_000).unwrap_or(0),
            window_requests: window.requests,
        }
    }

    /// Raises, keeps and resolves alerts. A resolved one is shown for as long as the window is.
    fn raise_alerts(
        &mut self,
        window: &Counts,
        dynos: &BTreeMap<String, Performance>,
        now: Micros,
    ) {
        let mut firing: Vec<(String, &'static str, &'static str, String)> = Vec::new();
        let error_rate = window.error_rate();
        if let Some(severity) = above(error_rate, MANY_ERRORS, 10.0) {
            let message = format!("{error_rate:.1} % of requests fail");
            firing.push(("high_error_rate".into(), "high_error_rate", severity, message));
        }
        let p95 = window.sketch.quantile(0.95).ok().flatten().unwrap_or(0.0);
        if let Some(severity) = above(p95, 2_000.0, 5_000.0) {
            let message = format!("the slowest 5 % of requests take {:.1} s or more", p95 / 1e3);
            firing.push(("slow_response".into(), "slow_response", severity, message));
        }
        for (name, dyno) in dynos.iter().filter(|(_, dyno)| dyno.status != "healthy") {
            let average = dyno.avg_response_time as f64 / 1e9;
            let message = format!(
                "dyno {name}: {:.1} % of requests fail, {average:.2} s on average",
                dyno.error_rate
            );
            firing.push((format!("dyno/{name}"), "dyno_performance", dyno.status, message));
        }
        for (key, alert) in &mut self.alerts {
            let still = firing.iter().any(|(firing, ..)| firing == key);
            if !still && !alert.resolved {
                alert.resolved = true;
                alert.resolved_at = now;
            }
        }
        let window = self.window;
        self.alerts.retain(|_, alert| !alert.resolved || now - alert.resolved_at < window);
        for (key, kind, severity, message) in firing {
            match self.alerts.get_mut(&key) {
                Some(alert) if !alert.resolved => {
                    alert.severity = severity;
                    alert.message = message;
                }
                _ => {
                    let timestamp = rfc3339(now);
                    let alert = Alert {
                        kind,
                        severity,
                        message,
                        timestamp,
                        resolved: false,
                        resolved_at: 0,
                    };
                    self.alerts.insert(key, alert);
                }
            }
        }
    }
}

impl Counts {
    fn new() -> Self {
        Self {
            requests: 0,
            errors: 0,
            slow: 0,
            statuses: [0; 6],
            methods: [0; 5],
            timed: 0,
            service_ms: 0,
            sketch: DDSketch::new(Config::defaults()),
            dynos: ServedBy::default(),
            apps: ServedBy::default(),
            endpoints: Top::new(TOP_KEPT),
            countries: Top::new(TOP_KEPT),
        }
    }

    fn count(&mut self, request: &Request<'_>) {
        self.requests += 1;
        self.errors += u64::from(request.is_error());
        let class = usize::from(request.status.unwrap_or(0) / 100);
        self.statuses[if class < self.statuses.len() { class } else { 0 }] += 1;
        self.methods[request.method as usize] += 1;
        if let Some(ms) = request.service_ms {
            self.timed += 1;
            self.service_ms += u64::from(ms);
            self.slow += u64::from(ms > SLOW_MS);
            self.sketch.add(f64::from(ms));
        }
    }

    fn merge(&mut self, other: &Self) {
        self.requests += other.requests;
        self.errors += other.errors;
        self.slow += other.slow;
        self.timed += other.timed;
        self.service_ms += other.service_ms;
        // Both sketches have the same configuration, the one thing that could fail here.
        let _ = self.sketch.merge(&other.sketch);
        self.dynos.merge(&other.dynos);
        self.apps.merge(&other.apps);
        self.endpoints.merge(&other.endpoints);
        self.countries.merge(&other.countries);
    }

    fn error_rate(&self) -> f64 {
        percent(self.errors, self.requests)
    }
}

/// `production/shop`
fn name_app(name: &mut Vec<u8>, batch: &Batch, Scope { environment, service }: Scope) {
    name.clear();
    name.extend_from_slice(batch.text.get(environment));
    name.push(b'/');
    name.extend_from_slice(batch.text.get(service));
}

/// The client is the first of the addresses that the router lists.
fn client_of<'a>(request: &Request<'a>) -> &'a str {
    text(request.forwarded_for).split(',').next().unwrap_or_default().trim()
}

fn above(value: f64, warning: f64, critical: f64) -> Option<&'static str> {
    if value > critical {
        Some("critical")
    } else if value > warning {
        Some("warning")
    } else {
        None
    }
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { 100.0 * part as f64 / whole as f64 }
}

/// The average of `count` milliseconds that sum up to `sum`, in nanoseconds.
fn average(sum: u64, count: u64) -> u64 {
    if count == 0 { 0 } else { to_nanos(sum as f64 / count as f64) }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a time of sane length"
)]
fn to_nanos(ms: f64) -> u64 {
    (ms * NANOS_PER_MS) as u64
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        event::Source,
        parse::{Parser, count_messages},
        record::{Block, Content, Meta, RecordRef},
    };

    const MINUTE: Micros = 60_000_000;
    pub(super) const NO_COUNTRY: &dyn Fn(&str) -> Option<String> = &|_| None;

    pub(super) fn requests(lines: &[&str]) -> Batch {
        let mut body = String::new();
        for line in lines {
            let frame = format!("<158>1 2026-11-22T03:00:00Z host heroku router - {line}");
            body.push_str(&format!("{} {frame}", frame.len()));
        }
        let meta = Meta::default().encode();
        let bytes = bytes::Bytes::from([&meta, body.as_bytes()].concat());
        let records = vec![RecordRef {
            sequence: 1,
            received_at: 0,
            source: Source::Logdrains,
            messages: count_messages(Source::Logdrains, body.as_bytes()),
            content: Content::Body { meta: 0..meta.len(), body: meta.len()..bytes.len() },
        }];
        let mut batch = Batch::default();
        Parser::new("x", std::sync::Arc::default()).parse(&mut batch, &Block { bytes, records });
        batch
    }

    pub(super) fn traffic() -> Traffic {
        Traffic::new(Duration::from_mins(5), 0, false)
    }

    #[test]
    fn counts_rates_and_percentiles() {
        let mut traffic = traffic();
        traffic.add(
            &requests(&[
                "at=info method=GET path=\"/u/17\" dyno=web.1 connect=1ms service=10ms status=200",
                "at=info method=GET path=\"/u/18\" dyno=web.1 connect=1ms service=20ms status=302",
                "at=info method=POST path=\"/u\" dyno=web.2 connect=1ms service=30ms status=404",
                "at=error code=H12 method=PATCH path=\"/u\" dyno=web.2 service=30000ms status=503",
            ]),
            MINUTE,
            NO_COUNTRY,
        );
        let snapshot = traffic.snapshot(MINUTE, ChannelHealth::default());
        assert_eq!(snapshot.total_requests, 4);
        assert_eq!((snapshot.status_2xx, snapshot.status_3xx), (1, 1));
        assert_eq!((snapshot.status_4xx, snapshot.status_5xx), (1, 1));
        assert_eq!((snapshot.get_requests, snapshot.other_requests), (2, 1));
        assert!((snapshot.error_rate - 25.0).abs() < 1e-9);
        assert_eq!(snapshot.slow_request_count, 1);
        let close = |nanos: u64, ms: f64| (nanos as f64 / 1e6 / ms - 1.0).abs() < 0.02;
        assert!(close(snapshot.p50_response_time, 20.0), "{}", snapshot.p50_response_time);
        assert!(
            close(snapshot.p99_response_time, 30.0) || close(snapshot.p99_response_time, 30_000.0)
        );
        assert_eq!(snapshot.top_endpoints[0].endpoint, "GET /u/<id>");
        assert_eq!(snapshot.dyno_performance["web.1"].status, "healthy");
        assert_eq!(snapshot.dyno_performance["web.2"].status, "critical");
        assert!(snapshot.top_countries.is_none());
        let kinds: Vec<_> = snapshot.active_alerts.iter().map(|alert| alert.kind).collect();
        assert_eq!(kinds, ["dyno_performance", "high_error_rate"]);
    }

    #[test]
    fn the_window_slides_and_alerts_resolve() {
        let mut traffic = traffic();
        let failing = requests(&["at=error code=H12 method=GET path=\"/\" dyno=web.1 status=503"]);
        traffic.add(&failing, 0, NO_COUNTRY);
        assert!(
            traffic.snapshot(0, ChannelHealth::default()).active_alerts.iter().all(|a| !a.resolved)
        );
        let later = traffic.snapshot(6 * MINUTE, ChannelHealth::default());
        assert_eq!((later.total_requests, later.window_requests), (1, 0));
        assert!(later.active_alerts.iter().all(|alert| alert.resolved));
        assert!(later.dyno_performance.is_empty());
        let much_later = traffic.snapshot(12 * MINUTE, ChannelHealth::default());
        assert!(much_later.active_alerts.is_empty());
    }

    #[test]
    fn countries_are_counted_by_the_first_address() {
        let mut traffic = Traffic::new(Duration::from_mins(5), 0, true);
        let batch = requests(&["method=GET path=\"/\" fwd=\"1.2.3.4, 10.0.0.1\" status=200"]);
        traffic.add(&batch, 0, &|address| (address == "1.2.3.4").then(|| "DE".to_owned()));
        let snapshot = traffic.snapshot(0, ChannelHealth::default());
        assert_eq!(snapshot.top_countries.unwrap()[0].country, "DE");
    }

    #[test]
    fn dynos_are_bounded() {
        let mut traffic = traffic();
        for number in 0..2_000 {
            let line = format!("method=GET path=\"/\" dyno=web.{number} status=200");
            traffic.add(&requests(&[&line]), 0, NO_COUNTRY);
        }
        let snapshot = traffic.snapshot(0, ChannelHealth::default());
        assert!(snapshot.dyno_performance.len() <= served::MOST + 1);
        assert_eq!(snapshot.dyno_performance["other"].request_count, 1_500);
        let apps = snapshot.app_performance;
        let [(name, app)] = &apps.iter().collect::<Vec<_>>()[..] else { panic!("{apps:?}") };
        assert!(name.contains('/') && app.request_count == 2_000, "{apps:?}");
        // Other names in the next slot make no difference.
        for number in 2_000..3_000 {
            let line = format!("method=GET path=\"/\" dyno=web.{number} status=200");
            traffic.add(&requests(&[&line]), MINUTE, NO_COUNTRY);
        }
        let snapshot = traffic.snapshot(MINUTE, ChannelHealth::default());
        assert!(snapshot.dyno_performance.len() <= served::MOST + 1);
        let sum: u64 = snapshot.dyno_performance.values().map(|dyno| dyno.request_count).sum();
        assert_eq!(sum, 3_000);
    }
}
