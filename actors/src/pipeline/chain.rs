//! The stages behind one origin of a stream: those that the spool has, over again.

use std::sync::Arc;

use async_trait::async_trait;
use flume::Sender;
use kameo::actor::{ActorRef, Spawn};
use tokio::sync::watch;

use super::{BATCHES, Supervisor, TO_WRITER, supervise};
use crate::{
    adapters::{
        journal::{Readable, stream::journal::StreamJournal},
        store::Store,
    },
    batch_writer::{self, BatchWriter},
    domain::{batch::Batch, fault::FaultId, parse, rule::Rules},
    fan_out::FanOut,
    parser::{self, Parser},
    stage::{Finish, Notices},
    stream_reader::{Chain, Chains},
};

/// What chains are made from; they share the way to the metrics aggregator and to dispatch.
pub(super) struct Spawner {
    pub parser: parser::Settings,
    pub batch_writer: batch_writer::Settings,
    pub rules: Arc<Rules>,
    pub store: Arc<dyn Store>,
    pub counters: Arc<batch_writer::Counters>,
    pub met: Notices<Vec<FaultId>>,
    pub aggregator: Sender<Arc<Batch>>,
    pub broken: watch::Sender<Option<String>>,
}

struct Stages {
    supervisor: ActorRef<Supervisor>,
    parser: ActorRef<Parser>,
    fan_out: ActorRef<FanOut>,
    batch_writer: ActorRef<BatchWriter>,
}

#[async_trait]
impl Chains for Spawner {
    async fn start(&self, environment: &str, journal: Arc<StreamJournal>) -> Box<dyn Chain> {
        let (parser_out, fan_out_in) = flume::bounded::<Arc<Batch>>(BATCHES);
        let (writer_out, writer_in) = flume::bounded::<Arc<Batch>>(TO_WRITER);
        // One of its own, so that nobody starts again what was ended on purpose.
        let supervisor = Supervisor::spawn(Supervisor { broken: self.broken.clone() });
        let parser = {
            let (settings, rules, blocks) =
                (self.parser.clone(), self.rules.clone(), journal.blocks());
            let environment = environment.to_owned();
            let make = move || {
                let parse = parse::Parser::of_environment(&environment, rules.clone());
                Parser::new(&settings, Box::new(parse), blocks.clone(), parser_out.clone())
            };
            supervise::<Parser>(&supervisor, make).await
        };
        let fan_out = {
            let fan_out = FanOut::new(fan_out_in, vec![writer_out, self.aggregator.clone()]);
            supervise::<FanOut>(&supervisor, move || fan_out.clone()).await
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
                    journal.ledger(),
                    counters.clone(),
                    met.clone(),
                )
            };
            supervise::<BatchWriter>(&supervisor, make).await
        };
        Box::new(Stages { supervisor, parser, fan_out, batch_writer })
    }
}

#[async_trait]
impl Chain for Stages {
    async fn finish(&self) {
        // An error says that the stage is gone already.
        let _ = self.parser.ask(Finish).await;
        let _ = self.fan_out.ask(Finish).await;
        let _ = self.batch_writer.ask(Finish).await;
    }

    fn kill(&self) {
        self.supervisor.kill();
        self.parser.kill();
        self.fan_out.kill();
        self.batch_writer.kill();
    }
}
