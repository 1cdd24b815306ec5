//! Creating, reading, changing.

use faultline_testkit::jira::{Kind, Settings};
use serde_json::{Value, json};

use crate::{Asker, document, heard, issue};

#[tokio::test]
async fn an_issue_is_created_and_read() {
    let asker = Asker::cloud().await;
    let mut body = issue("payment refused", &["fl-9f2ab31c"]);
    body["fields"]["description"] = document("card expired");
    body["fields"]["priority"] = json!({"name": "High"});
    body["fields"]["components"] = json!([{"name": "backend"}]);
    body["fields"]["assignee"] = json!({"accountId": "5b10a2844c20165700ede21b"});
    let created = asker.post("3/issue", &body).await;
    assert_eq!((created.status, created.key()), (201, "OPS-1"));
    let read = asker.get("3/issue/OPS-1?fields=summary,description,labels,status").await;
    assert_eq!(read.body["fields"]["description"], document("card expired"));
    assert_eq!(read.body["fields"]["status"]["statusCategory"]["key"], "new");
    assert_eq!(read.body["fields"].as_object().unwrap().len(), 4);
    let by_id = asker.get(&format!("2/issue/{}", created.body["id"].as_str().unwrap())).await;
    assert_eq!(by_id.body["fields"]["description"], "card expired", "version 2 has strings");
    let held = asker.jira.issue("OPS-1").unwrap();
    assert_eq!((held.description.as_str(), held.project.as_str()), ("card expired", "OPS"));
    assert_eq!(
        (held.labels, held.components),
        (vec!["fl-9f2ab31c".into()], vec!["backend".into()])
    );
    assert_eq!(asker.get("3/issue/OPS-2").await.status, 404);
}

#[tokio::test]
async fn texts_are_documents_in_3_and_strings_in_2() {
    let asker = Asker::cloud().await;
    let mut body = issue("s", &[]);
    body["fields"]["description"] = json!("text");
    let heard = asker.post("3/issue", &body).await;
    let message =
        "Operation value must be an Atlassian Document (see the Atlassian Document Format)";
    assert_eq!(heard.errors()["description"], message);
    assert_eq!(asker.post("2/issue", &body).await.status, 201);
    body["fields"]["description"] = document("text");
    assert_eq!(asker.post("3/issue", &body).await.status, 201);
    let heard = asker.post("2/issue", &body).await;
    assert_eq!(heard.errors()["description"], "Operation value must be a string");
    body["fields"]["description"] = document("");
    let heard = asker.post("3/issue", &body).await;
    assert_eq!(heard.body["errorMessages"], json!(["INVALID_INPUT"]), "empty text");

    for (path, body, status) in [
        ("3/issue/OPS-1/comment", json!("text"), 400),
        ("3/issue/OPS-1/comment", document("text"), 201),
        ("2/issue/OPS-1/comment", json!("text"), 201),
        ("2/issue/OPS-1/comment", document("text"), 400),
    ] {
        let heard = asker.post(path, &json!({"body": body})).await;
        assert_eq!(heard.status, status, "{path} {body}");
    }
    let comments = asker.get("2/issue/OPS-1/comment").await;
    assert_eq!(comments.body["total"], 2);
    assert_eq!(asker.jira.issue("OPS-1").unwrap().comments[0].body, "text");
}

#[tokio::test]
async fn what_jira_refuses_is_refused() {
    let settings = Settings::cloud().with_field(10_001, "Fingerprint", Kind::Text);
    let asker = Asker::of(settings).await;
    asker.jira.change(|settings| {
        settings.custom_fields[0].is_required = true;
        settings.hidden_fields.insert("components".to_owned());
    });
    let screen = |field: &str| {
        format!("Field '{field}' cannot be set. It is not on the appropriate screen, or unknown.")
    };
    let long = "x".repeat(256);
    let wrong = [
        ("project", json!({"key": "NOPE"}), "valid project is required".to_owned()),
        ("issuetype", json!({"name": "Nope"}), "Specify a valid issue type".to_owned()),
        ("summary", Value::Null, "You must specify a summary of the issue.".to_owned()),
        ("summary", json!(long), "Summary can't exceed 255 characters.".to_owned()),
        (
            "summary",
            json!("two\nlines"),
            "The summary is invalid because it contains newline characters.".to_owned(),
        ),
        (
            "description",
            json!("x".repeat(32_768)),
            "The entered text is too long. It exceeds the allowed limit of 32,767 characters."
                .to_owned(),
        ),
        ("labels", json!(["a b"]), "The label 'a b' contains spaces which is invalid.".to_owned()),
        ("labels", json!([long]), format!("The label '{long}' is longer than 255 characters.")),
        ("priority", json!({"name": "Nope"}), "Priority name 'Nope' is not valid".to_owned()),
        ("priority", json!({"id": "99"}), "The priority selected is invalid.".to_owned()),
        ("assignee", json!({"accountId": "x"}), "Specify a valid value for assignee".to_owned()),
        ("components", json!([{"name": "backend"}]), screen("components")),
        ("customfield_10002", json!("x"), screen("customfield_10002")),
        ("customfield_10001", Value::Null, "Fingerprint is required.".to_owned()),
        ("customfield_10001", json!(7), "Operation value must be a string".to_owned()),
    ];
    for (field, value, message) in wrong {
        let mut body = issue("s", &[]);
        body["fields"]["customfield_10001"] = json!("fp");
        body["fields"][field] = value;
        let heard = asker.post("2/issue", &body).await;
        assert_eq!(heard.errors()[field], message, "{heard:?}");
    }
    assert!(asker.jira.issues().is_empty());
}

#[tokio::test]
async fn characters_count_as_in_java() {
    let asker = Asker::cloud().await;
    assert_eq!(asker.post("2/issue", &issue(&"ü".repeat(255), &[])).await.status, 201);
    let heard = asker.post("2/issue", &issue(&"😀".repeat(128), &[])).await;
    assert_eq!(heard.errors()["summary"], "Summary can't exceed 255 characters.");
}

#[tokio::test]
async fn of_many_some_may_be_refused() {
    let asker = Asker::cloud().await;
    let bulk = json!({"issueUpdates": [issue("a", &[]), issue("", &[]), issue("c", &[])]});
    let heard = asker.post("3/issue/bulk", &bulk).await;
    assert_eq!(heard.status, 201);
    assert_eq!(heard.body["issues"][1]["key"], "OPS-2");
    let error = &heard.body["errors"][0];
    assert_eq!((&error["failedElementNumber"], &error["status"]), (&json!(1), &json!(400)));
    let message = "You must specify a summary of the issue.";
    assert_eq!(error["elementErrors"]["errors"]["summary"], message);

    let all_wrong = json!({"issueUpdates": [issue("", &[]), issue("", &[])]});
    let heard = asker.post("3/issue/bulk", &all_wrong).await;
    assert_eq!((heard.status, heard.body["errors"].as_array().unwrap().len()), (400, 2));
    let many: Vec<Value> = (0..51).map(|_| issue("a", &[])).collect();
    assert_eq!(asker.post("3/issue/bulk", &json!({"issueUpdates": many})).await.status, 400);
    assert_eq!(asker.jira.issues().len(), 2);
}

#[tokio::test]
async fn an_issue_is_changed() {
    let asker = Asker::cloud().await;
    let key = asker.file("a", &["one"]).await;
    let path = format!("3/issue/{key}");
    let update = json!({"fields": {"summary": "b"},
        "update": {"labels": [{"add": "two"}, {"remove": "one"}],
            "comment": [{"add": {"body": document("seen again")}}]}});
    assert_eq!(asker.put(&path, &update).await.status, 204);
    let held = asker.jira.issue(&key).unwrap();
    assert_eq!((held.summary.as_str(), held.labels), ("b", vec!["two".to_owned()]));
    assert_eq!(held.comments[0].body, "seen again");
    assert!(held.updated > held.created);

    let spaced = json!({"update": {"labels": [{"add": "a b"}]}});
    assert!(asker.put(&path, &spaced).await.errors()["labels"].is_string());
    let both = json!({"fields": {"labels": []}, "update": {"labels": [{"add": "x"}]}});
    assert!(asker.put(&path, &both).await.errors()["labels"].is_string());
    assert_eq!(asker.put("3/issue/OPS-9", &update).await.status, 404);
    assert_eq!(asker.jira.issue(&key).unwrap().labels, ["two"]);
}

#[tokio::test]
async fn issues_are_linked() {
    let asker = Asker::cloud().await;
    let (one, other) = (asker.file("a", &[]).await, asker.file("b", &[]).await);
    let link = |kind: &str, other: &str| json!({"type": {"name": kind}, "inwardIssue": {"key": one}, "outwardIssue": {"key": other}});
    assert_eq!(asker.post("3/issueLink", &link("Relates", &other)).await.status, 201);
    assert_eq!(asker.post("3/issueLink", &link("Nope", &other)).await.status, 404);
    assert_eq!(asker.post("3/issueLink", &link("Relates", "OPS-9")).await.status, 404);
    let held = asker.jira.issue(&other).unwrap().links;
    assert_eq!((held[0].kind.as_str(), held[0].inward.as_str()), ("Relates", one.as_str()));
}

#[tokio::test]
async fn who_asks_must_say_who_they_are() {
    let asker = Asker::cloud().await;
    let url = format!("{}/rest/api/3/myself", asker.jira.url());
    assert_eq!(asker.get("3/myself").await.body["emailAddress"], "bot@example.com");
    for wrong in ["Basic bm90OnJpZ2h0", "Bearer secret-token"] {
        let heard = heard(asker.http.get(&url).header("authorization", wrong)).await.unwrap();
        assert_eq!(heard.status, 401);
        let message = "Client must be authenticated to access this resource.";
        assert_eq!(heard.body["errorMessages"][0], message);
    }
    asker.jira.change(|settings| settings.is_forbidden = true);
    assert_eq!(asker.get("3/myself").await.status, 403);

    let asker = Asker::of(Settings::data_center()).await;
    assert_eq!(asker.jira.authorization(), "Bearer secret-token");
    assert_eq!(asker.get("2/myself").await.body["name"], "bot");
    assert_eq!(asker.get("3/myself").await.status, 404, "there is no version 3");
    let recorded = asker.jira.requests();
    assert_eq!(recorded[0].authorization.as_deref(), Some("Bearer ***"));
    assert_eq!((recorded[0].method.as_str(), recorded[0].status), ("GET", Some(200)));
}

#[tokio::test]
async fn clients_can_ask_what_there_is() {
    let options = vec!["red".to_owned(), "blue".to_owned()];
    let field = |settings: Settings| settings.with_field(10_001, "Team", Kind::Select(options));
    let cloud = Asker::of(field(Settings::cloud())).await;
    let types = cloud.get("3/issue/createmeta/OPS/issuetypes").await;
    assert_eq!(
        (&types.body["total"], &types.body["issueTypes"][0]["name"]),
        (&json!(3), &json!("Bug"))
    );
    let fields = cloud.get("3/issue/createmeta/OPS/issuetypes/10001?maxResults=200").await;
    let fields = fields.body["fields"].as_array().unwrap().clone();
    let team = fields.iter().find(|field| field["fieldId"] == "customfield_10001").unwrap();
    assert_eq!(team["allowedValues"][1]["value"], "blue");
    assert_eq!(cloud.get("3/issue/createmeta/NOPE/issuetypes").await.status, 400);
    assert_eq!(cloud.get("3/project/OPS").await.body["key"], "OPS");
    let missing = cloud.get("3/project/NOPE").await;
    assert_eq!(missing.status, 404);
    assert_eq!(missing.body["errorMessages"][0], "No project could be found with key 'NOPE'.");
    assert_eq!(cloud.get("3/serverInfo").await.body["deploymentType"], "Cloud");
    assert_eq!(cloud.get("3/priority").await.body[0]["name"], "Highest");
    let fields = cloud.get("3/field").await.body;
    assert_eq!(fields.as_array().unwrap().last().unwrap()["clauseNames"][0], "cf[10001]");

    let data_center = Asker::of(Settings::data_center()).await;
    let types = data_center.get("2/issue/createmeta/OPS/issuetypes").await;
    assert_eq!(
        (&types.body["values"][0]["name"], &types.body["isLast"]),
        (&json!("Bug"), &json!(true))
    );
    assert_eq!(data_center.get("2/issue/createmeta/NOPE/issuetypes").await.status, 404);
    assert_eq!(data_center.get("2/serverInfo").await.body["deploymentType"], "Server");
}
