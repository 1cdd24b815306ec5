//! Shapes: what remains of an event when its variables are masked, and the fingerprint of that.
//!
//! A shape is a pure function of the event: the same on every machine, in any order, after any
//! restart. Its fingerprint is the SHA-256 of the masked text and is written `v1:` + 64 hex
//! digits; the version changes whenever the function does.

use std::fmt;

use sha2::{Digest, Sha256};

use super::route::push_template;

/// How much of a message is looked at; the rest rarely tells faults apart and must not cost.
const MAX_MESSAGE: usize = 4096;

/// How many frames of a stack trace make its identity.
const MAX_FRAMES: usize = 8;

/// The identity of a shape.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of the given parts, in order.
    #[must_use]
    pub fn of_parts<'a>(parts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update(part.as_bytes());
            // No masked text contains it, so that ("ab", "c") and ("a", "bc") differ.
            hash.update([0]);
        }
        Self(hash.finalize().into())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("v1:")?;
        for byte in self.0 {
            write!(out, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// A shape: its identity and the text people read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    pub fingerprint: Fingerprint,
    /// At most [`Shape::MAX_TITLE`] bytes.
    pub title: String,
}

impl Shape {
    pub const MAX_TITLE: usize = 200;

    fn new(kind: &str, identity: &[&str], title: &str) -> Self {
        let parts = std::iter::once(kind).chain(identity.iter().copied());
        let fingerprint = Fingerprint::of_parts(parts);
        Self { fingerprint, title: cut(title, Self::MAX_TITLE).to_owned() }
    }

    /// A log line, or the joined lines of a stack trace.
    #[must_use]
    pub fn of_log(text: &str) -> Self {
        // PHP and Rust begin their traces with a blank line.
        let text = cut(text.trim_start_matches('\n'), 16 * MAX_MESSAGE);
        if text.contains('\n') {
            let (head, frames) = split_trace(text);
            let masked = mask(head);
            return Self::new("trace", &[exception_name(&masked), &frames], &masked);
        }
        let masked = mask(text);
        Self::new("log", &[&masked], &masked)
    }

    /// An error report.
    #[must_use]
    pub fn of_error(message: &str, stack_trace: &str, pinned: Option<&str>) -> Self {
        let masked = mask(message);
        if let Some(pinned) = pinned {
            return Self::new("pinned", &[pinned], &masked);
        }
        if stack_trace.is_empty() {
            return Self::new("error", &[&masked], &masked);
        }
        let (head, frames) = split_trace(cut(stack_trace, 16 * MAX_MESSAGE));
        if frames.is_empty() {
            return Self::new("error", &[&masked], &masked);
        }
        let head = mask(head);
        Self::new("exception", &[exception_name(&head), &frames], &masked)
    }

    /// A failed request seen by Heroku's router.
    #[must_use]
    pub fn of_request(code: &str, status: Option<u16>, method: &str, path: &str) -> Self {
        let mut route = Vec::new();
        push_template(path.as_bytes(), &mut route);
        let route = String::from_utf8_lossy(&route);
        let class = status.map_or_else(String::new, |status| format!("{}xx", status / 100));
        let what = if code.is_empty() { &class } else { code };
        let title = format!("{what} {method} {route}");
        Self::new("request", &[code, &class, method, &route], &title)
    }

    /// A line of Heroku's platform: by code or state, and the type of dyno (`web` of `web.1`).
    #[must_use]
    pub fn of_platform(code: &str, process: &str, text: &str) -> Self {
        let dyno_type = process.split('.').next().unwrap_or_default();
        let masked = mask(text);
        let identity = if code.is_empty() { &masked } else { code };
        Self::new("platform", &[identity, dyno_type], &masked)
    }
}

/// The first `length` bytes of `text`, to a character boundary.
#[must_use]
pub fn cut(text: &str, length: usize) -> &str {
    &text[..text.floor_char_boundary(length)]
}

/// Everything in front of the message: `java.lang.X` of `java.lang.X: boom`.
fn exception_name(head: &str) -> &str {
    head.split_once(':').map_or(head, |(name, _)| name)
}

/// The line that names the exception, and the first frames without what changes between
/// releases and processes.
fn split_trace(text: &str) -> (&str, String) {
    let mut head = text.lines().next().unwrap_or_default();
    let mut frames = String::new();
    let mut count = 0;
    for line in text.lines().skip(1) {
        let trimmed = line.trim();
        let is_frame =
            ["at ", "File \"", "#", "from "].iter().any(|start| trimmed.starts_with(start));
        if is_frame && count < MAX_FRAMES {
            frames.push_str(&mask(trimmed));
            frames.push('\n');
            count += 1;
        } else if head.starts_with("Traceback")
            && !line.starts_with([' ', '\t'])
            && !trimmed.is_empty()
        {
            // Python names the exception behind its frames.
            head = line;
        }
    }
    (head, frames)
}

/// `text` with its variables masked: quoted strings, and words with digits in them.
#[must_use]
pub fn mask(text: &str) -> String {
    let text = cut(text.trim(), MAX_MESSAGE);
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if is_quote(first) {
            mask_quoted(rest, &mut out)
        } else if is_word(first) {
            mask_word(rest, &mut out)
        } else {
            push_separator(first, &mut out);
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    out
}

fn is_quote(character: char) -> bool {
    matches!(character, '"' | '\'' | '`')
}

/// Characters that hold a number, an id, an address or a path together.
fn is_word(character: char) -> bool {
    character.is_alphanumeric()
        || matches!(character, '.' | '-' | '_' | '/' | ':' | '@' | '%' | '+')
}

/// White space of any kind and length is one space.
fn push_separator(character: char, out: &mut String) {
    if !character.is_whitespace() {
        out.push(character);
    } else if !out.ends_with(' ') {
        out.push(' ');
    }
}

/// A quoted string on one line is a variable; a lone quote (an apostrophe) is not.
fn mask_quoted(rest: &str, out: &mut String) -> usize {
    let quote = rest.chars().next().expect("called on a quote");
    let ends_word_before = !out.ends_with(|character: char| character.is_alphanumeric());
    let closing = rest[1..].find([quote, '\n']).filter(|at| rest[1 + at..].starts_with(quote));
    match closing {
        Some(at) if ends_word_before => {
            out.push_str("<str>");
            at + 2
        }
        _ => {
            out.push(quote);
            1
        }
    }
}

fn mask_word(rest: &str, out: &mut String) -> usize {
    let end = rest.find(|character| !is_word(character)).unwrap_or(rest.len());
    let word = &rest[..end];
    if !word.bytes().any(|byte| byte.is_ascii_digit()) {
        out.push_str(word);
        return end;
    }
    let core = word.trim_end_matches([':', '.']);
    match class_of(core) {
        Some(name) => {
            out.push_str(name);
            out.push_str(&word[core.len()..]);
        }
        None => mask_runs(word, out),
    }
    end
}

/// What a whole word with a digit in it is, where it is something known.
fn class_of(word: &str) -> Option<&'static str> {
    let hex_digits = word.bytes().filter(u8::is_ascii_hexdigit).count();
    let dashes = word.bytes().filter(|byte| *byte == b'-').count();
    if word.len() == 36 && dashes == 4 && hex_digits == 32 {
        return Some("<uuid>");
    }
    let host = word.split_once(':').map_or(word, |(host, _)| host);
    if host.parse::<std::net::Ipv4Addr>().is_ok() || word.parse::<std::net::Ipv6Addr>().is_ok() {
        return Some("<ip>");
    }
    let digits = word.strip_prefix("0x").unwrap_or(word);
    let all_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mixed = digits.bytes().any(|byte| byte.is_ascii_alphabetic());
    (all_hex && (digits.len() < word.len() || mixed && digits.len() >= 7)).then_some("<hex>")
}

/// Each run of digits (with its sign, fraction and exponent left outside) becomes `<n>`; a path's
/// segment that is an id is masked whole.
fn mask_runs(word: &str, out: &mut String) {
    for (index, segment) in word.split('/').enumerate() {
        if index > 0 {
            out.push('/');
        }
        if let Some(name) = class_of(segment) {
            out.push_str(name);
            continue;
        }
        let mut in_digits = false;
        for character in segment.chars() {
            let is_digit = character.is_ascii_digit();
            match (is_digit, in_digits) {
                (true, false) => out.push_str("<n>"),
                (true, true) => {}
                (false, _) => out.push(character),
            }
            in_digits = is_digit;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn variables_are_masked() {
        for (text, expected) in [
            ("connect to 10.0.0.7:5432 failed after 30 ms", "connect to <ip> failed after <n> ms"),
            ("user 'bob' not found", "user <str> not found"),
            ("can't open", "can't open"),
            ("GET /u/17/items/4c0ffee1", "GET /u/<n>/items/<hex>"),
            ("id 123e4567-e89b-12d3-a456-426614174000.", "id <uuid>."),
            ("a   b\tc", "a b c"),
        ] {
            assert_eq!(mask(text), expected);
        }
    }

    #[test]
    fn the_same_fault_has_the_same_fingerprint() {
        let one = Shape::of_log("connect to 10.0.0.7:5432 failed after 30ms");
        let two = Shape::of_log("connect to 10.0.0.9:5432 failed after 1200ms");
        assert_eq!(one.fingerprint, two.fingerprint);
        assert_eq!(one.title, "connect to <ip> failed after <n>ms");
        assert!(one.fingerprint.to_string().starts_with("v1:"));
        assert_eq!(one.fingerprint.to_string().len(), 3 + 64);
    }

    #[test]
    fn a_trace_is_its_type_and_its_frames() {
        let at = |line: u32, message: &str| {
            Shape::of_error("boom", &format!("TypeError: {message}\n at f (a.js:{line}:2)"), None)
        };
        assert_eq!(at(1, "x is 5").fingerprint, at(9, "y is null").fingerprint);
        let other = Shape::of_error("boom", "RangeError: x\n at f (a.js:1:2)", None);
        assert_ne!(at(1, "x").fingerprint, other.fingerprint);
        let pinned = |message| Shape::of_error(message, "", Some("checkout")).fingerprint;
        assert_eq!(pinned("one thing"), pinned("another"));
    }

    #[test]
    fn python_names_its_exception_last() {
        let trace = |name: &str| {
            format!(
                "Traceback (most recent call last):\n  File \"t.py\", line 3, in f\n    g()\n{name}: bad"
            )
        };
        let one = Shape::of_log(&trace("ValueError"));
        assert_ne!(one.fingerprint, Shape::of_log(&trace("KeyError")).fingerprint);
        assert_eq!(one.title, "ValueError: bad");
    }

    proptest! {
        #[test]
        fn any_text_is_masked(text in any::<String>()) {
            let masked = mask(&text);
            prop_assert!(masked.len() <= 6 * MAX_MESSAGE);
        }

        #[test]
        fn numbers_do_not_matter(a in any::<u32>(), b in any::<u32>()) {
            prop_assert_eq!(
                Shape::of_log(&format!("job {a} failed")).fingerprint,
                Shape::of_log(&format!("job {b} failed")).fingerprint
            );
        }
    }
}
