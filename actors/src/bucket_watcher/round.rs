//! A round: looks which buckets there are, and passes over those parts that are due.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    Watch,
    pass::{Broken, Pass, Passed},
};
use crate::adapters::{
    buckets::{Bucket, Failure},
    clock,
    store::buckets::Epoch,
};

/// Identities of stored changes are kept for so long: a hub that comes back later with changes in
/// its spool that another hub has announced again would have them stored twice.
const KEEP_IDENTITIES: Duration = Duration::from_hours(720);
/// What is wrong with so many parts of buckets is said in health.
const SAID: usize = 10;

/// Bucket and prefix.
type Part = (String, String);

/// When each part of a bucket is due.
#[derive(Debug, Default)]
pub(super) struct Schedules(BTreeMap<Part, Schedule>);

#[derive(Clone, Copy, Debug)]
struct Schedule {
    due: Instant,
    interval: Duration,
}

/// How a round ended.
pub(super) enum Ended {
    Done {
        schedules: Schedules,
        next: Instant,
    },
    /// Another hub watches.
    Lost,
}

/// The interval after a pass: as set when something happened, else twice as long up to the cap.
fn next_interval(last: Duration, has_changes: bool, least: Duration, cap: Duration) -> Duration {
    if has_changes { least } else { last.saturating_mul(2).clamp(least, cap) }
}

/// Runs one.
pub(super) async fn run(watch: Arc<Watch>, epoch: Epoch, mut schedules: Schedules) -> Ended {
    let started = Instant::now();
    let buckets = match watch.account.buckets().await {
        Ok(buckets) => buckets,
        Err(failure) => {
            note_failure(&watch, "account", &failure.to_string());
            return Ended::Done { schedules, next: started + watch.settings.interval };
        }
    };
    forget(&watch, "account");
    let parts = parts(&watch, &buckets);
    schedules.0.retain(|part, _| parts.iter().any(|(_, known)| known == part));
    watch.status.note(|state| {
        state.places = parts.len();
        state.failing.retain(|name, _| parts.iter().any(|(_, part)| *name == shown(part)));
    });
    let mut is_well = true;
    for (bucket, part) in &parts {
        let interval = watch.settings.interval;
        let new = Schedule { due: started, interval };
        let schedule = schedules.0.entry(part.clone()).or_insert(new);
        if schedule.due > Instant::now() {
            continue;
        }
        match pass(&watch, epoch, bucket, part, schedule).await {
            Ok(()) => {}
            Err(Broken::Lost) => return Ended::Lost,
            Err(broken) => {
                is_well = false;
                schedule.due = Instant::now() + interval;
                note_failure(&watch, &shown(part), &broken.to_string());
            }
        }
    }
    if is_well {
        let now = clock::now();
        watch.status.note(|state| state.last_success = Some(now));
        metrics::gauge!("faultline_bucket_last_success_timestamp_seconds").set(now as f64 / 1e6);
    }
    // An account without buckets is asked again, too.
    let idle = started + watch.settings.interval;
    let next = schedules.0.values().map(|schedule| schedule.due).min().unwrap_or(idle);
    Ended::Done { schedules, next }
}

async fn pass(
    watch: &Watch,
    epoch: Epoch,
    bucket: &Bucket,
    part: &Part,
    schedule: &mut Schedule,
) -> Result<(), Broken> {
    let started = Instant::now();
    let Passed { changes, is_announced } =
        Pass::new(watch, epoch, bucket, &part.1).await?.run().await?;
    let took = started.elapsed();
    metrics::histogram!("faultline_bucket_pass_seconds").record(took);
    forget(watch, &shown(part));
    let settings = &watch.settings;
    schedule.interval =
        next_interval(schedule.interval, changes > 0, settings.interval, settings.interval_cap);
    // A bucket that takes long is listed half of the time at most.
    schedule.due = started + schedule.interval.max(took * 2);
    tracing::debug!(bucket = part.0, prefix = part.1, changes, ?took, "passed");
    if is_announced {
        watch.store.forget_announced(KEEP_IDENTITIES).await?;
    }
    Ok(())
}

/// What of the buckets is watched.
fn parts<'b>(watch: &Watch, buckets: &'b [Bucket]) -> Vec<(&'b Bucket, Part)> {
    let selections = watch.settings.selections();
    let mut parts = Vec::new();
    for bucket in buckets {
        for selection in selections.iter().filter(|selection| selection.selects(&bucket.name)) {
            parts.push((bucket, (bucket.name.clone(), selection.prefix.clone())));
        }
    }
    parts.sort_by(|(_, one), (_, other)| one.cmp(other));
    parts.dedup_by(|(_, one), (_, other)| one == other);
    parts
}

fn shown((bucket, prefix): &Part) -> String {
    format!("{bucket}/{prefix}")
}

fn note_failure(watch: &Watch, what: &str, problem: &str) {
    metrics::counter!("faultline_bucket_failures_total").increment(1);
    watch.status.note(|state| {
        let is_new = state.failing.get(what).map(String::as_str) != Some(problem);
        if is_new {
            tracing::warn!(what, problem, "cannot be watched; tried again");
        }
        if state.failing.contains_key(what) || state.failing.len() < SAID {
            state.failing.insert(what.to_owned(), problem.to_owned());
        }
    });
}

fn forget(watch: &Watch, what: &str) {
    watch.status.note(|state| {
        if state.failing.remove(what).is_some() {
            tracing::info!(what, "is watched again");
        }
    });
}

impl From<Failure> for Broken {
    fn from(failure: Failure) -> Self {
        Self::Account(failure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiet_parts_are_looked_at_less_often() {
        let seconds = Duration::from_secs;
        let next = |last, has_changes| {
            next_interval(seconds(last), has_changes, seconds(30), seconds(120)).as_secs()
        };
        assert_eq!([next(30, false), next(60, false), next(120, false)], [60, 120, 120]);
        assert_eq!(next(120, true), 30);
        assert_eq!(next(200, false), 120);
    }
}
