//! Whatever comes over the wire, the next good request is served, the process lives, and memory is
//! bounded.

#![expect(clippy::unwrap_used, reason = "a failing test is told by a panic")]

use std::time::Duration;

use faultline_testkit::{
    PATIENCE, eventually,
    program::{Line, Program, app_line, frames},
    wire::{chunked, exchange, gzip, read_to_end, status_of},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const BINARY: &str = env!("CARGO_BIN_EXE_faultline");
/// A record of 10 MiB, the largest, is in some eight places on its way (body, frame, what is read
/// back, text, batch, what is sent to the store, …), and the allocator gives back what it has freed
/// only after a while.
const MEMORY_MIB: u64 = 200;

fn impatient() -> Program {
    let mut program = Program::new(BINARY)
        .set("receiver.header_timeout", "1s")
        .set("receiver.body_timeout", "1s");
    program.start();
    program
}

/// Everything is well: what comes next is stored.
async fn assert_well(program: &Program) {
    let before = program.settled().await.line("logdrains");
    let body = frames([app_line("web.1", "a good line")]);
    let answer = program.post("/logdrains", "application/logplex-1").body(body).send().await;
    assert_eq!(answer.unwrap().status(), 204);
    let after = program.settled().await.line("logdrains");
    assert_eq!((after.received, after.stored), (before.received + 1, before.stored + 1));
    assert!(program.peak_mib() < MEMORY_MIB, "{} MiB", program.peak_mib());
}

fn head(more: &str) -> String {
    format!(
        "POST /logdrains HTTP/1.1\r\nHost: x\r\nContent-Type: application/logplex-1\r\n{more}\r\n"
    )
}

#[tokio::test]
async fn a_header_that_never_ends() {
    let program = impatient();
    let mut silent = Vec::new();
    for start in ["", "P", "PRI * HTTP/2.0\r\n", "POST /logdrains HTTP/1.1\r\nHost: x\r\n"] {
        let mut stream = TcpStream::connect(program.receiver()).await.unwrap();
        stream.write_all(start.as_bytes()).await.unwrap();
        silent.push(stream);
    }
    // This one keeps sending, byte by byte.
    let mut dribbling = TcpStream::connect(program.receiver()).await.unwrap();
    let mut bytes = b"POST /logdrains HTTP/1.1\r\nX: ".iter().chain(std::iter::repeat(&b'x'));
    eventually("the dribbling connection is closed", async || {
        let is_sent = dribbling.write_all(&[*bytes.next().unwrap()]).await.is_ok();
        let mut answer = [0; 512];
        let read = tokio::time::timeout(Duration::from_millis(20), dribbling.read(&mut answer));
        match read.await {
            Ok(Ok(0) | Err(_)) => Ok(()),
            _ if !is_sent => Ok(()),
            other => Err(other.is_ok()),
        }
    })
    .await;
    for mut stream in silent {
        assert!(read_to_end(&mut stream, PATIENCE).await.is_some());
    }
    assert_well(&program).await;
}

#[tokio::test]
async fn a_body_that_never_ends() {
    let program = impatient();
    for start in [
        head("Content-Length: 100\r\n") + "66 <190>1 ",
        head("Content-Length: 100\r\n"),
        head("Transfer-Encoding: chunked\r\n"),
        head("Transfer-Encoding: chunked\r\n") + "3\r\n66 \r\n3\r\n<19\r\n",
        head("Transfer-Encoding: chunked\r\n") + "3\r\n6",
    ] {
        let answer = exchange(program.receiver(), start.as_bytes()).await;
        assert_eq!(status_of(&answer), 408, "{start}: {answer}");
    }
    let mut dribbling = TcpStream::connect(program.receiver()).await.unwrap();
    dribbling.write_all(head("Transfer-Encoding: chunked\r\n").as_bytes()).await.unwrap();
    let answer = eventually("the dribbling body is given up", async || {
        let _ = dribbling.write_all(b"1\r\n6\r\n").await;
        read_to_end(&mut dribbling, Duration::from_millis(20)).await.ok_or("it is still open")
    })
    .await;
    assert!(answer.is_empty() || status_of(&answer) == 408, "{answer}");
    assert_eq!(program.settled().await.line("logdrains"), Line::default());
    assert_well(&program).await;
}

#[tokio::test]
async fn slow_clients_by_the_hundred() {
    let mut program = Program::new(BINARY);
    program.start();
    let mut slow = Vec::new();
    for _ in 0..300 {
        let mut stream = TcpStream::connect(program.receiver()).await.unwrap();
        stream
            .write_all((head("Content-Length: 9000000\r\n") + "66 <190>1").as_bytes())
            .await
            .unwrap();
        slow.push(stream);
    }
    // A large body takes its share of memory when it is announced; what is beyond is told so, and
    // small bodies need none.
    assert_well(&program).await;
    let large = frames([app_line("web.1", &"x".repeat(8 << 20))]);
    let answer = program.post("/logdrains", "application/logplex-1").body(large);
    let answer = answer.send().await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["retry-after"]),
        (503, &"5".parse().unwrap())
    );
    drop(slow);
    let large = frames([app_line("web.1", &"x".repeat(8 << 20))]);
    eventually("there is room again", async || {
        let request = program.post("/logdrains", "application/logplex-1").body(large.clone());
        let status = request.send().await.unwrap().status();
        if status == 204 { Ok(()) } else { Err(status) }
    })
    .await;
    assert_well(&program).await;
}

#[tokio::test]
async fn headers_beyond_all_bounds() {
    let program = impatient();
    let ten_thousand: String = (0..10_000).map(|index| format!("X-{index}: 1\r\n")).collect();
    for more in [format!("X-A: {}\r\n", "a".repeat(1_000_000)), ten_thousand] {
        let answer = exchange(program.receiver(), head(&more).as_bytes()).await;
        assert_eq!(status_of(&answer), 431, "{answer}");
    }
    let path = format!("POST /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(1_000_000));
    let answer = exchange(program.receiver(), path.as_bytes()).await;
    assert!([414, 431].contains(&status_of(&answer)), "{answer}");
    assert_well(&program).await;
}

#[tokio::test]
async fn what_is_no_http() {
    let program = impatient();
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\xa4\x17\x9b\x00\r\n\r\n";
    let requests: [&[u8]; 9] = [
        b"GET /\r\n\r\n",
        b"\r\n\r\n\r\n\r\n\r\n\r\n",
        b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\r\n\r\n",
        hello,
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
        b"POST /logdrains HTTP/9.9\r\nHost: x\r\n\r\n",
        b"POST /logdrains HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /logdrains HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        b"POST /logdrains HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Type: application/logplex-1\r\n\r\nzz\r\nabc",
    ];
    for request in requests {
        let answer = exchange(program.receiver(), request).await;
        // Either a refusal or just the end of the connection.
        let is_refused =
            answer.is_empty() || !answer.starts_with("HTTP/1") || status_of(&answer) / 100 == 4;
        assert!(is_refused, "{}: {answer}", String::from_utf8_lossy(request));
    }
    assert_eq!(program.settled().await.line("logdrains"), Line::default());
    assert_well(&program).await;
}

#[tokio::test]
async fn bodies_where_none_belong_and_lengths_that_lie() {
    let program = impatient();
    let body = String::from_utf8(frames([app_line("web.1", "x")])).unwrap();
    // A request with a body where none is expected does not spoil the next one of its connection.
    let get = format!(
        "GET /logdrains HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let post = head(&format!("Content-Length: {}\r\nConnection: close\r\n", body.len())) + &body;
    let answer = exchange(program.receiver(), (get + &post).as_bytes()).await;
    assert_eq!(status_of(&answer), 405, "{answer}");
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 2, "{answer}");
    assert!(answer.contains("HTTP/1.1 204 "), "{answer}");
    // A length that nobody can have.
    for length in ["99999999999", "18446744073709551615", "99999999999999999999999"] {
        let request = head(&format!("Content-Length: {length}\r\nConnection: close\r\n"));
        let mut stream = TcpStream::connect(program.receiver()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let answer = read_to_end(&mut stream, PATIENCE).await.unwrap();
        assert_eq!(status_of(&answer) / 100, 4, "{length}: {answer}");
    }
    // A client that goes away in the middle.
    let mut stream = TcpStream::connect(program.receiver()).await.unwrap();
    stream.write_all((head("Content-Length: 100\r\n") + &body).as_bytes()).await.unwrap();
    drop(stream);
    assert_eq!(program.settled().await.line("logdrains").received, 1);
    assert_well(&program).await;
}

#[tokio::test]
async fn expect_continue() {
    let program = impatient();
    let body = frames([app_line("web.1", "x")]);
    let expecting = |content_type: &str| {
        format!(
            "POST /logdrains HTTP/1.1\r\nHost: x\r\nContent-Type: {content_type}\r\n\
             Expect: 100-continue\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        )
    };
    let mut stream = TcpStream::connect(program.receiver()).await.unwrap();
    stream.write_all(expecting("application/logplex-1").as_bytes()).await.unwrap();
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).await.unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(&body).await.unwrap();
    let answer = read_to_end(&mut stream, PATIENCE).await.unwrap();
    assert_eq!(status_of(&answer), 204, "{answer}");
    // What is refused is refused before the body is sent.
    let answer = exchange(program.receiver(), expecting("text/plain").as_bytes()).await;
    assert_eq!(status_of(&answer), 415, "{answer}");
    // Told to go on, this one does not.
    let answer = exchange(program.receiver(), expecting("application/logplex-1").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 408 "), "{answer}");
    assert_well(&program).await;
}

#[tokio::test]
async fn more_connections_than_allowed_wait_their_turn() {
    let mut program = Program::new(BINARY).set("receiver.connections", "4");
    program.start();
    let mut idle = Vec::new();
    for _ in 0..4 {
        // A first request shows that the connection is taken, and leaves it open.
        let mut stream = TcpStream::connect(program.receiver()).await.unwrap();
        let body = String::from_utf8(frames([app_line("web.1", "x")])).unwrap();
        let request = head(&format!("Content-Length: {}\r\n", body.len())) + &body;
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut start = [0; 12];
        stream.read_exact(&mut start).await.unwrap();
        assert_eq!(&start, b"HTTP/1.1 204");
        idle.push(stream);
    }
    let body = frames([app_line("web.1", "the fifth")]);
    let request = program.post("/logdrains", "application/logplex-1").body(body);
    let mut fifth = tokio::spawn(request.send());
    let early = tokio::time::timeout(Duration::from_millis(300), &mut fifth).await;
    assert!(early.is_err(), "it was served beyond the limit");
    drop(idle.pop());
    let answer = tokio::time::timeout(PATIENCE, fifth).await.unwrap().unwrap().unwrap();
    assert_eq!(answer.status(), 204);
    drop(idle);
    assert_well(&program).await;
}

#[tokio::test]
async fn compressed_in_bad_faith() {
    let mut program = Program::new(BINARY);
    program.start();
    let body = frames([app_line("web.1", "x")]);
    let post = |encoding: &str, body: Vec<u8>| {
        program.drain("", body).header("content-encoding", encoding).send()
    };
    // 300 kB that would become 300 MB.
    let bomb = gzip(&vec![0; 300 << 20]);
    assert_eq!(post("gzip", bomb.clone()).await.unwrap().status(), 413);
    let both = tokio::join!(post("gzip", bomb.clone()), post("gzip", bomb.clone()));
    assert_eq!(
        (both.0.unwrap().status(), both.1.unwrap().status()),
        (413.try_into().unwrap(), 413.try_into().unwrap())
    );
    let reports = program.post("/errors/log", "application/json").body(bomb);
    assert_eq!(reports.header("content-encoding", "gzip").send().await.unwrap().status(), 413);
    assert_eq!(post("gzip, gzip", gzip(&gzip(&body))).await.unwrap().status(), 415);
    assert_eq!(post("gzip", body.clone()).await.unwrap().status(), 400);
    for cut in [0, 5, 12, gzip(&body).len() - 1] {
        let cut_off = gzip(&body)[..cut].to_vec();
        assert_eq!(post("gzip", cut_off).await.unwrap().status(), 400, "{cut}");
    }
    assert_eq!(program.settled().await.line("logdrains"), Line::default());
    // Compressed twice and declared once: what comes out is no frame.
    assert_eq!(post("gzip", gzip(&gzip(&body))).await.unwrap().status(), 204);
    let line = program.settled().await.line("logdrains");
    assert_eq!((line.received, line.rejected), (1, 1));
    assert_well(&program).await;
}

#[tokio::test]
async fn json_of_any_depth() {
    let mut program = Program::new(BINARY);
    program.start();
    for depth in [200, 100_000, 1_000_000] {
        for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
            let deep = format!("{}1{}", open.repeat(depth), close.repeat(depth));
            let unclosed = open.repeat(depth);
            for value in [&deep, &unclosed] {
                let report = format!(r#"{{"message":"a","attributes":{{"x":{value}}}}}"#);
                let answer = program.post("/errors/log", "application/json").body(report);
                assert_eq!(answer.send().await.unwrap().status(), 400);
                let line =
                    format!("{{\"type\":\"insert\",\"data\":{value}}}\n{{\"type\":\"insert\"}}\n");
                let answer = program.post("/maxwell", "application/x-ndjson").body(line);
                assert_eq!(answer.send().await.unwrap().status(), 204);
            }
        }
    }
    let ledger = program.settled().await;
    assert_eq!(ledger.line("errors"), Line::default());
    let line = ledger.line("maxwell");
    assert_eq!((line.received, line.stored, line.rejected), (24, 12, 12));
    assert_well(&program).await;
}

#[tokio::test]
async fn values_of_ten_megabytes() {
    let mut program = Program::new(BINARY);
    program.start();
    let large = "a/b?c=1:".repeat((10 << 20) / 8 - 200);
    let answer = program.drain("", frames([app_line("web.1", &large)])).send().await.unwrap();
    assert_eq!(answer.status(), 204);
    program.settled().await;
    let digits = format!("ERROR {}", "1.2-3:4 \"".repeat((10 << 20) / 9 - 200));
    let answer = program.drain("", frames([app_line("web.1", &digits)])).send().await.unwrap();
    assert_eq!(answer.status(), 204);
    program.settled().await;
    program.report(&serde_json::json!({ "message": large, "stackTrace": "" }).to_string()).await;
    program.settled().await;
    let line = format!(r#"{{"type":"insert","database":"d","data":{{"v":"{large}"}}}}"#);
    let answer = program.post("/maxwell", "application/x-ndjson").body(line);
    assert_eq!(answer.send().await.unwrap().status(), 204);
    let ledger = program.settled().await;
    let stored = ["logdrains", "errors", "maxwell"].map(|source| ledger.line(source).stored);
    assert_eq!(stored, [2, 1, 1]);
    let lengths = "SELECT length(message) FROM events WHERE kind = 'log' ORDER BY sequence LIMIT 1";
    assert_eq!(usize::try_from(program.database.number(lengths).await), Ok(large.len()));
    assert_well(&program).await;
}

/// Different words for different numbers: digits would be masked.
fn word(number: usize) -> String {
    number.to_string().bytes().map(|digit| char::from(b'k' + digit - b'0')).collect()
}

#[tokio::test]
async fn thirty_thousand_distinct_faults() {
    let mut program = Program::new(BINARY);
    program.start();
    let lines =
        (0..30_000).map(|number| app_line("web.1", &format!("ERROR cannot {}", word(number))));
    let body = frames(lines);
    for frame_id in ["f1", "f2"] {
        let answer = program.drain(frame_id, body.clone()).send().await.unwrap();
        assert_eq!(answer.status(), 204);
    }
    let line = program.settled().await.line("logdrains");
    assert_eq!((line.received, line.stored), (60_000, 60_000));
    let faults = "SELECT count(*) FROM faults WHERE count = 2";
    assert_eq!(program.database.number(faults).await, 30_000);
    let listed = program.json("/api/faults?limit=1000").await;
    assert_eq!(listed["faults"].as_array().unwrap().len(), 1000);
    assert_well(&program).await;
}

#[tokio::test]
async fn chunks_of_every_size() {
    let program = impatient();
    let body = frames((0..200).map(|number| app_line("web.1", &format!("line {number}"))));
    for size in [1, 3, 1000, body.len()] {
        let request = [
            head("Transfer-Encoding: chunked\r\nConnection: close\r\n").as_bytes(),
            &chunked(&body, size),
        ]
        .concat();
        let answer = exchange(program.receiver(), &request).await;
        assert_eq!(status_of(&answer), 204, "{size}: {answer}");
    }
    assert_eq!(program.settled().await.line("logdrains").stored, 800);
    assert_well(&program).await;
}
