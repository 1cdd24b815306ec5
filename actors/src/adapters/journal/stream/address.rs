//! Where Redis is, by `handoff.url`, and how it is talked to: TLS, user and password.
//!
//! | `handoff.url` | |
//! |---|---|
//! | `redis://user:password@host:6379/0` | one server |
//! | `redis+sentinel://user:password@host1:26379,host2:26379/mymaster/0` | the master that Sentinels name |
//! | `redis+cluster://user:password@host1:6379,host2:6379` | a cluster, by some of its nodes |
//!
//! `rediss` instead of `redis` is TLS, also to Sentinels and to all nodes of a cluster. User and
//! password are those of the servers; Sentinels have settings of their own.

use std::{fs, path::Path};

use redis::{
    Client, ClientTlsConfig, ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo, RedisResult,
    TlsCertificates,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use super::Settings;
use crate::domain::secret::mask_url;

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub host: String,
    pub port: u16,
}

impl std::fmt::Display for Node {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(out, "[{}]:{}", self.host, self.port)
        } else {
            write!(out, "{}:{}", self.host, self.port)
        }
    }
}

impl Node {
    /// Reads what a node of a cluster says of another one: `host:port`, or `:port` for a port of
    /// its own host.
    pub(super) fn named_by(&self, text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let host = if host.is_empty() { self.host.clone() } else { host.to_owned() };
        Some(Self { host, port: port.parse().ok()? })
    }
}

/// What the nodes of an address are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Single,
    /// Sentinels, and the master's name among them.
    Sentinel(String),
    Cluster,
}

/// See the [module](self).
#[derive(Clone, Debug)]
pub(super) struct Address {
    pub kind: Kind,
    /// The server, the Sentinels, or some nodes of the cluster; at least one.
    pub nodes: Vec<Node>,
    login: RedisConnectionInfo,
    sentinel_login: RedisConnectionInfo,
    /// With TLS only.
    certificates: Option<TlsCertificates>,
}

const FORMS: &str = "redis://user:password@host:6379, \
    redis+sentinel://user:password@host:26379,host:26379/mymaster or \
    redis+cluster://user:password@host:6379,host:6379 is needed; rediss for TLS";

impl Address {
    /// Reads the settings, and the files that they name.
    ///
    /// # Errors
    /// Names the key, its value without the password, and what would be right.
    pub(super) fn parse(settings: &Settings) -> Result<Self, String> {
        let url = settings.url.expose();
        let shown = mask_url(url);
        let wrong = |problem: &str| format!("url = \"{shown}\": {problem}");
        let (scheme, rest) = url.split_once("://").ok_or_else(|| wrong(FORMS))?;
        let (tls, form) = scheme.split_once('+').unwrap_or((scheme, ""));
        let is_tls = match tls {
            "redis" => false,
            "rediss" => true,
            _ => return Err(wrong(FORMS)),
        };
        // The last @ ends the credentials.
        let at = rest.rfind('@').map_or(0, |at| at + 1);
        let (credentials, rest) = rest.split_at(at);
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (hosts, path) = rest.split_at(end);
        let path = path.trim_matches('/');
        let (kind, database, port) = match form {
            "" if tls == scheme => (Kind::Single, path, 6379),
            "cluster" => (Kind::Cluster, path, 6379),
            "sentinel" => {
                let (master, database) = path.split_once('/').unwrap_or((path, ""));
                (Kind::Sentinel(master.to_owned()), database, 26379)
            }
            _ => return Err(wrong(FORMS)),
        };
        if kind == Kind::Sentinel(String::new()) {
            return Err(wrong("the master's name is needed behind the hosts: /mymaster"));
        }
        if kind == Kind::Cluster && !matches!(database, "" | "0") {
            return Err(wrong("a cluster has only database 0"));
        }
        let database =
            database.parse::<i64>().or(if database.is_empty() { Ok(0) } else { Err(()) });
        let database =
            database.map_err(|()| wrong("behind the host only a database's number can be"))?;
        let mut nodes = Vec::new();
        let mut login = RedisConnectionInfo::default();
        for host in hosts.split(',') {
            // One host at a time is what the library reads. What it says may hold the password.
            let info = format!("redis://{credentials}{host}").into_connection_info();
            let info =
                info.map_err(|error| wrong(&format!("no URL of a Redis ({:?})", error.kind())))?;
            let ConnectionAddr::Tcp(name, given) = info.addr() else { return Err(wrong(FORMS)) };
            let has_port = host.rsplit(']').next().is_some_and(|tail| tail.contains(':'));
            nodes.push(Node { host: name.clone(), port: if has_port { *given } else { port } });
            login = info.redis_settings().clone();
        }
        if kind == Kind::Single && nodes.len() > 1 {
            return Err(wrong("several hosts: redis+sentinel:// or redis+cluster:// is needed"));
        }
        let mut sentinel_login = RedisConnectionInfo::default().set_skip_set_lib_name();
        if !settings.sentinel_password.is_empty() {
            sentinel_login = sentinel_login.set_password(settings.sentinel_password.expose());
        }
        if !settings.sentinel_user.is_empty() {
            sentinel_login = sentinel_login.set_username(&settings.sentinel_user);
        }
        Ok(Self {
            kind,
            nodes,
            // Nobody reads the library's name, and a user need not be allowed to say it.
            login: login.set_db(database).set_skip_set_lib_name(),
            sentinel_login,
            certificates: certificates(settings, is_tls)?,
        })
    }

    /// A client of a server.
    pub(super) fn server(&self, node: &Node) -> RedisResult<Client> {
        self.client(node, &self.login)
    }

    /// A client of a Sentinel.
    pub(super) fn sentinel(&self, node: &Node) -> RedisResult<Client> {
        self.client(node, &self.sentinel_login)
    }

    fn client(&self, node: &Node, login: &RedisConnectionInfo) -> RedisResult<Client> {
        let Node { host, port } = node.clone();
        let address = match &self.certificates {
            None => ConnectionAddr::Tcp(host, port),
            Some(_) => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
        };
        let info = address.into_connection_info()?.set_redis_settings(login.clone());
        match &self.certificates {
            None => Client::open(info),
            Some(certificates) => Client::build_with_tls(info, certificates.clone()),
        }
    }
}

/// What TLS needs beside what the system trusts.
fn certificates(settings: &Settings, is_tls: bool) -> Result<Option<TlsCertificates>, String> {
    let files = [
        ("ca_file", &settings.ca_file),
        ("certificate_file", &settings.certificate_file),
        ("key_file", &settings.key_file),
    ];
    let set = files.iter().find(|(_, path)| !path.as_os_str().is_empty());
    if !is_tls {
        return match set {
            Some((key, path)) => {
                Err(format!("{key} = \"{}\": only with TLS, url = \"rediss://…\"", path.display()))
            }
            None => Ok(None),
        };
    }
    let [ca, certificate, key] = files.map(|(key, path)| read(key, path));
    let (ca, certificate, key) = (ca?, certificate?, key?);
    let is_certificate = |pem: &[u8]| {
        let mut found = CertificateDer::pem_slice_iter(pem);
        found.next().is_some_and(|first| first.is_ok())
    };
    for (name, pem) in [("ca_file", &ca), ("certificate_file", &certificate)] {
        if pem.as_deref().is_some_and(|pem| !is_certificate(pem)) {
            return Err(format!("{name}: no certificate is in it; a PEM file is needed"));
        }
    }
    if key.as_deref().is_some_and(|pem| PrivateKeyDer::from_pem_slice(pem).is_err()) {
        return Err("key_file: no private key is in it; a PEM file is needed".to_owned());
    }
    let client_tls = match (certificate, key) {
        (Some(client_cert), Some(client_key)) => Some(ClientTlsConfig { client_cert, client_key }),
        (None, None) => None,
        (Some(_), None) => return Err("key_file = \"\": certificate_file needs its key".to_owned()),
        (None, Some(_)) => {
            return Err("certificate_file = \"\": key_file needs its certificate".to_owned());
        }
    };
    Ok(Some(TlsCertificates { client_tls, root_cert: ca }))
}

fn read(key: &str, path: &Path) -> Result<Option<Vec<u8>>, String> {
    if path.as_os_str().is_empty() {
        return Ok(None);
    }
    let content = fs::read(path);
    content.map(Some).map_err(|error| format!("{key} = \"{}\": {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::secret::Secret;

    fn parse(url: &str) -> Result<Address, String> {
        Address::parse(&Settings { url: Secret::new(url), ..Settings::default() })
    }

    #[test]
    fn the_three_forms_are_understood() {
        let read = |url: &str| {
            let Address { kind, nodes, login, .. } = parse(url).unwrap();
            let nodes: Vec<_> = nodes.iter().map(ToString::to_string).collect();
            let user = login.username().unwrap_or("").to_owned();
            let password = login.password().unwrap_or("").to_owned();
            (kind, nodes.join(" "), login.db(), format!("{user}:{password}"))
        };
        let sentinel = || Kind::Sentinel("mymaster".to_owned());
        for (url, expected) in [
            ("redis://h", (Kind::Single, "h:6379", 0, ":")),
            ("redis://u:p@h:1/2", (Kind::Single, "h:1", 2, "u:p")),
            ("rediss://:p%40@[::1]:1", (Kind::Single, "[::1]:1", 0, ":p@")),
            ("redis+sentinel://a,b:1/mymaster", (sentinel(), "a:26379 b:1", 0, ":")),
            ("rediss+sentinel://u:p@[::1]/mymaster/3", (sentinel(), "[::1]:26379", 3, "u:p")),
            ("redis+cluster://u:p@a:1,b", (Kind::Cluster, "a:1 b:6379", 0, "u:p")),
            ("rediss+cluster://a/0", (Kind::Cluster, "a:6379", 0, ":")),
        ] {
            let (kind, nodes, database, login) = expected;
            assert_eq!(read(url), (kind, nodes.to_owned(), database, login.to_owned()), "{url}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for (url, expected) in [
            ("hunter2", "redis://user"),
            ("http://u:hunter2@h", "redis://user"),
            ("redis+unix://u:hunter2@h", "redis://user"),
            ("redis+://u:hunter2@h", "redis://user"),
            ("redis://u:hunter2@h:x", "no URL of a Redis"),
            ("redis://u:hunter2@", "no URL of a Redis"),
            ("redis://u:hunter2@h/zero", "database's number"),
            ("redis://u:hunter2@h?protocol=resp9", "database's number"),
            ("redis://u:hunter2@a,b", "several hosts"),
            ("redis+sentinel://u:hunter2@a:1,b:2", "the master's name is needed"),
            ("redis+cluster://u:hunter2@a:1/1", "only database 0"),
        ] {
            let problem = parse(url).map(drop).unwrap_err();
            assert!(problem.starts_with("url = \"") && problem.contains(expected), "{problem}");
            assert!(url == "hunter2" || !problem.contains("hunter2"), "{problem}");
        }
    }

    #[test]
    fn certificates_are_read_before_anything_starts() {
        let directory = tempfile::tempdir().unwrap();
        let none = directory.path().join("none.pem");
        fs::write(&none, "nothing").unwrap();
        let problem = |url: &str, change: &dyn Fn(&mut Settings)| {
            let mut settings = Settings { url: Secret::new(url), ..Settings::default() };
            change(&mut settings);
            Address::parse(&settings).map(drop).unwrap_err()
        };
        let missing = |settings: &mut Settings| settings.ca_file = "/no/such.pem".into();
        assert!(problem("redis://h", &missing).contains("only with TLS"));
        assert!(problem("rediss://h", &missing).starts_with("ca_file = \"/no/such.pem\": No such"));
        let empty = |settings: &mut Settings| settings.ca_file.clone_from(&none);
        assert!(problem("rediss://h", &empty).starts_with("ca_file: no certificate"));
        let no_key = |settings: &mut Settings| settings.key_file.clone_from(&none);
        assert!(problem("rediss://h", &no_key).starts_with("key_file: no private key"));
    }

    #[test]
    fn nodes_of_a_cluster_name_others() {
        let node = Node { host: "a".to_owned(), port: 1 };
        assert_eq!(node.named_by("b:2"), Some(Node { host: "b".to_owned(), port: 2 }));
        assert_eq!(node.named_by(":2"), Some(Node { host: "a".to_owned(), port: 2 }));
        assert_eq!(node.named_by("b"), None);
    }
}
