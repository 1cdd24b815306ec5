//! Every way to reach Redis, used for real: Sentinel, Cluster, TLS with users. When a master dies
//! and another server takes its place, without what came last, nothing is lost and nothing is
//! stored twice.

#![expect(clippy::unwrap_used, reason = "a failing test is told by a panic")]

use faultline_testkit::{
    database::Database,
    eventually, free_port,
    handoff::{self, assert_ledgers_agree, is_well, says},
    load::Load,
    postgres::Postgres,
    program::Program,
    redis::{DURABLE, Redis, cluster::Cluster, sentinel::Sentinels},
    tls::Authority,
};

const BINARY: &str = env!("CARGO_BIN_EXE_faultline");
const CLIENTS: usize = 4;
const README: &str = include_str!("../README.md");

/// A relay of `dev` and a hub that reads it, by the same URL.
fn ends(redis: &str, database: &Database) -> (Program, Program) {
    let relay = handoff::relay(BINARY, redis, "dev").set("handoff.timeout", "2s");
    let hub = handoff::hub(BINARY, redis, &database.url(), "dev").set("handoff.timeout", "2s");
    (relay, hub)
}

fn start_database() -> Database {
    Database::Postgres(Box::new(Postgres::start()))
}

async fn start_hub(hub: &mut Program) {
    hub.start();
    // The store's tables are there once the ledger is.
    hub.ledger().await;
}

/// Waits until so much more is stored.
async fn more_is_stored(database: &Database, more: i64) {
    let stored = async || database.number("SELECT count(*) FROM events").await;
    let before = stored().await;
    eventually("more is stored", async || {
        let now = stored().await;
        if now > before + more { Ok(()) } else { Err(now) }
    })
    .await;
}

/// Waits until clients have heard so often more that something is accepted.
async fn more_is_accepted(load: &Load, more: u64) {
    let before = load.accepted();
    eventually("more is accepted", async || {
        if load.accepted() > before + more { Ok(()) } else { Err(load.accepted()) }
    })
    .await;
}

/// Has the master die with entries that its replica does not get and no hub has read.
async fn lose_the_tail(master: &mut Redis, replica: &Redis, hub: &Program, load: &Load) {
    hub.signal("STOP");
    replica.signal("STOP");
    assert_eq!(master.command(&["CLIENT", "KILL", "TYPE", "REPLICA"]), ":1");
    more_is_accepted(load, 50).await;
    master.kill();
    replica.signal("CONT");
    hub.signal("CONT");
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_name_another_master() {
    let database = start_database();
    let mut redis = Sentinels::start(&[]).await;
    let (mut relay, mut hub) = ends(&redis.url(), &database);
    relay.start();
    start_hub(&mut hub).await;
    let load = Load::start(relay.receiver(), CLIENTS);
    // One of the Sentinels is dead, too.
    redis.sentinels[2].kill();
    for _ in 0..2 {
        more_is_stored(&database, 500).await;
        let master = redis.master();
        let [first, second] = &mut redis.servers[..] else { unreachable!("there are two") };
        let (old, new) = if master == 0 { (first, second) } else { (second, first) };
        lose_the_tail(old, new, &hub, &load).await;
        eventually(
            "the Sentinels agree",
            async || {
                if redis.master() == master { Err(()) } else { Ok(()) }
            },
        )
        .await;
        more_is_stored(&database, 500).await;
        redis.servers[master].resume();
        eventually("what was the master is a replica", async || {
            let role = redis.servers[master].ask(&["ROLE"]);
            if role[0] == "slave" && role[3] == "connected" { Ok(()) } else { Err(role) }
        })
        .await;
    }
    let accepted = load.end().await;
    assert_ledgers_agree(&relay, &hub).await;
    assert!(relay.metric("faultline_stream_resends_total", "").await >= 2.0, "the tail was lost");
    accepted.assert_stored_once(&database).await;
    is_well(&relay).await;
    is_well(&hub).await;
}

/// Without a death: what was the master lives on, and takes no writes any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_master_is_replaced_on_purpose() {
    let database = start_database();
    let redis = Sentinels::start(&["--save", "3600 1", "--appendonly", "no"]).await;
    let (mut relay, mut hub) = ends(&redis.url(), &database);
    relay.start();
    start_hub(&mut hub).await;
    let load = Load::start(relay.receiver(), CLIENTS);
    more_is_stored(&database, 500).await;
    let master = redis.master();
    redis.sentinels[0].tell(&["SENTINEL", "FAILOVER", "mymaster"]);
    eventually(
        "the Sentinels agree",
        async || {
            if redis.master() == master { Err(()) } else { Ok(()) }
        },
    )
    .await;
    more_is_stored(&database, 500).await;
    let accepted = load.end().await;
    assert_ledgers_agree(&relay, &hub).await;
    accepted.assert_stored_once(&database).await;
    for program in [&relay, &hub] {
        eventually("both servers' settings are known", async || {
            let health = program.json("/health").await;
            let warnings = &health["components"]["redis"]["details"]["warnings"];
            let is_said = redis.servers.iter().all(|server| {
                let start = format!("Redis at 127.0.0.1:{}: appendonly = no", server.port());
                warnings.to_string().contains(&start)
            });
            if is_said { Ok(()) } else { Err(warnings.clone()) }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_moves_a_stream_and_loses_a_master() {
    let database = start_database();
    let mut redis = Cluster::start().await;
    let (mut relay, mut hub) = ends(&redis.url(), &database);
    // At another node of the cluster.
    let mut other = handoff::relay(BINARY, &redis.url(), "staging");
    hub = hub.set("handoff.consume", "dev,staging");
    let keys =
        ["faultline:{dev:0}:stream", "faultline:{dev:0}:committed", "faultline:{dev:0}:wanted"];
    let elsewhere = "faultline:{staging:0}:stream";
    relay.start();
    other.start();
    start_hub(&mut hub).await;
    let load = Load::of(relay.receiver(), 0..CLIENTS);
    let other_load = Load::of(other.receiver(), CLIENTS..2 * CLIENTS);
    more_is_stored(&database, 500).await;
    assert_ne!(redis.owner(keys[0]), redis.owner(elsewhere), "several nodes are used");

    let owner = redis.owner(keys[0]).unwrap();
    redis.move_slot(&keys);
    assert_ne!(redis.owner(keys[0]).unwrap(), owner);
    more_is_stored(&database, 500).await;

    let master = redis.owner(keys[0]).unwrap();
    let replica = {
        let role = redis.nodes[master].ask(&["ROLE"]);
        redis.nodes.iter().position(|node| role.contains(&node.port().to_string())).unwrap()
    };
    let [old, new] = redis.nodes.get_disjoint_mut([master, replica]).unwrap();
    lose_the_tail(old, new, &hub, &load).await;
    eventually("the replica takes over", async || redis.owner(keys[0]).ok_or(())).await;
    assert_eq!(redis.owner(keys[0]), Some(replica));
    more_is_stored(&database, 500).await;
    redis.nodes[master].resume();
    redis.ready().await;

    let accepted = load.end().await.with(other_load.end().await);
    for relay in [&relay, &other] {
        assert_ledgers_agree(relay, &hub).await;
    }
    assert!(relay.metric("faultline_stream_resends_total", "").await >= 1.0, "the tail was lost");
    accepted.assert_stored_once(&database).await;
    for program in [&relay, &other, &hub] {
        is_well(program).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_node_of_a_cluster_is_not_taken_for_a_server() {
    let redis = Cluster::start().await;
    let key = "faultline:{dev:0}:stream";
    let foreign = (redis.owner(key).unwrap() + 1) % 3;
    let url = format!("redis://127.0.0.1:{}", redis.nodes[foreign].port());
    let mut relay = handoff::relay(BINARY, &url, "dev");
    relay.start();
    says(&relay, "it is a node of a cluster: redis+cluster:// is needed in handoff.url").await;
    let checked =
        relay.command_with(&["check"]).env("FAULTLINE_HANDOFF__URL", redis.url()).output();
    let said = String::from_utf8_lossy(&checked.unwrap().stdout).into_owned();
    assert!(said.contains("ok      handoff: redis+cluster://127.0.0.1:"), "{said}");
}

/// The words of a line of the README that makes a user.
fn user_of_readme(name: &str) -> Vec<&'static str> {
    let start = format!("ACL SETUSER {name} ");
    let line = README.lines().find(|line| line.starts_with(&start)).unwrap();
    line.split(' ').collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_and_users_with_no_more_than_they_need() {
    let (authority, stranger) = (Authority::new("ours"), Authority::new("somebody's"));
    let (server, client) = (authority.issue("localhost"), authority.issue("client"));
    let port = free_port().to_string();
    let files = [server.certificate, server.key, authority.file(), stranger.file()]
        .map(|path| path.display().to_string());
    let [certificate, key, ca, strangers_ca] = &files;
    let tls = [
        ["--tls-port", &port],
        ["--tls-cert-file", certificate],
        ["--tls-key-file", key],
        ["--tls-ca-cert-file", ca],
        ["--tls-auth-clients", "yes"],
    ];
    let redis = Redis::start_with(&[&DURABLE[..], tls.as_flattened()].concat());
    let users = ["relay", "hub"].map(user_of_readme);
    for words in &users {
        redis.tell(words);
    }
    let url = |user: &str, host: &str| format!("rediss://{user}:PASSWORD@{host}:{port}");
    let database = start_database();
    let with_tls = |program: Program, user: &str| {
        program
            .set("handoff.url", &url(user, "localhost"))
            .set("handoff.ca_file", ca)
            .set("handoff.certificate_file", &client.certificate.display().to_string())
            .set("handoff.key_file", &client.key.display().to_string())
    };
    let (relay, hub) = ends("", &database);
    let (mut relay, mut hub) = (with_tls(relay, "relay"), with_tls(hub, "hub"));
    relay.start();
    let load = Load::start(relay.receiver(), CLIENTS);
    // Time enough to look whether the stream still has it.
    eventually("the relay looks", async || {
        let calls = redis.info("INFO commandstats", "cmdstat_xrange");
        calls.map(drop).ok_or("never")
    })
    .await;
    start_hub(&mut hub).await;
    more_is_stored(&database, 500).await;
    redis.tell(&["ACL", "SETUSER", "relay", "-xadd"]);
    says(&relay, "its ACL forbids what is needed").await;
    says(&relay, "xadd").await;
    assert_eq!(redis.ask(&["ACL", "LOG", "RESET"]), ["OK"]);
    redis.tell(&["ACL", "SETUSER", "relay", "+xadd"]);
    let accepted = load.end().await;
    assert_ledgers_agree(&relay, &hub).await;
    accepted.assert_stored_once(&database).await;
    is_well(&relay).await;
    is_well(&hub).await;
    let refused = redis.ask(&["ACL", "LOG"]).concat();
    assert!(!refused.contains("hub") && !refused.contains("command"), "{refused}");
    let commands = users.iter().flatten().filter_map(|word| word.strip_prefix('+'));
    for command in commands {
        let calls = redis.info("INFO commandstats", &format!("cmdstat_{command}"));
        assert!(calls.is_some(), "{command} is allowed, and never used");
    }

    // What is wrong is said, by the program that runs and by `check`.
    let wrong: [(&str, String, &str); 4] = [
        ("ca_file", strangers_ca.clone(), "UnknownIssuer"),
        ("ca_file", String::new(), "UnknownIssuer"),
        ("url", url("relay", "127.0.0.1"), "not valid for"),
        ("url", url("nobody", "localhost"), "it refuses the user or the password"),
    ];
    relay.kill();
    for (key, value, expected) in wrong {
        let key = format!("FAULTLINE_HANDOFF__{}", key.to_uppercase());
        let output = relay.command_with(&["check"]).env(key, value).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = said.lines().find(|line| line.contains("handoff")).unwrap();
        assert!(line.contains("FAILED") && line.contains(expected), "{expected}: {line}");
        assert!(!said.contains("PASSWORD"), "{said}");
    }
    let mut relay = relay.set("handoff.ca_file", strangers_ca);
    relay.start();
    says(&relay, "UnknownIssuer").await;
}
