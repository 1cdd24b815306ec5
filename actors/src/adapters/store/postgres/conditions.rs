//! A query's conditions, put together from what a filter says. Only what is asked for is in the
//! statement, so that the planner sees which index serves it.

use tokio_postgres::{Row, types::ToSql};

use super::{Postgres, unavailable};
use crate::adapters::store::StoreError;

/// See the [module](self).
#[derive(Default)]
pub(super) struct Conditions {
    sql: Vec<String>,
    parameters: Vec<Box<dyn ToSql + Sync + Send>>,
}

impl Conditions {
    /// A parameter; gives its name in SQL.
    pub(super) fn parameter(&mut self, value: impl ToSql + Sync + Send + 'static) -> String {
        self.parameters.push(Box::new(value));
        format!("${}", self.parameters.len())
    }

    /// A condition in which `$` stands for the value, where there is one.
    pub(super) fn add<T: ToSql + Sync + Send + 'static>(&mut self, sql: &str, value: Option<T>) {
        if let Some(value) = value {
            let name = self.parameter(value);
            self.sql.push(sql.replace('$', &name));
        }
    }

    /// A condition without a value.
    pub(super) fn require(&mut self, sql: &str) {
        self.sql.push(sql.to_owned());
    }

    /// `true AND …`, to stand behind `WHERE`.
    pub(super) fn sql(&self) -> String {
        let mut sql = "true".to_owned();
        for condition in &self.sql {
            sql.push_str(" AND ");
            sql.push_str(condition);
        }
        sql
    }

    pub(super) fn parameters(&self) -> Vec<&(dyn ToSql + Sync)> {
        self.parameters.iter().map(|value| &**value as &(dyn ToSql + Sync)).collect()
    }
}

impl Postgres {
    /// Asks once. The statement is planned for the values it comes with: a filter may fit half of
    /// a table, or nothing.
    pub(super) async fn ask(
        &self,
        sql: &str,
        conditions: &Conditions,
    ) -> Result<Vec<Row>, StoreError> {
        self.in_time(async {
            let client = self.client().await?;
            client.query(sql, &conditions.parameters()).await.map_err(unavailable)
        })
        .await
    }
}
