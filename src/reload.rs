//! Reading the configuration again while the program runs.
//!
//! ```text
//! SIGHUP, POST /api/reload ─▶ read ─▶ validate ─▶ compare ─▶ apply to whoever follows
//! ```
//!
//! All or nothing: a configuration that cannot be used changes nothing, and the old one stays in
//! force. What is only read at the start stays as it was and is reported. One reload at a time.

use std::{
    io::IsTerminal,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context;
use faultline_actors::{
    adapters::{
        clock, jira,
        store::{Store, trail::Note},
    },
    domain::time::{Micros, rfc3339},
    notifier,
    stage::Live,
};
use serde_json::{Value, json};
use tokio::signal::unix::{Signal, SignalKind, signal};

pub(crate) use self::diff::{Change, Diff};
use crate::{
    admin,
    asking::Asking,
    cli::say,
    config::{Config, ConfigError},
    receiver, systemd, telemetry,
};

mod diff;

/// Whose configuration it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Process {
    Hub,
    Relay,
}

/// Whether something is to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    Apply,
    /// Say what would change.
    Preview,
}

/// The configuration in force.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) config: Config,
    pub(crate) at: Micros,
}

/// What a reload does, or would do.
#[derive(Debug)]
pub(crate) struct Report {
    /// In force at once.
    pub(crate) applied: Vec<Change>,
    /// In force after the next start.
    pub(crate) restart: Vec<Change>,
    /// How many settings are as they were.
    pub(crate) unchanged: usize,
    /// What else to know.
    pub(crate) notes: Vec<String>,
}

type Follower = Box<dyn Fn(&Config) + Send + Sync>;

/// See the [module](self).
pub struct Reload {
    process: Process,
    loaded: Live<Arc<Loaded>>,
    followers: Mutex<Vec<Follower>>,
    /// Where it is written down; a relay has none.
    store: Option<Arc<dyn Store>>,
    one_at_a_time: tokio::sync::Mutex<()>,
}

impl Reload {
    /// `config` is in force now.
    #[must_use]
    pub fn new(config: &Config, process: Process, store: Option<Arc<dyn Store>>) -> Arc<Self> {
        let loaded = Loaded { config: config.clone(), at: clock::now() };
        let reload = Self {
            process,
            loaded: Live::new(Arc::new(loaded)),
            followers: Mutex::default(),
            store,
            one_at_a_time: tokio::sync::Mutex::default(),
        };
        for outcome in ["applied", "unchanged", "refused"] {
            metrics::counter!("faultline_config_reloads_total", "outcome" => outcome).increment(0);
        }
        reload.gauge(true);
        reload.follow(|config| telemetry::use_settings(&config.telemetry));
        Arc::new(reload)
    }

    /// Has `follower` told of each configuration that comes into force from now on. It is valid, and
    /// has the old values of what is only read at the start.
    pub fn follow(&self, follower: impl Fn(&Config) + Send + Sync + 'static) {
        self.followers.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(follower));
    }

    /// The configuration in force.
    pub(crate) fn loaded(&self) -> Arc<Loaded> {
        self.loaded.get()
    }

    /// Reads the configuration again. `who` wants it, as the audit trail says it.
    ///
    /// # Errors
    /// When it cannot be used; then nothing has changed.
    pub(crate) async fn run(&self, who: &str, how: How) -> Result<Report, ConfigError> {
        let _one = self.one_at_a_time.lock().await;
        let outcome = self.compare().await;
        if how == How::Preview {
            return outcome.map(|(_, report)| report);
        }
        match outcome {
            Ok((config, report)) => {
                systemd::reloading();
                self.apply(config);
                systemd::ready();
                self.tell(who, &report).await;
                Ok(report)
            }
            Err(error) => {
                self.tell_refused(who, &error).await;
                Err(error)
            }
        }
    }

    /// What would be in force, and what that changes.
    async fn compare(&self) -> Result<(Config, Report), ConfigError> {
        let old = self.loaded();
        let Some(source) = old.config.source.clone() else {
            let problem =
                "this process was not started with a configuration that can be read again";
            return Err(ConfigError(vec![problem.to_owned()]));
        };
        let read = tokio::task::spawn_blocking(move || source.read()).await;
        let new = read.map_err(|error| ConfigError(vec![error.to_string()]))??;
        if self.process == Process::Relay {
            new.validate_relay()?;
        }
        let in_force = in_force(&old.config, &new);
        in_force.validate().map_err(goes_with_a_restart)?;
        let Diff { changes: applied, unchanged } = Diff::of(&old.config, &in_force);
        let Diff { changes: restart, .. } = Diff::of(&in_force, &new);
        let unchanged = unchanged.saturating_sub(restart.len());
        let is_filter = |change: &Change| change.key == "telemetry.filter";
        let mut notes = Vec::new();
        if applied.iter().any(is_filter) && telemetry::is_filtered_by_environment() {
            notes.push("telemetry.filter: RUST_LOG overrides it".to_owned());
        }
        Ok((in_force, Report { applied, restart, unchanged, notes }))
    }

    fn apply(&self, config: Config) {
        for follower in &*self.followers.lock().unwrap_or_else(PoisonError::into_inner) {
            follower(&config);
        }
        self.loaded.set(Arc::new(Loaded { config, at: clock::now() }));
    }

    async fn tell(&self, who: &str, report: &Report) {
        let Report { applied, restart, .. } = report;
        let is_same = applied.is_empty() && restart.is_empty();
        let outcome = if is_same { "unchanged" } else { "applied" };
        metrics::counter!("faultline_config_reloads_total", "outcome" => outcome).increment(1);
        self.gauge(true);
        let keys = |changes: &[Change]| {
            changes.iter().map(|change| change.key.clone()).collect::<Vec<_>>().join(", ")
        };
        tracing::info!(
            who,
            applied = keys(applied),
            unchanged = report.unchanged,
            "the configuration was read again"
        );
        if !restart.is_empty() {
            tracing::warn!(settings = keys(restart), "changed, and in force after a restart only");
        }
        for note in &report.notes {
            tracing::warn!(note, "a setting has no effect");
        }
        let told = |changes: &[Change]| changes.iter().map(Change::short).collect::<Vec<_>>();
        let details =
            json!({ "outcome": outcome, "applied": told(applied), "restart": told(restart) });
        self.note(who, &details).await;
    }

    async fn tell_refused(&self, who: &str, error: &ConfigError) {
        metrics::counter!("faultline_config_reloads_total", "outcome" => "refused").increment(1);
        self.gauge(false);
        tracing::error!(who, %error, "the configuration was read again and cannot be used; the old one stays");
        self.note(who, &json!({ "outcome": "refused", "problems": error.0 })).await;
    }

    /// A store that is away does not keep anybody from a reload: the log has it, too.
    async fn note(&self, who: &str, details: &Value) {
        let Some(store) = &self.store else { return };
        let note = Note { who, action: "config.reload", subject: "config", details };
        if let Err(error) = store.note(note).await {
            tracing::warn!(%error, "the audit trail has no entry of this reload");
        }
    }

    fn gauge(&self, is_good: bool) {
        let at = self.loaded().at as f64 / 1e6;
        metrics::gauge!("faultline_config_last_reload_timestamp_seconds").set(at);
        metrics::gauge!("faultline_config_last_reload_successful")
            .set(f64::from(u8::from(is_good)));
    }
}

/// SIGHUP, at which the configuration is read again.
pub(crate) struct Hangups(Option<Signal>);

impl Hangups {
    /// Listens from now on. Where a person has started the program, SIGHUP says that his terminal is
    /// gone, and ends it as it ends any program.
    ///
    /// # Errors
    /// When it cannot listen.
    pub(crate) fn listen() -> anyhow::Result<Self> {
        if std::io::stdin().is_terminal() {
            return Ok(Self(None));
        }
        Ok(Self(Some(signal(SignalKind::hangup()).context("listening for SIGHUP")?)))
    }

    /// Reads the configuration again at each, those included that came before.
    pub(crate) async fn heed(self, reload: Arc<Reload>) {
        let Some(mut hangups) = self.0 else { return };
        while hangups.recv().await.is_some() {
            // What came of it is told there.
            let _ = reload.run("SIGHUP", How::Apply).await;
        }
    }
}

/// Has a running Faultline read its configuration again, and says what came of it.
///
/// # Errors
/// When nobody answers, or the configuration cannot be used.
pub(crate) async fn ask(asking: &Asking, how: How) -> anyhow::Result<()> {
    #[derive(serde::Deserialize)]
    struct Told {
        applied: Vec<Change>,
        restart: Vec<Change>,
        unchanged: usize,
        notes: Vec<String>,
    }
    let path = if how == How::Preview { "/api/reload?preview" } else { "/api/reload" };
    let told: Told = serde_json::from_value(asking.post(path).await?)?;
    let done = if how == How::Preview { "would apply" } else { "applied" };
    for (what, changes) in [(done, told.applied), ("needs a restart", told.restart)] {
        for change in changes {
            say(&format!("{what:<16}{}", change.line()));
        }
    }
    for note in told.notes {
        say(&format!("{:<16}{note}", "note"));
    }
    say(&format!("{:<16}{} settings", "unchanged", told.unchanged));
    Ok(())
}

/// `new`, as far as it can come into force while the program runs, and `old` for the rest.
fn in_force(old: &Config, new: &Config) -> Config {
    let (old, new) = (old.clone(), new.clone());
    Config {
        receiver: receiver::Settings {
            ack: new.receiver.ack,
            body_limit: new.receiver.body_limit,
            inflight_limit: new.receiver.inflight_limit,
            body_timeout: new.receiver.body_timeout,
            append_timeout: new.receiver.append_timeout,
            retry_after: new.receiver.retry_after,
            token: new.receiver.token,
            drains: new.receiver.drains,
            ..old.receiver
        },
        jira: jira::Settings {
            webhook_secret: new.jira.webhook_secret,
            rate_per_second: new.jira.rate_per_second,
            rate_per_hour: new.jira.rate_per_hour,
            search_settle: new.jira.search_settle,
            storm_budget: new.jira.storm_budget,
            storm_window: new.jira.storm_window,
            poll_every: new.jira.poll_every,
            wont_fix: new.jira.wont_fix,
            max_attempts: new.jira.max_attempts,
            retry_first: new.jira.retry_first,
            retry_cap: new.jira.retry_cap,
            breaker_rate: new.jira.breaker_rate,
            breaker_calls: new.jira.breaker_calls,
            breaker_window: new.jira.breaker_window,
            breaker_open: new.jira.breaker_open,
            ..old.jira
        },
        admin: admin::Settings {
            token: new.admin.token,
            metrics_token: new.admin.metrics_token,
            metrics_rate: new.admin.metrics_rate,
            read_only: new.admin.read_only,
            session_idle: new.admin.session_idle,
            session_lifetime: new.admin.session_lifetime,
            cors_origins: new.admin.cors_origins,
            ..old.admin
        },
        // Its name is that of its open alerts.
        notifier: notifier::Settings { hub: old.notifier.hub, ..new.notifier },
        health: new.health,
        retention: new.retention,
        telemetry: telemetry::Settings { filter: new.telemetry.filter, ..old.telemetry },
        priorities: new.priorities,
        rules: new.rules,
        // A file that was there must be there again.
        source: new.source,
        ..old
    }
}

/// Each half may be right, and both together not: what goes together comes into force together.
fn goes_with_a_restart(ConfigError(problems): ConfigError) -> ConfigError {
    let told = |problem| format!("{problem}; it goes with settings that need a restart: restart");
    ConfigError(problems.into_iter().map(told).collect())
}

/// When it was, for people.
pub(crate) fn loaded_at(loaded: &Loaded) -> String {
    rfc3339(loaded.at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn read(text: &str) -> Config {
        config::parse(text, "config.toml", std::iter::empty()).unwrap()
    }

    #[test]
    fn what_needs_a_restart_stays_as_it_was() {
        let old = read("");
        let new = read(
            "[receiver]\nlisten = \"127.0.0.1:1\"\nretry_after = \"9s\"\n[spool]\nqueue = 7\n\
             [jira]\nproject = \"NEW\"\nstorm_budget = 3\n[admin]\nconnections = 9\nmetrics_rate = 2\n\
             [telemetry]\nformat = \"json\"\nfilter = \"debug\"\n[priorities.P0]\nrespond = \"1m\"",
        );
        let keys = |one: &Config, other: &Config| {
            let changes = Diff::of(one, other).changes.into_iter();
            changes.map(|change| change.key).collect::<Vec<_>>()
        };
        let now = in_force(&old, &new);
        assert_eq!(
            keys(&old, &now),
            [
                "admin.metrics_rate",
                "jira.storm_budget",
                "priorities.P0.respond",
                "receiver.retry_after",
                "telemetry.filter",
            ]
        );
        assert_eq!(
            keys(&now, &new),
            [
                "admin.connections",
                "jira.project",
                "receiver.listen",
                "spool.queue",
                "telemetry.format",
            ]
        );
    }

    #[test]
    fn halves_that_do_not_fit_are_refused() {
        let old = read("");
        let new = read(
            "[receiver]\nbody_limit = \"100 MiB\"\ninflight_limit = \"300 MiB\"\n\
                        [spool]\nsegment_bytes = \"128 MiB\"",
        );
        let refused = in_force(&old, &new).validate().map_err(goes_with_a_restart).unwrap_err();
        let told = refused.to_string();
        assert!(told.contains("receiver.body_limit = \"100.0 MiB\""), "{told}");
        assert!(told.contains("need a restart"), "{told}");
    }
}
