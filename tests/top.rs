//! `faultline top` shows what a running Faultline says, with a terminal and without one.

#![expect(clippy::unwrap_used, reason = "a failing test is told by a panic")]

use std::{
    process::{Command, Output, Stdio},
    time::Duration,
};

use faultline_testkit::{
    eventually, free_port,
    program::{Program, app_line, frames, run_to_end},
};

const BINARY: &str = env!("CARGO_BIN_EXE_faultline");

/// `faultline top --once` of a running program.
async fn once(program: &Program, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(BINARY);
    command.current_dir(program.directory()).args(["top", "--once"]).args(arguments);
    command.envs(environment.iter().copied());
    run_to_end(command).await
}

fn said(output: &Output) -> (Option<i32>, String) {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

#[tokio::test]
async fn one_picture_is_printed() {
    let mut program = Program::new(BINARY);
    program.start();
    for message in ["no door", "no door", "no window"] {
        program.report(&format!(r#"{{"message":"{message}","service":"house"}}"#)).await;
    }
    let lines = (0..10).map(|line| app_line("web.1", &format!("line {line}")));
    assert_eq!(program.drain("f1", frames(lines)).send().await.unwrap().status(), 204);
    program.settled().await;
    let url = format!("http://{}", program.admin());
    for (arguments, environment) in
        [(vec!["--url", &url], vec![]), (vec![], vec![("FAULTLINE_URL", url.as_str())])]
    {
        let (code, picture) = said(&once(&program, &arguments, &environment).await);
        assert_eq!(code, Some(0), "{picture}");
        for expected in [
            url.as_str(),
            "the ledger balances",
            "batch_writer",
            "spool (disk)",
            "since the start p50",
            "[production] house: no door",
            "database     healthy",
        ] {
            let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
            let has = squeezed(&picture).contains(&squeezed(expected));
            assert!(has, "{picture}\nlacks {expected:?}");
        }
        let received = picture.lines().find(|line| line.contains("logdrains")).unwrap();
        assert!(received.split_whitespace().any(|word| word == "10"), "{picture}");
        assert!(!picture.contains('\u{1b}'), "plain text");
    }
    let (code, narrow) = said(&once(&program, &["--url", &url], &[("COLUMNS", "60")]).await);
    assert_eq!(code, Some(0));
    assert!(narrow.lines().all(|line| line.chars().count() <= 60), "{narrow}");
    assert!(narrow.contains("Faults") && narrow.contains("no door"), "{narrow}");
}

#[tokio::test]
async fn credentials_are_needed_where_they_are() {
    let token = "a-token-for-the-admin";
    let mut program = Program::new(BINARY).set("admin.auth", "token").set("admin.token", token);
    program.start();
    let url = format!("http://{}", program.admin());
    let (code, told) = said(&once(&program, &["--url", &url], &[]).await);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("401") && told.contains("FAULTLINE_TOKEN"), "{told}");
    let given = [("FAULTLINE_TOKEN", token)];
    let (code, told) = said(&once(&program, &["--url", &url], &given).await);
    assert_eq!(code, Some(0), "{told}");
    // The configuration's own, for its own listener.
    let listen = program.admin().to_string();
    let configured =
        [("FAULTLINE_ADMIN__LISTEN", listen.as_str()), ("FAULTLINE_ADMIN__TOKEN", token)];
    let (code, told) = said(&once(&program, &[], &configured).await);
    assert_eq!(code, Some(0), "{told}");
    assert!(!told.contains(token), "{told}");
    // ... and nobody else's.
    let (code, told) = said(&once(&program, &["--url", &url], &configured).await);
    assert_eq!(code, Some(1), "{told}");
}

#[tokio::test]
async fn who_does_not_answer_is_told() {
    let program = Program::new(BINARY);
    let url = format!("http://127.0.0.1:{}", free_port());
    let (code, told) = said(&once(&program, &["--url", &url], &[]).await);
    assert_eq!(code, Some(1));
    assert!(told.contains(&format!("{url} does not answer: ")), "{told}");
    let mut command = Command::new(BINARY);
    command.args(["top", "--url", &url]).current_dir(program.directory());
    let (code, told) = said(&run_to_end(command).await);
    assert_eq!(code, Some(1));
    assert!(told.contains("--once"), "there is no terminal: {told}");
}

/// Reload and top ask the same way.
#[tokio::test]
async fn a_reload_is_asked_for_from_the_command_line() {
    let mut program = Program::new(BINARY).arguments(&["run", "--config", "c.toml"]);
    let write = |program: &Program, text: &str| {
        std::fs::write(program.directory().join("c.toml"), text).unwrap();
    };
    write(&program, "");
    program.start();
    let url = format!("http://{}", program.admin());
    let ask = async |program: &Program, preview: &[&str]| {
        let mut command = Command::new(BINARY);
        command.current_dir(program.directory()).args(["reload", "--url", &url]).args(preview);
        said(&run_to_end(command).await)
    };
    write(&program, "[receiver]\ntoken = \"hunter2-hunter2\"\n[spool]\nqueue = 7\n");
    let (code, told) = ask(&program, &["--preview"]).await;
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("would apply     receiver.token: not set → \"***\"\n"), "{told}");
    let (code, told) = ask(&program, &[]).await;
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("applied         receiver.token: not set"), "{told}");
    assert!(told.contains("needs a restart spool.queue: 4096 → 7\n"), "{told}");
    write(&program, "[receiver]\ntoken = \"hunter2\"\n");
    let (code, told) = ask(&program, &[]).await;
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("receiver.token = \"***\": a secret of at least"), "{told}");
    assert!(!told.contains("hunter2"), "{told}");
}

/// In a terminal (of `script`, where there is that): keys are heeded, a program that goes away is
/// said, and the terminal is left as it was.
#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_shows_it_until_q_is_pressed() {
    if Command::new("script").arg("--version").stdout(Stdio::null()).status().is_err() {
        return;
    }
    let mut program = Program::new(BINARY);
    program.start();
    let typescript = program.directory().join("typescript");
    let top = format!("stty cols 120 rows 40; {BINARY} top --url http://{}", program.admin());
    let mut terminal = Command::new("script")
        .args(["--quiet", "--flush", "--return", "--command", &top])
        .arg(&typescript)
        .env("TERM", "xterm")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut keys = terminal.stdin.take().unwrap();
    let mut press = |key: &str| std::io::Write::write_all(&mut keys, key.as_bytes()).unwrap();
    let shows = async |expected: &str| {
        eventually(&format!("the terminal shows {expected:?}"), async || {
            let bytes = std::fs::read(&typescript).unwrap_or_default();
            let text = String::from_utf8_lossy(&bytes).into_owned();
            if text.contains(expected) { Ok(text) } else { Err(text) }
        })
        .await
    };
    shows("healthy").await;
    press("?");
    shows("Keys").await;
    press("?p");
    shows("paused").await;
    press("p");
    program.kill();
    // Only what differs is written, so that words come one by one.
    shows("answer").await;
    press("q");
    let ended = eventually("it ends", async || match terminal.try_wait().unwrap() {
        Some(status) => Ok(status),
        None => Err("it runs"),
    });
    let status = tokio::time::timeout(Duration::from_secs(30), ended).await.unwrap();
    assert_eq!(status.code(), Some(0));
    // The other screen, which was entered, is left.
    let text = shows("\u{1b}[?1049l").await;
    assert!(text.contains("\u{1b}[?1049h"), "{text}");
}
