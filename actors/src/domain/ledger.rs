//! The ledger: `received = stored + duplicate + rejected + in flight`, for each source, in
//! messages.
//!
//! The journal counts what was received and, when a position is acknowledged, what the records up
//! to it had declared. The store counts what became of them. The two are counted apart, so that
//! they can disagree: [`Ledger::imbalance`] must always be zero.

use super::event::Source;

/// What became of some messages of one source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// As the records declared when they were accepted.
    pub received: u64,
    /// As rows of `events` (a joined stack trace counts its messages).
    pub stored: u64,
    /// Accepted once before, under the same id.
    pub duplicate: u64,
    /// As rows of `rejected`.
    pub rejected: u64,
}

impl Tally {
    pub fn add(&mut self, other: Self) {
        self.received += other.received;
        self.stored += other.stored;
        self.duplicate += other.duplicate;
        self.rejected += other.rejected;
    }

    /// What has an outcome.
    #[must_use]
    pub fn settled(&self) -> u64 {
        self.stored + self.duplicate + self.rejected
    }
}

/// One source's line in the ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Line {
    pub received: u64,
    pub stored: u64,
    pub duplicate: u64,
    pub rejected: u64,
    pub in_flight: u64,
}

/// The ledger of one process. Kept behind one lock, so that every reader sees it balance.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    lines: [Line; Source::COUNT],
    /// Whether what the store has settled is known; before, only what came in since the start is.
    is_complete: bool,
}

impl Ledger {
    /// Starts from what the store has settled and the journal still holds.
    #[must_use]
    pub fn resume(settled: [Tally; Source::COUNT], in_flight: [u64; Source::COUNT]) -> Self {
        let mut lines = [Line::default(); Source::COUNT];
        for (line, (tally, in_flight)) in lines.iter_mut().zip(settled.into_iter().zip(in_flight)) {
            *line = Line {
                received: tally.settled() + in_flight,
                stored: tally.stored,
                duplicate: tally.duplicate,
                rejected: tally.rejected,
                in_flight,
            };
        }
        Self { lines, is_complete: true }
    }

    /// `messages` became durable in the journal.
    pub fn receive(&mut self, source: Source, messages: u64) {
        let line = &mut self.lines[source as usize];
        line.received += messages;
        line.in_flight += messages;
    }

    /// A batch was committed: its messages have an outcome and are no longer in flight.
    pub fn settle(&mut self, tallies: &[Tally; Source::COUNT]) {
        for (line, tally) in self.lines.iter_mut().zip(tallies) {
            line.stored += tally.stored;
            line.duplicate += tally.duplicate;
            line.rejected += tally.rejected;
            line.in_flight = line.in_flight.saturating_sub(tally.received);
        }
    }

    /// Whether the store was asked for what it has settled.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }

    #[must_use]
    pub fn line(&self, source: Source) -> Line {
        self.lines[source as usize]
    }

    /// Messages by which the ledger does not balance; positive when more were received than
    /// accounted for.
    #[must_use]
    pub fn imbalance(&self) -> i128 {
        self.lines
            .iter()
            .map(|line| {
                i128::from(line.received)
                    - i128::from(line.stored)
                    - i128::from(line.duplicate)
                    - i128::from(line.rejected)
                    - i128::from(line.in_flight)
            })
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn balances_through_a_life_and_a_restart() {
        let mut ledger = Ledger::default();
        ledger.receive(Source::Errors, 10);
        assert_eq!(ledger.imbalance(), 0);
        let mut tallies = [Tally::default(); Source::COUNT];
        tallies[Source::Errors as usize] =
            Tally { received: 6, stored: 3, duplicate: 2, rejected: 1 };
        ledger.settle(&tallies);
        assert_eq!(ledger.imbalance(), 0);
        assert_eq!(ledger.line(Source::Errors).in_flight, 4);
        let resumed = Ledger::resume(tallies, [0, 4, 0, 0]);
        assert_eq!(resumed.line(Source::Errors), ledger.line(Source::Errors));
    }

    #[test]
    fn a_message_without_an_outcome_is_noticed() {
        let mut ledger = Ledger::default();
        ledger.receive(Source::Maxwell, 2);
        let mut tallies = [Tally::default(); Source::COUNT];
        tallies[Source::Maxwell as usize] = Tally { received: 2, stored: 1, ..Tally::default() };
        ledger.settle(&tallies);
        assert_eq!(ledger.imbalance(), 1);
    }
}
