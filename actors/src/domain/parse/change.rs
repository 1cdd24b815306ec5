//! Changes: the lines of Maxwell's stream.

use super::Current;
use crate::domain::{
    batch::{Attributes, Batch, Event, Scope},
    event::{Kind, Severity},
    maxwell,
};

/// Reads the lines of a body.
pub(super) fn read(reader: &mut maxwell::Reader, batch: &mut Batch, current: &Current<'_>) {
    for line in maxwell::lines(current.body) {
        let span = current.placed.span(line);
        let read = reader.read(line, |change| {
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
