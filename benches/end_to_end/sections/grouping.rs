//! How well messages are gathered into faults, by the program itself (`faultline group`).
//!
//! Against LogHub-2k, see [`faultline_testkit::loghub`].

use std::{
    io::Write,
    process::{Command, Stdio},
};

use faultline_testkit::{
    loghub::{self, DataSet, groups, groups_of, moved, score},
    postgres::Postgres,
};

pub(super) fn run() {
    let Some(directory) = loghub::directory() else {
        println!(
            "not measured: LOGHUB names no directory of LogHub-2k, and ../shared/data has none"
        );
        return;
    };
    println!(
        "data set     lines  accuracy    FGA  faults  true  moved by order  by a restart  by two hubs"
    );
    let mut sums = [0.0; 2];
    let sets = loghub::sets(&directory);
    for DataSet { name, messages, truth } in &sets {
        let predicted = group(&[messages]);
        let (accuracy, fga) = score(truth, &predicted);
        sums[0] += accuracy;
        sums[1] += fga;
        let half = messages.len() / 2;
        let restarted = group(&[&messages[..half], &messages[half..]]);
        let shared = by_two_hubs(messages);
        println!(
            "{name:10}  {:6}    {accuracy:.4}  {fga:.4}  {:6}  {:4}  {:12.2} %  {:10.2} %  {:9.2} %",
            messages.len(),
            groups(&predicted).len(),
            groups(truth).len(),
            100.0 * moved_by_order(messages),
            100.0 * moved(&groups_of(&predicted), &groups_of(&restarted)),
            100.0 * moved(&groups_of(&predicted), &groups_of(&shared)),
        );
    }
    let count = sets.len() as f64;
    println!("mean                {:.4}  {:.4}", sums[0] / count, sums[1] / count);
}

/// The faults of messages that come in several runs of the program on one store.
fn group(runs: &[&[String]]) -> Vec<String> {
    let store = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/faultline.db", store.path().display());
    runs.iter().flat_map(|messages| group_into(&url, messages)).collect()
}

fn group_into(url: &str, messages: &[String]) -> Vec<String> {
    let mut process = Command::new(env!("CARGO_BIN_EXE_faultline"))
        .args(["group", "--stored", "--config", "/dev/null"])
        .env("FAULTLINE_STORE__URL", url)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = process.stdin.take().unwrap();
    let text: String = messages.iter().flat_map(|message| [message.as_str(), "\n"]).collect();
    let writing = std::thread::spawn(move || stdin.write_all(text.as_bytes()).unwrap());
    let output = process.wait_with_output().unwrap();
    writing.join().unwrap();
    assert!(output.status.success());
    let faults: Vec<String> =
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    assert_eq!(faults.len(), messages.len());
    faults
}

/// The faults when two processes take every other line at once, into one PostgreSQL.
fn by_two_hubs(messages: &[String]) -> Vec<String> {
    let server = Postgres::start();
    let url = server.url();
    let every_other =
        |first: usize| -> Vec<String> { messages.iter().skip(first).step_by(2).cloned().collect() };
    // The schema first: what is measured begins with the first message.
    group_into(&url, &[]);
    let hubs = [every_other(0), every_other(1)];
    let faults: Vec<Vec<String>> = std::thread::scope(|scope| {
        let running = hubs.each_ref().map(|lines| scope.spawn(|| group_into(&url, lines)));
        running.into_iter().map(|hub| hub.join().unwrap()).collect()
    });
    (0..messages.len()).map(|line| faults[line % 2][line / 2].clone()).collect()
}

/// The share of lines whose group differs between two shuffled orders.
fn moved_by_order(messages: &[String]) -> f64 {
    let in_order = |seed: u64| {
        let mut order: Vec<usize> = (0..messages.len()).collect();
        fastrand::Rng::with_seed(seed).shuffle(&mut order);
        let shuffled: Vec<String> = order.iter().map(|line| messages[*line].clone()).collect();
        let faults = group(&[&shuffled]);
        let mut by_line = vec![String::new(); messages.len()];
        for (line, fault) in order.into_iter().zip(faults) {
            by_line[line] = fault;
        }
        groups_of(&by_line)
    };
    moved(&in_order(1), &in_order(2))
}
