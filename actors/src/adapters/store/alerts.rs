//! What a store keeps of alerts, and of the messages that tell about them.
//!
//! A change of an alert, its deliveries and its notification are one transaction, guarded by the
//! alert's version: of two hubs that decide the same, one writes it.
//!
//! Deliveries are taken under a lease. One message may be several deliveries of one channel; it is
//! put together once, and keeps its number and its content however often it is tried.

use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

use super::{StoreError, as_optional_rfc3339, as_rfc3339, jobs::Holder};
use crate::domain::{
    alert::{
        Key, Kind,
        decide::Standing,
        delivery::{Told, What},
    },
    notification::Notification,
    time::Micros,
};

/// A change of an alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    Open {
        key: Key,
        /// The hub that opens it.
        opened_by: String,
        cause: String,
        link: String,
        since: Micros,
        tell_at: Micros,
        /// When it was told, where that is so already.
        told_at: Option<Micros>,
    },
    Tell {
        id: i64,
        version: i32,
        cause: String,
    },
    Resolve {
        id: i64,
        version: i32,
        note: Option<&'static str>,
    },
}

/// A change with all that belongs to it.
#[derive(Clone, Debug)]
pub struct Written {
    pub write: Write,
    pub at: Micros,
    pub deliveries: Vec<NewDelivery>,
    pub notification: Option<Notification>,
}

/// A delivery to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDelivery {
    pub channel: String,
    pub what: What,
    /// Not before so long from now.
    pub wait: Duration,
}

/// A message that is to be sent now, by the one who has claimed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The same for each try.
    pub id: Uuid,
    pub what: What,
    /// How often it was tried before.
    pub attempts: u32,
    pub alerts: Vec<Told>,
}

/// What came of a try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tried {
    Sent,
    /// It is tried again after this time.
    Failed {
        error: String,
        wait: Duration,
    },
    /// It is given up.
    Dead {
        error: String,
    },
    /// It was not tried, and is after this time.
    Postponed {
        wait: Duration,
    },
}

/// The kinds that this program knows, as a list in SQL. Others are those of a newer hub, which tells of
/// them.
pub(crate) fn known_kinds() -> String {
    Kind::ALL.map(|kind| format!("'{}'", kind.name())).join(", ")
}

/// Deliveries of one message at most.
pub const MOST: u32 = 50;

/// Which alerts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AlertFilter {
    pub is_open: Option<bool>,
    pub kind: Option<Kind>,
    /// With lower ids.
    pub before: Option<i64>,
}

/// An alert as a person sees it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
#[schema(as = Alert)]
pub struct StoredAlert {
    pub id: i64,
    /// Such as `partner-down`: the section of the runbook.
    pub kind: String,
    /// `P0` to `P3`.
    pub class: &'static str,
    /// What is wrong, in a few words.
    pub title: String,
    /// The component, outside system, queue, source or application that it is about.
    pub subject: String,
    /// The hub that sees it; empty where all of them do.
    pub hub: String,
    pub opened_by: String,
    pub cause: String,
    /// A page of the dashboard.
    pub link: String,
    #[serde(serialize_with = "as_rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub since: Micros,
    #[serde(serialize_with = "as_rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub opened_at: Micros,
    /// When it was last known to hold.
    #[serde(serialize_with = "as_rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub seen_at: Micros,
    /// When it was told last; null where it waits for the end of quiet hours, or to cool down.
    #[serde(serialize_with = "as_optional_rfc3339")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub told_at: Option<Micros>,
    /// How often.
    pub told: i32,
    #[serde(serialize_with = "as_optional_rfc3339")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub silenced_until: Option<Micros>,
    pub silenced_by: Option<String>,
    #[serde(serialize_with = "as_optional_rfc3339")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub resolved_at: Option<Micros>,
    /// What else is to be said of its end.
    pub note: Option<String>,
    /// Deliveries that wait or are under way, that arrived, and that were given up.
    pub waiting: i64,
    pub delivered: i64,
    pub dead: i64,
    /// Why the last try of one failed.
    pub last_error: Option<String>,
}

impl StoredAlert {
    /// What is shown of a kind; of one that a newer hub knows only its name.
    pub(crate) fn of_kind(kind: &str, subject: &str) -> (&'static str, String) {
        match Kind::from_name(kind) {
            Some(known) => (known.class().name(), known.what(subject)),
            None => ("P3", format!("{kind}: {subject}")),
        }
    }
}

/// See the [module](self).
#[async_trait]
pub trait AlertStore: Send + Sync {
    /// What is open, and what was told and has ended since then.
    async fn alerts_standing(&self, ended_since: Micros) -> Result<Standing, StoreError>;

    /// Writes a change with its deliveries and its notification, all or nothing; `false` where
    /// another hub has made it before. An update is not delivered through a channel that has not
    /// delivered what came before it.
    async fn write_alert(&self, written: &Written) -> Result<bool, StoreError>;

    /// These still hold; the cause where there is news of it.
    async fn alerts_seen(
        &self,
        seen: &[(i64, Option<String>)],
        at: Micros,
    ) -> Result<(), StoreError>;

    /// Takes the next message of a channel that is due, if there is one. What waits for no longer
    /// than `gather` goes with it.
    async fn claim_message(
        &self,
        channel: &str,
        holder: Holder,
        lease: Duration,
        gather: Duration,
    ) -> Result<Option<Message>, StoreError>;

    /// Writes down what came of a try; `false` where somebody else has taken the message meanwhile.
    async fn settle_message(
        &self,
        channel: &str,
        id: Uuid,
        holder: Holder,
        tried: &Tried,
    ) -> Result<bool, StoreError>;

    /// The newest first.
    async fn list_alerts(
        &self,
        filter: &AlertFilter,
        limit: u32,
    ) -> Result<Vec<StoredAlert>, StoreError>;

    /// An alert that is open is not told again before then, with an entry in the audit trail;
    /// `false` where there is none.
    async fn silence_alert(&self, id: i64, until: Micros, who: &str) -> Result<bool, StoreError>;

    /// Deletes those that are over, but for the newest; and gives up what nobody has taken for a
    /// week, whose channel no hub has any more. Gives how many were given up.
    async fn forget_alerts(&self, keep: u32) -> Result<u64, StoreError>;
}

/// Deliveries that nobody takes for so long are given up.
pub(crate) const UNCLAIMED: Duration = Duration::from_hours(24 * 7);
pub(crate) const NOBODY: &str = "nobody has taken it for a week: no hub has this channel any more";
