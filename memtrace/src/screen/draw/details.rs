//! All that is known of the row that is selected.

use ratatui::style::Style;

use super::pen::Pen;
use crate::{
    screen::{
        app::App,
        look::Process,
        rows::Row,
        scene::Scene,
        text::{growth, harmless, time, wrap},
    },
    units::{duration, grouped, human},
};

/// Columns of the names of fields.
const NAMES: u16 = 10;

/// The field that takes all lines that are left.
const COMMAND: &str = "command";

/// Ancestors that are told; there may be any number.
const ANCESTORS: usize = 8;

pub(super) fn draw(app: &App, pen: &mut Pen<'_>) {
    let rows = app.rows();
    let look = app.appearance;
    let Some(row) = rows.get(app.selection.find(&rows)) else {
        pen.text(1, 0, "nothing is selected", look.faint());
        return;
    };
    let heading = harmless(row.name);
    pen.line(0, look.chosen());
    pen.clipped(1, 0, &heading, look.chosen());
    let fields = fields(app, row);
    let spare = usize::from(pen.height()).saturating_sub(1 + fields.len());
    let room = usize::from(pen.width().saturating_sub(1 + NAMES));
    let mut y = 1;
    for (name, value) in fields {
        pen.text(1, y, name, look.strong());
        let lines = if name == COMMAND { 1 + spare } else { 1 };
        for line in wrap(&value, room, lines) {
            pen.text(1 + NAMES, y, &line, Style::new());
            y += 1;
        }
    }
}

fn fields(app: &App, row: &Row<'_>) -> Vec<(&'static str, String)> {
    let Some(process) = row.process else {
        return several(row);
    };
    let mut fields = vec![
        ("PID", process.pid.to_string()),
        (COMMAND, harmless(&process.command)),
        ("PEAK", peak(process.peak, process.peak_at_ns)),
    ];
    if !row.is_ended {
        let change = match growth(row.growth) {
            none if none.is_empty() => none,
            change => format!(", {change} a second"),
        };
        fields.extend([
            ("RES", format!("{}{change}", exact(process.res))),
            ("SHR", exact(process.shr)),
            ("SWAP", exact(process.swap)),
            ("VIRT", exact(process.virt)),
        ]);
    }
    let age = duration(row.age_ns.unwrap_or(0));
    let life = match process.ended_ns {
        Some(ended) if process.before_ns > 0 => {
            format!("{age}, until {}", time(ended))
        }
        Some(ended) => format!(
            "{age}, from {} to {}",
            time(process.started_ns),
            time(ended)
        ),
        None if process.before_ns > 0 => format!(
            "{age}, {} of it before: its peak is that since",
            duration(process.before_ns)
        ),
        None => format!("{age}, since {}", time(process.started_ns)),
    };
    fields.push(("lived", life));
    fields.push(("parents", ancestors(app.scene(), process)));
    fields
}

/// Of a row of several processes.
fn several(row: &Row<'_>) -> Vec<(&'static str, String)> {
    let mut fields = vec![
        (
            "processes",
            format!("{}, {} alive", grouped(row.count), grouped(row.alive)),
        ),
        (
            "PEAK",
            format!("{}, the largest of one", peak(row.peak, row.peak_at_ns)),
        ),
    ];
    if row.alive > 0 {
        fields.push(("RES", format!("{} together", exact(row.res))));
        fields.push(("SHR", format!("{} together", exact(row.shr))));
    }
    fields
}

fn exact(bytes: u64) -> String {
    if bytes < 1024 {
        return human(bytes);
    }
    format!("{} ({} B)", human(bytes), grouped(bytes))
}

fn peak(bytes: u64, at_ns: u64) -> String {
    format!("{} at {}", exact(bytes), time(at_ns))
}

/// Who created it, who created that one, and so on, as far as they are kept.
fn ancestors(scene: &Scene, process: &Process) -> String {
    let find = |id: u64| {
        let alive = scene.alive.iter().map(|alive| &alive.process);
        alive
            .chain(scene.ended.processes())
            .find(|process| process.id == id)
    };
    let mut text = String::new();
    let mut next = process.parent;
    for _ in 0..ANCESTORS {
        let Some(id) = next else {
            return if text.is_empty() {
                "none that is followed".to_owned()
            } else {
                text
            };
        };
        if !text.is_empty() {
            text.push_str(" < ");
        }
        let Some(parent) = find(id) else {
            text.push_str("one that is not kept");
            return text;
        };
        let ended = if parent.ended_ns.is_some() {
            ", ended"
        } else {
            ""
        };
        text.push_str(&format!(
            "{} [{}{ended}]",
            harmless(&parent.name),
            parent.pid
        ));
        next = parent.parent;
    }
    if next.is_some() {
        text.push_str(" < ...");
    }
    text
}
