//! What people see and do through the API: jobs, rejected messages, the audit trail, notifications,
//! statistics, settings and partners, of the program as it runs.

#![expect(clippy::unwrap_used, reason = "a failing test is told by a panic")]

use std::collections::BTreeSet;

use faultline_testkit::{
    eventually,
    jira::{Jira, Settings},
    program::{Program, frames},
};
use reqwest::{Client, Response, StatusCode, header};
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_faultline");

/// Started, and its store ready.
async fn started(mut program: Program) -> Program {
    program.start();
    program.settled().await;
    program
}

fn url(program: &Program, path: &str) -> String {
    format!("http://{}{path}", program.admin())
}

async fn post(program: &Program, path: &str, body: Value) -> (u16, Value) {
    let answer = Client::new().post(url(program, path)).json(&body).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn get(program: &Program, path: &str) -> Response {
    program.look(path).send().await.unwrap()
}

async fn report(program: &Program, message: &str) {
    program.report(&json!({ "message": message, "service": "shop" }).to_string()).await;
}

/// All rows of a list, two at a time.
async fn paged(program: &Program, path: &str, name: &str) -> Vec<Value> {
    let mut rows = Vec::new();
    let mut cursor = String::new();
    loop {
        let mark = if path.contains('?') { '&' } else { '?' };
        let page = program.json(&format!("{path}{mark}limit=2{cursor}")).await;
        rows.extend(page[name].as_array().unwrap_or_else(|| panic!("{path}: {page}")).clone());
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return rows,
        }
    }
}

fn column<'a>(rows: &'a [Value], name: &str) -> Vec<&'a str> {
    rows.iter().map(|row| row[name].as_str().unwrap()).collect()
}

/// A hub that dispatches to `jira`, where every ticket is refused for a field that it has not.
fn refused_by(jira: &Jira, mut program: Program) -> Program {
    program = program
        .with_jira(jira)
        .set("jira.rate_per_second", "100")
        .set("jira.poll_every", "100ms")
        .with_config("[[rules]]\nname = \"all\"\nfields = { customfield_10042 = \"x\" }\n");
    program.start();
    program
}

#[tokio::test]
async fn jobs_in_sqlite() {
    jobs(Program::new(BINARY)).await;
}

#[tokio::test]
async fn jobs_in_postgres() {
    jobs(Program::with_postgres(BINARY)).await;
}

async fn jobs(program: Program) {
    let jira = Jira::start(Settings::cloud()).await;
    let program = refused_by(&jira, program);
    for message in ["cannot open the door", "a window broke", "no light at all"] {
        report(&program, message).await;
    }
    eventually("all jobs are dead", async || {
        let counts = program.json("/api/jobs/counts").await;
        if counts["states"]["dead"] == 3 { Ok(()) } else { Err(counts) }
    })
    .await;
    let dead = paged(&program, "/api/jobs?state=dead", "jobs").await;
    assert_eq!(dead.len(), 3);
    assert!(dead.is_sorted_by_key(|job| -job["id"].as_i64().unwrap()), "the newest first");
    let found = paged(&program, "/api/jobs?text=A%20WINDOW&action=create", "jobs").await;
    assert_eq!(found.len(), 1);
    let (id, fault) = (found[0]["id"].as_i64().unwrap(), found[0]["fault"].as_i64().unwrap());
    assert_eq!(paged(&program, &format!("/api/jobs?fault={fault}"), "jobs").await, found);
    let created = found[0]["created_at"].as_str().unwrap();
    let since = paged(&program, &format!("/api/jobs?since={created}"), "jobs").await;
    let until = paged(&program, &format!("/api/jobs?until={created}"), "jobs").await;
    assert_eq!(since.len() + until.len(), 3);
    let shown = program.json(&format!("/api/jobs/{id}")).await;
    assert_eq!(shown["failures"].as_array().unwrap().len(), 1);
    assert_eq!(shown["failures"][0]["problems"][0][0], "customfield_10042");
    assert_eq!(shown["history"][0]["job"], id);
    let counts = program.json(&format!("/api/jobs/counts?fault={fault}")).await;
    assert_eq!(counts["states"]["dead"], 1);
    assert_eq!(counts["queues"][0], json!({ "action": "create", "states": counts["states"] }));

    let which = json!({ "state": "dead", "action": "create", "preview": true });
    assert_eq!(post(&program, "/api/jobs/discard", which).await, (200, json!({ "count": 3 })));
    let (status, _) = post(&program, "/api/jobs/discard", json!({ "preview": true })).await;
    assert_eq!(status, 400, "everything is no filter");
    let discarded = post(&program, "/api/jobs/discard", json!({ "ids": [id] })).await;
    assert_eq!(discarded, (200, json!({ "jobs": [id] })));
    let (status, problem) = post(&program, &format!("/api/jobs/{id}/discard"), json!({})).await;
    assert_eq!(status, 409, "{problem}");
    let audit = paged(&program, "/api/audit?action=job.discard", "audit").await;
    assert_eq!((audit.len(), audit[0]["who"].as_str()), (1, Some("anyone")));
    assert_eq!((audit[0]["job"].as_i64(), audit[0]["fault"].as_i64()), (Some(id), Some(fault)));

    let told = program.json("/api/notifications?severity=critical").await;
    assert_eq!(
        (told["unread"].as_i64(), told["notifications"].as_array().unwrap().len()),
        (Some(3), 3)
    );
    assert!(told["notifications"][0]["body"].as_str().unwrap().contains("customfield_10042"));
    let day = &program.json("/api/statistics").await["jobs"];
    let count = |outcome: &str| {
        let rows = day.as_array().unwrap().iter().filter(|row| row["outcome"] == outcome);
        rows.map(|row| row["count"].as_i64().unwrap()).sum::<i64>()
    };
    assert_eq!((count("dead"), count("discarded"), count("completed")), (3, 1, 0), "{day}");

    let partners = program.json("/api/partners").await;
    let partner = |name: &str| {
        partners["partners"].as_array().unwrap().iter().find(|one| one["name"] == name).unwrap()
    };
    let jira = partner("jira");
    // A bulk request answers, though it refuses single tickets.
    assert!(jira["requests"].as_i64() > Some(0), "{jira}");
    assert_eq!((&jira["auth_failures"], &jira["status"]), (&json!(0), &json!("healthy")), "{jira}");
    assert!(jira["latency_ms"]["p95"].as_f64().unwrap() > 0.0, "{jira}");
    assert_eq!(
        (jira["breaker"].as_str(), jira["is_configured"].as_bool()),
        (Some("closed"), Some(true))
    );
    assert!(jira["last_success"].is_string(), "{jira}");
    let store = partner("store");
    assert_eq!(
        (store["status"].as_str(), store["success_rate"].as_f64()),
        (Some("healthy"), Some(1.0))
    );
    for name in ["redis", "buckets", "mail"] {
        let off = partner(name);
        assert_eq!((off["status"].as_str(), &off["success_rate"]), (Some("off"), &Value::Null));
    }
}

#[tokio::test]
async fn a_jira_that_does_not_let_in_is_told() {
    let jira = Jira::start(Settings::cloud()).await;
    let mut program = Program::new(BINARY)
        .with_jira(&jira)
        .set("jira.token", "wrong-token")
        .set("jira.breaker_open", "1m");
    program.start();
    report(&program, "cannot open the door").await;
    let partner = eventually("Jira has refused", async || {
        let partners = program.json("/api/partners").await;
        let jira = partners["partners"][0].clone();
        if jira["auth_failures"].as_i64() > Some(0) { Ok(jira) } else { Err(jira) }
    })
    .await;
    assert_eq!(partner["name"], "jira");
    assert!(partner["success_rate"].as_f64() < Some(1.0), "{partner}");
    assert!(partner["last_error"].as_str().unwrap().contains("401"), "{partner}");
    assert!(!partner.to_string().contains("wrong-token"), "{partner}");
    eventually("the breaker is open", async || {
        let jira = program.json("/api/partners").await["partners"][0].clone();
        if jira["breaker"] == "open" && jira["status"] == "unhealthy" { Ok(()) } else { Err(jira) }
    })
    .await;
}

#[tokio::test]
async fn rejected_messages_in_sqlite() {
    rejected_messages(Program::new(BINARY)).await;
}

#[tokio::test]
async fn rejected_messages_in_postgres() {
    rejected_messages(Program::with_postgres(BINARY)).await;
}

async fn rejected_messages(mut program: Program) {
    program.start();
    let lines = "not json\n<script>alert(1)</script>\n";
    for (path, kind, body) in [
        ("/maxwell", "application/x-ndjson", lines.into()),
        ("/logdrains", "application/logplex-1", frames(["no header \u{1}"])),
    ] {
        let answer = program.post(path, kind).body(body).send().await.unwrap();
        assert!(answer.status().is_success());
    }
    program.settled().await;
    let rows = paged(&program, "/api/rejected", "rejected").await;
    assert_eq!(rows.len(), 3);
    assert_eq!(paged(&program, "/api/rejected?source=maxwell", "rejected").await.len(), 2);
    let script = rows.iter().find(|row| row["bytes"].as_str().unwrap().contains("script")).unwrap();
    let id = script["id"].as_i64().unwrap();
    let shown = program.json(&format!("/api/rejected/{id}")).await;
    assert_eq!(shown["text"], "<script>alert(1)</script>");
    assert!(shown["hex"].as_str().unwrap().starts_with("3c736372697074"), "{shown}");
    assert_eq!((&shown["replayed_at"], shown["id"].as_i64()), (&Value::Null, Some(id)));

    let file = get(&program, &format!("/api/rejected/{id}/bytes")).await;
    let named = |name| file.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    let disposition = format!("attachment; filename=\"rejected-{id}.bin\"");
    assert_eq!(named(header::CONTENT_DISPOSITION), Some(disposition));
    assert_eq!(named(header::X_CONTENT_TYPE_OPTIONS).as_deref(), Some("nosniff"));
    assert_eq!(named(header::CONTENT_TYPE).as_deref(), Some("application/octet-stream"));
    assert_eq!(
        (named(header::ETAG), named(header::CACHE_CONTROL).as_deref()),
        (None, Some("no-store"))
    );
    assert_eq!(file.bytes().await.unwrap(), &b"<script>alert(1)</script>"[..]);

    // Ten people at once: it is taken in once, and rejected again as a new one.
    let before = program.ledger().await.line("maxwell");
    let path = format!("/api/rejected/{id}/replay");
    let people = (0..10).map(|_| {
        let (client, url) = (Client::new(), url(&program, &path));
        tokio::spawn(async move { client.post(url).send().await.unwrap().status() })
    });
    let mut outcomes = Vec::new();
    for person in people.collect::<Vec<_>>() {
        outcomes.push(person.await.unwrap());
    }
    outcomes.sort();
    assert_eq!(outcomes[0], StatusCode::OK);
    assert!(outcomes[1..].iter().all(|status| *status == StatusCode::CONFLICT), "{outcomes:?}");
    let after = program.settled().await.line("maxwell");
    assert_eq!((after.received, after.rejected), (before.received + 1, before.rejected + 1));
    assert_eq!(after.duplicate, 0);
    let (status, problem) = post(&program, &path, json!({})).await;
    assert_eq!((status, problem["status"].as_i64()), (409, Some(409)));
    assert_eq!(paged(&program, "/api/rejected?replayed=yes", "rejected").await.len(), 1);
    assert_eq!(post(&program, "/api/rejected/999/replay", json!({})).await.0, 404);

    let maxwell = |preview: bool| json!({ "source": "maxwell", "preview": preview });
    let preview = post(&program, "/api/rejected/replay", maxwell(true)).await;
    assert_eq!(preview, (200, json!({ "count": 2 })));
    let all = post(&program, "/api/rejected/replay", maxwell(false)).await;
    assert_eq!(all, (200, json!({ "replayed": 2, "skipped": 0, "more": false })));
    let last = program.settled().await.line("maxwell");
    assert_eq!(last.received, after.received + 2);
    assert_eq!(post(&program, "/api/rejected/replay", json!({})).await.0, 400);
    let audit = paged(&program, "/api/audit?action=rejected.replay", "audit").await;
    assert_eq!(audit.len(), 3);
    assert_eq!(column(&audit, "who"), ["anyone"; 3]);
    // They are marked for the command line as well.
    let waiting = "SELECT count(*) FROM rejected WHERE replayed_at IS NULL";
    assert_eq!(program.database.number(waiting).await, 3);
}

#[tokio::test]
async fn the_audit_trail_is_a_file_too() {
    let program = started(Program::new(BINARY)).await;
    for verb in ["pause", "resume", "pause"] {
        assert_eq!(post(&program, &format!("/api/dispatch/{verb}"), json!({})).await.0, 200);
    }
    program
        .database
        .execute(
            "INSERT INTO audit_trail (at, who, action, subject, details)
             VALUES (1795316400000000, '=cmd()', 'odd, \"thing\"', 'x', '{}')",
        )
        .await;
    let lines = get(&program, "/api/audit/export?format=ndjson").await;
    assert_eq!(lines.headers()[header::CONTENT_TYPE], "application/x-ndjson");
    let lines = lines.text().await.unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines, paged(&program, "/api/audit", "audit").await);
    let csv = get(&program, "/api/audit/export?format=csv&who=%3Dcmd()").await;
    let disposition = csv.headers()[header::CONTENT_DISPOSITION].clone();
    assert_eq!(disposition, "attachment; filename=\"faultline-audit.csv\"");
    let expected = "id,at,who,action,subject,fault,job,details\n\
                    4,2026-11-22T03:00:00Z,'=cmd(),\"odd, \"\"thing\"\"\",x,,,{}\n";
    assert_eq!(csv.text().await.unwrap(), expected);
    let paused = paged(&program, "/api/audit?action=dispatch.pause&who=anyone", "audit").await;
    assert_eq!(paused.len(), 2);

    // Paused, resumed, paused: three notifications, which are read together.
    let told = paged(&program, "/api/notifications", "notifications").await;
    assert_eq!(
        column(&told, "title"),
        ["Dispatch is paused", "Dispatch goes on", "Dispatch is paused"]
    );
    let read = json!({ "ids": [told[1]["id"]] });
    assert_eq!(
        post(&program, "/api/notifications/read", read).await,
        (200, json!({ "unread": 2 }))
    );
    let unread = paged(&program, "/api/notifications?unread=yes", "notifications").await;
    assert_eq!(unread.len(), 2);
    let read = json!({ "all": true });
    assert_eq!(
        post(&program, "/api/notifications/read", read).await,
        (200, json!({ "unread": 0 }))
    );
    for odd in [json!({}), json!({ "all": true, "ids": [] })] {
        assert_eq!(post(&program, "/api/notifications/read", odd).await.0, 400);
    }
}

#[tokio::test]
async fn what_did_not_change_is_not_sent_again() {
    let program = started(Program::new(BINARY)).await;
    let first = get(&program, "/api/audit").await;
    assert_eq!(first.headers()[header::CACHE_CONTROL], "no-cache");
    let tag = first.headers()[header::ETAG].to_str().unwrap().to_owned();
    assert!(tag.starts_with("W/\""), "{tag}");
    let again = async |tag: &str| {
        let request = program.look("/api/audit").header(header::IF_NONE_MATCH, tag);
        request.send().await.unwrap()
    };
    let same = again(&tag).await;
    assert_eq!(same.status(), StatusCode::NOT_MODIFIED);
    assert_eq!(same.headers()[header::ETAG], *tag);
    assert!(!same.headers().contains_key(header::CONTENT_TYPE));
    assert!(same.bytes().await.unwrap().is_empty());
    assert_eq!(again("W/\"another\"").await.status(), StatusCode::OK);
    post(&program, "/api/dispatch/pause", json!({})).await;
    let changed = again(&tag).await;
    assert_eq!(changed.status(), StatusCode::OK);
    assert_ne!(changed.headers()[header::ETAG], *tag);
    for untouched in ["/health", "/api/config", "/api/nothing", "/api/audit/export?format=csv"] {
        let answer = get(&program, untouched).await;
        assert!(!answer.headers().contains_key(header::ETAG), "{untouched}");
    }
}

#[tokio::test]
async fn settings_are_shown_without_secrets() {
    let program = Program::with_postgres(BINARY)
        .set("receiver.token", "canary-receiver")
        .set("handoff.sentinel_password", "canary-sentinel")
        .set("admin.metrics_token", "canary-metrics");
    let program = started(program).await;
    let answer = get(&program, "/api/config").await;
    assert_eq!(answer.headers()[header::CACHE_CONTROL], "no-store");
    let config: Value = answer.json().await.unwrap();
    assert!(!config.to_string().contains("canary"), "{config}");
    assert_eq!(config["config"]["receiver"]["token"], "***");
    assert_eq!(config["config"]["jira"]["pat"], Value::Null);
    assert_eq!(config["config"]["receiver"]["listen"], "127.0.0.1:0");
    assert_eq!(config["config"]["jira"]["poll_every"], "30s");
    let url = config["config"]["store"]["url"].as_str().unwrap();
    assert!(url.starts_with("postgres"), "{url}");
}

#[tokio::test]
async fn statistics_are_what_is_stored() {
    let program = started(Program::new(BINARY)).await;
    for service in ["shop", "shop", "billing"] {
        program.report(&json!({ "message": "m", "service": service }).to_string()).await;
    }
    program.settled().await;
    let days = program.json("/api/statistics?by=service").await["days"].clone();
    let count = |key: &str| {
        let rows = days.as_array().unwrap().iter().filter(|row| row["key"] == key);
        rows.map(|row| row["events"].as_i64().unwrap()).sum::<i64>()
    };
    assert_eq!((count("shop"), count("billing")), (2, 1), "{days}");
}

/// A question that nobody can answer is refused with what would be right; none is an accident.
#[tokio::test]
async fn odd_questions_are_refused() {
    let program = started(Program::with_postgres(BINARY)).await;
    for path in [
        "/api/jobs?limit=0",
        "/api/jobs?limit=1001",
        "/api/jobs?state=odd",
        "/api/jobs?action=odd",
        "/api/jobs?cursor=odd",
        "/api/jobs?since=yesterday",
        "/api/jobs?text=%00",
        "/api/jobs?odd=1",
        "/api/jobs?fault=99999999999999999999",
        "/api/jobs/counts?environment=%00",
        "/api/jobs/odd",
        "/api/rejected?source=odd",
        "/api/rejected?replayed=perhaps",
        "/api/rejected?reason=%00",
        "/api/audit?who=%00",
        "/api/audit?fault=x",
        "/api/audit/export",
        "/api/audit/export?format=xml",
        "/api/notifications?severity=odd",
        "/api/notifications?unread=maybe",
        "/api/statistics?by=odd",
        "/api/statistics?since=2026-13-01",
        "/api/statistics?since=2020-01-01&until=2026-01-01",
    ] {
        let answer = get(&program, path).await;
        let status = answer.status().as_u16();
        let kind = answer.headers()[header::CONTENT_TYPE].clone();
        let problem: Value = answer.json().await.unwrap();
        assert_eq!((status, kind.to_str().unwrap()), (400, "application/problem+json"), "{path}");
        assert!(problem["detail"].as_str().is_some_and(|text| !text.is_empty()), "{path}");
    }
    for path in ["/api/jobs/999", "/api/rejected/999", "/api/rejected/999/bytes"] {
        assert_eq!(get(&program, path).await.status(), 404, "{path}");
    }
    for (path, body) in [
        ("/api/jobs/retry", json!({ "text": "\0" })),
        ("/api/jobs/retry", json!({ "state": "odd" })),
        ("/api/rejected/replay", json!({ "reason": "\0" })),
        ("/api/rejected/replay", json!({ "source": "odd" })),
    ] {
        let (status, problem) = post(&program, path, body).await;
        assert!(status == 400 || status == 422, "{path}: {problem}");
    }
    for path in [
        "/api/jobs?since=0001-01-01T00:00:00Z&until=9999-12-30T00:00:00Z",
        "/api/audit?until=0001-01-01T00:00:00Z",
    ] {
        assert_eq!(get(&program, path).await.status(), 200, "{path}");
    }
}

/// The page loads its own files and nothing else, and shows what the description says.
#[tokio::test]
async fn the_api_can_be_read_in_a_browser() {
    let program = started(Program::new(BINARY)).await;
    let page = get(&program, "/api/docs").await;
    assert_eq!(page.headers()[header::CONTENT_TYPE], "text/html; charset=utf-8");
    let policy = page.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
    assert!(policy.contains("script-src 'self'") && !policy.contains("unsafe"), "{policy}");
    let page = page.text().await.unwrap();
    for odd in ["<style", "style=", "onclick", "javascript:", "http://", "https://"] {
        assert!(!page.contains(odd), "{odd}");
    }
    let loaded: BTreeSet<&str> =
        page.split(['"']).filter(|word| word.starts_with("/api/")).collect();
    assert_eq!(loaded, ["/api/docs.css", "/api/docs.js", "/api/openapi.json"].into());
    for (path, kind) in [
        ("/api/docs.css", "text/css; charset=utf-8"),
        ("/api/docs.js", "text/javascript; charset=utf-8"),
        ("/api/openapi.json", "application/json"),
    ] {
        let answer = get(&program, path).await;
        assert_eq!(
            (answer.status().as_u16(), answer.headers()[header::CONTENT_TYPE].to_str().unwrap()),
            (200, kind)
        );
        assert!(answer.headers().contains_key(header::ETAG), "{path}");
    }
    let api = program.json("/api/openapi.json").await;
    let operations = api["paths"].as_object().unwrap().values();
    let operations = operations.flat_map(|item| item.as_object().unwrap().values());
    let ids: Vec<_> = operations.filter_map(|it| it["operationId"].as_str()).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "each is its own: {ids:?}");
    let get = &api["paths"]["/api/jobs"]["get"];
    assert_eq!(get["x-role"], "viewer");
    let names: BTreeSet<_> =
        column(get["parameters"].as_array().unwrap(), "name").into_iter().collect();
    assert!(names.contains("environment") && names.contains("cursor"), "{names:?}");
    let schema = &get["responses"]["200"]["content"]["application/json"]["schema"]["$ref"];
    assert_eq!(schema, "#/components/schemas/JobList");
    assert!(api["components"]["schemas"]["Job"]["properties"]["created_at"].is_object());
    assert!(get["responses"]["304"].is_object());
    assert_eq!(api["paths"]["/api/config"]["get"]["x-role"], "admin");
    assert_eq!(api["paths"]["/api/rejected/{id}/replay"]["post"]["x-role"], "operator");
}
