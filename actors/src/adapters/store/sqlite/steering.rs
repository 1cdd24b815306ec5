//! What people do with faults and their tickets, written into SQLite: each step one transaction.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use serde_json::{Value, json};

use super::dispatch::{Entry, Reason, add_intent, audit, begin, subject};
use crate::{
    adapters::{
        clock,
        store::{
            StoreError, as_u64,
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

impl From<rusqlite::Error> for SteerError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

/// What a step needs to know.
struct Found {
    environment: String,
    incident: u32,
    standing: Standing,
}

fn find(transaction: &Transaction<'_>, fault: FaultId) -> Result<Found, SteerError> {
    let found = transaction
        .query_row(
            "SELECT environment, incident, merged_into, muted_at IS NOT NULL, muted_by, muted_until,
                 resolved_at, came_back_at IS NOT NULL
             FROM faults WHERE id = ?1",
            [fault],
            |row| {
                let by: Option<String> = row.get(4)?;
                let mute = Mute { by: by.unwrap_or_default(), until: row.get(5)? };
                let standing = Standing {
                    merged_into: row.get(2)?,
                    mute: row.get::<_, bool>(3)?.then_some(mute),
                    resolved_at: row.get(6)?,
                    has_come_back: row.get(7)?,
                };
                Ok(Found { environment: row.get(0)?, incident: row.get(1)?, standing })
            },
        )
        .optional()?;
    found.ok_or(SteerError::NoFault(fault))
}

fn note(
    transaction: &Transaction<'_>,
    who: &str,
    action: &str,
    fault: FaultId,
    details: Value,
) -> Result<(), StoreError> {
    audit(transaction, &Entry { who, action, details }, &subject(fault), Some(fault), None)
}

pub(super) fn steer(
    connection: &mut Connection,
    fault: FaultId,
    step: Step,
    comment: &str,
    who: &str,
) -> Result<(), SteerError> {
    let transaction = begin(connection)?;
    let found = find(&transaction, fault)?;
    let now = clock::now();
    found.standing.check(step, now)?;
    let update = |change: &str, parameters: &[&dyn rusqlite::ToSql]| {
        let sql = format!(
            "UPDATE faults SET {change}, steered = steered + 1, decide_at = ?2 WHERE id = ?1"
        );
        transaction.execute(&sql, parameters)
    };
    match step {
        Step::Resolve => update(
            "resolved_at = ?2, came_back_at = NULL, muted_at = NULL, muted_by = NULL,
             muted_until = NULL",
            &[&fault, &now],
        ),
        Step::Reopen => update("resolved_at = NULL, came_back_at = NULL", &[&fault, &now]),
        Step::Mute { until } => {
            update("muted_at = ?2, muted_by = ?3, muted_until = ?4", &[&fault, &now, &who, &until])
        }
        Step::Unmute => {
            update("muted_at = NULL, muted_by = NULL, muted_until = NULL", &[&fault, &now])
        }
    }?;
    let details = step.details(found.standing.state(now), comment);
    note(&transaction, who, step.action(), fault, details)?;
    transaction.commit()?;
    Ok(())
}

/// The newest ticket, as decisions know it; none where it is gone, or its making was discarded.
fn ticket_of(
    transaction: &Transaction<'_>,
    fault: FaultId,
    incident: u32,
) -> Result<Option<decision::Ticket>, StoreError> {
    let ticket = transaction
        .query_row(
            "SELECT key, is_dry_run, is_done, resolution, commented_count FROM tickets
             WHERE fault = ?1 AND incident = ?2 AND NOT is_gone AND NOT (key IS NULL AND EXISTS (
                 SELECT 1 FROM jobs WHERE jobs.fault = ?1 AND jobs.incident = ?2
                     AND action = 'create' AND state = 'discarded'))",
            params![fault, incident],
            |row| {
                Ok(decision::Ticket {
                    key: row.get(0)?,
                    is_dry_run: row.get(1)?,
                    is_done: row.get(2)?,
                    resolution: row.get(3)?,
                    resolved_at: None,
                    commented_at: 0,
                    commented_count: as_u64(row.get(4)?),
                })
            },
        )
        .optional()?;
    Ok(ticket)
}

/// The number of the next ticket of a fault that is not merged, and the key of the one before.
fn next_incident(
    transaction: &Transaction<'_>,
    fault: FaultId,
    tracker: &Tracker,
) -> Result<(Found, u32, Option<String>), SteerError> {
    let found = find(transaction, fault)?;
    if let Some(into) = found.standing.merged_into {
        return Err(SteerError::Merged(fault, into));
    }
    let ticket = ticket_of(transaction, fault, found.incident)?;
    let incident =
        by_hand(ticket.as_ref(), found.incident, tracker).map_err(SteerError::HasTicket)?;
    Ok((found, incident, ticket.and_then(|ticket| ticket.key)))
}

/// The fault has this ticket from now on: it is open, and nothing is to be decided.
fn has_ticket(
    transaction: &Transaction<'_>,
    fault: FaultId,
    incident: u32,
    reason: &str,
) -> Result<(), StoreError> {
    transaction.execute(
        "UPDATE faults SET incident = ?2, decision = ?3, decided_count = count, decide_at = NULL,
             held_at = NULL, resolved_at = NULL, came_back_at = NULL, steered = steered + 1
         WHERE id = ?1",
        params![fault, incident, reason],
    )?;
    Ok(())
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
fn intend(
    transaction: &Transaction<'_>,
    fault: FaultId,
    environment: &str,
    who: &str,
    reason: &str,
    intent: &Intent,
) -> Result<JobId, StoreError> {
    let reason = Reason { who, text: reason };
    let job = add_intent(transaction, fault, environment, reason, intent)?;
    job.ok_or_else(|| StoreError::Unavailable("the intent was there already".to_owned()))
}

pub(super) fn make_ticket(
    connection: &mut Connection,
    fault: FaultId,
    wanted: &ByHand,
    tracker: &Tracker,
) -> Result<JobId, SteerError> {
    let transaction = begin(connection)?;
    let (found, incident, before) = next_incident(&transaction, fault, tracker)?;
    let mut request = wanted.request.clone();
    // A later ticket is linked to the one before.
    if let Some(before) = before {
        request["before"] = json!(before);
    }
    let reason = format!("a ticket by hand, by {}", wanted.who);
    has_ticket(&transaction, fault, incident, &reason)?;
    let intent = intent(Action::Create, incident, "", request, &wanted.locator);
    let job = intend(&transaction, fault, &found.environment, &wanted.who, &reason, &intent)?;
    note(&transaction, &wanted.who, "ticket.create", fault, json!({ "job": job }))?;
    transaction.commit()?;
    Ok(job)
}

pub(super) fn make_fault(
    connection: &mut Connection,
    new: &NewFault,
    wanted: &ByHand,
) -> Result<(FaultId, JobId), StoreError> {
    let transaction = begin(connection)?;
    let now = clock::now();
    let reason = format!("a ticket by hand, by {}", wanted.who);
    let fingerprint = Shape::pinned(&wanted.locator, "").fingerprint.to_string();
    transaction.execute(
        "INSERT INTO faults (environment, service, fingerprint, kind, severity, title, example,
             count, first_seen, last_seen, incident, decision, rule)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, ?8, ?8, 1, ?9, '')",
        params![
            new.environment,
            new.service,
            fingerprint,
            BY_HAND,
            new.severity.name(),
            new.title,
            new.description,
            now,
            reason
        ],
    )?;
    let fault = transaction.last_insert_rowid();
    transaction.execute(
        "INSERT INTO fault_shapes (environment, service, fingerprint, fault, title, template, why,
             detail, count, first_seen, last_seen)
         VALUES (?1, ?2, ?3, ?4, ?5, '', 'new', '', 0, ?6, ?6)",
        params![new.environment, new.service, fingerprint, fault, new.title, now],
    )?;
    transaction.execute(
        "INSERT INTO fault_texts (shape, fault, text) VALUES (?1, ?2, ?3)",
        params![transaction.last_insert_rowid(), fault, searched(&new.title, "", &new.description)],
    )?;
    let intent = intent(Action::Create, 1, "", wanted.request.clone(), &wanted.locator);
    let job = intend(&transaction, fault, &new.environment, &wanted.who, &reason, &intent)?;
    note(&transaction, &wanted.who, "ticket.create", fault, json!({ "job": job }))?;
    transaction.commit()?;
    Ok((fault, job))
}

pub(super) fn link_ticket(
    connection: &mut Connection,
    fault: FaultId,
    link: &Link,
    tracker: &Tracker,
) -> Result<(), SteerError> {
    let transaction = begin(connection)?;
    let sql = "SELECT ticket.fault, ticket.incident = faults.incident FROM tickets AS ticket
               JOIN faults ON faults.id = ticket.fault WHERE key = ?1 AND NOT is_gone";
    let known: Option<(FaultId, bool)> =
        transaction.query_row(sql, [&link.key], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    match known {
        Some((owner, true)) if owner == fault => return Ok(()),
        Some((owner, _)) => return Err(SteerError::Linked(link.key.clone(), owner)),
        None => {}
    }
    let (found, incident, _) = next_incident(&transaction, fault, tracker)?;
    let reason = format!("linked to {} by {}", link.key, link.who);
    has_ticket(&transaction, fault, incident, &reason)?;
    let now = clock::now();
    let seen = link.seen.as_ref();
    let done_at = seen.filter(|seen| seen.is_done).map(|seen| seen.resolved_at.unwrap_or(now));
    transaction.execute(
        "INSERT INTO tickets (fault, incident, locator, key, status, is_done, resolution,
             resolved_at, changed_at, created_at, commented_at, issue_id, commented_count)
         SELECT id, incident, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9, ?10, count FROM faults
         WHERE id = ?1",
        params![
            fault,
            link.locator,
            link.key,
            seen.map_or("", |seen| seen.status.as_str()),
            done_at.is_some(),
            seen.map_or("", |seen| seen.resolution.as_str()),
            done_at,
            seen.map(|seen| seen.changed_at),
            now,
            seen.and_then(|seen| seen.id.as_deref())
        ],
    )?;
    transaction
        .execute("UPDATE faults SET resolved_at = ?2 WHERE id = ?1", params![fault, done_at])?;
    let intent = intent(Action::Edit, incident, "link", link.request.clone(), &link.locator);
    intend(&transaction, fault, &found.environment, &link.who, &reason, &intent)?;
    note(&transaction, &link.who, "ticket.link", fault, json!({ "key": link.key }))?;
    transaction.commit()?;
    Ok(())
}
