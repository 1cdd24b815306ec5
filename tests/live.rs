//! What changes is shown while it changes, to everybody who listens, and costs nobody anything: who
//! does not keep up is cut, and says so in the metrics.

use std::time::Duration;

use faultline_testkit::{
    PATIENCE, eventually,
    live::{Live, Message, ask},
    load::Load,
    program::{Program, app_line, frames},
    wire::read_to_end,
};
use tokio::{io::AsyncWriteExt, net::TcpSocket};

const BINARY: &str = env!("CARGO_BIN_EXE_faultline");
const ALL: &str = "topics=faults,jobs,health,throughput,notifications,events";

fn started() -> Program {
    let mut program = Program::new(BINARY);
    program.start();
    program
}

fn is_fault(message: &Message, title: &str) -> bool {
    message.event == "fault" && message.text("title") == title
}

/// What a message is, for comparisons.
fn kinds(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(|message| message.event.as_str()).collect()
}

#[tokio::test]
async fn every_topic_is_shown() {
    let program = started();
    let mut live = Live::open(&program, ALL).await;
    let hello = live.next().await.unwrap();
    assert_eq!(hello.event, "hello");
    assert_eq!(hello.text("boot").len(), 16, "{hello:?}");
    let body = r#"{"message": "the oven is cold", "service": "bakery", "stackTrace": "at bake",
        "attributes": {
            "oven": 3
        }}"#;
    program.report(body).await;

    let event = live.until("the event", |message| message.event == "event").await;
    assert_eq!(event.id, None, "it is not sent again");
    assert_eq!(event.text("message"), "the oven is cold");
    assert_eq!(event.text("service"), "bakery");
    assert_eq!(event.text("severity"), "error");
    assert_eq!(event.data["attributes"]["oven"], 3);
    assert!(event.text("fingerprint").starts_with("v1:"), "{event:?}");

    let mut live = Live::open(&program, ALL).await;
    program.report(body).await;
    let is_meant = |message: &Message| is_fault(message, "the oven is cold");
    let fault = live.until("the fault", is_meant).await;
    assert_eq!(fault.text("environment"), "production");
    assert!(fault.id.is_some());
    let health = live.until("health", |message| message.event == "health").await;
    assert_eq!(health.data["components"]["spool"]["status"], "healthy", "{health:?}");
    let throughput = live.until("throughput", |message| message.event == "throughput").await;
    for key in ["received_per_second", "in_flight", "spool_limit_bytes", "commit_ms"] {
        assert!(throughput.data[key].is_number(), "{key}: {throughput:?}");
    }
    assert!(throughput.data["channels"][0]["capacity"].is_number(), "{throughput:?}");

    let mut live = Live::open(&program, "topics=notifications").await;
    let notification = "INSERT INTO notifications (at, severity, component, title, body)
         VALUES (1, 'info', 'jira', 'it is back', '')";
    program.database.execute(notification).await;
    let is_meant = |message: &Message| message.data["unread"] == 1;
    let unread = live.until("a notification", is_meant).await;
    assert_eq!(unread.event, "notification");

    let mut live = Live::open(&program, "topics=jobs").await;
    program.report(r#"{"message": "the flour is damp", "service": "bakery"}"#).await;
    let job = live.until("the job is done", |message| message.text("state") == "completed").await;
    assert_eq!((job.event.as_str(), job.text("action")), ("job", "create"));
    assert!(job.data["request"].is_null(), "{job:?}");
}

#[tokio::test]
async fn filters_hold_for_events_and_faults() {
    let program = started();
    let queries = [
        "environment=staging",
        "service=shop",
        "severity=error",
        "text=PAPER",
        "environment=staging&service=shop&severity=critical&text=paper",
    ];
    let mut clients = Vec::new();
    for query in queries {
        clients.push((query, Live::open(&program, &format!("topics=faults,events&{query}")).await));
    }
    let report = |environment: &str, service: &str, level: &str, message: &str| {
        format!(
            r#"{{"environment":"{environment}","service":"{service}","level":"{level}","message":"{message}"}}"#
        )
    };
    program.report(&report("staging", "mill", "error", "no grain")).await;
    program.report(&report("production", "shop", "info", "open")).await;
    program.report(&report("production", "mill", "critical", "out of Paper")).await;
    // What all of them want to see.
    program.report(&report("staging", "shop", "critical", "the paper burns")).await;
    for ((query, client), expected) in clients.iter_mut().zip([
        vec!["no grain"],
        vec!["open"],
        vec!["no grain", "out of Paper"],
        vec!["out of Paper"],
        vec![],
    ]) {
        let is_last = |message: &Message| is_fault(message, "the paper burns");
        let came = client.all_until(query, is_last).await;
        let events = came.iter().filter(|message| message.event == "event");
        let events: Vec<&str> = events.map(|message| message.text("message")).collect();
        let wanted = [expected.clone(), vec!["the paper burns"]].concat();
        assert_eq!(events, wanted, "{query}");
        let mut faults: Vec<&str> = came
            .iter()
            .filter(|message| message.event == "fault")
            .map(|message| message.text("title"))
            .collect();
        faults.sort_unstable();
        faults.dedup();
        let mut wanted = wanted;
        wanted.sort_unstable();
        assert_eq!(faults, wanted, "{query}");
    }
    for query in ["topics=weather", "severity=loud", "colour=red"] {
        let answer = ask(&program, query, None).await;
        assert_eq!(answer.status(), 400, "{query}");
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
    }
}

#[tokio::test]
async fn whoever_comes_back_misses_nothing_and_hears_nothing_twice() {
    let program = started();
    let query = "topics=faults,jobs";
    let mut constant = Live::open(&program, query).await;
    let mut client = Live::open(&program, query).await;
    let mut seen = Vec::new();
    for round in 0..4 {
        let word = ["amber", "basil", "cedar", "delta"][round];
        program.report(&format!(r#"{{"message": "no {word} left", "service": "shop"}}"#)).await;
        let came =
            client.all_until(word, |message| is_fault(message, &format!("no {word} left"))).await;
        let hello = usize::from(round > 0);
        assert!(hello == 0 || came[0].event == "hello", "{:?}", kinds(&came));
        seen.extend(came.into_iter().skip(1));
        let last = seen.last().and_then(|message: &Message| message.id.clone()).unwrap();
        drop(client);
        // Something happens while it is away.
        program.report(&format!(r#"{{"message": "{word} is sold", "service": "shop"}}"#)).await;
        let away = format!("{word} is sold");
        let mut other = Live::open(&program, query).await;
        program.report(&format!(r#"{{"message": "{word} is sold", "service": "shop"}}"#)).await;
        other.until(&away, |message| is_fault(message, &away)).await;
        client = Live::resume(&program, query, &last).await;
    }
    program.report(r#"{"message": "the end", "service": "shop"}"#).await;
    let is_end = |message: &Message| {
        message.event == "job" && message.text("state") == "completed" && message.data["fault"] == 9
    };
    seen.extend(client.all_until("the end", is_end).await.into_iter().skip(1));
    let expected = constant.all_until("the end", is_end).await;
    let ids = |messages: &[Message]| -> Vec<String> {
        messages.iter().map(|message| message.id.clone().unwrap()).collect()
    };
    assert_eq!(ids(&seen), ids(&expected[1..]));
    assert!(!kinds(&seen).contains(&"gap"), "{:?}", kinds(&seen));
}

#[tokio::test]
async fn what_cannot_be_sent_again_is_a_gap() {
    let mut program = started();
    let mut live = Live::open(&program, "topics=throughput").await;
    let last = live.until("a message", |message| message.event == "throughput").await.id.unwrap();
    drop(live);
    let first_messages = async |program: &Program, last: &str| {
        let mut live = Live::resume(program, "topics=throughput", last).await;
        let messages = [live.next().await.unwrap(), live.next().await.unwrap()];
        messages.map(|message| message.event)
    };
    assert_eq!(first_messages(&program, &last).await, ["hello", "throughput"]);
    assert_eq!(first_messages(&program, "nonsense").await, ["hello", "gap"]);
    let asked = format!("topics=throughput&last_event_id={last}x");
    let mut live = Live::open(&program, &asked).await;
    live.until("a gap", |message| message.event == "gap").await;
    program.finish().await;
    program.start();
    assert_eq!(first_messages(&program, &last).await, ["hello", "gap"]);
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_cut_while_the_others_go_on() {
    let mut program = Program::new(BINARY).set("admin.live_patience", "1s");
    program.start();
    let mut other = Live::open(&program, "topics=throughput").await;
    let socket = TcpSocket::new_v4().unwrap();
    // As little as the kernel allows.
    socket.set_recv_buffer_size(1).unwrap();
    let mut stuck = socket.connect(program.admin()).await.unwrap();
    stuck
        .write_all(b"GET /api/live?topics=events HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    eventually("both are there", async || {
        match program.metric("faultline_live_clients", "").await {
            2.0 => Ok(()),
            count => Err(count),
        }
    })
    .await;
    // It reads none of what it is sent, until its socket is full.
    let text = "x".repeat(3_500);
    eventually("it is cut", async || {
        let report = format!(r#"{{"message":"a {text}","stackTrace":"at {text}"}}"#);
        program.report(&format!("[{}]", [report.as_str(); 50].join(","))).await;
        match program.metric("faultline_live_clients_cut_total", "stalled").await {
            1.0 => Ok(()),
            count => Err(count),
        }
    })
    .await;
    assert!(program.metric("faultline_live_clients", "").await < 1.5, "only the other one is left");
    // It reads what was under way, and then comes to the end.
    read_to_end(&mut stuck, PATIENCE).await.expect("its connection is closed");
    other.until("it goes on", |message| message.event == "throughput").await;
}

#[tokio::test]
async fn there_are_not_more_clients_than_are_allowed() {
    let mut program = Program::new(BINARY).set("admin.live_clients", "2");
    program.start();
    let first = Live::open(&program, "").await;
    let _second = Live::open(&program, "").await;
    let third = ask(&program, "", None).await;
    assert_eq!(
        (third.status().as_u16(), &third.headers()["retry-after"]),
        (503, &"5".parse().unwrap())
    );
    drop(first);
    eventually("there is room again", async || {
        let answer = ask(&program, "", None).await;
        if answer.status() == 200 { Ok(()) } else { Err(answer.status()) }
    })
    .await;
}

#[tokio::test]
async fn a_quiet_connection_has_a_heartbeat() {
    let program = started();
    let mut live = Live::open(&program, "topics=notifications").await;
    let beat = async { while live.comments == 0 && live.read().await.is_some() {} };
    tokio::time::timeout(PATIENCE, beat).await.unwrap();
    assert_eq!(live.comments, 1);
}

#[tokio::test]
async fn the_end_of_the_program_waits_for_no_client() {
    let mut program = started();
    let mut clients = Vec::new();
    for _ in 0..50 {
        clients.push(Live::open(&program, ALL).await);
    }
    program.finish().await;
    for mut client in clients {
        let drained = async { while client.next().await.is_some() {} };
        tokio::time::timeout(Duration::from_secs(5), drained).await.expect("its stream has ended");
    }
    let log = program.log();
    assert!(!log.contains("did not end in time"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tail_never_holds_up_what_comes_in() {
    let program = started();
    let mut tail = Live::open(&program, "topics=events&text=ORDER").await;
    let mut all = Live::open(&program, "topics=events").await;
    let load = Load::start(program.receiver(), 4);
    eventually("there is load", async || match load.accepted() {
        accepted if accepted > 500 => Ok(()),
        accepted => Err(accepted),
    })
    .await;
    // More at once than the tail has time for.
    for round in 0..40 {
        let lines = (0..3_000).map(|line| app_line("web.1", &format!("order {line}")));
        let sent = program.drain(&format!("many {round}"), frames(lines)).send().await.unwrap();
        assert_eq!(sent.status(), 204);
    }
    let accepted = load.end().await;
    assert_eq!(accepted.refused, 0);
    program.settled().await;
    accepted.assert_stored_once(&program.database).await;
    // Each event was shown, or counted as not shown.
    let events = program.database.number("SELECT count(*) FROM events").await;
    let (mut shown, mut skipped) = (0, 0);
    while shown + skipped < events {
        let next = tokio::time::timeout(PATIENCE, all.next()).await;
        let message = next.unwrap_or_else(|_| panic!("{shown} + {skipped} of {events}")).unwrap();
        match message.event.as_str() {
            "event" => shown += 1,
            "skipped" => skipped += message.data["events"].as_i64().unwrap(),
            _ => {}
        }
    }
    assert_eq!(shown + skipped, events);
    assert!(shown > 0);
    let order = tail.until("an event", |message| message.event == "event").await;
    assert!(order.text("message").contains("order"), "{order:?}");
}

#[tokio::test]
async fn hubs_on_one_store_show_what_the_others_do() {
    let mut here = Program::with_postgres(BINARY).set("jira.lease", "1s");
    here.start();
    here.settled().await;
    let url = here.database.url();
    let mut there = Program::new(BINARY).set("jira.lease", "1s").set("store.url", &url);
    there.start();
    for hub in [&here, &there] {
        eventually(
            "they know of each other",
            async || match hub.json("/api/dispatch").await["hubs"].as_u64() {
                Some(2) => Ok(()),
                other => Err(other),
            },
        )
        .await;
    }
    let mut live = Live::open(&there, "topics=faults,jobs").await;
    let oven = |count| {
        move |message: &Message| {
            is_fault(message, "the oven is cold") && message.data["count"] == count
        }
    };
    here.report(r#"{"message": "the oven is cold"}"#).await;
    live.until("it is new", oven(1)).await;
    live.until("its ticket", |message| message.text("state") == "completed").await;
    // Nothing is decided about it any more: only the hub that has met it knows.
    for count in 2..=4 {
        here.report(r#"{"message": "the oven is cold"}"#).await;
        live.until("it was met again", oven(count)).await;
    }
}

#[tokio::test]
async fn throughput_is_kept_for_charts() {
    let program = started();
    program.settled().await;
    let lines = (0..50).map(|number| app_line("web.1", &format!("line {number}")));
    let body = frames(lines);
    let samples = eventually("a sample with traffic", async || {
        program.drain(&format!("{}", fastrand::u64(..)), body.clone()).send().await.unwrap();
        let mut answer = program.json("/api/throughput").await;
        let samples = std::mem::take(answer["samples"].as_array_mut().unwrap());
        let rate = |sample: &serde_json::Value| sample["received_per_second"].as_f64().unwrap();
        if samples.iter().any(|sample| rate(sample) > 1.0) { Ok(samples) } else { Err(samples) }
    })
    .await;
    let last = samples.last().unwrap();
    assert!(last["stored_per_second"].as_f64().unwrap() > 0.0, "{last}");
    let since = last["at"].as_str().unwrap();
    let path = format!("/api/throughput?since={since}");
    let later = program.json(&path).await;
    let later = later["samples"].as_array().unwrap();
    assert!(!later.iter().any(|sample| sample["at"] == last["at"]), "{later:?}");
    assert_eq!(program.get("/api/throughput?since=yesterday").await.unwrap().0, 400);
}
