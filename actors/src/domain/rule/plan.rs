//! Plans: the ticket that rules make of a fault, and how it is kept up to date.

use std::time::Duration;

use serde_json::{Map, Value};

use super::{
    Class, DRY_PROJECT, Facts, Recurrence, Rule, Rules, change::By, lasting, template,
    template::TicketText,
};
use crate::domain::ticket::Draft;

/// Where tickets go when no rule says so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TicketDefaults {
    /// The project's key; empty: there is none.
    pub project: String,
    /// Empty: `Bug`.
    pub issue_type: String,
    /// Where people reach the dashboard; empty: tickets have no link.
    pub public_url: String,
}

impl TicketDefaults {
    const ISSUE_TYPE: &str = "Bug";
}

/// What one rule says of a ticket; what it does not say, earlier rules or the defaults do.
#[derive(Debug, Default)]
pub(super) struct Ticket {
    pub(super) project: Option<String>,
    pub(super) issue_type: Option<String>,
    pub(super) priority: Option<String>,
    pub(super) class: Option<Class>,
    pub(super) labels: Vec<String>,
    pub(super) components: Vec<String>,
    pub(super) assignee: Option<String>,
    pub(super) fields: Map<String, Value>,
    /// Names of templates.
    pub(super) summary: Option<String>,
    pub(super) description: Option<String>,
    pub(super) recurrence: Option<Recurrence>,
    pub(super) cool_off: Option<Duration>,
    pub(super) milestones: Option<Milestones>,
    pub(super) comment_every: Option<Duration>,
    pub(super) auto_resolve_after: Option<Duration>,
    pub(super) fault_by: Option<Vec<By>>,
}

/// A ticket to be made, and what is to become of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The rule that decided.
    pub rule: String,
    pub draft: Draft,
    pub recurrence: Recurrence,
    /// A fault that comes back so soon after its ticket was done does not count as back.
    pub cool_off: Duration,
    pub milestones: Milestones,
    /// At most one comment in this time.
    pub comment_every: Duration,
    /// Silence after which a comment says that the fault is over; none: never.
    pub auto_resolve_after: Option<Duration>,
    pub class: Option<Class>,
    /// How soon somebody is to respond.
    pub respond: Option<Duration>,
    /// Why a template of the rule could not be used; the default one was.
    pub template_problem: Option<String>,
}

/// The counts at which a ticket gets a comment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Milestones {
    /// 10, 100, 1,000 …
    #[default]
    PowersOfTen,
    /// Ascending.
    At(Vec<u64>),
}

impl Milestones {
    /// The highest one that was passed between two counts.
    #[must_use]
    pub fn passed(&self, before: u64, now: u64) -> Option<u64> {
        let reached = match self {
            Self::PowersOfTen => {
                now.checked_ilog10().filter(|power| *power > 0).map(|power| 10_u64.pow(power))
            }
            Self::At(counts) => counts.iter().copied().take_while(|count| *count <= now).last(),
        };
        reached.filter(|reached| *reached > before)
    }
}

/// See [`Plan::cool_off`], where no rule says so.
pub const COOL_OFF: Duration = Duration::from_mins(10);
const COMMENT_EVERY: Duration = Duration::from_hours(1);

impl Rules {
    /// Lays what the rules say over each other; the last one decided.
    pub(super) fn plan(&self, applied: &[(&Rule, &Ticket)], facts: &Facts<'_>) -> Plan {
        let all = || applied.iter().map(|(_, ticket)| *ticket);
        let latest = || all().rev();
        let rule = applied.last().map_or("", |(rule, _)| rule.name.as_str());
        let named = latest().find_map(|ticket| ticket.class);
        let class = named.unwrap_or_else(|| Class::of(facts.severity));
        let respond = Some(self.priorities.get(class).respond).filter(|time| !time.is_zero());
        let text = TicketText {
            facts,
            rule,
            url: self.url(facts),
            class: class.name(),
            respond: respond.map(lasting::shown).unwrap_or_default(),
        };
        let mut template_problem = None;
        let mut custom = |name: Option<&String>, key: &str| {
            let rendered = self.templates.render(name?, &text);
            rendered
                .map_err(|problem| {
                    template_problem.get_or_insert(format!("rule {rule:?}: {key}: {problem}"));
                })
                .ok()
        };
        let summary = custom(latest().find_map(|ticket| ticket.summary.as_ref()), "summary");
        let description =
            custom(latest().find_map(|ticket| ticket.description.as_ref()), "description");
        let draft = Draft {
            project: latest()
                .find_map(|ticket| ticket.project.clone())
                .unwrap_or_else(|| or(&self.defaults.project, DRY_PROJECT)),
            issue_type: latest()
                .find_map(|ticket| ticket.issue_type.clone())
                .unwrap_or_else(|| or(&self.defaults.issue_type, TicketDefaults::ISSUE_TYPE)),
            summary: template::tidy_summary(&summary.unwrap_or_else(|| text.summary())),
            description: description.map_or_else(
                || text.description(),
                |description| template::tidy_description(&description),
            ),
            labels: union(all().map(|ticket| &ticket.labels)),
            priority: latest().find_map(|ticket| self.priority(ticket)),
            components: union(all().map(|ticket| &ticket.components)),
            assignee: latest().find_map(|ticket| ticket.assignee.clone()),
            fields: all().flat_map(|ticket| ticket.fields.clone()).collect(),
        };
        Plan {
            rule: rule.to_owned(),
            draft,
            recurrence: latest().find_map(|ticket| ticket.recurrence).unwrap_or_default(),
            cool_off: latest().find_map(|ticket| ticket.cool_off).unwrap_or(COOL_OFF),
            milestones: latest().find_map(|ticket| ticket.milestones.clone()).unwrap_or_default(),
            comment_every: latest()
                .find_map(|ticket| ticket.comment_every)
                .unwrap_or(COMMENT_EVERY),
            auto_resolve_after: latest().find_map(|ticket| ticket.auto_resolve_after),
            class: Some(class),
            respond,
            template_problem,
        }
    }

    /// The priority that a rule names, itself or by its class. Many projects have no such field,
    /// so that it is not set unasked.
    fn priority(&self, ticket: &Ticket) -> Option<String> {
        let of_class = || {
            let priority = &self.priorities.get(ticket.class?).priority;
            (!priority.is_empty()).then(|| priority.clone())
        };
        ticket.priority.clone().or_else(of_class)
    }

    /// Where people find the fault.
    pub(super) fn url(&self, facts: &Facts<'_>) -> String {
        match self.defaults.public_url.trim_end_matches('/') {
            "" => String::new(),
            url => format!("{url}/faults/{}", facts.fault),
        }
    }
}

fn or(text: &str, default: &str) -> String {
    if text.is_empty() { default } else { text }.to_owned()
}

/// All of them, each once.
fn union<'a>(lists: impl Iterator<Item = &'a Vec<String>>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for item in lists.flatten() {
        if !all.contains(item) {
            all.push(item.clone());
        }
    }
    all
}

/// A label as trackers take it: without white space, and not too long.
pub(super) fn label(text: &str) -> String {
    const LONGEST: usize = 255;
    let words: Vec<&str> = text
        .split(|character: char| character.is_whitespace() || character.is_control())
        .filter(|word| !word.is_empty())
        .collect();
    crate::domain::shape::cut(&words.join("-"), LONGEST).to_owned()
}
