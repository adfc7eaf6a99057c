//! Peaks and means within a stretch of time.

use std::collections::{BTreeMap, HashMap};

use memtrace_ebpf::{ChangeKind, ImageWindow, Pages, TreeWindow};

use super::{super::ReadError, Index, amounts, bytes, index_of, track::Track};
use crate::event::Event;

/// What happened between two moments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// From when, in nanoseconds since the tree's start. Where windows were recorded: the
    /// beginning of the first of them.
    pub from_ns: u64,
    /// Until when, likewise: the end of the last of them.
    pub until_ns: u64,
    /// Largest sum of RSS over the tree, bytes.
    pub peak_rss: u64,
    /// When that was first reached within the range.
    pub peak_at_ns: u64,
    /// Least sum of RSS, bytes.
    pub least_rss: u64,
    /// Time-weighted mean of the sum of RSS, bytes.
    pub average_rss: u64,
    /// Images that held anything within it, by index in
    /// [`Summary::images`](crate::model::Summary::images).
    pub images: BTreeMap<usize, ImageRange>,
}

/// One image between two moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageRange {
    /// Largest RSS, bytes.
    pub peak_rss: u64,
    /// When that was first reached within the range, in nanoseconds since the tree's start.
    pub peak_at_ns: u64,
    /// Time-weighted mean of RSS over what of its life is in the range, bytes.
    pub average_rss: u64,
    /// RSS at the end of the range, bytes.
    pub last_rss: u64,
}

/// One image's part of the tree.
#[derive(Clone, Copy, Debug)]
struct Image {
    pages: Pages,
    counted: bool,
    /// When it changed last.
    at: u64,
    track: Track,
}

/// Adds up records.
struct Sums {
    from: u64,
    until: u64,
    page: u64,
    images: HashMap<u64, Image>,
    tree: Track,
    /// There are windows of the tree; otherwise it is the sum of its images.
    windows: bool,
    sum: u64,
}

impl Sums {
    fn image(&mut self, id: u64) -> &mut Image {
        let track = Track::new(self.from, self.until);
        self.images.entry(id).or_insert(Image {
            pages: [0; memtrace_ebpf::MEMBERS],
            counted: false,
            at: 0,
            track,
        })
    }

    fn apply(&mut self, event: &Event) {
        let at = event.at();
        match event {
            Event::Change(change) => {
                if at >= self.until || change.kind == ChangeKind::Shared as u32 {
                    return;
                }
                let member = usize::try_from(change.member).unwrap_or(usize::MAX);
                self.book(change.image, at, |image| {
                    image.counted = change.kind != ChangeKind::Uncounted as u32;
                    if change.kind != ChangeKind::Enters as u32
                        && let Some(slot) = image.pages.get_mut(member)
                    {
                        *slot = change.value;
                    }
                });
            }
            Event::ImageWindow(window) => self.image_window(window),
            Event::TreeWindow(window) => self.tree_window(window),
            _ => {}
        }
    }

    fn book(&mut self, id: u64, at: u64, change: impl FnOnce(&mut Image)) {
        let page = self.page;
        let image = self.image(id);
        // A window of a checkpoint can be older than what came after it.
        if at < image.at {
            return;
        }
        image.at = at;
        let before = image.track.now();
        change(image);
        let now = if image.counted {
            amounts(&image.pages, page).rss()
        } else {
            0
        };
        image.track.set(now, at);
        self.sum = self.sum.saturating_sub(before).saturating_add(now);
        if !self.windows {
            self.tree.set(self.sum, at);
        }
    }

    fn image_window(&mut self, window: &ImageWindow) {
        if window.start >= self.until {
            return;
        }
        let (from, page) = (self.from, self.page);
        let at = window.header.at;
        let counted = window.counted != 0;
        if at >= from && counted {
            let track = &mut self.image(window.image).track;
            let (least, most) = (bytes(window.min_rss, page), bytes(window.max_rss, page));
            track.reach(least, most, window.max_rss_at.max(from));
        }
        self.book(window.image, at, |image| {
            image.counted = counted;
            image.pages = window.last;
        });
    }

    fn tree_window(&mut self, window: &TreeWindow) {
        if window.start >= self.until {
            return;
        }
        self.windows = true;
        let page = self.page;
        let at = window.header.at;
        if at >= self.from {
            let (least, most) = (bytes(window.min_rss, page), bytes(window.max_rss, page));
            self.tree
                .reach(least, most, window.max_rss_at.max(self.from));
        }
        self.tree.set(amounts(&window.last, page).rss(), at);
    }
}

impl Index {
    /// Peaks and means between two moments, in nanoseconds since the tree's start. Where
    /// windows were recorded, the range is widened to whole ones, so that the peaks are
    /// exact; means take a window's last value for what it held since the last change.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub fn between(&mut self, from_ns: u64, until_ns: u64) -> Result<Range, ReadError> {
        let zero = self.zero;
        let (from, until) = self.whole_windows(
            zero.saturating_add(from_ns.min(self.end_ns())),
            zero.saturating_add(until_ns.min(self.end_ns())),
        );
        let (base, place) = self.snapshot(from.saturating_sub(1))?;
        let page = self.summary.page_size;
        let mut sums = Sums {
            from,
            until,
            page,
            images: HashMap::new(),
            tree: Track::new(from, until),
            windows: self.head.width_ns > 0,
            sum: 0,
        };
        for (id, held) in &base.images {
            sums.book(*id, held.at.min(from.saturating_sub(1)), |image| {
                image.pages = held.pages;
                image.counted = held.counted;
            });
        }
        if sums.windows {
            let held = amounts(&base.tree.pages, page).rss();
            sums.tree.set(held, from.saturating_sub(1));
        }
        self.each_record(place, until, |event| sums.apply(event))?;
        for window in &self.open {
            sums.image_window(window);
        }
        if let Some(window) = &self.open_tree {
            sums.tree_window(window);
        }
        for (image, (end, window)) in &self.ended {
            if let Some(window) = window {
                sums.image_window(window);
            }
            if *end < until
                && let Some(image) = sums.images.get_mut(image)
            {
                image.track.set(0, *end);
            }
        }
        Ok(self.range(sums))
    }

    fn range(&self, mut sums: Sums) -> Range {
        let (from, until) = (sums.from, sums.until);
        let ns = |at: u64| at.saturating_sub(self.zero);
        let index = index_of(&self.summary);
        let average_rss = sums.tree.mean(until - from);
        let mut images = BTreeMap::new();
        for (id, image) in &mut sums.images {
            let Some((place, summary)) = index
                .get(id)
                .and_then(|place| Some((*place, self.summary.images.get(*place)?)))
            else {
                continue;
            };
            let begun = summary.start_ns.max(ns(from));
            let over = summary.end_ns.unwrap_or(u64::MAX).min(ns(until));
            let average_rss = image.track.mean(over.saturating_sub(begun));
            if image.track.most == 0 {
                continue;
            }
            images.insert(
                place,
                ImageRange {
                    peak_rss: image.track.most,
                    peak_at_ns: ns(image.track.most_at),
                    average_rss,
                    last_rss: image.track.now(),
                },
            );
        }
        Range {
            from_ns: ns(from),
            until_ns: ns(until),
            peak_rss: sums.tree.most,
            peak_at_ns: ns(sums.tree.most_at),
            least_rss: sums.tree.least,
            average_rss,
            images,
        }
    }

    /// The range, widened to whole windows.
    fn whole_windows(&self, from: u64, until: u64) -> (u64, u64) {
        let until = until.max(from);
        match self.head.width_ns {
            // What happens at its end belongs to it.
            0 => (from, until.saturating_add(1)),
            width => (
                from - from % width,
                until
                    .max(from.saturating_add(1))
                    .checked_next_multiple_of(width)
                    .unwrap_or(until),
            ),
        }
    }
}
