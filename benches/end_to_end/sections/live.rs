//! What live clients cost: ingestion into PostgreSQL with none and with 500 of them, and their memory.
//!
//! The clients read on the same machine, so that what they cost themselves counts against the
//! program too.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use faultline_testkit::postgres::Postgres;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

use super::{CREDIT, WARM_UP, pairs, seconds};
use crate::{
    client::{Plan, Requests, Until, flow},
    figures::{cpu_seconds, median_of, peak_mib, resident_mib},
    ledger::Admin,
    servers::{Kind, Server},
    support::frames,
};

const CLIENTS: usize = 500;
const CONNECTIONS: usize = 50;
/// As many faults as are met in each second.
const FAULTS: u64 = 1_000;
/// Every client has been sent something of everything by then.
const SETTLED: Duration = Duration::from_secs(12);

/// One side of a pair.
struct Side {
    rate: f64,
    peak_mib: f64,
    /// Bytes that all clients together were sent a second.
    sent: f64,
    /// Processor time, in seconds a second.
    cores: f64,
}

pub(super) fn run() {
    println!("goal: {CLIENTS} clients take less than 50 MiB and 5 % of what is stored");
    memory();
    println!(
        "load       stored/s   with clients  of that  peak MiB  with clients   to clients  cores"
    );
    let bodies: Vec<_> = (1..=64).map(|seed| frames(100, seed)).collect();
    let lines = Arc::new(Requests::drain(bodies, 100));
    let reports = Arc::new(Requests::reports_of(0..FAULTS));
    for (name, source, requests) in
        [("log lines", "logdrains", lines), ("reports", "errors", reports)]
    {
        let postgres = Postgres::start();
        let rounds: Vec<(Side, Side)> = (0..pairs())
            .map(|pair| {
                let [alone, with] = [0, CLIENTS].map(|clients| (clients, source, &requests));
                // Each side is the second one as often.
                if pair % 2 == 0 {
                    let alone = side(&postgres, alone);
                    (alone, side(&postgres, with))
                } else {
                    let with = side(&postgres, with);
                    (side(&postgres, alone), with)
                }
            })
            .collect();
        println!(
            "{name:9}  {:8.0}  {:13.0}  {:7.3}  {:8.0}  {:12.0}  {:6.2} MiB/s  {:.2} ({:.2} alone)",
            median_of(&rounds, |(alone, _)| alone.rate),
            median_of(&rounds, |(_, with)| with.rate),
            median_of(&rounds, |(alone, with)| with.rate / alone.rate),
            median_of(&rounds, |(alone, _)| alone.peak_mib),
            median_of(&rounds, |(_, with)| with.peak_mib),
            median_of(&rounds, |(_, with)| with.sent / f64::from(1 << 20)),
            median_of(&rounds, |(_, with)| with.cores),
            median_of(&rounds, |(alone, _)| alone.cores),
        );
    }
}

/// What the clients hold while little happens.
fn memory() {
    let postgres = Postgres::start();
    let server = Server::start(&Kind::Postgres(postgres.url()));
    let reports = Arc::new(Requests::reports_of(0..FAULTS));
    let little = Plan { connections: 1, until: Until::Sent(20), credit: CREDIT };
    flow(&server, "errors", &reports, little);
    let before = resident_mib(server.pid());
    let clients = Clients::open(server.admin, CLIENTS);
    flow(&server, "errors", &reports, little);
    std::thread::sleep(SETTLED);
    let after = resident_mib(server.pid());
    check(&server, CLIENTS);
    drop(clients);
    println!(
        "{CLIENTS} clients: {:.1} MiB ({before:.0} before, {after:.0} with them)",
        after - before
    );
}

fn side(postgres: &Postgres, (clients, source, requests): (usize, &str, &Arc<Requests>)) -> Side {
    // What the side before has stored, and left to write, is not this one's to pay for.
    block_on(async {
        let _ = postgres.client().await.batch_execute("TRUNCATE events, event_blocks").await;
        postgres.execute("CHECKPOINT").await;
    });
    let server = Server::start(&Kind::Postgres(postgres.url()));
    // The tables are made.
    Admin::of(&server);
    let clients = Clients::open(server.admin, clients);
    let plan = |until| Plan { connections: CONNECTIONS, until, credit: CREDIT };
    flow(&server, source, requests, plan(Until::After(WARM_UP)));
    let (used, sent) = (cpu_seconds(server.pid()), clients.received());
    let flow = flow(&server, source, requests, plan(Until::After(3 * seconds())));
    let side = Side {
        rate: flow.rate(),
        peak_mib: peak_mib(server.pid()),
        sent: (clients.received() - sent) as f64 / flow.seconds,
        cores: (cpu_seconds(server.pid()) - used) / flow.seconds,
    };
    check(&server, clients.count);
    side
}

fn block_on<T>(task: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(task)
}

/// Nobody was cut.
fn check(server: &Server, clients: usize) {
    let listening = Admin::of(server).live_clients();
    assert_eq!(listening, clients, "all clients are to be there at the end");
}

/// Clients that read what they are sent, on a thread of their own.
struct Clients {
    count: usize,
    received: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Clients {
    /// Opens all of them.
    fn open(admin: SocketAddr, count: usize) -> Self {
        let (received, is_over) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let open = Arc::<AtomicU64>::default();
        let thread = {
            let (received, is_over, open) = (received.clone(), is_over.clone(), open.clone());
            std::thread::spawn(move || {
                block_on(async {
                    let mut clients = JoinSet::new();
                    for _ in 0..count {
                        clients.spawn(read(admin, received.clone(), open.clone()));
                    }
                    while !is_over.load(Ordering::Relaxed) {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                });
            })
        };
        while open.load(Ordering::Relaxed) < count as u64 {
            std::thread::sleep(Duration::from_millis(5));
        }
        Self { count, received, is_over, thread: Some(thread) }
    }

    fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

async fn read(admin: SocketAddr, received: Arc<AtomicU64>, open: Arc<AtomicU64>) {
    let mut stream = TcpStream::connect(admin).await.unwrap();
    stream.write_all(b"GET /api/live HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut buffer = vec![0; 16 << 10];
    let mut is_open = false;
    loop {
        let read = stream.read(&mut buffer).await.unwrap();
        assert!(read > 0, "a client was cut");
        if !is_open {
            assert!(buffer.starts_with(b"HTTP/1.1 200"), "a client was not let in");
            is_open = true;
            open.fetch_add(1, Ordering::Relaxed);
        }
        received.fetch_add(read as u64, Ordering::Relaxed);
    }
}
