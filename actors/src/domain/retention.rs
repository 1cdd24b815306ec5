//! Retention: what is kept for how long, and what goes, in which order, at a moment.

use std::{collections::BTreeMap, time::Duration};

use jiff::{ToSpan, civil::Date};

use super::time::{DAY, HOUR, MIN, Micros, micros, start_of};

/// Rows that go by their age. Events are not among them: they go by whole days.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Aged {
    /// Jobs that were done. Those that died, or were discarded, say what must not be done again.
    CompletedJobs,
    Rejected,
    Notifications,
    MetricSnapshots,
    /// The program's own errors.
    ErrorLogs,
    /// Alerts that were resolved.
    Alerts,
    FaultHours,
    /// But for lessons about shapes, which are in force.
    AuditTrail,
}

impl Aged {
    /// In the order in which they go.
    pub const ALL: [Self; 8] = [
        Self::CompletedJobs,
        Self::Rejected,
        Self::Notifications,
        Self::MetricSnapshots,
        Self::ErrorLogs,
        Self::Alerts,
        Self::FaultHours,
        Self::AuditTrail,
    ];

    /// The name of the setting, and in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CompletedJobs => "completed_jobs",
            Self::Rejected => "rejected",
            Self::Notifications => "notifications",
            Self::MetricSnapshots => "metric_snapshots",
            Self::ErrorLogs => "error_logs",
            Self::Alerts => "alerts",
            Self::FaultHours => "fault_hours",
            Self::AuditTrail => "audit_trail",
        }
    }

    /// Whether it tells of the hub itself. All else tells of what came in and became of it, and stays
    /// where a clock is wrong: see [`seen_now`].
    #[must_use]
    pub const fn is_of_the_hub(self) -> bool {
        matches!(self, Self::Notifications | Self::MetricSnapshots | Self::ErrorLogs)
    }

    /// What is older than this goes. Hours of faults are many and have no index by time: they go
    /// once a day.
    #[must_use]
    pub fn before(self, keep: Duration, now: Micros) -> Micros {
        let step = match self {
            Self::FaultHours => DAY,
            _ => 1,
        };
        start_of(step, now).saturating_sub(micros(keep)).max(MIN)
    }

    /// Whether there may be something to do that was not done when `last` was the moment before
    /// which everything went.
    #[must_use]
    pub fn is_due(self, last: Option<Micros>, before: Micros) -> bool {
        match self {
            Self::FaultHours => last.is_none_or(|last| start_of(HOUR, last) < before),
            _ => true,
        }
    }
}

/// The day, in UTC, of a moment.
#[must_use]
pub fn day_of(moment: Micros) -> Date {
    let at = jiff::Timestamp::from_microsecond(moment).unwrap_or_default();
    at.to_zoned(jiff::tz::TimeZone::UTC).date()
}

/// The first moment of a day, and the one behind its last.
#[must_use]
pub fn moments_of(day: Date) -> (Micros, Micros) {
    let start = |date: Date| {
        let at = date.to_zoned(jiff::tz::TimeZone::UTC);
        at.map_or(0, |at| at.timestamp().as_microsecond())
    };
    (start(day), start(day) + DAY)
}

/// The oldest day that stays: all of its events are at most so old, or it is partly so.
#[must_use]
pub fn oldest_kept(keep: Duration, now: Micros) -> Date {
    day_of(now.saturating_sub(micros(keep)).max(MIN))
}

/// When a day goes, where events are kept for so long.
#[must_use]
pub fn goes_at(day: Date, keep: Duration) -> Micros {
    moments_of(day).1.saturating_add(micros(keep))
}

/// Which of `days` go at `now`, the oldest first: those that are wholly older than `keep`, but for
/// those that were brought back `until` a later moment. With `keep` zero none goes.
#[must_use]
pub fn days_to_drop(
    days: &[Date],
    restored: &BTreeMap<Date, Micros>,
    keep: Duration,
    now: Micros,
) -> Vec<Date> {
    if keep.is_zero() {
        return Vec::new();
    }
    let is_due = |day: &&Date| {
        now >= goes_at(**day, keep) && restored.get(*day).is_none_or(|until| *until <= now)
    };
    let mut due: Vec<Date> = days.iter().filter(is_due).copied().collect();
    due.sort_unstable();
    due
}

/// The present, as far as the days that have events bear it out: a clock that is wrong, as on a
/// machine that boots a year ahead, must not have all events go, nor what became of them. So it is at
/// most the end of the newest day; and what is stored by such a clock is a day like that itself, so it
/// is at most a day behind the one before it as well.
#[must_use]
pub fn seen_now(days: &[Date], clock: Micros) -> Micros {
    let mut ends: Vec<Micros> = days.iter().map(|day| moments_of(*day).1).collect();
    ends.sort_unstable();
    let seen = match *ends.as_slice() {
        [.., before, newest] => newest.min(before.saturating_add(DAY)),
        [only] => only,
        [] => return clock,
    };
    clock.min(seen)
}

/// The name of a day's archive; what came late is in further parts.
#[must_use]
pub fn file_name(day: Date, part: u32) -> String {
    match part {
        0 | 1 => format!("events-{day}.ndjson.zst"),
        part => format!("events-{day}.{part}.ndjson.zst"),
    }
}

/// The days from one to another, both included.
pub fn days_between(since: Date, until: Date) -> impl Iterator<Item = Date> {
    since.series(1.day()).take_while(move |day| *day <= until)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Micros = 1_795_316_400_000_000;

    fn date(text: &str) -> Date {
        text.parse().unwrap()
    }

    #[test]
    fn whole_days_go_when_their_last_moment_is_too_old() {
        let now = moments_of(date("2026-11-22")).0;
        let days = ["2026-10-24", "2026-10-22", "2026-10-23", "2026-11-22"].map(date);
        let keep = Duration::from_hours(30 * 24);
        let due = |now| days_to_drop(&days, &BTreeMap::new(), keep, now);
        assert_eq!(due(now), [date("2026-10-22")]);
        assert_eq!(due(now - 1), [] as [Date; 0]);
        assert_eq!(due(now + DAY), ["2026-10-22", "2026-10-23"].map(date));
        assert_eq!(days_to_drop(&days, &BTreeMap::new(), Duration::ZERO, now), []);
        assert_eq!(goes_at(date("2026-10-22"), keep), now);
        assert_eq!(oldest_kept(keep, now), date("2026-10-23"));
    }

    #[test]
    fn a_clock_that_is_ahead_has_nothing_go() {
        let days = ["2026-11-22", "2026-11-20", "2026-11-21"].map(date);
        let end = moments_of(date("2026-11-22")).1;
        let year = 365 * DAY;
        assert_eq!(seen_now(&days, end - 1), end - 1);
        assert_eq!(seen_now(&days, end + year), end);
        // What it has stored itself does not bear it out, the next day's does.
        let ahead = day_of(end + year);
        let one_ahead = [&days[..], &[ahead]].concat();
        assert_eq!(seen_now(&one_ahead, end + year + HOUR), end + DAY);
        let next = ahead.tomorrow().unwrap();
        let two_ahead = [&one_ahead[..], &[next]].concat();
        assert_eq!(seen_now(&two_ahead, moments_of(next).0), moments_of(next).0);
        assert_eq!(seen_now(&days[..1], end + year), end);
        assert_eq!(seen_now(&[], end), end);
    }

    #[test]
    fn what_was_brought_back_stays_for_its_time() {
        let day = date("2026-01-01");
        let restored = BTreeMap::from([(day, NOW)]);
        let due = |now| days_to_drop(&[day], &restored, Duration::from_hours(24), now);
        assert_eq!(due(NOW - 1), []);
        assert_eq!(due(NOW), [day]);
    }

    #[test]
    fn hours_of_faults_go_once_a_day() {
        let keep = Duration::from_hours(24);
        let before = Aged::FaultHours.before(keep, NOW);
        assert_eq!(before, Aged::FaultHours.before(keep, start_of(DAY, NOW)));
        assert!(Aged::FaultHours.is_due(None, before));
        assert!(!Aged::FaultHours.is_due(Some(before), before));
        assert!(Aged::FaultHours.is_due(Some(before), before + DAY));
        assert!(Aged::Rejected.is_due(Some(NOW), NOW));
    }

    #[test]
    fn archives_are_named_by_day() {
        assert_eq!(file_name(date("2026-01-02"), 1), "events-2026-01-02.ndjson.zst");
        assert_eq!(file_name(date("2026-01-02"), 2), "events-2026-01-02.2.ndjson.zst");
        let days: Vec<String> = days_between(date("2026-02-28"), date("2026-03-01"))
            .map(|day| day.to_string())
            .collect();
        assert_eq!(days, ["2026-02-28", "2026-03-01"]);
    }

    proptest! {
        #[test]
        fn no_event_that_is_young_enough_goes(age in 0..400_u64, keep in 1..400_u64, part in 0..DAY) {
            let day = day_of(NOW - i64::try_from(age).unwrap() * DAY);
            let received = moments_of(day).0 + part;
            let keep = Duration::from_hours(keep * 24);
            let due = days_to_drop(&[day], &BTreeMap::new(), keep, NOW);
            if NOW - received <= micros(keep) {
                prop_assert!(due.is_empty());
            }
        }
    }
}
