//! For people who try a program against the fake: pages, and a way to make it fail.

use std::{collections::HashMap, fmt::Write, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{Path, Query, State},
    http::{HeaderMap, header},
    response::Response,
    routing::{get, post},
};
use serde_json::{Value, json};

use super::{
    endpoint::Endpoint,
    fault::{Fault, Plan, Reason},
    render::Renderer,
    reply::{Body, Reply},
    server::{Shared, respond},
    settings::Category,
    world::Issue,
};

type Parameters = Query<HashMap<String, String>>;

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/", get(list))
        .route("/browse/{key}", get(browse))
        .route("/_control/issues", get(issues))
        .route("/_control/resolve/{key}", post(resolve))
        .route("/_control/reopen/{key}", post(reopen))
        .route("/_control/delete/{key}", post(delete))
        .route("/_control/fail", post(fail))
        .route("/_control/chaos", post(chaos))
        .route("/_control/down", post(down))
        .route("/_control/up", post(up))
}

async fn issues(State(shared): State<Arc<Shared>>) -> Response {
    let issues: Vec<Value> = shared.world(|world| {
        let renderer = Renderer { settings: &world.settings, version: 2, base: &shared.base };
        let issue = |issue: &Arc<Issue>| {
            json!({"id": issue.id, "key": issue.key, "fields": renderer.fields(issue)})
        };
        world.all().map(issue).collect()
    });
    respond(Reply::ok(json!({"issues": issues})))
}

/// Back to the page for a browser, nothing for others.
fn done(headers: &HeaderMap, page: &str, found: Option<()>) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let is_browser = accept.is_some_and(|accept| accept.contains("text/html"));
    let mut reply = match found {
        None => Reply::no_issue(),
        Some(()) if is_browser => Reply::empty(303),
        Some(()) => Reply::empty(204),
    };
    if reply.status == 303 {
        reply.headers.push(("location", page.to_owned()));
    }
    respond(reply)
}

async fn resolve(
    State(shared): State<Arc<Shared>>,
    Path(key): Path<String>,
    Query(parameters): Parameters,
    headers: HeaderMap,
) -> Response {
    let resolution = parameters.get("resolution").cloned();
    set(&shared, &key, Category::Done, resolution, &headers)
}

async fn reopen(
    State(shared): State<Arc<Shared>>,
    Path(key): Path<String>,
    headers: HeaderMap,
) -> Response {
    set(&shared, &key, Category::New, None, &headers)
}

fn set(
    shared: &Shared,
    key: &str,
    category: Category,
    resolution: Option<String>,
    headers: &HeaderMap,
) -> Response {
    let found = shared.world(|world| {
        let mut statuses = world.settings.statuses.iter();
        let status = statuses.find(|status| status.category == category)?.clone();
        world.update(key, |issue| issue.set_status(status, resolution))
    });
    done(headers, &format!("/browse/{}", escape(key)), found)
}

async fn delete(
    State(shared): State<Arc<Shared>>,
    Path(key): Path<String>,
    headers: HeaderMap,
) -> Response {
    done(&headers, "/", shared.world(|world| world.delete(&key)))
}

/// `fault` as [`Fault`] reads it, with `retry_after` and `reason` for 429.
fn fault(parameters: &HashMap<String, String>) -> Result<Fault, String> {
    let fault = parameters.get("fault").ok_or("the parameter fault is needed")?.parse()?;
    let Fault::TooManyRequests { .. } = fault else { return Ok(fault) };
    let retry_after = parameters.get("retry_after").and_then(|seconds| seconds.parse().ok());
    let reasons = [Reason::Burst, Reason::PerIssue, Reason::QuotaTenant, Reason::QuotaGlobal];
    let named = parameters.get("reason");
    let reason = reasons.into_iter().find(|reason| named.is_some_and(|it| it == reason.as_str()));
    Ok(Fault::TooManyRequests {
        retry_after: retry_after.unwrap_or(1),
        reason: reason.unwrap_or(Reason::Burst),
    })
}

fn told(result: Result<(), String>) -> Response {
    match result {
        Ok(()) => respond(Reply::empty(204)),
        Err(message) => respond(Reply::error(400, &message)),
    }
}

/// `?endpoint=create&fault=reset-after&count=3`
async fn fail(State(shared): State<Arc<Shared>>, Query(parameters): Parameters) -> Response {
    told((|| {
        let endpoint = parameters.get("endpoint").map(|name| name.parse()).transpose()?;
        let count = parameters.get("count").and_then(|count| count.parse().ok()).unwrap_or(1);
        let fault = fault(&parameters)?;
        let endpoint = endpoint.unwrap_or(Endpoint::Any);
        shared.plan(|plan| plan.fail_next(endpoint, count, &fault));
        Ok(())
    })())
}

/// `?share=0.2&faults=reset-after,503-before&seed=7`
async fn chaos(State(shared): State<Arc<Shared>>, Query(parameters): Parameters) -> Response {
    told((|| {
        let number = |name: &str| parameters.get(name).and_then(|value| value.parse::<f64>().ok());
        let faults = parameters.get("faults").map_or("", String::as_str);
        let faults: Result<Vec<Fault>, String> =
            faults.split(',').filter(|name| !name.is_empty()).map(str::parse).collect();
        let seed = parameters.get("seed").and_then(|seed| seed.parse().ok()).unwrap_or(0);
        let (share, faults) = (number("share").unwrap_or(0.0), faults?);
        shared.plan(|plan| plan.chaos(share, &faults, seed));
        Ok(())
    })())
}

async fn down(State(shared): State<Arc<Shared>>, Query(parameters): Parameters) -> Response {
    told(fault(&parameters).map(|fault| shared.plan(|plan| plan.down(Some(fault)))))
}

async fn up(State(shared): State<Arc<Shared>>) -> Response {
    shared.plan(Plan::clear);
    told(Ok(()))
}

/// How often the pages load themselves again.
const REFRESH: Duration = Duration::from_secs(5);

async fn list(State(shared): State<Arc<Shared>>) -> Response {
    let mut rows = String::new();
    shared.world(|world| {
        let mut issues: Vec<_> = world.all().collect();
        issues.reverse();
        for issue in issues {
            let _ = write!(
                rows,
                "<tr><td><a href=\"/browse/{0}\">{0}</a></td><td>{1}</td><td>{2}</td><td>{3}</td></tr>",
                escape(&issue.key),
                escape(&issue.summary),
                escape(&state(issue)),
                buttons(issue),
            );
        }
    });
    let table = format!(
        "<h1>Fake Jira</h1><table><tr><th>Key</th><th>Summary</th><th>Status</th><th></th></tr>{rows}</table>"
    );
    respond(page("Fake Jira", &table))
}

async fn browse(State(shared): State<Arc<Shared>>, Path(key): Path<String>) -> Response {
    let found = shared.world(|world| world.find(&key).map(|issue| Issue::clone(issue)));
    let Some(issue) = found else {
        return respond(Reply { status: 404, ..page("No issue", "<h1>No such issue</h1>") });
    };
    let mut out = format!(
        "<p><a href=\"/\">All issues</a></p><h1>{}: {}</h1><p>{}</p>{}",
        escape(&issue.key),
        escape(&issue.summary),
        escape(&state(&issue)),
        buttons(&issue)
    );
    let facts = [
        ("Type", issue.issue_type.clone()),
        ("Priority", issue.priority.clone().unwrap_or_default()),
        ("Labels", issue.labels.join(" ")),
        ("Components", issue.components.join(", ")),
        ("Created", issue.created.to_string()),
        ("Updated", issue.updated.to_string()),
    ];
    let custom = issue.custom.iter().map(|(name, value)| (name.as_str(), value.to_string()));
    let links = issue
        .links
        .iter()
        .map(|link| ("Link", format!("{}: {} and {}", link.kind, link.inward, link.outward)));
    for (name, value) in facts.into_iter().chain(custom).chain(links) {
        let _ = write!(out, "<div><b>{}</b> {}</div>", escape(name), escape(&value));
    }
    let _ = write!(out, "<h2>Description</h2><pre>{}</pre>", escape(&issue.description));
    for comment in &issue.comments {
        let (at, body) = (comment.created, escape(&comment.body));
        let _ = write!(out, "<h2>Comment of {at}</h2><pre>{body}</pre>");
    }
    respond(page(&issue.key, &out))
}

fn state(issue: &Issue) -> String {
    match &issue.resolution {
        Some(resolution) => format!("{} ({resolution})", issue.status.name),
        None => issue.status.name.clone(),
    }
}

fn buttons(issue: &Issue) -> String {
    let key = escape(&issue.key);
    let actions: &[(&str, &str)] = if issue.status.category == Category::Done {
        &[("reopen", "Reopen")]
    } else {
        &[("resolve", "Done"), ("resolve", "Won't Do")]
    };
    let button = |(action, name): &(&str, &str)| {
        let query = if *action == "resolve" {
            format!("?resolution={}", name.replace(' ', "+").replace('\'', "%27"))
        } else {
            String::new()
        };
        let name = escape(name);
        format!("<button formaction=\"/_control/{action}/{key}{query}\">{name}</button> ")
    };
    let buttons: String = actions.iter().map(button).collect();
    format!("<form method=\"post\">{buttons}</form>")
}

fn page(title: &str, content: &str) -> Reply {
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta http-equiv=\"refresh\" content=\"{}\"><title>{}</title>\
         <style>body{{font:16px sans-serif;margin:2em}}td,th{{padding:.3em .8em;text-align:left}}\
         pre{{background:#f4f4f4;padding:1em;overflow:auto}}</style></head><body>{content}</body></html>",
        REFRESH.as_secs(),
        escape(title)
    );
    Reply { status: 200, headers: Vec::new(), body: Body::Html(html) }
}

/// Text for HTML, in content and in attributes.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}
