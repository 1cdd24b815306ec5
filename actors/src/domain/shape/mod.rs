//! Shapes: what remains of an event when its variables are masked, and the fingerprint of that.
//!
//! A shape is a pure function of the event: the same on every machine, in any order, after any
//! restart. Its fingerprint is the SHA-256 of its identity and is written `v1:` + 64 hex digits;
//! the version changes whenever the function does.
//!
//! - a message: its [masked](mask) text;
//! - an [exception]: types and own functions, of it and of those that caused it;
//! - a failed request: code, method, route and class of the status;
//! - a line of the platform: its code and the type of dyno;
//! - a change or an object that a rule selected: what the rule says that names it;
//! - a report that names its fingerprint: that name.

use std::fmt;

use sha2::{Digest, Sha256};

use self::{exception::Exception, mask::PieceKind};
pub use self::{mask::Masked, word::Class};
use super::route::push_template;

pub mod exception;
mod frame;
pub mod mask;
pub mod secret;
mod word;

/// How much of a stack trace is looked at.
const MAX_TRACE: usize = 64 << 10;

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

    /// Its first half as a number.
    #[must_use]
    pub fn short(&self) -> u128 {
        u128::from_le_bytes(*self.0.first_chunk().expect("32 bytes hold 16"))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut text = *b"v1:0000000000000000000000000000000000000000000000000000000000000000";
        for (digits, byte) in text[3..].chunks_exact_mut(2).zip(self.0) {
            digits[0] = HEX[usize::from(byte >> 4)];
            digits[1] = HEX[usize::from(byte & 15)];
        }
        out.write_str(std::str::from_utf8(&text).expect("all of it is ASCII"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl std::str::FromStr for Fingerprint {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "a fingerprint is v1: and 64 hexadecimal digits";
        let digits = text.strip_prefix("v1:").filter(|digits| digits.len() == 64).ok_or(WRONG)?;
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| WRONG)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| WRONG)?;
        }
        Ok(Self(bytes))
    }
}

/// A shape: its identity and the text people read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    pub fingerprint: Fingerprint,
    /// At most [`Shape::MAX_TITLE`] bytes; variables are placeholders.
    pub title: String,
    /// The masked message, all variables as [`Shape::HOLE`], where that is the identity; empty
    /// otherwise.
    pub template: String,
}

impl Shape {
    pub const MAX_TITLE: usize = 200;
    /// What stands for every variable in [`Shape::template`]. No message contains it: control
    /// characters are white space to the mask.
    pub const HOLE: char = '\u{1}';

    fn new(kind: &str, identity: &[&str], title: &str) -> Self {
        let parts = std::iter::once(kind).chain(identity.iter().copied());
        let fingerprint = Fingerprint::of_parts(parts);
        Self { fingerprint, title: cut(title, Self::MAX_TITLE).to_owned(), template: String::new() }
    }

    fn of_message(kind: &str, text: &str) -> Self {
        let masked = Masked::new(text);
        let template = template_of(&masked);
        let shape = Self::new(kind, &[&template], &title_of(&masked));
        Self { template, ..shape }
    }

    fn of_exception(exception: &Exception<'_>, title: &str) -> Self {
        let mut identity = String::new();
        let mask = |text: &str, out: &mut String| out.push_str(&template_of(&Masked::new(text)));
        exception.write_identity(mask, &mut identity);
        Self::new("exception", &[&identity], title)
    }

    /// A log line, or the joined lines of a stack trace.
    #[must_use]
    pub fn of_log(text: &str) -> Self {
        if text.contains('\n')
            && let Some(exception) = Exception::find(cut(text, MAX_TRACE))
        {
            return Self::of_exception(&exception, &title_of(&Masked::new(&exception.title())));
        }
        Self::of_message("log", text)
    }

    /// An error report.
    #[must_use]
    pub fn of_error(message: &str, stack_trace: &str, pinned: Option<&str>) -> Self {
        if let Some(pinned) = pinned {
            return Self::pinned(pinned, &title_of(&Masked::new(message)));
        }
        match Exception::find(cut(stack_trace, MAX_TRACE)) {
            Some(exception) => Self::of_exception(&exception, &title_of(&Masked::new(message))),
            None => Self::of_message("error", message),
        }
    }

    /// Whatever is reported under this name.
    #[must_use]
    pub fn pinned(name: &str, title: &str) -> Self {
        Self::new("pinned", &[name], title)
    }

    /// A change that a rule selected: by what names it.
    #[must_use]
    pub fn of_change(parts: &[String], title: &str) -> Self {
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        Self::new("change", &parts, title)
    }

    /// An object that a rule selected: by what names it.
    #[must_use]
    pub fn of_object(parts: &[String], title: &str) -> Self {
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        Self::new("object", &parts, title)
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
        let masked = Masked::new(text);
        let template = template_of(&masked);
        let title = title_of(&masked);
        if code.is_empty() {
            return Self::new("platform", &[&template, dyno_type], &title);
        }
        Self::new("platform", &[code, dyno_type], &format!("{code}: {title}"))
    }
}

fn template_of(masked: &Masked<'_>) -> String {
    let mut template = String::with_capacity(128);
    masked.write(|_| "\u{1}", &mut template);
    template
}

fn title_of(masked: &Masked<'_>) -> String {
    let mut title = String::with_capacity(128);
    masked.write(Class::placeholder, &mut title);
    title
}

/// What became of each part of a message, for people who ask why.
pub fn explain<'a>(masked: &'a Masked<'_>) -> impl Iterator<Item = (&'a str, Option<Class>)> {
    masked.pieces().iter().filter_map(|piece| match piece.kind {
        PieceKind::Space => None,
        PieceKind::Constant | PieceKind::Mark(_) => Some((masked.text(*piece), None)),
        PieceKind::Variable(class) => Some((masked.text(*piece), Some(class))),
    })
}

/// The first `length` bytes of `text`, to a character boundary.
#[must_use]
pub fn cut(text: &str, length: usize) -> &str {
    &text[..text.floor_char_boundary(length)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_fault_has_the_same_fingerprint() {
        let one = Shape::of_log("connect to 10.0.0.7:5432 failed after 30ms");
        let two = Shape::of_log("connect to db.internal:5432 failed after 2 minutes");
        assert_eq!(one.fingerprint, two.fingerprint);
        assert_eq!(one.title, "connect to <ip> failed after <duration>");
        assert_eq!(one.template, "connect to \u{1} failed after \u{1}");
        assert!(one.fingerprint.to_string().starts_with("v1:"));
        assert_eq!(one.fingerprint.to_string().parse(), Ok(one.fingerprint));
        assert!("v1:12".parse::<Fingerprint>().is_err());
    }

    #[test]
    fn a_trace_is_its_type_and_its_functions() {
        let at = |line: u32, message: &str| {
            Shape::of_error(
                "boom",
                &format!("TypeError: {message}\n    at f (/app/a.js:{line}:2)"),
                None,
            )
        };
        assert_eq!(at(1, "x is 5").fingerprint, at(9, "y is null").fingerprint);
        let other = Shape::of_error("boom", "RangeError: x\n    at f (/app/a.js:1:2)", None);
        assert_ne!(at(1, "x").fingerprint, other.fingerprint);
        let pinned = |message| Shape::of_error(message, "", Some("checkout")).fingerprint;
        assert_eq!(pinned("one thing"), pinned("another"));
    }

    #[test]
    fn python_names_its_exception_last() {
        let trace = |name: &str| {
            format!(
                "Traceback (most recent call last):\n  File \"t.py\", line 3, in f\n    g()\n{name}: bad 7"
            )
        };
        let one = Shape::of_log(&trace("ValueError"));
        assert_ne!(one.fingerprint, Shape::of_log(&trace("KeyError")).fingerprint);
        assert_eq!(one.title, "ValueError: bad <n>");
    }
}
