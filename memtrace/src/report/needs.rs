//! What the tree needed, where that is less than its sum of RSS, and what makes the difference.

use super::units::{differ, grouped, human};
use crate::model::{PssSnapshot, Summary};

/// A snapshot belongs to the peak if the sum of RSS was the same but for this part.
const SAME_PART: u64 = 20;

/// Bounds of what was needed, and the words for them.
#[derive(Clone, Debug)]
pub(in crate::report) struct Needs {
    /// It was not less, bytes.
    pub(in crate::report) low: u64,
    /// And not more.
    pub(in crate::report) high: u64,
    /// What of the sum of RSS counts more than once, or may.
    pub(in crate::report) parts: Vec<String>,
    /// What the kernel said of everybody's shares near the peak.
    pub(in crate::report) snapshot: Option<PssSnapshot>,
}

impl Needs {
    /// `None` where the sum of RSS is what was needed, or is not known well enough.
    pub(in crate::report) fn of(summary: &Summary) -> Option<Self> {
        let tree = &summary.tree;
        let (low, high) = (tree.footprint.low, tree.footprint.high);
        if tree.peak_range.is_some() || !differ(low, tree.peak_rss) {
            return None;
        }
        let snapshot = tree
            .snapshot_at_peak()
            .filter(|snapshot| snapshot.rss.abs_diff(tree.peak_rss) <= tree.peak_rss / SAME_PART)
            .copied();
        Some(Self {
            low,
            high,
            parts: parts(summary),
            snapshot: snapshot.filter(|_| differ(low, high)),
        })
    }

    /// `1.4 GiB`, or `100.0 MiB to 120.0 MiB`.
    pub(in crate::report) fn figure(&self) -> String {
        range(self.low, self.high)
    }

    /// What the snapshot makes of it: within the bounds, for PSS leaves out what programs outside of
    /// the tree map too.
    pub(in crate::report) fn about(&self) -> Option<u64> {
        self.snapshot
            .map(|snapshot| snapshot.pss.clamp(self.low, self.high.max(self.low)))
    }
}

/// One figure where two do not differ.
fn range(low: u64, high: u64) -> String {
    if differ(low, high) {
        format!("{} to {}", human(low), human(high))
    } else {
        human(low)
    }
}

/// Something that counts more than once, and by how much it makes the sum too large at most.
type Part = (u64, String);

/// The parts that matter; all of them if none does by itself.
fn parts(summary: &Summary) -> Vec<String> {
    let all: Vec<Part> = [after_fork(summary), files(summary)]
        .into_iter()
        .flatten()
        .collect();
    let peak = summary.tree.peak_rss;
    let matters = |part: &&Part| differ(peak, peak.saturating_sub(part.0));
    let some: Vec<&Part> = all.iter().filter(matters).collect();
    let shown = if some.is_empty() {
        all.iter().collect()
    } else {
        some
    };
    shown.into_iter().map(|(_, text)| text.clone()).collect()
}

/// What relatives had in common since a fork, at the peak of RSS.
fn after_fork(summary: &Summary) -> Option<Part> {
    let tree = &summary.tree;
    let known = tree
        .at_peak
        .iter()
        .fold(0_u64, |sum, holder| sum.saturating_add(holder.shared));
    // It may be another moment that needed most.
    let most = if known == 0 && files(summary).is_none() {
        tree.peak_rss.saturating_sub(tree.footprint.low)
    } else {
        known
    };
    if most == 0 {
        return None;
    }
    let least = tree.peak_rss.saturating_sub(tree.footprint.high).min(most);
    Some((
        most,
        format!("{} of it shared after fork", range(least, most)),
    ))
}

/// Pages of files and shared memory, which processes may have in common.
fn files(summary: &Summary) -> Option<Part> {
    let tree = &summary.tree;
    let held = tree
        .at_peak
        .iter()
        .map(|holder| holder.held.file.saturating_add(holder.held.shmem))
        .filter(|&held| held > 0);
    let (mut count, mut sum, mut most) = (0_u64, 0_u64, 0_u64);
    for held in held {
        count += 1;
        sum = sum.saturating_add(held);
        most = most.max(held);
    }
    (count > 1).then(|| {
        (
            sum - most,
            format!(
                "{} of files and shared memory, mapped {} times",
                range(most, sum),
                grouped(count)
            ),
        )
    })
}
