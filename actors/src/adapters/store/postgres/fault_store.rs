//! [`FaultStore`] for PostgreSQL.

use async_trait::async_trait;
use tokio_postgres::{
    Row,
    types::{ToSql, Type},
};

use super::{
    Postgres,
    jobs::stored_ticket_from,
    row::{FAULT, fault_of, micros_of},
    steering, timestamp, unavailable,
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

impl Given {
    fn typed(&self) -> (Box<dyn ToSql + Sync + Send + '_>, Type) {
        match self {
            Self::Number(number) => (Box::new(number), Type::INT8),
            Self::Numbers(numbers) => (Box::new(numbers), Type::INT8_ARRAY),
            Self::Text(text) => (Box::new(text), Type::TEXT),
            Self::Time(at) => (Box::new(timestamp(*at)), Type::TIMESTAMPTZ),
        }
    }
}

fn listed_of(row: &Row) -> ListedFault {
    let fault = fault_of(row);
    let muted_at: Option<jiff::Timestamp> = row.get(14);
    let time = |column| row.get::<_, Option<jiff::Timestamp>>(column);
    let standing = Standing {
        merged_into: fault.merged_into,
        mute: muted_at.map(|_| Mute {
            by: row.get::<_, Option<String>>(15).unwrap_or_default(),
            until: time(16).map(jiff::Timestamp::as_microsecond),
        }),
        resolved_at: time(17).map(jiff::Timestamp::as_microsecond),
        has_come_back: row.get(18),
    };
    let ticket = row.get::<_, Option<i64>>(19).map(|_| stored_ticket_from(row, 19));
    ListedFault { fault, standing, ticket }
}

#[async_trait]
impl FaultStore for Postgres {
    async fn list_faults(
        &self,
        filter: &FaultFilter,
        sorting: Sorting,
        after: Option<Place>,
        limit: u32,
    ) -> Result<Vec<ListedFault>, StoreError> {
        let (sql, given) =
            list(Dialect::Postgres, FAULT, filter, sorting, after, limit, clock::now());
        let typed: Vec<_> = given.iter().map(Given::typed).collect();
        let parameters: Vec<(&(dyn ToSql + Sync), Type)> = typed
            .iter()
            .map(|(value, kind)| (&**value as &(dyn ToSql + Sync), kind.clone()))
            .collect();
        self.in_time(async {
            let client = self.client().await?;
            // Not prepared: there are as many of these statements as ways to ask.
            let rows = client.query_typed(&sql, &parameters).await.map_err(unavailable)?;
            Ok(rows.iter().map(listed_of).collect())
        })
        .await
    }

    async fn fault_hours(
        &self,
        faults: &[FaultId],
        since: Micros,
    ) -> Result<Vec<FaultHour>, StoreError> {
        let sql = hours_sql("shape.fault = ANY($1)", "$2");
        let rows = self.query(&sql, &[&faults, &timestamp(since)]).await?;
        let hour =
            |row: &Row| FaultHour { fault: row.get(0), hour: micros_of(row, 1), count: row.get(2) };
        Ok(rows.iter().map(hour).collect())
    }

    async fn fault_occurrences(
        &self,
        fault: FaultId,
        since: Micros,
        until: Micros,
    ) -> Result<Vec<Occurrences>, StoreError> {
        let sql = occurrences_sql(Dialect::Postgres);
        let rows = self.query(&sql, &[&fault, &timestamp(since), &timestamp(until)]).await?;
        let met = |row: &Row| Occurrences {
            environment: row.get(0),
            hour: micros_of(row, 1),
            count: row.get(2),
        };
        Ok(rows.iter().map(met).collect())
    }

    async fn facets(&self) -> Result<Facets, StoreError> {
        // One pass over the faults for both.
        let rows = self
            .query(
                "WITH pairs AS MATERIALIZED (
                     SELECT environment, service FROM faults WHERE merged_into IS NULL
                     GROUP BY environment, service)
                 SELECT true, environment FROM pairs UNION SELECT false, service FROM pairs",
                &[],
            )
            .await?;
        let mut facets = Facets::default();
        for row in rows {
            let is_environment: bool = row.get(0);
            let names =
                if is_environment { &mut facets.environments } else { &mut facets.services };
            names.push(row.get(1));
        }
        // By bytes, whatever the database's collation is.
        facets.environments.sort_unstable();
        facets.services.sort_unstable();
        Ok(facets)
    }

    async fn steer_fault(
        &self,
        fault: FaultId,
        step: Step,
        comment: &str,
        who: &str,
    ) -> Result<(), SteerError> {
        let mut client = self.client().await?;
        steering::steer(&mut client, fault, step, comment, who).await
    }

    async fn make_ticket(
        &self,
        fault: FaultId,
        wanted: &ByHand,
        tracker: &Tracker,
    ) -> Result<JobId, SteerError> {
        let mut client = self.client().await?;
        steering::make_ticket(&mut client, fault, wanted, tracker).await
    }

    async fn make_fault(
        &self,
        new: &NewFault,
        wanted: &ByHand,
    ) -> Result<(FaultId, JobId), StoreError> {
        self.in_time(async {
            let mut client = self.client().await?;
            steering::make_fault(&mut client, new, wanted).await.map_err(unavailable)
        })
        .await
    }

    async fn link_ticket(
        &self,
        fault: FaultId,
        link: &Link,
        tracker: &Tracker,
    ) -> Result<(), SteerError> {
        let mut client = self.client().await?;
        steering::link_ticket(&mut client, fault, link, tracker).await
    }
}
