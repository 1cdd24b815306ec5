//! Section `[health]`: from when on something is not well, and from when on people are told.

use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

use crate::domain::rule::lasting::{self, shown};

/// From when on something is not well, and from when on people are told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How often everything is looked at, also when nobody asks.
    #[serde(with = "lasting::required")]
    pub every: Duration,
    /// A component that is not well is told of after so long.
    #[serde(with = "lasting::required")]
    pub tell_after: Duration,
    /// So many jobs, or messages that should have been stored, are too many.
    pub pending_degraded: u64,
    /// A message should have been stored after so long.
    #[serde(with = "lasting::required")]
    pub late_after: Duration,
    pub memory_degraded: ByteSize,
    /// The runtime's timers fire so late.
    #[serde(with = "lasting::required")]
    pub lag_degraded: Duration,
    /// A share of `spool.max_bytes` …
    pub spool_degraded: f64,
    /// … and of the disk that the spool is on; 1 for never.
    pub spool_disk: f64,
    #[serde(with = "lasting::required")]
    pub partner_down_after: Duration,
    pub failures_in_a_row: u64,
    /// So much waits …
    pub queue_deep: u64,
    /// … for so long.
    #[serde(with = "lasting::required")]
    pub queue_for: Duration,
    /// A stage with input makes no progress for so long.
    #[serde(with = "lasting::required")]
    pub stuck_after: Duration,
    /// A source that usually sends has not for so long; 0 for never.
    #[serde(with = "lasting::required")]
    pub source_silent_after: Duration,
    /// One that has sent for so long, without a pause as long as that, usually sends.
    #[serde(with = "lasting::required")]
    pub source_usual_after: Duration,
    /// The clock was set by so much at once.
    #[serde(with = "lasting::required")]
    pub clock_jump: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            every: Duration::from_secs(10),
            tell_after: Duration::from_secs(30),
            pending_degraded: 1_000,
            late_after: Duration::from_secs(30),
            memory_degraded: ByteSize::gib(1),
            lag_degraded: Duration::from_secs(1),
            spool_degraded: 0.8,
            spool_disk: 0.8,
            partner_down_after: Duration::from_mins(1),
            failures_in_a_row: 5,
            queue_deep: 1_000,
            queue_for: Duration::from_mins(5),
            stuck_after: Duration::from_mins(1),
            source_silent_after: Duration::from_mins(15),
            source_usual_after: Duration::from_hours(1),
            clock_jump: Duration::from_secs(10),
        }
    }
}

impl Settings {
    /// # Errors
    /// Names the key, and what would be right.
    pub fn validate(&self) -> Result<(), String> {
        if self.every < Duration::from_millis(100) || self.every > Duration::from_hours(1) {
            let every = shown(self.every);
            return Err(format!("every = \"{every}\": between 100ms and 1h is possible"));
        }
        for (key, share) in
            [("spool_degraded", self.spool_degraded), ("spool_disk", self.spool_disk)]
        {
            if !(share > 0.0 && share <= 1.0) {
                return Err(format!("{key} = {share}: a share is needed, above 0 and at most 1"));
            }
        }
        for (key, count) in [
            ("pending_degraded", self.pending_degraded),
            ("failures_in_a_row", self.failures_in_a_row),
            ("queue_deep", self.queue_deep),
        ] {
            if count == 0 {
                return Err(format!("{key} = 0: at least 1 is needed"));
            }
        }
        if self.memory_degraded.as_u64() == 0 {
            return Err("memory_degraded = \"0 B\": more than nothing is needed".to_owned());
        }
        for (key, duration) in [
            ("late_after", self.late_after),
            ("lag_degraded", self.lag_degraded),
            ("partner_down_after", self.partner_down_after),
            ("stuck_after", self.stuck_after),
        ] {
            if duration.is_zero() {
                return Err(format!("{key} = \"0s\": more than zero is needed"));
            }
        }
        if self.clock_jump < Duration::from_secs(1) {
            let jump = shown(self.clock_jump);
            return Err(format!("clock_jump = \"{jump}\": at least 1s is needed"));
        }
        if self.source_usual_after < self.source_silent_after {
            let (usual, silent) = (shown(self.source_usual_after), shown(self.source_silent_after));
            return Err(format!(
                "source_usual_after = \"{usual}\": at least source_silent_after (\"{silent}\") is \
                 needed"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_impossible_is_named() {
        assert_eq!(Settings::default().validate(), Ok(()));
        let of = |change: fn(&mut Settings)| {
            let mut settings = Settings::default();
            change(&mut settings);
            settings.validate().unwrap_err()
        };
        for (problem, key) in [
            (of(|it| it.every = Duration::ZERO), "every = \"0s\": between"),
            (of(|it| it.every = Duration::from_hours(2)), "every = \"2h\": between"),
            (of(|it| it.spool_degraded = 1.1), "spool_degraded = 1.1: a share"),
            (of(|it| it.spool_disk = 0.0), "spool_disk = 0: a share"),
            (of(|it| it.spool_disk = f64::NAN), "spool_disk = NaN: a share"),
            (of(|it| it.pending_degraded = 0), "pending_degraded = 0"),
            (of(|it| it.failures_in_a_row = 0), "failures_in_a_row = 0"),
            (of(|it| it.queue_deep = 0), "queue_deep = 0"),
            (of(|it| it.memory_degraded = ByteSize(0)), "memory_degraded = \"0 B\""),
            (of(|it| it.late_after = Duration::ZERO), "late_after = \"0s\""),
            (of(|it| it.lag_degraded = Duration::ZERO), "lag_degraded = \"0s\""),
            (of(|it| it.partner_down_after = Duration::ZERO), "partner_down_after = \"0s\""),
            (of(|it| it.stuck_after = Duration::ZERO), "stuck_after = \"0s\""),
            (of(|it| it.clock_jump = Duration::from_millis(1)), "clock_jump = \"1ms\""),
            (
                of(|it| it.source_usual_after = Duration::from_mins(1)),
                "source_usual_after = \"1m\"",
            ),
        ] {
            assert!(problem.starts_with(key), "{problem}");
        }
    }
}
