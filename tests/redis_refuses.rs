//! A Redis that is full, evicts, takes no writes or is still loading: nothing is lost, nothing is
//! stored twice, health says which it is, and all goes on by itself when it is over.

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
        // So that Redis has much to hold.
        let mut relay = handoff::relay(BINARY, &redis.url(), "dev").set("handoff.compress", "none");
        let hub = handoff::hub(BINARY, &redis.url(), &database.url(), "dev");
        relay.start();
        Self { redis, database, relay, hub }
    }

    async fn start_hub(&mut self) {
        self.hub.start();
        // The store's tables are there once the ledger is.
        self.hub.ledger().await;
    }

    async fn all_is_well_in_the_end(self, load: Load) {
        let accepted = load.end().await;
        assert_eq!(accepted.refused, 0);
        assert_ledgers_agree(&self.relay, &self.hub).await;
        accepted.assert_stored_once(&self.database).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn full_or_read_only() {
    let mut ends = Ends::new(Redis::start());
    ends.start_hub().await;
    let load = Load::start(ends.relay.receiver(), CLIENTS);
    is_well(&ends.relay).await;
    let nobody = free_port().to_string();

    ends.redis.set("maxmemory", "1");
    says(&ends.relay, "its memory is full: maxmemory is reached").await;
    ends.redis.set("maxmemory", "0");
    is_well(&ends.relay).await;
    is_well(&ends.hub).await;

    ends.redis.tell(&["REPLICAOF", "127.0.0.1", &nobody]);
    says(&ends.relay, "it is a replica").await;
    says(&ends.relay, "takes no writes").await;
    ends.redis.tell(&["REPLICAOF", "NO", "ONE"]);
    is_well(&ends.relay).await;
    is_well(&ends.hub).await;
    ends.all_is_well_in_the_end(load).await;
}

/// It comes back with an old snapshot, of which it takes long to load each key.
#[tokio::test(flavor = "multi_thread")]
async fn still_loading() {
    let slowly = ["--key-load-delay", "100000", "--loading-process-events-interval-bytes", "1024"];
    let rarely = ["--appendonly", "no", "--save", ""];
    let mut ends = Ends::new(Redis::start_with(&[&rarely[..], &slowly].concat()));
    ends.start_hub().await;
    let load = Load::start(ends.relay.receiver(), CLIENTS);
    for key in 0..30 {
        ends.redis.tell(&["SET", &format!("other:{key}"), &"x".repeat(2_000)]);
    }
    eventually("something is stored", async || {
        let stored = ends.database.number("SELECT count(*) FROM events").await;
        if stored > 500 { Ok(()) } else { Err(stored) }
    })
    .await;
    ends.redis.tell(&["SAVE"]);
    ends.redis.kill();
    ends.redis.launch();
    for program in [&ends.relay, &ends.hub] {
        says(program, "it is still loading its data").await;
    }
    ends.all_is_well_in_the_end(load).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_evicted_is_sent_again() {
    const LIMIT: &str = "4mb";
    let evicting = ["--maxmemory", LIMIT, "--maxmemory-policy", "allkeys-lru"];
    let mut ends = Ends::new(Redis::start_with(&[&DURABLE[..], &evicting].concat()));
    let load = Load::start(ends.relay.receiver(), CLIENTS);
    says(&ends.relay, "maxmemory-policy = allkeys-lru: noeviction is needed").await;
    let evicted = |redis: &Redis| redis.info("INFO stats", "evicted_keys").unwrap() != "0";
    eventually("the stream is evicted", async || {
        if evicted(&ends.redis) { Ok(()) } else { Err(load.accepted()) }
    })
    .await;
    ends.start_hub().await;
    ends.redis.set("maxmemory", "0");
    ends.all_is_well_in_the_end(load).await;
}
