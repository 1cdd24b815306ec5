//! The notifier of a hub.

use std::{sync::Arc, time::Duration};

use kameo::actor::ActorRef;

use super::{Supervisor, supervise};
use crate::{
    adapters::{channel::Channel, mail::Mail, store::Store, webhook::Hook},
    domain::{
        alert::{Condition, letter::Surroundings},
        calls::Calls,
    },
    notifier::{Notifier, Settings, Shared},
    stage::{Finish, Live},
};

/// Lists of what holds now that wait for the notifier: the next one says as much.
const TO_NOTIFIER: usize = 1;

/// A notifier, and how it does.
pub(super) struct Alerts {
    actor: ActorRef<Notifier>,
    pub(super) conditions: flume::Sender<Vec<Condition>>,
    pub(super) shared: Arc<Shared>,
}

impl Alerts {
    /// Starts it, its calls counted over `window`.
    ///
    /// # Errors
    /// Names the channel that cannot be used, and why.
    pub(super) async fn start(
        supervisor: &ActorRef<Supervisor>,
        settings: Live<Settings>,
        around: Live<Surroundings>,
        store: &Arc<dyn Store>,
        window: Duration,
    ) -> Result<Self, String> {
        check(&settings.get())?;
        let (conditions, said) = flume::bounded(TO_NOTIFIER);
        let calls = Arc::new(Calls::new(window));
        let shared = Arc::new(Shared::new(settings, around, store.clone(), calls));
        let actor = {
            let shared = shared.clone();
            supervise::<Notifier>(supervisor, move || Notifier::new(shared.clone(), said.clone()))
        };
        Ok(Self { actor: actor.await, conditions, shared })
    }

    /// How it went with sending mail; `None` where none is sent.
    pub(super) fn mail_calls(&self) -> Option<&Calls> {
        let is_on = !self.shared.settings.get().mail.is_empty();
        is_on.then_some(&*self.shared.mail_calls)
    }

    pub(super) async fn finish(&self) {
        // An error says that it is gone already.
        let _ = self.actor.ask(Finish).await;
    }

    pub(super) fn kill(&self) {
        self.actor.kill();
    }
}

/// Whether each channel can be used, with the files that it names.
fn check(settings: &Settings) -> Result<(), String> {
    let mut counts = [0_usize; 3];
    for channel in settings.channels() {
        let limit = settings.timeout;
        let (place, checked) = match channel {
            Channel::Mail(mail) => (0, Mail::new(mail).map(drop)),
            Channel::Slack(slack) => (1, Hook::slack(slack, limit).map(drop)),
            Channel::Webhook(hook) => (2, Hook::new(hook, limit).map(drop)),
        };
        checked.map_err(|problem| format!("{}[{}].{problem}", channel.kind(), counts[place]))?;
        counts[place] += 1;
    }
    Ok(())
}
