//! Searching. Cloud: "Search for issues using JQL enhanced search (POST)", page by token. Data
//! Center: "Search using search request", page by number.

use std::time::Duration;

use serde_json::json;

use super::{
    send::{Call, Sender},
    settings::{Api, Settings},
    throttle::Endpoint,
    wire::{Found, SEEN_FIELDS, Seen, Ticket, quoted},
};
use crate::adapters::jira::Failure;

/// Tickets asked for at once.
const PAGE: usize = 100;
/// Pages of one fault's tickets: there is one, but for mistakes.
const FIND_PAGES: usize = 10;
/// Pages of changed tickets: people move thousands of them at a time.
const CHANGED_PAGES: usize = 100;

pub(super) async fn find(
    sender: &Sender,
    settings: &Settings,
    locator: &str,
) -> Result<Vec<Seen>, Failure> {
    let field = settings.locator_field.as_str();
    let value = quoted(locator);
    let condition = match field.strip_prefix("customfield_") {
        None => format!("labels = {value}"),
        // Text fields know no equality, but phrases: a quoted text within a quoted text.
        Some(number) => format!("cf[{number}] ~ {}", quoted(&value)),
    };
    let jql = format!("{condition} ORDER BY created ASC, key ASC");
    let (mut tickets, _) = search(sender, settings, &jql, FIND_PAGES).await?;
    tickets.retain(|ticket| ticket.carries(field, locator));
    let mut found: Vec<Seen> = tickets.into_iter().map(Seen::from).collect();
    found.sort_by_key(|seen| seen.created);
    without_repeats(&mut found);
    Ok(found)
}

pub(super) async fn changed(
    sender: &Sender,
    settings: &Settings,
    within: Duration,
    label: &str,
) -> Result<Vec<Seen>, Failure> {
    let minutes = within.as_secs().div_ceil(60).max(1);
    // Newest first: what changes between two pages moves to the front, and is seen twice rather
    // than not at all.
    let jql =
        format!("labels = {} AND updated >= \"-{minutes}m\" ORDER BY updated DESC", quoted(label));
    let (tickets, is_complete) = search(sender, settings, &jql, CHANGED_PAGES).await?;
    if !is_complete {
        tracing::warn!(
            tickets = tickets.len(),
            minutes,
            "more tickets have changed than are read; those that changed first are left out"
        );
    }
    let mut found: Vec<Seen> = tickets.into_iter().map(Seen::from).collect();
    without_repeats(&mut found);
    found.reverse();
    Ok(found)
}

fn without_repeats(found: &mut Vec<Seen>) {
    let mut keys = std::collections::HashSet::new();
    found.retain(|seen| keys.insert(seen.key.clone()));
}

/// Up to `pages` pages of tickets, and whether these are all.
async fn search(
    sender: &Sender,
    settings: &Settings,
    jql: &str,
    pages: usize,
) -> Result<(Vec<Ticket>, bool), Failure> {
    let mut fields = SEEN_FIELDS.to_vec();
    if !settings.locator_field.is_empty() {
        fields.push(&settings.locator_field);
    }
    let path: &[&str] = match settings.api() {
        Api::Cloud => &["search", "jql"],
        Api::Server => &["search"],
    };
    let mut tickets = Vec::new();
    let mut next: Option<String> = None;
    for _ in 0..pages {
        let mut body = json!({"jql": jql, "maxResults": PAGE, "fields": fields});
        match (settings.api(), &next) {
            (Api::Cloud, Some(next)) => body["nextPageToken"] = json!(next),
            (Api::Cloud, None) => {}
            (Api::Server, _) => body["startAt"] = json!(tickets.len()),
        }
        let page: Found = sender.send(Call::post(Endpoint::Search, path, body)).await?.read()?;
        let is_empty = page.issues.is_empty();
        tickets.extend(page.issues);
        let is_last = match settings.api() {
            Api::Cloud => page.is_last == Some(true) || page.next.is_none(),
            Api::Server => is_empty || page.total.is_none_or(|total| tickets.len() >= total),
        };
        if is_last {
            return Ok((tickets, true));
        }
        next = page.next;
    }
    Ok((tickets, false))
}
