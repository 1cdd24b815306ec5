//! Lines of Maxwell's change stream.
#![no_main]

use faultline_actors::domain::{
    batch::{Attributes, repair},
    event::{Kind, Source},
    record::Meta,
};
use faultline_fuzz::{parse, text};
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};

fuzz_target!(|body: &[u8]| {
    let batch = parse(Source::Maxwell, Meta::default(), &[body]);
    let lines: Vec<&[u8]> = body
        .split(|byte| *byte == b'\n')
        .map(<[u8]>::trim_ascii)
        .filter(|line| !line.is_empty())
        .collect();

    // Events and rejected messages share one numbering, so they tell what became of each line.
    let (mut events, mut rejected) = (batch.events.iter(), batch.rejected.iter().peekable());
    let mut at = 0;
    for ordinal in 0.. {
        if let Some(rejected) = rejected.next_if(|rejected| rejected.ordinal == ordinal) {
            let behind = at + rejected.messages as usize;
            check_rejected(batch.text.get(rejected.bytes), &lines[at..behind]);
            at = behind;
            continue;
        }
        let Some(event) = events.next() else { break };
        let line = lines[at];
        at += 1;
        assert_eq!(event.kind, Kind::Change);
        let Attributes::Json(attributes) = event.attributes else { panic!("the line itself") };
        assert_eq!(batch.text.get(attributes), line, "numbers and keys stay as they came");
        if let Some(change) = read(line) {
            assert_eq!(text(&batch, event.message), repair(expected(&change).as_bytes()));
        }
    }
    assert_eq!(at, lines.len());
});

/// The bytes of lines that were rejected together are kept, and none was to be taken.
fn check_rejected(bytes: &[u8], lines: &[&[u8]]) {
    let kept: Vec<_> = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).collect();
    assert!(kept.into_iter().filter(|line| !line.is_empty()).eq(lines.iter().copied()));
    for line in lines {
        assert!(!read(line).is_some_and(|change| is_maxwell(&change, line)), "lost for no reason");
    }
}

/// The line, where serde_json knows it for an object.
fn read(line: &[u8]) -> Option<Map<String, Value>> {
    serde_json::from_slice(line).ok()
}

/// Whether the format leaves no doubt that this line is to be taken. Of keys that stand twice
/// the object has only the last.
fn is_maxwell(change: &Map<String, Value>, line: &[u8]) -> bool {
    let is_text = |key| change.get(key).is_none_or(|value| value.is_string() || value.is_null());
    let known = ["type", "database", "table", "position"];
    let twice = known.iter().any(|key| occurrences(line, key) > 1);
    let named = !member(change, "type").is_empty() || change.contains_key("encrypted");
    named && !twice && known.into_iter().all(is_text)
}

/// How often `key` may stand in the line; an escape may spell any key.
fn occurrences(line: &[u8], key: &str) -> usize {
    let spelled = line.windows(key.len()).filter(|window| *window == key.as_bytes()).count();
    spelled + line.iter().filter(|byte| **byte == b'\\').count()
}

fn member<'a>(change: &'a Map<String, Value>, key: &str) -> &'a str {
    change.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn expected(change: &Map<String, Value>) -> String {
    let names = [member(change, "database"), member(change, "table")];
    let names: Vec<_> = names.into_iter().filter(|name| !name.is_empty()).collect();
    let kind = match member(change, "type") {
        "" => "encrypted change",
        kind => kind,
    };
    if names.is_empty() { kind.to_owned() } else { format!("{kind} {}", names.join(".")) }
}
