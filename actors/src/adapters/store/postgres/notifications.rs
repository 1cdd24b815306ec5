//! Notifications in PostgreSQL, written with what they are about.

use tokio_postgres::{Error, Row, Transaction};

use super::row::{micros_of, optional_micros_of};
use crate::{adapters::store::records::StoredNotification, domain::notification::Notification};

/// Writes notifications, and gives up the oldest. Those that somebody else is giving up or reading
/// are left to him: this never waits.
pub(super) async fn notify(
    transaction: &Transaction<'_>,
    notifications: &[Notification],
) -> Result<(), Error> {
    if notifications.is_empty() {
        return Ok(());
    }
    let column = |get: fn(&Notification) -> &str| notifications.iter().map(get).collect::<Vec<_>>();
    let links: Vec<Option<&str>> = notifications.iter().map(|one| one.link.as_deref()).collect();
    transaction
        .execute(
            "INSERT INTO notifications (severity, component, title, body, link)
             SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[])",
            &[
                &column(|one| one.urgency.name()),
                &column(|one| one.component),
                &column(|one| &one.title),
                &column(|one| &one.body),
                &links,
            ],
        )
        .await?;
    transaction
        .execute(
            "DELETE FROM notifications WHERE id IN (
                 SELECT id FROM notifications WHERE id <= (
                     SELECT id FROM notifications ORDER BY id DESC OFFSET $1 LIMIT 1)
                 FOR UPDATE SKIP LOCKED)",
            &[&i64::from(Notification::KEPT)],
        )
        .await
        .map(drop)
}

pub(super) const COLUMNS: &str = "id, at, severity, component, title, body, link, read_at, read_by";

pub(super) fn notification_of(row: &Row) -> StoredNotification {
    let read_at = optional_micros_of(row, 7);
    StoredNotification {
        id: row.get(0),
        at: micros_of(row, 1),
        severity: row.get(2),
        component: row.get(3),
        title: row.get(4),
        body: row.get(5),
        link: row.get(6),
        is_read: read_at.is_some(),
        read_at,
        read_by: row.get(8),
    }
}
