//! TLS for the listeners: rustls, TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1.
//!
//! The files are looked at every few seconds, as whoever renews certificates only writes files. A new
//! pair holds for the connections from then on; one that cannot be used is warned of and counted,
//! and the old one stays.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use faultline_actors::{adapters::clock, domain::time::Micros};
use metrics::{counter, gauge};
use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};
use serde::{Deserialize, Serialize};
use tokio_rustls::TlsAcceptor;
use x509_cert::der::Decode;

use crate::config::ConfigError;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// A certificate that expires sooner should have been renewed.
const EXPIRES_SOON: Duration = Duration::from_hours(14 * 24);
/// No certificate is larger, and none is read that is.
const LARGEST_FILE: u64 = 1 << 20;

/// Section `[receiver.tls]` or `[admin.tls]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// PEM of the certificate and those between it and the authority; empty: no TLS.
    pub certificate_file: PathBuf,
    /// PEM of its key.
    pub key_file: PathBuf,
}

impl Settings {
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.certificate_file.as_os_str().is_empty()
    }

    /// # Errors
    /// Names the key, and what would be right.
    pub fn validate(&self) -> Result<(), String> {
        if self.is_on() == self.key_file.as_os_str().is_empty() {
            return Err("tls: certificate_file and key_file belong together".to_owned());
        }
        Ok(())
    }
}

/// The files, as they were read.
#[derive(PartialEq, Eq)]
struct Files {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Files {
    fn read(settings: &Settings) -> Result<Self, String> {
        let read = |key: &str, path: &Path| {
            let problem = |error: String| format!("tls.{key} = \"{}\": {error}", path.display());
            let size = fs::metadata(path).map_err(|error| problem(error.to_string()))?.len();
            if size > LARGEST_FILE {
                return Err(problem(format!("a PEM file is needed, not one of {size} bytes")));
            }
            fs::read(path).map_err(|error| problem(error.to_string()))
        };
        Ok(Self {
            certificate: read("certificate_file", &settings.certificate_file)?,
            key: read("key_file", &settings.key_file)?,
        })
    }
}

/// A certificate with its key, and when it expires.
struct Pair {
    key: Arc<CertifiedKey>,
    expires_at: Micros,
}

impl Pair {
    fn of(files: &Files, settings: &Settings, provider: &CryptoProvider) -> Result<Self, String> {
        let of_certificate = |problem: String| {
            format!("tls.certificate_file = \"{}\": {problem}", settings.certificate_file.display())
        };
        let of_key = |problem: String| {
            format!("tls.key_file = \"{}\": {problem}", settings.key_file.display())
        };
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&files.certificate)
            .collect::<Result<_, _>>()
            .map_err(|error| of_certificate(error.to_string()))?;
        let first = chain
            .first()
            .ok_or_else(|| of_certificate("no certificate in PEM is in it".to_owned()))?;
        let first = x509_cert::Certificate::from_der(first)
            .map_err(|error| of_certificate(format!("it is no X.509 certificate: {error}")))?;
        let seconds = first.tbs_certificate.validity.not_after.to_unix_duration().as_secs();
        let expires_at = Micros::try_from(seconds).unwrap_or(0).saturating_mul(1_000_000);
        // The error never shows the key itself.
        let key = PrivateKeyDer::from_pem_slice(&files.key)
            .map_err(|_| of_key("a private key in PEM is needed, without a password".to_owned()))?;
        let key = CertifiedKey::from_der(chain, key, provider).map_err(|error| {
            of_key(format!("it does not belong to tls.certificate_file: {error}"))
        })?;
        Ok(Self { key: Arc::new(key), expires_at })
    }
}

/// What a listener speaks TLS with.
pub struct Tls {
    /// Whose it is; a label of metrics.
    listener: &'static str,
    settings: Settings,
    current: Arc<Current>,
    config: Arc<ServerConfig>,
    provider: Arc<CryptoProvider>,
}

/// The certificates of both listeners, where they have any.
#[derive(Clone, Default)]
pub struct Certificates {
    pub receiver: Option<Arc<Tls>>,
    pub admin: Option<Arc<Tls>>,
}

impl Certificates {
    /// # Errors
    /// Names the keys whose files cannot be used, and why.
    pub fn load(receiver: &Settings, admin: &Settings) -> Result<Self, ConfigError> {
        match (Tls::load("receiver", receiver), Tls::load("admin", admin)) {
            (Ok(receiver), Ok(admin)) => Ok(Self { receiver, admin }),
            (receiver, admin) => {
                Err(ConfigError([receiver.err(), admin.err()].into_iter().flatten().collect()))
            }
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Tls>> {
        [&self.receiver, &self.admin].into_iter().flatten()
    }

    /// Takes up new files of both; never returns.
    pub(crate) async fn watch(self) {
        let watch = async |tls: Option<Arc<Tls>>| match tls {
            Some(tls) => tls.watch().await,
            None => std::future::pending().await,
        };
        tokio::join!(watch(self.receiver), watch(self.admin));
    }
}

/// The pair that holds at present.
struct Current(RwLock<Pair>);

impl Current {
    fn read<T>(&self, work: impl FnOnce(&Pair) -> T) -> T {
        work(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Current {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Current(***)")
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.read(|pair| pair.key.clone()))
    }
}

impl Tls {
    /// Reads the files; `None` where there are none to read.
    ///
    /// # Errors
    /// Names the key whose file cannot be used, and why.
    pub fn load(listener: &'static str, settings: &Settings) -> Result<Option<Arc<Self>>, String> {
        if !settings.is_on() {
            return Ok(None);
        }
        let named = |problem: String| format!("{listener}.{problem}");
        let provider = Arc::new(aws_lc_rs::default_provider());
        let files = Files::read(settings).map_err(named)?;
        let pair = Pair::of(&files, settings, &provider).map_err(named)?;
        show_expiry(listener, &pair);
        let current = Arc::new(Current(RwLock::new(pair)));
        let mut config = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(|error| named(error.to_string()))?
            .with_no_client_auth()
            .with_cert_resolver(current.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let settings = settings.clone();
        Ok(Some(Arc::new(Self { listener, settings, current, config: config.into(), provider })))
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        self.config.clone().into()
    }

    /// Takes up what is new in the files; never returns.
    pub(crate) async fn watch(&self) {
        // What was read last, good or bad: the same is not warned of again.
        let mut last = None;
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        loop {
            ticks.tick().await;
            let settings = self.settings.clone();
            let read = tokio::task::spawn_blocking(move || Files::read(&settings)).await;
            let Ok(read) = read else { continue };
            if last.as_ref() == Some(&read) {
                continue;
            }
            let is_first = last.is_none();
            let new = read.as_ref().map_err(Clone::clone);
            let new = new.and_then(|files| Pair::of(files, &self.settings, &self.provider));
            last = Some(read);
            self.take_up(new, is_first);
        }
    }

    fn take_up(&self, new: Result<Pair, String>, is_first: bool) {
        let listener = self.listener;
        let pair = match new {
            Ok(pair) => pair,
            Err(problem) => {
                counter!("faultline_tls_reloads_total", "listener" => listener, "outcome" => "failed")
                    .increment(1);
                tracing::warn!("{listener}.{problem}; the certificate from before is still used");
                return;
            }
        };
        show_expiry(listener, &pair);
        let is_same = self.current.read(|current| current.key.cert == pair.key.cert);
        *self.current.0.write().unwrap_or_else(PoisonError::into_inner) = pair;
        if !(is_first && is_same) {
            counter!("faultline_tls_reloads_total", "listener" => listener, "outcome" => "loaded")
                .increment(1);
            tracing::info!(listener, "a new certificate is used");
        }
    }

    /// Whose certificate it is.
    pub(crate) fn listener(&self) -> &'static str {
        self.listener
    }

    /// When the certificate expires.
    pub(crate) fn expires_at(&self) -> Micros {
        self.current.read(|pair| pair.expires_at)
    }

    /// What should be done about the certificate, if anything.
    pub(crate) fn warning(&self) -> Option<String> {
        warning(self.expires_at(), clock::now())
    }
}

fn show_expiry(listener: &'static str, pair: &Pair) {
    gauge!("faultline_tls_certificate_expires_timestamp_seconds", "listener" => listener)
        .set(pair.expires_at as f64 / 1e6);
    for outcome in ["loaded", "failed"] {
        // There from the start, so that the first time is seen as a rise.
        counter!("faultline_tls_reloads_total", "listener" => listener, "outcome" => outcome)
            .increment(0);
    }
}

fn warning(expires_at: Micros, now: Micros) -> Option<String> {
    const HOUR: i64 = 3_600_000_000;
    let hours = (expires_at - now) / HOUR;
    let soon = i64::try_from(EXPIRES_SOON.as_secs() / 3_600).unwrap_or(i64::MAX);
    match hours {
        _ if expires_at <= now => Some("the certificate has expired".to_owned()),
        hours if hours < 48 => Some(format!("the certificate expires in {hours} hours")),
        hours if hours < soon => Some(format!("the certificate expires in {} days", hours / 24)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_expires_soon_is_warned_of() {
        const DAY: i64 = 86_400_000_000;
        for (days, warned) in [
            (-1, Some("the certificate has expired")),
            (0, Some("the certificate has expired")),
            (1, Some("the certificate expires in 24 hours")),
            (13, Some("the certificate expires in 13 days")),
            (14, None),
            (90, None),
        ] {
            assert_eq!(warning(1_000 * DAY + days * DAY, 1_000 * DAY).as_deref(), warned);
        }
    }
}
