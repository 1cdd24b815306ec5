//! Frames of the spool: what was written, then damaged, and bytes that nobody wrote.
#![no_main]

use std::hash::{DefaultHasher, Hasher};

use faultline_actors::{
    adapters::journal::{
        Origin,
        spool::format::{
            FRAME_HEAD, Found, FramePlace, SegmentHeader, SegmentKey, find_head, frame_at,
            frame_len, push_frame,
        },
    },
    domain::{
        event::Source,
        record::{NewRecord, RecordId},
    },
};
use libfuzzer_sys::fuzz_target;

const LONGEST: usize = 1 << 20;

fuzz_target!(|input: &[u8]| {
    let Some(([low, high, damage], bytes)) = input.split_first_chunk() else { return };
    let (at, damage) = (u16::from_le_bytes([*low, *high]), *damage);
    let origin = origin_of(input);
    let key = SegmentKey::new(origin, 9);
    check_any(key, bytes);
    let record = NewRecord {
        source: Source::from_u8(damage % 3).expect("there are three"),
        received_at: i64::from(at) - 5,
        messages: u32::from(at),
        id: RecordId([damage; 16]),
        meta: bytes[..bytes.len().min(usize::from(damage))].to_vec(),
        body: bytes.to_vec().into(),
    };
    let mut segment = Vec::new();
    let mut ends = Vec::new();
    for sequence in 1..=2 {
        let place = FramePlace {
            segment: key,
            sequence,
            commit: u64::from(at),
            starts_commit: sequence == 1,
            total: u64::MAX,
            is_duplicate: false,
        };
        push_frame(&mut segment, &record, place);
        ends.push(segment.len());
    }
    assert_eq!(ends, [frame_len(&record), 2 * frame_len(&record)]);
    let Found::Frame(head) = frame_at(key, &segment, LONGEST) else { panic!("as written") };
    assert_eq!((head.sequence, head.frame_len(), head.messages), (1, ends[0], record.messages));
    assert_eq!(
        (head.source, head.id, head.meta as usize),
        (record.source, record.id, record.meta.len())
    );
    assert_eq!(frame_at(SegmentKey::new(origin, 10), &segment, LONGEST), Found::Nothing);

    // One damaged byte is noticed, and the frame behind it is found.
    let at = usize::from(at) % ends[0];
    segment[at] ^= damage.max(1);
    assert!(!matches!(frame_at(key, &segment, LONGEST), Found::Frame(_)));
    assert_eq!(find(key, &segment, 1), Some((ends[0], 2)));
});

/// The place and the sequence of the first frame whose sequence is above `after`.
fn find(key: SegmentKey, bytes: &[u8], after: u64) -> Option<(usize, u64)> {
    let mut at = 0;
    while let Some(skipped) = find_head(&bytes[at..], after) {
        at += skipped;
        if let Found::Frame(head) = frame_at(key, &bytes[at..], LONGEST) {
            return Some((at, head.sequence));
        }
        at += 1;
    }
    None
}

/// An origin that the input cannot know: who knows it can forge a frame.
fn origin_of(input: &[u8]) -> Origin {
    let mut hasher = DefaultHasher::new();
    hasher.write(input);
    Origin::from_u128(hasher.finish().into())
}

/// Bytes that nobody wrote.
fn check_any(key: SegmentKey, bytes: &[u8]) {
    match frame_at(key, bytes, LONGEST) {
        Found::Frame(head) => assert!((FRAME_HEAD..=bytes.len()).contains(&head.frame_len())),
        Found::Short { needed } => assert!(needed > bytes.len() && needed <= LONGEST),
        Found::Nothing => {}
    }
    if let Some(header) = SegmentHeader::decode(bytes) {
        assert_eq!(SegmentHeader::decode(&header.encode()), Some(header));
    }
}
