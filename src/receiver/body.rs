//! Reading a request's body: bounded in bytes and time, decompressed, within a budget of memory
//! that all requests share.

use std::{
    io::{self, Read},
    sync::Arc,
    time::Duration,
};

use axum::{body::Body, http::HeaderMap};
use bytes::{Bytes, BytesMut};
use flate2::bufread::MultiGzDecoder;
use http_body_util::BodyExt;
use hyper::body::Body as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The unit of the budget.
const UNIT: usize = 1 << 10;

/// So many times the limit of a body is read of one that is refused.
const DISCARDED: usize = 4;
/// How long a client whose request is refused may go on sending.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);

/// Bounds of one body, and the budget of all.
pub(super) struct Bounds {
    pub limit: usize,
    pub timeout: Duration,
    pub budget: Arc<Semaphore>,
}

/// A body, with its share of the budget.
struct Received {
    bytes: Bytes,
    share: Option<OwnedSemaphorePermit>,
}

/// What the bytes of a body own together with its memory.
struct Held {
    bytes: Bytes,
    _share: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Received {
    /// The bytes, which give back the share when the last of them is dropped, wherever that is.
    fn hold(self) -> Bytes {
        match self.share {
            Some(share) => Bytes::from_owner(Held { bytes: self.bytes, _share: share }),
            None => self.bytes,
        }
    }
}

/// Why a body was not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    #[error("the body did not arrive within {0:?}")]
    TimedOut(Duration),
    #[error("too many requests are being received")]
    Overloaded,
    #[error("the body could not be read: {0}")]
    Broken(String),
    #[error("content-encoding {0:?} is not supported: gzip or none is")]
    Encoding(String),
    #[error("the body is not valid gzip: {0}")]
    Gzip(io::Error),
}

impl Bounds {
    #[must_use]
    pub(super) fn new(limit: usize, timeout: Duration, budget: usize) -> Self {
        Self { limit, timeout, budget: Arc::new(Semaphore::new(budget / UNIT)) }
    }

    /// Reads a whole body. Its share of the budget is taken for as long as its bytes are there.
    ///
    /// # Errors
    /// When it is too large, too slow, broken, or beyond the budget.
    pub(super) async fn read(
        &self,
        headers: &HeaderMap,
        body: &mut Body,
    ) -> Result<Bytes, BodyError> {
        let is_gzip = is_gzip(headers)?;
        let announced = body.size_hint().exact();
        if announced.is_some_and(|length| length > self.limit as u64) {
            return Err(BodyError::TooLarge(self.limit));
        }
        let received = tokio::time::timeout(self.timeout, self.collect(announced, body))
            .await
            .map_err(|_| BodyError::TimedOut(self.timeout))??;
        let received = if is_gzip { self.decompress(received)? } else { received };
        Ok(received.hold())
    }

    /// Reads on and keeps nothing. A connection that is closed while its client still sends is
    /// reset, and the client may never see the answer.
    pub(super) async fn discard(&self, body: &mut Body) {
        let until_enough = async {
            let mut length = 0;
            while length < self.limit.saturating_mul(DISCARDED) {
                let Some(Ok(frame)) = body.frame().await else { return };
                length += frame.data_ref().map_or(0, Bytes::len);
            }
        };
        let _ = tokio::time::timeout(self.timeout.min(DISCARD_TIMEOUT), until_enough).await;
    }

    async fn collect(
        &self,
        announced: Option<u64>,
        body: &mut Body,
    ) -> Result<Received, BodyError> {
        let announced = usize::try_from(announced.unwrap_or(0)).unwrap_or(self.limit);
        let mut share = self.take(announced)?;
        let mut first = Bytes::new();
        let mut all: Option<BytesMut> = None;
        let (mut length, mut uncounted) = (0, 0);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| BodyError::Broken(error.to_string()))?;
            let Ok(data) = frame.into_data() else { continue };
            length += data.len();
            if length > self.limit {
                return Err(BodyError::TooLarge(self.limit));
            }
            if length > announced {
                // A chunked body says nothing of its length: it takes its share as it grows.
                uncounted += data.len();
                merge(&mut share, self.take_whole(&mut uncounted)?);
            }
            // Most bodies are one piece, which need not be copied.
            match &mut all {
                None if first.is_empty() => first = data,
                None => {
                    let mut joined = BytesMut::with_capacity(announced.max(length * 2));
                    joined.extend_from_slice(&first);
                    joined.extend_from_slice(&data);
                    all = Some(joined);
                }
                Some(joined) => joined.extend_from_slice(&data),
            }
        }
        Ok(Received { bytes: all.map_or(first, BytesMut::freeze), share })
    }

    /// A share of the budget for `bytes`; small bodies go without.
    fn take(&self, bytes: usize) -> Result<Option<OwnedSemaphorePermit>, BodyError> {
        let units = u32::try_from(bytes / UNIT).unwrap_or(u32::MAX);
        if units == 0 {
            return Ok(None);
        }
        let permit = self.budget.clone().try_acquire_many_owned(units);
        permit.map(Some).map_err(|_| BodyError::Overloaded)
    }

    /// A share for the whole units of `uncounted`, which keeps the rest: however small the pieces
    /// are in which a body comes, it is counted.
    fn take_whole(&self, uncounted: &mut usize) -> Result<Option<OwnedSemaphorePermit>, BodyError> {
        let share = self.take(*uncounted)?;
        *uncounted %= UNIT;
        Ok(share)
    }

    fn decompress(&self, received: Received) -> Result<Received, BodyError> {
        const STEP: usize = 64 << 10;
        let mut share = received.share;
        let mut decoder = MultiGzDecoder::new(received.bytes.as_ref());
        let mut out = Vec::new();
        let mut uncounted = 0;
        let mut piece = vec![0; STEP];
        loop {
            match decoder.read(&mut piece).map_err(BodyError::Gzip)? {
                0 => break,
                read if out.len() + read > self.limit => {
                    return Err(BodyError::TooLarge(self.limit));
                }
                read => {
                    uncounted += read;
                    merge(&mut share, self.take_whole(&mut uncounted)?);
                    out.extend_from_slice(&piece[..read]);
                }
            }
        }
        Ok(Received { bytes: out.into(), share })
    }
}

fn merge(share: &mut Option<OwnedSemaphorePermit>, more: Option<OwnedSemaphorePermit>) {
    match (share.as_mut(), more) {
        (Some(share), Some(more)) => share.merge(more),
        (None, Some(more)) => *share = Some(more),
        (_, None) => {}
    }
}

fn is_gzip(headers: &HeaderMap) -> Result<bool, BodyError> {
    let mut is_gzip = false;
    for value in headers.get_all(axum::http::header::CONTENT_ENCODING) {
        let value = value.to_str().unwrap_or("?").trim();
        let is_repeated = is_gzip;
        match value.to_ascii_lowercase().as_str() {
            "identity" | "" => {}
            "gzip" | "x-gzip" if !is_repeated => is_gzip = true,
            _ => return Err(BodyError::Encoding(value.to_owned())),
        }
    }
    Ok(is_gzip)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use axum::http::HeaderValue;
    use flate2::{Compression, write::GzEncoder};
    use futures_util::stream;

    use super::*;

    fn bounds() -> Bounds {
        Bounds::new(100_000, Duration::from_secs(5), 300_000)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn encoding(value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(
            axum::http::header::CONTENT_ENCODING,
            HeaderValue::from_static(value),
        )])
    }

    async fn read(headers: &HeaderMap, body: impl Into<Body>) -> Result<Bytes, BodyError> {
        bounds().read(headers, &mut body.into()).await
    }

    #[tokio::test]
    async fn plain_and_gzip_bodies() {
        assert_eq!(read(&HeaderMap::new(), "text").await.unwrap(), "text");
        assert_eq!(read(&encoding("gzip"), gzip(b"text")).await.unwrap(), "text");
        let two_members = [gzip(b"one "), gzip(b"two")].concat();
        assert_eq!(read(&encoding("gzip"), two_members).await.unwrap(), "one two");
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_told() {
        let large = read(&HeaderMap::new(), vec![0; 100_001]).await;
        assert!(matches!(large, Err(BodyError::TooLarge(100_000))));
        let bomb = read(&encoding("gzip"), gzip(&vec![0; 10_000_000])).await;
        assert!(matches!(bomb, Err(BodyError::TooLarge(100_000))));
        assert!(matches!(read(&encoding("gzip"), "plain").await, Err(BodyError::Gzip(_))));
        let cut = gzip(&[7; 5_000]);
        let cut = cut[..cut.len() - 9].to_vec();
        assert!(matches!(read(&encoding("gzip"), cut).await, Err(BodyError::Gzip(_))));
        assert!(matches!(read(&encoding("br"), "x").await, Err(BodyError::Encoding(_))));
        assert!(matches!(read(&encoding("gzip, gzip"), "x").await, Err(BodyError::Encoding(_))));
    }

    #[tokio::test]
    async fn bodies_share_a_budget_and_give_it_back() {
        let bounds = bounds();
        let body = || Body::from(vec![0; 90_000]);
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(bounds.read(&HeaderMap::new(), &mut body()).await.unwrap());
        }
        let beyond = bounds.read(&HeaderMap::new(), &mut body()).await;
        assert!(matches!(beyond, Err(BodyError::Overloaded)));
        held.clear();
        bounds.read(&HeaderMap::new(), &mut body()).await.unwrap();
    }

    #[tokio::test]
    async fn bodies_in_small_pieces_take_their_share() {
        let bounds = Bounds::new(100_000, Duration::from_secs(5), 50_000);
        let pieces = |count: usize| {
            let piece = || Ok::<_, io::Error>(Bytes::from_static(&[0; 1_000]));
            Body::from_stream(stream::iter((0..count).map(move |_| piece())))
        };
        let beyond = bounds.read(&HeaderMap::new(), &mut pieces(90)).await;
        assert!(matches!(beyond, Err(BodyError::Overloaded)));
        let within = bounds.read(&HeaderMap::new(), &mut pieces(40)).await.unwrap();
        assert_eq!((within.len(), bounds.budget.available_permits()), (40_000, 9));
        drop(within);
        // Decompressed in pieces as small.
        let members = gzip(&[0; 1_000]).repeat(90);
        let beyond = bounds.read(&encoding("gzip"), &mut members.into()).await;
        assert!(matches!(beyond, Err(BodyError::Overloaded)));
        assert_eq!(bounds.budget.available_permits(), 48);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_ends_is_given_up() {
        let mut never = futures_body();
        let outcome = bounds().read(&HeaderMap::new(), &mut never).await;
        assert!(matches!(outcome, Err(BodyError::TimedOut(_))));
    }

    fn futures_body() -> Body {
        struct Never;
        impl hyper::body::Body for Never {
            type Data = Bytes;
            type Error = io::Error;
            fn poll_frame(
                self: std::pin::Pin<&mut Self>,
                _: &mut std::task::Context<'_>,
            ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, io::Error>>> {
                std::task::Poll::Pending
            }
        }
        Body::new(Never)
    }
}
