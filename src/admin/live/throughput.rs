//! What goes through, now and in the last quarter of an hour.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use faultline_actors::{
    adapters::{clock, journal::Origin},
    domain::{event::Source, ledger::Ledger},
    pipeline::Pipeline,
};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

/// A sample is kept this often …
pub(super) const EVERY: Duration = Duration::from_secs(5);
/// … for a quarter of an hour.
const KEPT: usize = 180;

/// What went through since the sample before, and how it stands now.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Throughput)]
pub(in crate::admin) struct Sample {
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// In messages.
    received_per_second: f64,
    stored_per_second: f64,
    rejected_per_second: f64,
    /// Messages accepted and not stored yet.
    in_flight: u64,
    channels: Vec<Channel>,
    spool_bytes: u64,
    spool_limit_bytes: u64,
    /// How long the last commit took, in milliseconds.
    commit_ms: f64,
    /// How many jobs there are in each state.
    jobs: BTreeMap<&'static str, u64>,
}

/// How full a channel is.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(in crate::admin) struct Channel {
    #[serde(rename = "channel")]
    name: &'static str,
    depth: usize,
    capacity: usize,
}

/// What `GET /api/throughput` answers.
#[derive(Serialize, ToSchema)]
#[schema(as = ThroughputList)]
pub(in crate::admin) struct Listed {
    /// The oldest first, one every five seconds.
    samples: Vec<Sample>,
}

/// The samples kept.
#[derive(Default)]
pub(super) struct Samples(Mutex<VecDeque<Sample>>);

impl Samples {
    pub(super) fn add(&self, sample: Sample) {
        let mut samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if samples.len() == KEPT {
            samples.pop_front();
        }
        samples.push_back(sample);
    }

    pub(super) fn since(&self, since: Option<Timestamp>) -> Listed {
        let samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = |sample: &&Sample| since.is_none_or(|since| sample.at > since);
        Listed { samples: samples.iter().filter(wanted).cloned().collect() }
    }
}

/// Messages of one journal so far: received, stored, rejected, in flight.
#[derive(Clone, Copy, Debug, Default)]
struct Totals([u64; 4]);

impl Totals {
    /// `None` before it is known what the store has.
    fn of(ledger: &Ledger) -> Option<Self> {
        let mut totals = [0; 4];
        for line in Source::ALL.map(|source| ledger.line(source)) {
            let counts = [line.received, line.stored, line.rejected, line.in_flight];
            totals.iter_mut().zip(counts).for_each(|(total, count)| *total += count);
        }
        ledger.is_complete().then_some(Self(totals))
    }
}

/// What every journal that is read stands at; the spool is `None`.
pub(super) struct Count {
    at: Instant,
    journals: BTreeMap<Option<Origin>, Totals>,
}

impl Count {
    pub(super) fn now(pipeline: &Pipeline) -> Self {
        let mut journals = BTreeMap::new();
        journals.extend(Totals::of(&pipeline.ledger()).map(|totals| (None, totals)));
        if let Some((_, origins)) = pipeline.handoff() {
            for (origin, (_, journal)) in origins.look() {
                let ledger = journal.ledger();
                let ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner).clone();
                journals.extend(Totals::of(&ledger).map(|totals| (Some(origin), totals)));
            }
        }
        Self { at: Instant::now(), journals }
    }

    /// Messages a second since `before`, of journals that were read then too: received, stored,
    /// rejected.
    fn rates(&self, before: &Self) -> [f64; 3] {
        let seconds = self.at.duration_since(before.at).as_secs_f64().max(1e-3);
        let mut rates = [0.0; 3];
        for (journal, Totals(now)) in &self.journals {
            let Some(Totals(then)) = before.journals.get(journal) else { continue };
            for ((rate, now), then) in rates.iter_mut().zip(now).zip(then) {
                *rate += now.saturating_sub(*then) as f64 / seconds;
            }
        }
        rates
    }

    /// A sample of what happened since `before`.
    pub(super) fn sample(&self, before: &Self, pipeline: &Pipeline) -> Sample {
        let [received, stored, rejected] = self.rates(before);
        let spool = pipeline.spool().status();
        let channels = pipeline.depths().into_iter().map(|depth| Channel {
            name: depth.channel,
            depth: depth.depth,
            capacity: depth.capacity,
        });
        let jobs = pipeline.jira().counters.jobs();
        Sample {
            at: Timestamp::from_microsecond(clock::now()).unwrap_or_default(),
            received_per_second: received,
            stored_per_second: stored,
            rejected_per_second: rejected,
            in_flight: self.journals.values().map(|Totals([.., in_flight])| in_flight).sum(),
            channels: channels.collect(),
            spool_bytes: spool.used_bytes,
            spool_limit_bytes: spool.max_bytes,
            commit_ms: pipeline.counters().last_took().as_secs_f64() * 1e3,
            jobs: jobs.into_iter().map(|(state, count)| (state.name(), count)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(at: Instant, journals: &[(Option<Origin>, [u64; 4])]) -> Count {
        let journals = journals.iter().map(|(origin, totals)| (*origin, Totals(*totals)));
        Count { at, journals: journals.collect() }
    }

    #[test]
    fn rates_are_those_of_journals_that_were_there_before() {
        let (now, relay) = (Instant::now(), Some(Origin::now_v7()));
        let before = count(now, &[(None, [100, 50, 1, 49])]);
        let later = now + Duration::from_secs(2);
        // A relay's journal comes with all that was ever stored of it.
        let after = count(later, &[(None, [300, 150, 3, 147]), (relay, [9_000, 9_000, 0, 0])]);
        let [received, stored, rejected] = after.rates(&before);
        assert!((received - 100.0).abs() < 1e-9, "{received}");
        assert!((stored - 50.0).abs() < 1e-9, "{stored}");
        assert!((rejected - 1.0).abs() < 1e-9, "{rejected}");
    }
}
