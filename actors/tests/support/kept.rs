//! Stores with days of events in them, and retention at work there.
#![allow(dead_code, reason = "each test file uses its part")]

use std::{
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use faultline_actors::{
    adapters::{
        clock,
        journal::Origin,
        store::{Commit, Store, postgres::Postgres, sqlite::Sqlite, statistics::Days},
    },
    domain::{
        batch::Batch,
        event::Source,
        retention::{day_of, moments_of},
        time::DAY,
    },
    retention::{
        Retention, Settings, Status, Work,
        restore::{self, Failure},
    },
    stage::{Finish, Live},
};
use faultline_testkit::{database::Database, eventually, program::frames};
use kameo::actor::{ActorRef, Spawn};
use uuid::Uuid;

use crate::batches::batch_at;

pub(crate) const DAYS: i64 = 90;
pub(crate) const KEPT: Duration = Duration::from_hours(30 * 24);
pub(crate) const WEEK: Duration = Duration::from_hours(7 * 24);

/// A store, the way around it, and a directory for archives.
pub(crate) struct Kept {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) database: Arc<Database>,
    pub(crate) archive: PathBuf,
}

/// What a day has: a report with attributes, a request, a line that is no text, a trace.
pub(crate) fn of_day(sequence: u64, at: i64, day: i64) -> Vec<Arc<Batch>> {
    let report = format!(
        r#"{{"message":"it broke","service":"shop","attributes":{{"n": 1.50,  "day":{day},"é":"\u0041"}},
            "stackTrace":"Error: it broke\n    at pay (app.js:1:2)"}}"#
    );
    let lines = frames([
        format!("<190>1 2026-11-22T03:00:07+00:00 host app web.1 - all is well, day-{day}\n").as_bytes(),
        b"<187>1 2026-11-22T03:00:08+00:00 host app web.1 - caf\xe9 \x00 closed\n",
        b"<158>1 2026-11-22T03:00:09+00:00 host heroku router - at=info method=GET path=\"/a\" \
          host=example.com request_id=x fwd=\"1.2.3.4\" dyno=web.1 connect=0ms service=5ms status=200 \
          bytes=10 protocol=https\n",
    ]);
    vec![
        batch_at(sequence, Source::Errors, report.as_bytes(), at),
        batch_at(sequence + 1, Source::Logdrains, &lines, at + 7),
    ]
}

/// Stores ninety days, each in a commit; gives their journal, and the position after them.
pub(crate) async fn fill(store: &dyn Store) -> (Origin, u64) {
    fill_days(store, 0..DAYS).await
}

/// Likewise for the days of these ages.
pub(crate) async fn fill_days(store: &dyn Store, ages: Range<i64>) -> (Origin, u64) {
    let origin = Origin::now_v7();
    store.position(origin).await.unwrap();
    let today = moments_of(day_of(clock::now())).0;
    let mut after = 0;
    for age in ages.rev() {
        let at = today - age * DAY + 1_000;
        let batches = of_day(after + 1, at, age);
        store.commit(&Commit { origin, after, batches }).await.unwrap();
        after += 2;
    }
    (origin, after)
}

impl Kept {
    /// Every column of every event.
    pub(crate) async fn events(&self) -> Vec<String> {
        let bytes = match &*self.database {
            Database::Sqlite(_) => "hex(message_bytes)",
            Database::Postgres(_) => "upper(encode(message_bytes, 'hex'))",
        };
        let or = |column: &str| format!("coalesce(CAST({column} AS text), 'none')");
        let optional =
            ["process", "stack_trace", "attributes", "priority", "fingerprint"].map(or).join(", ");
        let sql = format!(
            "SELECT concat_ws('|', origin, sequence, ordinal, received_at, occurred_at, source, kind,
                 severity, environment, service, message,
                 CASE WHEN message_bytes IS NULL THEN 'none' ELSE {bytes} END, messages, {optional})
             FROM events ORDER BY origin, sequence, ordinal"
        );
        self.database.texts(&sql).await
    }

    pub(crate) async fn statistics(&self) -> (Vec<String>, Vec<String>, i64) {
        let days =
            "SELECT concat_ws('|', day, environment, service, kind, severity, source, events,
            messages) FROM daily_statistics ORDER BY 1";
        let faults = "SELECT concat_ws('|', fingerprint, count, first_seen, last_seen) FROM faults
            ORDER BY 1";
        let hours = "SELECT CAST(sum(count) AS bigint) FROM fault_hours";
        (
            self.database.texts(days).await,
            self.database.texts(faults).await,
            self.database.number(hours).await,
        )
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings {
            events: KEPT,
            archive: self.archive.clone(),
            every: Duration::from_secs(1),
            share: 1.0,
            ..Settings::default()
        }
    }

    /// Starts retention, as a hub does.
    pub(crate) fn start(&self, settings: Settings) -> Hub {
        let status = Arc::<Status>::default();
        let work = Arc::new(Work {
            settings: Live::new(settings),
            store: self.store.clone(),
            holder: Uuid::now_v7(),
            status: status.clone(),
        });
        Hub { actor: Retention::spawn(Retention::new(work.clone())), work }
    }

    /// Lets it do all that there is to do.
    pub(crate) async fn retain(&self, settings: Settings) {
        let hub = self.start(settings);
        hub.done().await;
        hub.finish().await;
    }

    /// Has it try; gives what is wrong.
    pub(crate) async fn fail(&self, settings: Settings) -> String {
        let hub = self.start(settings);
        let look = async || hub.work.status.look().problem.ok_or("");
        let problem = eventually("it fails", look).await;
        hub.finish().await;
        problem
    }

    /// A moment in SQL.
    pub(crate) fn at(&self, moment: i64) -> String {
        match &*self.database {
            Database::Sqlite(_) => moment.to_string(),
            Database::Postgres(_) => format!("to_timestamp({moment} / 1e6)"),
        }
    }

    /// The archives, the oldest first.
    pub(crate) fn archives(&self) -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir(&self.archive) else { return Vec::new() };
        let mut paths: Vec<PathBuf> = entries
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "zst"))
            .collect();
        paths.sort();
        paths
    }

    pub(crate) async fn restore(&self, path: &Path) -> Result<u64, Failure> {
        let mut seen = 0;
        let restored = restore::restore(&*self.store, path, WEEK, |back, all| {
            assert!(back >= seen && back <= all);
            seen = back;
        })
        .await?;
        assert_eq!(seen, restored.manifest.events);
        Ok(restored.events)
    }

    /// The days that it has, as ages.
    pub(crate) async fn ages(&self) -> Vec<i64> {
        let today = moments_of(day_of(clock::now())).0;
        let days = self.store.event_days().await.unwrap();
        let mut ages: Vec<i64> =
            days.iter().map(|it| (today - moments_of(it.day).0) / DAY).collect();
        ages.reverse();
        // PostgreSQL makes tomorrow's ahead.
        ages.retain(|age| *age >= 0);
        ages
    }

    /// How many counts differ, of days of which there are events; PostgreSQL makes a partition ahead.
    pub(crate) async fn recounted(&self) -> usize {
        let mut differ = 0;
        let day = match &*self.database {
            Database::Sqlite(_) => "date(received_at / 1000000, 'unixepoch')",
            Database::Postgres(_) => "CAST((received_at AT TIME ZONE 'UTC')::date AS text)",
        };
        let sql = format!("SELECT DISTINCT {day} FROM events ORDER BY 1");
        for day in self.database.texts(&sql).await {
            let day = day.parse().unwrap();
            let recount = self.store.recount(Days { since: day, until: day }).await.unwrap();
            assert!(!recount.kept.is_empty());
            differ += recount.differences().len();
        }
        differ
    }
}

pub(crate) struct Hub {
    pub(crate) actor: ActorRef<Retention>,
    pub(crate) work: Arc<Work>,
}

impl Hub {
    pub(crate) async fn done(&self) {
        eventually("all that was old has left", async || {
            let state = self.work.status.look();
            state.last_success.map(drop).ok_or(state.problem)
        })
        .await;
    }

    pub(crate) async fn finish(self) {
        self.actor.ask(Finish).await.unwrap();
        self.actor.kill();
    }
}

pub(crate) async fn sqlite(directory: &Path, name: &str) -> Kept {
    let path = directory.join(format!("{name}.db"));
    let store = Sqlite::open(&path).unwrap();
    store.migrate().await.unwrap();
    let archive = directory.join(name).join("archive");
    Kept { store: Arc::new(store), database: Arc::new(Database::Sqlite(path)), archive }
}

pub(crate) fn postgres(url: &str) -> Arc<dyn Store> {
    let timeout = Duration::from_secs(30);
    Arc::new(Postgres::new(url, 8, timeout, timeout).unwrap())
}

/// Holds both stores to promises, each in a store of its own.
macro_rules! promises {
    ($($promise:ident),+ $(,)?) => {
        #[tokio::test]
        async fn sqlite_conforms() {
            let directory = tempfile::tempdir().unwrap();
            $($promise(&sqlite(directory.path(), stringify!($promise)).await).await;)+
        }

        #[tokio::test]
        async fn postgres_conforms() {
            let directory = tempfile::tempdir().unwrap();
            let server = faultline_testkit::postgres::Postgres::start();
            let database = Arc::new(Database::Postgres(Box::new(server)));
            $({
                database.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public").await;
                let store = postgres(&database.url());
                store.migrate().await.unwrap();
                let archive = directory.path().join(stringify!($promise)).join("archive");
                $promise(&Kept { store, database: database.clone(), archive }).await;
            })+
        }
    };
}
pub(crate) use promises;
