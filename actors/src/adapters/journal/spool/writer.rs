//! The spool's writing thread: from appends to durable frames.
//!
//! `appends ──▶ writer ──▶ segment`, `writer ◀──▶ preparer`
//!
//! Natural group commit: while one commit is on its way to the disk the next one gathers, so many
//! clients share one `fdatasync` and a single one waits for no timer. A client is answered only
//! after that. When a write or a sync fails, everybody in that commit hears so, the segment is
//! never written to again, and the next append tries a new one.

use std::{
    fs, io,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::{
    Settings,
    disk::DiskFile,
    format::{
        FramePlace, SEGMENT_HEADER, Sealed, SegmentHeader, SegmentKey, Totals, frame_len,
        push_frame,
    },
    ids::Ids,
    preparer::{NotPrepared, Order, Prepared, Wanted},
    segments::{Segment, Shared, segment_path},
};
use crate::{
    adapters::{
        clock,
        journal::{AppendError, Appended, Origin},
    },
    domain::{
        dedupe::Inserted,
        event::Source,
        ledger::Ledger,
        record::{NewRecord, RecordId},
        time::Micros,
    },
};

/// After a failure the disk is left alone for so long.
const AFTER_FAILURE: Duration = Duration::from_millis(500);
/// Acknowledged segments kept for recycling; writing to them is cheaper than growing new ones.
const SPARE_SEGMENTS: usize = 2;
/// A commit larger than this does not keep its buffer.
const KEEP_BUFFER: usize = 4 << 20;
/// Ids are put on disk at the latest when there are so many.
const FRESH_IDS: usize = 32 << 10;
/// Commits whose age is remembered; beyond, the age of the oldest record is a little off.
const REMEMBERED_COMMITS: usize = 4096;

pub(super) enum Command {
    Append(NewRecord, oneshot::Sender<Result<Appended, AppendError>>),
    /// Something was acknowledged: look for segments to give back.
    Reclaim,
    Close,
}

pub(super) struct Writer {
    pub shared: Arc<Shared>,
    pub commands: flume::Receiver<Command>,
    pub settings: Settings,
    pub directory: PathBuf,
    pub origin: Origin,
    pub ids: Ids,
    pub orders: flume::Sender<Order>,
    pub prepared: flume::Receiver<Result<Prepared, NotPrepared>>,
    /// Whether the next segment is being prepared.
    pub is_ordered: bool,
    pub ledger: Arc<Mutex<Ledger>>,
    pub next_sequence: u64,
    pub next_number: u64,
    pub next_commit: u64,
    pub totals: Totals,
    pub current: Option<Current>,
    pub gathered: Gathered,
    pub rest_until: Option<Instant>,
}

/// The segment being written.
pub(super) struct Current {
    key: SegmentKey,
    file: Arc<dyn DiskFile>,
    offset: u64,
}

/// The next commit.
#[derive(Default)]
pub(super) struct Gathered {
    frames: Vec<u8>,
    waiting: Vec<Waiting>,
    new_ids: Vec<RecordId>,
    received_at: Micros,
}

struct Waiting {
    reply: oneshot::Sender<Result<Appended, AppendError>>,
    appended: Appended,
    source: Source,
    messages: u32,
}

impl Writer {
    /// Runs until the spool is closed.
    pub(super) fn run(mut self) {
        while let Ok(command) = self.commands.recv() {
            let mut closing = self.obey(command);
            while !closing && self.gathered.frames.len() < self.settings.commit_bytes() {
                match self.commands.try_recv() {
                    Ok(command) => closing = self.obey(command),
                    Err(_) => break,
                }
            }
            self.commit();
            if closing {
                break;
            }
        }
        self.order(None);
        self.shared.lock().closed = true;
        self.shared.notify_reader();
        // Whoever is queued behind the end hears so now, not when the spool is dropped.
        self.commands.drain();
    }

    /// Gives whether to close.
    fn obey(&mut self, command: Command) -> bool {
        match command {
            Command::Append(record, reply) => self.append(&record, reply),
            Command::Reclaim => self.reclaim(),
            Command::Close => return true,
        }
        false
    }

    fn append(
        &mut self,
        record: &NewRecord,
        reply: oneshot::Sender<Result<Appended, AppendError>>,
    ) {
        // Its client was told to try again, or is gone. To keep the record would store it twice.
        if reply.is_closed() {
            return;
        }
        if let Err(error) = self.make_room(frame_len(record)) {
            // The client may be gone by now; then nobody needs to hear it.
            let _ = reply.send(Err(error));
            return;
        }
        let current = self.current.as_ref().expect("make_room opens a segment");
        let is_duplicate = !record.id.is_none()
            && self.ids.insert(record.id, record.received_at) == Inserted::Known;
        if !record.id.is_none() && !is_duplicate {
            self.gathered.new_ids.push(record.id);
        }
        self.totals[record.source as usize] += u64::from(record.messages);
        let place = FramePlace {
            segment: current.key,
            sequence: self.next_sequence,
            commit: self.next_commit,
            starts_commit: self.gathered.frames.is_empty(),
            total: self.totals[record.source as usize],
            is_duplicate,
        };
        push_frame(&mut self.gathered.frames, record, place);
        self.next_sequence += 1;
        self.gathered.received_at = record.received_at;
        self.gathered.waiting.push(Waiting {
            reply,
            appended: if is_duplicate { Appended::Duplicate } else { Appended::New },
            source: record.source,
            messages: record.messages,
        });
    }

    /// Sees to it that `length` bytes fit into the current segment and the bound.
    fn make_room(&mut self, length: usize) -> Result<(), AppendError> {
        let segment_bytes = self.settings.segment_bytes();
        if length > self.settings.longest_frame() {
            return Err(AppendError::TooLarge(length));
        }
        let gathered = self.gathered.frames.len() as u64;
        let limit = self.settings.max_bytes.as_u64();
        let used = self.shared.lock().used() + gathered;
        if used + length as u64 > limit {
            self.reclaim();
            let mut state = self.shared.lock();
            let used = state.used() + gathered;
            if used + length as u64 > limit {
                state.is_full = true;
                return Err(AppendError::Full { used, limit });
            }
        }
        let fits = |current: &Current| current.offset + gathered + length as u64 <= segment_bytes;
        if self.current.as_ref().is_some_and(fits) {
            return Ok(());
        }
        self.commit();
        if self.rest_until.is_some_and(|until| Instant::now() < until) {
            let failing = self.shared.lock().failing.clone();
            return Err(AppendError::Failing(failing.unwrap_or_default()));
        }
        self.next_segment().map_err(|error| self.failed(&error))
    }

    /// Writes what was gathered and answers those who wait for it.
    fn commit(&mut self) {
        if self.gathered.waiting.is_empty() {
            return;
        }
        let Gathered { frames, waiting, new_ids, received_at } = std::mem::take(&mut self.gathered);
        let started = Instant::now();
        let current = self.current.as_mut().expect("frames were gathered for a segment");
        let written =
            current.file.write_at(&frames, current.offset).and_then(|()| current.file.sync());
        if let Err(error) = written {
            let error = self.failed(&error);
            self.take_back(&waiting, &new_ids);
            for waiting in waiting {
                let _ = waiting.reply.send(Err(error.clone()));
            }
            return;
        }
        metrics::histogram!("faultline_spool_commit_seconds").record(started.elapsed());
        metrics::counter!("faultline_spool_written_bytes_total").increment(frames.len() as u64);
        current.offset += frames.len() as u64;
        self.next_commit += 1;
        let end = current.offset;
        self.publish(end, received_at, &waiting);
        for waiting in waiting {
            let _ = waiting.reply.send(Ok(waiting.appended));
        }
        self.look_ahead();
        if frames.capacity() <= KEEP_BUFFER {
            self.gathered.frames = frames;
            self.gathered.frames.clear();
        }
    }

    /// Lets the ledger and the reader know of a commit, in one step: nothing may be settled before
    /// it was received, nor counted twice by [`super::Spool::resume_ledger`].
    fn publish(&mut self, end: u64, received_at: Micros, waiting: &[Waiting]) {
        let mut state = self.shared.lock();
        let mut ledger = self.ledger.lock().expect("nobody panics while counting");
        for waiting in waiting {
            ledger.receive(waiting.source, u64::from(waiting.messages));
        }
        drop(ledger);
        state.head = self.next_sequence - 1;
        state.totals = self.totals;
        state.failing = None;
        state.is_full = false;
        state.ids = self.ids.len();
        if state.commits.len() < REMEMBERED_COMMITS {
            let head = state.head;
            state.commits.push_back((head, received_at));
        }
        let head = state.head;
        let segment = state.segments.back_mut().expect("the current segment");
        segment.end = end;
        segment.last_sequence = head;
        drop(state);
        self.shared.notify_reader();
    }

    /// Forgets a commit that did not become durable. Its frames may be in the segment all the
    /// same, so that is never written to again, and the next segment starts with their sequence.
    fn take_back(&mut self, waiting: &[Waiting], new_ids: &[RecordId]) {
        self.next_sequence -= waiting.len() as u64;
        for waiting in waiting {
            self.totals[waiting.source as usize] -= u64::from(waiting.messages);
        }
        self.ids.take_back(new_ids);
    }

    fn failed(&mut self, error: &io::Error) -> AppendError {
        self.current = None;
        self.rest_until = Some(Instant::now() + AFTER_FAILURE);
        let message = error.to_string();
        let mut state = self.shared.lock();
        if state.failing.is_none() {
            tracing::error!(%error, "cannot write to the spool: clients are told to try again");
        }
        state.failing = Some(message.clone());
        drop(state);
        metrics::counter!("faultline_spool_write_errors_total").increment(1);
        AppendError::Failing(message)
    }

    /// Has the next segment prepared in good time, and ids written before they are many.
    fn look_ahead(&mut self) {
        let half = self.settings.segment_bytes() / 2;
        if !self.is_ordered && self.current.as_ref().is_some_and(|it| it.offset >= half) {
            self.order_segment();
        } else if self.ids.fresh() > FRESH_IDS {
            self.order(None);
        }
    }

    /// A recycled one, where there is one.
    fn order_segment(&mut self) {
        self.reclaim();
        let recycled = self.shared.lock().free.pop_front();
        self.order(Some(Wanted { number: self.next_number, recycled }));
        self.next_number += 1;
        self.is_ordered = true;
    }

    fn order(&mut self, segment: Option<Wanted>) {
        let ids = self.ids.take_fresh(clock::now());
        // Who waits for a segment hears when nobody is there any more.
        let _ = self.orders.send(Order { ids, segment });
    }

    fn take_prepared(&mut self) -> io::Result<Prepared> {
        // What failed when it was ordered may be over by now.
        if self.is_ordered
            && let Ok(prepared) = self.await_prepared()
        {
            return Ok(prepared);
        }
        self.order_segment();
        self.await_prepared()
    }

    fn await_prepared(&mut self) -> io::Result<Prepared> {
        self.is_ordered = false;
        let Ok(outcome) = self.prepared.recv() else {
            return Err(io::Error::other("the thread that prepares segments has ended"));
        };
        outcome.map_err(|NotPrepared { error, recycled }| {
            if let Some(number) = recycled {
                self.shared.lock().free.push_front(number);
            }
            error
        })
    }

    /// Opens the next segment.
    fn next_segment(&mut self) -> io::Result<()> {
        self.current = None;
        let Prepared { number, file } = self.take_prepared()?;
        if let Err(error) = self.begin_segment(number, &*file) {
            // A disk that goes on failing must not be filled with segments that nobody uses.
            let _ = fs::remove_file(segment_path(&self.directory, number));
            return Err(error);
        }
        let mut state = self.shared.lock();
        // A segment that was opened but never got a record is no use as one.
        if let Some(empty) = state.segments.pop_back_if(|last| last.last_sequence == 0) {
            state.free.push_back(empty.number);
        }
        let key = SegmentKey::new(self.origin, number);
        state.segments.push_back(Segment {
            number,
            key,
            first_sequence: self.next_sequence,
            last_sequence: 0,
            totals: self.totals,
            end: SEGMENT_HEADER as u64,
            file: file.clone(),
        });
        self.current = Some(Current { key, file, offset: SEGMENT_HEADER as u64 });
        Ok(())
    }

    /// Makes a prepared file segment `number`, without records yet.
    fn begin_segment(&self, number: u64, file: &dyn DiskFile) -> io::Result<()> {
        let header = SegmentHeader {
            origin: self.origin,
            number,
            first_sequence: self.next_sequence,
            totals: self.totals,
            first_commit: self.next_commit,
            before: self.last_sealed(),
        };
        file.write_at(&header.encode(), 0)?;
        file.sync()
    }

    /// The newest segment with records.
    fn last_sealed(&self) -> Option<Sealed> {
        let state = self.shared.lock();
        let last = state.segments.iter().rfind(|segment| segment.last_sequence != 0)?;
        Some(Sealed { number: last.number, end: last.end })
    }

    /// Gives back segments whose records are all acknowledged, but never the newest: it alone tells
    /// where the sequence stands until there is a newer one.
    fn reclaim(&mut self) {
        let mut state = self.shared.lock();
        let acknowledged = state.acknowledged;
        while state.segments.len() > 1
            && let Some(done) =
                state.segments.pop_front_if(|oldest| oldest.last_sequence <= acknowledged)
        {
            state.free.push_back(done.number);
            state.is_full = false;
        }
        drop(state);
        self.remove_surplus();
    }

    /// One that cannot be removed keeps those behind it: without them it would seem to a later start
    /// to be followed by lost records.
    fn remove_surplus(&self) {
        loop {
            let state = self.shared.lock();
            let oldest = state.free.front().filter(|_| state.free.len() > SPARE_SEGMENTS).copied();
            drop(state);
            let Some(number) = oldest else { return };
            if let Err(error) = fs::remove_file(segment_path(&self.directory, number))
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(%error, number, "cannot remove an acknowledged spool segment");
                return;
            }
            self.shared.lock().free.pop_front();
        }
    }
}
