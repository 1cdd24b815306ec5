//! The fake Jira: each behaviour that clients are tested against is seen here once.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a failing test is told by a panic, a skipped one by a line"
)]

mod faults;
mod issues;
mod openapi;
mod pages;
mod search;
mod webhooks;
mod workflow;

use faultline_testkit::jira::{Jira, Settings};
use reqwest::{Method, header::HeaderMap};
use serde_json::{Value, json};

/// A Jira and one who asks it.
struct Asker {
    jira: Jira,
    http: reqwest::Client,
}

/// What was heard.
#[derive(Debug)]
struct Heard {
    status: u16,
    headers: HeaderMap,
    body: Value,
}

impl Heard {
    fn key(&self) -> &str {
        self.body["key"].as_str().unwrap_or_else(|| panic!("no key: {self:?}"))
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The names of the fields that are wrong, with what is said of them.
    fn errors(&self) -> &Value {
        assert_eq!(self.status, 400, "{self:?}");
        &self.body["errors"]
    }
}

impl Asker {
    async fn of(settings: Settings) -> Self {
        Self { jira: Jira::start(settings).await, http: reqwest::Client::new() }
    }

    async fn cloud() -> Self {
        Self::of(Settings::cloud()).await
    }

    /// `path` without `/rest/api/`.
    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> reqwest::Result<Heard> {
        let url = format!("{}/rest/api/{path}", self.jira.url());
        let mut request =
            self.http.request(method, url).header("authorization", self.jira.authorization());
        if let Some(body) = body {
            request = request.json(body);
        }
        heard(request).await
    }

    async fn post(&self, path: &str, body: &Value) -> Heard {
        self.ask(Method::POST, path, Some(body)).await.unwrap()
    }

    async fn put(&self, path: &str, body: &Value) -> Heard {
        self.ask(Method::PUT, path, Some(body)).await.unwrap()
    }

    async fn get(&self, path: &str) -> Heard {
        self.ask(Method::GET, path, None).await.unwrap()
    }

    /// Creates an issue; gives its key.
    async fn file(&self, summary: &str, labels: &[&str]) -> String {
        let heard = self.post("2/issue", &issue(summary, labels)).await;
        assert_eq!(heard.status, 201, "{heard:?}");
        heard.key().to_owned()
    }

    /// The keys that Cloud finds, in their order.
    async fn find(&self, jql: &str) -> Vec<String> {
        let heard = self.post("3/search/jql", &json!({"jql": jql, "fields": ["key"]})).await;
        assert_eq!(heard.status, 200, "{jql}: {heard:?}");
        let issues = heard.body["issues"].as_array().unwrap().iter();
        issues.map(|issue| issue["key"].as_str().unwrap().to_owned()).collect()
    }
}

async fn heard(request: reqwest::RequestBuilder) -> reqwest::Result<Heard> {
    let answer = request.send().await?;
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    let text = answer.text().await?;
    let body = serde_json::from_str(&text).unwrap_or_default();
    Ok(Heard { status, headers, body })
}

/// A new issue without a description, for either version.
fn issue(summary: &str, labels: &[&str]) -> Value {
    json!({"fields": {"project": {"key": "OPS"}, "issuetype": {"name": "Bug"},
        "summary": summary, "labels": labels}})
}

/// A document of one paragraph.
fn document(text: &str) -> Value {
    json!({"type": "doc", "version": 1, "content": [
        {"type": "paragraph", "content": [{"type": "text", "text": text}]}]})
}
