//! The configuration: `config.toml`, overridden by the environment.
//!
//! Every setting has a default, so no file is needed. `FAULTLINE_SECTION__KEY` overrides a key; its
//! value is read as whatever the default is (a list as `a,b,c`). `FAULTLINE_SECTION__KEY_FILE` names a
//! file that holds the value, as secrets are handed to containers and services. A key that does not exist, a value
//! of the wrong type or an impossible one is refused with the key, the value (secrets masked) and
//! what would be right.

use std::{
    fmt, fs,
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
        rule::{Priorities, RuleSettings, Rules, TicketDefaults},
        ticket::Draft,
    },
    metrics_aggregator, parser,
};
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::{
    admin, receiver,
    secret::{Secret, mask_url},
    telemetry,
};

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
    pub jira: jira::Settings,
    pub handoff: stream::Settings,
    pub bucket_watcher: buckets::Settings,
    pub admin: admin::Settings,
    pub telemetry: telemetry::Settings,
    /// What the classes of tickets mean.
    pub priorities: Priorities,
    /// Which faults become tickets; see [`Config::rules`].
    pub rules: Vec<RuleSettings>,
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

/// The file that is read when it is there and none is named.
pub const DEFAULT_FILE: &str = "config.toml";

/// Reads the configuration: from `file`, or from [`DEFAULT_FILE`] where there is one, and from the
/// environment.
///
/// # Errors
/// Lists all that is wrong.
pub fn load(
    file: Option<&Path>,
    environment: impl Iterator<Item = (String, String)>,
) -> Result<Config, ConfigError> {
    let default = Path::new(DEFAULT_FILE);
    let file = file.or_else(|| default.exists().then_some(default));
    let text = match file {
        Some(path) => fs::read_to_string(path)
            .map_err(|error| ConfigError(vec![format!("{}: {error}", path.display())]))?,
        None => String::new(),
    };
    let name = file.unwrap_or(default).display().to_string();
    parse(&text, &name, environment)
}

/// Like [`load`], from text.
///
/// # Errors
/// Like [`load`].
pub fn parse(
    text: &str,
    name: &str,
    environment: impl Iterator<Item = (String, String)>,
) -> Result<Config, ConfigError> {
    let file: Table = text
        .parse()
        .map_err(|error| ConfigError(vec![format!("{name}: {}", syntax_problem(text, &error))]))?;
    let mut tree = defaults();
    let mut problems = Vec::new();
    merge(&mut tree, file, "", &mut problems);
    for (variable, value) in environment {
        if let Err(problem) = set_from_environment(&mut tree, &variable, &value) {
            problems.push(problem);
        }
    }
    if !problems.is_empty() {
        return Err(ConfigError(problems));
    }
    let config: Config = serde_path_to_error::deserialize(Value::Table(tree.clone()))
        .map_err(|error| ConfigError(vec![describe(&error, &tree)]))?;
    let problems = config.problems();
    if problems.is_empty() { Ok(config) } else { Err(ConfigError(problems)) }
}

fn defaults() -> Table {
    Table::try_from(Config::default()).expect("every setting has a TOML form")
}

/// Puts `given` over `tree`; what does not fit is a problem.
fn merge(tree: &mut Table, given: Table, prefix: &str, problems: &mut Vec<String>) {
    for (key, value) in given {
        let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        let Some(default) = tree.get_mut(&key) else {
            problems.push(unknown(&path, &key, tree));
            continue;
        };
        match (default, value) {
            (Value::Table(section), Value::Table(given)) => {
                merge(section, given, &path, problems);
            }
            (default, value) if default.same_type(&value) => *default = value,
            (default, value) => problems.push(format!(
                "{path} = {}: {} is needed, for example {}",
                shown(&path, &value),
                type_name(default),
                shown(&path, default),
            )),
        }
    }
}

fn unknown(path: &str, key: &str, siblings: &Table) -> String {
    let closest = siblings
        .keys()
        .map(|known| (strsim::jaro_winkler(known, key), known))
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .filter(|(likeness, _)| *likeness > 0.8);
    if let Some((_, known)) = closest {
        return format!("{path}: there is no such setting; `{known}` was meant?");
    }
    let known: Vec<_> = siblings.keys().map(String::as_str).collect();
    format!("{path}: there is no such setting; there are {}", known.join(", "))
}

const PREFIX: &str = "FAULTLINE_";

/// `FAULTLINE_SPOOL__DIR=/var/lib/faultline` sets `spool.dir`, and `FAULTLINE_ADMIN__TLS__KEY_FILE`
/// `admin.tls.key_file`.
fn set_from_environment(tree: &mut Table, variable: &str, value: &str) -> Result<(), String> {
    let Some(name) = variable.strip_prefix(PREFIX) else { return Ok(()) };
    let name = name.to_ascii_lowercase();
    let Some((section, key)) = name.split_once("__") else {
        // Other programs may have variables of this prefix; a section's name is no accident.
        let section = tree.keys().find(|section| name.starts_with(&format!("{section}_")));
        return match section {
            Some(section) => Err(format!(
                "{variable}: two underscores stand between section and key: {PREFIX}{}__…",
                section.to_ascii_uppercase()
            )),
            None => Ok(()),
        };
    };
    let path = name.replace("__", ".");
    if let Some(Value::Array(_)) = tree.get(section) {
        return Err(format!("{variable}: `{section}` can be set in the file only"));
    }
    let Some(Value::Table(table)) = tree.get_mut(section) else {
        return Err(format!("{variable}: {}", unknown(section, section, tree)));
    };
    let (table, key) = match key.split_once("__") {
        Some((inner, key)) => match table.get_mut(inner).and_then(Value::as_table_mut) {
            Some(table) => (table, key),
            None => return Err(format!("{variable}: {}", unknown(&path, inner, table))),
        },
        None => (table, key),
    };
    let from_file = match key.strip_suffix("_file") {
        Some(named) if !table.contains_key(key) && table.contains_key(named) => {
            Some((named, read_value(variable, value)?))
        }
        _ => None,
    };
    let (key, value) = from_file.as_ref().map_or((key, value), |(key, value)| (*key, value));
    let Some(default) = table.get_mut(key) else {
        return Err(format!("{variable}: {}", unknown(&path, key, table)));
    };
    let read = match default {
        Value::String(_) => Some(Value::String(value.to_owned())),
        Value::Integer(_) => value.parse().ok().map(Value::Integer),
        Value::Float(_) => value.parse().ok().map(Value::Float),
        Value::Boolean(_) => value.parse().ok().map(Value::Boolean),
        Value::Array(_) => list(value),
        Value::Datetime(_) | Value::Table(_) => None,
    };
    *default = read.ok_or_else(|| {
        format!(
            "{variable} = {}: {} is needed, for example {}",
            shown(&path, &Value::String(value.to_owned())),
            type_name(default),
            shown(&path, default)
        )
    })?;
    Ok(())
}

/// The value that a file holds, without the end of its line.
fn read_value(variable: &str, path: &str) -> Result<String, String> {
    let text = fs::read_to_string(path)
        .map_err(|error| format!("{variable} = \"{path}\": {error}; the value's file is needed"))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// `a,b,c`, or a list as TOML writes it.
fn list(value: &str) -> Option<Value> {
    if value.starts_with('[') {
        let table: Table = format!("list = {value}").parse().ok()?;
        return table.get("list").cloned();
    }
    let items = value.split(',').map(str::trim).filter(|item| !item.is_empty());
    Some(Value::Array(items.map(|item| Value::String(item.to_owned())).collect()))
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a text",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Array(_) => "a list",
        Value::Datetime(_) => "a date",
        Value::Table(_) => "a section",
    }
}

/// Says where the file is no TOML. The line may hold a secret, so that only a known key is shown.
fn syntax_problem(text: &str, error: &toml::de::Error) -> String {
    let at = error.span().map_or(0, |span| text.floor_char_boundary(span.start));
    let line = text[..at].matches('\n').count() + 1;
    let key = text.lines().nth(line - 1).and_then(|line| Some(line.split_once('=')?.0.trim()));
    let is_known = |key: &str| defaults().values().any(|section| section.get(key).is_some());
    let key = key.filter(|key| is_known(key)).map_or(String::new(), |key| format!(" (`{key}`)"));
    format!("line {line}{key}: {}", error.message())
}

/// Whether what stands at `path` must not be shown. Rules hold none: their keys are columns and
/// fields.
fn is_secret(path: &str) -> bool {
    if path.split(['.', '[']).next() == Some("rules") {
        return false;
    }
    let key = path.rsplit('.').next().unwrap_or(path);
    ["password", "token", "key", "secret", "drains"].iter().any(|word| key.contains(word))
}

/// A value as it may be shown: secrets are masked.
fn shown(path: &str, value: &Value) -> String {
    match value {
        Value::String(text) if text.is_empty() => "\"\"".to_owned(),
        Value::Array(items) if items.is_empty() => "[]".to_owned(),
        _ if is_secret(path) => "\"***\"".to_owned(),
        Value::String(text) if path.ends_with("url") || text.contains("://") => {
            format!("\"{}\"", mask_url(text))
        }
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(|item| shown(path, item)).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Table(table) => {
            let members: Vec<_> = table
                .iter()
                .map(|(key, value)| format!("{key} = {}", shown(&format!("{path}.{key}"), value)))
                .collect();
            format!("{{ {} }}", members.join(", "))
        }
        other => other.to_string(),
    }
}

/// Says which value could not be read.
fn describe(error: &serde_path_to_error::Error<toml::de::Error>, tree: &Table) -> String {
    let path = error.path().to_string();
    let mut value = None;
    let mut table = Some(tree);
    for key in path.split('.') {
        value = table.and_then(|table| table.get(key));
        table = value.and_then(Value::as_table);
    }
    let problem = error.inner().message();
    // "invalid type: string \"…\", expected …" shows the value.
    let problem = match problem.rsplit_once(", expected ") {
        Some((_, expected)) if is_secret(&path) && problem.starts_with("invalid") => {
            format!("expected {expected}")
        }
        _ => problem.to_owned(),
    };
    let Some(value) = value else { return format!("{path}: {problem}") };
    let shown_value = shown(&path, value);
    match default_of(&path) {
        Some(default) if !problem.contains("expected one of") && !problem.contains(" or `") => {
            format!("{path} = {shown_value}: {problem}; {default} is possible")
        }
        _ => format!("{path} = {shown_value}: {problem}"),
    }
}

/// The default of the setting at `path`, as an example of what is right.
fn default_of(path: &str) -> Option<String> {
    let (section, key) = path.split_once('.')?;
    let default = defaults().get(section)?.get(key)?.clone();
    Some(shown(path, &default))
}

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
            ("jira", self.jira.validate()),
            ("handoff", self.handoff.validate()),
            ("bucket_watcher", self.bucket_watcher.validate()),
            ("admin", self.admin.validate()),
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
mod tests {
    use super::*;

    fn read(text: &str, environment: &[(&str, &str)]) -> Result<Config, String> {
        let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        parse(text, "config.toml", environment).map_err(|error| error.to_string())
    }

    fn problem(text: &str, environment: &[(&str, &str)]) -> String {
        read(text, environment).unwrap_err()
    }

    #[test]
    fn the_file_in_the_repository_says_the_defaults() {
        let text = include_str!("../config.toml");
        let config = read(text, &[]).unwrap();
        let as_table = |config| Table::try_from(config).unwrap();
        assert_eq!(as_table(config), as_table(Config::default()));
        let documented: Table = text.parse().unwrap();
        for (section, keys) in defaults() {
            let Some(keys) = keys.as_table() else {
                assert!(text.contains(&format!("# [[{section}]]")), "[[{section}]] is not shown");
                continue;
            };
            for (key, _) in keys {
                let known = documented.get(&section).and_then(|table| table.get(key));
                let is_shown = known.is_some();
                assert!(is_shown, "{section}.{key} is not in config.toml");
            }
        }
    }

    /// The commented example, without its marks.
    fn example_rules() -> String {
        let text = include_str!("../config.toml");
        let lines = text.lines().skip_while(|line| *line != "# [[rules]]");
        let lines = lines.map(|line| line.strip_prefix("# ").unwrap_or_default());
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_rules_that_the_file_shows_can_be_used() {
        let config = read(&example_rules(), &[]).unwrap();
        assert_eq!(config.rules.len(), 6);
        assert!(config.rules().unwrap().select_changes());
    }

    #[test]
    fn every_setting_of_a_rule_is_shown() {
        let shown = example_rules();
        for wrong in ["nam = 1", "match.x = 1", "match.columns.a.x = 1"] {
            let problem = problem(&format!("[[rules]]\n{wrong}"), &[]);
            let (_, expected) = problem.split_once("expected one of ").unwrap();
            for name in expected.split(", ").map(|name| name.trim_matches('`')) {
                let forms = ["\n{} = ", "\n{}.", "\nmatch.{} = ", "{ {} = ", ", {} = "];
                let is_shown = forms.iter().any(|form| shown.contains(&form.replace("{}", name)));
                assert!(is_shown, "{name} is not shown");
            }
        }
    }

    #[test]
    fn a_rule_that_cannot_be_used_is_named() {
        for (text, expected) in [
            ("[[rules]]\nname = \"a\"\nmach = 1", "rules[0].mach: unknown field `mach`"),
            ("[[rules]]\nname = \"a\"\nmute = \"soon\"", "rules[0].mute: \"soon\" is no duration"),
            ("[[rules]]\nname = \"a\"\nclass = \"P9\"", "rules[0].class: unknown variant `P9`"),
            (
                "[[rules]]\nname = \"a\"\nmatch.kind = \"logs\"",
                "rules[0] \"a\": match.kind = \"logs\": there are log",
            ),
            ("rules = 5", "rules = 5: a list is needed"),
            ("[rules]\nkey = \"x\"", "rules = { key = \"x\" }: a list is needed"),
            ("[priorities]\nP4 = {}", "priorities.P4: there is no such setting"),
            ("[priorities.P0]\nrespond = \"x\"", "priorities.P0.respond = \"x\": \"x\" is no"),
        ] {
            let problem = problem(text, &[]);
            assert!(problem.contains(expected), "{problem}\n  lacks {expected}");
        }
        let problem = problem("", &[("FAULTLINE_RULES__X", "1")]);
        let expected = "FAULTLINE_RULES__X: `rules` can be set in the file only";
        assert!(problem.contains(expected), "{problem}");
    }

    #[test]
    fn the_environment_overrides_the_file() {
        let config = read(
            "[receiver]\nlisten = \"127.0.0.1:1\"",
            &[
                ("FAULTLINE_RECEIVER__LISTEN", "127.0.0.1:2"),
                ("FAULTLINE_SPOOL__DIR", "/tmp/s"),
                ("FAULTLINE_STDIN__ENABLED", "true"),
                ("FAULTLINE_STDIN__COMMAND", "maxwell,--producer=stdout"),
                ("FAULTLINE_BATCH_WRITER__FLUSH_EVENTS", "7"),
                ("FAULTLINE_ADMIN__TLS__KEY_FILE", "k"),
                ("FAULTLINE_ADMIN__TLS__CERTIFICATE_FILE", "c"),
                ("FAULTLINE_ADMIN__OPEN", "health,metrics"),
                ("FAULTLINE_UNRELATED", "x"),
                ("PATH", "x"),
            ],
        )
        .unwrap();
        assert_eq!(config.receiver.listen.port(), 2);
        assert_eq!(config.spool.dir, Path::new("/tmp/s"));
        assert!(config.stdin.enabled);
        assert_eq!(config.stdin.command, ["maxwell", "--producer=stdout"]);
        assert_eq!(config.batch_writer.flush_events, 7);
        assert_eq!(config.admin.tls.certificate_file, Path::new("c"));
        assert_eq!(config.admin.open, [admin::Open::Health, admin::Open::Metrics]);
    }

    #[test]
    fn values_are_read_from_files() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = directory.path().join(name);
            fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let token = file("token", "0123456789abcdef\n");
        let drains = file("drains", "[{ user = \"shop\", password = \"0123456789abcdef\" }]\n");
        let config = read(
            "",
            &[
                ("FAULTLINE_ADMIN__TOKEN_FILE", &token),
                ("FAULTLINE_RECEIVER__DRAINS_FILE", &drains),
                // A setting of its own, not the value of `key`.
                ("FAULTLINE_HANDOFF__CA_FILE", "ca.pem"),
            ],
        )
        .unwrap();
        assert_eq!(config.admin.token.expose(), "0123456789abcdef");
        assert_eq!(config.receiver.drains[0].user, "shop");
        assert_eq!(config.handoff.ca_file, Path::new("ca.pem"));

        let missing = problem("", &[("FAULTLINE_ADMIN__TOKEN_FILE", "/nowhere")]);
        assert!(
            missing.contains("FAULTLINE_ADMIN__TOKEN_FILE = \"/nowhere\": No such"),
            "{missing}"
        );
        let unknown = problem("", &[("FAULTLINE_ADMIN__TOKE_FILE", &token)]);
        assert!(unknown.contains("there is no such setting"), "{unknown}");
        let wrong = problem("", &[("FAULTLINE_SPOOL__QUEUE_FILE", &file("many", "many\n"))]);
        assert!(wrong.contains("FAULTLINE_SPOOL__QUEUE_FILE = \"many\": a whole"), "{wrong}");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, environment, expected) in [
            (
                "[receiver]\nlisen = \"x\"",
                vec![],
                "receiver.lisen: there is no such setting; `listen` was meant?",
            ),
            ("[reciever]\n", vec![], "reciever: there is no such setting; `receiver` was meant?"),
            (
                "[spool]\nqueue = \"many\"",
                vec![],
                "spool.queue = \"many\": a whole number is needed, for example 4096",
            ),
            (
                "[receiver]\nlisten = \"here\"",
                vec![],
                "receiver.listen = \"here\": invalid socket address syntax",
            ),
            ("[spool]\nmax_bytes = \"lots\"", vec![], "spool.max_bytes = \"lots\": "),
            ("[parser]\njoin_wait = \"soon\"", vec![], "parser.join_wait = \"soon\": "),
            (
                "[store]\nurl = \"mysql://u:secret@h/d\"",
                vec![],
                "store.url = \"mysql://u:***@h/d\": sqlite://path or postgres://",
            ),
            (
                "[store]\nurl = \"postgres://u:secret@h/d?sslmode=on\"",
                vec![],
                "store.url = \"postgres://u:***@h/d?sslmode=on\": sslmode=on: disable, prefer,",
            ),
            (
                "[spool]\nmax_bytes = \"1 MiB\"",
                vec![],
                "spool.max_bytes = \"1.0 MiB\": at least two segments (128.0 MiB) are needed",
            ),
            (
                "[jira]\nurl = \"https://x.atlassian.net\"\nemail = \"a@b\"\ntoken = \"t\"",
                vec![],
                "jira.project = \"\": a project's key is needed",
            ),
            (
                "[receiver]\nbody_limit = \"64 MiB\"",
                vec![],
                "receiver.body_limit = \"64.0 MiB\": a body must fit",
            ),
            (
                "[stdin]\nenabled = true\nline_limit = \"2 MiB\"\n\
                 [spool]\nsegment_bytes = \"3 MiB\"\n[receiver]\nbody_limit = \"1 MiB\"",
                vec![],
                "stdin.line_limit = \"2.0 MiB\": a line, and 1.2 MiB read with it, must fit",
            ),
            (
                "",
                vec![("FAULTLINE_SPOOL__QUEUE", "-x")],
                "FAULTLINE_SPOOL__QUEUE = \"-x\": a whole number is needed",
            ),
            (
                "",
                vec![("FAULTLINE_SPOOL__QUEU", "1")],
                "FAULTLINE_SPOOL__QUEU: spool.queu: there is no such setting",
            ),
            (
                "",
                vec![("FAULTLINE_SPOOL_DIR", "x")],
                "FAULTLINE_SPOOL_DIR: two underscores stand between",
            ),
            ("[receiver", vec![], "config.toml: line 1: "),
        ] {
            let problem = problem(text, &environment);
            assert!(problem.contains(expected), "{problem}\n  lacks {expected}");
        }
    }

    #[test]
    fn what_is_wrong_about_access_is_named() {
        for (text, environment, expected) in [
            (
                "[admin]\nauth = \"users\"\nlisten = \"0.0.0.0:4000\"\nopen = [\"health\"]",
                vec![],
                "admin.open: a listener beyond loopback (listen = \"0.0.0.0:4000\") opens nothing",
            ),
            (
                "[admin]\nopen = [\"metrics\"]\nmetrics_token = \"0123456789abcdef\"",
                vec![],
                "admin.open = [\"metrics\"]: metrics_token is set",
            ),
            ("[admin]\nopen = [\"all\"]", vec![], "admin.open[0]: unknown variant `all`"),
            (
                "[admin]\nsession_idle = \"1m\"",
                vec![],
                "admin.session_idle = \"1m\": at least \"2m\" is needed",
            ),
            (
                "[admin]\ncors_origins = [\"https://a.example/\"]",
                vec![],
                "admin.cors_origins = [\"https://a.example/\"]: an origin is needed",
            ),
            ("[admin]\ncors_origins = [\"*\"]", vec![], "an origin is needed, such as https"),
            (
                "[receiver]\ntls = { certificate_file = \"c.pem\" }",
                vec![],
                "receiver.tls: certificate_file and key_file belong together",
            ),
            (
                "[admin.tls]\nkey = \"k.pem\"",
                vec![],
                "admin.tls.key: there is no such setting; `key_file` was meant?",
            ),
            (
                "",
                vec![("FAULTLINE_ADMIN__TLX__KEY_FILE", "x")],
                "admin.tlx.key_file: there is no such setting; `tls` was meant?",
            ),
        ] {
            let problem = problem(text, &environment);
            assert!(problem.contains(expected), "{problem}\n  lacks {expected}");
        }
    }

    #[test]
    fn a_listener_beyond_loopback_needs_authentication() {
        let open = "[admin]\nlisten = \"0.0.0.0:4000\"\nauth = \"off\"";
        assert!(problem(open, &[]).contains("admin.auth = \"off\""));
        let closed =
            "[admin]\nlisten = \"0.0.0.0:4000\"\nauth = \"token\"\ntoken = \"0123456789abcdef\"";
        assert!(read(closed, &[]).is_ok());
        let open = "[receiver]\nlisten = \"0.0.0.0:3001\"";
        assert!(problem(open, &[]).contains("receiver.listen = \"0.0.0.0:3001\""));
        let closed = "[receiver]\nlisten = \"0.0.0.0:3001\"\ntoken = \"0123456789abcdef\"\n\
            [[receiver.drains]]\nuser = \"heroku\"\npassword = \"0123456789abcdef\"";
        assert!(read(closed, &[]).is_ok());
    }

    #[test]
    fn secrets_do_not_show() {
        let config = read("[admin]\nauth = \"token\"\ntoken = \"0123456789abcdef\"", &[]).unwrap();
        assert!(!format!("{config:?}").contains("0123456789abcdef"));
        let wrong = problem("[admin]\ntoken = 12345", &[]);
        assert!(wrong.contains("admin.token = \"***\""), "{wrong}");
        for (url, masked) in [
            ("postgres://u:p@h:5/d?sslmode=require", "postgres://u:***@h:5/d?sslmode=require"),
            ("postgres://u:p@s/s?w@h:5/d", "postgres://u:***@h:5/d"),
            (
                "postgres://u@h/d?password=p&sslmode=require",
                "postgres://u:***@h/d?password=***&sslmode=require",
            ),
            ("postgres://h/d", "postgres://h/d"),
            ("u:p@h/d", "u:***@h/d"),
            ("sqlite://data/x@y.db", "sqlite://data/x@y.db"),
        ] {
            assert_eq!(mask_url(url), masked);
        }
        for text in [
            "[admin]\ntoken = \"hunter2",
            "[admin]\ntoken = hunter2",
            "[receiver]\ndrains = \"hunter2\"",
            "[receiver]\ndrains = [\"hunter2\"]",
            "[[receiver.drains]]\nuser = \"a\"\npassword = [\"hunter2\"]",
            "[[receiver.drains]]\nuser = \"a\"\npasswort = \"hunter2\"",
            "[store]\nurl = \"u:hunter2@h/d\"",
        ] {
            let problem = problem(text, &[]);
            assert!(!problem.contains("hunter2"), "{problem}");
        }
        assert!(problem("[admin]\ntoken = \"x", &[]).contains("config.toml: line 2 (`token`): "));
    }
}
