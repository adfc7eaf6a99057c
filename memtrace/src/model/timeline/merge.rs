//! Two spans become one, with everything in it as exact as before.

use std::cmp::Ordering;

use super::spans::{ImageEntry, TreeEntry};
use crate::model::Amounts;

/// Start of the span of this width that a moment belongs to; with a width of 0 each
/// moment is a span.
pub(super) const fn cell(at: u64, width: u64) -> u64 {
    match at.checked_rem(width) {
        Some(inside) => at - inside,
        None => at,
    }
}

/// The tree's span that starts then.
pub(super) fn tree_at(tree: &[TreeEntry], start: u64) -> Option<&TreeEntry> {
    // Mostly one of the last.
    let recent = tree.len().saturating_sub(4);
    let (older, newest) = tree.split_at_checked(recent)?;
    let among = match newest.first() {
        Some(first) if first.span.start_ns <= start => newest,
        _ => older,
    };
    let at = among
        .binary_search_by_key(&start, |entry| entry.span.start_ns)
        .ok()?;
    among.get(at)
}

/// Adds a later piece of the same span.
pub(super) fn tree(entry: &mut TreeEntry, later: &TreeEntry) {
    let (span, next) = (&mut entry.span, &later.span);
    span.min_rss = span.min_rss.min(next.min_rss);
    if next.max_rss > span.max_rss {
        span.max_rss = next.max_rss;
        span.max_at_ns = next.max_at_ns;
        span.at_max = next.at_max;
        entry.from = later.from;
        entry.seq = later.seq;
    }
    span.last = next.last;
    span.shared = next.shared;
}

/// Adds a later piece of the same span, whose `at_tree_max` is right for both.
pub(super) fn image(entry: &mut ImageEntry, later: &ImageEntry) {
    let (span, next) = (&mut entry.span, &later.span);
    span.min_rss = span.min_rss.min(next.min_rss);
    if next.max_rss > span.max_rss {
        span.max_rss = next.max_rss;
        span.max_at_ns = next.max_at_ns;
    }
    span.max = Amounts {
        anon: span.max.anon.max(next.max.anon),
        file: span.max.file.max(next.max.file),
        shmem: span.max.shmem.max(next.max.shmem),
        swap: span.max.swap.max(next.max.swap),
    };
    span.last = next.last;
    span.sizes = next.sizes;
    span.at_tree_max = next.at_tree_max;
    entry.from = later.from;
    entry.held = later.held;
}

/// What was held as the span opened may be its largest: then that was reached as it opened,
/// and not when the first of its windows did.
pub(super) const fn open(max_at: &mut u64, max: u64, held: u64, start: u64) {
    if max == held {
        *max_at = start;
    }
}

/// Where the tree's maximum has moved on since an image's record, the image held its
/// `last` then.
pub(super) fn settle(spans: &mut [ImageEntry], tree: &[TreeEntry]) {
    for entry in spans {
        if let Some(tree) = tree_at(tree, entry.span.start_ns)
            && tree.from != entry.from
        {
            entry.span.at_tree_max = entry.span.last;
            entry.from = tree.from;
        }
    }
}

/// Folds neighbours that belong together into the first of them.
fn fold<T: Copy>(spans: &mut Vec<T>, same: impl Fn(&T, &T) -> bool, add: impl Fn(&mut T, &T)) {
    // `dedup_by` is given the later one first.
    spans.dedup_by(|later, first| {
        let together = same(first, later);
        if together {
            add(first, later);
        }
        together
    });
    spans.shrink_to(spans.len() + spans.len() / 4);
}

/// Puts the tree's spans into new cells.
pub(super) fn regroup_tree(spans: &mut Vec<TreeEntry>, cell: &impl Fn(u64) -> u64) {
    let mut held = 0;
    let mut group = None;
    for entry in spans.iter_mut() {
        let span = &mut entry.span;
        span.start_ns = cell(span.start_ns);
        if group != Some(span.start_ns) {
            group = Some(span.start_ns);
            open(&mut span.max_at_ns, span.max_rss, held, span.start_ns);
        }
        held = span.last.rss();
    }
    fold(spans, |a, b| a.span.start_ns == b.span.start_ns, tree);
}

/// Puts an image's settled spans into new cells. `starts` has for each of the tree's old
/// spans where its maximum was and its start, in order; `tree` is in new cells already.
pub(super) fn regroup_image(
    spans: &mut Vec<ImageEntry>,
    tree: &[TreeEntry],
    starts: &[(u64, u64)],
    cell: &impl Fn(u64) -> u64,
) {
    // What the image held after the spans so far, and at the maximum of the new span as
    // far as they tell: the last of a group gets the answer, and folding keeps that one.
    let mut latest = Amounts::default();
    let mut held = Amounts::default();
    let mut resident = 0;
    let mut group = None;
    for entry in spans.iter_mut() {
        let old = entry.span.start_ns;
        let new = cell(old);
        if group != Some(new) {
            group = Some(new);
            held = latest;
            let span = &mut entry.span;
            open(&mut span.max_at_ns, span.max_rss, resident, new);
        }
        resident = entry.held;
        if let Some(tree) = tree_at(tree, new) {
            let maximum = starts
                .binary_search_by_key(&tree.from, |(from, _)| *from)
                .ok()
                .and_then(|at| starts.get(at))
                .map_or(tree.from, |(_, start)| *start);
            match old.cmp(&maximum) {
                Ordering::Less => held = entry.span.last,
                Ordering::Equal => held = entry.span.at_tree_max,
                // It changed only afterwards.
                Ordering::Greater => {}
            }
            entry.span.at_tree_max = held;
            entry.from = tree.from;
        }
        entry.span.start_ns = new;
        latest = entry.span.last;
    }
    fold(spans, |a, b| a.span.start_ns == b.span.start_ns, image);
}
