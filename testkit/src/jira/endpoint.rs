//! Which call a request is.

use std::{fmt, str::FromStr};

/// The calls that are told apart, by what they do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Endpoint {
    Create,
    CreateBulk,
    GetIssue,
    EditIssue,
    AddComment,
    Comments,
    Transitions,
    Transition,
    Search,
    /// The search that Cloud has removed.
    OldSearch,
    LinkIssues,
    CreateMetaTypes,
    CreateMetaFields,
    Project,
    Myself,
    ServerInfo,
    Priorities,
    Fields,
    /// None of these: it is answered 404.
    Unknown,
    /// For faults only: all of them.
    Any,
}

const NAMES: [(Endpoint, &str); 20] = [
    (Endpoint::Create, "create"),
    (Endpoint::CreateBulk, "create-bulk"),
    (Endpoint::GetIssue, "get-issue"),
    (Endpoint::EditIssue, "edit-issue"),
    (Endpoint::AddComment, "add-comment"),
    (Endpoint::Comments, "comments"),
    (Endpoint::Transitions, "transitions"),
    (Endpoint::Transition, "transition"),
    (Endpoint::Search, "search"),
    (Endpoint::OldSearch, "old-search"),
    (Endpoint::LinkIssues, "link-issues"),
    (Endpoint::CreateMetaTypes, "create-meta-types"),
    (Endpoint::CreateMetaFields, "create-meta-fields"),
    (Endpoint::Project, "project"),
    (Endpoint::Myself, "myself"),
    (Endpoint::ServerInfo, "server-info"),
    (Endpoint::Priorities, "priorities"),
    (Endpoint::Fields, "fields"),
    (Endpoint::Unknown, "unknown"),
    (Endpoint::Any, "any"),
];

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = NAMES.iter().find(|(endpoint, _)| endpoint == self);
        formatter.write_str(name.map_or("?", |(_, name)| name))
    }
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let endpoint = NAMES.iter().find(|(_, known)| *known == name);
        endpoint.map(|(endpoint, _)| *endpoint).ok_or_else(|| {
            let known: Vec<_> = NAMES.iter().map(|(_, name)| *name).collect();
            format!("no endpoint {name:?}; there are {}", known.join(", "))
        })
    }
}

/// A request's path and method, understood.
pub(super) struct Route {
    /// 2 or 3.
    pub version: u8,
    pub endpoint: Endpoint,
    /// What the path names: an issue, or a project and an issue type.
    pub arguments: Vec<String>,
}

impl Route {
    /// `path` is percent-decoded and begins with `/rest/api/`.
    pub(super) fn of(method: &str, path: &str, is_cloud: bool) -> Self {
        let segments: Vec<&str> = path.split('/').skip(3).collect();
        let (version, rest) = match segments.split_first() {
            Some((&"3", rest)) if is_cloud => (3, rest),
            Some((&"2", rest)) => (2, rest),
            Some((&"latest", rest)) if !is_cloud => (2, rest),
            _ => (0, &[][..]),
        };
        let (endpoint, arguments): (_, &[&str]) = match (method, rest) {
            ("POST", ["issue"]) => (Endpoint::Create, &[]),
            ("POST", ["issue", "bulk"]) => (Endpoint::CreateBulk, &[]),
            ("GET", ["issue", "createmeta", project, "issuetypes"]) => {
                (Endpoint::CreateMetaTypes, &[*project][..])
            }
            ("GET", ["issue", "createmeta", project, "issuetypes", kind]) => {
                (Endpoint::CreateMetaFields, &[*project, *kind])
            }
            ("GET", ["issue", issue]) => (Endpoint::GetIssue, &[*issue]),
            ("PUT", ["issue", issue]) => (Endpoint::EditIssue, &[*issue]),
            ("POST", ["issue", issue, "comment"]) => (Endpoint::AddComment, &[*issue]),
            ("GET", ["issue", issue, "comment"]) => (Endpoint::Comments, &[*issue]),
            ("GET", ["issue", issue, "transitions"]) => (Endpoint::Transitions, &[*issue]),
            ("POST", ["issue", issue, "transitions"]) => (Endpoint::Transition, &[*issue]),
            ("POST" | "GET", ["search", "jql"]) if is_cloud => (Endpoint::Search, &[]),
            ("POST" | "GET", ["search"]) if is_cloud => (Endpoint::OldSearch, &[]),
            ("POST" | "GET", ["search"]) => (Endpoint::Search, &[]),
            ("POST", ["issueLink"]) => (Endpoint::LinkIssues, &[]),
            ("GET", ["project", project]) => (Endpoint::Project, &[*project]),
            ("GET", ["myself"]) => (Endpoint::Myself, &[]),
            ("GET", ["serverInfo"]) => (Endpoint::ServerInfo, &[]),
            ("GET", ["priority"]) => (Endpoint::Priorities, &[]),
            ("GET", ["field"]) => (Endpoint::Fields, &[]),
            _ => (Endpoint::Unknown, &[]),
        };
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        Self { version, endpoint, arguments }
    }
}
