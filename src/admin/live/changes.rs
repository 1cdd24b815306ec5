//! Changes of faults and jobs, for all clients together, by a look at the store once a second.
//!
//! What changed its state has a row in the audit trail. What was only met again is known to the hub
//! that met it, which tells the others. Of everything the latest state is shown, once a second at
//! most.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use faultline_actors::{
    adapters::{
        clock,
        store::{
            StoreError,
            faults::{Direction, FaultFilter, SortBy, Sorting},
            jobs::{Holder, JobFilter, JobId, StoredJob},
        },
    },
    domain::{
        event::Severity,
        fault::FaultId,
        feed::{Feed, Seen},
        shape::cut,
    },
};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{
    Gap, Unread,
    filter::{About, Topic},
    ring::Draft,
};
use crate::admin::{
    Admin,
    faults::shown::{Fault, shown},
};

const EVERY: Duration = Duration::from_secs(1);
/// It is looked for so long after the last client left: it may come back and go on.
const GRACE: Duration = Duration::from_mins(1);
/// Rows looked at a second; of more, the newest.
const ROWS: u32 = 1_000;
/// Faults that a hub tells others of in a second.
const TOLD: usize = 1_000;
/// Changes that wait to be shown. Beyond them clients are told to load anew.
const WAITING: usize = 2_000;
/// How often they are told so at most.
const GAP_EVERY: Duration = Duration::from_secs(10);
/// Messages of faults, and as many of jobs, that go out to all clients in a second …
const DELIVERED: usize = 5_000;
/// … as long as there are these, and never more than those.
const LEAST: usize = 10;
const MOST: usize = 200;
/// Bytes of a fault's texts, and of a job's error, that are shown.
const SHOWN: usize = 300;

/// See the [module](self).
pub(super) struct Changes {
    admin: Arc<Admin>,
    /// This hub, to the others.
    hub: Holder,
    /// The audit trail, and what other hubs have met; `None` while nobody listens.
    feeds: Option<(Feed, Feed)>,
    listened_at: Instant,
    /// What is to be shown.
    faults: BTreeSet<FaultId>,
    jobs: BTreeSet<JobId>,
    /// What was only met again: shown where there is room.
    met: BTreeSet<FaultId>,
    /// The last of these that was shown: others come first.
    met_after: FaultId,
    owes_gap: bool,
    gap_at: Option<Instant>,
    unread: Option<u64>,
}

impl Changes {
    pub(super) fn new(admin: Arc<Admin>) -> Self {
        Self {
            admin,
            hub: Holder::new_v4(),
            feeds: None,
            listened_at: Instant::now(),
            faults: BTreeSet::new(),
            jobs: BTreeSet::new(),
            met: BTreeSet::new(),
            met_after: 0,
            owes_gap: false,
            gap_at: None,
            unread: None,
        }
    }

    /// Looks until it is dropped.
    pub(super) async fn watch(mut self) {
        let admin = self.admin.clone();
        let mut second = interval(EVERY);
        second.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = second.tick() => {}
                // The first one waits for this.
                () = admin.live.clients.came.notified(), if self.feeds.is_none() => {}
            }
            if let Err(error) = self.turn().await {
                tracing::debug!(%error, "cannot look for changes to show");
            }
        }
    }

    async fn turn(&mut self) -> Result<(), StoreError> {
        let is_wanted = self.is_wanted();
        let has_others = self.admin.pipeline.jira().counters.hubs() > 1;
        let here = &self.admin.pipeline.counters().met;
        here.want(is_wanted || has_others);
        let met = here.take();
        let told: Vec<FaultId> = met.iter().copied().take(TOLD).collect();
        if is_wanted {
            self.met.extend(met);
        } else {
            self.stop();
        }
        if has_others && !told.is_empty() {
            self.admin.store.tell_met(self.hub, &told).await?;
        }
        if !is_wanted {
            return Ok(());
        }
        if self.feeds.is_none() {
            return self.begin().await;
        }
        self.look(has_others).await?;
        let room = room(self.admin.live.clients.count());
        self.show_faults(room).await?;
        self.show_jobs(room).await?;
        self.show_rest().await
    }

    fn is_wanted(&mut self) -> bool {
        let now = Instant::now();
        if self.admin.live.clients.count() > 0 {
            self.listened_at = now;
            return true;
        }
        self.feeds.is_some() && now - self.listened_at < GRACE
    }

    /// From here on nothing escapes.
    async fn begin(&mut self) -> Result<(), StoreError> {
        let (store, live) = (&self.admin.store, &self.admin.live);
        let start = Feed::default();
        let changes: Vec<i64> =
            store.changes(&start, ROWS).await?.iter().map(|change| change.id).collect();
        let met: Vec<i64> = store.met(&start, ROWS).await?.iter().map(|met| met.id).collect();
        let now = clock::now();
        self.feeds = Some((Feed::behind(&changes, now), Feed::behind(&met, now)));
        // Somebody was let in before this, and may have missed something.
        self.owes_gap |= live.is_late.swap(false, Ordering::Relaxed);
        live.is_on.send_replace(true);
        Ok(())
    }

    fn stop(&mut self) {
        if self.feeds.take().is_some() {
            self.admin.live.is_on.send_replace(false);
            self.admin.live.ring.break_off();
            *self = Self { hub: self.hub, ..Self::new(self.admin.clone()) };
        }
    }

    /// Finds what changed.
    async fn look(&mut self, has_others: bool) -> Result<(), StoreError> {
        let Some((trail, told)) = &mut self.feeds else { return Ok(()) };
        let store = &self.admin.store;
        let seen = |trail: &Feed, new: &[i64]| {
            let count = new.iter().filter(|id| **id > trail.last()).count();
            if count < ROWS as usize { Seen::All } else { Seen::Newest }
        };
        let changes = store.changes(trail, ROWS).await?;
        let ids: Vec<i64> = changes.iter().map(|change| change.id).collect();
        let of_trail = seen(trail, &ids);
        trail.take(&ids, of_trail, clock::now());
        self.owes_gap |= of_trail == Seen::Newest;
        for change in changes {
            self.faults.extend(change.faults);
            self.jobs.extend(change.job);
        }
        if has_others {
            let met = store.met(told, ROWS).await?;
            let ids: Vec<i64> = met.iter().map(|met| met.id).collect();
            told.take(&ids, seen(told, &ids), clock::now());
            let others = met.into_iter().filter(|met| met.hub != self.hub);
            self.met.extend(others.flat_map(|met| met.faults));
        }
        if self.faults.len() > WAITING || self.jobs.len() > WAITING {
            self.owes_gap = true;
            self.faults.clear();
            self.jobs.clear();
        }
        while self.met.len() > 5 * WAITING {
            self.met.pop_first();
        }
        Ok(())
    }

    async fn show_faults(&mut self, room: usize) -> Result<(), StoreError> {
        let faults = self.take_faults(room);
        if faults.is_empty() {
            return Ok(());
        }
        match self.read_faults(&faults).await {
            Ok(found) => {
                self.admin.live.ring.publish(found.into_iter().map(of_fault).collect());
                Ok(())
            }
            Err(error) => {
                self.faults.extend(faults);
                Err(error)
            }
        }
    }

    async fn read_faults(&self, faults: &[FaultId]) -> Result<Vec<Fault>, StoreError> {
        let filter = FaultFilter { ids: Some(faults.to_vec()), ..FaultFilter::default() };
        let sorting = Sorting { by: SortBy::Id, direction: Direction::Ascending };
        let limit = u32::try_from(faults.len()).unwrap_or(u32::MAX);
        let listed = self.admin.store.list_faults(&filter, sorting, None, limit).await?;
        shown(&self.admin, listed).await
    }

    async fn show_jobs(&mut self, room: usize) -> Result<(), StoreError> {
        let jobs: Vec<JobId> = self.jobs.iter().copied().take(room).collect();
        if jobs.is_empty() {
            return Ok(());
        }
        let filter = JobFilter { ids: Some(jobs.clone()), ..JobFilter::default() };
        let limit = u32::try_from(jobs.len()).unwrap_or(u32::MAX);
        let mut found = self.admin.store.jobs(&filter, limit).await?;
        found.sort_unstable_by_key(|job| job.id);
        self.admin.live.ring.publish(found.into_iter().map(of_job).collect());
        self.jobs.retain(|job| !jobs.contains(job));
        Ok(())
    }

    async fn show_rest(&mut self) -> Result<(), StoreError> {
        let mut drafts = Vec::new();
        let unread = self.admin.store.unread().await?;
        if self.unread.replace(unread) != Some(unread) {
            let topic = Some(Topic::Notifications);
            drafts.push(Draft::new("notification", topic, &Unread { unread }));
        }
        let now = Instant::now();
        if self.owes_gap && self.gap_at.is_none_or(|at| now - at >= GAP_EVERY) {
            (self.owes_gap, self.gap_at) = (false, Some(now));
            drafts.push(Draft::new("gap", None, &Gap {}));
        }
        self.admin.live.ring.publish(drafts);
        Ok(())
    }

    /// The next faults to be shown: those that changed, then those met again, each in its turn.
    fn take_faults(&mut self, room: usize) -> Vec<FaultId> {
        let mut faults: Vec<FaultId> = self.faults.iter().copied().take(room).collect();
        for fault in &faults {
            self.faults.remove(fault);
            self.met.remove(fault);
        }
        let room = room - faults.len();
        let (first, rest) =
            (self.met.range(self.met_after + 1..), self.met.range(..=self.met_after));
        let met: Vec<FaultId> = first.chain(rest).copied().take(room).collect();
        for fault in &met {
            self.met.remove(fault);
            self.met_after = *fault;
        }
        faults.extend(met);
        faults
    }
}

/// How many messages of a kind go out in a second.
fn room(clients: usize) -> usize {
    (DELIVERED / clients.max(1)).clamp(LEAST, MOST)
}

fn of_fault(mut fault: Fault) -> Draft {
    let about = About {
        environment: fault.environment.clone(),
        service: fault.service.clone(),
        severity: Severity::from_name(&fault.severity),
        text: format!("{}\n{}", fault.title, cut(&fault.latest, SHOWN)),
    };
    for text in [&mut fault.example, &mut fault.latest] {
        text.truncate(text.floor_char_boundary(SHOWN));
    }
    Draft { about: Some(about), ..Draft::new("fault", Some(Topic::Faults), &fault) }
}

fn of_job(mut job: StoredJob) -> Draft {
    // Both may be large; whoever wants them asks for the job.
    (job.request, job.response) = (Box::default(), None);
    job.error.truncate(job.error.floor_char_boundary(SHOWN));
    Draft::new("job", Some(Topic::Jobs), &job)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_clients_share_what_goes_out() {
        assert_eq!([0, 1, 25, 100, 500, 600].map(room), [200, 200, 200, 50, 10, 10]);
    }
}
