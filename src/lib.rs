//! Faultline turns what goes wrong into exactly one Jira ticket per fault.
//!
//! ```text
//!  receiver ─┐                                                     ┌─▶ store
//!  stdin ────┼─▶ spool ─▶ parser ─▶ fan-out ─▶ batch writer ───────┘
//!  buckets ──┘                         └─────▶ metrics aggregator ─▶ admin: /metrics, live
//!  store ─▶ jira dispatch ─▶ jira worker ─▶ Jira
//!  what holds now ─▶ notifier ─▶ store ─▶ mail, Slack, webhooks
//! ```
//!
//! This crate is what faces outward: the command line, the configuration, the listeners. The
//! pipeline itself is [`faultline_actors`].

use std::{
    future::Future,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use anyhow::Context;
use axum::Router;
pub use faultline_actors::domain::secret;
use faultline_actors::{
    adapters::{
        journal::spool::Spool,
        store::{Store, postgres::Postgres, sqlite::Sqlite},
    },
    domain::ledger::Ledger,
    error_log::ErrorLog,
    metrics_aggregator::Countries,
    pipeline::{self, Pipeline},
    stage::Live,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use crate::relay::run_relay;
use crate::{
    config::{Config, ConfigError, StoreSettings, StoreUrl},
    reload::{Hangups, Process, Reload},
    secret::mask_url,
    serving::Serving,
    sockets::Sockets,
    tls::Certificates,
};

pub mod admin;
mod alerts;
mod asking;
pub mod cli;
pub mod config;
mod faults;
mod group;
mod jobs;
mod problem;
mod readiness;
pub mod receiver;
mod recount;
mod relay;
pub mod reload;
mod replay;
mod restore;
mod rule_tests;
pub mod server;
mod serving;
pub mod sockets;
pub mod systemd;
pub mod telemetry;
pub mod tls;
mod top;
mod users;

/// The bound listeners, so that whoever starts the program knows the ports.
pub struct Listeners {
    pub receiver: TcpListener,
    pub admin: TcpListener,
    /// The receiver's socket was handed over: while this process ends, clients wait for the next.
    pub outlives: bool,
}

impl Listeners {
    /// Binds what the configuration says; takes from `sockets` what is bound already.
    ///
    /// # Errors
    /// Names the setting of the address that cannot be bound, or the socket that is of no use.
    pub fn bind(config: &Config, mut sockets: Sockets) -> anyhow::Result<Self> {
        server::raise_open_files(config.receiver.connections + config.admin.connections);
        let (receiver, admin) = (config.receiver.listen, config.admin.listen);
        let given = [receiver, admin].map(|address| sockets.bound_to(address));
        if !sockets.is_empty() {
            let problem = format!(
                "receiver.listen = \"{receiver}\", admin.listen = \"{admin}\": a socket that was \
                 handed over is bound to {}; one of them must be the very same",
                sockets.addresses().join(", ")
            );
            return Err(ConfigError(vec![problem]).into());
        }
        let outlives = given[0].is_some();
        let open = |given: Option<std::net::TcpListener>, address| match given {
            None => server::listen(address),
            Some(socket) => {
                socket.set_nonblocking(true)?;
                TcpListener::from_std(socket)
            }
        };
        let [for_receiver, for_admin] = given;
        Ok(Self {
            receiver: open(for_receiver, receiver)
                .with_context(|| format!("receiver.listen = \"{receiver}\""))?,
            admin: open(for_admin, admin).with_context(|| format!("admin.listen = \"{admin}\""))?,
            outlives,
        })
    }
}

/// Opens the store that the settings name. PostgreSQL is not connected to yet.
///
/// # Errors
/// When the URL is not understood, or the file cannot be opened.
pub fn open_store(settings: &StoreSettings) -> anyhow::Result<Arc<dyn Store>> {
    match settings.parse_url().map_err(|problem| anyhow::anyhow!("store.{problem}"))? {
        StoreUrl::Sqlite(path) => {
            let key = || format!("store.url = \"{}\"", mask_url(settings.url.expose()));
            Ok(Arc::new(Sqlite::open(&path).with_context(key)?))
        }
        StoreUrl::Postgres(url) => Ok(Arc::new(Postgres::new(
            &url,
            settings.connections,
            settings.connect_timeout,
            settings.commit_timeout,
        )?)),
    }
}

/// Reads the database of countries, where one is configured.
///
/// # Errors
/// Names the setting whose file cannot be read.
pub fn read_countries(config: &Config) -> Result<Option<Arc<Countries>>, ConfigError> {
    let path = &config.metrics_aggregator.countries;
    if path.as_os_str().is_empty() {
        return Ok(None);
    }
    let problem = |error| {
        let path = path.display();
        ConfigError(vec![format!(
            "metrics_aggregator.countries = \"{path}\": {error}; a MaxMind database is needed"
        )])
    };
    Countries::open_readfile(path).map(|reader| Some(Arc::new(reader))).map_err(problem)
}

/// Runs everything that the configuration enables, until `shutdown`, the end of standard input, or
/// a stage that cannot be kept alive.
///
/// # Errors
/// When something cannot be started, or a stage has died for good.
pub async fn run(
    config: Config,
    listeners: Listeners,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let store = open_store(&config.store)?;
    run_with(config, listeners, store, shutdown).await
}

/// Like [`run`], into a store of the caller's.
///
/// # Errors
/// Like [`run`].
pub async fn run_with(
    config: Config,
    listeners: Listeners,
    store: Arc<dyn Store>,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let mut shutdown = std::pin::pin!(shutdown);
    let hangups = Hangups::listen()?;
    let prometheus = telemetry::start_metrics();
    let certificates = Certificates::load(&config.receiver.tls, &config.admin.tls)?;
    let countries = read_countries(&config)?;
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let spool = tokio::select! {
        spool = open_spool(&config, ledger.clone()) => spool?,
        () = &mut shutdown => return Ok(()),
    };
    let settings = pipeline::Settings {
        parser: config.parser.clone(),
        batch_writer: config.batch_writer.clone(),
        metrics_aggregator: config.metrics_aggregator.clone(),
        jira: config.jira.clone(),
        handoff: config.handoff.clone(),
        bucket_watcher: config.bucket_watcher.clone(),
        rules: Arc::new(config.rules()?),
        notifier: config.notifier.clone().into(),
        letters: config.letters().into(),
        retention: Live::new(config.retention.clone()),
    };
    let pipeline = Pipeline::start(settings, spool.clone(), store.clone(), ledger, countries).await;
    let pipeline = pipeline.map_err(|problem| ConfigError(vec![problem]))?;
    let pipeline = Arc::new(pipeline);
    if config.jira.is_dry_run() {
        tracing::info!("a dry run: no Jira is configured, so tickets are made up and not sent");
    }

    let reload = Reload::new(&config, Process::Hub, Some(store.clone()));
    follow_pipeline(&pipeline, &reload);
    let (lines, kept) = (telemetry::own_log::lines(), CancellationToken::new());
    let error_log = ErrorLog::new(lines, store.clone(), config.notifier.hub_name());
    let error_log = tokio::spawn(error_log.run(kept.clone().cancelled_owned()));
    let reading = config.stdin.reading();
    let (leaving, looking) = (CancellationToken::new(), CancellationToken::new());
    let surroundings = admin::Surroundings {
        public_url: config.jira.public_url.clone(),
        certificates: certificates.clone(),
        store: Some(store.clone()),
        leaving: leaving.clone(),
        looking: looking.clone(),
    };
    let admin = admin::Admin::new(
        &config,
        surroundings,
        pipeline.clone(),
        store.clone(),
        prometheus.clone(),
        reading.clone(),
        reload.clone(),
    );
    admin.start();
    let receiver = follow_receiver(&config, &spool, &reload)
        .merge(receiver::jira::router(pipeline.jira().settings.clone(), store));
    let url = admin_url(&config, listeners.admin.local_addr()?);
    let invitation = tokio::spawn({
        let admin = admin.clone();
        async move { admin.invite(&url).await }
    });
    let admin = admin::router(&admin);
    let consumer = pipeline;
    let serving = Serving {
        config,
        spool,
        consumer,
        receiver,
        admin,
        leaving,
        looking,
        prometheus,
        reading,
        certificates,
        reload,
    };
    let outcome = serving.until(listeners, hangups, shutdown).await;
    invitation.abort();
    kept.cancel();
    let _ = error_log.await;
    outcome
}

/// Has the stages go by each configuration that comes into force.
fn follow_pipeline(pipeline: &Arc<Pipeline>, reload: &Reload) {
    let pipeline = pipeline.clone();
    reload.follow(move |config| {
        pipeline.use_jira(config.jira.clone());
        pipeline.notifier().settings.set(config.notifier.clone());
        pipeline.notifier().around.set(config.letters());
        let retention = pipeline.retention_settings();
        // It begins anew with each that it is given.
        if retention.get() != config.retention {
            retention.set(config.retention.clone());
        }
        match config.rules() {
            Ok(rules) => pipeline.use_rules(Arc::new(rules)),
            // It is valid, so that this cannot be.
            Err(error) => tracing::error!(%error, "the rules stay as they were"),
        }
    });
}

/// The receiver's routes, which go by each configuration that comes into force.
fn follow_receiver(config: &Config, spool: &Arc<Spool>, reload: &Reload) -> Router {
    let receiver = receiver::http::live(&config.receiver, spool.clone());
    let following = receiver.clone();
    reload.follow(move |config| {
        following.set(Arc::new(following.get().renewed(&config.receiver)));
    });
    receiver::http::router(receiver)
}

/// Where people reach the admin listener.
fn admin_url(config: &Config, address: SocketAddr) -> String {
    let public_url = config.jira.public_url.trim_end_matches('/');
    if !public_url.is_empty() {
        return public_url.to_owned();
    }
    config.admin.url(address)
}

/// Opens the spool; a long one takes its time to be read.
async fn open_spool(config: &Config, ledger: Arc<Mutex<Ledger>>) -> anyhow::Result<Arc<Spool>> {
    let settings = config.spool.clone();
    let directory = settings.dir.display().to_string();
    let open = tokio::task::spawn_blocking(move || Spool::open(settings, ledger));
    Ok(Arc::new(open.await?.with_context(|| format!("spool.dir = {directory:?}"))?))
}
