//! Users of a program under test, and their sessions.
#![allow(dead_code, reason = "each test file uses its part")]

use std::{io::Write, process::Stdio};

use faultline_testkit::program::Program;
use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_faultline");
pub(crate) const PASSWORD: &str = "correct horse battery staple";

/// A program that knows users. It is not started yet.
pub(crate) fn program() -> Program {
    Program::new(BINARY).set("admin.auth", "users")
}

/// Runs `faultline users …` beside the program, with a line of input; gives exit code and output.
pub(crate) fn users(program: &Program, arguments: &[&str], input: &str) -> (Option<i32>, String) {
    let arguments: Vec<&str> = ["users"].iter().chain(arguments).copied().collect();
    let mut command = program.command_with(&arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // It may have ended without reading.
    let _ = writeln!(child.stdin.take().unwrap(), "{input}");
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

pub(crate) fn add_user(program: &Program, name: &str, role: &str) {
    let (code, said) = users(program, &["add", name, "--role", role], PASSWORD);
    assert_eq!(code, Some(0), "{said}");
}

pub(crate) fn add_token(program: &Program, name: &str, scope: &str) -> String {
    let (code, said) = users(program, &["token", "add", name, "--scope", scope], "");
    assert_eq!(code, Some(0), "{said}");
    said.trim().to_owned()
}

/// A session as a browser has it.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    /// `name=value`
    pub(crate) cookie: String,
    pub(crate) csrf: String,
}

impl Session {
    /// What a login was answered.
    pub(crate) async fn of(answer: Response) -> Self {
        assert_eq!(answer.status(), 200);
        let cookie = cookie_of(&answer);
        let session: Value = answer.json().await.unwrap();
        Self { cookie, csrf: session["csrf"].as_str().unwrap().to_owned() }
    }

    /// As our own page sends requests.
    pub(crate) fn sends(&self, request: RequestBuilder) -> RequestBuilder {
        request.header("cookie", &self.cookie).header("x-csrf-token", &self.csrf)
    }
}

/// `name=value` of the cookie that an answer sets.
pub(crate) fn cookie_of(answer: &Response) -> String {
    let set = answer.headers()["set-cookie"].to_str().unwrap();
    set.split(';').next().unwrap().to_owned()
}

pub(crate) fn login(program: &Program, name: &str, password: &str) -> RequestBuilder {
    program.ask("POST", "/api/session").json(&json!({ "name": name, "password": password }))
}

pub(crate) async fn log_in(program: &Program, name: &str) -> Session {
    Session::of(login(program, name, PASSWORD).send().await.unwrap()).await
}

pub(crate) async fn status(request: RequestBuilder) -> u16 {
    request.send().await.unwrap().status().as_u16()
}
