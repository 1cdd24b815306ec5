//! Statuses, and what people do.

use faultline_testkit::jira::{Category, Settings};
use serde_json::json;

use crate::{Asker, document};

#[tokio::test]
async fn an_issue_goes_through_its_workflow() {
    let asker = Asker::cloud().await;
    let key = asker.file("a", &[]).await;
    let path = format!("3/issue/{key}/transitions");
    let open = asker.get(&path).await;
    let ids = |body: &serde_json::Value| -> Vec<String> {
        let open = body["transitions"].as_array().unwrap().iter();
        open.map(|step| step["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids(&open.body), ["11", "31"]);
    assert_eq!(open.body["transitions"][1]["to"]["statusCategory"]["key"], "done");

    let reopen = asker.post(&path, &json!({"transition": {"id": "41"}})).await;
    let message = reopen.body["errorMessages"][0].as_str().unwrap();
    assert!(message.starts_with("It seems that you have tried"), "{message}");
    let unknown = asker.post(&path, &json!({"transition": {"id": "99"}})).await;
    let message = "Transition id '99' is not valid for this issue.";
    assert_eq!((unknown.status, &unknown.body["errorMessages"][0]), (400, &json!(message)));

    let resolve = json!({"transition": {"id": "31"},
        "fields": {"resolution": {"name": "Won't Do"}},
        "update": {"comment": [{"add": {"body": document("no")}}]}});
    assert_eq!(asker.post(&path, &resolve).await.status, 204);
    let held = asker.jira.issue(&key).unwrap();
    assert_eq!(held.resolution.as_deref(), Some("Won't Do"));
    assert_eq!((held.status.category, held.comments.len()), (Category::Done, 1));
    assert_eq!(ids(&asker.get(&path).await.body), ["41"]);
    assert_eq!(asker.post(&path, &json!({"transition": {"id": "41"}})).await.status, 204);
    let held = asker.jira.issue(&key).unwrap();
    assert_eq!((held.status.category, held.resolution), (Category::New, None));

    let no_screen = json!({"transition": {"id": "11"}, "fields": {"resolution": {"name": "Done"}}});
    assert!(asker.post(&path, &no_screen).await.errors()["resolution"].is_string());
}

#[tokio::test]
async fn names_are_translated_and_keys_are_not() {
    let asker = Asker::of(Settings::cloud().in_german()).await;
    let key = asker.file("a", &[]).await;
    asker.jira.resolve(&key, "Done");
    let status = asker.get(&format!("3/issue/{key}")).await.body["fields"]["status"].clone();
    assert_eq!((&status["name"], &status["id"]), (&json!("Fertig"), &json!("10001")));
    assert_eq!(status["statusCategory"]["key"], "done");
    let open = asker.get(&format!("3/issue/{key}/transitions")).await;
    assert_eq!(open.body["transitions"][0]["name"], "Erneut öffnen");
    assert_eq!(asker.find("statusCategory = Done").await, [key], "JQL stays English");
}

#[tokio::test]
async fn people_work_too() {
    let asker = Asker::of(Settings::cloud().with_project("WEB")).await;
    let key = asker.file("a", &[]).await;
    asker.jira.set_status(&key, "In Progress");
    assert_eq!(asker.jira.issue(&key).unwrap().status.category, Category::Indeterminate);
    asker.jira.resolve(&key, "Duplicate");
    assert_eq!(asker.jira.issue(&key).unwrap().resolution.as_deref(), Some("Duplicate"));
    asker.jira.reopen(&key);
    assert_eq!(asker.jira.issue(&key).unwrap().resolution, None);
    asker.jira.edit(&key, |issue, _| issue.labels.clear());
    let moved = asker.jira.move_to(&key, "WEB");
    assert_eq!(moved, "WEB-1");
    let read = asker.get(&format!("3/issue/{key}")).await;
    assert_eq!(read.key(), "WEB-1", "the old key still leads there");
    asker.jira.delete(&moved);
    assert_eq!(asker.get(&format!("3/issue/{moved}")).await.status, 404);
    let body = json!({"body": document("x")});
    let heard = asker.post(&format!("3/issue/{moved}/comment"), &body).await;
    assert_eq!(heard.status, 404);
}
