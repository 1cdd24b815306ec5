//! Error reports: what programs POST when something went wrong.
//!
//! `{"message": …, "stackTrace"?, "level"?, "environment"?, "service"?, "timestamp"?,
//! "fingerprint"?, "attributes"?: {…}}`, or an array of them. Unknown keys are kept among the
//! attributes. Values stay the text they came as, so numbers of any size survive.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{Error, SeqAccess, Visitor},
};

use super::{
    event::Severity,
    json::{self, Members, Text},
    record::Meta,
    shape::Shape,
    time::{self, Micros},
};

/// One report, borrowed from the body where it can be.
#[derive(Debug)]
pub struct Report<'a> {
    pub message: Cow<'a, str>,
    /// Empty when there is none.
    pub stack_trace: Cow<'a, str>,
    pub severity: Severity,
    /// Empty when not given.
    pub environment: Cow<'a, str>,
    /// Empty when not given.
    pub service: Cow<'a, str>,
    pub occurred_at: Option<Micros>,
    /// What the sender wants the fault to be known by.
    pub pinned: Option<Cow<'a, str>>,
    /// The attributes object as it came.
    pub attributes: Option<&'a str>,
    /// Keys that are not part of the format, with their values as JSON.
    pub unknown: Vec<(Cow<'a, str>, &'a str)>,
}

/// What is wrong with a body, and where: `pointer` is a JSON pointer (RFC 6901).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {problem}", if pointer.is_empty() { "body" } else { pointer })]
pub struct ReportError {
    pub pointer: String,
    pub problem: String,
}

impl ReportError {
    fn new(pointer: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), problem: problem.into() }
    }
}

/// Attributes nested deeper than this are refused, since stores refuse them too.
const MAX_DEPTH: usize = 128;

/// So many reports an array may hold. Reports that say anything reach the limit of a body long
/// before; a body of empty ones would take a multiple of its size in memory.
const MAX_REPORTS: usize = 100_000;

/// Reads a body: one report or an array of them.
///
/// # Errors
/// Names the first thing that is wrong; then nothing of the body is to be taken.
pub fn parse(body: &[u8]) -> Result<Vec<Report<'_>>, ReportError> {
    let is_array = body.trim_ascii_start().first() == Some(&b'[');
    let mut input = serde_json::Deserializer::from_slice(body);
    let mut reports = Vec::new();
    let mut problem = None;
    let read = if is_array {
        input.deserialize_seq(Elements { reports: &mut reports, problem: &mut problem })
    } else {
        Members::deserialize(&mut input).map(|object| match report(object, None) {
            Ok(report) => reports.push(report),
            Err(error) => problem = Some(error),
        })
    };
    let read = read.and_then(|()| input.end());
    match (problem, read) {
        (Some(problem), _) => Err(problem),
        (None, Err(error)) if !error.is_data() => Err(ReportError::new("", error.to_string())),
        (None, Err(_)) if is_array => {
            Err(ReportError::new(format!("/{}", reports.len()), "expected a JSON object"))
        }
        (None, Err(_)) => {
            Err(ReportError::new("", "expected a JSON object, or an array of objects"))
        }
        (None, Ok(())) if reports.is_empty() => {
            Err(ReportError::new("", "an empty array: at least one report is expected"))
        }
        (None, Ok(())) => Ok(reports),
    }
}

/// Reads the elements of an array one by one, so that only the reports themselves take memory.
struct Elements<'r, 'a> {
    reports: &'r mut Vec<Report<'a>>,
    problem: &'r mut Option<ReportError>,
}

impl Elements<'_, '_> {
    fn stop<E: Error>(&mut self, problem: ReportError) -> E {
        let stop = E::custom(&problem);
        *self.problem = Some(problem);
        stop
    }
}

impl<'de> Visitor<'de> for Elements<'_, 'de> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut elements: A) -> Result<(), A::Error> {
        while let Some(object) = elements.next_element()? {
            if self.reports.len() == MAX_REPORTS {
                let problem = format!("more than {MAX_REPORTS} reports in one array");
                return Err(self.stop(ReportError::new(format!("/{MAX_REPORTS}"), problem)));
            }
            match report(object, Some(self.reports.len())) {
                Ok(report) => self.reports.push(report),
                Err(problem) => return Err(self.stop(problem)),
            }
        }
        Ok(())
    }
}

/// The report that `object` is; `element` is its place in an array.
fn report(object: Members<'_>, element: Option<usize>) -> Result<Report<'_>, ReportError> {
    let mut message = None;
    let mut report = Report {
        message: Cow::Borrowed(""),
        stack_trace: Cow::Borrowed(""),
        severity: Severity::Error,
        environment: Cow::Borrowed(""),
        service: Cow::Borrowed(""),
        occurred_at: None,
        pinned: None,
        attributes: None,
        unknown: Vec::new(),
    };
    for (key, value) in object.0 {
        let at = || pointer(element, &key);
        let value = value.get();
        // `null` says the same as leaving a key out.
        if value == "null" && key != "message" {
            continue;
        }
        match &*key {
            "message" => message = Some(text(value, at)?),
            "stackTrace" => report.stack_trace = text(value, at)?,
            "level" => report.severity = level(value, at)?,
            "environment" => report.environment = name(value, at)?,
            "service" => report.service = name(value, at)?,
            "timestamp" => report.occurred_at = Some(timestamp(value, at)?),
            "fingerprint" => report.pinned = Some(fingerprint(value, at)?),
            "attributes" => report.attributes = Some(attributes(value, at)?),
            _ => {
                check_depth(value, at)?;
                report.unknown.push((key, value));
            }
        }
    }
    let at = || pointer(element, "message");
    report.message = message.ok_or_else(|| ReportError::new(at(), "is missing"))?;
    if report.message.trim().is_empty() {
        return Err(ReportError::new(at(), "is empty"));
    }
    Ok(report)
}

/// Where a member of a report stands. RFC 6901 §3 escapes `~` and `/`.
fn pointer(element: Option<usize>, key: &str) -> String {
    let key = key.replace('~', "~0").replace('/', "~1");
    element.map_or_else(|| format!("/{key}"), |index| format!("/{index}/{key}"))
}

fn json_type(value: &str) -> &'static str {
    match value.as_bytes().first() {
        Some(b'"') => "a string",
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

fn text(value: &str, at: impl Fn() -> String) -> Result<Cow<'_, str>, ReportError> {
    if !value.starts_with('"') {
        return Err(ReportError::new(at(), format!("expected a string, got {}", json_type(value))));
    }
    let Text(text) =
        serde_json::from_str(value).map_err(|error| ReportError::new(at(), error.to_string()))?;
    Ok(text)
}

fn name(value: &str, at: impl Fn() -> String) -> Result<Cow<'_, str>, ReportError> {
    let name = text(value, &at)?;
    if name.len() > Meta::MAX_NAME {
        let problem = format!("{} bytes long, at most {}", name.len(), Meta::MAX_NAME);
        return Err(ReportError::new(at(), problem));
    }
    Ok(name)
}

fn level(value: &str, at: impl Fn() -> String) -> Result<Severity, ReportError> {
    let name = text(value, &at)?;
    Severity::from_name(&name).ok_or_else(|| {
        let problem = format!(
            "{:?} is none of fatal, critical, error, warning, notice, info, debug",
            super::shape::cut(&name, 40)
        );
        ReportError::new(at(), problem)
    })
}

/// RFC 3339 text, or seconds (below 10¹¹) or milliseconds since the epoch.
fn timestamp(value: &str, at: impl Fn() -> String) -> Result<Micros, ReportError> {
    let micros = if value.starts_with('"') {
        time::parse_rfc3339(text(value, &at)?.as_bytes())
    } else if let Ok(whole) = value.parse::<i64>() {
        let factor = if whole.unsigned_abs() < 100_000_000_000 { 1_000_000 } else { 1_000 };
        whole.checked_mul(factor).and_then(time::in_range)
    } else {
        seconds_with_fraction(value)
    };
    micros.ok_or_else(|| {
        ReportError::new(at(), "expected RFC 3339 text, or seconds or milliseconds since 1970")
    })
}

/// `1795316511.25`, read digit by digit.
fn seconds_with_fraction(value: &str) -> Option<Micros> {
    let (seconds, fraction) = value.split_once('.')?;
    if fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let seconds: i64 = seconds.parse().ok()?;
    let digits: i64 = format!("{:0<6}", &fraction[..fraction.len().min(6)]).parse().ok()?;
    let fraction = if value.starts_with('-') { -digits } else { digits };
    seconds.checked_mul(1_000_000)?.checked_add(fraction).and_then(time::in_range)
}

/// A string, or an array of strings that stand together.
fn fingerprint(value: &str, at: impl Fn() -> String) -> Result<Cow<'_, str>, ReportError> {
    if !value.starts_with('[') {
        return name(value, at);
    }
    let parts: Vec<Text<'_>> = serde_json::from_str(value)
        .map_err(|_| ReportError::new(at(), "expected a string or an array of strings"))?;
    Ok(parts.iter().map(|Text(part)| &**part).collect::<Vec<_>>().join("\u{1f}").into())
}

fn attributes(value: &str, at: impl Fn() -> String) -> Result<&str, ReportError> {
    if !value.starts_with('{') {
        let problem = format!("expected an object, got {}", json_type(value));
        return Err(ReportError::new(at(), problem));
    }
    check_depth(value, at)?;
    Ok(value)
}

fn check_depth(value: &str, at: impl Fn() -> String) -> Result<(), ReportError> {
    if json::is_deeper_than(value.as_bytes(), MAX_DEPTH) {
        return Err(ReportError::new(at(), format!("nested deeper than {MAX_DEPTH}")));
    }
    Ok(())
}

impl Report<'_> {
    #[must_use]
    pub fn shape(&self) -> Shape {
        Shape::of_error(&self.message, &self.stack_trace, self.pinned.as_deref())
    }

    /// Whether there is anything to write as attributes.
    #[must_use]
    pub fn has_attributes(&self) -> bool {
        self.attributes.is_some() || !self.unknown.is_empty()
    }

    /// Writes the attributes as one JSON object: the sender's own, then the unknown keys.
    pub fn write_attributes(&self, out: &mut Vec<u8>) {
        let inner = self.attributes.map_or("", |object| object[1..object.len() - 1].trim());
        out.push(b'{');
        out.extend_from_slice(inner.as_bytes());
        if !inner.is_empty() && !self.unknown.is_empty() {
            out.push(b',');
        }
        let mut fields = json::Fields::new(out);
        for (key, value) in &self.unknown {
            fields.name(key).extend_from_slice(value.as_bytes());
        }
        out.push(b'}');
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};
    use serde_json::Value;

    use super::*;

    fn problem(body: &str) -> String {
        parse(body.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn a_full_report() {
        let body = r#"{"message":"boom \"42\"","stackTrace":"Error: boom\n at f","level":"FATAL","environment":"prod",
            "service":"shop","timestamp":"2026-11-22T03:00:00Z","fingerprint":["a","b"],
            "attributes":{"n":12345678901234567890.123456789},"extra":[1]}"#;
        let reports = parse(body.as_bytes()).unwrap();
        let report = &reports[0];
        assert_eq!(report.message, "boom \"42\"");
        assert_eq!(report.severity, Severity::Critical);
        assert_eq!(report.occurred_at, Some(1_795_316_400_000_000));
        assert_eq!(report.pinned.as_deref(), Some("a\u{1f}b"));
        let mut out = Vec::new();
        report.write_attributes(&mut out);
        assert_eq!(out, br#"{"n":12345678901234567890.123456789,"extra":[1]}"#);
    }

    #[test]
    fn an_array_and_its_bad_element() {
        assert_eq!(parse(br#"[{"message":"a"},{"message":"b"}]"#).unwrap().len(), 2);
        assert_eq!(
            problem(r#"[{"message":"a"},{"message":5}]"#),
            "/1/message: expected a string, got a number"
        );
        assert_eq!(problem(r#"[{"message":"a"},7]"#), "/1: expected a JSON object");
        assert!(problem("[]").contains("empty array"));
        let many = format!("[{}7]", r#"{"message":"a"},"#.repeat(MAX_REPORTS));
        assert_eq!(problem(&many), "/100000: expected a JSON object");
        let many = many.replace('7', r#"{"message":"a"}"#);
        assert_eq!(problem(&many), "/100000: more than 100000 reports in one array");
    }

    #[test]
    fn errors_name_the_place() {
        assert_eq!(problem(r#"{"message":5}"#), "/message: expected a string, got a number");
        assert_eq!(problem("{}"), "/message: is missing");
        assert_eq!(problem(r#"{"message":null}"#), "/message: expected a string, got null");
        assert_eq!(problem(r#"{"message":" "}"#), "/message: is empty");
        assert!(
            problem(r#"{"message":"a","level":"loud"}"#).starts_with("/level: \"loud\" is none of")
        );
        assert!(problem(r#"{"message":"a","timestamp":"yesterday"}"#).starts_with("/timestamp: "));
        assert!(
            problem(r#"{"message":"a","attributes":[]}"#)
                .starts_with("/attributes: expected an object")
        );
        assert!(problem(r#"{"message":"a"} {"message":"b"}"#).contains("trailing characters"));
        assert!(problem("\u{7f}PNG").starts_with("body: expected value"));
        assert!(problem("5").starts_with("body: expected a JSON object"));
        let deep = format!(
            r#"{{"message":"a","attributes":{{"x":{}1{}}}}}"#,
            "[".repeat(200),
            "]".repeat(200)
        );
        assert_eq!(problem(&deep), "/attributes: nested deeper than 128");
    }

    #[test]
    fn a_pointer_escapes_what_separates_its_parts() {
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        assert!(problem(&format!(r#"{{"message":"a","b/c~d":{deep}}}"#)).starts_with("/b~1c~0d: "));
    }

    #[test]
    fn times_in_every_form() {
        for (value, micros) in [
            ("1795316511", 1_795_316_511_000_000),
            ("1795316511123", 1_795_316_511_123_000),
            ("1795316511.25", 1_795_316_511_250_000),
            ("\"2026-11-22T03:00:00.5Z\"", 1_795_316_400_500_000),
        ] {
            let body = format!(r#"{{"message":"a","timestamp":{value}}}"#);
            assert_eq!(parse(body.as_bytes()).unwrap()[0].occurred_at, Some(micros), "{value}");
        }
        for absurd in ["1e300", "-9223372036854775808", "9223372036854775807"] {
            let body = format!(r#"{{"message":"a","timestamp":{absurd}}}"#);
            assert!(problem(&body).starts_with("/timestamp"), "{absurd}");
        }
    }

    /// The pointer to what is wrong with a report, or its message.
    fn naive(report: &Value, pointer: &str) -> Result<String, String> {
        let Some(members) = report.as_object() else { return Err(pointer.to_owned()) };
        for (key, value) in members {
            let text = value.as_str();
            let is_name = text.is_some_and(|name| name.len() <= 255);
            let is_right = match key.as_str() {
                "message" => text.is_some(),
                _ if value.is_null() => true,
                "stackTrace" => text.is_some(),
                "level" => ["warn", "ERROR"].into_iter().any(|level| text == Some(level)),
                "environment" | "service" => is_name,
                "timestamp" => value.is_i64() || text == Some("2026-11-22T03:00:00Z"),
                "fingerprint" => match value.as_array() {
                    Some(parts) => parts.iter().all(Value::is_string),
                    None => is_name,
                },
                "attributes" => value.is_object(),
                _ => true,
            };
            if !is_right {
                return Err(format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1")));
            }
        }
        let message = report["message"].as_str().filter(|message| !message.trim().is_empty());
        message.map(str::to_owned).ok_or_else(|| format!("{pointer}/message"))
    }

    /// Reports of which most are right.
    fn reports() -> impl Strategy<Value = Vec<Value>> {
        const KEYS: [&str; 9] = [
            "message",
            "stackTrace",
            "level",
            "environment",
            "service",
            "timestamp",
            "fingerprint",
            "attributes",
            "a/b~c",
        ];
        let text = |regex| proptest::string::string_regex(regex).unwrap().prop_map(Value::from);
        let any_value = prop_oneof![
            Just(Value::Null),
            any::<u32>().prop_map(Value::from),
            any::<bool>().prop_map(Value::from),
            text("[a-z]{0,3}|é{127,129}"),
            vec(text("[a-z]{0,2}"), 0..3).prop_map(Value::from),
            "[a-z]{1,2}".prop_map(|key| serde_json::json!({ key: [1, null] })),
        ];
        let right = prop_oneof![
            4 => text("[a-z\\PC]{1,9}").prop_map(|value| ("message", value)),
            1 => text("\\PC{0,9}").prop_map(|value| ("stackTrace", value)),
            1 => text("warn|ERROR").prop_map(|value| ("level", value)),
            1 => text("[a-z]{0,3}").prop_map(|value| ("service", value)),
            1 => text("2026-11-22T03:00:00Z").prop_map(|value| ("timestamp", value)),
            1 => Just(("attributes", serde_json::json!({"a": {"b": 1}}))),
        ];
        let any_member = (proptest::sample::select(&KEYS[..]), any_value.clone());
        let member = prop_oneof![9 => right, 1 => any_member];
        let report = vec(member, 1..8).prop_map(|members| {
            Value::Object(members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
        });
        vec(prop_oneof![30 => report, 1 => any_value], 1..4)
    }

    proptest! {
        #[test]
        fn a_body_is_taken_whole_or_its_first_mistake_is_named(reports in reports()) {
            let body = Value::from(reports.clone()).to_string();
            let expected: Result<Vec<_>, _> =
                reports.iter().enumerate().map(|(at, report)| naive(report, &format!("/{at}"))).collect();
            let read = parse(body.as_bytes()).map_err(|error| error.pointer);
            let messages = read.map(|reports| reports.into_iter().map(|r| r.message.into_owned()).collect());
            prop_assert_eq!(messages, expected);
            if reports[0].is_object() {
                let body = reports[0].to_string();
                let read = parse(body.as_bytes()).map_err(|error| error.pointer);
                let message = read.map(|mut reports| reports.remove(0).message.into_owned());
                prop_assert_eq!(message, naive(&reports[0], ""));
            }
        }

        #[test]
        fn any_body_is_survived(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&body);
        }

        #[test]
        fn any_message_comes_back(message in "\\PC*[a-z]", key in "[a-z]{1,8}z") {
            let body = serde_json::json!({"message": message, key.as_str(): {"a": 1}}).to_string();
            let reports = parse(body.as_bytes()).unwrap();
            prop_assert_eq!(&*reports[0].message, message.as_str());
            let mut out = Vec::new();
            reports[0].write_attributes(&mut out);
            let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
            prop_assert_eq!(&value[key.as_str()]["a"], 1);
        }
    }
}
