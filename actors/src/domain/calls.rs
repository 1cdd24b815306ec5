//! Calls of an outside system: how many there were, how they ended and how long they took, over a
//! sliding window. A ring of slots, like that of the [traffic](super::traffic); so memory is
//! bounded, whatever the system does.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sketches_ddsketch::{Config, DDSketch};

use super::{
    shape::cut,
    time::{Micros, micros},
};

/// Slots of a window: it is exact to a thirtieth.
const SLOTS: i64 = 30;
/// The last error is kept up to so many bytes.
const LONGEST_ERROR: usize = 500;

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended<'a> {
    Well,
    /// The error, which holds no secret.
    Failed(&'a str),
    /// The system does not accept our credentials.
    Unauthorized(&'a str),
}

impl<'a> Ended<'a> {
    /// What the other end, or our driver, says when it does not let us in. For systems whose errors
    /// are known by their words only.
    #[must_use]
    pub fn by_words(error: &'a str) -> Self {
        const WORDS: [&str; 3] = ["authentication failed", "no pg_hba.conf entry", "not permitted"];
        if WORDS.iter().any(|words| error.contains(words)) {
            return Self::Unauthorized(error);
        }
        Self::Failed(error)
    }
}

/// Changed by those who call, read by those who look.
pub struct Calls(Mutex<Ring>);

struct Ring {
    window: Micros,
    /// With their numbers, oldest first.
    slots: VecDeque<(i64, Slot)>,
    ever: Totals,
    last_success: Option<Micros>,
    last_failure: Option<Micros>,
    last_error: Option<String>,
    run: Run,
}

/// The failures since the last call that ended well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Run {
    pub failures: u64,
    /// When the first of them was.
    pub since: Option<Micros>,
    /// When our credentials were first refused among them.
    pub refused_since: Option<Micros>,
}

/// How many calls there were since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub requests: u64,
    /// Those of `auth_failures` among them.
    pub failures: u64,
    pub auth_failures: u64,
}

struct Slot {
    requests: u64,
    failures: u64,
    auth_failures: u64,
    /// Milliseconds.
    sketch: DDSketch,
}

impl Slot {
    fn new() -> Self {
        let sketch = DDSketch::new(Config::defaults());
        Self { requests: 0, failures: 0, auth_failures: 0, sketch }
    }
}

/// What the calls of the window were like.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    pub requests: u64,
    /// Those of `auth_failures` among them.
    pub failures: u64,
    pub auth_failures: u64,
    /// The median and the 95th percentile, in milliseconds, to about one percent.
    pub latency: Option<(f64, f64)>,
    /// Since the start, not only within the window; so are the next three.
    pub ever: Totals,
    pub last_success: Option<Micros>,
    pub last_failure: Option<Micros>,
    pub last_error: Option<String>,
    /// The failures one after the other that go on now, however long ago they began.
    pub run: Run,
}

impl Summary {
    /// The share of calls that ended well; `None` where there were none.
    #[must_use]
    pub fn success_rate(&self) -> Option<f64> {
        (self.requests > 0).then(|| 1.0 - self.failures as f64 / self.requests as f64)
    }
}

impl fmt::Debug for Calls {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Calls").finish_non_exhaustive()
    }
}

impl Default for Calls {
    fn default() -> Self {
        Self::new(Duration::from_mins(5))
    }
}

impl Calls {
    /// Nothing was called yet.
    #[must_use]
    pub fn new(window: Duration) -> Self {
        Self(Mutex::new(Ring {
            window: micros(window).max(SLOTS),
            slots: VecDeque::new(),
            ever: Totals::default(),
            last_success: None,
            last_failure: None,
            last_error: None,
            run: Run::default(),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call ended at `now`, and took so long.
    pub fn ended(&self, now: Micros, took: Duration, how: Ended<'_>) {
        let mut ring = self.lock();
        ring.ever.requests += 1;
        let slot = ring.slot(now);
        slot.requests += 1;
        slot.sketch.add(took.as_secs_f64() * 1e3);
        let error = match how {
            Ended::Well => {
                ring.last_success = Some(now);
                ring.run = Run::default();
                return;
            }
            Ended::Failed(error) => error,
            Ended::Unauthorized(error) => {
                slot.auth_failures += 1;
                ring.run.refused_since.get_or_insert(now);
                ring.ever.auth_failures += 1;
                error
            }
        };
        let slot = ring.slot(now);
        slot.failures += 1;
        ring.run.failures += 1;
        ring.run.since.get_or_insert(now);
        ring.ever.failures += 1;
        ring.last_failure = Some(now);
        ring.last_error = Some(cut(error, LONGEST_ERROR).to_owned());
    }

    /// What the calls of the window that ends at `now` were like.
    #[must_use]
    pub fn look(&self, now: Micros) -> Summary {
        let mut ring = self.lock();
        ring.slide(now);
        let mut summary = Summary {
            ever: ring.ever,
            last_success: ring.last_success,
            last_failure: ring.last_failure,
            last_error: ring.last_error.clone(),
            run: ring.run,
            ..Summary::default()
        };
        let mut sketch = DDSketch::new(Config::defaults());
        for (_, slot) in &ring.slots {
            summary.requests += slot.requests;
            summary.failures += slot.failures;
            summary.auth_failures += slot.auth_failures;
            // All sketches are made alike, so that they can be merged.
            let _ = sketch.merge(&slot.sketch);
        }
        let quantile = |share| sketch.quantile(share).ok().flatten();
        summary.latency = quantile(0.5).zip(quantile(0.95));
        summary
    }
}

impl Ring {
    fn number(&self, moment: Micros) -> i64 {
        moment.div_euclid(self.window / SLOTS)
    }

    /// Drops the slots that have slid out of the window.
    fn slide(&mut self, now: Micros) {
        let oldest = self.number(now - self.window);
        while self.slots.pop_front_if(|(number, _)| *number <= oldest).is_some() {}
    }

    /// The slot of `now`. A clock that was set back counts in the newest one.
    fn slot(&mut self, now: Micros) -> &mut Slot {
        self.slide(now);
        let number = self.number(now);
        if self.slots.back().is_none_or(|(newest, _)| *newest < number) {
            self.slots.push_back((number, Slot::new()));
        }
        &mut self.slots.back_mut().expect("pushed just now").1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Micros = 1_000_000;

    #[test]
    fn a_window_slides_and_what_was_last_stays() {
        let calls = Calls::new(Duration::from_mins(5));
        assert_eq!(calls.look(0), Summary::default());
        for second in 0..100 {
            calls.ended(second * SECOND, Duration::from_millis(10), Ended::Well);
        }
        calls.ended(100 * SECOND, Duration::from_secs(2), Ended::Failed("503"));
        calls.ended(101 * SECOND, Duration::from_secs(2), Ended::Unauthorized("401"));
        let summary = calls.look(101 * SECOND);
        assert_eq!((summary.requests, summary.failures, summary.auth_failures), (102, 2, 1));
        assert!((summary.success_rate().unwrap() - 100.0 / 102.0).abs() < 1e-9);
        let (median, p95) = summary.latency.unwrap();
        assert!((9.5..10.5).contains(&median) && (9.5..10.5).contains(&p95), "{median} {p95}");
        let later = calls.look(1_000 * SECOND);
        assert_eq!((later.requests, later.latency), (0, None));
        assert_eq!(later.success_rate(), None);
        assert_eq!(later.ever, Totals { requests: 102, failures: 2, auth_failures: 1 });
        assert_eq!(later.last_success, Some(99 * SECOND));
        assert_eq!(
            (later.last_failure, later.last_error.as_deref()),
            (Some(101 * SECOND), Some("401"))
        );
    }

    #[test]
    fn failures_in_a_row_end_with_a_success() {
        let calls = Calls::new(Duration::from_mins(1));
        let end = |second: Micros, how| calls.ended(second * SECOND, Duration::ZERO, how);
        end(1, Ended::Well);
        assert_eq!(calls.look(SECOND).run, Run::default());
        end(2, Ended::Failed("503"));
        end(3, Ended::Unauthorized("401"));
        end(4, Ended::Failed("503"));
        let run = Run { failures: 3, since: Some(2 * SECOND), refused_since: Some(3 * SECOND) };
        assert_eq!(calls.look(5 * SECOND).run, run);
        // Long after they have slid out of the window they still go on.
        assert_eq!(calls.look(5_000 * SECOND).run, run);
        end(6_000, Ended::Well);
        assert_eq!(calls.look(6_000 * SECOND).run, Run::default());
    }

    #[test]
    fn memory_is_bounded() {
        let calls = Calls::new(Duration::from_mins(1));
        for second in 0..10_000 {
            calls.ended(
                second * SECOND,
                Duration::from_millis(1),
                Ended::Failed(&"x".repeat(9_999)),
            );
        }
        let ring = calls.lock();
        assert!(ring.slots.len() <= usize::try_from(SLOTS).unwrap() + 1, "{}", ring.slots.len());
        assert_eq!(ring.last_error.as_ref().unwrap().len(), LONGEST_ERROR);
    }

    #[test]
    fn a_server_that_does_not_let_in_is_known_by_its_words() {
        let refused = "db error: FATAL: password authentication failed for user \"x\"";
        assert_eq!(Ended::by_words(refused), Ended::Unauthorized(refused));
        assert_eq!(Ended::by_words("connection refused"), Ended::Failed("connection refused"));
    }
}
