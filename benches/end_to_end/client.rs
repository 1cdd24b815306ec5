//! Load that does not run away from what is stored.
//!
//! wrk sends as fast as it is answered. A program that accepts faster than it stores is then busy
//! accepting, and what it stores meanwhile is not what it could go on storing. So this client has a
//! credit of messages: what is sent and not stored yet, as the program's ledger says, never
//! exceeds it.

use std::{
    net::SocketAddr,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Semaphore,
    task::JoinSet,
};

use crate::{
    figures::p99,
    ledger::{Admin, Line},
    servers::Server,
    support::report_body,
};

/// Requests that are sent one after the other.
pub(crate) struct Requests {
    head: String,
    bodies: Bodies,
    /// In each body.
    pub(crate) messages: u32,
    /// Whether each request has a `Logplex-Frame-Id` of its own, as Logplex gives them.
    has_frame_ids: bool,
}

/// What is in the requests.
enum Bodies {
    /// Again and again the same.
    Kept(Vec<Vec<u8>>),
    /// Made when they are sent, by number.
    Made(Box<dyn Fn(u64) -> Vec<u8> + Send + Sync>),
}

impl Requests {
    /// As Logplex sends them.
    pub(crate) fn drain(bodies: Vec<Vec<u8>>, messages: u32) -> Self {
        let head = format!(
            "POST /logdrains HTTP/1.1\r\nHost: faultline\r\n\
             Content-Type: application/logplex-1\r\nUser-Agent: Logplex/v72\r\n\
             Logplex-Msg-Count: {messages}\r\n\
             Logplex-Drain-Token: d.8f3c5a9e-0000-4000-8000-000000000001\r\n"
        );
        Self { head, bodies: Bodies::Kept(bodies), messages, has_frame_ids: true }
    }

    /// One report each.
    pub(crate) fn single_reports(bodies: Vec<Vec<u8>>) -> Self {
        Self::reports(Bodies::Kept(bodies), 1)
    }

    /// A hundred reports each, which go through `faults` in turn.
    pub(crate) fn reports_of(faults: Range<u64>) -> Self {
        const MESSAGES: u32 = 100;
        let make = move |number| report_body(number, u64::from(MESSAGES), &faults);
        Self::reports(Bodies::Made(Box::new(make)), MESSAGES)
    }

    fn reports(bodies: Bodies, messages: u32) -> Self {
        let head = "POST /errors/log HTTP/1.1\r\nHost: faultline\r\n\
                    Content-Type: application/json\r\n";
        Self { head: head.to_owned(), bodies, messages, has_frame_ids: false }
    }

    fn write(&self, number: u64, out: &mut Vec<u8>) {
        use std::io::Write;
        let made;
        let body = match &self.bodies {
            Bodies::Kept(bodies) => &bodies[usize::try_from(number).unwrap() % bodies.len()],
            Bodies::Made(make) => {
                made = make(number);
                &made
            }
        };
        out.clear();
        out.extend_from_slice(self.head.as_bytes());
        if self.has_frame_ids {
            write!(out, "Logplex-Frame-Id: {number:032X}\r\n").unwrap();
        }
        write!(out, "Content-Length: {}\r\n\r\n", body.len()).unwrap();
        out.extend_from_slice(body);
    }
}

/// When a client stops.
#[derive(Clone, Copy)]
pub(crate) enum Until {
    After(Duration),
    Sent(u64),
}

#[derive(Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) connections: usize,
    pub(crate) until: Until,
    /// Messages that may be sent and not stored yet.
    pub(crate) credit: usize,
}

/// What was sent.
#[derive(Default)]
pub(crate) struct Sent {
    /// How long each request waited for its 2xx, in seconds.
    pub(crate) answers: Vec<f64>,
    /// Requests answered with 503.
    pub(crate) refused: u64,
    pub(crate) seconds: f64,
}

impl Sent {
    /// Requests a second.
    pub(crate) fn rate(&self) -> f64 {
        self.answers.len() as f64 / self.seconds
    }
}

/// Sends as fast as it is answered.
pub(crate) fn send(address: SocketAddr, requests: &Arc<Requests>, plan: Plan) -> Sent {
    send_on(address, requests, plan, &Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)))
}

fn send_on(
    address: SocketAddr,
    requests: &Arc<Requests>,
    plan: Plan,
    credit: &Arc<Semaphore>,
) -> Sent {
    // One thread, as wrk has: the program needs the rest of the machine.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        // Numbers, and with them frame ids, are never used twice.
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let started = Instant::now();
        let end = match plan.until {
            Until::After(time) => (Some(started + time), u64::MAX),
            Until::Sent(count) => (None, NUMBER.load(Ordering::Relaxed) + count),
        };
        let mut connections = JoinSet::new();
        for _ in 0..plan.connections {
            let stream = TcpStream::connect(address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            connections.spawn(connection(stream, requests.clone(), end, &NUMBER, credit.clone()));
        }
        let mut all = Sent::default();
        for sent in connections.join_all().await {
            all.answers.extend(sent.answers);
            all.refused += sent.refused;
        }
        all.seconds = started.elapsed().as_secs_f64();
        all
    })
}

async fn connection(
    mut stream: TcpStream,
    requests: Arc<Requests>,
    (deadline, last): (Option<Instant>, u64),
    numbers: &'static AtomicU64,
    credit: Arc<Semaphore>,
) -> Sent {
    const AFTER_REFUSAL: Duration = Duration::from_millis(50);
    let mut sent = Sent::default();
    let mut request = Vec::new();
    // A hundred reports are answered with ten kilobytes.
    let mut answer = vec![0; 64 << 10];
    loop {
        credit.acquire_many(requests.messages).await.unwrap().forget();
        let number = numbers.fetch_add(1, Ordering::Relaxed);
        if number >= last || deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            credit.add_permits(requests.messages as usize);
            return sent;
        }
        requests.write(number, &mut request);
        let started = Instant::now();
        stream.write_all(&request).await.unwrap();
        match status(&mut stream, &mut answer).await.as_str() {
            "200" | "204" => sent.answers.push(started.elapsed().as_secs_f64()),
            "503" => {
                sent.refused += 1;
                credit.add_permits(requests.messages as usize);
                tokio::time::sleep(AFTER_REFUSAL).await;
            }
            other => panic!("{other}: {}", String::from_utf8_lossy(&answer)),
        }
    }
}

/// Reads one answer; gives its status.
async fn status(stream: &mut TcpStream, buffer: &mut [u8]) -> String {
    let mut filled = 0;
    loop {
        let read = stream.read(&mut buffer[filled..]).await.unwrap();
        assert!(read > 0, "the server closed the connection");
        filled += read;
        let Some(end) = memchr::memmem::find(&buffer[..filled], b"\r\n\r\n") else { continue };
        let head = std::str::from_utf8(&buffer[..end]).unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if filled >= end + 4 + length.map_or(0, |length| length.parse::<usize>().unwrap()) {
            return head.split(' ').nth(1).unwrap_or_default().to_owned();
        }
    }
}

/// What went all the way into the store.
pub(crate) struct Flow {
    /// Messages.
    pub(crate) stored: u64,
    /// From the first request until all was stored.
    pub(crate) seconds: f64,
    /// In milliseconds.
    pub(crate) answered_p99: f64,
    /// From being accepted to being stored, in milliseconds.
    pub(crate) stored_p99: f64,
}

impl Flow {
    /// Messages stored a second.
    pub(crate) fn rate(&self) -> f64 {
        self.stored as f64 / self.seconds
    }
}

/// Sends within the plan's credit, and waits until all is stored.
pub(crate) fn flow(server: &Server, source: &str, requests: &Arc<Requests>, plan: Plan) -> Flow {
    let mut admin = Admin::of(server);
    let before = admin.ledger(source);
    let credit = Arc::new(Semaphore::new(plan.credit));
    let has_ended = Arc::new(AtomicBool::new(false));
    let started = Instant::now();
    let watch = {
        let (source, credit, has_ended) = (source.to_owned(), credit.clone(), has_ended.clone());
        std::thread::spawn(move || watch(admin, &source, before, &credit, &has_ended))
    };
    let sent = send_on(server.receiver, requests, plan, &credit);
    has_ended.store(true, Ordering::Relaxed);
    let (after, waits) = watch.join().unwrap();
    assert_eq!(after.rejected, before.rejected, "the bench sends nothing that is wrong");
    assert_eq!(after.duplicate, before.duplicate, "the bench sends nothing twice");
    Flow {
        stored: after.stored - before.stored,
        seconds: started.elapsed().as_secs_f64(),
        answered_p99: p99(sent.answers) * 1e3,
        stored_p99: p99(waits) * 1e3,
    }
}

/// Gives credit back for what is stored, until all is; gives the ledger and how long storing took.
fn watch(
    mut admin: Admin,
    source: &str,
    before: Line,
    credit: &Semaphore,
    has_ended: &AtomicBool,
) -> (Line, Vec<f64>) {
    const EVERY: Duration = Duration::from_millis(10);
    let mut given_back = before.stored;
    let mut accepted = std::collections::VecDeque::new();
    let mut waits = Vec::new();
    loop {
        // Read before the ledger: whatever was sent by then is in it.
        let is_last = has_ended.load(Ordering::Relaxed);
        let line = admin.ledger(source);
        let now = Instant::now();
        credit.add_permits(usize::try_from(line.stored - given_back).unwrap());
        given_back = line.stored;
        accepted.push_back((now, line.received));
        while let Some((at, _)) = accepted.pop_front_if(|(_, received)| *received <= line.stored) {
            waits.push((now - at).as_secs_f64());
        }
        if is_last && line.in_flight == 0 {
            return (line, waits);
        }
        std::thread::sleep(EVERY);
    }
}
