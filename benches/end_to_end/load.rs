//! Load by wrk.

use std::{fs, net::SocketAddr, process::Command, time::Duration};

use tempfile::TempDir;

/// What one run of wrk says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) requests: f64,
    pub(crate) seconds: f64,
    pub(crate) p99: Duration,
}

impl Load {
    pub(crate) fn rate(&self) -> f64 {
        self.requests / self.seconds
    }
}

/// A request that wrk sends again and again.
pub(crate) struct Shot {
    directory: TempDir,
    path: &'static str,
}

impl Shot {
    pub(crate) fn new(path: &'static str, content_type: &str, body: &[u8]) -> Self {
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

    pub(crate) fn fire(&self, address: SocketAddr, connections: usize, time: Duration) -> Load {
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
