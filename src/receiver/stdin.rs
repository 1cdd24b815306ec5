//! Maxwell's change stream from standard input, or from a child that Faultline runs itself.
//!
//! ```text
//! reading thread ──pieces of whole lines──▶ appending task ── append ──▶ spool
//! ```
//!
//! The reading thread cuts what it reads at line ends; the appending task joins what has gathered
//! into one record, so that a fast stream makes large commits and a slow one small ones. When the
//! spool is full or failing nothing is read, and the pipe stops the sender. A line beyond the limit
//! is kept by its start and rejected; reading goes on behind it.
//!
//! A line has no id by which a second reading could be known. But lines are accepted in their order,
//! and after any end the ledger's `received` says how many were: whoever feeds the same lines again
//! goes on behind these.

use std::{
    io::{self, Read},
    os::unix::process::CommandExt,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use bytesize::ByteSize;
use faultline_actors::{
    adapters::{
        clock,
        journal::{AppendError, Journal, spool::Spool},
    },
    domain::{
        event::Source,
        maxwell,
        record::{Meta, NewRecord, RecordId},
        retry::Backoff,
        time::Micros,
    },
};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

/// Section `[stdin]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Whether standard input is read; `--stdin` says so too.
    pub enabled: bool,
    /// A program whose output is read instead; empty for standard input itself.
    pub command: Vec<String>,
    pub on_eof: OnEof,
    /// Longer lines are rejected.
    pub line_limit: ByteSize,
    /// Empty for the changes' database.
    pub service: String,
    /// The longest wait before the command is started again.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub restart_cap: Duration,
}

/// What happens when standard input ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnEof {
    /// Everything is stored, then the program ends.
    Exit,
    /// The listeners go on.
    Serve,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            enabled: false,
            command: Vec::new(),
            on_eof: OnEof::Exit,
            line_limit: ByteSize::mib(10),
            service: String::new(),
            restart_cap: Duration::from_secs(30),
        }
    }
}

impl Settings {
    /// # Errors
    /// Names the key, and what would be right.
    pub fn validate(&self) -> Result<(), String> {
        if self.line_limit < ByteSize::kib(256) || self.line_limit > ByteSize::mib(32) {
            return Err(format!(
                "line_limit = \"{}\": between 256 KiB and 32 MiB is possible",
                self.line_limit
            ));
        }
        if self.service.len() > Meta::MAX_NAME {
            return Err(format!("service: at most {} bytes are possible", Meta::MAX_NAME));
        }
        if self.restart_cap < FIRST_RESTART {
            return Err(format!(
                "restart_cap = \"{:#}\": at least 500ms is needed",
                jiff::SignedDuration::try_from(self.restart_cap).unwrap_or_default()
            ));
        }
        if self.command.first().is_some_and(String::is_empty) {
            return Err("command = [\"\", …]: a program's name is needed first".to_owned());
        }
        Ok(())
    }

    /// The largest record that reading makes: pieces up to `RECORD_BYTES` and one more, which may
    /// be the longest line with what was read behind it.
    #[must_use]
    pub fn largest_record(&self) -> u64 {
        self.line_limit.as_u64() + (RECORD_BYTES + READ_BYTES) as u64
    }

    /// Whether anything is read.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.enabled || !self.command.is_empty()
    }

    /// What will tell how reading goes, when anything is read.
    #[must_use]
    pub fn reading(&self) -> Option<Arc<Reading>> {
        self.is_on().then(Arc::default)
    }
}

/// How reading goes, for health.
#[derive(Debug, Default)]
pub struct Reading {
    is_on: AtomicBool,
    restarts: AtomicU64,
    last_line: AtomicI64,
}

impl Reading {
    /// Whether somebody is there to be read: standard input has not ended, the command runs.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    /// How often the command was started again.
    #[must_use]
    pub fn restarts(&self) -> u64 {
        self.restarts.load(Ordering::Relaxed)
    }

    /// When it last said something; `None` before it ever did.
    #[must_use]
    pub fn last_line(&self) -> Option<Micros> {
        Some(self.last_line.load(Ordering::Relaxed)).filter(|at| *at != 0)
    }
}

/// Bytes asked of the source at once.
const READ_BYTES: usize = 256 << 10;
/// Pieces that wait for the appending task: as much as one record takes.
const PIECES: usize = 4;
/// A record is made of pieces up to about this size.
const RECORD_BYTES: usize = 1 << 20;
/// A record, and the piece that makes it one.
const BUFFER_BYTES: usize = RECORD_BYTES + READ_BYTES;
/// What is kept of a line beyond the limit.
const KEPT_OF_LONG: usize = 64 << 10;
const FIRST_RESTART: Duration = Duration::from_millis(500);
/// How long a command may take to end when it is told to.
const CHILD_PATIENCE: Duration = Duration::from_secs(12);
const FULL_WAIT: Duration = Duration::from_millis(50);

/// Lines, cut from what was read.
enum Piece {
    /// Whole lines.
    Lines(Vec<u8>),
    /// The start of a line that is too long, and its whole length.
    Overlong(Vec<u8>, u64),
}

/// Reads standard input, or the command's output again and again, until it ends or `stop` is
/// cancelled. A command is then ended, and what it still had to say is read.
pub async fn run(
    settings: Settings,
    spool: Arc<Spool>,
    reading: Arc<Reading>,
    stop: CancellationToken,
) {
    if settings.command.is_empty() {
        reading.is_on.store(true, Ordering::Relaxed);
        tokio::select! {
            () = follow(&settings, &spool, &reading, Box::new(io::stdin())) => {}
            () = stop.cancelled() => {}
        }
        reading.is_on.store(false, Ordering::Relaxed);
        return;
    }
    let mut backoff = Backoff::new(FIRST_RESTART, settings.restart_cap);
    loop {
        let started = std::time::Instant::now();
        if let Err(error) = run_command(&settings, &spool, &reading, &stop).await {
            tracing::error!(command = settings.command[0], %error, "cannot be started");
        }
        if started.elapsed() > settings.restart_cap {
            backoff.reset();
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(backoff.next_wait(fastrand::f64())) => {}
        }
        reading.restarts.fetch_add(1, Ordering::Relaxed);
        metrics::counter!("faultline_stdin_restarts_total").increment(1);
    }
}

/// Runs the command once, to its end.
async fn run_command(
    settings: &Settings,
    spool: &Arc<Spool>,
    reading: &Reading,
    stop: &CancellationToken,
) -> io::Result<()> {
    let mut child = Child::start(&settings.command)?;
    reading.is_on.store(true, Ordering::Relaxed);
    tracing::info!(command = settings.command[0], pid = child.process.id(), "started");
    let output = child.output();
    let mut held_open = child.process.stdin.take();
    tokio::select! {
        () = follow(settings, spool, reading, output) => {}
        () = async {
            stop.cancelled().await;
            held_open = None;
            tokio::time::sleep(CHILD_PATIENCE).await;
        } => tracing::warn!(command = settings.command[0], "does not end; left to its keeper"),
    }
    reading.is_on.store(false, Ordering::Relaxed);
    drop(held_open);
    let status = tokio::task::spawn_blocking(move || child.process.wait()).await??;
    tracing::warn!(command = settings.command[0], %status, "its output has ended");
    Ok(())
}

/// Appends everything that `source` gives.
async fn follow(
    settings: &Settings,
    spool: &Arc<Spool>,
    reading: &Reading,
    source: Box<dyn Read + Send>,
) {
    let (pieces_in, pieces) = flume::bounded(PIECES);
    let limit = usize::try_from(settings.line_limit.as_u64()).unwrap_or(usize::MAX);
    // A blocking read cannot be interrupted: at the end the thread is left to itself.
    std::thread::Builder::new()
        .name("stdin-reader".to_owned())
        .spawn(move || {
            let mut cutter = Cutter { limit, pieces: pieces_in, rest: Vec::new(), overlong: None };
            if let Err(error) = cutter.read_all(source) {
                tracing::error!(%error, "cannot read standard input");
            }
        })
        .expect("a thread can be started");
    // Used again for every record; allocated anew, each would grow step by step.
    let mut buffer = BytesMut::with_capacity(BUFFER_BYTES);
    let mut next = pieces.recv_async().await.ok();
    while let Some(piece) = next.take() {
        reading.last_line.store(clock::now(), Ordering::Relaxed);
        match piece {
            Piece::Overlong(start, length) => append(settings, spool, start.into(), length).await,
            Piece::Lines(lines) => {
                buffer.extend_from_slice(&lines);
                while buffer.len() < RECORD_BYTES && next.is_none() {
                    match pieces.try_recv() {
                        Ok(Piece::Lines(more)) => buffer.extend_from_slice(&more),
                        Ok(overlong) => next = Some(overlong),
                        Err(_) => break,
                    }
                }
                let body = buffer.freeze();
                append(settings, spool, body.clone(), 0).await;
                buffer = match body.try_into_mut() {
                    Ok(used) if used.capacity() <= BUFFER_BYTES => used,
                    // It grew for a long line, which is rare.
                    _ => BytesMut::with_capacity(BUFFER_BYTES),
                };
                buffer.clear();
            }
        }
        if next.is_none() {
            next = pieces.recv_async().await.ok();
        }
    }
}

/// Has the spool keep one record, however long that takes.
async fn append(settings: &Settings, spool: &Arc<Spool>, body: Bytes, overlong: u64) {
    let messages = if overlong > 0 { 1 } else { maxwell::count_messages(&body) };
    if messages == 0 {
        return;
    }
    let meta = Meta { service: &settings.service, overlong, ..Meta::default() };
    let record = NewRecord {
        source: Source::Maxwell,
        received_at: clock::now(),
        messages,
        id: RecordId::NONE,
        meta: meta.encode(),
        body,
    };
    let mut is_waiting = false;
    loop {
        match spool.append(record.clone()).await {
            Ok(_) => return,
            Err(AppendError::Closed) => {
                tracing::error!(messages, "read from standard input after the spool was closed");
                return;
            }
            Err(error) => {
                if !is_waiting {
                    tracing::warn!(%error, "standard input waits");
                    is_waiting = true;
                }
                tokio::time::sleep(FULL_WAIT).await;
            }
        }
    }
}

/// Cuts a stream of bytes into pieces of whole lines.
struct Cutter {
    limit: usize,
    pieces: flume::Sender<Piece>,
    /// The start of a line whose end was not read yet.
    rest: Vec<u8>,
    /// The start and the length so far of a line beyond the limit.
    overlong: Option<(Vec<u8>, u64)>,
}

impl Cutter {
    fn read_all(&mut self, mut source: Box<dyn Read + Send>) -> io::Result<()> {
        let mut buffer = vec![0; READ_BYTES];
        loop {
            match source.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => {
                    if !self.take(&buffer[..read]) {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        // The last line may lack its end.
        self.take(b"\n");
        Ok(())
    }

    /// Takes what was read; `false` when nobody wants it any more.
    fn take(&mut self, mut read: &[u8]) -> bool {
        if let Some((start, length)) = &mut self.overlong {
            let Some(end) = memchr::memchr(b'\n', read) else {
                *length += read.len() as u64;
                return true;
            };
            let piece = Piece::Overlong(std::mem::take(start), *length + end as u64);
            self.overlong = None;
            read = &read[end + 1..];
            if self.pieces.send(piece).is_err() {
                return false;
            }
        }
        let first = memchr::memchr(b'\n', read).unwrap_or(read.len());
        if self.rest.len() + first > self.limit {
            let mut start = std::mem::take(&mut self.rest);
            let length = start.len() as u64;
            start.truncate(KEPT_OF_LONG);
            start.shrink_to_fit();
            self.overlong = Some((start, length));
            return self.take(read);
        }
        let Some(last) = memchr::memrchr(b'\n', read) else {
            self.rest.extend_from_slice(read);
            return true;
        };
        let mut lines = std::mem::take(&mut self.rest);
        lines.extend_from_slice(&read[..=last]);
        self.rest.extend_from_slice(&read[last + 1..]);
        self.pieces.send(Piece::Lines(lines)).is_ok()
    }
}

/// A program that Faultline runs, beside its [keeper](super::keeper).
struct Child {
    process: std::process::Child,
}

/// This program, also while its file is being replaced.
const OURSELVES: &str = "/proc/self/exe";

impl Child {
    fn start(command: &[String]) -> io::Result<Self> {
        // A group of its own: ctrl-c on a terminal is for us to pass on.
        let process = Command::new(OURSELVES)
            .args(["keep", "--"])
            .args(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()?;
        Ok(Self { process })
    }

    fn output(&mut self) -> Box<dyn Read + Send> {
        match self.process.stdout.take() {
            Some(output) => Box::new(output),
            None => Box::new(io::empty()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(reads: &[&[u8]], limit: usize) -> Vec<String> {
        let (pieces_in, pieces) = flume::bounded(100);
        let mut cutter = Cutter { limit, pieces: pieces_in, rest: Vec::new(), overlong: None };
        for read in reads {
            assert!(cutter.take(read));
        }
        assert!(cutter.take(b"\n"));
        pieces
            .drain()
            .map(|piece| match piece {
                Piece::Lines(lines) => String::from_utf8(lines).unwrap(),
                Piece::Overlong(start, length) => {
                    format!("{} of {length}", String::from_utf8(start).unwrap())
                }
            })
            .collect()
    }

    #[test]
    fn lines_are_never_torn() {
        assert_eq!(cut(&[b"one\ntw", b"o\nth", b"ree"], 100), ["one\n", "two\n", "three\n"]);
        assert_eq!(cut(&[b"one\ntwo\n", b"three\n"], 100), ["one\ntwo\n", "three\n", "\n"]);
    }

    #[test]
    fn a_long_line_is_cut_and_the_next_one_is_whole() {
        assert_eq!(
            cut(&[b"ok\n123456", b"789012", b"345\nnext\n"], 10),
            ["ok\n", "123456 of 15", "next\n", "\n"]
        );
    }
}
