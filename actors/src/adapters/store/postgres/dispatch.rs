//! Decisions about faults, in PostgreSQL. Where there is a budget of new tickets, hubs write them one
//! after another, so that they share it; a decision about less than another hub has decided about is
//! dropped.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use deadpool_postgres::Object;
use serde_json::Value;
use tokio_postgres::{
    Error, Row, Transaction,
    types::{Json, Type},
};

use super::{notifications::notify, row::micros_of, timestamp};
use crate::{
    adapters::store::{
        as_i64, as_u64,
        jobs::{Budget, Decided, HELD, Intent, Undecided, Which, Written, comeback_of, held_back},
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
    },
};

const DECISIONS_LOCK: i64 = 0x666C_7434;

/// The ticket is looked up fault by fault: a join would read all tickets, once for each batch. One
/// that is gone is none.
pub(super) const UNDECIDED: &str = "SELECT fault.id, fault.count, fault.last_seen, fault.incident,
        fault.environment, fault.service, fault.kind, fault.severity, fault.fingerprint,
        fault.title, fault.example, fault.latest, fault.first_seen, fault.rule,
        fault.held_at IS NOT NULL, ticket.key, ticket.is_dry_run, ticket.is_done,
        ticket.resolution, ticket.resolved_at, ticket.commented_at, ticket.commented_count,
        fault.resolved_at, fault.muted_at IS NOT NULL, fault.muted_by, fault.muted_until,
        fault.steered
    FROM faults AS fault
    LEFT JOIN LATERAL (SELECT * FROM tickets
        WHERE tickets.fault = fault.id AND tickets.incident = fault.incident AND NOT is_gone
        LIMIT 1) AS ticket ON true";
/// Those that rules are asked about.
const IS_ASKED: &str = "WHERE fault.merged_into IS NULL AND fault.kind NOT IN ('storm', 'manual')";

/// The condition and order that choose `which` of them.
pub(super) fn chosen(which: Which<'_>) -> String {
    const IS_DUE: &str = "fault.held_at IS NULL
        AND (fault.count > fault.decided_count OR fault.decide_at <= now())";
    match which {
        Which::These(_) => {
            format!("{IS_ASKED} AND {IS_DUE} AND fault.id = ANY($1) ORDER BY fault.id LIMIT $2")
        }
        Which::After(_) => {
            format!("{IS_ASKED} AND {IS_DUE} AND fault.id > $1 ORDER BY fault.id LIMIT $2")
        }
        Which::Held(_) => format!(
            "{IS_ASKED} AND fault.held_at IS NOT NULL AND fault.environment = $1
             ORDER BY fault.count DESC, fault.id LIMIT $2"
        ),
        Which::Known(_) => "WHERE fault.id = $1 LIMIT $2".to_owned(),
    }
}

pub(super) fn undecided_of(row: &Row) -> Undecided {
    let commented_at: Option<jiff::Timestamp> = row.get(20);
    let ticket = commented_at.map(|commented_at| decision::Ticket {
        key: row.get(15),
        is_dry_run: row.get(16),
        is_done: row.get(17),
        resolution: row.get(18),
        resolved_at: row.get::<_, Option<jiff::Timestamp>>(19).map(jiff::Timestamp::as_microsecond),
        commented_at: commented_at.as_microsecond(),
        commented_count: as_u64(row.get(21)),
    });
    let time =
        |column| row.get::<_, Option<jiff::Timestamp>>(column).map(jiff::Timestamp::as_microsecond);
    let mute =
        || Mute { by: row.get::<_, Option<String>>(24).unwrap_or_default(), until: time(25) };
    Undecided {
        fault: decision::Undecided {
            fault: row.get(0),
            count: as_u64(row.get(1)),
            last_seen: micros_of(row, 2),
            ticket,
            incident: row.get::<_, i32>(3).cast_unsigned(),
            resolved_at: time(22),
            mute: row.get::<_, bool>(23).then(mute),
        },
        environment: row.get(4),
        service: row.get(5),
        kind: Kind::from_name(row.get(6)).unwrap_or(Kind::Log),
        severity: Severity::from_name(row.get(7)).unwrap_or(Severity::Error),
        fingerprint: row.get(8),
        title: row.get(9),
        example: row.get(10),
        latest: row.get(11),
        first_seen: micros_of(row, 12),
        rule: row.get(13),
        is_held: row.get(14),
        steered: row.get::<_, i32>(26).cast_unsigned(),
    }
}

/// See [`JobStore::decide`](crate::adapters::store::jobs::JobStore::decide).
pub(super) async fn decide(
    client: &mut Object,
    decisions: &[Decided],
    budget: Option<Budget>,
) -> Result<Written, Error> {
    let transaction = client.transaction().await?;
    let mut left = HashMap::new();
    if let Some(budget) = budget {
        transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&DECISIONS_LOCK]).await?;
        for decided in decisions {
            if !left.contains_key(decided.environment.as_str()) {
                let recent = recent(&transaction, &decided.environment, budget.window).await?;
                let free = u64::from(budget.tickets).saturating_sub(recent);
                left.insert(decided.environment.as_str(), free);
            }
        }
    }
    let held = held_back(decisions, &mut left);
    let current = write_decisions(&transaction, decisions, &held).await?;
    let mut intents = Vec::new();
    let mut written = Written::default();
    let mut told = Vec::new();
    for (decided, is_held) in decisions.iter().zip(&held) {
        let Some(is_new_reason) = current.get(&decided.fault) else { continue };
        if *is_held {
            written.held += 1;
        } else if let Some(intent) = &decided.intent {
            intents.push((
                decided.fault,
                decided.environment.as_str(),
                Reason { who: "rules", text: decided.reason.as_str() },
                intent,
            ));
            continue;
        }
        if *is_new_reason {
            let reason = if *is_held { HELD } else { decided.reason.as_str() };
            told.push((decided.fault, reason));
        }
    }
    let added = add_intents(&transaction, &intents).await?;
    written.intents = added.len() as u64;
    let is_added = |decided: &&Decided| added.contains(&decided.fault);
    let back: Vec<_> =
        decisions.iter().filter(is_added).filter_map(Decided::notification).collect();
    notify(&transaction, &back).await?;
    tell(&transaction, &told).await?;
    transaction.commit().await?;
    Ok(written)
}

/// Marks the faults as decided; gives those that nobody else has decided about meanwhile, and
/// whether the reason is another than before.
async fn write_decisions(
    transaction: &Transaction<'_>,
    decisions: &[Decided],
    held: &[bool],
) -> Result<HashMap<FaultId, bool>, Error> {
    let column = |get: &dyn Fn(&Decided) -> i64| decisions.iter().map(get).collect::<Vec<_>>();
    let reasons: Vec<&str> = decisions
        .iter()
        .zip(held)
        .map(|(decided, is_held)| if *is_held { HELD } else { decided.reason.as_str() })
        .collect();
    let again: Vec<Option<jiff::Timestamp>> =
        decisions.iter().map(|decided| decided.again_at.map(timestamp)).collect();
    let comebacks: Vec<Comeback> = decisions
        .iter()
        .zip(held)
        .map(|(decided, is_held)| comeback_of(decided, *is_held))
        .collect();
    let is = |comeback| comebacks.iter().map(|each| *each == comeback).collect::<Vec<bool>>();
    let after = |(decided, is_held): (&Decided, &bool)| match &decided.intent {
        Some(intent) if !is_held => i64::from(intent.incident.max(decided.incident)),
        _ => i64::from(decided.incident),
    };
    let rows = transaction
        .query_typed(
            "WITH given AS MATERIALIZED (
                 SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[],
                     $5::text[], $6::timestamptz[], $7::boolean[], $8::bigint[], $9::boolean[],
                     $10::boolean[])
                     AS given (id, count, before, after, reason, again_at, is_held, steered,
                         is_back, is_heeded)),
             old AS MATERIALIZED (
                 SELECT fault.id, fault.decision FROM faults AS fault JOIN given USING (id)
                 WHERE fault.decided_count <= given.count AND fault.incident = given.before
                     AND fault.steered = given.steered AND fault.merged_into IS NULL
                 ORDER BY fault.id FOR NO KEY UPDATE OF fault)
             UPDATE faults SET decided_count = given.count, decision = given.reason,
                 decide_at = given.again_at, incident = given.after::integer,
                 held_at = CASE WHEN given.is_held THEN coalesce(held_at, now()) END,
                 resolved_at = CASE WHEN NOT given.is_heeded THEN faults.resolved_at END,
                 came_back_at = CASE WHEN given.is_heeded OR faults.resolved_at IS NULL THEN NULL
                     WHEN given.is_back THEN coalesce(faults.came_back_at, now())
                     ELSE faults.came_back_at END
             FROM given JOIN old USING (id) WHERE faults.id = given.id
             RETURNING faults.id, old.decision <> given.reason",
            &[
                (&column(&|decided| decided.fault), Type::INT8_ARRAY),
                (&column(&|decided| as_i64(decided.count)), Type::INT8_ARRAY),
                (&column(&|decided| i64::from(decided.incident)), Type::INT8_ARRAY),
                (&decisions.iter().zip(held).map(after).collect::<Vec<_>>(), Type::INT8_ARRAY),
                (&reasons, Type::TEXT_ARRAY),
                (&again, Type::TIMESTAMPTZ_ARRAY),
                (&held, Type::BOOL_ARRAY),
                (&column(&|decided| i64::from(decided.steered)), Type::INT8_ARRAY),
                (&is(Comeback::Noticed), Type::BOOL_ARRAY),
                (&is(Comeback::Heeded), Type::BOOL_ARRAY),
            ],
        )
        .await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// Why something is to be done, and who says so.
#[derive(Clone, Copy)]
pub(super) struct Reason<'a> {
    pub who: &'a str,
    pub text: &'a str,
}

/// Writes what is to be done, and why; what was written before is left as it is. Gives the faults
/// about which something was.
pub(super) async fn add_intents(
    transaction: &Transaction<'_>,
    intents: &[(FaultId, &str, Reason<'_>, &Intent)],
) -> Result<HashSet<FaultId>, Error> {
    if intents.is_empty() {
        return Ok(HashSet::new());
    }
    add_tickets(transaction, intents).await?;
    let faults: Vec<i64> = intents.iter().map(|(fault, ..)| *fault).collect();
    let environments: Vec<&str> = intents.iter().map(|(_, environment, ..)| *environment).collect();
    let reasons: Vec<&str> = intents.iter().map(|(_, _, reason, _)| reason.text).collect();
    let people: Vec<&str> = intents.iter().map(|(_, _, reason, _)| reason.who).collect();
    let incidents: Vec<i32> =
        intents.iter().map(|(.., intent)| intent.incident.cast_signed()).collect();
    let actions: Vec<&str> = intents.iter().map(|(.., intent)| intent.action.name()).collect();
    let marks: Vec<&str> = intents.iter().map(|(.., intent)| intent.mark.as_str()).collect();
    let rules: Vec<&str> = intents.iter().map(|(.., intent)| intent.rule.as_str()).collect();
    let waits: Vec<f64> = intents.iter().map(|(.., intent)| intent.due_in.as_secs_f64()).collect();
    let requests: Vec<Json<&Value>> =
        intents.iter().map(|(.., intent)| Json(&intent.request)).collect();
    let added = transaction
        .query_typed(
            "WITH given AS MATERIALIZED (
                 SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::integer[],
                     $5::text[], $6::text[], $7::text[], $8::float8[], $9::json[], $10::text[])
                     AS given (fault, environment, reason, incident, action, mark, rule, wait,
                         request, who)),
             added AS (
                 INSERT INTO jobs (fault, incident, action, mark, environment, state, due_at, rule,
                     request)
                 SELECT fault, incident, action, mark, environment, 'waiting',
                     now() + wait * interval '1 second', rule, request
                 FROM given ON CONFLICT DO NOTHING
                 RETURNING id, fault, incident, action, mark)
             INSERT INTO audit_trail (who, action, subject, details, fault, job)
             SELECT given.who, 'job.intend', 'fault ' || added.fault,
                 json_build_object('reason', given.reason, 'action', added.action, 'to', 'waiting'),
                 added.fault, added.id
             FROM added JOIN given USING (fault, incident, action, mark)
             RETURNING fault",
            &[
                (&faults, Type::INT8_ARRAY),
                (&environments, Type::TEXT_ARRAY),
                (&reasons, Type::TEXT_ARRAY),
                (&incidents, Type::INT4_ARRAY),
                (&actions, Type::TEXT_ARRAY),
                (&marks, Type::TEXT_ARRAY),
                (&rules, Type::TEXT_ARRAY),
                (&waits, Type::FLOAT8_ARRAY),
                (&requests, Type::JSON_ARRAY),
                (&people, Type::TEXT_ARRAY),
            ],
        )
        .await?;
    Ok(added.iter().map(|row| row.get(0)).collect())
}

async fn add_tickets(
    transaction: &Transaction<'_>,
    intents: &[(FaultId, &str, Reason<'_>, &Intent)],
) -> Result<(), Error> {
    let new: Vec<_> =
        intents.iter().filter(|(.., intent)| intent.action == Action::Create).collect();
    let faults: Vec<i64> = new.iter().map(|(fault, ..)| *fault).collect();
    let incidents: Vec<i32> =
        new.iter().map(|(.., intent)| intent.incident.cast_signed()).collect();
    let locators: Vec<&str> = new.iter().map(|(.., intent)| intent.locator.as_str()).collect();
    transaction
        .execute_typed(
            "INSERT INTO tickets (fault, incident, locator, commented_count)
             SELECT given.*, faults.decided_count
             FROM unnest($1::bigint[], $2::integer[], $3::text[]) AS given (fault, incident, locator)
             JOIN faults ON faults.id = given.fault
             ON CONFLICT DO NOTHING",
            &[
                (&faults, Type::INT8_ARRAY),
                (&incidents, Type::INT4_ARRAY),
                (&locators, Type::TEXT_ARRAY),
            ],
        )
        .await
        .map(drop)
}

/// Writes reasons for doing nothing.
async fn tell(transaction: &Transaction<'_>, told: &[(FaultId, &str)]) -> Result<(), Error> {
    if told.is_empty() {
        return Ok(());
    }
    let faults: Vec<i64> = told.iter().map(|(fault, _)| *fault).collect();
    let reasons: Vec<&str> = told.iter().map(|(_, reason)| *reason).collect();
    transaction
        .execute_typed(
            "INSERT INTO audit_trail (who, action, subject, details, fault)
             SELECT 'rules', 'fault.decide', 'fault ' || fault,
                 json_build_object('reason', reason), fault
             FROM unnest($1::bigint[], $2::text[]) AS given (fault, reason)",
            &[(&faults, Type::INT8_ARRAY), (&reasons, Type::TEXT_ARRAY)],
        )
        .await
        .map(drop)
}

/// New tickets of an environment within the window that were not made up.
async fn recent(
    transaction: &Transaction<'_>,
    environment: &str,
    window: Duration,
) -> Result<u64, Error> {
    let row = transaction
        .query_one(
            "SELECT count(*) FROM jobs WHERE action = 'create' AND environment = $1
             AND created_at > now() - $2::float8 * interval '1 second'
             AND NOT EXISTS (SELECT 1 FROM tickets WHERE tickets.fault = jobs.fault
                 AND tickets.incident = jobs.incident AND tickets.is_dry_run)",
            &[&environment, &window.as_secs_f64()],
        )
        .await?;
    Ok(as_u64(row.get(0)))
}

pub(super) async fn storms(client: &mut Object, window: Duration) -> Result<Vec<Storm>, Error> {
    let transaction = client.transaction().await?;
    let rows = transaction
        .query(
            "SELECT coalesce(storm.environment, held.environment), storm.fault,
                 coalesce(held.count, 0)
             FROM (SELECT environment, fault FROM storms WHERE ended_at IS NULL) AS storm
             FULL JOIN (SELECT environment, count(*) FROM faults
                 WHERE held_at IS NOT NULL AND merged_into IS NULL
                 GROUP BY environment) AS held USING (environment)",
            &[],
        )
        .await?;
    let mut storms = Vec::new();
    for row in rows {
        let environment: String = row.get(0);
        let top = transaction
            .query(
                "SELECT title, count FROM faults
                 WHERE held_at IS NOT NULL AND merged_into IS NULL AND environment = $1
                 ORDER BY count DESC, id LIMIT 20",
                &[&environment],
            )
            .await?;
        let recent = recent(&transaction, &environment, window).await?;
        let top = top.iter().map(|row| (row.get(0), as_u64(row.get(1)))).collect();
        storms.push(Storm {
            environment,
            fault: row.get(1),
            held: as_u64(row.get(2)),
            top,
            recent,
        });
    }
    Ok(storms)
}

pub(super) async fn begin_storm(
    client: &mut Object,
    environment: &str,
    title: &str,
    intent: &Intent,
) -> Result<(), Error> {
    let transaction = client.transaction().await?;
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&DECISIONS_LOCK]).await?;
    let open = "SELECT 1 FROM storms WHERE environment = $1 AND ended_at IS NULL";
    if !transaction.query(open, &[&environment]).await?.is_empty() {
        return Ok(());
    }
    let fingerprint = Shape::pinned(&intent.locator, "").fingerprint.to_string();
    let row = transaction
        .query_one(
            "INSERT INTO faults (environment, service, fingerprint, kind, severity, title, example,
                 count, first_seen, last_seen, decided_count, incident, rule, decision)
             VALUES ($1, '', $2, 'storm', 'error', $3, '', 0, now(), now(), 0, 1, $4, 'a storm')
             RETURNING id",
            &[&environment, &fingerprint, &title, &intent.rule],
        )
        .await?;
    let fault: FaultId = row.get(0);
    transaction
        .execute("INSERT INTO storms (fault, environment) VALUES ($1, $2)", &[&fault, &environment])
        .await?;
    let reason = Reason { who: "rules", text: title };
    add_intents(&transaction, &[(fault, environment, reason, intent)]).await?;
    notify(&transaction, &[Notification::storm_began(environment, fault)]).await?;
    transaction.commit().await
}

pub(super) async fn end_storm(client: &mut Object, fault: FaultId) -> Result<(), Error> {
    let transaction = client.transaction().await?;
    let sql = "UPDATE storms SET ended_at = now() WHERE fault = $1 AND ended_at IS NULL
               RETURNING environment";
    if let Some(row) = transaction.query_opt(sql, &[&fault]).await? {
        notify(&transaction, &[Notification::storm_ended(row.get(0), fault)]).await?;
    }
    transaction.commit().await
}

/// See [`JobStore::pause`](crate::adapters::store::jobs::JobStore::pause).
pub(super) async fn pause(client: &mut Object, is_paused: bool, who: &str) -> Result<(), Error> {
    const NAME: &str = "dispatch_paused";
    let transaction = client.transaction().await?;
    let switched = transaction
        .query_opt(
            "WITH old AS (SELECT is_on FROM switches WHERE name = $1)
             INSERT INTO switches (name, is_on) VALUES ($1, $2)
             ON CONFLICT (name) DO UPDATE SET is_on = $2
             RETURNING coalesce((SELECT is_on FROM old), false) <> $2",
            &[&NAME, &is_paused],
        )
        .await?;
    let action = if is_paused { "dispatch.pause" } else { "dispatch.resume" };
    transaction
        .execute(
            "INSERT INTO audit_trail (who, action, subject, details)
             VALUES ($1, $2, 'dispatch', '{}')",
            &[&who, &action],
        )
        .await?;
    if switched.is_some_and(|row| row.get(0)) {
        notify(&transaction, &[Notification::dispatch(is_paused, who)]).await?;
    }
    transaction.commit().await
}

pub(super) async fn intend(
    client: &mut Object,
    fault: FaultId,
    environment: &str,
    intent: &Intent,
) -> Result<(), Error> {
    let transaction = client.transaction().await?;
    let reason = Reason { who: "rules", text: "a storm" };
    add_intents(&transaction, &[(fault, environment, reason, intent)]).await?;
    transaction.commit().await
}
