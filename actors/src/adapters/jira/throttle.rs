//! What Jira has told to wait, and until when.

use std::collections::HashMap;

use super::failure::Limit;
use crate::domain::time::Micros;

/// The kinds of requests: Jira limits each path and method by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    Create,
    CreateBulk,
    Comment,
    Comments,
    Edit,
    Ticket,
    Transitions,
    Transition,
    Search,
    Link,
    Metadata,
    Myself,
}

/// The tickets remembered at most; above it the one whose wait ends first is forgotten.
const TICKETS: usize = 1_000;

/// What has to wait, and until when; bounded.
#[derive(Debug, Default)]
pub struct Throttle {
    everything: Micros,
    endpoints: HashMap<Endpoint, Micros>,
    tickets: HashMap<String, Micros>,
}

impl Throttle {
    /// Jira wants nothing of this scope before `until`.
    pub fn limit(&mut self, scope: Limit, endpoint: Endpoint, ticket: Option<&str>, until: Micros) {
        match (scope, ticket) {
            (Limit::Everything, _) => self.everything = self.everything.max(until),
            (Limit::Ticket, Some(ticket)) => self.limit_ticket(ticket, until),
            // A request about no ticket cannot wait for one.
            (Limit::Endpoint, _) | (Limit::Ticket, None) => {
                let known = self.endpoints.entry(endpoint).or_default();
                *known = until.max(*known);
            }
        }
    }

    fn limit_ticket(&mut self, ticket: &str, until: Micros) {
        if self.tickets.len() >= TICKETS && !self.tickets.contains_key(ticket) {
            let first = self.tickets.iter().min_by_key(|(_, until)| **until);
            if let Some(first) = first.map(|(ticket, _)| ticket.clone()) {
                self.tickets.remove(&first);
            }
        }
        let known = self.tickets.entry(ticket.to_owned()).or_default();
        *known = until.max(*known);
    }

    /// Until when such a request has to wait, and because of what; `None` when it need not.
    #[must_use]
    pub fn wait_until(
        &self,
        endpoint: Endpoint,
        ticket: Option<&str>,
        now: Micros,
    ) -> Option<(Micros, Limit)> {
        let of_endpoint = self.endpoints.get(&endpoint).copied().unwrap_or_default();
        let of_ticket = ticket.and_then(|ticket| self.tickets.get(ticket)).copied();
        [
            (of_ticket.unwrap_or_default(), Limit::Ticket),
            (of_endpoint, Limit::Endpoint),
            (self.everything, Limit::Everything),
        ]
        .into_iter()
        .filter(|(until, _)| now < *until)
        .max_by_key(|(until, _)| *until)
    }

    /// Until when nothing at all is sent.
    #[must_use]
    pub fn everything_until(&self, now: Micros) -> Option<Micros> {
        Some(self.everything).filter(|until| now < *until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_limited_waits() {
        let mut throttle = Throttle::default();
        let waits = |throttle: &Throttle, endpoint, ticket, now| {
            throttle.wait_until(endpoint, ticket, now).map(|(until, _)| until)
        };
        throttle.limit(Limit::Ticket, Endpoint::Comment, Some("OPS-1"), 10);
        assert_eq!(waits(&throttle, Endpoint::Edit, Some("OPS-1"), 9), Some(10));
        assert_eq!(waits(&throttle, Endpoint::Edit, Some("OPS-1"), 10), None);
        assert_eq!(waits(&throttle, Endpoint::Comment, Some("OPS-2"), 9), None);
        throttle.limit(Limit::Endpoint, Endpoint::Create, None, 20);
        throttle.limit(Limit::Ticket, Endpoint::Create, None, 19);
        assert_eq!(waits(&throttle, Endpoint::Create, None, 9), Some(20), "the longest counts");
        assert_eq!(waits(&throttle, Endpoint::Search, None, 9), None);
        assert_eq!(throttle.everything_until(9), None);
        throttle.limit(Limit::Everything, Endpoint::Create, None, 15);
        assert_eq!(throttle.wait_until(Endpoint::Search, None, 9), Some((15, Limit::Everything)));
        assert_eq!(throttle.everything_until(9), Some(15));
        assert_eq!(waits(&throttle, Endpoint::Create, None, 9), Some(20));
    }

    #[test]
    fn tickets_are_bounded() {
        let mut throttle = Throttle::default();
        for ticket in 0..2 * Micros::try_from(TICKETS).unwrap() {
            let key = format!("OPS-{ticket}");
            throttle.limit(Limit::Ticket, Endpoint::Comment, Some(&key), 10 + ticket);
        }
        assert_eq!(throttle.tickets.len(), TICKETS);
        assert!(throttle.wait_until(Endpoint::Comment, Some("OPS-1999"), 0).is_some());
        assert!(throttle.wait_until(Endpoint::Comment, Some("OPS-0"), 0).is_none());
    }
}
