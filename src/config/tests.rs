use std::fs;

use toml::Table;

use super::{reading::defaults, *};

fn read(text: &str, environment: &[(&str, &str)]) -> Result<Config, String> {
    let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    parse(text, "config.toml", environment).map_err(|error| error.to_string())
}

fn problem(text: &str, environment: &[(&str, &str)]) -> String {
    read(text, environment).unwrap_err()
}

#[test]
fn the_file_in_the_repository_says_the_defaults() {
    let text = include_str!("../../config.toml");
    let config = read(text, &[]).unwrap();
    let as_table = |config| Table::try_from(config).unwrap();
    assert_eq!(as_table(config), as_table(Config::default()));
    let documented: Table = text.parse().unwrap();
    for (section, keys) in defaults() {
        let Some(keys) = keys.as_table() else {
            assert!(text.contains(&format!("# [[{section}]]")), "[[{section}]] is not shown");
            continue;
        };
        for (key, _) in keys {
            let known = documented.get(&section).and_then(|table| table.get(key));
            let is_shown = known.is_some();
            assert!(is_shown, "{section}.{key} is not in config.toml");
        }
    }
}

/// The commented example, without its marks.
fn example_rules() -> String {
    let text = include_str!("../../config.toml");
    let lines = text.lines().skip_while(|line| *line != "# [[rules]]");
    let lines = lines.map(|line| line.strip_prefix("# ").unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn what_storms_are_told_by_is_kept() {
    let text = "[jira]\nstorm_window = \"2h\"\n[retention]\ncompleted_jobs = \"1h\"\n";
    let problem = problem(text, &[]);
    assert!(problem.contains("retention.completed_jobs = \"1h\": a storm is told"), "{problem}");
    read("[retention]\ncompleted_jobs = \"0s\"\nevents = \"1d\"\n", &[]).unwrap();
}

#[test]
fn the_rules_that_the_file_shows_can_be_used() {
    let config = read(&example_rules(), &[]).unwrap();
    assert_eq!(config.rules.len(), 6);
    assert!(config.rules().unwrap().select_changes());
}

#[test]
fn every_setting_of_a_rule_is_shown() {
    let shown = example_rules();
    for wrong in ["nam = 1", "match.x = 1", "match.columns.a.x = 1"] {
        let problem = problem(&format!("[[rules]]\n{wrong}"), &[]);
        let (_, expected) = problem.split_once("expected one of ").unwrap();
        for name in expected.split(", ").map(|name| name.trim_matches('`')) {
            let forms = ["\n{} = ", "\n{}.", "\nmatch.{} = ", "{ {} = ", ", {} = "];
            let is_shown = forms.iter().any(|form| shown.contains(&form.replace("{}", name)));
            assert!(is_shown, "{name} is not shown");
        }
    }
}

#[test]
fn a_rule_that_cannot_be_used_is_named() {
    for (text, expected) in [
        ("[[rules]]\nname = \"a\"\nmach = 1", "rules[0].mach: unknown field `mach`"),
        ("[[rules]]\nname = \"a\"\nmute = \"soon\"", "rules[0].mute: \"soon\" is no duration"),
        ("[[rules]]\nname = \"a\"\nclass = \"P9\"", "rules[0].class: unknown variant `P9`"),
        (
            "[[rules]]\nname = \"a\"\nmatch.kind = \"logs\"",
            "rules[0] \"a\": match.kind = \"logs\": there are log",
        ),
        ("rules = 5", "rules = 5: a list is needed"),
        ("[rules]\nkey = \"x\"", "rules = { key = \"x\" }: a list is needed"),
        ("[priorities]\nP4 = {}", "priorities.P4: there is no such setting"),
        ("[priorities.P0]\nrespond = \"x\"", "priorities.P0.respond = \"x\": \"x\" is no"),
    ] {
        let problem = problem(text, &[]);
        assert!(problem.contains(expected), "{problem}\n  lacks {expected}");
    }
    let problem = problem("", &[("FAULTLINE_RULES__X", "1")]);
    let expected = "FAULTLINE_RULES__X: `rules` can be set in the file only";
    assert!(problem.contains(expected), "{problem}");
}

#[test]
fn the_environment_overrides_the_file() {
    let config = read(
        "[receiver]\nlisten = \"127.0.0.1:1\"",
        &[
            ("FAULTLINE_RECEIVER__LISTEN", "127.0.0.1:2"),
            ("FAULTLINE_SPOOL__DIR", "/tmp/s"),
            ("FAULTLINE_STDIN__ENABLED", "true"),
            ("FAULTLINE_STDIN__COMMAND", "maxwell,--producer=stdout"),
            ("FAULTLINE_BATCH_WRITER__FLUSH_EVENTS", "7"),
            ("FAULTLINE_ADMIN__TLS__KEY_FILE", "k"),
            ("FAULTLINE_ADMIN__TLS__CERTIFICATE_FILE", "c"),
            ("FAULTLINE_ADMIN__OPEN", "health,metrics"),
            ("FAULTLINE_UNRELATED", "x"),
            ("PATH", "x"),
        ],
    )
    .unwrap();
    assert_eq!(config.receiver.listen.port(), 2);
    assert_eq!(config.spool.dir, Path::new("/tmp/s"));
    assert!(config.stdin.enabled);
    assert_eq!(config.stdin.command, ["maxwell", "--producer=stdout"]);
    assert_eq!(config.batch_writer.flush_events, 7);
    assert_eq!(config.admin.tls.certificate_file, Path::new("c"));
    assert_eq!(config.admin.open, [admin::Open::Health, admin::Open::Metrics]);
}

#[test]
fn values_are_read_from_files() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let token = file("token", "0123456789abcdef\n");
    let drains = file("drains", "[{ user = \"shop\", password = \"0123456789abcdef\" }]\n");
    let config = read(
        "",
        &[
            ("FAULTLINE_ADMIN__TOKEN_FILE", &token),
            ("FAULTLINE_RECEIVER__DRAINS_FILE", &drains),
            // A setting of its own, not the value of `key`.
            ("FAULTLINE_HANDOFF__CA_FILE", "ca.pem"),
        ],
    )
    .unwrap();
    assert_eq!(config.admin.token.expose(), "0123456789abcdef");
    assert_eq!(config.receiver.drains[0].user, "shop");
    assert_eq!(config.handoff.ca_file, Path::new("ca.pem"));

    let missing = problem("", &[("FAULTLINE_ADMIN__TOKEN_FILE", "/nowhere")]);
    assert!(missing.contains("FAULTLINE_ADMIN__TOKEN_FILE = \"/nowhere\": No such"), "{missing}");
    let unknown = problem("", &[("FAULTLINE_ADMIN__TOKE_FILE", &token)]);
    assert!(unknown.contains("there is no such setting"), "{unknown}");
    let wrong = problem("", &[("FAULTLINE_SPOOL__QUEUE_FILE", &file("many", "many\n"))]);
    assert!(wrong.contains("FAULTLINE_SPOOL__QUEUE_FILE = \"many\": a whole"), "{wrong}");
}

#[test]
fn what_is_wrong_is_named() {
    for (text, environment, expected) in [
        (
            "[receiver]\nlisen = \"x\"",
            vec![],
            "receiver.lisen: there is no such setting; `listen` was meant?",
        ),
        ("[reciever]\n", vec![], "reciever: there is no such setting; `receiver` was meant?"),
        (
            "[spool]\nqueue = \"many\"",
            vec![],
            "spool.queue = \"many\": a whole number is needed, for example 4096",
        ),
        (
            "[receiver]\nlisten = \"here\"",
            vec![],
            "receiver.listen = \"here\": invalid socket address syntax",
        ),
        ("[spool]\nmax_bytes = \"lots\"", vec![], "spool.max_bytes = \"lots\": "),
        ("[parser]\njoin_wait = \"soon\"", vec![], "parser.join_wait = \"soon\": "),
        (
            "[store]\nurl = \"mysql://u:secret@h/d\"",
            vec![],
            "store.url = \"mysql://u:***@h/d\": sqlite://path or postgres://",
        ),
        (
            "[store]\nurl = \"postgres://u:secret@h/d?sslmode=on\"",
            vec![],
            "store.url = \"postgres://u:***@h/d?sslmode=on\": sslmode=on: disable, prefer,",
        ),
        (
            "[spool]\nmax_bytes = \"1 MiB\"",
            vec![],
            "spool.max_bytes = \"1.0 MiB\": at least two segments (128.0 MiB) are needed",
        ),
        (
            "[jira]\nurl = \"https://x.atlassian.net\"\nemail = \"a@b\"\ntoken = \"t\"",
            vec![],
            "jira.project = \"\": a project's key is needed",
        ),
        (
            "[receiver]\nbody_limit = \"64 MiB\"",
            vec![],
            "receiver.body_limit = \"64.0 MiB\": a body must fit",
        ),
        (
            "[stdin]\nenabled = true\nline_limit = \"2 MiB\"\n\
             [spool]\nsegment_bytes = \"3 MiB\"\n[receiver]\nbody_limit = \"1 MiB\"",
            vec![],
            "stdin.line_limit = \"2.0 MiB\": a line, and 1.2 MiB read with it, must fit",
        ),
        ("[health]\nspool_disk = 1.5", vec![], "health.spool_disk = 1.5: a share is needed"),
        (
            "",
            vec![("FAULTLINE_SPOOL__QUEUE", "-x")],
            "FAULTLINE_SPOOL__QUEUE = \"-x\": a whole number is needed",
        ),
        (
            "",
            vec![("FAULTLINE_SPOOL__QUEU", "1")],
            "FAULTLINE_SPOOL__QUEU: spool.queu: there is no such setting",
        ),
        (
            "",
            vec![("FAULTLINE_SPOOL_DIR", "x")],
            "FAULTLINE_SPOOL_DIR: two underscores stand between",
        ),
        ("[receiver", vec![], "config.toml: line 1: "),
    ] {
        let problem = problem(text, &environment);
        assert!(problem.contains(expected), "{problem}\n  lacks {expected}");
    }
}

#[test]
fn what_is_wrong_about_access_is_named() {
    for (text, environment, expected) in [
        (
            "[admin]\nauth = \"users\"\nlisten = \"0.0.0.0:4000\"\nopen = [\"health\"]",
            vec![],
            "admin.open: a listener beyond loopback (listen = \"0.0.0.0:4000\") opens nothing",
        ),
        (
            "[admin]\nopen = [\"metrics\"]\nmetrics_token = \"0123456789abcdef\"",
            vec![],
            "admin.open = [\"metrics\"]: metrics_token is set",
        ),
        ("[admin]\nopen = [\"all\"]", vec![], "admin.open[0]: unknown variant `all`"),
        (
            "[admin]\nsession_idle = \"1m\"",
            vec![],
            "admin.session_idle = \"1m\": at least \"2m\" is needed",
        ),
        (
            "[admin]\ncors_origins = [\"https://a.example/\"]",
            vec![],
            "admin.cors_origins = [\"https://a.example/\"]: an origin is needed",
        ),
        ("[admin]\ncors_origins = [\"*\"]", vec![], "an origin is needed, such as https"),
        (
            "[receiver]\ntls = { certificate_file = \"c.pem\" }",
            vec![],
            "receiver.tls: certificate_file and key_file belong together",
        ),
        (
            "[admin.tls]\nkey = \"k.pem\"",
            vec![],
            "admin.tls.key: there is no such setting; `key_file` was meant?",
        ),
        (
            "",
            vec![("FAULTLINE_ADMIN__TLX__KEY_FILE", "x")],
            "admin.tlx.key_file: there is no such setting; `tls` was meant?",
        ),
    ] {
        let problem = problem(text, &environment);
        assert!(problem.contains(expected), "{problem}\n  lacks {expected}");
    }
}

#[test]
fn a_listener_beyond_loopback_needs_authentication() {
    let open = "[admin]\nlisten = \"0.0.0.0:4000\"\nauth = \"off\"";
    assert!(problem(open, &[]).contains("admin.auth = \"off\""));
    let closed =
        "[admin]\nlisten = \"0.0.0.0:4000\"\nauth = \"token\"\ntoken = \"0123456789abcdef\"";
    assert!(read(closed, &[]).is_ok());
    let open = "[receiver]\nlisten = \"0.0.0.0:3001\"";
    assert!(problem(open, &[]).contains("receiver.listen = \"0.0.0.0:3001\""));
    let closed = "[receiver]\nlisten = \"0.0.0.0:3001\"\ntoken = \"0123456789abcdef\"\n\
        [[receiver.drains]]\nuser = \"heroku\"\npassword = \"0123456789abcdef\"";
    assert!(read(closed, &[]).is_ok());
}

#[test]
fn secrets_do_not_show() {
    let config = read("[admin]\nauth = \"token\"\ntoken = \"0123456789abcdef\"", &[]).unwrap();
    assert!(!format!("{config:?}").contains("0123456789abcdef"));
    let wrong = problem("[admin]\ntoken = 12345", &[]);
    assert!(wrong.contains("admin.token = \"***\""), "{wrong}");
    for (url, masked) in [
        ("postgres://u:p@h:5/d?sslmode=require", "postgres://u:***@h:5/d?sslmode=require"),
        ("postgres://u:p@s/s?w@h:5/d", "postgres://u:***@h:5/d"),
        (
            "postgres://u@h/d?password=p&sslmode=require",
            "postgres://u:***@h/d?password=***&sslmode=require",
        ),
        ("postgres://h/d", "postgres://h/d"),
        ("u:p@h/d", "u:***@h/d"),
        ("sqlite://data/x@y.db", "sqlite://data/x@y.db"),
    ] {
        assert_eq!(mask_url(url), masked);
    }
    for text in [
        "[admin]\ntoken = \"hunter2",
        "[admin]\ntoken = hunter2",
        "[receiver]\ndrains = \"hunter2\"",
        "[receiver]\ndrains = [\"hunter2\"]",
        "[[receiver.drains]]\nuser = \"a\"\npassword = [\"hunter2\"]",
        "[[receiver.drains]]\nuser = \"a\"\npasswort = \"hunter2\"",
        "[store]\nurl = \"u:hunter2@h/d\"",
    ] {
        let problem = problem(text, &[]);
        assert!(!problem.contains("hunter2"), "{problem}");
    }
    assert!(problem("[admin]\ntoken = \"x", &[]).contains("config.toml: line 2 (`token`): "));
}
