//! Jira worker: does the jobs that are due, and writes down what came of each.
//!
//! `due jobs of the store ──▶ jira worker ──▶ Jira, outcomes in the store`
//!
//! Jobs are taken under a lease that is prolonged while this process lives; when it dies, another
//! hub takes them over within seconds. A handful of requests is under way at a time. While Jira is
//! away (the circuit breaker), limits us, or people have paused dispatch, no job is taken: they
//! wait in the store, and cost nothing. Without a Jira each job is completed as a dry run.
//!
//! A request is sent only under a lease that has long enough to run; so a process that was frozen
//! sends nothing that another one may have sent meanwhile.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use kameo::{
    Actor,
    actor::{ActorRef, WeakActorRef},
    mailbox::{MailboxReceiver, Signal},
    message::{Context, Message},
};
use tokio::{task::JoinSet, time::Instant};

use crate::{
    adapters::{
        clock,
        jira::{
            self, Failure, Jira, MAX_BULK,
            attempt::{
                Policy, Sign, attempt, completed, draft_of, dry_run, failed, failed_together,
                is_fresh, link_to_the_one_before, sign_of, understood,
            },
        },
        store::{
            Store, StoreError,
            jobs::{Holder, Job, JobCounts, JobFilter, Outcome, TicketChange},
        },
    },
    domain::{
        breaker::{self, Breaker},
        job::Step,
        time::Micros,
    },
    stage::{Closed, Finish, Live, Noticed, Wake, wake},
};

/// Requests under way at one time: Jira takes about half a second for each.
const AT_ONCE: usize = 4;
/// How often due jobs are looked for of which nothing was heard.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How it goes; read by health and metrics, kept across a restart of the stage.
#[derive(Debug)]
pub struct Counters {
    pub breaker: Mutex<Breaker>,
    /// `None` before the store was first asked.
    counts: Mutex<Option<JobCounts>>,
    is_paused: std::sync::atomic::AtomicBool,
    hubs: AtomicU64,
    /// When it last looked whether there is something to do.
    looked_at: AtomicI64,
}

impl Counters {
    #[must_use]
    pub fn new(settings: breaker::Settings) -> Self {
        Self {
            breaker: Mutex::new(Breaker::new(settings)),
            counts: Mutex::default(),
            is_paused: false.into(),
            hubs: AtomicU64::new(1),
            looked_at: AtomicI64::new(0),
        }
    }

    /// When it last looked whether there is something to do; `None` before it ever did.
    #[must_use]
    pub fn looked_at(&self) -> Option<Micros> {
        Some(self.looked_at.load(Ordering::Relaxed)).filter(|at| *at != 0)
    }

    /// Jobs by state, as they were when last looked at.
    #[must_use]
    pub fn jobs(&self) -> JobCounts {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or_default()
    }

    /// Whether they were ever looked at.
    #[must_use]
    pub fn are_jobs_counted(&self) -> bool {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.is_paused.load(Ordering::Relaxed)
    }

    /// Hubs that share the work.
    #[must_use]
    pub fn hubs(&self) -> u64 {
        self.hubs.load(Ordering::Relaxed)
    }

    /// The circuit breaker as it is now.
    #[must_use]
    pub fn breaker(&self) -> breaker::State {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner).state(clock::now())
    }

    fn heed(&self, sign: &Sign) {
        let mut breaker = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock::now();
        let was_closed = breaker.state(now) == breaker::State::Closed;
        match sign {
            Sign::Well => breaker.succeeded(now),
            Sign::Ill(words) => breaker.failed(now, words),
            Sign::Shut(words) => breaker.trip(now, words),
            Sign::None => breaker.withdraw(),
        }
        let is_closed = breaker.state(now) == breaker::State::Closed;
        match sign {
            Sign::Ill(words) | Sign::Shut(words) if was_closed && !is_closed => {
                tracing::error!(words, "Jira is not asked for a while: tickets wait");
            }
            Sign::Well if is_closed && !was_closed => tracing::info!("Jira answers again"),
            _ => {}
        }
    }
}

/// What the tasks share.
#[derive(Clone)]
struct Shared {
    holder: Holder,
    jira: Option<Arc<Jira>>,
    store: Arc<dyn Store>,
    policy: Policy,
    counters: Arc<Counters>,
    settings: Arc<jira::Settings>,
    /// Until when this process surely holds its leases.
    held_until: Arc<Mutex<Instant>>,
}

/// See the [module](self).
pub struct JiraWorker {
    due: Noticed<()>,
    live: Live<Arc<jira::Settings>>,
    shared: Shared,
    tasks: JoinSet<()>,
    look_at: Instant,
    keep_at: Instant,
    count_at: Instant,
}

impl JiraWorker {
    /// `jira` is `None` in a dry run.
    #[must_use]
    pub fn new(
        live: Live<Arc<jira::Settings>>,
        due: Noticed<()>,
        store: Arc<dyn Store>,
        jira: Option<Arc<Jira>>,
        counters: Arc<Counters>,
    ) -> Self {
        let (now, settings) = (Instant::now(), live.get());
        let shared = Shared {
            // A restarted stage is another holder: what the one before it had in hand is unknown.
            holder: Holder::new_v4(),
            jira,
            store,
            policy: settings.policy(),
            counters,
            settings,
            held_until: Arc::new(Mutex::new(now)),
        };
        let tasks = JoinSet::new();
        Self { due, live, shared, tasks, look_at: now, keep_at: now, count_at: now }
    }

    /// Does what is due.
    async fn attend(&mut self) {
        self.shared.counters.looked_at.store(clock::now(), Ordering::Relaxed);
        while self.tasks.try_join_next().is_some() {}
        let now = Instant::now();
        if now >= self.keep_at {
            self.keep().await;
        }
        if now >= self.count_at {
            self.count_at = now + Duration::from_secs(15);
            if let Ok(counts) = self.shared.store.job_counts(&JobFilter::default()).await {
                *self.shared.counters.counts.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some(counts);
            }
        }
        if now >= self.look_at {
            self.look_at = now + LOOK_EVERY;
            match self.take_jobs().await {
                // There may be more where these came from.
                Ok(true) => self.look_at = Instant::now() + Duration::from_millis(20),
                Ok(false) => {}
                Err(error) => tracing::debug!(%error, "cannot look for jobs"),
            }
        }
    }

    /// Prolongs the leases of this process.
    async fn keep(&mut self) {
        let asked = Instant::now();
        self.keep_at = asked + self.shared.settings.lease / 4;
        match self.shared.store.keep(self.shared.holder, self.shared.settings.lease).await {
            Ok(hubs) => {
                self.shared.hold_until(asked + self.shared.settings.lease);
                self.shared.counters.hubs.store(u64::from(hubs), Ordering::Relaxed);
                if let Some(jira) = &self.shared.jira {
                    jira.set_hubs(hubs);
                }
            }
            Err(error) => tracing::debug!(%error, "cannot prolong leases"),
        }
        if let Ok(is_paused) = self.shared.store.is_paused().await {
            self.shared.counters.is_paused.store(is_paused, Ordering::Relaxed);
        }
    }

    /// Takes as many jobs as may be done now; says whether there were any.
    async fn take_jobs(&mut self) -> Result<bool, StoreError> {
        if self.tasks.len() >= AT_ONCE || self.shared.counters.is_paused() {
            return Ok(false);
        }
        let Some(most) = self.permitted() else { return Ok(false) };
        // A job is done by the settings of when it was taken.
        self.shared.settings = self.live.get();
        self.shared.policy = self.shared.settings.policy();
        let asked = Instant::now();
        let lease = self.shared.settings.lease;
        let jobs = self.shared.store.claim(self.shared.holder, lease, most).await;
        if jobs.as_ref().map_or(true, Vec::is_empty) {
            // Without a job there is no trial: the next one that is due must not wait for it.
            self.shared.counters.heed(&Sign::None);
        }
        let jobs = jobs?;
        if jobs.is_empty() {
            return Ok(false);
        }
        self.shared.hold_until(asked + lease);
        let (mut singles, others): (Vec<Job>, Vec<Job>) = jobs.into_iter().partition(is_fresh);
        if singles.len() > 1 && self.shared.jira.is_some() {
            // Several new tickets go in one request.
            let (shared, fresh) = (self.shared.clone(), std::mem::take(&mut singles));
            self.tasks.spawn(async move { shared.make_all(fresh).await });
        }
        singles.extend(others);
        let lanes = singles.len().div_ceil(AT_ONCE).max(1);
        for lane in singles.chunks(lanes) {
            let (shared, lane) = (self.shared.clone(), lane.to_vec());
            self.tasks.spawn(async move {
                for job in lane {
                    shared.do_one(job).await;
                }
            });
        }
        Ok(true)
    }

    /// How many jobs may be taken; `None` while Jira is left alone.
    fn permitted(&self) -> Option<u32> {
        let Some(jira) = &self.shared.jira else { return Some(500) };
        if jira.is_limited(clock::now()) {
            return None;
        }
        let mut breaker =
            self.shared.counters.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock::now();
        let is_closed = breaker.state(now) == breaker::State::Closed;
        match breaker.try_call(now) {
            // One trial decides.
            breaker::Answer::Permit if !is_closed => Some(1),
            // New tickets of them go in one request.
            breaker::Answer::Permit => u32::try_from(MAX_BULK).ok(),
            breaker::Answer::Refused { .. } => None,
        }
    }
}

impl Shared {
    fn hold_until(&self, until: Instant) {
        *self.held_until.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }

    /// Whether a request may be sent: the leases run for a while yet.
    fn holds(&self) -> bool {
        let until = *self.held_until.lock().unwrap_or_else(PoisonError::into_inner);
        Instant::now() + self.settings.lease / 4 < until
    }

    async fn do_one(&self, job: Job) {
        let Some(jira) = &self.jira else {
            return self.settle(&job, &dry_run(&job, &self.settings)).await;
        };
        if !self.holds() {
            self.counters.heed(&Sign::None);
            return self.settle(&job, &Outcome::new(Step::Release)).await;
        }
        let (outcome, sign) = attempt(jira, &job, &self.policy).await;
        self.counters.heed(&sign);
        self.settle(&job, &outcome).await;
        if outcome.ticket == Some(TicketChange::Reopened)
            && let Some(key) = &job.key
            && let Ok(Some(seen)) = jira.ticket(key).await
        {
            // A search that lags behind would still say that it is done.
            let _ = self.store.tickets_seen(&[seen.into()]).await;
        }
    }

    /// Makes several tickets in one request.
    async fn make_all(&self, jobs: Vec<Job>) {
        let Some(jira) = &self.jira else { return };
        let mut drafts = Vec::new();
        let mut drafted = Vec::new();
        for job in jobs {
            match draft_of(&job) {
                Ok(draft) => {
                    drafts.push((draft, job.locator.clone()));
                    drafted.push(job);
                }
                Err(_) => self.do_one(job).await,
            }
        }
        if !self.holds() {
            for job in &drafted {
                self.settle(job, &Outcome::new(Step::Release)).await;
            }
            return;
        }
        let made = match jira.create_bulk(&drafts).await {
            Ok(made) => made,
            Err(failure) => return self.fail_all(jira, &drafted, failure).await,
        };
        let mut sign = Sign::Well;
        for (job, made) in drafted.iter().zip(made) {
            let outcome = match made {
                Ok(made) => {
                    link_to_the_one_before(jira, job, &made.key).await;
                    completed(job, &made.key, Some(made.id), serde_json::Value::Null)
                }
                Err(failure) => {
                    let (outcome, its_sign) = failed(job, &failure, &self.policy);
                    if its_sign != Sign::Well {
                        sign = its_sign;
                    }
                    outcome
                }
            };
            self.settle(job, &outcome).await;
        }
        self.counters.heed(&sign);
    }

    /// Writes down that a bulk create has failed as a whole.
    async fn fail_all(&self, jira: &Jira, jobs: &[Job], failure: Failure) {
        let failure = understood(jira, failure).await;
        self.counters.heed(&sign_of(&failure));
        for job in jobs {
            self.settle(job, &failed_together(job, &failure, &self.policy)).await;
        }
    }

    /// Writes down what came of a job. While the store is away it is tried again for as long as
    /// the lease runs; then it is found out by looking.
    async fn settle(&self, job: &Job, outcome: &Outcome) {
        metrics::counter!("faultline_job_outcomes_total", "action" => job.action.name(),
            "outcome" => outcome.step.name())
        .increment(1);
        if outcome.step == Step::GiveUp {
            tracing::error!(
                job = job.id,
                fault = job.fault,
                error = outcome.error,
                "a job is dead"
            );
        }
        loop {
            match self.store.settle(job.id, self.holder, outcome).await {
                Ok(true) => return,
                Ok(false) => {
                    tracing::warn!(job = job.id, "a job was taken over by another hub meanwhile");
                    return;
                }
                Err(error) if !self.holds() => {
                    tracing::warn!(job = job.id, %error, "cannot write down what came of a job");
                    return;
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    }
}

impl Actor for JiraWorker {
    type Args = Self;
    type Error = Closed;

    fn name() -> &'static str {
        "jira_worker"
    }

    async fn on_start(worker: Self, _: ActorRef<Self>) -> Result<Self, Closed> {
        Ok(worker)
    }

    async fn next(
        &mut self,
        _: WeakActorRef<Self>,
        mailbox: &mut MailboxReceiver<Self>,
    ) -> Result<Option<Signal<Self>>, Closed> {
        loop {
            let until = self.look_at.min(self.keep_at);
            match wake(&self.due.receiver, mailbox, Some(until)).await {
                Wake::Item(()) => self.look_at = Instant::now(),
                Wake::Deadline => {}
                Wake::Signal(signal) => return Ok(signal),
            }
            self.attend().await;
        }
    }
}

impl Message<Finish> for JiraWorker {
    type Reply = Result<(), Closed>;

    /// Waits for what is under way; what does not end in time is taken over when its lease ends.
    async fn handle(&mut self, _: Finish, _: &mut Context<Self, Self::Reply>) -> Self::Reply {
        let _ = tokio::time::timeout(Duration::from_secs(3), async {
            while self.tasks.join_next().await.is_some() {}
        })
        .await;
        Ok(())
    }
}
