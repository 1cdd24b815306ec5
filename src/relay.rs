//! `faultline relay`: what runs on an edge VM. Sources and spool as everywhere; behind them no
//! pipeline, but a hand-over to the hubs.

use std::{
    future::Future,
    sync::{Arc, Mutex},
};

use faultline_actors::{domain::ledger::Ledger, pipeline::handover::Handover};
use tokio_util::sync::CancellationToken;

use crate::{
    Listeners,
    admin::{
        Surroundings,
        relay::{RelayAdmin, router},
    },
    config::{Config, ConfigError},
    follow_receiver, open_spool,
    reload::{Hangups, Process, Reload},
    serving::Serving,
    telemetry,
    tls::Certificates,
};

/// Runs until `shutdown`, the end of standard input, or a relay that cannot be kept alive.
///
/// # Errors
/// When something cannot be started, or the relay has died for good.
pub async fn run_relay(
    config: Config,
    listeners: Listeners,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    config.validate_relay()?;
    let mut shutdown = std::pin::pin!(shutdown);
    let hangups = Hangups::listen()?;
    let certificates = Certificates::load(&config.receiver.tls, &config.admin.tls)?;
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let spool = tokio::select! {
        spool = open_spool(&config, ledger.clone()) => spool?,
        () = &mut shutdown => return Ok(()),
    };
    let handover = Handover::start(config.handoff.clone(), spool.clone(), ledger).await;
    let handover = handover.map_err(|problem| ConfigError(vec![format!("handoff.{problem}")]))?;
    let handover = Arc::new(handover);
    let reading = config.stdin.reading();
    let prometheus = telemetry::start_metrics();
    let (leaving, looking) = (CancellationToken::new(), CancellationToken::new());
    let reload = Reload::new(&config, Process::Relay, None);
    let surroundings = Surroundings {
        public_url: config.jira.public_url.clone(),
        certificates: certificates.clone(),
        store: None,
        leaving: leaving.clone(),
        looking: looking.clone(),
    };
    let (handing, reads) = (handover.clone(), reading.clone());
    let admin = RelayAdmin::new(&config, surroundings, handing, prometheus.clone(), reads, &reload);
    let receiver = follow_receiver(&config, &spool, &reload);
    let admin = router(&admin);
    let consumer = handover;
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
    serving.until(listeners, hangups, shutdown).await
}
