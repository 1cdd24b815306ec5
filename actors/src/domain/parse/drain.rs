//! Heroku's log drains: lines of applications, of the router and of the platform, and how lines of
//! one process become one event.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

use super::{Current, text_of};
use crate::domain::{
    batch::{Attributes, Batch, Event, Kept, Scope, Span},
    event::{Kind, Severity},
    frame::{Frame, Frames},
    json,
    logplex::{self, Message},
    platform::{self, Notice},
    router, severity,
    shape::Shape,
    time::{Micros, Timestamps},
    trace::{Join, Step},
};

/// Reads drains. Holds what outlives a record: unfinished stack traces.
#[derive(Default)]
pub(super) struct Drains {
    timestamps: Timestamps,
    streams: HashMap<u64, Stream, BuildHasherDefault<StreamKey>>,
}

/// The latest event of one process, which further lines may join.
struct Stream {
    scope: Scope,
    process: Span,
    join: Join,
    event: u32,
    /// The lines of the event, from the first.
    lines: Vec<Span>,
    bytes: usize,
    is_fault: bool,
}

/// So many processes are followed at once; one more closes the events of all.
const MAX_STREAMS: usize = 1_024;
/// Longer traces are cut into several events.
const MAX_JOINED_LINES: usize = 1_000;
const MAX_JOINED_BYTES: usize = 256 << 10;

/// What the frames of one body have in common.
struct Body<'a> {
    current: &'a Current<'a>,
    strip_nil: bool,
    /// Starts the keys of its streams.
    service_hash: u64,
}

impl Body<'_> {
    /// The offset behind `frame`.
    fn end_of(&self, frame: &[u8]) -> usize {
        frame.as_ptr().addr() + frame.len() - self.current.body.as_ptr().addr()
    }

    /// Whether a frame's length ended it between two characters.
    fn ends_on_character(&self, frame: &[u8]) -> bool {
        self.current.body.get(self.end_of(frame)).is_none_or(|byte| byte & 0xC0 != 0x80)
    }
}

impl Drains {
    /// Whether more lines may belong to what was read last.
    pub(super) fn is_open(&self) -> bool {
        self.streams.values().any(|stream| stream.join.is_open())
    }

    /// Closes all that is open in `batch`.
    pub(super) fn finish(&mut self, batch: &mut Batch) {
        for (_, mut stream) in self.streams.drain() {
            stream.close(batch);
        }
    }

    /// Forgets all that is open.
    pub(super) fn reset(&mut self) {
        self.streams.clear();
    }

    /// The frames of a Heroku log drain.
    pub(super) fn read(&mut self, batch: &mut Batch, current: &Current<'_>) {
        let messages = Frames::new(current.body).filter_map(|frame| match frame {
            Frame::Message(message) => Some(message),
            Frame::Empty { .. } | Frame::Broken { .. } => None,
        });
        let body = Body {
            current,
            strip_nil: logplex::strips_nil_structured_data(
                current.meta.sender_is_logplex,
                messages,
            ),
            service_hash: fnv(FNV_BASIS, current.meta.service.as_bytes()),
        };
        let mut frames = Frames::new(current.body);
        loop {
            let offset = frames.offset();
            let Some(frame) = frames.next() else { break };
            match frame {
                Frame::Message(frame) => self.frame(batch, &body, frame, offset),
                Frame::Empty { count } => {
                    batch.reject(Span::EMPTY, 0, count, format!("empty frame at byte {offset}"));
                }
                Frame::Broken { rest, reason } => {
                    let at = current.body.len() - rest.len();
                    let reason = format!("framing lost at byte {at}: {reason}");
                    batch.reject(current.placed.span(rest), rest.len() as u64, 1, reason);
                }
            }
        }
    }

    fn frame(&mut self, batch: &mut Batch, body: &Body<'_>, frame: &[u8], offset: usize) {
        let current = body.current;
        let mut message = match logplex::parse(frame) {
            Ok(message) => message,
            Err(error) => {
                let reason = format!("at byte {offset}: {error}");
                // Where frames share a row, their lengths tell them apart.
                let framed = &current.body[offset..body.end_of(frame)];
                let bytes = if batch.rejects_apart() { frame } else { framed };
                return batch.reject(current.placed.span(bytes), bytes.len() as u64, 1, reason);
            }
        };
        if body.strip_nil {
            message.text = logplex::without_nil(message.text).unwrap_or(message.text);
        }
        let keep = Keep {
            current,
            is_text: current.is_text && body.ends_on_character(frame),
            occurred_at: self.timestamps.parse(message.timestamp).unwrap_or(current.received_at),
        };
        if message.app != b"heroku" {
            self.log_line(batch, &keep, body.service_hash, &message);
        } else if message.process == b"router" {
            request(batch, &keep, &message);
        } else {
            notice(batch, &keep, &message);
        }
    }

    /// A line of an application: an event of its own, or part of a stack trace.
    fn log_line(
        &mut self,
        batch: &mut Batch,
        keep: &Keep<'_>,
        service_hash: u64,
        message: &Message<'_>,
    ) {
        let process = keep.text(batch, nil_as_empty(message.process)).text;
        let scope = keep.scope_of(batch, message);
        let line = keep.current.placed.span(message.text);
        let key = fnv(service_hash, message.process);
        if let Some(stream) = self.streams.get_mut(&key) {
            // Within a record, the scope is the very same piece of text.
            let same_text =
                |one: Span, other| one == other || batch.text.get(one) == batch.text.get(other);
            let same = same_text(stream.process, process)
                && same_text(stream.scope.service, scope.service)
                && same_text(stream.scope.environment, scope.environment);
            let room = stream.lines.len() < MAX_JOINED_LINES && stream.bytes < MAX_JOINED_BYTES;
            let step = stream.join.next(message.text);
            if step == Step::Continues && same && room {
                stream.lines.push(line);
                stream.bytes += message.text.len();
                return batch.count_joined();
            }
            stream.close(batch);
        } else if self.streams.len() >= MAX_STREAMS {
            self.finish(batch);
        }
        let severity =
            severity::of_message(Severity::from_priority(message.priority), message.text);
        let kept = keep.text(batch, message.text);
        let attributes = header_attributes(batch, keep, message);
        let event =
            Event { severity, process, attributes, ..keep.event(Kind::Log, scope, message, kept) };
        let event = batch.push_event(event);
        let stream = self.streams.entry(key).or_insert_with(|| Stream {
            scope,
            process,
            join: Join::of(message.text),
            event,
            lines: Vec::new(),
            bytes: 0,
            is_fault: false,
        });
        stream.scope = scope;
        stream.process = process;
        stream.event = event;
        stream.lines.clear();
        stream.lines.push(line);
        stream.bytes = message.text.len();
        stream.is_fault = severity.is_fault();
    }
}

impl Stream {
    /// Gives the event its joined text, and its fault.
    fn close(&mut self, batch: &mut Batch) {
        let is_joined = self.lines.len() > 1;
        if is_joined {
            let severity = batch.events[self.event as usize].severity.min(Severity::Error);
            batch.join(self.event, &self.lines, severity);
        }
        if is_joined || self.is_fault {
            let shape = Shape::of_log(text_of(batch, batch.events[self.event as usize].message));
            batch.assign_fault(self.event, &shape);
        }
    }
}

/// A line of the router: one request. Its fields are read by those who need them; here it only
/// matters whether it failed.
fn request(batch: &mut Batch, keep: &Keep<'_>, message: &Message<'_>) {
    let scope = keep.scope_of(batch, message);
    let kept = keep.text(batch, message.text);
    let mut event = keep.event(Kind::Router, scope, message, kept);
    event.process = keep.text(batch, message.process).text;
    event.attributes = Attributes::Request;
    let failed =
        router::may_be_error(message.text) && router::parse(batch.text.get(kept.text)).is_error();
    if failed {
        event.severity = event.severity.min(Severity::Error);
    }
    let index = batch.push_event(event);
    if event.severity.is_fault() {
        let line = text_of(batch, kept.text);
        let request = router::parse(line.as_bytes());
        let piece = |bytes| std::str::from_utf8(bytes).unwrap_or_default();
        let shape = Shape::of_request(
            piece(request.code),
            request.status,
            piece(request.method_text),
            piece(request.path),
        );
        batch.assign_fault(index, &shape);
    }
}

/// A line of Heroku's platform.
fn notice(batch: &mut Batch, keep: &Keep<'_>, message: &Message<'_>) {
    let notice = platform::parse(message.text);
    let scope = keep.scope_of(batch, message);
    let kept = keep.text(batch, message.text);
    let process = keep.text(batch, nil_as_empty(message.process)).text;
    let mut code = Span::EMPTY;
    let mut is_error = false;
    let text = |batch: &mut Batch, piece: &[u8]| keep.text(batch, piece).text;
    let fields: [(&str, Span); 2] = match notice {
        Notice::Code { code: name, dropped } => {
            code = text(batch, name);
            is_error = true;
            batch.upstream_dropped = batch.upstream_dropped.saturating_add(dropped.unwrap_or(0));
            let count =
                dropped.map_or(Span::EMPTY, |count| batch.text.push(count.to_string().as_bytes()));
            [("code", code), ("dropped", count)]
        }
        Notice::State { from, to } => {
            is_error = to == b"crashed";
            [("from", text(batch, from)), ("to", text(batch, to))]
        }
        Notice::Exit { status } => [("exit_status", text(batch, status)), ("", Span::EMPTY)],
        Notice::Other => [("", Span::EMPTY); 2],
    };
    let priority = Severity::from_priority(message.priority);
    let attributes = object(batch, &fields);
    let event = batch.push_event(Event {
        process,
        attributes,
        severity: if is_error { priority.min(Severity::Error) } else { priority },
        ..keep.event(Kind::Platform, scope, message, kept)
    });
    if batch.events[event as usize].severity.is_fault() {
        let shape = Shape::of_platform(
            text_of(batch, code),
            text_of(batch, process),
            text_of(batch, kept.text),
        );
        batch.assign_fault(event, &shape);
    }
}

/// How pieces of a frame become text of the batch.
struct Keep<'a> {
    current: &'a Current<'a>,
    /// The frame is text that stores can hold, so its pieces are.
    is_text: bool,
    occurred_at: Micros,
}

impl Keep<'_> {
    fn text(&self, batch: &mut Batch, piece: &[u8]) -> Kept {
        let span = self.current.placed.span(piece);
        if self.is_text { Kept { text: span, bytes: Span::EMPTY } } else { batch.keep_text(span) }
    }

    /// A sender that is not Heroku names its service as APP-NAME.
    fn scope_of(&self, batch: &mut Batch, message: &Message<'_>) -> Scope {
        let scope = self.current.scope;
        if !scope.service.is_empty() || is_heroku(message.app) {
            return scope;
        }
        Scope { service: self.text(batch, nil_as_empty(message.app)).text, ..scope }
    }

    fn event(&self, kind: Kind, scope: Scope, message: &Message<'_>, kept: Kept) -> Event {
        Event {
            message: kept.text,
            message_bytes: kept.bytes,
            priority: Some(message.priority),
            ..Event::new(kind, Severity::from_priority(message.priority), self.occurred_at, scope)
        }
    }
}

fn is_heroku(app: &[u8]) -> bool {
    matches!(app, b"app" | b"heroku")
}

/// Header fields that Heroku always fills alike are worth keeping only where they differ.
fn header_attributes(batch: &mut Batch, keep: &Keep<'_>, message: &Message<'_>) -> Attributes {
    let usual = message.host == b"host" && is_heroku(message.app) && message.msgid == b"-";
    if usual {
        return Attributes::None;
    }
    let mut text = |piece: &[u8]| keep.text(batch, nil_as_empty(piece)).text;
    let fields =
        [("host", text(message.host)), ("app", text(message.app)), ("msgid", text(message.msgid))];
    object(batch, &fields)
}

/// A JSON object of the fields that are not empty.
fn object(batch: &mut Batch, fields: &[(&str, Span)]) -> Attributes {
    if fields.iter().all(|(_, value)| value.is_empty()) {
        return Attributes::None;
    }
    let mut out = vec![b'{'];
    let mut members = json::Fields::new(&mut out);
    for (name, value) in fields {
        if !value.is_empty() {
            members.text(name, batch.text.get(*value));
        }
    }
    out.push(b'}');
    Attributes::Json(batch.text.push(&out))
}

/// RFC 5424's nil value.
fn nil_as_empty(field: &[u8]) -> &[u8] {
    if field == b"-" { &[] } else { field }
}

const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a: short keys, and two processes of one key only keep each other's traces from being
/// joined.
fn fnv(start: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(start, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The keys are hashes already; only their upper bits need stirring.
#[derive(Default)]
struct StreamKey(u64);

impl Hasher for StreamKey {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("keys are u64");
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}
