//! [`AlertStore`] for PostgreSQL.

use std::time::Duration;

use async_trait::async_trait;
use tokio_postgres::{Error, Row, Transaction};
use uuid::Uuid;

use super::{
    Postgres,
    conditions::Conditions,
    notifications::notify,
    row::{micros_of, optional_micros_of},
    timestamp, unavailable,
};
use crate::{
    adapters::store::{
        StoreError,
        alerts::{
            AlertFilter, AlertStore, MOST, Message, NOBODY, StoredAlert, Tried, UNCLAIMED, Write,
            Written, known_kinds,
        },
        as_u64,
        jobs::Holder,
    },
    domain::{
        alert::{
            Key, Kind,
            decide::{Open, Standing},
            delivery::{Told, What},
        },
        notification::Notification,
        time::Micros,
    },
};

#[async_trait]
impl AlertStore for Postgres {
    async fn alerts_standing(&self, ended_since: Micros) -> Result<Standing, StoreError> {
        let open = self
            .query(
                "SELECT kind, subject, hub, id, version, seen_at, tell_at, told_at, silenced_until
                 FROM alerts WHERE resolved_at IS NULL ORDER BY id",
                &[],
            )
            .await?;
        let ended = self
            .query(
                "SELECT kind, subject, hub, max(resolved_at) FROM alerts
                 WHERE resolved_at > $1 AND told_at IS NOT NULL GROUP BY 1, 2, 3",
                &[&timestamp(ended_since)],
            )
            .await?;
        let ended = ended.iter().filter_map(|row| Some((key_of(row)?, micros_of(row, 3))));
        Ok(Standing { open: open.iter().filter_map(open_of).collect(), ended: ended.collect() })
    }

    async fn write_alert(&self, written: &Written) -> Result<bool, StoreError> {
        self.in_time(async {
            let mut client = self.client().await?;
            let transaction = client.transaction().await.map_err(unavailable)?;
            let is_written = write(&transaction, written).await.map_err(unavailable)?;
            transaction.commit().await.map_err(unavailable)?;
            Ok(is_written)
        })
        .await
    }

    async fn alerts_seen(
        &self,
        seen: &[(i64, Option<String>)],
        at: Micros,
    ) -> Result<(), StoreError> {
        let (ids, causes): (Vec<i64>, Vec<Option<&str>>) =
            seen.iter().map(|(id, cause)| (*id, cause.as_deref())).unzip();
        // In their order, so that two hubs do not wait for each other in a circle.
        self.query(
            "WITH mine AS (SELECT id FROM alerts WHERE id = ANY($1) ORDER BY id FOR UPDATE)
             UPDATE alerts SET seen_at = $3, cause = coalesce(seen.cause, alerts.cause)
             FROM mine, unnest($1::bigint[], $2::text[]) AS seen (id, cause)
             WHERE alerts.id = mine.id AND seen.id = mine.id AND resolved_at IS NULL",
            &[&ids, &causes, &timestamp(at)],
        )
        .await
        .map(drop)
    }

    async fn claim_message(
        &self,
        channel: &str,
        holder: Holder,
        lease: Duration,
        gather: Duration,
    ) -> Result<Option<Message>, StoreError> {
        self.in_time(async {
            let mut client = self.client().await?;
            let transaction = client.transaction().await.map_err(unavailable)?;
            let claimed = claim(&transaction, channel, holder, lease, gather).await;
            let claimed = claimed.map_err(unavailable)?;
            transaction.commit().await.map_err(unavailable)?;
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
        self.in_time(async {
            let mut client = self.client().await?;
            let transaction = client.transaction().await.map_err(unavailable)?;
            let settled = settle(&transaction, channel, id, holder, tried).await;
            let settled = settled.map_err(unavailable)?;
            transaction.commit().await.map_err(unavailable)?;
            Ok(settled)
        })
        .await
    }

    async fn list_alerts(
        &self,
        filter: &AlertFilter,
        limit: u32,
    ) -> Result<Vec<StoredAlert>, StoreError> {
        let mut conditions = Conditions::default();
        match filter.is_open {
            Some(true) => conditions.require("resolved_at IS NULL"),
            Some(false) => conditions.require("resolved_at IS NOT NULL"),
            None => {}
        }
        conditions.add("kind = $", filter.kind.map(Kind::name));
        conditions.add("id < $", filter.before);
        let limit = conditions.parameter(i64::from(limit));
        let sql = format!(
            "SELECT kind, subject, hub, id, opened_by, cause, link, since, opened_at, seen_at,
                 told_at, told, silenced_until, silenced_by, resolved_at, note,
                 tally.waiting, tally.delivered, tally.dead, tally.last_error
             FROM (SELECT * FROM alerts WHERE {} ORDER BY id DESC LIMIT {limit}) AS one,
                 LATERAL (SELECT count(*) FILTER (WHERE state IN ('waiting', 'active')) AS waiting,
                     count(*) FILTER (WHERE state = 'completed') AS delivered,
                     count(*) FILTER (WHERE state = 'dead') AS dead,
                     (array_agg(error ORDER BY id DESC)
                         FILTER (WHERE error IS NOT NULL))[1] AS last_error
                     FROM alert_deliveries WHERE alert = one.id) AS tally
             ORDER BY id DESC",
            conditions.sql()
        );
        Ok(self.ask(&sql, &conditions).await?.iter().map(alert_of).collect())
    }

    async fn silence_alert(&self, id: i64, until: Micros, who: &str) -> Result<bool, StoreError> {
        let silenced = self
            .query(
                "WITH silenced AS (
                     UPDATE alerts SET silenced_until = $2::timestamptz, silenced_by = $3
                     WHERE id = $1 AND resolved_at IS NULL RETURNING id, kind, subject)
                 INSERT INTO audit_trail (who, action, subject, details)
                 SELECT $3::text, 'alert.silence', 'alert ' || id, json_build_object(
                     'kind', kind, 'subject', subject, 'until', $2::timestamptz)
                 FROM silenced RETURNING id",
                &[&id, &timestamp(until), &who],
            )
            .await?;
        Ok(!silenced.is_empty())
    }

    async fn forget_alerts(&self, keep: u32) -> Result<u64, StoreError> {
        let given_up = self
            .in_time(async {
                let mut client = self.client().await?;
                let transaction = client.transaction().await.map_err(unavailable)?;
                let given_up = give_up(&transaction).await.map_err(unavailable)?;
                transaction.commit().await.map_err(unavailable)?;
                Ok(given_up)
            })
            .await?;
        self.query(
            "DELETE FROM alerts WHERE resolved_at IS NOT NULL AND id <= (
                 SELECT id FROM alerts WHERE resolved_at IS NOT NULL
                 ORDER BY id DESC OFFSET $1 LIMIT 1)
             AND NOT EXISTS (SELECT 1 FROM alert_deliveries
                 WHERE alert = alerts.id AND state IN ('waiting', 'active'))",
            &[&i64::from(keep)],
        )
        .await?;
        Ok(given_up)
    }
}

/// Gives up what nobody has tried for long, since no hub has its channel; gives how many.
async fn give_up(transaction: &Transaction<'_>) -> Result<u64, Error> {
    let channels = transaction
        .query(
            "WITH given_up AS (
                 UPDATE alert_deliveries SET state = 'dead', ended_at = now(), error = $2,
                     holder = NULL, lease_until = NULL
                 WHERE state IN ('waiting', 'active') AND coalesce(lease_until, not_before)
                     < now() - $1::float8 * interval '1 second' RETURNING channel)
             SELECT channel, count(*) FROM given_up GROUP BY channel ORDER BY channel",
            &[&UNCLAIMED.as_secs_f64(), &NOBODY],
        )
        .await?;
    let given_up = |row: &Row| (row.get::<_, String>(0), as_u64(row.get(1)));
    let given_up: Vec<(String, u64)> = channels.iter().map(given_up).collect();
    let told = |(channel, count): &(String, u64)| {
        let count = usize::try_from(*count).unwrap_or(usize::MAX);
        Notification::not_delivered(channel, count, NOBODY)
    };
    notify(transaction, &given_up.iter().map(told).collect::<Vec<_>>()).await?;
    Ok(given_up.iter().map(|(_, count)| count).sum())
}

/// Gives whether it was still to be done.
async fn write(transaction: &Transaction<'_>, written: &Written) -> Result<bool, Error> {
    let at = timestamp(written.at);
    let is_told = !written.deliveries.is_empty();
    let row = match &written.write {
        Write::Open { key, opened_by, cause, link, since, tell_at, told_at } => {
            let told = told_at.map(timestamp);
            transaction
                .query_opt(
                    "INSERT INTO alerts (kind, subject, hub, opened_by, cause, link, since,
                         opened_at, seen_at, tell_at, told_at, told)
                     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8, $9, $10::timestamptz,
                         CASE WHEN $10::timestamptz IS NULL THEN 0 ELSE 1 END)
                     ON CONFLICT (kind, subject, hub) WHERE resolved_at IS NULL DO NOTHING
                     RETURNING id, cause",
                    &[
                        &key.kind.name(),
                        &key.subject,
                        &key.hub,
                        opened_by,
                        cause,
                        link,
                        &timestamp(*since),
                        &at,
                        &timestamp(*tell_at),
                        &told,
                    ],
                )
                .await?
        }
        Write::Tell { id, version, cause } => {
            transaction
                .query_opt(
                    "UPDATE alerts SET version = version + 1, seen_at = $3, told_at = $3,
                         told = told + 1, cause = $4
                     WHERE id = $1 AND version = $2 AND resolved_at IS NULL RETURNING id, cause",
                    &[id, version, &at, cause],
                )
                .await?
        }
        Write::Resolve { id, version, note } => {
            transaction
                .query_opt(
                    "UPDATE alerts SET version = version + 1, resolved_at = $3, note = $4
                     WHERE id = $1 AND version = $2 AND resolved_at IS NULL RETURNING id, cause",
                    &[id, version, &at, note],
                )
                .await?
        }
    };
    let Some(row) = row else { return Ok(false) };
    let (alert, cause): (i64, &str) = (row.get(0), row.get(1));
    if is_told {
        deliver(transaction, written, alert, cause).await?;
    }
    let notifications: Vec<Notification> = written.notification.iter().cloned().collect();
    notify(transaction, &notifications).await?;
    Ok(true)
}

async fn deliver(
    transaction: &Transaction<'_>,
    written: &Written,
    alert: i64,
    cause: &str,
) -> Result<(), Error> {
    let statement = transaction
        .prepare(
            "INSERT INTO alert_deliveries (alert, channel, what, cause, token, not_before)
             SELECT $1::bigint, $2::text, $3::text, $4::text, $5::uuid, clock_timestamp() + $6::float8 * interval '1 second'
             WHERE $3 <> 'repeat' OR NOT EXISTS (SELECT 1 FROM alert_deliveries
                 WHERE alert = $1 AND channel = $2 AND state IN ('waiting', 'active'))",
        )
        .await?;
    for delivery in &written.deliveries {
        let (channel, what) = (&delivery.channel, delivery.what.name());
        let wait = delivery.wait.as_secs_f64();
        let values: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
            [&alert, channel, &what, &cause, &Uuid::now_v7(), &wait];
        transaction.execute(&statement, &values).await?;
    }
    Ok(())
}

/// Those before it, about the same alert and by the same channel, have ended.
const IN_ORDER: &str = "NOT EXISTS (SELECT 1 FROM alert_deliveries AS earlier
    WHERE earlier.alert = delivery.alert AND earlier.channel = delivery.channel
        AND earlier.id < delivery.id AND earlier.state IN ('waiting', 'active'))";

async fn claim(
    transaction: &Transaction<'_>,
    channel: &str,
    holder: Holder,
    lease: Duration,
    gather: Duration,
) -> Result<Option<Message>, Error> {
    let kinds = known_kinds();
    // The first of a message stands for all of it: whoever has its row has them all.
    let first = format!(
        "SELECT token, message IS NULL, what, attempts FROM alert_deliveries AS delivery
         WHERE channel = $1 AND state IN ('waiting', 'active')
             AND (message IS NULL OR message = token)
             AND EXISTS (SELECT 1 FROM alerts WHERE alerts.id = alert AND kind IN ({kinds}))
             AND CASE state WHEN 'waiting' THEN not_before <= clock_timestamp()
                 ELSE lease_until < clock_timestamp() END
             AND {IN_ORDER}
         ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED"
    );
    let Some(row) = transaction.query_opt(&first, &[&channel]).await? else { return Ok(None) };
    let (id, is_new, what): (Uuid, bool, &str) = (row.get(0), row.get(1), row.get(2));
    if is_new {
        let gathered = format!(
            "UPDATE alert_deliveries SET message = $2 WHERE id IN (
                 SELECT id FROM alert_deliveries AS delivery
                 WHERE channel = $1 AND state = 'waiting' AND message IS NULL AND what = $3
                     AND EXISTS (SELECT 1 FROM alerts WHERE alerts.id = alert AND kind IN ({kinds}))
                     AND (token = $2 OR not_before
                         <= clock_timestamp() + $4::float8 * interval '1 second')
                     AND {IN_ORDER}
                 ORDER BY token <> $2, id LIMIT {MOST} FOR UPDATE SKIP LOCKED)"
        );
        let gather = gather.as_secs_f64();
        transaction.execute(&gathered, &[&channel, &id, &what, &gather]).await?;
    }
    let rows = transaction
        .query(
            "WITH taken AS (
                 UPDATE alert_deliveries SET state = 'active', attempts = attempts + 1,
                     holder = $2, lease_until = clock_timestamp() + $3::float8 * interval '1 second'
                 WHERE message = $1 RETURNING id, alert, cause)
             SELECT kind, subject, alert.hub, alert.id, taken.cause, opened_by, since, link,
                 resolved_at, note
             FROM taken JOIN alerts AS alert ON alert.id = taken.alert ORDER BY taken.id",
            &[&id, &holder, &lease.as_secs_f64()],
        )
        .await?;
    let alerts = rows.iter().filter_map(told_of).collect();
    let attempts = u32::try_from(row.get::<_, i32>(3)).unwrap_or_default();
    let what = What::from_name(what).unwrap_or(What::Firing);
    Ok(Some(Message { id, what, attempts, alerts }))
}

async fn settle(
    transaction: &Transaction<'_>,
    channel: &str,
    id: Uuid,
    holder: Holder,
    tried: &Tried,
) -> Result<bool, Error> {
    let (state, error, wait) = match tried {
        Tried::Sent => ("completed", None, Duration::ZERO),
        Tried::Failed { error, wait } => ("waiting", Some(error), *wait),
        Tried::Dead { error } => ("dead", Some(error), Duration::ZERO),
        Tried::Postponed { wait } => ("waiting", None, *wait),
    };
    // That it was taken counted as a try.
    let untried = i32::from(matches!(tried, Tried::Postponed { .. }));
    let settled = transaction
        .execute(
            "UPDATE alert_deliveries SET state = $3::text, holder = NULL, lease_until = NULL,
                 error = CASE $6::integer WHEN 0 THEN $4 ELSE error END,
                 attempts = attempts - $6::integer,
                 not_before = clock_timestamp() + $5::float8 * interval '1 second',
                 ended_at = CASE WHEN $3::text = 'waiting' THEN NULL ELSE clock_timestamp() END
             WHERE message = $1 AND holder = $2 AND state = 'active'",
            &[&id, &holder, &state, &error, &wait.as_secs_f64(), &untried],
        )
        .await?;
    if let Tried::Dead { error } = tried
        && settled > 0
    {
        let alerts = usize::try_from(settled).unwrap_or_default();
        notify(transaction, &[Notification::not_delivered(channel, alerts, error)]).await?;
    }
    Ok(settled > 0)
}

/// `None` for a kind that a newer hub knows: it looks after it.
fn key_of(row: &Row) -> Option<Key> {
    let kind = Kind::from_name(row.get(0))?;
    Some(Key { kind, subject: row.get(1), hub: row.get(2) })
}

fn open_of(row: &Row) -> Option<Open> {
    Some(Open {
        key: key_of(row)?,
        id: row.get(3),
        version: row.get(4),
        seen_at: micros_of(row, 5),
        tell_at: micros_of(row, 6),
        told_at: optional_micros_of(row, 7),
        silenced_until: optional_micros_of(row, 8),
    })
}

fn told_of(row: &Row) -> Option<Told> {
    let Key { kind, subject, .. } = key_of(row)?;
    Some(Told {
        kind,
        subject,
        alert: row.get(3),
        cause: row.get(4),
        hub: row.get(5),
        since: micros_of(row, 6),
        link: row.get(7),
        resolved_at: optional_micros_of(row, 8),
        note: row.get(9),
    })
}

fn alert_of(row: &Row) -> StoredAlert {
    let (kind, subject): (String, String) = (row.get(0), row.get(1));
    let (class, title) = StoredAlert::of_kind(&kind, &subject);
    StoredAlert {
        id: row.get(3),
        kind,
        class,
        title,
        subject,
        hub: row.get(2),
        opened_by: row.get(4),
        cause: row.get(5),
        link: row.get(6),
        since: micros_of(row, 7),
        opened_at: micros_of(row, 8),
        seen_at: micros_of(row, 9),
        told_at: optional_micros_of(row, 10),
        told: row.get(11),
        silenced_until: optional_micros_of(row, 12),
        silenced_by: row.get(13),
        resolved_at: optional_micros_of(row, 14),
        note: row.get(15),
        waiting: row.get(16),
        delivered: row.get(17),
        dead: row.get(18),
        last_error: row.get(19),
    }
}
