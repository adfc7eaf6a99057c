//! One line per process: what its images reached together.

use std::io;

use super::{
    super::{
        escape::{clip, command_line},
        fit,
        select::Selection,
        times::Times,
        units::human,
    },
    lasted,
    page::Page,
};
use crate::model::{ImageSummary, ProcessSummary, Summary, UseKind};

/// The columns before the command.
const COLUMNS: [&str; 10] = [
    "PID", "PARENT", "LIFETIME", "PEAK", "PEAK AT", "ANON", "FILE", "SHMEM", "SWAP", "AVERAGE",
];

/// Those that are left out where there is no room, the least important first.
const LEAST: [usize; 8] = [8, 7, 9, 6, 5, 4, 1, 2];

/// Writes the table. The peak of a process is that of its largest image of its
/// own, and the amounts beside it are that image's at that moment. A process that
/// never had an image of its own (a vfork child that did not execute) shows the
/// one it borrowed, in brackets.
pub(super) fn write(
    summary: &Summary,
    selection: &Selection,
    out: &mut Page<'_>,
) -> io::Result<()> {
    let width = out.table_width();
    let rows: Vec<Row> = selection
        .processes(summary)
        .into_iter()
        .map(|p| Row::new(summary, p))
        .collect();
    let mut widths = COLUMNS.map(str::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(&row.cells) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let exits = rows
        .iter()
        .map(|row| row.exit.len())
        .max()
        .unwrap_or(0)
        .max("EXIT".len());
    let cells = COLUMNS.map(str::to_owned);
    let shown = fit::shown(widths, &LEAST, width.saturating_sub(exits + 2));
    let layout = Layout {
        widths,
        shown,
        exits,
    };
    layout.put(out, &cells, "EXIT", "COMMAND")?;
    let used = layout.used();
    let room = width.saturating_sub(used).max(fit::COMMAND);
    for row in &rows {
        layout.put(out, &row.cells, &row.exit, &clip(&row.command, room))?;
    }
    let missing = fit::left_out(COLUMNS, shown);
    if missing.is_empty() {
        return Ok(());
    }
    out.text(
        &format!("(no room for {missing}: make the terminal wider, or use --json FILE)"),
        0,
    )
}

/// Where the columns are.
struct Layout {
    widths: [usize; 10],
    shown: [bool; 10],
    exits: usize,
}

impl Layout {
    /// Columns before the command.
    fn used(&self) -> usize {
        let shown = self.widths.iter().zip(self.shown);
        let widths = shown
            .filter(|(_, shown)| *shown)
            .map(|(width, _)| width + 2);
        widths.sum::<usize>() + self.exits + 2
    }

    fn put(
        &self,
        out: &mut dyn io::Write,
        cells: &[String; 10],
        exit: &str,
        command: &str,
    ) -> io::Result<()> {
        for ((cell, width), shown) in cells.iter().zip(self.widths).zip(self.shown) {
            if shown {
                write!(out, "{cell:>width$}  ")?;
            }
        }
        writeln!(out, "{exit:<exits$}  {command}", exits = self.exits)
    }
}

struct Row {
    cells: [String; 10],
    exit: String,
    command: String,
}

impl Row {
    fn new(summary: &Summary, process: &ProcessSummary) -> Self {
        let own = |shared: bool| {
            process
                .images
                .iter()
                .filter(move |used| {
                    used.kind != UseKind::Failed && (used.kind == UseKind::Shared) == shared
                })
                .filter_map(|used| summary.images.get(used.image))
                .max_by_key(|image| image.peak_rss)
        };
        let (image, borrowed) = match own(false) {
            Some(image) => (Some(image), false),
            None => (own(true), true),
        };
        let of = |value: fn(&ImageSummary) -> u64| match image {
            None => "-".to_owned(),
            Some(image) if borrowed => format!("({})", human(value(image))),
            Some(image) => human(value(image)),
        };
        let times = Times::of(summary);
        let last = summary.last_image(process);
        let args = last
            .map(|image| command_line(&image.program.args))
            .unwrap_or_default();
        Self {
            cells: [
                process.pid.to_string(),
                process.ppid.to_string(),
                lasted(process.lifetime_ns),
                format!("{}{}", of(|image| image.peak_rss), error(image)),
                image.map_or_else(
                    || "-".to_owned(),
                    |i| format!("+{}", times.show(i.peak_at_ns)),
                ),
                of(|image| image.own_peak.anon),
                of(|image| image.own_peak.file),
                of(|image| image.own_peak.shmem),
                of(|image| image.own_peak.swap),
                of(|image| image.average_rss),
            ],
            exit: exit(process),
            command: args,
        }
    }
}

/// ` ±0.7 MiB`: how far the true peak can be, if that is not 0.
fn error(image: Option<&ImageSummary>) -> String {
    let Some((image, range)) = image.and_then(|image| Some((image, image.peak_range?))) else {
        return String::new();
    };
    match range.distance(image.peak_rss) {
        Some(bytes) => format!(" \u{b1}{}", human(bytes)),
        None => " or more".to_owned(),
    }
}

/// `0`, `SIG9`, `SIG9 core`, `SIG9 OOM`, `running`, `?`.
pub(super) fn exit(process: &ProcessSummary) -> String {
    let oom = if process.oom_killed { " OOM" } else { "" };
    match process.outcome {
        None if process.survivor => "running".to_owned(),
        None => "?".to_owned(),
        Some(outcome) => {
            let core = if outcome.core_dumped { " core" } else { "" };
            match (outcome.exit_status, outcome.signal) {
                (_, Some(signal)) => format!("SIG{signal}{core}{oom}"),
                (status, None) => format!("{}{oom}", status.unwrap_or(0)),
            }
        }
    }
}
