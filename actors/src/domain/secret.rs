//! Secrets: what they are worth to the one who needs them, and `***` to everybody else.

use std::{cell::Cell, fmt};

use serde::{Deserialize, Serialize, Serializer};

/// A text that never shows itself. It is written as it is only where settings are read and merged;
/// see [`masked`].
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

thread_local! {
    static IS_MASKED: Cell<bool> = const { Cell::new(false) };
}

/// What `write` serialises holds no secret: each is `"***"`, or null where it is not set. By the type
/// of a setting, so that no list of names can be incomplete.
pub fn masked<T>(write: impl FnOnce() -> T) -> T {
    /// Also when `write` panics.
    struct Reset(bool);
    impl Drop for Reset {
        fn drop(&mut self) {
            IS_MASKED.set(self.0);
        }
    }
    let _reset = Reset(IS_MASKED.replace(true));
    write()
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (IS_MASKED.get(), self.is_empty()) {
            (false, _) => serializer.serialize_str(&self.0),
            (true, true) => serializer.serialize_none(),
            (true, false) => serializer.serialize_str("***"),
        }
    }
}

impl Secret {
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one who needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(if self.0.is_empty() { "\"\"" } else { "\"***\"" })
    }
}

/// Options of a URL that are no secrets.
const OPEN_OPTIONS: [&str; 3] = ["sslmode", "application_name", "connect_timeout"];

/// `url` without its password, also where it is written wrongly: rather too much is masked.
#[must_use]
pub fn mask_url(url: &str) -> String {
    let (scheme, rest) = url.split_at(url.find("://").map_or(0, |at| at + "://".len()));
    if scheme == "sqlite://" {
        return url.to_owned();
    }
    // The last @ ends the credentials: a password that nobody has escaped may contain others.
    let (credentials, rest) = match rest.rsplit_once('@') {
        Some((credentials, rest)) => {
            let user = credentials.split([':', '/', '?']).next().unwrap_or_default();
            (format!("{user}:***@"), rest)
        }
        None => (String::new(), rest),
    };
    let (place, options) = rest.split_once('?').unwrap_or((rest, ""));
    let options = options.split('&').filter(|option| !option.is_empty()).map(|option| {
        let (name, _) = option.split_once('=').unwrap_or((option, ""));
        if OPEN_OPTIONS.contains(&name) { option.to_owned() } else { format!("{name}=***") }
    });
    let options = options.collect::<Vec<_>>().join("&");
    let mark = if options.is_empty() { "" } else { "?" };
    format!("{scheme}{credentials}{place}{mark}{options}")
}
