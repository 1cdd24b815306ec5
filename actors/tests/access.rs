//! The conformance suite of access control: whatever is promised of `AccessStore` holds for both
//! stores.

#![expect(clippy::unwrap_used, reason = "a failing test is told by a panic")]

use std::time::Duration;

use faultline_actors::{
    adapters::store::{
        Store,
        access::{
            AccessError, Digest, MOST_SESSIONS, NewToken, NewUser, SessionLimits, UserChange,
        },
    },
    domain::access::{Role, Scope},
};

#[path = "support/stores.rs"]
mod stores;

const HOUR: Duration = Duration::from_hours(1);
const LIMITS: SessionLimits = SessionLimits { idle: HOUR, lifetime: HOUR };

/// Stands for the hash of a secret.
fn digest(number: u8) -> Digest {
    [number; 32]
}

async fn add(store: &dyn Store, name: &str, role: Role) {
    let password_hash = &format!("hash of {name}");
    store.add_user(&NewUser { name, role, password_hash }, "admin.token").await.unwrap();
}

async fn log_in(store: &dyn Store, name: &str, session: Digest) -> bool {
    store.start_session(name, &format!("hash of {name}"), session, LIMITS).await.unwrap()
}

async fn name_of(store: &dyn Store, session: Digest) -> Option<String> {
    store.session(session, LIMITS).await.unwrap().map(|(name, _)| name)
}

async fn actions(store: &dyn Store) -> Vec<String> {
    let mut entries = store.audit(50).await.unwrap();
    entries.reverse();
    entries
        .iter()
        .map(|entry| format!("{} {} {} {}", entry.who, entry.action, entry.subject, entry.details))
        .map(|line| line.replace(": ", ":"))
        .collect()
}

fn role(role: Role) -> UserChange {
    UserChange { role: Some(role), ..UserChange::default() }
}

async fn users_are_kept_and_audited(store: &dyn Store) {
    assert!(!store.has_users().await.unwrap());
    add(store, "alice", Role::Admin).await;
    add(store, "bob", Role::Viewer).await;
    assert!(store.has_users().await.unwrap());
    let again = NewUser { name: "bob", role: Role::Admin, password_hash: "x" };
    let again = store.add_user(&again, "alice").await;
    assert!(matches!(again, Err(AccessError::UserExists)), "{again:?}");
    let change = UserChange {
        role: Some(Role::Operator),
        password_hash: Some("another hash".to_owned()),
        is_disabled: Some(true),
    };
    store.change_user("bob", &change, None, "alice").await.unwrap();
    let users = store.users().await.unwrap();
    assert_eq!(users.iter().map(|user| user.name.as_str()).collect::<Vec<_>>(), ["alice", "bob"]);
    assert_eq!((users[1].role, users[1].is_disabled), (Role::Operator, true));
    assert!(users[1].created_at > 0 && users[1].last_login_at.is_none());
    let bob = store.account("bob").await.unwrap().unwrap();
    assert_eq!((bob.password_hash.as_str(), bob.is_disabled), ("another hash", true));
    assert!(store.account("carol").await.unwrap().is_none());
    store.remove_user("bob", "alice").await.unwrap();
    for outcome in [
        store.remove_user("bob", "alice").await,
        store.change_user("bob", &role(Role::Admin), None, "alice").await,
    ] {
        assert!(matches!(outcome, Err(AccessError::NoUser)), "{outcome:?}");
    }
    let expected = [
        r#"admin.token user.add user alice {"role":"admin"}"#,
        r#"admin.token user.add user bob {"role":"viewer"}"#,
        r#"alice user.role user bob {"role":"operator"}"#,
        "alice user.password user bob {}",
        "alice user.disable user bob {}",
        "alice user.remove user bob {}",
    ];
    assert_eq!(actions(store).await, expected);
}

async fn the_last_admin_stays(store: &dyn Store) {
    add(store, "alice", Role::Admin).await;
    add(store, "bob", Role::Admin).await;
    let disable = UserChange { is_disabled: Some(true), ..UserChange::default() };
    store.change_user("bob", &disable, None, "alice").await.unwrap();
    assert!(log_in(store, "alice", digest(1)).await);
    // Bob cannot log in, so that he does not count.
    for outcome in [
        store.remove_user("alice", "alice").await,
        store.change_user("alice", &disable, None, "alice").await,
        store.change_user("alice", &role(Role::Operator), None, "alice").await,
    ] {
        assert!(matches!(outcome, Err(AccessError::LastAdmin)), "{outcome:?}");
    }
    assert_eq!(store.account("alice").await.unwrap().unwrap().role, Role::Admin);
    assert_eq!(name_of(store, digest(1)).await.as_deref(), Some("alice"), "nothing was done");
    let enable = UserChange { is_disabled: Some(false), ..UserChange::default() };
    store.change_user("bob", &enable, None, "alice").await.unwrap();
    store.remove_user("alice", "bob").await.unwrap();
    assert_eq!(name_of(store, digest(1)).await, None, "her session went with her");
}

async fn sessions_end_with_what_they_rest_on(store: &dyn Store) {
    add(store, "alice", Role::Admin).await;
    add(store, "bob", Role::Viewer).await;
    assert!(!store.start_session("bob", "another hash", digest(9), LIMITS).await.unwrap());
    assert!(!log_in(store, "carol", digest(9)).await);
    assert!(log_in(store, "alice", digest(1)).await && log_in(store, "bob", digest(2)).await);
    assert!(store.users().await.unwrap()[0].last_login_at.is_some());
    let bob = store.session(digest(2), LIMITS).await.unwrap();
    assert_eq!(bob, Some(("bob".to_owned(), Role::Viewer)));
    assert_eq!(store.session(digest(3), LIMITS).await.unwrap(), None);

    for (number, change) in [
        (10, role(Role::Operator)),
        (20, UserChange { is_disabled: Some(true), ..UserChange::default() }),
        (30, UserChange { password_hash: Some("other".to_owned()), ..UserChange::default() }),
    ] {
        // As the ones before left him.
        let enable = UserChange { is_disabled: Some(false), ..UserChange::default() };
        store.change_user("bob", &enable, None, "alice").await.unwrap();
        assert!(log_in(store, "bob", digest(number)).await);
        assert!(log_in(store, "bob", digest(number + 1)).await);
        let keep = (number == 30).then(|| digest(number));
        store.change_user("bob", &change, keep, "alice").await.unwrap();
        assert_eq!(name_of(store, digest(number)).await.is_some(), keep.is_some(), "{change:?}");
        assert_eq!(name_of(store, digest(number + 1)).await, None, "{change:?}");
    }
    assert!(!log_in(store, "bob", digest(4)).await, "the old password is of no use");
    assert_eq!(name_of(store, digest(1)).await.as_deref(), Some("alice"), "others go on");
    store.end_session(digest(1)).await.unwrap();
    store.end_session(digest(1)).await.unwrap();
    assert_eq!(name_of(store, digest(1)).await, None);
    let actions = actions(store).await;
    assert_eq!(actions.last().unwrap(), "alice session.end user alice {}");
    assert_eq!(actions.iter().filter(|line| line.contains("session.end")).count(), 1);
}

async fn sessions_last_so_long_and_are_so_many(store: &dyn Store) {
    add(store, "alice", Role::Admin).await;
    let most = u8::try_from(MOST_SESSIONS).unwrap();
    for number in 0..=most {
        assert!(log_in(store, "alice", digest(number)).await);
    }
    assert_eq!(name_of(store, digest(0)).await, None, "the oldest one made room");
    for number in 1..=most {
        assert!(name_of(store, digest(number)).await.is_some(), "{number}");
    }
    for limits in [
        SessionLimits { idle: Duration::ZERO, lifetime: HOUR },
        SessionLimits { idle: HOUR, lifetime: Duration::ZERO },
    ] {
        assert_eq!(store.session(digest(1), limits).await.unwrap(), None, "{limits:?}");
    }
    // Who logs in sweeps.
    let short = SessionLimits { idle: Duration::ZERO, lifetime: HOUR };
    assert!(store.start_session("alice", "hash of alice", digest(99), short).await.unwrap());
    assert_eq!(name_of(store, digest(1)).await, None);
    assert!(name_of(store, digest(99)).await.is_some());
}

async fn tokens_are_known_until_they_expire(store: &dyn Store) {
    let new = |name, number, expires_in| NewToken {
        name,
        secret: digest(number),
        scope: Scope::Operator,
        expires_in,
    };
    let ci = store.add_token(&new("ci", 1, None), "alice").await.unwrap();
    assert_eq!(
        (ci.name.as_str(), ci.created_by.as_str(), ci.scope),
        ("ci", "alice", Scope::Operator)
    );
    assert!(ci.expires_at.is_none() && ci.last_used_at.is_none() && ci.created_at > 0);
    let again = store.add_token(&new("ci", 2, None), "alice").await;
    assert!(matches!(again, Err(AccessError::TokenExists)), "{again:?}");
    assert_eq!(store.token(digest(1)).await.unwrap(), Some(("ci".to_owned(), Scope::Operator)));
    assert_eq!(store.token(digest(2)).await.unwrap(), None);
    let used = store.tokens().await.unwrap()[0].last_used_at;
    assert!(used.is_some());
    store.token(digest(1)).await.unwrap();
    assert_eq!(store.tokens().await.unwrap()[0].last_used_at, used, "not at every use");

    let short = store.add_token(&new("short", 3, Some(Duration::ZERO)), "alice").await.unwrap();
    assert!(short.expires_at.is_some());
    assert_eq!(store.token(digest(3)).await.unwrap(), None);
    assert_eq!(store.tokens().await.unwrap().len(), 2, "it is still to be seen");
    store.add_token(&new("short", 4, Some(HOUR)), "alice").await.unwrap();
    assert!(store.token(digest(4)).await.unwrap().is_some(), "its name is free again");

    store.revoke_token(ci.id, "bob").await.unwrap();
    assert_eq!(store.token(digest(1)).await.unwrap(), None);
    let gone = store.revoke_token(ci.id, "bob").await;
    assert!(matches!(gone, Err(AccessError::NoToken)), "{gone:?}");
    let actions = actions(store).await;
    let expected = format!(r#"alice token.add token ci {{"id":{},"scope":"operator"}}"#, ci.id);
    assert_eq!(actions[0].replace(", ", ","), expected);
    assert_eq!(actions[3], format!(r#"bob token.revoke token ci {{"id":{}}}"#, ci.id));
}

async fn one_link_makes_the_first_user_once(store: &dyn Store) {
    let user = |name| NewUser { name, role: Role::Admin, password_hash: "hash" };
    let refused = async |number, name| {
        let outcome = store.set_up(digest(number), &user(name)).await;
        matches!(outcome, Err(AccessError::NoSetup))
    };
    store.allow_setup(digest(1), Duration::ZERO).await.unwrap();
    store.allow_setup(digest(2), HOUR).await.unwrap();
    store.allow_setup(digest(3), HOUR).await.unwrap();
    assert!(refused(1, "alice").await, "it is too old");
    assert!(refused(4, "alice").await, "nobody gave it");
    store.set_up(digest(2), &user("alice")).await.unwrap();
    assert!(refused(2, "bob").await, "it was used");
    assert!(refused(3, "bob").await, "there is a user");
    assert_eq!(store.users().await.unwrap().len(), 1);
    assert_eq!(actions(store).await, [r#"alice user.add user alice {"role":"admin"}"#]);
    // Links that nobody uses are not kept for ever.
    store.remove_user("alice", "x").await.unwrap_err();
    for number in 10..30 {
        store.allow_setup(digest(number), HOUR + Duration::from_secs(number.into())).await.unwrap();
    }
    assert!(refused(10, "bob").await);
}

/// Every promise, each in a store of its own.
macro_rules! every_promise {
    ($store:expr) => {
        users_are_kept_and_audited(&*$store).await;
        the_last_admin_stays(&*$store).await;
        sessions_end_with_what_they_rest_on(&*$store).await;
        sessions_last_so_long_and_are_so_many(&*$store).await;
        tokens_are_known_until_they_expire(&*$store).await;
        one_link_makes_the_first_user_once(&*$store).await;
    };
}

#[tokio::test]
async fn sqlite_conforms() {
    every_promise!(stores::sqlite().await);
}

#[tokio::test]
async fn postgres_conforms() {
    let server = faultline_testkit::postgres::Postgres::start();
    every_promise!(stores::emptied(&server).await);
}

/// Two admins who remove each other at the same time: one of them stays.
#[tokio::test(flavor = "multi_thread")]
async fn admins_cannot_remove_each_other() {
    let server = faultline_testkit::postgres::Postgres::start();
    let store = stores::postgres(&server).await;
    for round in 0..10 {
        let names = [format!("a{round}"), format!("b{round}")];
        for name in &names {
            add(&*store, name, Role::Admin).await;
        }
        for user in store.users().await.unwrap() {
            if !names.contains(&user.name) {
                store.remove_user(&user.name, "x").await.unwrap();
            }
        }
        let (one, other) = tokio::join!(
            store.remove_user(&names[0], &names[1]),
            store.remove_user(&names[1], &names[0])
        );
        assert!(one.is_ok() != other.is_ok(), "{one:?} {other:?}");
    }
}
