//! How often the faults of a batch happened, hour by hour.
//!
//! A batch knows of each fault how often it was met, and when first and last. Mostly that is within
//! one hour, and nothing else is to be looked at; only where it is not, its events are.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::Left;
use crate::domain::{
    batch::{Batch, FaultDelta},
    time::{HOUR, Micros, start_of},
};

/// When each hour began, ascending, and how often.
pub(crate) type Hours = Vec<(Micros, u64)>;

/// Of a batch, the faults that were met in more than one hour.
pub(super) struct Spread(HashMap<usize, BTreeMap<Micros, u64>>);

/// Looks at the events of `batch`, the commit's with this index, where it must.
pub(super) fn of_batch(index: usize, batch: &Batch, left: &Left) -> Spread {
    let is_spread =
        |delta: &FaultDelta| start_of(HOUR, delta.first_seen) != start_of(HOUR, delta.last_seen);
    let faults = batch.faults.iter().enumerate().filter(|(_, delta)| is_spread(delta));
    let spread: HashSet<usize> = faults.map(|(fault, _)| fault).collect();
    let mut hours: HashMap<usize, BTreeMap<Micros, u64>> = HashMap::new();
    if spread.is_empty() {
        return Spread(hours);
    }
    for (at, event) in batch.events.iter().enumerate() {
        let fault = event.fault as usize;
        if spread.contains(&fault) && !left.contains((index, at)) {
            let hour = start_of(HOUR, event.occurred_at);
            *hours.entry(fault).or_default().entry(hour).or_default() += 1;
        }
    }
    Spread(hours)
}

impl Spread {
    /// The hours of a fault of the batch, of which `count` events are stored.
    pub(super) fn take(&mut self, fault: usize, delta: &FaultDelta, count: u64) -> Hours {
        match self.0.remove(&fault) {
            Some(hours) => hours.into_iter().collect(),
            None => vec![(start_of(HOUR, delta.last_seen), count)],
        }
    }
}

/// Adds up the same hours.
pub(super) fn add(sum: &mut Hours, more: &Hours) {
    for (hour, count) in more {
        match sum.binary_search_by_key(hour, |(hour, _)| *hour) {
            Ok(at) => sum[at].1 += count,
            Err(at) => sum.insert(at, (*hour, *count)),
        }
    }
}
