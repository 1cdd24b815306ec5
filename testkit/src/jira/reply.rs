//! A call as it comes to the fake's logic, and what it answers.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// A call whose route is known.
pub(super) struct Call {
    pub version: u8,
    pub arguments: Vec<String>,
    pub query: Vec<(String, String)>,
    /// Null when there is none.
    pub body: Value,
    /// Of all addresses in answers.
    pub base: String,
    /// Whether the query, not the body, holds the parameters.
    pub is_get: bool,
}

impl Call {
    pub(super) fn argument(&self, place: usize) -> &str {
        self.arguments.get(place).map_or("", String::as_str)
    }

    /// A parameter of the query; of one that is repeated, all values with commas between.
    pub(super) fn parameter(&self, name: &str) -> Option<String> {
        let values: Vec<&str> = self
            .query
            .iter()
            .filter(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
            .collect();
        (!values.is_empty()).then(|| values.join(","))
    }

    pub(super) fn number(&self, name: &str) -> Option<usize> {
        if self.is_get {
            self.parameter(name)?.parse().ok()
        } else {
            self.body[name].as_u64().and_then(|number| usize::try_from(number).ok())
        }
    }

    /// The address of something under the API.
    pub(super) fn link(&self, path: &str) -> String {
        format!("{}/rest/api/{}/{path}", self.base, self.version)
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Body,
}

#[derive(Clone, Debug)]
pub(super) enum Body {
    Empty,
    Json(Value),
    Html(String),
}

impl Reply {
    pub(super) fn json(status: u16, body: Value) -> Self {
        Self { status, headers: Vec::new(), body: Body::Json(body) }
    }

    pub(super) fn ok(body: Value) -> Self {
        Self::json(200, body)
    }

    pub(super) fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Body::Empty }
    }

    pub(super) fn html(status: u16, body: String) -> Self {
        Self { status, headers: Vec::new(), body: Body::Html(body) }
    }

    /// An error that names no field.
    pub(super) fn error(status: u16, message: &str) -> Self {
        Self::json(status, json!({"errorMessages": [message], "errors": {}}))
    }

    pub(super) fn no_issue() -> Self {
        Self::error(404, "Issue does not exist or you do not have permission to see it.")
    }
}

/// What is wrong with a request.
#[derive(Debug, Default)]
pub(super) struct Errors {
    pub messages: Vec<String>,
    pub fields: BTreeMap<String, String>,
}

impl Errors {
    pub(super) fn add(&mut self, field: &str, message: impl Into<String>) {
        self.fields.entry(field.to_owned()).or_insert_with(|| message.into());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.fields.is_empty()
    }

    pub(super) fn json(&self) -> Value {
        json!({"errorMessages": self.messages, "errors": self.fields})
    }

    pub(super) fn reply(&self) -> Reply {
        Reply::json(400, self.json())
    }
}
