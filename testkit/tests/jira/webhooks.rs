//! What others are told.

use std::sync::{Arc, Mutex};

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, routing::post};
use faultline_testkit::{eventually, jira::Webhook};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;
use tokio::net::TcpListener;

use crate::Asker;

type Told = Arc<Mutex<Vec<(String, Bytes)>>>;

/// Listens for webhooks; gives its address and what it was told, with the signatures.
async fn listener() -> (String, Told) {
    async fn take(State(told): State<Told>, headers: HeaderMap, body: Bytes) {
        let signature = headers.get("x-hub-signature").map(|value| value.to_str().unwrap());
        told.lock().unwrap().push((signature.unwrap_or_default().to_owned(), body));
    }
    let told = Told::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let router = Router::new().route("/hook", post(take)).with_state(told.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, told)
}

#[tokio::test]
async fn changes_are_told_and_signed() {
    let asker = Asker::cloud().await;
    let (url, told) = listener().await;
    let secret = "It's a Secret to Everybody".to_owned();
    let webhook = Webhook { url, secret: Some(secret.clone()) };
    asker.jira.change(|settings| settings.webhook = Some(webhook));
    let key = asker.file("a", &[]).await;
    asker.jira.resolve(&key, "Won't Do");
    asker.jira.delete(&key);
    eventually("three are told", async || {
        let count = told.lock().unwrap().len();
        if count == 3 { Ok(()) } else { Err(count) }
    })
    .await;
    let told = told.lock().unwrap().clone();
    for (signature, body) in &told {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(body);
        let digest = mac.finalize().into_bytes();
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(*signature, format!("sha256={digest}"));
    }
    let bodies: Vec<Value> =
        told.iter().map(|(_, body)| serde_json::from_slice(body).unwrap()).collect();
    let events: Vec<_> = bodies.iter().map(|body| body["webhookEvent"].as_str().unwrap()).collect();
    assert_eq!(events, ["jira:issue_created", "jira:issue_updated", "jira:issue_deleted"]);
    let updated = &bodies[1];
    assert_eq!(updated["issue"]["key"], key.as_str());
    assert_eq!(updated["issue"]["fields"]["status"]["statusCategory"]["key"], "done");
    let items = updated["changelog"]["items"].as_array().unwrap();
    assert_eq!((&items[0]["field"], &items[0]["toString"]), (&"status".into(), &"Done".into()));
    assert_eq!(items[1]["toString"], "Won't Do");
}
