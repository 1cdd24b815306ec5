//! Decisions about faults, in SQLite. One process writes, one transaction at a time.

use std::{collections::HashMap, time::Duration};

use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};
use serde_json::json;

use super::{notifications::notify, row::rows};
use crate::{
    adapters::{
        clock,
        store::{
            StoreError, as_i64, as_u64,
            jobs::{
                Budget, Decided, HELD, Intent, JobId, Undecided, Which, Written, comeback_of,
                held_back,
            },
        },
    },
    domain::{
        decision::{self, Comeback},
        event::{Kind, Severity},
        fault::FaultId,
        fault_state::Mute,
        job::Action,
        notification::Notification,
        shape::Shape,
        storm::Storm,
        time::{Micros, later, micros},
    },
};

/// A ticket that is gone is none.
const UNDECIDED: &str = "SELECT fault.id, fault.count, fault.last_seen, fault.incident,
        fault.environment, fault.service, fault.kind, fault.severity, fault.fingerprint,
        fault.title, fault.example, fault.latest, fault.first_seen, fault.rule,
        fault.held_at IS NOT NULL, ticket.key, ticket.is_dry_run, ticket.is_done,
        ticket.resolution, ticket.resolved_at, ticket.commented_at, ticket.commented_count,
        fault.resolved_at, fault.muted_at IS NOT NULL, fault.muted_by, fault.muted_until,
        fault.steered
    FROM faults AS fault
    LEFT JOIN tickets AS ticket
        ON ticket.fault = fault.id AND ticket.incident = fault.incident AND NOT ticket.is_gone";
/// Those that rules are asked about.
const IS_ASKED: &str = "WHERE fault.merged_into IS NULL AND fault.kind NOT IN ('storm', 'manual')";
const IS_DUE: &str = "AND fault.held_at IS NULL
    AND (fault.count > fault.decided_count OR fault.decide_at <= ?1)";

/// Owned, so that it can go to another thread.
pub(super) enum Chosen {
    These(Vec<FaultId>),
    After(FaultId),
    Held(String),
    Known(FaultId),
}

impl From<Which<'_>> for Chosen {
    fn from(which: Which<'_>) -> Self {
        match which {
            Which::These(faults) => Self::These(faults.to_vec()),
            Which::After(fault) => Self::After(fault),
            Which::Held(environment) => Self::Held(environment.to_owned()),
            Which::Known(fault) => Self::Known(fault),
        }
    }
}

pub(super) fn undecided(
    connection: &Connection,
    chosen: &Chosen,
    limit: u32,
) -> Result<Vec<Undecided>, StoreError> {
    let now = clock::now();
    match chosen {
        Chosen::These(faults) => {
            let sql = format!(
                "{UNDECIDED} {IS_ASKED} {IS_DUE} AND fault.id IN (SELECT value FROM json_each(?2))
                 ORDER BY fault.id LIMIT ?3"
            );
            rows(connection, &sql, params![now, json!(faults).to_string(), limit], undecided_of)
        }
        Chosen::After(fault) => {
            let sql = format!(
                "{UNDECIDED} {IS_ASKED} {IS_DUE} AND fault.id > ?2 ORDER BY fault.id LIMIT ?3"
            );
            rows(connection, &sql, params![now, fault, limit], undecided_of)
        }
        Chosen::Held(environment) => {
            let sql = format!(
                "{UNDECIDED} {IS_ASKED} AND fault.held_at IS NOT NULL AND fault.environment = ?1
                 ORDER BY fault.count DESC, fault.id LIMIT ?2"
            );
            rows(connection, &sql, params![environment, limit], undecided_of)
        }
        Chosen::Known(fault) => {
            let sql = format!("{UNDECIDED} WHERE fault.id = ?1 LIMIT ?2");
            rows(connection, &sql, params![fault, limit], undecided_of)
        }
    }
}

fn undecided_of(row: &Row<'_>) -> rusqlite::Result<Undecided> {
    let ticket = match row.get::<_, Option<Micros>>(20)? {
        None => None,
        Some(commented_at) => Some(decision::Ticket {
            key: row.get(15)?,
            is_dry_run: row.get(16)?,
            is_done: row.get(17)?,
            resolution: row.get(18)?,
            resolved_at: row.get(19)?,
            commented_at,
            commented_count: as_u64(row.get(21)?),
        }),
    };
    let by: Option<String> = row.get(24)?;
    let mute = Mute { by: by.unwrap_or_default(), until: row.get(25)? };
    let mute = row.get::<_, bool>(23)?.then_some(mute);
    Ok(Undecided {
        fault: decision::Undecided {
            fault: row.get(0)?,
            count: as_u64(row.get(1)?),
            last_seen: row.get(2)?,
            ticket,
            incident: row.get(3)?,
            resolved_at: row.get(22)?,
            mute,
        },
        environment: row.get(4)?,
        service: row.get(5)?,
        kind: Kind::from_name(row.get_ref(6)?.as_str()?).unwrap_or(Kind::Log),
        severity: Severity::from_name(row.get_ref(7)?.as_str()?).unwrap_or(Severity::Error),
        fingerprint: row.get(8)?,
        title: row.get(9)?,
        example: row.get(10)?,
        latest: row.get(11)?,
        first_seen: row.get(12)?,
        rule: row.get(13)?,
        is_held: row.get(14)?,
        steered: row.get(26)?,
    })
}

pub(super) fn begin(connection: &mut Connection) -> Result<Transaction<'_>, StoreError> {
    Ok(connection.transaction_with_behavior(TransactionBehavior::Immediate)?)
}

/// See [`JobStore::decide`](crate::adapters::store::jobs::JobStore::decide).
pub(super) fn decide(
    connection: &mut Connection,
    decisions: &[Decided],
    budget: Option<Budget>,
) -> Result<Written, StoreError> {
    let transaction = begin(connection)?;
    let mut left = HashMap::new();
    if let Some(budget) = budget {
        for decided in decisions {
            let environment = decided.environment.as_str();
            if !left.contains_key(environment) {
                let recent = recent(&transaction, environment, budget.window)?;
                left.insert(environment, u64::from(budget.tickets).saturating_sub(recent));
            }
        }
    }
    let held = held_back(decisions, &mut left);
    let mut written = Written::default();
    for (decided, is_held) in decisions.iter().zip(held) {
        let reason = if is_held { HELD } else { &decided.reason };
        let Some(is_new) = write_decision(&transaction, decided, reason, is_held)? else {
            continue;
        };
        written.held += u64::from(is_held);
        match &decided.intent {
            Some(intent) if !is_held => {
                let reason = Reason { who: "rules", text: reason };
                let environment = &decided.environment;
                let job = add_intent(&transaction, decided.fault, environment, reason, intent)?;
                written.intents += u64::from(job.is_some());
                if let Some(back) = decided.notification().filter(|_| job.is_some()) {
                    notify(&transaction, &back)?;
                }
            }
            _ if is_new => {
                let details = json!({ "reason": reason });
                let entry = Entry { who: "rules", action: "fault.decide", details };
                audit(&transaction, &entry, &subject(decided.fault), Some(decided.fault), None)?;
            }
            _ => {}
        }
    }
    transaction.commit()?;
    Ok(written)
}

pub(super) fn subject(fault: FaultId) -> String {
    format!("fault {fault}")
}

/// Marks the fault as decided, unless somebody else has meanwhile; says whether the reason is
/// another than before.
fn write_decision(
    transaction: &Transaction<'_>,
    decided: &Decided,
    reason: &str,
    is_held: bool,
) -> Result<Option<bool>, StoreError> {
    let old: Option<String> = transaction
        .prepare_cached(
            "SELECT decision FROM faults WHERE id = ?1 AND decided_count <= ?2 AND incident = ?3
             AND steered = ?4 AND merged_into IS NULL",
        )?
        .query_row(
            params![decided.fault, as_i64(decided.count), decided.incident, decided.steered],
            |row| row.get(0),
        )
        .optional()?;
    let Some(old) = old else { return Ok(None) };
    let comeback = comeback_of(decided, is_held);
    let after = match &decided.intent {
        Some(intent) if !is_held => intent.incident.max(decided.incident),
        _ => decided.incident,
    };
    transaction
        .prepare_cached(
            "UPDATE faults SET decided_count = ?2, decision = ?3, decide_at = ?4, incident = ?5,
                 held_at = CASE WHEN ?6 THEN coalesce(held_at, ?7) END,
                 resolved_at = CASE WHEN NOT ?9 THEN resolved_at END,
                 came_back_at = CASE WHEN ?9 OR resolved_at IS NULL THEN NULL
                     WHEN ?8 THEN coalesce(came_back_at, ?7) ELSE came_back_at END
             WHERE id = ?1",
        )?
        .execute(params![
            decided.fault,
            as_i64(decided.count),
            reason,
            decided.again_at,
            after,
            is_held,
            clock::now(),
            comeback == Comeback::Noticed,
            comeback == Comeback::Heeded,
        ])?;
    Ok(Some(old != reason))
}

/// Why something is to be done, and who says so.
#[derive(Clone, Copy)]
pub(super) struct Reason<'a> {
    pub who: &'a str,
    pub text: &'a str,
}

/// Writes what is to be done, and why, unless that was written before; gives its job.
pub(super) fn add_intent(
    transaction: &Transaction<'_>,
    fault: FaultId,
    environment: &str,
    reason: Reason<'_>,
    intent: &Intent,
) -> Result<Option<JobId>, StoreError> {
    let now = clock::now();
    if intent.action == Action::Create {
        transaction
            .prepare_cached(
                "INSERT INTO tickets (fault, incident, locator, created_at, commented_at,
                     commented_count)
                 SELECT id, ?2, ?3, ?4, ?4, decided_count FROM faults WHERE id = ?1
                 ON CONFLICT DO NOTHING",
            )?
            .execute(params![fault, intent.incident, intent.locator, now])?;
    }
    let due_at = later(now, intent.due_in);
    let added = transaction
        .prepare_cached(
            "INSERT INTO jobs (fault, incident, action, mark, environment, state, due_at, rule,
                 request, created_at, updated_at)
             VALUES (?1, ?2, ?3, ?4, ?5, 'waiting', ?6, ?7, ?8, ?9, ?9)
             ON CONFLICT (fault, incident, action, mark) DO NOTHING",
        )?
        .execute(params![
            fault,
            intent.incident,
            intent.action.name(),
            intent.mark,
            environment,
            due_at,
            intent.rule,
            intent.request.to_string(),
            now,
        ])?;
    if added == 0 {
        return Ok(None);
    }
    let job = transaction.last_insert_rowid();
    let details = json!({ "reason": reason.text, "action": intent.action.name(), "to": "waiting" });
    let entry = Entry { who: reason.who, action: "job.intend", details };
    audit(transaction, &entry, &subject(fault), Some(fault), Some(job))?;
    Ok(Some(job))
}

/// An entry of the audit trail.
pub(super) struct Entry<'a> {
    pub who: &'a str,
    pub action: &'a str,
    pub details: serde_json::Value,
}

pub(super) fn audit(
    transaction: &Transaction<'_>,
    entry: &Entry<'_>,
    subject: &str,
    fault: Option<FaultId>,
    job: Option<i64>,
) -> Result<(), StoreError> {
    transaction
        .prepare_cached(
            "INSERT INTO audit_trail (at, who, action, subject, details, fault, job)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            clock::now(),
            entry.who,
            entry.action,
            subject,
            entry.details.to_string(),
            fault,
            job,
        ])?;
    Ok(())
}

/// New tickets of an environment within the window that were not made up.
fn recent(connection: &Connection, environment: &str, window: Duration) -> Result<u64, StoreError> {
    let since = clock::now().saturating_sub(micros(window));
    let sql = "SELECT count(*) FROM jobs WHERE action = 'create' AND environment = ?1
               AND created_at > ?2 AND NOT EXISTS (SELECT 1 FROM tickets
                   WHERE tickets.fault = jobs.fault AND tickets.incident = jobs.incident
                       AND tickets.is_dry_run)";
    Ok(as_u64(
        connection.prepare_cached(sql)?.query_one(params![environment, since], |row| row.get(0))?,
    ))
}

pub(super) fn storms(connection: &Connection, window: Duration) -> Result<Vec<Storm>, StoreError> {
    let found = rows(
        connection,
        "SELECT environment, max(fault), sum(held) FROM (
             SELECT environment, fault, 0 AS held FROM storms WHERE ended_at IS NULL
             UNION ALL SELECT environment, NULL, 1 FROM faults
                 WHERE held_at IS NOT NULL AND merged_into IS NULL)
         GROUP BY environment",
        [],
        |row| Ok((row.get::<_, String>(0)?, row.get(1)?, row.get(2)?)),
    )?;
    let mut storms = Vec::new();
    for (environment, fault, held) in found {
        let top = rows(
            connection,
            "SELECT title, count FROM faults
             WHERE held_at IS NOT NULL AND merged_into IS NULL AND environment = ?1
             ORDER BY count DESC, id LIMIT 20",
            [&environment],
            |row| Ok((row.get(0)?, as_u64(row.get(1)?))),
        )?;
        let recent = recent(connection, &environment, window)?;
        storms.push(Storm { environment, fault, held: as_u64(held), top, recent });
    }
    Ok(storms)
}

pub(super) fn begin_storm(
    connection: &mut Connection,
    environment: &str,
    title: &str,
    intent: &Intent,
) -> Result<(), StoreError> {
    let transaction = begin(connection)?;
    let open = "SELECT 1 FROM storms WHERE environment = ?1 AND ended_at IS NULL";
    if transaction.query_row(open, [environment], |_| Ok(())).optional()?.is_some() {
        return Ok(());
    }
    let fingerprint = Shape::pinned(&intent.locator, "").fingerprint.to_string();
    transaction.execute(
        "INSERT INTO faults (environment, service, fingerprint, kind, severity, title, example,
             count, first_seen, last_seen, decided_count, incident, rule, decision)
         VALUES (?1, '', ?2, 'storm', 'error', ?3, '', 0, ?4, ?4, 0, 1, ?5, 'a storm')",
        params![environment, fingerprint, title, clock::now(), intent.rule],
    )?;
    let fault = transaction.last_insert_rowid();
    transaction.execute(
        "INSERT INTO storms (fault, environment, started_at) VALUES (?1, ?2, ?3)",
        params![fault, environment, clock::now()],
    )?;
    let reason = Reason { who: "rules", text: title };
    add_intent(&transaction, fault, environment, reason, intent)?;
    notify(&transaction, &Notification::storm_began(environment, fault))?;
    Ok(transaction.commit()?)
}

pub(super) fn end_storm(connection: &mut Connection, fault: FaultId) -> Result<(), StoreError> {
    let transaction = begin(connection)?;
    let sql = "UPDATE storms SET ended_at = ?2 WHERE fault = ?1 AND ended_at IS NULL
               RETURNING environment";
    let ended: Option<String> =
        transaction.query_row(sql, params![fault, clock::now()], |row| row.get(0)).optional()?;
    if let Some(environment) = ended {
        notify(&transaction, &Notification::storm_ended(&environment, fault))?;
    }
    Ok(transaction.commit()?)
}

/// See [`JobStore::pause`](crate::adapters::store::jobs::JobStore::pause).
pub(super) fn pause(
    connection: &mut Connection,
    is_paused: bool,
    who: &str,
) -> Result<(), StoreError> {
    let transaction = begin(connection)?;
    let sql = "SELECT is_on FROM switches WHERE name = 'dispatch_paused'";
    let was_paused = transaction.query_row(sql, [], |row| row.get(0)).optional()?.unwrap_or(false);
    transaction.execute(
        "INSERT INTO switches (name, is_on) VALUES ('dispatch_paused', ?1)
         ON CONFLICT (name) DO UPDATE SET is_on = ?1",
        [is_paused],
    )?;
    let action = if is_paused { "dispatch.pause" } else { "dispatch.resume" };
    audit(&transaction, &Entry { who, action, details: json!({}) }, "dispatch", None, None)?;
    if is_paused != was_paused {
        notify(&transaction, &Notification::dispatch(is_paused, who))?;
    }
    Ok(transaction.commit()?)
}

pub(super) fn intend(
    connection: &mut Connection,
    fault: FaultId,
    environment: &str,
    intent: &Intent,
) -> Result<(), StoreError> {
    let transaction = begin(connection)?;
    let reason = Reason { who: "rules", text: "a storm" };
    add_intent(&transaction, fault, environment, reason, intent)?;
    Ok(transaction.commit()?)
}
