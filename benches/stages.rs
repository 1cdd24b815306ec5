//! The pure stages against the least that they could cost, in one run.
//!
//! `limit` is what a stage cannot do without; `parser` is the stage. Compare the two throughputs.

#![expect(clippy::unwrap_used, reason = "the input is made here")]

mod support;

use std::{collections::HashMap, hint::black_box, sync::Arc};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use faultline_actors::domain::{
    batch::{Attributes, Batch, Event},
    event::{Kind, Severity, Source},
    fault::Gathering,
    parse::Parser,
    rule::{
        ChangeFacts, Facts, FaultState, Priorities, RuleSettings, Rules, TicketDefaults, Verdict,
    },
    shape::Shape,
    words::block::Blocks,
};
use faultline_testkit::loghub;
use simd_json::Buffers;
use support::{
    Numbers, block, body_of, frames, maxwell_lines,
    parse::{logplex_limit, maxwell_limit, parse_all},
    report,
};

const MESSAGES: usize = 700;

fn maxwell(criterion: &mut Criterion) {
    let body = maxwell_lines(MESSAGES);
    let block = block(Source::Maxwell, &body);
    let mut group = criterion.benchmark_group("maxwell");
    group.throughput(Throughput::Elements(MESSAGES as u64));
    group.bench_function("limit: simd-json into a struct", |bencher| {
        let mut buffers = Buffers::new(1_024);
        let mut scratch = Vec::new();
        bencher.iter(|| black_box(maxwell_limit(&body, &mut buffers, &mut scratch)));
    });
    group.bench_function("parser", |bencher| {
        let mut parser = Parser::new("production", Arc::default());
        bencher.iter(|| black_box(parse_all(&mut parser, &block)));
    });
    group.finish();
}

fn logplex(criterion: &mut Criterion) {
    let body = frames(MESSAGES, 7);
    let block = block(Source::Logdrains, &body);
    let mut group = criterion.benchmark_group("logplex");
    group.throughput(Throughput::Elements(MESSAGES as u64));
    group.bench_function("limit: framing, header, UTF-8, xxh3", |bencher| {
        bencher.iter(|| black_box(logplex_limit(&body)));
    });
    group.bench_function("parser", |bencher| {
        let mut parser = Parser::new("production", Arc::default());
        bencher.iter(|| black_box(parse_all(&mut parser, &block)));
    });
    group.finish();
}

/// One report a body, as most are sent.
fn error_report(criterion: &mut Criterion) {
    let mut numbers = Numbers::new(7);
    let blocks: Vec<_> =
        (0..64).map(|_| block(Source::Errors, report(&mut numbers, None).as_bytes())).collect();
    let bodies: Vec<_> = blocks.iter().map(body_of).collect();
    let mut group = criterion.benchmark_group("error_report");
    group.throughput(Throughput::Elements(blocks.len() as u64));
    group.bench_function("limit: serde_json into values", |bencher| {
        bencher.iter(|| {
            for body in &bodies {
                black_box(serde_json::from_slice::<serde_json::Value>(body).unwrap());
            }
        });
    });
    group.bench_function("parser", |bencher| {
        let mut parser = Parser::new("production", Arc::default());
        bencher.iter(|| {
            for block in &blocks {
                black_box(parse_all(&mut parser, block));
            }
        });
    });
    group.finish();
}

/// Lines of about the length and the variables of those in LogHub.
fn lines_of_logs() -> Vec<String> {
    let mut numbers = Numbers::new(7);
    (0..MESSAGES)
        .map(|_| {
            let (one, two) = (numbers.below(1_000), numbers.below(250));
            match numbers.below(6) {
                0 => format!(
                    "Received block blk_{one}{two} of size 67108864 from /10.250.{two}.1:54106"
                ),
                1 => format!(
                    "Failed password for invalid user u{one} from 10.0.0.{two} port {one} ssh2"
                ),
                2 => format!(
                    "[instance: 4c0ffee1-0000-4000-8000-{one:012x}] Took {two}.5 seconds to build"
                ),
                3 => format!("jk2_init() Found child {one} in scoreboard slot {two}"),
                4 => format!("Connection broken for id {one}, my id = {two}, error = timed out"),
                _ => "data TLB error interrupt".to_owned(),
            }
        })
        .collect()
}

/// The shape of a message and the look-up of one that is known, against a search for the end of
/// the line.
fn shape(criterion: &mut Criterion) {
    let lines = lines_of_logs();
    let mut group = criterion.benchmark_group("shape");
    group.throughput(Throughput::Elements(MESSAGES as u64));
    group.bench_function("limit: memchr", |bencher| {
        let text = lines.join("\n");
        bencher.iter(|| black_box(memchr::memchr_iter(b'\n', black_box(text.as_bytes())).count()));
    });
    group.bench_function("known", |bencher| {
        let known: HashMap<_, usize> = lines
            .iter()
            .enumerate()
            .map(|(at, line)| (Shape::of_log(line).fingerprint, at))
            .collect();
        bencher.iter(|| {
            lines
                .iter()
                .map(|line| known[&Shape::of_log(black_box(line)).fingerprint])
                .sum::<usize>()
        });
    });
    group.finish();
}

/// The same over the lines of LogHub-2k that are about as long as its median one, where they are.
fn shape_loghub(criterion: &mut Criterion) {
    let Some(directory) = loghub::directory() else { return };
    let mut lines: Vec<String> =
        loghub::sets(&directory).into_iter().flat_map(|set| set.messages).collect();
    lines.sort_by_key(String::len);
    let middle = lines.len() / 2;
    let lines = &lines[middle - MESSAGES.min(middle)..][..2 * MESSAGES.min(middle)];
    let known: HashMap<_, usize> =
        lines.iter().enumerate().map(|(at, line)| (Shape::of_log(line).fingerprint, at)).collect();
    let text = lines.join("\n");
    let mut group = criterion.benchmark_group("shape_loghub");
    group.throughput(Throughput::Elements(lines.len() as u64));
    group.bench_function("limit: memchr", |bencher| {
        bencher.iter(|| black_box(memchr::memchr_iter(b'\n', black_box(text.as_bytes())).count()));
    });
    group.bench_function("known", |bencher| {
        bencher.iter(|| {
            lines
                .iter()
                .map(|line| known[&Shape::of_log(black_box(line)).fingerprint])
                .sum::<usize>()
        });
    });
    group.finish();
}

/// The cost of a byte must not grow with the message.
fn shape_length(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("shape_length");
    for (name, unit) in [
        ("words", "cannot open 17 "),
        ("quotes", "\"'`("),
        ("digits", "7"),
        ("frames", "at f (/a.js:1:2)\n"),
    ] {
        for length in [1 << 10, 1 << 15, 1 << 20] {
            let text: String = unit.chars().cycle().take(length).collect();
            group.throughput(Throughput::Bytes(length as u64));
            group.bench_function(format!("{name}/{length}"), |bencher| {
                bencher.iter(|| Shape::of_log(black_box(&text)));
            });
        }
    }
    group.finish();
}

/// The words of a commit's events and the signatures of their blocks, which the writer makes.
fn words(criterion: &mut Criterion) {
    let batch = |source, body: &[u8]| {
        let mut batch = Batch::default();
        let mut parser = Parser::new("production", Arc::default());
        parser.parse(&mut batch, &block(source, body));
        parser.finish(&mut batch);
        batch
    };
    let mut group = criterion.benchmark_group("words");
    for (name, batch) in [
        ("logplex", batch(Source::Logdrains, &frames(MESSAGES, 7))),
        ("maxwell", batch(Source::Maxwell, &maxwell_lines(MESSAGES))),
    ] {
        let text = |event: &Event| {
            let mut text = batch.text.get(event.message).to_vec();
            if let Attributes::Json(json) = event.attributes {
                text.extend_from_slice(batch.text.get(json));
            }
            text
        };
        let all = batch.events.iter().map(text).collect::<Vec<_>>().concat();
        group.throughput(Throughput::Bytes(all.len() as u64));
        group.bench_function(format!("{name}, limit: memchr"), |bencher| {
            bencher.iter(|| black_box(memchr::memchr_iter(b' ', black_box(&all)).count()));
        });
        group.bench_function(format!("{name}, signatures"), |bencher| {
            bencher.iter(|| {
                let mut blocks = Blocks::default();
                for event in &batch.events {
                    blocks.add(&batch, event, "");
                }
                black_box(blocks.finish())
            });
        });
    }
    group.finish();
}

/// A shape that nobody has met, with 100,000 faults known.
fn first_sight(criterion: &mut Criterion) {
    let message = |number: u64| {
        let letters =
            [17_576, 676, 26, 1].map(|unit| char::from(b'a' + (number / unit % 26) as u8));
        let [a, b, c, d] = letters;
        format!("cannot {a}{b}open the {c}{d}file 17 in {a}{c}step of this {b}{d}job")
    };
    let mut gathering = Gathering::new(2_000_000);
    for number in 0..100_000 {
        let shape = Shape::of_log(&message(number));
        gathering.add(&("production", "shop"), &shape.template, number.cast_signed());
    }
    let mut group = criterion.benchmark_group("fault");
    group.throughput(Throughput::Elements(1));
    let mut number = 100_000;
    group.bench_function("first sight, 100,000 known", |bencher| {
        bencher.iter(|| {
            number += 1;
            let shape = Shape::of_log(&message(number));
            let found = gathering.find(&("production", "shop"), &shape.template);
            gathering.add(&("production", "shop"), &shape.template, number.cast_signed());
            black_box(found)
        });
    });
    group.finish();
}

/// A hundred rules of which the last one matches.
fn hundred_rules(matches: impl Fn(usize) -> serde_json::Value) -> Rules {
    let rules = (0..100)
        .map(|number| serde_json::json!({ "name": number.to_string(), "match": matches(number) }));
    let rules: Vec<RuleSettings> = serde_json::from_value(rules.collect()).unwrap();
    Rules::compile(&rules, &Priorities::default(), TicketDefaults::default()).unwrap()
}

/// Deciding on a fault, and on a change that no rule selects, or only the last one.
fn rules(criterion: &mut Criterion) {
    let last = |number: usize| if number == 99 { String::new() } else { number.to_string() };
    let mut group = criterion.benchmark_group("rules");
    group.throughput(Throughput::Elements(1));
    let of_faults = hundred_rules(|number| {
        serde_json::json!({
            "environment": "prod*", "service": format!("shop{}", last(number)), "title": "refused",
        })
    });
    let facts = Facts {
        fault: 1,
        environment: "production",
        service: "shop",
        kind: Kind::Log,
        source: None,
        severity: Severity::Error,
        title: "payment <n> refused: card expired",
        example: "payment 4711 refused: card expired",
        latest: "payment 4712 refused: card expired",
        fingerprint: "v1:3316478a3cd983c7b2e39fb471d671ae484edef4b2c333de62a3443e53005e84",
        count: 7,
        first_seen: 0,
        last_seen: 1,
        state: FaultState::New,
        selected_by: "",
        count_within: &|_| None,
    };
    group.bench_function("100 rules", |bencher| {
        assert!(matches!(of_faults.decide(&facts, 2), Verdict::Ticket(plan) if plan.rule == "99"));
        bencher.iter(|| black_box(of_faults.decide(black_box(&facts), 2)));
    });
    let of_changes = hundred_rules(|number| {
        serde_json::json!({
            "table": format!("orders{}", last(number)),
            "columns": { "status": { "old": "paid", "new": "failed" } },
        })
    });
    let line = br#"{"database":"shop","table":"orders","type":"update","ts":1795316400,"xid":23397,"data":{"id":18,"user_id":7,"total":39.95,"status":"failed","created_at":"2026-11-22 03:00:00"},"old":{"status":"paid"}}"#;
    for (name, table) in [("select change, 100 rules", "orders"), ("no change, 100 rules", "carts")]
    {
        let change = ChangeFacts {
            environment: "production",
            service: "shop",
            database: "shop",
            table,
            kind: "update",
            line,
        };
        group.bench_function(name, |bencher| {
            assert_eq!(of_changes.select_change(&change).is_some(), table == "orders");
            bencher.iter(|| black_box(of_changes.select_change(black_box(&change))));
        });
    }
    group.finish();
}

criterion_group!(
    benches,
    maxwell,
    logplex,
    error_report,
    shape,
    shape_loghub,
    shape_length,
    words,
    first_sight,
    rules
);
criterion_main!(benches);
