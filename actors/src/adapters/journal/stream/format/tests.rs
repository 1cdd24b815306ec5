use proptest::prelude::*;

use super::*;

const ORIGIN: Origin = Origin::from_u128(7);

/// What a journal may deliver, and what must arrive of it.
fn content() -> impl Strategy<Value = (u8, Vec<u8>, Vec<u8>)> {
    let bytes = |most| proptest::collection::vec(any::<u8>(), 0..most);
    (0u8..3, bytes(40), bytes(300)).prop_map(|(kind, meta, body)| match kind {
        0 => (kind, meta, body),
        1 => (kind, Vec::new(), Vec::new()),
        _ => (kind, Vec::new(), body),
    })
}

fn block_of(contents: &[(u8, Vec<u8>, Vec<u8>)]) -> Block {
    let mut bytes = Vec::new();
    let mut records = Vec::new();
    for (index, (kind, meta, body)) in contents.iter().enumerate() {
        let start = bytes.len();
        bytes.extend_from_slice(meta);
        let middle = bytes.len();
        bytes.extend_from_slice(body);
        let end = bytes.len();
        let content = match kind {
            0 => Content::Body { meta: start..middle, body: middle..end },
            1 => Content::Duplicate,
            _ => Content::Damaged { bytes: middle..end },
        };
        records.push(RecordRef {
            sequence: 5 + index as u64,
            received_at: -3,
            source: Source::Maxwell,
            messages: u32::try_from(index).unwrap(),
            content,
        });
    }
    Block { bytes: bytes.into(), records }
}

fn contents_of(block: &Block) -> Vec<(u8, Vec<u8>, Vec<u8>)> {
    let bytes = |range: &std::ops::Range<usize>| block.bytes[range.clone()].to_vec();
    let contents = block.records.iter().map(|record| match &record.content {
        Content::Body { meta, body } => (0, bytes(meta), bytes(body)),
        Content::Duplicate => (1, Vec::new(), Vec::new()),
        Content::Damaged { bytes: left } => (2, Vec::new(), bytes(left)),
    });
    contents.collect()
}

fn seal(block: &Block, compression: Compression) -> Entry {
    let mut gathering = Gathering::default();
    for record in &block.records {
        gathering.push(block, record);
    }
    gathering.seal(ORIGIN, 3, compression)
}

#[test]
fn what_is_compressed_is_smaller() {
    let block = block_of(&[(0, Vec::new(), vec![b'x'; 10_000])]);
    let entry = seal(&block, Compression::Zstd);
    assert!(entry.records.len() < 200, "{}", entry.records.len());
    assert_eq!(contents_of(&decode(&entry.head, &entry.records).unwrap()), contents_of(&block));
}

#[test]
fn what_cannot_be_made_smaller_is_sent_as_it_is() {
    let noise: Vec<u8> = (0..10_000).map(|_| fastrand::u8(..)).collect();
    let block = block_of(&[(0, Vec::new(), noise)]);
    let sizes = [Compression::Zstd, Compression::None].map(|it| seal(&block, it).records.len());
    assert_eq!(sizes[0], sizes[1]);
}

#[test]
fn a_bomb_is_not_unpacked() {
    let block = block_of(&[(0, Vec::new(), vec![0; 1 << 20])]);
    let Entry { head, mut records, .. } = seal(&block, Compression::Zstd);
    records[12..16].copy_from_slice(&100u32.to_le_bytes());
    sign(&head, &mut records);
    assert_eq!(decode(&head, &records).unwrap_err(), Malformed::Nonsense);
}

#[test]
fn nonsense_is_rejected_record_by_record() {
    let head = Head { origin: ORIGIN, first: 5, last: 7, kept: 5 };
    let most = Rejected::MAX_BYTES as usize;
    let block = rejected(&head, &vec![1; most + 1], 0).unwrap();
    let lengths: Vec<_> = contents_of(&block).iter().map(|(_, _, left)| left.len()).collect();
    assert_eq!(lengths, [most, 0, 0]);
    assert_eq!(block.records[2].sequence, 7);
    for (first, last) in [(0, 1), (2, 1), (1, u64::MAX), (1, MOST + 1)] {
        assert!(rejected(&Head { first, last, ..head }, &[], 0).is_none(), "{first} {last}");
    }
}

#[test]
fn damage_travels_cut_to_what_is_kept() {
    let most = Rejected::MAX_BYTES as usize;
    let block = block_of(&[(2, Vec::new(), vec![1; most + 1])]);
    let entry = seal(&block, Compression::None);
    let arrived = contents_of(&decode(&entry.head, &entry.records).unwrap());
    assert_eq!(arrived[0].2.len(), most);
}

proptest! {
    #[test]
    fn records_come_back(
        contents in proptest::collection::vec(content(), 1..20),
        zstd in any::<bool>(),
    ) {
        let block = block_of(&contents);
        let entry = seal(&block, if zstd { Compression::Zstd } else { Compression::None });
        let last = 4 + contents.len() as u64;
        prop_assert_eq!(entry.head, Head { origin: ORIGIN, first: 5, last, kept: 3 });
        let arrived = decode(&entry.head, &entry.records).unwrap();
        prop_assert_eq!(contents_of(&arrived), contents);
        let heads = |block: &Block| block.records.iter()
            .map(|record| (record.sequence, record.received_at, record.source, record.messages))
            .collect::<Vec<_>>();
        prop_assert_eq!(heads(&arrived), heads(&block));
        let counted: u64 = block.records.iter().map(|record| u64::from(record.messages)).sum();
        prop_assert_eq!(entry.messages[Source::Maxwell as usize], counted);
    }

    #[test]
    fn any_flipped_bit_is_noticed(
        contents in proptest::collection::vec(content(), 1..4),
        zstd in any::<bool>(),
        bit in any::<proptest::sample::Index>(),
    ) {
        let compression = if zstd { Compression::Zstd } else { Compression::None };
        let Entry { head, mut records, .. } = seal(&block_of(&contents), compression);
        let bit = bit.index(records.len() * 8);
        records[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(decode(&head, &records).is_err());
    }

    #[test]
    fn another_head_is_noticed(first in 0u64..9, last in 0u64..9, kept in 0u64..9) {
        let entry = seal(&block_of(&[(1, Vec::new(), Vec::new())]), Compression::None);
        let head = Head { origin: ORIGIN, first, last, kept };
        prop_assert_eq!(decode(&head, &entry.records).is_ok(), head == entry.head);
    }

    #[test]
    fn anything_else_is_refused(
        first in prop_oneof![0u64..5, any::<u64>()],
        last in prop_oneof![0u64..5, any::<u64>()],
        bytes in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        let head = Head { origin: ORIGIN, first, last, kept: first };
        let forged = forge(&head, &bytes);
        // A fitting checksum alone must not make it panic.
        if let Err(error) = decode(&head, &forged) {
            let is_short = bytes.len() < HEAD - 8;
            let expected = if is_short { Malformed::Foreign } else { Malformed::Nonsense };
            prop_assert_eq!(error, expected);
        }
        let _ = rejected(&head, &forged, 0);
        prop_assert!(decode(&head, &bytes).is_err());
    }

    /// Whatever a relay says the records are, they are as long as it says, or nothing.
    #[test]
    fn no_more_is_unpacked_than_was_said(
        byte in any::<u8>(), real in 0usize..100_000, said in 0u32..200_000,
    ) {
        let packed = zstd::bulk::compress(&vec![byte; real], LEVEL).unwrap();
        let bytes = [&[1, 0, 0, 0][..], &said.to_le_bytes(), &packed].concat();
        let head = Head { origin: ORIGIN, first: 1, last: 1, kept: 1 };
        if let Ok(block) = decode(&head, &forge(&head, &bytes)) {
            prop_assert_eq!(block.bytes.len(), said as usize);
            prop_assert_eq!(real, said as usize);
        }
    }
}

/// An entry of anything, with a checksum that fits.
fn forge(head: &Head, bytes: &[u8]) -> Vec<u8> {
    let mut forged = [&MAGIC[..], &[0; 4], bytes].concat();
    sign(head, &mut forged);
    forged
}
