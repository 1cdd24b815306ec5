//! What the program itself logs as WARN or ERROR, gathered: lines that differ in numbers and names
//! only are one group, so that a line that is logged again and again is counted.

use std::collections::BTreeMap;

use super::{
    shape::{Shape, cut, secret::without_secrets},
    time::Micros,
};

/// How bad a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Warn,
    Error,
}

impl Level {
    pub const ALL: [Self; 2] = [Self::Warn, Self::Error];

    /// The name in the store and in answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.name() == name)
    }
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub at: Micros,
    pub level: Level,
    /// The module that said it.
    pub target: &'static str,
    /// What it said …
    pub message: String,
    /// … and about what: `error=… fault=7`.
    pub fields: String,
}

/// Lines that say the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub level: Level,
    pub target: String,
    /// The message, with a mark for each of its variables.
    pub template: String,
    /// The last line, with its fields; shows no secret.
    pub message: String,
    pub first_at: Micros,
    pub last_at: Micros,
    pub count: i64,
}

/// Longer texts are cut, in bytes.
const LONGEST_TEMPLATE: usize = 300;
const LONGEST_MESSAGE: usize = 2_000;

/// Groups that wait to be stored.
#[derive(Clone, Debug, Default)]
pub struct Gathered(BTreeMap<(Level, String, String), Group>);

impl Gathered {
    /// So many groups may wait.
    pub const MOST: usize = 200;

    /// Adds a line; `false` where it would be one group too many.
    #[must_use]
    pub fn add(&mut self, line: &Line) -> bool {
        // A NUL is more than a store takes.
        let said = without_secrets(&line.message).replace('\0', "");
        let template = cut(&Shape::of_log(&said).title, LONGEST_TEMPLATE).to_owned();
        let key = (line.level, line.target.to_owned(), template);
        if !self.0.contains_key(&key) && self.0.len() >= Self::MOST {
            return false;
        }
        let between = if line.fields.is_empty() { "" } else { " " };
        let fields = without_secrets(&line.fields);
        let message = format!("{said}{between}{fields}").replace('\0', "");
        let message = cut(&message, LONGEST_MESSAGE).to_owned();
        let group = self.0.entry(key).or_insert_with_key(|(level, target, template)| Group {
            level: *level,
            target: target.clone(),
            template: template.clone(),
            message: String::new(),
            first_at: line.at,
            last_at: line.at,
            count: 0,
        });
        group.message = message;
        group.last_at = group.last_at.max(line.at);
        group.count += 1;
        true
    }

    /// All that wait, which then wait no more.
    #[must_use]
    pub fn take(&mut self) -> Vec<Group> {
        std::mem::take(&mut self.0).into_values().collect()
    }

    /// They could not be stored, and wait on.
    pub fn give_back(&mut self, groups: Vec<Group>) {
        for group in groups {
            let key = (group.level, group.target.clone(), group.template.clone());
            let Some(newer) = self.0.get_mut(&key) else {
                self.0.insert(key, group);
                continue;
            };
            newer.count += group.count;
            newer.first_at = newer.first_at.min(group.first_at);
        }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(at: Micros, message: &str, fields: &str) -> Line {
        let (message, fields) = (message.to_owned(), fields.to_owned());
        Line { at, level: Level::Warn, target: "faultline::x", message, fields }
    }

    #[test]
    fn lines_that_say_the_same_are_counted() {
        let mut gathered = Gathered::default();
        for (at, number) in [(5, 17), (7, 4_711), (6, 99)] {
            let message = format!("record {number} cannot be read");
            assert!(gathered.add(&line(at, &message, &format!("error=\"io {number}\""))));
        }
        assert!(gathered.add(&line(8, "the store is away", "")));
        let error = Line { level: Level::Error, ..line(9, "the store is away", "") };
        assert!(gathered.add(&error));
        let groups = gathered.take();
        let counts: Vec<_> = groups.iter().map(|it| (it.count, it.first_at, it.last_at)).collect();
        assert_eq!(counts, [(3, 5, 7), (1, 8, 8), (1, 9, 9)]);
        assert_eq!(groups[0].message, "record 99 cannot be read error=\"io 99\"");
        assert!(!groups[0].template.contains("99"), "{}", groups[0].template);
        assert!(gathered.is_empty());
        assert!(gathered.add(&line(20, "record 1 cannot be read", "")));
        gathered.give_back(groups);
        let groups = gathered.take();
        assert_eq!((groups[0].count, groups[0].first_at, groups[0].last_at), (4, 5, 20));
        assert_eq!(groups[0].message, "record 1 cannot be read");
        assert_eq!(groups.len(), 3);
    }

    #[test]
    fn what_waits_is_bounded_and_shows_no_secret() {
        let mut gathered = Gathered::default();
        let secret = "password=hunter2secret";
        assert!(gathered.add(&line(0, secret, secret)));
        assert!(gathered.add(&line(0, &"x\0".repeat(9_999), &"y ".repeat(9_999))));
        let groups = gathered.take();
        assert!(groups.iter().all(|group| {
            group.message.len() <= LONGEST_MESSAGE
                && group.template.len() <= LONGEST_TEMPLATE
                && !format!("{group:?}").contains("hunter2")
                && !group.message.contains('\0')
        }));
        let word = |number: usize| {
            let letter = |at: usize| char::from(b'a' + u8::try_from(at % 26).unwrap());
            format!("{}{} is away", letter(number), letter(number / 26))
        };
        let added = (0..500).filter(|number| gathered.add(&line(0, &word(*number), ""))).count();
        assert_eq!(gathered.take().len(), Gathered::MOST);
        assert_eq!(added, Gathered::MOST);
    }
}
