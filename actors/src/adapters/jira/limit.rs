//! What a 429's headers say: how long to wait, and what has to.
//!
//! Cloud: "Rate limiting" (<https://developer.atlassian.com/cloud/jira/platform/rate-limiting/>):
//! `Retry-After` in seconds, `X-RateLimit-Reset` as an ISO 8601 time, and `RateLimit-Reason`. Data
//! Center: "Adjusting your code for rate limiting"
//! (<https://confluence.atlassian.com/adminjiraserver/adjusting-your-code-for-rate-limiting-987143384.html>):
//! `retry-after` in seconds, for all of an account's requests.

use std::time::Duration;

use reqwest::header::HeaderMap;

use super::failure::Limit;
use crate::domain::time::{Micros, parse_rfc3339};

/// Where the answer does not say how long.
pub(super) const DEFAULT_WAIT: Duration = Duration::from_secs(5);
/// A Data Center says 0 while there are tokens left.
const MIN_WAIT: Duration = Duration::from_secs(1);
/// Quotas are by the hour: nothing has to wait longer, unless a clock is wrong.
const MAX_WAIT: Duration = Duration::from_hours(1);

pub(super) fn scope(headers: &HeaderMap) -> Limit {
    match text(headers, "ratelimit-reason") {
        Some("jira-per-issue-on-write") => Limit::Ticket,
        Some("jira-burst-based") => Limit::Endpoint,
        // `jira-quota-tenant-based`, `jira-quota-global-based`, a Data Center, and what may come.
        _ => Limit::Everything,
    }
}

/// The wait that an answer asks for.
pub(super) fn wait(headers: &HeaderMap, now: Micros) -> Option<Duration> {
    let wait = text(headers, "retry-after").and_then(|text| {
        text.parse().map(Duration::from_secs).ok().or_else(|| until(http_date(text)?, now))
    });
    let reset = || text(headers, "x-ratelimit-reset").and_then(|text| until(moment(text)?, now));
    Some(wait.or_else(reset)?.clamp(MIN_WAIT, MAX_WAIT))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

fn until(moment: Micros, now: Micros) -> Option<Duration> {
    // A moment that has passed is a wait of nothing.
    Some(Duration::from_micros(u64::try_from(moment.checked_sub(now)?).unwrap_or(0)))
}

/// `Sun, 22 Nov 2026 03:00:00 GMT`
fn http_date(text: &str) -> Option<Micros> {
    let parsed = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(parsed.timestamp().as_microsecond())
}

/// `2026-11-22T03:00Z` (without seconds, as Atlassian writes it), with seconds, or Unix seconds.
fn moment(text: &str) -> Option<Micros> {
    if let Ok(seconds) = text.parse::<i64>() {
        return seconds.checked_mul(1_000_000);
    }
    let with_seconds = || parse_rfc3339(format!("{}:00Z", text.strip_suffix('Z')?).as_bytes());
    parse_rfc3339(text.as_bytes()).or_else(with_seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Micros = 1_795_316_400_000_000; // 2026-11-22T03:00:00Z

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn the_reason_says_what_has_to_wait() {
        for (reason, expected) in [
            ("jira-per-issue-on-write", Limit::Ticket),
            ("jira-burst-based", Limit::Endpoint),
            ("jira-quota-tenant-based", Limit::Everything),
            ("jira-quota-global-based", Limit::Everything),
            ("jira-cost-based", Limit::Everything),
        ] {
            assert_eq!(scope(&headers(&[("RateLimit-Reason", reason)])), expected);
        }
        assert_eq!(scope(&HeaderMap::new()), Limit::Everything);
    }

    #[test]
    fn the_wait_is_read_however_it_is_written() {
        for (name, value, seconds) in [
            ("Retry-After", "7", Some(7)),
            ("Retry-After", "0", Some(1)),
            ("Retry-After", "999999999999", Some(3600)),
            ("Retry-After", "Sun, 22 Nov 2026 03:00:30 GMT", Some(30)),
            ("Retry-After", "Sun, 22 Nov 2026 02:00:00 GMT", Some(1)),
            ("Retry-After", "soon", None),
            ("X-RateLimit-Reset", "2026-11-22T03:01Z", Some(60)),
            ("X-RateLimit-Reset", "2026-11-22T03:00:09Z", Some(9)),
            ("X-RateLimit-Reset", "1795316405", Some(5)),
            ("X-RateLimit-Reset", "9223372036854775807", None),
            ("X-RateLimit-Limit", "100", None),
        ] {
            let found = wait(&headers(&[(name, value)]), NOW);
            assert_eq!(found, seconds.map(Duration::from_secs), "{name}: {value}");
        }
        let both = [("Retry-After", "2"), ("X-RateLimit-Reset", "2026-11-22T03:01Z")];
        assert_eq!(wait(&headers(&both), NOW), Some(Duration::from_secs(2)));
    }
}
