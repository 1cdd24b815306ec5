//! The ids of accepted records on disk, so that a retry is known across a restart.
//!
//! One file `ids-<generation>` for each generation of the [`DedupeWindow`]; entries of 24 bytes:
//! the id, and when it was accepted (microseconds, little-endian). Entries are written while the next
//! segment is prepared; those of the two newest segments are found in their frames. A torn last entry
//! is ignored, and cut off before the next is written.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufReader, Read, Write},
    path::{Path, PathBuf},
};

use crate::domain::{
    dedupe::{Bounds, DedupeWindow, Inserted},
    record::RecordId,
    time::Micros,
};

const ENTRY: usize = 24;

/// The window.
pub(super) struct Ids {
    window: DedupeWindow,
    fresh: Vec<Entry>,
}

/// Its generation, the id, and when it was accepted.
type Entry = (u64, RecordId, Micros);

/// Ids that are to be put on disk.
pub(super) struct FreshIds {
    entries: Vec<Entry>,
    /// The oldest generation that the window needs.
    needed: u64,
}

/// The files of the window.
pub(super) struct IdFiles {
    directory: PathBuf,
    /// What could not be written yet.
    unwritten: Vec<Entry>,
    oldest: u64,
}

impl Ids {
    /// Reads what earlier runs left.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(super) fn open(
        directory: &Path,
        bounds: Bounds,
        now: Micros,
    ) -> io::Result<(Self, IdFiles)> {
        let mut numbers: Vec<u64> = fs::read_dir(directory)?
            .filter_map(|entry| {
                entry.ok()?.file_name().to_str()?.strip_prefix("ids-")?.parse().ok()
            })
            .collect();
        numbers.sort_unstable();
        let mut window = DedupeWindow::new(bounds);
        for number in &numbers {
            window.start_generation(*number);
            let mut file = BufReader::new(File::open(path(directory, *number))?);
            let mut entry = [0; ENTRY];
            while file.read_exact(&mut entry).is_ok() {
                let (id, at) = entry.split_at(16);
                let id = RecordId(id.try_into().expect("16 bytes"));
                window.insert(id, Micros::from_le_bytes(at.try_into().expect("8 bytes")));
            }
            window.forget(now);
        }
        let oldest = numbers.first().copied().unwrap_or(0);
        let files = IdFiles { directory: directory.to_owned(), unwritten: Vec::new(), oldest };
        Ok((Self { window, fresh: Vec::new() }, files))
    }

    /// Remembers `id`, accepted at `at`.
    pub(super) fn insert(&mut self, id: RecordId, at: Micros) -> Inserted {
        let inserted = self.window.insert(id, at);
        if inserted == Inserted::New {
            self.fresh.push((self.window.current(), id, at));
            self.window.forget(at);
        }
        inserted
    }

    /// Takes back the newest `ids`, whose records did not become durable.
    pub(super) fn take_back(&mut self, ids: &[RecordId]) {
        for id in ids {
            self.window.remove(*id);
        }
        self.fresh.retain(|(_, id, _)| !ids.contains(id));
    }

    /// Gives those that were accepted since the last call, for [`IdFiles::write`].
    pub(super) fn take_fresh(&mut self, now: Micros) -> FreshIds {
        FreshIds { entries: std::mem::take(&mut self.fresh), needed: self.window.forget(now) }
    }

    /// How many [`Ids::take_fresh`] would give.
    #[must_use]
    pub(super) fn fresh(&self) -> usize {
        self.fresh.len()
    }

    #[must_use]
    pub(super) fn len(&self) -> usize {
        self.window.len()
    }
}

impl IdFiles {
    /// Puts ids on disk, and removes files that the window no longer needs.
    ///
    /// # Errors
    /// As the disk says; then everything is written at the next call.
    pub(super) fn write(&mut self, fresh: FreshIds) -> io::Result<()> {
        self.unwritten.extend(fresh.entries);
        let mut rest = self.unwritten.as_slice();
        while let Some((generation, ..)) = rest.first() {
            let count = rest.iter().take_while(|(number, ..)| number == generation).count();
            let mut entries = Vec::with_capacity(count * ENTRY);
            for (_, id, at) in &rest[..count] {
                entries.extend_from_slice(&id.0);
                entries.extend_from_slice(&at.to_le_bytes());
            }
            let path = path(&self.directory, *generation);
            let mut file = OpenOptions::new().create(true).append(true).open(path)?;
            let length = file.metadata()?.len();
            let torn = length % ENTRY as u64;
            if torn > 0 {
                file.set_len(length - torn)?;
            }
            file.write_all(&entries)?;
            file.sync_data()?;
            rest = &rest[count..];
        }
        self.unwritten.clear();
        while self.oldest < fresh.needed {
            remove_if_there(&path(&self.directory, self.oldest))?;
            self.oldest += 1;
        }
        Ok(())
    }
}

fn path(directory: &Path, generation: u64) -> PathBuf {
    directory.join(format!("ids-{generation:016}"))
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::Source;

    const BOUNDS: Bounds = Bounds { age: 1_000, least: 4, most: 40 };

    fn id(number: u32) -> RecordId {
        RecordId::new(Source::Logdrains, "d", &number.to_string())
    }

    #[test]
    fn ids_survive_and_old_files_go() {
        let directory = tempfile::tempdir().unwrap();
        let (mut ids, mut files) = Ids::open(directory.path(), BOUNDS, 0).unwrap();
        for number in 0..100 {
            ids.insert(id(number), 0);
            if number % 7 == 0 {
                files.write(ids.take_fresh(0)).unwrap();
            }
        }
        files.write(ids.take_fresh(0)).unwrap();
        let (mut again, _) = Ids::open(directory.path(), BOUNDS, 0).unwrap();
        assert_eq!(again.insert(id(99), 0), Inserted::Known);
        assert_eq!(again.insert(id(1), 0), Inserted::New);
        assert!(again.len() <= 41);
        assert!(fs::read_dir(directory.path()).unwrap().count() <= 5);
    }

    #[test]
    fn a_torn_entry_is_ignored() {
        let directory = tempfile::tempdir().unwrap();
        let (mut ids, mut files) = Ids::open(directory.path(), BOUNDS, 0).unwrap();
        ids.insert(id(1), 0);
        ids.insert(id(2), 0);
        files.write(ids.take_fresh(0)).unwrap();
        let file = path(directory.path(), 0);
        let bytes = fs::read(&file).unwrap();
        fs::write(&file, &bytes[..bytes.len() - 3]).unwrap();
        let (mut again, _) = Ids::open(directory.path(), BOUNDS, 0).unwrap();
        assert_eq!(again.insert(id(1), 0), Inserted::Known);
        assert_eq!(again.insert(id(2), 0), Inserted::New);
    }

    #[test]
    fn what_is_written_behind_a_torn_entry_is_known() {
        let directory = tempfile::tempdir().unwrap();
        let (mut ids, mut files) = Ids::open(directory.path(), BOUNDS, 0).unwrap();
        ids.insert(id(1), 0);
        files.write(ids.take_fresh(0)).unwrap();
        let mut file = OpenOptions::new().append(true).open(path(directory.path(), 0)).unwrap();
        file.write_all(&[7; ENTRY - 1]).unwrap();
        ids.insert(id(2), 0);
        files.write(ids.take_fresh(0)).unwrap();
        let (mut again, _) = Ids::open(directory.path(), BOUNDS, 0).unwrap();
        assert_eq!(again.insert(id(1), 0), Inserted::Known);
        assert_eq!(again.insert(id(2), 0), Inserted::Known);
    }

    #[test]
    fn what_failed_is_taken_back() {
        let directory = tempfile::tempdir().unwrap();
        let (mut ids, mut files) = Ids::open(directory.path(), BOUNDS, 0).unwrap();
        ids.insert(id(1), 0);
        ids.take_back(&[id(1)]);
        files.write(ids.take_fresh(0)).unwrap();
        assert_eq!(ids.insert(id(1), 0), Inserted::New);
    }
}
