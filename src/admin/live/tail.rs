//! The live tail: the events that pass by, for each client those that it wants to see.
//!
//! Off the data path: batches come from a [`Tap`], which waits for nobody. Looking at them takes a
//! tenth of one processor at most, whatever passes by and whoever asks; what is not looked at in that
//! time, is beyond a client's share, or finds its queue full, is counted and told to that client.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use faultline_actors::{
    domain::{
        batch::{Batch, Event, Span},
        shape::cut,
        time::rfc3339,
    },
    stage::tap::{Tap, Watching},
};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{filter::Filter, ring::frame};

/// Events a second that a client is shown at most.
const EACH: u32 = 200;
/// Events a second that all clients together are shown at most, as long as each has [`LEAST`].
const ALL: u32 = 10_000;
const LEAST: u32 = 20;
/// Events that wait for a client's socket: a second of them and some.
const QUEUE: usize = 256;
/// Events looked at between two looks at the clock.
const AT_ONCE: usize = 64;
/// It rests so many times as long as it has worked.
const REST: u32 = 9;
/// Shorter rests are not worth a timer.
const WORK: Duration = Duration::from_millis(1);
/// Bytes of a text, or of attributes, that are shown.
const SHOWN: usize = 4_096;

/// Who watches the tail.
#[derive(Default)]
pub(super) struct Tail {
    watchers: Mutex<Vec<Arc<Watcher>>>,
}

/// A client as the tail sees it.
pub(super) struct Watcher {
    filter: Filter,
    frames: flume::Sender<Bytes>,
    /// Events that it wanted to see, or might have, and was not shown.
    pub skipped: AtomicU64,
    /// Events shown in a second, and which second.
    shown: Mutex<(u64, u32)>,
}

/// The tail as a client sees it.
pub(super) struct Tailing {
    tail: Arc<Tail>,
    pub watcher: Arc<Watcher>,
    pub frames: flume::Receiver<Bytes>,
    _watching: Watching,
}

impl Tailing {
    /// The next event, ready to be sent.
    pub(super) async fn next(&self) -> Bytes {
        match self.frames.recv_async().await {
            Ok(frame) => frame,
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for Tailing {
    fn drop(&mut self) {
        self.tail.lock().retain(|watcher| !Arc::ptr_eq(watcher, &self.watcher));
    }
}

/// An event that was just parsed, as it is shown: before it is stored, so that it has no id yet.
#[derive(Serialize, ToSchema)]
#[schema(as = LiveEvent)]
pub(super) struct Shown<'a> {
    #[schema(format = DateTime)]
    occurred_at: String,
    #[schema(format = DateTime)]
    received_at: String,
    source: &'static str,
    kind: &'static str,
    severity: &'static str,
    environment: &'a str,
    service: &'a str,
    process: Option<&'a str>,
    message: &'a str,
    stack_trace: Option<&'a str>,
    #[schema(value_type = Option<Object>)]
    attributes: Option<Box<RawValue>>,
    fingerprint: Option<String>,
    messages: u32,
}

impl<'a> Shown<'a> {
    fn new(batch: &'a Batch, event: &Event) -> Self {
        let text = |span: Span| {
            // A batch keeps only valid text.
            cut(std::str::from_utf8(batch.text.get(span)).unwrap_or_default(), SHOWN)
        };
        let given = |span: Span| Some(text(span)).filter(|text| !text.is_empty());
        let record = batch.record_of(event);
        let mut attributes = Vec::new();
        let has_attributes = batch.write_attributes(event, &mut attributes);
        let attributes = (has_attributes && attributes.len() <= SHOWN)
            .then(|| serde_json::from_slice(&attributes).ok())
            .flatten();
        let fault = batch.faults.get(event.fault as usize);
        Self {
            occurred_at: rfc3339(event.occurred_at),
            received_at: rfc3339(record.received_at),
            source: record.source.name(),
            kind: event.kind.name(),
            severity: event.severity.name(),
            environment: text(event.scope.environment),
            service: text(event.scope.service),
            process: given(event.process),
            message: text(event.message),
            stack_trace: given(event.stack_trace),
            attributes,
            fingerprint: fault.map(|fault| fault.fingerprint.to_string()),
            messages: event.messages,
        }
    }
}

impl Watcher {
    /// Whether it is shown one more event in this second; counts it.
    fn takes(&self, second: u64, share: u32) -> bool {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if shown.0 != second {
            *shown = (second, 0);
        }
        shown.1 += 1;
        shown.1 <= share
    }

    fn skip(&self, events: u64) {
        self.skipped.fetch_add(events, Ordering::Relaxed);
    }
}

impl Tail {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Watcher>>> {
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more client.
    pub(super) fn join(self: &Arc<Self>, tap: &Arc<Tap>, filter: Filter) -> Tailing {
        let (sender, frames) = flume::bounded(QUEUE);
        let watcher = Arc::new(Watcher {
            filter,
            frames: sender,
            skipped: AtomicU64::new(0),
            shown: Mutex::default(),
        });
        let mut watchers = self.lock();
        if watchers.is_empty() {
            // What nobody watched, nobody has missed.
            let _ = tap.take_missed();
        }
        watchers.push(watcher.clone());
        Tailing { tail: self.clone(), watcher, frames, _watching: tap.watch() }
    }

    /// Shows what passes by, until it is dropped.
    pub(super) async fn run(&self, tap: &Tap) {
        let started = Instant::now();
        let mut owed = Duration::ZERO;
        loop {
            let batch = tap.next().await;
            let watchers = self.lock().clone();
            let missed = tap.take_missed();
            for watcher in &watchers {
                watcher.skip(missed);
            }
            let share = share(watchers.len());
            for events in batch.events.chunks(AT_ONCE) {
                let began = Instant::now();
                let second = began.duration_since(started).as_secs();
                for event in events {
                    show(&batch, event, &watchers, (second, share));
                }
                owed += began.elapsed();
                if owed >= WORK {
                    tokio::time::sleep(owed * REST).await;
                    owed = Duration::ZERO;
                }
            }
        }
    }
}

/// Events a second that each of so many clients is shown.
fn share(watchers: usize) -> u32 {
    let watchers = u32::try_from(watchers).unwrap_or(u32::MAX).max(1);
    (ALL / watchers).clamp(LEAST, EACH)
}

/// Shows an event to those who want it. It is made ready once, when the first one does.
fn show(batch: &Batch, event: &Event, watchers: &[Arc<Watcher>], (second, share): (u64, u32)) {
    let mut ready: Option<Bytes> = None;
    for watcher in watchers.iter().filter(|watcher| watcher.filter.lets_event(batch, event)) {
        if !watcher.takes(second, share) {
            watcher.skip(1);
            continue;
        }
        let frame = ready.get_or_insert_with(|| {
            let json = serde_json::to_string(&Shown::new(batch, event));
            frame(None, "event", &json.expect("it has a JSON form"))
        });
        if watcher.frames.try_send(frame.clone()).is_err() {
            watcher.skip(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use faultline_actors::domain::{
        batch::{RecordHead, Scope},
        event::{Kind, Severity, Source},
    };

    use super::*;

    fn batch(messages: usize) -> Batch {
        let mut batch = Batch::default();
        let source = Source::Logdrains;
        batch
            .start_record(RecordHead { sequence: 1, received_at: 1, source, body: Span::EMPTY }, 0);
        for number in 0..messages {
            let text = batch.text.push(format!("line {number}").as_bytes());
            let mut event = Event::new(Kind::Log, Severity::Info, 1, Scope::default());
            event.message = batch.keep_text(text).text;
            batch.push_event(event);
        }
        batch
    }

    fn show_all(batch: &Batch, watchers: &[Arc<Watcher>], second: u64) {
        for event in &batch.events {
            show(batch, event, watchers, (second, share(watchers.len())));
        }
    }

    #[test]
    fn each_second_has_its_share_and_the_rest_is_counted() {
        let (tail, tap) = (Arc::new(Tail::default()), Arc::new(Tap::default()));
        let tailing = tail.join(&tap, Filter::default());
        let watchers = tail.lock().clone();
        let batch = batch(EACH as usize + 50);
        show_all(&batch, &watchers, 0);
        assert_eq!(tailing.frames.len(), EACH as usize);
        assert_eq!(tailing.watcher.skipped.load(Ordering::Relaxed), 50);
        // Nobody took them, so that the next second's do not all fit.
        show_all(&batch, &watchers, 1);
        assert_eq!(tailing.frames.len(), QUEUE);
        let shown = tailing.frames.len() as u64 + tailing.watcher.skipped.load(Ordering::Relaxed);
        assert_eq!(shown, 2 * batch.events.len() as u64, "shown or counted");
        drop(tailing);
        assert!(tail.lock().is_empty());
    }

    #[test]
    fn many_share_what_is_shown() {
        assert_eq!([0, 1, 50, 100, 10_000].map(share), [200, 200, 200, 100, 20]);
    }
}
