//! The listener: connections that a fault can break, and the way of each request from its record
//! to its answer.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Extension, Router,
    body::{self, Body as HttpBody},
    extract::{Path, Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::any,
};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use serde_json::Value;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, mpsc},
    task::JoinSet,
};
use tower::ServiceExt;

use super::{
    control,
    endpoint::{Endpoint, Route},
    fault::{Fault, Plan, Reason},
    issues,
    limits::{Refusal, Standing, Usage},
    meta,
    record::{Recorded, Recorder, masked},
    reply::{Body, Call, Reply},
    search,
    webhook::{self, Delivery},
    world::World,
};

/// No request is larger.
const LARGEST_BODY: usize = 32 * 1024 * 1024;

/// Everything that requests and the test have in common.
pub(super) struct Shared {
    pub base: String,
    world: Mutex<World>,
    plan: Mutex<Plan>,
    usage: Mutex<Usage>,
    recorder: Mutex<Recorder>,
    webhooks: mpsc::Sender<Delivery>,
}

/// A panic elsewhere is that test's failure; what is held stays readable.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn new(base: String, world: World, webhooks: mpsc::Sender<Delivery>) -> Self {
        Self {
            base,
            world: Mutex::new(world),
            plan: Mutex::default(),
            usage: Mutex::default(),
            recorder: Mutex::default(),
            webhooks,
        }
    }

    /// Reads or changes the world, and tells webhooks what changed.
    pub(super) fn world<T>(&self, work: impl FnOnce(&mut World) -> T) -> T {
        let mut world = lock(&self.world);
        let done = work(&mut world);
        let changes = std::mem::take(&mut world.changes);
        for delivery in webhook::deliveries(&world.settings, &self.base, changes.into_iter()) {
            // Full means that nobody takes them: Jira, too, gives up some time.
            let _ = self.webhooks.try_send(delivery);
        }
        done
    }

    pub(super) fn plan<T>(&self, work: impl FnOnce(&mut Plan) -> T) -> T {
        work(&mut lock(&self.plan))
    }

    pub(super) fn recorder<T>(&self, work: impl FnOnce(&mut Recorder) -> T) -> T {
        work(&mut lock(&self.recorder))
    }
}

/// Breaks the connection that a request came on.
#[derive(Clone, Default)]
struct Hangup(Arc<Notify>);

impl Hangup {
    async fn now(&self) -> Infallible {
        self.0.notify_one();
        std::future::pending().await
    }
}

pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut router = Router::new().route("/rest/{*path}", any(gateway));
    if shared.world(|world| world.settings.has_control) {
        router = router.merge(control::routes());
    }
    let router = router.with_state(shared);
    let mut connections = JoinSet::new();
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            connections.spawn(serve_connection(stream, router.clone()));
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn serve_connection(stream: TcpStream, router: Router) {
    let hangup = Hangup::default();
    let of_request = hangup.clone();
    let service = router.map_request(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(of_request.clone());
        request.map(HttpBody::new)
    });
    let _ = stream.set_nodelay(true);
    let mut connection = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    tokio::select! {
        // A client may go away.
        _ = Pin::new(&mut connection) => {}
        () = hangup.0.notified() => {
            // Without lingering, closing sends a reset.
            let _ = connection.into_parts().io.into_inner().set_zero_linger();
        }
    }
}

/// What came, before anything is done with it.
struct Incomer {
    method: String,
    route: Route,
    query: Vec<(String, String)>,
    headers: HeaderMap,
    body: Vec<u8>,
}

async fn gateway(
    State(shared): State<Arc<Shared>>,
    Extension(hangup): Extension<Hangup>,
    Path(path): Path<String>,
    request: Request,
) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = body::to_bytes(body, LARGEST_BODY).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let method = head.method.as_str().to_owned();
    let is_cloud = shared.world(|world| world.settings.is_cloud());
    let route = Route::of(&method, &format!("/rest/{path}"), is_cloud);
    let query = head.uri.query().unwrap_or_default();
    let query = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let fault = shared.plan(|plan| plan.next(route.endpoint));
    let incomer = Incomer { method, route, query, headers: head.headers, body: body.to_vec() };
    let path = head.uri.path_and_query().map_or_else(String::new, ToString::to_string);
    let number = record(&shared, &incomer, path, fault.as_ref());
    let reply = answer(&shared, incomer, fault, &hangup).await;
    if let Some(number) = number {
        let body = if let Body::Json(body) = &reply.body { body } else { &Value::Null };
        shared.recorder(|recorder| recorder.answer(number, reply.status, body));
    }
    respond(reply)
}

fn record(
    shared: &Shared,
    incomer: &Incomer,
    path: String,
    fault: Option<&Fault>,
) -> Option<usize> {
    let most = shared.world(|world| world.settings.recorded_requests);
    if most == 0 {
        return None;
    }
    let body = match &incomer.body[..] {
        [] => Value::Null,
        bytes => serde_json::from_slice(bytes)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(bytes).into_owned())),
    };
    let recorded = Recorded {
        at: jiff::Timestamp::now(),
        method: incomer.method.clone(),
        path,
        endpoint: incomer.route.endpoint,
        body,
        authorization: incomer.authorization().map(masked),
        fault: fault.cloned(),
        status: None,
        answer: Value::Null,
    };
    Some(shared.recorder(|recorder| recorder.enter(recorded, most)))
}

/// Does the work before, after or instead of what goes wrong.
async fn answer(
    shared: &Arc<Shared>,
    incomer: Incomer,
    fault: Option<Fault>,
    hangup: &Hangup,
) -> Reply {
    match fault {
        None => work(shared, incomer),
        Some(Fault::ResetBefore) => match hangup.now().await {},
        Some(Fault::ResetAfter) => {
            work(shared, incomer);
            match hangup.now().await {}
        }
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::HangAfter) => {
            work(shared, incomer);
            std::future::pending().await
        }
        Some(Fault::Status5xxBefore(status)) => proxy_error(status),
        Some(Fault::Status5xxAfter(status)) => {
            work(shared, incomer);
            proxy_error(status)
        }
        Some(Fault::TooManyRequests { retry_after, reason }) => {
            let wait = Duration::from_secs(retry_after);
            too_many(&Refusal { reason, wait, limit: 100 })
        }
        Some(Fault::Slow(delay)) => slowly(shared.clone(), incomer, delay).await,
        Some(Fault::Unauthorized) => unauthorized(shared.world(|world| world.settings.is_cloud())),
        Some(Fault::Forbidden) => forbidden(),
        Some(Fault::Conflict) => {
            Reply::error(409, "The issue could not be updated due to a conflicting update.")
        }
    }
}

/// In a task of its own: a client that stops waiting does not stop the server.
async fn slowly(shared: Arc<Shared>, incomer: Incomer, delay: Duration) -> Reply {
    let task = tokio::spawn(async move {
        tokio::time::sleep(delay).await;
        work(&shared, incomer)
    });
    task.await.unwrap_or_else(|_| proxy_error(500))
}

impl Incomer {
    fn header(&self, name: header::HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    fn authorization(&self) -> Option<&str> {
        self.header(header::AUTHORIZATION)
    }

    fn is_json(&self) -> bool {
        let kind = self.header(header::CONTENT_TYPE).unwrap_or_default();
        kind.split(';').next().is_some_and(|kind| kind.trim() == "application/json")
    }
}

fn work(shared: &Shared, incomer: Incomer) -> Reply {
    let (is_cloud, is_forbidden, limits, expected) = shared.world(|world| {
        let settings = &world.settings;
        let expected = settings.authorization();
        (settings.is_cloud(), settings.is_forbidden, settings.limits.clone(), expected)
    });
    if incomer.authorization() != Some(&expected) {
        return unauthorized(is_cloud);
    }
    if is_forbidden {
        return forbidden();
    }
    let endpoint = incomer.route.endpoint;
    let written =
        matches!(endpoint, Endpoint::EditIssue | Endpoint::AddComment | Endpoint::Transition);
    let named = incomer.route.arguments.first().filter(|_| written);
    let issue = named.and_then(|key| shared.world(|world| Some(world.find(key)?.id.clone())));
    let standing = match lock(&shared.usage).admit(&limits, endpoint, issue.as_deref()) {
        Ok(standing) => standing,
        Err(refusal) => return too_many(&refusal),
    };
    let is_get = incomer.method == "GET";
    let mut body = Value::Null;
    if !is_get {
        if !incomer.is_json() {
            return Reply::empty(415);
        }
        match serde_json::from_slice(&incomer.body) {
            Ok(json) => body = json,
            Err(_) => {
                let message =
                    "There was an error parsing JSON. Check that your request body is valid.";
                return Reply::error(400, message);
            }
        }
    }
    let Route { version, arguments, .. } = incomer.route;
    let base = shared.base.clone();
    let call = Call { version, arguments, query: incomer.query, body, base, is_get };
    let reply = shared.world(|world| dispatch(world, endpoint, &call));
    with_standing(reply, &standing)
}

fn dispatch(world: &mut World, endpoint: Endpoint, call: &Call) -> Reply {
    match endpoint {
        Endpoint::Create => issues::create(world, call),
        Endpoint::CreateBulk => issues::create_bulk(world, call),
        Endpoint::GetIssue => issues::get(world, call),
        Endpoint::EditIssue => issues::edit(world, call),
        Endpoint::AddComment => issues::add_comment(world, call),
        Endpoint::Comments => issues::comments(world, call),
        Endpoint::Transitions => issues::transitions(world, call),
        Endpoint::Transition => issues::transition(world, call),
        Endpoint::Search => search::search(world, call),
        Endpoint::OldSearch => search::gone(call),
        Endpoint::LinkIssues => issues::link(world, call),
        Endpoint::CreateMetaTypes => meta::create_meta_types(world, call),
        Endpoint::CreateMetaFields => meta::create_meta_fields(world, call),
        Endpoint::Project => meta::get_project(world, call),
        Endpoint::Myself => meta::myself(world, call),
        Endpoint::ServerInfo => meta::server_info(world, call),
        Endpoint::Priorities => meta::priorities(world, call),
        Endpoint::Fields => meta::fields(world),
        Endpoint::Unknown | Endpoint::Any => Reply::error(404, "null for uri"),
    }
}

/// A proxy before Jira answers, in no JSON.
fn proxy_error(status: u16) -> Reply {
    Reply::html(status, format!("<html><head><title>{status}</title></head><body></body></html>"))
}

fn unauthorized(is_cloud: bool) -> Reply {
    let message = "Client must be authenticated to access this resource.";
    if is_cloud {
        return Reply::error(401, message);
    }
    Reply::json(401, serde_json::json!({"message": message, "status-code": 401}))
}

fn forbidden() -> Reply {
    Reply::error(403, "You do not have permission to do this.")
}

fn too_many(refusal: &Refusal) -> Reply {
    let mut reply = Reply::error(429, "Rate limit exceeded.");
    let seconds = refusal.wait.as_millis().div_ceil(1_000).max(1);
    let reset = jiff::Timestamp::now() + Duration::from_secs(seconds.try_into().unwrap_or(3_600));
    let is_quota = matches!(refusal.reason, Reason::QuotaTenant | Reason::QuotaGlobal);
    reply.headers = vec![
        ("retry-after", seconds.to_string()),
        ("x-ratelimit-limit", refusal.limit.to_string()),
        ("x-ratelimit-remaining", "0".to_owned()),
        ("x-ratelimit-reset", reset.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
        ("ratelimit-reason", refusal.reason.as_str().to_owned()),
    ];
    if is_quota {
        reply.headers.push(("x-ratelimit-nearlimit", "true".to_owned()));
    }
    reply
}

fn with_standing(mut reply: Reply, standing: &Standing) -> Reply {
    if let Some((limit, remaining)) = standing.rate {
        reply.headers.push(("x-ratelimit-limit", limit.to_string()));
        reply.headers.push(("x-ratelimit-remaining", remaining.to_string()));
    }
    if let Some(near) = standing.near_limit {
        reply.headers.push(("x-ratelimit-nearlimit", near.to_string()));
    }
    reply
}

pub(super) fn respond(reply: Reply) -> Response {
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let (kind, body) = match reply.body {
        Body::Empty => (None, String::new()),
        Body::Json(body) => (Some("application/json;charset=UTF-8"), body.to_string()),
        Body::Html(body) => (Some("text/html;charset=UTF-8"), body),
    };
    let mut response = Response::builder().status(status);
    for (name, value) in reply.headers {
        response = response.header(name, value);
    }
    if let Some(kind) = kind {
        response = response.header(header::CONTENT_TYPE, kind);
    }
    response.body(HttpBody::from(body)).unwrap_or_else(|_| status.into_response())
}
