//! What processes use of the machine, and how figures are put together.

use std::fs;

use crate::servers::Server;

/// Processor time used by the program and by PostgreSQL, from a moment on.
pub(crate) struct Meter {
    program: Option<u32>,
    postgres: Option<u32>,
    before: (f64, f64),
}

impl Meter {
    pub(crate) fn start(server: &Server, postgres: Option<u32>) -> Self {
        Self::of(Some(server.pid()), postgres)
    }

    pub(crate) fn of_postgres(postgres: Option<u32>) -> Self {
        Self::of(None, postgres)
    }

    fn of(program: Option<u32>, postgres: Option<u32>) -> Self {
        let mut meter = Self { program, postgres, before: (0.0, 0.0) };
        meter.before = meter.now();
        meter
    }

    fn now(&self) -> (f64, f64) {
        (self.program.map_or(0.0, cpu_seconds), self.postgres.map_or(0.0, tree_cpu_seconds))
    }

    /// Microseconds of the program and of PostgreSQL for each of `count`.
    pub(crate) fn micros_each(&self, count: u64) -> (f64, f64) {
        let now = self.now();
        let each = |now: f64, before: f64| (now - before) * 1e6 / count as f64;
        (each(now.0, self.before.0), each(now.1, self.before.1))
    }
}

/// Processor time that a process has used so far, in seconds.
pub(crate) fn cpu_seconds(pid: u32) -> f64 {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return 0.0 };
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    // utime, stime, cutime and cstime are fields 14 to 17; two stand before the ')'.
    let ticks: f64 = fields[11..15].iter().map(|field| field.parse::<f64>().unwrap()).sum();
    ticks / 100.0
}

/// Processor time of a process and those that it started.
fn tree_cpu_seconds(pid: u32) -> f64 {
    let mut sum = cpu_seconds(pid);
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(child) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        let Ok(stat) = fs::read_to_string(format!("/proc/{child}/stat")) else { continue };
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1));
        if parent == Some(&pid.to_string()) {
            sum += cpu_seconds(child);
        }
    }
    sum
}

/// The most memory that a process ever held, in MiB.
pub(crate) fn peak_mib(pid: u32) -> f64 {
    status_mib(pid, "VmHWM:")
}

/// The memory that a process holds now, in MiB.
pub(crate) fn resident_mib(pid: u32) -> f64 {
    status_mib(pid, "VmRSS:")
}

fn status_mib(pid: u32, key: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kilobytes.unwrap_or(0.0) / 1024.0
}

/// The median; 0 of nothing.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => sorted[odd / 2],
        even => f64::midpoint(sorted[even / 2 - 1], sorted[even / 2]),
    }
}

/// The median of one figure of several rounds.
pub(crate) fn median_of<T>(rounds: &[T], figure: impl Fn(&T) -> f64) -> f64 {
    median(&rounds.iter().map(figure).collect::<Vec<_>>())
}

/// The value that 99 of a hundred do not exceed; 0 of nothing.
pub(crate) fn p99(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) * 99 / 100).copied().unwrap_or(0.0)
}
