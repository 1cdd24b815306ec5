//! What clients of other people's servers have in common.

use std::{net::IpAddr, time::Duration};

use reqwest::{Client, ClientBuilder, Url, redirect, retry};

/// A client that waits no longer than this, follows no redirect and repeats nothing: whether a
/// request may be sent again is for those to decide who know what it does. This machine is reached
/// without a proxy.
pub(super) fn client(base: &Url, connect: Duration, request: Duration) -> ClientBuilder {
    let client = Client::builder()
        .user_agent(concat!("faultline/", env!("CARGO_PKG_VERSION")))
        .timeout(request)
        .connect_timeout(connect)
        .redirect(redirect::Policy::none())
        .retry(retry::never());
    if is_loopback(base) { client.no_proxy() } else { client }
}

/// Whether the URL leads to this machine.
pub(super) fn is_loopback(url: &Url) -> bool {
    url.host_str().is_some_and(|host| {
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    })
}
