//! The text of a batch: blocks of bytes as they came, one buffer for what is not there word for word,
//! and spans that point into these.

use bytes::Bytes;

/// A piece of a batch's text. The empty span stands for "none" where text is optional.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    pub(super) start: u32,
    pub(super) len: u32,
}

impl Span {
    pub const EMPTY: Self = Self { start: 0, len: 0 };

    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len == 0
    }

    #[must_use]
    pub fn len(self) -> usize {
        self.len as usize
    }
}

/// What the spans of a batch point into. An offset with the highest bit set lies in `extra`, any
/// other in the blocks, taken as if they stood one behind the other.
#[derive(Debug, Default)]
pub struct Text {
    blocks: Vec<Bytes>,
    extra: Vec<u8>,
}

const IN_EXTRA: u32 = 1 << 31;

impl Text {
    #[must_use]
    pub fn get(&self, span: Span) -> &[u8] {
        let len = span.len as usize;
        if span.start & IN_EXTRA != 0 {
            let start = (span.start ^ IN_EXTRA) as usize;
            return &self.extra[start..start + len];
        }
        let mut start = span.start as usize;
        // Nearly always there is one block, and never are there many.
        for block in &self.blocks {
            if start + len <= block.len() {
                return &block[start..start + len];
            }
            start -= block.len();
        }
        &[]
    }

    /// Takes in a block.
    pub(super) fn place<'a>(&mut self, block: &'a Bytes) -> Placed<'a> {
        let base = self.blocks.iter().map(Bytes::len).sum::<usize>();
        let _ = narrow(base + block.len());
        self.blocks.push(block.clone());
        Placed { block, base: narrow(base) }
    }

    /// Appends `text`.
    pub fn push(&mut self, text: &[u8]) -> Span {
        self.push_with(|buffer| buffer.extend_from_slice(text))
    }

    /// Appends what `write` writes.
    pub fn push_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Span {
        let start = self.extra.len();
        write(&mut self.extra);
        Span { start: narrow(start) | IN_EXTRA, len: narrow(self.extra.len() - start) }
    }

    /// Appends the text of `pieces`, one a line.
    pub(super) fn push_lines(&mut self, pieces: &[Span]) -> Span {
        let mut extra = std::mem::take(&mut self.extra);
        let start = extra.len();
        for (index, piece) in pieces.iter().enumerate() {
            if index > 0 {
                extra.push(b'\n');
            }
            // Lines of a trace stand in the blocks, as they came.
            extra.extend_from_slice(self.get(*piece));
        }
        let span = Span { start: narrow(start) | IN_EXTRA, len: narrow(extra.len() - start) };
        self.extra = extra;
        span
    }

    pub(super) fn len(&self) -> usize {
        self.blocks.iter().map(Bytes::len).sum::<usize>() + self.extra.len()
    }
}

pub(super) fn narrow(value: usize) -> u32 {
    u32::try_from(value).ok().filter(|value| value & IN_EXTRA == 0).expect("a batch is below 2 GiB")
}

/// A block of records that is part of a batch: turns pieces of the block into spans of the batch.
#[derive(Clone, Copy, Debug)]
pub struct Placed<'a> {
    block: &'a [u8],
    base: u32,
}

impl Placed<'_> {
    /// The span of `piece`, a slice of the block.
    ///
    /// # Panics
    /// When `piece` is no slice of the block.
    #[must_use]
    pub fn span(&self, piece: &[u8]) -> Span {
        if piece.is_empty() {
            return Span::EMPTY;
        }
        let offset = piece.as_ptr().addr().wrapping_sub(self.block.as_ptr().addr());
        assert!(offset < self.block.len() && piece.len() <= self.block.len() - offset);
        // The block's length was narrowed when it was placed.
        #[expect(clippy::cast_possible_truncation, reason = "below the length of the block")]
        let span = Span { start: self.base + offset as u32, len: piece.len() as u32 };
        span
    }
}

/// Whether every store can hold `bytes` as text.
#[must_use]
pub fn is_storable(bytes: &[u8]) -> bool {
    memchr::memchr(0, bytes).is_none() && simdutf8::basic::from_utf8(bytes).is_ok()
}

/// `bytes` as text that every store can hold.
#[must_use]
pub fn repair(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace('\0', "\u{fffd}")
}
