//! The spool: the journal on local disk.
//!
//! ```text
//! append ──▶ writer thread ──▶ segments ──▶ reader thread ──▶ blocks
//!            (group commit)    on disk      (on from a position)
//!                  │              ▲
//!                  └──▶ preparer thread (the next segment's file, ids)
//! ```
//!
//! What it promises, and what the code keeps to:
//!
//! 1. **Durable before accepted.** [`Journal::append`] succeeds only after `fdatasync` of the
//!    record. One that failed is not delivered: its segment is sealed before it, and the next
//!    segment starts with its sequence.
//! 2. **In order, without gaps.** Sequences count from 1. What a disk has damaged, or cannot read any
//!    more, is delivered as such, with its place in the order and its place in the ledger.
//! 3. **Nothing acknowledged is lost to a torn write.** At start the newest segment is cut at its
//!    first invalid frame, unless a later commit proves that the frame had been durable: then it is
//!    damage (2). Every start opens a new segment, so nothing is written over an unclean end.
//! 4. **Nothing stale comes back.** Segments are recycled without being cleared; a frame's checksum
//!    covers the number of its segment, so what an earlier life left never looks valid; nor does
//!    what a client sends, since the checksum covers the origin too.
//! 5. **Bounded.** Records that wait take at most `max_bytes`; beyond that [`AppendError::Full`].
//! 6. **One process.** A lock on the directory is held for as long as the spool is open.
//!
//! The format is in [`format`](mod@format). Files: `lock`, `origin` (the spool's id),
//! `<number>.segment`, `ids-<generation>` (ids of accepted requests, to know a retry), `probe` (see
//! [`disk::Disk::probe`]), `<number>.damaged` (segments set aside).

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::Duration,
};

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use self::{
    disk::{Disk, LocalDisk, sync_directory},
    format::{LARGEST_SEGMENT, SEGMENT_HEADER, Totals},
    ids::Ids,
    preparer::Preparer,
    reader::Reader,
    salvage::Salvaging,
    segments::{Shared, locate, recover},
    writer::{Command, Gathered, Writer},
};
use super::{AppendError, Appended, Journal, Origin, Readable};
use crate::{
    adapters::clock,
    domain::{
        dedupe::Bounds,
        event::Source,
        ledger::{Ledger, Tally},
        record::{Block, NewRecord},
        time::Micros,
    },
};

pub mod disk;
pub mod format;
mod ids;
mod preparer;
mod reader;
mod rebuild;
pub mod salvage;
mod search;
mod segments;
mod writer;

/// Section `[spool]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    pub dir: PathBuf,
    pub max_bytes: ByteSize,
    pub segment_bytes: ByteSize,
    /// A commit gathers at most about so much.
    pub commit_bytes: ByteSize,
    /// Requests that may wait for a commit.
    pub queue: usize,
    /// Ids of requests remembered, at most.
    pub dedupe_ids: usize,
    /// Ids are remembered at least this long while there are no more than `dedupe_ids`.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub dedupe_age: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            dir: PathBuf::from("data/spool"),
            max_bytes: ByteSize::gib(4),
            segment_bytes: ByteSize::mib(64),
            commit_bytes: ByteSize::mib(1),
            queue: 4096,
            dedupe_ids: 500_000,
            dedupe_age: Duration::from_hours(1),
        }
    }
}

impl Settings {
    /// At least so many ids are remembered, however old.
    pub const LEAST_IDS: usize = 100_000;

    /// # Errors
    /// Names the key, and what would be right.
    pub fn validate(&self) -> Result<(), String> {
        if self.dir.as_os_str().is_empty() {
            return Err("dir = \"\": a directory is needed".to_owned());
        }
        let largest = ByteSize(LARGEST_SEGMENT as u64);
        if self.segment_bytes < ByteSize::kib(64) || self.segment_bytes > largest {
            return Err(format!(
                "segment_bytes = \"{}\": between 64 KiB and 1 GiB is possible",
                self.segment_bytes
            ));
        }
        if self.max_bytes.as_u64() < 2 * self.segment_bytes.as_u64() {
            return Err(format!(
                "max_bytes = \"{}\": at least two segments ({}) are needed",
                self.max_bytes,
                ByteSize(2 * self.segment_bytes.as_u64())
            ));
        }
        if self.commit_bytes.as_u64() == 0 || self.commit_bytes > self.segment_bytes {
            return Err(format!(
                "commit_bytes = \"{}\": between 1 byte and segment_bytes is possible",
                self.commit_bytes
            ));
        }
        if self.queue == 0 {
            return Err("queue = 0: at least one request must be able to wait".to_owned());
        }
        if self.dedupe_ids < Self::LEAST_IDS {
            return Err(format!(
                "dedupe_ids = {}: at least {} ids are remembered",
                self.dedupe_ids,
                Self::LEAST_IDS
            ));
        }
        Ok(())
    }

    fn segment_bytes(&self) -> u64 {
        self.segment_bytes.as_u64()
    }

    fn commit_bytes(&self) -> usize {
        usize::try_from(self.commit_bytes.as_u64()).unwrap_or(usize::MAX)
    }

    /// The longest frame that fits into a segment of the writer's.
    fn longest_frame(&self) -> usize {
        usize::try_from(self.segment_bytes()).unwrap_or(usize::MAX) - SEGMENT_HEADER
    }

    fn bounds(&self) -> Bounds {
        let age = Micros::try_from(self.dedupe_age.as_micros()).unwrap_or(Micros::MAX / 2);
        Bounds { age, least: Self::LEAST_IDS, most: self.dedupe_ids }
    }
}

/// See the [module](self).
pub struct Spool {
    origin: Origin,
    recovered: u64,
    shared: Arc<Shared>,
    commands: flume::Sender<Command>,
    blocks: flume::Receiver<Block>,
    settings: Settings,
    ledger: Arc<Mutex<Ledger>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Keeps other processes out for as long as it is open.
    _lock: File,
}

/// How the spool is doing.
#[derive(Clone, Debug)]
pub struct Status {
    pub used_bytes: u64,
    pub max_bytes: u64,
    /// The last durable sequence.
    pub head: u64,
    pub acknowledged: u64,
    /// When the oldest record that is not acknowledged was received.
    pub oldest: Option<Micros>,
    /// Why it cannot write, while it cannot.
    pub failing: Option<String>,
    pub ids: usize,
    /// Requests that wait for a commit.
    pub queued: usize,
    pub queue_capacity: usize,
    /// Blocks that wait for the parser.
    pub blocks: usize,
    pub block_capacity: usize,
}

/// What the writer may ask for ahead of what is done.
const ORDERS: usize = 2;

/// Blocks that may wait for the parser: one in its hands, one ready, few enough that large
/// records do not pile up.
const BLOCKS: usize = 4;

impl Spool {
    /// Opens the spool in `settings.dir`, recovering what an earlier process left.
    ///
    /// # Errors
    /// When the directory cannot be used, or another process holds it.
    pub fn open(settings: Settings, ledger: Arc<Mutex<Ledger>>) -> io::Result<Self> {
        let disk = Salvaging::new(Arc::new(LocalDisk), salvage::PAUSE);
        Self::open_on(settings, ledger, Arc::new(disk))
    }

    /// Like [`Spool::open`], on a disk of the caller's.
    ///
    /// # Errors
    /// Like [`Spool::open`].
    pub fn open_on(
        settings: Settings,
        ledger: Arc<Mutex<Ledger>>,
        disk: Arc<dyn Disk>,
    ) -> io::Result<Self> {
        let directory = settings.dir.clone();
        fs::create_dir_all(&directory)?;
        let lock = lock(&directory)?;
        let origin = read_or_make_origin(&directory)?;
        let recovered = recover(&directory, &*disk, origin)?;
        let (mut ids, id_files) = Ids::open(&directory, settings.bounds(), clock::now())?;
        for (id, received_at) in recovered.ids {
            ids.insert(id, received_at);
        }
        let (totals, head) = (recovered.state.totals, recovered.state.head);
        let shared = Arc::new(Shared::new(recovered.state));
        let (commands, commands_in) = flume::bounded(settings.queue);
        let (blocks_out, blocks) = flume::bounded(BLOCKS);
        let (orders, orders_in) = flume::bounded(ORDERS);
        let (prepared_out, prepared) = flume::bounded(1);
        let reader = Reader::new(shared.clone(), blocks_out);
        let preparer = Preparer {
            disk,
            directory: directory.clone(),
            segment_bytes: settings.segment_bytes(),
            ids: id_files,
            orders: orders_in,
            prepared: prepared_out,
        };
        let writer = Writer {
            shared: shared.clone(),
            commands: commands_in,
            settings: settings.clone(),
            directory,
            origin,
            ids,
            orders,
            prepared,
            is_ordered: false,
            ledger: ledger.clone(),
            next_sequence: head + 1,
            next_number: recovered.next_number,
            next_commit: recovered.next_commit,
            totals,
            current: None,
            gathered: Gathered::default(),
            rest_until: None,
        };
        let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new().name(name.to_owned()).spawn(run)
        };
        let threads = vec![
            spawn("spool-writer", Box::new(move || writer.run()))?,
            spawn("spool-reader", Box::new(move || reader.run()))?,
            spawn("spool-preparer", Box::new(move || preparer.run()))?,
        ];
        Ok(Self {
            origin,
            recovered: head,
            shared,
            commands,
            blocks,
            settings,
            ledger,
            threads: Mutex::new(threads),
            _lock: lock,
        })
    }

    /// Hands `record` to the writer without waiting for the disk. The receiver tells the outcome; when
    /// it is dropped before the writer has come to the record, that is not kept.
    ///
    /// # Errors
    /// When the spool is closed.
    pub async fn enqueue(
        &self,
        record: NewRecord,
    ) -> Result<oneshot::Receiver<Result<Appended, AppendError>>, AppendError> {
        let (reply, outcome) = oneshot::channel();
        let command = Command::Append(record, reply);
        self.commands.send_async(command).await.map_err(|_| AppendError::Closed)?;
        Ok(outcome)
    }

    /// Why the spool would refuse a record now; `None` when it would take one.
    #[must_use]
    pub fn refuses(&self) -> Option<AppendError> {
        let state = self.shared.lock();
        if state.closed {
            return Some(AppendError::Closed);
        }
        if let Some(failing) = &state.failing {
            return Some(AppendError::Failing(failing.clone()));
        }
        let (used, limit) = (state.used(), self.settings.max_bytes.as_u64());
        (state.is_full || used >= limit).then_some(AppendError::Full { used, limit })
    }

    /// Starts the ledger anew where no store tells what became of messages: everything up to
    /// `position` counts as stored.
    ///
    /// # Errors
    /// When the segment that holds the position cannot be read.
    pub fn restart_ledger(&self, position: u64) -> io::Result<()> {
        let settled = self.totals_at(position)?.map(|stored| Tally { stored, ..Tally::default() });
        self.resume_ledger(position, settled, settled)
    }

    /// The ledger as it is now.
    ///
    /// # Panics
    /// When a thread panicked while it counted.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        self.ledger.lock().expect("nobody panics while counting").clone()
    }

    /// Cumulative messages up to `position`.
    fn totals_at(&self, position: u64) -> io::Result<Totals> {
        let state = self.shared.lock();
        let Some(segment) = state.segment_of(position + 1).cloned() else {
            // Nothing is behind it yet.
            return Ok(state.totals);
        };
        let at_end = state.totals_behind(segment.number);
        drop(state);
        Ok(locate(&segment, position + 1, &at_end)?.totals)
    }

    #[must_use]
    pub fn status(&self) -> Status {
        let state = self.shared.lock();
        Status {
            used_bytes: state.used(),
            max_bytes: self.settings.max_bytes.as_u64(),
            head: state.head,
            acknowledged: state.acknowledged,
            oldest: state.commits.front().map(|(_, received_at)| *received_at),
            failing: state.failing.clone(),
            ids: state.ids,
            queued: self.commands.len(),
            queue_capacity: self.settings.queue,
            blocks: self.blocks.len(),
            block_capacity: BLOCKS,
        }
    }

    /// Waits until everything that is durable now is acknowledged.
    pub async fn settled(&self) {
        let head = self.shared.lock().head;
        let mut acknowledged = self.shared.acknowledged.subscribe();
        // The sender lives as long as the spool.
        let _ = acknowledged.wait_for(|position| *position >= head).await;
    }

    /// Writes what is queued, then stops the threads. Appends that come later are refused.
    pub fn close(&self) {
        let threads = std::mem::take(&mut *self.threads.lock().expect("nobody panics in here"));
        if threads.is_empty() {
            return;
        }
        let _ = self.commands.send(Command::Close);
        // A reader that waits for somebody to take its block would never look up.
        let taken = self.blocks.drain().count();
        tracing::debug!(taken, "blocks left to the next start");
        let mut threads = threads.into_iter();
        if let Some(writer) = threads.next() {
            let _ = writer.join();
        }
        for thread in threads {
            while !thread.is_finished() {
                self.blocks.drain();
                std::thread::sleep(Duration::from_millis(1));
            }
            let _ = thread.join();
        }
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.close();
    }
}

impl Journal for Spool {
    async fn append(&self, record: NewRecord) -> Result<Appended, AppendError> {
        self.enqueue(record).await?.await.map_err(|_| AppendError::Closed)?
    }
}

impl Readable for Spool {
    fn origin(&self) -> Origin {
        self.origin
    }

    fn read_after(&self, position: u64) {
        self.shared.lock().read_after = Some(position);
        self.shared.notify_reader();
    }

    fn blocks(&self) -> flume::Receiver<Block> {
        self.blocks.clone()
    }

    fn acknowledge(&self, position: u64) {
        let mut state = self.shared.lock();
        if position <= state.acknowledged {
            return;
        }
        state.acknowledged = position;
        while state.commits.pop_front_if(|(last, _)| *last <= position).is_some() {}
        let is_done = state
            .segments
            .front()
            .is_some_and(|oldest| oldest.last_sequence != 0 && oldest.last_sequence <= position);
        drop(state);
        self.shared.acknowledged.send_replace(position);
        if is_done {
            // When the queue is full, the next commit reclaims anyway.
            let _ = self.commands.try_send(Command::Reclaim);
        }
    }

    fn recovered(&self) -> u64 {
        self.recovered
    }

    fn first_kept(&self) -> u64 {
        let state = self.shared.lock();
        state.segments.front().map_or(state.head + 1, |segment| segment.first_sequence)
    }

    fn resume_ledger(
        &self,
        position: u64,
        settled: [Tally; Source::COUNT],
        _: [Tally; Source::COUNT],
    ) -> io::Result<()> {
        let before = self.totals_at(position)?;
        let state = self.shared.lock();
        let mut in_flight = state.totals;
        for (count, before) in in_flight.iter_mut().zip(before) {
            *count = count.saturating_sub(before);
        }
        let mut ledger = self.ledger.lock().expect("nobody panics while counting");
        *ledger = Ledger::resume(settled, in_flight);
        Ok(())
    }
}

fn lock(directory: &Path) -> io::Result<File> {
    let file =
        File::options().create(true).truncate(false).write(true).open(directory.join("lock"))?;
    file.try_lock().map_err(|error| match error {
        fs::TryLockError::WouldBlock => io::Error::new(
            io::ErrorKind::ResourceBusy,
            format!("another process uses the spool in {}", directory.display()),
        ),
        fs::TryLockError::Error(error) => error,
    })?;
    Ok(file)
}

fn read_or_make_origin(directory: &Path) -> io::Result<Origin> {
    let path = directory.join("origin");
    match fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().map_err(|error| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display()))
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let origin = Origin::now_v7();
            let unfinished = directory.join("origin.new");
            let mut file = File::create(&unfinished)?;
            writeln!(file, "{origin}")?;
            file.sync_all()?;
            fs::rename(&unfinished, &path)?;
            sync_directory(directory)?;
            Ok(origin)
        }
        Err(error) => Err(error),
    }
}
