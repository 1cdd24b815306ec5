//! The PostgreSQL store.
//!
//! Events go in by binary COPY, encoded by hand ([`copy`]), into daily partitions that are made
//! ahead; faults, ledger and position follow in the same transaction, by sets.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime};
use futures_util::{SinkExt, future::try_join3};
use serde_json::value::RawValue;
use tokio_postgres::{
    Error, NoTls, Row, Transaction,
    error::SqlState,
    types::{Json, ToSql, Type},
};

use super::{
    Commit, Committed, Position, Refused, RejectedRow, Store, StoreError, StoredEvent, StoredFault,
    StoredRejected, as_i64, as_u64, copy, rejected_rows, sum_faults, tallies_with,
};
use crate::{
    adapters::journal::Origin,
    domain::{event::Source, ledger::Tally, time::Micros},
};

mod migrations {
    refinery::embed_migrations!("../migrations/postgres");
}

/// Keys of advisory locks; any number that nobody else uses.
const MIGRATION_LOCK: i64 = 0x666C_7431;
const DAY: Micros = 86_400_000_000;
/// A COPY message of this size is sent while the next one is encoded.
const COPY_CHUNK: usize = 64 << 10;

/// See the [module](self).
pub struct Postgres {
    pool: Pool,
    commit_timeout: Duration,
    /// Days (since 1970) whose partition is known to exist.
    days: Mutex<BTreeSet<i64>>,
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
        let mut config: tokio_postgres::Config =
            url.parse().map_err(|error: Error| StoreError::Unavailable(error.to_string()))?;
        config.application_name("faultline").connect_timeout(connect_timeout);
        let manager = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let pool = Pool::builder(Manager::from_config(config, NoTls, manager))
            .max_size(connections)
            .runtime(Runtime::Tokio1)
            .create_timeout(Some(connect_timeout))
            .wait_timeout(Some(connect_timeout))
            .recycle_timeout(Some(connect_timeout))
            .build()
            .map_err(|error| StoreError::Unavailable(error.to_string()))?;
        Ok(Self { pool, commit_timeout, days: Mutex::new(BTreeSet::new()) })
    }

    async fn client(&self) -> Result<Object, StoreError> {
        self.pool.get().await.map_err(|error| StoreError::Unavailable(chain(&error)))
    }

    async fn query(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, StoreError> {
        let client = self.client().await?;
        let statement = client.prepare_cached(sql).await.map_err(unavailable)?;
        client.query(&statement, parameters).await.map_err(unavailable)
    }

    /// Makes the partitions that `commit` needs, and tomorrow's.
    async fn make_partitions(&self, client: &Object, commit: &Commit) -> Result<(), StoreError> {
        let mut needed = BTreeSet::new();
        for batch in &commit.batches {
            for record in &batch.records {
                let day = record.received_at.div_euclid(DAY);
                needed.insert(day);
                needed.insert(day + 1);
            }
        }
        let missing: Vec<i64> = {
            let known = self.days.lock().unwrap_or_else(PoisonError::into_inner);
            needed.difference(&known).copied().collect()
        };
        for day in missing {
            make_partition(client, day).await?;
            self.days.lock().unwrap_or_else(PoisonError::into_inner).insert(day);
        }
        Ok(())
    }

    async fn commit_once(
        &self,
        client: &mut Object,
        commit: &Commit,
        refused: &Refused,
    ) -> Result<Committed, Failure> {
        let transaction = client.transaction().await?;
        let origin = move_position(&transaction, commit).await?;
        let rows = (0..commit.batches.len()).flat_map(|batch| {
            (0..commit.batches[batch].events.len()).map(move |event| (batch, event))
        });
        let rows = rows.filter(|row| !refused.contains_key(row));
        copy_events(&transaction, commit, origin, rows).await.map_err(Failure::Row)?;
        let tallies = tallies_with(commit, refused);
        try_join3(
            add_faults(&transaction, commit, refused),
            add_rejected(&transaction, commit, refused, origin),
            add_to_ledger(&transaction, commit.origin, &tallies),
        )
        .await?;
        transaction.commit().await?;
        Ok(Committed { tallies })
    }

    /// Finds the events that the store refuses, by halves, in a transaction that is rolled back.
    async fn find_refused(
        &self,
        client: &mut Object,
        commit: &Commit,
    ) -> Result<Refused, StoreError> {
        let mut transaction = client.transaction().await.map_err(unavailable)?;
        let mut rows = Vec::new();
        for (batch, content) in commit.batches.iter().enumerate() {
            rows.extend((0..content.events.len()).map(|event| (batch, event)));
        }
        let mut refused = Refused::new();
        #[expect(
            clippy::single_range_in_vec_init,
            reason = "a stack of ranges that starts with one"
        )]
        let mut untried = vec![0..rows.len()];
        while let Some(range) = untried.pop() {
            let savepoint = transaction.transaction().await.map_err(unavailable)?;
            let some = rows[range.clone()].iter().copied();
            match copy_events(&savepoint, commit, 0, some).await {
                Ok(()) => savepoint.commit().await.map_err(unavailable)?,
                Err(error) if !is_refusal(&error) => return Err(unavailable(error)),
                Err(error) => {
                    savepoint.rollback().await.map_err(unavailable)?;
                    if range.len() == 1 {
                        let reason = format!("refused by the store: {}", chain(&error));
                        refused.insert(rows[range.start], reason);
                    } else {
                        let middle = range.start + range.len() / 2;
                        untried.push(range.start..middle);
                        untried.push(middle..range.end);
                    }
                }
            }
        }
        transaction.rollback().await.map_err(unavailable)?;
        Ok(refused)
    }
}

/// Why a try to commit failed.
enum Failure {
    /// The COPY of the events failed.
    Row(Error),
    Other(StoreError),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Other(unavailable(error))
    }
}

#[async_trait]
impl Store for Postgres {
    fn name(&self) -> &'static str {
        "postgres"
    }

    async fn migrate(&self) -> Result<Vec<String>, StoreError> {
        let mut client = self.client().await?;
        // Several hubs may start at once.
        client
            .execute("SELECT pg_advisory_lock($1)", &[&MIGRATION_LOCK])
            .await
            .map_err(unavailable)?;
        let report = migrations::migrations::runner().run_async(&mut **client).await;
        let unlocked = client.execute("SELECT pg_advisory_unlock($1)", &[&MIGRATION_LOCK]).await;
        let report = report.map_err(|error| StoreError::Unavailable(chain(&error)))?;
        unlocked.map_err(unavailable)?;
        Ok(report.applied_migrations().iter().map(ToString::to_string).collect())
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
                "SELECT source, sum(stored)::bigint, sum(duplicate)::bigint, sum(rejected)::bigint
                 FROM ledger GROUP BY source",
                &[],
            )
            .await?;
        let mut settled = [Tally::default(); Source::COUNT];
        for row in totals {
            if let Some(source) = Source::from_name(row.get(0)) {
                let tally = &mut settled[source as usize];
                tally.stored = as_u64(row.get(1));
                tally.duplicate = as_u64(row.get(2));
                tally.rejected = as_u64(row.get(3));
            }
        }
        Ok(Position { sequence, settled })
    }

    async fn commit(&self, commit: &Commit) -> Result<Committed, StoreError> {
        let work = async {
            let mut client = self.client().await?;
            self.make_partitions(&client, commit).await?;
            let error = match self.commit_once(&mut client, commit, &Refused::new()).await {
                Ok(committed) => return Ok(committed),
                Err(Failure::Other(StoreError::Moved { .. })) => {
                    let position = self.position_of(commit.origin).await?;
                    return Err(StoreError::Moved { position });
                }
                Err(Failure::Other(error)) => return Err(error),
                Err(Failure::Row(error)) if !is_refusal(&error) => return Err(unavailable(error)),
                Err(Failure::Row(error)) => error,
            };
            tracing::warn!(error = chain(&error), "the store refuses an event; looking for it");
            // A partition that somebody dropped looks like a refused row as well.
            self.days.lock().unwrap_or_else(PoisonError::into_inner).clear();
            self.make_partitions(&client, commit).await?;
            let refused = self.find_refused(&mut client, commit).await?;
            match self.commit_once(&mut client, commit, &refused).await {
                Ok(committed) => Ok(committed),
                Err(Failure::Other(error)) => Err(error),
                Err(Failure::Row(error)) => Err(unavailable(error)),
            }
        };
        match tokio::time::timeout(self.commit_timeout, work).await {
            Ok(outcome) => outcome,
            Err(_) => Err(StoreError::Unavailable(format!(
                "no answer to a commit within {:?}",
                self.commit_timeout
            ))),
        }
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

    async fn events(
        &self,
        fingerprint: Option<&str>,
        limit: u32,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        const COLUMNS: &str =
            "SELECT occurred_at, received_at, source, kind, severity, environment,
            service, process, message, stack_trace, attributes, fingerprint, messages FROM events";
        if let Some(fingerprint) = fingerprint {
            let sql = format!(
                "{COLUMNS} WHERE hashtextextended(fingerprint, 0) = hashtextextended($1, 0)
                 AND fingerprint = $1 ORDER BY occurred_at DESC LIMIT $2"
            );
            let rows = self.query(&sql, &[&fingerprint, &i64::from(limit)]).await?;
            return Ok(rows.iter().map(event_of).collect());
        }
        // The newest rows are at the end of the newest partition: widening spans find them
        // without looking at the rest.
        let sql = format!(
            "{COLUMNS} WHERE received_at >= now() - $1::text::interval
             ORDER BY received_at DESC, sequence DESC, ordinal DESC LIMIT $2"
        );
        let mut events = Vec::new();
        for span in ["1 minute", "10 minutes", "1 hour", "1 day", "100 years"] {
            let rows = self.query(&sql, &[&span, &i64::from(limit)]).await?;
            events = rows.iter().map(event_of).collect();
            if events.len() >= limit as usize {
                break;
            }
        }
        Ok(events)
    }

    async fn faults(&self, limit: u32) -> Result<Vec<StoredFault>, StoreError> {
        let rows = self
            .query(
                "SELECT id, environment, service, fingerprint, kind, severity, title, example, count,
                 first_seen, last_seen FROM faults ORDER BY last_seen DESC, id DESC LIMIT $1",
                &[&i64::from(limit)],
            )
            .await?;
        Ok(rows.iter().map(fault_of).collect())
    }

    async fn rejected(&self, limit: u32) -> Result<Vec<StoredRejected>, StoreError> {
        let rows = self
            .query(
                "SELECT id, received_at, source, reason, bytes, length, messages FROM rejected
                 ORDER BY id DESC LIMIT $1",
                &[&i64::from(limit)],
            )
            .await?;
        Ok(rows.iter().map(rejected_of).collect())
    }

    async fn unreplayed(&self, after: i64, limit: u32) -> Result<Vec<StoredRejected>, StoreError> {
        let rows = self
            .query(
                "SELECT id, received_at, source, reason, bytes, length, messages FROM rejected
                 WHERE replayed_at IS NULL AND id > $1 ORDER BY id LIMIT $2",
                &[&after, &i64::from(limit)],
            )
            .await?;
        Ok(rows.iter().map(rejected_of).collect())
    }

    async fn mark_replayed(&self, id: i64) -> Result<(), StoreError> {
        self.query("UPDATE rejected SET replayed_at = now() WHERE id = $1", &[&id]).await.map(drop)
    }
}

impl Postgres {
    async fn position_of(&self, origin: Origin) -> Result<u64, StoreError> {
        let rows = self
            .query("SELECT sequence FROM journal_positions WHERE origin = $1", &[&origin])
            .await?;
        rows.first().map(|row| as_u64(row.get(0))).ok_or_else(|| {
            StoreError::Unavailable(format!("the position of origin {origin} is gone"))
        })
    }
}

async fn make_partition(client: &Object, day: i64) -> Result<(), StoreError> {
    let date = |day: i64| -> Result<String, StoreError> {
        let timestamp = jiff::Timestamp::from_second(day * 86_400)
            .map_err(|error| StoreError::Unavailable(error.to_string()))?;
        Ok(timestamp.strftime("%Y-%m-%d").to_string())
    };
    let (from, to) = (date(day)?, date(day + 1)?);
    let name = from.replace('-', "");
    let sql = format!(
        "CREATE TABLE IF NOT EXISTS events_{name} PARTITION OF events
         FOR VALUES FROM ('{from}T00:00:00Z') TO ('{to}T00:00:00Z')"
    );
    match client.batch_execute(&sql).await {
        // Another hub made it between the check and the deed.
        Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => Ok(()),
        Err(error) if error.code() == Some(&SqlState::DUPLICATE_TABLE) => Ok(()),
        outcome => outcome.map_err(unavailable),
    }
}

/// Moves the position by compare-and-swap; gives the id that stands for the origin in `events`.
async fn move_position(transaction: &Transaction<'_>, commit: &Commit) -> Result<i32, Failure> {
    let rows = transaction
        .query_typed(
            "UPDATE journal_positions SET sequence = $1, updated_at = now()
             WHERE origin = $2 AND sequence = $3 RETURNING id",
            &[
                (&as_i64(commit.position()), Type::INT8),
                (&commit.origin, Type::UUID),
                (&as_i64(commit.after), Type::INT8),
            ],
        )
        .await?;
    let moved = rows.first().map(|row| row.get(0));
    moved.ok_or(Failure::Other(StoreError::Moved { position: 0 }))
}

async fn copy_events(
    transaction: &Transaction<'_>,
    commit: &Commit,
    origin: i32,
    rows: impl Iterator<Item = (usize, usize)>,
) -> Result<(), Error> {
    let sink = transaction.copy_in::<_, Bytes>(copy::STATEMENT).await?;
    futures_util::pin_mut!(sink);
    let mut chunk = Vec::with_capacity(COPY_CHUNK + 4_096);
    copy::start(&mut chunk);
    let mut current = usize::MAX;
    let mut fingerprints: Vec<String> = Vec::new();
    for (index, event) in rows {
        let batch = &commit.batches[index];
        if index != current {
            current = index;
            fingerprints = batch.faults.iter().map(|fault| fault.fingerprint.to_string()).collect();
        }
        let event = &batch.events[event];
        let fingerprint = fingerprints.get(event.fault as usize).map_or("", String::as_str);
        copy::push_event(&mut chunk, batch, event, origin, fingerprint);
        if chunk.len() >= COPY_CHUNK {
            let full = std::mem::replace(&mut chunk, Vec::with_capacity(COPY_CHUNK + 4_096));
            sink.send(Bytes::from(full)).await?;
        }
    }
    copy::finish(&mut chunk);
    sink.send(Bytes::from(chunk)).await?;
    sink.finish().await.map(drop)
}

async fn add_faults(
    transaction: &Transaction<'_>,
    commit: &Commit,
    refused: &Refused,
) -> Result<(), Failure> {
    let faults = sum_faults(commit, refused);
    if faults.is_empty() {
        return Ok(());
    }
    let texts = |get: fn(&super::FaultSum<'_>) -> String| -> Vec<String> {
        faults.iter().map(get).collect()
    };
    let times = |get: fn(&super::FaultSum<'_>) -> Micros| -> Vec<jiff::Timestamp> {
        faults.iter().map(|fault| timestamp(get(fault))).collect()
    };
    let counts: Vec<i64> = faults.iter().map(|fault| as_i64(fault.count)).collect();
    transaction
        .query_typed(
            "INSERT INTO faults (environment, service, fingerprint, kind, severity, title, example,
                 count, first_seen, last_seen)
             SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[],
                 $6::text[], $7::text[], $8::bigint[], $9::timestamptz[], $10::timestamptz[])
             ON CONFLICT (environment, service, fingerprint) DO UPDATE SET
                 count = faults.count + excluded.count,
                 first_seen = least(faults.first_seen, excluded.first_seen),
                 last_seen = greatest(faults.last_seen, excluded.last_seen)",
            &[
                (&texts(|fault| fault.environment.to_owned()), Type::TEXT_ARRAY),
                (&texts(|fault| fault.service.to_owned()), Type::TEXT_ARRAY),
                (&texts(|fault| fault.fingerprint.to_string()), Type::TEXT_ARRAY),
                (&texts(|fault| fault.kind.name().to_owned()), Type::TEXT_ARRAY),
                (&texts(|fault| fault.severity.name().to_owned()), Type::TEXT_ARRAY),
                (&texts(|fault| fault.title.to_owned()), Type::TEXT_ARRAY),
                (&texts(|fault| fault.example.to_owned()), Type::TEXT_ARRAY),
                (&counts, Type::INT8_ARRAY),
                (&times(|fault| fault.first_seen), Type::TIMESTAMPTZ_ARRAY),
                (&times(|fault| fault.last_seen), Type::TIMESTAMPTZ_ARRAY),
            ],
        )
        .await?;
    Ok(())
}

async fn add_rejected(
    transaction: &Transaction<'_>,
    commit: &Commit,
    refused: &Refused,
    origin: i32,
) -> Result<(), Failure> {
    // One statement a row: rejected messages are few, and may be large.
    for row in rejected_rows(commit, refused) {
        let RejectedRow { sequence, ordinal, received_at, source, reason, bytes, length, messages } =
            row;
        transaction
            .query_typed(
                "INSERT INTO rejected (origin, sequence, ordinal, received_at, source, reason, bytes,
                     length, messages) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
                &[
                    (&origin, Type::INT4),
                    (&as_i64(sequence), Type::INT8),
                    (&ordinal.cast_signed(), Type::INT4),
                    (&timestamp(received_at), Type::TIMESTAMPTZ),
                    (&source.name(), Type::TEXT),
                    (&reason, Type::TEXT),
                    (&bytes, Type::BYTEA),
                    (&as_i64(length), Type::INT8),
                    (&messages.cast_signed(), Type::INT4),
                ],
            )
            .await?;
    }
    Ok(())
}

async fn add_to_ledger(
    transaction: &Transaction<'_>,
    origin: Origin,
    tallies: &[Tally; Source::COUNT],
) -> Result<(), Failure> {
    let column = |get: fn(&Tally) -> u64| -> Vec<i64> {
        tallies.iter().map(|tally| as_i64(get(tally))).collect()
    };
    let sources: Vec<&str> = Source::ALL.iter().map(|source| source.name()).collect();
    transaction
        .query_typed(
            "INSERT INTO ledger (origin, source, stored, duplicate, rejected)
             SELECT $1, * FROM unnest($2::text[], $3::bigint[], $4::bigint[], $5::bigint[])
             ON CONFLICT (origin, source) DO UPDATE SET
                 stored = ledger.stored + excluded.stored,
                 duplicate = ledger.duplicate + excluded.duplicate,
                 rejected = ledger.rejected + excluded.rejected",
            &[
                (&origin, Type::UUID),
                (&sources, Type::TEXT_ARRAY),
                (&column(|tally| tally.stored), Type::INT8_ARRAY),
                (&column(|tally| tally.duplicate), Type::INT8_ARRAY),
                (&column(|tally| tally.rejected), Type::INT8_ARRAY),
            ],
        )
        .await?;
    Ok(())
}

/// Whether the server refused a row for what is in it: data exceptions (class 22), violated
/// constraints (23), limits exceeded (54).
fn is_refusal(error: &Error) -> bool {
    error.code().is_some_and(|code| {
        matches!(code.code().get(..2), Some("22" | "23")) || code.code().starts_with("54")
    })
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

fn micros_of(row: &Row, column: usize) -> Micros {
    row.get::<_, jiff::Timestamp>(column).as_microsecond()
}

fn event_of(row: &Row) -> StoredEvent {
    StoredEvent {
        occurred_at: micros_of(row, 0),
        received_at: micros_of(row, 1),
        source: row.get(2),
        kind: row.get(3),
        severity: row.get(4),
        environment: row.get(5),
        service: row.get(6),
        process: row.get(7),
        message: row.get(8),
        stack_trace: row.get(9),
        attributes: row.get::<_, Option<Json<Box<RawValue>>>>(10).map(|json| json.0),
        fingerprint: row.get(11),
        messages: row.get(12),
    }
}

fn fault_of(row: &Row) -> StoredFault {
    StoredFault {
        id: row.get(0),
        environment: row.get(1),
        service: row.get(2),
        fingerprint: row.get(3),
        kind: row.get(4),
        severity: row.get(5),
        title: row.get(6),
        example: row.get(7),
        count: row.get(8),
        first_seen: micros_of(row, 9),
        last_seen: micros_of(row, 10),
    }
}

fn rejected_of(row: &Row) -> StoredRejected {
    StoredRejected {
        id: row.get(0),
        received_at: micros_of(row, 1),
        source: row.get(2),
        reason: row.get(3),
        bytes: row.get(4),
        length: row.get(5),
        messages: row.get(6),
    }
}
