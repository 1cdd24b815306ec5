//! Which account's buckets are watched, and how.

use std::time::Duration;

use reqwest::Url;
use serde::{Deserialize, Serialize};

use super::sign::Dialect;
use crate::domain::{record::Meta, rule::Patterns, secret::Secret};

/// Section `[bucket_watcher]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Where the account is; empty: nothing is watched.
    pub endpoint: String,
    pub kind: Kind,
    /// Of the endpoint, such as `eu-central-1`.
    pub region: String,
    pub access_key_id: String,
    pub access_key_secret: Secret,
    /// Of temporary credentials.
    pub session_token: Secret,
    /// Names or patterns, each with a prefix of keys behind a slash where only these are watched:
    /// `logs-*/app/`. Empty: all buckets of the account.
    pub buckets: Vec<String>,
    pub addressing: Addressing,
    pub mode: Mode,
    /// Of all events; empty for the parser's.
    pub environment: String,
    /// What the store knows this watch by.
    pub name: String,
    /// Whether what is there when a bucket is seen for the first time counts as created.
    pub announce_existing: bool,
    /// How often a part of a bucket is listed, as long as things happen in it …
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub interval: Duration,
    /// … and how seldom at most, when nothing does: each quiet pass doubles the interval.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub interval_cap: Duration,
    /// Objects asked for at once.
    pub page: u32,
    /// A hub that is not heard of for so long is relieved.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub lease: Duration,
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub request_timeout: Duration,
    /// A request is tried so often before the pass is given up until the next one.
    pub tries: u32,
    /// The first and the longest wait in between.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub retry_first: Duration,
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub retry_cap: Duration,
}

/// What kind of store the account is of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Amazon S3, or any store that speaks like it.
    #[default]
    S3,
    /// Alibaba Cloud OSS.
    Oss,
}

impl Kind {
    #[must_use]
    pub const fn dialect(self) -> Dialect {
        match self {
            Self::S3 => Dialect::Aws,
            Self::Oss => Dialect::Oss,
        }
    }
}

/// Where the name of a bucket stands in a URL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Addressing {
    /// In the host at Amazon's and Alibaba's own, in the path elsewhere.
    #[default]
    Auto,
    Host,
    Path,
}

/// How changes are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// By comparing all objects with a snapshot in the store.
    #[default]
    Snapshot,
    /// For buckets to which keys are only added, each behind all others: only what is behind the last
    /// one is listed. What is changed or deleted goes unnoticed.
    Watermark,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            endpoint: String::new(),
            kind: Kind::S3,
            region: String::new(),
            access_key_id: String::new(),
            access_key_secret: Secret::default(),
            session_token: Secret::default(),
            buckets: Vec::new(),
            addressing: Addressing::Auto,
            mode: Mode::Snapshot,
            environment: String::new(),
            name: "default".to_owned(),
            announce_existing: false,
            interval: Duration::from_secs(30),
            interval_cap: Duration::from_mins(2),
            page: 1_000,
            lease: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            tries: 4,
            retry_first: Duration::from_millis(200),
            retry_cap: Duration::from_secs(5),
        }
    }
}

/// One of [`Settings::buckets`].
#[derive(Clone, Debug)]
pub struct Selection {
    name: String,
    pattern: Patterns,
    pub prefix: String,
}

impl Selection {
    fn new(text: &str) -> Self {
        let (name, prefix) = text.split_once('/').unwrap_or((text, ""));
        let name = name.to_owned();
        let pattern = Patterns::new(std::slice::from_ref(&name));
        Self { name, pattern, prefix: prefix.to_owned() }
    }

    /// Its name, where it can be only one bucket.
    #[must_use]
    pub fn single(&self) -> Option<&str> {
        (!self.name.contains('*')).then_some(self.name.as_str())
    }

    #[must_use]
    pub fn selects(&self, bucket: &str) -> bool {
        self.pattern.hold(bucket)
    }
}

/// More objects than servers give at once.
const MAX_PAGE: u32 = 1_000;

impl Settings {
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.endpoint.is_empty()
    }

    /// What is watched.
    #[must_use]
    pub fn selections(&self) -> Vec<Selection> {
        if self.buckets.is_empty() {
            return vec![Selection::new("*")];
        }
        self.buckets.iter().map(|text| Selection::new(text)).collect()
    }

    /// # Errors
    /// Names the setting, its value, and what would be right.
    pub fn validate(&self) -> Result<(), String> {
        self.base()?;
        self.check_account()?;
        for text in &self.buckets {
            check_selection(text).map_err(|problem| format!("buckets = [{text:?}]: {problem}"))?;
        }
        self.check_overlap()?;
        for (key, name, least) in [("name", &self.name, 1), ("environment", &self.environment, 0)] {
            let is_long = !(least..=Meta::MAX_NAME).contains(&name.len());
            if is_long || name.contains(char::is_control) {
                let most = Meta::MAX_NAME;
                return Err(format!("{key} = {name:?}: {least} to {most} bytes are possible"));
            }
        }
        if !(1..=MAX_PAGE).contains(&self.page) {
            return Err(format!("page = {}: 1 to {MAX_PAGE} are possible", self.page));
        }
        if !(1..=20).contains(&self.tries) {
            return Err(format!("tries = {}: 1 to 20 are possible", self.tries));
        }
        self.check_times()
    }

    fn check_account(&self) -> Result<(), String> {
        if !self.is_on() {
            return Ok(());
        }
        for (key, value, example) in [
            ("region", self.region.as_str(), "such as eu-central-1"),
            ("access_key_id", &self.access_key_id, "that of an account that may list buckets"),
        ] {
            let is_word = |byte: u8| byte.is_ascii_graphic() && byte != b'/' && byte != b',';
            if value.is_empty() || !value.bytes().all(is_word) {
                let shown = if key == "region" { value } else { "***" };
                let shown = if value.is_empty() { "" } else { shown };
                return Err(format!("{key} = \"{shown}\": one is needed, {example}"));
            }
        }
        if self.access_key_secret.is_empty() {
            return Err("access_key_secret = \"\": that of access_key_id is needed".to_owned());
        }
        let token = self.session_token.expose();
        if token.bytes().any(|byte| !byte.is_ascii_graphic()) {
            return Err("session_token = \"***\": a word without spaces is needed".to_owned());
        }
        Ok(())
    }

    /// An object is in one part of a bucket only.
    fn check_overlap(&self) -> Result<(), String> {
        let all = self.selections();
        for (index, one) in all.iter().enumerate() {
            for other in &all[index + 1..] {
                let same = one.name == other.name
                    || one.single().is_some_and(|name| other.selects(name))
                    || other.single().is_some_and(|name| one.selects(name));
                let (short, long) = (&one.prefix, &other.prefix);
                if same && (long.starts_with(short.as_str()) || short.starts_with(long.as_str())) {
                    let shown = |it: &Selection| format!("{}/{}", it.name, it.prefix);
                    return Err(format!(
                        "buckets = [{:?}, {:?}]: the one is part of the other; one of them is \
                         enough",
                        shown(one),
                        shown(other)
                    ));
                }
            }
        }
        Ok(())
    }

    fn check_times(&self) -> Result<(), String> {
        let friendly =
            |time| format!("{:#}", jiff::SignedDuration::try_from(time).unwrap_or_default());
        let second = Duration::from_secs(1);
        for (key, time, least) in [
            ("interval", self.interval, second),
            ("interval_cap", self.interval_cap, self.interval),
            ("lease", self.lease, second),
            ("request_timeout", self.request_timeout, second),
            ("retry_first", self.retry_first, Duration::from_millis(1)),
            ("retry_cap", self.retry_cap, self.retry_first),
        ] {
            if time < least || time > Duration::from_hours(24) {
                return Err(format!(
                    "{key} = \"{}\": {} to 24h is possible",
                    friendly(time),
                    friendly(least)
                ));
            }
        }
        Ok(())
    }

    /// The endpoint; `None` where there is none.
    ///
    /// # Errors
    /// Like [`Settings::validate`].
    pub fn base(&self) -> Result<Option<Url>, String> {
        let text = self.endpoint.as_str();
        if text.is_empty() {
            return Ok(None);
        }
        // It might hold a password.
        let shown = if text.contains('@') { "***" } else { text };
        let wrong = |what: &str| Err(format!("endpoint = \"{shown}\": {what}"));
        let Ok(url) = Url::parse(text) else {
            return wrong("a URL is needed, such as https://oss-eu-central-1.aliyuncs.com");
        };
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return wrong("http or https is needed");
        }
        let is_bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        if !is_bare || !url.username().is_empty() || url.password().is_some() {
            return wrong("only scheme, host and port are possible");
        }
        Ok(Some(url))
    }

    /// Whether buckets stand in the host of a URL.
    #[must_use]
    pub fn is_in_host(&self, base: &Url) -> bool {
        let host = base.host_str().unwrap_or_default();
        match self.addressing {
            Addressing::Host => true,
            Addressing::Path => false,
            Addressing::Auto => [".amazonaws.com", ".amazonaws.com.cn", ".aliyuncs.com"]
                .iter()
                .any(|end| host.ends_with(end)),
        }
    }
}

fn check_selection(text: &str) -> Result<(), String> {
    let (name, prefix) = text.split_once('/').unwrap_or((text, ""));
    let is_possible = |byte: u8| byte.is_ascii_alphanumeric() || b"-._*".contains(&byte);
    if name.is_empty() || name.len() > 255 || !name.bytes().all(is_possible) {
        return Err("a bucket's name, or a pattern with *, is needed before the /".to_owned());
    }
    if prefix.len() > 1_024 || prefix.contains(char::is_control) {
        return Err("a prefix of keys has at most 1024 bytes".to_owned());
    }
    if prefix.contains('*') {
        return Err("a prefix of keys has no *; all that start with it are meant".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> Settings {
        Settings {
            endpoint: "https://oss-eu-central-1.aliyuncs.com".to_owned(),
            kind: Kind::Oss,
            region: "eu-central-1".to_owned(),
            access_key_id: "LTAI".to_owned(),
            access_key_secret: Secret::new("hunter2"),
            session_token: Secret::new("hunter3"),
            ..Settings::default()
        }
    }

    #[test]
    fn what_cannot_work_is_said() {
        assert_eq!(Settings::default().validate(), Ok(()));
        assert_eq!(account().validate(), Ok(()));
        let with = |change: fn(&mut Settings)| {
            let mut settings = account();
            change(&mut settings);
            settings.validate().unwrap_err()
        };
        for (problem, expected) in [
            (with(|it| it.endpoint = "oss.example".into()), "endpoint = \"oss.example\": a URL"),
            (with(|it| it.endpoint = "ftp://x".into()), "endpoint = \"ftp://x\": http or https"),
            (with(|it| it.endpoint = "https://x/b".into()), "only scheme, host and port"),
            (with(|it| it.endpoint = "https://u:hunter4@x".into()), "endpoint = \"***\": only"),
            (with(|it| it.region.clear()), "region = \"\": one is needed, such as eu-central-1"),
            (with(|it| it.access_key_id = "a b".into()), "access_key_id = \"***\": one is"),
            (with(|it| it.access_key_secret = Secret::default()), "access_key_secret = \"\": "),
            (with(|it| it.session_token = Secret::new("a b")), "session_token = \"***\": a word"),
            (with(|it| it.buckets = vec!["a b".into()]), "buckets = [\"a b\"]: a bucket's name"),
            (with(|it| it.buckets = vec!["a/b*".into()]), "buckets = [\"a/b*\"]: a prefix"),
            (
                with(|it| it.buckets = vec!["a/b".into(), "c".into(), "a*/b/c".into()]),
                "buckets = [\"a/b\", \"a*/b/c\"]: the one is part of the other",
            ),
            (with(|it| it.name.clear()), "name = \"\": 1 to 255 bytes"),
            (with(|it| it.page = 1_001), "page = 1001: 1 to 1000 are possible"),
            (with(|it| it.tries = 0), "tries = 0: 1 to 20 are possible"),
            (with(|it| it.interval = Duration::ZERO), "interval = \"0s\": 1s to 24h is possible"),
            (
                with(|it| it.interval_cap = Duration::from_secs(5)),
                "interval_cap = \"5s\": 30s to 24h is possible",
            ),
        ] {
            assert!(problem.contains(expected), "{problem}\n  lacks {expected}");
            assert!(!problem.contains("hunter"), "{problem}");
        }
        assert!(!format!("{:?}", account()).contains("hunter"));
    }

    #[test]
    fn selections_are_names_patterns_and_prefixes() {
        let settings = Settings {
            buckets: vec!["reports".into(), "logs-*/app/".into(), "logs-*/web/".into()],
            ..account()
        };
        assert_eq!(settings.validate(), Ok(()));
        let [reports, app, _] = &settings.selections()[..] else { panic!("three") };
        assert_eq!((reports.single(), reports.prefix.as_str()), (Some("reports"), ""));
        assert_eq!((app.single(), app.prefix.as_str()), (None, "app/"));
        assert!(app.selects("logs-eu") && !app.selects("reports"));
        assert!(account().selections()[0].selects("whatever"));
    }

    #[test]
    fn buckets_stand_in_the_host_where_the_vendor_wants_it() {
        let in_host = |endpoint: &str, addressing| {
            let settings = Settings { endpoint: endpoint.to_owned(), addressing, ..account() };
            settings.is_in_host(&settings.base().unwrap().unwrap())
        };
        assert!(in_host("https://oss-cn-hangzhou-internal.aliyuncs.com", Addressing::Auto));
        assert!(in_host("https://s3.eu-central-1.amazonaws.com", Addressing::Auto));
        assert!(!in_host("http://minio:9000", Addressing::Auto));
        assert!(in_host("http://minio:9000", Addressing::Host));
        assert!(!in_host("https://s3.eu-central-1.amazonaws.com", Addressing::Path));
    }
}
