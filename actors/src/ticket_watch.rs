//! Ticket watch: learns what people do with tickets in Jira.
//!
//! `Jira's changed tickets ──▶ ticket watch ──▶ tickets in the store`
//!
//! Asks from time to time which of Faultline's tickets were changed lately, looking back further
//! than since the last time, for a search may lag behind. What it misses while Jira or this process
//! is away it catches up with by looking back as far as that was. Faults whose ticket's state has
//! changed are decided about when they are met next.

use std::{sync::Arc, time::Duration};

use kameo::{
    Actor,
    actor::{ActorRef, WeakActorRef},
    mailbox::{MailboxReceiver, Signal},
    message::{Context, Message},
};
use tokio::time::Instant;

use crate::{
    adapters::{
        jira::{COMMON_LABEL, Jira},
        store::{Store, jobs::SeenTicket},
    },
    stage::{Closed, Finish, Wake, wait},
};

/// At the start it is not known how long nobody has looked.
const FIRST_LOOK: Duration = Duration::from_hours(24 * 7);

/// What the stage needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How often it asks.
    pub every: Duration,
    /// How far a search may lag behind.
    pub settle: Duration,
}

/// See the [module](self).
pub struct TicketWatch {
    settings: Settings,
    jira: Arc<Jira>,
    store: Arc<dyn Store>,
    asked: Option<Instant>,
    ask_at: Instant,
}

impl TicketWatch {
    #[must_use]
    pub fn new(settings: Settings, jira: Arc<Jira>, store: Arc<dyn Store>) -> Self {
        Self { settings, jira, store, asked: None, ask_at: Instant::now() }
    }

    async fn ask(&mut self) {
        let now = Instant::now();
        // Not all hubs at the same moment.
        self.ask_at = now + self.settings.every.mul_f64(0.9 + 0.2 * fastrand::f64());
        let since = self.asked.map_or(FIRST_LOOK, |asked| {
            now.duration_since(asked) + self.settings.settle + Duration::from_mins(1)
        });
        let outcome = match self.jira.changed(since, COMMON_LABEL).await {
            Ok(seen) => {
                let seen: Vec<SeenTicket> = seen.into_iter().map(SeenTicket::from).collect();
                self.store.tickets_seen(&seen).await.map_err(|error| error.to_string())
            }
            Err(failure) => Err(failure.to_string()),
        };
        match outcome {
            Ok(changed) => {
                self.asked = Some(now);
                metrics::counter!("faultline_ticket_changes_total").increment(changed);
            }
            Err(error) => {
                tracing::warn!(error, "cannot learn how tickets stand; asking again later");
            }
        }
    }
}

impl Actor for TicketWatch {
    type Args = Self;
    type Error = Closed;

    fn name() -> &'static str {
        "ticket_watch"
    }

    async fn on_start(watch: Self, _: ActorRef<Self>) -> Result<Self, Closed> {
        Ok(watch)
    }

    async fn next(
        &mut self,
        _: WeakActorRef<Self>,
        mailbox: &mut MailboxReceiver<Self>,
    ) -> Result<Option<Signal<Self>>, Closed> {
        loop {
            match wait::<(), Self>(mailbox, self.ask_at).await {
                Wake::Item(()) | Wake::Deadline => self.ask().await,
                Wake::Signal(signal) => return Ok(signal),
            }
        }
    }
}

impl Message<Finish> for TicketWatch {
    type Reply = Result<(), Closed>;

    async fn handle(&mut self, _: Finish, _: &mut Context<Self, Self::Reply>) -> Self::Reply {
        Ok(())
    }
}
