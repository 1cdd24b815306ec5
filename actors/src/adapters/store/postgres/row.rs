//! What people read, from rows of PostgreSQL.

use serde_json::value::RawValue;
use tokio_postgres::{Row, types::Json};

use crate::{
    adapters::store::{
        AuditEntry, StoredEvent, StoredFault, StoredRejected, StoredShape, search::EventId,
    },
    domain::time::Micros,
};

pub(super) fn micros_of(row: &Row, column: usize) -> Micros {
    row.get::<_, jiff::Timestamp>(column).as_microsecond()
}

pub(super) fn optional_micros_of(row: &Row, column: usize) -> Option<Micros> {
    row.get::<_, Option<jiff::Timestamp>>(column).map(jiff::Timestamp::as_microsecond)
}

pub(super) const EVENT: &str =
    "occurred_at, received_at, source, kind, severity, environment, service, process, message,
    stack_trace, attributes, fingerprint, messages, origin, sequence, ordinal";

pub(super) fn event_of(row: &Row) -> StoredEvent {
    StoredEvent {
        id: EventId { origin: row.get(13), sequence: row.get(14), ordinal: row.get(15) },
        occurred_at: micros_of(row, 0),
        received_at: micros_of(row, 1),
        source: row.get(2),
        kind: row.get(3),
        severity: row.get(4),
        environment: row.get(5),
        service: row.get(6),
        process: row.get(7),
        message: row.get(8),
        stack_trace: row.get(9),
        attributes: row.get::<_, Option<Json<Box<RawValue>>>>(10).map(|json| json.0),
        fingerprint: row.get(11),
        messages: row.get(12),
    }
}

pub(super) const FAULT: &str =
    "id, environment, service, fingerprint, kind, severity, title, example, latest,
    count, first_seen, last_seen, merged_into, rule";

pub(super) fn fault_of(row: &Row) -> StoredFault {
    StoredFault {
        id: row.get(0),
        environment: row.get(1),
        service: row.get(2),
        fingerprint: row.get(3),
        kind: row.get(4),
        severity: row.get(5),
        title: row.get(6),
        example: row.get(7),
        latest: row.get(8),
        count: row.get(9),
        first_seen: micros_of(row, 10),
        last_seen: micros_of(row, 11),
        merged_into: row.get(12),
        rule: row.get(13),
    }
}

pub(super) fn shape_of(row: &Row) -> StoredShape {
    StoredShape {
        fingerprint: row.get(0),
        title: row.get(1),
        why: row.get(2),
        detail: row.get(3),
        count: row.get(4),
        first_seen: micros_of(row, 5),
        last_seen: micros_of(row, 6),
        template: row.get(7),
        closest: None,
    }
}

pub(super) fn audit_of(row: &Row) -> AuditEntry {
    AuditEntry {
        id: row.get(0),
        at: micros_of(row, 1),
        who: row.get(2),
        action: row.get(3),
        subject: row.get(4),
        details: row.get::<_, Json<Box<RawValue>>>(5).0,
        fault: row.get(6),
        job: row.get(7),
    }
}

pub(super) fn rejected_of(row: &Row) -> StoredRejected {
    StoredRejected {
        id: row.get(0),
        received_at: micros_of(row, 1),
        source: row.get(2),
        reason: row.get(3),
        bytes: row.get(4),
        length: row.get(5),
        messages: row.get(6),
        replayed_at: optional_micros_of(row, 7),
    }
}
