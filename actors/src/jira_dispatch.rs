//! Jira dispatch: decides about faults that were met, and writes what is to be done in Jira.
//!
//! `faults that were met ──▶ jira dispatch ──▶ jobs in the store`
//!
//! What it decides it takes from the store, so that what it hears of is no more than a hint: when
//! there are more hints than it can take, when it starts, and from time to time, it looks at all
//! faults that were met since they were decided about. So nothing is forgotten, whichever process
//! dies when; and a fault that two hubs decide about at once gets one ticket, because the store
//! keeps what is written first. While the store is away it waits, and holds nothing.
//!
//! It stands behind the batch writer, not beside it: which fault an event belongs to is known only
//! when it is stored.

use std::{borrow::Cow, sync::Arc, time::Duration};

use kameo::{
    Actor,
    actor::{ActorRef, WeakActorRef},
    mailbox::{MailboxReceiver, Signal},
    message::{Context, Message},
};
use serde_json::json;
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    adapters::{
        clock, jira,
        store::{
            Store, StoreError,
            jobs::{Budget, Decided, Intent, Undecided, Which},
        },
    },
    domain::{
        decision::{Decision, Todo, Tracker, decide},
        fault::FaultId,
        job::Action,
        retry::Backoff,
        rule::{Facts, Plan, Rules, Verdict},
        shape::{cut, secret::without_secrets},
        storm::Storm,
        ticket::Draft,
        time::{Micros, micros, rfc3339},
    },
    stage::{Closed, Finish, Live, Noticed, Notices, Wake, wake},
};

/// So many faults are decided about at a time.
const AT_ONCE: u32 = 1_000;
/// How often all faults are looked at, also those of which nothing was heard …
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// … and how often at most, when one is to be decided about again soon.
const LOOK_SOONEST: Duration = Duration::from_secs(3);

/// What the stage needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    pub tracker: Tracker,
    /// New tickets of an environment before it is a storm; those of a dry run do not count.
    pub budget: Option<Budget>,
    /// The project and type of a storm's ticket.
    pub project: String,
    pub issue_type: String,
}

impl From<&jira::Settings> for Settings {
    fn from(settings: &jira::Settings) -> Self {
        Self {
            tracker: Tracker {
                is_there: !settings.is_dry_run(),
                wont_fix: settings.wont_fix.clone(),
            },
            // Where there is no Jira, there is nobody to be protected from a storm.
            budget: settings.budget().filter(|_| !settings.is_dry_run()),
            project: settings.default_project().to_owned(),
            issue_type: settings.issue_type.clone(),
        }
    }
}

/// See the [module](self).
pub struct JiraDispatch {
    live: Live<Arc<jira::Settings>>,
    live_rules: Live<Arc<Rules>>,
    /// As they were at the beginning of this round.
    settings: Settings,
    rules: Arc<Rules>,
    met: Noticed<Vec<FaultId>>,
    store: Arc<dyn Store>,
    /// Tells the worker that there is something to do.
    due: Notices<()>,
    look_at: Instant,
    backoff: Backoff,
}

impl JiraDispatch {
    #[must_use]
    pub fn new(
        settings: Live<Arc<jira::Settings>>,
        met: Noticed<Vec<FaultId>>,
        store: Arc<dyn Store>,
        rules: Live<Arc<Rules>>,
        due: Notices<()>,
    ) -> Self {
        Self {
            settings: Settings::from(&*settings.get()),
            rules: rules.get(),
            live: settings,
            live_rules: rules,
            met,
            store,
            due,
            look_at: Instant::now(),
            backoff: Backoff::new(Duration::from_millis(200), Duration::from_secs(10)),
        }
    }

    /// A round of decisions goes by the same rules and settings from its beginning to its end.
    fn begin_round(&mut self) {
        self.settings = Settings::from(&*self.live.get());
        self.rules = self.live_rules.get();
    }

    /// Decides about faults that a commit has met, and those of other commits that wait.
    async fn heed(&mut self, mut faults: Vec<FaultId>) {
        self.begin_round();
        while faults.len() < AT_ONCE as usize
            && let Ok(more) = self.met.receiver.try_recv()
        {
            faults.extend(more);
        }
        faults.sort_unstable();
        faults.dedup();
        for some in faults.chunks(AT_ONCE as usize) {
            let outcome = self.decide_about(some).await;
            if self.is_away(outcome).is_none() {
                return;
            }
        }
        if self.met.take_missed() {
            self.look_at = Instant::now();
        }
    }

    /// Looks at all faults about which something is to be decided, and at the storms.
    async fn look(&mut self) {
        self.begin_round();
        let window = self.settings.budget.map_or(LOOK_EVERY, |budget| budget.window / 4);
        self.look_at = Instant::now() + LOOK_EVERY.min(window);
        let outcome = self.look_at_all().await;
        self.is_away(outcome);
    }

    async fn look_at_all(&mut self) -> Result<(), StoreError> {
        let mut some = self.decisions(Which::After(0), AT_ONCE).await?;
        while let Some(last) = some.last().map(|decided| decided.fault) {
            self.look_again_for(&some);
            // The next ones are read and judged while these are written, in two transactions: a
            // store may have more than one processor.
            let next = self.decisions(Which::After(last), AT_ONCE);
            let (one, other) = some.split_at(some.len() / 2);
            let (one, other, next) = tokio::join!(self.write(one), self.write(other), next);
            one?;
            other?;
            some = next?;
        }
        self.attend_storms().await
    }

    /// `None` where the store could not be used; then all is looked at again after a while.
    fn is_away<T>(&mut self, outcome: Result<T, StoreError>) -> Option<T> {
        match outcome {
            Ok(value) => {
                self.backoff.reset();
                Some(value)
            }
            Err(error) => {
                tracing::debug!(%error, "cannot decide about faults yet");
                self.look_at = Instant::now() + self.backoff.next_wait(fastrand::f64());
                None
            }
        }
    }

    async fn decide_about(&mut self, faults: &[FaultId]) -> Result<(), StoreError> {
        let decisions = self.decisions(Which::These(faults), AT_ONCE).await?;
        self.look_again_for(&decisions);
        if self.write(&decisions).await? > 0 {
            self.attend_storms().await?;
        }
        Ok(())
    }

    /// Sees to it that nobody waits for long who is to be decided about again.
    fn look_again_for(&mut self, decisions: &[Decided]) {
        let Some(again_at) = decisions.iter().filter_map(|decided| decided.again_at).min() else {
            return;
        };
        let wait = Duration::from_micros(u64::try_from(again_at - clock::now()).unwrap_or(0));
        // The moment itself must have passed.
        let wait = wait.max(LOOK_SOONEST) + Duration::from_millis(50);
        self.look_at = self.look_at.min(Instant::now() + wait);
    }

    /// Decides about faults, and writes nothing yet.
    async fn decisions(&self, which: Which<'_>, limit: u32) -> Result<Vec<Decided>, StoreError> {
        let undecided = self.store.undecided(which, limit).await?;
        let now = clock::now();
        let mut decisions = Vec::with_capacity(undecided.len());
        for fault in &undecided {
            let verdict = self.judge(fault, now).await?;
            let decision = decide(&fault.fault, &verdict, &self.settings.tracker, now);
            decisions.push(decided(fault, decision, plan_of(&verdict)));
        }
        Ok(decisions)
    }

    /// Writes decisions down; gives how many new tickets are held back.
    async fn write(&self, decisions: &[Decided]) -> Result<u64, StoreError> {
        if decisions.is_empty() {
            return Ok(0);
        }
        let written = self.store.decide(decisions, self.settings.budget).await?;
        metrics::counter!("faultline_decisions_total").increment(decisions.len() as u64);
        metrics::counter!("faultline_intents_total").increment(written.intents);
        metrics::counter!("faultline_held_back_total").increment(written.held);
        if written.intents > 0 {
            self.due.tell(());
        }
        Ok(written.held)
    }

    /// What the rules say, counting where they want to know how often.
    async fn judge(&self, fault: &Undecided, now: Micros) -> Result<Verdict, StoreError> {
        let mut counted: Vec<(Duration, u64)> = Vec::new();
        loop {
            let verdict = self.ask_rules(fault, &counted, now);
            let Verdict::NeedsCount { within } = verdict else { return Ok(verdict) };
            let since = now.saturating_sub(micros(within));
            let most = fault.fault.count;
            let count = self.store.occurrences(fault.fault.fault, since, most).await?;
            counted.push((within, count));
        }
    }

    fn ask_rules(&self, fault: &Undecided, counted: &[(Duration, u64)], now: Micros) -> Verdict {
        let count_within = |within: Duration| {
            counted.iter().find(|(window, _)| *window == within).map(|(_, count)| *count)
        };
        let mut notes = Vec::new();
        let verdict = self.rules.decide_noting(&facts(fault, &count_within), now, &mut notes);
        notes.extend(plan_of(&verdict).and_then(|plan| plan.template_problem.clone()));
        for note in notes {
            tracing::warn!(fault = fault.fault.fault, note, "a rule cannot be applied as written");
        }
        verdict
    }

    /// Begins storms, tells of them, gives the faults that they hold back their tickets when there
    /// is budget for these, and ends them.
    async fn attend_storms(&mut self) -> Result<(), StoreError> {
        let window = self.settings.budget.map_or(Duration::ZERO, |budget| budget.window);
        for storm in self.store.storms(window).await? {
            let Some(budget) = self.settings.budget else {
                self.dissolve(&storm).await?;
                continue;
            };
            let free = u64::from(budget.tickets).saturating_sub(storm.recent);
            let Some(fault) = storm.fault else {
                self.begin(&storm).await?;
                continue;
            };
            if storm.held > 0 && free > 0 {
                let limit = u32::try_from(free).unwrap_or(u32::MAX).min(AT_ONCE);
                self.release(&storm, limit).await?;
            }
            if storm.held == 0 && free > 0 {
                self.end(&storm, fault).await?;
            } else {
                let quarter = budget.window.max(Duration::from_secs(4)) / 4;
                let mark = clock::now() / micros(quarter);
                let draft = json!({ "summary": storm.summary(), "description": storm.digest() });
                let intent = told(Action::Edit, mark.to_string(), draft);
                self.store.intend(fault, &storm.environment, &intent).await?;
            }
        }
        Ok(())
    }

    /// There is no budget any more, so that nothing is held back any more: what still is gets its
    /// tickets, and then the storm is over.
    async fn dissolve(&mut self, storm: &Storm) -> Result<(), StoreError> {
        if storm.held > 0 {
            self.release(storm, AT_ONCE).await?;
            self.look_at = self.look_at.min(Instant::now() + LOOK_SOONEST);
        } else if let Some(fault) = storm.fault {
            self.end(storm, fault).await?;
        }
        Ok(())
    }

    /// Decides about up to `limit` faults that a storm holds back.
    async fn release(&self, storm: &Storm, limit: u32) -> Result<(), StoreError> {
        let decisions = self.decisions(Which::Held(&storm.environment), limit).await?;
        self.write(&decisions).await.map(drop)
    }

    async fn begin(&self, storm: &Storm) -> Result<(), StoreError> {
        let draft = Draft {
            project: self.settings.project.clone(),
            issue_type: self.settings.issue_type.clone(),
            summary: storm.summary(),
            description: storm.digest(),
            ..Draft::default()
        };
        tracing::warn!(environment = storm.environment, held = storm.held, "a storm of new faults");
        let request = serde_json::to_value(&draft).unwrap_or_default();
        let intent =
            Intent { locator: new_locator(), ..told(Action::Create, String::new(), request) };
        self.store.begin_storm(&storm.environment, &draft.summary, &intent).await?;
        self.due.tell(());
        Ok(())
    }

    async fn end(&self, storm: &Storm, fault: FaultId) -> Result<(), StoreError> {
        tracing::info!(environment = storm.environment, "the storm of new faults is over");
        let text = "The storm is over: every fault that it held back has its ticket.";
        let intent = told(Action::Comment, "over".to_owned(), json!({ "text": text }));
        self.store.intend(fault, &storm.environment, &intent).await?;
        self.store.end_storm(fault).await?;
        self.due.tell(());
        Ok(())
    }
}

/// An intent about a storm's ticket.
fn told(action: Action, mark: String, request: serde_json::Value) -> Intent {
    Intent {
        action,
        incident: 1,
        mark,
        rule: "storm".to_owned(),
        request,
        locator: String::new(),
        due_in: Duration::ZERO,
    }
}

/// The ticket of a fault that a person wants: as the rules say, whatever they wait for.
#[must_use]
pub fn draft_by_hand(rules: &Rules, fault: &Undecided) -> Draft {
    rules.plan_by_hand(&facts(fault, &|_| Some(u64::MAX)), clock::now()).draft
}

/// A name that no other ticket has, in this or another store.
#[must_use]
pub fn new_locator() -> String {
    format!("fl-{}", &Uuid::new_v4().simple().to_string()[..16])
}

/// The latest event, as a ticket may show it.
fn shown(latest: &str) -> Cow<'_, str> {
    const LONGEST: usize = 4_000;
    without_secrets(cut(latest, LONGEST))
}

fn facts<'a>(fault: &'a Undecided, count_within: &'a dyn Fn(Duration) -> Option<u64>) -> Facts<'a> {
    Facts {
        fault: fault.fault.fault,
        environment: &fault.environment,
        service: &fault.service,
        kind: fault.kind,
        source: None,
        severity: fault.severity,
        title: &fault.title,
        example: &fault.example,
        latest: &fault.latest,
        fingerprint: &fault.fingerprint,
        count: fault.fault.count,
        first_seen: fault.first_seen,
        last_seen: fault.fault.last_seen,
        state: fault.fault.state(),
        selected_by: &fault.rule,
        count_within,
    }
}

fn plan_of(verdict: &Verdict) -> Option<&Plan> {
    match verdict {
        Verdict::Ticket(plan) => Some(plan),
        _ => None,
    }
}

fn decided(fault: &Undecided, decision: Decision, plan: Option<&Plan>) -> Decided {
    let intent = plan.and_then(|plan| intent(fault, &decision.todo, plan));
    Decided {
        fault: fault.fault.fault,
        environment: fault.environment.clone(),
        title: fault.title.clone(),
        count: fault.fault.count,
        incident: fault.fault.incident,
        steered: fault.steered,
        reason: decision.reason,
        again_at: decision.again_at,
        comeback: decision.comeback,
        intent,
    }
}

fn intent(fault: &Undecided, todo: &Todo, plan: &Plan) -> Option<Intent> {
    let count = fault.fault.count;
    let (action, incident, mark, request) = match todo {
        Todo::Nothing => return None,
        Todo::Create { incident } => {
            let mut draft = json!(plan.draft);
            // A later ticket is linked to the one before.
            if let Some(before) = fault.fault.ticket.as_ref().and_then(|t| t.key.as_ref()) {
                draft["before"] = json!(before);
            }
            (Action::Create, *incident, String::new(), draft)
        }
        Todo::Comment { milestone } => {
            let text = format!(
                "Seen {count} times by now.\n\nLatest:\n```\n{}\n```",
                shown(&fault.latest)
            );
            (Action::Comment, fault.fault.incident, milestone.to_string(), json!({ "text": text }))
        }
        Todo::Quiet { since } => {
            let text = format!("Not seen since {}: it may be over.", rfc3339(*since));
            let mark = format!("quiet {since}");
            (Action::Comment, fault.fault.incident, mark, json!({ "text": text }))
        }
        Todo::Reopen { resolved_at } => {
            let text = format!(
                "It is back after this ticket was done: seen {count} times by now.\n\nLatest:\n\
                 ```\n{}\n```",
                shown(&fault.latest)
            );
            (Action::Reopen, fault.fault.incident, resolved_at.to_string(), json!({ "text": text }))
        }
    };
    let locator = if action == Action::Create { new_locator() } else { String::new() };
    let rule = plan.rule.clone();
    Some(Intent { action, incident, mark, rule, request, locator, due_in: Duration::ZERO })
}

impl Actor for JiraDispatch {
    type Args = Self;
    type Error = Closed;

    fn name() -> &'static str {
        "jira_dispatch"
    }

    async fn on_start(dispatch: Self, _: ActorRef<Self>) -> Result<Self, Closed> {
        Ok(dispatch)
    }

    async fn next(
        &mut self,
        _: WeakActorRef<Self>,
        mailbox: &mut MailboxReceiver<Self>,
    ) -> Result<Option<Signal<Self>>, Closed> {
        loop {
            match wake(&self.met.receiver, mailbox, Some(self.look_at)).await {
                Wake::Item(faults) => self.heed(faults).await,
                Wake::Deadline => self.look().await,
                Wake::Signal(signal) => return Ok(signal),
            }
        }
    }
}

impl Message<Finish> for JiraDispatch {
    type Reply = Result<(), Closed>;

    /// Decides about what it has heard of; the rest is found at the next start.
    async fn handle(&mut self, _: Finish, _: &mut Context<Self, Self::Reply>) -> Self::Reply {
        if let Ok(faults) = self.met.receiver.try_recv() {
            self.heed(faults).await;
        }
        Ok(())
    }
}
