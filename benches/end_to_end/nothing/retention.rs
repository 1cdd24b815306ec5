//! Nothing is kept, so that nothing leaves.

use std::{collections::BTreeMap, ops::Range, time::Duration};

use async_trait::async_trait;
use faultline_actors::{
    adapters::{
        archive::Manifest,
        store::{
            StoreError,
            jobs::Holder,
            retention::{
                Counted, CountedJobs, EventDay, GoneDay, Leave, Leaving, Pruned, Read, Recount,
                RestoreError, RestoreStep, RestoredDay, RetentionStore, StoredRun, TableSize,
            },
            statistics::Days,
        },
    },
    domain::{retention::Aged, time::Micros},
};
use jiff::civil::Date;
use uuid::Uuid;

use super::Nothing;

#[async_trait]
impl RetentionStore for Nothing {
    async fn lease_retention(&self, _: Holder, _: Duration) -> Result<bool, StoreError> {
        Ok(false)
    }
    async fn release_retention(&self, _: Holder) -> Result<(), StoreError> {
        Ok(())
    }
    async fn event_days(&self) -> Result<Vec<EventDay>, StoreError> {
        Ok(Vec::new())
    }
    async fn gone_days(&self, _: u32) -> Result<Vec<GoneDay>, StoreError> {
        Ok(Vec::new())
    }
    async fn gone_between(&self, _: Days) -> Result<Vec<GoneDay>, StoreError> {
        Ok(Vec::new())
    }
    async fn restored_days(&self) -> Result<Vec<RestoredDay>, StoreError> {
        Ok(Vec::new())
    }
    async fn leaving(&self) -> Result<Vec<Leaving>, StoreError> {
        Ok(Vec::new())
    }
    async fn leave_day(&self, _: Date, _: bool, _: Duration) -> Result<Leave, StoreError> {
        Ok(Leave::Nothing)
    }
    async fn steps(&self, _: &Leaving) -> Result<Vec<Range<i64>>, StoreError> {
        Ok(Vec::new())
    }
    async fn leaving_events(&self, _: &Leaving, _: &Range<i64>) -> Result<Read, StoreError> {
        Ok(Read { events: Vec::new(), next: i64::MAX })
    }
    async fn count_leaving(&self, _: &Leaving, _: &Range<i64>) -> Result<u64, StoreError> {
        Ok(0)
    }
    async fn origins_of(&self, _: &[i32]) -> Result<BTreeMap<i32, Uuid>, StoreError> {
        Ok(BTreeMap::new())
    }
    async fn archived(&self, _: &Leaving, _: Option<&Manifest>, _: u64) -> Result<(), StoreError> {
        Ok(())
    }
    async fn delete_step(&self, _: &Leaving, _: &Range<i64>) -> Result<u64, StoreError> {
        Ok(0)
    }
    async fn drop_day(&self, _: &Leaving, _: u64) -> Result<(), StoreError> {
        Ok(())
    }
    async fn prune(&self, _: Aged, _: Micros, _: i64, _: u32) -> Result<Pruned, StoreError> {
        Ok(Pruned::default())
    }
    async fn tidy(&self) -> Result<bool, StoreError> {
        Ok(false)
    }
    async fn sizes(&self) -> Result<Vec<TableSize>, StoreError> {
        Ok(Vec::new())
    }
    async fn keep_run(&self, _: Micros, _: Micros, _: &str) -> Result<(), StoreError> {
        Ok(())
    }
    async fn retention_runs(&self, _: u32) -> Result<Vec<StoredRun>, StoreError> {
        Ok(Vec::new())
    }
    async fn begin_restore(
        &self,
        _: &Manifest,
        _: Micros,
    ) -> Result<(u64, BTreeMap<Uuid, i32>), RestoreError> {
        Err(RestoreError::Refused("nothing is kept".to_owned()))
    }
    async fn restore(&self, _: &RestoreStep) -> Result<u64, RestoreError> {
        Err(RestoreError::Refused("nothing is kept".to_owned()))
    }
    async fn recount(&self, _: Days) -> Result<Recount<Counted>, StoreError> {
        Ok(Recount { kept: Vec::new(), found: Vec::new() })
    }
    async fn recount_jobs(&self, _: Days) -> Result<Recount<CountedJobs>, StoreError> {
        Ok(Recount { kept: Vec::new(), found: Vec::new() })
    }
    async fn correct(&self, _: &[Counted]) -> Result<(), StoreError> {
        Ok(())
    }
    async fn correct_jobs(&self, _: &[CountedJobs]) -> Result<(), StoreError> {
        Ok(())
    }
}
