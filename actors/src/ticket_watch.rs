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
use tokio::{sync::watch, time::Instant};

use crate::{
    adapters::{
        jira::{self, COMMON_LABEL, Jira},
        store::{Store, jobs::SeenTicket},
    },
    stage::{Closed, Finish, Live, Wake, wait},
};

/// At the start it is not known how long nobody has looked.
const FIRST_LOOK: Duration = Duration::from_hours(24 * 7);

/// See the [module](self).
pub struct TicketWatch {
    settings: Live<Arc<jira::Settings>>,
    /// Says when they change.
    changes: watch::Receiver<Arc<jira::Settings>>,
    jira: Arc<Jira>,
    store: Arc<dyn Store>,
    asked: Option<Instant>,
    /// `None` while it is not to ask.
    ask_at: Option<Instant>,
}

impl TicketWatch {
    #[must_use]
    pub fn new(
        settings: Live<Arc<jira::Settings>>,
        jira: Arc<Jira>,
        store: Arc<dyn Store>,
    ) -> Self {
        let asks = !settings.get().poll_every.is_zero();
        let ask_at = asks.then(Instant::now);
        Self { changes: settings.watch(), settings, jira, store, asked: None, ask_at }
    }

    /// When to ask next.
    fn next_time(&self) -> Option<Instant> {
        let every = self.settings.get().poll_every;
        // Not all hubs at the same moment.
        let wait = every.mul_f64(0.9 + 0.2 * fastrand::f64());
        (!every.is_zero()).then(|| Instant::now() + wait)
    }

    /// Goes by the settings as they are now; whoever changes them often does not put it off.
    fn plan_again(&mut self) {
        let next = self.next_time();
        self.ask_at = next.map(|next| self.ask_at.map_or(next, |planned| planned.min(next)));
    }

    async fn ask(&mut self) {
        let now = Instant::now();
        self.ask_at = self.next_time();
        // How far a search may lag behind.
        let settle = self.settings.get().search_settle;
        let since = self.asked.map_or(FIRST_LOOK, |asked| {
            now.duration_since(asked) + settle + Duration::from_mins(1)
        });
        let outcome = match self.jira.changed(since, COMMON_LABEL).await {
            Ok(mut seen) => {
                // Of a ticket that is not known yet and its copy, the first one is the ticket.
                seen.sort_by_key(|seen| seen.created);
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
            let until = self.ask_at.unwrap_or_else(|| Instant::now() + Duration::from_hours(1));
            let woken = tokio::select! {
                woken = wait::<(), Self>(mailbox, until) => woken,
                // `self.settings` keeps the other end, so that this is a change.
                _ = self.changes.changed() => {
                    self.plan_again();
                    continue;
                }
            };
            match woken {
                Wake::Item(()) | Wake::Deadline if self.ask_at.is_some() => self.ask().await,
                Wake::Item(()) | Wake::Deadline => {}
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
