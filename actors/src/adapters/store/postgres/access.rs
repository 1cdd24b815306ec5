//! [`AccessStore`] for PostgreSQL.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio_postgres::{
    Error, Row, Transaction,
    types::{Json, ToSql},
};

use super::{Postgres, row::micros_of, unavailable};
use crate::{
    adapters::store::{
        StoreError,
        access::{
            AccessError, AccessStore, Account, ApiToken, Digest, EXPIRED_SHOWN, MOST_SESSIONS,
            MOST_SETUP_TOKENS, MOST_TOKENS, MOST_USERS, NewToken, NewUser, SEEN_EVERY,
            SessionLimits, User, UserChange, role_of, scope_of,
        },
    },
    domain::access::{Role, Scope},
};

/// The key of an advisory lock: whoever changes users holds it, so that two who each remove an
/// admin do not both see the other one left.
const USERS_LOCK: i64 = 0x666C_7433;

const TOKEN: &str = "id, name, scope, created_by, created_at, expires_at, last_used_at";

impl From<Error> for AccessError {
    fn from(error: Error) -> Self {
        Self::Store(unavailable(error))
    }
}

#[async_trait]
impl AccessStore for Postgres {
    async fn users(&self) -> Result<Vec<User>, StoreError> {
        let rows = self
            .query(
                "SELECT name, role, created_at, last_login_at, is_disabled FROM users
                 ORDER BY name COLLATE \"C\"",
                &[],
            )
            .await?;
        let user = |row: &Row| User {
            name: row.get(0),
            role: role_of(row.get(1)),
            created_at: micros_of(row, 2),
            last_login_at: optional_micros_of(row, 3),
            is_disabled: row.get(4),
        };
        Ok(rows.iter().map(user).collect())
    }

    async fn has_users(&self) -> Result<bool, StoreError> {
        let rows = self.query("SELECT EXISTS (SELECT 1 FROM users)", &[]).await?;
        Ok(rows.first().is_some_and(|row| row.get(0)))
    }

    async fn account(&self, name: &str) -> Result<Option<Account>, StoreError> {
        let rows = self.query(ACCOUNT, &[&name]).await?;
        Ok(rows.first().map(account_of))
    }

    async fn add_user(&self, user: &NewUser<'_>, who: &str) -> Result<(), AccessError> {
        self.changing(async |transaction| insert_user(transaction, user, who).await).await
    }

    async fn change_user(
        &self,
        name: &str,
        change: &UserChange,
        keep: Option<Digest>,
        who: &str,
    ) -> Result<(), AccessError> {
        self.changing(async |transaction| {
            let before = account(transaction, name).await?.ok_or(AccessError::NoUser)?;
            let role = change.role.map(Role::name);
            transaction
                .execute(
                    "UPDATE users SET role = coalesce($2, role),
                         password_hash = coalesce($3, password_hash),
                         is_disabled = coalesce($4, is_disabled)
                     WHERE name = $1",
                    &[&name, &role, &change.password_hash, &change.is_disabled],
                )
                .await?;
            check_admins(transaction, &before).await?;
            let keep = keep.unwrap_or_default();
            transaction
                .execute(
                    "DELETE FROM sessions WHERE user_name = $1 AND secret_hash <> $2",
                    &[&name, &keep.as_slice()],
                )
                .await?;
            for action in change.actions() {
                let details = match change.role {
                    Some(role) if action == "user.role" => json!({ "role": role }),
                    _ => json!({}),
                };
                audit(transaction, who, action, &format!("user {name}"), &details).await?;
            }
            Ok(())
        })
        .await
    }

    async fn remove_user(&self, name: &str, who: &str) -> Result<(), AccessError> {
        self.changing(async |transaction| {
            let before = account(transaction, name).await?.ok_or(AccessError::NoUser)?;
            // With the sessions.
            transaction.execute("DELETE FROM users WHERE name = $1", &[&name]).await?;
            check_admins(transaction, &before).await?;
            let subject = format!("user {name}");
            audit(transaction, who, "user.remove", &subject, &json!({})).await
        })
        .await
    }

    async fn allow_setup(&self, secret: Digest, lasts: Duration) -> Result<(), StoreError> {
        self.query(
            "INSERT INTO setup_tokens (secret_hash, expires_at)
             VALUES ($1, now() + $2 * interval '1 second')",
            &[&secret.as_slice(), &lasts.as_secs_f64()],
        )
        .await?;
        self.query(
            "DELETE FROM setup_tokens WHERE expires_at <= now() OR secret_hash NOT IN
                 (SELECT secret_hash FROM setup_tokens ORDER BY expires_at DESC LIMIT $1)",
            &[&MOST_SETUP_TOKENS],
        )
        .await
        .map(drop)
    }

    async fn set_up(&self, secret: Digest, user: &NewUser<'_>) -> Result<(), AccessError> {
        self.changing(async |transaction| {
            let found = transaction
                .execute(
                    "DELETE FROM setup_tokens WHERE secret_hash = $1 AND expires_at > now()",
                    &[&secret.as_slice()],
                )
                .await?;
            let has_users = "SELECT EXISTS (SELECT 1 FROM users)";
            if found == 0 || transaction.query_one(has_users, &[]).await?.get(0) {
                return Err(AccessError::NoSetup);
            }
            insert_user(transaction, user, user.name).await?;
            transaction.execute("DELETE FROM setup_tokens", &[]).await?;
            Ok(())
        })
        .await
    }

    async fn start_session(
        &self,
        name: &str,
        password_hash: &str,
        session: Digest,
        limits: SessionLimits,
    ) -> Result<bool, StoreError> {
        let started = self.transaction(async |transaction| {
            // Its lock has whoever changes the user wait until the session is there to be ended.
            let found = transaction
                .execute(
                    "UPDATE users SET last_login_at = now()
                     WHERE name = $1 AND password_hash = $2 AND NOT is_disabled",
                    &[&name, &password_hash],
                )
                .await?;
            if found == 0 {
                return Ok(false);
            }
            let (idle, lifetime) = (limits.idle.as_secs_f64(), limits.lifetime.as_secs_f64());
            transaction
                .execute(
                    "DELETE FROM sessions WHERE created_at <= now() - $1 * interval '1 second'
                         OR seen_at <= now() - $2 * interval '1 second'",
                    &[&lifetime, &idle],
                )
                .await?;
            transaction
                .execute(
                    "DELETE FROM sessions WHERE user_name = $1 AND secret_hash NOT IN
                         (SELECT secret_hash FROM sessions WHERE user_name = $1
                          ORDER BY created_at DESC LIMIT $2)",
                    &[&name, &(MOST_SESSIONS - 1)],
                )
                .await?;
            transaction
                .execute(
                    "INSERT INTO sessions (secret_hash, user_name) VALUES ($1, $2)",
                    &[&session.as_slice(), &name],
                )
                .await?;
            audit(transaction, name, "session.start", &format!("user {name}"), &json!({})).await?;
            Ok(true)
        });
        started.await.map_err(only_store)
    }

    async fn session(
        &self,
        session: Digest,
        limits: SessionLimits,
    ) -> Result<Option<(String, Role)>, StoreError> {
        let (idle, lifetime) = (limits.idle.as_secs_f64(), limits.lifetime.as_secs_f64());
        let every = SEEN_EVERY.as_secs_f64();
        let rows = self
            .query(
                "SELECT users.name, users.role,
                     sessions.seen_at <= now() - $4 * interval '1 second'
                 FROM sessions JOIN users ON users.name = sessions.user_name
                 WHERE secret_hash = $1 AND NOT users.is_disabled
                     AND sessions.created_at > now() - $2 * interval '1 second'
                     AND sessions.seen_at > now() - $3 * interval '1 second'",
                &[&session.as_slice(), &lifetime, &idle, &every],
            )
            .await?;
        let Some(row) = rows.first() else { return Ok(None) };
        if row.get(2) {
            let sql = "UPDATE sessions SET seen_at = now() WHERE secret_hash = $1";
            self.query(sql, &[&session.as_slice()]).await?;
        }
        Ok(Some((row.get(0), role_of(row.get(1)))))
    }

    async fn end_session(&self, session: Digest) -> Result<(), StoreError> {
        self.query(
            "WITH ended AS (DELETE FROM sessions WHERE secret_hash = $1 RETURNING user_name)
             INSERT INTO audit_trail (who, action, subject, details)
             SELECT user_name, 'session.end', 'user ' || user_name, '{}' FROM ended",
            &[&session.as_slice()],
        )
        .await
        .map(drop)
    }

    async fn tokens(&self) -> Result<Vec<ApiToken>, StoreError> {
        let sql = format!("SELECT {TOKEN} FROM api_tokens ORDER BY id DESC");
        Ok(self.query(&sql, &[]).await?.iter().map(token_of).collect())
    }

    async fn add_token(&self, token: &NewToken<'_>, who: &str) -> Result<ApiToken, AccessError> {
        self.changing(async |transaction| insert_token(transaction, token, who).await).await
    }

    async fn revoke_token(&self, id: i64, who: &str) -> Result<(), AccessError> {
        self.changing(async |transaction| {
            let sql = "DELETE FROM api_tokens WHERE id = $1 RETURNING name";
            let rows = transaction.query(sql, &[&id]).await?;
            let name: &str = rows.first().ok_or(AccessError::NoToken)?.get(0);
            let details = json!({ "id": id });
            audit(transaction, who, "token.revoke", &format!("token {name}"), &details).await
        })
        .await
    }

    async fn token(&self, secret: Digest) -> Result<Option<(String, Scope)>, StoreError> {
        let rows = self
            .query(
                "SELECT name, scope,
                     coalesce(last_used_at <= now() - $2 * interval '1 second', true)
                 FROM api_tokens
                 WHERE secret_hash = $1 AND (expires_at IS NULL OR expires_at > now())",
                &[&secret.as_slice(), &SEEN_EVERY.as_secs_f64()],
            )
            .await?;
        let Some(row) = rows.first() else { return Ok(None) };
        if row.get(2) {
            let sql = "UPDATE api_tokens SET last_used_at = now() WHERE secret_hash = $1";
            self.query(sql, &[&secret.as_slice()]).await?;
        }
        Ok(Some((row.get(0), scope_of(row.get(1)))))
    }
}

impl Postgres {
    /// Does `work` in one transaction, which ends with it unless it succeeds.
    async fn transaction<T>(
        &self,
        work: impl AsyncFnOnce(&Transaction<'_>) -> Result<T, AccessError>,
    ) -> Result<T, AccessError> {
        let all = async {
            let mut client = self.client().await?;
            let transaction = client.transaction().await.map_err(unavailable)?;
            let done = match work(&transaction).await {
                Ok(done) => done,
                Err(error) => return Ok(Err(error)),
            };
            transaction.commit().await.map_err(unavailable)?;
            Ok(Ok(done))
        };
        self.in_time(all).await?
    }

    /// The same, while nobody else changes users or tokens.
    async fn changing<T>(
        &self,
        work: impl AsyncFnOnce(&Transaction<'_>) -> Result<T, AccessError>,
    ) -> Result<T, AccessError> {
        self.transaction(async |transaction| {
            transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&USERS_LOCK]).await?;
            work(transaction).await
        })
        .await
    }
}

const ACCOUNT: &str = "SELECT role, is_disabled, password_hash FROM users WHERE name = $1";

fn account_of(row: &Row) -> Account {
    Account { role: role_of(row.get(0)), is_disabled: row.get(1), password_hash: row.get(2) }
}

async fn account(transaction: &Transaction<'_>, name: &str) -> Result<Option<Account>, Error> {
    // Locked: a session of this user either is there already, or starts after the change.
    let rows = transaction.query(&format!("{ACCOUNT} FOR UPDATE"), &[&name]).await?;
    Ok(rows.first().map(account_of))
}

async fn insert_user(
    transaction: &Transaction<'_>,
    user: &NewUser<'_>,
    who: &str,
) -> Result<(), AccessError> {
    let NewUser { name, role, password_hash } = user;
    if account(transaction, name).await?.is_some() {
        return Err(AccessError::UserExists);
    }
    let count: i64 = transaction.query_one("SELECT count(*) FROM users", &[]).await?.get(0);
    if count >= MOST_USERS {
        return Err(AccessError::TooManyUsers);
    }
    transaction
        .execute(
            "INSERT INTO users (name, role, password_hash) VALUES ($1, $2, $3)",
            &[name, &role.name(), password_hash],
        )
        .await?;
    audit(transaction, who, "user.add", &format!("user {name}"), &json!({ "role": role })).await
}

async fn insert_token(
    transaction: &Transaction<'_>,
    token: &NewToken<'_>,
    who: &str,
) -> Result<ApiToken, AccessError> {
    let NewToken { name, secret, scope, expires_in } = token;
    transaction
        .execute(
            "DELETE FROM api_tokens WHERE expires_at <= now() - $1 * interval '1 second'
                 OR expires_at <= now() AND name = $2",
            &[&EXPIRED_SHOWN.as_secs_f64(), name],
        )
        .await?;
    let sql = "SELECT count(*), coalesce(bool_or(name = $1), false) FROM api_tokens";
    let counted = transaction.query_one(sql, &[name]).await?;
    if counted.get(1) {
        return Err(AccessError::TokenExists);
    }
    if counted.get::<_, i64>(0) >= MOST_TOKENS {
        return Err(AccessError::TooManyTokens);
    }
    let sql = format!(
        "INSERT INTO api_tokens (name, secret_hash, scope, created_by, expires_at)
         VALUES ($1, $2, $3, $4, now() + $5 * interval '1 second') RETURNING {TOKEN}"
    );
    let expires_in = expires_in.map(|lasts| lasts.as_secs_f64());
    let row: [&(dyn ToSql + Sync); 5] =
        [name, &secret.as_slice(), &scope.name(), &who, &expires_in];
    let token = token_of(&transaction.query_one(&sql, &row).await?);
    let details = json!({ "scope": scope, "id": token.id });
    audit(transaction, who, "token.add", &format!("token {name}"), &details).await?;
    Ok(token)
}

/// Fails where `before` was an admin who could log in, and now there is none.
async fn check_admins(transaction: &Transaction<'_>, before: &Account) -> Result<(), AccessError> {
    if before.role != Role::Admin || before.is_disabled {
        return Ok(());
    }
    let sql = "SELECT EXISTS (SELECT 1 FROM users WHERE role = 'admin' AND NOT is_disabled)";
    let is_left: bool = transaction.query_one(sql, &[]).await?.get(0);
    if is_left { Ok(()) } else { Err(AccessError::LastAdmin) }
}

async fn audit(
    transaction: &Transaction<'_>,
    who: &str,
    action: &str,
    subject: &str,
    details: &Value,
) -> Result<(), AccessError> {
    transaction
        .execute(
            "INSERT INTO audit_trail (who, action, subject, details) VALUES ($1, $2, $3, $4)",
            &[&who, &action, &subject, &Json(details)],
        )
        .await?;
    Ok(())
}

/// Of work that can fail by nothing but the store.
fn only_store(error: AccessError) -> StoreError {
    match error {
        AccessError::Store(error) => error,
        other => StoreError::Unavailable(other.to_string()),
    }
}

fn optional_micros_of(row: &Row, column: usize) -> Option<i64> {
    row.get::<_, Option<jiff::Timestamp>>(column).map(jiff::Timestamp::as_microsecond)
}

fn token_of(row: &Row) -> ApiToken {
    ApiToken {
        id: row.get(0),
        name: row.get(1),
        scope: scope_of(row.get(2)),
        created_by: row.get(3),
        created_at: micros_of(row, 4),
        expires_at: optional_micros_of(row, 5),
        last_used_at: optional_micros_of(row, 6),
    }
}
