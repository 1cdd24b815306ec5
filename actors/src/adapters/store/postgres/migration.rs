//! Brings the schema up to date.

use std::time::Duration;

use deadpool_postgres::Object;
use refinery::{Migration, Runner};
use tokio::time::timeout;
use tokio_postgres::Client;

use super::{Postgres, chain, unavailable};
use crate::adapters::store::{StoreError, schema};

mod embedded {
    refinery::embed_migrations!("../migrations/postgres");
}

/// The key of an advisory lock; any number that nobody else uses.
const LOCK: i64 = 0x666C_7431;

/// No migration takes longer.
const LIMIT: Duration = Duration::from_hours(1);

/// A hub that is cut off while it migrates holds up all others, which wait for its lock; the server
/// ends such a session after this time (from version 14 on, else when TCP gives up).
const END_OF_THE_CUT_OFF: &str = "SELECT set_config('idle_session_timeout', '10s', false)
     WHERE current_setting('server_version_num')::int >= 140000";

/// Those that were applied; none where there is no schema at all.
async fn applied(runner: &Runner, client: &mut Client) -> Vec<Migration> {
    runner.get_applied_migrations_async(client).await.unwrap_or_default()
}

pub(super) async fn check(store: &Postgres) -> Result<(), StoreError> {
    let runner = embedded::migrations::runner();
    let look = async { Ok(applied(&runner, &mut *store.client().await?).await) };
    schema::check(&store.in_time(look).await?, &runner)
}

/// Gives the migrations that were applied.
pub(super) async fn migrate(store: &Postgres) -> Result<Vec<String>, StoreError> {
    let runner = embedded::migrations::runner();
    // Not the pool's any more: when this is given up half-way, the lock must end with the session.
    let mut client = store.in_time(async { Ok(Object::take(store.client().await?)) }).await?;
    // Nothing to do, as nearly always: then no lock is needed that a dead hub might hold.
    let applied = store.in_time(async { Ok(applied(&runner, &mut client).await) }).await?;
    schema::check(&applied, &runner)?;
    let known = runner.get_migrations();
    if applied.iter().map(Migration::checksum).eq(known.iter().map(Migration::checksum)) {
        return Ok(Vec::new());
    }
    let work = async {
        client.batch_execute(END_OF_THE_CUT_OFF).await.map_err(unavailable)?;
        // Several hubs may start at once.
        client.execute("SELECT pg_advisory_lock($1)", &[&LOCK]).await.map_err(unavailable)?;
        let report = runner.run_async(&mut *client).await;
        let unlocked = client.execute("SELECT pg_advisory_unlock($1)", &[&LOCK]).await;
        let report = report.map_err(|error| StoreError::Unavailable(chain(&error)))?;
        unlocked.map_err(unavailable)?;
        Ok(report.applied_migrations().iter().map(ToString::to_string).collect())
    };
    timeout(LIMIT, work).await.unwrap_or_else(|_| {
        Err(StoreError::Unavailable(format!("the schema is not up to date within {LIMIT:?}")))
    })
}
