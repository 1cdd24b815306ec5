//! `faultline faults`: what keeps happening, and what people teach about it, from a terminal.

use std::sync::Arc;

use anyhow::Context;
use clap::Subcommand;
use faultline_actors::{
    adapters::store::{FaultDetail, Store, StoredFault},
    domain::{
        fault::FaultId,
        lesson::{Lesson, Unteachable},
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
        /// How many of them.
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        limit: u32,
    },
    /// One fault: its shapes, and why each belongs to it.
    Show { fault: FaultId },
    /// Make two faults one: what FAULT has goes to INTO.
    Merge { fault: FaultId, into: FaultId },
    /// Make a shape of a fault a fault of its own.
    Split { fault: FaultId, fingerprint: String },
    /// Have reports that name this fingerprint belong to the fault.
    Pin { fault: FaultId, fingerprint: String },
}

/// Does what the command says. A running Faultline on the same store heeds a lesson from its next
/// commit on.
///
/// # Errors
/// When the store does not answer, or the lesson cannot be learnt.
pub(crate) async fn run(command: Command, store: Arc<dyn Store>) -> anyhow::Result<()> {
    store.migrate().await?;
    let lesson = match command {
        Command::List { limit } => {
            for fault in store.faults(limit).await? {
                say(&line(&fault));
            }
            return Ok(());
        }
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

fn line(fault: &StoredFault) -> String {
    format!(
        "{:>6}  {:>9} ×  {}  {:8}  {}",
        fault.id,
        fault.count,
        rfc3339(fault.last_seen),
        fault.severity,
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
