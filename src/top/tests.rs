use std::{collections::BTreeMap, time::Duration};

use ratatui::{Terminal, backend::TestBackend, style::Color};

use super::{
    metrics::Quantiles,
    model::{Alert, Component, Fault, Flow, Health, Line, Model, Queue, Rates, Ticket},
    view::{Panel, once, plain},
    *,
};

fn model() -> Model {
    let component = |status: &str, error: Option<&str>| Component {
        status: status.to_owned(),
        error: error.map(str::to_owned),
    };
    let line =
        Line { received: 1_234_567, stored: 1_234_000, duplicate: 60, rejected: 7, in_flight: 500 };
    let fault = |id: i64| Fault {
        count: 100 - id,
        environment: "production".to_owned(),
        service: "checkout".to_owned(),
        title: format!("payment {id} refused"),
        ticket: Some(Ticket { key: Some(format!("OPS-{id}")) }),
    };
    Model {
        url: "http://127.0.0.1:4000".to_owned(),
        link: Link::Up,
        flows: vec![Flow {
            source: "logdrains".to_owned(),
            line,
            rates: Some(Rates { received: 1_500.0, stored: 1_480.4 }),
        }],
        is_balanced: Some(true),
        queues: vec![
            Queue { name: "parser".to_owned(), depth: 4.0, capacity: 4.0, is_bytes: false },
            Queue { name: "spool (disk)".to_owned(), depth: 2e6, capacity: 4e9, is_bytes: true },
        ],
        commits: [Some(Quantiles { p50: 0.004, p95: 0.02, p99: 1.5, count: 42 }), None],
        jobs: vec![("completed".to_owned(), 12), ("dead".to_owned(), 3)],
        is_paused: true,
        is_breaker_open: false,
        health: Some(Health {
            overall: "unhealthy".to_owned(),
            components: BTreeMap::from([
                ("application".to_owned(), component("healthy", None)),
                ("jira".to_owned(), component("unhealthy", Some("no\nanswer\u{1b}[2J"))),
            ]),
        }),
        faults: Some((1..=30).map(fault).collect()),
        alerts: Some(vec![Alert {
            class: "P1".to_owned(),
            title: "Jira does not answer".to_owned(),
            since: "2026-11-22T03:04:05Z".to_owned(),
        }]),
        memory: Some(64.0 * 1_048_576.0),
        uptime: Some(Duration::from_secs(3_700)),
    }
}

/// The picture holds all of these.
fn assert_shows(picture: &str, expected: &[&str]) {
    for expected in expected {
        assert!(picture.contains(expected), "{picture}\nlacks {expected:?}");
    }
}

#[test]
fn a_wide_terminal_shows_everything() {
    let picture = plain(&model(), View::default(), 120, 40);
    assert_shows(
        &picture,
        &[
            "Faultline http://127.0.0.1:4000 · unhealthy · up 1h 1m · 64.0 MiB",
            "▸Messages",
            "logdrains      1500     1480       1.2M         7      500",
            "the ledger balances",
            "parser              ████████",
            "4 of 4",
            "1.9 MiB of 3.7 GiB",
            "commits, 10 s   p50 4.0 ms   p95 20 ms    p99 1.5 s    of 42",
            "since the start none",
            "completed  12",
            "dead       3",
            "dispatch is paused",
            "P1 03:04 Jira does not answer",
            "     99 OPS-1    [production] checkout: payment 1 refused",
            "q quit",
        ],
    );
    let jira = picture.find("jira").unwrap();
    assert!(jira < picture.find("application").unwrap(), "what is wrong stands first");
    assert!(picture.lines().count() == 40 && picture.lines().all(|it| it.chars().count() <= 120));
}

#[test]
fn a_small_terminal_shows_the_chosen_panel() {
    let mut view = View::default();
    for (panel, expected, other) in [
        (Panel::Messages, "logdrains", "OPS-1"),
        (Panel::Queues, "spool (disk)", "logdrains"),
        (Panel::Work, "commits, 10 s", "logdrains"),
        (Panel::Health, "application", "logdrains"),
        (Panel::Alerts, "Jira does not", "logdrains"),
        (Panel::Faults, "payment 1 refused", "logdrains"),
    ] {
        assert_eq!(view.panel, panel);
        let picture = plain(&model(), view, 50, 12);
        assert_shows(&picture, &[&format!("▸{}", panel.title()), expected]);
        assert!(!picture.contains(other), "{picture}");
        choose(&mut view, true);
    }
    assert_eq!(view.panel, Panel::Messages, "and from the last to the first");
    choose(&mut view, false);
    assert_eq!(view.panel, Panel::Faults);
    view.scroll = 27;
    let picture = plain(&model(), view, 50, 12);
    assert_shows(&picture, &["payment 30 refused"]);
    assert!(!picture.contains("payment 1 refused"), "{picture}");
}

#[test]
fn no_size_is_too_small_or_too_large() {
    for (width, height) in [(1, 1), (2, 3), (10, 4), (109, 80), (110, 26), (400, 200), (300, 3)] {
        for shows_help in [false, true] {
            let view = View { shows_help, ..View::default() };
            let picture = plain(&model(), view, width, height);
            assert_eq!(picture.lines().count(), usize::from(height));
        }
    }
}

#[test]
fn what_is_not_known_is_said() {
    let url = "http://x".to_owned();
    let nothing = Model { url, ..Model::default() };
    assert_shows(&plain(&nothing, View::default(), 120, 40), &["connecting …", "not known yet"]);
    let why = "connection refused".to_owned();
    let link = Link::Down { lasting: Duration::from_secs(75), why };
    let view = View { is_paused: true, ..View::default() };
    let picture = plain(&Model { link, ..model() }, view, 120, 40);
    assert_shows(&picture, &["no answer for 1m 15s: connection refused · paused", "logdrains"]);
    let broken = Model { is_balanced: Some(false), alerts: None, faults: None, ..model() };
    let picture = plain(&broken, View::default(), 120, 40);
    assert_shows(&picture, &["THE LEDGER DOES NOT BALANCE", "this Faultline tells of none"]);
}

#[test]
fn one_picture_has_everything_at_any_width() {
    for width in [40, 80, 110, 200] {
        let picture = once(&model(), width);
        assert_shows(&picture, &["Messages", "Queues", "jira", "OPS-1", "P1", "completed"]);
        assert!(!picture.contains("q quit") && !picture.contains('▸'), "{picture}");
        assert!(!picture.contains('\u{1b}'), "nothing that a terminal would obey");
    }
}

#[test]
fn colours_can_be_off() {
    for (colours, is_red) in [(Colours::On, true), (Colours::Off, false)] {
        let mut terminal = Terminal::new(TestBackend::new(120, 40)).unwrap();
        let view = View { colours, ..View::default() };
        let model = model();
        terminal.draw(|frame| draw(&model, view, frame.area(), frame.buffer_mut())).unwrap();
        let cells = &terminal.backend().buffer().content;
        assert_eq!(cells.iter().any(|cell| cell.fg == Color::Red), is_red);
        assert_eq!(cells.iter().any(|cell| cell.fg != Color::Reset), is_red);
    }
}

#[test]
fn keys_do_what_the_help_says() {
    let mut view = View::default();
    let key = |code| KeyEvent::new(code, KeyModifiers::NONE);
    let mut press = |code| pressed(&mut view, key(code));
    assert_eq!(press(KeyCode::Char('p')), Pressed::GoOn);
    press(KeyCode::Char('?'));
    assert_eq!(press(KeyCode::Esc), Pressed::GoOn, "the help goes first");
    assert_eq!(press(KeyCode::Esc), Pressed::End);
    assert_eq!(press(KeyCode::Char('q')), Pressed::End);
    press(KeyCode::Tab);
    press(KeyCode::Right);
    press(KeyCode::Down);
    press(KeyCode::Down);
    press(KeyCode::Up);
    assert_eq!((view.panel, view.scroll, view.is_paused), (Panel::Work, 1, true));
    let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(pressed(&mut view, control_c), Pressed::End);
}
