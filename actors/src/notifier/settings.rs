//! When people are told, and by which channels.

use std::{collections::BTreeSet, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    adapters::{channel::Channel, mail, webhook},
    domain::{
        alert::{decide::Timing, quiet::QuietHours},
        rule::lasting,
    },
};

/// Section `[notifier]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// This hub's name in alerts, its own among those of a store; empty: the host's name.
    pub hub: String,
    /// What still holds is told again so long after it was told last.
    #[serde(with = "lasting::required")]
    pub repeat_every: Duration,
    /// What was not seen for so long is over.
    #[serde(with = "lasting::required")]
    pub resolve_after: Duration,
    /// What comes back sooner than this after its end is told only when it has passed.
    #[serde(with = "lasting::required")]
    pub cool_down: Duration,
    /// Alerts that begin within this time go out as one message.
    #[serde(with = "lasting::required")]
    pub group_wait: Duration,
    /// Alerts of a hub that was not heard of for so long are closed.
    #[serde(with = "lasting::required")]
    pub abandon_after: Duration,
    /// While the store is away for longer than this, alerts are told without it.
    #[serde(with = "lasting::required")]
    pub store_patience: Duration,
    /// `22:00-07:00`: only alerts of P0 and P1 are told then; empty: none.
    pub quiet_hours: String,
    /// The time zone of that, such as `Europe/Berlin`.
    pub quiet_zone: String,
    /// A message that failed so often is given up.
    pub max_attempts: u32,
    /// The first and the longest wait before one is tried again.
    #[serde(with = "lasting::required")]
    pub retry_first: Duration,
    #[serde(with = "lasting::required")]
    pub retry_cap: Duration,
    /// A try takes no longer.
    #[serde(with = "lasting::required")]
    pub timeout: Duration,
    /// A message that a hub took and was not heard of for so long is taken by another.
    #[serde(with = "lasting::required")]
    pub lease: Duration,
    pub mail: Vec<mail::Settings>,
    pub slack: Vec<webhook::SlackSettings>,
    pub webhook: Vec<webhook::Settings>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            hub: String::new(),
            repeat_every: Duration::from_hours(4),
            resolve_after: Duration::from_mins(1),
            cool_down: Duration::from_mins(5),
            group_wait: Duration::from_secs(10),
            abandon_after: Duration::from_hours(1),
            store_patience: Duration::from_secs(30),
            quiet_hours: String::new(),
            quiet_zone: "UTC".to_owned(),
            max_attempts: 50,
            retry_first: Duration::from_secs(5),
            retry_cap: Duration::from_mins(10),
            timeout: Duration::from_secs(30),
            lease: Duration::from_mins(2),
            mail: Vec::new(),
            slack: Vec::new(),
            webhook: Vec::new(),
        }
    }
}

/// A hub's name is no longer, in bytes.
const LONGEST_HUB: usize = 100;

impl Settings {
    /// # Errors
    /// Names the setting, its value, and what would be right.
    pub fn validate(&self) -> Result<(), String> {
        if self.hub.len() > LONGEST_HUB || self.hub.contains(char::is_control) {
            let hub = &self.hub;
            return Err(format!(
                "hub = {hub:?}: at most {LONGEST_HUB} bytes in one line are possible"
            ));
        }
        self.check_times()?;
        if !(1..=1_000).contains(&self.max_attempts) {
            return Err(format!("max_attempts = {}: 1 to 1000 are possible", self.max_attempts));
        }
        QuietHours::parse(&self.quiet_hours, &self.quiet_zone)?;
        let mail = self.mail.iter().map(mail::Settings::validate);
        let slack = self.slack.iter().map(webhook::SlackSettings::validate);
        let webhook = self.webhook.iter().map(webhook::Settings::validate);
        named("mail", mail)?;
        named("slack", slack)?;
        named("webhook", webhook)?;
        let mut keys = BTreeSet::new();
        for key in self.channels().iter().map(Channel::key) {
            if !keys.insert(key.clone()) {
                let (kind, name) = key.split_once(':').unwrap_or_default();
                return Err(format!("{kind}: name = {name:?}: two have it; each needs its own"));
            }
        }
        Ok(())
    }

    fn check_times(&self) -> Result<(), String> {
        let shown = lasting::shown;
        for (key, time, least) in [
            ("repeat_every", self.repeat_every, Duration::from_secs(1)),
            ("resolve_after", self.resolve_after, Duration::from_secs(1)),
            ("abandon_after", self.abandon_after, self.resolve_after),
            ("retry_first", self.retry_first, Duration::from_millis(10)),
            ("retry_cap", self.retry_cap, self.retry_first),
            ("timeout", self.timeout, Duration::from_millis(100)),
            // Nobody else may take a message while a try of it is still under way.
            ("lease", self.lease, self.timeout * 2),
        ] {
            if time < least {
                let (time, least) = (shown(time), shown(least));
                return Err(format!("{key} = \"{time}\": at least \"{least}\" is needed"));
            }
        }
        for (key, time) in [("cool_down", self.cool_down), ("group_wait", self.group_wait)] {
            if time > Duration::from_hours(24) {
                return Err(format!("{key} = \"{}\": at most \"1d\" is possible", shown(time)));
            }
        }
        Ok(())
    }

    /// The channels there are.
    #[must_use]
    pub fn channels(&self) -> Vec<Channel<'_>> {
        let mail = self.mail.iter().map(Channel::Mail);
        let slack = self.slack.iter().map(Channel::Slack);
        mail.chain(slack).chain(self.webhook.iter().map(Channel::Webhook)).collect()
    }

    /// This hub's name.
    #[must_use]
    pub fn hub_name(&self) -> String {
        if !self.hub.is_empty() {
            return self.hub.clone();
        }
        let host = hostname::get().ok().and_then(|name| name.into_string().ok());
        host.filter(|name| !name.is_empty()).unwrap_or_else(|| "hub".to_owned())
    }

    #[must_use]
    pub fn timing(&self) -> Timing {
        Timing {
            repeat_every: self.repeat_every,
            resolve_after: self.resolve_after,
            cool_down: self.cool_down,
            abandon_after: self.abandon_after,
            // Settings that are in use were validated.
            quiet: QuietHours::parse(&self.quiet_hours, &self.quiet_zone).ok().flatten(),
        }
    }
}

fn named(kind: &str, outcomes: impl Iterator<Item = Result<(), String>>) -> Result<(), String> {
    for (index, outcome) in outcomes.enumerate() {
        outcome.map_err(|problem| format!("{kind}[{index}].{problem}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::rule::Class;

    fn mail(name: &str) -> mail::Settings {
        mail::Settings {
            name: name.to_owned(),
            server: "127.0.0.1".to_owned(),
            tls: mail::Tls::None,
            from: "faultline@example.com".to_owned(),
            to: vec!["ops@example.com".to_owned()],
            ..mail::Settings::default()
        }
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_what_would_be_right() {
        assert_eq!(Settings::default().validate(), Ok(()));
        let problem = |change: fn(&mut Settings)| {
            let mut settings = Settings { mail: vec![mail("ops")], ..Settings::default() };
            assert_eq!(settings.validate(), Ok(()));
            change(&mut settings);
            settings.validate().unwrap_err()
        };
        for (problem, start) in [
            (problem(|it| it.hub = "a\nb".to_owned()), "hub = \"a\\nb\": "),
            (problem(|it| it.lease = it.timeout), "lease = \"30s\": at least \"1m\""),
            (problem(|it| it.max_attempts = 0), "max_attempts = 0: 1 to 1000"),
            (problem(|it| it.quiet_hours = "night".to_owned()), "quiet_hours = \"night\": "),
            (problem(|it| it.mail[0].to.clear()), "mail[0].to = []: "),
            (problem(|it| it.mail.push(mail("ops"))), "mail: name = \"ops\": two have it"),
            (problem(|it| it.slack.push(webhook::SlackSettings::default())), "slack[0].url = "),
        ] {
            assert!(problem.starts_with(start), "{problem}");
        }
    }

    #[test]
    fn a_channel_takes_what_is_bad_enough() {
        let settings = mail::Settings { least: Class::P1, ..mail("ops") };
        let channel = Channel::Mail(&settings);
        let takes = [Class::P0, Class::P1, Class::P2, Class::P3].map(|class| channel.takes(class));
        assert_eq!((channel.key().as_str(), takes), ("mail:ops", [true, true, false, false]));
    }
}
