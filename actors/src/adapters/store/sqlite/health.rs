//! [`HealthStore`] for SQLite.

use std::collections::BTreeMap;

use async_trait::async_trait;
use rusqlite::{Row, params};

use super::{Sqlite, conditions::Conditions, dispatch::begin, on, row::rows};
use crate::{
    adapters::store::{
        StoreError,
        health::{
            ChangeFilter, ErrorFilter, HealthStore, KEPT_CHANGES, KEPT_ERRORS, StoredChange,
            StoredError, known_of,
        },
    },
    domain::{
        health::{Change, Known, measured::Storm},
        own_log::{Group, Level},
    },
};

fn change_of(row: &Row<'_>) -> rusqlite::Result<StoredChange> {
    Ok(StoredChange {
        id: row.get(0)?,
        at: row.get(1)?,
        hub: row.get(2)?,
        component: row.get(3)?,
        before: row.get(4)?,
        status: row.get(5)?,
        error: row.get(6)?,
    })
}

fn error_of(row: &Row<'_>) -> rusqlite::Result<StoredError> {
    Ok(StoredError {
        id: row.get(0)?,
        hub: row.get(1)?,
        level: row.get(2)?,
        target: row.get(3)?,
        template: row.get(4)?,
        message: row.get(5)?,
        first_at: row.get(6)?,
        last_at: row.get(7)?,
        count: row.get(8)?,
    })
}

#[async_trait]
impl HealthStore for Sqlite {
    async fn add_changes(&self, hub: &str, changes: &[Change]) -> Result<(), StoreError> {
        let (hub, changes) = (hub.to_owned(), changes.to_vec());
        on(&self.writer, move |connection| {
            let transaction = begin(connection)?;
            for change in &changes {
                let Some(before) = change.before else { continue };
                transaction
                    .prepare_cached(
                        "INSERT INTO health_changes (hub, at, component, before, status, error)
                         VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING",
                    )?
                    .execute(params![
                        hub,
                        change.at,
                        change.component,
                        before.name(),
                        change.status.name(),
                        change.error,
                    ])?;
            }
            transaction
                .prepare_cached(
                    "DELETE FROM health_changes WHERE id <= (
                         SELECT id FROM health_changes ORDER BY id DESC LIMIT 1 OFFSET ?1)",
                )?
                .execute([KEPT_CHANGES])?;
            Ok(transaction.commit()?)
        })
        .await
    }

    async fn health_changes(
        &self,
        filter: &ChangeFilter,
        limit: u32,
    ) -> Result<Vec<StoredChange>, StoreError> {
        let filter = filter.clone();
        on(&self.reader, move |connection| {
            let mut conditions = Conditions::default();
            conditions.add("component = ?", filter.component);
            conditions.add("hub = ?", filter.hub);
            conditions.add("id < ?", filter.before);
            let limit = conditions.parameter(limit);
            let sql = format!(
                "SELECT id, at, hub, component, before, status, error FROM health_changes
                 WHERE {} ORDER BY id DESC LIMIT {limit}",
                conditions.sql()
            );
            rows(connection, &sql, conditions.parameters(), change_of)
        })
        .await
    }

    async fn last_health(&self, hub: &str) -> Result<BTreeMap<String, Known>, StoreError> {
        let hub = hub.to_owned();
        on(&self.reader, move |connection| {
            let sql = "SELECT component, status, at FROM health_changes
                       WHERE id IN (SELECT max(id) FROM health_changes WHERE hub = ?1
                           GROUP BY component)";
            let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
            Ok(known_of(rows(connection, sql, [hub], read)?.into_iter()))
        })
        .await
    }

    async fn open_storms(&self, limit: u32) -> Result<Vec<Storm>, StoreError> {
        on(&self.reader, move |connection| {
            let sql = "SELECT environment, started_at FROM storms WHERE ended_at IS NULL
                       ORDER BY started_at, environment LIMIT ?1";
            rows(connection, sql, [limit], |row| {
                Ok(Storm { environment: row.get(0)?, since: row.get(1)? })
            })
        })
        .await
    }

    async fn add_errors(&self, hub: &str, groups: &[Group]) -> Result<(), StoreError> {
        let (hub, groups) = (hub.to_owned(), groups.to_vec());
        on(&self.writer, move |connection| {
            let transaction = begin(connection)?;
            for group in &groups {
                transaction
                    .prepare_cached(
                        "INSERT INTO error_logs
                             (hub, level, target, template, message, first_at, last_at, count)
                         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
                         ON CONFLICT (hub, level, target, template) DO UPDATE SET
                             message = excluded.message,
                             first_at = min(first_at, excluded.first_at),
                             last_at = max(last_at, excluded.last_at),
                             count = count + excluded.count",
                    )?
                    .execute(params![
                        hub,
                        group.level.name(),
                        group.target,
                        group.template,
                        group.message,
                        group.first_at,
                        group.last_at,
                        group.count,
                    ])?;
            }
            transaction
                .prepare_cached(
                    "DELETE FROM error_logs WHERE (last_at, id) <= (
                         SELECT last_at, id FROM error_logs ORDER BY last_at DESC, id DESC
                         LIMIT 1 OFFSET ?1)",
                )?
                .execute([KEPT_ERRORS])?;
            Ok(transaction.commit()?)
        })
        .await
    }

    async fn errors(
        &self,
        filter: &ErrorFilter,
        limit: u32,
    ) -> Result<Vec<StoredError>, StoreError> {
        let filter = *filter;
        on(&self.reader, move |connection| {
            let mut conditions = Conditions::default();
            conditions.add("level = ?", filter.level.map(Level::name));
            if let Some((at, id)) = filter.after {
                let (at, id) = (conditions.parameter(at), conditions.parameter(id));
                conditions.require(&format!("(last_at, id) < ({at}, {id})"));
            }
            let limit = conditions.parameter(limit);
            let sql = format!(
                "SELECT id, hub, level, target, template, message, first_at, last_at, count
                 FROM error_logs WHERE {} ORDER BY last_at DESC, id DESC LIMIT {limit}",
                conditions.sql()
            );
            rows(connection, &sql, conditions.parameters(), error_of)
        })
        .await
    }
}
