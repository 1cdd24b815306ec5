//! How fast requests go out: so many a second and an hour, shared by the hubs.

use std::{
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use governor::{
    DefaultDirectRateLimiter, Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
};

/// A request waits so long for its turn; what would wait longer comes back later.
const PATIENCE: Duration = Duration::from_secs(2);

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Pace {
    limiters: Mutex<(Share, Arc<Limiters>)>,
}

/// This hub's part of the rates of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Share {
    per_second: u32,
    per_hour: u32,
    hubs: u32,
}

#[derive(Debug)]
struct Limiters {
    second: DefaultDirectRateLimiter,
    hour: Option<DefaultDirectRateLimiter>,
}

impl Pace {
    /// `per_hour` is 0 for no such limit.
    pub(super) fn new(per_second: u32, per_hour: u32) -> Self {
        let share = Share { per_second, per_hour, hubs: 1 };
        Self { limiters: Mutex::new((share, Arc::new(Limiters::of(share)))) }
    }

    /// See [`Self::new`].
    pub(super) fn set_rates(&self, per_second: u32, per_hour: u32) {
        self.change(|share| Share { per_second, per_hour, ..share });
    }

    /// This hub takes one part of `hubs`.
    pub(super) fn set_hubs(&self, hubs: u32) {
        self.change(|share| Share { hubs: hubs.max(1), ..share });
    }

    fn change(&self, change: impl FnOnce(Share) -> Share) {
        let mut limiters = self.limiters.lock().unwrap_or_else(PoisonError::into_inner);
        let share = change(limiters.0);
        // New limiters begin full: only a change may make them.
        if limiters.0 != share {
            *limiters = (share, Arc::new(Limiters::of(share)));
        }
    }

    /// Waits for a request's turn.
    ///
    /// # Errors
    /// How long it would have to wait where that is too long.
    pub(super) async fn turn(&self) -> Result<(), Duration> {
        let limiters = {
            let limiters = self.limiters.lock().unwrap_or_else(PoisonError::into_inner);
            limiters.1.clone()
        };
        let mut waited = Duration::ZERO;
        while let Some(wait) = wait_of(&limiters.second) {
            if waited + wait > PATIENCE {
                return Err(wait);
            }
            waited += wait;
            tokio::time::sleep(wait).await;
        }
        limiters.hour.as_ref().and_then(wait_of).map_or(Ok(()), Err)
    }
}

/// Takes a turn, or says how long none is free.
fn wait_of(limiter: &DefaultDirectRateLimiter) -> Option<Duration> {
    let denied = limiter.check().err()?;
    // Rounded up, for a timer may end a little early.
    Some(denied.wait_time_from(DefaultClock::default().now()) + Duration::from_millis(1))
}

impl Limiters {
    fn of(share: Share) -> Self {
        let Share { per_second, per_hour, hubs } = share;
        // A tenth may go at once, and nine tenths come again within the period: together no second
        // and no hour sees more than the whole.
        let limiter = |period, whole| {
            let share = f64::from(whole) / f64::from(hubs);
            RateLimiter::direct(quota(period, share * 0.9, share * 0.1))
        };
        let hour = (per_hour > 0).then(|| limiter(Duration::from_hours(1), per_hour));
        Self { second: limiter(Duration::from_secs(1), per_second), hour }
    }
}

/// `rate` within `period`, `burst` of them at once (but at least one).
fn quota(period: Duration, rate: f64, burst: f64) -> Quota {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "cut, not wrapped")]
    let burst = NonZeroU32::new(burst as u32).unwrap_or(NonZeroU32::MIN);
    let each = period.div_f64(rate.max(f64::MIN_POSITIVE)).max(Duration::from_nanos(1));
    Quota::with_period(each).expect("more than zero").allow_burst(burst)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_once(limiter: &DefaultDirectRateLimiter) -> usize {
        (0..1_000).take_while(|_| wait_of(limiter).is_none()).count()
    }

    fn limiters(per_second: u32, per_hour: u32, hubs: u32) -> Limiters {
        Limiters::of(Share { per_second, per_hour, hubs })
    }

    #[test]
    fn hubs_share() {
        let alone = limiters(50, 36_000, 1);
        // The clock runs on meanwhile, so a few more may be free again.
        assert!((5..15).contains(&at_once(&alone.second)));
        assert_eq!(at_once(&limiters(50, 0, 4).second), 1);
        assert_eq!(at_once(&limiters(1, 0, 20).second), 1);
        assert_eq!(at_once(&limiters(10, 100, 2).hour.unwrap()), 5);
        assert!(limiters(10, 0, 2).hour.is_none());
        let wait = limiters(1, 0, 20);
        assert!(wait_of(&wait.second).is_none());
        assert!(wait_of(&wait.second).unwrap() > Duration::from_secs(19));
    }

    #[tokio::test]
    async fn a_long_wait_is_told_and_not_waited_for() {
        let pace = Pace::new(10, 1);
        assert_eq!(pace.turn().await, Ok(()));
        assert!(pace.turn().await.unwrap_err() > Duration::from_mins(50));
        pace.set_hubs(1);
        pace.set_rates(10, 1);
        assert!(pace.turn().await.is_err(), "nothing has changed");
        pace.set_hubs(2);
        assert_eq!(pace.turn().await, Ok(()));
        assert!(pace.turn().await.is_err());
        pace.set_rates(10, 0);
        assert_eq!(pace.turn().await, Ok(()));
    }
}
