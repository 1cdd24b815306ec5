//! How Jira is reached: section `[jira]`, as far as it is about the connection.

use std::time::Duration;

use reqwest::Url;
use serde::{Deserialize, Serialize};

use super::attempt::Policy;
use crate::{
    adapters::{http::is_loopback, store::jobs::Budget},
    domain::{breaker, rule::DRY_PROJECT, secret::Secret},
};

/// Section `[jira]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// `https://example.atlassian.net`, or a Data Center's with its context path. Empty: a dry run,
    /// nothing is sent.
    pub url: String,
    /// The account of `token`; its user name on a Data Center.
    pub email: String,
    /// Jira Cloud's API token.
    pub token: Secret,
    /// A Data Center's personal access token.
    pub pat: Secret,
    /// The project's key, where no rule names another.
    pub project: String,
    /// The tickets' type by its name, where no rule names another.
    pub issue_type: String,
    pub api: ApiSetting,
    /// A text field (`customfield_10001`) that says which fault a ticket is about. Empty: a label
    /// does.
    pub locator_field: String,
    /// From the request's start to the answer's end.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub request_timeout: Duration,
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub connect_timeout: Duration,
    /// Requests a second, of all hubs together.
    pub rate_per_second: u32,
    /// Requests an hour, of all hubs together; 0 for no such limit.
    pub rate_per_hour: u32,
    /// Where people find Faultline's dashboard, for links in tickets.
    pub public_url: String,
    /// What Jira's webhook signs with; empty: `POST /webhooks/jira` is closed.
    pub webhook_secret: Secret,
    /// How long a search may not find a ticket that was made.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub search_settle: Duration,
    /// New tickets of an environment within `storm_window`; more new faults are a storm. 0: off.
    pub storm_budget: u32,
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub storm_window: Duration,
    /// How often Jira is asked what people did with tickets; zero: never.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub poll_every: Duration,
    /// Resolutions that say "let it be": a ticket that was closed with one stays closed.
    pub wont_fix: Vec<String>,
    /// A hub that was not heard of for so long has its jobs taken over.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub lease: Duration,
    /// A job that failed so often is dead.
    pub max_attempts: u32,
    /// The first and the longest wait before a job is tried again.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub retry_first: Duration,
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub retry_cap: Duration,
    /// Jira is left alone when this share of the calls within `breaker_window` failed, of at least
    /// `breaker_calls` …
    pub breaker_rate: f64,
    pub breaker_calls: u32,
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub breaker_window: Duration,
    /// … for so long at first, and for at most twenty times as long.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub breaker_open: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            url: String::new(),
            email: String::new(),
            token: Secret::default(),
            pat: Secret::default(),
            project: String::new(),
            issue_type: "Bug".to_owned(),
            api: ApiSetting::Auto,
            locator_field: String::new(),
            request_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(5),
            rate_per_second: 10,
            rate_per_hour: 0,
            public_url: String::new(),
            webhook_secret: Secret::default(),
            search_settle: Duration::from_mins(1),
            storm_budget: 20,
            storm_window: Duration::from_mins(10),
            poll_every: Duration::from_secs(30),
            wont_fix: ["Won't Do", "Won't Fix", "Declined"].map(str::to_owned).to_vec(),
            lease: Duration::from_secs(10),
            max_attempts: 8,
            retry_first: Duration::from_secs(1),
            retry_cap: Duration::from_mins(10),
            breaker_rate: 0.5,
            breaker_calls: 5,
            breaker_window: Duration::from_mins(1),
            breaker_open: Duration::from_secs(15),
        }
    }
}

/// Which of Atlassian's two programs is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ApiSetting {
    /// Cloud where the host ends in `.atlassian.net` or an email is set; else Server.
    #[default]
    Auto,
    Cloud,
    Server,
}

/// See [`ApiSetting`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// "The Jira Cloud platform REST API", version 3: texts are documents (ADF).
    Cloud,
    /// "Jira Data Center REST API", version 2: texts are wiki markup.
    Server,
}

/// The most requests a second: what Jira Cloud lets one endpoint do ("Rate limiting": 100).
const MAX_RATE: u32 = 100;

impl Settings {
    /// Whether nothing is to be sent.
    #[must_use]
    pub fn is_dry_run(&self) -> bool {
        self.url.is_empty()
    }

    /// The project of tickets that no rule names one for; empty where there is none.
    #[must_use]
    pub fn default_project(&self) -> &str {
        if self.project.is_empty() && self.is_dry_run() { DRY_PROJECT } else { &self.project }
    }

    #[must_use]
    pub fn api(&self) -> Api {
        match self.api {
            ApiSetting::Auto if !self.is_cloud() => Api::Server,
            ApiSetting::Auto | ApiSetting::Cloud => Api::Cloud,
            ApiSetting::Server => Api::Server,
        }
    }

    fn is_cloud(&self) -> bool {
        let host = Url::parse(&self.url).ok().and_then(|url| url.host_str().map(str::to_owned));
        // A dry run shows what Cloud would get, unless there is a sign of a Data Center.
        let unknown = self.url.is_empty() && self.pat.is_empty();
        unknown
            || !self.email.is_empty()
            || host.is_some_and(|host| host.ends_with(".atlassian.net"))
    }

    /// # Errors
    /// Names the setting, its value, and what would be right.
    pub fn validate(&self) -> Result<(), String> {
        base_of("url", &self.url, Scheme::Guarded)?;
        base_of("public_url", &self.public_url, Scheme::Any)?;
        self.check_credentials()?;
        let field = &self.locator_field;
        let number = field.strip_prefix("customfield_").unwrap_or_default();
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        if !field.is_empty() && !is_number {
            return Err(format!(
                "locator_field = \"{field}\": a custom field's id is needed, such as \
                 customfield_10001, or nothing"
            ));
        }
        if self.issue_type.trim().is_empty() {
            return Err("issue_type = \"\": a type's name is needed, such as Bug".to_owned());
        }
        for (name, timeout) in
            [("request_timeout", self.request_timeout), ("connect_timeout", self.connect_timeout)]
        {
            if timeout.is_zero() || timeout > Duration::from_mins(10) {
                return Err(format!(
                    "{name} = \"{timeout:?}\": more than zero and at most 10m is needed"
                ));
            }
        }
        if !(1..=MAX_RATE).contains(&self.rate_per_second) {
            let rate = self.rate_per_second;
            return Err(format!("rate_per_second = {rate}: 1 to {MAX_RATE} are possible"));
        }
        self.check_dispatch()
    }

    /// What is about the jobs, not the connection.
    fn check_dispatch(&self) -> Result<(), String> {
        let shown = |duration| {
            format!("{:#}", jiff::SignedDuration::try_from(duration).unwrap_or_default())
        };
        for (name, duration) in [
            ("storm_window", self.storm_window),
            ("breaker_window", self.breaker_window),
            ("breaker_open", self.breaker_open),
            ("retry_first", self.retry_first),
        ] {
            if duration.is_zero() {
                return Err(format!("{name} = \"0s\": more than zero is needed"));
            }
        }
        if self.retry_first > self.retry_cap {
            let (first, cap) = (shown(self.retry_first), shown(self.retry_cap));
            return Err(format!(
                "retry_first = \"{first}\": at most retry_cap (\"{cap}\") is needed"
            ));
        }
        if self.lease < Duration::from_secs(1) {
            let lease = shown(self.lease);
            return Err(format!("lease = \"{lease}\": at least 1s is needed"));
        }
        if self.max_attempts == 0 {
            return Err("max_attempts = 0: at least one is needed".to_owned());
        }
        if !(self.breaker_rate > 0.0 && self.breaker_rate <= 1.0) {
            let rate = self.breaker_rate;
            return Err(format!("breaker_rate = {rate}: a share above 0 and at most 1 is needed"));
        }
        if self.breaker_calls == 0 {
            return Err("breaker_calls = 0: at least one is needed".to_owned());
        }
        Ok(())
    }

    /// When the circuit breaker opens.
    #[must_use]
    pub fn breaker(&self) -> breaker::Settings {
        breaker::Settings {
            window: self.breaker_window,
            min_calls: self.breaker_calls,
            failure_rate: self.breaker_rate,
            open_for: self.breaker_open,
            open_for_at_most: self.breaker_open.saturating_mul(20),
        }
    }

    /// When jobs are tried again.
    #[must_use]
    pub fn policy(&self) -> Policy {
        Policy {
            search_settle: self.search_settle,
            max_attempts: self.max_attempts,
            retry_first: self.retry_first,
            retry_cap: self.retry_cap,
        }
    }

    /// New tickets before it is a storm.
    #[must_use]
    pub fn budget(&self) -> Option<Budget> {
        let budget = Budget { tickets: self.storm_budget, window: self.storm_window };
        Some(budget).filter(|budget| budget.tickets > 0)
    }

    fn check_credentials(&self) -> Result<(), String> {
        let (token, pat) = (!self.token.is_empty(), !self.pat.is_empty());
        if token && pat {
            return Err(
                "pat = \"***\": either a token (Cloud) or a pat (Data Center), not both".to_owned()
            );
        }
        if token && self.email.is_empty() {
            return Err("email = \"\": the account that the token belongs to is needed".to_owned());
        }
        if !self.email.is_empty() && self.email.contains(':') {
            return Err(format!("email = \"{}\": must be without a colon", self.email));
        }
        if self.is_dry_run() {
            return Ok(());
        }
        if pat && self.api() == Api::Cloud {
            return Err("pat = \"***\": Jira Cloud takes an email and a token instead".to_owned());
        }
        if !token && !pat {
            return Err(format!(
                "url = \"{}\": email and token (Cloud) or pat (Data Center) are needed with it",
                self.url
            ));
        }
        Ok(())
    }

    /// The URL that the API's paths follow; `None` in a dry run.
    pub(super) fn base(&self) -> Result<Option<Url>, String> {
        base_of("url", &self.url, Scheme::Guarded)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Any,
    /// Credentials go over it: not in the clear, but to the same machine.
    Guarded,
}

fn base_of(key: &str, text: &str, scheme: Scheme) -> Result<Option<Url>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    // The text itself might hold a password, so it is shown only without one.
    let shown = if text.contains('@') { "***" } else { text };
    let wrong = |what: &str| Err(format!("{key} = \"{shown}\": {what}"));
    let Ok(url) = Url::parse(text) else {
        return wrong("an URL is needed, such as https://example.atlassian.net");
    };
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return wrong("http or https is needed");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return wrong("must be without credentials: they have settings of their own");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return wrong("must be without ? and #");
    }
    if scheme == Scheme::Guarded && url.scheme() == "http" && !is_loopback(&url) {
        return wrong("https is needed: the token must not be readable on its way");
    }
    Ok(Some(url))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cloud() -> Settings {
        Settings {
            url: "https://example.atlassian.net".to_owned(),
            email: "bot@example.com".to_owned(),
            token: Secret::new("hunter2"),
            ..Settings::default()
        }
    }

    fn server() -> Settings {
        Settings {
            url: "https://jira.example.com/jira".to_owned(),
            pat: Secret::new("hunter2"),
            ..Settings::default()
        }
    }

    #[test]
    fn the_api_follows_from_what_is_set() {
        assert_eq!(cloud().api(), Api::Cloud);
        assert_eq!(server().api(), Api::Server);
        assert_eq!(Settings::default().api(), Api::Cloud);
        assert!(Settings::default().is_dry_run());
        let named = Settings { api: ApiSetting::Server, ..cloud() };
        assert_eq!(named.api(), Api::Server);
        for settings in [cloud(), server(), named, Settings::default()] {
            settings.validate().unwrap();
            let shown = format!("{settings:?}");
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_what_would_be_right() {
        let url = |url: &str| Settings { url: url.to_owned(), ..cloud() };
        for (settings, problem) in [
            (url("example"), "url = \"example\": an URL is needed"),
            (url("ftp://example.com"), "url = \"ftp://example.com\": http or https"),
            (url("http://example.com"), "url = \"http://example.com\": https is needed"),
            (url("https://u:hunter2@example.com"), "url = \"***\": must be without credentials"),
            (url("https://example.com/?x=1"), "must be without ? and #"),
            (Settings { token: Secret::default(), ..cloud() }, "email and token (Cloud) or pat"),
            (Settings { email: String::new(), ..cloud() }, "email = \"\": the account"),
            (Settings { pat: Secret::new("hunter2"), ..cloud() }, "pat = \"***\": either"),
            (Settings { api: ApiSetting::Cloud, ..server() }, "pat = \"***\": Jira Cloud takes"),
            (
                Settings { locator_field: "Fault".to_owned(), ..cloud() },
                "locator_field = \"Fault\": a custom field's id",
            ),
            (Settings { issue_type: " ".to_owned(), ..cloud() }, "issue_type = "),
            (Settings { request_timeout: Duration::ZERO, ..cloud() }, "request_timeout = "),
            (Settings { rate_per_second: 0, ..cloud() }, "rate_per_second = 0: 1 to 100"),
            (Settings { lease: Duration::ZERO, ..cloud() }, "lease = \"0s\": at least 1s"),
            (Settings { breaker_rate: f64::NAN, ..cloud() }, "breaker_rate = NaN: a share"),
            (Settings { max_attempts: 0, ..cloud() }, "max_attempts = 0: at least one"),
            (
                Settings { retry_first: Duration::from_hours(1), ..cloud() },
                "retry_first = \"1h\": at most retry_cap (\"10m\")",
            ),
            (
                Settings { public_url: "example".to_owned(), ..cloud() },
                "public_url = \"example\": an URL",
            ),
        ] {
            let found = settings.validate().unwrap_err();
            assert!(found.contains(problem), "{found}\n  lacks {problem}");
            assert!(!found.contains("hunter2"), "{found}");
        }
        for local in ["http://127.0.0.1:8080/jira", "http://[::1]:80", "http://localhost"] {
            url(local).validate().unwrap();
        }
    }
}
