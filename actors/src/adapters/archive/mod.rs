//! Archives: the events of a day in a file, for the time when the store has them no more.
//!
//! `events-2026-10-01.ndjson.zst` has one [`ArchivedEvent`] a line, compressed with zstd, so that any
//! program can read it; the manifest beside it, `events-2026-10-01.manifest.json`, says how many
//! there are, the file's SHA-256, and which journals the numbers of origins stand for. Both are
//! written under other names, made durable, read again, and only then renamed, the manifest last:
//! where there is a manifest, the archive is whole. Where another store's archive of that day is in the
//! directory, the id is in the names, too: `events-2026-10-01.<id>.ndjson.zst`.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

pub use self::{reader::Reader, writer::Writer};
use crate::domain::archived::ArchivedEvent;

mod reader;
mod writer;

/// Of the form of archives that is written.
pub const FORMAT: u32 = 1;

/// Of the names of archives.
const ENDING: &str = ".ndjson.zst";

/// What there is to know of an archive without reading it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// See [`FORMAT`].
    pub format: u32,
    /// Identifies the archive: its events are restored once.
    #[serde(with = "as_text")]
    pub id: Uuid,
    pub day: Date,
    /// From 1; further ones hold what came late.
    pub part: u32,
    /// The name of the file beside this one.
    pub file: String,
    pub events: u64,
    /// Of the file.
    pub bytes: u64,
    /// Of the file, in hexadecimal digits.
    pub sha256: String,
    /// RFC 3339; none where there are no events.
    pub first_received_at: Option<jiff::Timestamp>,
    pub last_received_at: Option<jiff::Timestamp>,
    pub origins: Vec<ArchivedOrigin>,
}

/// What a number that stands for an origin means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchivedOrigin {
    pub number: i32,
    #[serde(with = "as_text")]
    pub origin: Uuid,
    /// The sequence of the first and the last event that is of this journal.
    pub first: i64,
    pub last: i64,
}

impl Manifest {
    /// Where the manifest of an archive is.
    #[must_use]
    pub fn path_of(archive: &Path) -> PathBuf {
        let name = archive.file_name().unwrap_or_default().to_string_lossy();
        let stem = name.strip_suffix(ENDING).unwrap_or(&name);
        archive.with_file_name(format!("{stem}.manifest.json"))
    }

    /// Reads the manifest of an archive.
    ///
    /// # Errors
    /// When there is none that can be used.
    pub fn read(archive: &Path) -> io::Result<Self> {
        let path = Self::path_of(archive);
        let told = |problem: String| io::Error::other(format!("{}: {problem}", path.display()));
        let text = fs::read(&path).map_err(|error| told(error.to_string()))?;
        let manifest: Self =
            serde_json::from_slice(&text).map_err(|error| told(error.to_string()))?;
        if manifest.format != FORMAT {
            let found = manifest.format;
            return Err(told(format!("format {found} is not known here, {FORMAT} is")));
        }
        Ok(manifest)
    }

    /// Reads the archive from beginning to end, as it is on disk.
    ///
    /// # Errors
    /// When it is not what this manifest says.
    pub fn verify(&self, archive: &Path) -> io::Result<()> {
        let (bytes, sha256) = digest(archive)?;
        if (bytes, &sha256) != (self.bytes, &self.sha256) {
            return Err(io::Error::other(format!(
                "{}: {bytes} bytes of SHA-256 {sha256}, where the manifest says {} of {}",
                archive.display(),
                self.bytes,
                self.sha256
            )));
        }
        Ok(())
    }
}

/// An id, as people read it.
mod as_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use uuid::Uuid;

    pub(super) fn serialize<S: Serializer>(id: &Uuid, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(id)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Uuid, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// The length and the SHA-256 of a file.
pub(crate) fn digest(path: &Path) -> io::Result<(u64, String)> {
    const STEP: usize = 1 << 20;
    let (mut file, mut hash) = (File::open(path)?, Sha256::new());
    let (mut bytes, mut buffer) = (0, vec![0; STEP]);
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok((bytes, hex(&hash.finalize())));
        }
        bytes += read as u64;
        hash.update(&buffer[..read]);
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What was met of each number, while events pass.
#[derive(Debug, Default)]
struct Met {
    events: u64,
    received: Option<(i64, i64)>,
    origins: BTreeMap<i32, (i64, i64)>,
}

impl Met {
    fn add(&mut self, event: &ArchivedEvent) {
        self.events += 1;
        widen(
            self.received.get_or_insert((event.received_at, event.received_at)),
            event.received_at,
        );
        let sequence = event.sequence;
        widen(self.origins.entry(event.origin).or_insert((sequence, sequence)), sequence);
    }
}

fn widen(range: &mut (i64, i64), value: i64) {
    *range = (range.0.min(value), range.1.max(value));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(number: i64) -> ArchivedEvent {
        let line = serde_json::json!({
            "origin": 1 + number % 2, "sequence": number, "ordinal": 0,
            "received_at": format!("2026-10-01T00:00:{:02}Z", number % 60),
            "occurred_at": "2026-10-01T00:00:00Z", "source": "errors", "kind": "error",
            "severity": "error", "environment": "prod", "service": "shop",
            "message": format!("message {number}"), "messages": 1,
        });
        serde_json::from_value(line).unwrap()
    }

    fn origins() -> BTreeMap<i32, Uuid> {
        BTreeMap::from([(1, Uuid::from_u128(1)), (2, Uuid::from_u128(2))])
    }

    fn written(directory: &Path, count: i64) -> Manifest {
        written_as(directory, 7, count)
    }

    fn written_as(directory: &Path, id: u128, count: i64) -> Manifest {
        let day = "2026-10-01".parse().unwrap();
        let name = crate::domain::retention::file_name(day, 1);
        let mut writer = Writer::create(directory, &name, Uuid::from_u128(id), day, 1).unwrap();
        for chunk in (0..count).collect::<Vec<_>>().chunks(10) {
            writer.push(&chunk.iter().copied().map(event).collect::<Vec<_>>()).unwrap();
        }
        writer.finish().unwrap().publish(&origins()).unwrap()
    }

    #[test]
    fn what_is_written_can_be_read() {
        let directory = tempfile::tempdir().unwrap();
        let manifest = written(directory.path(), 95);
        assert_eq!((manifest.events, manifest.part), (95, 1));
        assert_eq!(manifest.first_received_at.unwrap().to_string(), "2026-10-01T00:00:00Z");
        let [one, two] = &manifest.origins[..] else { panic!("{:?}", manifest.origins) };
        assert_eq!((one.number, one.first, one.last), (1, 0, 94));
        assert_eq!((two.origin, two.first, two.last), (Uuid::from_u128(2), 1, 93));
        let path = directory.path().join(&manifest.file);
        let (read, mut reader) = Reader::open(&path).unwrap();
        assert_eq!(read, manifest);
        let mut events = Vec::new();
        while let Some(chunk) = reader.next_chunk(40).unwrap() {
            assert!(chunk.len() <= 40);
            events.extend(chunk);
        }
        assert_eq!(events, (0..95).map(event).collect::<Vec<_>>());
        let mut names: Vec<_> = fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["events-2026-10-01.manifest.json", "events-2026-10-01.ndjson.zst"]);
    }

    #[test]
    fn an_archive_that_is_not_whole_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let manifest = written(directory.path(), 50);
        let path = directory.path().join(&manifest.file);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        let problem = Reader::open(&path).err().unwrap().to_string();
        assert!(problem.contains("where the manifest says"), "{problem}");
        fs::write(&path, &whole).unwrap();
        Reader::open(&path).unwrap();
        fs::remove_file(Manifest::path_of(&path)).unwrap();
        assert!(Reader::open(&path).is_err());
    }

    #[test]
    fn nothing_has_its_name_before_it_is_whole() {
        let directory = tempfile::tempdir().unwrap();
        let day = "2026-10-01".parse().unwrap();
        let name = crate::domain::retention::file_name(day, 1);
        let mut writer =
            Writer::create(directory.path(), &name, Uuid::from_u128(7), day, 1).unwrap();
        writer.push(&[event(1)]).unwrap();
        let finished = writer.finish().unwrap();
        assert!(!directory.path().join("events-2026-10-01.ndjson.zst").exists());
        drop(finished);
        // Broken off, as an older version did it, too: the next try takes its place.
        let old = directory.path().join("events-2026-10-01.manifest.json.partial");
        fs::write(old, b"half").unwrap();
        let manifest = written(directory.path(), 3);
        assert_eq!(manifest.events, 3);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2, "nothing else remains");
    }

    #[test]
    fn two_tries_at_once_do_not_write_into_one_file() {
        let directory = tempfile::tempdir().unwrap();
        let day = "2026-10-01".parse().unwrap();
        let name = crate::domain::retention::file_name(day, 1);
        let create =
            || Writer::create(directory.path(), &name, Uuid::from_u128(7), day, 1).unwrap();
        let mut relieved = create();
        relieved.push(&[event(1)]).unwrap();
        let mut writer = create();
        writer.push(&[event(1), event(2)]).unwrap();
        assert!(relieved.finish().is_err(), "its file is gone");
        let manifest = writer.finish().unwrap().publish(&origins()).unwrap();
        let (read, mut reader) = Reader::open(&directory.path().join(&manifest.file)).unwrap();
        assert_eq!((read.events, reader.next_chunk(9).unwrap().unwrap().len()), (2, 2));
    }

    #[test]
    fn no_archive_takes_the_place_of_another_one() {
        let directory = tempfile::tempdir().unwrap();
        let first = written(directory.path(), 3);
        let day = "2026-10-01".parse().unwrap();
        let (path, id) = (directory.path(), Uuid::from_u128(8));
        let mut underway = Writer::create(path, &first.file, id, day, 1).unwrap();
        let other = written_as(directory.path(), 9, 5);
        let id = Uuid::from_u128(9);
        assert_eq!(other.file, format!("events-2026-10-01.{id}.ndjson.zst"));
        underway.push(&[event(1)]).unwrap();
        let third = underway.finish().unwrap().publish(&origins()).unwrap();
        assert_eq!(written_as(directory.path(), 9, 6).file, other.file, "its own it may replace");
        for (manifest, events) in [(first, 3), (other, 6), (third, 1)] {
            let path = directory.path().join(&manifest.file);
            let (read, mut reader) = Reader::open(&path).unwrap();
            assert_eq!((read.id, read.file), (manifest.id, manifest.file));
            assert_eq!(reader.next_chunk(9).unwrap().unwrap().len(), events);
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 6, "a manifest each");
    }

    #[test]
    fn two_that_are_named_at_once_have_different_names() {
        let directory = tempfile::tempdir().unwrap();
        let another_one = File::open(directory.path()).unwrap();
        another_one.lock().unwrap();
        let id = Uuid::from_u128(7);
        let aside = format!("events-2026-10-01.{id}.ndjson.zst");
        assert_eq!(written(directory.path(), 3).file, aside);
        another_one.unlock().unwrap();
        assert_eq!(written(directory.path(), 3).file, "events-2026-10-01.ndjson.zst");
    }

    #[test]
    fn what_has_no_manifest_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events-2026-10-01.ndjson.zst");
        fs::write(&path, b"of a crash").unwrap();
        assert_eq!(directory.path().join(written(directory.path(), 3).file), path);
        Reader::open(&path).unwrap();
    }
}
