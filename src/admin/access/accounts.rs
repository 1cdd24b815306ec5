//! Users: how they log in, and how the first one comes to be.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use axum::http::StatusCode;
use faultline_actors::{
    adapters::store::{
        Store,
        access::{AccessError, Digest, NewUser, SessionLimits, UserChange},
    },
    domain::access::{Role, check_name, check_password},
    stage::Live,
};
use metrics::counter;

use super::{
    Key, Who,
    password::{Busy, Hashing},
    session::Session,
    throttle::{Throttle, network_of},
    too_many,
};
use crate::{admin::away, cli::complain, problem::Problem, secret::Secret};

/// How long a setup link is good for.
const SETUP: Duration = Duration::from_hours(1);
/// How often the store is asked, at the start, whether there are users, while it does not answer.
const RETRY: Duration = Duration::from_secs(1);

/// Attempts of one account: so many at once, then one in a while. Good ones do not count.
const ACCOUNT_BURST: u32 = 5;
const ACCOUNT_EVERY: Duration = Duration::from_mins(1);
/// Attempts from one address, behind which there may be many people.
const ADDRESS_BURST: u32 = 20;
const ADDRESS_EVERY: Duration = Duration::from_secs(6);

/// Those who may log in, and those who try.
pub(in crate::admin) struct Accounts {
    pub(in crate::admin) store: Arc<dyn Store>,
    pub(super) limits: Live<SessionLimits>,
    hashing: Hashing,
    by_account: Throttle,
    by_address: Throttle,
    started: Instant,
    /// Once there are users there is always one.
    has_users: AtomicBool,
}

impl Accounts {
    pub(super) fn new(store: Arc<dyn Store>, limits: SessionLimits) -> Self {
        Self {
            store,
            limits: Live::new(limits),
            hashing: Hashing::new(),
            by_account: Throttle::new(ACCOUNT_BURST, ACCOUNT_EVERY),
            by_address: Throttle::new(ADDRESS_BURST, ADDRESS_EVERY),
            started: Instant::now(),
            has_users: AtomicBool::new(false),
        }
    }

    pub(in crate::admin) async fn has_users(&self) -> Result<bool, Problem> {
        if self.has_users.load(Ordering::Relaxed) {
            return Ok(true);
        }
        let has = self.store.has_users().await.map_err(away)?;
        self.has_users.store(has, Ordering::Relaxed);
        Ok(has)
    }

    /// Counts an attempt, unless there were too many.
    fn attempt(&self, name: Option<&str>, address: IpAddr) -> Result<(), Problem> {
        let now = self.started.elapsed();
        let refuse = |reason, wait: Duration| {
            count_refused(reason);
            // A second more, as what is left of one is not told.
            let seconds = wait.as_secs() + 1;
            too_many(format!("too many attempts; the next one is possible in {seconds} s"), seconds)
        };
        let network = network_of(address);
        self.by_address.attempt(network, now).map_err(|wait| refuse("address", wait))?;
        let Some(name) = name else { return Ok(()) };
        self.by_account.attempt(name, now).map_err(|wait| {
            // It was not looked at, and the address may belong to others too.
            self.by_address.forgive(network);
            refuse("account", wait)
        })
    }

    fn forgive(&self, name: Option<&str>, address: IpAddr) {
        self.by_address.forgive(network_of(address));
        if let Some(name) = name {
            self.by_account.forgive(name);
        }
    }

    /// Whether it is the user's password. Takes the same time for a user that there is not.
    async fn check(&self, name: &str, password: Secret) -> Result<Option<String>, Problem> {
        let account = self.store.account(name).await.map_err(away)?;
        let hash = account.filter(|it| !it.is_disabled).map(|account| account.password_hash);
        let is_right = self.hashing.verify(password, hash.clone()).await.map_err(busy)?;
        Ok(hash.filter(|_| is_right))
    }

    /// Starts a session with a new id.
    pub(in crate::admin) async fn log_in(
        &self,
        name: &str,
        password: Secret,
        address: IpAddr,
    ) -> Result<Session, Problem> {
        self.attempt(Some(name), address)?;
        if let Some(hash) = self.check(name, password).await? {
            let session = Session::new();
            let digest = session.digest();
            let started = self.store.start_session(name, &hash, digest, self.limits.get()).await;
            if started.map_err(away)? {
                self.forgive(Some(name), address);
                counter!("faultline_logins_total").increment(1);
                return Ok(session);
            }
        }
        count_refused("credentials");
        // The name may be a password that somebody typed into the wrong field.
        tracing::warn!(%address, "a login with a wrong name or password");
        Err(Problem::new(StatusCode::UNAUTHORIZED, "name or password is wrong"))
    }

    /// Makes the first user, and logs him in.
    pub(in crate::admin) async fn set_up(
        &self,
        link: &str,
        name: &str,
        password: Secret,
        address: IpAddr,
    ) -> Result<Session, Problem> {
        self.attempt(None, address)?;
        // Before the password is hashed, which is costly.
        let key = Key::of_text(link).ok_or_else(|| refused(AccessError::NoSetup))?;
        let password_hash = self.hash(name, password).await?;
        let user = NewUser { name, role: Role::Admin, password_hash: &password_hash };
        self.store.set_up(key.digest(), &user).await.map_err(refused)?;
        self.forgive(None, address);
        let session = Session::new();
        let limits = self.limits.get();
        let started = self.store.start_session(name, &password_hash, session.digest(), limits);
        started.await.map_err(away)?;
        Ok(session)
    }

    /// Checks and hashes a password to be.
    async fn hash(&self, name: &str, password: Secret) -> Result<String, Problem> {
        check_password(name, password.expose()).map_err(|problem| unfit("/password", problem))?;
        self.hashing.hash(password).await.map_err(busy)
    }

    pub(in crate::admin) async fn add(
        &self,
        name: &str,
        role: Role,
        password: Secret,
        who: &Who,
    ) -> Result<(), Problem> {
        check_name(name).map_err(|problem| unfit("/name", problem))?;
        let password_hash = &self.hash(name, password).await?;
        let user = NewUser { name, role, password_hash };
        self.store.add_user(&user, who.name()).await.map_err(refused)
    }

    /// Changes a user; `password` is the new one in plain.
    pub(in crate::admin) async fn change(
        &self,
        name: &str,
        mut change: UserChange,
        password: Option<Secret>,
        who: &Who,
    ) -> Result<(), Problem> {
        if let Some(password) = password {
            change.password_hash = Some(self.hash(name, password).await?);
        }
        self.store.change_user(name, &change, None, who.name()).await.map_err(refused)
    }

    /// Changes the user's own password; the session that he does it with goes on.
    pub(in crate::admin) async fn change_own(
        &self,
        who: &Who,
        session: Digest,
        [old, new]: [Secret; 2],
        address: IpAddr,
    ) -> Result<(), Problem> {
        let name = who.name();
        check_password(name, new.expose()).map_err(|problem| unfit("/new", problem))?;
        self.attempt(Some(name), address)?;
        if self.check(name, old).await?.is_none() {
            count_refused("credentials");
            return Err(Problem::new(StatusCode::FORBIDDEN, "old: that is not the password"));
        }
        self.forgive(Some(name), address);
        let password_hash = Some(self.hashing.hash(new).await.map_err(busy)?);
        let change = UserChange { password_hash, ..UserChange::default() };
        self.store.change_user(name, &change, Some(session), name).await.map_err(refused)
    }

    /// Where there are no users yet, gives whoever reads standard error a link to become the first.
    /// The link passes by the log, so that no log that is shipped elsewhere has it.
    pub(in crate::admin) async fn invite(&self, url: &str) {
        let key = Key::new();
        loop {
            match self.store.has_users().await {
                Ok(true) => return,
                Ok(false) if self.store.allow_setup(key.digest(), SETUP).await.is_ok() => break,
                // It is away, or its schema is not there yet.
                Ok(false) | Err(_) => tokio::time::sleep(RETRY).await,
            }
        }
        tracing::info!(
            "there are no users yet: a link to make the first one was printed; `faultline users \
             add` does so too"
        );
        complain(&format!(
            "there are no users yet. Whoever opens this link within an hour becomes the first \
             admin:\n\n    {url}/setup#{}\n",
            key.text()
        ));
    }
}

fn count_refused(reason: &'static str) {
    counter!("faultline_logins_refused_total", "reason" => reason).increment(1);
}

fn busy(_: Busy) -> Problem {
    count_refused("busy");
    too_many("too many log in at the same time", 2)
}

/// A name or password that is not possible.
pub(in crate::admin) fn unfit(pointer: &str, problem: String) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, problem).at(pointer.to_owned())
}

/// What the store did not do, as an answer.
pub(in crate::admin) fn refused(error: AccessError) -> Problem {
    let status = match error {
        AccessError::Store(error) => return away(error),
        AccessError::NoUser | AccessError::NoToken => StatusCode::NOT_FOUND,
        AccessError::NoSetup => {
            count_refused("setup");
            StatusCode::FORBIDDEN
        }
        AccessError::UserExists
        | AccessError::LastAdmin
        | AccessError::TooManyUsers
        | AccessError::TokenExists
        | AccessError::TooManyTokens => StatusCode::CONFLICT,
    };
    Problem::new(status, error.to_string())
}
