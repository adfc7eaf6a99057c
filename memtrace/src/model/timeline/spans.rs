//! Spans as they arrive: cut to the wanted width, and to a coarser one when there are
//! too many. Amounts are pages and times boot time here; [`units`](super::units) makes
//! bytes and times since the tree's start of them, in place.
//!
//! At which of its windows a span's maximum was can change while records arrive: a later
//! window of the same span may exceed it. The tree's record of a window comes before those
//! of the images; so each span of an image says for which of the tree's windows its
//! [`ImageSpan::at_tree_max`] is right, and where that is an older one, the image had no
//! record since: it held its `last`.

use std::collections::HashMap;

use memtrace_ebpf::{ImageWindow, TreeWindow};

use super::{
    ImageSpan, TreeSpan, merge,
    units::{amounts, pages, sizes},
};
use crate::model::{Amounts, measured::rss};

/// A span of the tree, and which of its windows had the maximum.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TreeEntry {
    pub(super) span: TreeSpan,
    /// Start of that window, as it was recorded.
    pub(super) from: u64,
    /// The tree's number of the maximum.
    pub(super) seq: u64,
}

/// A span of an image.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ImageEntry {
    pub(super) span: ImageSpan,
    /// The [`TreeEntry::from`] that `at_tree_max` belongs to.
    pub(super) from: u64,
    /// RSS after the last change, whether it counts or not.
    pub(super) held: u64,
}

/// All spans so far.
#[derive(Debug, Default)]
pub(super) struct Spans {
    /// Width of a span; 0: as they come.
    pub(super) width: u64,
    pub(super) tree: Vec<TreeEntry>,
    /// By place in `images`, and the place of each id.
    pub(super) images: Vec<Vec<ImageEntry>>,
    places: HashMap<u64, usize>,
    /// From where on the tree's windows are new, and those of each image by place: a window
    /// that was still open when the kernel's maps were read may have been sent since.
    tree_from: u64,
    images_from: Vec<u64>,
    /// How many spans there are.
    count: usize,
}

impl Spans {
    pub(super) fn new(width: u64) -> Self {
        Self {
            width,
            ..Self::default()
        }
    }

    pub(super) const fn count(&self) -> usize {
        self.count
    }

    /// Start of the span that a moment belongs to.
    pub(super) const fn cell(&self, at: u64) -> u64 {
        merge::cell(at, self.width)
    }

    /// Whether the tree's record of the window that starts then has come, or can no longer.
    pub(super) fn has_tree(&self, start: u64) -> bool {
        let cell = self.cell(start);
        self.tree
            .last()
            .is_some_and(|last| last.span.start_ns >= cell)
    }

    /// Takes in a window of the tree. They come in order; one that is known is left aside.
    pub(super) fn tree(&mut self, window: &TreeWindow) {
        if window.start < self.tree_from {
            return;
        }
        self.tree_from = window.start.saturating_add(1);
        let mut entry = TreeEntry {
            span: TreeSpan {
                start_ns: self.cell(window.start),
                min_rss: pages(window.min_rss),
                max_rss: pages(window.max_rss),
                max_at_ns: window.max_rss_at,
                at_max: amounts(&window.at_max),
                last: amounts(&window.last),
                shared: pages(window.shared),
            },
            from: window.start,
            seq: window.seq,
        };
        match self.tree.last_mut() {
            Some(last) if last.span.start_ns >= entry.span.start_ns => {
                entry.span.start_ns = last.span.start_ns;
                merge::tree(last, &entry);
            }
            last => {
                let held = last.map_or(0, |last| last.span.last.rss());
                merge::open(
                    &mut entry.span.max_at_ns,
                    entry.span.max_rss,
                    held,
                    entry.span.start_ns,
                );
                reserve(&mut self.tree);
                self.tree.push(entry);
                self.count += 1;
            }
        }
    }

    /// Takes in a window of an image. Those of one image come in order; one that is known is
    /// left aside.
    pub(super) fn image(&mut self, window: &ImageWindow) {
        let cell = self.cell(window.start);
        let tree = merge::tree_at(&self.tree, cell);
        let last = if window.counted == 0 {
            Amounts::default()
        } else {
            amounts(&window.last)
        };
        let place = *self.places.entry(window.image).or_insert_with(|| {
            self.images.push(Vec::new());
            self.images_from.push(0);
            self.images.len() - 1
        });
        let (Some(spans), Some(from)) =
            (self.images.get_mut(place), self.images_from.get_mut(place))
        else {
            return;
        };
        if window.start < *from {
            return;
        }
        *from = window.start.saturating_add(1);
        let at = spans.partition_point(|entry| entry.span.start_ns < cell);
        let present = spans.get(at).filter(|entry| entry.span.start_ns == cell);
        let before = at
            .checked_sub(1)
            .and_then(|at| spans.get(at))
            .copied()
            .unwrap_or_default();
        let from = tree.map_or(window.start, |tree| tree.from);
        let at_tree_max = match tree {
            None => amounts(&window.at_tree_max),
            Some(tree) if window.start == from => {
                if window.seq >= tree.seq {
                    amounts(&window.at_tree_max)
                } else {
                    last
                }
            }
            Some(_) if window.start < from => last,
            Some(_) => match present {
                Some(entry) if entry.from == from => entry.span.at_tree_max,
                Some(entry) => entry.span.last,
                None => before.span.last,
            },
        };
        let mut entry = ImageEntry {
            span: ImageSpan {
                start_ns: cell,
                min_rss: pages(window.min_rss),
                max_rss: pages(window.max_rss),
                max_at_ns: window.max_rss_at,
                max: amounts(&window.max),
                last,
                at_tree_max,
                sizes: sizes(&window.sizes),
            },
            from,
            held: pages(rss(&window.last)),
        };
        if present.is_some() {
            if let Some(present) = spans.get_mut(at) {
                merge::image(present, &entry);
            }
        } else {
            merge::open(
                &mut entry.span.max_at_ns,
                entry.span.max_rss,
                before.held,
                cell,
            );
            reserve(spans);
            spans.insert(at, entry);
            self.count += 1;
        }
    }

    /// Makes the spans wider until there are at most `limit`, or as few as can be.
    pub(super) fn coarsen(&mut self, limit: usize) {
        let first = self.tree.first().map_or(0, |entry| entry.span.start_ns);
        let last = self.tree.last().map_or(0, |entry| entry.span.start_ns);
        while self.count > limit && self.width > 0 && self.width < (last - first).max(1) {
            self.width = self.width.saturating_mul(2);
            let width = self.width;
            self.regroup(|start| merge::cell(start, width));
        }
    }

    /// Puts the spans into other cells, of which none may divide a present one.
    pub(super) fn regroup(&mut self, cell: impl Fn(u64) -> u64) {
        for spans in &mut self.images {
            merge::settle(spans, &self.tree);
        }
        let old = self.tree.len();
        // The images' need both: in which old span the new maximum was, and the new ones.
        let starts: Vec<(u64, u64)> = self
            .tree
            .iter()
            .map(|entry| (entry.from, entry.span.start_ns))
            .collect();
        merge::regroup_tree(&mut self.tree, &cell);
        let mut count = self.tree.len();
        for spans in &mut self.images {
            merge::regroup_image(spans, &self.tree, &starts, &cell);
            count += spans.len();
        }
        debug_assert!(self.tree.len() <= old, "spans only become fewer");
        self.count = count;
    }

    /// Every image's `at_tree_max` for the maxima as they are now.
    pub(super) fn settle(&mut self) {
        for spans in &mut self.images {
            merge::settle(spans, &self.tree);
        }
    }

    /// Takes an image's spans out.
    pub(super) fn take(&mut self, image: u64) -> Vec<ImageEntry> {
        self.places
            .get(&image)
            .and_then(|place| self.images.get_mut(*place))
            .map(std::mem::take)
            .unwrap_or_default()
    }
}

/// Makes room for one more without holding twice what is needed.
fn reserve<T>(spans: &mut Vec<T>) {
    if spans.len() == spans.capacity() {
        spans.reserve_exact((spans.len() / 4).max(1));
    }
}
