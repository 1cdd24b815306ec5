//! What is shipped for Prometheus and Grafana works: a real Prometheus with our configuration
//! scrapes a hub and a relay at work, and has an answer for each query of each panel; every metric
//! that a rule asks for is there, and promtool is content with the rules and their tests.
//!
//! `scripts/check-prometheus` runs this and shows the table.

#![expect(
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a failing test is told by a panic and what is printed"
)]

use std::{
    collections::BTreeSet,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

use faultline_testkit::{
    handoff,
    jira::{Endpoint, Fault, Jira, Settings},
    program::{Program, app_line, frames},
    prometheus::{Prometheus, TOKEN_FILE},
    redis::Redis,
    tls::Authority,
    within,
};
use serde_json::Value;

#[path = "support/login.rs"]
mod login;
#[path = "support/s3.rs"]
mod s3;

use login::BINARY;
use s3::{KEY_ID, S3, SECRET};

const TOKEN: &str = "a-token-for-metrics-only";
/// What senders to the small hub must have.
const SENDERS: &str = "a-token-for-senders";

fn kit(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(kit(path)).unwrap()
}

/// Runs a command, which must succeed.
fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&said));
}

/// The files of a directory with this extension.
fn files(directory: &str, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(kit(directory)).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|own| own == extension)).collect();
    assert!(!files.is_empty(), "{directory}");
    files
}

#[test]
fn promtool_is_content() {
    let directory = tempfile::tempdir().unwrap();
    run(Command::new("cp").arg("-r").arg(kit("prometheus/.")).arg(directory.path()));
    fs::write(directory.path().join(TOKEN_FILE), TOKEN).unwrap();
    let promtool = || {
        let mut command = Command::new("promtool");
        command.current_dir(directory.path());
        command
    };
    run(promtool().args(["check", "config", "prometheus.yml"]));
    run(promtool().args(["test", "rules"]).args(files("prometheus/tests", "yml")));
}

#[test]
fn each_alert_has_a_test_that_it_fires_and_one_that_it_is_silent() {
    let rules = read("prometheus/rules/alerts.yml");
    let alerts: BTreeSet<&str> = values(&rules, "- alert: ").collect();
    let tests: String = files("prometheus/tests", "yml")
        .iter()
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let (mut firing, mut silent) = (BTreeSet::new(), BTreeSet::new());
    // Before the first one stands what is tested.
    for test in tests.split("alertname: ").skip(1) {
        let (alert, expected) = test.split_once('\n').unwrap();
        if expected.trim_start().starts_with("exp_alerts: []") {
            silent.insert(alert);
        } else {
            assert!(expected.contains("exp_annotations:"), "{alert}");
            firing.insert(alert);
        }
    }
    assert!(alerts.len() > 40, "{alerts:?}");
    assert_eq!(firing, alerts);
    assert_eq!(silent, alerts);
}

/// What stands behind `key` in the lines of YAML.
fn values<'a>(text: &'a str, key: &'a str) -> impl Iterator<Item = &'a str> {
    text.lines().filter_map(move |line| line.trim_start().strip_prefix(key))
}

fn dashboards() -> Vec<(String, Value)> {
    let mut dashboards: Vec<_> = files("grafana/dashboards", "json")
        .into_iter()
        .map(|path| {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            (name, serde_json::from_slice(&fs::read(path).unwrap()).unwrap())
        })
        .collect();
    dashboards.sort_by(|a: &(String, Value), b| a.0.cmp(&b.0));
    dashboards
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[test]
fn dashboards_are_what_their_script_writes_and_grafana_takes() {
    run(Command::new("node").arg(kit("grafana/generate.mjs")).arg("--check"));
    let provisioned = read("grafana/provisioning/datasources/faultline.yml");
    let mut uids = BTreeSet::new();
    for (name, dashboard) in dashboards() {
        assert!(dashboard["schemaVersion"].as_u64() >= Some(36), "{name}");
        assert!(uids.insert(dashboard["uid"].to_string()), "{name}");
        let source = dashboard["templating"]["list"][0]["current"]["value"].as_str().unwrap();
        assert!(provisioned.contains(&format!("uid: {source} ")), "{name}: {source}");
        let mut ids = BTreeSet::new();
        let mut cells = BTreeSet::new();
        for panel in list(&dashboard["panels"]) {
            let title = panel["title"].as_str().unwrap();
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{name}: {title}");
            let side = |key: &str| panel["gridPos"][key].as_u64().unwrap();
            assert!(side("x") + side("w") <= 24, "{name}: {title}");
            for x in side("x")..side("x") + side("w") {
                for y in side("y")..side("y") + side("h") {
                    assert!(cells.insert((x, y)), "{name}: {title} lies upon another panel");
                }
            }
            if panel["type"] != "row" {
                assert!(!panel["description"].as_str().unwrap().is_empty(), "{name}: {title}");
                assert_eq!(panel["datasource"]["uid"], "${datasource}", "{name}: {title}");
                assert!(!list(&panel["targets"]).is_empty(), "{name}: {title}");
            }
        }
    }
    assert_eq!(uids.len(), 6);
}

/// Everything that there is to be scraped.
struct Plant {
    hub: Program,
    relay: Program,
    /// It has a store that is away, a spool that is soon full, and TLS.
    small: Program,
    s3: S3,
    client: reqwest::Client,
    _redis: Redis,
    _jira: Jira,
    _authority: Authority,
}

impl Plant {
    async fn start() -> Self {
        let (redis, s3) = (Redis::start(), S3::start().await);
        s3.make_bucket("reports");
        let jira = Jira::start(Settings::cloud()).await;
        jira.fail_next(Endpoint::Any, 2, &Fault::Status5xxBefore(503));
        let mut hub = [
            ("handoff.url", redis.url().as_str()),
            ("handoff.consume", "staging"),
            ("jira.storm_budget", "2"),
            ("jira.retry_first", "50ms"),
            ("bucket_watcher.endpoint", &s3.endpoint()),
            ("bucket_watcher.region", "eu-central-1"),
            ("bucket_watcher.access_key_id", KEY_ID),
            ("bucket_watcher.access_key_secret", SECRET),
            ("bucket_watcher.interval", "1s"),
            ("bucket_watcher.interval_cap", "1s"),
            ("admin.auth", "users"),
            ("admin.metrics_token", TOKEN),
            // Nobody listens there.
            ("notifier.slack", "[{ name = \"team\", url = \"http://127.0.0.1:1/hook\" }]"),
        ]
        .into_iter()
        .fold(Program::new(BINARY).with_jira(&jira), |program, (key, value)| {
            program.set(key, value)
        });
        let mut relay =
            handoff::relay(BINARY, &redis.url(), "staging").set("admin.metrics_token", TOKEN);
        let authority = Authority::new("an authority");
        let issued = authority.issue("127.0.0.1");
        let mut small = [
            ("store.url", "postgres://postgres@127.0.0.1:1/postgres"),
            ("batch_writer.retry_cap", "500ms"),
            ("spool.segment_bytes", "128 KiB"),
            ("spool.max_bytes", "512 KiB"),
            ("spool.commit_bytes", "64 KiB"),
            ("receiver.body_limit", "64 KiB"),
            ("receiver.token", SENDERS),
            ("admin.metrics_token", TOKEN),
        ]
        .into_iter()
        .fold(Program::new(BINARY), |program, (key, value)| program.set(key, value));
        for (key, path) in [("certificate_file", issued.certificate), ("key_file", issued.key)] {
            // TLS at the receiver only, so that metrics are plain as those of the others.
            small = small.set(&format!("receiver.tls.{key}"), &path.display().to_string());
        }
        for program in [&mut hub, &mut relay, &mut small] {
            program.start();
        }
        let client =
            reqwest::Client::builder().tls_danger_accept_invalid_certs(true).build().unwrap();
        Self { hub, relay, small, s3, client, _redis: redis, _jira: jira, _authority: authority }
    }

    fn targets(&self) -> [(&'static str, &'static str, SocketAddr); 3] {
        [
            ("hubs.yml", "production", self.hub.admin()),
            ("hubs.yml", "test", self.small.admin()),
            ("relays.yml", "staging", self.relay.admin()),
        ]
    }

    /// Something of everything that happens, good and bad.
    async fn work(&self, round: usize) {
        for (program, service) in [(&self.hub, "shop"), (&self.relay, "bakery")] {
            for text in ["the oven is cold", "the flour is damp", "the yeast is dead"] {
                program.report(&format!(r#"{{"message":"{text}","service":"{service}"}}"#)).await;
            }
            let lost = "<172>1 2026-11-22T03:00:07+00:00 host heroku logplex - Error L10 (output buffer \
                overflow): 3 messages dropped since 2026-11-22T03:00:00+00:00.";
            let lines = [app_line("web.1", "all is well"), lost.to_owned()];
            let drain = program.drain(&format!("f{round}"), frames(lines));
            assert_eq!(login::status(drain).await, 204);
            let row = r#"{"database":"shop","table":"orders","type":"insert","ts":1795316400,"data":{"id":17}}"#;
            let maxwell = program.post("/maxwell", "application/x-ndjson");
            assert_eq!(login::status(maxwell.body(format!("{row}\n{{\"cut"))).await, 204);
        }
        self.s3.put("reports", &format!("{round}.csv"), "1,2,3");
        self.s3.touch("reports", "0.csv", SystemTime::now());
        assert_eq!(login::status(self.hub.look("/api/events")).await, 401);
        login::login(&self.hub, "nobody", "a wrong password").send().await.unwrap();
        self.work_at_small().await;
    }

    async fn work_at_small(&self) {
        let report = || {
            let url = format!("https://{}/errors/log", self.small.receiver());
            let message = format!(r#"{{"message":"{}"}}"#, "x".repeat(60_000));
            self.client.post(url).header("content-type", "application/json").body(message)
        };
        assert_eq!(login::status(report()).await, 401);
        // What is too much is refused.
        while login::status(report().bearer_auth(SENDERS)).await != 503 {}
    }
}

/// The expressions of all panels and of the variables, with everything chosen.
fn queries() -> Vec<(String, String)> {
    let mut queries = Vec::new();
    for (name, dashboard) in dashboards() {
        for panel in list(&dashboard["panels"]) {
            for target in list(&panel["targets"]) {
                let expression = target["expr"].as_str().unwrap();
                let chosen =
                    [("$environment", ".+"), ("$instance", ".+"), ("$__rate_interval", "30s")]
                        .iter()
                        .fold(expression.to_owned(), |text, (variable, value)| {
                            text.replace(variable, value)
                        });
                assert!(!chosen.contains('$'), "{chosen}");
                queries.push((format!("{name}: {}", panel["title"].as_str().unwrap()), chosen));
            }
        }
        for variable in list(&dashboard["templating"]["list"]) {
            if let Some(query) = variable["query"]["query"].as_str() {
                let series =
                    query.strip_prefix("label_values(").unwrap().rsplit_once(", ").unwrap().0;
                let title = format!("{name}: ${}", variable["name"].as_str().unwrap());
                queries.push((title, series.replace("$environment", ".+")));
            }
        }
    }
    queries
}

/// What rules ask for: a recording rule gives something; an alert's comparison need not hold, but
/// whatever it looks at must be there.
async fn rules(prometheus: &Prometheus) -> Vec<(String, String)> {
    let data = prometheus.ask("rules", &[]).await.unwrap();
    let mut queries = Vec::new();
    for rule in list(&data["groups"]).iter().flat_map(|group| list(&group["rules"])) {
        let name = rule["name"].as_str().unwrap();
        assert!(rule["lastError"].is_null(), "{rule}");
        let expression = rule["query"].as_str().unwrap();
        if rule["type"] == "recording" {
            queries.push((format!("rule: {name}"), name.to_owned()));
        } else {
            let found = selectors(expression);
            assert!(!found.is_empty(), "{expression}");
            queries.extend(found.into_iter().map(|found| (format!("alert: {name}"), found)));
        }
    }
    assert!(queries.len() > 60);
    queries
}

/// The series that an expression names: `name` or `name{…}`.
fn selectors(expression: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut found = BTreeSet::new();
    let mut rest = expression;
    while let Some(start) = rest.find(is_name) {
        let name_end = rest[start..].find(|c| !is_name(c)).map_or(rest.len(), |end| start + end);
        let name = &rest[start..name_end];
        let labels = rest[name_end..].strip_prefix('{').and_then(|labels| labels.split_once('}'));
        let end = labels.map_or(name_end, |(labels, _)| name_end + labels.len() + 2);
        let is_metric = ["faultline_", "faultline:", "process_", "ALERTS"];
        if name == "up" || is_metric.iter().any(|prefix| name.starts_with(prefix)) {
            found.insert(rest[start..end].to_owned());
        }
        rest = &rest[end..];
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn each_panel_and_each_rule_has_data() {
    let plant = Plant::start().await;
    let prometheus = Prometheus::start(&kit("prometheus"), TOKEN, &plant.targets()).await;
    let mut round = 0;
    within(Duration::from_secs(90), "everything has data", async || {
        plant.work(round).await;
        round += 1;
        let queries = [queries(), rules(&prometheus).await].concat();
        let mut missing = Vec::new();
        let mut table = String::new();
        for (what, expression) in &queries {
            let series = prometheus.series(expression).await.unwrap();
            table.push_str(&format!("{series:>4} series  {what:<45} {expression}\n"));
            if series == 0 {
                missing.push(format!("{what}: {expression}"));
            }
        }
        if missing.is_empty() {
            eprintln!("{table}after {round} rounds");
            return Ok(());
        }
        Err(missing)
    })
    .await;
    let targets = prometheus.ask("targets", &[]).await.unwrap();
    let targets = list(&targets["activeTargets"]);
    assert_eq!(targets.len(), 3);
    for target in targets {
        assert_eq!(target["health"], "up", "{target}");
    }
    assert_eq!(prometheus.log(), "");
}
