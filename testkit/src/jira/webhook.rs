//! Telling changes, as Jira's webhooks do: the body is signed with HMAC-SHA256 where there is a
//! secret. A delivery that fails is not tried again.

use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::sync::mpsc;

use super::{
    render::Renderer,
    settings::{Settings, Webhook},
    world::{Change, Issue},
};

/// A body on its way.
pub(super) struct Delivery {
    webhook: Webhook,
    body: String,
}

/// More than this wait for a slow receiver; further ones are dropped.
pub(super) const MOST_WAITING: usize = 10_000;

/// What there is to be told.
pub(super) fn deliveries(
    settings: &Settings,
    base: &str,
    changes: impl Iterator<Item = Change>,
) -> Vec<Delivery> {
    let Some(webhook) = &settings.webhook else { return Vec::new() };
    let delivery = |change: Change| {
        let body = body(settings, base, &change)?.to_string();
        Some(Delivery { webhook: webhook.clone(), body })
    };
    changes.filter_map(delivery).collect()
}

/// Delivers one after the other, so that their order is that of the changes.
pub(super) async fn deliver(mut waiting: mpsc::Receiver<Delivery>) {
    let client = reqwest::Client::new();
    let mut number = 0_u64;
    while let Some(delivery) = waiting.recv().await {
        number += 1;
        let mut request = client
            .post(&delivery.webhook.url)
            .header("content-type", "application/json; charset=UTF-8")
            .header("x-atlassian-webhook-identifier", number)
            .header("user-agent", "Atlassian Webhook HTTP Client");
        if let Some(secret) = &delivery.webhook.secret {
            request = request.header("x-hub-signature", signature(secret, &delivery.body));
        }
        // Whoever listens may be away: that is part of what is tested.
        let _ = request.body(delivery.body).send().await;
    }
}

/// The value of `X-Hub-Signature`.
pub(super) fn signature(secret: &str, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("a key of any length");
    mac.update(body.as_bytes());
    let digest: String =
        mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={digest}")
}

fn body(settings: &Settings, base: &str, change: &Change) -> Option<Value> {
    let issue = change.after.as_ref().or(change.before.as_ref())?;
    let (event, kind) = match (&change.before, &change.after) {
        (None, _) => ("jira:issue_created", "issue_created"),
        (_, None) => ("jira:issue_deleted", "issue_deleted"),
        _ => ("jira:issue_updated", "issue_generic"),
    };
    // Webhooks have the texts of version 2.
    let renderer = Renderer { settings, version: 2, base };
    let mut out = json!({
        "timestamp": jiff::Timestamp::now().as_millisecond(),
        "webhookEvent": event,
        "issue_event_type_name": kind,
        "user": renderer.user(&settings.users[0]),
        "issue": {
            "id": issue.id,
            "self": format!("{base}/rest/api/2/issue/{}", issue.id),
            "key": issue.key,
            "fields": renderer.fields(issue),
        },
    });
    if let (Some(before), Some(after)) = (&change.before, &change.after) {
        let items = items(settings, before, after);
        if !items.is_empty() {
            out["changelog"] = json!({"id": after.id, "items": items});
        }
        if let Some(comment) = after.comments.get(before.comments.len()) {
            out["issue_event_type_name"] = json!("issue_commented");
            out["comment"] = renderer.comment(after, comment);
        }
    }
    Some(out)
}

/// What differs.
fn items(settings: &Settings, before: &Arc<Issue>, after: &Arc<Issue>) -> Vec<Value> {
    let resolution_id = |name: &Option<String>| {
        let known = settings.resolutions.iter().find(|known| Some(&known.name) == name.as_ref());
        known.map(|known| known.id.clone())
    };
    let status = |issue: &Issue| (Some(issue.status.id.clone()), Some(issue.status.name.clone()));
    let resolution = |issue: &Issue| (resolution_id(&issue.resolution), issue.resolution.clone());
    let text = |text: &str| (None, (!text.is_empty()).then(|| text.to_owned()));
    let fields = [
        ("status", status(before), status(after)),
        ("resolution", resolution(before), resolution(after)),
        ("summary", text(&before.summary), text(&after.summary)),
        ("description", text(&before.description), text(&after.description)),
        ("labels", text(&before.labels.join(" ")), text(&after.labels.join(" "))),
        ("priority", (None, before.priority.clone()), (None, after.priority.clone())),
        ("assignee", (None, before.assignee.clone()), (None, after.assignee.clone())),
        ("Key", text(&before.key), text(&after.key)),
    ];
    let changed = fields.into_iter().filter(|(_, before, after)| before != after);
    changed
        .map(|(field, (from, from_name), (to, to_name))| {
            json!({"field": field, "fieldtype": "jira", "fieldId": field, "from": from,
                "fromString": from_name, "to": to, "toString": to_name})
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_signed_as_documented() {
        // The example of Atlassian's page on webhooks.
        let expected = "sha256=a4771c39fbe90f317c7824e83ddef3caae9cb3d976c214ace1f2937e133263c9";
        assert_eq!(signature("It's a Secret to Everybody", "Hello World!"), expected);
    }
}
