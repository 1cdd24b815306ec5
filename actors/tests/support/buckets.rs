//! What is promised of every store for the bucket watcher.

use std::{sync::Arc, time::Duration};

use faultline_actors::{
    adapters::{
        journal::Origin,
        store::{
            Commit, Store,
            buckets::{Kept, Part, Place, Step},
            search::EventFilter,
        },
    },
    domain::{
        batch::Batch,
        event::Source,
        object::{Change, ChangeId, Object, line},
    },
};

use super::batches::{batch, newest};

pub(crate) async fn behave(store: &dyn Store) {
    one_hub_watches_and_the_epochs_count(store).await;
    the_snapshot_is_sorted_by_bytes_and_moves_in_steps(store).await;
    a_change_that_is_announced_again_is_stored_once(store).await;
}

async fn one_hub_watches_and_the_epochs_count(store: &dyn Store) {
    let [one, two] = [(); 2].map(|()| Origin::now_v7());
    let long = Duration::from_mins(1);
    let lease = async |holder, time| store.lease_watch("w", holder, time).await.unwrap();
    let first = lease(one, long).await.expect("nobody has it");
    assert_eq!(lease(two, long).await, None);
    assert_eq!(lease(one, long).await, Some(first), "prolonged");
    store.release_watch("w", two).await.unwrap();
    assert_eq!(lease(two, long).await, None, "only the holder gives it back");
    store.release_watch("w", one).await.unwrap();
    let second = lease(two, Duration::ZERO).await.expect("given back");
    assert!(second > first);
    // It has run out by the next look at the clock.
    tokio::time::sleep(Duration::from_millis(2)).await;
    let third = lease(one, long).await.expect("run out");
    assert!(third > second);
    assert!(store.lease_watch("another", two, long).await.unwrap().is_some());

    let part = Part { watch: "w", bucket: "b", prefix: "", mode: "snapshot" };
    let place = store.bucket_place(&part).await.unwrap();
    let step = |passes| Step { place: place.id, changes: &[], passes, cursor: None };
    assert_eq!(store.keep_step("w", second, &step(7)).await.unwrap(), Kept::Lost);
    assert_eq!(store.bucket_place(&part).await.unwrap().passes, 0, "nothing was written");
    assert_eq!(store.keep_step("w", third, &step(7)).await.unwrap(), Kept::Yes);
    assert_eq!(store.bucket_place(&part).await.unwrap().passes, 7);
}

fn object(key: &str, size: u64) -> Object {
    Object { key: key.to_owned(), size, etag: format!("e{size}"), modified_at: -7 }
}

async fn the_snapshot_is_sorted_by_bytes_and_moves_in_steps(store: &dyn Store) {
    let epoch = store.lease_watch("s", Origin::now_v7(), Duration::from_mins(1)).await.unwrap();
    let part = Part { watch: "s", bucket: "b", prefix: "p/", mode: "snapshot" };
    let place = store.bucket_place(&part).await.unwrap();
    assert_eq!((place.passes, place.cursor), (0, None));
    let other = Part { mode: "watermark", ..part };
    assert_ne!(store.bucket_place(&other).await.unwrap().id, place.id);
    let keep = async |changes: &[Change], cursor: Option<&str>| {
        let step = Step { place: place.id, changes, passes: 1, cursor };
        assert_eq!(store.keep_step("s", epoch.unwrap(), &step).await.unwrap(), Kept::Yes);
    };
    // In the order of their bytes, which is that of no language.
    let keys = ["A", "Z", "a", "a\0b", "a b", "aB", "ab", "é", "\u{ffff}", "😀"];
    let created: Vec<Change> =
        keys.iter().rev().map(|key| Change::Created(object(key, u64::MAX >> 1))).collect();
    keep(&created, Some("\0é")).await;
    let known = async |after, limit| {
        let objects = store.known_objects(place.id, after, limit).await.unwrap();
        objects.into_iter().map(|object| object.key).collect::<Vec<_>>()
    };
    assert_eq!(known(None, 100).await, keys);
    assert_eq!(known(Some("a"), 3).await, ["a\0b", "a b", "aB"]);
    let cursor = store.bucket_place(&part).await.unwrap().cursor;
    assert_eq!(cursor.as_deref(), Some("\0é"));
    let before = object("a", u64::MAX >> 1);
    let changed = Change::Changed { now: object("a", 5), before };
    keep(&[changed, Change::Deleted(object("ab", 0))], None).await;
    let objects = store.known_objects(place.id, Some("Z"), 1).await.unwrap();
    assert_eq!(objects, [object("a", 5)]);
    assert!(!known(None, 100).await.contains(&"ab".to_owned()));
    let Place { passes, cursor, .. } = store.bucket_place(&part).await.unwrap();
    assert_eq!((passes, cursor), (1, None));
}

/// A record of changes of objects with these keys.
fn announced(sequence: u64, keys: &[&str]) -> Arc<Batch> {
    let mut body = Vec::new();
    for key in keys {
        let change = Change::Created(object(key, 1));
        line::write("logs", ChangeId::new("t", "logs", 1, &change), &change, &mut body);
    }
    batch(sequence, Source::Bucket, &body)
}

async fn a_change_that_is_announced_again_is_stored_once(store: &dyn Store) {
    let [one, two] = [(); 2].map(|()| Origin::now_v7());
    let commit = async |origin, after, batches: Vec<Arc<Batch>>| {
        store.position(origin).await.unwrap();
        let commit = Commit { origin, after, batches };
        store.commit(&commit).await.unwrap().tallies[Source::Bucket as usize]
    };
    let tally = commit(one, 0, vec![announced(1, &["a", "b"])]).await;
    assert_eq!((tally.stored, tally.duplicate), (2, 0));
    // By another hub, some again and some not, and one twice in one commit.
    let tally =
        commit(two, 0, vec![announced(1, &["b", "c"]), announced(2, &["c", "a", "d"])]).await;
    assert_eq!((tally.received, tally.stored, tally.duplicate), (5, 2, 3));
    let events = newest(store, &EventFilter::default(), 1_000).await;
    let mut objects: Vec<_> = events.iter().filter(|event| event.kind == "object").collect();
    objects.sort_by(|one, other| one.message.cmp(&other.message));
    let messages: Vec<_> = objects.iter().map(|event| event.message.as_str()).collect();
    assert_eq!(messages, ["created logs/a", "created logs/b", "created logs/c", "created logs/d"]);
    assert_eq!((objects[0].source.as_str(), objects[0].service.as_str()), ("bucket", "logs"));
    // Those of younger age are kept.
    store.forget_announced(Duration::from_mins(1)).await.unwrap();
    assert_eq!(commit(one, 1, vec![announced(2, &["a"])]).await.duplicate, 1);
    store.forget_announced(Duration::ZERO).await.unwrap();
    assert_eq!(commit(one, 2, vec![announced(3, &["a"])]).await.stored, 1);
}
