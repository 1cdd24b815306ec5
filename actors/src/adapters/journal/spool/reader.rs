//! The spool's reading thread: from segments to blocks.
//!
//! `durable records ──▶ reader ──▶ blocks`
//!
//! When `blocks` is full the reader waits; nothing is read into memory that nobody takes. What
//! is damaged arrives as [`Content::Damaged`] records, so that positions stay without gaps and
//! the ledger without holes.

use std::{io, sync::Arc, time::Duration};

use super::{
    format::{FRAME_HEAD, Found, FrameHead, LONGEST_FRAME, Totals, frame_at},
    segments::{Located, Segment, Shared, Walk, locate},
};
use crate::domain::{
    event::Source,
    record::{Block, Content, RecordRef},
};

/// Bytes read at once: enough to make the read cheap, few enough to stay in the processor's cache
/// until they are parsed.
const READ_BYTES: usize = 256 << 10;
/// How long records gather behind the first one that comes after a pause. One block then takes
/// what several commits brought, and every stage is woken once for it.
const GATHER: Duration = Duration::from_millis(5);
const AFTER_READ_ERROR: Duration = Duration::from_secs(1);
/// Lost records that one block tells of, so that memory is bounded however many they are.
const LOST_AT_ONCE: u64 = 10_000;

pub(super) struct Reader {
    shared: Arc<Shared>,
    blocks: flume::Sender<Block>,
    place: Option<Place>,
}

/// Where the next record is.
#[derive(Clone, Copy)]
struct Place {
    /// 0 when the segment is still to be found.
    segment: u64,
    offset: u64,
    sequence: u64,
    totals: Totals,
}

impl Reader {
    #[must_use]
    pub(super) fn new(shared: Arc<Shared>, blocks: flume::Sender<Block>) -> Self {
        Self { shared, blocks, place: None }
    }

    /// Runs until the spool is closed or nobody takes blocks any more.
    pub(super) fn run(mut self) {
        while let Some(segment) = self.wait() {
            match self.read(&segment) {
                Ok(Some(block)) => {
                    if self.blocks.send(block).is_err() {
                        return;
                    }
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(segment = segment.number, %error, "cannot read the spool; trying again");
                    metrics::counter!("faultline_spool_read_errors_total").increment(1);
                    std::thread::sleep(AFTER_READ_ERROR);
                }
            }
        }
    }

    /// Waits until there is a record behind the place; gives its segment, or `None` at the end.
    fn wait(&mut self) -> Option<Segment> {
        let mut state = self.shared.lock();
        let mut has_paused = false;
        loop {
            if state.closed {
                return None;
            }
            if let Some(position) = state.read_after.take() {
                self.place = Some(Place {
                    segment: 0,
                    offset: 0,
                    sequence: position + 1,
                    totals: Totals::default(),
                });
            }
            if let Some(place) = self.place
                && place.sequence <= state.head
                && let Some(segment) = state.segment_of(place.sequence)
            {
                if !std::mem::take(&mut has_paused) {
                    return Some(segment.clone());
                }
                drop(state);
                std::thread::sleep(GATHER);
                state = self.shared.lock();
                continue;
            }
            has_paused = true;
            state = self.shared.wait_readable(state);
        }
    }

    fn read(&mut self, segment: &Segment) -> io::Result<Option<Block>> {
        let mut place = self.place.expect("wait gives a segment for a place");
        if place.segment != segment.number {
            if place.sequence < segment.first_sequence {
                let is_start = place.segment == 0 && self.shared.lock().is_oldest(segment);
                if !is_start {
                    return Ok(Some(self.missing_segment(place, segment)));
                }
                // The spool has forgotten what is asked for: the store is older than it was. However
                // many records that are, whoever takes what comes next sees the gap.
                place.sequence = segment.first_sequence;
            }
            place = self.find(place.sequence, segment)?;
            self.place = Some(place);
        }
        let mut length = READ_BYTES;
        loop {
            let left = usize::try_from(segment.end - place.offset).unwrap_or(usize::MAX);
            let mut bytes = vec![0; length.min(left)];
            let read = segment.file.read_at(&mut bytes, place.offset)?;
            bytes.truncate(read);
            match self.take_frames(segment, bytes) {
                Taken::Block(block) => return Ok(Some(block)),
                Taken::Short { needed } if needed > length && length < left => length = needed,
                Taken::Short { .. } | Taken::Nothing => {
                    return self.damaged(segment).map(Some);
                }
            }
        }
    }

    /// Turns the frames at the start of `bytes` into a block, and moves behind them.
    fn take_frames(&mut self, segment: &Segment, mut bytes: Vec<u8>) -> Taken {
        let mut place = self.place.expect("set by read");
        let mut records = Vec::new();
        let mut at = 0;
        let mut stopped_by = Found::Nothing;
        while place.sequence <= segment.last_sequence {
            let found = frame_at(segment.key, &bytes[at..], LONGEST_FRAME);
            let Found::Frame(head) = found else {
                stopped_by = found;
                break;
            };
            if head.sequence != place.sequence {
                break;
            }
            records.push(record_of(&head, at));
            place.totals[head.source as usize] = head.total;
            place.sequence += 1;
            at += head.frame_len();
        }
        if records.is_empty() {
            return match stopped_by {
                Found::Short { needed } => Taken::Short { needed },
                Found::Frame(_) | Found::Nothing => Taken::Nothing,
            };
        }
        bytes.truncate(at);
        place.offset += at as u64;
        self.place = Some(place);
        Taken::Block(Block { bytes: bytes.into(), records })
    }

    fn find(&self, sequence: u64, segment: &Segment) -> io::Result<Place> {
        let at_end = self.shared.lock().totals_behind(segment.number);
        let located = locate(segment, sequence, &at_end)?;
        let Located { offset, totals, .. } = located;
        Ok(Place { segment: segment.number, offset, sequence, totals })
    }

    /// The expected frame is not there: reports what is lost up to the next valid one.
    fn damaged(&mut self, segment: &Segment) -> io::Result<Block> {
        let place = self.place.expect("set by read");
        let mut walk = Walk::from(segment, segment.end, place.offset, place.sequence);
        let damage = walk.skip_damage(segment.last_sequence)?;
        let at_end = self.shared.lock().totals_behind(segment.number);
        let behind = damage.totals_behind(&place.totals, &at_end);
        let next = damage.next.unwrap_or(segment.last_sequence + 1);
        let block = self.lost(place, next, behind, damage.bytes);
        self.place.as_mut().expect("set by read").offset = walk.offset;
        Ok(block)
    }

    /// A whole segment between the place and `segment` is gone.
    fn missing_segment(&mut self, place: Place, segment: &Segment) -> Block {
        let known = place.segment != 0;
        let totals = if known { place.totals } else { segment.totals };
        let block = self.lost(
            Place { totals, ..place },
            segment.first_sequence,
            segment.totals,
            Vec::new(),
        );
        self.place.as_mut().expect("set by lost").segment = 0;
        block
    }

    /// One damaged record for each lost sequence up to `next`, or for as many as one block takes; the
    /// first ones carry the messages that the totals say are missing, and the bytes that are left.
    fn lost(&mut self, place: Place, next: u64, after: Totals, bytes: Vec<u8>) -> Block {
        let next = next.min(place.sequence + LOST_AT_ONCE);
        tracing::error!(
            first = place.sequence,
            last = next - 1,
            bytes = bytes.len(),
            "records in the spool are damaged; what is left of them is kept as rejected"
        );
        metrics::counter!("faultline_spool_damaged_records_total").increment(next - place.sequence);
        let mut missing = Source::ALL.into_iter().filter_map(|source| {
            let count = after[source as usize] - place.totals[source as usize];
            (count > 0).then_some((source, u32::try_from(count).unwrap_or(u32::MAX)))
        });
        let received_at = self.shared.lock().commits.front().map_or(0, |(_, at)| *at);
        let records = (place.sequence..next)
            .map(|sequence| {
                let (source, messages) = missing.next().unwrap_or((Source::Logdrains, 0));
                let kept = if sequence == place.sequence { 0..bytes.len() } else { 0..0 };
                let content = Content::Damaged { bytes: kept };
                RecordRef { sequence, received_at, source, messages, content }
            })
            .collect();
        self.place = Some(Place { sequence: next, totals: after, ..place });
        Block { bytes: bytes.into(), records }
    }
}

enum Taken {
    Block(Block),
    Short { needed: usize },
    Nothing,
}

fn record_of(head: &FrameHead, at: usize) -> RecordRef {
    let meta = at + FRAME_HEAD;
    let body = meta + usize::from(head.meta);
    let content = if head.is_duplicate {
        Content::Duplicate
    } else {
        Content::Body { meta: meta..body, body: body..at + head.frame_len() }
    };
    RecordRef {
        sequence: head.sequence,
        received_at: head.received_at,
        source: head.source,
        messages: head.messages,
        content,
    }
}
