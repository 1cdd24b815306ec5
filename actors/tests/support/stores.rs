//! Stores for conformance suites, ready to be used.

use std::{sync::Arc, time::Duration};

use faultline_actors::adapters::store::{Store, postgres::Postgres, sqlite::Sqlite};

/// In memory.
pub(crate) async fn sqlite() -> Arc<dyn Store> {
    let store = Sqlite::in_memory().unwrap();
    store.migrate().await.unwrap();
    Arc::new(store)
}

/// In this server, beside what is there.
pub(crate) async fn postgres(server: &faultline_testkit::postgres::Postgres) -> Arc<dyn Store> {
    let timeout = Duration::from_secs(10);
    let store = Postgres::new(&server.url(), 8, timeout, timeout).unwrap();
    store.migrate().await.unwrap();
    Arc::new(store)
}

/// In this server, and nothing else.
pub(crate) async fn emptied(server: &faultline_testkit::postgres::Postgres) -> Arc<dyn Store> {
    server.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public").await;
    postgres(server).await
}
