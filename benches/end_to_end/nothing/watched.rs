//! Health and alerts: there are none.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use faultline_actors::{
    adapters::store::{
        StoreError,
        alerts::{AlertFilter, AlertStore, Message, StoredAlert, Tried, Written},
        health::{ChangeFilter, ErrorFilter, HealthStore, StoredChange, StoredError},
        jobs::Holder,
    },
    domain::{
        alert::decide::Standing,
        health::{Change, Known, measured::Storm},
        own_log::Group,
        time::Micros,
    },
};
use uuid::Uuid;

use super::Nothing;

#[async_trait]
impl HealthStore for Nothing {
    async fn add_changes(&self, _: &str, _: &[Change]) -> Result<(), StoreError> {
        Ok(())
    }
    async fn health_changes(
        &self,
        _: &ChangeFilter,
        _: u32,
    ) -> Result<Vec<StoredChange>, StoreError> {
        Ok(Vec::new())
    }
    async fn last_health(&self, _: &str) -> Result<BTreeMap<String, Known>, StoreError> {
        Ok(BTreeMap::new())
    }
    async fn open_storms(&self, _: u32) -> Result<Vec<Storm>, StoreError> {
        Ok(Vec::new())
    }
    async fn add_errors(&self, _: &str, _: &[Group]) -> Result<(), StoreError> {
        Ok(())
    }
    async fn errors(&self, _: &ErrorFilter, _: u32) -> Result<Vec<StoredError>, StoreError> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl AlertStore for Nothing {
    async fn alerts_standing(&self, _: Micros) -> Result<Standing, StoreError> {
        Ok(Standing::default())
    }
    async fn write_alert(&self, _: &Written) -> Result<bool, StoreError> {
        Ok(false)
    }
    async fn alerts_seen(&self, _: &[(i64, Option<String>)], _: Micros) -> Result<(), StoreError> {
        Ok(())
    }
    async fn claim_message(
        &self,
        _: &str,
        _: Holder,
        _: Duration,
        _: Duration,
    ) -> Result<Option<Message>, StoreError> {
        Ok(None)
    }
    async fn settle_message(
        &self,
        _: &str,
        _: Uuid,
        _: Holder,
        _: &Tried,
    ) -> Result<bool, StoreError> {
        Ok(false)
    }
    async fn list_alerts(&self, _: &AlertFilter, _: u32) -> Result<Vec<StoredAlert>, StoreError> {
        Ok(Vec::new())
    }
    async fn silence_alert(&self, _: i64, _: Micros, _: &str) -> Result<bool, StoreError> {
        Ok(false)
    }
    async fn forget_alerts(&self, _: u32) -> Result<u64, StoreError> {
        Ok(0)
    }
}
