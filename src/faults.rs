//! `faultline faults`: what keeps happening, and what people teach about it, from a terminal.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use faultline_actors::{
    adapters::{
        clock,
        store::{
            FaultDetail, Store,
            faults::{FaultFilter, ListedFault, Sorting, WithTicket},
        },
    },
    domain::{
        event::Severity,
        fault::FaultId,
        fault_state::{State, Step},
        lesson::{Lesson, Unteachable},
        rule::lasting,
        time,
    },
};

use crate::cli::say;

/// Who the audit trail says it was.
const ACTOR: &str = "command line";

#[derive(Subcommand)]
pub(crate) enum Command {
    /// The faults seen last.
    List {
        #[command(flatten)]
        filter: Filter,
        /// How many of them.
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        limit: u32,
    },
    /// One fault: its shapes, and why each belongs to it.
    Show { fault: FaultId },
    /// It is over: when it happens again, it is open again. Its ticket stays as it is.
    Resolve {
        fault: FaultId,
        #[command(flatten)]
        why: Why,
    },
    /// It is not over.
    Reopen {
        fault: FaultId,
        #[command(flatten)]
        why: Why,
    },
    /// Count it, but do nothing about it.
    Mute {
        fault: FaultId,
        /// 90m, 7d; without it for ever.
        #[arg(long = "for", value_name = "TIME", value_parser = lasting::parse)]
        lasting: Option<Duration>,
        #[command(flatten)]
        why: Why,
    },
    /// Do what is due.
    Unmute {
        fault: FaultId,
        #[command(flatten)]
        why: Why,
    },
    /// Make two faults one: what FAULT has goes to INTO.
    Merge { fault: FaultId, into: FaultId },
    /// Make a shape of a fault a fault of its own.
    Split { fault: FaultId, fingerprint: String },
    /// Have reports that name this fingerprint belong to the fault.
    Pin { fault: FaultId, fingerprint: String },
}

#[derive(Args)]
pub(crate) struct Why {
    /// Why; kept in the audit trail.
    #[arg(long, default_value = "", hide_default_value = true)]
    comment: String,
}

#[derive(Args)]
pub(crate) struct Filter {
    #[arg(long, value_enum, default_value_t)]
    state: StateAsked,
    #[arg(long)]
    environment: Option<String>,
    #[arg(long)]
    service: Option<String>,
    #[arg(long)]
    kind: Option<String>,
    /// At least as bad: critical, error …
    #[arg(long, value_parser = severity)]
    severity: Option<Severity>,
    /// A part of a title, a template or a first message.
    #[arg(long)]
    text: Option<String>,
    /// The key of a ticket.
    #[arg(long)]
    key: Option<String>,
}

#[derive(Clone, Copy, Default, ValueEnum)]
enum StateAsked {
    #[default]
    Open,
    Resolved,
    Muted,
    Merged,
    All,
}

fn severity(name: &str) -> Result<Severity, String> {
    Severity::from_name(name).ok_or_else(|| "there is no such severity".to_owned())
}

impl From<Filter> for FaultFilter {
    fn from(filter: Filter) -> Self {
        let Filter { state, environment, service, kind, severity, text, key } = filter;
        let state = match state {
            StateAsked::Open => Some(State::Open),
            StateAsked::Resolved => Some(State::Resolved),
            StateAsked::Muted => Some(State::Muted),
            StateAsked::Merged => Some(State::Merged),
            StateAsked::All => None,
        };
        let ticket = key.map(WithTicket::Key);
        Self { state, environment, service, kind, severity, text, ticket, ..Self::default() }
    }
}

/// Does what the command says. A running Faultline on the same store heeds a lesson from its next
/// commit on, and what is said of a fault within half a minute.
///
/// # Errors
/// When the store does not answer, the lesson cannot be learnt, or the step is not possible.
pub(crate) async fn run(command: Command, store: Arc<dyn Store>) -> anyhow::Result<()> {
    store.migrate().await?;
    let lesson = match command {
        Command::List { filter, limit } => {
            let filter = FaultFilter::from(filter);
            for listed in store.list_faults(&filter, Sorting::default(), None, limit).await? {
                say(&line(&listed));
            }
            return Ok(());
        }
        Command::Resolve { fault, why } => return steer(&*store, fault, Step::Resolve, &why).await,
        Command::Reopen { fault, why } => return steer(&*store, fault, Step::Reopen, &why).await,
        Command::Mute { fault, lasting, why } => {
            let until = lasting.map(|lasting| time::later(clock::now(), lasting));
            return steer(&*store, fault, Step::Mute { until }, &why).await;
        }
        Command::Unmute { fault, why } => return steer(&*store, fault, Step::Unmute, &why).await,
        Command::Show { fault: id } => {
            let fault = store.fault(id).await?.context(Unteachable::NoFault(id))?;
            say(&shown(&fault));
            return Ok(());
        }
        Command::Merge { fault, into } => Lesson::Merge { fault, into },
        Command::Split { fault, fingerprint } => Lesson::Split { fault, fingerprint },
        Command::Pin { fault, fingerprint } => Lesson::Pin { fault, name: fingerprint },
    };
    let fault = store.teach(&lesson, ACTOR).await?;
    say(&format!("fault {fault}"));
    Ok(())
}

async fn steer(store: &dyn Store, fault: FaultId, step: Step, why: &Why) -> anyhow::Result<()> {
    store.steer_fault(fault, step, &why.comment, ACTOR).await?;
    say(&format!("fault {fault}"));
    Ok(())
}

fn line(listed: &ListedFault) -> String {
    let fault = &listed.fault;
    let key = listed.ticket.as_ref().and_then(|ticket| ticket.key.as_deref());
    format!(
        "{:>6}  {:>9} ×  {}  {:8}  {:8}  {:10}  {}",
        fault.id,
        fault.count,
        rfc3339(fault.last_seen),
        listed.standing.state(clock::now()).name(),
        fault.severity,
        key.unwrap_or("-"),
        fault.title
    )
}

fn shown(detail: &FaultDetail) -> String {
    let fault = &detail.fault;
    let mut lines = vec![
        format!("fault {}: {}", fault.id, fault.title),
        format!("  {} {}", fault.environment, fault.service),
        format!(
            "  {} ×, {} to {}",
            fault.count,
            rfc3339(fault.first_seen),
            rfc3339(fault.last_seen)
        ),
        format!("  first   {}", fault.example),
        format!("  latest  {}", fault.latest),
    ];
    if let Some(into) = fault.merged_into {
        lines.push(format!("  merged into fault {into}"));
    }
    for shape in &detail.shapes {
        let because = match shape.why.as_str() {
            "similar" => format!("similar: only {:?} differs", shape.detail),
            why => format!("{why} {}", shape.detail),
        };
        lines.push(format!("  shape {}", shape.fingerprint));
        lines.push(format!("    {} ×  {}  ({})", shape.count, shape.title, because.trim_end()));
        if let Some(closest) = &shape.closest {
            let alike = closest.similarity * 100.0;
            lines.push(format!("    {alike:.0} % like  {}", closest.template));
        }
    }
    lines.join("\n")
}

fn rfc3339(micros: time::Micros) -> String {
    jiff::Timestamp::from_microsecond(micros)
        .map_or_else(|_| micros.to_string(), |at| format!("{at:.0}"))
}
