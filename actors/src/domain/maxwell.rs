//! A line of Maxwell's change stream: one JSON object a line.
//!
//! Source: zendesk/maxwell `docs/docs/dataformat.md` and `RowMap.java`. Row changes (`insert`,
//! `update`, `delete`, `bootstrap-*`) carry `ts` in seconds, schema changes (`table-*`,
//! `database-*`) in milliseconds (maxwell#1306). With full encryption a line has no key but
//! `encrypted`. Filters may add keys and types of their own, so any object with a `type` is taken.
//! The line itself becomes the event's attributes, so decimals, big integers and unknown keys
//! stay exactly as they came.

use std::borrow::Cow;

use serde_json::value::RawValue;
use simd_json::{Buffers, Node, StaticNode, Tape};

use super::{
    json::{self, Members, Text},
    time::{self, Micros},
};

/// Nesting beyond this is rejected. MySQL itself refuses JSON deeper than 100.
pub const MAX_DEPTH: usize = 128;

/// What a line says about itself; text borrowed from the reader's scratch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change<'a> {
    /// Empty for a fully encrypted line.
    pub kind: &'a str,
    pub database: &'a str,
    pub table: &'a str,
    pub occurred_at: Option<Micros>,
    /// Binlog position, where Maxwell was told to print it.
    pub position: &'a str,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MaxwellError {
    #[error("not JSON: {0}")]
    Syntax(String),
    #[error("not a JSON object")]
    NoObject,
    #[error("no text under the key `type`")]
    NoType,
    #[error("`{0}` is not a text")]
    NotText(&'static str),
}

/// Reads lines, reusing its buffers. A line is copied once, because simd-json unescapes in place
/// and the event keeps the line as it came.
pub struct Reader {
    buffers: Buffers,
    tape: Tape<'static>,
    scratch: Vec<u8>,
}

impl Default for Reader {
    fn default() -> Self {
        Self {
            buffers: Buffers::with_max_depth(1024, MAX_DEPTH),
            tape: Tape(Vec::new()),
            scratch: Vec::new(),
        }
    }
}

/// A tape takes up to 35 times the memory of its line. Longer lines are read member by member.
const LONGEST_ON_TAPE: usize = 256 << 10;

impl Reader {
    /// Reads one line and gives what it says to `take`.
    ///
    /// # Errors
    /// When the line is no JSON object that looks like Maxwell's.
    pub fn read<T>(
        &mut self,
        line: &[u8],
        take: impl FnOnce(&Change<'_>) -> T,
    ) -> Result<T, MaxwellError> {
        if line.len() > LONGEST_ON_TAPE {
            return read_long(line, take);
        }
        self.scratch.clear();
        self.scratch.extend_from_slice(line);
        self.scratch.resize(line.len() + simd_json::INPUT_PADDING, b' ');
        let mut nodes = std::mem::replace(&mut self.tape, Tape(Vec::new())).reset();
        let read = simd_json::fill_tape_padded(
            &mut self.scratch,
            line.len(),
            &mut self.buffers,
            &mut nodes,
        );
        let outcome = match read {
            Ok(()) => change(&nodes.0).map(|change| take(&change)),
            Err(error) => Err(MaxwellError::Syntax(error.to_string())),
        };
        self.tape = nodes.reset();
        outcome
    }
}

/// Walks the members of the outermost object.
fn change<'a>(nodes: &[Node<'a>]) -> Result<Change<'a>, MaxwellError> {
    let Some((Node::Object { len, .. }, mut rest)) = nodes.split_first() else {
        return Err(MaxwellError::NoObject);
    };
    let mut change = Change::default();
    let mut timestamp = None;
    let mut encrypted = false;
    for _ in 0..*len {
        let [Node::String(key), value, ..] = rest else { break };
        match *key {
            "type" => change.kind = text(value, "type")?,
            "database" => change.database = text(value, "database")?,
            "table" => change.table = text(value, "table")?,
            "position" => change.position = text(value, "position")?,
            "ts" => timestamp = integer(value),
            "encrypted" => encrypted = true,
            _ => {}
        }
        let nested = match value {
            Node::Object { count, .. } | Node::Array { count, .. } => *count,
            Node::String(_) | Node::Static(_) => 0,
        };
        rest = rest.get(2 + nested..).unwrap_or_default();
    }
    finished(change, timestamp, encrypted)
}

/// Reads a line without a tape.
fn read_long<T>(line: &[u8], take: impl FnOnce(&Change<'_>) -> T) -> Result<T, MaxwellError> {
    let Members(members) = serde_json::from_slice(line)
        .map_err(|error| if error.is_data() { MaxwellError::NoObject } else { syntax(&error) })?;
    if json::is_deeper_than(line, MAX_DEPTH) {
        return Err(MaxwellError::Syntax(format!("nested deeper than {MAX_DEPTH}")));
    }
    let [mut kind, mut database, mut table, mut position] = [const { Cow::Borrowed("") }; 4];
    let mut timestamp = None;
    let mut encrypted = false;
    for (key, value) in members {
        match &*key {
            "type" => kind = raw_text(value, "type")?,
            "database" => database = raw_text(value, "database")?,
            "table" => table = raw_text(value, "table")?,
            "position" => position = raw_text(value, "position")?,
            "ts" => timestamp = value.get().parse().ok(),
            "encrypted" => encrypted = true,
            _ => {}
        }
    }
    let change = Change {
        kind: &kind,
        database: &database,
        table: &table,
        occurred_at: None,
        position: &position,
    };
    finished(change, timestamp, encrypted).map(|change| take(&change))
}

/// The change, once all members of its line are read.
fn finished(
    change: Change<'_>,
    timestamp: Option<i64>,
    encrypted: bool,
) -> Result<Change<'_>, MaxwellError> {
    if change.kind.is_empty() && !encrypted {
        return Err(MaxwellError::NoType);
    }
    let occurred_at = timestamp.and_then(|ts| to_micros(ts, change.kind));
    Ok(Change { occurred_at, ..change })
}

fn raw_text<'a>(value: &'a RawValue, key: &'static str) -> Result<Cow<'a, str>, MaxwellError> {
    match value.get() {
        "null" => Ok(Cow::Borrowed("")),
        text if text.starts_with('"') => {
            serde_json::from_str(text).map(|Text(text)| text).map_err(|error| syntax(&error))
        }
        _ => Err(MaxwellError::NotText(key)),
    }
}

fn syntax(error: &serde_json::Error) -> MaxwellError {
    MaxwellError::Syntax(error.to_string())
}

fn text<'a>(value: &Node<'a>, key: &'static str) -> Result<&'a str, MaxwellError> {
    match value {
        Node::String(text) => Ok(text),
        Node::Static(StaticNode::Null) => Ok(""),
        _ => Err(MaxwellError::NotText(key)),
    }
}

fn integer(value: &Node<'_>) -> Option<i64> {
    match value {
        Node::Static(StaticNode::I64(value)) => Some(*value),
        Node::Static(StaticNode::U64(value)) => i64::try_from(*value).ok(),
        _ => None,
    }
}

fn to_micros(ts: i64, kind: &str) -> Option<Micros> {
    let is_schema_change = kind.starts_with("table-") || kind.starts_with("database-");
    let factor = if is_schema_change { 1_000 } else { 1_000_000 };
    ts.checked_mul(factor).and_then(time::in_range)
}

/// The lines of a body that count as messages: all that hold more than white space.
pub fn lines(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = body;
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
            let line = rest[..end].trim_ascii();
            rest = rest.get(end + 1..).unwrap_or_default();
            if !line.is_empty() {
                return Some(line);
            }
        }
        None
    })
}

/// How many messages the ledger counts in `body`.
#[must_use]
pub fn count_messages(body: &[u8]) -> u32 {
    u32::try_from(lines(body).count()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(line: &str) -> Result<(String, String, String, Option<Micros>), MaxwellError> {
        Reader::default().read(line.as_bytes(), |change| {
            let own = str::to_owned;
            (own(change.kind), own(change.database), own(change.table), change.occurred_at)
        })
    }

    #[test]
    fn rows_count_seconds_and_schema_changes_milliseconds() {
        let row = read(
            r#"{"database":"d","table":"t","type":"insert","ts":1477053234,"xid":1,"data":{"id":1,"m":[5,{"x":2}]},"old":{}}"#,
        );
        let expected = ("insert".into(), "d".into(), "t".into(), Some(1_477_053_234_000_000));
        assert_eq!(row, Ok(expected));
        let schema = read(
            r#"{"type":"table-alter","database":"d","table":"t","ts":1477053308000,"def":{},"sql":"x"}"#,
        );
        assert_eq!(schema.unwrap().3, Some(1_477_053_308_000_000));
    }

    #[test]
    fn numbers_of_any_size_are_survived() {
        let digits = "9".repeat(65);
        let line = format!(
            r#"{{"type":"insert","database":"d","table":"t","ts":1,"data":{{"a":{digits},"b":-{digits}.{digits},"c":18446744073709551615}}}}"#
        );
        assert!(read(&line).is_ok());
        assert_eq!(read(r#"{"type":"insert","ts":9223372036854775807}"#).unwrap().3, None);
    }

    #[test]
    fn keys_may_come_in_any_order_and_twice() {
        let change = read(r#"{"data":{"type":"x","table":"y"},"type":"delete","table":"t","type":"update","database":"d"}"#).unwrap();
        assert_eq!((change.0.as_str(), change.2.as_str()), ("update", "t"));
    }

    #[test]
    fn encrypted_lines_are_kept_and_others_refused() {
        assert!(read(r#"{"encrypted":{"iv":"x","bytes":"y"}}"#).is_ok());
        assert_eq!(read("[]"), Err(MaxwellError::NoObject));
        assert_eq!(read("42"), Err(MaxwellError::NoObject));
        assert_eq!(read(r#"{"type":""}"#), Err(MaxwellError::NoType));
        assert_eq!(read(r#"{"type":5}"#), Err(MaxwellError::NotText("type")));
        assert!(matches!(read(r#"{"type":"insert""#), Err(MaxwellError::Syntax(_))));
        assert!(matches!(read("not json"), Err(MaxwellError::Syntax(_))));
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| {
            format!(r#"{{"type":"insert","data":{}1{}}}"#, "[".repeat(depth), "]".repeat(depth))
        };
        assert!(read(&nested(100)).is_ok());
        assert!(matches!(read(&nested(100_000)), Err(MaxwellError::Syntax(_))));
        assert!(read(&"[".repeat(1_000_000)).is_err());
    }

    #[test]
    fn blank_lines_are_no_messages() {
        assert_eq!(lines(b"\n a \n\t\nb\r\n\n").collect::<Vec<_>>(), [b"a", b"b"]);
        assert_eq!(count_messages(b""), 0);
    }

    type Owned = ([String; 4], Option<Micros>);

    /// A line as it is read with and without a tape.
    fn both(line: &[u8]) -> [Result<Owned, MaxwellError>; 2] {
        fn own(change: &Change<'_>) -> Owned {
            let Change { kind, database, table, position, occurred_at } = *change;
            ([kind, database, table, position].map(str::to_owned), occurred_at)
        }
        let blur = |error| match error {
            MaxwellError::Syntax(_) => MaxwellError::Syntax(String::new()),
            error => error,
        };
        let short = Reader::default().read(line, own).map_err(blur);
        [short, read_long(line, own).map_err(blur)]
    }

    #[test]
    fn long_lines_are_read_like_short_ones() {
        let nested = |depth: usize| {
            format!(r#"{{"type":"a","data":{}{}}}"#, "[".repeat(depth - 1), "]".repeat(depth - 1))
        };
        for line in [
            r#"{"database":"d\u00e9","table":"t","type":"update","ts":1477053234,"position":"m.1:2","data":{"id":1}}"#,
            r#"{"type":"table-alter","ts":1477053308000,"database":null}"#,
            r#"{"data":{"type":"x"},"type":"delete","type":"update","ts":1.5}"#,
            r#"{"type":"a","ts":9223372036854775808}"#,
            r#"{"type":"a","ts":-0}"#,
            r#"{"encrypted":{"iv":"x","bytes":"y"}}"#,
            r#"{"type":5}"#,
            r#"{"type":"a""#,
            r#"{"type":""}"#,
            "[1]",
            "7",
            "x",
            &nested(MAX_DEPTH),
            &nested(MAX_DEPTH + 1),
        ] {
            let [short, long] = both(line.as_bytes());
            assert_eq!(short, long, "{line}");
        }
        assert!(both(nested(MAX_DEPTH).as_bytes())[0].is_ok());
        let long = format!(r#"{{"type":"insert","data":"{}"}}"#, "x".repeat(LONGEST_ON_TAPE));
        assert_eq!(read(&long).unwrap().0, "insert");
    }

    proptest! {
        #[test]
        fn any_line_is_survived(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Reader::default().read(&line, |_| ());
        }

        #[test]
        fn any_line_is_read_alike_with_and_without_a_tape(
            members in proptest::collection::vec(
                r#""(type|ts|ts|t\\u0073|database|table|position|encrypted)":("[a-z]{0,3}"|"table-a"|-?[1-9][0-9]{0,4}|[0-9]{0,3}|[1-9][0-9]{17,19}|[0-9]\.5|1e1|null|\{"type":[0-9]?\})"#,
                0..6
            ),
            end in "\\}|\\}|\\}|\\},|"
        ) {
            let line = format!("{{{}{end}", members.join(","));
            let [short, long] = both(line.as_bytes());
            prop_assert_eq!(short, long);
        }

        #[test]
        fn agrees_with_serde_json(database in any::<String>(), table in any::<String>(), ts in 0u32..) {
            let line = serde_json::json!({
                "database": database, "table": table, "type": "insert", "ts": ts, "data": {"a": [1, {"b": null}]}
            }).to_string();
            let change = read(&line).unwrap();
            prop_assert_eq!(change, ("insert".to_owned(), database, table, Some(i64::from(ts) * 1_000_000)));
        }
    }
}
