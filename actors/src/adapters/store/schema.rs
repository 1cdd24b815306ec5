//! Whether this program knows the schema that it finds.

use refinery::{Migration, Runner};

use super::StoreError;

/// # Errors
/// When a newer program has brought it further than this one knows.
pub(super) fn check(applied: &[Migration], runner: &Runner) -> Result<(), StoreError> {
    let latest = |all: &[Migration]| all.iter().map(Migration::version).max().unwrap_or_default();
    let (applied, known) = (latest(applied), latest(runner.get_migrations()));
    if applied <= known {
        return Ok(());
    }
    Err(StoreError::Unavailable(format!(
        "its schema has version {applied}, this program knows {known} at most: start the newer \
         program that made it, or restore a back-up"
    )))
}
