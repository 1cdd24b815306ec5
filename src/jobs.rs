//! `faultline jobs`: what is done about faults in Jira, from a terminal.

use std::sync::Arc;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use faultline_actors::{
    adapters::store::{
        Store,
        jobs::{JobFilter, JobId, Steer, StoredJob},
    },
    domain::{
        fault::FaultId,
        job::{Action, State},
        time,
    },
};

use crate::cli::say;

/// Who the audit trail says it was.
const ACTOR: &str = "command line";

#[derive(Subcommand)]
pub(crate) enum Command {
    /// The newest jobs.
    List {
        #[command(flatten)]
        filter: Filter,
        /// How many of them.
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        limit: u32,
    },
    /// One job: what was sent, what came back, and its history.
    Show { job: JobId },
    /// Do jobs again that are dead, delayed, unknown or discarded.
    Retry {
        #[command(flatten)]
        filter: Filter,
    },
    /// Never do these jobs.
    Discard {
        #[command(flatten)]
        filter: Filter,
    },
    /// Send nothing to Jira until `resume`; what is to be done is kept.
    Pause,
    /// Go on.
    Resume,
}

#[derive(Args)]
pub(crate) struct Filter {
    /// Jobs by number.
    ids: Vec<JobId>,
    /// waiting, active, delayed, completed, dead, unknown or discarded
    #[arg(long, value_parser = state)]
    state: Option<State>,
    /// create, comment, reopen or edit
    #[arg(long, value_parser = action)]
    action: Option<Action>,
    #[arg(long)]
    environment: Option<String>,
    #[arg(long)]
    fault: Option<FaultId>,
    /// Jira's key of the ticket.
    #[arg(long)]
    key: Option<String>,
    /// A part of what was sent or answered.
    #[arg(long)]
    text: Option<String>,
}

fn state(name: &str) -> Result<State, String> {
    State::from_name(name).ok_or_else(|| "there is no such state".to_owned())
}

fn action(name: &str) -> Result<Action, String> {
    Action::from_name(name).ok_or_else(|| "there is no such action".to_owned())
}

impl From<Filter> for JobFilter {
    fn from(Filter { ids, state, action, environment, fault, key, text }: Filter) -> Self {
        let ids = Some(ids).filter(|ids| !ids.is_empty());
        Self { ids, state, action, environment, fault, key, text, ..Self::default() }
    }
}

/// Does what the command says. A running Faultline on the same store heeds it within seconds.
///
/// # Errors
/// When the store does not answer, or there is no such job.
pub(crate) async fn run(command: Command, store: Arc<dyn Store>) -> anyhow::Result<()> {
    store.migrate().await?;
    match command {
        Command::List { filter, limit } => {
            for job in store.jobs(&filter.into(), limit).await? {
                say(&line(&job));
            }
        }
        Command::Show { job } => show(job, &*store).await?,
        Command::Retry { filter } => steer(filter.into(), Steer::Retry, &*store).await?,
        Command::Discard { filter } => steer(filter.into(), Steer::Discard, &*store).await?,
        Command::Pause => {
            store.pause(true, ACTOR).await?;
            say("dispatch is paused");
        }
        Command::Resume => {
            store.pause(false, ACTOR).await?;
            say("dispatch goes on");
        }
    }
    Ok(())
}

async fn steer(filter: JobFilter, steer: Steer, store: &dyn Store) -> anyhow::Result<()> {
    if filter == JobFilter::default() {
        bail!(
            "which jobs? numbers, --state, --action, --environment, --fault, --key or --text say it"
        );
    }
    let steered = store.steer(&filter, &steer, ACTOR).await?;
    if steered.is_empty() {
        bail!("there is no such job that can {}", steer.step().name());
    }
    for job in steered {
        say(&format!("job {job}"));
    }
    Ok(())
}

fn line(job: &StoredJob) -> String {
    let key = job.key.as_deref().unwrap_or("-");
    format!(
        "{:>6}  {:9}  {:7}  fault {:<6}  {key:10}  {} attempts  {}",
        job.id,
        job.state,
        job.action,
        job.fault,
        job.attempts,
        if job.error.is_empty() { &job.rule } else { &job.error }
    )
}

async fn show(id: JobId, store: &dyn Store) -> anyhow::Result<()> {
    let filter = JobFilter { ids: Some(vec![id]), ..JobFilter::default() };
    let jobs = store.jobs(&filter, 1).await?;
    let job = jobs.first().with_context(|| format!("there is no job {id}"))?;
    say(&line(job));
    say(&format!("  sent      {}", job.request));
    if let Some(response) = &job.response {
        say(&format!("  answered  {response}"));
    }
    for entry in store.history(id).await? {
        say(&format!(
            "  {}  {}  {}  {}",
            time::rfc3339(entry.at),
            entry.action,
            entry.who,
            entry.details
        ));
    }
    Ok(())
}
