//! Alerts while the store is away: that it is cannot wait in it. They are told from memory, each
//! once; when the store is back it is written there what was told, and goes on from there.
//!
//! What memory cannot do: a process that starts while the store is away tells again what the one
//! before it told, and of several hubs each tells.

use std::{collections::BTreeMap, time::Duration};

use super::{Condition, Key, decide::Standing, quiet::QuietHours};
use crate::domain::time::{Micros, later};

/// What was told while the store was away, and what it knew before.
#[derive(Debug, Default)]
pub struct Unstored {
    failing_since: Option<Micros>,
    /// What the store was last known to have open, with whether it was told.
    known: BTreeMap<Key, bool>,
    told: BTreeMap<Key, (Condition, Micros)>,
}

/// So much is remembered.
const MOST: usize = 1_000;

impl Unstored {
    /// The store was read.
    pub fn works(&mut self, standing: &Standing) {
        self.failing_since = None;
        let open = standing.open.iter().take(MOST);
        self.known = open.map(|open| (open.key.clone(), open.told_at.is_some())).collect();
    }

    /// What was told and the store does not know of, with when.
    #[must_use]
    pub fn to_store(&self) -> Vec<(Key, Condition, Micros)> {
        let told = self.told.iter();
        told.map(|(key, (condition, at))| (key.clone(), condition.clone(), *at)).collect()
    }

    /// The store knows of it now.
    pub fn stored(&mut self, key: &Key) {
        self.told.remove(key);
    }

    /// The store cannot be used, and this holds: gives what is to be told now.
    pub fn fails(
        &mut self,
        hub: &str,
        now: Micros,
        patience: Duration,
        quiet: Option<&QuietHours>,
        conditions: &[Condition],
    ) -> Vec<(Key, Condition)> {
        let since = *self.failing_since.get_or_insert(now);
        if now < later(since, patience) {
            return Vec::new();
        }
        let mut news = Vec::new();
        for condition in conditions {
            let key = condition.key(hub);
            let is_told = self.known.get(&key).copied().unwrap_or(false);
            let is_quiet = !QuietHours::wait(quiet, key.kind.class(), now).is_zero();
            if is_told || is_quiet || self.told.contains_key(&key) || self.told.len() >= MOST {
                continue;
            }
            self.told.insert(key.clone(), (condition.clone(), now));
            news.push((key, condition.clone()));
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::alert::{Kind, Scope, decide::Open};

    const SECOND: Micros = 1_000_000;
    const PATIENCE: Duration = Duration::from_secs(30);

    fn condition(subject: &str) -> Condition {
        Condition {
            kind: Kind::ComponentUnhealthy,
            scope: Scope::Shared,
            subject: subject.to_owned(),
            cause: "no answer".to_owned(),
            since: 0,
            link: "/health",
        }
    }

    #[test]
    fn what_the_store_cannot_hold_is_told_once_and_stored_later() {
        let mut unstored = Unstored::default();
        let known = Open {
            id: 1,
            version: 0,
            key: condition("jira").key("one"),
            seen_at: 0,
            tell_at: 0,
            told_at: Some(0),
            silenced_until: None,
        };
        unstored.works(&Standing { open: vec![known], ended: BTreeMap::new() });
        let holds = [condition("jira"), condition("database")];
        let mut fails = |second| {
            let news = unstored.fails("one", second * SECOND, PATIENCE, None, &holds);
            news.into_iter().map(|(key, _)| key.subject).collect::<Vec<_>>()
        };
        assert!(fails(0).is_empty() && fails(29).is_empty(), "it may be back at once");
        assert_eq!(fails(30), ["database"]);
        assert!(fails(40).is_empty(), "once");
        unstored.works(&Standing::default());
        let to_store = unstored.to_store();
        assert_eq!((to_store.len(), to_store[0].2), (1, 30 * SECOND));
        unstored.stored(&to_store[0].0);
        assert!(unstored.to_store().is_empty());
        assert!(unstored.fails("one", 100 * SECOND, PATIENCE, None, &holds).is_empty());
    }
}
