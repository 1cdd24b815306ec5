//! Takes data in. The promise: a client hears 2xx only after its body is durable in the spool
//! (`receiver.ack = "durable"`); what cannot be kept is refused with a status that makes the client
//! try again.
//!
//! ```text
//! http   POST /logdrains, /errors/log, /maxwell ─┐
//! stdin  Maxwell's lines, or a child's           ┴─ append ──▶ spool
//! http   POST /webhooks/jira ──▶ store
//! ```

use std::{net::SocketAddr, time::Duration};

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

use self::auth::Drain;
use crate::{config::is_loopback, secret::Secret, server::check_connections, tls};

pub mod auth;
mod body;
pub mod http;
pub mod jira;
pub mod keeper;
pub mod stdin;

/// Section `[receiver]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    pub listen: SocketAddr,
    pub ack: Ack,
    /// Largest body, also after decompression.
    pub body_limit: ByteSize,
    /// Bytes of all bodies being received, or waiting for the spool's writer, at one time.
    pub inflight_limit: ByteSize,
    pub connections: usize,
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub header_timeout: Duration,
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub body_timeout: Duration,
    /// How long a request may wait for the spool before it is told to come again.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub append_timeout: Duration,
    /// What `Retry-After` says.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub retry_after: Duration,
    /// How long connections are still taken when the program was told to end, and is not ready any
    /// more: a balancer in front must notice within this time.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub linger: Duration,
    /// Bearer token (or `X-API-Key`) for everything but log drains; empty for none.
    pub token: Secret,
    pub tls: tls::Settings,
    /// Who may send log drains; empty for everybody.
    pub drains: Vec<Drain>,
}

/// When a client is told that its data is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ack {
    /// After the spool has it on disk.
    Durable,
    /// When it has arrived. A crash loses what was on its way to the disk.
    Received,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 3001)),
            ack: Ack::Durable,
            body_limit: ByteSize::mib(10),
            inflight_limit: ByteSize::mib(24),
            connections: 5_000,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            append_timeout: Duration::from_secs(4),
            retry_after: Duration::from_secs(5),
            linger: Duration::ZERO,
            token: Secret::default(),
            tls: tls::Settings::default(),
            drains: Vec::new(),
        }
    }
}

impl Settings {
    /// # Errors
    /// Names the key, and what would be right.
    pub fn validate(&self) -> Result<(), String> {
        if self.body_limit.as_u64() == 0 {
            return Err("body_limit = \"0 B\": at least one byte is needed".to_owned());
        }
        if self.inflight_limit.as_u64() < self.body_limit.as_u64().saturating_mul(2) {
            return Err(format!(
                "inflight_limit = \"{}\": at least twice body_limit (\"{}\") is needed",
                self.inflight_limit, self.body_limit
            ));
        }
        check_connections(self.connections)?;
        for (name, timeout) in [
            ("header_timeout", self.header_timeout),
            ("body_timeout", self.body_timeout),
            ("append_timeout", self.append_timeout),
        ] {
            if timeout.is_zero() {
                return Err(format!("{name} = \"0s\": more than zero is needed"));
            }
        }
        self.tls.validate()?;
        auth::check_token("token", &self.token)?;
        for (index, drain) in self.drains.iter().enumerate() {
            drain.validate().map_err(|problem| format!("drains[{index}].{problem}"))?;
        }
        let is_open = self.drains.is_empty() || self.token.is_empty();
        if !is_loopback(self.listen) && is_open {
            return Err(format!(
                "listen = \"{}\": a listener beyond loopback needs authentication: \
                 [[receiver.drains]] and receiver.token",
                self.listen
            ));
        }
        Ok(())
    }
}
