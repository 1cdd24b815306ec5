//! Real input, and input made to hurt, goes in with the expected result.
//!
//! It is no part of the project: `FAULTLINE_DATA` says where it lies, `../shared/data` by default.
//! Where it is not there, these tests say so and pass.

#![expect(
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a failing test is told by a panic and what is printed"
)]

use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use faultline_testkit::{
    program::{Line, Program, app_line, frames},
    wire::{exchange, status_of},
};
use flate2::read::GzDecoder;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_faultline");
const MEMORY_MIB: u64 = 200;

fn data(part: &str) -> Option<PathBuf> {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let root = std::env::var_os("FAULTLINE_DATA").map_or_else(default, PathBuf::from);
    let path = root.join(part);
    if !path.exists() {
        eprintln!("skipped: there is no {}", path.display());
        return None;
    }
    Some(path)
}

fn json_lines<T: DeserializeOwned>(path: &Path) -> Vec<T> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A file, or what its `.gz` holds.
fn read(path: &Path) -> Vec<u8> {
    if let Ok(bytes) = fs::read(path) {
        return bytes;
    }
    let mut name = path.as_os_str().to_owned();
    name.push(".gz");
    gunzip(Path::new(&name))
}

fn gunzip(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    GzDecoder::new(fs::File::open(path).unwrap()).read_to_end(&mut bytes).unwrap();
    bytes
}

fn headers(folder: &Path, file: &str) -> String {
    fs::read_to_string(folder.join(format!("{file}.headers"))).unwrap()
}

/// Posts a recorded body with its headers, except those that belong to the connection.
async fn post(
    program: &Program,
    path: &str,
    folder: &Path,
    file: &str,
    more: &[(&str, &str)],
) -> u16 {
    let url = format!("http://{}{path}", program.receiver());
    let mut request = reqwest::Client::new().post(url);
    for line in headers(folder, file).lines().filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(": ").unwrap();
        let of_connection = ["host", "transfer-encoding", "connection", "content-length"];
        let name = name.to_lowercase();
        let is_replaced = more.iter().any(|(given, _)| *given == name);
        if !of_connection.contains(&name.as_str()) && !is_replaced {
            request = request.header(name, value);
        }
    }
    for (name, value) in more {
        request = request.header(*name, *value);
    }
    let body = read(&folder.join(format!("{file}.body")));
    request.body(body).send().await.unwrap().status().as_u16()
}

#[derive(Deserialize)]
struct Body {
    file: String,
    bytes: u64,
    octet_framing_ok: bool,
    #[serde(default)]
    parsed: Option<Vec<Parsed>>,
}

impl Body {
    /// Paths in some captured texts were replaced, which broke their octet counts.
    fn was_edited(&self, folder: &Path) -> bool {
        fs::metadata(folder.join(format!("{}.body", self.file))).unwrap().len() != self.bytes
    }
}

/// One frame, as another parser read it.
#[derive(Deserialize)]
struct Parsed {
    pri: i64,
    ts: String,
    host: String,
    app: String,
    proc: String,
    msgid: String,
    rest: String,
}

#[tokio::test]
async fn bodies_of_log_drains() {
    let Some(folder) = data("logplex") else { return };
    let mut program = Program::new(BINARY).set("parser.join_wait", "0s");
    program.start();
    let mut whole = 0;
    for body in json_lines::<Body>(&folder.join("index.jsonl")) {
        let before = program.settled().await.line("logdrains");
        let path = format!("/logdrains?service={}", body.file);
        // Some origins' own tests send no content type.
        let status = post(&program, &path, &folder, &body.file, &[]).await;
        if headers(&folder, &body.file).contains("application/logplex-1") {
            assert_eq!(status, 204, "{}", body.file);
        } else {
            assert_eq!(status, 415, "{}", body.file);
            let content_type = [("content-type", "application/logplex-1")];
            assert_eq!(post(&program, &path, &folder, &body.file, &content_type).await, 204);
        }
        let after = program.settled().await.line("logdrains");
        let received = after.received - before.received;
        let rejected = after.rejected - before.rejected;
        if !body.octet_framing_ok || body.was_edited(&folder) {
            assert!(received >= 1, "{}", body.file);
            continue;
        }
        let parsed = body.parsed.unwrap();
        assert_eq!((received, rejected), (parsed.len() as u64, 0), "{}", body.file);
        assert_parsed(&program, &folder, &body.file, &parsed).await;
        whole += 1;
    }
    assert!(whole >= 38, "{whole}");
    assert!(program.peak_mib() < MEMORY_MIB);
}

/// The stored events hold what the index says, process by process: joined lines keep their order.
async fn assert_parsed(program: &Program, folder: &Path, file: &str, parsed: &[Parsed]) {
    let rows = program
        .database
        .texts(&format!(
            "SELECT json_object('process', process, 'priority', priority, 'message', message, \
             'occurred_at', occurred_at, 'received_at', received_at, 'kind', kind, 'attributes', \
             json(attributes)) FROM events WHERE service = '{file}' ORDER BY ordinal"
        ))
        .await;
    let mut stored: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for row in rows {
        let event: Value = serde_json::from_str(&row).unwrap();
        let process = event["process"].as_str().unwrap_or("-").to_owned();
        stored.entry(process).or_default().push(event);
    }
    let strips_nil = !headers(folder, file).contains("User-Agent: Logplex/")
        && parsed.iter().all(|frame| frame.rest.starts_with("- "));
    let mut expected: BTreeMap<&str, Vec<&Parsed>> = BTreeMap::new();
    for frame in parsed {
        expected.entry(&frame.proc).or_default().push(frame);
    }
    assert!(stored.keys().eq(expected.keys()), "{file}: {:?}", stored.keys());
    for (process, frames) in expected {
        let text = |frame: &&Parsed| {
            let text = frame.rest.trim_end_matches(['\r', '\n']);
            let text = if strips_nil { text.strip_prefix("- ").unwrap_or("") } else { text };
            text.replace('\0', "\u{fffd}")
        };
        let expected: Vec<_> = frames.iter().map(text).collect();
        let events = &stored[process];
        let messages: Vec<_> =
            events.iter().map(|event| event["message"].as_str().unwrap()).collect();
        assert_eq!(messages.join("\n"), expected.join("\n"), "{file} {process}");
        let (first, event) = (frames[0], &events[0]);
        assert_eq!(event["priority"], first.pri, "{file}");
        let time = first.ts.replace("Z+00:00", "Z").parse::<jiff::Timestamp>();
        let received_at = event["received_at"].as_i64().unwrap();
        let time = time.map_or(received_at, jiff::Timestamp::as_microsecond);
        assert_eq!(event["occurred_at"], time, "{file}: {}", first.ts);
        if event["kind"] == "log" && first.host != "host" {
            assert_eq!(event["attributes"]["host"], first.host.as_str(), "{file}");
            assert_eq!(event["attributes"]["app"], first.app.as_str(), "{file}");
            assert_eq!(first.msgid, "-");
        }
    }
}

/// What a real log-shuttle sent, byte by byte, to our path.
#[tokio::test]
async fn whole_requests_of_log_shuttle() {
    let Some(folder) = data("logplex") else { return };
    let mut program = Program::new(BINARY);
    program.start();
    let mut sent = 0;
    for body in json_lines::<Body>(&folder.join("index.jsonl")) {
        let path = folder.join(format!("{}.http", body.file));
        if !path.exists() || body.was_edited(&folder) {
            continue;
        }
        let request = to_our_path(&fs::read(path).unwrap());
        let mut stream = tokio::net::TcpStream::connect(program.receiver()).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, &request).await.unwrap();
        let mut start = [0; 12];
        tokio::io::AsyncReadExt::read_exact(&mut stream, &mut start).await.unwrap();
        assert_eq!(&start, b"HTTP/1.1 204");
        sent += 1;
    }
    assert!(sent >= 3, "{sent}");
    let line = program.settled().await.line("logdrains");
    assert_eq!(line.rejected, 0);
    assert!(line.stored > 250, "{line:?}");
}

fn to_our_path(request: &[u8]) -> Vec<u8> {
    match request.iter().position(|byte| *byte == b'\n') {
        Some(end) if request.windows(6).take(end).any(|piece| piece == b" /logs") => {
            let line = String::from_utf8_lossy(&request[..end]).replace(" /logs ", " /logdrains ");
            [line.as_bytes(), &request[end..]].concat()
        }
        _ => request.to_vec(),
    }
}

#[derive(Deserialize)]
struct Hostile {
    file: String,
    kind: String,
    good: Option<u64>,
    desc: String,
}

/// What the index leaves to policy, or what is no good for HTTP at all.
fn expected_status(file: &str) -> &'static [u16] {
    match &file[..3] {
        "032" | "051" | "074" => &[413],
        "044" | "050" | "083" => &[415],
        "048" | "049" | "078" | "081" | "082" => &[400],
        "087" | "092" => &[408, 100],
        "093" | "094" => &[431],
        "095" => &[400, 0],
        "096" => &[405],
        _ => &[200, 204],
    }
}

#[tokio::test]
async fn hostile_requests() {
    let Some(folder) = data("hostile") else { return };
    let mut program = Program::new(BINARY)
        .set("parser.join_wait", "0s")
        .set("receiver.body_timeout", "1s")
        .set("receiver.header_timeout", "1s");
    program.start();
    for case in json_lines::<Hostile>(&folder.join("index.jsonl")) {
        let file = &case.file;
        let (path, source) = match case.kind.as_str() {
            "maxwell" => ("/maxwell", "maxwell"),
            "report" => ("/errors/log", "errors"),
            _ => ("/logdrains", "logdrains"),
        };
        let before = program.settled().await.line(source);
        let status = if case.kind == "http" {
            let request = to_our_path(&read(&folder.join(format!("{file}.http"))));
            let answer = exchange(program.receiver(), &request).await;
            if answer.is_empty() { 0 } else { status_of(&answer) }
        } else {
            post(&program, path, &folder, file, &[]).await
        };
        assert!(expected_status(file).contains(&status), "{file} ({}): {status}", case.desc);
        let after = program.settled().await.line(source);
        if let Some(good) = case.good {
            assert_eq!(after.stored - before.stored, good, "{file} ({})", case.desc);
        }
        let good = frames([app_line("web.1", "a good line")]);
        let answer = program.post("/logdrains", "application/logplex-1").body(good).send().await;
        assert_eq!(answer.unwrap().status(), 204, "after {file}");
        assert!(program.peak_mib() < MEMORY_MIB, "{file}: {} MiB", program.peak_mib());
    }
}

#[tokio::test]
async fn hostile_lines_from_standard_input() {
    let Some(folder) = data("hostile") else { return };
    let all = tempfile::tempdir().unwrap();
    let path = all.path().join("lines");
    let mut lines = Vec::new();
    let mut good = 0;
    for case in json_lines::<Hostile>(&folder.join("index.jsonl")) {
        if case.kind == "maxwell" {
            lines.extend(read(&folder.join(format!("{}.body", case.file))));
            lines.push(b'\n');
            good += case.good.unwrap_or(0);
        }
    }
    fs::write(&path, &lines).unwrap();
    let mut program = Program::new(BINARY).reads_file(&path).set("stdin.on_eof", "serve");
    program.start();
    let expected = lines.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    let expected = expected.count() as u64;
    let line = taken(&program, expected).await;
    assert!(line.stored >= good, "{line:?}, {good} are good");
    assert!(program.peak_mib() < MEMORY_MIB, "{} MiB", program.peak_mib());
    program.finish().await;
}

/// Waits until so many changes have come in and nothing is in flight.
async fn taken(program: &Program, count: u64) -> Line {
    faultline_testkit::eventually("the lines are taken", async || {
        let line = program.ledger().await.line("maxwell");
        if line.received == count && line.in_flight == 0 { Ok(line) } else { Err(line) }
    })
    .await
}

/// The lines as they are stored, in order.
async fn stored_lines(program: &Program) -> Vec<String> {
    let sql = "SELECT attributes FROM events WHERE kind = 'change' ORDER BY sequence, ordinal";
    program.database.texts(sql).await
}

#[tokio::test]
async fn changes_of_maxwells_own_tests() {
    for name in ["maxwell/fixtures_asis.jsonl", "maxwell/fixtures_stdout.jsonl"] {
        let Some(path) = data(name) else { return };
        let text = fs::read_to_string(&path).unwrap();
        let expected: Vec<_> = text.lines().map(str::trim).collect();
        let mut over_http = Program::new(BINARY);
        over_http.start();
        let request = over_http.post("/maxwell", "application/x-ndjson").body(text.clone());
        assert_eq!(request.send().await.unwrap().status(), 204);
        let line = over_http.settled().await.line("maxwell");
        assert_eq!(line, Line { received: 81, stored: 81, ..Line::default() });
        assert_eq!(stored_lines(&over_http).await, expected);
        let mut from_stdin = Program::new(BINARY).reads_file(&path);
        from_stdin.start();
        assert!(from_stdin.ended().await.success(), "{}", from_stdin.log());
        assert_eq!(stored_lines(&from_stdin).await, expected);
    }
}

#[tokio::test]
async fn changes_of_a_real_database() {
    let Some(path) = data("maxwell/mariadb_live.jsonl.gz") else { return };
    let text = String::from_utf8(gunzip(&path)).unwrap();
    let lines = tempfile::tempdir().unwrap();
    let path = lines.path().join("lines");
    fs::write(&path, &text).unwrap();
    let mut program = Program::new(BINARY).reads_file(&path).set("stdin.on_eof", "serve");
    program.start();
    let line = taken(&program, 86_368).await;
    assert_eq!(line, Line { received: 86_368, stored: 86_368, ..Line::default() });
    let stored = stored_lines(&program).await;
    for (stored, line) in stored.iter().zip(text.lines()) {
        assert_eq!(stored, line);
    }
    assert!(program.peak_mib() < MEMORY_MIB, "{} MiB", program.peak_mib());
    program.finish().await;
}

#[derive(Deserialize)]
struct Trace {
    id: Value,
    lang: String,
    text: String,
}

#[tokio::test]
async fn stack_traces_of_ten_languages() {
    let Some(path) = data("traces/traces.jsonl") else { return };
    let mut program = Program::new(BINARY);
    program.start();
    let traces = json_lines::<Trace>(&path);
    let mut sent = 0;
    for (number, trace) in traces.iter().enumerate() {
        let lines: Vec<_> =
            trace.text.lines().map(|line| app_line(&format!("web.{number}"), line)).collect();
        sent += lines.len() as u64;
        let request = program.post("/logdrains", "application/logplex-1").body(frames(lines));
        assert_eq!(request.send().await.unwrap().status(), 204);
    }
    let line = program.settled().await.line("logdrains");
    assert_eq!(line, Line { received: sent, stored: sent, ..Line::default() });
    let mut cut = Vec::new();
    for (number, trace) in traces.iter().enumerate() {
        let sql =
            format!("SELECT message FROM events WHERE process = 'web.{number}' ORDER BY ordinal");
        let events = program.database.texts(&sql).await;
        let text = trace.text.lines().collect::<Vec<_>>().join("\n").replace('\0', "\u{fffd}");
        assert_eq!(events.join("\n"), text);
        if events.len() > 1 {
            cut.push(format!("{} {} into {}", trace.lang, trace.id, events.len()));
        }
    }
    eprintln!("{} of {} texts are more than one event: {cut:#?}", cut.len(), traces.len());
    // A text that starts with something else than its trace is two events, rightly.
    assert!(cut.len() * 10 <= traces.len(), "{} of {}: {cut:#?}", cut.len(), traces.len());
}

#[derive(Deserialize)]
struct Payload {
    name: String,
    body: Value,
}

/// A payload of the Sentry protocol as a report of ours.
fn report_of(payload: &Value) -> Value {
    let exceptions = payload["exception"]["values"].as_array();
    let exception = exceptions.and_then(|values| values.last()).cloned().unwrap_or_default();
    let kind = exception["type"].as_str().unwrap_or("Error");
    let message = exception["value"].as_str().unwrap_or_default();
    let frames = exception["stacktrace"]["frames"].as_array().cloned().unwrap_or_default();
    let frames = frames.iter().rev().map(|frame| {
        let text = |key: &str| frame[key].as_str().unwrap_or("?").to_owned();
        format!("\n    at {} ({}:{})", text("function"), text("filename"), frame["lineno"])
    });
    let trace = format!("{kind}: {message}{}", frames.collect::<String>());
    json!({
        "message": format!("{kind}: {message}"),
        "stackTrace": trace,
        "level": payload["level"],
        "environment": payload["environment"],
        "timestamp": payload["timestamp"],
        "attributes": payload,
    })
}

#[tokio::test]
async fn error_reports_of_real_programs() {
    let Some(path) = data("traces/reports.jsonl") else { return };
    let mut program = Program::new(BINARY);
    program.start();
    let payloads = json_lines::<Payload>(&path);
    for payload in &payloads {
        let report = report_of(&payload.body).to_string();
        let answer = program.post("/errors/log", "application/json").body(report);
        let answer = answer.send().await.unwrap();
        assert_eq!(answer.status(), 200, "{}: {}", payload.name, answer.text().await.unwrap());
        // As it is, it lacks a message of ours, and says so.
        let raw = program.post("/errors/log", "application/json").body(payload.body.to_string());
        let status = raw.send().await.unwrap().status().as_u16();
        assert!([200, 400].contains(&status), "{}: {status}", payload.name);
    }
    let line = program.settled().await.line("errors");
    assert_eq!((line.received, line.rejected), (line.stored, 0));
    let stored = program.database.number("SELECT count(*) FROM events").await;
    assert!(usize::try_from(stored).unwrap() >= payloads.len());
    assert!(program.peak_mib() < MEMORY_MIB);
}
