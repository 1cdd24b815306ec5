//! What systemd is told (`sd_notify(3)`), where it has started us: that we are ready, that we stop,
//! and by its watchdog that what was accepted is passed on. Without `NOTIFY_SOCKET` nothing is said.
//!
//! The watchdog is silent when a restart would help: the runtime does not come to it, or records wait
//! and nothing happens to them, although the store (or, at a relay, the look at Redis) is not known
//! to fail. A store that is away is no reason: the spool takes records meanwhile, and a restart
//! would only refuse them.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use faultline_actors::pipeline::consumer::{Consumer, Progress};
use sd_notify::NotifyState;
use tokio::time::MissedTickBehavior;

/// Looks for progress in the time that systemd waits for a word.
const LOOKS: u32 = 4;

/// The listeners take in, and stages stand behind them; also after a reload.
pub fn ready() {
    tell(&[NotifyState::Ready, NotifyState::Status("")]);
}

/// The settings are being read again; [`ready`] ends it.
pub fn reloading() {
    // systemd wants to know since when, to tell one reload from another.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "systemd cannot be told of a reload"),
    }
}

/// Nothing is taken in any more.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Says again and again that `consumer` comes on, as long as it does. Ends at once where systemd
/// does not watch.
pub(crate) async fn watch<C: Consumer>(consumer: Arc<C>) {
    let Some(patience) = sd_notify::watchdog_enabled() else { return };
    let mut looks = tokio::time::interval((patience / LOOKS).max(Duration::from_millis(1)));
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut watchdog = Watchdog::default();
    loop {
        looks.tick().await;
        let now = Instant::now();
        match watchdog.look(consumer.progress(), now) {
            Found::Well => tell(&[NotifyState::Watchdog]),
            Found::WellAgain => tell(&[NotifyState::Watchdog, NotifyState::Status("")]),
            Found::Stuck { since } => {
                let seconds = (now - since).as_secs();
                let status = format!("records wait, and nothing happens: for {seconds} s");
                tracing::error!(seconds, "records wait, and nothing happens to them");
                tell(&[NotifyState::Status(&status)]);
            }
        }
    }
}

/// Compares what it finds with what it found before.
#[derive(Debug, Default)]
struct Watchdog {
    /// At the last look.
    last: Option<Progress>,
    stuck_since: Option<Instant>,
}

#[derive(Debug, PartialEq, Eq)]
enum Found {
    Well,
    WellAgain,
    Stuck { since: Instant },
}

impl Watchdog {
    fn look(&mut self, progress: Progress, now: Instant) -> Found {
        // What was not due yet at the last look has had no time.
        let was_due = self
            .last
            .replace(progress)
            .is_some_and(|last| last.is_expected && last.steps == progress.steps);
        if progress.is_expected && was_due {
            return Found::Stuck { since: *self.stuck_since.get_or_insert(now) };
        }
        match self.stuck_since.take() {
            Some(_) => Found::WellAgain,
            None => Found::Well,
        }
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return;
    }
    // The socket holds few messages: who reads them may be busy, and nobody else is to wait for that.
    if let Err(error) = tokio::task::block_in_place(|| sd_notify::notify(states)) {
        tracing::warn!(%error, "systemd cannot be told");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(steps: u64, is_expected: bool) -> Progress {
        Progress { steps, is_expected }
    }

    #[test]
    fn silent_only_while_steps_are_due_and_none_is_made() {
        let mut watchdog = Watchdog::default();
        let start = Instant::now();
        let mut look =
            |progress, seconds| watchdog.look(progress, start + Duration::from_secs(seconds));
        assert_eq!(look(at(0, true), 0), Found::Well, "there was no look before");
        assert_eq!(look(at(0, false), 1), Found::Well, "there is nothing to do");
        assert_eq!(look(at(1, true), 2), Found::Well);
        let since = start + Duration::from_secs(3);
        assert_eq!(look(at(1, true), 3), Found::Stuck { since });
        assert_eq!(look(at(1, true), 4), Found::Stuck { since });
        assert_eq!(look(at(2, true), 5), Found::WellAgain);
        assert_eq!(look(at(3, true), 6), Found::Well);
        let since = start + Duration::from_secs(7);
        assert_eq!(look(at(3, true), 7), Found::Stuck { since });
        assert_eq!(look(at(3, false), 8), Found::WellAgain, "it is kept from it by others");
        assert_eq!(look(at(3, true), 9), Found::Well, "it has only come in");
        let since = start + Duration::from_secs(10);
        assert_eq!(look(at(3, true), 10), Found::Stuck { since });
    }
}
