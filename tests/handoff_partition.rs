//! Three relays, two hubs, and a network that is cut in every way while all of them are killed:
//! what relays accepted is in PostgreSQL exactly once, and the ledgers of both ends agree.
//!
//! `SECONDS` says how long, 12 by default. The moments come from `SEED`, which is printed, so that
//! a run can be repeated as far as a machine can.

#![expect(
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a failing test is told by a panic and what is printed"
)]

use std::{
    collections::BTreeMap,
    env,
    time::{Duration, Instant},
};

use faultline_testkit::{
    database::Database,
    eventually,
    handoff::{self, assert_ledgers_agree, committed, holds, is_well, says},
    load::Load,
    postgres::Postgres,
    program::Program,
    proxy::{Mode, Proxy},
    redis::Redis,
    within,
};

const BINARY: &str = env!("CARGO_BIN_EXE_faultline");
const ENVIRONMENTS: [&str; 3] = ["dev", "staging", "prod"];
/// Clients of one relay.
const CLIENTS: usize = 2;
/// The longest time between two misfortunes, and the longest that one lasts.
const LIFE: u64 = 600;
const DEATH: u64 = 400;
const CUT: u64 = 2_500;

fn start_database() -> Database {
    Database::Postgres(Box::new(Postgres::start()))
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().unwrap())
}

fn redis_by(proxy: &Proxy) -> String {
    format!("redis://127.0.0.1:{}", proxy.port())
}

fn store_by(proxy: &Proxy) -> String {
    format!("postgres://postgres@127.0.0.1:{}/postgres", proxy.port())
}

/// Nothing waits for long, so that a test sees much in little time.
fn impatient(program: Program) -> Program {
    program
        .set("handoff.timeout", "1s")
        .set("handoff.entry_bytes", "8 KiB")
        .set("store.connect_timeout", "1s")
        .set("store.commit_timeout", "5s")
}

struct World {
    random: fastrand::Rng,
    redis: Redis,
    relays: Vec<Program>,
    hubs: Vec<Program>,
    loads: Vec<Load>,
    /// Of each relay and hub to Redis, then of each hub to PostgreSQL, with the end of their cut.
    proxies: Vec<(Proxy, Option<Instant>)>,
    happened: BTreeMap<String, u32>,
}

impl World {
    async fn start(seed: u64, database: &mut Database) -> Self {
        let Database::Postgres(postgres) = database else { unreachable!("it is one") };
        let redis = Redis::start();
        let mut proxies = Vec::new();
        for _ in 0..5 {
            proxies.push((Proxy::start(redis.port()).await, None));
        }
        for _ in 0..2 {
            proxies.push((Proxy::start(postgres.port()).await, None));
        }
        let relays = ENVIRONMENTS.iter().zip(&proxies).map(|(environment, (proxy, _))| {
            impatient(handoff::relay(BINARY, &redis_by(proxy), environment))
        });
        let mut relays: Vec<_> = relays.collect();
        let hubs = (0..2).map(|hub| {
            let (redis, store) = (redis_by(&proxies[3 + hub].0), store_by(&proxies[5 + hub].0));
            impatient(handoff::hub(BINARY, &redis, &store, &ENVIRONMENTS.join(",")))
        });
        let mut hubs: Vec<_> = hubs.collect();
        relays.iter_mut().chain(&mut hubs).for_each(Program::start);
        let loads = relays.iter().enumerate().map(|(index, relay)| {
            Load::of(relay.receiver(), index * CLIENTS..(index + 1) * CLIENTS)
        });
        Self {
            random: fastrand::Rng::with_seed(seed),
            redis,
            loads: loads.collect(),
            relays,
            hubs,
            proxies,
            happened: BTreeMap::new(),
        }
    }

    async fn pause(&mut self, longest: u64) {
        let pause = Duration::from_millis(self.random.u64(..longest));
        tokio::time::sleep(pause).await;
    }

    fn count(&mut self, what: &str) {
        *self.happened.entry(what.to_owned()).or_default() += 1;
    }

    /// Something goes wrong; connections more often than anything else.
    async fn misfortune(&mut self) {
        match self.random.usize(..12) {
            index @ 0..3 => {
                self.relays[index].kill();
                self.pause(DEATH).await;
                self.relays[index].start();
                self.loads[index].moved(self.relays[index].receiver());
                self.count("relay killed");
            }
            index @ 3..5 => {
                self.hubs[index - 3].kill();
                self.pause(DEATH).await;
                // While the store is cut off, it waits for it.
                self.hubs[index - 3].start();
                self.count("hub killed");
            }
            5 => {
                self.redis.kill();
                self.pause(DEATH).await;
                self.redis.resume();
                self.count("redis killed");
            }
            _ => {
                let index = self.random.usize(..self.proxies.len());
                let what = ["relay and redis", "hub and redis", "hub and store"];
                let what = what[usize::from(index >= 3) + usize::from(index >= 5)];
                if self.random.u8(..6) == 0 {
                    self.proxies[index].0.lose_connections();
                    return self.count(&format!("{what}: lost"));
                }
                let mode = Mode::WRONG[self.random.usize(..Mode::WRONG.len())];
                let lasts = Duration::from_millis(self.random.u64(..CUT));
                let (proxy, until) = &mut self.proxies[index];
                proxy.set(mode);
                *until = Some(Instant::now() + lasts);
                self.count(&format!("{what}: {mode:?}"));
            }
        }
    }

    /// Ends the cuts that have lasted long enough.
    fn mend(&mut self, now: Instant) {
        for (proxy, until) in &mut self.proxies {
            if until.take_if(|until| *until <= now).is_some() {
                proxy.set(Mode::Open);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_cut_or_killed_everything_is_stored_once() {
    let seed = number("SEED").unwrap_or_else(|| fastrand::u64(..));
    let seconds = number("SECONDS").unwrap_or(12);
    eprintln!("SEED={seed} SECONDS={seconds}");
    let mut database = start_database();
    let mut world = World::start(seed, &mut database).await;
    let (started, span) = (Instant::now(), Duration::from_secs(seconds));
    let mut is_wiped = false;
    while started.elapsed() < span {
        world.pause(LIFE).await;
        world.misfortune().await;
        world.mend(Instant::now());
        if !is_wiped && started.elapsed() > span / 2 {
            world.redis.flush();
            is_wiped = true;
        }
    }
    world.mend(started + Duration::from_hours(1));
    eprintln!("{:?}", world.happened);
    let mut accepted = faultline_testkit::load::Accepted::default();
    for load in world.loads {
        accepted = accepted.with(load.end().await);
    }
    for relay in &world.relays {
        committed_in_the_end(relay, span).await;
        assert_ledgers_agree(relay, &world.hubs[0]).await;
    }
    accepted.assert_stored_once(&database).await;
    for program in world.relays.iter_mut().chain(&mut world.hubs) {
        program.finish().await;
    }
}

/// After minutes of misfortune, there is more to catch up with than anything else here waits for.
async fn committed_in_the_end(relay: &Program, span: Duration) {
    within(Duration::from_mins(1) + span, "all is committed", async || {
        let ledger = relay.json("/api/ledger").await;
        let lines = ledger["sources"].as_object().cloned().unwrap_or_default();
        let is_done = !lines.is_empty() && lines.values().all(|line| line["in_flight"] == 0);
        if is_done { Ok(()) } else { Err(ledger) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_cannot_reach_redis_leaves_the_stream_to_one_that_can() {
    let (redis, database) = (Redis::start(), start_database());
    let mut relay = handoff::relay(BINARY, &redis.url(), "dev");
    let mut proxies = Vec::new();
    let mut hubs = Vec::new();
    for _ in 0..2 {
        let proxy = Proxy::start(redis.port()).await;
        hubs.push(impatient(handoff::hub(BINARY, &redis_by(&proxy), &database.url(), "dev")));
        proxies.push(proxy);
    }
    relay.start();
    hubs.iter_mut().for_each(Program::start);
    let load = Load::start(relay.receiver(), CLIENTS);
    for mode in [Mode::Refuse, Mode::Silent] {
        let holder = eventually("one of them reads", async || {
            for (index, hub) in hubs.iter().enumerate() {
                if holds(hub).await {
                    return Ok(index);
                }
            }
            Err(())
        })
        .await;
        proxies[holder].set(mode);
        let other = &hubs[1 - holder];
        eventually("the other one reads", async || holds(other).await.then_some(()).ok_or(()))
            .await;
        eventually("it has left", async || (!holds(&hubs[holder]).await).then_some(()).ok_or(()))
            .await;
        says(&hubs[holder], "Redis at 127.0.0.1").await;
        proxies[holder].set(Mode::Open);
        is_well(&hubs[holder]).await;
    }
    let accepted = load.end().await;
    assert_ledgers_agree(&relay, &hubs[0]).await;
    accepted.assert_stored_once(&database).await;
}

/// As behind a firewall that was started again: nobody hears that the connections are gone.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_lost_without_a_word_are_replaced() {
    let (redis, postgres) = (Redis::start(), Postgres::start());
    let [to_redis, to_store] =
        [Proxy::start(redis.port()).await, Proxy::start(postgres.port()).await];
    let database = Database::Postgres(Box::new(postgres));
    let (redis_url, store_url) = (redis_by(&to_redis), store_by(&to_store));
    let mut relay = impatient(handoff::relay(BINARY, &redis_url, "dev"));
    let mut hub = impatient(handoff::hub(BINARY, &redis_url, &store_url, "dev"));
    relay.start();
    hub.start();
    hub.ledger().await;
    let load = Load::start(relay.receiver(), CLIENTS);
    for proxy in [&to_redis, &to_store] {
        let stored = async || database.number("SELECT count(*) FROM events").await;
        let more_is_stored = async |more| {
            let before = stored().await;
            eventually("more is stored", async || {
                let now = stored().await;
                if now > before + more { Ok(()) } else { Err(now) }
            })
            .await;
        };
        more_is_stored(200).await;
        proxy.lose_connections();
        // More than was under way.
        more_is_stored(2_000).await;
    }
    let accepted = load.end().await;
    assert_ledgers_agree(&relay, &hub).await;
    accepted.assert_stored_once(&database).await;
}

/// The lease as it is by default.
#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_dies_is_relieved_within_ten_seconds() {
    const LEASE: Duration = Duration::from_secs(10);
    let (redis, database) = (Redis::start(), start_database());
    let mut relay = handoff::relay(BINARY, &redis.url(), "dev");
    let mut hubs = [(); 2].map(|()| {
        handoff::hub(BINARY, &redis.url(), &database.url(), "dev").set("handoff.lease", "10s")
    });
    relay.start();
    hubs[0].start();
    eventually("the first reads", async || holds(&hubs[0]).await.then_some(()).ok_or(())).await;
    hubs[1].start();
    let load = Load::start(relay.receiver(), CLIENTS);
    hubs[0].kill();
    let other = &hubs[1];
    within(LEASE, "it is relieved", async || holds(other).await.then_some(()).ok_or(())).await;
    let accepted = load.end().await;
    assert_ledgers_agree(&relay, &hubs[1]).await;
    accepted.assert_stored_once(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_whose_own_spool_is_full_refuses_and_takes_up_again() {
    let (mut redis, database) = (Redis::start(), start_database());
    let mut relay = handoff::relay(BINARY, &redis.url(), "dev")
        .set("spool.max_bytes", "2 MiB")
        .set("spool.segment_bytes", "256 KiB")
        .set("spool.commit_bytes", "64 KiB")
        .set("receiver.body_limit", "64 KiB");
    let mut hub = handoff::hub(BINARY, &redis.url(), &database.url(), "dev");
    redis.kill();
    relay.start();
    hub.start();
    let load = Load::start(relay.receiver(), CLIENTS);
    let ready = async || relay.get("/readyz").await.map_or(0, |(status, _)| status);
    eventually("it refuses", async || if ready().await == 503 { Ok(()) } else { Err(()) }).await;
    let health = relay.json("/health").await;
    assert_eq!(health["components"]["spool"]["status"], "unhealthy", "{health}");
    redis.resume();
    eventually("it takes up again", async || if ready().await == 200 { Ok(()) } else { Err(()) })
        .await;
    let before = load.accepted();
    eventually("more is accepted", async || (load.accepted() > before).then_some(()).ok_or(()))
        .await;
    let accepted = load.end().await;
    assert!(accepted.refused > 0, "clients heard of it");
    assert_ledgers_agree(&relay, &hub).await;
    accepted.assert_stored_once(&database).await;
    committed(&relay).await;
}
