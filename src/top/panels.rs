//! The lines of each panel.

use std::time::Duration;

use ratatui::text::Line;

use super::{
    metrics::Quantiles,
    model::{Model, Queue},
    view::{Panel, Tone, View},
};

/// So high is a panel that shows all its lines, with its frame.
pub(super) fn height(panel: Panel, model: &Model) -> u16 {
    let lines = lines(panel, model, View::default(), 80).len();
    u16::try_from(lines).unwrap_or(u16::MAX).saturating_add(2)
}

/// The lines of a panel that is so wide.
pub(super) fn lines(panel: Panel, model: &Model, view: View, width: u16) -> Vec<Line<'static>> {
    match panel {
        Panel::Messages => messages(model, view),
        Panel::Queues => queues(model, view, width),
        Panel::Work => work(model, view),
        Panel::Health => health(model, view),
        Panel::Alerts => alerts(model, view),
        Panel::Faults => faults(model, view, width),
    }
}

fn said(view: View, text: &str) -> Vec<Line<'static>> {
    vec![Line::from(view.span(Tone::Dim, text))]
}

fn messages(model: &Model, view: View) -> Vec<Line<'static>> {
    if model.flows.is_empty() {
        return said(view, "not known yet");
    }
    let head = format!(
        "{:<10}{:>9}{:>9}{:>11}{:>10}{:>9}",
        "source", "in/s", "out/s", "received", "rejected", "waiting"
    );
    let mut lines = vec![Line::from(view.span(Tone::Dim, head))];
    for flow in &model.flows {
        let rate = |rate: Option<f64>| rate.map_or("–".to_owned(), short);
        let [received, stored] =
            [flow.rates.map(|it| it.received), flow.rates.map(|it| it.stored)].map(rate);
        let line = flow.line;
        let counts = [line.received, line.rejected, line.in_flight].map(|it| short(it as f64));
        let text = format!(
            "{:<10}{received:>9}{stored:>9}{:>11}{:>10}{:>9}",
            flow.source, counts[0], counts[1], counts[2]
        );
        let tone = if line == super::model::Line::default() { Tone::Dim } else { Tone::Plain };
        lines.push(Line::from(view.span(tone, text)));
    }
    lines.push(Line::from(match model.is_balanced {
        Some(true) => view.span(Tone::Good, "the ledger balances"),
        Some(false) => view.span(Tone::Bad, "THE LEDGER DOES NOT BALANCE"),
        None => view.span(Tone::Dim, "the ledger is not known yet"),
    }));
    lines
}

fn queues(model: &Model, view: View, width: u16) -> Vec<Line<'static>> {
    const NAME: usize = 20;
    const COUNT: usize = 19;
    if model.queues.is_empty() {
        return said(view, "not known yet");
    }
    let room = usize::from(width).saturating_sub(NAME + COUNT + 1).min(20);
    let line = |queue: &Queue| {
        let share = if queue.capacity > 0.0 { queue.depth / queue.capacity } else { 0.0 };
        let tone = match share {
            share if share >= 0.9 => Tone::Bad,
            share if share >= 0.5 => Tone::Warning,
            _ => Tone::Good,
        };
        let shown = if queue.is_bytes { bytes } else { short };
        let count = format!("{} of {}", shown(queue.depth), shown(queue.capacity));
        Line::from(vec![
            view.span(Tone::Plain, format!("{:<NAME$}", queue.name)),
            view.span(tone, bar(share, room)),
            view.span(Tone::Plain, format!(" {count:>COUNT$}")),
        ])
    };
    model.queues.iter().map(line).collect()
}

/// So much of a bar is filled.
fn bar(share: f64, room: usize) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "of a bar")]
    let filled = ((share.clamp(0.0, 1.0) * room as f64).ceil() as usize).min(room);
    format!("{}{}", "█".repeat(filled), "·".repeat(room - filled))
}

fn work(model: &Model, view: View) -> Vec<Line<'static>> {
    let commits = |what: &str, quantiles: Option<Quantiles>| {
        let text = match quantiles {
            Some(Quantiles { p50, p95, p99, count }) => format!(
                "{what:<16}p50 {:<8} p95 {:<8} p99 {:<8} of {}",
                milliseconds(p50),
                milliseconds(p95),
                milliseconds(p99),
                short(count as f64)
            ),
            None => format!("{what:<16}none"),
        };
        Line::from(view.span(Tone::Plain, text))
    };
    let [lately, ever] = model.commits;
    let mut lines =
        vec![commits("commits, 10 s", lately), commits("since the start", ever), Line::default()];
    if model.jobs.is_empty() {
        lines.push(Line::from(view.span(Tone::Dim, "no jobs are known")));
    }
    for row in model.jobs.chunks(3) {
        let cell = |(state, count): &(String, u64)| {
            let tone = match (state.as_str(), count) {
                (_, 0) => Tone::Dim,
                ("dead" | "unknown", _) => Tone::Bad,
                _ => Tone::Plain,
            };
            view.span(tone, format!("{state:<11}{:<8}", short(*count as f64)))
        };
        lines.push(Line::from(row.iter().map(cell).collect::<Vec<_>>()));
    }
    if model.is_paused {
        lines.push(Line::from(view.span(Tone::Warning, "dispatch is paused")));
    }
    if model.is_breaker_open {
        lines.push(Line::from(view.span(Tone::Bad, "Jira is left alone for a while: it fails")));
    }
    lines
}

/// What the status of a component means.
pub(super) fn tone_of(status: &str) -> Tone {
    match status {
        "healthy" => Tone::Good,
        "degraded" => Tone::Warning,
        _ => Tone::Bad,
    }
}

fn health(model: &Model, view: View) -> Vec<Line<'static>> {
    let Some(health) = &model.health else { return said(view, "not known yet") };
    let mut components: Vec<_> = health.components.iter().collect();
    // What is wrong stands first, wherever the panel ends.
    components.sort_by_key(|(_, component)| match component.status.as_str() {
        "unhealthy" => 0,
        "degraded" => 1,
        _ => 2,
    });
    let line = |(name, component): (&String, &super::model::Component)| {
        let error = component.error.as_deref().unwrap_or_default();
        Line::from(vec![
            view.span(Tone::Plain, format!("{name:<13}")),
            view.span(tone_of(&component.status), format!("{:<10}", component.status)),
            view.span(Tone::Plain, one_line(error)),
        ])
    };
    components.into_iter().map(line).collect()
}

fn alerts(model: &Model, view: View) -> Vec<Line<'static>> {
    let Some(alerts) = &model.alerts else { return said(view, "this Faultline tells of none") };
    if alerts.is_empty() {
        return said(view, "none is open");
    }
    let line = |alert: &super::model::Alert| {
        let tone =
            if matches!(alert.class.as_str(), "P0" | "P1") { Tone::Bad } else { Tone::Warning };
        let since = alert.since.get(11..16).unwrap_or_default();
        Line::from(vec![
            view.span(tone, format!("{:<3}", alert.class)),
            view.span(Tone::Dim, format!("{since} ")),
            view.span(Tone::Plain, one_line(&alert.title)),
        ])
    };
    alerts.iter().map(line).collect()
}

fn faults(model: &Model, view: View, width: u16) -> Vec<Line<'static>> {
    let Some(faults) = &model.faults else { return said(view, "not known") };
    if faults.is_empty() {
        return said(view, "none is open");
    }
    let is_wide = width >= 50;
    let line = |fault: &super::model::Fault| {
        let ticket = fault.ticket.as_ref().and_then(|ticket| ticket.key.as_deref());
        let place = match (is_wide, fault.service.as_str()) {
            (false, _) => String::new(),
            (true, "") => format!("[{}] ", fault.environment),
            (true, service) => format!("[{}] {service}: ", fault.environment),
        };
        Line::from(vec![
            view.span(Tone::Plain, format!("{:>7} ", short(fault.count as f64))),
            view.span(Tone::Chosen, format!("{:<9}", ticket.unwrap_or_default())),
            view.span(Tone::Dim, one_line(&place)),
            view.span(Tone::Plain, one_line(&fault.title)),
        ])
    };
    faults.iter().map(line).collect()
}

/// Without what would move the cursor of a terminal.
fn one_line(text: &str) -> String {
    text.chars().map(|it| if it.is_control() { ' ' } else { it }).collect()
}

/// A count in at most six characters.
pub(super) fn short(number: f64) -> String {
    match number {
        n if n >= 1e9 => format!("{:.1}G", n / 1e9),
        n if n >= 1e6 => format!("{:.1}M", n / 1e6),
        n if n >= 1e4 => format!("{:.1}k", n / 1e3),
        n if n < 10.0 && n.fract() > 0.0 => format!("{n:.1}"),
        n => format!("{n:.0}"),
    }
}

pub(super) fn bytes(number: f64) -> String {
    match number {
        n if n >= 1_073_741_824.0 => format!("{:.1} GiB", n / 1_073_741_824.0),
        n if n >= 1_048_576.0 => format!("{:.1} MiB", n / 1_048_576.0),
        n => format!("{:.0} KiB", n / 1024.0),
    }
}

fn milliseconds(seconds: f64) -> String {
    match seconds * 1e3 {
        ms if ms >= 1e3 => format!("{:.1} s", ms / 1e3),
        ms if ms >= 10.0 => format!("{ms:.0} ms"),
        ms => format!("{ms:.1} ms"),
    }
}

/// In its two largest units.
pub(super) fn lasting(time: Duration) -> String {
    let seconds = time.as_secs();
    match (seconds / 86_400, seconds / 3_600, seconds / 60) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, minutes) => format!("{minutes}m {}s", seconds % 60),
        (0, hours, minutes) => format!("{hours}h {}m", minutes % 60),
        (days, hours, _) => format!("{days}d {}h", hours % 24),
    }
}
