//! Every route of the admin listener, who may use it, and what everybody else hears.
//!
//! A new route belongs into [`ROUTES`]; without it a test fails.

#![expect(clippy::unwrap_used, reason = "a failing test is told by a panic")]

use std::{collections::BTreeSet, fs, path::Path};

use faultline_testkit::{eventually, program::Program};
use reqwest::RequestBuilder;
use serde_json::Value;

#[path = "support/login.rs"]
mod login;

use login::{Session, add_token, add_user, log_in, program, status};

/// What a route needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Needs {
    Nothing,
    /// A token for metrics, or any role.
    Metrics,
    Viewer,
    Operator,
    Admin,
}

use Needs::{Admin, Metrics, Nothing, Operator, Viewer};

/// A route: method, path as the API describes it, what it needs, the body that is sent, and what
/// whoever is let in hears on an empty store. `{…}` of a path is 999999.
type Route = (&'static str, &'static str, Needs, &'static str, u16);

const ROUTES: &[Route] = &[
    // Not described: they are no API.
    ("GET", "/livez", Nothing, "", 200),
    ("GET", "/readyz", Nothing, "", 200),
    ("GET", "/metrics", Metrics, "", 200),
    ("GET", "/health", Viewer, "", 200),
    ("GET", "/api/openapi.json", Viewer, "", 200),
    ("GET", "/api/docs", Viewer, "", 200),
    ("GET", "/api/docs.js", Viewer, "", 200),
    ("GET", "/api/docs.css", Viewer, "", 200),
    ("GET", "/docs/runbook.md", Nothing, "", 200),
    ("GET", "/docs/operations.md", Nothing, "", 200),
    ("GET", "/docs/manual.css", Nothing, "", 200),
    // Health and lists.
    ("GET", "/api/health", Viewer, "", 200),
    ("GET", "/api/health/history", Viewer, "", 200),
    ("GET", "/api/errors", Viewer, "", 200),
    ("GET", "/api/ledger", Viewer, "", 200),
    ("GET", "/api/events", Viewer, "", 200),
    ("GET", "/api/events/{id}", Viewer, "", 400),
    ("GET", "/api/events/export", Viewer, "", 400),
    ("GET", "/api/audit", Viewer, "", 200),
    ("GET", "/api/audit/export", Viewer, "", 400),
    ("GET", "/api/statistics", Viewer, "", 200),
    ("GET", "/api/retention", Viewer, "", 200),
    ("GET", "/api/partners", Viewer, "", 200),
    ("GET", "/api/config", Admin, "", 200),
    ("GET", "/api/notifications", Viewer, "", 200),
    ("POST", "/api/notifications/read", Viewer, r#"{"all":true}"#, 200),
    ("GET", "/api/alerts", Viewer, "", 200),
    ("POST", "/api/alerts/test", Operator, "", 200),
    ("POST", "/api/alerts/{id}/silence", Operator, r#"{"for":"4h"}"#, 404),
    ("GET", "/api/rejected", Viewer, "", 200),
    ("GET", "/api/rejected/{id}", Viewer, "", 404),
    ("GET", "/api/rejected/{id}/bytes", Viewer, "", 404),
    ("POST", "/api/rejected/{id}/replay", Operator, "", 404),
    ("POST", "/api/rejected/replay", Operator, r#"{"source":"maxwell"}"#, 200),
    // What changes, as it changes.
    ("GET", "/api/live", Viewer, "", 200),
    ("GET", "/api/throughput", Viewer, "", 200),
    // Faults.
    ("GET", "/api/faults", Viewer, "", 200),
    ("GET", "/api/faults/{id}", Viewer, "", 404),
    ("GET", "/api/faults/{id}/why", Viewer, "", 404),
    ("GET", "/api/faults/{id}/occurrences", Viewer, "", 404),
    ("GET", "/api/facets", Viewer, "", 200),
    ("POST", "/api/faults/{id}/resolve", Operator, "{}", 404),
    ("POST", "/api/faults/{id}/reopen", Operator, "{}", 404),
    ("POST", "/api/faults/{id}/mute", Operator, "{}", 404),
    ("POST", "/api/faults/{id}/unmute", Operator, "{}", 404),
    ("POST", "/api/faults/{id}/ticket", Operator, "{}", 404),
    ("POST", "/api/faults/{id}/link", Operator, r#"{"key":"OPS-1"}"#, 404),
    ("POST", "/api/tickets", Operator, "{}", 422),
    ("POST", "/api/faults/{id}/merge", Operator, r#"{"into":7}"#, 404),
    ("POST", "/api/faults/{id}/split", Operator, r#"{"fingerprint":"v1:x"}"#, 404),
    ("POST", "/api/faults/{id}/pin", Operator, r#"{"fingerprint":"x"}"#, 404),
    // Jobs.
    ("GET", "/api/jobs", Viewer, "", 200),
    ("GET", "/api/jobs/counts", Viewer, "", 200),
    ("GET", "/api/jobs/{id}", Viewer, "", 404),
    ("POST", "/api/jobs/retry", Operator, r#"{"state":"dead"}"#, 200),
    ("POST", "/api/jobs/discard", Operator, r#"{"state":"dead"}"#, 200),
    ("POST", "/api/jobs/{id}/retry", Operator, "", 404),
    ("POST", "/api/jobs/{id}/discard", Operator, "", 404),
    ("POST", "/api/jobs/{id}/edit", Operator, r#"{"summary":"x"}"#, 404),
    ("GET", "/api/dispatch", Viewer, "", 200),
    ("POST", "/api/dispatch/pause", Operator, "", 200),
    ("POST", "/api/dispatch/resume", Operator, "", 200),
    ("POST", "/api/reload", Admin, "", 200),
    // Access.
    ("GET", "/api/session", Nothing, "", 200),
    ("POST", "/api/session", Nothing, "{}", 422),
    ("DELETE", "/api/session", Viewer, "", 204),
    ("POST", "/api/setup", Nothing, "{}", 422),
    ("POST", "/api/session/password", Viewer, "{}", 422),
    ("GET", "/api/users", Admin, "", 200),
    ("POST", "/api/users", Admin, "{}", 422),
    ("PATCH", "/api/users/{name}", Admin, r#"{"role":"viewer"}"#, 404),
    ("DELETE", "/api/users/{name}", Admin, "", 404),
    ("GET", "/api/tokens", Admin, "", 200),
    ("POST", "/api/tokens", Admin, "{}", 422),
    ("DELETE", "/api/tokens/{id}", Admin, "", 404),
];

const ADMIN_TOKEN: &str = "admin-token-of-the-table";
const METRICS_TOKEN: &str = "metrics-token-of-the-table";

fn request(program: &Program, route: &Route) -> RequestBuilder {
    let (method, path, _, body, _) = route;
    let path = match path.split_once('{') {
        Some((start, rest)) => format!("{start}999999{}", rest.split_once('}').unwrap().1),
        None => (*path).to_owned(),
    };
    let request = program.ask(method, &path).header("accept", "application/json");
    match *body {
        "" => request,
        body => request.header("content-type", "application/json").body(body),
    }
}

/// What a request with credentials of these rights hears; `None`: with none, or none that are good.
fn expected(route: &Route, has: Option<Needs>) -> u16 {
    let (.., needs, _, answer) = *route;
    match has {
        _ if needs == Nothing => answer,
        Some(has) if has >= needs => answer,
        // It is good for metrics only.
        Some(Metrics) | None => 401,
        Some(_) => 403,
    }
}

/// Gives a request credentials.
type Give<'a> = Box<dyn Fn(RequestBuilder) -> RequestBuilder + 'a>;

struct World {
    program: Program,
    /// API tokens by what they are good for.
    tokens: [(Needs, String); 4],
    expired: String,
}

impl World {
    async fn new() -> Self {
        let mut program =
            program().set("admin.token", ADMIN_TOKEN).set("admin.metrics_token", METRICS_TOKEN);
        program.start();
        for (name, role) in [("vera", "viewer"), ("otto", "operator"), ("anna", "admin")] {
            add_user(&program, name, role);
        }
        let token = |name, needs| (needs, add_token(&program, name, name));
        let tokens = [
            token("metrics", Metrics),
            token("viewer", Viewer),
            token("operator", Operator),
            token("admin", Admin),
        ];
        let expired = add_token(&program, "expired", "admin");
        program
            .database
            .execute("UPDATE api_tokens SET expires_at = 1 WHERE name = 'expired'")
            .await;
        // Before the store is reached, the ledger is not complete.
        let ledger = || program.look("/api/ledger").bearer_auth(ADMIN_TOKEN);
        eventually("the ledger is complete", async || match status(ledger()).await {
            200 => Ok(()),
            other => Err(other),
        })
        .await;
        Self { program, tokens, expired }
    }

    /// A session of somebody, ended by this statement.
    async fn ended(&self, sql: &str) -> Session {
        let session = log_in(&self.program, "anna").await;
        self.program.database.execute(sql).await;
        session
    }
}

#[tokio::test]
async fn whoever_is_not_known_is_not_let_in() {
    let world = World::new().await;
    let program = &world.program;
    let old = world.ended("UPDATE sessions SET created_at = 1").await;
    let idle = world.ended("UPDATE sessions SET seen_at = 1").await;
    let gone = world.ended("DELETE FROM sessions").await;
    let good = log_in(program, "anna").await;
    let unknown_token = format!("flt_{}", "A".repeat(43));
    let gives: Vec<(&str, Give<'_>)> = vec![
        ("nothing", Box::new(|request| request)),
        ("an unknown token", Box::new(|request| request.bearer_auth(&unknown_token))),
        ("a wrong token", Box::new(|request| request.bearer_auth("wrong"))),
        ("a wrong key", Box::new(|request| request.header("x-api-key", "wrong"))),
        ("half a token", Box::new(|request| request.bearer_auth(&ADMIN_TOKEN[1..]))),
        ("Basic auth", Box::new(|request| request.basic_auth("admin", Some(ADMIN_TOKEN)))),
        ("an expired token", Box::new(|request| request.bearer_auth(&world.expired))),
        ("an old session", Box::new(|request| old.sends(request))),
        ("an idle session", Box::new(|request| idle.sends(request))),
        ("an ended session", Box::new(|request| gone.sends(request))),
        ("a wrong cookie", Box::new(|request| request.header("cookie", "faultline_session=x"))),
        (
            "a cookie of another name",
            Box::new(|request| request.header("cookie", good.cookie.replace('=', "2="))),
        ),
        (
            "a wrong token beside a good cookie",
            Box::new(|request| good.sends(request).bearer_auth("wrong")),
        ),
    ];
    for route in ROUTES {
        for (what, give) in &gives {
            let answer = give(request(program, route)).send().await.unwrap();
            assert_eq!(answer.status(), expected(route, None), "{route:?} with {what}");
            if answer.status() == 401 {
                assert_eq!(answer.headers()["www-authenticate"], "Bearer", "{route:?}");
                assert_eq!(answer.headers()["content-type"], "application/problem+json");
            }
        }
    }
}

#[tokio::test]
async fn each_role_may_do_what_is_its_own() {
    let world = World::new().await;
    let program = &world.program;
    for route in ROUTES {
        for (has, token) in &world.tokens {
            let answer = status(request(program, route).bearer_auth(token)).await;
            let expected = expected(route, Some(*has));
            assert_eq!(answer, expected, "{route:?} with a token for {has:?}");
        }
        let key = request(program, route).header("x-api-key", ADMIN_TOKEN);
        assert_eq!(status(key).await, expected(route, Some(Admin)), "{route:?}");
        let metrics = request(program, route).bearer_auth(METRICS_TOKEN);
        assert_eq!(status(metrics).await, expected(route, Some(Metrics)), "{route:?}");
    }
    for (name, has) in [("vera", Viewer), ("otto", Operator), ("anna", Admin)] {
        let mut session = log_in(program, name).await;
        for route in ROUTES {
            let expected = expected(route, Some(has));
            let is_change = route.0 != "GET" && route.2 != Nothing;
            if is_change {
                let without = request(program, route).header("cookie", &session.cookie);
                assert_eq!(status(without).await, 403, "{route:?}: {name} without a CSRF token");
                let wrong = Session { csrf: "x".to_owned(), ..session.clone() };
                let wrong = wrong.sends(request(program, route));
                assert_eq!(status(wrong).await, 403, "{route:?}: {name} with a wrong CSRF token");
            }
            let answer = status(session.sends(request(program, route))).await;
            assert_eq!(answer, expected, "{route:?}: {name}");
            if (route.0, route.1) == ("DELETE", "/api/session") {
                session = log_in(program, name).await;
            }
        }
    }
}

#[tokio::test]
async fn the_table_has_every_route() {
    let world = World::new().await;
    let api = world.program.look("/api/openapi.json").bearer_auth(ADMIN_TOKEN);
    let api: Value = api.send().await.unwrap().json().await.unwrap();
    let mut described = BTreeSet::new();
    for (path, item) in api["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let Some(role) = operation["x-role"].as_str() else { continue };
            described.insert((method.to_uppercase(), path.clone(), role.to_owned()));
        }
    }
    let undescribed = undescribed();
    let (by_hand, by_name): (Vec<&Route>, Vec<&Route>) =
        ROUTES.iter().partition(|route| undescribed.contains(route.1));
    let in_table = by_name.into_iter().map(|(method, path, needs, ..)| {
        let role = if *needs == Nothing { "open".to_owned() } else { format!("{needs:?}") };
        ((*method).to_owned(), (*path).to_owned(), role.to_lowercase())
    });
    assert_eq!(in_table.collect::<BTreeSet<_>>(), described);
    let by_hand: BTreeSet<String> = by_hand.into_iter().map(|it| it.1.to_owned()).collect();
    assert_eq!(by_hand, undescribed);
}

/// The paths that are routed by hand: `.route("…"`.
fn undescribed() -> BTreeSet<String> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/admin");
    let mut found = BTreeSet::new();
    for entry in walk(&sources) {
        // A relay has routes of its own, a part of these.
        if entry.ends_with("relay.rs") {
            continue;
        }
        let text = fs::read_to_string(entry).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        found.extend(code.split(".route(").skip(1).map(|rest| {
            let path = rest.trim_start().strip_prefix('"').expect("a path as it is");
            path.split_once('"').unwrap().0.to_owned()
        }));
    }
    found
}

fn walk(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(walk(&path));
        } else {
            files.push(path);
        }
    }
    files
}

/// What is not in the table is not there, whatever the method.
#[tokio::test]
async fn nothing_else_is_reachable() {
    let world = World::new().await;
    let program = &world.program;
    let methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"];
    let mut paths: BTreeSet<&str> = ROUTES.iter().map(|route| route.1).collect();
    paths.extend(["/api", "/api/", "/admin", "/api/users/x/y", "//api/users", "/API/users"]);
    for path in paths {
        for method in methods {
            // A HEAD is a GET without its body.
            let asked = if method == "HEAD" { "GET" } else { method };
            if ROUTES.iter().any(|route| (route.0, route.1) == (asked, path)) {
                continue;
            }
            let route: Route = (method, path, Nothing, "", 0);
            let answer = status(request(program, &route).bearer_auth(ADMIN_TOKEN)).await;
            assert!(matches!(answer, 404 | 405), "{method} {path}: {answer}");
        }
    }
}

#[tokio::test]
async fn what_is_opened_needs_nothing() {
    for (open, health, metrics) in
        [("[]", 401, 401), (r#"["health"]"#, 200, 401), (r#"["metrics", "health"]"#, 200, 200)]
    {
        for auth in ["token", "users"] {
            let mut program = program()
                .set("admin.auth", auth)
                .set("admin.token", ADMIN_TOKEN)
                .set("admin.open", open);
            program.start();
            let of = async |path| status(program.look(path)).await;
            assert_eq!([of("/health").await, of("/api/health").await], [health, health], "{open}");
            assert_eq!(of("/metrics").await, metrics, "{open}");
            assert_eq!(of("/api/faults").await, 401, "{open}");
        }
    }
}
