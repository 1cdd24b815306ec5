//! A real mail server: Debian's `python3-aiosmtpd`, which keeps each message that it takes as a file.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use quoted_printable::ParseMode;
use tempfile::TempDir;

use crate::{free_port, tls::Issued};

const SCRIPT: &str = include_str!("smtp.py");

/// How it is spoken to.
#[derive(Default)]
pub struct Settings {
    /// Its certificate; without one it speaks no TLS.
    pub certificate: Option<Issued>,
    /// TLS from the start, not only after `STARTTLS`.
    pub is_tls_at_once: bool,
    /// User and password, without which it takes nothing.
    pub login: Option<(String, String)>,
}

/// A message that it took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// With one `X-Envelope-To` for each recipient.
    pub headers: String,
    /// All parts, as they were before they were encoded for the way.
    pub body: String,
}

impl Mail {
    /// A header's value, unfolded; empty where there is none.
    #[must_use]
    pub fn header(&self, name: &str) -> String {
        let unfolded = self.headers.replace("\r\n ", " ").replace("\r\n\t", " ");
        let prefix = format!("{name}: ");
        let line = unfolded.lines().find_map(|line| line.strip_prefix(prefix.as_str()));
        line.unwrap_or_default().trim().to_owned()
    }
}

/// See the [module](self). It listens at the same port whenever it is started.
pub struct Smtp {
    settings: Settings,
    directory: TempDir,
    port: u16,
    process: Option<Child>,
}

impl Smtp {
    /// It does not listen yet.
    ///
    /// # Panics
    /// When no directory can be made.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let directory = tempfile::Builder::new().prefix("faultline-smtp-").tempdir().unwrap();
        for part in ["tmp", "new"] {
            fs::create_dir(directory.path().join(part)).unwrap();
        }
        fs::write(directory.path().join("smtp.py"), SCRIPT).unwrap();
        Self { settings, directory, port: free_port(), process: None }
    }

    /// One that listens.
    #[must_use]
    pub fn started(settings: Settings) -> Self {
        let mut server = Self::new(settings);
        server.start();
        server
    }

    /// # Panics
    /// When it cannot be started.
    pub fn start(&mut self) {
        let path = |file: &Path| file.display().to_string();
        let Settings { certificate, is_tls_at_once, login } = &self.settings;
        let (certificate, key, mode) = match certificate {
            None => (String::new(), String::new(), "none"),
            Some(issued) => (
                path(&issued.certificate),
                path(&issued.key),
                if *is_tls_at_once { "tls" } else { "starttls" },
            ),
        };
        let (user, password) = login.clone().unwrap_or_default();
        let port = self.port.to_string();
        let directory = path(self.directory.path());
        // Debian's package is for Debian's own Python.
        let mut child = Command::new("/usr/bin/python3")
            .arg(self.directory.path().join("smtp.py"))
            .args([&port, &directory, &certificate, &key, mode, &user, &password])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 is there");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "listening\n", "python3-aiosmtpd is needed: `apt install` it");
        self.process = Some(child);
    }

    /// Ends it as `kill -9` does.
    ///
    /// # Panics
    /// When it does not run.
    pub fn stop(&mut self) {
        let mut process = self.process.take().expect("it runs");
        process.kill().unwrap();
        process.wait().unwrap();
    }

    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether mail is refused for now.
    ///
    /// # Panics
    /// When it cannot be told.
    pub fn refuse(&self, refuses: bool) {
        self.switch("refuse", refuses);
    }

    /// Whether the answers to what was taken are held back.
    ///
    /// # Panics
    /// When it cannot be told.
    pub fn hold(&self, holds: bool) {
        self.switch("hold", holds);
    }

    fn switch(&self, name: &str, is_on: bool) {
        let file = self.directory.path().join(name);
        if is_on { fs::write(file, "") } else { fs::remove_file(file) }.unwrap();
    }

    /// What it has taken, the oldest first.
    ///
    /// # Panics
    /// When it cannot be read.
    #[must_use]
    pub fn mail(&self) -> Vec<Mail> {
        let files = fs::read_dir(self.directory.path().join("new")).unwrap();
        let mut files: Vec<_> = files
            .map(|file| {
                let path = file.unwrap().path();
                (path.metadata().unwrap().modified().unwrap(), path)
            })
            .collect();
        files.sort();
        let read = |path: &Path| {
            let text = fs::read_to_string(path).unwrap();
            let (headers, body) = text.split_once("\r\n\r\n").expect("headers and a body");
            let body = quoted_printable::decode(body, ParseMode::Robust).expect("quoted-printable");
            let body = String::from_utf8(body).expect("text");
            Mail { headers: headers.to_owned(), body }
        };
        files.iter().map(|(_, path)| read(path)).collect()
    }
}

impl Drop for Smtp {
    fn drop(&mut self) {
        if self.process.is_some() {
            self.stop();
        }
    }
}
