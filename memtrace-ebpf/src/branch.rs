//! Several trees that are followed as one: what each of their roots has, and the sum of all.

use crate::{MEMBERS, Pages};

/// Totals of one root and its descendants where the tree has several: a map value. It changes in the
/// moments of the [`Tree`](crate::Tree) that it is a part of, so that all of them together are that at any time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Branch {
    /// Sum of its images, by member.
    pub cur: Pages,
    /// Sum of RSS.
    pub rss: i64,
    /// Peak of [`Branch::rss`].
    pub peak_rss: i64,
    /// When that was.
    pub peak_rss_at: u64,
    /// What it consisted of then.
    pub at_peak: Pages,
}

/// A process that ran before tracing began and is asked for as a root: a map value, keyed by its number in the PID
/// namespace of who goes through all tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Wanted {
    /// Index of the branch that it and its descendants are to be.
    pub branch: u32,
    /// Its tgid in the initial PID namespace, once it is followed; 0 before.
    pub tgid: u32,
    /// tgid, in the initial PID namespace, of the process whose memory it has, if it is not followed because of
    /// that; 0 otherwise.
    pub owner: u32,
    /// No meaning.
    pub reserved: u32,
}

const _: () = assert!(size_of::<Branch>() == 8 * (3 + 2 * MEMBERS));
const _: () = assert!(size_of::<Wanted>() == 16);

#[cfg(feature = "user")]
// SAFETY: `repr(C)`, only 64-bit words.
unsafe impl aya::Pod for Branch {}
#[cfg(feature = "user")]
// SAFETY: `repr(C)`, only 32-bit words.
unsafe impl aya::Pod for Wanted {}
