//! Tickets that people want: made now, or linked, whatever the rules say.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Path, State, rejection::JsonRejection},
    http::StatusCode,
};
use faultline_actors::{
    adapters::{
        clock,
        jira::{Failure, adopt_request},
        store::{
            faults::{ByHand, Link, NewFault, SteerError},
            jobs::{SeenTicket, Undecided, Which},
        },
    },
    domain::{
        decision::{self, HasTicket},
        event::{Kind, Severity as Badness},
        fault::FaultId,
        ticket::Draft,
    },
    jira_dispatch::{draft_by_hand, new_locator},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::{
    super::{Admin, access::Who, away, number_of, unreadable},
    no_fault,
    shown::{Severity, Ticket},
    steer::not_steered,
};
use crate::problem::Problem;

/// A tracker that has not answered by then does not say whether there is a ticket.
const LOOK: Duration = Duration::from_secs(10);

/// What the ticket has instead of what the rules say.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(as = TicketOverrides)]
pub(in crate::admin) struct Overrides {
    /// The project's key.
    project: Option<String>,
    /// By name.
    issue_type: Option<String>,
    #[schema(max_length = 255)]
    summary: Option<String>,
    #[schema(max_length = 30000)]
    description: Option<String>,
    /// By name.
    priority: Option<String>,
}

impl Overrides {
    fn apply(self, draft: &mut Draft) -> Result<(), Problem> {
        for (pointer, value, place) in [
            ("/project", self.project, &mut draft.project),
            ("/issue_type", self.issue_type, &mut draft.issue_type),
        ] {
            if let Some(value) = value {
                *place = line(pointer, value, 255)?;
            }
        }
        if let Some(summary) = self.summary {
            draft.summary = line("/summary", summary, 255)?;
        }
        if let Some(priority) = self.priority {
            draft.priority = Some(line("/priority", priority, 255)?);
        }
        if let Some(description) = self.description {
            draft.description = text("/description", description)?;
        }
        Ok(())
    }
}

/// One line that says something, of at most so many characters.
fn line(pointer: &str, value: String, longest: usize) -> Result<String, Problem> {
    let is_fine = !value.trim().is_empty()
        && value.chars().count() <= longest
        && !value.contains(char::is_control);
    if is_fine {
        return Ok(value);
    }
    let detail = format!("one line of 1 to {longest} characters is needed");
    Err(Problem::new(StatusCode::BAD_REQUEST, detail).at(pointer.to_owned()))
}

fn text(pointer: &str, value: String) -> Result<String, Problem> {
    const LONGEST: usize = 30_000;
    if value.chars().count() <= LONGEST && !value.contains('\0') {
        return Ok(value);
    }
    let detail = format!("at most {LONGEST} characters of text without NUL are possible");
    Err(Problem::new(StatusCode::BAD_REQUEST, detail).at(pointer.to_owned()))
}

/// The job that makes the ticket.
#[derive(Serialize, ToSchema)]
#[schema(as = TicketWanted)]
pub(in crate::admin) struct Wanted {
    job: i64,
}

/// `POST /api/faults/{id}/ticket`: makes a ticket whatever the rules say, unless there is one that
/// is not done, in the tracker too. What is not given is as the rules say.
#[utoipa::path(post, path = "/api/faults/{id}/ticket", tag = "faults", params(("id" = i64, Path)),
    request_body = Option<Overrides>, responses((status = 202, body = Wanted), Problem))]
pub(in crate::admin) async fn create(
    State(admin): State<Arc<Admin>>,
    who: Who,
    Path(id): Path<String>,
    body: Result<Option<Json<Overrides>>, JsonRejection>,
) -> Result<(StatusCode, Json<Wanted>), Problem> {
    let fault = number_of("fault", &id)?;
    let overrides = body.map_err(unreadable)?.map_or_else(Overrides::default, |Json(body)| body);
    let known = admin.store.undecided(Which::Known(fault), 1).await.map_err(away)?.pop();
    let jira = admin.pipeline.jira();
    let mut draft = draft_by_hand(&jira.rules.get(), &known.ok_or_else(|| no_fault(fault))?);
    overrides.apply(&mut draft)?;
    let wanted = by_hand(&who, &draft);
    let tracker = jira.tracker();
    let mut made = admin.store.make_ticket(fault, &wanted, &tracker).await;
    if is_out_of_the_way(&admin, made.as_ref().err()).await? {
        made = admin.store.make_ticket(fault, &wanted, &tracker).await;
    }
    let job = made.map_err(not_steered)?;
    tracing::info!(fault, job, who = who.name(), "somebody wants a ticket");
    Ok((StatusCode::ACCEPTED, Json(Wanted { job })))
}

/// Whether the ticket for which another one was refused is not there any more. The store knows that
/// then, too.
async fn is_out_of_the_way(admin: &Admin, refused: Option<&SteerError>) -> Result<bool, Problem> {
    let Some(SteerError::HasTicket(HasTicket::Open(key))) = refused else { return Ok(false) };
    let Some(client) = &admin.pipeline.jira().client else { return Ok(false) };
    let answer = tokio::time::timeout(LOOK, client.is_gone(key)).await;
    // A tracker that does not say leaves it as it is known.
    if !matches!(answer, Ok(Ok(true))) {
        return Ok(false);
    }
    admin.store.ticket_gone(key).await.map_err(away)?;
    Ok(true)
}

fn by_hand(who: &Who, draft: &Draft) -> ByHand {
    ByHand { who: who.name().to_owned(), request: json!(draft), locator: new_locator() }
}

/// A ticket by hand.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct NewTicket {
    #[schema(max_length = 255)]
    environment: String,
    #[schema(max_length = 255)]
    service: String,
    /// One line; the ticket's summary.
    #[schema(max_length = 255)]
    title: String,
    #[serde(default)]
    #[schema(max_length = 30000)]
    description: String,
    severity: Option<Severity>,
    project: Option<String>,
    issue_type: Option<String>,
    priority: Option<String>,
}

/// The fault that was made, and the job that makes its ticket.
#[derive(Serialize, ToSchema)]
#[schema(as = TicketMade)]
pub(in crate::admin) struct Made {
    fault: FaultId,
    job: i64,
}

/// `POST /api/tickets`: a ticket by hand. It is one of a fault of its own, to which nothing that
/// happens is counted. Project, labels and the like are as the rules say for such a fault.
#[utoipa::path(post, path = "/api/tickets", tag = "faults", request_body = NewTicket,
    responses((status = 202, body = Made), Problem))]
pub(in crate::admin) async fn tell(
    State(admin): State<Arc<Admin>>,
    who: Who,
    body: Result<Json<NewTicket>, JsonRejection>,
) -> Result<(StatusCode, Json<Made>), Problem> {
    let Json(new) = body.map_err(unreadable)?;
    let fault = NewFault {
        environment: line("/environment", new.environment, 255)?,
        service: line("/service", new.service, 255)?,
        severity: new.severity.map_or(Badness::Error, Into::into),
        title: line("/title", new.title, 255)?,
        description: text("/description", new.description)?,
    };
    let mut draft = draft_by_hand(&admin.pipeline.jira().rules.get(), &as_met(&fault));
    draft.summary.clone_from(&fault.title);
    draft.description.clone_from(&fault.description);
    let (project, issue_type, priority) = (new.project, new.issue_type, new.priority);
    Overrides { project, issue_type, priority, ..Overrides::default() }.apply(&mut draft)?;
    let made = admin.store.make_fault(&fault, &by_hand(&who, &draft)).await;
    let (fault, job) = made.map_err(away)?;
    tracing::info!(fault, job, who = who.name(), "somebody tells of a fault");
    Ok((StatusCode::ACCEPTED, Json(Made { fault, job })))
}

/// The fault as rules see it.
fn as_met(new: &NewFault) -> Undecided {
    let now = clock::now();
    Undecided {
        fault: decision::Undecided {
            fault: 0,
            count: 1,
            last_seen: now,
            ticket: None,
            incident: 0,
            resolved_at: None,
            mute: None,
        },
        environment: new.environment.clone(),
        service: new.service.clone(),
        kind: Kind::Log,
        severity: new.severity,
        fingerprint: String::new(),
        title: new.title.clone(),
        example: new.description.clone(),
        latest: new.description.clone(),
        first_seen: now,
        rule: String::new(),
        is_held: false,
        steered: 0,
    }
}

/// Which ticket.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TicketKey)]
pub(in crate::admin) struct Key {
    /// `OPS-7`
    key: String,
}

/// The ticket that a fault has from now on.
#[derive(Serialize, ToSchema)]
#[schema(as = TicketLinked)]
pub(in crate::admin) struct Linked {
    ticket: Ticket,
}

/// `POST /api/faults/{id}/link`: an existing ticket becomes the fault's. In the tracker it gets the
/// labels by which Faultline knows its tickets; all else of it stays as it is.
#[utoipa::path(post, path = "/api/faults/{id}/link", tag = "faults", params(("id" = i64, Path)),
    request_body = Key, responses((status = 200, body = Linked), Problem))]
pub(in crate::admin) async fn link(
    State(admin): State<Arc<Admin>>,
    who: Who,
    Path(id): Path<String>,
    body: Result<Json<Key>, JsonRejection>,
) -> Result<Json<Linked>, Problem> {
    let (fault, Json(Key { key })) = (number_of("fault", &id)?, body.map_err(unreadable)?);
    let key = key.trim().to_ascii_uppercase();
    if !is_key(&key) {
        let problem = Problem::new(StatusCode::BAD_REQUEST, "a ticket's key (OPS-7) is needed");
        return Err(problem.at("/key".to_owned()));
    }
    let seen = look_at(&admin, &key).await?;
    let jira = admin.pipeline.jira();
    let locator = new_locator();
    let request = jira.client.as_ref().map_or_else(
        || json!({ "update": {} }),
        |client| adopt_request(client.settings(), &locator),
    );
    // A ticket that was moved answers to its old key.
    let key = seen.as_ref().map_or(key, |seen| seen.key.clone());
    let link = Link { who: who.name().to_owned(), key, seen, locator, request };
    let tracker = jira.tracker();
    let mut linked = admin.store.link_ticket(fault, &link, &tracker).await;
    if is_out_of_the_way(&admin, linked.as_ref().err()).await? {
        linked = admin.store.link_ticket(fault, &link, &tracker).await;
    }
    linked.map_err(not_steered)?;
    tracing::info!(fault, key = link.key, who = who.name(), "somebody links a ticket");
    let ticket = admin.store.tickets(fault).await.map_err(away)?.into_iter().next();
    let ticket = Ticket::new(&admin, ticket.ok_or_else(|| no_fault(fault))?);
    Ok(Json(Linked { ticket }))
}

/// `PROJECT-NUMBER`, as Jira has keys.
fn is_key(key: &str) -> bool {
    const LONGEST: usize = 100;
    let Some((project, number)) = key.rsplit_once('-') else { return false };
    let is_of_project = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    key.len() <= LONGEST
        && project.starts_with(|first: char| first.is_ascii_alphabetic())
        && project.bytes().all(is_of_project)
        && !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// How the ticket stands; `None` where there is no tracker, or it does not say.
async fn look_at(admin: &Admin, key: &str) -> Result<Option<SeenTicket>, Problem> {
    let Some(client) = &admin.pipeline.jira().client else { return Ok(None) };
    let late = || Failure::NotSent(format!("no answer within {LOOK:?}"));
    let answer = tokio::time::timeout(LOOK, client.ticket(key)).await;
    match answer.unwrap_or_else(|_| Err(late())) {
        Ok(Some(seen)) => Ok(Some(seen.into())),
        Ok(None) => {
            let detail = format!("Jira has no ticket {key} that this account may see");
            Err(Problem::new(StatusCode::NOT_FOUND, detail))
        }
        Err(failure) => {
            tracing::warn!(key, %failure, "a ticket is linked that Jira could not be asked about");
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_key_looks_like() {
        for key in ["OPS-7", "A1_B-12345"] {
            assert!(is_key(key), "{key}");
        }
        for key in ["", "OPS", "OPS-", "-7", "7-7", "OPS-7/..", "OPS-7 ", "O PS-7", "../OPS-7"] {
            assert!(!is_key(key), "{key}");
        }
    }
}
