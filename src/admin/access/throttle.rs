//! How often somebody may try to log in: so many times at once, then one time in a while (the
//! generic cell rate algorithm, ITU-T I.371).
//!
//! Accounts and addresses share a fixed number of cells, chosen by a hash that nobody outside can
//! compute: memory is bounded whoever tries what. Whoever shares a cell with one that is tried by
//! somebody else waits with it, which is rare.

use std::{
    hash::{BuildHasher, Hash, RandomState},
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

const CELLS: usize = 8_192;

/// See the [module](self).
pub(super) struct Throttle {
    /// When each cell has forgotten all attempts; since the start.
    cells: Mutex<Vec<Duration>>,
    hasher: RandomState,
    /// Attempts that are possible at once.
    burst: u32,
    /// How long it takes until one more is.
    every: Duration,
}

impl Throttle {
    pub(super) fn new(burst: u32, every: Duration) -> Self {
        let cells = Mutex::new(vec![Duration::ZERO; CELLS]);
        Self { cells, hasher: RandomState::new(), burst, every }
    }

    fn cell<T>(&self, of: impl Hash, work: impl FnOnce(&mut Duration) -> T) -> T {
        let count = u64::try_from(CELLS).expect("a small number");
        let index = usize::try_from(self.hasher.hash_one(of) % count).expect("below CELLS");
        work(&mut self.cells.lock().unwrap_or_else(PoisonError::into_inner)[index])
    }

    /// Counts an attempt; `Err` says how long to wait for the next one instead.
    pub(super) fn attempt(&self, of: impl Hash, now: Duration) -> Result<(), Duration> {
        self.cell(of, |free_at| {
            let after = now.max(*free_at) + self.every;
            let most = now + self.every * self.burst;
            if let Some(wait) = after.checked_sub(most).filter(|wait| !wait.is_zero()) {
                return Err(wait);
            }
            *free_at = after;
            Ok(())
        })
    }

    /// Forgets an attempt that was a good one.
    pub(super) fn forgive(&self, of: impl Hash) {
        self.cell(of, |free_at| *free_at = free_at.saturating_sub(self.every));
    }
}

/// Whom an address belongs to: with IPv6 one customer has at least a /64.
pub(super) fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let network = u128::from(address) >> 64 << 64;
            IpAddr::V6(network.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn some_attempts_at_once_then_one_in_a_while() {
        let throttle = Throttle::new(3, 10 * SECOND);
        let mut now = 100 * SECOND;
        for _ in 0..3 {
            assert_eq!(throttle.attempt("alice", now), Ok(()));
        }
        assert_eq!(throttle.attempt("alice", now), Err(10 * SECOND));
        now += 4 * SECOND;
        assert_eq!(throttle.attempt("alice", now), Err(6 * SECOND));
        now += 6 * SECOND;
        assert_eq!(throttle.attempt("alice", now), Ok(()));
        assert!(throttle.attempt("alice", now).is_err());
        throttle.forgive("alice");
        assert_eq!(throttle.attempt("alice", now), Ok(()));
        now += 3_600 * SECOND;
        for _ in 0..3 {
            assert_eq!(throttle.attempt("alice", now), Ok(()), "no more is saved up than a burst");
        }
        assert!(throttle.attempt("alice", now).is_err());
        assert_eq!(throttle.attempt("bob", now), Ok(()));
    }

    #[test]
    fn memory_is_bounded() {
        let throttle = Throttle::new(1, SECOND);
        for number in 0..100_000 {
            let _ = throttle.attempt(number, SECOND);
        }
        assert_eq!(throttle.cells.lock().unwrap().len(), CELLS);
    }

    #[test]
    fn a_network_is_one_customer() {
        let of = |text: &str| network_of(text.parse().unwrap()).to_string();
        assert_eq!(of("192.0.2.7"), "192.0.2.7");
        assert_eq!(of("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
    }
}
