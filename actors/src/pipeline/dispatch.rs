//! Dispatch in the pipeline: its stages, and what is told of them.

use std::sync::Arc;

use kameo::actor::ActorRef;

use super::{
    TO_WORKER,
    supervisor::{Supervisor, supervise},
};
use crate::{
    adapters::{
        jira::{self, Jira},
        store::Store,
    },
    domain::{calls::Calls, decision::Tracker, fault::FaultId, rule::Rules},
    jira_dispatch::{self, JiraDispatch},
    jira_worker::{self, JiraWorker},
    stage::{Live, Noticed, Notices},
    ticket_watch::TicketWatch,
};

/// How tickets are made.
#[derive(Clone, Debug)]
pub struct JiraState {
    /// There is no Jira: nothing is sent.
    pub is_dry_run: bool,
    pub counters: Arc<jira_worker::Counters>,
    /// How requests to Jira went.
    pub calls: Arc<Calls>,
    /// Where there is one.
    pub client: Option<Arc<Jira>>,
    pub settings: Live<Arc<jira::Settings>>,
    pub rules: Live<Arc<Rules>>,
    decide: Notices<Vec<FaultId>>,
}

impl JiraState {
    /// What decisions know of it.
    #[must_use]
    pub fn tracker(&self) -> Tracker {
        jira_dispatch::Settings::from(&*self.settings.get()).tracker
    }

    /// Has dispatch look at a fault soon, after a person has said something about it.
    pub fn decide_about(&self, fault: FaultId) {
        self.decide.tell(vec![fault]);
    }
}

/// The stages behind the store: what is to be done in Jira, and doing it.
pub(super) struct Dispatch {
    pub decider: ActorRef<JiraDispatch>,
    pub worker: ActorRef<JiraWorker>,
    watch: Option<ActorRef<TicketWatch>>,
    pub state: JiraState,
}

impl Dispatch {
    pub(super) async fn start(
        supervisor: &ActorRef<Supervisor>,
        settings: Live<Arc<jira::Settings>>,
        jira: Option<Arc<Jira>>,
        store: Arc<dyn Store>,
        rules: Live<Arc<Rules>>,
        (met_out, met): (Notices<Vec<FaultId>>, Noticed<Vec<FaultId>>),
        calls: Arc<Calls>,
    ) -> Self {
        let (due_out, due) = Notices::bounded(TO_WORKER);
        let decider = {
            let (settings, store, rules) = (settings.clone(), store.clone(), rules.clone());
            let make = move || {
                JiraDispatch::new(
                    settings.clone(),
                    met.clone(),
                    store.clone(),
                    rules.clone(),
                    due_out.clone(),
                )
            };
            supervise::<JiraDispatch>(supervisor, make).await
        };
        let counters = Arc::new(jira_worker::Counters::new(settings.get().breaker()));
        let state = JiraState {
            is_dry_run: jira.is_none(),
            counters: counters.clone(),
            calls,
            client: jira.clone(),
            settings: settings.clone(),
            rules,
            decide: met_out,
        };
        let watch = match &jira {
            Some(jira) => {
                let (settings, jira, store) = (settings.clone(), jira.clone(), store.clone());
                let make = move || TicketWatch::new(settings.clone(), jira.clone(), store.clone());
                Some(supervise::<TicketWatch>(supervisor, make).await)
            }
            None => None,
        };
        let worker = {
            let make = move || {
                JiraWorker::new(
                    settings.clone(),
                    due.clone(),
                    store.clone(),
                    jira.clone(),
                    counters.clone(),
                )
            };
            supervise::<JiraWorker>(supervisor, make).await
        };
        Self { decider, worker, watch, state }
    }

    pub(super) fn kill(&self) {
        self.decider.kill();
        self.worker.kill();
        if let Some(watch) = &self.watch {
            watch.kill();
        }
    }
}
