//! What people see of faults, and do with them, over the API: with the real program, a Jira that
//! answers like one, and both stores.

#![expect(clippy::unwrap_used, reason = "a failing test is told by a panic")]

use std::fmt::Debug;

use faultline_testkit::{
    eventually,
    jira::{Endpoint, Fault, Jira, Settings, openapi},
    program::{Program, run_to_end},
};
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_faultline");

/// Back at once, told of each milestone at once.
const RULES: &str = "[[rules]]\nname = \"all\"\ncool_off = \"0s\"\ncomment_every = \"0s\"\n";

/// A hub, and the Jira that it dispatches to.
struct Hub {
    program: Program,
    jira: Jira,
}

/// Each story is told with both stores.
macro_rules! stories {
    ($($story:ident($rules:expr);)*) => {$(
        mod $story {
            #[tokio::test]
            async fn sqlite() {
                let program = super::Program::new(super::BINARY);
                super::$story(&super::Hub::start(program, $rules).await).await;
            }

            #[tokio::test]
            async fn postgres() {
                let program = super::Program::with_postgres(super::BINARY);
                super::$story(&super::Hub::start(program, $rules).await).await;
            }
        }
    )*};
}

stories! {
    muted_faults_are_left_alone(super::RULES);
    what_is_resolved_and_happens_again_is_a_regression(
        "[[rules]]\nname = \"regressions\"\ncool_off = \"0s\"\nlabels = [\"again\"]\n\
         match = { state = \"regression\" }\n[[rules]]\nname = \"all\"\ncool_off = \"0s\"\n"
    );
    a_ticket_that_is_done_resolves_its_fault(super::RULES);
    a_ticket_is_made_by_hand("[[rules]]\nname = \"never\"\nignore = true\n");
    people_tell_of_a_fault(super::RULES);
    a_ticket_is_linked("[[rules]]\nname = \"never\"\nmatch.count = 1000\ncomment_every = \"0s\"\n");
    a_copy_of_its_ticket_is_another_one(super::RULES);
    a_ticket_that_is_gone_is_none(super::RULES);
    faults_are_listed("[[rules]]\nname = \"never\"\nignore = true\n");
    how_often_it_happens_is_told("[[rules]]\nname = \"never\"\nignore = true\n");
    the_command_line_does_the_same(super::RULES);
}

impl Hub {
    async fn start(program: Program, rules: &str) -> Self {
        let jira = Jira::start(Settings::cloud()).await;
        let mut program = [
            ("jira.rate_per_second", "100"),
            ("jira.request_timeout", "2s"),
            ("jira.search_settle", "1s"),
            ("jira.retry_first", "50ms"),
            ("jira.retry_cap", "200ms"),
            ("jira.poll_every", "100ms"),
        ]
        .into_iter()
        .fold(program.with_jira(&jira), |program, (key, value)| program.set(key, value))
        .with_config(rules);
        program.start();
        eventually("the store is there", async || {
            let (status, text) = program.get("/api/faults?text=x").await.unwrap();
            if status == 200 { Ok(()) } else { Err(text) }
        })
        .await;
        Self { program, jira }
    }

    /// Reports that the store has when this returns.
    async fn report(&self, message: &str, times: usize) {
        let report = json!({ "message": message, "service": "shop", "environment": "prod" });
        self.program.report(&Value::from(vec![report; times]).to_string()).await;
        self.program.settled().await;
    }

    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        let url = format!("http://{}{path}", self.program.admin());
        let answer = reqwest::Client::new().post(url).json(&body).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// Does it, and it is possible.
    async fn act(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self.post(path, body).await;
        assert!((200..300).contains(&status), "{path}: {status} {answer}");
        answer
    }

    /// Is refused, with this status; gives the reason.
    async fn refused(&self, path: &str, body: Value, expected: u16) -> String {
        let (status, answer) = self.post(path, body).await;
        assert_eq!(status, expected, "{path}: {answer}");
        answer["detail"].as_str().unwrap().to_owned()
    }

    async fn fault(&self, id: i64) -> Value {
        self.program.json(&format!("/api/faults/{id}")).await["fault"].take()
    }

    async fn titles(&self, query: &str) -> Vec<String> {
        let list = self.program.json(&format!("/api/faults?{query}")).await;
        let faults = list["faults"].as_array().unwrap().iter();
        faults.map(|fault| fault["title"].as_str().unwrap().to_owned()).collect()
    }

    /// Waits until dispatch has decided so about a fault.
    async fn decision(&self, fault: i64, expected: &str) {
        eventually(&format!("it is decided: {expected}"), async || {
            let why = self.program.json(&format!("/api/faults/{fault}/why")).await;
            let decision = why["decision"].as_str().unwrap();
            if decision.contains(expected) { Ok(()) } else { Err(why) }
        })
        .await;
    }

    /// Waits until the fault is like that.
    async fn becomes<T: Debug + PartialEq>(
        &self,
        fault: i64,
        of: impl Fn(&Value) -> T,
        expected: T,
    ) -> Value {
        eventually(&format!("fault {fault} becomes {expected:?}"), async || {
            let fault = self.fault(fault).await;
            if of(&fault) == expected { Ok(fault) } else { Err(fault) }
        })
        .await
    }

    /// Waits for so many completed jobs, and that none is left.
    async fn jobs_are_done(&self, count: u64) {
        eventually(&format!("{count} jobs are done"), async || {
            let dispatch = self.program.json("/api/dispatch").await;
            let jobs = dispatch["jobs"].as_object().unwrap();
            let is_done = jobs.len() <= 1
                && jobs.get("completed").and_then(Value::as_u64).unwrap_or(0) == count;
            if is_done { Ok(()) } else { Err(dispatch) }
        })
        .await;
    }
}

fn state(fault: &Value) -> String {
    fault["state"].as_str().unwrap().to_owned()
}

fn key(fault: &Value) -> Option<String> {
    fault["ticket"]["key"].as_str().map(str::to_owned)
}

async fn muted_faults_are_left_alone(hub: &Hub) {
    hub.report("no match for the door", 1).await;
    hub.jobs_are_done(1).await;
    hub.report("cannot open the window", 1).await;
    hub.jobs_are_done(2).await;
    // The first event of the next one comes while dispatch waits, so that it can be muted in time.
    hub.act("/api/dispatch/pause", json!({})).await;
    hub.act("/api/faults/1/mute", json!({})).await;
    hub.act("/api/faults/2/mute", json!({ "for": "7d", "comment": "the frame is ordered" })).await;
    hub.act("/api/dispatch/resume", json!({})).await;
    hub.decision(1, "muted by anyone").await;
    hub.report("no match for the door", 20).await;
    hub.report("cannot open the window", 20).await;
    hub.decision(1, "muted by anyone").await;
    hub.decision(2, "muted by anyone until 20").await;
    let muted = hub.fault(2).await;
    assert_eq!((state(&muted).as_str(), muted["count"].as_i64()), ("muted", Some(21)));
    assert!(muted["muted_until"].is_string() && muted["muted_by"] == "anyone", "{muted}");
    assert!(hub.fault(1).await["muted_until"].is_null());
    // A ticket that is done does not come back either.
    hub.jira.resolve("OPS-1", "Done");
    eventually("it is heard of", async || {
        let fault = hub.fault(1).await;
        if fault["ticket"]["is_done"] == true { Ok(()) } else { Err(fault) }
    })
    .await;
    hub.report("no match for the door", 100).await;
    hub.decision(1, "muted by anyone").await;
    hub.jobs_are_done(2).await;
    assert!(hub.jira.requests_to(Endpoint::AddComment).is_empty());

    hub.act("/api/faults/1/unmute", json!({})).await;
    hub.act("/api/faults/2/unmute", json!({})).await;
    hub.jobs_are_done(4).await;
    let issue = hub.jira.issue("OPS-1").unwrap();
    assert_ne!(issue.status.name, "Done", "it is open again");
    assert_eq!(hub.jira.issue("OPS-2").unwrap().comments.len(), 1, "a milestone has passed");
    let refused = hub.refused("/api/faults/1/unmute", json!({}), 409).await;
    assert_eq!(refused, "a fault that is open cannot unmute");
    for wrong in [json!({ "for": "soon" }), json!({ "for": "0s" })] {
        hub.refused("/api/faults/1/mute", wrong, 400).await;
    }
    hub.refused("/api/faults/99/mute", json!({}), 404).await;
}

async fn what_is_resolved_and_happens_again_is_a_regression(hub: &Hub) {
    hub.report("cannot open the door", 1).await;
    hub.jobs_are_done(1).await;
    hub.act("/api/faults/1/resolve", json!({ "comment": "oiled" })).await;
    hub.decision(1, "it was resolved only just before").await;
    let resolved = hub.fault(1).await;
    assert_eq!(state(&resolved), "resolved");
    assert!(resolved["resolved_at"].is_string() && resolved["ticket"]["is_done"] == false);
    assert!(hub.titles("").await.is_empty(), "open ones are listed");
    assert_eq!(hub.titles("state=resolved").await, ["cannot open the door"]);
    hub.refused("/api/faults/1/resolve", json!({}), 409).await;
    assert_ne!(hub.jira.issue("OPS-1").unwrap().status.name, "Done", "that is left to its people");

    hub.report("cannot open the door", 1).await;
    hub.becomes(1, state, "open".to_owned()).await;
    hub.jobs_are_done(2).await;
    hub.decision(1, "by rule \"regressions\"").await;
    let comments = hub.jira.issue("OPS-1").unwrap().comments;
    assert_eq!(comments.len(), 1);
    hub.report("cannot open the door", 1).await;
    hub.decision(1, "it has a ticket").await;
    hub.jobs_are_done(2).await;
    let why = hub.program.json("/api/faults/1/why").await;
    let told: Vec<_> = why["audit"].as_array().unwrap().iter().collect();
    let resolve = told.iter().find(|entry| entry["action"] == "fault.resolve").unwrap();
    assert_eq!(resolve["details"], json!({ "from": "open", "comment": "oiled" }));
}

async fn a_ticket_that_is_done_resolves_its_fault(hub: &Hub) {
    hub.report("cannot open the door", 1).await;
    hub.jobs_are_done(1).await;
    hub.jira.resolve("OPS-1", "Done");
    let resolved = hub.becomes(1, state, "resolved".to_owned()).await;
    assert_eq!(resolved["ticket"]["is_done"], true);
    hub.jira.reopen("OPS-1");
    hub.becomes(1, state, "open".to_owned()).await;
    hub.jira.resolve("OPS-1", "Done");
    hub.becomes(1, state, "resolved".to_owned()).await;
    hub.report("cannot open the door", 1).await;
    hub.becomes(1, state, "open".to_owned()).await;
    hub.jobs_are_done(2).await;
    hub.becomes(1, |fault| fault["ticket"]["is_done"].clone(), json!(false)).await;
    // "Won't do" is an answer: it stays resolved, whatever happens.
    hub.jira.resolve("OPS-1", "Won't Do");
    hub.becomes(1, state, "resolved".to_owned()).await;
    hub.report("cannot open the door", 1).await;
    hub.decision(1, "its ticket was closed as \"Won't Do\"").await;
    assert_eq!(state(&hub.fault(1).await), "resolved");
}

async fn a_ticket_is_made_by_hand(hub: &Hub) {
    hub.report("cannot open the door", 3).await;
    hub.decision(1, "ignores it").await;
    let first =
        hub.act("/api/faults/1/ticket", json!({ "summary": "The door", "priority": "High" })).await;
    let (status, _) = hub.post("/api/faults/1/ticket", json!({})).await;
    assert_eq!(status, 409, "one at a time");
    hub.jobs_are_done(1).await;
    let fault = hub.fault(1).await;
    assert_eq!(key(&fault).as_deref(), Some("OPS-1"));
    let url = format!("{}/browse/OPS-1", hub.jira.url());
    assert_eq!((&fault["ticket"]["url"], &fault["ticket"]["incident"]), (&json!(url), &json!(1)));
    let issue = hub.jira.issue("OPS-1").unwrap();
    assert_eq!(issue.summary, "The door");
    assert!(issue.description.contains("cannot open the door"), "{}", issue.description);
    let job = hub.program.json(&format!("/api/jobs/{}", first["job"])).await;
    assert_eq!(
        (&job["job"]["rule"], &job["history"][0]["who"]),
        (&json!("by hand"), &json!("anyone"))
    );
    let refused = hub.refused("/api/faults/1/ticket", json!({}), 409).await;
    assert_eq!(refused, "its ticket OPS-1 is open");
    // Done, the next one is made, and linked to it.
    hub.jira.resolve("OPS-1", "Done");
    hub.becomes(1, state, "resolved".to_owned()).await;
    hub.act("/api/faults/1/ticket", json!({ "project": "OPS", "issue_type": "Task" })).await;
    hub.jobs_are_done(2).await;
    assert_eq!((state(&hub.fault(1).await).as_str(), hub.jira.issues().len()), ("open", 2));
    assert_eq!(hub.jira.requests_to(Endpoint::LinkIssues).len(), 1);
    for (wrong, pointer) in [
        (json!({ "summary": "two\nlines" }), "/summary"),
        (json!({ "project": " " }), "/project"),
        (json!({ "description": "x".repeat(30_001) }), "/description"),
    ] {
        let (status, problem) = hub.post("/api/faults/1/ticket", wrong).await;
        assert_eq!((status, problem["pointer"].as_str()), (400, Some(pointer)));
    }
    hub.refused("/api/faults/1/ticket", json!({ "colour": "red" }), 422).await;
    hub.refused("/api/faults/99/ticket", json!({}), 404).await;
    openapi::assert_described(hub.jira.requests());
}

async fn people_tell_of_a_fault(hub: &Hub) {
    let told = json!({
        "environment": "prod", "service": "shop", "title": "Checkout is slow",
        "description": "Since <b>yesterday</b>.", "severity": "critical",
    });
    // A create of which nobody knows whether it was done is looked for, not done again.
    hub.jira.fail_next(Endpoint::Create, 1, &Fault::ResetAfter);
    let made = hub.act("/api/tickets", told).await;
    hub.jobs_are_done(1).await;
    assert_eq!(hub.jira.issues().len(), 1, "exactly once");
    let issue = hub.jira.issue("OPS-1").unwrap();
    assert_eq!(issue.summary, "Checkout is slow");
    assert!(issue.description.contains("Since <b>yesterday</b>."), "{}", issue.description);
    let fault = hub.fault(made["fault"].as_i64().unwrap()).await;
    assert_eq!(key(&fault).as_deref(), Some("OPS-1"));
    assert_eq!(
        (fault["kind"].as_str(), fault["severity"].as_str()),
        (Some("manual"), Some("critical"))
    );
    assert_eq!(hub.titles("text=YESTERDAY&kind=manual").await, ["Checkout is slow"]);
    hub.refused("/api/tickets", json!({ "environment": "prod", "service": "shop" }), 422).await;
    let empty = json!({ "environment": "prod", "service": "shop", "title": "" });
    hub.refused("/api/tickets", empty, 400).await;
}

/// A ticket that a person has made in Jira.
async fn made_by_people(jira: &Jira, summary: &str) -> String {
    let fields = json!({
        "project": { "key": "OPS" }, "issuetype": { "name": "Bug" }, "summary": summary,
        "labels": ["mine"],
    });
    let answer = reqwest::Client::new()
        .post(format!("{}/rest/api/3/issue", jira.url()))
        .header("authorization", jira.authorization())
        .json(&json!({ "fields": fields }))
        .send()
        .await
        .unwrap();
    let made: Value = answer.json().await.unwrap();
    made["key"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned()
}

async fn a_ticket_is_linked(hub: &Hub) {
    let ticket = made_by_people(&hub.jira, "The door").await;
    hub.report("cannot open the door", 1).await;
    hub.report("cannot close the window", 1).await;
    hub.decision(2, "1 of the 1000").await;
    hub.refused("/api/faults/1/link", json!({ "key": "OPS-99" }), 404).await;
    hub.refused("/api/faults/1/link", json!({ "key": "../x" }), 400).await;
    hub.refused("/api/faults/99/link", json!({ "key": ticket }), 404).await;
    let linked = hub.act("/api/faults/1/link", json!({ "key": ticket.to_lowercase() })).await;
    assert_eq!(linked["ticket"]["key"], json!(ticket));
    assert_eq!(
        (&linked["ticket"]["status"], &linked["ticket"]["is_done"]),
        (&json!("To Do"), &json!(false))
    );
    let again = hub.act("/api/faults/1/link", json!({ "key": ticket })).await;
    assert_eq!(again, linked);
    let refused = hub.refused("/api/faults/2/link", json!({ "key": ticket }), 409).await;
    assert_eq!(refused, format!("ticket {ticket} is linked to fault 1"));
    hub.jobs_are_done(1).await;
    let issue = hub.jira.issue(&ticket).unwrap();
    assert!(
        ["mine", "faultline"].iter().all(|label| issue.labels.iter().any(|has| has == label)),
        "{:?}",
        issue.labels
    );
    assert_eq!((issue.summary.as_str(), issue.labels.len()), ("The door", 3));

    // What happens from now on is told there, and what people do there is heard of.
    hub.report("cannot open the door", 1_000).await;
    hub.jobs_are_done(2).await;
    assert_eq!(hub.jira.issue(&ticket).unwrap().comments.len(), 1);
    hub.jira.resolve(&ticket, "Done");
    hub.becomes(1, state, "resolved".to_owned()).await;

    // A Jira that does not answer cannot say that there is none.
    let other = made_by_people(&hub.jira, "The window").await;
    hub.jira.down(Fault::Status5xxBefore(503));
    hub.act("/api/faults/2/link", json!({ "key": other })).await;
    hub.jira.up();
    hub.becomes(2, |fault| fault["ticket"]["status"].clone(), json!("To Do")).await;
}

async fn a_copy_of_its_ticket_is_another_one(hub: &Hub) {
    hub.report("cannot open the door", 1).await;
    hub.jobs_are_done(1).await;
    let copy = hub.jira.copy_to("OPS-1", "DEV");
    hub.jira.resolve(&copy, "Won't Do");
    // Who asks again has written down what was said before.
    let before = hub.jira.requests_to(Endpoint::Search).len();
    eventually("Jira was asked what has changed", async || {
        let searches = hub.jira.requests_to(Endpoint::Search).len();
        if searches >= before + 2 { Ok(()) } else { Err(searches) }
    })
    .await;
    let fault = hub.fault(1).await;
    assert_eq!((key(&fault).as_deref(), state(&fault).as_str()), (Some("OPS-1"), "open"));
    hub.jira.resolve("OPS-1", "Done");
    hub.becomes(1, state, "resolved".to_owned()).await;
}

async fn a_ticket_that_is_gone_is_none(hub: &Hub) {
    hub.report("cannot open the door", 1).await;
    hub.jobs_are_done(1).await;
    // A person wants one: Jira is asked whether the other one is still there.
    hub.jira.delete("OPS-1");
    hub.act("/api/faults/1/ticket", json!({})).await;
    hub.jobs_are_done(2).await;
    hub.becomes(1, key, Some("OPS-2".to_owned())).await;
    // What was to be told there has found out.
    hub.jira.delete("OPS-2");
    hub.report("cannot open the door", 9).await;
    hub.becomes(1, |fault| fault["ticket"]["status"].clone(), json!("gone")).await;
    hub.report("cannot open the door", 1).await;
    hub.becomes(1, key, Some("OPS-3".to_owned())).await;
    // Another one is linked.
    hub.jira.delete("OPS-3");
    let ticket = made_by_people(&hub.jira, "The door").await;
    hub.act("/api/faults/1/link", json!({ "key": ticket })).await;
    assert_eq!(key(&hub.fault(1).await), Some(ticket));
    openapi::assert_described(hub.jira.requests());
}

async fn faults_are_listed(hub: &Hub) {
    for (message, times) in
        [("cannot open the door", 3), ("no paper in tray 7", 1), ("a lamp is out", 2)]
    {
        hub.report(message, times).await;
    }
    let all = ["a lamp is out", "no paper in tray <num>", "cannot open the door"];
    let listed = hub.titles("").await;
    assert_eq!(listed.len(), 3, "{listed:?}");
    assert_eq!(listed[0], all[0]);
    assert_eq!(hub.titles("sort=count").await[0], "cannot open the door");
    assert_eq!(hub.titles("sort=count&order=asc").await[2], "cannot open the door");
    for query in [
        "environment=stage",
        "ticket=yes",
        "severity=critical",
        "new_since=2999-01-01T00:00:00Z",
        "ticket=OPS-1",
        "state=muted",
        "text=tray+8",
    ] {
        assert!(hub.titles(query).await.is_empty(), "{query}");
    }
    for query in [
        "environment=prod&service=shop",
        "ticket=no",
        "severity=debug",
        "new_since=1h",
        "state=all",
        "kind=error",
    ] {
        assert_eq!(hub.titles(query).await.len(), 3, "{query}");
    }
    assert_eq!(hub.titles("text=TRAY+7").await.len(), 1);
    // Page by page.
    let (mut titles, mut query) = (Vec::new(), "sort=count&limit=1".to_owned());
    loop {
        let page = hub.program.json(&format!("/api/faults?{query}")).await;
        titles.push(page["faults"][0]["title"].as_str().unwrap().to_owned());
        let Some(next) = page["next"].as_str() else { break };
        query = format!("sort=count&limit=1&cursor={next}");
    }
    assert_eq!(titles, hub.titles("sort=count").await);
    for wrong in [
        "limit=0",
        "limit=1001",
        "sort=size",
        "state=new",
        "colour=red",
        "severity=loud",
        "new_since=soon",
        "cursor=x",
        "text=%00",
        "ticket=%00",
        "environment=%00",
    ] {
        let (status, _) = hub.program.get(&format!("/api/faults?{wrong}")).await.unwrap();
        assert_eq!(status, 400, "{wrong}");
    }
    let cursor = query.replace("sort=count", "sort=id");
    assert_eq!(
        hub.program.get(&format!("/api/faults?{cursor}")).await.unwrap().0,
        400,
        "of another list"
    );
}

async fn how_often_it_happens_is_told(hub: &Hub) {
    for (message, times) in [("cannot open the door", 3), ("a lamp is out", 2)] {
        hub.report(message, times).await;
    }
    let fault = hub.fault(1).await;
    assert_eq!(fault["trend"].as_array().unwrap().len(), 24);
    let sum =
        |values: &Value| values.as_array().unwrap().iter().filter_map(Value::as_i64).sum::<i64>();
    assert_eq!(sum(&fault["trend"]), 3);
    let report =
        json!({ "message": "cannot open the door", "service": "shop", "environment": "stage" });
    hub.program.report(&report.to_string()).await;
    hub.program.settled().await;
    for step in ["hour", "day"] {
        let met = hub.program.json(&format!("/api/faults/1/occurrences?step={step}")).await;
        let counts: Vec<_> = met["occurrences"]
            .as_array()
            .unwrap()
            .iter()
            .map(|met| (met["environment"].as_str().unwrap(), met["count"].as_i64().unwrap()))
            .collect();
        assert_eq!(
            (counts.iter().map(|(_, count)| count).sum::<i64>(), met["step"].as_str()),
            (4, Some(step))
        );
        assert!(counts.contains(&("stage", 1)), "{counts:?}");
    }
    for (query, status) in [
        ("1/occurrences?since=3y", 400),
        ("99/occurrences", 404),
        ("1/occurrences?since=0001-01-01T00:00:00Z&step=day", 400),
        ("1/occurrences?until=2001-01-01T00:00:00Z", 200),
    ] {
        assert_eq!(
            hub.program.get(&format!("/api/faults/{query}")).await.unwrap().0,
            status,
            "{query}"
        );
    }
    let facets = hub.program.json("/api/facets").await;
    assert_eq!(facets, json!({ "environments": ["prod", "stage"], "services": ["shop"] }));
    // What people merge is one, with one trend.
    hub.act("/api/faults/2/merge", json!({ "into": 1 })).await;
    assert_eq!(sum(&hub.fault(1).await["trend"]), 5);
    assert_eq!(hub.titles("state=merged").await, ["a lamp is out"]);
    hub.refused("/api/faults/2/resolve", json!({}), 409).await;
}

async fn the_command_line_does_the_same(hub: &Hub) {
    hub.report("cannot open the door", 1).await;
    hub.jobs_are_done(1).await;
    let run = async |arguments: &[&str]| {
        let output = run_to_end(hub.program.command_with(arguments)).await;
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
    };
    let (done, said) = run(&["faults", "mute", "1", "--for", "7d", "--comment", "later"]).await;
    assert!(done && said == "fault 1\n", "{said}");
    assert_eq!(state(&hub.fault(1).await), "muted");
    let (done, said) = run(&["faults", "list", "--state", "muted"]).await;
    assert!(done && said.contains("muted") && said.contains("OPS-1"), "{said}");
    assert_eq!(run(&["faults", "list"]).await, (true, String::new()));
    assert!(run(&["faults", "unmute", "1"]).await.0);
    assert!(run(&["faults", "resolve", "1"]).await.0);
    assert_eq!(state(&hub.fault(1).await), "resolved");
    let (done, said) = run(&["faults", "resolve", "1"]).await;
    assert!(!done && said.contains("a fault that is resolved cannot resolve"), "{said}");
    assert!(run(&["faults", "reopen", "1"]).await.0);
    assert_eq!(state(&hub.fault(1).await), "open");
    let why = hub.program.json("/api/faults/1/why").await;
    let told = why["audit"].as_array().unwrap().iter();
    let told: Vec<_> = told.filter(|entry| entry["who"] == "command line").collect();
    assert_eq!(told.len(), 4, "{why}");
}
