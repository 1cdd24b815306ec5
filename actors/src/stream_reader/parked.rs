//! Origins of a stream that a hub knows, and has no stages for: their relays are idle or gone.
//!
//! Without them, what is left in the stream of many relays would have stages started for one after
//! the other, each of which has the stream read from its beginning: without end.

use std::collections::HashMap;

use crate::adapters::journal::{
    Origin,
    stream::{format::Head, journal::Told},
};

/// More than that are forgotten, and met again.
const MOST: usize = 100_000;

/// See the [module](self).
#[derive(Default)]
pub(super) struct Parked(HashMap<Origin, One>);

struct One {
    /// The sequence that would be delivered next.
    next: u64,
    told: Told,
    /// Its relay has sent something that it need not have sent.
    must_tell: bool,
}

impl Parked {
    pub(super) fn park(&mut self, origin: Origin, next: u64, told: Told) {
        if self.0.len() >= MOST {
            self.0.clear();
        }
        self.0.insert(origin, One { next, told, must_tell: false });
    }

    /// Whether nothing new is in an entry of a parked origin. One with something new is not parked
    /// any more.
    pub(super) fn knows(&mut self, head: &Head) -> bool {
        let Some(one) = self.0.get_mut(&head.origin) else { return false };
        let is_next = head.first <= one.next && one.next <= head.last;
        // Nobody has what is before it any more.
        let is_all = head.first > one.next && head.kept >= head.first;
        if is_next || is_all {
            self.0.remove(&head.origin);
            return false;
        }
        one.must_tell = true;
        true
    }

    /// The origins whose relays are to be told once more.
    pub(super) fn take_told(&mut self) -> Vec<(Origin, Told)> {
        let parked = self.0.iter_mut();
        let due = parked.filter_map(|(origin, one)| {
            std::mem::take(&mut one.must_tell).then_some((*origin, one.told))
        });
        due.collect()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_new_is_taken_up_again() {
        let origin = Origin::from_u128(7);
        let told = Told { committed: Some(4), wanted: None };
        let head = |first, last, kept| Head { origin, first, last, kept };
        let mut parked = Parked::default();
        assert!(!parked.knows(&head(1, 1, 1)), "not parked");
        parked.park(origin, 5, told);
        assert!(parked.take_told().is_empty());
        assert!(parked.knows(&head(1, 4, 1)) && parked.knows(&head(6, 9, 1)));
        assert_eq!(parked.take_told(), [(origin, told)]);
        assert!(parked.take_told().is_empty(), "once");
        for news in [head(5, 5, 1), head(1, 9, 1), head(6, 6, 6)] {
            parked.park(origin, 5, told);
            assert!(!parked.knows(&news) && !parked.knows(&head(1, 1, 1)), "{news:?}");
        }
    }
}
