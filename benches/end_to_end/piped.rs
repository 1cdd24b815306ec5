//! Maxwell's lines through a pipe, as `maxwell --producer=stdout | faultline run --stdin` has them.

use std::{
    fs,
    io::PipeWriter,
    process::{Child, Command},
    time::{Duration, Instant},
};

use tempfile::TempPath;

use crate::{
    figures::{Meter, peak_mib},
    ledger::Admin,
    servers::{Kind, Server},
    support::maxwell_lines,
};

/// A file of lines.
pub(crate) struct Lines {
    path: TempPath,
    count: u64,
}

impl Lines {
    pub(crate) fn new(count: usize) -> Self {
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        fs::write(&path, maxwell_lines(count)).unwrap();
        Self { path, count: count as u64 }
    }

    /// Writes the lines so many `times` into the pipe.
    pub(crate) fn pour(&self, pipe: PipeWriter, times: usize) -> Child {
        let files = std::iter::repeat_n(&*self.path, times);
        Command::new("cat").args(files).stdout(pipe).spawn().unwrap()
    }

    pub(crate) fn count(&self, times: usize) -> u64 {
        self.count * times as u64
    }
}

/// What became of the lines.
pub(crate) struct Poured {
    /// Lines stored a second.
    pub(crate) rate: f64,
    /// Processor time a line of the program and of PostgreSQL, in microseconds.
    pub(crate) micros: (f64, f64),
    pub(crate) peak_mib: f64,
}

/// Pours the lines once so that files are there, and then `times` more, until all is stored.
pub(crate) fn pour(kind: &Kind, postgres: Option<u32>, lines: &Lines, times: usize) -> Poured {
    let (reader, writer) = std::io::pipe().unwrap();
    let settings = [("FAULTLINE_STDIN__ENABLED", "true"), ("FAULTLINE_STDIN__ON_EOF", "serve")];
    let server = Server::start_with(kind, reader.into(), &settings);
    let mut admin = Admin::of(&server);
    let stored_before = admin.ledger("maxwell").stored;
    let mut pour_all = |times: usize, goal: u64| {
        let mut cat = lines.pour(writer.try_clone().unwrap(), times);
        loop {
            let line = admin.ledger("maxwell");
            assert_eq!(line.rejected, 0, "the bench sends nothing that is wrong");
            if line.stored - stored_before >= goal {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        cat.wait().unwrap();
    };
    pour_all(1, lines.count(1));
    let meter = Meter::start(&server, postgres);
    let started = Instant::now();
    pour_all(times, lines.count(times + 1));
    let rate = lines.count(times) as f64 / started.elapsed().as_secs_f64();
    let micros = meter.micros_each(lines.count(times));
    Poured { rate, micros, peak_mib: peak_mib(server.pid()) }
}
