//! `GET /api/live`: what changes, while it changes, as server-sent events (WHATWG HTML, "Server-sent
//! events"); `GET /api/throughput`: what went through.
//!
//! ```text
//!  store, health, throughput ──▶ ring ──▶ each client, at its own pace
//!  metrics aggregator ──tap──▶ tail ──────▶ each client that asks for events
//! ```
//!
//! Messages are made once for everybody, and only while somebody listens. A client that does not
//! keep up, or whose socket takes nothing, is cut; nothing else ever waits for one.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Extension, Json,
    body::Body,
    extract::{self, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use utoipa::{IntoParams, ToSchema};

use self::{
    changes::Changes,
    client::{Beats, Client},
    clients::{Clients, Progress},
    filter::{Filter, Topic},
    ring::{Draft, Ring},
    tail::{Shown, Tail},
    throughput::{Count, Listed, Sample, Samples},
};
use super::{Admin, Asked, Settings, asked, faults::shown::Fault};
use crate::{problem::Problem, server::Cut};

mod changes;
mod client;
mod clients;
mod filter;
mod ring;
mod tail;
mod throughput;

/// Health is shown at every change, and this often.
const HEALTH_EVERY: Duration = Duration::from_secs(10);
/// A client waits so long for the first look at the store.
const FIRST_LOOK: Duration = Duration::from_secs(1);
/// When a client may come that finds no place.
const COME_AGAIN: &str = "5";

/// What clients share.
pub(super) struct Live {
    ring: Ring,
    clients: Arc<Clients>,
    tail: Arc<Tail>,
    samples: Samples,
    /// Whether changes are looked for, so that whoever comes misses nothing.
    is_on: watch::Sender<bool>,
    /// Somebody came who could not wait for that.
    is_late: AtomicBool,
    /// The program does.
    ends: CancellationToken,
}

impl Live {
    pub(super) fn new(settings: &Settings, ends: CancellationToken) -> Self {
        // One can still look while all of them are there.
        let limit = settings.live_clients.min(settings.connections - settings.connections / 10);
        Self {
            ring: Ring::new(),
            clients: Clients::new(limit, settings.live_patience),
            tail: Arc::default(),
            samples: Samples::default(),
            is_on: watch::Sender::new(false),
            is_late: AtomicBool::new(false),
            ends,
        }
    }

    /// How many clients there are.
    pub(super) fn clients(&self) -> usize {
        self.clients.count()
    }

    /// Cancelled when clients are to be served no longer.
    pub(super) fn ends(&self) -> &CancellationToken {
        &self.ends
    }

    fn is_on(&self) -> bool {
        *self.is_on.borrow()
    }
}

/// The first message of each client.
#[derive(Serialize, ToSchema)]
#[schema(as = LiveHello)]
struct Hello {
    /// Another one after each start of the program.
    boot: String,
    /// The number of the message that comes next.
    next_id: u64,
}

/// Something was missed, or more changed than is shown: lists are to be loaded anew.
#[derive(Serialize, ToSchema)]
#[schema(as = LiveGap)]
struct Gap {}

/// Events that were not shown.
#[derive(Serialize, ToSchema)]
#[schema(as = LiveSkipped)]
struct Skipped {
    events: u64,
}

/// Notifications that nobody has read.
#[derive(Serialize, ToSchema)]
#[schema(as = LiveNotification)]
struct Unread {
    unread: u64,
}

/// The data of each message, by its event.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it only describes")]
struct LiveData<'a> {
    hello: Hello,
    gap: Gap,
    /// As in `GET /api/faults`, its texts cut to 300 bytes.
    fault: Fault,
    /// As in `GET /api/jobs`, without request and response.
    #[schema(value_type = Object)]
    job: (),
    /// As `GET /api/health` answers.
    #[schema(value_type = Object)]
    health: (),
    throughput: Sample,
    notification: Unread,
    event: Shown<'a>,
    skipped: Skipped,
}

#[derive(Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Query {
    /// Some of faults, jobs, health, throughput, notifications, events, with commas; without it all
    /// but events.
    topics: Option<String>,
    /// Of faults and events.
    environment: Option<String>,
    /// Of faults and events.
    service: Option<String>,
    /// At least as bad; of faults and events.
    #[param(example = "error")]
    severity: Option<String>,
    /// A part of the text, in any case; of faults and events.
    text: Option<String>,
    /// As the header `Last-Event-ID`, for who cannot set it.
    last_event_id: Option<String>,
}

/// `GET /api/live`: what changes, while it changes.
///
/// Server-sent events: `hello` first, then `fault`, `job`, `health` (at each change of a status, and
/// every ten seconds), `throughput` (every second), `notification`, with the topic events also
/// `event` (at most 200 a second) and `skipped`. `gap` says that lists are to be loaded anew. After a
/// lost connection, `Last-Event-ID` goes on where it was; `event` and `skipped` have no id and are
/// not sent again. A comment comes every fifteen seconds. The data of each is in the schema
/// `LiveData`, under its name.
#[utoipa::path(
    get, path = "/api/live", tag = "live",
    params(Query, ("Last-Event-ID" = Option<String>, Header, description = "The last id that came.")),
    responses(
        (status = 200, content_type = "text/event-stream", body = LiveData<'static>,
            description = "Messages, until the client goes."),
        Problem,
    ),
)]
pub(super) async fn live(
    State(admin): State<Arc<Admin>>,
    query: Asked<Query>,
    headers: HeaderMap,
    cut: Option<Extension<Cut>>,
) -> Result<Response, Problem> {
    let query = asked(query)?;
    let (topics, filter) = Filter::parse(&query)?;
    let live = &admin.live;
    let wants_tail = topics.has(Topic::Events);
    let tail = wants_tail.then(|| live.tail.join(admin.pipeline.tap(), filter.clone()));
    let own = tail.as_ref().map(|tail| tail.frames.clone());
    let cut = cut.map(|Extension(cut)| cut);
    let progress = Progress::new(live.ring.next(), own, cut);
    let place = live.clients.enter(progress).ok_or_else(|| full(live.clients.limit()))?;
    let mut is_on = live.is_on.subscribe();
    if tokio::time::timeout(FIRST_LOOK, is_on.wait_for(|is_on| *is_on)).await.is_err() {
        live.is_late.store(true, Ordering::Relaxed);
    }
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok().map(str::to_owned));
    let (next, published) = live.ring.follow();
    let behind = last.or(query.last_event_id).map(|id| live.ring.behind(&id));
    let (cursor, has_gap) = match behind {
        None => (next, false),
        Some(Ok(cursor)) => (cursor, false),
        Some(Err(_)) => (next, true),
    };
    let mut client = Client {
        admin: admin.clone(),
        headers,
        topics,
        filter,
        place,
        cursor,
        published,
        tail,
        in_hand: VecDeque::new(),
        beats: Beats::new(),
    };
    client.greet(has_gap);
    Ok(stream(client))
}

fn stream(client: Client) -> Response {
    let messages = futures_util::stream::unfold(client, async |client| {
        let (bytes, client) = client.next().await?;
        Some((Ok::<_, std::convert::Infallible>(bytes), client))
    });
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        // nginx would gather messages before it passes them on.
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    (headers, Body::from_stream(messages)).into_response()
}

fn full(limit: usize) -> Problem {
    let detail = format!("there are {limit} live clients, and no more are let in");
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
        .with(header::RETRY_AFTER, HeaderValue::from_static(COME_AGAIN))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Since {
    /// Only later samples.
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
}

/// `GET /api/throughput?since=…`: the last fifteen minutes, a sample every five seconds.
#[utoipa::path(
    get, path = "/api/throughput", tag = "live", params(Since),
    responses((status = 200, body = Listed), Problem),
)]
pub(super) async fn throughput(
    State(admin): State<Arc<Admin>>,
    since: Result<extract::Query<Since>, extract::rejection::QueryRejection>,
) -> Result<Json<Listed>, Problem> {
    Ok(Json(admin.live.samples.since(asked(since)?.since)))
}

impl Admin {
    /// Whether somebody who came with these headers would still be let in. While the store is away
    /// nobody knows, and whoever is in stays.
    async fn lets_in(&self, headers: &HeaderMap) -> bool {
        self.gate.known(headers).await.map_or(true, |who| who.is_some())
    }

    /// Gathers what clients are shown, until the program ends.
    pub(super) async fn feed_live(self: Arc<Self>) {
        let live = &self.live;
        tokio::select! {
            () = live.ends.cancelled() => {}
            () = live.ring.announce() => {}
            () = live.clients.watch(&live.ring) => {}
            () = live.tail.run(self.pipeline.tap()) => {}
            () = Changes::new(self.clone()).watch() => {}
            () = self.watch_throughput() => {}
            () = self.show_health() => {}
        }
    }

    async fn watch_throughput(&self) {
        let live = &self.live;
        let mut second = interval(Duration::from_secs(1));
        second.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut before = Count::now(&self.pipeline);
        let (mut kept_before, mut kept_at) = (Count::now(&self.pipeline), Instant::now());
        loop {
            let now = second.tick().await;
            let count = Count::now(&self.pipeline);
            if now - kept_at >= throughput::EVERY {
                live.samples.add(count.sample(&kept_before, &self.pipeline));
                (kept_before, kept_at) = (Count::now(&self.pipeline), now);
            }
            if live.is_on() {
                let sample = count.sample(&before, &self.pipeline);
                let topic = Some(Topic::Throughput);
                live.ring.publish(vec![Draft::new("throughput", topic, &sample)]);
            }
            before = count;
        }
    }

    async fn show_health(&self) {
        let mut second = interval(Duration::from_secs(1));
        second.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut shown: Option<(BTreeMap<_, _>, Instant)> = None;
        loop {
            let now = second.tick().await;
            if !self.live.is_on() {
                shown = None;
                continue;
            }
            let health = self.look_after_health().await;
            let statuses = health.statuses();
            let is_news = shown
                .as_ref()
                .is_none_or(|(before, at)| *before != statuses || now - *at >= HEALTH_EVERY);
            if is_news {
                shown = Some((statuses, now));
                self.live.ring.publish(vec![Draft::new("health", Some(Topic::Health), &*health)]);
            }
        }
    }
}
