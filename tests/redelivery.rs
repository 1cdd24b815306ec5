//! What is sent again under an id that was accepted before is answered as the first time, counted
//! as a duplicate, and not stored again: at once, at the same time, and after any end.

#![expect(clippy::unwrap_used, reason = "a failing test is told by a panic")]

use faultline_testkit::program::{Line, Program, app_line, frames};
use reqwest::RequestBuilder;

const BINARY: &str = env!("CARGO_BIN_EXE_faultline");

/// A body of two messages for each source, under `id`.
fn request(program: &Program, source: &str, id: &str) -> RequestBuilder {
    match source {
        "logdrains" => {
            let lines = (0..2).map(|index| app_line("web.1", &format!("{id} line {index}")));
            program.drain(id, frames(lines))
        }
        "errors" => program
            .post("/errors/log", "application/json")
            .header("idempotency-key", id)
            .body(format!(r#"[{{"message":"{id} one"}},{{"message":"{id} two"}}]"#)),
        "maxwell" => {
            let line = |table: &str| {
                format!(r#"{{"database":"{id}","table":"{table}","type":"insert","ts":1}}"#)
            };
            let lines = format!("{}\n{}\n", line("one"), line("two"));
            program
                .post("/maxwell", "application/x-ndjson")
                .header("idempotency-key", id)
                .body(lines)
        }
        _ => panic!("no source {source}"),
    }
}

const SOURCES: [&str; 3] = ["logdrains", "errors", "maxwell"];

/// Sends under `id` to every source; gives the answers.
async fn send_all(program: &Program, id: &str) -> Vec<(u16, String)> {
    let mut answers = Vec::new();
    for source in SOURCES {
        let answer = request(program, source, id).send().await.unwrap();
        answers.push((answer.status().as_u16(), answer.text().await.unwrap()));
    }
    answers
}

/// Checks that every source has `bodies` of two messages stored, and `duplicates` of them counted.
async fn assert_counted(program: &Program, bodies: u64, duplicates: u64) {
    let ledger = program.settled().await;
    for source in SOURCES {
        let expected = Line {
            received: 2 * (bodies + duplicates),
            stored: 2 * bodies,
            duplicate: 2 * duplicates,
            ..Line::default()
        };
        assert_eq!(ledger.line(source), expected, "{source}");
    }
    let events = program.database.number("SELECT count(*) FROM events").await;
    assert_eq!(u64::try_from(events).unwrap(), 3 * 2 * bodies);
}

#[tokio::test]
async fn again_and_again_after_any_end() {
    let mut program = Program::new(BINARY);
    program.start();
    let first = send_all(&program, "a").await;
    assert!(first.iter().all(|(status, _)| matches!(status, 200 | 204)), "{first:?}");
    assert_eq!(send_all(&program, "a").await, first, "answered as the first time");
    assert_counted(&program, 1, 1).await;

    program.finish().await;
    program.start();
    assert_eq!(send_all(&program, "a").await, first, "after it had finished");
    send_all(&program, "b").await;
    assert_counted(&program, 2, 2).await;

    program.kill();
    program.start();
    assert_eq!(send_all(&program, "a").await, first, "after it was killed");
    send_all(&program, "b").await;
    assert_counted(&program, 2, 4).await;
    let counted = program.database.number("SELECT CAST(sum(count) AS bigint) FROM faults").await;
    assert_eq!(counted, 4, "two reports under each id");
}

/// Small segments, so that the ids' own is soon recycled and they must be known from their file.
#[tokio::test]
async fn after_the_first_record_is_forgotten() {
    let mut program = Program::new(BINARY)
        .set("spool.segment_bytes", "128 KiB")
        .set("spool.commit_bytes", "64 KiB")
        .set("receiver.body_limit", "64 KiB");
    program.start();
    send_all(&program, "a").await;
    let line = app_line("web.1", &"x".repeat(50_000));
    for round in 0..20 {
        let filler = program.drain(&format!("filler {round}"), frames([&line]));
        assert_eq!(filler.send().await.unwrap().status(), 204);
    }
    program.settled().await;
    program.kill();
    program.start();
    send_all(&program, "a").await;
    let ledger = program.settled().await;
    for source in SOURCES {
        assert_eq!(ledger.line(source).duplicate, 2, "{source}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_same_time() {
    const AT_ONCE: usize = 20;
    let mut program = Program::new(BINARY);
    program.start();
    for source in SOURCES {
        let sending: Vec<_> =
            (0..AT_ONCE).map(|_| tokio::spawn(request(&program, source, "same").send())).collect();
        for sent in sending {
            assert!(sent.await.unwrap().unwrap().status().is_success());
        }
    }
    assert_counted(&program, 1, AT_ONCE as u64 - 1).await;
}

#[tokio::test]
async fn an_id_belongs_to_its_sender_and_its_source() {
    let mut program = Program::new(BINARY);
    program.start();
    // The same id for every source, and no id at all, are no redeliveries.
    send_all(&program, "same").await;
    for token in ["d.one", "d.two", "d.two"] {
        let sent = program
            .post("/logdrains", "application/logplex-1")
            .header("logplex-frame-id", "same")
            .header("logplex-drain-token", token)
            .body(frames([app_line("web.1", "hello"), app_line("web.1", "again")]));
        assert_eq!(sent.send().await.unwrap().status(), 204);
    }
    for _ in 0..2 {
        program.report(r#"{"message":"without a key"}"#).await;
    }
    let ledger = program.settled().await;
    let counts = |source| (ledger.line(source).stored, ledger.line(source).duplicate);
    assert_eq!(counts("logdrains"), (6, 2));
    assert_eq!(counts("errors"), (4, 0));
    assert_eq!(counts("maxwell"), (2, 0));
}

#[tokio::test]
async fn what_was_refused_may_come_again_under_its_id() {
    let mut program = Program::new(BINARY);
    program.start();
    let send = |body: &'static str| {
        let request = program.post("/errors/log", "application/json");
        request.header("idempotency-key", "k").body(body).send()
    };
    assert_eq!(send(r#"{"message":1}"#).await.unwrap().status(), 400);
    assert_eq!(send(r#"{"message":"right"}"#).await.unwrap().status(), 200);
    let expected = Line { received: 1, stored: 1, ..Line::default() };
    assert_eq!(program.settled().await.line("errors"), expected);
}
