//! What messages say: the alert, the update and the end of it. The one place of these texts; they
//! stand in docs/runbook.md too.
//!
//! A letter is made of what was stored when the alert was told, so that it is the same however often
//! it is tried.

use std::{collections::BTreeSet, time::Duration};

use super::{
    delivery::{Told, What},
    one_line, urgency,
};
use crate::domain::{
    notification::Urgency,
    rule::{Class, Priorities, lasting},
    time::{Micros, micros, rfc3339},
};

/// What letters need to know beside the alerts.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Where people reach the admin listener; empty where that is not known.
    pub public_url: String,
    pub priorities: Priorities,
}

/// A text, and the same as HTML.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// One line.
    pub subject: String,
    pub text: String,
    pub html: String,
}

/// Longer subjects are cut, in bytes.
const LONGEST_SUBJECT: usize = 200;

/// `[CRITICAL]` and the like: the worst of them, or that all is well again.
#[must_use]
pub fn mark(what: What, alerts: &[Told]) -> &'static str {
    let worst = alerts.iter().map(Told::class).min_by_key(|class| *class as u8);
    match (what, worst.map(urgency)) {
        (What::Resolved, _) => "RESOLVED",
        (_, Some(Urgency::Critical)) => "CRITICAL",
        (_, Some(Urgency::Warning)) => "WARNING",
        (_, Some(Urgency::Info) | None) => "INFO",
    }
}

/// The lines about one alert: what each is about, and what it says.
#[must_use]
pub fn lines(what: What, told: &Told, around: &Surroundings) -> Vec<(&'static str, String)> {
    let class = told.class();
    let respond = lasting::shown(around.priorities.get(class).respond);
    let mut lines = vec![
        ("What", told.what()),
        ("Component", told.subject.clone()),
        ("Hub", told.hub.clone()),
        ("Cause", told.cause.clone()),
        ("Since", rfc3339(told.since)),
    ];
    if what == What::Resolved {
        let ended = told.resolved_at.unwrap_or(told.since);
        lines.push(("Resolved", format!("{}, after {}", rfc3339(ended), after(told.since, ended))));
        lines.extend(told.note.clone().map(|note| ("Note", note)));
    } else {
        lines.push(("Respond within", format!("{respond} ({})", class.name())));
        lines.push(("What to do", told.kind.advice().to_owned()));
        lines.push(("Runbook", around.runbook(told)));
    }
    lines.extend(around.dashboard(told).map(|url| ("Dashboard", url)));
    lines
}

fn after(since: Micros, ended: Micros) -> String {
    let seconds = u64::try_from((ended - since) / micros(Duration::from_secs(1)));
    lasting::shown(Duration::from_secs(seconds.unwrap_or_default()))
}

impl Surroundings {
    /// The section of the runbook about this kind of alert.
    #[must_use]
    pub fn runbook(&self, told: &Told) -> String {
        let base = self.public_url.trim_end_matches('/');
        let slash = if base.is_empty() { "" } else { "/" };
        format!("{base}{slash}docs/runbook.md#{}", told.kind.name())
    }

    /// A page of the dashboard, where it is known where that is.
    #[must_use]
    pub fn dashboard(&self, told: &Told) -> Option<String> {
        let base = self.public_url.trim_end_matches('/');
        (!base.is_empty()).then(|| format!("{base}{}", told.link))
    }

    #[must_use]
    pub fn respond(&self, class: Class) -> Duration {
        self.priorities.get(class).respond
    }
}

/// What one message says about alerts that are told together.
#[must_use]
pub fn letter(what: What, alerts: &[Told], around: &Surroundings) -> Letter {
    let hubs: BTreeSet<&str> = alerts.iter().map(|told| told.hub.as_str()).collect();
    let hubs = hubs.into_iter().collect::<Vec<_>>().join(", ");
    let whats: Vec<String> = alerts.iter().map(Told::what).collect();
    let (still, count) = match (what, alerts.len()) {
        (What::Repeat, _) => (" (still)", String::new()),
        (_, 0 | 1) => ("", String::new()),
        (_, many) => ("", format!("{many} alerts: ")),
    };
    let mark = mark(what, alerts);
    let subject = format!("[{mark}] Faultline {hubs}: {count}{}{still}", whats.join("; "));
    let mut text = String::new();
    let mut html = String::from("<!doctype html><html><body style=\"font-family:sans-serif\">\n");
    for told in alerts {
        if !text.is_empty() {
            text.push('\n');
        }
        html.push_str("<table cellpadding=\"4\" style=\"margin-bottom:1em\">\n");
        for (name, value) in lines(what, told, around) {
            let value = one_line(&value, usize::MAX);
            text.push_str(&format!("{:<16}{value}\n", format!("{name}:")));
            html.push_str(&format!(
                "<tr><th align=\"left\" valign=\"top\">{name}</th><td>{}</td></tr>\n",
                linked(&value)
            ));
        }
        html.push_str("</table>\n");
    }
    html.push_str("</body></html>\n");
    Letter { subject: one_line(&subject, LONGEST_SUBJECT), text, html }
}

/// A line as HTML; one that is a URL can be followed.
fn linked(value: &str) -> String {
    let shown = escaped(value);
    let is_url = ["http://", "https://"].iter().any(|scheme| value.starts_with(scheme));
    if is_url && !value.contains(' ') {
        return format!("<a href=\"{shown}\">{shown}</a>");
    }
    shown
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::alert::Kind;

    fn told(kind: Kind, subject: &str) -> Told {
        Told {
            alert: 7,
            kind,
            subject: subject.to_owned(),
            cause: "connection refused, 5 times <now>".to_owned(),
            hub: "hub-1".to_owned(),
            since: 1_795_316_400_000_000,
            link: "/jobs".to_owned(),
            resolved_at: None,
            note: None,
        }
    }

    fn around() -> Surroundings {
        let public_url = "https://faultline.example.com/".to_owned();
        Surroundings { public_url, priorities: Priorities::default() }
    }

    #[test]
    fn an_alert_says_all_that_is_needed() {
        let letter = letter(What::Firing, &[told(Kind::PartnerDown, "jira")], &around());
        assert_eq!(letter.subject, "[CRITICAL] Faultline hub-1: jira is down");
        let expected = "\
What:           jira is down
Component:      jira
Hub:            hub-1
Cause:          connection refused, 5 times <now>
Since:          2026-11-22T03:00:00Z
Respond within: 1h (P1)
What to do:     Check whether the system answers at all, and the network in between. Jobs and data wait, and go on by themselves when it is back.
Runbook:        https://faultline.example.com/docs/runbook.md#partner-down
Dashboard:      https://faultline.example.com/jobs
";
        assert_eq!(letter.text, expected);
        assert!(letter.html.contains("5 times &lt;now&gt;"), "{}", letter.html);
        assert!(letter.html.contains("<a href=\"https://faultline.example.com/jobs\">"));
    }

    #[test]
    fn an_update_and_an_end_say_so() {
        let update = letter(What::Repeat, &[told(Kind::DeadJobs, "create")], &around());
        assert_eq!(update.subject, "[WARNING] Faultline hub-1: jobs were given up: create (still)");
        let ended = Told {
            resolved_at: Some(1_795_316_400_000_000 + 754_000_000),
            note: Some("gone".to_owned()),
            ..told(Kind::AppSlow, "shop")
        };
        let end = letter(What::Resolved, &[ended], &Surroundings::default());
        assert_eq!(end.subject, "[RESOLVED] Faultline hub-1: shop: requests are answered slowly");
        assert!(end.text.contains(
            "Resolved:       2026-11-22T03:12:34Z, after 12m 34s\nNote:           gone\n"
        ));
        assert!(
            !end.text.contains("What to do") && !end.text.contains("Dashboard"),
            "{}",
            end.text
        );
    }

    #[test]
    fn several_are_one_letter_as_bad_as_the_worst() {
        let alerts = [told(Kind::AppSlow, "shop"), told(Kind::StageStuck, "parser")];
        let letter = letter(What::Firing, &alerts, &around());
        let subject = "[CRITICAL] Faultline hub-1: 2 alerts: shop: requests are answered slowly; stage parser is stuck";
        assert_eq!(letter.subject, subject);
        assert_eq!(letter.text.matches("Component:").count(), 2);
    }

    #[test]
    fn each_says_which_hub_it_belongs_to() {
        let other = Told { hub: "hub-2".to_owned(), ..told(Kind::SpoolDisk, "spool") };
        let alerts = [other, told(Kind::SpoolDisk, "disk"), told(Kind::SpoolDisk, "spool")];
        let letter = letter(What::Firing, &alerts, &around());
        let start = "[CRITICAL] Faultline hub-1, hub-2: 3 alerts: ";
        assert!(letter.subject.starts_with(start), "{}", letter.subject);
        let hubs: Vec<_> = letter.text.lines().filter(|line| line.starts_with("Hub:")).collect();
        let [first, second] = ["Hub:            hub-2", "Hub:            hub-1"];
        assert_eq!(hubs, [first, second, second], "{}", letter.text);
    }

    #[test]
    fn nothing_breaks_out_of_its_line() {
        let mut evil = told(Kind::SourceSilent, "shop\r\nBcc: all@example.com\u{2028}x");
        evil.hub = "hub\n1".to_owned();
        evil.cause = "a\r\n\r\n<script>alert(1)</script>".to_owned();
        let letter = letter(What::Firing, &[evil], &around());
        assert!(!letter.subject.contains(char::is_control), "{}", letter.subject);
        assert!(!letter.text.contains("\nBcc") && !letter.html.contains("<script>"));
        let many = vec![told(Kind::SourceSilent, &"é".repeat(100)); 50];
        assert!(super::letter(What::Firing, &many, &around()).subject.len() <= LONGEST_SUBJECT);
    }
}
