//! What is shown, made of what was asked: pure.

use std::{collections::BTreeMap, time::Duration};

use faultline_actors::domain::job::State;
use serde::Deserialize;

use super::metrics::{Metrics, Quantiles};

/// What one round of questions has given; what was not answered is `None`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    /// When, since any moment.
    pub(super) at: Duration,
    pub(super) ledger: Option<Ledger>,
    pub(super) health: Option<Health>,
    pub(super) metrics: Metrics,
    pub(super) faults: Option<Vec<Fault>>,
    pub(super) alerts: Option<Vec<Alert>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Ledger {
    pub(super) sources: BTreeMap<String, Line>,
    #[serde(default)]
    pub(super) origins: Vec<OfOrigin>,
    pub(super) balanced: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct OfOrigin {
    /// Of a journal that this hub reads; others have none.
    #[serde(default)]
    environment: Option<String>,
    #[serde(default)]
    sources: BTreeMap<String, Line>,
}

/// Messages of a source; a relay has `committed` instead of `stored`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Line {
    pub(crate) received: u64,
    #[serde(alias = "committed")]
    pub(crate) stored: u64,
    pub(crate) duplicate: u64,
    pub(crate) rejected: u64,
    pub(crate) in_flight: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Health {
    pub(crate) overall: String,
    pub(crate) components: BTreeMap<String, Component>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Component {
    pub(crate) status: String,
    #[serde(default)]
    pub(crate) error: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Fault {
    pub(crate) count: i64,
    pub(crate) environment: String,
    pub(crate) service: String,
    pub(crate) title: String,
    pub(crate) ticket: Option<Ticket>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Ticket {
    pub(crate) key: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Alert {
    pub(crate) class: String,
    pub(crate) title: String,
    pub(crate) since: String,
}

/// A source: what it stands at, and messages a second.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Flow {
    pub(crate) source: String,
    pub(crate) line: Line,
    /// `None` before two rounds.
    pub(crate) rates: Option<Rates>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Rates {
    pub(crate) received: f64,
    pub(crate) stored: f64,
}

/// How full something is.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Queue {
    pub(crate) name: String,
    pub(crate) depth: f64,
    pub(crate) capacity: f64,
    pub(crate) is_bytes: bool,
}

/// Whether it is asked with success.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Link {
    #[default]
    Connecting,
    Up,
    /// For so long, and why. What is shown is of before.
    Down {
        lasting: Duration,
        why: String,
    },
}

/// What is shown.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) url: String,
    pub(crate) link: Link,
    pub(crate) flows: Vec<Flow>,
    pub(crate) is_balanced: Option<bool>,
    pub(crate) queues: Vec<Queue>,
    /// Commits within the last seconds, and since the start.
    pub(crate) commits: [Option<Quantiles>; 2],
    /// Jobs by state.
    pub(crate) jobs: Vec<(String, u64)>,
    pub(crate) is_paused: bool,
    pub(crate) is_breaker_open: bool,
    /// `None`: not answered yet, or there is none.
    pub(crate) health: Option<Health>,
    pub(crate) faults: Option<Vec<Fault>>,
    pub(crate) alerts: Option<Vec<Alert>>,
    pub(crate) memory: Option<f64>,
    pub(crate) uptime: Option<Duration>,
}

/// Rates and quantiles are of so long a time.
pub(super) const SPAN: Duration = Duration::from_secs(10);

/// The rounds of the last seconds, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct History(Vec<Sample>);

impl History {
    /// What has not been asked again is taken from the round before.
    pub(crate) fn add(&mut self, mut sample: Sample) {
        if let Some(last) = self.0.last() {
            sample.faults = sample.faults.or_else(|| last.faults.clone());
            sample.alerts = sample.alerts.or_else(|| last.alerts.clone());
        }
        let at = sample.at;
        self.0.retain(|old| old.at + SPAN >= at);
        self.0.push(sample);
    }

    /// What is shown now.
    pub(crate) fn model(&self, url: &str, link: Link) -> Model {
        let url = url.to_owned();
        let Some(now) = self.0.last() else { return Model { url, link, ..Model::default() } };
        let before = self.0.first().filter(|before| before.at < now.at);
        let metrics = &now.metrics;
        let commits = |sample: &Sample| {
            sample.metrics.buckets("faultline_store_operation_seconds", ("operation", "commit"))
        };
        let lately = before.and_then(|before| commits(now).since(&commits(before)).quantiles());
        let is_on = |name: &str| metrics.value(name).is_some_and(|value| value > 0.5);
        Model {
            url,
            link,
            flows: flows(now, before),
            is_balanced: now.ledger.as_ref().map(|ledger| ledger.balanced),
            queues: queues(metrics),
            commits: [lately, commits(now).quantiles()],
            jobs: jobs(metrics),
            is_paused: is_on("faultline_dispatch_paused"),
            is_breaker_open: is_on("faultline_jira_breaker_open"),
            health: now.health.clone(),
            faults: now.faults.clone(),
            alerts: now.alerts.clone(),
            memory: metrics.value("process_resident_memory_bytes"),
            uptime: metrics
                .value("faultline_uptime_seconds")
                .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
        }
    }
}

/// All lines of a source together: of this process' own journal, and of those that it reads.
fn lines(ledger: &Ledger) -> BTreeMap<&str, Line> {
    let mut all: BTreeMap<&str, Line> = BTreeMap::new();
    let read = ledger.origins.iter().filter(|origin| origin.environment.is_some());
    let read = read.map(|origin| &origin.sources);
    for (source, line) in read.chain([&ledger.sources]).flatten() {
        let sum = all.entry(source).or_default();
        sum.received += line.received;
        sum.stored += line.stored;
        sum.duplicate += line.duplicate;
        sum.rejected += line.rejected;
        sum.in_flight += line.in_flight;
    }
    all
}

fn flows(now: &Sample, before: Option<&Sample>) -> Vec<Flow> {
    let Some(ledger) = &now.ledger else { return Vec::new() };
    let seconds = before.map_or(0.0, |before| now.at.saturating_sub(before.at).as_secs_f64());
    let then = before.and_then(|before| before.ledger.as_ref()).map(lines);
    let flow = |(source, line): (&str, Line)| {
        let old = then.as_ref().and_then(|then| then.get(source));
        let rate = |now: u64, then: u64| now.saturating_sub(then) as f64 / seconds;
        let rates = old.filter(|_| seconds > 0.0).map(|old| Rates {
            received: rate(line.received, old.received),
            stored: rate(line.stored, old.stored),
        });
        Flow { source: source.to_owned(), line, rates }
    };
    lines(ledger).into_iter().map(flow).collect()
}

/// The channels, in the order of the flow; others stand before them.
const FLOW: [&str; 5] = ["spool", "parser", "fan_out", "batch_writer", "metrics_aggregator"];

fn queues(metrics: &Metrics) -> Vec<Queue> {
    let capacities: BTreeMap<_, _> =
        metrics.by("faultline_channel_capacity", "channel").into_iter().collect();
    let mut depths = metrics.by("faultline_channel_depth", "channel");
    depths.sort_by_key(|(name, _)| FLOW.iter().position(|stage| stage == name));
    let mut queues: Vec<Queue> = depths
        .into_iter()
        .map(|(name, depth)| {
            let capacity = capacities.get(&name).copied().unwrap_or_default();
            Queue { name, depth, capacity, is_bytes: false }
        })
        .collect();
    if let Some(depth) = metrics.value("faultline_spool_bytes") {
        let capacity = metrics.value("faultline_spool_limit_bytes").unwrap_or_default();
        queues.push(Queue { name: "spool (disk)".to_owned(), depth, capacity, is_bytes: true });
    }
    queues
}

fn jobs(metrics: &Metrics) -> Vec<(String, u64)> {
    let mut jobs = Vec::new();
    for (state, count) in metrics.by("faultline_jobs", "state") {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
        let count = count as u64;
        jobs.push((state, count));
    }
    jobs.sort_by_key(|(name, _)| State::ALL.iter().position(|state| state.name() == name));
    jobs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(seconds: u64, ledger: &str, metrics: &str) -> Sample {
        Sample {
            at: Duration::from_secs(seconds),
            ledger: serde_json::from_str(ledger).unwrap(),
            metrics: Metrics::parse(metrics),
            ..Sample::default()
        }
    }

    fn hub(received: u64) -> String {
        format!(
            r#"{{"sources":{{"errors":{{"received":{received},"stored":{received},"duplicate":0,"rejected":0,"in_flight":0}}}},"balanced":true}}"#
        )
    }

    #[test]
    fn rates_are_of_the_last_seconds() {
        let mut history = History::default();
        history.add(sample(0, &hub(1_000_000), ""));
        assert_eq!(history.model("u", Link::Up).flows[0].rates, None);
        for second in 1..=30 {
            history.add(sample(second, &hub(1_000_000 + second * 100), ""));
        }
        assert_eq!(history.0.len(), 11);
        let flow = &history.model("u", Link::Up).flows[0];
        assert_eq!(flow.rates, Some(Rates { received: 100.0, stored: 100.0 }));
        history.add(sample(31, &hub(5), ""));
        let rates = history.model("u", Link::Up).flows[0].rates.unwrap();
        assert!(rates.received.abs() < 1e-9, "it was started again");
    }

    #[test]
    fn journals_that_are_read_are_added_up_and_a_relay_has_a_ledger_too() {
        let line = |received: u64| format!(r#"{{"errors":{{"received":{received},"stored":1}}}}"#);
        let ledger = format!(
            r#"{{"sources":{},"origins":[{{"sources":{}}},{{"environment":"dev","sources":{}}}],"balanced":true}}"#,
            line(3),
            line(90),
            line(4)
        );
        let mut history = History::default();
        history.add(sample(0, &ledger, ""));
        let of_hub = history.model("u", Link::Up).flows.remove(0).line;
        assert_eq!((of_hub.received, of_hub.stored), (7, 2));
        let relay = r#"{"origin":"x","sources":{"errors":{"received":9,"handed_over":8,"committed":7,"in_flight":2}},"balanced":true}"#;
        history.add(sample(20, relay, ""));
        let of_relay = history.model("u", Link::Up).flows.remove(0).line;
        assert_eq!((of_relay.received, of_relay.stored, of_relay.in_flight), (9, 7, 2));
    }

    #[test]
    fn queues_jobs_and_commits_are_in_the_metrics() {
        let metrics = |commits: u64| {
            format!(
                "faultline_channel_depth{{channel=\"parser\"}} 3\nfaultline_channel_capacity{{channel=\"parser\"}} 4\n\
                 faultline_spool_bytes 512\nfaultline_spool_limit_bytes 1024\nfaultline_jobs{{state=\"dead\"}} 2\n\
                 faultline_dispatch_paused 1\nprocess_resident_memory_bytes 1048576\nfaultline_uptime_seconds 61.5\n\
                 faultline_store_operation_seconds_bucket{{operation=\"commit\",le=\"0.01\"}} {commits}\n\
                 faultline_store_operation_seconds_bucket{{operation=\"commit\",le=\"+Inf\"}} {commits}\n"
            )
        };
        let mut history = History::default();
        history.add(sample(0, &hub(0), &metrics(100)));
        history.add(sample(1, &hub(0), &metrics(120)));
        let model = history.model("u", Link::Up);
        assert_eq!(model.queues.len(), 2);
        assert_eq!((model.queues[0].depth, model.queues[0].capacity), (3.0, 4.0));
        assert!(model.queues[1].is_bytes);
        assert_eq!(model.jobs, [("dead".to_owned(), 2)]);
        assert!(model.is_paused && !model.is_breaker_open);
        assert_eq!(model.commits.map(|commits| commits.unwrap().count), [20, 120]);
        assert_eq!(model.uptime, Some(Duration::from_millis(61_500)));
    }

    #[test]
    fn what_is_asked_more_seldom_is_kept() {
        let mut history = History::default();
        let faults = Some(vec![Fault { count: 7, ..Fault::default() }]);
        history.add(Sample { faults, ..sample(0, &hub(0), "") });
        history.add(sample(1, &hub(0), ""));
        assert_eq!(history.model("u", Link::Up).faults.unwrap()[0].count, 7);
    }
}
