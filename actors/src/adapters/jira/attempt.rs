//! One attempt at a job: what is asked of Jira, and what its answer means for the job.
//!
//! Jira has no idempotency key. So whatever may have been done already is looked for before it is
//! done: a ticket by its locator, for as long as Jira's index may lag behind; a comment by its
//! marker, which needs no index. Everything else may be done twice without harm.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Category, Failure, Jira, Reopened, Seen, Settings, create_request};
use crate::{
    adapters::store::jobs::{Job, Outcome, SeenTicket, TicketChange},
    domain::{
        job::{Action, Step},
        retry::Backoff,
        ticket::Draft,
    },
};

/// When to try again, and when no more.
#[derive(Clone, Debug)]
pub struct Policy {
    /// How long after a ticket was made a search may not find it yet.
    pub search_settle: Duration,
    pub max_attempts: u32,
    pub retry_first: Duration,
    pub retry_cap: Duration,
}

/// What an attempt says of Jira as a whole, for the circuit breaker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sign {
    /// It answers.
    Well,
    /// It does not, or says that something is wrong with it.
    Ill(String),
    /// It does not let us in: no other attempt would fare better.
    Shut(String),
    /// Says nothing.
    None,
}

/// Drafts that can be made in one request. One whose request was refused goes alone the next time:
/// others are not to be refused with it.
#[must_use]
pub fn is_fresh(job: &Job) -> bool {
    job.action == Action::Create && job.unknown_for.is_none() && job.searches == 0
}

/// The draft of a job that makes a ticket.
///
/// # Errors
/// When what is stored is none: people have edited it.
pub fn draft_of(job: &Job) -> Result<Draft, String> {
    serde_json::from_value(job.request.clone()).map_err(|error| error.to_string())
}

/// Does a job, or finds out that it was done.
pub async fn attempt(jira: &Jira, job: &Job, policy: &Policy) -> (Outcome, Sign) {
    let done = match job.action {
        Action::Create if job.unknown_for.is_some() => return look_for(jira, job, policy).await,
        Action::Create => match draft_of(job) {
            Ok(draft) => {
                jira.create(&draft, &job.locator).await.map(|made| (made.key, Some(made.id)))
            }
            Err(problem) => return (unreadable(&problem), Sign::None),
        },
        Action::Comment | Action::Reopen | Action::Edit => {
            let Some(key) = &job.key else {
                return (unmade(job, policy), Sign::None);
            };
            act_on(jira, job, key).await.map(|()| (key.clone(), None))
        }
    };
    match done {
        Ok((key, id)) => {
            link_to_the_one_before(jira, job, &key).await;
            (completed(job, &key, id, json!(null)), Sign::Well)
        }
        Err(failure) => {
            let failure = understood(jira, failure).await;
            let (outcome, sign) = failed(job, &failure, policy);
            let ticket = ticket_after(jira, job, &failure).await;
            (Outcome { ticket, ..outcome }, sign)
        }
    }
}

/// Jira says 403 to all that a locked out account asks, and to the one request that an account may
/// not make, or that a firewall dislikes. A request that every account may make tells which it is;
/// where that fails too, nobody is let in.
pub async fn understood(jira: &Jira, failure: Failure) -> Failure {
    match failure {
        Failure::Forbidden(words) if jira.myself().await.is_err() => Failure::Unauthorized(words),
        failure => failure,
    }
}

/// A ticket that is missing may be gone; that is looked up before it is believed.
async fn ticket_after(jira: &Jira, job: &Job, failure: &Failure) -> Option<TicketChange> {
    let Failure::Missing(_) = failure else { return None };
    let key = job.key.as_ref().filter(|_| job.action != Action::Create)?;
    let is_gone = jira.is_gone(key).await.unwrap_or(false);
    is_gone.then_some(TicketChange::Gone)
}

/// Its ticket is another job's to make, which may be waiting for Jira itself.
fn unmade(job: &Job, policy: &Policy) -> Outcome {
    let error = "its ticket is not made yet".to_owned();
    if job.attempts + 1 >= policy.max_attempts {
        return give_up(error, Vec::new());
    }
    let due_in = wait(job.attempts, policy);
    Outcome { due_in, is_attempt: true, error, ..Outcome::new(Step::Delay) }
}

/// A fault's later ticket is linked to the one before. It is the same ticket without.
pub async fn link_to_the_one_before(jira: &Jira, job: &Job, key: &str) {
    let Some(before) = job.request["before"].as_str() else { return };
    if let Err(failure) = jira.link(key, before).await {
        tracing::warn!(key, before, %failure, "cannot link the new ticket to the one before");
    }
}

/// What may be done twice, or is looked up first.
async fn act_on(jira: &Jira, job: &Job, key: &str) -> Result<(), Failure> {
    let text = job.request["text"].as_str().unwrap_or_default();
    match job.action {
        Action::Create => Ok(()),
        Action::Edit if job.request["update"].is_object() => jira.update(key, &job.request).await,
        Action::Edit => {
            let (summary, description) = (&job.request["summary"], &job.request["description"]);
            jira.edit(key, summary.as_str(), description.as_str()).await
        }
        Action::Reopen => {
            if jira.reopen(key).await? == Reopened::NoTransition {
                let problem = "its workflow has no way back from done".to_owned();
                return Err(Failure::Rejected {
                    status: 409,
                    problems: vec![(String::new(), problem)],
                });
            }
            comment_once(jira, job, key, text).await
        }
        Action::Comment => comment_once(jira, job, key, text).await,
    }
}

async fn comment_once(jira: &Jira, job: &Job, key: &str, text: &str) -> Result<(), Failure> {
    let marker = format!("fl-job-{}-{}", job.id, &job.locator);
    let may_be_there = job.attempts > 0 || job.unknown_for.is_some();
    if may_be_there && jira.has_comment(key, &marker).await? {
        return Ok(());
    }
    jira.comment(key, text, &marker).await
}

/// Looks for a ticket that may have been made.
async fn look_for(jira: &Jira, job: &Job, policy: &Policy) -> (Outcome, Sign) {
    let waited = job.unknown_for.unwrap_or_default();
    match jira.find(&job.locator).await {
        Ok(found) => match found.first() {
            // The oldest of them: people copy tickets with all their labels.
            Some(Seen { key, id, .. }) => {
                if found.len() > 1 {
                    let keys: Vec<&str> = found.iter().map(|seen| seen.key.as_str()).collect();
                    tracing::error!(?keys, locator = job.locator, "one fault has several tickets");
                }
                link_to_the_one_before(jira, job, key).await;
                (completed(job, key, id.clone(), json!({ "found": key })), Sign::Well)
            }
            None if waited < policy.search_settle => {
                let left = policy.search_settle.saturating_sub(waited);
                let growing = policy.retry_first.saturating_mul(1 << job.searches.min(10));
                let due_in = growing.min(left).max(Duration::from_millis(100));
                let error = "not found yet; a search may lag behind".to_owned();
                let outcome = Outcome { due_in, is_search: true, error, ..lost_track() };
                (outcome, Sign::Well)
            }
            None if job.attempts >= policy.max_attempts => {
                (give_up("it was never made, in all attempts".to_owned(), Vec::new()), Sign::Well)
            }
            None => {
                let error = "it was not made: it is not found".to_owned();
                (Outcome { error, ..Outcome::new(Step::NotThere) }, Sign::Well)
            }
        },
        Err(failure) => {
            let failure = understood(jira, failure).await;
            let due_in = wait(job.searches, policy).max(asked_wait(&failure));
            let error = failure.to_string();
            (Outcome { due_in, is_search: true, error, ..lost_track() }, sign_of(&failure))
        }
    }
}

fn lost_track() -> Outcome {
    Outcome::new(Step::LoseTrack)
}

/// It is done: the ticket is this one. `id` is that of one that was made.
#[must_use]
pub fn completed(job: &Job, key: &str, id: Option<String>, response: Value) -> Outcome {
    let ticket = match job.action {
        Action::Create => Some(TicketChange::Made { key: key.to_owned(), id, is_dry_run: false }),
        Action::Comment => Some(TicketChange::Commented),
        Action::Reopen => Some(TicketChange::Reopened),
        Action::Edit => None,
    };
    let response = if response.is_null() { json!({ "key": key }) } else { response };
    Outcome { ticket, is_attempt: true, response: Some(response), ..Outcome::new(Step::Complete) }
}

/// Nothing was sent: this is what would have been.
#[must_use]
pub fn dry_run(job: &Job, settings: &Settings) -> Outcome {
    let request = match (job.action, draft_of(job)) {
        (Action::Create, Ok(draft)) => create_request(settings, &draft, &job.locator),
        _ => job.request.clone(),
    };
    let ticket = (job.action == Action::Create).then(|| TicketChange::Made {
        key: String::new(),
        id: None,
        is_dry_run: true,
    });
    let response = Some(json!({ "dry-run": request }));
    Outcome { response, ticket, ..Outcome::new(Step::Complete) }
}

fn unreadable(problem: &str) -> Outcome {
    give_up(format!("the request is no ticket: {problem}"), Vec::new())
}

fn give_up(error: String, problems: Vec<(String, String)>) -> Outcome {
    Outcome { error, problems, is_attempt: true, ..Outcome::new(Step::GiveUp) }
}

/// The wait after so many failures.
fn wait(failures: u32, policy: &Policy) -> Duration {
    Backoff::wait_after(policy.retry_first, policy.retry_cap, failures, fastrand::f64())
}

/// What a failure means for a job.
#[must_use]
pub fn failed(job: &Job, failure: &Failure, policy: &Policy) -> (Outcome, Sign) {
    let error = failure.to_string();
    let delayed = |due_in, is_attempt| Outcome {
        due_in,
        is_attempt,
        error: error.clone(),
        ..Outcome::new(Step::Delay)
    };
    let is_last = job.attempts + 1 >= policy.max_attempts;
    let outcome = match failure {
        // Whatever is wrong, it is not this job: that costs no attempt.
        Failure::NotSent(_) | Failure::Unauthorized(_) => {
            delayed(wait(job.attempts, policy), false)
        }
        // Nothing was done, so that costs no attempt either; but people must hear of it some time.
        Failure::Forbidden(_) if job.searches + 1 < policy.max_attempts => {
            refused(job, failure, policy)
        }
        Failure::Limited { after, .. } => {
            // Not all at once when the wait is over.
            delayed(after.mul_f64(1.0 + 0.1 * fastrand::f64()), false)
        }
        Failure::Unknown(_) if job.action == Action::Create => Outcome {
            due_in: policy.retry_first.min(policy.search_settle),
            is_attempt: true,
            error: error.clone(),
            ..lost_track()
        },
        Failure::Unknown(_) | Failure::Conflict(_) if !is_last => {
            delayed(wait(job.attempts, policy), true)
        }
        Failure::Unknown(_)
        | Failure::Conflict(_)
        | Failure::Missing(_)
        | Failure::Forbidden(_) => give_up(error.clone(), Vec::new()),
        Failure::Rejected { problems, .. } => give_up(error.clone(), problems.clone()),
    };
    (outcome, sign_of(failure))
}

/// What it means for each job of a bulk create that it was refused as a whole. Which of them Jira has
/// something against turns out when each is asked for by itself.
#[must_use]
pub fn failed_together(job: &Job, failure: &Failure, policy: &Policy) -> Outcome {
    match failure {
        Failure::Rejected { .. } | Failure::Missing(_) | Failure::Forbidden(_) => {
            refused(job, failure, policy)
        }
        Failure::NotSent(_)
        | Failure::Unknown(_)
        | Failure::Unauthorized(_)
        | Failure::Limited { .. }
        | Failure::Conflict(_) => failed(job, failure, policy).0,
    }
}

/// It is asked for again, by itself.
fn refused(job: &Job, failure: &Failure, policy: &Policy) -> Outcome {
    let (due_in, error) = (wait(job.searches, policy), failure.to_string());
    Outcome { due_in, is_search: true, error, ..Outcome::new(Step::Delay) }
}

/// How long Jira told to wait.
fn asked_wait(failure: &Failure) -> Duration {
    match failure {
        Failure::Limited { after, .. } => *after,
        _ => Duration::ZERO,
    }
}

impl From<Seen> for SeenTicket {
    fn from(seen: Seen) -> Self {
        Self {
            is_done: seen.category == Category::Done,
            id: seen.id,
            key: seen.key,
            labels: seen.labels,
            status: seen.status,
            resolution: seen.resolution.unwrap_or_default(),
            resolved_at: seen.resolved,
            changed_at: seen.updated,
        }
    }
}

/// What a failure says of Jira.
#[must_use]
pub fn sign_of(failure: &Failure) -> Sign {
    match failure {
        Failure::NotSent(words) | Failure::Unknown(words) => Sign::Ill(words.clone()),
        Failure::Unauthorized(words) => Sign::Shut(words.clone()),
        Failure::Limited { .. } => Sign::None,
        Failure::Rejected { .. }
        | Failure::Missing(_)
        | Failure::Conflict(_)
        | Failure::Forbidden(_) => Sign::Well,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(action: Action) -> Job {
        Job {
            id: 2,
            fault: 1,
            incident: 1,
            action,
            mark: String::new(),
            attempts: 0,
            searches: 0,
            unknown_for: None,
            request: json!({}),
            locator: String::new(),
            key: None,
        }
    }

    #[test]
    fn what_is_forbidden_is_tried_again_but_not_for_ever() {
        let policy = Settings::default().policy();
        let mut job = job(Action::Create);
        let forbidden = Failure::Forbidden("no".to_owned());
        for searches in 0..policy.max_attempts - 1 {
            job.searches = searches;
            let (outcome, sign) = failed(&job, &forbidden, &policy);
            assert_eq!((outcome.step, sign), (Step::Delay, Sign::Well));
            assert!(outcome.is_search && !outcome.is_attempt, "{outcome:?}");
        }
        job.searches = policy.max_attempts - 1;
        let (outcome, sign) = failed(&job, &forbidden, &policy);
        assert_eq!((outcome.step, sign), (Step::GiveUp, Sign::Well));
        assert_eq!(outcome.error, "not allowed: no");
    }

    #[test]
    fn who_was_refused_with_others_is_asked_for_alone() {
        let policy = Settings::default().policy();
        let mut job = job(Action::Create);
        assert!(is_fresh(&job));
        for failure in [
            Failure::Forbidden(String::new()),
            Failure::Missing(String::new()),
            Failure::Rejected { status: 413, problems: Vec::new() },
        ] {
            let outcome = failed_together(&job, &failure, &policy);
            assert_eq!((outcome.step, outcome.is_attempt), (Step::Delay, false), "{failure:?}");
            assert!(outcome.is_search, "{failure:?}");
        }
        // Where nobody is let in, or nothing is known, one is as good as many.
        let unauthorized = Failure::Unauthorized(String::new());
        assert!(!failed_together(&job, &unauthorized, &policy).is_search);
        let unknown = Failure::Unknown(String::new());
        assert_eq!(failed_together(&job, &unknown, &policy).step, Step::LoseTrack);
        job.searches = 1;
        assert!(!is_fresh(&job));
    }

    #[test]
    fn a_comment_waits_for_its_ticket_but_not_for_ever() {
        let policy = Settings::default().policy();
        let mut job = job(Action::Comment);
        let outcome = unmade(&job, &policy);
        assert_eq!((outcome.step, outcome.is_attempt), (Step::Delay, true));
        assert!(outcome.due_in > Duration::ZERO, "{outcome:?}");
        job.attempts = policy.max_attempts - 1;
        assert_eq!(unmade(&job, &policy).step, Step::GiveUp);
    }
}
