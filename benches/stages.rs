//! The pure stages against the least that they could cost, in one run.
//!
//! `limit` is what a stage cannot do without; `parser` is the stage. Compare the two throughputs.

#![expect(clippy::unwrap_used, reason = "the input is made here")]

mod support;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use faultline_actors::domain::{
    batch::Batch, event::Source, maxwell::lines, parse::Parser, shape::Shape,
};
use memchr::memchr;
use serde::{Deserialize, de::IgnoredAny};
use simd_json::Buffers;
use support::{block, frames, maxwell_lines};

const MESSAGES: usize = 700;

fn parse_all(parser: &mut Parser, block: &faultline_actors::domain::record::Block) -> usize {
    let mut batch = Batch::default();
    parser.parse(&mut batch, block);
    parser.finish(&mut batch);
    batch.events.len()
}

/// What simd-json alone needs to read a line into a struct.
#[derive(Deserialize)]
#[expect(dead_code, reason = "read for the cost of reading it")]
struct Row<'a> {
    #[serde(borrow)]
    database: &'a str,
    #[serde(borrow)]
    table: &'a str,
    #[serde(borrow, rename = "type")]
    kind: &'a str,
    ts: i64,
    xid: Option<u64>,
    data: IgnoredAny,
    old: Option<IgnoredAny>,
}

fn maxwell(criterion: &mut Criterion) {
    let body = maxwell_lines(MESSAGES);
    let block = block(Source::Maxwell, &body);
    let mut group = criterion.benchmark_group("maxwell");
    group.throughput(Throughput::Elements(MESSAGES as u64));
    group.bench_function("limit: simd-json into a struct", |bencher| {
        let mut buffers = Buffers::new(1_024);
        let mut scratch = Vec::new();
        bencher.iter(|| {
            for line in lines(&body) {
                scratch.clear();
                scratch.extend_from_slice(line);
                let row: Row<'_> =
                    simd_json::serde::from_slice_with_buffers(&mut scratch, &mut buffers).unwrap();
                black_box(&row);
            }
        });
    });
    group.bench_function("parser", |bencher| {
        let mut parser = Parser::new("production");
        bencher.iter(|| black_box(parse_all(&mut parser, &block)));
    });
    group.finish();
}

/// Framing, header, UTF-8 check and a hash with memchr alone.
fn logplex_limit(body: &[u8]) -> u64 {
    let (mut at, mut sum) = (0, 0u64);
    while at < body.len() {
        let space = memchr(b' ', &body[at..]).unwrap();
        let length: usize =
            body[at..at + space].iter().fold(0, |n, byte| n * 10 + usize::from(byte - b'0'));
        let frame = &body[at + space + 1..at + space + 1 + length];
        at += space + 1 + length;
        let mut rest = frame;
        for _ in 0..6 {
            rest = &rest[memchr(b' ', rest).unwrap() + 1..];
        }
        sum ^= xxhash_rust::xxh3::xxh3_64(std::str::from_utf8(rest).unwrap().as_bytes());
    }
    sum
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
        let mut parser = Parser::new("production");
        bencher.iter(|| black_box(parse_all(&mut parser, &block)));
    });
    group.finish();
}

fn shape(criterion: &mut Criterion) {
    let line = "connect to 10.0.0.7:5432 failed after 30 ms: user 'bob' not found in blk_123";
    criterion.bench_function("shape/line", |bencher| {
        bencher.iter(|| black_box(Shape::of_log(black_box(line))));
    });
}

criterion_group!(benches, maxwell, logplex, shape);
criterion_main!(benches);
