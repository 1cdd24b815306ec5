//! Listening sockets that whoever started the program opened before: systemd's socket activation
//! (`LISTEN_FDS`, `sd_listen_fds(3)`).
//!
//! Such a socket outlives the process. While it is restarted, connections are made all the same,
//! wait in the kernel's queue, and are served by the next process.

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

use listenfd::ListenFd;

/// See the [module](self).
#[derive(Debug, Default)]
pub struct Sockets(Vec<TcpListener>);

impl Sockets {
    /// Takes what was handed over out of the environment, so that no child process gets it. Only
    /// while there is one thread: another one could be reading the environment.
    ///
    /// # Errors
    /// When it is no listening socket of TCP.
    pub fn take() -> io::Result<Self> {
        let mut given = ListenFd::from_env();
        let mut sockets = Vec::new();
        for index in 0..given.len() {
            sockets.extend(given.take_tcp_listener(index)?);
        }
        Ok(Self(sockets))
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The one that is bound to `address`. Which socket is which is said by nothing else, so that a
    /// listener never is anywhere but where its settings were checked for.
    pub fn bound_to(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let is_bound =
            |socket: &TcpListener| socket.local_addr().is_ok_and(|bound| bound == address);
        let index = self.0.iter().position(is_bound)?;
        Some(self.0.swap_remove(index))
    }

    /// Where those are bound that nobody wanted.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        let shown = |socket: &TcpListener| match socket.local_addr() {
            Ok(address) => address.to_string(),
            Err(error) => error.to_string(),
        };
        self.0.iter().map(shown).collect()
    }
}
