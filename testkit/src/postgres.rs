//! A throw-away PostgreSQL: a real server on a port of its own, with its data in a temporary
//! directory, gone when the value is dropped or the process dies.

use std::{
    env, fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_mins(1);

/// See the [module](self).
pub struct Postgres {
    directory: TempDir,
    port: u16,
    server: Option<Child>,
    has_tls: bool,
}

impl Postgres {
    /// Makes a cluster and starts it.
    ///
    /// # Panics
    /// When PostgreSQL is not installed or does not start.
    #[must_use]
    pub fn start() -> Self {
        let directory = tempfile::Builder::new().prefix("faultline-postgres-").tempdir().unwrap();
        let data = directory.path().join("data");
        if is_root() {
            // The server refuses to run as root; Debian's package brings a user for it.
            run(Command::new("chown").arg("postgres").arg(directory.path()));
        }
        run(as_server_user(&binary("initdb"))
            .args(["--auth=trust", "--username=postgres", "--encoding=UTF8", "--no-locale"])
            .args(["--no-sync", "-D"])
            .arg(&data));
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut postgres = Self { directory, port, server: None, has_tls: false };
        postgres.resume();
        postgres
    }

    /// Like [`Postgres::start`], with a certificate for `host` that it has signed itself; see
    /// [`Postgres::certificate`].
    ///
    /// # Panics
    /// Like [`Postgres::start`].
    #[must_use]
    pub fn start_with_tls(host: &str) -> Self {
        let mut postgres = Self::start();
        postgres.stop();
        let made = rcgen::generate_simple_self_signed([host.to_owned()]).unwrap();
        fs::write(postgres.certificate(), made.cert.pem()).unwrap();
        let key = postgres.key();
        fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        // The server takes no key that others can read.
        run(Command::new("chmod").arg("600").arg(&key));
        if is_root() {
            run(Command::new("chown").arg("postgres").arg(&key));
        }
        postgres.has_tls = true;
        postgres.resume();
        postgres
    }

    /// The file of the server's certificate.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.directory.path().join("server.crt")
    }

    fn key(&self) -> PathBuf {
        self.directory.path().join("server.key")
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where clients connect.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// The process id of the server.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.server.as_ref().map(Child::id)
    }

    /// Whether the server has ended by itself; then it can be started again.
    ///
    /// # Panics
    /// When that cannot be known.
    pub fn has_ended(&mut self) -> bool {
        self.server.take_if(|server| server.try_wait().unwrap().is_some()).is_some()
    }

    /// Kills the server as a power failure would.
    pub fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            // Immediate shutdown: its children go with it.
            crate::signal(server.id(), "QUIT");
            let _ = server.wait();
        }
    }

    /// Starts the server again, with its data.
    ///
    /// # Panics
    /// When it does not start.
    pub fn resume(&mut self) {
        let log = self.directory.path().join("log");
        let log = fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
        let mut command = as_server_user(&binary("postgres"));
        if self.has_tls {
            for (key, file) in [("ssl_cert_file", self.certificate()), ("ssl_key_file", self.key())]
            {
                command.arg("-c").arg(format!("{key}={}", file.display()));
            }
            command.args(["-c", "ssl=on"]);
        }
        let server = command
            .arg("-D")
            .arg(self.directory.path().join("data"))
            .args(["-p", &self.port.to_string(), "-c", "listen_addresses=127.0.0.1"])
            .arg("-c")
            .arg(format!("unix_socket_directories={}", self.directory.path().display()))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.server = Some(server);
        self.wait_until_ready();
    }

    fn wait_until_ready(&mut self) {
        let started = Instant::now();
        let ready = binary("pg_isready");
        loop {
            let answers = Command::new(&ready)
                .args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()])
                .status()
                .unwrap()
                .success();
            if answers {
                return;
            }
            let exited = self.server.as_mut().and_then(|server| server.try_wait().unwrap());
            if exited.is_some() || started.elapsed() > PATIENCE {
                let log = fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
                panic!("PostgreSQL does not start: {log}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Runs statements as the superuser.
    ///
    /// # Panics
    /// When one fails.
    pub async fn execute(&self, sql: &str) {
        self.client().await.batch_execute(sql).await.unwrap();
    }

    /// The single number that a query gives.
    ///
    /// # Panics
    /// When it gives anything else.
    pub async fn number(&self, sql: &str) -> i64 {
        self.client().await.query_one(sql, &[]).await.unwrap().get(0)
    }

    /// Lets nobody write to a table until what is given is dropped; reading goes on.
    ///
    /// # Panics
    /// When there is no such table.
    pub async fn hold(&self, table: &str) -> Held {
        let held = Held(self.client().await);
        let sql = format!("BEGIN; LOCK TABLE {table} IN EXCLUSIVE MODE");
        held.0.batch_execute(&sql).await.unwrap();
        held
    }

    /// # Panics
    /// When the server cannot be reached.
    pub async fn client(&self) -> tokio_postgres::Client {
        let (client, connection) =
            tokio_postgres::connect(&self.url(), tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }
}

/// See [`Postgres::hold`]. The transaction ends with its connection.
pub struct Held(tokio_postgres::Client);

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    id.stdout.trim_ascii() == b"0"
}

/// A command that runs as the user who may run the server, and that dies with this process.
fn as_server_user(binary: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "QUIT"]);
    if is_root() {
        command.args(["--reuid", "postgres", "--regid", "postgres", "--clear-groups"]);
    }
    command.arg("--").arg(binary).current_dir("/").stdin(Stdio::null());
    command
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}

/// A server binary: on the path, or where Debian keeps it.
fn binary(name: &str) -> PathBuf {
    let on_path = env::var_os("PATH").and_then(|path| {
        env::split_paths(&path).map(|directory| directory.join(name)).find(|file| file.is_file())
    });
    let debian = || {
        let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
        let mut found: Vec<PathBuf> = versions
            .filter_map(|entry| Some(entry.ok()?.path().join("bin").join(name)))
            .filter(|file| file.is_file())
            .collect();
        found.sort();
        found.pop()
    };
    // pg_isready exists on the path as a wrapper; the server's own tools only below /usr/lib.
    on_path.or_else(debian).unwrap_or_else(|| {
        panic!("PostgreSQL's {name} is not installed (Debian: apt-get install postgresql)")
    })
}
