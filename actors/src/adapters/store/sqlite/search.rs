//! Search for events: blocks are looked at here, their events found by their ids.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use rusqlite::{Connection, Row, params};

use super::{
    Sqlite, on,
    row::{EVENT, event_of, rows},
};
use crate::{
    adapters::store::{
        StoreError, StoredEvent,
        search::{
            EventFilter, EventId, EventSearch, Found, Place,
            walk::{self, Blocks, Candidate, Step, Wanted},
        },
    },
    domain::{
        time::Micros,
        words::{Word, signature::may_hold},
    },
};

const BLOCK: &str = "received_to, origin, last_sequence, last_ordinal, received_from,
    first_sequence, first_ordinal, first_event, last_event, events";

#[async_trait]
impl EventSearch for Sqlite {
    async fn search(
        &self,
        filter: &EventFilter,
        before: Option<Place>,
        limit: u32,
        time: Duration,
    ) -> Result<Found, StoreError> {
        walk::search(&InFile(&self.reader), filter, before, limit, time).await
    }

    async fn event(&self, id: EventId) -> Result<Option<StoredEvent>, StoreError> {
        on(&self.reader, move |connection| {
            // The ranges of blocks hardly ever overlap.
            let blocks = rows(
                connection,
                &format!(
                    "SELECT {BLOCK} FROM event_blocks
                     WHERE origin = ?1 AND (last_sequence, last_ordinal) >= (?2, ?3)
                         AND (first_sequence, first_ordinal) <= (?2, ?3)
                     ORDER BY last_sequence, last_ordinal LIMIT 20"
                ),
                params![id.origin, id.sequence, id.ordinal],
                candidate_of,
            )?;
            for block in blocks {
                let one = Candidate {
                    first: (id.sequence, id.ordinal),
                    upper: Place { id, ..block.upper },
                    ..block
                };
                if let Some(event) = events_of(connection, &one)?.pop() {
                    return Ok(Some(event));
                }
            }
            Ok(None)
        })
        .await
    }
}

/// The file lets others read between two steps.
struct InFile<'a>(&'a Arc<Mutex<Connection>>);

#[async_trait]
impl Blocks for InFile<'_> {
    async fn step(
        &self,
        wanted: &Wanted,
        below: Option<Place>,
        most: u32,
    ) -> Result<Step, StoreError> {
        let (since, newest) =
            (wanted.since.unwrap_or(Micros::MIN), wanted.newest.unwrap_or(Micros::MAX));
        let end = wanted.received_to_below().unwrap_or(Micros::MAX);
        // No time is the greatest of all.
        let last = EventId { origin: 0, sequence: 0, ordinal: 0 };
        let below = below.unwrap_or(Place { received_at: Micros::MAX, id: last });
        let words = wanted.words.clone();
        on(self.0, move |connection| {
            let mut statement = connection.prepare_cached(&format!(
                "SELECT {BLOCK}, signature FROM event_blocks
                 WHERE received_to >= ?1 AND received_from <= ?2 AND received_to < ?3
                     AND (received_to, origin, last_sequence, last_ordinal) < (?4, ?5, ?6, ?7)
                 ORDER BY received_to DESC, origin DESC, last_sequence DESC, last_ordinal DESC
                 LIMIT ?8"
            ))?;
            let Place { received_at, id } = below;
            let mut rows = statement.query(params![
                since,
                newest,
                end,
                received_at,
                id.origin,
                id.sequence,
                id.ordinal,
                most
            ])?;
            let (mut step, mut count, mut through) = (Step::default(), 0, 0);
            while let Some(row) = rows.next()? {
                count += 1;
                let mut block = candidate_of(row)?;
                through += block.events;
                block.through = Some(through);
                let signature =
                    row.get_ref(10)?.as_blob_or_null().map_err(rusqlite::Error::from)?;
                if may_hold_all(signature.unwrap_or_default(), &words) {
                    step.blocks.push(block);
                }
                step.next = (count == most).then_some(block.upper);
            }
            Ok(step)
        })
        .await
    }

    async fn events(
        &self,
        blocks: &[Candidate],
        _: &EventFilter,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let blocks = blocks.to_vec();
        on(self.0, move |connection| {
            let mut events = Vec::new();
            for block in blocks {
                events.append(&mut events_of(connection, &block)?);
            }
            Ok(events)
        })
        .await
    }
}

/// Whether it may hold one word of each group.
fn may_hold_all(signature: &[u8], groups: &[Vec<Word>]) -> bool {
    groups.iter().all(|group| group.iter().any(|word| may_hold(signature, *word)))
}

fn events_of(connection: &Connection, block: &Candidate) -> Result<Vec<StoredEvent>, StoreError> {
    let Place { received_at, id } = block.upper;
    rows(
        connection,
        &format!(
            "SELECT {EVENT} FROM events WHERE id BETWEEN ?1 AND ?2
                 AND received_at BETWEEN ?3 AND ?4 AND origin = ?5
                 AND (sequence, ordinal) >= (?6, ?7) AND (sequence, ordinal) <= (?8, ?9)"
        ),
        params![
            block.rows.0,
            block.rows.1,
            block.received_from,
            received_at,
            id.origin,
            block.first.0,
            block.first.1,
            id.sequence,
            id.ordinal
        ],
        event_of,
    )
}

fn candidate_of(row: &Row<'_>) -> rusqlite::Result<Candidate> {
    let id = EventId { origin: row.get(1)?, sequence: row.get(2)?, ordinal: row.get(3)? };
    Ok(Candidate {
        upper: Place { received_at: row.get(0)?, id },
        received_from: row.get(4)?,
        first: (row.get(5)?, row.get(6)?),
        rows: (row.get(7)?, row.get(8)?),
        through: None,
        events: row.get(9)?,
    })
}
