//! What somebody searches for.
//!
//! Terms are separated by white space; double quotes make one term of several words. An event is
//! found when each term occurs in its message, its stack trace, its process or its attributes, in
//! any case, with its first and its last word whole: `req-7` is found in `(REQ-7)`, not in `req-71`.

use memchr::memmem::Finder;

use super::{Word, each_word, fold};

/// See the [module](self).
#[derive(Clone, Debug, Default)]
pub struct Terms(Vec<Term>);

#[derive(Clone, Debug)]
struct Term {
    folded: Finder<'static>,
    words: Vec<Word>,
    /// The first and the last character belong to words.
    edges: (bool, bool),
}

impl Terms {
    /// No more bytes can be searched for.
    pub const MAX_BYTES: usize = 1_000;
    /// Nor more terms.
    pub const MOST: usize = 20;

    /// # Errors
    /// When there is too much of it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > Self::MAX_BYTES {
            return Err(format!(
                "{} bytes: at most {} can be searched for",
                text.len(),
                Self::MAX_BYTES
            ));
        }
        let mut terms = Vec::new();
        // Every other part stands between quotes.
        for (index, part) in text.split('"').enumerate() {
            if index % 2 == 1 {
                terms.extend(Term::new(part.trim()));
            } else {
                terms.extend(part.split_whitespace().filter_map(Term::new));
            }
        }
        if terms.len() > Self::MOST {
            return Err(format!("{} terms: at most {} are possible", terms.len(), Self::MOST));
        }
        Ok(Self(terms))
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The words that an event must hold.
    pub fn words(&self) -> impl Iterator<Item = Word> {
        self.0.iter().flat_map(|term| &term.words).copied()
    }

    /// Whether each term occurs in one of `texts`.
    #[must_use]
    pub fn occur_in(&self, texts: &[&str]) -> bool {
        let mut missing: Vec<&Term> = self.0.iter().collect();
        let mut folded = String::new();
        for text in texts {
            if missing.is_empty() {
                break;
            }
            fold(text, &mut folded);
            missing.retain(|term| !term.occurs_in(&folded));
        }
        missing.is_empty()
    }
}

impl Term {
    /// `None` of nothing.
    fn new(text: &str) -> Option<Self> {
        let (mut folded, mut words) = (String::new(), Vec::new());
        each_word(text, &mut folded, |word| {
            words.push(word);
            true
        });
        let edges =
            (folded.starts_with(char::is_alphanumeric), folded.ends_with(char::is_alphanumeric));
        let finder = Finder::new(&folded).into_owned();
        (!folded.is_empty()).then_some(Self { folded: finder, words, edges })
    }

    fn occurs_in(&self, folded: &str) -> bool {
        let length = self.folded.needle().len();
        let mut from = 0;
        while let Some(at) = self.folded.find(&folded.as_bytes()[from..]) {
            let start = from + at;
            let (before, behind) = (&folded[..start], &folded[start + length..]);
            let is_whole = !(self.edges.0 && before.ends_with(char::is_alphanumeric)
                || self.edges.1 && behind.starts_with(char::is_alphanumeric));
            if is_whole {
                return true;
            }
            // On to the next character.
            from = start + folded[start..].chars().next().map_or(1, char::len_utf8);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn finds(terms: &str, texts: &[&str]) -> bool {
        Terms::parse(terms).unwrap().occur_in(texts)
    }

    #[test]
    fn first_and_last_word_are_whole() {
        for text in ["req-7", "(REQ-7)", "x req-71 req-7 y", "é:req-7é req-7"] {
            assert!(finds("req-7", &[text]), "{text}");
        }
        for text in ["req-71", "areq-7", "req 7", "éreq-7", "req-7é", ""] {
            assert!(!finds("req-7", &[text]), "{text}");
        }
        assert!(finds("/users/", &["GET /users/7"]) && !finds("/users/", &["GET /users"]));
        assert!(finds("->", &["a->b"]));
        assert!(finds("aa", &["aaa aa"]));
    }

    #[test]
    fn each_term_occurs_somewhere() {
        assert!(finds("timeout web.1", &["a Timeout", "web.1"]));
        assert!(!finds("timeout web.1", &["a Timeout", "web.2"]));
        assert!(finds(r#""a timeout" b"#, &["B, A TIMEOUT"]));
        assert!(!finds(r#""a timeout""#, &["timeout a"]));
        assert!(!finds(r#""a timeout"#, &["a  timeout"]), "a quote may stay open");
        assert!(finds("", &[]) && finds("\" \"", &[]));
        assert!(finds("ÜBER σας", &["Über ΣΑς"]));
    }

    #[test]
    fn too_much_is_refused() {
        assert!(Terms::parse(&"a".repeat(1_001)).is_err());
        assert!(Terms::parse(&"a ".repeat(21)).is_err());
    }

    proptest! {
        /// Else a signature would hide what is there.
        #[test]
        fn what_holds_a_term_holds_its_words(
            text in "[a-cA-CéÉİß .-]{0,60}", term in "[a-cA-CéÉİß.-]{1,6}"
        ) {
            let terms = Terms::parse(&term).unwrap();
            let mut words = Vec::new();
            each_word(&text, &mut String::new(), |word| { words.push(word); true });
            if terms.occur_in(&[&text]) {
                prop_assert!(terms.words().all(|word| words.contains(&word)));
            }
        }

        #[test]
        fn a_word_of_a_text_is_found(text in ".{0,60}") {
            for word in text.split(|character: char| !character.is_alphanumeric()) {
                // A letter whose lower case is more than letters ends a word.
                let is_simple = word.chars().flat_map(char::to_lowercase).all(char::is_alphanumeric);
                prop_assert!(!is_simple || finds(word, &[&text]), "{}", word);
            }
        }
    }
}
