//! `POST /errors/log` keeps what programs report, answers with the fault's fingerprint, and says
//! where a report is wrong.

#![expect(clippy::unwrap_used, reason = "a failing test is told by a panic")]

use faultline_testkit::{
    program::{Line, Program},
    wire::gzip,
};
use reqwest::Response;
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_faultline");

fn started() -> Program {
    let mut program = Program::new(BINARY);
    program.start();
    program
}

async fn send(program: &Program, body: impl Into<reqwest::Body>) -> Response {
    program.post("/errors/log", "application/json").body(body).send().await.unwrap()
}

/// The fingerprint that a report is answered with.
async fn fingerprint(program: &Program, report: Value) -> String {
    let answer = send(program, report.to_string()).await;
    assert_eq!(answer.status(), 200);
    let answer: Value = answer.json().await.unwrap();
    assert_eq!(answer["status"], "queued");
    answer["fingerprint"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn every_field_is_kept() {
    let program = started();
    let full = r#"{"message":"card \"42\" declined\u0000\nfor bob","stackTrace":"Error: declined\n    at pay (/app/pay.js:4:2)",
        "level":"fatal","environment":"staging","service":"shop","timestamp":"2026-11-22T03:00:07.25+02:00",
        "fingerprint":["checkout","card"],"attributes":{"amount":12345678901234567890.10,"tags":["a",null]},
        "release":"v7","user":{"id":18446744073709551616}}"#;
    let answer = send(&program, full).await;
    assert_eq!(answer.headers()["content-type"], "application/json");
    let answer: Value = answer.json().await.unwrap();
    program.settled().await;
    let row = |column: &str| format!("SELECT {column} FROM events");
    for (column, expected) in [
        ("message", "card \"42\" declined\u{fffd}\nfor bob"),
        ("stack_trace", "Error: declined\n    at pay (/app/pay.js:4:2)"),
        ("kind || ' ' || source || ' ' || severity", "error errors critical"),
        ("environment || ' ' || service", "staging shop"),
        ("fingerprint", answer["fingerprint"].as_str().unwrap()),
        (
            "attributes",
            r#"{"amount":12345678901234567890.10,"tags":["a",null],"release":"v7","user":{"id":18446744073709551616}}"#,
        ),
    ] {
        assert_eq!(program.database.texts(&row(column)).await, [expected], "{column}");
    }
    assert_eq!(program.database.number(&row("occurred_at")).await, 1_795_309_207_250_000);
}

#[tokio::test]
async fn only_the_message_is_needed() {
    let program = started();
    for path in ["/errors/log", "/api/v1/errors/log", "/errors/log?service=api&environment=test"] {
        let request = program.post(path, "application/json; charset=utf-8");
        let answer = request.body(r#"{"message":"boom","level":null}"#).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
    }
    program.settled().await;
    let rows = "SELECT severity || ' ' || environment || ' ' || service || ' ' || (occurred_at = \
                received_at) FROM events ORDER BY sequence";
    let expected = ["error production  1", "error production  1", "error test api 1"];
    assert_eq!(program.database.texts(rows).await, expected);
}

#[tokio::test]
async fn an_array_is_answered_one_by_one() {
    let program = started();
    let reports = json!([{"message": "a"}, {"message": "b", "level": "warning"}, {"message": "a"}]);
    let answer = send(&program, reports.to_string()).await;
    assert_eq!(answer.status(), 200);
    let answers: Vec<Value> = answer.json().await.unwrap();
    let fingerprints: Vec<_> =
        answers.iter().map(|answer| answer["fingerprint"].as_str().unwrap()).collect();
    assert_eq!(fingerprints.len(), 3);
    assert_eq!(fingerprints[0], fingerprints[2]);
    assert_ne!(fingerprints[0], fingerprints[1]);
    let line = program.settled().await.line("errors");
    assert_eq!(line, Line { received: 3, stored: 3, ..Line::default() });
    let stored = "SELECT fingerprint FROM events ORDER BY ordinal";
    assert_eq!(program.database.texts(stored).await, fingerprints);
    let faults = "SELECT count || ' ' || severity || ' ' || title FROM faults ORDER BY title";
    assert_eq!(program.database.texts(faults).await, ["2 error a", "1 warning b"]);
}

#[tokio::test]
async fn a_wrong_field_is_named_and_nothing_is_stored() {
    let program = started();
    let deep = format!(r#"{{"message":"a","x":{}{}}}"#, "[".repeat(200), "]".repeat(200));
    let long = json!({"message": "a", "service": "s".repeat(300)}).to_string();
    for (body, pointer) in [
        (r#"{"message":5}"#, "/message"),
        (r#"{"message":null}"#, "/message"),
        (r#"{"message":""}"#, "/message"),
        ("{}", "/message"),
        (r#"{"message":"a","stackTrace":["x"]}"#, "/stackTrace"),
        (r#"{"message":"a","level":"loud"}"#, "/level"),
        (r#"{"message":"a","level":3}"#, "/level"),
        (r#"{"message":"a","environment":{}}"#, "/environment"),
        (r#"{"message":"a","service":false}"#, "/service"),
        (long.as_str(), "/service"),
        (r#"{"message":"a","timestamp":"yesterday"}"#, "/timestamp"),
        (r#"{"message":"a","timestamp":1e300}"#, "/timestamp"),
        (r#"{"message":"a","fingerprint":[1]}"#, "/fingerprint"),
        (r#"{"message":"a","attributes":[1]}"#, "/attributes"),
        (deep.as_str(), "/x"),
        (r#"[{"message":"a"},{"message":"b","level":7}]"#, "/1/level"),
        (r#"[{"message":"a"},7]"#, "/1"),
        ("[]", ""),
        ("5", ""),
        (r#""text""#, ""),
        (r#"{"message":"a""#, ""),
        (r#"{"message":"a"} {"message":"b"}"#, ""),
        (r#"{"message":"a"}garbage"#, ""),
        ("", ""),
        ("\u{feff}{\"message\":\"a\"}", ""),
    ] {
        let answer = send(&program, body.to_owned()).await;
        assert_eq!(answer.status(), 400, "{body}");
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
        let problem: Value = answer.json().await.unwrap();
        assert_eq!(problem["pointer"], pointer, "{body}: {problem}");
        assert_eq!((&problem["status"], &problem["title"]), (&400.into(), &"Bad Request".into()));
        assert!(!problem["detail"].as_str().unwrap().is_empty());
    }
    assert_eq!(program.settled().await.line("errors"), Line::default());
    program.report(r#"{"message":"good"}"#).await;
    assert_eq!(program.settled().await.line("errors").stored, 1);
}

#[tokio::test]
async fn what_is_no_json_is_refused() {
    let program = started();
    let latin1 = b"{\"message\":\"Gr\xfc\xdfe\"}".to_vec();
    let post =
        |content_type: &str, body: Vec<u8>| program.post("/errors/log", content_type).body(body);
    let good = br#"{"message":"a"}"#.to_vec();
    for (request, status) in [
        (
            post("application/x-www-form-urlencoded; charset=iso-8859-1", b"message=Gr".to_vec()),
            415,
        ),
        (post("text/plain", good.clone()), 415),
        (post("application/logplex-1", good.clone()), 415),
        // JSON between systems is UTF-8 whatever a parameter says (RFC 8259 §8.1, §11).
        (post("application/json; charset=iso-8859-1", latin1.clone()), 400),
        (post("application/json", latin1), 400),
        (post("application/json", b"\x89PNG\r\n\x1a\n\0\0".to_vec()), 400),
        (post("application/json", vec![b' '; 11 << 20]), 413),
        (
            post("application/json", gzip(&vec![b' '; 11 << 20]))
                .header("content-encoding", "gzip"),
            413,
        ),
    ] {
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), status);
    }
    assert_eq!(program.settled().await.line("errors"), Line::default());
    for request in [
        post("application/json; charset=iso-8859-1", good.clone()),
        post("Application/JSON", "{\"message\":\"Grüße\"}".into()),
        post("application/json", gzip(&good)).header("content-encoding", "gzip"),
    ] {
        assert_eq!(request.send().await.unwrap().status(), 200);
    }
    program.settled().await;
    let messages = "SELECT message FROM events ORDER BY sequence";
    assert_eq!(program.database.texts(messages).await, ["a", "Grüße", "a"]);
}

#[tokio::test]
async fn an_idempotency_key_is_taken_once() {
    let program = started();
    let send = async |path: &str, key: &str, message: &str| {
        let request = program.post(path, "application/json").header("idempotency-key", key);
        let answer = request.body(json!({ "message": message }).to_string()).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.json::<Value>().await.unwrap()["fingerprint"].clone()
    };
    let first = send("/errors/log", "k1", "boom").await;
    assert_eq!(send("/errors/log", "k1", "boom").await, first);
    send("/api/v1/errors/log", "k1", "boom").await;
    send("/errors/log", "k2", "boom").await;
    // An empty key is none.
    send("/errors/log", "", "boom").await;
    send("/errors/log", "", "boom").await;
    // A refused request takes no key.
    let refused = program.post("/errors/log", "application/json").header("idempotency-key", "k3");
    assert_eq!(refused.body("{}").send().await.unwrap().status(), 400);
    send("/errors/log", "k3", "boom").await;
    let line = program.settled().await.line("errors");
    assert_eq!(line, Line { received: 7, stored: 5, duplicate: 2, ..Line::default() });
    assert_eq!(program.database.number("SELECT sum(count) FROM faults").await, 5);
}

#[tokio::test]
async fn equal_errors_share_a_fingerprint() {
    let program = started();
    let plain = async |message: &str| fingerprint(&program, json!({ "message": message })).await;
    let one = plain("job 17 failed after 30 ms at 10.0.0.7:5432").await;
    assert!(one.starts_with("v1:") && one.len() == 3 + 64, "{one}");
    assert_eq!(plain("job 4711 failed after 9 ms at 10.1.2.3:5432").await, one);
    assert_ne!(plain("job 17 stopped after 30 ms at 10.0.0.7:5432").await, one);

    let traced = async |message: &str, name: &str, line: u32| {
        let trace = format!(
            "{name}: {message}\n    at pay (/app/pay.js:{line}:2)\n    at run (/app/run.js:1:1)"
        );
        fingerprint(&program, json!({ "message": message, "stackTrace": trace })).await
    };
    let typed = traced("x is undefined", "TypeError", 4).await;
    assert_eq!(traced("y is null", "TypeError", 5).await, typed);
    assert_ne!(traced("x is undefined", "RangeError", 4).await, typed);

    let pinned = async |message: &str, pin: Value| {
        fingerprint(&program, json!({ "message": message, "fingerprint": pin })).await
    };
    let checkout = pinned("one thing", "checkout".into()).await;
    assert_eq!(pinned("another", "checkout".into()).await, checkout);
    assert_ne!(pinned("another", json!(["checkout", "card"])).await, checkout);

    // Of another environment or service it is another fault, of the same shape.
    let elsewhere =
        json!({ "message": "job 1 failed after 1 ms at 10.0.0.1:1", "environment": "test" });
    assert_eq!(fingerprint(&program, elsewhere).await, one);
    program.settled().await;
    let faults = format!(
        "SELECT environment || ' ' || count FROM faults WHERE fingerprint = '{one}' ORDER BY 1"
    );
    assert_eq!(program.database.texts(&faults).await, ["production 2", "test 1"]);
}
