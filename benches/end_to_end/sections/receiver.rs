//! `POST /logdrains` against a bare handler.

use super::{WARM_UP, pairs, seconds};
use crate::{
    figures::{cpu_seconds, median_of, peak_mib},
    load::Shot,
    servers::{Kind, Server},
    support::frames,
};

/// One side of a pair.
struct Side {
    rate: f64,
    /// In milliseconds.
    p99: f64,
    /// Processor time a message, in microseconds.
    micros: f64,
    peak_mib: f64,
}

/// The receiver with its spool, durable, against a handler that appends the body to a file with
/// group-commit fdatasync.
pub(super) fn run() {
    println!("goal: 0.80 of the limit's requests, 1.50 of its p99");
    println!("messages  connections   req/s  of limit   p99     of limit   µs/msg  (limit)  MiB");
    for connections in [50, 500] {
        for messages in [1, 10, 100] {
            let rounds: Vec<(Side, Side)> = (0..pairs())
                .map(|_| {
                    let limit = side(&Kind::Limit, connections, messages);
                    (limit, side(&Kind::Receiver, connections, messages))
                })
                .collect();
            println!(
                "{messages:8}  {connections:11}  {:6.0}  {:7.2}   {:5.1} ms  {:6.2}   {:6.2}  {:6.2}  {:4.0}",
                median_of(&rounds, |(_, ours)| ours.rate),
                median_of(&rounds, |(limit, ours)| ours.rate / limit.rate),
                median_of(&rounds, |(_, ours)| ours.p99),
                median_of(&rounds, |(limit, ours)| ours.p99 / limit.p99),
                median_of(&rounds, |(_, ours)| ours.micros),
                median_of(&rounds, |(limit, _)| limit.micros),
                rounds.iter().map(|(_, ours)| ours.peak_mib).fold(0.0, f64::max),
            );
        }
    }
}

fn side(kind: &Kind, connections: usize, messages: usize) -> Side {
    let shot = Shot::new("/logdrains", "application/logplex-1", &frames(messages, 7));
    let server = Server::start(kind);
    shot.fire(server.receiver, connections, WARM_UP);
    let before = cpu_seconds(server.pid());
    let load = shot.fire(server.receiver, connections, seconds());
    let used = cpu_seconds(server.pid()) - before;
    Side {
        rate: load.rate(),
        p99: load.p99.as_secs_f64() * 1e3,
        micros: used * 1e6 / (load.requests * messages as f64),
        peak_mib: peak_mib(server.pid()),
    }
}
