//! Reading what a failing disk still gives: a place that cannot be read counts as zeros, which are
//! no frames, so that it costs the records in it and not those behind it.
//!
//! A disk that is away for a while must not cost anything. So a place is given up only when it could
//! not be read for some time, and then not either though the disk made something else durable.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use super::disk::{Disk, DiskFile};

/// How long the disk is left alone before a place is tried again.
pub const PAUSE: Duration = Duration::from_secs(1);
const TRIES: usize = 10;
/// Once a place of a file is given up. Neighbours often fail together: to be patient with each would
/// take hours.
const LATER_TRIES: usize = 2;
/// As much as a page: what a damaged sector keeps the system from reading.
const STEP: u64 = 4096;
/// "Input/output error".
const EIO: i32 = 5;

/// A disk whose files are read over places that cannot be read.
#[derive(Clone)]
pub struct Salvaging {
    disk: Arc<dyn Disk>,
    pause: Duration,
}

impl Salvaging {
    /// `pause` is the time between two tries, [`PAUSE`] but for tests.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>, pause: Duration) -> Self {
        Self { disk, pause }
    }
}

impl Disk for Salvaging {
    fn open(&self, path: &Path, size: u64) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.disk.open(path, size)?;
        let (path, on) = (path.to_owned(), self.clone());
        Ok(Arc::new(Salvaged { file, path, on, lost: Mutex::default() }))
    }

    fn probe(&self, directory: &Path) -> io::Result<()> {
        self.disk.probe(directory)
    }
}

struct Salvaged {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    on: Salvaging,
    /// Where the steps start that were given up. They are not tried again: a disk takes seconds for
    /// each.
    lost: Mutex<BTreeSet<u64>>,
}

impl DiskFile for Salvaged {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let end = offset + buffer.len() as u64;
        if self.unreadable(offset, end).is_none()
            && let Some(read) = readable(self.file.read_at(buffer, offset))?
        {
            return Ok(read);
        }
        self.read_by_steps(buffer, offset)
    }

    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(bytes, offset)?;
        // A disk puts what is written elsewhere when the place is bad.
        let end = offset + bytes.len() as u64;
        self.lost().retain(|step| *step + STEP <= offset || *step >= end);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn unreadable(&self, from: u64, to: u64) -> Option<u64> {
        let last = self.lost().range(from / STEP * STEP..to).next_back().copied();
        last.map(|step| step + STEP)
    }
}

impl Salvaged {
    fn lost(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.lost.lock().expect("nobody panics while it is held")
    }

    fn read_by_steps(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut given_up = Vec::new();
        let mut filled = 0;
        while filled < buffer.len() {
            let at = offset + filled as u64;
            let step = at / STEP * STEP;
            let left = usize::try_from(step + STEP - at).unwrap_or(usize::MAX);
            let length = left.min(buffer.len() - filled);
            let part = &mut buffer[filled..filled + length];
            let is_lost = self.lost().contains(&step);
            let read = if is_lost { None } else { self.insist(part, at)? };
            if read.is_none() {
                part.fill(0);
                if self.lost().insert(step) {
                    given_up.push(step);
                }
            }
            let read = read.unwrap_or(length);
            filled += read;
            if read < length {
                break;
            }
        }
        if let Some(first) = given_up.first() {
            let (path, bytes) = (self.path.display(), given_up.len() as u64 * STEP);
            tracing::warn!(%path, offset = *first, bytes, "the disk cannot read a part of the spool: records in it count as damaged");
        }
        Ok(filled)
    }

    /// Tries to read for some time; `None` when the disk is there and cannot read this all the same.
    fn insist(&self, part: &mut [u8], at: u64) -> io::Result<Option<usize>> {
        let is_first = self.lost().is_empty();
        let (tries, pause) =
            if is_first { (TRIES, self.on.pause) } else { (LATER_TRIES, Duration::ZERO) };
        for attempt in 0..tries {
            if let Some(read) = readable(self.file.read_at(part, at))? {
                return Ok(Some(read));
            }
            if is_first && attempt == 0 {
                let path = self.path.display();
                tracing::warn!(%path, offset = at, "the disk cannot read a part of the spool; trying again");
            }
            std::thread::sleep(pause);
        }
        self.on.disk.probe(self.path.parent().unwrap_or(Path::new(".")))?;
        readable(self.file.read_at(part, at))
    }
}

/// `None` for what the disk cannot read.
fn readable(read: io::Result<usize>) -> io::Result<Option<usize>> {
    match read {
        Err(error) if error.raw_os_error() == Some(EIO) => {
            metrics::counter!("faultline_spool_read_errors_total").increment(1);
            Ok(None)
        }
        read => read.map(Some),
    }
}
