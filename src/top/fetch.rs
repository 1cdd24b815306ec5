//! Asking a running Faultline for what is shown.

use std::time::{Duration, Instant};

use anyhow::bail;
use reqwest::StatusCode;
use serde::{Deserialize, de::DeserializeOwned};

use super::{
    metrics::Metrics,
    model::{Alert, Fault, Sample},
};
use crate::asking::{Answer, Asking};

/// What costs more is asked more seldom.
const SELDOM: Duration = Duration::from_secs(5);
/// So many faults and alerts, of which as many are shown as there is room for.
const FAULTS: &str = "/api/faults?sort=count&limit=50";
const ALERTS: &str = "/api/alerts?state=open&limit=50";

/// See the [module](self).
pub(super) struct Fetching {
    asking: Asking,
    started: Instant,
    /// When the faults were asked for.
    seldom_at: Option<Instant>,
}

#[derive(Deserialize)]
struct Faults {
    faults: Vec<Fault>,
}

#[derive(Deserialize)]
struct Alerts {
    alerts: Vec<Alert>,
}

impl Fetching {
    pub(super) fn new(asking: Asking) -> Self {
        Self { asking, started: Instant::now(), seldom_at: None }
    }

    /// One round.
    ///
    /// # Errors
    /// When nobody answers, or does not let us in. A single thing that is not known (the ledger
    /// before the store is reached, the faults while it is away) is no error.
    pub(super) async fn round(&mut self) -> anyhow::Result<Sample> {
        let asking = &self.asking;
        let ill = [StatusCode::SERVICE_UNAVAILABLE];
        let (metrics, health, ledger) = tokio::join!(
            asking.text("/metrics"),
            asking.json("/api/health", &ill),
            self.known("/api/ledger"),
        );
        let Answer::Is(health) = health? else {
            bail!("{} is no admin listener of a Faultline", asking.url());
        };
        let mut sample = Sample {
            at: self.started.elapsed(),
            ledger: ledger?,
            health: Some(health),
            metrics: Metrics::parse(&metrics?),
            ..Sample::default()
        };
        if self.seldom_at.is_none_or(|at| at.elapsed() >= SELDOM) {
            let (faults, alerts) =
                tokio::join!(self.known::<Faults>(FAULTS), self.known::<Alerts>(ALERTS));
            sample.faults = faults?.map(|list| list.faults);
            sample.alerts = alerts?.map(|list| list.alerts);
            self.seldom_at = Some(Instant::now());
        }
        Ok(sample)
    }

    /// What a path says; `None` where there is no such path, or it cannot be said now.
    async fn known<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<Option<T>> {
        let ill = [StatusCode::SERVICE_UNAVAILABLE];
        match self.asking.json::<serde_json::Value>(path, &ill).await? {
            Answer::Is(value) => Ok(serde_json::from_value(value).ok()),
            Answer::Missing => Ok(None),
        }
    }
}
