//! Error reports.

use super::Current;
use crate::domain::{
    batch::{Attributes, Batch, Event, Scope, Span},
    error_report,
    event::Kind,
};

/// Reads the reports of a body. The receiver has checked them; one that cannot be read all the same
/// (replayed from elsewhere) is rejected whole.
pub(super) fn read(batch: &mut Batch, current: &Current<'_>) {
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
        let named = if current.is_environment_known { "" } else { &*report.environment };
        let environment = text(named, current.scope.environment);
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
