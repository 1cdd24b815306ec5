//! Templates: what tickets say, and expressions over faults.
//!
//! Whatever is sent is without secrets: the values that templates see, and once more what they make
//! of them. Work is bounded, so that a template can neither hang nor fill the memory.

use std::borrow::Cow;

use minijinja::{Environment, Error, UndefinedBehavior, Value, context};

use super::{Facts, FaultState};
use crate::domain::{
    event::{Kind, Severity},
    shape::{cut, secret::without_secrets},
    time::rfc3339,
};

/// About so many steps, or 64 bytes of text each.
const FUEL: u64 = 50_000;

/// What a summary may have, in UTF-16 units.
const LONGEST_SUMMARY: usize = 255;
/// The tracker takes 32,767; what is written into the ticket later needs some of it.
const LONGEST_DESCRIPTION: usize = 32_767 - 2_000;
/// Of names in the default description, in bytes.
const LONGEST_NAME: usize = 255;
/// More is not looked at for secrets, because it is cut off all the same.
const LONGEST_TEXT: usize = 1 << 17;

/// What expressions and templates may refer to.
pub(super) const OF_FAULT: [&str; 14] = [
    "fault.id",
    "fault.title",
    "fault.environment",
    "fault.service",
    "fault.kind",
    "fault.severity",
    "fault.state",
    "fault.count",
    "fault.example",
    "fault.latest",
    "fault.first_seen",
    "fault.last_seen",
    "fault.fingerprint",
    "fault.url",
];
pub(super) const OF_RULE: [&str; 1] = ["rule.name"];
pub(super) const OF_TICKET: [&str; 2] = ["class", "respond"];

/// The templates of all rules, compiled, by name.
#[derive(Debug)]
pub(super) struct Templates(Environment<'static>);

impl Default for Templates {
    fn default() -> Self {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(FUEL));
        Self(environment)
    }
}

impl Templates {
    /// Compiles a template.
    pub(super) fn add(&mut self, name: &str, source: &str) -> Result<(), String> {
        self.0
            .add_template_owned(name.to_owned(), source.to_owned())
            .map_err(|error| problem(&error))?;
        self.check_names(name, &[&OF_FAULT, &OF_RULE, &OF_TICKET])?;
        with_sample(|text| self.apply(name, text.values()).map(drop))
    }

    /// Compiles an expression. As a template it is compiled once, and yields a text when it holds.
    pub(super) fn add_expression(&mut self, name: &str, source: &str) -> Result<(), String> {
        self.0.compile_expression_owned(source.to_owned()).map_err(|error| problem(&error))?;
        let template = format!("{{% if ({source}) %}}{HOLDS}{{% endif %}}");
        self.0.add_template_owned(name.to_owned(), template).map_err(|error| problem(&error))?;
        self.check_names(name, &[&OF_FAULT, &OF_RULE])?;
        with_sample(|text| self.holds(name, &fault(text.facts, ""), "sample").map(drop))
    }

    /// Also of branches that are not taken.
    fn check_names(&self, name: &str, known: &[&[&str]]) -> Result<(), String> {
        let template = self.0.get_template(name).map_err(|error| problem(&error))?;
        let known: Vec<&str> = known.iter().flat_map(|names| names.iter().copied()).collect();
        let is_known = |used: &str| {
            known.iter().any(|known| {
                used == *known
                    || known.split('.').next() == Some(used)
                    || used.strip_prefix(known).is_some_and(|rest| rest.starts_with('.'))
            }) || self.0.globals().any(|(global, _)| global == used)
        };
        let mut unknown: Vec<_> = template
            .undeclared_variables(true)
            .into_iter()
            .filter(|used| !is_known(used))
            .collect();
        unknown.sort();
        match unknown.first() {
            None => Ok(()),
            Some(first) => Err(format!("there is no `{first}`; there are {}", known.join(", "))),
        }
    }

    /// Whether the expression holds.
    pub(super) fn holds(&self, name: &str, fault: &Value, rule: &str) -> Result<bool, String> {
        let values = context! { fault => fault.clone(), rule => context! { name => rule } };
        Ok(self.apply(name, values)? == HOLDS)
    }

    /// What a template makes of a fault.
    pub(super) fn render(&self, name: &str, text: &TicketText<'_>) -> Result<String, String> {
        let rendered = self.apply(name, text.values())?;
        if rendered.trim().is_empty() {
            return Err("the text is empty".to_owned());
        }
        Ok(rendered)
    }

    fn apply(&self, name: &str, values: Value) -> Result<String, String> {
        let template = self.0.get_template(name).map_err(|error| problem(&error))?;
        template.render(values).map_err(|error| problem(&error))
    }
}

/// What an expression that holds yields.
const HOLDS: &str = "yes";

fn problem(error: &Error) -> String {
    match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    }
}

/// The fault as expressions see it.
pub(super) fn fault(facts: &Facts<'_>, url: &str) -> Value {
    fault_with(facts, url, |text| Cow::Borrowed(text))
}

fn fault_with(facts: &Facts<'_>, url: &str, shown: fn(&str) -> Cow<'_, str>) -> Value {
    context! {
        id => facts.fault,
        title => shown(facts.title).into_owned(),
        environment => facts.environment,
        service => facts.service,
        kind => facts.kind.name(),
        severity => facts.severity.name(),
        state => facts.state.name(),
        count => facts.count,
        example => shown(facts.example).into_owned(),
        latest => shown(facts.latest).into_owned(),
        first_seen => rfc3339(facts.first_seen),
        last_seen => rfc3339(facts.last_seen),
        fingerprint => facts.fingerprint,
        url => url,
    }
}

/// What the texts of a ticket are made of.
pub(super) struct TicketText<'a> {
    pub(super) facts: &'a Facts<'a>,
    pub(super) rule: &'a str,
    /// Empty where there is none.
    pub(super) url: String,
    pub(super) class: &'static str,
    /// Empty where none is set.
    pub(super) respond: String,
}

/// Tries something on a fault, to find at the start what would fail with every fault.
fn with_sample<T>(attempt: impl FnOnce(&TicketText<'_>) -> T) -> T {
    let facts = Facts {
        fault: 1,
        environment: "production",
        service: "shop",
        kind: Kind::Log,
        source: None,
        severity: Severity::Error,
        title: "cannot open <path>",
        example: "cannot open /tmp/1",
        latest: "cannot open /tmp/2",
        fingerprint: "v1:0",
        count: 1,
        first_seen: 0,
        last_seen: 0,
        state: FaultState::New,
        selected_by: "",
        count_within: &|_| None,
    };
    let url = "https://faultline.example.com/faults/1".to_owned();
    let respond = "8h".to_owned();
    attempt(&TicketText { facts: &facts, rule: "sample", url, class: "P2", respond })
}

impl TicketText<'_> {
    /// What templates see.
    fn values(&self) -> Value {
        context! {
            fault => fault_with(self.facts, &self.url, without_secrets),
            rule => context! { name => self.rule },
            class => self.class,
            respond => self.respond.as_str(),
        }
    }

    /// The default summary: `[production] shop: cannot open <path>`.
    pub(super) fn summary(&self) -> String {
        let Facts { environment, service, title, .. } = *self.facts;
        let environment = match environment {
            "" => String::new(),
            environment => format!("[{}] ", cut(environment, LONGEST_NAME / 4)),
        };
        let service = match service {
            "" => String::new(),
            service => format!("{}: ", cut(service, LONGEST_NAME / 4)),
        };
        format!("{environment}{service}{title}")
    }

    /// The default description.
    pub(super) fn description(&self) -> String {
        let facts = self.facts;
        let name = |text: &str| one_line(cut(text, LONGEST_NAME));
        let mut lines = vec![format!("Environment: {}", name(facts.environment))];
        if !facts.service.is_empty() {
            lines.push(format!("Service: {}", name(facts.service)));
        }
        lines.push(format!("Severity: {}", facts.severity.name()));
        if !self.respond.is_empty() {
            lines
                .push(format!("Class: {}, to be responded to within {}", self.class, self.respond));
        }
        lines.push(format!("Count: {}", facts.count));
        lines.push(format!("First seen: {}", rfc3339(facts.first_seen)));
        lines.push(format!("Last seen: {}", rfc3339(facts.last_seen)));
        let head = format!("{}\n\n{}", one_line(facts.title), lines.join("\n"));
        let head = shown_line_by_line(&head);
        let link = if self.url.is_empty() { String::new() } else { format!("\n\n{}", self.url) };
        let around = units(&head) + units(&link) + units("\n\n```\n\n```");
        let example = plain(&without_secrets(cut(facts.example, LONGEST_TEXT)));
        // A fence within would end ours.
        let example = example.trim_end().replace("```", "'''");
        let example = shortened(&example, LONGEST_DESCRIPTION.saturating_sub(around));
        if example.trim().is_empty() {
            return format!("{head}{link}");
        }
        format!("{head}\n\n```\n{example}\n```{link}")
    }
}

/// Without secrets; names that look like a key must not take the next line with them.
fn shown_line_by_line(text: &str) -> String {
    text.split('\n').map(|line| plain(&without_secrets(line))).collect::<Vec<_>>().join("\n")
}

/// A summary as the tracker takes it.
pub(super) fn tidy_summary(text: &str) -> String {
    shortened(&one_line(&without_secrets(cut(text, LONGEST_TEXT))), LONGEST_SUMMARY)
}

/// A description as the tracker takes it.
pub(super) fn tidy_description(text: &str) -> String {
    shortened(&plain(&without_secrets(cut(text, LONGEST_TEXT))), LONGEST_DESCRIPTION)
}

/// Without control characters, white space as single spaces.
fn one_line(text: &str) -> String {
    let is_gap = |character: char| character.is_whitespace() || character.is_control();
    text.split(is_gap).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Without control characters but ends of lines and tabs.
fn plain(text: &str) -> String {
    text.chars()
        .filter(|character| !character.is_control() || matches!(character, '\n' | '\t'))
        .collect()
}

/// Trackers count as Java and JavaScript do.
fn units(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

/// At most so long; what is cut ends with an ellipsis.
fn shortened(text: &str, longest: usize) -> String {
    if units(text) <= longest {
        return text.to_owned();
    }
    let mut left = longest.saturating_sub(1);
    let mut kept: String = text
        .chars()
        .take_while(|character| {
            let fits = character.len_utf16() <= left;
            left = left.saturating_sub(character.len_utf16());
            fits
        })
        .collect();
    kept.push('…');
    kept
}
