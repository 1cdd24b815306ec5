//! What the spool's tests share.
#![allow(dead_code, reason = "each test file uses its part")]

use std::{
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use bytesize::ByteSize;
use faultline_actors::{
    adapters::journal::{
        AppendError, Appended, Journal, Readable,
        spool::{
            Settings, Spool,
            disk::{Disk, DiskFile, LocalDisk},
            salvage::Salvaging,
        },
    },
    domain::{
        event::Source,
        ledger::Ledger,
        record::{Content, Meta, NewRecord, RecordId},
    },
};

/// "Input/output error".
const EIO: i32 = 5;
/// Nothing in these tests takes longer unless it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn settings(directory: &Path) -> Settings {
    Settings {
        dir: directory.to_owned(),
        segment_bytes: ByteSize::kib(64),
        max_bytes: ByteSize::mib(1),
        commit_bytes: ByteSize::kib(16),
        ..Settings::default()
    }
}

pub(crate) fn record(body: &[u8]) -> NewRecord {
    NewRecord {
        source: Source::Errors,
        received_at: 1,
        messages: 1,
        id: RecordId::NONE,
        meta: Meta::default().encode(),
        body: Bytes::copy_from_slice(body),
    }
}

pub(crate) fn record_with_id(body: &[u8], id: &str) -> NewRecord {
    NewRecord { id: RecordId::new(Source::Errors, "", id), ..record(body) }
}

pub(crate) fn open(directory: &Path) -> Spool {
    open_on(directory, Arc::new(LocalDisk))
}

pub(crate) fn open_with(settings: Settings) -> Spool {
    Spool::open(settings, Arc::new(Mutex::new(Ledger::default()))).unwrap()
}

pub(crate) fn open_on(directory: &Path, disk: Arc<dyn Disk>) -> Spool {
    Spool::open_on(settings(directory), Arc::new(Mutex::new(Ledger::default())), disk).unwrap()
}

pub(crate) async fn append(spool: &Spool, body: &[u8]) -> Result<Appended, AppendError> {
    tokio::time::timeout(PATIENCE, spool.append(record(body))).await.expect("no hang")
}

/// What the spool delivered of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Delivered {
    Body(Vec<u8>),
    Duplicate,
    Damaged { messages: u32 },
}

/// Reads all records behind `position`, checking that sequences have no gap.
pub(crate) async fn read_after(spool: &Spool, position: u64) -> Vec<Delivered> {
    let head = spool.status().head;
    spool.read_after(position);
    let mut delivered = Vec::new();
    let mut expected = position + 1;
    while expected <= head {
        let block = tokio::time::timeout(PATIENCE, spool.blocks().recv_async())
            .await
            .unwrap_or_else(|_| panic!("no block with record {expected} of {head}"))
            .unwrap();
        // Blocks that were under way when the reader was asked to go back start elsewhere.
        let is_late = block.records[0].sequence > expected;
        let from = expected;
        for record in block.records.iter().filter(|one| !is_late && one.sequence >= from) {
            assert_eq!(record.sequence, expected, "in sequence, without a gap");
            expected += 1;
            delivered.push(match &record.content {
                Content::Body { body, .. } => Delivered::Body(block.bytes[body.clone()].to_vec()),
                Content::Duplicate => Delivered::Duplicate,
                Content::Damaged { .. } => Delivered::Damaged { messages: record.messages },
            });
        }
    }
    delivered
}

pub(crate) fn bodies(texts: &[&str]) -> Vec<Delivered> {
    texts.iter().map(|text| Delivered::Body(text.as_bytes().to_vec())).collect()
}

/// Opens the spool as the program does, without the waits between two tries to read.
pub(crate) fn open_salvaging(directory: &Path, disk: &TestDisk) -> io::Result<Spool> {
    let disk = Salvaging::new(Arc::new(disk.clone()), Duration::ZERO);
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    Spool::open_on(settings(directory), ledger, Arc::new(disk))
}

/// A disk that fails when it is told to, counts syncs, and can lose what was not synced.
#[derive(Clone, Default)]
pub(crate) struct TestDisk(Arc<Switches>);

#[derive(Default)]
struct Switches {
    fail_sync: AtomicBool,
    /// How many more writes succeed; those behind them fail after writing half.
    writes_left: Mutex<Option<u64>>,
    failed_writes: AtomicU64,
    syncs: AtomicU64,
    /// Syncs wait for this to become false.
    is_held: Mutex<bool>,
    released: Condvar,
    held_syncs: AtomicU64,
    unsynced: Mutex<Vec<Unsynced>>,
    unreadable: Mutex<Vec<Unreadable>>,
    is_away: AtomicBool,
}

/// A part of a file that cannot be read so many times more.
struct Unreadable {
    path: PathBuf,
    range: Range<u64>,
    times: u64,
}

/// Lets syncs go on when it is dropped.
pub(crate) struct Held(Arc<Switches>);

impl Drop for Held {
    fn drop(&mut self) {
        *self.0.is_held.lock().unwrap() = false;
        self.0.released.notify_all();
    }
}

struct Unsynced {
    file: Arc<dyn DiskFile>,
    offset: u64,
    before: Vec<u8>,
}

struct TestFile {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    switches: Arc<Switches>,
}

impl TestDisk {
    pub(crate) fn fail_sync(&self, fail: bool) {
        self.0.fail_sync.store(fail, Ordering::SeqCst);
    }

    pub(crate) fn fail_write(&self, fail: bool) {
        *self.0.writes_left.lock().unwrap() = fail.then_some(0);
    }

    pub(crate) fn fail_writes_after(&self, count: u64) {
        *self.0.writes_left.lock().unwrap() = Some(count);
    }

    pub(crate) fn failed_writes(&self) -> u64 {
        self.0.failed_writes.load(Ordering::SeqCst)
    }

    /// The next `times` reads of `range` in the file at `path` fail.
    pub(crate) fn fail_reads(&self, path: &Path, range: Range<u64>, times: u64) {
        let path = path.to_owned();
        self.0.unreadable.lock().unwrap().push(Unreadable { path, range, times });
    }

    /// Whether the disk as a whole does not answer.
    pub(crate) fn be_away(&self, is_away: bool) {
        self.0.is_away.store(is_away, Ordering::SeqCst);
    }

    pub(crate) fn syncs(&self) -> u64 {
        self.0.syncs.load(Ordering::SeqCst)
    }

    /// Has syncs wait.
    #[must_use]
    pub(crate) fn hold_syncs(&self) -> Held {
        *self.0.is_held.lock().unwrap() = true;
        Held(self.0.clone())
    }

    /// How many syncs had to wait.
    pub(crate) fn held_syncs(&self) -> u64 {
        self.0.held_syncs.load(Ordering::SeqCst)
    }

    /// The power goes: of what was not synced, only the sectors that `keeps` says survive.
    pub(crate) fn lose_unsynced(&self, mut keeps: impl FnMut() -> bool) {
        const SECTOR: usize = 512;
        for write in self.0.unsynced.lock().unwrap().drain(..).rev() {
            for (index, sector) in write.before.chunks(SECTOR).enumerate() {
                if !keeps() {
                    let offset = write.offset + (index * SECTOR) as u64;
                    write.file.write_at(sector, offset).unwrap();
                }
            }
        }
    }
}

impl Disk for TestDisk {
    fn open(&self, path: &Path, size: u64) -> io::Result<Arc<dyn DiskFile>> {
        let file = LocalDisk.open(path, size)?;
        Ok(Arc::new(TestFile { path: path.to_owned(), file, switches: self.0.clone() }))
    }

    fn probe(&self, directory: &Path) -> io::Result<()> {
        if self.0.is_away.load(Ordering::SeqCst) {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        LocalDisk.probe(directory)
    }
}

impl DiskFile for TestFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let end = offset + buffer.len() as u64;
        for Unreadable { path, range, times } in &mut *self.switches.unreadable.lock().unwrap() {
            if *path == self.path && offset < range.end && range.start < end && *times > 0 {
                *times -= 1;
                return Err(io::Error::from_raw_os_error(EIO));
            }
        }
        self.file.read_at(buffer, offset)
    }

    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut before = vec![0; bytes.len()];
        self.file.read_at(&mut before, offset)?;
        let file = self.file.clone();
        self.switches.unsynced.lock().unwrap().push(Unsynced { file, offset, before });
        let fails = match &mut *self.switches.writes_left.lock().unwrap() {
            None => false,
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
        };
        if fails {
            self.switches.failed_writes.fetch_add(1, Ordering::SeqCst);
            self.file.write_at(&bytes[..bytes.len() / 2], offset)?;
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        self.file.write_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        let is_held = self.switches.is_held.lock().unwrap();
        if *is_held {
            self.switches.held_syncs.fetch_add(1, Ordering::SeqCst);
        }
        drop(self.switches.released.wait_while(is_held, |is_held| *is_held).unwrap());
        if self.switches.fail_sync.load(Ordering::SeqCst) {
            return Err(io::Error::other("input/output error"));
        }
        self.switches.syncs.fetch_add(1, Ordering::SeqCst);
        self.file.sync()?;
        self.switches.unsynced.lock().unwrap().clear();
        Ok(())
    }
}

/// Repeats `attempt` until it gives something.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut attempt: impl FnMut() -> F,
) -> T {
    let started = std::time::Instant::now();
    loop {
        if let Some(done) = attempt().await {
            return done;
        }
        assert!(started.elapsed() < PATIENCE, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
