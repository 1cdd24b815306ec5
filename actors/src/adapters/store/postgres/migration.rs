//! Brings the schema up to date.

use std::time::Duration;

use deadpool_postgres::Object;
use tokio::time::timeout;

use super::{Postgres, chain, unavailable};
use crate::adapters::store::StoreError;

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

/// Gives the migrations that were applied.
pub(super) async fn migrate(store: &Postgres) -> Result<Vec<String>, StoreError> {
    let runner = embedded::migrations::runner();
    // Not the pool's any more: when this is given up half-way, the lock must end with the session.
    let mut client = store.in_time(async { Ok(Object::take(store.client().await?)) }).await?;
    // Nothing to do, as nearly always: then no lock is needed that a dead hub might hold.
    let is_done = async {
        let applied = runner.get_applied_migrations_async(&mut *client).await;
        let applied = applied.map(|all| all.iter().map(refinery::Migration::checksum).collect());
        let wanted: Vec<u64> =
            runner.get_migrations().iter().map(refinery::Migration::checksum).collect();
        // An error says that there is no schema at all.
        Ok(applied.is_ok_and(|applied: Vec<u64>| applied == wanted))
    };
    if store.in_time(is_done).await? {
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
