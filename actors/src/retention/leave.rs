//! How days of events leave: one after another, the oldest first, each into its archive where one is
//! wanted.

use std::{collections::BTreeMap, ops::Range, time::Duration};

use jiff::civil::Date;

use super::pass::{Failure, Pass, dropped};
use crate::{
    adapters::{
        archive::{Manifest, Writer},
        clock,
        store::{
            retention::{Leave, Leaving, Read, RestoredDay, Stage},
            statistics::Days,
        },
    },
    domain::{
        retention::{days_to_drop, seen_now},
        time::Micros,
    },
};

/// How long all writers may be held up at most, try by try.
const PATIENCE: [Duration; 6] = [
    Duration::from_millis(20),
    Duration::from_millis(30),
    Duration::from_millis(50),
    Duration::from_millis(80),
    Duration::from_millis(120),
    Duration::from_millis(200),
];
/// In between they catch up.
const REST: Duration = Duration::from_millis(500);

impl Pass {
    /// The present, as far as the store's events bear it out.
    pub(super) async fn seen_now(&self) -> Result<Micros, Failure> {
        let days = self.work.store.event_days().await?;
        let with_events: Vec<Date> =
            days.iter().filter(|it| it.events > 0).map(|it| it.day).collect();
        Ok(seen_now(&with_events, clock::now()))
    }

    /// Days that are under way first, then those that are old.
    pub(super) async fn leave_days(&mut self, now: Micros) -> Result<(), Failure> {
        for leaving in self.work.store.leaving().await? {
            self.go_on(leaving).await?;
        }
        let store = self.work.store.clone();
        let days: Vec<Date> = store.event_days().await?.iter().map(|it| it.day).collect();
        let mut restored: BTreeMap<Date, Micros> = BTreeMap::new();
        for RestoredDay { day, until, .. } in store.restored_days().await? {
            let latest = restored.entry(day).or_insert(until);
            *latest = until.max(*latest);
        }
        for day in days_to_drop(&days, &restored, self.settings.events, now) {
            if let Some(leaving) = self.take_out(day).await? {
                self.go_on(leaving).await?;
            }
        }
        Ok(())
    }

    /// Takes a day out, when nobody is held up by that.
    async fn take_out(&mut self, day: Date) -> Result<Option<Leaving>, Failure> {
        for patience in PATIENCE {
            let is_archived = self.settings.is_archived();
            match self.work.store.leave_day(day, is_archived, patience).await? {
                Leave::Leaving(leaving) => return Ok(Some(leaving)),
                Leave::Nothing => return Ok(None),
                Leave::Unfinished => {
                    self.report.problems.push(format!(
                        "{day}: an archive of it was restored in part, and other events are there: \
                         restore it as a whole, so that the day can leave"
                    ));
                    return Ok(None);
                }
                Leave::Busy => tokio::time::sleep(REST).await,
            }
            self.pace().await?;
        }
        self.report.problems.push(format!("{day}: its events are in use all the time"));
        Ok(None)
    }

    async fn go_on(&mut self, leaving: Leaving) -> Result<(), Failure> {
        let store = self.work.store.clone();
        let steps = store.steps(&leaving).await?;
        let mut events = self.count(&leaving, &steps).await?;
        if leaving.stage == Stage::Leaving {
            let manifest = self.keep(&leaving, &steps, events).await?;
            store.archived(&leaving, manifest.as_ref(), events).await?;
        } else {
            // Some may be gone already.
            events = events.max(self.events_when_archived(&leaving).await?);
        }
        for step in &steps {
            if store.delete_step(&leaving, step).await? > 0 {
                self.pace().await?;
            }
        }
        store.drop_day(&leaving, events).await?;
        dropped("events", events);
        self.report.events += events;
        self.report.days.push(leaving.day.to_string());
        Ok(())
    }

    /// Archives what is to be archived: not what came out of an archive.
    async fn keep(
        &mut self,
        leaving: &Leaving,
        steps: &[Range<i64>],
        events: u64,
    ) -> Result<Option<Manifest>, Failure> {
        let Some(name) = leaving.file.as_ref().filter(|_| events != leaving.restored) else {
            return Ok(None);
        };
        let manifest = self.archive(leaving, name, steps).await?;
        let Manifest { file, events: archived, bytes, .. } = &manifest;
        if *archived != events {
            let problem = format!("{file}: {archived} events are in it, the store has {events}");
            return Err(std::io::Error::other(problem).into());
        }
        self.report.archived_events += archived;
        self.report.archived_bytes += bytes;
        metrics::counter!("faultline_retention_archived_events_total").increment(*archived);
        metrics::counter!("faultline_retention_archived_bytes_total").increment(*bytes);
        Ok(Some(manifest))
    }

    async fn events_when_archived(&self, leaving: &Leaving) -> Result<u64, Failure> {
        let days = Days { since: leaving.day, until: leaving.day };
        let gone = self.work.store.gone_between(days).await?;
        let id = leaving.id.to_string();
        Ok(gone.iter().find(|gone| gone.id == id).map_or(0, |gone| gone.events.unsigned_abs()))
    }

    /// By another way than the events are read.
    async fn count(&mut self, leaving: &Leaving, steps: &[Range<i64>]) -> Result<u64, Failure> {
        let mut events = 0;
        for step in steps {
            events += self.work.store.count_leaving(leaving, step).await?;
            self.pace().await?;
        }
        Ok(events)
    }

    async fn archive(
        &mut self,
        leaving: &Leaving,
        name: &str,
        steps: &[Range<i64>],
    ) -> Result<Manifest, Failure> {
        let (directory, name) = (self.settings.archive.clone(), name.to_owned());
        if directory.as_os_str().is_empty() {
            // It was wanted when the day was taken out.
            let problem = format!("{name}: retention.archive names no directory any more");
            return Err(std::io::Error::other(problem).into());
        }
        let Leaving { id, day, part, .. } = *leaving;
        let create = move || Writer::create(&directory, &name, id, day, part);
        let mut writer = self.blocking(create).await?;
        for step in steps {
            let mut rest = step.clone();
            while !rest.is_empty() {
                let Read { events, next } = self.work.store.leaving_events(leaving, &rest).await?;
                rest.start = next;
                writer = self
                    .blocking(move || {
                        writer.push(&events)?;
                        Ok(writer)
                    })
                    .await?;
                self.pace().await?;
            }
        }
        let finished = self.blocking(move || writer.finish()).await?;
        let origins = self.work.store.origins_of(&finished.origins()).await?;
        self.pace().await?;
        // Whoever was relieved puts nothing in the place of what the other one made.
        self.prolong().await?;
        self.blocking(move || finished.publish(&origins)).await
    }
}
