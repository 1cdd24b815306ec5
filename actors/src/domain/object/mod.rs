//! Objects of a bucket: what a listing says of them, and what has changed since the last one.
//!
//! Both the listing and the snapshot of the last one come sorted by key, in the order of the keys'
//! UTF-8 bytes. So they are compared by merging, one range of keys at a time, and memory is bounded
//! however many objects there are.

use std::cmp::Ordering;

use sha2::{Digest, Sha256};

use super::time::Micros;

pub mod line;

/// What a listing says of one object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Object {
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// Without quotes; empty where the server gives none.
    pub etag: String,
    pub modified_at: Micros,
}

/// What happened to an object between two listings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Created(Object),
    /// It was written again.
    Changed {
        now: Object,
        before: Object,
    },
    /// As it was last.
    Deleted(Object),
}

impl Change {
    pub const NAMES: [&str; 3] = ["created", "changed", "deleted"];

    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Created(_) => Self::NAMES[0],
            Self::Changed { .. } => Self::NAMES[1],
            Self::Deleted(_) => Self::NAMES[2],
        }
    }

    /// The object as it is now, or was before it was deleted.
    #[must_use]
    pub const fn object(&self) -> &Object {
        match self {
            Self::Created(object) | Self::Deleted(object) => object,
            Self::Changed { now, .. } => now,
        }
    }
}

/// The identity of an announced change, by which one that is announced again is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChangeId(pub u128);

impl ChangeId {
    /// The identity of a change of `bucket` that pass number `pass` of `watch` found. A pass that is
    /// broken off and goes on later has the same number; so whoever finds the change again gives it
    /// the same identity.
    #[must_use]
    pub fn new(watch: &str, bucket: &str, pass: u64, change: &Change) -> Self {
        let object = change.object();
        let mut hash = Sha256::new();
        for part in [watch, bucket, change.name(), &object.key, &object.etag] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        for number in [pass, object.size, object.modified_at.cast_unsigned()] {
            hash.update(number.to_le_bytes());
        }
        let digest: [u8; 32] = hash.finalize().into();
        Self(u128::from_be_bytes(*digest.first_chunk().expect("32 bytes hold 16")))
    }
}

/// How far a list of keys is known to be complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Up to this key; there may be more behind it.
    Key(String),
    /// There is nothing behind it.
    End,
}

impl Reach {
    /// That of a list which is one page: `may_go_on` says whether there may be another one.
    #[must_use]
    pub fn of(page: &[Object], may_go_on: bool) -> Self {
        match page.last() {
            Some(last) if may_go_on => Self::Key(last.key.clone()),
            _ => Self::End,
        }
    }

    fn covers(&self, key: &str) -> bool {
        match self {
            Self::Key(last) => key <= last.as_str(),
            Self::End => true,
        }
    }

    fn min<'a>(&'a self, other: &'a Self) -> &'a Self {
        match (self, other) {
            (Self::Key(one), Self::Key(two)) if two < one => other,
            (Self::End, _) => other,
            _ => self,
        }
    }
}

/// What [`compare`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compared {
    /// By key.
    pub changes: Vec<Change>,
    /// The range that was compared goes up to here.
    pub reach: Reach,
    /// So many of the listed objects are in it.
    pub listed: usize,
}

/// Compares a page of a listing with the rows of the snapshot that start at the same key. Both are
/// sorted; the one that reaches less far decides how far they are compared.
#[must_use]
pub fn compare(
    listed: &[Object],
    listed_to: &Reach,
    known: &[Object],
    known_to: &Reach,
) -> Compared {
    let reach = listed_to.min(known_to).clone();
    let within = |objects: &[Object]| objects.partition_point(|object| reach.covers(&object.key));
    let (now, before) = (&listed[..within(listed)], &known[..within(known)]);
    let mut changes = Vec::new();
    let (mut new, mut old) = (now.iter().peekable(), before.iter().peekable());
    loop {
        let order = match (new.peek(), old.peek()) {
            (Some(one), Some(other)) => one.key.cmp(&other.key),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => break,
        };
        // One that is not there is nothing to compare with.
        match order {
            Ordering::Less => changes.extend(new.next().cloned().map(Change::Created)),
            Ordering::Greater => changes.extend(old.next().cloned().map(Change::Deleted)),
            Ordering::Equal => {
                let pair = new.next().zip(old.next()).filter(|(now, before)| now != before);
                changes.extend(pair.map(|(now, before)| Change::Changed {
                    now: now.clone(),
                    before: before.clone(),
                }));
            }
        }
    }
    Compared { changes, reach, listed: now.len() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::{collection::btree_map, prelude::*};

    use super::*;

    type Objects = BTreeMap<String, (u64, i64)>;

    fn object((key, (size, modified_at)): (&String, &(u64, i64))) -> Object {
        Object {
            key: key.clone(),
            size: *size,
            etag: format!("e{size}"),
            modified_at: *modified_at,
        }
    }

    fn apply(snapshot: &mut Objects, change: &Change) {
        let object = change.object();
        match change {
            Change::Deleted(_) => snapshot.remove(&object.key),
            _ => snapshot.insert(object.key.clone(), (object.size, object.modified_at)),
        };
    }

    /// Compares page by page, as the watcher does; gives all changes.
    fn by_pages(
        listing: &Objects,
        snapshot: &mut Objects,
        page: usize,
        rows: usize,
    ) -> Vec<Change> {
        let after = |objects: &Objects, cursor: Option<&String>, limit: usize| -> (Vec<_>, bool) {
            let rest = objects.iter().filter(|(key, _)| cursor.is_none_or(|cursor| *key > cursor));
            let found: Vec<Object> = rest.take(limit + 1).map(object).collect();
            (found[..found.len().min(limit)].to_vec(), found.len() > limit)
        };
        let (mut cursor, mut all) = (None, Vec::new());
        loop {
            let (listed, more) = after(listing, cursor.as_ref(), page);
            let (known, may_go_on) = after(snapshot, cursor.as_ref(), rows);
            let known_to = Reach::of(&known, may_go_on);
            let compared = compare(&listed, &Reach::of(&listed, more), &known, &known_to);
            for change in &compared.changes {
                apply(snapshot, change);
            }
            all.extend(compared.changes);
            match compared.reach {
                Reach::Key(key) => {
                    assert!(cursor.is_none_or(|cursor| key > cursor), "it goes on");
                    cursor = Some(key);
                }
                Reach::End => return all,
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_the_pages_are_every_difference_is_found_once(
            listing in btree_map("[a-cé/]{0,3}", (0..3_u64, 0..2_i64), 0..30),
            before in btree_map("[a-cé/]{0,3}", (0..3_u64, 0..2_i64), 0..30),
            page in 1..7_usize,
            rows in 1..7_usize,
        ) {
            let mut snapshot = before.clone();
            let changes = by_pages(&listing, &mut snapshot, page, rows);
            prop_assert_eq!(&snapshot, &listing);
            let keys: Vec<&String> = changes.iter().map(|change| &change.object().key).collect();
            prop_assert!(keys.is_sorted_by(|one, two| one < two));
            let differing = listing.keys().chain(before.keys())
                .filter(|key| listing.get(*key) != before.get(*key))
                .collect::<std::collections::BTreeSet<_>>();
            prop_assert_eq!(keys.len(), differing.len());
            for change in &changes {
                let key = &change.object().key;
                let name = match (before.get(key), listing.get(key)) {
                    (None, Some(_)) => "created",
                    (Some(_), None) => "deleted",
                    _ => "changed",
                };
                prop_assert_eq!(change.name(), name);
            }
        }
    }

    #[test]
    fn an_identity_is_of_one_change() {
        let object = Object { key: "a".to_owned(), etag: "b".to_owned(), size: 1, modified_at: 7 };
        let created = Change::Created(object.clone());
        let id = |bucket: &str, pass, change: &Change| ChangeId::new("w", bucket, pass, change);
        assert_eq!(id("x", 1, &created), id("x", 1, &created.clone()));
        assert_ne!(id("x", 1, &created), id("y", 1, &created));
        assert_ne!(id("x", 1, &created), id("x", 2, &created));
        assert_ne!(id("x", 1, &created), id("x", 1, &Change::Deleted(object.clone())));
        let other = Object { key: "ab".to_owned(), etag: String::new(), ..object };
        assert_ne!(id("x", 1, &created), id("x", 1, &Change::Created(other)));
    }
}
