//! Suspects: what looks wrong, and is certain when it has for long enough. How long is measured by a
//! clock that nobody sets.

use std::{collections::BTreeMap, time::Duration};

use crate::domain::{
    alert::{Certainty, Condition, Kind, Scope},
    shape::{cut, secret::without_secrets},
    time::Micros,
};

/// Longer causes are cut, in bytes.
const LONGEST_CAUSE: usize = 500;

/// What looks wrong now.
#[derive(Clone, Debug)]
pub(super) struct Suspect {
    pub kind: Kind,
    pub scope: Scope,
    pub subject: String,
    pub cause: String,
    /// When it began, where somebody knows better than who looks now and then.
    pub since: Option<Micros>,
    /// It must look so for so long; [`NEVER`] where only an alert of before is to stay open.
    pub after: Duration,
    pub link: &'static str,
}

/// Nobody can know yet: this never becomes certain.
pub(super) const NEVER: Duration = Duration::MAX;

/// When a suspect was first seen: by the clock on the wall, and by the one that nobody sets.
type First = (Micros, Duration);

/// Remembers suspects for as long as they look wrong.
#[derive(Clone, Debug, Default)]
pub(super) struct Suspects(BTreeMap<(Kind, String), First>);

impl Suspects {
    /// The conditions of all that is suspected now: what is not among them is forgotten. Of several
    /// suspects of one kind and subject the first counts.
    pub(super) fn hold(&mut self, suspects: Vec<Suspect>, (at, running): First) -> Vec<Condition> {
        let mut known = BTreeMap::new();
        let mut conditions = Vec::new();
        for suspect in suspects {
            let key = (suspect.kind, suspect.subject);
            if known.contains_key(&key) {
                continue;
            }
            let first = self.0.get(&key).copied().unwrap_or((at, running));
            let is_certain = running.saturating_sub(first.1) >= suspect.after;
            conditions.push(Condition {
                kind: key.0,
                certainty: if is_certain { Certainty::Holds } else { Certainty::MayHold },
                scope: suspect.scope,
                subject: key.1.clone(),
                cause: cut(&without_secrets(&suspect.cause), LONGEST_CAUSE).to_owned(),
                since: suspect.since.unwrap_or(first.0).min(at),
                link: suspect.link,
            });
            // What nobody can know has not been seen.
            if suspect.after < NEVER {
                known.insert(key, first);
            }
        }
        self.0 = known;
        conditions
    }
}
