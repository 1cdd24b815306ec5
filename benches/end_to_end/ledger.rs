//! What the program says of itself on its admin listener.

use std::{
    fmt::Debug,
    io::{Read, Write},
    net::TcpStream,
    str::FromStr,
    time::{Duration, Instant},
};

use serde::Deserialize;

use crate::servers::Server;

/// A connection to the admin listener.
pub(crate) struct Admin(TcpStream);

/// One source's line of the ledger, in messages.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Line {
    pub(crate) received: u64,
    pub(crate) stored: u64,
    pub(crate) duplicate: u64,
    pub(crate) rejected: u64,
    pub(crate) in_flight: u64,
}

impl Admin {
    pub(crate) fn connect(server: &Server) -> Self {
        let stream = TcpStream::connect(server.admin).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    /// Waits until the program knows what its store has.
    pub(crate) fn of(server: &Server) -> Self {
        const PATIENCE: Duration = Duration::from_mins(1);
        let mut admin = Self::connect(server);
        let started = Instant::now();
        while admin.get("/api/ledger").is_none() {
            assert!(started.elapsed() < PATIENCE, "the store is not reached");
            std::thread::sleep(Duration::from_millis(10));
        }
        admin
    }

    pub(crate) fn ledger(&mut self, source: &str) -> Line {
        let mut ledger: serde_json::Value =
            serde_json::from_str(&self.get("/api/ledger").expect("it was there before")).unwrap();
        serde_json::from_value(ledger["sources"][source].take()).unwrap()
    }

    /// How many messages of relays are stored.
    pub(crate) fn handed_over(&mut self, source: &str) -> u64 {
        let text = self.get("/api/ledger").expect("it was there before");
        let ledger: serde_json::Value = serde_json::from_str(&text).unwrap();
        let origins = ledger["origins"].as_array().unwrap();
        origins.iter().filter_map(|origin| origin["sources"][source]["stored"].as_u64()).sum()
    }

    /// What is in the spool, in bytes.
    pub(crate) fn spool_bytes(&mut self) -> f64 {
        self.metric("faultline_spool_bytes ")
    }

    /// Commits so far.
    pub(crate) fn commits(&mut self) -> u64 {
        self.metric("faultline_store_operation_seconds_count{operation=\"commit\"} ")
    }

    /// Clients of the live stream.
    pub(crate) fn live_clients(&mut self) -> usize {
        self.metric("faultline_live_clients ")
    }

    /// The value behind this name; 0 where there is none.
    fn metric<T: FromStr<Err: Debug> + Default>(&mut self, name: &str) -> T {
        let text = self.get("/metrics").expect("open to everybody");
        let value = text.lines().find_map(|line| line.strip_prefix(name));
        value.map_or_else(T::default, |value| value.parse().unwrap())
    }

    /// The body of a 200; `None` for any other answer.
    fn get(&mut self, path: &str) -> Option<String> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        self.0.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        let mut piece = vec![0; 64 << 10];
        loop {
            let read = self.0.read(&mut piece).unwrap();
            assert!(read > 0, "the server closed the connection");
            answer.extend_from_slice(&piece[..read]);
            let Some(end) = memchr::memmem::find(&answer, b"\r\n\r\n") else { continue };
            let head = std::str::from_utf8(&answer[..end]).unwrap();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let body_end = end + 4 + length.map_or(0, |length| length.parse::<usize>().unwrap());
            if answer.len() >= body_end {
                let is_ok = head.starts_with("HTTP/1.1 200");
                return is_ok.then(|| String::from_utf8_lossy(&answer[end + 4..]).into_owned());
            }
        }
    }
}
