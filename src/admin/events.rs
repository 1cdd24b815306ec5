//! `/api/events`: search, one event, export.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Path, Query, RawQuery, State},
    http::{StatusCode, Uri},
    response::Response,
};
use faultline_actors::{
    adapters::store::{
        FaultDetail, StoredEvent,
        search::{EventFilter, EventId, Place},
    },
    domain::{
        event::{Kind, Severity, Source},
        fault::FaultId,
        time::rfc3339,
        words::terms::Terms,
    },
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use utoipa::{IntoParams, ToSchema};

use super::{
    Admin, Page, away,
    export::{self, Columns, Format},
    page::{read_cursor, write_cursor},
};
use crate::problem::Problem;

/// What a search may take before it says how far it came.
const TIME: Duration = Duration::from_millis(150);

/// Nobody waits for a page of an export.
const EXPORT_TIME: Duration = Duration::from_secs(1);
const EXPORT_PAGE: u32 = 500;

/// Which events.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Filter {
    /// Received at this time or later.
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<jiff::Timestamp>,
    /// Received before this time.
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<jiff::Timestamp>,
    /// Of all shapes of this fault.
    fault: Option<FaultId>,
    /// Of one shape.
    fingerprint: Option<String>,
    environment: Option<String>,
    service: Option<String>,
    /// `log`, `router`, `platform`, `change`, `error` or `object`.
    kind: Option<String>,
    /// At least as bad.
    #[param(example = "error")]
    severity: Option<String>,
    /// `logdrains`, `errors`, `maxwell` or `bucket`.
    source: Option<String>,
    /// Terms that occur in message, stack trace, process or attributes, in any case, their first and
    /// last word whole; `"…"` makes one term of several words.
    #[param(max_length = 1000)]
    text: Option<String>,
}

impl Filter {
    async fn resolve(self, admin: &Admin) -> Result<EventFilter, Problem> {
        let refused = |detail: String| Problem::new(StatusCode::BAD_REQUEST, detail);
        let text = Terms::parse(self.text.as_deref().unwrap_or_default());
        let mut filter = EventFilter {
            since: self.since.map(jiff::Timestamp::as_microsecond),
            until: self.until.map(jiff::Timestamp::as_microsecond),
            environment: self.environment,
            service: self.service,
            kind: known("kind", self.kind, Kind::from_name, &Kind::ALL.map(Kind::name))?,
            severity: known(
                "severity",
                self.severity,
                Severity::from_name,
                &["error", "info", "…"],
            )?,
            source: known(
                "source",
                self.source,
                Source::from_name,
                &Source::ALL.map(Source::name),
            )?,
            fingerprints: self.fingerprint.map(|one| vec![one]),
            text: text.map_err(|problem| refused(format!("text: {problem}")))?,
        };
        if let Some(id) = self.fault {
            let fault = admin.store.fault(id).await.map_err(away)?;
            let detail = || Problem::new(StatusCode::NOT_FOUND, format!("there is no fault {id}"));
            filter = filter_of_fault(&fault.ok_or_else(detail)?, filter);
        }
        Ok(filter)
    }
}

/// What `name` stands for, where something was asked for.
fn known<T>(
    key: &str,
    name: Option<String>,
    read: fn(&str) -> Option<T>,
    names: &[&str],
) -> Result<Option<T>, Problem> {
    let Some(name) = name else { return Ok(None) };
    read(&name).map(Some).ok_or_else(|| {
        let detail = format!("{key}={name:?}: one of {} is needed", names.join(", "));
        Problem::new(StatusCode::BAD_REQUEST, detail)
    })
}

/// `filter`, and only events of this fault.
pub(super) fn filter_of_fault(fault: &FaultDetail, filter: EventFilter) -> EventFilter {
    let wanted = |one: &String| filter.fingerprints.as_ref().is_none_or(|all| all.contains(one));
    let shapes = fault.shapes.iter().map(|shape| shape.fingerprint.clone());
    let both = |wanted: Option<String>, own: &str| match wanted {
        Some(other) if other != own => None,
        _ => Some(own.to_owned()),
    };
    let (environment, service) = (
        both(filter.environment.clone(), &fault.fault.environment),
        both(filter.service.clone(), &fault.fault.service),
    );
    let is_possible = environment.is_some() && service.is_some();
    let fingerprints = shapes.filter(|one| is_possible && wanted(one)).collect();
    EventFilter { environment, service, fingerprints: Some(fingerprints), ..filter }
}

/// One page of events.
#[derive(Serialize, ToSchema)]
pub(super) struct EventPage {
    /// The newest received first.
    events: Vec<StoredEvent>,
    /// `cursor` of the next page; null behind the last one.
    next: Option<String>,
    /// Time was over before the page was full: what was received before is not searched yet, and
    /// `next` goes on there.
    #[schema(value_type = Option<String>, format = DateTime)]
    searched_until: Option<jiff::Timestamp>,
}

/// Events, the newest received first.
#[utoipa::path(
    get, path = "/api/events", tag = "events", params(Filter, Page),
    responses((status = 200, body = EventPage), Problem)
)]
pub(super) async fn list(
    State(admin): State<Arc<Admin>>,
    RawQuery(query): RawQuery,
) -> Result<Json<EventPage>, Problem> {
    let (page, filter): (Page, Filter) = split(query.as_deref(), &["limit", "cursor"])?;
    let limit = Page::check_limit(page.limit)?;
    let before = page.cursor.as_deref().map(read_cursor::<Place>).transpose()?;
    let filter = filter.resolve(&admin).await?;
    let found = admin.store.search(&filter, before, limit, TIME).await.map_err(away)?;
    Ok(Json(EventPage {
        events: found.events,
        next: found.next.map(|next| write_cursor(&next)),
        searched_until: found
            .searched_until
            .and_then(|time| jiff::Timestamp::from_microsecond(time).ok()),
    }))
}

/// One event.
#[utoipa::path(
    get, path = "/api/events/{id}", tag = "events",
    params(("id" = String, Path, example = "3.4711.0")),
    responses((status = 200, body = StoredEvent), Problem)
)]
pub(super) async fn one(
    State(admin): State<Arc<Admin>>,
    Path(id): Path<String>,
) -> Result<Json<StoredEvent>, Problem> {
    let id: EventId =
        id.parse().map_err(|detail: String| Problem::new(StatusCode::BAD_REQUEST, detail))?;
    let event = admin.store.event(id).await.map_err(away)?;
    event
        .map(Json)
        .ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, format!("there is no event {id}")))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Export {
    #[param(inline)]
    format: Format,
}

/// All events that fit, the newest received first, as a file. They are read as fast as the client
/// takes them.
#[utoipa::path(
    get, path = "/api/events/export", tag = "events", params(Export, Filter),
    responses(
        (status = 200, content((String = "application/x-ndjson"), (String = "text/csv"))), Problem
    )
)]
pub(super) async fn export(
    State(admin): State<Arc<Admin>>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let (Export { format }, filter): (Export, Filter) = split(query.as_deref(), &["format"])?;
    let filter = filter.resolve(&admin).await?;
    let store = admin.store.clone();
    let fetch = move |before| {
        let (store, filter) = (store.clone(), filter.clone());
        async move {
            let found = store.search(&filter, before, EXPORT_PAGE, EXPORT_TIME).await?;
            Ok((found.events, found.next))
        }
    };
    export::stream("events", format, COLUMNS, fetch).await
}

const COLUMNS: Columns<StoredEvent> = Columns {
    names: &[
        "id",
        "received_at",
        "occurred_at",
        "source",
        "kind",
        "severity",
        "environment",
        "service",
        "process",
        "message",
        "stack_trace",
        "attributes",
        "fingerprint",
        "messages",
    ],
    cells: |event| {
        let optional = |text: &Option<String>| text.clone().unwrap_or_default();
        vec![
            event.id.to_string(),
            rfc3339(event.received_at),
            rfc3339(event.occurred_at),
            event.source.clone(),
            event.kind.clone(),
            event.severity.clone(),
            event.environment.clone(),
            event.service.clone(),
            optional(&event.process),
            event.message.clone(),
            optional(&event.stack_trace),
            event.attributes.as_ref().map(|json| json.get().to_owned()).unwrap_or_default(),
            optional(&event.fingerprint),
            event.messages.to_string(),
        ]
    },
};

/// Reads `first` of the parameters named, and `rest` of all others. Two types that know what they
/// take; one that is flattened into the other would take anything.
fn split<A: DeserializeOwned, B: DeserializeOwned>(
    query: Option<&str>,
    first: &[&str],
) -> Result<(A, B), Problem> {
    let query = query.unwrap_or_default();
    let part = |is_first: bool| {
        let pairs = form_urlencoded::parse(query.as_bytes());
        let pairs = pairs.filter(|(name, _)| first.contains(&&**name) == is_first);
        form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
    };
    Ok((read(&part(true))?, read(&part(false))?))
}

fn read<T: DeserializeOwned>(query: &str) -> Result<T, Problem> {
    let refused = |detail: String| Problem::new(StatusCode::BAD_REQUEST, detail);
    let uri: Uri =
        format!("/?{query}").parse().map_err(|_| refused("the query is too long".to_owned()))?;
    let Query(read) = Query::try_from_uri(&uri).map_err(|error| refused(error.body_text()))?;
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_that_nobody_knows_are_refused() {
        let both = |query| split::<Page, Filter>(Some(query), &["limit", "cursor"]).map(drop);
        assert!(both("limit=3&cursor=x&text=a%20b&since=2026-11-22T03:00:00Z&fault=7").is_ok());
        for query in ["limit=many", "lmit=3", "limit=1&limit=2", "fault=x", "since=yesterday"] {
            assert!(both(query).is_err(), "{query}");
        }
    }
}
