//! [`AccessStore`] for SQLite.

use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};
use serde_json::{Value, json};

use super::{Sqlite, on, row::rows};
use crate::{
    adapters::{
        clock,
        store::{
            StoreError,
            access::{
                AccessError, AccessStore, Account, ApiToken, Digest, EXPIRED_SHOWN, MOST_SESSIONS,
                MOST_SETUP_TOKENS, MOST_TOKENS, MOST_USERS, NewToken, NewUser, SEEN_EVERY,
                SessionLimits, User, UserChange, role_of, scope_of,
            },
        },
    },
    domain::{
        access::{Role, Scope},
        time::{Micros, later, micros},
    },
};

impl From<rusqlite::Error> for AccessError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

const TOKEN: &str = "id, name, scope, created_by, created_at, expires_at, last_used_at";

#[async_trait]
impl AccessStore for Sqlite {
    async fn users(&self) -> Result<Vec<User>, StoreError> {
        on(&self.reader, |connection| {
            rows(
                connection,
                "SELECT name, role, created_at, last_login_at, is_disabled FROM users
                 ORDER BY name",
                [],
                |row| {
                    Ok(User {
                        name: row.get(0)?,
                        role: role_of(&row.get::<_, String>(1)?),
                        created_at: row.get(2)?,
                        last_login_at: row.get(3)?,
                        is_disabled: row.get(4)?,
                    })
                },
            )
        })
        .await
    }

    async fn has_users(&self) -> Result<bool, StoreError> {
        on(&self.reader, |connection| Ok(has_users(connection)?)).await
    }

    async fn account(&self, name: &str) -> Result<Option<Account>, StoreError> {
        let name = name.to_owned();
        on(&self.reader, move |connection| Ok(account(connection, &name)?)).await
    }

    async fn add_user(&self, user: &NewUser<'_>, who: &str) -> Result<(), AccessError> {
        let (user, who) = (Owned::of(user), who.to_owned());
        on(&self.writer, move |connection| {
            let transaction = begin(connection)?;
            insert_user(&transaction, &user, &who)?;
            Ok(transaction.commit()?)
        })
        .await
    }

    async fn change_user(
        &self,
        name: &str,
        change: &UserChange,
        keep: Option<Digest>,
        who: &str,
    ) -> Result<(), AccessError> {
        let (name, change, who) = (name.to_owned(), change.clone(), who.to_owned());
        on(&self.writer, move |connection| {
            let transaction = begin(connection)?;
            let before = account(&transaction, &name)?.ok_or(AccessError::NoUser)?;
            transaction.execute(
                "UPDATE users SET role = coalesce(?2, role),
                     password_hash = coalesce(?3, password_hash),
                     is_disabled = coalesce(?4, is_disabled)
                 WHERE name = ?1",
                params![
                    name,
                    change.role.map(Role::name),
                    change.password_hash,
                    change.is_disabled
                ],
            )?;
            check_admins(&transaction, &before)?;
            let keep = keep.unwrap_or_default();
            transaction.execute(
                "DELETE FROM sessions WHERE user_name = ?1 AND secret_hash <> ?2",
                params![name, keep],
            )?;
            for action in change.actions() {
                let details = match change.role {
                    Some(role) if action == "user.role" => json!({ "role": role }),
                    _ => json!({}),
                };
                audit(&transaction, &who, action, &format!("user {name}"), &details)?;
            }
            Ok(transaction.commit()?)
        })
        .await
    }

    async fn remove_user(&self, name: &str, who: &str) -> Result<(), AccessError> {
        let (name, who) = (name.to_owned(), who.to_owned());
        on(&self.writer, move |connection| {
            let transaction = begin(connection)?;
            let before = account(&transaction, &name)?.ok_or(AccessError::NoUser)?;
            transaction.execute("DELETE FROM sessions WHERE user_name = ?1", [&name])?;
            transaction.execute("DELETE FROM users WHERE name = ?1", [&name])?;
            check_admins(&transaction, &before)?;
            audit(&transaction, &who, "user.remove", &format!("user {name}"), &json!({}))?;
            Ok(transaction.commit()?)
        })
        .await
    }

    async fn allow_setup(&self, secret: Digest, lasts: Duration) -> Result<(), StoreError> {
        on(&self.writer, move |connection| {
            let now = clock::now();
            let transaction = begin(connection)?;
            transaction.execute(
                "INSERT INTO setup_tokens (secret_hash, expires_at) VALUES (?1, ?2)",
                params![secret, later(now, lasts)],
            )?;
            transaction.execute(
                "DELETE FROM setup_tokens WHERE expires_at <= ?1 OR secret_hash NOT IN
                     (SELECT secret_hash FROM setup_tokens ORDER BY expires_at DESC LIMIT ?2)",
                params![now, MOST_SETUP_TOKENS],
            )?;
            Ok(transaction.commit()?)
        })
        .await
    }

    async fn set_up(&self, secret: Digest, user: &NewUser<'_>) -> Result<(), AccessError> {
        let user = Owned::of(user);
        on(&self.writer, move |connection| {
            let transaction = begin(connection)?;
            let found = transaction.execute(
                "DELETE FROM setup_tokens WHERE secret_hash = ?1 AND expires_at > ?2",
                params![secret, clock::now()],
            )?;
            if found == 0 || has_users(&transaction)? {
                return Err(AccessError::NoSetup);
            }
            insert_user(&transaction, &user, &user.name)?;
            transaction.execute("DELETE FROM setup_tokens", [])?;
            Ok(transaction.commit()?)
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
        let (name, password_hash) = (name.to_owned(), password_hash.to_owned());
        on(&self.writer, move |connection| {
            let now = clock::now();
            let transaction = begin(connection)?;
            let found = transaction.execute(
                "UPDATE users SET last_login_at = ?3
                 WHERE name = ?1 AND password_hash = ?2 AND NOT is_disabled",
                params![name, password_hash, now],
            )?;
            if found == 0 {
                return Ok(false);
            }
            let Alive { created_after, seen_after } = Alive::at(now, limits);
            transaction.execute(
                "DELETE FROM sessions WHERE created_at <= ?1 OR seen_at <= ?2",
                params![created_after, seen_after],
            )?;
            transaction.execute(
                "DELETE FROM sessions WHERE user_name = ?1 AND secret_hash NOT IN
                     (SELECT secret_hash FROM sessions WHERE user_name = ?1
                      ORDER BY created_at DESC LIMIT ?2)",
                params![name, MOST_SESSIONS - 1],
            )?;
            transaction.execute(
                "INSERT INTO sessions (secret_hash, user_name, created_at, seen_at)
                 VALUES (?1, ?2, ?3, ?3)",
                params![session, name, now],
            )?;
            audit(&transaction, &name, "session.start", &format!("user {name}"), &json!({}))?;
            transaction.commit()?;
            Ok(true)
        })
        .await
    }

    async fn session(
        &self,
        session: Digest,
        limits: SessionLimits,
    ) -> Result<Option<(String, Role)>, StoreError> {
        let now = clock::now();
        let found = on(&self.reader, move |connection| {
            let Alive { created_after, seen_after } = Alive::at(now, limits);
            let found = connection
                .prepare_cached(
                    "SELECT users.name, users.role, sessions.seen_at
                     FROM sessions JOIN users ON users.name = sessions.user_name
                     WHERE secret_hash = ?1 AND NOT users.is_disabled
                         AND sessions.created_at > ?2 AND sessions.seen_at > ?3",
                )?
                .query_row(params![session, created_after, seen_after], |row| {
                    Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get(2)?))
                })
                .optional()?;
            Ok::<Option<(String, String, Micros)>, StoreError>(found)
        })
        .await?;
        let Some((name, role, seen_at)) = found else { return Ok(None) };
        if seen_at <= now.saturating_sub(micros(SEEN_EVERY)) {
            on(&self.writer, move |connection| {
                let sql = "UPDATE sessions SET seen_at = ?2 WHERE secret_hash = ?1";
                Ok::<_, StoreError>(connection.execute(sql, params![session, now])?)
            })
            .await?;
        }
        Ok(Some((name, role_of(&role))))
    }

    async fn end_session(&self, session: Digest) -> Result<(), StoreError> {
        on(&self.writer, move |connection| {
            let transaction = begin(connection)?;
            let name: Option<String> = transaction
                .query_row(
                    "DELETE FROM sessions WHERE secret_hash = ?1 RETURNING user_name",
                    [session],
                    |row| row.get(0),
                )
                .optional()?;
            if let Some(name) = name {
                audit(&transaction, &name, "session.end", &format!("user {name}"), &json!({}))?;
            }
            Ok(transaction.commit()?)
        })
        .await
    }

    async fn tokens(&self) -> Result<Vec<ApiToken>, StoreError> {
        on(&self.reader, |connection| {
            let sql = format!("SELECT {TOKEN} FROM api_tokens ORDER BY id DESC");
            rows(connection, &sql, [], token_of)
        })
        .await
    }

    async fn add_token(&self, token: &NewToken<'_>, who: &str) -> Result<ApiToken, AccessError> {
        let NewToken { secret, scope, expires_in, .. } = *token;
        let (name, who) = (token.name.to_owned(), who.to_owned());
        on(&self.writer, move |connection| {
            let now = clock::now();
            let transaction = begin(connection)?;
            transaction.execute(
                "DELETE FROM api_tokens WHERE expires_at <= ?1 OR expires_at <= ?2 AND name = ?3",
                params![now.saturating_sub(micros(EXPIRED_SHOWN)), now, name],
            )?;
            let (count, has_name): (i64, bool) = transaction.query_row(
                "SELECT count(*), coalesce(max(name = ?1), 0) FROM api_tokens",
                [&name],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )?;
            if has_name {
                return Err(AccessError::TokenExists);
            }
            if count >= MOST_TOKENS {
                return Err(AccessError::TooManyTokens);
            }
            let sql = format!(
                "INSERT INTO api_tokens (name, secret_hash, scope, created_by, created_at, expires_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6) RETURNING {TOKEN}"
            );
            let expires_at = expires_in.map(|lasts| later(now, lasts));
            let row = params![name, secret, scope.name(), who, now, expires_at];
            let token = transaction.query_row(&sql, row, token_of)?;
            let details = json!({ "scope": scope, "id": token.id });
            audit(&transaction, &who, "token.add", &format!("token {name}"), &details)?;
            transaction.commit()?;
            Ok(token)
        })
        .await
    }

    async fn revoke_token(&self, id: i64, who: &str) -> Result<(), AccessError> {
        let who = who.to_owned();
        on(&self.writer, move |connection| {
            let transaction = begin(connection)?;
            let sql = "DELETE FROM api_tokens WHERE id = ?1 RETURNING name";
            let name = transaction.query_row(sql, [id], |row| row.get::<_, String>(0));
            let name = name.optional()?.ok_or(AccessError::NoToken)?;
            let details = json!({ "id": id });
            audit(&transaction, &who, "token.revoke", &format!("token {name}"), &details)?;
            Ok(transaction.commit()?)
        })
        .await
    }

    async fn token(&self, secret: Digest) -> Result<Option<(String, Scope)>, StoreError> {
        let now = clock::now();
        let found = on(&self.reader, move |connection| {
            let found = connection
                .prepare_cached(
                    "SELECT name, scope, coalesce(last_used_at, 0) FROM api_tokens
                     WHERE secret_hash = ?1 AND (expires_at IS NULL OR expires_at > ?2)",
                )?
                .query_row(params![secret, now], |row| {
                    Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get(2)?))
                })
                .optional()?;
            Ok::<Option<(String, String, Micros)>, StoreError>(found)
        })
        .await?;
        let Some((name, scope, used_at)) = found else { return Ok(None) };
        if used_at <= now.saturating_sub(micros(SEEN_EVERY)) {
            on(&self.writer, move |connection| {
                let sql = "UPDATE api_tokens SET last_used_at = ?2 WHERE secret_hash = ?1";
                Ok::<_, StoreError>(connection.execute(sql, params![secret, now])?)
            })
            .await?;
        }
        Ok(Some((name, scope_of(&scope))))
    }
}

/// A [`NewUser`] for another thread.
struct Owned {
    name: String,
    role: Role,
    password_hash: String,
}

impl Owned {
    fn of(user: &NewUser<'_>) -> Self {
        let NewUser { name, role, password_hash } = *user;
        Self { name: name.to_owned(), role, password_hash: password_hash.to_owned() }
    }
}

/// What sessions that still last have in common.
struct Alive {
    created_after: Micros,
    seen_after: Micros,
}

impl Alive {
    fn at(now: Micros, limits: SessionLimits) -> Self {
        Self {
            created_after: now.saturating_sub(micros(limits.lifetime)),
            seen_after: now.saturating_sub(micros(limits.idle)),
        }
    }
}

fn begin(connection: &mut Connection) -> rusqlite::Result<Transaction<'_>> {
    connection.transaction_with_behavior(TransactionBehavior::Immediate)
}

fn has_users(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("SELECT EXISTS (SELECT 1 FROM users)", [], |row| row.get(0))
}

fn account(connection: &Connection, name: &str) -> rusqlite::Result<Option<Account>> {
    let sql = "SELECT role, is_disabled, password_hash FROM users WHERE name = ?1";
    let read = |row: &Row<'_>| {
        Ok(Account {
            role: role_of(&row.get::<_, String>(0)?),
            is_disabled: row.get(1)?,
            password_hash: row.get(2)?,
        })
    };
    connection.query_row(sql, [name], read).optional()
}

fn insert_user(connection: &Connection, user: &Owned, who: &str) -> Result<(), AccessError> {
    if account(connection, &user.name)?.is_some() {
        return Err(AccessError::UserExists);
    }
    let count: i64 = connection.query_row("SELECT count(*) FROM users", [], |row| row.get(0))?;
    if count >= MOST_USERS {
        return Err(AccessError::TooManyUsers);
    }
    connection.execute(
        "INSERT INTO users (name, role, password_hash, created_at) VALUES (?1, ?2, ?3, ?4)",
        params![user.name, user.role.name(), user.password_hash, clock::now()],
    )?;
    let details = json!({ "role": user.role });
    Ok(audit(connection, who, "user.add", &format!("user {}", user.name), &details)?)
}

/// Fails where `before` was an admin who could log in, and now there is none.
fn check_admins(connection: &Connection, before: &Account) -> Result<(), AccessError> {
    if before.role != Role::Admin || before.is_disabled {
        return Ok(());
    }
    let sql = "SELECT EXISTS (SELECT 1 FROM users WHERE role = 'admin' AND NOT is_disabled)";
    let is_left: bool = connection.query_row(sql, [], |row| row.get(0))?;
    if is_left { Ok(()) } else { Err(AccessError::LastAdmin) }
}

fn audit(
    connection: &Connection,
    who: &str,
    action: &str,
    subject: &str,
    details: &Value,
) -> rusqlite::Result<()> {
    connection
        .execute(
            "INSERT INTO audit_trail (at, who, action, subject, details)
             VALUES (?1, ?2, ?3, ?4, ?5)",
            params![clock::now(), who, action, subject, details.to_string()],
        )
        .map(drop)
}

fn token_of(row: &Row<'_>) -> rusqlite::Result<ApiToken> {
    Ok(ApiToken {
        id: row.get(0)?,
        name: row.get(1)?,
        scope: scope_of(&row.get::<_, String>(2)?),
        created_by: row.get(3)?,
        created_at: row.get(4)?,
        expires_at: row.get(5)?,
        last_used_at: row.get(6)?,
    })
}
