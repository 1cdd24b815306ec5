//! The command line.

use std::{
    ffi::OsString,
    io::{self, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use clap::{Parser, Subcommand};
use faultline_actors::{
    adapters::{buckets, jira::Jira, journal::stream},
    domain::time,
};

use crate::{
    Listeners, alerts,
    asking::{Asking, Whom},
    config::{Config, ConfigError, Source, StoreUrl},
    faults, group, jobs, open_store, read_countries, readiness,
    receiver::keeper,
    recount,
    relay::run_relay,
    reload::{self, How},
    replay, rule_tests, run,
    secret::mask_url,
    sockets::Sockets,
    telemetry,
    tls::Tls,
    top, users,
};

/// `EX_CONFIG` of sysexits(3).
const EXIT_CONFIG: u8 = 78;
/// What a shell gives for a program ended by SIGINT.
const EXIT_INTERRUPTED: i32 = 130;

/// Turns what goes wrong into exactly one Jira ticket per fault.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    /// The configuration; `config.toml` of this directory where there is one, by default.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run everything that the configuration enables.
    Run {
        /// Read Maxwell's change stream from standard input.
        #[arg(long)]
        stdin: bool,
    },
    /// On an edge VM: take data in, and hand it over to the hubs by Redis.
    Relay {
        /// Read Maxwell's change stream from standard input.
        #[arg(long)]
        stdin: bool,
    },
    /// Validate the configuration and try to reach every dependency.
    Check {
        /// Say for each line of a file what would become of it.
        #[arg(long, value_name = "FILE")]
        explain: Option<PathBuf>,
        /// Try the rules on the faults that a file tells of.
        #[arg(long, value_name = "FILE", conflicts_with = "explain")]
        tests: Option<PathBuf>,
        /// Send a test alert through each channel of [notifier] instead.
        #[arg(long, conflicts_with_all = ["explain", "tests"])]
        send_test_alert: bool,
        /// As `faultline relay` needs it: it has no store, and asks nobody but Redis.
        #[arg(long, conflicts_with_all = ["explain", "tests", "send_test_alert"])]
        relay: bool,
    },
    /// Ask a running Faultline whether it takes records; fails unless it does.
    Health {
        /// Its admin listener; the configured one by default.
        #[arg(long, value_name = "URL")]
        url: Option<String>,
    },
    /// Bring the store's schema up to date.
    Migrate,
    /// Send recorded bodies, or rejected messages, to a running Faultline; or bring archives back.
    Replay(replay::Arguments),
    /// Compare the statistics by day with what is there, counted anew.
    Recount(recount::Arguments),
    /// Read messages from standard input, one a line; print the fault of each, one a line.
    Group {
        /// Store them as the pipeline does, in the configured store.
        #[arg(long)]
        stored: bool,
    },
    /// Show faults, and teach which shapes belong to them.
    Faults {
        #[command(subcommand)]
        command: faults::Command,
    },
    /// Show what is done about faults in Jira, and steer it.
    Jobs {
        #[command(subcommand)]
        command: jobs::Command,
    },
    /// Have a running Faultline read its configuration again.
    Reload {
        #[command(flatten)]
        whom: Whom,
        /// Change nothing, and say what would change.
        #[arg(long)]
        preview: bool,
    },
    /// Watch a running Faultline in a terminal.
    Top(top::Arguments),
    /// Say who may log in, and which tokens programs have (`admin.auth = "users"`).
    Users {
        #[command(subcommand)]
        command: users::Command,
    },
    /// Run a command that ends with whoever holds standard input open.
    #[command(hide = true)]
    Keep {
        #[arg(last = true)]
        command: Vec<OsString>,
    },
}

/// Runs the program; gives its exit code.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Command::Keep { command } = &arguments.command {
        return keeper::keep(command);
    }
    let config = match source_of(&arguments).read() {
        Ok(config) => config,
        Err(error) => return refuse(&error),
    };
    let sockets = match &arguments.command {
        Command::Run { .. } | Command::Relay { .. } => Sockets::take(),
        _ => Ok(Sockets::default()),
    };
    let sockets = match sockets.context("LISTEN_FDS") {
        Ok(sockets) => sockets,
        Err(error) => return fail(&error),
    };
    telemetry::start_logging(&config.telemetry);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    let outcome = runtime.block_on(obey(arguments.command, config, sockets));
    // A thread that waits for standard input must not keep the process.
    runtime.shutdown_background();
    match outcome {
        Ok(code) => code,
        Err(error) => fail(&error),
    }
}

async fn obey(command: Command, config: Config, sockets: Sockets) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run { .. } => {
            let told_to_end = told_to_end()?;
            let listeners = Listeners::bind(&config, sockets)?;
            Box::pin(run(config, listeners, told_to_end)).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Relay { .. } => {
            let told_to_end = told_to_end()?;
            config.validate_relay()?;
            let listeners = Listeners::bind(&config, sockets)?;
            run_relay(config, listeners, told_to_end).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Check { explain: Some(file), .. } => explain(&file, &config).await,
        Command::Check { tests: Some(file), .. } => rule_tests::run(&file, &config, say),
        Command::Check { send_test_alert: true, .. } => Ok(alerts::send_test(&config, say).await),
        Command::Check { relay, .. } => check(&config, relay).await,
        Command::Health { url } => {
            say(readiness::ask(url, &config).await?.trim_end());
            Ok(ExitCode::SUCCESS)
        }
        Command::Group { stored } => {
            let store = if stored { Some(open_store(&config.store)?) } else { None };
            group::group(store, io::stdin().lock(), io::stdout().lock()).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Faults { command } => {
            faults::run(command, open_store(&config.store)?).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Jobs { command } => {
            jobs::run(command, open_store(&config.store)?).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Users { command } => {
            users::run(command, open_store(&config.store)?).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Migrate => {
            let applied = open_store(&config.store)?.migrate().await?;
            for migration in &applied {
                say(&format!("applied {migration}"));
            }
            if applied.is_empty() {
                say("the schema is up to date");
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Reload { whom, preview } => {
            let how = if preview { How::Preview } else { How::Apply };
            reload::ask(&Asking::new(whom, &config)?, how).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Top(arguments) => top::run(arguments, &config).await,
        Command::Replay(arguments) => replay::run(arguments, &config).await,
        Command::Recount(arguments) => recount::run(arguments, &config).await,
        Command::Keep { .. } => unreachable!("obeyed before there is a configuration"),
    }
}

/// Where the configuration is, and what the arguments set beyond it.
fn source_of(arguments: &Arguments) -> Source {
    let reads_stdin =
        matches!(arguments.command, Command::Run { stdin: true } | Command::Relay { stdin: true });
    let stdin = reads_stdin.then(|| ("FAULTLINE_STDIN__ENABLED".to_owned(), "true".to_owned()));
    Source { file: arguments.config.clone(), arguments: stdin.into_iter().collect() }
}

/// Listens for SIGTERM and SIGINT from now on; gives what waits for the first. A second one ends
/// the process at once: what was accepted is in the spool.
fn told_to_end() -> anyhow::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let mut next = async move || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let (told_out, told) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        next().await;
        let _ = told_out.send(());
        next().await;
        tracing::warn!("told again: ending at once; the spool keeps what is not stored");
        std::process::exit(EXIT_INTERRUPTED);
    });
    Ok(async move {
        let _ = told.await;
    })
}

/// Against the configured store where it is there; as nothing was ever met otherwise.
async fn explain(file: &Path, config: &Config) -> anyhow::Result<ExitCode> {
    let is_missing = match config.store.parse_url().map_err(anyhow::Error::msg)? {
        StoreUrl::Sqlite(path) => !path.exists(),
        StoreUrl::Postgres(_) => false,
    };
    let store = if is_missing { None } else { Some(open_store(&config.store)?) };
    group::explain_file(file, store.as_deref(), &config.parser.environment, say).await?;
    Ok(ExitCode::SUCCESS)
}

/// What is said of each thing that is checked.
struct Findings {
    all_well: bool,
}

impl Findings {
    fn report(&mut self, what: &str, outcome: Result<String, String>) {
        match outcome {
            Ok(detail) => say(&format!("ok      {what}: {detail}")),
            Err(problem) => {
                self.all_well = false;
                say(&format!("FAILED  {what}: {problem}"));
            }
        }
    }
}

/// Tries everything that the configuration names, and says how that went.
async fn check(config: &Config, is_relay: bool) -> anyhow::Result<ExitCode> {
    if is_relay {
        config.validate_relay()?;
    }
    say("ok      configuration");
    let mut findings = Findings { all_well: true };
    if !is_relay {
        findings.report("store", check_store(config).await);
    }
    findings.report("spool", check_directory(&config.spool.dir));
    if !is_relay {
        check_behind_spool(config, &mut findings).await;
    }
    if !config.handoff.url.is_empty() {
        findings.report("handoff", check_redis(config).await);
    }
    if config.bucket_watcher.is_on() {
        findings.report("bucket_watcher", check_buckets(config).await);
    }
    for (what, address) in [("receiver", config.receiver.listen), ("admin", config.admin.listen)] {
        findings.report(what, check_address(address, config).await);
    }
    for (what, settings) in [("receiver", &config.receiver.tls), ("admin", &config.admin.tls)] {
        match Tls::load(what, settings) {
            Ok(None) => {}
            Ok(Some(tls)) => {
                findings.report(what, tls.warning().map_or_else(|| Ok(said_of(&tls)), Err));
            }
            Err(problem) => findings.report(what, Err(problem)),
        }
    }
    if let Some(program) = config.stdin.command.first() {
        let found = find_program(program).map(|path| path.display().to_string());
        let found = found.ok_or_else(|| format!("{program:?} is not on the path"));
        findings.report("stdin.command", found);
    }
    Ok(if findings.all_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What only a hub has: it reads what is in the spool.
async fn check_behind_spool(config: &Config, findings: &mut Findings) {
    let countries = &config.metrics_aggregator.countries;
    if !countries.as_os_str().is_empty() {
        let outcome =
            read_countries(config).map(|_| format!("{} can be read", countries.display()));
        findings.report("countries", outcome.map_err(|error| error.0.join("; ")));
    }
    if config.retention.is_archived() {
        findings.report("retention.archive", check_directory(&config.retention.archive));
    }
    findings.report("jira", check_jira(config).await);
}

/// Whether it can be listened at; it need not be free where it is ours already.
async fn check_address(address: SocketAddr, config: &Config) -> Result<String, String> {
    match tokio::net::TcpListener::bind(address).await {
        Ok(_) => Ok(format!("{address} is free")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let ours = readiness::ask(None, config).await;
            ours.map(|_| format!("{address} is in use, and Faultline runs here"))
                .map_err(|_| format!("{address}: {error}"))
        }
        Err(error) => Err(format!("{address}: {error}")),
    }
}

fn said_of(tls: &Tls) -> String {
    format!("the certificate is good until {}", time::rfc3339(tls.expires_at()))
}

async fn check_store(config: &Config) -> Result<String, String> {
    let shown = mask_url(config.store.url.expose());
    let is_missing = match config.store.parse_url()? {
        StoreUrl::Sqlite(path) => !path.exists(),
        StoreUrl::Postgres(_) => false,
    };
    if is_missing {
        return Ok(format!("{shown} does not exist yet and will be made"));
    }
    let store = open_store(&config.store).map_err(|error| format!("{shown}: {error:#}"))?;
    store.ping().await.map_err(|error| format!("{shown}: {error}"))?;
    store.check_schema().await.map_err(|error| format!("{shown}: {error}"))?;
    Ok(format!("{shown} answers"))
}

/// Whether Jira lets us in, and would take the tickets.
async fn check_jira(config: &Config) -> Result<String, String> {
    let settings = &config.jira;
    if settings.is_dry_run() {
        return Ok("none is configured: a dry run".to_owned());
    }
    let shown = mask_url(&settings.url);
    let jira = Jira::new(settings)?;
    let name = jira.myself().await.map_err(|failure| format!("{shown}: {failure}"))?;
    let mut problems = Vec::new();
    for draft in config.tickets() {
        let (project, issue_type) = (&draft.project, &draft.issue_type);
        let found = jira.preflight(project, issue_type, &draft).await;
        let found = found.map_err(|failure| format!("{shown}: {failure}"))?;
        let told = |problem| format!("{project} {issue_type}: {problem}");
        problems.extend(found.into_iter().map(told));
    }
    problems.sort();
    problems.dedup();
    if problems.is_empty() {
        return Ok(format!("{shown} answers to {name}"));
    }
    Err(format!("{shown}: {}", problems.join("; ")))
}

/// Whether Redis answers; what it could lose is not wrong, but said.
async fn check_redis(config: &Config) -> Result<String, String> {
    let shown = mask_url(config.handoff.url.expose());
    let warnings =
        stream::link::probe(&config.handoff).await.map_err(|error| format!("{shown}: {error}"))?;
    let warnings: String = warnings.iter().map(|warning| format!("; {warning}")).collect();
    Ok(format!("{shown} answers{warnings}"))
}

/// Whether the account can be listed, and the first bucket.
async fn check_buckets(config: &Config) -> Result<String, String> {
    let shown = mask_url(&config.bucket_watcher.endpoint);
    let failed = |failure: buckets::Failure| format!("{shown}: {failure}");
    let account = buckets::Account::new(&config.bucket_watcher)?;
    let found = account.buckets().await.map_err(failed)?;
    let Some(first) = found.first() else {
        return Ok(format!("{shown} answers; no bucket is selected"));
    };
    let selections = config.bucket_watcher.selections();
    let selection = selections.iter().find(|selection| selection.selects(&first.name));
    let prefix = selection.map_or("", |selection| &selection.prefix);
    let page = account.objects(first, prefix, &buckets::From::Beginning).await;
    page.map_err(|failure| format!("{shown}: bucket {}: {failure}", first.name))?;
    Ok(format!("{shown} answers; buckets selected: {}", found.len()))
}

fn check_directory(directory: &Path) -> Result<String, String> {
    let problem = |error: io::Error| format!("{}: {error}", directory.display());
    std::fs::create_dir_all(directory).map_err(problem)?;
    let probe = directory.join("check");
    std::fs::write(&probe, b"x").and_then(|()| std::fs::remove_file(&probe)).map_err(problem)?;
    Ok(format!("{} can be written to", directory.display()))
}

fn find_program(program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(|path| path.is_file());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|directory| directory.join(program))
        .find(|file| file.is_file())
}

fn refuse(error: &ConfigError) -> ExitCode {
    complain(&error.to_string());
    ExitCode::from(EXIT_CONFIG)
}

fn fail(error: &anyhow::Error) -> ExitCode {
    if let Some(error) = error.downcast_ref::<ConfigError>() {
        return refuse(error);
    }
    complain(&format!("{error:#}"));
    ExitCode::FAILURE
}

/// To standard output, for people and scripts; a closed pipe is theirs to close.
pub(crate) fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// To standard error, beside the log: for whoever has started the program.
pub(crate) fn complain(line: &str) {
    let _ = writeln!(io::stderr(), "faultline: {line}");
}
