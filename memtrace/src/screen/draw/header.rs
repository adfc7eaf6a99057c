//! What is followed, what it holds and held, and whether that is exact.

use ratatui::style::Style;

use super::pen::Pen;
use crate::{
    screen::{
        app::App,
        look::certainty as in_words,
        text::{harmless, per_cent, time},
    },
    units::{counted, grouped, human},
};

/// Lines that it takes. The first ones say what matters most.
pub(super) const LINES: u16 = 4;

/// Where gauges begin, and what is left for words behind them.
const GAUGE: u16 = 18;
const WORDS: u16 = 28;

pub(super) fn draw(app: &App, pen: &mut Pen<'_>) {
    title(app, pen);
    if pen.height() < LINES {
        return short(app, pen);
    }
    let totals = app.scene().totals;
    let look = app.appearance;
    // Of an earlier moment, what is known is the total.
    let (name, now) = match app.cursor() {
        Some(at) => ("then", app.history.at(at).unwrap_or(0)),
        None => ("now", totals.rss),
    };
    let (whole, of) = match totals.limit {
        Some(limit) => (limit, format!("% of {} limit", human(limit))),
        None => (totals.peak_rss, "% of the peak".to_owned()),
    };
    let style = |bytes: u64, usual: Style| {
        if totals.limit.is_some_and(|limit| bytes > limit) {
            look.bad()
        } else {
            usual
        }
    };
    let words = format!("{} {of}", per_cent(now, whole));
    gauge(
        app,
        pen,
        1,
        name,
        (now, whole),
        &words,
        style(now, look.total()),
    );
    let ago = totals.at_ns.saturating_sub(totals.peak_at_ns);
    let words = format!("{} ago", time(ago));
    let held = (totals.peak_rss, whole);
    gauge(
        app,
        pen,
        2,
        "peak",
        held,
        &words,
        style(totals.peak_rss, look.peak()),
    );
    processes(app, pen, 3);
}

fn title(app: &App, pen: &mut Pen<'_>) {
    let look = app.appearance;
    let totals = app.scene().totals;
    let at = match app.cursor() {
        Some(at) => format!("looking at {} of {}", time(at), time(totals.at_ns)),
        None if app.paused.is_some() => format!("paused at {}", time(totals.at_ns)),
        None => time(totals.at_ns),
    };
    let x = pen.text(0, 0, "memtrace", look.strong());
    pen.clipped(x + 2, 0, &harmless(&app.title), Style::new());
    let style = if app.paused.is_some() {
        look.chosen()
    } else {
        look.strong()
    };
    let width = pen.width();
    pen.until(width, 0, &format!("  {at}"), style);
}

/// Everything on one line.
fn short(app: &App, pen: &mut Pen<'_>) {
    let totals = app.scene().totals;
    let look = app.appearance;
    let x = pen.text(0, 1, &format!("now {}", human(totals.rss)), look.total());
    let peak = format!("  peak {}", human(totals.peak_rss));
    pen.text(x, 1, &peak, look.peak());
    exactness(app, pen, 1);
}

/// Whether it is exact, at the end of a line and over what else is there: it cannot be missed.
fn exactness(app: &App, pen: &mut Pen<'_>, y: u16) {
    let (words, style) = certainty(app);
    let width = pen.width();
    pen.until(width, y, &format!(" {words} "), style);
}

fn gauge(
    app: &App,
    pen: &mut Pen<'_>,
    y: u16,
    name: &str,
    (bytes, whole): (u64, u64),
    words: &str,
    style: Style,
) {
    let look = app.appearance;
    pen.text(0, y, name, look.strong());
    pen.until(GAUGE - 2, y, &human(bytes), style);
    let room = pen.width().saturating_sub(GAUGE + WORDS);
    let full = filled(bytes, whole, room);
    let bar = look.either("█", "#").repeat(usize::from(full));
    let rest = look.either("░", ".").repeat(usize::from(room - full));
    let x = pen.text(GAUGE, y, &bar, style);
    let x = pen.text(x, y, &rest, look.faint());
    pen.text(x + 1, y, words, Style::new());
}

/// Of `room` columns, those that a share takes; more than everything is everything.
fn filled(part: u64, whole: u64, room: u16) -> u16 {
    let columns = u128::from(part) * u128::from(room) / u128::from(whole.max(1));
    u16::try_from(columns).unwrap_or(room).min(room)
}

fn processes(app: &App, pen: &mut Pen<'_>, y: u16) {
    let totals = app.scene().totals;
    let alive = counted(totals.alive, "process", "processes");
    let updates = totals.updates_per_second.map_or_else(
        || "sampled".to_owned(),
        |updates| format!("{} updates/s", grouped(updates)),
    );
    let text = format!("{alive} alive, {} ended   {updates}", grouped(totals.ended));
    pen.text(0, y, &text, Style::new());
    exactness(app, pen, y);
}

/// Whether what is shown is exact, in words.
fn certainty(app: &App) -> (String, Style) {
    let (lost, off) = (app.scene().totals.lost, app.scene().totals.off);
    let style = match (lost, off) {
        (0, 0) => app.appearance.good(),
        _ => app.appearance.bad(),
    };
    (in_words(lost, off), style)
}

#[cfg(test)]
mod tests {
    use super::filled;

    /// Bars are never longer than their room.
    #[test]
    fn bars_fit() {
        assert_eq!(filled(1, 2, 10), 5);
        assert_eq!(filled(u64::MAX, 1, 10), 10);
        assert_eq!(filled(1, 0, 10), 10);
        assert_eq!(filled(0, 0, 10), 0);
        assert_eq!(filled(u64::MAX, u64::MAX, u16::MAX), u16::MAX);
    }
}
