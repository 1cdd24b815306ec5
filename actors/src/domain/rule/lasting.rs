//! Durations that may be days or weeks long: `90s`, `1h 30m`, `3d`, `2w`.

use std::time::Duration;

use jiff::{SignedDuration, Span, SpanRelativeTo};

/// Reads `text`; a day has 24 hours.
///
/// # Errors
/// Says what is possible.
pub fn parse(text: &str) -> Result<Duration, String> {
    let needed = || format!("{text:?} is no duration; for example \"90s\", \"10m\" or \"3d\"");
    let span: Span = text.parse().map_err(|_| needed())?;
    let duration: SignedDuration =
        span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| needed())?;
    Duration::try_from(duration).map_err(|_| needed())
}

/// As people write it.
#[must_use]
pub fn shown(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];
    let mut rest = seconds;
    let mut parts = Vec::new();
    for (unit, length) in units {
        if rest >= length {
            parts.push(format!("{}{unit}", rest / length));
            rest %= length;
        }
    }
    if duration.subsec_millis() > 0 {
        parts.push(format!("{}ms", duration.subsec_millis()));
    }
    if parts.is_empty() { "0s".to_owned() } else { parts.join(" ") }
}

/// For a setting that must be there.
pub mod required {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// # Errors
    /// When the text is no duration.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        super::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }

    /// # Errors
    /// None of its own.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&super::shown(*duration))
    }
}

/// For a setting that may be missing.
pub mod optional {
    use std::time::Duration;

    use serde::{Deserializer, Serializer};

    /// # Errors
    /// When the text is no duration.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        super::required::deserialize(deserializer).map(Some)
    }

    /// # Errors
    /// None of its own.
    pub fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => super::required::serialize(duration, serializer),
            None => serializer.serialize_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn days_and_weeks_are_durations() {
        const DAY: u64 = 86_400;
        for (text, seconds) in
            [("90s", 90), ("1h 30m", 5_400), ("3d", 3 * DAY), ("2w", 14 * DAY), ("0s", 0)]
        {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "soon", "-5s", "1 month", "10", "99999999999d"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_can_be_read(millis in 0..1_000_000_000_000_u64) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse(&shown(duration)), Ok(duration));
        }
    }
}
