//! Which requests came, and what they heard.

use std::collections::VecDeque;

use jiff::Timestamp;
use serde_json::Value;

use super::{endpoint::Endpoint, fault::Fault};

/// A request, for assertions.
#[derive(Clone, Debug)]
pub struct Recorded {
    pub at: Timestamp,
    pub method: String,
    /// With its query.
    pub path: String,
    pub endpoint: Endpoint,
    /// Null when there was none, a string when it was no JSON.
    pub body: Value,
    /// Its scheme, with what was secret masked.
    pub authorization: Option<String>,
    /// How it was made to fail.
    pub fault: Option<Fault>,
    /// The status that was answered; none while there is no answer, and when there never is.
    pub status: Option<u16>,
    /// The body that was answered; null when it was none or no JSON.
    pub answer: Value,
}

/// The newest requests.
#[derive(Default)]
pub(super) struct Recorder {
    kept: VecDeque<Recorded>,
    /// How many were dropped.
    dropped: usize,
}

impl Recorder {
    /// Gives a number by which its answer is entered.
    pub(super) fn enter(&mut self, request: Recorded, most: usize) -> usize {
        self.kept.push_back(request);
        while self.kept.len() > most {
            self.kept.pop_front();
            self.dropped += 1;
        }
        (self.dropped + self.kept.len()).saturating_sub(1)
    }

    pub(super) fn answer(&mut self, number: usize, status: u16, answer: &Value) {
        let place = number.checked_sub(self.dropped);
        if let Some(request) = place.and_then(|place| self.kept.get_mut(place)) {
            request.status = Some(status);
            request.answer = answer.clone();
        }
    }

    pub(super) fn all(&self) -> Vec<Recorded> {
        self.kept.iter().cloned().collect()
    }

    pub(super) fn clear(&mut self) {
        self.dropped += self.kept.len();
        self.kept.clear();
    }
}

/// `Basic …` and `Bearer …` without what follows.
pub(super) fn masked(authorization: &str) -> String {
    let scheme = authorization.split(' ').next().unwrap_or_default();
    format!("{scheme} ***")
}
