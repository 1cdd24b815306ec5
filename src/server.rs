//! Serving HTTP: bounded connections, header time-out, graceful end. Both listeners use it.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Body, extract::Request};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{
        conn::auto,
        graceful::{GracefulShutdown, Watcher},
    },
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::tls::Tls;

/// Who sent a request: an extension of each. Behind a proxy it is the proxy.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// Bounds of a listener.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Whose bounds these are; a label of metrics.
    pub listener: &'static str,
    /// Connections at one time; more wait in the kernel's queue.
    pub connections: usize,
    /// A connection must have sent a whole header within this time.
    pub header_timeout: Duration,
    /// How long requests under way may take when the listener ends.
    pub finish_timeout: Duration,
}

/// More connections than any machine holds.
const MAX_CONNECTIONS: usize = 1_000_000;

/// # Errors
/// Names the key `connections`, and what would be right.
pub fn check_connections(connections: usize) -> Result<(), String> {
    if (1..=MAX_CONNECTIONS).contains(&connections) {
        return Ok(());
    }
    Err(format!("connections = {connections}: between 1 and {MAX_CONNECTIONS} are possible"))
}

/// The most header fields of a request, and the most bytes of them.
const MAX_HEADERS: usize = 100;
const MAX_HEADER_BYTES: usize = 16 << 10;

/// Serves until `shutdown`, then lets requests under way finish. With `tls` it speaks nothing else.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    tls: Option<Arc<Tls>>,
    shutdown: impl Future<Output = ()>,
) {
    let builder = Arc::new(builder(limits));
    let slots = Arc::new(Semaphore::new(limits.connections));
    let graceful = GracefulShutdown::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = async {
            let slot = slots.clone().acquire_owned().await.expect("never closed");
            (accept(&listener).await, slot)
        };
        let ((stream, peer), slot) = tokio::select! {
            accepted = accepted => accepted,
            () = &mut shutdown => break,
        };
        let open = Open::count(limits.listener);
        let connection = Connection {
            builder: builder.clone(),
            router: router.clone(),
            peer: Peer(peer),
            limits,
            watcher: graceful.watcher(),
        };
        let tls = tls.clone();
        tokio::spawn(async move {
            match tls {
                None => connection.serve(stream).await,
                Some(tls) => connection.serve_tls(stream, &tls).await,
            }
            drop((slot, open));
        });
    }
    drop(listener);
    if tokio::time::timeout(limits.finish_timeout, graceful.shutdown()).await.is_err() {
        tracing::warn!("some connections did not end in time");
    }
}

fn builder(limits: Limits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEADER_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(100)
        .max_header_list_size(u32::try_from(MAX_HEADER_BYTES).expect("a small number"))
        .keep_alive_interval(limits.header_timeout)
        .keep_alive_timeout(limits.header_timeout);
    builder
}

/// One connection, and what serves it.
struct Connection {
    builder: Arc<auto::Builder<TokioExecutor>>,
    router: Router,
    peer: Peer,
    limits: Limits,
    watcher: Watcher,
}

impl Connection {
    /// Serves once a handshake has succeeded, which may take as long as a header.
    async fn serve_tls(self, stream: TcpStream, tls: &Tls) {
        let handshake = tls.acceptor().accept(stream);
        let reason = match tokio::time::timeout(self.limits.header_timeout, handshake).await {
            Ok(Ok(stream)) => return self.serve(stream).await,
            Ok(Err(error)) => {
                tracing::debug!(%error, "a TLS handshake failed");
                "failed"
            }
            Err(_) => "timeout",
        };
        metrics::counter!(
            "faultline_tls_handshakes_failed_total",
            "listener" => self.limits.listener, "reason" => reason
        )
        .increment(1);
    }

    async fn serve<S>(self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Self { builder, router, peer, limits, watcher } = self;
        let has_asked = Arc::new(AtomicBool::new(false));
        let cut = Cut::default();
        let service = {
            let (has_asked, cut) = (has_asked.clone(), cut.clone());
            TowerToHyperService::new(router.map_request(move |mut request: Request<Incoming>| {
                has_asked.store(true, Ordering::Relaxed);
                request.extensions_mut().insert(peer);
                request.extensions_mut().insert(cut.clone());
                request.map(Body::new)
            }))
        };
        let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
        let connection = watcher.watch(connection);
        let served = async {
            let mut connection = std::pin::pin!(connection);
            // hyper times the header only once it knows the version, and waits for that for ever.
            match tokio::time::timeout(limits.header_timeout, &mut connection).await {
                Err(_) if !has_asked.load(Ordering::Relaxed) => Ok(()),
                Err(_) => connection.await,
                Ok(ended) => ended,
            }
        };
        let ended = tokio::select! {
            ended = served => ended,
            () = cut.0.cancelled() => Ok(()),
        };
        if let Err(error) = ended {
            // A client that goes away or sends no HTTP is its own affair.
            tracing::debug!(error, "a connection ended early");
        }
    }
}

/// Ends a request's connection, whatever it is at: an answer that the client does not take is waited
/// for as long as it is there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cut(CancellationToken);

impl Cut {
    pub(crate) fn cut(&self) {
        self.0.cancel();
    }

    #[cfg(test)]
    pub(crate) fn is_cut(&self) -> bool {
        self.0.is_cancelled()
    }
}

/// An open connection, as metrics count it.
struct Open {
    listener: &'static str,
}

impl Open {
    fn count(listener: &'static str) -> Self {
        metrics::counter!("faultline_http_connections_total", "listener" => listener).increment(1);
        metrics::gauge!("faultline_http_connections_open", "listener" => listener).increment(1.0);
        Self { listener }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        metrics::gauge!("faultline_http_connections_open", "listener" => self.listener)
            .decrement(1.0);
    }
}

/// Takes the next connection, whatever becomes of single ones.
async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Answers are small and complete: waiting for more to send only delays them.
                let _ = stream.set_nodelay(true);
                return (stream, peer);
            }
            // Out of file descriptors, most likely: connections that end will free some.
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// A router never fails; its answers say what is wrong.
const _: fn() = || {
    fn never_fails<S: tower::Service<Request, Error = Infallible>>() {}
    never_fails::<Router>();
};
