//! Faults: shapes that are one thing gone wrong, gathered under one identity.
//!
//! Most shapes are faults of their own, because masking leaves what the programmer wrote. What it
//! cannot see from one message alone is that a plain word was a variable: `cannot open pwd` beside
//! `cannot open <path>`. So a shape that is seen for the first time joins a fault when the two
//! differ in one place only, and one of them has nothing but a variable there. Two constants in the
//! same place (`Link ok`, `Link error`), or two names with numbers (`eth0`, `usb1`), are never
//! gathered: they say what happened.
//!
//! Whether two shapes are similar depends on nothing but the two, so the order in which shapes are
//! first seen matters only to a shape that is similar to two faults which are not similar to each
//! other. It joins the older one.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher, Hash},
};

use super::shape::Shape;

/// Identifies a fault in its store; older ones are smaller.
pub type FaultId = i64;

/// Shapes with fewer words than this around the place say too little to be gathered.
const FEWEST_WORDS: usize = 3;
/// Longer templates are faults of their own: they are dumps, and differ in more than one place.
const LONGEST_TEMPLATE: usize = 1_024;
/// The same, in parts.
const MOST_PARTS: usize = 64;

/// Why a shape belongs to a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// It founded it.
    New,
    /// It differs from a shape of the fault only in what stands here: `pwd`, or a hole.
    Similar { here: String },
}

impl Why {
    /// The word for it in tables and answers.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Similar { .. } => "similar",
        }
    }

    /// What there is to say beside the word.
    #[must_use]
    pub fn detail(&self) -> &str {
        match self {
            Self::New => "",
            Self::Similar { here } => here,
        }
    }
}

/// Finds the fault that a shape joins. Holds a bounded number of places; when it is full, the
/// oldest are forgotten, and shapes similar only to those become faults of their own.
#[derive(Debug)]
pub struct Gathering {
    places: HashMap<u64, Known>,
    /// In the order in which they came.
    order: VecDeque<u64>,
    capacity: usize,
    state: std::hash::BuildHasherDefault<std::hash::DefaultHasher>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    fault: FaultId,
    is_variable: bool,
}

impl Gathering {
    /// `capacity` in places; a template has as many as it has words.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            places: HashMap::new(),
            order: VecDeque::new(),
            capacity,
            state: std::hash::BuildHasherDefault::default(),
        }
    }

    /// The fault that a shape with `template` joins, within `scope` (environment and service).
    #[must_use]
    pub fn find(&self, scope: &impl Hash, template: &str) -> Option<(FaultId, Why)> {
        let parts = Parts::of(template)?;
        let mut found: Option<(FaultId, Why)> = None;
        for place in parts.places() {
            let Some(known) = self.places.get(&self.key(scope, template, &place)) else { continue };
            let is_older = found.as_ref().is_none_or(|(fault, _)| known.fault < *fault);
            if is_older && (known.is_variable || place.is_variable) {
                let here = template[place.start..place.end].to_owned();
                found = Some((known.fault, Why::Similar { here }));
            }
        }
        found
    }

    /// Makes a shape of `fault` known to shapes to come.
    pub fn add(&mut self, scope: &impl Hash, template: &str, fault: FaultId) {
        let Some(parts) = Parts::of(template) else { return };
        for place in parts.places() {
            let key = self.key(scope, template, &place);
            let new = Known { fault, is_variable: place.is_variable };
            match self.places.entry(key) {
                std::collections::hash_map::Entry::Occupied(mut known) => {
                    let known = known.get_mut();
                    // The older fault stays; where it has no variable here, the younger one's
                    // makes them similar.
                    known.fault = known.fault.min(fault);
                    known.is_variable |= place.is_variable;
                }
                std::collections::hash_map::Entry::Vacant(vacant) => {
                    vacant.insert(new);
                    self.order.push_back(key);
                }
            }
        }
        while self.order.len() > self.capacity {
            let oldest = self.order.pop_front().expect("it is longer than its capacity");
            self.places.remove(&oldest);
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.places.clear();
        self.order.clear();
    }

    /// The template with a gap for the place.
    fn key(&self, scope: &impl Hash, template: &str, place: &Place) -> u64 {
        self.state.hash_one((scope, &template[..place.start], &template[place.end..]))
    }
}

/// How alike two templates are, for people who ask: the share of their parts that are equal, place
/// by place, from 0 to 1.
#[must_use]
pub fn similarity(one: &str, other: &str) -> f64 {
    if one == other {
        return 1.0;
    }
    let (Some(these), Some(those)) = (Parts::of(one), Parts::of(other)) else { return 0.0 };
    let pairs = these.places.iter().zip(&those.places);
    let equal = pairs.filter(|(a, b)| one[a.start..a.end] == other[b.start..b.end]).count();
    equal as f64 / these.places.len().max(those.places.len()).max(1) as f64
}

/// One part of a template in which another one may differ.
#[derive(Clone, Copy, Debug)]
struct Place {
    start: usize,
    end: usize,
    is_variable: bool,
    /// Parts of it that have letters, so that they count as words of the template.
    words: usize,
}

/// Ends a part of a template.
fn separates(character: char) -> bool {
    character.is_whitespace() || "\"'`()[]{}<>,;=|".contains(character)
}

/// The parts of a template between white space and punctuation, and where several stand together
/// (`LOCAL(*)`), these as one.
struct Parts {
    places: Vec<Place>,
    words: usize,
}

impl Parts {
    fn of(template: &str) -> Option<Self> {
        if template.is_empty() || template.len() > LONGEST_TEMPLATE {
            return None;
        }
        let mut places: Vec<Place> = Vec::new();
        let mut start = 0;
        for part in template.split_inclusive(separates) {
            let word = part.trim_end_matches(separates).trim_end_matches(['.', ':', '!', '?']);
            let end = start + word.len();
            if end > start {
                let text = &template[start..end];
                let letters = text.chars().filter(|character| character.is_alphabetic());
                places.push(Place {
                    start,
                    end,
                    is_variable: text.strip_prefix(Shape::HOLE).is_some_and(str::is_empty),
                    words: usize::from(letters.take(2).count() == 2),
                });
            }
            start += part.len();
        }
        if places.len() > MOST_PARTS {
            return None;
        }
        let words = places.iter().map(|place| place.words).sum();
        places.extend(compounds(template, &places));
        Some(Self { places, words })
    }

    /// The places around which enough words remain.
    fn places(&self) -> impl Iterator<Item = Place> {
        let words = self.words;
        let has_words = move |place: &&Place| words - place.words >= FEWEST_WORDS;
        self.places.iter().filter(has_words).copied()
    }
}

/// What stands between white space and has several parts: `LOCAL(*)`, `WorkSource{*}`.
fn compounds(template: &str, parts: &[Place]) -> Vec<Place> {
    let mut compounds = Vec::new();
    let mut first = 0;
    while first < parts.len() {
        let is_together = |at: usize| {
            let between = &template[parts[at - 1].end..parts[at].start];
            !between.contains(char::is_whitespace)
        };
        let mut next = first + 1;
        while next < parts.len() && is_together(next) {
            next += 1;
        }
        let (start, last) = (parts[first].start, parts[next - 1].end);
        let rest = &template[last..];
        let closing = rest.find(|character| !")]}>\"'`".contains(character)).unwrap_or(rest.len());
        if next - first > 1 {
            let words = parts[first..next].iter().map(|part| part.words).sum();
            compounds.push(Place { start, end: last + closing, is_variable: false, words });
        }
        first = next;
    }
    compounds
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn template(text: &str) -> String {
        text.replace('*', "\u{1}")
    }

    /// The faults of templates that come in this order.
    fn gather(texts: &[&str]) -> Vec<FaultId> {
        let mut gathering = Gathering::new(10_000);
        let mut faults = Vec::new();
        for (index, text) in texts.iter().enumerate() {
            let template = template(text);
            let fault = match gathering.find(&"scope", &template) {
                Some((fault, _)) => fault,
                None => FaultId::try_from(index).unwrap(),
            };
            gathering.add(&"scope", &template, fault);
            faults.push(fault);
        }
        faults
    }

    #[test]
    fn a_variable_and_a_constant_in_one_place_are_one_fault() {
        assert_eq!(
            gather(&["LOGIN chdir(*) failed: gone", "LOGIN chdir(pwd) failed: gone"]),
            [0, 0]
        );
        assert_eq!(
            gather(&["LOGIN chdir(pwd) failed: gone", "LOGIN chdir(*) failed: gone"]),
            [0, 0]
        );
        assert_eq!(
            gather(&["error loading a*: no such file", "error loading *: no such file"]),
            [0, 0]
        );
    }

    #[test]
    fn constants_keep_shapes_apart() {
        assert_eq!(gather(&["the link is now up", "the link is now down"]), [0, 1]);
        assert_eq!(gather(&["job * failed", "job x failed"]), [0, 1], "too few words");
        assert_eq!(gather(&["lost link on eth* again", "lost link on usb* again"]), [0, 1]);
        assert_eq!(gather(&["open file * failed on *", "open * failed on disk"]), [0, 1]);
    }

    #[test]
    fn what_stands_together_is_one_place() {
        let texts = ["clock was set by *, stratum *", "clock was set by LOCAL(*), stratum *"];
        assert_eq!(gather(&texts), [0, 0]);
        assert_eq!(gather(&[texts[1], texts[0]]), [0, 0]);
        let texts = ["clock was set by A(*), stratum *", "clock was set by B(*), stratum *"];
        assert_eq!(gather(&texts), [0, 1]);
    }

    #[test]
    fn the_older_of_two_faults_is_joined() {
        let texts = [
            "cannot open file one today",
            "cannot open file two today",
            "cannot open file * today",
        ];
        assert_eq!(gather(&texts), [0, 1, 0]);
        assert_eq!(gather(&[texts[1], texts[2], texts[0]]), [0, 0, 0]);
    }

    #[test]
    fn scopes_have_faults_of_their_own() {
        let mut gathering = Gathering::new(100);
        let text = template("cannot open file * today");
        gathering.add(&"shop", &text, 7);
        assert_eq!(gathering.find(&"shop", &text).map(|(fault, _)| fault), Some(7));
        assert_eq!(gathering.find(&"api", &text), None);
    }

    #[test]
    fn similarity_is_the_share_of_equal_parts() {
        let percent = |one: &str, other: &str| {
            format!("{:.0}", similarity(&template(one), &template(other)) * 100.0)
        };
        assert_eq!(percent("cannot open * today", "cannot open pwd today"), "75");
        assert_eq!(percent("cannot open * today", "cannot open * today"), "100");
        assert_eq!(percent("cannot open", "cannot open the door"), "50");
        assert_eq!(percent("", "cannot open"), "0");
    }

    #[test]
    fn why_says_where_they_differ() {
        let mut gathering = Gathering::new(100);
        gathering.add(&"s", &template("cannot open file * today"), 7);
        let why = gathering.find(&"s", "cannot open file pwd today").map(|(_, why)| why);
        assert_eq!(why, Some(Why::Similar { here: "pwd".to_owned() }));
    }

    proptest! {
        /// Whatever comes, memory is bounded.
        #[test]
        fn it_stays_bounded(texts in proptest::collection::vec("[a-e ]{0,60}", 0..200)) {
            let mut gathering = Gathering::new(50);
            for (index, text) in texts.iter().enumerate() {
                let _ = gathering.find(&"s", text);
                gathering.add(&"s", text, FaultId::try_from(index).unwrap());
                prop_assert!(gathering.order.len() <= 50);
                prop_assert_eq!(gathering.order.len(), gathering.places.len());
            }
        }

        #[test]
        fn similarity_does_not_depend_on_the_order(a in "[a-c]{2}( [a-c\u{1}]{2}){4}", b in "[a-c]{2}( [a-c\u{1}]{2}){4}") {
            let together = |one: &str, other: &str| {
                let mut gathering = Gathering::new(100);
                gathering.add(&"s", one, 1);
                gathering.find(&"s", other).is_some()
            };
            prop_assert_eq!(together(&a, &b), together(&b, &a));
        }
    }
}
