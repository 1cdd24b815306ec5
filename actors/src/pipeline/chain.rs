//! The stages behind one journal: parser, fan-out, batch writer. The spool has them, and each origin
//! of a stream.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use flume::Sender;
use kameo::actor::{ActorRef, Spawn};
use tokio::sync::watch;

use super::{BATCHES, Channel, Supervisor, TO_WRITER, channel, supervise};
use crate::{
    adapters::{
        journal::{Readable, stream::journal::StreamJournal},
        store::Store,
    },
    batch_writer::{self, BatchWriter},
    domain::{batch::Batch, fault::FaultId, ledger::Ledger, parse, rule::Rules},
    fan_out::FanOut,
    parser::{self, ByLiveRules, Parser},
    stage::{Finish, Live, Notices},
    stream_reader::{Chain, Chains},
};

/// What the stages are made from; all of them share the way to the metrics aggregator and to
/// dispatch.
pub(super) struct Spawner {
    pub parser: parser::Settings,
    pub batch_writer: batch_writer::Settings,
    pub rules: Live<Arc<Rules>>,
    pub store: Arc<dyn Store>,
    pub counters: Arc<batch_writer::Counters>,
    pub met: Notices<Vec<FaultId>>,
    pub aggregator: Sender<Arc<Batch>>,
    pub broken: watch::Sender<Option<String>>,
}

/// The running stages behind a journal.
pub(super) struct Stages {
    parser: ActorRef<Parser>,
    fan_out: ActorRef<FanOut>,
    batch_writer: ActorRef<BatchWriter>,
    /// Between them.
    pub(super) channels: Vec<Channel>,
}

impl Spawner {
    /// Starts the stages behind `journal`, whose records `parse` makes parsers for.
    pub(super) async fn start_stages(
        &self,
        supervisor: &ActorRef<Supervisor>,
        journal: Arc<dyn Readable>,
        ledger: Arc<Mutex<Ledger>>,
        parse: impl Fn(Arc<Rules>) -> parse::Parser + Send + Sync + 'static,
    ) -> Stages {
        let (parser_out, fan_out_in) = flume::bounded::<Arc<Batch>>(BATCHES);
        let (writer_out, writer_in) = flume::bounded::<Arc<Batch>>(TO_WRITER);
        let channels = vec![
            channel("fan_out", BATCHES, &fan_out_in),
            channel("batch_writer", TO_WRITER, &writer_in),
        ];
        let parser = {
            let (settings, origin, blocks) =
                (self.parser.clone(), journal.origin(), journal.blocks());
            let rules = self.rules.clone();
            let make = move || {
                Parser::new(
                    &settings,
                    origin,
                    Box::new(ByLiveRules::new(rules.clone(), &parse)),
                    blocks.clone(),
                    parser_out.clone(),
                )
            };
            supervise::<Parser>(supervisor, make).await
        };
        let fan_out = {
            let fan_out = FanOut::new(fan_out_in, vec![writer_out, self.aggregator.clone()]);
            supervise::<FanOut>(supervisor, move || fan_out.clone()).await
        };
        let batch_writer = {
            let (settings, store, counters, met) = (
                self.batch_writer.clone(),
                self.store.clone(),
                self.counters.clone(),
                self.met.clone(),
            );
            let make = move || {
                BatchWriter::new(
                    settings.clone(),
                    writer_in.clone(),
                    journal.clone(),
                    store.clone(),
                    ledger.clone(),
                    counters.clone(),
                    met.clone(),
                )
            };
            supervise::<BatchWriter>(supervisor, make).await
        };
        Stages { parser, fan_out, batch_writer, channels }
    }
}

impl Stages {
    /// Has each stage work through its input, in the order of the flow.
    pub(super) async fn finish(&self) {
        // An error says that the stage is gone already.
        let _ = self.parser.ask(Finish).await;
        let _ = self.fan_out.ask(Finish).await;
        let _ = self.batch_writer.ask(Finish).await;
    }

    pub(super) fn kill(&self) {
        self.parser.kill();
        self.fan_out.kill();
        self.batch_writer.kill();
    }
}

/// The stages behind an origin of a stream.
struct OfOrigin {
    /// One of its own, so that nobody starts again what was ended on purpose.
    supervisor: ActorRef<Supervisor>,
    stages: Stages,
}

#[async_trait]
impl Chains for Spawner {
    async fn start(&self, environment: &str, journal: Arc<StreamJournal>) -> Box<dyn Chain> {
        let supervisor = Supervisor::spawn(Supervisor { broken: self.broken.clone() });
        let environment = environment.to_owned();
        let parse = move |rules| parse::Parser::of_environment(&environment, rules);
        let ledger = journal.ledger();
        let stages = self.start_stages(&supervisor, journal, ledger, parse).await;
        Box::new(OfOrigin { supervisor, stages })
    }
}

#[async_trait]
impl Chain for OfOrigin {
    async fn finish(&self) {
        self.stages.finish().await;
    }

    fn kill(&self) {
        self.supervisor.kill();
        self.stages.kill();
    }
}
