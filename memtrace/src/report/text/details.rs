//! Every number there is, in bytes, for the tree and its largest images.

use std::io::{self, Write as _};

use super::{
    super::{
        escape::{clip, command_line, escape},
        times::Times,
        units::{self, grouped, human},
    },
    counted, lasted,
    page::Page,
    segments, table, updates,
};
use crate::model::{
    Amounts, CgroupEvents, CgroupStat, Fate, ImageSummary, ImageUse, Origin, OwnCgroup, PeakRange,
    ProcessSummary, Summary, UseKind,
};

/// Images shown; the JSON has all of them.
const IMAGES: usize = 25;

/// Width of the labels, and of each column of numbers.
const LABEL: usize = 22;
const NUMBER: usize = 19;

pub(super) fn write(summary: &Summary, out: &mut Page<'_>) -> io::Result<()> {
    tree(summary, out)?;
    own_cgroup(summary, out)?;
    let mut largest: Vec<&ImageSummary> = summary.images.iter().collect();
    largest.sort_by_key(|image| (std::cmp::Reverse(image.peak_rss), image.id));
    for image in largest.iter().take(IMAGES) {
        writeln!(out)?;
        one(summary, image, out)?;
    }
    let rest = largest.len().saturating_sub(IMAGES);
    if rest > 0 {
        writeln!(out)?;
        out.text(
            &format!(
                "{} left out; --json FILE has all",
                counted(rest, "smaller image is", "smaller images are")
            ),
            0,
        )?;
    }
    Ok(())
}

fn header(out: &mut Page<'_>, title: &str, columns: &[&str]) -> io::Result<()> {
    let (columns, width) = layout(columns, out);
    write!(out, "{title:<LABEL$}")?;
    for column in columns {
        write!(out, "{column:>width$}")?;
    }
    writeln!(out)
}

/// As many columns as there is room for, and how wide each is.
fn layout<'a, T>(columns: &'a [T], out: &Page<'_>) -> (&'a [T], usize) {
    let room = out.table_width().saturating_sub(LABEL);
    let number = NUMBER.min(room);
    let count = (room / number.max(1)).min(columns.len());
    (columns.get(..count).unwrap_or_default(), number)
}

/// A row of byte amounts; `None` leaves a column empty.
fn row(out: &mut Page<'_>, label: &str, numbers: &[Option<u64>]) -> io::Result<()> {
    let (numbers, width) = layout(numbers, out);
    let mut text = format!("  {label:<label_width$}", label_width = LABEL - 2);
    for number in numbers {
        let number = number.map(grouped).unwrap_or_default();
        text.push_str(&format!("{number:>width$}"));
    }
    writeln!(out, "{}", text.trim_end())
}

fn tree(summary: &Summary, out: &mut Page<'_>) -> io::Result<()> {
    let tree = &summary.tree;
    let at = tree.own_peak();
    header(out, "tree, bytes", &["peak", "average", "at the RSS peak"])?;
    row(
        out,
        "RSS",
        &[Some(tree.peak_rss), Some(tree.average_rss), Some(at.rss())],
    )?;
    range(out, tree.peak_range)?;
    members(out, &[&tree.peak, &tree.average, &at])?;
    row(out, "RSS + swap", &[Some(tree.peak_rss_swap)])?;
    huge(out, tree.peak_huge)?;
    let footprint = &tree.footprint;
    row(
        out,
        "footprint, low",
        &[Some(footprint.low), Some(footprint.average_low)],
    )?;
    row(out, "footprint, high", &[Some(footprint.high)])?;
    if let Some(maxrss) = summary.kernel_maxrss {
        row(out, "ru_maxrss (wait4)", &[Some(maxrss)])?;
    }
    snapshot(summary, out)?;
    let times = Times::of(summary);
    let wall = times.show(summary.wall_ns);
    let text = if summary.attached().is_some() {
        format!("  wall {wall}, from when it was attached to")
    } else {
        format!(
            "  wall {wall}, user {}, system {}",
            times.show(summary.user_ns),
            times.show(summary.system_ns)
        )
    };
    out.text(&text, 4)
}

/// What the command's own cgroup told, if it had one.
fn own_cgroup(summary: &Summary, out: &mut Page<'_>) -> io::Result<()> {
    let Some(told) = summary.own_cgroup.as_deref() else {
        return Ok(());
    };
    let OwnCgroup {
        path: _,
        peak,
        current,
        swap_peak,
        stat,
        events,
        remains: _,
    } = told;
    let CgroupStat {
        anon,
        file,
        shmem,
        file_mapped,
        kernel,
        slab,
        kernel_stack,
        page_tables,
        percpu,
        sock,
    } = *stat;
    let CgroupEvents {
        high,
        max,
        oom,
        oom_kill,
    } = *events;
    writeln!(out)?;
    header(out, "own cgroup, bytes", &["peak", "at the end"])?;
    row(out, "charged", &[*peak, *current])?;
    if swap_peak.is_some() {
        row(out, "swap", &[*swap_peak])?;
    }
    let parts = [
        ("anonymous", anon),
        ("page cache, shared", file),
        ("of it shared memory", shmem),
        ("of it mapped", file_mapped),
        ("kernel", kernel),
        ("slab", slab),
        ("kernel stacks", kernel_stack),
        ("page tables", page_tables),
        ("per CPU", percpu),
        ("sockets", sock),
    ];
    for (label, bytes) in parts.into_iter().filter(|(_, bytes)| bytes.is_some()) {
        row(out, label, &[None, bytes])?;
    }
    let counts = [
        ("high", high),
        ("max", max),
        ("oom", oom),
        ("oom_kill", oom_kill),
    ];
    let counts: Vec<String> = counts
        .into_iter()
        .filter_map(|(name, count)| Some(format!("{name} {}", count?)))
        .collect();
    if counts.is_empty() {
        return Ok(());
    }
    out.text(&format!("  events at limits: {}", counts.join(", ")), 4)
}

/// Seldom used, and not in RSS.
fn huge(out: &mut Page<'_>, peak: u64) -> io::Result<()> {
    if peak == 0 {
        return Ok(());
    }
    row(out, "pages of hugetlbfs", &[Some(peak)])
}

/// What the kernel said about the tree's share of memory, as close to the peak as there is.
fn snapshot(summary: &Summary, out: &mut Page<'_>) -> io::Result<()> {
    let tree = &summary.tree;
    let Some(snapshot) = tree.snapshot_at_peak() else {
        return Ok(());
    };
    let distance = snapshot.at_ns.abs_diff(tree.peak_at_ns);
    let side = if snapshot.at_ns < tree.peak_at_ns {
        "before"
    } else {
        "after"
    };
    out.text(&format!("  PSS {}, USS {}: a snapshot, not exact, taken {} {side} the peak, at {} of RSS ({} bytes)",
        grouped(snapshot.pss),
        grouped(snapshot.uss),
        lasted(distance),
        human(snapshot.rss),
        grouped(snapshot.rss),), 4)
}

/// Bounds of the true peak where it is not known.
fn range(out: &mut Page<'_>, range: Option<PeakRange>) -> io::Result<()> {
    let Some(PeakRange { low, high }) = range else {
        return Ok(());
    };
    row(out, "RSS at least", &[Some(low)])?;
    match high {
        Some(high) => row(out, "RSS at most", &[Some(high)]),
        None => Ok(()),
    }
}

/// One row per kind of memory, one column per set of amounts.
fn members(out: &mut Page<'_>, columns: &[&Amounts]) -> io::Result<()> {
    let mut member = |label: &str, value: fn(&Amounts) -> u64| {
        let numbers: Vec<Option<u64>> = columns.iter().map(|column| Some(value(column))).collect();
        row(out, label, &numbers)
    };
    member("anonymous", |amounts| amounts.anon)?;
    member("file", |amounts| amounts.file)?;
    member("shared memory", |amounts| amounts.shmem)?;
    member("swap", |amounts| amounts.swap)
}

fn one(summary: &Summary, image: &ImageSummary, out: &mut Page<'_>) -> io::Result<()> {
    let what = match (image.fate, image.origin) {
        (Fate::FailedFork, _) => "failed fork",
        (Fate::FailedExec, _) => "failed exec",
        (Fate::Unfinished, _) => "unfinished",
        (_, Origin::Fork) => "fork",
        (_, Origin::Exec) => "exec",
        (_, Origin::Found) => "found",
    };
    let command = command_line(&image.program.args);
    let title = format!(
        "image {} of pid {} ({what}): {command}",
        image.id, image.pid
    );
    writeln!(out, "{}", clip(&title, out.table_width()))?;
    if !image.program.path.is_empty() {
        let more = if image.program.truncated {
            ", arguments cut"
        } else {
            ""
        };
        let text = format!("  executable {}{more}", escape(&image.program.path));
        writeln!(out, "{}", clip(&text, out.table_width()))?;
    }
    let times = Times::of(summary);
    let end = image
        .end_ns
        .map_or_else(|| "alive".to_owned(), |ns| format!("+{}", times.show(ns)));
    out.text(
        &format!(
            "  from +{} to {end}, {}, {}, RSS peak at +{}",
            times.show(image.start_ns),
            lasted(image.lifetime_ns),
            updates(image.events),
            times.show(image.peak_at_ns)
        ),
        4,
    )?;
    header(
        out,
        "",
        &["peak", "average", "at own RSS peak", "at tree's peak"],
    )?;
    let own = Some(image.own_peak.rss());
    let then = Some(image.at_tree_peak.rss());
    row(
        out,
        "RSS",
        &[Some(image.peak_rss), Some(image.average_rss), own, then],
    )?;
    range(out, image.peak_range)?;
    members(
        out,
        &[
            &image.peak,
            &image.average,
            &image.own_peak,
            &image.at_tree_peak,
        ],
    )?;
    row(out, "RSS + swap", &[Some(image.peak_rss_swap)])?;
    huge(out, image.peak_huge)?;
    if image.inherited > 0 {
        row(out, "inherited by fork", &[Some(image.inherited)])?;
    }
    let (vm, mean) = (&image.vm, &image.vm_average);
    for (label, bytes, average) in [
        ("virtual size", vm.size, Some(mean.size)),
        ("data", vm.data, Some(mean.data)),
        ("stack", vm.stack, Some(mean.stack)),
        ("text", vm.text, known(mean.text)),
        ("libraries", vm.lib, known(mean.lib)),
        ("heap", vm.heap, known(mean.heap)),
        ("page tables", vm.page_tables, known(mean.page_tables)),
        ("locked", vm.locked, known(mean.locked)),
        ("pinned", vm.pinned, known(mean.pinned)),
    ] {
        // Most programs lock nothing; a row of nothing says nothing.
        if bytes > 0 {
            row(out, label, &[Some(bytes), average])?;
        }
    }
    row(out, "kernel's VmHWM", &[Some(image.kernel_hiwater_rss)])?;
    parts(image, out)?;
    process(summary, image, out)
}

/// A mean that the first recordings do not have.
const fn known(mean: u64) -> Option<u64> {
    if mean == 0 { None } else { Some(mean) }
}

/// What its pages were for.
fn parts(image: &ImageSummary, out: &mut Page<'_>) -> io::Result<()> {
    if image.segments.is_none() {
        return Ok(());
    }
    header(
        out,
        "  resident, by segment",
        &[
            "peak",
            "at own RSS peak",
            "anonymous then",
            "swapped then",
            "virtual then",
        ],
    )?;
    for (label, numbers) in segments::rows(image) {
        let mut text = format!("    {label:<width$}", width = LABEL - 4);
        let (numbers, width) = layout(&numbers, out);
        for number in numbers {
            text.push_str(&format!("{number:>width$}"));
        }
        writeln!(out, "{}", text.trim_end())?;
    }
    match &image.segments {
        Some(segments) => match segments.within {
            Some(0) => Ok(()),
            Some(bytes) => out.text(
                &format!(
                    "    none is wrong by more than {} ({} bytes)",
                    human(bytes),
                    grouped(bytes)
                ),
                4,
            ),
            None => out.text(&format!("    {}", segments::without_bound(segments)), 4),
        },
        None => Ok(()),
    }
}

/// What is known of the image's process only, once, below its last image.
fn process(summary: &Summary, image: &ImageSummary, out: &mut Page<'_>) -> io::Result<()> {
    let Some(process) = image.owner.and_then(|i| summary.processes.get(i)) else {
        return Ok(());
    };
    let used = process.images.iter().find(|used| is(summary, used, image));
    if let Some(maxrss) = used.and_then(|used| used.kernel_maxrss) {
        row(out, "kernel's ru_maxrss", &[Some(maxrss)])?;
    }
    if summary
        .last_image(process)
        .is_some_and(|last| last.id == image.id)
    {
        out.text(
            &format!(
                "  process: exit {}{}",
                table::exit(process),
                usage(summary, process)
            ),
            4,
        )?;
    }
    Ok(())
}

fn is(summary: &Summary, used: &ImageUse, image: &ImageSummary) -> bool {
    used.kind != UseKind::Shared
        && summary
            .images
            .get(used.image)
            .is_some_and(|candidate| candidate.id == image.id)
}

fn usage(summary: &Summary, process: &ProcessSummary) -> String {
    let times = Times::of(summary);
    process.usage.map_or_else(String::new, |usage| {
        // What ticks found can be a tick more or less.
        let about = if usage.cpu_exact { "" } else { "about " };
        format!(
            ", {about}user {}, system {}, {} minor and {}, {}",
            times.show(usage.user_ns),
            times.show(usage.system_ns),
            grouped(usage.minor_faults),
            units::counted(usage.major_faults, "major fault", "major faults"),
            counted(usage.threads as usize, "thread", "threads")
        )
    })
}
