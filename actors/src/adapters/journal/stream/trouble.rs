//! What is wrong with Redis, in words for people. Pure.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use super::address::{Kind, Node};
use crate::domain::calls::Ended;

/// Why Redis cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    pub text: String,
    /// It answers, and refuses.
    pub is_refusal: bool,
    /// It does not accept our credentials.
    pub is_unauthorized: bool,
}

impl Trouble {
    /// Something that no server has said.
    pub(super) fn new(text: String) -> Self {
        Self { text, is_refusal: false, is_unauthorized: false }
    }

    /// As calls are counted.
    pub(super) fn ended(&self) -> Ended<'_> {
        if self.is_unauthorized {
            Ended::Unauthorized(&self.text)
        } else {
            Ended::Failed(&self.text)
        }
    }
}

/// The server's own code and words.
fn answer_of(error: &RedisError) -> Option<(String, String)> {
    let errors = error.clone().into_server_errors()?;
    let (_, first) = errors.first()?;
    Some((first.code().to_owned(), first.details().unwrap_or_default().to_owned()))
}

/// What `server`, found by an address of this kind, means.
pub(super) fn describe(kind: &Kind, server: &Node, error: &RedisError) -> Trouble {
    if let Some((code, details)) = answer_of(error) {
        let meaning = meaning_of(kind, &code);
        let text = match meaning {
            Some(meaning) => format!("Redis at {server}: {meaning} ({code} {details})"),
            None => format!("Redis at {server}: {code} {details}"),
        };
        let is_unauthorized = matches!(&*code, "NOAUTH" | "WRONGPASS" | "NOPERM");
        return Trouble { text, is_refusal: true, is_unauthorized };
    }
    let text = match error.kind() {
        ErrorKind::AuthenticationFailed => {
            "it refuses the user or the password of handoff.url, or knows none".to_owned()
        }
        _ if error.is_timeout() => "no answer in time (handoff.timeout)".to_owned(),
        _ => error.to_string(),
    };
    Trouble {
        text: format!("Redis at {server}: {text}"),
        is_refusal: false,
        is_unauthorized: error.kind() == ErrorKind::AuthenticationFailed,
    }
}

/// What a code means for the hand-over, and what to do.
fn meaning_of(kind: &Kind, code: &str) -> Option<&'static str> {
    Some(match code {
        "NOAUTH" => "it wants a password, and handoff.url has none",
        "WRONGPASS" => "it refuses the user or the password of handoff.url",
        "NOPERM" => "its ACL forbids what is needed; the README lists it",
        "READONLY" => "it is a replica and takes no writes: after a fail-over, or by its settings",
        "OOM" => "its memory is full: maxmemory is reached and nothing may be evicted",
        "LOADING" => "it is still loading its data",
        "MISCONF" => "it cannot write to its disk and takes no writes",
        "NOREPLICAS" => "it has too few replicas to take writes",
        "MASTERDOWN" => "it is a replica that has lost its master",
        "CLUSTERDOWN" => "the cluster has no master for this stream",
        "MOVED" if *kind != Kind::Cluster => {
            "it is a node of a cluster: redis+cluster:// is needed in handoff.url"
        }
        "MOVED" => "the stream is at another node of the cluster by now",
        "ASK" | "TRYAGAIN" => "the cluster is moving the stream to another node",
        "WRONGTYPE" => "something else uses the stream's key",
        _ => return None,
    })
}

/// Where a node of a cluster says that the stream is.
pub(super) fn moved_to(server: &Node, error: &RedisError) -> Option<Node> {
    if error.kind() != ErrorKind::Server(ServerErrorKind::Moved) {
        return None;
    }
    let (_, details) = answer_of(error)?;
    server.named_by(details.split(' ').nth(1)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server() -> Node {
        Node { host: "h".to_owned(), port: 1 }
    }

    /// As it comes off the wire.
    fn answered(line: &str) -> RedisError {
        let value = redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap();
        value.extract_error().unwrap_err()
    }

    #[test]
    fn each_refusal_has_words_of_its_own() {
        let text = |kind: &Kind, line: &str| {
            let trouble = describe(kind, &server(), &answered(line));
            assert!(trouble.is_refusal);
            trouble.text
        };
        let mut texts: Vec<_> = [
            "NOAUTH Authentication required.",
            "NOPERM User u has no permissions to run the 'xadd' command",
            "READONLY You can't write against a read only replica.",
            "OOM command not allowed when used memory > 'maxmemory'.",
            "LOADING Redis is loading the dataset in memory",
            "MISCONF Redis is configured to save RDB snapshots",
            "CLUSTERDOWN Hash slot not served",
            "MOVED 7 h:2",
        ]
        .map(|line| text(&Kind::Single, line))
        .into();
        assert!(
            texts
                .iter()
                .all(|text| text.starts_with("Redis at h:1: it") || text.contains("the cluster"))
        );
        assert!(texts[1].contains("'xadd'") && texts[7].contains("redis+cluster://"));
        texts.sort();
        texts.dedup();
        assert_eq!(texts.len(), 8);
        assert_eq!(text(&Kind::Cluster, "ODD thing"), "Redis at h:1: ODD thing");
        assert!(!text(&Kind::Cluster, "MOVED 7 h:2").contains("redis+cluster"));
    }

    #[test]
    fn silence_is_no_refusal() {
        let silence = RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut));
        let trouble = describe(&Kind::Single, &server(), &silence);
        assert_eq!(trouble.text, "Redis at h:1: no answer in time (handoff.timeout)");
        assert!(!trouble.is_refusal);
    }

    #[test]
    fn a_cluster_says_where_to_go() {
        let to = |line: &str| moved_to(&server(), &answered(line)).map(|node| node.to_string());
        assert_eq!(to("MOVED 3999 127.0.0.1:6381").as_deref(), Some("127.0.0.1:6381"));
        assert_eq!(to("MOVED 3999 :6381").as_deref(), Some("h:6381"));
        assert_eq!(to("ASK 3999 127.0.0.1:6381"), None);
        assert_eq!(to("MOVED nonsense"), None);
    }
}
