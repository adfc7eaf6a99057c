//! Folded stacks, as flame graph tools read them: `make;g++;cc1plus 443518976`.
//!
//! A stack is the chain of processes from the command down to the holder, each by the short
//! name of the program it ran when it created the next. Equal stacks are added up; lines are
//! sorted by stack. Names are [`escape`]d, with semicolons as `\x3b`.

use std::{collections::BTreeMap, io};

use super::{Data, ExportError};
use crate::{
    model::{Fate, ImageSummary, ProcessSummary, Summary, UseKind},
    report::escape::escape,
};

/// What the numbers are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Weight {
    /// RSS held at the tree's peak, bytes: they sum to the peak.
    #[default]
    Peak,
    /// RSS times how long it was held, in byte-seconds, rounded down per image.
    ByteSeconds,
}

/// Writes one line per stack.
///
/// # Errors
///
/// Those of the writer.
pub fn write(data: &Data<'_>, weight: Weight, out: &mut dyn io::Write) -> Result<(), ExportError> {
    let summary = data.summary;
    let mut stacks: BTreeMap<String, u128> = BTreeMap::new();
    let mut add = |image: &ImageSummary, amount: u128| {
        if amount > 0 {
            *stacks.entry(stack(summary, image)).or_default() += amount;
        }
    };
    match weight {
        Weight::Peak => {
            for holder in &summary.tree.at_peak {
                if let Some(image) = summary.images.get(holder.image) {
                    add(image, holder.held.rss().into());
                }
            }
        }
        Weight::ByteSeconds => {
            // What was built for nobody never counted in the tree.
            let counted = |image: &&ImageSummary| image.fate != Fate::FailedExec;
            for image in summary.images.iter().filter(counted) {
                let held = u128::from(image.average_rss) * u128::from(image.lifetime_ns);
                add(image, held / 1_000_000_000);
            }
        }
    }
    for (stack, amount) in stacks {
        writeln!(out, "{stack} {amount}")?;
    }
    Ok(())
}

/// The frames of an image, outermost first.
fn stack(summary: &Summary, image: &ImageSummary) -> String {
    let mut frames = vec![frame(image)];
    let mut child = image.owner.and_then(|owner| summary.processes.get(owner));
    // A process is created by an older one; anything else would be a damaged recording.
    let mut limit = summary.processes.len();
    while let Some(process) = child
        && let Some(parent) = process
            .parent
            .and_then(|parent| summary.processes.get(parent))
        && limit > 0
    {
        frames.push(at(summary, parent, process.start_ns).map_or_else(|| "?".to_owned(), frame));
        child = Some(parent);
        limit -= 1;
    }
    frames.reverse();
    frames.join(";")
}

/// The image that a process used at a moment.
fn at<'a>(summary: &'a Summary, process: &ProcessSummary, ns: u64) -> Option<&'a ImageSummary> {
    let uses = || {
        process
            .images
            .iter()
            .filter(|used| used.kind != UseKind::Failed)
    };
    let used = uses()
        .rev()
        .find(|used| used.start_ns <= ns)
        .or_else(|| uses().next())?;
    summary.images.get(used.image)
}

fn frame(image: &ImageSummary) -> String {
    escape(image.program.name()).replace(';', r"\x3b")
}
