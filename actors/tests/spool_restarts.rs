//! What a restart finds of the spool: the newest segments without a hole among them, as full as they
//! are, and readable whatever the settings are now.

#![expect(clippy::unwrap_used, reason = "a failing test is told by a panic")]

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
};

use bytesize::ByteSize;
use faultline_actors::{
    adapters::journal::{
        AppendError, Readable,
        spool::{Settings, format::SegmentHeader},
    },
    domain::event::Source,
};
use support::{Delivered, append, bodies, open, open_with, read_after, settings};

/// Three of them fill a segment.
const BODY: &[u8] = &[b'x'; 20_000];

/// Reads from the first record that is kept: all of it must be whole.
async fn reads_well(directory: &Path) {
    let spool = open(directory);
    let first = spool.first_kept();
    let delivered = read_after(&spool, first - 1).await;
    let damaged = delivered.iter().filter(|one| matches!(one, Delivered::Damaged { .. })).count();
    assert_eq!(damaged, 0, "of {} from {first} on", delivered.len());
    assert_eq!(delivered.len() as u64, spool.status().head - first + 1);
}

#[tokio::test]
async fn what_stays_of_acknowledged_segments_has_no_hole() {
    let directory = tempfile::tempdir().unwrap();
    let spool = open(directory.path());
    for _ in 1..=7 {
        append(&spool, BODY).await.unwrap();
    }
    spool.acknowledge(6);
    for sequence in 8..=60 {
        append(&spool, BODY).await.unwrap();
        spool.acknowledge(sequence);
    }
    drop(spool);
    reads_well(directory.path()).await;
}

fn segment(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number:016}.segment"))
}

/// A power loss may undo the new name of a recycled segment and keep its new header, or leave it
/// without one.
#[tokio::test]
async fn a_segment_that_was_being_recycled_is_not_damaged() {
    let directory = tempfile::tempdir().unwrap();
    let spool = open(directory.path());
    for _ in 1..=12 {
        append(&spool, BODY).await.unwrap();
    }
    drop(spool);
    let at = |number| segment(directory.path(), number);
    fs::copy(at(4), at(1)).unwrap();
    fs::write(at(5), vec![0; 64 << 10]).unwrap();
    for _ in 0..2 {
        let spool = open(directory.path());
        assert_eq!(spool.first_kept(), 4);
        append(&spool, b"next").await.unwrap();
        drop(spool);
    }
    let spool = open(directory.path());
    let mut expected = vec![Delivered::Body(BODY.to_vec()); 9];
    expected.extend(bodies(&["next", "next"]));
    assert_eq!(read_after(&spool, 3).await, expected);
    let set_aside = fs::read_dir(directory.path()).unwrap().filter(|entry| {
        entry.as_ref().unwrap().path().extension().is_some_and(|end| end == "damaged")
    });
    assert_eq!(set_aside.count(), 0);
}

#[tokio::test]
async fn however_many_are_lost_a_block_tells_of_a_few() {
    let directory = tempfile::tempdir().unwrap();
    let spool = open(directory.path());
    for _ in 1..=3 {
        append(&spool, BODY).await.unwrap();
    }
    let origin = spool.origin();
    drop(spool);
    let mut totals = [0; Source::COUNT];
    totals[Source::Errors as usize] = 100;
    let header = SegmentHeader {
        origin,
        number: 2,
        first_sequence: 25_001,
        totals,
        first_commit: 90,
        before: None,
    };
    fs::write(segment(directory.path(), 2), header.encode()).unwrap();
    let spool = open(directory.path());
    spool.read_after(0);
    let (mut next, mut missing) = (1, 0);
    while next <= 25_000 {
        let block = spool.blocks().recv_async().await.unwrap();
        assert!(block.records.len() <= 10_000, "{}", block.records.len());
        for record in &block.records {
            assert_eq!(record.sequence, next);
            next += 1;
            missing += u64::from(record.messages);
        }
    }
    assert_eq!(missing, 100, "each message is accounted for once");
}

#[tokio::test]
async fn a_smaller_segment_than_before_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let larger = Settings { segment_bytes: ByteSize::kib(256), ..settings(directory.path()) };
    let large = vec![b'l'; 200_000];
    let spool = open_with(larger);
    append(&spool, &large).await.unwrap();
    append(&spool, b"small").await.unwrap();
    append(&spool, &large).await.unwrap();
    drop(spool);
    let spool = open(directory.path());
    assert_eq!(spool.status().head, 3);
    let refused = append(&spool, &large).await;
    assert!(matches!(refused, Err(AppendError::TooLarge(_))), "new ones are as the settings say");
    append(&spool, b"new").await.unwrap();
    let mut expected = vec![Delivered::Body(large.clone()), Delivered::Body(b"small".to_vec())];
    expected.extend([Delivered::Body(large), Delivered::Body(b"new".to_vec())]);
    assert_eq!(read_after(&spool, 0).await, expected);
}

#[tokio::test]
async fn restarts_take_no_room() {
    let directory = tempfile::tempdir().unwrap();
    let body = [b'x'; 100];
    for restarts in 0..40 {
        let spool = open(directory.path());
        let used = spool.status().used_bytes;
        assert!(used <= restarts * 200, "{used} bytes used by {restarts} records of 100 bytes");
        append(&spool, &body).await.unwrap();
    }
    let spool = open(directory.path());
    assert_eq!(read_after(&spool, 0).await, vec![Delivered::Body(body.to_vec()); 40]);
}
