//! One line of Heroku's router.
#![no_main]

use faultline_actors::domain::{
    event::{Kind, Source},
    record::Meta,
    router::{self, Request},
};
use faultline_fuzz::{is_object, parse, text};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|line: &[u8]| {
    let request = router::parse(line);
    for piece in pieces(&request) {
        assert!(piece.is_empty() || line.as_ptr_range().contains(&piece.as_ptr()));
    }
    assert!(router::may_be_error(line) || !request.is_error());

    // A space in front changes nothing but that the line is not read as one of the usual ones.
    let spaced = [b" ", line].concat();
    assert_eq!(request, router::parse(&spaced));

    let line = String::from_utf8_lossy(line);
    check_json(&router::parse(line.as_bytes()));
    check_event(&line);
});

fn pieces<'a>(request: &Request<'a>) -> [&'a [u8]; 6] {
    let Request { method_text, path, dyno, forwarded_for, request_id, code, .. } = *request;
    [method_text, path, code, dyno, forwarded_for, request_id]
}

/// The JSON says what the request says.
fn check_json(request: &Request<'_>) {
    let mut json = Vec::new();
    request.write_json(&mut json);
    assert!(is_object(&json));
    let json: Value = serde_json::from_slice(&json).expect("a flat object");
    let names = ["method", "path", "code", "dyno", "fwd", "request_id"];
    for (name, piece) in names.into_iter().zip(pieces(request)) {
        assert_eq!(json[name].as_str().unwrap_or_default().as_bytes(), piece);
    }
    assert_eq!(json["status"].as_u64(), request.status.map(u64::from));
    assert_eq!(json["connect_ms"].as_u64(), request.connect_ms.map(u64::from));
    assert_eq!(json["service_ms"].as_u64(), request.service_ms.map(u64::from));
    assert_eq!(json["bytes"].as_u64(), request.bytes);
}

/// The line becomes one event, and a failed request becomes a fault.
fn check_event(line: &str) {
    let frame = format!("<158>1 2026-11-22T03:00:00+00:00 host heroku router - {line}\n");
    let body = format!("{} {frame}", frame.len());
    let batch = parse(Source::Logdrains, Meta::default(), &[body.as_bytes()]);
    let [event] = &batch.events[..] else { panic!("one line is one event") };
    assert_eq!(event.kind, Kind::Router);
    let message = text(&batch, event.message);
    let failed = router::parse(message.as_bytes()).is_error();
    assert_eq!(batch.faults.len(), usize::from(failed));
}
