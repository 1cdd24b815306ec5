//! Changes: the lines of Maxwell's stream.

use super::{Current, text_of};
use crate::domain::{
    batch::{Attributes, Batch, Event, Scope},
    event::{Kind, Severity},
    maxwell,
    rule::{ChangeFacts, Rules, Selected},
    shape::Shape,
};

/// Reads the lines of a body. Changes that `rules` select are faults.
pub(super) fn read(
    reader: &mut maxwell::Reader,
    rules: &Rules,
    batch: &mut Batch,
    current: &Current<'_>,
) {
    for line in maxwell::lines(current.body) {
        let span = current.placed.span(line);
        let read = reader.read(line, |change| {
            let message = batch.text.push_with(|out| write_change(change, out));
            let service = batch.text.push(change.database.as_bytes());
            if !change.position.is_empty() {
                batch.binlog_position = batch.text.push(change.position.as_bytes());
            }
            let selected = select(rules, batch, current, change, line);
            (message, service, change.occurred_at, selected)
        });
        match read {
            Ok((message, service, occurred_at, selected)) => {
                let kept = batch.keep_text(message);
                let service = batch.keep_text(service).text;
                let service = if service.is_empty() { current.scope.service } else { service };
                let scope = Scope { service, ..current.scope };
                let occurred_at = occurred_at.unwrap_or(current.received_at);
                let event = batch.push_event(Event {
                    message: kept.text,
                    attributes: Attributes::Json(span),
                    ..Event::new(Kind::Change, Severity::Info, occurred_at, scope)
                });
                if let Some(Selected { rule, parts, title, .. }) = selected {
                    batch.assign_fault_by(event, &Shape::of_change(&parts, &title), &rule);
                }
            }
            Err(error) => {
                let at = line.as_ptr().addr() - current.body.as_ptr().addr();
                let reason = format!("line at byte {at}: {error}");
                batch.reject(span, line.len() as u64, 1, reason);
            }
        }
    }
}

fn select(
    rules: &Rules,
    batch: &Batch,
    current: &Current<'_>,
    change: &maxwell::Change<'_>,
    line: &[u8],
) -> Option<Selected> {
    if !rules.select_changes() {
        return None;
    }
    let service = match change.database {
        "" => text_of(batch, current.scope.service),
        database => database,
    };
    rules.select_change(&ChangeFacts {
        environment: text_of(batch, current.scope.environment),
        service,
        database: change.database,
        table: change.table,
        kind: change.kind,
        line,
    })
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
