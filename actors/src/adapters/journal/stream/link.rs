//! The connection to Redis: made when it is needed, forgotten when something fails, and tried
//! again with growing waits.

use std::{collections::HashMap, sync::Arc, time::Duration};

use redis::{
    AsyncConnectionConfig, Client, ErrorKind, FromRedisValue, Pipeline, RedisError, RedisResult,
    aio::MultiplexedConnection,
};
use tokio::time::Instant;

use super::{Settings, Status};
use crate::domain::retry::Backoff;

/// See the [module](self).
pub struct Link {
    client: Client,
    timeout: Duration,
    connection: Option<MultiplexedConnection>,
    status: Arc<Status>,
    backoff: Backoff,
    retry_at: Option<Instant>,
}

impl Link {
    /// Nothing is connected yet.
    ///
    /// # Errors
    /// When the URL is none of a Redis.
    pub fn new(settings: &Settings, status: Arc<Status>) -> Result<Self, String> {
        settings.validate()?;
        let client = Client::open(settings.url.expose())
            .map_err(|error| format!("url: no URL of a Redis ({:?})", error.kind()))?;
        let backoff = Backoff::new(settings.retry_first, settings.retry_cap);
        let timeout = settings.timeout;
        Ok(Self { client, timeout, connection: None, status, backoff, retry_at: None })
    }

    /// Whether a connection is there and has not failed yet.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.connection.is_some()
    }

    /// Until when Redis is left alone.
    #[must_use]
    pub fn rests_until(&self) -> Option<Instant> {
        self.retry_at.filter(|at| *at > Instant::now())
    }

    /// Connects, unless that is done or Redis is to be left alone; says whether it is connected
    /// now. A fresh connection has looked at what Redis would lose.
    pub async fn connect(&mut self) -> bool {
        if self.is_up() {
            return true;
        }
        if self.rests_until().is_some() {
            return false;
        }
        match self.try_connect().await {
            Ok((connection, warnings)) => {
                self.connection = Some(connection);
                self.backoff.reset();
                self.retry_at = None;
                self.status.recovered();
                self.status.warn(warnings);
                true
            }
            Err(error) => {
                self.failed(&error);
                false
            }
        }
    }

    async fn try_connect(&self) -> RedisResult<(MultiplexedConnection, Vec<String>)> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeout))
            .set_response_timeout(Some(self.timeout));
        let mut connection =
            self.client.get_multiplexed_async_connection_with_config(&config).await?;
        let warnings = warnings(&mut connection).await?;
        Ok((connection, warnings))
    }

    /// Runs commands in one round trip. Whatever fails, the connection is forgotten: after a
    /// failover it may lead to the wrong server.
    ///
    /// # Errors
    /// When Redis is away, or refuses one of them.
    pub async fn run<T: FromRedisValue>(&mut self, commands: &Pipeline) -> RedisResult<T> {
        let Some(connection) = &mut self.connection else {
            return Err((ErrorKind::Io, "not connected").into());
        };
        let outcome = commands.query_async(connection).await;
        if let Err(error) = &outcome {
            self.failed(error);
        }
        outcome
    }

    /// A handle of the connection, for a command that outlives a call; report its failure with
    /// [`Link::failed`].
    #[must_use]
    pub fn handle(&self) -> Option<MultiplexedConnection> {
        self.connection.clone()
    }

    /// Something about the connection has failed.
    pub fn failed(&mut self, error: &RedisError) {
        self.connection = None;
        self.retry_at = Some(Instant::now() + self.backoff.next_wait(fastrand::f64()));
        self.status.failed(&error.to_string());
    }
}

/// Asks whether Redis answers; gives what is to be said about it.
///
/// # Errors
/// When it does not.
pub async fn probe(settings: &Settings) -> Result<Vec<String>, String> {
    let link = Link::new(settings, Arc::default())?;
    let (_, warnings) = link.try_connect().await.map_err(|error| error.to_string())?;
    Ok(warnings)
}

/// By what settings Redis could lose or evict what it holds. Nothing where it may not be asked.
async fn warnings(connection: &mut MultiplexedConnection) -> RedisResult<Vec<String>> {
    let mut commands = redis::pipe();
    for setting in ["appendonly", "save", "maxmemory-policy", "maxmemory"] {
        commands.cmd("CONFIG").arg("GET").arg(setting);
    }
    commands.cmd("PING");
    commands.ignore_errors();
    let replies: Vec<RedisResult<redis::Value>> = commands.query_async(connection).await?;
    let mut found: HashMap<String, String> = HashMap::new();
    let mut replies = replies.into_iter();
    let ping = replies.next_back();
    for reply in replies.flatten() {
        found.extend(redis::from_redis_value::<HashMap<String, String>>(reply).unwrap_or_default());
    }
    // Refused CONFIG is one thing; a refused PING means that Redis cannot be used (no password).
    if let Some(Err(error)) = ping {
        return Err(error);
    }
    Ok(warnings_of(&found))
}

fn warnings_of(settings: &HashMap<String, String>) -> Vec<String> {
    let is = |name: &str, value: &str| settings.get(name).is_some_and(|is| is == value);
    let mut warnings = Vec::new();
    if is("appendonly", "no") {
        let rest = if is("save", "") { "nothing of it is on disk" } else { "snapshots are all" };
        warnings.push(format!("appendonly = no: {rest}; appendonly = yes is better"));
    }
    if let Some(policy) = settings.get("maxmemory-policy").filter(|is| *is != "noeviction")
        && !is("maxmemory", "0")
    {
        warnings.push(format!("maxmemory-policy = {policy}: noeviction is needed"));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_redis_could_lose_is_said() {
        let warnings = |settings: &[(&str, &str)]| {
            let settings = settings.iter().map(|(name, is)| ((*name).to_owned(), (*is).to_owned()));
            warnings_of(&settings.collect())
        };
        assert!(warnings(&[]).is_empty(), "CONFIG was refused");
        assert!(warnings(&[("appendonly", "yes"), ("maxmemory-policy", "noeviction")]).is_empty());
        let both = [("appendonly", "no"), ("save", ""), ("maxmemory-policy", "allkeys-lru")];
        assert_eq!(warnings(&both).len(), 2);
        let unbounded = [("maxmemory-policy", "allkeys-lru"), ("maxmemory", "0")];
        assert!(warnings(&unbounded).is_empty(), "nothing is evicted without a limit");
    }
}
