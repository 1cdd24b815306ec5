//! Journals: durable logs with a position.
//!
//! A journal takes records, gives each a sequence, hands them on in that order as often as it is
//! asked to, and forgets them when a position is acknowledged. What a journal has accepted
//! survives the death of the process.

use std::io;

use crate::domain::{
    event::Source,
    ledger::Tally,
    record::{Block, NewRecord},
};

pub mod spool;
pub mod stream;

/// The id of the journal that first made a record durable. With the record's sequence it is the
/// record's identity, wherever the record travels.
pub type Origin = uuid::Uuid;

/// A durable log of records with positions, as those see it who read it.
///
/// A position is the sequence of the last record of a prefix; 0 is before all.
pub trait Readable: Send + Sync + 'static {
    fn origin(&self) -> Origin;

    /// Delivers the records behind `position`, again if need be, to the receiver of
    /// [`Readable::blocks`]. Blocks that were under way may still arrive before them.
    fn read_after(&self, position: u64);

    /// Where the records arrive, in sequence.
    fn blocks(&self) -> flume::Receiver<Block>;

    /// Everything up to `position` is owned by a later stage and may be forgotten.
    fn acknowledge(&self, position: u64);

    /// The last sequence that was there when this process began to read; beyond it, nothing can be
    /// stored yet. `u64::MAX` where this process cannot know.
    fn recovered(&self) -> u64;

    /// The sequence of the first record that can still be read.
    fn first_kept(&self) -> u64;

    /// Starts the ledger anew: everything behind `position` is in flight. `settled` is what became
    /// of all messages that the store ever had, `own` of those of this origin.
    ///
    /// # Errors
    /// When the record behind the position cannot be read.
    fn resume_ledger(
        &self,
        position: u64,
        settled: [Tally; Source::COUNT],
        own: [Tally; Source::COUNT],
    ) -> io::Result<()>;
}

/// One that takes records, too.
pub trait Journal: Readable {
    /// Makes `record` durable. When the future is dropped, the record may or may not be: not, where it
    /// had yet to wait for its turn.
    ///
    /// # Errors
    /// When the record was not, and will not be, kept.
    fn append(
        &self,
        record: NewRecord,
    ) -> impl Future<Output = Result<Appended, AppendError>> + Send;
}

/// A record is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    New,
    /// Its id was accepted before; only the count was kept.
    Duplicate,
}

/// Why a record was not accepted. The client may try again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    #[error("the spool is full: {used} of {limit} bytes wait for the store")]
    Full { used: u64, limit: u64 },
    #[error("the spool cannot write: {0}")]
    Failing(String),
    #[error("a record of {0} bytes does not fit into a segment")]
    TooLarge(usize),
    #[error("the spool is closed")]
    Closed,
}
