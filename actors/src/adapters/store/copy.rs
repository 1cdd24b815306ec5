//! Events as PostgreSQL's binary COPY format.
//!
//! Source: PostgreSQL documentation, "COPY", section "Binary Format": a signature, flags and an
//! extension length; rows of a field count and length-prefixed fields, integers in network order;
//! a trailer of -1. Values are in the types' `send` formats: timestamps are microseconds since
//! 2000-01-01, json is its text.

use crate::domain::{
    batch::{Batch, Event, Span},
    time::Micros,
};

pub(super) const STATEMENT: &str = "COPY events (origin, sequence, ordinal, received_at, occurred_at, \
    source, kind, severity, environment, service, process, message, message_bytes, stack_trace, \
    attributes, priority, messages, fingerprint) FROM STDIN (FORMAT binary)";
const FIELDS: i16 = 18;
const HEADER: &[u8; 19] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const TRAILER: [u8; 2] = (-1i16).to_be_bytes();
const NULL: [u8; 4] = (-1i32).to_be_bytes();
/// 2000-01-01 in microseconds since 1970-01-01.
const POSTGRES_EPOCH: Micros = 946_684_800_000_000;

/// Appends what comes before the first row.
pub(super) fn start(out: &mut Vec<u8>) {
    out.extend_from_slice(HEADER);
}

/// Appends what comes behind the last row.
pub(super) fn finish(out: &mut Vec<u8>) {
    out.extend_from_slice(&TRAILER);
}

/// Appends one event. `fingerprint` is that of its fault, as text.
pub(super) fn push_event(
    out: &mut Vec<u8>,
    batch: &Batch,
    event: &Event,
    origin: i32,
    fingerprint: &str,
) {
    let record = batch.record_of(event);
    out.extend_from_slice(&FIELDS.to_be_bytes());
    fixed(out, origin.to_be_bytes());
    fixed(out, record.sequence.to_be_bytes());
    fixed(out, event.ordinal.to_be_bytes());
    fixed(out, (record.received_at - POSTGRES_EPOCH).to_be_bytes());
    fixed(out, (event.occurred_at - POSTGRES_EPOCH).to_be_bytes());
    bytes(out, record.source.name().as_bytes());
    bytes(out, event.kind.name().as_bytes());
    bytes(out, event.severity.name().as_bytes());
    bytes(out, batch.text.get(event.scope.environment));
    bytes(out, batch.text.get(event.scope.service));
    optional(out, batch, event.process);
    bytes(out, batch.text.get(event.message));
    optional(out, batch, event.message_bytes);
    optional(out, batch, event.stack_trace);
    attributes(out, batch, event);
    match event.priority {
        Some(priority) => fixed(out, i16::from(priority).to_be_bytes()),
        None => out.extend_from_slice(&NULL),
    }
    fixed(out, event.messages.to_be_bytes());
    if fingerprint.is_empty() {
        out.extend_from_slice(&NULL);
    } else {
        bytes(out, fingerprint.as_bytes());
    }
}

fn length(len: usize) -> [u8; 4] {
    i32::try_from(len).expect("a field is far below 2 GiB").to_be_bytes()
}

fn fixed<const N: usize>(out: &mut Vec<u8>, value: [u8; N]) {
    out.extend_from_slice(&length(N));
    out.extend_from_slice(&value);
}

fn bytes(out: &mut Vec<u8>, value: &[u8]) {
    out.extend_from_slice(&length(value.len()));
    out.extend_from_slice(value);
}

fn optional(out: &mut Vec<u8>, batch: &Batch, span: Span) {
    if span.is_empty() {
        out.extend_from_slice(&NULL);
    } else {
        bytes(out, batch.text.get(span));
    }
}

/// The length is known only after the attributes are rendered, and goes in front of them.
fn attributes(out: &mut Vec<u8>, batch: &Batch, event: &Event) {
    let at = out.len();
    out.extend_from_slice(&NULL);
    if batch.write_attributes(event, out) {
        let written = out.len() - at - NULL.len();
        out[at..at + NULL.len()].copy_from_slice(&length(written));
    }
}
