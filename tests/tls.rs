//! TLS on both listeners: what is spoken, new certificates, bad ones, and clients that speak none.

#![expect(clippy::unwrap_used, reason = "a failing test is told by a panic")]

use std::{fs, net::SocketAddr, sync::Arc, time::Duration};

use faultline_testkit::{
    PATIENCE, eventually,
    program::Program,
    tls::{Authority, Issued},
};
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Bytes};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ClientConfig, RootCertStore, SupportedProtocolVersion,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
    version::{TLS12, TLS13},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

#[path = "support/login.rs"]
mod login;

use login::{BINARY, PASSWORD, add_user};

const HOST: &str = "localhost";

fn with_tls(program: Program, listener: &str, issued: &Issued) -> Program {
    program
        .set(&format!("{listener}.tls.certificate_file"), &issued.certificate.display().to_string())
        .set(&format!("{listener}.tls.key_file"), &issued.key.display().to_string())
}

/// A client that trusts the authority alone.
struct Client {
    roots: RootCertStore,
}

impl Client {
    fn of(authority: &Authority) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(authority.file()).unwrap()).unwrap();
        Self { roots }
    }

    async fn connect(
        &self,
        to: SocketAddr,
        alpn: &str,
        version: &'static SupportedProtocolVersion,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth();
        config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
        let stream = TcpStream::connect(to).await?;
        let name = ServerName::try_from(HOST).unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }

    /// Sends a request in the given version of HTTP.
    async fn send(
        &self,
        to: SocketAddr,
        alpn: &str,
        version: &'static SupportedProtocolVersion,
        mut request: Request<Full<Bytes>>,
    ) -> Response<Bytes> {
        let stream = self.connect(to, alpn, version).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol().unwrap(), alpn.as_bytes());
        let io = TokioIo::new(stream);
        let answer = if alpn == "h2" {
            let uri = format!("https://{HOST}:{}{}", to.port(), request.uri().path());
            *request.uri_mut() = uri.parse().unwrap();
            let (mut send, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
            tokio::spawn(connection);
            send.send_request(request).await.unwrap()
        } else {
            let host = format!("{HOST}:{}", to.port()).parse().unwrap();
            request.headers_mut().insert("host", host);
            let (mut send, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
            tokio::spawn(connection);
            send.send_request(request).await.unwrap()
        };
        let (parts, body) = answer.into_parts();
        Response::from_parts(parts, body.collect().await.unwrap().to_bytes())
    }

    /// The certificate that is shown, as DER.
    async fn certificate(&self, to: SocketAddr) -> Vec<u8> {
        let stream = self.connect(to, "http/1.1", &TLS13).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    }
}

fn request(method: &str, path: &str, body: &str) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json")
        .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
        .unwrap()
}

#[tokio::test]
async fn both_listeners_speak_http_1_and_2() {
    let authority = Authority::new("the authority");
    let issued = authority.issue(HOST);
    let client = Client::of(&authority);
    let program = with_tls(with_tls(login::program(), "admin", &issued), "receiver", &issued);
    let mut program = program;
    program.start();
    for (alpn, version) in
        [("h2", &TLS13), ("h2", &TLS12), ("http/1.1", &TLS13), ("http/1.1", &TLS12)]
    {
        let report = request("POST", "/errors/log", r#"{"message":"it broke"}"#);
        let answer = client.send(program.receiver(), alpn, version, report).await;
        assert_eq!(answer.status(), 200, "{alpn}");
        let alive = client.send(program.admin(), alpn, version, request("GET", "/livez", "")).await;
        assert_eq!((alive.status().as_u16(), &alive.body()[..]), (200, &b"alive\n"[..]));
        assert_eq!(alive.headers()["strict-transport-security"], "max-age=31536000");
    }
    let neither = client.connect(program.admin(), "spdy/3", &TLS13).await;
    assert!(neither.is_err(), "nothing else is spoken");

    add_user(&program, "vera", "viewer");
    let body = format!(r#"{{"name":"vera","password":"{PASSWORD}"}}"#);
    let login = client.send(program.admin(), "h2", &TLS13, request("POST", "/api/session", &body));
    let login = login.await;
    assert_eq!(login.status(), 200);
    let cookie = login.headers()["set-cookie"].to_str().unwrap();
    assert!(
        cookie.starts_with("__Host-faultline_session=") && cookie.contains("; Secure"),
        "{cookie}"
    );
    let mut asked = request("GET", "/api/health", "");
    asked.headers_mut().insert("cookie", cookie.split(';').next().unwrap().parse().unwrap());
    let health = client.send(program.admin(), "h2", &TLS13, asked).await;
    let health: serde_json::Value = serde_json::from_slice(health.body()).unwrap();
    assert_eq!(health["components"]["tls"]["status"], "healthy", "{health}");
    let expected =
        serde_json::json!({ "admin": "4096-01-01T00:00:00Z", "receiver": "4096-01-01T00:00:00Z" });
    assert_eq!(health["components"]["tls"]["details"]["expires"], expected);
    program.finish().await;
}

#[tokio::test]
async fn new_files_are_taken_up_and_bad_ones_are_not() {
    let authority = Authority::new("the authority");
    let issued = authority.issue(HOST);
    let client = Client::of(&authority);
    let mut program = with_tls(Program::new(BINARY), "receiver", &issued);
    program.start();
    let first = client.certificate(program.receiver()).await;
    assert_eq!(first, CertificateDer::from_pem_file(&issued.certificate).unwrap().to_vec());

    let reloads = async |outcome: &str| {
        program.metric("faultline_tls_reloads_total", &format!("outcome=\"{outcome}\"")).await
    };
    let good_key = fs::read(&issued.key).unwrap();
    for bad in [&b"no key"[..], b"", &good_key[..40]] {
        let before = reloads("failed").await;
        fs::write(&issued.key, bad).unwrap();
        eventually("the bad file is counted", async || match reloads("failed").await {
            after if after > before => Ok(()),
            after => Err(after),
        })
        .await;
        assert_eq!(client.certificate(program.receiver()).await, first, "the old one stays");
    }
    assert!(reloads("loaded").await < 1.0);

    // Somebody renews it: another key, another certificate, under the same names.
    let renewed = authority.issue(HOST);
    let second = CertificateDer::from_pem_file(&renewed.certificate).unwrap().to_vec();
    assert_ne!(first, second);
    eventually("the new certificate is shown", async || {
        let shown = client.certificate(program.receiver()).await;
        if shown == second { Ok(()) } else { Err("still the old one") }
    })
    .await;
    assert!(reloads("loaded").await >= 1.0);
    let log = program.log();
    assert!(log.contains("the certificate from before is still used"), "{log}");
    assert!(!log.contains("BEGIN"), "no key is in the log");
}

#[tokio::test]
async fn files_that_cannot_be_used_are_refused_at_the_start() {
    let authority = Authority::new("the authority");
    let (issued, other) = (authority.issue(HOST), authority.issue("other.example"));
    let directory = authority.file();
    let directory = directory.parent().unwrap();
    let none = directory.join("none.pem");
    let text = directory.join("text.pem");
    fs::write(&text, "no PEM at all").unwrap();
    let (certificate, key) = (&issued.certificate, &issued.key);
    for listener in ["receiver", "admin"] {
        for (certificate, key, expected) in [
            (&none, key, "tls.certificate_file = "),
            (certificate, &none, "tls.key_file = "),
            (&text, key, "no certificate in PEM is in it"),
            (certificate, &text, "a private key in PEM is needed"),
            (key, key, "no certificate in PEM is in it"),
            (certificate, certificate, "a private key in PEM is needed"),
            (certificate, &other.key, "it does not belong to tls.certificate_file"),
        ] {
            let files = Issued { certificate: certificate.clone(), key: key.clone() };
            let program = with_tls(Program::new(BINARY), listener, &files);
            let output = program.run().await;
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(78), "{said}");
            assert!(said.contains(&format!("{listener}.tls")) && said.contains(expected), "{said}");
            let check = program.arguments(&["check"]).run().await;
            let said = String::from_utf8_lossy(&check.stdout).into_owned();
            assert!(!check.status.success() && said.contains(expected), "{said}");
        }
    }
    let half = Program::new(BINARY).set("admin.tls.key_file", &key.display().to_string());
    let said = String::from_utf8(half.run().await.stderr).unwrap();
    assert!(said.contains("admin.tls: certificate_file and key_file belong together"), "{said}");
}

async fn rest_of(stream: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
    // Cut off is ended too.
    let _ = read.expect("the connection ends");
    rest
}

#[tokio::test]
async fn who_speaks_no_tls_is_cut_off() {
    let authority = Authority::new("the authority");
    let issued = authority.issue(HOST);
    // So long that it is not the time-out that ends it.
    let program = Program::new(BINARY).set("receiver.header_timeout", "10m");
    let mut program = with_tls(with_tls(program, "receiver", &issued), "admin", &issued);
    program.start();
    for address in [program.receiver(), program.admin()] {
        for said in [
            "GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "\0\0\0\0\0\0\0\0",
        ] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(said.as_bytes()).await.unwrap();
            let answer = rest_of(&mut stream).await;
            let answer = String::from_utf8_lossy(&answer);
            assert!(!answer.contains("HTTP/"), "{said:?}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn slow_handshakes_are_cut_and_hold_one_place_each() {
    let authority = Authority::new("the authority");
    let issued = authority.issue(HOST);
    let client = Client::of(&authority);
    let program =
        Program::new(BINARY).set("receiver.header_timeout", "1s").set("receiver.connections", "1");
    let mut program = with_tls(program, "receiver", &issued);
    program.start();
    let mut silent = TcpStream::connect(program.receiver()).await.unwrap();
    // It waits in the kernel until the silent one is cut off.
    let answer = timeout(PATIENCE, async {
        let report = request("POST", "/errors/log", r#"{"message":"it broke"}"#);
        client.send(program.receiver(), "http/1.1", &TLS13, report).await
    });
    assert_eq!(answer.await.unwrap().status(), 200);
    assert_eq!(rest_of(&mut silent).await, b"");
    let metric = "faultline_tls_handshakes_failed_total";
    assert!((program.metric(metric, "reason=\"timeout\"").await - 1.0).abs() < f64::EPSILON);
    assert!((program.metric(metric, "reason=\"failed\"").await).abs() < f64::EPSILON);
}

#[tokio::test]
async fn a_certificate_that_expires_soon_is_said() {
    let authority = Authority::new("the authority");
    let day = jiff::Timestamp::now() + Duration::from_hours(6 * 24);
    let day = day.to_zoned(jiff::tz::TimeZone::UTC).date();
    let (month, date) = (u8::try_from(day.month()).unwrap(), u8::try_from(day.day()).unwrap());
    let issued = authority.issue_until(HOST, (day.year().into(), month, date));
    let mut program = with_tls(Program::new(BINARY), "receiver", &issued);
    program.start();
    let health = program.json("/health").await;
    assert_eq!(health["components"]["tls"]["status"], "degraded", "{health}");
    let error = health["components"]["tls"]["error"].as_str().unwrap();
    assert!(error == "receiver: the certificate expires in 5 days", "{error}");
    let midnight = day.to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp().as_second();
    let metric = "faultline_tls_certificate_expires_timestamp_seconds";
    eventually("the gauge is set", async || match program.metric(metric, "receiver").await {
        shown if (shown - midnight as f64).abs() < 1.0 => Ok(()),
        shown => Err(shown),
    })
    .await;
}

#[tokio::test]
async fn plain_text_beyond_loopback_is_warned_of() {
    let authority = Authority::new("the authority");
    let issued = authority.issue(HOST);
    let open = || {
        Program::new(BINARY)
            .set("receiver.listen", "0.0.0.0:0")
            .set("receiver.token", "receiver-token-long")
            .set("receiver.drains", r#"[{ token = "d.drain-token" }]"#)
    };
    let warning = "is beyond loopback without TLS";
    let mut program = open();
    program.start();
    eventually("it is warned of", async || {
        let log = program.log();
        if log.contains(warning) { Ok(()) } else { Err(log) }
    })
    .await;
    let mut program = with_tls(open(), "receiver", &issued);
    program.start();
    program.finish().await;
    assert!(!program.log().contains(warning), "{}", program.log());
}
