//! From a request that came through to the call it makes: who asks, how often, and for what.

use std::time::Duration;

use axum::http::{HeaderMap, header};
use serde_json::{Value, json};

use super::{
    endpoint::{Endpoint, Route},
    fault::Reason,
    issues,
    limits::{Refusal, Standing},
    meta,
    reply::{Call, Reply},
    search,
    server::Shared,
    world::World,
};

/// What came, before anything is done with it.
pub(super) struct Incomer {
    pub method: String,
    pub route: Route,
    pub query: Vec<(String, String)>,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Incomer {
    fn header(&self, name: header::HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub(super) fn authorization(&self) -> Option<&str> {
        self.header(header::AUTHORIZATION)
    }

    fn is_json(&self) -> bool {
        let kind = self.header(header::CONTENT_TYPE).unwrap_or_default();
        kind.split(';').next().is_some_and(|kind| kind.trim() == "application/json")
    }

    /// The body of a call that has one.
    fn json(&self) -> Result<Value, Reply> {
        if self.method == "GET" {
            return Ok(Value::Null);
        }
        if !self.is_json() {
            return Err(Reply::empty(415));
        }
        let message = "There was an error parsing JSON. Check that your request body is valid.";
        serde_json::from_slice(&self.body).map_err(|_| Reply::error(400, message))
    }
}

/// Does what is asked for.
pub(super) fn work(shared: &Shared, incomer: Incomer) -> Reply {
    let standing = match admit(shared, &incomer) {
        Ok(standing) => standing,
        Err(reply) => return reply,
    };
    let body = match incomer.json() {
        Ok(body) => body,
        Err(reply) => return reply,
    };
    let Route { version, endpoint, arguments } = incomer.route;
    let (base, is_get) = (shared.base.clone(), incomer.method == "GET");
    let call = Call { version, arguments, query: incomer.query, body, base, is_get };
    with_standing(shared.world(|world| dispatch(world, endpoint, &call)), &standing)
}

/// Whether who asks may, and may now.
fn admit(shared: &Shared, incomer: &Incomer) -> Result<Standing, Reply> {
    let Route { endpoint, arguments, .. } = &incomer.route;
    let is_write =
        matches!(endpoint, Endpoint::EditIssue | Endpoint::AddComment | Endpoint::Transition);
    let named = arguments.first().filter(|_| is_write);
    let (limits, written) = shared.world(|world| {
        let settings = &world.settings;
        if incomer.authorization() != Some(&settings.authorization()) {
            return Err(unauthorized(settings.is_cloud()));
        }
        if settings.is_forbidden {
            return Err(forbidden());
        }
        let issue = named.and_then(|key| world.find(key));
        Ok((settings.limits.clone(), issue.map(|issue| issue.id.clone())))
    })?;
    let admitted = shared.usage(|usage| usage.admit(&limits, *endpoint, written.as_deref()));
    admitted.map_err(|refusal| too_many(&refusal))
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
pub(super) fn proxy_error(status: u16) -> Reply {
    Reply::html(status, format!("<html><head><title>{status}</title></head><body></body></html>"))
}

pub(super) fn unauthorized(is_cloud: bool) -> Reply {
    let message = "Client must be authenticated to access this resource.";
    if is_cloud {
        return Reply::error(401, message);
    }
    Reply::json(401, json!({"message": message, "status-code": 401}))
}

pub(super) fn forbidden() -> Reply {
    Reply::error(403, "You do not have permission to do this.")
}

pub(super) fn too_many(refusal: &Refusal) -> Reply {
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
