//! A circuit breaker: after too many failures nothing is tried for a while, then one trial decides.
//!
//! ```text
//!            too many failures, or tripped
//!  ┌────────┐ ───────────────────────────▶ ┌──────┐
//!  │ closed │                              │ open │◀──────────┐
//!  └────────┘ ◀───────┐                    └──────┘           │
//!              success │                      │ its time is up │ failure: the wait doubles
//!                      │                      ▼                │
//!                      └───────────── ┌───────────┐ ──────────┘
//!                                     │ half-open │ one trial at a time
//!                                     └───────────┘
//! ```

use std::{collections::VecDeque, time::Duration};

use super::time::{Micros, later, micros};

/// When a breaker opens, and for how long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Only calls of this last stretch of time count.
    pub window: Duration,
    /// With fewer calls in the window the rate says nothing.
    pub min_calls: u32,
    /// The share of failures that opens, above 0 and at most 1.
    pub failure_rate: f64,
    /// The first wait.
    pub open_for: Duration,
    /// The wait doubles with each trial that fails, up to this.
    pub open_for_at_most: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            window: Duration::from_mins(1),
            min_calls: 5,
            failure_rate: 0.5,
            open_for: Duration::from_secs(15),
            open_for_at_most: Duration::from_mins(5),
        }
    }
}

/// What [`Breaker::try_call`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Answer {
    /// Try; then say [`Breaker::succeeded`], [`Breaker::failed`] or [`Breaker::withdraw`].
    Permit,
    Refused {
        until: Micros,
    },
}

/// For those who look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    Closed,
    /// Nothing is tried before `until`.
    Open {
        since: Micros,
        until: Micros,
        reason: String,
    },
    /// One trial is under way, or will be with the next call.
    HalfOpen {
        since: Micros,
        reason: String,
    },
}

/// The outcomes kept at most; in a longer window the oldest are forgotten.
const CALLS: usize = 1024;

/// See the [module](self).
#[derive(Clone, Debug)]
pub struct Breaker {
    settings: Settings,
    /// When each call of the window ended, and whether it failed.
    calls: VecDeque<(Micros, bool)>,
    open: Option<Open>,
}

#[derive(Clone, Debug)]
struct Open {
    since: Micros,
    until: Micros,
    wait: Duration,
    reason: String,
    /// Until when no second trial starts: one whose outcome nobody reports must not block for ever.
    trial_until: Option<Micros>,
}

impl Breaker {
    /// # Panics
    /// When the settings can never open, or never close again.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        assert!(settings.failure_rate > 0.0 && settings.failure_rate <= 1.0, "a share of calls");
        assert!(settings.min_calls > 0 && !settings.window.is_zero(), "something to count");
        assert!(
            !settings.open_for.is_zero() && settings.open_for <= settings.open_for_at_most,
            "0 < open_for <= open_for_at_most"
        );
        Self { settings, calls: VecDeque::new(), open: None }
    }

    /// Goes by other settings from the next call on; while it is open, its wait stays as it is.
    pub fn use_settings(&mut self, settings: Settings) {
        let fresh = Self::new(settings);
        self.settings = fresh.settings;
    }

    /// Whether a call may be made now.
    pub fn try_call(&mut self, now: Micros) -> Answer {
        let Some(open) = &mut self.open else {
            return Answer::Permit;
        };
        if now < open.until {
            return Answer::Refused { until: open.until };
        }
        match open.trial_until {
            Some(until) if now < until => Answer::Refused { until },
            _ => {
                open.trial_until = Some(later(now, open.wait));
                Answer::Permit
            }
        }
    }

    /// The permitted call was not made after all, or says nothing: another may be the trial.
    pub fn withdraw(&mut self) {
        if let Some(open) = &mut self.open {
            open.trial_until = None;
        }
    }

    /// A call ended well.
    pub fn succeeded(&mut self, now: Micros) {
        match &self.open {
            // A call that began before the breaker opened says nothing about the trial.
            Some(open) if open.trial_until.is_none() => {}
            Some(_) => {
                self.open = None;
                self.calls.clear();
            }
            None => self.count(now, false),
        }
    }

    /// A call failed in a way that others will fail in too.
    pub fn failed(&mut self, now: Micros, reason: &str) {
        match &self.open {
            Some(open) if open.trial_until.is_none() => {}
            Some(_) => self.trip(now, reason),
            None => {
                self.count(now, true);
                if self.is_too_much() {
                    self.trip(now, reason);
                }
            }
        }
    }

    /// Opens at once: there is no sense in a second call.
    pub fn trip(&mut self, now: Micros, reason: &str) {
        let (since, wait) = match &self.open {
            Some(open) if open.trial_until.is_some() => {
                (open.since, (open.wait * 2).min(self.settings.open_for_at_most))
            }
            Some(open) => (open.since, open.wait),
            None => (now, self.settings.open_for),
        };
        self.calls.clear();
        self.open = Some(Open {
            since,
            until: later(now, wait),
            wait,
            reason: reason.to_owned(),
            trial_until: None,
        });
    }

    /// Closes at once, for people who have repaired what was broken.
    pub fn reset(&mut self) {
        self.open = None;
        self.calls.clear();
    }

    #[must_use]
    pub fn state(&self, now: Micros) -> State {
        match &self.open {
            None => State::Closed,
            Some(open) if now < open.until => {
                State::Open { since: open.since, until: open.until, reason: open.reason.clone() }
            }
            Some(open) => State::HalfOpen { since: open.since, reason: open.reason.clone() },
        }
    }

    fn count(&mut self, now: Micros, failed: bool) {
        if self.calls.len() == CALLS {
            self.calls.pop_front();
        }
        self.calls.push_back((now, failed));
        let horizon = now.saturating_sub(micros(self.settings.window));
        while self.calls.front().is_some_and(|(ended, _)| *ended < horizon) {
            self.calls.pop_front();
        }
    }

    fn is_too_much(&self) -> bool {
        let failed = self.calls.iter().filter(|(_, failed)| *failed).count();
        let calls = self.calls.len();
        calls >= self.settings.min_calls as usize
            && failed as f64 >= self.settings.failure_rate * calls as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Micros = 1_000_000;

    fn breaker() -> Breaker {
        Breaker::new(Settings {
            window: Duration::from_mins(1),
            min_calls: 4,
            failure_rate: 0.5,
            open_for: Duration::from_secs(10),
            open_for_at_most: Duration::from_secs(30),
        })
    }

    #[test]
    fn opens_at_the_rate_and_not_before_there_are_enough_calls() {
        let mut breaker = breaker();
        for at in 0..3 {
            breaker.failed(at, "503");
        }
        assert_eq!(breaker.try_call(3), Answer::Permit);
        breaker.succeeded(3);
        assert_eq!(breaker.state(4), State::Closed, "only a failure opens");
        breaker.failed(4, "503 again");
        assert_eq!(breaker.try_call(5), Answer::Refused { until: 4 + 10 * SECOND });
        let open = State::Open { since: 4, until: 4 + 10 * SECOND, reason: "503 again".into() };
        assert_eq!(breaker.state(5), open);
    }

    #[test]
    fn what_is_older_than_the_window_does_not_count() {
        let mut breaker = breaker();
        for at in 0..3 {
            breaker.failed(at, "503");
        }
        breaker.failed(100 * SECOND, "503");
        assert_eq!(breaker.state(100 * SECOND), State::Closed);
    }

    #[test]
    fn few_failures_among_many_calls_are_borne() {
        let mut breaker = breaker();
        for at in 0..9_000 {
            assert_eq!(breaker.try_call(at), Answer::Permit);
            if at % 3 == 2 { breaker.failed(at, "503") } else { breaker.succeeded(at) }
        }
        assert_eq!(breaker.state(9_000), State::Closed);
        assert!(breaker.calls.len() <= CALLS);
    }

    #[test]
    fn one_trial_at_a_time_decides_and_the_wait_doubles_up_to_the_cap() {
        let mut breaker = breaker();
        breaker.trip(0, "401");
        let mut now = 0;
        for wait in [10, 20, 30, 30] {
            let until = now + wait * SECOND;
            assert_eq!(breaker.try_call(until - 1), Answer::Refused { until });
            now = until;
            assert_eq!(breaker.state(now), State::HalfOpen { since: 0, reason: "401".into() });
            assert_eq!(breaker.try_call(now), Answer::Permit);
            assert!(matches!(breaker.try_call(now), Answer::Refused { .. }), "one trial only");
            breaker.failed(now, "401");
        }
        now += 30 * SECOND;
        assert_eq!(breaker.try_call(now), Answer::Permit);
        breaker.succeeded(now);
        assert_eq!(breaker.state(now), State::Closed);
        breaker.trip(now, "403");
        assert_eq!(breaker.try_call(now), Answer::Refused { until: now + 10 * SECOND });
    }

    #[test]
    fn a_trial_that_nobody_reports_is_followed_by_another() {
        let mut breaker = breaker();
        breaker.trip(0, "401");
        assert_eq!(breaker.try_call(10 * SECOND), Answer::Permit);
        assert_eq!(breaker.try_call(20 * SECOND), Answer::Permit);
    }

    #[test]
    fn a_trial_that_was_not_made_is_handed_back() {
        let mut breaker = breaker();
        breaker.withdraw();
        assert_eq!(breaker.state(0), State::Closed);
        breaker.trip(0, "401");
        breaker.withdraw();
        assert_eq!(breaker.try_call(1), Answer::Refused { until: 10 * SECOND });
        assert_eq!(breaker.try_call(10 * SECOND), Answer::Permit);
        breaker.withdraw();
        breaker.succeeded(11 * SECOND);
        let half_open = State::HalfOpen { since: 0, reason: "401".into() };
        assert_eq!(breaker.state(11 * SECOND), half_open, "there was no trial");
        assert_eq!(breaker.try_call(11 * SECOND), Answer::Permit, "at once");
        breaker.failed(11 * SECOND, "401");
        assert_eq!(breaker.try_call(12 * SECOND), Answer::Refused { until: 31 * SECOND });
    }

    #[test]
    fn calls_from_before_it_opened_change_nothing() {
        let mut breaker = breaker();
        breaker.trip(0, "401");
        breaker.succeeded(1);
        breaker.failed(2, "503");
        assert_eq!(breaker.try_call(3), Answer::Refused { until: 10 * SECOND });
        breaker.reset();
        assert_eq!(breaker.try_call(3), Answer::Permit);
    }
}
