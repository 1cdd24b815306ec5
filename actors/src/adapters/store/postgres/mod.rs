//! The PostgreSQL store.
//!
//! Events go in by binary COPY, encoded by hand (`copy`), into daily partitions that are made
//! ahead; faults, ledger and position follow in the same transaction, by sets.

use std::time::Duration;

use async_trait::async_trait;
use deadpool_postgres::{
    Hook, HookError, Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime,
};
use serde_json::value::RawValue;
use tokio::sync::{Mutex, Semaphore};
use tokio_postgres::{
    Error, Row,
    types::{Json, ToSql},
};

use self::{
    commit::Failure,
    partitions::Partitions,
    row::{FAULT, audit_of, fault_of, rejected_of, shape_of},
    search::Summaries,
};
use super::{
    AuditEntry, Closest, Commit, Committed, FaultDetail, Left, Placed, Position, Store, StoreError,
    StoredFault, StoredRejected, TeachError, as_u64,
    assignments::{Assignments, TEMPLATES},
    compare, would_join,
};
use crate::{
    adapters::journal::Origin,
    domain::{
        event::Source, fault::FaultId, ledger::Tally, lesson::Lesson, shape::Shape, time::Micros,
    },
};

mod access;
mod alerts;
mod buckets;
mod commit;
mod conditions;
mod connection;
mod dispatch;
mod fault_store;
mod faults;
mod health;
mod job_store;
mod jobs;
mod leaving;
mod lessons;
mod live;
mod migration;
mod notifications;
mod partitions;
mod records;
mod recount;
mod restoring;
mod retention;
mod row;
mod search;
mod statistics;
mod steering;
mod streams;
mod trail;

/// A hub that is frozen within a transaction holds up all others, which wait for its locks; the
/// server ends such a session after this time. No statement of ours has the next one wait so long.
const END_OF_THE_FROZEN: &str = "SET idle_in_transaction_session_timeout = '5s'";

/// See the [module](self).
pub struct Postgres {
    pool: Pool,
    commit_timeout: Duration,
    partitions: Partitions,
    summaries: Summaries,
    /// One is left to the writer, whatever people search for.
    searches: Semaphore,
    /// Held during a commit; there is never more than one at a time.
    assignments: Mutex<Assignments>,
}

impl Postgres {
    /// A store at `url`. Nothing is connected yet.
    ///
    /// # Errors
    /// When `url` is not a PostgreSQL URL.
    pub fn new(
        url: &str,
        connections: usize,
        connect_timeout: Duration,
        commit_timeout: Duration,
    ) -> Result<Self, StoreError> {
        let (mut config, tls) = connection::parse(url).map_err(StoreError::Unavailable)?;
        config.application_name("faultline").connect_timeout(connect_timeout);
        // A connection that was cut off without a word looks open until it is asked.
        let manager = ManagerConfig { recycling_method: RecyclingMethod::Verified };
        let pool = Pool::builder(Manager::from_config(config, tls, manager))
            .max_size(connections)
            .runtime(Runtime::Tokio1)
            .create_timeout(Some(connect_timeout))
            .wait_timeout(Some(connect_timeout))
            .recycle_timeout(Some(connect_timeout))
            .post_create(Hook::async_fn(move |client, _| {
                Box::pin(async move {
                    let done = client.batch_execute(END_OF_THE_FROZEN);
                    let done = tokio::time::timeout(connect_timeout, done).await;
                    done.map_err(|_| HookError::message("no answer"))?.map_err(HookError::Backend)
                })
            }))
            .build()
            .map_err(|error| StoreError::Unavailable(error.to_string()))?;
        Ok(Self {
            pool,
            commit_timeout,
            partitions: Partitions::default(),
            summaries: Summaries::default(),
            searches: Semaphore::new((connections / 2).max(1)),
            assignments: Mutex::new(Assignments::new()),
        })
    }

    /// Whether `url` can be one of a PostgreSQL.
    ///
    /// # Errors
    /// Says what is wrong with it, without its password.
    pub fn check_url(url: &str) -> Result<(), String> {
        connection::parse(url).map(drop)
    }

    async fn client(&self) -> Result<Object, StoreError> {
        self.pool.get().await.map_err(|error| StoreError::Unavailable(chain(&error)))
    }

    async fn query(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, StoreError> {
        self.in_time(async {
            let client = self.client().await?;
            let statement = client.prepare_cached(sql).await.map_err(unavailable)?;
            client.query(&statement, parameters).await.map_err(unavailable)
        })
        .await
    }

    /// Waits for no answer longer than for that to a commit: one from a server that is stuck, or was
    /// cut off without a word, never comes.
    async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let limit = self.commit_timeout;
        let outcome = tokio::time::timeout(limit, work).await;
        outcome
            .unwrap_or_else(|_| Err(StoreError::Unavailable(format!("no answer within {limit:?}"))))
    }
}

#[async_trait]
impl Store for Postgres {
    fn name(&self) -> &'static str {
        "postgres"
    }

    async fn migrate(&self) -> Result<Vec<String>, StoreError> {
        migration::migrate(self).await
    }

    async fn check_schema(&self) -> Result<(), StoreError> {
        migration::check(self).await
    }

    async fn position(&self, origin: Origin) -> Result<Position, StoreError> {
        self.query(
            "INSERT INTO journal_positions (origin, sequence) VALUES ($1, 0)
             ON CONFLICT (origin) DO NOTHING",
            &[&origin],
        )
        .await?;
        let sequence = self.position_of(origin).await?;
        let totals = self
            .query(
                "SELECT source, sum(stored)::bigint, sum(duplicate)::bigint, sum(rejected)::bigint,
                     coalesce(sum(stored) FILTER (WHERE origin = $1), 0)::bigint,
                     coalesce(sum(duplicate) FILTER (WHERE origin = $1), 0)::bigint,
                     coalesce(sum(rejected) FILTER (WHERE origin = $1), 0)::bigint
                 FROM ledger GROUP BY source",
                &[&origin],
            )
            .await?;
        let tally = |row: &Row, from: usize| Tally {
            received: 0,
            stored: as_u64(row.get(from)),
            duplicate: as_u64(row.get(from + 1)),
            rejected: as_u64(row.get(from + 2)),
        };
        let mut settled = [Tally::default(); Source::COUNT];
        let mut own = settled;
        for row in totals {
            if let Some(source) = Source::from_name(row.get(0)) {
                settled[source as usize] = tally(&row, 1);
                own[source as usize] = tally(&row, 4);
            }
        }
        Ok(Position { sequence, settled, own })
    }

    async fn commit(&self, commit: &Commit) -> Result<Committed, StoreError> {
        let work = async {
            let assignments = &mut *self.assignments.lock().await;
            let mut client = self.client().await?;
            self.partitions.make(&mut client, commit).await?;
            let (mut left, mut has_looked) = (Left::within(commit), false);
            loop {
                match commit::commit(&mut client, commit, &left, assignments).await {
                    Ok(committed) => return Ok(committed),
                    Err(Failure::Other(StoreError::Moved { .. })) => {
                        let position = self.position_of(commit.origin).await?;
                        return Err(StoreError::Moved { position });
                    }
                    Err(Failure::Other(error)) => return Err(error),
                    // Some every time, so that this comes to an end.
                    Err(Failure::Known(known)) => left.extend(known),
                    Err(Failure::Row(error)) if has_looked || !commit::is_refusal(&error) => {
                        return Err(unavailable(error));
                    }
                    Err(Failure::Row(error)) => {
                        let error = chain(&error);
                        tracing::warn!(error, "the store refuses an event; looking for it");
                        // A partition that somebody dropped looks like a refused row as well.
                        self.partitions.forget();
                        self.partitions.make(&mut client, commit).await?;
                        left.extend(commit::find_refused(&mut client, commit).await?);
                        has_looked = true;
                    }
                }
            }
        };
        self.in_time(Box::pin(work)).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.query("SELECT 1", &[]).await.map(drop)
    }

    async fn save_snapshot(&self, taken_at: Micros, snapshot: &str) -> Result<(), StoreError> {
        let snapshot: &RawValue = serde_json::from_str(snapshot)
            .map_err(|error| StoreError::Unavailable(error.to_string()))?;
        self.query(
            "INSERT INTO metric_snapshots (taken_at, snapshot) VALUES ($1, $2)
             ON CONFLICT (taken_at) DO NOTHING",
            &[&timestamp(taken_at), &Json(snapshot)],
        )
        .await
        .map(drop)
    }

    async fn faults(&self, limit: u32) -> Result<Vec<StoredFault>, StoreError> {
        let rows = self
            .query(
                &format!(
                    "SELECT {FAULT} FROM faults WHERE merged_into IS NULL
                     ORDER BY last_seen DESC, id DESC LIMIT $1"
                ),
                &[&i64::from(limit)],
            )
            .await?;
        Ok(rows.iter().map(fault_of).collect())
    }

    async fn fault(&self, id: FaultId) -> Result<Option<FaultDetail>, StoreError> {
        let faults =
            self.query(&format!("SELECT {FAULT} FROM faults WHERE id = $1"), &[&id]).await?;
        let Some(fault) = faults.first().map(fault_of) else { return Ok(None) };
        let shapes = self
            .query(
                "SELECT fingerprint, title, why, detail, count, first_seen, last_seen, template
                 FROM fault_shapes WHERE fault = $1 ORDER BY id",
                &[&id],
            )
            .await?;
        let mut shapes: Vec<_> = shapes.iter().map(shape_of).collect();
        compare(id, &mut shapes);
        Ok(Some(FaultDetail { fault, shapes }))
    }

    async fn place(
        &self,
        environment: &str,
        service: &str,
        shape: &Shape,
    ) -> Result<Option<Placed>, StoreError> {
        let known = self
            .query(
                "SELECT fault, why, detail FROM fault_shapes
                 WHERE environment = $1 AND service = $2 AND fingerprint = $3",
                &[&environment, &service, &shape.fingerprint.to_string()],
            )
            .await?;
        let (fault, is_known, why, detail) = if let Some(row) = known.first() {
            (row.get(0), true, row.get(1), row.get(2))
        } else {
            let templates = self.templates(environment, service).await?;
            let Some((fault, why)) = would_join(templates.into_iter(), shape) else {
                return Ok(None);
            };
            (fault, false, why.name().to_owned(), why.detail().to_owned())
        };
        let titles = self.query("SELECT title FROM faults WHERE id = $1", &[&fault]).await?;
        let title = titles.first().map(|row| row.get(0)).unwrap_or_default();
        Ok(Some(Placed { fault, title, is_known, why, detail }))
    }

    async fn closest(
        &self,
        environment: &str,
        service: &str,
        shape: &Shape,
    ) -> Result<Option<Closest>, StoreError> {
        let templates = self.templates(environment, service).await?;
        Ok(Closest::among(templates.into_iter(), &shape.template))
    }

    async fn teach(&self, lesson: &Lesson, who: &str) -> Result<FaultId, TeachError> {
        let mut client = self.client().await?;
        lessons::teach(&mut client, lesson, who).await
    }

    async fn audit(&self, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
        let rows = self
            .query(
                "SELECT id, at, who, action, subject, details, fault, job FROM audit_trail
                 ORDER BY id DESC LIMIT $1",
                &[&i64::from(limit)],
            )
            .await?;
        Ok(rows.iter().map(audit_of).collect())
    }

    async fn rejected(&self, limit: u32) -> Result<Vec<StoredRejected>, StoreError> {
        let rows = self
            .query(
                "SELECT id, received_at, source, reason, bytes, length, messages, replayed_at
                 FROM rejected
                 ORDER BY id DESC LIMIT $1",
                &[&i64::from(limit)],
            )
            .await?;
        Ok(rows.iter().map(rejected_of).collect())
    }
}

impl Postgres {
    /// The newest templates, newest first.
    async fn templates(
        &self,
        environment: &str,
        service: &str,
    ) -> Result<Vec<(String, FaultId)>, StoreError> {
        let rows = self
            .query(
                "SELECT template, fault FROM fault_shapes
                 WHERE environment = $1 AND service = $2 AND template <> ''
                 ORDER BY id DESC LIMIT $3",
                &[&environment, &service, &TEMPLATES],
            )
            .await?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    async fn position_of(&self, origin: Origin) -> Result<u64, StoreError> {
        let rows = self
            .query("SELECT sequence FROM journal_positions WHERE origin = $1", &[&origin])
            .await?;
        rows.first().map(|row| as_u64(row.get(0))).ok_or_else(|| {
            StoreError::Unavailable(format!("the position of origin {origin} is gone"))
        })
    }
}

#[expect(clippy::needless_pass_by_value, reason = "called by map_err")]
fn unavailable(error: Error) -> StoreError {
    StoreError::Unavailable(chain(&error))
}

/// An error with all its causes; the outermost one alone often says only "db error".
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

/// Every time in a batch is within what a timestamp can be.
fn timestamp(micros: Micros) -> jiff::Timestamp {
    jiff::Timestamp::from_microsecond(micros).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
}
