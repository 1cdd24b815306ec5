//! The bytes of a stream's entries. Pure: from records to entries and back.
//!
//! An entry holds records of one origin, in sequence without gaps. Its fields in Redis are `origin`
//! (a UUID as text), `first`, `last` (sequences) and `kept` (the first sequence that the relay
//! still has, by which a hub knows that it waits in vain), as decimals, and `records`:
//!
//! ```text
//!  0  magic "FLR1"                             a record, as often as first..=last says:
//!  4  CRC-32 of origin, first, last, kept        0  content, u8: 0 body, 1 duplicate, 2 damaged
//!     and bytes 8 and on                         1  source, u8
//!  8  compression, u8: 0 none, 1 zstd            2  length of meta, u16
//!  9  zero, 3 bytes                              4  messages, u32
//! 12  length of the records as such, u32         8  received at, microseconds since 1970, i64
//! 16  the records, compressed or not            16  length of meta and body, u32
//!                                               20  meta, then body (or what damage has left)
//! ```
//!
//! All integers are little-endian. The checksum covers the fields too, so that an entry is either
//! what a relay sent or nothing. Whatever changes in this format gets another magic: then a hub that
//! is too old waits, instead of taking what it does not understand for nonsense.

use std::io::Read as _;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    adapters::journal::Origin,
    domain::{
        batch::Rejected,
        event::Source,
        record::{Block, Content, RecordRef},
        time::{self, Micros},
    },
};

const MAGIC: &[u8; 4] = b"FLR1";
const HEAD: usize = 16;
const RECORD_HEAD: usize = 20;
/// Records of one entry take at most so many bytes, compressed or not: what is longer was not
/// written by a relay, whose bodies are bounded far below.
pub const LONGEST: usize = 128 << 20;
/// An entry with more records was not written by a relay either.
const MOST: u64 = 1 << 16;
/// zstd's fastest level that still halves text.
const LEVEL: i32 = 1;

/// Messages by source.
pub type Messages = [u64; Source::COUNT];

/// Whether an entry's records are made smaller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    None,
    /// A tenth of the work for Redis, and of what it holds.
    #[default]
    Zstd,
}

/// What an entry says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub origin: Origin,
    pub first: u64,
    pub last: u64,
    /// The first sequence that the relay still has.
    pub kept: u64,
}

/// An entry on its way into a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub head: Head,
    pub messages: Messages,
    /// The field `records`.
    pub records: Vec<u8>,
}

/// Why something in a stream is no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("it is no entry of this version")]
    Foreign,
    #[error("its checksum does not fit")]
    Damaged,
    #[error("it is longer than any relay writes")]
    TooLong,
    /// To send it again would not help.
    #[error("it is as it was sent, and cannot be understood")]
    Nonsense,
}

/// Gathers records into entries.
#[derive(Debug, Default)]
pub struct Gathering {
    first: u64,
    last: u64,
    messages: Messages,
    records: Vec<u8>,
}

impl Gathering {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Bytes gathered so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Adds `record` of `block`, the next in sequence.
    pub fn push(&mut self, block: &Block, record: &RecordRef) {
        let none: &[u8] = &[];
        let (content, meta, body) = match &record.content {
            Content::Body { meta, body } => {
                (0, &block.bytes[meta.clone()], &block.bytes[body.clone()])
            }
            Content::Duplicate => (1, none, none),
            // No more than this of it is kept anywhere.
            Content::Damaged { bytes } => {
                let left = &block.bytes[bytes.clone()];
                (2, none, &left[..left.len().min(Rejected::MAX_BYTES as usize)])
            }
        };
        if self.is_empty() {
            self.first = record.sequence;
        }
        self.last = record.sequence;
        self.messages[record.source as usize] += u64::from(record.messages);
        let meta_length = u16::try_from(meta.len()).expect("meta is two short names");
        let length = u32::try_from(meta.len() + body.len()).expect("records are far below 4 GiB");
        self.records.extend_from_slice(&[content, record.source as u8]);
        self.records.extend_from_slice(&meta_length.to_le_bytes());
        self.records.extend_from_slice(&record.messages.to_le_bytes());
        self.records.extend_from_slice(&record.received_at.to_le_bytes());
        self.records.extend_from_slice(&length.to_le_bytes());
        self.records.extend_from_slice(meta);
        self.records.extend_from_slice(body);
    }

    /// Makes an entry of what was gathered, and begins anew.
    #[must_use]
    pub fn seal(&mut self, origin: Origin, kept: u64, compression: Compression) -> Entry {
        let Self { first, last, messages, records } = std::mem::take(self);
        let head = Head { origin, first, last, kept };
        let length = u32::try_from(records.len()).expect("an entry is far below 4 GiB");
        let compressed = match compression {
            Compression::None => None,
            // What cannot be made smaller is sent as it is.
            Compression::Zstd => zstd::bulk::compress(&records, LEVEL)
                .ok()
                .filter(|compressed| compressed.len() < records.len()),
        };
        let content = compressed.as_deref().unwrap_or(&records);
        let mut out = Vec::with_capacity(HEAD + content.len());
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&[u8::from(compressed.is_some()), 0, 0, 0]);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(content);
        sign(&head, &mut out);
        Entry { head, messages, records: out }
    }
}

/// Puts the checksum into the field `records`.
///
/// # Panics
/// When there is no room for it.
pub fn sign(head: &Head, records: &mut [u8]) {
    let crc = checksum(head, &records[8..]);
    records[4..8].copy_from_slice(&crc.to_le_bytes());
}

fn checksum(head: &Head, rest: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(head.origin.as_bytes());
    for number in [head.first, head.last, head.kept] {
        hasher.update(&number.to_le_bytes());
    }
    hasher.update(rest);
    hasher.finalize()
}

/// Reads what [`Gathering::seal`] wrote; nothing of it unless all of it is right.
///
/// # Errors
/// When it is anything else.
pub fn decode(head: &Head, records: &[u8]) -> Result<Block, Malformed> {
    if records.len() > LONGEST + HEAD {
        return Err(Malformed::TooLong);
    }
    let (start, content) = records.split_at_checked(HEAD).ok_or(Malformed::Foreign)?;
    if !start.starts_with(MAGIC) {
        return Err(Malformed::Foreign);
    }
    if u32_at(start, 4) != checksum(head, &records[8..]) {
        return Err(Malformed::Damaged);
    }
    let length = u32_at(start, 12) as usize;
    let is_possible = head.first > 0 && head.first <= head.last && head.last < u64::MAX;
    if length > LONGEST || !is_possible {
        return Err(Malformed::Nonsense);
    }
    let bytes = match start[8] {
        0 => content.to_vec(),
        1 => decompress(content, length).ok_or(Malformed::Nonsense)?,
        _ => return Err(Malformed::Nonsense),
    };
    if bytes.len() != length {
        return Err(Malformed::Nonsense);
    }
    let records = read_records(head, &bytes).ok_or(Malformed::Nonsense)?;
    Ok(Block { bytes: Bytes::from(bytes), records })
}

/// What is rejected instead of the records of an entry that is [`Malformed::Nonsense`]: one message
/// a record, the first with what is there, received when the hub met it. `None` when no relay can have sent so many.
#[must_use]
pub fn rejected(head: &Head, records: &[u8], received_at: Micros) -> Option<Block> {
    let count = head.last.checked_sub(head.first).filter(|count| *count < MOST)?;
    if head.first == 0 || head.last == u64::MAX {
        return None;
    }
    let left = &records[..records.len().min(Rejected::MAX_BYTES as usize)];
    let records = (0..=count).map(|place| RecordRef {
        sequence: head.first + place,
        received_at,
        // Nobody knows any more.
        source: Source::Errors,
        messages: 1,
        content: Content::Damaged { bytes: if place == 0 { 0..left.len() } else { 0..0 } },
    });
    Some(Block { records: records.collect(), bytes: Bytes::copy_from_slice(left) })
}

/// Never makes more bytes than the entry says, whatever is in it.
fn decompress(content: &[u8], length: usize) -> Option<Vec<u8>> {
    let decoder = zstd::stream::read::Decoder::with_buffer(content);
    let mut out = Vec::with_capacity(length.min(1 << 20));
    let most = length as u64 + 1;
    decoder.and_then(|decoder| decoder.take(most).read_to_end(&mut out)).ok()?;
    Some(out)
}

fn read_records(head: &Head, bytes: &[u8]) -> Option<Vec<RecordRef>> {
    let mut records = Vec::new();
    let (mut at, mut sequence) = (0, head.first);
    while at < bytes.len() {
        let start = bytes.get(at..at + RECORD_HEAD)?;
        let meta_length = usize::from(u16::from_le_bytes([start[2], start[3]]));
        let meta = at + RECORD_HEAD;
        let body = meta + meta_length;
        let end = meta.checked_add(u32_at(start, 16) as usize)?;
        if body > end || end > bytes.len() || sequence > head.last {
            return None;
        }
        let content = match start[0] {
            0 => Content::Body { meta: meta..body, body: body..end },
            1 => Content::Duplicate,
            2 => Content::Damaged { bytes: body..end },
            _ => return None,
        };
        let received_at = i64::from_le_bytes(start[8..16].try_into().ok()?);
        if !(time::MIN..=time::MAX).contains(&received_at) {
            return None;
        }
        records.push(RecordRef {
            sequence,
            received_at,
            source: Source::from_u8(start[1])?,
            messages: u32_at(start, 4),
            content,
        });
        (at, sequence) = (end, sequence + 1);
    }
    (sequence == head.last + 1).then_some(records)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests;
