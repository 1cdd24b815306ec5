//! A balancer in front of several programs: a real `HAProxy`, on a port of its own, that dies with
//! this process. It asks each program whether it is ready, and tries nothing a second time, so that
//! whatever goes wrong behind it reaches the client.

use std::{
    fs,
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use crate::{eventually, free_port};

/// How often it asks, and how many answers change its mind.
const CHECK_EVERY: Duration = Duration::from_millis(100);
const CHECKS: u32 = 2;

/// See the [module](self).
pub struct Balancer {
    address: SocketAddr,
    _directory: TempDir,
    process: Child,
}

impl Balancer {
    /// Starts one before `backends`, each with its receiver and its admin listener, none of which
    /// need be there yet.
    ///
    /// # Panics
    /// When `HAProxy` is not installed or does not start.
    pub async fn start(backends: &[(SocketAddr, SocketAddr)]) -> Self {
        let directory = tempfile::Builder::new().prefix("faultline-haproxy-").tempdir().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let file = directory.path().join("haproxy.cfg");
        fs::write(&file, configuration(address, backends)).unwrap();
        let process = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--", "haproxy", "-db", "-q", "-f"])
            .arg(&file)
            .stdin(Stdio::null())
            .spawn()
            .expect("setpriv is there");
        let mut balancer = Self { address, _directory: directory, process };
        eventually("HAProxy listens", async || {
            let ended = balancer.process.try_wait().unwrap();
            assert!(ended.is_none(), "HAProxy has ended (Debian: apt-get install haproxy)");
            tokio::net::TcpStream::connect(address).await.map(drop)
        })
        .await;
        balancer
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How long it takes to notice that a program is not ready any more, also on a busy machine.
    #[must_use]
    pub fn notices_within() -> Duration {
        CHECK_EVERY * CHECKS * 10
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn configuration(address: SocketAddr, backends: &[(SocketAddr, SocketAddr)]) -> String {
    let check = CHECK_EVERY.as_millis();
    let servers: String = backends
        .iter()
        .enumerate()
        .map(|(index, (receiver, admin))| {
            format!(
                "    server hub{index} {receiver} check addr {} port {} inter {check}ms \
                 fall {CHECKS} rise {CHECKS}\n",
                admin.ip(),
                admin.port(),
            )
        })
        .collect();
    format!(
        "global
    maxconn 4000
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    # Who is slow to say whether it is ready is not down.
    timeout check 10s
    retries 0
frontend receivers
    bind {address}
    default_backend hubs
backend hubs
    balance roundrobin
    option httpchk
    http-check send meth GET uri /readyz ver HTTP/1.1 hdr Host localhost
    http-check expect status 200
{servers}"
    )
}
