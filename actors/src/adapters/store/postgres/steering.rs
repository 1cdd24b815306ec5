//! What people do with faults and their tickets, written into PostgreSQL: each step one transaction
//! that holds the fault's row, so that no decision comes in between.

use std::time::Duration;

use deadpool_postgres::Object;
use serde_json::{Value, json};
use tokio_postgres::{
    Error, Row, Transaction,
    types::{Json, ToSql},
};

use super::{
    dispatch::{Reason, add_intents},
    timestamp, unavailable,
};
use crate::{
    adapters::{
        clock,
        store::{
            as_u64,
            fault_list::searched,
            faults::{BY_HAND, ByHand, Link, NewFault, SteerError},
            jobs::{Intent, JobId},
        },
    },
    domain::{
        decision::{self, Tracker, by_hand},
        fault::FaultId,
        fault_state::{Mute, Standing, Step},
        job::Action,
        shape::Shape,
    },
};

/// Links are written one after another: a ticket is one fault's.
const LINKS_LOCK: i64 = 0x666C_7435;

impl From<Error> for SteerError {
    fn from(error: Error) -> Self {
        Self::Store(unavailable(error))
    }
}

/// What a step needs to know; the row is held until the transaction ends.
struct Held {
    environment: String,
    incident: u32,
    standing: Standing,
}

async fn hold(transaction: &Transaction<'_>, fault: FaultId) -> Result<Held, SteerError> {
    let rows = transaction
        .query(
            "SELECT environment, incident, merged_into, muted_at IS NOT NULL, muted_by, muted_until,
                 resolved_at, came_back_at IS NOT NULL
             FROM faults WHERE id = $1 FOR NO KEY UPDATE",
            &[&fault],
        )
        .await?;
    let row = rows.first().ok_or(SteerError::NoFault(fault))?;
    let time =
        |column| row.get::<_, Option<jiff::Timestamp>>(column).map(jiff::Timestamp::as_microsecond);
    let mute = || Mute { by: row.get::<_, Option<String>>(4).unwrap_or_default(), until: time(5) };
    let standing = Standing {
        merged_into: row.get(2),
        mute: row.get::<_, bool>(3).then(mute),
        resolved_at: time(6),
        has_come_back: row.get(7),
    };
    let incident = row.get::<_, i32>(1).cast_unsigned();
    Ok(Held { environment: row.get(0), incident, standing })
}

async fn audit(
    transaction: &Transaction<'_>,
    who: &str,
    action: &str,
    fault: FaultId,
    details: Value,
) -> Result<(), Error> {
    transaction
        .execute(
            "INSERT INTO audit_trail (who, action, subject, details, fault)
             VALUES ($1, $2, $3, $4, $5)",
            &[&who, &action, &format!("fault {fault}"), &Json(details), &fault],
        )
        .await
        .map(drop)
}

pub(super) async fn steer(
    client: &mut Object,
    fault: FaultId,
    step: Step,
    comment: &str,
    who: &str,
) -> Result<(), SteerError> {
    let transaction = client.transaction().await?;
    let held = hold(&transaction, fault).await?;
    let now = clock::now();
    held.standing.check(step, now)?;
    let until = match step {
        Step::Mute { until } => until.map(timestamp),
        Step::Resolve | Step::Reopen | Step::Unmute => None,
    };
    let (change, parameters): (&str, &[&(dyn ToSql + Sync)]) = match step {
        Step::Resolve => (
            "resolved_at = now(), came_back_at = NULL, muted_at = NULL, muted_by = NULL,
             muted_until = NULL",
            &[&fault],
        ),
        Step::Reopen => ("resolved_at = NULL, came_back_at = NULL", &[&fault]),
        Step::Mute { .. } => {
            ("muted_at = now(), muted_by = $2, muted_until = $3", &[&fault, &who, &until])
        }
        Step::Unmute => ("muted_at = NULL, muted_by = NULL, muted_until = NULL", &[&fault]),
    };
    let sql = format!(
        "UPDATE faults SET {change}, steered = steered + 1, decide_at = now() WHERE id = $1"
    );
    transaction.execute(&sql, parameters).await?;
    let details = step.details(held.standing.state(now), comment);
    audit(&transaction, who, step.action(), fault, details).await?;
    transaction.commit().await?;
    Ok(())
}

/// The newest ticket, as decisions know it; none where it is gone, or its making was discarded.
async fn ticket_of(
    transaction: &Transaction<'_>,
    fault: FaultId,
    incident: u32,
) -> Result<Option<decision::Ticket>, Error> {
    let rows = transaction
        .query(
            "SELECT key, is_dry_run, is_done, resolution, commented_count FROM tickets AS ticket
             WHERE fault = $1 AND incident = $2 AND NOT is_gone AND NOT (key IS NULL AND EXISTS (
                 SELECT 1 FROM jobs WHERE jobs.fault = $1 AND jobs.incident = $2
                     AND action = 'create' AND state = 'discarded'))",
            &[&fault, &incident.cast_signed()],
        )
        .await?;
    let ticket = |row: &Row| decision::Ticket {
        key: row.get(0),
        is_dry_run: row.get(1),
        is_done: row.get(2),
        resolution: row.get(3),
        resolved_at: None,
        commented_at: 0,
        commented_count: as_u64(row.get(4)),
    };
    Ok(rows.first().map(ticket))
}

/// The number of the next ticket of a fault that is not merged, and the key of the one before.
async fn next_incident(
    transaction: &Transaction<'_>,
    fault: FaultId,
    tracker: &Tracker,
) -> Result<(Held, u32, Option<String>), SteerError> {
    let held = hold(transaction, fault).await?;
    if let Some(into) = held.standing.merged_into {
        return Err(SteerError::Merged(fault, into));
    }
    let ticket = ticket_of(transaction, fault, held.incident).await?;
    let incident =
        by_hand(ticket.as_ref(), held.incident, tracker).map_err(SteerError::HasTicket)?;
    Ok((held, incident, ticket.and_then(|ticket| ticket.key)))
}

/// The fault has this ticket from now on: it is open, and nothing is to be decided.
async fn has_ticket(
    transaction: &Transaction<'_>,
    fault: FaultId,
    incident: u32,
    reason: &str,
) -> Result<(), Error> {
    transaction
        .execute(
            "UPDATE faults SET incident = $2, decision = $3, decided_count = count,
                 decide_at = NULL, held_at = NULL, resolved_at = NULL, came_back_at = NULL,
                 steered = steered + 1
             WHERE id = $1",
            &[&fault, &incident.cast_signed(), &reason],
        )
        .await
        .map(drop)
}

fn intent(action: Action, incident: u32, mark: &str, request: Value, locator: &str) -> Intent {
    Intent {
        action,
        incident,
        mark: mark.to_owned(),
        rule: "by hand".to_owned(),
        request,
        locator: locator.to_owned(),
        due_in: Duration::ZERO,
    }
}

/// Writes an intent that is new; gives its job.
async fn intend(
    transaction: &Transaction<'_>,
    fault: FaultId,
    environment: &str,
    who: &str,
    reason: &str,
    intent: &Intent,
) -> Result<JobId, Error> {
    add_intents(transaction, &[(fault, environment, Reason { who, text: reason }, intent)]).await?;
    let row = transaction
        .query_one(
            "SELECT id FROM jobs
             WHERE fault = $1 AND incident = $2 AND action = $3 AND mark = $4",
            &[&fault, &intent.incident.cast_signed(), &intent.action.name(), &intent.mark],
        )
        .await?;
    Ok(row.get(0))
}

pub(super) async fn make_ticket(
    client: &mut Object,
    fault: FaultId,
    wanted: &ByHand,
    tracker: &Tracker,
) -> Result<JobId, SteerError> {
    let transaction = client.transaction().await?;
    let (held, incident, before) = next_incident(&transaction, fault, tracker).await?;
    let mut request = wanted.request.clone();
    // A later ticket is linked to the one before.
    if let Some(before) = before {
        request["before"] = json!(before);
    }
    let reason = format!("a ticket by hand, by {}", wanted.who);
    has_ticket(&transaction, fault, incident, &reason).await?;
    let intent = intent(Action::Create, incident, "", request, &wanted.locator);
    let job = intend(&transaction, fault, &held.environment, &wanted.who, &reason, &intent).await?;
    audit(&transaction, &wanted.who, "ticket.create", fault, json!({ "job": job })).await?;
    transaction.commit().await?;
    Ok(job)
}

pub(super) async fn make_fault(
    client: &mut Object,
    new: &NewFault,
    wanted: &ByHand,
) -> Result<(FaultId, JobId), Error> {
    let transaction = client.transaction().await?;
    let reason = format!("a ticket by hand, by {}", wanted.who);
    let fingerprint = Shape::pinned(&wanted.locator, "").fingerprint.to_string();
    let row = transaction
        .query_one(
            "WITH new AS (
                 INSERT INTO faults (environment, service, fingerprint, kind, severity, title,
                     example, count, first_seen, last_seen, incident, decision, rule)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, 0, now(), now(), 1, $8, '')
                 RETURNING id, environment, service, fingerprint, title, first_seen),
             shape AS (
                 INSERT INTO fault_shapes (environment, service, fingerprint, fault, title,
                     template, why, detail, count, first_seen, last_seen)
                 SELECT environment, service, fingerprint, id, title, '', 'new', '', 0, first_seen,
                     first_seen FROM new RETURNING id, fault),
             searched AS (INSERT INTO fault_texts (shape, fault, text)
                 SELECT id, fault, $9 FROM shape)
             SELECT id FROM new",
            &[
                &new.environment,
                &new.service,
                &fingerprint,
                &BY_HAND,
                &new.severity.name(),
                &new.title,
                &new.description,
                &reason,
                &searched(&new.title, "", &new.description),
            ],
        )
        .await?;
    let fault: FaultId = row.get(0);
    let intent = intent(Action::Create, 1, "", wanted.request.clone(), &wanted.locator);
    let job = intend(&transaction, fault, &new.environment, &wanted.who, &reason, &intent).await?;
    audit(&transaction, &wanted.who, "ticket.create", fault, json!({ "job": job })).await?;
    transaction.commit().await?;
    Ok((fault, job))
}

pub(super) async fn link_ticket(
    client: &mut Object,
    fault: FaultId,
    link: &Link,
    tracker: &Tracker,
) -> Result<(), SteerError> {
    let transaction = client.transaction().await?;
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&LINKS_LOCK]).await?;
    let sql = "SELECT ticket.fault, ticket.incident = faults.incident FROM tickets AS ticket
               JOIN faults ON faults.id = ticket.fault WHERE key = $1 AND NOT is_gone";
    let known = transaction.query(sql, &[&link.key]).await?;
    if let Some(row) = known.first() {
        let (owner, is_newest): (FaultId, bool) = (row.get(0), row.get(1));
        if owner == fault && is_newest {
            return Ok(());
        }
        return Err(SteerError::Linked(link.key.clone(), owner));
    }
    let (held, incident, _) = next_incident(&transaction, fault, tracker).await?;
    let reason = format!("linked to {} by {}", link.key, link.who);
    has_ticket(&transaction, fault, incident, &reason).await?;
    let seen = link.seen.as_ref();
    let status = seen.map_or("", |seen| seen.status.as_str());
    let resolution = seen.map_or("", |seen| seen.resolution.as_str());
    let is_done = seen.is_some_and(|seen| seen.is_done);
    let done_at = seen.and_then(|seen| seen.resolved_at).map(timestamp);
    let changed_at = seen.map(|seen| timestamp(seen.changed_at));
    transaction
        .execute(
            "WITH linked AS (
                 INSERT INTO tickets (fault, incident, locator, key, status, is_done, resolution,
                     resolved_at, changed_at, issue_id, commented_count)
                 SELECT id, incident, $2, $3, $4, $5, $6, CASE WHEN $5 THEN coalesce($7, now()) END,
                     $8, $9, count FROM faults WHERE id = $1 RETURNING resolved_at)
             UPDATE faults SET resolved_at = linked.resolved_at FROM linked WHERE faults.id = $1",
            &[
                &fault,
                &link.locator,
                &link.key,
                &status,
                &is_done,
                &resolution,
                &done_at,
                &changed_at,
                &seen.and_then(|seen| seen.id.as_deref()),
            ],
        )
        .await?;
    let intent = intent(Action::Edit, incident, "link", link.request.clone(), &link.locator);
    intend(&transaction, fault, &held.environment, &link.who, &reason, &intent).await?;
    audit(&transaction, &link.who, "ticket.link", fault, json!({ "key": link.key })).await?;
    transaction.commit().await?;
    Ok(())
}
