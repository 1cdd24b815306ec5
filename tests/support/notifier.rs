//! A notifier in a pipeline of its own, told what holds by the test.
#![allow(dead_code, reason = "each test file uses its part")]

use std::{
    collections::BTreeSet,
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
        alert::{Certainty, Condition, Kind, Scope, letter::Surroundings},
        ledger::Ledger,
        rule::Priorities,
        secret::Secret,
    },
    notifier,
    pipeline::{self, Pipeline, consumer::Consumer},
};
use faultline_testkit::{
    eventually,
    program::Program,
    smtp::{Mail, Smtp},
};
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
        certainty: Certainty::Holds,
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

/// What the server has taken, when it is so much.
pub(crate) async fn mail(smtp: &Smtp, at_least: usize) -> Vec<Mail> {
    eventually("the mail is there", async || {
        let mail = smtp.mail();
        if mail.len() >= at_least { Ok(mail) } else { Err(mail.len()) }
    })
    .await
}

/// The numbers of messages: they tell whether two are the same.
pub(crate) fn ids(mail: &[Mail]) -> BTreeSet<String> {
    mail.iter().map(|mail| mail.header("Message-ID")).collect()
}

/// A program that sends to this server; nothing is told by itself.
pub(crate) fn configured(program: Program, smtp: &Smtp, group_wait: &str) -> Program {
    let mail = format!(
        "[{{ name = \"ops\", server = \"127.0.0.1\", port = {}, tls = \"none\", \
         from = \"faultline@example.com\", to = [\"ops@example.com\"] }}]",
        smtp.port()
    );
    [
        ("notifier.hub", "hub-1"),
        ("notifier.mail", &mail),
        ("notifier.group_wait", group_wait),
        ("notifier.resolve_after", "1h"),
        ("notifier.timeout", "20s"),
        ("notifier.lease", "1m"),
        ("notifier.retry_first", "50ms"),
        ("notifier.retry_cap", "200ms"),
    ]
    .into_iter()
    .fold(program, |program, (key, value)| program.set(key, value))
}
