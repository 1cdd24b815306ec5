//! The pure stages against the least that they could cost, in one run.
//!
//! `limit` is what a stage cannot do without; `parser` is the stage. Compare the two throughputs.

#![expect(clippy::unwrap_used, reason = "the input is made here")]

mod support;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use faultline_actors::domain::{event::Source, parse::Parser, shape::Shape};
use simd_json::Buffers;
use support::{
    block, frames, maxwell_lines,
    parse::{logplex_limit, maxwell_limit, parse_all},
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
        let mut parser = Parser::new("production");
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
