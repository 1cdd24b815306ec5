//! Notifications in SQLite, written with what they are about.

use rusqlite::{Transaction, params};

use crate::{
    adapters::{clock, store::StoreError},
    domain::notification::Notification,
};

/// Writes a notification, and gives up the oldest.
pub(super) fn notify(
    transaction: &Transaction<'_>,
    notification: &Notification,
) -> Result<(), StoreError> {
    let Notification { urgency, component, title, body, link } = notification;
    transaction
        .prepare_cached(
            "INSERT INTO notifications (at, severity, component, title, body, link)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![clock::now(), urgency.name(), component, title, body, link])?;
    transaction
        .prepare_cached(
            "DELETE FROM notifications WHERE id <= (
                 SELECT id FROM notifications ORDER BY id DESC LIMIT 1 OFFSET ?1)",
        )?
        .execute([Notification::KEPT])?;
    Ok(())
}
