//! A store that forgets: what the pipeline costs without one.

use std::{sync::Mutex, time::Duration};

use async_trait::async_trait;
use faultline_actors::{
    adapters::{
        journal::{Origin, stream::Name},
        store::{
            AuditEntry, Closest, Commit, Committed, FaultDetail, Placed, Position, Store,
            StoreError, StoredEvent, StoredFault, StoredRejected, TeachError,
            buckets::{BucketStore, Epoch, Kept, Part, Place, Step},
            faults::{
                self, ByHand, Facets, FaultFilter, FaultHour, FaultStore, Link, ListedFault,
                NewFault, Occurrences, Sorting, SteerError,
            },
            jobs::{
                Budget, Decided, Holder, Intent, Job, JobFilter, JobId, JobStore, Outcome,
                QueueCounts, SeenTicket, Steer, StoredFailure, StoredJob, StoredTicket, Undecided,
                Which, Why, Written,
            },
            live::{Change, LiveStore, Met},
            records::{
                AuditFilter, NotificationFilter, RecordStore, RejectedFilter, Replay,
                StoredNotification,
            },
            search::{self, EventFilter, EventId, EventSearch, Found},
            statistics::{By, DayCount, Days, JobDayCount},
            streams::{Lease, StoredOrigin, StreamStore},
        },
    },
    domain::{
        decision::Tracker,
        event::Source,
        fault::FaultId,
        fault_state,
        feed::Feed,
        ledger::Tally,
        lesson::{Lesson, Unteachable},
        object::Object,
        shape::Shape,
        storm::Storm,
        time::Micros,
    },
};

mod retention;
mod watched;

/// See the [module](self).
#[derive(Default)]
pub(crate) struct Nothing(Mutex<u64>);

#[async_trait]
impl Store for Nothing {
    fn name(&self) -> &'static str {
        "nothing"
    }
    async fn migrate(&self) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }
    async fn check_schema(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn position(&self, _: Origin) -> Result<Position, StoreError> {
        let sequence = *self.0.lock().unwrap();
        let none = [Tally::default(); Source::COUNT];
        Ok(Position { sequence, settled: none, own: none })
    }
    async fn commit(&self, commit: &Commit) -> Result<Committed, StoreError> {
        *self.0.lock().unwrap() = commit.position();
        Ok(Committed { tallies: commit.tallies(), faults: Vec::new() })
    }
    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }
    async fn save_snapshot(&self, _: Micros, _: &str) -> Result<(), StoreError> {
        Ok(())
    }
    async fn faults(&self, _: u32) -> Result<Vec<StoredFault>, StoreError> {
        Ok(Vec::new())
    }
    async fn fault(&self, _: FaultId) -> Result<Option<FaultDetail>, StoreError> {
        Ok(None)
    }
    async fn place(&self, _: &str, _: &str, _: &Shape) -> Result<Option<Placed>, StoreError> {
        Ok(None)
    }
    async fn closest(&self, _: &str, _: &str, _: &Shape) -> Result<Option<Closest>, StoreError> {
        Ok(None)
    }
    async fn teach(&self, lesson: &Lesson, _: &str) -> Result<FaultId, TeachError> {
        Err(Unteachable::NoFault(lesson.fault()).into())
    }
    async fn audit(&self, _: u32) -> Result<Vec<AuditEntry>, StoreError> {
        Ok(Vec::new())
    }
    async fn rejected(&self, _: u32) -> Result<Vec<StoredRejected>, StoreError> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl EventSearch for Nothing {
    async fn search(
        &self,
        _: &EventFilter,
        _: Option<search::Place>,
        _: u32,
        _: Duration,
    ) -> Result<Found, StoreError> {
        Ok(Found { events: Vec::new(), next: None, searched_until: None })
    }
    async fn event(&self, _: EventId) -> Result<Option<StoredEvent>, StoreError> {
        Ok(None)
    }
}

#[async_trait]
impl JobStore for Nothing {
    async fn undecided(&self, _: Which<'_>, _: u32) -> Result<Vec<Undecided>, StoreError> {
        Ok(Vec::new())
    }
    async fn occurrences(&self, _: FaultId, _: Micros, _: u64) -> Result<u64, StoreError> {
        Ok(0)
    }
    async fn decide(&self, _: &[Decided], _: Option<Budget>) -> Result<Written, StoreError> {
        Ok(Written::default())
    }
    async fn storms(&self, _: Duration) -> Result<Vec<Storm>, StoreError> {
        Ok(Vec::new())
    }
    async fn begin_storm(&self, _: &str, _: &str, _: &Intent) -> Result<(), StoreError> {
        Ok(())
    }
    async fn intend(&self, _: FaultId, _: &str, _: &Intent) -> Result<(), StoreError> {
        Ok(())
    }
    async fn end_storm(&self, _: FaultId) -> Result<(), StoreError> {
        Ok(())
    }
    async fn claim(&self, _: Holder, _: Duration, _: u32) -> Result<Vec<Job>, StoreError> {
        Ok(Vec::new())
    }
    async fn keep(&self, _: Holder, _: Duration) -> Result<u32, StoreError> {
        Ok(1)
    }
    async fn settle(&self, _: JobId, _: Holder, _: &Outcome) -> Result<bool, StoreError> {
        Ok(false)
    }
    async fn tickets_seen(&self, _: &[SeenTicket]) -> Result<u64, StoreError> {
        Ok(0)
    }
    async fn ticket_gone(&self, _: &str) -> Result<(), StoreError> {
        Ok(())
    }
    async fn jobs(&self, _: &JobFilter, _: u32) -> Result<Vec<StoredJob>, StoreError> {
        Ok(Vec::new())
    }
    async fn job_window(&self, _: &JobFilter, _: u32) -> Result<Option<JobId>, StoreError> {
        Ok(None)
    }
    async fn job_queues(&self, _: &JobFilter) -> Result<QueueCounts, StoreError> {
        Ok(Vec::new())
    }
    async fn job_failures(&self, _: JobId) -> Result<Vec<StoredFailure>, StoreError> {
        Ok(Vec::new())
    }
    async fn steer(&self, _: &JobFilter, _: &Steer, _: &str) -> Result<Vec<JobId>, StoreError> {
        Ok(Vec::new())
    }
    async fn tickets(&self, _: FaultId) -> Result<Vec<StoredTicket>, StoreError> {
        Ok(Vec::new())
    }
    async fn why(&self, _: FaultId) -> Result<Option<Why>, StoreError> {
        Ok(None)
    }
    async fn history(&self, _: JobId) -> Result<Vec<AuditEntry>, StoreError> {
        Ok(Vec::new())
    }
    async fn is_paused(&self) -> Result<bool, StoreError> {
        Ok(false)
    }
    async fn pause(&self, _: bool, _: &str) -> Result<(), StoreError> {
        Ok(())
    }
}

#[async_trait]
impl RecordStore for Nothing {
    async fn list_rejected(
        &self,
        _: &RejectedFilter,
        _: u32,
    ) -> Result<Vec<StoredRejected>, StoreError> {
        Ok(Vec::new())
    }
    async fn count_replayable(&self, _: &RejectedFilter) -> Result<u64, StoreError> {
        Ok(0)
    }
    async fn one_rejected(&self, _: i64) -> Result<Option<StoredRejected>, StoreError> {
        Ok(None)
    }
    async fn claim_replay(&self, _: i64, _: Duration) -> Result<Replay, StoreError> {
        Ok(Replay::Missing)
    }
    async fn release_replay(&self, _: i64) -> Result<(), StoreError> {
        Ok(())
    }
    async fn replayed(&self, _: i64, _: &str) -> Result<bool, StoreError> {
        Ok(false)
    }
    async fn list_audit(&self, _: &AuditFilter, _: u32) -> Result<Vec<AuditEntry>, StoreError> {
        Ok(Vec::new())
    }
    async fn notifications(
        &self,
        _: &NotificationFilter,
        _: u32,
    ) -> Result<Vec<StoredNotification>, StoreError> {
        Ok(Vec::new())
    }
    async fn unread(&self) -> Result<u64, StoreError> {
        Ok(0)
    }
    async fn read(&self, _: Option<&[i64]>, _: &str) -> Result<u64, StoreError> {
        Ok(0)
    }
    async fn statistics(&self, _: Days, _: By) -> Result<Vec<DayCount>, StoreError> {
        Ok(Vec::new())
    }
    async fn job_statistics(&self, _: Days) -> Result<Vec<JobDayCount>, StoreError> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl LiveStore for Nothing {
    async fn changes(&self, _: &Feed, _: u32) -> Result<Vec<Change>, StoreError> {
        Ok(Vec::new())
    }
    async fn tell_met(&self, _: Holder, _: &[FaultId]) -> Result<(), StoreError> {
        Ok(())
    }
    async fn met(&self, _: &Feed, _: u32) -> Result<Vec<Met>, StoreError> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl StreamStore for Nothing {
    async fn lease_stream(&self, _: &Name, _: Holder, _: Duration) -> Result<Lease, StoreError> {
        Ok(Lease::Held)
    }
    async fn release_stream(&self, _: &Name, _: Holder) -> Result<(), StoreError> {
        Ok(())
    }
    async fn origins(&self) -> Result<Vec<StoredOrigin>, StoreError> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl BucketStore for Nothing {
    async fn lease_watch(
        &self,
        _: &str,
        _: Holder,
        _: Duration,
    ) -> Result<Option<Epoch>, StoreError> {
        Ok(Some(1))
    }
    async fn release_watch(&self, _: &str, _: Holder) -> Result<(), StoreError> {
        Ok(())
    }
    async fn bucket_place(&self, _: &Part<'_>) -> Result<Place, StoreError> {
        Ok(Place { id: 1, passes: 0, cursor: None })
    }
    async fn known_objects(
        &self,
        _: i32,
        _: Option<&str>,
        _: u32,
    ) -> Result<Vec<Object>, StoreError> {
        Ok(Vec::new())
    }
    async fn keep_step(&self, _: &str, _: Epoch, _: &Step<'_>) -> Result<Kept, StoreError> {
        Ok(Kept::Yes)
    }
    async fn forget_announced(&self, _: Duration) -> Result<(), StoreError> {
        Ok(())
    }
}

#[async_trait]
impl FaultStore for Nothing {
    async fn list_faults(
        &self,
        _: &FaultFilter,
        _: Sorting,
        _: Option<faults::Place>,
        _: u32,
    ) -> Result<Vec<ListedFault>, StoreError> {
        Ok(Vec::new())
    }
    async fn fault_hours(&self, _: &[FaultId], _: Micros) -> Result<Vec<FaultHour>, StoreError> {
        Ok(Vec::new())
    }
    async fn fault_occurrences(
        &self,
        _: FaultId,
        _: Micros,
        _: Micros,
    ) -> Result<Vec<Occurrences>, StoreError> {
        Ok(Vec::new())
    }
    async fn facets(&self) -> Result<Facets, StoreError> {
        Ok(Facets::default())
    }
    async fn steer_fault(
        &self,
        fault: FaultId,
        _: fault_state::Step,
        _: &str,
        _: &str,
    ) -> Result<(), SteerError> {
        Err(SteerError::NoFault(fault))
    }
    async fn make_ticket(
        &self,
        fault: FaultId,
        _: &ByHand,
        _: &Tracker,
    ) -> Result<JobId, SteerError> {
        Err(SteerError::NoFault(fault))
    }
    async fn make_fault(&self, _: &NewFault, _: &ByHand) -> Result<(FaultId, JobId), StoreError> {
        Ok((1, 1))
    }
    async fn link_ticket(&self, fault: FaultId, _: &Link, _: &Tracker) -> Result<(), SteerError> {
        Err(SteerError::NoFault(fault))
    }
}
