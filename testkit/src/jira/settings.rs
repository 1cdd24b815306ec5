//! How the fake Jira is set up: what an administrator of a real one would do.

use std::{collections::BTreeSet, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};

use super::limits::Limits;

/// Which Jira it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deployment {
    /// Jira Cloud: `/rest/api/3` and `/rest/api/2`, Basic authentication, `/search/jql`.
    Cloud,
    /// Jira Data Center: `/rest/api/2` alone, personal access tokens, the old `/search`.
    DataCenter,
}

/// The three categories into which Jira sorts all statuses; their keys are never translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Category {
    New,
    Indeterminate,
    Done,
}

impl Category {
    /// What `statusCategory.key` says.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Indeterminate => "indeterminate",
            Self::Done => "done",
        }
    }

    pub(super) const fn id(self) -> u64 {
        match self {
            Self::New => 2,
            Self::Done => 3,
            Self::Indeterminate => 4,
        }
    }

    pub(super) const fn colour(self) -> &'static str {
        match self {
            Self::New => "blue-gray",
            Self::Indeterminate => "yellow",
            Self::Done => "green",
        }
    }

    /// The name in JQL, which is English everywhere.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::New => "To Do",
            Self::Indeterminate => "In Progress",
            Self::Done => "Done",
        }
    }
}

/// A status of the workflow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub id: String,
    /// As shown, which depends on the language of whoever asks.
    pub name: String,
    pub category: Category,
}

/// A step of the workflow.
#[derive(Clone, Debug)]
pub struct Transition {
    pub id: String,
    pub name: String,
    /// From which statuses, by id; from all when empty.
    pub from: Vec<String>,
    /// To which status, by id.
    pub to: String,
    /// Whether its screen shows the resolution.
    pub has_resolution: bool,
}

/// A project.
#[derive(Clone, Debug)]
pub struct Project {
    pub id: String,
    pub key: String,
    pub name: String,
    pub components: Vec<String>,
}

/// Something with an id and a name.
#[derive(Clone, Debug)]
pub struct Named {
    pub id: String,
    pub name: String,
}

/// A person.
#[derive(Clone, Debug)]
pub struct User {
    /// What Cloud names them by.
    pub account_id: String,
    /// What Data Center names them by.
    pub name: String,
    pub display_name: String,
    pub email: String,
}

/// What a custom field holds.
#[derive(Clone, Debug)]
pub enum Kind {
    Text,
    Number,
    Labels,
    /// One of these values.
    Select(Vec<String>),
}

/// A custom field.
#[derive(Clone, Debug)]
pub struct CustomField {
    /// The number in `customfield_NUMBER` and `cf[NUMBER]`.
    pub number: u64,
    pub name: String,
    pub kind: Kind,
    pub is_required: bool,
    /// Off the screen it exists but cannot be set.
    pub is_on_screen: bool,
}

impl CustomField {
    #[must_use]
    pub fn id(&self) -> String {
        format!("customfield_{}", self.number)
    }
}

/// Where changes are told.
#[derive(Clone, Debug)]
pub struct Webhook {
    pub url: String,
    /// Signs each body.
    pub secret: Option<String>,
}

/// Everything that can be set; [`Jira::change`](super::Jira::change) sets it while it runs.
#[derive(Clone, Debug)]
pub struct Settings {
    pub deployment: Deployment,
    /// The address to bind; port 0 for any.
    pub listen: String,
    /// Whom Basic authentication names (Cloud).
    pub email: String,
    /// The API token (Cloud) or the personal access token (Data Center).
    pub token: String,
    /// Every request is answered 403.
    pub is_forbidden: bool,
    /// In these projects nobody may make an issue: a request that asks for one is answered 403.
    pub forbidden_projects: BTreeSet<String>,
    /// The first one is who asks.
    pub users: Vec<User>,
    pub projects: Vec<Project>,
    pub issue_types: Vec<Named>,
    pub priorities: Vec<Named>,
    pub resolutions: Vec<Named>,
    pub link_types: Vec<Named>,
    /// The first one is where issues begin.
    pub statuses: Vec<Status>,
    pub transitions: Vec<Transition>,
    pub custom_fields: Vec<CustomField>,
    /// Standard fields that are on no screen, for example `labels`.
    pub hidden_fields: BTreeSet<String>,
    /// The time zone of who asks, in hours east of UTC: JQL's dates are in it.
    pub utc_offset: i8,
    /// How much later than `GET` a search sees a change.
    pub search_lag: Duration,
    pub limits: Limits,
    pub webhook: Option<Webhook>,
    /// How many requests are kept for [`Jira::requests`](super::Jira::requests); 0 switches it off.
    pub recorded_requests: usize,
    /// Serves `/_control/…` and pages for people, without authentication.
    pub has_control: bool,
}

impl Settings {
    /// A Jira Cloud with the project `OPS` and English names.
    #[must_use]
    pub fn cloud() -> Self {
        Self {
            deployment: Deployment::Cloud,
            listen: "127.0.0.1:0".to_owned(),
            email: "bot@example.com".to_owned(),
            token: "secret-token".to_owned(),
            is_forbidden: false,
            forbidden_projects: BTreeSet::new(),
            users: vec![
                user("5b10a2844c20165700ede21a", "bot", "Bot"),
                user("5b10a2844c20165700ede21b", "mia", "Mia Krystof"),
            ],
            projects: vec![project("10000", "OPS")],
            issue_types: named(&[("10001", "Bug"), ("10002", "Task"), ("10003", "Story")]),
            priorities: named(&[
                ("1", "Highest"),
                ("2", "High"),
                ("3", "Medium"),
                ("4", "Low"),
                ("5", "Lowest"),
            ]),
            resolutions: named(&[
                ("10000", "Done"),
                ("10001", "Won't Do"),
                ("10002", "Duplicate"),
                ("10003", "Cannot Reproduce"),
            ]),
            link_types: named(&[("10000", "Blocks"), ("10002", "Duplicate"), ("10003", "Relates")]),
            statuses: statuses(["To Do", "In Progress", "Done"]),
            transitions: transitions(["Start Progress", "Stop Progress", "Done", "Reopen"]),
            custom_fields: Vec::new(),
            hidden_fields: BTreeSet::new(),
            utc_offset: 0,
            search_lag: Duration::ZERO,
            limits: Limits::default(),
            webhook: None,
            recorded_requests: 100_000,
            has_control: false,
        }
    }

    /// Like [`Settings::cloud`], as a Jira Data Center.
    #[must_use]
    pub fn data_center() -> Self {
        Self { deployment: Deployment::DataCenter, ..Self::cloud() }
    }

    /// With one more project, and one component in it.
    #[must_use]
    pub fn with_project(mut self, key: &str) -> Self {
        if self.projects.iter().all(|known| known.key != key) {
            let id = (10_000 + self.projects.len()).to_string();
            self.projects.push(project(&id, key));
        }
        self
    }

    /// With one more custom field, on the screen and optional.
    #[must_use]
    pub fn with_field(mut self, number: u64, name: &str, kind: Kind) -> Self {
        let name = name.to_owned();
        let field = CustomField { number, name, kind, is_required: false, is_on_screen: true };
        self.custom_fields.push(field);
        self
    }

    /// With statuses and transitions as a German user sees them; ids and categories stay.
    #[must_use]
    pub fn in_german(mut self) -> Self {
        self.statuses = statuses(["Zu erledigen", "In Arbeit", "Fertig"]);
        self.transitions = transitions(["Beginnen", "Anhalten", "Fertig", "Erneut öffnen"]);
        self
    }

    /// The header that it asks for.
    #[must_use]
    pub fn authorization(&self) -> String {
        match self.deployment {
            Deployment::Cloud => {
                let pair = format!("{}:{}", self.email, self.token);
                format!("Basic {}", BASE64_STANDARD.encode(pair))
            }
            Deployment::DataCenter => format!("Bearer {}", self.token),
        }
    }

    pub(super) fn is_cloud(&self) -> bool {
        self.deployment == Deployment::Cloud
    }
}

fn user(account_id: &str, name: &str, display_name: &str) -> User {
    User {
        account_id: account_id.to_owned(),
        name: name.to_owned(),
        display_name: display_name.to_owned(),
        email: format!("{name}@example.com"),
    }
}

fn project(id: &str, key: &str) -> Project {
    Project {
        id: id.to_owned(),
        key: key.to_owned(),
        name: format!("Project {key}"),
        components: vec!["backend".to_owned(), "frontend".to_owned()],
    }
}

fn named(pairs: &[(&str, &str)]) -> Vec<Named> {
    let named = |(id, name): &(&str, &str)| Named { id: (*id).into(), name: (*name).into() };
    pairs.iter().map(named).collect()
}

const TO_DO: &str = "10000";
const IN_PROGRESS: &str = "3";
const DONE: &str = "10001";

fn statuses(names: [&str; 3]) -> Vec<Status> {
    let places =
        [(TO_DO, Category::New), (IN_PROGRESS, Category::Indeterminate), (DONE, Category::Done)];
    let status = |((id, category), name): ((&str, Category), &str)| Status {
        id: id.to_owned(),
        name: name.to_owned(),
        category,
    };
    places.into_iter().zip(names).map(status).collect()
}

fn transitions(names: [&str; 4]) -> Vec<Transition> {
    let steps: [(&str, &[&str], &str); 4] = [
        ("11", &[TO_DO], IN_PROGRESS),
        ("21", &[IN_PROGRESS], TO_DO),
        ("31", &[TO_DO, IN_PROGRESS], DONE),
        ("41", &[DONE], TO_DO),
    ];
    let transition = |((id, from, to), name): ((&str, &[&str], &str), &str)| Transition {
        id: id.to_owned(),
        name: name.to_owned(),
        from: from.iter().map(|id| (*id).to_owned()).collect(),
        to: to.to_owned(),
        has_resolution: to == DONE,
    };
    steps.into_iter().zip(names).map(transition).collect()
}
