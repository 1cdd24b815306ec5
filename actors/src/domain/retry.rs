//! When to try again.

use std::time::Duration;

/// Exponential back-off with full jitter (AWS Architecture Blog, "Exponential Backoff And
/// Jitter"): each wait is a random part of a bound that doubles up to a cap.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    attempt: u32,
}

impl Backoff {
    /// # Panics
    /// When `first` is zero or above `cap`.
    #[must_use]
    pub fn new(first: Duration, cap: Duration) -> Self {
        assert!(!first.is_zero() && first <= cap, "0 < first <= cap");
        Self { first, cap, attempt: 0 }
    }

    /// The wait after `failures`; `random` is uniform in 0..1.
    #[must_use]
    pub fn wait_after(first: Duration, cap: Duration, failures: u32, random: f64) -> Duration {
        let bound = first.saturating_mul(2u32.saturating_pow(failures.min(31))).min(cap);
        // Never less than the first wait, so that a lucky draw does not spin.
        first.max(bound.mul_f64(random.clamp(0.0, 1.0)))
    }

    /// The next wait; `random` is uniform in 0..1.
    pub fn next_wait(&mut self, random: f64) -> Duration {
        let wait = Self::wait_after(self.first, self.cap, self.attempt, random);
        self.attempt = self.attempt.saturating_add(1);
        wait
    }

    /// After a success the next failure starts from the first wait.
    pub fn reset(&mut self) {
        self.attempt = 0;
    }

    /// Failures since the last success.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.attempt
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_cap_and_starts_over() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        let waits: Vec<_> = (0..6).map(|_| backoff.next_wait(1.0).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1000, 1000]);
        assert_eq!(backoff.next_wait(0.0), Duration::from_millis(100));
        backoff.reset();
        assert_eq!(backoff.next_wait(1.0), Duration::from_millis(100));
        for _ in 0..100 {
            backoff.next_wait(0.5);
        }
        assert_eq!(backoff.next_wait(1.0), Duration::from_secs(1));
    }
}
