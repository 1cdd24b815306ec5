//! [`JobStore`] for PostgreSQL.

use std::time::Duration;

use async_trait::async_trait;

use super::{Postgres, dispatch, jobs, row::audit_of, unavailable};
use crate::{
    adapters::store::{
        AuditEntry, StoreError, as_u64,
        jobs::{
            Budget, Decided, Holder, Intent, Job, JobFilter, JobId, JobStore, Outcome, QueueCounts,
            SeenTicket, Steer, StoredFailure, StoredJob, StoredTicket, Undecided, Which, Why,
            Written,
        },
    },
    domain::{fault::FaultId, storm::Storm, time::Micros},
};

/// A hub that was not seen for so long does not count.
const HUB_IS_GONE: &str = "30 seconds";
/// The newest entries of a fault's audit trail that are shown.
const ENTRIES: i64 = 200;

#[async_trait]
impl JobStore for Postgres {
    async fn undecided(&self, which: Which<'_>, limit: u32) -> Result<Vec<Undecided>, StoreError> {
        let sql = format!("{} {}", dispatch::UNDECIDED, dispatch::chosen(which));
        let limit = i64::from(limit);
        let rows = match which {
            Which::These(faults) => self.query(&sql, &[&faults, &limit]).await?,
            Which::After(fault) | Which::Known(fault) => {
                self.query(&sql, &[&fault, &limit]).await?
            }
            Which::Held(environment) => self.query(&sql, &[&environment, &limit]).await?,
        };
        Ok(rows.iter().map(dispatch::undecided_of).collect())
    }

    async fn occurrences(
        &self,
        fault: FaultId,
        since: Micros,
        most: u64,
    ) -> Result<u64, StoreError> {
        let rows = self
            .query(
                "SELECT count(*) FROM (
                     SELECT 1 FROM fault_shapes AS shape JOIN events AS event
                         ON hashtextextended(event.fingerprint, 0)
                             = hashtextextended(shape.fingerprint, 0)
                         AND event.fingerprint = shape.fingerprint
                         AND event.environment = shape.environment
                         AND event.service = shape.service
                     WHERE shape.fault = $1 AND event.occurred_at >= $2
                         AND event.fingerprint IS NOT NULL LIMIT $3) AS met",
                &[&fault, &super::timestamp(since), &i64::try_from(most).unwrap_or(i64::MAX)],
            )
            .await?;
        Ok(rows.first().map_or(0, |row| as_u64(row.get(0))))
    }

    async fn decide(
        &self,
        decisions: &[Decided],
        budget: Option<Budget>,
    ) -> Result<Written, StoreError> {
        self.in_time(async {
            let mut client = self.client().await?;
            dispatch::decide(&mut client, decisions, budget).await.map_err(unavailable)
        })
        .await
    }

    async fn storms(&self, window: Duration) -> Result<Vec<Storm>, StoreError> {
        self.in_time(async {
            let mut client = self.client().await?;
            dispatch::storms(&mut client, window).await.map_err(unavailable)
        })
        .await
    }

    async fn begin_storm(
        &self,
        environment: &str,
        title: &str,
        intent: &Intent,
    ) -> Result<(), StoreError> {
        self.in_time(async {
            let mut client = self.client().await?;
            dispatch::begin_storm(&mut client, environment, title, intent)
                .await
                .map_err(unavailable)
        })
        .await
    }

    async fn intend(
        &self,
        fault: FaultId,
        environment: &str,
        intent: &Intent,
    ) -> Result<(), StoreError> {
        self.in_time(async {
            let mut client = self.client().await?;
            dispatch::intend(&mut client, fault, environment, intent).await.map_err(unavailable)
        })
        .await
    }

    async fn end_storm(&self, fault: FaultId) -> Result<(), StoreError> {
        self.in_time(async {
            let mut client = self.client().await?;
            dispatch::end_storm(&mut client, fault).await.map_err(unavailable)
        })
        .await
    }

    async fn claim(
        &self,
        holder: Holder,
        lease: Duration,
        limit: u32,
    ) -> Result<Vec<Job>, StoreError> {
        self.in_time(async {
            let mut client = self.client().await?;
            jobs::claim(&mut client, holder, lease, limit).await.map_err(unavailable)
        })
        .await
    }

    async fn keep(&self, holder: Holder, lease: Duration) -> Result<u32, StoreError> {
        self.query(
            "UPDATE jobs SET lease_until = now() + $2::float8 * interval '1 second'
             WHERE state = 'active' AND holder = $1",
            &[&holder, &lease.as_secs_f64()],
        )
        .await?;
        let sql = format!(
            "WITH me AS (INSERT INTO hubs (id, seen_at) VALUES ($1, now())
                 ON CONFLICT (id) DO UPDATE SET seen_at = now()),
             gone AS (DELETE FROM hubs WHERE seen_at < now() - interval '1 day')
             SELECT count(*) FROM hubs
             WHERE id <> $1 AND seen_at > now() - interval '{HUB_IS_GONE}'"
        );
        let rows = self.query(&sql, &[&holder]).await?;
        let others = rows.first().map_or(0, |row| row.get::<_, i64>(0));
        Ok(u32::try_from(others).unwrap_or(u32::MAX).saturating_add(1))
    }

    async fn settle(
        &self,
        job: JobId,
        holder: Holder,
        outcome: &Outcome,
    ) -> Result<bool, StoreError> {
        self.in_time(async {
            let mut client = self.client().await?;
            jobs::settle(&mut client, job, holder, outcome).await.map_err(unavailable)
        })
        .await
    }

    async fn tickets_seen(&self, seen: &[SeenTicket]) -> Result<u64, StoreError> {
        self.in_time(async {
            let mut client = self.client().await?;
            jobs::tickets_seen(&mut client, seen).await.map_err(unavailable)
        })
        .await
    }

    async fn ticket_gone(&self, key: &str) -> Result<(), StoreError> {
        self.in_time(async {
            let mut client = self.client().await?;
            jobs::ticket_gone(&mut client, key).await.map_err(unavailable)
        })
        .await
    }

    async fn jobs(&self, filter: &JobFilter, limit: u32) -> Result<Vec<StoredJob>, StoreError> {
        self.in_time(async {
            let client = self.client().await?;
            jobs::jobs(&client, filter, limit).await.map_err(unavailable)
        })
        .await
    }

    async fn job_window(&self, filter: &JobFilter, span: u32) -> Result<Option<JobId>, StoreError> {
        self.in_time(async {
            let client = self.client().await?;
            jobs::window(&client, filter, span).await.map_err(unavailable)
        })
        .await
    }

    async fn job_queues(&self, filter: &JobFilter) -> Result<QueueCounts, StoreError> {
        self.in_time(async {
            let client = self.client().await?;
            jobs::queues(&client, filter).await.map_err(unavailable)
        })
        .await
    }

    async fn job_failures(&self, job: JobId) -> Result<Vec<StoredFailure>, StoreError> {
        let sql = "SELECT at, error, problems, request FROM job_failures WHERE job = $1
                   ORDER BY id LIMIT $2";
        Ok(self.query(sql, &[&job, &ENTRIES]).await?.iter().map(jobs::failure_of).collect())
    }

    async fn steer(
        &self,
        filter: &JobFilter,
        steer: &Steer,
        who: &str,
    ) -> Result<Vec<JobId>, StoreError> {
        self.in_time(async {
            let mut client = self.client().await?;
            jobs::steer(&mut client, filter, steer, who).await.map_err(unavailable)
        })
        .await
    }

    async fn tickets(&self, fault: FaultId) -> Result<Vec<StoredTicket>, StoreError> {
        let rows = self.query(jobs::TICKETS, &[&fault]).await?;
        Ok(rows.iter().map(jobs::stored_ticket_of).collect())
    }

    async fn why(&self, fault: FaultId) -> Result<Option<Why>, StoreError> {
        let sql = "SELECT decision, decided_count FROM faults WHERE id = $1";
        let rows = self.query(sql, &[&fault]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let (decision, decided_count) = (row.get(0), row.get(1));
        let rows = self
            .query(
                "SELECT id, at, who, action, subject, details, fault, job FROM audit_trail WHERE fault = $1
                 ORDER BY id DESC LIMIT $2",
                &[&fault, &ENTRIES],
            )
            .await?;
        Ok(Some(Why { decision, decided_count, audit: rows.iter().map(audit_of).collect() }))
    }

    async fn history(&self, job: JobId) -> Result<Vec<AuditEntry>, StoreError> {
        let rows = self
            .query(
                "SELECT id, at, who, action, subject, details, fault, job FROM audit_trail WHERE job = $1
                 ORDER BY id LIMIT $2",
                &[&job, &ENTRIES],
            )
            .await?;
        Ok(rows.iter().map(audit_of).collect())
    }

    async fn is_paused(&self) -> Result<bool, StoreError> {
        let sql = "SELECT is_on FROM switches WHERE name = 'dispatch_paused'";
        Ok(self.query(sql, &[]).await?.first().is_some_and(|row| row.get(0)))
    }

    async fn pause(&self, is_paused: bool, who: &str) -> Result<(), StoreError> {
        self.in_time(async {
            let mut client = self.client().await?;
            dispatch::pause(&mut client, is_paused, who).await.map_err(unavailable)
        })
        .await
    }
}
