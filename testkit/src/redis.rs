//! A throw-away Redis: a real server on a port of its own, which writes its log of appends every
//! second, with its data in a temporary directory; gone when the value is dropped or the process
//! dies.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{PATIENCE, free_port};

pub mod cluster;
pub mod sentinel;

/// How a server of tests keeps what it holds.
pub const DURABLE: [&str; 6] = ["--appendonly", "yes", "--appendfsync", "everysec", "--save", ""];

/// See the [module](self).
pub struct Redis {
    directory: TempDir,
    port: u16,
    arguments: Vec<String>,
    server: Option<Child>,
}

impl Redis {
    /// Starts a server.
    ///
    /// # Panics
    /// When Redis is not installed or does not start.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&DURABLE)
    }

    /// Starts a server with these arguments.
    ///
    /// # Panics
    /// Like [`Redis::start`].
    #[must_use]
    pub fn start_with(arguments: &[&str]) -> Self {
        let mut redis = Self::new(arguments);
        redis.resume();
        redis
    }

    /// One that is not started yet.
    fn new(arguments: &[&str]) -> Self {
        let directory = tempfile::Builder::new().prefix("faultline-redis-").tempdir().unwrap();
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        Self { directory, port: free_port(), arguments, server: None }
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Sends a signal by its name, for example `STOP`.
    ///
    /// # Panics
    /// When it does not run.
    pub fn signal(&self, name: &str) {
        crate::signal(self.server.as_ref().expect("it runs").id(), name);
    }

    /// Whether it was not killed.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.server.is_some()
    }

    /// Where clients connect.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The server's process.
    ///
    /// # Panics
    /// When it is not running.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.server.as_ref().expect("the server is running").id()
    }

    /// Whether the server has ended by itself; then it can be started again.
    ///
    /// # Panics
    /// When that cannot be known.
    pub fn has_ended(&mut self) -> bool {
        self.server.take_if(|server| server.try_wait().unwrap().is_some()).is_some()
    }

    /// Kills the server as `kill -9` does.
    pub fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
    }

    /// Starts the server again, with what it has on disk.
    ///
    /// # Panics
    /// When it does not start.
    pub fn resume(&mut self) {
        self.launch();
        let started = Instant::now();
        let answers = |reply: String| reply == "+PONG" || reply.starts_with("-NOAUTH");
        while !self.try_command(&["PING"]).is_some_and(answers) {
            let exited = self.server.as_mut().and_then(|server| server.try_wait().unwrap());
            let log = || fs::read_to_string(self.log()).unwrap();
            let is_late = exited.is_some() || started.elapsed() > PATIENCE;
            assert!(!is_late, "Redis does not start: {}", log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Like [`Redis::resume`], without waiting until it answers. The server dies with the thread
    /// that calls this.
    ///
    /// # Panics
    /// When there is no such program.
    pub fn launch(&mut self) {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.log()).unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "redis-server"]);
        // A Sentinel keeps what it knows in its configuration.
        if self.configuration().exists() {
            command.arg(self.configuration()).arg("--sentinel");
        }
        let server = command
            .args(["--bind", "127.0.0.1", "--port", &self.port.to_string(), "--dir"])
            .arg(self.directory.path())
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(Stdio::null())
            .spawn()
            .expect("Redis is not installed (Debian: apt-get install redis-server)");
        self.server = Some(server);
    }

    fn configuration(&self) -> std::path::PathBuf {
        self.directory.path().join("sentinel.conf")
    }

    fn log(&self) -> std::path::PathBuf {
        self.directory.path().join("log")
    }

    /// Forgets everything.
    ///
    /// # Panics
    /// When the server does not.
    pub fn flush(&self) {
        assert_eq!(self.command(&["FLUSHALL"]), "+OK");
    }

    /// Changes a setting of the running server.
    ///
    /// # Panics
    /// When the server does not take it.
    pub fn set(&self, name: &str, value: &str) {
        assert_eq!(self.command(&["CONFIG", "SET", name, value]), "+OK");
    }

    /// The first line of what the server answers, as it is on the wire.
    ///
    /// # Panics
    /// When it does not answer.
    #[must_use]
    pub fn command(&self, words: &[impl AsRef<[u8]>]) -> String {
        self.try_command(words).expect("Redis answers")
    }

    fn try_command(&self, words: &[impl AsRef<[u8]>]) -> Option<String> {
        let mut line = String::new();
        self.request(words)?.read_line(&mut line).ok()?;
        Some(line.trim_end().to_owned())
    }

    /// Has the server do something.
    ///
    /// # Panics
    /// When it does not.
    pub fn tell(&self, words: &[&str]) {
        assert_eq!(self.command(words), "+OK", "{words:?}");
    }

    /// All texts and numbers of what the server answers, in their order.
    ///
    /// # Panics
    /// When it does not answer, or refuses.
    #[must_use]
    pub fn ask(&self, words: &[&str]) -> Vec<String> {
        let mut answer = Vec::new();
        let mut reader = self.request(words).expect("Redis answers");
        read_answer(&mut reader, &mut answer);
        answer
    }

    /// The value of a line `name:value` in the server's own description.
    ///
    /// # Panics
    /// When it does not answer.
    #[must_use]
    pub fn info(&self, section: &str, name: &str) -> Option<String> {
        let words: Vec<&str> = section.split(' ').collect();
        let text = self.ask(&words).concat();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.map(|value| value.trim().to_owned())
    }

    fn request(&self, words: &[impl AsRef<[u8]>]) -> Option<BufReader<TcpStream>> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        let mut request = format!("*{}\r\n", words.len()).into_bytes();
        for word in words.iter().map(AsRef::as_ref) {
            request.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            request.extend_from_slice(word);
            request.extend_from_slice(b"\r\n");
        }
        stream.write_all(&request).ok()?;
        Some(BufReader::new(stream))
    }
}

/// Reads one answer of Redis' protocol.
fn read_answer(reader: &mut BufReader<TcpStream>, into: &mut Vec<String>) {
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let line = line.trim_end();
    let (kind, rest) = line.split_at(1);
    let count = || rest.parse::<i64>().unwrap();
    match kind {
        "$" if count() >= 0 => {
            let mut text = vec![0; usize::try_from(count()).unwrap() + 2];
            reader.read_exact(&mut text).unwrap();
            text.truncate(text.len() - 2);
            into.push(String::from_utf8_lossy(&text).into_owned());
        }
        "*" => (0..count()).for_each(|_| read_answer(reader, into)),
        "$" => {}
        "-" => panic!("Redis refuses: {line}"),
        _ => into.push(rest.to_owned()),
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}
