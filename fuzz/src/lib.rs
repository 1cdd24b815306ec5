//! What must hold for whatever a parser makes of any input: the checks that the targets share.

use std::{collections::HashSet, sync::Arc};

use faultline_actors::domain::{
    batch::{Batch, Event, FaultDelta, Rejected, Scope, Span, is_storable, repair},
    event::{Kind, Source},
    parse::{self, count_messages},
    record::{Block, Content, Meta, RecordRef},
    shape::Shape,
    time,
};
use serde_json::value::RawValue;

/// When every record of the targets was received.
pub const RECEIVED_AT: time::Micros = 1_795_316_400_000_000;

/// Parses `bodies` as records that follow each other, and checks the batch.
#[must_use]
pub fn parse(source: Source, meta: Meta<'_>, bodies: &[&[u8]]) -> Batch {
    let mut bytes = meta.encode();
    let meta = 0..bytes.len();
    let mut records = Vec::new();
    for (sequence, body) in (1..).zip(bodies) {
        let start = bytes.len();
        bytes.extend_from_slice(body);
        records.push(RecordRef {
            sequence,
            received_at: RECEIVED_AT,
            source,
            messages: count_messages(source, body),
            content: Content::Body { meta: meta.clone(), body: start..bytes.len() },
        });
    }
    parse_block(&Block { bytes: bytes.into(), records })
}

/// Parses a block as it comes from a journal, and checks the batch. What it says of how many
/// messages there are is the relay's to say rightly.
pub fn check_block(mut block: Block) {
    for record in &mut block.records {
        if let Content::Body { body, .. } = &record.content {
            record.messages = count_messages(record.source, &block.bytes[body.clone()]);
        }
    }
    let _ = parse_block(&block);
}

fn parse_block(block: &Block) -> Batch {
    let mut parser = parse::Parser::new("production", Arc::default());
    let mut batch = Batch::default();
    let _ = parser.parse(&mut batch, block);
    parser.finish(&mut batch);
    check(&batch);
    batch
}

/// Checks what must hold for any batch.
pub fn check(batch: &Batch) {
    check_ledger(batch);
    check_ordinals(batch);
    for event in &batch.events {
        check_event(batch, event);
    }
    for rejected in &batch.rejected {
        assert!(!rejected.reason.is_empty() && is_storable(rejected.reason.as_bytes()));
        assert!(rejected.bytes.len() <= Rejected::MAX_BYTES as usize);
        assert!(rejected.bytes.len() as u64 <= rejected.length);
    }
    check_faults(batch);
}

/// Every message that was received is in an event or rejected.
fn check_ledger(batch: &Batch) {
    for tally in batch.tallies {
        assert_eq!(tally.received, tally.settled());
    }
    let total = |count: fn(&faultline_actors::domain::ledger::Tally) -> u64| {
        batch.tallies.iter().map(count).sum::<u64>()
    };
    let stored = batch.events.iter().map(|event| u64::from(event.messages)).sum::<u64>();
    assert_eq!(stored, total(|tally| tally.stored));
    let rejected = batch.rejected.iter().map(|message| u64::from(message.messages)).sum::<u64>();
    assert_eq!(rejected, total(|tally| tally.rejected));
}

/// Events and rejected messages number the places of their record from 0, without gaps.
fn check_ordinals(batch: &Batch) {
    let mut places: Vec<_> = batch.events.iter().map(|row| (row.record, row.ordinal)).collect();
    assert!(places.is_sorted());
    places.extend(batch.rejected.iter().map(|row| (row.record, row.ordinal)));
    places.sort_unstable();
    let mut expected = (0, 0);
    for place in places {
        if place.0 != expected.0 {
            expected = (place.0, 0);
        }
        assert_eq!(place, expected);
        expected.1 += 1;
    }
    assert!((expected.0 as usize) < batch.records.len().max(1));
}

fn check_event(batch: &Batch, event: &Event) {
    let Event { scope, process, message, message_bytes, stack_trace, .. } = *event;
    for span in [scope.environment, scope.service, process, message, stack_trace] {
        assert!(is_storable(batch.text.get(span)));
    }
    if !message_bytes.is_empty() {
        let own = batch.text.get(message_bytes);
        assert!(!is_storable(own));
        assert_eq!(text(batch, message), repair(own));
    }
    assert!((time::MIN..=time::MAX).contains(&event.occurred_at));
    assert!(!event.severity.is_fault() || event.fault != Event::NO_FAULT);
    let mut attributes = Vec::new();
    if batch.write_attributes(event, &mut attributes) {
        assert!(is_object(&attributes));
    }
}

/// Each fault counts its events, and has one fingerprint for one environment and service.
fn check_faults(batch: &Batch) {
    let mut met = vec![None; batch.faults.len()];
    for (index, event) in (0..).zip(&batch.events) {
        let Some(fault) = batch.faults.get(event.fault as usize) else { continue };
        assert_eq!(scope(batch, event.scope), scope(batch, fault.scope));
        let (severity, at) = (event.severity, event.occurred_at);
        let own = met[event.fault as usize].get_or_insert((0, index, severity, at, at));
        *own = (own.0 + 1, index, own.2.min(severity), own.3.min(at), own.4.max(at));
    }
    let mut known = HashSet::new();
    for (fault, met) in batch.faults.iter().zip(met) {
        let FaultDelta { count, example, severity, first_seen, last_seen, .. } = *fault;
        assert_eq!(met, Some((count, example, severity, first_seen, last_seen)));
        let fingerprint = fault.fingerprint.to_string();
        check_fingerprint(&fingerprint);
        assert!(known.insert((fingerprint, scope(batch, fault.scope))));
        let longest = Shape::MAX_TITLE * '\u{fffd}'.len_utf8();
        assert!(text(batch, fault.title).len() <= longest);
    }
}

fn scope(batch: &Batch, scope: Scope) -> (&str, &str) {
    (text(batch, scope.environment), text(batch, scope.service))
}

/// `v1:` and 64 hex digits.
pub fn check_fingerprint(fingerprint: &str) {
    let digits = fingerprint.strip_prefix("v1:").expect("a version");
    assert_eq!(digits.len(), 64);
    assert!(digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')));
}

#[must_use]
pub fn text(batch: &Batch, span: Span) -> &str {
    std::str::from_utf8(batch.text.get(span)).expect("a batch keeps only valid text")
}

/// Whether `json` is one JSON object, however deep.
#[must_use]
pub fn is_object(json: &[u8]) -> bool {
    serde_json::from_slice::<&RawValue>(json).is_ok_and(|value| value.get().starts_with('{'))
}

/// What people and stores see of a batch's events, without where its text lies.
#[must_use]
pub fn seen(batch: &Batch) -> Vec<Seen<'_>> {
    let fault = |event: &Event| batch.faults.get(event.fault as usize);
    batch
        .events
        .iter()
        .map(|event| Seen {
            kind: event.kind,
            messages: event.messages,
            service: text(batch, event.scope.service),
            process: text(batch, event.process),
            message: text(batch, event.message),
            fingerprint: fault(event).map(|fault| fault.fingerprint.to_string()),
        })
        .collect()
}

/// See [`seen`].
#[derive(Debug, PartialEq, Eq)]
pub struct Seen<'a> {
    pub kind: Kind,
    pub messages: u32,
    pub service: &'a str,
    pub process: &'a str,
    pub message: &'a str,
    pub fingerprint: Option<String>,
}
