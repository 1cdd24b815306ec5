//! What becomes of alerts: by what holds now, by what is open, and by the time. Nothing here reads a
//! clock or a store; what is decided is written with a guard against another hub's having decided
//! the same.

use std::{collections::BTreeMap, time::Duration};

use super::{ANY, Certainty, Condition, Key, delivery::What, quiet::QuietHours};
use crate::domain::time::{Micros, later, micros};

/// By when things happen.
#[derive(Clone, Debug)]
pub struct Timing {
    /// What still holds is told again so long after it was told last.
    pub repeat_every: Duration,
    /// What was not seen for so long is over.
    pub resolve_after: Duration,
    /// What comes back sooner than this after its end was told is told only when it has passed.
    pub cool_down: Duration,
    /// What belongs to a hub that has not been heard of for so long is closed.
    pub abandon_after: Duration,
    pub quiet: Option<QuietHours>,
}

/// An alert that is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    pub id: i64,
    /// Counts its changes, so that two hubs do not both make the same.
    pub version: i32,
    pub key: Key,
    pub seen_at: Micros,
    /// Not told before then.
    pub tell_at: Micros,
    /// When it was told last.
    pub told_at: Option<Micros>,
    pub silenced_until: Option<Micros>,
}

/// What is known of alerts: a look into the store.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    pub open: Vec<Open>,
    /// What was told and has lately ended: when.
    pub ended: BTreeMap<Key, Micros>,
}

/// Who looks, and since when.
#[derive(Clone, Copy, Debug)]
pub struct Watch<'a> {
    pub hub: &'a str,
    /// Before then nobody looked: that something was not seen says nothing.
    pub since: Micros,
    pub now: Micros,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is new; it is told at once, or not before then.
    Open { condition: Condition, key: Key, tell_at: Option<Micros> },
    /// It is told, for the first time or again.
    Tell { id: i64, version: i32, key: Key, what: What, cause: String },
    /// It still holds.
    Seen { id: i64, cause: Option<String> },
    /// It is over.
    Resolve { id: i64, version: i32, key: Key, was_told: bool, note: Option<&'static str> },
}

/// Said of alerts whose hub is gone.
pub const ABANDONED: &str = "nobody looks after it any more: its hub has not been heard of";

/// What is to be done about what holds now.
#[must_use]
pub fn decide(
    watch: Watch<'_>,
    timing: &Timing,
    conditions: &[Condition],
    standing: &Standing,
) -> Vec<Change> {
    let mut held: BTreeMap<Key, &Condition> = BTreeMap::new();
    for condition in conditions {
        held.entry(condition.key(watch.hub)).or_insert(condition);
    }
    let of_any = |open: &Key| {
        let key = Key { subject: ANY.to_owned(), ..open.clone() };
        conditions.iter().find(|it| it.is_of_any() && it.key(watch.hub) == key)
    };
    let mut changes = Vec::new();
    for open in &standing.open {
        let change = match held.remove(&open.key).or_else(|| of_any(&open.key)) {
            Some(condition) => goes_on(watch.now, timing, condition, open),
            None => is_missing(watch, timing, open),
        };
        changes.extend(change);
    }
    let is_new = held.into_iter().filter(|(_, it)| it.certainty == Certainty::Holds);
    let is_new = is_new.map(|(key, condition)| {
        let ended = standing.ended.get(&key).copied();
        let tell_at = tell_at(watch.now, timing, &key, ended);
        Change::Open { condition: condition.clone(), key, tell_at }
    });
    changes.extend(is_new);
    changes
}

/// When a new one is told; `None`: now.
fn tell_at(now: Micros, timing: &Timing, key: &Key, ended: Option<Micros>) -> Option<Micros> {
    // The clock may have been set back since.
    let cooled = ended.map_or(now, |ended| later(ended.min(now), timing.cool_down)).max(now);
    let wait = QuietHours::wait(timing.quiet.as_ref(), key.kind.class(), cooled);
    Some(later(cooled, wait)).filter(|at| *at > now)
}

fn goes_on(now: Micros, timing: &Timing, condition: &Condition, open: &Open) -> Option<Change> {
    let is_silenced = open.silenced_until.is_some_and(|until| now < until);
    let is_quiet = !QuietHours::wait(timing.quiet.as_ref(), open.key.kind.class(), now).is_zero();
    let due = match open.told_at {
        None => (now >= open.tell_at).then_some(What::Firing),
        Some(told) => (now >= later(told, timing.repeat_every)).then_some(What::Repeat),
    };
    let is_certain = condition.certainty == Certainty::Holds;
    let cause = is_certain.then(|| condition.told_cause());
    let due = due.filter(|_| !is_silenced && !is_quiet);
    if let (Some(what), Some(cause)) = (due, &cause) {
        let cause = cause.clone();
        let Open { id, version, key, .. } = open.clone();
        return Some(Change::Tell { id, version, key, what, cause });
    }
    // Written down often enough for nobody to think that it is over, and no more often.
    let is_stale = now - open.seen_at >= micros(timing.resolve_after / 3) || open.seen_at > now;
    is_stale.then_some(Change::Seen { id: open.id, cause })
}

fn is_missing(watch: Watch<'_>, timing: &Timing, open: &Open) -> Option<Change> {
    let is_ours = open.key.hub.is_empty() || open.key.hub == watch.hub;
    let (patience, note) = if is_ours {
        (timing.resolve_after, None)
    } else {
        (timing.abandon_after, Some(ABANDONED))
    };
    if open.seen_at > watch.now {
        // The clock was set back: it is waited for from now on.
        return is_ours.then_some(Change::Seen { id: open.id, cause: None });
    }
    let missed = watch.now - open.seen_at.max(watch.since);
    (missed >= micros(patience)).then(|| Change::Resolve {
        id: open.id,
        version: open.version,
        key: open.key.clone(),
        was_told: open.told_at.is_some(),
        note,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::alert::{Kind, Scope};

    const SECOND: Micros = 1_000_000;
    const MINUTE: Micros = 60 * SECOND;
    const HOUR: Micros = 60 * MINUTE;
    /// 2026-11-22T03:00:00Z
    const NOW: Micros = 1_795_316_400_000_000;

    fn timing() -> Timing {
        Timing {
            repeat_every: Duration::from_hours(4),
            resolve_after: Duration::from_mins(1),
            cool_down: Duration::from_mins(5),
            abandon_after: Duration::from_hours(1),
            quiet: None,
        }
    }

    fn condition(kind: Kind, scope: Scope) -> Condition {
        let (subject, cause) = ("jira".to_owned(), "no answer".to_owned());
        let (certainty, since) = (Certainty::Holds, NOW - MINUTE);
        Condition { kind, certainty, scope, subject, cause, since, link: "/jobs" }
    }

    fn down() -> Condition {
        condition(Kind::PartnerDown, Scope::Shared)
    }

    fn open(of: &Condition) -> Open {
        Open {
            id: 1,
            version: 0,
            key: of.key("one"),
            seen_at: NOW,
            tell_at: NOW,
            told_at: Some(NOW),
            silenced_until: None,
        }
    }

    fn at(now: Micros, conditions: &[Condition], open: &[Open]) -> Vec<Change> {
        let standing = Standing { open: open.to_vec(), ended: BTreeMap::new() };
        decide(Watch { hub: "one", since: NOW, now }, &timing(), conditions, &standing)
    }

    #[test]
    fn what_is_new_is_opened_once_and_told_at_once() {
        let changes = at(NOW, &[down(), down()], &[]);
        let [Change::Open { key, tell_at: None, .. }] = &changes[..] else { panic!("{changes:?}") };
        assert_eq!(*key, down().key("one"));
        assert_eq!(at(NOW, &[down()], &[open(&down())]), []);
        assert_eq!(at(NOW, &[], &[]), []);
    }

    #[test]
    fn what_goes_on_is_seen_and_told_again() {
        let open = open(&down());
        let cause = Some("no answer".to_owned());
        assert_eq!(at(NOW + 19 * SECOND, &[down()], std::slice::from_ref(&open)), []);
        let seen = Change::Seen { id: 1, cause };
        assert_eq!(at(NOW + 20 * SECOND, &[down()], std::slice::from_ref(&open)), [seen]);
        let changes = at(NOW + 4 * HOUR, &[down()], std::slice::from_ref(&open));
        assert!(matches!(changes[..], [Change::Tell { id: 1, what: What::Repeat, .. }]));
        let silenced = Open { silenced_until: Some(NOW + 5 * HOUR), ..open };
        let changes = at(NOW + 4 * HOUR, &[down()], std::slice::from_ref(&silenced));
        assert!(matches!(changes[..], [Change::Seen { .. }]), "silenced");
        let changes = at(NOW + 5 * HOUR, &[down()], &[silenced]);
        assert!(matches!(changes[..], [Change::Tell { .. }]), "no longer");
    }

    #[test]
    fn what_may_hold_keeps_an_alert_open_and_tells_nothing() {
        let may = Condition { certainty: Certainty::MayHold, ..down() };
        assert_eq!(at(NOW, std::slice::from_ref(&may), &[]), []);
        let (told, seen) = (open(&down()), Change::Seen { id: 1, cause: None });
        let untold = Open { told_at: None, ..told.clone() };
        for open in [told, untold] {
            let changes = at(NOW + 5 * HOUR, std::slice::from_ref(&may), &[open]);
            assert_eq!(changes, std::slice::from_ref(&seen));
        }
    }

    #[test]
    fn what_may_hold_of_anything_keeps_open_all_of_its_kind_that_we_see() {
        let slow = |subject: &str| Condition {
            subject: subject.to_owned(),
            ..condition(Kind::AppSlow, Scope::Hub)
        };
        let any = Condition { certainty: Certainty::MayHold, ..slow(ANY) };
        let ours = [
            open(&slow("shop")),
            Open { id: 2, ..open(&slow(ANY)) },
            Open { id: 3, ..open(&slow("blog")) },
        ];
        assert_eq!(at(NOW, std::slice::from_ref(&any), &[]), []);
        let later = NOW + 5 * HOUR;
        let seen = [1, 2, 3].map(|id| Change::Seen { id, cause: None });
        assert_eq!(at(later, std::slice::from_ref(&any), &ours), seen);
        let others = [
            open(&condition(Kind::AppErrors, Scope::Hub)),
            open(&condition(Kind::AppSlow, Scope::Shared)),
            Open { key: slow("shop").key("other"), ..open(&slow("shop")) },
        ];
        let changes = at(later, &[any], &others);
        let are_over = changes.iter().all(|it| matches!(it, Change::Resolve { .. }));
        assert!(changes.len() == 3 && are_over, "{changes:?}");
        // One that holds is of nothing but its own subject.
        let changes = at(later, &[slow(ANY)], &ours[..1]);
        let is_over = |it: &Change| matches!(it, Change::Resolve { id: 1, .. });
        assert!(changes.iter().any(is_over), "{changes:?}");
    }

    #[test]
    fn what_is_gone_for_long_enough_is_over() {
        let open = open(&down());
        assert_eq!(at(NOW + 59 * SECOND, &[], std::slice::from_ref(&open)), []);
        let changes = at(NOW + MINUTE, &[], std::slice::from_ref(&open));
        assert!(matches!(changes[..], [Change::Resolve { was_told: true, note: None, .. }]));
        // After an hour in which nobody looked, that it is not seen at once says nothing.
        let long_ago = Open { seen_at: NOW - HOUR, told_at: None, ..open.clone() };
        assert_eq!(at(NOW + 59 * SECOND, &[], std::slice::from_ref(&long_ago)), []);
        let changes = at(NOW + MINUTE, &[], &[long_ago]);
        assert!(matches!(changes[..], [Change::Resolve { was_told: false, .. }]));
        let ahead = Open { seen_at: NOW + HOUR, ..open };
        let changes = at(NOW + MINUTE, &[], &[ahead]);
        assert_eq!(changes, [Change::Seen { id: 1, cause: None }], "the clock was set back");
    }

    #[test]
    fn a_hub_looks_after_its_own_and_closes_what_nobody_looks_after() {
        let slow = condition(Kind::AppSlow, Scope::Hub);
        let theirs = Open { key: slow.key("other"), ..open(&slow) };
        assert_eq!(at(NOW + 59 * MINUTE, &[], std::slice::from_ref(&theirs)), []);
        let changes = at(NOW + 59 * MINUTE, &[slow], std::slice::from_ref(&theirs));
        assert!(matches!(changes[..], [Change::Open { .. }]), "ours is another one");
        let changes = at(NOW + HOUR, &[], &[theirs]);
        assert!(matches!(changes[..], [Change::Resolve { note: Some(ABANDONED), .. }]));
    }

    #[test]
    fn what_comes_back_soon_waits_until_it_has_cooled_down() {
        let (now, key) = (NOW + MINUTE, down().key("one"));
        let standing = Standing { open: vec![], ended: BTreeMap::from([(key.clone(), NOW)]) };
        let watch = Watch { hub: "one", since: NOW, now };
        let changes = decide(watch, &timing(), &[down()], &standing);
        let tell_at = NOW + 5 * MINUTE;
        let [Change::Open { tell_at: Some(told), .. }] = &changes[..] else {
            panic!("{changes:?}")
        };
        assert_eq!(*told, tell_at);
        let untold = Open { told_at: None, tell_at, seen_at: tell_at, ..open(&down()) };
        assert_eq!(
            at(
                tell_at - 1,
                &[down()],
                &[Open { seen_at: NOW + 4 * MINUTE + 50 * SECOND, ..untold.clone() }]
            ),
            []
        );
        let changes = at(tell_at, &[down()], &[untold]);
        assert!(matches!(changes[..], [Change::Tell { what: What::Firing, .. }]));
        let watch = Watch { now: NOW + 6 * MINUTE, ..watch };
        let changes = decide(watch, &timing(), &[down()], &standing);
        assert!(matches!(changes[..], [Change::Open { tell_at: None, .. }]), "long enough ago");
        // It ended by a clock that was ahead.
        let standing = Standing { open: vec![], ended: BTreeMap::from([(key, NOW + 24 * HOUR)]) };
        let watch = Watch { now: NOW, ..watch };
        let changes = decide(watch, &timing(), &[down()], &standing);
        let [Change::Open { tell_at: Some(told), .. }] = &changes[..] else {
            panic!("{changes:?}")
        };
        assert_eq!(*told, tell_at);
    }

    #[test]
    fn at_night_only_what_is_urgent_is_told() {
        let timing = Timing { quiet: QuietHours::parse("22:00-07:00", "UTC").unwrap(), ..timing() };
        let watch = Watch { hub: "one", since: NOW, now: NOW };
        let morning = NOW + 4 * HOUR;
        let dead = condition(Kind::DeadJobs, Scope::Shared);
        let changes = decide(watch, &timing, &[down(), dead.clone()], &Standing::default());
        let told = changes.iter().map(|change| match change {
            Change::Open { key, tell_at, .. } => (key.kind, *tell_at),
            other => panic!("{other:?}"),
        });
        let told: Vec<_> = told.collect();
        assert_eq!(told, [(Kind::PartnerDown, None), (Kind::DeadJobs, Some(morning))]);
        // Told the evening before, it is not repeated at night.
        let told = Open { told_at: Some(NOW - 9 * HOUR), ..open(&dead) };
        let standing = Standing { open: vec![told], ended: BTreeMap::new() };
        assert_eq!(decide(watch, &timing, std::slice::from_ref(&dead), &standing), []);
        let watch = Watch { now: morning, ..watch };
        let changes = decide(watch, &timing, &[dead], &standing);
        assert!(matches!(changes[..], [Change::Tell { what: What::Repeat, .. }]));
    }
}
