//! What is decided about an alert, as it is written: with its deliveries and its notification.

use std::time::Duration;

use super::Settings;
use crate::{
    adapters::store::alerts::{NewDelivery, Write, Written},
    domain::{
        alert::{
            Condition, Key, decide::Change, delivery::What, quiet::QuietHours, unstored::Telling,
        },
        notification::Notification,
        time::Micros,
    },
};

/// Who writes it, when, and by which settings.
pub(super) struct Record<'a> {
    pub(super) settings: &'a Settings,
    pub(super) hub: &'a str,
    pub(super) now: Micros,
}

impl Record<'_> {
    /// # Errors
    /// Gives what is only seen to go on: that is written for all together.
    pub(super) fn of(&self, change: Change) -> Result<Written, (i64, Option<String>)> {
        match change {
            Change::Seen { id, cause } => Err((id, cause)),
            Change::Open { condition, key, tell_at } => {
                let write = self.open(&key, &condition, tell_at);
                if tell_at.is_some() {
                    return Ok(self.silently(write));
                }
                let cause = condition.told_cause();
                Ok(self.telling(write, What::Firing, &key, &cause, condition.link))
            }
            Change::Tell { id, version, key, what, cause } => {
                let write = Write::Tell { id, version, cause: cause.clone() };
                Ok(self.telling(write, what, &key, &cause, LINK))
            }
            Change::Resolve { id, version, key, was_told, note } => {
                let write = Write::Resolve { id, version, note };
                if !was_told {
                    return Ok(self.silently(write));
                }
                Ok(self.telling(write, What::Resolved, &key, note.unwrap_or_default(), LINK))
            }
        }
    }

    /// What was told while the store was away; channels that have not taken it are still to be told.
    pub(super) fn told_before(&self, key: &Key, telling: &Telling) -> Written {
        let Telling { condition, at, reached, .. } = telling;
        let mut write = self.open(key, condition, None);
        if let Write::Open { told_at, tell_at, .. } = &mut write
            && !reached.is_empty()
        {
            (*told_at, *tell_at) = (Some(*at), *at);
        }
        let cause = condition.told_cause();
        let mut written = self.telling(write, What::Firing, key, &cause, condition.link);
        written.deliveries.retain(|delivery| !reached.contains(&delivery.channel));
        written
    }

    fn open(&self, key: &Key, condition: &Condition, tell_at: Option<Micros>) -> Write {
        Write::Open {
            key: key.clone(),
            opened_by: self.hub.to_owned(),
            cause: condition.told_cause(),
            link: condition.link.to_owned(),
            since: condition.since,
            tell_at: tell_at.unwrap_or(self.now),
            told_at: tell_at.is_none().then_some(self.now),
        }
    }

    fn silently(&self, write: Write) -> Written {
        Written { write, at: self.now, deliveries: Vec::new(), notification: None }
    }

    fn telling(&self, write: Write, what: What, key: &Key, cause: &str, link: &str) -> Written {
        let notification = Notification::alert(what, key, cause, link);
        Written {
            deliveries: self.deliveries(what, key),
            notification: Some(notification),
            ..self.silently(write)
        }
    }

    /// One for each channel that takes alerts of this class.
    fn deliveries(&self, what: What, key: &Key) -> Vec<NewDelivery> {
        let class = key.kind.class();
        // What is told in quiet hours may be told; but that it is over can wait for their end.
        let quiet = QuietHours::wait(self.settings.timing().quiet.as_ref(), class, self.now);
        let wait = match what {
            What::Firing => self.settings.group_wait,
            What::Repeat => Duration::ZERO,
            What::Resolved => self.settings.group_wait.max(quiet),
        };
        let channels = self.settings.channels().into_iter();
        channels
            .filter(|channel| channel.takes(class))
            .map(|channel| NewDelivery { channel: channel.key(), what, wait })
            .collect()
    }
}

/// Where the alerts are.
const LINK: &str = "/notifications";
