//! Jira: tickets made, commented, opened again, found.
//!
//! ```text
//!  Draft ──create──▶ throttle ──▶ pace ──▶ one request ──▶ Created, or a Failure
//!                    (Jira said   (so many               (done? not done? perhaps?)
//!                     wait)        a second)
//! ```
//!
//! A [`Jira`] sends each request once. It never repeats one, for Jira has no key that would make a
//! second one harmless: [`Failure`] says whether the first may have been done, and [`Jira::find`]
//! and [`Jira::has_comment`] tell later whether it was. When Jira says 429, requests of that scope
//! fail at once, unsent, until the wait is over.
//!
//! Cloud (REST API version 3) and Data Center (version 2, from 8.4 on) are both spoken.

use std::{sync::Arc, time::Duration};

use reqwest::Method;
use serde_json::{Value, json};

use crate::domain::{calls::Calls, ticket::Draft, time::Micros};

pub mod attempt;
mod failure;
mod limit;
mod pace;
mod preflight;
mod search;
mod send;
mod settings;
mod text;
mod throttle;
mod wire;

use send::{Call, Sender};
pub use {
    failure::{Failure, Limit},
    settings::{Api, ApiSetting, Settings},
    throttle::{Endpoint, Throttle},
    wire::{
        COMMON_LABEL, Category, Created, News, Seen, adopt_request, create_request, news_of_webhook,
    },
};

/// The most tickets of one bulk create ("Bulk create issue": up to 50).
pub const MAX_BULK: usize = 50;
/// Comments asked for at once: the longest of them must fit in one answer.
const COMMENTS: usize = 20;
/// Pages of comments looked through at most.
const COMMENT_PAGES: usize = 25;
/// Transitions tried at most: one may want fields that only people can fill in.
const TRANSITIONS: usize = 3;

/// See the [module](self).
#[derive(Debug)]
pub struct Jira {
    settings: Settings,
    sender: Sender,
}

/// What [`Jira::reopen`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reopened {
    /// It is open now, in this status.
    To { status: String, category: Category },
    /// It was open, in this status.
    Already { status: String },
    /// Its workflow has no way back that this account may take.
    NoTransition,
}

impl Jira {
    /// # Errors
    /// When the settings name no Jira that could be reached.
    pub fn new(settings: &Settings) -> Result<Self, String> {
        Ok(Self { settings: settings.clone(), sender: Sender::new(settings)? })
    }

    /// The same, its calls counted there.
    #[must_use]
    pub fn counted(mut self, calls: Arc<Calls>) -> Self {
        self.sender.count_in(calls);
        self
    }

    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    #[must_use]
    pub fn api(&self) -> Api {
        self.settings.api()
    }

    /// The rates of the settings are for all hubs together: this one takes its part.
    pub fn set_hubs(&self, hubs: u32) {
        self.sender.set_hubs(hubs);
    }

    /// Requests go out so fast from now on; see [`Settings::rate_per_second`].
    pub fn set_rates(&self, per_second: u32, per_hour: u32) {
        self.sender.set_rates(per_second, per_hour);
    }

    /// Where people see a ticket.
    #[must_use]
    pub fn browse_url(&self, key: &str) -> String {
        format!("{}/browse/{key}", self.settings.url.trim_end_matches('/'))
    }

    /// Until when a request would fail unsent because Jira told to wait; `None` when it would be
    /// sent.
    #[must_use]
    pub fn wait_until(
        &self,
        endpoint: Endpoint,
        ticket: Option<&str>,
        now: Micros,
    ) -> Option<Micros> {
        let wait = self.sender.throttle(|throttle| throttle.wait_until(endpoint, ticket, now));
        wait.map(|(until, _)| until)
    }

    /// Whether Jira has told to leave it alone altogether.
    #[must_use]
    pub fn is_limited(&self, now: Micros) -> bool {
        self.sender.throttle(|throttle| throttle.everything_until(now)).is_some()
    }

    /// What [`Jira::create`] sends.
    #[must_use]
    pub fn create_request(&self, draft: &Draft, locator: &str) -> Value {
        create_request(&self.settings, draft, locator)
    }

    /// Makes a ticket.
    ///
    /// # Errors
    /// After [`Failure::Unknown`] there may be a ticket: [`Jira::find`] tells, some seconds later.
    pub async fn create(&self, draft: &Draft, locator: &str) -> Result<Created, Failure> {
        let body = self.create_request(draft, locator);
        self.sender.send(Call::post(Endpoint::Create, &["issue"], body)).await?.read()
    }

    /// Makes up to [`MAX_BULK`] tickets; each has an outcome of its own, in the drafts' order.
    ///
    /// # Errors
    /// When nothing is known of any of them by itself.
    pub async fn create_bulk(
        &self,
        drafts: &[(Draft, String)],
    ) -> Result<Vec<Result<Created, Failure>>, Failure> {
        if drafts.is_empty() {
            return Ok(Vec::new());
        }
        if drafts.len() > MAX_BULK {
            return Err(Failure::NotSent(format!("more than {MAX_BULK} tickets at once")));
        }
        let body = wire::bulk_request(&self.settings, drafts);
        let call = Call::post(Endpoint::CreateBulk, &["issue", "bulk"], body);
        // 400 is said when all of them are refused, with a reason for each.
        let is_answer = |status: &reqwest::StatusCode| status.is_success() || *status == 400;
        let answer = self.sender.send_expecting(call, is_answer).await?;
        let outcomes: wire::CreatedAll = answer.read()?;
        self::outcomes(outcomes, drafts.len()).ok_or_else(|| {
            let status = answer.status.as_u16();
            if answer.status.is_success() {
                return Failure::Unknown(format!("Jira's answer ({status}) does not add up"));
            }
            let problem = "Jira refuses the request, but no ticket of it by itself".to_owned();
            Failure::Rejected { status, problems: vec![(String::new(), problem)] }
        })
    }

    /// Adds a comment that ends in `marker`, by which [`Jira::has_comment`] knows it again.
    ///
    /// # Errors
    /// After [`Failure::Unknown`] it may be there.
    pub async fn comment(&self, key: &str, text: &str, marker: &str) -> Result<(), Failure> {
        let body = wire::comment_request(self.api(), text, marker);
        let path = ["issue", key, "comment"];
        let call = Call::post(Endpoint::Comment, &path, body).about(key);
        self.sender.send(call).await.map(drop)
    }

    /// Whether a comment with `marker` is there; the newest are looked at first.
    ///
    /// # Errors
    /// Also where there are too many comments to look through.
    pub async fn has_comment(&self, key: &str, marker: &str) -> Result<bool, Failure> {
        let marker = text::as_written(self.api(), marker);
        let path = ["issue", key, "comment"];
        let mut seen = 0;
        for _ in 0..COMMENT_PAGES {
            let call = Call::get(Endpoint::Comments, &path)
                .about(key)
                .with("orderBy", "-created")
                .with("startAt", seen)
                .with("maxResults", COMMENTS);
            let page: wire::Comments = self.sender.send(call).await?.read()?;
            if page.comments.iter().any(|comment| text::plain(&comment.body).contains(&marker)) {
                return Ok(true);
            }
            seen += page.comments.len();
            let is_last = page.total.map_or(page.comments.len() < COMMENTS, |total| seen >= total);
            if page.comments.is_empty() || is_last {
                return Ok(false);
            }
        }
        Err(Failure::Unknown(format!(
            "{key} has more than {seen} comments, the marker may be in one"
        )))
    }

    /// Changes what is given.
    ///
    /// # Errors
    /// After [`Failure::Unknown`] it may be changed; doing it again does no harm.
    pub async fn edit(
        &self,
        key: &str,
        summary: Option<&str>,
        description: Option<&str>,
    ) -> Result<(), Failure> {
        self.update(key, &wire::edit_request(self.api(), summary, description)).await
    }

    /// Changes a ticket as `body` says, in Jira's own words.
    ///
    /// # Errors
    /// After [`Failure::Unknown`] it may be changed; doing it again must do no harm.
    pub async fn update(&self, key: &str, body: &Value) -> Result<(), Failure> {
        let path = ["issue", key];
        let call = Call::post(Endpoint::Edit, &path, body.clone());
        let call = Call { method: Method::PUT, ..call };
        self.sender.send(call.about(key)).await.map(drop)
    }

    /// The ticket; `None` where there is none, or none that this account may see.
    ///
    /// # Errors
    /// When Jira does not say.
    pub async fn ticket(&self, key: &str) -> Result<Option<Seen>, Failure> {
        let path = ["issue", key];
        let call = Call::get(Endpoint::Ticket, &path).about(key);
        match self.sender.send(call.with("fields", wire::SEEN_FIELDS.join(","))).await {
            Ok(answer) => answer.read::<wire::Ticket>().map(|ticket| Some(ticket.into())),
            Err(Failure::Missing(_)) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Whether there is no such ticket, or none that this account may see, and it is Jira that says
    /// so: it knows the account. Another server at its address has no tickets either.
    ///
    /// # Errors
    /// When Jira does not say.
    pub async fn is_gone(&self, key: &str) -> Result<bool, Failure> {
        if self.ticket(key).await?.is_some() {
            return Ok(false);
        }
        self.myself().await.map(|_| true)
    }

    /// Opens a ticket again: by a transition into a status of category "new" (To Do), else
    /// "indeterminate" (In Progress). Names differ by language and workflow, categories do not.
    ///
    /// # Errors
    /// After [`Failure::Unknown`] it may be open; doing it again does no harm.
    pub async fn reopen(&self, key: &str) -> Result<Reopened, Failure> {
        let Some(seen) = self.ticket(key).await? else {
            return Err(Failure::Missing(format!("there is no ticket {key}")));
        };
        if seen.category != Category::Done {
            return Ok(Reopened::Already { status: seen.status });
        }
        let path = ["issue", key, "transitions"];
        let call = Call::get(Endpoint::Transitions, &path).about(key);
        let mut ways = self.sender.send(call).await?.read::<wire::Transitions>()?.transitions;
        ways.retain(|way| way.to.category() != Category::Done);
        ways.sort_by_key(|way| (way.to.category(), way.has_screen));
        let mut refused = None;
        for way in ways.into_iter().take(TRANSITIONS) {
            let body = json!({"transition": {"id": way.id}});
            let call = Call::post(Endpoint::Transition, &path, body).about(key);
            match self.sender.send(call).await {
                Ok(_) => {
                    let category = way.to.category();
                    return Ok(Reopened::To { status: way.to.name, category });
                }
                Err(failure @ Failure::Rejected { .. }) => {
                    refused.get_or_insert(failure);
                }
                Err(failure) => return Err(failure),
            }
        }
        refused.map_or(Ok(Reopened::NoTransition), Err)
    }

    /// Links two tickets as related.
    ///
    /// # Errors
    /// [`Failure::Missing`] also where this Jira has no links of type "Relates".
    pub async fn link(&self, from: &str, to: &str) -> Result<(), Failure> {
        let body = wire::link_request(from, to);
        let call = Call::post(Endpoint::Link, &["issueLink"], body).about(from);
        self.sender.send(call).await.map(drop)
    }

    /// Whose credentials these are.
    ///
    /// # Errors
    /// [`Failure::Unauthorized`] where they are nobody's.
    pub async fn myself(&self) -> Result<String, Failure> {
        let call = Call::get(Endpoint::Myself, &["myself"]);
        self.sender.send(call).await?.read::<wire::Myself>().map(|myself| myself.display_name)
    }

    /// All tickets about the fault that `locator` stands for, oldest first. Jira's search lags
    /// behind by seconds, rarely by minutes: what is not found may still be there.
    ///
    /// # Errors
    /// When Jira does not say.
    pub async fn find(&self, locator: &str) -> Result<Vec<Seen>, Failure> {
        search::find(&self.sender, &self.settings, locator).await
    }

    /// The tickets with a label that changed within this last time (Jira counts whole minutes), the
    /// least recent first.
    ///
    /// # Errors
    /// When Jira does not say.
    pub async fn changed(&self, within: Duration, label: &str) -> Result<Vec<Seen>, Failure> {
        search::changed(&self.sender, &self.settings, within, label).await
    }

    /// What would keep such tickets from being made, as far as Jira's metadata tells. An empty
    /// `project` or `issue_type` is that of the settings.
    ///
    /// # Errors
    /// When Jira does not say.
    pub async fn preflight(
        &self,
        project: &str,
        issue_type: &str,
        draft: &Draft,
    ) -> Result<Vec<String>, Failure> {
        preflight::problems(&self.sender, &self.settings, project, issue_type, draft).await
    }
}

/// Whose outcome is which: errors name their element, the tickets made stand in the order of the
/// others. `None` when that does not add up.
fn outcomes(all: wire::CreatedAll, count: usize) -> Option<Vec<Result<Created, Failure>>> {
    let mut outcomes: Vec<Option<Result<Created, Failure>>> = Vec::new();
    outcomes.resize_with(count, || None);
    for error in &all.errors {
        let number = usize::try_from(error["failedElementNumber"].as_u64()?).ok()?;
        *outcomes.get_mut(number)? = Some(Err(failure::of_element(error)));
    }
    let mut made = all.issues.into_iter();
    for outcome in outcomes.iter_mut().filter(|outcome| outcome.is_none()) {
        *outcome = Some(Ok(made.next()?));
    }
    if made.next().is_some() {
        return None;
    }
    outcomes.into_iter().collect()
}
