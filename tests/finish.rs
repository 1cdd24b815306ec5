//! Told to end, Faultline stops accepting, stores what it has, and exits with 0.

use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use faultline_testkit::{
    PATIENCE, eventually,
    load::Load,
    program::{Program, app_line, frames},
    wire::{read_to_end, status_of},
};
use tokio::{io::AsyncWriteExt, net::TcpStream};

const BINARY: &str = env!("CARGO_BIN_EXE_faultline");

#[tokio::test]
async fn told_to_end_as_soon_as_it_listens() {
    for _ in 0..10 {
        let mut program = Program::new(BINARY);
        program.start();
        program.finish().await;
    }
}

#[tokio::test]
async fn told_to_end_it_stores_what_it_accepted() {
    for signal in ["TERM", "INT"] {
        let mut program = Program::new(BINARY);
        program.start();
        for round in 0..20 {
            let lines = (0..50).map(|index| app_line("web.1", &format!("line {round} {index}")));
            let sent = program.drain(&format!("f{round}"), frames(lines)).send().await.unwrap();
            assert_eq!(sent.status(), 204);
        }
        program.signal(signal);
        let status = program.ended().await;
        assert_eq!(status.code(), Some(0), "{}", program.log());
        assert_eq!(program.database.number("SELECT count(*) FROM events").await, 1000);
    }
}

#[tokio::test]
async fn the_end_of_input_is_the_end_once_all_is_stored() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lines");
    let lines: String = (0..20_000)
        .map(|id| {
            format!(
                "{{\"database\":\"shop\",\"table\":\"orders\",\"type\":\"insert\",\"ts\":1477053217,\"xid\":{id},\"commit\":true,\"data\":{{\"id\":{id}}}}}\n"
            )
        })
        .collect();
    std::fs::write(&path, lines).unwrap();
    let mut program = Program::new(BINARY).reads_file(&path);
    program.start();
    let status = program.ended().await;
    assert_eq!(status.code(), Some(0), "{}", program.log());
    assert_eq!(program.database.number("SELECT count(*) FROM events").await, 20_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn told_to_end_under_load_it_answers_requests_under_way() {
    let mut program = Program::new(BINARY);
    program.start();
    let load = Load::start(program.receiver(), 4);
    let body = frames([app_line("web.1", "slowly sent")]);
    let (first, second) = body.split_at(body.len() / 2);
    let head = format!(
        "POST /logdrains HTTP/1.1\r\nhost: x\r\ncontent-type: application/logplex-1\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut slow = TcpStream::connect(program.receiver()).await.unwrap();
    slow.write_all(&[head.as_bytes(), first].concat()).await.unwrap();
    eventually("it is under load", async || match load.accepted() {
        accepted if accepted > 100 => Ok(()),
        accepted => Err(accepted),
    })
    .await;

    program.signal("TERM");
    let receiver = program.receiver();
    eventually("it takes no more connections", async || {
        if TcpStream::connect(receiver).await.is_err() { Ok(()) } else { Err("it does") }
    })
    .await;
    slow.write_all(second).await.unwrap();
    let answer = read_to_end(&mut slow, PATIENCE).await.unwrap();
    assert_eq!(status_of(&answer), 204, "{answer}");
    let status = program.ended().await;
    assert_eq!(status.code(), Some(0), "{}", program.log());
    let slowly_sent = "SELECT count(*) FROM events WHERE message = 'slowly sent'";
    assert_eq!(program.database.number(slowly_sent).await, 1);

    program.start();
    load.moved(program.receiver());
    let accepted = load.end().await;
    program.settled().await;
    program.finish().await;
    accepted.assert_stored_once(&program.database).await;
    assert_eq!(program.database.number(slowly_sent).await, 1);
}

#[tokio::test]
async fn told_twice_it_ends_at_once_and_keeps_what_it_accepted() {
    let mut program = Program::with_postgres(BINARY);
    program.start();
    program.settled().await;
    program.postgres().stop();
    for round in 0..20 {
        let lines = (0..10).map(|index| app_line("web.1", &format!("line {round} {index}")));
        let sent = program.drain(&format!("f{round}"), frames(lines)).send().await.unwrap();
        assert_eq!(sent.status(), 204);
    }
    program.signal("TERM");
    eventually("it tries to store the rest", async || {
        let log = program.log();
        if log.contains("told to end") { Ok(()) } else { Err(log) }
    })
    .await;
    program.signal("TERM");
    assert_eq!(program.ended().await.code(), Some(130), "as a shell says it of SIGINT");

    program.postgres().resume();
    program.start();
    assert_eq!(program.settled().await.line("logdrains").stored, 200);
    program.finish().await;
    let number = async |sql| program.database.number(sql).await;
    assert_eq!(number("SELECT count(*) FROM events").await, 200);
    assert_eq!(number("SELECT count(DISTINCT message) FROM events").await, 200);
}

fn line(id: u64) -> String {
    format!(
        "{{\"database\":\"shop\",\"table\":\"orders\",\"type\":\"insert\",\"ts\":1477053217,\"data\":{{\"id\":{id}}}}}\n"
    )
}

#[tokio::test]
async fn the_end_of_input_may_leave_the_listeners_on() {
    let mut program = Program::new(BINARY).reads_pipe().set("stdin.on_eof", "serve");
    program.start();
    let mut stdin = program.stdin();
    for id in 0..10 {
        stdin.write_all(line(id).as_bytes()).unwrap();
    }
    drop(stdin);
    eventually("it sees the end", async || {
        let log = program.log();
        if log.contains("the listeners go on") { Ok(()) } else { Err(log) }
    })
    .await;
    program.report(r#"{"message":"after the end"}"#).await;
    let ledger = program.settled().await;
    assert_eq!((ledger.line("maxwell").stored, ledger.line("errors").stored), (10, 1));
    program.finish().await;
}

/// Lines have no ids: what was not accepted must be known by its place, so none may be missing
/// between accepted ones.
#[tokio::test(flavor = "multi_thread")]
async fn told_to_end_while_it_reads_it_stores_lines_without_a_gap() {
    let mut program = Program::new(BINARY).reads_pipe();
    program.start();
    let mut stdin = program.stdin();
    let written = Arc::new(AtomicU64::new(0));
    let counter = written.clone();
    let feeding = std::thread::spawn(move || {
        while stdin.write_all(line(counter.load(Ordering::Relaxed)).as_bytes()).is_ok() {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    });
    eventually("it reads", async || match program.ledger().await.line("maxwell").received {
        0 => Err("not yet"),
        _ => Ok(()),
    })
    .await;
    program.signal("TERM");
    let status = program.ended().await;
    assert_eq!(status.code(), Some(0), "{}", program.log());
    feeding.join().unwrap();
    let number = async |sql| program.database.number(sql).await;
    let stored = number("SELECT count(*) FROM events").await;
    assert!(stored > 0 && u64::try_from(stored).unwrap() <= written.load(Ordering::Relaxed));
    let last = "SELECT max(CAST(json_extract(attributes, '$.data.id') AS bigint)) FROM events";
    assert_eq!(number(last).await, stored - 1, "the first ones, all of them");

    program.start();
    let received = program.settled().await.line("maxwell").received;
    assert_eq!(i64::try_from(received).unwrap(), stored, "the ledger says where to go on");
}
