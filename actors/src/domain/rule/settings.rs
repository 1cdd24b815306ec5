//! Rules as they are written in the settings.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error, SeqAccess, Visitor},
};
use serde_json::{Map, Value};

use super::{class::Class, lasting};

/// One of `[[rules]]`: which faults it is about, and what becomes of them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RuleSettings {
    /// What the rule is called in answers and logs; no two have the same name.
    pub name: String,
    pub then: Then,
    #[serde(rename = "match")]
    pub matches: MatchSettings,
    /// An expression over `fault` that must hold too.
    pub when: Option<String>,
    /// No ticket.
    pub ignore: bool,
    /// No ticket until the fault is so old; then the rule matches no more.
    #[serde(with = "lasting::optional")]
    pub mute: Option<Duration>,
    pub project: Option<String>,
    pub issue_type: Option<String>,
    pub priority: Option<String>,
    /// Says how bad it is, and with that the priority and the time to respond.
    pub class: Option<Class>,
    pub labels: Vec<String>,
    pub components: Vec<String>,
    pub assignee: Option<String>,
    /// Further fields of the ticket, by id.
    pub fields: Map<String, Value>,
    /// Templates.
    pub summary: Option<String>,
    pub description: Option<String>,
    pub recurrence: Option<Recurrence>,
    /// A fault that comes again so soon after its ticket was done is still the old one.
    #[serde(with = "lasting::optional")]
    pub cool_off: Option<Duration>,
    /// The counts at which the ticket gets a comment.
    pub comment_at: Option<Vec<u64>>,
    /// At most one comment in this time.
    #[serde(with = "lasting::optional")]
    pub comment_every: Option<Duration>,
    /// A fault that was silent for so long is told to be over.
    #[serde(with = "lasting::optional")]
    pub auto_resolve_after: Option<Duration>,
    /// What names the fault of a change or of an object.
    pub fault_by: Option<Vec<String>>,
}

/// Whether later rules are looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Then {
    #[default]
    Stop,
    /// What this rule says is laid under what later ones say.
    Continue,
}

/// What becomes of a ticket that is done, when its fault comes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Recurrence {
    #[default]
    Reopen,
    /// A new ticket is made.
    Create,
    Nothing,
}

/// Which faults a rule is about: all that is set must hold. Texts may be one or a list, of which
/// one must hold; `*` in them stands for anything.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MatchSettings {
    pub kind: Texts,
    pub source: Texts,
    pub environment: Texts,
    pub service: Texts,
    /// At least as bad as this.
    pub severity: Option<String>,
    /// All of the title where it has a `*`, a part of it otherwise.
    pub title: Texts,
    /// `new`, `known` or `regression`.
    pub state: Texts,
    pub database: Texts,
    pub table: Texts,
    /// `insert`, `update` … of a change; `created`, `changed` or `deleted` of an object.
    #[serde(rename = "type")]
    pub kind_of_change: Texts,
    pub columns: BTreeMap<String, ColumnSettings>,
    pub bucket: Texts,
    /// Of an object.
    pub key: Texts,
    #[serde(with = "lasting::optional")]
    pub min_age: Option<Duration>,
    pub count: Option<u64>,
    #[serde(with = "lasting::optional")]
    pub within: Option<Duration>,
}

/// What a column must hold. Values are compared as the text that Maxwell writes: `39.95`, `true`,
/// `null`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ColumnSettings {
    /// Before the change; with it or `new`, an update must have changed the column.
    pub old: Texts,
    /// After the change.
    pub new: Texts,
    /// In the row as it is now, or was when it was deleted; changed or not.
    pub is: Texts,
}

/// One text or a list of them. Numbers, `true` and `false` are texts too.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Texts(pub Vec<String>);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrMany)
    }
}

struct OneOrMany;

impl<'de> Visitor<'de> for OneOrMany {
    type Value = Texts;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a text or a list of texts")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Texts, E> {
        Ok(Texts(vec![text.to_owned()]))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Texts, E> {
        self.visit_str(&value.to_string())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Texts, E> {
        self.visit_str(&value.to_string())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Texts, E> {
        self.visit_str(&value.to_string())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Texts, E> {
        // With a fraction, as databases write it.
        self.visit_str(&format!("{value:?}"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Texts, A::Error> {
        let mut all = Vec::new();
        while let Some(Texts(item)) = items.next_element()? {
            all.extend(item);
        }
        Ok(Texts(all))
    }
}
