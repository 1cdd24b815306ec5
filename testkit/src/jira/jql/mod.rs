//! A small, honest part of JQL: what is not understood is refused, as Jira refuses what it does not
//! know, never ignored.
//!
//! Fields: project, key, issuetype, summary, description, labels, status, statusCategory,
//! resolution, priority, assignee, created, updated, and custom fields by `cf[NUMBER]` or by name
//! (`customfield_NUMBER` is no name in JQL: Jira refuses it). AND, OR, NOT, parentheses, ORDER BY
//! created, updated or key.

mod evaluate;
mod lex;
mod parse;

pub(super) use parse::parse;

/// A query.
#[derive(Debug)]
pub(super) struct Query {
    pub filter: Option<Filter>,
    pub order: Vec<Order>,
}

#[derive(Debug)]
pub(super) enum Filter {
    And(Vec<Filter>),
    Or(Vec<Filter>),
    Not(Box<Filter>),
    Clause(Clause),
}

/// A field, an operator and its values; `EMPTY` is an empty list.
#[derive(Debug)]
pub(super) struct Clause {
    pub field: Field,
    pub operator: Operator,
    pub values: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Is,
    IsNot,
    In,
    NotIn,
    Contains,
    ContainsNot,
    Less,
    AtMost,
    Greater,
    AtLeast,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Project,
    Key,
    IssueType,
    Summary,
    Description,
    Labels,
    Status,
    StatusCategory,
    Resolution,
    Priority,
    Assignee,
    Created,
    Updated,
    /// By its number.
    Custom(u64),
}

#[derive(Debug)]
pub(super) struct Order {
    pub field: Field,
    pub is_descending: bool,
}
