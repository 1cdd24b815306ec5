//! `faultline replay`: sends recorded bodies to a running Faultline, as the clients would that they
//! came from; has it take in rejected messages again; or brings archives back.

use std::{
    io::{IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, bail};
use bytes::Bytes;
use faultline_actors::domain::{event::Source, maxwell, rule::lasting};
use futures_util::{StreamExt, stream};
use reqwest::{Client, StatusCode, header};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    asking::{Answer, Asking, Refused, Whom},
    cli::{complain, say},
    config::Config,
    restore,
};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Files: bodies of log drains or reports, or lines of Maxwell's stream.
    #[arg(required_unless_present_any = ["rejected", "archive"])]
    files: Vec<PathBuf>,
    /// What the files are; found out from their content by default.
    #[arg(long, value_parser = parse_source, value_name = "logdrains|errors|maxwell")]
    source: Option<Source>,
    /// Have a running hub take in the rejected messages that were not replayed yet, instead of files.
    #[arg(long, conflicts_with = "files")]
    rejected: bool,
    /// Put the events of archives back into the store, each once, instead of sending anything.
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with_all = ["files", "rejected"])]
    archive: Vec<PathBuf>,
    /// How long events of archives stay at least.
    #[arg(long, value_name = "DURATION", default_value = "7d", value_parser = lasting::parse,
        requires = "archive")]
    keep: Duration,
    /// The receiver; the configured one by default. May hold a drain's user and password. With
    /// --rejected the admin listener; `FAULTLINE_URL` or the configured one by default.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// The admin listener's token; `FAULTLINE_TOKEN` or the configured one by default. Other users
    /// of this machine may see arguments: better set the variable.
    #[arg(long, value_name = "TOKEN", requires = "rejected")]
    token: Option<String>,
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
    let mut progress = Progress::new();
    if arguments.rejected {
        let whom = Whom { url: arguments.url, token: arguments.token };
        replay_rejected(&Asking::new(whom, config)?, &mut progress).await?;
        progress.end();
        return Ok(ExitCode::SUCCESS);
    }
    let url = arguments.url.unwrap_or_else(|| format!("http://{}", config.receiver.listen));
    let sender = Sender {
        client: Client::builder().timeout(Duration::from_mins(1)).build()?,
        url: url.trim_end_matches('/').to_owned(),
        token: config.receiver.token.expose().to_owned(),
    };
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

/// A rejected message, as the list of them says it.
#[derive(Deserialize)]
struct Rejected {
    id: i64,
    length: usize,
}

#[derive(Deserialize)]
struct Page {
    rejected: Vec<Rejected>,
    next: Option<String>,
}

/// Has a hub take in the rejected messages that were not replayed yet, from the newest to the oldest:
/// those that are rejected again meanwhile are newer, and for another time.
async fn replay_rejected(asking: &Asking, progress: &mut Progress) -> anyhow::Result<()> {
    const FIRST: &str = "/api/rejected?replayed=no&limit=100";
    /// They share the spool's commits.
    const AT_ONCE: usize = 16;
    let mut path = FIRST.to_owned();
    loop {
        let Answer::Is(page) = asking.json::<Page>(&path, &[]).await? else {
            bail!("{} is no admin listener of a hub, which --rejected needs", asking.url());
        };
        let replays = page.rejected.into_iter().map(async |message| {
            replay_one(asking, message.id).await.map(|outcome| (message.length, outcome))
        });
        let mut replays = stream::iter(replays).buffer_unordered(AT_ONCE);
        while let Some(outcome) = replays.next().await {
            match outcome? {
                (length, Ok(_)) => progress.add(length),
                (_, Err(refused)) => complain(&refused.detail),
            }
        }
        let Some(next) = page.next else { return Ok(()) };
        path = format!("{FIRST}&cursor={next}");
    }
}

/// Has one taken in, again while the hub cannot just now.
async fn replay_one(asking: &Asking, id: i64) -> anyhow::Result<Result<Value, Refused>> {
    let path = format!("/api/rejected/{id}/replay");
    let refusals = [StatusCode::CONFLICT, StatusCode::NOT_FOUND, StatusCode::SERVICE_UNAVAILABLE];
    for _ in 0..TRIES {
        match asking.try_post(&path, &refusals).await? {
            Err(Refused { status: StatusCode::SERVICE_UNAVAILABLE, .. }) => {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            outcome => return Ok(outcome),
        }
    }
    bail!("the hub could not replay rejected message {id} {TRIES} times in a row")
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
    }
}
