//! Started by systemd, Faultline says when it is ready, when it stops, and to the watchdog that it
//! comes on: not while records wait and nothing happens to them, but while it waits for a store that
//! is away. `faultline health` tells by its exit code whether it takes records.

#![expect(clippy::unwrap_used, reason = "a failing test is told by a panic")]

use std::{
    os::unix::net::UnixDatagram, path::Path, process::Output, sync::mpsc, thread, time::Instant,
};

use faultline_testkit::{
    PATIENCE, eventually, free_port,
    load::Load,
    program::{Program, app_line, frames, run_to_end},
    tls::Authority,
};

const BINARY: &str = env!("CARGO_BIN_EXE_faultline");
const STUCK: &str = "STATUS=records wait, and nothing happens";

/// What listens where systemd would: all the time, since a socket holds ten messages, and whoever sends
/// another one waits.
struct Systemd {
    heard: mpsc::Receiver<String>,
}

impl Systemd {
    /// Makes `program` one of its services. It looks for progress every 50 ms.
    fn over(program: Program) -> (Self, Program) {
        let path = program.directory().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let (hear, heard) = mpsc::channel();
        thread::spawn(move || {
            let mut bytes = [0; 1024];
            while let Ok(length) = socket.recv(&mut bytes) {
                let told = String::from_utf8(bytes[..length].to_vec()).unwrap();
                if hear.send(told).is_err() {
                    return;
                }
            }
        });
        let program = program
            .environment("NOTIFY_SOCKET", &path.display().to_string())
            .environment("WATCHDOG_USEC", "200000");
        (Self { heard }, program)
    }

    /// The next thing that it is told.
    fn told(&self) -> String {
        self.heard.recv_timeout(PATIENCE).expect("it is told something")
    }

    /// All that it was told and has not heard yet.
    fn told_so_far(&self) -> Vec<String> {
        self.heard.try_iter().collect()
    }

    fn hears(&self, what: &str) {
        let started = Instant::now();
        loop {
            let told = self.told();
            if told.starts_with(what) {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "it is not told {what}, but {told}");
        }
    }
}

async fn send(program: &Program, frame: &str) {
    let sent = program.drain(frame, frames([app_line("web.1", frame)])).send().await.unwrap();
    assert_eq!(sent.status(), 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn ready_then_alive_then_stopping() {
    let (systemd, mut program) = Systemd::over(Program::new(BINARY));
    program.start();
    assert_eq!(systemd.told(), "READY=1\nSTATUS=\n");
    send(&program, "f1").await;
    for _ in 0..3 {
        systemd.hears("WATCHDOG=1");
    }
    program.finish().await;
    systemd.hears("STOPPING=1\n");
    assert_eq!(systemd.told_so_far(), [] as [String; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_while_records_wait_and_nothing_happens() {
    let (systemd, mut program) = Systemd::over(Program::with_postgres(BINARY));
    program.start();
    send(&program, "f1").await;
    program.settled().await;
    let held = program.database.hold("events").await;
    // A commit that was slow is over.
    systemd.told_so_far();
    send(&program, "f2").await;
    systemd.hears(STUCK);
    let stays_stuck = || {
        for _ in 0..10 {
            let told = systemd.told();
            assert!(told.starts_with(STUCK), "{told}");
        }
    };
    stays_stuck();
    // That more comes in does not help what waits.
    let load = Load::start(program.receiver(), 2);
    stays_stuck();
    load.end().await;
    drop(held);
    systemd.hears("WATCHDOG=1\nSTATUS=\n");
    program.settled().await;
    program.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn alive_while_the_store_is_away() {
    let (systemd, mut program) = Systemd::over(Program::with_postgres(BINARY));
    program.start();
    program.settled().await;
    program.postgres().stop();
    send(&program, "f1").await;
    eventually("it knows that the store is away", async || {
        if program.log().contains("cannot store") { Ok(()) } else { Err("it does not") }
    })
    .await;
    systemd.told_so_far();
    systemd.hears("WATCHDOG=1");
    for _ in 0..10 {
        assert_eq!(systemd.told(), "WATCHDOG=1\n");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_is_watched_too() {
    let redis = format!("redis://127.0.0.1:{}", free_port());
    let program = Program::new(BINARY).arguments(&["relay"]);
    let program = program.set("handoff.url", &redis).set("handoff.environment", "staging");
    let (systemd, mut program) = Systemd::over(program);
    program.start();
    assert_eq!(systemd.told(), "READY=1\nSTATUS=\n");
    send(&program, "f1").await;
    for _ in 0..5 {
        systemd.hears("WATCHDOG=1");
    }
    program.signal("TERM");
    systemd.hears("STOPPING=1");
}

async fn health(program: &Program, url: &str) -> Output {
    run_to_end(program.command_with(&["health", "--url", url])).await
}

#[tokio::test]
async fn health_tells_by_its_exit_code() {
    let mut program = Program::with_postgres(BINARY)
        .set("spool.segment_bytes", "64 KiB")
        .set("spool.max_bytes", "128 KiB")
        .set("spool.commit_bytes", "32 KiB")
        .set("receiver.body_limit", "32 KiB");
    let nowhere = format!("http://127.0.0.1:{}", free_port());
    let said = health(&program, &nowhere).await;
    assert_eq!(said.status.code(), Some(1), "{said:?}");
    program.start();
    let admin = format!("http://{}/", program.admin());
    let said = health(&program, &admin).await;
    assert_eq!((said.status.code(), &*said.stdout), (Some(0), &b"ready\n"[..]), "{said:?}");

    program.postgres().stop();
    let line = app_line("web.1", &"x".repeat(9_000));
    for frame in 0.. {
        let body = frames([line.as_str()]);
        let sent = program.drain(&format!("f{frame}"), body).send().await.unwrap();
        if sent.status() == 503 {
            break;
        }
    }
    let said = health(&program, &admin).await;
    let problem = String::from_utf8_lossy(&said.stderr);
    assert_eq!(said.status.code(), Some(1), "{problem}");
    assert!(problem.contains("503 Service Unavailable: not ready"), "{problem}");
}

#[tokio::test]
async fn health_finds_its_own_listener_also_behind_tls() {
    let authority = Authority::new("an authority");
    let issued = authority.issue("faults.example.com");
    let file = |path: &Path| path.display().to_string();
    let mut program = Program::new(BINARY)
        .set("admin.listen", &format!("0.0.0.0:{}", free_port()))
        .set("admin.auth", "token")
        .set("admin.token", "0123456789abcdef0123456789abcdef")
        .set("admin.tls.certificate_file", &file(&issued.certificate))
        .set("admin.tls.key_file", &file(&issued.key));
    program.start();
    let said = run_to_end(program.command_with(&["health"])).await;
    assert_eq!((said.status.code(), &*said.stdout), (Some(0), &b"ready\n"[..]), "{said:?}");
    // Of somebody else's, the certificate must be right.
    let said = health(&program, &format!("https://127.0.0.1:{}", program.admin().port())).await;
    assert_eq!(said.status.code(), Some(1), "{said:?}");
}
