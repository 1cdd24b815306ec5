//! The words of a text, and what a search for them needs.
//!
//! A text is *folded*: each character in lower case, by Unicode. A *word* is a longest run of
//! letters and digits of the folded text, and is known by its hash. The words of a [block] of
//! events make its [signature], which says what none of them holds; what may hold the
//! words is looked at closely, by [terms]. Both read a text by the functions of this file, so
//! that nothing which is there is missed.
//!
//! The hash is XXH3 with 64 bits, and is kept in stores: it must stay what it is.

use memchr::memchr;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::event::Kind;

pub mod block;
pub mod signature;
pub mod terms;

/// The hash of a word, or of a field's value; never 0.
pub type Word = u64;

fn hash(word: &[u8]) -> Word {
    xxh3_64(word).max(1)
}

/// What events are filtered by beside their text. A field's value is hashed with the field's number,
/// so that it is no word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Field {
    Environment = 1,
    Service,
    Kind,
    Severity,
    Source,
    Fingerprint,
}

impl Field {
    #[must_use]
    pub fn word(self, value: &str) -> Word {
        xxh3_64_with_seed(value.as_bytes(), self as u64).max(1)
    }
}

/// Whether an event's attributes are searched. Those of a router's line are read from the line,
/// which is the message.
#[must_use]
pub fn has_text(kind: Kind) -> bool {
    kind != Kind::Router
}

/// Calls `each` with the hash of each word of `text`, as often as it occurs, until that says `false`.
/// `folded` is overwritten.
pub fn each_word(text: &str, folded: &mut String, each: impl FnMut(Word) -> bool) {
    fold(text, folded);
    if folded.is_ascii() {
        each_ascii_word(folded.as_bytes(), each);
    } else {
        each_unicode_word(folded, each);
    }
}

/// Makes `folded` the folded form of `text`. Character by character: what a character becomes must
/// not depend on its neighbours, which a search does not know.
pub fn fold(text: &str, folded: &mut String) {
    folded.clear();
    if text.is_ascii() {
        folded.push_str(text);
        folded.make_ascii_lowercase();
    } else {
        folded.extend(text.chars().flat_map(char::to_lowercase));
    }
}

fn each_unicode_word(folded: &str, mut each: impl FnMut(Word) -> bool) {
    for word in folded.split(|character: char| !character.is_alphanumeric()) {
        if !word.is_empty() && !each(hash(word.as_bytes())) {
            return;
        }
    }
}

/// Sixty-four bytes at a time: which of them belong to words is a number whose bits change where
/// words begin and end.
fn each_ascii_word(folded: &[u8], mut each: impl FnMut(Word) -> bool) {
    const WIDTH: usize = 64;
    // Where the word began that is not ended yet.
    let mut begun = None;
    let mut look = |at: usize, members: u64| {
        let mut edges = members ^ (members << 1 | u64::from(begun.is_some()));
        while edges != 0 {
            let edge = at + edges.trailing_zeros() as usize;
            edges &= edges - 1;
            match begun.take() {
                None => begun = Some(edge),
                Some(start) => {
                    if !each(hash(&folded[start..edge])) {
                        return false;
                    }
                }
            }
        }
        true
    };
    let (chunks, rest) = folded.as_chunks::<WIDTH>();
    let mut at = 0;
    for chunk in chunks {
        if !look(at, members(chunk)) {
            return;
        }
        at += WIDTH;
    }
    // What is behind the end belongs to no word, so that one which reaches it ends there.
    let mut last = [b' '; WIDTH];
    last[..rest.len()].copy_from_slice(rest);
    look(at, members(&last));
}

/// A bit for each byte that is a lower-case letter or a digit.
fn members(chunk: &[u8; 64]) -> u64 {
    /// Moves the lowest bits of eight bytes side by side, into the highest byte.
    const GATHER: u64 = 0x0102_0408_1020_4080;
    let is_member = chunk.map(|byte| {
        u8::from(byte.wrapping_sub(b'a') < 26) | u8::from(byte.wrapping_sub(b'0') < 10)
    });
    let (eights, _) = is_member.as_chunks::<8>();
    eights
        .iter()
        .rev()
        .fold(0, |bits, eight| bits << 8 | u64::from_le_bytes(*eight).wrapping_mul(GATHER) >> 56)
}

/// A JSON text as it is searched: what its escapes stand for, so that `"\nfoo"` holds the word
/// `foo`. `None` where it has no escapes.
#[must_use]
pub fn without_escapes(json: &str) -> Option<String> {
    memchr(b'\\', json.as_bytes())?;
    let mut out = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(at) = memchr(b'\\', rest.as_bytes()) {
        out.push_str(&rest[..at]);
        let escape = &rest[at + 1..];
        let Some(kind) = escape.chars().next() else { return Some(out) };
        rest = &escape[kind.len_utf8()..];
        match kind {
            'b' | 'f' | 'n' | 'r' | 't' => out.push(' '),
            'u' => rest = push_unicode(rest, &mut out),
            other => out.push(other),
        }
    }
    out.push_str(rest);
    Some(out)
}

/// Appends what `\u` and `digits` stand for, with the second half of a pair; gives what is behind.
fn push_unicode<'a>(digits: &'a str, out: &mut String) -> &'a str {
    let unit = |text: &str| u16::from_str_radix(text.get(..4)?, 16).ok();
    let Some(first) = unit(digits) else { return digits };
    let rest = &digits[4..];
    let second = rest.strip_prefix("\\u").and_then(unit);
    let pair = second.and_then(|second| char::decode_utf16([first, second]).next()?.ok());
    match (char::from_u32(u32::from(first)), pair) {
        (Some(character), _) => out.push(character),
        (None, Some(character)) => {
            out.push(character);
            return &rest[6..];
        }
        (None, None) => out.push(char::REPLACEMENT_CHARACTER),
    }
    rest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(text: &str) -> Vec<Word> {
        let mut words = Vec::new();
        each_word(text, &mut String::new(), |word| {
            words.push(word);
            true
        });
        words
    }

    /// As the module's documentation says it.
    fn plainly(text: &str) -> Vec<Word> {
        let folded: String = text.chars().flat_map(char::to_lowercase).collect();
        let runs = folded.split(|character: char| !character.is_alphanumeric());
        runs.filter(|run| !run.is_empty()).map(|run| xxh3_64(run.as_bytes())).collect()
    }

    #[test]
    fn words_are_runs_of_letters_and_digits() {
        assert_eq!(words("GET /users/17?Page=2"), ["get", "users", "17", "page", "2"].map(xxh));
        assert_eq!(
            words("Übermut ΣΑΣ 東京 user_id"),
            ["übermut", "σασ", "東京", "user", "id"].map(xxh)
        );
        assert!(words(" -- ").is_empty());
        // Kept in stores.
        assert_eq!(words("timeout"), [1_158_555_873_321_760_021]);
    }

    fn xxh(word: &str) -> Word {
        xxh3_64(word.as_bytes())
    }

    #[test]
    fn a_fields_value_is_no_word() {
        assert_ne!(Field::Kind.word("error"), xxh("error"));
        assert_ne!(Field::Kind.word("error"), Field::Severity.word("error"));
    }

    #[test]
    fn one_can_stop() {
        let mut count = 0;
        each_word(&"word ".repeat(100), &mut String::new(), |_| {
            count += 1;
            count < 3
        });
        assert_eq!(count, 3);
    }

    #[test]
    fn escapes_are_what_they_stand_for() {
        assert_eq!(without_escapes(r#"{"a":"b"}"#), None);
        let escaped = r#""\nfoo\tbar \"x\" \\ \/ \u00e9 \ud83d\ude00 \ud83d \udead1 \u12"#;
        let plain = "\" foo bar \"x\" \\ / é \u{1F600} \u{fffd} \u{fffd}1 12";
        assert_eq!(without_escapes(escaped).as_deref(), Some(plain));
        assert_eq!(without_escapes("end\\").as_deref(), Some("end"));
    }

    proptest! {
        #[test]
        fn the_fast_way_finds_the_same(text in "[a-zA-Z0-9 ._\\-]{0,300}", other in ".{0,100}") {
            prop_assert_eq!(words(&text), plainly(&text));
            prop_assert_eq!(words(&other), plainly(&other));
            let both = text + &other;
            prop_assert_eq!(words(&both), plainly(&both));
        }

        #[test]
        fn escaping_changes_no_word(text in "\\PC{0,60}") {
            let json = serde_json::to_string(&text).unwrap();
            let read = without_escapes(&json).unwrap_or(json);
            prop_assert_eq!(words(&read), words(&text));
        }
    }
}
