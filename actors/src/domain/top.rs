//! The most frequent keys of a stream, in bounded memory: Space-Saving (Metwally, Agrawal and
//! El Abbadi, "Efficient Computation of Frequent and Top-k Elements in Data Streams", 2005).
//! Counts are never too low, and too high by at most the count of the rarest key kept.

use std::collections::HashMap;

/// See the [module](self).
#[derive(Clone, Debug)]
pub struct Top {
    capacity: usize,
    counts: HashMap<Box<str>, u64>,
}

impl Top {
    /// # Panics
    /// When `capacity` is 0.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        assert!(capacity > 0, "room for one key at least");
        Self { capacity, counts: HashMap::new() }
    }

    pub fn add(&mut self, key: &str, count: u64) {
        if let Some(known) = self.counts.get_mut(key) {
            *known += count;
            return;
        }
        let mut floor = 0;
        if self.counts.len() == self.capacity {
            // A new key takes the place, and the count, of the rarest.
            let rarest = self.counts.iter().min_by_key(|(_, count)| **count);
            let rarest = rarest.map(|(key, _)| key.clone()).expect("it is full");
            floor = self.counts.remove(&rarest).unwrap_or(0);
        }
        self.counts.insert(key.into(), floor + count);
    }

    pub fn merge(&mut self, other: &Self) {
        for (key, count) in &other.counts {
            self.add(key, *count);
        }
    }

    /// The `most` most frequent keys, most frequent first; ties in the order of the keys.
    #[must_use]
    pub fn first(&self, most: usize) -> Vec<(String, u64)> {
        let mut all: Vec<_> = self.counts.iter().collect();
        all.sort_by(|(key, count), (other_key, other)| other.cmp(count).then(key.cmp(other_key)));
        all.into_iter().take(most).map(|(key, count)| (key.to_string(), *count)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequent_keys_survive_a_flood_of_rare_ones() {
        let mut top = Top::new(10);
        for number in 0..1_000 {
            top.add("often", 1);
            top.add(&format!("rare-{number}"), 1);
        }
        let first = top.first(1);
        assert_eq!(first[0].0, "often");
        assert!(first[0].1 >= 1_000);
        assert!(top.first(100).len() <= 10);
    }
}
