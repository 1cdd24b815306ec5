//! From the start of the listeners to the end of the program, which is the same for a hub and for a
//! relay: first nothing more is taken in, then what was accepted is passed on, then the rest ends.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use axum::Router;
use faultline_actors::{adapters::journal::spool::Spool, pipeline::consumer::Consumer};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{
    Listeners,
    config::{Config, is_loopback},
    receiver,
    receiver::stdin::{OnEof, Reading},
    reload::{Hangups, Reload},
    server::{self, Ends, Limits},
    systemd, telemetry,
    tls::Certificates,
};

/// How long stages may take to finish, once the spool has nothing more for them.
const FINISH: Duration = Duration::from_secs(5);
/// How long what is in the spool may take to be passed on, when told to end. It is safe there.
const SETTLE: Duration = Duration::from_secs(10);
/// The same while clients wait for the next process to take their connections.
const SETTLE_AWAITED: Duration = Duration::from_secs(1);

/// What is served, and what stands behind it.
pub(crate) struct Serving<C> {
    pub config: Config,
    pub spool: Arc<Spool>,
    pub consumer: Arc<C>,
    pub receiver: Router,
    pub admin: Router,
    /// Cancelled when the program was told to end: it is not ready any more.
    pub leaving: CancellationToken,
    /// Cancelled when nobody is to look any more: live clients end with it.
    pub looking: CancellationToken,
    pub prometheus: PrometheusHandle,
    /// How standard input is read, where it is.
    pub reading: Option<Arc<Reading>>,
    pub certificates: Certificates,
    pub reload: Arc<Reload>,
}

/// Why the program ends.
enum Ending {
    Told,
    EndOfInput,
    Broken(String),
}

impl<C: Consumer + Send + Sync + 'static> Serving<C> {
    /// Serves until `shutdown`, the end of standard input, or a stage that cannot be kept alive.
    ///
    /// # Errors
    /// When a listener cannot say its address, or a stage has died for good.
    pub(crate) async fn until<F>(
        self,
        listeners: Listeners,
        hangups: Hangups,
        mut shutdown: Pin<&mut F>,
    ) -> anyhow::Result<()>
    where
        F: Future<Output = ()>,
    {
        let (taking_in, looking) = (CancellationToken::new(), self.looking.clone());
        let patience = if listeners.outlives { SETTLE_AWAITED } else { SETTLE };
        let [receiver, admin] = self.listen(listeners, [&taking_in, &looking])?;
        let hangups = tokio::spawn(hangups.heed(self.reload.clone()));
        let runtime_watch = tokio::spawn(telemetry::watch_runtime(self.prometheus.clone()));
        let certificate_watch = tokio::spawn(self.certificates.clone().watch());
        let watchdog = tokio::spawn(systemd::watch(self.consumer.clone()));
        systemd::ready();
        let mut stdin = self.follow_stdin(taking_in.clone());
        let ending = tokio::select! {
            () = &mut shutdown => Ending::Told,
            () = ended(&mut stdin) => Ending::EndOfInput,
            reason = self.consumer.broken() => Ending::Broken(reason),
        };
        watchdog.abort();
        // It may be saying its last word.
        let _ = watchdog.await;
        systemd::stopping();
        self.leave(&ending).await;
        taking_in.cancel();
        let _ = receiver.await;
        if !matches!(ending, Ending::EndOfInput)
            && let Some(stdin) = stdin
        {
            let _ = stdin.await;
        }
        settle(&*self.consumer, &ending, patience, shutdown).await;
        self.consumer.finish(FINISH).await;
        looking.cancel();
        let _ = admin.await;
        hangups.abort();
        runtime_watch.abort();
        certificate_watch.abort();
        match ending {
            Ending::Broken(reason) => anyhow::bail!("{} is broken: {reason}", C::NAME),
            Ending::Told | Ending::EndOfInput => Ok(()),
        }
    }

    /// Is not ready any more, and lets a balancer notice before anybody is refused.
    async fn leave(&self, ending: &Ending) {
        self.leaving.cancel();
        let linger = self.config.receiver.linger;
        if matches!(ending, Ending::Told) && !linger.is_zero() {
            tracing::info!(?linger, "told to end: not ready any more, and still taking data");
            tokio::time::sleep(linger).await;
        }
    }

    /// Starts both listeners, each until its token is cancelled.
    fn listen(
        &self,
        listeners: Listeners,
        [taking_in, looking]: [&CancellationToken; 2],
    ) -> anyhow::Result<[JoinHandle<()>; 2]> {
        let config = &self.config;
        receiver::http::announce(&config.receiver, listeners.receiver.local_addr()?);
        tracing::info!(address = %listeners.admin.local_addr()?, "the admin listener listens");
        self.warn_of_plain_text();
        let limits = |listener, connections| Limits {
            listener,
            connections,
            header_timeout: config.receiver.header_timeout,
            finish_timeout: FINISH,
        };
        let receiver = server::serve(
            listeners.receiver,
            self.receiver.clone(),
            limits("receiver", config.receiver.connections),
            self.certificates.receiver.clone(),
            Ends { leaving: self.leaving.clone(), closed: taking_in.clone() },
        );
        let admin = server::serve(
            listeners.admin,
            self.admin.clone(),
            limits("admin", config.admin.connections),
            self.certificates.admin.clone(),
            Ends { leaving: self.leaving.clone(), closed: looking.clone() },
        );
        Ok([tokio::spawn(receiver), tokio::spawn(admin)])
    }

    /// A proxy may speak TLS for us; nobody else may listen in between.
    fn warn_of_plain_text(&self) {
        let Config { receiver, admin, .. } = &self.config;
        for (name, listen, tls) in [
            ("receiver", receiver.listen, &self.certificates.receiver),
            ("admin", admin.listen, &self.certificates.admin),
        ] {
            if !is_loopback(listen) && tls.is_none() {
                tracing::warn!(
                    "{name}.listen = \"{listen}\" is beyond loopback without TLS: credentials are \
                     sent as plain text; set {name}.tls, unless a proxy in front speaks TLS"
                );
            }
        }
    }

    /// Reads standard input or the command, where one is configured. Ends when the program is to
    /// end with it.
    fn follow_stdin(&self, stop: CancellationToken) -> Option<JoinHandle<()>> {
        let reading = self.reading.clone()?;
        let (settings, spool) = (self.config.stdin.clone(), self.spool.clone());
        Some(tokio::spawn(async move {
            let on_eof = settings.on_eof;
            receiver::stdin::run(settings, spool, reading, stop.clone()).await;
            if on_eof == OnEof::Serve {
                tracing::info!("standard input has ended; the listeners go on");
                stop.cancelled().await;
            }
        }))
    }
}

/// Returns when `task` has ended; never where there is none.
async fn ended(task: &mut Option<JoinHandle<()>>) {
    match task {
        Some(task) => {
            let _ = task.await;
        }
        None => std::future::pending().await,
    }
}

/// Waits until what was accepted is passed on: a while when told to end, as long as it takes when
/// the input has ended.
async fn settle<C: Consumer>(
    consumer: &C,
    ending: &Ending,
    patience: Duration,
    shutdown: impl Future<Output = ()>,
) {
    match ending {
        Ending::Told => {
            tracing::info!("told to end: {} what was accepted", C::DOING);
            if tokio::time::timeout(patience, consumer.settled()).await.is_err() {
                tracing::warn!("not all is {} yet; the spool keeps it for the next start", C::DONE);
            }
        }
        Ending::EndOfInput => {
            tracing::info!("standard input has ended: {} what was accepted", C::DOING);
            tokio::select! {
                () = consumer.settled() => {}
                () = shutdown => tracing::warn!("told to end; the spool keeps the rest"),
            }
        }
        Ending::Broken(reason) => tracing::error!(reason, "{} is broken", C::NAME),
    }
}
