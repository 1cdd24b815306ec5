//! A body of `POST /errors/log`.
#![no_main]

use faultline_actors::domain::{
    batch::repair,
    error_report::{self, Report, ReportError},
    event::{Kind, Source},
    json::Members,
    parse::count_messages,
    record::Meta,
};
use faultline_fuzz::{check_fingerprint, is_object, parse, text};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, value::RawValue};

fuzz_target!(|body: &[u8]| {
    let batch = parse(Source::Errors, Meta::default(), &[body]);
    let value = serde_json::from_slice::<Value>(body).ok();
    let reports = match error_report::parse(body) {
        Ok(reports) => reports,
        Err(error) => {
            check_pointer(&error, body);
            assert_eq!((batch.events.len(), batch.rejected.len()), (0, 1));
            return;
        }
    };
    assert_eq!(count_messages(Source::Errors, body) as usize, reports.len());
    assert_eq!((batch.events.len(), batch.rejected.len()), (reports.len(), 0));
    for (index, (report, event)) in reports.iter().zip(&batch.events).enumerate() {
        assert_eq!(event.kind, Kind::Error);
        assert_eq!(text(&batch, event.message), repair(report.message.as_bytes()));
        assert_eq!(text(&batch, event.stack_trace), repair(report.stack_trace.as_bytes()));
        // What the sender was told is what the store will hold.
        let fingerprint = report.shape().fingerprint.to_string();
        check_fingerprint(&fingerprint);
        let fault = &batch.faults[event.fault as usize];
        assert_eq!(fault.fingerprint.to_string(), fingerprint);
        if let Some(value) = &value {
            check_report(report, value.get(index).unwrap_or(value));
        }
    }
});

/// The pointer leads to what is wrong, or to where something is missing.
fn check_pointer(error: &ReportError, body: &[u8]) {
    assert!(error.pointer.is_empty() || error.pointer.starts_with('/'));
    let Ok(value) = serde_json::from_slice(body) else { return };
    if error.problem == "is missing" {
        let (parent, _) = error.pointer.rsplit_once('/').expect("a member's place");
        assert!(resolves(value, parent) && !resolves(value, &error.pointer));
    } else {
        assert!(resolves(value, &error.pointer), "{error}");
    }
}

/// Whether a JSON pointer leads to something; at any depth, which serde_json's own does not.
fn resolves(value: &RawValue, pointer: &str) -> bool {
    let mut value = value.get();
    for part in pointer.split('/').skip(1) {
        let part = part.replace("~1", "/").replace("~0", "~");
        let found = if value.starts_with('[') {
            let elements: Vec<&RawValue> = serde_json::from_str(value).expect("an array");
            part.parse().ok().and_then(|index: usize| elements.get(index).copied())
        } else {
            let Ok(Members(members)) = serde_json::from_str(value) else { return false };
            members.into_iter().find(|(key, _)| *key == part).map(|(_, value)| value)
        };
        match found {
            Some(found) => value = found.get(),
            None => return false,
        }
    }
    true
}

/// The report says what serde_json reads; of keys that stand twice, the last.
fn check_report(report: &Report<'_>, value: &Value) {
    let member = |key: &str| value[key].as_str();
    assert_eq!(Some(&*report.message), member("message"));
    for (piece, key) in [
        (&report.stack_trace, "stackTrace"),
        (&report.environment, "environment"),
        (&report.service, "service"),
    ] {
        // A key that stands twice, the second time as `null`, keeps its first value.
        assert!(value[key].is_null() || member(key) == Some(&**piece));
    }
    let mut json = Vec::new();
    report.write_attributes(&mut json);
    assert!(is_object(&json));
    // Together they may nest deeper than serde_json goes.
    let Ok(attributes) = serde_json::from_slice::<Value>(&json) else { return };
    for (key, _) in &report.unknown {
        assert!(value[&**key].is_null() || attributes[&**key] == value[&**key]);
    }
    for (key, own) in value["attributes"].as_object().into_iter().flatten() {
        let hidden = report.unknown.iter().any(|(unknown, _)| unknown == key);
        assert!(hidden || attributes[key] == *own);
    }
}
