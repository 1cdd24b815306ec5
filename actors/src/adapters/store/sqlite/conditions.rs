//! A query's conditions, put together from what a filter says. Only what is asked for is in the
//! statement, so that the planner sees which index serves it.

use rusqlite::{ParamsFromIter, ToSql, params_from_iter};

/// See the [module](self).
#[derive(Default)]
pub(super) struct Conditions {
    sql: Vec<String>,
    parameters: Vec<Box<dyn ToSql>>,
}

impl Conditions {
    /// A parameter; gives its name in SQL.
    pub(super) fn parameter(&mut self, value: impl ToSql + 'static) -> String {
        self.parameters.push(Box::new(value));
        format!("?{}", self.parameters.len())
    }

    /// A condition in which `?` stands for the value, where there is one.
    pub(super) fn add<T: ToSql + 'static>(&mut self, sql: &str, value: Option<T>) {
        if let Some(value) = value {
            let name = self.parameter(value);
            self.sql.push(sql.replace('?', &name));
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

    pub(super) fn parameters(&self) -> ParamsFromIter<&Vec<Box<dyn ToSql>>> {
        params_from_iter(&self.parameters)
    }
}
