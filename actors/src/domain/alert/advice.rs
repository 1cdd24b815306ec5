//! What each kind of alert says, and what is to be done first. The runbook says more.

use super::Kind;

impl Kind {
    /// What is wrong with `subject`, in a few words: the end of a mail's subject.
    #[must_use]
    pub fn what(self, subject: &str) -> String {
        match self {
            Self::ComponentUnhealthy => format!("{subject} does not work"),
            Self::ComponentDegraded => format!("{subject} works, but not as it should"),
            Self::StageStuck => format!("stage {subject} is stuck"),
            Self::FailuresInARow => format!("calls of {subject} fail one after the other"),
            Self::PartnerDown => format!("{subject} is down"),
            Self::AuthFailure => format!("{subject} does not accept our credentials"),
            Self::QueueDeep => format!("too much waits in {subject}"),
            Self::DeadJobs => format!("jobs were given up: {subject}"),
            Self::Storm => format!("a storm of new faults in {subject}"),
            Self::SourceSilent => format!("nothing comes from {subject}"),
            Self::SpoolDisk => format!("the spool or its disk is nearly full: {subject}"),
            Self::AppErrors => format!("{subject}: many requests are answered with errors"),
            Self::AppSlow => format!("{subject}: requests are answered slowly"),
            Self::ClockJump => format!("the clock was set: {subject}"),
            Self::Test => "a test alert".to_owned(),
        }
    }

    /// What is to be done first.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self {
            Self::ComponentUnhealthy => {
                "Open the health page and read what the component says. Bring back what it needs; \
                 accepted data waits in the spool meanwhile."
            }
            Self::ComponentDegraded => {
                "Open the health page and compare the figure with its threshold. Nothing is lost \
                 yet; find out what grows."
            }
            Self::StageStuck => {
                "Look at the channels on the health page and at the log of the stage. If it does \
                 not move again, restart the hub: what is not stored is read again from the spool."
            }
            Self::FailuresInARow => {
                "Read the last error on the partners page. Calls are tried again by themselves; \
                 act when it is about settings or permissions."
            }
            Self::PartnerDown => {
                "Check whether the system answers at all, and the network in between. Jobs and data \
                 wait, and go on by themselves when it is back."
            }
            Self::AuthFailure => {
                "Renew the credentials in config.toml or in the environment, and restart the hub. \
                 Nothing gets through before that."
            }
            Self::QueueDeep => {
                "Look whether work is done more slowly than it comes in, or not at all: the pause, \
                 the circuit breaker, the rate limit."
            }
            Self::DeadJobs => {
                "Open the dead jobs and read why they were refused. Correct the cause, then retry \
                 or discard them."
            }
            Self::Storm => {
                "Look at the newest faults: a deployment or an outage is likely. One ticket stands \
                 for all of them until it is over."
            }
            Self::SourceSilent => {
                "Check whether the source runs and whether its drain, relay or token is still the \
                 right one."
            }
            Self::SpoolDisk => {
                "Bring the store back if it is away, or give the disk more room now. When the spool \
                 is full, senders get 503."
            }
            Self::AppErrors => {
                "Open the application's events and faults of the last minutes. Compare with its \
                 last deployment."
            }
            Self::AppSlow => {
                "Open the application's statistics and look which paths are slow, and since when."
            }
            Self::ClockJump => {
                "Check time synchronisation on the machine. Times of events stored around the jump \
                 may be wrong."
            }
            Self::Test => "Nothing: somebody tries whether alerts arrive.",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_says_what_and_what_to_do() {
        for kind in Kind::ALL {
            let what = kind.what("jira");
            assert!(what.contains("jira") || kind == Kind::Test, "{what}");
            assert!(kind.advice().ends_with('.'), "{}", kind.advice());
        }
    }
}
