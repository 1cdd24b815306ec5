//! The program's own log, seen while it is written: lines are counted by level, and those of WARN and
//! ERROR are handed to whoever keeps them.
//!
//! `tracing ──▶ own log ──▶ error log`
//!
//! Logging never waits for that: what does not fit is dropped, and counted.

use std::{
    fmt::{self, Write as _},
    sync::{
        LazyLock,
        atomic::{AtomicBool, Ordering},
    },
};

use faultline_actors::{
    adapters::clock,
    domain::own_log::{Level, Line},
    error_log::{LINES, SPAN, count_dropped},
};
use flume::{Receiver, Sender};
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{Layer, layer::Context, registry::LookupSpan};

static CHANNEL: LazyLock<(Sender<Line>, Receiver<Line>)> = LazyLock::new(|| flume::bounded(LINES));
/// Whether somebody keeps lines. Before, the first ones wait for that: what went wrong at the start.
static IS_KEPT: AtomicBool = AtomicBool::new(false);
const WAITING_AT_START: usize = 64;
/// A text is not gathered beyond this, in bytes.
const LONGEST: usize = 4_000;

/// The lines, for whoever keeps them.
pub(crate) fn lines() -> Receiver<Line> {
    IS_KEPT.store(true, Ordering::Relaxed);
    CHANNEL.1.clone()
}

/// See the [module](self).
pub(super) struct OwnLog;

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for OwnLog {
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let name = level_name(event.metadata());
        metrics::counter!("faultline_log_lines_total", "level" => name).increment(1);
        let Some(level) = Level::from_name(name) else { return };
        let is_of_keeper = |mut scope: tracing_subscriber::registry::Scope<'_, S>| {
            scope.any(|span| span.name() == SPAN)
        };
        if context.event_scope(event).is_some_and(is_of_keeper) {
            return;
        }
        let is_kept = IS_KEPT.load(Ordering::Relaxed);
        if !is_kept && CHANNEL.0.len() >= WAITING_AT_START {
            return;
        }
        let mut texts = Texts::default();
        event.record(&mut texts);
        let line = Line {
            at: clock::now(),
            level,
            target: event.metadata().target(),
            message: texts.message,
            fields: texts.fields,
        };
        if CHANNEL.0.try_send(line).is_err() {
            count_dropped("full");
        }
    }
}

fn level_name(metadata: &Metadata<'_>) -> &'static str {
    match *metadata.level() {
        tracing::Level::ERROR => "error",
        tracing::Level::WARN => "warn",
        tracing::Level::INFO => "info",
        tracing::Level::DEBUG => "debug",
        tracing::Level::TRACE => "trace",
    }
}

/// The message of an event, and its fields as `name=value`.
#[derive(Default)]
struct Texts {
    message: String,
    fields: String,
}

impl Visit for Texts {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string does not fail; beyond the bound, the rest is not wanted.
        let _ = match field.name() {
            "message" => write!(Bounded(&mut self.message), "{value:?}"),
            name if self.fields.is_empty() => write!(Bounded(&mut self.fields), "{name}={value:?}"),
            name => write!(Bounded(&mut self.fields), " {name}={value:?}"),
        };
    }
}

/// Takes so much and no more.
struct Bounded<'a>(&'a mut String);

impl fmt::Write for Bounded<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = LONGEST.saturating_sub(self.0.len());
        let end = text.floor_char_boundary(room);
        self.0.push_str(&text[..end]);
        if end < text.len() { Err(fmt::Error) } else { Ok(()) }
    }
}
