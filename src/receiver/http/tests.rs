use std::{
    io,
    path::Path,
    sync::{Condvar, Mutex},
};

use bytesize::ByteSize;
use faultline_actors::adapters::journal::spool::{
    self,
    disk::{Disk, DiskFile, LocalDisk},
};
use http_body_util::BodyExt;
use metrics_exporter_prometheus::PrometheusBuilder;

use super::*;

/// A disk whose syncs wait while it is held.
#[derive(Clone, Default)]
struct StallingDisk(Arc<Stall>);

#[derive(Default)]
struct Stall {
    state: Mutex<StallState>,
    changed: Condvar,
}

#[derive(Default)]
struct StallState {
    is_held: bool,
    waiting: usize,
}

struct StallingFile {
    file: Arc<dyn DiskFile>,
    stall: Arc<Stall>,
}

/// Lets the disk go on when it is dropped.
struct Held(Arc<Stall>);

impl Stall {
    fn change(&self, change: impl FnOnce(&mut StallState)) {
        change(&mut self.state.lock().unwrap());
        self.changed.notify_all();
    }

    fn wait_while(&self, condition: impl Fn(&StallState) -> bool) {
        let state = self.state.lock().unwrap();
        drop(self.changed.wait_while(state, |state| condition(state)).unwrap());
    }
}

impl StallingDisk {
    fn hold(&self) -> Held {
        self.0.change(|state| state.is_held = true);
        Held(self.0.clone())
    }

    /// Waits until somebody waits for the disk.
    fn await_stall(&self) {
        self.0.wait_while(|state| state.waiting == 0);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.change(|state| state.is_held = false);
    }
}

impl Disk for StallingDisk {
    fn open(&self, path: &Path, size: u64) -> io::Result<Arc<dyn DiskFile>> {
        let file = LocalDisk.open(path, size)?;
        Ok(Arc::new(StallingFile { file, stall: self.0.clone() }))
    }

    fn probe(&self, directory: &Path) -> io::Result<()> {
        LocalDisk.probe(directory)
    }
}

impl DiskFile for StallingFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.stall.change(|state| state.waiting += 1);
        self.stall.wait_while(|state| state.is_held);
        self.stall.change(|state| state.waiting -= 1);
        self.file.sync()
    }
}

fn spool_on(directory: &Path, disk: &StallingDisk) -> Arc<Spool> {
    let settings = spool::Settings {
        dir: directory.to_owned(),
        segment_bytes: ByteSize::mib(1),
        max_bytes: ByteSize::mib(4),
        ..spool::Settings::default()
    };
    Arc::new(Spool::open_on(settings, Arc::default(), Arc::new(disk.clone())).unwrap())
}

fn record() -> NewRecord {
    NewRecord {
        source: Source::Maxwell,
        received_at: clock::now(),
        messages: 1,
        id: RecordId::NONE,
        meta: Meta::default().encode(),
        body: bytes::Bytes::from_static(b"{}"),
    }
}

/// Posts ten units of the budget; gives the status and what was said.
async fn post(receiver: &Receiver) -> (StatusCode, String) {
    let request = axum::http::Request::post("/maxwell")
        .header(header::CONTENT_TYPE, "application/x-ndjson")
        .body(Body::from(vec![b'x'; 10 << 10]))
        .unwrap();
    let response = receiver.answer("/maxwell", Source::Maxwell, request).await;
    let status = response.status();
    let said = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8_lossy(&said).into_owned())
}

/// Two bodies wait behind a disk that stalls: there is no room for a third. Gives how many records
/// were kept when the disk went on.
async fn kept_after_a_stall(ack: Ack, answer: StatusCode) -> u64 {
    let directory = tempfile::tempdir().unwrap();
    let disk = StallingDisk::default();
    let spool = spool_on(directory.path(), &disk);
    let settings = Settings {
        ack,
        body_limit: ByteSize::kib(10),
        inflight_limit: ByteSize::kib(20),
        ..Settings::default()
    };
    let receiver = Receiver::new(&settings, spool.clone());
    spool.append(record()).await.unwrap();
    let held = disk.hold();
    let stalled = spool.enqueue(record()).await.unwrap();
    disk.await_stall();
    for _ in 0..2 {
        let (status, said) = post(&receiver).await;
        assert_eq!(status, answer, "{said}");
    }
    let (status, said) = post(&receiver).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(said.contains("too many requests are being received"), "{said}");
    drop(held);
    stalled.await.unwrap().unwrap();
    spool.append(record()).await.unwrap();
    assert_eq!(receiver.bounds.budget.available_permits(), 20, "all of it is given back");
    spool.status().head
}

#[tokio::test(start_paused = true)]
async fn what_was_refused_while_the_disk_stalled_counts_until_it_is_dropped() {
    let kept = kept_after_a_stall(Ack::Durable, StatusCode::SERVICE_UNAVAILABLE).await;
    assert_eq!(kept, 3, "nothing that was refused");
}

#[tokio::test(start_paused = true)]
async fn what_was_answered_before_it_is_on_disk_counts_until_it_is_written() {
    let kept = kept_after_a_stall(Ack::Received, StatusCode::NO_CONTENT).await;
    assert_eq!(kept, 5);
}

#[tokio::test]
async fn what_is_queued_behind_the_end_is_counted_as_lost() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let (reply, outcome) = oneshot::channel();
    drop(reply);
    count_if_lost(Source::Errors, 7, outcome).await;
    let counted = recorder.handle().render();
    assert!(counted.contains("faultline_lost_messages_total{source=\"errors\"} 7"), "{counted}");
}
