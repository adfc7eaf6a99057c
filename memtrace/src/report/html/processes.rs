//! The processes and their numbers, as the page shows them.

use serde::Serialize;

use super::numbers::{AmountColumns, Column};
use crate::{
    model::{Amounts, ImageSummary, ImageUse, ProcessSummary, Summary, UseKind},
    report::{
        chart::{Run, fold::Folded, headline::ending},
        escape::{clip, command_line, escape},
    },
};

/// Processes in the tree and the table.
const PROCESSES: usize = 4_000;

/// Characters of a command line.
const COMMAND: usize = 300;

/// The program's name, without anything that acts on a terminal or reorders text.
pub(super) fn name(image: &ImageSummary) -> String {
    clip(&escape(image.program.name()), 60)
}

/// Processes, those with the largest peaks, in order of creation.
#[derive(Serialize)]
pub(super) struct ProcessesData {
    name: Vec<String>,
    command: Vec<String>,
    pid: Column,
    ppid: Column,
    /// Index of the nearest ancestor that is listed; -1: none is.
    parent: Vec<i64>,
    start: Column,
    /// -1: it was alive at the end.
    end: Vec<i64>,
    lifetime: Column,
    peak: Column,
    peak_at: Column,
    average: Column,
    own_peak: AmountColumns,
    at_tree_peak: Column,
    /// Of those that ended.
    minor_faults: Column,
    major_faults: Column,
    ending: Vec<String>,
    oom: Vec<u8>,
    /// It never had an image of its own; the numbers are those of the one it borrowed.
    borrowed: Vec<u8>,
    /// When it executed programs.
    execs: Vec<Vec<u64>>,
    /// The rows that are its own images.
    rows: Vec<Vec<usize>>,
    /// When it had images that have no row of their own: what it held then is not told apart.
    untold: Vec<Vec<[u64; 2]>>,
    /// Processes that are not listed, and what they and images of no known process held at the peak.
    left_out: usize,
    left_out_at_tree_peak: u64,
}

/// A process's numbers, as the text report has them: those of its largest image.
pub(super) struct Figures<'a> {
    pub(super) process: &'a ProcessSummary,
    index: usize,
    /// The largest image of its own; else of those it shared.
    pub(super) image: Option<&'a ImageSummary>,
    pub(super) borrowed: bool,
    /// What its own images held at the tree's peak.
    pub(super) at_tree_peak: u64,
}

impl<'a> Figures<'a> {
    fn new(summary: &'a Summary, index: usize, process: &'a ProcessSummary) -> Self {
        let images = |shared: bool| {
            let uses = process.images.iter().filter(move |used| {
                used.kind != UseKind::Failed && (used.kind == UseKind::Shared) == shared
            });
            uses.filter_map(|used| summary.images.get(used.image))
        };
        let largest = |shared| images(shared).max_by_key(|image| image.peak_rss);
        let own = largest(false);
        Self {
            process,
            index,
            image: own.or_else(|| largest(true)),
            borrowed: own.is_none(),
            at_tree_peak: images(false).fold(0, |sum: u64, image| {
                sum.saturating_add(image.at_tree_peak.rss())
            }),
        }
    }

    pub(super) fn peak(&self) -> u64 {
        self.image.map_or(0, |image| image.peak_rss)
    }

    /// The name of the program it ran last.
    pub(super) fn name(&self, summary: &Summary) -> String {
        match summary.last_image(self.process) {
            Some(image) => name(image),
            None => clip(&escape(&self.process.comm), 60),
        }
    }

    pub(super) fn command(&self, summary: &Summary) -> String {
        let last = summary.last_image(self.process);
        let line = last.map(|image| command_line(&image.program.args));
        clip(&line.unwrap_or_default(), COMMAND)
    }

    pub(super) fn ending(&self) -> String {
        match self.process.outcome {
            _ if self.process.oom_killed => "OOM kill".to_owned(),
            None if !self.process.survivor => "?".to_owned(),
            outcome => ending(outcome).replace("still running", "running"),
        }
    }
}

/// The numbers of all processes, largest peak first.
pub(super) fn figures(summary: &Summary) -> Vec<Figures<'_>> {
    let processes = summary.processes.iter().enumerate();
    let mut figures: Vec<Figures<'_>> = processes
        .map(|(i, process)| Figures::new(summary, i, process))
        .collect();
    figures.sort_by_key(|of| std::cmp::Reverse(of.peak()));
    figures
}

/// The images that a process has for itself.
pub(super) fn own(process: &ProcessSummary) -> impl Iterator<Item = &ImageUse> {
    let images = process.images.iter();
    images.filter(|used| used.kind != UseKind::Failed && used.kind != UseKind::Shared)
}

/// The processes of the tree and the table, in order of creation.
pub(super) struct Listed<'a> {
    pub(super) processes: Vec<Figures<'a>>,
    /// How many are not among them.
    left_out: usize,
}

impl<'a> Listed<'a> {
    /// Those with the largest peaks.
    pub(super) fn new(summary: &'a Summary) -> Self {
        // Largest first, each by the largest that it or a descendant of it reached: so that no
        // process is listed without its ancestors.
        let mut most: Vec<u64> = vec![0; summary.processes.len()];
        let mut kept = figures(summary);
        for of in &kept {
            if let Some(slot) = most.get_mut(of.index) {
                *slot = of.peak();
            }
        }
        for (i, process) in summary.processes.iter().enumerate().rev() {
            let own = most.get(i).copied().unwrap_or(0);
            if let Some(slot) = process.parent.filter(|&above| above < i)
                && let Some(above) = most.get_mut(slot)
            {
                *above = own.max(*above);
            }
        }
        // Of equals, ancestors come first: they are older.
        kept.sort_by_key(|of| (std::cmp::Reverse(most.get(of.index).copied()), of.index));
        let left_out = kept.len().saturating_sub(PROCESSES);
        kept.truncate(PROCESSES);
        kept.sort_by_key(|of| of.index);
        Self {
            processes: kept,
            left_out,
        }
    }
}

impl ProcessesData {
    pub(super) fn new(run: &Run<'_>, folded: &Folded, listed: &Listed<'_>) -> Self {
        let summary = run.summary;
        let kept = &listed.processes;
        // Of each process, the index among the kept ones of it or of its nearest kept ancestor.
        let mut nearest: Vec<Option<usize>> = vec![None; summary.processes.len()];
        let mut next = kept.iter().enumerate().peekable();
        let mut parent = Vec::with_capacity(kept.len());
        for (i, process) in summary.processes.iter().enumerate() {
            // A parent is created before its children; what claims otherwise has none.
            let above = process.parent.filter(|&above| above < i);
            let above = above.and_then(|above| nearest.get(above).copied().flatten());
            let own = next.next_if(|(_, of)| of.index == i).map(|(own, _)| own);
            if own.is_some() {
                parent.push(above.map_or(-1, |above| above as i64));
            }
            if let Some(slot) = nearest.get_mut(i) {
                *slot = own.or(above);
            }
        }
        let mut row_of = vec![None; summary.images.len()];
        for (r, row) in folded.rows.iter().enumerate() {
            if let Some(slot) = row.image.and_then(|image| row_of.get_mut(image)) {
                *slot = Some(r);
            }
        }
        let row = |used: &ImageUse| row_of.get(used.image).copied().flatten();
        let rows = |process: &ProcessSummary| own(process).filter_map(row).collect();
        let untold = |process: &ProcessSummary| {
            let images = own(process).filter(|used| row(used).is_none());
            let images = images.filter_map(|used| summary.images.get(used.image));
            images
                .map(|image| [image.start_ns, image.end_ns.unwrap_or(run.end_ns())])
                .collect()
        };
        let execs = |process: &ProcessSummary| {
            let execs = process.images.iter();
            let execs = execs.filter(|used| used.kind == UseKind::Exec);
            execs.map(|used| used.start_ns).take(100).collect()
        };
        let at_tree_peak: u64 = kept
            .iter()
            .fold(0, |sum, of| sum.saturating_add(of.at_tree_peak));
        let of = |value: &dyn Fn(&Figures<'_>) -> u64| kept.iter().map(value).collect();
        let image = |of: &Figures<'_>, value: fn(&ImageSummary) -> u64| of.image.map_or(0, value);
        Self {
            name: kept.iter().map(|of| of.name(summary)).collect(),
            command: kept.iter().map(|of| of.command(summary)).collect(),
            pid: of(&|of| u64::from(of.process.pid)),
            ppid: of(&|of| u64::from(of.process.ppid)),
            parent,
            start: of(&|of| of.process.start_ns),
            end: kept
                .iter()
                .map(|of| of.process.end_ns)
                .map(|end| end.map_or(-1, |ns| i64::try_from(ns).unwrap_or(i64::MAX)))
                .collect(),
            lifetime: of(&|of| of.process.lifetime_ns),
            peak: of(&|of| of.peak()),
            peak_at: of(&|of| image(of, |image| image.peak_at_ns)),
            average: of(&|of| image(of, |image| image.average_rss)),
            own_peak: kept
                .iter()
                .map(|of| of.image.map_or_else(Amounts::default, |i| i.own_peak))
                .collect(),
            at_tree_peak: of(&|of| of.at_tree_peak),
            minor_faults: of(&|of| of.process.usage.map_or(0, |usage| usage.minor_faults)),
            major_faults: of(&|of| of.process.usage.map_or(0, |usage| usage.major_faults)),
            ending: kept.iter().map(Figures::ending).collect(),
            oom: kept
                .iter()
                .map(|of| u8::from(of.process.oom_killed))
                .collect(),
            borrowed: kept.iter().map(|of| u8::from(of.borrowed)).collect(),
            execs: kept.iter().map(|of| execs(of.process)).collect(),
            rows: kept.iter().map(|of| rows(of.process)).collect(),
            untold: kept.iter().map(|of| untold(of.process)).collect(),
            left_out: listed.left_out,
            left_out_at_tree_peak: summary.tree.own_peak().rss().saturating_sub(at_tree_peak),
        }
    }
}
