//! `GET /api/faults`: which faults there are; and how often each happened when.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use faultline_actors::{
    adapters::{
        clock,
        store::faults::{Direction, FaultFilter, Place, SortBy, Sorting, WithTicket},
    },
    domain::{
        fault_state,
        rule::lasting,
        time::{self, DAY, HOUR, Micros, parse_rfc3339, rfc3339, start_of},
    },
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    super::{
        Admin, Asked, Page, asked, away, number_of,
        page::{cut_by, read_cursor, write_cursor},
    },
    no_fault,
    shown::{Fault, Severity, shown},
};
use crate::problem::Problem;

/// Which faults, in which order.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct Query {
    #[serde(default)]
    #[param(inline)]
    state: StateAsked,
    environment: Option<String>,
    service: Option<String>,
    /// At least as bad.
    #[param(inline)]
    severity: Option<Severity>,
    kind: Option<String>,
    /// A part of a title, a template (`*` for each variable) or a first message, in any case.
    #[param(max_length = 1000)]
    text: Option<String>,
    /// `yes`, `no`, or the key of a ticket that is, or was, theirs.
    ticket: Option<String>,
    /// First seen then (RFC 3339) or later, or within such a time: `24h`.
    new_since: Option<String>,
    #[serde(default)]
    #[param(inline)]
    sort: Sort,
    #[serde(default)]
    #[param(inline)]
    order: Order,
    /// How many at most: 1 to 1000.
    #[serde(default = "Page::default_limit")]
    #[param(minimum = 1, maximum = 1000, default = 50)]
    limit: u32,
    /// `next` of the page before, with the same `sort` and `order`.
    cursor: Option<String>,
}

#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum StateAsked {
    #[default]
    Open,
    Resolved,
    Muted,
    Merged,
    All,
}

#[derive(Clone, Copy, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Sort {
    #[default]
    LastSeen,
    FirstSeen,
    Count,
    Id,
}

#[derive(Clone, Copy, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Order {
    Asc,
    #[default]
    Desc,
}

/// Where a page ended.
#[derive(Serialize, Deserialize)]
struct Cursor {
    sort: Sort,
    order: Order,
    value: i64,
    id: i64,
}

impl Query {
    fn sorting(&self) -> Sorting {
        let by = match self.sort {
            Sort::LastSeen => SortBy::LastSeen,
            Sort::FirstSeen => SortBy::FirstSeen,
            Sort::Count => SortBy::Count,
            Sort::Id => SortBy::Id,
        };
        let direction = match self.order {
            Order::Asc => Direction::Ascending,
            Order::Desc => Direction::Descending,
        };
        Sorting { by, direction }
    }

    fn after(&self) -> Result<Option<Place>, Problem> {
        let Some(cursor) = &self.cursor else { return Ok(None) };
        let Cursor { sort, order, value, id } = read_cursor(cursor)?;
        let in_range =
            self.sort == Sort::Count || self.sort == Sort::Id || time::in_range(value).is_some();
        if (sort, order) != (self.sort, self.order) || !in_range {
            let detail = "cursor: it is of a list with another sort or order";
            return Err(Problem::new(StatusCode::BAD_REQUEST, detail));
        }
        Ok(Some(Place { value, id }))
    }

    fn next(&self, place: Place) -> String {
        let Place { value, id } = place;
        write_cursor(&Cursor { sort: self.sort, order: self.order, value, id })
    }

    fn filter(&self) -> Result<FaultFilter, Problem> {
        let ticket = text_of("ticket", self.ticket.as_ref())?;
        let ticket = ticket.as_deref().map(|ticket| match ticket {
            "yes" => WithTicket::Some,
            "no" => WithTicket::None,
            key => WithTicket::Key(key.to_ascii_uppercase()),
        });
        let new_since = self.new_since.as_deref().map(|text| moment("new_since", text));
        Ok(FaultFilter {
            ids: None,
            state: match self.state {
                StateAsked::Open => Some(fault_state::State::Open),
                StateAsked::Resolved => Some(fault_state::State::Resolved),
                StateAsked::Muted => Some(fault_state::State::Muted),
                StateAsked::Merged => Some(fault_state::State::Merged),
                StateAsked::All => None,
            },
            environment: text_of("environment", self.environment.as_ref())?,
            service: text_of("service", self.service.as_ref())?,
            kind: text_of("kind", self.kind.as_ref())?,
            severity: self.severity.map(Into::into),
            text: text_of("text", self.text.as_ref())?.filter(|text| !text.is_empty()),
            ticket,
            new_since: new_since.transpose()?,
        })
    }
}

/// Text that every store can compare with.
fn text_of(key: &str, text: Option<&String>) -> Result<Option<String>, Problem> {
    const LONGEST: usize = 1_000;
    match text {
        Some(text) if text.contains('\0') || text.len() > LONGEST => {
            let detail = format!("{key}: at most {LONGEST} bytes of text without NUL are possible");
            Err(Problem::new(StatusCode::BAD_REQUEST, detail))
        }
        text => Ok(text.cloned()),
    }
}

/// A moment as RFC 3339 has it, or as so long ago.
fn moment(key: &str, text: &str) -> Result<Micros, Problem> {
    if let Some(at) = parse_rfc3339(text.as_bytes()) {
        return Ok(at);
    }
    let ago = lasting::parse(text).ok().map(time::micros);
    ago.and_then(|ago| time::in_range(clock::now().saturating_sub(ago))).ok_or_else(|| {
        let detail = format!("{key}={text:?}: a time (RFC 3339) or a duration (24h) is needed");
        Problem::new(StatusCode::BAD_REQUEST, detail)
    })
}

/// Faults, a page at a time.
#[derive(Serialize, ToSchema)]
pub(in crate::admin) struct Faults {
    faults: Vec<Fault>,
    /// The `cursor` of the next page; null when there is none.
    next: Option<String>,
}

/// `GET /api/faults`: the faults of a filter.
///
/// What the list is sorted by may change from one page to the next: a fault that is met again moves
/// to the front of `last_seen` and `count`. Sorted downwards, no fault comes twice, and each that is
/// not met meanwhile comes once; one that is met before its page was read is on an earlier page by
/// then. Sorted by `id`, each comes once.
#[utoipa::path(get, path = "/api/faults", tag = "faults", params(Query),
    responses((status = 200, body = Faults), Problem))]
pub(in crate::admin) async fn list(
    State(admin): State<Arc<Admin>>,
    query: Asked<Query>,
) -> Result<Json<Faults>, Problem> {
    let query = asked(query)?;
    let limit = Page::check_limit(query.limit)?;
    let (filter, sorting, after) = (query.filter()?, query.sorting(), query.after()?);
    // One more, to know whether there is a next page.
    let listed = admin.store.list_faults(&filter, sorting, after, limit + 1).await;
    let (listed, next) = cut_by(listed.map_err(away)?, limit, |last| {
        query.next(Place::behind(&last.fault, sorting.by))
    });
    Ok(Json(Faults { faults: shown(&admin, listed).await.map_err(away)?, next }))
}

/// What faults are about.
#[derive(Serialize, ToSchema)]
pub(in crate::admin) struct Facets {
    environments: Vec<String>,
    services: Vec<String>,
}

/// `GET /api/facets`: the environments and services that have faults, sorted.
#[utoipa::path(get, path = "/api/facets", tag = "faults",
    responses((status = 200, body = Facets), Problem))]
pub(in crate::admin) async fn facets(
    State(admin): State<Arc<Admin>>,
) -> Result<Json<Facets>, Problem> {
    let facets = admin.store.facets().await.map_err(away)?;
    Ok(Json(Facets { environments: facets.environments, services: facets.services }))
}

/// Of which time.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct When {
    /// RFC 3339, or so long ago (`7d`). By default 7 days before `until` by hour, 90 by day.
    since: Option<String>,
    /// Likewise; by default now.
    until: Option<String>,
    #[serde(default)]
    #[param(inline)]
    step: Step,
}

#[derive(Clone, Copy, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = FaultStep)]
enum Step {
    #[default]
    Hour,
    Day,
}

impl Step {
    const fn micros(self) -> Micros {
        match self {
            Self::Hour => HOUR,
            Self::Day => DAY,
        }
    }

    const fn default_span(self) -> Micros {
        match self {
            Self::Hour => 7 * DAY,
            Self::Day => 90 * DAY,
        }
    }
}

/// How often a fault happened when.
#[derive(Serialize, ToSchema)]
#[schema(as = FaultOccurrences)]
pub(in crate::admin) struct Occurrences {
    step: Step,
    /// Without the steps in which it did not; sorted by time and environment.
    occurrences: Vec<Met>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = FaultMet)]
struct Met {
    /// When the hour or day (of UTC) began.
    #[schema(format = DateTime)]
    at: String,
    environment: String,
    count: i64,
}

/// `GET /api/faults/{id}/occurrences`: how often the fault happened, by hour or day; also what has
/// its fingerprints in other environments of the same service.
#[utoipa::path(get, path = "/api/faults/{id}/occurrences", tag = "faults",
    params(("id" = i64, Path), When), responses((status = 200, body = Occurrences), Problem))]
pub(in crate::admin) async fn occurrences(
    State(admin): State<Arc<Admin>>,
    Path(id): Path<String>,
    when: Asked<When>,
) -> Result<Json<Occurrences>, Problem> {
    const MOST: i64 = 1_000;
    let id = number_of("fault", &id)?;
    let When { since, until, step } = asked(when)?;
    let until = until.map_or(Ok(clock::now()), |text| moment("until", &text))?;
    let since = since.map_or_else(
        || Ok((until - step.default_span()).max(time::MIN)),
        |text| moment("since", &text),
    )?;
    let first = start_of(step.micros(), since).max(time::MIN);
    if (until - first) / step.micros() > MOST {
        let detail = format!("since: no more than {MOST} steps are told at once");
        return Err(Problem::new(StatusCode::BAD_REQUEST, detail));
    }
    let met = admin.store.fault_occurrences(id, first, until).await.map_err(away)?;
    if met.is_empty() {
        // Nothing happened, or there is none.
        let filter = FaultFilter { ids: Some(vec![id]), ..FaultFilter::default() };
        let found = admin.store.list_faults(&filter, Sorting::default(), None, 1).await;
        found.map_err(away)?.pop().ok_or_else(|| no_fault(id))?;
    }
    let mut sums: BTreeMap<(Micros, String), i64> = BTreeMap::new();
    for met in met {
        *sums.entry((start_of(step.micros(), met.hour), met.environment)).or_default() += met.count;
    }
    let met = |((at, environment), count)| Met { at: rfc3339(at), environment, count };
    Ok(Json(Occurrences { step, occurrences: sums.into_iter().map(met).collect() }))
}
