//! What the statistics complain of, for people to be told.

use super::{Alert, Snapshot};
use crate::domain::health::measured::Complaint;

/// Fewer requests are not enough to tell people about an application.
const ENOUGH_REQUESTS: u64 = 20;

impl Snapshot {
    /// By application; of few requests they are not certain. That the slowest of all requests are slow is
    /// told where no application is surely slow by itself.
    #[must_use]
    pub fn complaints(&self) -> Vec<Complaint> {
        let mut complaints = Vec::new();
        for app in self.app_performance.values() {
            if app.status == "healthy" {
                continue;
            }
            let is_certain = app.request_count >= ENOUGH_REQUESTS;
            let seconds = app.avg_response_time as f64 / 1e9;
            let message = format!(
                "{:.1} % of {} requests fail, they take {seconds:.2} s on average",
                app.error_rate, app.request_count
            );
            let (is_errors, subject) = (app.fails_often(), app.name.clone());
            complaints.push(Complaint { is_certain, is_errors, subject, message });
        }
        let is_slow = |alert: &&Alert| !alert.resolved && alert.kind == "slow_response";
        let is_surely_slow = |complaint: &Complaint| complaint.is_certain && !complaint.is_errors;
        if let Some(all) = self.active_alerts.iter().find(is_slow)
            && !complaints.iter().any(is_surely_slow)
        {
            let is_certain = self.window_requests >= ENOUGH_REQUESTS;
            let (subject, message) = ("all".to_owned(), all.message.clone());
            complaints.push(Complaint { is_certain, is_errors: false, subject, message });
        }
        complaints
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        ChannelHealth,
        tests::{NO_COUNTRY, requests, traffic},
    };

    /// Those that are certain, or those that are not: of errors or not, of what, and in which words.
    fn complaints(lines: &[(&str, usize)], is_certain: bool) -> Vec<(bool, String, String)> {
        let mut traffic = traffic();
        for (line, count) in lines {
            traffic.add(&requests(&vec![*line; *count]), 0, NO_COUNTRY);
        }
        let complaints = traffic.snapshot(0, ChannelHealth::default()).complaints();
        let complaints = complaints.into_iter().filter(|it| it.is_certain == is_certain);
        complaints.map(|it| (it.is_errors, it.subject, it.message)).collect()
    }

    #[test]
    fn an_application_is_complained_of_when_enough_requests_say_so() {
        let fine = "at=info method=GET path=\"/\" dyno=web.1 service=10ms status=200";
        let failed = "at=error code=H12 method=GET path=\"/\" dyno=web.1 service=10ms status=503";
        let slow = "at=info method=GET path=\"/\" dyno=web.1 service=9000ms status=200";
        assert_eq!(complaints(&[(fine, 100)], true), []);
        assert_eq!(complaints(&[(failed, 19)], true), [], "a few are not enough");
        let told = complaints(&[(fine, 18), (failed, 2)], true);
        let [(true, subject, message)] = &told[..] else { panic!("{told:?}") };
        assert!(subject.contains('/'), "{subject}");
        assert_eq!(message, "10.0 % of 20 requests fail, they take 0.01 s on average");
        let told = complaints(&[(slow, 20)], true);
        let [(false, subject, _)] = &told[..] else { panic!("{told:?}") };
        assert!(subject.contains('/'), "once: {told:?}");
        // Fast on average, but the slowest are slow.
        let told = complaints(&[(fine, 93), (slow, 7)], true);
        let [(false, subject, message)] = &told[..] else { panic!("{told:?}") };
        assert_eq!(subject, "all");
        assert!(message.starts_with("the slowest 5 % of requests take "), "{message}");
    }

    #[test]
    fn of_few_requests_a_complaint_is_not_certain() {
        let fine = "at=info method=GET path=\"/\" dyno=web.1 service=10ms status=200";
        let failed = "at=error code=H12 method=GET path=\"/\" dyno=web.1 service=10ms status=503";
        let slow = "at=info method=GET path=\"/\" dyno=web.1 service=9000ms status=200";
        assert_eq!(complaints(&[(fine, 19)], false), []);
        let told = complaints(&[(failed, 19)], false);
        let [(true, subject, message)] = &told[..] else { panic!("{told:?}") };
        assert!(subject.contains('/'), "{subject}");
        assert_eq!(message, "100.0 % of 19 requests fail, they take 0.01 s on average");
        let told = complaints(&[(slow, 19)], false);
        let [(false, app, _), (false, all, _)] = &told[..] else { panic!("{told:?}") };
        assert!(app.contains('/') && all == "all", "{told:?}");
        assert_eq!(complaints(&[(slow, 20)], false), []);
    }
}
