//! The spool's preparing thread: it makes what the writer will need, while the writer goes on.
//!
//! A new name, and the end of a file that grows, are durable only when the file system has written its
//! own journal, with what others have changed meanwhile: on ext4, beside somebody who writes 25 MB a
//! second, 4 to 13 ms for a segment. What the writer does while clients wait, writing over a file that is
//! there, needs no more than `fdatasync` of those bytes.

use std::{fs, io, path::PathBuf, sync::Arc};

use super::{
    disk::{Disk, DiskFile, sync_directory},
    ids::{FreshIds, IdFiles},
    segments::segment_path,
};

/// What the writer asks for.
pub(super) struct Order {
    /// To be put on disk first: who finds the segment need not read the ids of those before the last.
    pub ids: FreshIds,
    pub segment: Option<Wanted>,
}

/// A segment's file.
pub(super) struct Wanted {
    pub number: u64,
    /// The segment whose file it becomes; a new file, where there is none.
    pub recycled: Option<u64>,
}

/// A file whose name is durable. It has no header yet, so a start takes it for what it is.
pub(super) struct Prepared {
    pub number: u64,
    pub file: Arc<dyn DiskFile>,
}

pub(super) struct NotPrepared {
    pub error: io::Error,
    /// The segment that still can be recycled.
    pub recycled: Option<u64>,
}

pub(super) struct Preparer {
    pub disk: Arc<dyn Disk>,
    pub directory: PathBuf,
    pub segment_bytes: u64,
    pub ids: IdFiles,
    pub orders: flume::Receiver<Order>,
    /// An answer to each order of a segment.
    pub prepared: flume::Sender<Result<Prepared, NotPrepared>>,
}

impl Preparer {
    /// Runs until the writer ends.
    pub(super) fn run(mut self) {
        while let Ok(Order { ids, segment }) = self.orders.recv() {
            let written = self.ids.write(ids);
            let Some(wanted) = segment else {
                if let Err(error) = written {
                    tracing::warn!(%error, "cannot write the ids of accepted records; they are written with the next ones, or read from the segments at the next start");
                }
                continue;
            };
            let outcome = match written {
                Ok(()) => self.prepare(&wanted),
                Err(error) => Err(NotPrepared { error, recycled: wanted.recycled }),
            };
            if self.prepared.send(outcome).is_err() {
                return;
            }
        }
    }

    fn prepare(&self, wanted: &Wanted) -> Result<Prepared, NotPrepared> {
        let path = segment_path(&self.directory, wanted.number);
        if let Some(old) = wanted.recycled {
            fs::rename(segment_path(&self.directory, old), &path)
                .map_err(|error| NotPrepared { error, recycled: Some(old) })?;
        }
        let opened = self
            .disk
            .open(&path, self.segment_bytes)
            .and_then(|file| sync_directory(&self.directory).map(|()| file));
        match opened {
            Ok(file) => Ok(Prepared { number: wanted.number, file }),
            Err(error) => {
                // A disk that goes on failing must not be filled with segments that nobody uses.
                let _ = fs::remove_file(&path);
                Err(NotPrepared { error, recycled: None })
            }
        }
    }
}
