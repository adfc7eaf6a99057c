//! The total over time, with its peak and the limit.

use super::{pen::Pen, steps};
use crate::{
    screen::{
        app::App,
        history::{Highest, place},
        text::{time, width},
        view::Window,
    },
    units::human,
};

/// Columns of what is written at the side: `1023.9 MiB` and the axis.
const SIDE: u16 = 11;

/// What a chart of nothing goes up to, bytes.
const PAGE: u64 = 4096;

/// Lines beside the plot: the windows, the peak's mark, the times.
const LINES: u16 = 3;

pub(super) fn draw(app: &mut App, pen: &mut Pen<'_>) {
    let columns = pen.width().saturating_sub(SIDE);
    app.chart_columns = columns;
    let app = &*app;
    heading(app, pen);
    let height = pen.height().saturating_sub(LINES);
    if columns == 0 || height == 0 {
        return;
    }
    let (from, to) = app.range();
    // What was taken in while the screen was paused is not seen yet.
    let now = app.scene().totals.at_ns;
    let highest = app.history.highest(from, to.min(now));
    let most = top(
        highest.map_or(0, |highest| highest.bytes),
        app.scene().totals.limit,
    );
    // Less than a page is nothing.
    let most = most.max(PAGE);
    side(app, pen, most, height);
    limit(app, pen, most, height);
    plot(app, pen, most, (columns, height));
    if let Some(highest) = highest.filter(|highest| highest.bytes > 0) {
        mark(app, pen, highest, columns);
    }
    let bottom = LINES - 1 + height;
    pen.text(SIDE, bottom, &time(from), app.appearance.faint());
    let end = pen.width();
    pen.until(end, bottom, &time(to), app.appearance.faint());
    cursor(app, pen, columns, height);
}

/// Which windows there are, and which one it is.
fn heading(app: &App, pen: &mut Pen<'_>) {
    let look = app.appearance;
    let mut x = pen.text(0, 0, "RSS of all   ", look.strong());
    for (key, name, window) in Window::EACH {
        let style = if window == app.view.window {
            look.chosen()
        } else {
            look.faint()
        };
        x = pen.text(x, 0, &format!(" {key} {name} "), style);
    }
}

/// The amount at the top: a round one, in which the limit has room too if it is not far away.
fn top(highest: u64, limit: Option<u64>) -> u64 {
    let near = limit.filter(|limit| *limit / 2 <= highest);
    round(highest.max(near.unwrap_or(0)))
}

/// The least round amount that is not less.
fn round(bytes: u64) -> u64 {
    const STEPS: [u64; 10] = [1, 2, 3, 4, 5, 6, 8, 10, 12, 16];
    let mut scale: u64 = 1;
    loop {
        // Times 16 until it reaches: 1, 16, 256, 4096...
        for step in STEPS {
            match scale.checked_mul(step) {
                Some(round) if round >= bytes => return round,
                Some(_) => {}
                None => return bytes,
            }
        }
        match scale.checked_mul(16) {
            Some(next) => scale = next,
            None => return bytes,
        }
    }
}

fn side(app: &App, pen: &mut Pen<'_>, most: u64, height: u16) {
    let look = app.appearance;
    let last = height - 1;
    for y in 0..height {
        let label = match y {
            0 => human(most),
            _ if y == last => "0 B".to_owned(),
            _ if height >= 5 && y * 2 == last => human(most / 2),
            _ => String::new(),
        };
        let line = LINES - 1 + y;
        pen.until(SIDE - 1, line, &label, look.faint());
        pen.text(SIDE - 1, line, look.either("│", "|"), look.faint());
    }
}

/// A line where the limit is.
fn limit(app: &App, pen: &mut Pen<'_>, most: u64, height: u16) {
    let Some(limit) = app.scene().totals.limit.filter(|limit| *limit <= most) else {
        return;
    };
    let lines = u128::from(height) - 1;
    let from_below = u128::from(limit) * lines / u128::from(most.max(1));
    let Ok(y) = u16::try_from(lines - from_below.min(lines)) else {
        return;
    };
    let columns = usize::from(pen.width().saturating_sub(SIDE));
    let text = app.appearance.either("╌", "-").repeat(columns);
    pen.text(SIDE, LINES - 1 + y, &text, app.appearance.faint());
    pen.until(pen.width(), LINES - 1 + y, " limit", app.appearance.faint());
}

fn plot(app: &App, pen: &mut Pen<'_>, most: u64, (columns, height): (u16, u16)) {
    let (from, to) = app.range();
    let now = app.scene().totals.at_ns;
    let dots = usize::from(columns) * steps::ACROSS;
    let known = app.history.columns(from, to, now, dots);
    let lines = if app.appearance.unicode {
        steps::braille(&known, most, height)
    } else {
        steps::ascii(&known, most, height)
    };
    for (y, line) in (LINES - 1..).zip(lines) {
        for (x, c) in (SIDE..).zip(line.chars()) {
            if !steps::is_empty(c) {
                let mut bytes = [0; 4];
                pen.text(x, y, c.encode_utf8(&mut bytes), app.appearance.total());
            }
        }
    }
}

/// Says where the largest is.
fn mark(app: &App, pen: &mut Pen<'_>, highest: Highest, columns: u16) {
    let look = app.appearance;
    let totals = app.scene().totals;
    let x = column(app, highest.at_ns, columns);
    let name = if highest.bytes >= totals.peak_rss {
        "peak"
    } else {
        "largest"
    };
    let text = format!("{name} {} at {}", human(highest.bytes), time(highest.at_ns));
    pen.text(x, 1, look.either("▼", "v"), look.peak());
    let needed = u16::try_from(width(&text)).unwrap_or(u16::MAX);
    if x + 2 + needed <= pen.width() {
        pen.text(x + 2, 1, &text, look.peak());
    } else {
        pen.until(x.saturating_sub(1), 1, &text, look.peak());
    }
}

/// The column of a moment.
fn column(app: &App, at_ns: u64, columns: u16) -> u16 {
    let (from, to) = app.range();
    let place = place(at_ns, from, to, usize::from(columns));
    SIDE + u16::try_from(place).unwrap_or(columns)
}

/// The moment that is looked at.
fn cursor(app: &App, pen: &mut Pen<'_>, columns: u16, height: u16) {
    let Some(at) = app.cursor() else {
        return;
    };
    let look = app.appearance;
    let x = column(app, at, columns);
    for y in 0..height {
        pen.style(x, LINES - 1 + y, look.chosen());
    }
    let known = app.history.at(at).map_or_else(String::new, human);
    let text = format!(" {} {known} ", time(at));
    let needed = u16::try_from(width(&text)).unwrap_or(u16::MAX);
    let start = x.min(pen.width().saturating_sub(needed));
    pen.text(start, LINES - 1 + height, &text, look.chosen());
}

#[cfg(test)]
mod tests {
    use super::{round, top};

    /// Round amounts are not less, and less than twice as much.
    #[test]
    fn tops_are_round() {
        for bytes in (0..64).flat_map(|bit| [1_u64 << bit, (1 << bit) + 1, (3 << bit) / 2]) {
            let rounded = round(bytes);
            assert!(rounded >= bytes, "{bytes}");
            assert!(rounded / 2 <= bytes, "{bytes} {rounded}");
        }
        assert_eq!(round(0), 1);
        assert_eq!(round(u64::MAX), u64::MAX);
        assert_eq!(round(1_546_188_226), 1_610_612_736);
    }

    /// A limit is in the picture once half of it is used.
    #[test]
    fn limits_that_are_near_are_seen() {
        assert_eq!(top(100, Some(1_000)), round(100));
        assert!(top(600, Some(1_000)) >= 1_000);
        assert!(top(2_000, Some(1_000)) >= 2_000);
    }
}
