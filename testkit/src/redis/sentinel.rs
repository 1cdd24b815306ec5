//! A throw-away master with a replica, and the Sentinels that watch them.

use std::fs;

use super::{DURABLE, Redis};
use crate::eventually;

/// The name of the master among Sentinels.
pub const MASTER: &str = "mymaster";

/// See the [module](self).
pub struct Sentinels {
    pub servers: Vec<Redis>,
    pub sentinels: Vec<Redis>,
}

impl Sentinels {
    /// Starts a master, a replica, and three Sentinels of which two must agree. `arguments` are for
    /// each of the servers.
    ///
    /// # Panics
    /// When they do not start.
    pub async fn start(arguments: &[&str]) -> Self {
        let quick = ["--repl-diskless-sync-delay", "0", "--repl-timeout", "5"];
        let arguments = [&DURABLE[..], &quick, arguments].concat();
        let master = Redis::start_with(&arguments);
        let of = format!("127.0.0.1 {}", master.port());
        let replica = Redis::start_with(&[&arguments[..], &["--replicaof", &of]].concat());
        let sentinels = (0..3).map(|_| sentinel(master.port())).collect();
        let all = Self { servers: vec![master, replica], sentinels };
        all.ready().await;
        all
    }

    /// Waits until a fail-over would be possible.
    ///
    /// # Panics
    /// When it is not in time.
    pub async fn ready(&self) {
        eventually("the Sentinels know each other and the replica", async || {
            let knows = |sentinel: &Redis| {
                let about = sentinel.ask(&["SENTINEL", "MASTER", MASTER]);
                let is = |name: &str, value: &str| {
                    about.chunks(2).any(|field| field[0] == name && field[1] == value)
                };
                is("num-slaves", "1") && is("num-other-sentinels", "2") && is("flags", "master")
            };
            let is_synced = self.servers.iter().any(|server| {
                server.info("INFO replication", "master_link_status").as_deref() == Some("up")
            });
            if is_synced && self.sentinels.iter().all(knows) { Ok(()) } else { Err(()) }
        })
        .await;
    }

    /// The value of `handoff.url`.
    #[must_use]
    pub fn url(&self) -> String {
        let hosts: Vec<_> =
            self.sentinels.iter().map(|one| format!("127.0.0.1:{}", one.port())).collect();
        format!("redis+sentinel://{}/{MASTER}", hosts.join(","))
    }

    /// Which of the servers the Sentinels take for the master.
    ///
    /// # Panics
    /// When they name none of them.
    #[must_use]
    pub fn master(&self) -> usize {
        let named = self.sentinels[0].ask(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER]);
        self.servers.iter().position(|server| named[1] == server.port().to_string()).unwrap()
    }
}

/// A Sentinel that takes a server for dead after half a second.
fn sentinel(master: u16) -> Redis {
    let mut sentinel = Redis::new(&[]);
    let configuration = format!(
        "sentinel monitor {MASTER} 127.0.0.1 {master} 2\n\
         sentinel down-after-milliseconds {MASTER} 500\n\
         sentinel failover-timeout {MASTER} 3000\n"
    );
    fs::write(sentinel.configuration(), configuration).unwrap();
    sentinel.resume();
    sentinel
}
