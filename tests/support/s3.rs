//! A real S3 server, s3s-fs, with its objects in a temporary directory. It checks signatures.
#![allow(dead_code, reason = "each test file uses its part")]

use std::{fs, net::SocketAddr, path::PathBuf, time::SystemTime};

use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use s3s::{auth::SimpleAuth, service::S3ServiceBuilder};
use s3s_fs::FileSystem;
use tempfile::TempDir;

pub(crate) const KEY_ID: &str = "AKIAIOSFODNN7EXAMPLE";
pub(crate) const SECRET: &str = "hunter2/of/the/s3/server";

/// See the [module](self). Ends with the runtime that it was started in.
pub(crate) struct S3 {
    directory: TempDir,
    address: SocketAddr,
}

impl S3 {
    pub(crate) async fn start() -> Self {
        let directory = tempfile::Builder::new().prefix("faultline-s3-").tempdir().unwrap();
        let mut service = S3ServiceBuilder::new(FileSystem::new(directory.path()).unwrap());
        service.set_auth(SimpleAuth::from_single(KEY_ID, SECRET));
        let service = service.build();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let service = service.clone();
                tokio::spawn(async move {
                    let server = Builder::new(TokioExecutor::new());
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { directory, address }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Objects are files: they are written beside the server, which reads the directory anew for
    /// each listing.
    fn path(&self, bucket: &str, key: &str) -> PathBuf {
        self.directory.path().join(bucket).join(key)
    }

    pub(crate) fn make_bucket(&self, bucket: &str) {
        fs::create_dir(self.directory.path().join(bucket)).unwrap();
    }

    pub(crate) fn put(&self, bucket: &str, key: &str, content: &str) {
        let path = self.path(bucket, key);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Writes it again with the same content, at another time.
    pub(crate) fn touch(&self, bucket: &str, key: &str, time: SystemTime) {
        let file = fs::File::options().write(true).open(self.path(bucket, key)).unwrap();
        file.set_modified(time).unwrap();
    }

    pub(crate) fn delete(&self, bucket: &str, key: &str) {
        fs::remove_file(self.path(bucket, key)).unwrap();
    }
}
