//! Parser: turns the records of a journal into batches of events.
//!
//! `blocks ──▶ parser ──▶ batches`
//!
//! When `batches` is full the parser waits, so pressure reaches the journal. A malformed message
//! becomes a rejected row; it never stops the stage. A record on which the parser panics is
//! rejected as a whole, and the records around it are parsed.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use bytesize::ByteSize;
use flume::{Receiver, Sender};
use kameo::{
    Actor,
    actor::{ActorRef, WeakActorRef},
    mailbox::{MailboxReceiver, Signal},
    message::{Context, Message},
};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

pub use self::live_rules::ByLiveRules;
use crate::{
    adapters::journal::Origin,
    domain::{
        batch::{Batch, RecordHead},
        parse::{self, Ending},
        record::{Block, Content, Meta, RecordRef},
    },
    stage::{Closed, Finish, Wake, wake},
};

mod live_rules;

/// Section `[parser]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The environment of events that name none.
    pub environment: String,
    /// A batch is handed on at the latest when it holds about so much.
    pub batch_bytes: ByteSize,
    /// How long a stack trace at the end of what was read may wait for its next lines.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub join_wait: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            environment: "production".to_owned(),
            batch_bytes: ByteSize::kib(192),
            join_wait: Duration::from_millis(250),
        }
    }
}

impl Settings {
    /// # Errors
    /// Names the key, and what would be right.
    pub fn validate(&self) -> Result<(), String> {
        if self.environment.is_empty() || self.environment.len() > 255 {
            return Err(format!(
                "environment = {:?}: a name of 1 to 255 bytes is needed",
                self.environment
            ));
        }
        if self.join_wait > Duration::from_secs(10) {
            return Err(format!(
                "join_wait = \"{:#}\": at most 10s is possible: whole batches wait with a trace",
                jiff::SignedDuration::try_from(self.join_wait).unwrap_or_default()
            ));
        }
        if self.batch_bytes.as_u64() == 0 || self.batch_bytes > ByteSize::mib(64) {
            return Err(format!(
                "batch_bytes = \"{}\": between 1 byte and 64 MiB is possible",
                self.batch_bytes
            ));
        }
        Ok(())
    }
}

/// The pure part of the stage; a seam, so that a test can make it panic.
pub trait Parse: Send + 'static {
    /// See [`parse::Parser::parse`].
    fn parse(&mut self, batch: &mut Batch, block: &Block) -> Ending;
    /// See [`parse::Parser::finish`].
    fn finish(&mut self, batch: &mut Batch);
    /// See [`parse::Parser::reset`].
    fn reset(&mut self);
}

impl Parse for parse::Parser {
    fn parse(&mut self, batch: &mut Batch, block: &Block) -> Ending {
        Self::parse(self, batch, block)
    }

    fn finish(&mut self, batch: &mut Batch) {
        Self::finish(self, batch);
    }

    fn reset(&mut self) {
        Self::reset(self);
    }
}

/// See the [module](self).
pub struct Parser {
    origin: Origin,
    input: Receiver<Block>,
    output: Sender<Arc<Batch>>,
    parse: Box<dyn Parse>,
    batch_bytes: usize,
    join_wait: Duration,
    batch: Batch,
    /// The blocks of `batch`, to parse them again one by one after a panic.
    blocks: Vec<Block>,
    deadline: Option<Instant>,
}

impl Parser {
    #[must_use]
    pub fn new(
        settings: &Settings,
        origin: Origin,
        parse: Box<dyn Parse>,
        input: Receiver<Block>,
        output: Sender<Arc<Batch>>,
    ) -> Self {
        Self {
            origin,
            input,
            output,
            parse,
            batch_bytes: usize::try_from(settings.batch_bytes.as_u64()).unwrap_or(usize::MAX),
            join_wait: settings.join_wait,
            batch: Batch::default(),
            blocks: Vec::new(),
            deadline: None,
        }
    }

    async fn process(&mut self, block: Block) -> Result<(), Closed> {
        if !self.goes_on_with(&block) {
            self.send().await?;
        }
        let started = std::time::Instant::now();
        let (parse, batch) = (&mut self.parse, &mut self.batch);
        let parsed = catch_unwind(AssertUnwindSafe(|| parse.parse(batch, &block)));
        self.blocks.push(block);
        let Ok(ending) = parsed else {
            return self.quarantine().await;
        };
        metrics::histogram!("faultline_parse_seconds").record(started.elapsed());
        if self.batch.bytes() >= self.batch_bytes {
            return self.send().await;
        }
        match ending {
            Ending::OpenTrace => {
                self.deadline.get_or_insert_with(|| Instant::now() + self.join_wait);
                Ok(())
            }
            // With more at hand the batch grows, for the store's sake.
            Ending::Complete if !self.input.is_empty() => Ok(()),
            Ending::Complete => self.send().await,
        }
    }

    /// Whether `block` is what follows in the journal. Otherwise it is read again from elsewhere, and
    /// what was under way may be stored as well: a batch with both could hold a record twice.
    fn goes_on_with(&self, block: &Block) -> bool {
        let first = block.records.first().map(|record| record.sequence);
        self.batch.is_empty() || first.is_none_or(|first| first == self.batch.last + 1)
    }

    /// Hands the batch on.
    async fn send(&mut self) -> Result<(), Closed> {
        self.deadline = None;
        if self.batch.is_empty() {
            return Ok(());
        }
        let (parse, batch) = (&mut self.parse, &mut self.batch);
        if catch_unwind(AssertUnwindSafe(|| parse.finish(batch))).is_err() {
            return self.quarantine().await;
        }
        self.blocks.clear();
        let batch = std::mem::take(&mut self.batch);
        self.hand_on(batch).await
    }

    async fn hand_on(&mut self, mut batch: Batch) -> Result<(), Closed> {
        batch.origin = self.origin;
        count(&batch);
        Ok(self.output.send_async(Arc::new(batch)).await?)
    }

    /// Something in the current batch makes the parser panic: parses its records one by one, and
    /// rejects those on which it panics again.
    async fn quarantine(&mut self) -> Result<(), Closed> {
        self.deadline = None;
        self.batch = Batch::default();
        self.parse.reset();
        for block in std::mem::take(&mut self.blocks) {
            for record in &block.records {
                let single = single(&block, record);
                let parse = &mut self.parse;
                let parsed = catch_unwind(AssertUnwindSafe(|| {
                    let mut batch = Batch::default();
                    parse.parse(&mut batch, &single);
                    parse.finish(&mut batch);
                    batch
                }));
                let batch = parsed.unwrap_or_else(|_| {
                    self.parse.reset();
                    poisoned(&single)
                });
                self.hand_on(batch).await?;
            }
        }
        Ok(())
    }
}

/// A block of one record.
fn single(block: &Block, record: &RecordRef) -> Block {
    let mut bytes = Vec::new();
    let mut copy = |range: &std::ops::Range<usize>| {
        let start = bytes.len();
        bytes.extend_from_slice(&block.bytes[range.clone()]);
        start..bytes.len()
    };
    let content = match &record.content {
        Content::Body { meta, body } => Content::Body { meta: copy(meta), body: copy(body) },
        Content::Damaged { bytes } => Content::Damaged { bytes: copy(bytes) },
        Content::Duplicate => Content::Duplicate,
    };
    Block { bytes: bytes.into(), records: vec![RecordRef { content, ..record.clone() }] }
}

/// The record, rejected as a whole.
fn poisoned(block: &Block) -> Batch {
    let mut batch = Batch::default();
    let placed = batch.place(&block.bytes);
    for record in &block.records {
        tracing::error!(
            sequence = record.sequence,
            source = record.source.name(),
            "the parser panicked on this record; it is kept as rejected"
        );
        metrics::counter!("faultline_parser_panics_total").increment(1);
        batch.start_record(RecordHead::of(record), record.messages);
        let body = match &record.content {
            Content::Body { meta, body } => {
                let meta = Meta::decode(&block.bytes[meta.clone()]);
                if let Some(id) = meta.and_then(|meta| meta.replay) {
                    batch.replays(id);
                }
                &block.bytes[body.clone()]
            }
            Content::Damaged { bytes } => &block.bytes[bytes.clone()],
            Content::Duplicate => &[],
        };
        let reason = "the parser panicked on this record".to_owned();
        batch.reject(placed.span(body), body.len() as u64, record.messages, reason);
    }
    batch
}

fn count(batch: &Batch) {
    let mut by_kind = [0u64; crate::domain::event::Kind::ALL.len()];
    for event in &batch.events {
        by_kind[event.kind as usize] += 1;
    }
    for (kind, count) in crate::domain::event::Kind::ALL.into_iter().zip(by_kind) {
        if count > 0 {
            metrics::counter!("faultline_events_total", "kind" => kind.name()).increment(count);
        }
    }
    if batch.upstream_dropped > 0 {
        metrics::counter!("faultline_upstream_dropped_total").increment(batch.upstream_dropped);
    }
}

impl Actor for Parser {
    type Args = Self;
    type Error = Closed;

    fn name() -> &'static str {
        "parser"
    }

    async fn on_start(parser: Self, _: ActorRef<Self>) -> Result<Self, Closed> {
        Ok(parser)
    }

    async fn next(
        &mut self,
        _: WeakActorRef<Self>,
        mailbox: &mut MailboxReceiver<Self>,
    ) -> Result<Option<Signal<Self>>, Closed> {
        loop {
            match wake(&self.input, mailbox, self.deadline).await {
                Wake::Item(block) => self.process(block).await?,
                Wake::Deadline => self.send().await?,
                Wake::Signal(signal) => return Ok(signal),
            }
        }
    }
}

impl Message<Finish> for Parser {
    type Reply = Result<(), Closed>;

    async fn handle(&mut self, _: Finish, _: &mut Context<Self, Self::Reply>) -> Self::Reply {
        while let Ok(block) = self.input.try_recv() {
            self.process(block).await?;
        }
        self.send().await
    }
}

#[cfg(test)]
mod tests {
    use kameo::actor::Spawn;

    use super::*;
    use crate::domain::{event::Source, record::RejectedId};

    struct Fragile(parse::Parser);

    impl Parse for Fragile {
        fn parse(&mut self, batch: &mut Batch, block: &Block) -> Ending {
            let is_poison = block.bytes.windows(6).any(|window| window == b"poison");
            let ending = self.0.parse(batch, block);
            assert!(!is_poison, "as the test wants it");
            ending
        }

        fn finish(&mut self, batch: &mut Batch) {
            self.0.finish(batch);
        }

        fn reset(&mut self) {
            self.0.reset();
        }
    }

    fn block(sequence: u64, message: &str) -> Block {
        block_of(sequence, message, None)
    }

    fn block_of(sequence: u64, message: &str, replay: Option<RejectedId>) -> Block {
        let meta = Meta { replay, ..Meta::default() }.encode();
        let body = format!(r#"{{"message":"{message}"}}"#);
        let records = vec![RecordRef {
            sequence,
            received_at: 0,
            source: Source::Errors,
            messages: 1,
            content: Content::Body {
                meta: 0..meta.len(),
                body: meta.len()..meta.len() + body.len(),
            },
        }];
        Block { bytes: [&meta, body.as_bytes()].concat().into(), records }
    }

    fn lines(sequence: u64, lines: &[&str]) -> Block {
        let mut body = String::new();
        for line in lines {
            let frame = format!("<190>1 2026-11-22T03:00:00Z host app web.1 - {line}");
            body.push_str(&format!("{} {frame}", frame.len()));
        }
        let mut block = block(sequence, "");
        let meta = Meta::default().encode();
        block.bytes = [&meta, body.as_bytes()].concat().into();
        block.records[0].source = Source::Logdrains;
        block.records[0].messages = u32::try_from(lines.len()).unwrap();
        block.records[0].content =
            Content::Body { meta: 0..meta.len(), body: meta.len()..block.bytes.len() };
        block
    }

    #[tokio::test(start_paused = true)]
    async fn a_poisonous_record_is_rejected_by_itself() {
        let (blocks, input) = flume::bounded(10);
        let (output, batches) = flume::bounded(10);
        // The first record waits for its next lines, so that all three share a batch.
        let replay = Some(RejectedId { id: 7, received_at: 1 });
        let poison = block_of(2, "poison", replay);
        for block in [lines(1, &["Error: boom"]), poison, block(3, "good")] {
            blocks.send(block).unwrap();
        }
        let fragile = Box::new(Fragile(parse::Parser::new("test", Arc::default())));
        let parser = Parser::new(&Settings::default(), Origin::nil(), fragile, input, output);
        let parser = Parser::spawn(parser);
        parser.ask(Finish).await.unwrap();
        let outcome: Vec<_> = batches
            .drain()
            .flat_map(|batch| {
                let replay = batch.replayed.first().map(|(_, id)| *id);
                (batch.first..=batch.last)
                    .map(move |sequence| (sequence, batch.rejected.len(), replay))
                    .collect::<Vec<_>>()
            })
            .collect();
        assert_eq!(outcome, [(1, 0, None), (2, 1, replay), (3, 0, None)]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_read_again_is_a_batch_of_its_own() {
        let (blocks, input) = flume::bounded(10);
        let (output, batches) = flume::bounded(10);
        // All are at hand at once, and the second waits for its next lines.
        let waiting = lines(2, &["Error: boom"]);
        for block in [block(1, "one"), waiting, block(1, "one"), block(2, "two")] {
            blocks.send(block).unwrap();
        }
        let parse = Box::new(parse::Parser::new("test", Arc::default()));
        let parser =
            Parser::spawn(Parser::new(&Settings::default(), Origin::nil(), parse, input, output));
        parser.ask(Finish).await.unwrap();
        let outcome: Vec<_> =
            batches.drain().map(|it| (it.first, it.last, it.records.len())).collect();
        assert_eq!(outcome, [(1, 2, 2), (1, 2, 2)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_trace_waits_for_its_next_lines_but_not_for_ever() {
        let (blocks, input) = flume::bounded(10);
        let (output, batches) = flume::bounded(10);
        let parse = Box::new(parse::Parser::new("test", Arc::default()));
        let _parser =
            Parser::spawn(Parser::new(&Settings::default(), Origin::nil(), parse, input, output));
        let started = Instant::now();
        blocks.send_async(lines(1, &["Error: boom"])).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(batches.is_empty());
        blocks.send_async(lines(2, &["    at f (/a.js:1:2)"])).await.unwrap();
        let batch = batches.recv_async().await.unwrap();
        assert_eq!((batch.first, batch.last, batch.events.len()), (1, 2, 1));
        assert_eq!(started.elapsed().as_millis() / 10, 25, "the wait begins with the first line");
        blocks.send_async(lines(3, &["all is well"])).await.unwrap();
        let batch = batches.recv_async().await.unwrap();
        assert_eq!((batch.first, started.elapsed().as_millis() / 10), (3, 25), "at once");
    }
}
