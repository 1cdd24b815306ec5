//! What a store holds, read around the program: its tables, by SQL.

use std::path::PathBuf;

use crate::postgres::{Held, Postgres};

/// Where a program under test stores.
pub enum Database {
    Sqlite(PathBuf),
    Postgres(Box<Postgres>),
}

impl Database {
    /// The value of `store.url`.
    #[must_use]
    pub fn url(&self) -> String {
        match self {
            Self::Sqlite(path) => format!("sqlite://{}", path.display()),
            Self::Postgres(postgres) => postgres.url(),
        }
    }

    /// Runs statements.
    ///
    /// # Panics
    /// When one fails.
    pub async fn execute(&self, sql: &str) {
        match self {
            Self::Sqlite(path) => open(path).execute_batch(sql).unwrap(),
            Self::Postgres(postgres) => postgres.execute(sql).await,
        }
    }

    /// See [`Postgres::hold`].
    ///
    /// # Panics
    /// When it is no PostgreSQL.
    pub async fn hold(&self, table: &str) -> Held {
        match self {
            Self::Sqlite(_) => panic!("it stores in SQLite"),
            Self::Postgres(postgres) => postgres.hold(table).await,
        }
    }

    /// The single number that a query gives.
    ///
    /// # Panics
    /// When it gives anything else.
    pub async fn number(&self, sql: &str) -> i64 {
        match self {
            Self::Sqlite(path) => open(path).query_row(sql, [], |row| row.get(0)).unwrap(),
            Self::Postgres(postgres) => postgres.number(sql).await,
        }
    }

    /// The first column of a query's rows.
    ///
    /// # Panics
    /// When it is no text.
    pub async fn texts(&self, sql: &str) -> Vec<String> {
        match self {
            Self::Sqlite(path) => {
                let database = open(path);
                let mut statement = database.prepare(sql).unwrap();
                let rows = statement.query_map([], |row| row.get(0)).unwrap();
                rows.map(Result::unwrap).collect()
            }
            Self::Postgres(postgres) => {
                let rows = postgres.client().await.query(sql, &[]).await.unwrap();
                rows.iter().map(|row| row.get(0)).collect()
            }
        }
    }
}

fn open(path: &PathBuf) -> rusqlite::Connection {
    let database = rusqlite::Connection::open(path).unwrap();
    database.busy_timeout(crate::PATIENCE).unwrap();
    database
}
