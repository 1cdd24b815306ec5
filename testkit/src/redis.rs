//! A throw-away Redis: a real server on a port of its own, which writes its log of appends every
//! second, with its data in a temporary directory; gone when the value is dropped or the process
//! dies.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::PATIENCE;

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
        Self::start_with(&["--appendonly", "yes", "--appendfsync", "everysec", "--save", ""])
    }

    /// Starts a server with these arguments.
    ///
    /// # Panics
    /// Like [`Redis::start`].
    #[must_use]
    pub fn start_with(arguments: &[&str]) -> Self {
        let directory = tempfile::Builder::new().prefix("faultline-redis-").tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let mut redis = Self { directory, port, arguments, server: None };
        redis.resume();
        redis
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
        let has_ended =
            self.server.as_mut().is_some_and(|server| server.try_wait().unwrap().is_some());
        if has_ended {
            self.server = None;
        }
        has_ended
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
        let log = fs::OpenOptions::new().create(true).append(true).open(self.log()).unwrap();
        let server = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--", "redis-server"])
            .args(["--bind", "127.0.0.1", "--port", &self.port.to_string(), "--dir"])
            .arg(self.directory.path())
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(Stdio::null())
            .spawn()
            .expect("Redis is not installed (Debian: apt-get install redis-server)");
        self.server = Some(server);
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
    pub fn command(&self, words: &[&str]) -> String {
        self.try_command(words).expect("Redis answers")
    }

    fn try_command(&self, words: &[&str]) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        stream.write_all(request.as_bytes()).ok()?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).ok()?;
        Some(line.trim_end().to_owned())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}
