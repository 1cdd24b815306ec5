//! What may be set on an issue, and what Jira says when it may not.
//!
//! Its messages are those that users report from Cloud and Data Center; where they differ, each has
//! its own. Of a label that is too long no report was found: that wording is this module's.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    reply::Errors,
    settings::{CustomField, Kind, Named, Settings},
    text::{self, LONGEST_TEXT},
    world::{Comment, Issue},
};

/// Which screen the fields are on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Screen {
    Create,
    Edit,
    /// With or without the resolution.
    Transition {
        has_resolution: bool,
    },
}

/// A change to an issue, before it is judged.
pub(super) struct Editor<'a> {
    pub settings: &'a Settings,
    pub version: u8,
    pub screen: Screen,
}

const TOO_LONG: &str =
    "The entered text is too long. It exceeds the allowed limit of 32,767 characters.";
const NO_DOCUMENT: &str =
    "Operation value must be an Atlassian Document (see the Atlassian Document Format)";

impl Editor<'_> {
    /// Sets `fields` and does `update` of `body` on `issue`.
    pub(super) fn apply(&self, issue: &mut Issue, body: &Value) -> Errors {
        let mut errors = Errors::default();
        let empty = serde_json::Map::new();
        let fields = body["fields"].as_object().unwrap_or(&empty);
        for (field, value) in fields {
            if let Err(message) = self.set(issue, field, value, &mut errors) {
                errors.add(field, message);
            }
        }
        for (field, operations) in body["update"].as_object().unwrap_or(&empty) {
            if fields.contains_key(field) {
                let message = format!(
                    "Field '{field}' cannot appear in both 'fields' and 'update', use only one of them."
                );
                errors.add(field, message);
                continue;
            }
            for operation in operations.as_array().into_iter().flatten() {
                if let Err(message) = self.operate(issue, field, operation, &mut errors) {
                    errors.add(field, message);
                }
            }
        }
        if self.screen == Screen::Create {
            self.require(issue, body, &mut errors);
        }
        errors
    }

    /// What a new issue must have.
    fn require(&self, issue: &Issue, body: &Value, errors: &mut Errors) {
        let is_cloud = self.settings.is_cloud();
        let lacks = |field: &str| body["fields"][field].is_null();
        if lacks("project") {
            let cloud = "Specify a valid project ID or key";
            errors.add("project", if is_cloud { cloud } else { "project is required" });
        }
        if lacks("issuetype") {
            let cloud = "Specify an issue type";
            errors.add("issuetype", if is_cloud { cloud } else { "issue type is required" });
        }
        if issue.summary.trim().is_empty() {
            errors.add("summary", "You must specify a summary of the issue.");
        }
        for field in &self.settings.custom_fields {
            let is_set = issue.custom.get(&field.id()).is_some_and(|value| !value.is_null());
            if field.is_required && field.is_on_screen && !is_set {
                errors.add(&field.id(), format!("{} is required.", field.name));
            }
        }
    }

    fn is_on_screen(&self, field: &str) -> bool {
        let is_shown = match self.screen {
            Screen::Create => field != "resolution",
            Screen::Edit => !matches!(field, "project" | "resolution"),
            Screen::Transition { has_resolution } => field == "resolution" && has_resolution,
        };
        is_shown && !self.settings.hidden_fields.contains(field)
    }

    fn set(
        &self,
        issue: &mut Issue,
        field: &str,
        value: &Value,
        errors: &mut Errors,
    ) -> Result<(), String> {
        let unknown = || {
            format!(
                "Field '{field}' cannot be set. It is not on the appropriate screen, or unknown."
            )
        };
        if !self.is_on_screen(field) {
            return Err(unknown());
        }
        match field {
            "project" => issue.project = self.project(value)?,
            "issuetype" => issue.issue_type = self.issue_type(value)?,
            "summary" => issue.summary = self.summary(value)?,
            "description" => issue.set_description(self.description(value, errors)?),
            "labels" => issue.labels = labels(value)?,
            "priority" => {
                issue.priority = chosen(value, &self.settings.priorities, "Priority", || {
                    "The priority selected is invalid.".to_owned()
                })?;
            }
            "resolution" => {
                issue.resolution = chosen(value, &self.settings.resolutions, "Resolution", || {
                    "The resolution selected is invalid.".to_owned()
                })?;
            }
            "components" => issue.components = self.components(issue, value)?,
            "assignee" => issue.assignee = self.assignee(value)?,
            _ => {
                let known = self.settings.custom_fields.iter().find(|known| known.id() == field);
                let known = known.filter(|known| known.is_on_screen).ok_or_else(unknown)?;
                issue.custom.insert(field.to_owned(), custom(known, value)?);
            }
        }
        Ok(())
    }

    /// One of `{"set": …}`, `{"add": …}`, `{"remove": …}`.
    fn operate(
        &self,
        issue: &mut Issue,
        field: &str,
        operation: &Value,
        errors: &mut Errors,
    ) -> Result<(), String> {
        let verb = operation.as_object().and_then(|operation| operation.iter().next());
        let Some((verb, value)) = verb else { return Err("No operation".to_owned()) };
        let unsupported = || {
            format!(
                "Field with id '{field}' and name '{field}' does not support operation '{verb}'"
            )
        };
        if field == "comment" {
            if verb != "add" {
                return Err(unsupported());
            }
            let body = comment(self.version, &value["body"])?;
            issue.comments.push(body);
            return Ok(());
        }
        let mut list = match field {
            "labels" => issue.labels.iter().map(|label| json!(label)).collect(),
            "components" => issue.components.iter().map(|name| json!({"name": name})).collect(),
            _ => Vec::new(),
        };
        match verb.as_str() {
            "set" => return self.set(issue, field, value, errors),
            "add" if matches!(field, "labels" | "components") => list.push(value.clone()),
            "remove" if matches!(field, "labels" | "components") => {
                list.retain(|held| held != value);
            }
            _ => return Err(unsupported()),
        }
        self.set(issue, field, &Value::Array(list), errors)
    }

    fn project(&self, value: &Value) -> Result<String, String> {
        let (id, key) = (value["id"].as_str(), value["key"].as_str());
        let mut projects = self.settings.projects.iter();
        let found = projects.find(|project| {
            id.is_some_and(|id| id == project.id) || key.is_some_and(|key| key == project.key)
        });
        found.map(|project| project.key.clone()).ok_or("valid project is required".to_owned())
    }

    fn issue_type(&self, value: &Value) -> Result<String, String> {
        let found = named(value, &self.settings.issue_types);
        let cloud = "Specify a valid issue type";
        let message = if self.settings.is_cloud() { cloud } else { "valid issue type is required" };
        found.map(|kind| kind.name.clone()).ok_or_else(|| message.to_owned())
    }

    fn summary(&self, value: &Value) -> Result<String, String> {
        // An empty one and none are the same to Jira.
        let summary = if value.is_null() { Some("") } else { value.as_str() };
        let summary = summary.ok_or("Operation value must be a string")?;
        if summary.trim().is_empty() {
            return Err("You must specify a summary of the issue.".to_owned());
        }
        if summary.contains(['\n', '\r']) {
            return Err("The summary is invalid because it contains newline characters.".to_owned());
        }
        if text::units(summary) > 255 {
            let cloud = "Summary can't exceed 255 characters.";
            let data_center = "Summary must be less than 255 characters.";
            return Err(if self.settings.is_cloud() { cloud } else { data_center }.to_owned());
        }
        Ok(summary.to_owned())
    }

    fn description(&self, value: &Value, errors: &mut Errors) -> Result<Value, String> {
        match (self.version, value) {
            (_, Value::Null) => {}
            (3, _) if !text::is_document(value) => return Err(NO_DOCUMENT.to_owned()),
            (3, _) if !text::is_valid_document(value) => {
                // Jira names no field here.
                errors.messages.push("INVALID_INPUT".to_owned());
                return Ok(Value::Null);
            }
            (3, _) | (_, Value::String(_)) => {}
            _ => return Err("Operation value must be a string".to_owned()),
        }
        if text::length(value) > LONGEST_TEXT {
            return Err(TOO_LONG.to_owned());
        }
        Ok(value.clone())
    }

    fn components(&self, issue: &Issue, value: &Value) -> Result<Vec<String>, String> {
        let values = value.as_array().ok_or("data was not an array")?;
        let project = self.settings.projects.iter().find(|project| project.key == issue.project);
        let known = project.map_or(&[][..], |project| &project.components);
        let component = |value: &Value| {
            let name = value["name"].as_str().unwrap_or_default();
            let found = known.iter().find(|known| *known == name);
            found.cloned().ok_or_else(|| format!("Component name '{name}' is not valid"))
        };
        values.iter().map(component).collect()
    }

    fn assignee(&self, value: &Value) -> Result<Option<String>, String> {
        if value.is_null() {
            return Ok(None);
        }
        if self.settings.is_cloud() {
            let id = value["accountId"].as_str().or(value["id"].as_str()).unwrap_or_default();
            let is_known = self.settings.users.iter().any(|user| user.account_id == id);
            let message = "Specify a valid value for assignee".to_owned();
            return if is_known { Ok(Some(id.to_owned())) } else { Err(message) };
        }
        let name = value["name"].as_str().unwrap_or_default();
        let is_known = self.settings.users.iter().any(|user| user.name == name);
        let message = format!("User '{name}' does not exist.");
        if is_known { Ok(Some(name.to_owned())) } else { Err(message) }
    }
}

/// The one that `{"id": …}` or `{"name": …}` means.
fn named<'a>(value: &Value, known: &'a [Named]) -> Option<&'a Named> {
    let (id, name) = (value["id"].as_str(), value["name"].as_str());
    known.iter().find(|named| {
        id.is_some_and(|id| id == named.id) || name.is_some_and(|name| name == named.name)
    })
}

/// Like [`named`]; null chooses nothing.
fn chosen(
    value: &Value,
    known: &[Named],
    what: &str,
    invalid: impl Fn() -> String,
) -> Result<Option<String>, String> {
    if value.is_null() {
        return Ok(None);
    }
    let found = named(value, known).map(|named| Some(named.name.clone()));
    found.ok_or_else(|| match value["name"].as_str() {
        Some(name) => format!("{what} name '{name}' is not valid"),
        None => invalid(),
    })
}

fn labels(value: &Value) -> Result<Vec<String>, String> {
    let values = value.as_array().ok_or("data was not an array")?;
    let mut labels = BTreeSet::new();
    for value in values {
        let label = value.as_str().ok_or("string expected at index 0")?;
        if label.is_empty() || label.contains(char::is_whitespace) {
            return Err(format!("The label '{label}' contains spaces which is invalid."));
        }
        if text::units(label) > 255 {
            return Err(format!("The label '{label}' is longer than 255 characters."));
        }
        labels.insert(label.to_owned());
    }
    Ok(labels.into_iter().collect())
}

fn custom(field: &CustomField, value: &Value) -> Result<Value, String> {
    let fits = match &field.kind {
        _ if value.is_null() => Ok(()),
        Kind::Text => match value.as_str() {
            None => Err("Operation value must be a string".to_owned()),
            Some(text) if text::units(text) > 255 => {
                Err("The entered text is too long. It exceeds the allowed limit of 255 characters."
                    .to_owned())
            }
            Some(_) => Ok(()),
        },
        Kind::Number if value.is_number() => Ok(()),
        Kind::Number => Err("Operation value must be a number".to_owned()),
        Kind::Labels => labels(value).map(drop),
        Kind::Select(options) => match value["value"].as_str() {
            Some(option) if options.iter().any(|known| known == option) => Ok(()),
            Some(option) => Err(format!("Option value '{option}' is not valid")),
            None => Err(format!(
                "Could not find valid 'id' or 'value' in the Parent Option object '{value}'"
            )),
        },
    };
    fits.map(|()| value.clone())
}

/// A comment of `body`; its id is still to be given.
pub(super) fn comment(version: u8, body: &Value) -> Result<Comment, String> {
    let is_valid = match version {
        3 => text::is_valid_document(body),
        _ => body.as_str().is_some_and(|body| !body.trim().is_empty()),
    };
    if !is_valid {
        return Err("Comment body is not valid!".to_owned());
    }
    if text::length(body) > LONGEST_TEXT {
        return Err(TOO_LONG.to_owned());
    }
    let created = jiff::Timestamp::now();
    Ok(Comment { id: String::new(), body: text::plain(body), body_raw: body.clone(), created })
}
