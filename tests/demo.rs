//! `scripts/demo` fills a running Faultline with all that it takes in, and says what came of it.

use std::{
    net::TcpListener,
    process::{Command, Output},
};

use faultline_testkit::program::Program;

const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/demo");

fn demo(receiver: &str, admin: &str) -> Output {
    Command::new(DEMO)
        .env("RECEIVER_URL", format!("http://{receiver}"))
        .env("ADMIN_URL", format!("http://{admin}"))
        .env("DEMO_SECONDS", "2")
        .output()
        .expect("node is installed")
}

#[tokio::test]
async fn the_demo_fills_every_kind_of_event_and_the_ledger_balances() {
    let mut program = Program::new(env!("CARGO_BIN_EXE_faultline"));
    program.start();
    let output = demo(&program.receiver().to_string(), &program.admin().to_string());
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("it balances"), "{said}");
    let ledger = program.settled().await;
    for source in ["logdrains", "errors", "maxwell"] {
        let line = ledger.line(source);
        assert!(line.is_balanced() && line.stored > 0, "{source}: {line:?}");
    }
    assert_eq!(ledger.line("maxwell").rejected, 1, "the line that is cut off");
    assert!(ledger.line("logdrains").duplicate > 0, "the frame that is sent twice");
    let kinds = program.database.texts("SELECT DISTINCT kind FROM events ORDER BY kind").await;
    assert_eq!(kinds, ["change", "error", "log", "platform", "router"]);
}

#[test]
fn where_nobody_listens_the_demo_says_how_to_start() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let output = demo(&nobody, &nobody);
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("ECONNREFUSED") && said.contains("scripts/start"), "{said}");
}
