//! Serving HTTP: bounded connections, header time-out, graceful end. Both listeners use it.

use std::{
    convert::Infallible,
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
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

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

/// Serves until `shutdown`, then lets requests under way finish.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
) {
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
    let slots = Arc::new(Semaphore::new(limits.connections));
    let graceful = GracefulShutdown::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = async {
            let slot = slots.clone().acquire_owned().await.expect("never closed");
            (accept(&listener).await, slot)
        };
        let (stream, slot) = tokio::select! {
            accepted = accepted => accepted,
            () = &mut shutdown => break,
        };
        let open = Open::count(limits.listener);
        let has_asked = Arc::new(AtomicBool::new(false));
        let cut = Cut::default();
        let service = {
            let (router, has_asked, cut) = (router.clone(), has_asked.clone(), cut.clone());
            TowerToHyperService::new(router.map_request(move |request: Request<Incoming>| {
                has_asked.store(true, Ordering::Relaxed);
                let mut request = request.map(Body::new);
                request.extensions_mut().insert(cut.clone());
                request
            }))
        };
        let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
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
            drop((slot, open));
        });
    }
    drop(listener);
    if tokio::time::timeout(limits.finish_timeout, graceful.shutdown()).await.is_err() {
        tracing::warn!("some connections did not end in time");
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
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Answers are small and complete: waiting for more to send only delays them.
                let _ = stream.set_nodelay(true);
                return stream;
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
