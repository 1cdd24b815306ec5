//! The spool keeps what it accepted: in order, once, across restarts, torn writes, damage, failing
//! and full disks.

#![expect(clippy::unwrap_used, reason = "a failing test is told by a panic")]

mod support;

use std::{
    fs,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use faultline_actors::{
    adapters::journal::{AppendError, Appended, Journal, Readable, spool::Spool},
    domain::{
        event::Source,
        ledger::{Ledger, Tally},
    },
};
use faultline_testkit::copy_files;
use proptest::prelude::*;
use support::{
    Delivered, PATIENCE, TestDisk, append, bodies, eventually, open, open_on, open_salvaging,
    read_after, record, record_with_id, settings,
};

fn segments(directory: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "segment"))
        .collect();
    paths.sort();
    paths
}

/// Messages behind `position`, as the ledger has them after a restart.
fn in_flight(spool: &Spool, position: u64) -> u64 {
    let none = [Tally::default(); Source::COUNT];
    spool.resume_ledger(position, none, none).unwrap();
    spool.ledger().line(Source::Errors).in_flight
}

/// Changes the bytes of the newest segment that contain `needle`.
fn damage(directory: &Path, needle: &[u8], change: impl Fn(&mut [u8])) {
    for path in segments(directory).into_iter().rev() {
        let mut bytes = fs::read(&path).unwrap();
        if let Some(at) = bytes.windows(needle.len()).position(|window| window == needle) {
            change(&mut bytes[at..at + needle.len()]);
            fs::write(&path, &bytes).unwrap();
            return;
        }
    }
    panic!("nothing to damage");
}

#[tokio::test]
async fn records_come_back_in_order_and_again_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let spool = open(directory.path());
    for body in ["one", "two", ""] {
        assert_eq!(append(&spool, body.as_bytes()).await, Ok(Appended::New));
    }
    let origin = spool.origin();
    assert_eq!(read_after(&spool, 0).await, bodies(&["one", "two", ""]));
    assert_eq!(read_after(&spool, 1).await, bodies(&["two", ""]), "again, from a position");
    drop(spool);
    let spool = open(directory.path());
    assert_eq!(spool.origin(), origin);
    append(&spool, b"four").await.unwrap();
    assert_eq!(read_after(&spool, 2).await, bodies(&["", "four"]));
}

#[tokio::test]
async fn acknowledged_segments_are_recycled_and_their_old_frames_stay_dead() {
    let directory = tempfile::tempdir().unwrap();
    let spool = open(directory.path());
    let body = vec![b'x'; 20_000];
    for sequence in 1..=60 {
        append(&spool, &body).await.unwrap();
        spool.acknowledge(sequence);
    }
    assert!(segments(directory.path()).len() <= 4, "{:?}", segments(directory.path()));
    assert!(spool.status().used_bytes <= 128 << 10);
    append(&spool, b"last").await.unwrap();
    drop(spool);
    let spool = open(directory.path());
    assert_eq!(spool.status().head, 61);
    assert_eq!(read_after(&spool, 60).await, bodies(&["last"]));
}

#[tokio::test]
async fn a_torn_tail_is_cut_wherever_it_is_torn() {
    let directory = tempfile::tempdir().unwrap();
    let spool = open(directory.path());
    append(&spool, b"whole").await.unwrap();
    append(&spool, b"torn-torn-torn").await.unwrap();
    drop(spool);
    let path = segments(directory.path()).pop().unwrap();
    let whole = fs::read(&path).unwrap();
    let end = whole.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let frame = 64 + 11 + "torn-torn-torn".len();
    for lost in 1..=frame {
        let copy = tempfile::tempdir().unwrap();
        fs::copy(directory.path().join("origin"), copy.path().join("origin")).unwrap();
        let mut bytes = whole.clone();
        bytes[end - lost..end].fill(0);
        fs::write(copy.path().join(path.file_name().unwrap()), &bytes).unwrap();
        let spool = open(copy.path());
        append(&spool, b"next").await.unwrap();
        assert_eq!(read_after(&spool, 0).await, bodies(&["whole", "next"]), "{lost} bytes lost");
    }
}

#[tokio::test]
async fn damage_in_the_middle_costs_one_record_and_is_accounted_for() {
    let directory = tempfile::tempdir().unwrap();
    let spool = open(directory.path());
    for body in ["first", "victim", "third"] {
        append(&spool, body.as_bytes()).await.unwrap();
    }
    drop(spool);
    damage(directory.path(), b"victim", |bytes| bytes[2] ^= 1);
    let spool = open(directory.path());
    let [first, third] = [&bodies(&["first"])[0], &bodies(&["third"])[0]].map(Clone::clone);
    assert_eq!(
        read_after(&spool, 0).await,
        [first, Delivered::Damaged { messages: 1 }, third],
        "the lost record keeps its place and its message"
    );
    assert_eq!(in_flight(&spool, 0), 3);
    assert_eq!(in_flight(&spool, 2), 1);
}

#[tokio::test]
async fn damage_in_an_older_segment_is_found_while_reading() {
    let directory = tempfile::tempdir().unwrap();
    let spool = open(directory.path());
    let big = vec![b'b'; 30_000];
    append(&spool, b"first").await.unwrap();
    append(&spool, b"victim").await.unwrap();
    for _ in 0..3 {
        append(&spool, &big).await.unwrap();
    }
    drop(spool);
    let oldest = segments(directory.path()).remove(0);
    let mut bytes = fs::read(&oldest).unwrap();
    let at = bytes.windows(6).position(|window| window == b"victim").unwrap();
    bytes[at - 60..at + 6].fill(0xAA);
    fs::write(&oldest, &bytes).unwrap();
    let spool = open(directory.path());
    let delivered = read_after(&spool, 0).await;
    assert_eq!(delivered.len(), 5);
    assert_eq!(delivered[1], Delivered::Damaged { messages: 1 });
    assert_eq!(delivered[4], Delivered::Body(big));
}

/// Six records in three segments; gives the segments' paths.
async fn three_segments(directory: &Path, body: &[u8]) -> Vec<PathBuf> {
    let spool = open(directory);
    for _ in 0..6 {
        append(&spool, body).await.unwrap();
    }
    drop(spool);
    let mut paths = segments(directory);
    // The next one is prepared.
    assert_eq!(paths.len(), 4);
    paths.truncate(3);
    paths
}

#[tokio::test]
async fn a_lost_segment_costs_its_records_but_not_the_order() {
    let directory = tempfile::tempdir().unwrap();
    let paths = three_segments(directory.path(), &vec![b'b'; 30_000]).await;
    fs::write(&paths[1], vec![0; 64 << 10]).unwrap();
    let spool = open(directory.path());
    let delivered = read_after(&spool, 0).await;
    assert_eq!(delivered.len(), 6);
    let lost = delivered.iter().filter(|one| matches!(one, Delivered::Damaged { .. })).count();
    assert_eq!(lost, 2);
    assert!(paths[1].with_extension("damaged").exists(), "kept for a person to look at");
}

#[tokio::test]
async fn a_lost_segment_header_costs_nothing() {
    let body = vec![b'b'; 30_000];
    for index in 0..3 {
        let directory = tempfile::tempdir().unwrap();
        let path = three_segments(directory.path(), &body).await.remove(index);
        let mut bytes = fs::read(&path).unwrap();
        bytes[..64].fill(0);
        fs::write(&path, &bytes).unwrap();
        for records in 6..9 {
            let spool = open(directory.path());
            assert_eq!(spool.status().head, records, "header {index}");
            assert_eq!(in_flight(&spool, 1), records - 1, "header {index}");
            let count = usize::try_from(records).unwrap();
            assert_eq!(read_after(&spool, 0).await, vec![Delivered::Body(body.clone()); count]);
            append(&spool, &body).await.unwrap();
        }
        assert!(path.exists() && !path.with_extension("damaged").exists());
    }
}

#[tokio::test]
async fn a_lost_start_of_the_newest_segment_costs_its_first_record() {
    let directory = tempfile::tempdir().unwrap();
    let body = vec![b'b'; 30_000];
    let path = three_segments(directory.path(), &body).await.remove(2);
    let mut bytes = fs::read(&path).unwrap();
    bytes[..5_000].fill(0);
    fs::write(&path, &bytes).unwrap();
    let spool = open(directory.path());
    append(&spool, &body).await.unwrap();
    let mut expected = vec![Delivered::Body(body); 7];
    expected[4] = Delivered::Damaged { messages: 1 };
    assert_eq!(read_after(&spool, 0).await, expected);
}

#[tokio::test]
async fn a_segment_whose_header_cannot_be_read_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let body = vec![b'b'; 30_000];
    for path in three_segments(directory.path(), &body).await {
        let disk = TestDisk::default();
        disk.fail_reads(&path, 0..512, u64::MAX);
        let spool = open_salvaging(directory.path(), &disk).unwrap();
        assert_eq!(read_after(&spool, 0).await, vec![Delivered::Body(body.clone()); 6]);
    }
}

/// A sector within the second of records of 10 000 bytes, and one within the third.
const IN_SECOND: Range<u64> = 16_384..16_896;
const IN_THIRD: Range<u64> = 28_672..29_184;

/// A spool with three records of 10 000 bytes, on `disk`.
async fn three_records(directory: &Path, disk: &TestDisk) -> (Spool, Delivered, PathBuf) {
    let spool = open_salvaging(directory, disk).unwrap();
    let body = vec![b'b'; 10_000];
    for _ in 0..3 {
        append(&spool, &body).await.unwrap();
    }
    (spool, Delivered::Body(body), segments(directory).remove(0))
}

#[tokio::test]
async fn a_sector_that_cannot_be_read_costs_one_record() {
    let directory = tempfile::tempdir().unwrap();
    let disk = TestDisk::default();
    let (spool, body, path) = three_records(directory.path(), &disk).await;
    disk.fail_reads(&path, IN_SECOND, u64::MAX);
    let expected = [body.clone(), Delivered::Damaged { messages: 1 }, body];
    assert_eq!(read_after(&spool, 0).await, expected, "while it runs");
    drop(spool);
    let spool = open_salvaging(directory.path(), &disk).unwrap();
    assert_eq!(read_after(&spool, 0).await, expected, "and at the next start");
    assert_eq!((in_flight(&spool, 0), in_flight(&spool, 2)), (3, 1));
}

#[tokio::test]
async fn the_last_record_keeps_its_place_though_it_cannot_be_read() {
    let directory = tempfile::tempdir().unwrap();
    let disk = TestDisk::default();
    let (spool, body, path) = three_records(directory.path(), &disk).await;
    drop(spool);
    disk.fail_reads(&path, IN_THIRD, u64::MAX);
    let spool = open_salvaging(directory.path(), &disk).unwrap();
    assert_eq!(spool.status().head, 3, "its sequence is not given away");
    append(&spool, b"next").await.unwrap();
    let damaged = Delivered::Damaged { messages: 1 };
    let expected = [body.clone(), body, damaged, bodies(&["next"]).remove(0)];
    assert_eq!(read_after(&spool, 0).await, expected);
}

#[tokio::test]
async fn a_disk_that_fails_for_a_while_costs_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let disk = TestDisk::default();
    let (spool, body, path) = three_records(directory.path(), &disk).await;
    let expected = vec![body; 3];
    disk.fail_reads(&path, IN_SECOND, 8);
    assert_eq!(read_after(&spool, 0).await, expected, "while it runs");
    drop(spool);
    disk.fail_reads(&path, IN_SECOND, 8);
    let spool = open_salvaging(directory.path(), &disk).unwrap();
    assert_eq!(read_after(&spool, 0).await, expected, "and at a start");
    drop(spool);
    disk.fail_reads(&path, IN_SECOND, u64::MAX);
    disk.be_away(true);
    let error = open_salvaging(directory.path(), &disk).err().unwrap().to_string();
    assert!(error.contains(".segment: Input/output error"), "no damage is made of it: {error}");
}

#[tokio::test]
async fn a_failed_sync_is_refused_and_never_delivered() {
    let directory = tempfile::tempdir().unwrap();
    let disk = TestDisk::default();
    let spool = open_on(directory.path(), Arc::new(disk.clone()));
    append(&spool, b"before").await.unwrap();
    disk.fail_sync(true);
    let refused = append(&spool, b"refused").await.unwrap_err();
    assert!(matches!(refused, AppendError::Failing(_)), "{refused}");
    assert!(spool.status().failing.is_some());
    disk.fail_sync(false);
    eventually("the disk is tried again", || async { append(&spool, b"after").await.ok() }).await;
    assert!(spool.status().failing.is_none());
    assert_eq!(read_after(&spool, 0).await, bodies(&["before", "after"]));
    drop(spool);
    let spool = open(directory.path());
    assert_eq!(read_after(&spool, 0).await, bodies(&["before", "after"]), "nor after a restart");
}

#[tokio::test]
async fn a_full_disk_is_told_and_recovers_without_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let disk = TestDisk::default();
    let spool = open_on(directory.path(), Arc::new(disk.clone()));
    append(&spool, b"before").await.unwrap();
    disk.fail_write(true);
    eventually("the disk was tried several times", || async {
        assert!(matches!(append(&spool, b"half-written").await, Err(AppendError::Failing(_))));
        (disk.failed_writes() > 3).then_some(())
    })
    .await;
    disk.fail_write(false);
    eventually("there is room again", || async { append(&spool, b"after").await.ok() }).await;
    // The one that a write failed in, and the one after it.
    assert_eq!(segments(directory.path()).len(), 2, "what failed leaves nothing behind");
    assert_eq!(read_after(&spool, 0).await, bodies(&["before", "after"]));
}

#[tokio::test]
async fn the_bound_is_kept_until_something_is_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let spool = open(directory.path());
    let body = vec![b'x'; 30_000];
    let mut accepted = 0;
    let refused = loop {
        match append(&spool, &body).await {
            Ok(_) => accepted += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, AppendError::Full { .. }), "{refused}");
    assert_eq!(spool.refuses(), Some(refused), "whoever asks hears so too");
    assert!((30..=35).contains(&accepted), "{accepted} of 30 kB in 1 MiB");
    assert!(spool.status().used_bytes <= 1 << 20);
    spool.acknowledge(accepted);
    let has_room = || async { spool.refuses().is_none().then_some(()) };
    eventually("there is room, though nobody tried", has_room).await;
    append(&spool, &body).await.unwrap();
    let too_large = append(&spool, &vec![0; 64 << 10]).await;
    assert!(matches!(too_large, Err(AppendError::TooLarge(_))));
}

#[tokio::test]
async fn one_process_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let spool = open(directory.path());
    let ledger = Arc::new(std::sync::Mutex::new(Ledger::default()));
    let second = Spool::open(settings(directory.path()), ledger);
    assert!(second.err().unwrap().to_string().contains("another process uses the spool"));
    drop(spool);
    open(directory.path());
}

/// What a crash leaves: the files as they are, without the clean end.
fn crashed(directory: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    copy_files(directory, copy.path());
    copy
}

#[tokio::test]
async fn a_retry_is_a_duplicate_also_after_a_crash() {
    let directory = tempfile::tempdir().unwrap();
    let spool = open(directory.path());
    let again = |spool: Spool| async move {
        let outcome = spool.append(record_with_id(b"body", "id-1")).await;
        (spool, outcome)
    };
    let (spool, outcome) = again(spool).await;
    assert_eq!(outcome, Ok(Appended::New));
    let (spool, outcome) = again(spool).await;
    assert_eq!(outcome, Ok(Appended::Duplicate));
    let copy = crashed(directory.path());
    drop(spool);
    let (spool, outcome) = again(open(copy.path())).await;
    assert_eq!(outcome, Ok(Appended::Duplicate), "after a crash");
    // Its segment gone, the id is still known from its own file.
    let spool = {
        for sequence in 4..50 {
            append(&spool, &vec![0; 20_000]).await.unwrap();
            spool.acknowledge(sequence);
        }
        spool
    };
    drop(spool);
    let (spool, outcome) = again(open(copy.path())).await;
    assert_eq!(outcome, Ok(Appended::Duplicate), "after its segment was recycled");
    let head = spool.status().head;
    assert_eq!(read_after(&spool, head - 1).await, [Delivered::Duplicate]);
}

/// Its id was accepted when the ids of its segment were on their way to the disk already.
#[tokio::test]
async fn a_retry_of_the_last_record_of_a_sealed_segment_is_a_duplicate() {
    let directory = tempfile::tempdir().unwrap();
    let spool = open(directory.path());
    let body = vec![b'x'; 20_000];
    for id in ["1", "2", "3", "4"] {
        let outcome = spool.append(record_with_id(&body, id)).await;
        assert_eq!(outcome, Ok(Appended::New), "{id}");
    }
    let copy = crashed(directory.path());
    drop(spool);
    let spool = open(copy.path());
    for id in ["1", "2", "3", "4"] {
        let outcome = spool.append(record_with_id(&body, id)).await;
        assert_eq!(outcome, Ok(Appended::Duplicate), "{id}");
    }
}

#[tokio::test]
async fn the_next_segment_is_prepared_before_it_is_needed() {
    let directory = tempfile::tempdir().unwrap();
    let spool = open(directory.path());
    let body = vec![b'x'; 20_000];
    for number in [2, 3, 4] {
        let next = directory.path().join(format!("{number:016}.segment"));
        assert!(!next.exists());
        // Three fill a segment.
        for _ in 0..2 {
            append(&spool, &body).await.unwrap();
        }
        eventually("its file is there", || async { next.exists().then_some(()) }).await;
        append(&spool, &body).await.unwrap();
        spool.acknowledge(spool.status().head);
    }
}

#[tokio::test]
async fn a_refused_record_may_come_again_under_its_id() {
    let directory = tempfile::tempdir().unwrap();
    let disk = TestDisk::default();
    let spool = open_on(directory.path(), Arc::new(disk.clone()));
    disk.fail_sync(true);
    spool.append(record_with_id(b"body", "id-1")).await.unwrap_err();
    disk.fail_sync(false);
    let outcome = eventually("the disk is tried again", || async {
        spool.append(record_with_id(b"body", "id-1")).await.ok()
    })
    .await;
    assert_eq!(outcome, Appended::New);
    assert_eq!(read_after(&spool, 0).await, bodies(&["body"]));
}

#[tokio::test]
async fn the_sequence_goes_on_though_all_is_acknowledged_and_the_disk_fails() {
    let directory = tempfile::tempdir().unwrap();
    let spool = open(directory.path());
    append(&spool, b"one").await.unwrap();
    drop(spool);
    // No segment can be made; one is made but never gets a record, and no other; none can be made.
    for writes in [0, 1, 0] {
        let disk = TestDisk::default();
        let spool = open_on(directory.path(), Arc::new(disk.clone()));
        assert_eq!(spool.status().head, 1, "a store would take a new record for an old one");
        disk.fail_writes_after(writes);
        append(&spool, b"refused").await.unwrap_err();
        spool.acknowledge(1);
        eventually("the disk is tried again", || async {
            append(&spool, b"refused").await.unwrap_err();
            (disk.failed_writes() > 1).then_some(())
        })
        .await;
    }
    let spool = open(directory.path());
    assert_eq!(spool.status().head, 1);
    append(&spool, b"two").await.unwrap();
    assert_eq!(read_after(&spool, 1).await, bodies(&["two"]));
}

#[tokio::test]
async fn concurrent_clients_share_a_commit() {
    let directory = tempfile::tempdir().unwrap();
    let disk = TestDisk::default();
    let spool = Arc::new(open_on(directory.path(), Arc::new(disk.clone())));
    append(&spool, b"opens the segment").await.unwrap();
    let before = disk.syncs();
    let mut waiting = Vec::new();
    for _ in 0..500 {
        waiting.push(spool.enqueue(record(b"body")).await.unwrap());
    }
    for outcome in waiting {
        outcome.await.unwrap().unwrap();
    }
    let commits = disk.syncs() - before;
    assert!(commits < 250, "{commits} commits for 500 records");
}

#[tokio::test]
async fn what_nobody_waits_for_any_more_is_not_written() {
    let directory = tempfile::tempdir().unwrap();
    let disk = TestDisk::default();
    let spool = open_on(directory.path(), Arc::new(disk.clone()));
    append(&spool, b"opens the segment").await.unwrap();
    let held = disk.hold_syncs();
    let first = spool.enqueue(record(b"first")).await.unwrap();
    eventually("the disk stalls", || async { (disk.held_syncs() > 0).then_some(()) }).await;
    drop(spool.enqueue(record_with_id(b"again", "id-1")).await.unwrap());
    drop(held);
    first.await.unwrap().unwrap();
    let again = spool.append(record_with_id(b"again", "id-1")).await;
    assert_eq!(again, Ok(Appended::New), "the one that was given up left nothing behind");
    assert_eq!(read_after(&spool, 1).await, bodies(&["first", "again"]));
}

#[tokio::test]
async fn what_is_queued_behind_the_end_hears_so() {
    let directory = tempfile::tempdir().unwrap();
    let disk = TestDisk::default();
    let spool = Arc::new(open_on(directory.path(), Arc::new(disk.clone())));
    append(&spool, b"opens the segment").await.unwrap();
    let held = disk.hold_syncs();
    let first = spool.enqueue(record(b"first")).await.unwrap();
    eventually("the disk stalls", || async { (disk.held_syncs() > 0).then_some(()) }).await;
    let closing = {
        let spool = spool.clone();
        std::thread::spawn(move || spool.close())
    };
    let is_queued = || async { (spool.status().queued > 0).then_some(()) };
    eventually("the end is queued", is_queued).await;
    let late = spool.enqueue(record(b"late")).await.unwrap();
    drop(held);
    first.await.unwrap().unwrap();
    let outcome = tokio::time::timeout(PATIENCE, late).await.expect("no hang");
    assert!(outcome.is_err(), "it was not kept");
    closing.join().unwrap();
}

#[derive(Clone, Debug)]
enum Operation {
    Append {
        count: usize,
        size: usize,
    },
    Acknowledge {
        percent: usize,
    },
    Restart,
    /// The power goes while a commit is under way; each unsynced sector survives or not.
    PowerLoss {
        count: usize,
        survivors: u64,
    },
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        4 => (1usize..8, 0usize..9_000).prop_map(|(count, size)| Operation::Append { count, size }),
        2 => (0usize..=100).prop_map(|percent| Operation::Acknowledge { percent }),
        1 => Just(Operation::Restart),
        2 => (1usize..8, any::<u64>())
            .prop_map(|(count, survivors)| Operation::PowerLoss { count, survivors }),
    ]
}

/// Runs operations against the spool and a plain list; what was accepted must be delivered.
async fn agrees_with_a_list(operations: Vec<Operation>) {
    let directory = tempfile::tempdir().unwrap();
    let mut disk = TestDisk::default();
    let mut spool = open_on(directory.path(), Arc::new(disk.clone()));
    // Body by sequence, from 1; `None` where an unfinished commit survived or not.
    let mut accepted: Vec<Vec<u8>> = Vec::new();
    let mut acknowledged = 0usize;
    let mut serial = 0u32;
    let mut body = |size: usize| {
        serial += 1;
        let mut body = serial.to_le_bytes().to_vec();
        body.resize(4 + size, 0x5A);
        body
    };
    for operation in operations {
        match operation {
            Operation::Append { count, size } => {
                for _ in 0..count {
                    let body = body(size);
                    match append(&spool, &body).await {
                        Ok(_) => accepted.push(body),
                        Err(error) => assert!(matches!(error, AppendError::Full { .. }), "{error}"),
                    }
                }
            }
            Operation::Acknowledge { percent } => {
                let waiting = accepted.len() - acknowledged;
                acknowledged += waiting * percent / 100;
                spool.acknowledge(acknowledged as u64);
            }
            Operation::Restart => {
                drop(spool);
                spool = open_on(directory.path(), Arc::new(disk.clone()));
            }
            Operation::PowerLoss { count, mut survivors } => {
                disk.fail_sync(true);
                let mut lost = Vec::new();
                for _ in 0..count {
                    lost.push(spool.enqueue(record(&body(3_000))).await.unwrap());
                }
                for outcome in lost {
                    assert!(outcome.await.unwrap().is_err());
                }
                drop(spool);
                disk.lose_unsynced(|| {
                    survivors = survivors.rotate_left(7).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
                    survivors & 64 == 0
                });
                disk = TestDisk::default();
                spool = open_on(directory.path(), Arc::new(disk.clone()));
            }
        }
        let head = usize::try_from(spool.status().head).unwrap();
        assert!(head >= accepted.len(), "{} accepted, {head} kept", accepted.len());
        let delivered = read_after(&spool, acknowledged as u64).await;
        let expected: Vec<_> =
            accepted[acknowledged..].iter().map(|body| Delivered::Body(body.clone())).collect();
        assert_eq!(delivered[..expected.len()], expected);
        // What was under way when the power went may have survived whole: then it counts.
        for extra in &delivered[expected.len()..] {
            let Delivered::Body(body) = extra else { panic!("{extra:?}") };
            accepted.push(body.clone());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn what_was_accepted_is_delivered_whatever_happens(
        operations in proptest::collection::vec(operation(), 1..25)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(agrees_with_a_list(operations));
    }
}
