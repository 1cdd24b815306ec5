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
    http::{StatusCode, header},
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
    endpoint::Route,
    fault::{Fault, Plan},
    limits::{Refusal, Usage},
    record::{Recorded, Recorder, masked},
    reply::{Body, Reply},
    webhook::{self, Delivery},
    work::{Incomer, forbidden, proxy_error, too_many, unauthorized, work},
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

    pub(super) fn usage<T>(&self, work: impl FnOnce(&mut Usage) -> T) -> T {
        work(&mut lock(&self.usage))
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
