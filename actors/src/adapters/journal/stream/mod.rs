//! The stream: the journal in Redis, by which records travel from a relay to a hub.
//!
//! ```text
//! relay: spool ──entries──▶ stream ──▶ hub: one StreamJournal an origin ──▶ parser … store
//!          ▲                                                                  │
//!          ├───── committed (origin → position) ◀── published after the commit ┤
//!          └───── wanted (origin → first sequence that a hub waits for) ◀──────┘
//! ```
//!
//! Redis is trusted with nothing: a relay keeps in its spool what no hub has committed, and sends
//! it again when it is gone from the stream; a hub knows by (origin, sequence) what it has, and
//! never commits over a gap. So Redis may run with `appendonly everysec`, lose its tail, or be wiped.
//!
//! Keys, with a hash tag so that those of a stream stay together in a cluster:
//! `faultline:{environment:shard}:stream`, `…:committed` and `…:wanted` (hashes by origin).
//!
//! Everything that connects is in [`link`], which finds the server of a stream by `route`: one
//! server, Sentinel's master, or a node of a cluster, as `address` reads it from the settings.

use std::{collections::BTreeSet, fmt, path::PathBuf, str::FromStr, time::Duration};

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

pub use self::status::{State, Status};
use self::{address::Address, format::Compression};
use crate::domain::secret::Secret;

mod address;
pub mod format;
pub mod journal;
pub mod link;
mod route;
pub mod sent;
mod status;
mod trouble;

/// Section `[handoff]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// `redis://user:password@host:port/database`, or `rediss://` for TLS; with several hosts
    /// `redis+sentinel://…/mymaster` or `redis+cluster://…`; empty: no hand-over.
    pub url: Secret,
    /// Of TLS: a PEM file of the authorities to trust; empty: those that the system trusts.
    pub ca_file: PathBuf,
    /// Of TLS: PEM files of a certificate of our own and its key, where Redis asks for one.
    pub certificate_file: PathBuf,
    pub key_file: PathBuf,
    /// Of Sentinels that ask for them; user and password in `url` are those of Redis.
    pub sentinel_user: String,
    pub sentinel_password: Secret,
    /// A relay's: of all its events, whatever they say.
    pub environment: String,
    /// A hub's: the environments whose streams it reads.
    pub consume: Vec<String>,
    /// Streams of an environment; the same number at all relays and hubs.
    pub shards: u32,
    /// A relay adds nothing to a stream that holds so many entries.
    pub max_entries: u64,
    /// A relay hands over so much, at most, before a hub has committed it.
    pub max_bytes: ByteSize,
    /// Records are gathered into entries of about this size.
    pub entry_bytes: ByteSize,
    pub compress: Compression,
    /// A hub that is not heard of for so long is relieved of its streams.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub lease: Duration,
    /// Redis must answer within this time.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub timeout: Duration,
    /// The first and the longest wait before Redis is tried again.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub retry_first: Duration,
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub retry_cap: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            url: Secret::default(),
            ca_file: PathBuf::new(),
            certificate_file: PathBuf::new(),
            key_file: PathBuf::new(),
            sentinel_user: String::new(),
            sentinel_password: Secret::default(),
            environment: String::new(),
            consume: Vec::new(),
            shards: 1,
            max_entries: 20_000,
            max_bytes: ByteSize::mib(256),
            entry_bytes: ByteSize::kib(48),
            compress: Compression::Zstd,
            lease: Duration::from_secs(10),
            timeout: Duration::from_secs(5),
            retry_first: Duration::from_millis(100),
            retry_cap: Duration::from_secs(5),
        }
    }
}

/// More streams than any hub reads.
const MAX_SHARDS: u32 = 64;

impl Settings {
    /// # Errors
    /// Names the key, and what would be right.
    pub fn validate(&self) -> Result<(), String> {
        self.validate_url()?;
        if !self.environment.is_empty() {
            check_name(&self.environment)
                .map_err(|problem| format!("environment = {:?}: {problem}", self.environment))?;
        }
        for name in &self.consume {
            check_name(name).map_err(|problem| format!("consume = [{name:?}]: {problem}"))?;
        }
        if !(1..=MAX_SHARDS).contains(&self.shards) {
            return Err(format!(
                "shards = {}: between 1 and {MAX_SHARDS} are possible",
                self.shards
            ));
        }
        if self.max_entries == 0 {
            return Err("max_entries = 0: at least one entry must fit".to_owned());
        }
        if self.entry_bytes < ByteSize::kib(1) || self.entry_bytes > ByteSize::mib(4) {
            return Err(format!(
                "entry_bytes = \"{}\": between 1 KiB and 4 MiB is possible",
                self.entry_bytes
            ));
        }
        if self.max_bytes.as_u64() < 2 * self.entry_bytes.as_u64() {
            return Err(format!(
                "max_bytes = \"{}\": at least two entries ({}) are needed",
                self.max_bytes,
                ByteSize(2 * self.entry_bytes.as_u64())
            ));
        }
        let friendly =
            |time| format!("{:#}", jiff::SignedDuration::try_from(time).unwrap_or_default());
        if self.lease < Duration::from_secs(1) {
            let lease = friendly(self.lease);
            return Err(format!("lease = \"{lease}\": at least 1s is needed"));
        }
        if self.timeout < Duration::from_secs(1) {
            let timeout = friendly(self.timeout);
            return Err(format!("timeout = \"{timeout}\": at least 1s is needed"));
        }
        if self.retry_first.is_zero() || self.retry_first > self.retry_cap {
            let first = friendly(self.retry_first);
            return Err(format!(
                "retry_first = \"{first}\": more than zero and at most retry_cap is needed"
            ));
        }
        Ok(())
    }

    fn validate_url(&self) -> Result<(), String> {
        if self.url.is_empty() {
            if self.consume.is_empty() {
                return Ok(());
            }
            return Err("url = \"\": a hub that consumes streams needs Redis' URL".to_owned());
        }
        Address::parse(self).map(drop)
    }

    /// What a relay needs beyond what is always needed.
    ///
    /// # Errors
    /// Names the key, and what would be right.
    pub fn validate_relay(&self) -> Result<(), String> {
        if self.url.is_empty() {
            return Err("url = \"\": a relay needs Redis' URL".to_owned());
        }
        if self.environment.is_empty() {
            return Err("environment = \"\": a relay needs its environment's name".to_owned());
        }
        Ok(())
    }

    /// The streams that this process may read or write.
    pub(in crate::adapters) fn all_streams(&self) -> Vec<Name> {
        let own = Some(&self.environment).filter(|environment| !environment.is_empty());
        let environments: BTreeSet<_> = self.consume.iter().chain(own).collect();
        let names = environments.into_iter().flat_map(|environment| {
            (0..self.shards).map(|shard| Name { environment: environment.clone(), shard })
        });
        names.collect()
    }

    /// The streams that this hub reads.
    pub fn streams(&self) -> impl Iterator<Item = Name> {
        let environments = self.consume.clone();
        let shards = self.shards;
        environments.into_iter().flat_map(move |environment| {
            (0..shards).map(move |shard| Name { environment: environment.clone(), shard })
        })
    }
}

/// A hash tag ends at the first brace, so a name has none.
fn check_name(name: &str) -> Result<(), &'static str> {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'{' | b'}' | b':');
    if (1..=255).contains(&name.len()) && name.bytes().all(is_plain) {
        return Ok(());
    }
    Err("1 to 255 letters, digits or signs are needed, without braces, colons and spaces")
}

/// Which stream.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    pub environment: String,
    pub shard: u32,
}

impl Name {
    /// The stream of a relay's origin: always the same one.
    #[must_use]
    pub fn of(settings: &Settings, origin: super::Origin) -> Self {
        let shard = crc32fast::hash(origin.as_bytes()) % settings.shards.max(1);
        Self { environment: settings.environment.clone(), shard }
    }

    /// The key of the stream itself, or of what is beside it.
    #[must_use]
    pub fn key(&self, what: &str) -> String {
        format!("faultline:{{{}:{}}}:{what}", self.environment, self.shard)
    }
}

/// An entry's place in a stream: Redis' id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(pub u64, pub u64);

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}-{}", self.0, self.1)
    }
}

impl FromStr for Place {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (time, number) = text.split_once('-').ok_or(())?;
        Ok(Self(time.parse().map_err(drop)?, number.parse().map_err(drop)?))
    }
}

/// What a hub waits for: a sequence, and the place of the entry that showed that it is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub sequence: u64,
    pub seen_at: Place,
}

impl fmt::Display for Wanted {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}@{}", self.sequence, self.seen_at)
    }
}

impl FromStr for Wanted {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (sequence, place) = text.split_once('@').ok_or(())?;
        Ok(Self { sequence: sequence.parse().map_err(drop)?, seen_at: place.parse()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_a_stream_share_a_hash_tag() {
        let name = Name { environment: "dev".to_owned(), shard: 3 };
        assert_eq!(name.key("stream"), "faultline:{dev:3}:stream");
        assert_eq!(name.key("wanted"), "faultline:{dev:3}:wanted");
    }

    #[test]
    fn places_are_in_order_and_come_back() {
        assert!(Place(9, 5) < Place(10, 0) && Place(10, 0) < Place(10, 1));
        assert_eq!("10-1".parse(), Ok(Place(10, 1)));
        let wanted = Wanted { sequence: 7, seen_at: Place(10, 1) };
        assert_eq!(wanted.to_string().parse(), Ok(wanted));
        assert_eq!("7".parse::<Wanted>(), Err(()));
    }

    #[test]
    fn what_is_wrong_is_named_without_the_password() {
        let problem = |change: fn(&mut Settings)| {
            let mut settings =
                Settings { url: Secret::new("redis://u:hunter2@h:1"), ..Settings::default() };
            change(&mut settings);
            settings.validate().err().unwrap_or_default()
        };
        assert_eq!(problem(|_| {}), "");
        for (change, expected) in [
            (
                (|settings| settings.url = Secret::new("http://u:hunter2@h")) as fn(&mut Settings),
                "url = \"http://u:***@h\": redis://",
            ),
            (
                |settings| settings.url = Secret::new("redis://u:hunter2@h:x"),
                "url = \"redis://u:***",
            ),
            (|settings| settings.environment = "a}b".to_owned(), "environment = \"a}b\": 1 to 255"),
            (|settings| settings.consume = vec![String::new()], "consume = [\"\"]: 1 to 255"),
            (|settings| settings.shards = 0, "shards = 0: between 1 and 64"),
            (|settings| settings.max_bytes = ByteSize(1), "max_bytes = \"1 B\": at least two"),
        ] {
            let problem = problem(change);
            assert!(problem.starts_with(expected) && !problem.contains("hunter2"), "{problem}");
        }
    }
}
