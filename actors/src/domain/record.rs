//! Records: accepted bodies, as the receiver hands them to a journal and a journal to the parser.

use std::ops::Range;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::{event::Source, time::Micros};

/// A client's name for a request, by which a retry is recognised: the first 16 bytes of a SHA-256
/// over the source, the sender and the id that the sender gave (`Logplex-Frame-Id`,
/// `Idempotency-Key`). All zero stands for "none".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RecordId(pub [u8; 16]);

impl RecordId {
    pub const NONE: Self = Self([0; 16]);

    /// The id that `sender` gave to one of its requests to `source`.
    #[must_use]
    pub fn new(source: Source, sender: &str, id: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update([source as u8]);
        hash.update(sender.as_bytes());
        hash.update([0]);
        hash.update(id.as_bytes());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash.finalize()[..16]);
        Self(bytes)
    }

    #[must_use]
    pub fn is_none(self) -> bool {
        self == Self::NONE
    }
}

/// One rejected message of the store. With the time: a store that was made anew begins to count
/// anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RejectedId {
    pub id: i64,
    pub received_at: Micros,
}

/// What is known of a record's origin that its body does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meta<'a> {
    /// Sent by Logplex itself, which never writes structured data.
    pub sender_is_logplex: bool,
    /// Empty where the body or the settings decide.
    pub environment: &'a str,
    /// Empty where the body or the settings decide.
    pub service: &'a str,
    /// The true length of a line of which the body is only the start, since it was beyond the
    /// limit; 0 for any other body.
    pub overlong: u64,
    /// The rejected message that this record takes in again. What clients send never has it.
    pub replay: Option<RejectedId>,
}

const SENDER_IS_LOGPLEX: u8 = 1;
const IS_REPLAY: u8 = 2;

impl<'a> Meta<'a> {
    /// The longest environment or service name, in bytes.
    pub const MAX_NAME: usize = 255;

    /// `flags, overlong, length of environment, environment, length of service, service`, and for a
    /// replay `id, received_at`, which a program that does not know replays does not read. Names
    /// beyond [`Meta::MAX_NAME`] are cut; the receiver refuses them before.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(27 + self.environment.len() + self.service.len());
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        out.push(
            flag(self.sender_is_logplex, SENDER_IS_LOGPLEX)
                | flag(self.replay.is_some(), IS_REPLAY),
        );
        out.extend_from_slice(&self.overlong.to_le_bytes());
        for name in [self.environment, self.service] {
            let name = super::shape::cut(name, Self::MAX_NAME);
            out.push(u8::try_from(name.len()).expect("cut to 255"));
            out.extend_from_slice(name.as_bytes());
        }
        if let Some(RejectedId { id, received_at }) = self.replay {
            out.extend_from_slice(&id.to_le_bytes());
            out.extend_from_slice(&received_at.to_le_bytes());
        }
        out
    }

    /// Reads what [`Meta::encode`] wrote; `None` when it is not that.
    #[must_use]
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        fn name(bytes: &[u8]) -> Option<(&str, &[u8])> {
            let (length, rest) = bytes.split_first()?;
            let (name, rest) = rest.split_at_checked(usize::from(*length))?;
            Some((std::str::from_utf8(name).ok()?, rest))
        }
        let (flags, rest) = bytes.split_first()?;
        let (overlong, rest) = rest.split_first_chunk()?;
        let (environment, rest) = name(rest)?;
        let (service, rest) = name(rest)?;
        let mut replay = None;
        if flags & IS_REPLAY != 0 {
            let (id, rest) = rest.split_first_chunk()?;
            let (received_at, _) = rest.split_first_chunk()?;
            let (id, received_at) = (i64::from_le_bytes(*id), i64::from_le_bytes(*received_at));
            replay = Some(RejectedId { id, received_at });
        }
        Some(Self {
            sender_is_logplex: flags & SENDER_IS_LOGPLEX != 0,
            environment,
            service,
            overlong: u64::from_le_bytes(*overlong),
            replay,
        })
    }
}

/// A body on its way into a journal.
#[derive(Clone, Debug)]
pub struct NewRecord {
    pub source: Source,
    pub received_at: Micros,
    /// How many messages the ledger counts in it.
    pub messages: u32,
    pub id: RecordId,
    /// As [`Meta::encode`] writes it.
    pub meta: Vec<u8>,
    pub body: Bytes,
}

/// Where a block holds one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordRef {
    pub sequence: u64,
    pub received_at: Micros,
    pub source: Source,
    pub messages: u32,
    pub content: Content,
}

/// What a journal has of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// All of it, as ranges of the block.
    Body { meta: Range<usize>, body: Range<usize> },
    /// Its id had been accepted before; only the count was kept.
    Duplicate,
    /// The journal's medium damaged it; the range holds the bytes that are left.
    Damaged { bytes: Range<usize> },
}

/// Records read from a journal in one piece, in sequence without gaps.
#[derive(Debug, Default)]
pub struct Block {
    pub bytes: Bytes,
    pub records: Vec<RecordRef>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meta_comes_back() {
        let live = Meta {
            sender_is_logplex: true,
            environment: "prod",
            service: "shop",
            overlong: 7,
            replay: None,
        };
        let replay = Some(RejectedId { id: 7, received_at: -1 });
        let replayed = Meta { sender_is_logplex: false, replay, ..live };
        for meta in [live, replayed, Meta { replay, ..Meta::default() }] {
            assert_eq!(Meta::decode(&meta.encode()), Some(meta));
        }
        let encoded = replayed.encode();
        assert_eq!(Meta::decode(&encoded[..encoded.len() - 1]), None);
        assert_eq!(Meta::decode(&[]), None);
        assert_eq!(Meta::decode(&[0, 9, b'x']), None);
    }

    /// A program that does not know replays reads the flags as one number, and nothing behind the
    /// names.
    #[test]
    fn the_encoding_of_a_replay_only_adds_to_it() {
        let meta = Meta { environment: "prod", ..Meta::default() };
        let replay = Some(RejectedId { id: 7, received_at: 1 });
        let (live, replayed) = (meta.encode(), Meta { replay, ..meta }.encode());
        assert_eq!(replayed[1..live.len()], live[1..]);
        assert_eq!((live[0], replayed[0], replayed.len() - live.len()), (0, 2, 16));
    }

    #[test]
    fn ids_differ_by_source_and_sender() {
        let id = RecordId::new(Source::Errors, "a", "1");
        assert_ne!(id, RecordId::new(Source::Logdrains, "a", "1"));
        assert_ne!(id, RecordId::new(Source::Errors, "b", "1"));
        assert!(!id.is_none());
    }
}
