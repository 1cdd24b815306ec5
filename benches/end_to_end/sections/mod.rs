//! What is measured.

use std::time::Duration;

mod dispatch;
mod errors;
mod grouping;
mod growth;
mod handoff;
mod lists;
mod live;
mod maxwell;
mod memory;
mod parsers;
mod peers;
mod receiver;
mod retention;
mod search;
mod writer;

/// Files grow and connections open before anything is measured.
const WARM_UP: Duration = Duration::from_secs(1);
/// Messages that may be sent and not stored yet: what fills a few commits.
const CREDIT: usize = 60_000;

pub(crate) fn run(wanted: &[String]) {
    let sections: [(&str, fn()); 14] = [
        ("parsers", parsers::run),
        ("receiver", receiver::run),
        ("maxwell", maxwell::run),
        ("writer", writer::run),
        ("errors", errors::run),
        ("dispatch", dispatch::run),
        ("handoff", handoff::run),
        ("live", live::run),
        ("peers", peers::run),
        ("growth", growth::run),
        ("memory", memory::run),
        ("grouping", grouping::run),
        ("search", search::run),
        ("retention", retention::run),
    ];
    let names = sections.map(|(name, _)| name);
    if let Some(unknown) = wanted.iter().find(|wanted| !names.contains(&wanted.as_str())) {
        println!("no section {unknown:?}; there are: {}", names.join(", "));
        std::process::exit(2);
    }
    for (name, section) in sections {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            println!("\n== {name}");
            section();
        }
    }
}

/// A number from the environment.
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// How often each comparison is made; its median is printed.
fn pairs() -> u64 {
    setting("BENCH_PAIRS", 5)
}

/// How long load lasts each time.
fn seconds() -> Duration {
    Duration::from_secs(setting("BENCH_SECONDS", 3))
}
