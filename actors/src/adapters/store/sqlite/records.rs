//! [`RecordStore`] for SQLite.

use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{OptionalExtension, Row, params};
use serde_json::json;

use super::{
    Sqlite,
    conditions::Conditions,
    dispatch::{Entry, audit, begin},
    on,
    row::{audit_of, rejected_of, rows},
    statistics,
};
use crate::{
    adapters::{
        clock,
        store::{
            AuditEntry, StoreError, StoredRejected, as_u64,
            records::{
                AuditFilter, NotificationFilter, RecordStore, RejectedFilter, Replay, SHOWN,
                StoredNotification,
            },
            statistics::{By, DayCount, Days, JobDayCount},
        },
    },
    domain::{event::Source, notification::Urgency, time::later},
};

fn of_rejected(filter: &RejectedFilter) -> Conditions {
    let mut conditions = Conditions::default();
    let ids = filter.ids.as_ref().map(|ids| json!(ids).to_string());
    conditions.add("id IN (SELECT value FROM json_each(?))", ids);
    conditions.add("source = ?", filter.source.map(Source::name));
    conditions.add("reason = ?", filter.reason.clone());
    match filter.is_replayed {
        Some(true) => conditions.require("replayed_at IS NOT NULL"),
        Some(false) => conditions.require("replayed_at IS NULL"),
        None => {}
    }
    conditions.add("received_at >= ?", filter.since);
    conditions.add("received_at < ?", filter.until);
    conditions.add("id < ?", filter.before);
    conditions
}

fn of_audit(filter: &AuditFilter) -> Conditions {
    let mut conditions = Conditions::default();
    conditions.add("who = ?", filter.who.clone());
    conditions.add("action = ?", filter.action.clone());
    conditions.add("subject = ?", filter.subject.clone());
    conditions.add("fault = ?", filter.fault);
    conditions.add("job = ?", filter.job);
    conditions.add("at >= ?", filter.since);
    conditions.add("at < ?", filter.until);
    conditions.add("id < ?", filter.before);
    conditions
}

fn notification_of(row: &Row<'_>) -> rusqlite::Result<StoredNotification> {
    let read_at: Option<i64> = row.get(7)?;
    Ok(StoredNotification {
        id: row.get(0)?,
        at: row.get(1)?,
        severity: row.get(2)?,
        component: row.get(3)?,
        title: row.get(4)?,
        body: row.get(5)?,
        link: row.get(6)?,
        is_read: read_at.is_some(),
        read_at,
        read_by: row.get(8)?,
    })
}

#[async_trait]
impl RecordStore for Sqlite {
    async fn list_rejected(
        &self,
        filter: &RejectedFilter,
        limit: u32,
    ) -> Result<Vec<StoredRejected>, StoreError> {
        let filter = filter.clone();
        on(&self.reader, move |connection| {
            let mut conditions = of_rejected(&filter);
            let limit = conditions.parameter(limit);
            let sql = format!(
                "SELECT id, received_at, source, reason, substr(bytes, 1, {SHOWN}), length,
                     messages, replayed_at
                 FROM rejected WHERE {} ORDER BY id DESC LIMIT {limit}",
                conditions.sql()
            );
            rows(connection, &sql, conditions.parameters(), rejected_of)
        })
        .await
    }

    async fn count_replayable(&self, filter: &RejectedFilter) -> Result<u64, StoreError> {
        let filter = filter.clone();
        on(&self.reader, move |connection| {
            let mut conditions = of_rejected(&filter);
            conditions.require("replayed_at IS NULL AND source <> 'bucket'");
            conditions.require("length > 0 AND length(bytes) = length");
            let sql = format!("SELECT count(*) FROM rejected WHERE {}", conditions.sql());
            let count = connection
                .prepare_cached(&sql)?
                .query_one(conditions.parameters(), |row| row.get(0))?;
            Ok(as_u64(count))
        })
        .await
    }

    async fn one_rejected(&self, id: i64) -> Result<Option<StoredRejected>, StoreError> {
        on(&self.reader, move |connection| {
            let sql = "SELECT id, received_at, source, reason, bytes, length, messages, replayed_at
                       FROM rejected WHERE id = ?1";
            Ok(rows(connection, sql, [id], rejected_of)?.pop())
        })
        .await
    }

    async fn claim_replay(&self, id: i64, lasts: Duration) -> Result<Replay, StoreError> {
        on(&self.writer, move |connection| {
            let now = clock::now();
            // Whoever died before marking it may have stored it; whoever is at it marks it itself.
            let is_granted = connection
                .query_row(
                    "UPDATE rejected AS message SET
                         replayed_at = CASE WHEN stored THEN ?3 END,
                         replay_until = CASE WHEN NOT stored THEN ?2 END
                     FROM (SELECT EXISTS (
                         SELECT 1 FROM rejected AS same JOIN replayed_records AS known
                         ON (known.rejected, known.received_at) = (same.id, same.received_at)
                         WHERE same.id = ?1) AS stored)
                     WHERE id = ?1 AND replayed_at IS NULL
                         AND (replay_until IS NULL OR replay_until < ?3)
                     RETURNING replayed_at IS NULL",
                    params![id, later(now, lasts), now],
                    |row| row.get(0),
                )
                .optional()?;
            if let Some(is_granted) = is_granted {
                return Ok(if is_granted { Replay::Granted } else { Replay::Done });
            }
            let sql = "SELECT replayed_at IS NOT NULL FROM rejected WHERE id = ?1";
            let is_replayed = connection.query_row(sql, [id], |row| row.get(0)).optional()?;
            Ok(match is_replayed {
                None => Replay::Missing,
                Some(true) => Replay::Done,
                Some(false) => Replay::Underway,
            })
        })
        .await
    }

    async fn release_replay(&self, id: i64) -> Result<(), StoreError> {
        on(&self.writer, move |connection| {
            let sql =
                "UPDATE rejected SET replay_until = NULL WHERE id = ?1 AND replayed_at IS NULL";
            connection.execute(sql, [id])?;
            Ok(())
        })
        .await
    }

    async fn replayed(&self, id: i64, who: &str) -> Result<bool, StoreError> {
        let who = who.to_owned();
        on(&self.writer, move |connection| {
            let transaction = begin(connection)?;
            let marked: Option<(String, String)> = transaction
                .query_row(
                    "UPDATE rejected SET replayed_at = ?2, replay_until = NULL
                     WHERE id = ?1 AND replayed_at IS NULL RETURNING source, reason",
                    params![id, clock::now()],
                    |row| Ok((row.get(0)?, row.get(1)?)),
                )
                .optional()?;
            let Some((source, reason)) = marked else { return Ok(false) };
            let details = json!({ "source": source, "reason": reason });
            let entry = Entry { who: &who, action: "rejected.replay", details };
            audit(&transaction, &entry, &format!("rejected {id}"), None, None)?;
            transaction.commit()?;
            Ok(true)
        })
        .await
    }

    async fn list_audit(
        &self,
        filter: &AuditFilter,
        limit: u32,
    ) -> Result<Vec<AuditEntry>, StoreError> {
        let filter = filter.clone();
        on(&self.reader, move |connection| {
            let mut conditions = of_audit(&filter);
            let limit = conditions.parameter(limit);
            let sql = format!(
                "SELECT id, at, who, action, subject, details, fault, job FROM audit_trail
                 WHERE {} ORDER BY id DESC LIMIT {limit}",
                conditions.sql()
            );
            rows(connection, &sql, conditions.parameters(), audit_of)
        })
        .await
    }

    async fn notifications(
        &self,
        filter: &NotificationFilter,
        limit: u32,
    ) -> Result<Vec<StoredNotification>, StoreError> {
        let filter = *filter;
        on(&self.reader, move |connection| {
            let mut conditions = Conditions::default();
            if filter.is_unread {
                conditions.require("read_at IS NULL");
            }
            conditions.add("severity = ?", filter.urgency.map(Urgency::name));
            conditions.add("id < ?", filter.before);
            let limit = conditions.parameter(limit);
            let sql = format!(
                "SELECT id, at, severity, component, title, body, link, read_at, read_by
                 FROM notifications WHERE {} ORDER BY id DESC LIMIT {limit}",
                conditions.sql()
            );
            rows(connection, &sql, conditions.parameters(), notification_of)
        })
        .await
    }

    async fn unread(&self) -> Result<u64, StoreError> {
        on(&self.reader, |connection| unread(connection)).await
    }

    async fn read(&self, ids: Option<&[i64]>, who: &str) -> Result<u64, StoreError> {
        let (ids, who) = (ids.map(|ids| json!(ids).to_string()), who.to_owned());
        on(&self.writer, move |connection| {
            connection.execute(
                "UPDATE notifications SET read_at = ?2, read_by = ?3 WHERE read_at IS NULL
                     AND (?1 IS NULL OR id IN (SELECT value FROM json_each(?1)))",
                params![ids, clock::now(), who],
            )?;
            unread(connection)
        })
        .await
    }

    async fn statistics(&self, days: Days, by: By) -> Result<Vec<DayCount>, StoreError> {
        on(&self.reader, move |connection| statistics::by_day(connection, days, by)).await
    }

    async fn job_statistics(&self, days: Days) -> Result<Vec<JobDayCount>, StoreError> {
        on(&self.reader, move |connection| statistics::endings(connection, days)).await
    }
}

fn unread(connection: &rusqlite::Connection) -> Result<u64, StoreError> {
    let sql = "SELECT count(*) FROM notifications WHERE read_at IS NULL";
    Ok(as_u64(connection.prepare_cached(sql)?.query_one([], |row| row.get(0))?))
}
