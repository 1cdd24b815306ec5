//! What is measured.

use std::time::Duration;

use crate::{
    load::{Shot, cpu_seconds, median, peak_mib},
    servers::{Kind, Server},
    support::frames,
};

const PAIRS: usize = 5;
/// Files grow and connections open before anything is measured.
const WARM_UP: Duration = Duration::from_secs(1);

pub fn run(wanted: Vec<String>) {
    let sections: [(&str, fn()); 1] = [("receiver", receiver)];
    for (name, section) in sections {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            println!("\n== {name}");
            section();
        }
    }
}

fn seconds() -> Duration {
    let text = std::env::var("BENCH_SECONDS").unwrap_or_default();
    Duration::from_secs(text.parse().unwrap_or(3))
}

fn drain_shot(messages: usize) -> Shot {
    Shot::new("/logdrains", "application/logplex-1", &frames(messages, 7))
}

/// The receiver with its spool against the bare handler.
fn receiver() {
    println!("messages  connections   req/s  of limit   p99     of limit   µs/msg  (limit)  MiB");
    for connections in [50, 500] {
        for messages in [1, 10, 100] {
            let shot = drain_shot(messages);
            let (mut rates, mut ratios, mut p99s, mut p99_ratios, mut cpu, mut limit_cpu) =
                (vec![], vec![], vec![], vec![], vec![], vec![]);
            let mut peak = 0.0f64;
            for _ in 0..PAIRS {
                let one = |kind: &Kind| {
                    let server = Server::start(kind);
                    shot.fire(server.receiver, connections, WARM_UP);
                    let before = cpu_seconds(server.pid());
                    let load = shot.fire(server.receiver, connections, seconds());
                    let used = cpu_seconds(server.pid()) - before;
                    (load, used * 1e6 / (load.requests * messages as f64), peak_mib(server.pid()))
                };
                let (limit, limit_used, _) = one(&Kind::Limit);
                let (ours, used, memory) = one(&Kind::Receiver);
                rates.push(ours.rate());
                ratios.push(ours.rate() / limit.rate());
                p99s.push(ours.p99.as_secs_f64() * 1e3);
                p99_ratios.push(ours.p99.as_secs_f64() / limit.p99.as_secs_f64());
                cpu.push(used);
                limit_cpu.push(limit_used);
                peak = peak.max(memory);
            }
            println!(
                "{messages:8}  {connections:11}  {:6.0}  {:7.2}   {:5.1} ms  {:6.2}   {:6.2}  {:6.2}  {peak:4.0}",
                median(&rates),
                median(&ratios),
                median(&p99s),
                median(&p99_ratios),
                median(&cpu),
                median(&limit_cpu),
            );
        }
    }
}
