//! [`FaultStore`] for SQLite.

use async_trait::async_trait;
use rusqlite::{Row, ToSql, params, params_from_iter};
use serde_json::json;

use super::{
    Sqlite,
    jobs::stored_ticket_from,
    on,
    row::{FAULT, fault_of, rows},
    steering,
};
use crate::{
    adapters::{
        clock,
        store::{
            StoreError,
            fault_list::{Dialect, Given, hours_sql, list, occurrences_sql},
            faults::{
                ByHand, Facets, FaultFilter, FaultHour, FaultStore, Link, ListedFault, NewFault,
                Occurrences, Place, Sorting, SteerError,
            },
            jobs::JobId,
        },
    },
    domain::{
        decision::Tracker,
        fault::FaultId,
        fault_state::{Mute, Standing, Step},
        time::Micros,
    },
};

fn bound(given: Given) -> Box<dyn ToSql> {
    match given {
        Given::Number(number) | Given::Time(number) => Box::new(number),
        Given::Numbers(numbers) => Box::new(json!(numbers).to_string()),
        Given::Text(text) => Box::new(text),
    }
}

fn listed_of(row: &Row<'_>) -> rusqlite::Result<ListedFault> {
    let fault = fault_of(row)?;
    let mute = match row.get::<_, Option<Micros>>(14)? {
        None => None,
        Some(_) => Some(Mute {
            by: row.get::<_, Option<String>>(15)?.unwrap_or_default(),
            until: row.get(16)?,
        }),
    };
    let standing = Standing {
        merged_into: fault.merged_into,
        mute,
        resolved_at: row.get(17)?,
        has_come_back: row.get(18)?,
    };
    let ticket = match row.get::<_, Option<FaultId>>(19)? {
        None => None,
        Some(_) => Some(stored_ticket_from(row, 19)?),
    };
    Ok(ListedFault { fault, standing, ticket })
}

#[async_trait]
impl FaultStore for Sqlite {
    async fn list_faults(
        &self,
        filter: &FaultFilter,
        sorting: Sorting,
        after: Option<Place>,
        limit: u32,
    ) -> Result<Vec<ListedFault>, StoreError> {
        let (sql, given) =
            list(Dialect::Sqlite, FAULT, filter, sorting, after, limit, clock::now());
        on(&self.reader, move |connection| {
            // Not cached: there are as many of these statements as ways to ask.
            let mut statement = connection.prepare(&sql)?;
            let found =
                statement.query_map(params_from_iter(given.into_iter().map(bound)), listed_of)?;
            Ok(found.collect::<Result<_, _>>()?)
        })
        .await
    }

    async fn fault_hours(
        &self,
        faults: &[FaultId],
        since: Micros,
    ) -> Result<Vec<FaultHour>, StoreError> {
        let faults = json!(faults).to_string();
        on(&self.reader, move |connection| {
            let sql = hours_sql("shape.fault IN (SELECT value FROM json_each(?1))", "?2");
            rows(connection, &sql, params![faults, since], |row| {
                Ok(FaultHour { fault: row.get(0)?, hour: row.get(1)?, count: row.get(2)? })
            })
        })
        .await
    }

    async fn fault_occurrences(
        &self,
        fault: FaultId,
        since: Micros,
        until: Micros,
    ) -> Result<Vec<Occurrences>, StoreError> {
        on(&self.reader, move |connection| {
            let sql = occurrences_sql(Dialect::Sqlite);
            rows(connection, &sql, params![fault, since, until], |row| {
                Ok(Occurrences { environment: row.get(0)?, hour: row.get(1)?, count: row.get(2)? })
            })
        })
        .await
    }

    async fn facets(&self) -> Result<Facets, StoreError> {
        on(&self.reader, |connection| {
            let names = |column: &str| -> Result<Vec<String>, StoreError> {
                let sql = format!(
                    "SELECT DISTINCT {column} FROM faults WHERE merged_into IS NULL ORDER BY 1"
                );
                rows(connection, &sql, [], |row| row.get(0))
            };
            Ok(Facets { environments: names("environment")?, services: names("service")? })
        })
        .await
    }

    async fn steer_fault(
        &self,
        fault: FaultId,
        step: Step,
        comment: &str,
        who: &str,
    ) -> Result<(), SteerError> {
        let (comment, who) = (comment.to_owned(), who.to_owned());
        on(&self.writer, move |connection| steering::steer(connection, fault, step, &comment, &who))
            .await
    }

    async fn make_ticket(
        &self,
        fault: FaultId,
        wanted: &ByHand,
        tracker: &Tracker,
    ) -> Result<JobId, SteerError> {
        let (wanted, tracker) = (wanted.clone(), tracker.clone());
        on(&self.writer, move |connection| {
            steering::make_ticket(connection, fault, &wanted, &tracker)
        })
        .await
    }

    async fn make_fault(
        &self,
        new: &NewFault,
        wanted: &ByHand,
    ) -> Result<(FaultId, JobId), StoreError> {
        let (new, wanted) = (new.clone(), wanted.clone());
        on(&self.writer, move |connection| steering::make_fault(connection, &new, &wanted)).await
    }

    async fn link_ticket(
        &self,
        fault: FaultId,
        link: &Link,
        tracker: &Tracker,
    ) -> Result<(), SteerError> {
        let (link, tracker) = (link.clone(), tracker.clone());
        on(&self.writer, move |connection| {
            steering::link_ticket(connection, fault, &link, &tracker)
        })
        .await
    }
}
