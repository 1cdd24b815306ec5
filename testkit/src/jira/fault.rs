//! What goes wrong on demand.

use std::{collections::VecDeque, str::FromStr, time::Duration};

use super::endpoint::Endpoint;

/// Why a request is told to slow down; the value of `RateLimit-Reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// One endpoint is asked too fast.
    Burst,
    /// One issue is changed too fast.
    PerIssue,
    /// The hour's points of this site are spent.
    QuotaTenant,
    /// The hour's points of all sites are spent.
    QuotaGlobal,
}

impl Reason {
    /// As the header says it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Burst => "jira-burst-based",
            Self::PerIssue => "jira-per-issue-on-write",
            Self::QuotaTenant => "jira-quota-tenant-based",
            Self::QuotaGlobal => "jira-quota-global-based",
        }
    }
}

/// One way in which a call fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The connection is reset; nothing was done.
    ResetBefore,
    /// It is done, then the connection is reset.
    ResetAfter,
    /// There is no answer; nothing was done.
    Hang,
    /// It is done, but there is no answer.
    HangAfter,
    /// A proxy's error page; nothing was done.
    Status5xxBefore(u16),
    /// It is done, then there is a proxy's error page.
    Status5xxAfter(u16),
    /// 429.
    TooManyRequests { retry_after: u64, reason: Reason },
    /// It is done and answered that much later, whether or not the client still waits.
    Slow(Duration),
    /// 401.
    Unauthorized,
    /// 403.
    Forbidden,
    /// 409.
    Conflict,
}

impl FromStr for Fault {
    type Err = String;

    /// `reset-before`, `reset-after`, `hang`, `hang-after`, `503-before`, `503-after`, `429`,
    /// `slow:2s`, `unauthorized`, `forbidden`, `conflict`.
    fn from_str(text: &str) -> Result<Self, String> {
        let status = |text: &str| text.parse().ok().filter(|status| (500..600).contains(status));
        let fault = match text {
            "reset-before" => Some(Self::ResetBefore),
            "reset-after" => Some(Self::ResetAfter),
            "hang" => Some(Self::Hang),
            "hang-after" => Some(Self::HangAfter),
            "429" => Some(Self::TooManyRequests { retry_after: 1, reason: Reason::Burst }),
            "unauthorized" => Some(Self::Unauthorized),
            "forbidden" => Some(Self::Forbidden),
            "conflict" => Some(Self::Conflict),
            _ => match (text.strip_prefix("slow:"), text.split_once('-')) {
                (Some(time), _) => {
                    let time: Option<jiff::SignedDuration> = time.parse().ok();
                    time.and_then(|time| Duration::try_from(time).ok()).map(Self::Slow)
                }
                (None, Some((code, "before"))) => status(code).map(Self::Status5xxBefore),
                (None, Some((code, "after"))) => status(code).map(Self::Status5xxAfter),
                _ => None,
            },
        };
        fault.ok_or_else(|| format!("no fault {text:?}"))
    }
}

/// Which calls fail.
#[derive(Default)]
pub(super) struct Plan {
    queue: VecDeque<(Endpoint, Fault)>,
    chaos: Option<Chaos>,
    down: Option<Fault>,
}

struct Chaos {
    share: f64,
    faults: Vec<Fault>,
    random: fastrand::Rng,
}

impl Plan {
    pub(super) fn fail_next(&mut self, endpoint: Endpoint, count: usize, fault: &Fault) {
        self.queue.extend((0..count).map(|_| (endpoint, fault.clone())));
    }

    pub(super) fn chaos(&mut self, share: f64, faults: &[Fault], seed: u64) {
        let random = fastrand::Rng::with_seed(seed);
        let chaos = Chaos { share, faults: faults.to_vec(), random };
        self.chaos = (share > 0.0 && !faults.is_empty()).then_some(chaos);
    }

    pub(super) fn down(&mut self, fault: Option<Fault>) {
        self.down = fault;
    }

    /// No call fails from now on.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// How many of the next calls are still to fail.
    pub(super) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// How this call fails, if it does: what is meant for it comes before what hits all.
    pub(super) fn next(&mut self, endpoint: Endpoint) -> Option<Fault> {
        let place =
            self.queue.iter().position(|(kind, _)| *kind == endpoint || *kind == Endpoint::Any);
        if let Some((_, fault)) = place.and_then(|place| self.queue.remove(place)) {
            return Some(fault);
        }
        if self.down.is_some() {
            return self.down.clone();
        }
        let chaos = self.chaos.as_mut()?;
        let hits = chaos.random.f64() < chaos.share;
        hits.then(|| chaos.faults[chaos.random.usize(..chaos.faults.len())].clone())
    }
}
