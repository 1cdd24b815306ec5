//! A store that is restored from a back-up older than what the spool has kept: what the spool still has
//! is stored again, and what nobody has is counted and said; nothing is called damaged.

#![expect(clippy::float_cmp, reason = "counts, which are exact")]

use std::fs;

use faultline_testkit::program::Program;

const BINARY: &str = env!("CARGO_BIN_EXE_faultline");

async fn report(program: &Program, from: usize, to: usize) {
    for number in from..to {
        let padding = "x".repeat(8_000);
        let message = format!(r#"{{"message":"number {number} {padding}","service":"shop"}}"#);
        program.report(&message).await;
    }
    assert!(program.settled().await.balanced);
}

#[tokio::test]
async fn what_the_spool_has_is_stored_again_and_what_nobody_has_is_counted() {
    let mut program = Program::new(BINARY)
        .set("spool.segment_bytes", "64 KiB")
        .set("spool.max_bytes", "1 MiB")
        .set("spool.commit_bytes", "32 KiB")
        .set("receiver.body_limit", "32 KiB");
    program.start();
    report(&program, 0, 20).await;
    program.finish().await;
    let store = program.database.url().strip_prefix("sqlite://").unwrap().to_owned();
    let backup = program.directory().join("backup.db");
    // What is in the write-ahead log only would be missing in a copy of the file.
    program.database.execute(&format!("VACUUM INTO '{}'", backup.display())).await;
    program.start();
    report(&program, 20, 60).await;
    assert_eq!(program.database.number("SELECT count(*) FROM events").await, 60);
    program.finish().await;

    for file in [store.clone(), format!("{store}-wal"), format!("{store}-shm")] {
        let _ = fs::remove_file(file);
    }
    fs::copy(&backup, &store).unwrap();
    program.start();
    report(&program, 60, 61).await;
    let events = program.database.number("SELECT count(*) FROM events").await;
    let sequences = "SELECT count(DISTINCT sequence) FROM events";
    assert_eq!(program.database.number(sequences).await, events, "none twice");
    let lost = program.metric("faultline_lost_records_total", "").await;
    assert!(lost > 0.0 && lost < 40.0, "{lost}");
    assert_eq!(events as f64 + lost, 61.0, "the rest is known to be missing");
    assert_eq!(program.metric("faultline_spool_damaged_records_total", "").await, 0.0);
    assert!(program.log().contains("neither the journal nor this store has these records"));
    program.finish().await;
}
