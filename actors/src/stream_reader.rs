//! Stream reader: reads one stream for this hub, while it holds the lease.
//!
//! `stream ──▶ stream reader ──blocks──▶ one chain an origin: parser ──▶ fan-out ──▶ batch writer`
//!
//! Each origin has a chain of its own, the very stages that the hub's spool has: positions, gaps
//! and starting over are then a matter of one origin, and no stage needs to know of several. They
//! share the metrics aggregator. When a chain's parser is full the reader waits, so the stream
//! grows up to the relays' bound. An entry that is damaged is wanted again from its relay.
//!
//! The lease, a row in the store, only keeps two hubs from doing the same work. What is stored once
//! is decided by the position, which a commit moves by compare-and-swap: a hub that was frozen
//! past its lease fails its commit.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use flume::r#async::SendFut;
use futures_util::future::BoxFuture;
use kameo::{
    Actor,
    actor::{ActorRef, WeakActorRef},
    mailbox::{MailboxReceiver, Signal},
    message::{Context, Message},
};
use redis::{RedisResult, streams::StreamReadReply};
use tokio::time::{Instant, sleep_until};

use crate::{
    adapters::journal::{
        Origin,
        stream::{
            Name, Place,
            format::Head,
            journal::{StreamJournal, Taken},
            link::Link,
        },
    },
    domain::record::Block,
    stage::{Closed, Finish},
};

pub use self::hub::{Chain, Chains, Hub, Origins};
use self::parked::Parked;

mod hub;
mod lease;
mod parked;

/// How often relays are told, and the stream is trimmed.
const TICK: Duration = Duration::from_millis(100);
/// How long Redis may wait for new entries before it says that there are none. Short: a rewind
/// waits for it.
const BLOCK_MILLIS: u64 = 200;
/// Entries read at once; they may be large.
const ENTRIES: usize = 8;
/// Origins of one stream that have chains at a time; idle ones make room for others.
const MAX_ORIGINS: usize = 64;
type Fetched = RedisResult<Option<StreamReadReply>>;

/// See the [module](self).
pub struct StreamReader {
    hub: Hub,
    name: Name,
    key: String,
    /// Waits for entries; what is said to Redis meanwhile goes by `control`.
    reading: Link,
    control: Link,
    cursor: Place,
    fetching: Option<BoxFuture<'static, Fetched>>,
    found: VecDeque<Found>,
    sending: Option<SendFut<'static, Block>>,
    origins: HashMap<Origin, Read>,
    parked: Parked,
    /// Until when the lease is held, by this hub's clock.
    held: Option<Instant>,
    lease_at: Instant,
    due: Instant,
    /// Up to where the stream was trimmed.
    trimmed: Place,
    /// Nothing came: is the stream's end before the cursor?
    must_compare: bool,
}

/// An origin that is being read.
struct Read {
    journal: Arc<StreamJournal>,
    chain: Box<dyn Chain>,
}

/// An entry as Redis gives it.
struct Found {
    place: Place,
    head: Head,
    records: Vec<u8>,
}

impl StreamReader {
    /// # Errors
    /// When the settings name no Redis.
    pub fn new(hub: Hub, name: Name) -> Result<Self, String> {
        let link = |purpose| Link::new(&hub.settings, &name, purpose, hub.status.clone());
        let (reading, control) = (link("reading")?, link("telling")?);
        let now = Instant::now();
        Ok(Self {
            key: name.key("stream"),
            hub,
            name,
            reading,
            control,
            cursor: Place::default(),
            fetching: None,
            found: VecDeque::new(),
            sending: None,
            origins: HashMap::new(),
            parked: Parked::default(),
            held: None,
            lease_at: now,
            due: now,
            trimmed: Place::default(),
            must_compare: false,
        })
    }

    /// Does what is due.
    async fn attend(&mut self) {
        self.due = Instant::now() + TICK;
        let was_up = self.reading.is_up();
        let can_read = self.reading.connect().await;
        // Redis may have been started again with less, or be another one.
        if !was_up {
            self.rewind();
        }
        self.keep_lease().await;
        if self.held.is_none() || !can_read || !self.control.connect().await {
            return;
        }
        // After a fail-over, one of them may still lead to what was the master.
        if self.reading.server() != self.control.server() {
            self.reading.forget();
            self.control.forget();
            return;
        }
        if self.origins.values().filter(|read| read.journal.take_rewind()).count() > 0 {
            self.rewind();
        }
        self.compare().await;
        self.tell().await;
    }

    /// Reads the stream from its beginning; what was delivered is known.
    fn rewind(&mut self) {
        self.cursor = Place::default();
        self.fetching = None;
        self.found.clear();
    }

    /// Redis numbers entries by its clock, unless they go on from others: behind a wipe, and a
    /// clock that was set back, new entries may stand before the cursor.
    async fn compare(&mut self) {
        if !std::mem::take(&mut self.must_compare) {
            return;
        }
        let mut commands = redis::pipe();
        commands.cmd("XREVRANGE").arg(&self.key).arg("+").arg("-").arg("COUNT").arg(1);
        let newest: RedisResult<(redis::streams::StreamRangeReply,)> =
            self.control.run(&commands).await;
        let newest = newest.ok().and_then(|(reply,)| reply.ids.first()?.id.parse::<Place>().ok());
        if newest.is_some_and(|newest| newest < self.cursor) {
            tracing::warn!(stream = self.key, "the stream was begun anew");
            self.rewind();
        }
    }

    /// Tells the relays what is committed and what is missing, and trims what is not needed.
    async fn tell(&mut self) {
        let (committed, wanted) = (self.name.key("committed"), self.name.key("wanted"));
        let mut commands = redis::pipe();
        let mut told_to = Vec::new();
        let mut all = self.parked.take_told();
        for (origin, read) in &self.origins {
            let Some(told) = read.journal.take_told() else { continue };
            all.push((*origin, told));
            told_to.push(read.journal.clone());
        }
        for (origin, told) in all {
            let origin = origin.to_string();
            if let Some(position) = told.committed {
                commands.cmd("HSET").arg(&committed).arg(&origin).arg(position).ignore();
            }
            match told.wanted {
                Some(place) => {
                    commands.cmd("HSET").arg(&wanted).arg(origin).arg(place.to_string()).ignore()
                }
                None => commands.cmd("HDEL").arg(&wanted).arg(origin).ignore(),
            };
        }
        // After what is committed was told: a relay that misses an entry must know why.
        let limit = self.trim_limit();
        if limit > self.trimmed {
            let limit = limit.to_string();
            commands.cmd("XTRIM").arg(&self.key).arg("MINID").arg(limit).ignore();
        }
        if commands.is_empty() {
            return;
        }
        match self.control.run::<()>(&commands).await {
            Ok(()) => self.trimmed = self.trimmed.max(limit),
            Err(_) => told_to.iter().for_each(|journal| journal.tell_again()),
        }
    }

    /// The first place that is still needed.
    fn trim_limit(&self) -> Place {
        let read = Place(self.cursor.0, self.cursor.1 + 1);
        let needed = self.origins.values().filter_map(|read| read.journal.oldest());
        let found = self.found.front().map(|found| found.place);
        needed.chain(found).fold(read, Place::min)
    }

    /// Hands on what was found, up to what must be waited for, and reads on.
    async fn go_on(&mut self) {
        while self.held.is_some()
            && self.sending.is_none()
            && let Some(found) = self.found.pop_front()
        {
            if self.parked.knows(&found.head) {
                continue;
            }
            if !self.make_room(found.head.origin) {
                self.found.push_front(found);
                return;
            }
            self.hand_on(found).await;
        }
        let is_free = self.held.is_some() && self.sending.is_none() && self.fetching.is_none();
        if is_free && let Some(mut connection) = self.reading.handle() {
            let (key, cursor) = (self.key.clone(), self.cursor.to_string());
            self.fetching = Some(Box::pin(async move {
                let mut command = redis::cmd("XREAD");
                command.arg("COUNT").arg(ENTRIES).arg("BLOCK").arg(BLOCK_MILLIS);
                command.arg("STREAMS").arg(key).arg(cursor).query_async(&mut connection).await
            }));
        }
    }

    /// Whether there can be a chain for `origin`.
    fn make_room(&mut self, origin: Origin) -> bool {
        if self.origins.contains_key(&origin) || self.origins.len() < MAX_ORIGINS {
            return true;
        }
        // One that waits for a relay, which may be gone for good, must not hold up others.
        let idle = self.origins.iter().filter(|(_, read)| read.journal.is_idle());
        let idle = idle.min_by_key(|(_, read)| read.journal.is_waiting());
        let Some(idle) = idle.map(|(origin, _)| *origin) else { return false };
        let journal = &self.origins[&idle].journal;
        if let Some(next) = journal.next() {
            self.parked.park(idle, next, journal.told());
        }
        self.forget(idle);
        true
    }

    async fn hand_on(&mut self, found: Found) {
        let Found { place, head, records } = found;
        if !self.origins.contains_key(&head.origin) {
            let journal = Arc::new(StreamJournal::new(head.origin));
            let chain = self.hub.chains.start(&self.name.environment, journal.clone()).await;
            let shown = (self.name.clone(), journal.clone());
            self.hub.origins.change(|origins| drop(origins.insert(head.origin, shown)));
            self.origins.insert(head.origin, Read { journal, chain });
        }
        let journal = &self.origins[&head.origin].journal;
        if let Taken::Deliver(block) = journal.take(place, &head, &records) {
            self.sending = Some(journal.entrance().into_send_async(block));
        }
    }

    fn fetched(&mut self, fetched: Fetched) {
        self.fetching = None;
        let reply = match fetched {
            Ok(reply) => reply.unwrap_or_default(),
            Err(error) => return self.reading.failed(&error),
        };
        self.must_compare = reply.keys.is_empty();
        for entry in reply.keys.into_iter().flat_map(|key| key.ids) {
            let Ok(place) = entry.id.parse::<Place>() else { continue };
            self.cursor = place;
            match read_fields(&entry) {
                Some((head, records)) => self.found.push_back(Found { place, head, records }),
                None => {
                    metrics::counter!("faultline_stream_damaged_entries_total").increment(1);
                    tracing::error!(stream = self.key, %place, "no relay wrote this entry; passed over");
                }
            }
        }
    }

    async fn finish(&mut self) {
        self.fetching = None;
        self.sending = None;
        self.found.clear();
        for read in self.origins.values() {
            read.chain.finish().await;
        }
        if self.held.is_some() && self.control.is_up() {
            self.tell().await;
        }
        if self.held.is_some() {
            // Where the store is away the lease runs out by itself.
            let _ = self.hub.store.release_stream(&self.name, self.hub.holder).await;
        }
        self.leave("it finishes");
        // Until it is stopped, it does not ask for it again.
        self.lease_at = Instant::now() + Duration::from_hours(1);
    }
}

fn read_fields(entry: &redis::streams::StreamId) -> Option<(Head, Vec<u8>)> {
    let head = Head {
        origin: entry.get::<String>("origin")?.parse().ok()?,
        first: entry.get("first")?,
        last: entry.get("last")?,
        kept: entry.get("kept")?,
    };
    Some((head, entry.get("records")?))
}

/// Polls what is there; never ready where nothing is.
async fn ready<F: Future + Unpin>(future: &mut Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// A stage that is started again after a panic starts chains of its own.
impl Drop for StreamReader {
    fn drop(&mut self) {
        self.leave("it ends");
    }
}

impl Actor for StreamReader {
    type Args = Self;
    type Error = Closed;

    fn name() -> &'static str {
        "stream_reader"
    }

    async fn on_start(reader: Self, _: ActorRef<Self>) -> Result<Self, Closed> {
        Ok(reader)
    }

    async fn next(
        &mut self,
        _: WeakActorRef<Self>,
        mailbox: &mut MailboxReceiver<Self>,
    ) -> Result<Option<Signal<Self>>, Closed> {
        loop {
            // What waits is kept in `self`, so that nothing is lost when another branch is taken.
            tokio::select! {
                biased;
                signal = mailbox.recv() => return Ok(signal),
                () = sleep_until(self.due) => self.attend().await,
                // A chain that is gone was killed, and its entries are somebody else's.
                _ = ready(&mut self.sending) => self.sending = None,
                fetched = ready(&mut self.fetching), if self.found.is_empty() => {
                    self.fetched(fetched);
                }
            }
            self.go_on().await;
        }
    }
}

impl Message<Finish> for StreamReader {
    type Reply = Result<(), Closed>;

    async fn handle(&mut self, _: Finish, _: &mut Context<Self, Self::Reply>) -> Self::Reply {
        self.finish().await;
        Ok(())
    }
}
