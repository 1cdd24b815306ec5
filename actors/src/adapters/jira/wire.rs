//! The bodies of requests and answers.
//!
//! Cloud: "The Jira Cloud platform REST API" v3
//! (<https://developer.atlassian.com/cloud/jira/platform/rest/v3/>), groups "Issues", "Issue
//! comments", "Issue search" and "Issue links". Data Center: "Jira Data Center platform REST API" v2
//! (<https://developer.atlassian.com/server/jira/platform/rest/>). They differ in texts (documents
//! or wiki markup), in how a person is named, and in how pages of a search follow each other.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    settings::{Api, Settings},
    text,
};
use crate::domain::{
    ticket::Draft,
    time::{Micros, parse_rfc3339},
};

/// The label of every ticket that Faultline makes.
pub const COMMON_LABEL: &str = "faultline";

/// What "Create issue" is sent for a draft. `locator` says which fault the ticket is about: a
/// label, or the value of `locator_field` where there is one.
#[must_use]
pub fn create_request(settings: &Settings, draft: &Draft, locator: &str) -> Value {
    let api = settings.api();
    let or_default = |own: &str, default: &str| {
        if own.is_empty() { default.to_owned() } else { own.to_owned() }
    };
    // The rule's further fields first, so that none of them replaces one of ours.
    let mut fields = draft.fields.clone();
    let mut set = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    set("project", json!({"key": or_default(&draft.project, &settings.project)}));
    set("issuetype", json!({"name": or_default(&draft.issue_type, &settings.issue_type)}));
    set("summary", Value::String(text::summary(&draft.summary)));
    if !draft.description.trim().is_empty() {
        set("description", text::body(api, &draft.description, ""));
    }
    let is_labelled = settings.locator_field.is_empty();
    set("labels", labels(&draft.labels, is_labelled.then_some(locator)));
    if !is_labelled {
        set(&settings.locator_field, Value::String(locator.to_owned()));
    }
    if let Some(priority) = &draft.priority {
        set("priority", json!({"name": priority}));
    }
    if !draft.components.is_empty() {
        let components = draft.components.iter().map(|name| json!({"name": name}));
        set("components", components.collect());
    }
    if let Some(assignee) = &draft.assignee {
        let by = match api {
            Api::Cloud => "accountId",
            Api::Server => "name",
        };
        set("assignee", json!({by: assignee}));
    }
    json!({"fields": fields})
}

fn labels(own: &[String], locator: Option<&str>) -> Value {
    let mut labels: Vec<String> = Vec::new();
    let all = own.iter().map(String::as_str).chain([COMMON_LABEL]).chain(locator);
    for label in all.map(text::label) {
        if !label.is_empty() && !labels.contains(&label) {
            labels.push(label);
        }
    }
    labels.into()
}

pub(super) fn bulk_request(settings: &Settings, drafts: &[(Draft, String)]) -> Value {
    let each = drafts.iter().map(|(draft, locator)| create_request(settings, draft, locator));
    json!({"issueUpdates": each.collect::<Vec<_>>()})
}

pub(super) fn comment_request(api: Api, text: &str, marker: &str) -> Value {
    json!({"body": text::body(api, text, marker)})
}

pub(super) fn edit_request(api: Api, summary: Option<&str>, description: Option<&str>) -> Value {
    let mut fields = Map::new();
    if let Some(summary) = summary {
        fields.insert("summary".to_owned(), Value::String(text::summary(summary)));
    }
    if let Some(description) = description {
        fields.insert("description".to_owned(), text::body(api, description, ""));
    }
    json!({"fields": fields})
}

/// What "Edit issue" is sent for a ticket that somebody else made: it gets what a ticket of ours has
/// (the label by which changes are heard of, and its locator), and keeps all else.
#[must_use]
pub fn adopt_request(settings: &Settings, locator: &str) -> Value {
    let add = |label: &str| json!({"add": text::label(label)});
    match settings.locator_field.as_str() {
        "" => json!({"update": {"labels": [add(COMMON_LABEL), add(locator)]}}),
        field => json!({
            "update": {"labels": [add(COMMON_LABEL)]},
            "fields": {field: locator},
        }),
    }
}

pub(super) fn link_request(from: &str, to: &str) -> Value {
    json!({
        "type": {"name": "Relates"},
        "inwardIssue": {"key": from},
        "outwardIssue": {"key": to},
    })
}

/// A value within JQL.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A ticket that was made.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Created {
    pub id: String,
    pub key: String,
}

/// A ticket as Jira has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Stays when the ticket is moved and gets another key.
    pub id: Option<String>,
    pub key: String,
    pub labels: Vec<String>,
    pub summary: String,
    /// The status's name, in Jira's language.
    pub status: String,
    pub category: Category,
    pub resolution: Option<String>,
    pub created: Micros,
    pub updated: Micros,
    pub resolved: Option<Micros>,
}

/// A status's category: the same in every language and workflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Category {
    /// "To Do"
    New,
    /// "In Progress", and what has no category.
    Indeterminate,
    Done,
}

/// The fields that a [`Seen`] is made of.
pub(super) const SEEN_FIELDS: [&str; 7] =
    ["summary", "labels", "status", "resolution", "created", "updated", "resolutiondate"];

#[derive(Debug, Deserialize)]
pub(super) struct Named {
    #[serde(default)]
    pub(super) name: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Status {
    #[serde(default)]
    pub(super) name: String,
    #[serde(rename = "statusCategory")]
    category: StatusCategory,
}

#[derive(Debug, Deserialize)]
struct StatusCategory {
    key: String,
}

impl Status {
    pub(super) fn category(&self) -> Category {
        match self.category.key.as_str() {
            "new" => Category::New,
            "done" => Category::Done,
            _ => Category::Indeterminate,
        }
    }
}

/// An element of "Issue search", or what "Get issue" gives.
#[derive(Debug, Deserialize)]
pub(super) struct Ticket {
    #[serde(default)]
    id: Option<String>,
    key: String,
    fields: TicketFields,
}

#[derive(Debug, Deserialize)]
struct TicketFields {
    #[serde(default)]
    summary: Option<String>,
    #[serde(default)]
    labels: Option<Vec<String>>,
    status: Status,
    #[serde(default)]
    resolution: Option<Named>,
    #[serde(default)]
    created: Option<String>,
    #[serde(default)]
    updated: Option<String>,
    #[serde(default)]
    resolutiondate: Option<String>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

/// What a webhook tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// A ticket is like that now.
    Changed(Seen),
    /// The ticket with this key was deleted.
    Deleted(String),
    /// Nothing that is of interest here.
    Other,
}

/// What a webhook's body tells ("Webhooks", "Issue: shape of the event").
///
/// # Errors
/// Says what cannot be read.
pub fn news_of_webhook(body: &[u8]) -> Result<News, String> {
    #[derive(Deserialize)]
    struct Told {
        #[serde(rename = "webhookEvent", default)]
        event: String,
        issue: Option<Value>,
    }
    let told: Told = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let Some(ticket) = told.issue else { return Ok(News::Other) };
    if told.event == "jira:issue_deleted" {
        let key = ticket["key"].as_str().ok_or("issue: it has no key")?;
        return Ok(News::Deleted(key.to_owned()));
    }
    let ticket: Ticket =
        serde_json::from_value(ticket).map_err(|error| format!("issue: {error}"))?;
    Ok(News::Changed(ticket.into()))
}

impl Ticket {
    /// Whether it is about the fault that `locator` stands for. Searches find what is alike too.
    pub(super) fn carries(&self, field: &str, locator: &str) -> bool {
        if field.is_empty() {
            let labels = self.fields.labels.iter().flatten();
            return labels.into_iter().any(|label| label == locator);
        }
        self.fields.others.get(field).and_then(Value::as_str) == Some(locator)
    }
}

impl From<Ticket> for Seen {
    fn from(ticket: Ticket) -> Self {
        let fields = ticket.fields;
        let moment = |text: Option<String>| text.and_then(|text| moment(&text));
        Self {
            id: ticket.id,
            key: ticket.key,
            labels: fields.labels.unwrap_or_default(),
            summary: fields.summary.unwrap_or_default(),
            category: fields.status.category(),
            status: fields.status.name,
            resolution: fields.resolution.map(|resolution| resolution.name),
            created: moment(fields.created).unwrap_or_default(),
            updated: moment(fields.updated).unwrap_or_default(),
            resolved: moment(fields.resolutiondate),
        }
    }
}

/// `2026-11-22T03:00:00.000+0000`: RFC 3339 but for the colon in the offset.
fn moment(text: &str) -> Option<Micros> {
    parse_rfc3339(text.as_bytes()).or_else(|| {
        let (rest, minutes) = text.split_at_checked(text.len().checked_sub(2)?)?;
        parse_rfc3339(format!("{rest}:{minutes}").as_bytes())
    })
}

/// A page of a search, of either kind.
#[derive(Debug, Deserialize)]
pub(super) struct Found {
    #[serde(default)]
    pub(super) issues: Vec<Ticket>,
    /// Cloud's: where the next page begins; missing on the last.
    #[serde(default, rename = "nextPageToken")]
    pub(super) next: Option<String>,
    #[serde(default, rename = "isLast")]
    pub(super) is_last: Option<bool>,
    /// A Data Center's: how many there are in all.
    #[serde(default)]
    pub(super) total: Option<usize>,
}

#[derive(Debug, Deserialize)]
pub(super) struct CreatedAll {
    #[serde(default)]
    pub(super) issues: Vec<Created>,
    #[serde(default)]
    pub(super) errors: Vec<Value>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Comments {
    #[serde(default)]
    pub(super) comments: Vec<Comment>,
    #[serde(default)]
    pub(super) total: Option<usize>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Comment {
    #[serde(default)]
    pub(super) body: Value,
}

#[derive(Debug, Deserialize)]
pub(super) struct Transitions {
    #[serde(default)]
    pub(super) transitions: Vec<Transition>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Transition {
    pub(super) id: String,
    pub(super) to: Status,
    #[serde(default, rename = "hasScreen")]
    pub(super) has_screen: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct Myself {
    #[serde(default, rename = "displayName")]
    pub(super) display_name: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft() -> Draft {
        Draft {
            summary: "a\nb".to_owned(),
            description: "x".to_owned(),
            labels: vec!["my label".to_owned(), "faultline".to_owned(), " ".to_owned()],
            priority: Some("High".to_owned()),
            components: vec!["API".to_owned()],
            assignee: Some("anna".to_owned()),
            fields: json!({"customfield_9": 1, "summary": "not this"}).as_object().unwrap().clone(),
            ..Draft::default()
        }
    }

    #[test]
    fn a_draft_becomes_a_request() {
        let settings = Settings { project: "OPS".to_owned(), ..Settings::default() };
        let fields = create_request(&settings, &draft(), "fl-1")["fields"].clone();
        assert_eq!(fields["project"], json!({"key": "OPS"}));
        assert_eq!(fields["issuetype"], json!({"name": "Bug"}));
        assert_eq!(fields["summary"], "a b");
        assert_eq!(fields["labels"], json!(["my-label", "faultline", "fl-1"]));
        assert_eq!(fields["components"], json!([{"name": "API"}]));
        assert_eq!(fields["assignee"], json!({"accountId": "anna"}));
        assert_eq!(fields["customfield_9"], 1);
        assert_eq!(fields["description"]["type"], "doc");
        let settings = Settings {
            api: super::super::ApiSetting::Server,
            locator_field: "customfield_7".to_owned(),
            ..settings
        };
        let own = Draft { project: "SHOP".to_owned(), issue_type: "Task".to_owned(), ..draft() };
        let fields = create_request(&settings, &own, "fl-1")["fields"].clone();
        assert_eq!(fields["project"], json!({"key": "SHOP"}));
        assert_eq!(fields["issuetype"], json!({"name": "Task"}));
        assert_eq!(fields["labels"], json!(["my-label", "faultline"]));
        assert_eq!(fields["customfield_7"], "fl-1");
        assert_eq!(fields["assignee"], json!({"name": "anna"}));
        assert_eq!(fields["description"], "x");
        let bare = create_request(&settings, &Draft::default(), "fl-1");
        assert_eq!(bare["fields"].as_object().unwrap().len(), 5, "{bare}");
    }

    #[test]
    fn a_ticket_is_read() {
        let ticket: Ticket = serde_json::from_value(json!({
            "key": "OPS-1",
            "id": "10001",
            "fields": {
                "summary": "s",
                "labels": ["faultline"],
                "status": {"name": "Erledigt", "statusCategory": {"id": 3, "key": "done"}},
                "resolution": {"name": "Fertig"},
                "created": "2026-11-22T04:00:00.000+0100",
                "updated": "2026-11-22T03:00:00.5Z",
                "resolutiondate": null,
                "customfield_7": "fl-1",
            },
        }))
        .unwrap();
        assert!(ticket.carries("customfield_7", "fl-1") && ticket.carries("", "faultline"));
        assert!(!ticket.carries("customfield_7", "fl-2") && !ticket.carries("", "fl-1"));
        let seen = Seen::from(ticket);
        assert_eq!((seen.category, seen.status.as_str()), (Category::Done, "Erledigt"));
        assert_eq!((seen.id.as_deref(), seen.key.as_str()), (Some("10001"), "OPS-1"));
        assert_eq!(seen.created, 1_795_316_400_000_000);
        assert_eq!(seen.updated, 1_795_316_400_500_000);
        assert_eq!((seen.resolution.as_deref(), seen.resolved), (Some("Fertig"), None));
    }

    #[test]
    fn a_webhook_tells_of_tickets() {
        let told = |event: &str, issue: Value| {
            news_of_webhook(json!({"webhookEvent": event, "issue": issue}).to_string().as_bytes())
        };
        let status = json!({"name": "To Do", "statusCategory": {"key": "new"}});
        let issue = json!({"id": "10001", "key": "OPS-1", "fields": {"status": status}});
        let Ok(News::Changed(seen)) = told("jira:issue_updated", issue.clone()) else { panic!() };
        assert_eq!((seen.id.as_deref(), seen.key.as_str()), (Some("10001"), "OPS-1"));
        for deleted in [issue, json!({"key": "OPS-1"})] {
            let deleted = told("jira:issue_deleted", deleted);
            assert_eq!(deleted, Ok(News::Deleted("OPS-1".to_owned())));
        }
        assert_eq!(told("sprint_created", json!(null)), Ok(News::Other));
        assert!(told("jira:issue_deleted", json!({})).is_err());
        assert!(told("jira:issue_updated", json!({"key": "OPS-1"})).is_err());
    }

    #[test]
    fn a_value_stays_within_its_quotes() {
        assert_eq!(quoted(r#"a" OR \x"#), r#""a\" OR \\x""#);
    }
}
