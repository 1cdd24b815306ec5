//! What cannot work is refused at the start, with the setting, its value and what would be right;
//! `faultline check` and `faultline migrate` say how things stand.

#![expect(clippy::unwrap_used, reason = "a failing test is told by a panic")]

use std::{fs, net::TcpListener, process::Output};

use faultline_testkit::{
    database::Database,
    free_port,
    postgres::Postgres,
    program::{Program, run_to_end},
};

const BINARY: &str = env!("CARGO_BIN_EXE_faultline");

/// Exit code and standard error, which a terminal and a service manager show.
fn outcome(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Runs with a configuration file, to the end.
async fn run_with(config: &str, environment: &[(&str, &str)]) -> (Option<i32>, String) {
    let program = Program::new(BINARY).arguments(&["run", "--config", "test.toml"]);
    fs::write(program.directory().join("test.toml"), config).unwrap();
    let mut command = program.command();
    for key in
        ["STORE__URL", "SPOOL__DIR", "RECEIVER__LISTEN", "ADMIN__LISTEN", "TELEMETRY__FORMAT"]
    {
        command.env_remove(format!("FAULTLINE_{key}"));
    }
    command.envs(environment.iter().copied());
    outcome(&run_to_end(command).await)
}

#[expect(clippy::too_many_lines, reason = "one list of cases")]
#[tokio::test]
async fn a_wrong_setting_is_named_with_its_value_and_what_is_right() {
    for (config, expected) in [
        ("[reciever]\n", "reciever: there is no such setting; `receiver` was meant?"),
        ("[spool]\nqueu = 1", "spool.queu: there is no such setting; `queue` was meant?"),
        ("stray = 1", "stray: there is no such setting; there are admin, batch_writer,"),
        ("[spool]\nqueue = \"many\"", "spool.queue = \"many\": a whole number is needed"),
        ("[stdin]\ncommand = \"maxwell\"", "stdin.command = \"maxwell\": a list is needed"),
        ("[stdin]\ncommand = [\"\"]", "stdin.command = [\"\", …]: a program's name is needed"),
        ("[stdin]\nenabled = 1", "stdin.enabled = 1: true or false is needed"),
        ("[receiver]\nlisten = \"localhost:3001\"", "receiver.listen = \"localhost:3001\": "),
        ("[receiver]\nlisten = \"localhost:3001\"", "; \"127.0.0.1:3001\" is possible"),
        (
            "[receiver]\nack = \"maybe\"",
            "receiver.ack = \"maybe\": unknown variant `maybe`, expected `durable` or `received`",
        ),
        ("[receiver]\nbody_limit = \"0\"", "receiver.body_limit = \"0 B\": at least one byte"),
        (
            "[receiver]\nbody_limit = \"60 MiB\"",
            "receiver.inflight_limit = \"24.0 MiB\": at least twice body_limit (\"60.0 MiB\")",
        ),
        (
            "[receiver]\nbody_limit = \"16 EiB\"",
            "receiver.inflight_limit = \"24.0 MiB\": at least twice",
        ),
        ("[receiver]\nbody_limit = \"lots\"", "receiver.body_limit = \"lots\": "),
        ("[receiver]\nconnections = 0", "receiver.connections = 0: between 1 and 1000000"),
        (
            "[receiver]\nconnections = 9000000000000000000",
            "receiver.connections = 9000000000000000000: between 1 and 1000000",
        ),
        ("[receiver]\nconnections = -1", "receiver.connections = -1: "),
        ("[receiver]\nheader_timeout = \"0s\"", "receiver.header_timeout = \"0s\": more than zero"),
        ("[receiver]\nbody_timeout = \"-5s\"", "receiver.body_timeout = \"-5s\": "),
        ("[receiver]\nbody_timeout = \"soon\"", "; \"30s\" is possible"),
        (
            "[[receiver.drains]]\nuser = \"a\"",
            "receiver.drains[0].user and password belong together",
        ),
        (
            "[[receiver.drains]]\nservice = \"a\"",
            "receiver.drains[0].user: user and password, or token",
        ),
        (
            "[[receiver.drains]]\nusr = \"a\"",
            "receiver.drains[0].usr: unknown field `usr`, expected one of `user`",
        ),
        (
            "[receiver]\ntoken = \"short\"",
            "receiver.token = \"***\": a secret of at least 12 characters",
        ),
        (
            "[stdin]\non_eof = \"stop\"",
            "stdin.on_eof = \"stop\": unknown variant `stop`, expected `exit` or `serve`",
        ),
        (
            "[stdin]\nline_limit = \"1 KiB\"",
            "stdin.line_limit = \"1.0 KiB\": between 256 KiB and 32 MiB",
        ),
        ("[stdin]\nrestart_cap = \"1ms\"", "stdin.restart_cap = \"1ms\": at least 500ms"),
        ("[spool]\ndir = \"\"", "spool.dir = \"\": a directory is needed"),
        (
            "[spool]\nmax_bytes = \"1 MiB\"",
            "spool.max_bytes = \"1.0 MiB\": at least two segments (128.0 MiB)",
        ),
        (
            "[spool]\nsegment_bytes = \"1 KiB\"",
            "spool.segment_bytes = \"1.0 KiB\": between 64 KiB and 1 GiB",
        ),
        (
            "[spool]\ncommit_bytes = \"0\"",
            "spool.commit_bytes = \"0 B\": between 1 byte and segment_bytes",
        ),
        ("[spool]\nqueue = 0", "spool.queue = 0: at least one request"),
        ("[spool]\ndedupe_ids = 1", "spool.dedupe_ids = 1: at least 100000 ids"),
        ("[parser]\nenvironment = \"\"", "parser.environment = \"\": a name of 1 to 255 bytes"),
        ("[parser]\njoin_wait = \"1h\"", "parser.join_wait = \"1h\": at most 10s"),
        (
            "[parser]\nbatch_bytes = \"0\"",
            "parser.batch_bytes = \"0 B\": between 1 byte and 64 MiB",
        ),
        ("[batch_writer]\nflush_events = 0", "batch_writer.flush_events = 0: at least one event"),
        (
            "[batch_writer]\nflush_bytes = \"0\"",
            "batch_writer.flush_bytes = \"0 B\": at least one byte",
        ),
        ("[batch_writer]\nflush_age = \"2h\"", "batch_writer.flush_age = \"2h\": at most 1m"),
        (
            "[batch_writer]\nretry_first = \"11s\"",
            "batch_writer.retry_first = \"11s\": more than zero and at most retry_cap",
        ),
        (
            "[metrics_aggregator]\nwindow = \"0s\"",
            "metrics_aggregator.window = \"0s\": between 1s and 24h",
        ),
        (
            "[metrics_aggregator]\nsnapshot_every = \"1ns\"",
            "metrics_aggregator.snapshot_every = \"1ns\": 0s, or at least 1s",
        ),
        (
            "[metrics_aggregator]\ncountries = \"none.mmdb\"",
            "metrics_aggregator.countries = \"none.mmdb\": ",
        ),
        (
            "[metrics_aggregator]\ncountries = \"test.toml\"",
            "metrics_aggregator.countries = \"test.toml\": ",
        ),
        (
            "[store]\nurl = \"mysql://h/d\"",
            "store.url = \"mysql://h/d\": sqlite://path or postgres://user:password@host/database is needed",
        ),
        (
            "[store]\nurl = \"postgres://u:p@h:port/d\"",
            "store.url = \"postgres://u:***@h:port/d\": ",
        ),
        ("[store]\nconnections = 1", "store.connections = 1: at least 2"),
        ("[store]\ncommit_timeout = \"0s\"", "store.commit_timeout = \"0s\": more than zero"),
        (
            "[admin]\nauth = \"basic\"",
            "admin.auth = \"basic\": unknown variant `basic`, expected one of `off`, `token`, `users`",
        ),
        ("[admin]\nauth = \"token\"", "admin.token = \"\": auth = \"token\" needs one"),
        ("[admin]\nconnections = 0", "admin.connections = 0: between 1 and 1000000"),
        ("[admin]\nmetrics_rate = -1", "admin.metrics_rate = -1: "),
        (
            "[telemetry]\nformat = \"xml\"",
            "telemetry.format = \"xml\": unknown variant `xml`, expected one of `auto`, `human`, `json`",
        ),
        ("[telemetry]\nfilter = \"x=loud\"", "telemetry.filter = \"x=loud\": "),
        ("[receiver", "test.toml: line 1: "),
        ("[spool]\n\nqueue = ", "test.toml: line 3 (`queue`): "),
    ] {
        let (code, said) = run_with(config, &[]).await;
        assert_eq!(code, Some(78), "{config}: {said}");
        assert!(said.contains(expected), "{config}: {said}\n  lacks {expected}");
    }
}

#[tokio::test]
async fn all_that_is_wrong_is_said_at_once() {
    let config = "[spool]\nqueue = 0\n[store]\nurl = \"x\"\n[parser]\nenvironment = \"\"";
    let (code, said) = run_with(config, &[]).await;
    assert_eq!(code, Some(78));
    for key in ["spool.queue", "store.url", "parser.environment"] {
        assert!(said.contains(key), "{said}");
    }
}

#[tokio::test]
async fn the_environment_is_checked_as_the_file_is() {
    for (variable, value, expected) in [
        ("FAULTLINE_SPOOL__QUEUE", "-x", "FAULTLINE_SPOOL__QUEUE = \"-x\": a whole number"),
        (
            "FAULTLINE_SPOOL__QUEU",
            "1",
            "FAULTLINE_SPOOL__QUEU: spool.queu: there is no such setting",
        ),
        ("FAULTLINE_SPOL__QUEUE", "1", "FAULTLINE_SPOL__QUEUE: spol: there is no such setting"),
        ("FAULTLINE_SPOOL_QUEUE", "1", "FAULTLINE_SPOOL_QUEUE: two underscores stand between"),
        ("FAULTLINE_ADMIN__TOKEN", "short", "admin.token = \"***\": "),
        ("FAULTLINE_STDIN__ENABLED", "yes", "FAULTLINE_STDIN__ENABLED = \"yes\": true or false"),
    ] {
        let (code, said) = run_with("", &[(variable, value)]).await;
        assert_eq!(code, Some(78), "{variable}: {said}");
        assert!(said.contains(expected), "{variable}: {said}\n  lacks {expected}");
    }
}

#[tokio::test]
async fn a_configuration_that_cannot_be_read_is_refused() {
    let at = |path: &str| Program::new(BINARY).arguments(&["run", "--config", path]);
    for path in ["missing.toml", "."] {
        let (code, said) = outcome(&at(path).run().await);
        assert_eq!(code, Some(78), "{said}");
        assert!(said.contains(&format!("{path}: ")), "{said}");
    }
    let program = at("latin1.toml");
    fs::write(program.directory().join("latin1.toml"), b"[parser]\nenvironment = \"\xfc\"")
        .unwrap();
    let (code, said) = outcome(&program.run().await);
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("latin1.toml: ") && said.contains("UTF-8"), "{said}");
    // The one of the working directory is read without being named.
    let program = Program::new(BINARY);
    fs::write(program.directory().join("config.toml"), "[spool]\nqueue = 0").unwrap();
    let (code, said) = outcome(&program.run().await);
    assert_eq!(code, Some(78), "{said}");
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for key in ["receiver.listen", "admin.listen"] {
        let program = Program::new(BINARY).set(key, &address);
        let (code, said) = outcome(&program.run().await);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(&format!("{key} = \"{address}\": Address already in use")), "{said}");
    }
}

#[tokio::test]
async fn one_spool_has_one_process() {
    let mut first = Program::new(BINARY);
    first.start();
    let second = Program::new(BINARY)
        .set("spool.dir", &first.directory().join("spool").display().to_string());
    let (code, said) = outcome(&second.run().await);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("spool.dir = ") && said.contains("another process"), "{said}");
    // The first one has not noticed.
    first.report(r#"{"message":"still here"}"#).await;
    assert_eq!(first.settled().await.line("errors").stored, 1);
    // Killed, it holds nothing any more.
    first.kill();
    let mut second = second;
    second.start();
    second.finish().await;
}

#[tokio::test]
async fn a_place_that_cannot_be_written_is_named() {
    let program = Program::new(BINARY);
    let file = program.directory().join("file");
    fs::write(&file, "").unwrap();
    let below = file.join("below").display().to_string();
    let (code, said) = outcome(&program.set("spool.dir", &below).run().await);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&format!("spool.dir = \"{below}\": ")), "{said}");

    let program = Program::new(BINARY);
    let file = program.directory().join("file");
    fs::write(&file, "").unwrap();
    let url = format!("sqlite://{}", file.join("below").display());
    let (code, said) = outcome(&program.set("store.url", &url).run().await);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&url), "{said}");
}

#[tokio::test]
async fn check_says_that_all_is_well_and_makes_nothing() {
    let program = Program::new(BINARY).set("stdin.command", "sh,-c,true").arguments(&["check"]);
    let output = program.run().await;
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    let lines: Vec<_> = said.lines().map(|line| line.split(':').next().unwrap().trim()).collect();
    assert_eq!(
        lines,
        [
            "ok      configuration",
            "ok      store",
            "ok      spool",
            "ok      jira",
            "ok      receiver",
            "ok      admin",
            "ok      stdin.command"
        ]
    );
    assert!(!program.directory().join("faultline.db").exists());
}

#[tokio::test]
async fn check_says_everything_that_fails() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let program = Program::new(BINARY)
        .set("receiver.listen", &address)
        .set("admin.listen", &address)
        .set("spool.dir", "/dev/null/spool")
        .set("stdin.command", "no-such-maxwell")
        .set("metrics_aggregator.countries", "none.mmdb")
        .set("store.url", "postgres://u:p@127.0.0.1:1/d")
        .arguments(&["check"]);
    let output = program.run().await;
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    for expected in [
        "ok      configuration",
        "FAILED  store: postgres://u:***@127.0.0.1:1/d: ",
        "FAILED  spool: /dev/null/spool: ",
        "FAILED  countries: ",
        &format!("FAILED  receiver: {address}: Address already in use"),
        "FAILED  admin: ",
        "FAILED  stdin.command: \"no-such-maxwell\" is not on the path",
    ] {
        assert!(said.lines().any(|line| line.starts_with(expected)), "{said}\n  lacks {expected}");
    }
    let program = Program::new(BINARY).set("spool.queue", "0").arguments(&["check"]);
    assert_eq!(outcome(&program.run().await).0, Some(78));
}

#[tokio::test]
async fn migrate_makes_the_tables_of_both_stores() {
    let tables = "SELECT count(*) FROM information_schema.tables WHERE table_name IN ('events', 'faults', 'rejected', 'ledger', 'journal_positions', 'metric_snapshots')";
    let in_sqlite =
        tables.replace("information_schema.tables", "sqlite_master").replace("table_name", "name");
    let mut postgres = Program::new(BINARY);
    postgres.database = Database::Postgres(Box::new(Postgres::start()));
    for (program, tables) in [(Program::new(BINARY), in_sqlite.as_str()), (postgres, tables)] {
        let program = program.arguments(&["migrate"]);
        let run = async || {
            let output = program.run().await;
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        assert!(run().await.starts_with("applied V1__"));
        assert_eq!(run().await, "the schema is up to date\n");
        assert_eq!(program.database.number(tables).await, 6);
        let check = program.arguments(&["check"]).run().await;
        let said = String::from_utf8(check.stdout).unwrap();
        assert!(check.status.success() && said.contains(" answers\n"), "{said}");
    }
    let away = Program::new(BINARY).set("store.url", "postgres://u:p@127.0.0.1:1/d");
    let (code, said) = outcome(&away.arguments(&["migrate"]).run().await);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.starts_with("faultline: ") && said.contains("refused"), "{said}");
}

#[tokio::test]
async fn a_check_beside_a_running_program_is_well() {
    let [receiver, admin] = [free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
    let set =
        |program: Program| program.set("receiver.listen", &receiver).set("admin.listen", &admin);
    let mut program = set(Program::new(BINARY));
    let check = async |program: &Program| {
        let output = run_to_end(program.command_with(&["check"])).await;
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    program.start();
    let (code, said) = check(&program).await;
    assert_eq!(code, Some(0), "{said}");
    for address in [&receiver, &admin] {
        let expected = format!("{address} is in use, and Faultline runs here");
        assert!(said.contains(&expected), "{said}");
    }
    program.finish().await;
    let _other = TcpListener::bind(&receiver).unwrap();
    let (code, said) = check(&program).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&format!("FAILED  receiver: {receiver}: ")), "{said}");
    assert!(said.contains(&format!("ok      admin: {admin} is free")), "{said}");
}
