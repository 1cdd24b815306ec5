//! [`AlertStore`] for SQLite.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use rusqlite::{OptionalExtension, Row, Transaction, params};
use serde_json::json;
use uuid::Uuid;

use super::{
    Sqlite,
    conditions::Conditions,
    dispatch::{Entry, audit, begin},
    notifications::notify,
    on,
    row::rows,
};
use crate::{
    adapters::{
        clock,
        store::{
            StoreError,
            alerts::{
                AlertFilter, AlertStore, MOST, Message, NOBODY, StoredAlert, Tried, UNCLAIMED,
                Write, Written, known_kinds,
            },
            jobs::Holder,
        },
    },
    domain::{
        alert::{
            Key, Kind,
            decide::{Open, Standing},
            delivery::{Told, What},
        },
        notification::Notification,
        time::{Micros, later, micros, rfc3339},
    },
};

#[async_trait]
impl AlertStore for Sqlite {
    async fn alerts_standing(&self, ended_since: Micros) -> Result<Standing, StoreError> {
        on(&self.reader, move |connection| {
            let open = rows(
                connection,
                "SELECT kind, subject, hub, id, version, seen_at, tell_at, told_at, silenced_until
                 FROM alerts WHERE resolved_at IS NULL ORDER BY id",
                [],
                open_of,
            )?;
            let ended = rows(
                connection,
                "SELECT kind, subject, hub, max(resolved_at) FROM alerts
                 WHERE resolved_at > ?1 AND told_at IS NOT NULL GROUP BY 1, 2, 3",
                [ended_since],
                |row| Ok(key_of(row)?.zip(Some(row.get(3)?))),
            )?;
            Ok(Standing {
                open: open.into_iter().flatten().collect(),
                ended: ended.into_iter().flatten().collect(),
            })
        })
        .await
    }

    async fn write_alert(&self, written: &Written) -> Result<bool, StoreError> {
        let written = written.clone();
        on(&self.writer, move |connection| {
            let transaction = begin(connection)?;
            let is_written = write(&transaction, &written)?;
            transaction.commit()?;
            Ok(is_written)
        })
        .await
    }

    async fn alerts_seen(
        &self,
        seen: &[(i64, Option<String>)],
        at: Micros,
    ) -> Result<(), StoreError> {
        let seen = seen.to_vec();
        on(&self.writer, move |connection| {
            let transaction = begin(connection)?;
            let sql = "UPDATE alerts SET seen_at = ?2, cause = coalesce(?3, cause)
                       WHERE id = ?1 AND resolved_at IS NULL";
            for (id, cause) in seen {
                transaction.prepare_cached(sql)?.execute(params![id, at, cause])?;
            }
            Ok(transaction.commit()?)
        })
        .await
    }

    async fn claim_message(
        &self,
        channel: &str,
        holder: Holder,
        lease: Duration,
        gather: Duration,
    ) -> Result<Option<Message>, StoreError> {
        let channel = channel.to_owned();
        on(&self.writer, move |connection| {
            let transaction = begin(connection)?;
            let claimed = claim(&transaction, &channel, holder, lease, gather)?;
            transaction.commit()?;
            Ok(claimed)
        })
        .await
    }

    async fn settle_message(
        &self,
        channel: &str,
        id: Uuid,
        holder: Holder,
        tried: &Tried,
    ) -> Result<bool, StoreError> {
        let (channel, tried) = (channel.to_owned(), tried.clone());
        on(&self.writer, move |connection| {
            let transaction = begin(connection)?;
            let settled = settle(&transaction, &channel, id, holder, &tried)?;
            transaction.commit()?;
            Ok(settled)
        })
        .await
    }

    async fn list_alerts(
        &self,
        filter: &AlertFilter,
        limit: u32,
    ) -> Result<Vec<StoredAlert>, StoreError> {
        let filter = *filter;
        on(&self.reader, move |connection| {
            let mut conditions = Conditions::default();
            match filter.is_open {
                Some(true) => conditions.require("resolved_at IS NULL"),
                Some(false) => conditions.require("resolved_at IS NOT NULL"),
                None => {}
            }
            conditions.add("kind = ?", filter.kind.map(Kind::name));
            conditions.add("id < ?", filter.before);
            let limit = conditions.parameter(limit);
            let deliveries = "FROM alert_deliveries WHERE alert = alerts.id";
            let sql = format!(
                "SELECT kind, subject, hub, id, opened_by, cause, link, since, opened_at, seen_at,
                     told_at, told, silenced_until, silenced_by, resolved_at, note,
                     (SELECT count(*) {deliveries} AND state IN ('waiting', 'active')),
                     (SELECT count(*) {deliveries} AND state = 'completed'),
                     (SELECT count(*) {deliveries} AND state = 'dead'),
                     (SELECT error {deliveries} AND error IS NOT NULL ORDER BY id DESC LIMIT 1)
                 FROM alerts WHERE {} ORDER BY id DESC LIMIT {limit}",
                conditions.sql()
            );
            rows(connection, &sql, conditions.parameters(), alert_of)
        })
        .await
    }

    async fn silence_alert(&self, id: i64, until: Micros, who: &str) -> Result<bool, StoreError> {
        let who = who.to_owned();
        on(&self.writer, move |connection| {
            let transaction = begin(connection)?;
            let silenced: Option<(String, String)> = transaction
                .query_row(
                    "UPDATE alerts SET silenced_until = ?2, silenced_by = ?3
                     WHERE id = ?1 AND resolved_at IS NULL RETURNING kind, subject",
                    params![id, until, who],
                    |row| Ok((row.get(0)?, row.get(1)?)),
                )
                .optional()?;
            let Some((kind, subject)) = silenced else { return Ok(false) };
            let details = json!({ "kind": kind, "subject": subject, "until": rfc3339(until) });
            let entry = Entry { who: &who, action: "alert.silence", details };
            audit(&transaction, &entry, &format!("alert {id}"), None, None)?;
            transaction.commit()?;
            Ok(true)
        })
        .await
    }

    async fn forget_alerts(&self, keep: u32) -> Result<u64, StoreError> {
        on(&self.writer, move |connection| {
            let (transaction, now) = (begin(connection)?, clock::now());
            // No hub has its channel, where nobody has tried for long.
            let given_up = rows(
                &transaction,
                "UPDATE alert_deliveries SET state = 'dead', ended_at = ?1, error = ?2,
                     holder = NULL, lease_until = NULL
                 WHERE state IN ('waiting', 'active') AND coalesce(lease_until, not_before) < ?3
                 RETURNING channel",
                params![now, NOBODY, now.saturating_sub(micros(UNCLAIMED))],
                |row| row.get::<_, String>(0),
            )?;
            let mut channels = BTreeMap::<&str, usize>::new();
            for channel in &given_up {
                *channels.entry(channel).or_default() += 1;
            }
            for (channel, count) in channels {
                notify(&transaction, &Notification::not_delivered(channel, count, NOBODY))?;
            }
            transaction.execute(
                "DELETE FROM alerts WHERE resolved_at IS NOT NULL AND id <= (
                     SELECT id FROM alerts WHERE resolved_at IS NOT NULL
                     ORDER BY id DESC LIMIT 1 OFFSET ?1)
                 AND NOT EXISTS (SELECT 1 FROM alert_deliveries
                     WHERE alert = alerts.id AND state IN ('waiting', 'active'))",
                [keep],
            )?;
            transaction.commit()?;
            Ok(given_up.len() as u64)
        })
        .await
    }
}

/// Gives whether it was still to be done.
fn write(transaction: &Transaction<'_>, written: &Written) -> Result<bool, StoreError> {
    let at = written.at;
    let read =
        |row: &Row<'_>| -> rusqlite::Result<(i64, String)> { Ok((row.get(0)?, row.get(1)?)) };
    let row = match &written.write {
        Write::Open { key, opened_by, cause, link, since, tell_at, told_at } => transaction
            .query_row(
                "INSERT INTO alerts (kind, subject, hub, opened_by, cause, link, since, opened_at,
                     seen_at, tell_at, told_at, told)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8, ?9, ?10, ?10 IS NOT NULL)
                 ON CONFLICT (kind, subject, hub) WHERE resolved_at IS NULL DO NOTHING
                 RETURNING id, cause",
                params![
                    key.kind.name(),
                    key.subject,
                    key.hub,
                    opened_by,
                    cause,
                    link,
                    since,
                    at,
                    tell_at,
                    told_at
                ],
                read,
            )
            .optional()?,
        Write::Tell { id, version, cause } => transaction
            .query_row(
                "UPDATE alerts SET version = version + 1, seen_at = ?3, told_at = ?3,
                     told = told + 1, cause = ?4
                 WHERE id = ?1 AND version = ?2 AND resolved_at IS NULL RETURNING id, cause",
                params![id, version, at, cause],
                read,
            )
            .optional()?,
        Write::Resolve { id, version, note } => transaction
            .query_row(
                "UPDATE alerts SET version = version + 1, resolved_at = ?3, note = ?4
                 WHERE id = ?1 AND version = ?2 AND resolved_at IS NULL RETURNING id, cause",
                params![id, version, at, note],
                read,
            )
            .optional()?,
    };
    let Some((alert, cause)) = row else { return Ok(false) };
    deliver(transaction, written, alert, &cause)?;
    if let Some(notification) = &written.notification {
        notify(transaction, notification)?;
    }
    Ok(true)
}

fn deliver(
    transaction: &Transaction<'_>,
    written: &Written,
    alert: i64,
    cause: &str,
) -> Result<(), StoreError> {
    let now = clock::now();
    let sql = "INSERT INTO alert_deliveries
                   (alert, channel, what, cause, token, created_at, not_before)
               SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7
               WHERE ?3 <> 'repeat' OR NOT EXISTS (SELECT 1 FROM alert_deliveries
                   WHERE alert = ?1 AND channel = ?2 AND state IN ('waiting', 'active'))";
    for delivery in &written.deliveries {
        let token = Uuid::now_v7().to_string();
        let (what, not_before) = (delivery.what.name(), later(now, delivery.wait));
        transaction.prepare_cached(sql)?.execute(params![
            alert,
            delivery.channel,
            what,
            cause,
            token,
            now,
            not_before
        ])?;
    }
    Ok(())
}

/// Those before it, about the same alert and by the same channel, have ended.
const IN_ORDER: &str = "NOT EXISTS (SELECT 1 FROM alert_deliveries AS earlier
    WHERE earlier.alert = delivery.alert AND earlier.channel = delivery.channel
        AND earlier.id < delivery.id AND earlier.state IN ('waiting', 'active'))";

fn claim(
    transaction: &Transaction<'_>,
    channel: &str,
    holder: Holder,
    lease: Duration,
    gather: Duration,
) -> Result<Option<Message>, StoreError> {
    let now = clock::now();
    let kinds = known_kinds();
    // The first of a message stands for all of it.
    let first = format!(
        "SELECT token, message IS NULL, what, attempts FROM alert_deliveries AS delivery
         WHERE channel = ?1 AND state IN ('waiting', 'active')
             AND (message IS NULL OR message = token)
             AND EXISTS (SELECT 1 FROM alerts WHERE alerts.id = alert AND kind IN ({kinds}))
             AND CASE state WHEN 'waiting' THEN not_before <= ?2 ELSE lease_until < ?2 END
             AND {IN_ORDER}
         ORDER BY id LIMIT 1"
    );
    let row: Option<(String, bool, String, u32)> = transaction
        .prepare_cached(&first)?
        .query_row(params![channel, now], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })
        .optional()?;
    let Some((token, is_new, what, attempts)) = row else { return Ok(None) };
    if is_new {
        let gathered = format!(
            "UPDATE alert_deliveries SET message = ?2 WHERE id IN (
                 SELECT id FROM alert_deliveries AS delivery
                 WHERE channel = ?1 AND state = 'waiting' AND message IS NULL AND what = ?3
                     AND EXISTS (SELECT 1 FROM alerts WHERE alerts.id = alert AND kind IN ({kinds}))
                     AND (token = ?2 OR not_before <= ?4) AND {IN_ORDER}
                 ORDER BY token <> ?2, id LIMIT {MOST})"
        );
        let until = later(now, gather);
        transaction.execute(&gathered, params![channel, token, what, until])?;
    }
    transaction.execute(
        "UPDATE alert_deliveries SET state = 'active', attempts = attempts + 1, holder = ?2,
             lease_until = ?3 WHERE message = ?1",
        params![token, holder.to_string(), later(now, lease)],
    )?;
    let alerts = rows(
        transaction,
        "SELECT kind, subject, alerts.hub, alerts.id, taken.cause, opened_by, since, link,
             resolved_at, note
         FROM alert_deliveries AS taken JOIN alerts ON alerts.id = taken.alert
         WHERE message = ?1 ORDER BY taken.id",
        [&token],
        told_of,
    )?;
    let id = token.parse().map_err(|_| {
        StoreError::Unavailable(format!("a delivery has the token {token:?}, which is none"))
    })?;
    let what = What::from_name(&what).unwrap_or(What::Firing);
    Ok(Some(Message { id, what, attempts, alerts: alerts.into_iter().flatten().collect() }))
}

fn settle(
    transaction: &Transaction<'_>,
    channel: &str,
    id: Uuid,
    holder: Holder,
    tried: &Tried,
) -> Result<bool, StoreError> {
    let now = clock::now();
    let (state, error, not_before, ended) = match tried {
        Tried::Sent => ("completed", None, now, Some(now)),
        Tried::Failed { error, wait } => ("waiting", Some(error), later(now, *wait), None),
        Tried::Dead { error } => ("dead", Some(error), now, Some(now)),
        Tried::Postponed { wait } => ("waiting", None, later(now, *wait), None),
    };
    // That it was taken counted as a try.
    let untried = i32::from(matches!(tried, Tried::Postponed { .. }));
    let settled = transaction.execute(
        "UPDATE alert_deliveries SET state = ?3, holder = NULL, lease_until = NULL,
             error = CASE ?7 WHEN 0 THEN ?4 ELSE error END, attempts = attempts - ?7,
             not_before = ?5, ended_at = ?6
         WHERE message = ?1 AND holder = ?2 AND state = 'active'",
        params![id.to_string(), holder.to_string(), state, error, not_before, ended, untried],
    )?;
    if let Tried::Dead { error } = tried
        && settled > 0
    {
        notify(transaction, &Notification::not_delivered(channel, settled, error))?;
    }
    Ok(settled > 0)
}

/// `None` for a kind that a newer version knows.
fn key_of(row: &Row<'_>) -> rusqlite::Result<Option<Key>> {
    let Some(kind) = Kind::from_name(&row.get::<_, String>(0)?) else { return Ok(None) };
    Ok(Some(Key { kind, subject: row.get(1)?, hub: row.get(2)? }))
}

fn open_of(row: &Row<'_>) -> rusqlite::Result<Option<Open>> {
    let Some(key) = key_of(row)? else { return Ok(None) };
    Ok(Some(Open {
        key,
        id: row.get(3)?,
        version: row.get(4)?,
        seen_at: row.get(5)?,
        tell_at: row.get(6)?,
        told_at: row.get(7)?,
        silenced_until: row.get(8)?,
    }))
}

fn told_of(row: &Row<'_>) -> rusqlite::Result<Option<Told>> {
    let Some(Key { kind, subject, .. }) = key_of(row)? else { return Ok(None) };
    Ok(Some(Told {
        kind,
        subject,
        alert: row.get(3)?,
        cause: row.get(4)?,
        hub: row.get(5)?,
        since: row.get(6)?,
        link: row.get(7)?,
        resolved_at: row.get(8)?,
        note: row.get(9)?,
    }))
}

fn alert_of(row: &Row<'_>) -> rusqlite::Result<StoredAlert> {
    let (kind, subject): (String, String) = (row.get(0)?, row.get(1)?);
    let (class, title) = StoredAlert::of_kind(&kind, &subject);
    Ok(StoredAlert {
        id: row.get(3)?,
        kind,
        class,
        title,
        subject,
        hub: row.get(2)?,
        opened_by: row.get(4)?,
        cause: row.get(5)?,
        link: row.get(6)?,
        since: row.get(7)?,
        opened_at: row.get(8)?,
        seen_at: row.get(9)?,
        told_at: row.get(10)?,
        told: row.get(11)?,
        silenced_until: row.get(12)?,
        silenced_by: row.get(13)?,
        resolved_at: row.get(14)?,
        note: row.get(15)?,
        waiting: row.get(16)?,
        delivered: row.get(17)?,
        dead: row.get(18)?,
        last_error: row.get(19)?,
    })
}
