//! What every process held at one moment of a recording.

use std::{cmp::Reverse, io};

use super::{
    escape::command_line,
    grid,
    select::{Selection, Sort},
    times::Times,
    units::{counted, duration, grouped, human},
};
use crate::{
    model::{Amounts, ImageSummary, ProcessSummary, Sizes, Summary, UseKind},
    recording::Moment,
};

/// One line: an image, or a process that uses another's.
struct Row<'a> {
    image: &'a ImageSummary,
    process: Option<&'a ProcessSummary>,
    held: Amounts,
    sizes: Sizes,
    state: State,
}

/// What an image is to the process of its line.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// The process runs in it.
    Runs,
    /// It is another's, and counts there.
    Borrowed,
    /// It is being made by fork, or taken down; no process runs in it.
    Between,
}

/// Writes the moment; `width_ns` is the width of the windows that were recorded.
///
/// # Errors
///
/// Those of the writer.
pub fn write(
    summary: &Summary,
    moment: &Moment,
    width_ns: u64,
    selection: &Selection,
    width: usize,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let sum = moment.sum();
    let mut rows = rows(summary, moment);
    let all = rows.len();
    writeln!(
        out,
        "memtrace: at +{}: {} ({} bytes) of RSS in {}",
        Times::of(summary).show(moment.at_ns),
        human(sum.rss()),
        grouped(sum.rss()),
        counted(moment.images.len() as u64, "image", "images"),
    )?;
    writeln!(
        out,
        "          anon {}, file {}, shmem {}; swap {}",
        human(sum.anon),
        human(sum.file),
        human(sum.shmem),
        human(sum.swap)
    )?;
    if width_ns > 0 {
        writeln!(
            out,
            "          recorded in windows of {}: a value can be that old (maxima are exact: --between)",
            duration(width_ns)
        )?;
    }
    if let Some(filter) = &selection.filter {
        // What it ran then, not what it was or became.
        rows.retain(|row| filter.matches_image(row.image));
    }
    sort(&mut rows, selection.sort);
    if rows.len() < all {
        let shown = rows
            .iter()
            .filter(|row| row.state != State::Borrowed)
            .fold(Amounts::default(), |sum, row| sum.plus(&row.held));
        writeln!(
            out,
            "          shown: {} of {all}, {} ({} bytes)",
            grouped(rows.len() as u64),
            human(shown.rss()),
            grouped(shown.rss())
        )?;
    }
    writeln!(out)?;
    let lines: Vec<_> = rows.iter().map(cells).collect();
    grid::write(
        [
            "PID", "PARENT", "RSS", "ANON", "FILE", "SHMEM", "SWAP", "VM", "DATA", "STACK", "HEAP",
        ],
        // Sizes of virtual memory before what is resident.
        &[10, 9, 8, 7, 6, 5, 4, 3, 1],
        "COMMAND",
        &lines,
        width,
        out,
    )
}

/// The processes that were alive, and images in which none ran.
fn rows<'a>(summary: &'a Summary, moment: &Moment) -> Vec<Row<'a>> {
    let mut left = moment.images.clone();
    let mut rows = Vec::new();
    let at = moment.at_ns;
    for process in &summary.processes {
        if process.start_ns > at || process.end_ns.is_some_and(|end| end <= at) {
            continue;
        }
        let used = process.images.iter().rev().find(|used| {
            used.kind != UseKind::Failed
                && used.start_ns <= at
                && used.end_ns.is_none_or(|end| end > at)
        });
        let Some((used, image)) =
            used.and_then(|used| Some((used, summary.images.get(used.image)?)))
        else {
            continue;
        };
        let (held, sizes) = moment.images.get(&used.image).copied().unwrap_or_default();
        let state = if used.kind == UseKind::Shared {
            State::Borrowed
        } else {
            left.remove(&used.image);
            State::Runs
        };
        rows.push(Row {
            image,
            process: Some(process),
            held,
            sizes,
            state,
        });
    }
    for (index, (held, sizes)) in left {
        if let Some(image) = summary.images.get(index) {
            rows.push(Row {
                image,
                process: image.owner.and_then(|owner| summary.processes.get(owner)),
                held,
                sizes,
                state: State::Between,
            });
        }
    }
    rows
}

fn sort(rows: &mut [Row<'_>], sort: Sort) {
    let pid = |row: &Row<'_>| row.process.map_or(row.image.pid, |process| process.pid);
    match sort {
        Sort::Rss => rows.sort_by_key(|row| (Reverse(row.held.rss()), pid(row))),
        Sort::Peak => rows.sort_by_key(|row| (Reverse(row.image.peak_rss), pid(row))),
        Sort::Start => rows.sort_by_key(|row| {
            let start = row.process.map(|process| process.start_ns);
            (start.unwrap_or(row.image.start_ns), pid(row))
        }),
        Sort::Pid => rows.sort_by_key(pid),
        Sort::Name => rows.sort_by(|a, b| {
            let name = |row: &Row<'_>| row.image.program.name().to_vec();
            name(a).cmp(&name(b)).then(pid(a).cmp(&pid(b)))
        }),
    }
}

fn cells(row: &Row<'_>) -> ([String; 11], String) {
    let amount = |bytes: u64| match row.state {
        // As in the table of the summary: it is not this process's own.
        State::Borrowed => format!("({})", human(bytes)),
        _ => human(bytes),
    };
    let size = |bytes: u64| {
        if bytes == 0 {
            "-".to_owned()
        } else {
            amount(bytes)
        }
    };
    let pid = row.process.map_or(row.image.pid, |process| process.pid);
    let parent = row.process.map(|process| process.ppid.to_string());
    let note = match row.state {
        State::Between => "(no process runs in it: being copied by fork, or taken down) ",
        _ => "",
    };
    (
        [
            pid.to_string(),
            parent.unwrap_or_else(|| "-".to_owned()),
            amount(row.held.rss()),
            amount(row.held.anon),
            amount(row.held.file),
            amount(row.held.shmem),
            amount(row.held.swap),
            size(row.sizes.total),
            size(row.sizes.data),
            size(row.sizes.stack),
            size(row.sizes.heap),
        ],
        format!("{note}{}", command_line(&row.image.program.args)),
    )
}
