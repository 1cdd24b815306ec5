//! SQLite and PostgreSQL hold the same rows for the same input, the odd ones included.

#![expect(clippy::unwrap_used, reason = "a failing test is told by a panic")]

use std::collections::{BTreeMap, BTreeSet};

use faultline_testkit::{
    database::Database,
    eventually,
    program::{Program, frames},
};
use serde_json::value::RawValue;

const BINARY: &str = env!("CARGO_BIN_EXE_faultline");

/// Lines of every kind, with bytes that no store takes as text.
fn drain() -> Vec<u8> {
    let line = |text: &[u8]| {
        let header = b"<190>1 2026-11-22T03:00:07.123456+00:00 host app web.1 - ";
        [&header[..], text, b"\n"].concat()
    };
    let heroku = |process: &str, text: &str| {
        format!("<158>1 2026-11-22T03:00:08.5+00:00 host heroku {process} - {text}\n").into_bytes()
    };
    let mut body = frames([
        line(b"plain"),
        line(b"caf\xe9 \xff\xfe and a\0b"),
        line("\u{10ffff} \u{feff} \u{7f}\u{1b}[31m \\x \"quoted\"\ttab".as_bytes()),
        line(b"Error: boom \xe9"),
        line(b"    at f (/a.js:1:2)"),
        line(b"ERROR out of paper"),
        heroku(
            "router",
            "at=error code=H12 desc=\"x\" method=GET path=\"/a\\u0000\\\"\" host=h \
                          request_id=r fwd=\"1.2.3.4\" dyno= connect= service=30000ms status=503 \
                          bytes= protocol=https",
        ),
        heroku("web.1", "Error R14 (Memory quota exceeded)"),
        b"<14>1 0001-01-01T00:00:00Z box app\xff proc id in the year one\n".to_vec(),
        b"<14>1 9999-12-30T21:59:59.999999Z box7 billing 88 - the last moment\n".to_vec(),
        b"no header \xff\0".to_vec(),
    ]);
    body.extend_from_slice(b"\xff\0 no frame");
    body
}

const REPORTS: &str = r#"[
    {"message":"a\u0000b \ud83d\ude00","stackTrace":"E: x\u0000\n at f","timestamp":1795316400.25,
     "environment":"stäging","attributes":{"n":1e400,"z":"\u0000","d":12345678901234567890.10,"d":2}},
    {"message":"plain","timestamp":"1969-12-31T23:59:59.5Z","level":"debug","key \u0000":"v\u0000"}
]"#;

const CHANGES: &str = concat!(
    r#"{"type":"insert","database":"shop","table":"o","ts":1477053217,"data":{"n":"\u0000","m":99999999999999999999.10,"s":"\ud83d\ude00"}}"#,
    "\n",
    r#"{"type":"insert","type":"delete","database":"a\u0000b","ts":253402300799,"data":{"x":1,"x":2}}"#,
    "\nnot json \u{0}\n",
    r#"{"encrypted":{"iv":"a","bytes":"b"}}"#,
);

async fn send(program: &Program) {
    for (path, content_type, body) in [
        ("/logdrains?service=shop", "application/logplex-1", drain()),
        ("/errors/log", "application/json", REPORTS.into()),
        ("/maxwell", "application/x-ndjson", CHANGES.into()),
    ] {
        let answer = program.post(path, content_type).body(body).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.text().await.unwrap());
    }
    program.settled().await;
}

/// `sql` in the words of the store: `TIME(x)` in microseconds, `HEX(x)` of bytes.
async fn rows(program: &Program, sql: &str) -> Vec<String> {
    let sql = match &program.database {
        Database::Sqlite(_) => sql.replace("TIME(", "("),
        Database::Postgres(_) => {
            sql.replace("TIME(", "extract(epoch from ").replace("HEX(", "HEX_OF(")
        }
    };
    program.database.texts(&sql).await
}

#[tokio::test]
async fn the_same_rows() {
    let mut sqlite = Program::new(BINARY);
    let mut postgres = Program::with_postgres(BINARY);
    sqlite.start();
    postgres.start();
    send(&sqlite).await;
    send(&postgres).await;
    postgres
        .database
        .execute(
            "CREATE FUNCTION HEX_OF(bytes bytea) RETURNS text LANGUAGE sql AS $$ SELECT \
             upper(coalesce(encode(bytes, 'hex'), '')) $$",
        )
        .await;
    let time = "CASE WHEN occurred_at = received_at THEN 'received' ELSE cast(TIME(occurred_at) AS \
                text) END";
    for (sql, count) in [
        (
            "SELECT source || '|' || kind || '|' || severity || '|' || environment || '|' || \
             service || '|' || coalesce(process, '-') || '|' || message || '|' || \
             HEX(message_bytes) || '|' || coalesce(stack_trace, '-') || '|' || \
             coalesce(cast(attributes AS text), '-') || '|' || coalesce(cast(priority AS text), \
             '-') || '|' || messages || '|' || coalesce(fingerprint, '-') FROM events ORDER BY \
             sequence, ordinal"
            .to_owned(),
            14,
        ),
        (format!("SELECT {time} FROM events ORDER BY sequence, ordinal"), 14),
        (
            "SELECT source || '|' || reason || '|' || HEX(bytes) || '|' || length || '|' || messages \
             FROM rejected ORDER BY sequence, ordinal"
                .to_owned(),
            3,
        ),
        (
            "SELECT environment || '|' || service || '|' || kind || '|' || severity || '|' || title \
             || '|' || example || '|' || count || '|' || fingerprint FROM faults ORDER BY \
             fingerprint"
                .to_owned(),
            6,
        ),
    ] {
        let mut of_postgres = rows(&postgres, &sql).await;
        if sql.contains("TIME(") {
            // Seconds with a fraction, there.
            for row in &mut of_postgres {
                *row = in_micros(row);
            }
        }
        let of_sqlite = rows(&sqlite, &sql).await;
        assert_eq!(of_sqlite, of_postgres, "{sql}");
        assert_eq!(of_sqlite.len(), count, "{of_sqlite:#?}");
    }
    let ledgers = (sqlite.ledger().await, postgres.ledger().await);
    assert_eq!(ledgers.0, ledgers.1);
    for path in ["/api/events", "/api/faults", "/api/rejected"] {
        // Jobs of faults are done a little later.
        eventually("both list the same", async || {
            let lists = (listed(&sqlite, path).await, listed(&postgres, path).await);
            if lists.0 == lists.1 { Ok(()) } else { Err((path, lists)) }
        })
        .await;
    }
    // Numbers of any size are shown as they came.
    let (_, events) = sqlite.get("/api/events").await.unwrap();
    for number in ["1e400", "12345678901234567890.10", "99999999999999999999.10"] {
        assert!(events.contains(number), "{events}");
    }
}

fn in_micros(row: &str) -> String {
    match row.split_once('.') {
        Some((seconds, fraction)) => {
            format!("{seconds}{fraction:0<6}").parse::<i64>().unwrap().to_string()
        }
        None => row.to_owned(),
    }
}

/// A list of the API, as text, without what differs from run to run.
async fn listed(program: &Program, path: &str) -> BTreeSet<String> {
    let (status, text) = program.get(path).await.unwrap();
    assert_eq!(status, 200, "{path}: {text}");
    let answer: BTreeMap<&str, &RawValue> = serde_json::from_str(&text).unwrap();
    let list = answer[path.rsplit('/').next().unwrap()].get();
    let list: Vec<BTreeMap<&str, &RawValue>> = serde_json::from_str(list).unwrap();
    let rows = list.into_iter().map(|mut row| {
        for key in ["id", "received_at", "occurred_at", "first_seen", "last_seen"] {
            row.remove(key);
        }
        serde_json::to_string(&row).unwrap()
    });
    rows.collect()
}
