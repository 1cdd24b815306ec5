//! The keeper: a process between Faultline and the command that it runs, which ends the command
//! when Faultline is gone.
//!
//! ```text
//! faultline ──pipe──▶ keeper ──starts──▶ command, in a process group of its own
//!     ▲                                     │
//!     └──────────── standard output ────────┘
//! ```
//!
//! Maxwell goes on as if nothing had happened when nobody reads its output, and what it writes then
//! is lost. The pipe closes however Faultline dies, `kill -9` included. The keeper then ends the
//! whole group, so that a script's children do not stay behind either.

use std::{
    ffi::OsString,
    io,
    os::unix::process::ExitStatusExt,
    process::{ExitCode, ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::{
    io::AsyncReadExt,
    process::{Child, Command},
    signal::unix::{SignalKind, signal},
    time::Instant,
};

/// How long the command may take to end when it is told to; then it is killed.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// What shells give for a command that cannot be started.
const EXIT_NOT_STARTED: u8 = 127;
/// What shells add to the signal that ended a command.
const EXIT_SIGNALLED: i32 = 128;

/// Runs `command` to its end, or to Faultline's. Gives its exit code.
#[must_use]
pub fn keep(command: &[OsString]) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = runtime.and_then(|runtime| {
        let outcome = runtime.block_on(keep_running(command));
        // The thread that waits for the pipe must not keep the process.
        runtime.shutdown_background();
        outcome
    });
    match outcome {
        Ok(status) => {
            let code = status.code().or_else(|| Some(EXIT_SIGNALLED + status.signal()?));
            ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX))
        }
        Err(error) => {
            let name = command.first().map(|name| name.to_string_lossy()).unwrap_or_default();
            crate::cli::complain(&format!("{name}: {error}"));
            ExitCode::from(EXIT_NOT_STARTED)
        }
    }
}

async fn keep_running(command: &[OsString]) -> io::Result<ExitStatus> {
    let (program, arguments) =
        command.split_first().ok_or_else(|| io::Error::other("there is no command"))?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut child =
        Command::new(program).args(arguments).stdin(Stdio::null()).process_group(0).spawn()?;
    let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    let group = group.ok_or_else(|| io::Error::other("it has no process id"))?;
    tokio::select! {
        _ = child.wait() => {}
        () = faultline_is_gone() => {}
        _ = terminate.recv() => {}
    }
    end(group, &mut child).await;
    child.wait().await
}

/// Waits for the end of the pipe that Faultline holds open.
async fn faultline_is_gone() {
    let mut pipe = tokio::io::stdin();
    while matches!(pipe.read(&mut [0; 64]).await, Ok(1..)) {}
}

/// Ends all processes of the group: what a dead command has left behind would otherwise run beside
/// the next one.
async fn end(group: Pid, child: &mut Child) {
    let _ = kill_process_group(group, Signal::TERM);
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        // A child that nobody has waited for would count as one of the group.
        let _ = child.try_wait();
        if test_kill_process_group(group).is_err() {
            return;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let _ = kill_process_group(group, Signal::KILL);
}
