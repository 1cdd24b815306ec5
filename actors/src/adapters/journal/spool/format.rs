//! The bytes of the spool's segments. Pure: from bytes to values and back.
//!
//! A segment is a file of fixed size, named by its number. All integers are little-endian.
//!
//! ```text
//! header, 4096 bytes (the rest is zero)      frame: head of 68 bytes, then meta, then body
//!   0  magic "FLSPOOL1"                        0  length of meta and body, u32
//!   8  origin, 16 bytes                        4  CRC-32 of the origin, the segment's number and
//!  24  number, u64                                all of the frame but these four bytes
//!  32  sequence of the first frame, u64        8  sequence, u64
//!  40  totals before the first frame,         16  received at, microseconds since 1970, i64
//!      8 × u64, by source                     24  number of the commit it belongs to, u64
//! 104  number of the first commit, u64        32  total messages of its source, itself included
//! 112  CRC-32 of bytes 0..112                 40  messages, u32
//! 116  number of the segment before, u64      44  source, u8
//! 124  where its frames end, u64              45  flags, u8: 1 duplicate, 2 first of its commit
//! 132  CRC-32 of bytes 116..132               46  length of meta, u16
//!                                             48  id, 16 bytes
//!                                             64  CRC-32 of the origin, the segment's number and
//!                                                 bytes 0..4 and 8..64
//! ```
//!
//! Segments are recycled without being cleared. Because the checksums cover the segment's number,
//! frames of an earlier life never look valid. Because they cover the origin, which clients do not
//! know, nobody can send a body that holds a frame, to be found when the one around it is damaged.
//! The head has a checksum of its own, so that looking for frames costs little whatever is there.

use crate::domain::{
    event::Source,
    record::{NewRecord, RecordId},
    time::Micros,
};

pub const SEGMENT_HEADER: usize = 4096;
pub const FRAME_HEAD: usize = 68;
/// The longest frame that any setting lets into a segment. Reading goes by this: a smaller
/// `segment_bytes` than before is no reason to lose what is there.
pub const LONGEST_FRAME: usize = LARGEST_SEGMENT - SEGMENT_HEADER;
/// The largest that a segment can be set to be.
pub const LARGEST_SEGMENT: usize = 1 << 30;
const MAGIC: &[u8; 8] = b"FLSPOOL1";
const HEADER_CRC_AT: usize = 112;
const BEFORE: std::ops::Range<usize> = 116..132;
const HEAD_CRC_AT: usize = 64;
/// Totals in the header; more than there are sources, so that a source can be added.
const TOTALS: usize = 8;
const FLAG_DUPLICATE: u8 = 1;
const FLAG_STARTS_COMMIT: u8 = 2;

/// Cumulative messages received, by source.
pub type Totals = [u64; Source::COUNT];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    pub origin: uuid::Uuid,
    pub number: u64,
    pub first_sequence: u64,
    pub totals: Totals,
    pub first_commit: u64,
    /// `None` in the first segment, and in those of earlier versions.
    pub before: Option<Sealed>,
}

/// A segment that is not written to any more, as the one behind it tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealed {
    pub number: u64,
    /// Where its frames end.
    pub end: u64,
}

impl SegmentHeader {
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(SEGMENT_HEADER);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(self.origin.as_bytes());
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&self.first_sequence.to_le_bytes());
        for index in 0..TOTALS {
            let total = self.totals.get(index).copied().unwrap_or(0);
            out.extend_from_slice(&total.to_le_bytes());
        }
        out.extend_from_slice(&self.first_commit.to_le_bytes());
        out.extend_from_slice(&crc32fast::hash(&out).to_le_bytes());
        if let Some(Sealed { number, end }) = self.before {
            out.extend_from_slice(&number.to_le_bytes());
            out.extend_from_slice(&end.to_le_bytes());
            out.extend_from_slice(&crc32fast::hash(&out[BEFORE]).to_le_bytes());
        }
        out.resize(SEGMENT_HEADER, 0);
        out
    }

    /// `None` for anything that [`SegmentHeader::encode`] did not write.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let covered = bytes.get(..HEADER_CRC_AT)?;
        if !covered.starts_with(MAGIC) || crc32fast::hash(covered) != u32_at(bytes, HEADER_CRC_AT)?
        {
            return None;
        }
        let mut totals = Totals::default();
        for (index, total) in totals.iter_mut().enumerate() {
            *total = u64_at(bytes, 40 + 8 * index)?;
        }
        let is_known = bytes.get(BEFORE).map(crc32fast::hash) == u32_at(bytes, BEFORE.end);
        let before = Sealed { number: u64_at(bytes, 116)?, end: u64_at(bytes, 124)? };
        Some(Self {
            origin: uuid::Uuid::from_bytes(array_at(bytes, 8)?),
            number: u64_at(bytes, 24)?,
            first_sequence: u64_at(bytes, 32)?,
            totals,
            first_commit: u64_at(bytes, 104)?,
            before: is_known.then_some(before),
        })
    }
}

/// What the checksums of a segment's frames begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentKey(u32);

impl SegmentKey {
    #[must_use]
    pub fn new(origin: uuid::Uuid, number: u64) -> Self {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(origin.as_bytes());
        hasher.update(&number.to_le_bytes());
        Self(hasher.finalize())
    }

    /// The checksum of a frame, or of its head without that checksum.
    fn checksum(self, bytes: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new_with_initial(self.0);
        hasher.update(&bytes[..4]);
        hasher.update(&bytes[8..]);
        hasher.finalize()
    }
}

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHead {
    pub payload: u32,
    pub sequence: u64,
    pub received_at: Micros,
    pub commit: u64,
    pub total: u64,
    pub messages: u32,
    pub source: Source,
    pub is_duplicate: bool,
    pub starts_commit: bool,
    pub meta: u16,
    pub id: RecordId,
}

impl FrameHead {
    /// Head and payload together, in bytes.
    #[must_use]
    pub fn frame_len(&self) -> usize {
        FRAME_HEAD + self.payload as usize
    }
}

/// What [`push_frame`] adds to a record.
#[derive(Clone, Copy, Debug)]
pub struct FramePlace {
    pub segment: SegmentKey,
    pub sequence: u64,
    pub commit: u64,
    pub starts_commit: bool,
    pub total: u64,
    pub is_duplicate: bool,
}

/// The size of the frame that `record` makes.
#[must_use]
pub fn frame_len(record: &NewRecord) -> usize {
    FRAME_HEAD + record.meta.len() + record.body.len()
}

/// Appends the frame of `record` to `out`; of a duplicate only its head.
pub fn push_frame(out: &mut Vec<u8>, record: &NewRecord, place: FramePlace) {
    let (meta, body): (&[u8], &[u8]) =
        if place.is_duplicate { (&[], &[]) } else { (&record.meta, &record.body) };
    let start = out.len();
    let payload = u32::try_from(meta.len() + body.len()).expect("records are far below 4 GiB");
    let meta_len = u16::try_from(meta.len()).expect("meta is two short names");
    let mut flags = 0;
    if place.is_duplicate {
        flags |= FLAG_DUPLICATE;
    }
    if place.starts_commit {
        flags |= FLAG_STARTS_COMMIT;
    }
    out.extend_from_slice(&payload.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&place.sequence.to_le_bytes());
    out.extend_from_slice(&record.received_at.to_le_bytes());
    out.extend_from_slice(&place.commit.to_le_bytes());
    out.extend_from_slice(&place.total.to_le_bytes());
    out.extend_from_slice(&record.messages.to_le_bytes());
    out.push(record.source as u8);
    out.push(flags);
    out.extend_from_slice(&meta_len.to_le_bytes());
    out.extend_from_slice(&record.id.0);
    let crc_of_head = place.segment.checksum(&out[start..]);
    out.extend_from_slice(&crc_of_head.to_le_bytes());
    out.extend_from_slice(meta);
    out.extend_from_slice(body);
    let crc = place.segment.checksum(&out[start..]);
    out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
}

/// What stands at some place of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// A whole frame with a fitting checksum.
    Frame(FrameHead),
    /// The bytes given end before the frame does; it needs so many.
    Short { needed: usize },
    /// No frame of this segment.
    Nothing,
}

/// Looks for a frame of `segment` at the start of `bytes`. A frame longer than `longest` is none.
#[must_use]
pub fn frame_at(segment: SegmentKey, bytes: &[u8], longest: usize) -> Found {
    let Some(head) = bytes.get(..FRAME_HEAD) else {
        return Found::Short { needed: FRAME_HEAD };
    };
    let Some(head) = decode_head(segment, head) else {
        return Found::Nothing;
    };
    if head.frame_len() > longest {
        return Found::Nothing;
    }
    match bytes.get(..head.frame_len()) {
        None => Found::Short { needed: head.frame_len() },
        Some(frame) if u32_at(frame, 4) == Some(segment.checksum(frame)) => Found::Frame(head),
        Some(_) => Found::Nothing,
    }
}

/// The head of a frame of `segment` at the start of `bytes`, whatever is behind it.
#[must_use]
pub fn decode_head(segment: SegmentKey, bytes: &[u8]) -> Option<FrameHead> {
    if u32_at(bytes, HEAD_CRC_AT)? != segment.checksum(bytes.get(..HEAD_CRC_AT)?) {
        return None;
    }
    let payload = u32_at(bytes, 0)?;
    let meta = u16::from_le_bytes(array_at(bytes, 46)?);
    let sequence = u64_at(bytes, 8)?;
    if sequence == 0 || u32::from(meta) > payload {
        return None;
    }
    let flags = bytes[45];
    Some(FrameHead {
        payload,
        sequence,
        received_at: Micros::from_le_bytes(array_at(bytes, 16)?),
        commit: u64_at(bytes, 24)?,
        total: u64_at(bytes, 32)?,
        messages: u32_at(bytes, 40)?,
        source: Source::from_u8(bytes[44])?,
        is_duplicate: flags & FLAG_DUPLICATE != 0,
        starts_commit: flags & FLAG_STARTS_COMMIT != 0,
        meta,
        id: RecordId(array_at(bytes, 48)?),
    })
}

/// Finds the first place in `bytes` where the head of a frame with a sequence above `after` could
/// stand.
#[must_use]
pub fn find_head(bytes: &[u8], after: u64) -> Option<usize> {
    // No damage hides more records than this, and most garbage fails the comparison at once.
    const PLAUSIBLE: u64 = 1 << 32;
    const ZEROS: [u8; 4096] = [0; 4096];
    let mut at = 0;
    while at + FRAME_HEAD <= bytes.len() {
        let sequence = u64_at(bytes, at + 8)?;
        if sequence == 0 && bytes[at..].starts_with(&ZEROS) {
            // A segment that is not full is mostly zeros. The next sequence may begin in the last
            // of these.
            at += ZEROS.len() - 15;
        } else if sequence > after && sequence - after <= PLAUSIBLE {
            return Some(at);
        } else {
            at += 1;
        }
    }
    None
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array_at(bytes, at).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    array_at(bytes, at).map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    const LONGEST: usize = 1 << 20;

    fn key(number: u64) -> SegmentKey {
        SegmentKey::new(uuid::Uuid::from_u128(7), number)
    }

    fn record(body: &[u8]) -> NewRecord {
        NewRecord {
            source: Source::Maxwell,
            received_at: -5,
            messages: 3,
            id: RecordId::new(Source::Maxwell, "", "x"),
            meta: vec![0, 1, b'e', 0],
            body: Bytes::copy_from_slice(body),
        }
    }

    fn place(sequence: u64) -> FramePlace {
        FramePlace {
            segment: key(9),
            sequence,
            commit: 4,
            starts_commit: true,
            total: 33,
            is_duplicate: false,
        }
    }

    #[test]
    fn a_header_comes_back_and_a_damaged_one_does_not() {
        let first = SegmentHeader {
            origin: uuid::Uuid::from_u128(7),
            number: 9,
            first_sequence: 100,
            totals: [1, 2, 3, 4],
            first_commit: 12,
            before: None,
        };
        assert_eq!(SegmentHeader::decode(&first.encode()), Some(first));
        let header = SegmentHeader { before: Some(Sealed { number: 8, end: 5_000 }), ..first };
        let mut bytes = header.encode();
        assert_eq!(bytes.len(), SEGMENT_HEADER);
        assert_eq!(SegmentHeader::decode(&bytes), Some(header));
        bytes[130] ^= 1;
        assert_eq!(SegmentHeader::decode(&bytes), Some(first), "only what is damaged is unknown");
        bytes[30] ^= 1;
        assert_eq!(SegmentHeader::decode(&bytes), None);
        assert_eq!(SegmentHeader::decode(&[0; SEGMENT_HEADER]), None);
    }

    #[test]
    fn a_duplicate_keeps_only_its_head() {
        let mut out = Vec::new();
        push_frame(&mut out, &record(b"body"), FramePlace { is_duplicate: true, ..place(1) });
        assert_eq!(out.len(), FRAME_HEAD);
        let Found::Frame(head) = frame_at(key(9), &out, LONGEST) else { panic!() };
        assert!(head.is_duplicate && head.messages == 3);
    }

    #[test]
    fn a_frame_of_another_origin_is_none() {
        let mut out = Vec::new();
        let segment = SegmentKey::new(uuid::Uuid::from_u128(8), 9);
        push_frame(&mut out, &record(b"forged"), FramePlace { segment, ..place(1) });
        assert_eq!(frame_at(key(9), &out, LONGEST), Found::Nothing);
    }

    #[test]
    fn a_head_is_known_without_its_body() {
        let mut out = Vec::new();
        push_frame(&mut out, &record(b"body"), place(1));
        let short = Found::Short { needed: out.len() };
        assert_eq!(frame_at(key(9), &out[..FRAME_HEAD], LONGEST), short);
        out[17] ^= 1;
        assert_eq!(frame_at(key(9), &out[..FRAME_HEAD], LONGEST), Found::Nothing);
    }

    proptest! {
        #[test]
        fn a_frame_comes_back(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut out = Vec::new();
            push_frame(&mut out, &record(&body), place(1));
            let Found::Frame(head) = frame_at(key(9), &out, LONGEST) else { panic!() };
            prop_assert_eq!((head.sequence, head.commit, head.total), (1, 4, 33));
            prop_assert_eq!(head.frame_len(), out.len());
            prop_assert_eq!(&out[FRAME_HEAD + usize::from(head.meta)..], body.as_slice());
            prop_assert_eq!(frame_at(key(8), &out, LONGEST), Found::Nothing, "another life of the segment");
            let torn = matches!(frame_at(key(9), &out[..out.len() - 1], LONGEST), Found::Short { .. });
            prop_assert!(torn);
        }

        #[test]
        fn any_flipped_bit_is_noticed(body in proptest::collection::vec(any::<u8>(), 0..60), bit in any::<proptest::sample::Index>()) {
            let mut out = Vec::new();
            push_frame(&mut out, &record(&body), place(1));
            let bit = bit.index(out.len() * 8);
            out[bit / 8] ^= 1 << (bit % 8);
            let noticed = !matches!(frame_at(key(9), &out, LONGEST), Found::Frame(_));
            prop_assert!(noticed);
        }

        #[test]
        fn a_head_is_found_behind_garbage(
            garbage in proptest::collection::vec(any::<u8>(), 0..200),
            zeros in 0usize..9_000,
        ) {
            let mut out = vec![0; zeros];
            out.extend_from_slice(&garbage);
            let before = out.len();
            push_frame(&mut out, &record(b"found"), place(7));
            // Garbage may look like a head; what is behind it must be found all the same.
            let mut at = 0;
            while at < before {
                at += find_head(&out[at..], 3).unwrap();
                if at < before {
                    at += 1;
                }
            }
            prop_assert_eq!(at, before);
            prop_assert!(find_head(&out[before..], 7).is_none_or(|at| at > 0), "only later ones");
        }
    }
}
