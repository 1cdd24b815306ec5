//! Faults as answers have them.

use std::collections::HashMap;

use faultline_actors::{
    adapters::{
        clock,
        store::{Closest, StoreError, StoredShape, faults::ListedFault, jobs::StoredTicket},
    },
    domain::{
        event::Severity as Badness,
        fault_state,
        time::{HOUR, Micros, rfc3339, start_of},
    },
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::Admin;

/// Hours of a trend.
const TREND: i64 = 24;

/// A fault: what keeps happening.
#[derive(Serialize, ToSchema)]
pub(in crate::admin) struct Fault {
    pub id: i64,
    pub environment: String,
    pub service: String,
    pub fingerprint: String,
    /// What kind of event: `log`, `router`, `platform`, `change`, `error`, `object`; `storm` for
    /// a storm's ticket, `manual` for a ticket by hand.
    pub kind: String,
    pub severity: String,
    pub title: String,
    /// The first event's message.
    pub example: String,
    /// The latest event's message.
    pub latest: String,
    pub count: i64,
    #[schema(format = DateTime)]
    pub first_seen: String,
    #[schema(format = DateTime)]
    pub last_seen: String,
    /// The fault that it was merged into.
    pub merged_into: Option<i64>,
    /// The rules that made a fault of a change, one a line.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schema(required = false)]
    pub rule: String,
    pub state: State,
    /// When a person resolved it, or its ticket was done. Set in the state `open`: it came back
    /// after that.
    #[schema(format = DateTime)]
    pub resolved_at: Option<String>,
    /// Null in the state `muted`: for ever.
    #[schema(format = DateTime)]
    pub muted_until: Option<String>,
    pub muted_by: Option<String>,
    /// The newest one.
    pub ticket: Option<Ticket>,
    /// How often it happened in each of the last 24 hours, the oldest first; the last one is the
    /// hour that goes on.
    #[schema(min_items = 24, max_items = 24)]
    pub trend: Vec<i64>,
}

/// Where a fault stands.
#[derive(Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = FaultState)]
pub(in crate::admin) enum State {
    Open,
    /// A person says so, or its ticket is done.
    Resolved,
    /// It is counted, and nothing is done about it.
    Muted,
    Merged,
}

impl From<fault_state::State> for State {
    fn from(state: fault_state::State) -> Self {
        match state {
            fault_state::State::Open => Self::Open,
            fault_state::State::Resolved => Self::Resolved,
            fault_state::State::Muted => Self::Muted,
            fault_state::State::Merged => Self::Merged,
        }
    }
}

/// How bad it is.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = FaultSeverity)]
pub(in crate::admin) enum Severity {
    Emergency,
    Alert,
    Critical,
    Error,
    Warning,
    Notice,
    Info,
    Debug,
}

impl From<Severity> for Badness {
    fn from(severity: Severity) -> Self {
        match severity {
            Severity::Emergency => Self::Emergency,
            Severity::Alert => Self::Alert,
            Severity::Critical => Self::Critical,
            Severity::Error => Self::Error,
            Severity::Warning => Self::Warning,
            Severity::Notice => Self::Notice,
            Severity::Info => Self::Info,
            Severity::Debug => Self::Debug,
        }
    }
}

/// The ticket of a fault.
#[derive(Serialize, ToSchema)]
#[schema(as = FaultTicket)]
pub(in crate::admin) struct Ticket {
    /// Null until the tracker has said it.
    pub key: Option<String>,
    /// Where people see it.
    pub url: Option<String>,
    /// As the tracker calls it; empty until it has said so.
    pub status: String,
    pub is_done: bool,
    /// There was no tracker: nothing was sent.
    pub is_dry_run: bool,
    /// Its number among the fault's tickets, from 1 on.
    pub incident: i32,
}

impl Ticket {
    pub(super) fn new(admin: &Admin, ticket: StoredTicket) -> Self {
        let StoredTicket { key, status, is_done, is_dry_run, incident, .. } = ticket;
        let client = admin.pipeline.jira().client.as_ref();
        let url = client.zip(key.as_ref()).map(|(client, key)| client.browse_url(key));
        Self { key, url, status, is_done, is_dry_run, incident }
    }
}

/// A shape of a fault.
#[derive(Serialize, ToSchema)]
#[schema(as = FaultShape)]
pub(super) struct Shape {
    fingerprint: String,
    title: String,
    /// `new`, `similar`, `merged`, `split` or `pinned`.
    why: String,
    /// To `why`: where it differed, or which fault it came from.
    detail: String,
    count: i64,
    #[schema(format = DateTime)]
    first_seen: String,
    #[schema(format = DateTime)]
    last_seen: String,
    /// The older shape of the same fault that it is most like.
    closest: Option<Alike>,
}

/// A shape that another one is like.
#[derive(Serialize, ToSchema)]
#[schema(as = FaultAlike)]
struct Alike {
    fault: i64,
    /// Its masked message, `*` for each variable.
    template: String,
    /// The share of parts that are equal, from 0 to 1.
    similarity: f64,
}

impl From<StoredShape> for Shape {
    fn from(shape: StoredShape) -> Self {
        let StoredShape { fingerprint, title, why, detail, count, .. } = shape;
        let (first_seen, last_seen) = (rfc3339(shape.first_seen), rfc3339(shape.last_seen));
        let alike = |Closest { fault, template, similarity }| Alike { fault, template, similarity };
        let closest = shape.closest.map(alike);
        Self { fingerprint, title, why, detail, count, first_seen, last_seen, closest }
    }
}

/// Faults as answers have them, with their trends.
pub(in crate::admin) async fn shown(
    admin: &Admin,
    listed: Vec<ListedFault>,
) -> Result<Vec<Fault>, StoreError> {
    let now = clock::now();
    let newest = start_of(HOUR, now);
    let oldest = newest - (TREND - 1) * HOUR;
    let ids: Vec<_> = listed.iter().map(|listed| listed.fault.id).collect();
    let nothing = || (0..TREND).map(|_| 0).collect();
    let mut trends: HashMap<i64, Vec<i64>> = HashMap::new();
    for met in admin.store.fault_hours(&ids, oldest).await? {
        let trend = trends.entry(met.fault).or_insert_with(nothing);
        // What says that it happened in an hour to come is in none of these.
        if let Some(hour) =
            usize::try_from((met.hour - oldest) / HOUR).ok().and_then(|hour| trend.get_mut(hour))
        {
            *hour = met.count;
        }
    }
    let shown = listed.into_iter().map(|listed| {
        let trend = trends.remove(&listed.fault.id).unwrap_or_else(nothing);
        fault(admin, listed, trend, now)
    });
    Ok(shown.collect())
}

fn fault(admin: &Admin, listed: ListedFault, trend: Vec<i64>, now: Micros) -> Fault {
    let ListedFault { fault, standing, ticket } = listed;
    let state = standing.state(now);
    let mute = standing.mute.filter(|mute| mute.holds(now));
    Fault {
        id: fault.id,
        environment: fault.environment,
        service: fault.service,
        fingerprint: fault.fingerprint,
        kind: fault.kind,
        severity: fault.severity,
        title: fault.title,
        example: fault.example,
        latest: fault.latest,
        count: fault.count,
        first_seen: rfc3339(fault.first_seen),
        last_seen: rfc3339(fault.last_seen),
        merged_into: fault.merged_into,
        rule: fault.rule,
        state: state.into(),
        resolved_at: standing.resolved_at.map(rfc3339),
        muted_until: mute.as_ref().and_then(|mute| mute.until).map(rfc3339),
        muted_by: mute.map(|mute| mute.by),
        ticket: ticket.map(|ticket| Ticket::new(admin, ticket)),
        trend,
    }
}
