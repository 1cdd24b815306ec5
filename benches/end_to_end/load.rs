//! Load by wrk, and what processes use of the machine.

use std::{
    fs,
    net::SocketAddr,
    process::Command,
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// What one run of wrk says.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub requests: f64,
    pub seconds: f64,
    pub p99: Duration,
}

impl Load {
    pub fn rate(&self) -> f64 {
        self.requests / self.seconds
    }
}

/// A request that wrk sends again and again.
pub struct Shot {
    directory: TempDir,
    path: &'static str,
}

impl Shot {
    pub fn new(path: &'static str, content_type: &str, body: &[u8]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("body"), body).unwrap();
        let script = format!(
            "local file = io.open({:?}, 'rb')\n\
             wrk.method = 'POST'\nwrk.body = file:read('*a')\n\
             wrk.headers['Content-Type'] = '{content_type}'\n\
             wrk.headers['User-Agent'] = 'Logplex/v72'\n",
            directory.path().join("body").display().to_string()
        );
        fs::write(directory.path().join("script.lua"), script).unwrap();
        Self { directory, path }
    }

    pub fn fire(&self, address: SocketAddr, connections: usize, time: Duration) -> Load {
        let started = Instant::now();
        let output = Command::new("wrk")
            .args(["-t1", "--latency", "--timeout", "10s"])
            .arg(format!("-c{connections}"))
            .arg(format!("-d{}s", time.as_secs().max(1)))
            .arg("-s")
            .arg(self.directory.path().join("script.lua"))
            .arg(format!("http://{address}{}", self.path))
            .output()
            .expect("wrk is installed (Debian: apt-get install wrk)");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        let bad = said.lines().find(|line| line.contains("Non-2xx") || line.contains("Socket"));
        assert!(bad.is_none(), "{}", bad.unwrap_or_default());
        let number = |mark: &str| -> f64 {
            let line = said.lines().find(|line| line.contains(mark)).expect(mark);
            line.split_whitespace().next().unwrap().parse().unwrap()
        };
        let p99 = said.lines().find(|line| line.trim_start().starts_with("99%")).unwrap();
        let _ = started;
        let seconds = time.as_secs_f64().max(1.0);
        Load {
            requests: number("requests in"),
            seconds,
            p99: time_of(p99.split_whitespace().nth(1).unwrap()),
        }
    }
}

/// `1.49ms`, `720.00us`, `2.1s`
fn time_of(text: &str) -> Duration {
    let at = text.find(|character: char| character.is_alphabetic()).unwrap();
    let value: f64 = text[..at].parse().unwrap();
    let unit = match &text[at..] {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        unit => panic!("{unit}"),
    };
    Duration::from_secs_f64(value * unit)
}

/// Processor time that a process has used so far, in seconds.
pub fn cpu_seconds(pid: u32) -> f64 {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return 0.0 };
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    // utime, stime, cutime and cstime are fields 14 to 17; two stand before the ')'.
    let ticks: f64 = fields[11..15].iter().map(|field| field.parse::<f64>().unwrap()).sum();
    ticks / 100.0
}

/// Processor time of a process and those that it started.
pub fn tree_cpu_seconds(pid: u32) -> f64 {
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
pub fn peak_mib(pid: u32) -> f64 {
    status_mib(pid, "VmHWM:")
}

/// The memory that a process holds now, in MiB.
pub fn resident_mib(pid: u32) -> f64 {
    status_mib(pid, "VmRSS:")
}

fn status_mib(pid: u32, key: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kilobytes.unwrap_or(0.0) / 1024.0
}

/// The median.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => sorted[odd / 2],
        even => f64::midpoint(sorted[even / 2 - 1], sorted[even / 2]),
    }
}
