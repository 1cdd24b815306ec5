//! [`RecordStore`] for PostgreSQL.

use std::time::Duration;

use async_trait::async_trait;

use super::{
    Postgres,
    conditions::Conditions,
    notifications::{self, notification_of},
    row::{audit_of, rejected_of},
    statistics, timestamp,
};
use crate::{
    adapters::store::{
        AuditEntry, StoreError, StoredRejected, as_u64,
        records::{
            AuditFilter, NotificationFilter, RecordStore, RejectedFilter, Replay, SHOWN,
            StoredNotification,
        },
        statistics::{By, DayCount, Days, JobDayCount},
    },
    domain::{event::Source, notification::Urgency},
};

fn of_rejected(filter: &RejectedFilter) -> Conditions {
    let mut conditions = Conditions::default();
    conditions.add("id = ANY($)", filter.ids.clone());
    conditions.add("source = $", filter.source.map(Source::name));
    // The hash is what the index has.
    conditions
        .add("hashtextextended(reason, 0) = hashtextextended($::text, 0)", filter.reason.clone());
    conditions.add("reason = $", filter.reason.clone());
    match filter.is_replayed {
        Some(true) => conditions.require("replayed_at IS NOT NULL"),
        Some(false) => conditions.require("replayed_at IS NULL"),
        None => {}
    }
    conditions.add("received_at >= $", filter.since.map(timestamp));
    conditions.add("received_at < $", filter.until.map(timestamp));
    conditions.add("id < $", filter.before);
    conditions
}

fn of_audit(filter: &AuditFilter) -> Conditions {
    let mut conditions = Conditions::default();
    conditions.add("who = $", filter.who.clone());
    conditions.add("action = $", filter.action.clone());
    conditions.add("subject = $", filter.subject.clone());
    conditions.add("fault = $", filter.fault);
    conditions.add("job = $", filter.job);
    conditions.add("at >= $", filter.since.map(timestamp));
    conditions.add("at < $", filter.until.map(timestamp));
    conditions.add("id < $", filter.before);
    conditions
}

#[async_trait]
impl RecordStore for Postgres {
    async fn list_rejected(
        &self,
        filter: &RejectedFilter,
        limit: u32,
    ) -> Result<Vec<StoredRejected>, StoreError> {
        let mut conditions = of_rejected(filter);
        let limit = conditions.parameter(i64::from(limit));
        let sql = format!(
            "SELECT id, received_at, source, reason, substring(bytes FROM 1 FOR {SHOWN}), length,
                 messages, replayed_at
             FROM rejected WHERE {} ORDER BY id DESC LIMIT {limit}",
            conditions.sql()
        );
        Ok(self.ask(&sql, &conditions).await?.iter().map(rejected_of).collect())
    }

    async fn count_replayable(&self, filter: &RejectedFilter) -> Result<u64, StoreError> {
        let mut conditions = of_rejected(filter);
        conditions.require("replayed_at IS NULL AND source <> 'bucket'");
        conditions.require("length > 0 AND octet_length(bytes) = length");
        let sql = format!("SELECT count(*) FROM rejected WHERE {}", conditions.sql());
        let rows = self.ask(&sql, &conditions).await?;
        Ok(rows.first().map_or(0, |row| as_u64(row.get(0))))
    }

    async fn one_rejected(&self, id: i64) -> Result<Option<StoredRejected>, StoreError> {
        let rows = self
            .query(
                "SELECT id, received_at, source, reason, bytes, length, messages, replayed_at
                 FROM rejected WHERE id = $1",
                &[&id],
            )
            .await?;
        Ok(rows.first().map(rejected_of))
    }

    async fn claim_replay(&self, id: i64, lasts: Duration) -> Result<Replay, StoreError> {
        // Whoever died before marking it may have stored it; whoever is at it marks it itself.
        let claimed = self
            .query(
                "UPDATE rejected AS message SET
                     replayed_at = CASE WHEN stored.already THEN now() END,
                     replay_until = CASE WHEN NOT stored.already
                         THEN now() + $2::float8 * interval '1 second' END
                 FROM (SELECT EXISTS (
                     SELECT FROM rejected AS same JOIN replayed_records AS known
                     ON (known.rejected, known.received_at) = (same.id, same.received_at)
                     WHERE same.id = $1)) AS stored (already)
                 WHERE id = $1 AND replayed_at IS NULL
                     AND (replay_until IS NULL OR replay_until < now())
                 RETURNING replayed_at IS NULL",
                &[&id, &lasts.as_secs_f64()],
            )
            .await?;
        if let Some(claimed) = claimed.first() {
            return Ok(if claimed.get(0) { Replay::Granted } else { Replay::Done });
        }
        let sql = "SELECT replayed_at IS NOT NULL FROM rejected WHERE id = $1";
        let rows = self.query(sql, &[&id]).await?;
        Ok(match rows.first().map(|row| row.get(0)) {
            None => Replay::Missing,
            Some(true) => Replay::Done,
            Some(false) => Replay::Underway,
        })
    }

    async fn release_replay(&self, id: i64) -> Result<(), StoreError> {
        let sql = "UPDATE rejected SET replay_until = NULL WHERE id = $1 AND replayed_at IS NULL";
        self.query(sql, &[&id]).await.map(drop)
    }

    async fn replayed(&self, id: i64, who: &str) -> Result<bool, StoreError> {
        let marked = self
            .query(
                "WITH marked AS (
                     UPDATE rejected SET replayed_at = now(), replay_until = NULL
                     WHERE id = $1 AND replayed_at IS NULL RETURNING id, source, reason)
                 INSERT INTO audit_trail (who, action, subject, details)
                 SELECT $2, 'rejected.replay', 'rejected ' || id,
                     json_build_object('source', source, 'reason', reason)
                 FROM marked RETURNING id",
                &[&id, &who],
            )
            .await?;
        Ok(!marked.is_empty())
    }

    async fn list_audit(
        &self,
        filter: &AuditFilter,
        limit: u32,
    ) -> Result<Vec<AuditEntry>, StoreError> {
        let mut conditions = of_audit(filter);
        let limit = conditions.parameter(i64::from(limit));
        let sql = format!(
            "SELECT id, at, who, action, subject, details, fault, job FROM audit_trail
             WHERE {} ORDER BY id DESC LIMIT {limit}",
            conditions.sql()
        );
        Ok(self.ask(&sql, &conditions).await?.iter().map(audit_of).collect())
    }

    async fn notifications(
        &self,
        filter: &NotificationFilter,
        limit: u32,
    ) -> Result<Vec<StoredNotification>, StoreError> {
        let mut conditions = Conditions::default();
        if filter.is_unread {
            conditions.require("read_at IS NULL");
        }
        conditions.add("severity = $", filter.urgency.map(Urgency::name));
        conditions.add("id < $", filter.before);
        let limit = conditions.parameter(i64::from(limit));
        let sql = format!(
            "SELECT {} FROM notifications WHERE {} ORDER BY id DESC LIMIT {limit}",
            notifications::COLUMNS,
            conditions.sql()
        );
        Ok(self.ask(&sql, &conditions).await?.iter().map(notification_of).collect())
    }

    async fn unread(&self) -> Result<u64, StoreError> {
        let sql = "SELECT count(*) FROM notifications WHERE read_at IS NULL";
        Ok(self.query(sql, &[]).await?.first().map_or(0, |row| as_u64(row.get(0))))
    }

    async fn read(&self, ids: Option<&[i64]>, who: &str) -> Result<u64, StoreError> {
        // In their order, so that two people do not wait for each other in a circle.
        self.query(
            "UPDATE notifications SET read_at = now(), read_by = $2 WHERE id IN (
                 SELECT id FROM notifications
                 WHERE read_at IS NULL AND ($1::bigint[] IS NULL OR id = ANY($1))
                 ORDER BY id FOR UPDATE)",
            &[&ids, &who],
        )
        .await?;
        self.unread().await
    }

    async fn statistics(&self, days: Days, by: By) -> Result<Vec<DayCount>, StoreError> {
        let rows = self.query(&statistics::by_day(by), &[&days.since, &days.until]).await?;
        Ok(rows.iter().map(statistics::day_count_of).collect())
    }

    async fn job_statistics(&self, days: Days) -> Result<Vec<JobDayCount>, StoreError> {
        let rows = self.query(statistics::ENDINGS, &[&days.since, &days.until]).await?;
        Ok(rows.iter().map(statistics::job_day_count_of).collect())
    }
}
