//! A line of Heroku's router: `key=value` pairs, values bare or in double quotes.
//!
//! `at=info method=GET path="/" host=example.com request_id=… fwd="1.2.3.4" dyno=web.1 connect=1ms
//! service=18ms status=200 bytes=13 protocol=https`; failures carry `at=error code=H12 desc="…"`
//! and may leave values empty (`dyno= connect=`). Source: Heroku Dev Center, "HTTP Routing" and
//! "Heroku Error Codes".

use std::sync::LazyLock;

use memchr::{memchr, memmem::Finder};

use super::json;

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
    parse_usual(line).unwrap_or_else(|| parse_any(line))
}

/// A line of the keys that the router writes today, in its order: no search for keys is needed.
fn parse_usual(line: &[u8]) -> Option<Request<'_>> {
    let mut request = Request::default();
    let mut rest = line;
    if skip(&mut rest, b"at=info ").is_none() {
        skip(&mut rest, b"at=error code=")?;
        request.code = bare(&mut rest)?;
        skip(&mut rest, b"desc=\"")?;
        quoted(&mut rest)?;
        skip(&mut rest, b" ")?;
    }
    skip(&mut rest, b"method=")?;
    request.method_text = bare(&mut rest)?;
    request.method = Method::parse(request.method_text);
    skip(&mut rest, b"path=\"")?;
    request.path = quoted(&mut rest)?;
    skip(&mut rest, b" host=")?;
    // Up to the quote of fwd, which follows the request's id.
    let between = quoted(&mut rest)?.strip_suffix(b" fwd=")?;
    request.request_id = last_value(between)?;
    request.forwarded_for = quoted(&mut rest)?;
    skip(&mut rest, b" dyno=")?;
    request.dyno = bare(&mut rest)?;
    skip(&mut rest, b"connect=")?;
    request.connect_ms = milliseconds(bare(&mut rest)?);
    skip(&mut rest, b"service=")?;
    request.service_ms = milliseconds(bare(&mut rest)?);
    skip(&mut rest, b"status=")?;
    request.status = status_code(bare(&mut rest)?);
    skip(&mut rest, b"bytes=")?;
    request.bytes = number(bare(&mut rest)?);
    // What the router adds behind (protocol, tls …) stays in the message.
    Some(request)
}

/// Moves behind `literal` where `rest` starts with it.
fn skip<const N: usize>(rest: &mut &[u8], literal: &[u8; N]) -> Option<()> {
    let (start, behind) = rest.split_first_chunk::<N>()?;
    if start != literal {
        return None;
    }
    *rest = behind;
    Some(())
}

/// The text up to the next quote, and moves behind that.
fn quoted<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = memchr(b'"', rest)?;
    let found = &rest[..end];
    *rest = &rest[end + 1..];
    Some(found)
}

/// The text up to the next space or the end, and moves behind that; for a few bytes. `None` when
/// it is in quotes.
fn bare<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = rest.iter().position(|byte| *byte == b' ').unwrap_or(rest.len());
    let found = &rest[..end];
    *rest = rest.get(end + 1..).unwrap_or_default();
    (found.first() != Some(&b'"')).then_some(found)
}

/// The request's id at the end of `example.com request_id=…`. Heroku's own are UUIDs.
fn last_value(text: &[u8]) -> Option<&[u8]> {
    const UUID: usize = 36;
    const KEY: &[u8] = b" request_id=";
    let (before, id) = text.split_at(text.len().saturating_sub(UUID));
    if before.ends_with(KEY)
        && memchr(b' ', id).is_none()
        && memchr(b' ', &before[..before.len() - KEY.len()]).is_none()
    {
        return Some(id);
    }
    let at = memchr::memmem::find(text, KEY)?;
    let id = &text[at + KEY.len()..];
    let is_last = memchr(b' ', &text[..at]).is_none() && memchr(b' ', id).is_none();
    is_last.then_some(id)
}

/// A line of any pairs in any order. Of a key that stands twice the first counts, and what is
/// `at=info` has no error code: so the usual lines need not be read to their end.
fn parse_any(line: &[u8]) -> Request<'_> {
    const KEYS: [&[u8]; 11] = [
        b"at",
        b"code",
        b"method",
        b"path",
        b"request_id",
        b"fwd",
        b"dyno",
        b"connect",
        b"service",
        b"status",
        b"bytes",
    ];
    let mut values = [None; KEYS.len()];
    for (key, value) in Pairs::new(line) {
        if let Some(at) = KEYS.iter().position(|known| *known == key) {
            values[at].get_or_insert(value);
        }
    }
    let [at, code, method, path, request_id, forwarded_for, dyno, connect, service, status, bytes] =
        values.map(Option::unwrap_or_default);
    Request {
        method: Method::parse(method),
        method_text: method,
        path,
        dyno,
        forwarded_for,
        request_id,
        code: if at == b"info" { &[] } else { code },
        status: status_code(status),
        connect_ms: milliseconds(connect),
        service_ms: milliseconds(service),
        bytes: number(bytes),
    }
}

/// Whether a line may report a failure; cheap, and never wrongly `false`.
#[must_use]
pub fn may_be_error(line: &[u8]) -> bool {
    static STATUS: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("status="));
    if !line.starts_with(b"at=info method=") {
        return true;
    }
    let mut rest = line;
    while let Some(at) = STATUS.find(rest) {
        rest = &rest[at + "status=".len()..];
        // In quotes or with a zero in front it may still be one.
        if !matches!(rest.first(), Some(b'1'..=b'4')) {
            return true;
        }
    }
    false
}

impl Request<'_> {
    /// Writes the request as a JSON object; names carry their units. The request's text must be
    /// valid UTF-8.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        let mut fields = json::Fields::new(out);
        for (name, text) in [
            ("method", self.method_text),
            ("path", self.path),
            ("code", self.code),
            ("dyno", self.dyno),
            ("fwd", self.forwarded_for),
            ("request_id", self.request_id),
        ] {
            if !text.is_empty() {
                fields.text(name, text);
            }
        }
        for (name, number) in [
            ("status", self.status.map(u64::from)),
            ("connect_ms", self.connect_ms.map(u64::from)),
            ("service_ms", self.service_ms.map(u64::from)),
            ("bytes", self.bytes),
        ] {
            if let Some(number) = number {
                fields.number(name, number);
            }
        }
        out.push(b'}');
    }

    /// Whether the request failed on the server's side: an H code or a 5xx status.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.code.first() == Some(&b'H') || matches!(self.status, Some(500..=599))
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

fn status_code(text: &[u8]) -> Option<u16> {
    number(text).and_then(|status| u16::try_from(status).ok())
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

    #[test]
    fn the_usual_order_is_only_faster() {
        let tails = ["", " protocol=https", " protocol=https tls=true tls_version=tls1.3"];
        for tail in tails {
            for start in ["at=info", "at=error code=H12 desc=\"Request timeout\""] {
                let line = format!(
                    "{start} method=GET path=\"/a b\" host=h request_id=r fwd=\"1.2.3.4\" dyno=web.1 connect=1ms service= status=503 bytes={tail}"
                );
                assert_eq!(
                    parse_usual(line.as_bytes()),
                    Some(parse_any(line.as_bytes())),
                    "{line}"
                );
            }
        }
        assert_eq!(parse_usual(b"at=info method=GET path=\"/\" dyno=web.1"), None);
    }

    #[test]
    fn odd_lines_read_the_same_either_way() {
        let usual = |dyno: &str, tail: &str| {
            format!(
                "at=info method=GET path=\"/\" host=h request_id=r fwd=\"f\" dyno={dyno} connect=1ms service=1ms status=200 bytes=5{tail}"
            )
        };
        for line in [
            usual("\"web.1\"", ""),
            usual("web.1", " status=503"),
            usual("web.1", " code=H12"),
            usual("web.1", " dyno=web.2 path=/other"),
        ] {
            let any = parse_any(line.as_bytes());
            assert_eq!(parse(line.as_bytes()), any, "{line}");
            assert_eq!((any.dyno, any.status, any.code), (&b"web.1"[..], Some(200), &b""[..]));
        }
    }

    #[test]
    fn odd_failures_are_not_missed() {
        for line in [
            "at=info method=GET status=\"503\"",
            "at=info method=GET status=0503",
            "at=info method=GET path=\"/\"status=503",
        ] {
            assert!(parse(line.as_bytes()).is_error() && may_be_error(line.as_bytes()), "{line}");
        }
    }

    /// The line, read character by character.
    fn naive(line: &str) -> Request<'_> {
        let mut first = std::collections::HashMap::new();
        let mut at = 0;
        let mut key_start = 0;
        while at < line.len() {
            match line.as_bytes()[at] {
                b' ' => key_start = at + 1,
                b'=' => {
                    let key = &line[key_start..at];
                    let quote = if line[at + 1..].starts_with('"') { '"' } else { ' ' };
                    let start = at + 1 + usize::from(quote == '"');
                    let end = line[start..].find(quote).map_or(line.len(), |length| start + length);
                    first.entry(key).or_insert(&line[start..end]);
                    at = end;
                    key_start = end + 1;
                }
                _ => {}
            }
            at += 1;
        }
        let value = |key: &str| first.get(key).copied().unwrap_or_default();
        let number = |text: &str| {
            let is_number = text.len() <= 18 && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse::<u64>().ok().filter(|_| is_number)
        };
        let ms = |key| number(value(key).strip_suffix("ms")?)?.try_into().ok();
        Request {
            method: Method::parse(value("method").as_bytes()),
            method_text: value("method").as_bytes(),
            path: value("path").as_bytes(),
            dyno: value("dyno").as_bytes(),
            forwarded_for: value("fwd").as_bytes(),
            request_id: value("request_id").as_bytes(),
            code: if value("at") == "info" { b"" } else { value("code").as_bytes() },
            status: number(value("status")).and_then(|status| status.try_into().ok()),
            connect_ms: ms("connect"),
            service_ms: ms("service"),
            bytes: number(value("bytes")),
        }
    }

    /// Lines of which most are the usual ones, and the others nearly.
    fn nearly_usual() -> impl Strategy<Value = String> {
        const PARTS: [&str; 12] = [
            "at=info |at=error code=\"?H12\"? desc=\"[a-z ]{0,3}\" ",
            "method=\"?(GET|PUT)?\"? ",
            "path=\"/?[a-z =]{0,4}\" ?",
            "host=\"?[h=]{0,2} ",
            "request_id=[r=]{0,3} |request_id=[0-9a-f=]{36} ",
            "fwd=\"[0-9., ]{0,5}\" ?",
            "dyno=\"?(web\\.1)?\"? ",
            "connect=[0-9]{0,11}(ms)? ",
            "service=\"?[0-9]{0,3}ms\"? ",
            "status=\"?0?[0-9]{0,5}\"? ?",
            "bytes=[0-9]{0,20}",
            "( protocol=https)?( code=H10| status=503| dyno=web\\.2| at=info)?",
        ];
        let part = |regex| {
            let part = proptest::string::string_regex(regex).expect("a regular expression");
            prop_oneof![40 => part, 1 => Just(String::new())]
        };
        PARTS.map(part).to_vec().prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn any_line_is_what_its_pairs_say(line in nearly_usual()) {
            prop_assert_eq!(parse(line.as_bytes()), naive(&line));
            prop_assert!(may_be_error(line.as_bytes()) || !parse(line.as_bytes()).is_error());
            let mut json = Vec::new();
            parse(line.as_bytes()).write_json(&mut json);
            let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
            prop_assert_eq!(json["status"].as_u64(), naive(&line).status.map(u64::from));
        }

        #[test]
        fn any_usual_line_reads_the_same(path in "[^\"]{0,20}", dyno in "[a-z.0-9]{0,8}", status in "[0-9]{0,5}", bytes in "[0-9]{0,20}") {
            let line = format!(
                "at=info method=PUT path=\"{path}\" host=h request_id=r fwd=\"f\" dyno={dyno} connect=1ms service=2ms status={status} bytes={bytes} protocol=http"
            );
            prop_assert_eq!(parse_usual(line.as_bytes()), Some(parse_any(line.as_bytes())));
        }

        #[test]
        fn no_failure_is_missed(line in "(at=(info|error) )?(code=H12 )?(method=GET )?(status=[0-9]{1,3}|bytes=5| status=503)") {
            let line = line.as_bytes();
            prop_assert!(may_be_error(line) || !parse(line).is_error());
        }

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
