//! LogHub-2k: messages with their true groups, and how well a grouping fits them.
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
    path::{Path, PathBuf},
};

/// One set of messages.
pub struct DataSet {
    pub name: String,
    pub messages: Vec<String>,
    /// The true group of each.
    pub truth: Vec<String>,
}

/// Where the data is, if it is anywhere.
#[must_use]
pub fn directory() -> Option<PathBuf> {
    let named = std::env::var_os("LOGHUB").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/loghub");
    named.or(Some(beside)).filter(|path| path.is_dir())
}

/// All sets in `directory`, by name.
///
/// # Panics
/// When a file is missing or is none of LogHub's.
#[must_use]
pub fn sets(directory: &Path) -> Vec<DataSet> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
        .into_iter()
        .map(|name| {
            let (messages, truth) = read(directory, &name);
            DataSet { name, messages, truth }
        })
        .collect()
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

/// Groups as sets of lines.
#[must_use]
pub fn groups(labels: &[String]) -> HashMap<&str, BTreeSet<usize>> {
    let mut groups: HashMap<&str, BTreeSet<usize>> = HashMap::new();
    for (line, label) in labels.iter().enumerate() {
        groups.entry(label).or_default().insert(line);
    }
    groups
}

/// The group of each line.
#[must_use]
pub fn groups_of(labels: &[String]) -> Vec<BTreeSet<usize>> {
    let groups = groups(labels);
    labels.iter().map(|label| groups[label.as_str()].clone()).collect()
}

/// Grouping accuracy and FGA.
#[must_use]
pub fn score(truth: &[String], predicted: &[String]) -> (f64, f64) {
    let truth: BTreeSet<BTreeSet<usize>> = groups(truth).into_values().collect();
    let predicted: BTreeSet<BTreeSet<usize>> = groups(predicted).into_values().collect();
    let right: Vec<&BTreeSet<usize>> = truth.intersection(&predicted).collect();
    let lines: usize = truth.iter().map(BTreeSet::len).sum();
    let right_lines: usize = right.iter().map(|group| group.len()).sum();
    let fga = 2.0 * right.len() as f64 / (truth.len() + predicted.len()) as f64;
    (right_lines as f64 / lines as f64, fga)
}

/// The share of lines whose group is another one.
#[must_use]
pub fn moved(one: &[BTreeSet<usize>], other: &[BTreeSet<usize>]) -> f64 {
    let moved = one.iter().zip(other).filter(|(one, other)| one != other).count();
    moved as f64 / one.len() as f64
}
