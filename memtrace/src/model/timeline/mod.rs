//! What memory was at every moment: the story between the peaks.
//!
//! ```text
//! Builder::new(options) -> apply(&Event) ... -> finish(&Final, &Summary) -> Timeline
//! ```

mod builder;
mod changes;
mod merge;
mod segments;
mod spans;
mod units;

pub(crate) use self::segments::thin;
pub use self::{
    builder::{Builder, Options},
    segments::SegmentsMoment,
};
use super::summary::Amounts;

/// The tree and its images over time. Times are nanoseconds since the tree's start, as in
/// [`Summary`](super::Summary).
///
/// Spans are windows of [`Timeline::width_ns`] in which something changed; between them
/// everything stays as it was `last`. Envelopes keep every spike, whatever the width.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timeline {
    /// Width of a span; 0: one span per change.
    pub width_ns: u64,
    /// The width that was recorded; 0: each change was.
    pub recorded_width_ns: u64,
    /// Until when it reaches.
    pub end_ns: u64,
    /// The tree, by time.
    pub tree: Vec<TreeSpan>,
    /// Each image of [`Summary::images`](super::Summary::images), in the same order, by time.
    /// Before its first span it held nothing; what ended has a last span that ends at 0.
    /// While an image is only being built by execve it does not count in the tree: what it
    /// holds is in the envelope then, but `last` and `at_tree_max` are 0.
    pub images: Vec<Vec<ImageSpan>>,
    /// What the segments of each image held, by time: as of the last change of each window, or after each change,
    /// and at its peak; what ended has a last moment of 0. Where there are very many, stretches of time have only
    /// their largest sum and their last moment. In the order of `images`; empty if segments were not told apart.
    pub segments: Vec<Vec<SegmentsMoment>>,
    /// Where records of the timeline are missing; peaks do not depend on them.
    pub losses: Vec<Loss>,
}

/// The tree in one span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TreeSpan {
    /// Start of the span.
    pub start_ns: u64,
    /// Least sum of RSS in it, bytes; the value at its start included.
    pub min_rss: u64,
    /// Largest sum of RSS in it, bytes; the value at its start included.
    pub max_rss: u64,
    /// When the largest was first reached.
    pub max_at_ns: u64,
    /// What it consisted of then. The images' [`ImageSpan::at_tree_max`] (or, of those without
    /// a span here, their latest `last`) sum to this, to the byte.
    pub at_max: Amounts,
    /// What it consisted of after the last change.
    pub last: Amounts,
    /// Most that counts more than once in it because of fork, after the last change.
    pub shared: u64,
}

/// One image in one span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImageSpan {
    /// Start of the span.
    pub start_ns: u64,
    /// Least RSS in it, bytes; the value at its start included.
    pub min_rss: u64,
    /// Largest RSS in it, bytes; the value at its start included.
    pub max_rss: u64,
    /// When the largest was first reached.
    pub max_at_ns: u64,
    /// Largest of each kind in the span, each at its own time.
    pub max: Amounts,
    /// What it counted for in the tree after the last change.
    pub last: Amounts,
    /// What it counted for in the tree at [`TreeSpan::max_at_ns`] of the tree's span.
    pub at_tree_max: Amounts,
    /// Virtual sizes at the last change.
    pub sizes: Sizes,
}

/// Sizes of virtual memory at a moment, bytes, with the kernel's own formulas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// `VmSize`.
    pub total: u64,
    /// `VmData`.
    pub data: u64,
    /// `VmStk`.
    pub stack: u64,
    /// `VmExe` + `VmLib`.
    pub exec: u64,
    /// The heap between `start_brk` and `brk`.
    pub heap: u64,
    /// `VmPTE`.
    pub page_tables: u64,
    /// `VmLck`.
    pub locked: u64,
}

/// A stretch of time in which records of the timeline were lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Not before this.
    pub from_ns: u64,
    /// Not after this.
    pub until_ns: u64,
    /// How many records.
    pub records: u64,
    /// Why, as a clause.
    pub reason: String,
}
