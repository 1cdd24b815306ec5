//! A line of Heroku's router: `key=value` pairs, values bare or in double quotes.
//!
//! `at=info method=GET path="/" host=example.com request_id=… fwd="1.2.3.4" dyno=web.1 connect=1ms
//! service=18ms status=200 bytes=13 protocol=https`; failures carry `at=error code=H12 desc="…"`
//! and may leave values empty (`dyno= connect=`). Source: Heroku Dev Center, "HTTP Routing" and
//! "Heroku Error Codes".

use memchr::memchr;

/// Walks the `key=value` pairs of a line; text that is no pair is passed over.
#[derive(Clone, Debug)]
pub struct Pairs<'a> {
    rest: &'a [u8],
}

impl<'a> Pairs<'a> {
    #[must_use]
    pub fn new(line: &'a [u8]) -> Self {
        Self { rest: line }
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let equals = memchr(b'=', self.rest)?;
        let before = &self.rest[..equals];
        let key_start = before.iter().rposition(|byte| *byte == b' ').map_or(0, |space| space + 1);
        let key = &before[key_start..];
        let after = &self.rest[equals + 1..];
        if let Some(quoted) = after.strip_prefix(b"\"") {
            // Heroku percent-encodes quotes in paths, so the next quote ends the value.
            let end = memchr(b'"', quoted).unwrap_or(quoted.len());
            self.rest = quoted.get(end + 1..).unwrap_or_default();
            return Some((key, &quoted[..end]));
        }
        let end = memchr(b' ', after).unwrap_or(after.len());
        self.rest = after.get(end + 1..).unwrap_or_default();
        Some((key, &after[..end]))
    }
}

/// An HTTP method, as far as statistics tell them apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    Get,
    Post,
    Put,
    Delete,
    #[default]
    Other,
}

impl Method {
    fn parse(text: &[u8]) -> Self {
        match text {
            b"GET" => Self::Get,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"DELETE" => Self::Delete,
            _ => Self::Other,
        }
    }
}

/// What one router line says. Absent or unreadable values are `None` or empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Request<'a> {
    pub method: Method,
    pub method_text: &'a [u8],
    pub path: &'a [u8],
    pub dyno: &'a [u8],
    /// `X-Forwarded-For`: the client first, then proxies.
    pub forwarded_for: &'a [u8],
    pub request_id: &'a [u8],
    /// Heroku error code (`H12`), empty when all went well.
    pub code: &'a [u8],
    pub status: Option<u16>,
    pub connect_ms: Option<u32>,
    pub service_ms: Option<u32>,
    pub bytes: Option<u64>,
}

/// Reads a router line. Every line is readable: what is missing stays empty.
#[must_use]
pub fn parse(line: &[u8]) -> Request<'_> {
    let mut request = Request::default();
    for (key, value) in Pairs::new(line) {
        match key {
            b"method" => {
                request.method = Method::parse(value);
                request.method_text = value;
            }
            b"path" => request.path = value,
            b"dyno" => request.dyno = value,
            b"fwd" => request.forwarded_for = value,
            b"request_id" => request.request_id = value,
            b"code" => request.code = value,
            b"status" => request.status = number(value).and_then(|n| u16::try_from(n).ok()),
            b"connect" => request.connect_ms = milliseconds(value),
            b"service" => request.service_ms = milliseconds(value),
            b"bytes" => request.bytes = number(value),
            _ => {}
        }
    }
    request
}

impl Request<'_> {
    /// Whether the request failed on the server's side: an H code or a 5xx status.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.code.first() == Some(&b'H') || self.status.is_some_and(|status| status >= 500)
    }
}

fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 18 {
        return None;
    }
    text.iter().try_fold(0u64, |value, byte| {
        byte.is_ascii_digit().then(|| value * 10 + u64::from(byte - b'0'))
    })
}

/// `15ms`, in milliseconds.
fn milliseconds(text: &[u8]) -> Option<u32> {
    number(text.strip_suffix(b"ms")?).and_then(|value| u32::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_good_line() {
        let line = br#"at=info method=GET path="/a b?x=1" host=a.b request_id=r1 fwd="1.2.3.4, 5.6.7.8" dyno=web.1 connect=1ms service=15ms status=200 bytes=5 protocol=https"#;
        let request = parse(line);
        assert_eq!(request.method, Method::Get);
        assert_eq!(request.path, b"/a b?x=1");
        assert_eq!(request.forwarded_for, b"1.2.3.4, 5.6.7.8");
        assert_eq!((request.connect_ms, request.service_ms), (Some(1), Some(15)));
        assert_eq!((request.status, request.bytes), (Some(200), Some(5)));
        assert!(!request.is_error());
    }

    #[test]
    fn a_failure_with_empty_values() {
        let line = br#"at=error code=H10 desc="App crashed" method=POST path="/crash" dyno= connect= service= status=503 bytes="#;
        let request = parse(line);
        assert_eq!(request.code, b"H10");
        assert_eq!((request.dyno, request.connect_ms, request.bytes), (&b""[..], None, None));
        assert!(request.is_error());
    }

    #[test]
    fn odd_lines() {
        assert_eq!(parse(b""), Request::default());
        assert_eq!(parse(b"path=\"/never-closed").path, b"/never-closed");
        assert_eq!(parse(b"status=99999999999999999999 bytes=-1"), Request::default());
        assert_eq!(Pairs::new(b"noise a=1 = b=").count(), 3);
    }

    proptest! {
        #[test]
        fn any_line_is_survived(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&line);
        }

        #[test]
        fn pairs_come_back(pairs in proptest::collection::vec(("[a-z_]{1,8}", "[^ \"=]{1,12}"), 0..12)) {
            let line = pairs.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(" ");
            let read: Vec<_> = Pairs::new(line.as_bytes())
                .map(|(k, v)| (String::from_utf8_lossy(k).into_owned(), String::from_utf8_lossy(v).into_owned()))
                .collect();
            prop_assert_eq!(read, pairs);
        }
    }
}
