//! `faultline relay`: what runs on an edge VM. Sources and spool as everywhere; behind them no
//! pipeline, but a hand-over to the hubs.

use std::{
    future::Future,
    sync::{Arc, Mutex},
};

use faultline_actors::{
    adapters::journal::spool::Spool, domain::ledger::Ledger, pipeline::handover::Handover,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{
    Ending, FINISH, Listeners, SETTLE,
    admin::relay::{RelayAdmin, router},
    config::{Config, ConfigError},
    follow_stdin, limits, open_spool, receiver,
    receiver::stdin::Reading,
    server, telemetry,
};

/// Runs until `shutdown`, the end of standard input, or a relay that cannot be kept alive.
///
/// # Errors
/// When something cannot be started, or the relay has died for good.
pub(crate) async fn run_relay(
    config: Config,
    listeners: Listeners,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    config.validate_relay()?;
    let mut shutdown = std::pin::pin!(shutdown);
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let spool = tokio::select! {
        spool = open_spool(&config, ledger.clone()) => spool?,
        () = &mut shutdown => return Ok(()),
    };
    let handover = Handover::start(config.handoff.clone(), spool.clone(), ledger).await;
    let handover = handover.map_err(|problem| ConfigError(vec![format!("handoff.{problem}")]))?;
    let handover = Arc::new(handover);
    let (reads_stdin, reading) = (config.stdin.is_on(), Arc::new(Reading::default()));
    let (taking_in, looking) = (CancellationToken::new(), CancellationToken::new());
    let shown = reads_stdin.then(|| reading.clone());
    let (receiver, admin, watch) =
        serve(&config, listeners, &handover, shown, [&taking_in, &looking])?;
    let mut stdin = tokio::spawn(follow_stdin(config, spool, reading, taking_in.clone()));
    let ending = tokio::select! {
        () = &mut shutdown => Ending::Told,
        _ = &mut stdin, if reads_stdin => Ending::EndOfInput,
        reason = handover.broken() => Ending::Broken(reason),
    };
    taking_in.cancel();
    let _ = receiver.await;
    if reads_stdin && !matches!(ending, Ending::EndOfInput) {
        let _ = stdin.await;
    }
    settle(&handover, &ending, shutdown).await;
    handover.finish(FINISH).await;
    looking.cancel();
    let _ = admin.await;
    watch.abort();
    match ending {
        Ending::Broken(reason) => anyhow::bail!("the relay is broken: {reason}"),
        Ending::Told | Ending::EndOfInput => Ok(()),
    }
}

type Served = (JoinHandle<()>, JoinHandle<()>, JoinHandle<()>);

/// Starts both listeners, and the watch over the runtime.
fn serve(
    config: &Config,
    listeners: Listeners,
    handover: &Arc<Handover>,
    reading: Option<Arc<Reading>>,
    [taking_in, looking]: [&CancellationToken; 2],
) -> anyhow::Result<Served> {
    let prometheus = telemetry::start_metrics();
    let admin = RelayAdmin::new(&config.admin, handover.clone(), prometheus.clone(), reading);
    receiver::http::announce(&config.receiver, listeners.receiver.local_addr()?);
    tracing::info!(address = %listeners.admin.local_addr()?, "the admin listener listens");
    let spool: Arc<Spool> = handover.spool().clone();
    let receiver = tokio::spawn(server::serve(
        listeners.receiver,
        receiver::http::router(&config.receiver, spool),
        limits(config, "receiver", config.receiver.connections),
        taking_in.clone().cancelled_owned(),
    ));
    let admin = tokio::spawn(server::serve(
        listeners.admin,
        router(&admin),
        limits(config, "admin", config.admin.connections),
        looking.clone().cancelled_owned(),
    ));
    Ok((receiver, admin, tokio::spawn(telemetry::watch_runtime(prometheus))))
}

/// Waits for hubs to commit what was accepted, as long as that may take.
async fn settle(handover: &Handover, ending: &Ending, shutdown: impl Future<Output = ()>) {
    match ending {
        Ending::Told => {
            tracing::info!("told to end: handing over what was accepted");
            if tokio::time::timeout(SETTLE, handover.settled()).await.is_err() {
                tracing::warn!("not all is committed yet; the spool keeps it for the next start");
            }
        }
        Ending::EndOfInput => {
            tracing::info!("standard input has ended: handing over what was accepted");
            tokio::select! {
                () = handover.settled() => {}
                () = shutdown => tracing::warn!("told to end; the spool keeps the rest"),
            }
        }
        Ending::Broken(reason) => tracing::error!(reason, "the relay is broken"),
    }
}
