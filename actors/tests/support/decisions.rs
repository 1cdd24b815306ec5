//! Faults that were met, and what is decided about them.
#![allow(dead_code, reason = "each test file uses its part")]

use std::time::Duration;

use faultline_actors::{
    adapters::{
        journal::Origin,
        store::{
            Commit, Store,
            jobs::{Decided, Intent, Outcome, TicketChange, Undecided, Which},
        },
    },
    domain::{
        decision::Comeback,
        job::{Action, Step},
    },
};
use serde_json::json;

use crate::batches::report;

/// Has the store meet these messages, each a fault of its own; gives what is to be decided.
pub(crate) async fn met(store: &dyn Store, messages: &[&str]) -> Vec<Undecided> {
    let origin = Origin::now_v7();
    store.position(origin).await.unwrap();
    let batches =
        messages.iter().zip(1..).map(|(message, sequence)| report(sequence, message)).collect();
    let committed = store.commit(&Commit { origin, after: 0, batches }).await.unwrap();
    let mut undecided = store.undecided(Which::These(&committed.faults), 100).await.unwrap();
    let place = |fault: &Undecided| messages.iter().position(|message| *message == fault.title);
    undecided.sort_by_key(place);
    undecided
}

pub(crate) fn create(incident: u32, locator: &str) -> Intent {
    Intent {
        action: Action::Create,
        incident,
        mark: String::new(),
        rule: "default".to_owned(),
        request: json!({ "summary": "it broke" }),
        locator: locator.to_owned(),
        due_in: Duration::ZERO,
    }
}

pub(crate) fn decided(undecided: &Undecided, intent: Option<Intent>) -> Decided {
    Decided {
        fault: undecided.fault.fault,
        environment: undecided.environment.clone(),
        title: undecided.title.clone(),
        count: undecided.fault.count,
        incident: undecided.fault.incident,
        steered: undecided.steered,
        comeback: Comeback::No,
        reason: "a ticket".to_owned(),
        again_at: None,
        intent,
    }
}

pub(crate) fn made(key: &str) -> Outcome {
    let (key, id) = (key.to_owned(), Some(format!("number of {key}")));
    let ticket = Some(TicketChange::Made { key, id, is_dry_run: false });
    Outcome { ticket, is_attempt: true, ..Outcome::new(Step::Complete) }
}
