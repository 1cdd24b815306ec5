//! The events of one or several records, in columns.
//!
//! A batch owns one buffer: the bytes of its records, and behind them what is not there word for
//! word (joined stack traces, repaired text, small JSON objects). Its columns point into it. So
//! parsing an event allocates nothing, and a batch travels through the pipeline as one `Arc`.
//!
//! Text that a [`Span`] of a column refers to is always valid UTF-8 without NUL, which is what
//! every store can hold; [`Batch::keep_text`] sees to that.

use std::collections::HashMap;

use super::{
    event::{Kind, Severity, Source},
    ledger::Tally,
    router,
    shape::Fingerprint,
    time::Micros,
};

/// A piece of a batch's text. The empty span stands for "none" where a column is optional.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    start: u32,
    len: u32,
}

impl Span {
    pub const EMPTY: Self = Self { start: 0, len: 0 };

    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len == 0
    }

    #[must_use]
    pub fn len(self) -> usize {
        self.len as usize
    }
}

/// The buffer behind a batch's spans.
#[derive(Debug, Default)]
pub struct Text(Vec<u8>);

impl Text {
    #[must_use]
    pub fn get(&self, span: Span) -> &[u8] {
        let start = span.start as usize;
        &self.0[start..start + span.len as usize]
    }

    /// Appends `text`.
    pub fn push(&mut self, text: &[u8]) -> Span {
        self.push_with(|buffer| buffer.extend_from_slice(text))
    }

    /// Appends what `write` writes.
    pub fn push_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Span {
        let start = self.0.len();
        write(&mut self.0);
        Span { start: narrow(start), len: narrow(self.0.len() - start) }
    }

    /// Appends the text of `pieces`, one a line.
    fn push_lines(&mut self, pieces: &[Span]) -> Span {
        let start = self.0.len();
        for (index, piece) in pieces.iter().enumerate() {
            if index > 0 {
                self.0.push(b'\n');
            }
            let from = piece.start as usize;
            self.0.extend_from_within(from..from + piece.len as usize);
        }
        Span { start: narrow(start), len: narrow(self.0.len() - start) }
    }
}

fn narrow(value: usize) -> u32 {
    u32::try_from(value).expect("a batch is far below 4 GiB")
}

/// A block of records whose bytes were copied into a batch: turns pieces of the block into spans
/// of the batch.
#[derive(Clone, Copy, Debug)]
pub struct Placed<'a> {
    block: &'a [u8],
    base: u32,
}

impl Placed<'_> {
    /// The span of `piece`, a slice of the block.
    ///
    /// # Panics
    /// When `piece` is no slice of the block.
    #[must_use]
    pub fn span(&self, piece: &[u8]) -> Span {
        if piece.is_empty() {
            return Span::EMPTY;
        }
        let offset = piece.as_ptr().addr().wrapping_sub(self.block.as_ptr().addr());
        assert!(offset < self.block.len() && piece.len() <= self.block.len() - offset);
        Span { start: self.base + narrow(offset), len: narrow(piece.len()) }
    }
}

/// What the events of one record have in common.
#[derive(Clone, Copy, Debug)]
pub struct RecordHead {
    pub sequence: u64,
    pub received_at: Micros,
    pub source: Source,
}

/// Where an event's attributes (a JSON object) come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attributes {
    None,
    /// JSON text that is ready.
    Json(Span),
    /// Rendered from the row of [`Batch::requests`] when a store asks for it.
    Request(u32),
}

/// One event, as handed to [`Batch::push_event`].
#[derive(Clone, Copy, Debug)]
pub struct NewEvent {
    pub kind: Kind,
    pub severity: Severity,
    pub occurred_at: Micros,
    pub environment: Span,
    pub service: Span,
    /// The dyno or process, where there is one.
    pub process: Span,
    pub message: Span,
    /// The message's own bytes where `message` had to be repaired.
    pub message_bytes: Span,
    pub stack_trace: Span,
    pub attributes: Attributes,
    /// The syslog priority, where the event came with one.
    pub priority: Option<u8>,
    /// How many messages were joined into this event.
    pub messages: u32,
}

/// The events of a batch, one vector a column, all equally long.
#[derive(Debug, Default)]
pub struct Events {
    pub record: Vec<u32>,
    /// The event's place among the events and rejected messages of its record.
    pub ordinal: Vec<u32>,
    pub kind: Vec<Kind>,
    pub severity: Vec<Severity>,
    pub occurred_at: Vec<Micros>,
    pub environment: Vec<Span>,
    pub service: Vec<Span>,
    pub process: Vec<Span>,
    pub message: Vec<Span>,
    pub message_bytes: Vec<Span>,
    pub stack_trace: Vec<Span>,
    pub attributes: Vec<Attributes>,
    pub priority: Vec<Option<u8>>,
    pub messages: Vec<u32>,
    /// Index into [`Batch::faults`].
    pub fault: Vec<Option<u32>>,
}

impl Events {
    #[must_use]
    pub fn len(&self) -> usize {
        self.record.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.record.is_empty()
    }
}

/// A router line's numbers and names, beside its event.
#[derive(Clone, Copy, Debug)]
pub struct RequestRow {
    pub event: u32,
    pub method: router::Method,
    pub method_text: Span,
    pub path: Span,
    pub dyno: Span,
    pub forwarded_for: Span,
    pub request_id: Span,
    pub code: Span,
    pub status: Option<u16>,
    pub connect_ms: Option<u32>,
    pub service_ms: Option<u32>,
    pub bytes: Option<u64>,
}

/// How often a fault was met in this batch.
#[derive(Clone, Debug)]
pub struct FaultDelta {
    pub fingerprint: Fingerprint,
    pub environment: Span,
    pub service: Span,
    pub kind: Kind,
    /// The worst that was met.
    pub severity: Severity,
    pub title: Span,
    /// Index of the latest event.
    pub example: u32,
    pub count: u64,
    pub first_seen: Micros,
    pub last_seen: Micros,
    /// The next delta with the same fingerprint, of another environment or service.
    next: Option<u32>,
}

/// A message that no parser understood, with its bytes and the reason.
#[derive(Clone, Debug)]
pub struct Rejected {
    pub record: u32,
    pub ordinal: u32,
    pub reason: String,
    /// At most [`Rejected::MAX_BYTES`] of the message; not necessarily text.
    pub bytes: Span,
    /// The message's true length in bytes.
    pub length: u64,
    /// How many messages this stands for.
    pub messages: u32,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub struct Batch {
    /// The sequence of the first and of the last record; `0..=0` while empty.
    pub first: u64,
    pub last: u64,
    pub text: Text,
    pub records: Vec<RecordHead>,
    pub events: Events,
    pub requests: Vec<RequestRow>,
    pub faults: Vec<FaultDelta>,
    pub rejected: Vec<Rejected>,
    /// What became of the messages, by source.
    pub tallies: [Tally; Source::COUNT],
    /// Messages that a sender said it lost before they reached us.
    pub upstream_dropped: u64,
    /// The last binlog position that a Maxwell line named.
    pub binlog_position: Span,
    fault_index: HashMap<Fingerprint, u32>,
    next_ordinal: u32,
}

impl Batch {
    /// Takes in the bytes of the next block of records.
    pub fn place<'a>(&mut self, block: &'a [u8]) -> Placed<'a> {
        let span = self.text.push(block);
        Placed { block, base: span.start }
    }

    /// Whether no record was started.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Bytes of memory held, roughly; the unit of the pipeline's bounds.
    #[must_use]
    pub fn bytes(&self) -> usize {
        const PER_EVENT: usize = 110;
        self.text.0.len() + self.events.len() * PER_EVENT + self.rejected.len() * 96
    }

    /// Messages that the records of this batch declared.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.tallies.iter().map(|tally| tally.received).sum()
    }

    /// Starts the next record; what is pushed from here on belongs to it.
    pub fn start_record(&mut self, head: RecordHead, declared_messages: u32) {
        if self.records.is_empty() {
            self.first = head.sequence;
        }
        self.last = head.sequence;
        self.records.push(head);
        self.next_ordinal = 0;
        self.tallies[head.source as usize].received += u64::from(declared_messages);
    }

    fn current_record(&self) -> u32 {
        u32::try_from(self.records.len() - 1).expect("far below 2³² records a batch")
    }

    fn current_tally(&mut self) -> &mut Tally {
        let source = self.records.last().expect("a record was started").source;
        &mut self.tallies[source as usize]
    }

    fn take_ordinal(&mut self) -> u32 {
        let ordinal = self.next_ordinal;
        self.next_ordinal += 1;
        ordinal
    }

    /// Adds an event of the current record; gives its index.
    pub fn push_event(&mut self, event: NewEvent) -> u32 {
        let index = u32::try_from(self.events.len()).expect("far below 2³² events a batch");
        let (record, ordinal) = (self.current_record(), self.take_ordinal());
        let events = &mut self.events;
        events.record.push(record);
        events.ordinal.push(ordinal);
        events.kind.push(event.kind);
        events.severity.push(event.severity);
        events.occurred_at.push(event.occurred_at);
        events.environment.push(event.environment);
        events.service.push(event.service);
        events.process.push(event.process);
        events.message.push(event.message);
        events.message_bytes.push(event.message_bytes);
        events.stack_trace.push(event.stack_trace);
        events.attributes.push(event.attributes);
        events.priority.push(event.priority);
        events.messages.push(event.messages);
        events.fault.push(None);
        self.current_tally().stored += u64::from(event.messages);
        index
    }

    /// Counts a message of the current record that belongs to an earlier event.
    pub fn count_joined(&mut self) {
        self.current_tally().stored += 1;
    }

    /// Makes `lines` (its first line included) the message of `event`.
    pub fn join(&mut self, event: u32, lines: &[Span], severity: Severity) {
        let index = event as usize;
        let joined = self.text.push_lines(lines);
        let kept = self.keep_text(joined);
        self.events.message[index] = kept.text;
        self.events.message_bytes[index] = kept.bytes;
        self.events.severity[index] = severity;
        self.events.messages[index] = narrow(lines.len());
    }

    /// Adds a rejected message of the current record. `reason` says what was wrong and where.
    pub fn reject(&mut self, bytes: Span, length: u64, messages: u32, reason: String) {
        let (record, ordinal) = (self.current_record(), self.take_ordinal());
        let bytes = Span { len: bytes.len.min(Rejected::MAX_BYTES), ..bytes };
        self.rejected.push(Rejected { record, ordinal, reason, bytes, length, messages });
        self.current_tally().rejected += u64::from(messages);
    }

    /// Counts messages of the current record that were accepted before.
    pub fn count_duplicates(&mut self, messages: u32) {
        self.current_tally().duplicate += u64::from(messages);
    }

    /// Assigns `event` to the fault of `fingerprint`, counting it.
    pub fn assign_fault(&mut self, event: u32, fingerprint: Fingerprint, title: &str) {
        let index = event as usize;
        let (environment, service) = (self.events.environment[index], self.events.service[index]);
        let occurred_at = self.events.occurred_at[index];
        let severity = self.events.severity[index];
        let first = self.fault_index.get(&fingerprint).copied();
        let mut at = first;
        while let Some(known) = at {
            let delta = &mut self.faults[known as usize];
            if self.text.get(delta.environment) == self.text.get(environment)
                && self.text.get(delta.service) == self.text.get(service)
            {
                delta.count += 1;
                delta.first_seen = delta.first_seen.min(occurred_at);
                delta.last_seen = delta.last_seen.max(occurred_at);
                delta.severity = delta.severity.min(severity);
                delta.example = delta.example.max(event);
                self.events.fault[index] = Some(known);
                return;
            }
            at = delta.next;
        }
        let new = u32::try_from(self.faults.len()).expect("fewer faults than events");
        let title = self.text.push(title.as_bytes());
        let title = self.keep_text(title).text;
        self.faults.push(FaultDelta {
            fingerprint,
            environment,
            service,
            kind: self.events.kind[index],
            severity,
            title,
            example: event,
            count: 1,
            first_seen: occurred_at,
            last_seen: occurred_at,
            next: first,
        });
        self.fault_index.insert(fingerprint, new);
        self.events.fault[index] = Some(new);
    }

    /// Makes bytes storable as text: bytes that are no UTF-8, and NUL, become
    /// U+FFFD in a copy, and the original bytes are kept beside it.
    pub fn keep_text(&mut self, span: Span) -> Kept {
        let bytes = self.text.get(span);
        if is_storable(bytes) {
            return Kept { text: span, bytes: Span::EMPTY };
        }
        let repaired = repair(bytes);
        Kept { text: self.text.push(repaired.as_bytes()), bytes: span }
    }

    /// Appends an event's attributes to `out`; `false` when it has none.
    pub fn write_attributes(&self, event: usize, out: &mut Vec<u8>) -> bool {
        match self.events.attributes[event] {
            Attributes::None => false,
            Attributes::Json(span) => {
                out.extend_from_slice(self.text.get(span));
                true
            }
            Attributes::Request(row) => {
                self.requests[row as usize].write_json(&self.text, out);
                true
            }
        }
    }

    /// The record that an event belongs to.
    #[must_use]
    pub fn record_of(&self, event: usize) -> &RecordHead {
        &self.records[self.events.record[event] as usize]
    }
}

/// A message's text, and its own bytes where the text had to be repaired.
#[derive(Clone, Copy, Debug)]
pub struct Kept {
    pub text: Span,
    pub bytes: Span,
}

/// Whether every store can hold `bytes` as text.
#[must_use]
pub fn is_storable(bytes: &[u8]) -> bool {
    memchr::memchr(0, bytes).is_none() && simdutf8::basic::from_utf8(bytes).is_ok()
}

/// `bytes` as text that every store can hold.
#[must_use]
pub fn repair(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace('\0', "\u{fffd}")
}

impl Rejected {
    /// Bytes kept of one rejected message.
    pub const MAX_BYTES: u32 = 1 << 20;
}

impl RequestRow {
    /// Writes the request as a JSON object; names carry their units.
    fn write_json(&self, text: &Text, out: &mut Vec<u8>) {
        out.push(b'{');
        let mut fields = super::json::Fields::new(out);
        let spans = [
            ("method", self.method_text),
            ("path", self.path),
            ("code", self.code),
            ("dyno", self.dyno),
            ("fwd", self.forwarded_for),
            ("request_id", self.request_id),
        ];
        for (name, span) in spans {
            if !span.is_empty() {
                fields.text(name, text.get(span));
            }
        }
        let numbers = [
            ("status", self.status.map(u64::from)),
            ("connect_ms", self.connect_ms.map(u64::from)),
            ("service_ms", self.service_ms.map(u64::from)),
            ("bytes", self.bytes),
        ];
        for (name, number) in numbers {
            if let Some(number) = number {
                fields.number(name, number);
            }
        }
        out.push(b'}');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch_over(block: &[u8]) -> Batch {
        let mut batch = Batch::default();
        batch.place(block);
        let head = RecordHead { sequence: 7, received_at: 1, source: Source::Logdrains };
        batch.start_record(head, 3);
        batch
    }

    fn event(message: Span, environment: Span) -> NewEvent {
        NewEvent {
            kind: Kind::Log,
            severity: Severity::Error,
            occurred_at: 5,
            environment,
            service: Span::EMPTY,
            process: Span::EMPTY,
            message,
            message_bytes: Span::EMPTY,
            stack_trace: Span::EMPTY,
            attributes: Attributes::None,
            priority: None,
            messages: 1,
        }
    }

    #[test]
    fn pieces_of_a_block_become_spans() {
        let mut batch = batch_over(b"first");
        let block = b"abcdef";
        let placed = batch.place(block);
        let pushed = batch.text.push(b"xyz");
        assert_eq!(batch.text.get(placed.span(&block[2..4])), b"cd");
        assert_eq!(batch.text.get(pushed), b"xyz");
        assert_eq!(batch.text.get(placed.span(&block[6..])), b"");
        let joined = batch.text.push_lines(&[pushed, placed.span(&block[..1])]);
        assert_eq!(batch.text.get(joined), b"xyz\na");
    }

    #[test]
    fn text_that_no_store_takes_is_repaired_and_kept() {
        let mut batch = batch_over(b"caf\xe9 \0");
        let all = Span { start: 0, len: 6 };
        let kept = batch.keep_text(all);
        assert_eq!(batch.text.get(kept.text), "caf\u{fffd} \u{fffd}".as_bytes());
        assert_eq!(batch.text.get(kept.bytes), b"caf\xe9 \0");
    }

    #[test]
    fn faults_are_counted_by_environment() {
        let mut batch = batch_over(b"prod dev");
        let (prod, dev) = (Span { start: 0, len: 4 }, Span { start: 5, len: 3 });
        let fingerprint = Fingerprint::of_parts(["x"]);
        for environment in [prod, dev, prod] {
            let index = batch.push_event(event(Span::EMPTY, environment));
            batch.assign_fault(index, fingerprint, "title");
        }
        let counts: Vec<_> = batch.faults.iter().map(|delta| delta.count).collect();
        assert_eq!(counts, [2, 1]);
        assert_eq!(batch.events.fault, [Some(0), Some(1), Some(0)]);
        assert_eq!(batch.faults[0].example, 2);
        let tally = batch.tallies[Source::Logdrains as usize];
        assert_eq!((tally.received, tally.stored), (3, 3));
    }
}
