//! What Faultline's tests and benches need: throw-away servers, the program as a process, and
//! waiting for a condition.

#![expect(
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a failing test is told by a panic and what is printed"
)]

use std::{
    fmt, fs,
    net::TcpListener,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

pub mod balancer;
pub mod database;
pub mod handoff;
pub mod jira;
pub mod live;
pub mod load;
pub mod loghub;
pub mod mmdb;
pub mod oss;
pub mod postgres;
pub mod program;
pub mod prometheus;
pub mod proxy;
pub mod redis;
pub mod smtp;
pub mod tls;
pub mod wire;

/// Nothing in the tests takes longer, unless it hangs.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// Sends a signal by its name, for example `TERM`. By the shell's own `kill`: a small Debian has no
/// program of that name.
///
/// # Panics
/// When it cannot be sent.
pub fn signal(pid: u32, name: &str) {
    let pid = pid.to_string();
    let status = Command::new("sh").args(["-c", r#"kill -s "$0" "$1""#, name, &pid]).status();
    assert!(status.expect("a shell is there").success(), "SIG{name} to {pid}");
}

/// A port of 127.0.0.1 that nobody listens at.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Copies the files of a directory that has no directories in it.
///
/// # Panics
/// When it cannot.
pub fn copy_files(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

/// Repeats `attempt` until it gives `Ok`; gives up after [`PATIENCE`] with what it said last.
///
/// # Panics
/// When it gives up.
pub async fn eventually<T, E: fmt::Debug>(
    what: &str,
    attempt: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    within(PATIENCE, what, attempt).await
}

/// Like [`eventually`], with a limit of the caller's.
///
/// # Panics
/// When it gives up.
pub async fn within<T, E: fmt::Debug>(
    limit: Duration,
    what: &str,
    mut attempt: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let started = Instant::now();
    loop {
        match attempt().await {
            Ok(done) => return done,
            Err(last) if started.elapsed() > limit => {
                panic!("not within {limit:?}: {what}; last: {last:?}")
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}
