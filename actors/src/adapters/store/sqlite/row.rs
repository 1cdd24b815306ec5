//! Rows as the store's answers.

use rusqlite::{Connection, Row};
use serde_json::value::RawValue;

use crate::adapters::store::{
    AuditEntry, StoreError, StoredEvent, StoredFault, StoredRejected, StoredShape, search::EventId,
};

/// All rows of a query.
pub(super) fn rows<T>(
    connection: &Connection,
    sql: &str,
    parameters: impl rusqlite::Params,
    read: fn(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, StoreError> {
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map(parameters, read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) const EVENT: &str =
    "occurred_at, received_at, source, kind, severity, environment, service, process, message,
    stack_trace, attributes, fingerprint, messages, origin, sequence, ordinal";

pub(super) fn event_of(row: &Row<'_>) -> rusqlite::Result<StoredEvent> {
    let attributes: Option<String> = row.get(10)?;
    Ok(StoredEvent {
        id: EventId { origin: row.get(13)?, sequence: row.get(14)?, ordinal: row.get(15)? },
        occurred_at: row.get(0)?,
        received_at: row.get(1)?,
        source: row.get(2)?,
        kind: row.get(3)?,
        severity: row.get(4)?,
        environment: row.get(5)?,
        service: row.get(6)?,
        process: row.get(7)?,
        message: row.get(8)?,
        stack_trace: row.get(9)?,
        attributes: attributes.and_then(|json| RawValue::from_string(json).ok()),
        fingerprint: row.get(11)?,
        messages: row.get(12)?,
    })
}

/// The columns that [`fault_of`] reads.
pub(super) const FAULT: &str =
    "id, environment, service, fingerprint, kind, severity, title, example, latest,
    count, first_seen, last_seen, merged_into, rule";

pub(super) fn fault_of(row: &Row<'_>) -> rusqlite::Result<StoredFault> {
    Ok(StoredFault {
        id: row.get(0)?,
        environment: row.get(1)?,
        service: row.get(2)?,
        fingerprint: row.get(3)?,
        kind: row.get(4)?,
        severity: row.get(5)?,
        title: row.get(6)?,
        example: row.get(7)?,
        latest: row.get(8)?,
        count: row.get(9)?,
        first_seen: row.get(10)?,
        last_seen: row.get(11)?,
        merged_into: row.get(12)?,
        rule: row.get(13)?,
    })
}

pub(super) fn shape_of(row: &Row<'_>) -> rusqlite::Result<StoredShape> {
    Ok(StoredShape {
        fingerprint: row.get(0)?,
        title: row.get(1)?,
        why: row.get(2)?,
        detail: row.get(3)?,
        count: row.get(4)?,
        first_seen: row.get(5)?,
        last_seen: row.get(6)?,
        template: row.get(7)?,
        closest: None,
    })
}

pub(super) fn audit_of(row: &Row<'_>) -> rusqlite::Result<AuditEntry> {
    Ok(AuditEntry {
        id: row.get(0)?,
        at: row.get(1)?,
        who: row.get(2)?,
        action: row.get(3)?,
        subject: row.get(4)?,
        details: raw_json(row.get(5)?),
        fault: row.get(6)?,
        job: row.get(7)?,
    })
}

/// Text that was written as JSON.
pub(super) fn raw_json(text: String) -> Box<RawValue> {
    RawValue::from_string(text).unwrap_or_default()
}

pub(super) fn rejected_of(row: &Row<'_>) -> rusqlite::Result<StoredRejected> {
    Ok(StoredRejected {
        id: row.get(0)?,
        received_at: row.get(1)?,
        source: row.get(2)?,
        reason: row.get(3)?,
        bytes: row.get(4)?,
        length: row.get(5)?,
        messages: row.get(6)?,
        replayed_at: row.get(7)?,
    })
}
