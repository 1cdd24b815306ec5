//! Rules: which faults become tickets, where, and what the tickets say.
//!
//! The first rule that matches a fault decides. One that says `then = "continue"` does not end the
//! search: what it says is laid under what later ones say (the latest project, labels of all); where
//! no later one matches, it decides alone. A rule whose conditions hold but whose count or age is not
//! reached matches not *yet*: later rules are looked at, and it is remembered as the reason when
//! none matches.
//!
//! Faults of changes, of rows and of objects, are made by rules in the first place: a rule selects a
//! change, and only rules that selected it are asked about its fault.
//!
//! Everything is compiled once at the start; nothing here reads a clock or a store.

use std::{cell::OnceCell, time::Duration};

use minijinja::Value;

pub use self::{
    change::{ChangeFacts, Selected},
    class::{Class, Priorities, Priority},
    object::ObjectFacts,
    pattern::Patterns,
    plan::{COOL_OFF, Milestones, Plan, TicketDefaults},
    settings::{ColumnSettings, MatchSettings, Recurrence, RuleSettings, Texts, Then},
};
use self::{matching::Conditions, plan::Ticket, template::Templates};
use super::{
    event::{Kind, Severity},
    time::{Micros, later},
};

mod change;
mod class;
mod compile;
pub mod lasting;
mod matching;
mod object;
mod pattern;
mod plan;
mod settings;
mod template;
#[cfg(test)]
mod tests;

/// The project of tickets that nobody named one for: nothing is sent then.
pub const DRY_PROJECT: &str = "DRY";

/// What is known of a fault when it is decided upon.
pub struct Facts<'a> {
    pub fault: i64,
    pub environment: &'a str,
    pub service: &'a str,
    pub kind: Kind,
    /// Where its events come from, where that is known; a rule that names sources does not match
    /// without.
    pub source: Option<&'a str>,
    pub severity: Severity,
    pub title: &'a str,
    /// The first event's message, and the latest one's.
    pub example: &'a str,
    pub latest: &'a str,
    pub fingerprint: &'a str,
    pub count: u64,
    pub first_seen: Micros,
    pub last_seen: Micros,
    pub state: FaultState,
    /// [`Selected::rule`] of the fault of a change or an object; empty otherwise.
    pub selected_by: &'a str,
    /// How often it happened within the time before now; `None` where that is not known yet.
    pub count_within: &'a dyn Fn(Duration) -> Option<u64>,
}

/// How a fault stands to its tickets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultState {
    /// It never had one.
    New,
    /// It has one that is not done.
    Known,
    /// It came back after its ticket was done, or a person has resolved it.
    Regression,
}

impl FaultState {
    pub const ALL: [Self; 3] = [Self::New, Self::Known, Self::Regression];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Known => "known",
            Self::Regression => "regression",
        }
    }
}

/// What is to become of a fault.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// No rule is about it.
    NoRule,
    Ignored {
        rule: String,
    },
    /// No ticket before then.
    Muted {
        rule: String,
        until: Micros,
    },
    /// It has not happened often enough.
    Below {
        rule: String,
        needed: u64,
        within: Option<Duration>,
        have: u64,
    },
    /// It is not old enough before then.
    TooYoung {
        rule: String,
        until: Micros,
    },
    /// [`Facts::count_within`] must know this; then decide again.
    NeedsCount {
        within: Duration,
    },
    Ticket(Box<Plan>),
}

/// The rules, compiled. The default has none.
#[derive(Debug, Default)]
pub struct Rules {
    /// In their order.
    list: Vec<Rule>,
    templates: Templates,
    priorities: Priorities,
    defaults: TicketDefaults,
    /// Whether any is about changes.
    has_changes: bool,
    /// Whether any is about objects.
    has_objects: bool,
}

#[derive(Debug)]
struct Rule {
    name: String,
    then: Then,
    conditions: Conditions,
    /// See [`Templates::holds`].
    when: Option<String>,
    outcome: Outcome,
}

#[derive(Debug)]
enum Outcome {
    Ignore,
    Mute(Duration),
    Ticket(Box<Ticket>),
}

/// What one rule says to a fault.
enum Answer {
    No,
    NotYet(Verdict),
    Yes,
    Ask(Duration),
}

impl Rules {
    /// Compiles rules. Without any, faults of at least the severity `error` get a ticket in the
    /// default project, where there is one. Rules that name no project, when there is no default
    /// one, make tickets in [`DRY_PROJECT`].
    ///
    /// # Errors
    /// Lists all that is wrong, each with the rule, the setting, its value and what would be right.
    pub fn compile(
        settings: &[RuleSettings],
        priorities: &Priorities,
        defaults: TicketDefaults,
    ) -> Result<Self, Vec<String>> {
        compile::compile(settings, priorities, defaults)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The longest time within which a rule counts.
    #[must_use]
    pub fn window(&self) -> Option<Duration> {
        self.list.iter().filter_map(|rule| rule.conditions.within).max()
    }

    /// What is to become of the fault.
    #[must_use]
    pub fn decide(&self, facts: &Facts<'_>, now: Micros) -> Verdict {
        self.decide_noting(facts, now, &mut Vec::new())
    }

    /// Like [`Self::decide`]; adds to `notes` which rule could not be asked, and why.
    #[must_use]
    pub fn decide_noting(
        &self,
        facts: &Facts<'_>,
        now: Micros,
        notes: &mut Vec<String>,
    ) -> Verdict {
        let fault = OnceCell::new();
        let mut applied: Vec<(&Rule, &Ticket)> = Vec::new();
        let mut not_yet = None;
        for rule in &self.list {
            if !rule.is_asked_about(facts) || !rule.conditions.hold(facts) {
                continue;
            }
            match self.ask(rule, facts, now, &fault, notes) {
                Answer::No => continue,
                Answer::Ask(within) => return Verdict::NeedsCount { within },
                Answer::NotYet(verdict) => {
                    not_yet.get_or_insert(verdict);
                    continue;
                }
                Answer::Yes => {}
            }
            match &rule.outcome {
                Outcome::Ignore => return Verdict::Ignored { rule: rule.name.clone() },
                Outcome::Mute(duration) => {
                    let until = later(facts.first_seen, *duration);
                    if now < until {
                        return Verdict::Muted { rule: rule.name.clone(), until };
                    }
                }
                Outcome::Ticket(ticket) => {
                    applied.push((rule, ticket));
                    if rule.then == Then::Stop {
                        break;
                    }
                }
            }
        }
        if applied.is_empty() {
            return not_yet.unwrap_or(Verdict::NoRule);
        }
        Verdict::Ticket(Box::new(self.plan(&applied, facts)))
    }

    /// The ticket that a person wants for a fault: the rules' one, or where they want none so far the
    /// default one.
    #[must_use]
    pub fn plan_by_hand(&self, facts: &Facts<'_>, now: Micros) -> Plan {
        match self.decide(facts, now) {
            Verdict::Ticket(plan) => *plan,
            _ => Plan { rule: "by hand".to_owned(), ..self.plan(&[], facts) },
        }
    }

    /// Asks a rule whose conditions hold about expression, age and count, the dearest last.
    fn ask(
        &self,
        rule: &Rule,
        facts: &Facts<'_>,
        now: Micros,
        fault: &OnceCell<Value>,
        notes: &mut Vec<String>,
    ) -> Answer {
        if let Some(when) = &rule.when {
            let fault = fault.get_or_init(|| template::fault(facts, &self.url(facts)));
            match self.templates.holds(when, fault, &rule.name) {
                Ok(true) => {}
                Ok(false) => return Answer::No,
                Err(problem) => {
                    notes.push(format!("rule {:?}: when: {problem}", rule.name));
                    return Answer::No;
                }
            }
        }
        let Conditions { min_age, count, within, .. } = rule.conditions;
        let name = || rule.name.clone();
        let until = later(facts.first_seen, min_age);
        if now < until {
            return Answer::NotYet(Verdict::TooYoung { rule: name(), until });
        }
        // What never happened so often did not within a part of the time.
        let have = match within {
            Some(within) if facts.count >= count => (facts.count_within)(within).ok_or(within),
            _ => Ok(facts.count),
        };
        match have {
            Err(within) => Answer::Ask(within),
            Ok(have) if have < count => {
                Answer::NotYet(Verdict::Below { rule: name(), needed: count, within, have })
            }
            Ok(_) => Answer::Yes,
        }
    }
}

impl Rule {
    /// Only rules that selected a change, or an object, are asked about its fault.
    fn is_asked_about(&self, facts: &Facts<'_>) -> bool {
        !facts.kind.is_selected() || change::names(facts.selected_by).any(|name| name == self.name)
    }
}
