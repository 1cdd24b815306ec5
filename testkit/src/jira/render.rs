//! What is held, as Jira's JSON.

use jiff::{Timestamp, tz};
use serde_json::{Map, Value, json};

use super::{
    settings::{Settings, Status, Transition, User},
    world::{Comment, Issue, Link},
};

/// How things look to who asks.
pub(super) struct Renderer<'a> {
    pub settings: &'a Settings,
    pub version: u8,
    pub base: &'a str,
}

/// A time as Jira writes it: milliseconds, and an offset without a colon.
pub(super) fn time(settings: &Settings, time: Timestamp) -> String {
    let local = time.to_zoned(tz::TimeZone::fixed(tz::offset(settings.utc_offset)));
    local.strftime("%Y-%m-%dT%H:%M:%S%.3f%z").to_string()
}

impl Renderer<'_> {
    fn link(&self, path: &str) -> String {
        format!("{}/rest/api/{}/{path}", self.base, self.version)
    }

    /// An issue with those of its fields that `wanted` names.
    pub(super) fn issue(&self, issue: &Issue, wanted: &Wanted) -> Value {
        let mut out = json!({"id": issue.id});
        if wanted.has_key {
            out["key"] = json!(issue.key);
            out["self"] = json!(self.link(&format!("issue/{}", issue.id)));
        }
        let mut fields = self.fields(issue);
        fields.retain(|field, _| wanted.has(field));
        if !fields.is_empty() || wanted.has_key {
            out["fields"] = Value::Object(fields);
        }
        out
    }

    pub(super) fn fields(&self, issue: &Issue) -> Map<String, Value> {
        let project = self.settings.projects.iter().find(|known| known.key == issue.project);
        let named = |path: &str, name: &str, known: &[super::settings::Named]| {
            let id = known.iter().find(|known| known.name == name).map(|known| &known.id);
            let link = id.map(|id| self.link(&format!("{path}/{id}")));
            json!({"self": link, "id": id, "name": name})
        };
        let mut issue_type = named("issuetype", &issue.issue_type, &self.settings.issue_types);
        issue_type["subtask"] = json!(false);
        let priority = issue.priority.as_deref();
        let resolution = issue.resolution.as_deref();
        let mut fields = Map::new();
        let mut add = |field: &str, value: Value| fields.insert(field.to_owned(), value);
        add("summary", json!(issue.summary));
        add("description", self.rich_text(&issue.description_raw, &issue.description));
        add(
            "project",
            json!({"id": project.map(|project| &project.id), "key": issue.project,
            "name": project.map(|project| &project.name)}),
        );
        add("issuetype", issue_type);
        add("labels", json!(issue.labels));
        add("status", self.status(&issue.status));
        add(
            "priority",
            json!(priority.map(|name| named("priority", name, &self.settings.priorities))),
        );
        add(
            "resolution",
            json!(resolution.map(|name| named("resolution", name, &self.settings.resolutions))),
        );
        add("resolutiondate", json!(resolution.map(|_| time(self.settings, issue.updated))));
        add("components", issue.components.iter().map(|name| json!({"name": name})).collect());
        add("assignee", self.assignee(issue));
        add("reporter", self.user(&self.settings.users[0]));
        add("created", json!(time(self.settings, issue.created)));
        add("updated", json!(time(self.settings, issue.updated)));
        add("comment", self.comments(issue, 0, usize::MAX));
        add("issuelinks", issue.links.iter().map(|link| issue_link(issue, link)).collect());
        for field in &self.settings.custom_fields {
            add(&field.id(), issue.custom.get(&field.id()).cloned().unwrap_or_default());
        }
        fields
    }

    /// Version 3 gives documents, version 2 strings, whatever was sent.
    fn rich_text(&self, raw: &Value, plain: &str) -> Value {
        match (self.version, raw) {
            (_, Value::Null) => Value::Null,
            (3, Value::String(text)) => json!({"type": "doc", "version": 1, "content": [
                {"type": "paragraph", "content": [{"type": "text", "text": text}]}]}),
            (3, _) => raw.clone(),
            _ => json!(plain),
        }
    }

    pub(super) fn status(&self, status: &Status) -> Value {
        let category = status.category;
        json!({
            "self": self.link(&format!("status/{}", status.id)),
            "description": "",
            "iconUrl": format!("{}/images/icons/status_generic.gif", self.base),
            "name": status.name,
            "id": status.id,
            "statusCategory": {
                "self": self.link(&format!("statuscategory/{}", category.id())),
                "id": category.id(),
                "key": category.key(),
                "colorName": category.colour(),
                "name": self.category_name(status),
            },
        })
    }

    /// Categories are translated too: the first status of each is named like it here.
    fn category_name<'b>(&'b self, status: &'b Status) -> &'b str {
        let first = self.settings.statuses.iter().find(|known| known.category == status.category);
        &first.unwrap_or(status).name
    }

    pub(super) fn transition(&self, transition: &Transition) -> Value {
        let to = self.settings.statuses.iter().find(|status| status.id == transition.to);
        let mut out = json!({
            "id": transition.id,
            "name": transition.name,
            "to": to.map(|status| self.status(status)),
        });
        if self.settings.is_cloud() {
            out["hasScreen"] = json!(transition.has_resolution);
            out["isGlobal"] = json!(transition.from.is_empty());
            out["isInitial"] = json!(false);
            out["isAvailable"] = json!(true);
            out["isConditional"] = json!(false);
            out["looped"] = json!(false);
        }
        out
    }

    pub(super) fn user(&self, user: &User) -> Value {
        if self.settings.is_cloud() {
            json!({
                "self": self.link(&format!("user?accountId={}", user.account_id)),
                "accountId": user.account_id,
                "accountType": "atlassian",
                "active": true,
                "displayName": user.display_name,
                "emailAddress": user.email,
                "timeZone": self.time_zone(),
            })
        } else {
            json!({
                "self": self.link(&format!("user?username={}", user.name)),
                "key": user.name,
                "name": user.name,
                "active": true,
                "displayName": user.display_name,
                "emailAddress": user.email,
                "timeZone": self.time_zone(),
            })
        }
    }

    /// By the names that need no database of time zones; their sign is turned round.
    fn time_zone(&self) -> String {
        match self.settings.utc_offset {
            0 => "Etc/UTC".to_owned(),
            east => format!("Etc/GMT{:+}", -east),
        }
    }

    fn assignee(&self, issue: &Issue) -> Value {
        let user = self.settings.users.iter().find(|user| {
            let assignee = issue.assignee.as_deref();
            assignee == Some(&user.account_id) || assignee == Some(&user.name)
        });
        user.map_or(Value::Null, |user| self.user(user))
    }

    pub(super) fn comments(&self, issue: &Issue, start: usize, most: usize) -> Value {
        let page = issue.comments.iter().skip(start).take(most);
        let comments: Vec<Value> = page.map(|comment| self.comment(issue, comment)).collect();
        let total = issue.comments.len();
        let most = most.min(total);
        json!({"startAt": start, "maxResults": most, "total": total, "comments": comments})
    }

    pub(super) fn comment(&self, issue: &Issue, comment: &Comment) -> Value {
        let created = time(self.settings, comment.created);
        let author = self.user(&self.settings.users[0]);
        json!({
            "self": self.link(&format!("issue/{}/comment/{}", issue.id, comment.id)),
            "id": comment.id,
            "author": author,
            "updateAuthor": author,
            "body": self.rich_text(&comment.body_raw, &comment.body),
            "created": created,
            "updated": created,
        })
    }
}

fn issue_link(issue: &Issue, link: &Link) -> Value {
    let (side, other) = if link.inward == issue.key {
        ("outwardIssue", &link.outward)
    } else {
        ("inwardIssue", &link.inward)
    };
    json!({"id": link.id, "type": {"name": link.kind}, side: {"key": other}})
}

/// Which fields are asked for.
pub(super) struct Wanted {
    names: Vec<String>,
    has_key: bool,
}

impl Wanted {
    /// Without any: `fallback`.
    pub(super) fn of(names: &[String], fallback: &str) -> Self {
        let names = names.iter().filter(|name| !name.is_empty()).cloned().collect::<Vec<_>>();
        let names = if names.is_empty() { vec![fallback.to_owned()] } else { names };
        // `id` alone is what a Cloud search gives when nothing is asked for.
        let has_key = names.iter().any(|name| name != "id");
        Self { names, has_key }
    }

    /// The same, with the key in any case.
    pub(super) fn with_key(self) -> Self {
        Self { has_key: true, ..self }
    }

    fn has(&self, field: &str) -> bool {
        let is = |name: &String| match name.as_str() {
            "*all" => true,
            // What a list shows: no comments, no links.
            "*navigable" => !matches!(field, "comment" | "issuelinks"),
            name => name == field,
        };
        let is_taken_out = |name: &String| name.strip_prefix('-') == Some(field);
        let only_taken_out = self.names.iter().all(|name| name.starts_with('-'));
        (only_taken_out || self.names.iter().any(is)) && !self.names.iter().any(is_taken_out)
    }

    /// Whether it asks for more than ids and keys.
    pub(super) fn is_heavy(&self) -> bool {
        self.names.iter().any(|name| !matches!(name.as_str(), "id" | "key"))
    }
}
