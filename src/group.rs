//! `faultline group` and `faultline check --explain`: what the pipeline makes of messages, without
//! the pipeline.

use std::{
    collections::HashMap,
    fmt::Write as _,
    io::{BufRead, Write},
    path::Path,
    sync::Arc,
};

use anyhow::Context;
use faultline_actors::{
    adapters::{
        clock,
        journal::Origin,
        store::{Closest, Commit, Placed, Store, sqlite::Sqlite},
    },
    domain::{
        batch::{Batch, Event, RecordHead, Scope, Span},
        event::{Kind, Severity, Source},
        fault::FaultId,
        logplex,
        shape::{Fingerprint, Masked, Shape, explain},
    },
};

/// So many lines are stored at a time.
const LINES: usize = 1_000;
/// What the lines belong to.
const ENVIRONMENT: &str = "group";

/// Reads messages, one a line; writes the fault of each, one a line, in the same order. They are
/// stored in `store`, as the pipeline does, or in one that is forgotten.
///
/// # Errors
/// When a line cannot be read, stored or answered.
pub(crate) async fn group(
    store: Option<Arc<dyn Store>>,
    mut input: impl BufRead,
    mut output: impl Write,
) -> anyhow::Result<()> {
    let store = match store {
        Some(store) => store,
        None => Arc::new(Sqlite::in_memory().context("making a store in memory")?),
    };
    store.migrate().await?;
    let origin = Origin::now_v7();
    store.position(origin).await?;
    let mut faults: HashMap<Fingerprint, FaultId> = HashMap::new();
    let (mut sequence, mut line) = (0, Vec::new());
    loop {
        let mut lines = Vec::with_capacity(LINES);
        while lines.len() < LINES && input.read_until(b'\n', &mut line)? > 0 {
            let text = line.strip_suffix(b"\n").unwrap_or(&line);
            lines.push(String::from_utf8_lossy(text).into_owned());
            line.clear();
        }
        if lines.is_empty() {
            return Ok(output.flush()?);
        }
        let shapes: Vec<Shape> = lines.iter().map(|line| Shape::of_log(line)).collect();
        let batch = Arc::new(batch_of(sequence + 1, &lines, &shapes));
        let commit = Commit { origin, after: sequence, batches: vec![batch] };
        store.commit(&commit).await?;
        sequence += 1;
        for shape in &shapes {
            let fault = match faults.get(&shape.fingerprint) {
                Some(fault) => *fault,
                None => {
                    let placed = store.place(ENVIRONMENT, "", shape).await?;
                    let fault = placed.context("a shape that was stored has a fault")?.fault;
                    faults.insert(shape.fingerprint, fault);
                    fault
                }
            };
            writeln!(output, "{fault}")?;
        }
    }
}

/// One record with an event for each line.
fn batch_of(sequence: u64, lines: &[String], shapes: &[Shape]) -> Batch {
    let mut batch = Batch::default();
    let now = clock::now();
    let head = RecordHead { sequence, received_at: now, source: Source::Errors, body: Span::EMPTY };
    batch.start_record(head, u32::try_from(lines.len()).unwrap_or(u32::MAX));
    let environment = batch.text.push(ENVIRONMENT.as_bytes());
    let scope = Scope { environment, service: Span::EMPTY };
    for (line, shape) in lines.iter().zip(shapes) {
        let text = batch.text.push(line.as_bytes());
        let message = batch.keep_text(text).text;
        let event = Event { message, ..Event::new(Kind::Log, Severity::Error, now, scope) };
        let event = batch.push_event(event);
        batch.assign_fault(event, shape);
    }
    batch
}

/// Says for each line of a file what would become of it: as a message, or as a line of a drain.
///
/// # Errors
/// When the file cannot be read or the store does not answer.
pub(crate) async fn explain_file(
    path: &Path,
    store: Option<&dyn Store>,
    environment: &str,
    say: fn(&str),
) -> anyhow::Result<()> {
    let text = std::fs::read(path).with_context(|| path.display().to_string())?;
    for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let message = match logplex::parse(line) {
            Ok(message) => message.text,
            Err(_) => line,
        };
        let message = String::from_utf8_lossy(message);
        let shape = Shape::of_log(&message);
        let (placed, closest) = match store {
            Some(store) => (
                store.place(environment, "", &shape).await?,
                store.closest(environment, "", &shape).await?,
            ),
            None => (None, None),
        };
        say(&explanation(number + 1, &message, &shape, placed.as_ref(), closest.as_ref()));
    }
    Ok(())
}

fn explanation(
    line: usize,
    message: &str,
    shape: &Shape,
    placed: Option<&Placed>,
    closest: Option<&Closest>,
) -> String {
    let mut out = format!("line {line}: {}\n  shape    {}\n", message.trim(), shape.title);
    let masked = Masked::new(message);
    out.push_str("  tokens  ");
    for (text, _) in explain(&masked) {
        let _ = write!(out, " {text:?}");
    }
    out.push('\n');
    for (text, class) in explain(&masked) {
        if let Some(class) = class {
            let _ = writeln!(out, "  masked   {text:?} is {}", class.placeholder());
        }
    }
    let _ = writeln!(out, "  finger   {}", shape.fingerprint);
    let _ = match placed {
        None => writeln!(out, "  fault    none yet: it would found one"),
        Some(placed) => {
            let verb = if placed.is_known { "belongs to" } else { "would join" };
            let because = match placed.why.as_str() {
                "similar" => format!(": only {:?} differs", placed.detail),
                "new" => String::new(),
                why => format!(": {why} {}", placed.detail),
            };
            writeln!(out, "  fault    {verb} {} ({}){because}", placed.fault, placed.title)
        }
    };
    if let Some(Closest { fault, template, similarity }) = closest {
        let _ = writeln!(
            out,
            "  closest  {template} ({:.0} % alike, fault {fault})",
            similarity * 100.0
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_line_gets_its_fault_in_order() {
        let input = "job 1 failed with code 7\nthe link is down\njob 2 failed with code 9\n\n";
        let mut output = Vec::new();
        group(None, input.as_bytes(), &mut output).await.unwrap();
        let faults: Vec<&str> = std::str::from_utf8(&output).unwrap().lines().collect();
        assert_eq!(faults.len(), 4);
        assert_eq!(faults[0], faults[2]);
        assert_ne!(faults[0], faults[1]);
    }
}
