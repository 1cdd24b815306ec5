//! What of a commit is not stored, and why.

use std::collections::{BTreeMap, BTreeSet};

use super::Commit;
use crate::domain::{object::ChangeId, record::RejectedId};

/// An event or a record of a commit: by batch, and by index in it.
pub(crate) type Place = (usize, usize);

/// Why an event of a commit is not stored.
#[derive(Clone, Debug)]
pub(crate) enum Why {
    /// The store refuses it, for this reason.
    Refused(String),
    /// It is stored already, under its identity.
    Known,
}

/// See the [module](self).
#[derive(Clone, Debug, Default)]
pub(crate) struct Left {
    events: BTreeMap<Place, Why>,
    /// Of these neither an event nor a rejected message is stored.
    records: BTreeSet<Place>,
}

impl Left {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// What of a commit is known from the commit itself.
    pub(crate) fn within(commit: &Commit) -> Self {
        let mut left = Self::new();
        for again in announced(commit).1 {
            left.add(again, Why::Known);
        }
        for again in replayed(commit).1 {
            left.add_record(commit, again);
        }
        left
    }

    /// No event is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    pub(crate) fn contains(&self, event: Place) -> bool {
        self.events.contains_key(&event)
    }

    pub(crate) fn contains_record(&self, record: Place) -> bool {
        self.records.contains(&record)
    }

    /// The events of all batches.
    pub(crate) fn events(&self) -> impl Iterator<Item = (Place, &Why)> {
        self.events.iter().map(|(event, why)| (*event, why))
    }

    /// The events of one batch, by index.
    pub(crate) fn of_batch(&self, batch: usize) -> impl Iterator<Item = usize> {
        self.events.range((batch, 0)..(batch + 1, 0)).map(|((_, event), _)| *event)
    }

    /// What is stored already stays that, though the store may refuse it now.
    pub(crate) fn add(&mut self, event: Place, why: Why) {
        match why {
            Why::Known => _ = self.events.insert(event, why),
            Why::Refused(_) => _ = self.events.entry(event).or_insert(why),
        }
    }

    /// Adds a record that is stored already, with all its events.
    pub(crate) fn add_record(&mut self, commit: &Commit, (batch, record): Place) {
        self.records.insert((batch, record));
        for (index, event) in commit.batches[batch].events.iter().enumerate() {
            if event.record as usize == record {
                self.add((batch, index), Why::Known);
            }
        }
    }

    pub(crate) fn extend(&mut self, more: Self) {
        for (event, why) in more.events {
            self.add(event, why);
        }
        self.records.extend(more.records);
    }
}

/// The identities of a commit's events, each with the first event that has it; and further events
/// that have one of these too.
pub(crate) fn announced(commit: &Commit) -> (BTreeMap<ChangeId, Place>, Vec<Place>) {
    first_of_each(commit.batches.iter().map(|batch| &batch.announced))
}

/// The same of the records that take in rejected messages again.
pub(crate) fn replayed(commit: &Commit) -> (BTreeMap<RejectedId, Place>, Vec<Place>) {
    first_of_each(commit.batches.iter().map(|batch| &batch.replayed))
}

fn first_of_each<'a, Id: Copy + Ord + 'a>(
    batches: impl Iterator<Item = &'a Vec<(u32, Id)>>,
) -> (BTreeMap<Id, Place>, Vec<Place>) {
    let (mut first, mut again) = (BTreeMap::new(), Vec::new());
    for (batch, ids) in batches.enumerate() {
        for (index, id) in ids {
            let place = (batch, *index as usize);
            if *first.entry(*id).or_insert(place) != place {
                again.push(place);
            }
        }
    }
    (first, again)
}
