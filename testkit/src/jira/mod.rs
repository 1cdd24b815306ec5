//! A Jira to test against: stateful, with the faults of a real one.
//!
//! It answers as Jira Cloud (REST API 2 and 3) or as Jira Data Center (REST API 2), as far as a
//! client needs that files and follows issues. Checked against:
//!
//! - Atlassian's `OpenAPI` description of the Cloud REST API v3, mid-2024; [`openapi`] validates
//!   requests and this fake's own answers by it. It lacks `/search/jql`, which is made after later
//!   descriptions, as generated clients show them.
//! - Atlassian's page "Rate limiting" (Cloud, February 2026): buckets, windows per issue, headers.
//! - Atlassian's pages on the document format, and the signature of its page on webhooks. The
//!   webhooks' bodies are made after what is widely known of them.
//! - Data Center has no description at hand: its pages and paths are those of clients for 8.4 to 9.
//! - Messages of errors as users report them in public. Where none was found, the wording is this
//!   fake's: a client must not depend on it.
//!
//! ```no_run
//! # async fn example() {
//! use faultline_testkit::jira::{Endpoint, Fault, Jira, Settings};
//!
//! let jira = Jira::start(Settings::cloud()).await;
//! jira.fail_next(Endpoint::Create, 1, &Fault::ResetAfter);
//! // … the program files an issue at `jira.url()` with `jira.authorization()` …
//! assert_eq!(jira.issues().len(), 1);
//! # }
//! ```

use std::{net::SocketAddr, sync::Arc};

use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};

mod control;
mod endpoint;
mod fault;
mod fields;
mod issues;
mod jql;
mod limits;
mod meta;
pub mod openapi;
mod record;
mod render;
mod reply;
mod search;
mod server;
mod settings;
mod text;
mod webhook;
mod work;
mod world;

pub use endpoint::Endpoint;
pub use fault::{Fault, Reason};
pub use limits::{Bucket, Limits, Window};
pub use record::Recorded;
pub use settings::{
    Category, CustomField, Deployment, Kind, Named, Project, Settings, Status, Transition, User,
    Webhook,
};
pub use world::{Comment, Issue, Link};

use self::{server::Shared, world::World};

/// See the [module](self). Dropping it closes the listener and all connections.
pub struct Jira {
    address: SocketAddr,
    shared: Arc<Shared>,
    tasks: [JoinHandle<()>; 2],
}

impl Drop for Jira {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Jira {
    /// # Panics
    /// When the address cannot be bound.
    pub async fn start(settings: Settings) -> Self {
        let listener = TcpListener::bind(&settings.listen).await.expect("the address is free");
        let address = listener.local_addr().expect("it is bound");
        let (webhooks, waiting) = mpsc::channel(webhook::MOST_WAITING);
        let base = format!("http://{address}");
        let shared = Arc::new(Shared::new(base, World::new(settings), webhooks));
        let tasks = [
            tokio::spawn(server::serve(listener, shared.clone())),
            tokio::spawn(webhook::deliver(waiting)),
        ];
        Self { address, shared, tasks }
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What a client is configured with: no path, no slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        self.shared.base.clone()
    }

    /// The value of `Authorization` that it asks for.
    #[must_use]
    pub fn authorization(&self) -> String {
        self.shared.world(|world| world.settings.authorization())
    }

    /// Changes settings while it runs; not the address, and not `has_control`.
    pub fn change(&self, change: impl FnOnce(&mut Settings)) {
        self.shared.world(|world| change(&mut world.settings));
    }

    /// All issues as they are, oldest first.
    #[must_use]
    pub fn issues(&self) -> Vec<Issue> {
        self.shared.world(|world| world.all().map(|issue| Issue::clone(issue)).collect())
    }

    /// An issue by its key or id.
    #[must_use]
    pub fn issue(&self, key: &str) -> Option<Issue> {
        self.shared.world(|world| world.find(key).map(|issue| Issue::clone(issue)))
    }

    /// The newest requests under `/rest`, oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<Recorded> {
        self.shared.recorder(|recorder| recorder.all())
    }

    /// Those of [`Jira::requests`] that made this call.
    #[must_use]
    pub fn requests_to(&self, endpoint: Endpoint) -> Vec<Recorded> {
        let mut requests = self.requests();
        requests.retain(|request| request.endpoint == endpoint);
        requests
    }

    pub fn forget_requests(&self) {
        self.shared.recorder(record::Recorder::clear);
    }

    /// The next `count` calls of `endpoint` fail.
    pub fn fail_next(&self, endpoint: Endpoint, count: usize, fault: &Fault) {
        self.shared.plan(|plan| plan.fail_next(endpoint, count, fault));
    }

    /// How many of the calls that [`Jira::fail_next`] meant have not come yet.
    #[must_use]
    pub fn faults_waiting(&self) -> usize {
        self.shared.plan(|plan| plan.waiting())
    }

    /// A share of all calls, from 0 to 1, fails by one of `faults`. The same seed and the same
    /// order of calls fail in the same way. A share of 0 ends it.
    pub fn chaos(&self, share: f64, faults: &[Fault], seed: u64) {
        self.shared.plan(|plan| plan.chaos(share, faults, seed));
    }

    /// All calls fail until [`Jira::up`].
    pub fn down(&self, fault: Fault) {
        self.shared.plan(|plan| plan.down(Some(fault)));
    }

    /// Ends [`Jira::down`].
    pub fn up(&self) {
        self.shared.plan(|plan| plan.down(None));
    }

    /// A person resolves an issue: the first status of the category "done", with a resolution.
    ///
    /// # Panics
    /// When there is no such issue. So do all that people do.
    pub fn resolve(&self, key: &str, resolution: &str) {
        self.shared.world(|world| {
            let status = first_status(&world.settings, Category::Done);
            world
                .update(key, |issue| issue.set_status(status, Some(resolution.to_owned())))
                .unwrap_or_else(|| panic!("no issue {key}"));
        });
    }

    /// A person reopens an issue: the first status of the category "new", no resolution.
    pub fn reopen(&self, key: &str) {
        self.edit(key, |issue, settings| {
            issue.set_status(first_status(settings, Category::New), None);
        });
    }

    /// A person sets a status by its name, whatever the workflow says.
    pub fn set_status(&self, key: &str, name: &str) {
        self.edit(key, |issue, settings| {
            let status = settings.statuses.iter().find(|status| status.name == name).cloned();
            issue.set_status(status.unwrap_or_else(|| panic!("no status {name}")), None);
        });
    }

    /// A person changes an issue in any way.
    pub fn edit(&self, key: &str, edit: impl FnOnce(&mut Issue, &Settings)) {
        self.shared.world(|world| {
            let settings = world.settings.clone();
            world
                .update(key, |issue| edit(issue, &settings))
                .unwrap_or_else(|| panic!("no issue {key}"));
        });
    }

    /// A person deletes an issue.
    pub fn delete(&self, key: &str) {
        self.shared.world(|world| world.delete(key)).unwrap_or_else(|| panic!("no issue {key}"));
    }

    /// A person copies an issue, labels and all, into another project; gives the copy's key.
    #[must_use]
    pub fn copy_to(&self, key: &str, project: &str) -> String {
        self.shared
            .world(|world| world.copy_to(key, project))
            .unwrap_or_else(|| panic!("no issue {key}"))
    }

    /// A person moves an issue to another project; gives its new key. The old key still finds it.
    #[must_use]
    pub fn move_to(&self, key: &str, project: &str) -> String {
        self.shared
            .world(|world| world.move_to(key, project))
            .unwrap_or_else(|| panic!("no issue {key}"))
    }
}

fn first_status(settings: &Settings, category: Category) -> Status {
    let status = settings.statuses.iter().find(|status| status.category == category);
    status.unwrap_or_else(|| panic!("no status is {}", category.key())).clone()
}
