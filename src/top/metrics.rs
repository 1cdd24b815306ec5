//! Prometheus' text format, as far as it is looked at here.

use std::collections::BTreeMap;

/// The samples of an exposition.
#[derive(Clone, Debug, Default)]
pub(super) struct Metrics(Vec<Sample>);

#[derive(Clone, Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

/// Half of the values are no larger than `p50`, and so on. In seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Quantiles {
    pub(crate) p50: f64,
    pub(crate) p95: f64,
    pub(crate) p99: f64,
    pub(crate) count: u64,
}

/// A histogram's buckets: how many values were at most so large.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Buckets(Vec<(f64, f64)>);

impl Metrics {
    /// Lines that cannot be read are left out.
    pub(super) fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self(lines.filter_map(parse_line).collect())
    }

    fn of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Sample> {
        self.0.iter().filter(move |sample| sample.name == name)
    }

    /// The one sample of a metric.
    pub(super) fn value(&self, name: &str) -> Option<f64> {
        self.of(name).next().map(|sample| sample.value)
    }

    /// The samples of a metric by a label.
    pub(super) fn by(&self, name: &str, label: &str) -> Vec<(String, f64)> {
        let samples = self.of(name);
        samples.filter_map(|it| Some((it.labels.get(label)?.clone(), it.value))).collect()
    }

    /// The buckets of a histogram with this label.
    pub(super) fn buckets(&self, name: &str, label: (&str, &str)) -> Buckets {
        let name = format!("{name}_bucket");
        let samples =
            self.of(&name).filter(|it| it.labels.get(label.0).is_some_and(|v| v == label.1));
        let bucket = |it: &Sample| Some((it.labels.get("le")?.parse().ok()?, it.value));
        let mut buckets: Vec<(f64, f64)> = samples.filter_map(bucket).collect();
        buckets.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        Buckets(buckets)
    }
}

impl Buckets {
    /// What came since `before`; everything, where the process was started again.
    pub(super) fn since(&self, before: &Self) -> Self {
        let total = |buckets: &Self| buckets.0.last().map_or(0.0, |(_, count)| *count);
        if before.0.len() != self.0.len() || total(before) > total(self) {
            return self.clone();
        }
        let pairs = self.0.iter().zip(&before.0);
        Self(pairs.map(|((le, now), (_, then))| (*le, now - then)).collect())
    }

    /// By interpolation within a bucket, as Prometheus' `histogram_quantile` does; `None` of nothing.
    pub(super) fn quantiles(&self) -> Option<Quantiles> {
        let (_, total) = *self.0.last()?;
        if total < 1.0 {
            return None;
        }
        let quantile = |share: f64| {
            let rank = share * total;
            let (mut lower, mut below) = (0.0, 0.0);
            for (upper, count) in &self.0 {
                if *count >= rank && *count > below {
                    // Of the last bucket only its lower end is known.
                    let part =
                        if upper.is_finite() { (rank - below) / (count - below) } else { 0.0 };
                    let width = if upper.is_finite() { upper - lower } else { 0.0 };
                    return lower + width * part;
                }
                (lower, below) = (*upper, *count);
            }
            lower
        };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
        let count = total as u64;
        Some(Quantiles { p50: quantile(0.5), p95: quantile(0.95), p99: quantile(0.99), count })
    }
}

fn parse_line(line: &str) -> Option<Sample> {
    let (name, rest) = match line.find('{') {
        Some(at) => (&line[..at], &line[at + 1..]),
        None => {
            let (name, value) = line.split_once(' ')?;
            let value = value.split(' ').next()?.parse().ok()?;
            return Some(Sample { name: name.to_owned(), labels: BTreeMap::new(), value });
        }
    };
    let (labels, rest) = parse_labels(rest)?;
    let value = rest.trim_start().split(' ').next()?.parse().ok()?;
    Some(Sample { name: name.to_owned(), labels, value })
}

/// `a="b",c="d"}`, and what follows.
fn parse_labels(mut text: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        text = text.trim_start_matches([',', ' ']);
        if let Some(rest) = text.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (name, rest) = text.split_once("=\"")?;
        let mut value = String::new();
        let mut characters = rest.char_indices();
        let end = loop {
            match characters.next()? {
                (at, '"') => break at,
                (_, '\\') => match characters.next()?.1 {
                    'n' => value.push('\n'),
                    other => value.push(other),
                },
                (_, other) => value.push(other),
            }
        };
        labels.insert(name.to_owned(), value);
        text = &rest[end + 1..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# HELP a Things.\n# TYPE a gauge\na 5\nb{x=\"1\",y=\"a \\\"b\\\" {c}\"} 2.5\nb{x=\"2\"} 3\n\
        nonsense\nc{x=\"} 1\nt_bucket{op=\"commit\",le=\"0.1\"} 50\nt_bucket{op=\"commit\",le=\"0.2\"} 90\n\
        t_bucket{op=\"commit\",le=\"+Inf\"} 100\nt_bucket{op=\"other\",le=\"0.1\"} 7\n";

    #[test]
    fn samples_are_read_by_name_and_label() {
        let metrics = Metrics::parse(TEXT);
        assert_eq!(metrics.value("a"), Some(5.0));
        assert_eq!(metrics.by("b", "x"), [("1".to_owned(), 2.5), ("2".to_owned(), 3.0)]);
        assert_eq!(metrics.by("b", "y"), [("a \"b\" {c}".to_owned(), 2.5)]);
        assert_eq!((metrics.value("c"), metrics.value("nonsense")), (None, None));
    }

    #[test]
    fn quantiles_are_interpolated() {
        let buckets = Metrics::parse(TEXT).buckets("t", ("op", "commit"));
        let all = buckets.quantiles().unwrap();
        assert_eq!((all.p50, all.count), (0.1, 100));
        assert_eq!((all.p95, all.p99), (0.2, 0.2), "the end of the last one that has an end");
        let before = Buckets(vec![(0.1, 50.0), (0.2, 50.0), (f64::INFINITY, 50.0)]);
        let since = buckets.since(&before).quantiles().unwrap();
        assert_eq!(since.count, 50);
        assert!((since.p50 - 0.1625).abs() < 1e-9, "{since:?}");
        assert_eq!(buckets.since(&buckets).quantiles(), None);
        assert_eq!(Buckets::default().quantiles(), None);
        let more = Buckets(vec![(0.1, 900.0), (0.2, 900.0), (f64::INFINITY, 900.0)]);
        assert_eq!(buckets.since(&more), buckets, "it was started again");
    }
}
