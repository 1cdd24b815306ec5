//! The walk of a search: by blocks, newest first, until a page is full.
//!
//! Blocks of several origins overlap in time. No event of a block comes behind the block's `upper`
//! place, and they are walked in the order of these: an event has its place on the page for certain
//! when the next block's `upper` comes before it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use async_trait::async_trait;

use super::{EventFilter, Found, Place};
use crate::{
    adapters::store::{StoreError, StoredEvent},
    domain::{
        time::Micros,
        words::{Word, block::SPAN},
    },
};

/// So many blocks are walked at first: nearly always they hold a page of what was not asked much of.
const FIRST_STEP: u32 = 64;
/// Who walks further comes by few blocks that hold what is searched for: how far these are from each
/// other need not be known.
pub(crate) const LAST_DENSE_STEP: u32 = 512;
/// Each step costs the server some milliseconds to plan.
const STEP_GROWTH: u32 = 8;
/// So many are at most between two looks at the clock: about 25 MB of signatures.
const LAST_STEP: u32 = 16_384;
/// Neighbouring blocks are read together as long as they and what lies between them hold no more
/// events: where little happens, blocks are small.
const TOGETHER: i64 = 800;
/// Bytes of text on a page, but for its first event.
const MOST_BYTES: usize = 16 << 20;

/// A block that may hold what is searched for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    /// The time up to which its events were received, and the last event's id.
    pub upper: Place,
    pub received_from: Micros,
    /// Sequence and ordinal of the first event.
    pub first: (i64, i32),
    /// Where its events stand, in stores that know.
    pub rows: (i64, i64),
    /// How many events the step's blocks hold up to this one, where that is known, and how many this
    /// one.
    pub through: Option<i64>,
    pub events: i64,
}

/// What one step of the walk came by.
#[derive(Debug, Default)]
pub(crate) struct Step {
    pub blocks: Vec<Candidate>,
    /// The `upper` of the last block, taken or not; `None` behind the last of all.
    pub next: Option<Place>,
}

/// Which blocks are walked.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// They may hold events that were received at this time or later.
    pub since: Option<Micros>,
    /// They hold events that were received at this time or earlier.
    pub newest: Option<Micros>,
    /// Of each group, they may hold one word.
    pub words: Vec<Vec<Word>>,
}

impl Wanted {
    fn of(filter: &EventFilter, before: Option<Place>) -> Self {
        let until = filter.until.map(|until| until.saturating_sub(1));
        let newest = [until, before.map(|before| before.received_at)].into_iter().flatten().min();
        Self { since: filter.since, newest, words: filter.words() }
    }

    /// The `received_to` of all wanted blocks is less: events of a block were received within one
    /// span.
    pub(crate) fn received_to_below(&self) -> Option<Micros> {
        self.newest.map(|newest| newest.div_euclid(SPAN).saturating_add(1).saturating_mul(SPAN))
    }
}

/// What a store does for a walk.
#[async_trait]
pub(crate) trait Blocks: Sync {
    /// The next `most` wanted blocks whose `upper` is before `below`, the greatest first.
    async fn step(
        &self,
        wanted: &Wanted,
        below: Option<Place>,
        most: u32,
    ) -> Result<Step, StoreError>;

    /// The events of `blocks`, which are neighbours and at least one. Those that `filter` does not
    /// take may be left out, and others that it takes may be among them.
    async fn events(
        &self,
        blocks: &[Candidate],
        filter: &EventFilter,
    ) -> Result<Vec<StoredEvent>, StoreError>;
}

/// See [`EventSearch::search`](super::EventSearch::search).
pub(crate) async fn search(
    blocks: &impl Blocks,
    filter: &EventFilter,
    before: Option<Place>,
    limit: u32,
    time: Duration,
) -> Result<Found, StoreError> {
    let started = Instant::now();
    // However little time there is, each page gets further.
    let is_over =
        |until: Place| before.is_none_or(|before| until < before) && started.elapsed() >= time;
    let wanted = Wanted::of(filter, before);
    let mut page = Page { limit: limit as usize, events: BTreeMap::new(), bytes: 0, left: None };
    let (mut below, mut most) = (None, FIRST_STEP);
    loop {
        let step = blocks.step(&wanted, below, most).await?;
        for near in neighbours(&step.blocks) {
            let until = near[0].upper.successor();
            if page.is_full(until) {
                return Ok(page.finish(End::Full));
            }
            if is_over(until) {
                return Ok(page.finish(End::Over(until)));
            }
            for event in blocks.events(near, filter).await? {
                let is_before = before.is_none_or(|before| event.place() < before);
                if is_before && filter.takes(&event) {
                    page.add(event);
                }
            }
        }
        match step.next {
            None => return Ok(page.finish(End::All)),
            Some(until) if page.is_full(until) => return Ok(page.finish(End::Full)),
            Some(until) if is_over(until) => return Ok(page.finish(End::Over(until))),
            next => below = next,
        }
        most = (most * STEP_GROWTH).min(LAST_STEP);
    }
}

/// Parts of `blocks` that are read together.
fn neighbours(blocks: &[Candidate]) -> impl Iterator<Item = &[Candidate]> {
    let mut start = None;
    blocks.chunk_by(move |one, next| {
        let (Some(before), Some(through)) = (one.through, next.through) else { return false };
        let from = *start.get_or_insert(before - one.events);
        let is_near = through - from <= TOGETHER;
        if !is_near {
            start = None;
        }
        is_near
    })
}

/// The newest events found so far.
struct Page {
    limit: usize,
    events: BTreeMap<Place, StoredEvent>,
    bytes: usize,
    /// The newest event that found no room: older ones are none of this page's.
    left: Option<Place>,
}

impl Page {
    /// Whether it stays as it is when all that is to come is before `until`.
    fn is_full(&self, until: Place) -> bool {
        let is_full = self.left.is_some() || self.events.len() >= self.limit;
        is_full && self.events.first_key_value().is_some_and(|(last, _)| *last >= until)
    }

    fn add(&mut self, event: StoredEvent) {
        let place = event.place();
        if self.left.is_some_and(|left| place < left) {
            return;
        }
        self.bytes += event.bytes();
        if let Some(again) = self.events.insert(place, event) {
            self.bytes -= again.bytes();
        }
        while self.events.len() > self.limit || self.bytes > MOST_BYTES && self.events.len() > 1 {
            let Some((place, event)) = self.events.pop_first() else { return };
            self.bytes -= event.bytes();
            self.left = Some(place);
        }
    }

    fn finish(mut self, end: End) -> Found {
        if let End::Over(until) = end {
            self.events = self.events.split_off(&until);
        }
        let last = self.events.first_key_value().map(|(place, _)| *place);
        let (next, searched_until) = match end {
            End::Full => (last, None),
            End::All => (last.filter(|_| self.left.is_some()), None),
            End::Over(until) => (Some(until), Some(until.received_at)),
        };
        Found { events: self.events.into_values().rev().collect(), next, searched_until }
    }
}

/// Why a page is finished.
#[derive(Clone, Copy)]
enum End {
    Full,
    /// Everything was looked at.
    All,
    /// Time is over; what comes before this place is not looked at yet.
    Over(Place),
}
