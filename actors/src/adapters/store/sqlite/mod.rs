//! The SQLite store: one file, no server; the default.
//!
//! WAL with `synchronous = FULL`: a commit is durable before its position is acknowledged to the
//! journal. One connection writes; another one reads, so that a person's query does not hold up
//! the pipeline.

use std::{
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use refinery::Runner;
use rusqlite::{Connection, params};

use self::row::{FAULT, audit_of, fault_of, rejected_of, rows, shape_of};
use super::{
    AuditEntry, Closest, Commit, Committed, FaultDetail, Placed, Position, Store, StoreError,
    StoredFault, StoredRejected, TeachError, as_u64,
    assignments::{Assignments, TEMPLATES},
    compare, schema, would_join,
};
use crate::{
    adapters::{clock, journal::Origin},
    domain::{
        event::Source, fault::FaultId, ledger::Tally, lesson::Lesson, shape::Shape, time::Micros,
    },
};

mod access;
mod alerts;
mod buckets;
mod commit;
mod conditions;
mod dispatch;
mod fault_store;
mod faults;
mod health;
mod job_store;
mod jobs;
mod leaving;
mod lessons;
mod live;
mod notifications;
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

mod migrations {
    refinery::embed_migrations!("../migrations/sqlite");
}

/// So long one who uses the file waits for another one.
const BUSY: std::time::Duration = std::time::Duration::from_secs(10);
/// A migration that failed is tried so often again, after this wait.
const MIGRATION_TRIES: u32 = 5;
const MIGRATION_WAIT: std::time::Duration = std::time::Duration::from_millis(100);

/// See the [module](self).
pub struct Sqlite {
    writer: Arc<Mutex<Connection>>,
    reader: Arc<Mutex<Connection>>,
    assignments: Arc<Mutex<Assignments>>,
}

impl Sqlite {
    /// Opens the file at `path`, making it and its directory where they are missing.
    ///
    /// # Errors
    /// When that cannot be done.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        if let Some(directory) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            std::fs::create_dir_all(directory).map_err(|error| {
                StoreError::Unavailable(format!("{}: {error}", directory.display()))
            })?;
        }
        Self::connect(path)
            .map_err(|error| StoreError::Unavailable(format!("{}: {error}", path.display())))
    }

    /// A store that is gone when it is dropped.
    ///
    /// # Errors
    /// When SQLite cannot make it.
    pub fn in_memory() -> Result<Self, StoreError> {
        // Two connections see the same one by its name.
        static STORES: AtomicU64 = AtomicU64::new(0);
        let number = STORES.fetch_add(1, Ordering::Relaxed);
        let name = format!("file:faultline-{number}?mode=memory&cache=shared");
        Ok(Self::connect(Path::new(&name))?)
    }

    fn connect(path: &Path) -> rusqlite::Result<Self> {
        let connect = || -> rusqlite::Result<Connection> {
            let connection = Connection::open(path)?;
            connection.busy_timeout(BUSY)?;
            // Of a new file only: it gives what retention deletes back to the disk.
            connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "synchronous", "FULL")?;
            // 8 MiB of pages: the pipeline only appends, and the fault index stays hot.
            connection.pragma_update(None, "cache_size", -8_192)?;
            Ok(connection)
        };
        Ok(Self {
            writer: Arc::new(Mutex::new(connect()?)),
            reader: Arc::new(Mutex::new(connect()?)),
            assignments: Arc::new(Mutex::new(Assignments::new())),
        })
    }
}

/// Of no migrations, where there is no schema at all.
fn check(runner: &Runner, connection: &mut Connection) -> Result<(), StoreError> {
    schema::check(&runner.get_applied_migrations(connection).unwrap_or_default(), runner)
}

/// Runs `work` on a thread that may block.
async fn on<T: Send + 'static, E: From<StoreError> + Send + 'static>(
    connection: &Arc<Mutex<Connection>>,
    work: impl FnOnce(&mut Connection) -> Result<T, E> + Send + 'static,
) -> Result<T, E> {
    let connection = connection.clone();
    tokio::task::spawn_blocking(move || {
        work(&mut connection.lock().unwrap_or_else(PoisonError::into_inner))
    })
    .await
    .map_err(|error| StoreError::Unavailable(error.to_string()))?
}

#[async_trait]
impl Store for Sqlite {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    async fn migrate(&self) -> Result<Vec<String>, StoreError> {
        on(&self.writer, |connection| {
            // One by one, a migration and the note that it was applied are two transactions.
            let runner = migrations::migrations::runner().set_grouped(true);
            check(&runner, connection)?;
            let mut outcome = runner.run(connection);
            // Another process may be at it: it takes milliseconds, and then nothing is left to do.
            for _ in 0..MIGRATION_TRIES {
                if outcome.is_ok() {
                    break;
                }
                std::thread::sleep(MIGRATION_WAIT);
                outcome = runner.run(connection);
            }
            let report = outcome.map_err(|error| StoreError::Unavailable(error.to_string()))?;
            Ok(report.applied_migrations().iter().map(ToString::to_string).collect())
        })
        .await
    }

    async fn check_schema(&self) -> Result<(), StoreError> {
        on(&self.writer, |connection| check(&migrations::migrations::runner(), connection)).await
    }

    async fn position(&self, origin: Origin) -> Result<Position, StoreError> {
        on(&self.writer, move |connection| {
            connection.execute(
                "INSERT INTO journal_positions (origin, sequence, updated_at) VALUES (?1, 0, ?2)
                 ON CONFLICT (origin) DO NOTHING",
                params![origin.to_string(), clock::now()],
            )?;
            let sequence = position_of(connection, origin)?;
            let mut settled = [Tally::default(); Source::COUNT];
            let mut own = settled;
            let mut totals = connection.prepare(
                "SELECT source, sum(stored), sum(duplicate), sum(rejected),
                     coalesce(sum(stored) FILTER (WHERE origin = ?1), 0),
                     coalesce(sum(duplicate) FILTER (WHERE origin = ?1), 0),
                     coalesce(sum(rejected) FILTER (WHERE origin = ?1), 0)
                 FROM ledger GROUP BY source",
            )?;
            let mut rows = totals.query([origin.to_string()])?;
            while let Some(row) = rows.next()? {
                let tally = |from: usize| -> rusqlite::Result<Tally> {
                    let (stored, duplicate, rejected) =
                        (row.get(from)?, row.get(from + 1)?, row.get(from + 2)?);
                    Ok(Tally {
                        received: 0,
                        stored: as_u64(stored),
                        duplicate: as_u64(duplicate),
                        rejected: as_u64(rejected),
                    })
                };
                if let Some(source) = Source::from_name(&row.get::<_, String>(0)?) {
                    settled[source as usize] = tally(1)?;
                    own[source as usize] = tally(4)?;
                }
            }
            Ok(Position { sequence, settled, own })
        })
        .await
    }

    async fn commit(&self, commit: &Commit) -> Result<Committed, StoreError> {
        let (commit, assignments) = (commit.clone(), self.assignments.clone());
        on(&self.writer, move |connection| {
            let mut assignments = assignments.lock().unwrap_or_else(PoisonError::into_inner);
            commit::commit(connection, &commit, &mut assignments)
        })
        .await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        on(&self.reader, |connection| {
            connection.query_row("SELECT 1", [], |_| Ok(())).map_err(StoreError::from)
        })
        .await
    }

    async fn save_snapshot(&self, taken_at: Micros, snapshot: &str) -> Result<(), StoreError> {
        let snapshot = snapshot.to_owned();
        on(&self.writer, move |connection| {
            connection.execute(
                "INSERT INTO metric_snapshots (taken_at, snapshot) VALUES (?1, ?2)
                 ON CONFLICT (taken_at) DO NOTHING",
                params![taken_at, snapshot],
            )?;
            Ok(())
        })
        .await
    }

    async fn faults(&self, limit: u32) -> Result<Vec<StoredFault>, StoreError> {
        on(&self.reader, move |connection| {
            rows(
                connection,
                &format!(
                    "SELECT {FAULT} FROM faults WHERE merged_into IS NULL
                     ORDER BY last_seen DESC, id DESC LIMIT ?1"
                ),
                params![limit],
                fault_of,
            )
        })
        .await
    }

    async fn fault(&self, id: FaultId) -> Result<Option<FaultDetail>, StoreError> {
        on(&self.reader, move |connection| {
            let sql = format!("SELECT {FAULT} FROM faults WHERE id = ?1");
            let mut faults = rows(connection, &sql, params![id], fault_of)?;
            let Some(fault) = faults.pop() else { return Ok(None) };
            let mut shapes = rows(
                connection,
                "SELECT fingerprint, title, why, detail, count, first_seen, last_seen, template
                 FROM fault_shapes WHERE fault = ?1 ORDER BY id",
                params![id],
                shape_of,
            )?;
            compare(id, &mut shapes);
            Ok(Some(FaultDetail { fault, shapes }))
        })
        .await
    }

    async fn place(
        &self,
        environment: &str,
        service: &str,
        shape: &Shape,
    ) -> Result<Option<Placed>, StoreError> {
        let (scope, shape) = ((environment.to_owned(), service.to_owned()), shape.clone());
        on(&self.reader, move |connection| {
            let known = rows(
                connection,
                "SELECT fault, why, detail FROM fault_shapes
                 WHERE environment = ?1 AND service = ?2 AND fingerprint = ?3",
                params![scope.0, scope.1, shape.fingerprint.to_string()],
                |row| Ok((row.get(0)?, true, row.get(1)?, row.get(2)?)),
            )?;
            let joins = || -> Result<_, StoreError> {
                let templates = templates(connection, &scope.0, &scope.1)?;
                let found = would_join(templates.into_iter(), &shape);
                Ok(found.map(|(fault, why)| {
                    (fault, false, why.name().to_owned(), why.detail().to_owned())
                }))
            };
            let found = match known.into_iter().next() {
                Some(known) => Some(known),
                None => joins()?,
            };
            let Some((fault, is_known, why, detail)) = found else { return Ok(None) };
            let title =
                connection.query_row("SELECT title FROM faults WHERE id = ?1", [fault], |row| {
                    row.get(0)
                })?;
            Ok(Some(Placed { fault, title, is_known, why, detail }))
        })
        .await
    }

    async fn closest(
        &self,
        environment: &str,
        service: &str,
        shape: &Shape,
    ) -> Result<Option<Closest>, StoreError> {
        let (scope, shape) = ((environment.to_owned(), service.to_owned()), shape.clone());
        on(&self.reader, move |connection| {
            let templates = templates(connection, &scope.0, &scope.1)?;
            Ok(Closest::among(templates.into_iter(), &shape.template))
        })
        .await
    }

    async fn teach(&self, lesson: &Lesson, who: &str) -> Result<FaultId, TeachError> {
        let (lesson, who) = (lesson.clone(), who.to_owned());
        on(&self.writer, move |connection| lessons::teach(connection, &lesson, &who)).await
    }

    async fn audit(&self, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
        on(&self.reader, move |connection| {
            rows(
                connection,
                "SELECT id, at, who, action, subject, details, fault, job FROM audit_trail
                 ORDER BY id DESC LIMIT ?1",
                params![limit],
                audit_of,
            )
        })
        .await
    }

    async fn rejected(&self, limit: u32) -> Result<Vec<StoredRejected>, StoreError> {
        on(&self.reader, move |connection| {
            rows(
                connection,
                "SELECT id, received_at, source, reason, bytes, length, messages, replayed_at
                 FROM rejected
                 ORDER BY id DESC LIMIT ?1",
                params![limit],
                rejected_of,
            )
        })
        .await
    }
}

/// The newest templates, newest first.
fn templates(
    connection: &Connection,
    environment: &str,
    service: &str,
) -> Result<Vec<(String, FaultId)>, StoreError> {
    rows(
        connection,
        "SELECT template, fault FROM fault_shapes
         WHERE environment = ?1 AND service = ?2 AND template <> '' ORDER BY id DESC LIMIT ?3",
        params![environment, service, TEMPLATES],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Unavailable(error.to_string())
    }
}

fn position_of(connection: &Connection, origin: Origin) -> Result<u64, StoreError> {
    let sequence: i64 = connection.query_row(
        "SELECT sequence FROM journal_positions WHERE origin = ?1",
        [origin.to_string()],
        |row| row.get(0),
    )?;
    Ok(as_u64(sequence))
}
