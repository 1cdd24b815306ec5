//! Programs are restarted one after the other, under load, and nobody notices: every request is
//! answered with 2xx at its first try, and everything is stored once.
//!
//! `ROUNDS` says how often each program is restarted, twice by default.

#![expect(clippy::unwrap_used, reason = "a failing test is told by a panic")]

use std::{env, net::SocketAddr};

use faultline_testkit::{
    balancer::Balancer,
    database::Database,
    eventually, free_port,
    handoff::{self, assert_ledgers_agree, committed, holds},
    load::{Accepted, Load},
    postgres::Postgres,
    program::Program,
    redis::Redis,
};

const BINARY: &str = env!("CARGO_BIN_EXE_faultline");
const CLIENTS: usize = 8;
/// So many bodies are accepted between two restarts, at least.
const BETWEEN: u64 = 200;

fn rounds() -> usize {
    env::var("ROUNDS").map_or(2, |text| text.parse().unwrap())
}

fn start_database() -> Database {
    Database::Postgres(Box::new(Postgres::start()))
}

async fn goes_on(load: &Load) {
    let before = load.accepted();
    eventually("the load goes on", async || match load.accepted() - before {
        more if more >= BETWEEN => Ok(()),
        more => Err(more),
    })
    .await;
}

fn assert_nobody_noticed(accepted: &Accepted) {
    assert_eq!((accepted.unanswered, accepted.refused), (0, 0), "no answer, or 503");
}

/// What all hubs together have stored of a source, by the ledger in their store.
async fn stored(database: &Database, source: &str) -> u64 {
    let sql = format!(
        "SELECT CAST(sum(stored + duplicate + rejected) AS bigint) FROM ledger WHERE source = '{source}'"
    );
    u64::try_from(database.number(&sql).await).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn hubs_behind_relays() {
    let (redis, database) = (Redis::start(), start_database());
    let relay =
        |environment| handoff::relay(BINARY, &redis.url(), environment).set("handoff.shards", "2");
    let mut relays = [relay("dev"), relay("staging")];
    let mut hubs = [(); 2].map(|()| {
        handoff::hub(BINARY, &redis.url(), &database.url(), "dev,staging")
            .set("handoff.shards", "2")
    });
    relays.iter_mut().chain(&mut hubs).for_each(Program::start);
    let loads: Vec<Load> = (0..2)
        .map(|index| Load::of(relays[index].receiver(), index * CLIENTS..(index + 1) * CLIENTS))
        .collect();
    for _ in 0..rounds() {
        for index in 0..2 {
            goes_on(&loads[index]).await;
            hubs[index].finish().await;
            let other = &hubs[1 - index];
            eventually("the other one reads", async || holds(other).await.then_some(()).ok_or(()))
                .await;
            hubs[index].start();
        }
    }
    let [first, second] = loads.try_into().ok().unwrap();
    let accepted = first.end().await.with(second.end().await);
    assert_nobody_noticed(&accepted);
    for relay in &relays {
        committed(relay).await;
    }
    accepted.assert_stored_once(&database).await;
    assert_eq!(stored(&database, "logdrains").await, accepted.frames);
    assert_eq!(stored(&database, "errors").await, accepted.reports);
    for relay in &relays {
        assert_ledgers_agree(relay, &hubs[0]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hubs_behind_a_balancer() {
    let database = start_database();
    let listen = || SocketAddr::from(([127, 0, 0, 1], free_port()));
    let addresses = [(); 2].map(|()| (listen(), listen()));
    let linger = format!("{}ms", Balancer::notices_within().as_millis());
    let mut hubs = addresses.map(|(receiver, admin)| {
        Program::new(BINARY)
            .set("store.url", &database.url())
            .set("receiver.listen", &receiver.to_string())
            .set("admin.listen", &admin.to_string())
            .set("receiver.linger", &linger)
    });
    hubs.iter_mut().for_each(Program::start);
    let balancer = Balancer::start(&addresses).await;
    for hub in &hubs {
        is_sent_to(hub, &balancer).await;
    }
    let load = Load::start(balancer.address(), CLIENTS);
    for _ in 0..rounds() {
        for hub in &mut hubs {
            goes_on(&load).await;
            hub.finish().await;
            hub.start();
            let before = received(hub).await;
            eventually("it gets its share again", async || {
                let now = received(hub).await;
                if now > before { Ok(()) } else { Err(now) }
            })
            .await;
        }
    }
    let accepted = load.end().await;
    assert_nobody_noticed(&accepted);
    for hub in &hubs {
        hub.settled().await;
    }
    assert_eq!(stored(&database, "logdrains").await, accepted.frames);
    assert_eq!(stored(&database, "errors").await, accepted.reports);
    accepted.assert_stored_once(&database).await;
}

async fn received(hub: &Program) -> u64 {
    hub.ledger().await.sources.values().map(|line| line.received).sum()
}

/// Waits until the balancer lets requests through to a hub.
async fn is_sent_to(hub: &Program, balancer: &Balancer) {
    let client = reqwest::Client::new();
    eventually("it is sent to", async || {
        let lines = client.post(format!("http://{}/maxwell", balancer.address()));
        let _ = lines.header("content-type", "application/x-ndjson").body("{}\n").send().await;
        match received(hub).await {
            0 => Err("nothing came"),
            _ => Ok(()),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_whose_sockets_stay() {
    let mut hub = Program::with_postgres(BINARY).with_sockets().set("receiver.linger", "50ms");
    hub.start();
    let load = Load::start(hub.receiver(), CLIENTS);
    for _ in 0..rounds() {
        goes_on(&load).await;
        hub.finish().await;
        hub.start();
    }
    goes_on(&load).await;
    let accepted = load.end().await;
    assert_nobody_noticed(&accepted);
    accepted.assert_settled(&hub.settled().await);
    accepted.assert_stored_once(&hub.database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_whose_sockets_stay() {
    let (redis, database) = (Redis::start(), start_database());
    let mut hub = handoff::hub(BINARY, &redis.url(), &database.url(), "dev");
    let mut relay =
        handoff::relay(BINARY, &redis.url(), "dev").with_sockets().set("receiver.linger", "50ms");
    hub.start();
    relay.start();
    let load = Load::start(relay.receiver(), CLIENTS);
    for _ in 0..rounds() {
        goes_on(&load).await;
        relay.finish().await;
        relay.start();
    }
    goes_on(&load).await;
    let accepted = load.end().await;
    assert_nobody_noticed(&accepted);
    assert_ledgers_agree(&relay, &hub).await;
    accepted.assert_stored_once(&database).await;
}

#[tokio::test]
async fn a_socket_that_is_bound_elsewhere_is_refused() {
    let mut program = Program::new(BINARY).with_sockets().set("receiver.listen", "127.0.0.1:1");
    program.launch();
    assert_eq!(program.ended().await.code(), Some(78));
    let log = program.log();
    assert!(log.contains("receiver.listen = \"127.0.0.1:1\", admin.listen = "), "{log}");
    assert!(log.contains("a socket that was handed over is bound to 127.0.0.1:"), "{log}");
}

#[tokio::test]
async fn who_lingers_is_not_ready_and_says_so() {
    let mut program = Program::new(BINARY).set("receiver.linger", "1h");
    program.start();
    let report = || program.post("/errors/log", "application/json").body(r#"{"message":"boom"}"#);
    assert_eq!(program.get("/readyz").await.unwrap(), (200, "ready\n".to_owned()));
    let answer = report().send().await.unwrap();
    assert_eq!(answer.headers().get("connection"), None);
    program.signal("TERM");
    eventually("it is not ready", async || match program.get("/readyz").await.unwrap() {
        (503, said) if said == "leaving\n" => Ok(()),
        other => Err(other),
    })
    .await;
    for _ in 0..3 {
        let answer = report().send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["connection"], "close");
    }
    assert_eq!(program.settled().await.line("errors").stored, 4);
    program.signal("TERM");
    assert_eq!(program.ended().await.code(), Some(130), "told twice");
}
