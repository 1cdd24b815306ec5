//! The program from outside, against limits measured in the same run.
//!
//! `cargo bench --bench end_to_end [-- SECTION …]`; the sections are in [`sections`]. Every
//! comparison alternates the two sides, and gives the median of the pairs' ratios: machines drift,
//! ratios within a pair hardly do.
//!
//! Settings, as environment variables: `BENCH_PAIRS` (5), `BENCH_SECONDS` of each load (3),
//! `BENCH_MINUTES` of the section `memory` (1), `BENCH_ROWS` of the section `growth` (10000000),
//! `EVENTS` (10000000) and `BENCH_PAGES` (100) of the section `search`, `BENCH_OLD_EVENTS` (4500000)
//! of the section `retention`.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench prints, and stops at errors"
)]

#[path = "../support/mod.rs"]
mod support;

mod client;
mod figures;
mod ledger;
mod limits;
mod load;
mod nobody;
mod nothing;
mod piped;
mod sections;
mod servers;

/// Measures what the program's processes really use.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // This program is also the servers that it measures, as processes of their own.
    if let Some("--serve") = arguments.first().map(String::as_str) {
        return servers::serve(&arguments[1..]);
    }
    let sections = arguments.into_iter().filter(|argument| argument != "--bench");
    sections::run(&sections.collect::<Vec<_>>());
}
