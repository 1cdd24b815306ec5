//! How two configurations differ, as it may be shown: secrets are masked.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::{admin::shown_config, config::Config};

/// A setting that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Change {
    /// `section.key`; of a rule `rules.<its name>`.
    pub(crate) key: String,
    /// Null where it was not set, or there was no such rule.
    pub(crate) old: Value,
    pub(crate) new: Value,
    /// A secret differs, which is not shown.
    pub(crate) secret: bool,
}

/// Longer values are cut in the audit trail.
const LONGEST: usize = 200;

impl Change {
    /// As people read it, in one line.
    pub(crate) fn line(&self) -> String {
        let shown = |value: &Value| match value {
            Value::Null => "not set".to_owned(),
            value => value.to_string(),
        };
        let Self { key, old, new, secret } = self;
        if *secret && old == new {
            return format!("{key}: another secret");
        }
        format!("{key}: {} → {}", shown(old), shown(new))
    }

    /// [`Self::line`] of a bounded length.
    pub(crate) fn short(&self) -> String {
        let line = self.line();
        match line.char_indices().nth(LONGEST) {
            Some((at, _)) => format!("{}…", &line[..at]),
            None => line,
        }
    }
}

/// The differences of two configurations.
#[derive(Debug, Default)]
pub(crate) struct Diff {
    /// By key.
    pub(crate) changes: Vec<Change>,
    /// How many settings are the same.
    pub(crate) unchanged: usize,
}

/// The same setting of two trees: as it is, and as it may be shown.
#[derive(Clone, Copy)]
struct Pair<'a> {
    open: &'a Value,
    shown: &'a Value,
}

impl<'a> Pair<'a> {
    fn both([open, shown]: &'a [Value; 2]) -> Self {
        Self { open, shown }
    }

    fn of(self, key: &str) -> Self {
        Self { open: &self.open[key], shown: &self.shown[key] }
    }
}

impl Diff {
    pub(crate) fn of(old: &Config, new: &Config) -> Self {
        let [old_trees, new_trees] = [old, new].map(trees);
        let mut diff = Self::default();
        diff.compare("", Pair::both(&old_trees), Pair::both(&new_trees));
        let names = |config: &Config| -> Vec<String> {
            config.rules.iter().map(|rule| rule.name.clone()).collect()
        };
        let (old, new) = (names(old), names(new));
        if old != new {
            // The first that matches decides.
            let key = "rules".to_owned();
            diff.changes.push(Change { key, old: json!(old), new: json!(new), secret: false });
        }
        diff.changes.sort_by(|one, other| one.key.cmp(&other.key));
        diff
    }

    fn compare(&mut self, key: &str, old: Pair<'_>, new: Pair<'_>) {
        if let (Value::Object(one), Value::Object(other)) = (old.open, new.open) {
            let names: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
            for name in names {
                let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                self.compare(&key, old.of(name), new.of(name));
            }
        } else if old.open == new.open {
            self.unchanged += 1;
        } else {
            let secret = old.shown == new.shown;
            let (key, old, new) = (key.to_owned(), said(old.shown), said(new.shown));
            self.changes.push(Change { key, old, new, secret });
        }
    }
}

/// The settings as they are and as they may be shown, rules by their names.
fn trees(config: &Config) -> [Value; 2] {
    let open = serde_json::to_value(config).unwrap_or_default();
    let mut trees = [open, shown_config(config)];
    for tree in &mut trees {
        let rules = tree["rules"].take();
        let Value::Array(rules) = rules else { continue };
        let named = rules.into_iter().map(|rule| {
            let name = rule["name"].as_str().unwrap_or_default().to_owned();
            (name, rule)
        });
        tree["rules"] = Value::Object(named.collect());
    }
    trees
}

/// Of a whole rule only what it says.
fn said(value: &Value) -> Value {
    let says = |value: &Value| match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
        _ => true,
    };
    match value {
        Value::Object(members) => {
            let members = members.iter().map(|(key, value)| (key.clone(), said(value)));
            Value::Object(members.filter(|(_, value)| says(value)).collect::<Map<_, _>>())
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn lines(old: &str, new: &str) -> Vec<String> {
        let [old, new] =
            [old, new].map(|it| config::parse(it, "config.toml", std::iter::empty()).unwrap());
        Diff::of(&old, &new).changes.iter().map(Change::line).collect()
    }

    #[test]
    fn settings_are_compared_key_by_key() {
        assert!(lines("", "").is_empty());
        assert_eq!(
            lines("[spool]\nqueue = 5", "[spool]\nqueue = 6\n[admin]\nread_only = true"),
            ["admin.read_only: false → true", "spool.queue: 5 → 6"]
        );
        let config = config::parse("", "config.toml", std::iter::empty()).unwrap();
        assert!(Diff::of(&config, &config).unchanged > 100);
    }

    #[test]
    fn rules_are_compared_by_name_and_their_order_counts() {
        let old =
            "[[rules]]\nname = \"a\"\nclass = \"P1\"\n[[rules]]\nname = \"b\"\nmatch.title = \"x\"";
        let new = "[[rules]]\nname = \"c\"\nignore = true\n[[rules]]\nname = \"a\"\nclass = \"P2\"";
        assert_eq!(
            lines(old, new),
            [
                r#"rules: ["a","b"] → ["c","a"]"#,
                r#"rules.a.class: "P1" → "P2""#,
                r#"rules.b: {"match":{"title":["x"]},"name":"b","then":"stop"} → not set"#,
                r#"rules.c: not set → {"ignore":true,"name":"c","then":"stop"}"#,
            ]
        );
    }

    #[test]
    fn secrets_do_not_show() {
        let old = "[receiver]\ntoken = \"canary-old-token\"\n[store]\nurl = \"postgres://u:canary1@h/d\"\n\
            [[receiver.drains]]\nuser = \"a\"\npassword = \"canary-password1\"";
        let new = "[receiver]\ntoken = \"canary-new-token\"\n[store]\nurl = \"postgres://u:canary2@h/d\"\n\
            [[receiver.drains]]\nuser = \"a\"\npassword = \"canary-password2\"\n\
            [admin]\nmetrics_token = \"canary-metrics\"\n[stdin]\ncommand = [\"m\", \"--password=canary3\"]";
        let lines = lines(old, new);
        assert_eq!(
            lines,
            [
                r#"admin.metrics_token: not set → "***""#,
                r"receiver.drains: another secret",
                r"receiver.token: another secret",
                r#"stdin.command: [] → ["m","--password=***"]"#,
                r"store.url: another secret",
            ]
        );
    }

    #[test]
    fn what_is_long_is_cut() {
        let change = Change {
            key: "a.b".to_owned(),
            old: json!("ä".repeat(1_000)),
            new: Value::Null,
            secret: false,
        };
        assert_eq!(change.short().chars().count(), LONGEST + 1);
    }
}
