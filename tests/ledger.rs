//! `received = stored + duplicate + rejected + in flight`, for each source, whatever comes and
//! whatever happens to the process or the store.

#![expect(clippy::unwrap_used, reason = "a failing test is told by a panic")]

use std::collections::BTreeSet;

use faultline_testkit::{
    eventually,
    program::{Ledger, Line, Program, app_line, frames},
};
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_faultline");

const CHANGE: &str = r#"{"type":"insert","database":"shop","table":"orders","ts":1477053217}"#;

async fn post(program: &Program, path: &str, content_type: &str, id: &str, body: Vec<u8>) -> u16 {
    let header = if path == "/logdrains" { "logplex-frame-id" } else { "idempotency-key" };
    let request = program.post(path, content_type).header(header, id).body(body);
    request.send().await.unwrap().status().as_u16()
}

/// Traffic with something of everything; ids start with `round`.
async fn send_known(program: &Program, round: &str) {
    let id = |name: &str| format!("{round}-{name}");
    let drain = async |name: &str, body: Vec<u8>| {
        let status = post(program, "/logdrains", "application/logplex-1", &id(name), body).await;
        assert_eq!(status, 204);
    };
    let trace = ["Error: boom", "    at f (/a.js:1:2)", "    at g (/a.js:3:4)", "on it goes"];
    let trace = frames(trace.map(|line| app_line("web.1", line)));
    // Four messages, of which three are one event; twice.
    drain("trace", trace.clone()).await;
    drain("trace", trace).await;
    // Two good ones, one without a header, and a rest that is no frame.
    let mut broken = frames([app_line("web.2", "a"), app_line("web.2", "b"), "no header".into()]);
    broken.extend_from_slice(b"and no frame");
    drain("broken", broken).await;
    // Three empty frames.
    drain("empty", b"0 0 0 ".to_vec()).await;
    drain("nothing", Vec::new()).await;

    let report = async |name: &str, body: &str| {
        post(program, "/errors/log", "application/json", &id(name), body.into()).await
    };
    assert_eq!(report("one", r#"{"message":"a"}"#).await, 200);
    assert_eq!(report("two", r#"[{"message":"a"},{"message":"b"}]"#).await, 200);
    assert_eq!(report("two", r#"[{"message":"a"},{"message":"b"}]"#).await, 200);
    assert_eq!(report("bad", r#"[{"message":"a"},{"message":7}]"#).await, 400);
    assert_eq!(report("none", "").await, 400);

    let lines = format!("{CHANGE}\n\nnot json\n{CHANGE}\n[]\n{CHANGE}");
    for _ in 0..3 {
        let body = lines.clone().into_bytes();
        let status = post(program, "/maxwell", "application/x-ndjson", &id("m"), body).await;
        assert_eq!(status, 204);
    }
    let refused = post(program, "/maxwell", "text/html", &id("m2"), lines.into_bytes()).await;
    assert_eq!(refused, 415);
}

/// What [`send_known`] makes of the ledger, that many times.
fn assert_known(ledger: &Ledger, times: u64) {
    let line = |received: u64, stored: u64, duplicate: u64, rejected: u64| Line {
        received: received * times,
        stored: stored * times,
        duplicate: duplicate * times,
        rejected: rejected * times,
        in_flight: 0,
    };
    assert_eq!(ledger.line("logdrains"), line(4 + 4 + 4 + 3, 4 + 2, 4, 2 + 3));
    assert_eq!(ledger.line("errors"), line(5, 3, 2, 0));
    assert_eq!(ledger.line("maxwell"), line(15, 3, 10, 2));
}

async fn assert_stored(program: &Program, times: i64) {
    for (sql, expected) in [
        ("SELECT sum(messages) FROM events WHERE source = 'logdrains'", 6),
        ("SELECT count(*) FROM events WHERE source = 'logdrains'", 4),
        ("SELECT count(*) FROM events WHERE source = 'errors'", 3),
        ("SELECT count(*) FROM events WHERE source = 'maxwell'", 3),
        ("SELECT sum(messages) FROM rejected WHERE source = 'logdrains'", 5),
        ("SELECT sum(messages) FROM rejected WHERE source = 'maxwell'", 2),
        ("SELECT sum(count) FROM faults WHERE kind = 'error'", 3),
        ("SELECT sum(count) FROM faults WHERE kind = 'log'", 1),
    ] {
        let sql = sql.replace("sum(messages)", "cast(sum(messages) AS bigint)");
        let sql = sql.replace("sum(count)", "cast(sum(count) AS bigint)");
        assert_eq!(program.database.number(&sql).await, expected * times, "{sql}");
    }
}

#[tokio::test]
async fn every_message_has_its_place() {
    for mut program in [Program::new(BINARY), Program::with_postgres(BINARY)] {
        program.start();
        send_known(&program, "1").await;
        assert_known(&program.settled().await, 1);
        assert_stored(&program, 1).await;
        let shown = program.json("/api/ledger").await;
        let names: BTreeSet<_> = shown.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(names, BTreeSet::from(["balanced", "sources"]));
        assert_eq!(shown["balanced"], true);
        let sources: Vec<_> = shown["sources"].as_object().unwrap().keys().collect();
        assert_eq!(sources, ["bucket", "errors", "logdrains", "maxwell"]);
        let metric = async |outcome: &str| {
            let labels = format!("outcome=\"{outcome}\"");
            program.metric("faultline_messages_total", &labels).await
        };
        let sums = [
            metric("received").await,
            metric("stored").await,
            metric("duplicate").await,
            metric("rejected").await,
        ];
        assert_eq!(format!("{sums:?}"), "[35.0, 12.0, 16.0, 7.0]");
    }
}

#[tokio::test]
async fn it_goes_on_after_a_restart() {
    let mut program = Program::new(BINARY);
    program.start();
    send_known(&program, "1").await;
    assert_known(&program.settled().await, 1);
    program.finish().await;
    program.start();
    assert_known(&program.settled().await, 1);
    send_known(&program, "2").await;
    assert_known(&program.settled().await, 2);
    program.kill();
    program.start();
    assert_known(&program.settled().await, 2);
    // Killed before it is settled, and sent again by clients that had heard of it all the same.
    send_known(&program, "3").await;
    program.kill();
    program.start();
    assert_known(&program.settled().await, 3);
    assert_stored(&program, 3).await;
    program.report(r#"{"message":"one more"}"#).await;
    assert_eq!(program.settled().await.line("errors").received, 16);
}

#[tokio::test]
async fn what_waits_for_the_store_is_in_flight() {
    let mut program = Program::with_postgres(BINARY);
    program.start();
    program.report(r#"{"message":"before"}"#).await;
    program.settled().await;
    program.postgres().stop();
    for round in 0..20 {
        let body = frames((0..10).map(|index| app_line("web.1", &format!("line {index}"))));
        let status =
            post(&program, "/logdrains", "application/logplex-1", &format!("f{round}"), body).await;
        assert_eq!(status, 204);
    }
    let line = program.ledger().await.line("logdrains");
    assert_eq!(line, Line { received: 200, in_flight: 200, ..Line::default() });
    // A process that has not reached the store does not know what it has stored.
    program.kill();
    program.start();
    let (status, text) = program.get("/api/ledger").await.unwrap();
    let problem: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, &problem["status"]), (503, &503.into()));
    program.postgres().resume();
    let line = program.settled().await.line("logdrains");
    assert_eq!(line, Line { received: 200, stored: 200, ..Line::default() });
    assert_eq!(program.settled().await.line("errors").stored, 1);
}

#[tokio::test]
async fn it_balances_whenever_it_is_looked_at() {
    let mut program = Program::new(BINARY);
    program.start();
    program.ledger().await;
    let send = async {
        for round in 0..40 {
            let body = frames((0..100).map(|index| app_line("web.1", &format!("line {index}"))));
            let id = format!("f{}", round % 30);
            let status = post(&program, "/logdrains", "application/logplex-1", &id, body).await;
            assert_eq!(status, 204);
        }
    };
    let look = async {
        let mut looks = 0;
        // `ledger` checks the balance.
        eventually("all are received", async || {
            looks += 1;
            let received = program.ledger().await.line("logdrains").received;
            if received == 4_000 { Ok(()) } else { Err(received) }
        })
        .await;
        looks
    };
    let ((), looks) = tokio::join!(send, look);
    assert!(looks > 1);
    let line = program.settled().await.line("logdrains");
    assert_eq!(line, Line { received: 4_000, stored: 3_000, duplicate: 1_000, ..Line::default() });
}
