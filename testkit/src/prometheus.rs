//! A throw-away Prometheus: a real server on a port of its own, with a copy of a configuration, its
//! data in a temporary directory; gone when the value is dropped or the process dies.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{eventually, free_port};

/// The file beside the configuration that holds the token for `GET /metrics`.
pub const TOKEN_FILE: &str = "faultline-metrics-token";

/// See the [module](self).
pub struct Prometheus {
    directory: TempDir,
    port: u16,
    server: Child,
    client: reqwest::Client,
}

/// Whom to scrape: a file of targets, the label `environment`, and where `/metrics` is.
pub type Target<'a> = (&'a str, &'a str, SocketAddr);

impl Prometheus {
    /// Starts a server with the configuration of the directory `kit`, with these targets instead of
    /// its own; everything that it does every 15 s it does every second.
    ///
    /// # Panics
    /// When Prometheus is not installed or does not start.
    pub async fn start(kit: &Path, token: &str, targets: &[Target<'_>]) -> Self {
        let directory = tempfile::Builder::new().prefix("faultline-prometheus-").tempdir().unwrap();
        copy(kit, directory.path());
        let configuration = directory.path().join("prometheus.yml");
        let text = fs::read_to_string(&configuration).unwrap();
        fs::write(&configuration, text.replace("15s", "1s")).unwrap();
        fs::write(directory.path().join(TOKEN_FILE), token).unwrap();
        for (file, ..) in targets {
            let own = targets.iter().filter(|target| target.0 == *file);
            let groups: Vec<_> = own
                .map(|(_, environment, address)| {
                    json!({ "targets": [address.to_string()], "labels": { "environment": environment } })
                })
                .collect();
            // JSON is YAML.
            fs::write(directory.path().join("targets").join(file), json!(groups).to_string())
                .unwrap();
        }
        let port = free_port();
        let log = fs::File::create(directory.path().join("log")).unwrap();
        let server = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--", "prometheus", "--config.file"])
            .arg(&configuration)
            .arg("--storage.tsdb.path")
            .arg(directory.path().join("data"))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .args(["--log.level", "warn"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("Prometheus is not installed (Debian: apt-get install prometheus)");
        let mut prometheus = Self { directory, port, server, client: reqwest::Client::new() };
        let url = format!("http://127.0.0.1:{port}/-/ready");
        eventually("Prometheus starts", async || {
            let exited = prometheus.server.try_wait().unwrap();
            assert!(exited.is_none(), "it exited: {}", prometheus.log());
            let answer = prometheus.client.get(&url).send().await.map_err(|e| e.to_string())?;
            if answer.status().is_success() { Ok(()) } else { Err(answer.status().to_string()) }
        })
        .await;
        prometheus
    }

    /// What it has logged: warnings and errors.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// The `data` that the API answers.
    ///
    /// # Errors
    /// What it says instead.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Value, String> {
        let url = format!("http://127.0.0.1:{}/api/v1/{path}", self.port);
        let query =
            form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
        let answer = self.client.get(format!("{url}?{query}")).send().await.unwrap();
        let mut answer: Value = answer.json().await.unwrap();
        if answer["status"] == "success" {
            Ok(answer["data"].take())
        } else {
            Err(answer["error"].to_string())
        }
    }

    /// How many series an expression gives now.
    ///
    /// # Errors
    /// What is wrong with the expression.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn series(&self, expression: &str) -> Result<usize, String> {
        let data = self.ask("query", &[("query", expression)]).await?;
        Ok(data["result"].as_array().map_or(0, Vec::len))
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// Copies a directory with all below it.
fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            fs::create_dir(&to).unwrap();
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}
