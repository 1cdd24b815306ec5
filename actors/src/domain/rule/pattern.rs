//! Patterns of settings: a text in which `*` stands for any characters.

/// One pattern. Matching takes time linear in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    Exact(String),
    /// `first*…*last`, with what stands between two stars in order.
    Glob {
        first: String,
        middle: Vec<String>,
        last: String,
    },
}

impl Pattern {
    fn new(text: &str) -> Self {
        let mut parts: Vec<String> = text.split('*').map(str::to_owned).collect();
        match (parts.pop(), parts.is_empty()) {
            (Some(last), false) => {
                let first = parts.remove(0);
                parts.retain(|part| !part.is_empty());
                Self::Glob { first, middle: parts, last }
            }
            _ => Self::Exact(text.to_owned()),
        }
    }

    fn holds(&self, text: &str) -> bool {
        match self {
            Self::Exact(exact) => text == exact,
            Self::Glob { first, middle, last } => {
                let inner = text.strip_prefix(first.as_str());
                let Some(mut rest) = inner.and_then(|rest| rest.strip_suffix(last.as_str())) else {
                    return false;
                };
                // The first place is as good as any: it leaves the most for what follows.
                for part in middle {
                    let Some(at) = rest.find(part.as_str()) else { return false };
                    rest = &rest[at + part.len()..];
                }
                true
            }
        }
    }
}

/// Patterns of which one must hold; none is no condition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patterns(Vec<Pattern>);

impl Patterns {
    #[must_use]
    pub fn new(texts: &[String]) -> Self {
        Self(texts.iter().map(|text| Pattern::new(text)).collect())
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of them is all of `text`.
    #[must_use]
    pub fn hold(&self, text: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|pattern| pattern.holds(text))
    }

    /// Like [`Self::hold`]; what has no star may be a part of `text`.
    #[must_use]
    pub fn hold_in(&self, text: &str) -> bool {
        self.0.is_empty()
            || self.0.iter().any(|pattern| match pattern {
                Pattern::Exact(part) => text.contains(part.as_str()),
                glob @ Pattern::Glob { .. } => glob.holds(text),
            })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The plain definition, exponential.
    fn by_definition(pattern: &[char], text: &[char]) -> bool {
        match pattern {
            [] => text.is_empty(),
            ['*', rest @ ..] => (0..=text.len()).any(|at| by_definition(rest, &text[at..])),
            [first, rest @ ..] => text.first() == Some(first) && by_definition(rest, &text[1..]),
        }
    }

    proptest! {
        #[test]
        fn a_star_is_any_text(pattern in "[ab*é]{0,7}", text in "[abé]{0,7}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            let expected = by_definition(&chars(&pattern), &chars(&text));
            prop_assert_eq!(Pattern::new(&pattern).holds(&text), expected);
        }
    }

    #[test]
    fn a_title_may_hold_it_anywhere() {
        let patterns = Patterns::new(&["timeout".to_owned(), "lost *".to_owned()]);
        assert!(patterns.hold_in("a timeout of 5s") && patterns.hold_in("lost packet"));
        assert!(!patterns.hold_in("has lost packet") && !patterns.hold("a timeout"));
        assert!(Patterns::default().hold("anything"));
    }
}
