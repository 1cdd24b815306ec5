//! Events are found by what they say and where they come from, a page at a time, one by one, and as
//! a file, whichever store they are in.

#![expect(clippy::unwrap_used, reason = "a failing test is told by a panic")]

use std::collections::BTreeSet;

use faultline_testkit::program::{Program, app_line, frames};
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_faultline");
/// More than two pages of an export.
const ORDERS: usize = 1_200;

async fn with_events(mut program: Program) -> Program {
    program.start();
    for number in 0..3 {
        let report = json!({
            "message": format!("payment {number} refused: card expired"), "environment": "production",
            "service": "shop", "attributes": { "note": "line one\nreq-a-7" },
        });
        program.report(&report.to_string()).await;
    }
    program
        .report(r#"{"message":"=cmd|' /C calc'!A0","environment":"dev","service":"shop"}"#)
        .await;
    program.report(r#"{"message":"@SUM(\"1\",2)\nsecond line","environment":"dev"}"#).await;
    let lines = (0..ORDERS).map(|number| app_line("web.1", &format!("order-{number} shipped")));
    let sent = program.post("/logdrains", "application/logplex-1").body(frames(lines));
    assert_eq!(sent.send().await.unwrap().status(), 204);
    program.settled().await;
    program
}

async fn events(program: &Program, query: &str) -> Vec<Value> {
    let page = program.json(&format!("/api/events?{query}")).await;
    page["events"].as_array().unwrap().clone()
}

async fn status(program: &Program, path: &str) -> u16 {
    program.get(path).await.unwrap().0
}

async fn finds(program: &Program) {
    for (query, count) in [
        ("text=refused", 3),
        ("text=REFUSED%20card", 3),
        ("text=refuse", 0),
        ("text=payment%201%20refused", 1),
        ("text=%22card%20refused%22", 0),
        ("text=req-a-7", 3),
        ("text=a-7%20line", 3),
        ("text=order-17", 1),
        ("text=web.1&limit=1000", 1_000),
        ("text=%E6%9D%B1", 0),
        ("environment=dev", 2),
        ("environment=dev&service=shop", 1),
        ("source=errors&severity=error", 5),
        ("severity=critical", 0),
        ("kind=error&text=expired", 3),
        ("kind=router", 0),
        ("until=2020-01-01T00:00:00Z", 0),
        ("since=2020-01-01T00:00:00Z&source=errors", 5),
        ("since=2999-01-01T00:00:00%2B01:00", 0),
    ] {
        assert_eq!(events(program, query).await.len(), count, "{query}");
    }
}

async fn pages(program: &Program) {
    let (mut ids, mut cursor) = (BTreeSet::new(), String::new());
    let mut last = String::from("9");
    let mut count = 0;
    loop {
        let page = program.json(&format!("/api/events?text=shipped&limit=77{cursor}")).await;
        for event in page["events"].as_array().unwrap() {
            count += 1;
            ids.insert(event["id"].as_str().unwrap().to_owned());
            let received_at = event["received_at"].as_str().unwrap().to_owned();
            assert!(received_at <= last, "the newest first");
            last = received_at;
        }
        let Some(next) = page["next"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!((count, ids.len()), (ORDERS, ORDERS));
}

async fn one_event_and_a_fault(program: &Program) {
    let found = events(program, "text=order-17").await;
    let id = found[0]["id"].as_str().unwrap();
    assert_eq!(program.json(&format!("/api/events/{id}")).await, found[0]);
    assert_eq!(status(program, "/api/events/1.99999.0").await, 404);
    assert_eq!(status(program, "/api/events/17").await, 400);

    let faults = program.json("/api/faults").await;
    let faults = faults["faults"].as_array().unwrap();
    let fault = faults.iter().find(|fault| fault["count"] == 3).unwrap();
    let found = events(program, &format!("fault={}", fault["id"])).await;
    assert_eq!(found.len(), 3);
    let shown = program.json(&format!("/api/faults/{}", fault["id"])).await;
    assert_eq!(shown["events"].as_array().unwrap(), &found);
    let query = format!("fault={}&environment=dev", fault["id"]);
    assert!(events(program, &query).await.is_empty());
    let fingerprint = found[0]["fingerprint"].as_str().unwrap();
    assert_eq!(events(program, &format!("fingerprint={fingerprint}")).await, found);
    assert_eq!(status(program, "/api/events?fault=999").await, 404);
}

async fn what_cannot_be_asked_for_is_refused(program: &Program) {
    let long = format!("text={}", "a".repeat(1_001));
    for query in [
        "limit=0",
        "limit=1001",
        "limit=x",
        "cursor=x",
        "since=yesterday",
        "kind=loud",
        "severity=loud",
        "source=mail",
        "fault=x",
        "txt=a",
        "format=csv",
        &long,
        "text=%FF&limit=many",
    ] {
        assert_eq!(status(program, &format!("/api/events?{query}")).await, 400, "{query}");
    }
    for query in ["", "format=xml", "format=csv&limit=3", "format=csv&kind=loud"] {
        assert_eq!(status(program, &format!("/api/events/export?{query}")).await, 400, "{query}");
    }
}

async fn exports(program: &Program) {
    let export = async |query: &str| {
        let path = format!("/api/events/export?{query}");
        let answer = program.look(&path).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
        let headers = (header("content-type"), header("content-disposition"));
        (headers, answer.text().await.unwrap())
    };
    let (headers, lines) = export("format=ndjson").await;
    assert_eq!(headers.0, "application/x-ndjson");
    assert_eq!(headers.1, "attachment; filename=\"events.ndjson\"");
    let all: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ids: BTreeSet<_> = all.iter().map(|event| event["id"].as_str().unwrap()).collect();
    assert_eq!((all.len(), ids.len()), (ORDERS + 5, ORDERS + 5));
    let newest = events(program, "limit=1000").await;
    assert_eq!(all[..newest.len()], newest);

    let (headers, text) = export("format=csv").await;
    assert_eq!(headers.0, "text/csv; charset=utf-8");
    let mut csv = csv::Reader::from_reader(text.as_bytes());
    assert_eq!(&csv.headers().unwrap()[9], "message");
    let rows: Vec<_> = csv.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), ORDERS + 5);
    for (row, event) in rows.iter().zip(&all) {
        let message = event["message"].as_str().unwrap();
        let is_formula = message.starts_with(['=', '@']);
        assert_eq!(row[9].strip_prefix('\'').filter(|_| is_formula).unwrap_or(&row[9]), message);
        assert_eq!(is_formula, row[9].starts_with('\''));
        assert_eq!(&row[0], event["id"].as_str().unwrap());
    }
    let (_, text) = export("format=csv&text=nowhere").await;
    assert_eq!(text.lines().count(), 1, "the names");
    let (_, text) = export("format=ndjson&environment=dev").await;
    assert_eq!(text.lines().count(), 2);
}

async fn behaves(program: Program) {
    let program = with_events(program).await;
    finds(&program).await;
    pages(&program).await;
    one_event_and_a_fault(&program).await;
    what_cannot_be_asked_for_is_refused(&program).await;
    exports(&program).await;
}

#[tokio::test]
async fn of_sqlite() {
    behaves(Program::new(BINARY)).await;
}

#[tokio::test]
async fn of_postgres() {
    behaves(Program::with_postgres(BINARY)).await;
}

/// An export holds up nobody, and takes no more memory than a few pages, however slow its reader is.
#[tokio::test]
async fn an_export_that_nobody_reads_costs_little() {
    let mut program = Program::new(BINARY);
    program.start();
    let text = "x".repeat(9_000);
    for _ in 0..40 {
        let lines = (0..100).map(|_| app_line("web.1", &text));
        let sent = program.post("/logdrains", "application/logplex-1").body(frames(lines));
        assert_eq!(sent.send().await.unwrap().status(), 204);
    }
    program.settled().await;
    let before = program.peak_mib();
    let mut readers = Vec::new();
    for _ in 0..4 {
        let mut answer = program.look("/api/events/export?format=ndjson").send().await.unwrap();
        // Its first bytes only.
        answer.chunk().await.unwrap().unwrap();
        readers.push(answer);
    }
    assert_eq!(events(&program, "limit=3").await.len(), 3);
    let grown = program.peak_mib() - before;
    // 36 MB each, had they been put together.
    assert!(grown < 100, "{grown} MiB for {} readers", readers.len());
    let mut read = 0;
    let mut answer = readers.pop().unwrap();
    while let Some(chunk) = answer.chunk().await.unwrap() {
        read += chunk.len();
    }
    assert!(read > 35_000_000, "{read} bytes");
}
