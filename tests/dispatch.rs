//! What becomes of a fault in Jira, outcome by outcome: the state, the attempts and the audit trail
//! that each leaves.

#![expect(clippy::unwrap_used, reason = "a failing test is told by a panic")]

use std::time::Duration;

use faultline_testkit::{
    eventually,
    jira::{Endpoint, Fault, Jira, Reason, Settings, openapi},
    program::{Program, run_to_end},
};
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_faultline");

/// A started hub that dispatches to `jira`, with rules where there are any.
fn hub(jira: &Jira, rules: &str) -> Program {
    let mut program = [
        ("jira.rate_per_second", "100"),
        ("jira.request_timeout", "500ms"),
        ("jira.search_settle", "1s"),
        ("jira.lease", "2s"),
        ("jira.retry_first", "50ms"),
        ("jira.retry_cap", "200ms"),
        ("jira.breaker_open", "200ms"),
        ("jira.poll_every", "100ms"),
    ]
    .into_iter()
    .fold(Program::new(BINARY).with_jira(jira), |program, (key, value)| program.set(key, value))
    .with_config(rules);
    program.start();
    program
}

async fn report(program: &Program, message: &str) {
    let body = json!({ "message": message, "service": "shop" });
    program.report(&body.to_string()).await;
}

/// Waits until the newest job is in this state; gives it with its history.
async fn job_is(program: &Program, state: &str) -> Value {
    let id = eventually(&format!("a job is {state}"), async || {
        let jobs = program.json("/api/jobs?limit=1").await;
        let job = &jobs["jobs"][0];
        if job["state"] == state { Ok(job["id"].clone()) } else { Err(jobs) }
    })
    .await;
    program.json(&format!("/api/jobs/{id}")).await
}

fn actions(shown: &Value) -> Vec<&str> {
    let history = shown["history"].as_array().unwrap();
    history.iter().map(|entry| entry["action"].as_str().unwrap()).collect()
}

async fn post(program: &Program, path: &str, body: Value) -> (u16, Value) {
    let url = format!("http://{}{path}", program.admin());
    let answer = reqwest::Client::new().post(url).json(&body).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test]
async fn a_fault_gets_its_ticket() {
    let jira = Jira::start(Settings::cloud()).await;
    let program = hub(&jira, "");
    report(&program, "cannot open the door").await;
    let shown = job_is(&program, "completed").await;
    assert_eq!(actions(&shown), ["job.intend", "job.claim", "job.complete"]);
    assert_eq!(shown["job"]["attempts"], 1);
    assert_eq!(shown["job"]["key"], "OPS-1");
    let issue = jira.issue("OPS-1").unwrap();
    assert!(issue.summary.contains("cannot open the door"), "{}", issue.summary);
    let locator = shown["job"]["locator"].as_str().unwrap();
    assert!(issue.labels.iter().any(|label| label == locator), "{:?}", issue.labels);
    // It is met again: that is a count, not a ticket.
    report(&program, "cannot open the door").await;
    program.settled().await;
    let why = eventually("it was decided about", async || {
        let why = program.json("/api/faults/1/why").await;
        if why["decided_count"] == 2 { Ok(why) } else { Err(why) }
    })
    .await;
    assert_eq!(why["decision"], "it has a ticket");
    assert_eq!((why["tickets"][0]["key"].as_str(), jira.issues().len()), (Some("OPS-1"), 1));
    openapi::assert_described(jira.requests());
}

#[tokio::test]
async fn a_data_center_gets_wiki_text() {
    let jira = Jira::start(Settings::data_center()).await;
    let program = Program::new(BINARY);
    let mut program =
        [("jira.url", jira.url().as_str()), ("jira.pat", "secret-token"), ("jira.project", "OPS")]
            .into_iter()
            .fold(program, |program, (key, value)| program.set(key, value));
    program.start();
    report(&program, "cannot open the door").await;
    job_is(&program, "completed").await;
    let issue = jira.issue("OPS-1").unwrap();
    assert!(issue.description.contains("{code}"), "{}", issue.description);
}

#[tokio::test]
async fn what_jira_refuses_is_dead_with_its_reasons_and_people_mend_it() {
    let jira = Jira::start(Settings::cloud()).await;
    let program = hub(&jira, "[[rules]]\nname = \"all\"\nfields = { customfield_10042 = \"x\" }\n");
    report(&program, "cannot open the door").await;
    let shown = job_is(&program, "dead").await;
    assert_eq!(shown["job"]["attempts"], 1, "at once");
    let error = shown["job"]["error"].as_str().unwrap();
    assert!(error.contains("customfield_10042"), "{error}");
    assert_eq!(actions(&shown), ["job.intend", "job.claim", "job.give_up"]);
    let failures = "SELECT problems FROM job_failures";
    let problems = program.database.texts(failures).await;
    assert!(problems.len() == 1 && problems[0].contains("customfield_10042"), "{problems:?}");
    let (_, health) = program.get("/health").await.unwrap();
    assert!(health.contains("1 jobs are dead") || health.contains("\"jira\""), "{health}");

    let id = &shown["job"]["id"];
    let mut request = shown["job"]["request"].clone();
    request["fields"] = json!({});
    let (status, _) = post(&program, &format!("/api/jobs/{id}/edit"), request).await;
    assert_eq!(status, 200);
    let shown = job_is(&program, "completed").await;
    let expected =
        ["job.intend", "job.claim", "job.give_up", "job.edit", "job.claim", "job.complete"];
    assert_eq!(actions(&shown), expected);
    let (status, _) = post(&program, &format!("/api/jobs/{id}/retry"), json!({})).await;
    assert_eq!(status, 409, "it is done");
    openapi::assert_described(jira.requests());
}

#[tokio::test]
async fn a_jira_that_does_not_let_us_in_burns_no_attempt() {
    let jira = Jira::start(Settings::cloud()).await;
    jira.down(Fault::Unauthorized);
    let program = hub(&jira, "");
    report(&program, "cannot open the door").await;
    eventually("the breaker is open", async || {
        let (status, health) = program.get("/health").await.unwrap();
        if status == 503 && health.contains("401") { Ok(()) } else { Err(health) }
    })
    .await;
    let shown = job_is(&program, "delayed").await;
    assert_eq!(shown["job"]["attempts"], 0);
    jira.up();
    let shown = job_is(&program, "completed").await;
    assert_eq!(shown["job"]["attempts"], 1);
    assert!(!program.log().contains("secret-token"));
}

#[tokio::test]
async fn nor_does_one_that_forbids() {
    let jira = Jira::start(Settings::cloud()).await;
    jira.fail_next(Endpoint::Create, 1, &Fault::Forbidden);
    let program = hub(&jira, "");
    report(&program, "cannot open the door").await;
    let shown = job_is(&program, "completed").await;
    let expected = ["job.intend", "job.claim", "job.delay", "job.claim", "job.complete"];
    assert_eq!(actions(&shown), expected);
    assert_eq!(shown["job"]["attempts"], 1);
}

/// A fault about each of these, whose jobs are due at the same moment.
async fn all_at_once(program: &Program, words: &[&str]) {
    post(program, "/api/dispatch/pause", json!({})).await;
    eventually("it is paused", async || {
        let paused = program.metric("faultline_dispatch_paused", "").await;
        if paused > 0.0 { Ok(()) } else { Err(paused) }
    })
    .await;
    for word in words {
        report(program, &format!("the {word} is broken today")).await;
    }
    eventually("all of them wait", async || {
        let waiting = program.json("/api/dispatch").await["jobs"]["waiting"].clone();
        if waiting == words.len() { Ok(()) } else { Err(waiting) }
    })
    .await;
    post(program, "/api/dispatch/resume", json!({})).await;
}

/// In the project of some of them nobody may make a ticket: that is no reason to ask for no other.
#[tokio::test]
async fn what_is_forbidden_by_itself_holds_up_nothing_else() {
    let forbidden_projects = ["BAD".to_owned()].into();
    let jira = Jira::start(Settings { forbidden_projects, ..Settings::cloud() }).await;
    let rules = "[[rules]]\nname = \"good\"\nmatch = { title = \"door\" }\n\
                 [[rules]]\nname = \"bad\"\nproject = \"BAD\"\n";
    let program = hub(&jira, rules);
    all_at_once(&program, &["window", "gate", "roof", "door"]).await;
    eventually("one is made, the others are given up", async || {
        let jobs = program.json("/api/dispatch").await["jobs"].clone();
        if jobs["completed"] == 1 && jobs["dead"] == 3 { Ok(()) } else { Err(jobs) }
    })
    .await;
    assert!(jira.issue("OPS-1").unwrap().summary.contains("door"));
    assert_eq!(jira.requests_to(Endpoint::CreateBulk).len(), 1, "then each by itself");
    let dead = program.json("/api/jobs?state=dead").await["jobs"][0].clone();
    assert!(dead["error"].as_str().unwrap().contains("permission"), "{dead}");
    let log = program.log();
    assert!(!log.contains("Jira is not asked for a while"), "the breaker has opened: {log}");
    let (_, health) = program.get("/health").await.unwrap();
    let health: Value = serde_json::from_str(&health).unwrap();
    let jira = &health["components"]["jira"];
    assert_ne!(jira["status"], "unhealthy", "{health}");
    assert_eq!(jira["details"]["breaker"], "closed", "{health}");
}

/// Fields of each ticket are refused by themselves; the others of the same request are made.
#[tokio::test]
async fn many_tickets_go_in_one_request() {
    let jira = Jira::start(Settings::cloud()).await;
    let rules = "[[rules]]\nname = \"bad\"\nmatch = { title = \"gate\" }\n\
                 fields = { customfield_10042 = \"x\" }\n[[rules]]\nname = \"all\"\n";
    let program = hub(&jira, rules);
    all_at_once(&program, &["door", "window", "gate", "roof", "wall"]).await;
    let counts = eventually("all of them are done with", async || {
        let jobs = program.json("/api/dispatch").await["jobs"].clone();
        if jobs["completed"] == 4 && jobs["dead"] == 1 { Ok(jobs) } else { Err(jobs) }
    })
    .await;
    assert_eq!(counts.as_object().unwrap().len(), 2, "{counts}");
    assert_eq!(jira.issues().len(), 4);
    assert_eq!(jira.requests_to(Endpoint::CreateBulk).len(), 1);
    assert!(jira.requests_to(Endpoint::Create).is_empty());
    openapi::assert_described(jira.requests());
}

#[tokio::test]
async fn a_fault_that_falls_silent_is_told_to_be_over_once() {
    let jira = Jira::start(Settings::cloud()).await;
    let rule = "[[rules]]\nname = \"all\"\nauto_resolve_after = \"1s\"\n";
    let program = hub(&jira, rule);
    report(&program, "cannot open the door").await;
    job_is(&program, "completed").await;
    report(&program, "cannot open the door").await;
    eventually("there is a comment", async || {
        let comments = jira.issue("OPS-1").unwrap().comments;
        if comments.len() == 1 { Ok(()) } else { Err(comments) }
    })
    .await;
    let comments = jira.issue("OPS-1").unwrap().comments;
    assert!(comments[0].body.contains("Not seen since"), "{comments:?}");
}

#[tokio::test]
async fn a_limit_is_waited_for_and_burns_no_attempt() {
    let jira = Jira::start(Settings::cloud()).await;
    let limit = Fault::TooManyRequests { retry_after: 1, reason: Reason::Burst };
    jira.fail_next(Endpoint::Create, 1, &limit);
    let program = hub(&jira, "");
    report(&program, "cannot open the door").await;
    let shown = job_is(&program, "completed").await;
    assert_eq!(actions(&shown)[..3], ["job.intend", "job.claim", "job.delay"]);
    assert_eq!(shown["job"]["attempts"], 1);
    let created = jira.requests_to(Endpoint::Create);
    assert_eq!(created.len(), 2);
}

/// Whatever may have been done is looked for, and made again only when it surely was not.
#[tokio::test]
async fn what_nobody_knows_is_looked_for() {
    for (fault, is_done) in [
        (Fault::Status5xxAfter(502), true),
        (Fault::Status5xxBefore(503), false),
        (Fault::ResetAfter, true),
        (Fault::ResetBefore, false),
        (Fault::HangAfter, true),
        (Fault::Hang, false),
    ] {
        let lag = Duration::from_millis(300);
        let jira = Jira::start(Settings { search_lag: lag, ..Settings::cloud() }).await;
        jira.fail_next(Endpoint::Create, 1, &fault);
        let program = hub(&jira, "");
        report(&program, "cannot open the door").await;
        let shown = job_is(&program, "completed").await;
        let actions = actions(&shown);
        assert_eq!(actions[..3], ["job.intend", "job.claim", "job.lose_track"], "{fault:?}");
        assert_eq!(actions.contains(&"job.not_there"), !is_done, "{fault:?}: {actions:?}");
        assert_eq!(jira.issues().len(), 1, "{fault:?}");
        assert_eq!(jira.requests_to(Endpoint::Create).len(), if is_done { 1 } else { 2 });
    }
}

#[tokio::test]
async fn a_milestone_is_a_comment_once_whatever_is_known_of_it() {
    let jira = Jira::start(Settings::cloud()).await;
    let program = hub(&jira, "[[rules]]\nname = \"all\"\ncomment_every = \"0s\"\n");
    report(&program, "cannot open the door").await;
    job_is(&program, "completed").await;
    jira.fail_next(Endpoint::AddComment, 1, &Fault::ResetAfter);
    for _ in 0..9 {
        report(&program, "cannot open the door").await;
    }
    eventually("there is a comment", async || {
        let comments = jira.issue("OPS-1").unwrap().comments;
        if comments.len() == 1 { Ok(()) } else { Err(comments) }
    })
    .await;
    let shown = job_is(&program, "completed").await;
    assert_eq!((&shown["job"]["action"], &shown["job"]["mark"]), (&json!("comment"), &json!("10")));
    assert!(actions(&shown).contains(&"job.delay"));
    let comments = jira.issue("OPS-1").unwrap().comments;
    assert!(comments.len() == 1 && comments[0].body.contains("10 times"), "{comments:?}");
    // A ticket that is gone takes no comment.
    jira.delete("OPS-1");
    for _ in 0..90 {
        report(&program, "cannot open the door").await;
    }
    let shown = job_is(&program, "dead").await;
    assert_eq!(shown["job"]["mark"], "100");
    openapi::assert_described(jira.requests());
}

/// Waits until Faultline knows that the ticket is done.
async fn known_as_done(program: &Program) {
    eventually("it is known as done", async || {
        let why = program.json("/api/faults/1/why").await;
        if why["tickets"][0]["is_done"] == true { Ok(()) } else { Err(why) }
    })
    .await;
}

#[tokio::test]
async fn a_fault_that_comes_back_opens_its_ticket_again() {
    // Names of statuses differ; their categories do not.
    let jira = Jira::start(Settings::cloud().in_german()).await;
    let program = hub(&jira, "[[rules]]\nname = \"all\"\ncool_off = \"0s\"\n");
    report(&program, "cannot open the door").await;
    job_is(&program, "completed").await;
    let resolution =
        jira.issue("OPS-1").map(|_| Settings::cloud().in_german().resolutions[0].name.clone());
    jira.resolve("OPS-1", &resolution.unwrap());
    known_as_done(&program).await;
    report(&program, "cannot open the door").await;
    eventually("it is open again", async || {
        let issue = jira.issue("OPS-1").unwrap();
        if issue.resolution.is_none() && issue.comments.len() == 1 { Ok(()) } else { Err(issue) }
    })
    .await;
    let shown = job_is(&program, "completed").await;
    assert_eq!(shown["job"]["action"], "reopen");
    assert_eq!(jira.issues().len(), 1);
    openapi::assert_described(jira.requests());
}

#[tokio::test]
async fn or_gets_a_new_one_that_is_linked() {
    let jira = Jira::start(Settings::cloud()).await;
    let rule = "[[rules]]\nname = \"all\"\ncool_off = \"0s\"\nrecurrence = \"create\"\n";
    let program = hub(&jira, rule);
    report(&program, "cannot open the door").await;
    job_is(&program, "completed").await;
    jira.resolve("OPS-1", "Done");
    known_as_done(&program).await;
    report(&program, "cannot open the door").await;
    eventually("there is a second one", async || {
        let linked = jira.issue("OPS-2").is_some_and(|issue| issue.links.len() == 1);
        if linked { Ok(()) } else { Err(jira.issues()) }
    })
    .await;
    openapi::assert_described(jira.requests());
}

#[tokio::test]
async fn what_people_will_not_mend_stays_closed() {
    let jira = Jira::start(Settings::cloud()).await;
    let program = hub(&jira, "[[rules]]\nname = \"all\"\ncool_off = \"0s\"\n");
    report(&program, "cannot open the door").await;
    job_is(&program, "completed").await;
    jira.resolve("OPS-1", "Won't Do");
    known_as_done(&program).await;
    report(&program, "cannot open the door").await;
    eventually("it was decided about", async || {
        let why = program.json("/api/faults/1/why").await;
        let decision = why["decision"].as_str().unwrap_or_default();
        if decision.contains("Won't Do") { Ok(()) } else { Err(why) }
    })
    .await;
    assert_eq!(program.json("/api/jobs").await["jobs"].as_array().unwrap().len(), 1);
}

/// A hub that has met twelve new faults at once, with a budget of three tickets a window.
async fn in_a_storm(jira: &Jira, window: &str) -> Program {
    let mut program = Program::new(BINARY)
        .with_jira(jira)
        .set("jira.rate_per_second", "100")
        .set("jira.storm_budget", "3")
        .set("jira.storm_window", window);
    program.start();
    let reports: Vec<Value> = (0..12)
        .map(|n| json!({ "message": "it broke", "fingerprint": format!("f{n}"), "service": "s" }))
        .collect();
    program.report(&json!(reports).to_string()).await;
    program
}

#[tokio::test]
async fn a_storm_is_one_ticket_and_ends() {
    let jira = Jira::start(Settings::cloud()).await;
    let program = in_a_storm(&jira, "2s").await;
    let umbrella = || jira.issues().into_iter().find(|issue| issue.summary.contains("Storm"));
    eventually("there is a ticket for the storm", async || umbrella().ok_or("none yet")).await;
    let first = jira.issues().len();
    assert!(first < 13, "{first}: most are held back");
    eventually("every fault has its ticket, and the storm is over", async || {
        let all = jira.issues().len();
        let over = umbrella().unwrap().comments.len();
        if (all, over) == (13, 1) { Ok(()) } else { Err((all, over)) }
    })
    .await;
    let total = "SELECT sum(count) FROM faults WHERE kind <> 'storm'";
    assert_eq!(program.database.number(total).await, 12, "counting never stops");
    openapi::assert_described(jira.requests());
}

#[tokio::test]
async fn without_a_budget_a_storm_is_over() {
    let jira = Jira::start(Settings::cloud()).await;
    let mut program = in_a_storm(&jira, "1h").await;
    let held = "SELECT count(*) FROM faults WHERE held_at IS NOT NULL";
    eventually("three tickets and the storm's are made", async || {
        let counts = (jira.issues().len(), program.database.number(held).await);
        if counts == (4, 9) { Ok(()) } else { Err(counts) }
    })
    .await;
    program.finish().await;
    program = program.set("jira.storm_budget", "0");
    program.start();
    let storms = "SELECT count(*) FROM storms WHERE ended_at IS NULL";
    eventually("every fault has its ticket, and the storm is over", async || {
        let counts = (jira.issues().len(), program.database.number(storms).await);
        if counts == (13, 0) { Ok(()) } else { Err(counts) }
    })
    .await;
}

#[tokio::test]
async fn without_a_jira_it_is_said_what_would_be_sent() {
    let mut program = Program::new(BINARY);
    program.start();
    report(&program, "cannot open the door").await;
    let shown = job_is(&program, "completed").await;
    let sent = &shown["job"]["response"]["dry-run"]["fields"];
    assert!(sent["summary"].as_str().unwrap().contains("cannot open the door"), "{sent}");
    let why = program.json("/api/faults/1/why").await;
    assert_eq!(why["tickets"][0]["is_dry_run"], true);
}

#[tokio::test]
async fn what_was_made_up_is_no_storm_when_there_is_a_jira() {
    let mut program = Program::new(BINARY).set("jira.storm_budget", "3");
    program.start();
    let reports: Vec<Value> = (0..5)
        .map(|n| json!({ "message": "it broke", "fingerprint": format!("f{n}"), "service": "s" }))
        .collect();
    program.report(&json!(reports).to_string()).await;
    program.settled().await;
    let made_up = "SELECT count(*) FROM tickets WHERE is_dry_run";
    eventually("all are made up", async || match program.database.number(made_up).await {
        5 => Ok(()),
        number => Err(number),
    })
    .await;
    program.finish().await;

    let jira = Jira::start(Settings::cloud()).await;
    program = program.with_jira(&jira).set("jira.rate_per_second", "100");
    program.start();
    report(&program, "cannot open the door").await;
    eventually("a new fault gets its ticket", async || jira.issue("OPS-1").ok_or("none")).await;
    program.report(&reports[0].to_string()).await;
    eventually("and one that is met again", async || jira.issue("OPS-2").ok_or("none")).await;
    assert_eq!(program.database.number("SELECT count(*) FROM storms").await, 0);
}

#[tokio::test]
async fn thresholds_are_counted_and_what_is_ignored_says_so() {
    let jira = Jira::start(Settings::cloud()).await;
    let rules = "[[rules]]\nname = \"noise\"\nmatch = { title = \"noise\" }\nignore = true\n\
                 [[rules]]\nname = \"often\"\nmatch = { count = 3, within = \"10m\" }\n";
    let program = hub(&jira, rules);
    report(&program, "only noise on the line").await;
    report(&program, "cannot open the door").await;
    let decision = async |fault: i64, expected: &str| {
        eventually(expected, async || {
            let why = program.json(&format!("/api/faults/{fault}/why")).await;
            let is = why["decision"].as_str().is_some_and(|decision| decision.contains(expected));
            if is { Ok(()) } else { Err(why) }
        })
        .await;
    };
    program.settled().await;
    let list = program.json("/api/faults").await;
    let id = |title: &str| {
        let faults = list["faults"].as_array().unwrap().iter();
        let mut found = faults.filter(|fault| fault["title"].as_str().unwrap().contains(title));
        found.next().unwrap()["id"].as_i64().unwrap()
    };
    decision(id("noise"), "rule \"noise\" ignores it").await;
    decision(id("door"), "1 of the 3 within 10m that rule \"often\" needs").await;
    report(&program, "cannot open the door").await;
    report(&program, "cannot open the door").await;
    job_is(&program, "completed").await;
    decision(id("door"), "a ticket by rule \"often\"").await;
    assert_eq!(jira.issues().len(), 1);
}

#[tokio::test]
async fn people_pause_retry_and_discard_from_a_terminal() {
    let jira = Jira::start(Settings::cloud()).await;
    jira.down(Fault::Status5xxBefore(503));
    let program = hub(&jira, "");
    let jobs = |arguments: &[&str]| {
        let output = program.command_with(&[&["jobs"], arguments].concat()).output().unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    };
    assert!(jobs(&["pause"]).0);
    eventually("all hubs are paused", async || {
        let paused = program.metric("faultline_dispatch_paused", "").await;
        if paused > 0.0 { Ok(()) } else { Err(paused) }
    })
    .await;
    report(&program, "cannot open the door").await;
    job_is(&program, "waiting").await;
    let (listed, list) = jobs(&["list"]);
    assert!(listed && list.contains("waiting") && list.contains("fault 1"), "{list}");
    assert!(!jobs(&["retry", "--state", "waiting"]).0, "it waits already");
    assert!(!jobs(&["discard"]).0, "which?");
    assert!(jobs(&["discard", "--state", "waiting"]).0);
    let (_, shown) = jobs(&["show", "1"]);
    assert!(shown.contains("discarded") && shown.contains("job.discard"), "{shown}");
    assert!(jobs(&["resume"]).0);
    let (status, answer) =
        post(&program, "/api/jobs/retry", json!({ "state": "discarded", "preview": true })).await;
    assert_eq!((status, &answer["count"]), (200, &json!(1)));
    jira.up();
    let (status, _) = post(&program, "/api/jobs/retry", json!({ "state": "discarded" })).await;
    assert_eq!(status, 200);
    job_is(&program, "completed").await;
    assert_eq!(post(&program, "/api/jobs/retry", json!({})).await.0, 400, "which?");
    assert_eq!(post(&program, "/api/jobs/99/retry", json!({})).await.0, 404);
}

#[tokio::test]
async fn check_asks_jira_whether_it_would_take_the_tickets() {
    let jira = Jira::start(Settings::cloud()).await;
    let rules = "[[rules]]\nname = \"all\"\nfields = { customfield_10042 = \"x\" }\n\
                 [[rules]]\nname = \"other\"\nproject = \"NONE\"\n";
    let program = hub(&jira, rules);
    let config = program.directory().join("rules.toml");
    let arguments = ["--config", config.to_str().unwrap(), "check"];
    let output = run_to_end(program.command_with(&arguments)).await;
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    let line = said.lines().find(|line| line.contains("jira")).unwrap();
    assert!(line.starts_with("FAILED") && line.contains("customfield_10042"), "{line}");
    assert!(line.contains("NONE Bug: "), "{line}");
    assert!(!said.contains("secret-token"));
}

/// A started hub that does not ask what has changed: Jira tells it.
fn told_hub(jira: &Jira) -> Program {
    let mut program = Program::new(BINARY)
        .with_jira(jira)
        .set("jira.rate_per_second", "100")
        .set("jira.poll_every", "0s")
        .set("jira.webhook_secret", "0123456789abcdef");
    program.start();
    jira.change(|settings| {
        settings.webhook = Some(faultline_testkit::jira::Webhook {
            url: format!("http://{}/webhooks/jira", program.receiver()),
            secret: Some("0123456789abcdef".to_owned()),
        });
    });
    program
}

#[tokio::test]
async fn jira_tells_by_its_webhook() {
    let jira = Jira::start(Settings::cloud()).await;
    let program = told_hub(&jira);
    report(&program, "cannot open the door").await;
    job_is(&program, "completed").await;
    jira.resolve("OPS-1", "Done");
    known_as_done(&program).await;
    let forged = program.post("/webhooks/jira", "application/json").body("{}");
    assert_eq!(forged.send().await.unwrap().status(), 401);
}

#[tokio::test]
async fn and_a_ticket_that_it_says_is_deleted_is_made_anew() {
    let jira = Jira::start(Settings::cloud()).await;
    let program = told_hub(&jira);
    report(&program, "cannot open the door").await;
    job_is(&program, "completed").await;
    jira.delete("OPS-1");
    eventually("it is known as gone", async || {
        let why = program.json("/api/faults/1/why").await;
        if why["tickets"][0]["status"] == "gone" { Ok(()) } else { Err(why) }
    })
    .await;
    report(&program, "cannot open the door").await;
    eventually("there is a new one", async || jira.issue("OPS-2").ok_or("none")).await;
}
