//! A notifier in a pipeline of its own, told what holds by the test.
#![allow(dead_code, reason = "each test file uses its part")]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use faultline_actors::{
    adapters::{
        journal::spool::{self, Spool},
        mail,
        store::Store,
    },
    domain::{
        alert::{Condition, Kind, Scope, letter::Surroundings},
        ledger::Ledger,
        rule::Priorities,
        secret::Secret,
    },
    notifier,
    pipeline::{self, Pipeline, consumer::Consumer},
};
use faultline_testkit::smtp::{Mail, Smtp};
use tempfile::TempDir;

/// A pipeline with a spool of its own.
pub(crate) struct Hub {
    pub(crate) pipeline: Pipeline,
    _directory: TempDir,
}

impl Hub {
    pub(crate) async fn start(notifier: notifier::Settings, store: Arc<dyn Store>) -> Self {
        assert_eq!(notifier.validate(), Ok(()));
        let directory = tempfile::tempdir().unwrap();
        let ledger = Arc::new(Mutex::new(Ledger::default()));
        let settings = spool::Settings {
            dir: directory.path().to_owned(),
            segment_bytes: bytesize::ByteSize::mib(1),
            ..spool::Settings::default()
        };
        let spool = Arc::new(Spool::open(settings, ledger.clone()).unwrap());
        let around = Surroundings {
            public_url: "https://faultline.example.com".to_owned(),
            priorities: Priorities::default(),
        };
        let settings = pipeline::Settings {
            notifier: notifier.into(),
            letters: around.into(),
            ..pipeline::Settings::default()
        };
        let pipeline = Pipeline::start(settings, spool, store, ledger, None).await.unwrap();
        Self { pipeline, _directory: directory }
    }

    /// Says what holds now.
    pub(crate) async fn say(&self, conditions: Vec<Condition>) {
        self.pipeline.conditions().send_async(conditions).await.unwrap();
    }

    pub(crate) async fn finish(self) {
        self.pipeline.finish(Duration::from_secs(5)).await;
    }
}

pub(crate) fn condition(kind: Kind, subject: &str) -> Condition {
    Condition {
        kind,
        scope: Scope::Shared,
        subject: subject.to_owned(),
        cause: "connection refused, 7 times".to_owned(),
        since: 1_795_316_400_000_000,
        link: "/jobs",
    }
}

/// Fast enough for tests, to this server.
pub(crate) fn settings(smtp: &Smtp) -> notifier::Settings {
    notifier::Settings {
        hub: "hub-1".to_owned(),
        resolve_after: Duration::from_secs(1),
        cool_down: Duration::ZERO,
        group_wait: Duration::ZERO,
        store_patience: Duration::from_millis(200),
        retry_first: Duration::from_millis(50),
        retry_cap: Duration::from_millis(200),
        timeout: Duration::from_secs(20),
        lease: Duration::from_mins(1),
        mail: vec![mail_to(smtp)],
        ..notifier::Settings::default()
    }
}

pub(crate) fn mail_to(smtp: &Smtp) -> mail::Settings {
    mail::Settings {
        name: "ops".to_owned(),
        server: "127.0.0.1".to_owned(),
        port: smtp.port(),
        tls: mail::Tls::None,
        from: "Faultline <faultline@example.com>".to_owned(),
        to: vec!["ops@example.com".to_owned()],
        password: Secret::default(),
        ..mail::Settings::default()
    }
}

/// The messages that tell of `what`, by their subjects.
pub(crate) fn about<'a>(mail: &'a [Mail], mark: &str) -> Vec<&'a Mail> {
    let start = format!("[{mark}]");
    mail.iter().filter(|mail| mail.header("Subject").starts_with(&start)).collect()
}
