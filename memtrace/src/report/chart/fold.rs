//! A timeline folded to a bounded size, exactly.
//!
//! Folding merges neighbouring spans: the least of their minima, the largest of their maxima,
//! the composition at the instant of that largest, and what was left after the last change.
//! So no spike is lost, and whatever the width, what the images held at the instant of a
//! window's maximum sums to that maximum, to the byte.
//!
//! Two bounds hold. Windows: at most [`Limits::windows`]; spans are merged into a grid of that
//! many. Entries (an image in a window): at most about [`Limits::entries`]; first the grid is
//! made coarser, then the smallest images of each layer are summed up to one row. The sums are
//! exact; only what single images among them held is no longer told apart.

use std::cmp::Reverse;

use super::{
    Run,
    layers::{LAYERS, Layers},
};
use crate::model::{Amounts, ImageSpan, TreeSpan};

/// How much a drawing can take.
#[derive(Clone, Copy, Debug)]
pub(in crate::report) struct Limits {
    /// Windows of the tree.
    pub(in crate::report) windows: usize,
    /// Entries of all rows together.
    pub(in crate::report) entries: usize,
    /// Images that have a row of their own.
    pub(in crate::report) rows: usize,
}

/// The coarsest grid that saving entries may lead to.
const FEWEST_WINDOWS: usize = 500;

/// The tree in a window: a [`TreeSpan`], merged from one or more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::report) struct Window {
    /// The merged spans; `start_ns` is that of the first.
    pub(in crate::report) span: TreeSpan,
    /// Start of the span that had the maximum: the instant that `at_max` belongs to.
    winner_ns: u64,
}

impl Window {
    fn new(span: TreeSpan) -> Self {
        Self {
            span,
            winner_ns: span.start_ns,
        }
    }

    fn merge(&mut self, next: &TreeSpan) {
        let span = &mut self.span;
        span.min_rss = span.min_rss.min(next.min_rss);
        // The first of equal maxima stays: it is when the maximum was reached.
        if next.max_rss > span.max_rss {
            span.max_rss = next.max_rss;
            span.max_at_ns = next.max_at_ns;
            span.at_max = next.at_max;
            self.winner_ns = next.start_ns;
        }
        span.last = next.last;
        span.shared = next.shared;
    }
}

/// A row in a window in which it changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::report) struct Entry {
    /// Index of the window.
    pub(in crate::report) window: usize,
    /// Largest RSS in it; of several images, that of the largest.
    pub(in crate::report) max_rss: u64,
    /// What it counted for in the tree at the instant of the window's maximum.
    pub(in crate::report) at_max: Amounts,
    /// What it held at the window's end, and until its next entry.
    pub(in crate::report) last: Amounts,
}

/// One image, or the small ones of a layer together.
#[derive(Clone, Debug)]
pub(in crate::report) struct Row {
    /// Index of the image in the summary; `None`: several.
    pub(in crate::report) image: Option<usize>,
    /// How many images.
    pub(in crate::report) count: usize,
    /// Index of the layer it is drawn in.
    pub(in crate::report) layer: usize,
    /// By window.
    pub(in crate::report) entries: Vec<Entry>,
}

/// A timeline that fits.
#[derive(Clone, Debug)]
pub(in crate::report) struct Folded {
    /// Width of a window, nanoseconds; 0: a window is one change.
    pub(in crate::report) width_ns: u64,
    /// The tree, by time.
    pub(in crate::report) windows: Vec<Window>,
    /// Images with a row of their own by index, then those that stand for several.
    pub(in crate::report) rows: Vec<Row>,
}

/// Folds the timeline of `run` so that it fits `limits`.
pub(in crate::report) fn fold(run: &Run<'_>, layers: &Layers, limits: Limits) -> Folded {
    let mut most = limits.windows.max(1);
    let (width_ns, windows) = loop {
        let (width, windows) = windows(run, most);
        let coarsest = most <= FEWEST_WINDOWS;
        if coarsest || count_entries(run, &windows) <= limits.entries {
            break (width, windows);
        }
        most = (most / 2).max(FEWEST_WINDOWS);
    };
    let rows = rows(run, layers, &windows, limits);
    Folded {
        width_ns,
        windows,
        rows,
    }
}

/// The tree's spans, merged into a grid of at most `most` windows if there are more.
fn windows(run: &Run<'_>, most: usize) -> (u64, Vec<Window>) {
    let timeline = run.timeline;
    if timeline.tree.len() <= most {
        let windows = timeline.tree.iter().copied().map(Window::new).collect();
        return (timeline.width_ns, windows);
    }
    let least = (run.end_ns() / most as u64).saturating_add(1);
    let width = match timeline.width_ns {
        0 => least,
        // Whole spans only: a span must not lie in two windows.
        one => least.div_ceil(one).saturating_mul(one),
    };
    let mut windows: Vec<Window> = Vec::new();
    for span in &timeline.tree {
        let cell = span.start_ns / width;
        match windows.last_mut() {
            Some(window) if window.span.start_ns / width == cell => window.merge(span),
            _ => windows.push(Window::new(*span)),
        }
    }
    for window in &mut windows {
        window.span.start_ns = window.span.start_ns / width * width;
    }
    (width, windows)
}

/// The window that a span which starts then belongs to: the last one that began.
fn window_of(windows: &[Window], start_ns: u64) -> usize {
    windows
        .partition_point(|window| window.span.start_ns <= start_ns)
        .saturating_sub(1)
}

fn count_entries(run: &Run<'_>, windows: &[Window]) -> usize {
    let of = |spans: &Vec<ImageSpan>| {
        let mut seen = None;
        spans
            .iter()
            .map(|span| window_of(windows, span.start_ns))
            .filter(|&window| seen.replace(window) != Some(window))
            .count()
    };
    run.timeline.images.iter().map(of).sum()
}

/// The spans of one image, merged into the windows.
fn entries(spans: &[ImageSpan], windows: &[Window]) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    // What it held after the span before.
    let mut before = Amounts::default();
    for span in spans {
        let index = window_of(windows, span.start_ns);
        let Some(window) = windows.get(index) else {
            break;
        };
        if entries.last().is_none_or(|entry| entry.window != index) {
            entries.push(Entry {
                window: index,
                max_rss: 0,
                at_max: before,
                last: before,
            });
        }
        if let Some(entry) = entries.last_mut() {
            entry.max_rss = entry.max_rss.max(span.max_rss);
            entry.last = span.last;
            if span.start_ns == window.winner_ns {
                entry.at_max = span.at_tree_max;
            } else if span.start_ns < window.winner_ns {
                entry.at_max = span.last;
            }
        }
        before = span.last;
    }
    entries
}

/// A row for each of the largest images, one per layer for the rest.
fn rows(run: &Run<'_>, layers: &Layers, windows: &[Window], limits: Limits) -> Vec<Row> {
    let images = &run.summary.images;
    let mut largest: Vec<usize> = (0..images.len()).collect();
    // The order of birth decides between equals.
    largest.sort_by_key(|&i| Reverse(images.get(i).map_or(0, |image| image.peak_rss)));
    let mut room = limits.entries;
    let mut own: Vec<Row> = Vec::new();
    let mut rests: Vec<Rest> = Vec::new();
    rests.resize_with(LAYERS, Rest::default);
    let mut full = false;
    for image in largest {
        let spans = run
            .timeline
            .images
            .get(image)
            .map_or(&[][..], Vec::as_slice);
        let entries = entries(spans, windows);
        let layer = layers.of_image(image);
        full |= own.len() >= limits.rows || entries.len() > room;
        if full {
            if let Some(rest) = rests.get_mut(layer) {
                rest.add(&entries, windows.len());
            }
        } else {
            room -= entries.len();
            own.push(Row {
                image: Some(image),
                count: 1,
                layer,
                entries,
            });
        }
    }
    own.sort_by_key(|row| row.image);
    let rests = rests.into_iter().enumerate();
    own.extend(rests.filter_map(|(layer, rest)| rest.into_row(layer)));
    own
}

/// Images summed up, window by window.
#[derive(Clone, Debug, Default)]
struct Rest {
    count: usize,
    windows: Vec<Option<Entry>>,
    /// Change of the sum of what is held after a window and before the next entries.
    sums: Option<Sums>,
}

/// Sums that are kept as differences, so that an entry costs the same however long it lasts.
#[derive(Clone, Debug)]
struct Sums {
    /// Added from that window on to what is held at the maximum by images without an entry there.
    at_max: Differences,
    /// Added from that window on to what is held at its end.
    last: Differences,
}

type Differences = Vec<[i128; 4]>;

fn add(differences: &mut Differences, window: usize, amounts: Amounts, sign: i128) {
    let Amounts {
        anon,
        file,
        shmem,
        swap,
    } = amounts;
    if let Some(sums) = differences.get_mut(window) {
        for (sum, amount) in sums.iter_mut().zip([anon, file, shmem, swap]) {
            *sum += sign * i128::from(amount);
        }
    }
}

/// The running sums of the differences.
fn running(differences: &Differences) -> impl Iterator<Item = Amounts> {
    let mut sums = [0_i128; 4];
    differences.iter().map(move |step| {
        for (sum, step) in sums.iter_mut().zip(step) {
            *sum += step;
        }
        let [anon, file, shmem, swap] = sums.map(|sum| u64::try_from(sum).unwrap_or(0));
        Amounts {
            anon,
            file,
            shmem,
            swap,
        }
    })
}

impl Sums {
    fn new(windows: usize) -> Self {
        // One more: what lasts to the end is taken back after it.
        Self {
            at_max: vec![[0; 4]; windows + 2],
            last: vec![[0; 4]; windows + 2],
        }
    }

    /// Books entries of one image.
    fn book(&mut self, entries: &[Entry], windows: usize) {
        for (i, entry) in entries.iter().enumerate() {
            let next = entries.get(i + 1).map_or(windows, |next| next.window);
            add(&mut self.at_max, entry.window, entry.at_max, 1);
            add(&mut self.at_max, entry.window + 1, entry.at_max, -1);
            add(&mut self.at_max, entry.window + 1, entry.last, 1);
            add(&mut self.at_max, next, entry.last, -1);
            add(&mut self.last, entry.window, entry.last, 1);
            add(&mut self.last, next, entry.last, -1);
        }
    }
}

impl Rest {
    fn add(&mut self, entries: &[Entry], windows: usize) {
        self.count += 1;
        self.windows.resize(windows, None);
        for entry in entries {
            if let Some(slot) = self.windows.get_mut(entry.window) {
                let kept = slot.get_or_insert(Entry {
                    window: entry.window,
                    max_rss: 0,
                    at_max: Amounts::default(),
                    last: Amounts::default(),
                });
                kept.max_rss = kept.max_rss.max(entry.max_rss);
            }
        }
        self.sums
            .get_or_insert_with(|| Sums::new(windows))
            .book(entries, windows);
    }

    fn into_row(self, layer: usize) -> Option<Row> {
        let sums = self.sums?;
        let values = running(&sums.at_max).zip(running(&sums.last));
        let entries = self.windows.into_iter().zip(values);
        let entries = entries.filter_map(|(entry, (at_max, last))| {
            Some(Entry {
                at_max,
                last,
                ..entry?
            })
        });
        Some(Row {
            image: None,
            count: self.count,
            layer,
            entries: entries.collect(),
        })
    }
}

/// RSS of one layer, by window.
#[derive(Clone, Debug)]
pub(in crate::report) struct Stack {
    /// At the instants of the windows' maxima; the layers sum to the maxima.
    pub(in crate::report) at_max: Vec<u64>,
    /// At the windows' ends, and until the next ones.
    pub(in crate::report) last: Vec<u64>,
}

impl Folded {
    /// What each layer held.
    pub(in crate::report) fn stacks(&self) -> Vec<Stack> {
        let count = self.windows.len();
        let of = |layer| {
            let mut sums = Sums::new(count);
            for row in self.rows.iter().filter(|row| row.layer == layer) {
                sums.book(&row.entries, count);
            }
            let rss = |sums| running(sums).map(|held| held.rss()).take(count).collect();
            Stack {
                at_max: rss(&sums.at_max),
                last: rss(&sums.last),
            }
        };
        (0..LAYERS).map(of).collect()
    }
}

#[cfg(test)]
#[path = "fold_tests.rs"]
mod tests;
