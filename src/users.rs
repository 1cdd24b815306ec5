//! `faultline users`: who may log in, and which tokens programs have, from a terminal.

use std::{
    io::{self, BufRead, IsTerminal, Write},
    sync::Arc,
};

use anyhow::{Context, anyhow, bail};
use clap::Subcommand;
use faultline_actors::{
    adapters::store::{
        Store,
        access::{ApiToken, NewToken, NewUser, User, UserChange},
    },
    domain::{
        access::{Role, Scope, check_name, check_password},
        time::rfc3339,
    },
};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::{
    admin::{
        access::{Key, password},
        lasts,
    },
    cli::say,
    secret::Secret,
};

/// Who the audit trail says it was.
const ACTOR: &str = "command line";

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make a user. The password is asked for, or read from standard input.
    Add {
        name: String,
        /// viewer, operator or admin
        #[arg(long, value_parser = role)]
        role: Role,
    },
    /// All users.
    List,
    /// Give a user another role; the user's sessions end.
    Role {
        name: String,
        /// viewer, operator or admin
        #[arg(value_parser = role)]
        role: Role,
    },
    /// Let a user log in no more; the user's sessions end.
    Disable { name: String },
    /// Let a user log in again.
    Enable { name: String },
    /// Give a user another password; the user's sessions end.
    Password { name: String },
    /// Remove a user.
    Remove { name: String },
    /// Tokens by which programs are known.
    Token {
        #[command(subcommand)]
        command: TokenCommand,
    },
}

#[derive(Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token, and print it: it is not shown again.
    Add {
        name: String,
        /// metrics, viewer, operator or admin
        #[arg(long, value_parser = scope)]
        scope: Scope,
        /// For example 90d; without it, it is good until it is revoked.
        #[arg(long)]
        expires_in: Option<String>,
    },
    /// All tokens, without what is secret.
    List,
    /// Have a token be good for nothing from now on.
    Revoke { id: i64 },
}

fn role(name: &str) -> Result<Role, String> {
    Role::from_name(name).ok_or_else(|| "there are viewer, operator and admin".to_owned())
}

fn scope(name: &str) -> Result<Scope, String> {
    let none = || "there are metrics, viewer, operator and admin".to_owned();
    Scope::from_name(name).ok_or_else(none)
}

/// Does what the command says. A running Faultline on the same store heeds it at once.
///
/// # Errors
/// When the store does not answer, or it cannot be done.
pub(crate) async fn run(command: Command, store: Arc<dyn Store>) -> anyhow::Result<()> {
    store.migrate().await?;
    match command {
        Command::Add { name, role } => {
            check_name(&name).map_err(|problem| anyhow!("{name:?}: {problem}"))?;
            let password_hash = &read_password(&name)?;
            store.add_user(&NewUser { name: &name, role, password_hash }, ACTOR).await?;
            say(&format!("{name} is {role}"));
        }
        Command::List => {
            for user in store.users().await? {
                say(&line(&user));
            }
        }
        Command::Role { name, role } => {
            let change = UserChange { role: Some(role), ..UserChange::default() };
            change_user(&*store, &name, &change).await?;
            say(&format!("{name} is {role}"));
        }
        Command::Disable { name } => switch(&*store, &name, true).await?,
        Command::Enable { name } => switch(&*store, &name, false).await?,
        Command::Password { name } => {
            store
                .account(&name)
                .await?
                .with_context(|| format!("{name}: there is no such user"))?;
            let password_hash = Some(read_password(&name)?);
            let change = UserChange { password_hash, ..UserChange::default() };
            change_user(&*store, &name, &change).await?;
            say(&format!("{name} has another password"));
        }
        Command::Remove { name } => {
            store.remove_user(&name, ACTOR).await.with_context(|| name.clone())?;
            say(&format!("{name} is removed"));
        }
        Command::Token { command } => token(command, &*store).await?,
    }
    Ok(())
}

async fn token(command: TokenCommand, store: &dyn Store) -> anyhow::Result<()> {
    match command {
        TokenCommand::Add { name, scope, expires_in } => {
            check_name(&name).map_err(|problem| anyhow!("{name:?}: {problem}"))?;
            let expires_in = expires_in.as_deref().map(lasts).transpose();
            let expires_in = expires_in.map_err(|problem| anyhow!("--expires-in {problem}"))?;
            let key = Key::new();
            let new = NewToken { name: &name, secret: key.digest(), scope, expires_in };
            store.add_token(&new, ACTOR).await.with_context(|| name.clone())?;
            say(&key.token());
        }
        TokenCommand::List => {
            for token in store.tokens().await? {
                say(&token_line(&token));
            }
        }
        TokenCommand::Revoke { id } => {
            store.revoke_token(id, ACTOR).await.with_context(|| format!("token {id}"))?;
            say(&format!("token {id} is revoked"));
        }
    }
    Ok(())
}

async fn change_user(store: &dyn Store, name: &str, change: &UserChange) -> anyhow::Result<()> {
    store.change_user(name, change, None, ACTOR).await.with_context(|| name.to_owned())
}

async fn switch(store: &dyn Store, name: &str, is_disabled: bool) -> anyhow::Result<()> {
    let change = UserChange { is_disabled: Some(is_disabled), ..UserChange::default() };
    change_user(store, name, &change).await?;
    say(&format!("{name} is {}", if is_disabled { "disabled" } else { "enabled" }));
    Ok(())
}

fn line(user: &User) -> String {
    let last_login = user.last_login_at.map_or_else(|| "never".to_owned(), rfc3339);
    let state = if user.is_disabled { "disabled" } else { "enabled" };
    format!("{:24}  {:8}  {state:8}  logged in {last_login}", user.name, user.role.name())
}

fn token_line(token: &ApiToken) -> String {
    let expires = token.expires_at.map_or_else(|| "never".to_owned(), rfc3339);
    let used = token.last_used_at.map_or_else(|| "never".to_owned(), rfc3339);
    format!(
        "{:>6}  {:24}  {:8}  by {}  expires {expires}  used {used}",
        token.id,
        token.name,
        token.scope.name(),
        token.created_by
    )
}

/// Asks for a password twice where a person is there; takes a line of standard input otherwise.
/// Gives its hash.
fn read_password(name: &str) -> anyhow::Result<String> {
    let first = if io::stdin().is_terminal() {
        let first = ask("password: ")?;
        check_password(name, &first).map_err(anyhow::Error::msg)?;
        if ask("again: ")? != first {
            bail!("these are two different passwords");
        }
        first
    } else {
        read_line()?
    };
    check_password(name, &first).map_err(anyhow::Error::msg)?;
    Ok(password::hash(&Secret::new(first)))
}

fn read_line() -> anyhow::Result<String> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).context("reading the password")?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

fn ask(prompt: &str) -> anyhow::Result<String> {
    let _silent = Silent::begin().context("switching the terminal's echo off")?;
    let mut stderr = io::stderr();
    let _ = write!(stderr, "{prompt}").and_then(|()| stderr.flush());
    let line = read_line();
    let _ = writeln!(stderr);
    line
}

/// The terminal shows nothing of what is typed while this lives.
struct Silent {
    before: Termios,
}

impl Silent {
    fn begin() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &silent)?;
        Ok(Self { before })
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.before);
    }
}
