//! What a relay has handed over and no hub has committed. Pure.

use std::collections::VecDeque;

use super::{
    Place, Wanted,
    format::{Head, Messages},
};

/// One entry in the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SentEntry {
    pub place: Place,
    pub first: u64,
    pub last: u64,
    pub bytes: u64,
    pub messages: Messages,
}

impl SentEntry {
    #[must_use]
    pub fn new(place: Place, head: &Head, bytes: usize, messages: Messages) -> Self {
        Self { place, first: head.first, last: head.last, bytes: bytes as u64, messages }
    }
}

/// The entries that are not committed, in sequence without gaps.
#[derive(Debug, Default)]
pub struct Sent {
    entries: VecDeque<SentEntry>,
    bytes: u64,
    messages: Messages,
}

impl Sent {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The first sequence that is not committed as a whole entry.
    #[must_use]
    pub fn first(&self) -> Option<u64> {
        self.entries.front().map(|entry| entry.first)
    }

    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    #[must_use]
    pub fn messages(&self) -> Messages {
        self.messages
    }

    /// Adds what was handed over next.
    pub fn push(&mut self, entry: SentEntry) {
        self.bytes += entry.bytes;
        for (sum, more) in self.messages.iter_mut().zip(entry.messages) {
            *sum += more;
        }
        self.entries.push_back(entry);
    }

    /// Hubs have committed up to `position`: forgets the entries that are done, and gives their
    /// messages. An entry that is done in part stays until it is done.
    pub fn committed(&mut self, position: u64) -> Messages {
        let mut done = Messages::default();
        while let Some(entry) = self.entries.pop_front_if(|entry| entry.last <= position) {
            self.subtract(&entry);
            for (sum, more) in done.iter_mut().zip(entry.messages) {
                *sum += more;
            }
        }
        done
    }

    fn subtract(&mut self, entry: &SentEntry) {
        self.bytes -= entry.bytes;
        for (sum, less) in self.messages.iter_mut().zip(entry.messages) {
            *sum -= less;
        }
    }

    /// Forgets what was sent from `sequence` on, to send it again; gives the sequence to begin
    /// with, which is where an entry begins.
    pub fn rewind(&mut self, sequence: u64) -> u64 {
        let mut from = sequence;
        while let Some(entry) = self.entries.pop_back_if(|entry| entry.last >= sequence) {
            self.subtract(&entry);
            from = from.min(entry.first);
        }
        from
    }

    /// Whether what a hub waits for is on its way: in an entry behind the one that showed the gap.
    #[must_use]
    pub fn brings(&self, wanted: Wanted) -> bool {
        let holds = |entry: &&SentEntry| (entry.first..=entry.last).contains(&wanted.sequence);
        self.entries.iter().find(holds).is_some_and(|entry| entry.place > wanted.seen_at)
    }

    /// The places that show whether the stream still has all: of the oldest and the newest entry.
    #[must_use]
    pub fn ends(&self) -> Option<[Place; 2]> {
        Some([self.entries.front()?.place, self.entries.back()?.place])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Entries of ten records each, from 1 on.
    fn sent(count: u64) -> Sent {
        let mut sent = Sent::default();
        for number in 0..count {
            sent.push(SentEntry {
                place: Place(number, 0),
                first: 10 * number + 1,
                last: 10 * number + 10,
                bytes: 100,
                messages: [1, 0, 2, 0],
            });
        }
        sent
    }

    #[test]
    fn entries_are_forgotten_whole() {
        let mut sent = sent(3);
        assert_eq!(sent.committed(15), [1, 0, 2, 0]);
        assert_eq!((sent.bytes(), sent.messages()), (200, [2, 0, 4, 0]));
        assert_eq!(sent.ends(), Some([Place(1, 0), Place(2, 0)]));
        assert_eq!(sent.committed(30), [2, 0, 4, 0]);
        assert!(sent.is_empty() && sent.ends().is_none() && sent.bytes() == 0);
    }

    #[test]
    fn what_is_sent_again_begins_where_an_entry_did() {
        let mut sent = sent(3);
        assert_eq!(sent.rewind(15), 11);
        assert_eq!(sent.bytes(), 100);
        assert_eq!(sent.rewind(40), 40, "nothing of it was sent");
        assert_eq!(sent.rewind(1), 1);
    }

    #[test]
    fn what_is_on_its_way_is_not_sent_again() {
        let sent = sent(3);
        let wanted = |sequence, place| Wanted { sequence, seen_at: Place(place, 0) };
        assert!(sent.brings(wanted(15, 0)));
        assert!(!sent.brings(wanted(15, 1)), "the hub has met that entry");
        assert!(!sent.brings(wanted(31, 0)), "never sent");
    }
}
