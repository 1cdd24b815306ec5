//! Searching.

use std::time::Duration;

use faultline_testkit::{
    eventually,
    jira::{Kind, Settings},
};
use serde_json::{Value, json};

use crate::{Asker, issue};

#[tokio::test]
async fn a_search_sees_changes_later() {
    let asker = Asker::cloud().await;
    asker.jira.change(|settings| settings.search_lag = Duration::from_hours(1));
    let key = asker.file("a", &["fl-1"]).await;
    let jql = "project = OPS AND labels = \"fl-1\"";
    assert!(asker.find(jql).await.is_empty());
    assert_eq!(asker.get(&format!("3/issue/{key}")).await.status, 200, "but it is there");
    let id = asker.jira.issue(&key).unwrap().id.parse::<u64>().unwrap();
    let reconciled = json!({"jql": jql, "fields": ["key"], "reconcileIssues": [id]});
    let heard = asker.post("3/search/jql", &reconciled).await;
    assert_eq!(heard.body["issues"][0]["key"], key.as_str(), "who knows the id sees it");

    asker.jira.change(|settings| settings.search_lag = Duration::from_millis(100));
    eventually("the index catches up", async || {
        if asker.find(jql).await == [key.clone()] { Ok(()) } else { Err("not yet") }
    })
    .await;
    asker.jira.change(|settings| settings.search_lag = Duration::from_hours(1));
    asker.jira.resolve(&key, "Done");
    assert!(asker.find("statusCategory = Done").await.is_empty(), "a stale status");
    asker.jira.delete(&key);
    assert_eq!(asker.find(jql).await, [key], "a stale issue");
}

#[tokio::test]
async fn cloud_gives_pages_by_tokens() {
    let asker = Asker::cloud().await;
    for number in 0..5 {
        asker.file(&format!("issue {number}"), &["fl-1"]).await;
    }
    let mut body = json!({"jql": "labels = fl-1 ORDER BY created ASC", "maxResults": 2,
        "fields": ["summary"]});
    let (mut summaries, mut pages) = (Vec::new(), 0);
    loop {
        let heard = asker.post("3/search/jql", &body).await;
        assert_eq!(heard.body.get("total"), None);
        let issues = heard.body["issues"].as_array().unwrap().iter();
        summaries.extend(issues.map(|issue| issue["fields"]["summary"].clone()));
        pages += 1;
        if heard.body["isLast"] == true {
            assert_eq!(heard.body.get("nextPageToken"), None);
            break;
        }
        body["nextPageToken"] = heard.body["nextPageToken"].clone();
    }
    let expected: Vec<Value> = (0..5).map(|number| json!(format!("issue {number}"))).collect();
    assert_eq!((summaries, pages), (expected, 3));

    body["jql"] = json!("labels = fl-2");
    assert_eq!(asker.post("3/search/jql", &body).await.status, 400, "another query's token");
    let bare = asker.get("3/search/jql?jql=labels%20%3D%20fl-1&maxResults=1").await;
    let id = asker.jira.issue("OPS-5").unwrap().id;
    assert_eq!(bare.body["issues"], json!([{"id": id}]), "nothing but ids");
    let unknown = json!({"jql": "labels = fl-1", "startAt": 5});
    assert_eq!(asker.post("3/search/jql", &unknown).await.status, 400);
}

#[tokio::test]
async fn clouds_old_search_is_gone() {
    let asker = Asker::cloud().await;
    for path in ["3/search", "2/search"] {
        let heard = asker.post(path, &json!({"jql": "project = OPS"})).await;
        assert_eq!(heard.status, 410);
        assert!(heard.body["errorMessages"][0].as_str().unwrap().contains("has been removed"));
    }
    assert_eq!(asker.get("3/search?jql=project%3DOPS").await.status, 410);
}

#[tokio::test]
async fn data_center_gives_pages_by_their_start() {
    let asker = Asker::of(Settings::data_center()).await;
    for number in 0..3 {
        asker.file(&format!("issue {number}"), &["fl-1"]).await;
    }
    let body = json!({"jql": "labels = fl-1 ORDER BY key", "startAt": 2, "maxResults": 2,
        "fields": ["summary"]});
    let heard = asker.post("2/search", &body).await;
    assert_eq!((&heard.body["total"], &heard.body["startAt"]), (&json!(3), &json!(2)));
    assert_eq!(heard.body["issues"][0]["fields"], json!({"summary": "issue 2"}));
    let got = asker.get("2/search?jql=labels%3Dfl-1&fields=status").await;
    assert_eq!(got.body["issues"][0]["fields"]["status"]["statusCategory"]["key"], "new");
    assert_eq!(asker.post("2/search/jql", &body).await.status, 404);
}

#[tokio::test]
async fn queries_find_what_they_say() {
    let settings = Settings::cloud()
        .with_project("WEB")
        .with_field(10_001, "Fingerprint", Kind::Text)
        .with_field(10_002, "Team", Kind::Select(vec!["red".to_owned(), "blue".to_owned()]));
    let asker = Asker::of(settings).await;
    asker.file("payment refused", &["fl-1", "prod"]).await;
    asker.file("payment lost", &["fl-2"]).await;
    let mut other = issue("other", &[]);
    other["fields"]["project"] = json!({"key": "WEB"});
    other["fields"]["customfield_10001"] = json!("fp 4711 abc");
    other["fields"]["customfield_10002"] = json!({"value": "red"});
    asker.post("3/issue", &other).await;
    asker.jira.resolve("OPS-1", "Won't Do");

    let cases: &[(&str, &[&str])] = &[
        ("project = OPS ORDER BY created ASC", &["OPS-1", "OPS-2"]),
        ("project = ops ORDER BY created DESC", &["OPS-2", "OPS-1"]),
        ("labels = \"FL-1\"", &["OPS-1"]),
        ("labels in (\"fl-1\", fl-2) ORDER BY key", &["OPS-1", "OPS-2"]),
        ("labels is EMPTY", &["WEB-1"]),
        ("labels != fl-1", &["OPS-2"]),
        ("key in (OPS-2, WEB-1) ORDER BY key", &["OPS-2", "WEB-1"]),
        ("statusCategory = Done", &["OPS-1"]),
        ("project = OPS AND statusCategory != Done", &["OPS-2"]),
        ("status = \"To Do\" AND project = WEB", &["WEB-1"]),
        ("resolution != \"Won't Do\" AND project = OPS", &[]),
        ("project = OPS AND (resolution is EMPTY or resolution != \"Won't Do\")", &["OPS-2"]),
        ("resolution = Unresolved AND NOT project = WEB", &["OPS-2"]),
        ("cf[10001] ~ \"4711\"", &["WEB-1"]),
        ("Fingerprint ~ \"fp 47*\"", &["WEB-1"]),
        ("cf[10001] ~ \"\\\"4711 fp\\\"\"", &[]),
        ("Team = red", &["WEB-1"]),
        ("summary ~ payment AND summary ~ lost", &["OPS-2"]),
        ("updated >= -5m AND project = WEB", &["WEB-1"]),
        ("updated >= \"2099-01-01 00:00\" OR key = OPS-2", &["OPS-2"]),
        ("created < \"2020-01-01\"", &[]),
    ];
    for (jql, keys) in cases {
        assert_eq!(asker.find(jql).await, *keys, "{jql}");
    }
}

#[tokio::test]
async fn dates_are_in_the_time_zone_of_who_asks() {
    let asker = Asker::of(Settings { utc_offset: 9, ..Settings::cloud() }).await;
    let key = asker.file("a", &[]).await;
    let created = asker.jira.issue(&key).unwrap().created;
    let at = |hours: i64| {
        let shifted = created + jiff::SignedDuration::from_hours(hours);
        format!("key = {key} AND created >= \"{}\"", shifted.strftime("%Y-%m-%d %H:%M"))
    };
    assert_eq!(asker.find(&at(9)).await, [key.as_str()]);
    assert!(asker.find(&at(10)).await.is_empty());
    let shown = asker.get(&format!("3/issue/{key}?fields=created")).await;
    assert!(shown.body["fields"]["created"].as_str().unwrap().ends_with("+0900"));
    assert_eq!(asker.get("3/myself").await.body["timeZone"], "Etc/GMT-9");
}

#[tokio::test]
async fn queries_that_jira_refuses_are_refused() {
    let asker = Asker::of(Settings::cloud().with_field(10_001, "Fingerprint", Kind::Text)).await;
    let cases = [
        ("", "Unbounded JQL queries are not allowed here."),
        ("ORDER BY created", "Unbounded JQL queries are not allowed here."),
        ("project = NOPE", "The value 'NOPE' does not exist for the field 'project'."),
        ("key = OPS-7", "An issue with key 'OPS-7' does not exist for field 'key'."),
        ("status = Gone", "The value 'Gone' does not exist for the field 'status'."),
        ("nope = 1", "Field 'nope' does not exist"),
        ("customfield_10001 ~ x", "Field 'customfield_10001' does not exist"),
        ("cf[10001] = x", "The operator '=' is not supported by the 'cf[10001]' field."),
        ("labels = \"fl", "Error in the JQL Query: The quoted string"),
        ("labels fl-1", "Error in the JQL Query: Expecting operator but got 'fl-1'."),
        ("labels = a b", "Error in the JQL Query: Expecting either 'OR' or 'AND' but got 'b'."),
        ("labels = a@b", "Error in the JQL Query: The character"),
        ("updated >= soon", "Date value 'soon' for field 'updated' is invalid."),
    ];
    for (jql, message) in cases {
        let heard = asker.post("3/search/jql", &json!({"jql": jql})).await;
        assert_eq!(heard.status, 400, "{jql}");
        let said = heard.body["errorMessages"][0].as_str().unwrap();
        assert!(said.starts_with(message), "{jql}: {said}");
    }
}
