//! What people teach, written into PostgreSQL: while no commit is under way, so that none counts
//! by what it remembers from before.

use deadpool_postgres::Object;
use tokio_postgres::{
    Error, Row, Transaction,
    types::{Json, ToSql},
};

use super::{faults::LESSONS_LOCK, unavailable};
use crate::{
    adapters::store::{StoreError, TeachError, fault_list::searched},
    domain::{
        fault::FaultId,
        lesson::{Lesson, Unteachable},
        shape::Shape,
    },
};

impl From<Error> for TeachError {
    fn from(error: Error) -> Self {
        Self::Store(unavailable(error))
    }
}

/// Environment, service and kind of a fault.
struct Fault {
    id: FaultId,
    environment: String,
    service: String,
}

pub(super) async fn teach(
    client: &mut Object,
    lesson: &Lesson,
    who: &str,
) -> Result<FaultId, TeachError> {
    let transaction = client.transaction().await?;
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&LESSONS_LOCK]).await?;
    // Tickets before their faults, as where the tracker changes both.
    let tickets = "SELECT 1 FROM tickets WHERE fault = $1 FOR NO KEY UPDATE";
    transaction.execute(tickets, &[&lesson.fault()]).await?;
    let fault = find(&transaction, lesson.fault()).await?;
    let after = match lesson {
        Lesson::Merge { into, .. } => merge(&transaction, &fault, *into).await?,
        Lesson::Split { fingerprint, .. } => split(&transaction, &fault, fingerprint).await?,
        Lesson::Pin { name, .. } => pin(&transaction, &fault, name).await?,
    };
    transaction
        .execute(
            "INSERT INTO audit_trail (who, action, subject, details, is_lesson, fault)
             VALUES ($1, $2, $3, $4, true, $5)",
            &[&who, &lesson.action(), &format!("fault {}", fault.id), &Json(lesson), &after],
        )
        .await?;
    transaction.commit().await?;
    Ok(after)
}

async fn find(transaction: &Transaction<'_>, id: FaultId) -> Result<Fault, TeachError> {
    let sql = "SELECT environment, service, merged_into FROM faults WHERE id = $1 FOR UPDATE";
    let rows = transaction.query(sql, &[&id]).await?;
    let row = rows.first().ok_or(Unteachable::NoFault(id))?;
    if let Some(into) = row.get(2) {
        return Err(Unteachable::Merged(id, into).into());
    }
    Ok(Fault { id, environment: row.get(0), service: row.get(1) })
}

async fn merge(
    transaction: &Transaction<'_>,
    fault: &Fault,
    into: FaultId,
) -> Result<FaultId, TeachError> {
    if fault.id == into {
        return Err(Unteachable::Itself.into());
    }
    let target = find(transaction, into).await?;
    if (&fault.environment, &fault.service) != (&target.environment, &target.service) {
        return Err(Unteachable::Elsewhere.into());
    }
    let detail = format!("from fault {}", fault.id);
    transaction
        .execute(
            "WITH moved AS (
                 UPDATE fault_shapes SET fault = $2, why = 'merged', detail = $3 WHERE fault = $1
                 RETURNING id)
             UPDATE fault_texts SET fault = $2 FROM moved WHERE fault_texts.shape = moved.id",
            &[&fault.id, &into, &detail],
        )
        .await?;
    transaction
        .execute(
            "UPDATE faults SET merged_into = $2, held_at = NULL WHERE id = $1",
            &[&fault.id, &into],
        )
        .await?;
    recount(transaction, &[fault.id, into]).await?;
    Ok(into)
}

async fn split(
    transaction: &Transaction<'_>,
    fault: &Fault,
    fingerprint: &str,
) -> Result<FaultId, TeachError> {
    let shapes = transaction
        .query("SELECT id, fingerprint FROM fault_shapes WHERE fault = $1", &[&fault.id])
        .await?;
    let shape = shapes.iter().find(|row| row.get::<_, &str>(1) == fingerprint);
    let shape = shape.ok_or_else(|| Unteachable::NoShape(fault.id, fingerprint.to_owned()))?;
    if shapes.len() == 1 {
        return Err(Unteachable::OnlyShape.into());
    }
    let shape: i64 = shape.get(0);
    let new: Row = transaction
        .query_one(
            "INSERT INTO faults (environment, service, fingerprint, kind, severity, title, rule,
                 example, count, first_seen, last_seen)
             SELECT shape.environment, shape.service, shape.fingerprint, fault.kind, fault.severity,
                 shape.title, fault.rule, shape.title, 0, shape.first_seen, shape.last_seen
             FROM fault_shapes AS shape JOIN faults AS fault ON fault.id = shape.fault
             WHERE shape.id = $1 RETURNING id",
            &[&shape],
        )
        .await?;
    let new: FaultId = new.get(0);
    let detail = format!("from fault {}", fault.id);
    transaction
        .execute(
            "WITH moved AS (
                 UPDATE fault_shapes SET fault = $2, why = 'split', detail = $3 WHERE id = $1)
             UPDATE fault_texts SET fault = $2 WHERE shape = $1",
            &[&shape, &new, &detail],
        )
        .await?;
    recount(transaction, &[fault.id, new]).await?;
    lower_commented_count(transaction, fault.id).await?;
    Ok(new)
}

/// Milestones that are ahead of a fault again get their comments, those aside that have one.
async fn lower_commented_count(
    transaction: &Transaction<'_>,
    fault: FaultId,
) -> Result<(), StoreError> {
    transaction
        .execute(
            "UPDATE tickets SET commented_count = least(commented_count, greatest(faults.count,
                 (SELECT max(CASE WHEN mark ~ '^[0-9]{1,18}$' THEN mark::bigint END) FROM jobs
                  WHERE jobs.fault = tickets.fault AND jobs.incident = tickets.incident
                      AND jobs.action = 'comment')))
             FROM faults
             WHERE faults.id = $1 AND tickets.fault = faults.id
                 AND tickets.incident = faults.incident",
            &[&fault],
        )
        .await
        .map(drop)
        .map_err(unavailable)
}

async fn pin(
    transaction: &Transaction<'_>,
    fault: &Fault,
    name: &str,
) -> Result<FaultId, TeachError> {
    if name.is_empty() || name.len() > 200 || name.contains('\0') {
        return Err(Unteachable::Name.into());
    }
    let fingerprint = Shape::pinned(name, "").fingerprint.to_string();
    let scope: [&(dyn ToSql + Sync); 3] = [&fault.environment, &fault.service, &fingerprint];
    let known = transaction
        .query(
            "SELECT fault FROM fault_shapes
             WHERE environment = $1 AND service = $2 AND fingerprint = $3",
            &scope,
        )
        .await?;
    if let Some(row) = known.first() {
        return Err(Unteachable::Pinned(name.to_owned(), row.get(0)).into());
    }
    transaction
        .execute(
            "WITH shape AS (
                 INSERT INTO fault_shapes (environment, service, fingerprint, fault, title, template,
                     why, detail, count, first_seen, last_seen)
                 VALUES ($1, $2, $3, $4, $5, '', 'pinned', '', 0, now(), now()) RETURNING id)
             INSERT INTO fault_texts (shape, fault, text) SELECT id, $4, $6 FROM shape",
            &[
                &fault.environment,
                &fault.service,
                &fingerprint,
                &fault.id,
                &name,
                &searched(name, "", ""),
            ],
        )
        .await?;
    Ok(fault.id)
}

/// Counts and times of a fault are those of its shapes. It is decided about anew, by these: what was
/// being decided by the old ones is not written.
async fn recount(transaction: &Transaction<'_>, faults: &[FaultId]) -> Result<(), StoreError> {
    transaction
        .execute(
            "UPDATE faults SET count = total.count,
                 decided_count = least(faults.decided_count, total.count),
                 steered = faults.steered + 1, decide_at = now(),
                 first_seen = coalesce(total.first_seen, faults.first_seen),
                 last_seen = coalesce(total.last_seen, faults.last_seen)
             FROM (SELECT wanted.id, coalesce(sum(shape.count), 0)::bigint AS count,
                     min(shape.first_seen) AS first_seen, max(shape.last_seen) AS last_seen
                 FROM unnest($1::bigint[]) AS wanted (id)
                 LEFT JOIN fault_shapes AS shape ON shape.fault = wanted.id
                 GROUP BY wanted.id) AS total
             WHERE faults.id = total.id",
            &[&faults],
        )
        .await
        .map(drop)
        .map_err(unavailable)
}
