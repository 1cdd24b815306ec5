//! Jobs in SQLite.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use serde_json::{Value, json};

use super::{
    conditions::Conditions,
    dispatch::{Entry, audit, begin},
    notifications::notify,
    row::{raw_json, rows},
    statistics,
};
use crate::{
    adapters::{
        clock,
        store::{
            StoreError, as_u64,
            jobs::{
                Holder, Job, JobFilter, JobId, Outcome, QueueCounts, SeenTicket, Steer,
                StoredFailure, StoredJob, StoredTicket, TicketChange,
            },
            retention::CountedJobs,
        },
    },
    domain::{
        job::{Action, State, Step},
        notification::Notification,
        retention::day_of,
        time::later,
    },
};

/// See [`JobStore::claim`](crate::adapters::store::jobs::JobStore::claim).
pub(super) fn claim(
    connection: &mut Connection,
    holder: Holder,
    lease: Duration,
    limit: u32,
) -> Result<Vec<Job>, StoreError> {
    let now = clock::now();
    let transaction = begin(connection)?;
    let taken = rows(
        &transaction,
        "SELECT id, state, fault FROM (
             SELECT id, state, fault, lease_until AS at FROM jobs
             WHERE state = 'active' AND lease_until < ?1
             UNION ALL
             SELECT id, state, fault, due_at AS at FROM jobs
             WHERE state IN ('waiting', 'delayed', 'unknown') AND due_at <= ?1)
         ORDER BY at, id LIMIT ?2",
        params![now, limit],
        |row| Ok((row.get::<_, JobId>(0)?, row.get::<_, String>(1)?, row.get(2)?)),
    )?;
    let mut jobs = Vec::with_capacity(taken.len());
    for (id, before, fault) in taken {
        let is_left_behind = before == "active";
        transaction
            .prepare_cached(
                "UPDATE jobs SET state = 'active', holder = ?2, lease_until = ?3, updated_at = ?4,
                     unknown_at = CASE WHEN ?5 THEN ?4 ELSE unknown_at END WHERE id = ?1",
            )?
            .execute(params![id, holder.to_string(), later(now, lease), now, is_left_behind])?;
        let action = if is_left_behind { "job.relieve" } else { "job.claim" };
        let details = json!({ "from": before, "to": "active" });
        let entry = Entry { who: &format!("hub {holder}"), action, details };
        audit(&transaction, &entry, &format!("job {id}"), Some(fault), Some(id))?;
        jobs.push(
            transaction
                .prepare_cached(
                    "SELECT job.id, job.fault, job.incident, job.action, job.mark, job.attempts,
                         job.searches, ?2 - job.unknown_at, job.request, ticket.locator, ticket.key
                     FROM jobs AS job JOIN tickets AS ticket USING (fault, incident)
                     WHERE job.id = ?1",
                )?
                .query_one(params![id, now], job_of)?,
        );
    }
    transaction.commit()?;
    Ok(jobs)
}

fn job_of(row: &Row<'_>) -> rusqlite::Result<Job> {
    let unknown_for: Option<i64> = row.get(7)?;
    Ok(Job {
        id: row.get(0)?,
        fault: row.get(1)?,
        incident: row.get(2)?,
        action: Action::from_name(row.get_ref(3)?.as_str()?).unwrap_or(Action::Comment),
        mark: row.get(4)?,
        attempts: row.get(5)?,
        searches: row.get(6)?,
        unknown_for: unknown_for.map(|micros| Duration::from_micros(micros.max(0).cast_unsigned())),
        request: serde_json::from_str(row.get_ref(8)?.as_str()?).unwrap_or(Value::Null),
        locator: row.get(9)?,
        key: row.get(10)?,
    })
}

/// See [`JobStore::settle`](crate::adapters::store::jobs::JobStore::settle).
pub(super) fn settle(
    connection: &mut Connection,
    job: JobId,
    holder: Holder,
    outcome: &Outcome,
) -> Result<bool, StoreError> {
    let Ok(state) = State::Active.after(outcome.step) else { return Ok(false) };
    let now = clock::now();
    let transaction = begin(connection)?;
    let settled = transaction
        .query_row(
            "UPDATE jobs SET state = ?3, due_at = ?4, attempts = attempts + ?5,
                 searches = CASE WHEN ?6 THEN searches + 1 ELSE 0 END,
                 unknown_at = CASE WHEN ?3 = 'unknown' THEN
                     CASE WHEN ?6 THEN coalesce(unknown_at, ?9) ELSE ?9 END
                     WHEN ?10 THEN unknown_at END,
                 holder = NULL, lease_until = NULL, error = ?7, updated_at = ?9,
                 response = coalesce(?8, response)
             WHERE id = ?1 AND holder = ?2 AND state = 'active'
             RETURNING fault, incident, attempts, request, action, environment",
            params![
                job,
                holder.to_string(),
                state.name(),
                later(now, outcome.due_in),
                u32::from(outcome.is_attempt),
                outcome.is_search,
                outcome.error,
                outcome.response.as_ref().map(Value::to_string),
                now,
                outcome.is_untouched(),
            ],
            |row| {
                let (attempts, request): (i32, String) = (row.get(2)?, row.get(3)?);
                let scope: (String, String) = (row.get(4)?, row.get(5)?);
                Ok((row.get(0)?, row.get(1)?, attempts, request, scope))
            },
        )
        .optional()?;
    let Some((fault, incident, attempts, request, (queue, environment))) = settled else {
        return Ok(false);
    };
    if let Some(change) = &outcome.ticket {
        change_ticket(&transaction, fault, incident, change)?;
    }
    if outcome.step == Step::GiveUp {
        transaction.execute(
            "INSERT INTO job_failures (at, job, error, problems, request)
             VALUES (?1, ?2, ?3, ?4, ?5)",
            params![now, job, outcome.error, json!(outcome.problems).to_string(), request],
        )?;
        notify(&transaction, &Notification::job_died(job, &queue, fault, &outcome.error))?;
    }
    let details = json!({
        "from": "active", "to": state.name(), "action": queue, "environment": environment,
        "attempts": attempts, "error": outcome.error, "problems": outcome.problems,
        "response": outcome.response,
    });
    let action = format!("job.{}", outcome.step.name());
    let entry = Entry { who: &format!("hub {holder}"), action: &action, details };
    audit(&transaction, &entry, &format!("job {job}"), Some(fault), Some(job))?;
    count_end(&transaction, state, &environment, &queue)?;
    transaction.commit()?;
    Ok(true)
}

/// Counts a job that has come to an end.
fn count_end(
    transaction: &Transaction<'_>,
    state: State,
    environment: &str,
    action: &str,
) -> Result<(), StoreError> {
    if !state.is_end() {
        return Ok(());
    }
    let ended = CountedJobs {
        day: day_of(clock::now()),
        environment: environment.to_owned(),
        action: action.to_owned(),
        outcome: state.name().to_owned(),
        count: 1,
    };
    statistics::add_end(transaction, &ended)
}

fn change_ticket(
    transaction: &Transaction<'_>,
    fault: i64,
    incident: i32,
    change: &TicketChange,
) -> Result<(), StoreError> {
    let now = clock::now();
    match change {
        TicketChange::Made { key, id, is_dry_run } => {
            let key = Some(key).filter(|_| !is_dry_run);
            transaction.execute(
                "UPDATE tickets SET key = ?3, is_dry_run = ?4, commented_at = ?5, issue_id = ?6
                 WHERE fault = ?1 AND incident = ?2",
                params![fault, incident, key, is_dry_run, now, id],
            )?;
        }
        TicketChange::Commented | TicketChange::Reopened => {
            transaction.execute(
                "UPDATE tickets SET commented_at = ?4,
                     commented_count = (SELECT count FROM faults WHERE id = ?1),
                     is_done = is_done AND NOT ?3,
                     resolution = CASE WHEN ?3 THEN '' ELSE resolution END,
                     resolved_at = CASE WHEN ?3 THEN NULL ELSE resolved_at END
                 WHERE fault = ?1 AND incident = ?2",
                params![fault, incident, *change == TicketChange::Reopened, now],
            )?;
        }
        TicketChange::Gone => lose_ticket(transaction, fault, incident)?,
    }
    Ok(())
}

/// See [`JobStore::ticket_gone`](crate::adapters::store::jobs::JobStore::ticket_gone).
pub(super) fn ticket_gone(connection: &mut Connection, key: &str) -> Result<(), StoreError> {
    let transaction = begin(connection)?;
    let sql = "SELECT fault, incident FROM tickets WHERE key = ?1";
    let tickets: Vec<(i64, i32)> =
        rows(&transaction, sql, [key], |row| Ok((row.get(0)?, row.get(1)?)))?;
    for (fault, incident) in tickets {
        lose_ticket(&transaction, fault, incident)?;
    }
    Ok(transaction.commit()?)
}

/// The ticket is not there any more. Its fault is not to get a new one before it is met again, so
/// that nothing is left to be decided about it. What a search that lags behind finds is older.
fn lose_ticket(transaction: &Transaction<'_>, fault: i64, incident: i32) -> Result<(), StoreError> {
    let lost: Option<Option<String>> = transaction
        .query_row(
            "UPDATE tickets SET is_gone = 1, status = 'gone',
                 changed_at = max(coalesce(changed_at, 0), ?3)
             WHERE fault = ?1 AND incident = ?2 AND NOT is_gone RETURNING key",
            params![fault, incident, clock::now()],
            |row| row.get(0),
        )
        .optional()?;
    let Some(key) = lost else { return Ok(()) };
    let entry = Entry { who: "jira", action: "ticket.gone", details: json!({}) };
    let subject = format!("ticket {}", key.unwrap_or_default());
    audit(transaction, &entry, &subject, Some(fault), None)?;
    transaction.execute(
        "UPDATE faults SET decide_at = NULL, steered = steered + 1 WHERE id = ?1 AND incident = ?2",
        params![fault, incident],
    )?;
    Ok(())
}

/// See [`JobStore::tickets_seen`](crate::adapters::store::jobs::JobStore::tickets_seen).
pub(super) fn tickets_seen(
    connection: &mut Connection,
    seen: &[SeenTicket],
) -> Result<u64, StoreError> {
    let transaction = begin(connection)?;
    let mut changed = 0;
    for ticket in seen {
        for (fault, incident, was_done) in see_ticket(&transaction, ticket)? {
            changed += 1;
            if was_done != ticket.is_done {
                resolve_by_ticket(&transaction, fault, incident)?;
            }
        }
    }
    transaction.commit()?;
    Ok(changed)
}

/// Gives the tickets that were another way before: fault, incident, and whether they were done.
///
/// A ticket that was moved has another key, and is known by its locator and its number: a copy has the
/// same locator. Of a ticket whose number is not known (an older version has made it) only the key
/// counts, until it was seen under that. If it is moved before, it is not seen; what is sent to its old
/// key arrives all the same.
fn see_ticket(
    transaction: &Transaction<'_>,
    ticket: &SeenTicket,
) -> Result<Vec<(i64, u32, bool)>, StoreError> {
    let SeenTicket { id, key, labels, status, is_done, resolution, resolved_at, changed_at } =
        ticket;
    let old: Vec<(i64, u32, bool, bool)> = rows(
        transaction,
        "SELECT fault, incident, is_done,
             (key, status, is_done, resolution, is_gone) IS NOT (?1, ?2, ?3, ?4, 0)
         FROM tickets
         WHERE (key = ?1 OR locator IN (SELECT value FROM json_each(?5))
                 AND (key IS NULL OR issue_id = ?7))
             AND (changed_at IS NULL OR changed_at <= ?6)
             AND (key, status, is_done, resolution, is_gone, issue_id) IS NOT
                 (?1, ?2, ?3, ?4, 0, coalesce(?7, issue_id))",
        params![key, status, is_done, resolution, json!(labels).to_string(), changed_at, id],
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
    )?;
    let mut news = Vec::new();
    for (fault, incident, was_done, is_news) in old {
        transaction.execute(
            "UPDATE tickets SET key = ?3, status = ?4, is_done = ?5, resolution = ?6,
                 changed_at = ?7, is_gone = 0, issue_id = coalesce(?10, issue_id),
                 resolved_at = CASE WHEN ?5 THEN coalesce(?8, resolved_at, ?9) END
             WHERE fault = ?1 AND incident = ?2",
            params![
                fault,
                incident,
                key,
                status,
                is_done,
                resolution,
                changed_at,
                resolved_at,
                clock::now(),
                id
            ],
        )?;
        if is_news {
            let details = json!({ "status": status, "is_done": is_done, "resolution": resolution });
            let entry = Entry { who: "jira", action: "ticket.change", details };
            audit(transaction, &entry, &format!("ticket {key}"), Some(fault), None)?;
            news.push((fault, incident, was_done));
        }
    }
    Ok(news)
}

/// A fault whose newest ticket was done is resolved; one whose ticket was opened again is open.
fn resolve_by_ticket(
    transaction: &Transaction<'_>,
    fault: i64,
    incident: u32,
) -> Result<(), StoreError> {
    transaction.execute(
        "UPDATE faults SET resolved_at = (SELECT CASE WHEN is_done THEN resolved_at END FROM tickets
                 WHERE tickets.fault = ?1 AND tickets.incident = ?2),
             came_back_at = NULL, steered = steered + 1, decide_at = ?3
         WHERE id = ?1 AND incident = ?2",
        params![fault, incident, clock::now()],
    )?;
    Ok(())
}

/// The conditions of a filter of `jobs AS job`.
fn of(filter: &JobFilter) -> Conditions {
    let mut conditions = Conditions::default();
    let ids = filter.ids.as_ref().map(|ids| json!(ids).to_string());
    conditions.add("job.id IN (SELECT value FROM json_each(?))", ids);
    conditions.add("job.state = ?", filter.state.map(State::name));
    conditions.add("job.action = ?", filter.action.map(Action::name));
    conditions.add("job.environment = ?", filter.environment.clone());
    conditions.add("job.fault = ?", filter.fault);
    conditions.add(
        "(job.fault, job.incident) IN (SELECT fault, incident FROM tickets WHERE key = ?)",
        filter.key.clone(),
    );
    conditions.add(
        "instr(lower(job.request || coalesce(job.response, '') || job.error), lower(?)) > 0",
        filter.text.clone(),
    );
    conditions.add("job.created_at >= ?", filter.since);
    conditions.add("job.created_at < ?", filter.until);
    conditions.add("job.id < ?", filter.before);
    conditions.add("job.id >= ?", filter.from);
    conditions
}

pub(super) fn jobs(
    connection: &Connection,
    filter: &JobFilter,
    limit: u32,
) -> Result<Vec<StoredJob>, StoreError> {
    let mut conditions = of(filter);
    let limit = conditions.parameter(limit);
    let sql = format!(
        "SELECT job.id, job.fault, job.incident, job.action, job.mark, job.environment, job.state,
             job.rule, job.attempts, job.searches, ticket.key, ticket.locator, job.error,
             job.request, job.response, job.created_at, job.updated_at, job.due_at
         FROM jobs AS job JOIN tickets AS ticket USING (fault, incident)
         WHERE {} ORDER BY job.id DESC LIMIT {limit}",
        conditions.sql()
    );
    rows(connection, &sql, conditions.parameters(), stored_job_of)
}

/// See [`JobStore::job_window`](crate::adapters::store::jobs::JobStore::job_window).
pub(super) fn window(
    connection: &Connection,
    filter: &JobFilter,
    span: u32,
) -> Result<Option<JobId>, StoreError> {
    let mut conditions = of(&JobFilter { text: None, ..filter.clone() });
    let span = conditions.parameter(span);
    let sql = format!(
        "SELECT min(id) FROM (
             SELECT job.id FROM jobs AS job WHERE {} ORDER BY job.id DESC LIMIT {span})",
        conditions.sql()
    );
    let mut statement = connection.prepare_cached(&sql)?;
    Ok(statement.query_one(conditions.parameters(), |row| row.get(0))?)
}

pub(super) fn queues(
    connection: &Connection,
    filter: &JobFilter,
) -> Result<QueueCounts, StoreError> {
    let conditions = of(filter);
    let sql = format!(
        "SELECT job.action, job.state, count(*) FROM jobs AS job WHERE {} GROUP BY 1, 2
         ORDER BY 1, 2",
        conditions.sql()
    );
    let counts = rows(connection, &sql, conditions.parameters(), |row| {
        let action = Action::from_name(row.get_ref(0)?.as_str()?);
        let state = State::from_name(row.get_ref(1)?.as_str()?);
        Ok((action, state, as_u64(row.get(2)?)))
    })?;
    let known = |(action, state, count)| Some((action?, state?, count));
    Ok(counts.into_iter().filter_map(known).collect())
}

pub(super) fn failure_of(row: &Row<'_>) -> rusqlite::Result<StoredFailure> {
    Ok(StoredFailure {
        at: row.get(0)?,
        error: row.get(1)?,
        problems: raw_json(row.get(2)?),
        request: raw_json(row.get(3)?),
    })
}

fn stored_job_of(row: &Row<'_>) -> rusqlite::Result<StoredJob> {
    Ok(StoredJob {
        id: row.get(0)?,
        fault: row.get(1)?,
        incident: row.get(2)?,
        action: row.get(3)?,
        mark: row.get(4)?,
        environment: row.get(5)?,
        state: row.get(6)?,
        rule: row.get(7)?,
        attempts: row.get(8)?,
        searches: row.get(9)?,
        key: row.get(10)?,
        locator: row.get(11)?,
        error: row.get(12)?,
        request: raw_json(row.get(13)?),
        response: row.get::<_, Option<String>>(14)?.map(raw_json),
        created_at: row.get(15)?,
        updated_at: row.get(16)?,
        due_at: row.get(17)?,
    })
}

/// See [`JobStore::steer`](crate::adapters::store::jobs::JobStore::steer). Without its attempts a
/// comment would not be looked for. Of a ticket an attempt says nothing: one that may have been made
/// has `unknown_at`.
pub(super) fn steer(
    connection: &mut Connection,
    filter: &JobFilter,
    steer: &Steer,
    who: &str,
) -> Result<Vec<JobId>, StoreError> {
    let transaction = begin(connection)?;
    let mut found = jobs(&transaction, filter, u32::MAX)?;
    found.reverse();
    let mut steered = Vec::new();
    for job in found {
        let Some(from) = State::from_name(&job.state) else { continue };
        let Ok(to) = from.after(steer.step()) else { continue };
        let (action, request) = match steer {
            Steer::Retry => ("job.retry", None),
            Steer::Discard => ("job.discard", None),
            Steer::Edit(request) => ("job.edit", Some(request)),
        };
        transaction.execute(
            "UPDATE jobs SET state = ?2, due_at = ?3, attempts = 0, updated_at = ?3,
                 request = coalesce(?4, request),
                 unknown_at = coalesce(unknown_at,
                     CASE WHEN attempts > 0 AND action <> 'create' THEN ?3 END)
             WHERE id = ?1",
            params![job.id, to.name(), clock::now(), request.map(Value::to_string)],
        )?;
        let details = json!({
            "from": from.name(), "to": to.name(), "action": job.action,
            "environment": job.environment, "request": request,
        });
        let entry = Entry { who, action, details };
        audit(&transaction, &entry, &format!("job {}", job.id), Some(job.fault), Some(job.id))?;
        count_end(&transaction, to, &job.environment, &job.action)?;
        steered.push(job.id);
    }
    transaction.commit()?;
    Ok(steered)
}

pub(super) fn tickets(
    connection: &Connection,
    fault: i64,
) -> Result<Vec<StoredTicket>, StoreError> {
    let sql = "SELECT fault, incident, locator, key, is_dry_run, status, is_done, resolution,
                   created_at FROM tickets WHERE fault = ?1 ORDER BY incident DESC";
    rows(connection, sql, [fault], |row| stored_ticket_from(row, 0))
}

/// The ticket whose columns begin at `first`.
pub(super) fn stored_ticket_from(row: &Row<'_>, first: usize) -> rusqlite::Result<StoredTicket> {
    Ok(StoredTicket {
        fault: row.get(first)?,
        incident: row.get(first + 1)?,
        locator: row.get(first + 2)?,
        key: row.get(first + 3)?,
        is_dry_run: row.get(first + 4)?,
        status: row.get(first + 5)?,
        is_done: row.get(first + 6)?,
        resolution: row.get(first + 7)?,
        created_at: row.get(first + 8)?,
    })
}
