//! `/api/rejected`: what no parser understood, to be looked at and, after a fix, replayed.
//!
//! A replayed message is durable in the spool before it is marked. Its record says which one it is,
//! and whoever stores it keeps that in the same transaction: one that was not marked any more,
//! because the process died in between, is not stored twice, whichever hub replays it again.

use std::{fmt::Write as _, sync::Arc, time::Duration};

use axum::{
    Json,
    body::Body,
    extract::{Path, State, rejection::JsonRejection},
    http::StatusCode,
    response::Response,
};
use bytes::Bytes;
use faultline_actors::{
    adapters::{
        clock,
        journal::Journal,
        store::{
            StoredRejected,
            records::{RejectedFilter, Replay},
        },
    },
    domain::{
        error_report,
        event::Source,
        parse::count_messages,
        record::{Meta, NewRecord, RecordId, RejectedId},
    },
};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use utoipa::{IntoParams, ToSchema};

use super::{
    Admin, Asked, Page,
    access::Who,
    asked, away,
    export::attachment,
    number_of,
    page::{before, cut, moment, text, word},
    unreadable,
};
use crate::problem::Problem;

/// As much of a message is shown as text, and as hexadecimal digits.
const TEXT_SHOWN: usize = 64 << 10;
const HEX_SHOWN: usize = 4 << 10;
/// Messages that one request replays at most, and those on their way into the spool at one time:
/// they share its commits.
const MOST: usize = 10_000;
const AT_ONCE: usize = 32;
/// Nobody else replays a message meanwhile.
const CLAIM: Duration = Duration::from_mins(1);
/// The spool may take so long for one.
const PATIENCE: Duration = Duration::from_secs(10);

fn source_of(name: Option<&str>) -> Result<Option<Source>, Problem> {
    word("source", name, Source::from_name, &Source::ALL.map(Source::name))
}

/// Which messages.
#[derive(Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct List {
    /// `logdrains`, `errors`, `maxwell` or `bucket`.
    source: Option<String>,
    /// The whole reason, word for word.
    #[serde(deserialize_with = "text")]
    reason: Option<String>,
    /// `yes` or `no`.
    replayed: Option<String>,
    /// Received then or later (RFC 3339) …
    since: Option<String>,
    /// … and before.
    until: Option<String>,
    /// How many at most: 1 to 1000.
    #[param(minimum = 1, maximum = 1000, default = 50)]
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct RejectedList {
    rejected: Vec<StoredRejected>,
    /// The `cursor` of the next page.
    next: Option<String>,
}

/// The newest rejected messages, with the reason.
#[utoipa::path(get, path = "/api/rejected", tag = "rejected", params(List),
    responses((status = 200, body = RejectedList), Problem))]
pub(super) async fn list(
    State(admin): State<Arc<Admin>>,
    query: Asked<List>,
) -> Result<Json<RejectedList>, Problem> {
    let list = asked(query)?;
    let limit = Page::check_limit(list.limit.unwrap_or_else(Page::default_limit))?;
    let yes = |text: &str| (text == "yes").then_some(true).or((text == "no").then_some(false));
    let filter = RejectedFilter {
        ids: None,
        source: source_of(list.source.as_deref())?,
        reason: list.reason,
        is_replayed: word("replayed", list.replayed.as_deref(), yes, &["yes", "no"])?,
        since: moment("since", list.since.as_deref())?,
        until: moment("until", list.until.as_deref())?,
        before: before(list.cursor.as_deref())?,
    };
    let rows = admin.store.list_rejected(&filter, limit + 1).await.map_err(away)?;
    let (rejected, next) = cut(rows, limit, |one| one.id);
    Ok(Json(RejectedList { rejected, next }))
}

#[derive(Serialize, ToSchema)]
pub(super) struct RejectedShown {
    #[serde(flatten)]
    message: StoredRejected,
    /// The first 64 KiB, as text where they are.
    text: String,
    /// The first 4 KiB, in hexadecimal digits.
    hex: String,
}

/// One message.
#[utoipa::path(get, path = "/api/rejected/{id}", tag = "rejected", params(("id" = i64, Path)),
    responses((status = 200, body = RejectedShown), Problem))]
pub(super) async fn one(
    State(admin): State<Arc<Admin>>,
    Path(id): Path<String>,
) -> Result<Json<RejectedShown>, Problem> {
    let message = message_of(&admin, number_of("rejected message", &id)?).await?;
    let start = |most: usize| &message.bytes[..message.bytes.len().min(most)];
    let text = String::from_utf8_lossy(start(TEXT_SHOWN)).into_owned();
    let mut hex = String::with_capacity(2 * HEX_SHOWN);
    for byte in start(HEX_SHOWN) {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    Ok(Json(RejectedShown { message, text, hex }))
}

/// All bytes that are kept of one, as a file.
#[utoipa::path(get, path = "/api/rejected/{id}/bytes", tag = "rejected",
    params(("id" = i64, Path)),
    responses((status = 200, description = "an attachment", body = Vec<u8>,
        content_type = "application/octet-stream"), Problem))]
pub(super) async fn bytes(
    State(admin): State<Arc<Admin>>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let message = message_of(&admin, number_of("rejected message", &id)?).await?;
    let name = format!("attachment; filename=\"rejected-{}.bin\"", message.id);
    Ok(attachment("application/octet-stream", &name, Body::from(message.bytes)))
}

async fn message_of(admin: &Admin, id: i64) -> Result<StoredRejected, Problem> {
    let message = admin.store.one_rejected(id).await.map_err(away)?;
    message.ok_or_else(|| missing(id))
}

fn missing(id: i64) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("there is no rejected message {id}"))
}

fn not_now(detail: String) -> Problem {
    Problem::new(StatusCode::CONFLICT, detail)
}

#[derive(Serialize, ToSchema)]
pub(super) struct RejectedReplayed {
    replayed: usize,
}

/// Takes a message in again, as if it came now. Once only; what is rejected again is a new one.
#[utoipa::path(post, path = "/api/rejected/{id}/replay", tag = "rejected",
    params(("id" = i64, Path)), responses((status = 200, body = RejectedReplayed), Problem))]
pub(super) async fn replay_one(
    State(admin): State<Arc<Admin>>,
    who: Who,
    Path(id): Path<String>,
) -> Result<Json<RejectedReplayed>, Problem> {
    replay(&admin, number_of("rejected message", &id)?, &who).await?;
    Ok(Json(RejectedReplayed { replayed: 1 }))
}

/// Messages to be replayed: by number, or by source and reason.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RejectedChosen {
    ids: Option<Vec<i64>>,
    source: Option<String>,
    #[serde(deserialize_with = "text")]
    reason: Option<String>,
    /// Only say how many can be replayed.
    preview: bool,
}

/// What became of a filter: how many were replayed, or could be where that alone was asked for.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum RejectedOutcome {
    Done {
        replayed: usize,
        /// Those that cannot be: cut, empty, of a bucket, or not understood now either.
        skipped: usize,
        /// There are more than one request replays: ask again.
        more: bool,
    },
    Preview {
        count: u64,
    },
}

/// Takes in all messages of a filter again that were not replayed yet; with `"preview": true` only
/// says how many.
#[utoipa::path(post, path = "/api/rejected/replay", tag = "rejected", request_body = RejectedChosen,
    responses((status = 200, body = RejectedOutcome), Problem))]
pub(super) async fn replay_all(
    State(admin): State<Arc<Admin>>,
    who: Who,
    body: Result<Json<RejectedChosen>, JsonRejection>,
) -> Result<Json<RejectedOutcome>, Problem> {
    let Json(RejectedChosen { ids, source, reason, preview }) = body.map_err(unreadable)?;
    let source = source_of(source.as_deref())?;
    if ids.is_none() && source.is_none() && reason.is_none() {
        let detail = "a filter is needed: ids, source or reason";
        return Err(Problem::new(StatusCode::BAD_REQUEST, detail));
    }
    let filter =
        RejectedFilter { ids, source, reason, is_replayed: Some(false), ..Default::default() };
    if preview {
        let count = admin.store.count_replayable(&filter).await.map_err(away)?;
        return Ok(Json(RejectedOutcome::Preview { count }));
    }
    replay_filter(&admin, filter, &who).await.map(Json)
}

/// From the newest to the oldest: those that are rejected again meanwhile are newer.
async fn replay_filter(
    admin: &Arc<Admin>,
    mut filter: RejectedFilter,
    who: &Who,
) -> Result<RejectedOutcome, Problem> {
    const PAGE: u32 = 500;
    let (mut seen, mut replayed) = (0, 0);
    loop {
        let page = admin.store.list_rejected(&filter, PAGE).await.map_err(away)?;
        filter.before = page.last().map(|message| message.id);
        let mut under_way = JoinSet::new();
        let count = page.len();
        for message in page {
            if under_way.len() >= AT_ONCE {
                replayed += usize::from(joined(under_way.join_next().await)?);
            }
            let (admin, who) = (admin.clone(), who.clone());
            under_way.spawn(async move { replay(&admin, message.id, &who).await });
        }
        while let Some(outcome) = under_way.join_next().await {
            replayed += usize::from(joined(Some(outcome))?);
        }
        seen += count;
        if count < PAGE as usize || seen >= MOST {
            let more = count == PAGE as usize;
            return Ok(RejectedOutcome::Done { replayed, skipped: seen - replayed, more });
        }
    }
}

/// Whether it was replayed; what is wrong with the store or the spool ends it all.
fn joined(
    outcome: Option<Result<Result<(), Problem>, tokio::task::JoinError>>,
) -> Result<bool, Problem> {
    match outcome {
        Some(Ok(Ok(()))) => Ok(true),
        Some(Ok(Err(problem))) if problem.status() == StatusCode::SERVICE_UNAVAILABLE => {
            Err(problem)
        }
        _ => Ok(false),
    }
}

/// Has the spool take a message, then marks it.
async fn replay(admin: &Admin, id: i64, who: &Who) -> Result<(), Problem> {
    let message = message_of(admin, id).await?;
    let record = record_of(message)?;
    match admin.store.claim_replay(id, CLAIM).await.map_err(away)? {
        Replay::Granted => {}
        Replay::Done => return Err(not_now(format!("rejected message {id} was replayed before"))),
        Replay::Underway => {
            return Err(not_now(format!("somebody else replays rejected message {id} just now")));
        }
        Replay::Missing => return Err(missing(id)),
    }
    let appended = tokio::time::timeout(PATIENCE, admin.pipeline.spool().append(record)).await;
    let refused = match appended {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(error.to_string()),
        // It may be taken yet: the claim runs out by itself, and a second one is known by its id.
        Err(_) => return Err(unavailable("the spool takes too long")),
    };
    if let Some(refused) = refused {
        admin.store.release_replay(id).await.map_err(away)?;
        return Err(unavailable(&refused));
    }
    if admin.store.replayed(id, who.name()).await.map_err(away)? {
        tracing::info!(id, who = who.name(), "a rejected message is replayed");
        return Ok(());
    }
    Err(not_now(format!("rejected message {id} was replayed before")))
}

fn unavailable(why: &str) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, format!("not replayed: {why}"))
}

/// A message as a record of its own, where there is anything in it that can be taken in.
fn record_of(message: StoredRejected) -> Result<NewRecord, Problem> {
    let StoredRejected { id, received_at, source, bytes, length, .. } = message;
    let refused =
        |why: &str| Err(not_now(format!("rejected message {id} cannot be replayed: {why}")));
    let source = match Source::from_name(&source) {
        Some(Source::Bucket) | None => {
            return refused("what a bucket watcher found cannot be sent");
        }
        Some(source) => source,
    };
    if bytes.is_empty() || length != i64::try_from(bytes.len()).unwrap_or(i64::MAX) {
        let kept = bytes.len();
        return refused(&format!("{kept} of its {length} bytes are kept"));
    }
    let body = body_of(source, bytes);
    if source == Source::Errors
        && let Err(error) = error_report::parse(&body)
    {
        return refused(&format!("it is still no report: {error}"));
    }
    let messages = count_messages(source, &body);
    if messages == 0 {
        return refused("there is no message in it");
    }
    let replay = RejectedId { id, received_at };
    // The spool need not take it twice where it knows so soon.
    let id = RecordId::new(source, "replay", &format!("{id} {received_at}"));
    let meta = Meta { replay: Some(replay), ..Meta::default() }.encode();
    Ok(NewRecord { source, received_at: clock::now(), messages, id, meta, body })
}

/// A frame that was rejected has lost its length; what broke the framing still starts with one.
fn body_of(source: Source, bytes: Vec<u8>) -> Bytes {
    if source == Source::Logdrains && bytes.first() == Some(&b'<') {
        let mut framed = format!("{} ", bytes.len()).into_bytes();
        framed.extend_from_slice(&bytes);
        return framed.into();
    }
    bytes.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(source: &str, bytes: &[u8]) -> StoredRejected {
        StoredRejected {
            id: 7,
            received_at: 1,
            source: source.to_owned(),
            reason: "odd".to_owned(),
            bytes: bytes.to_vec(),
            length: i64::try_from(bytes.len()).unwrap(),
            messages: 1,
            replayed_at: None,
        }
    }

    #[test]
    fn what_can_be_taken_in_becomes_a_record() {
        let frame = record_of(message("logdrains", b"<1>x")).unwrap();
        assert_eq!((&*frame.body, frame.messages), (&b"4 <1>x"[..], 1));
        let again = record_of(message("logdrains", b"<1>x")).unwrap();
        assert_eq!(frame.id, again.id, "the spool recognises it");
        let replay = Some(RejectedId { id: 7, received_at: 1 });
        assert_eq!(Meta::decode(&frame.meta), Some(Meta { replay, ..Meta::default() }));
        let other = record_of(StoredRejected { id: 8, ..message("logdrains", b"<1>x") }).unwrap();
        assert_ne!(frame.id, other.id);
        assert!(record_of(message("maxwell", b"not json")).is_ok(), "it may be understood now");
    }

    #[test]
    fn what_cannot_is_refused() {
        let cut = StoredRejected { length: 9, ..message("maxwell", b"{}") };
        let odd = [
            message("bucket", b"{}"),
            message("errors", b"{"),
            message("maxwell", b""),
            message("maxwell", b"\n"),
            cut,
        ];
        for message in odd {
            assert_eq!(record_of(message).unwrap_err().status(), StatusCode::CONFLICT);
        }
    }
}
