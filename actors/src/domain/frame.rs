//! Octet-counted framing (RFC 6587 §3.4.1) as Logplex uses it: `<len> <message>` repeated, where
//! `len` counts bytes, a trailing newline included.
//!
//! Source: heroku/logplex `doc/README.http_drains.md` and `logplex_syslog_utils:frame/1`.

/// The most digits a length may have: bodies are far below 10⁹ bytes, and a bound keeps a
/// million-digit length from costing anything.
const MAX_DIGITS: usize = 9;

/// One step of [`Frames`].
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// The bytes that the length announced.
    Message(&'a [u8]),
    /// `count` frames of length zero in a row: nothing in them to keep.
    Empty { count: u32 },
    /// Framing is lost from here on; nothing after it can be told apart.
    Broken { rest: &'a [u8], reason: FramingError },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    #[error("no decimal length where a frame should start")]
    NoLength,
    #[error("a length of more than {MAX_DIGITS} digits")]
    TooLong,
    #[error("no space after the length")]
    NoSpace,
    #[error("the frame announces more bytes than the body has left")]
    Truncated,
}

/// Walks the frames of a body. After [`Frame::Broken`] it ends.
///
/// A newline between frames is skipped: no length starts with one, and senders that count one
/// byte too few leave it behind.
#[derive(Clone, Debug)]
pub struct Frames<'a> {
    body: &'a [u8],
    at: usize,
}

impl<'a> Frames<'a> {
    #[must_use]
    pub fn new(body: &'a [u8]) -> Self {
        Self { body, at: 0 }
    }

    /// The offset in the body of what the next call looks at.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.at
    }

    /// How many messages the ledger counts in `body`: every frame, and the rest after broken
    /// framing as one.
    #[must_use]
    pub fn count_messages(body: &'a [u8]) -> u32 {
        let mut messages = 0u32;
        for frame in Self::new(body) {
            messages = messages.saturating_add(match frame {
                Frame::Message(_) | Frame::Broken { .. } => 1,
                Frame::Empty { count } => count,
            });
        }
        messages
    }

    fn skip_newlines(&mut self) {
        while self.body.get(self.at) == Some(&b'\n') {
            self.at += 1;
        }
    }

    /// Reads `<len> ` and moves behind it.
    fn length(&mut self) -> Result<usize, FramingError> {
        let mut length = 0usize;
        let mut at = self.at;
        loop {
            match self.body.get(at) {
                Some(byte) if byte.is_ascii_digit() => {
                    if at - self.at == MAX_DIGITS {
                        return Err(FramingError::TooLong);
                    }
                    length = length * 10 + usize::from(byte - b'0');
                    at += 1;
                }
                _ if at == self.at => return Err(FramingError::NoLength),
                Some(b' ') => break,
                _ => return Err(FramingError::NoSpace),
            }
        }
        if length > self.body.len() - (at + 1) {
            return Err(FramingError::Truncated);
        }
        self.at = at + 1;
        Ok(length)
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Frame<'a>;

    fn next(&mut self) -> Option<Frame<'a>> {
        let mut empty = 0;
        loop {
            self.skip_newlines();
            let start = self.at;
            if start == self.body.len() {
                return (empty > 0).then_some(Frame::Empty { count: empty });
            }
            match self.length() {
                Ok(0) => empty += 1,
                _ if empty > 0 => {
                    self.at = start;
                    return Some(Frame::Empty { count: empty });
                }
                Ok(length) => {
                    let message = &self.body[self.at..self.at + length];
                    self.at += length;
                    return Some(Frame::Message(message));
                }
                Err(reason) => {
                    self.at = self.body.len();
                    return Some(Frame::Broken { rest: &self.body[start..], reason });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(body: &[u8]) -> Vec<Frame<'_>> {
        Frames::new(body).collect()
    }

    #[test]
    fn frames_are_cut_by_bytes_not_by_newlines() {
        assert_eq!(
            all(b"5 a\nbc\n3 xyz2 \xff\n"),
            [Frame::Message(b"a\nbc\n"), Frame::Message(b"xyz"), Frame::Message(b"\xff\n")]
        );
    }

    #[test]
    fn broken_framing_keeps_what_came_before() {
        let broken = |rest, reason| Frame::Broken { rest, reason };
        assert_eq!(all(b"2 ok7"), [Frame::Message(b"ok"), broken(b"7", FramingError::NoSpace)]);
        assert_eq!(all(b"2 ok9 short")[1], broken(b"9 short", FramingError::Truncated));
        assert_eq!(all(b"-5 x"), [broken(b"-5 x", FramingError::NoLength)]);
        assert_eq!(all(b"99999999999 x")[0], broken(b"99999999999 x", FramingError::TooLong));
        assert_eq!(all(b"4294967295 x")[0], broken(b"4294967295 x", FramingError::TooLong));
    }

    #[test]
    fn empty_frames_are_counted_together() {
        assert_eq!(all(b"0 0 0 2 ok"), [Frame::Empty { count: 3 }, Frame::Message(b"ok")]);
        assert_eq!(all(b"0 0 "), [Frame::Empty { count: 2 }]);
        assert_eq!(Frames::count_messages(b"0 0 2 okx"), 4);
        assert_eq!(Frames::count_messages(b""), 0);
    }

    #[test]
    fn a_newline_left_over_by_a_short_count_is_no_message() {
        assert_eq!(all(b"2 ok\n2 ok\n"), [Frame::Message(b"ok"), Frame::Message(b"ok")]);
    }

    proptest! {
        #[test]
        fn what_was_framed_comes_back(
            messages in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..20)
        ) {
            let mut body = Vec::new();
            for message in &messages {
                body.extend_from_slice(format!("{} ", message.len()).as_bytes());
                body.extend_from_slice(message);
            }
            let expected: Vec<_> = messages.iter().map(|message| Frame::Message(message)).collect();
            prop_assert_eq!(all(&body), expected);
        }

        #[test]
        fn any_body_is_walked_to_its_end(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut frames = Frames::new(&body);
            let mut kept = 0;
            for frame in &mut frames {
                kept += match frame {
                    Frame::Message(message) => message.len(),
                    Frame::Empty { .. } => 0,
                    Frame::Broken { rest, .. } => rest.len(),
                };
            }
            prop_assert!(kept <= body.len());
            prop_assert_eq!(frames.offset(), body.len());
        }

        #[test]
        fn digits_and_spaces_are_survived(body in "[0-9 \n]{0,60}") {
            let _ = Frames::count_messages(body.as_bytes());
        }
    }
}
