//! A TCP proxy between two processes, by which a test cuts their connections in all the ways that a
//! network has.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::{AbortHandle, JoinSet},
};

/// What becomes of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// They work.
    Open,
    /// New ones are refused, old ones are closed.
    Refuse,
    /// New ones are reset as soon as they are there, and so are old ones.
    Reset,
    /// New ones are taken, and nothing is ever heard of them; in old ones, nothing goes on. When
    /// this is over, they go on as if nothing had been.
    Silent,
    /// What clients send arrives; answers do not.
    HalfOpen,
    /// Everything passes, drop by drop.
    Slow,
}

impl Mode {
    /// The ways in which something is wrong.
    pub const WRONG: [Self; 5] =
        [Self::Refuse, Self::Reset, Self::Silent, Self::HalfOpen, Self::Slow];

    fn closes(self) -> bool {
        matches!(self, Self::Refuse | Self::Reset)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToServer,
    ToClient,
}

impl Direction {
    fn is_open(self, mode: Mode) -> bool {
        match mode {
            Mode::Open | Mode::Slow => true,
            Mode::HalfOpen => self == Self::ToServer,
            Mode::Refuse | Mode::Reset | Mode::Silent => false,
        }
    }
}

/// How much passes at a time where it is slow, and how long that takes.
const DROP: (usize, Duration) = (2048, Duration::from_millis(20));

/// See the [module](self). Dropping it closes all of its connections.
pub struct Proxy {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
    lost: watch::Sender<()>,
    task: AbortHandle,
}

impl Proxy {
    /// A proxy of the server that listens at this port of 127.0.0.1.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn start(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (mode, modes) = watch::channel(Mode::Open);
        let lost = watch::Sender::new(());
        let route = Route {
            server: SocketAddr::from(([127, 0, 0, 1], server)),
            modes,
            lost: lost.subscribe(),
        };
        let task = tokio::spawn(serve(listener, route)).abort_handle();
        Self { address, mode, lost, task }
    }

    /// Where clients connect, on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// From now on.
    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// Forgets the connections that are there, as a firewall does that was started again: they stay
    /// open, and nothing is ever heard of them. New ones work.
    pub fn lose_connections(&self) {
        self.lost.send_replace(());
    }
}

/// What a connection goes by.
#[derive(Clone)]
struct Route {
    server: SocketAddr,
    modes: watch::Receiver<Mode>,
    lost: watch::Receiver<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, mut route: Route) {
    let address = listener.local_addr().unwrap();
    let mut listener = Some(listener);
    let mut connections = JoinSet::new();
    loop {
        let refuses = *route.modes.borrow_and_update() == Mode::Refuse;
        match (refuses, &listener) {
            (true, _) => listener = None,
            (false, None) => listener = TcpListener::bind(address).await.ok(),
            (false, Some(_)) => {}
        }
        let accepted = async {
            match &listener {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = route.modes.changed() => if changed.is_err() { return },
            Ok((client, _)) = accepted => {
                let mut route = route.clone();
                route.lost.mark_unchanged();
                connections.spawn(connect(client, route));
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

/// Passes on what one connection brings, until it ends or is to be closed.
async fn connect(client: TcpStream, route: Route) {
    let Route { server, mut modes, mut lost } = route;
    // Where nothing is heard, nobody knows whether there is a server.
    let Ok(mode) = modes.wait_for(|mode| *mode != Mode::Silent).await.map(|mode| *mode) else {
        return;
    };
    let server = if mode.closes() { None } else { TcpStream::connect(server).await.ok() };
    let Some(server) = server else { return end(&client, mode) };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let mut closing = modes.clone();
    tokio::select! {
        _ = pass(&mut from_client, &mut to_server, Direction::ToServer, modes.clone()) => {}
        _ = pass(&mut from_server, &mut to_client, Direction::ToClient, modes.clone()) => {}
        () = async { drop(closing.wait_for(|mode| mode.closes()).await) } => {}
        // Both ends stay open.
        Ok(()) = lost.changed() => std::future::pending().await,
    }
    let mode = *modes.borrow();
    if mode == Mode::Reset {
        end(from_client.as_ref(), mode);
        end(from_server.as_ref(), mode);
        // Dropped, they would announce an orderly end.
        to_client.forget();
        to_server.forget();
    }
}

/// What follows is a reset instead of an orderly end, where that is wanted.
fn end(stream: &TcpStream, mode: Mode) {
    if mode == Mode::Reset {
        let _ = stream.set_zero_linger();
    }
}

async fn pass(
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    direction: Direction,
    mut modes: watch::Receiver<Mode>,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let is_open = |mode: &Mode| direction.is_open(*mode);
        let mode = *modes.wait_for(is_open).await.map_err(io::Error::other)?;
        let most = if mode == Mode::Slow { DROP.0 } else { buffer.len() };
        let read = tokio::select! {
            read = from.read(&mut buffer[..most]) => read?,
            _ = modes.changed() => continue,
        };
        if read == 0 {
            return Ok(());
        }
        if mode == Mode::Slow {
            tokio::time::sleep(DROP.1).await;
        }
        // What was read when it became silent waits until that is over.
        modes.wait_for(is_open).await.map_err(io::Error::other)?;
        to.write_all(&buffer[..read]).await?;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_millis(300);

    /// A server that sends back what it gets.
    async fn echo() -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        port
    }

    /// What comes back of a byte, if anything does.
    async fn exchange(stream: &mut TcpStream) -> Option<io::Result<u8>> {
        let exchanged = async {
            stream.write_all(b"x").await?;
            stream.read_u8().await
        };
        timeout(SOON, exchanged).await.ok()
    }

    #[tokio::test]
    async fn connections_are_as_they_are_wanted() {
        let proxy = Proxy::start(echo().await).await;
        let connect = || TcpStream::connect(proxy.address);
        let mut stream = connect().await.unwrap();
        for mode in [Mode::Open, Mode::Slow] {
            proxy.set(mode);
            assert_eq!(exchange(&mut stream).await.unwrap().unwrap(), b'x');
        }
        for mode in [Mode::Silent, Mode::HalfOpen] {
            proxy.set(mode);
            assert!(exchange(&mut stream).await.is_none(), "{mode:?}");
            let mut new = connect().await.unwrap();
            assert!(exchange(&mut new).await.is_none(), "{mode:?}");
        }
        proxy.set(Mode::Open);
        let mut late = [0; 2];
        timeout(SOON, stream.read_exact(&mut late)).await.unwrap().unwrap();
        assert_eq!(&late, b"xx", "what was silent goes on");
        let mut lost = connect().await.unwrap();
        assert!(exchange(&mut lost).await.is_some());
        proxy.lose_connections();
        assert!(exchange(&mut lost).await.is_none());
        let mut stream = connect().await.unwrap();
        assert_eq!(exchange(&mut stream).await.unwrap().unwrap(), b'x');
        proxy.set(Mode::Refuse);
        assert!(timeout(SOON, stream.read_u8()).await.unwrap().is_err(), "closed");
        let refused = async { while connect().await.is_ok() {} };
        timeout(SOON, refused).await.unwrap();
        proxy.set(Mode::Open);
        let stream = &mut crate::eventually("it listens again", connect).await;
        assert_eq!(exchange(stream).await.unwrap().unwrap(), b'x');
        proxy.set(Mode::Reset);
        let error = timeout(SOON, stream.read_u8()).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
}
