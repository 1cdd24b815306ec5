//! Silence: a source that usually sends, and does not.
//!
//! A source usually sends when it has for some time, without a pause that would be silence. So two
//! moments of each source are all that is remembered, and what pauses often is never told of.

use std::time::Duration;

use super::Settings;
use crate::domain::event::Source;

/// When a source sent, by a clock that nobody sets.
#[derive(Clone, Copy, Debug)]
struct Talk {
    /// Since when it has, without a long pause.
    began: Duration,
    last: Duration,
}

/// See the [module](self).
#[derive(Clone, Debug, Default)]
pub(super) struct Silence {
    received: Option<[u64; Source::COUNT]>,
    talks: [Option<Talk>; Source::COUNT],
}

impl Silence {
    /// Takes what each source has sent in all until now.
    pub(super) fn hear(
        &mut self,
        received: [u64; Source::COUNT],
        running: Duration,
        settings: &Settings,
    ) {
        // At first nobody knows when that was.
        let before = self.received.replace(received).unwrap_or(received);
        for (index, talk) in self.talks.iter_mut().enumerate() {
            if received[index] <= before[index] {
                continue;
            }
            let pause = settings.source_silent_after;
            *talk = match *talk {
                Some(Talk { began, last }) if running.saturating_sub(last) < pause => {
                    Some(Talk { began, last: running })
                }
                _ => Some(Talk { began: running, last: running }),
            };
        }
    }

    /// The sources that have sent nothing since the start: whether they usually do, nobody can know.
    /// None where nobody wants to.
    pub(super) fn unheard(&self, settings: &Settings) -> impl Iterator<Item = Source> {
        let is_wanted = !settings.source_silent_after.is_zero();
        let all = Source::ALL.into_iter().zip(&self.talks);
        all.filter_map(move |(source, talk)| (is_wanted && talk.is_none()).then_some(source))
    }

    /// The sources that are silent, and for how long.
    pub(super) fn silent(&self, running: Duration, settings: &Settings) -> Vec<(Source, Duration)> {
        if settings.source_silent_after.is_zero() {
            return Vec::new();
        }
        let silent = Source::ALL.into_iter().zip(&self.talks).filter_map(|(source, talk)| {
            let Talk { began, last } = (*talk)?;
            let silent = running.saturating_sub(last);
            let is_usual = last.saturating_sub(began) >= settings.source_usual_after;
            (is_usual && silent >= settings.source_silent_after).then_some((source, silent))
        });
        silent.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    fn settings() -> Settings {
        Settings {
            source_silent_after: 15 * MINUTE,
            source_usual_after: 60 * MINUTE,
            ..Settings::default()
        }
    }

    /// What is silent at the end, when errors come at these minutes and are looked at each minute.
    fn silent(talks: impl Fn(u32) -> bool, until: u32, settings: &Settings) -> Vec<(Source, u64)> {
        let mut silence = Silence::default();
        let mut received = [1_000; Source::COUNT];
        for minute in 0..=until {
            received[Source::Errors as usize] += u64::from(talks(minute));
            silence.hear(received, minute * MINUTE, settings);
        }
        let silent = silence.silent(until * MINUTE, settings);
        silent.into_iter().map(|(source, age)| (source, age.as_secs() / 60)).collect()
    }

    #[test]
    fn who_usually_sends_and_does_not_is_silent() {
        let settings = settings();
        let hour = |minute| (1..=61).contains(&minute);
        assert_eq!(silent(hour, 75, &settings), []);
        assert_eq!(silent(hour, 76, &settings), [(Source::Errors, 15)]);
        assert_eq!(silent(hour, 500, &settings), [(Source::Errors, 439)]);
        // It sends again.
        assert_eq!(silent(|minute| hour(minute) || minute == 90, 91, &settings), []);
    }

    #[test]
    fn who_never_sent_for_long_or_pauses_often_is_not() {
        let settings = settings();
        assert_eq!(silent(|_| false, 500, &settings), []);
        assert_eq!(silent(|minute| (1..=60).contains(&minute), 500, &settings), []);
        // Every 14 minutes is often enough, every 15 is not.
        assert_eq!(silent(|minute| minute % 14 == 1 && minute < 80, 90, &settings).len(), 1);
        assert_eq!(silent(|minute| minute % 15 == 1 && minute < 80, 500, &settings), []);
        let off = Settings { source_silent_after: Duration::ZERO, ..settings };
        assert_eq!(silent(|minute| minute < 100, 500, &off), []);
    }
}
