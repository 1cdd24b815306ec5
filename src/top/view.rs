//! How it looks: a pure function of what is shown and how it is looked at.
//!
//! A wide terminal has all panels at once, a small one the chosen panel under a line of their names.

use ratatui::{
    buffer::Buffer,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Block, Clear, Paragraph, Widget, Wrap},
};

use super::{
    model::{Link, Model},
    panels,
};

/// What can be chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Panel {
    #[default]
    Messages,
    Queues,
    Work,
    Health,
    Alerts,
    Faults,
}

impl Panel {
    pub(crate) const ALL: [Self; 6] =
        [Self::Messages, Self::Queues, Self::Work, Self::Health, Self::Alerts, Self::Faults];

    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Messages => "Messages",
            Self::Queues => "Queues",
            Self::Work => "Commits and jobs",
            Self::Health => "Health",
            Self::Alerts => "Alerts",
            Self::Faults => "Faults",
        }
    }

    /// The panel so many steps further.
    pub(crate) fn step(self, forwards: bool) -> Self {
        let at = Self::ALL.iter().position(|panel| *panel == self).unwrap_or(0);
        let step = if forwards { 1 } else { Self::ALL.len() - 1 };
        Self::ALL[(at + step) % Self::ALL.len()]
    }
}

/// How it is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) panel: Panel,
    /// Lines of the chosen panel that are scrolled away.
    pub(crate) scroll: u16,
    /// The picture stands still.
    pub(crate) is_paused: bool,
    pub(crate) shows_help: bool,
    pub(crate) colours: Colours,
    /// Nobody presses a key: all panels, and none of them chosen.
    pub(crate) is_once: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Colours {
    #[default]
    On,
    Off,
}

/// What a text means; its look depends on whether there are colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Dim,
    Good,
    Warning,
    Bad,
    Chosen,
}

impl View {
    pub(super) fn style(self, tone: Tone) -> Style {
        let plain = Style::default();
        let coloured = |colour| if self.colours == Colours::On { plain.fg(colour) } else { plain };
        match tone {
            Tone::Plain => plain,
            Tone::Dim => plain.add_modifier(Modifier::DIM),
            Tone::Good => coloured(Color::Green),
            Tone::Warning => coloured(Color::Yellow).add_modifier(Modifier::BOLD),
            Tone::Bad => coloured(Color::Red).add_modifier(Modifier::BOLD),
            Tone::Chosen => coloured(Color::Cyan).add_modifier(Modifier::BOLD),
        }
    }

    pub(super) fn span(self, tone: Tone, text: impl Into<String>) -> Span<'static> {
        Span::styled(text.into(), self.style(tone))
    }
}

/// From here on all panels are shown at once.
const WIDE: u16 = 110;
const HIGH: u16 = 26;
/// The height of one picture that is wide ...
const ONCE: u16 = 40;
/// ... and of a panel of one that is not, at most.
const LONGEST: u16 = 14;

/// Draws everything.
pub(crate) fn draw(model: &Model, view: View, area: Rect, out: &mut Buffer) {
    let keys = u16::from(!view.is_once);
    let [head, body, foot] =
        Layout::vertical([Constraint::Length(1), Constraint::Min(1), Constraint::Length(keys)])
            .areas(area);
    header(model, view).render(head, out);
    if area.width >= WIDE && area.height >= HIGH {
        all_panels(model, view, body, out);
    } else if view.is_once {
        let places =
            Panel::ALL.map(|it| Constraint::Length(panels::height(it, model).min(LONGEST)));
        let places: [Rect; 6] = Layout::vertical(places).areas(body);
        for (which, place) in Panel::ALL.into_iter().zip(places) {
            panel(which, model, view, place, out);
        }
    } else {
        let [names, one] =
            Layout::vertical([Constraint::Length(1), Constraint::Min(1)]).areas(body);
        tabs(view).render(names, out);
        panel(view.panel, model, view, one, out);
    }
    let keys = "q quit · p pause · tab ← → panel · ↑ ↓ scroll · ? help";
    Line::from(view.span(Tone::Dim, keys)).render(foot, out);
    if view.shows_help {
        help(view, area, out);
    }
}

fn header(model: &Model, view: View) -> Line<'static> {
    let mut spans =
        vec![view.span(Tone::Chosen, "Faultline "), view.span(Tone::Plain, &*model.url)];
    let (tone, text) = match &model.link {
        Link::Connecting => (Tone::Dim, " · connecting …".to_owned()),
        Link::Down { lasting, why } => {
            (Tone::Bad, format!(" · no answer for {}: {why}", panels::lasting(*lasting)))
        }
        Link::Up => match model.health.as_ref().map(|health| health.overall.as_str()) {
            Some(overall) => (panels::tone_of(overall), format!(" · {overall}")),
            None => (Tone::Dim, String::new()),
        },
    };
    spans.push(view.span(tone, text));
    if view.is_paused {
        spans.push(view.span(Tone::Warning, " · paused"));
    }
    if let Some(uptime) = model.uptime {
        spans.push(view.span(Tone::Dim, format!(" · up {}", panels::lasting(uptime))));
    }
    if let Some(memory) = model.memory {
        spans.push(view.span(Tone::Dim, format!(" · {}", panels::bytes(memory))));
    }
    Line::from(spans)
}

fn tabs(view: View) -> Line<'static> {
    let names = Panel::ALL.map(|panel| {
        let tone = if panel == view.panel { Tone::Chosen } else { Tone::Dim };
        let mark = if panel == view.panel { "▸" } else { " " };
        view.span(tone, format!("{mark}{} ", panel.title()))
    });
    Line::from(names.to_vec())
}

fn all_panels(model: &Model, view: View, area: Rect, out: &mut Buffer) {
    let halves = [Constraint::Percentage(55), Constraint::Percentage(45)];
    let [top, middle, bottom] = Layout::vertical([
        Constraint::Length(panels::height(Panel::Messages, model).max(9)),
        Constraint::Length(panels::height(Panel::Health, model).clamp(8, 12)),
        Constraint::Min(4),
    ])
    .areas(area);
    let [messages, queues] = Layout::horizontal(halves).areas(top);
    let [work, health] = Layout::horizontal(halves).areas(middle);
    let [faults, alerts] = Layout::horizontal(halves).areas(bottom);
    for (which, place) in [
        (Panel::Messages, messages),
        (Panel::Queues, queues),
        (Panel::Work, work),
        (Panel::Health, health),
        (Panel::Alerts, alerts),
        (Panel::Faults, faults),
    ] {
        panel(which, model, view, place, out);
    }
}

fn panel(which: Panel, model: &Model, view: View, area: Rect, out: &mut Buffer) {
    let is_chosen = which == view.panel && !view.is_once;
    let tone = if is_chosen { Tone::Chosen } else { Tone::Dim };
    let mark = if is_chosen { "▸" } else { " " };
    let title = view.span(tone, format!("{mark}{} ", which.title()));
    let block = Block::bordered().border_style(view.style(tone)).title(title);
    let inner = block.inner(area);
    block.render(area, out);
    let lines = panels::lines(which, model, view, inner.width);
    let hidden = u16::try_from(lines.len()).unwrap_or(u16::MAX).saturating_sub(inner.height);
    let scroll = if is_chosen { view.scroll.min(hidden) } else { 0 };
    Paragraph::new(lines).scroll((scroll, 0)).render(inner, out);
}

const HELP: &str = "q, Esc, ctrl-C   end
p                hold the picture, and go on
tab, → / ←       the next panel, the one before
↑ ↓, k j         scroll the chosen panel
?                this, and away again

Rates are messages a second over the last ten seconds.
NO_COLOR=1 turns colours off; --once prints one picture.";

fn help(view: View, area: Rect, out: &mut Buffer) {
    let (width, height) = (62.min(area.width), 10.min(area.height));
    let place = Rect {
        x: area.x + (area.width - width) / 2,
        y: area.y + (area.height - height) / 2,
        width,
        height,
    };
    Clear.render(place, out);
    let block = Block::bordered().border_style(view.style(Tone::Chosen)).title(" Keys ");
    Paragraph::new(HELP).wrap(Wrap { trim: false }).block(block).render(place, out);
}

/// One picture of this width, all of it.
pub(crate) fn once(model: &Model, width: u16) -> String {
    let stacked = Panel::ALL.map(|panel| panels::height(panel, model).min(LONGEST));
    let height = if width >= WIDE { ONCE } else { 1 + stacked.iter().sum::<u16>() };
    let view = View { colours: Colours::Off, is_once: true, ..View::default() };
    plain(model, view, width, height)
}

/// The picture as plain lines.
pub(super) fn plain(model: &Model, view: View, width: u16, height: u16) -> String {
    let area = Rect::new(0, 0, width, height);
    let mut buffer = Buffer::empty(area);
    draw(model, view, area, &mut buffer);
    let mut text = String::new();
    for y in 0..height {
        let line: String = (0..width).map(|x| buffer[(x, y)].symbol()).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
