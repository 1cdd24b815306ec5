//! From settings to rules: everything that could be wrong with a rule is found at the start.

use std::{collections::HashSet, time::Duration};

use serde_json::{Map, Value};

use super::{
    Milestones, Outcome, Priorities, Rule, RuleSettings, Rules, Then, TicketDefaults,
    change::By,
    lasting,
    matching::Conditions,
    plan::{self, Ticket},
    template::Templates,
};
use crate::domain::{event::Kind, shape::cut};

mod conditions;

/// What is wrong with one rule.
struct Problems<'a> {
    /// `rules[2] "name"`.
    place: String,
    found: &'a mut Vec<String>,
}

impl Problems<'_> {
    /// `problem` says what is wrong and what would be right.
    fn add(&mut self, setting: &str, value: &str, problem: &str) {
        self.found.push(format!("{}: {setting} = {value}: {problem}", self.place));
    }

    fn add_text(&mut self, setting: &str, text: &str, problem: &str) {
        const SHOWN: usize = 80;
        let kept = cut(text, SHOWN);
        let mark = if kept.len() < text.len() { "…" } else { "" };
        self.add(setting, &format!("\"{kept}{mark}\""), problem);
    }
}

pub(super) fn compile(
    settings: &[RuleSettings],
    priorities: &Priorities,
    defaults: TicketDefaults,
) -> Result<Rules, Vec<String>> {
    let built_in = [RuleSettings { name: "default".to_owned(), ..RuleSettings::default() }];
    let settings = match settings {
        [] if !defaults.project.is_empty() => &built_in,
        settings => settings,
    };
    let mut found = Vec::new();
    let mut templates = Templates::default();
    let mut names = HashSet::new();
    let mut rules = Vec::with_capacity(settings.len());
    for (index, rule) in settings.iter().enumerate() {
        let place = if rule.name.is_empty() {
            format!("rules[{index}]")
        } else {
            format!("rules[{index}] {:?}", rule.name)
        };
        let mut problems = Problems { place, found: &mut found };
        check_name(&rule.name, &mut names, &mut problems);
        let conditions = conditions::compile(&rule.matches, &mut problems);
        let when = rule.when.as_ref().map(|when| {
            let name = format!("when/{index}");
            if let Err(problem) = templates.add_expression(&name, when) {
                problems.add_text("when", when, &problem);
            }
            name
        });
        let outcome = outcome(index, rule, &conditions, &mut templates, &mut problems);
        rules.push(Rule { name: rule.name.clone(), then: rule.then, conditions, when, outcome });
    }
    if !found.is_empty() {
        return Err(found);
    }
    let has = |kind| rules.iter().any(|rule| rule.conditions.is_about(kind));
    let (has_changes, has_objects) = (has(Kind::Change), has(Kind::Object));
    let priorities = priorities.clone();
    Ok(Rules { list: rules, templates, priorities, defaults, has_changes, has_objects })
}

fn check_name<'a>(name: &'a str, names: &mut HashSet<&'a str>, problems: &mut Problems<'_>) {
    const LONGEST: usize = 100;
    if name.is_empty() || name.len() > LONGEST || name.contains(char::is_control) {
        problems.add_text("name", name, "a name of 1 to 100 bytes, on one line, is needed");
    } else if !names.insert(name) {
        problems.add_text("name", name, "another rule has this name; each needs its own");
    }
}

fn outcome(
    index: usize,
    rule: &RuleSettings,
    conditions: &Conditions,
    templates: &mut Templates,
    problems: &mut Problems<'_>,
) -> Outcome {
    let ticket = ticket(index, rule, conditions, templates, problems);
    let (setting, outcome) = match (rule.ignore, rule.mute) {
        (false, None) => return Outcome::Ticket(Box::new(ticket)),
        (true, None) => ("ignore", Outcome::Ignore),
        (false, Some(mute)) => ("mute", Outcome::Mute(mute)),
        (true, Some(mute)) => {
            let shown = format!("\"{}\"", lasting::shown(mute));
            problems.add("mute", &shown, "the rule ignores for ever; one of the two is possible");
            return Outcome::Ignore;
        }
    };
    if rule.mute == Some(Duration::ZERO) {
        problems.add("mute", "\"0s\"", "more than zero is needed");
    }
    if rule.then == Then::Continue {
        let problem =
            format!("a rule with `{setting}` ends the search; then = \"stop\" is possible");
        problems.add_text("then", "continue", &problem);
    }
    if let Some(useless) = says_of_ticket(rule) {
        let problem =
            format!("a rule with `{setting}` makes no ticket; one of the two is possible");
        problems.add(useless, "…", &problem);
    }
    outcome
}

/// The first setting that is about a ticket.
fn says_of_ticket(rule: &RuleSettings) -> Option<&'static str> {
    let said = [
        ("project", rule.project.is_some()),
        ("issue_type", rule.issue_type.is_some()),
        ("priority", rule.priority.is_some()),
        ("class", rule.class.is_some()),
        ("labels", !rule.labels.is_empty()),
        ("components", !rule.components.is_empty()),
        ("assignee", rule.assignee.is_some()),
        ("fields", !rule.fields.is_empty()),
        ("summary", rule.summary.is_some()),
        ("description", rule.description.is_some()),
        ("recurrence", rule.recurrence.is_some()),
        ("cool_off", rule.cool_off.is_some()),
        ("comment_at", rule.comment_at.is_some()),
        ("comment_every", rule.comment_every.is_some()),
        ("auto_resolve_after", rule.auto_resolve_after.is_some()),
    ];
    said.into_iter().find(|(_, is_said)| *is_said).map(|(setting, _)| setting)
}

fn ticket(
    index: usize,
    rule: &RuleSettings,
    conditions: &Conditions,
    templates: &mut Templates,
    problems: &mut Problems<'_>,
) -> Ticket {
    let mut template = |setting: &str, source: &Option<String>| {
        let source = source.as_ref()?;
        let name = format!("{setting}/{index}");
        if let Err(problem) = templates.add(&name, source) {
            problems.add_text(setting, source, &problem);
        }
        Some(name)
    };
    let summary = template("summary", &rule.summary);
    let description = template("description", &rule.description);
    check_texts(rule, problems);
    Ticket {
        project: rule.project.clone(),
        issue_type: rule.issue_type.clone(),
        priority: rule.priority.clone(),
        class: rule.class,
        labels: rule.labels.iter().map(|text| plan::label(text)).collect(),
        components: rule.components.clone(),
        assignee: rule.assignee.clone(),
        fields: fields(&rule.fields, problems),
        summary,
        description,
        recurrence: rule.recurrence,
        cool_off: rule.cool_off,
        milestones: rule.comment_at.clone().map(Milestones::At),
        comment_every: rule.comment_every,
        auto_resolve_after: rule.auto_resolve_after,
        fault_by: fault_by(rule, conditions, problems),
    }
}

fn check_texts(rule: &RuleSettings, problems: &mut Problems<'_>) {
    if let Some(project) = &rule.project {
        let belongs = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if !project.starts_with(|first: char| first.is_ascii_alphabetic())
            || !project.bytes().all(belongs)
        {
            problems.add_text("project", project, "a project's key is needed, for example \"OPS\"");
        }
    }
    let names = [
        ("issue_type", &rule.issue_type),
        ("priority", &rule.priority),
        ("assignee", &rule.assignee),
    ];
    for (setting, name) in names {
        if let Some(name) = name
            && (name.trim().is_empty() || name.contains(char::is_control))
        {
            problems.add_text(setting, name, "a name is needed");
        }
    }
    for label in rule.labels.iter().filter(|label| plan::label(label).is_empty()) {
        problems.add_text("labels", label, "a label has at least one character");
    }
    if let Some(counts) = &rule.comment_at {
        let is_ascending = counts.is_sorted_by(|one, two| one < two);
        if !is_ascending || counts.first() == Some(&0) {
            let shown = format!("{counts:?}");
            problems.add(
                "comment_at",
                &shown,
                "ascending counts are needed, for example [10, 100]",
            );
        }
    }
    if rule.auto_resolve_after == Some(Duration::ZERO) {
        problems.add("auto_resolve_after", "\"0s\"", "more than zero is needed");
    }
}

fn fault_by(
    rule: &RuleSettings,
    conditions: &Conditions,
    problems: &mut Problems<'_>,
) -> Option<Vec<By>> {
    let names = rule.fault_by.as_ref()?;
    let of = [Kind::Change, Kind::Object].into_iter().find(|kind| conditions.is_about(*kind));
    if of.is_none() {
        let problem = "only faults of changes and objects are named by a rule; match.kind = \
                       \"change\" or \"object\" is possible";
        problems.add("fault_by", &format!("{names:?}"), problem);
    }
    if names.is_empty() {
        problems.add("fault_by", "[]", "at least one is needed, for example [\"table\"]");
    }
    let mut by = Vec::new();
    for name in names {
        match By::from_name(name, of.unwrap_or(Kind::Change)) {
            Some(part) => by.push(part),
            None => {
                let known = match of {
                    Some(Kind::Object) => "there are bucket, folder, key, type",
                    _ => "there are database, table, type, columns.NAME",
                };
                problems.add_text("fault_by", name, known);
            }
        }
    }
    Some(by)
}

/// Fields as JSON. TOML's dates arrive as tables with one odd key.
fn fields(fields: &Map<String, Value>, problems: &mut Problems<'_>) -> Map<String, Value> {
    const OWN: [&str; 8] = [
        "assignee",
        "components",
        "description",
        "issuetype",
        "labels",
        "priority",
        "project",
        "summary",
    ];
    for (name, _) in fields.iter().filter(|(name, _)| OWN.contains(&name.as_str())) {
        problems.add(&format!("fields.{name}"), "…", "the rule has a setting of its own for it");
    }
    fields.iter().map(|(name, value)| (name.clone(), with_dates(value))).collect()
}

fn with_dates(value: &Value) -> Value {
    const DATE: &str = "$__toml_private_datetime";
    match value {
        Value::Object(members) => match members.get(DATE) {
            Some(date) => date.clone(),
            None => members.iter().map(|(name, value)| (name.clone(), with_dates(value))).collect(),
        },
        Value::Array(items) => items.iter().map(with_dates).collect(),
        other => other.clone(),
    }
}
