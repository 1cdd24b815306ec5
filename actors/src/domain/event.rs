//! The vocabulary of an event: where it came from, what it is, how bad it is.

/// Where a record entered Faultline; the unit in which the [ledger](super::ledger) balances.
///
/// The discriminants are part of the spool's format: append, never renumber.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Source {
    /// `POST /logdrains`: frames of a Heroku log drain.
    Logdrains = 0,
    /// `POST /errors/log`: error reports.
    Errors = 1,
    /// Maxwell's change stream, from stdin, a child process or `POST /maxwell`.
    Maxwell = 2,
    /// The bucket watcher: what happened to objects.
    Bucket = 3,
}

impl Source {
    pub const ALL: [Self; 4] = [Self::Logdrains, Self::Errors, Self::Maxwell, Self::Bucket];
    pub const COUNT: usize = Self::ALL.len();

    /// The name used in the store, the ledger and metric labels.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Logdrains => "logdrains",
            Self::Errors => "errors",
            Self::Maxwell => "maxwell",
            Self::Bucket => "bucket",
        }
    }

    #[must_use]
    pub fn from_u8(byte: u8) -> Option<Self> {
        Self::ALL.get(usize::from(byte)).copied()
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|source| source.name() == name)
    }
}

/// What kind of thing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// A line an application wrote (or the lines of one stack trace, joined).
    Log,
    /// A line of Heroku's router: one HTTP request.
    Router,
    /// Heroku's platform: dyno states, R and L codes, runtime metrics.
    Platform,
    /// A row or schema change reported by Maxwell.
    Change,
    /// An error report.
    Error,
    /// An object of a bucket that was created, changed or deleted.
    Object,
}

impl Kind {
    pub const ALL: [Self; 6] =
        [Self::Log, Self::Router, Self::Platform, Self::Change, Self::Error, Self::Object];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Router => "router",
            Self::Platform => "platform",
            Self::Change => "change",
            Self::Error => "error",
            Self::Object => "object",
        }
    }

    /// Whether events of this kind are faults only where a rule says so.
    #[must_use]
    pub const fn is_selected(self) -> bool {
        matches!(self, Self::Change | Self::Object)
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// Severity of RFC 5424 §6.2.1, worst first, so that `a <= b` reads "at least as bad".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Severity {
    Emergency,
    Alert,
    Critical,
    Error,
    Warning,
    Notice,
    Info,
    Debug,
}

impl Severity {
    pub const ALL: [Self; 8] = [
        Self::Emergency,
        Self::Alert,
        Self::Critical,
        Self::Error,
        Self::Warning,
        Self::Notice,
        Self::Info,
        Self::Debug,
    ];

    /// The severity part of a syslog priority value (`PRI & 7`).
    #[must_use]
    pub fn from_priority(priority: u8) -> Self {
        Self::ALL[usize::from(priority & 7)]
    }

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Emergency => "emergency",
            Self::Alert => "alert",
            Self::Critical => "critical",
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Notice => "notice",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }

    /// Reads the level names that programs use, in any case (`fatal`, `WARN`, `err` …).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        const LONGEST: usize = 9;
        let mut lower = [0; LONGEST];
        let lower = lower.get_mut(..name.len())?;
        lower.copy_from_slice(name.as_bytes());
        lower.make_ascii_lowercase();
        match &*lower {
            b"emergency" | b"emerg" => Some(Self::Emergency),
            b"alert" => Some(Self::Alert),
            b"critical" | b"crit" | b"fatal" | b"panic" => Some(Self::Critical),
            b"error" | b"err" => Some(Self::Error),
            b"warning" | b"warn" => Some(Self::Warning),
            b"notice" => Some(Self::Notice),
            b"info" => Some(Self::Info),
            b"debug" | b"trace" => Some(Self::Debug),
            _ => None,
        }
    }

    /// Whether an event of this severity belongs to a fault.
    #[must_use]
    pub fn is_fault(self) -> bool {
        self <= Self::Error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn discriminants_index_their_tables() {
        for (index, source) in Source::ALL.into_iter().enumerate() {
            assert_eq!(source as usize, index);
            assert_eq!(Source::from_name(source.name()), Some(source));
        }
        for (index, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, index);
            assert_eq!(Kind::from_name(kind.name()), Some(kind));
        }
        assert_eq!(Source::from_u8(250), None);
    }

    #[test]
    fn severity_of_a_priority_and_of_a_name() {
        assert_eq!(Severity::from_priority(190), Severity::Info);
        assert_eq!(Severity::from_priority(172), Severity::Warning);
        assert_eq!(Severity::from_name("FATAL"), Some(Severity::Critical));
        assert_eq!(Severity::from_name("loud"), None);
        assert!(Severity::Critical.is_fault() && !Severity::Warning.is_fault());
    }
}
