//! What the fake Jira holds: issues as they are, and as its search index sees them.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::Instant,
};

use jiff::Timestamp;
use serde_json::Value;

use super::{
    settings::{Category, Settings, Status},
    text,
};

/// An issue, for assertions.
#[derive(Clone, Debug)]
pub struct Issue {
    pub id: String,
    pub key: String,
    /// The project's key.
    pub project: String,
    /// The issue type's name.
    pub issue_type: String,
    pub summary: String,
    /// The description without its markup, when it is a document; else as it was sent.
    pub description: String,
    /// The description as it was sent: a document, a string or null.
    pub description_raw: Value,
    pub labels: Vec<String>,
    pub priority: Option<String>,
    pub components: Vec<String>,
    /// The account id (Cloud) or the name (Data Center).
    pub assignee: Option<String>,
    /// Values of custom fields, by id.
    pub custom: BTreeMap<String, Value>,
    pub status: Status,
    /// The resolution's name.
    pub resolution: Option<String>,
    pub comments: Vec<Comment>,
    pub links: Vec<Link>,
    pub created: Timestamp,
    pub updated: Timestamp,
}

/// A comment.
#[derive(Clone, Debug)]
pub struct Comment {
    pub id: String,
    /// Without markup, when it is a document.
    pub body: String,
    pub body_raw: Value,
    pub created: Timestamp,
}

/// A link, which both issues have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub id: String,
    /// The link type's name.
    pub kind: String,
    /// Keys.
    pub inward: String,
    pub outward: String,
}

impl Issue {
    pub(super) fn set_description(&mut self, value: Value) {
        self.description = text::plain(&value);
        self.description_raw = value;
    }

    /// Goes to `status`; what is done has a resolution, what is not has none.
    pub(super) fn set_status(&mut self, status: Status, resolution: Option<String>) {
        let is_done = status.category == Category::Done;
        self.resolution = is_done.then(|| resolution.unwrap_or_else(|| "Done".to_owned()));
        self.status = status;
    }
}

/// An issue before and after a change: none before it was created, none after it was deleted.
pub(super) struct Change {
    pub before: Option<Arc<Issue>>,
    pub after: Option<Arc<Issue>>,
}

/// See the [module](self).
pub(super) struct World {
    pub settings: Settings,
    entries: BTreeMap<u64, Entry>,
    ids: HashMap<String, u64>,
    numbers: HashMap<String, u64>,
    next_id: u64,
    /// What webhooks are still to be told.
    pub changes: Vec<Change>,
}

#[derive(Default)]
struct Entry {
    current: Option<Arc<Issue>>,
    indexed: Option<Arc<Issue>>,
    /// Versions that the index has not seen yet, and since when there are they.
    pending: VecDeque<(Instant, Option<Arc<Issue>>)>,
}

impl World {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            entries: BTreeMap::new(),
            ids: HashMap::new(),
            numbers: HashMap::new(),
            next_id: 10_000,
            changes: Vec::new(),
        }
    }

    /// An issue that is not there yet.
    pub(super) fn blank(&self) -> Issue {
        let now = Timestamp::now();
        Issue {
            id: String::new(),
            key: String::new(),
            project: String::new(),
            issue_type: String::new(),
            summary: String::new(),
            description: String::new(),
            description_raw: Value::Null,
            labels: Vec::new(),
            priority: self.settings.priorities.get(2).map(|medium| medium.name.clone()),
            components: Vec::new(),
            assignee: None,
            custom: BTreeMap::new(),
            status: self.settings.statuses[0].clone(),
            resolution: None,
            comments: Vec::new(),
            links: Vec::new(),
            created: now,
            updated: now,
        }
    }

    /// A number that no other thing has.
    pub(super) fn fresh_id(&mut self) -> String {
        self.next_id += 1;
        self.next_id.to_string()
    }

    pub(super) fn create(&mut self, mut issue: Issue) -> Arc<Issue> {
        issue.id = self.fresh_id();
        issue.key = self.fresh_key(&issue.project);
        let issue = Arc::new(issue);
        self.ids.insert(issue.key.clone(), self.next_id);
        self.commit(self.next_id, Some(issue.clone()));
        issue
    }

    fn fresh_key(&mut self, project: &str) -> String {
        let number = self.numbers.entry(project.to_owned()).or_default();
        *number += 1;
        format!("{project}-{number}")
    }

    fn commit(&mut self, id: u64, version: Option<Arc<Issue>>) {
        let entry = self.entries.entry(id).or_default();
        let before = std::mem::replace(&mut entry.current, version.clone());
        entry.pending.push_back((Instant::now(), version.clone()));
        if self.settings.webhook.is_some() {
            self.changes.push(Change { before, after: version });
        }
    }

    fn id_of(&self, id_or_key: &str) -> Option<u64> {
        // Jira takes keys in any case.
        let by_key = || self.ids.get(&id_or_key.to_ascii_uppercase()).copied();
        id_or_key.parse().ok().or_else(by_key)
    }

    pub(super) fn find(&self, id_or_key: &str) -> Option<&Arc<Issue>> {
        self.entries.get(&self.id_of(id_or_key)?)?.current.as_ref()
    }

    /// `None` when there is no such issue.
    pub(super) fn update(
        &mut self,
        id_or_key: &str,
        change: impl FnOnce(&mut Issue),
    ) -> Option<()> {
        let id = self.id_of(id_or_key)?;
        let mut issue = Issue::clone(self.entries.get(&id)?.current.as_ref()?);
        change(&mut issue);
        issue.updated = Timestamp::now();
        self.commit(id, Some(Arc::new(issue)));
        Some(())
    }

    pub(super) fn delete(&mut self, id_or_key: &str) -> Option<()> {
        let id = self.id_of(id_or_key)?;
        self.entries.get(&id)?.current.as_ref()?;
        self.commit(id, None);
        Some(())
    }

    /// Makes a copy of an issue, without its comments and links; gives the copy's key.
    pub(super) fn copy_to(&mut self, id_or_key: &str, project: &str) -> Option<String> {
        let copied = Issue::clone(self.find(id_or_key)?);
        let Issue { created, updated, status, .. } = self.blank();
        let copy = Issue {
            project: project.to_owned(),
            comments: Vec::new(),
            links: Vec::new(),
            resolution: None,
            created,
            updated,
            status,
            ..copied
        };
        Some(self.create(copy).key.clone())
    }

    /// Moves an issue; its old key still leads to it.
    pub(super) fn move_to(&mut self, id_or_key: &str, project: &str) -> Option<String> {
        let id = self.id_of(id_or_key)?;
        self.entries.get(&id)?.current.as_ref()?;
        let key = self.fresh_key(project);
        self.ids.insert(key.clone(), id);
        self.update(&id.to_string(), |issue| {
            project.clone_into(&mut issue.project);
            issue.key.clone_from(&key);
        })?;
        Some(key)
    }

    /// All issues as they are, oldest first.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Issue>> {
        self.entries.values().filter_map(|entry| entry.current.as_ref())
    }

    /// All issues as the index sees them; those in `reconciled` as they are.
    pub(super) fn indexed(&mut self, reconciled: &[u64]) -> Vec<Arc<Issue>> {
        let lag = self.settings.search_lag;
        let seen = self.entries.iter_mut().filter_map(|(id, entry)| {
            while entry.pending.front().is_some_and(|(since, _)| since.elapsed() >= lag) {
                entry.indexed = entry.pending.pop_front().and_then(|(_, version)| version);
            }
            let is_current = reconciled.contains(id);
            if is_current { entry.current.clone() } else { entry.indexed.clone() }
        });
        seen.collect()
    }
}
