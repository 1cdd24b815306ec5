//! How the server is reached, and TLS to it, by the words of libpq's connection URL.
//!
//! `sslmode=disable`, `prefer` (the default: TLS where the server offers it), `require` (TLS, the
//! certificate not checked: as in libpq, against eavesdroppers only) and `verify-full` (TLS, the
//! certificate must be of the host and of an authority that `sslrootcert=FILE` or else the system
//! trusts). See PostgreSQL's documentation, "SSL Support", table "SSL Mode Descriptions".

use std::{path::Path, str::FromStr, sync::Arc};

use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{self, CryptoProvider},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

/// Splits what tokio-postgres does not know from the URL.
///
/// # Errors
/// Says what of the URL is wrong, without its password.
pub(super) fn parse(url: &str) -> Result<(tokio_postgres::Config, MakeRustlsConnect), String> {
    let (address, query) = url.split_once('?').unwrap_or((url, ""));
    let (mut mode, mut root) = ("prefer", None);
    let mut others = Vec::new();
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        match parameter.split_once('=') {
            Some(("sslmode", value)) => mode = value,
            Some(("sslrootcert", value)) => root = Some(value),
            _ => others.push(parameter),
        }
    }
    let url = format!("{address}?{}", others.join("&"));
    let mut config = tokio_postgres::Config::from_str(url.trim_end_matches('?'))
        .map_err(|error| super::chain(&error))?;
    let is_checked = match mode {
        "disable" | "prefer" | "require" => false,
        "verify-full" => true,
        _ => {
            return Err(format!(
                "sslmode={mode}: disable, prefer, require or verify-full is needed"
            ));
        }
    };
    config.ssl_mode(match mode {
        "disable" => SslMode::Disable,
        "prefer" => SslMode::Prefer,
        _ => SslMode::Require,
    });
    let provider = Arc::new(crypto::aws_lc_rs::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = if is_checked {
        trusted(root.map(Path::new), &provider)?
    } else {
        Arc::new(Unverified(provider.clone()))
    };
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Ok((config, MakeRustlsConnect::new(tls)))
}

/// Trusts the authorities in `root`, or those that the system trusts.
fn trusted(
    root: Option<&Path>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, String> {
    let Some(path) = root else {
        let verifier = rustls_platform_verifier::Verifier::new(provider.clone());
        return Ok(Arc::new(verifier.map_err(|error| error.to_string())?));
    };
    let unreadable = |problem: String| format!("sslrootcert={}: {problem}", path.display());
    let mut roots = RootCertStore::empty();
    let certificates =
        CertificateDer::pem_file_iter(path).map_err(|error| unreadable(error.to_string()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| unreadable(error.to_string()))?;
        roots.add(certificate).map_err(|error| unreadable(error.to_string()))?;
    }
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
    Ok(verifier.map_err(|error| unreadable(error.to_string()))?)
}

/// Takes any certificate whose key the server holds.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_libpq_are_understood() {
        let mode = |url: &str| parse(url).map(|(config, _)| config.get_ssl_mode());
        assert_eq!(mode("postgres://u:p@h/d"), Ok(SslMode::Prefer));
        assert_eq!(mode("postgres://u:p@h/d?sslmode=disable"), Ok(SslMode::Disable));
        assert_eq!(
            mode("postgres://u:p@h/d?connect_timeout=3&sslmode=require"),
            Ok(SslMode::Require)
        );
        assert_eq!(mode("postgres://u:p@h/d?sslmode=verify-full"), Ok(SslMode::Require));
        let problem = |url: &str| parse(url).map(drop).unwrap_err();
        assert!(problem("postgres://u:p@h/d?sslmode=on").starts_with("sslmode=on: disable,"));
        let missing = problem("postgres://u:p@h/d?sslmode=verify-full&sslrootcert=/no/such.pem");
        assert!(missing.starts_with("sslrootcert=/no/such.pem: "), "{missing}");
        assert!(!problem("postgres://u:secret@h:port/d").contains("secret"));
    }
}
