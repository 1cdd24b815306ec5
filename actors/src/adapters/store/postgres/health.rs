//! [`HealthStore`] for PostgreSQL.

use std::collections::BTreeMap;

use async_trait::async_trait;
use tokio_postgres::Row;

use super::{Postgres, conditions::Conditions, row::micros_of, timestamp};
use crate::{
    adapters::store::{
        StoreError,
        health::{
            ChangeFilter, ErrorFilter, HealthStore, KEPT_CHANGES, KEPT_ERRORS, StoredChange,
            StoredError, known_of,
        },
    },
    domain::{
        health::{Change, Known, Status, measured::Storm},
        own_log::{Group, Level},
    },
};

fn change_of(row: &Row) -> StoredChange {
    StoredChange {
        id: row.get(0),
        at: micros_of(row, 1),
        hub: row.get(2),
        component: row.get(3),
        before: row.get(4),
        status: row.get(5),
        error: row.get(6),
    }
}

fn error_of(row: &Row) -> StoredError {
    StoredError {
        id: row.get(0),
        hub: row.get(1),
        level: row.get(2),
        target: row.get(3),
        template: row.get(4),
        message: row.get(5),
        first_at: micros_of(row, 6),
        last_at: micros_of(row, 7),
        count: row.get(8),
    }
}

#[async_trait]
impl HealthStore for Postgres {
    async fn add_changes(&self, hub: &str, changes: &[Change]) -> Result<(), StoreError> {
        let changes = changes.iter().filter_map(|it| Some((it, it.before?))).collect::<Vec<_>>();
        if changes.is_empty() {
            return Ok(());
        }
        let at: Vec<_> = changes.iter().map(|(it, _)| timestamp(it.at)).collect();
        let components: Vec<&str> = changes.iter().map(|(it, _)| &*it.component).collect();
        let before: Vec<&str> = changes.iter().map(|(_, before)| before.name()).collect();
        let statuses: Vec<&str> = changes.iter().map(|(it, _)| Status::name(it.status)).collect();
        let errors: Vec<&str> = changes.iter().map(|(it, _)| &*it.error).collect();
        self.query(
            "INSERT INTO health_changes (hub, at, component, before, status, error)
             SELECT $1, at, component, before, status, error
             FROM unnest($2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::text[])
                 WITH ORDINALITY AS change (at, component, before, status, error, place)
             ORDER BY place ON CONFLICT DO NOTHING",
            &[&hub, &at, &components, &before, &statuses, &errors],
        )
        .await?;
        self.query(
            "DELETE FROM health_changes WHERE id <= (
                 SELECT id FROM health_changes ORDER BY id DESC OFFSET $1 LIMIT 1)",
            &[&i64::from(KEPT_CHANGES)],
        )
        .await
        .map(drop)
    }

    async fn health_changes(
        &self,
        filter: &ChangeFilter,
        limit: u32,
    ) -> Result<Vec<StoredChange>, StoreError> {
        let mut conditions = Conditions::default();
        conditions.add("component = $", filter.component.clone());
        conditions.add("hub = $", filter.hub.clone());
        conditions.add("id < $", filter.before);
        let limit = conditions.parameter(i64::from(limit));
        let sql = format!(
            "SELECT id, at, hub, component, before, status, error FROM health_changes
             WHERE {} ORDER BY id DESC LIMIT {limit}",
            conditions.sql()
        );
        Ok(self.ask(&sql, &conditions).await?.iter().map(change_of).collect())
    }

    async fn last_health(&self, hub: &str) -> Result<BTreeMap<String, Known>, StoreError> {
        let rows = self
            .query(
                "SELECT DISTINCT ON (component) component, status, at FROM health_changes
                 WHERE hub = $1 ORDER BY component, id DESC",
                &[&hub],
            )
            .await?;
        Ok(known_of(rows.iter().map(|row| (row.get(0), row.get(1), micros_of(row, 2)))))
    }

    async fn open_storms(&self, limit: u32) -> Result<Vec<Storm>, StoreError> {
        let rows = self
            .query(
                "SELECT environment, started_at FROM storms WHERE ended_at IS NULL
                 ORDER BY started_at, environment LIMIT $1",
                &[&i64::from(limit)],
            )
            .await?;
        let storm = |row: &Row| Storm { environment: row.get(0), since: micros_of(row, 1) };
        Ok(rows.iter().map(storm).collect())
    }

    async fn add_errors(&self, hub: &str, groups: &[Group]) -> Result<(), StoreError> {
        if groups.is_empty() {
            return Ok(());
        }
        let column = |get: fn(&Group) -> &str| groups.iter().map(get).collect::<Vec<_>>();
        let moments = |get: fn(&Group) -> i64| {
            groups.iter().map(|group| timestamp(get(group))).collect::<Vec<_>>()
        };
        let counts: Vec<i64> = groups.iter().map(|group| group.count).collect();
        self.query(
            "INSERT INTO error_logs AS known
                 (hub, level, target, template, message, first_at, last_at, count)
             SELECT $1, * FROM unnest($2::text[], $3::text[], $4::text[], $5::text[],
                 $6::timestamptz[], $7::timestamptz[], $8::bigint[])
             ON CONFLICT (hub, level, target, template) DO UPDATE SET
                 message = excluded.message,
                 first_at = least(known.first_at, excluded.first_at),
                 last_at = greatest(known.last_at, excluded.last_at),
                 count = known.count + excluded.count",
            &[
                &hub,
                &column(|it| Level::name(it.level)),
                &column(|it| &it.target),
                &column(|it| &it.template),
                &column(|it| &it.message),
                &moments(|it| it.first_at),
                &moments(|it| it.last_at),
                &counts,
            ],
        )
        .await?;
        self.query(
            "DELETE FROM error_logs WHERE (last_at, id) <= (
                 SELECT last_at, id FROM error_logs ORDER BY last_at DESC, id DESC
                 OFFSET $1 LIMIT 1)",
            &[&i64::from(KEPT_ERRORS)],
        )
        .await
        .map(drop)
    }

    async fn errors(
        &self,
        filter: &ErrorFilter,
        limit: u32,
    ) -> Result<Vec<StoredError>, StoreError> {
        let mut conditions = Conditions::default();
        conditions.add("level = $", filter.level.map(Level::name));
        if let Some((at, id)) = filter.after {
            let (at, id) = (conditions.parameter(timestamp(at)), conditions.parameter(id));
            conditions.require(&format!("(last_at, id) < ({at}, {id})"));
        }
        let limit = conditions.parameter(i64::from(limit));
        let sql = format!(
            "SELECT id, hub, level, target, template, message, first_at, last_at, count
             FROM error_logs WHERE {} ORDER BY last_at DESC, id DESC LIMIT {limit}",
            conditions.sql()
        );
        Ok(self.ask(&sql, &conditions).await?.iter().map(error_of).collect())
    }
}
