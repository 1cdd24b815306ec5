//! Quiet hours: when only what is urgent is told. The rest is told when they end, if it still holds.

use std::time::Duration;

use jiff::{ToSpan, civil::Time, tz::TimeZone};

use crate::domain::{rule::Class, time::Micros};

/// From one time of day to another, over midnight too, in a time zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuietHours {
    from: Time,
    until: Time,
    zone: TimeZone,
}

impl QuietHours {
    /// Reads `22:00-07:00` and the name of a zone such as `Europe/Berlin`; `None` where there are
    /// no such hours.
    ///
    /// # Errors
    /// Names the key, its value, and what would be right.
    pub fn parse(hours: &str, zone: &str) -> Result<Option<Self>, String> {
        let zone = TimeZone::get(zone).map_err(|_| {
            format!("quiet_zone = {zone:?}: a time zone is needed, such as \"Europe/Berlin\"")
        })?;
        if hours.is_empty() {
            return Ok(None);
        }
        let read = |text: &str| Time::strptime("%H:%M", text.trim()).ok();
        let times =
            hours.split_once('-').and_then(|(from, until)| Some((read(from)?, read(until)?)));
        let (from, until) = times.filter(|(from, until)| from != until).ok_or_else(|| {
            format!("quiet_hours = {hours:?}: two times of day are needed, such as \"22:00-07:00\"")
        })?;
        Ok(Some(Self { from, until, zone }))
    }

    /// When the quiet that `now` is in ends; `None` where it is not in one.
    #[must_use]
    pub fn end(&self, now: Micros) -> Option<Micros> {
        let now = jiff::Timestamp::from_microsecond(now).ok()?.to_zoned(self.zone.clone());
        let time = now.time();
        let is_quiet = if self.from < self.until {
            (self.from..self.until).contains(&time)
        } else {
            time >= self.from || time < self.until
        };
        if !is_quiet {
            return None;
        }
        let day = if time < self.until { now.date() } else { now.date().tomorrow().ok()? };
        let end = day.to_datetime(self.until).to_zoned(self.zone.clone()).ok()?;
        // Where clocks are set back over it, the end may lie behind: a minute later it is looked again.
        let end = if end > now { end } else { now.checked_add(1.minute()).ok()? };
        Some(end.timestamp().as_microsecond())
    }

    /// Whether alerts of this class wait for the end of quiet hours.
    #[must_use]
    pub const fn hold(class: Class) -> bool {
        matches!(class, Class::P2 | Class::P3)
    }

    /// How long something of this class must wait at `now`.
    #[must_use]
    pub fn wait(quiet: Option<&Self>, class: Class, now: Micros) -> Duration {
        let end = quiet.filter(|_| Self::hold(class)).and_then(|quiet| quiet.end(now));
        end.map_or(Duration::ZERO, |end| {
            Duration::from_micros(u64::try_from(end - now).unwrap_or_default())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Micros {
        text.parse().map(jiff::Timestamp::as_microsecond).unwrap()
    }

    fn hours(hours: &str, zone: &str) -> QuietHours {
        QuietHours::parse(hours, zone).unwrap().unwrap()
    }

    #[test]
    fn a_night_goes_over_midnight_and_by_the_zone() {
        let night = hours("22:00-07:00", "Europe/Berlin");
        // In winter Berlin is an hour ahead of UTC.
        for (moment, end) in [
            ("2026-11-22T20:59:59Z", None),
            ("2026-11-22T21:00:00Z", Some("2026-11-23T06:00:00Z")),
            ("2026-11-23T05:59:59Z", Some("2026-11-23T06:00:00Z")),
            ("2026-11-23T06:00:00Z", None),
            // In summer two.
            ("2026-07-01T20:30:00Z", Some("2026-07-02T05:00:00Z")),
        ] {
            assert_eq!(night.end(at(moment)), end.map(at), "{moment}");
        }
    }

    #[test]
    fn a_part_of_a_day_stays_in_it_and_clocks_that_are_set_do_not_matter() {
        let noon = hours("12:00-13:30", "UTC");
        assert_eq!(noon.end(at("2026-11-22T12:10:00Z")), Some(at("2026-11-22T13:30:00Z")));
        assert_eq!(noon.end(at("2026-11-22T11:59:00Z")), None);
        // 02:30 does not exist in Berlin on 29 March 2026: 03:30 stands for it.
        let gap = hours("01:00-02:30", "Europe/Berlin");
        assert_eq!(gap.end(at("2026-03-29T00:30:00Z")), Some(at("2026-03-29T01:30:00Z")));
        // 02:30 exists twice on 25 October 2026.
        let twice = hours("01:00-02:30", "Europe/Berlin");
        assert!(twice.end(at("2026-10-25T01:10:00Z")).unwrap() > at("2026-10-25T01:10:00Z"));
    }

    #[test]
    fn only_what_is_not_urgent_waits() {
        let noon = hours("12:00-13:00", "UTC");
        let now = at("2026-11-22T12:59:00Z");
        let wait = |class| QuietHours::wait(Some(&noon), class, now);
        assert_eq!([wait(Class::P0), wait(Class::P1)], [Duration::ZERO; 2]);
        assert_eq!([wait(Class::P2), wait(Class::P3)], [Duration::from_mins(1); 2]);
        assert_eq!(QuietHours::wait(None, Class::P3, now), Duration::ZERO);
    }

    #[test]
    fn what_are_no_hours_is_refused() {
        for text in ["22:00", "22-7", "25:00-07:00", "07:00-07:00", "night"] {
            let problem = QuietHours::parse(text, "UTC").unwrap_err();
            assert!(problem.starts_with(&format!("quiet_hours = {text:?}: ")), "{problem}");
        }
        assert!(QuietHours::parse("", "Mars/Olympus").unwrap_err().starts_with("quiet_zone = "));
        assert_eq!(QuietHours::parse("", "UTC"), Ok(None));
    }
}
