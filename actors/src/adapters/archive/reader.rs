//! Reads archives.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::Path,
};

use super::Manifest;
use crate::domain::archived::ArchivedEvent;

/// An archive that is being read.
pub struct Reader {
    lines: BufReader<zstd::stream::read::Decoder<'static, BufReader<File>>>,
    line: String,
    name: String,
    number: u64,
}

/// A chunk has about so many bytes of text at most, so that it can be stored at once.
const MOST_BYTES: usize = 16 << 20;

impl Reader {
    /// Opens an archive that is whole.
    ///
    /// # Errors
    /// When it is not, or cannot be read.
    pub fn open(path: &Path) -> io::Result<(Manifest, Self)> {
        let manifest = Manifest::read(path)?;
        manifest.verify(path)?;
        let decoder = zstd::stream::read::Decoder::new(File::open(path)?)?;
        let lines = BufReader::with_capacity(1 << 17, decoder);
        let name = path.display().to_string();
        Ok((manifest, Self { lines, line: String::new(), name, number: 0 }))
    }

    /// The next events, `most` at most; `None` at the end.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn next_chunk(&mut self, most: usize) -> io::Result<Option<Vec<ArchivedEvent>>> {
        let (mut events, mut bytes) = (Vec::new(), 0);
        while events.len() < most && bytes < MOST_BYTES {
            self.line.clear();
            if self.lines.read_line(&mut self.line)? == 0 {
                break;
            }
            self.number += 1;
            bytes += self.line.len();
            let event = serde_json::from_str(&self.line).map_err(|error| {
                io::Error::other(format!("{}: event {}: {error}", self.name, self.number))
            })?;
            events.push(event);
        }
        Ok((!events.is_empty()).then_some(events))
    }
}
