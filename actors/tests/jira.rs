//! The Jira client against a Jira with the faults of a real one: what was done is told from what
//! was not, and what may have been done is found again.

#![expect(clippy::unwrap_used, reason = "a failing test is told by a panic")]

use std::{collections::HashSet, time::Duration};

use faultline_actors::{
    adapters::{
        clock,
        jira::{
            ApiSetting, COMMON_LABEL, Category, Endpoint as Kind, Failure, Jira, Limit, Reopened,
            Settings,
        },
    },
    domain::{secret::Secret, ticket::Draft},
};
use faultline_testkit::{
    eventually,
    jira::{self as fake, Endpoint, Fault, Reason, openapi},
};

/// A client of `jira`, with its credentials.
fn settings(jira: &fake::Jira, setup: &fake::Settings) -> Settings {
    let is_cloud = setup.deployment == fake::Deployment::Cloud;
    let given = |is_given: bool, text: &str| if is_given { text.to_owned() } else { String::new() };
    Settings {
        url: jira.url(),
        email: given(is_cloud, &setup.email),
        token: Secret::new(given(is_cloud, &setup.token)),
        pat: Secret::new(given(!is_cloud, &setup.token)),
        project: "OPS".to_owned(),
        request_timeout: Duration::from_secs(20),
        rate_per_second: 100,
        ..Settings::default()
    }
}

async fn start(setup: fake::Settings) -> (fake::Jira, Jira) {
    let jira = fake::Jira::start(setup.clone()).await;
    let client = Jira::new(&settings(&jira, &setup)).unwrap();
    (jira, client)
}

/// Both kinds of Jira.
fn both() -> [fake::Settings; 2] {
    [fake::Settings::cloud(), fake::Settings::data_center()]
}

fn draft(summary: &str) -> Draft {
    Draft {
        summary: summary.to_owned(),
        description: "It happens *again* and again: https://example.com/a_b\n\n- one\n- two\n\n\
                      ```\nError: no\n\tat f (a.js:1)\n{code}\n```"
            .to_owned(),
        priority: Some("High".to_owned()),
        components: vec!["backend".to_owned()],
        labels: vec!["two words".to_owned()],
        ..Draft::default()
    }
}

/// What went over the wire is what Atlassian's description says, where there is a copy of it.
fn check_wire(jira: &fake::Jira) {
    let Some(description) = openapi::description() else { return };
    let validator = openapi::Validator::load(&description).unwrap();
    let requests = jira.requests();
    let is_cloud = requests.iter().all(|request| request.path.starts_with("/rest/api/3"));
    if is_cloud {
        assert!(!requests.is_empty());
        assert_eq!(validator.mismatches(&requests), Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_ticket_lives() {
    for setup in both() {
        let (jira, client) = start(setup).await;
        assert_eq!(client.myself().await, Ok("Bot".to_owned()));
        let made = client.create(&draft("payment refused"), "fl-1").await.unwrap();
        let second = client.create(&draft("another"), "fl-2").await.unwrap();
        let issue = jira.issue(&made.key).unwrap();
        assert_eq!((issue.id.as_str(), issue.project.as_str()), (made.id.as_str(), "OPS"));
        assert_eq!(issue.labels, ["faultline", "fl-1", "two-words"]);
        assert_eq!(issue.priority.as_deref(), Some("High"));
        assert!(issue.description.contains("at f (a.js:1)"), "{}", issue.description);

        let found = client.find("fl-1").await.unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].key.as_str(), found[0].category), (made.key.as_str(), Category::New));
        assert_eq!(client.find("fl-").await, Ok(vec![]));
        assert_eq!(client.ticket(&made.key).await.unwrap().unwrap(), found[0]);
        assert!((clock::now() - found[0].created).abs() < 60_000_000);
        assert_eq!(client.ticket("OPS-99").await, Ok(None));
        assert_eq!(client.is_gone(&made.key).await, Ok(false));
        assert_eq!(client.is_gone("OPS-99").await, Ok(true));
        assert_eq!(found[0].id.as_ref(), Some(&made.id));
        assert_eq!(client.ticket("..").await, Ok(None));

        client.comment(&made.key, "It is back.", "(fl-job-17)").await.unwrap();
        for number in 0..45 {
            client.comment(&made.key, &format!("no {number}"), "(fl-job-1)").await.unwrap();
        }
        assert_eq!(client.has_comment(&made.key, "(fl-job-17)").await, Ok(true));
        assert_eq!(client.has_comment(&made.key, "(fl-job-18)").await, Ok(false));
        assert!(matches!(client.has_comment("OPS-99", "x").await, Err(Failure::Missing(_))));

        client.edit(&made.key, Some("new\nsummary"), Some("new text")).await.unwrap();
        client.edit(&made.key, None, Some("newer text")).await.unwrap();
        let issue = jira.issue(&made.key).unwrap();
        assert_eq!(
            (issue.summary.as_str(), issue.description.as_str()),
            ("new summary", "newer text")
        );

        client.link(&made.key, &second.key).await.unwrap();
        let link = &jira.issue(&second.key).unwrap().links[0];
        assert_eq!(
            (link.kind.as_str(), &link.inward, &link.outward),
            ("Relates", &made.key, &second.key)
        );

        let changed = client.changed(Duration::from_secs(90), COMMON_LABEL).await.unwrap();
        let keys: HashSet<_> = changed.iter().map(|seen| seen.key.clone()).collect();
        assert_eq!(keys, HashSet::from([made.key, second.key]));
        check_wire(&jira);
    }
}

#[tokio::test]
async fn searches_read_all_pages() {
    for setup in both() {
        let (jira, client) = start(setup).await;
        for part in 0..3 {
            let drafts: Vec<_> =
                (0..50).map(|number| (draft("x"), format!("fl-{part}-{number}"))).collect();
            let made = client.create_bulk(&drafts).await.unwrap();
            assert!(made.iter().all(Result::is_ok));
        }
        let changed = client.changed(Duration::from_mins(5), COMMON_LABEL).await.unwrap();
        assert_eq!(changed.len(), 150);
        assert!(changed.is_sorted_by_key(|seen| seen.updated));
        assert_eq!(jira.requests_to(Endpoint::Search).len(), 2);
        check_wire(&jira);
    }
}

#[tokio::test]
async fn every_ticket_of_a_bulk_has_its_own_outcome() {
    for setup in both() {
        let (jira, client) = start(setup).await;
        let bad = Draft { priority: Some("Urgent".to_owned()), ..draft("bad") };
        let drafts = [("a", draft("a")), ("b", bad.clone()), ("c", draft("c"))];
        let drafts = drafts.map(|(locator, draft)| (draft, format!("fl-{locator}")));
        let outcomes = client.create_bulk(&drafts).await.unwrap();
        let summary =
            |place: usize| jira.issue(&outcomes[place].as_ref().unwrap().key).unwrap().summary;
        assert_eq!((summary(0).as_str(), summary(2).as_str()), ("a", "c"));
        let Err(Failure::Rejected { status: 400, problems }) = &outcomes[1] else {
            panic!("{outcomes:?}")
        };
        assert_eq!(problems[0].0, "priority");

        let none = client.create_bulk(&[(bad.clone(), "fl-d".to_owned())]).await.unwrap();
        assert!(matches!(none[..], [Err(Failure::Rejected { status: 400, .. })]), "{none:?}");
        assert_eq!(jira.issues().len(), 2);
        assert_eq!(client.create_bulk(&[]).await, Ok(vec![]));
        let many = vec![(draft("x"), String::new()); 51];
        assert!(matches!(client.create_bulk(&many).await, Err(Failure::NotSent(_))));
        assert_eq!(jira.issues().len(), 2);
        check_wire(&jira);
    }
}

#[tokio::test]
async fn what_may_have_been_done_is_found_once_search_has_caught_up() {
    for fault in [Fault::ResetAfter, Fault::Status5xxAfter(502), Fault::Status5xxAfter(503)] {
        for mut setup in both() {
            setup.search_lag = Duration::from_millis(400);
            let (jira, client) = start(setup).await;
            jira.fail_next(Endpoint::Create, 1, &fault);
            let failure = client.create(&draft("x"), "fl-1").await.unwrap_err();
            assert!(matches!(failure, Failure::Unknown(_)), "{fault:?}: {failure:?}");
            assert_eq!(jira.issues().len(), 1);
            let found = eventually("search sees it", async || {
                let found = client.find("fl-1").await.unwrap();
                if found.is_empty() { Err("nothing") } else { Ok(found) }
            });
            assert_eq!(found.await.len(), 1);
        }
    }
}

#[tokio::test]
async fn a_time_out_may_have_been_done() {
    let setup = fake::Settings::cloud();
    let jira = fake::Jira::start(setup.clone()).await;
    let client = Jira::new(&Settings {
        request_timeout: Duration::from_millis(300),
        ..settings(&jira, &setup)
    });
    let client = client.unwrap();
    for (fault, done) in [(Fault::Hang, 0), (Fault::HangAfter, 1)] {
        jira.fail_next(Endpoint::Create, 1, &fault);
        let failure = client.create(&draft("x"), "fl-1").await.unwrap_err();
        assert!(matches!(&failure, Failure::Unknown(why) if why.contains("in time")), "{failure}");
        assert_eq!(jira.issues().len(), done);
    }
    for fault in [Fault::ResetBefore, Fault::Status5xxBefore(500)] {
        jira.fail_next(Endpoint::Create, 1, &fault);
        let failure = client.create(&draft("x"), "fl-1").await.unwrap_err();
        assert!(matches!(failure, Failure::Unknown(_)), "{fault:?}: {failure:?}");
    }
    assert_eq!(jira.issues().len(), 1, "nothing is sent twice");
    assert_eq!(jira.requests_to(Endpoint::Create).len(), 4);
}

#[tokio::test]
async fn a_comment_that_may_be_there_is_known_by_its_marker() {
    for setup in both() {
        let (jira, client) = start(setup).await;
        let key = client.create(&draft("x"), "fl-1").await.unwrap().key;
        for (fault, is_there) in [(Fault::ResetBefore, false), (Fault::ResetAfter, true)] {
            jira.fail_next(Endpoint::AddComment, 1, &fault);
            let failure = client.comment(&key, "y", "(fl-job-1)").await.unwrap_err();
            assert!(matches!(failure, Failure::Unknown(_)), "{failure}");
            assert_eq!(client.has_comment(&key, "(fl-job-1)").await, Ok(is_there));
        }
    }
}

#[tokio::test]
async fn an_unreachable_jira_was_not_sent_anything() {
    let setup = fake::Settings::cloud();
    let settings = {
        let jira = fake::Jira::start(setup.clone()).await;
        settings(&jira, &setup)
    };
    let client = Jira::new(&settings).unwrap();
    let refused = eventually("the listener is closed", async || {
        match client.create(&draft("x"), "fl-1").await {
            Err(failure @ Failure::NotSent(_)) => Ok(failure),
            other => Err(other),
        }
    });
    assert!(!refused.await.to_string().contains("secret-token"));
    let unknown = Settings { url: "https://nowhere.invalid".to_owned(), ..settings };
    let failure = Jira::new(&unknown).unwrap().myself().await.unwrap_err();
    assert!(matches!(failure, Failure::NotSent(_)), "{failure:?}");
}

#[tokio::test]
async fn after_a_429_only_its_scope_waits() {
    for (reason, scope) in [
        (Reason::PerIssue, Limit::Ticket),
        (Reason::Burst, Limit::Endpoint),
        (Reason::QuotaTenant, Limit::Everything),
        (Reason::QuotaGlobal, Limit::Everything),
    ] {
        let (jira, client) = start(fake::Settings::cloud()).await;
        let key = client.create(&draft("x"), "fl-1").await.unwrap().key;
        let other = client.create(&draft("y"), "fl-2").await.unwrap().key;
        jira.fail_next(
            Endpoint::AddComment,
            1,
            &Fault::TooManyRequests { retry_after: 60, reason },
        );
        let failure = client.comment(&key, "c", "(m)").await.unwrap_err();
        assert_eq!(failure, Failure::Limited { after: Duration::from_mins(1), scope });
        jira.forget_requests();

        let is_limited = |outcome: Result<(), Failure>| match outcome {
            Ok(()) => false,
            Err(Failure::Limited { after, scope: told }) => {
                assert_eq!(told, scope);
                assert!(after > Duration::from_secs(50) && after <= Duration::from_mins(1));
                true
            }
            Err(failure) => panic!("{failure}"),
        };
        assert!(is_limited(client.comment(&key, "c", "(m)").await));
        let of_other = is_limited(client.comment(&other, "c", "(m)").await);
        let of_edit = is_limited(client.edit(&key, Some("z"), None).await);
        let of_search = is_limited(client.find("fl-1").await.map(drop));
        let expected = match scope {
            Limit::Ticket => (false, true, false),
            Limit::Endpoint => (true, false, false),
            Limit::Everything => (true, true, true),
        };
        assert_eq!((of_other, of_edit, of_search), expected, "{reason:?}");
        let sent = [of_other, of_edit, of_search].iter().filter(|limited| !**limited).count();
        assert_eq!(jira.requests().len(), sent, "what waits is not sent");
        assert!(client.wait_until(Kind::Comment, Some(&key), clock::now()).is_some());
        assert_eq!(client.wait_until(Kind::Comment, Some(&key), clock::now() + 61_000_000), None);
    }
}

#[tokio::test]
async fn refusals_are_told_apart() {
    for setup in both() {
        let (jira, client) = start(setup.clone()).await;
        let key = client.create(&draft("x"), "fl-1").await.unwrap().key;
        let bad = Draft { project: "NOPE".to_owned(), ..draft("x") };
        let failure = client.create(&bad, "fl-2").await.unwrap_err();
        let Failure::Rejected { problems, .. } = &failure else { panic!("{failure}") };
        assert!(problems.iter().any(|(field, _)| field == "project"), "{failure}");
        jira.fail_next(Endpoint::EditIssue, 1, &Fault::Conflict);
        let failure = client.edit(&key, Some("x"), None).await.unwrap_err();
        assert!(matches!(failure, Failure::Conflict(_)), "{failure:?}");
        let failure = client.comment("OPS-99", "x", "y").await.unwrap_err();
        assert!(matches!(failure, Failure::Missing(_)), "{failure:?}");
        jira.fail_next(Endpoint::AddComment, 1, &Fault::Forbidden);
        let failure = client.comment(&key, "x", "y").await.unwrap_err();
        assert!(matches!(failure, Failure::Forbidden(_)), "{failure:?}");
        jira.fail_next(Endpoint::Myself, 1, &Fault::Forbidden);
        let failure = client.myself().await.unwrap_err();
        assert!(matches!(failure, Failure::Unauthorized(_)), "{failure:?}");

        let mut wrong = settings(&jira, &setup);
        for secret in [&mut wrong.token, &mut wrong.pat] {
            if !secret.is_empty() {
                *secret = Secret::new("hunter2");
            }
        }
        let client = Jira::new(&wrong).unwrap();
        let failure = client.create(&draft("x"), "fl-3").await.unwrap_err();
        assert!(matches!(failure, Failure::Unauthorized(_)), "{failure:?}");
        assert!(!format!("{client:?} {failure:?}").contains("hunter2"));
    }
}

#[tokio::test]
async fn tickets_are_opened_again_by_category_in_any_language() {
    for setup in both() {
        let (jira, client) = start(setup.in_german()).await;
        let key = client.create(&draft("x"), "fl-1").await.unwrap().key;
        let already = Reopened::Already { status: "Zu erledigen".to_owned() };
        assert_eq!(client.reopen(&key).await, Ok(already));
        jira.resolve(&key, "Done");
        let seen = client.ticket(&key).await.unwrap().unwrap();
        assert_eq!((seen.category, seen.resolution.as_deref()), (Category::Done, Some("Done")));
        let opened = Reopened::To { status: "Zu erledigen".to_owned(), category: Category::New };
        assert_eq!(client.reopen(&key).await, Ok(opened));
        assert_eq!(jira.issue(&key).unwrap().status.name, "Zu erledigen");

        jira.resolve(&key, "Done");
        jira.fail_next(Endpoint::Transition, 1, &Fault::ResetAfter);
        assert!(matches!(client.reopen(&key).await, Err(Failure::Unknown(_))));
        assert!(matches!(client.reopen(&key).await, Ok(Reopened::Already { .. })));

        jira.change(|setup| setup.transitions.retain(|step| step.to != "10000"));
        jira.resolve(&key, "Done");
        assert_eq!(client.reopen(&key).await, Ok(Reopened::NoTransition));
        assert!(matches!(client.reopen("OPS-99").await, Err(Failure::Missing(_))));
        check_wire(&jira);
    }
}

#[tokio::test]
async fn a_custom_field_can_carry_the_locator() {
    for setup in both() {
        let setup = setup.with_field(10_107, "Fault", fake::Kind::Text);
        let jira = fake::Jira::start(setup.clone()).await;
        let mut settings = settings(&jira, &setup);
        settings.locator_field = "customfield_10107".to_owned();
        let client = Jira::new(&settings).unwrap();
        let key = client.create(&draft("x"), "fl-1").await.unwrap().key;
        client.create(&draft("y"), "fl-10").await.unwrap();
        assert_eq!(jira.issue(&key).unwrap().labels, ["faultline", "two-words"]);
        let found = client.find("fl-1").await.unwrap();
        assert_eq!(found.iter().map(|seen| &seen.key).collect::<Vec<_>>(), [&key]);
        check_wire(&jira);
    }
}

#[tokio::test]
async fn preflight_says_what_would_be_refused() {
    for mut setup in both() {
        let (jira, client) = start(setup.clone()).await;
        let problems = client.preflight("", "", &draft("x")).await.unwrap();
        assert_eq!(problems, Vec::<String>::new());
        check_wire(&jira);
        let of = async |project, kind, draft: Draft| {
            client.preflight(project, kind, &draft).await.unwrap().join("\n")
        };
        let found = of("NOPE", "", draft("x")).await;
        assert!(found.contains("project = \"NOPE\": Jira has no such project"), "{found}");
        let found = of("", "Incident", draft("x")).await;
        assert_eq!(found, "issue_type = \"Incident\": project OPS has Bug, Task, Story");
        let found = of("", "", Draft { priority: Some("P1".to_owned()), ..draft("x") }).await;
        assert!(found.contains("\"Priority\" (priority) has no P1, but Highest"), "{found}");

        setup.hidden_fields.insert("labels".to_owned());
        let mut setup = setup.with_field(10_107, "Team", fake::Kind::Text);
        setup.custom_fields[0].is_required = true;
        let (_jira, client) = start(setup).await;
        let found = client.preflight("", "", &draft("x")).await.unwrap().join("\n");
        assert!(found.contains("\"Team\" (customfield_10107) is required"), "{found}");
        assert!(found.contains("field labels is set, but not on the screen"), "{found}");
    }
}

#[tokio::test]
async fn long_texts_are_taken() {
    for setup in both() {
        let (jira, client) = start(setup).await;
        let long = Draft {
            summary: "😀".repeat(500),
            description: format!("```\n{}", "\"x\\\" 😀\n".repeat(20_000)),
            labels: vec!["l".repeat(500)],
            ..draft("x")
        };
        let key = client.create(&long, "fl-1").await.unwrap().key;
        client.comment(&key, &long.description, "(fl-job-1)").await.unwrap();
        assert_eq!(client.has_comment(&key, "(fl-job-1)").await, Ok(true));
        assert!(jira.issue(&key).unwrap().comments[0].body.contains("cut"));
    }
}

#[tokio::test]
async fn any_fault_leaves_no_ticket_unaccounted_for() {
    let faults = [
        Fault::ResetBefore,
        Fault::ResetAfter,
        Fault::Status5xxBefore(503),
        Fault::Status5xxAfter(500),
        Fault::Conflict,
    ];
    let (jira, client) = start(fake::Settings::cloud()).await;
    jira.chaos(0.5, &faults, 7);
    let (mut made, mut unknown) = (HashSet::new(), HashSet::new());
    for number in 0..200 {
        let locator = format!("fl-{number}");
        match client.create(&draft("x"), &locator).await {
            Ok(_) => made.insert(locator),
            Err(Failure::Unknown(_)) => unknown.insert(locator),
            Err(_) => false,
        };
    }
    let mut there = HashSet::new();
    for issue in jira.issues() {
        let locator = issue.labels.into_iter().find(|label| label.starts_with("fl-")).unwrap();
        assert!(there.insert(locator), "no ticket is made twice");
    }
    assert!(made.is_subset(&there));
    assert!(there.difference(&made).all(|locator| unknown.contains(locator)));
    assert!(!made.is_empty() && !unknown.is_empty());
}

#[test]
fn a_dry_run_shows_what_would_be_sent() {
    let settings = Settings { api: ApiSetting::Server, ..Settings::default() };
    let request = faultline_actors::adapters::jira::create_request(&settings, &draft("x"), "fl-1");
    assert_eq!(request["fields"]["labels"][2], "fl-1");
    assert!(request["fields"]["description"].as_str().unwrap().contains("{code}"));
    assert!(Jira::new(&settings).unwrap_err().contains("url = \"\""));
}
