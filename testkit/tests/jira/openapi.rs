//! Requests and answers by Atlassian's description.

use faultline_testkit::jira::{
    Kind, Settings,
    openapi::{Validator, description},
};
use serde_json::{Value, json};

use crate::{Asker, document, issue};

/// Says so when the description is not there.
fn validator() -> Option<Validator> {
    let Some(path) = description() else {
        eprintln!("skipped: JIRA_OPENAPI names no description of the Cloud REST API v3");
        return None;
    };
    Some(Validator::load(&path).unwrap())
}

#[tokio::test]
async fn the_fake_answers_as_described() {
    let Some(validator) = validator() else { return };
    let settings = Settings::cloud().with_field(10_001, "Fingerprint", Kind::Text).with_field(
        10_002,
        "Team",
        Kind::Select(vec!["red".to_owned()]),
    );
    let asker = Asker::of(settings).await;
    let mut full = issue("a", &["fl-1"]);
    full["fields"]["description"] = document("text");
    full["fields"]["customfield_10002"] = json!({"value": "red"});
    for body in [&full, &issue("", &[]), &issue("b", &[])] {
        asker.post("3/issue", body).await;
    }
    let bulk = json!({"issueUpdates": [full, issue("", &[])]});
    asker.post("3/issue/bulk", &bulk).await;
    asker.post("3/issue/bulk", &json!({"issueUpdates": [issue("", &[])]})).await;
    let update = json!({"update": {"labels": [{"add": "two"}]}});
    asker.put("3/issue/OPS-1", &update).await;
    asker.put("3/issue/OPS-1", &json!({"fields": {"nope": 1}})).await;
    asker.post("3/issue/OPS-1/comment", &json!({"body": document("x")})).await;
    asker.post("3/issue/OPS-1/comment", &json!({"body": document("")})).await;
    let relates = json!({"type": {"name": "Relates"}, "inwardIssue": {"key": "OPS-1"},
        "outwardIssue": {"key": "OPS-2"}});
    asker.post("3/issueLink", &relates).await;
    for id in ["31", "99"] {
        asker.post("3/issue/OPS-1/transitions", &json!({"transition": {"id": id}})).await;
    }
    let search = json!({"jql": "project = OPS", "fields": ["*all"], "maxResults": 1});
    asker.post("3/search/jql", &search).await;
    for path in [
        "issue/OPS-1",
        "issue/OPS-1?fields=summary,status",
        "issue/OPS-9",
        "issue/OPS-1/comment",
        "issue/OPS-1/transitions",
        "search/jql?jql=project%3DOPS&fields=summary&maxResults=2",
        "search/jql?jql=nope",
        "issue/createmeta/OPS/issuetypes",
        "issue/createmeta/NOPE/issuetypes",
        "issue/createmeta/OPS/issuetypes/10001?maxResults=200",
        "project/OPS",
        "project/NOPE",
        "myself",
        "serverInfo",
        "priority",
        "field",
    ] {
        asker.get(&format!("3/{path}")).await;
    }
    let recorded = asker.jira.requests();
    assert!(recorded.iter().all(|request| request.status.is_some()));
    let mismatches = validator.mismatches(&recorded);
    assert!(mismatches.is_empty(), "{mismatches:#?}");
}

#[test]
fn wrong_requests_are_noticed() {
    let Some(validator) = validator() else { return };
    let body = issue("a", &[]);
    let request = |method: &str, path: &str, body: Option<&Value>| {
        validator.request(method, &format!("/rest/api/3/{path}"), body)
    };
    request("POST", "issue", Some(&body)).unwrap();
    validator.request("POST", "/rest/api/2/issue", Some(&body)).unwrap();
    let wrong = [
        ("POST", "issues", Some(body.clone())),
        ("DELETE", "issue", None),
        ("POST", "issue", None),
        ("GET", "myself", Some(body)),
        ("POST", "issue", Some(json!({"fields": "text"}))),
        ("PUT", "issue/OPS-1", Some(json!({"update": {"labels": {"add": "x"}}}))),
        ("POST", "issue/OPS-1/transitions", Some(json!({"transition": {"id": 31}}))),
        ("POST", "issueLink", Some(json!({"type": {"name": "Relates"}}))),
        ("GET", "issue/OPS-1?field=summary", None),
        ("POST", "search/jql", Some(json!({"jql": "project = OPS", "startAt": 0}))),
        ("POST", "search/jql", Some(json!({"jql": "project = OPS", "fields": "summary"}))),
    ];
    for (method, path, body) in wrong {
        let told = request(method, path, body.as_ref());
        assert!(told.is_err(), "{method} {path} {body:?}");
    }
}

#[test]
fn wrong_answers_are_noticed() {
    let Some(validator) = validator() else { return };
    let answer = |status: u16, body: Value| {
        validator.response("POST", "/rest/api/3/issue", status, Some(&body))
    };
    answer(201, json!({"id": "10000", "key": "OPS-1"})).unwrap();
    answer(400, json!({"errorMessages": [], "errors": {"summary": "no"}})).unwrap();
    for (status, body) in [
        (201, json!({"id": 10_000})),
        (201, json!({"id": "10000", "link": "x"})),
        (200, json!({"id": "10000"})),
        (400, json!({"errors": []})),
    ] {
        assert!(answer(status, body.clone()).is_err(), "{status} {body}");
    }
    assert!(validator.response("POST", "/rest/api/3/issue", 201, None).is_err());
}
