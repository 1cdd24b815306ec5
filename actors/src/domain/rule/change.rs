//! Selecting changes: most are what databases do all day, and no fault; the rules say which are.
//!
//! A change is selected by every rule whose conditions on it hold, up to the first one that ends the
//! search whatever becomes of the fault. That one may still wait for a count or an age is decided
//! with the fault, later, when the line is no longer at hand; so the names of all of them are kept
//! with the fault.

use std::cell::OnceCell;

use serde_json::value::RawValue;

use super::{Outcome, Rule, Rules, Then, plan::Ticket};
use crate::domain::{
    event::{Kind, Severity},
    json::{Members, Text},
    shape::{cut, secret::without_secrets},
};

/// What is known of a change.
#[derive(Clone, Copy, Debug)]
pub struct ChangeFacts<'a> {
    pub environment: &'a str,
    pub service: &'a str,
    pub database: &'a str,
    pub table: &'a str,
    /// `insert`, `update`, `table-alter` …
    pub kind: &'a str,
    /// Maxwell's JSON.
    pub line: &'a [u8],
}

/// A change that is a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selected {
    /// The names of the rules that selected it, in their order, one a line.
    pub rule: String,
    /// What names the fault.
    pub parts: Vec<String>,
    pub title: String,
    pub severity: Severity,
}

/// The names in [`Selected::rule`].
pub(super) fn names(selected_by: &str) -> impl Iterator<Item = &str> {
    selected_by.split('\n').filter(|name| !name.is_empty())
}

/// What names the fault of a change or of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum By {
    Database,
    Table,
    Kind,
    Column(String),
    Bucket,
    /// Of a key: all up to its last slash.
    Folder,
    Key,
}

impl By {
    pub(super) const OF_CHANGE: [Self; 3] = [Self::Database, Self::Table, Self::Kind];
    pub(super) const OF_OBJECT: [Self; 2] = [Self::Bucket, Self::Kind];

    /// As it is written in `fault_by` of a rule about this kind of event.
    pub(super) fn from_name(name: &str, of: Kind) -> Option<Self> {
        match (name, of) {
            ("type", _) => Some(Self::Kind),
            ("bucket", Kind::Object) => Some(Self::Bucket),
            ("folder", Kind::Object) => Some(Self::Folder),
            ("key", Kind::Object) => Some(Self::Key),
            (_, Kind::Object) => None,
            ("database", _) => Some(Self::Database),
            ("table", _) => Some(Self::Table),
            _ => {
                let column = name.strip_prefix("columns.").filter(|column| !column.is_empty())?;
                Some(Self::Column(column.to_owned()))
            }
        }
    }
}

impl Rules {
    /// Whether any rule is about changes.
    #[must_use]
    pub fn select_changes(&self) -> bool {
        self.has_changes
    }

    /// The rules that make a fault of the change; `None` where it is none.
    #[must_use]
    pub fn select_change(&self, change: &ChangeFacts<'_>) -> Option<Selected> {
        if !self.has_changes {
            return None;
        }
        let row = OnceCell::new();
        let read = || row.get_or_init(|| Row::read(change)).as_ref();
        let selecting = self.selecting(|rule| rule.conditions.select(change, read));
        let naming = naming(&selecting)?;
        let by = fault_by(&selecting, naming).unwrap_or_else(|| By::OF_CHANGE.to_vec());
        Some(selected(names_of(&selecting), naming, &by, change, read()))
    }

    /// The rules whose conditions on a change or an object hold, up to the first one that ends the
    /// search whatever becomes of the fault.
    pub(super) fn selecting(&self, holds: impl Fn(&Rule) -> bool) -> Vec<Selecting<'_>> {
        let mut selecting: Vec<Selecting<'_>> = Vec::new();
        for rule in self.list.iter().filter(|rule| holds(rule)) {
            let ends = rule.when.is_none() && rule.conditions.are_settled_by_selection();
            match &rule.outcome {
                Outcome::Ignore if ends => {
                    // Nothing before it is sure to make a ticket, but it may.
                    selecting.push((rule, None));
                    break;
                }
                Outcome::Ignore | Outcome::Mute(_) => selecting.push((rule, None)),
                Outcome::Ticket(ticket) => {
                    selecting.push((rule, Some(ticket)));
                    if ends && rule.then == Then::Stop {
                        break;
                    }
                }
            }
        }
        selecting
    }
}

/// A rule that selects, and what it says of a ticket where it makes one.
pub(super) type Selecting<'r> = (&'r Rule, Option<&'r Ticket>);

/// Their names, one a line.
pub(super) fn names_of(selecting: &[Selecting<'_>]) -> String {
    selecting.iter().map(|(rule, _)| rule.name.as_str()).collect::<Vec<_>>().join("\n")
}

/// The rule that names the fault: the first one that ends the search, or else the last one.
pub(super) fn naming<'r>(selecting: &[Selecting<'r>]) -> Option<&'r Rule> {
    let mut tickets = selecting.iter().filter(|(_, ticket)| ticket.is_some());
    let last = tickets.clone().next_back();
    let first = tickets.find(|(rule, _)| rule.then == Then::Stop);
    first.or(last).map(|(rule, _)| *rule)
}

/// What the naming rule says that names the fault, or else the one closest before it.
pub(super) fn fault_by(selecting: &[Selecting<'_>], naming: &Rule) -> Option<Vec<By>> {
    let before = selecting.iter().position(|(rule, _)| std::ptr::eq(*rule, naming)).unwrap_or(0);
    let mut said = selecting[..=before].iter().rev().filter_map(|(_, ticket)| *ticket);
    said.find_map(|ticket| ticket.fault_by.clone())
}

fn selected(
    rule: String,
    naming: &Rule,
    by: &[By],
    change: &ChangeFacts<'_>,
    row: Option<&Row<'_>>,
) -> Selected {
    /// Bytes of a value that the title shows.
    const SHOWN: usize = 60;
    // Two rules on one table are about different faults.
    let mut parts = vec![naming.name.clone()];
    let mut title = format!("{} {}", change.kind, change.database);
    if !change.table.is_empty() {
        title.push('.');
        title.push_str(change.table);
    }
    for by in by {
        parts.push(match by {
            By::Database => change.database.to_owned(),
            By::Table => change.table.to_owned(),
            By::Kind => change.kind.to_owned(),
            By::Column(name) => {
                let value = row.and_then(|row| row.value(name)).unwrap_or_default();
                title.push_str(&format!(", {name}={}", cut(&value, SHOWN)));
                value
            }
            // Of objects; compiling refuses them here.
            By::Bucket | By::Folder | By::Key => String::new(),
        });
    }
    let title = without_secrets(&title).replace(char::is_control, " ");
    Selected { rule, parts, title, severity: Severity::Info }
}

/// The columns of a change, values unread.
pub(super) struct Row<'a> {
    kind: &'a str,
    data: Members<'a>,
    old: Members<'a>,
}

impl<'a> Row<'a> {
    fn read(change: &ChangeFacts<'a>) -> Option<Self> {
        let Members(members) = serde_json::from_slice(change.line).ok()?;
        let object = |name: &str| {
            let (_, value) = members.iter().rfind(|(key, _)| key == name)?;
            serde_json::from_str(value.get()).ok()
        };
        let none = || Members(Vec::new());
        Some(Self {
            kind: change.kind,
            data: object("data").unwrap_or_else(none),
            old: object("old").unwrap_or_else(none),
        })
    }

    fn is_delete(&self) -> bool {
        self.kind == "delete"
    }

    /// The value now, or when the row was deleted.
    pub(super) fn value(&self, column: &str) -> Option<String> {
        text_of(&self.data, column)
    }

    /// The value before, of a column that was changed or deleted.
    pub(super) fn before(&self, column: &str) -> Option<String> {
        text_of(if self.is_delete() { &self.data } else { &self.old }, column)
    }

    /// The value that was written.
    pub(super) fn after(&self, column: &str) -> Option<String> {
        let is_written = match self.kind {
            "delete" => false,
            "update" => text_of(&self.old, column).is_some(),
            _ => true,
        };
        if is_written { self.value(column) } else { None }
    }
}

/// A value as Maxwell writes it, a text without its quotes.
fn text_of(row: &Members<'_>, column: &str) -> Option<String> {
    let (_, value): &(_, &RawValue) = row.0.iter().rfind(|(name, _)| name == column)?;
    let value = value.get();
    if value.starts_with('"')
        && let Ok(Text(text)) = serde_json::from_str(value)
    {
        return Some(text.into_owned());
    }
    Some(value.to_owned())
}
