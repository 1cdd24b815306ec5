//! The lines of one stack trace are one event, whatever else the drain brings between them.

#![expect(clippy::unwrap_used, reason = "a failing test is told by a panic")]

use faultline_testkit::{
    eventually,
    program::{Line, Program, app_line, frames},
};

const BINARY: &str = env!("CARGO_BIN_EXE_faultline");

const PYTHON: &str = "Traceback (most recent call last):\n  File \"/app/t.py\", line 20, in \
                      <module>\n    main()\nValueError: bad 5";
const JAVA: &str = "java.lang.IllegalStateException: job 3\n\tat T.wrap(T.java:8)\n\tat \
                    T.main(T.java:17)\nCaused by: java.lang.NumberFormatException: For input\n\tat \
                    X.y(X.java:1)\n\t... 12 more";

fn started(join_wait: &str) -> Program {
    let mut program = Program::new(BINARY).set("parser.join_wait", join_wait);
    program.start();
    program
}

fn lines<'a>(dyno: &'a str, trace: &'a str) -> impl Iterator<Item = String> + 'a {
    trace.lines().map(move |line| app_line(dyno, line))
}

async fn send(program: &Program, lines: impl IntoIterator<Item = String>) {
    let request = program.post("/logdrains?service=shop", "application/logplex-1");
    assert_eq!(request.body(frames(lines)).send().await.unwrap().status(), 204);
}

async fn events(program: &Program) -> Vec<String> {
    let sql = "SELECT process || ' ' || severity || ' ' || messages || ' ' || message FROM events \
               ORDER BY sequence, ordinal";
    program.database.texts(sql).await
}

#[tokio::test]
async fn two_dynos_at_once() {
    let program = started("250ms");
    let mut mixed = Vec::new();
    let (mut python, mut java) = (lines("web.1", PYTHON), lines("worker.1", JAVA));
    loop {
        let (one, other) = (python.next(), java.next());
        if one.is_none() && other.is_none() {
            break;
        }
        mixed.extend(one);
        mixed.push(app_line("web.2", "an ordinary line"));
        mixed.extend(other);
    }
    mixed.push(app_line("web.1", "back to work"));
    let sent = mixed.len() as u64;
    send(&program, mixed).await;
    let line = program.settled().await.line("logdrains");
    assert_eq!(line, Line { received: sent, stored: sent, ..Line::default() });
    let events = events(&program).await;
    let ordinary = events.iter().filter(|event| *event == "web.2 info 1 an ordinary line").count();
    assert_eq!(ordinary, 6);
    let others: Vec<_> = events.iter().filter(|event| !event.starts_with("web.2")).collect();
    assert_eq!(
        others,
        [
            &format!("web.1 error 4 {PYTHON}"),
            &format!("worker.1 error 6 {JAVA}"),
            "web.1 info 1 back to work"
        ]
    );
    let faults = "SELECT count || ' ' || title FROM faults ORDER BY title";
    let expected = ["1 ValueError: bad <n>", "1 java.lang.IllegalStateException: job <n>"];
    assert_eq!(program.database.texts(faults).await, expected);
}

#[tokio::test]
async fn a_trace_goes_on_in_the_next_request() {
    let program = started("3s");
    // Once the store is open, records are parsed one by one as they come.
    send(&program, [app_line("web.3", "the first line")]).await;
    program.settled().await;
    let all: Vec<_> = lines("web.1", JAVA).collect();
    send(&program, all[..3].to_vec()).await;
    send(&program, [app_line("web.2", "an ordinary line")]).await;
    send(&program, all[3..].to_vec()).await;
    program.settled().await;
    let expected = [format!("web.1 error 6 {JAVA}"), "web.2 info 1 an ordinary line".to_owned()];
    assert_eq!(events(&program).await[1..], expected);
}

#[tokio::test]
async fn the_wait_for_more_lines_ends() {
    let program = started("100ms");
    send(&program, lines("web.1", JAVA).take(3)).await;
    program.settled().await;
    send(&program, lines("web.1", JAVA).skip(3)).await;
    program.settled().await;
    let messages: Vec<_> =
        events(&program).await.iter().map(|event| event[..15].to_owned()).collect();
    assert_eq!(messages, ["web.1 error 3 j", "web.1 error 3 C"]);
}

#[tokio::test]
async fn the_same_dyno_name_of_another_app_is_another_process() {
    let program = started("250ms");
    let request = |service: &str, lines: Vec<String>| {
        let path = format!("/logdrains?service={service}");
        program.post(&path, "application/logplex-1").body(frames(lines)).send()
    };
    let trace: Vec<_> = lines("web.1", JAVA).collect();
    let (shop, api) = (request("shop", trace.clone()), request("api", trace));
    assert_eq!(shop.await.unwrap().status(), 204);
    assert_eq!(api.await.unwrap().status(), 204);
    program.settled().await;
    let services = "SELECT service || ' ' || messages FROM events ORDER BY sequence";
    assert_eq!(program.database.texts(services).await, ["shop 6", "api 6"]);
    let faults = "SELECT service || ' ' || count FROM faults ORDER BY service";
    assert_eq!(program.database.texts(faults).await, ["api 1", "shop 1"]);
}

#[tokio::test]
async fn repeated_traces_are_one_fault() {
    let program = started("250ms");
    for round in 0..5 {
        let trace = PYTHON.replace("bad 5", &format!("bad {}", round * 7));
        send(&program, lines("web.1", &trace).chain([app_line("web.1", "on it goes")])).await;
    }
    program.settled().await;
    let faults = "SELECT count || ' ' || title FROM faults";
    assert_eq!(program.database.texts(faults).await, ["5 ValueError: bad <n>"]);
    eventually("the API lists the fault", async || {
        let faults = program.json("/api/faults").await;
        if faults["faults"][0]["count"] == 5 { Ok(()) } else { Err(faults) }
    })
    .await;
}
