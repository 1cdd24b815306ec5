//! Three relays, Redis, two hubs and PostgreSQL on one machine, with some traffic, to be killed by
//! hand: whoever dies is started again after a while, and a table shows that nothing is lost.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "it shows a table, and stops at errors"
)]

use std::{
    collections::BTreeMap,
    io::{IsTerminal, stdout},
    time::{Duration, Instant},
};

use clap::Parser;
use faultline_testkit::{
    postgres::Postgres,
    program::{Program, app_line, frames},
    redis::Redis,
};

/// From VM to VM on one machine: kill what you like, and look.
#[derive(Parser)]
struct Arguments {
    /// The program.
    #[arg(long)]
    faultline: String,
    /// Ends after so many seconds; 0: never.
    #[arg(long, default_value_t = 0)]
    seconds: u64,
}

const ENVIRONMENTS: [&str; 3] = ["dev", "staging", "prod"];
/// Requests come so often, each with so many messages.
const SEND_EVERY: Duration = Duration::from_millis(100);
const MESSAGES: u64 = 10;
const SHOW_EVERY: Duration = Duration::from_secs(2);
/// Who is dead stays so for this long.
const DEATH: Duration = Duration::from_secs(5);
/// What is under way may take so long, when the demo ends.
const SETTLE: Duration = Duration::from_secs(30);

/// Somebody who can be killed.
struct Part<T> {
    name: String,
    process: T,
    died_at: Option<Instant>,
    deaths: u32,
}

/// What dies and lives again.
trait Mortal {
    fn pid(&self) -> Option<u32>;
    /// Whether it has ended by itself since it was started.
    fn has_ended(&mut self) -> bool;
    fn start(&mut self);
}

impl Mortal for Program {
    fn pid(&self) -> Option<u32> {
        Some(Program::pid(self))
    }

    fn has_ended(&mut self) -> bool {
        Program::has_ended(self)
    }

    fn start(&mut self) {
        Program::start(self);
    }
}

impl Mortal for Redis {
    fn pid(&self) -> Option<u32> {
        Some(Redis::pid(self))
    }

    fn has_ended(&mut self) -> bool {
        Redis::has_ended(self)
    }

    fn start(&mut self) {
        self.resume();
    }
}

impl Mortal for Postgres {
    fn pid(&self) -> Option<u32> {
        Postgres::pid(self)
    }

    fn has_ended(&mut self) -> bool {
        Postgres::has_ended(self)
    }

    fn start(&mut self) {
        self.resume();
    }
}

impl<T: Mortal> Part<T> {
    fn new(name: impl Into<String>, process: T) -> Self {
        Self { name: name.into(), process, died_at: None, deaths: 0 }
    }

    fn is_alive(&self) -> bool {
        self.died_at.is_none()
    }

    /// Sees whether it has died, and starts it again when it was dead for long enough.
    fn attend(&mut self) {
        match self.died_at {
            None if self.process.has_ended() => {
                self.died_at = Some(Instant::now());
                self.deaths += 1;
            }
            Some(at) if at.elapsed() > DEATH => {
                self.process.start();
                self.died_at = None;
            }
            _ => {}
        }
    }

    fn row(&self, more: &str) -> String {
        let pid = match self.died_at {
            None => self.process.pid().map_or_else(String::new, |pid| pid.to_string()),
            Some(_) => "dead".to_owned(),
        };
        format!("{:16} {pid:>8} {:>7}   {more}", self.name, self.deaths)
    }
}

/// What a relay is sent.
#[derive(Default)]
struct Traffic {
    requests: u64,
    /// Messages that the relay has acknowledged.
    accepted: u64,
    /// The request that is under way, or has to be sent again.
    unanswered: Option<u64>,
}

impl Traffic {
    /// Sends the next request, or the last one again when nobody answered it.
    async fn send(&mut self, environment: &str, relay: &Program) {
        let number = *self.unanswered.get_or_insert_with(|| {
            self.requests += 1;
            self.requests
        });
        let lines = (0..MESSAGES).map(|line| {
            let order = number * MESSAGES + line;
            app_line("web.1", &format!("Error: cannot charge order {order} of {environment}"))
        });
        let id = format!("{environment}-{number}");
        let request = relay.drain(&id, frames(lines)).timeout(Duration::from_secs(2));
        if request.send().await.is_ok_and(|answer| answer.status().is_success()) {
            self.unanswered = None;
            self.accepted += MESSAGES;
        }
    }
}

struct Demo {
    relays: Vec<(Part<Program>, Traffic)>,
    hubs: Vec<Part<Program>>,
    redis: Part<Redis>,
    postgres: Part<Postgres>,
}

impl Demo {
    fn start(faultline: &str) -> Self {
        let (redis, postgres) = (Redis::start(), Postgres::start());
        let program =
            || Program::new(faultline).set("handoff.url", &redis.url()).set("handoff.lease", "3s");
        let relays = ENVIRONMENTS.map(|environment| {
            let mut relay = program().arguments(&["relay"]).set("handoff.environment", environment);
            relay.start();
            (Part::new(format!("relay {environment}"), relay), Traffic::default())
        });
        let hubs = [1, 2].map(|number| {
            let mut hub = program()
                .set("store.url", &postgres.url())
                .set("handoff.consume", &ENVIRONMENTS.join(","));
            hub.start();
            Part::new(format!("hub {number}"), hub)
        });
        Self {
            relays: relays.into(),
            hubs: hubs.into(),
            redis: Part::new("redis", redis),
            postgres: Part::new("postgres", postgres),
        }
    }

    fn attend(&mut self) {
        self.relays.iter_mut().for_each(|(relay, _)| relay.attend());
        self.hubs.iter_mut().for_each(Part::attend);
        self.redis.attend();
        self.postgres.attend();
    }

    async fn send(&mut self) {
        for ((relay, traffic), environment) in self.relays.iter_mut().zip(ENVIRONMENTS) {
            if relay.is_alive() {
                traffic.send(environment, &relay.process).await;
            }
        }
    }

    /// Rows, and how many of them are there for the first time, by environment.
    async fn stored(&self) -> Option<BTreeMap<String, (u64, u64)>> {
        if !self.postgres.is_alive() {
            return None;
        }
        let (client, connection) =
            tokio_postgres::connect(&self.postgres.process.url(), tokio_postgres::NoTls)
                .await
                .ok()?;
        tokio::spawn(connection);
        let counted =
            "SELECT environment, count(*), count(DISTINCT message) FROM events GROUP BY 1";
        let rows = client.query(counted, &[]).await.ok()?;
        let count = |row: &tokio_postgres::Row, at| u64::try_from(row.get::<_, i64>(at)).unwrap();
        Some(rows.iter().map(|row| (row.get(0), (count(row, 1), count(row, 2)))).collect())
    }

    /// Prints the table; gives whether all that was accepted is stored, once.
    async fn show(&self) -> bool {
        let stored = self.stored().await;
        if stdout().is_terminal() {
            print!("\x1b[H\x1b[J");
        }
        println!("{:16} {:>8} {:>7}   accepted    stored  under way  twice", "", "pid", "deaths");
        let mut is_settled = stored.is_some();
        for ((relay, traffic), environment) in self.relays.iter().zip(ENVIRONMENTS) {
            let said = stored.as_ref().map_or_else(
                || format!("{:8}         ?", traffic.accepted),
                |stored| {
                    let (rows, once) = stored.get(environment).copied().unwrap_or_default();
                    // What is not answered yet may be stored already.
                    let accepted = traffic.accepted.max(once);
                    is_settled &= rows == accepted && rows == once;
                    let (open, twice) = (accepted - once, rows - once);
                    format!("{accepted:8}  {rows:8}  {open:9}  {twice:5}")
                },
            );
            println!("{}", relay.row(&said));
        }
        println!("{}", self.redis.row(""));
        for hub in &self.hubs {
            println!("{}", hub.row(&self.said_by(hub).await));
        }
        println!("{}", self.postgres.row(""));
        println!("\nkill -9 any of these; it is started again after {} s", DEATH.as_secs());
        is_settled
    }

    /// How a hub says it is, and where to look at it.
    async fn said_by(&self, hub: &Part<Program>) -> String {
        if !hub.is_alive() {
            return String::new();
        }
        let health = hub.process.get("/health").await.map(|(_, text)| text).unwrap_or_default();
        let health: serde_json::Value = serde_json::from_str(&health).unwrap_or_default();
        let overall = health["overall"].as_str().unwrap_or("no answer");
        let streams = &health["components"]["redis"]["details"]["streams"];
        format!("{overall}, reads {streams}; http://{}/health", hub.process.admin())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments = Arguments::parse();
    let mut demo = Demo::start(&arguments.faultline);
    let (started, mut shown_at) = (Instant::now(), None::<Instant>);
    let end = Duration::from_secs(arguments.seconds);
    while end.is_zero() || started.elapsed() < end {
        demo.attend();
        demo.send().await;
        if shown_at.is_none_or(|at| at.elapsed() > SHOW_EVERY) {
            demo.show().await;
            shown_at = Some(Instant::now());
        }
        tokio::time::sleep(SEND_EVERY).await;
    }
    let ended = Instant::now();
    while !demo.show().await {
        if ended.elapsed() > SETTLE {
            println!("not all is stored once");
            std::process::exit(1);
        }
        demo.attend();
        tokio::time::sleep(SHOW_EVERY).await;
    }
    println!("all that was accepted is stored, once");
}
