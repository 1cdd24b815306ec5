//! Timestamps: microseconds since the Unix epoch, and reading them from RFC 3339 text.

use std::time::Duration;

/// Microseconds since 1970-01-01T00:00:00Z. Always within [`MIN`]..=[`MAX`], so that every store
/// and every client can hold it.
pub type Micros = i64;

/// 0001-01-01T00:00:00Z
pub const MIN: Micros = -62_135_596_800_000_000;
/// 9999-12-30T22:00:00.999999Z: the last moment that is in the year 9999 in every time zone.
pub const MAX: Micros = 253_402_207_200_999_999;

const SECOND: i64 = 1_000_000;
/// An hour and a day in microseconds.
pub const HOUR: Micros = 3_600 * SECOND;
pub const DAY: Micros = 24 * HOUR;

/// `micros` where it is a time that every store can hold.
#[must_use]
pub fn in_range(micros: Micros) -> Option<Micros> {
    (MIN..=MAX).contains(&micros).then_some(micros)
}

/// A duration in microseconds, as far as they can be counted.
#[must_use]
pub fn micros(duration: Duration) -> Micros {
    Micros::try_from(duration.as_micros()).unwrap_or(Micros::MAX)
}

/// So long after a moment; [`MAX`] at most.
#[must_use]
pub fn later(moment: Micros, duration: Duration) -> Micros {
    moment.saturating_add(micros(duration)).min(MAX)
}

/// When the `step` (an hour, a day: microseconds) of a moment began, in UTC.
#[must_use]
pub fn start_of(step: Micros, moment: Micros) -> Micros {
    moment.div_euclid(step) * step
}

/// The moment as RFC 3339 text; empty for what is none.
#[must_use]
pub fn rfc3339(micros: Micros) -> String {
    jiff::Timestamp::from_microsecond(micros).map_or_else(|_| String::new(), |at| at.to_string())
}

/// Days from the epoch to a civil date, after Howard Hinnant, "chrono-compatible low-level date
/// algorithms" (`days_from_civil`).
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// The value of exactly the digits in `text`.
fn digits(text: &[u8]) -> Option<i64> {
    let mut value = 0;
    for byte in text {
        if !byte.is_ascii_digit() {
            return None;
        }
        value = value * 10 + i64::from(byte - b'0');
    }
    Some(value)
}

/// Reads an RFC 3339 date-time: any number of fraction digits (below a microsecond they are cut
/// off), `Z` or a numeric offset, a leap second as the last microsecond of its minute. Logplex's
/// own `Z+00:00` is accepted. Anything else, or a date that does not exist, is `None`.
#[must_use]
pub fn parse_rfc3339(text: &[u8]) -> Option<Micros> {
    let (minute, rest) = text.split_first_chunk()?;
    within_minute(parse_minute(minute)?, rest)
}

/// `2026-11-22T03:00:`
type Minute = [u8; 17];

/// Reads timestamps that follow each other: most begin with the same minute as the one before.
#[derive(Clone, Debug, Default)]
pub struct Timestamps {
    known: Option<(Minute, i64)>,
}

impl Timestamps {
    /// Like [`parse_rfc3339`].
    pub fn parse(&mut self, text: &[u8]) -> Option<Micros> {
        let (minute, rest) = text.split_first_chunk()?;
        let seconds = match &self.known {
            Some((known, seconds)) if known == minute => *seconds,
            _ => {
                let seconds = parse_minute(minute)?;
                self.known = Some((*minute, seconds));
                seconds
            }
        };
        within_minute(seconds, rest)
    }
}

/// Seconds since 1970 of a minute's start, taking it for UTC.
fn parse_minute(text: &Minute) -> Option<i64> {
    let separators_fit = text[4] == b'-'
        && text[7] == b'-'
        && matches!(text[10], b'T' | b't' | b' ')
        && text[13] == b':'
        && text[16] == b':';
    if !separators_fit {
        return None;
    }
    let year = digits(&text[0..4])?;
    let month = digits(&text[5..7])?;
    let day = digits(&text[8..10])?;
    let hour = digits(&text[11..13])?;
    let minute = digits(&text[14..16])?;
    let exists = (1..=12).contains(&month)
        && (1..=days_in_month(year, month)).contains(&day)
        && hour <= 23
        && minute <= 59;
    exists.then(|| days_from_civil(year, month, day) * 86_400 + hour * 3_600 + minute * 60)
}

/// Reads the seconds, their fraction and the zone.
fn within_minute(minute: i64, text: &[u8]) -> Option<Micros> {
    let (second, rest) = text.split_at_checked(2)?;
    let second = digits(second)?;
    let (fraction, zone) = parse_fraction(rest)?;
    let offset = parse_offset(zone)?;
    let micros = match second {
        0..=59 => second * SECOND + fraction,
        60 => 60 * SECOND - 1,
        _ => return None,
    };
    in_range((minute - offset) * SECOND + micros)
}

/// `.123` (optional) in microseconds, and what follows it.
fn parse_fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let Some(after_dot) = text.strip_prefix(b".") else {
        return Some((0, text));
    };
    let length = after_dot.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if length == 0 {
        return None;
    }
    let used = length.min(6);
    let mut micros = digits(&after_dot[..used])?;
    for _ in used..6 {
        micros *= 10;
    }
    Some((micros, &after_dot[length..]))
}

/// `Z`, `±hh:mm` or both; in seconds east of UTC.
fn parse_offset(text: &[u8]) -> Option<i64> {
    let numeric = match text {
        b"Z" | b"z" | b"+00:00" => return Some(0),
        [b'Z' | b'z', rest @ ..] => rest,
        _ => text,
    };
    let [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] = numeric else {
        return None;
    };
    let (hours, minutes) = (digits(&[*h1, *h2])?, digits(&[*m1, *m2])?);
    if hours > 23 || minutes > 59 {
        return None;
    }
    let seconds = hours * 3_600 + minutes * 60;
    Some(if *sign == b'-' { -seconds } else { seconds })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn no_wait_leads_beyond_the_last_moment() {
        assert_eq!(later(7, Duration::from_micros(3)), 10);
        assert_eq!(later(7, Duration::MAX), MAX);
    }

    #[test]
    fn reads_what_logplex_writes() {
        let expected = 1_795_316_400_000_000;
        assert_eq!(parse_rfc3339(b"2026-11-22T03:00:00+00:00"), Some(expected));
        assert_eq!(parse_rfc3339(b"2026-11-22T03:00:00Z"), Some(expected));
        assert_eq!(parse_rfc3339(b"2026-11-22T03:00:00Z+00:00"), Some(expected));
        assert_eq!(parse_rfc3339(b"2026-11-22T05:30:00+02:30"), Some(expected));
        assert_eq!(parse_rfc3339(b"2026-11-22T03:00:00.1+00:00"), Some(expected + 100_000));
        assert_eq!(parse_rfc3339(b"2026-11-22T03:00:00.1234567890Z"), Some(expected + 123_456));
        assert_eq!(parse_rfc3339(b"1969-12-31T23:59:59.999Z"), Some(-1_000));
        assert_eq!(parse_rfc3339(b"2016-12-31T23:59:60Z"), Some(1_483_228_799_999_999));
    }

    #[test]
    fn refuses_dates_that_do_not_exist() {
        for text in [
            "not-a-time",
            "9999-99-99T99:99:99Z",
            "2026-02-30T00:00:00Z",
            "0000-01-01T00:00:00Z",
            "2026-11-22T03:00:00+99:99",
            "2026-11-22T03:00:00",
            "2026-11-22T03:00:00.Z",
            "+292277026596-12-04T15:30:07Z",
            "",
        ] {
            assert_eq!(parse_rfc3339(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_jiff(micros in MIN..MAX) {
            let timestamp = jiff::Timestamp::from_microsecond(micros).unwrap();
            prop_assert_eq!(parse_rfc3339(timestamp.to_string().as_bytes()), Some(micros));
        }

        #[test]
        fn a_remembered_minute_changes_nothing(texts in proptest::collection::vec("20[0-9]{2}-1[0-9]-[0-3][0-9]T0[0-9]:00:[0-6][0-9]Z", 1..8)) {
            let mut timestamps = Timestamps::default();
            for text in texts.iter().chain(&texts) {
                prop_assert_eq!(timestamps.parse(text.as_bytes()), parse_rfc3339(text.as_bytes()));
            }
        }

        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = parse_rfc3339(&bytes);
        }
    }
}
