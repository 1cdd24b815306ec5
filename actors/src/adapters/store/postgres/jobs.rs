//! Jobs in PostgreSQL: taken with `SKIP LOCKED`, so that hubs share them, under leases by the
//! server's clock.

use std::time::Duration;

use deadpool_postgres::Object;
use serde_json::{Value, value::RawValue};
use tokio_postgres::{
    Error, Row, Transaction,
    types::{Json, ToSql},
};

use super::{conditions::Conditions, notifications::notify, row::micros_of, statistics, timestamp};
use crate::{
    adapters::store::{
        as_u64,
        jobs::{
            Holder, Job, JobFilter, JobId, Outcome, QueueCounts, SeenTicket, Steer, StoredFailure,
            StoredJob, StoredTicket, TicketChange,
        },
    },
    domain::{
        job::{Action, State, Step},
        notification::Notification,
    },
};

/// See [`JobStore::claim`](crate::adapters::store::jobs::JobStore::claim). A job whose holder was
/// not heard of may have been done just now.
pub(super) async fn claim(
    client: &mut Object,
    holder: Holder,
    lease: Duration,
    limit: u32,
) -> Result<Vec<Job>, Error> {
    let rows = client
        .query(
            "WITH due AS MATERIALIZED (
                 SELECT id, state FROM jobs
                 WHERE state IN ('waiting', 'delayed', 'unknown') AND due_at <= now()
                 ORDER BY due_at, id LIMIT $3 FOR UPDATE SKIP LOCKED),
             left_behind AS MATERIALIZED (
                 SELECT id, state FROM jobs WHERE state = 'active' AND lease_until < now()
                 ORDER BY lease_until LIMIT $3 FOR UPDATE SKIP LOCKED),
             taken AS MATERIALIZED (
                 SELECT * FROM (SELECT * FROM left_behind UNION ALL SELECT * FROM due) AS all_due
                 LIMIT $3),
             claimed AS (
                 UPDATE jobs SET state = 'active', holder = $1,
                     lease_until = now() + $2::float8 * interval '1 second', updated_at = now(),
                     unknown_at = CASE WHEN taken.state = 'active' THEN now() ELSE unknown_at END
                 FROM taken WHERE jobs.id = taken.id RETURNING jobs.*, taken.state AS before),
             told AS (
                 INSERT INTO audit_trail (who, action, subject, details, fault, job)
                 SELECT 'hub ' || $1::uuid,
                     CASE WHEN before = 'active' THEN 'job.relieve' ELSE 'job.claim' END,
                     'job ' || id, json_build_object('from', before, 'to', 'active'), fault, id
                 FROM claimed)
             SELECT claimed.id, claimed.fault, claimed.incident, claimed.action, claimed.mark,
                 claimed.attempts, claimed.searches,
                 extract(epoch FROM now() - claimed.unknown_at)::float8, claimed.request,
                 ticket.locator, ticket.key
             FROM claimed JOIN tickets AS ticket USING (fault, incident) ORDER BY claimed.id",
            &[&holder, &lease.as_secs_f64(), &i64::from(limit)],
        )
        .await?;
    Ok(rows.iter().map(job_of).collect())
}

fn job_of(row: &Row) -> Job {
    let unknown_for: Option<f64> = row.get(7);
    Job {
        id: row.get(0),
        fault: row.get(1),
        incident: row.get::<_, i32>(2).cast_unsigned(),
        action: Action::from_name(row.get(3)).unwrap_or(Action::Comment),
        mark: row.get(4),
        attempts: row.get::<_, i32>(5).cast_unsigned(),
        searches: row.get::<_, i32>(6).cast_unsigned(),
        unknown_for: unknown_for.map(|seconds| Duration::from_secs_f64(seconds.max(0.0))),
        request: row.get::<_, Json<Value>>(8).0,
        locator: row.get(9),
        key: row.get(10),
    }
}

/// See [`JobStore::settle`](crate::adapters::store::jobs::JobStore::settle).
pub(super) async fn settle(
    client: &mut Object,
    job: JobId,
    holder: Holder,
    outcome: &Outcome,
) -> Result<bool, Error> {
    let Ok(state) = State::Active.after(outcome.step) else { return Ok(false) };
    let transaction = client.transaction().await?;
    let rows = transaction
        .query(
            "UPDATE jobs SET state = $3, due_at = now() + $4::float8 * interval '1 second',
                 attempts = attempts + $5, searches = CASE WHEN $6 THEN searches + 1 ELSE 0 END,
                 unknown_at = CASE WHEN $3 = 'unknown' THEN
                     CASE WHEN $6 THEN coalesce(unknown_at, now()) ELSE now() END
                     WHEN $9 THEN unknown_at END,
                 holder = NULL, lease_until = NULL, error = $7, updated_at = now(),
                 response = coalesce($8, response)
             WHERE id = $1 AND holder = $2 AND state = 'active'
             RETURNING fault, incident, attempts, request, action, environment",
            &[
                &job,
                &holder,
                &state.name(),
                &outcome.due_in.as_secs_f64(),
                &i32::from(outcome.is_attempt),
                &outcome.is_search,
                &outcome.error,
                &outcome.response.as_ref().map(Json),
                &outcome.is_untouched(),
            ],
        )
        .await?;
    let Some(row) = rows.first() else { return Ok(false) };
    let (fault, incident): (i64, i32) = (row.get(0), row.get(1));
    if let Some(change) = &outcome.ticket {
        change_ticket(&transaction, fault, incident, change).await?;
    }
    if outcome.step == Step::GiveUp {
        let problems = Json(&outcome.problems);
        let request = row.get::<_, Json<Box<RawValue>>>(3);
        transaction
            .execute(
                "INSERT INTO job_failures (job, error, problems, request) VALUES ($1, $2, $3, $4)",
                &[&job, &outcome.error, &problems, &request],
            )
            .await?;
        let died = Notification::job_died(job, row.get(4), fault, &outcome.error);
        notify(&transaction, &[died]).await?;
    }
    let (action, environment): (&str, &str) = (row.get(4), row.get(5));
    let details = serde_json::json!({
        "from": "active", "to": state.name(), "action": action, "environment": environment,
        "attempts": row.get::<_, i32>(2), "error": outcome.error, "problems": outcome.problems,
        "response": outcome.response,
    });
    transaction
        .execute(
            "INSERT INTO audit_trail (who, action, subject, details, fault, job)
             VALUES ($1, $2, $3, $4, $5, $6)",
            &[
                &format!("hub {holder}"),
                &format!("job.{}", outcome.step.name()),
                &format!("job {job}"),
                &Json(details),
                &fault,
                &job,
            ],
        )
        .await?;
    if state.is_end() {
        let ended: [&(dyn ToSql + Sync); 3] = [&vec![environment], &vec![action], &state.name()];
        transaction.execute(statistics::ADD_ENDS, &ended).await?;
    }
    transaction.commit().await?;
    Ok(true)
}

async fn change_ticket(
    transaction: &Transaction<'_>,
    fault: i64,
    incident: i32,
    change: &TicketChange,
) -> Result<(), Error> {
    match change {
        TicketChange::Made { key, id, is_dry_run } => {
            let key = Some(key).filter(|_| !is_dry_run);
            let sql = "UPDATE tickets SET key = $3, is_dry_run = $4, issue_id = $5,
                           commented_at = now()
                       WHERE fault = $1 AND incident = $2";
            transaction.execute(sql, &[&fault, &incident, &key, is_dry_run, id]).await?;
        }
        TicketChange::Commented | TicketChange::Reopened => {
            let is_reopened = *change == TicketChange::Reopened;
            let sql = "UPDATE tickets SET commented_at = now(),
                           commented_count = (SELECT count FROM faults WHERE id = $1),
                           is_done = is_done AND NOT $3,
                           resolution = CASE WHEN $3 THEN '' ELSE resolution END,
                           resolved_at = CASE WHEN $3 THEN NULL ELSE resolved_at END
                       WHERE fault = $1 AND incident = $2";
            transaction.execute(sql, &[&fault, &incident, &is_reopened]).await?;
        }
        TicketChange::Gone => lose_ticket(transaction, fault, incident).await?,
    }
    Ok(())
}

/// See [`JobStore::ticket_gone`](crate::adapters::store::jobs::JobStore::ticket_gone).
pub(super) async fn ticket_gone(client: &mut Object, key: &str) -> Result<(), Error> {
    let transaction = client.transaction().await?;
    let sql = "SELECT fault, incident FROM tickets WHERE key = $1 ORDER BY 1, 2";
    for row in transaction.query(sql, &[&key]).await? {
        lose_ticket(&transaction, row.get(0), row.get(1)).await?;
    }
    transaction.commit().await
}

/// The ticket is not there any more. Its fault is not to get a new one before it is met again, so
/// that nothing is left to be decided about it. What a search that lags behind finds is older.
async fn lose_ticket(
    transaction: &Transaction<'_>,
    fault: i64,
    incident: i32,
) -> Result<(), Error> {
    transaction
        .execute(
            "WITH gone AS (
                 UPDATE tickets SET is_gone = true, status = 'gone',
                     changed_at = greatest(changed_at, now())
                 WHERE fault = $1 AND incident = $2 AND NOT is_gone
                 RETURNING fault, incident, key),
             told AS (
                 INSERT INTO audit_trail (who, action, subject, details, fault)
                 SELECT 'jira', 'ticket.gone', 'ticket ' || coalesce(key, ''), '{}'::json, fault
                 FROM gone)
             UPDATE faults SET decide_at = NULL, steered = steered + 1
             FROM gone WHERE faults.id = gone.fault AND faults.incident = gone.incident",
            &[&fault, &incident],
        )
        .await
        .map(drop)
}

/// See [`JobStore::tickets_seen`](crate::adapters::store::jobs::JobStore::tickets_seen).
pub(super) async fn tickets_seen(client: &mut Object, seen: &[SeenTicket]) -> Result<u64, Error> {
    let transaction = client.transaction().await?;
    let mut changed = 0;
    let mut turned: Vec<(i64, i32)> = Vec::new();
    for ticket in seen {
        let rows = see_ticket(&transaction, ticket).await?;
        changed += rows.len() as u64;
        let turns = rows.iter().filter(|row| row.get::<_, bool>(2) != ticket.is_done);
        turned.extend(turns.map(|row| (row.get(0), row.get(1))));
    }
    if !turned.is_empty() {
        resolve_by_tickets(&transaction, &turned).await?;
    }
    transaction.commit().await?;
    Ok(changed)
}

/// Gives the tickets that were another way before: fault, incident, and whether they were done.
///
/// A ticket that was moved has another key, and is known by its locator and its number: a copy has the
/// same locator. Of a ticket whose number is not known (an older version has made it) only the key
/// counts, until it was seen under that. If it is moved before, it is not seen; what is sent to its old
/// key arrives all the same.
async fn see_ticket(transaction: &Transaction<'_>, ticket: &SeenTicket) -> Result<Vec<Row>, Error> {
    let resolved_at = ticket.resolved_at.map(super::timestamp);
    transaction
        .query(
            "WITH old AS MATERIALIZED (
                 SELECT fault, incident, is_done,
                     (key, status, is_done, resolution, is_gone)
                         IS DISTINCT FROM ($1, $2, $3, $4, false) AS is_news
                 FROM tickets
                 WHERE (key = $1 OR locator = ANY($6) AND (key IS NULL OR issue_id = $8))
                     AND (changed_at IS NULL OR changed_at <= $7)
                     AND (key, status, is_done, resolution, is_gone, issue_id) IS DISTINCT FROM
                         ($1, $2, $3, $4, false, coalesce($8, issue_id))
                 FOR NO KEY UPDATE),
             changed AS (
                 UPDATE tickets SET key = $1, status = $2, is_done = $3, resolution = $4,
                     changed_at = $7, is_gone = false, issue_id = coalesce($8, issue_id),
                     resolved_at = CASE WHEN $3 THEN coalesce($5, resolved_at, now()) END
                 FROM old WHERE tickets.fault = old.fault AND tickets.incident = old.incident),
             told AS (
                 INSERT INTO audit_trail (who, action, subject, details, fault)
                 SELECT 'jira', 'ticket.change', 'ticket ' || $1,
                     json_build_object('status', $2::text, 'is_done', $3::boolean,
                         'resolution', $4::text), fault
                 FROM old WHERE is_news)
             SELECT fault, incident, is_done FROM old WHERE is_news",
            &[
                &ticket.key,
                &ticket.status,
                &ticket.is_done,
                &ticket.resolution,
                &resolved_at,
                &ticket.labels,
                &super::timestamp(ticket.changed_at),
                &ticket.id,
            ],
        )
        .await
}

/// A fault whose newest ticket was done is resolved; one whose ticket was opened again is open.
async fn resolve_by_tickets(
    transaction: &Transaction<'_>,
    turned: &[(i64, i32)],
) -> Result<(), Error> {
    let (faults, incidents): (Vec<i64>, Vec<i32>) = turned.iter().copied().unzip();
    transaction
        .execute(
            "WITH turned AS MATERIALIZED (
                 SELECT ticket.fault, CASE WHEN ticket.is_done THEN ticket.resolved_at END AS done_at
                 FROM unnest($1::bigint[], $2::integer[]) AS given (fault, incident)
                 JOIN faults ON faults.id = given.fault AND faults.incident = given.incident
                 JOIN tickets AS ticket
                     ON ticket.fault = given.fault AND ticket.incident = given.incident
                 ORDER BY faults.id FOR NO KEY UPDATE OF faults)
             UPDATE faults SET resolved_at = turned.done_at, came_back_at = NULL,
                 steered = steered + 1, decide_at = now()
             FROM turned WHERE faults.id = turned.fault",
            &[&faults, &incidents],
        )
        .await
        .map(drop)
}

/// The conditions of a filter of `jobs AS job`.
fn of(filter: &JobFilter) -> Conditions {
    let mut conditions = Conditions::default();
    conditions.add("job.id = ANY($)", filter.ids.clone());
    conditions.add("job.state = $", filter.state.map(State::name));
    conditions.add("job.action = $", filter.action.map(Action::name));
    conditions.add("job.environment = $", filter.environment.clone());
    conditions.add("job.fault = $", filter.fault);
    conditions.add(
        "(job.fault, job.incident) IN (SELECT fault, incident FROM tickets WHERE key = $)",
        filter.key.clone(),
    );
    conditions.add(
        "strpos(lower(job.request::text || coalesce(job.response::text, '') || job.error),
             lower($)) > 0",
        filter.text.clone(),
    );
    conditions.add("job.created_at >= $", filter.since.map(timestamp));
    conditions.add("job.created_at < $", filter.until.map(timestamp));
    conditions.add("job.id < $", filter.before);
    conditions.add("job.id >= $", filter.from);
    conditions
}

pub(super) async fn jobs(
    client: &Object,
    filter: &JobFilter,
    limit: u32,
) -> Result<Vec<StoredJob>, Error> {
    let mut conditions = of(filter);
    let limit = conditions.parameter(i64::from(limit));
    let sql = format!(
        "SELECT job.id, job.fault, job.incident, job.action, job.mark, job.environment, job.state,
             job.rule, job.attempts, job.searches, ticket.key, ticket.locator, job.error,
             job.request, job.response, job.created_at, job.updated_at, job.due_at
         FROM jobs AS job JOIN tickets AS ticket USING (fault, incident)
         WHERE {} ORDER BY job.id DESC LIMIT {limit}",
        conditions.sql()
    );
    let rows = client.query(&sql, &conditions.parameters()).await?;
    Ok(rows.iter().map(stored_job_of).collect())
}

/// See [`JobStore::job_window`](crate::adapters::store::jobs::JobStore::job_window).
pub(super) async fn window(
    client: &Object,
    filter: &JobFilter,
    span: u32,
) -> Result<Option<JobId>, Error> {
    let mut conditions = of(&JobFilter { text: None, ..filter.clone() });
    let span = conditions.parameter(i64::from(span));
    let sql = format!(
        "SELECT min(id) FROM (
             SELECT job.id FROM jobs AS job WHERE {} ORDER BY job.id DESC LIMIT {span}) AS spanned",
        conditions.sql()
    );
    Ok(client.query_one(&sql, &conditions.parameters()).await?.get(0))
}

pub(super) async fn queues(client: &Object, filter: &JobFilter) -> Result<QueueCounts, Error> {
    let conditions = of(filter);
    let sql = format!(
        "SELECT job.action, job.state, count(*) FROM jobs AS job WHERE {} GROUP BY 1, 2
         ORDER BY 1, 2",
        conditions.sql()
    );
    let rows = client.query(&sql, &conditions.parameters()).await?;
    let count = |row: &Row| {
        let (action, state) = (Action::from_name(row.get(0))?, State::from_name(row.get(1))?);
        Some((action, state, as_u64(row.get(2))))
    };
    Ok(rows.iter().filter_map(count).collect())
}

pub(super) fn failure_of(row: &Row) -> StoredFailure {
    StoredFailure {
        at: micros_of(row, 0),
        error: row.get(1),
        problems: row.get::<_, Json<Box<RawValue>>>(2).0,
        request: row.get::<_, Json<Box<RawValue>>>(3).0,
    }
}

fn stored_job_of(row: &Row) -> StoredJob {
    StoredJob {
        id: row.get(0),
        fault: row.get(1),
        incident: row.get(2),
        action: row.get(3),
        mark: row.get(4),
        environment: row.get(5),
        state: row.get(6),
        rule: row.get(7),
        attempts: row.get(8),
        searches: row.get(9),
        key: row.get(10),
        locator: row.get(11),
        error: row.get(12),
        request: row.get::<_, Json<Box<RawValue>>>(13).0,
        response: row.get::<_, Option<Json<Box<RawValue>>>>(14).map(|json| json.0),
        created_at: micros_of(row, 15),
        updated_at: micros_of(row, 16),
        due_at: micros_of(row, 17),
    }
}

/// See [`JobStore::steer`](crate::adapters::store::jobs::JobStore::steer). Without its attempts a
/// comment would not be looked for. Of a ticket an attempt says nothing: one that may have been made
/// has `unknown_at`.
pub(super) async fn steer(
    client: &mut Object,
    filter: &JobFilter,
    steer: &Steer,
    who: &str,
) -> Result<Vec<JobId>, Error> {
    let transaction = client.transaction().await?;
    let conditions = of(filter);
    let sql = format!(
        "SELECT id, state FROM jobs AS job WHERE {} ORDER BY id FOR UPDATE OF job",
        conditions.sql()
    );
    let rows = transaction.query(&sql, &conditions.parameters()).await?;
    let mut steered: [Vec<JobId>; 7] = Default::default();
    for row in rows {
        let from = State::from_name(row.get(1));
        if let Some(from) = from.filter(|from| from.after(steer.step()).is_ok()) {
            steered[from as usize].push(row.get(0));
        }
    }
    let request = match steer {
        Steer::Edit(request) => Some(Json(request)),
        Steer::Retry | Steer::Discard => None,
    };
    let mut ended: (Vec<String>, Vec<String>) = Default::default();
    for (from, ids) in State::ALL.into_iter().zip(&steered) {
        let Ok(to) = from.after(steer.step()) else { continue };
        let changed = transaction
            .query(
                "WITH changed AS (
                     UPDATE jobs SET state = $2, due_at = now(), attempts = 0, updated_at = now(),
                         request = coalesce($3, request),
                         unknown_at = coalesce(unknown_at,
                             CASE WHEN attempts > 0 AND action <> 'create' THEN now() END)
                     WHERE id = ANY($1) RETURNING id, fault, action, environment),
                 told AS (
                     INSERT INTO audit_trail (who, action, subject, details, fault, job)
                     SELECT $4, $5, 'job ' || id,
                         json_build_object('from', $6::text, 'to', $2::text, 'action', action,
                             'environment', environment, 'request', $3::json),
                         fault, id
                     FROM changed)
                 SELECT environment, action FROM changed",
                &[ids, &to.name(), &request, &who, &action_of(steer), &from.name()],
            )
            .await?;
        if to.is_end() {
            ended.extend(changed.iter().map(|row| (row.get(0), row.get(1))));
        }
    }
    if !ended.0.is_empty() {
        let outcome = State::Discarded.name();
        transaction.execute(statistics::ADD_ENDS, &[&ended.0, &ended.1, &outcome]).await?;
    }
    transaction.commit().await?;
    let mut all: Vec<JobId> = steered.into_iter().flatten().collect();
    all.sort_unstable();
    Ok(all)
}

fn action_of(steer: &Steer) -> &'static str {
    match steer {
        Steer::Retry => "job.retry",
        Steer::Edit(_) => "job.edit",
        Steer::Discard => "job.discard",
    }
}

pub(super) const TICKETS: &str = "SELECT fault, incident, locator, key, is_dry_run, status,
    is_done, resolution, created_at FROM tickets WHERE fault = $1 ORDER BY incident DESC";

pub(super) fn stored_ticket_of(row: &Row) -> StoredTicket {
    stored_ticket_from(row, 0)
}

/// The ticket whose columns begin at `first`.
pub(super) fn stored_ticket_from(row: &Row, first: usize) -> StoredTicket {
    StoredTicket {
        fault: row.get(first),
        incident: row.get(first + 1),
        locator: row.get(first + 2),
        key: row.get(first + 3),
        is_dry_run: row.get(first + 4),
        status: row.get(first + 5),
        is_done: row.get(first + 6),
        resolution: row.get(first + 7),
        created_at: micros_of(row, first + 8),
    }
}
