//! The timeline: what memory was at every moment, not only at the peak.
//!
//! Time is cut into windows of [`Config`](crate::Config)::`window_ns`, aligned to
//! multiples of it, the same for the tree and all its images. In each window in which
//! something changed an image and the tree keep an envelope (least, largest and last
//! value); it is sent when the first change after the window's end arrives, or with the
//! image's end. So nothing idle costs anything, and no spike is lost whatever the width.
//! With a width of 0 each change is sent as it is.
//!
//! **Who held what at a window's maximum**: each time a maximum of the tree is kept, because it falls after it has
//! exceeded all of the window before (and when a window opens), [`TreeWindow::seq`] grows by one. An image
//! whose [`ImageWindow::seq`] is older keeps, before it changes, what it holds in
//! [`ImageWindow::at_tree_max`] and takes the tree's number. So for window `k`, an image held
//! `at_tree_max` if its record of `k` has the number of the tree's record of `k`, its `last` if that
//! number is older, and what its latest record before `k` says was `last` if it has none.
//! While [`ImageWindow::counted`] is 0 it counts for nothing, whatever `last` says.
//!
//! The tree's record of a window is sent before those that images send of it; the windows
//! that are still open are in [`Tree::window`](crate::Tree::window) and
//! [`Image::window`](crate::Image::window), but for what they have grown to since
//! ([`Tree::complete_window`](crate::Tree::complete_window), [`Image::complete_window`](crate::Image::complete_window)).

use crate::{Pages, event::Header};

/// Index into [`ImageWindow::sizes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Size {
    /// `VmSize`, pages.
    Total = 0,
    /// `VmData`, pages.
    Data = 1,
    /// `VmStk`, pages.
    Stack = 2,
    /// `VmExe` + `VmLib`, pages.
    Exec = 3,
    /// `brk - start_brk`, bytes.
    Heap = 4,
    /// `VmPTE`, bytes.
    PageTables = 5,
    /// `VmLck`, pages.
    Locked = 6,
}

/// Number of [`Size`]s.
pub const SIZES: usize = 7;

/// One image in one window; the record [`event::IMAGE_WINDOW`](crate::event::IMAGE_WINDOW). What each change
/// needs comes first, for the cache.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct ImageWindow {
    /// Filled when it is sent: when the window's last change was.
    pub header: Header,
    /// Start of the window, a multiple of its width.
    pub start: u64,
    /// The tree's number that `at_tree_max` belongs to.
    pub seq: u64,
    /// Least RSS, the value at the start included.
    pub min_rss: i64,
    /// Largest RSS, the value at the start included.
    pub max_rss: i64,
    /// When that was first reached in the window.
    pub max_rss_at: u64,
    /// Changes in the window, when it is complete, else 1; 0: none is open.
    pub updates: u32,
    /// 1 if it counts in the tree, 0 while it is only being built by execve.
    pub counted: u32,
    /// Each member after the last change.
    pub last: Pages,
    /// Largest value of each member.
    pub max: Pages,
    /// Least value of each member.
    pub min: Pages,
    /// See the module.
    pub at_tree_max: Pages,
    /// [`Image::id`](crate::Image::id).
    pub image: u64,
    /// Virtual sizes at the last change, by [`Size`].
    pub sizes: [u64; SIZES],
}

/// The tree in one window; the record [`event::TREE_WINDOW`](crate::event::TREE_WINDOW).
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct TreeWindow {
    /// Filled when it is sent: when the window's last change was.
    pub header: Header,
    /// Start of the window, a multiple of its width.
    pub start: u64,
    /// How many times a maximum of a window was kept, windows' openings included.
    pub seq: u64,
    /// Least sum of RSS, the value at the start included.
    pub min_rss: i64,
    /// Largest sum of RSS, the value at the start included.
    pub max_rss: i64,
    /// When that was first reached in the window.
    pub max_rss_at: u64,
    /// Changes in the window, when it is complete, else 1; 0: none is open.
    pub updates: u64,
    /// Each member's sum after the last change.
    pub last: Pages,
    /// Largest sum of each member.
    pub max: Pages,
    /// Least sum of each member.
    pub min: Pages,
    /// Each member's sum at the maximum of RSS.
    pub at_max: Pages,
    /// [`Tree::shared`](crate::Tree::shared) after the last change.
    pub shared: i64,
    /// [`Tree::uncertain`](crate::Tree::uncertain) after the last change.
    pub uncertain: i64,
}

/// One change of one counter, where each is recorded; the record
/// [`event::CHANGE`](crate::event::CHANGE). They are sent under the tree's lock, so the order of
/// records is the order of changes. Of several counters of an image that change at once,
/// those that fall come first, so that no sum in between is larger than before and after.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Change {
    /// When.
    pub header: Header,
    /// [`Image::id`](crate::Image::id).
    pub image: u64,
    /// The member's value since, in pages.
    pub value: i64,
    /// A [`Member`](crate::Member).
    pub member: u32,
    /// A [`ChangeKind`].
    pub kind: u32,
}

/// What a [`Change`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ChangeKind {
    /// A counter of an image that counts in the tree.
    Counted = 1,
    /// A counter of an image that is being built by execve and does not count yet.
    Uncounted = 2,
    /// The image, with all it has so far, counts from now on; member and value mean nothing.
    Enters = 3,
    /// [`Tree::shared`](crate::Tree::shared); image and member mean nothing.
    Shared = 4,
}

/// Virtual sizes of an image that changed, where each change is recorded; the record
/// [`event::SIZES_CHANGE`](crate::event::SIZES_CHANGE).
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct SizesChange {
    /// When.
    pub header: Header,
    /// [`Image::id`](crate::Image::id).
    pub image: u64,
    /// By [`Size`].
    pub sizes: [u64; SIZES],
}

const _: () = assert!(size_of::<ImageWindow>() == 16 + 8 * 6 + 32 * 4 + 8 * SIZES + 8);
const _: () = assert!(size_of::<TreeWindow>() == 16 + 8 * 5 + 32 * 4 + 24);
const _: () = assert!(size_of::<Change>() == 16 + 24);
const _: () = assert!(size_of::<SizesChange>() == 16 + 8 + 8 * SIZES);
