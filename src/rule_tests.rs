//! `faultline check --tests`: what the rules make of messages, told by a file of examples. The same
//! parser, shapes and rules as in the pipeline, without a store.

use std::{collections::BTreeMap, path::Path, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context;
use faultline_actors::domain::{
    batch::{Batch, FaultDelta, Span},
    event::Source,
    logplex,
    parse::{Parser, count_messages},
    record::{Block, Content, Meta, RecordRef},
    rule::{Facts, FaultState, Rules, Verdict, lasting},
    ticket::Draft,
    time::Micros,
};
use serde::Deserialize;
use serde_json::Value;

use crate::config::{Config, ConfigError};

/// The file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    tests: Vec<Test>,
}

/// One of `[[tests]]`: a message, what is known of its fault, and what must become of it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Test {
    name: String,
    /// A text, a line of a drain, a report, or a line of Maxwell's or of the bucket watcher's.
    line: String,
    #[serde(default)]
    source: SourceName,
    #[serde(default)]
    environment: String,
    #[serde(default)]
    service: String,
    /// How often it happened.
    #[serde(default = "once")]
    count: u64,
    /// How often within whatever time a rule asks for; always, unless set.
    count_within: Option<u64>,
    #[serde(default)]
    state: State,
    /// How long ago it was first seen.
    #[serde(default, with = "lasting::optional")]
    age: Option<Duration>,
    expect: Expected,
}

fn once() -> u64 {
    1
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SourceName {
    #[default]
    Logdrains,
    Errors,
    Maxwell,
    Bucket,
}

impl SourceName {
    fn source(self) -> Source {
        match self {
            Self::Logdrains => Source::Logdrains,
            Self::Errors => Source::Errors,
            Self::Maxwell => Source::Maxwell,
            Self::Bucket => Source::Bucket,
        }
    }
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    #[default]
    New,
    Known,
    Regression,
}

impl State {
    fn state(self) -> FaultState {
        match self {
            Self::New => FaultState::New,
            Self::Known => FaultState::Known,
            Self::Regression => FaultState::Regression,
        }
    }
}

/// What must become of it; what is not set may be anything.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    /// The rule that decides; empty: none.
    rule: Option<String>,
    outcome: Option<OutcomeName>,
    #[serde(default)]
    ticket: BTreeMap<String, toml::Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum OutcomeName {
    Ticket,
    Ignored,
    Muted,
    Below,
    Young,
    None,
}

impl OutcomeName {
    fn name(self) -> &'static str {
        match self {
            Self::Ticket => "ticket",
            Self::Ignored => "ignored",
            Self::Muted => "muted",
            Self::Below => "below",
            Self::Young => "young",
            Self::None => "none",
        }
    }
}

/// When all of it happens; rules know ages only.
const NOW: Micros = 1_795_316_400_000_000;

/// Runs the tests of a file; the exit code says whether all hold.
///
/// # Errors
/// When the file cannot be read, or the rules cannot be used.
pub(crate) fn run(path: &Path, config: &Config, say: fn(&str)) -> anyhow::Result<ExitCode> {
    let place = path.display();
    let text = std::fs::read_to_string(path).with_context(|| place.to_string())?;
    let file: File =
        serde_path_to_error::deserialize(toml::Deserializer::parse(&text)?).map_err(|error| {
            let problem = error.inner().message();
            ConfigError(vec![format!("{place}: {}: {problem}", error.path())])
        })?;
    let rules = Arc::new(config.rules()?);
    let mut all_hold = true;
    for test in &file.tests {
        match test.run(&rules, &config.parser.environment) {
            Ok(()) => say(&format!("ok      {}", test.name)),
            Err(difference) => {
                all_hold = false;
                say(&format!("FAILED  {}: {difference}", test.name));
            }
        }
    }
    Ok(if all_hold { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Test {
    fn run(&self, rules: &Arc<Rules>, environment: &str) -> Result<(), String> {
        let mut batch = Batch::default();
        let mut parser = Parser::new(environment, rules.clone());
        parser.parse(&mut batch, &self.block());
        parser.finish(&mut batch);
        if let Some(rejected) = batch.rejected.first() {
            return Err(format!("the line cannot be read: {}", rejected.reason));
        }
        let mut notes = Vec::new();
        let verdict = match batch.faults.first() {
            Some(fault) => self.decide(rules, &batch, fault, &mut notes),
            None => {
                notes.push("the line is no fault".to_owned());
                Verdict::NoRule
            }
        };
        self.compare(&verdict, &notes)
    }

    fn decide(
        &self,
        rules: &Rules,
        batch: &Batch,
        fault: &FaultDelta,
        notes: &mut Vec<String>,
    ) -> Verdict {
        let text = |span: Span| String::from_utf8_lossy(batch.text.get(span)).into_owned();
        let example = text(batch.events[fault.example as usize].message);
        let age = self.age.map_or(0, |age| age.as_micros());
        let facts = Facts {
            fault: 1,
            environment: &text(fault.scope.environment),
            service: &text(fault.scope.service),
            kind: fault.kind,
            source: Some(self.source.source().name()),
            severity: fault.severity,
            title: &text(fault.title),
            example: &example,
            latest: &example,
            fingerprint: &fault.fingerprint.to_string(),
            count: self.count,
            first_seen: NOW.saturating_sub(i64::try_from(age).unwrap_or(i64::MAX)),
            last_seen: NOW,
            state: self.state.state(),
            selected_by: &text(fault.rule),
            count_within: &|_| Some(self.count_within.unwrap_or(self.count)),
        };
        rules.decide_noting(&facts, NOW, notes)
    }

    /// A record as the receiver makes it. A text that is no line of a drain becomes one of the
    /// application.
    fn block(&self) -> Block {
        let line = self.line.trim_end_matches('\n');
        let body = match self.source {
            SourceName::Maxwell | SourceName::Bucket => line.to_owned(),
            SourceName::Errors if line.trim_start().starts_with(['{', '[']) => line.to_owned(),
            SourceName::Errors => serde_json::json!({ "message": line }).to_string(),
            SourceName::Logdrains if logplex::parse(line.as_bytes()).is_ok() => framed(line),
            SourceName::Logdrains => line
                .lines()
                .map(|line| {
                    framed(&format!("<190>1 2026-11-22T03:00:00Z host app web.1 - {line}\n"))
                })
                .collect(),
        };
        let meta =
            Meta { environment: &self.environment, service: &self.service, ..Meta::default() }
                .encode();
        let source = self.source.source();
        let record = RecordRef {
            sequence: 1,
            received_at: NOW,
            source,
            messages: count_messages(source, body.as_bytes()),
            content: Content::Body {
                meta: 0..meta.len(),
                body: meta.len()..meta.len() + body.len(),
            },
        };
        Block { bytes: [&meta, body.as_bytes()].concat().into(), records: vec![record] }
    }

    fn compare(&self, verdict: &Verdict, notes: &[String]) -> Result<(), String> {
        let (outcome, rule) = outcome_of(verdict);
        let mut expected = Vec::new();
        let mut got = Vec::new();
        let mut differ = |key: &str, wanted: String, found: String| {
            if wanted != found {
                expected.push(format!("{key} = {wanted}"));
                got.push(format!("{key} = {found}"));
            }
        };
        // Whoever names a ticket's fields expects one.
        let wanted = match (self.expect.outcome, self.expect.ticket.is_empty()) {
            (None, false) => Some(OutcomeName::Ticket),
            (outcome, _) => outcome,
        };
        if let Some(wanted) = wanted {
            differ("outcome", format!("{:?}", wanted.name()), format!("{:?}", outcome.name()));
        }
        if let Some(wanted) = &self.expect.rule {
            differ("rule", format!("{wanted:?}"), format!("{rule:?}"));
        }
        if let Verdict::Ticket(plan) = verdict {
            for (key, wanted) in &self.expect.ticket {
                let found = field(&plan.draft, key);
                let found = found.map_or_else(|| "no such field".to_owned(), |it| it.to_string());
                differ(key, as_json(wanted).to_string(), found);
            }
        }
        if expected.is_empty() {
            return Ok(());
        }
        let mut difference = format!("expected {}, got {}", expected.join(", "), got.join(", "));
        for note in notes {
            difference.push_str(&format!(" ({note})"));
        }
        Err(difference)
    }
}

fn framed(line: &str) -> String {
    format!("{} {line}", line.len())
}

fn outcome_of(verdict: &Verdict) -> (OutcomeName, &str) {
    match verdict {
        Verdict::Ticket(plan) => (OutcomeName::Ticket, &plan.rule),
        Verdict::Ignored { rule } => (OutcomeName::Ignored, rule),
        Verdict::Muted { rule, .. } => (OutcomeName::Muted, rule),
        Verdict::Below { rule, .. } => (OutcomeName::Below, rule),
        Verdict::TooYoung { rule, .. } => (OutcomeName::Young, rule),
        // The count within any time is always known here.
        Verdict::NoRule | Verdict::NeedsCount { .. } => (OutcomeName::None, ""),
    }
}

/// A field of a ticket, by its name in a draft.
fn field(draft: &Draft, key: &str) -> Option<Value> {
    let draft = serde_json::to_value(draft).ok()?;
    draft.get(key).or_else(|| draft.get("fields")?.get(key)).cloned()
}

fn as_json(value: &toml::Value) -> Value {
    serde_json::to_value(value).unwrap_or(Value::Null)
}
