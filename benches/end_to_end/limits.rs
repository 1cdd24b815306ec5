//! The least that a part of the program could cost: what it is compared with.

use std::{
    fs::{File, OpenOptions},
    io::Read,
    os::unix::fs::FileExt,
    path::Path,
    time::{Duration, Instant},
};

use axum::{Router, body::Bytes, extract::DefaultBodyLimit, http::StatusCode, routing::post};
use tokio::{net::TcpListener, sync::oneshot};

const FILE_BYTES: usize = 64 << 20;
const COMMIT_BYTES: usize = 1 << 20;

/// A file whose blocks are on disk already, which is what a recycled spool segment is.
pub(crate) fn preallocated(path: &Path) -> File {
    let file =
        OpenOptions::new().create(true).truncate(false).write(true).read(true).open(path).unwrap();
    file.write_all_at(&vec![1; FILE_BYTES], 0).unwrap();
    file.sync_all().unwrap();
    file
}

/// A bare axum handler that reads the body, has it appended to a preallocated file with
/// group-commit fdatasync, and answers 204.
pub(crate) async fn serve_axum(listener: TcpListener, path: &Path) {
    type Append = (Bytes, oneshot::Sender<()>);
    let (appends_in, appends) = flume::bounded::<Append>(4096);
    let file = preallocated(path);
    std::thread::spawn(move || {
        let (mut buffer, mut waiting, mut at) = (Vec::new(), Vec::new(), 0);
        while let Ok((body, reply)) = appends.recv() {
            buffer.extend_from_slice(&body);
            waiting.push(reply);
            while buffer.len() < COMMIT_BYTES {
                let Ok((body, reply)) = appends.try_recv() else { break };
                buffer.extend_from_slice(&body);
                waiting.push(reply);
            }
            if at + buffer.len() > FILE_BYTES {
                at = 0;
            }
            file.write_all_at(&buffer, at as u64).unwrap();
            file.sync_data().unwrap();
            at += buffer.len();
            buffer.clear();
            for reply in waiting.drain(..) {
                let _ = reply.send(());
            }
        }
    });
    let handler = async move |body: Bytes| {
        let (reply, done) = oneshot::channel();
        appends_in.send_async((body, reply)).await.unwrap();
        done.await.unwrap();
        StatusCode::NO_CONTENT
    };
    let router = Router::new()
        .route("/logdrains", post(handler.clone()))
        .route("/errors/log", post(handler))
        .layer(DefaultBodyLimit::max(64 << 20));
    axum::serve(listener, router).await.unwrap();
}

/// Copies a stream, which `begin` has somebody feed, into a preallocated file with one fdatasync a
/// MiB; gives the time.
pub(crate) fn copy_stream(mut source: impl Read, path: &Path, begin: impl FnOnce()) -> Duration {
    let file = preallocated(path);
    let started = Instant::now();
    begin();
    let (mut buffer, mut filled, mut at) = (vec![0; COMMIT_BYTES], 0, 0);
    loop {
        let read = source.read(&mut buffer[filled..]).unwrap();
        filled += read;
        if filled == COMMIT_BYTES || read == 0 {
            if at + filled > FILE_BYTES {
                at = 0;
            }
            file.write_all_at(&buffer[..filled], at as u64).unwrap();
            file.sync_data().unwrap();
            at += filled;
            filled = 0;
        }
        if read == 0 {
            return started.elapsed();
        }
    }
}
