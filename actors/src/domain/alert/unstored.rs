//! Alerts while the store is away: that it is cannot wait in it. They are told from memory, by each
//! channel once; when the store is back it is written there what was told and by which channel, and
//! goes on from there.
//!
//! What memory cannot do: a process that starts while the store is away tells again what the one
//! before it told, and of several hubs each tells.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{Condition, Key, decide::Standing, quiet::QuietHours};
use crate::domain::time::{Micros, later};

/// What was told while the store was away, and what it knew before.
#[derive(Debug, Default)]
pub struct Unstored {
    failing_since: Option<Micros>,
    /// What the store was last known to have open: it tells of it, or waits for it to cool down.
    known: BTreeSet<Key>,
    told: BTreeMap<Key, Telling>,
}

/// Something that is told from memory.
#[derive(Clone, Debug)]
pub struct Telling {
    pub condition: Condition,
    /// Since when.
    pub at: Micros,
    /// The channels that have taken it.
    pub reached: BTreeSet<String>,
    /// So many channels are at it.
    under_way: usize,
}

/// So much is remembered.
const MOST: usize = 1_000;

impl Unstored {
    /// The store was read.
    pub fn works(&mut self, standing: &Standing) {
        self.failing_since = None;
        self.known = standing.open.iter().take(MOST).map(|open| open.key.clone()).collect();
    }

    /// It was opened in the store.
    pub fn opened(&mut self, key: Key) {
        if self.known.len() < MOST {
            self.known.insert(key);
        }
    }

    /// Whether what is told from memory is still to be tried.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.failing_since.is_some()
    }

    /// Whether the store does not know yet that it is told.
    #[must_use]
    pub fn holds(&self, key: &Key) -> bool {
        self.told.contains_key(key)
    }

    /// What was told and the store does not know of, and no channel is at any more.
    #[must_use]
    pub fn to_store(&self) -> Vec<(Key, Telling)> {
        let ended = self.told.iter().filter(|(_, telling)| telling.under_way == 0);
        ended.map(|(key, telling)| (key.clone(), telling.clone())).collect()
    }

    /// The store knows of it now.
    pub fn stored(&mut self, key: &Key) {
        self.told.remove(key);
        self.opened(key.clone());
    }

    /// The store cannot be used, and this holds: gives what is to be told now, by so many channels.
    pub fn fails(
        &mut self,
        hub: &str,
        now: Micros,
        patience: Duration,
        quiet: Option<&QuietHours>,
        conditions: &[&Condition],
        channels: usize,
    ) -> Vec<(Key, Condition)> {
        let since = *self.failing_since.get_or_insert(now);
        if now < later(since, patience) {
            return Vec::new();
        }
        let mut news = Vec::new();
        for &condition in conditions {
            let key = condition.key(hub);
            let is_quiet = !QuietHours::wait(quiet, key.kind.class(), now).is_zero();
            let is_known = self.known.contains(&key) || self.holds(&key);
            if is_known || is_quiet || self.told.len() >= MOST {
                continue;
            }
            let reached = BTreeSet::new();
            let condition = condition.clone();
            news.push((key.clone(), condition.clone()));
            self.told.insert(key, Telling { condition, at: now, reached, under_way: channels });
        }
        news
    }

    /// A channel has taken them, or is no longer at it.
    pub fn ended(&mut self, keys: &[Key], channel: &str, has_taken: bool) {
        for key in keys {
            if let Some(telling) = self.told.get_mut(key) {
                telling.under_way = telling.under_way.saturating_sub(1);
                if has_taken {
                    telling.reached.insert(channel.to_owned());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::alert::{Certainty, Kind, Scope, decide::Open};

    const SECOND: Micros = 1_000_000;
    const PATIENCE: Duration = Duration::from_secs(30);

    fn condition(subject: &str) -> Condition {
        Condition {
            kind: Kind::ComponentUnhealthy,
            certainty: Certainty::Holds,
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
        let known = |subject: &str, told_at| Open {
            id: 1,
            version: 0,
            key: condition(subject).key("one"),
            seen_at: 0,
            tell_at: 0,
            told_at,
            silenced_until: None,
        };
        // One was told, one waits until it has cooled down, one was opened after that look.
        let open = vec![known("jira", Some(0)), known("mail", None)];
        unstored.works(&Standing { open, ended: BTreeMap::new() });
        unstored.opened(condition("redis").key("one"));
        let holds = ["jira", "mail", "redis", "database"].map(condition);
        let holds: Vec<&Condition> = holds.iter().collect();
        let mut fails = |second| {
            let news = unstored.fails("one", second * SECOND, PATIENCE, None, &holds, 2);
            news.into_iter().map(|(key, _)| key.subject).collect::<Vec<_>>()
        };
        assert!(fails(0).is_empty() && fails(29).is_empty(), "it may be back at once");
        assert_eq!(fails(30), ["database"]);
        assert!(fails(40).is_empty(), "once");
        assert!(unstored.is_failing());
        unstored.works(&Standing::default());
        assert!(!unstored.is_failing());
        // Not before both channels are done: what they do is not known before.
        let keys = [condition("database").key("one")];
        assert!(unstored.to_store().is_empty() && unstored.holds(&keys[0]));
        unstored.ended(&keys, "mail:ops", true);
        assert!(unstored.to_store().is_empty());
        unstored.ended(&keys, "slack:team", false);
        let to_store = unstored.to_store();
        let [(key, telling)] = &to_store[..] else { panic!("{to_store:?}") };
        assert_eq!((key, telling.at), (&keys[0], 30 * SECOND));
        assert_eq!(telling.reached, BTreeSet::from(["mail:ops".to_owned()]));
        unstored.stored(key);
        assert!(unstored.to_store().is_empty() && !unstored.holds(key));
        let holds = [holds[3]];
        assert!(unstored.fails("one", 100 * SECOND, PATIENCE, None, &holds, 2).is_empty());
        assert!(unstored.fails("one", 200 * SECOND, PATIENCE, None, &holds, 2).is_empty(), "known");
    }
}
