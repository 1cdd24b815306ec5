//! Who may do what, and what names and passwords are possible.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What somebody may do; each role may do what those before it may.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Look.
    Viewer,
    /// Steer faults, tickets and jobs.
    Operator,
    /// Let others in.
    Admin,
}

impl Role {
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Admin];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// What an API token is good for: what a role may do, or `GET /metrics` only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    Metrics,
    Viewer,
    Operator,
    Admin,
}

impl Scope {
    pub const ALL: [Self; 4] = [Self::Metrics, Self::Viewer, Self::Operator, Self::Admin];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.name() == name)
    }

    /// `None` for what may look at metrics only.
    #[must_use]
    pub const fn role(self) -> Option<Role> {
        match self {
            Self::Metrics => None,
            Self::Viewer => Some(Role::Viewer),
            Self::Operator => Some(Role::Operator),
            Self::Admin => Some(Role::Admin),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

const LONGEST_NAME: usize = 64;
/// What the audit trail calls others than users.
const RESERVED: [&str; 6] = ["admin.token", "anyone", "api", "faultline", "jira", "rules"];

/// Whether a user or a token may be called so.
///
/// # Errors
/// Says what would be right.
pub fn check_name(name: &str) -> Result<(), String> {
    let is_plain = |byte: u8| {
        byte.is_ascii_lowercase()
            || byte.is_ascii_digit()
            || matches!(byte, b'.' | b'_' | b'@' | b'-')
    };
    let starts_well =
        name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    if !starts_well || name.len() > LONGEST_NAME || !name.bytes().all(is_plain) {
        return Err(format!(
            "a name of 1 to {LONGEST_NAME} characters is needed: a to z, 0 to 9 and . _ @ -, \
             beginning with a letter or digit"
        ));
    }
    if RESERVED.contains(&name) {
        return Err(format!("{name:?} stands for something else; another name is needed"));
    }
    Ok(())
}

/// Characters of a password. OWASP's Authentication Cheat Sheet and NIST SP 800-63B ask for length
/// rather than for kinds of characters; the upper end bounds the work of hashing.
const SHORTEST_PASSWORD: usize = 12;
const LONGEST_PASSWORD: usize = 256;

/// Whether a user may have this password.
///
/// # Errors
/// Says what would be right; never shows the password.
pub fn check_password(name: &str, password: &str) -> Result<(), String> {
    let length = password.chars().count();
    if !(SHORTEST_PASSWORD..=LONGEST_PASSWORD).contains(&length) {
        return Err(format!(
            "a password of {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters is needed; this \
             one has {length}"
        ));
    }
    if password.eq_ignore_ascii_case(name) {
        return Err("a password must not be the user's name".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        for name in ["a", "alice", "alice@example.com", "0", "ci-2", &"a".repeat(64)] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        for name in [
            "",
            "Alice",
            "-a",
            ".a",
            "a b",
            "a\r\nb",
            "a:b",
            "ä",
            "admin.token",
            "anyone",
            &"a".repeat(65),
        ] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn passwords_are_long_and_not_the_name() {
        assert_eq!(check_password("alice", "correct horse"), Ok(()));
        assert_eq!(check_password("alice", &"ä".repeat(256)), Ok(()));
        for password in ["", "elevenchars", &"x".repeat(257), "Alice.Liddell"] {
            let problem = check_password("alice.liddell", password).unwrap_err();
            assert!(password.is_empty() || !problem.contains(password), "{problem}");
        }
    }

    #[test]
    fn roles_are_ordered_and_named() {
        assert!(Role::Viewer < Role::Operator && Role::Operator < Role::Admin);
        for role in Role::ALL {
            assert_eq!(Role::from_name(role.name()), Some(role));
            assert_eq!(Scope::from_name(role.name()).unwrap().role(), Some(role));
        }
        assert_eq!(Scope::Metrics.role(), None);
    }
}
