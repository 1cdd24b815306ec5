//! Rules do what they say: `faultline check --tests` tries them out, a change that a rule selects is
//! stored as a fault, and a rule that cannot be used is refused with the reason.

#![expect(clippy::unwrap_used, reason = "a failing test is told by a panic")]

use std::{fs, process::Output};

use faultline_testkit::program::{Program, run_to_end};

const BINARY: &str = env!("CARGO_BIN_EXE_faultline");

const RULES: &str = r#"
[[rules]]
name = "noise"
match.title = "*probe * failed*"
ignore = true

[[rules]]
name = "staging"
match.environment = "staging"
mute = "1d"

[[rules]]
name = "for all"
then = "continue"
labels = ["from faultline"]

[[rules]]
name = "payments"
match.service = "shop"
match.count = 5
match.within = "10m"
project = "PAY"
class = "P1"
summary = "{{ class }} {{ fault.title }} password=hunter"

[[rules]]
name = "slow"
when = "fault.kind == 'router' and 'H12' in fault.title"
match.min_age = "5m"
project = "OPS"

[[rules]]
name = "orders that fail"
match.table = "orders"
match.columns = { status = { old = "paid", new = ["failed", "cancelled"] } }
fault_by = ["table", "columns.status"]
project = "PAY"
"#;

const TESTS: &str = r#"
[[tests]]
name = "a probe is ignored"
line = "Error: probe 7 failed on web.1"
expect = { rule = "noise", outcome = "ignored" }

[[tests]]
name = "staging is muted"
line = '{"message": "Error: boom", "environment": "staging"}'
source = "errors"
expect = { rule = "staging", outcome = "muted" }

[[tests]]
name = "staging after a day"
line = "boom"
source = "errors"
environment = "staging"
age = "2d"
expect = { rule = "for all", ticket = { project = "DRY", labels = ["from-faultline"] } }

[[tests]]
name = "few payments"
line = "Error: payment 1 refused"
service = "shop"
count = 9
count_within = 4
expect = { rule = "for all" }

[[tests]]
name = "many payments"
line = "Error: payment 1 refused"
service = "shop"
count = 9
[tests.expect]
rule = "payments"
ticket = { project = "PAY", priority = "High", summary = "P1 Error: payment <n> refused password=***" }

[[tests]]
name = "a line of the router"
line = "<158>1 2026-11-22T03:00:00Z host heroku router - at=error code=H12 method=GET path=\"/u/2\" dyno=web.1 connect=1ms service=30000ms status=503 bytes=0"
age = "6m"
expect = { rule = "slow", ticket = { project = "OPS", issue_type = "Bug" } }

[[tests]]
name = "an order that fails"
line = '{"database":"shop","table":"orders","type":"update","data":{"id":7,"status":"failed"},"old":{"status":"paid"}}'
source = "maxwell"
expect = { rule = "orders that fail", ticket = { project = "PAY", summary = "[production] shop: update shop.orders, status=failed" } }

[[tests]]
name = "another change"
line = '{"database":"shop","table":"orders","type":"insert","data":{"id":7,"status":"paid"}}'
source = "maxwell"
expect = { rule = "", outcome = "none" }

[[tests]]
name = "no error"
line = "all is well"
expect = { outcome = "none" }
"#;

/// The output of `faultline check --tests` over these rules and tests.
async fn check(rules: &str, tests: &str) -> Output {
    let program =
        Program::new(BINARY).arguments(&["check", "--config", "rules.toml", "--tests", "t.toml"]);
    fs::write(program.directory().join("rules.toml"), rules).unwrap();
    fs::write(program.directory().join("t.toml"), tests).unwrap();
    run_to_end(program.command()).await
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn rules_are_tried_out_on_examples() {
    let output = check(RULES, TESTS).await;
    let shown = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{shown}{}", text(&output.stderr));
    assert_eq!(shown.lines().filter(|line| line.starts_with("ok      ")).count(), 9, "{shown}");
}

#[tokio::test]
async fn an_example_that_comes_out_otherwise_is_told() {
    let wrong = TESTS
        .replace(
            "rule = \"noise\", outcome = \"ignored\"",
            "rule = \"staging\", outcome = \"muted\"",
        )
        .replace("project = \"OPS\"", "project = \"WEB\"")
        .replace("expect = { outcome = \"none\" }", "expect = { outcome = \"ticket\" }");
    let output = check(RULES, &wrong).await;
    let shown = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{shown}");
    for expected in [
        "FAILED  a probe is ignored: expected outcome = \"muted\", rule = \"staging\", \
         got outcome = \"ignored\", rule = \"noise\"",
        "FAILED  a line of the router: expected project = \"WEB\", got project = \"OPS\"",
        "FAILED  no error: expected outcome = \"ticket\", got outcome = \"none\" (the line is no fault)",
    ] {
        assert!(shown.contains(expected), "{shown}\n  lacks {expected}");
    }
    assert_eq!(shown.lines().filter(|line| line.starts_with("ok      ")).count(), 6, "{shown}");
}

#[tokio::test]
async fn what_cannot_be_used_is_refused() {
    for (rules, tests, expected) in [
        (
            "[[rules]]\nname = \"a\"\nwhen = \"fault.cuont > 1\"",
            TESTS,
            "rules[0] \"a\": when = \"fault.cuont > 1\": there is no `fault.cuont`; there are fault.id",
        ),
        (
            "[[rules]]\nname = \"a\"\nmatch.columms = 1",
            TESTS,
            "rules[0].match.columms: unknown field",
        ),
        (
            "[[rules]]\nname = \"a\"\n[[rules]]\nname = \"a\"\nproject = \"a b\"",
            TESTS,
            "rules[1] \"a\": project = \"a b\": a project's key is needed, for example \"OPS\"",
        ),
        (
            "",
            "[[tests]]\nname = \"x\"\nlien = \"y\"",
            "t.toml: tests[0].lien: unknown field `lien`",
        ),
    ] {
        let output = check(rules, tests).await;
        let shown = text(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{shown}");
        assert!(shown.contains(expected), "{shown}\n  lacks {expected}");
    }
}

#[tokio::test]
async fn a_change_that_a_rule_selects_is_a_fault() {
    let mut program = Program::new(BINARY).arguments(&["run", "--config", "rules.toml"]);
    fs::write(program.directory().join("rules.toml"), RULES).unwrap();
    program.start();
    let change = |status: &str, before: &str| {
        format!(
            "{{\"database\":\"shop\",\"table\":\"orders\",\"type\":\"update\",\"ts\":1795316400,\
             \"data\":{{\"id\":7,\"status\":\"{status}\"}},\"old\":{{\"status\":\"{before}\"}}}}\n"
        )
    };
    let lines = [
        change("failed", "paid"),
        change("failed", "paid"),
        change("cancelled", "paid"),
        change("paid", "open"),
    ];
    let sent = program.post("/maxwell", "application/x-ndjson").body(lines.concat()).send().await;
    assert_eq!(sent.unwrap().status(), 204);
    program.settled().await;
    let faults = program.json("/api/faults").await;
    let mut found: Vec<_> = faults["faults"]
        .as_array()
        .unwrap()
        .iter()
        .map(|fault| {
            let text = |key: &str| fault[key].as_str().unwrap().to_owned();
            (text("title"), text("rule"), fault["count"].as_u64().unwrap())
        })
        .collect();
    found.sort();
    let rule = || "orders that fail".to_owned();
    let title = |status: &str| format!("update shop.orders, status={status}");
    assert_eq!(found, [(title("cancelled"), rule(), 1), (title("failed"), rule(), 2)]);
    program.finish().await;
}
