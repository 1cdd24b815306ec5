//! From records to events: which parser reads which source, and how lines of one process become
//! one event.

use std::sync::Arc;

use super::{
    batch::{Batch, Placed, RecordHead, Scope, Span, is_storable},
    error_report,
    event::Source,
    frame::Frames,
    maxwell,
    record::{Block, Content, Meta, RecordRef},
    rule::Rules,
    time::Micros,
};

mod change;
mod drain;
mod object;
mod report;

/// How many messages the ledger counts in a body. The receiver declares this number when it
/// accepts the body; the parser must find the same.
#[must_use]
pub fn count_messages(source: Source, body: &[u8]) -> u32 {
    match source {
        Source::Logdrains => Frames::count_messages(body),
        // One a line, both.
        Source::Maxwell | Source::Bucket => maxwell::count_messages(body),
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
    /// The environment of events that do not name one, or of all.
    environment: String,
    is_authoritative: bool,
    /// Say which changes, of rows and of objects, are faults.
    rules: Arc<Rules>,
    maxwell: maxwell::Reader,
    drains: drain::Drains,
}

/// A record being parsed.
struct Current<'a> {
    placed: Placed<'a>,
    body: &'a [u8],
    meta: Meta<'a>,
    received_at: Micros,
    scope: Scope,
    /// Whatever the body says.
    is_environment_known: bool,
    /// The whole body is text that stores can hold, so its pieces are.
    is_text: bool,
}

impl Parser {
    /// `environment` is that of events that name none; `rules` say which changes are faults.
    #[must_use]
    pub fn new(environment: &str, rules: Arc<Rules>) -> Self {
        Self {
            environment: environment.to_owned(),
            is_authoritative: false,
            rules,
            maxwell: maxwell::Reader::default(),
            drains: drain::Drains::default(),
        }
    }

    /// Of all events, `environment` is theirs, whatever they say.
    #[must_use]
    pub fn of_environment(environment: &str, rules: Arc<Rules>) -> Self {
        Self { is_authoritative: true, ..Self::new(environment, rules) }
    }

    /// Goes by other rules from now on; best between two batches.
    pub fn use_rules(&mut self, rules: Arc<Rules>) {
        self.rules = rules;
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
        if self.drains.is_open() { Ending::OpenTrace } else { Ending::Complete }
    }

    /// Closes all that is open in `batch`.
    pub fn finish(&mut self, batch: &mut Batch) {
        self.drains.finish(batch);
    }

    /// Forgets all that is open, with the batch that it belonged to.
    pub fn reset(&mut self) {
        self.drains.reset();
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
        if let Some(id) = meta.replay {
            batch.replays(id);
        }
        if meta.overlong > 0 {
            // Never less than what is there, whatever a relay says.
            let length = meta.overlong.max(body.len() as u64);
            let reason = format!("a line of {length} bytes, which is beyond the limit");
            return batch.reject(placed.span(body), length, record.messages, reason);
        }
        let environment = if meta.environment.is_empty() || self.is_authoritative {
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
            is_environment_known: self.is_authoritative,
            is_text: is_storable(body),
        };
        match record.source {
            // By itself: whether a replay is stored is decided about all of it, and nothing else.
            Source::Logdrains if current.meta.replay.is_some() => {
                let mut apart = drain::Drains::default();
                apart.read(batch, &current);
                apart.finish(batch);
            }
            Source::Logdrains => self.drains.read(batch, &current),
            Source::Maxwell => {
                change::read(&mut self.maxwell, &self.rules, batch, &current);
            }
            Source::Errors => report::read(batch, &current),
            Source::Bucket => object::read(&self.rules, batch, &current),
        }
    }
}

fn text_of(batch: &Batch, span: Span) -> &str {
    std::str::from_utf8(batch.text.get(span)).expect("a batch keeps only valid text")
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::{
        super::{batch::Rejected, record::RejectedId},
        *,
    };
    use crate::domain::event::Kind;

    /// A block of one record.
    pub(in crate::domain) fn block(source: Source, body: &[u8], meta: Meta<'_>) -> Block {
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
        let mut parser = Parser::new("production", Arc::default());
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
        let mut parser = Parser::new("production", Arc::default());
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

    /// Neither a line of another record is joined to it nor the other way round, and what goes on
    /// around it stays together.
    #[test]
    fn a_replay_stays_apart_from_its_neighbours() {
        let line = |text: &str| format!("<190>1 t host app web.1 - {text}\n").into_bytes();
        let id = RejectedId { id: 7, received_at: 1 };
        let replay = Meta { replay: Some(id), ..Meta::default() };
        let live = Meta::default();
        let mut parser = Parser::new("production", Arc::default());
        let mut batch = Batch::default();
        for (sequence, (lines, meta)) in (1..).zip([
            (vec![line("Error: boom")], live),
            (vec![line("    at r (/r.js:1:2)"), line("Error: again")], replay),
            (vec![line("    at f (/a.js:1:2)"), line("Error: last")], live),
            (vec![line("    at s (/s.js:1:2)")], replay),
        ]) {
            let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
            let mut block = block(Source::Logdrains, &frames(&lines), meta);
            block.records[0].sequence = sequence;
            assert_eq!(parser.parse(&mut batch, &block), Ending::OpenTrace, "of the live lines");
        }
        parser.finish(&mut batch);
        assert_ledger(&batch);
        let messages: Vec<_> = (0..batch.events.len())
            .map(|event| (batch.events[event].record, message(&batch, event)))
            .collect();
        assert_eq!(
            messages,
            [
                (0, "Error: boom\n    at f (/a.js:1:2)"),
                (1, "    at r (/r.js:1:2)"),
                (1, "Error: again"),
                (2, "Error: last"),
                (3, "    at s (/s.js:1:2)"),
            ]
        );
        assert_eq!(batch.replayed, [(1, id), (3, id)]);
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
        let mut parser = Parser::new("production", Arc::default());
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
