//! Told to end, Faultline stops accepting, stores what it has, and exits with 0.

use faultline_testkit::program::{Program, app_line, frames};

const BINARY: &str = env!("CARGO_BIN_EXE_faultline");

#[tokio::test]
async fn told_to_end_it_stores_what_it_accepted() {
    for signal in ["TERM", "INT"] {
        let mut program = Program::new(BINARY);
        program.start();
        for round in 0..20 {
            let lines = (0..50).map(|index| app_line("web.1", &format!("line {round} {index}")));
            let sent = program.drain(&format!("f{round}"), frames(lines)).send().await.unwrap();
            assert_eq!(sent.status(), 204);
        }
        program.signal(signal);
        let status = program.ended().await;
        assert_eq!(status.code(), Some(0), "{}", program.log());
        assert_eq!(program.database.number("SELECT count(*) FROM events").await, 1000);
    }
}

#[tokio::test]
async fn the_end_of_input_is_the_end_once_all_is_stored() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lines");
    let lines: String = (0..20_000)
        .map(|id| {
            format!(
                "{{\"database\":\"shop\",\"table\":\"orders\",\"type\":\"insert\",\"ts\":1477053217,\"xid\":{id},\"commit\":true,\"data\":{{\"id\":{id}}}}}\n"
            )
        })
        .collect();
    std::fs::write(&path, lines).unwrap();
    let mut program = Program::new(BINARY).reads_file(&path);
    program.start();
    let status = program.ended().await;
    assert_eq!(status.code(), Some(0), "{}", program.log());
    assert_eq!(program.database.number("SELECT count(*) FROM events").await, 20_000);
}
