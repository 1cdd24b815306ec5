//! Standard input → spool → parser → metrics with a store that forgets, against a bare loop that
//! copies the same input into a file.

use super::{pairs, setting};
use crate::{
    figures::median_of,
    limits,
    piped::{Lines, Poured, pour},
    servers::Kind,
};

const LINES: usize = 250_000;

pub(super) fn run() {
    let lines = Lines::new(LINES);
    let times = usize::try_from(setting("BENCH_TIMES", 8)).unwrap();
    println!("goal: 0.50 of the limit");
    println!(" lines/s   limit's  of limit  µs/line  MiB");
    let rounds: Vec<(f64, Poured)> = (0..pairs())
        .map(|_| (copied(&lines, times), pour(&Kind::Nothing, None, &lines, times)))
        .collect();
    println!(
        "{:8.0}  {:8.0}  {:8.2}  {:7.2}  {:3.0}",
        median_of(&rounds, |(_, ours)| ours.rate),
        median_of(&rounds, |(limit, _)| *limit),
        median_of(&rounds, |(limit, ours)| ours.rate / limit),
        median_of(&rounds, |(_, ours)| ours.micros.0),
        rounds.iter().map(|(_, ours)| ours.peak_mib).fold(0.0, f64::max),
    );
}

/// Lines that the bare loop copies a second, fed in the same way.
fn copied(lines: &Lines, times: usize) -> f64 {
    let directory = tempfile::tempdir().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    let mut cat = None;
    let took = limits::copy_stream(reader, &directory.path().join("file"), || {
        cat = Some(lines.pour(writer, times));
    });
    cat.unwrap().wait().unwrap();
    lines.count(times) as f64 / took.as_secs_f64()
}
