//! Blocks: neighbouring events of an origin, with one signature.
//!
//! A block is as large as its signature may be, so it costs about ten to twenty bytes for each event. Its
//! events were received within one [`SPAN`], none of which crosses a day.

use super::{Field, Word, each_word, has_text, signature::sign, without_escapes};
use crate::domain::{
    batch::{Attributes, Batch, Event, Span},
    time::Micros,
};

/// Times divided by this one are the same for all events of a block.
pub const SPAN: Micros = 10_000_000;
/// A block with so many different words takes no more events: its signature has 2.5 KB.
const ENOUGH_WORDS: usize = 1_000;
/// What has more has no signature: it would not fit into one of PostgreSQL's pages.
const MOST_WORDS: usize = 3_000;
/// Nor does a block hold more events: each that may hold what is searched for is read as a whole.
const MOST_EVENTS: u32 = 400;

/// See the [module](self). It holds the stored events of its origin that are in its range and were
/// received in its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Sequence and ordinal.
    pub first: (u64, u32),
    pub last: (u64, u32),
    pub received_from: Micros,
    pub received_to: Micros,
    pub events: u32,
    /// `None`: it may hold anything.
    pub signature: Option<Vec<u8>>,
}

/// Makes blocks of the events of one commit.
#[derive(Default)]
pub struct Blocks {
    done: Vec<Block>,
    open: Option<Block>,
    words: Distinct,
    folded: String,
}

impl Blocks {
    /// Takes in the next event. `fingerprint` is that of its fault, as text; empty where there is
    /// none.
    pub fn add(&mut self, batch: &Batch, event: &Event, fingerprint: &str) {
        let record = batch.record_of(event);
        let (place, at) = ((record.sequence, event.ordinal), record.received_at);
        if self.open.as_ref().is_some_and(|block| {
            block.events == MOST_EVENTS
                || self.words.len() >= ENOUGH_WORDS
                || block.received_to.div_euclid(SPAN) != at.div_euclid(SPAN)
        }) {
            self.close();
        }
        let before = self.words.len();
        self.add_words(batch, event, fingerprint);
        if self.words.is_full() && self.open.is_some() {
            // The others must not lose their signature for this one.
            self.words.truncate(before);
            self.close();
            self.add_words(batch, event, fingerprint);
        }
        let block = self.open.get_or_insert(Block {
            first: place,
            last: place,
            received_from: at,
            received_to: at,
            events: 0,
            signature: None,
        });
        block.last = place;
        block.received_from = block.received_from.min(at);
        block.received_to = block.received_to.max(at);
        block.events += 1;
    }

    /// The blocks of all events, in their order.
    #[must_use]
    pub fn finish(mut self) -> Vec<Block> {
        self.close();
        self.done
    }

    fn close(&mut self) {
        if let Some(mut block) = self.open.take() {
            block.signature = (!self.words.is_full()).then(|| sign(&self.words.words));
            self.done.push(block);
        }
        self.words.clear();
    }

    fn add_words(&mut self, batch: &Batch, event: &Event, fingerprint: &str) {
        let text = |span: Span| std::str::from_utf8(batch.text.get(span)).unwrap_or_default();
        let record = batch.record_of(event);
        for (field, value) in [
            (Field::Environment, text(event.scope.environment)),
            (Field::Service, text(event.scope.service)),
            (Field::Kind, event.kind.name()),
            (Field::Severity, event.severity.name()),
            (Field::Source, record.source.name()),
        ] {
            self.words.insert(field.word(value));
        }
        if !fingerprint.is_empty() {
            self.words.insert(Field::Fingerprint.word(fingerprint));
        }
        let mut add = |text: &str| {
            each_word(text, &mut self.folded, |word| self.words.insert(word));
        };
        add(text(event.process));
        add(text(event.message));
        add(text(event.stack_trace));
        if let (Attributes::Json(json), true) = (event.attributes, has_text(event.kind)) {
            let json = text(json);
            match without_escapes(json) {
                Some(plain) => add(&plain),
                None => add(json),
            }
        }
    }
}

/// Different words, in the order in which they came, and at most [`MOST_WORDS`] and one.
struct Distinct {
    words: Vec<Word>,
    /// Each word where its lowest bits say, or in the next free slot. No word is 0, so
    /// that is a free one.
    slots: Vec<Word>,
}

impl Default for Distinct {
    fn default() -> Self {
        // At most three in four are taken.
        Self { words: Vec::with_capacity(ENOUGH_WORDS), slots: vec![0; Self::SLOTS] }
    }
}

impl Distinct {
    const SLOTS: usize = 4_096;

    fn len(&self) -> usize {
        self.words.len()
    }

    fn is_full(&self) -> bool {
        self.words.len() > MOST_WORDS
    }

    /// `false` when no more are taken.
    fn insert(&mut self, word: Word) -> bool {
        let mut slot = Self::slot(word);
        while self.slots[slot] != word {
            if self.slots[slot] == 0 {
                if self.is_full() {
                    return false;
                }
                self.slots[slot] = word;
                self.words.push(word);
                break;
            }
            slot = (slot + 1) % Self::SLOTS;
        }
        true
    }

    #[expect(clippy::cast_possible_truncation, reason = "its lowest bits are wanted")]
    fn slot(word: Word) -> usize {
        word as usize % Self::SLOTS
    }

    /// Only to be cleared next.
    fn truncate(&mut self, len: usize) {
        self.words.truncate(len);
    }

    fn clear(&mut self) {
        self.words.clear();
        self.slots.fill(0);
    }
}
