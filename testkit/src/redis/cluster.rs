//! A throw-away cluster: three masters, each with a replica.

use super::{DURABLE, Redis};
use crate::{eventually, free_port};

const MASTERS: usize = 3;
const SLOTS: usize = 16384;

/// See the [module](self).
pub struct Cluster {
    pub nodes: Vec<Redis>,
}

impl Cluster {
    /// Starts it; a master that is dead for a second is replaced.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start() -> Self {
        let buses: Vec<_> = (0..2 * MASTERS).map(|_| free_port().to_string()).collect();
        let nodes = buses.iter().map(|bus| {
            let own = [
                "--cluster-enabled",
                "yes",
                "--cluster-node-timeout",
                "1000",
                "--cluster-port",
                bus,
                "--cluster-allow-replica-migration",
                "no",
                "--repl-diskless-sync-delay",
                "0",
            ];
            Redis::start_with(&[&DURABLE[..], &own].concat())
        });
        let cluster = Self { nodes: nodes.collect() };
        for (index, node) in cluster.nodes.iter().enumerate() {
            node.tell(&["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()]);
            if index < MASTERS {
                let first = (SLOTS * index / MASTERS).to_string();
                let last = (SLOTS * (index + 1) / MASTERS - 1).to_string();
                node.tell(&["CLUSTER", "ADDSLOTSRANGE", &first, &last]);
            }
            if index > 0 {
                let port = node.port().to_string();
                cluster.nodes[0].tell(&["CLUSTER", "MEET", "127.0.0.1", &port, &buses[index]]);
            }
        }
        cluster.has("cluster_known_nodes", &(2 * MASTERS).to_string()).await;
        for index in 0..MASTERS {
            let id = cluster.nodes[index].ask(&["CLUSTER", "MYID"]).concat();
            eventually("the replica knows its master", async || {
                let answer = cluster.nodes[MASTERS + index].command(&["CLUSTER", "REPLICATE", &id]);
                if answer == "+OK" { Ok(()) } else { Err(answer) }
            })
            .await;
        }
        cluster.ready().await;
        cluster
    }

    /// Waits until all slots are served, and each master that lives has what replaces it.
    ///
    /// # Panics
    /// When they are not in time.
    pub async fn ready(&self) {
        self.has("cluster_state", "ok").await;
        eventually("the replicas are in step", async || {
            let is_ready = self.nodes.iter().filter(|node| node.is_running()).all(|node| {
                let info = |name| node.info("INFO replication", name).unwrap_or_default();
                match info("role").as_str() {
                    "slave" => info("master_link_status") == "up",
                    _ => info("connected_slaves") == "1",
                }
            });
            if is_ready { Ok(()) } else { Err(()) }
        })
        .await;
    }

    async fn has(&self, name: &str, value: &str) {
        eventually(name, async || {
            let running = self.nodes.iter().filter(|node| node.is_running());
            let values: Vec<_> = running.map(|node| node.info("CLUSTER INFO", name)).collect();
            let is_so = values.iter().all(|is| is.as_deref() == Some(value));
            if is_so { Ok(()) } else { Err(values) }
        })
        .await;
    }

    /// The value of `handoff.url`, with two of the nodes.
    #[must_use]
    pub fn url(&self) -> String {
        let hosts: Vec<_> =
            self.nodes[1..3].iter().map(|node| format!("127.0.0.1:{}", node.port())).collect();
        format!("redis+cluster://{}", hosts.join(","))
    }

    /// Which node serves `key`; `None` while nobody does.
    #[must_use]
    pub fn owner(&self, key: &str) -> Option<usize> {
        self.nodes
            .iter()
            .position(|node| node.is_running() && node.command(&["EXISTS", key]).starts_with(':'))
    }

    /// Moves the slot of `keys`, which is theirs alone, to another master while it is in use.
    ///
    /// # Panics
    /// When somebody refuses.
    pub fn move_slot(&self, keys: &[&str]) {
        let from = self.owner(keys[0]).unwrap();
        let is_master = |node: &Redis| node.ask(&["ROLE"])[0] == "master";
        let to = (0..self.nodes.len())
            .find(|&node| {
                node != from && self.nodes[node].is_running() && is_master(&self.nodes[node])
            })
            .unwrap();
        let slot = self.nodes[from].ask(&["CLUSTER", "KEYSLOT", keys[0]]).concat();
        let id = |node: usize| self.nodes[node].ask(&["CLUSTER", "MYID"]).concat();
        let (from_id, to_id) = (id(from), id(to));
        self.nodes[to].tell(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id]);
        self.nodes[from].tell(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id]);
        let port = self.nodes[to].port().to_string();
        for key in keys {
            let migrate = ["MIGRATE", "127.0.0.1", &port, key, "0", "5000"];
            let answer = self.nodes[from].command(&migrate);
            assert!(matches!(answer.as_str(), "+OK" | "+NOKEY"), "{answer}");
        }
        for node in [to, from] {
            self.nodes[node].tell(&["CLUSTER", "SETSLOT", &slot, "NODE", &to_id]);
        }
    }
}
