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

/// The level that `text` names, if it names one.
#[must_use]
pub fn of_text(text: &[u8]) -> Option<Severity> {
    let head = &text[..text.len().min(HEAD)];
    of_field(head)
        .or_else(|| of_words(head))
        .or_else(|| is_failure(head).then_some(Severity::Error))
}

/// `level=error`, `"level":"error"`, `severity: warn`, `"level":50` (pino and bunyan).
fn of_field(head: &[u8]) -> Option<Severity> {
    for name in [&b"level"[..], b"severity", b"lvl"] {
        let Some(at) = memchr::memmem::find(head, name) else { continue };
        let after = &head[at + name.len()..];
        let value_at = after.iter().position(|byte| !matches!(byte, b'"' | b':' | b'=' | b' '))?;
        let separated = after[..value_at].iter().any(|byte| matches!(byte, b':' | b'='));
        if !separated {
            continue;
        }
        let value = &after[value_at..];
        let length = value.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
        let word = std::str::from_utf8(&value[..length]).ok()?;
        return Severity::from_name(word).or_else(|| of_number(word));
    }
    None
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

/// A level as a word of its own: in capitals, or in brackets in any case.
fn of_words(head: &[u8]) -> Option<Severity> {
    let mut at = 0;
    while at < head.len() {
        if !head[at].is_ascii_alphabetic() {
            at += 1;
            continue;
        }
        let length = head[at..].iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
        let word = &head[at..at + length];
        if (3..=9).contains(&length) {
            let bracketed = at > 0 && head[at - 1] == b'[' && head.get(at + length) == Some(&b']');
            if bracketed || word.iter().all(u8::is_ascii_uppercase) {
                let level = level_word(word);
                if level.is_some() {
                    return level;
                }
            }
        }
        at += length;
    }
    None
}

fn level_word(word: &[u8]) -> Option<Severity> {
    if word.eq_ignore_ascii_case(b"severe") {
        return Some(Severity::Error);
    }
    Severity::from_name(std::str::from_utf8(word).ok()?)
}

/// An exception, a panic or a traceback at the start of the line.
fn is_failure(head: &[u8]) -> bool {
    const STARTS: [&[u8]; 8] = [
        b"Traceback (most recent call",
        b"panic: ",
        b"fatal error: ",
        b"Fatal error: ",
        b"PHP Fatal error",
        b"Uncaught ",
        b"Unhandled ",
        b"Exception in thread ",
    ];
    let text = head.trim_ascii_start();
    STARTS.iter().any(|start| text.starts_with(start))
        || text.starts_with(b"thread '") && memchr::memmem::find(text, b" panicked at ").is_some()
        || trace::is_exception(text)
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
