//! `GET /metrics` says what is true: to Prometheus by its rules, to dashboards with the names of the
//! first prototype. Health says who is ill.

#![expect(clippy::unwrap_used, reason = "a failing test is told by a panic")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use faultline_testkit::{
    eventually, mmdb,
    program::{Program, app_line, frames},
};
use reqwest::Response;
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_faultline");

fn started() -> Program {
    let mut program = Program::new(BINARY);
    program.start();
    program
}

/// One request, as Heroku's router reports it.
fn request(method: &str, path: &str, dyno: &str, status: u16, service_ms: u32) -> String {
    request_from("198.51.100.1", method, path, dyno, status, service_ms)
}

fn request_from(
    client: &str,
    method: &str,
    path: &str,
    dyno: &str,
    status: u16,
    service_ms: u32,
) -> String {
    format!(
        "<158>1 2026-11-22T03:00:08.000001+00:00 host heroku router - at=info method={method} \
         path=\"{path}\" host=shop.example.com request_id=8601b555-6a83-4c12-8269-97c8e32cdb22 \
         fwd=\"{client}, 10.1.1.1\" dyno={dyno} connect=1ms service={service_ms}ms status={status} \
         bytes=13 protocol=https\n"
    )
}

async fn send(program: &Program, lines: impl IntoIterator<Item = String>) {
    let request = program.post("/logdrains", "application/logplex-1").body(frames(lines));
    assert_eq!(request.send().await.unwrap().status(), 204);
    program.settled().await;
}

async fn get(program: &Program, accept: &str) -> Response {
    program.look("/metrics").header("accept", accept).send().await.unwrap()
}

/// The statistics, once `count` requests are in them.
async fn statistics(program: &Program, count: u64) -> Value {
    eventually("all requests are counted", async || {
        let snapshot = program.json("/metrics").await;
        if snapshot["total_requests"] == count { Ok(snapshot) } else { Err(snapshot) }
    })
    .await
}

/// A metric family, with the names and labels of its samples.
#[derive(Default)]
struct Family {
    kind: String,
    has_help: bool,
    samples: BTreeMap<String, f64>,
}

/// Reads an exposition, as strict as its format is: a family's HELP and TYPE come first, its samples
/// stand together, no sample comes twice.
fn parse(text: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    for line in text.lines().filter(|line| !line.is_empty() && *line != "# EOF") {
        if let Some(comment) = line.strip_prefix("# ") {
            let (keyword, rest) = comment.split_once(' ').unwrap();
            let (name, rest) = rest.split_once(' ').unwrap();
            if name != current {
                assert!(!families.contains_key(name), "{name} comes apart");
                name.clone_into(&mut current);
            }
            let family = families.entry(name.to_owned()).or_default();
            match keyword {
                "HELP" => family.has_help = !rest.is_empty(),
                "TYPE" => rest.clone_into(&mut family.kind),
                "UNIT" => {}
                other => panic!("{other} in {line}"),
            }
            continue;
        }
        let (sample, value) = line.rsplit_once(' ').unwrap();
        let name = sample.split('{').next().unwrap();
        let valid = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        assert!(name.bytes().all(valid), "{line}");
        let family = families.get_mut(&current).unwrap();
        let suffix =
            name.strip_prefix(current.as_str()).unwrap_or_else(|| panic!("{line} of {current}"));
        let suffixes: &[&str] = match family.kind.as_str() {
            "counter" => &["", "_total"],
            "gauge" => &[""],
            "histogram" => &["_bucket", "_sum", "_count"],
            other => panic!("{current} is a {other}"),
        };
        assert!(suffixes.contains(&suffix), "{line}");
        let value: f64 = value.parse().unwrap();
        assert_eq!(family.samples.insert(sample.to_owned(), value), None, "{sample} twice");
    }
    families
}

#[tokio::test]
async fn prometheus_reads_it() {
    let program = started();
    send(&program, [app_line("web.1", "ERROR x"), request("GET", "/", "web.1", 200, 5)]).await;
    program.report(r#"{"message":"boom"}"#).await;
    program.settled().await;
    let (status, _) = program.get("/health").await.unwrap();
    assert_eq!(status, 200);
    for accept in ["", "*/*", "text/plain", "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"] {
        let answer = get(&program, accept).await;
        assert_eq!(answer.status(), 200);
        let content_type = answer.headers()["content-type"].to_str().unwrap().to_owned();
        assert_eq!(content_type, "text/plain; version=0.0.4; charset=utf-8", "{accept}");
        let families = parse(&answer.text().await.unwrap());
        for (name, family) in &families {
            assert!(name.starts_with("faultline_") || name.starts_with("process_"), "{name}");
            assert!(family.has_help && !family.kind.is_empty(), "{name}");
            assert!(!family.samples.is_empty(), "{name}");
            let is_counter = family.kind == "counter";
            assert_eq!(is_counter, name.ends_with("_total"), "{name} is a {}", family.kind);
        }
        for name in [
            "faultline_http_request_seconds",
            "faultline_spool_commit_seconds",
            "faultline_parse_seconds",
            "faultline_store_operation_seconds",
            "faultline_runtime_lag_seconds",
        ] {
            assert_eq!(families[name].kind, "histogram");
        }
        let value = |name: &str, sample: &str| families[name].samples[sample];
        let is = |one: f64, other: f64| (one - other).abs() < 1e-9;
        let messages = |labels: &str| {
            value("faultline_messages_total", &format!("faultline_messages_total{{{labels}}}"))
        };
        assert!(is(messages(r#"source="logdrains",outcome="received""#), 2.0));
        assert!(is(messages(r#"source="errors",outcome="stored""#), 1.0));
        assert!(is(
            value("faultline_ledger_imbalance_messages", "faultline_ledger_imbalance_messages"),
            0.0
        ));
        assert!(is(
            value("faultline_upstream_dropped_total", "faultline_upstream_dropped_total"),
            0.0
        ));
        assert!(value("process_resident_memory_bytes", "process_resident_memory_bytes") > 1e6);
        let channels = &families["faultline_channel_capacity"].samples;
        assert!(channels.len() >= 5 && channels.values().all(|capacity| *capacity >= 1.0));
        assert_eq!(channels.len(), families["faultline_channel_depth"].samples.len());
        for listener in ["receiver", "admin"] {
            let sample = format!("faultline_http_connections_total{{listener=\"{listener}\"}}");
            assert!(value("faultline_http_connections_total", &sample) >= 1.0);
        }
    }
}

#[tokio::test]
async fn openmetrics_is_what_it_says() {
    let program = started();
    send(&program, [app_line("web.1", "x")]).await;
    let answer = get(&program, "application/openmetrics-text;version=1.0.0,text/plain;q=0.3").await;
    let content_type = answer.headers()["content-type"].to_str().unwrap().to_owned();
    assert_eq!(content_type, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let text = answer.text().await.unwrap();
    assert!(text.ends_with("\n# EOF\n") && !text.contains("\n\n"), "{text}");
    assert_eq!(text.matches("# EOF").count(), 1);
    let families = parse(&text);
    for (name, family) in &families {
        assert!(family.has_help, "{name}");
        if family.kind == "counter" {
            assert!(!name.ends_with("_total"), "{name}");
            let is_total = |sample: &String| sample.split('{').next().unwrap().ends_with("_total");
            assert!(family.samples.keys().all(is_total), "{name}");
        }
    }
    assert!(families.contains_key("faultline_messages"));
}

#[tokio::test]
async fn what_clients_send_makes_no_labels() {
    let program = started();
    send(&program, [request("GET", "/", "web.1", 200, 5), app_line("web.1", "ERROR x")]).await;
    program.report(r#"{"message":"boom"}"#).await;
    let series = async || {
        let families = parse(&get(&program, "").await.text().await.unwrap());
        families.values().flat_map(|family| family.samples.keys().cloned()).collect::<BTreeSet<_>>()
    };
    // A path of ours that was never asked for has no series yet, nor has a status.
    for path in ["/logdrains", "/errors/log", "/maxwell"] {
        for body in ["", "{", "{\"type\":\"insert\"}"] {
            program.post(path, "application/json").body(body).send().await.unwrap();
        }
    }
    program.settled().await;
    series().await;
    let before = series().await;
    let lines = (0..1000).map(|index| {
        let path = format!("/kunde-{index}/seite");
        request(&format!("METHOD{index}"), &path, &format!("dyno-{index}.1"), 200, index)
    });
    send(&program, lines).await;
    send(&program, (0..1000).map(|index| app_line(&format!("job-{index}.1"), "ERROR x"))).await;
    for index in 0..100 {
        let path = format!("/unknown-{index}?service=s{index}");
        program.post(&path, "application/json").send().await.unwrap();
        program
            .report(&format!(r#"{{"message":"m","environment":"e{index}","service":"s{index}"}}"#))
            .await;
    }
    statistics(&program, 1001).await;
    assert_eq!(series().await, before);
    assert!(before.len() < 400, "{}", before.len());
    // The rankings are bounded too.
    let snapshot = program.json("/metrics").await;
    assert_eq!(snapshot["top_endpoints"].as_array().unwrap().len(), 10);
    assert!(snapshot["dyno_performance"].as_object().unwrap().len() <= 501);
}

/// 60 fine ones, 20 created, 10 failed and slow, 10 not found and slowish.
fn known_traffic() -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend((10..70).map(|ms| request("GET", &format!("/users/{ms}"), "web.1", 200, ms)));
    lines.extend((0..20).map(|_| request("POST", "/orders", "web.2", 201, 100)));
    lines.extend((0..10).map(|_| {
        request("GET", "/pay", "web.3", 503, 30_000)
            .replace("at=info", "at=error code=H12 desc=\"x\"")
    }));
    lines.extend(
        (0..10).map(|index| request("PUT", &format!("/a/{index}?q=1"), "web.4", 404, 1_500)),
    );
    lines
}

fn near(value: &Value, expected: f64) -> bool {
    let value = value.as_f64().unwrap();
    (value - expected).abs() <= expected * 0.011
}

#[tokio::test]
async fn the_snapshot_has_the_prototypes_names_and_true_values() {
    let program = started();
    send(&program, known_traffic()).await;
    let snapshot = statistics(&program, 100).await;
    let names: BTreeSet<_> = snapshot.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = [
        "timestamp",
        "total_requests",
        "requests_per_second",
        "success_rate",
        "error_rate",
        "avg_response_time",
        "p50_response_time",
        "p95_response_time",
        "p99_response_time",
        "slow_request_count",
        "status_2xx",
        "status_3xx",
        "status_4xx",
        "status_5xx",
        "get_requests",
        "post_requests",
        "put_requests",
        "delete_requests",
        "other_requests",
        "dyno_performance",
        "app_performance",
        "top_endpoints",
        "channel_health",
        "active_alerts",
        // Beyond the prototype: what the rates are over.
        "window_seconds",
        "window_requests",
    ];
    assert_eq!(names, BTreeSet::from(expected));
    for (name, value) in [
        ("slow_request_count", 20),
        ("status_2xx", 80),
        ("status_3xx", 0),
        ("status_4xx", 10),
        ("status_5xx", 10),
        ("get_requests", 70),
        ("post_requests", 20),
        ("put_requests", 10),
        ("delete_requests", 0),
        ("other_requests", 0),
        ("window_seconds", 300),
        ("window_requests", 100),
        ("avg_response_time", 3_193_700_000_u64),
    ] {
        assert_eq!(snapshot[name], value, "{name}");
    }
    assert!(near(&snapshot["error_rate"], 10.0) && near(&snapshot["success_rate"], 90.0));
    for (name, milliseconds) in [
        ("p50_response_time", 59.0),
        ("p95_response_time", 30_000.0),
        ("p99_response_time", 30_000.0),
    ] {
        assert!(near(&snapshot[name], milliseconds * 1e6), "{name}: {}", snapshot[name]);
    }
    let rate = snapshot["requests_per_second"].as_f64().unwrap();
    assert!(rate > 0.3 && rate <= 100.0, "{rate}");
    snapshot["timestamp"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();

    let dyno = |name: &str, count: u64, average: u64, errors: f64, status: &str| {
        json!({ "name": name, "request_count": count, "avg_response_time": average,
            "error_rate": errors, "status": status })
    };
    let expected = json!({
        "web.1": dyno("web.1", 60, 39_500_000, 0.0, "healthy"),
        "web.2": dyno("web.2", 20, 100_000_000, 0.0, "healthy"),
        "web.3": dyno("web.3", 10, 30_000_000_000, 100.0, "critical"),
        "web.4": dyno("web.4", 10, 1_500_000_000, 0.0, "warning"),
    });
    assert_eq!(snapshot["dyno_performance"], expected);
    let endpoints: BTreeMap<_, _> = snapshot["top_endpoints"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| (entry["endpoint"].as_str().unwrap(), entry["count"].as_u64().unwrap()))
        .collect();
    let expected =
        [("GET /users/<id>", 60), ("POST /orders", 20), ("GET /pay", 10), ("PUT /a/<id>", 10)];
    assert_eq!(endpoints, BTreeMap::from(expected));
    assert_eq!(snapshot["top_endpoints"][0]["endpoint"], "GET /users/<id>");
    let health: BTreeSet<_> =
        snapshot["channel_health"].as_object().unwrap().keys().map(String::as_str).collect();
    let expected =
        ["raw_log_chan_usage", "parsed_log_chan_usage", "processing_rate", "backlog_size"];
    assert_eq!(health, BTreeSet::from(expected));
    assert_eq!(snapshot["channel_health"]["backlog_size"], 0);
}

/// Severity by type and, for dynos, name.
fn alerts(snapshot: &Value) -> BTreeSet<(String, String)> {
    let alerts = snapshot["active_alerts"].as_array().unwrap();
    let text = |alert: &Value, name: &str| alert[name].as_str().unwrap().to_owned();
    for alert in alerts {
        let names: Vec<_> = alert.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(
            BTreeSet::from_iter(names),
            BTreeSet::from(["message", "resolved", "severity", "timestamp", "type"])
        );
        text(alert, "timestamp").parse::<jiff::Timestamp>().unwrap();
        assert!(!text(alert, "message").is_empty());
    }
    let unresolved = alerts.iter().filter(|alert| alert["resolved"] == false);
    unresolved.map(|alert| (text(alert, "type"), text(alert, "severity"))).collect()
}

fn set(alerts: &[(&str, &str)]) -> BTreeSet<(String, String)> {
    alerts.iter().map(|(kind, severity)| ((*kind).to_owned(), (*severity).to_owned())).collect()
}

#[tokio::test]
async fn alerts_are_raised_at_their_thresholds() {
    let many = |count: usize, dyno: &str, status: u16, ms: u32| -> Vec<String> {
        (0..count).map(|_| request("GET", "/", dyno, status, ms)).collect()
    };
    for (lines, expected) in [
        // The threshold itself is still well.
        ([many(95, "web.1", 200, 10), many(5, "web.1", 500, 10)].concat(), set(&[])),
        (
            [many(94, "web.1", 200, 10), many(6, "web.1", 500, 10)].concat(),
            set(&[("high_error_rate", "warning"), ("dyno_performance", "warning")]),
        ),
        (
            [many(89, "web.1", 200, 10), many(11, "web.1", 500, 10)].concat(),
            set(&[("high_error_rate", "critical"), ("dyno_performance", "critical")]),
        ),
        // A router's 4xx is its client's fault.
        (many(100, "web.1", 404, 10), set(&[])),
        (
            [many(90, "web.1", 200, 10), many(10, "web.2", 200, 2_500)].concat(),
            set(&[("slow_response", "warning"), ("dyno_performance", "critical")]),
        ),
        (
            [many(90, "web.1", 200, 10), many(10, "web.2", 200, 5_500)].concat(),
            set(&[("slow_response", "critical"), ("dyno_performance", "critical")]),
        ),
        (
            [many(90, "web.1", 200, 10), many(4, "web.2", 200, 1_500)].concat(),
            set(&[("dyno_performance", "warning")]),
        ),
    ] {
        let program = started();
        let count = lines.len() as u64;
        send(&program, lines).await;
        assert_eq!(alerts(&statistics(&program, count).await), expected);
    }
}

#[tokio::test]
async fn what_is_over_is_resolved_and_forgotten() {
    let mut program = Program::new(BINARY).set("metrics_aggregator.window", "2s");
    program.start();
    send(&program, (0..10).map(|_| request("GET", "/", "web.1", 500, 10))).await;
    assert!(!alerts(&statistics(&program, 10).await).is_empty());
    let resolved = eventually("the alerts are resolved", async || {
        let snapshot = program.json("/metrics").await;
        if alerts(&snapshot).is_empty() { Ok(snapshot) } else { Err(snapshot) }
    })
    .await;
    assert!(!resolved["active_alerts"].as_array().unwrap().is_empty(), "shown as resolved");
    assert_eq!((&resolved["total_requests"], &resolved["status_5xx"]), (&10.into(), &10.into()));
    assert_eq!((&resolved["window_requests"], &resolved["top_endpoints"]), (&0.into(), &json!([])));
    assert_eq!(
        (&resolved["success_rate"], &resolved["p95_response_time"]),
        (&100.0.into(), &0.into())
    );
    eventually("they are forgotten", async || {
        let snapshot = program.json("/metrics").await;
        if snapshot["active_alerts"] == json!([]) { Ok(()) } else { Err(snapshot) }
    })
    .await;
}

#[tokio::test]
async fn countries_come_from_a_database_of_the_users() {
    let program = Program::new(BINARY);
    let path = program.directory().join("countries.mmdb");
    let networks =
        [([10, 0, 0, 0], 8, "DE"), ([203, 0, 113, 0], 24, "JP"), ([203, 0, 113, 128], 25, "BR")];
    fs::write(&path, mmdb::countries(&networks)).unwrap();
    let mut program = program.set("metrics_aggregator.countries", &path.display().to_string());
    program.start();
    let clients = [
        ("10.1.2.3", 3),
        ("203.0.113.7", 2),
        ("203.0.113.200", 1),
        ("192.0.2.1", 4),
        ("2001:db8::1", 1),
        ("nonsense", 1),
    ];
    let lines = clients.into_iter().flat_map(|(client, count)| {
        (0..count).map(move |_| request_from(client, "GET", "/", "web.1", 200, 5))
    });
    send(&program, lines).await;
    let snapshot = statistics(&program, 12).await;
    let expected = json!([
        { "country": "DE", "count": 3 },
        { "country": "JP", "count": 2 },
        { "country": "BR", "count": 1 },
    ]);
    assert_eq!(snapshot["top_countries"], expected);
}

#[tokio::test]
async fn metrics_are_rate_limited() {
    let mut program = Program::new(BINARY).set("admin.metrics_rate", "2");
    program.start();
    let mut statuses = Vec::new();
    for _ in 0..20 {
        let answer = get(&program, "").await;
        let status = answer.status().as_u16();
        if status == 429 {
            assert_eq!(answer.headers()["retry-after"], "1");
            assert_eq!(answer.headers()["content-type"], "application/problem+json");
        }
        statuses.push(status);
    }
    assert_eq!(statuses[..2], [200, 200]);
    assert!(statuses.contains(&429), "{statuses:?}");
    assert_eq!(program.get("/health").await.unwrap().0, 200);
    eventually("there is room again", async || match get(&program, "").await.status().as_u16() {
        200 => Ok(()),
        other => Err(other),
    })
    .await;
}

#[tokio::test]
async fn snapshots_are_stored() {
    let mut program = Program::new(BINARY).set("metrics_aggregator.snapshot_every", "1s");
    program.start();
    send(&program, known_traffic()).await;
    let stored = eventually("a snapshot with the traffic is stored", async || {
        let sql = "SELECT snapshot FROM metric_snapshots ORDER BY taken_at DESC LIMIT 1";
        let snapshots = program.database.texts(sql).await;
        let last = snapshots.last().map(|text| serde_json::from_str::<Value>(text).unwrap());
        last.filter(|snapshot| snapshot["total_requests"] == 100).ok_or(snapshots)
    })
    .await;
    assert_eq!(stored["status_5xx"], 10);
    assert_eq!(stored["dyno_performance"]["web.3"]["status"], "critical");
    let now = jiff::Timestamp::now().as_microsecond();
    let at = program.database.number("SELECT max(taken_at) FROM metric_snapshots").await;
    assert!(now - at < 60_000_000 && at <= now, "{at}");
}

#[tokio::test]
async fn health_names_every_component() {
    let program = started();
    send(&program, [app_line("web.1", "x")]).await;
    assert_eq!(program.get("/livez").await.unwrap(), (200, "alive\n".to_owned()));
    assert_eq!(program.get("/readyz").await.unwrap(), (200, "ready\n".to_owned()));
    for path in ["/health", "/api/health"] {
        let (status, text) = program.get(path).await.unwrap();
        assert_eq!(status, 200);
        let health: Value = serde_json::from_str(&text).unwrap();
        let names: BTreeSet<_> = health.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(names, BTreeSet::from(["components", "duration", "overall", "timestamp"]));
        assert_eq!(health["overall"], "healthy");
        assert!(health["duration"].is_f64());
        health["timestamp"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        let components = health["components"].as_object().unwrap();
        let names: BTreeSet<_> = components.keys().map(String::as_str).collect();
        let expected = ["application", "clock", "database", "jira", "queues", "spool", "stages"];
        assert_eq!(names, BTreeSet::from(expected));
        for (name, component) in components {
            assert_eq!(component["status"], "healthy", "{name}");
            assert!(component["responseTime"].is_f64(), "{name}");
            assert!(component["details"].is_object() && component["error"].is_null(), "{name}");
        }
        assert_eq!(components["queues"]["details"]["pendingMessages"], 0);
    }
}

#[tokio::test]
async fn health_without_the_store_is_no_reason_to_refuse() {
    let mut program =
        Program::new(BINARY).set("store.url", "postgres://postgres@127.0.0.1:1/postgres");
    program.start();
    let post = program.post("/errors/log", "application/json").body(r#"{"message":"kept"}"#);
    assert_eq!(post.send().await.unwrap().status(), 200);
    let health = eventually("the store is missed", async || {
        let (status, text) = program.get("/health").await.unwrap();
        let health: Value = serde_json::from_str(&text).unwrap();
        if status == 503 { Ok(health) } else { Err(health) }
    })
    .await;
    assert_eq!(health["overall"], "unhealthy");
    let database = &health["components"]["database"];
    assert_eq!(database["status"], "unhealthy");
    assert!(database["error"].as_str().unwrap().contains("refused"), "{database}");
    assert_eq!(health["components"]["spool"]["status"], "healthy");
    assert_eq!(program.get("/livez").await.unwrap().0, 200);
    assert_eq!(program.get("/readyz").await.unwrap().0, 200);
    assert_eq!(program.get("/api/ledger").await.unwrap().0, 503, "it is not known yet");
    assert_eq!(program.get("/metrics").await.unwrap().0, 200);
}
