//! Killed at random moments under load, Faultline loses nothing that it accepted and stores nothing
//! twice; fault counts are exact, statistics agree with a recount, and the ledger balances whenever it
//! is looked at.
//!
//! `CRASHES` says how often each test kills it, 5 times by default. The moments come from `SEED`,
//! which is printed, so that a run can be repeated as far as a machine can.

#![expect(
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a failing test is told by a panic and what is printed"
)]

use std::{
    collections::BTreeMap,
    env, fs,
    io::{BufWriter, Write},
    process::ChildStdin,
    thread::JoinHandle,
    time::Duration,
};

use faultline_testkit::{
    copy_files, eventually,
    load::Load,
    program::{Program, run_to_end},
};
use tokio::time::Instant;

const BINARY: &str = env!("CARGO_BIN_EXE_faultline");
/// The longest that a process lives before it is killed.
const LIFE: u64 = 400;
/// The longest that a process is given which is killed while it starts.
const BIRTH: u64 = 60;

/// When to kill, and how often.
struct Crashes {
    random: fastrand::Rng,
    count: u32,
}

impl Crashes {
    fn from_environment() -> Self {
        let number = |name| env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
        let seed = number("SEED").unwrap_or_else(|| fastrand::u64(..));
        let count = u32::try_from(number("CRASHES").unwrap_or(5)).unwrap();
        eprintln!("SEED={seed} CRASHES={count}");
        Self { random: fastrand::Rng::with_seed(seed), count }
    }

    fn moment(&mut self, longest: u64) -> Duration {
        Duration::from_millis(self.random.u64(..longest))
    }

    /// Kills the program, and starts it again: sometimes only after it was killed while starting.
    async fn crash(&mut self, program: &mut Program) {
        program.kill();
        while self.random.u8(..4) == 0 {
            program.launch();
            tokio::time::sleep(self.moment(BIRTH)).await;
            program.kill();
        }
        program.start();
    }
}

/// Looks at the ledger again and again, which must balance, for `life`.
async fn watch_ledger(program: &Program, life: Duration) {
    let end = Instant::now() + life;
    let mut looks = tokio::time::interval(Duration::from_millis(5));
    let watch = async {
        loop {
            looks.tick().await;
            program.ledger().await;
        }
    };
    // Only the time ends it.
    let _: Result<(), _> = tokio::time::timeout_at(end, watch).await;
}

/// The statistics by day say what is stored.
async fn assert_statistics_agree(program: &Program) {
    let output = run_to_end(program.command_with(&["recount"])).await;
    let said = String::from_utf8_lossy(&output.stdout);
    let is_meant = said.ends_with(" days compared: 0 differences\n") && !said.starts_with('0');
    assert!(output.status.success() && is_meant, "{said}");
}

async fn clients_that_try_again(mut program: Program) {
    let mut crashes = Crashes::from_environment();
    program.start();
    let load = Load::start(program.receiver(), 8);
    let mut peak = 0;
    for _ in 0..crashes.count {
        let life = crashes.moment(LIFE);
        watch_ledger(&program, life).await;
        peak = peak.max(program.peak_mib());
        crashes.crash(&mut program).await;
        load.moved(program.receiver());
    }
    watch_ledger(&program, Duration::from_millis(LIFE)).await;
    let accepted = load.end().await;
    accepted.assert_settled(&program.settled().await);
    eprintln!("peak memory {} MiB", peak.max(program.peak_mib()));
    program.finish().await;
    assert!(accepted.unanswered > 0, "it was killed while somebody was waiting");
    accepted.assert_stored_once(&program.database).await;
    assert_statistics_agree(&program).await;
}

/// In small segments, which are sealed, given back and written again between the kills.
#[tokio::test(flavor = "multi_thread")]
async fn http_into_sqlite() {
    let program = Program::new(BINARY)
        .set("spool.segment_bytes", "128 KiB")
        .set("spool.commit_bytes", "64 KiB")
        .set("receiver.body_limit", "64 KiB");
    clients_that_try_again(program).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_into_postgres() {
    clients_that_try_again(Program::with_postgres(BINARY)).await;
}

/// One line of a file that goes on without end.
fn line(number: u64) -> String {
    format!(
        "{{\"database\":\"shop\",\"table\":\"orders\",\"type\":\"insert\",\"ts\":1477053217,\"xid\":{number},\"data\":{{\"id\":{number}}}}}\n"
    )
}

/// Writes the file from line `from` on, up to `to` or until nobody reads it any more; gives the
/// line at which it stopped.
fn feed(stdin: ChildStdin, from: u64, to: u64) -> JoinHandle<u64> {
    std::thread::spawn(move || {
        let mut stdin = BufWriter::new(stdin);
        for number in from..to {
            let flushed = if number % 50 == 0 {
                // Not faster than it can be stored for long.
                std::thread::sleep(Duration::from_millis(1));
                stdin.flush()
            } else {
                Ok(())
            };
            let written = flushed.and_then(|()| stdin.write_all(line(number).as_bytes()));
            if written.is_err() {
                return number;
            }
        }
        stdin.flush().map_or(to - 1, |()| to)
    })
}

/// How many lines were accepted, over all lives of the program.
async fn accepted_lines(program: &Program) -> u64 {
    program.ledger().await.line("maxwell").received
}

/// A line has no id by which a second reading of it could be known. But lines are accepted in
/// their order, and the ledger says how many were: whoever goes on behind these feeds each line
/// exactly once, whenever the program was killed.
async fn a_file_on_standard_input(program: Program) {
    const LAST: u64 = 5_000;
    let mut crashes = Crashes::from_environment();
    let mut program = program.reads_pipe();
    program.start();
    let (mut peak, mut written_in_vain) = (0, 0);
    for _ in 0..crashes.count {
        let from = accepted_lines(&program).await;
        let feeding = feed(program.stdin(), from, u64::MAX);
        let life = crashes.moment(LIFE);
        watch_ledger(&program, life).await;
        peak = peak.max(program.peak_mib());
        crashes.crash(&mut program).await;
        let written = feeding.join().unwrap();
        let accepted = accepted_lines(&program).await;
        assert!((from..=written).contains(&accepted), "{from} <= {accepted} <= {written}");
        written_in_vain += written - accepted;
    }
    let from = accepted_lines(&program).await;
    let total = from + LAST;
    let feeding = feed(program.stdin(), from, total);
    assert_eq!(feeding.join().unwrap(), total);
    let status = program.ended().await;
    assert!(status.success(), "{status}");
    let mut stored: BTreeMap<u64, u32> = BTreeMap::new();
    for row in program.database.texts("SELECT CAST(attributes AS text) FROM events").await {
        let row: serde_json::Value = serde_json::from_str(&row).unwrap();
        *stored.entry(row["data"]["id"].as_u64().unwrap()).or_default() += 1;
    }
    let lost: Vec<_> = (0..total).filter(|number| !stored.contains_key(number)).collect();
    let twice: Vec<_> = stored.iter().filter(|(_, count)| **count > 1).collect();
    eprintln!(
        "{total} lines accepted, {} lost, {} twice, {written_in_vain} fed again; peak memory {peak} MiB",
        lost.len(),
        twice.len()
    );
    assert!(lost.is_empty() && twice.is_empty(), "lost {lost:?}, twice {twice:?}");
    assert_eq!(stored.len() as u64, total, "nothing that was not fed");
    assert!(from > 0 && written_in_vain > 0, "it was killed while it was reading");
    assert_statistics_agree(&program).await;
}

/// In segments that hold just one of the largest records.
#[tokio::test(flavor = "multi_thread")]
async fn standard_input_into_sqlite() {
    let program = Program::new(BINARY)
        .set("spool.segment_bytes", "2 MiB")
        .set("stdin.line_limit", "256 KiB")
        .set("receiver.body_limit", "1 MiB");
    a_file_on_standard_input(program).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn standard_input_into_postgres() {
    a_file_on_standard_input(Program::with_postgres(BINARY)).await;
}

#[tokio::test]
async fn an_older_copy_of_the_spool_is_noticed() {
    let mut program = Program::with_postgres(BINARY).set("batch_writer.retry_cap", "500ms");
    let (spool, older) = (program.directory().join("spool"), program.directory().join("older"));
    let send = async |program: &Program, message: &str| {
        program.report(&format!(r#"{{"message":"{message}"}}"#)).await;
    };
    program.start();
    send(&program, "one").await;
    program.settled().await;
    program.kill();
    copy_files(&spool, &older);
    program.start();
    send(&program, "two").await;
    program.settled().await;
    program.kill();
    fs::remove_dir_all(&spool).unwrap();
    fs::rename(&older, &spool).unwrap();

    // What comes before the store is there gets the place that "two" had: it must not be taken for it.
    program.postgres().stop();
    program.start();
    send(&program, "three").await;
    send(&program, "four").await;
    program.postgres().resume();
    eventually("health says so", async || {
        let health = program.json("/health").await;
        let error = health["components"]["database"]["error"].as_str().map(str::to_owned);
        error.filter(|error| error.contains("an older copy")).ok_or(health)
    })
    .await;
    eventually("it tries again and again", async || {
        let failures = program.metric("faultline_store_failures_total", "").await;
        if failures >= 5.0 { Ok(()) } else { Err(failures) }
    })
    .await;
    assert!(!program.log().contains("answers again"), "{}", program.log());
    program.kill();
    fs::remove_file(spool.join("origin")).unwrap();
    program.start();
    program.settled().await;
    program.finish().await;
    let mut stored = program.database.texts("SELECT DISTINCT message FROM events").await;
    stored.sort();
    assert_eq!(stored, ["four", "one", "three", "two"]);
}
