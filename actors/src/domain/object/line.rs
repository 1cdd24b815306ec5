//! The lines by which the bucket watcher says what happened: one JSON object each, in the manner of
//! Maxwell's.
//!
//! ```text
//! {"type":"changed","bucket":"b","key":"k","size":2,"etag":"…","last_modified":"2026-…Z",
//!  "old":{"size":1,"etag":"…","last_modified":"…"},"id":"32 hexadecimal digits"}
//! ```
//!
//! Of a deleted object it says what was known of it last.

use std::borrow::Cow;

use serde::Deserialize;

use super::{Change, ChangeId, Object};
use crate::domain::{
    json::Fields,
    time::{Micros, parse_rfc3339, rfc3339},
};

/// Appends the line of a change, with its end.
pub fn write(bucket: &str, id: ChangeId, change: &Change, out: &mut Vec<u8>) {
    let object = change.object();
    out.push(b'{');
    let mut fields = Fields::new(out);
    fields.text("type", change.name().as_bytes());
    fields.text("bucket", bucket.as_bytes());
    fields.text("key", object.key.as_bytes());
    write_state(object, &mut fields);
    if let Change::Changed { before, .. } = change {
        let old = fields.name("old");
        old.push(b'{');
        write_state(before, &mut Fields::new(old));
        old.push(b'}');
    }
    fields.text("id", format!("{:032x}", id.0).as_bytes());
    out.extend_from_slice(b"}\n");
}

fn write_state(object: &Object, fields: &mut Fields<'_>) {
    fields.number("size", object.size);
    fields.text("etag", object.etag.as_bytes());
    fields.text("last_modified", rfc3339(object.modified_at).as_bytes());
}

/// What a line says, as far as it is looked at.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Line<'a> {
    /// One of [`Change::NAMES`].
    #[serde(rename = "type", borrow)]
    pub kind: Cow<'a, str>,
    #[serde(borrow)]
    pub bucket: Cow<'a, str>,
    #[serde(borrow)]
    pub key: Cow<'a, str>,
    #[serde(borrow, default)]
    last_modified: Cow<'a, str>,
    #[serde(borrow, default)]
    id: Cow<'a, str>,
}

impl<'a> Line<'a> {
    /// # Errors
    /// Says what is missing of a line.
    pub fn read(line: &'a [u8]) -> Result<Self, String> {
        // What is not looked at is kept too, and must be text.
        let text = std::str::from_utf8(line).map_err(|error| error.to_string())?;
        let read: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if !Change::NAMES.contains(&&*read.kind) {
            return Err(format!("`type` is none of {}", Change::NAMES.join(", ")));
        }
        Ok(read)
    }

    /// `None` of a line that was not announced by a watcher.
    #[must_use]
    pub fn id(&self) -> Option<ChangeId> {
        u128::from_str_radix(&self.id, 16).ok().map(ChangeId)
    }

    /// When it happened, where that is known: nobody says when an object was deleted.
    #[must_use]
    pub fn occurred_at(&self) -> Option<Micros> {
        if self.kind == Change::NAMES[2] {
            return None;
        }
        parse_rfc3339(self.last_modified.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn object(key: &str, size: u64) -> Object {
        let etag = "\"quoted\"".to_owned();
        Object { key: key.to_owned(), size, etag, modified_at: 1_795_316_400_000_000 }
    }

    #[test]
    fn a_line_says_what_was_and_what_is() {
        let mut out = Vec::new();
        let change = Change::Changed { now: object("a/b", 2), before: object("a/b", 1) };
        write("logs", ChangeId(0xAB), &change, &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{\"type\":\"changed\",\"bucket\":\"logs\",\"key\":\"a/b\",\"size\":2,\
             \"etag\":\"\\\"quoted\\\"\",\"last_modified\":\"2026-11-22T03:00:00Z\",\
             \"old\":{\"size\":1,\"etag\":\"\\\"quoted\\\"\",\
             \"last_modified\":\"2026-11-22T03:00:00Z\"},\
             \"id\":\"000000000000000000000000000000ab\"}\n"
        );
    }

    #[test]
    fn what_is_no_line_is_said() {
        for (line, expected) in [
            ("x", "expected value"),
            ("{}", "missing field `type`"),
            (r#"{"type":"gone","bucket":"b","key":"k"}"#, "`type` is none of created, changed"),
        ] {
            let problem = Line::read(line.as_bytes()).unwrap_err();
            assert!(problem.contains(expected), "{problem}");
        }
        let line = Line::read(br#"{"type":"deleted","bucket":"b","key":"k"}"#).unwrap();
        assert_eq!((line.id(), line.occurred_at()), (None, None));
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(key in any::<String>(), bucket in "[a-z.-]{1,9}", id: u128) {
            let mut out = Vec::new();
            write(&bucket, ChangeId(id), &Change::Created(object(&key, u64::MAX)), &mut out);
            prop_assert_eq!(memchr::memchr(b'\n', &out), Some(out.len() - 1));
            let line = Line::read(&out).unwrap();
            prop_assert_eq!((&*line.bucket, &*line.key), (&*bucket, &*key));
            prop_assert_eq!(line.id(), Some(ChangeId(id)));
            prop_assert_eq!(line.occurred_at(), Some(1_795_316_400_000_000));
        }
    }
}
