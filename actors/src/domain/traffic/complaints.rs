//! What the statistics complain of, for people to be told.

use super::{Alert, Snapshot};
use crate::domain::health::measured::Complaint;

/// Fewer requests say nothing about an application.
const ENOUGH_REQUESTS: u64 = 20;

impl Snapshot {
    /// By application. That the slowest of all requests are slow is told where no application is slow by
    /// itself.
    #[must_use]
    pub fn complaints(&self) -> Vec<Complaint> {
        let mut complaints = Vec::new();
        for app in self.app_performance.values() {
            if app.status == "healthy" || app.request_count < ENOUGH_REQUESTS {
                continue;
            }
            let seconds = app.avg_response_time as f64 / 1e9;
            let message = format!(
                "{:.1} % of {} requests fail, they take {seconds:.2} s on average",
                app.error_rate, app.request_count
            );
            let (is_errors, subject) = (app.fails_often(), app.name.clone());
            complaints.push(Complaint { is_errors, subject, message });
        }
        let is_slow = |alert: &&Alert| !alert.resolved && alert.kind == "slow_response";
        let all = self.active_alerts.iter().find(is_slow);
        if let Some(all) = all.filter(|_| self.window_requests >= ENOUGH_REQUESTS)
            && complaints.iter().all(|complaint| complaint.is_errors)
        {
            let (subject, message) = ("all".to_owned(), all.message.clone());
            complaints.push(Complaint { is_errors: false, subject, message });
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

    fn complaints(lines: &[(&str, usize)]) -> Vec<(bool, String, String)> {
        let mut traffic = traffic();
        for (line, count) in lines {
            traffic.add(&requests(&vec![*line; *count]), 0, NO_COUNTRY);
        }
        let complaints = traffic.snapshot(0, ChannelHealth::default()).complaints();
        complaints.into_iter().map(|it| (it.is_errors, it.subject, it.message)).collect()
    }

    #[test]
    fn an_application_is_complained_of_when_enough_requests_say_so() {
        let fine = "at=info method=GET path=\"/\" dyno=web.1 service=10ms status=200";
        let failed = "at=error code=H12 method=GET path=\"/\" dyno=web.1 service=10ms status=503";
        let slow = "at=info method=GET path=\"/\" dyno=web.1 service=9000ms status=200";
        assert_eq!(complaints(&[(fine, 100)]), []);
        assert_eq!(complaints(&[(failed, 19)]), [], "a few say nothing");
        let told = complaints(&[(fine, 18), (failed, 2)]);
        let [(true, subject, message)] = &told[..] else { panic!("{told:?}") };
        assert!(subject.contains('/'), "{subject}");
        assert_eq!(message, "10.0 % of 20 requests fail, they take 0.01 s on average");
        let told = complaints(&[(slow, 20)]);
        let [(false, subject, _)] = &told[..] else { panic!("{told:?}") };
        assert!(subject.contains('/'), "once: {told:?}");
        // Fast on average, but the slowest are slow.
        let told = complaints(&[(fine, 93), (slow, 7)]);
        let [(false, subject, message)] = &told[..] else { panic!("{told:?}") };
        assert_eq!(subject, "all");
        assert!(message.starts_with("the slowest 5 % of requests take "), "{message}");
    }
}
