//! Notifications: what people should know without asking. A store writes each in the transaction of
//! the fact that it is about, so that there is none without the other.

use super::{
    alert::{Key, delivery::What, urgency},
    fault::FaultId,
    job::Action,
    shape::{cut, secret::without_secrets},
};

/// How urgent it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// Good to know.
    Info,
    /// Somebody should look when there is time.
    Warning,
    /// Somebody is needed.
    Critical,
}

impl Urgency {
    pub const ALL: [Self; 3] = [Self::Info, Self::Warning, Self::Critical];

    /// The name in the store and in answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|urgency| urgency.name() == name)
    }
}

/// One notification, as it is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    pub urgency: Urgency,
    /// The stage that it comes from.
    pub component: &'static str,
    pub title: String,
    pub body: String,
    /// A page of the dashboard.
    pub link: Option<String>,
}

/// Longer texts are cut, in bytes.
const LONGEST_TITLE: usize = 300;
const LONGEST_BODY: usize = 2_000;

impl Notification {
    /// The newest so many are kept.
    pub const KEPT: u32 = 10_000;

    fn new(urgency: Urgency, component: &'static str, title: &str, body: &str) -> Self {
        let title = cut(title, LONGEST_TITLE).to_owned();
        let body = without_secrets(cut(body, LONGEST_BODY)).into_owned();
        Self { urgency, component, title, body, link: None }
    }

    fn linked(self, link: String) -> Self {
        Self { link: Some(link), ..self }
    }

    /// A job was given up.
    #[must_use]
    pub fn job_died(job: i64, action: &str, fault: FaultId, error: &str) -> Self {
        let title = format!("Job {job} ({action} for fault {fault}) is dead");
        Self::new(Urgency::Critical, "jira_worker", &title, error).linked(format!("/jobs/{job}"))
    }

    /// New faults are held back.
    #[must_use]
    pub fn storm_began(environment: &str, fault: FaultId) -> Self {
        let title = format!("A storm of new faults in {environment}");
        let body = "More new faults turn up than tickets are made for. One ticket stands for all \
                    of them; counting goes on.";
        Self::new(Urgency::Warning, "jira_dispatch", &title, body)
            .linked(format!("/faults/{fault}"))
    }

    /// Each fault that was held back has its ticket.
    #[must_use]
    pub fn storm_ended(environment: &str, fault: FaultId) -> Self {
        let title = format!("The storm of new faults in {environment} is over");
        let body = "Every fault that it held back has its ticket.";
        Self::new(Urgency::Info, "jira_dispatch", &title, body).linked(format!("/faults/{fault}"))
    }

    /// Somebody has paused dispatch, or resumed it.
    #[must_use]
    pub fn dispatch(is_paused: bool, who: &str) -> Self {
        let notification = if is_paused {
            let body = format!("{who} has paused it: nothing is sent to Jira until it is resumed.");
            Self::new(Urgency::Warning, "jira_dispatch", "Dispatch is paused", &body)
        } else {
            let body = format!("{who} has resumed it.");
            Self::new(Urgency::Info, "jira_dispatch", "Dispatch goes on", &body)
        };
        notification.linked("/jobs".to_owned())
    }

    /// An alert is told about.
    #[must_use]
    pub fn alert(what: What, key: &Key, cause: &str, link: &str) -> Self {
        let title = key.kind.what(&key.subject);
        let (urgency, title) = match what {
            What::Firing => (urgency(key.kind.class()), title),
            What::Repeat => (urgency(key.kind.class()), format!("Still: {title}")),
            What::Resolved => (Urgency::Info, format!("Resolved: {title}")),
        };
        Self::new(urgency, "notifier", &title, cause).linked(link.to_owned())
    }

    /// A message was given up.
    #[must_use]
    pub fn not_delivered(channel: &str, alerts: usize, error: &str) -> Self {
        let title = format!("A message about alerts ({alerts}) could not be sent by {channel}");
        Self::new(Urgency::Critical, "notifier", &title, error).linked("/notifications".to_owned())
    }

    /// A fault happens again after its ticket was done.
    #[must_use]
    pub fn came_back(fault: FaultId, environment: &str, title: &str, action: Action) -> Self {
        let todo = match action {
            Action::Create => "A new ticket is made for it, linked to the one before.",
            _ => "Its ticket is opened again.",
        };
        let title = format!("Fault {fault} in {environment} is back: {title}");
        let body = format!("It happens after its ticket was done. {todo}");
        Self::new(Urgency::Warning, "jira_dispatch", &title, &body)
            .linked(format!("/faults/{fault}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notification_is_bounded_and_shows_no_secret() {
        let error = format!("password=hunter2secret {}", "x".repeat(10_000));
        let died = Notification::job_died(7, "create", 3, &error);
        assert_eq!(died.link.as_deref(), Some("/jobs/7"));
        assert!(died.body.len() <= LONGEST_BODY && !died.body.contains("hunter2"), "{}", died.body);
        let back = Notification::came_back(3, "prod", &"é".repeat(1_000), Action::Reopen);
        assert!(back.title.len() <= LONGEST_TITLE);
        for urgency in Urgency::ALL {
            assert_eq!(Urgency::from_name(urgency.name()), Some(urgency));
        }
    }
}
