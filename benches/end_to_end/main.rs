//! The program from outside, against limits measured in the same run.
//!
//! `cargo bench --bench end_to_end [-- SECTION …]`; sections: receiver, maxwell, writer, errors,
//! peers, growth, memory. Every comparison alternates the two sides, and gives the median of the
//! pairs' ratios: machines drift, ratios within a pair hardly do.

#[path = "../support/mod.rs"]
mod support;

mod limits;
mod load;
mod sections;
mod servers;

/// Measures what the program's processes really use.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        // This program is also the servers that it measures, as processes of their own.
        Some("--serve") => servers::serve(&arguments[1..]),
        _ => {
            sections::run(arguments.into_iter().filter(|argument| argument != "--bench").collect())
        }
    }
}
