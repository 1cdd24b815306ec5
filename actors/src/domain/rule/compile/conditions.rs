//! The settings in `match`.

use super::Problems;
use crate::domain::{
    event::{Kind, Severity, Source},
    rule::{
        FaultState, MatchSettings, Texts, lasting,
        matching::{Column, Conditions},
        pattern::Patterns,
    },
};

/// The values of a setting that may only be some words.
fn words<T>(
    setting: &str,
    texts: &Texts,
    known: &[(&str, T)],
    problems: &mut Problems<'_>,
) -> Vec<T>
where
    T: Copy,
{
    let mut values = Vec::new();
    for text in &texts.0 {
        match known.iter().find(|(name, _)| name == text) {
            Some((_, value)) => values.push(*value),
            None => {
                let names: Vec<_> = known.iter().map(|(name, _)| *name).collect();
                let problem = format!("there are {}", names.join(", "));
                problems.add_text(&format!("match.{setting}"), text, &problem);
            }
        }
    }
    values
}

pub(super) fn compile(settings: &MatchSettings, problems: &mut Problems<'_>) -> Conditions {
    let kinds = kinds(settings, problems);
    let is_selecting = matches!(kinds[..], [kind] if kind.is_selected());
    let severity = match &settings.severity {
        Some(name) => {
            let severity = Severity::from_name(name);
            if severity.is_none() {
                let problem = "there are emergency, alert, critical, error, warning, notice, info, \
                               debug";
                problems.add_text("match.severity", name, problem);
            }
            severity
        }
        None if is_selecting => None,
        None => Some(Severity::Error),
    };
    let sources = Source::ALL.map(|source| (source.name(), source.name()));
    let states = FaultState::ALL.map(|state| (state.name(), state));
    words("source", &settings.source, &sources, problems);
    check_count(settings, problems);
    let mut is_kind = [false; Kind::ALL.len()];
    for kind in kinds {
        is_kind[kind as usize] = true;
    }
    Conditions {
        kinds: is_kind,
        source: Patterns::new(&settings.source.0),
        environment: Patterns::new(&settings.environment.0),
        service: Patterns::new(&settings.service.0),
        severity,
        title: Patterns::new(&settings.title.0),
        states: words("state", &settings.state, &states, problems),
        database: Patterns::new(&settings.database.0),
        table: Patterns::new(&settings.table.0),
        kind_of_change: Patterns::new(&settings.kind_of_change.0),
        columns: columns(settings, problems),
        bucket: Patterns::new(&settings.bucket.0),
        key: Patterns::new(&settings.key.0),
        min_age: settings.min_age.unwrap_or_default(),
        count: settings.count.unwrap_or_default(),
        within: settings.within,
    }
}

/// Changes and objects are meant only when they are named, or something is said that only they
/// have.
fn kinds(settings: &MatchSettings, problems: &mut Problems<'_>) -> Vec<Kind> {
    let known = Kind::ALL.map(|kind| (kind.name(), kind));
    let named = words("kind", &settings.kind, &known, problems);
    let only: [(&str, &[Kind], bool); 6] = [
        ("database", &[Kind::Change], settings.database.0.is_empty()),
        ("table", &[Kind::Change], settings.table.0.is_empty()),
        ("columns", &[Kind::Change], settings.columns.is_empty()),
        ("bucket", &[Kind::Object], settings.bucket.0.is_empty()),
        ("key", &[Kind::Object], settings.key.0.is_empty()),
        ("type", &[Kind::Change, Kind::Object], settings.kind_of_change.0.is_empty()),
    ];
    let said: Vec<_> = only.iter().filter(|(.., is_missing)| !is_missing).collect();
    if named.is_empty() && said.is_empty() {
        return Kind::ALL.into_iter().filter(|kind| !kind.is_selected()).collect();
    }
    if named.is_empty() {
        let has_all = |kind: &Kind| said.iter().all(|(_, kinds, _)| kinds.contains(kind));
        let kind = [Kind::Change, Kind::Object].into_iter().find(has_all);
        if kind.is_none() {
            let names: Vec<_> = said.iter().map(|(setting, ..)| *setting).collect();
            let problem = "no kind of event has all of these; each kind needs a rule of its own";
            problems.add("match", &names.join(", "), problem);
        }
        return kind.into_iter().collect();
    }
    let impossible =
        said.iter().find(|(_, kinds, _)| named.iter().any(|kind| !kinds.contains(kind)));
    if let Some((setting, kinds, _)) = impossible {
        let shown = named.iter().map(|kind| kind.name()).collect::<Vec<_>>().join("\", \"");
        let kind = kinds[0].name();
        let problem = format!("only {kind}s have `match.{setting}`; kind = \"{kind}\" is possible");
        problems.add_text("match.kind", &shown, &problem);
    } else if let Some(kind) = named.iter().find(|kind| kind.is_selected())
        && named.len() > 1
    {
        let kind = kind.name();
        let problem = format!("{kind}s need a rule of their own");
        problems.add("match.kind", &format!("[\"{kind}\", …]"), &problem);
    }
    named
}

fn check_count(settings: &MatchSettings, problems: &mut Problems<'_>) {
    if settings.count == Some(0) {
        problems.add("match.count", "0", "at least 1 is needed");
    }
    let Some(within) = settings.within else { return };
    let shown = format!("\"{}\"", lasting::shown(within));
    if within.is_zero() {
        problems.add("match.within", &shown, "more than zero is needed");
    } else if settings.count.is_none() {
        problems.add("match.within", &shown, "`match.count` says how often within that time");
    }
}

fn columns(settings: &MatchSettings, problems: &mut Problems<'_>) -> Vec<Column> {
    let mut columns = Vec::new();
    for (name, column) in &settings.columns {
        if [&column.old, &column.new, &column.is].iter().all(|texts| texts.0.is_empty()) {
            let setting = format!("match.columns.{name}");
            problems.add(&setting, "{}", "old, new or is must say a value; \"*\" is any");
        }
        columns.push(Column {
            name: name.clone(),
            old: Patterns::new(&column.old.0),
            new: Patterns::new(&column.new.0),
            is: Patterns::new(&column.is.0),
        });
    }
    columns
}
