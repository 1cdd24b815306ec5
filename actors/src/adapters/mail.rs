//! Mail, by SMTP ([RFC 5321](https://www.rfc-editor.org/rfc/rfc5321)).
//!
//! Each message has a connection of its own. As soon as the server has answered that it takes the
//! message, the sender hears of it; the goodbye is said afterwards. So the time in which a crash makes
//! a message go out again, from that answer to the commit, is as short as it can be.

use std::{fs, path::PathBuf, time::Duration};

use lettre::{
    Message,
    message::{
        Mailbox, MultiPart,
        header::{HeaderName, HeaderValue},
    },
    transport::smtp::{
        Error,
        authentication::{Credentials, Mechanism},
        client::{AsyncSmtpConnection, Certificate, CertificateStore, TlsParameters},
        commands::{Data, Mail as From, Rcpt},
        extension::{ClientId, Extension, MailBodyParameter, MailParameter},
    },
};
use serde::{Deserialize, Serialize};

use super::channel::{DELIVERY, Failure, Post, check_name};
use crate::domain::{alert::letter::letter, rule::Class, secret::Secret};

/// One of `[[notifier.mail]]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Its own among channels of mail.
    pub name: String,
    /// The mail server: a host name or an address.
    pub server: String,
    /// 0: 587 for STARTTLS, 465 for TLS, 25 for none.
    pub port: u16,
    pub tls: Tls,
    /// PEM of the authorities to trust; empty: those of the system.
    pub ca_file: PathBuf,
    /// Empty: nobody logs in.
    pub user: String,
    pub password: Secret,
    /// `Faultline <faultline@example.com>`
    pub from: String,
    pub to: Vec<String>,
    /// Alerts that are at least as bad are told.
    pub least: Class,
}

/// How a connection is encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tls {
    /// From the start.
    Tls,
    /// After `STARTTLS`; a server that does not offer it gets nothing.
    #[default]
    Starttls,
    /// Not at all: on loopback only.
    None,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            name: "mail".to_owned(),
            server: String::new(),
            port: 0,
            tls: Tls::Starttls,
            ca_file: PathBuf::new(),
            user: String::new(),
            password: Secret::default(),
            from: String::new(),
            to: Vec::new(),
            least: Class::P3,
        }
    }
}

impl Settings {
    /// # Errors
    /// Names the setting, its value, and what would be right.
    pub fn validate(&self) -> Result<(), String> {
        check_name(&self.name)?;
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-:".contains(&byte);
        if self.server.is_empty() || !self.server.bytes().all(is_host) {
            let server = &self.server;
            return Err(format!(
                "server = {server:?}: a host is needed, such as \"mail.example.com\""
            ));
        }
        if self.tls == Tls::None && !is_loopback(&self.server) {
            return Err(format!(
                "tls = \"none\": only on loopback, and server = {:?} is not; \"starttls\" or \
                 \"tls\" is needed",
                self.server
            ));
        }
        if self.user.is_empty() != self.password.is_empty() {
            let user = &self.user;
            return Err(format!("user = {user:?}: user and password are needed both, or none"));
        }
        mailbox("from", &self.from)?;
        if self.to.is_empty() {
            return Err("to = []: at least one address is needed".to_owned());
        }
        for to in &self.to {
            mailbox("to", to)?;
        }
        Ok(())
    }

    const fn port(&self) -> u16 {
        match (self.port, self.tls) {
            (0, Tls::Starttls) => 587,
            (0, Tls::Tls) => 465,
            (0, Tls::None) => 25,
            (port, _) => port,
        }
    }
}

fn is_loopback(server: &str) -> bool {
    let address = server.parse::<std::net::IpAddr>();
    server == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

fn mailbox(key: &str, text: &str) -> Result<Mailbox, String> {
    let refused = || format!("{key} = {text:?}: an address is needed, such as \"ops@example.com\"");
    if text.contains(char::is_control) {
        return Err(refused());
    }
    text.parse().map_err(|_| refused())
}

/// A server that takes mail for us.
pub struct Mail<'a> {
    settings: &'a Settings,
    tls: Option<TlsParameters>,
}

impl<'a> Mail<'a> {
    /// # Errors
    /// Names the setting with which it cannot be used.
    pub fn new(settings: &'a Settings) -> Result<Self, String> {
        settings.validate()?;
        let tls = match settings.tls {
            Tls::None => None,
            Tls::Tls | Tls::Starttls => Some(trusted(settings)?),
        };
        Ok(Self { settings, tls })
    }

    /// Sends a message.
    ///
    /// # Errors
    /// What went wrong.
    pub async fn send(&self, post: Post<'_>, limit: Duration) -> Result<(), Failure> {
        let message = self.message(post).map_err(|problem| Failure::new(&problem))?;
        let mut connection = self.connect(limit).await?;
        deliver(&mut connection, &message, post.is_overdue).await?;
        tokio::spawn(async move {
            // It has the message: whether it says goodbye does not matter.
            let _ = tokio::time::timeout(limit, connection.quit()).await;
        });
        Ok(())
    }

    async fn connect(&self, limit: Duration) -> Result<AsyncSmtpConnection, Failure> {
        let place = (self.settings.server.as_str(), self.settings.port());
        let hello = ClientId::default();
        let (at_once, later) = match self.settings.tls {
            Tls::Tls => (self.tls.clone(), None),
            Tls::Starttls | Tls::None => (None, self.tls.clone()),
        };
        let connection =
            AsyncSmtpConnection::connect_tokio1(place, Some(limit), &hello, at_once, None).await;
        let mut connection = connection.map_err(|error| failure("connecting", &error))?;
        if let Some(tls) = later {
            let started = connection.starttls(tls, &hello).await;
            started.map_err(|error| failure("STARTTLS", &error))?;
        }
        if !self.settings.user.is_empty() {
            let (user, password) =
                (self.settings.user.clone(), self.settings.password.expose().to_owned());
            let credentials = Credentials::new(user, password);
            let mechanisms = [Mechanism::Plain, Mechanism::Login];
            let login = connection.auth(&mechanisms, &credentials).await;
            login.map_err(|error| {
                if error.is_permanent() {
                    Failure::unauthorized(&format!("login: {error}"))
                } else {
                    failure("login", &error)
                }
            })?;
        }
        Ok(connection)
    }

    /// The message as it is sent, the same each time but for the date.
    fn message(&self, post: Post<'_>) -> Result<Message, String> {
        let letter = letter(post.what, post.alerts, post.around);
        let from = mailbox("from", &self.settings.from)?;
        let id = format!("<{}@{}>", post.id, from.email.domain());
        let header = |name: &'static str, value: String| {
            HeaderValue::new(HeaderName::new_from_ascii_str(name), value)
        };
        let mut message = Message::builder()
            .from(from)
            .message_id(Some(id))
            .subject(letter.subject)
            .raw_header(header(DELIVERY, post.id.to_string()))
            // No "I am on holiday" in return: RFC 3834.
            .raw_header(header("Auto-Submitted", "auto-generated".to_owned()));
        for to in &self.settings.to {
            message = message.to(mailbox("to", to)?);
        }
        let body = MultiPart::alternative_plain_html(letter.text, letter.html);
        message.multipart(body).map_err(|error| error.to_string())
    }
}

/// Hands the message over for all recipients that the server takes: one that has left must not keep it
/// from the others. One that is refused for now may be taken the next time, so that they all wait for it;
/// but some are refused so for ever, and a message that is overdue leaves them out.
async fn deliver(
    connection: &mut AsyncSmtpConnection,
    message: &Message,
    is_overdue: bool,
) -> Result<(), Failure> {
    let (envelope, text) = (message.envelope(), message.formatted());
    let mut parameters = Vec::new();
    // Bodies are encoded, so that only an address can be other than ASCII (RFC 6531).
    if !text.is_ascii() {
        if !connection.server_info().supports_feature(Extension::SmtpUtfEight) {
            let why = "an address is not ASCII, and the server does not take such";
            return Err(Failure::new(&format!("sending: {why}")));
        }
        parameters.push(MailParameter::SmtpUtfEight);
        parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
    }
    let from = From::new(envelope.from().cloned(), parameters);
    connection.command(from).await.map_err(|error| failure("sending", &error))?;
    let mut refused = Vec::new();
    for to in envelope.to() {
        match connection.command(Rcpt::new(to.clone(), Vec::new())).await {
            Ok(_) => {}
            Err(error) if error.is_permanent() || (is_overdue && error.is_transient()) => {
                refused.push(format!("{to}: {error}"));
            }
            // They are all tried again.
            Err(error) => return Err(failure("sending", &error)),
        }
    }
    if refused.len() == envelope.to().len() {
        return Err(Failure::new(&format!("sending: {}", refused.join("; "))));
    }
    connection.command(Data).await.map_err(|error| failure("sending", &error))?;
    connection.message(&text).await.map_err(|error| failure("sending", &error))?;
    for refused in refused {
        tracing::warn!(refused, "the mail server does not take messages for one of the addresses");
    }
    Ok(())
}

fn trusted(settings: &Settings) -> Result<TlsParameters, String> {
    let mut tls = TlsParameters::builder(settings.server.clone());
    if !settings.ca_file.as_os_str().is_empty() {
        let path = settings.ca_file.display();
        let unreadable = |error: String| format!("ca_file = \"{path}\": {error}");
        let pem = fs::read(&settings.ca_file).map_err(|error| unreadable(error.to_string()))?;
        let authorities =
            Certificate::from_pem(&pem).map_err(|error| unreadable(error.to_string()))?;
        tls = tls.certificate_store(CertificateStore::None).add_root_certificate(authorities);
    }
    tls.build_rustls().map_err(|error| format!("tls: {error}"))
}

fn failure(doing: &str, error: &Error) -> Failure {
    Failure::new(&format!("{doing}: {error}"))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::alert::{
        Kind,
        delivery::{Told, What},
        letter::Surroundings,
    };

    fn settings() -> Settings {
        Settings {
            server: "mail.example.com".to_owned(),
            from: "Faultline <faultline@example.com>".to_owned(),
            to: vec!["ops@example.com".to_owned(), "Ann <ann@example.com>".to_owned()],
            ..Settings::default()
        }
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_what_would_be_right() {
        assert_eq!(settings().validate(), Ok(()));
        let problem = |change: fn(&mut Settings)| {
            let mut settings = settings();
            change(&mut settings);
            settings.validate().unwrap_err()
        };
        for (problem, start) in [
            (problem(|it| it.name = "a b".to_owned()), "name = \"a b\": "),
            (problem(|it| it.server = String::new()), "server = \"\": a host is needed"),
            (problem(|it| it.server = "smtp://x".to_owned()), "server = \"smtp://x\": "),
            (problem(|it| it.tls = Tls::None), "tls = \"none\": only on loopback"),
            (problem(|it| it.user = "x".to_owned()), "user = \"x\": user and password"),
            (problem(|it| it.from = "nobody".to_owned()), "from = \"nobody\": an address"),
            (problem(|it| it.to.clear()), "to = []: at least one"),
            (problem(|it| it.to.push("a@b\r\nBcc: c@d".to_owned())), "to = \"a@b\\r\\nBcc"),
        ] {
            assert!(problem.starts_with(start), "{problem}");
        }
        let missing = Settings { ca_file: "/no/such.pem".into(), ..settings() };
        assert!(Mail::new(&missing).err().unwrap().starts_with("ca_file = \"/no/such.pem\": "));
    }

    #[test]
    fn no_text_can_add_a_header() {
        let evil = "x\r\nBcc: all@example.com\r\n\r\n<script>";
        let told = Told {
            alert: 1,
            kind: Kind::PartnerDown,
            subject: evil.to_owned(),
            cause: evil.to_owned(),
            hub: evil.to_owned(),
            since: 0,
            link: evil.to_owned(),
            resolved_at: None,
            note: Some(evil.to_owned()),
        };
        let around = Surroundings { public_url: evil.to_owned(), ..Surroundings::default() };
        let (id, alerts) = (Uuid::nil(), [told]);
        let settings = settings();
        let mail = Mail::new(&settings).unwrap();
        for what in What::ALL {
            let (alerts, around) = (&alerts, &around);
            let post = Post { id, what, alerts, around, is_overdue: false };
            let formatted = String::from_utf8(mail.message(post).unwrap().formatted()).unwrap();
            let (headers, _) = formatted.split_once("\r\n\r\n").unwrap();
            assert!(!headers.to_ascii_lowercase().contains("\r\nbcc"), "{headers}");
            assert!(
                headers.contains("Message-ID: <00000000-0000-0000-0000-000000000000@example.com>")
            );
            assert!(headers.contains("X-Faultline-Delivery: 00000000-0000-0000-0000-000000000000"));
            assert!(!formatted.contains("\r\nBcc"), "{formatted}");
        }
    }
}
