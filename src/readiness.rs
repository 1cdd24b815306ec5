//! `faultline health`: whether a running Faultline takes records. For containers and scripts, so that
//! they need no other program that speaks HTTP.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, bail};
use reqwest::Client;

use crate::config::Config;

/// Whoever asks gives up soon, too.
const PATIENCE: Duration = Duration::from_secs(4);

/// Asks the admin listener at `url`, or the configured one. Gives what it says when it is ready.
///
/// # Errors
/// When it cannot be reached, or is not ready.
pub(crate) async fn ask(url: Option<String>, config: &Config) -> anyhow::Result<String> {
    let is_ours = url.is_none();
    let url = url.unwrap_or_else(|| own_url(config));
    let url = format!("{}/readyz", url.trim_end_matches('/'));
    // Our certificate is for the name that others know us by, not for this machine's address; and
    // nothing secret is sent.
    let client =
        Client::builder().timeout(PATIENCE).danger_accept_invalid_certs(is_ours).no_proxy();
    let answer = client.build()?.get(&url).send().await;
    let answer = answer.map_err(reqwest::Error::without_url).with_context(|| url.clone())?;
    let status = answer.status();
    let text = answer.text().await.map_err(reqwest::Error::without_url)?;
    if !status.is_success() {
        bail!("{url}: {status}: {}", text.trim_end());
    }
    Ok(text)
}

/// The configured admin listener, as it is reached from this machine: by its address, since where
/// there is nothing else there is nobody to ask for `localhost` either.
fn own_url(config: &Config) -> String {
    let listen = config.admin.listen;
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    config.admin.url(SocketAddr::new(ip, listen.port()))
}
