//! Notifier: tells people what the program says about itself.
//!
//! `what holds now ──▶ notifier ──▶ alerts and deliveries in the store ──▶ mail, Slack, webhooks`
//!
//! Again and again it is told all that holds now. What is new, goes on or is over is decided by what
//! the store has open; an alert, its deliveries and its notification are written in one transaction.
//! So a crash at any moment loses none, and two hubs that see the same open one alert.
//!
//! Deliveries are sent by tasks, one for each channel, under a lease. A message that was sent is
//! written down as sent; only a crash, or the loss of the store, between the receiver's answer and
//! that commit makes it go out again, with the same number. Nothing else is done in between.
//!
//! While the store is away alerts are told from memory: see [`Unstored`].

use std::{
    collections::HashMap,
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
use tokio::{
    sync::Notify,
    task::{AbortHandle, JoinSet},
    time::Instant,
};

pub use self::settings::Settings;
use self::{courier::Courier, record::Record};
use crate::{
    adapters::{
        channel::Channel,
        clock,
        store::{Store, StoreError},
    },
    domain::{
        alert::{
            Certainty, Condition, Key, Kind, Scope,
            decide::{Change, Watch, decide},
            delivery::Told,
            letter::Surroundings,
            unstored::Unstored,
        },
        calls::Calls,
        rule::Class,
        time::{Micros, micros},
    },
    stage::{Closed, Finish, Live, Wake, wake},
};

mod courier;
mod record;
mod settings;

/// How often messages are looked for that are due.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The store is waited for no longer, so that the stage still hears what it is told.
const STORE_PATIENCE: Duration = Duration::from_secs(10);
/// How often old alerts are deleted, and how many that are over are kept.
const FORGET_EVERY: Duration = Duration::from_hours(1);
const KEPT: u32 = 10_000;

/// What the stage and its tasks share; kept across a restart of the stage.
pub struct Shared {
    pub settings: Live<Settings>,
    pub around: Live<Surroundings>,
    pub store: Arc<dyn Store>,
    /// How it went with sending mail.
    pub mail_calls: Arc<Calls>,
    unstored: Mutex<Unstored>,
    /// Told when the store can be used: what is told from memory is told by it from then on.
    store_works: Notify,
}

impl Shared {
    #[must_use]
    pub fn new(
        settings: Live<Settings>,
        around: Live<Surroundings>,
        store: Arc<dyn Store>,
        mail_calls: Arc<Calls>,
    ) -> Self {
        let (unstored, store_works) = (Mutex::default(), Notify::new());
        Self { settings, around, store, mail_calls, unstored, store_works }
    }

    /// Opens an alert that says that nothing is wrong, as any other is opened; it is over when it was
    /// not seen for a while. Gives whether it is new.
    ///
    /// # Errors
    /// When the store cannot be used.
    pub async fn try_out(&self) -> Result<bool, StoreError> {
        let (settings, now) = (self.settings.get(), clock::now());
        let hub = settings.hub_name();
        let condition = Condition {
            kind: Kind::Test,
            certainty: Certainty::Holds,
            scope: Scope::Hub,
            subject: "alerts".to_owned(),
            cause: "somebody tries whether alerts arrive".to_owned(),
            since: now,
            link: "/notifications",
        };
        let key = condition.key(&hub);
        let change = Change::Open { condition, key, tell_at: None };
        match (Record { settings: &settings, hub: &hub, now }).of(change) {
            Ok(written) => self.store.write_alert(&written).await,
            Err(_) => Ok(false),
        }
    }

    fn unstored(&self) -> std::sync::MutexGuard<'_, Unstored> {
        self.unstored.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See the [module](self).
pub struct Notifier {
    shared: Arc<Shared>,
    conditions: Receiver<Vec<Condition>>,
    /// Since when this process is told what holds and can write it down: while the store was away nobody
    /// could.
    since: Option<Micros>,
    tasks: JoinSet<()>,
    /// The task of each channel.
    couriers: HashMap<String, AbortHandle>,
    look_at: Instant,
    forget_at: Instant,
    /// What held could not be written down the last time.
    has_failed: bool,
}

impl Notifier {
    #[must_use]
    pub fn new(shared: Arc<Shared>, conditions: Receiver<Vec<Condition>>) -> Self {
        let now = Instant::now();
        Self {
            shared,
            conditions,
            since: None,
            tasks: JoinSet::new(),
            couriers: HashMap::new(),
            look_at: now,
            forget_at: now + FORGET_EVERY,
            has_failed: false,
        }
    }

    /// Heeds what holds now. What cannot be done is left to the next time: then it is said again.
    async fn heed(&mut self, conditions: &[Condition]) {
        let now = clock::now();
        // A clock that was set back must not make it wait.
        let since = self.since.map_or(now, |since| since.min(now));
        self.since = Some(since);
        let outcome = tokio::time::timeout(STORE_PATIENCE, self.write(conditions, since, now));
        let error = match outcome.await {
            Ok(Ok(wait)) => {
                self.has_failed = false;
                if let Some(wait) = wait {
                    self.look_at = self.look_at.min(Instant::now() + wait);
                }
                return;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {STORE_PATIENCE:?}"),
        };
        // Once is nothing: a new store has no tables yet when it is first looked at.
        if self.has_failed {
            // No hub could write down what it saw: that it was not seen says nothing.
            self.since = Some(clock::now());
            tracing::warn!(error, "cannot write down alerts; trying again");
        } else {
            tracing::debug!(error, "cannot write down alerts; trying again");
        }
        self.has_failed = true;
        self.tell_unstored(conditions, now);
    }

    /// Gives when the first message of what was written is due.
    async fn write(
        &self,
        conditions: &[Condition],
        since: Micros,
        now: Micros,
    ) -> Result<Option<Duration>, StoreError> {
        let settings = self.shared.settings.get();
        let (hub, store) = (settings.hub_name(), &self.shared.store);
        let record = Record { settings: &settings, hub: &hub, now };
        let told_before = self.shared.unstored().to_store();
        for (key, telling) in told_before {
            store.write_alert(&record.told_before(&key, &telling)).await?;
            self.shared.unstored().stored(&key);
        }
        let standing = store.alerts_standing(now - micros(settings.cool_down)).await?;
        let conditions: Vec<Condition> = {
            let mut unstored = self.shared.unstored();
            unstored.works(&standing);
            let is_free = |it: &&Condition| !unstored.holds(&it.key(&hub));
            conditions.iter().filter(is_free).cloned().collect()
        };
        self.shared.store_works.notify_waiters();
        count_open(standing.open.iter().map(|open| open.key.kind.class()));
        let watch = Watch { hub: &hub, since, now };
        let (mut seen, mut due) = (Vec::new(), None::<Duration>);
        for change in decide(watch, &settings.timing(), &conditions, &standing) {
            let opened = match &change {
                Change::Open { key, .. } => Some(key.clone()),
                _ => None,
            };
            match record.of(change) {
                Ok(written) => {
                    store.write_alert(&written).await?;
                    if let Some(key) = opened {
                        self.shared.unstored().opened(key);
                    }
                    let waits = written.deliveries.iter().map(|delivery| delivery.wait);
                    due = due.into_iter().chain(waits).min();
                }
                Err(held) => seen.push(held),
            }
        }
        if !seen.is_empty() {
            store.alerts_seen(&seen, now).await?;
        }
        Ok(due)
    }

    /// Tells what is new and urgent enough although no store can hold it.
    fn tell_unstored(&mut self, conditions: &[Condition], now: Micros) {
        let settings = self.shared.settings.get();
        let hub = settings.hub_name();
        let (quiet, channels) = (settings.timing().quiet, settings.channels());
        let is_certain = |it: &&Condition| it.certainty == Certainty::Holds;
        let news = self.shared.unstored().fails(
            &hub,
            now,
            settings.store_patience,
            quiet.as_ref(),
            &conditions.iter().filter(is_certain).collect::<Vec<_>>(),
            channels.len(),
        );
        if news.is_empty() {
            return;
        }
        let told = |(key, it): &(Key, Condition)| {
            Told::unstored(key, it.told_cause(), &hub, it.since, it.link)
        };
        let told: Vec<Told> = news.iter().map(told).collect();
        let keys: Vec<Key> = news.into_iter().map(|(key, _)| key).collect();
        for channel in channels.iter().map(Channel::key) {
            let courier = Courier::new(self.shared.clone(), channel);
            let (keys, told) = (keys.clone(), told.clone());
            self.tasks.spawn(async move { courier.tell_unstored(keys, told).await });
        }
    }

    /// Has each channel send what is due.
    fn look(&mut self) {
        self.look_at = Instant::now() + LOOK_EVERY;
        while self.tasks.try_join_next().is_some() {}
        self.couriers.retain(|_, task| !task.is_finished());
        for key in self.shared.settings.get().channels().iter().map(Channel::key) {
            if !self.couriers.contains_key(&key) {
                let courier = Courier::new(self.shared.clone(), key.clone());
                let task = self.tasks.spawn(async move { courier.send_due().await });
                self.couriers.insert(key, task);
            }
        }
    }

    async fn forget(&mut self) {
        self.forget_at = Instant::now() + FORGET_EVERY;
        let forgotten = self.shared.store.forget_alerts(KEPT);
        match tokio::time::timeout(STORE_PATIENCE, forgotten).await {
            Ok(Ok(0)) => {}
            Ok(Ok(given_up)) => {
                tracing::error!(
                    given_up,
                    "messages about alerts were never sent: nobody has their channel"
                );
            }
            Ok(Err(error)) => tracing::debug!(%error, "cannot delete old alerts"),
            Err(_) => tracing::debug!("cannot delete old alerts in time"),
        }
    }
}

fn count_open(classes: impl Iterator<Item = Class>) {
    let mut open = [0_u32; 4];
    for class in classes {
        open[class as usize] += 1;
    }
    for class in [Class::P0, Class::P1, Class::P2, Class::P3] {
        metrics::gauge!("faultline_alerts_open", "class" => class.name())
            .set(f64::from(open[class as usize]));
    }
}

impl Actor for Notifier {
    type Args = Self;
    type Error = Closed;

    fn name() -> &'static str {
        "notifier"
    }

    async fn on_start(notifier: Self, _: ActorRef<Self>) -> Result<Self, Closed> {
        Ok(notifier)
    }

    async fn next(
        &mut self,
        _: WeakActorRef<Self>,
        mailbox: &mut MailboxReceiver<Self>,
    ) -> Result<Option<Signal<Self>>, Closed> {
        loop {
            let until = self.look_at.min(self.forget_at);
            match wake(&self.conditions, mailbox, Some(until)).await {
                Wake::Item(conditions) => self.heed(&conditions).await,
                Wake::Deadline if Instant::now() >= self.forget_at => self.forget().await,
                Wake::Deadline => self.look(),
                Wake::Signal(signal) => return Ok(signal),
            }
        }
    }
}

impl Message<Finish> for Notifier {
    type Reply = Result<(), Closed>;

    /// Waits for what is under way; what does not end in time is sent again when its lease ends.
    async fn handle(&mut self, _: Finish, _: &mut Context<Self, Self::Reply>) -> Self::Reply {
        let _ = tokio::time::timeout(Duration::from_secs(3), async {
            while self.tasks.join_next().await.is_some() {}
        })
        .await;
        Ok(())
    }
}
