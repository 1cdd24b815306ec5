//! A table read as a feed: what was added since, by ascending numbers.
//!
//! Numbers are given when a row is written, and rows are seen when their transaction ends: a lower
//! number may be seen after a higher one. So numbers that are missing are asked for again for a
//! while, until their transaction has ended one way or the other.

use std::collections::BTreeMap;

use super::time::Micros;

/// See the [module](self).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Feed {
    last: i64,
    /// With the time when each was missed first.
    missing: BTreeMap<i64, Micros>,
}

/// Whether a look at the table saw everything that is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    All,
    /// There was more than was asked for: older rows are passed over.
    Newest,
}

impl Feed {
    /// No transaction lasts longer.
    const PATIENCE: Micros = 60_000_000;
    /// Numbers asked for again; of more, the newest.
    const MOST: i64 = 1_000;

    /// A feed of what is added from now on, where these are the newest numbers.
    #[must_use]
    pub fn behind(newest: &[i64], now: Micros) -> Self {
        let mut feed = Self::default();
        feed.take(newest, Seen::Newest, now);
        feed
    }

    /// All numbers above are news.
    #[must_use]
    pub fn last(&self) -> i64 {
        self.last
    }

    /// So are these.
    #[must_use]
    pub fn missing(&self) -> Vec<i64> {
        self.missing.keys().copied().collect()
    }

    /// Takes note of what a look has shown.
    pub fn take(&mut self, numbers: &[i64], seen: Seen, now: Micros) {
        let mut new = Vec::new();
        for number in numbers {
            if self.missing.remove(number).is_none() && *number > self.last {
                new.push(*number);
            }
        }
        new.sort_unstable();
        let mut before = match (seen, new.first()) {
            (Seen::Newest, Some(first)) => first - 1,
            _ => self.last,
        };
        for number in &new {
            let from = (before + 1).max(number - Self::MOST);
            self.missing.extend((from..*number).map(|missing| (missing, now)));
            before = *number;
        }
        self.last = self.last.max(before);
        self.missing.retain(|_, since| now - *since < Self::PATIENCE);
        while self.missing.len() as u64 > Self::MOST.unsigned_abs() {
            self.missing.pop_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_commits_late_is_asked_for_until_it_is_there() {
        let mut feed = Feed::behind(&[12, 9, 10], 0);
        assert_eq!((feed.last(), feed.missing()), (12, vec![11]));
        feed.take(&[13, 16], Seen::All, 1);
        assert_eq!((feed.last(), feed.missing()), (16, vec![11, 14, 15]));
        feed.take(&[14, 11], Seen::All, 2);
        assert_eq!((feed.last(), feed.missing()), (16, vec![15]));
    }

    #[test]
    fn what_was_rolled_back_is_forgotten() {
        let mut feed = Feed::behind(&[1], 0);
        feed.take(&[3], Seen::All, 5);
        assert_eq!(feed.missing(), [2]);
        feed.take(&[], Seen::All, Feed::PATIENCE);
        assert_eq!(feed.missing(), [2]);
        feed.take(&[], Seen::All, Feed::PATIENCE + 5);
        assert_eq!(feed.missing(), [0; 0]);
    }

    #[test]
    fn what_is_passed_over_is_not_missing() {
        let mut feed = Feed::behind(&[1], 0);
        feed.take(&[100, 101, 103], Seen::Newest, 1);
        assert_eq!((feed.last(), feed.missing()), (103, vec![102]));
    }

    #[test]
    fn a_jump_of_the_numbers_costs_little() {
        let mut feed = Feed::behind(&[1], 0);
        feed.take(&[1 << 40], Seen::All, 1);
        assert_eq!(feed.missing().len() as u64, Feed::MOST.unsigned_abs());
        assert_eq!(feed.last(), 1 << 40);
    }

    #[test]
    fn an_empty_table_begins_at_its_first_row() {
        let mut feed = Feed::behind(&[], 0);
        feed.take(&[1, 2], Seen::All, 1);
        assert_eq!((feed.last(), feed.missing()), (2, vec![]));
    }
}
