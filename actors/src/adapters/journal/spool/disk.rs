//! What the spool asks of a disk; a seam, so that tests can make it fail.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::Path,
    sync::Arc,
};

/// An open segment.
pub trait DiskFile: Send + Sync {
    /// Reads until `buffer` is full or the file ends; gives the bytes read.
    ///
    /// # Errors
    /// As the disk says.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// The file's length in bytes.
    ///
    /// # Errors
    /// As the disk says.
    fn size(&self) -> io::Result<u64>;

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// As the disk says; part of the bytes may have been written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes what was written durable (`fdatasync`).
    ///
    /// # Errors
    /// As the disk says. After an error nothing is known of what was written since the last
    /// success, and the file must not be written to again (fsyncgate).
    fn sync(&self) -> io::Result<()>;

    /// Where those bytes end, of the ones from `from` up to `to`, that could not be read and were
    /// given as zeros.
    fn unreadable(&self, _from: u64, _to: u64) -> Option<u64> {
        None
    }
}

/// Opens segments.
pub trait Disk: Send + Sync {
    /// Opens the file at `path`, making it `size` bytes long where it is shorter.
    ///
    /// # Errors
    /// As the disk says.
    fn open(&self, path: &Path, size: u64) -> io::Result<Arc<dyn DiskFile>>;

    /// Makes something small durable in `directory`, which only a disk can do that is there.
    ///
    /// # Errors
    /// As the disk says.
    fn probe(&self, directory: &Path) -> io::Result<()>;
}

/// The real one.
#[derive(Clone, Copy, Debug, Default)]
pub struct LocalDisk;

impl Disk for LocalDisk {
    fn open(&self, path: &Path, size: u64) -> io::Result<Arc<dyn DiskFile>> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        if file.metadata()?.len() < size {
            file.set_len(size)?;
        }
        Ok(Arc::new(file))
    }

    /// A length that changes takes no room: a full disk can do this too.
    fn probe(&self, directory: &Path) -> io::Result<()> {
        let path = directory.join("probe");
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        let length = file.metadata()?.len();
        file.set_len(1 - length.min(1))?;
        file.sync_all()
    }
}

impl DiskFile for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match FileExt::read_at(self, &mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

/// Makes the names in a directory durable.
///
/// # Errors
/// As the disk says.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
