//! Looking for frames where they are not expected: behind damage, or behind the end of what was
//! written. A window of the file at a time, so that a segment needs no memory of its own size.

use std::io;

use super::{
    disk::DiskFile,
    format::{FRAME_HEAD, Found, FrameHead, LONGEST_FRAME, SegmentKey, find_head, frame_at},
};

const WINDOW: usize = 256 << 10;

/// A search for the valid frames of a segment, at any offset.
pub(super) struct Search<'a> {
    file: &'a dyn DiskFile,
    segment: SegmentKey,
    limit: u64,
    offset: u64,
    window: Vec<u8>,
}

/// A frame, and where it starts.
pub(super) struct Hit {
    pub at: u64,
    pub head: FrameHead,
}

impl<'a> Search<'a> {
    /// A search in `segment`, from `offset` up to `limit`.
    #[must_use]
    pub(super) fn new(
        file: &'a dyn DiskFile,
        segment: SegmentKey,
        offset: u64,
        limit: u64,
    ) -> Self {
        Self { file, segment, limit, offset, window: Vec::new() }
    }

    /// The next valid frame whose sequence is above `after`.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn next(&mut self, after: u64) -> io::Result<Option<Hit>> {
        loop {
            self.window = self.read(self.offset, WINDOW)?;
            if self.window.len() < FRAME_HEAD {
                return Ok(None);
            }
            let mut from = 0;
            while let Some(skipped) = find_head(&self.window[from..], after) {
                from += skipped;
                let at = self.offset + from as u64;
                if let Some(head) = self.frame(&self.window[from..], at)? {
                    self.offset = at + head.frame_len() as u64;
                    return Ok(Some(Hit { at, head }));
                }
                from += 1;
            }
            self.offset += (self.window.len() - (FRAME_HEAD - 1)) as u64;
        }
    }

    /// The valid frame right where the search is, whatever its sequence.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn here(&self) -> io::Result<Option<FrameHead>> {
        self.frame(&self.read(self.offset, WINDOW)?, self.offset)
    }

    /// The frame at the start of `bytes`, which are those `at` that place of the file.
    fn frame(&self, bytes: &[u8], at: u64) -> io::Result<Option<FrameHead>> {
        let found = match frame_at(self.segment, bytes, LONGEST_FRAME) {
            Found::Short { needed } => {
                frame_at(self.segment, &self.read(at, needed)?, LONGEST_FRAME)
            }
            found => found,
        };
        Ok(match found {
            Found::Frame(head) => Some(head),
            Found::Short { .. } | Found::Nothing => None,
        })
    }

    fn read(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let left = usize::try_from(self.limit.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; length.min(left)];
        let read = self.file.read_at(&mut bytes, offset)?;
        bytes.truncate(read);
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{
        super::format::{FramePlace, push_frame},
        *,
    };
    use crate::domain::{
        event::Source,
        record::{NewRecord, RecordId},
    };

    fn segment() -> SegmentKey {
        SegmentKey::new(uuid::Uuid::from_u128(7), 9)
    }

    struct Memory(Vec<u8>);

    impl DiskFile for Memory {
        fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
            let rest = usize::try_from(offset).ok().and_then(|offset| self.0.get(offset..));
            let mut rest = rest.unwrap_or_default();
            io::Read::read(&mut rest, buffer)
        }

        fn size(&self) -> io::Result<u64> {
            Ok(self.0.len() as u64)
        }

        fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn sync(&self) -> io::Result<()> {
            Ok(())
        }
    }

    fn frame(sequence: u64, body: usize) -> Vec<u8> {
        let record = NewRecord {
            source: Source::Errors,
            received_at: 0,
            messages: 1,
            id: RecordId::NONE,
            meta: Vec::new(),
            body: Bytes::from(vec![0xA5; body]),
        };
        let place = FramePlace {
            segment: segment(),
            sequence,
            commit: 1,
            starts_commit: true,
            total: 1,
            is_duplicate: false,
        };
        let mut out = Vec::new();
        push_frame(&mut out, &record, place);
        out
    }

    #[test]
    fn a_frame_is_found_wherever_the_windows_cut() {
        for before in [0, 1, WINDOW - FRAME_HEAD, WINDOW - 20, WINDOW, 3 * WINDOW + 7] {
            for body in [0, 100, 2 * WINDOW] {
                let (first, second) = (frame(5, body), frame(6, 0));
                let mut bytes = vec![0; before];
                bytes.extend_from_slice(&first);
                bytes.extend_from_slice(&[0x11; 33]);
                bytes.extend_from_slice(&second);
                let limit = bytes.len() as u64;
                let file = Memory(bytes);
                let mut search = Search::new(&file, segment(), 0, limit);
                let mut found = Vec::new();
                while let Some(hit) = search.next(4).unwrap() {
                    found.push((usize::try_from(hit.at).unwrap(), hit.head.sequence));
                }
                assert_eq!(found, [(before, 5), (before + first.len() + 33, 6)], "{body}");
                let mut cut = Search::new(&file, segment(), 0, limit - 1);
                assert_eq!(cut.next(4).unwrap().map(|hit| hit.head.sequence), Some(5));
                assert!(cut.next(5).unwrap().is_none(), "the last one is torn");
            }
        }
    }
}
