//! Serving HTTP: bounded connections, header time-out, graceful end. Both listeners use it.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{HeaderValue, header::CONNECTION},
    response::Response,
};
use futures_util::FutureExt as _;
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
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

/// The two steps in which a listener ends.
#[derive(Clone, Debug, Default)]
pub struct Ends {
    /// Every answer ends its connection, so that clients come by another one, perhaps elsewhere.
    pub leaving: CancellationToken,
    /// Nobody is let in any more; requests under way finish. Comes after `leaving`.
    pub closed: CancellationToken,
}

/// How long a connection that was just made may take to ask, when the listener is closed: its
/// request is on the way. Who has asked before, and asks nothing now, is not waited for.
const FIRST_REQUEST: Duration = Duration::from_secs(1);

/// Connections that may wait in the kernel's queue, where `net.core.somaxconn` allows it: a queue
/// that is full makes clients wait for a second before they ask again.
const BACKLOG: u32 = 4096;

/// Opens a listening socket.
///
/// # Errors
/// When the address cannot be bound.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A socket of the process before us may still be closing.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
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

/// Files that are open beside connections: spool, store, Redis, Jira.
const OTHER_FILES: usize = 256;

/// Lets this process open as many files as it may, since each connection is one: what shells and
/// systemd begin with are 1024.
pub fn raise_open_files(connections: usize) {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files cannot be raised");
    }
    let possible = getrlimit(Resource::Nofile).current;
    let needed = connections + OTHER_FILES;
    if possible.is_some_and(|possible| possible < needed as u64) {
        tracing::warn!(
            possible,
            needed,
            "not as many files may be open as connections are configured: raise LimitNOFILE, or \
             lower receiver.connections"
        );
    }
}

/// The most header fields of a request, and the most bytes of them.
const MAX_HEADERS: usize = 100;
const MAX_HEADER_BYTES: usize = 16 << 10;

/// Serves until it is closed, then lets requests under way finish. With `tls` it speaks nothing else.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    tls: Option<Arc<Tls>>,
    ends: Ends,
) {
    let builder = Arc::new(builder(limits));
    let slots = Arc::new(Semaphore::new(limits.connections));
    let connections = TaskTracker::new();
    let take_in = |(stream, peer), slot| {
        let open = Open::count(limits.listener);
        let connection = Connection {
            builder: builder.clone(),
            router: router.clone(),
            peer: Peer(peer),
            limits,
            ends: ends.clone(),
        };
        let tls = tls.clone();
        connections.spawn(async move {
            match tls {
                None => connection.serve(stream).await,
                Some(tls) => connection.serve_tls(stream, &tls).await,
            }
            drop((slot, open));
        });
    };
    let next = async || {
        let slot = slots.clone().acquire_owned().await.expect("never closed");
        (accept(&listener).await, slot)
    };
    loop {
        tokio::select! {
            (accepted, slot) = next() => take_in(accepted, slot),
            () = ends.closed.cancelled() => break,
        }
    }
    // Who waits in the queue has connected: without the socket the kernel would reset them.
    for _ in 0..BACKLOG {
        // As many as wait: tokio would end the turn of a task after some.
        let next = tokio::task::unconstrained(next()).now_or_never();
        let Some((accepted, slot)) = next else { break };
        take_in(accepted, slot);
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(limits.finish_timeout, connections.wait()).await.is_err() {
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
    ends: Ends,
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
        let Self { builder, router, peer, limits, ends } = self;
        let has_asked = Arc::new(AtomicBool::new(false));
        let cut = Cut::default();
        let service = {
            let (has_asked, cut, leaving) = (has_asked.clone(), cut.clone(), ends.leaving.clone());
            let router = router.map_request(move |mut request: Request<Incoming>| {
                has_asked.store(true, Ordering::Relaxed);
                request.extensions_mut().insert(peer);
                request.extensions_mut().insert(cut.clone());
                request.map(Body::new)
            });
            TowerToHyperService::new(router.map_response(move |mut answer: Response| {
                if leaving.is_cancelled() {
                    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                answer
            }))
        };
        let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
        let served = async {
            let mut connection = std::pin::pin!(connection);
            let has_asked = || has_asked.load(Ordering::Relaxed);
            // hyper times the header only once it knows the version, and waits for that for ever.
            let in_time = async {
                tokio::time::sleep(limits.header_timeout).await;
                if has_asked() {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                ended = &mut connection => return ended,
                () = in_time => return Ok(()),
                () = ends.closed.cancelled() => {}
            }
            if !has_asked() {
                let first = tokio::time::timeout(FIRST_REQUEST, &mut connection);
                if let Ok(ended) = first.await {
                    return ended;
                }
            }
            connection.as_mut().graceful_shutdown();
            connection.await
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

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::TcpStream,
    };

    use axum::routing::get;

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn whoever_has_connected_before_it_closes_is_answered() {
        const CLIENTS: usize = 300;
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let mut clients: Vec<TcpStream> = Vec::new();
        for _ in 0..CLIENTS {
            let mut client = TcpStream::connect(address).unwrap();
            client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
            clients.push(client);
        }
        let second = Duration::from_secs(1);
        let limits = Limits {
            listener: "test",
            connections: CLIENTS,
            header_timeout: 10 * second,
            finish_timeout: 10 * second,
        };
        let ends = Ends::default();
        ends.leaving.cancel();
        ends.closed.cancel();
        serve(listener, Router::new().route("/", get(async || "well")), limits, None, ends).await;
        for mut client in clients {
            let mut answer = String::new();
            client.read_to_string(&mut answer).unwrap();
            assert!(answer.ends_with("well"), "{answer}");
        }
    }
}
