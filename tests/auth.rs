//! Who is not known is not let in, and what makes known is never shown.

#![expect(clippy::unwrap_used, reason = "a failing test is told by a panic")]

use faultline_testkit::{
    eventually,
    program::{Program, app_line, frames, run_to_end},
};
use reqwest::{RequestBuilder, Response};
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_faultline");

const DRAINS: &str = r#"[
    { user = "shop", password = "drain-password-1", service = "shop", environment = "staging" },
    { token = "d.drain-token-2", service = "api" },
    { user = "both", password = "drain-password-3", token = "d.drain-token-3", service = "both" },
]"#;
const RECEIVER_TOKEN: &str = "receiver-token-4";
const ADMIN_TOKEN: &str = "admin-token-5-long";
const METRICS_TOKEN: &str = "metrics-token-6-long";
const STORE_PASSWORD: &str = "store-password-7";
/// What no output may contain.
const SECRETS: [&str; 8] = [
    "drain-password-1",
    "drain-token-2",
    "drain-password-3",
    "drain-token-3",
    RECEIVER_TOKEN,
    ADMIN_TOKEN,
    METRICS_TOKEN,
    STORE_PASSWORD,
];

fn guarded() -> Program {
    Program::new(BINARY)
        .set("receiver.drains", &DRAINS.replace('\n', ""))
        .set("receiver.token", RECEIVER_TOKEN)
        .set("admin.auth", "token")
        .set("admin.token", ADMIN_TOKEN)
        .set("admin.metrics_token", METRICS_TOKEN)
}

async fn status(request: RequestBuilder) -> u16 {
    request.send().await.unwrap().status().as_u16()
}

/// The challenge of an answer that must be a 401 or 403.
async fn refused(request: RequestBuilder, status: u16) -> Option<String> {
    let answer: Response = request.send().await.unwrap();
    assert_eq!(answer.status(), status);
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    let challenge = answer.headers().get("www-authenticate");
    let challenge = challenge.map(|challenge| challenge.to_str().unwrap().to_owned());
    let problem: Value = answer.json().await.unwrap();
    assert_eq!(problem["status"], status);
    challenge
}

#[tokio::test]
async fn drains_are_known_by_password_or_token() {
    let mut program = guarded().set("admin.auth", "off");
    program.start();
    let post = || {
        let request = program.post("/logdrains?service=forged", "application/logplex-1");
        request.body(frames([app_line("web.1", "x")]))
    };
    let token = |request: RequestBuilder, token: &str| request.header("logplex-drain-token", token);
    let basic = |user: &str, password: &str| post().basic_auth(user, Some(password));

    assert_eq!(status(basic("shop", "drain-password-1")).await, 204);
    assert_eq!(status(token(post(), "d.drain-token-2")).await, 204);
    assert_eq!(status(token(basic("both", "drain-password-3"), "d.drain-token-3")).await, 204);

    let realm = Some("Basic realm=\"faultline\"".to_owned());
    for request in [
        post(),
        basic("shop", "wrong"),
        basic("shop", ""),
        basic("other", "drain-password-1"),
        basic("both", "drain-password-3"),
        post().header("authorization", "Basic !!!"),
        post().header("authorization", format!("Bearer {RECEIVER_TOKEN}")),
        post().header("x-api-key", RECEIVER_TOKEN),
    ] {
        assert_eq!(refused(request, 401).await, realm);
    }
    for request in
        [token(basic("shop", "wrong"), "d.other"), token(basic("both", "wrong"), "d.drain-token-3")]
    {
        assert_eq!(refused(request, 403).await, None);
    }
    let services = "SELECT environment || ' ' || service FROM events ORDER BY sequence";
    program.settled().await;
    let expected = ["staging shop", "production api", "production both"];
    assert_eq!(program.database.texts(services).await, expected);
}

#[tokio::test]
async fn a_list_of_tokens_forbids_others() {
    let mut program =
        Program::new(BINARY).set("receiver.drains", r#"[{ token = "d.drain-token-2" }]"#);
    program.start();
    let post = |token: &str| {
        let request = program.post("/logdrains", "application/logplex-1");
        request.header("logplex-drain-token", token).body(frames([app_line("web.1", "x")]))
    };
    assert_eq!(status(post("d.drain-token-2")).await, 204);
    for wrong in ["", "d.drain-token-", "d.drain-token-22", "D.DRAIN-TOKEN-2"] {
        assert_eq!(refused(post(wrong), 403).await, None);
    }
    assert_eq!(program.settled().await.line("logdrains").received, 1);
    // The other paths have a token of their own, and none is set.
    program.report(r#"{"message":"open"}"#).await;
}

#[tokio::test]
async fn reports_and_changes_need_the_token() {
    let mut program = guarded();
    program.start();
    for (path, body, accepted) in [
        ("/errors/log", r#"{"message":"x"}"#, 200),
        ("/api/v1/errors/log", r#"{"message":"x"}"#, 200),
        ("/maxwell", r#"{"type":"insert"}"#, 204),
    ] {
        let post = || program.post(path, "application/json").body(body);
        for request in [
            post(),
            post().bearer_auth("wrong"),
            post().bearer_auth(format!("{RECEIVER_TOKEN}x")),
            post().bearer_auth(ADMIN_TOKEN),
            post().basic_auth("x", Some(RECEIVER_TOKEN)),
            post().header("x-api-key", ""),
        ] {
            assert_eq!(refused(request, 401).await, Some("Bearer".to_owned()), "{path}");
        }
        for request in [
            post().bearer_auth(RECEIVER_TOKEN),
            post().header("X-API-KEY", RECEIVER_TOKEN),
            post().header("authorization", format!("bearer {RECEIVER_TOKEN}")),
        ] {
            assert_eq!(status(request).await, accepted, "{path}");
        }
    }
}

#[tokio::test]
async fn the_admin_listener_needs_its_token() {
    let mut program = guarded();
    program.start();
    let protected =
        ["/health", "/api/health", "/api/ledger", "/api/events", "/api/faults", "/api/rejected"];
    for path in protected.into_iter().chain(["/metrics"]) {
        for request in [
            program.look(path),
            program.look(path).bearer_auth("wrong"),
            program.look(path).bearer_auth(RECEIVER_TOKEN),
            program.look(path).header("x-api-key", "admin-token-5"),
        ] {
            assert_eq!(refused(request, 401).await, Some("Bearer".to_owned()), "{path}");
        }
        // Before the store is reached, the ledger is not complete.
        let known = async || status(program.look(path).bearer_auth(ADMIN_TOKEN)).await;
        eventually(path, async || match known().await {
            200 => Ok(()),
            other => Err(other),
        })
        .await;
        assert_eq!(status(program.look(path).header("x-api-key", ADMIN_TOKEN)).await, 200);
        let expected = if path == "/metrics" { 200 } else { 401 };
        assert_eq!(status(program.look(path).bearer_auth(METRICS_TOKEN)).await, expected, "{path}");
    }
    for path in ["/livez", "/readyz"] {
        assert_eq!(status(program.look(path)).await, 200, "a load balancer has no token: {path}");
    }
}

#[tokio::test]
async fn metrics_alone_may_need_a_token() {
    let mut program = Program::new(BINARY).set("admin.metrics_token", METRICS_TOKEN);
    program.start();
    assert_eq!(refused(program.look("/metrics"), 401).await, Some("Bearer".to_owned()));
    assert_eq!(status(program.look("/metrics").bearer_auth(METRICS_TOKEN)).await, 200);
    assert_eq!(status(program.look("/health")).await, 200);
}

#[tokio::test]
async fn a_listener_beyond_loopback_needs_authentication() {
    let open = |key: &str| {
        let program = Program::new(BINARY).set(key, "0.0.0.0:0");
        if key == "receiver.listen" {
            program
        } else {
            program.set("receiver.listen", "127.0.0.1:0")
        }
    };
    for (program, key) in [
        (open("receiver.listen"), "receiver.listen"),
        (open("receiver.listen").set("receiver.token", RECEIVER_TOKEN), "receiver.listen"),
        (
            open("receiver.listen").set("receiver.drains", &DRAINS.replace('\n', "")),
            "receiver.listen",
        ),
        (Program::new(BINARY).set("receiver.listen", "[::]:0"), "receiver.listen"),
        (open("admin.listen"), "admin.auth"),
        (open("admin.listen").set("admin.metrics_token", METRICS_TOKEN), "admin.auth"),
        (open("admin.listen").set("admin.auth", "token"), "admin.token"),
    ] {
        let output = program.run().await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{said}");
        assert!(said.contains(key), "{said}");
    }
    let mut program =
        guarded().set("receiver.listen", "0.0.0.0:0").set("admin.listen", "0.0.0.0:0");
    program.start();
    program.finish().await;
}

#[tokio::test]
async fn secrets_are_never_shown() {
    let url = format!("postgres://user:{STORE_PASSWORD}@127.0.0.1:1/db");
    let mut program = guarded()
        .set("store.url", &url)
        .set("telemetry.filter", "debug")
        .set("receiver.body_limit", "100 KiB");
    program.start();
    let mut shown = Vec::new();
    let mut keep = async |request: RequestBuilder| {
        let answer = request.send().await.unwrap();
        shown.push(format!("{:?} {}", answer.headers().clone(), answer.text().await.unwrap()));
    };
    let requests: [(&str, &str, String); 5] = [
        ("/logdrains", "application/logplex-1", "no frame".into()),
        ("/logdrains", "text/plain", "x".into()),
        ("/errors/log", "application/json", "{".into()),
        ("/maxwell", "application/json", "x".repeat(200 << 10)),
        ("/nothing", "application/json", "x".into()),
    ];
    for (path, content_type, body) in requests {
        let post = || program.post(path, content_type).body(body.clone());
        keep(post()).await;
        keep(post().basic_auth("shop", Some("drain-password-1"))).await;
        keep(post().basic_auth("wrong", Some("drain-password-3"))).await;
        keep(post().header("logplex-drain-token", "d.drain-token-2")).await;
        keep(post().header("logplex-drain-token", "d.drain-token-3")).await;
        keep(post().bearer_auth(RECEIVER_TOKEN)).await;
        keep(post().header("x-api-key", format!("{RECEIVER_TOKEN}x"))).await;
    }
    for path in ["/health", "/api/ledger", "/api/events", "/metrics", "/readyz", "/nothing"] {
        keep(program.look(path)).await;
        keep(program.look(path).bearer_auth(ADMIN_TOKEN)).await;
        keep(program.look(path).bearer_auth(METRICS_TOKEN)).await;
    }
    let health = program.look("/health").bearer_auth(ADMIN_TOKEN).send().await.unwrap();
    assert_eq!(health.status(), 503);
    keep(program.look("/metrics").header("accept", "application/json").bearer_auth(ADMIN_TOKEN))
        .await;
    program.signal("TERM");
    eventually("it is ending", async || {
        let log = program.log();
        if log.contains("told to end") { Ok(()) } else { Err(log) }
    })
    .await;
    // It would wait for the store.
    program.signal("TERM");
    program.ended().await;
    shown.push(program.log());
    for arguments in [&["check"][..], &["migrate"], &["replay", "--rejected"], &["--version"]] {
        let output = guarded().set("store.url", &url).arguments(arguments).run().await;
        shown.push(format!("{output:?}"));
    }
    assert!(shown.iter().any(|text| text.contains("postgres://user:***@127.0.0.1:1/db")));
    for text in shown {
        for secret in SECRETS {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
}

#[tokio::test]
async fn secrets_are_never_shown_by_a_refusal() {
    let url = |url: &str| format!("[store]\nurl = {url}");
    for config in [
        format!("[admin]\ntoken = \"{ADMIN_TOKEN}"),
        format!("[admin]\ntoken = {ADMIN_TOKEN}"),
        format!("[admin]\nauth = \"token\"\ntoken = [\"{ADMIN_TOKEN}\"]"),
        format!("[admin]\ntokn = \"{ADMIN_TOKEN}\""),
        format!("[admin]\nmetrics_token = {{ value = \"{METRICS_TOKEN}\" }}"),
        format!("[receiver]\ntoken = \"{}\"", &RECEIVER_TOKEN[..11]),
        "[receiver]\ndrains = \"shop:drain-password-1\"".to_owned(),
        "[receiver]\ndrains = [\"shop:drain-password-1\"]".to_owned(),
        "[[receiver.drains]]\nuser = \"shop\"\npassword = [\"drain-password-1\"]".to_owned(),
        "[[receiver.drains]]\nuser = \"shop\"\npasword = \"drain-password-1\"".to_owned(),
        "[receiver.drains]\nuser = \"shop\"\npassword = \"drain-password-1\"".to_owned(),
        "[[receiver.drains]]\npassword = \"drain-password-1\"".to_owned(),
        url(&format!("\"mysql://u:{STORE_PASSWORD}@h/d\"")),
        url(&format!("\"postgres:u:{STORE_PASSWORD}@h/d\"")),
        url(&format!("\"u:{STORE_PASSWORD}@h/d\"")),
        url(&format!("\"postgres://u:a/{STORE_PASSWORD}@h:port/d\"")),
        url(&format!("\"postgres://u@h:port/d?password={STORE_PASSWORD}\"")),
        url(&format!("\"postgres://u@h/d?pasword={STORE_PASSWORD}\"")),
        url(&format!("[\"postgres://u:{STORE_PASSWORD}@h/d\"]")),
        url(&format!("\"postgres://u:{STORE_PASSWORD}@h/d")),
    ] {
        let program = Program::new(BINARY).arguments(&["run", "--config", "wrong.toml"]);
        std::fs::write(program.directory().join("wrong.toml"), &config).unwrap();
        let mut command = program.command();
        command.env_remove("FAULTLINE_STORE__URL");
        let output = run_to_end(command).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{config}: {said}");
        for secret in SECRETS.into_iter().chain([&RECEIVER_TOKEN[..11]]) {
            assert!(!said.contains(secret), "{config}: {said}");
        }
    }
}
