//! [`JobStore`] for SQLite.

use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{OptionalExtension, params};

use super::{
    Sqlite,
    dispatch::{self, Chosen},
    jobs, on,
    row::{audit_of, rows},
};
use crate::{
    adapters::{
        clock,
        store::{
            AuditEntry, StoreError, as_u64,
            jobs::{
                Budget, Decided, Holder, Intent, Job, JobFilter, JobId, JobStore, Outcome,
                QueueCounts, SeenTicket, Steer, StoredFailure, StoredJob, StoredTicket, Undecided,
                Which, Why, Written,
            },
        },
    },
    domain::{
        fault::FaultId,
        storm::Storm,
        time::{Micros, later},
    },
};

/// The newest entries of a fault's audit trail that are shown.
const ENTRIES: i64 = 200;

#[async_trait]
impl JobStore for Sqlite {
    async fn undecided(&self, which: Which<'_>, limit: u32) -> Result<Vec<Undecided>, StoreError> {
        let chosen = Chosen::from(which);
        on(&self.reader, move |connection| dispatch::undecided(connection, &chosen, limit)).await
    }

    async fn occurrences(
        &self,
        fault: FaultId,
        since: Micros,
        most: u64,
    ) -> Result<u64, StoreError> {
        on(&self.reader, move |connection| {
            let sql = "SELECT count(*) FROM (
                           SELECT 1 FROM fault_shapes AS shape JOIN events AS event
                               USING (fingerprint, environment, service)
                           WHERE shape.fault = ?1 AND event.occurred_at >= ?2 LIMIT ?3)";
            let most = i64::try_from(most).unwrap_or(i64::MAX);
            let count = connection
                .prepare_cached(sql)?
                .query_one(params![fault, since, most], |row| row.get(0))?;
            Ok(as_u64(count))
        })
        .await
    }

    async fn decide(
        &self,
        decisions: &[Decided],
        budget: Option<Budget>,
    ) -> Result<Written, StoreError> {
        let decisions = decisions.to_vec();
        on(&self.writer, move |connection| dispatch::decide(connection, &decisions, budget)).await
    }

    async fn storms(&self, window: Duration) -> Result<Vec<Storm>, StoreError> {
        on(&self.reader, move |connection| dispatch::storms(connection, window)).await
    }

    async fn begin_storm(
        &self,
        environment: &str,
        title: &str,
        intent: &Intent,
    ) -> Result<(), StoreError> {
        let (environment, title, intent) =
            (environment.to_owned(), title.to_owned(), intent.clone());
        on(&self.writer, move |connection| {
            dispatch::begin_storm(connection, &environment, &title, &intent)
        })
        .await
    }

    async fn intend(
        &self,
        fault: FaultId,
        environment: &str,
        intent: &Intent,
    ) -> Result<(), StoreError> {
        let (environment, intent) = (environment.to_owned(), intent.clone());
        on(&self.writer, move |connection| {
            dispatch::intend(connection, fault, &environment, &intent)
        })
        .await
    }

    async fn end_storm(&self, fault: FaultId) -> Result<(), StoreError> {
        on(&self.writer, move |connection| dispatch::end_storm(connection, fault)).await
    }

    async fn claim(
        &self,
        holder: Holder,
        lease: Duration,
        limit: u32,
    ) -> Result<Vec<Job>, StoreError> {
        on(&self.writer, move |connection| jobs::claim(connection, holder, lease, limit)).await
    }

    async fn keep(&self, holder: Holder, lease: Duration) -> Result<u32, StoreError> {
        on(&self.writer, move |connection| {
            let until = later(clock::now(), lease);
            connection.execute(
                "UPDATE jobs SET lease_until = ?2 WHERE state = 'active' AND holder = ?1",
                params![holder.to_string(), until],
            )?;
            Ok(1)
        })
        .await
    }

    async fn settle(
        &self,
        job: JobId,
        holder: Holder,
        outcome: &Outcome,
    ) -> Result<bool, StoreError> {
        let outcome = outcome.clone();
        on(&self.writer, move |connection| jobs::settle(connection, job, holder, &outcome)).await
    }

    async fn tickets_seen(&self, seen: &[SeenTicket]) -> Result<u64, StoreError> {
        let seen = seen.to_vec();
        on(&self.writer, move |connection| jobs::tickets_seen(connection, &seen)).await
    }

    async fn ticket_gone(&self, key: &str) -> Result<(), StoreError> {
        let key = key.to_owned();
        on(&self.writer, move |connection| jobs::ticket_gone(connection, &key)).await
    }

    async fn jobs(&self, filter: &JobFilter, limit: u32) -> Result<Vec<StoredJob>, StoreError> {
        let filter = filter.clone();
        on(&self.reader, move |connection| jobs::jobs(connection, &filter, limit)).await
    }

    async fn job_window(&self, filter: &JobFilter, span: u32) -> Result<Option<JobId>, StoreError> {
        let filter = filter.clone();
        on(&self.reader, move |connection| jobs::window(connection, &filter, span)).await
    }

    async fn job_queues(&self, filter: &JobFilter) -> Result<QueueCounts, StoreError> {
        let filter = filter.clone();
        on(&self.reader, move |connection| jobs::queues(connection, &filter)).await
    }

    async fn job_failures(&self, job: JobId) -> Result<Vec<StoredFailure>, StoreError> {
        on(&self.reader, move |connection| {
            let sql = "SELECT at, error, problems, request FROM job_failures WHERE job = ?1
                       ORDER BY id LIMIT ?2";
            rows(connection, sql, params![job, ENTRIES], jobs::failure_of)
        })
        .await
    }

    async fn steer(
        &self,
        filter: &JobFilter,
        steer: &Steer,
        who: &str,
    ) -> Result<Vec<JobId>, StoreError> {
        let (filter, steer, who) = (filter.clone(), steer.clone(), who.to_owned());
        on(&self.writer, move |connection| jobs::steer(connection, &filter, &steer, &who)).await
    }

    async fn tickets(&self, fault: FaultId) -> Result<Vec<StoredTicket>, StoreError> {
        on(&self.reader, move |connection| jobs::tickets(connection, fault)).await
    }

    async fn why(&self, fault: FaultId) -> Result<Option<Why>, StoreError> {
        on(&self.reader, move |connection| {
            let sql = "SELECT decision, decided_count FROM faults WHERE id = ?1";
            let decided = connection
                .query_row(sql, [fault], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            let Some((decision, decided_count)) = decided else { return Ok(None) };
            let audit = rows(
                connection,
                "SELECT id, at, who, action, subject, details, fault, job FROM audit_trail WHERE fault = ?1
                 ORDER BY id DESC LIMIT ?2",
                params![fault, ENTRIES],
                audit_of,
            )?;
            Ok(Some(Why { decision, decided_count, audit }))
        })
        .await
    }

    async fn history(&self, job: JobId) -> Result<Vec<AuditEntry>, StoreError> {
        on(&self.reader, move |connection| {
            rows(
                connection,
                "SELECT id, at, who, action, subject, details, fault, job FROM audit_trail WHERE job = ?1
                 ORDER BY id LIMIT ?2",
                params![job, ENTRIES],
                audit_of,
            )
        })
        .await
    }

    async fn is_paused(&self) -> Result<bool, StoreError> {
        on(&self.reader, |connection| {
            let sql = "SELECT is_on FROM switches WHERE name = 'dispatch_paused'";
            Ok(connection.query_row(sql, [], |row| row.get(0)).optional()?.unwrap_or(false))
        })
        .await
    }

    async fn pause(&self, is_paused: bool, who: &str) -> Result<(), StoreError> {
        let who = who.to_owned();
        on(&self.writer, move |connection| dispatch::pause(connection, is_paused, &who)).await
    }
}
