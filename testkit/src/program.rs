//! Faultline as a process, seen from outside: started, asked, killed, started again.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    net::{SocketAddr, TcpListener},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Output, Stdio},
    time::{Duration, Instant},
};

use serde::Deserialize;
use tempfile::TempDir;

use crate::{PATIENCE, database::Database, eventually, jira::Jira, postgres::Postgres};

/// See the [module](self). Dropping it kills the process.
pub struct Program {
    binary: PathBuf,
    arguments: Vec<String>,
    settings: BTreeMap<String, String>,
    stdin: Option<Input>,
    /// Of receiver and admin listener, where they are handed over.
    sockets: Option<[TcpListener; 2]>,
    directory: TempDir,
    pub database: Database,
    process: Option<Process>,
    client: reqwest::Client,
}

enum Input {
    Pipe,
    File(PathBuf),
}

struct Process {
    child: Child,
    /// How much earlier processes have logged.
    logged_before: usize,
    /// Receiver and admin listener, once they are known.
    addresses: Option<(SocketAddr, SocketAddr)>,
}

/// One line of the ledger, in messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Line {
    pub received: u64,
    pub stored: u64,
    pub duplicate: u64,
    pub rejected: u64,
    pub in_flight: u64,
}

impl Line {
    #[must_use]
    pub fn is_balanced(self) -> bool {
        self.received == self.stored + self.duplicate + self.rejected + self.in_flight
    }
}

/// What `GET /api/ledger` answers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Ledger {
    pub sources: BTreeMap<String, Line>,
    pub balanced: bool,
}

impl Ledger {
    /// # Panics
    /// When there is no such source.
    #[must_use]
    pub fn line(&self, source: &str) -> Line {
        self.sources[source]
    }
}

impl Program {
    /// A program that stores in SQLite; not started yet. `binary` is
    /// `env!("CARGO_BIN_EXE_faultline")`.
    ///
    /// # Panics
    /// When no directory can be made.
    #[must_use]
    pub fn new(binary: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("faultline-test-").tempdir().unwrap();
        let database = Database::Sqlite(directory.path().join("faultline.db"));
        let mut program = Self {
            binary: PathBuf::from(binary),
            arguments: vec!["run".to_owned()],
            settings: BTreeMap::new(),
            stdin: None,
            sockets: None,
            directory,
            database,
            process: None,
            client: reqwest::Client::builder().timeout(PATIENCE).build().unwrap(),
        };
        let spool = program.directory().join("spool").display().to_string();
        for (key, value) in [
            ("receiver.listen", "127.0.0.1:0"),
            ("admin.listen", "127.0.0.1:0"),
            ("telemetry.format", "json"),
            ("spool.dir", &spool),
            // The disk of whoever runs the tests may be full.
            ("health.spool_disk", "1"),
        ] {
            program = program.set(key, value);
        }
        program
    }

    /// Like [`Program::new`], with a PostgreSQL of its own.
    #[must_use]
    pub fn with_postgres(binary: &str) -> Self {
        let mut program = Self::new(binary);
        program.database = Database::Postgres(Box::new(Postgres::start()));
        program
    }

    /// The server that [`Program::with_postgres`] brought.
    ///
    /// # Panics
    /// When it stores elsewhere.
    pub fn postgres(&mut self) -> &mut Postgres {
        match &mut self.database {
            Database::Postgres(postgres) => postgres,
            Database::Sqlite(_) => panic!("it stores in SQLite"),
        }
    }

    /// Sets `section.key`, as the environment does.
    #[must_use]
    pub fn set(mut self, key: &str, value: &str) -> Self {
        let variable = format!("FAULTLINE_{}", key.to_uppercase().replace('.', "__"));
        self.settings.insert(variable, value.to_owned());
        self
    }

    /// Has it make its tickets in this Jira.
    #[must_use]
    pub fn with_jira(self, jira: &Jira) -> Self {
        [
            ("jira.url", jira.url().as_str()),
            ("jira.email", "bot@example.com"),
            ("jira.token", "secret-token"),
            ("jira.project", "OPS"),
        ]
        .into_iter()
        .fold(self, |program, (key, value)| program.set(key, value))
    }

    /// Runs it with a configuration file that says this.
    ///
    /// # Panics
    /// When the file cannot be written.
    #[must_use]
    pub fn with_config(self, text: &str) -> Self {
        let path = self.directory().join("rules.toml");
        fs::write(&path, text).unwrap();
        self.arguments(&["--config", &path.display().to_string(), "run"])
    }

    /// Sets a variable of its environment that is no setting.
    #[must_use]
    pub fn environment(mut self, variable: &str, value: &str) -> Self {
        self.settings.insert(variable.to_owned(), value.to_owned());
        self
    }

    /// Replaces the arguments, which are `run` by default.
    #[must_use]
    pub fn arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        self
    }

    /// Reads Maxwell's lines from a pipe; see [`Program::stdin`].
    #[must_use]
    pub fn reads_pipe(mut self) -> Self {
        self.stdin = Some(Input::Pipe);
        self.arguments(&["run", "--stdin"])
    }

    /// Reads Maxwell's lines from a file, from its beginning at every start.
    #[must_use]
    pub fn reads_file(mut self, path: &Path) -> Self {
        self.stdin = Some(Input::File(path.to_owned()));
        self.arguments(&["run", "--stdin"])
    }

    /// Opens both listening sockets here and hands them over to each process, as systemd does: they
    /// stay while no process runs.
    ///
    /// # Panics
    /// When they cannot be opened.
    #[must_use]
    pub fn with_sockets(mut self) -> Self {
        let sockets = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        for (key, socket) in ["receiver.listen", "admin.listen"].into_iter().zip(&sockets) {
            self = self.set(key, &socket.local_addr().unwrap().to_string());
        }
        self.sockets = Some(sockets);
        self
    }

    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The command as it would be started, its outputs not set.
    #[must_use]
    pub fn command(&self) -> Command {
        self.command_with(&self.arguments)
    }

    /// The same with other arguments, to run beside it.
    pub fn command_with(&self, arguments: &[impl AsRef<OsStr>]) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .args(arguments)
            .current_dir(self.directory())
            .env("FAULTLINE_STORE__URL", self.database.url())
            .env_remove("RUST_LOG")
            .envs(&self.settings);
        command
    }

    /// Runs it to its end instead; gives what it said.
    pub async fn run(&self) -> Output {
        run_to_end(self.command()).await
    }

    /// Starts the process and waits until both listeners are bound.
    ///
    /// # Panics
    /// When they are not in time.
    pub fn start(&mut self) {
        self.launch();
        let process = self.process.as_mut().expect("just launched");
        let started = Instant::now();
        let addresses = loop {
            let log = &read_lossy(&self.directory.path().join(LOG))[process.logged_before..];
            let address = |message| {
                let line = log.lines().find(|line| line.contains(message))?;
                let line: serde_json::Value = serde_json::from_str(line).ok()?;
                line["address"].as_str()?.parse().ok()
            };
            if let (Some(receiver), Some(admin)) =
                (address("\"the receiver listens\""), address("\"the admin listener listens\""))
            {
                break (receiver, admin);
            }
            let exited = process.child.try_wait().unwrap();
            assert!(exited.is_none(), "it exited at start: {log}");
            assert!(started.elapsed() < PATIENCE, "it does not start: {log}");
            std::thread::sleep(Duration::from_millis(5));
        };
        process.addresses = Some(addresses);
    }

    /// Starts the process without waiting for anything.
    ///
    /// # Panics
    /// When it runs already.
    pub fn launch(&mut self) {
        assert!(self.process.is_none(), "it runs already");
        let log = self.directory.path().join(LOG);
        let log = fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
        let logged_before = usize::try_from(log.metadata().unwrap().len()).unwrap();
        let stdin = match &self.stdin {
            None => Stdio::null(),
            Some(Input::Pipe) => Stdio::piped(),
            Some(Input::File(path)) => fs::File::open(path).unwrap().into(),
        };
        let child = match &self.sockets {
            None => self.command().stdin(stdin).stdout(Stdio::null()).stderr(log).spawn().unwrap(),
            Some(sockets) => handing_over(&self.command(), sockets).stderr(log).spawn().unwrap(),
        };
        self.process = Some(Process { child, logged_before, addresses: None });
    }

    fn process(&self) -> &Process {
        self.process.as_ref().expect("it runs")
    }

    /// Where the receiver listens; another port after every start.
    ///
    /// # Panics
    /// When it was only launched.
    #[must_use]
    pub fn receiver(&self) -> SocketAddr {
        self.process().addresses.expect("`start`").0
    }

    /// Where the admin listener listens; another port after every start.
    ///
    /// # Panics
    /// When it was only launched.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        self.process().addresses.expect("`start`").1
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process().child.id()
    }

    /// The writing end of its standard input, once; dropping it is the end of input.
    ///
    /// # Panics
    /// When it reads no pipe.
    pub fn stdin(&mut self) -> ChildStdin {
        self.process.as_mut().unwrap().child.stdin.take().expect("`reads_pipe`, and not taken yet")
    }

    /// Kills it as `kill -9` does.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill(&mut self) {
        let mut process = self.process.take().expect("it runs");
        process.child.kill().unwrap();
        process.child.wait().unwrap();
    }

    /// Whether it has ended by itself; then it can be started again.
    ///
    /// # Panics
    /// When that cannot be known.
    pub fn has_ended(&mut self) -> bool {
        self.process.take_if(|process| process.child.try_wait().unwrap().is_some()).is_some()
    }

    /// Sends a signal by its name, for example `TERM`.
    ///
    /// # Panics
    /// When it cannot be sent.
    pub fn signal(&self, name: &str) {
        crate::signal(self.pid(), name);
    }

    /// Waits until it ends by itself.
    ///
    /// # Panics
    /// When it does not in time.
    pub async fn ended(&mut self) -> ExitStatus {
        let mut process = self.process.take().expect("it runs");
        eventually("the process ends", async || match process.child.try_wait().unwrap() {
            Some(status) => Ok(status),
            None => Err("it still runs"),
        })
        .await
    }

    /// Ends it with SIGTERM.
    ///
    /// # Panics
    /// When it does not end with exit code 0.
    pub async fn finish(&mut self) {
        self.signal("TERM");
        let status = self.ended().await;
        assert!(status.success(), "{status}: {}", self.log());
    }

    /// Everything that it has logged, over all starts.
    #[must_use]
    pub fn log(&self) -> String {
        read_lossy(&self.directory().join(LOG))
    }

    /// The most memory that the running process ever held, in MiB.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn peak_mib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap() / 1024
    }

    /// A request to the receiver, to be completed and sent.
    pub fn post(&self, path: &str, content_type: &str) -> reqwest::RequestBuilder {
        let url = format!("http://{}{path}", self.receiver());
        self.client.post(url).header("content-type", content_type)
    }

    /// A drain's request, as Logplex sends it.
    pub fn drain(&self, frame_id: &str, body: Vec<u8>) -> reqwest::RequestBuilder {
        self.post("/logdrains", "application/logplex-1")
            .header("user-agent", "Logplex/v72")
            .header("logplex-frame-id", frame_id)
            .header("logplex-drain-token", "d.fc6b856b-3332-4546-93de-7d0ee272c3bd")
            .body(body)
    }

    /// Sends one error report, or several.
    ///
    /// # Panics
    /// When it is not accepted.
    pub async fn report(&self, json: &str) {
        let request = self.post("/errors/log", "application/json").body(json.to_owned());
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
    }

    /// Asks the admin listener; gives status and text.
    ///
    /// # Errors
    /// When nothing answers.
    pub async fn get(&self, path: &str) -> reqwest::Result<(u16, String)> {
        let response = self.client.get(format!("http://{}{path}", self.admin())).send().await?;
        Ok((response.status().as_u16(), response.text().await?))
    }

    /// A request to the admin listener, to be completed and sent.
    pub fn look(&self, path: &str) -> reqwest::RequestBuilder {
        self.client.get(format!("http://{}{path}", self.admin()))
    }

    /// A request of any method to the admin listener, to be completed and sent.
    ///
    /// # Panics
    /// When there is no such method.
    pub fn ask(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = method.parse().expect("a method");
        self.client.request(method, format!("http://{}{path}", self.admin()))
    }

    /// The sum of a metric's samples whose labels contain `labels`; 0 when there are none.
    ///
    /// # Panics
    /// When the metrics cannot be read.
    pub async fn metric(&self, name: &str, labels: &str) -> f64 {
        let (status, text) = self.get("/metrics").await.unwrap();
        assert_eq!(status, 200, "{text}");
        let samples = text.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let (given, value) = rest.rsplit_once(' ')?;
            let is_meant = given.is_empty() || given.starts_with('{') && given.contains(labels);
            is_meant.then(|| value.parse::<f64>().unwrap())
        });
        samples.sum()
    }

    /// What the admin listener answers, as JSON.
    ///
    /// # Panics
    /// When it does not answer JSON.
    pub async fn json(&self, path: &str) -> serde_json::Value {
        let url = format!("http://{}{path}", self.admin());
        let request = self.client.get(url).header("accept", "application/json");
        request.send().await.unwrap().json().await.unwrap()
    }

    /// The ledger, which must balance whenever it is looked at.
    ///
    /// # Panics
    /// When it does not.
    pub async fn ledger(&self) -> Ledger {
        eventually("the ledger is complete", async || {
            let (status, text) = self.get("/api/ledger").await.map_err(|e| e.to_string())?;
            if status != 200 {
                return Err(text);
            }
            let ledger: Ledger = serde_json::from_str(&text).unwrap();
            let balances = ledger.sources.values().all(|line| line.is_balanced());
            assert!(balances && ledger.balanced, "{ledger:?}");
            Ok(ledger)
        })
        .await
    }

    /// Waits until nothing is in flight; gives the ledger.
    ///
    /// # Panics
    /// When it does not come to that in time.
    pub async fn settled(&self) -> Ledger {
        eventually("nothing is in flight", async || {
            let ledger = self.ledger().await;
            let is_settled = ledger.sources.values().all(|line| line.in_flight == 0);
            if is_settled { Ok(ledger) } else { Err(ledger) }
        })
        .await
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if self.process.is_some() {
            self.kill();
        }
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(15).collect();
            eprintln!("its last log lines, newest first:\n{}", tail.join("\n"));
        }
    }
}

/// The same command behind a shell that puts the sockets where `sd_listen_fds(3)` says; the process is
/// the same one.
fn handing_over(command: &Command, sockets: &[TcpListener; 2]) -> Command {
    const HAND_OVER: &str = r#"exec 3<&0 4<&1 </dev/null >/dev/null
        LISTEN_FDS=2 LISTEN_PID=$$; export LISTEN_FDS LISTEN_PID; exec "$0" "$@""#;
    let [receiver, admin] =
        sockets.each_ref().map(|socket| OwnedFd::from(socket.try_clone().unwrap()));
    let mut shell = Command::new("sh");
    shell.args(["-c", HAND_OVER]).arg(command.get_program()).args(command.get_args());
    if let Some(directory) = command.get_current_dir() {
        shell.current_dir(directory);
    }
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(key, value),
            None => shell.env_remove(key),
        };
    }
    shell.stdin(receiver).stdout(admin);
    shell
}

/// Runs a command to its end; gives what it said.
///
/// # Panics
/// When it does not end in time.
pub async fn run_to_end(mut command: Command) -> Output {
    command.stdin(Stdio::null());
    let output = tokio::process::Command::from(command).kill_on_drop(true).output();
    tokio::time::timeout(PATIENCE, output).await.expect("it ends in time").unwrap()
}

/// The program's log in its directory.
const LOG: &str = "log";

fn read_lossy(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

/// Frames of a Logplex body, each message with its octet count.
#[must_use]
pub fn frames<T: AsRef<[u8]>>(messages: impl IntoIterator<Item = T>) -> Vec<u8> {
    let mut body = Vec::new();
    for message in messages {
        let message = message.as_ref();
        body.extend_from_slice(format!("{} ", message.len()).as_bytes());
        body.extend_from_slice(message);
    }
    body
}

/// One line of an app, as Logplex sends it.
#[must_use]
pub fn app_line(dyno: &str, text: &str) -> String {
    format!("<190>1 2026-11-22T03:00:07.123456+00:00 host app {dyno} - {text}\n")
}
