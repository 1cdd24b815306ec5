//! How long every list of the API takes over HTTP, with very much to list: the database of the section
//! `search`, 100,000 faults with their shapes, texts and hours, as many tickets and jobs, four entries
//! of the audit trail a job, 50,000 rejected messages and 10,000 notifications.

use std::{process::Stdio, time::Instant};

use faultline_testkit::postgres::Postgres;
use tokio::runtime::Runtime;

use super::setting;
use crate::servers::{Kind, Server};

/// Rows as the program writes them, made by the server itself.
const FILL: &str = r"
INSERT INTO faults (environment, service, fingerprint, kind, severity, title, example, latest, count,
    first_seen, last_seen, decided_count, decision, incident)
SELECT (ARRAY['production', 'staging', 'dev'])[1 + n % 3], 'service-' || n % 40, 'v1:list' || n, 'error',
    (ARRAY['critical', 'error', 'warning'])[1 + n % 3],
    'PaymentError: card ' || md5(n::text) || ' was declined by <*>',
    'PaymentError: card ' || md5(n::text) || ' was declined by acquirer ' || n || repeat(' at frame', 20),
    'PaymentError: card ' || md5(n::text) || ' was declined by acquirer ' || n || repeat(' at frame', 20),
    1 + n % 977, now() - n * interval '25 s', now() - (n * 7919 % 100000) * interval '25 s', 1 + n % 977,
    'it has a ticket', (n % 2)::integer
FROM generate_series(1, 100000) AS n;
INSERT INTO fault_shapes (environment, service, fingerprint, fault, title, template, why, detail, count,
    first_seen, last_seen)
SELECT environment, service, fingerprint, id, title, title, 'new', '', count, first_seen, last_seen
FROM faults WHERE fingerprint LIKE 'v1:list%';
INSERT INTO fault_texts (shape, fault, text)
SELECT shape.id, shape.fault, lower(left(shape.title, 150) || E'\n' || left(fault.example, 170))
FROM fault_shapes AS shape JOIN faults AS fault ON fault.id = shape.fault
WHERE shape.fingerprint LIKE 'v1:list%';
INSERT INTO fault_hours (shape, hour, count)
SELECT id, date_trunc('hour', now()) - hour * interval '1 h', 3
FROM fault_shapes, generate_series(0, 9) AS hour WHERE fingerprint LIKE 'v1:list%';
INSERT INTO tickets (fault, incident, locator, key)
SELECT id, 1, 'fl-' || id, 'OPS-' || id FROM faults WHERE fingerprint LIKE 'v1:list%' AND incident = 1;
INSERT INTO jobs (fault, incident, action, mark, environment, state, due_at, rule, request, response, error,
    created_at, updated_at)
SELECT id, 1, action, '', environment,
    CASE WHEN id % 50 = 0 THEN 'dead' WHEN id % 31 = 0 THEN 'delayed' ELSE 'completed' END, now() + interval '1 d',
    'rule', json_build_object('summary', title, 'description', repeat(title || ' ', 10)), '{}', '',
    last_seen, last_seen
FROM faults, unnest(ARRAY['create', 'comment']) AS action WHERE fingerprint LIKE 'v1:list%' AND incident = 1;
INSERT INTO audit_trail (at, who, action, subject, details, job, fault)
SELECT created_at, 'dispatch', what, 'job ' || id, '{}', id, fault
FROM jobs, unnest(ARRAY['job.intend', 'job.claim', 'job.retry', 'job.complete']) AS what;
INSERT INTO rejected (origin, sequence, ordinal, received_at, source, reason, bytes, length, messages)
SELECT 1, n, 0, now() - n * interval '1 min', (ARRAY['logdrains', 'errors', 'maxwell'])[1 + n % 3],
    'not a frame: no length at byte ' || n % 100, repeat('x', 300)::bytea, 300, 1
FROM generate_series(1, 50000) AS n;
INSERT INTO notifications (at, severity, component, title, body)
SELECT now() - n * interval '1 min', 'warning', 'jira', 'job ' || n || ' is dead', 'OPS'
FROM generate_series(1, 10000) AS n;
INSERT INTO job_statistics (day, environment, action, outcome, count)
SELECT (now() - n * interval '1 day')::date, environment, action, outcome, 1 + n % 97
FROM generate_series(0, 1000) AS n, unnest(ARRAY['production', 'staging', 'dev']) AS environment,
    unnest(ARRAY['create', 'comment', 'reopen', 'edit']) AS action,
    unnest(ARRAY['completed', 'dead', 'discarded']) AS outcome;
";

/// What is asked for; `{n}` is another number each time.
const LISTS: [&str; 24] = [
    "/api/faults",
    "/api/faults?sort=count",
    "/api/faults?sort=first_seen&new_since=24h",
    "/api/faults?environment=staging&service=service-7&severity=error",
    "/api/faults?ticket=no",
    "/api/faults?text=declined",
    "/api/faults?text=acquirer%20{n}%20at",
    "/api/faults/{n}",
    "/api/faults/{n}/occurrences",
    "/api/faults/{n}/why",
    "/api/facets",
    "/api/jobs",
    "/api/jobs?state=dead",
    "/api/jobs?environment=staging&action=comment",
    "/api/jobs?text=acquirer{n}",
    "/api/jobs/counts",
    "/api/jobs/{n}",
    "/api/rejected?source=errors",
    "/api/audit",
    "/api/audit?action=job.retry",
    "/api/notifications?unread=yes",
    "/api/statistics?by=service",
    "/api/events",
    "/api/events?environment=production&service=shop&severity=error",
];

/// Asks the whole program, whose store `server` is.
pub(super) fn run(runtime: &Runtime, server: &Postgres) {
    let started = Instant::now();
    runtime.block_on(server.execute(FILL));
    runtime.block_on(server.execute("VACUUM ANALYZE"));
    println!("\n100,000 faults and more stored in {:.0} s", started.elapsed().as_secs_f64());
    // Nothing is to be done about what was only made to be listed.
    let quiet = [("FAULTLINE_JIRA__POLL_EVERY", "0s")];
    let program = Server::start_with(&Kind::Postgres(server.url()), Stdio::null(), &quiet);
    let client = reqwest::Client::new();
    println!("goal: 200 ms at the 95th percentile");
    println!("{:70}  p50 ms  p95 ms  max ms", "GET");
    for list in LISTS {
        let mut times = Vec::new();
        for page in 0..setting("BENCH_PAGES", 100) {
            let path = list.replace("{n}", &(1_000 + page * 7).to_string());
            let url = format!("http://{}{path}", program.admin);
            let started = Instant::now();
            runtime.block_on(async {
                let answer = client.get(&url).send().await.unwrap();
                let status = answer.status();
                let text = answer.text().await.unwrap();
                assert!(status.is_success(), "{url}: {status} {text}");
            });
            times.push(started.elapsed().as_secs_f64() * 1e3);
        }
        times.sort_by(f64::total_cmp);
        let at = |share: usize| times[(times.len() - 1) * share / 100];
        println!("{list:70}  {:6.1}  {:6.1}  {:6.1}", at(50), at(95), at(100));
    }
}
