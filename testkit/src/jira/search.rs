//! Searching, as Cloud and as Data Center do it.

use std::sync::Arc;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{
    jql::{self, Query},
    render::{Renderer, Wanted},
    reply::{Call, Reply},
    world::{Issue, World},
};

const GONE_3: &str = "The requested API has been removed. Please migrate to the /rest/api/3/search/jql API. A full migration guideline is available at https://developer.atlassian.com/changelog/#CHANGE-2046";
const GONE_2: &str = "The requested API has been removed. Please use the newer, enhanced search-based API instead. Deprecation details are available at https://developer.atlassian.com/changelog/#CHANGE-2046.";
const UNBOUNDED: &str =
    "Unbounded JQL queries are not allowed here. Please add a search restriction to your query.";
const NO_PAYLOAD: &str =
    "Invalid request payload. Refer to the REST API documentation and try again.";

/// What the body of Cloud's search may say.
const KNOWN: [&str; 8] = [
    "jql",
    "nextPageToken",
    "maxResults",
    "fields",
    "expand",
    "properties",
    "fieldsByKeys",
    "reconcileIssues",
];

/// Cloud's removed search.
pub(super) fn gone(call: &Call) -> Reply {
    Reply::error(410, if call.version == 3 { GONE_3 } else { GONE_2 })
}

pub(super) fn search(world: &mut World, call: &Call) -> Reply {
    let found =
        if world.settings.is_cloud() { by_token(world, call) } else { by_start(world, call) };
    found.unwrap_or_else(|message| Reply::error(400, &message))
}

fn jql(call: &Call) -> String {
    let jql = if call.is_get {
        call.parameter("jql")
    } else {
        call.body["jql"].as_str().map(str::to_owned)
    };
    jql.unwrap_or_default()
}

fn fields(call: &Call, fallback: &str) -> Wanted {
    let names: Vec<String> = if call.is_get {
        let names = call.parameter("fields").unwrap_or_default();
        names.split(',').map(|name| name.trim().to_owned()).collect()
    } else {
        let names = call.body["fields"].as_array().into_iter().flatten();
        names.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    Wanted::of(&names, fallback)
}

fn find(world: &mut World, query: &Query, reconciled: &[u64]) -> Result<Vec<Arc<Issue>>, String> {
    query.check(world)?;
    let mut found = world.indexed(reconciled);
    found.retain(|issue| query.finds(issue, &world.settings));
    query.sort(&mut found);
    Ok(found)
}

fn page(world: &World, call: &Call, found: &[Arc<Issue>], wanted: &Wanted) -> Vec<Value> {
    let renderer = Renderer { settings: &world.settings, version: call.version, base: &call.base };
    found.iter().map(|issue| renderer.issue(issue, wanted)).collect()
}

/// Cloud: pages by a token, no total, nothing but ids unless fields are asked for.
fn by_token(world: &mut World, call: &Call) -> Result<Reply, String> {
    let is_known = |name: &String| KNOWN.contains(&name.as_str());
    if call.body.as_object().is_some_and(|body| !body.keys().all(is_known)) {
        return Err(NO_PAYLOAD.to_owned());
    }
    let jql = jql(call);
    let query = jql::parse(&jql, &world.settings)?;
    if query.filter.is_none() {
        return Err(UNBOUNDED.to_owned());
    }
    let token = if call.is_get {
        call.parameter("nextPageToken")
    } else {
        call.body["nextPageToken"].as_str().map(str::to_owned)
    };
    let start = token.map_or(Ok(0), |token| start_of(&token, &jql))?;
    let wanted = fields(call, "id");
    let most = if wanted.is_heavy() { 100 } else { 5_000 };
    let most = call.number("maxResults").unwrap_or(50).clamp(1, most);
    let found = find(world, &query, &reconciled(call)?)?;
    let end = found.len().min(start.saturating_add(most));
    let issues = page(world, call, &found[start.min(end)..end], &wanted);
    let is_last = end == found.len();
    let mut out = json!({"issues": issues, "isLast": is_last});
    if !is_last {
        out["nextPageToken"] = json!(BASE64_URL_SAFE_NO_PAD.encode(format!("{end}:{jql}")));
    }
    Ok(Reply::ok(out))
}

/// A token leads on in its own query only.
fn start_of(token: &str, jql: &str) -> Result<usize, String> {
    let decoded = BASE64_URL_SAFE_NO_PAD.decode(token).ok();
    let decoded = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    let start = decoded.as_deref().and_then(|text| text.split_once(':'));
    start
        .filter(|(_, known)| *known == jql)
        .and_then(|(start, _)| start.parse().ok())
        .ok_or_else(|| "The provided next page token is invalid or expired.".to_owned())
}

/// Issues that are to be seen as they are: at most 50, by their numeric ids.
fn reconciled(call: &Call) -> Result<Vec<u64>, String> {
    let ids: Vec<u64> = if call.is_get {
        let ids = call.parameter("reconcileIssues").unwrap_or_default();
        ids.split(',').filter_map(|id| id.parse().ok()).collect()
    } else {
        let ids = call.body["reconcileIssues"].as_array().into_iter().flatten();
        ids.filter_map(Value::as_u64).collect()
    };
    if ids.len() > 50 { Err(NO_PAYLOAD.to_owned()) } else { Ok(ids) }
}

/// Data Center: pages by their start, with the total.
fn by_start(world: &mut World, call: &Call) -> Result<Reply, String> {
    let query = jql::parse(&jql(call), &world.settings)?;
    let start = call.number("startAt").unwrap_or(0);
    let most = call.number("maxResults").unwrap_or(50).min(1_000);
    // Only Cloud leaves keys out.
    let wanted = fields(call, "*navigable").with_key();
    let found = find(world, &query, &[])?;
    let end = found.len().min(start.saturating_add(most));
    let issues = page(world, call, &found[start.min(end)..end], &wanted);
    Ok(Reply::ok(json!({
        "expand": "names,schema", "startAt": start, "maxResults": most, "total": found.len(),
        "issues": issues,
    })))
}
