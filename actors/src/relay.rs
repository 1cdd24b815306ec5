//! Relay: hands over what is in the spool to a hub, by a stream in Redis.
//!
//! `blocks ──▶ relay ──entries──▶ stream`, and `committed, wanted ──▶ relay ──▶ the spool forgets`
//!
//! When the stream is full or Redis is away the relay takes no blocks: the spool grows up to its
//! bound, and then clients are refused. The spool forgets only what hubs have committed, never
//! what was merely handed over: what has gone from the stream before that is sent again, and so is
//! whatever a hub says that it waits for.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use flume::Receiver;
use kameo::{
    Actor,
    actor::{ActorRef, WeakActorRef},
    mailbox::{MailboxReceiver, Signal},
    message::{Context, Message},
};
use redis::{RedisResult, streams::StreamRangeReply};
use tokio::time::Instant;

use crate::{
    adapters::journal::{
        Readable,
        spool::Spool,
        stream::{
            Name, Place, Settings, Status, Wanted,
            format::{Entry, Gathering},
            link::Link,
            sent::{Sent, SentEntry},
        },
    },
    domain::{
        event::Source,
        ledger::{Ledger, Tally},
        record::Block,
        retry::Backoff,
    },
    stage::{Closed, Finish, Wake, wait, wake},
};

/// How often the hubs' answers are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Without progress for so long, the relay looks whether the stream still has what it was given.
const CHECK_AFTER: Duration = Duration::from_secs(1);
/// About as many bytes go to Redis in one round trip.
const PIPELINE: usize = 1 << 20;

/// See the [module](self).
pub struct Relay {
    settings: Settings,
    name: Name,
    input: Receiver<Block>,
    spool: Arc<Spool>,
    ledger: Arc<Mutex<Ledger>>,
    status: Arc<Status>,
    link: Link,
    /// The next sequence to hand over; `None` until Redis was asked what is committed.
    next: Option<u64>,
    gathering: Gathering,
    /// Sealed, and not known to be in the stream.
    unsent: VecDeque<Entry>,
    sent: Sent,
    /// By the last look.
    entries: u64,
    progress_at: Instant,
    /// What was last sent again: from where, and when that may be done once more.
    again: (u64, Instant),
    patience: Backoff,
    due: Instant,
}

/// What Redis knows of this origin.
struct Look {
    committed: u64,
    wanted: Option<Wanted>,
    entries: u64,
}

impl Relay {
    /// # Errors
    /// When the settings name no Redis.
    pub fn new(
        settings: Settings,
        spool: Arc<Spool>,
        ledger: Arc<Mutex<Ledger>>,
        status: Arc<Status>,
    ) -> Result<Self, String> {
        let name = Name::of(&settings, spool.origin());
        let link = Link::new(&settings, &name, "handing over", status.clone())?;
        let now = Instant::now();
        let patience = Backoff::new(settings.retry_first, settings.retry_cap);
        Ok(Self {
            settings,
            name,
            input: spool.blocks(),
            spool,
            ledger,
            status,
            link,
            next: None,
            gathering: Gathering::default(),
            unsent: VecDeque::new(),
            sent: Sent::default(),
            entries: 0,
            progress_at: now,
            again: (0, now),
            patience,
            due: now,
        })
    }

    /// Whether blocks are welcome.
    fn has_room(&self) -> bool {
        self.next.is_some()
            && self.link.is_up()
            && self.unsent.is_empty()
            && self.entries < self.settings.max_entries
            && self.sent.bytes() < self.settings.max_bytes.as_u64()
    }

    /// Does what is due.
    async fn attend(&mut self) {
        self.due = Instant::now() + LOOK_EVERY;
        if self.link.connect().await {
            if let Some(look) = self.look().await {
                self.heed(&look).await;
            }
            self.send().await;
        }
        self.note();
    }

    /// Asks Redis what it knows of this origin.
    async fn look(&mut self) -> Option<Look> {
        let origin = self.spool.origin().to_string();
        let mut commands = redis::pipe();
        commands.cmd("HGET").arg(self.name.key("committed")).arg(&origin);
        commands.cmd("HGET").arg(self.name.key("wanted")).arg(&origin);
        commands.cmd("XLEN").arg(self.name.key("stream"));
        let reply: RedisResult<(Option<u64>, Option<String>, u64)> = self.link.run(&commands).await;
        let (committed, wanted, entries) = reply.ok()?;
        let wanted = wanted.and_then(|text| text.parse().ok());
        Some(Look { committed: committed.unwrap_or(0), wanted, entries })
    }

    async fn heed(&mut self, look: &Look) {
        self.entries = look.entries;
        if self.stops_as_older_copy(look.committed) {
            return;
        }
        if self.next.is_none() {
            self.begin(look.committed);
            return;
        }
        let done = self.sent.committed(look.committed);
        if done.iter().any(|messages| *messages > 0) {
            self.progress_at = Instant::now();
        }
        self.settle(done);
        self.catch_up(look.committed);
        self.spool.acknowledge(look.committed);
        if let Some(wanted) = look.wanted {
            let sequence = wanted.sequence.max(self.spool.first_kept());
            let is_behind = self.next.is_some_and(|next| sequence < next);
            if is_behind && !self.sent.brings(Wanted { sequence, ..wanted }) {
                self.send_again(sequence, "a hub waits for it");
                return;
            }
        }
        if self.progress_at.elapsed() >= CHECK_AFTER {
            self.progress_at = Instant::now();
            self.check().await;
        }
    }

    /// What is committed need not be handed over, and the spool forgets it: whoever went on reading
    /// it would take that for damage.
    fn catch_up(&mut self, committed: u64) {
        let is_behind = self.next.is_some_and(|next| next <= committed);
        if is_behind {
            self.read_from(committed + 1);
            tracing::info!(from = committed + 1, "hubs have committed what was being read again");
        }
    }

    /// Whether more is committed than this spool ever gave. To go on would have new records taken for
    /// old ones, and skipped: nothing is handed over any more, and nothing forgotten. Where Redis had
    /// forgotten what is committed, that shows only when a hub tells it again.
    fn stops_as_older_copy(&mut self, committed: u64) -> bool {
        let is_older = self.status.finds_older_copy(committed, self.spool.recovered());
        if is_older {
            self.next = None;
            self.gathering = Gathering::default();
            self.unsent.clear();
        }
        is_older
    }

    /// Starts behind what is committed.
    fn begin(&mut self, committed: u64) {
        self.spool.acknowledge(committed);
        let from = (committed + 1).max(self.spool.first_kept());
        self.read_from(from);
        tracing::info!(from, stream = self.name.key("stream"), "handing over");
    }

    fn read_from(&mut self, sequence: u64) {
        self.gathering = Gathering::default();
        self.unsent.clear();
        self.next = Some(sequence);
        let base = self.sent.first().unwrap_or(sequence);
        if let Err(error) = self.spool.restart_ledger(base - 1) {
            tracing::error!(%error, "cannot read the spool; the ledger is not what it should be");
        }
        self.spool.read_after(sequence - 1);
    }

    /// The messages of entries that are committed as a whole.
    fn settle(&self, done: [u64; Source::COUNT]) {
        let tallies =
            done.map(|count| Tally { received: count, stored: count, ..Tally::default() });
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner).settle(&tallies);
    }

    /// Sends again from `sequence` on; the same one ever more rarely, should that not help.
    fn send_again(&mut self, sequence: u64, why: &str) {
        let now = Instant::now();
        if self.again.0 != sequence {
            self.patience.reset();
        } else if now < self.again.1 {
            return;
        }
        self.again = (sequence, now + self.patience.next_wait(fastrand::f64()));
        let from = self.sent.rewind(sequence);
        tracing::info!(from, why, "sending records again");
        metrics::counter!("faultline_stream_resends_total").increment(1);
        self.read_from(from);
    }

    /// Looks whether the stream still holds what it was given. Asks for the entries first: one
    /// that is gone because it was committed is then known as committed.
    async fn check(&mut self) {
        let Some(ends) = self.sent.ends() else { return };
        let stream = self.name.key("stream");
        let mut commands = redis::pipe();
        for place in ends {
            let place = place.to_string();
            commands.cmd("XRANGE").arg(&stream).arg(&place).arg(&place).arg("COUNT").arg(1);
        }
        let reply: RedisResult<(StreamRangeReply, StreamRangeReply)> =
            self.link.run(&commands).await;
        let Ok((oldest, newest)) = reply else { return };
        if !oldest.ids.is_empty() && !newest.ids.is_empty() {
            return;
        }
        let Some(look) = self.look().await else { return };
        if self.stops_as_older_copy(look.committed) {
            return;
        }
        self.settle_committed(look.committed);
        if self.sent.ends().is_some_and(|now| now[0] == ends[0] || now[1] == ends[1]) {
            let first = self.sent.first().unwrap_or(look.committed + 1);
            self.send_again(first, "Redis has lost it");
        }
    }

    fn settle_committed(&mut self, committed: u64) {
        let done = self.sent.committed(committed);
        self.settle(done);
        self.spool.acknowledge(committed);
    }

    /// Takes a block, and what else is there up to one round trip, and hands it over.
    async fn take(&mut self, block: Block) {
        let mut bytes = block.bytes.len();
        self.gather(&block);
        while bytes < PIPELINE
            && let Ok(block) = self.input.try_recv()
        {
            bytes += block.bytes.len();
            self.gather(&block);
        }
        self.seal();
        self.send().await;
        self.note();
    }

    /// Adds the records of a block that are next; others are of before a rewind.
    fn gather(&mut self, block: &Block) {
        let longest = usize::try_from(self.settings.entry_bytes.as_u64()).unwrap_or(usize::MAX);
        for record in &block.records {
            if self.next != Some(record.sequence) {
                continue;
            }
            self.gathering.push(block, record);
            self.next = Some(record.sequence + 1);
            if self.gathering.len() >= longest {
                self.seal();
            }
        }
    }

    fn seal(&mut self) {
        if !self.gathering.is_empty() {
            let kept = self.spool.first_kept();
            let entry = self.gathering.seal(self.spool.origin(), kept, self.settings.compress);
            self.unsent.push_back(entry);
        }
    }

    /// Adds what is sealed to the stream. After a failure nobody knows what of it is there: it is
    /// added again, and hubs recognise it.
    async fn send(&mut self) {
        let Some(newest) = self.unsent.back().filter(|_| self.link.is_up()) else { return };
        // Also after a failure it may have arrived.
        self.status.hands_over(newest.head.last);
        let stream = self.name.key("stream");
        let mut commands = redis::pipe();
        for Entry { head, records, .. } in &self.unsent {
            commands.cmd("XADD").arg(&stream).arg("*").arg("origin").arg(head.origin.to_string());
            commands.arg("first").arg(head.first).arg("last").arg(head.last);
            commands.arg("kept").arg(head.kept).arg("records").arg(records.as_slice());
        }
        let Ok(places) = self.link.run::<Vec<String>>(&commands).await else { return };
        if self.sent.is_empty() {
            self.progress_at = Instant::now();
        }
        let entries = std::mem::take(&mut self.unsent);
        self.entries += entries.len() as u64;
        metrics::counter!("faultline_stream_entries_total").increment(entries.len() as u64);
        for (Entry { head, messages, records }, place) in entries.into_iter().zip(places) {
            metrics::counter!("faultline_stream_bytes_total").increment(records.len() as u64);
            let place = place.parse::<Place>().unwrap_or_default();
            self.sent.push(SentEntry::new(place, &head, records.len(), messages));
        }
    }

    /// Lets health and metrics know.
    fn note(&self) {
        let is_full = self.next.is_some() && self.link.is_up() && !self.has_room();
        let waiting = is_full.then(|| {
            let bytes = bytesize::ByteSize(self.sent.bytes());
            format!("the stream is full: {} entries, {bytes} not committed by a hub", self.entries)
        });
        self.status.note(|state| {
            state.looks += 1;
            state.outstanding_bytes = self.sent.bytes();
            state.outstanding = self.sent.messages();
            if self.next.is_some() {
                state.waiting = waiting;
            }
        });
    }
}

impl Actor for Relay {
    type Args = Self;
    type Error = Closed;

    fn name() -> &'static str {
        "relay"
    }

    async fn on_start(relay: Self, _: ActorRef<Self>) -> Result<Self, Closed> {
        Ok(relay)
    }

    async fn next(
        &mut self,
        _: WeakActorRef<Self>,
        mailbox: &mut MailboxReceiver<Self>,
    ) -> Result<Option<Signal<Self>>, Closed> {
        loop {
            let woken = if self.has_room() {
                wake(&self.input, mailbox, Some(self.due)).await
            } else {
                wait(mailbox, self.due).await
            };
            match woken {
                Wake::Item(block) => self.take(block).await,
                Wake::Deadline => self.attend().await,
                Wake::Signal(signal) => return Ok(signal),
            }
        }
    }
}

impl Message<Finish> for Relay {
    type Reply = Result<(), Closed>;

    /// Looks once more; what is not handed over stays in the spool.
    async fn handle(&mut self, _: Finish, _: &mut Context<Self, Self::Reply>) -> Self::Reply {
        self.attend().await;
        Ok(())
    }
}
