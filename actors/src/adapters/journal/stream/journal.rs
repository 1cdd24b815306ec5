//! One origin of a stream, as a journal that a batch writer can have read.
//!
//! Entries come in the order of the stream: some again, some after others were lost, some cut
//! otherwise the second time. What goes on to the parser is in sequence without gaps all the same:
//! known records are cut off, and behind a gap nothing is taken until the relay has sent what is
//! missing.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    Place, Wanted,
    format::{Head, Malformed, decode, rejected},
};
use crate::{
    adapters::{
        clock,
        journal::{Origin, Readable},
    },
    domain::{
        event::Source,
        ledger::{Ledger, Tally},
        record::Block,
    },
};

/// Blocks that may wait for the parser.
const BLOCKS: usize = 4;

/// See the [module](self).
pub struct StreamJournal {
    origin: Origin,
    blocks_out: flume::Sender<Block>,
    blocks: flume::Receiver<Block>,
    ledger: Arc<Mutex<Ledger>>,
    progress: Mutex<Progress>,
}

#[derive(Default)]
struct Progress {
    /// The sequence to deliver next; `None` until the batch writer knows where the origin stands.
    next: Option<u64>,
    /// The stream is to be read from its beginning, for what was delivered or skipped before.
    must_rewind: bool,
    committed: Option<u64>,
    is_published: bool,
    wanted: Option<Wanted>,
    /// The relay said that it has nothing before this, while something before it was missing.
    first_kept: u64,
    /// The last sequence that the ledger has counted as received.
    counted: u64,
    /// What was delivered and is not committed: sequence, source, messages.
    pending: VecDeque<(u64, Source, u32)>,
    /// Where entries stand that were delivered and not committed, with their last sequences.
    places: VecDeque<(Place, u64)>,
}

/// What becomes of an entry.
#[derive(Debug)]
pub enum Taken {
    /// For the parser.
    Deliver(Block),
    /// Nothing new is in it, or it is not known yet what would be.
    Skip,
    /// Something before it is missing, or it is damaged: the relay must send again.
    Gap,
}

/// What the relay is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    pub committed: Option<u64>,
    pub wanted: Option<Wanted>,
}

impl StreamJournal {
    #[must_use]
    pub fn new(origin: Origin) -> Self {
        let (blocks_out, blocks) = flume::bounded(BLOCKS);
        Self { origin, blocks_out, blocks, ledger: Arc::default(), progress: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ledger_lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The ledger of this origin, for the batch writer to settle in.
    #[must_use]
    pub fn ledger(&self) -> Arc<Mutex<Ledger>> {
        self.ledger.clone()
    }

    /// Where blocks go in.
    #[must_use]
    pub fn entrance(&self) -> flume::Sender<Block> {
        self.blocks_out.clone()
    }

    /// Decides about the entry at `place`.
    pub fn take(&self, place: Place, head: &Head, records: &[u8]) -> Taken {
        let progress = &mut *self.lock();
        let Some(next) = progress.next else { return Taken::Skip };
        if head.last < next {
            // A relay that sends what is committed has not heard of it: Redis forgot.
            if progress.committed.is_some_and(|committed| head.last <= committed) {
                progress.is_published = false;
            }
            return Taken::Skip;
        }
        if head.first > next && head.kept < head.first {
            return progress.want(next.max(head.kept), place);
        }
        let mut block = match decode(head, records) {
            Ok(block) => block,
            Err(error) => match self.refuse(error, place, head, records) {
                Some(block) => block,
                None => return progress.want(next, place),
            },
        };
        if head.first > next {
            // Another hub may have stored them; whoever stores what comes next knows.
            tracing::debug!(
                origin = %self.origin, first = next, last = head.first - 1,
                "the relay no longer has these records"
            );
            progress.first_kept = head.first;
        }
        block.records.retain(|record| record.sequence >= next);
        progress.next = Some(head.last + 1);
        if progress.wanted.take().is_some() {
            progress.is_published = false;
        }
        progress.places.push_back((place, head.last));
        let mut ledger = self.ledger_lock();
        for record in block.records.iter().filter(|record| record.sequence > progress.counted) {
            ledger.receive(record.source, u64::from(record.messages));
            progress.pending.push_back((record.sequence, record.source, record.messages));
        }
        progress.counted = progress.counted.max(head.last);
        Taken::Deliver(block)
    }

    /// What takes the place of an entry's records; `None` when the relay is to send them again.
    fn refuse(&self, error: Malformed, place: Place, head: &Head, records: &[u8]) -> Option<Block> {
        metrics::counter!("faultline_stream_damaged_entries_total").increment(1);
        let Head { first, last, .. } = *head;
        let block = (error == Malformed::Nonsense).then(|| rejected(head, records, clock::now()));
        let block = block.flatten();
        match &block {
            Some(_) => tracing::error!(
                origin = %self.origin, %place, first, last, %error, "records of the stream are rejected"
            ),
            None => tracing::warn!(
                origin = %self.origin, %place, first, last, %error,
                "an entry of the stream cannot be read; the relay must send it again"
            ),
        }
        block
    }

    /// Whether the stream is to be read from its beginning again; asked once.
    #[must_use]
    pub fn take_rewind(&self) -> bool {
        std::mem::take(&mut self.lock().must_rewind)
    }

    /// What the relay is to be told, where that has changed since this was asked last.
    #[must_use]
    pub fn take_told(&self) -> Option<Told> {
        let was_published = std::mem::replace(&mut self.lock().is_published, true);
        (!was_published).then(|| self.told())
    }

    /// What the relay should know by now.
    #[must_use]
    pub fn told(&self) -> Told {
        let progress = self.lock();
        Told { committed: progress.committed, wanted: progress.wanted }
    }

    /// The sequence to deliver next, once it is known.
    #[must_use]
    pub fn next(&self) -> Option<u64> {
        self.lock().next
    }

    /// What was told did not arrive.
    pub fn tell_again(&self) {
        self.lock().is_published = false;
    }

    /// The place of the oldest entry that is still needed; the first of all places while it is not
    /// known which ones are.
    #[must_use]
    pub fn oldest(&self) -> Option<Place> {
        let progress = self.lock();
        if progress.next.is_none() || progress.must_rewind {
            return Some(Place::default());
        }
        progress.places.front().map(|(place, _)| *place)
    }

    /// Whether nothing of it is under way. It may wait for its relay, which is told of that.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let progress = self.lock();
        progress.pending.is_empty() && progress.is_published
    }

    /// Whether something is missing that its relay is to send again.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.lock().wanted.is_some()
    }
}

impl Progress {
    fn want(&mut self, sequence: u64, seen_at: Place) -> Taken {
        // Later entries behind the same gap say nothing new; an earlier one, after a rewind, does.
        let is_known = self
            .wanted
            .is_some_and(|wanted| wanted.sequence == sequence && wanted.seen_at >= seen_at);
        if !is_known {
            if self.wanted.is_none_or(|wanted| wanted.sequence != sequence) {
                metrics::counter!("faultline_stream_gaps_total").increment(1);
            }
            self.wanted = Some(Wanted { sequence, seen_at });
            self.is_published = false;
        }
        Taken::Gap
    }
}

impl Readable for StreamJournal {
    fn origin(&self) -> Origin {
        self.origin
    }

    fn read_after(&self, position: u64) {
        let mut progress = self.lock();
        progress.next = Some(position + 1);
        progress.must_rewind = true;
        progress.wanted = None;
        progress.places.clear();
        progress.is_published = false;
    }

    fn blocks(&self) -> flume::Receiver<Block> {
        self.blocks.clone()
    }

    fn acknowledge(&self, position: u64) {
        let mut progress = self.lock();
        if progress.committed.is_none_or(|committed| committed < position) {
            progress.committed = Some(position);
            progress.is_published = false;
        }
        while progress.pending.pop_front_if(|(sequence, ..)| *sequence <= position).is_some() {}
        while progress.places.pop_front_if(|(_, last)| *last <= position).is_some() {}
    }

    /// What the relay had at its start is the relay's to compare.
    fn recovered(&self) -> u64 {
        u64::MAX
    }

    fn first_kept(&self) -> u64 {
        self.lock().first_kept
    }

    fn resume_ledger(
        &self,
        position: u64,
        _: [Tally; Source::COUNT],
        own: [Tally; Source::COUNT],
    ) -> io::Result<()> {
        let progress = &mut *self.lock();
        while progress.pending.pop_front_if(|(sequence, ..)| *sequence <= position).is_some() {}
        progress.counted = progress.counted.max(position);
        let mut in_flight = [0; Source::COUNT];
        for (_, source, messages) in &progress.pending {
            in_flight[*source as usize] += u64::from(*messages);
        }
        *self.ledger_lock() = Ledger::resume(own, in_flight);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::format::{Compression, Entry, Gathering},
        *,
    };
    use crate::domain::record::{Content, RecordRef};

    const ORIGIN: Origin = Origin::from_u128(7);

    fn entry(first: u64, last: u64, kept: u64) -> Entry {
        let mut gathering = Gathering::default();
        for sequence in first..=last {
            let record = RecordRef {
                sequence,
                received_at: 0,
                source: Source::Errors,
                messages: 2,
                content: Content::Duplicate,
            };
            gathering.push(&Block::default(), &record);
        }
        gathering.seal(ORIGIN, kept, Compression::None)
    }

    /// The sequences that are delivered of an entry; `Err` for a gap.
    fn take(journal: &StreamJournal, place: u64, first: u64, last: u64) -> Result<Vec<u64>, ()> {
        let Entry { head, records, .. } = entry(first, last, 1);
        match journal.take(Place(place, 0), &head, &records) {
            Taken::Deliver(block) => Ok(block.records.iter().map(|one| one.sequence).collect()),
            Taken::Skip => Ok(Vec::new()),
            Taken::Gap => Err(()),
        }
    }

    fn wanted(journal: &StreamJournal) -> Option<Wanted> {
        journal.take_told().and_then(|told| told.wanted)
    }

    #[test]
    fn nothing_is_delivered_before_the_position_is_known() {
        let journal = StreamJournal::new(ORIGIN);
        assert_eq!(take(&journal, 1, 1, 3), Ok(vec![]));
        assert!(!journal.take_rewind());
        journal.read_after(1);
        assert!(journal.take_rewind() && !journal.take_rewind());
        assert_eq!(take(&journal, 1, 1, 3), Ok(vec![2, 3]));
    }

    #[test]
    fn what_comes_again_is_cut_off_however_it_is_cut() {
        let journal = StreamJournal::new(ORIGIN);
        journal.read_after(0);
        assert_eq!(take(&journal, 1, 1, 3), Ok(vec![1, 2, 3]));
        assert_eq!(take(&journal, 2, 1, 3), Ok(vec![]));
        assert_eq!(take(&journal, 3, 2, 5), Ok(vec![4, 5]));
    }

    #[test]
    fn a_relay_that_sends_what_is_committed_is_told_again() {
        let journal = StreamJournal::new(ORIGIN);
        journal.read_after(0);
        assert_eq!(take(&journal, 1, 1, 3), Ok(vec![1, 2, 3]));
        assert_eq!(journal.take_told().map(|told| told.committed), Some(None));
        assert_eq!(take(&journal, 2, 1, 3), Ok(vec![]));
        assert_eq!(journal.take_told(), None, "not committed");
        journal.acknowledge(3);
        assert_eq!(journal.take_told().map(|told| told.committed), Some(Some(3)));
        assert_eq!(take(&journal, 3, 1, 3), Ok(vec![]));
        assert_eq!(journal.take_told().map(|told| told.committed), Some(Some(3)));
    }

    #[test]
    fn a_gap_is_not_delivered_over() {
        let journal = StreamJournal::new(ORIGIN);
        journal.read_after(0);
        assert_eq!(take(&journal, 1, 1, 3), Ok(vec![1, 2, 3]));
        assert_eq!(take(&journal, 2, 5, 6), Err(()));
        assert_eq!(wanted(&journal), Some(Wanted { sequence: 4, seen_at: Place(2, 0) }));
        assert_eq!(take(&journal, 3, 7, 8), Err(()));
        assert_eq!(wanted(&journal).map(|wanted| wanted.seen_at), Some(Place(3, 0)));
        assert_eq!(take(&journal, 4, 4, 5), Ok(vec![4, 5]));
        assert_eq!(take(&journal, 5, 6, 6), Ok(vec![6]));
        assert_eq!(wanted(&journal), None);
        assert!(journal.take_rewind());
        assert_eq!(journal.oldest(), Some(Place(1, 0)), "nothing is committed");
    }

    #[test]
    fn a_gap_that_nobody_can_fill_is_told_of_and_passed() {
        let journal = StreamJournal::new(ORIGIN);
        journal.read_after(0);
        let Entry { head, records, .. } = entry(5, 6, 5);
        assert!(matches!(journal.take(Place(1, 0), &head, &records), Taken::Deliver(_)));
        assert_eq!(journal.first_kept(), 5);
    }

    #[test]
    fn a_damaged_entry_is_wanted_again() {
        let journal = StreamJournal::new(ORIGIN);
        journal.read_after(0);
        let Entry { head, mut records, .. } = entry(1, 2, 1);
        records[20] ^= 1;
        assert!(matches!(journal.take(Place(1, 0), &head, &records), Taken::Gap));
        assert_eq!(wanted(&journal).map(|wanted| wanted.sequence), Some(1));
    }

    #[test]
    fn what_cannot_be_understood_is_rejected_and_passed() {
        let journal = StreamJournal::new(ORIGIN);
        journal.read_after(0);
        // As a relay with a fault would send it: whole, with a record of no known source.
        let Entry { head, mut records, .. } = entry(1, 2, 1);
        records[17] = 200;
        super::super::format::sign(&head, &mut records);
        let Taken::Deliver(block) = journal.take(Place(1, 0), &head, &records) else {
            panic!("it holds up what follows")
        };
        let is_rejected = |one: &RecordRef| matches!(one.content, Content::Damaged { .. });
        assert!(block.records.len() == 2 && block.records.iter().all(is_rejected));
        assert_eq!(take(&journal, 2, 3, 3), Ok(vec![3]));
    }

    #[test]
    fn the_ledger_counts_each_record_once() {
        let journal = StreamJournal::new(ORIGIN);
        assert_eq!(journal.oldest(), Some(Place::default()));
        let tallies = |settled: u64| {
            let mut tallies = [Tally::default(); Source::COUNT];
            tallies[Source::Errors as usize] =
                Tally { received: settled, stored: settled, ..Tally::default() };
            tallies
        };
        let line = || journal.ledger().lock().unwrap().line(Source::Errors);
        journal.resume_ledger(2, tallies(0), tallies(4)).unwrap();
        journal.read_after(2);
        assert_eq!(take(&journal, 1, 1, 5), Ok(vec![3, 4, 5]));
        assert_eq!((line().received, line().in_flight), (10, 6));
        journal.resume_ledger(3, tallies(0), tallies(6)).unwrap();
        journal.read_after(3);
        assert_eq!(take(&journal, 1, 1, 5), Ok(vec![4, 5]));
        assert_eq!((line().received, line().in_flight), (10, 4));
        journal.ledger().lock().unwrap().settle(&tallies(4));
        journal.acknowledge(5);
        assert_eq!((line().received, line().stored, line().in_flight), (10, 10, 0));
        assert!(journal.take_rewind());
        assert_eq!(journal.oldest(), None);
    }
}
