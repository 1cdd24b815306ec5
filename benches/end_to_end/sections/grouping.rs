//! How well messages are gathered into faults, by the program itself (`faultline group`).
//!
//! The measure is that of the log-parsing literature: *grouping accuracy* (Zhu et al., ICSE 2019)
//! is the share of lines whose group, as a set of lines, is exactly the true one; *FGA* (Jiang et
//! al., ISSTA 2024) is the harmonic mean of the shares of predicted and of true groups that are
//! right. The data is LogHub-2k (github.com/logpai/loghub), which its licence keeps out of this
//! repository: `LOGHUB` names a directory with `NAME/NAME_2k.log_structured.csv` and
//! `NAME/NAME.content.txt`, one message a line.

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use faultline_testkit::postgres::Postgres;

pub(super) fn run() {
    let Some(directory) = directory() else {
        println!(
            "not measured: LOGHUB names no directory of LogHub-2k, and ../shared/data has none"
        );
        return;
    };
    let mut names: Vec<String> = fs::read_dir(&directory)
        .unwrap()
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    println!(
        "data set     lines  accuracy    FGA  faults  true  moved by order  by a restart  by two hubs"
    );
    let mut sums = [0.0; 2];
    for name in &names {
        let (messages, truth) = read(&directory, name);
        let predicted = group(&[&messages]);
        let (accuracy, fga) = score(&truth, &predicted);
        sums[0] += accuracy;
        sums[1] += fga;
        let half = messages.len() / 2;
        let restarted = group(&[&messages[..half], &messages[half..]]);
        let shared = by_two_hubs(&messages);
        println!(
            "{name:10}  {:6}    {accuracy:.4}  {fga:.4}  {:6}  {:4}  {:12.2} %  {:10.2} %  {:9.2} %",
            messages.len(),
            groups(&predicted).len(),
            groups(&truth).len(),
            100.0 * moved_by_order(&messages),
            100.0 * moved(&groups_of(&predicted), &groups_of(&restarted)),
            100.0 * moved(&groups_of(&predicted), &groups_of(&shared)),
        );
    }
    let count = names.len() as f64;
    println!("mean                {:.4}  {:.4}", sums[0] / count, sums[1] / count);
}

fn directory() -> Option<PathBuf> {
    let named = std::env::var_os("LOGHUB").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/loghub");
    named.or(Some(beside)).filter(|path| path.is_dir())
}

/// Messages and their true groups.
fn read(directory: &Path, name: &str) -> (Vec<String>, Vec<String>) {
    let content = fs::read(directory.join(name).join(format!("{name}.content.txt"))).unwrap();
    let content = String::from_utf8_lossy(&content);
    let messages: Vec<String> = content.split_terminator('\n').map(str::to_owned).collect();
    let path = directory.join(name).join(format!("{name}_2k.log_structured.csv"));
    let mut reader = csv::Reader::from_path(path).unwrap();
    let column = reader.byte_headers().unwrap().iter().position(|name| name == b"EventId");
    let column = column.expect("a column EventId");
    let truth: Vec<String> = reader
        .byte_records()
        .map(|record| String::from_utf8_lossy(&record.unwrap()[column]).into_owned())
        .collect();
    assert_eq!(messages.len(), truth.len(), "{name}");
    (messages, truth)
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

/// Groups as sets of lines.
fn groups(labels: &[String]) -> HashMap<&str, BTreeSet<usize>> {
    let mut groups: HashMap<&str, BTreeSet<usize>> = HashMap::new();
    for (line, label) in labels.iter().enumerate() {
        groups.entry(label).or_default().insert(line);
    }
    groups
}

/// The group of each line.
fn groups_of(labels: &[String]) -> Vec<BTreeSet<usize>> {
    let groups = groups(labels);
    labels.iter().map(|label| groups[label.as_str()].clone()).collect()
}

fn score(truth: &[String], predicted: &[String]) -> (f64, f64) {
    let truth: BTreeSet<BTreeSet<usize>> = groups(truth).into_values().collect();
    let predicted: BTreeSet<BTreeSet<usize>> = groups(predicted).into_values().collect();
    let right: Vec<&BTreeSet<usize>> = truth.intersection(&predicted).collect();
    let lines: usize = truth.iter().map(BTreeSet::len).sum();
    let right_lines: usize = right.iter().map(|group| group.len()).sum();
    let fga = 2.0 * right.len() as f64 / (truth.len() + predicted.len()) as f64;
    (right_lines as f64 / lines as f64, fga)
}

/// The share of lines whose group is another one.
fn moved(one: &[BTreeSet<usize>], other: &[BTreeSet<usize>]) -> f64 {
    let moved = one.iter().zip(other).filter(|(one, other)| one != other).count();
    moved as f64 / one.len() as f64
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
