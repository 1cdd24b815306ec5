//! What people teach, written into SQLite.

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use crate::{
    adapters::{
        clock,
        store::{StoreError, TeachError, fault_list::searched},
    },
    domain::{
        fault::FaultId,
        lesson::{Lesson, Unteachable},
        shape::Shape,
    },
};

impl From<rusqlite::Error> for TeachError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

struct Fault {
    id: FaultId,
    environment: String,
    service: String,
}

pub(super) fn teach(
    connection: &mut Connection,
    lesson: &Lesson,
    who: &str,
) -> Result<FaultId, TeachError> {
    let behavior = rusqlite::TransactionBehavior::Immediate;
    let transaction = connection.transaction_with_behavior(behavior)?;
    let fault = find(&transaction, lesson.fault())?;
    let after = match lesson {
        Lesson::Merge { into, .. } => merge(&transaction, &fault, *into)?,
        Lesson::Split { fingerprint, .. } => split(&transaction, &fault, fingerprint)?,
        Lesson::Pin { name, .. } => pin(&transaction, &fault, name)?,
    };
    let details = serde_json::to_string(lesson)
        .map_err(|error| StoreError::Unavailable(error.to_string()))?;
    transaction.execute(
        "INSERT INTO audit_trail (at, who, action, subject, details, is_lesson, fault)
         VALUES (?1, ?2, ?3, ?4, ?5, 1, ?6)",
        params![clock::now(), who, lesson.action(), format!("fault {}", fault.id), details, after],
    )?;
    transaction.commit()?;
    Ok(after)
}

fn find(transaction: &Transaction<'_>, id: FaultId) -> Result<Fault, TeachError> {
    let sql = "SELECT environment, service, merged_into FROM faults WHERE id = ?1";
    let found = transaction
        .query_row(sql, [id], |row| {
            let fault = Fault { id, environment: row.get(0)?, service: row.get(1)? };
            Ok((fault, row.get::<_, Option<FaultId>>(2)?))
        })
        .optional()?;
    match found {
        None => Err(Unteachable::NoFault(id).into()),
        Some((_, Some(into))) => Err(Unteachable::Merged(id, into).into()),
        Some((fault, None)) => Ok(fault),
    }
}

fn merge(
    transaction: &Transaction<'_>,
    fault: &Fault,
    into: FaultId,
) -> Result<FaultId, TeachError> {
    if fault.id == into {
        return Err(Unteachable::Itself.into());
    }
    let target = find(transaction, into)?;
    if (&fault.environment, &fault.service) != (&target.environment, &target.service) {
        return Err(Unteachable::Elsewhere.into());
    }
    transaction.execute(
        "UPDATE fault_texts SET fault = ?2
         WHERE shape IN (SELECT id FROM fault_shapes WHERE fault = ?1)",
        params![fault.id, into],
    )?;
    transaction.execute(
        "UPDATE fault_shapes SET fault = ?2, why = 'merged', detail = ?3 WHERE fault = ?1",
        params![fault.id, into, format!("from fault {}", fault.id)],
    )?;
    transaction.execute(
        "UPDATE faults SET merged_into = ?2, held_at = NULL WHERE id = ?1",
        params![fault.id, into],
    )?;
    recount(transaction, fault.id)?;
    recount(transaction, into)?;
    Ok(into)
}

fn split(
    transaction: &Transaction<'_>,
    fault: &Fault,
    fingerprint: &str,
) -> Result<FaultId, TeachError> {
    let shape: Option<i64> = transaction
        .query_row(
            "SELECT id FROM fault_shapes WHERE fault = ?1 AND fingerprint = ?2",
            params![fault.id, fingerprint],
            |row| row.get(0),
        )
        .optional()?;
    let shape = shape.ok_or_else(|| Unteachable::NoShape(fault.id, fingerprint.to_owned()))?;
    let count = "SELECT count(*) FROM fault_shapes WHERE fault = ?1";
    if transaction.query_row(count, [fault.id], |row| row.get::<_, i64>(0))? == 1 {
        return Err(Unteachable::OnlyShape.into());
    }
    transaction.execute(
        "INSERT INTO faults (environment, service, fingerprint, kind, severity, title, rule,
             example, count, first_seen, last_seen)
         SELECT shape.environment, shape.service, shape.fingerprint, fault.kind, fault.severity,
             shape.title, fault.rule, shape.title, 0, shape.first_seen, shape.last_seen
         FROM fault_shapes AS shape JOIN faults AS fault ON fault.id = shape.fault
         WHERE shape.id = ?1",
        [shape],
    )?;
    let new = transaction.last_insert_rowid();
    transaction
        .execute("UPDATE fault_texts SET fault = ?2 WHERE shape = ?1", params![shape, new])?;
    transaction.execute(
        "UPDATE fault_shapes SET fault = ?2, why = 'split', detail = ?3 WHERE id = ?1",
        params![shape, new, format!("from fault {}", fault.id)],
    )?;
    recount(transaction, fault.id)?;
    recount(transaction, new)?;
    lower_commented_count(transaction, fault.id)?;
    Ok(new)
}

/// Milestones that are ahead of a fault again get their comments, those aside that have one. (The
/// mark of another comment is 0 as a number.)
fn lower_commented_count(transaction: &Transaction<'_>, fault: FaultId) -> Result<(), TeachError> {
    transaction.execute(
        "UPDATE tickets SET commented_count = min(commented_count, max(
             (SELECT count FROM faults WHERE id = ?1),
             (SELECT coalesce(max(CAST(mark AS INTEGER)), 0) FROM jobs
              WHERE jobs.fault = tickets.fault AND jobs.incident = tickets.incident
                  AND jobs.action = 'comment')))
         WHERE fault = ?1 AND incident = (SELECT incident FROM faults WHERE id = ?1)",
        [fault],
    )?;
    Ok(())
}

fn pin(transaction: &Transaction<'_>, fault: &Fault, name: &str) -> Result<FaultId, TeachError> {
    if name.is_empty() || name.len() > 200 || name.contains('\0') {
        return Err(Unteachable::Name.into());
    }
    let fingerprint = Shape::pinned(name, "").fingerprint.to_string();
    let known: Option<FaultId> = transaction
        .query_row(
            "SELECT fault FROM fault_shapes
             WHERE environment = ?1 AND service = ?2 AND fingerprint = ?3",
            params![fault.environment, fault.service, fingerprint],
            |row| row.get(0),
        )
        .optional()?;
    if let Some(known) = known {
        return Err(Unteachable::Pinned(name.to_owned(), known).into());
    }
    transaction.execute(
        "INSERT INTO fault_shapes (environment, service, fingerprint, fault, title, template, why,
             detail, count, first_seen, last_seen)
         VALUES (?1, ?2, ?3, ?4, ?5, '', 'pinned', '', 0, ?6, ?6)",
        params![fault.environment, fault.service, fingerprint, fault.id, name, clock::now()],
    )?;
    transaction.execute(
        "INSERT INTO fault_texts (shape, fault, text) VALUES (?1, ?2, ?3)",
        params![transaction.last_insert_rowid(), fault.id, searched(name, "", "")],
    )?;
    Ok(fault.id)
}

/// Counts and times of a fault are those of its shapes. It is decided about anew, by these: what was
/// being decided by the old ones is not written.
fn recount(transaction: &Transaction<'_>, fault: FaultId) -> Result<(), TeachError> {
    transaction.execute(
        "UPDATE faults SET (count, first_seen, last_seen) =
             (SELECT coalesce(sum(count), 0), coalesce(min(first_seen), faults.first_seen),
                  coalesce(max(last_seen), faults.last_seen)
              FROM fault_shapes WHERE fault = ?1)
         WHERE id = ?1",
        [fault],
    )?;
    transaction.execute(
        "UPDATE faults SET decided_count = min(decided_count, count), steered = steered + 1,
             decide_at = ?2
         WHERE id = ?1",
        params![fault, clock::now()],
    )?;
    Ok(())
}
