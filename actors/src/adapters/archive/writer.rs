//! Writes archives.

use std::{
    collections::BTreeMap,
    fs::{self, File, TryLockError},
    io::{self, BufReader, Write},
    path::{Path, PathBuf},
};

use jiff::civil::Date;
use uuid::Uuid;

use super::{ArchivedOrigin, ENDING, FORMAT, Manifest, Met, digest};
use crate::domain::archived::ArchivedEvent;

/// Of zstd: a tenth of the bytes, at some hundred MB a second.
const LEVEL: i32 = 3;

/// An archive that is being written; dropped, nothing but a file with the ending `.partial` remains,
/// which the next try removes. Each try has a file of its own: where two hubs share a directory, one
/// that does not know yet that it was relieved spoils nothing, nor does one that archives another
/// store there.
pub struct Writer {
    encoder: zstd::stream::write::Encoder<'static, File>,
    manifest: Manifest,
    path: PathBuf,
    partial: PathBuf,
    met: Met,
    line: Vec<u8>,
}

/// One that is whole and durable, under its preliminary name.
pub struct Finished {
    manifest: Manifest,
    path: PathBuf,
    partial: PathBuf,
    origins: BTreeMap<i32, (i64, i64)>,
}

impl Writer {
    /// Begins an archive in `directory`, which is made where it is missing.
    ///
    /// # Errors
    /// When that cannot be done.
    pub fn create(
        directory: &Path,
        name: &str,
        id: Uuid,
        day: Date,
        part: u32,
    ) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let path = directory.join(name);
        remove_partials(directory, name, id)?;
        let partial = partial(&path, id);
        let file = File::create_new(&partial)?;
        let mut encoder = zstd::stream::write::Encoder::new(file, LEVEL)?;
        encoder.include_checksum(true)?;
        let manifest = Manifest {
            format: FORMAT,
            id,
            day,
            part,
            file: name.to_owned(),
            events: 0,
            bytes: 0,
            sha256: String::new(),
            first_received_at: None,
            last_received_at: None,
            origins: Vec::new(),
        };
        Ok(Self { encoder, manifest, path, partial, met: Met::default(), line: Vec::new() })
    }

    /// Appends events.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn push(&mut self, events: &[ArchivedEvent]) -> io::Result<()> {
        for event in events {
            self.line.clear();
            serde_json::to_writer(&mut self.line, event)?;
            self.line.push(b'\n');
            self.encoder.write_all(&self.line)?;
            self.met.add(event);
        }
        Ok(())
    }

    /// Makes the file durable, and reads it again: what it says now is what the disk gives back.
    ///
    /// # Errors
    /// When it cannot be written, or holds another number of events.
    pub fn finish(self) -> io::Result<Finished> {
        let Self { encoder, mut manifest, path, partial, met, .. } = self;
        encoder.finish()?.sync_all()?;
        let lines = count_lines(&partial)?;
        if lines != met.events {
            let problem = format!("{lines} events are in it, {} were written", met.events);
            return Err(io::Error::other(format!("{}: {problem}", partial.display())));
        }
        (manifest.bytes, manifest.sha256) = digest(&partial)?;
        manifest.events = met.events;
        let time = |micros| jiff::Timestamp::from_microsecond(micros).ok();
        manifest.first_received_at = met.received.and_then(|(first, _)| time(first));
        manifest.last_received_at = met.received.and_then(|(_, last)| time(last));
        Ok(Finished { manifest, path, partial, origins: met.origins })
    }
}

impl Finished {
    #[must_use]
    pub fn events(&self) -> u64 {
        self.manifest.events
    }

    /// The numbers of origins that occur.
    #[must_use]
    pub fn origins(&self) -> Vec<i32> {
        self.origins.keys().copied().collect()
    }

    /// Gives the archive its name, then writes the manifest; `origins` says which journals the
    /// numbers stand for. Where that name is another archive's, it has its id in its name as well.
    ///
    /// # Errors
    /// When that cannot be done, or an origin is missing.
    pub fn publish(self, origins: &BTreeMap<i32, Uuid>) -> io::Result<Manifest> {
        let Self { mut manifest, mut path, partial: whole, origins: met } = self;
        for (number, (first, last)) in met {
            let Some(&origin) = origins.get(&number) else {
                return Err(io::Error::other(format!("origin {number} is not known")));
            };
            manifest.origins.push(ArchivedOrigin { number, origin, first, last });
        }
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = File::open(parent.unwrap_or(Path::new(".")))?;
        let preliminary = partial(&Manifest::path_of(&path), manifest.id);
        if !may_have(&path, manifest.id, &directory)? {
            manifest.file = name_with_id(&manifest.file, manifest.id);
            path.set_file_name(&manifest.file);
        }
        fs::rename(whole, &path)?;
        let mut file = File::create_new(&preliminary)?;
        serde_json::to_writer_pretty(&mut file, &manifest)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::rename(preliminary, Manifest::path_of(&path))?;
        directory.sync_all()?;
        Ok(manifest)
    }
}

/// Whether the archive `id` may have this name: one of another store, or of this one before it began
/// anew, is the only copy of its events. A file without a manifest is what a crash has left.
///
/// `directory` stays locked until it is closed: between this and the manifest nobody else takes the
/// name. Where it cannot be locked, as in some network file systems, it is as safe as without.
fn may_have(path: &Path, id: Uuid, directory: &File) -> io::Result<bool> {
    if let Err(TryLockError::WouldBlock) = directory.try_lock() {
        return Ok(false);
    }
    if !Manifest::path_of(path).try_exists()? {
        return Ok(true);
    }
    Ok(Manifest::read(path).is_ok_and(|there| there.id == id))
}

/// `events-2026-10-01.<id>.ndjson.zst`: nobody else's.
fn name_with_id(name: &str, id: Uuid) -> String {
    let stem = name.strip_suffix(ENDING).unwrap_or(name);
    format!("{stem}.{id}{ENDING}")
}

const PARTIAL: &str = ".partial";

/// A name that only this try has.
fn partial(path: &Path, id: Uuid) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{id}.{}{PARTIAL}", Uuid::now_v7().simple()));
    name.into()
}

/// Removes what earlier tries have left of an archive and its manifest; not what others are at, who
/// archive another store there.
fn remove_partials(directory: &Path, name: &str, id: Uuid) -> io::Result<()> {
    let manifest = Manifest::path_of(Path::new(name)).display().to_string();
    let own = format!(".{id}.");
    for entry in fs::read_dir(directory)? {
        let (path, found) = entry.map(|entry| (entry.path(), entry.file_name()))?;
        let found = found.to_string_lossy();
        // An older version told nobody whose they are.
        let is_of = |whole: &str| {
            found.strip_prefix(whole).is_some_and(|it| it == PARTIAL || it.starts_with(&own))
        };
        if found.ends_with(PARTIAL) && (is_of(name) || is_of(&manifest)) {
            match fs::remove_file(path) {
                // Whoever was at it, too, has removed it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                outcome => outcome?,
            }
        }
    }
    Ok(())
}

fn count_lines(path: &Path) -> io::Result<u64> {
    let mut counter = Lines(0);
    let decoder = zstd::stream::read::Decoder::new(File::open(path)?)?;
    io::copy(&mut BufReader::with_capacity(1 << 17, decoder), &mut counter)?;
    Ok(counter.0)
}

/// Counts the lines written to it.
struct Lines(u64);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += memchr::memchr_iter(b'\n', bytes).count() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
