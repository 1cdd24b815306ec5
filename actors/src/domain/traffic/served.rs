//! How requests were served, by name: by dyno, by application. Names beyond a bound count as one.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::{MANY_ERRORS, NANOS_PER_MS, above, average, percent};
use crate::domain::router::Request;

/// Names kept apart.
pub(super) const MOST: usize = 500;
const OTHERS: &str = "other";

/// What was counted under one name.
#[derive(Clone, Copy, Default)]
struct Served {
    requests: u64,
    errors: u64,
    timed: u64,
    service_ms: u64,
}

/// See the [module](self).
#[derive(Clone, Default)]
pub(super) struct ServedBy(HashMap<Box<str>, Served>);

/// How requests were served; the time is in nanoseconds, the rate in percent.
#[derive(Clone, Debug, Serialize)]
pub struct Performance {
    pub name: String,
    pub request_count: u64,
    pub avg_response_time: u64,
    pub error_rate: f64,
    /// `healthy`, `warning` or `critical`.
    pub status: &'static str,
}

impl Performance {
    /// Whether it is not healthy because its requests fail; otherwise it is because they are slow.
    #[must_use]
    pub fn fails_often(&self) -> bool {
        self.error_rate > MANY_ERRORS
    }
}

impl ServedBy {
    pub(super) fn count(&mut self, name: &str, request: &Request<'_>) {
        let served = self.of(name);
        served.requests += 1;
        served.errors += u64::from(request.is_error());
        if let Some(ms) = request.service_ms {
            served.timed += 1;
            served.service_ms += u64::from(ms);
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (name, served) in &other.0 {
            let sum = self.of(name);
            sum.requests += served.requests;
            sum.errors += served.errors;
            sum.timed += served.timed;
            sum.service_ms += served.service_ms;
        }
    }

    pub(super) fn performance(&self) -> BTreeMap<String, Performance> {
        self.0.iter().map(|(name, served)| (name.to_string(), served.performance(name))).collect()
    }

    /// The counts of a name, or of all those beyond the bound.
    fn of(&mut self, name: &str) -> &mut Served {
        let mut name = name;
        if !self.0.contains_key(name) {
            let others = usize::from(self.0.contains_key(OTHERS));
            if self.0.len() - others >= MOST {
                name = OTHERS;
            }
            self.0.entry(name.into()).or_default();
        }
        self.0.get_mut(name).expect("there is one now")
    }
}

impl Served {
    fn performance(&self, name: &str) -> Performance {
        let error_rate = percent(self.errors, self.requests);
        let avg_response_time = average(self.service_ms, self.timed);
        let by_errors = above(error_rate, MANY_ERRORS, 10.0);
        let by_time = above(avg_response_time as f64 / NANOS_PER_MS, 1_000.0, 2_000.0);
        let status = match (by_errors, by_time) {
            (Some("critical"), _) | (_, Some("critical")) => "critical",
            (Some(_), _) | (_, Some(_)) => "warning",
            (None, None) => "healthy",
        };
        let (name, request_count) = (name.to_owned(), self.requests);
        Performance { name, request_count, avg_response_time, error_rate, status }
    }
}
