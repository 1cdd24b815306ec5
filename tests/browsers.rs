//! What browsers are given and told: the dashboard's files, strict headers, and that pages of other
//! sites can do nothing through them.

#![expect(clippy::unwrap_used, reason = "a failing test is told by a panic")]

use std::{fs, path::Path};

use faultline_testkit::{PATIENCE, program::Program};
use reqwest::Response;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

#[path = "support/login.rs"]
mod login;

use login::{BINARY, PASSWORD, add_user, log_in, program, status};

const PAGE: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

/// What every answer says, whoever asked.
fn assert_strict(answer: &Response) {
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("x-frame-options", "DENY"),
        ("cross-origin-opener-policy", "same-origin"),
    ] {
        assert_eq!(answer.headers()[name], value, "{}", answer.url());
    }
    let policy = answer.headers()["content-security-policy"].to_str().unwrap();
    assert_eq!(
        policy,
        "default-src 'self'; img-src 'self' data:; style-src 'self'; frame-ancestors 'none'; \
         base-uri 'none'; form-action 'self'; object-src 'none'"
    );
    assert!(answer.headers().contains_key("permissions-policy"));
    assert!(!answer.headers().contains_key("strict-transport-security"), "not by plain HTTP");
    assert!(!answer.headers().contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn every_answer_is_strict() {
    let mut program = program();
    program.start();
    for (method, path, expected) in [
        ("GET", "/", 200),
        ("GET", "/livez", 200),
        ("GET", "/metrics", 401),
        ("GET", "/api/session", 200),
        ("GET", "/api/faults", 401),
        ("GET", "/api/nothing", 404),
        ("DELETE", "/livez", 405),
        ("POST", "/api/session", 415),
        ("GET", "/api/session?%0d%0aX-Injected:%201", 200),
    ] {
        let answer =
            program.ask(method, path).header("origin", origin(&program)).send().await.unwrap();
        assert_eq!(answer.status(), expected, "{method} {path}");
        assert_strict(&answer);
    }
}

fn origin(program: &Program) -> String {
    format!("http://{}", program.admin())
}

#[tokio::test]
async fn a_name_of_another_site_gives_nothing_away() {
    let mut program = Program::new(BINARY).set("jira.public_url", "https://faults.example.com/x");
    program.start();
    for path in ["/", "/api/faults", "/metrics", "/livez", "/api/session", "/nothing"] {
        for host in ["evil.example", "evil.example:4000", "127.0.0.1.evil.example"] {
            let answer = program.look(path).header("host", host).send().await.unwrap();
            assert_eq!(answer.status(), 403, "{path} as {host}");
            assert_strict(&answer);
        }
        for host in ["localhost:4000", "faults.example.com"] {
            assert_ne!(
                status(program.look(path).header("host", host)).await,
                403,
                "{path} as {host}"
            );
        }
    }
    assert!(program.metric("faultline_admin_refused_total", "reason=\"host\"").await >= 18.0);
}

#[tokio::test]
async fn pages_of_other_sites_change_nothing() {
    const TOKEN: &str = "admin-token-long";
    for auth in ["off", "token", "users"] {
        let mut program = Program::new(BINARY).set("admin.auth", auth).set("admin.token", TOKEN);
        program.start();
        let pause = || program.ask("POST", "/api/dispatch/pause").bearer_auth(TOKEN);
        for (name, value) in [
            ("origin", "https://evil.example"),
            ("origin", "null"),
            ("origin", "http://127.0.0.1:1"),
            ("sec-fetch-site", "cross-site"),
        ] {
            assert_eq!(status(pause().header(name, value)).await, 403, "{auth}: {name}: {value}");
        }
        assert_eq!(status(pause().header("origin", origin(&program))).await, 200, "{auth}");
        assert_eq!(status(pause()).await, 200, "{auth}: a program that is no browser");
        let read = program.look("/api/faults").bearer_auth(TOKEN);
        let read = read.header("origin", "https://evil.example").send().await.unwrap();
        assert_eq!(read.status(), 200);
        assert_strict(&read);
    }
}

#[tokio::test]
async fn other_sites_are_let_in_by_name_only() {
    let mut program = program().set("admin.cors_origins", "https://other.example");
    program.start();
    let preflight = async |origin: &str| {
        let request = program.ask("OPTIONS", "/api/dispatch/pause").header("origin", origin);
        let request = request.header("access-control-request-method", "POST");
        request.header("access-control-request-headers", "authorization").send().await.unwrap()
    };
    let answer = preflight("https://other.example").await;
    assert_eq!(answer.headers()["access-control-allow-origin"], "https://other.example");
    assert!(!answer.headers().contains_key("access-control-allow-credentials"), "no cookies");
    for origin in ["https://evil.example", "https://other.example.evil", "http://other.example"] {
        let answer = preflight(origin).await;
        assert!(!answer.headers().contains_key("access-control-allow-origin"), "{origin}");
    }
    let post = program.ask("POST", "/api/dispatch/pause").header("origin", "https://other.example");
    assert_eq!(status(post).await, 401, "it needs a token all the same");
}

#[tokio::test]
async fn the_page_is_there_for_browsers() {
    let mut program = program();
    program.start();
    let get = |path: &str, accept: &str| program.look(path).header("accept", accept);
    let first = get("/", PAGE).send().await.unwrap();
    assert_strict(&first);
    assert_eq!(first.headers()["content-type"], "text/html; charset=utf-8");
    assert_eq!(first.headers()["cache-control"], "no-cache");
    let etag = first.headers()["etag"].clone();
    let text = first.text().await.unwrap();
    assert!(text.to_ascii_lowercase().starts_with("<!doctype html>"), "{text}");
    for path in ["/faults", "/faults/7", "/health", "/login", "/setup", "/settings"] {
        assert_eq!(get(path, PAGE).send().await.unwrap().text().await.unwrap(), text, "{path}");
    }
    let again = get("/faults", PAGE).header("if-none-match", &etag).send().await.unwrap();
    assert_eq!((again.status().as_u16(), &again.headers()["etag"]), (304, &etag));
    let head = program.ask("HEAD", "/faults").header("accept", PAGE).send().await.unwrap();
    assert_eq!((head.status().as_u16(), &head.headers()["etag"]), (200, &etag));
    assert_eq!(head.headers()["content-length"], text.len().to_string().as_str());
    assert_eq!(head.text().await.unwrap(), "");
    // Programs get what there is, and the rest of the API is no page.
    assert_eq!(status(get("/health", "*/*")).await, 401);
    assert_eq!(status(get("/faults/7", "application/json")).await, 404);
    assert_eq!(status(get("/metrics", PAGE)).await, 401);
    assert_eq!(status(get("/api/faults", PAGE)).await, 401);
    assert_eq!(status(get("/assets/none.js", PAGE)).await, 404);
    assert_eq!(status(program.ask("POST", "/faults").header("accept", PAGE)).await, 404);
}

/// Sends a request line as it is; gives the answer.
async fn raw(program: &Program, target: &str, more: &str) -> String {
    let mut stream = TcpStream::connect(program.admin()).await.unwrap();
    let request =
        format!("GET {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{more}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn no_path_leads_to_other_files() {
    let mut program = program();
    program.start();
    for target in [
        "/../../../../etc/passwd",
        "/assets/../../../../etc/passwd",
        "/assets/..%2f..%2f..%2fetc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/assets/%252e%252e/etc/passwd",
        "//etc/passwd",
        "/..\\..\\etc\\passwd",
        "/index.html%00.js",
        "/faultline.db",
        "/config.toml",
    ] {
        let answer = raw(&program, target, "accept: */*\r\n").await;
        assert!(
            answer.starts_with("HTTP/1.1 404") || answer.starts_with("HTTP/1.1 400"),
            "{target}: {answer}"
        );
        assert!(!answer.contains("root:"), "{target}: {answer}");
    }
}

#[tokio::test]
async fn no_parameter_becomes_a_header() {
    let mut program = program().set("admin.cors_origins", "https://other.example");
    program.start();
    add_user(&program, "anna", "admin");
    let anna = log_in(&program, "anna").await;
    let cookie = format!("cookie: {}\r\n", anna.cookie);
    let evil = "x%0d%0aX-Injected:%201";
    for target in [
        format!("/{evil}"),
        format!("/api/faults/{evil}"),
        format!("/api/faults?limit={evil}"),
        format!("/api/faults?{evil}=1"),
        format!("/api/events?fingerprint={evil}"),
        format!("/api/jobs?key={evil}&text={evil}"),
        format!("/api/jobs/{evil}"),
        format!("/api/users/{evil}"),
        format!("/assets/{evil}.js"),
    ] {
        let answer = raw(&program, &target, &cookie).await;
        assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
        let head = answer.split("\r\n\r\n").next().unwrap().to_lowercase();
        assert!(!head.contains("x-injected"), "{target}: {head}");
    }
    for (name, value) in [("name", "x\r\nX-Injected: 1"), ("password", "x\r\nX-Injected: 1")] {
        let mut body = serde_json::json!({ "name": "anna", "password": PASSWORD });
        body[name] = value.into();
        let answer = program.ask("POST", "/api/session").json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 401);
        assert!(!answer.headers().contains_key("x-injected"));
    }
    for more in ["origin: https://other.example\rX-Injected: 1\r\n", "accept: a\0b\r\n"] {
        let answer = raw(&program, "/api/session", more).await;
        assert!(!answer.to_lowercase().contains("x-injected"), "{answer}");
    }
}

/// What is compared with a secret is compared in constant time: nothing else shows how it is done.
#[test]
fn secrets_are_compared_in_constant_time() {
    let read = |path: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        fs::read_to_string(path).unwrap().split("#[cfg(test)]").next().unwrap().to_owned()
    };
    let body_of = |text: &str, function: &str| {
        let (_, rest) = text.split_once(&format!("fn {function}(")).unwrap();
        rest.split_once("\n}").map_or(rest, |(body, _)| body).to_owned()
    };
    let auth = read("src/receiver/auth.rs");
    for function in ["carries", "admits"] {
        assert!(body_of(&auth, function).contains(".ct_eq("), "{function}");
    }
    assert!(body_of(&read("src/admin/access/session.rs"), "has_csrf").contains(".ct_eq("));
    let password = body_of(&read("src/admin/access/password.rs"), "verify");
    assert!(password.contains(".verify_password("), "which compares hashes in constant time");
    for file in [
        "src/receiver/auth.rs",
        "src/admin/access/mod.rs",
        "src/admin/access/session.rs",
        "src/admin/access/accounts.rs",
        "src/admin/access/key.rs",
    ] {
        for line in
            read(file).lines().filter(|line| line.contains("expose()") || line.contains("csrf()"))
        {
            assert!(!line.contains("==") && !line.contains("!="), "{file}: {line}");
        }
    }
}
