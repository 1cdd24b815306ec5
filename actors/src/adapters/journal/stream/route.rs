//! Finds the server that a stream is on: the only one, the master that Sentinels name, or the
//! cluster's master of the stream's slot.
//!
//! All keys of a stream share a hash tag, so that one connection to one server is enough wherever
//! that is; when it fails, the server is looked for anew. So none of the library's own clients for
//! Sentinel and Cluster is needed, which try again and reorder by themselves.

use std::{collections::HashMap, time::Duration};

use redis::{
    AsyncConnectionConfig, Client, ErrorKind, RedisResult, Value, aio::MultiplexedConnection,
};
use tokio::time::timeout;

use super::{
    address::{Address, Kind, Node},
    trouble::{Trouble, describe, moved_to},
};

/// A stream that is moved while it is looked for is followed so often.
const HOPS: usize = 4;
/// Looking at the settings of a replica may take so long; nothing waits for it.
const LOOK: Duration = Duration::from_secs(2);
/// More replicas of one master are not looked at.
const REPLICAS: usize = 8;

/// See the [module](self).
pub(super) struct Route {
    address: Address,
    /// Of the stream.
    key: String,
    /// For an answer.
    timeout: Duration,
    /// The node of the address that is asked first: after a failure, another one.
    first: usize,
}

/// The server of the stream.
pub(super) struct Found {
    pub connection: MultiplexedConnection,
    pub server: Node,
    /// How it keeps what it holds, where it may be asked.
    settings: HashMap<String, String>,
    replicas: Vec<Node>,
}

impl Route {
    pub(super) fn new(address: Address, key: String, timeout: Duration) -> Self {
        Self { address, key, timeout, first: 0 }
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// Connects to the server that has the stream and takes writes. Takes twice as long as an
    /// answer may at most, however many nodes there are.
    pub(super) async fn find(&mut self) -> Result<Found, Trouble> {
        let limit = self.timeout * 2;
        let found = timeout(limit, self.find_by_kind()).await.unwrap_or_else(|_| {
            let text = format!("Redis: no server of the stream is found within {limit:?}");
            Err(Trouble::new(text))
        });
        if found.is_err() {
            self.first = (self.first + 1) % self.address.nodes.len();
        }
        found
    }

    async fn find_by_kind(&self) -> Result<Found, Trouble> {
        match &self.address.kind {
            Kind::Single => self.try_server(&self.address.nodes[0]).await,
            Kind::Sentinel(master) => {
                let server = self.ask_sentinels(master).await?;
                self.try_server(&server).await
            }
            Kind::Cluster => self.follow().await,
        }
    }

    /// The nodes of the address, the one whose turn it is first.
    fn nodes(&self) -> impl Iterator<Item = &Node> {
        let nodes = &self.address.nodes;
        nodes.iter().cycle().skip(self.first).take(nodes.len())
    }

    async fn try_server(&self, server: &Node) -> Result<Found, Trouble> {
        let found = self.server(server).await;
        found.unwrap_or_else(|error| Err(describe(&self.address.kind, server, &error)))
    }

    /// The first answer of a Sentinel, all of which together get the time of one answer.
    async fn ask_sentinels(&self, master: &str) -> Result<Node, Trouble> {
        let each = self.timeout / u32::try_from(self.address.nodes.len()).unwrap_or(u32::MAX);
        let mut last = None;
        for sentinel in self.nodes() {
            let text = match timeout(each, self.ask_sentinel(sentinel, master)).await {
                Ok(Ok(Some(server))) => return Ok(server),
                Ok(Ok(None)) => format!("the Sentinel at {sentinel} knows no master {master:?}"),
                Ok(Err(error)) => {
                    let trouble = describe(&self.address.kind, sentinel, &error);
                    trouble.text.replacen("Redis at", "the Sentinel at", 1)
                }
                Err(_) => format!("the Sentinel at {sentinel}: no answer within {each:?}"),
            };
            last = Some(Trouble::new(text));
        }
        Err(last.expect("an address has nodes"))
    }

    async fn ask_sentinel(&self, sentinel: &Node, master: &str) -> RedisResult<Option<Node>> {
        let mut connection = self.connect(&self.address.sentinel(sentinel)?).await?;
        let mut command = redis::cmd("SENTINEL");
        command.arg("GET-MASTER-ADDR-BY-NAME").arg(master);
        let answer: Option<(String, u16)> = command.query_async(&mut connection).await?;
        Ok(answer.map(|(host, port)| Node { host, port }))
    }

    /// Goes where the nodes of the cluster say that the stream is.
    async fn follow(&self) -> Result<Found, Trouble> {
        let mut last = None;
        for start in self.nodes() {
            let mut server = start.clone();
            for _ in 0..HOPS {
                let error = match self.server(&server).await {
                    Ok(outcome) => return outcome,
                    Err(error) => error,
                };
                last = Some(describe(&self.address.kind, &server, &error));
                let Some(next) = moved_to(&server, &error) else { break };
                server = next;
            }
        }
        Err(last.expect("an address has nodes"))
    }

    async fn connect(&self, client: &Client) -> RedisResult<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeout))
            .set_response_timeout(Some(self.timeout));
        client.get_multiplexed_async_connection_with_config(&config).await
    }

    /// Connects to `server` and asks for what must be known of it.
    async fn server(&self, server: &Node) -> RedisResult<Result<Found, Trouble>> {
        let mut connection = self.connect(&self.address.server(server)?).await?;
        let mut commands = settings_commands();
        commands.cmd("ROLE");
        // Whether it has the stream, and lets us at it.
        commands.cmd("XLEN").arg(&self.key);
        let mut replies: Vec<RedisResult<Value>> = commands.query_async(&mut connection).await?;
        let missing = || (ErrorKind::UnexpectedReturnType, "an answer is missing");
        let length = replies.pop().ok_or_else(missing)?;
        // Where it may not be asked, writes will tell.
        let role = replies.pop().ok_or_else(missing)?.map_or(Role::Master(Vec::new()), role_of);
        length?;
        let replicas = match role {
            Role::Master(replicas) => replicas,
            Role::Replica { of } => {
                let text = format!(
                    "Redis at {server}: it is a replica of {of} and takes no writes: after a \
                     fail-over, or by its settings (READONLY)"
                );
                return Ok(Err(Trouble::new(text)));
            }
        };
        let settings = settings_of(replies);
        Ok(Ok(Found { connection, server: server.clone(), settings, replicas }))
    }
}

enum Role {
    Master(Vec<Node>),
    Replica { of: Node },
}

/// Reads the answer to ROLE.
fn role_of(answer: Value) -> Role {
    let unknown = Role::Master(Vec::new());
    let Ok(fields) = redis::from_redis_value::<Vec<Value>>(answer) else { return unknown };
    let mut fields = fields.into_iter();
    let mut next = || fields.next().unwrap_or_default();
    let role = redis::from_redis_value::<String>(next()).unwrap_or_default();
    match role.as_str() {
        "master" => {
            next();
            let replicas = redis::from_redis_value::<Vec<(String, u16, String)>>(next());
            let replicas = replicas.unwrap_or_default().into_iter();
            Role::Master(replicas.map(|(host, port, _)| Node { host, port }).collect())
        }
        "slave" => {
            let host = redis::from_redis_value(next()).unwrap_or_default();
            let port = redis::from_redis_value(next()).unwrap_or_default();
            Role::Replica { of: Node { host, port } }
        }
        _ => unknown,
    }
}

/// Asks how a server keeps what it holds; what it does not tell is left out.
fn settings_commands() -> redis::Pipeline {
    let mut commands = redis::pipe();
    for setting in ["appendonly", "save", "maxmemory-policy", "maxmemory"] {
        commands.cmd("CONFIG").arg("GET").arg(setting);
    }
    commands.ignore_errors();
    commands
}

fn settings_of(replies: Vec<RedisResult<Value>>) -> HashMap<String, String> {
    let read = |reply| redis::from_redis_value::<HashMap<String, String>>(reply);
    replies.into_iter().flatten().filter_map(|reply| read(reply).ok()).flatten().collect()
}

/// By what settings the server that was found, or a replica that may follow it, could lose or evict
/// what it holds. Says nothing of those that do not tell.
pub(super) async fn warnings(address: &Address, found: &Found) -> Vec<String> {
    let say = |node: &Node, settings: &HashMap<String, String>| {
        let warnings = warnings_of(settings).into_iter();
        warnings.map(|warning| format!("Redis at {node}: {warning}")).collect::<Vec<_>>()
    };
    let mut warnings = say(&found.server, &found.settings);
    for replica in found.replicas.iter().take(REPLICAS) {
        if let Ok(Ok(settings)) = timeout(LOOK, replica_settings(address, replica)).await {
            warnings.extend(say(replica, &settings));
        }
    }
    warnings
}

async fn replica_settings(
    address: &Address,
    replica: &Node,
) -> RedisResult<HashMap<String, String>> {
    let client = address.server(replica)?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    Ok(settings_of(settings_commands().query_async(&mut connection).await?))
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

    #[test]
    fn roles_are_read() {
        let read = |wire: &str| match role_of(redis::parse_redis_value(wire.as_bytes()).unwrap()) {
            Role::Master(replicas) => replicas.iter().map(|node| format!(" {node}")).collect(),
            Role::Replica { of } => format!("of {of}"),
        };
        let replica = "*3\r\n$1\r\nr\r\n$1\r\n7\r\n$1\r\n5\r\n";
        let master = format!("*3\r\n$6\r\nmaster\r\n:5\r\n*2\r\n{replica}{replica}");
        assert_eq!(read(&master), " r:7 r:7");
        let slave = "*5\r\n$5\r\nslave\r\n$1\r\nm\r\n:6\r\n$9\r\nconnected\r\n:5\r\n";
        assert_eq!(read(slave), "of m:6");
        assert_eq!(read(":1\r\n"), "");
    }
}
