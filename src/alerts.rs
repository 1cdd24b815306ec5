//! `faultline check --send-test-alert`: sends an alert that says that nothing is wrong through each
//! channel at once, past the store, and says how that went.

use std::process::ExitCode;

use faultline_actors::{
    adapters::{channel::Post, clock},
    domain::alert::{
        Kind,
        delivery::{Told, What},
    },
};
use uuid::Uuid;

use crate::config::Config;

/// Sends it; fails where a channel does, or where there is none.
pub(crate) async fn send_test(config: &Config, say: impl Fn(&str)) -> ExitCode {
    let settings = &config.notifier;
    let channels = settings.channels();
    if channels.is_empty() {
        say("FAILED  notifier: no channel is configured; see [[notifier.mail]] in config.toml");
        return ExitCode::FAILURE;
    }
    let told = Told {
        alert: 0,
        kind: Kind::Test,
        subject: "alerts".to_owned(),
        cause: "`faultline check --send-test-alert` was run".to_owned(),
        hub: settings.hub_name(),
        since: clock::now(),
        link: "/notifications".to_owned(),
        resolved_at: None,
        note: None,
    };
    let (around, alerts) = (config.letters(), [told]);
    let sent = channels.iter().map(|channel| {
        let (id, what, alerts, around) = (Uuid::now_v7(), What::Firing, &alerts, &around);
        let post = Post { id, what, alerts, around, is_overdue: false };
        channel.send(post, settings.timeout)
    });
    let mut all_well = true;
    for (channel, sent) in channels.iter().zip(futures_util::future::join_all(sent).await) {
        match sent {
            Ok(()) => say(&format!("ok      {}: it was taken", channel.key())),
            Err(failure) => {
                all_well = false;
                say(&format!("FAILED  {}: {failure}", channel.key()));
            }
        }
    }
    if all_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
