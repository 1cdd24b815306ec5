//! The servers that are measured, each a process of its own.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use faultline::{Listeners, config::Config, receiver, server};
use faultline_actors::{adapters::journal::spool::Spool, domain::ledger::Ledger};
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::{limits, nothing::Nothing};

/// What is served.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// The bare handler.
    Limit,
    /// The receiver and the spool, nothing behind.
    Receiver,
    /// The whole program, into a store that forgets.
    Nothing,
    /// The whole program, into PostgreSQL.
    Postgres(String),
    /// The whole program, into SQLite.
    Sqlite,
    /// A relay, into Redis.
    Relay,
}

/// A server process.
pub(crate) struct Server {
    process: Child,
    pub(crate) receiver: SocketAddr,
    pub(crate) admin: SocketAddr,
    /// Gone, with the spool in it, when this is dropped.
    _directory: TempDir,
}

impl Server {
    pub(crate) fn start(kind: &Kind) -> Self {
        Self::start_with(kind, Stdio::null(), &[])
    }

    /// With standard input, and further settings as environment variables.
    pub(crate) fn start_with(kind: &Kind, stdin: Stdio, settings: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg("--serve").stdin(stdin).stderr(Stdio::inherit());
        match kind {
            Kind::Limit => command.arg("limit"),
            Kind::Receiver => command.arg("receiver"),
            Kind::Nothing => command.arg("nothing"),
            Kind::Relay => command.arg("relay"),
            Kind::Postgres(url) => {
                command.arg("store").env("FAULTLINE_STORE__URL", url);
                &mut command
            }
            Kind::Sqlite => {
                let url = format!("sqlite://{}/faultline.db", directory.path().display());
                command.arg("store").env("FAULTLINE_STORE__URL", url);
                &mut command
            }
        };
        command.arg(directory.path());
        command.env("FAULTLINE_SPOOL__DIR", directory.path().join("spool"));
        command.env("RUST_LOG", "error");
        command.envs(settings.iter().copied());
        let process = command.spawn().unwrap();
        let ports = directory.path().join("ports");
        let started = Instant::now();
        let (receiver, admin) = loop {
            if let Ok(text) = fs::read_to_string(&ports)
                && let [receiver, admin] = text.lines().collect::<Vec<_>>()[..]
            {
                break (receiver.parse().unwrap(), admin.parse().unwrap());
            }
            assert!(started.elapsed() < Duration::from_secs(20), "the server does not start");
            std::thread::sleep(Duration::from_millis(5));
        };
        Self { process, receiver, admin, _directory: directory }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The process that [`Server::start`] starts.
pub(crate) fn serve(arguments: &[String]) {
    let [kind, directory] = arguments else { panic!("--serve KIND DIRECTORY") };
    let directory = Path::new(directory);
    let config = faultline::config::parse("", "", std::env::vars()).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let bind = async || TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listeners = Listeners { receiver: bind().await, admin: bind().await, outlives: false };
        let ports = format!(
            "{}\n{}\n",
            listeners.receiver.local_addr().unwrap(),
            listeners.admin.local_addr().unwrap()
        );
        fs::write(directory.join("ports.new"), ports).unwrap();
        fs::rename(directory.join("ports.new"), directory.join("ports")).unwrap();
        match kind.as_str() {
            "limit" => {
                limits::serve_axum(listeners.receiver, &directory.join("file")).await;
            }
            "receiver" => serve_receiver(config, listeners.receiver).await,
            "nothing" => {
                let end = std::future::pending();
                faultline::run_with(config, listeners, Arc::new(Nothing::default()), end)
                    .await
                    .unwrap();
            }
            "relay" => {
                faultline::run_relay(config, listeners, std::future::pending()).await.unwrap();
            }
            _ => Box::pin(faultline::run(config, listeners, std::future::pending())).await.unwrap(),
        }
    });
    runtime.shutdown_background();
}

/// The receiver with its spool. What is accepted is acknowledged at once, so that the spool
/// recycles its segments as it does with a pipeline behind it.
async fn serve_receiver(config: Config, listener: TcpListener) {
    use faultline_actors::adapters::journal::Readable;
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let spool = Arc::new(Spool::open(config.spool.clone(), ledger).unwrap());
    let acknowledged = spool.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            acknowledged.acknowledge(acknowledged.status().head);
        }
    });
    let limits = server::Limits {
        listener: "receiver",
        connections: 5_000,
        header_timeout: Duration::from_secs(10),
        finish_timeout: Duration::from_secs(1),
    };
    let router = receiver::http::router(receiver::http::live(&config.receiver, spool));
    server::serve(listener, router, limits, None, server::Ends::default()).await;
}
