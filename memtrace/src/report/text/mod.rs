//! The summary for people.
//!
//! Short by default: the peak, who held it, the biggest single process, how exact
//! it is, what to try next. [`Options::verbose`] adds every number there is,
//! [`Options::per_process`] one line per process. Every name is escaped.

mod branches;
mod details;
mod ends;
mod holders;
mod own_cgroup;
mod page;
mod segments;
mod table;

pub(super) use segments::{rows as segment_rows, title};

use std::io::{self, Write as _};

use self::page::Page;

use super::{
    escape::{clip, command_line, escape},
    needs::Needs,
    select::Selection,
    times::{Times, total_ns},
    truth::truth,
    units::{self, duration, grouped, human},
};
use crate::model::{
    EndedByLimit, ImageSummary, PssSnapshot, SizesSeen, Summary, TreeSummary, Verdict,
};

/// What to show and how wide.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// All numbers.
    pub verbose: bool,
    /// One line per process.
    pub per_process: bool,
    /// Columns that names in lines are cut to. At least 40 are used.
    pub width: usize,
    /// The report is for a terminal of that width: nothing is wider. Else lines are as long as
    /// they are, and commands in tables are whole.
    pub wrap: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            verbose: false,
            per_process: false,
            width: 100,
            wrap: false,
        }
    }
}

/// Column in which everything below the headline begins.
const INDENT: usize = 10;

/// Writes the summary.
///
/// # Errors
///
/// Those of the writer.
pub fn write(summary: &Summary, options: Options, out: &mut dyn io::Write) -> io::Result<()> {
    write_selected(summary, options, &Selection::default(), out)
}

/// The same with only some processes in the table, or in another order.
///
/// # Errors
///
/// Those of the writer.
pub fn write_selected(
    summary: &Summary,
    options: Options,
    selection: &Selection,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let out = &mut Page::new(options, out);
    headline(summary, out)?;
    if summary.tree.peak_huge > 0 {
        let most = human(summary.tree.peak_huge);
        line(
            out,
            "huge",
            &format!("{most} of hugetlbfs pages, as seen when RSS changed; no RSS has them"),
        )?;
    }
    attached(summary, out)?;
    branches::write(summary, out)?;
    holders::write(summary, out)?;
    biggest(summary, out)?;
    segments::of_biggest(summary, out)?;
    own_cgroup::write(summary, out)?;
    survivors(summary, out)?;
    ends::write(summary, out)?;
    certificate(summary, options.verbose, out)?;
    if options.per_process {
        writeln!(out)?;
        table::write(summary, selection, out)?;
    }
    if options.verbose {
        writeln!(out)?;
        details::write(summary, out)?;
    }
    if options.verbose || options.per_process {
        writeln!(out)?;
    }
    next(summary, options, out)
}

/// What is known of the time before tracing began.
fn attached(summary: &Summary, out: &mut Page<'_>) -> io::Result<()> {
    let Some((root, before)) = summary.attached() else {
        return Ok(());
    };
    if summary.is_of_several() {
        let roots = summary.processes.iter().filter(|process| process.root);
        return line(
            out,
            "attached",
            &format!(
                "to {}, which ran before: times are since then",
                counted(roots.count(), "process", "processes")
            ),
        );
    }
    let (age, high) = (duration(before.age_ns), human(before.kernel_hiwater_rss));
    line(
        out,
        "attached",
        &format!(
            "to process {} when it had run for {age}: times are since then. Before, its own RSS was up to {high} (VmHWM)",
            root.pid
        ),
    )
}

/// Writes a line whose label stands in the margin.
fn line(out: &mut Page<'_>, label: &str, text: &str) -> io::Result<()> {
    out.text(&format!("{label:<INDENT$}{text}"), INDENT)
}

/// The peak; where fork made pages count twice, what was really needed comes first.
fn headline(summary: &Summary, out: &mut Page<'_>) -> io::Result<()> {
    let tree = &summary.tree;
    let footprint = tree.footprint;
    let times = Times::of(summary);
    let rss = format!(
        "{} ({} bytes)",
        human(tree.peak_rss),
        grouped(tree.peak_rss)
    );
    let when = format!(
        "at +{} of {}",
        times.show(tree.peak_at_ns),
        times.show(total_ns(summary))
    );
    let counts = summary.counts();
    let of_what = format!(
        "sum of RSS over the process tree: {}, {}",
        units::counted(counts.processes, "process", "processes"),
        units::counted(counts.images, "image", "images")
    );
    if let Some(range) = tree.peak_range {
        line(out, "memtrace:", &format!("peak {rss} {when}, sampled"))?;
        let truth = truth(range.low, range.high, human);
        line(out, "", &format!("the true peak is {truth}"))?;
        return line(out, "", &of_what);
    }
    let Some(needs) = Needs::of(summary) else {
        line(out, "memtrace:", &format!("peak {rss} {when}"))?;
        return line(out, "", &of_what);
    };
    let mut figure = needs.figure();
    if let Some(about) = needs.about() {
        // What is not exact has no sure bounds either.
        let sure = if summary.certificate.verdict == Verdict::Exact {
            "for sure"
        } else {
            "by counters"
        };
        figure = format!("about {}, {sure} {figure}", human(about));
    }
    let parts: Vec<String> = std::iter::once(format!("sum of RSS {}", human(tree.peak_rss)))
        .chain(needs.parts.iter().cloned())
        .collect();
    line(
        out,
        "memtrace:",
        &format!("needs {figure} ({})", parts.join("; ")),
    )?;
    if let Some(snapshot) = &needs.snapshot {
        line(out, "", &told_by(snapshot, tree))?;
    }
    let low = format!(
        "{} bytes at +{}",
        grouped(footprint.low),
        times.show(footprint.low_at_ns)
    );
    let high = format!(
        "{} bytes at +{}",
        grouped(footprint.high),
        times.show(footprint.high_at_ns)
    );
    if footprint.low == footprint.high && footprint.low_at_ns == footprint.high_at_ns {
        line(out, "", &format!("footprint {low}"))?;
    } else {
        line(out, "", &format!("footprint between {low} and {high}"))?;
    }
    line(out, "", &format!("peak of RSS {rss} {when}"))?;
    line(out, "", &of_what)
}

/// `1 process`, `2 processes`.
fn counted(count: usize, one: &str, many: &str) -> String {
    units::counted(count as u64, one, many)
}

/// Where a figure comes from that is no bound.
fn told_by(snapshot: &PssSnapshot, tree: &TreeSummary) -> String {
    let side = if snapshot.at_ns < tree.peak_at_ns {
        "before"
    } else {
        "after"
    };
    let rss = match tree.peak_rss.saturating_sub(snapshot.rss) {
        0 => "the same RSS".to_owned(),
        less => format!("{} less RSS", human(less)),
    };
    format!(
        "about: by a snapshot of PSS {} {side} the peak, at {rss}",
        lasted(snapshot.at_ns.abs_diff(tree.peak_at_ns))
    )
}

/// The image with the largest peak of its own, and whether it is the tree's.
fn biggest(summary: &Summary, out: &mut Page<'_>) -> io::Result<()> {
    let Some(image) = summary.tree.biggest.and_then(|i| summary.images.get(i)) else {
        return Ok(());
    };
    let relation = if image.peak_range.is_some() {
        "sampled"
    } else if image.peak_at_ns == summary.tree.peak_at_ns {
        "at the tree's peak"
    } else if image.at_tree_peak.rss() == image.peak_rss {
        "held it at the tree's peak too"
    } else if image.at_tree_peak.rss() == 0 {
        "held nothing at the tree's peak"
    } else {
        "not at the tree's peak"
    };
    let peak = format!("{:>11}", human(image.peak_rss));
    let when = format!(
        "at +{} ({relation})",
        Times::of(summary).show(image.peak_at_ns)
    );
    let room = out
        .width()
        .saturating_sub(INDENT + peak.len() + when.len() + 3);
    line(
        out,
        "biggest",
        &format!("{peak}  {} {when}", who(image, room.max(20))),
    )
}

/// `cc1plus [4242] parser.cc`, at most `room` characters.
fn who(image: &ImageSummary, room: usize) -> String {
    let name = escape(image.program.name());
    let fork = if image.origin == crate::model::Origin::Fork {
        " (fork)"
    } else {
        ""
    };
    let args = command_line(image.program.args.get(1..).unwrap_or_default());
    let space = if args.is_empty() { "" } else { " " };
    clip(&format!("{name} [{}]{fork}{space}{args}", image.pid), room)
}

/// Processes that live on.
fn survivors(summary: &Summary, out: &mut Page<'_>) -> io::Result<()> {
    let names: Vec<String> = summary
        .survivors()
        .map(|process| {
            let image = summary.last_image(process);
            let name = image.map_or(&process.comm[..], |image| image.program.name());
            format!("{} [{}]", escape(name), process.pid)
        })
        .collect();
    if names.is_empty() {
        return Ok(());
    }
    let text = format!("{}: {}", names.len(), names.join(", "));
    let room = out.width().saturating_sub(INDENT + 2);
    line(
        out,
        "running",
        &format!("still {}", clip(&text, room.saturating_sub(6))),
    )
}

/// How memtrace ended the tree, in one sentence; `None` if it did not.
#[must_use]
pub fn ended_by_limit(summary: &Summary) -> Option<String> {
    let EndedByLimit {
        limit,
        seen_rss,
        noticed_at_ns,
        terminated,
        killed,
        command_had_ended,
        failures,
    } = summary.ended_by_limit.as_ref()?;
    let whom = match (command_had_ended, summary.attached()) {
        (false, _) => "the tree",
        (true, None) => "what the command left behind",
        (true, Some(_)) => "what those that it attached to left behind",
    };
    let signals = match (terminated, killed) {
        (terminated, 0) => format!("SIGTERM to {terminated}"),
        (0, killed) => format!("SIGKILL to {killed}"),
        (terminated, killed) => format!("SIGTERM to {terminated}, SIGKILL to {killed}"),
    };
    let mut text = format!(
        "memtrace ended {whom}: {} crossed the limit of {}, noticed at +{}; {signals}",
        human(*seen_rss),
        human(*limit),
        Times::lasting(*noticed_at_ns).show(*noticed_at_ns)
    );
    for failure in failures {
        text.push_str("; ");
        text.push_str(&escape(failure.as_bytes()));
    }
    Some(text)
}

/// `1 counter update`, `2 counter updates`.
fn updates(count: u64) -> String {
    units::counted(count, "counter update", "counter updates")
}

/// How exact it is. Reasons are never left out.
fn certificate(summary: &Summary, verbose: bool, out: &mut Page<'_>) -> io::Result<()> {
    let certificate = &summary.certificate;
    let events = updates(certificate.events);
    let checks = certificate.cross_checks;
    let count = usize::try_from(checks.count).unwrap_or(usize::MAX);
    let made = counted(count, "comparison", "comparisons");
    let checked = match (count, checks.largest_difference_bytes) {
        (0, _) => String::new(),
        (_, 0) => format!(", {made} with /proc without a difference"),
        (_, most) => format!(", {made} with /proc differ by at most {}", human(most)),
    };
    let text = match certificate.verdict {
        Verdict::Within(bytes) if summary.tree.peak_range.is_some() => format!(
            "NO, peaks of RSS within {} ({} bytes)",
            human(bytes),
            grouped(bytes)
        ),
        Verdict::Incomplete if summary.tree.peak_range.is_some() => {
            "NO, and without a bound".to_owned()
        }
        Verdict::Exact => {
            format!("yes: {events}, none lost, residual 0{checked}")
        }
        Verdict::Within(bytes) => format!(
            "within {} ({} bytes); {events}, residual {}{checked}",
            human(bytes),
            grouped(bytes),
            human(certificate.residual_bytes)
        ),
        Verdict::Incomplete => format!("NO, incomplete; {events}{checked}"),
    };
    line(out, "exact", &text)?;
    for reason in &certificate.reasons {
        line(out, "", &format!("- {}", escape(reason.as_bytes())))?;
    }
    if verbose {
        line(
            out,
            "",
            &format!("tier {}", escape(certificate.tier.as_bytes())),
        )?;
        line(out, "", sizes(certificate.sizes_seen))?;
        if summary.attached().is_some() {
            line(
                out,
                "",
                "size of what ran before: exact where it grew beyond what it had ever been, else as seen",
            )?;
        }
        if let Some(seen) = &certificate.segments {
            line(out, "", &segments::worth(seen))?;
        }
        for remark in &certificate.remarks {
            line(out, "", &format!("({})", escape(remark.as_bytes())))?;
        }
    }
    Ok(())
}

/// Which sizes of virtual memory are exact.
const fn sizes(seen: SizesSeen) -> &'static str {
    match seen {
        SizesSeen::AtSystemCalls => {
            "virtual sizes: exact, but page tables as seen at page faults and system calls"
        }
        SizesSeen::AtThreadsSystemCalls => {
            "virtual sizes: size, stack and text exact; data, heap, libraries and page tables as seen at the ends of system calls, between which threads can undo what others did"
        }
        SizesSeen::AtPageFaults => {
            "virtual sizes: size, stack and text exact; page tables, data, heap and libraries as seen at page faults (the last three exact with --vm-events)"
        }
        SizesSeen::NowAndThen => "virtual sizes: sampled",
    }
}

/// One command that shows more.
fn next(summary: &Summary, options: Options, out: &mut Page<'_>) -> io::Result<()> {
    let (option, more) = match (options.per_process, options.verbose) {
        (false, _) => ("--per-process", "one line per process"),
        (true, false) => ("-v", "every number of every process"),
        (true, true) => ("--json FILE", "the same for programs"),
    };
    let text = if let Some((root, _)) = summary.attached() {
        if !root.survivor {
            // Nobody can attach to it again.
            return Ok(());
        }
        format!("memtrace attach {option} PID    {more}")
    } else {
        format!("memtrace run {option} -- CMD    {more}")
    };
    line(out, "next", &text)
}

/// How long, for tables.
fn lasted(ns: u64) -> String {
    duration(ns)
}
