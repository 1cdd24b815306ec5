//! Who may look and act: users, their sessions, and tokens for programs.
//!
//! The store never sees a secret: passwords come as Argon2id hashes, what is random itself (session
//! ids, API tokens, setup links) as SHA-256. Times of expiry are told by the store's clock. Whatever
//! changes who may do what is written together with its row in `audit_trail`.

use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;
use utoipa::ToSchema;

use super::{StoreError, as_rfc3339};
use crate::domain::{
    access::{Role, Scope},
    time::Micros,
};

/// SHA-256 of a secret of 256 random bits: enough to know it again, and of no use to a thief.
pub type Digest = [u8; 32];

/// More users than this are refused.
pub const MOST_USERS: i64 = 1_000;
/// More API tokens than this are refused.
pub const MOST_TOKENS: i64 = 1_000;
/// The oldest sessions of a user end when there are more.
pub const MOST_SESSIONS: i64 = 20;
/// The oldest setup links are forgotten when there are more: each hub that starts gives one.
pub const MOST_SETUP_TOKENS: i64 = 10;
/// How often it is written down that a session or token was used, at most.
pub const SEEN_EVERY: Duration = Duration::from_mins(1);
/// How long an API token that has expired is still listed.
pub const EXPIRED_SHOWN: Duration = Duration::from_hours(30 * 24);

/// A user as people see him.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct User {
    pub name: String,
    pub role: Role,
    #[serde(serialize_with = "as_rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Micros,
    #[serde(serialize_with = "as_rfc3339_or_null")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_login_at: Option<Micros>,
    pub is_disabled: bool,
}

/// What a login is checked against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub role: Role,
    pub is_disabled: bool,
    /// Argon2id, as a PHC string.
    pub password_hash: String,
}

#[derive(Clone, Copy, Debug)]
pub struct NewUser<'a> {
    pub name: &'a str,
    pub role: Role,
    pub password_hash: &'a str,
}

/// What becomes different of a user; `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserChange {
    pub role: Option<Role>,
    pub password_hash: Option<String>,
    pub is_disabled: Option<bool>,
}

impl UserChange {
    /// The names under which the audit trail has the changes.
    #[must_use]
    pub fn actions(&self) -> Vec<&'static str> {
        let mut actions = Vec::new();
        actions.extend(self.role.map(|_| "user.role"));
        actions.extend(self.password_hash.as_ref().map(|_| "user.password"));
        actions.extend(self.is_disabled.map(|is| if is { "user.disable" } else { "user.enable" }));
        actions
    }
}

/// How long sessions last.
#[derive(Clone, Copy, Debug)]
pub struct SessionLimits {
    /// Since it was last used.
    pub idle: Duration,
    /// Since the login.
    pub lifetime: Duration,
}

/// An API token as people see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ApiToken {
    pub id: i64,
    pub name: String,
    pub scope: Scope,
    pub created_by: String,
    #[serde(serialize_with = "as_rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Micros,
    #[serde(serialize_with = "as_rfc3339_or_null")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Micros>,
    /// To the minute.
    #[serde(serialize_with = "as_rfc3339_or_null")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_used_at: Option<Micros>,
}

#[derive(Clone, Copy, Debug)]
pub struct NewToken<'a> {
    pub name: &'a str,
    pub secret: Digest,
    pub scope: Scope,
    pub expires_in: Option<Duration>,
}

/// Why something about users or tokens was not done.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    #[error("there is no such user")]
    NoUser,
    #[error("there is a user of this name already")]
    UserExists,
    #[error("this is the last admin who can log in; make another one first")]
    LastAdmin,
    #[error("there are {MOST_USERS} users already; remove one first")]
    TooManyUsers,
    #[error("there is no such token")]
    NoToken,
    #[error("there is a token of this name already")]
    TokenExists,
    #[error("there are {MOST_TOKENS} tokens already; revoke one first")]
    TooManyTokens,
    #[error("this link was used, is too old, or was never given")]
    NoSetup,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The part of a store that access control needs.
#[async_trait]
pub trait AccessStore: Send + Sync {
    /// All users, by name.
    async fn users(&self) -> Result<Vec<User>, StoreError>;

    async fn has_users(&self) -> Result<bool, StoreError>;

    async fn account(&self, name: &str) -> Result<Option<Account>, StoreError>;

    async fn add_user(&self, user: &NewUser<'_>, who: &str) -> Result<(), AccessError>;

    /// Changes a user and ends all of his sessions but `keep`. The last admin who can log in stays
    /// one.
    async fn change_user(
        &self,
        name: &str,
        change: &UserChange,
        keep: Option<Digest>,
        who: &str,
    ) -> Result<(), AccessError>;

    /// Removes a user with his sessions; never the last admin who can log in.
    async fn remove_user(&self, name: &str, who: &str) -> Result<(), AccessError>;

    /// From now on whoever has this secret may make the first user, for so long.
    async fn allow_setup(&self, secret: Digest, lasts: Duration) -> Result<(), StoreError>;

    /// Makes the first user, an admin; the secrets of all setup links are good for nothing
    /// afterwards.
    async fn set_up(&self, secret: Digest, user: &NewUser<'_>) -> Result<(), AccessError>;

    /// Starts a session of a user whose password was just checked against this hash; `false` where
    /// the user has another one by now, is disabled or gone.
    async fn start_session(
        &self,
        name: &str,
        password_hash: &str,
        session: Digest,
        limits: SessionLimits,
    ) -> Result<bool, StoreError>;

    /// Whose session it is, while it lasts; notes that it was used.
    async fn session(
        &self,
        session: Digest,
        limits: SessionLimits,
    ) -> Result<Option<(String, Role)>, StoreError>;

    /// Ends a session; no matter if there is none.
    async fn end_session(&self, session: Digest) -> Result<(), StoreError>;

    /// All API tokens, the newest first.
    async fn tokens(&self) -> Result<Vec<ApiToken>, StoreError>;

    /// Makes an API token; forgets those that have expired long ago.
    async fn add_token(&self, token: &NewToken<'_>, who: &str) -> Result<ApiToken, AccessError>;

    async fn revoke_token(&self, id: i64, who: &str) -> Result<(), AccessError>;

    /// Name and scope of the token with this secret, while it lasts; notes that it was used.
    async fn token(&self, secret: Digest) -> Result<Option<(String, Scope)>, StoreError>;
}

#[expect(clippy::ref_option, reason = "called by serde")]
fn as_rfc3339_or_null<S: serde::Serializer>(
    micros: &Option<Micros>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match micros {
        Some(micros) => as_rfc3339(micros, serializer),
        None => serializer.serialize_none(),
    }
}

/// A role as the store wrote it. What nobody knows any more may look only.
pub(super) fn role_of(name: &str) -> Role {
    Role::from_name(name).unwrap_or(Role::Viewer)
}

pub(super) fn scope_of(name: &str) -> Scope {
    Scope::from_name(name).unwrap_or(Scope::Metrics)
}
