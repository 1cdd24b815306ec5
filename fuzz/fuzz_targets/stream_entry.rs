//! Entries of a stream: what was written, then damaged; and anything at all behind a checksum that
//! fits, on its way through the journal of its origin and the parser.
#![no_main]

use faultline_actors::{
    adapters::journal::{
        Origin, Readable,
        stream::{
            Place,
            format::{Compression, Gathering, Head, LONGEST, decode, rejected, sign},
            journal::{StreamJournal, Taken},
        },
    },
    domain::{
        event::Source,
        record::{Block, Content, Meta, RecordRef},
    },
};
use faultline_fuzz::{RECEIVED_AT, check_block};
use libfuzzer_sys::fuzz_target;

const ORIGIN: Origin = Origin::from_u128(7);

fuzz_target!(|input: &[u8]| {
    let Some(([first, count, flags, at], bytes)) = input.split_first_chunk() else { return };
    let head = Head {
        origin: ORIGIN,
        first: u64::from(*first),
        last: u64::from(*first) + u64::from(*count),
        kept: u64::from(flags >> 4),
    };
    check_any(&head, bytes);
    check_written(bytes, *flags, *at);
});

/// Bytes that no relay wrote, as if one had.
fn check_any(head: &Head, bytes: &[u8]) {
    let mut forged = [b"FLR1", &[0; 4][..], bytes].concat();
    sign(head, &mut forged);
    if let Ok(block) = decode(head, &forged) {
        assert!(block.bytes.len() <= LONGEST);
        check_sequence(head, &block);
    }
    if let Some(block) = rejected(head, &forged, RECEIVED_AT) {
        check_sequence(head, &block);
    }
    let journal = StreamJournal::new(ORIGIN);
    journal.read_after(0);
    match journal.take(Place(1, 0), head, &forged) {
        Taken::Deliver(block) => check_block(block),
        // Only the relay can say more.
        Taken::Gap => assert!(head.first != 1 || bytes.len() < 8),
        Taken::Skip => assert_eq!(head.last, 0),
    }
}

/// Records are in sequence, from the first to the last that the head says.
fn check_sequence(head: &Head, block: &Block) {
    let sequences = block.records.iter().map(|record| record.sequence);
    assert!(sequences.eq(head.first..=head.last));
}

/// Two records come back as they were; a damaged byte is noticed.
fn check_written(bytes: &[u8], flags: u8, at: u8) {
    let meta = Meta::default().encode();
    let middle = meta.len() + bytes.len() / 2;
    let whole = [&meta[..], bytes].concat();
    let source = Source::from_u8(flags % 3).expect("there are three");
    let record = |sequence, content| RecordRef {
        sequence,
        received_at: RECEIVED_AT,
        source,
        messages: 1,
        content,
    };
    let records = vec![
        record(1, Content::Body { meta: 0..meta.len(), body: meta.len()..middle }),
        record(2, Content::Damaged { bytes: middle..whole.len() }),
    ];
    let block = Block { bytes: whole.into(), records };
    let mut gathering = Gathering::default();
    for record in &block.records {
        gathering.push(&block, record);
    }
    let compression = if flags & 8 == 0 { Compression::None } else { Compression::Zstd };
    let entry = gathering.seal(ORIGIN, 1, compression);
    let read = decode(&entry.head, &entry.records).expect("as written");
    assert_eq!(read.records.len(), 2);
    let Content::Body { body, .. } = &read.records[0].content else { panic!("as written") };
    assert_eq!(read.bytes[body.clone()], bytes[..bytes.len() / 2]);

    let mut damaged = entry.records;
    let at = usize::from(at) % damaged.len();
    damaged[at] ^= flags.max(1);
    assert!(decode(&entry.head, &damaged).is_err());
}
