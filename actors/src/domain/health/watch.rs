//! The watch: from one look after the other, since when each component is as it is, what has
//! changed, and which conditions hold.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::{Map, json};

use super::{
    Component, Measured, Settings, Status,
    component::evaluate_mail,
    silence::Silence,
    suspect::{NEVER, Suspect, Suspects},
};
use crate::domain::{
    alert::{ANY, Certainty, Condition, Kind, Scope},
    rule::lasting::shown,
    shape::{cut, secret::without_secrets},
    time::{Micros, micros, rfc3339},
};

/// A clock that was set is told of for so long.
const JUMP_SHOWN: Duration = Duration::from_mins(10);
/// The jira worker looks for jobs twice a second.
const WORKER_LATE: Duration = Duration::from_secs(10);
/// What only a call can tell is not known before one has succeeded; but no longer after the start, since
/// some systems are seldom called.
const UNKNOWN_FOR: Duration = Duration::from_hours(1);
/// So many storms, and complaints about traffic, are told of.
const MOST: usize = 20;
/// An error that is kept is cut, in bytes.
const LONGEST_ERROR: usize = 500;

/// A component does otherwise than before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub at: Micros,
    pub component: String,
    /// `None` when it was looked at for the first time.
    pub before: Option<Status>,
    pub status: Status,
    /// Shows no secret.
    pub error: String,
}

/// What is known of a component from before this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    pub status: Status,
    pub since: Micros,
}

/// What a look has found.
#[derive(Clone, Debug)]
pub struct Look {
    pub components: BTreeMap<&'static str, Component>,
    pub changes: Vec<Change>,
    pub conditions: Vec<Condition>,
}

/// See the [module](self).
#[derive(Clone, Debug, Default)]
pub struct Watch {
    states: BTreeMap<&'static str, Known>,
    suspects: Suspects,
    silence: Silence,
    /// Where the chain stood, and which stage is suspected while it stands there.
    acknowledged: u64,
    stuck: Option<&'static str>,
    /// When was looked last, by both clocks.
    looked: Option<(Micros, Duration)>,
    /// The clock was set: when, and by how much.
    jump: Option<(Micros, Duration, Micros)>,
}

impl Watch {
    /// Takes one look.
    pub fn look(&mut self, measured: &Measured, settings: &Settings) -> Look {
        let mut components = evaluate(measured, settings);
        let mut suspects = Vec::new();
        self.heed_clock(measured, settings, &mut components, &mut suspects);
        self.suspect_stages(measured, settings, &mut suspects);
        if let Some(received) = measured.received {
            self.silence.hear(received, measured.running, settings);
        }
        for (source, silent) in self.silence.silent(measured.running, settings) {
            let cause = format!("no message from {} for {}", source.name(), shown(silent));
            let since = Some(measured.at - micros(silent));
            suspects.push(Suspect {
                since,
                ..suspect(Kind::SourceSilent, source.name(), cause, "/events")
            });
        }
        suspect_partners(measured, settings, &mut suspects);
        suspect_queues(measured, settings, &mut suspects);
        suspect_traffic(measured, &mut suspects);
        suspect_components(&components, measured, settings, &mut suspects);
        self.suspect_unknown(measured, settings, &mut suspects);
        suspect_unmeasured(measured, &mut suspects);
        let moment = (measured.at, measured.running);
        let conditions = self.suspects.hold(suspects, moment);
        components.insert("stages", stages(measured, &conditions));
        let changes = self.note_changes(measured.at, &mut components);
        Look { components, changes, conditions }
    }

    /// What was known before this process started: where nothing changed meanwhile, it has been so
    /// since then.
    pub fn recall(&mut self, known: &BTreeMap<String, Known>) {
        for (name, state) in &mut self.states {
            if let Some(known) = known.get(*name).filter(|known| known.status == state.status) {
                state.since = state.since.min(known.since);
            }
        }
    }

    fn heed_clock(
        &mut self,
        measured: &Measured,
        settings: &Settings,
        components: &mut BTreeMap<&'static str, Component>,
        suspects: &mut Vec<Suspect>,
    ) {
        let (at, running) = (measured.at, measured.running);
        if let Some((before, then)) = self.looked.replace((at, running)) {
            let by = (at - before) - micros(running.saturating_sub(then));
            if by.unsigned_abs() >= micros(settings.clock_jump).unsigned_abs() {
                self.jump = Some((at, running, by));
            }
        }
        self.jump.take_if(|(_, then, _)| running.saturating_sub(*then) >= JUMP_SHOWN);
        let error = self.jump.map(|(_, _, by)| {
            let way = if by < 0 { "back" } else { "forward" };
            format!(
                "the clock was set {way} by {}",
                shown(Duration::from_micros(by.unsigned_abs()))
            )
        });
        if let (Some(cause), Some((at, ..))) = (error.clone(), self.jump) {
            let clock = suspect(Kind::ClockJump, "clock", cause, "/health");
            suspects.push(Suspect { since: Some(at), ..clock });
        }
        let details = json!({ "time": rfc3339(at) });
        components.insert("clock", Component::new(Status::Degraded, error, details));
    }

    /// A stage is suspected while records wait and none is stored: the last one in the flow that
    /// has input, since those before it wait for it. While the store is away none is to blame.
    fn suspect_stages(
        &mut self,
        measured: &Measured,
        settings: &Settings,
        suspects: &mut Vec<Suspect>,
    ) {
        let chain = &measured.chain;
        let is_excused = measured.database.error.is_some();
        let stands = chain.head > chain.acknowledged && chain.acknowledged == self.acknowledged;
        self.acknowledged = chain.acknowledged;
        if stands && !is_excused {
            let last = chain.waiting.iter().rev().find(|(_, depth, _)| *depth > 0);
            let stage = *self.stuck.get_or_insert(last.map_or("pipeline", |(stage, ..)| stage));
            let waiting = chain.head - chain.acknowledged;
            let cause = format!("{waiting} records wait, and none is stored");
            let stuck = suspect(Kind::StageStuck, stage, cause, "/health");
            suspects.push(Suspect { after: settings.stuck_after, ..stuck });
        } else {
            self.stuck = None;
        }
        let late = chain.jira_worker_ago.filter(|ago| *ago > WORKER_LATE && !is_excused);
        if let Some(ago) = late {
            let cause = format!("no job was looked for since {}", shown(ago));
            let stuck = suspect(Kind::StageStuck, "jira_worker", cause, "/jobs");
            suspects.push(Suspect { after: settings.stuck_after, ..stuck });
        }
    }

    /// What was wrong before the start, and of which nobody can know yet whether it still is.
    fn suspect_unknown(
        &self,
        measured: &Measured,
        settings: &Settings,
        suspects: &mut Vec<Suspect>,
    ) {
        let mut add = |kind, subject| {
            let unknown = suspect(kind, subject, String::new(), "/health");
            suspects.push(Suspect { after: NEVER, ..unknown });
        };
        for source in self.silence.unheard(settings) {
            add(Kind::SourceSilent, source.name());
        }
        let is_called = |name: &str| {
            name != "buckets" || measured.buckets.as_ref().is_some_and(|it| it.is_watching)
        };
        for (name, calls) in &measured.partners {
            let is_unknown = calls.last_success.is_none() && measured.running < UNKNOWN_FOR;
            if is_unknown && is_called(name) {
                // Components are named as the partners are whose calls they are judged by.
                for kind in [
                    Kind::FailuresInARow,
                    Kind::PartnerDown,
                    Kind::AuthFailure,
                    Kind::ComponentUnhealthy,
                    Kind::ComponentDegraded,
                ] {
                    add(kind, name);
                }
            }
        }
    }

    /// What does otherwise than when it was last looked at. Says of each since when it does so.
    fn note_changes(
        &mut self,
        at: Micros,
        components: &mut BTreeMap<&'static str, Component>,
    ) -> Vec<Change> {
        let mut changes = Vec::new();
        for (name, component) in components {
            let status = component.status;
            let before = self.states.get(name).map(|known| known.status);
            if before != Some(status) {
                self.states.insert(name, Known { status, since: at });
                let error = component.error.as_deref().unwrap_or_default();
                let error = cut(&without_secrets(error), LONGEST_ERROR).to_owned();
                let component = (*name).to_owned();
                changes.push(Change { at, component, before, status, error });
            }
            component.since = self.states.get(name).map(|known| rfc3339(known.since));
        }
        changes
    }
}

/// What changed, once it is known how things were before this process: a first look is a change only
/// where it found something else.
#[must_use]
pub fn compare(change: Change, known: &BTreeMap<String, Known>) -> Option<Change> {
    if change.before.is_some() {
        return Some(change);
    }
    let before = known.get(&change.component).map_or(Status::Healthy, |known| known.status);
    (before != change.status).then_some(Change { before: Some(before), ..change })
}

fn evaluate(measured: &Measured, settings: &Settings) -> BTreeMap<&'static str, Component> {
    let mut components = BTreeMap::from([
        ("database", measured.database.evaluate()),
        ("spool", measured.spool.evaluate(settings)),
        ("queues", measured.queues.evaluate(settings)),
        ("application", measured.application.evaluate(settings)),
        ("jira", measured.jira.evaluate()),
    ]);
    let optional = [
        ("redis", measured.redis.as_ref().map(super::measured::Redis::evaluate)),
        ("buckets", measured.buckets.as_ref().map(super::measured::Buckets::evaluate)),
        ("mail", measured.mail.as_ref().map(|calls| evaluate_mail(calls, settings))),
        ("maxwell", measured.maxwell.as_ref().map(|maxwell| maxwell.evaluate(measured.at))),
        ("tls", measured.tls.as_ref().map(super::measured::Tls::evaluate)),
    ];
    components.extend(optional.into_iter().filter_map(|(name, it)| Some((name, it?))));
    components
}

/// Where each stage's input stands; unhealthy while one is stuck.
fn stages(measured: &Measured, conditions: &[Condition]) -> Component {
    let stuck = conditions.iter().find(|condition| {
        condition.kind == Kind::StageStuck && condition.certainty == Certainty::Holds
    });
    let error = stuck.map(|stuck| format!("{}: {}", stuck.subject, stuck.cause));
    let waiting: Map<String, serde_json::Value> = measured
        .chain
        .waiting
        .iter()
        .map(|(stage, depth, capacity)| {
            ((*stage).to_owned(), format!("{depth} of {capacity}").into())
        })
        .collect();
    let records = measured.chain.head.saturating_sub(measured.chain.acknowledged);
    Component::new(Status::Unhealthy, error, json!({ "waiting": waiting, "records": records }))
}

/// One of this hub that holds as soon as it is seen.
fn suspect(kind: Kind, subject: &str, cause: String, link: &'static str) -> Suspect {
    Suspect {
        kind,
        scope: Scope::Hub,
        subject: subject.to_owned(),
        cause,
        since: None,
        after: Duration::ZERO,
        link,
    }
}

fn suspect_partners(measured: &Measured, settings: &Settings, suspects: &mut Vec<Suspect>) {
    for (name, calls) in &measured.partners {
        let (run, error) = (calls.run, calls.last_error.as_deref().unwrap_or_default());
        let mut add = |kind, cause, since, after| {
            let partner = suspect(kind, name, cause, "/health");
            suspects.push(Suspect { since, after, ..partner });
        };
        if run.failures >= settings.failures_in_a_row {
            let cause =
                format!("{} calls failed one after the other; the last: {error}", run.failures);
            add(Kind::FailuresInARow, cause, run.since, Duration::ZERO);
        }
        // One that failed alone may be one that nobody repeats.
        if run.failures >= 2 {
            let cause = format!("no call has succeeded; the last error: {error}");
            add(Kind::PartnerDown, cause, run.since, settings.partner_down_after);
        }
        if let Some(since) = run.refused_since {
            let cause = format!("our credentials are not accepted: {error}");
            add(Kind::AuthFailure, cause, Some(since), Duration::ZERO);
        } else if calls.auth_failures > 0 {
            // Some calls are refused, and others are not: it is not over while they are.
            add(Kind::AuthFailure, String::new(), None, NEVER);
        }
    }
}

fn suspect_queues(measured: &Measured, settings: &Settings, suspects: &mut Vec<Suspect>) {
    for (queue, cause) in measured.queues.waiting(settings.queue_deep) {
        let (scope, link) = match queue {
            "jobs" => (Scope::Shared, "/jobs"),
            _ => (Scope::Hub, "/health"),
        };
        let deep = suspect(Kind::QueueDeep, queue, cause, link);
        suspects.push(Suspect { scope, after: settings.queue_for, ..deep });
    }
    if measured.jira.dead > 0 {
        let cause = format!("{} jobs were given up", measured.jira.dead);
        let dead = suspect(Kind::DeadJobs, "jira", cause, "/jobs");
        suspects.push(Suspect { scope: Scope::Shared, ..dead });
    }
    for storm in measured.storms.iter().flatten().take(MOST) {
        let cause =
            format!("more new faults turn up in {} than tickets are made for", storm.environment);
        let suspect = suspect(Kind::Storm, &storm.environment, cause, "/faults");
        suspects.push(Suspect { scope: Scope::Shared, since: Some(storm.since), ..suspect });
    }
    for (what, cause) in measured.spool.fill(settings) {
        suspects.push(suspect(Kind::SpoolDisk, what, cause, "/health"));
    }
}

fn suspect_traffic(measured: &Measured, suspects: &mut Vec<Suspect>) {
    let (certain, uncertain): (Vec<_>, Vec<_>) =
        measured.traffic.iter().partition(|complaint| complaint.is_certain);
    let mut seen = BTreeSet::new();
    for (number, complaint) in certain.into_iter().chain(uncertain).enumerate() {
        let kind = if complaint.is_errors { Kind::AppErrors } else { Kind::AppSlow };
        // What is not told of is not over either.
        let is_told = complaint.is_certain && number < MOST;
        let after = if is_told { Duration::ZERO } else { NEVER };
        if seen.insert((kind, &complaint.subject)) {
            let app = suspect(kind, &complaint.subject, complaint.message.clone(), "/");
            suspects.push(Suspect { after, ..app });
        }
    }
}

/// What could not be measured, so that nobody can know whether what was wrong still is.
fn suspect_unmeasured(measured: &Measured, suspects: &mut Vec<Suspect>) {
    let mut add = |kind, subject, scope| {
        let unknown = suspect(kind, subject, String::new(), "/health");
        suspects.push(Suspect { scope, after: NEVER, ..unknown });
    };
    if !measured.are_jobs_counted {
        add(Kind::DeadJobs, "jira", Scope::Shared);
        add(Kind::QueueDeep, "jobs", Scope::Shared);
        add(Kind::ComponentDegraded, "queues", Scope::Hub);
    }
    if measured.storms.is_none() {
        add(Kind::Storm, ANY, Scope::Shared);
    }
    if !measured.is_traffic_known {
        add(Kind::AppErrors, ANY, Scope::Hub);
        add(Kind::AppSlow, ANY, Scope::Hub);
    }
}

/// Those that are not well, but for what is told of under a kind of its own.
fn suspect_components(
    components: &BTreeMap<&'static str, Component>,
    measured: &Measured,
    settings: &Settings,
    suspects: &mut Vec<Suspect>,
) {
    for (name, component) in components {
        let kind = match (component.status, *name) {
            (Status::Healthy, _) | (_, "clock") | (Status::Degraded, "spool") => continue,
            (Status::Degraded, "jira") if measured.jira.has_only_dead_jobs() => continue,
            (Status::Degraded, _) => Kind::ComponentDegraded,
            (Status::Unhealthy, _) => Kind::ComponentUnhealthy,
        };
        let cause = component.error.clone().unwrap_or_default();
        let bad = suspect(kind, name, cause, "/health");
        suspects.push(Suspect { after: settings.tell_after, ..bad });
    }
}
