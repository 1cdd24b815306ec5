//! Retention of the program as it runs: killed in the middle of it, nothing is lost or doubled; what
//! left comes back by the command line; the statistics agree with a recount.

#![expect(clippy::unwrap_used, reason = "a failing test is told by a panic")]

use std::path::{Path, PathBuf};

use faultline_testkit::{
    eventually,
    program::{Program, frames},
};
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_faultline");

/// Events of each synthetic day; with the testkit's pauses a day takes long enough to be killed in.
const EVENTS: i64 = 3_000;
const DAYS: i64 = 10;

/// Days that are old, straight into PostgreSQL, with what the statistics say of them; and two that are
/// not, with an event each: where none come, nothing goes.
async fn fill(program: &Program) {
    program
        .database
        .execute(&format!(
            "INSERT INTO journal_positions (origin, sequence)
                 VALUES ('00000000-0000-4000-8000-000000000001', {EVENTS});
             DO $$
             DECLARE
                 day date;
                 name text;
                 stands_for integer;
                 age integer;
                 many integer;
                 shop text;
             BEGIN
                 SELECT id INTO stands_for FROM journal_positions
                     WHERE origin = '00000000-0000-4000-8000-000000000001';
                 FOREACH age IN ARRAY ARRAY[0, 1] || ARRAY(SELECT generate_series(40, {})) LOOP
                     day := (now() AT TIME ZONE 'UTC')::date - age;
                     many := CASE WHEN age < 2 THEN 1 ELSE {EVENTS} END;
                     shop := CASE WHEN age < 2 THEN 'till' ELSE 'shop' END;
                     FOREACH name IN ARRAY ARRAY['events', 'event_blocks'] LOOP
                         EXECUTE format('CREATE TABLE %s_%s PARTITION OF %s FOR VALUES FROM (%L)
                             TO (%L)', name, to_char(day, 'YYYYMMDD'), name, day || 'T00:00:00Z',
                             (day + 1) || 'T00:00:00Z');
                     END LOOP;
                     INSERT INTO events (origin, sequence, ordinal, received_at, occurred_at, source,
                         kind, severity, environment, service, message, attributes, messages)
                     SELECT stands_for, age * {EVENTS} + number, 0,
                         (day::timestamp AT TIME ZONE 'UTC') + number * interval '1 ms',
                         (day::timestamp AT TIME ZONE 'UTC'), 'logdrains', 'log', 'info',
                         'production', shop, 'the order ' || number || ' of ' || day || ' '
                             || repeat(md5(number::text), 8), '{{\"n\": 1.0}}', 1
                     FROM generate_series(1, many) AS number;
                     INSERT INTO daily_statistics (day, environment, service, kind, severity, source,
                         events, messages)
                     VALUES (day, 'production', shop, 'log', 'info', 'logdrains', many, many);
                 END LOOP;
             END $$",
            40 + DAYS - 1
        ))
        .await;
}

async fn events(program: &Program) -> Vec<String> {
    // Also those that are on their way out would be missed here, and found in no archive.
    program
        .database
        .texts(
            "SELECT concat_ws('|', sequence, ordinal, received_at, occurred_at, source, kind,
                 severity, environment, service, message, attributes::text, messages)
             FROM events WHERE received_at < now() - interval '30 days' ORDER BY sequence",
        )
        .await
}

fn archives(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|it| it == "zst")).collect();
    paths.sort();
    paths
}

/// Runs the program with other arguments, beside itself; gives what it said.
async fn said(program: &Program, arguments: &[String]) -> String {
    let mut command = tokio::process::Command::from(program.command_with(arguments));
    let output = command.output().await.unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

fn owned(arguments: &[&str]) -> Vec<String> {
    arguments.iter().map(|&argument| argument.to_owned()).collect()
}

#[tokio::test]
async fn killed_in_the_middle_nothing_is_lost_or_doubled() {
    let mut program = Program::with_postgres(BINARY);
    let directory = program.directory().join("archive");
    let archive = directory.display().to_string();
    let never = [("retention.events", "0s"), ("retention.archive", archive.as_str())];
    program = never.into_iter().fold(program, |program, (key, value)| program.set(key, value));
    program.start();
    program.settled().await;
    fill(&program).await;
    let all = events(&program).await;
    assert_eq!(all.len(), usize::try_from(DAYS * EVENTS).unwrap());
    program.finish().await;

    // Slow enough to be caught at it, at another place each time.
    let mut program = program
        .set("retention.events", "30d")
        .set("retention.every", "1s")
        .set("retention.share", "0.2");
    let mut kills = 0;
    for wanted in 1..=3 {
        program.start();
        eventually("it is at it", async || {
            let sql = "SELECT count(*) FROM gone_days WHERE stage = 'dropped'";
            let underway = "SELECT count(*) FROM gone_days WHERE stage <> 'dropped'";
            let dropped = program.database.number(sql).await;
            let underway = program.database.number(underway).await;
            (dropped >= wanted && underway > 0 || dropped == DAYS).then_some(()).ok_or(dropped)
        })
        .await;
        program.kill();
        // Its lease would keep the next one from going on for minutes.
        program.database.execute("DELETE FROM retention_lease").await;
        kills += 1;
    }
    assert_eq!(kills, 3);
    program.start();
    let body = frames([b"<190>1 2026-11-22T03:00:07+00:00 host app web.1 - well\n" as &[u8]]);
    program.drain("one", body).send().await.unwrap();
    eventually("all that was old has left", async || {
        // A connection of the client's may be one to the process that was killed.
        let Ok((_, text)) = program.get("/api/retention").await else { return Err(Value::Null) };
        let retention: Value = serde_json::from_str(&text).unwrap();
        let is_done = retention["last_success"].is_string() && retention["is_running"] == false;
        is_done.then_some(()).ok_or(retention)
    })
    .await;
    program.settled().await;
    assert_eq!(events(&program).await, [] as [String; 0]);
    let files = archives(&directory);
    assert_eq!(files.len(), usize::try_from(DAYS).unwrap());
    let retention = program.json("/api/retention").await;
    assert_eq!(retention["gone"].as_array().unwrap().len(), usize::try_from(DAYS).unwrap());
    assert_eq!(retention["events"], "30d");
    let metrics = program.look("/metrics").send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("faultline_store_bytes{table=\"events\"}"), "{metrics}");
    let agree = said(&program, &owned(&["recount"])).await;
    assert!(agree.contains(": 0 differences"), "{agree}");

    let restore: Vec<String> = owned(&["replay", "--archive"])
        .into_iter()
        .chain(files.iter().map(|path| path.display().to_string()))
        .collect();
    let first = said(&program, &restore).await;
    assert_eq!(first.matches("3000 of 3000 events restored").count(), files.len(), "{first}");
    assert_eq!(events(&program).await, all, "every one, once, and as it was");
    let again = said(&program, &restore).await;
    assert_eq!(again.matches("0 of 3000 events restored").count(), files.len(), "{again}");
    assert_eq!(events(&program).await, all);
    let agree = said(&program, &owned(&["recount"])).await;
    assert!(agree.contains(" days compared: 0 differences"), "{agree}");
    program.finish().await;
}

#[tokio::test]
async fn archives_count_in_a_recount() {
    let mut program = Program::with_postgres(BINARY);
    let directory = program.directory().join("archive");
    program = program
        .set("retention.archive", &directory.display().to_string())
        .set("retention.every", "1s")
        .set("retention.share", "1.0");
    program.start();
    program.settled().await;
    fill(&program).await;
    let days = usize::try_from(DAYS).unwrap();
    eventually("all that was old has left", async || {
        let sql = "SELECT count(*) FROM gone_days WHERE stage = 'dropped'";
        let dropped = program.database.number(sql).await;
        (dropped == DAYS).then_some(()).ok_or(dropped)
    })
    .await;
    let files = archives(&directory);
    assert_eq!(files.len(), days);
    program
        .database
        .execute("UPDATE daily_statistics SET events = events - 7 WHERE service = 'shop'")
        .await;
    let mut recount = owned(&["recount", "--archive"]);
    recount.extend(files.iter().map(|path| path.display().to_string()));
    let mut command = tokio::process::Command::from(program.command_with(&recount));
    let output = command.output().await.unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert_eq!(told.matches("production/shop/log/info/logdrains: +7").count(), days, "{told}");
    recount.push("--repair".to_owned());
    said(&program, &recount).await;
    recount.pop();
    let told = said(&program, &recount).await;
    assert!(told.contains(": 0 differences"), "{told}");
    // One that is given twice counts once.
    let other = program.directory().join("other");
    std::fs::create_dir(&other).unwrap();
    for entry in std::fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, other.join(path.file_name().unwrap())).unwrap();
    }
    recount.extend(archives(&other).iter().map(|path| path.display().to_string()));
    let told = said(&program, &recount).await;
    assert!(told.contains(": 0 differences"), "{told}");
    // One that is back in part would count by what is back, too.
    let file = files[0].display().to_string();
    said(&program, &owned(&["replay", "--archive", &file])).await;
    program.database.execute("UPDATE restored_days SET restored = restored - 1").await;
    let told = said(&program, &recount).await;
    let expected = "not compared, 2999 of 3000 events of events-";
    assert!(told.contains(expected) && told.contains(": 0 differences"), "{told}");
    program.finish().await;
}

#[tokio::test]
async fn what_cannot_be_is_refused() {
    let program = Program::new(BINARY).set("retention.events", "5m");
    let output = program.run().await;
    assert_eq!(output.status.code(), Some(78));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let expected = "retention.events = \"5m\": at least \"1d\" is needed, or \"0s\" for ever";
    assert!(told.contains(expected), "{told}");
    let program = Program::new(BINARY).set("jira.storm_window", "3h");
    let output = program.set("retention.completed_jobs", "2h").run().await;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("retention.completed_jobs = \"2h\": a storm"), "{told}");
}
