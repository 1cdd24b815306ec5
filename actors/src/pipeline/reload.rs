//! What the stages can go by from now on without a new start.

use std::sync::{Arc, PoisonError};

use super::Pipeline;
use crate::{adapters::jira, domain::rule::Rules};

impl Pipeline {
    /// Goes by other rules: the parser from its next batch on, dispatch from its next round of
    /// decisions on. A fault that was decided about is decided about again when it is met again.
    pub fn use_rules(&self, rules: Arc<Rules>) {
        self.dispatch.state.rules.set(rules);
    }

    /// Goes by other figures: rates, storm budget, "won't fix", polling, retries, breaker. The
    /// connection itself (URL, credentials, timeouts), projects and leases stay as they were, so
    /// that `settings` must have the old ones.
    pub fn use_jira(&self, settings: jira::Settings) {
        let state = &self.dispatch.state;
        if let Some(client) = &state.client {
            client.set_rates(settings.rate_per_second, settings.rate_per_hour);
        }
        state
            .counters
            .breaker
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .use_settings(settings.breaker());
        state.settings.set(Arc::new(settings));
    }
}
