//! The header of one Logplex message.
//!
//! `<PRI>VERSION TIMESTAMP HOSTNAME APP-NAME PROCID MSGID MSG` after RFC 5424 §6, but without
//! STRUCTURED-DATA, which Logplex leaves out altogether instead of writing its nil (`-`), so
//! strict RFC 5424 parsers fail on it (heroku/logplex `doc/README.http_drains.md`). log-shuttle
//! writes the nil as part of MSGID (`- -`); [`strips_nil_structured_data`] tells when to remove it.
//! Structured data that a sender does write stays part of the message: nothing is thrown away.

/// The longest header field kept as such; RFC 5424 allows HOSTNAME 255, PROCID 128, APP-NAME 48.
pub const MAX_FIELD: usize = 255;

/// The parts of one message, borrowed from its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// PRI: facility × 8 + severity, 0–191.
    pub priority: u8,
    pub timestamp: &'a [u8],
    pub host: &'a [u8],
    /// APP-NAME: `app` or `heroku` on Heroku.
    pub app: &'a [u8],
    /// PROCID: the dyno (`web.1`) or the platform's part (`router`).
    pub process: &'a [u8],
    pub msgid: &'a [u8],
    /// MSG, without its trailing line end.
    pub text: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    #[error("frame header: no priority of the form <0> to <191>")]
    Priority,
    #[error("frame header: no version after the priority")]
    Version,
    #[error("frame header: ends before the {0}")]
    Missing(&'static str),
    #[error("frame header: {field} of {length} bytes, at most {MAX_FIELD}")]
    TooLong { field: &'static str, length: usize },
}

/// Reads the header of the message in `frame`.
///
/// # Errors
/// Says which part of the header is missing or malformed. An unreadable timestamp is not an
/// error: the message is worth keeping without it.
pub fn parse(frame: &[u8]) -> Result<Message<'_>, HeaderError> {
    let (priority, rest) = priority(frame)?;
    let rest = version(rest)?;
    let (timestamp, rest) = timestamp(rest)?;
    if let Some((app, process, behind)) = usual(rest) {
        let (host, text) = (&rest[..4], trim_line_end(behind));
        return Ok(Message { priority, timestamp, host, app, process, msgid: b"-", text });
    }
    let (host, rest) = field(rest, "host name")?;
    let (app, rest) = field(rest, "app name")?;
    let (process, rest) = field(rest, "process id")?;
    // An empty message may end right behind MSGID.
    let (msgid, text) = if rest.contains(&b' ') {
        field(rest, "message id")?
    } else {
        (checked(trim_line_end(rest), "message id")?, &rest[rest.len()..])
    };
    Ok(Message { priority, timestamp, host, app, process, msgid, text: trim_line_end(text) })
}

/// Whether the nil structured data (`- ` before the text) is to be taken off all messages of a
/// body: never for Logplex itself, which writes none, so that a real message keeps its dash; for
/// other senders when every message of the body starts with it.
#[must_use]
pub fn strips_nil_structured_data<'a>(
    sender_is_logplex: bool,
    frames: impl Iterator<Item = &'a [u8]>,
) -> bool {
    if sender_is_logplex {
        return false;
    }
    let mut readable = frames.filter_map(|frame| parse(frame).ok()).peekable();
    readable.peek().is_some() && readable.all(|message| without_nil(message.text).is_some())
}

/// The text behind a nil structured data.
#[must_use]
pub fn without_nil(text: &[u8]) -> Option<&[u8]> {
    match text {
        b"-" => Some(&[]),
        _ => text.strip_prefix(b"- "),
    }
}

fn priority(frame: &[u8]) -> Result<(u8, &[u8]), HeaderError> {
    let (digits, rest) = match frame {
        [b'<', a, b'>', rest @ ..] => ([b'0', b'0', *a], rest),
        [b'<', a, b, b'>', rest @ ..] => ([b'0', *a, *b], rest),
        [b'<', a, b, c, b'>', rest @ ..] => ([*a, *b, *c], rest),
        _ => return Err(HeaderError::Priority),
    };
    let mut value = 0u16;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return Err(HeaderError::Priority);
        }
        value = value * 10 + u16::from(digit - b'0');
    }
    match u8::try_from(value) {
        Ok(value) if value <= 191 => Ok((value, rest)),
        _ => Err(HeaderError::Priority),
    }
}

fn version(text: &[u8]) -> Result<&[u8], HeaderError> {
    match text {
        [b'1'..=b'9', b' ', rest @ ..] | [b'1'..=b'9', b'0'..=b'9', b' ', rest @ ..] => Ok(rest),
        _ => Err(HeaderError::Version),
    }
}

/// What Heroku writes between timestamp and message, and what follows it.
fn usual(text: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    const HOST: usize = "host ".len();
    if let Some(rest) = text.strip_prefix(b"host heroku router - ") {
        return Some((&text[HOST..HOST + 6], &text[HOST + 7..HOST + 13], rest));
    }
    let rest = text.strip_prefix(b"host app ")?;
    let end = rest.iter().take(MAX_FIELD).position(|byte| *byte == b' ')?;
    let behind = rest[end..].strip_prefix(b" - ").filter(|_| end > 0)?;
    Some((&text[HOST..HOST + 3], &rest[..end], behind))
}

/// A timestamp with microseconds is 32 bytes long, and most are.
fn timestamp(text: &[u8]) -> Result<(&[u8], &[u8]), HeaderError> {
    const USUAL: usize = 32;
    if let Some((timestamp, [b' ', rest @ ..])) = text.split_at_checked(USUAL)
        && timestamp.ends_with(b"+00:00")
        && timestamp[10] == b'T'
        && timestamp[19] == b'.'
        && memchr::memchr(b' ', timestamp).is_none()
    {
        return Ok((timestamp, rest));
    }
    field(text, "timestamp")
}

/// The text up to the next space, and what follows the space.
fn field<'a>(text: &'a [u8], name: &'static str) -> Result<(&'a [u8], &'a [u8]), HeaderError> {
    // Header fields are a few bytes long: a plain loop beats a vectorised search here.
    let end = text.iter().position(|byte| *byte == b' ').ok_or(HeaderError::Missing(name))?;
    Ok((checked(&text[..end], name)?, &text[end + 1..]))
}

fn checked<'a>(field: &'a [u8], name: &'static str) -> Result<&'a [u8], HeaderError> {
    match field.len() {
        0 => Err(HeaderError::Missing(name)),
        1..=MAX_FIELD => Ok(field),
        length => Err(HeaderError::TooLong { field: name, length }),
    }
}

/// Cuts off one line end: `\n` or `\r\n`.
fn trim_line_end(text: &[u8]) -> &[u8] {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    text.strip_suffix(b"\r").unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_documented_message() {
        let frame =
            b"<40>1 2012-11-30T06:45:29+00:00 host app web.3 - State changed from starting to up\n";
        let message = parse(frame).unwrap();
        assert_eq!(message.priority, 40);
        assert_eq!(message.timestamp, b"2012-11-30T06:45:29+00:00");
        assert_eq!(
            (message.host, message.app, message.process),
            (&b"host"[..], &b"app"[..], &b"web.3"[..])
        );
        assert_eq!(
            (message.msgid, message.text),
            (&b"-"[..], &b"State changed from starting to up"[..])
        );
    }

    #[test]
    fn l10_has_no_newline_and_empty_messages_are_messages() {
        assert!(parse(b"<172>1 t host heroku logplex - Error L10").unwrap().text.ends_with(b"L10"));
        assert_eq!(parse(b"<190>1 t host app web.1 - \n").unwrap().text, b"");
        assert_eq!(parse(b"<190>1 t host app web.1 -\n").unwrap().text, b"");
        assert_eq!(parse(b"<190>1 t host app web.1 -").unwrap().msgid, b"-");
    }

    #[test]
    fn names_what_is_wrong() {
        assert_eq!(parse(b"x"), Err(HeaderError::Priority));
        assert_eq!(parse(b"<192>1 t h a p - m"), Err(HeaderError::Priority));
        assert_eq!(parse(b"<190>"), Err(HeaderError::Version));
        assert_eq!(parse(b"<190>1 "), Err(HeaderError::Missing("timestamp")));
        assert_eq!(parse(b"<190>1 t host app "), Err(HeaderError::Missing("process id")));
        let long = [b"<190>1 t host ".as_slice(), &[b'a'; 300], b" web.1 - m"].concat();
        assert_eq!(parse(&long), Err(HeaderError::TooLong { field: "app name", length: 300 }));
        let id = Err(HeaderError::Missing("message id"));
        assert_eq!(parse(b"<190>1 t host app web.1  the message"), id);
        assert_eq!(parse(b"<190>1 t host app web.1 \n"), id);
        let long = [b"<190>1 t host app web.1 ".as_slice(), &[b'a'; 300]].concat();
        assert_eq!(parse(&long), Err(HeaderError::TooLong { field: "message id", length: 300 }));
    }

    /// The header, read by splitting at spaces.
    fn naive(frame: &[u8]) -> Option<Message<'_>> {
        let line = frame.strip_suffix(b"\n").unwrap_or(frame);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let mut parts = line.splitn(7, |byte| *byte == b' ');
        let start = std::str::from_utf8(parts.next()?).ok()?;
        let (priority, version) = start.strip_prefix('<')?.split_once('>')?;
        let is_number = |text: &str, longest| {
            (1..=longest).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
        };
        if !is_number(priority, 3) || !is_number(version, 2) || version.starts_with('0') {
            return None;
        }
        let priority = priority.parse().ok().filter(|priority| *priority <= 191)?;
        let mut field = || parts.next().filter(|field| (1..=MAX_FIELD).contains(&field.len()));
        let (timestamp, host, app, process, msgid) =
            (field()?, field()?, field()?, field()?, field()?);
        let text = parts.next().unwrap_or_default();
        Some(Message { priority, timestamp, host, app, process, msgid, text })
    }

    #[test]
    fn a_nil_is_taken_off_only_where_every_message_has_it() {
        let shuttle: [&[u8]; 2] =
            [b"<13>1 t h token shuttle - - one", b"<13>1 t h token shuttle - - two"];
        let mixed: [&[u8]; 2] = [shuttle[0], b"<13>1 t h token shuttle - two"];
        assert!(strips_nil_structured_data(false, shuttle.into_iter()));
        assert!(!strips_nil_structured_data(true, shuttle.into_iter()));
        assert!(!strips_nil_structured_data(false, mixed.into_iter()));
        assert!(!strips_nil_structured_data(false, std::iter::empty()));
        assert_eq!(without_nil(b"- - item"), Some(&b"- item"[..]));
    }

    proptest! {
        #[test]
        fn any_frame_is_survived(frame in proptest::collection::vec(any::<u8>(), 0..120)) {
            prop_assert_eq!(parse(&frame).ok(), naive(&frame));
        }

        #[test]
        fn a_header_is_what_stands_between_spaces(
            start in "<(190|158|0|07|191|192|[0-9]{0,4})>(1|1|1|[0-9]{0,3})",
            timestamp in "t|2026-11-22T03:00:00\\.123456\\+00:00|2026-11-22T03:00:00 123456\\+00:00|[a-z]{0,2}",
            names in "host app|host app|host heroku|host  app|h a|[a-z ]{0,4}|h{254,257} a",
            process in "web\\.1|router|-|[a-z]{0,2}|p{253,257}",
            rest in "- [a-z -]{0,9}|-|[a-z]{0,2}|[ -]{0,4}|m{254,257}",
            end in "\n|\r\n|\r|\n\n|"
        ) {
            let frame = format!("{start} {timestamp} {names} {process} {rest}{end}");
            prop_assert_eq!(parse(frame.as_bytes()).ok(), naive(frame.as_bytes()));
        }

        #[test]
        fn what_was_written_comes_back(
            priority in 0u8..192, process in "[a-z]{1,8}\\.[0-9]{1,3}", text in "[^\r\n]{0,80}"
        ) {
            let frame = format!("<{priority}>1 2026-11-22T03:00:00Z host app {process} - {text}\n");
            let message = parse(frame.as_bytes()).unwrap();
            prop_assert_eq!(message.priority, priority);
            prop_assert_eq!(message.process, process.as_bytes());
            prop_assert_eq!(message.text, text.as_bytes());
        }
    }
}
