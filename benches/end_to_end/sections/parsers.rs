//! The parser stage on one core against the least that reading the bytes could cost. The same
//! functions as in the criterion bench `stages`, here in pairs.

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use faultline_actors::domain::{event::Source, parse::Parser};
use simd_json::Buffers;

use super::pairs;
use crate::{
    figures::median_of,
    support::{
        block, frames, maxwell_lines,
        parse::{logplex_limit, maxwell_limit, parse_all},
    },
};

const MESSAGES: usize = 700;
/// How long one side of a pair is repeated.
const TIME: Duration = Duration::from_millis(300);

pub(super) fn run() {
    println!("messages   parser/s  of limit  goal");
    let (mut buffers, mut scratch) = (Buffers::new(1_024), Vec::new());
    compare("maxwell", 0.7, Source::Maxwell, &maxwell_lines(MESSAGES), |body| {
        maxwell_limit(body, &mut buffers, &mut scratch)
    });
    compare("logplex", 0.5, Source::Logdrains, &frames(MESSAGES, 7), logplex_limit);
}

fn compare<T>(
    name: &str,
    goal: f64,
    source: Source,
    body: &[u8],
    mut limit: impl FnMut(&[u8]) -> T,
) {
    let block = block(source, body);
    let mut parser = Parser::new("production", Arc::default());
    let rounds: Vec<(f64, f64)> = (0..4 * pairs())
        .map(|_| (rate(|| limit(body)), rate(|| parse_all(&mut parser, &block))))
        .collect();
    println!(
        "{name:9}{:10.0}  {:8.2}  {goal:4.2}",
        median_of(&rounds, |(_, parser)| *parser),
        median_of(&rounds, |(limit, parser)| parser / limit),
    );
}

/// Messages a second.
fn rate<T>(mut work: impl FnMut() -> T) -> f64 {
    let (started, mut times) = (Instant::now(), 0);
    while started.elapsed() < TIME {
        black_box(work());
        times += 1;
    }
    (times * MESSAGES) as f64 / started.elapsed().as_secs_f64()
}
