//! What a log line says of its own severity.
//!
//! Heroku gives every line of an application the same priority (`local7.info`), so the level is
//! only in the text: as a field (`level=error`, `"level":"error"`), as a word in capitals or
//! brackets near the start, or as an exception's name.

use super::{event::Severity, trace};

/// How far into a line the level is looked for. Loggers put it near the start; a bound keeps a
/// megabyte line as cheap as a short one.
const HEAD: usize = 128;

/// The severity of a message: what its text says, where that is worse or the priority says
/// nothing (`notice`, `info` and `debug` are what everything is sent with).
#[must_use]
pub fn of_message(priority: Severity, text: &[u8]) -> Severity {
    match of_text(text) {
        Some(level) if priority >= Severity::Notice => level,
        Some(level) => priority.min(level),
        None => priority,
    }
}

/// The level that `text` names, if it names one: as a field, as a word, or by what it is.
#[must_use]
pub fn of_text(text: &[u8]) -> Option<Severity> {
    let head = &text[..text.len().min(HEAD)];
    of_fields(head)
        .or_else(|| of_capitals(head))
        .or_else(|| of_brackets(head))
        .or_else(|| is_failure(head).then_some(Severity::Error))
}

/// A level as the value of `level`, `severity` or `lvl`. Their rarest letter finds them.
fn of_fields(head: &[u8]) -> Option<Severity> {
    memchr::memchr_iter(b'v', head).find_map(|at| {
        let (before, after) = (&head[..at], &head[at..]);
        let behind = if before.ends_with(b"le") {
            after.strip_prefix(b"vel")
        } else if before.ends_with(b"se") {
            after.strip_prefix(b"verity")
        } else if before.ends_with(b"l") {
            after.strip_prefix(b"vl")
        } else {
            None
        };
        of_field(behind?)
    })
}

/// The value behind a field's name: `=error`, `":"error"`, `: warn`, `":50` (pino and bunyan).
fn of_field(after: &[u8]) -> Option<Severity> {
    let value_at = after.iter().position(|byte| !matches!(byte, b'"' | b':' | b'=' | b' '))?;
    if !after[..value_at].iter().any(|byte| matches!(byte, b':' | b'=')) {
        return None;
    }
    let value = &after[value_at..];
    let length = value.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
    let word = std::str::from_utf8(&value[..length]).ok()?;
    Severity::from_name(word).or_else(|| of_number(word))
}

/// The numeric levels of pino and bunyan.
fn of_number(word: &str) -> Option<Severity> {
    match word {
        "60" => Some(Severity::Critical),
        "50" => Some(Severity::Error),
        "40" => Some(Severity::Warning),
        "30" => Some(Severity::Info),
        "20" | "10" => Some(Severity::Debug),
        _ => None,
    }
}

/// How far levels in capitals are looked for: loggers write them behind the time.
const CAPITALS: usize = 64;
const LOOK_AHEAD: usize = 3;
const PIECE: usize = 16;

/// A level in capitals, as a word of its own.
fn of_capitals(head: &[u8]) -> Option<Severity> {
    let head = &head[..head.len().min(CAPITALS)];
    let mut padded = [0; CAPITALS + LOOK_AHEAD];
    padded[..head.len()].copy_from_slice(head);
    if !may_hold_level(&padded) {
        return None;
    }
    (0..head.len()).step_by(PIECE).find_map(|at| of_capitals_from(head, at))
}

/// Whether a level may start in the text: four capitals in a row, or `ERR`. Lines rarely hold
/// either, and it takes a few vector instructions to know.
#[expect(clippy::needless_bitwise_bool, reason = "branches would keep it from being vectorised")]
fn may_hold_level(text: &[u8; CAPITALS + LOOK_AHEAD]) -> bool {
    let mut capitals = [0u8; CAPITALS + LOOK_AHEAD];
    for (capital, byte) in capitals.iter_mut().zip(text) {
        *capital = u8::from(byte.is_ascii_uppercase());
    }
    let mut any = 0;
    for at in 0..CAPITALS {
        any |= capitals[at] & capitals[at + 1] & capitals[at + 2] & capitals[at + 3];
    }
    let mut is_err = false;
    for at in 0..CAPITALS {
        is_err |= (text[at] == b'E') & (text[at + 1] == b'R') & (text[at + 2] == b'R');
    }
    any != 0 || is_err
}

/// Looks at the words that start within a piece.
fn of_capitals_from(head: &[u8], start: usize) -> Option<Severity> {
    let mut at = start;
    while at < head.len().min(start + PIECE) {
        let length = capitals_at(head, at);
        let level = if length >= 3 { level_word(&head[at..at + length]) } else { None };
        if level.is_some() {
            return level;
        }
        at += length.max(1);
    }
    None
}

/// The length of the word at `at`, where it is one and all capitals.
fn capitals_at(head: &[u8], at: usize) -> usize {
    if !head[at].is_ascii_uppercase() || at > 0 && head[at - 1].is_ascii_alphanumeric() {
        return 0;
    }
    let length = head[at..].iter().take_while(|byte| byte.is_ascii_uppercase()).count();
    match head.get(at + length) {
        Some(next) if next.is_ascii_alphanumeric() => 0,
        _ => length,
    }
}

/// A level in brackets, in any case: `[error]`.
fn of_brackets(head: &[u8]) -> Option<Severity> {
    memchr::memchr_iter(b'[', head).find_map(|at| {
        let word = &head[at + 1..];
        let length = word.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
        if word.get(length) == Some(&b']') { level_word(&word[..length]) } else { None }
    })
}

fn level_word(word: &[u8]) -> Option<Severity> {
    if word.eq_ignore_ascii_case(b"severe") {
        return Some(Severity::Error);
    }
    Severity::from_name(std::str::from_utf8(word).ok()?)
}

/// An exception, a panic or a traceback at the start of the line.
fn is_failure(head: &[u8]) -> bool {
    let text = head.trim_ascii_start();
    let starts = |start: &[u8]| text.starts_with(start);
    let is_opener = match text.first() {
        Some(b'T') => starts(b"Traceback (most recent call"),
        Some(b'p') => starts(b"panic: "),
        Some(b'f') => starts(b"fatal error: "),
        Some(b'F') => starts(b"Fatal error: "),
        Some(b'P') => starts(b"PHP Fatal error"),
        Some(b'U') => starts(b"Uncaught ") || starts(b"Unhandled "),
        Some(b'E') => starts(b"Exception in thread "),
        Some(b't') => starts(b"thread '") && memchr::memmem::find(text, b" panicked at ").is_some(),
        _ => false,
    };
    is_opener || trace::is_exception(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_found_where_loggers_put_them() {
        for (text, expected) in [
            ("2026-11-22 03:00:00 ERROR [main] boom", Some(Severity::Error)),
            ("[error] boom", Some(Severity::Error)),
            ("time=x level=warn msg=\"x\"", Some(Severity::Warning)),
            (r#"{"time":1,"level":"fatal","msg":"x"}"#, Some(Severity::Critical)),
            (r#"{"level":50,"msg":"x"}"#, Some(Severity::Error)),
            ("java.lang.IllegalStateException: x", Some(Severity::Error)),
            ("panic: x", Some(Severity::Error)),
            ("I, [2026-11-22 #4]  INFO -- : Started", Some(Severity::Info)),
            ("10:00 ERR boom", Some(Severity::Error)),
            ("MYERROR INFORMATION ERRORS", None),
            ("0 errors found", None),
            ("connect to 10.0.0.7:5432 failed", None),
            ("the level of error is low", None),
            ("", None),
        ] {
            assert_eq!(of_text(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn a_telling_priority_is_not_softened() {
        assert_eq!(of_message(Severity::Error, b"INFO x"), Severity::Error);
        assert_eq!(of_message(Severity::Info, b"DEBUG x"), Severity::Debug);
        assert_eq!(of_message(Severity::Info, b"x"), Severity::Info);
    }
}
