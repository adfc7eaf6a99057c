//! The processes.

use ratatui::style::Style;

use super::pen::Pen;
use crate::{
    screen::{
        app::App,
        rows::Row,
        text::{age, amount, growth, harmless, per_cent},
        view::{Layout, Sort},
    },
    units::grouped,
};

/// The least that is kept for the command.
const COMMAND: u16 = 16;

/// Characters of a trend.
const TREND: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Pid,
    Res,
    Shr,
    Virt,
    Peak,
    Growth,
    Trend,
    Age,
}

/// From left to right, with widths.
const FIELDS: [(Field, u16); 8] = [
    (Field::Pid, 7),
    (Field::Res, 8),
    (Field::Shr, 8),
    (Field::Virt, 8),
    (Field::Peak, 8),
    (Field::Growth, 9),
    (Field::Trend, TREND as u16),
    (Field::Age, 6),
];

/// Those without which a table is still worth something, the least first.
const LEAST: [Field; 6] = [
    Field::Virt,
    Field::Shr,
    Field::Trend,
    Field::Growth,
    Field::Age,
    Field::Pid,
];

pub(super) fn draw(app: &mut App, pen: &mut Pen<'_>) {
    let room = usize::from(pen.height().saturating_sub(1));
    let mut selection = app.selection.clone();
    let rows = app.rows();
    selection.scroll(&rows, room);
    let fields = fields(pen.width());
    heading(app, pen, &fields);
    let nothing = match (rows.is_empty(), app.cursor().is_some(), app.moment()) {
        (false, ..) => None,
        (true, true, None) => Some("the processes of this moment are not kept, only their total"),
        (true, ..) if !app.view.filter.is_empty() => Some("nothing is called like that"),
        (true, ..) => Some("no processes"),
    };
    if let Some(nothing) = nothing {
        pen.text(1, 1, nothing, app.appearance.faint());
    }
    let all = app.scene().totals.rss;
    for (y, (place, row)) in (1..).zip(rows.iter().enumerate().skip(selection.above).take(room)) {
        line(app, pen, y, &fields, row, all);
        if place == selection.place {
            pen.line(y, app.appearance.chosen());
        }
    }
    drop(rows);
    app.selection = selection;
}

/// Those for which there is room.
fn fields(width: u16) -> Vec<(Field, u16)> {
    let mut fields = FIELDS.to_vec();
    for least in LEAST {
        let used: u16 = fields.iter().map(|(_, width)| width + 1).sum();
        if used + COMMAND <= width {
            break;
        }
        fields.retain(|(field, _)| *field != least);
    }
    fields
}

fn heading(app: &App, pen: &mut Pen<'_>, fields: &[(Field, u16)]) {
    let look = app.appearance;
    let sorted = |sort: Sort| {
        if app.view.sort == sort {
            look.chosen()
        } else {
            look.strong()
        }
    };
    pen.line(0, look.strong());
    let mut x = 0;
    for (field, width) in fields {
        let (name, style) = match field {
            Field::Pid => ("PID", sorted(Sort::Pid)),
            Field::Res => ("RES", sorted(Sort::Res)),
            Field::Shr => ("SHR", look.strong()),
            Field::Virt => ("VIRT", look.strong()),
            Field::Peak => ("PEAK", sorted(Sort::Peak)),
            Field::Growth => (look.either("Δ/s", "+/s"), sorted(Sort::Growth)),
            Field::Trend => ("TREND", look.strong()),
            Field::Age => ("AGE", sorted(Sort::Age)),
        };
        x += width;
        pen.until(x, 0, name, style);
        x += 1;
    }
    let name = match app.view.layout {
        Layout::Flat | Layout::Tree => "COMMAND",
        Layout::Alike => "NAME",
    };
    let x = pen.text(x, 0, name, sorted(Sort::Name));
    let moment = app
        .moment()
        .filter(|moment| moment.alive > moment.largest.len());
    let note = moment.map_or_else(String::new, |moment| {
        let (largest, alive) = (moment.largest.len(), moment.alive as u64);
        format!("  the {largest} largest of {}", grouped(alive))
    });
    pen.clipped(x, 0, &note, look.faint());
}

fn line(app: &App, pen: &mut Pen<'_>, y: u16, fields: &[(Field, u16)], row: &Row<'_>, all: u64) {
    let look = app.appearance;
    let usual = if row.is_ended {
        look.faint()
    } else {
        Style::new()
    };
    let shaded = |bytes: u64| {
        if row.is_ended {
            look.faint()
        } else {
            look.share(per_cent(bytes, all))
        }
    };
    let held = |bytes: u64| match row.is_ended {
        true => String::new(),
        false => amount(bytes),
    };
    let mut x = 0;
    for (field, width) in fields {
        let (text, style) = match field {
            Field::Pid => (
                row.pid.map_or_else(String::new, |pid| pid.to_string()),
                usual,
            ),
            Field::Res if row.is_ended => ("ended".to_owned(), usual),
            Field::Res => (amount(row.res), shaded(row.res)),
            Field::Shr => (held(row.shr), usual),
            Field::Virt => (held(row.virt), usual),
            Field::Peak => (amount(row.peak), shaded(row.peak)),
            Field::Growth => (growth(row.growth), usual),
            Field::Trend => (trend(row, look.unicode), usual),
            Field::Age => (row.age_ns.map_or_else(String::new, age), usual),
        };
        x += width;
        pen.until(x, y, &text, style);
        x += 1;
    }
    let x = pen.text(x, y, &row.branch, look.faint());
    pen.clipped(x, y, &title(row, look.unicode), usual);
}

/// What a row is called: a command if it is of one process, else a name and how many.
fn title(row: &Row<'_>, unicode: bool) -> String {
    let Some(process) = row.process else {
        let times = if unicode { '×' } else { 'x' };
        let count = grouped(row.count);
        let alive = match row.alive {
            0 => String::new(),
            alive => format!(", {} alive", grouped(alive)),
        };
        return format!("{} {times}{count}{alive}", harmless(row.name));
    };
    if process.command.is_empty() {
        harmless(&process.name)
    } else {
        harmless(&process.command)
    }
}

/// What a process held at the latest looks, from nothing to the largest of them.
fn trend(row: &Row<'_>, unicode: bool) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    const ASCII: [char; 8] = ['_', '_', '.', '-', '-', '=', '*', '#'];
    let Some(trend) = row.trend else {
        return String::new();
    };
    let columns = trend.columns(TREND);
    let most = columns.iter().copied().max().unwrap_or(0).max(1);
    let level = |bytes: u64| {
        let level = u128::from(bytes) * 7 / u128::from(most);
        usize::try_from(level).unwrap_or(0)
    };
    let characters = if unicode { BLOCKS } else { ASCII };
    columns
        .into_iter()
        .filter_map(|bytes| characters.get(level(bytes)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Field, fields};

    fn names(width: u16) -> Vec<Field> {
        fields(width).into_iter().map(|(field, _)| field).collect()
    }

    /// What matters least goes first; what is held, and was, is always there.
    #[test]
    fn fields_go_in_order() {
        assert_eq!(names(120).len(), 8);
        assert_eq!(names(86).len(), 8);
        let narrower = names(85);
        assert_eq!(narrower.len(), 7);
        assert!(!narrower.contains(&Field::Virt));
        assert_eq!(names(1), [Field::Res, Field::Peak]);
    }
}
