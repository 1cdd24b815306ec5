//! Sending what is due through one channel.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use uuid::Uuid;

use super::{Settings, Shared};
use crate::{
    adapters::{
        channel::{Channel, Failure, Post},
        clock,
        store::{
            StoreError,
            alerts::{Message, Tried},
            jobs::Holder,
        },
    },
    domain::{
        alert::{
            Key, Kind,
            delivery::{Told, What},
            quiet::QuietHours,
        },
        calls::Ended,
        retry::Backoff,
    },
};

/// A message that was tried so often is overdue: a mail server that only wants to see us come back
/// (greylisting) has taken it before.
const TRIES_FOR_ALL: u32 = 5;

/// One channel's, for as long as it has something to do.
pub(super) struct Courier {
    shared: Arc<Shared>,
    channel: String,
    holder: Holder,
}

impl Courier {
    pub(super) fn new(shared: Arc<Shared>, channel: String) -> Self {
        for outcome in ["sent", "failed", "dead"] {
            counter(&channel, outcome).increment(0);
        }
        Self { shared, channel, holder: Holder::new_v4() }
    }

    /// Sends until nothing is due.
    pub(super) async fn send_due(&self) {
        loop {
            match self.send_next().await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    tracing::debug!(%error, channel = self.channel, "cannot look for messages");
                    return;
                }
            }
        }
    }

    async fn send_next(&self) -> Result<bool, StoreError> {
        let (settings, asked) = (self.shared.settings.get(), Instant::now());
        let claimed = self.shared.store.claim_message(
            &self.channel,
            self.holder,
            settings.lease,
            settings.group_wait,
        );
        let Some(message) = claimed.await? else { return Ok(false) };
        // Who was frozen meanwhile sends nothing that another one may have sent.
        if asked.elapsed() + settings.timeout > settings.lease {
            return Ok(false);
        }
        let quiet = quiet(&settings, &message.alerts);
        let tried = if quiet.is_zero() {
            let is_last = message.attempts + 1 >= settings.max_attempts;
            let is_overdue = is_last || message.attempts >= TRIES_FOR_ALL;
            let Message { id, what, alerts, .. } = &message;
            let sent = self.send(&settings, *id, *what, alerts, is_overdue).await;
            self.tried(&settings, &message, sent)
        } else {
            Tried::Postponed { wait: quiet }
        };
        self.settle(&message, &tried, asked + settings.lease).await;
        Ok(true)
    }

    /// Sends once; nothing but writing down that it was sent comes after it.
    async fn send(
        &self,
        settings: &Settings,
        id: Uuid,
        what: What,
        alerts: &[Told],
        is_overdue: bool,
    ) -> Result<(), Failure> {
        let channels = settings.channels();
        let channel = channels.iter().find(|channel| channel.key() == self.channel);
        let Some(channel) = channel else {
            return Err(Failure::new("the channel is not configured any more"));
        };
        let around = self.shared.around.get();
        let started = Instant::now();
        let post = Post { id, what, alerts, around: &around, is_overdue };
        let sent = channel.send(post, settings.timeout).await;
        if let Channel::Mail(_) = channel {
            let ended = sent.as_ref().map_or_else(Failure::ended, |()| Ended::Well);
            self.shared.mail_calls.ended(clock::now(), started.elapsed(), ended);
        }
        sent
    }

    fn tried(&self, settings: &Settings, message: &Message, sent: Result<(), Failure>) -> Tried {
        let attempts = message.attempts + 1;
        let (tried, outcome) = match sent {
            Ok(()) => (Tried::Sent, "sent"),
            Err(failure) if attempts >= settings.max_attempts => {
                (Tried::Dead { error: failure.words }, "dead")
            }
            Err(failure) => {
                let wait = Backoff::wait_after(
                    settings.retry_first,
                    settings.retry_cap,
                    message.attempts,
                    fastrand::f64(),
                );
                (Tried::Failed { error: failure.words, wait }, "failed")
            }
        };
        counter(&self.channel, outcome).increment(1);
        match &tried {
            Tried::Sent => tracing::info!(
                channel = self.channel, message = %message.id, alerts = message.alerts.len(),
                what = message.what.name(), "a message about alerts was sent"
            ),
            Tried::Failed { error, .. } => tracing::warn!(
                channel = self.channel, message = %message.id, attempts, error,
                "a message about alerts was not sent; trying again"
            ),
            Tried::Dead { error } => tracing::error!(
                channel = self.channel, message = %message.id, attempts, error,
                "a message about alerts is given up"
            ),
            Tried::Postponed { .. } => {}
        }
        tried
    }

    /// Writes down what came of it. While the store is away it is tried again for as long as the
    /// lease runs; then somebody takes the message again, under the same number.
    async fn settle(&self, message: &Message, tried: &Tried, until: Instant) {
        loop {
            let settled =
                self.shared.store.settle_message(&self.channel, message.id, self.holder, tried);
            match settled.await {
                Ok(true) => return,
                Ok(false) => {
                    tracing::warn!(message = %message.id, "a message was taken by another hub meanwhile");
                    return;
                }
                Err(error) if Instant::now() >= until => {
                    tracing::warn!(message = %message.id, %error, "cannot write down what came of a message");
                    return;
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    }

    /// Tells of alerts while no store holds them, until they are told or the store is back.
    pub(super) async fn tell_unstored(self, keys: Vec<Key>, mut alerts: Vec<Told>) {
        let settings = self.shared.settings.get();
        let channels = settings.channels();
        let channel = channels.iter().find(|channel| channel.key() == self.channel);
        alerts.retain(|told| channel.is_some_and(|channel| channel.takes(told.class())));
        let mut ending = Ending { courier: &self, keys, has_taken: false };
        let id = Uuid::now_v7();
        let mut backoff = Backoff::new(settings.retry_first, settings.retry_cap);
        while !alerts.is_empty() {
            let store_works = self.shared.store_works.notified();
            if !self.shared.unstored().is_failing() {
                return;
            }
            let is_overdue = backoff.failures() >= TRIES_FOR_ALL;
            match self.send(&settings, id, What::Firing, &alerts, is_overdue).await {
                Ok(()) => {
                    ending.has_taken = true;
                    return counter(&self.channel, "sent").increment(1);
                }
                Err(failure) => {
                    counter(&self.channel, "failed").increment(1);
                    let (error, channel) = (failure.words, &self.channel);
                    tracing::warn!(channel, error, "alerts without a store were not sent");
                }
            }
            tokio::select! {
                () = tokio::time::sleep(backoff.next_wait(fastrand::f64())) => {}
                () = store_works => {}
            }
        }
    }
}

/// Says that a channel is no longer at it, however it ends.
struct Ending<'a> {
    courier: &'a Courier,
    keys: Vec<Key>,
    has_taken: bool,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        let Courier { shared, channel, .. } = self.courier;
        shared.unstored().ended(&self.keys, channel, self.has_taken);
    }
}

/// For how long these must wait: what was to be told before the quiet hours, and could not be, waits
/// for their end. Not what somebody tries.
fn quiet(settings: &Settings, alerts: &[Told]) -> Duration {
    let (quiet, now) = (settings.timing().quiet, clock::now());
    let wait = |told: &Told| match told.kind {
        Kind::Test => Duration::ZERO,
        _ => QuietHours::wait(quiet.as_ref(), told.class(), now),
    };
    alerts.iter().map(wait).min().unwrap_or_default()
}

fn counter(channel: &str, outcome: &'static str) -> metrics::Counter {
    let channel = channel.to_owned();
    metrics::counter!("faultline_alert_deliveries_total", "channel" => channel, "outcome" => outcome)
}
