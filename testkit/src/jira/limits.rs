//! Rate limits, as Atlassian describes them: a bucket of tokens per endpoint, windows per issue for
//! writes, and points per hour.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use super::{endpoint::Endpoint, fault::Reason};

/// A bucket of tokens.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    /// Tokens that it can hold.
    pub burst: u32,
    /// Tokens that are added per second.
    pub per_second: u32,
}

/// At most so many in any such time.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    pub count: usize,
    pub within: Duration,
}

/// Which limits hold; none by default.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    /// One such bucket for each endpoint.
    pub per_endpoint: Option<Bucket>,
    /// Writes to one issue; all windows hold.
    pub per_issue: Vec<Window>,
    /// All calls: the points of an hour, or of a shorter time for tests.
    pub quota: Option<Window>,
}

impl Limits {
    /// What Atlassian publishes, except the quota, from which API tokens are exempt.
    #[must_use]
    pub fn published() -> Self {
        Self {
            per_endpoint: Some(Bucket { burst: 100, per_second: 100 }),
            per_issue: vec![
                Window { count: 20, within: Duration::from_secs(2) },
                Window { count: 100, within: Duration::from_secs(30) },
            ],
            quota: None,
        }
    }
}

/// What the headers of an answer say about the limits.
#[derive(Clone, Debug, Default)]
pub(super) struct Standing {
    /// `X-RateLimit-Limit` and `-Remaining`.
    pub rate: Option<(usize, usize)>,
    /// `X-RateLimit-NearLimit`, which is about quotas only.
    pub near_limit: Option<bool>,
}

/// Why, and for how long, a call is refused.
pub(super) struct Refusal {
    pub reason: Reason,
    pub wait: Duration,
    pub limit: usize,
}

/// How much of the limits is used.
#[derive(Default)]
pub(super) struct Usage {
    buckets: HashMap<Endpoint, (f64, Instant)>,
    writes: HashMap<String, VecDeque<Instant>>,
    points: VecDeque<Instant>,
}

impl Usage {
    /// Counts one call; `written` is the id of the issue that it would change.
    pub(super) fn admit(
        &mut self,
        limits: &Limits,
        endpoint: Endpoint,
        written: Option<&str>,
    ) -> Result<Standing, Refusal> {
        let now = Instant::now();
        let mut standing = Standing::default();
        if let Some(quota) = limits.quota {
            take(&mut self.points, &[quota], now, Reason::QuotaTenant)?;
            let left = quota.count.saturating_sub(self.points.len());
            standing.near_limit = Some(left * 5 < quota.count);
            standing.rate = Some((quota.count, left));
        }
        if let Some(bucket) = limits.per_endpoint {
            let left = self.take_token(bucket, endpoint, now)?;
            standing.rate = Some((bucket.per_second as usize, left));
        }
        if let (Some(issue), false) = (written, limits.per_issue.is_empty()) {
            let writes = self.writes.entry(issue.to_owned()).or_default();
            take(writes, &limits.per_issue, now, Reason::PerIssue)?;
        }
        Ok(standing)
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "tokens are few")]
    fn take_token(
        &mut self,
        bucket: Bucket,
        endpoint: Endpoint,
        now: Instant,
    ) -> Result<usize, Refusal> {
        let rate = f64::from(bucket.per_second);
        let (tokens, last) = self.buckets.entry(endpoint).or_insert((f64::from(bucket.burst), now));
        let grown = *tokens + now.duration_since(*last).as_secs_f64() * rate;
        (*tokens, *last) = (grown.min(f64::from(bucket.burst)), now);
        if *tokens < 1.0 {
            let wait = Duration::from_secs_f64((1.0 - *tokens) / rate.max(0.001));
            return Err(Refusal { reason: Reason::Burst, wait, limit: bucket.per_second as usize });
        }
        *tokens -= 1.0;
        Ok(*tokens as usize)
    }
}

/// Enters `now` unless a window is full.
fn take(
    times: &mut VecDeque<Instant>,
    windows: &[Window],
    now: Instant,
    reason: Reason,
) -> Result<(), Refusal> {
    let longest = windows.iter().map(|window| window.within).max().unwrap_or_default();
    while times.front().is_some_and(|time| now.duration_since(*time) >= longest) {
        times.pop_front();
    }
    for window in windows {
        // The oldest of the newest `count`: when it leaves the window, there is room again.
        let oldest = times.len().checked_sub(window.count).and_then(|place| times.get(place));
        let Some(age) = oldest.map(|time| now.duration_since(*time)) else { continue };
        if let Some(wait) = window.within.checked_sub(age).filter(|wait| !wait.is_zero()) {
            return Err(Refusal { reason, wait, limit: window.count });
        }
    }
    times.push_back(now);
    Ok(())
}
