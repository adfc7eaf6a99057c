//! From when to when a process and its images are in the trace.
//!
//! The trace knows processes by pid, and the kernel reuses pids. So a process is said to be
//! gone before the next with its pid begins, and nothing is written for it after that.

use std::collections::BTreeMap;

use crate::model::{ImageUse, ProcessSummary, Summary, UseKind};

/// One process.
#[derive(Debug, Default)]
pub(super) struct Life {
    pub(super) start_ns: u64,
    /// When it and its memory are gone; `None` if that was not seen.
    pub(super) gone_ns: Option<u64>,
}

/// When an image's values are its process's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    /// Index of the process.
    pub(super) process: usize,
    pub(super) from_ns: u64,
    /// Not from this moment on.
    pub(super) until_ns: u64,
    /// Largest peak of the process's images before.
    pub(super) peak_before: u64,
}

#[derive(Debug)]
pub(super) struct Lives {
    /// By index of the process.
    lives: Vec<Life>,
    /// By index of the image.
    turns: Vec<Option<Turn>>,
}

impl Lives {
    pub(super) fn new(summary: &Summary) -> Self {
        let mut lives: Vec<Life> = summary
            .processes
            .iter()
            .map(|process| Life {
                start_ns: process.start_ns,
                gone_ns: gone(summary, process),
            })
            .collect();
        cut_at_reuse(summary, &mut lives);
        let mut turns = vec![None; summary.images.len()];
        for (index, (process, life)) in summary.processes.iter().zip(&lives).enumerate() {
            take_turns(summary, index, process, life, &mut turns);
        }
        Self { lives, turns }
    }

    pub(super) fn of_process(&self, index: usize) -> Option<&Life> {
        self.lives.get(index)
    }

    pub(super) fn of_image(&self, index: usize) -> Option<Turn> {
        self.turns.get(index).copied().flatten()
    }
}

/// The images that were made for a process and that it ran in.
fn own_uses(process: &ProcessSummary) -> impl Iterator<Item = &ImageUse> {
    process
        .images
        .iter()
        .filter(|used| !matches!(used.kind, UseKind::Shared | UseKind::Failed))
}

/// One nanosecond after its exit and the end of all its memory.
fn gone(summary: &Summary, process: &ProcessSummary) -> Option<u64> {
    let images = own_uses(process)
        .filter_map(|used| summary.images.get(used.image))
        .filter_map(|image| image.end_ns);
    let last = images.fold(process.end_ns?, u64::max);
    Some(last.saturating_add(1))
}

fn cut_at_reuse(summary: &Summary, lives: &mut [Life]) {
    let mut by_pid: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (index, process) in summary.processes.iter().enumerate() {
        by_pid.entry(process.pid).or_default().push(index);
    }
    for mut indices in by_pid.into_values() {
        indices.sort_by_key(|&index| lives.get(index).map_or(0, |life| life.start_ns));
        let starts: Vec<u64> = indices
            .iter()
            .map(|&index| lives.get(index).map_or(0, |life| life.start_ns))
            .collect();
        for (index, next) in indices.iter().zip(starts.iter().skip(1)) {
            if let Some(life) = lives.get_mut(*index) {
                let latest = next.saturating_sub(1);
                life.gone_ns = Some(life.gone_ns.map_or(latest, |gone| gone.min(latest)));
            }
        }
    }
}

fn take_turns(
    summary: &Summary,
    process_index: usize,
    process: &ProcessSummary,
    life: &Life,
    turns: &mut [Option<Turn>],
) {
    let end = life.gone_ns.unwrap_or(u64::MAX);
    let mut peak_before = 0;
    let mut uses = own_uses(process).peekable();
    while let Some(used) = uses.next() {
        let Some(image) = summary.images.get(used.image) else {
            continue;
        };
        let until_ns = uses.peek().map_or(end, |next| next.start_ns.min(end));
        if let Some(turn) = turns.get_mut(used.image) {
            *turn = Some(Turn {
                process: process_index,
                from_ns: used.start_ns.max(life.start_ns),
                until_ns,
                peak_before,
            });
        }
        peak_before = peak_before.max(image.peak_rss);
    }
}
