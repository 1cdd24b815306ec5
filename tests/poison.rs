//! What cannot be stored as it came is repaired or rejected by itself, with its reason and its
//! bytes: its neighbours are stored, nothing is tried for ever, and what was rejected can be
//! replayed.

#![expect(clippy::unwrap_used, reason = "a failing test is told by a panic")]

use std::process::Output;

use faultline_testkit::{
    database::Database,
    program::{Line, Program, frames},
};

const BINARY: &str = env!("CARGO_BIN_EXE_faultline");

/// Runs `test` with a started program, once for each store.
async fn on_each_store(test: impl AsyncFn(&mut Program)) {
    for mut program in [Program::new(BINARY), Program::with_postgres(BINARY)] {
        program.start();
        // Its tables are there once its ledger is.
        program.ledger().await;
        test(&mut program).await;
    }
}

fn line(stored: u64, rejected: u64) -> Line {
    Line { received: stored + rejected, stored, rejected, ..Line::default() }
}

/// The messages of `source`, in the order in which they came.
async fn messages(program: &Program, source: &str) -> Vec<String> {
    let sql = format!(
        "SELECT message FROM events WHERE source = '{source}' ORDER BY origin, sequence, ordinal"
    );
    program.database.texts(&sql).await
}

/// Reasons and bytes of what was rejected, oldest first.
async fn rejected(program: &Program) -> Vec<(String, String)> {
    let listed = program.json("/api/rejected?limit=1000").await;
    let mut rows: Vec<_> = listed["rejected"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            (row["reason"].as_str().unwrap().to_owned(), row["bytes"].as_str().unwrap().to_owned())
        })
        .collect();
    rows.reverse();
    rows
}

#[tokio::test]
async fn frames_of_a_drain() {
    on_each_store(async |program| {
        let frame = |time: &str, text: &[u8]| {
            [b"<190>1 ", time.as_bytes(), b" host app web.1 - ", text, b"\n"].concat()
        };
        let usual = "2026-11-22T03:00:00+00:00";
        let long_field = format!("<190>1 {usual} host app {} - lost field\n", "p".repeat(300));
        let body = frames([
            frame(usual, b"before"),
            frame(usual, b"nul \0 byte"),
            frame(usual, b"caf\xe9 in latin-1"),
            frame(usual, b"half a character \xf0\x9f"),
            frame("0000-01-01T00:00:00Z", b"year zero"),
            frame("99999-01-01T00:00:00Z", b"year 99999"),
            frame("-0042-01-01T00:00:00Z", b"a negative year"),
            frame("9999-12-31T23:59:59.999999Z", b"the last day"),
            frame("2026-02-30T25:61:61Z", b"no day at all"),
            frame(usual, "\u{feff}\u{fffe}\u{202e}\u{10ffff}".as_bytes()),
            b"no header".to_vec(),
            long_field.into_bytes(),
            frame(usual, b"after"),
        ]);
        let path = "/logdrains?service=shop%00%FF&environment=%00";
        let request = program.post(path, "application/logplex-1").body(body);
        assert_eq!(request.send().await.unwrap().status(), 204);
        assert_eq!(program.settled().await.line("logdrains"), line(11, 2));
        let expected = [
            "before",
            "nul \u{fffd} byte",
            "caf\u{fffd} in latin-1",
            "half a character \u{fffd}",
            "year zero",
            "year 99999",
            "a negative year",
            "the last day",
            "no day at all",
            "\u{feff}\u{fffe}\u{202e}\u{10ffff}",
            "after",
        ];
        assert_eq!(messages(program, "logdrains").await, expected);
        let rejected = rejected(program).await;
        assert_eq!(rejected[0].1, "no header");
        assert!(rejected[0].0.contains("no priority"), "{rejected:?}");
        assert!(rejected[1].0.contains("process id of 300 bytes"), "{rejected:?}");
        assert!(rejected[1].1.ends_with("lost field\n"), "{rejected:?}");
        let repaired = "SELECT count(*) FROM events WHERE message_bytes IS NOT NULL";
        assert_eq!(program.database.number(repaired).await, 3, "with their own bytes beside them");
    })
    .await;
}

#[tokio::test]
async fn error_reports() {
    on_each_store(async |program| {
        let deep = format!("{}1{}", r#"{"a":"#.repeat(127), "}".repeat(127));
        let long_pin = "p".repeat(250);
        let body = format!(
            r#"[
                {{"message": "before"}},
                {{"message": "nul \u0000", "service": "s\u0000", "environment": "\u0000",
                  "stackTrace": "E: \u0000\n at f (a.js:1:2)", "attributes": {{"\u0000": "\u0000"}}}},
                {{"message": "odd numbers", "attributes": {{"big": 1e999, "small": -0.0e-999,
                  "long": {digits}, "twice": 1, "twice": 2}}}},
                {{"message": "deep", "attributes": {deep}, "more": {deep}}},
                {{"message": "the first moment", "timestamp": "0001-01-01T00:00:00Z"}},
                {{"message": "pinned", "fingerprint": ["{long_pin}", "{long_pin}", "\u0000"]}},
                {{"message": "\ud83d\ude00 {long}"}},
                {{"message": "after"}}
            ]"#,
            digits = "9".repeat(400),
            long = "word ".repeat(20_000),
        );
        program.report(&body).await;
        assert_eq!(program.settled().await.line("errors"), line(8, 0));
        let messages = messages(program, "errors").await;
        assert_eq!((messages[0].as_str(), messages[7].as_str()), ("before", "after"));
        assert_eq!(messages[1], "nul \u{fffd}");
        assert_eq!(messages[6].len(), 100_005, "not cut");
        let counted =
            program.database.number("SELECT CAST(sum(count) AS bigint) FROM faults").await;
        assert_eq!(counted, 8);

        // What the sender can put right is refused, all of it, and the place is named.
        let long_name = "n".repeat(256);
        for (member, pointer) in [
            (r#""timestamp": "0000-01-01T00:00:00Z""#, "/1/timestamp"),
            (r#""timestamp": 99999999999999999"#, "/1/timestamp"),
            (r#""timestamp": -99999999999999"#, "/1/timestamp"),
            (r#""message": "\ud800""#, "/1/message"),
            (&format!(r#""service": "{long_name}""#), "/1/service"),
            (&format!(r#""environment": "{long_name}""#), "/1/environment"),
            (&format!(r#""fingerprint": "{long_name}""#), "/1/fingerprint"),
            (&format!(r#""attributes": {{"a": {deep}, "b": [{deep}]}}"#), "/1/attributes"),
        ] {
            let message = if member.contains("message") { "" } else { r#""message": "bad", "# };
            let body = format!(r#"[{{"message": "good"}}, {{{message}{member}}}]"#);
            let request = program.post("/errors/log", "application/json").body(body);
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), 400, "{member}");
            let problem: serde_json::Value = answer.json().await.unwrap();
            assert_eq!(problem["pointer"], pointer, "{problem}");
        }
        assert_eq!(program.settled().await.line("errors"), line(8, 0), "nothing of those");
    })
    .await;
}

#[tokio::test]
async fn lines_of_maxwell() {
    on_each_store(async |program| {
        let change = |members: &str| {
            format!(r#"{{"database":"shop","table":"t","type":"insert",{members}}}"#).into_bytes()
        };
        let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        let stored = [
            change(r#""ts":1,"data":{"id":"before"}"#),
            change(r#""ts":9223372036854775807,"data":{}"#),
            change(r#""ts":-9223372036854775808,"data":{}"#),
            change(r#""ts":1e300,"data":{}"#),
            change(r#""ts":"yesterday","data":{"nul":"\u0000","pair":"\ud83d\ude00"}"#),
            change(&format!(r#""ts":1,"data":{{"m":{0}.{0}}}"#, "9".repeat(65))),
            change(&format!(r#""ts":1,"data":{{"deep":{}}}"#, nested(100))),
            br#"{"database":"s\u0000p","table":"\u0000","type":"insert","ts":1}"#.to_vec(),
            change(r#""ts":1,"data":{"id":"after"}"#),
        ];
        let refused: [Vec<u8>; 5] = [
            b"not json".to_vec(),
            b"[1]".to_vec(),
            change(&format!(r#""ts":1,"data":{}"#, nested(5_000))),
            change("\"ts\":1,\"data\":{\"latin\":\"caf\u{e9}\"}")
                .into_iter()
                .filter(|byte| *byte != 0xC3)
                .collect(),
            br#"{"type":5}"#.to_vec(),
        ];
        // Good and bad ones in turn.
        let mut body = Vec::new();
        for (index, good) in stored.iter().enumerate() {
            for line in [Some(good), refused.get(index)].into_iter().flatten() {
                body.extend_from_slice(line);
                body.push(b'\n');
            }
        }
        let request = program.post("/maxwell", "application/x-ndjson").body(body);
        assert_eq!(request.send().await.unwrap().status(), 204);
        let expected = line(stored.len() as u64, refused.len() as u64);
        assert_eq!(program.settled().await.line("maxwell"), expected);
        let kept = program
            .database
            .texts("SELECT CAST(attributes AS text) FROM events ORDER BY origin, sequence, ordinal")
            .await;
        let kept: Vec<_> = kept.iter().map(String::as_bytes).collect();
        assert_eq!(kept, stored.each_ref().map(Vec::as_slice), "word for word");
        let rejected = rejected(program).await;
        let bytes: Vec<_> = rejected.iter().map(|(_, bytes)| bytes.as_str()).collect();
        assert_eq!((bytes[0], bytes[1], bytes[4]), ("not json", "[1]", r#"{"type":5}"#));
    })
    .await;
}

/// Makes the store refuse every event that has `poison` in its message.
async fn refuse_poison(program: &Program) {
    let sql = match &program.database {
        Database::Sqlite(_) => {
            "CREATE TRIGGER no_poison BEFORE INSERT ON events WHEN new.message LIKE '%poison%'
             BEGIN SELECT RAISE(ABORT, 'no poison'); END"
        }
        Database::Postgres(_) => {
            "ALTER TABLE events ADD CONSTRAINT no_poison CHECK (message NOT LIKE '%poison%')"
        }
    };
    program.database.execute(sql).await;
}

async fn take_poison(program: &Program) {
    let sql = match &program.database {
        Database::Sqlite(_) => "DROP TRIGGER no_poison",
        Database::Postgres(_) => "ALTER TABLE events DROP CONSTRAINT no_poison",
    };
    program.database.execute(sql).await;
}

/// Has rejected messages replayed, by the command that people use.
async fn replay(program: &Program) -> Output {
    let url = format!("http://{}", program.admin());
    let mut command = program.command_with(&["replay", "--rejected", "--url", &url]);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{output:?}");
    output
}

/// All that is stored of the events, in an order that does not tell when.
const CONTENT: &str = "
    SELECT source || kind || severity || environment || service || coalesce(process, '-') || message
        || coalesce(stack_trace, '-') || coalesce(CAST(attributes AS text), '-')
        || CAST(occurred_at AS text) || coalesce(CAST(priority AS text), '-')
        || CAST(messages AS text) || coalesce(fingerprint, '-')
    FROM events ORDER BY 1";

/// Sends messages of every source, good ones around those with `word` in them.
async fn send_word(program: &Program, word: &str) {
    let drain = frames([
        "<190>1 2026-11-22T03:00:00.000001+00:00 host app web.1 - before\n".to_owned(),
        format!("<187>1 2026-11-22T03:00:00.000002+00:00 other cron job.7 ID47 - one {word}\n"),
        format!("<190>1 2026-11-22T03:00:00.000003+00:00 host app web.2 - TypeError: {word}\n"),
        "<190>1 2026-11-22T03:00:00.000003+00:00 host app web.2 -     at f (/a.js:1:2)\n"
            .to_owned(),
        "<190>1 2026-11-22T03:00:00.000003+00:00 host app web.2 -     at g (/a.js:3:4)\n"
            .to_owned(),
        format!(
            "<158>1 2026-11-22T03:00:00.000004+00:00 host heroku router - at=error code=H12 desc=\"Request timeout\" method=GET path=\"/{word}\" host=x.y request_id=1 fwd=\"1.2.3.4\" dyno=web.1 connect=1ms service=30000ms status=503 bytes=0\n"
        ),
        format!("<45>1 2026-11-22T03:00:00.000005+00:00 host heroku web.1 - Stopping {word}\n"),
        "<190>1 2026-11-22T03:00:00.000006+00:00 host app web.1 - after\n".to_owned(),
    ]);
    let sent = program.post("/logdrains", "application/logplex-1").body(drain).send().await;
    assert_eq!(sent.unwrap().status(), 204);
    let reports = format!(
        r#"[{{"message": "before", "timestamp": 1795316510}},
            {{"message": "a {word}", "stackTrace": "E: x\n at f (a.js:1:2)", "level": "fatal",
              "environment": "dev", "service": "s", "timestamp": 1795316511.25,
              "fingerprint": "mine", "attributes": {{"n": 1.50}}, "more": [1]}},
            {{"message": "after", "timestamp": 1795316512}}]"#
    );
    program.report(&reports).await;
    let lines = format!(
        "{}\n{}\n{}\n",
        r#"{"database":"shop","table":"before","type":"insert","ts":1}"#,
        format_args!(
            r#"{{"database":"shop","table":"{word}","type":"insert","ts":2,"data":{{"m":1.50}}}}"#
        ),
        r#"{"database":"shop","table":"after","type":"insert","ts":3}"#,
    );
    let sent = program.post("/maxwell", "application/x-ndjson").body(lines).send().await;
    assert_eq!(sent.unwrap().status(), 204);
}

#[tokio::test]
async fn what_the_store_refuses_is_replayed_as_it_was() {
    on_each_store(async |program| {
        refuse_poison(program).await;
        send_word(program, "poison").await;
        let ledger = program.settled().await;
        assert_eq!(ledger.line("logdrains"), line(2, 6));
        assert_eq!(ledger.line("errors"), line(2, 1));
        assert_eq!(ledger.line("maxwell"), line(2, 1));
        for (reason, bytes) in rejected(program).await {
            assert!(reason.contains("refused by the store"), "{reason}");
            assert!(bytes.contains("poison"), "{bytes}");
        }
        let health = program.get("/health").await.unwrap();
        assert_eq!(health.0, 200, "one bad row is no outage: {}", health.1);
        assert_eq!(
            program
                .database
                .number("SELECT count(*) FROM faults WHERE title LIKE '%poison%'")
                .await,
            0
        );

        take_poison(program).await;
        replay(program).await;
        let ledger = program.settled().await;
        assert_eq!((ledger.line("logdrains").stored, ledger.line("errors").stored), (8, 3));
        assert_eq!(ledger.line("maxwell").stored, 3);
        assert_eq!(replay(program).await.stderr, b"", "nothing is left to complain about");
        assert_eq!(program.settled().await, ledger, "nor to replay");
        let replayed = program.database.texts(CONTENT).await;

        // The same, where nothing was refused.
        program.database.execute("DELETE FROM events").await;
        send_word(program, "poison").await;
        program.settled().await;
        assert_eq!(replayed, program.database.texts(CONTENT).await);
    })
    .await;
}

#[tokio::test]
async fn what_is_rejected_again_is_not_replayed_for_ever() {
    const BODIES: u64 = 30;
    const LINES: u64 = 10;
    on_each_store(async |program| {
        for _ in 0..BODIES {
            let lines = "not json\n".repeat(usize::try_from(LINES).unwrap());
            let sent = program.post("/maxwell", "text/plain").body(lines).send().await.unwrap();
            assert_eq!(sent.status(), 204);
        }
        let bad = BODIES * LINES;
        assert_eq!(program.settled().await.line("maxwell"), line(0, bad));
        let said = String::from_utf8(replay(program).await.stdout).unwrap();
        assert!(said.contains(&format!("sent {bad} bodies")), "{said}");
        assert_eq!(program.settled().await.line("maxwell"), line(0, 2 * bad));
        let waiting = "SELECT count(*) FROM rejected WHERE replayed_at IS NULL";
        assert_eq!(program.database.number(waiting).await, i64::try_from(bad).unwrap());
    })
    .await;
}
