//! What the drawings share: a timeline made small enough to be drawn, programs as layers, axes.

pub(super) mod axis;
pub(super) mod columns;
pub(super) mod concurrency;
pub(super) mod fold;
pub(super) mod headline;
pub(super) mod layers;
mod moments;
pub(super) mod near;
pub(super) mod spikes;
#[cfg(test)]
pub(super) mod testing;

use crate::model::{Summary, Timeline};

/// A run to be drawn.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// Its result.
    pub summary: &'a Summary,
    /// Its story. `timeline.images[i]` belongs to `summary.images[i]`. Empty if none was
    /// recorded; then the drawings say so.
    pub timeline: &'a Timeline,
    /// What to call it, for example its command. Any text: it is escaped.
    pub title: &'a str,
    /// Sentences that a reader must not miss, such as where a recording was cut. Any text.
    pub notes: &'a [String],
    /// A limit to draw beside it, bytes of RSS.
    pub limit: Option<u64>,
}

/// A limit so many times the peak is not drawn to scale: little would be left of the run.
const FAR: u64 = 4;

impl Run<'_> {
    /// The limit, if it is not far above the peak.
    pub(super) fn near_limit(&self) -> Option<u64> {
        let far = self.summary.tree.peak_rss.saturating_mul(FAR);
        self.limit.filter(|limit| *limit <= far)
    }

    /// Until when the axis of time reaches, nanoseconds; at least 1.
    pub(super) fn end_ns(&self) -> u64 {
        let summary = self.summary;
        self.timeline
            .end_ns
            .max(summary.tree.duration_ns)
            .max(summary.tree.peak_at_ns)
            .max(1)
    }
}
