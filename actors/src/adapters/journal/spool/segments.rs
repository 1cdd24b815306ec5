//! The spool's segments on disk, and what the writer, the reader and the callers share about them.

use std::{
    collections::VecDeque,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard},
};

use tokio::sync::watch;

use super::{
    disk::{Disk, DiskFile},
    format::{
        FRAME_HEAD, Found, FrameHead, LONGEST_FRAME, SEGMENT_HEADER, SegmentHeader, SegmentKey,
        Totals, decode_head, frame_at,
    },
    rebuild::rebuild,
    search::Search,
};
use crate::{
    adapters::journal::Origin,
    domain::{event::Source, record::RecordId, time::Micros},
};

/// One segment with records in it.
#[derive(Clone)]
pub(super) struct Segment {
    pub number: u64,
    pub key: SegmentKey,
    pub first_sequence: u64,
    /// 0 while it holds no durable record.
    pub last_sequence: u64,
    /// Cumulative messages before its first record.
    pub totals: Totals,
    /// Durable bytes, header included.
    pub end: u64,
    pub file: Arc<dyn DiskFile>,
}

impl Segment {
    /// What `header` tells of a segment; `end` is where its frames end at the latest.
    #[must_use]
    pub(super) fn new(header: &SegmentHeader, file: Arc<dyn DiskFile>, end: u64) -> Self {
        Self {
            number: header.number,
            key: SegmentKey::new(header.origin, header.number),
            first_sequence: header.first_sequence,
            last_sequence: 0,
            totals: header.totals,
            end,
            file,
        }
    }
}

/// What is known of the spool at one moment.
pub(super) struct State {
    /// Oldest first; records are only added to the last.
    pub segments: VecDeque<Segment>,
    /// Segment files without records that are needed, to be recycled. Oldest first, and taken from
    /// the front: so what a later start finds has no hole.
    pub free: VecDeque<u64>,
    /// The last durable sequence.
    pub head: u64,
    pub acknowledged: u64,
    /// Cumulative messages received.
    pub totals: Totals,
    /// The last sequence and the time of receipt of recent commits that are not acknowledged.
    pub commits: VecDeque<(u64, Micros)>,
    /// Ask of the reader: deliver what is behind this position.
    pub read_after: Option<u64>,
    /// Why the last write failed, until one succeeds.
    pub failing: Option<String>,
    /// Whether the last record did not fit, and nothing was given back since.
    pub is_full: bool,
    /// How many ids are remembered against retries.
    pub ids: usize,
    pub closed: bool,
}

impl State {
    /// Bytes that wait to be acknowledged, by whole segments.
    #[must_use]
    pub(super) fn used(&self) -> u64 {
        self.segments.iter().map(|segment| segment.end - SEGMENT_HEADER as u64).sum()
    }

    /// Cumulative messages at the end of segment `number`.
    #[must_use]
    pub(super) fn totals_behind(&self, number: u64) -> Totals {
        let next = self.segments.iter().find(|segment| segment.number > number);
        next.map_or(self.totals, |segment| segment.totals)
    }

    /// Whether nothing before it is there any more.
    #[must_use]
    pub(super) fn is_oldest(&self, segment: &Segment) -> bool {
        self.segments.front().is_some_and(|oldest| oldest.number == segment.number)
    }

    /// The segment that holds `sequence`.
    #[must_use]
    pub(super) fn segment_of(&self, sequence: u64) -> Option<&Segment> {
        self.segments
            .iter()
            .find(|segment| segment.last_sequence != 0 && segment.last_sequence >= sequence)
    }
}

/// [`State`] behind its lock, with those who wait for it.
pub(super) struct Shared {
    state: Mutex<State>,
    /// Signalled when there is something to read, or the spool closes.
    readable: Condvar,
    /// The acknowledged position.
    pub acknowledged: watch::Sender<u64>,
}

impl Shared {
    #[must_use]
    pub(super) fn new(state: State) -> Self {
        let acknowledged = watch::Sender::new(state.acknowledged);
        Self { state: Mutex::new(state), readable: Condvar::new(), acknowledged }
    }

    /// # Panics
    /// When a thread panicked while it held the lock: then nothing here can be relied on.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread panics while it holds the spool's state")
    }

    pub(super) fn notify_reader(&self) {
        self.readable.notify_all();
    }

    /// # Panics
    /// Like [`Shared::lock`].
    pub(super) fn wait_readable<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.readable.wait(state).expect("no thread panics while it holds the spool's state")
    }
}

#[must_use]
pub(super) fn segment_path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number:016}.segment"))
}

/// What [`recover`] found.
pub(super) struct Recovered {
    pub state: State,
    pub next_number: u64,
    pub next_commit: u64,
    /// Ids of records in the two newest segments, which may not be on disk otherwise, and when they
    /// were received.
    pub ids: Vec<(RecordId, Micros)>,
}

/// Reads the segments in `directory`.
///
/// The newest segment ends at its first invalid frame, unless a later frame proves that this one
/// had been durable (see [`was_durable`]): then it is damage, which the reader will report, and not
/// the torn end of an unfinished write.
///
/// # Errors
/// When the directory or a segment cannot be read.
pub(super) fn recover(directory: &Path, disk: &dyn Disk, origin: Origin) -> io::Result<Recovered> {
    let Files { segments, free, last_number } = look_at(directory, disk, origin)?;
    let mut recovered = Recovered {
        state: State {
            segments: VecDeque::new(),
            free,
            head: 0,
            acknowledged: 0,
            totals: Totals::default(),
            commits: VecDeque::new(),
            read_after: None,
            failing: None,
            is_full: false,
            ids: 0,
            closed: false,
        },
        next_number: last_number + 1,
        next_commit: 1,
        ids: Vec::new(),
    };
    let headers: Vec<SegmentHeader> = segments.iter().map(|(header, _)| *header).collect();
    for (index, (header, file)) in segments.into_iter().enumerate() {
        let path = segment_path(directory, header.number);
        recovered
            .take_segment(header, file, headers.get(index + 1..).unwrap_or_default())
            .map_err(|error| naming(&path, &error))?;
    }
    Ok(recovered)
}

/// The segment files of a directory.
struct Files {
    segments: Vec<WithHeader>,
    /// Those that were being made when the process died.
    free: VecDeque<u64>,
    last_number: u64,
}

/// A segment's file, and its header where that is one.
struct Opened {
    number: u64,
    header: Option<SegmentHeader>,
    file: Arc<dyn DiskFile>,
}

/// Tells segments, segments that were being made, and damaged ones from each other. The latter are
/// set aside, for a person to look at.
fn look_at(directory: &Path, disk: &dyn Disk, origin: Origin) -> io::Result<Files> {
    let numbers = segment_numbers(directory)?;
    let mut recycled = VecDeque::new();
    let mut opened = Vec::new();
    for number in numbers.iter().copied() {
        let path = segment_path(directory, number);
        let (header, file) = open_segment(&path, disk).map_err(|error| naming(&path, &error))?;
        match header {
            // Either of the new name and the new header may become durable before the other.
            Some(header) if header.number != number => recycled.push_back(number),
            header => opened.push(Opened { number, header, file }),
        }
    }
    let (segments, without_header) = with_headers(directory, opened, origin)?;
    let newest_number = segments.last().map_or(0, |(header, _)| header.number);
    // Those behind the newest are recycled before all others: were they still there, and older than
    // the newest, a later start would take them for damaged.
    let mut free = VecDeque::new();
    for Opened { number, file, .. } in without_header {
        let is_readable = file.unreadable(0, SEGMENT_HEADER as u64).is_none();
        if number > newest_number && is_readable {
            free.push_back(number);
            continue;
        }
        let path = segment_path(directory, number);
        tracing::error!(path = %path.display(), "the header of a spool segment is damaged: it is set aside");
        fs::rename(&path, path.with_extension("damaged"))?;
    }
    free.append(&mut recycled);
    Ok(Files { segments, free, last_number: numbers.last().copied().unwrap_or(0) })
}

fn open_segment(
    path: &Path,
    disk: &dyn Disk,
) -> io::Result<(Option<SegmentHeader>, Arc<dyn DiskFile>)> {
    let file = disk.open(path, 0)?;
    let mut bytes = vec![0; SEGMENT_HEADER];
    file.read_at(&mut bytes, 0)?;
    Ok((SegmentHeader::decode(&bytes), file))
}

/// A segment's file with its header.
type WithHeader = (SegmentHeader, Arc<dyn DiskFile>);

/// The segments with a header, their own or a rebuilt one, and the files that have none.
fn with_headers(
    directory: &Path,
    opened: Vec<Opened>,
    origin: Origin,
) -> io::Result<(Vec<WithHeader>, Vec<Opened>)> {
    let headers: Vec<Option<SegmentHeader>> = opened.iter().map(|one| one.header).collect();
    let mut segments: Vec<WithHeader> = Vec::new();
    let mut without_header = Vec::new();
    for (index, one) in opened.into_iter().enumerate() {
        let header = match one.header {
            Some(header) => Some(header),
            None => {
                let path = segment_path(directory, one.number);
                let behind = headers[index + 1..].iter().flatten().next();
                rebuild(&path, &one.file, origin, one.number, segments.last(), behind)
                    .map_err(|error| naming(&path, &error))?
            }
        };
        match header {
            Some(header) => segments.push((header, one.file)),
            None => without_header.push(one),
        }
    }
    Ok((segments, without_header))
}

/// `error`, with the file that it is about.
fn naming(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

impl Recovered {
    fn take_segment(
        &mut self,
        header: SegmentHeader,
        file: Arc<dyn DiskFile>,
        behind: &[SegmentHeader],
    ) -> io::Result<()> {
        let next = behind.first();
        let sealed_at = next.map(|next| next.first_sequence - 1);
        let segment = Segment {
            last_sequence: sealed_at.unwrap_or(0),
            ..Segment::new(&header, file, SEGMENT_HEADER as u64)
        };
        self.next_commit = self.next_commit.max(header.first_commit);
        self.state.totals = header.totals;
        self.state.head = header.first_sequence - 1;
        let is_empty = sealed_at.is_some_and(|last| last < header.first_sequence);
        if is_empty {
            self.state.free.push_back(segment.number);
            return Ok(());
        }
        let segment = if let Some(next) = next {
            let sealed = next.before.filter(|before| before.number == header.number);
            // Where nobody tells, the reader will see.
            let end = sealed.map_or_else(|| segment.file.size(), |sealed| Ok(sealed.end))?;
            let segment = Segment { end, ..segment };
            if behind.len() == 1 {
                self.note_ids(&segment)?;
            }
            segment
        } else {
            self.read_newest(segment, header.first_commit)?
        };
        // The newest is kept even without records: it tells where the sequence stands.
        if segment.last_sequence != 0 {
            self.state.head = segment.last_sequence;
        }
        self.state.segments.push_back(segment);
        Ok(())
    }

    /// Walks the newest segment to its end.
    fn read_newest(&mut self, mut segment: Segment, first_commit: u64) -> io::Result<Segment> {
        let mut walk = Walk::new(&segment, segment.file.size()?);
        let mut commit = first_commit - 1;
        loop {
            match walk.next()? {
                Step::Frame(head) => {
                    commit = head.commit;
                    segment.last_sequence = head.sequence;
                    segment.end = walk.offset;
                    self.state.totals[head.source as usize] = head.total;
                    self.note_id(&head);
                }
                Step::Invalid => {
                    let was_durable = was_durable(walk.search(), commit, walk.expected - 1)?;
                    // A torn write leaves other bytes, and none that cannot be read.
                    let is_damage = was_durable
                        || (walk.unreadable().is_some()
                            && walk.search().next(walk.expected)?.is_some());
                    if is_damage {
                        walk.skip_damage(u64::MAX)?;
                    } else if !self.take_unreadable(&mut walk, &mut segment) {
                        break;
                    }
                }
                Step::End => break,
            }
        }
        self.next_commit = commit + 1;
        Ok(segment)
    }

    /// Likewise, for a sealed segment.
    fn note_ids(&mut self, segment: &Segment) -> io::Result<()> {
        let mut walk = Walk::new(segment, segment.end);
        loop {
            match walk.next()? {
                Step::Frame(head) if head.sequence <= segment.last_sequence => self.note_id(&head),
                Step::Invalid if walk.skip_damage(segment.last_sequence)?.next.is_some() => {}
                Step::Frame(_) | Step::Invalid | Step::End => return Ok(()),
            }
        }
    }

    fn note_id(&mut self, head: &FrameHead) {
        if !head.id.is_none() {
            self.ids.push((head.id, head.received_at));
        }
    }

    /// Keeps the place of a last frame that cannot be read: nothing tells that it was torn, so the
    /// reader will report it. Gives whether more may be behind it.
    fn take_unreadable(&mut self, walk: &mut Walk, segment: &mut Segment) -> bool {
        let Some(end) = walk.unreadable() else { return false };
        let head = walk.head();
        // Its id is not remembered: should its client send it again, it is welcome.
        if let Some(head) = &head {
            self.state.totals[head.source as usize] = head.total;
        }
        segment.last_sequence = walk.expected;
        segment.end = end;
        walk.offset = end;
        walk.expected += 1;
        head.is_some()
    }
}

/// Whether an invalid frame behind commit number `commit` had been durable once: it had, when a
/// later commit was begun, since a commit begins only after the one before it is on disk.
fn was_durable(mut behind: Search<'_>, commit: u64, mut after: u64) -> io::Result<bool> {
    while let Some(hit) = behind.next(after)? {
        let begins_next = hit.head.commit == commit + 1 && hit.head.starts_commit;
        if hit.head.commit > commit + 1 || begins_next {
            return Ok(true);
        }
        after = hit.head.sequence;
    }
    Ok(false)
}

fn segment_numbers(directory: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let number: Option<u64> =
            name.to_str().and_then(|name| name.strip_suffix(".segment")?.parse().ok());
        numbers.extend(number);
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Walks the frames of a segment in order, reading ahead.
#[derive(Clone)]
pub(super) struct Walk {
    file: Arc<dyn DiskFile>,
    key: SegmentKey,
    limit: u64,
    /// Where the next frame starts.
    pub offset: u64,
    /// The sequence that the next frame must have.
    pub expected: u64,
    buffer: Vec<u8>,
    buffer_at: u64,
}

/// What [`Walk::next`] found.
pub(super) enum Step {
    Frame(FrameHead),
    /// Something else than the expected frame.
    Invalid,
    /// The limit.
    End,
}

const READ_AHEAD: usize = 256 << 10;

impl Walk {
    /// A walk from the start of `segment`.
    #[must_use]
    pub(super) fn new(segment: &Segment, limit: u64) -> Self {
        Self::from(segment, limit, SEGMENT_HEADER as u64, segment.first_sequence)
    }

    /// A walk from `offset`, where the frame of sequence `expected` should stand.
    #[must_use]
    pub(super) fn from(segment: &Segment, limit: u64, offset: u64, expected: u64) -> Self {
        Self {
            file: segment.file.clone(),
            key: segment.key,
            limit,
            offset,
            expected,
            buffer: Vec::new(),
            buffer_at: offset,
        }
    }

    /// # Errors
    /// When the file cannot be read.
    pub(super) fn next(&mut self) -> io::Result<Step> {
        let mut wanted = 0;
        loop {
            if self.offset >= self.limit {
                return Ok(Step::End);
            }
            match frame_at(self.key, self.available(), LONGEST_FRAME) {
                Found::Frame(head) if head.sequence == self.expected => {
                    self.offset += head.frame_len() as u64;
                    self.expected += 1;
                    return Ok(Step::Frame(head));
                }
                Found::Short { needed } if needed > wanted => {
                    wanted = needed;
                    self.fill(needed.max(READ_AHEAD))?;
                }
                // Short again: the file ends inside the frame.
                Found::Frame(_) | Found::Nothing | Found::Short { .. } => {
                    return Ok(Step::Invalid);
                }
            }
        }
    }

    /// What is in memory of the bytes from here on.
    fn available(&self) -> &[u8] {
        usize::try_from(self.offset - self.buffer_at)
            .ok()
            .and_then(|start| self.buffer.get(start..))
            .unwrap_or_default()
    }

    /// The head of the expected frame, though its body be damaged. To be asked after
    /// [`Walk::next`], as the next one.
    fn head(&self) -> Option<FrameHead> {
        decode_head(self.key, self.available()).filter(|head| head.sequence == self.expected)
    }

    /// Where the expected frame ends when the disk cannot read a part of it; where those bytes do when
    /// its length is not known.
    fn unreadable(&self) -> Option<u64> {
        let head = self.head();
        let length = head.map_or(FRAME_HEAD, |head| head.frame_len());
        let end = self.offset + length as u64;
        let unreadable = self.file.unreadable(self.offset, end)?;
        let end = if head.is_some() { end } else { unreadable };
        Some(end.min(self.limit))
    }

    fn fill(&mut self, length: usize) -> io::Result<()> {
        let left = usize::try_from(self.limit - self.offset).unwrap_or(usize::MAX);
        self.buffer.resize(length.min(left), 0);
        let read = self.file.read_at(&mut self.buffer, self.offset)?;
        self.buffer.truncate(read);
        self.buffer_at = self.offset;
        Ok(())
    }

    /// A search from here to the limit.
    fn search(&self) -> Search<'_> {
        Search::new(&*self.file, self.key, self.offset, self.limit)
    }

    /// Goes on at the next valid frame of a sequence up to `last`, or to the limit where there is
    /// none.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn skip_damage(&mut self, last: u64) -> io::Result<Damage> {
        let hit = self.search().next(self.expected)?.filter(|hit| hit.head.sequence <= last);
        let end = hit.as_ref().map_or(self.limit, |hit| hit.at);
        let mut bytes = vec![0; usize::try_from(end - self.offset).unwrap_or(0)];
        let read = self.file.read_at(&mut bytes, self.offset)?;
        bytes.truncate(read);
        self.offset += bytes.len() as u64;
        self.buffer.clear();
        self.buffer_at = self.offset;
        let mut before_next = [None; Source::COUNT];
        if let Some(hit) = &hit {
            self.expected = hit.head.sequence;
            let mut behind = self.clone();
            while let Step::Frame(head) = behind.next()? {
                let before = head.total - u64::from(head.messages);
                before_next[head.source as usize].get_or_insert(before);
            }
        }
        Ok(Damage { bytes, next: hit.map(|hit| hit.head.sequence), before_next })
    }
}

/// Bytes that are no frames, and what is known of what stood there.
pub(super) struct Damage {
    pub bytes: Vec<u8>,
    /// The sequence of the valid frame behind the damage.
    pub next: Option<u64>,
    /// Cumulative messages right behind the damage, for sources of which a later frame of the
    /// segment tells.
    before_next: [Option<u64>; Source::COUNT],
}

impl Damage {
    /// Cumulative messages right behind the damage, where they were `before` in front of it and
    /// are `at_end` at the end of the segment.
    #[must_use]
    pub(super) fn totals_behind(&self, before: &Totals, at_end: &Totals) -> Totals {
        let mut totals = *before;
        for (index, total) in totals.iter_mut().enumerate() {
            *total = self.before_next[index].unwrap_or(at_end[index]).max(*total);
        }
        totals
    }
}

/// Where a record starts, and the cumulative messages before it.
#[derive(Clone, Copy)]
pub(super) struct Located {
    pub offset: u64,
    /// The sequence that should stand there: the one asked for, or where the damage starts.
    pub sequence: u64,
    pub totals: Totals,
}

/// Walks to the frame of `sequence` in its segment, over damage where there is some. When the
/// damage reaches over `sequence`, that is where it starts.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn locate(segment: &Segment, sequence: u64, at_end: &Totals) -> io::Result<Located> {
    let mut walk = Walk::new(segment, segment.end);
    let mut located =
        Located { offset: walk.offset, sequence: walk.expected, totals: segment.totals };
    while walk.expected < sequence {
        match walk.next()? {
            Step::Frame(head) => located.totals[head.source as usize] = head.total,
            Step::Invalid => {
                let damage = walk.skip_damage(sequence)?;
                if damage.next.is_none() {
                    break;
                }
                located.totals = damage.totals_behind(&located.totals, at_end);
            }
            Step::End => break,
        }
        located.offset = walk.offset;
        located.sequence = walk.expected;
    }
    Ok(located)
}
