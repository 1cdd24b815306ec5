//! The connection to the server of a stream: made when it is needed, forgotten when something
//! fails, and tried again with growing waits.

use std::{sync::Arc, time::Duration};

use redis::{
    ErrorKind, FromRedisValue, Pipeline, RedisError, RedisResult, aio::MultiplexedConnection,
};
use tokio::time::Instant;

use super::{
    Name, Settings, Status,
    address::{Address, Kind, Node},
    route::{Found, Route, warnings},
    trouble::{Trouble, describe},
};
use crate::{
    adapters::clock,
    domain::{calls::Ended, retry::Backoff},
};

/// See the [module](self).
pub struct Link {
    route: Route,
    /// The stream's key.
    key: String,
    /// Of this link among those that share the status.
    name: String,
    connection: Option<(MultiplexedConnection, Node)>,
    status: Arc<Status>,
    backoff: Backoff,
    retry_at: Option<Instant>,
    /// When a server that answers last refused what is needed. To connect again proves nothing
    /// then; only that nothing is refused for longer than the longest wait does.
    refused_at: Option<Instant>,
    calm: Duration,
}

impl Link {
    /// A link to the server of the stream `name`, for `purpose`. Nothing is connected yet.
    ///
    /// # Errors
    /// When the settings name no Redis.
    pub fn new(
        settings: &Settings,
        name: &Name,
        purpose: &str,
        status: Arc<Status>,
    ) -> Result<Self, String> {
        settings.validate()?;
        let key = name.key("stream");
        Ok(Self {
            route: Route::new(Address::parse(settings)?, key.clone(), settings.timeout),
            name: format!("{key} {purpose}"),
            key,
            connection: None,
            status,
            backoff: Backoff::new(settings.retry_first, settings.retry_cap),
            retry_at: None,
            refused_at: None,
            calm: settings.retry_cap + Duration::from_secs(1),
        })
    }

    /// Whether a connection is there and has not failed yet.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.connection.is_some()
    }

    /// Whether it is up, and was not refused what it needs lately.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.is_up() && self.refused_at.is_none()
    }

    /// Connects, unless that is done or Redis is to be left alone; says whether it is connected
    /// now.
    pub async fn connect(&mut self) -> bool {
        if self.is_up() {
            if self.refused_at.is_some_and(|at| at.elapsed() > self.calm) {
                self.recovered();
            }
            return true;
        }
        if self.retry_at.is_some_and(|at| at > Instant::now()) {
            return false;
        }
        let started = Instant::now();
        match self.route.find().await {
            Ok(found) => {
                self.count(started, Ended::Well);
                self.connection = Some((found.connection.clone(), found.server.clone()));
                self.retry_at = None;
                if self.refused_at.is_none() {
                    self.recovered();
                }
                self.look_for_warnings(found);
                true
            }
            Err(trouble) => {
                self.count(started, trouble.ended());
                self.note(&trouble);
                false
            }
        }
    }

    fn recovered(&mut self) {
        self.refused_at = None;
        self.backoff.reset();
        self.status.recovered(&self.name);
    }

    /// Nobody waits for it: replicas are asked, too.
    fn look_for_warnings(&self, found: Found) {
        let (address, key) = (self.route.address().clone(), self.key.clone());
        let status = self.status.clone();
        tokio::spawn(async move {
            let warnings = warnings(&address, &found).await;
            status.warn(&key, warnings);
        });
    }

    /// Whether the server of the stream answers.
    pub async fn answers(&mut self) -> bool {
        let mut commands = redis::pipe();
        commands.cmd("XLEN").arg(&self.key);
        self.is_well() && self.run::<(u64,)>(&commands).await.is_ok()
    }

    /// Where the connection leads.
    #[must_use]
    pub fn server(&self) -> Option<String> {
        self.connection.as_ref().map(|(_, server)| server.to_string())
    }

    /// Runs commands in one round trip. Whatever fails, the connection is forgotten: after a
    /// failover it may lead to the wrong server.
    ///
    /// # Errors
    /// When Redis is away, or refuses one of them.
    pub async fn run<T: FromRedisValue>(&mut self, commands: &Pipeline) -> RedisResult<T> {
        let Some((connection, server)) = &mut self.connection else {
            return Err((ErrorKind::Io, "not connected").into());
        };
        let started = Instant::now();
        let outcome = commands.query_async(connection).await;
        match &outcome {
            Ok(_) => self.count(started, Ended::Well),
            Err(error) => {
                let trouble = describe(&self.route.address().kind, server, error);
                self.count(started, trouble.ended());
                self.failed(error);
            }
        }
        outcome
    }

    fn count(&self, started: Instant, ended: Ended<'_>) {
        self.status.calls().ended(clock::now(), started.elapsed(), ended);
    }

    /// A handle of the connection, for a command that outlives a call; report its failure with
    /// [`Link::failed`].
    #[must_use]
    pub fn handle(&self) -> Option<MultiplexedConnection> {
        self.connection.as_ref().map(|(connection, _)| connection.clone())
    }

    /// Something about the connection has failed.
    pub fn failed(&mut self, error: &RedisError) {
        // What is told of a connection that was forgotten meanwhile is known.
        if let Some((_, server)) = self.connection.take() {
            let trouble = describe(&self.route.address().kind, &server, error);
            self.note(&trouble);
        }
    }

    fn note(&mut self, trouble: &Trouble) {
        let now = Instant::now();
        self.retry_at = Some(now + self.backoff.next_wait(fastrand::f64()));
        if trouble.is_refusal {
            self.refused_at = Some(now);
        }
        self.status.failed(&self.name, &trouble.text);
    }

    /// Forgets the connection, to look for the server anew.
    pub fn forget(&mut self) {
        self.connection = None;
    }

    /// It is not needed for now, so that nothing is wrong with it.
    pub fn rest(&mut self) {
        self.forget();
        self.refused_at = None;
        self.status.forget(&self.name);
    }
}

/// Asks whether Redis answers, for each of the streams where they may be on several servers; gives
/// what is to be said about it.
///
/// # Errors
/// When it does not.
pub async fn probe(settings: &Settings) -> Result<Vec<String>, String> {
    settings.validate()?;
    let address = Address::parse(settings)?;
    let mut found_warnings = Vec::new();
    let mut names = settings.all_streams();
    if names.is_empty() {
        names.push(Name { environment: "none".to_owned(), shard: 0 });
    }
    for name in names {
        let mut route = Route::new(address.clone(), name.key("stream"), settings.timeout);
        let found = route.find().await.map_err(|trouble| trouble.text)?;
        found_warnings.extend(warnings(&address, &found).await);
        if address.kind != Kind::Cluster {
            break;
        }
    }
    found_warnings.sort();
    found_warnings.dedup();
    Ok(found_warnings)
}
