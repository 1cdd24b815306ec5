//! What a sender sent of one event: kept where a store refuses the event, so that it can be
//! replayed and then becomes the same event.
//!
//! Reports, Maxwell's lines and a bucket watcher's are given word for word. A frame is written anew from the event: a
//! joined stack trace no longer knows where its lines stood.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    batch::{Attributes, Batch, Event},
    event::{Kind, Source},
};

/// What was sent of `event`. Several frames, of a joined stack trace, come with their lengths.
#[must_use]
pub fn original<'a>(batch: &'a Batch, event: &Event) -> Cow<'a, [u8]> {
    match (batch.record_of(event).source, event.attributes) {
        (Source::Logdrains, _) => frames(batch, event).into(),
        (Source::Errors, _) => report(batch, event).into(),
        (Source::Maxwell | Source::Bucket, Attributes::Json(line)) => batch.text.get(line).into(),
        (Source::Maxwell | Source::Bucket, _) => batch.text.get(event.message).into(),
    }
}

/// One report of the body, in which its events stand in the same order.
fn report<'a>(batch: &'a Batch, event: &Event) -> &'a [u8] {
    let body = batch.text.get(batch.record_of(event).body);
    let reports: Option<Vec<&RawValue>> = serde_json::from_slice(body).ok();
    let report = reports.and_then(|reports| reports.get(event.ordinal as usize).copied());
    report.map_or(body, |report| report.get().as_bytes())
}

/// The fields of a frame's header that an event has among its attributes, where they are unusual.
#[derive(Deserialize)]
#[serde(default)]
struct Header<'a> {
    #[serde(borrow)]
    host: Cow<'a, str>,
    #[serde(borrow)]
    app: Cow<'a, str>,
    #[serde(borrow)]
    msgid: Cow<'a, str>,
}

impl Default for Header<'_> {
    fn default() -> Self {
        let nil = Cow::Borrowed("-");
        Self { host: nil.clone(), app: nil.clone(), msgid: nil }
    }
}

impl<'a> Header<'a> {
    fn of(batch: &'a Batch, event: &Event) -> Self {
        let usual =
            |app| Self { host: Cow::Borrowed("host"), app: Cow::Borrowed(app), ..Self::default() };
        match (event.kind, event.attributes) {
            (Kind::Log, Attributes::Json(fields)) => {
                serde_json::from_slice(batch.text.get(fields)).unwrap_or_default()
            }
            (Kind::Log, _) => usual("app"),
            _ => usual("heroku"),
        }
    }
}

fn frames(batch: &Batch, event: &Event) -> Vec<u8> {
    let bytes = if event.message_bytes.is_empty() { event.message } else { event.message_bytes };
    let text = batch.text.get(bytes);
    if event.messages == 1 {
        return frame(batch, event, text);
    }
    let mut out = Vec::new();
    for line in text.split(|byte| *byte == b'\n') {
        let frame = frame(batch, event, line);
        out.extend_from_slice(format!("{} ", frame.len()).as_bytes());
        out.extend_from_slice(&frame);
    }
    out
}

/// With the nil structured data that Heroku leaves out: a text that begins like one keeps its own.
fn frame(batch: &Batch, event: &Event, text: &[u8]) -> Vec<u8> {
    let Header { host, app, msgid } = Header::of(batch, event);
    let process = match batch.text.get(event.process) {
        [] => b"-",
        process => process,
    };
    let priority = event.priority.unwrap_or_default();
    let time = jiff::Timestamp::from_microsecond(event.occurred_at).unwrap_or_default();
    let mut out = format!("<{priority}>1 {time} {host} {app} ").into_bytes();
    out.extend_from_slice(process);
    out.extend_from_slice(format!(" {msgid} - ").as_bytes());
    out.extend_from_slice(text);
    out.push(b'\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        parse::{Parser, tests::block},
        record::Meta,
    };

    fn parse(source: Source, body: &[u8]) -> Batch {
        let mut parser = Parser::new("production", std::sync::Arc::default());
        let mut batch = Batch::default();
        parser.parse(&mut batch, &block(source, body, Meta::default()));
        parser.finish(&mut batch);
        batch
    }

    fn framed(frames: &[&[u8]]) -> Vec<u8> {
        frames
            .iter()
            .flat_map(|frame| [format!("{} ", frame.len()).as_bytes(), frame].concat())
            .collect()
    }

    /// All that a store keeps of an event, but its place.
    fn content(batch: &Batch, event: &Event) -> Vec<Vec<u8>> {
        let text = |span| batch.text.get(span).to_vec();
        let mut attributes = Vec::new();
        batch.write_attributes(event, &mut attributes);
        let fault = batch.faults.get(event.fault as usize);
        let rest = (event.kind, event.severity, event.priority, event.occurred_at, event.messages);
        vec![
            text(event.scope.environment),
            text(event.scope.service),
            text(event.process),
            text(event.message),
            text(event.message_bytes),
            text(event.stack_trace),
            attributes,
            format!("{rest:?} {:?}", fault.map(|fault| fault.fingerprint)).into_bytes(),
        ]
    }

    fn assert_becomes_the_same_again(source: Source, body: &[u8]) {
        let batch = parse(source, body);
        assert!(batch.rejected.is_empty() && !batch.events.is_empty());
        for event in &batch.events {
            let mut sent = original(&batch, event).into_owned();
            if sent.starts_with(b"<") {
                sent = framed(&[&sent]);
            }
            let again = parse(source, &sent);
            assert_eq!(again.events.len(), 1, "{}", String::from_utf8_lossy(&sent));
            assert_eq!(content(&again, &again.events[0]), content(&batch, event));
        }
    }

    #[test]
    fn frames_become_the_same_event() {
        let body = framed(&[
            b"<190>1 2026-11-22T03:00:07.123456+00:00 host app web.1 - plain\n",
            b"<13>1 0001-01-01T00:00:00Z other cron - ID47 - - nil and a dash\n",
            b"<13>1 2026-11-22T03:00:07Z - - - - -\n",
            b"<190>1 unreadable host app web.1 - caf\xe9 \0\n",
            b"<190>1 2026-11-22T03:00:07Z host app web.2 - TypeError: boom\n",
            b"<190>1 2026-11-22T03:00:07Z host app web.2 -     at f\xe9 (/a.js:1:2)\n",
            b"<190>1 2026-11-22T03:00:07Z host app web.2 -     at g (/a.js:3:4)\n",
            b"<158>1 2026-11-22T03:00:00Z host heroku router - at=error code=H12 method=GET path=\"/u/2\" dyno=web.1 connect=1ms service=30000ms status=503 bytes=0\n",
            b"<45>1 2026-11-22T03:00:00Z host heroku web.1 - State changed from up to crashed\n",
            b"<190>1 2026-11-22T03:00:07Z host app web.3 - two\nlines\n",
        ]);
        assert_becomes_the_same_again(Source::Logdrains, &body);
    }

    #[test]
    fn reports_and_lines_are_given_word_for_word() {
        let reports =
            br#"[{"message":"a"}, {"message":"b","fingerprint":"mine","attributes":{"n":1.50}} ]"#;
        assert_becomes_the_same_again(Source::Errors, reports);
        assert_becomes_the_same_again(Source::Errors, br#" {"message":"only","x":[1]} "#);
        let batch = parse(Source::Errors, reports);
        let expected = br#"{"message":"b","fingerprint":"mine","attributes":{"n":1.50}}"#;
        assert_eq!(original(&batch, &batch.events[1]).as_ref(), expected);
        let line = br#"{"database":"d","table":"t","type":"insert","ts":1,"data":{"m":1.50}}"#;
        let batch = parse(Source::Maxwell, &[line.as_slice(), b"\n"].concat());
        assert_eq!(original(&batch, &batch.events[0]).as_ref(), line);
    }
}
