//! What a commit holds and what is to be written of it, the same for every store.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    sync::Arc,
};

use super::{
    Left, Why,
    hours::{self, Hours},
};
use crate::{
    adapters::journal::Origin,
    domain::{
        batch::{Batch, Rejected, Span},
        event::{Kind, Severity, Source},
        fault::FaultId,
        ledger::Tally,
        original::original,
        shape::{Fingerprint, cut},
        time::Micros,
    },
};

/// What the batch writer hands to [`Store::commit`](super::Store::commit).
#[derive(Clone, Debug)]
pub struct Commit {
    pub origin: Origin,
    /// The position the origin is stored up to now; the commit fails where it is another.
    pub after: u64,
    /// In sequence, the first one starting right behind `after`.
    pub batches: Vec<Arc<Batch>>,
}

impl Commit {
    /// The position after the commit.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.batches.last().map_or(self.after, |batch| batch.last)
    }

    /// What becomes of the messages, by source.
    #[must_use]
    pub fn tallies(&self) -> [Tally; Source::COUNT] {
        let mut tallies = [Tally::default(); Source::COUNT];
        for batch in &self.batches {
            for (sum, tally) in tallies.iter_mut().zip(batch.tallies) {
                sum.add(tally);
            }
        }
        tallies
    }
}

/// What a commit did beside what it was asked to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// The tallies as stored: events that the store refused count as rejected.
    pub tallies: [Tally; Source::COUNT],
    /// The faults that were met, each once.
    pub faults: Vec<FaultId>,
}

/// What is added to one fault by a commit.
pub(crate) struct FaultSum<'a> {
    pub environment: &'a str,
    pub service: &'a str,
    pub fingerprint: Fingerprint,
    pub kind: Kind,
    pub severity: Severity,
    pub title: &'a str,
    pub template: &'a str,
    /// See [`FaultDelta::rule`](crate::domain::batch::FaultDelta::rule).
    pub rule: &'a str,
    pub example: &'a str,
    pub latest: &'a str,
    pub count: u64,
    pub first_seen: Micros,
    pub last_seen: Micros,
    /// By hour.
    pub hours: Hours,
}

impl FaultSum<'_> {
    /// Identifies the shape within its environment and service.
    pub(crate) fn key(&self) -> u128 {
        let scope = BuildHasherDefault::<DefaultHasher>::default()
            .hash_one((self.environment, self.service));
        self.fingerprint.short() ^ u128::from(scope)
    }
}

/// Bytes of an event's message that a fault keeps as its example.
const EXAMPLE: usize = 4_096;

/// The faults of a commit, each once, in the order in which every writer takes their locks.
pub(crate) fn sum_faults<'a>(commit: &'a Commit, left: &Left) -> Vec<FaultSum<'a>> {
    let mut sums: BTreeMap<(&str, &str, Fingerprint), FaultSum<'a>> = BTreeMap::new();
    for (index, batch) in commit.batches.iter().enumerate() {
        let text = |span: Span| text_of(batch, span);
        let mut hours = hours::of_batch(index, batch, left);
        for (fault, delta) in batch.faults.iter().enumerate() {
            let is_of_fault = |event: &usize| batch.events[*event].fault as usize == fault;
            let left_count = left.of_batch(index).filter(is_of_fault).count() as u64;
            let count = delta.count - left_count;
            if count == 0 {
                continue;
            }
            let (environment, service) = (text(delta.scope.environment), text(delta.scope.service));
            let example = text(batch.events[delta.example as usize].message);
            let hours = hours.take(fault, delta, count);
            sums.entry((environment, service, delta.fingerprint))
                .and_modify(|sum| {
                    sum.count += count;
                    sum.first_seen = sum.first_seen.min(delta.first_seen);
                    if delta.last_seen >= sum.last_seen {
                        sum.last_seen = delta.last_seen;
                        sum.latest = cut(example, EXAMPLE);
                    }
                    sum.severity = sum.severity.min(delta.severity);
                    hours::add(&mut sum.hours, &hours);
                })
                .or_insert_with(|| FaultSum {
                    environment,
                    service,
                    fingerprint: delta.fingerprint,
                    kind: delta.kind,
                    severity: delta.severity,
                    title: text(delta.title),
                    template: text(delta.template),
                    rule: text(delta.rule),
                    example: cut(example, EXAMPLE),
                    latest: cut(example, EXAMPLE),
                    count,
                    first_seen: delta.first_seen,
                    last_seen: delta.last_seen,
                    hours: hours.clone(),
                });
        }
    }
    sums.into_values().collect()
}

/// The tallies of a commit without what is not stored.
pub(crate) fn tallies_with(commit: &Commit, left: &Left) -> [Tally; Source::COUNT] {
    let mut tallies = commit.tallies();
    for ((batch, event), why) in left.events() {
        let batch = &commit.batches[batch];
        let event = &batch.events[event];
        let messages = u64::from(event.messages);
        let tally = &mut tallies[batch.record_of(event).source as usize];
        tally.stored -= messages;
        match why {
            Why::Refused(_) => tally.rejected += messages,
            Why::Known => tally.duplicate += messages,
        }
    }
    for (index, batch) in commit.batches.iter().enumerate() {
        for rejected in &batch.rejected {
            if left.contains_record((index, rejected.record as usize)) {
                let messages = u64::from(rejected.messages);
                let source = batch.records[rejected.record as usize].source;
                let tally = &mut tallies[source as usize];
                tally.rejected -= messages;
                tally.duplicate += messages;
            }
        }
    }
    tallies
}

/// One row of `rejected`.
pub(crate) struct RejectedRow<'a> {
    pub sequence: u64,
    pub ordinal: u32,
    pub received_at: Micros,
    pub source: Source,
    pub reason: &'a str,
    pub bytes: Cow<'a, [u8]>,
    pub length: u64,
    pub messages: u32,
}

/// What the parsers rejected and what the store refused.
pub(crate) fn rejected_rows<'a>(
    commit: &'a Commit,
    left: &'a Left,
) -> impl Iterator<Item = RejectedRow<'a>> {
    let parsed = commit.batches.iter().enumerate().flat_map(move |(index, batch)| {
        let rejected = batch.rejected.iter();
        let rejected =
            rejected.filter(move |one| !left.contains_record((index, one.record as usize)));
        rejected.map(move |rejected| {
            let record = &batch.records[rejected.record as usize];
            RejectedRow {
                sequence: record.sequence,
                ordinal: rejected.ordinal,
                received_at: record.received_at,
                source: record.source,
                reason: &rejected.reason,
                bytes: batch.text.get(rejected.bytes).into(),
                length: rejected.length,
                messages: rejected.messages,
            }
        })
    });
    let refused = left.events().filter_map(|(event, why)| match why {
        Why::Refused(reason) => Some((event, reason)),
        Why::Known => None,
    });
    let refused = refused.map(|((batch, event), reason)| {
        let batch = &commit.batches[batch];
        let event = &batch.events[event];
        let record = batch.record_of(event);
        let bytes = original(batch, event);
        let length = bytes.len() as u64;
        RejectedRow {
            sequence: record.sequence,
            ordinal: event.ordinal,
            received_at: record.received_at,
            source: record.source,
            reason,
            bytes: kept(bytes),
            length,
            messages: event.messages,
        }
    });
    parsed.chain(refused)
}

/// As much of a rejected message as is kept.
fn kept(bytes: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    let most = Rejected::MAX_BYTES as usize;
    match bytes {
        Cow::Borrowed(bytes) => bytes[..bytes.len().min(most)].into(),
        Cow::Owned(mut bytes) => {
            bytes.truncate(most);
            bytes.into()
        }
    }
}

pub(crate) fn text_of(batch: &Batch, span: Span) -> &str {
    std::str::from_utf8(batch.text.get(span)).expect("a batch keeps only valid text")
}
