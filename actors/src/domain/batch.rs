//! The events of one or several records.
//!
//! A batch holds on to the blocks of bytes that its records came in, and has one buffer for what is
//! not there word for word (joined stack traces, repaired text, small JSON objects). Its events
//! point into these. So parsing an event allocates nothing and copies nothing, and a batch travels
//! through the pipeline as one `Arc`.
//!
//! Text that a [`Span`] of an event refers to is always valid UTF-8 without NUL, which is what
//! every store can hold; [`Batch::keep_text`] sees to that.

use std::{collections::HashMap, hash::BuildHasher};

use bytes::Bytes;

use super::text::narrow;
pub use super::text::{Placed, Span, Text, is_storable, repair};
use super::{
    event::{Kind, Severity, Source},
    ledger::Tally,
    object::ChangeId,
    record::{Block, RecordRef, RejectedId},
    router,
    shape::{Fingerprint, Shape},
    time::Micros,
};

/// What the events of one record have in common.
#[derive(Clone, Copy, Debug)]
pub struct RecordHead {
    pub sequence: u64,
    pub received_at: Micros,
    pub source: Source,
    /// Empty where there is none.
    pub body: Span,
}

impl RecordHead {
    /// Without its body.
    #[must_use]
    pub fn of(record: &RecordRef) -> Self {
        let RecordRef { sequence, received_at, source, .. } = *record;
        Self { sequence, received_at, source, body: Span::EMPTY }
    }
}

/// Where an event's attributes (a JSON object) come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attributes {
    None,
    /// JSON text that is ready.
    Json(Span),
    /// Those of the request that a router line reports; read from the line when a store asks.
    Request,
}

/// Whom events belong to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    pub environment: Span,
    pub service: Span,
}

/// One event. Rows, not columns: every reader takes whole events, and one row is written in a
/// third of the time of sixteen columns.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// Index into [`Batch::records`]; set by [`Batch::push_event`].
    pub record: u32,
    /// The event's place among the events and rejected messages of its record; set likewise.
    pub ordinal: u32,
    /// Index into [`Batch::faults`], or [`Event::NO_FAULT`].
    pub fault: u32,
    /// How many messages were joined into this event.
    pub messages: u32,
    pub kind: Kind,
    pub severity: Severity,
    /// The syslog priority, where the event came with one.
    pub priority: Option<u8>,
    pub occurred_at: Micros,
    pub scope: Scope,
    /// The dyno or process, where there is one.
    pub process: Span,
    pub message: Span,
    /// The message's own bytes where `message` had to be repaired.
    pub message_bytes: Span,
    pub stack_trace: Span,
    pub attributes: Attributes,
}

impl Event {
    pub const NO_FAULT: u32 = u32::MAX;

    /// An event of which nothing is known yet.
    #[must_use]
    pub fn new(kind: Kind, severity: Severity, occurred_at: Micros, scope: Scope) -> Self {
        Self {
            record: 0,
            ordinal: 0,
            fault: Self::NO_FAULT,
            messages: 1,
            kind,
            severity,
            priority: None,
            occurred_at,
            scope,
            process: Span::EMPTY,
            message: Span::EMPTY,
            message_bytes: Span::EMPTY,
            stack_trace: Span::EMPTY,
            attributes: Attributes::None,
        }
    }
}

/// How often a fault was met in this batch.
#[derive(Clone, Debug)]
pub struct FaultDelta {
    pub fingerprint: Fingerprint,
    pub scope: Scope,
    pub kind: Kind,
    /// The worst that was met.
    pub severity: Severity,
    pub title: Span,
    /// See [`Shape::template`].
    pub template: Span,
    /// The rules that made a fault of it; empty where it is one by itself.
    pub rule: Span,
    /// Index of the latest event.
    pub example: u32,
    pub count: u64,
    pub first_seen: Micros,
    pub last_seen: Micros,
    /// The next delta under the same key of [`Batch::fault_index`].
    next: Option<u32>,
}

impl FaultDelta {
    /// That of an event which was counted when it was stored first.
    pub(super) fn counted(fingerprint: Fingerprint, event: &Event) -> Self {
        let Event { scope, kind, severity, occurred_at, .. } = *event;
        Self {
            fingerprint,
            scope,
            kind,
            severity,
            title: Span::EMPTY,
            template: Span::EMPTY,
            rule: Span::EMPTY,
            example: 0,
            count: 0,
            first_seen: occurred_at,
            last_seen: occurred_at,
            next: None,
        }
    }
}

/// A message that no parser understood, with its bytes and the reason. Where a record has very
/// many of them, neighbours share one, with the reason of the first.
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
    /// The journal that first made its records durable.
    pub origin: uuid::Uuid,
    /// The sequence of the first and of the last record; `0..=0` while empty.
    pub first: u64,
    pub last: u64,
    pub text: Text,
    pub records: Vec<RecordHead>,
    pub events: Vec<Event>,
    pub faults: Vec<FaultDelta>,
    pub rejected: Vec<Rejected>,
    /// What became of the messages, by source.
    pub tallies: [Tally; Source::COUNT],
    /// Messages that a sender said it lost before they reached us.
    pub upstream_dropped: u64,
    /// The identities of events that may have been announced before, with their indexes.
    pub announced: Vec<(u32, ChangeId)>,
    /// The rejected messages that were taken in again, with the index of the record of each.
    pub replayed: Vec<(u32, RejectedId)>,
    /// The last binlog position that a Maxwell line named.
    pub binlog_position: Span,
    /// By a hash of fingerprint, environment and service: one fingerprint may come from so many
    /// services that they must not be searched.
    fault_index: HashMap<u64, u32>,
    next_ordinal: u32,
    /// How many messages had been rejected when the current record started.
    rejected_before: usize,
    /// The latest message of the current record was rejected.
    is_rejecting: bool,
}

impl Batch {
    /// Takes in the next block of records.
    pub fn place<'a>(&mut self, block: &'a Bytes) -> Placed<'a> {
        self.text.place(block)
    }

    /// Makes room for the events that `block` says it holds, in one step: doubling would take up to
    /// twice the memory. What it says is believed for lines of some length.
    pub fn expect_events(&mut self, block: &Block) {
        const SHORT: usize = 100;
        let said: usize = block.records.iter().map(|record| record.messages as usize).sum();
        let room = said.min(block.bytes.len() / SHORT);
        if self.events.capacity() - self.events.len() < room {
            // Many small blocks must not move the events each time.
            self.events.reserve_exact(room.max(self.events.len() / 2));
        }
    }

    /// Whether no record was started.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Bytes of memory held, roughly; the unit of the pipeline's bounds.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.text.len() + self.events.len() * size_of::<Event>() + self.rejected.len() * 96
    }

    /// Starts the next record; what is pushed from here on belongs to it.
    pub fn start_record(&mut self, head: RecordHead, declared_messages: u32) {
        if self.records.is_empty() {
            self.first = head.sequence;
        }
        self.last = head.sequence;
        self.records.push(head);
        self.next_ordinal = 0;
        self.rejected_before = self.rejected.len();
        self.is_rejecting = false;
        self.tallies[head.source as usize].received += u64::from(declared_messages);
    }

    /// The current record takes in a rejected message again.
    pub fn replays(&mut self, id: RejectedId) {
        self.replayed.push((self.current_record(), id));
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
    pub fn push_event(&mut self, mut event: Event) -> u32 {
        let index = narrow(self.events.len());
        event.record = self.current_record();
        event.ordinal = self.take_ordinal();
        self.current_tally().stored += u64::from(event.messages);
        self.is_rejecting = false;
        self.events.push(event);
        index
    }

    /// Counts a message of the current record that belongs to an earlier event.
    pub fn count_joined(&mut self) {
        self.current_tally().stored += 1;
        self.is_rejecting = false;
    }

    /// Makes `lines` (its first line included) the message of `event`.
    pub fn join(&mut self, event: u32, lines: &[Span], severity: Severity) {
        let joined = self.text.push_lines(lines);
        let kept = self.keep_text(joined);
        let event = &mut self.events[event as usize];
        event.message = kept.text;
        event.message_bytes = kept.bytes;
        event.severity = severity;
        event.messages = narrow(lines.len());
    }

    /// Whether the next rejected message of the current record has a row to itself.
    #[must_use]
    pub fn rejects_apart(&self) -> bool {
        self.rejected_of_record() < Rejected::APART
    }

    fn rejected_of_record(&self) -> usize {
        self.rejected.len() - self.rejected_before
    }

    /// Adds a rejected message of the current record. `reason` says what was wrong and where.
    pub fn reject(&mut self, bytes: Span, length: u64, messages: u32, reason: String) {
        self.current_tally().rejected += u64::from(messages);
        let follows = std::mem::replace(&mut self.is_rejecting, true);
        if follows
            && self.rejected_of_record() > Rejected::APART
            && let Some(before) = self.rejected.last_mut()
            && before.take_in(bytes, length, messages)
        {
            return;
        }
        let (record, ordinal) = (self.current_record(), self.take_ordinal());
        // A reason may quote the message.
        let reason =
            if is_storable(reason.as_bytes()) { reason } else { repair(reason.as_bytes()) };
        let bytes = Span { len: bytes.len.min(Rejected::MAX_BYTES), ..bytes };
        self.rejected.push(Rejected { record, ordinal, reason, bytes, length, messages });
    }

    /// Counts messages of the current record that were accepted before.
    pub fn count_duplicates(&mut self, messages: u32) {
        self.current_tally().duplicate += u64::from(messages);
    }

    /// Assigns `event` to its shape, counting it.
    pub fn assign_fault(&mut self, event: u32, shape: &Shape) {
        self.assign_fault_by(event, shape, "");
    }

    /// Like [`Self::assign_fault`], for an event that is a fault because `rule` says so.
    pub fn assign_fault_by(&mut self, event: u32, shape: &Shape, rule: &str) {
        let fingerprint = shape.fingerprint;
        let Event { scope, occurred_at, severity, kind, .. } = self.events[event as usize];
        let (environment, service) = self.names(scope);
        let key = self.fault_index.hasher().hash_one((fingerprint, environment, service));
        let first = self.fault_index.get(&key).copied();
        let mut at = first;
        while let Some(known) = at {
            let delta = &self.faults[known as usize];
            if delta.fingerprint == fingerprint && self.names(delta.scope) == self.names(scope) {
                let delta = &mut self.faults[known as usize];
                delta.count += 1;
                delta.first_seen = delta.first_seen.min(occurred_at);
                delta.last_seen = delta.last_seen.max(occurred_at);
                delta.severity = delta.severity.min(severity);
                delta.example = delta.example.max(event);
                self.events[event as usize].fault = known;
                return;
            }
            at = delta.next;
        }
        let new = narrow(self.faults.len());
        let title = self.text.push(shape.title.as_bytes());
        let title = self.keep_text(title).text;
        let template = self.text.push(shape.template.as_bytes());
        let rule = self.text.push(rule.as_bytes());
        self.faults.push(FaultDelta {
            fingerprint,
            scope,
            kind,
            severity,
            title,
            template,
            rule,
            example: event,
            count: 1,
            first_seen: occurred_at,
            last_seen: occurred_at,
            next: first,
        });
        self.fault_index.insert(key, new);
        self.events[event as usize].fault = new;
    }

    fn names(&self, scope: Scope) -> (&[u8], &[u8]) {
        (self.text.get(scope.environment), self.text.get(scope.service))
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
    pub fn write_attributes(&self, event: &Event, out: &mut Vec<u8>) -> bool {
        match event.attributes {
            Attributes::None => false,
            Attributes::Json(span) => {
                out.extend_from_slice(self.text.get(span));
                true
            }
            Attributes::Request => {
                router::parse(self.text.get(event.message)).write_json(out);
                true
            }
        }
    }

    /// The record that an event belongs to.
    #[must_use]
    pub fn record_of(&self, event: &Event) -> &RecordHead {
        &self.records[event.record as usize]
    }
}

/// A message's text, and its own bytes where the text had to be repaired.
#[derive(Clone, Copy, Debug)]
pub struct Kept {
    pub text: Span,
    pub bytes: Span,
}

impl Rejected {
    /// Bytes kept of one rejected message.
    pub const MAX_BYTES: u32 = 1 << 20;
    /// So many messages of a record are rejected each by itself: a body of millions of bad
    /// messages must not become millions of rows.
    pub const APART: usize = 1_000;

    /// Takes in the message behind this one, with all that stands between the two; `false` where
    /// bytes would be lost.
    fn take_in(&mut self, bytes: Span, length: u64, messages: u32) -> bool {
        let together = match (self.bytes.is_empty(), bytes.is_empty()) {
            (_, true) => self.bytes,
            (true, false) => bytes,
            (false, false) => {
                let len = bytes.start + bytes.len - self.bytes.start;
                Span { len, ..self.bytes }
            }
        };
        let is_whole = self.length == u64::from(self.bytes.len) && length == u64::from(bytes.len);
        if !is_whole || together.len > Self::MAX_BYTES {
            return false;
        }
        self.bytes = together;
        self.length = u64::from(together.len);
        self.messages += messages;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch_over(block: &[u8]) -> Batch {
        let mut batch = Batch::default();
        batch.place(&Bytes::copy_from_slice(block));
        let head = RecordHead {
            sequence: 7,
            received_at: 1,
            source: Source::Logdrains,
            body: Span::EMPTY,
        };
        batch.start_record(head, 3);
        batch
    }

    fn event(environment: Span) -> Event {
        let scope = Scope { environment, service: Span::EMPTY };
        Event::new(Kind::Log, Severity::Error, 5, scope)
    }

    #[test]
    fn pieces_of_a_block_become_spans() {
        let mut batch = batch_over(b"first");
        let block = Bytes::from_static(b"abcdef");
        let placed = batch.place(&block);
        let pushed = batch.text.push(b"xyz");
        assert_eq!(batch.text.get(placed.span(&block[2..4])), b"cd");
        assert_eq!(batch.text.get(pushed), b"xyz");
        assert_eq!(batch.text.get(placed.span(&block[6..])), b"");
        let joined = batch.text.push_lines(&[placed.span(&block[4..]), placed.span(&block[..1])]);
        assert_eq!(batch.text.get(joined), b"ef\na");
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
    fn a_reason_is_text_that_every_store_takes() {
        let mut batch = batch_over(b"x");
        batch.reject(Span { start: 0, len: 1 }, 1, 1, "unexpected '\0'".to_owned());
        assert_eq!(batch.rejected[0].reason, "unexpected '\u{fffd}'");
    }

    #[test]
    fn very_many_rejected_messages_share_rows() {
        let line = |index: u32| Span { start: 2 * index, len: 1 };
        let mut batch = batch_over(&b"x\n".repeat(Rejected::APART + 10));
        let apart = u32::try_from(Rejected::APART).unwrap();
        for index in 0..apart + 5 {
            batch.reject(line(index), 1, 1, format!("line {index}"));
        }
        let shared = &batch.rejected[Rejected::APART];
        assert_eq!((batch.rejected.len(), shared.messages), (Rejected::APART + 1, 5));
        assert_eq!((batch.text.get(shared.bytes), shared.length), (&b"x\nx\nx\nx\nx"[..], 9));
        assert_eq!(shared.reason, format!("line {apart}"));
        // What is good in between does not become part of a rejected message.
        let index = batch.push_event(event(Span::EMPTY));
        batch.reject(line(apart + 6), 1, 1, "behind an event".to_owned());
        batch.reject(Span::EMPTY, 0, 2, "nothing in it".to_owned());
        assert_eq!(batch.events[index as usize].ordinal, apart + 1);
        let last = batch.rejected.last().unwrap();
        assert_eq!((last.ordinal, last.messages, last.length), (apart + 2, 3, 1));
        let tally = batch.tallies[Source::Logdrains as usize];
        assert_eq!((tally.stored, tally.rejected), (1, u64::from(apart) + 8));
    }

    #[test]
    fn rows_are_not_shared_beyond_what_is_kept_of_one() {
        let mut batch = batch_over(b"x");
        for _ in 0..=Rejected::APART {
            batch.reject(Span { start: 0, len: 1 }, 1, 1, String::new());
        }
        batch.reject(Span { start: 1, len: Rejected::MAX_BYTES }, 2 << 20, 1, String::new());
        batch.reject(Span { start: Rejected::MAX_BYTES + 1, len: 1 }, 1, 1, String::new());
        let lengths: Vec<_> =
            batch.rejected[Rejected::APART..].iter().map(|row| row.length).collect();
        assert_eq!(lengths, [1, 2 << 20, 1]);
    }

    #[test]
    fn faults_are_counted_by_environment() {
        let mut batch = batch_over(b"prod dev");
        let (prod, dev) = (Span { start: 0, len: 4 }, Span { start: 5, len: 3 });
        let shape = Shape::of_log("x");
        for environment in [prod, dev, prod] {
            let index = batch.push_event(event(environment));
            batch.assign_fault(index, &shape);
        }
        let counts: Vec<_> = batch.faults.iter().map(|delta| delta.count).collect();
        assert_eq!(counts, [2, 1]);
        let assigned: Vec<_> = batch.events.iter().map(|event| event.fault).collect();
        assert_eq!(assigned, [0, 1, 0]);
        assert_eq!(batch.faults[0].example, 2);
        let tally = batch.tallies[Source::Logdrains as usize];
        assert_eq!((tally.received, tally.stored), (3, 3));
    }
}
