//! A whole body of `POST /logdrains`: framing, headers, joined stack traces.
#![no_main]

use std::collections::BTreeMap;

use faultline_actors::domain::{
    batch::{Batch, repair},
    event::{Kind, Source},
    frame::{Frame, Frames},
    logplex,
    record::Meta,
};
use faultline_fuzz::{parse, seen};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    assert_eq!(frames(body), naive_frames(body));
    let unnamed = parse(Source::Logdrains, Meta::default(), &[body]);
    let logplex = Meta { sender_is_logplex: true, service: "shop", ..Meta::default() };
    let whole = parse(Source::Logdrains, logplex, &[body]);
    assert_eq!(whole.tallies, unnamed.tallies);
    assert_eq!(kept_lines(&whole), sent_lines(body));

    // Where a sender ends one body and starts the next makes no difference.
    let (first, second) = body.split_at(middle(body));
    let halves = parse(Source::Logdrains, logplex, &[first, second]);
    assert_eq!(seen(&halves), seen(&whole));
    assert_eq!(halves.tallies, whole.tallies);
    assert_eq!(halves.upstream_dropped, whole.upstream_dropped);
});

/// The frames that are messages, and what is left where framing breaks.
fn frames(body: &[u8]) -> (Vec<&[u8]>, &[u8]) {
    let (mut messages, mut left) = (Vec::new(), &[][..]);
    for frame in Frames::new(body) {
        match frame {
            Frame::Message(message) => messages.push(message),
            Frame::Empty { count } => assert!(count > 0),
            Frame::Broken { rest, .. } => left = rest,
        }
    }
    (messages, left)
}

/// The same, read off the definition.
fn naive_frames(body: &[u8]) -> (Vec<&[u8]>, &[u8]) {
    let mut messages = Vec::new();
    let mut rest = body;
    loop {
        while let [b'\n', behind @ ..] = rest {
            rest = behind;
        }
        let Some(space) = rest.iter().position(|byte| *byte == b' ') else { break };
        let digits = std::str::from_utf8(&rest[..space]).unwrap_or_default();
        if digits.is_empty() || digits.len() > 9 || !digits.bytes().all(|d| d.is_ascii_digit()) {
            break;
        }
        let length: usize = digits.parse().expect("at most nine digits");
        let Some((message, behind)) = rest[space + 1..].split_at_checked(length) else { break };
        if !message.is_empty() {
            messages.push(message);
        }
        rest = behind;
    }
    (messages, rest)
}

/// What each process said, line by line, whatever was joined.
type Lines = BTreeMap<String, String>;

fn sent_lines(body: &[u8]) -> Lines {
    let mut lines = Lines::new();
    for frame in frames(body).0 {
        match logplex::parse(frame) {
            Ok(message) if message.app != b"heroku" => {
                add(&mut lines, message.process, message.text)
            }
            _ => {}
        }
    }
    lines
}

fn kept_lines(batch: &Batch) -> Lines {
    let mut lines = Lines::new();
    for event in batch.events.iter().filter(|event| event.kind == Kind::Log) {
        let process = match batch.text.get(event.process) {
            b"" => b"-",
            process => process,
        };
        add(&mut lines, process, batch.text.get(event.message));
    }
    lines
}

fn add(lines: &mut Lines, process: &[u8], text: &[u8]) {
    let said = lines.entry(repair(process)).or_default();
    said.push_str(&repair(text));
    said.push('\n');
}

/// Where the frame begins that stands half-way.
fn middle(body: &[u8]) -> usize {
    let mut frames = Frames::new(body);
    let half = Frames::new(body).count() / 2;
    frames.by_ref().take(half).for_each(drop);
    frames.offset()
}
