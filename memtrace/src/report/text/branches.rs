//! What each of several roots had with its descendants.

use std::{cmp::Reverse, io};

use super::{INDENT, Page, counted, line, who};
use crate::{
    model::{BranchSummary, Summary},
    report::{
        escape::{clip, escape},
        times::Times,
    },
    units::human,
};

/// As many as one can take in.
const SHOWN: usize = 10;

/// The largest ones, and how many more there are.
pub(super) fn write(summary: &Summary, out: &mut Page<'_>) -> io::Result<()> {
    let mut all: Vec<&BranchSummary> = summary.tree.branches.iter().collect();
    all.sort_by_key(|branch| Reverse(branch.peak_rss));
    for (number, branch) in all.iter().take(SHOWN).enumerate() {
        let label = if number == 0 { "trees" } else { "" };
        let peak = format!("{:>11}", human(branch.peak_rss));
        let when = format!(
            "at +{}, {}; {} at the peak of all",
            Times::of(summary).show(branch.peak_at_ns),
            counted(branch.processes, "process", "processes"),
            human(branch.at_tree_peak),
        );
        let room = out
            .width()
            .saturating_sub(INDENT + peak.len() + when.len() + 3);
        let name = name(summary, branch, room.max(20));
        line(out, label, &format!("{peak}  {name} {when}"))?;
    }
    let more: &[&BranchSummary] = all.get(SHOWN..).unwrap_or_default();
    if let Some(largest) = more.first() {
        let text = format!(
            "{:>11}  at most, each of {} more",
            human(largest.peak_rss),
            more.len()
        );
        line(out, "", &text)?;
    }
    Ok(())
}

/// What it is called.
fn name(summary: &Summary, branch: &BranchSummary, room: usize) -> String {
    if let Some(name) = &branch.name {
        return clip(&escape(name.as_bytes()), room);
    }
    let root = branch
        .roots
        .first()
        .and_then(|root| summary.processes.get(*root));
    let Some(root) = root else {
        return "?".to_owned();
    };
    let first = root
        .images
        .first()
        .and_then(|used| summary.images.get(used.image));
    first.map_or_else(
        || format!("{} [{}]", escape(&root.comm), root.pid),
        |image| who(image, room),
    )
}
