//! The ids of accepted records, to recognise a retry: bounded in memory, the oldest go first.
//!
//! Ids are kept in generations, each a hash set; a full generation is sealed and the oldest one
//! is forgotten when the window no longer needs it. A generation is also the unit in which the
//! spool keeps the ids on disk.

use std::collections::{HashSet, VecDeque};

use super::{record::RecordId, time::Micros};

/// How long ids are remembered.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Ids are kept at least this long, in microseconds, while there are no more than `most`.
    pub age: Micros,
    /// At least so many of the newest are kept, however old.
    pub least: usize,
    /// Never more than about so many are kept, however young.
    pub most: usize,
}

/// How many generations `Bounds::most` is cut into: more would waste less of the window when the
/// oldest goes, and cost one more look-up a record.
const GENERATIONS: usize = 4;

#[derive(Debug)]
struct Generation {
    number: u64,
    ids: HashSet<RecordId>,
    newest: Micros,
}

/// See the [module](self).
#[derive(Debug)]
pub struct DedupeWindow {
    bounds: Bounds,
    /// Oldest first; never empty.
    generations: VecDeque<Generation>,
}

/// What [`DedupeWindow::insert`] did beside remembering the id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// It was there already.
    Known,
    /// It is new.
    New,
}

impl DedupeWindow {
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, generations: VecDeque::from([Generation::new(0)]) }
    }

    #[must_use]
    pub fn contains(&self, id: RecordId) -> bool {
        self.generations.iter().rev().any(|generation| generation.ids.contains(&id))
    }

    /// Remembers `id`, accepted at `now`.
    pub fn insert(&mut self, id: RecordId, now: Micros) -> Inserted {
        if self.contains(id) {
            return Inserted::Known;
        }
        if self.newest().ids.len() >= self.generation_size() {
            let number = self.newest().number + 1;
            self.generations.push_back(Generation::new(number));
        }
        let newest = self.newest();
        newest.ids.insert(id);
        newest.newest = newest.newest.max(now);
        Inserted::New
    }

    /// Takes back an id whose record did not become durable.
    pub fn remove(&mut self, id: RecordId) {
        for generation in &mut self.generations {
            generation.ids.remove(&id);
        }
    }

    /// Forgets what is no longer needed at `now`; gives the number of the oldest generation that
    /// is still needed.
    pub fn forget(&mut self, now: Micros) -> u64 {
        while self.generations.len() > 1 {
            let total = self.len();
            let oldest = &self.generations[0];
            let too_many = total > self.bounds.most;
            let too_old = oldest.newest < now - self.bounds.age
                && total - oldest.ids.len() >= self.bounds.least;
            if !(too_many || too_old) {
                break;
            }
            self.generations.pop_front();
        }
        self.generations[0].number
    }

    /// The number of the generation that new ids go into.
    #[must_use]
    pub fn current(&self) -> u64 {
        self.generations.back().map_or(0, |generation| generation.number)
    }

    /// Continues numbering from `number`, for a window that is filled again after a restart.
    pub fn start_generation(&mut self, number: u64) {
        if self.newest().ids.is_empty() {
            self.newest().number = number;
        } else {
            self.generations.push_back(Generation::new(number));
        }
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.generations.iter().map(|generation| generation.ids.len()).sum()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn newest(&mut self) -> &mut Generation {
        self.generations.back_mut().expect("never empty")
    }

    fn generation_size(&self) -> usize {
        (self.bounds.most / GENERATIONS).max(1)
    }
}

impl Generation {
    fn new(number: u64) -> Self {
        Self { number, ids: HashSet::new(), newest: Micros::MIN }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::Source;

    const HOUR: Micros = 3_600_000_000;

    fn id(number: usize) -> RecordId {
        RecordId::new(Source::Errors, "", &number.to_string())
    }

    fn window(least: usize, most: usize) -> DedupeWindow {
        DedupeWindow::new(Bounds { age: HOUR, least, most })
    }

    #[test]
    fn a_retry_is_known_and_a_failed_record_is_not() {
        let mut window = window(10, 100);
        assert_eq!(window.insert(id(1), 0), Inserted::New);
        assert_eq!(window.insert(id(1), 0), Inserted::Known);
        window.remove(id(1));
        assert_eq!(window.insert(id(1), 0), Inserted::New);
    }

    #[test]
    fn never_more_than_the_bound() {
        let mut window = window(10, 100);
        for number in 0..1_000 {
            window.insert(id(number), 0);
            window.forget(0);
            assert!(window.len() <= 101);
        }
        assert!(window.contains(id(999)) && window.contains(id(930)));
        assert!(!window.contains(id(0)));
    }

    #[test]
    fn the_old_go_only_when_enough_are_left() {
        let mut window = window(60, 100);
        for number in 0..60 {
            window.insert(id(number), 0);
        }
        window.forget(2 * HOUR);
        assert!(window.contains(id(0)), "fewer than the least would be left");
        for number in 60..100 {
            window.insert(id(number), 2 * HOUR);
        }
        let oldest = window.forget(2 * HOUR);
        assert!(!window.contains(id(0)) && window.contains(id(99)));
        assert_eq!(oldest, 1);
    }
}
