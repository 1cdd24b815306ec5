//! Search for events: the blocks of a walk, read by the server as far as their signatures say.
//!
//! The events of a block are found by time, by a block range index (BRIN): it costs the writer
//! nothing, as long as nobody puts the newest rows into it. The server does that when it tidies up,
//! which may be long after; so each search has it done for the days that it looks at, beside its
//! own work.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use deadpool_postgres::{Pool, Transaction};
use tokio::sync::Semaphore;
use tokio_postgres::{
    Row,
    types::{ToSql, Type},
};

use super::{
    Postgres,
    partitions::DAY,
    row::{EVENT, event_of, micros_of},
    timestamp, unavailable,
};
use crate::{
    adapters::{
        clock,
        store::{
            StoreError, StoredEvent,
            search::{
                EventFilter, EventId, EventSearch, Found, Place,
                walk::{self, Blocks, Candidate, LAST_DENSE_STEP, Step, Wanted},
            },
        },
    },
    domain::{
        event::{Kind, Source},
        words::{Word, signature::probes},
    },
};

/// Compiling a query, or starting a second process for it, takes longer than running it; and without
/// statistics of the newest day, the server takes a look at all of it for quick.
const SETTINGS: &str = "SET LOCAL jit = off; SET LOCAL max_parallel_workers_per_gather = 0;
    SET LOCAL enable_seqscan = off";

const BLOCK: &str = "received_to, origin, last_sequence, last_ordinal, received_from,
    first_sequence, first_ordinal, events";

#[async_trait]
impl EventSearch for Postgres {
    async fn search(
        &self,
        filter: &EventFilter,
        before: Option<Place>,
        limit: u32,
        time: Duration,
    ) -> Result<Found, StoreError> {
        let work = async {
            let turn = self.searches.acquire().await;
            let _turn = turn.map_err(|error| StoreError::Unavailable(error.to_string()))?;
            let mut client = self.client().await?;
            let transaction = client.build_transaction().read_only(true).start();
            let transaction = transaction.await.map_err(unavailable)?;
            transaction.batch_execute(SETTINGS).await.map_err(unavailable)?;
            let blocks = OnServer { transaction, pool: &self.pool, summaries: &self.summaries };
            walk::search(&blocks, filter, before, limit, time).await
        };
        self.in_time(work).await
    }

    async fn event(&self, id: EventId) -> Result<Option<StoredEvent>, StoreError> {
        // The ranges of blocks hardly ever overlap.
        let blocks = self
            .query(
                "SELECT received_from, received_to FROM event_blocks
                 WHERE origin = $1 AND (last_sequence, last_ordinal) >= ($2, $3)
                     AND (first_sequence, first_ordinal) <= ($2, $3)
                 ORDER BY last_sequence, last_ordinal LIMIT 20",
                &[&id.origin, &id.sequence, &id.ordinal],
            )
            .await?;
        let sql = format!(
            "SELECT {EVENT} FROM events WHERE received_at BETWEEN $1 AND $2
                 AND origin = $3 AND sequence = $4 AND ordinal = $5"
        );
        for block in blocks {
            let (from, to): (jiff::Timestamp, jiff::Timestamp) = (block.get(0), block.get(1));
            let parameters: [&(dyn ToSql + Sync); 5] =
                [&from, &to, &id.origin, &id.sequence, &id.ordinal];
            if let Some(row) = self.query(&sql, &parameters).await?.first() {
                return Ok(Some(event_of(row)));
            }
        }
        Ok(None)
    }
}

struct OnServer<'a> {
    transaction: Transaction<'a>,
    pool: &'a Pool,
    summaries: &'a Summaries,
}

/// A parameter of a statement, with its type.
type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

impl OnServer<'_> {
    /// Not prepared: for each set of parameters the server leaves out the partitions that are not
    /// wanted.
    async fn query(&self, sql: &str, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, StoreError> {
        self.transaction.query_typed(sql, parameters).await.map_err(unavailable)
    }
}

#[async_trait]
impl Blocks for OnServer<'_> {
    async fn step(
        &self,
        wanted: &Wanted,
        below: Option<Place>,
        most: u32,
    ) -> Result<Step, StoreError> {
        let since = wanted.since.map(timestamp);
        let newest = wanted.newest.map(timestamp);
        let end = wanted.received_to_below().map(timestamp);
        let id = below.map_or(EventId { origin: 0, sequence: 0, ordinal: 0 }, |below| below.id);
        let below = below.map(|below| timestamp(below.received_at));
        let mut parameters: Vec<Parameter<'_>> = Vec::new();
        let mut conditions = vec!["true".to_owned()];
        for (column, value) in [
            ("received_to >=", &since),
            ("received_from <=", &newest),
            ("received_to <", &end),
            // Says nothing new, but which partitions to leave out.
            ("received_to <=", &below),
        ] {
            if let Some(value) = value {
                parameters.push((value, Type::TIMESTAMPTZ));
                conditions.push(format!("{column} ${}", parameters.len()));
            }
        }
        if below.is_some() {
            let at = parameters.len();
            conditions.push(format!(
                "(received_to, origin, last_sequence, last_ordinal) < (${at}, ${}, ${}, ${})",
                at + 1,
                at + 2,
                at + 3
            ));
            parameters.push((&id.origin, Type::INT4));
            parameters.push((&id.sequence, Type::INT8));
            parameters.push((&id.ordinal, Type::INT4));
        }
        let through = if most <= LAST_DENSE_STEP {
            "sum(events) OVER (ROWS UNBOUNDED PRECEDING)"
        } else {
            "NULL::bigint"
        };
        // The last block of the step comes behind those that are wanted, wanted or not.
        let sql = format!(
            "WITH step AS MATERIALIZED (
                 SELECT {BLOCK}, {} AS may FROM event_blocks WHERE {}
                 ORDER BY received_to DESC, origin DESC, last_sequence DESC, last_ordinal DESC
                 LIMIT {most}
             )
             SELECT * FROM (SELECT {BLOCK}, {through}, may, false FROM step) AS wanted WHERE may
             UNION ALL
             (SELECT {BLOCK}, NULL, may, true FROM step OFFSET {})",
            may_hold(&wanted.words),
            conditions.join(" AND "),
            most - 1,
        );
        let mut step = Step::default();
        for row in self.query(&sql, &parameters).await? {
            let block = candidate_of(&row);
            if row.get(10) {
                step.next = Some(block.upper);
            } else {
                step.blocks.push(block);
            }
        }
        Ok(step)
    }

    async fn events(
        &self,
        blocks: &[Candidate],
        filter: &EventFilter,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let upper = blocks[0].upper.received_at;
        self.summaries.ask(self.pool, upper.div_euclid(DAY)).await;
        let from = blocks.iter().map(|block| block.received_from).min().unwrap_or(upper);
        let (from, to) = (timestamp(from), timestamp(upper));
        let mut sql = format!("SELECT {EVENT} FROM events WHERE received_at BETWEEN $1 AND $2");
        let mut parameters: Vec<Parameter<'_>> =
            vec![(&from, Type::TIMESTAMPTZ), (&to, Type::TIMESTAMPTZ)];
        // Of a record with very many events, only those of the block.
        if let [Candidate { upper, first, .. }] = blocks {
            sql.push_str(" AND origin = $3 AND (sequence, ordinal) BETWEEN ($4, $5) AND ($6, $7)");
            parameters.push((&upper.id.origin, Type::INT4));
            parameters.push((&first.0, Type::INT8));
            parameters.push((&first.1, Type::INT4));
            parameters.push((&upper.id.sequence, Type::INT8));
            parameters.push((&upper.id.ordinal, Type::INT4));
        }
        let (kind, source) = (filter.kind.map(Kind::name), filter.source.map(Source::name));
        let severities = filter.severities();
        // What does not fit by these is not sent.
        for (column, value, is_one) in [
            (
                "environment",
                filter.environment.as_ref().map(|one| one as &(dyn ToSql + Sync)),
                true,
            ),
            ("service", filter.service.as_ref().map(|one| one as _), true),
            ("kind", kind.as_ref().map(|one| one as _), true),
            ("source", source.as_ref().map(|one| one as _), true),
            ("severity", severities.as_ref().map(|all| all as _), false),
            ("fingerprint", filter.fingerprints.as_ref().map(|all| all as _), false),
        ] {
            let Some(value) = value else { continue };
            parameters.push((value, if is_one { Type::TEXT } else { Type::TEXT_ARRAY }));
            let at = parameters.len();
            let condition = if is_one { format!("${at}") } else { format!("ANY(${at})") };
            sql.push_str(&format!(" AND {column} = {condition}"));
        }
        Ok(self.query(&sql, &parameters).await?.iter().map(event_of).collect())
    }
}

fn candidate_of(row: &Row) -> Candidate {
    let id = EventId { origin: row.get(1), sequence: row.get(2), ordinal: row.get(3) };
    Candidate {
        upper: Place { received_at: micros_of(row, 0), id },
        received_from: micros_of(row, 4),
        first: (row.get(5), row.get(6)),
        rows: (0, 0),
        through: row.get(8),
        events: row.get::<_, i32>(7).into(),
    }
}

/// The expression for [`may_hold`](crate::domain::words::signature::may_hold) of one word of each
/// group.
fn may_hold(groups: &[Vec<Word>]) -> String {
    let bit = |probe: u64| {
        format!("get_bit(signature, ({probe} % (octet_length(signature) * 8))::int) = 1")
    };
    let word = |word: &Word| format!("({})", probes(*word).map(bit).join(" AND "));
    let any = |group: &Vec<Word>| match group.as_slice() {
        [] => "false".to_owned(),
        group => format!("({})", group.iter().map(word).collect::<Vec<_>>().join(" OR ")),
    };
    match groups {
        [] => "true".to_owned(),
        _ => format!(
            "(signature IS NULL OR {})",
            groups.iter().map(any).collect::<Vec<_>>().join(" AND ")
        ),
    }
}

/// When each day's rows were put into its block range index last, as far as this process knows.
#[derive(Clone)]
pub(super) struct Summaries {
    asked: Arc<Mutex<BTreeMap<i64, Instant>>>,
    /// One at a time: the others' connections are for others.
    turn: Arc<Semaphore>,
}

impl Default for Summaries {
    fn default() -> Self {
        Self { asked: Arc::default(), turn: Arc::new(Semaphore::new(1)) }
    }
}

impl Summaries {
    /// To the newest day rows come all the time.
    const AGAIN: Duration = Duration::from_secs(1);
    /// To a past day, only what was held up.
    const AGAIN_OF_PAST: Duration = Duration::from_mins(10);
    /// The search waits for it so long: it takes 0.4 µs a row.
    const PATIENCE: Duration = Duration::from_millis(40);
    /// Tidying up holds the same lock; it must not be disturbed, as it would be after a second.
    const SETTINGS: &'static str = "SET lock_timeout = '100ms'; SET statement_timeout = '30s'";
    const RESET: &'static str = "RESET lock_timeout; RESET statement_timeout";

    /// Has the rows of `day` put into the index, where that was not done just now.
    async fn ask(&self, pool: &Pool, day: i64) {
        let asked = self.asked.clone();
        let set = move || {
            asked.lock().unwrap_or_else(PoisonError::into_inner).insert(day, Instant::now())
        };
        let last = self.asked.lock().unwrap_or_else(PoisonError::into_inner).get(&day).copied();
        let is_past = day < clock::now().div_euclid(DAY);
        let again = if is_past { Self::AGAIN_OF_PAST } else { Self::AGAIN };
        if last.is_some_and(|at| at.elapsed() < again) {
            return;
        }
        let Ok(turn) = self.turn.clone().try_acquire_owned() else { return };
        set();
        let pool = pool.clone();
        let work = tokio::spawn(async move {
            if let Err(error) = summarize(&pool, day).await {
                tracing::debug!(error, day, "the newest rows are not in their index yet");
            }
            set();
            drop(turn);
        });
        let _ = tokio::time::timeout(Self::PATIENCE, work).await;
    }
}

async fn summarize(pool: &Pool, day: i64) -> Result<(), String> {
    let date =
        jiff::Timestamp::from_second(day * (DAY / 1_000_000)).map_err(|error| error.to_string())?;
    let client = pool.get().await.map_err(|error| error.to_string())?;
    client.batch_execute(Summaries::SETTINGS).await.map_err(|error| error.to_string())?;
    let outcome = client
        .query_typed(
            "SELECT brin_summarize_new_values(i.indexrelid) FROM pg_index i
                 JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam
             WHERE i.indrelid = to_regclass($1) AND a.amname = 'brin'",
            &[(&format!("events_{}", date.strftime("%Y%m%d")), Type::TEXT)],
        )
        .await;
    client.batch_execute(Summaries::RESET).await.map_err(|error| error.to_string())?;
    outcome.map(drop).map_err(|error| error.to_string())
}
