//! What goes wrong.

use std::{
    pin::pin,
    time::{Duration, Instant},
};

use faultline_testkit::{
    eventually,
    jira::{Bucket, Endpoint, Fault, Limits, Reason, Window},
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{Asker, document, issue};

impl Asker {
    async fn try_create(&self) -> reqwest::Result<crate::Heard> {
        self.ask(Method::POST, "3/issue", Some(&issue("a", &[]))).await
    }

    fn count(&self) -> usize {
        self.jira.issues().len()
    }

    /// Whether a creation that goes wrong in this way is still unanswered when `is_done` holds.
    async fn hangs(&self, fault: Fault, is_done: impl Fn(&Self) -> bool) {
        self.jira.fail_next(Endpoint::Create, 1, &fault);
        let mut asked = pin!(self.try_create());
        tokio::select! {
            heard = &mut asked => panic!("an answer: {heard:?}"),
            () = eventually("it came", async || if is_done(self) { Ok(()) } else { Err(()) }) => {}
        }
    }
}

#[tokio::test]
async fn connections_are_reset() {
    let asker = Asker::cloud().await;
    for (fault, count) in [(Fault::ResetBefore, 0), (Fault::ResetAfter, 1)] {
        asker.jira.fail_next(Endpoint::Create, 1, &fault);
        let error = asker.try_create().await.unwrap_err();
        assert!(format!("{error:?}").contains("reset"), "{error:?}");
        assert_eq!(asker.count(), count, "{fault:?}");
    }
    let recorded = asker.jira.requests_to(Endpoint::Create);
    assert_eq!((recorded[1].status, recorded[1].fault.as_ref()), (None, Some(&Fault::ResetAfter)));
    assert_eq!(recorded[1].body["fields"]["summary"], "a");
    assert_eq!(asker.jira.faults_waiting(), 0);
    assert_eq!(asker.try_create().await.unwrap().status, 201);
}

#[tokio::test]
async fn answers_do_not_come() {
    let asker = Asker::cloud().await;
    asker.hangs(Fault::Hang, |asker| asker.jira.requests().len() == 1).await;
    assert_eq!(asker.count(), 0);
    asker.hangs(Fault::HangAfter, |asker| asker.count() == 1).await;
}

#[tokio::test]
async fn slow_work_goes_on_without_its_client() {
    let asker = Asker::cloud().await;
    let slow = Fault::Slow(Duration::from_millis(300));
    asker.hangs(slow.clone(), |asker| asker.jira.requests().len() == 1).await;
    assert_eq!(asker.count(), 0, "the client is gone before the work is done");
    eventually("it is done", async || if asker.count() == 1 { Ok(()) } else { Err(()) }).await;
    asker.jira.fail_next(Endpoint::Create, 1, &slow);
    let started = Instant::now();
    assert_eq!(asker.try_create().await.unwrap().status, 201);
    assert!(started.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn statuses_that_are_asked_for() {
    let asker = Asker::cloud().await;
    let cases = [
        (Fault::Status5xxBefore(503), 503, 0),
        (Fault::Status5xxAfter(502), 502, 1),
        (Fault::Unauthorized, 401, 1),
        (Fault::Forbidden, 403, 1),
        (Fault::Conflict, 409, 1),
    ];
    for (fault, status, count) in cases {
        asker.jira.fail_next(Endpoint::Create, 1, &fault);
        let heard = asker.try_create().await.unwrap();
        assert_eq!((heard.status, asker.count()), (status, count), "{fault:?}");
        assert_eq!(heard.body == Value::Null, status >= 500, "a proxy speaks no JSON");
    }
    let too_many = Fault::TooManyRequests { retry_after: 7, reason: Reason::QuotaTenant };
    asker.jira.fail_next(Endpoint::Any, 1, &too_many);
    let heard = asker.try_create().await.unwrap();
    assert_eq!((heard.status, heard.header("retry-after")), (429, "7"));
    assert_eq!(heard.header("ratelimit-reason"), "jira-quota-tenant-based");
    assert_eq!(heard.header("x-ratelimit-nearlimit"), "true");
    let reset: jiff::Timestamp = heard.header("x-ratelimit-reset").parse().unwrap();
    assert!(reset > jiff::Timestamp::now());
}

#[tokio::test]
async fn faults_hit_their_endpoint_only() {
    let asker = Asker::cloud().await;
    asker.jira.fail_next(Endpoint::Search, 2, &Fault::Status5xxBefore(503));
    assert_eq!(asker.try_create().await.unwrap().status, 201);
    let search = json!({"jql": "project = OPS"});
    for status in [503, 503, 200] {
        assert_eq!(asker.post("3/search/jql", &search).await.status, status);
    }
}

#[tokio::test]
async fn jira_is_down_until_it_is_up() {
    let asker = Asker::cloud().await;
    asker.jira.down(Fault::ResetBefore);
    for _ in 0..3 {
        asker.try_create().await.unwrap_err();
    }
    asker.jira.up();
    assert_eq!(asker.try_create().await.unwrap().status, 201);
}

#[tokio::test]
async fn chaos_is_a_share_and_can_be_repeated() {
    let mut runs = Vec::new();
    for _ in 0..2 {
        let asker = Asker::cloud().await;
        asker.jira.chaos(0.3, &[Fault::Status5xxBefore(500), Fault::Status5xxAfter(502)], 7);
        let mut statuses = Vec::new();
        for _ in 0..200 {
            statuses.push(asker.try_create().await.unwrap().status);
        }
        let done = statuses.iter().filter(|status| **status != 500).count();
        assert_eq!(asker.count(), done);
        runs.push(statuses);
    }
    assert_eq!(runs[0], runs[1]);
    let failed = runs[0].iter().filter(|status| **status >= 500).count();
    assert!((40..=80).contains(&failed), "{failed} of 200");
}

#[tokio::test]
async fn an_endpoint_has_a_bucket() {
    let asker = Asker::cloud().await;
    let bucket = Bucket { burst: 3, per_second: 1 };
    let limits = Limits { per_endpoint: Some(bucket), ..Limits::default() };
    asker.jira.change(|settings| settings.limits = limits);
    let first = asker.try_create().await.unwrap();
    assert_eq!((first.status, first.header("x-ratelimit-remaining")), (201, "2"));
    let mut heard = first;
    for _ in 0..3 {
        heard = asker.try_create().await.unwrap();
    }
    assert_eq!(heard.status, 429);
    assert_eq!(heard.header("ratelimit-reason"), "jira-burst-based");
    assert_eq!(heard.header("retry-after"), "1");
    assert_eq!(heard.header("x-ratelimit-limit"), "1");
    assert_eq!(asker.count(), 3, "what is refused is not done");
    assert_eq!(asker.get("3/myself").await.status, 200, "another endpoint's bucket is full");
}

#[tokio::test]
async fn an_issue_takes_only_so_many_writes() {
    let asker = Asker::cloud().await;
    asker.jira.change(|settings| {
        settings.limits = Limits { per_endpoint: None, ..Limits::published() };
    });
    let (one, other) = (asker.file("a", &[]).await, asker.file("b", &[]).await);
    let body = json!({"body": document("again")});
    for _ in 0..20 {
        assert_eq!(asker.post(&format!("3/issue/{one}/comment"), &body).await.status, 201);
    }
    let heard = asker.post(&format!("3/issue/{one}/comment"), &body).await;
    assert_eq!(heard.status, 429);
    assert_eq!(heard.header("ratelimit-reason"), "jira-per-issue-on-write");
    assert_eq!(asker.post(&format!("3/issue/{other}/comment"), &body).await.status, 201);
    assert_eq!(asker.get(&format!("3/issue/{one}")).await.status, 200, "reading is free");
}

#[tokio::test]
async fn a_quota_holds_for_all_calls() {
    let asker = Asker::cloud().await;
    let quota = Window { count: 4, within: Duration::from_hours(1) };
    asker.jira.change(|settings| settings.limits.quota = Some(quota));
    let mut near = Vec::new();
    for _ in 0..4 {
        near.push(asker.get("3/myself").await.header("x-ratelimit-nearlimit").to_owned());
    }
    assert_eq!(near, ["false", "false", "false", "true"]);
    let heard = asker.try_create().await.unwrap();
    assert_eq!(heard.header("ratelimit-reason"), "jira-quota-tenant-based");
    assert!(heard.header("retry-after").parse::<u64>().unwrap() > 3_000);
}

#[tokio::test]
async fn only_the_newest_requests_are_kept() {
    let asker = Asker::cloud().await;
    asker.jira.change(|settings| settings.recorded_requests = 2);
    for path in ["3/myself", "3/priority", "3/field"] {
        asker.get(path).await;
    }
    let kept: Vec<_> =
        asker.jira.requests().iter().map(|kept| (kept.endpoint, kept.status)).collect();
    assert_eq!(kept, [(Endpoint::Priorities, Some(200)), (Endpoint::Fields, Some(200))]);
    asker.jira.forget_requests();
    asker.jira.change(|settings| settings.recorded_requests = 0);
    asker.get("3/myself").await;
    assert!(asker.jira.requests().is_empty());
}

#[tokio::test]
async fn bodies_must_be_json() {
    let asker = Asker::cloud().await;
    let url = format!("{}/rest/api/3/issue", asker.jira.url());
    let request = |kind: &str| {
        let authorization = asker.jira.authorization();
        let request = asker.http.post(&url).header("authorization", authorization);
        request.header("content-type", kind).body("{")
    };
    assert_eq!(crate::heard(request("text/plain")).await.unwrap().status, 415);
    assert_eq!(crate::heard(request("application/json")).await.unwrap().status, 400);
}
