//! When the store is away for longer than the spool can bear, or the disk refuses, senders wait: a
//! client is told when to come again, standard input is not read. Nothing that was accepted is
//! lost, and it goes on by itself once it can.

#![expect(clippy::unwrap_used, reason = "a failing test is told by a panic")]

use std::{
    collections::BTreeSet,
    io::Write,
    process::{ChildStdin, Command},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use faultline_testkit::{
    eventually,
    program::{Program, app_line, frames},
};
use reqwest::Response;

const BINARY: &str = env!("CARGO_BIN_EXE_faultline");

async fn component(program: &Program, name: &str) -> serde_json::Value {
    program.json("/health").await["components"][name].clone()
}

/// Sends a body of one line that nobody else sends.
async fn send(program: &Program, number: u32) -> Response {
    let line = app_line("web.1", &format!("{number} {}", "x".repeat(8_000)));
    program.drain(&format!("f{number}"), frames([line])).send().await.unwrap()
}

/// Sends bodies until one is refused; gives the number of that one.
async fn send_until_refused(program: &Program, from: u32) -> (u32, Response) {
    for number in from.. {
        let answer = send(program, number).await;
        if answer.status() != 204 {
            return (number, answer);
        }
    }
    unreachable!("there are enough numbers")
}

/// Checks that a refusal tells the client to come again, and everybody else why.
async fn assert_refusal_is_told(program: &Program, answer: Response, why: &str) {
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["retry-after"], "5");
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    let problem: serde_json::Value = answer.json().await.unwrap();
    assert!(problem["detail"].as_str().unwrap().contains(why), "{problem}");
    assert_eq!(program.get("/readyz").await.unwrap().0, 503);
    assert_eq!(program.get("/livez").await.unwrap().0, 200, "a restart would not help");
    assert_eq!(program.get("/health").await.unwrap().0, 503);
    let spool = component(program, "spool").await;
    assert_eq!(spool["status"], "unhealthy", "{spool}");
    assert!(spool["error"].as_str().unwrap().contains(why), "{spool}");
    assert!(program.metric("faultline_http_requests_total", "status=\"503\"").await >= 1.0);
}

/// Waits until the body that was refused is accepted, and everything is stored; all once.
async fn goes_on_by_itself(program: &mut Program, refused: u32) {
    eventually("what was refused is accepted", async || match send(program, refused).await {
        answer if answer.status() == 204 => Ok(()),
        answer => Err(answer.status()),
    })
    .await;
    let sent = u64::from(refused) + 1;
    let ledger = program.settled().await;
    let line = ledger.line("logdrains");
    assert_eq!((line.received, line.stored), (sent, sent), "a refused body was not received");
    assert_eq!(program.get("/readyz").await.unwrap().0, 200);
    eventually("health says that all is well", async || {
        let (status, text) = program.get("/health").await.unwrap();
        if status == 200 { Ok(()) } else { Err(text) }
    })
    .await;
    program.finish().await;
    let messages = program.database.texts("SELECT message FROM events").await;
    let numbers: BTreeSet<u32> = messages
        .iter()
        .map(|message| message.split(' ').next().unwrap().parse().unwrap())
        .collect();
    assert_eq!(messages.len(), numbers.len(), "none twice");
    assert!(numbers.into_iter().eq(0..=refused), "none lost");
}

fn small_spool(program: Program) -> Program {
    program
        .set("spool.segment_bytes", "128 KiB")
        .set("spool.max_bytes", "512 KiB")
        .set("spool.commit_bytes", "64 KiB")
        .set("receiver.body_limit", "64 KiB")
        .set("batch_writer.retry_cap", "500ms")
}

#[tokio::test]
async fn a_full_spool_refuses_and_drains_by_itself() {
    let mut program = small_spool(Program::with_postgres(BINARY));
    program.start();
    program.settled().await;
    program.postgres().stop();
    let (refused, answer) = send_until_refused(&program, 0).await;
    assert!(refused > 40, "{refused} bodies of 8 KB in 512 KiB");
    assert_refusal_is_told(&program, answer, "the spool is full").await;
    let used = program.metric("faultline_spool_bytes", "").await;
    let limit = program.metric("faultline_spool_limit_bytes", "").await;
    assert!(used > 0.9 * limit && used <= limit, "{used} of {limit} bytes");
    // What still fits would be taken, but a small body must not make it look ready.
    assert_eq!(send(&program, refused).await.status(), 503, "still");
    let in_flight = program.ledger().await.line("logdrains").in_flight;
    assert_eq!(in_flight, u64::from(refused), "what was refused is not in the ledger");

    program.postgres().resume();
    goes_on_by_itself(&mut program, refused).await;
}

/// With `ack = "received"` a client may be answered and its body refused afterwards: that is said.
#[tokio::test]
async fn what_is_answered_too_early_and_refused_is_counted() {
    let mut program = small_spool(Program::with_postgres(BINARY)).set("receiver.ack", "received");
    program.start();
    program.settled().await;
    program.postgres().stop();
    let (refused, _) = send_until_refused(&program, 0).await;
    eventually("every answered body is accounted for", async || {
        let received = program.ledger().await.line("logdrains").received;
        let lost = program.metric("faultline_lost_messages_total", "logdrains").await;
        let known = received as f64 + lost;
        if known >= f64::from(refused) && lost > 0.0 { Ok(()) } else { Err((received, lost)) }
    })
    .await;
}

/// `sh` starts the program with SIGXFSZ ignored, so that a write beyond a limit that is set later
/// fails as on a full disk.
#[tokio::test]
async fn a_failing_disk_refuses_and_works_again_by_itself() {
    let run = format!("trap '' XFSZ; exec '{BINARY}' run");
    let mut program =
        Program::new("sh").arguments(&["-c", &run]).set("batch_writer.retry_cap", "500ms");
    program.start();
    for number in 0..10 {
        assert_eq!(send(&program, number).await.status(), 204);
    }
    let limit_file_size = |program: &Program, limit: &str| {
        let mut command = Command::new("prlimit");
        command.args(["--pid", &program.pid().to_string(), &format!("--fsize={limit}:")]);
        assert!(command.status().unwrap().success());
    };
    // The log is such a file as well: to be unable to say what is wrong must not make it worse.
    limit_file_size(&program, "0");
    let (refused, answer) = send_until_refused(&program, 10).await;
    assert_eq!(refused, 10);
    assert_refusal_is_told(&program, answer, "File too large").await;
    for _ in 0..20 {
        assert_eq!(send(&program, refused).await.status(), 503);
    }

    limit_file_size(&program, "unlimited");
    goes_on_by_itself(&mut program, refused).await;
}

/// Lines of about a kilobyte.
fn line(number: u64) -> String {
    let filler = "x".repeat(900);
    format!(
        "{{\"database\":\"shop\",\"table\":\"orders\",\"type\":\"insert\",\"ts\":1477053217,\"data\":{{\"id\":{number},\"filler\":\"{filler}\"}}}}\n"
    )
}

/// Writes lines for as long as somebody takes them, and counts them.
fn feed(mut stdin: ChildStdin, count: u64) -> (std::thread::JoinHandle<()>, Arc<AtomicU64>) {
    let written = Arc::new(AtomicU64::new(0));
    let counter = written.clone();
    let feeding = std::thread::spawn(move || {
        for number in 0..count {
            stdin.write_all(line(number).as_bytes()).unwrap();
            counter.fetch_add(1, Ordering::Relaxed);
        }
    });
    (feeding, written)
}

#[tokio::test(flavor = "multi_thread")]
async fn standard_input_is_not_read_while_the_spool_is_full() {
    const LINES: u64 = 20_000;
    let mut program = Program::with_postgres(BINARY)
        .reads_pipe()
        .set("spool.segment_bytes", "2 MiB")
        .set("spool.max_bytes", "4 MiB")
        .set("receiver.body_limit", "1 MiB")
        .set("stdin.line_limit", "256 KiB")
        .set("batch_writer.retry_cap", "500ms");
    program.start();
    program.settled().await;
    program.postgres().stop();
    let (feeding, written) = feed(program.stdin(), LINES);
    eventually("the spool is full", async || match component(&program, "spool").await {
        spool if spool["status"] == "unhealthy" => Ok(()),
        spool => Err(spool),
    })
    .await;
    // Whatever is still on its way into buffers gets there; then nothing moves any more.
    let mut before = u64::MAX;
    let mut looks = tokio::time::interval(Duration::from_millis(300));
    let stopped_at = eventually("the writer waits", async || {
        looks.tick().await;
        let now = written.load(Ordering::Relaxed);
        if now == std::mem::replace(&mut before, now) { Ok(now) } else { Err(now) }
    })
    .await;
    assert!(!feeding.is_finished());
    assert!(stopped_at < 10_000, "{stopped_at} kB taken; the spool holds 4 MiB, buffers about 2");
    let waiting = program.ledger().await.line("maxwell");
    let taken = written.load(Ordering::Relaxed);
    assert!(waiting.in_flight > 1_000 && waiting.in_flight <= taken, "{waiting:?} of {taken}");
    assert_eq!(waiting.rejected, 0);

    program.postgres().resume();
    feeding.join().unwrap();
    let status = program.ended().await;
    assert!(status.success(), "{status}");
    let number = async |sql| program.database.number(sql).await;
    assert_eq!(u64::try_from(number("SELECT count(*) FROM events").await).unwrap(), LINES);
    let distinct = "SELECT count(DISTINCT attributes->'data'->>'id') FROM events";
    assert_eq!(u64::try_from(number(distinct).await).unwrap(), LINES);
}
