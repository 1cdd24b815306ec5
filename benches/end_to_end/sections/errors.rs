//! `POST /errors/log`, one report a request, all the way into PostgreSQL, against what the receiver
//! alone accepts of the same requests.

use std::sync::Arc;

use faultline_testkit::postgres::Postgres;

use super::{WARM_UP, pairs, seconds};
use crate::{
    client::{Plan, Requests, Until, flow, send},
    figures::{Meter, median_of},
    servers::{Kind, Server},
    support::{Numbers, report},
};

const CONNECTIONS: [usize; 2] = [50, 500];
/// A second or two of them: the next commit must never wait for reports.
const CREDIT: usize = 20_000;

/// The whole program's side.
struct Whole {
    rate: f64,
    answered_p99: f64,
    stored_p99: f64,
    micros: (f64, f64),
}

pub(super) fn run() {
    let postgres = Postgres::start();
    let mut numbers = Numbers::new(7);
    let bodies = (0..64).map(|_| report(&mut numbers, None).into_bytes()).collect();
    let requests = Arc::new(Requests::single_reports(bodies));
    println!("goal: 0.70 of what the receiver alone accepts");
    println!(
        "connections  stored/s  accepted/s alone  of that  answered p99  stored p99  µs each  (alone)  (PostgreSQL)"
    );
    for connections in CONNECTIONS {
        let plan = |until| Plan { connections, until, credit: CREDIT };
        let rounds: Vec<((f64, f64), Whole)> = (0..pairs())
            .map(|_| (accepted(&requests, plan), stored(&requests, plan, &postgres)))
            .collect();
        println!(
            "{connections:11}  {:8.0}  {:16.0}  {:7.2}  {:9.1} ms  {:7.0} ms  {:7.1}  {:7.1}  {:12.1}",
            median_of(&rounds, |(_, stored)| stored.rate),
            median_of(&rounds, |(accepted, _)| accepted.0),
            median_of(&rounds, |(accepted, stored)| stored.rate / accepted.0),
            median_of(&rounds, |(_, stored)| stored.answered_p99),
            median_of(&rounds, |(_, stored)| stored.stored_p99),
            median_of(&rounds, |(_, stored)| stored.micros.0),
            median_of(&rounds, |(accepted, _)| accepted.1),
            median_of(&rounds, |(_, stored)| stored.micros.1),
        );
    }
}

/// Reports that the receiver with its spool, and nothing behind, accepts a second, and what it uses
/// of the processor for each, in microseconds.
fn accepted(requests: &Arc<Requests>, plan: impl Fn(Until) -> Plan) -> (f64, f64) {
    let server = Server::start(&Kind::Receiver);
    send(server.receiver, requests, plan(Until::After(WARM_UP)));
    let meter = Meter::start(&server, None);
    let sent = send(server.receiver, requests, plan(Until::After(seconds())));
    assert_eq!(sent.refused, 0, "nothing is to be refused");
    (sent.rate(), meter.micros_each(sent.answers.len() as u64).0)
}

fn stored(requests: &Arc<Requests>, plan: impl Fn(Until) -> Plan, postgres: &Postgres) -> Whole {
    let server = Server::start(&Kind::Postgres(postgres.url()));
    flow(&server, "errors", requests, plan(Until::After(WARM_UP)));
    let meter = Meter::start(&server, postgres.pid());
    // Longer than the receiver alone: commits and PostgreSQL's own work come in waves, and the last
    // commit, for which no client works, must not count.
    let flow = flow(&server, "errors", requests, plan(Until::After(5 * seconds())));
    Whole {
        rate: flow.rate(),
        answered_p99: flow.answered_p99,
        stored_p99: flow.stored_p99,
        micros: meter.micros_each(flow.stored),
    }
}
