//! HTTP byte by byte: requests that no well-behaved client would send.

use std::{io::Write, net::SocketAddr, time::Duration};

use flate2::{Compression, write::GzEncoder};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::PATIENCE;

/// Sends `request` as it is; gives what is answered until the peer closes the connection.
///
/// # Panics
/// When the connection is still open after [`PATIENCE`].
pub async fn exchange(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The peer may have answered and closed before it has read everything.
    let _ = stream.write_all(request).await;
    read_to_end(&mut stream, PATIENCE).await.expect("the connection is closed in time")
}

/// Everything that `stream` gives until it is closed; `None` when that takes longer than `limit`.
pub async fn read_to_end(stream: &mut TcpStream, limit: Duration) -> Option<String> {
    let mut answer = Vec::new();
    // A reset is an end too: it says that not all was read of what was sent.
    let read = tokio::time::timeout(limit, stream.read_to_end(&mut answer)).await;
    read.is_ok().then(|| String::from_utf8_lossy(&answer).into_owned())
}

/// The status of an answer.
///
/// # Panics
/// When it has none.
#[must_use]
pub fn status_of(answer: &str) -> u16 {
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.unwrap_or_else(|| panic!("no HTTP answer: {answer:?}"))
}

/// `body` in chunks of `size` bytes, with the last chunk.
#[must_use]
pub fn chunked(body: &[u8], size: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for chunk in body.chunks(size) {
        out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\n\r\n");
    out
}

/// # Panics
/// Never: writing to memory does not fail.
#[must_use]
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
