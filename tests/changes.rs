//! Maxwell's lines become events word for word, by standard input and by `POST /maxwell` alike;
//! what is no line of Maxwell's is kept as rejected, and reading goes on.

use std::io::Write;

use faultline_testkit::{
    eventually,
    program::{Line, Program},
};

const BINARY: &str = env!("CARGO_BIN_EXE_faultline");

/// Every type of record and every quirk of its values (zendesk/maxwell `docs/docs/dataformat.md`),
/// with the message and the time that it becomes, in microseconds.
const LINES: [(&str, &str, i64); 18] = [
    (
        r#"{"database":"shop","table":"orders","type":"insert","ts":1477053217,"xid":23396,"commit":true,"data":{"id":18446744073709551615,"total":-123456789012345678901234567890.12345678901234567890,"rate":5.40,"tiny":1e-400}}"#,
        "insert shop.orders",
        1_477_053_217_000_000,
    ),
    (
        r#"{"database":"shop","table":"orders","type":"update","ts":1477053234,"xid":23397,"xoffset":3,"position":"master.000006:800911","gtid":"3E11FA47-71CA-11E1-9E33-C80AA9429562:23","server_id":1,"thread_id":7,"schema_id":2,"push_ts":1477053234.5,"primary_key":[1,"c"],"primary_key_columns":["id","c"],"query":"UPDATE orders SET m=5.444","data":{"id":1,"m":5.444,"c":"2016-10-21 05:33:54.631000"},"old":{"m":4.2341,"c":"0000-00-00 00:00:00.000"}}"#,
        "update shop.orders",
        1_477_053_234_000_000,
    ),
    (
        r#"{"database":"shop","table":"orders","type":"delete","ts":1477053240,"xid":23398,"data":{"id":1,"flags":["beta","2fa"],"bits":5,"blob":"AAECgP8=","json":{"a":[1,{"b":null}],"n":1.10},"point":"POINT (1 2)","nothing":null}}"#,
        "delete shop.orders",
        1_477_053_240_000_000,
    ),
    (
        r#"{"database":"shop","table":"orders","type":"bootstrap-start","ts":1450557744,"data":{},"comment":"by hand"}"#,
        "bootstrap-start shop.orders",
        1_450_557_744_000_000,
    ),
    (
        r#"{"database":"shop","table":"orders","type":"bootstrap-insert","ts":1450557744,"data":{"txt":"hello"}}"#,
        "bootstrap-insert shop.orders",
        1_450_557_744_000_000,
    ),
    (
        r#"{"database":"shop","table":"orders","type":"bootstrap-complete","ts":1450557744,"data":{}}"#,
        "bootstrap-complete shop.orders",
        1_450_557_744_000_000,
    ),
    (
        r#"{"type":"table-create","database":"shop","table":"orders","def":{"database":"shop","charset":"utf8mb4","table":"orders","columns":[{"type":"int","name":"id","signed":false}],"primary-key":["id"]},"ts":1450557598000,"sql":"create table orders (id int unsigned)"}"#,
        "table-create shop.orders",
        1_450_557_598_000_000,
    ),
    (
        r#"{"type":"table-alter","database":"shop","table":"orders","old":{"columns":[]},"def":{"columns":[]},"ts":1450557598123,"sql":"alter table orders add x int"}"#,
        "table-alter shop.orders",
        1_450_557_598_123_000,
    ),
    (
        r#"{"type":"table-drop","database":"shop","table":"orders","ts":1450557598000,"sql":"drop table orders"}"#,
        "table-drop shop.orders",
        1_450_557_598_000_000,
    ),
    (
        r#"{"type":"database-create","database":"shop","charset":"utf8mb4","ts":1450557598000,"sql":"create database shop"}"#,
        "database-create shop",
        1_450_557_598_000_000,
    ),
    (
        r#"{"type":"database-alter","database":"shop","old":{"charset":"latin1"},"ts":1450557598000,"sql":"alter database shop"}"#,
        "database-alter shop",
        1_450_557_598_000_000,
    ),
    (
        r#"{"type":"database-drop","database":"shop","ts":1450557598000,"sql":"drop database shop"}"#,
        "database-drop shop",
        1_450_557_598_000_000,
    ),
    // encrypt=data leaves the frame readable; encrypt=all leaves nothing.
    (
        r#"{"database":"shop","table":"users","type":"insert","ts":1477053217,"xid":1,"encrypted":{"iv":"aWksIu/M9RYFnvFgxIhDjg==","bytes":"3/Cu8u="}}"#,
        "insert shop.users",
        1_477_053_217_000_000,
    ),
    (r#"{"encrypted":{"iv":"aWksIu/M9RYFnvFgxIhDjg==","bytes":"3/Cu8u="}}"#, "encrypted change", 0),
    // A filter's own keys and types, names in another style, and spaces that Maxwell never writes.
    (
        r#"{ "database" : "shop", "table":"users", "type":"my-own", "ts":1477053217, "tenant":{"id":[7]}, "primaryKeyColumns":["id"], "data":{"isAdmin":true} }"#,
        "my-own shop.users",
        1_477_053_217_000_000,
    ),
    (
        r#"{"database":"søt","table":"a\"b\\c","type":"insert","ts":1477053217,"data":{"emoji":"😀","escaped":"\ud83d\ude00\n\u0000"}}"#,
        "insert søt.a\"b\\c",
        1_477_053_217_000_000,
    ),
    // Filters make these too: a key twice, and no time.
    (
        r#"{"database":"shop","table":"users","type":"insert","type":"delete","ts":"soon","data":{"id":1,"id":2}}"#,
        "delete shop.users",
        0,
    ),
    (
        r#"{"type":"insert","database":"shop","table":"users","ts":9223372036854775807,"data":{}}"#,
        "insert shop.users",
        0,
    ),
];

/// Waits until `count` messages have come in and nothing is in flight.
async fn taken(program: &Program, count: u64) -> Line {
    eventually("the lines are taken", async || {
        let line = program.ledger().await.line("maxwell");
        if line.received == count && line.in_flight == 0 { Ok(line) } else { Err(line) }
    })
    .await
}

async fn assert_as_they_came(program: &Program) {
    let texts = async |column: &str| {
        let sql = format!("SELECT {column} FROM events ORDER BY sequence, ordinal");
        program.database.texts(&sql).await
    };
    assert_eq!(texts("attributes").await, LINES.map(|(line, ..)| line));
    assert_eq!(texts("message").await, LINES.map(|(_, message, _)| message));
    let times =
        LINES.map(|(_, _, time)| if time == 0 { "received".into() } else { time.to_string() });
    let time =
        "CASE occurred_at WHEN received_at THEN 'received' ELSE cast(occurred_at AS text) END";
    assert_eq!(texts(time).await, times);
    let kinds = "SELECT count(*) FROM events WHERE kind = 'change' AND source = 'maxwell' AND \
                 severity = 'info' AND fingerprint IS NULL";
    assert_eq!(usize::try_from(program.database.number(kinds).await), Ok(LINES.len()));
}

fn all_lines() -> String {
    LINES.iter().map(|(line, ..)| format!("{line}\n")).collect()
}

#[tokio::test]
async fn every_line_is_kept_word_for_word_from_standard_input() {
    let mut program = Program::new(BINARY).reads_pipe();
    program.start();
    let mut stdin = program.stdin();
    // The last line lacks its end, and some end as on Windows.
    let text = all_lines().replace("}}\n", "}}\r\n\n  \n");
    stdin.write_all(text.trim_end().as_bytes()).unwrap();
    drop(stdin);
    assert!(program.ended().await.success(), "{}", program.log());
    assert_as_they_came(&program).await;
    let services = "SELECT service FROM events WHERE message LIKE 'my-own%' OR message LIKE 'enc%' \
                    ORDER BY ordinal DESC";
    assert_eq!(program.database.texts(services).await, ["shop", ""]);
}

#[tokio::test]
async fn every_line_is_kept_word_for_word_over_http() {
    let mut program = Program::new(BINARY);
    program.start();
    for content_type in ["application/x-ndjson", "application/json", "text/plain"] {
        assert_eq!(program.post("/maxwell", content_type).send().await.unwrap().status(), 204);
    }
    let request = program.post("/maxwell?service=replica", "application/x-ndjson");
    let request = request.header("idempotency-key", "k").body(all_lines());
    assert_eq!(request.try_clone().unwrap().send().await.unwrap().status(), 204);
    assert_eq!(request.send().await.unwrap().status(), 204);
    let count = LINES.len() as u64;
    let line = taken(&program, 2 * count).await;
    assert_eq!((line.stored, line.duplicate), (count, count));
    assert_as_they_came(&program).await;
    let services = "SELECT service FROM events WHERE message LIKE 'enc%'";
    assert_eq!(program.database.texts(services).await, ["replica"]);
}

#[tokio::test]
async fn what_is_no_change_is_rejected_and_reading_goes_on() {
    let bad: [(&[u8], &str); 8] = [
        (b"INFO Maxwell started", "not JSON"),
        (br#"{"type":"insert","database":"shop"#, "not JSON"),
        (br#"{"type":"insert"} trailing"#, "not JSON"),
        (b"[1,2]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (br#"{"database":"shop"}"#, "no text under the key `type`"),
        (br#"{"type":5}"#, "`type` is not a text"),
        (b"{\"type\":\"insert\",\"data\":{\"a\":\"\xff\"}}", "not JSON"),
    ];
    let good = br#"{"type":"insert","database":"shop","table":"users","ts":1477053217,"data":{}}"#;
    let mut program = Program::new(BINARY).reads_pipe().set("stdin.line_limit", "256 KiB");
    program.start();
    let mut stdin = program.stdin();
    for (line, _) in bad {
        stdin.write_all(&[line, b"\n", good, b"\n"].concat()).unwrap();
    }
    let overlong = format!("{{\"type\":\"insert\",\"data\":\"{}\"}}", "x".repeat(1 << 20));
    stdin.write_all(format!("{overlong}\n").as_bytes()).unwrap();
    stdin.write_all(good).unwrap();
    drop(stdin);
    assert!(program.ended().await.success(), "{}", program.log());
    assert_eq!(program.database.number("SELECT count(*) FROM events").await, 9);
    let rows = program
        .database
        .texts("SELECT hex(substr(bytes, 1, 60)) || ' ' || length || ' ' || reason FROM rejected ORDER BY id")
        .await;
    assert_eq!(rows.len(), 9);
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02X}")).collect::<String>();
    for (row, (line, reason)) in rows.iter().zip(bad) {
        let start = format!("{} {} line at byte ", hex(&line[..line.len().min(60)]), line.len());
        assert!(row.starts_with(&start) && row.contains(reason), "{row}");
    }
    let expected = format!(
        "{} {} a line of {} bytes, which is beyond the limit",
        hex(&overlong.as_bytes()[..60]),
        overlong.len(),
        overlong.len()
    );
    assert_eq!(rows[8], expected);
}

#[tokio::test]
async fn the_end_of_input_need_not_be_the_end() {
    let mut program = Program::new(BINARY).reads_pipe().set("stdin.on_eof", "serve");
    program.start();
    let mut stdin = program.stdin();
    stdin.write_all(all_lines().as_bytes()).unwrap();
    drop(stdin);
    taken(&program, LINES.len() as u64).await;
    program.report(r#"{"message":"still here"}"#).await;
    assert_eq!(program.settled().await.line("errors").stored, 1);
    let health = program.json("/health").await;
    assert_eq!(health["components"]["maxwell"]["details"]["position"], "master.000006:800911");
    program.finish().await;
}
