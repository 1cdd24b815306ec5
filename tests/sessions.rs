//! Logging in: the first user, sessions, passwords, tokens, and how often one may try.

#![expect(clippy::unwrap_used, reason = "a failing test is told by a panic")]

use faultline_testkit::{eventually, program::Program};
use reqwest::RequestBuilder;
use serde_json::{Value, json};

#[path = "support/login.rs"]
mod login;

use login::{
    BINARY, PASSWORD, Session, add_token, add_user, cookie_of, log_in, login, program, status,
    users,
};

async fn session(request: RequestBuilder) -> Value {
    let answer = request.send().await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["cache-control"]),
        (200, &"no-store".parse().unwrap())
    );
    answer.json().await.unwrap()
}

async fn audit(program: &Program) -> Vec<String> {
    let sql = "SELECT who || ' ' || action || ' ' || subject FROM audit_trail ORDER BY id";
    program.database.texts(sql).await
}

/// What follows `/setup#` in the link that was printed.
async fn link(program: &Program) -> String {
    eventually("the link is printed", async || {
        let log = program.log();
        let url = format!("http://{}/setup#", program.admin());
        let line = log.lines().find_map(|line| line.trim().strip_prefix(&url).map(str::to_owned));
        line.ok_or(log)
    })
    .await
}

fn set_up(program: &Program, token: &str, name: &str, password: &str) -> RequestBuilder {
    let body = json!({ "token": token, "name": name, "password": password });
    program.ask("POST", "/api/setup").json(&body)
}

#[tokio::test]
async fn the_first_user_comes_by_a_link() {
    let mut program = program();
    program.start();
    let token = link(&program).await;
    let asked = session(program.look("/api/session")).await;
    let expected = json!({
        "auth": "users", "role": null, "name": null, "kind": null, "read_only": false,
        "csrf": null, "needs_setup": true, "version": env!("CARGO_PKG_VERSION"),
    });
    assert_eq!(asked, expected);
    assert_eq!(status(set_up(&program, "wrong", "alice", PASSWORD)).await, 403);
    assert_eq!(status(set_up(&program, &"A".repeat(43), "alice", PASSWORD)).await, 403);
    for (name, password) in [("Alice", PASSWORD), ("admin.token", PASSWORD), ("alice", "short")] {
        assert_eq!(status(set_up(&program, &token, name, password)).await, 422, "{name}");
    }
    let alice =
        Session::of(set_up(&program, &token, "alice", PASSWORD).send().await.unwrap()).await;
    assert_eq!(status(set_up(&program, &token, "bob", PASSWORD)).await, 403, "only once");
    let asked = session(alice.sends(program.look("/api/session"))).await;
    assert_eq!(asked["needs_setup"], false);
    assert_eq!((&asked["name"], &asked["role"]), (&json!("alice"), &json!("admin")));
    assert_eq!((&asked["kind"], &asked["csrf"]), (&json!("user"), &json!(alice.csrf)));
    assert_eq!(audit(&program).await[0], "alice user.add user alice");

    // The log itself, which may be shipped elsewhere, never has the link.
    let log = program.log();
    let lines: Vec<Value> = log.lines().filter_map(|it| serde_json::from_str(it).ok()).collect();
    assert!(lines.iter().any(|line| line.to_string().contains("no users yet")), "{log}");
    assert!(!lines.iter().any(|line| line.to_string().contains(&token)), "{log}");
    program.finish().await;
    program.start();
    let printed = program.log().matches("/setup#").count();
    assert!(session(alice.sends(program.look("/api/session"))).await["name"] == "alice");
    assert_eq!(program.log().matches("/setup#").count(), printed, "there is a user");
    assert_eq!(printed, 1);
}

#[tokio::test]
async fn a_login_gives_a_cookie_that_scripts_and_other_sites_do_not_get() {
    let mut program = program();
    program.start();
    add_user(&program, "vera", "viewer");
    let answer = login(&program, "vera", PASSWORD).send().await.unwrap();
    let set = answer.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(
        set.starts_with("faultline_session=")
            && set.ends_with("; HttpOnly; SameSite=Strict; Path=/"),
        "{set}"
    );
    let vera = Session::of(answer).await;
    assert_eq!(session(vera.sends(program.look("/api/session"))).await["role"], "viewer");
    let kept = program.database.texts("SELECT hex(secret_hash) || user_name FROM sessions").await;
    assert_eq!(kept.len(), 1);
    let dump = std::fs::read(program.directory().join("faultline.db")).unwrap();
    let wal = std::fs::read(program.directory().join("faultline.db-wal")).unwrap_or_default();
    for secret in [&vera.cookie["faultline_session=".len()..], &vera.csrf, PASSWORD] {
        let has = |file: &[u8]| file.windows(secret.len()).any(|it| it == secret.as_bytes());
        assert!(!has(&dump) && !has(&wal), "the store has no secret");
    }

    // Behind a proxy that speaks TLS, browsers keep it for TLS only.
    let mut secure = login::program().set("jira.public_url", "https://faults.example.com");
    secure.start();
    add_user(&secure, "vera", "viewer");
    let answer = login(&secure, "vera", PASSWORD).send().await.unwrap();
    let set = answer.headers()["set-cookie"].to_str().unwrap();
    assert!(set.starts_with("__Host-faultline_session=") && set.contains("; Secure"), "{set}");
}

#[tokio::test]
async fn a_planted_session_is_worth_nothing_after_a_login() {
    let mut program = program();
    program.start();
    add_user(&program, "mallory", "viewer");
    add_user(&program, "anna", "admin");
    let planted = log_in(&program, "mallory").await;
    let made_up = format!("faultline_session={}", "A".repeat(43));
    for planted in [&planted.cookie, &made_up] {
        let request = login(&program, "anna", PASSWORD).header("cookie", planted);
        let answer = request.send().await.unwrap();
        assert_ne!(&cookie_of(&answer), planted, "the id is a new one");
        let asked = session(program.look("/api/session").header("cookie", planted)).await;
        assert_eq!(asked["name"], Value::Null, "the planted one is over");
    }
}

#[tokio::test]
async fn logging_out_ends_the_session() {
    let mut program = program();
    program.start();
    add_user(&program, "vera", "viewer");
    let (one, other) = (log_in(&program, "vera").await, log_in(&program, "vera").await);
    let request = program.ask("DELETE", "/api/session").header("cookie", &one.cookie);
    assert_eq!(status(request.header("x-csrf-token", &other.csrf)).await, 403, "another's token");
    let answer = one.sends(program.ask("DELETE", "/api/session")).send().await.unwrap();
    assert_eq!(answer.status(), 204);
    let set = answer.headers()["set-cookie"].to_str().unwrap();
    assert!(set.starts_with("faultline_session=;") && set.contains("Max-Age=0"), "{set}");
    assert_eq!(status(one.sends(program.look("/api/faults"))).await, 401);
    assert_eq!(status(other.sends(program.look("/api/faults"))).await, 200);
    let audit = audit(&program).await;
    let expected = ["command line user.add user vera", "vera session.start user vera"];
    assert_eq!(audit[..2], expected);
    assert_eq!(audit.last().unwrap(), "vera session.end user vera");
}

#[tokio::test]
async fn sessions_do_not_last_for_ever() {
    let mut program = program().set("admin.session_lifetime", "1s");
    program.start();
    add_user(&program, "vera", "viewer");
    let vera = log_in(&program, "vera").await;
    eventually("the session ends", async || {
        match status(vera.sends(program.look("/api/faults"))).await {
            401 => Ok(()),
            other => Err(other),
        }
    })
    .await;
}

#[tokio::test]
async fn an_admin_steers_users_and_tokens() {
    let mut program = program();
    program.start();
    add_user(&program, "anna", "admin");
    let anna = log_in(&program, "anna").await;
    let ask = |method, path: &str, body: Value| anna.sends(program.ask(method, path)).json(&body);
    let user = json!({ "name": "otto", "role": "viewer", "password": PASSWORD });
    let made = ask("POST", "/api/users", user.clone()).send().await.unwrap();
    assert_eq!(made.status(), 201);
    let made: Value = made.json().await.unwrap();
    assert_eq!((&made["name"], &made["is_disabled"]), (&json!("otto"), &json!(false)));
    assert_eq!(status(ask("POST", "/api/users", user)).await, 409);
    for wrong in [
        json!({ "name": "A B", "role": "viewer", "password": PASSWORD }),
        json!({ "name": "a", "role": "viewer", "password": "elevenchars" }),
        json!({ "name": "a", "role": "king", "password": PASSWORD }),
        json!({ "name": "a", "role": "viewer", "password": PASSWORD, "x": 1 }),
    ] {
        assert_eq!(status(ask("POST", "/api/users", wrong.clone())).await, 422, "{wrong}");
    }
    let otto = log_in(&program, "otto").await;
    let change = |body| ask("PATCH", "/api/users/otto", body);
    assert_eq!(status(change(json!({}))).await, 422);
    assert_eq!(status(change(json!({ "role": "operator" }))).await, 200);
    assert_eq!(status(otto.sends(program.look("/api/faults"))).await, 401, "it ended");
    let otto = log_in(&program, "otto").await;
    assert_eq!(status(change(json!({ "is_disabled": true }))).await, 200);
    assert_eq!(status(otto.sends(program.look("/api/faults"))).await, 401);
    assert_eq!(status(login(&program, "otto", PASSWORD)).await, 401);
    assert_eq!(
        status(change(json!({ "is_disabled": false, "password": "another password" }))).await,
        200
    );
    assert_eq!(status(login(&program, "otto", "another password")).await, 200);
    for (method, body) in [
        ("PATCH", json!({ "role": "viewer" })),
        ("PATCH", json!({ "is_disabled": true })),
        ("DELETE", json!({})),
    ] {
        assert_eq!(status(ask(method, "/api/users/anna", body)).await, 409, "the last admin");
    }
    assert_eq!(status(ask("DELETE", "/api/users/otto", json!({}))).await, 204);

    let token = json!({ "name": "ci", "scope": "operator", "expires_in": "90d" });
    let made: Value = ask("POST", "/api/tokens", token).send().await.unwrap().json().await.unwrap();
    let secret = made["token"].as_str().unwrap();
    assert!(secret.starts_with("flt_") && secret.len() == 47, "{made}");
    assert_eq!((&made["created_by"], &made["name"]), (&json!("anna"), &json!("ci")));
    for wrong in ["0s", "4000d", "soon"] {
        let body = json!({ "name": "x", "scope": "viewer", "expires_in": wrong });
        assert_eq!(status(ask("POST", "/api/tokens", body)).await, 422, "{wrong}");
    }
    let as_ci = session(program.look("/api/session").bearer_auth(secret)).await;
    assert_eq!((&as_ci["name"], &as_ci["kind"]), (&json!("token:ci"), &json!("token")));
    let paused = program.ask("POST", "/api/dispatch/pause").bearer_auth(secret);
    assert_eq!(status(paused).await, 200);
    let listed =
        anna.sends(program.look("/api/tokens")).send().await.unwrap().text().await.unwrap();
    assert!(listed.contains("\"ci\"") && !listed.contains(secret), "{listed}");
    let path = format!("/api/tokens/{}", made["id"]);
    assert_eq!(status(ask("DELETE", &path, json!({}))).await, 204);
    assert_eq!(status(program.look("/api/faults").bearer_auth(secret)).await, 401);
    let audit = audit(&program).await;
    for expected in [
        "anna user.add user otto",
        "anna user.role user otto",
        "anna user.disable user otto",
        "anna user.password user otto",
        "anna user.remove user otto",
        "anna token.add token ci",
        "anna token.revoke token ci",
    ] {
        assert!(audit.iter().any(|line| line == expected), "{audit:?} lacks {expected}");
    }
}

#[tokio::test]
async fn a_user_changes_his_own_password() {
    let mut program = program();
    program.start();
    add_user(&program, "vera", "viewer");
    let (vera, elsewhere) = (log_in(&program, "vera").await, log_in(&program, "vera").await);
    let change = |old: &str, new: &str| {
        let body = json!({ "old": old, "new": new });
        vera.sends(program.ask("POST", "/api/session/password")).json(&body)
    };
    assert_eq!(status(change("wrong password", "another password")).await, 403);
    assert_eq!(status(change(PASSWORD, "short")).await, 422);
    assert_eq!(status(change(PASSWORD, "another password")).await, 204);
    assert_eq!(status(vera.sends(program.look("/api/faults"))).await, 200, "this one goes on");
    assert_eq!(status(elsewhere.sends(program.look("/api/faults"))).await, 401, "others end");
    assert_eq!(status(login(&program, "vera", PASSWORD)).await, 401);
    assert_eq!(status(login(&program, "vera", "another password")).await, 200);
    let token = add_token(&program, "ci", "admin");
    let body = json!({ "old": PASSWORD, "new": PASSWORD });
    let by_token = program.ask("POST", "/api/session/password").bearer_auth(token).json(&body);
    assert_eq!(status(by_token).await, 409, "a token has no password");
}

#[tokio::test]
async fn who_guesses_must_wait() {
    let mut program = program().set("admin.metrics_token", "metrics-token-long");
    program.start();
    add_user(&program, "vera", "viewer");
    for _ in 0..7 {
        // Good ones do not count.
        log_in(&program, "vera").await;
    }
    for guess in 0..5 {
        assert_eq!(status(login(&program, "vera", &format!("guess {guess}"))).await, 401);
    }
    let answer = login(&program, "vera", PASSWORD).send().await.unwrap();
    assert_eq!(answer.status(), 429, "also for who knows the password");
    let wait: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=61).contains(&wait), "{wait}");
    // Somebody whom there is not is told the same, in the same way.
    for _ in 0..5 {
        assert_eq!(status(login(&program, "nobody", PASSWORD)).await, 401);
    }
    assert_eq!(status(login(&program, "nobody", PASSWORD)).await, 429);
    // So is whoever tries many names.
    let mut last = 0;
    for number in 0..30 {
        last = status(login(&program, &format!("name{number}"), PASSWORD)).await;
        if last == 429 {
            break;
        }
    }
    assert_eq!(last, 429, "by address");
    let metrics = program.look("/metrics").bearer_auth("metrics-token-long");
    let metrics = metrics.send().await.unwrap().text().await.unwrap();
    for reason in ["credentials", "account", "address"] {
        let sample = format!("faultline_logins_refused_total{{reason=\"{reason}\"}}");
        assert!(metrics.contains(&sample), "{metrics} lacks {sample}");
    }
    assert!(metrics.contains("faultline_logins_total 7\n"), "{metrics}");
    assert!(!program.log().contains("guess"), "no password is in the log");
}

#[tokio::test]
async fn users_are_steered_from_a_terminal_too() {
    let program = program();
    let run = |arguments: &[&str], input: &str| users(&program, arguments, input);
    let good = |arguments: &[&str], input: &str| {
        let (code, said) = run(arguments, input);
        assert_eq!(code, Some(0), "{arguments:?}: {said}");
        said
    };
    let refused = |arguments: &[&str], input: &str, expected: &str| {
        let (code, said) = run(arguments, input);
        assert!(code == Some(1) && said.contains(expected), "{arguments:?}: {said}");
    };
    assert_eq!(good(&["add", "anna", "--role", "admin"], PASSWORD), "anna is admin\n");
    refused(&["add", "anna", "--role", "admin"], PASSWORD, "there is a user of this name");
    refused(&["add", "otto", "--role", "viewer"], "short", "a password of 12 to 256");
    refused(&["add", "Otto", "--role", "viewer"], PASSWORD, "a name of 1 to 64");
    good(&["add", "otto", "--role", "viewer"], PASSWORD);
    assert_eq!(good(&["role", "otto", "operator"], ""), "otto is operator\n");
    good(&["disable", "otto"], "");
    let listed = good(&["list"], "");
    assert!(listed.contains("anna") && listed.contains("enabled   logged in never"), "{listed}");
    assert!(listed.contains("operator  disabled"), "{listed}");
    good(&["enable", "otto"], "");
    good(&["password", "otto"], "another password");
    refused(&["password", "nobody"], "another password", "there is no such user");
    refused(&["disable", "anna"], "", "the last admin");
    refused(&["remove", "anna"], "", "the last admin");
    good(&["remove", "otto"], "");
    let token = good(&["token", "add", "ci", "--scope", "viewer", "--expires-in", "90d"], "");
    assert!(token.starts_with("flt_"), "{token}");
    let listed = good(&["token", "list"], "");
    assert!(
        listed.contains("ci") && listed.contains("viewer") && !listed.contains(token.trim()),
        "{listed}"
    );
    refused(
        &["token", "add", "x", "--scope", "viewer", "--expires-in", "0s"],
        "",
        "more than zero",
    );
    good(&["token", "revoke", "1"], "");
    refused(&["token", "revoke", "1"], "", "there is no such token");
    let audit = audit(&program).await;
    assert!(audit.iter().all(|line| line.starts_with("command line ")), "{audit:?}");
    assert_eq!(audit.len(), 9, "{audit:?}");
}

#[tokio::test]
async fn read_only_is_for_everybody() {
    let mut program =
        program().set("admin.read_only", "true").set("admin.token", "admin-token-long");
    program.start();
    add_user(&program, "anna", "admin");
    let anna = log_in(&program, "anna").await;
    assert_eq!(session(anna.sends(program.look("/api/session"))).await["read_only"], true);
    for path in ["/api/dispatch/pause", "/api/users", "/api/session/password", "/api/setup"] {
        assert_eq!(
            status(anna.sends(program.ask("POST", path)).json(&json!({}))).await,
            403,
            "{path}"
        );
        let request = program.ask("POST", path).bearer_auth("admin-token-long");
        assert_eq!(status(request).await, 403, "{path}");
    }
    assert_eq!(status(anna.sends(program.look("/api/faults"))).await, 200);
    assert_eq!(status(anna.sends(program.ask("DELETE", "/api/session"))).await, 204);
}

/// Without users there is nothing to log in to, and a relay has none.
#[tokio::test]
async fn where_there_are_no_users_that_is_said() {
    for (auth, kind) in [("off", json!("anyone")), ("token", Value::Null)] {
        let mut program =
            Program::new(BINARY).set("admin.auth", auth).set("admin.token", "admin-token-long");
        program.start();
        let asked = session(program.look("/api/session")).await;
        assert_eq!((&asked["auth"], &asked["kind"]), (&json!(auth), &kind));
        assert_eq!(asked["needs_setup"], false);
        assert_eq!(status(login(&program, "anna", PASSWORD)).await, 409);
        let users = program.look("/api/users").bearer_auth("admin-token-long");
        assert_eq!(status(users).await, 409);
    }
    let relay = program().set("handoff.url", "redis://127.0.0.1:1").set("handoff.environment", "x");
    let output = relay.arguments(&["relay"]).run().await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(said.contains("admin.auth = \"users\": a relay has no store"), "{said}");
}
