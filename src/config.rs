//! The configuration: `config.toml`, overridden by the environment.
//!
//! Every setting has a default, so no file is needed. `FAULTLINE_SECTION__KEY` overrides a key; its
//! value is read as whatever the default is (a list as `a,b,c`). `FAULTLINE_SECTION__KEY_FILE` names a
//! file that holds the value, as secrets are handed to containers and services. A key that does not exist, a value
//! of the wrong type or an impossible one is refused with the key, the value (secrets masked) and
//! what would be right.

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use faultline_actors::{
    adapters::{
        buckets, jira,
        journal::{spool, stream},
        store::postgres::Postgres,
    },
    batch_writer,
    domain::{
        alert::letter::Surroundings,
        health,
        rule::{Priorities, RuleSettings, Rules, TicketDefaults, lasting},
        ticket::Draft,
    },
    metrics_aggregator, notifier, parser, retention,
};
use serde::{Deserialize, Serialize};

use crate::{
    admin, receiver,
    secret::{Secret, mask_url},
    telemetry,
};

mod reading;

pub use self::reading::{DEFAULT_FILE, load, parse};

/// The whole of `config.toml`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub receiver: receiver::Settings,
    pub stdin: receiver::stdin::Settings,
    pub spool: spool::Settings,
    pub parser: parser::Settings,
    pub batch_writer: batch_writer::Settings,
    pub metrics_aggregator: metrics_aggregator::Settings,
    pub store: StoreSettings,
    pub retention: retention::Settings,
    pub jira: jira::Settings,
    pub handoff: stream::Settings,
    pub bucket_watcher: buckets::Settings,
    pub notifier: notifier::Settings,
    pub admin: admin::Settings,
    pub health: health::Settings,
    pub telemetry: telemetry::Settings,
    /// What the classes of tickets mean.
    pub priorities: Priorities,
    /// Which faults become tickets; see [`Config::rules`].
    pub rules: Vec<RuleSettings>,
    /// Where all this was read; `None` where it was made otherwise.
    #[serde(skip)]
    pub source: Option<Source>,
}

/// Where a configuration is read, so that it can be read again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// `None`: [`DEFAULT_FILE`], where there is one.
    pub file: Option<PathBuf>,
    /// What arguments set beyond the environment, as its variables would.
    pub arguments: Vec<(String, String)>,
}

impl Source {
    /// Reads the file, the environment of this process and the arguments, the latter over the
    /// former. A file that was there before must be there again: without it, all would be open that
    /// it has closed.
    ///
    /// # Errors
    /// Lists all that is wrong.
    pub fn read(&self) -> Result<Config, ConfigError> {
        let default = Path::new(DEFAULT_FILE);
        let file = self.file.as_deref().or_else(|| default.exists().then_some(default));
        // Variables whose value is no text cannot be settings.
        let environment = std::env::vars_os()
            .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)));
        let mut config = load(file, environment.chain(self.arguments.iter().cloned()))?;
        let file = file.map(Path::to_owned);
        config.source = Some(Self { file, arguments: self.arguments.clone() });
        Ok(config)
    }
}

/// Section `[store]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreSettings {
    /// `sqlite://path` or `postgres://user:password@host/database`, with libpq's `sslmode` and
    /// `sslrootcert` as parameters.
    pub url: Secret,
    /// Connections to PostgreSQL, at most.
    pub connections: usize,
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub connect_timeout: Duration,
    /// A commit that takes longer is given up and tried again.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub commit_timeout: Duration,
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            url: Secret::new("sqlite://data/faultline.db"),
            connections: 4,
            connect_timeout: Duration::from_secs(5),
            commit_timeout: Duration::from_mins(1),
        }
    }
}

/// Which store an URL names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreUrl {
    Sqlite(PathBuf),
    Postgres(String),
}

impl StoreSettings {
    /// # Errors
    /// When the URL names no store that there is.
    pub fn parse_url(&self) -> Result<StoreUrl, String> {
        let url = self.url.expose();
        if let Some(path) = url.strip_prefix("sqlite://").filter(|path| !path.is_empty()) {
            return Ok(StoreUrl::Sqlite(PathBuf::from(path)));
        }
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            Postgres::check_url(url)
                .map_err(|problem| format!("url = \"{}\": {problem}", mask_url(url)))?;
            return Ok(StoreUrl::Postgres(url.to_owned()));
        }
        Err(format!(
            "url = \"{}\": sqlite://path or postgres://user:password@host/database is needed",
            mask_url(url)
        ))
    }

    fn validate(&self) -> Result<(), String> {
        self.parse_url()?;
        if self.connections < 2 {
            return Err(format!("connections = {}: at least 2 are needed", self.connections));
        }
        for (name, timeout) in
            [("connect_timeout", self.connect_timeout), ("commit_timeout", self.commit_timeout)]
        {
            if timeout.is_zero() {
                return Err(format!("{name} = \"0s\": more than zero is needed"));
            }
        }
        Ok(())
    }
}

/// Everything that is wrong with a configuration.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigError(pub Vec<String>);

impl fmt::Display for ConfigError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "the configuration cannot be used:")?;
        for problem in &self.0 {
            write!(out, "\n  {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// The rules, compiled.
    ///
    /// # Errors
    /// Lists all that is wrong with them.
    pub fn rules(&self) -> Result<Rules, ConfigError> {
        let defaults = TicketDefaults {
            project: self.jira.default_project().to_owned(),
            issue_type: self.jira.issue_type.clone(),
            public_url: self.jira.public_url.clone(),
        };
        Rules::compile(&self.rules, &self.priorities, defaults).map_err(ConfigError)
    }

    /// What messages about alerts need to know.
    #[must_use]
    pub fn letters(&self) -> Surroundings {
        let public_url = self.jira.public_url.clone();
        Surroundings { public_url, priorities: self.priorities.clone() }
    }

    /// What a relay needs beyond what is always needed.
    ///
    /// # Errors
    /// Names the key, and what would be right.
    pub fn validate_relay(&self) -> Result<(), ConfigError> {
        let mut problems: Vec<String> = Vec::new();
        problems.extend(self.handoff.validate_relay().err().map(|it| format!("handoff.{it}")));
        if self.bucket_watcher.is_on() {
            let endpoint = mask_url(&self.bucket_watcher.endpoint);
            let problem = format!(
                "bucket_watcher.endpoint = \"{endpoint}\": a relay has no store to compare buckets \
                 with; set it on a hub (`faultline run`) instead"
            );
            problems.push(problem);
        }
        if self.admin.auth == admin::Auth::Users {
            let problem = "admin.auth = \"users\": a relay has no store that knows users; set \
                           \"token\", or \"off\" on loopback";
            problems.push(problem.to_owned());
        }
        // An entry holds a record, and is bounded at the other end.
        let most = bytesize::ByteSize(stream::format::LONGEST as u64 / 2);
        if self.receiver.body_limit > most {
            let limit = self.receiver.body_limit;
            let problem =
                format!("receiver.body_limit = \"{limit}\": a relay takes at most {most}");
            problems.push(problem);
        }
        if problems.is_empty() { Ok(()) } else { Err(ConfigError(problems)) }
    }

    /// All tickets that there may be, as far as the settings tell: by the default, and by each rule.
    #[must_use]
    pub fn tickets(&self) -> Vec<Draft> {
        let default = RuleSettings::default();
        let rules = self.rules.iter().filter(|rule| !rule.ignore && rule.mute.is_none());
        let rules = rules.chain(self.rules.is_empty().then_some(&default));
        let or = |named: &Option<String>, other: &str| named.as_deref().unwrap_or(other).to_owned();
        rules
            .map(|rule| Draft {
                project: or(&rule.project, self.jira.default_project()),
                issue_type: or(&rule.issue_type, &self.jira.issue_type),
                summary: "a fault".to_owned(),
                labels: rule.labels.clone(),
                priority: rule.priority.clone(),
                components: rule.components.clone(),
                assignee: rule.assignee.clone(),
                fields: rule.fields.clone(),
                ..Draft::default()
            })
            .collect()
    }

    /// # Errors
    /// Lists all that is impossible.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let problems = self.problems();
        if problems.is_empty() { Ok(()) } else { Err(ConfigError(problems)) }
    }

    /// What is impossible, each with its key and what would be right.
    fn problems(&self) -> Vec<String> {
        let sections = [
            ("receiver", self.receiver.validate()),
            ("stdin", self.stdin.validate()),
            ("spool", self.spool.validate()),
            ("parser", self.parser.validate()),
            ("batch_writer", self.batch_writer.validate()),
            ("metrics_aggregator", self.metrics_aggregator.validate()),
            ("store", self.store.validate()),
            ("retention", self.retention.validate()),
            ("jira", self.jira.validate()),
            ("handoff", self.handoff.validate()),
            ("bucket_watcher", self.bucket_watcher.validate()),
            ("notifier", self.notifier.validate()),
            ("admin", self.admin.validate()),
            ("health", self.health.validate()),
            ("telemetry", self.telemetry.validate()),
        ];
        let mut problems: Vec<String> = sections
            .into_iter()
            .filter_map(|(section, outcome)| Some(format!("{section}.{}", outcome.err()?)))
            .collect();
        let largest_frame =
            self.spool.segment_bytes.as_u64() - self.spool.segment_bytes.as_u64() / 16;
        if self.receiver.body_limit.as_u64() > largest_frame {
            problems.push(format!(
                "receiver.body_limit = \"{}\": a body must fit into a segment of the spool \
                 (spool.segment_bytes = \"{}\")",
                self.receiver.body_limit, self.spool.segment_bytes
            ));
        }
        if self.stdin.is_on() && self.stdin.largest_record() > largest_frame {
            problems.push(format!(
                "stdin.line_limit = \"{}\": a line, and {} read with it, must fit into a segment of \
                 the spool (spool.segment_bytes = \"{}\")",
                self.stdin.line_limit,
                bytesize::ByteSize(self.stdin.largest_record() - self.stdin.line_limit.as_u64()),
                self.spool.segment_bytes
            ));
        }
        let (kept, window) = (self.retention.completed_jobs, self.jira.storm_window);
        if !kept.is_zero() && kept < window {
            problems.push(format!(
                "retention.completed_jobs = \"{}\": a storm is told by the jobs of \
                 jira.storm_window = \"{}\", so that at least as long is needed",
                lasting::shown(kept),
                lasting::shown(window)
            ));
        }
        if let Err(ConfigError(found)) = self.rules() {
            problems.extend(found);
        }
        if self.tickets().iter().any(|ticket| ticket.project.is_empty()) {
            problems.push(
                "jira.project = \"\": a project's key is needed, such as OPS, where a rule names \
                 none"
                    .to_owned(),
            );
        }
        problems
    }
}

/// Whether only this machine can reach `address`.
#[must_use]
pub fn is_loopback(address: SocketAddr) -> bool {
    address.ip().is_loopback()
}

#[cfg(test)]
mod tests;
