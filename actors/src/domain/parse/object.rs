//! What happened to objects: the lines of the bucket watcher.

use super::{Current, text_of};
use crate::domain::{
    batch::{Attributes, Batch, Event, Scope},
    event::{Kind, Severity},
    maxwell,
    object::line::Line,
    rule::{ObjectFacts, Rules, Selected},
    shape::Shape,
};

/// Reads the lines of a body. Those that `rules` select are faults.
pub(super) fn read(rules: &Rules, batch: &mut Batch, current: &Current<'_>) {
    for bytes in maxwell::lines(current.body) {
        let span = current.placed.span(bytes);
        let line = match Line::read(bytes) {
            Ok(line) => line,
            Err(problem) => {
                let at = bytes.as_ptr().addr() - current.body.as_ptr().addr();
                let reason = format!("line at byte {at}: {problem}");
                batch.reject(span, bytes.len() as u64, 1, reason);
                continue;
            }
        };
        let message = format!("{} {}/{}", line.kind, line.bucket, line.key);
        let message = batch.text.push(message.as_bytes());
        let kept = batch.keep_text(message);
        let service = batch.text.push(line.bucket.as_bytes());
        let scope = Scope { service: batch.keep_text(service).text, ..current.scope };
        let selected = rules.select_object(&ObjectFacts {
            environment: text_of(batch, current.scope.environment),
            bucket: &line.bucket,
            key: &line.key,
            kind: &line.kind,
        });
        let occurred_at = line.occurred_at().unwrap_or(current.received_at);
        let event = batch.push_event(Event {
            message: kept.text,
            message_bytes: kept.bytes,
            attributes: Attributes::Json(span),
            ..Event::new(Kind::Object, Severity::Info, occurred_at, scope)
        });
        batch.announced.extend(line.id().map(|id| (event, id)));
        if let Some(Selected { rule, parts, title, .. }) = selected {
            batch.assign_fault_by(event, &Shape::of_object(&parts, &title), &rule);
        }
    }
}
