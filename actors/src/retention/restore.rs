//! Brings the events of an archive back into a store.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use uuid::Uuid;

use super::stay_until;
use crate::{
    adapters::{
        archive::{Manifest, Reader},
        clock,
        store::{
            Store,
            retention::{RestoreError, RestoreStep},
        },
    },
    domain::archived::{ArchivedEvent, Unknown, batches},
};

/// Events that are stored in one transaction.
const STEP: usize = 2_000;

/// Why an archive is not back.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("{0}")]
    File(#[from] std::io::Error),
    #[error(transparent)]
    Unknown(#[from] Unknown),
    #[error(transparent)]
    Restore(#[from] RestoreError),
    #[error("origin {0} is not in the manifest")]
    Origin(i32),
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    pub manifest: Manifest,
    /// So many came back just now; the others were there.
    pub events: u64,
}

/// Restores the archive at `path`: each event once, however often this is asked for or broken off.
/// They stay for so long at least. `progress` hears how many of all are back.
///
/// # Errors
/// When the archive is not whole, or the store does not take it.
pub async fn restore(
    store: &dyn Store,
    path: &Path,
    keep: Duration,
    mut progress: impl FnMut(u64, u64),
) -> Result<Restored, Failure> {
    let path = path.to_owned();
    let opened = tokio::task::spawn_blocking(move || Reader::open(&path)).await;
    let (manifest, mut reader) = opened.map_err(std::io::Error::other)??;
    let until = stay_until(clock::now(), keep);
    let (before, numbers) = store.begin_restore(&manifest, until).await?;
    let here = numbers_here(&manifest, &numbers);
    let (mut passed, mut back) = (0, before);
    loop {
        let read = tokio::task::spawn_blocking(move || {
            let chunk = reader.next_chunk(STEP);
            (reader, chunk)
        });
        let (used, chunk) = read.await.map_err(std::io::Error::other)?;
        reader = used;
        let Some(mut events) = chunk? else { break };
        let end = passed + events.len() as u64;
        if end > back {
            // Where an earlier run had other steps, only the rest of this one is missing.
            events.drain(..usize::try_from(back.saturating_sub(passed)).unwrap_or(0));
            let count = events.len() as u64;
            let batches = renumbered(events, &here)?;
            let (archive, day) = (manifest.id, manifest.day);
            let step = RestoreStep { archive, day, after: back, events: count, batches };
            back = store.restore(&step).await?;
            if back < end {
                let problem = "the store has fewer of its events than it had".to_owned();
                return Err(RestoreError::Refused(problem).into());
            }
        }
        passed = end;
        progress(passed.max(back), manifest.events);
    }
    if passed != manifest.events {
        let problem = format!("{passed} events, where the manifest says {}", manifest.events);
        return Err(std::io::Error::other(problem).into());
    }
    Ok(Restored { events: manifest.events - before.min(manifest.events), manifest })
}

/// The number that stands here for what a number stands for in the archive.
fn numbers_here(manifest: &Manifest, numbers: &BTreeMap<Uuid, i32>) -> BTreeMap<i32, i32> {
    let pairs = manifest.origins.iter();
    pairs.filter_map(|it| Some((it.number, *numbers.get(&it.origin)?))).collect()
}

fn renumbered(
    mut events: Vec<ArchivedEvent>,
    here: &BTreeMap<i32, i32>,
) -> Result<BTreeMap<i32, Arc<crate::domain::batch::Batch>>, Failure> {
    for event in &mut events {
        event.origin = *here.get(&event.origin).ok_or(Failure::Origin(event.origin))?;
    }
    let batches = batches(events)?;
    Ok(batches.into_iter().map(|(number, batch)| (number, Arc::new(batch))).collect())
}
