//! `faultline replay`: sends recorded bodies, or rejected messages of the store, to a running
//! Faultline, as the clients would that they came from; or brings archives back.

use std::{
    io::{IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, bail};
use bytes::Bytes;
use faultline_actors::domain::{event::Source, maxwell, rule::lasting};
use reqwest::{Client, StatusCode, header};

use crate::{
    cli::{complain, say},
    config::Config,
    open_store, restore,
};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Files: bodies of log drains or reports, or lines of Maxwell's stream.
    #[arg(required_unless_present_any = ["rejected", "archive"])]
    files: Vec<PathBuf>,
    /// What the files are; found out from their content by default.
    #[arg(long, value_parser = parse_source, value_name = "logdrains|errors|maxwell")]
    source: Option<Source>,
    /// Send the store's rejected messages that were not replayed yet, instead of files.
    #[arg(long, conflicts_with = "files")]
    rejected: bool,
    /// Put the events of archives back into the store, each once, instead of sending anything.
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with_all = ["files", "rejected"])]
    archive: Vec<PathBuf>,
    /// How long events of archives stay at least.
    #[arg(long, value_name = "DURATION", default_value = "7d", value_parser = lasting::parse,
        requires = "archive")]
    keep: Duration,
    /// The receiver; the configured one by default. May hold a drain's user and password.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

fn parse_source(name: &str) -> Result<Source, String> {
    let source = Source::from_name(name).filter(|source| *source != Source::Bucket);
    source.ok_or_else(|| "logdrains, errors or maxwell is needed".to_owned())
}

/// Maxwell lines are sent in bodies of about this size.
const BODY: usize = 1 << 20;
/// An overloaded receiver is tried again so often, as it asks.
const TRIES: u32 = 20;

/// Sends everything; fails when something was not accepted.
///
/// # Errors
/// When a file cannot be read, the receiver cannot be reached, or refuses a body.
pub(crate) async fn run(arguments: Arguments, config: &Config) -> anyhow::Result<ExitCode> {
    if !arguments.archive.is_empty() {
        return restore::run(&arguments.archive, arguments.keep, config).await;
    }
    let url = arguments.url.unwrap_or_else(|| format!("http://{}", config.receiver.listen));
    let sender = Sender {
        client: Client::builder().timeout(Duration::from_mins(1)).build()?,
        url: url.trim_end_matches('/').to_owned(),
        token: config.receiver.token.expose().to_owned(),
    };
    let mut progress = Progress::new();
    if arguments.rejected {
        replay_rejected(&sender, config, &mut progress).await?;
    }
    for path in &arguments.files {
        replay_file(&sender, path, arguments.source, &mut progress)
            .await
            .with_context(|| path.display().to_string())?;
    }
    progress.end();
    Ok(ExitCode::SUCCESS)
}

async fn replay_file(
    sender: &Sender,
    path: &Path,
    source: Option<Source>,
    progress: &mut Progress,
) -> anyhow::Result<()> {
    let content = Bytes::from(tokio::fs::read(path).await?);
    let source = source.or_else(|| guess(&content));
    let source = source.context("cannot tell what this is; say so with --source")?;
    if source != Source::Maxwell {
        sender.send(source, content.clone()).await?;
        progress.add(content.len());
        return Ok(());
    }
    let mut rest = content;
    while !rest.is_empty() {
        let window = rest.len().min(BODY);
        let end = match memchr::memrchr(b'\n', &rest[..window]) {
            Some(at) => at + 1,
            None => memchr::memchr(b'\n', &rest).map_or(rest.len(), |at| at + 1),
        };
        let lines = rest.split_to(end);
        let length = lines.len();
        if maxwell::count_messages(&lines) > 0 {
            sender.send(source, lines).await?;
        }
        progress.add(length);
    }
    Ok(())
}

/// A drain's body starts with a length; Maxwell's lines are objects with a `type`; reports have a
/// `message`.
fn guess(content: &[u8]) -> Option<Source> {
    let start = content.trim_ascii_start();
    match start.first()? {
        b'0'..=b'9' => Some(Source::Logdrains),
        b'[' => Some(Source::Errors),
        b'{' => {
            let line = maxwell::lines(start).next()?;
            let is_change = maxwell::Reader::default().read(line, |_| ()).is_ok();
            Some(if is_change { Source::Maxwell } else { Source::Errors })
        }
        _ => None,
    }
}

/// Sends the store's rejected messages, each marked as soon as it is accepted.
async fn replay_rejected(
    sender: &Sender,
    config: &Config,
    progress: &mut Progress,
) -> anyhow::Result<()> {
    const PAGE: u32 = 100;
    let store = open_store(&config.store)?;
    // What is rejected again comes back as a new one, which is for another time.
    let newest = store.rejected(1).await?.first().map_or(0, |rejected| rejected.id);
    let mut after = 0;
    loop {
        let mut page = store.unreplayed(after, PAGE).await?;
        page.retain(|rejected| rejected.id <= newest);
        let Some(last) = page.last() else { return Ok(()) };
        after = last.id;
        for rejected in page {
            let Some(source) = Source::from_name(&rejected.source) else { continue };
            let is_whole = rejected.length == i64::try_from(rejected.bytes.len())?;
            if !is_whole || rejected.bytes.is_empty() {
                complain(&format!(
                    "rejected message {}: not sent, {} of its {} bytes are kept",
                    rejected.id,
                    rejected.bytes.len(),
                    rejected.length
                ));
                continue;
            }
            let length = rejected.bytes.len();
            match sender.send(source, body_of(source, rejected.bytes)).await {
                Ok(()) => {
                    store.mark_replayed(rejected.id).await?;
                    progress.add(length);
                }
                Err(error) => complain(&format!("rejected message {}: {error:#}", rejected.id)),
            }
        }
    }
}

/// A frame that was rejected has lost its length; what broke the framing still starts with one.
pub(crate) fn body_of(source: Source, bytes: Vec<u8>) -> Bytes {
    if source == Source::Logdrains && bytes.first() == Some(&b'<') {
        let mut framed = format!("{} ", bytes.len()).into_bytes();
        framed.extend_from_slice(&bytes);
        return framed.into();
    }
    bytes.into()
}

struct Sender {
    client: Client,
    url: String,
    token: String,
}

impl Sender {
    /// Sends one body, again while the receiver asks for patience.
    async fn send(&self, source: Source, body: Bytes) -> anyhow::Result<()> {
        let (path, content_type) = match source {
            Source::Logdrains => ("/logdrains", "application/logplex-1"),
            Source::Errors => ("/errors/log", "application/json"),
            Source::Maxwell => ("/maxwell", "application/x-ndjson"),
            Source::Bucket => bail!("what a bucket watcher found cannot be sent"),
        };
        let url = format!("{}{path}", self.url);
        for _ in 0..TRIES {
            let mut request = self
                .client
                .post(&url)
                .header(header::CONTENT_TYPE, content_type)
                .body(body.clone());
            if source != Source::Logdrains && !self.token.is_empty() {
                request = request.bearer_auth(&self.token);
            }
            let answer = request.send().await.map_err(reqwest::Error::without_url)?;
            let status = answer.status();
            if status.is_success() {
                return Ok(());
            }
            if status != StatusCode::SERVICE_UNAVAILABLE {
                bail!("{status}: {}", answer.text().await.unwrap_or_default());
            }
            let wait = answer.headers().get(header::RETRY_AFTER);
            let wait = wait.and_then(|value| value.to_str().ok()?.parse().ok()).unwrap_or(1);
            tokio::time::sleep(Duration::from_secs(wait)).await;
        }
        bail!("the receiver was overloaded {TRIES} times in a row")
    }
}

/// What was sent, on one line of a terminal.
struct Progress {
    bodies: u64,
    bytes: u64,
    shown: std::time::Instant,
}

impl Progress {
    fn new() -> Self {
        Self { bodies: 0, bytes: 0, shown: std::time::Instant::now() }
    }

    fn add(&mut self, bytes: usize) {
        self.bodies += 1;
        self.bytes += bytes as u64;
        if self.shown.elapsed() > Duration::from_millis(500) && std::io::stderr().is_terminal() {
            self.shown = std::time::Instant::now();
            let _ = write!(std::io::stderr(), "\r{self}");
        }
    }

    fn end(&self) {
        say(&self.to_string());
    }
}

impl std::fmt::Display for Progress {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let size = bytesize::ByteSize(self.bytes);
        write!(out, "sent {} bodies, {size}", self.bodies)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_tells_its_source() {
        assert_eq!(guess(b"83 <40>1 2012"), Some(Source::Logdrains));
        assert_eq!(guess(b"[{\"message\":\"x\"}]"), Some(Source::Errors));
        assert_eq!(guess(b"{\"message\":\"x\"}"), Some(Source::Errors));
        assert_eq!(guess(b"\n{\"type\":\"insert\"}\n"), Some(Source::Maxwell));
        assert_eq!(guess(b"hello"), None);
        assert_eq!(body_of(Source::Logdrains, b"<1>x".to_vec()), "4 <1>x");
    }
}
