//! `POST /logdrains` takes what Heroku's Logplex, log-shuttle and private spaces really send, cut
//! by octet counts, and keeps every message of it.

#![expect(clippy::unwrap_used, reason = "a failing test is told by a panic")]

use faultline_testkit::{
    program::{Line, Program, app_line, frames},
    wire::{chunked, exchange, gzip, status_of},
};
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_faultline");

fn started() -> Program {
    let mut program = Program::new(BINARY);
    program.start();
    program
}

/// Sends a body as Logplex does, with a frame id of its own.
async fn send(program: &Program, body: Vec<u8>) {
    let frame_id = format!("{:x}", fastrand::u128(..));
    let answer = program.drain(&frame_id, body).send().await.unwrap();
    assert_eq!(answer.status(), 204);
}

async fn messages(program: &Program) -> Vec<String> {
    program.database.texts("SELECT message FROM events ORDER BY sequence, ordinal").await
}

/// The attributes of the only event that `condition` finds.
async fn attributes(program: &Program, condition: &str) -> Value {
    let sql = format!("SELECT attributes FROM events WHERE {condition}");
    let found = program.database.texts(&sql).await;
    assert_eq!(found.len(), 1, "{found:?}");
    serde_json::from_str(&found[0]).unwrap()
}

fn router_line(fields: &str) -> String {
    format!("<158>1 2026-11-22T03:00:08.000001+00:00 host heroku router - {fields}\n")
}

fn platform_line(process: &str, text: &str) -> String {
    format!("<45>1 2026-11-22T03:00:09.000001+00:00 host heroku {process} - {text}\n")
}

#[tokio::test]
async fn messages_are_cut_by_their_octet_count() {
    let program = started();
    let with_newlines = app_line("web.1", "one\ntwo 99 <190>1 three");
    let multi_byte = app_line("web.2", "größer als ≥ 10 €");
    let without_newline = app_line("web.3", "no line end").trim_end().to_owned();
    send(&program, frames([with_newlines, multi_byte, without_newline, app_line("web.4", "")]))
        .await;
    program.settled().await;
    let expected = ["one\ntwo 99 <190>1 three", "größer als ≥ 10 €", "no line end", ""];
    assert_eq!(messages(&program).await, expected);
    let header = "SELECT kind || ' ' || process || ' ' || priority || ' ' || severity FROM events \
                  WHERE process = 'web.1'";
    assert_eq!(program.database.texts(header).await, ["log web.1 190 info"]);
    let occurred = program.database.number("SELECT max(occurred_at) FROM events").await;
    assert_eq!(occurred, 1_795_316_407_123_456);
}

#[tokio::test]
async fn structured_data_may_be_nil_or_missing() {
    let program = started();
    send(&program, frames([app_line("web.1", "- a dash of its own"), app_line("web.1", "plain")]))
        .await;
    // log-shuttle writes the nil value, on every line.
    let shuttle = [app_line("web.2", "- shuttled"), app_line("web.2", "- - with a dash")];
    let request = program.post("/logdrains", "application/logplex-1");
    let answer = request.header("user-agent", "log-shuttle/0.18").body(frames(shuttle));
    assert_eq!(answer.send().await.unwrap().status(), 204);
    // What a sender does write is kept.
    send(&program, frames([app_line("web.3", "[meta x=\"1\"] structured")])).await;
    program.settled().await;
    let expected =
        ["- a dash of its own", "plain", "shuttled", "- with a dash", "[meta x=\"1\"] structured"];
    assert_eq!(messages(&program).await, expected);
}

#[tokio::test]
async fn what_logplex_lost_is_counted() {
    let program = started();
    // Real Logplex sends this one without a line end (heroku/logplex#105).
    let l10 = "<172>1 2026-11-22T03:00:00+00:00 host heroku logplex - Error L10 (output buffer \
               overflow): 42 messages dropped since 2026-11-22T02:59:00+00:00.";
    send(&program, frames([l10.to_owned(), app_line("web.1", "after it")])).await;
    let l12 = "<172>1 2026-11-22T03:00:00+00:00 host heroku log-shuttle - Error L12: 8 messages \
               dropped since 2026-11-22T02:59:00+00:00.\n";
    send(&program, frames([l12])).await;
    program.settled().await;
    assert!((program.metric("faultline_upstream_dropped_total", "").await - 50.0).abs() < 0.1);
    let row = "SELECT kind || ' ' || process || ' ' || severity FROM events WHERE message LIKE \
               'Error L10%'";
    assert_eq!(program.database.texts(row).await, ["platform logplex error"]);
    let l10 = attributes(&program, "message LIKE 'Error L10%'").await;
    assert_eq!((&l10["code"], &l10["dropped"]), (&"L10".into(), &"42".into()));
    assert_eq!(messages(&program).await[1], "after it");
}

#[tokio::test]
async fn only_the_content_type_is_needed() {
    let program = started();
    let body = frames([app_line("web.1", "from a private space")]);
    for _ in 0..2 {
        let request = program.post("/logdrains", "application/logplex-1").body(body.clone());
        assert_eq!(request.send().await.unwrap().status(), 204);
    }
    for count in ["4000000000", "-1", "many", ""] {
        let request = program.post("/logdrains", "application/logplex-1; charset=utf-8");
        let request = request.header("logplex-msg-count", count).body(body.clone());
        assert_eq!(request.send().await.unwrap().status(), 204, "{count:?}");
    }
    // Equal bodies without a frame id are not retries.
    let line = program.settled().await.line("logdrains");
    assert_eq!(line, Line { received: 6, stored: 6, ..Line::default() });
}

#[tokio::test]
async fn a_frame_seen_before_is_not_stored_again() {
    let program = started();
    let lines = [app_line("web.1", "one"), app_line("web.1", "two")];
    let send = async |frame_id: &str, token: &str, body: Vec<u8>| {
        let request = program.post("/logdrains", "application/logplex-1").body(body);
        let request =
            request.header("logplex-frame-id", frame_id).header("logplex-drain-token", token);
        assert_eq!(request.send().await.unwrap().status(), 204);
    };
    send("F1", "d.1", frames(&lines)).await;
    send("F1", "d.1", frames(&lines)).await;
    // Logplex puts an L10 in front of what it sends again.
    let l10 = "<172>1 2026-11-22T03:00:00+00:00 host heroku logplex - Error L10 (output buffer \
               overflow): 1 messages dropped since 2026-11-22T02:59:00+00:00.";
    send("F1", "d.1", frames([l10, &lines[0], &lines[1]])).await;
    send("F1", "d.2", frames(&lines)).await;
    let line = program.settled().await.line("logdrains");
    assert_eq!(line, Line { received: 9, stored: 4, duplicate: 5, ..Line::default() });
    assert_eq!(messages(&program).await, ["one", "two", "one", "two"]);
}

#[tokio::test]
async fn bytes_that_are_no_text_are_kept() {
    let program = started();
    let line = |text: &[u8]| {
        let header = b"<190>1 2026-11-22T03:00:07.123456+00:00 host app web.1 - ";
        [&header[..], text, b"\n"].concat()
    };
    let bodies = [line(b"caf\xe9 \xff\xfe"), line(b"a\0b"), line("ünïcode".as_bytes())];
    send(&program, frames(bodies)).await;
    // Cut between two bytes of one character by the sender's limit on a line.
    send(&program, frames([line(b"cut \xe2\x82"), line(b"\xac and on")])).await;
    program.settled().await;
    let expected = [
        "caf\u{fffd} \u{fffd}\u{fffd}",
        "a\u{fffd}b",
        "ünïcode",
        "cut \u{fffd}",
        "\u{fffd} and on",
    ];
    assert_eq!(messages(&program).await, expected);
    let bytes = "SELECT hex(message_bytes) FROM events ORDER BY sequence, ordinal";
    let expected = ["636166E920FFFE", "610062", "", "63757420E282", "AC20616E64206F6E"];
    assert_eq!(program.database.texts(bytes).await, expected);
}

#[tokio::test]
async fn broken_framing_costs_only_what_follows_it() {
    let program = started();
    let good = frames([app_line("web.1", "one"), app_line("web.1", "two")]);
    let rest = b"9999 <190>1 2026-11-22T03:00:07Z host app web.1 - cut off".to_vec();
    send(&program, [good.clone(), rest.clone()].concat()).await;
    send(&program, [&good[..], b"what is this"].concat()).await;
    // A message without a header, in whole framing, is rejected by itself.
    send(&program, frames(["no header".to_owned(), app_line("web.1", "three")])).await;
    let line = program.settled().await.line("logdrains");
    assert_eq!(line, Line { received: 8, stored: 5, rejected: 3, ..Line::default() });
    assert_eq!(messages(&program).await, ["one", "two", "one", "two", "three"]);
    let bytes = "SELECT cast(bytes AS text) FROM rejected ORDER BY sequence";
    let expected = [std::str::from_utf8(&rest).unwrap(), "what is this", "no header"];
    assert_eq!(program.database.texts(bytes).await, expected);
    let at = good.len();
    let reasons = program.database.texts("SELECT reason FROM rejected ORDER BY sequence").await;
    let truncated = "the frame announces more bytes than the body has left";
    assert_eq!(reasons[0], format!("framing lost at byte {at}: {truncated}"));
    assert_eq!(
        reasons[1],
        format!("framing lost at byte {at}: no decimal length where a frame should start")
    );
    assert_eq!(reasons[2], "at byte 0: frame header: no priority of the form <0> to <191>");
}

#[tokio::test]
async fn bodies_come_compressed_and_in_chunks() {
    let program = started();
    let body = |text: &str| frames([app_line("web.1", text)]);
    let request = program.drain("f1", gzip(&body("compressed"))).header("content-encoding", "gzip");
    assert_eq!(request.send().await.unwrap().status(), 204);
    let head = |more: &str| {
        format!(
            "POST /logdrains HTTP/1.1\r\nHost: x\r\nContent-Type: application/logplex-1\r\n\
             Transfer-Encoding: chunked\r\nConnection: close\r\n{more}\r\n"
        )
    };
    for (more, body) in [
        ("", body("in chunks")),
        ("Content-Encoding: gzip\r\n", gzip(&body("compressed, in chunks"))),
    ] {
        let request = [head(more).into_bytes(), chunked(&body, 7)].concat();
        assert_eq!(status_of(&exchange(program.receiver(), &request).await), 204);
    }
    program.settled().await;
    let expected = ["compressed", "in chunks", "compressed, in chunks"];
    assert_eq!(messages(&program).await, expected);
}

#[tokio::test]
async fn what_is_no_drain_is_refused_and_not_received() {
    let mut program = Program::new(BINARY).set("receiver.body_limit", "100 KiB");
    program.start();
    let good = frames([app_line("web.1", "x")]);
    let large = frames([app_line("web.1", &"x".repeat(101 << 10))]);
    let post = |content_type: &str| program.post("/logdrains", content_type).body(good.clone());
    let drain = |body: Vec<u8>| program.drain("f", body);
    let url = format!("http://{}/logdrains", program.receiver());
    let without_type = reqwest::Client::new().post(&url).body(good.clone());
    for (request, status) in [
        (post("application/json"), 415),
        (post("text/plain"), 415),
        (without_type, 415),
        (drain(large.clone()), 413),
        (drain(gzip(&large)).header("content-encoding", "gzip"), 413),
        (drain(good.clone()).header("content-encoding", "gzip"), 400),
        (drain(good.clone()).header("content-encoding", "br"), 415),
        (reqwest::Client::new().get(&url), 405),
        (program.post("/logs", "application/logplex-1").body(good.clone()), 404),
    ] {
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), status);
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
        let problem: Value = answer.json().await.unwrap();
        assert_eq!(problem["status"], status);
        assert!(problem["detail"].is_string() && problem["title"].is_string(), "{problem}");
    }
    // Without a length the limit is noticed on the way.
    let head = "POST /logdrains HTTP/1.1\r\nHost: x\r\nContent-Type: application/logplex-1\r\n\
                Transfer-Encoding: chunked\r\n\r\n";
    let request = [head.as_bytes(), &chunked(&large, 1000)].concat();
    assert_eq!(status_of(&exchange(program.receiver(), &request).await), 413);
    assert_eq!(program.settled().await.line("logdrains"), Line::default());
    drain(good).send().await.unwrap().error_for_status().unwrap();
    assert_eq!(program.settled().await.line("logdrains").stored, 1);
}

#[tokio::test]
async fn an_empty_body_is_accepted() {
    let program = started();
    send(&program, Vec::new()).await;
    send(&program, b"\n\n".to_vec()).await;
    let request = program.drain("f", gzip(b"")).header("content-encoding", "gzip");
    assert_eq!(request.send().await.unwrap().status(), 204);
    assert_eq!(program.settled().await.line("logdrains"), Line::default());
}

#[tokio::test]
async fn the_drains_url_names_whose_events_they_are() {
    let program = started();
    let body = |text: &str| frames([app_line("web.1", text)]);
    for (path, text) in [
        ("/logdrains?service=shop&environment=staging", "named"),
        ("/logdrains?app=api%20v2&env=test&x=1", "named otherwise"),
        ("/logdrains", "by its token"),
    ] {
        let request = program.post(path, "application/logplex-1").body(body(text));
        let request = request.header("logplex-drain-token", "d.this-must-not-be-stored");
        assert_eq!(request.send().await.unwrap().status(), 204);
    }
    // A sender that is not Heroku names its service in the header.
    send(&program, frames(["<14>1 2026-11-22T03:00:07Z box7 billing 88 - - hello"])).await;
    program.settled().await;
    let scopes = program
        .database
        .texts("SELECT environment || '/' || service FROM events ORDER BY sequence")
        .await;
    assert_eq!(scopes[..2], ["staging/shop", "test/api v2"]);
    let digest = scopes[2].strip_prefix("production/drain-").unwrap();
    assert!(digest.len() == 8 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()), "{digest}");
}

#[tokio::test]
async fn a_router_line_is_a_request() {
    let program = started();
    let fine = "at=info method=GET path=\"/u/17?a=\\\"b\\\"\" host=shop.example.com \
                request_id=8601b555-6a83-4c12-8269-97c8e32cdb22 fwd=\"204.9.220.1,10.1.1.1\" \
                dyno=web.1 connect=1ms service=18ms status=200 bytes=13 protocol=https";
    // Real Logplex leaves values empty when there was no dyno.
    let timed_out = "at=error code=H12 desc=\"Request timeout\" method=POST path=\"/pay/4711\" \
                     host=shop.example.com request_id=9901b555-6a83-4c12-8269-97c8e32cdb23 \
                     fwd=\"204.9.220.2\" dyno= connect= service=30000ms status=503 bytes= \
                     protocol=http";
    let failed = fine.replace("status=200", "status=500").replace("/u/17", "/v/18");
    let lines = [fine, timed_out, &failed].map(router_line);
    send(&program, frames(lines)).await;
    program.settled().await;
    let rows = "SELECT kind || ' ' || process || ' ' || severity || ' ' || (fingerprint IS NOT \
                NULL) FROM events ORDER BY ordinal";
    let expected = ["router router info 0", "router router error 1", "router router error 1"];
    assert_eq!(program.database.texts(rows).await, expected);
    let request = attributes(&program, "ordinal = 0").await;
    for (name, value) in [
        ("method", Value::from("GET")),
        ("path", "/u/17?a=\\".into()),
        ("status", 200.into()),
        ("connect_ms", 1.into()),
        ("service_ms", 18.into()),
        ("bytes", 13.into()),
        ("dyno", "web.1".into()),
        ("fwd", "204.9.220.1,10.1.1.1".into()),
        ("request_id", "8601b555-6a83-4c12-8269-97c8e32cdb22".into()),
    ] {
        assert_eq!(request[name], value, "{name} of {request}");
    }
    let request = attributes(&program, "ordinal = 1").await;
    assert_eq!((&request["code"], &request["status"]), (&"H12".into(), &503.into()));
    assert_eq!((request.get("dyno"), request.get("bytes")), (None, None));
    let titles = program.database.texts("SELECT title FROM faults ORDER BY title").await;
    assert_eq!(titles, ["5xx GET /v/<id>", "H12 POST /pay/<id>"]);
}

#[tokio::test]
async fn platform_lines_say_what_happened_to_a_dyno() {
    let program = started();
    send(
        &program,
        frames([
            platform_line("web.1", "State changed from up to crashed"),
            platform_line("worker.2", "Process exited with status 137"),
            platform_line("web.1", "Error R14 (Memory quota exceeded)"),
            platform_line("web.1", "Restarting"),
        ]),
    )
    .await;
    program.settled().await;
    let rows = "SELECT kind || ' ' || process || ' ' || severity || ' ' || coalesce(attributes, \
                '') FROM events ORDER BY ordinal";
    let expected = [
        "platform web.1 error {\"from\":\"up\",\"to\":\"crashed\"}",
        "platform worker.2 notice {\"exit_status\":\"137\"}",
        "platform web.1 error {\"code\":\"R14\"}",
        "platform web.1 notice ",
    ];
    assert_eq!(program.database.texts(rows).await, expected);
}
