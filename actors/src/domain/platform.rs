//! What Heroku's platform says of dynos: state changes, R and L codes, dropped messages.
//!
//! Source: Heroku Dev Center, "Heroku Error Codes"; the wording of L10 from heroku/logplex
//! `logplex_message.erl`, of L12 and L13 from heroku/log-shuttle `batch.go`.

/// What one platform line means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice<'a> {
    /// `Error R14 (Memory quota exceeded)`; `dropped` where an L code says how many messages were
    /// lost before they reached us.
    Code { code: &'a [u8], dropped: Option<u64> },
    /// `State changed from starting to up`
    State { from: &'a [u8], to: &'a [u8] },
    /// `Process exited with status 137`
    Exit { status: &'a [u8] },
    /// Anything else.
    Other,
}

/// Reads one platform line.
#[must_use]
pub fn parse(line: &[u8]) -> Notice<'_> {
    if let Some(rest) = line.strip_prefix(b"Error ") {
        let code = word(rest);
        if is_code(code) {
            return Notice::Code { code, dropped: dropped(rest) };
        }
    }
    if let Some(rest) = line.strip_prefix(b"State changed from ") {
        let from = word(rest);
        if let Some(to) = rest[from.len()..].strip_prefix(b" to ") {
            return Notice::State { from, to: word(to) };
        }
    }
    if let Some(rest) = line.strip_prefix(b"Process exited with status ") {
        return Notice::Exit { status: word(rest) };
    }
    Notice::Other
}

/// `R14`, `L10`, `H12`: a letter and two digits.
fn is_code(word: &[u8]) -> bool {
    matches!(word, [b'H' | b'R' | b'L', b'0'..=b'9', b'0'..=b'9'])
}

/// The text up to the first space, colon or the end.
fn word(text: &[u8]) -> &[u8] {
    let end = text.iter().position(|byte| matches!(byte, b' ' | b':')).unwrap_or(text.len());
    &text[..end]
}

/// `… : 7 messages dropped since …`, or log-shuttle's `Error L12: 7 messages dropped since …`.
fn dropped(text: &[u8]) -> Option<u64> {
    let end = memchr::memmem::find(text, b" messages dropped")?;
    let before = &text[..end];
    let digits = before.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&before[before.len() - digits..]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_with_and_without_a_count() {
        assert_eq!(
            parse(b"Error R14 (Memory quota exceeded)"),
            Notice::Code { code: b"R14", dropped: None }
        );
        assert_eq!(
            parse(b"Error L10 (output buffer overflow): 7 messages dropped since 2026-11-22T02:59:00+00:00."),
            Notice::Code { code: b"L10", dropped: Some(7) }
        );
        assert_eq!(
            parse(b"Error L12: 12 messages dropped since 2026-11-22T02:59:00+00:00."),
            Notice::Code { code: b"L12", dropped: Some(12) }
        );
        assert_eq!(
            parse(b"Error L10: 99999999999999999999999 messages dropped"),
            Notice::Code { code: b"L10", dropped: None }
        );
    }

    #[test]
    fn states_exits_and_the_rest() {
        assert_eq!(
            parse(b"State changed from starting to crashed"),
            Notice::State { from: b"starting", to: b"crashed" }
        );
        assert_eq!(parse(b"Process exited with status 143"), Notice::Exit { status: b"143" });
        assert_eq!(parse(b"Error in my app"), Notice::Other);
        assert_eq!(parse(b""), Notice::Other);
    }
}
