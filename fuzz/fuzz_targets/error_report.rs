//! A body of `POST /errors/log`.
#![no_main]

use faultline_actors::domain::{
    batch::repair,
    error_report::{self, Report, ReportError},
    event::{Kind, Source},
    parse::count_messages,
    record::Meta,
};
use faultline_fuzz::{check_fingerprint, is_object, parse, text};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|body: &[u8]| {
    let batch = parse(Source::Errors, Meta::default(), &[body]);
    let value = serde_json::from_slice::<Value>(body).ok();
    let reports = match error_report::parse(body) {
        Ok(reports) => reports,
        Err(error) => {
            check_pointer(&error, value.as_ref());
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
fn check_pointer(error: &ReportError, value: Option<&Value>) {
    assert!(error.pointer.is_empty() || error.pointer.starts_with('/'));
    let Some(value) = value else { return };
    let missing = error.problem == "is missing";
    let place =
        if missing { error.pointer.rsplit_once('/').map(|(parent, _)| parent) } else { None };
    assert!(value.pointer(place.unwrap_or(&error.pointer)).is_some(), "{error}");
    assert!(!missing || value.pointer(&error.pointer).is_none());
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
