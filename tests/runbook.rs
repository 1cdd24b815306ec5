//! What is written for operators is true as far as a test can tell: every alert has its section,
//! every link leads somewhere, and every metric that is named is one.

#![expect(clippy::unwrap_used, reason = "a failing test is told by a panic")]

use std::{collections::BTreeSet, fs, path::Path};

use faultline_actors::domain::alert::Kind;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn names(directory: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap());
    let files = entries.filter(|entry| entry.file_type().unwrap().is_file());
    files.map(|file| format!("{directory}/{}", file.file_name().to_string_lossy())).collect()
}

/// The anchors of a page's headings, as GitHub makes them.
fn anchors(markdown: &str) -> BTreeSet<String> {
    let headings = markdown.lines().filter(|line| line.starts_with('#'));
    let anchor = |line: &str| {
        let heading = line.trim_start_matches('#').trim().to_lowercase();
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn every_kind_of_alert_has_its_section() {
    let runbook = read("docs/runbook.md");
    for kind in Kind::ALL {
        let heading = format!("\n## {}\n", kind.name());
        assert!(runbook.contains(&heading), "{}", kind.name());
    }
}

#[test]
fn every_link_leads_somewhere_and_every_alert_is_explained() {
    let pages = ["docs/runbook.md", "docs/operations.md"];
    for page in pages {
        let text = read(page);
        // Behind `](`, up to `)`.
        for link in text.split("](").skip(1).map(|rest| rest.split_once(')').unwrap().0) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            assert!(!link.starts_with("http"), "{page}: {link}");
            let target = if file.is_empty() { page.to_owned() } else { format!("docs/{file}") };
            let target = read(&target);
            assert!(anchor.is_empty() || anchors(&target).contains(anchor), "{page}: {link}");
        }
    }
    let rules = read("deploy/prometheus/rules/alerts.yml");
    let runbook = anchors(&read("docs/runbook.md"));
    for alert in rules.split("- alert: ").skip(1) {
        let name = alert.lines().next().unwrap();
        let value = |key: &str| {
            let line = alert.lines().find_map(|line| line.trim().strip_prefix(key));
            line.unwrap_or_else(|| panic!("{name} has no {key}")).trim().trim_matches('"')
        };
        let anchor = value("runbook_url:").rsplit_once("docs/runbook.md#").unwrap().1;
        assert!(runbook.contains(anchor), "{name}: {anchor}");
        let severity = value("labels: { severity:").trim_end_matches('}').trim();
        assert!(["P0", "P1", "P2", "P3"].contains(&severity), "{name}: {severity}");
        assert!(!value("summary:").is_empty() && value("description:").len() > 20, "{name}");
    }
}

/// The words in `text` that begin with `prefix` and could be a metric's name.
fn words<'a>(text: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a str> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    text.split(move |c| !is_name(c)).filter(move |word| word.starts_with(prefix))
}

#[test]
fn every_metric_that_is_named_is_one() {
    let described = read("src/telemetry.rs");
    let metrics: BTreeSet<&str> = words(&described, "faultline_").collect();
    let recording = read("deploy/prometheus/rules/recording.yml");
    let recorded: BTreeSet<&str> = words(&recording, "faultline:").collect();
    let mut pages: Vec<String> = ["docs", "deploy/grafana/dashboards", "deploy/prometheus/rules"]
        .into_iter()
        .flat_map(names)
        .filter(|name| [".md", ".json", ".yml"].iter().any(|end| name.ends_with(end)))
        .collect();
    pages.push("README.md".to_owned());
    let mut found = 0;
    for page in pages {
        let text = read(&page);
        // In prose it is the beginning of URLs and of keys in Redis, too.
        let is_prose = Path::new(&page).extension().is_some_and(|end| end == "md");
        let recorded_here = words(&text, "faultline:").filter(|_| !is_prose);
        for word in words(&text, "faultline_").chain(recorded_here) {
            let is_recorded = recorded.contains(word);
            let ends = ["", "_bucket", "_sum", "_count"];
            let is_metric = ends
                .iter()
                .filter_map(|end| word.strip_suffix(end))
                .any(|name| metrics.contains(name) || is_begin(&metrics, name));
            assert!(is_recorded || is_metric, "{page}: {word}");
            found += 1;
        }
    }
    assert!(found > 200, "{found}");
}

/// `faultline_channel` as in `grep faultline_channel`, which finds several.
fn is_begin(metrics: &BTreeSet<&str>, word: &str) -> bool {
    metrics.iter().any(|metric| metric.strip_prefix(word).is_some_and(|rest| rest.starts_with('_')))
}
