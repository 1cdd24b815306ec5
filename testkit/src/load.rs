//! Load: clients that send for as long as they are told to, and what they were told is accepted.
//!
//! A body that gets no 2xx is sent again under the same id, to wherever the program listens by
//! then. So at the end each one was accepted, perhaps more than once. Every message carries a marker
//! that no other message has, so that what is stored can be compared with what was accepted.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    ops::Range,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::task::JoinSet;

use crate::{
    PATIENCE,
    database::Database,
    program::{Ledger, app_line, frames},
};

/// A client without an answer waits so long before it tries again.
const PAUSE: Duration = Duration::from_millis(10);

/// See the [module](self). Clients with an even number are log drains, the others send reports.
pub struct Load {
    shared: Arc<Shared>,
    clients: JoinSet<Accepted>,
}

struct Shared {
    receiver: Mutex<SocketAddr>,
    has_ended: AtomicBool,
    accepted: AtomicU64,
}

/// What the clients were told is accepted.
#[derive(Debug, Default)]
pub struct Accepted {
    pub markers: BTreeSet<String>,
    /// Frames in bodies of log drains.
    pub frames: u64,
    pub reports: u64,
    /// Events that belong to a fault.
    pub faults: u64,
    /// Requests that were answered with 503.
    pub refused: u64,
    /// Requests that were not answered.
    pub unanswered: u64,
}

impl Load {
    /// Starts `count` clients of the program that listens at `receiver`.
    ///
    /// # Panics
    /// When no client can be made.
    #[must_use]
    pub fn start(receiver: SocketAddr, count: usize) -> Self {
        Self::of(receiver, 0..count)
    }

    /// Clients with these numbers, which make their markers different from all others'.
    ///
    /// # Panics
    /// When no client can be made.
    #[must_use]
    pub fn of(receiver: SocketAddr, numbers: Range<usize>) -> Self {
        let shared = Arc::new(Shared {
            receiver: Mutex::new(receiver),
            has_ended: AtomicBool::new(false),
            accepted: AtomicU64::new(0),
        });
        let http = reqwest::Client::builder().timeout(PATIENCE).build().unwrap();
        let mut clients = JoinSet::new();
        for number in numbers {
            let client = Client { number, shared: shared.clone(), http: http.clone() };
            clients.spawn(client.run());
        }
        Self { shared, clients }
    }

    /// The program was started again, and listens elsewhere.
    ///
    /// # Panics
    /// When a client panicked.
    pub fn moved(&self, receiver: SocketAddr) {
        *self.shared.receiver.lock().unwrap() = receiver;
    }

    /// Bodies accepted so far.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    /// Lets every client have its last body accepted; gives what all of them were told.
    ///
    /// # Panics
    /// When that does not happen in time.
    pub async fn end(self) -> Accepted {
        self.shared.has_ended.store(true, Ordering::Relaxed);
        let all = self.clients.join_all();
        let all = tokio::time::timeout(PATIENCE, all).await.expect("the last bodies are accepted");
        all.into_iter().fold(Accepted::default(), Accepted::with)
    }
}

struct Client {
    number: usize,
    shared: Arc<Shared>,
    http: reqwest::Client,
}

impl Client {
    async fn run(self) -> Accepted {
        let mut accepted = Accepted::default();
        let mut serial = 0;
        while !self.shared.has_ended.load(Ordering::Relaxed) {
            serial += 1;
            if self.number.is_multiple_of(2) {
                self.drain(serial, &mut accepted).await;
            } else {
                self.report(serial, &mut accepted).await;
            }
            self.shared.accepted.fetch_add(1, Ordering::Relaxed);
        }
        accepted
    }

    /// Twelve frames: eight lines, a failure, and a stack trace of three.
    async fn drain(&self, serial: usize, accepted: &mut Accepted) {
        let dyno = format!("web.{}", self.number);
        let mut next = self.markers(serial);
        let mut lines = Vec::new();
        for _ in 0..8 {
            lines.push(app_line(&dyno, &format!("order {} is placed", next(accepted))));
        }
        let failure = format!("gateway {} refused order {}", word(serial), next(accepted));
        lines.push(app_line(&dyno, &failure).replacen("<190>", "<187>", 1));
        lines.push(app_line(&dyno, &format!("TypeError: no total for {}", next(accepted))));
        lines.push(app_line(&dyno, "    at total (/app/order.js:10:5)"));
        lines.push(app_line(&dyno, "    at pay (/app/checkout.js:7:3)"));
        let id = format!("{}-{serial}", self.number);
        let (count, body) = (lines.len() as u64, frames(lines));
        self.until_accepted(accepted, |http, receiver| {
            http.post(format!("http://{receiver}/logdrains"))
                .header("content-type", "application/logplex-1")
                .header("user-agent", "Logplex/v72")
                .header("logplex-frame-id", &id)
                .header("logplex-drain-token", "d.fc6b856b-3332-4546-93de-7d0ee272c3bd")
                .body(body.clone())
        })
        .await;
        accepted.frames += count;
        accepted.faults += 2;
    }

    /// One report, or every third time an array of three.
    async fn report(&self, serial: usize, accepted: &mut Accepted) {
        let mut next = self.markers(serial);
        let count = if serial.is_multiple_of(3) { 3 } else { 1 };
        let reports: Vec<_> = (0..count)
            .map(|_| {
                serde_json::json!({
                    "message": format!("the {} job failed for {}", word(serial), next(accepted)),
                    "service": format!("client {}", self.number),
                })
            })
            .collect();
        let body = if count == 1 {
            reports[0].to_string()
        } else {
            serde_json::json!(reports).to_string()
        };
        let id = format!("{}-{serial}", self.number);
        self.until_accepted(accepted, |http, receiver| {
            http.post(format!("http://{receiver}/errors/log"))
                .header("content-type", "application/json")
                .header("idempotency-key", &id)
                .body(body.clone())
        })
        .await;
        accepted.reports += count;
        accepted.faults += count;
    }

    /// Makes the markers of one body.
    fn markers(&self, serial: usize) -> impl FnMut(&mut Accepted) -> String + use<> {
        let (client, mut place) = (self.number, 0);
        move |accepted| {
            place += 1;
            let marker = format!("zq{client}x{serial}x{place}zq");
            accepted.markers.insert(marker.clone());
            marker
        }
    }

    async fn until_accepted(
        &self,
        accepted: &mut Accepted,
        request: impl Fn(&reqwest::Client, SocketAddr) -> reqwest::RequestBuilder,
    ) {
        loop {
            let receiver = *self.shared.receiver.lock().unwrap();
            match request(&self.http, receiver).send().await {
                Ok(answer) if answer.status().is_success() => return,
                Ok(answer) if answer.status() == 503 => accepted.refused += 1,
                Ok(answer) => panic!("{}: {:?}", answer.status(), answer.text().await),
                Err(_) => accepted.unanswered += 1,
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// A word that tells faults apart: no number, which would be masked.
fn word(serial: usize) -> &'static str {
    ["amber", "basil", "cedar", "delta", "ember", "fjord", "grape"][serial % 7]
}

/// The markers in a text.
fn markers_of(text: &str) -> impl Iterator<Item = &str> {
    text.split_whitespace().filter(|word| word.starts_with("zq") && word.ends_with("zq"))
}

impl Accepted {
    /// Both together.
    #[must_use]
    pub fn with(mut self, other: Self) -> Self {
        self.frames += other.frames;
        self.reports += other.reports;
        self.faults += other.faults;
        self.refused += other.refused;
        self.unanswered += other.unanswered;
        self.markers.extend(other.markers);
        self
    }

    /// Compares with a ledger in which nothing is in flight.
    ///
    /// # Panics
    /// When it says anything else than that each message is stored once.
    pub fn assert_settled(&self, ledger: &Ledger) {
        for (source, expected) in [("logdrains", self.frames), ("errors", self.reports)] {
            let line = ledger.line(source);
            assert_eq!((line.stored, line.rejected, line.in_flight), (expected, 0, 0), "{line:?}");
        }
    }

    /// Compares with what is stored.
    ///
    /// # Panics
    /// When anything is missing, is there twice, was never accepted, or is counted wrongly.
    pub async fn assert_stored_once(&self, database: &Database) {
        let mut stored: BTreeMap<String, u32> = BTreeMap::new();
        for message in database.texts("SELECT message FROM events").await {
            for marker in markers_of(&message) {
                *stored.entry(marker.to_owned()).or_default() += 1;
            }
        }
        let lost: Vec<_> =
            self.markers.iter().filter(|marker| !stored.contains_key(*marker)).collect();
        let twice: Vec<_> = stored.iter().filter(|(_, count)| **count > 1).collect();
        let foreign: Vec<_> =
            stored.keys().filter(|marker| !self.markers.contains(*marker)).collect();
        eprintln!(
            "{} messages accepted, {} lost, {} twice; {} requests without an answer, {} refused",
            self.frames + self.reports,
            lost.len(),
            twice.len(),
            self.unanswered,
            self.refused
        );
        assert!(lost.is_empty(), "lost: {lost:?}");
        assert!(twice.is_empty(), "twice: {twice:?}");
        assert!(foreign.is_empty(), "never accepted: {foreign:?}");
        let counted = database.number(COUNTED).await;
        assert_eq!(u64::try_from(counted).unwrap(), self.faults, "the counts of all faults");
        assert_eq!(database.number(MISCOUNTED).await, 0, "faults with another count than events");
    }
}

/// What the faults' counts add up to.
const COUNTED: &str = "SELECT CAST(coalesce(sum(count), 0) AS bigint) FROM faults";

/// Faults whose count is not that of their events.
const MISCOUNTED: &str = "
    SELECT count(*)
    FROM (SELECT environment, service, fingerprint, count(*) AS events
          FROM events WHERE fingerprint IS NOT NULL GROUP BY environment, service, fingerprint) one
    FULL JOIN (SELECT environment, service, fingerprint, count FROM faults
          WHERE kind <> 'storm') other
        USING (environment, service, fingerprint)
    WHERE one.events IS DISTINCT FROM other.count";
