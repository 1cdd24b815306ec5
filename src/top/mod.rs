//! `faultline top`: a running Faultline in a terminal, from its admin listener.
//!
//! ```text
//! admin listener ─▶ fetch ─▶ model ─▶ view ─▶ terminal
//! keys ──────────────────────────────▲
//! ```
//!
//! What is shown is a pure function of the answers and of how it is looked at; asking stands apart.

use std::{
    env,
    io::{self, IsTerminal},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use ratatui::{
    DefaultTerminal,
    crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

use self::{
    fetch::Fetching,
    model::{History, Link, Sample},
    view::{Colours, View, draw},
};
use crate::{
    asking::{Asking, Whom},
    cli::say,
    config::Config,
};

mod fetch;
mod metrics;
mod model;
mod panels;
#[cfg(test)]
mod tests;
mod view;

/// How often it is asked.
const EVERY: Duration = Duration::from_secs(1);
/// A person does not type faster; what does not fit is not typed.
const KEYS: usize = 16;
/// The picture of `--once`, where `COLUMNS` does not say its width.
const WIDTH: u16 = 110;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    whom: Whom,
    /// Print one picture to standard output, which need not be a terminal.
    #[arg(long)]
    once: bool,
}

/// Shows it until it is told to end.
///
/// # Errors
/// When there is no terminal, or with `--once` when nobody answers.
pub(crate) async fn run(arguments: Arguments, config: &Config) -> anyhow::Result<ExitCode> {
    let asking = Asking::new(arguments.whom, config)?;
    if arguments.once {
        return once(asking).await;
    }
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        bail!("there is no terminal; `faultline top --once` prints one picture");
    }
    let view = View { colours: colours(), ..View::default() };
    let ends = ended()?;
    let mut terminal = ratatui::try_init().context("the terminal")?;
    let outcome = tokio::select! {
        outcome = show(&mut terminal, asking, view) => outcome,
        () = ends => Ok(()),
    };
    ratatui::restore();
    outcome.map(|()| ExitCode::SUCCESS)
}

/// Returns when the process is told to end, so that the terminal is left as it was.
fn ended() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut hangup = signal(SignalKind::hangup()).context("listening for SIGHUP")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    })
}

/// See <https://no-color.org>.
fn colours() -> Colours {
    let is_off = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if is_off { Colours::Off } else { Colours::On }
}

/// Two rounds, so that there are rates, and one picture.
async fn once(asking: Asking) -> anyhow::Result<ExitCode> {
    let url = asking.url().to_owned();
    let mut fetching = Fetching::new(asking);
    let mut history = History::default();
    history.add(fetching.round().await?);
    tokio::time::sleep(EVERY).await;
    history.add(fetching.round().await?);
    let width = env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let width = width.unwrap_or(WIDTH).clamp(20, 400);
    say(view::once(&history.model(&url, Link::Up), width).trim_end());
    Ok(ExitCode::SUCCESS)
}

/// Until a key says to end.
async fn show(
    terminal: &mut DefaultTerminal,
    asking: Asking,
    mut view: View,
) -> anyhow::Result<()> {
    let url = asking.url().to_owned();
    let mut keys = type_ahead();
    let mut rounds = rounds(asking);
    let mut history = History::default();
    let mut link = Link::Connecting;
    let mut answered = Instant::now();
    let mut model = history.model(&url, link.clone());
    loop {
        terminal.draw(|frame| draw(&model, view, frame.area(), frame.buffer_mut()))?;
        tokio::select! {
            typed = keys.recv() => match typed {
                Some(Event::Key(key)) if key.kind != KeyEventKind::Release => {
                    if pressed(&mut view, key) == Pressed::End {
                        return Ok(());
                    }
                    view.scroll = view.scroll.min(panels::height(view.panel, &model));
                }
                // Another size, for example: it is drawn again.
                Some(_) => {}
                None => return Ok(()),
            },
            Some(round) = rounds.recv() => {
                match round {
                    Ok(sample) => {
                        answered = Instant::now();
                        history.add(sample);
                        link = Link::Up;
                    }
                    Err(why) => link = Link::Down { lasting: answered.elapsed(), why },
                }
                if !view.is_paused {
                    model = history.model(&url, link.clone());
                }
            }
        }
    }
}

/// What each round has given, one after another.
fn rounds(asking: Asking) -> mpsc::Receiver<Result<Sample, String>> {
    // One is drawn before the next is asked for.
    let (out, rounds) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut fetching = Fetching::new(asking);
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let round = fetching.round().await.map_err(|error| format!("{error:#}"));
            if out.send(round).await.is_err() {
                return;
            }
        }
    });
    rounds
}

/// What is typed. A thread of its own reads the terminal, which can only be waited for.
fn type_ahead() -> mpsc::Receiver<Event> {
    let (out, keys) = mpsc::channel(KEYS);
    std::thread::spawn(move || {
        while !out.is_closed() {
            match event::poll(Duration::from_millis(200)) {
                Ok(false) => continue,
                Ok(true) => {}
                Err(_) => return,
            }
            let Ok(event) = event::read() else { return };
            // What nobody takes in time is dropped.
            let _ = out.try_send(event);
        }
    });
    keys
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pressed {
    GoOn,
    End,
}

/// What a key does.
fn pressed(view: &mut View, key: KeyEvent) -> Pressed {
    let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        KeyCode::Char('c') if is_control => return Pressed::End,
        KeyCode::Esc if view.shows_help => view.shows_help = false,
        KeyCode::Char('q') | KeyCode::Esc => return Pressed::End,
        KeyCode::Char('p') => view.is_paused = !view.is_paused,
        KeyCode::Char('?') => view.shows_help = !view.shows_help,
        KeyCode::Tab | KeyCode::Right | KeyCode::Char('l') => choose(view, true),
        KeyCode::BackTab | KeyCode::Left | KeyCode::Char('h') => choose(view, false),
        KeyCode::Down | KeyCode::Char('j') => view.scroll = view.scroll.saturating_add(1),
        KeyCode::Up | KeyCode::Char('k') => view.scroll = view.scroll.saturating_sub(1),
        _ => {}
    }
    Pressed::GoOn
}

fn choose(view: &mut View, forwards: bool) {
    view.panel = view.panel.step(forwards);
    view.scroll = 0;
}
