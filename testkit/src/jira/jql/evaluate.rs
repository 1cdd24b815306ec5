//! Which issues a query finds, and in which order.

use jiff::{SignedDuration, Timestamp, civil, tz};
use serde_json::Value;

use super::{Clause, Field, Filter, Operator, Query};
use crate::jira::{
    settings::{Category, Settings},
    world::{Issue, World},
};

const FORMATS: &str = "Valid formats include: 'yyyy/MM/dd HH:mm', 'yyyy-MM-dd HH:mm', 'yyyy/MM/dd', 'yyyy-MM-dd', or a period format e.g. '-5d', '4w 2d'.";

impl Query {
    /// Whether all values mean something: Jira refuses a query that names a project, an issue or a
    /// status that is not there.
    pub(in crate::jira) fn check(&self, world: &World) -> Result<(), String> {
        self.filter.as_ref().map_or(Ok(()), |filter| filter.check(world))
    }

    pub(in crate::jira) fn finds(&self, issue: &Issue, settings: &Settings) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.finds(issue, settings))
    }

    /// Sorts what was found; newest first where the query does not say.
    pub(in crate::jira) fn sort<T: AsRef<Issue>>(&self, found: &mut [T]) {
        let number = |issue: &Issue| issue.id.parse::<u64>().unwrap_or_default();
        found.sort_by(|one, other| {
            let (one, other) = (one.as_ref(), other.as_ref());
            let compared = self.order.iter().map(|order| {
                let ordering = match order.field {
                    Field::Created => one.created.cmp(&other.created),
                    Field::Updated => one.updated.cmp(&other.updated),
                    _ => number(one).cmp(&number(other)),
                };
                if order.is_descending { ordering.reverse() } else { ordering }
            });
            let decided = compared.into_iter().find(|ordering| ordering.is_ne());
            decided.unwrap_or_else(|| number(other).cmp(&number(one)))
        });
    }
}

impl Filter {
    fn check(&self, world: &World) -> Result<(), String> {
        match self {
            Self::And(parts) | Self::Or(parts) => {
                parts.iter().try_for_each(|part| part.check(world))
            }
            Self::Not(part) => part.check(world),
            Self::Clause(clause) => {
                clause.values.iter().try_for_each(|value| clause.check(value, world))
            }
        }
    }

    fn finds(&self, issue: &Issue, settings: &Settings) -> bool {
        match self {
            Self::And(parts) => parts.iter().all(|part| part.finds(issue, settings)),
            Self::Or(parts) => parts.iter().any(|part| part.finds(issue, settings)),
            Self::Not(part) => !part.finds(issue, settings),
            Self::Clause(clause) => clause.finds(issue, settings),
        }
    }
}

impl Clause {
    fn check(&self, value: &str, world: &World) -> Result<(), String> {
        let settings = &world.settings;
        let same = |name: &String| name.eq_ignore_ascii_case(value);
        let missing = |field: &str| {
            Err(format!("The value '{value}' does not exist for the field '{field}'."))
        };
        match self.field {
            Field::Project => {
                let is_known = settings.projects.iter().any(|known| same(&known.key));
                if is_known { Ok(()) } else { missing("project") }
            }
            // Of the issues as they are: what the index does not see yet is no unknown key.
            Field::Key if world.find(value).is_none() => {
                Err(format!("An issue with key '{value}' does not exist for field 'key'."))
            }
            Field::Status
                if !settings
                    .statuses
                    .iter()
                    .any(|known| same(&known.name) || known.id == value) =>
            {
                missing("status")
            }
            Field::StatusCategory if category(value).is_none() => missing("statusCategory"),
            Field::IssueType if !settings.issue_types.iter().any(|known| same(&known.name)) => {
                missing("issuetype")
            }
            Field::Priority if !settings.priorities.iter().any(|known| same(&known.name)) => {
                missing("priority")
            }
            Field::Resolution
                if !same(&"Unresolved".to_owned())
                    && !settings.resolutions.iter().any(|known| same(&known.name)) =>
            {
                missing("resolution")
            }
            Field::Created | Field::Updated if moment(value, settings).is_none() => {
                let field = if self.field == Field::Created { "created" } else { "updated" };
                Err(format!("Date value '{value}' for field '{field}' is invalid. {FORMATS}"))
            }
            _ => Ok(()),
        }
    }

    fn finds(&self, issue: &Issue, settings: &Settings) -> bool {
        use Operator as O;
        let held = self.held(issue);
        let matches = |value: &String| held.iter().any(|held| self.same(held, value));
        match self.operator {
            O::Is | O::In if self.values.is_empty() => held.is_empty(),
            O::IsNot | O::NotIn if self.values.is_empty() => !held.is_empty(),
            O::Is | O::In => self.values.iter().any(matches),
            // The trap of JQL: what is empty is not found by "is not".
            O::IsNot | O::NotIn => !held.is_empty() && !self.values.iter().any(matches),
            O::Contains => self.values.iter().all(|value| contains(&held, value)),
            O::ContainsNot => {
                !held.is_empty() && !self.values.iter().all(|value| contains(&held, value))
            }
            O::Less | O::AtMost | O::Greater | O::AtLeast => self.values.iter().all(|value| {
                let time = if self.field == Field::Created { issue.created } else { issue.updated };
                moment(value, settings).is_some_and(|moment| match self.operator {
                    O::Less => time < moment,
                    O::AtMost => time <= moment,
                    O::Greater => time > moment,
                    _ => time >= moment,
                })
            }),
        }
    }

    fn same(&self, held: &str, value: &str) -> bool {
        match self.field {
            Field::StatusCategory => category(value).is_some_and(|value| value.key() == held),
            _ => held.eq_ignore_ascii_case(value),
        }
    }

    /// What the field holds; nothing when it is empty.
    fn held(&self, issue: &Issue) -> Vec<String> {
        let text = |text: &String| Vec::from_iter((!text.is_empty()).then(|| text.clone()));
        match &self.field {
            Field::Project => vec![issue.project.clone()],
            Field::Key => vec![issue.key.clone(), issue.id.clone()],
            Field::IssueType => vec![issue.issue_type.clone()],
            Field::Summary => text(&issue.summary),
            Field::Description => text(&issue.description),
            Field::Labels => issue.labels.clone(),
            Field::Status => vec![issue.status.name.clone(), issue.status.id.clone()],
            Field::StatusCategory => vec![issue.status.category.key().to_owned()],
            Field::Resolution => match &issue.resolution {
                Some(name) => vec![name.clone()],
                None if self.names_unresolved() => vec!["Unresolved".to_owned()],
                None => Vec::new(),
            },
            Field::Priority => issue.priority.iter().cloned().collect(),
            Field::Assignee => issue.assignee.iter().cloned().collect(),
            Field::Created | Field::Updated => Vec::new(),
            Field::Custom(number) => {
                let value = issue.custom.get(&format!("customfield_{number}"));
                value.map(strings).unwrap_or_default()
            }
        }
    }

    fn names_unresolved(&self) -> bool {
        self.values.iter().any(|value| value.eq_ignore_ascii_case("unresolved"))
    }
}

fn strings(value: &Value) -> Vec<String> {
    match value {
        Value::Null => Vec::new(),
        Value::String(text) => vec![text.clone()],
        Value::Array(values) => values.iter().flat_map(strings).collect(),
        Value::Object(object) => object.get("value").map(strings).unwrap_or_default(),
        number => vec![number.to_string()],
    }
}

fn category(name: &str) -> Option<Category> {
    let all = [Category::New, Category::Indeterminate, Category::Done];
    all.into_iter().find(|category| {
        let id = category.id().to_string();
        [category.key(), category.name(), &id].iter().any(|known| known.eq_ignore_ascii_case(name))
    })
}

/// Whether all words of `query` are in a text; one in quotes must be there as it is, and one that
/// ends in `*` begins a word.
fn contains(held: &[String], query: &str) -> bool {
    let words = |text: &str| -> Vec<String> {
        let letters = |c: char| !c.is_alphanumeric();
        let words = text.split(letters).filter(|word| !word.is_empty());
        words.map(str::to_lowercase).collect()
    };
    let phrase = query.strip_prefix('"').and_then(|query| query.strip_suffix('"'));
    held.iter().any(|text| {
        let text = words(text);
        if let Some(phrase) = phrase {
            let phrase = words(phrase);
            return text.windows(phrase.len().max(1)).any(|window| window == phrase);
        }
        query.split_whitespace().all(|part| {
            let (wanted, begins) = (words(part), part.ends_with('*'));
            wanted.iter().all(|wanted| {
                text.iter().any(|word| word == wanted || begins && word.starts_with(wanted))
            })
        })
    })
}

/// A date in the asking user's time zone, or a period from now.
fn moment(value: &str, settings: &Settings) -> Option<Timestamp> {
    if let Some(seconds) = period(value) {
        return Timestamp::now().checked_add(SignedDuration::from_secs(seconds)).ok();
    }
    let value = value.replace('/', "-");
    let time = civil::DateTime::strptime("%Y-%m-%d %H:%M", &value);
    let day = || civil::Date::strptime("%Y-%m-%d", &value).map(civil::DateTime::from);
    let time = time.or_else(|_| day()).ok()?;
    let zone = tz::TimeZone::fixed(tz::offset(settings.utc_offset));
    time.to_zoned(zone).ok().map(|zoned| zoned.timestamp())
}

/// `-5m`, `4w 2d`: the sign holds for all of it. Minutes have the small letter.
fn period(text: &str) -> Option<i64> {
    let (sign, text) = match text.strip_prefix('-') {
        Some(text) => (-1, text),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let mut seconds = 0;
    for part in text.split_whitespace() {
        let unit = match part.chars().last()? {
            'w' => 604_800,
            'd' => 86_400,
            'h' => 3_600,
            'm' => 60,
            _ => return None,
        };
        seconds += part[..part.len() - 1].parse::<u32>().ok().map(i64::from)? * unit;
    }
    (!text.trim().is_empty()).then_some(sign * seconds)
}
