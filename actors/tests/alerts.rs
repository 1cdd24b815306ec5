//! The conformance suite of alerts: whatever is promised of `AlertStore` holds for both stores.

#![expect(clippy::unwrap_used, reason = "a failing test is told by a panic")]

use std::{sync::Arc, time::Duration};

use faultline_actors::{
    adapters::store::{
        Store,
        alerts::{AlertFilter, Message, NewDelivery, StoredAlert, Tried, Write, Written},
        records::{AuditFilter, NotificationFilter},
        sqlite::Sqlite,
    },
    domain::{
        alert::{Key, Kind, decide::Open, delivery::What},
        notification::Notification,
        time::Micros,
    },
};
use faultline_testkit::database::Database;
use uuid::Uuid;

#[path = "support/stores.rs"]
mod stores;

const LEASE: Duration = Duration::from_mins(1);
const NOW: Micros = 1_795_316_400_000_000;
const MAIL: &str = "mail:ops";

fn key(subject: &str) -> Key {
    Key { kind: Kind::PartnerDown, subject: subject.to_owned(), hub: String::new() }
}

fn delivery(channel: &str, what: What) -> NewDelivery {
    NewDelivery { channel: channel.to_owned(), what, wait: Duration::ZERO }
}

fn opening(subject: &str, channels: &[&str]) -> Written {
    let key = key(subject);
    Written {
        write: Write::Open {
            key: key.clone(),
            opened_by: "hub-1".to_owned(),
            cause: "no answer".to_owned(),
            link: "/jobs".to_owned(),
            since: NOW - 60,
            tell_at: NOW,
            told_at: Some(NOW),
        },
        at: NOW,
        deliveries: channels.iter().map(|channel| delivery(channel, What::Firing)).collect(),
        notification: Some(Notification::alert(What::Firing, &key, "no answer", "/jobs")),
    }
}

fn resolving(open: &Open, channels: &[&str]) -> Written {
    Written {
        write: Write::Resolve { id: open.id, version: open.version, note: Some("gone") },
        at: NOW + 100,
        deliveries: channels.iter().map(|channel| delivery(channel, What::Resolved)).collect(),
        notification: None,
    }
}

async fn open(store: &dyn Store) -> Vec<Open> {
    store.alerts_standing(0).await.unwrap().open
}

async fn claim(store: &dyn Store, holder: Uuid) -> Option<Message> {
    store.claim_message(MAIL, holder, LEASE, Duration::ZERO).await.unwrap()
}

async fn listed(store: &dyn Store) -> Vec<StoredAlert> {
    store.list_alerts(&AlertFilter::default(), 100).await.unwrap()
}

fn subjects(message: &Message) -> Vec<&str> {
    message.alerts.iter().map(|told| told.subject.as_str()).collect()
}

async fn one_is_open_at_a_time(store: &dyn Store) {
    assert!(store.write_alert(&opening("jira", &[MAIL, "slack:x"])).await.unwrap());
    assert!(!store.write_alert(&opening("jira", &[MAIL])).await.unwrap(), "another hub was first");
    let filter = NotificationFilter::default();
    assert_eq!(store.notifications(&filter, 10).await.unwrap().len(), 1);
    let all = open(store).await;
    assert_eq!((all.len(), &all[0].key, all[0].told_at), (1, &key("jira"), Some(NOW)));
    let alert = listed(store).await.remove(0);
    assert_eq!((alert.class, alert.title.as_str(), alert.waiting), ("P1", "jira is down", 2));

    // Of two hubs that tell it again, or resolve it, one does.
    let tell = Written {
        write: Write::Tell { id: all[0].id, version: 0, cause: "still none".to_owned() },
        at: NOW + 50,
        deliveries: vec![],
        notification: None,
    };
    assert!(store.write_alert(&tell).await.unwrap());
    assert!(!store.write_alert(&tell).await.unwrap());
    assert!(!store.write_alert(&resolving(&all[0], &[])).await.unwrap(), "of another version");
    let now_open = open(store).await.remove(0);
    assert_eq!((now_open.version, now_open.told_at), (1, Some(NOW + 50)));
    assert!(store.write_alert(&resolving(&now_open, &[])).await.unwrap());
    assert!(open(store).await.is_empty());
    let ended = store.alerts_standing(NOW).await.unwrap().ended;
    assert_eq!(ended.get(&key("jira")), Some(&(NOW + 100)));
    assert!(store.alerts_standing(NOW + 100).await.unwrap().ended.is_empty(), "too long ago");

    assert!(store.write_alert(&opening("jira", &[])).await.unwrap(), "it may come back");
    let shown = listed(store).await;
    assert_eq!((shown.len(), shown[0].told, shown[1].told), (2, 1, 2));
    assert_eq!((shown[1].resolved_at, shown[1].note.as_deref()), (Some(NOW + 100), Some("gone")));
    assert_eq!(shown[1].cause, "still none");
    let filter = AlertFilter { is_open: Some(false), ..AlertFilter::default() };
    assert_eq!(store.list_alerts(&filter, 10).await.unwrap().len(), 1);
    let filter = AlertFilter { before: Some(shown[0].id), ..AlertFilter::default() };
    assert_eq!(store.list_alerts(&filter, 10).await.unwrap()[0].id, shown[1].id);
    let filter = AlertFilter { kind: Some(Kind::Storm), ..AlertFilter::default() };
    assert!(store.list_alerts(&filter, 10).await.unwrap().is_empty());
}

async fn a_message_is_in_one_pair_of_hands(store: &dyn Store) {
    store.write_alert(&opening("jira", &[MAIL])).await.unwrap();
    store.write_alert(&opening("redis", &[MAIL])).await.unwrap();
    let [one, other] = [Uuid::new_v4(), Uuid::new_v4()];
    let message = claim(store, one).await.unwrap();
    assert_eq!(subjects(&message), ["jira", "redis"], "what is due goes out together");
    assert_eq!((message.what, message.attempts), (What::Firing, 0));
    let told = &message.alerts[0];
    assert_eq!(
        (told.hub.as_str(), told.cause.as_str(), told.since),
        ("hub-1", "no answer", NOW - 60)
    );
    assert_eq!(claim(store, other).await, None);
    assert_eq!(store.claim_message("slack:x", other, LEASE, LEASE).await.unwrap(), None);
    assert!(!store.settle_message(MAIL, message.id, other, &Tried::Sent).await.unwrap());
    assert!(store.settle_message(MAIL, message.id, one, &Tried::Sent).await.unwrap());
    assert!(!store.settle_message(MAIL, message.id, one, &Tried::Sent).await.unwrap(), "once");
    assert_eq!(claim(store, one).await, None);
    let alerts = listed(store).await;
    assert!(alerts.iter().all(|alert| (alert.delivered, alert.waiting) == (1, 0)), "{alerts:?}");
}

async fn a_message_stays_the_same(store: &dyn Store) {
    store.write_alert(&opening("jira", &[MAIL])).await.unwrap();
    let [one, other] = [Uuid::new_v4(), Uuid::new_v4()];
    let first = claim(store, one).await.unwrap();
    let failed = Tried::Failed { error: "no route".to_owned(), wait: Duration::ZERO };
    assert!(store.settle_message(MAIL, first.id, one, &failed).await.unwrap());
    assert_eq!(listed(store).await[0].last_error.as_deref(), Some("no route"));
    // One that came later is another message.
    store.write_alert(&opening("redis", &[MAIL])).await.unwrap();
    let again = store.claim_message(MAIL, other, Duration::ZERO, LEASE).await.unwrap().unwrap();
    assert_eq!((again.id, subjects(&again), again.attempts), (first.id, vec!["jira"], 1));
    // The one who has it is gone: the lease ends.
    let relieved = faultline_testkit::eventually("it is relieved", async || {
        claim(store, one).await.filter(|message| message.id == first.id).ok_or("not yet")
    })
    .await;
    assert_eq!((relieved.attempts, &relieved.alerts), (2, &first.alerts));
    assert!(!store.settle_message(MAIL, first.id, other, &Tried::Sent).await.unwrap());
    let later = claim(store, other).await.unwrap();
    assert_eq!(subjects(&later), ["redis"]);
}

async fn what_is_held_back_waits_and_what_begins_soon_goes_with_it(store: &dyn Store) {
    let mut soon = opening("jira", &[MAIL]);
    soon.deliveries[0].wait = Duration::from_mins(1);
    let mut late = opening("redis", &[MAIL]);
    late.deliveries[0].wait = Duration::from_hours(8);
    store.write_alert(&soon).await.unwrap();
    store.write_alert(&late).await.unwrap();
    assert_eq!(claim(store, Uuid::nil()).await, None);
    store.write_alert(&opening("buckets", &[MAIL])).await.unwrap();
    let gather = Duration::from_mins(5);
    let message = store.claim_message(MAIL, Uuid::nil(), LEASE, gather).await.unwrap().unwrap();
    let mut told = subjects(&message);
    told.sort_unstable();
    assert_eq!(told, ["buckets", "jira"]);
}

async fn the_end_is_not_told_before_the_beginning(store: &dyn Store) {
    store.write_alert(&opening("jira", &[MAIL])).await.unwrap();
    let alert = open(store).await.remove(0);
    let firing = claim(store, Uuid::nil()).await.unwrap();
    // An update waits for nobody: what is told next says as much.
    let update = Written {
        write: Write::Tell { id: alert.id, version: 0, cause: "still none".to_owned() },
        at: NOW + 50,
        deliveries: vec![delivery(MAIL, What::Repeat)],
        notification: None,
    };
    assert!(store.write_alert(&update).await.unwrap());
    let alert = open(store).await.remove(0);
    assert!(store.write_alert(&resolving(&alert, &[MAIL])).await.unwrap());
    assert_eq!(claim(store, Uuid::nil()).await, None, "the beginning is still under way");
    store.settle_message(MAIL, firing.id, Uuid::nil(), &Tried::Sent).await.unwrap();
    let resolved = claim(store, Uuid::nil()).await.unwrap();
    assert_eq!((resolved.what, resolved.alerts[0].resolved_at), (What::Resolved, Some(NOW + 100)));
    assert_eq!(resolved.alerts[0].note.as_deref(), Some("gone"));
    store.settle_message(MAIL, resolved.id, Uuid::nil(), &Tried::Sent).await.unwrap();
    assert_eq!(claim(store, Uuid::nil()).await, None);
}

async fn what_is_given_up_is_said(store: &dyn Store) {
    store.write_alert(&opening("jira", &[MAIL])).await.unwrap();
    let message = claim(store, Uuid::nil()).await.unwrap();
    let dead = Tried::Dead { error: "550 no such user".to_owned() };
    assert!(store.settle_message(MAIL, message.id, Uuid::nil(), &dead).await.unwrap());
    assert_eq!(claim(store, Uuid::nil()).await, None);
    let alert = listed(store).await.remove(0);
    assert_eq!((alert.dead, alert.last_error.as_deref()), (1, Some("550 no such user")));
    let notifications = store.notifications(&NotificationFilter::default(), 1).await.unwrap();
    assert_eq!(notifications[0].severity, "critical");
    assert!(notifications[0].title.contains(MAIL), "{}", notifications[0].title);
}

async fn what_is_postponed_was_not_tried(store: &dyn Store) {
    store.write_alert(&opening("jira", &[MAIL])).await.unwrap();
    let wait = Duration::ZERO;
    let first = claim(store, Uuid::nil()).await.unwrap();
    let failed = Tried::Failed { error: "no route".to_owned(), wait };
    store.settle_message(MAIL, first.id, Uuid::nil(), &failed).await.unwrap();
    for _ in 0..3 {
        let message = claim(store, Uuid::nil()).await.unwrap();
        assert_eq!((message.id, message.attempts), (first.id, 1));
        let postponed = Tried::Postponed { wait };
        assert!(store.settle_message(MAIL, first.id, Uuid::nil(), &postponed).await.unwrap());
    }
    let alert = listed(store).await.remove(0);
    assert_eq!((alert.waiting, alert.last_error.as_deref()), (1, Some("no route")));
}

async fn people_silence_what_they_know(store: &dyn Store) {
    store.write_alert(&opening("jira", &[])).await.unwrap();
    let id = open(store).await[0].id;
    assert!(store.silence_alert(id, NOW + 1_000, "ann").await.unwrap());
    assert!(!store.silence_alert(id + 1, NOW, "ann").await.unwrap());
    assert_eq!(open(store).await[0].silenced_until, Some(NOW + 1_000));
    assert_eq!(listed(store).await[0].silenced_by.as_deref(), Some("ann"));
    let audit = store.list_audit(&AuditFilter::default(), 1).await.unwrap().remove(0);
    assert_eq!((audit.who.as_str(), audit.action.as_str()), ("ann", "alert.silence"));
    let seen = [(id, Some("worse".to_owned())), (id + 1, None)];
    store.alerts_seen(&seen, NOW + 10).await.unwrap();
    store.alerts_seen(&[(id, None)], NOW + 20).await.unwrap();
    let alert = listed(store).await.remove(0);
    assert_eq!((alert.cause.as_str(), alert.seen_at), ("worse", NOW + 20));
}

async fn what_is_long_over_is_forgotten(store: &dyn Store) {
    for subject in ["one", "two", "three", "four"] {
        store.write_alert(&opening(subject, &[MAIL])).await.unwrap();
    }
    for alert in &open(store).await[..3] {
        store.write_alert(&resolving(alert, &[])).await.unwrap();
    }
    assert_eq!(store.forget_alerts(1).await.unwrap(), 0);
    assert_eq!(listed(store).await.len(), 4, "they are still to be told");
    let message = claim(store, Uuid::nil()).await.unwrap();
    store.settle_message(MAIL, message.id, Uuid::nil(), &Tried::Sent).await.unwrap();
    store.forget_alerts(1).await.unwrap();
    let left: Vec<_> = listed(store).await.into_iter().map(|alert| alert.subject).collect();
    assert_eq!(left, ["four", "three"]);
}

/// Many hubs at once: each alert is opened once, and each message sent by one of them.
async fn hubs_do_not_double(store: Arc<dyn Store>) {
    let hubs = (0..4).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            let holder = Uuid::new_v4();
            let (mut opened, mut told) = (0, Vec::new());
            for number in 0..25 {
                let alert = opening(&format!("partner {number}"), &[MAIL]);
                opened += u32::from(store.write_alert(&alert).await.unwrap());
                while let Some(message) = claim(&*store, holder).await {
                    told.extend(message.alerts.iter().map(|told| told.subject.clone()));
                    let sent = Tried::Sent;
                    assert!(store.settle_message(MAIL, message.id, holder, &sent).await.unwrap());
                }
            }
            (opened, told)
        })
    });
    let (mut opened, mut told) = (0, Vec::new());
    for hub in hubs.collect::<Vec<_>>() {
        let (some, these) = hub.await.unwrap();
        opened += some;
        told.extend(these);
    }
    told.sort_unstable();
    assert_eq!((opened, told.len()), (25, 25));
    told.dedup();
    assert_eq!(told.len(), 25, "each once");
}

/// Runs a promise against a store of its own of each kind.
macro_rules! promises {
    ($($promise:ident),+ $(,)?) => {
        mod in_sqlite {
            $(#[tokio::test]
            async fn $promise() {
                super::$promise(&*super::stores::sqlite().await).await;
            })+
        }

        #[tokio::test]
        async fn in_postgres() {
            let server = faultline_testkit::postgres::Postgres::start();
            $({
                let store = stores::emptied(&server).await;
                $promise(&*store).await;
            })+
            hubs_do_not_double(stores::emptied(&server).await).await;
        }
    };
}

promises!(
    one_is_open_at_a_time,
    a_message_is_in_one_pair_of_hands,
    a_message_stays_the_same,
    what_is_held_back_waits_and_what_begins_soon_goes_with_it,
    the_end_is_not_told_before_the_beginning,
    what_is_given_up_is_said,
    what_is_postponed_was_not_tried,
    people_silence_what_they_know,
    what_is_long_over_is_forgotten,
);

#[tokio::test]
async fn hubs_do_not_double_in_sqlite() {
    hubs_do_not_double(stores::sqlite().await).await;
}

/// What a newer hub tells of is left to it, and what nobody can tell is given up, and said.
async fn what_is_not_ours_is_left(store: &dyn Store, database: &Database) {
    store.write_alert(&opening("jira", &[MAIL])).await.unwrap();
    store.write_alert(&opening("redis", &["slack:gone"])).await.unwrap();
    let newer = "UPDATE alerts SET kind = 'of-a-newer-hub' WHERE subject = 'jira'";
    database.execute(newer).await;
    assert_eq!(claim(store, Uuid::nil()).await, None);
    let ours = "UPDATE alerts SET kind = 'partner-down' WHERE subject = 'jira'";
    database.execute(ours).await;
    let message = claim(store, Uuid::nil()).await.unwrap();
    store.settle_message(MAIL, message.id, Uuid::nil(), &Tried::Sent).await.unwrap();

    // It was tried, while somebody had the channel.
    let (lease, gather) = (Duration::from_millis(1), Duration::ZERO);
    let tried = store.claim_message("slack:gone", Uuid::nil(), lease, gather).await.unwrap();
    assert!(tried.is_some());
    assert_eq!(store.forget_alerts(10).await.unwrap(), 0, "it may still be sent");
    let long_ago = match database {
        Database::Sqlite(_) => "1",
        Database::Postgres(_) => "now() - interval '8 days'",
    };
    database
        .execute(&format!(
            "UPDATE alert_deliveries SET lease_until = {long_ago} WHERE state = 'active'"
        ))
        .await;
    assert_eq!(store.forget_alerts(10).await.unwrap(), 1);
    assert_eq!(store.forget_alerts(10).await.unwrap(), 0);
    let notifications = store.notifications(&NotificationFilter::default(), 1).await.unwrap();
    assert!(notifications[0].title.contains("slack:gone"), "{}", notifications[0].title);
}

#[tokio::test]
async fn what_is_not_ours_is_left_in_both_stores() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("one.db");
    let store = Sqlite::open(&path).unwrap();
    store.migrate().await.unwrap();
    what_is_not_ours_is_left(&store, &Database::Sqlite(path)).await;
    let server = faultline_testkit::postgres::Postgres::start();
    let store = stores::postgres(&server).await;
    what_is_not_ours_is_left(&*store, &Database::Postgres(Box::new(server))).await;
}
