//! `faultline replay --archive`: puts the events of archives back into the store.

use std::{
    io::{IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Context;
use faultline_actors::{
    adapters::clock,
    domain::{rule::lasting, time},
    retention::{restore, stay_until},
};

use crate::{cli::say, config::Config, open_store};

/// How often a terminal is shown how far it is.
const SHOWN: Duration = Duration::from_millis(500);

/// Restores the archives one after another; what was restored before is left as it is.
///
/// # Errors
/// When one is not whole, or the store does not take it; those before it are back.
pub(crate) async fn run(
    archives: &[PathBuf],
    keep: Duration,
    config: &Config,
) -> anyhow::Result<ExitCode> {
    let store = open_store(&config.store)?;
    for path in archives {
        let (mut shown, is_terminal) = (Instant::now(), std::io::stderr().is_terminal());
        let progress = |back: u64, all: u64| {
            if is_terminal && shown.elapsed() > SHOWN {
                shown = Instant::now();
                let _ = write!(std::io::stderr(), "\r{back} of {all} events");
            }
        };
        let restored = restore::restore(&*store, path, keep, progress).await;
        let restored = restored.with_context(|| path.display().to_string())?;
        let (all, new) = (restored.manifest.events, restored.events);
        let until = time::rfc3339(stay_until(clock::now(), keep));
        say(&format!(
            "{}: {new} of {all} events restored, {} were there; they stay until {until} ({})",
            path.display(),
            all - new,
            lasting::shown(keep)
        ));
    }
    Ok(ExitCode::SUCCESS)
}
