//! A Redis that is full, evicts, takes no writes or is still loading: nothing is lost, nothing is
//! stored twice, health says which it is, and all goes on by itself when it is over.

#![expect(clippy::unwrap_used, reason = "a failing test is told by a panic")]

use faultline_testkit::{
    database::Database,
    eventually, free_port,
    handoff::{self, assert_ledgers_agree, is_well, says},
    load::Load,
    postgres::Postgres,
    program::Program,
    redis::{DURABLE, Redis},
};

const BINARY: &str = env!("CARGO_BIN_EXE_faultline");
const CLIENTS: usize = 4;

struct Ends {
    redis: Redis,
    database: Database,
    relay: Program,
    hub: Program,
}

impl Ends {
    /// A relay that runs, and a hub that does not yet.
    fn new(redis: Redis) -> Self {
        let database = Database::Postgres(Box::new(Postgres::start()));
        let mut relay = handoff::relay(BINARY, &redis.url(), "dev");
        let hub = handoff::hub(BINARY, &redis.url(), &database.url(), "dev");
        relay.start();
        Self { redis, database, relay, hub }
    }

    async fn all_is_well_in_the_end(self, load: Load) {
        let accepted = load.end().await;
        assert_eq!(accepted.refused, 0);
        assert_ledgers_agree(&self.relay, &self.hub).await;
        accepted.assert_stored_once(&self.database).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn full_or_read_only_or_loading() {
    let loads_slowly = ["--loading-process-events-interval-bytes", "1024"];
    let mut ends = Ends::new(Redis::start_with(&[&DURABLE[..], &loads_slowly].concat()));
    ends.hub.start();
    let load = Load::start(ends.relay.receiver(), CLIENTS);
    is_well(&ends.relay).await;

    ends.redis.set("maxmemory", "1");
    for program in [&ends.relay, &ends.hub] {
        says(program, "its memory is full: maxmemory is reached").await;
    }
    ends.redis.set("maxmemory", "0");
    for program in [&ends.relay, &ends.hub] {
        is_well(program).await;
    }

    let nobody = free_port().to_string();
    ends.redis.tell(&["REPLICAOF", "127.0.0.1", &nobody]);
    for program in [&ends.relay, &ends.hub] {
        says(program, "it is a replica").await;
        says(program, "takes no writes").await;
    }
    ends.redis.tell(&["REPLICAOF", "NO", "ONE"]);
    for program in [&ends.relay, &ends.hub] {
        is_well(program).await;
    }
    ends.all_is_well_in_the_end(load).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_evicted_is_sent_again() {
    const LIMIT: &str = "4mb";
    let evicting = ["--maxmemory", LIMIT, "--maxmemory-policy", "allkeys-lru"];
    let mut ends = Ends::new(Redis::start_with(&[&DURABLE[..], &evicting].concat()));
    let load = Load::start(ends.relay.receiver(), CLIENTS);
    for program in [&ends.relay] {
        says(program, "maxmemory-policy = allkeys-lru: noeviction is needed").await;
    }
    let evicted = |redis: &Redis| redis.info("INFO stats", "evicted_keys").unwrap() != "0";
    eventually("the stream is evicted", async || {
        if evicted(&ends.redis) { Ok(()) } else { Err(load.accepted()) }
    })
    .await;
    ends.hub.start();
    ends.redis.set("maxmemory", "0");
    ends.all_is_well_in_the_end(load).await;
}
