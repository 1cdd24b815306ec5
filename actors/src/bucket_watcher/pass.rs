//! A pass over a part of a bucket, from its first key to its last, in steps: a step announces what
//! differs in a range of keys, then moves the snapshot. A pass that was broken off goes on behind its
//! last step.

use std::time::Duration;

use bytes::Bytes;

use super::Watch;
use crate::{
    adapters::{
        buckets::{Bucket, Failure, From, Mode, ObjectPage},
        clock,
        journal::{AppendError, Journal},
        store::{
            StoreError,
            buckets::{Epoch, Kept, Part, Place, Step},
        },
    },
    domain::{
        event::Source,
        object::{Change, ChangeId, Object, Reach, compare, line},
        record::{Meta, NewRecord, RecordId},
    },
};

/// Rows of the snapshot that are read at once.
const KNOWN: u32 = 1_000;
/// Changes are gathered into records of about this size.
const RECORD_BYTES: usize = 256 << 10;
/// Without a change, where the pass stands is kept once in so many steps.
const KEEP_EVERY: u32 = 20;
/// Pages without any object that a server may give, one behind the other.
const EMPTY_PAGES: u32 = 100;
/// How long a full spool is waited for before it is asked again.
const FULL_WAIT: Duration = Duration::from_millis(50);

/// Why a pass was broken off.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("{0}")]
    Account(Failure),
    #[error("the store: {0}")]
    Store(#[from] StoreError),
    #[error("{0}")]
    Spool(AppendError),
    #[error("another hub watches")]
    Lost,
}

/// What a pass came to.
pub(super) struct Passed {
    pub changes: u64,
    /// Whether they were announced.
    pub is_announced: bool,
}

/// See the [module](self).
pub(super) struct Pass<'a> {
    watch: &'a Watch,
    epoch: Epoch,
    bucket: &'a Bucket,
    prefix: &'a str,
    place: Place,
    /// Whether what is found is announced; the first pass only learns what there is.
    announces: bool,
    changes: u64,
    /// Steps since one was kept.
    unkept: u32,
    /// Whether the store holds anything of this pass.
    is_begun: bool,
}

impl<'a> Pass<'a> {
    pub(super) async fn new(
        watch: &'a Watch,
        epoch: Epoch,
        bucket: &'a Bucket,
        prefix: &'a str,
    ) -> Result<Self, Broken> {
        let part = Part {
            watch: &watch.settings.name,
            bucket: &bucket.name,
            prefix,
            mode: match watch.settings.mode {
                Mode::Snapshot => "snapshot",
                Mode::Watermark => "watermark",
            },
        };
        let place = watch.store.bucket_place(&part).await?;
        let announces = place.passes > 0 || watch.settings.announce_existing;
        let is_begun = place.passes == 0 || place.cursor.is_some();
        let (changes, unkept) = (0, 0);
        Ok(Self { watch, epoch, bucket, prefix, place, announces, changes, unkept, is_begun })
    }

    pub(super) async fn run(mut self) -> Result<Passed, Broken> {
        let mut from = self.place.cursor.clone().map_or(From::Beginning, From::Key);
        let mut empty = 0;
        loop {
            let page = self.watch.account.objects(self.bucket, self.prefix, &from).await?;
            let listed = page.objects.len() as u64;
            metrics::counter!("faultline_bucket_objects_listed_total").increment(listed);
            self.check_order(&page)?;
            empty = if page.objects.is_empty() && page.is_truncated { empty + 1 } else { 0 };
            let last = page.objects.last().map(|object| object.key.clone());
            let next = page.next.clone().map(From::Token).or(last.map(From::Key));
            let is_last = !page.is_truncated;
            match self.watch.settings.mode {
                _ if empty > 0 => {}
                Mode::Snapshot => self.compare(&page).await?,
                Mode::Watermark => self.take_all(page).await?,
            }
            if is_last {
                let is_announced = self.changes > 0 && self.announces;
                return Ok(Passed { changes: self.changes, is_announced });
            }
            let endless = || Failure::Unreadable("the listing does not end".to_owned());
            from = next.filter(|_| empty < EMPTY_PAGES).ok_or_else(endless)?;
        }
    }

    /// Merging needs order; and a listing that goes on in order comes to an end.
    fn check_order(&self, page: &ObjectPage) -> Result<(), Failure> {
        let mut before = self.place.cursor.as_deref().unwrap_or_default();
        for Object { key, .. } in &page.objects {
            if key.as_str() <= before {
                return Err(Failure::Unsorted(key.clone(), before.to_owned()));
            }
            before = key;
        }
        Ok(())
    }

    /// Compares a page with the snapshot.
    async fn compare(&mut self, page: &ObjectPage) -> Result<(), Broken> {
        let listed_to = Reach::of(&page.objects, page.is_truncated);
        let mut listed = page.objects.as_slice();
        loop {
            let cursor = self.place.cursor.as_deref();
            let known = self.watch.store.known_objects(self.place.id, cursor, KNOWN).await?;
            let known_to = Reach::of(&known, known.len() >= KNOWN as usize);
            let compared = compare(listed, &listed_to, &known, &known_to);
            listed = &listed[compared.listed..];
            let is_page_done = compared.reach == listed_to;
            self.announce(&compared.changes).await?;
            self.count(&compared.changes);
            self.keep(&compared.changes, compared.reach).await?;
            if is_page_done {
                return Ok(());
            }
        }
    }

    /// Everything on the page is new.
    async fn take_all(&mut self, page: ObjectPage) -> Result<(), Broken> {
        let last = page.objects.last().map(|object| object.key.clone());
        let changes: Vec<Change> = page.objects.into_iter().map(Change::Created).collect();
        self.announce(&changes).await?;
        self.count(&changes);
        let is_changed = last.is_some();
        self.place.cursor = last.or(self.place.cursor.take());
        if is_changed || self.place.passes == 0 {
            let end = u64::from(!page.is_truncated);
            self.place.passes += end;
            self.write(&[]).await?;
        }
        Ok(())
    }

    /// Moves the snapshot, now or together with a later step.
    async fn keep(&mut self, changes: &[Change], reach: Reach) -> Result<(), Broken> {
        let is_end = reach == Reach::End;
        self.place.cursor = match reach {
            Reach::Key(key) => Some(key),
            Reach::End => None,
        };
        self.unkept += 1;
        let is_due = if is_end { self.is_begun } else { self.unkept >= KEEP_EVERY };
        if changes.is_empty() && !is_due {
            return Ok(());
        }
        self.place.passes += u64::from(is_end);
        self.write(changes).await
    }

    async fn write(&mut self, changes: &[Change]) -> Result<(), Broken> {
        let step = Step {
            place: self.place.id,
            changes,
            passes: self.place.passes,
            cursor: self.place.cursor.as_deref(),
        };
        self.unkept = 0;
        self.is_begun = true;
        match self.watch.store.keep_step(&self.watch.settings.name, self.epoch, &step).await? {
            Kept::Yes => Ok(()),
            Kept::Lost => Err(Broken::Lost),
        }
    }

    fn count(&mut self, changes: &[Change]) {
        self.changes += changes.len() as u64;
        if !self.announces {
            return;
        }
        for name in Change::NAMES {
            let count = changes.iter().filter(|change| change.name() == name).count();
            if count > 0 {
                metrics::counter!("faultline_bucket_changes_total", "type" => name)
                    .increment(count as u64);
            }
        }
    }

    /// Has the spool keep the changes, however long that takes.
    async fn announce(&self, changes: &[Change]) -> Result<(), Broken> {
        if !self.announces {
            return Ok(());
        }
        let (mut body, mut messages) = (Vec::new(), 0);
        for (index, change) in changes.iter().enumerate() {
            let (name, bucket) = (&self.watch.settings.name, &self.bucket.name);
            let id = ChangeId::new(name, bucket, self.place.passes, change);
            line::write(bucket, id, change, &mut body);
            messages += 1;
            if body.len() >= RECORD_BYTES || index + 1 == changes.len() {
                self.append(std::mem::take(&mut body).into(), messages).await?;
                messages = 0;
            }
        }
        Ok(())
    }

    async fn append(&self, body: Bytes, messages: u32) -> Result<(), Broken> {
        let environment = self.watch.settings.environment.as_str();
        let record = NewRecord {
            source: Source::Bucket,
            received_at: clock::now(),
            messages,
            // Changes have identities of their own: what is in a record differs from try to try.
            id: RecordId::NONE,
            meta: Meta { environment, ..Meta::default() }.encode(),
            body,
        };
        let mut is_waiting = false;
        loop {
            match self.watch.spool.append(record.clone()).await {
                Ok(_) => return Ok(()),
                Err(error @ (AppendError::Closed | AppendError::TooLarge(_))) => {
                    return Err(Broken::Spool(error));
                }
                Err(error) => {
                    if !is_waiting {
                        tracing::warn!(%error, "the bucket watcher waits");
                        is_waiting = true;
                    }
                    tokio::time::sleep(FULL_WAIT).await;
                }
            }
        }
    }
}
