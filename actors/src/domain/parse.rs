//! From records to events: which parser reads which source, and how lines of one process become
//! one event.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

use super::{
    batch::{Attributes, Batch, Event, Kept, Placed, RecordHead, Scope, Span, is_storable},
    error_report,
    event::{Kind, Severity, Source},
    frame::{Frame, Frames},
    json,
    logplex::{self, Message},
    maxwell,
    platform::{self, Notice},
    record::{Block, Content, Meta, RecordRef},
    router, severity,
    shape::Shape,
    time::{Micros, Timestamps},
    trace::{Join, Step},
};

/// How many messages the ledger counts in a body. The receiver declares this number when it
/// accepts the body; the parser must find the same.
#[must_use]
pub fn count_messages(source: Source, body: &[u8]) -> u32 {
    match source {
        Source::Logdrains => Frames::count_messages(body),
        Source::Maxwell => maxwell::count_messages(body),
        Source::Errors => error_report::parse(body)
            .map_or(1, |reports| u32::try_from(reports.len()).unwrap_or(u32::MAX)),
    }
}

/// Whether more lines may belong to what was parsed last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Complete,
    /// The latest lines of some process look like a stack trace that goes on.
    OpenTrace,
}

/// Parses blocks into batches. Holds what outlives a block: buffers and unfinished stack traces.
pub struct Parser {
    /// The environment of events that do not name one.
    environment: String,
    maxwell: maxwell::Reader,
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

/// A record being parsed.
struct Current<'a> {
    placed: Placed<'a>,
    body: &'a [u8],
    meta: Meta<'a>,
    received_at: Micros,
    scope: Scope,
    /// Starts the keys of its streams.
    service_hash: u64,
    /// The whole body is text that stores can hold, so its pieces are.
    is_text: bool,
}

impl Current<'_> {
    /// The offset in the body behind `frame`.
    fn end_of(&self, frame: &[u8]) -> usize {
        frame.as_ptr().addr() + frame.len() - self.body.as_ptr().addr()
    }
}

impl Parser {
    /// `environment` is that of events that name none.
    #[must_use]
    pub fn new(environment: &str) -> Self {
        Self {
            environment: environment.to_owned(),
            maxwell: maxwell::Reader::default(),
            timestamps: Timestamps::default(),
            streams: HashMap::default(),
        }
    }

    /// Adds the records of `block` to `batch`. Stack traces may go on in the next block; call
    /// [`Parser::finish`] before the batch is handed on.
    pub fn parse(&mut self, batch: &mut Batch, block: &Block) -> Ending {
        let placed = batch.place(&block.bytes);
        batch.expect_events(block);
        let default_environment = batch.text.push(self.environment.as_bytes());
        for record in &block.records {
            self.record(batch, placed, &block.bytes, record, default_environment);
        }
        if self.streams.values().any(|stream| stream.join.is_open()) {
            Ending::OpenTrace
        } else {
            Ending::Complete
        }
    }

    /// Closes all that is open in `batch`.
    pub fn finish(&mut self, batch: &mut Batch) {
        for (_, mut stream) in self.streams.drain() {
            stream.close(batch);
        }
    }

    /// Forgets all that is open, with the batch that it belonged to.
    pub fn reset(&mut self) {
        self.streams.clear();
    }

    fn record(
        &mut self,
        batch: &mut Batch,
        placed: Placed<'_>,
        block: &[u8],
        record: &RecordRef,
        default_environment: Span,
    ) {
        let body = match &record.content {
            Content::Body { body, .. } => placed.span(&block[body.clone()]),
            Content::Duplicate | Content::Damaged { .. } => Span::EMPTY,
        };
        let head = RecordHead { body, ..RecordHead::of(record) };
        batch.start_record(head, record.messages);
        let (meta, body) = match &record.content {
            Content::Duplicate => return batch.count_duplicates(record.messages),
            Content::Damaged { bytes } => {
                let left = &block[bytes.clone()];
                let reason = "damaged in the journal: its checksum does not fit".to_owned();
                return batch.reject(placed.span(left), left.len() as u64, record.messages, reason);
            }
            Content::Body { meta, body } => (&block[meta.clone()], &block[body.clone()]),
        };
        let Some(meta) = Meta::decode(meta) else {
            let reason = "unreadable record header".to_owned();
            return batch.reject(placed.span(body), body.len() as u64, record.messages, reason);
        };
        if meta.overlong > 0 {
            let reason = format!("a line of {} bytes, which is beyond the limit", meta.overlong);
            return batch.reject(placed.span(body), meta.overlong, record.messages, reason);
        }
        let environment = if meta.environment.is_empty() {
            default_environment
        } else {
            placed.span(meta.environment.as_bytes())
        };
        let current = Current {
            placed,
            body,
            meta,
            received_at: record.received_at,
            scope: Scope { environment, service: placed.span(meta.service.as_bytes()) },
            service_hash: fnv(FNV_BASIS, meta.service.as_bytes()),
            is_text: is_storable(body),
        };
        match record.source {
            Source::Logdrains => self.drain(batch, &current),
            Source::Maxwell => self.changes(batch, &current),
            Source::Errors => reports(batch, &current),
        }
    }

    /// The frames of a Heroku log drain.
    fn drain(&mut self, batch: &mut Batch, current: &Current<'_>) {
        let messages = Frames::new(current.body).filter_map(|frame| match frame {
            Frame::Message(message) => Some(message),
            Frame::Empty { .. } | Frame::Broken { .. } => None,
        });
        let strip = logplex::strips_nil_structured_data(current.meta.sender_is_logplex, messages);
        let mut frames = Frames::new(current.body);
        loop {
            let offset = frames.offset();
            let Some(frame) = frames.next() else { break };
            match frame {
                Frame::Message(frame) => self.frame(batch, current, frame, offset, strip),
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

    fn frame(
        &mut self,
        batch: &mut Batch,
        current: &Current<'_>,
        frame: &[u8],
        offset: usize,
        strip_nil: bool,
    ) {
        let mut message = match logplex::parse(frame) {
            Ok(message) => message,
            Err(error) => {
                let reason = format!("at byte {offset}: {error}");
                // Where frames share a row, their lengths tell them apart.
                let framed = &current.body[offset..current.end_of(frame)];
                let bytes = if batch.rejects_apart() { frame } else { framed };
                return batch.reject(current.placed.span(bytes), bytes.len() as u64, 1, reason);
            }
        };
        if strip_nil {
            message.text = logplex::without_nil(message.text).unwrap_or(message.text);
        }
        let keep = Keep {
            current,
            is_text: current.is_text && ends_on_character(current, frame),
            occurred_at: self.timestamps.parse(message.timestamp).unwrap_or(current.received_at),
        };
        if message.app != b"heroku" {
            self.log_line(batch, &keep, &message);
        } else if message.process == b"router" {
            request(batch, &keep, &message);
        } else {
            notice(batch, &keep, &message);
        }
    }

    /// A line of an application: an event of its own, or part of a stack trace.
    fn log_line(&mut self, batch: &mut Batch, keep: &Keep<'_>, message: &Message<'_>) {
        let process = keep.text(batch, nil_as_empty(message.process)).text;
        let scope = keep.scope_of(batch, message);
        let line = keep.current.placed.span(message.text);
        let key = fnv(keep.current.service_hash, message.process);
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

    /// The lines of Maxwell's stream.
    fn changes(&mut self, batch: &mut Batch, current: &Current<'_>) {
        for line in maxwell::lines(current.body) {
            let span = current.placed.span(line);
            let read = self.maxwell.read(line, |change| {
                let message = batch.text.push_with(|out| write_change(change, out));
                let service = batch.text.push(change.database.as_bytes());
                if !change.position.is_empty() {
                    batch.binlog_position = batch.text.push(change.position.as_bytes());
                }
                (message, service, change.occurred_at)
            });
            match read {
                Ok((message, service, occurred_at)) => {
                    let kept = batch.keep_text(message);
                    let service = batch.keep_text(service).text;
                    let service = if service.is_empty() { current.scope.service } else { service };
                    let scope = Scope { service, ..current.scope };
                    let occurred_at = occurred_at.unwrap_or(current.received_at);
                    batch.push_event(Event {
                        message: kept.text,
                        attributes: Attributes::Json(span),
                        ..Event::new(Kind::Change, Severity::Info, occurred_at, scope)
                    });
                }
                Err(error) => {
                    let at = line.as_ptr().addr() - current.body.as_ptr().addr();
                    let reason = format!("line at byte {at}: {error}");
                    batch.reject(span, line.len() as u64, 1, reason);
                }
            }
        }
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

/// `update shop.orders`; `encrypted change` where Maxwell encrypts everything.
fn write_change(change: &maxwell::Change<'_>, out: &mut Vec<u8>) {
    let kind = if change.kind.is_empty() { "encrypted change" } else { change.kind };
    out.extend_from_slice(kind.as_bytes());
    let mut separator = b' ';
    for name in [change.database, change.table] {
        if !name.is_empty() {
            out.push(separator);
            out.extend_from_slice(name.as_bytes());
            separator = b'.';
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

/// Error reports. The receiver has checked them; one that cannot be read all the same (replayed
/// from elsewhere) is rejected whole.
fn reports(batch: &mut Batch, current: &Current<'_>) {
    let reports = match error_report::parse(current.body) {
        Ok(reports) => reports,
        Err(error) => {
            let (span, length) = (current.placed.span(current.body), current.body.len() as u64);
            return batch.reject(span, length, 1, error.to_string());
        }
    };
    for report in reports {
        let mut text = |text: &str, default: Span| {
            if text.is_empty() {
                return default;
            }
            let span = batch.text.push(text.as_bytes());
            batch.keep_text(span).text
        };
        let message = text(&report.message, Span::EMPTY);
        let stack_trace = text(&report.stack_trace, Span::EMPTY);
        let environment = text(&report.environment, current.scope.environment);
        let service = text(&report.service, current.scope.service);
        let attributes = if report.has_attributes() {
            Attributes::Json(batch.text.push_with(|out| report.write_attributes(out)))
        } else {
            Attributes::None
        };
        let occurred_at = report.occurred_at.unwrap_or(current.received_at);
        let scope = Scope { environment, service };
        let event = batch.push_event(Event {
            message,
            stack_trace,
            attributes,
            ..Event::new(Kind::Error, report.severity, occurred_at, scope)
        });
        // A report is a fault whatever its level: somebody took the trouble to send it.
        let shape = report.shape();
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

/// Whether a frame's length ended it between two characters.
fn ends_on_character(current: &Current<'_>, frame: &[u8]) -> bool {
    current.body.get(current.end_of(frame)).is_none_or(|byte| byte & 0xC0 != 0x80)
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

fn text_of(batch: &Batch, span: Span) -> &str {
    std::str::from_utf8(batch.text.get(span)).expect("a batch keeps only valid text")
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::{super::batch::Rejected, *};

    fn block(source: Source, body: &[u8], meta: Meta<'_>) -> Block {
        let meta = meta.encode();
        let records = vec![RecordRef {
            sequence: 1,
            received_at: 1_000,
            source,
            messages: count_messages(source, body),
            content: Content::Body {
                meta: 0..meta.len(),
                body: meta.len()..meta.len() + body.len(),
            },
        }];
        Block { bytes: [&meta, body].concat().into(), records }
    }

    fn parse(source: Source, body: &[u8]) -> Batch {
        let mut parser = Parser::new("production");
        let mut batch = Batch::default();
        parser.parse(&mut batch, &block(source, body, Meta::default()));
        parser.finish(&mut batch);
        assert_ledger(&batch);
        batch
    }

    fn assert_ledger(batch: &Batch) {
        for tally in batch.tallies {
            assert_eq!(tally.received, tally.settled());
        }
        let joined: u64 = batch.events.iter().map(|event| u64::from(event.messages)).sum();
        assert_eq!(joined, batch.tallies.iter().map(|tally| tally.stored).sum::<u64>());
    }

    fn frames(messages: &[&[u8]]) -> Vec<u8> {
        let mut body = Vec::new();
        for message in messages {
            body.extend_from_slice(format!("{} ", message.len()).as_bytes());
            body.extend_from_slice(message);
        }
        body
    }

    fn message(batch: &Batch, event: usize) -> &str {
        text_of(batch, batch.events[event].message)
    }

    fn attributes(batch: &Batch, event: usize) -> serde_json::Value {
        let mut out = Vec::new();
        assert!(batch.write_attributes(&batch.events[event], &mut out));
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn a_router_line_a_platform_line_and_a_log_line() {
        let batch = parse(Source::Logdrains, &frames(&[
            b"<158>1 2026-11-22T03:00:00Z host heroku router - at=error code=H12 method=GET path=\"/u/2\" dyno=web.1 connect=1ms service=30000ms status=503 bytes=0\n",
            b"<172>1 2026-11-22T03:00:00Z host heroku logplex - Error L10 (output buffer overflow): 7 messages dropped since t.",
            b"<190>1 not-a-time host app web.1 - caf\xe9 is open\n",
        ]));
        let kinds: Vec<_> = batch.events.iter().map(|event| event.kind).collect();
        assert_eq!(kinds, [Kind::Router, Kind::Platform, Kind::Log]);
        assert_eq!(batch.upstream_dropped, 7);
        let request = attributes(&batch, 0);
        assert_eq!(
            (request["code"].as_str(), request["status"].as_u64()),
            (Some("H12"), Some(503))
        );
        assert_eq!(attributes(&batch, 1)["code"], "L10");
        assert_eq!(message(&batch, 2), "caf\u{fffd} is open");
        assert_eq!(batch.text.get(batch.events[2].message_bytes), b"caf\xe9 is open");
        assert_eq!(batch.events[2].occurred_at, 1_000, "an unreadable time is the time of receipt");
        let titles: Vec<_> =
            batch.faults.iter().map(|fault| text_of(&batch, fault.title)).collect();
        assert_eq!(
            titles,
            [
                "H12 GET /u/<id>",
                "L10: Error L<id> (output buffer overflow): <n> messages dropped since t."
            ]
        );
    }

    #[test]
    fn absurd_losses_add_up_to_the_most_there_can_be() {
        let line = b"<172>1 t host heroku logplex - Error L10 (x): 18446744073709551615 messages dropped since t.";
        assert_eq!(parse(Source::Logdrains, &frames(&[line, line])).upstream_dropped, u64::MAX);
    }

    #[test]
    fn a_trace_becomes_one_event_amid_other_processes() {
        let batch = parse(
            Source::Logdrains,
            &frames(&[
                b"<190>1 t host app web.1 - Error: boom\n",
                b"<190>1 t host app web.2 - hello\n",
                b"<190>1 t host app web.1 -     at f (/a.js:1:2)\n",
                b"<190>1 t host app web.1 -     at g (/a.js:3:4)\n",
                b"<190>1 t host app web.1 - next\n",
            ]),
        );
        assert_eq!(batch.events.len(), 3);
        assert_eq!(message(&batch, 0), "Error: boom\n    at f (/a.js:1:2)\n    at g (/a.js:3:4)");
        let messages: Vec<_> = batch.events.iter().map(|event| event.messages).collect();
        assert_eq!(messages, [3, 1, 1]);
        assert_eq!(batch.faults.len(), 1);
    }

    proptest! {
        #[test]
        fn every_line_of_a_process_is_kept_in_its_order(
            sent in vec((0..3u8, "Error: x|  at f \\(a\\.js:1\\)|Traceback \\(most recent call last\\):|  File \"a\", line 3|Caused by: y|ValueError: z|[a-z é]{0,5}"), 0..30)
        ) {
            let lines: Vec<_> = sent
                .iter()
                .map(|(process, text)| format!("<190>1 t host app web.{process} - {text}\n").into_bytes())
                .collect();
            let batch = parse(Source::Logdrains, &frames(&lines.iter().map(Vec::as_slice).collect::<Vec<_>>()));
            prop_assert!(batch.rejected.is_empty());
            for process in 0..3 {
                let name = format!("web.{process}");
                let expected: Vec<_> =
                    sent.iter().filter(|(of, _)| *of == process).map(|(_, text)| text.as_str()).collect();
                let kept: Vec<_> = (0..batch.events.len())
                    .filter(|event| text_of(&batch, batch.events[*event].process) == name)
                    .map(|event| message(&batch, event))
                    .collect();
                prop_assert_eq!(kept.join("\n"), expected.join("\n"));
            }
        }
    }

    #[test]
    fn a_trace_goes_on_in_the_next_block() {
        let mut parser = Parser::new("production");
        let mut batch = Batch::default();
        let one = block(
            Source::Logdrains,
            &frames(&[b"<190>1 t host app web.1 - Error: boom\n"]),
            Meta::default(),
        );
        let mut two = block(
            Source::Logdrains,
            &frames(&[b"<190>1 t host app web.1 -     at f (/a.js:1:2)\n"]),
            Meta::default(),
        );
        two.records[0].sequence = 2;
        assert_eq!(parser.parse(&mut batch, &one), Ending::OpenTrace);
        parser.parse(&mut batch, &two);
        parser.finish(&mut batch);
        assert_ledger(&batch);
        assert_eq!((batch.events.len(), batch.first, batch.last), (1, 1, 2));
        assert_eq!(message(&batch, 0), "Error: boom\n    at f (/a.js:1:2)");
    }

    #[test]
    fn broken_framing_keeps_the_good_and_the_rest() {
        let mut body = frames(&[b"<190>1 t host app web.1 - ok\n", b"no header"]);
        body.extend_from_slice(b"0 0 x");
        let batch = parse(Source::Logdrains, &body);
        assert_eq!(batch.events.len(), 1);
        let reasons: Vec<_> =
            batch.rejected.iter().map(|rejected| rejected.reason.as_str()).collect();
        assert_eq!(
            reasons,
            [
                "at byte 32: frame header: no priority of the form <0> to <191>",
                "empty frame at byte 43",
                "framing lost at byte 47: no decimal length where a frame should start",
            ]
        );
        assert_eq!(batch.text.get(batch.rejected[2].bytes), b"x");
        assert_eq!(batch.rejected[1].messages, 2);
    }

    #[test]
    fn very_many_bad_frames_share_rows_that_can_be_sent_again() {
        let bad = b"3 bad".repeat(Rejected::APART + 50_000);
        let batch = parse(Source::Logdrains, &bad);
        assert_eq!(batch.rejected.len(), Rejected::APART + 1);
        let shared = &batch.rejected[Rejected::APART];
        assert_eq!((shared.messages, shared.length), (50_000, 250_000));
        assert_eq!(batch.text.get(shared.bytes), &bad[5 * Rejected::APART..]);
    }

    #[test]
    fn changes_keep_their_line_word_for_word() {
        let line = br#"{"database":"shop","table":"orders","type":"update","ts":1795316511,"data":{"m":12345678901234567890.5},"mine":1,"position":"m.1:4"}"#;
        let batch = parse(Source::Maxwell, &[line.as_slice(), b"\nnot json\n"].concat());
        assert_eq!(message(&batch, 0), "update shop.orders");
        let mut out = Vec::new();
        batch.write_attributes(&batch.events[0], &mut out);
        assert_eq!(out, line);
        assert_eq!(batch.text.get(batch.events[0].scope.service), b"shop");
        assert_eq!(batch.text.get(batch.binlog_position), b"m.1:4");
        assert!(batch.rejected[0].reason.starts_with("line at byte 133: not JSON"));
    }

    #[test]
    fn reports_belong_to_their_own_environment() {
        let batch = parse(
            Source::Errors,
            br#"[{"message":"a\u0000b","environment":"dev","stackTrace":"E: x\n at f (a.js:1:2)"},{"message":"b","level":"info"}]"#,
        );
        assert_eq!(message(&batch, 0), "a\u{fffd}b");
        assert_eq!(text_of(&batch, batch.events[0].scope.environment), "dev");
        assert_eq!(text_of(&batch, batch.events[1].scope.environment), "production");
        assert_eq!(batch.faults.len(), 2);
        assert_eq!(parse(Source::Errors, b"{}").rejected[0].reason, "/message: is missing");
    }

    #[test]
    fn duplicates_and_damage_are_accounted_for() {
        let mut parser = Parser::new("production");
        let mut batch = Batch::default();
        let record = |sequence, content| RecordRef {
            sequence,
            received_at: 0,
            source: Source::Errors,
            messages: 3,
            content,
        };
        let records =
            vec![record(4, Content::Duplicate), record(5, Content::Damaged { bytes: 0..4 })];
        parser.parse(&mut batch, &Block { bytes: b"ruin".as_slice().into(), records });
        assert_ledger(&batch);
        let tally = batch.tallies[Source::Errors as usize];
        assert_eq!((tally.duplicate, tally.rejected), (3, 3));
        assert_eq!(batch.text.get(batch.rejected[0].bytes), b"ruin");
    }
}
